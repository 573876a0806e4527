//! Deadlines, and who waits for them.
//!
//! An armed timer has a slot, which keeps who waits, and one entry of 16 bytes. A new timer is
//! staged in a list, and gets its entry when the list is long and the loop asks for the earliest
//! deadline, or when a timer is due: one that is cancelled before never touches the heap, nor is its
//! deadline ever converted. Cancelling
//! leaves the entry behind as *dead*; when more than half of the entries are dead, they are all
//! swept out.
//!
//! An entry is one number: the deadline in nanoseconds, then the order of creation, then the slot,
//! so that a single comparison sorts timers by deadline and equal deadlines by age. It is dead
//! unless its slot says the same and has not fired.

use std::time::Instant;

use crate::{call_site::CallSite, clock::since_epoch, heap::Heap, slab::Slab, wakee::Wakee};

pub(crate) struct Timers {
    slots: Slab<Slot>,
    heap: Heap<u128>,
    staged: Vec<Staged>,
    dead: usize,
    /// The `born` that has order zero; those before it have it too.
    base: u64,
}

struct Slot {
    /// `None` once it has fired or was given up.
    wakee: Option<Wakee>,
    at: Instant,
    /// `at` in nanoseconds, once the timer has an entry.
    deadline: u64,
    order: u32,
    /// Where the sleep was made.
    site: CallSite,
}

/// Names an armed timer, for its owner alone, who gives it up once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(pub(crate) u32);

/// A number of the heap, as it is read.
#[derive(Clone, Copy)]
struct Entry(u128);

impl Entry {
    fn new(deadline: u64, order: u32, slot: u32) -> Entry {
        Entry(u128::from(deadline) << 64 | u128::from(order) << 32 | u128::from(slot))
    }

    fn deadline(self) -> u64 {
        (self.0 >> 64) as u64
    }

    fn order(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn slot(self) -> u32 {
        self.0 as u32
    }

    fn is_live(self, slots: &mut Slab<Slot>) -> bool {
        slots.get_mut(self.slot()).is_some_and(|slot| {
            slot.order == self.order() && slot.deadline == self.deadline() && slot.wakee.is_some()
        })
    }
}

/// A timer on its way to the heap.
struct Staged {
    slot: u32,
    order: u32,
}

impl Staged {
    /// The slot, if the timer is still armed.
    fn live<'s>(&self, slots: &'s mut Slab<Slot>) -> Option<&'s mut Slot> {
        let slot = slots.get_mut(self.slot)?;
        (slot.order == self.order && slot.wakee.is_some()).then_some(slot)
    }
}

/// How many dead entries are not worth a sweep, and how many staged timers not a place in the heap.
const FEW: usize = 64;

impl Timers {
    pub(crate) const fn new() -> Timers {
        Timers { slots: Slab::new(), heap: Heap::new(), staged: Vec::new(), dead: 0, base: 0 }
    }

    /// How many timers are armed or have fired unseen.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it has had no timer yet, for all that can be told.
    pub(crate) fn is_new(&self) -> bool {
        let Timers { slots, heap, staged, dead, base } = self;
        slots.is_new() && heap.len() == 0 && staged.capacity() == 0 && *dead == 0 && *base == 0
    }

    /// Arms a timer; `born` numbers timers in the order of their creation. O(1) until the loop
    /// looks, then O(log n).
    // Always: the second caller, a reset, would cost each new timer a call (21 instructions).
    #[inline(always)]
    pub(crate) fn arm(&mut self, at: Instant, born: u64, site: CallSite, wakee: Wakee) -> Key {
        let order = match u32::try_from(born.saturating_sub(self.base)) {
            Ok(order) => order,
            Err(_) => self.renumber(born),
        };
        let slot = self.slots.insert(Slot { wakee: Some(wakee), at, deadline: 0, order, site });
        self.staged.push(Staged { slot, order });
        Key(slot)
    }

    /// The one who waits; `None` if the timer has fired.
    pub(crate) fn wakee(&mut self, Key(slot): Key) -> Option<&mut Option<Wakee>> {
        let slot = self.slots.get_mut(slot)?;
        slot.wakee.is_some().then_some(&mut slot.wakee)
    }

