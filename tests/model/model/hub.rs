//! Who is woken, in which order: the part of the model that wakers reach, from any thread.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Wake, Waker},
    thread::{self, ThreadId},
};

/// Names whoever can be woken: a task, a child of a scope, a scope's body, all children of a nest.
pub(super) type Key = u64;

/// What its wakers know of an executor.
#[derive(Clone)]
pub(super) struct Hub(Arc<Mutex<Wakes>>);

pub(super) struct Wakes {
    home: ThreadId,
    /// How often the loop is entered: only then, and on its thread, wakes are at home.
    entered: u32,
    lifo: bool,
    bell: Bell,
    next: Key,
    ready: VecDeque<Key>,
    /// Whoever was woken elsewhere, once each.
    letters: Vec<Key>,
    targets: BTreeMap<Key, Target>,
}

struct Target {
    queued: bool,
    posted: bool,
    kind: Kind,
}

enum Kind {
    Task,
    Child(Key),
    Group(Group),
    Nest(Nest, Group),
}

/// Those who are polled by one future.
#[derive(Default)]
struct Group {
    /// Keys of a scope, its own for its body; places in a nest.
    ready: VecDeque<u64>,
    /// Whoever polls them is at it, and need not be told.
    polling: bool,
    parent: Option<Waker>,
    /// The body of a scope has ended.
    over: bool,
}

#[derive(Default)]
struct Nest {
    state: Vec<State>,
    /// Places that were woken elsewhere.
    mail: Vec<u64>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Idle,
    Listed,
    /// In the list, but done.
    Skipped,
    Done,
}

/// What a loop that is not driven is told by.
#[derive(PartialEq)]
enum Bell {
    /// It is driven, or its host knows that there is something to do.
    Busy,
    /// Something has come that the loop has not looked at.
    Rung,
    /// Nothing was ready when it was last driven.
    Idle,
}

/// A waker.
struct Ringer {
    hub: Hub,
    key: Key,
    place: u64,
}

impl Wake for Ringer {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut wakes = self.hub.lock();
        if wakes.entered > 0 && wakes.home == thread::current().id() {
            drop(wakes);
            self.hub.hit(self.key, self.place);
        } else {
            wakes.post(self.key, self.place);
        }
    }
}

