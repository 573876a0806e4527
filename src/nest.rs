//! Children polled inside their parent's future, each with a waker of its own.
//!
//! A nest is one block of memory: an anchor, which counts the wakers of all the children, and a
//! slot per child, whose address is the data of the child's waker. A woken child joins the
//! block's list and wakes the parent; the parent then polls the children in the list, and no
//! others. What is polled, where it lies and what becomes of it is the caller's business: the
//! block never refers to it.
//!
//! In a loop, the block lives by the rules of `home`. Elsewhere, under another executor, no
//! thread is home: the block is an orphan from birth, and every wake takes the way for other
//! threads. Such a wake puts the slot on a stack (pushed by anybody, taken as a whole by the
//! parent, so that no entry can change under a push) and then tells the parent.
//!
//! `[block]` invariant: slots lie behind their block in one allocation, numbered from zero, and
//! the block stays as long as one of them is referred to.

use std::{
    alloc::{Layout, handle_alloc_error},
    cell::Cell,
    mem::ManuallyDrop,
    panic::Location,
    ptr::{self, NonNull},
    task::{Context, RawWaker, RawWakerVTable, Waker},
};

use crate::{
    facade::{AtomicU32, Mutex, Ordering, lock},
    guard::{OnDrop, catch, discard},
    home::{Anchor, AnchorVTable, Blocks, Budget, Home, LIVE, here},
    task::{Waits, is_child_polled, note_instead},
    wakee::{Target, TargetVTable, Wakee, behind, renew, set_polled},
};

// In this order: the loop in `poll` takes eight instructions a child less than in another.
#[repr(C)]
pub(crate) struct Nest {
    block: Option<NonNull<Block>>,
    len: u32,
    /// The children before this one have been polled; the others are ready, before all woken ones.
    fresh: u32,
    /// Where the call is written.
    at: &'static Location<'static>,
}

/// What came of polling a child.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Child {
    Pending,
    /// It is not polled again.
    Done,
    /// Nobody is polled again: the caller drops the nest.
    Last,
}

#[repr(C)]
struct Block {
    anchor: Anchor,
    /// In a loop: who polls the nest; taken by the wake that tells it.
    parent: Cell<Option<Wakee>>,
    /// Under another executor, likewise.
    foreign: Mutex<Option<Waker>>,
    /// The list of woken children: first and last, or `END`.
    first: Cell<u32>,
    last: Cell<u32>,
    /// The parent is at it, so it need not be told.
    polling: Cell<bool>,
    /// The stack of children woken elsewhere: the top, or `END`.
    mail: AtomicU32,
    len: u32,
}

#[repr(C)]
struct Slot {
    /// First, so that the address of the slot is that of its target.
    target: Target,
    index: u32,
    /// The next woken child, or one of the marks below.
    next: Cell<u32>,
    /// One while the slot is on the stack.
    posted: AtomicU32,
    /// The slot below on the stack, or `END`.
    below: AtomicU32,
}

/// In the list, but done: not to be polled.
const SKIP: u32 = 1 << 31;
/// The end of a list.
const END: u32 = SKIP - 1;
/// Not in the list.
const IDLE: u32 = SKIP - 2;
/// Not in the list, and never again.
const DONE: u32 = SKIP - 3;

static SLOT_WAKER: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

static SLOT: TargetVTable = TargetVTable {
    waker: &SLOT_WAKER,
    // SAFETY: `TargetVTable` says who calls them and with what, here and below; [block].
    hold: |target| unsafe { Anchor::hold(block_of(target.cast()).cast()) },
    // SAFETY: likewise.
    release: |target| unsafe { Anchor::release(block_of(target.cast()).cast()) },
    // SAFETY: likewise.
    wake: |target| unsafe {
        wake_by_ref(target.as_ptr().cast_const().cast());
        Anchor::release(block_of(target.cast()).cast());
    },
    // SAFETY: likewise; [block].
    behind: |target| behind(unsafe { &(*block_of(target.cast()).as_ptr()).parent }),
};

/// A block is no target itself: only its slots are.
static BLOCK: AnchorVTable = AnchorVTable {
    target: TargetVTable {
        waker: &SLOT_WAKER,
        hold: |_| unreachable!("blocks are not woken"),
        release: |_| unreachable!("blocks are not woken"),
        wake: |_| unreachable!("blocks are not woken"),
        // Asked of a block, not of a slot: who polls the nest.
        // SAFETY: `TargetVTable` says who calls it and with what.
        behind: |target| behind(unsafe { &(*target.cast::<Block>().as_ptr()).parent }),
    },
    deliver,
    forsaken: |_| unreachable!("a nest is not polled by itself"),
    dealloc: free,
};