    /// Where the sleep was made.
    pub(crate) fn site(&mut self, Key(slot): Key) -> Option<CallSite> {
        self.slots.get_mut(slot).map(|slot| slot.site)
    }

    /// Gives a timer up, whether it has fired or not. The caller drops who waited, while nothing
    /// is borrowed.
    #[inline]
    pub(crate) fn remove(&mut self, Key(slot): Key) -> Option<Wakee> {
        let wakee = self.slots.get_mut(slot)?.wakee.take();
        self.slots.vacate(slot);
        if wakee.is_some() {
            // The youngest is often the first to go: a timeout around something quick.
            if self.staged.last().is_some_and(|last| last.slot == slot) {
                self.staged.pop();
            } else {
                self.bury();
            }
        }
        wakee
    }

    /// An entry has died.
    fn bury(&mut self) {
        self.dead += 1;
        if self.dead > FEW && self.dead > (self.heap.len() + self.staged.len()) / 2 {
            self.sweep();
        }
    }

    /// The earliest deadline.
    pub(crate) fn earliest(&mut self) -> Option<u64> {
        if self.staged.len() > FEW {
            self.unstage();
        }
        let staged = if self.staged.is_empty() { None } else { self.earliest_staged() };
        match (staged, self.earliest_entry()) {
            (Some(staged), Some(entry)) => Some(staged.min(entry)),
            (staged, entry) => staged.or(entry),
        }
    }

    /// Of the few that are staged, which may stay so: most are cancelled before they are due.
    fn earliest_staged(&mut self) -> Option<u64> {
        let mut earliest: Option<Instant> = None;
        let Timers { slots, staged, dead, .. } = self;
        staged.retain(|timer| {
            let Some(slot) = timer.live(slots) else {
                *dead = dead.saturating_sub(1);
                return false;
            };
            if earliest.is_none_or(|earliest| slot.at < earliest) {
                earliest = Some(slot.at);
            }
            true
        });
        earliest.map(since_epoch)
    }

    fn earliest_entry(&mut self) -> Option<u64> {
        loop {
            let entry = Entry(self.heap.peek()?);
            if entry.is_live(&mut self.slots) {
                return Some(entry.deadline());
            }
            self.heap.pop();
            self.buried();
        }
    }

    fn unstage(&mut self) {
        let mut staged = std::mem::take(&mut self.staged);
        for timer in &staged {
            match timer.live(&mut self.slots) {
                Some(slot) => {
                    slot.deadline = since_epoch(slot.at);
                    self.heap.push(Entry::new(slot.deadline, slot.order, timer.slot).0);
                }
                None => self.buried(),
            }
        }
        // It keeps its memory.
        staged.clear();
        self.staged = staged;
    }

    /// A dead entry has gone. Sleeps that came from other threads may share a number, so that a
    /// dead entry equals a live one and passes for it; the count is then too low, no more.
    fn buried(&mut self) {
        self.dead = self.dead.saturating_sub(1);
    }

    /// Takes who waits for the earliest deadline, if it is not after `now`; the timer has fired.
    pub(crate) fn fire(&mut self, now: u64) -> Option<Wakee> {
        if self.earliest()? > now {
            return None;
        }
        // Who is first among equals, the heap knows.
        self.unstage();
        self.earliest_entry()?;
        let entry = Entry(self.heap.pop()?);
        self.slots.get_mut(entry.slot())?.wakee.take()
    }

    /// Runs `f`, which does not come back here, for every timer that has not fired.
    pub(crate) fn each(&mut self, mut f: impl FnMut(&Wakee, Instant, CallSite)) {
        for (_, slot) in self.slots.iter_mut() {
            if let Some(wakee) = &slot.wakee {
                f(wakee, slot.at, slot.site);
            }
        }
    }