impl Hub {
    pub(super) fn new(lifo: bool) -> Hub {
        Hub(Arc::new(Mutex::new(Wakes {
            home: thread::current().id(),
            entered: 0,
            lifo,
            bell: Bell::Idle,
            next: 1,
            ready: VecDeque::new(),
            letters: Vec::new(),
            targets: BTreeMap::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Wakes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self) {
        self.lock().entered += 1;
    }

    pub(super) fn leave(&self) {
        self.lock().entered -= 1;
    }

    fn add(&self, kind: Kind) -> Key {
        let mut wakes = self.lock();
        let key = wakes.next;
        wakes.next += 1;
        wakes.targets.insert(key, Target { queued: false, posted: false, kind });
        key
    }

    pub(super) fn add_task(&self) -> Key {
        self.add(Kind::Task)
    }

    pub(super) fn add_child(&self, scope: Key) -> Key {
        self.add(Kind::Child(scope))
    }

    pub(super) fn add_scope(&self) -> Key {
        self.add(Kind::Group(Group::default()))
    }

    pub(super) fn add_nest(&self, len: usize) -> Key {
        let nest = Nest { state: vec![State::Idle; len], mail: Vec::new() };
        self.add(Kind::Nest(nest, Group::default()))
    }

    /// Wakes do nothing from now on.
    pub(super) fn remove(&self, key: Key) {
        let target = self.lock().targets.remove(&key);
        drop(target);
    }

    pub(super) fn waker(&self, key: Key, place: u64) -> Waker {
        Waker::from(Arc::new(Ringer { hub: self.clone(), key, place }))
    }

    /// A wake at home.
    pub(super) fn hit(&self, key: Key, place: u64) {
        let told = self.lock().hit(key, place);
        if let Some(parent) = told {
            parent.wake();
        }
    }

    pub(super) fn is_queued(&self, key: Key) -> bool {
        self.lock().targets.get(&key).is_some_and(|target| target.queued)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lock().ready.is_empty()
    }

    /// Who would be popped now.
    pub(super) fn first(&self) -> Option<Key> {
        let wakes = self.lock();
        if wakes.lifo { wakes.ready.back() } else { wakes.ready.front() }.copied()
    }

    pub(super) fn pop(&self) -> Option<Key> {
        let mut wakes = self.lock();
        let key = if wakes.lifo { wakes.ready.pop_back() } else { wakes.ready.pop_front() }?;
        wakes.unqueue(key);
        Some(key)
    }

    /// The loop is driven from now on.
    pub(super) fn busy(&self) {
        let mut wakes = self.lock();
        if wakes.bell == Bell::Idle {
            wakes.bell = Bell::Busy;
        }
    }

    /// Something is ready, of which the host of an idle loop must hear.
    pub(super) fn ring_if_idle(&self) {
        let mut wakes = self.lock();
        if wakes.bell == Bell::Idle {
            wakes.bell = Bell::Rung;
        }
    }

    pub(super) fn has_rung(&self) -> bool {
        self.lock().bell == Bell::Rung
    }

    /// Whether the loop is at rest now: nothing has come since it looked.
    pub(super) fn is_at_rest(&self) -> bool {
        let mut wakes = self.lock();
        if wakes.bell == Bell::Busy {
            wakes.bell = Bell::Idle;
        }
        wakes.bell == Bell::Idle
    }

    /// Reads the letters, if the bell has rung.
    pub(super) fn read_letters(&self) {
        let mut wakes = self.lock();
        if wakes.bell != Bell::Rung {
            return;
        }
        wakes.bell = Bell::Busy;
        let letters = std::mem::take(&mut wakes.letters);
        drop(wakes);
        for key in letters {
            let mut wakes = self.lock();
            let Some(target) = wakes.targets.get_mut(&key) else { continue };
            target.posted = false;
            let told = match target.kind {
                Kind::Nest(..) => {
                    wakes.take_mail(key);
                    wakes.group(key).and_then(|group| group.parent.take())
                }
                _ => wakes.hit(key, 0),
            };
            drop(wakes);
            if let Some(parent) = told {
                parent.wake();
            }
        }
    }

    // Of scopes and nests.

    /// A poll begins: who is the last to be polled?
    pub(super) fn begin(&self, key: Key, parent: &Waker) -> Option<u64> {
        let mut wakes = self.lock();
        wakes.take_mail(key);
        let group = wakes.group(key)?;
        group.parent = Some(parent.clone());
        group.polling = true;
        group.ready.back().copied()
    }

    pub(super) fn set_polling(&self, key: Key, polling: bool) {
        if let Some(group) = self.lock().group(key) {
            group.polling = polling;
        }
    }

    /// Who polls is to poll again, unless he is at it.
    pub(super) fn tell(&self, key: Key) {
        let mut wakes = self.lock();
        let told = wakes.group(key).filter(|group| !group.polling);
        let told = told.and_then(|group| group.parent.take());
        drop(wakes);
        if let Some(parent) = told {
            parent.wake();
        }
    }

    pub(super) fn has_ready(&self, key: Key) -> bool {
        self.lock().group(key).is_some_and(|group| !group.ready.is_empty())
    }

    /// Who in a scope is the next.
    pub(super) fn pop_child(&self, key: Key) -> Option<Key> {
        let mut wakes = self.lock();
        let child = wakes.group(key)?.ready.pop_front()?;
        wakes.unqueue(child);
        Some(child)
    }

    pub(super) fn end_body(&self, key: Key) {
        if let Some(group) = self.lock().group(key) {
            group.over = true;
        }
    }

    /// Which place of a nest is the next, and whether it wants to be polled.
    pub(super) fn pop_place(&self, key: Key) -> Option<(u64, bool)> {
        let mut wakes = self.lock();
        let Some(Target { kind: Kind::Nest(nest, group), .. }) = wakes.targets.get_mut(&key) else {
            return None;
        };
        let place = group.ready.pop_front()?;
        let state = &mut nest.state[place as usize];
        let wanted = *state == State::Listed;
        *state = if wanted { State::Idle } else { State::Done };
        Some((place, wanted))
    }

    /// The child at this place is done.
    pub(super) fn retire(&self, key: Key, place: u64) {
        let mut wakes = self.lock();
        if let Some(Target { kind: Kind::Nest(nest, _), .. }) = wakes.targets.get_mut(&key) {
            let state = &mut nest.state[place as usize];
            *state = if *state == State::Listed { State::Skipped } else { State::Done };
        }
    }

    /// Whether a place of a nest wants to be polled.
    pub(super) fn has_woken(&self, key: Key) -> bool {
        let mut wakes = self.lock();
        let Some(Target { kind: Kind::Nest(nest, group), .. }) = wakes.targets.get_mut(&key) else {
            return false;
        };
        group.ready.iter().any(|&place| nest.state[place as usize] == State::Listed)
    }
}

impl Wakes {
    fn group(&mut self, key: Key) -> Option<&mut Group> {
        match &mut self.targets.get_mut(&key)?.kind {
            Kind::Group(group) | Kind::Nest(_, group) => Some(group),
            _ => None,
        }
    }

    fn unqueue(&mut self, key: Key) {
        if let Some(target) = self.targets.get_mut(&key) {
            target.queued = false;
        }
    }

    /// A wake at home: who must be told of it.
    fn hit(&mut self, key: Key, place: u64) -> Option<Waker> {
        let target = self.targets.get_mut(&key)?;
        let (ready, group) = match &mut target.kind {
            Kind::Nest(nest, group) => {
                let state = &mut nest.state[place as usize];
                if *state != State::Idle {
                    return None;
                }
                *state = State::Listed;
                group.ready.push_back(place);
                return if group.polling { None } else { group.parent.take() };
            }
            _ if target.queued => return None,
            Kind::Group(group) if group.over => return None,
            Kind::Task => (true, key),
            Kind::Group(_) => (false, key),
            Kind::Child(scope) => (false, *scope),
        };
        target.queued = true;
        if ready {
            self.ready.push_back(key);
            return None;
        }
        let group = self.group(group)?;
        group.ready.push_back(key);
        if group.polling { None } else { group.parent.take() }
    }

    /// A wake elsewhere.
    fn post(&mut self, key: Key, place: u64) {
        // Also for those who have ended: nobody elsewhere knows.
        self.bell = Bell::Rung;
        let Some(target) = self.targets.get_mut(&key) else { return };
        if let Kind::Nest(nest, _) = &mut target.kind {
            if !nest.mail.contains(&place) {
                nest.mail.push(place);
            }
        }
        if !std::mem::replace(&mut target.posted, true) {
            self.letters.push(key);
        }
    }

    fn take_mail(&mut self, key: Key) {
        if let Some(Target { kind: Kind::Nest(nest, group), .. }) = self.targets.get_mut(&key) {
            for place in std::mem::take(&mut nest.mail) {
                if nest.state[place as usize] == State::Idle {
                    nest.state[place as usize] = State::Listed;
                    group.ready.push_back(place);
                }
            }
        }
    }
}