impl Nest {
    pub(crate) fn new(len: usize, at: &'static Location<'static>) -> Nest {
        let len = u32::try_from(len).ok().filter(|&len| len < DONE);
        let len = len.expect("boucle: 2 billion futures in one call");
        Nest { block: None, len, fresh: 0, at }
    }

    /// Where the call is written.
    pub(crate) fn at(&self) -> &'static Location<'static> {
        self.at
    }

    /// Polls the children that are ready, each once: at first all, then those that were woken;
    /// after [`Child::Last`], nobody.
    ///
    /// After 64 children in one poll of the task, the rest is left for its next turn.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut child: impl FnMut(usize, &mut Context<'_>) -> Child,
    ) {
        if self.len == 0 {
            return;
        }
        let block = self.settle();
        // SAFETY: the nest keeps the block, by `LIVE`; this is the thread that polls it, and the
        // cells of a block without a loop are used by that thread only.
        let this = unsafe { block.as_ref() };
        this.meet(cx);
        // SAFETY: as above.
        unsafe { take_mail(block) };

        this.polling.set(true);
        let polling = OnDrop(|| this.polling.set(false));
        let until = this.last.get();
        let home = this.home();
        // Nests inside a child share the budget of the outermost.
        let mut budget = Budget::begin(home, is_child_polled());
        let mut left = (self.len - self.fresh) > 0 || until != END;
        while left && !budget.is_spent() {
            let (index, wanted) = if self.fresh < self.len {
                self.fresh += 1;
                (self.fresh - 1, true)
            } else {
                // SAFETY: as above; `until` is still in the list.
                unsafe { pop(block) }
            };
            left = self.fresh < self.len || (until != END && index != until);
            if !wanted {
                continue;
            }
            budget.spend();
            // SAFETY: [block]; indices in the list are those of slots.
            let polled = unsafe { poll_slot(block, index, |cx| child(index as usize, cx)) };
            if polled == Child::Last {
                return;
            }
            budget.refresh();
        }
        drop(polling);
        note_instead(Waits::Children(self.at));
        // If a child has dropped the loop, with it went what the children's wakers could do: the next
        // poll makes a new block and asks all again.
        let gone = home.is_some_and(Home::is_gone);
        // SAFETY: as above.
        if gone || self.fresh < self.len || unsafe { has_woken(block) } {
            cx.waker().wake_by_ref();
        }
    }

    /// The block, made anew when the nest is polled in another loop than before.
    fn settle(&mut self) -> NonNull<Block> {
        let home = NonNull::new(here().cast_mut()).unwrap_or(NonNull::dangling());
        if let Some(block) = self.block {
            // SAFETY: the nest keeps it. [outlives]: so the address names the loop, gone or not.
            if unsafe { block.as_ref().anchor.home } == home {
                return block;
            }
            self.leave();
        }
        let block = Block::create(home, self.len);
        self.block = Some(block);
        self.fresh = 0;
        block
    }

    /// Lets go of the block; wakers that are left wake nobody.
    fn leave(&mut self) {
        let Some(block) = self.block.take() else { return };
        // SAFETY: the nest kept it until now, and lets go last.
        unsafe {
            let this = block.as_ref();
            let parent = this.parent.take();
            // Nobody sets it in a loop.
            let foreign = if this.home().is_none() { lock(&this.foreign).take() } else { None };
            let flags = &this.anchor.flags;
            flags.set(flags.get() & !LIVE);
            Anchor::settle(block.cast());
            drop(parent);
            let _ = catch(|| drop(foreign)).map_err(discard);
        }
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Block {
    fn layout(len: u32) -> Layout {
        let slots = Layout::array::<Slot>(len as usize);
        let whole = slots.and_then(|slots| Layout::new::<Block>().extend(slots));
        whole.expect("boucle: too many futures in one call for this machine").0.pad_to_align()
    }

    fn create(home: NonNull<Home>, len: u32) -> NonNull<Block> {
        let vtable = &raw const BLOCK;
        let orphan = home == NonNull::dangling();
        let layout = Block::layout(len);
        // SAFETY: a block is never of size zero; everything is written before it is read; this is
        // the home's thread, since it is entered here.
        unsafe {
            let memory =
                if orphan { Blocks::new().take(layout) } else { home.as_ref().blocks.take(layout) };
            let Some(block) = NonNull::new(memory.cast::<Block>()) else {
                handle_alloc_error(layout)
            };
            let anchor = if orphan {
                Anchor::orphan(vtable, LIVE)
            } else {
                Anchor::new(vtable, home, home.as_ref().enroll(block.cast()), LIVE)
            };
            block.write(Block {
                anchor,
                parent: Cell::new(None),
                foreign: Mutex::new(None),
                first: Cell::new(END),
                last: Cell::new(END),
                polling: Cell::new(false),
                mail: AtomicU32::new(END),
                len,
            });
            for index in 0..len {
                slot(block, index).write(Slot {
                    target: Target { vtable: &raw const SLOT },
                    index,
                    next: Cell::new(IDLE),
                    posted: AtomicU32::new(0),
                    below: AtomicU32::new(END),
                });
            }
            block
        }
    }

    /// The loop of the block, if it has one.
    fn home(&self) -> Option<&Home> {
        let home = self.anchor.home;
        if home == NonNull::dangling() {
            return None;
        }
        // SAFETY: [outlives].
        Some(unsafe { home.as_ref() })
    }

    /// Remembers who polls.
    fn meet(&self, cx: &Context<'_>) {
        if self.home().is_some() {
            let mut parent = self.parent.take();
            let old = renew(&mut parent, cx);
            self.parent.set(parent);
            drop(old);
        } else {
            let new = cx.waker().clone();
            let old = lock(&self.foreign).replace(new);
            drop(old);
        }
    }
}

/// # Safety
/// [block]; the index is that of a slot. The pointer must cover the whole allocation to be used
/// for more than the slot's cells.
unsafe fn slot(block: NonNull<Block>, index: u32) -> NonNull<Slot> {
    const { assert!(align_of::<Slot>() <= align_of::<Block>()) };
    const { assert!(size_of::<Block>() % align_of::<Slot>() == 0) };
    // SAFETY: the caller says so.
    unsafe { block.add(1).cast::<Slot>().add(index as usize) }
}

/// # Safety
/// [block]; the pointer covers the whole allocation.
unsafe fn block_of(slot: NonNull<Slot>) -> NonNull<Block> {
    // SAFETY: the caller says so.
    unsafe { slot.sub((*slot.as_ptr()).index as usize).cast::<Block>().sub(1) }
}

/// # Safety
/// The caller keeps the block and is the one who polls it; the slot is not in the list.
unsafe fn poll_slot(
    block: NonNull<Block>,
    index: u32,
    child: impl FnOnce(&mut Context<'_>) -> Child,
) -> Child {
    // SAFETY: the caller says so. The waker is lent, not counted: clones count themselves.
    unsafe {
        let slot = slot(block, index);
        let raw = RawWaker::new(slot.as_ptr().cast_const().cast(), &SLOT_WAKER);
        let waker = ManuallyDrop::new(Waker::from_raw(raw));
        let outer = set_polled(slot.as_ptr().cast_const().cast());
        let polled = OnDrop(|| {
            set_polled(outer);
        });
        let became = child(&mut Context::from_waker(&waker));
        drop(polled);
        if became == Child::Done {
            retire(slot);
        }
        became
    }
}

/// Marks a child as done; if it has woken itself meanwhile, it stays in the list, to be passed over
/// there.
///
/// # Safety
/// As [`poll_slot`].
unsafe fn retire(slot: NonNull<Slot>) {
    // SAFETY: the caller says so.
    let next = unsafe { &(*slot.as_ptr()).next };
    next.set(if next.get() == IDLE { DONE } else { next.get() | SKIP });
}

/// Takes the first child out of the list; true if it is to be polled.
///
/// # Safety
/// [block], on the thread that polls; the list is not empty.
unsafe fn pop(block: NonNull<Block>) -> (u32, bool) {
    // SAFETY: the caller says so; indices in the list are those of slots.
    unsafe {
        let this = block.as_ref();
        let index = this.first.get();
        let link = &slot(block, index).as_ref().next;
        let next = link.get() & !SKIP;
        this.first.set(next);
        if next == END {
            this.last.set(END);
        }
        let wanted = link.get() & SKIP == 0;
        link.set(if wanted { IDLE } else { DONE });
        (index, wanted)
    }
}

/// Whether a child waits to be polled; those that are done leave the front of the list.
///
/// # Safety
/// [block], on the thread that polls.
unsafe fn has_woken(block: NonNull<Block>) -> bool {
    // SAFETY: the caller says so.
    unsafe {
        loop {
            let first = block.as_ref().first.get();
            if first == END {
                return false;
            }
            if slot(block, first).as_ref().next.get() & SKIP == 0 {
                return true;
            }
            pop(block);
        }
    }
}

/// Puts a woken child at the end of the list. True if the parent must be told.
///
/// # Safety
/// [block], on the thread that polls.
unsafe fn append(block: NonNull<Block>, slot: NonNull<Slot>) -> bool {
    // SAFETY: the caller says so.
    unsafe {
        let (this, child) = (block.as_ref(), slot.as_ref());
        if child.next.get() != IDLE {
            return false;
        }
        child.next.set(END);
        let last = this.last.replace(child.index);
        if last == END {
            this.first.set(child.index);
        } else {
            let before = &self::slot(block, last).as_ref().next;
            before.set(child.index | before.get() & SKIP);
        }
        !this.polling.get()
    }
}

/// Moves the children that were woken elsewhere to the list, in the order of their wakes.
///
/// # Safety
/// As [`append`].
unsafe fn take_mail(block: NonNull<Block>) {
    // SAFETY: the caller says so. Slots on the stack are ours from the moment the top is taken
    // until `posted` is cleared, after which anybody may push them again.
    unsafe {
        let this = block.as_ref();
        // Ordering: Relaxed; whoever pushes after this look tells the parent afterwards.
        if this.mail.load(Ordering::Relaxed) == END {
            return;
        }
        // Ordering: Acquire sees the `below`s that the pushes released.
        let mut top = this.mail.swap(END, Ordering::AcqRel);
        let mut reversed = END;
        while top != END {
            let child = slot(block, top).as_ref();
            let below = child.below.load(Ordering::Relaxed);
            child.below.store(reversed, Ordering::Relaxed);
            (reversed, top) = (top, below);
        }
        while reversed != END {
            let child = slot(block, reversed);
            reversed = child.as_ref().below.load(Ordering::Relaxed);
            // Ordering: Acquire sees what every waker wrote, also those that found it posted.
            child.as_ref().posted.swap(0, Ordering::AcqRel);
            append(block, child);
        }
    }
}

/// A letter about the block: children were woken elsewhere.
///
/// # Safety
/// As `AnchorVTable::deliver`.
unsafe fn deliver(anchor: NonNull<Anchor>) {
    // SAFETY: the caller says so.
    unsafe {
        take_mail(anchor.cast());
        let parent = anchor.cast::<Block>().as_ref().parent.take();
        if let Some(parent) = parent {
            parent.wake();
        }
    }
}

/// # Safety
/// As `AnchorVTable::dealloc`.
unsafe fn free(anchor: NonNull<Anchor>, home: Option<&Home>) {
    let block = anchor.cast::<Block>();
    // SAFETY: nobody refers to the block or its slots any more. `parent` and `foreign` were taken
    // when the nest let go, so no user code runs.
    unsafe {
        let len = block.as_ref().len;
        for index in 0..len {
            ptr::drop_in_place(slot(block, index).as_ptr());
        }
        ptr::drop_in_place(block.as_ptr());
        let (memory, layout) = (block.as_ptr().cast(), Block::layout(len));
        match home {
            Some(home) => home.blocks.give(memory, layout),
            None => Blocks::lose(memory, layout),
        }
    }
}

/// `[slot waker]` invariant: the data is the address of a slot, counted in its block's anchor,
/// with the provenance of the whole block.
fn of(data: *const ()) -> (NonNull<Slot>, NonNull<Block>) {
    // SAFETY: [slot waker], [block].
    unsafe {
        let slot = NonNull::new_unchecked(data.cast_mut().cast());
        (slot, block_of(slot))
    }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: [slot waker].
    unsafe { Anchor::clone_waker(of(data).1.cast()) };
    RawWaker::new(data, &SLOT_WAKER)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: [slot waker], until it is dropped.
    unsafe {
        wake_by_ref(data);
        drop_waker(data);
    }
}

unsafe fn wake_by_ref(data: *const ()) {
    let (slot, block) = of(data);
    // SAFETY: [slot waker], or the caller is a wakee, which holds the block.
    unsafe {
        if Anchor::at_home(block.cast()) {
            if append(block, slot) {
                if let Some(parent) = block.as_ref().parent.take() {
                    parent.wake();
                }
            }
        } else {
            wake_elsewhere(slot, block);
        }
    }
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: [slot waker]; it is the last use of this one.
    unsafe { Anchor::drop_waker(of(data).1.cast()) };
}

/// # Safety
/// [slot waker]; not at home.
#[cold]
unsafe fn wake_elsewhere(slot: NonNull<Slot>, block: NonNull<Block>) {
    // SAFETY: the caller's reference keeps the block; only atomics, the lock and what never
    // changes are used.
    unsafe {
        let child = slot.as_ptr();
        let mail = &(*block.as_ptr()).mail;
        // Ordering: Release even if it is posted: `take_mail` acquires what we wrote. Acquire
        // orders our `below` after the read by the `take_mail` that cleared the mark.
        if (*child).posted.swap(1, Ordering::AcqRel) == 0 {
            let mut top = mail.load(Ordering::Relaxed);
            loop {
                (*child).below.store(top, Ordering::Relaxed);
                // Ordering: Release publishes `below`.
                match mail.compare_exchange_weak(
                    top,
                    (*child).index,
                    Ordering::Release,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => break,
                    Err(now) => top = now,
                }
            }
        }
        let foreign = lock(&(*block.as_ptr()).foreign).take();
        if let Some(waker) = foreign {
            // It may panic, which is no reason to lose the rest.
            let _ = catch(|| waker.wake()).map_err(discard);
        }
        Anchor::send(block.cast(), true, false);
    }
}