    /// Takes everybody who waits, in no particular order; their timers will never fire.
    pub(crate) fn take_all(&mut self) -> Vec<Wakee> {
        let mut all = Vec::new();
        for (_, slot) in self.slots.iter_mut() {
            if let Some(wakee) = slot.wakee.take() {
                all.push(wakee);
            }
        }
        self.dead += all.len();
        all
    }

    /// Sweeps the dead entries out.
    fn sweep(&mut self) {
        let Timers { slots, heap, staged, .. } = self;
        heap.rebuild(|entry| Entry(*entry).is_live(slots));
        staged.retain(|timer| timer.live(slots).is_some());
        if staged.len() < staged.capacity() / 4 {
            staged.shrink_to(staged.len() * 2);
        }
        self.dead = 0;
    }

    /// Gives the live timers the lowest orders, keeping their sequence, and returns that of
    /// `born`, which comes after them all.
    ///
    /// Happens once in four billion creations. Timers that were created before and are armed
    /// later count as the oldest of all, in the order of their slots.
    #[cold]
    fn renumber(&mut self, born: u64) -> u32 {
        self.sweep();
        let Timers { slots, heap, staged, base, .. } = self;
        let mut oldest = Heap::new();
        for (index, slot) in slots.iter_mut() {
            oldest.push(Entry::new(0, slot.order, index).0);
        }
        let mut order = 1;
        while let Some(entry) = oldest.pop() {
            if let Some(slot) = slots.get_mut(Entry(entry).slot()) {
                slot.order = order;
            }
            order += 1;
        }
        *base = born - u64::from(order);
        for timer in staged {
            if let Some(slot) = slots.get_mut(timer.slot) {
                timer.order = slot.order;
            }
        }
        heap.rebuild(|number| {
            let entry = Entry(*number);
            if let Some(slot) = slots.get_mut(entry.slot()) {
                *number = Entry::new(entry.deadline(), slot.order, entry.slot()).0;
            }
            true
        });
        order
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Arc, Mutex},
        task::{Context, Wake, Waker},
    };

    use super::*;

    struct Note(u64, Arc<Mutex<Vec<u64>>>);

    impl Wake for Note {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    fn arm(timers: &mut Timers, nanos: u64, born: u64, wakee: Wakee) -> Key {
        timers.arm(crate::clock::instant(nanos), born, CallSite::caller(), wakee)
    }

    #[derive(Default)]
    struct Bench(Arc<Mutex<Vec<u64>>>);

    impl Bench {
        fn wakee(&self, name: u64) -> Wakee {
            let waker = Waker::from(Arc::new(Note(name, self.0.clone())));
            Wakee::of(&Context::from_waker(&waker))
        }

        fn fired(&self, timers: &mut Timers, now: u64) -> Vec<u64> {
            while let Some(wakee) = timers.fire(now) {
                wakee.wake();
            }
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    #[test]
    fn t59_equal_deadlines_fire_in_order_of_creation() {
        let (bench, mut timers) = (Bench::default(), Timers::new());
        for born in [3, 1, 4, 0, 2] {
            arm(&mut timers, 100, born, bench.wakee(born));
        }
        assert_eq!(bench.fired(&mut timers, 99), []);
        assert_eq!(bench.fired(&mut timers, 100), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn order_survives_a_renumbering() {
        let (bench, mut timers) = (Bench::default(), Timers::new());
        let near = u64::from(u32::MAX);
        for born in [near, near - 1, near + 1, near + 3, near + 2] {
            arm(&mut timers, 7, born, bench.wakee(born));
        }
        arm(&mut timers, 7, 5, bench.wakee(5));
        assert_eq!(bench.fired(&mut timers, 7), [5, near - 1, near, near + 1, near + 2, near + 3]);
    }

    #[test]
    fn who_is_created_at_a_renumbering_comes_last_whatever_its_slot() {
        let (bench, mut timers) = (Bench::default(), Timers::new());
        let near = u64::from(u32::MAX);
        let gone = arm(&mut timers, 7, near - 1, bench.wakee(0));
        arm(&mut timers, 7, near, bench.wakee(1));
        drop(timers.remove(gone));
        let slot = arm(&mut timers, 7, near + 1, bench.wakee(2)).0;
        assert_eq!((slot, bench.fired(&mut timers, 7)), (gone.0, vec![1, 2]));
    }

    #[test]
    fn the_memory_of_those_that_were_staged_goes_back() {
        let left = |kept: fn(usize) -> usize| {
            let (mut timers, cx) = (Timers::new(), Context::from_waker(Waker::noop()));
            let keys: Vec<Key> =
                (0..64).map(|born| arm(&mut timers, 7, born, Wakee::of(&cx))).collect();
            let (before, kept) = (timers.staged.capacity(), kept(timers.staged.capacity()));
            for &key in &keys[kept..] {
                drop(timers.slots.get_mut(key.0).and_then(|slot| slot.wakee.take()));
            }
            timers.sweep();
            assert_eq!(timers.staged.len(), kept);
            (before, kept, timers.staged.capacity())
        };
        let (before, _, after) = left(|capacity| capacity / 4);
        assert_eq!(after, before);
        let (_, kept, after) = left(|capacity| capacity / 4 - 1);
        assert_eq!(after, 2 * kept);
    }

    #[test]
    fn a_cancelled_timer_leaves_and_its_slot_is_reused() {
        let (bench, mut timers) = (Bench::default(), Timers::new());
        let a = arm(&mut timers, 5, 0, bench.wakee(0));
        let b = arm(&mut timers, 6, 1, bench.wakee(1));
        assert!(timers.remove(a).is_some());
        let c = arm(&mut timers, 7, 2, bench.wakee(2));
        assert_eq!((c.0, timers.earliest()), (a.0, Some(6)));
        assert!(timers.remove(b).is_some());
        assert_eq!(bench.fired(&mut timers, 9), [2]);
        assert!(timers.wakee(c).is_none());
        assert!(timers.remove(c).is_none());
        assert_eq!((timers.len(), timers.earliest()), (0, None));
    }

    #[test]
    fn t91_cancelling_a_million_timers_shrinks_the_heap() {
        let (mut timers, waker) = (Timers::new(), Waker::noop());
        let cx = Context::from_waker(waker);
        let keys: Vec<_> = (0..1_000_000)
            .map(|born| arm(&mut timers, born * 7919 % 1_000_003, born, Wakee::of(&cx)))
            .collect();
        timers.earliest();
        assert_eq!(timers.heap.len(), 1_000_000);
        for key in keys {
            drop(timers.remove(key));
        }
        assert!(timers.heap.len() <= FEW && timers.heap.len() == timers.dead);
        assert_eq!((timers.earliest(), timers.heap.len(), timers.dead), (None, 0, 0));
    }

    #[test]
    fn agrees_with_a_sorted_map_under_random_use() {
        let (bench, mut timers) = (Bench::default(), Timers::new());
        let mut model = BTreeMap::new();
        let mut keys: Vec<(Key, (u64, u64))> = Vec::new();
        let (mut seed, mut now) = (1_u64, 0);
        for born in 0..30_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let dice = seed >> 33;
            match dice % 8 {
                0..=3 => {
                    let deadline = now + dice / 8 % 50;
                    keys.push((
                        arm(&mut timers, deadline, born, bench.wakee(born)),
                        (deadline, born),
                    ));
                    model.insert((deadline, born), ());
                }
                4..=5 if !keys.is_empty() => {
                    let (key, name) = keys.swap_remove(dice as usize / 8 % keys.len());
                    assert_eq!(timers.remove(key).is_some(), model.remove(&name).is_some());
                }
                6 => {
                    now += dice / 8 % 20;
                    let later = model.split_off(&(now + 1, 0));
                    let due: Vec<u64> = std::mem::replace(&mut model, later)
                        .into_keys()
                        .map(|(_, born)| born)
                        .collect();
                    assert_eq!(bench.fired(&mut timers, now), due);
                }
                _ => {
                    let first = model.first_key_value().map(|((deadline, _), ())| *deadline);
                    assert_eq!(timers.earliest(), first);
                }
            }
        }
    }
}
