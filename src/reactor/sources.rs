//! The reactor of a loop: see the room's page.

use std::{
    cell::{Cell, OnceCell, RefCell},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{
    name::Name,
    table::{Key, Side, Table, Token},
};
use crate::{
    bell::{Alarm, Bell},
    home::STRIDE,
    sys::{Event, Events, Poller, Way},
    wakee::Wakee,
};

/// The sources of a loop.
pub(crate) struct Reactor {
    /// Made for the first source.
    sources: OnceCell<Box<Sources>>,
    /// How many wait, on all sides.
    waiting: Cell<usize>,
    /// Somebody outside the loop was given the poller's descriptor.
    is_exposed: Cell<bool>,
}

struct Sources {
    link: Arc<Link>,
    #[cfg(debug_assertions)]
    process: u32,
    table: RefCell<Table>,
    /// Borrowed while home waits; that runs no user code.
    events: RefCell<Events>,
    /// Who is to be woken now.
    woken: Cell<Vec<Wakee>>,
    /// How many tasks were polled since home last looked for events.
    polled: Cell<i64>,
}

/// What a source has of its loop's reactor, on any thread.
pub(crate) struct Link {
    poller: Poller,
    epoch: AtomicU32,
}

/// Whether an operation is to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    Go,
    /// The side is not ready.
    Wait,
    /// Likewise; whoever asks is woken at the next event.
    Waits,
    /// The loop goes.
    Gone,
}

/// What became of somebody who wanted to wait. Wakees are dropped while nothing is borrowed.
#[must_use]
pub(crate) enum Waiting {
    /// It waits; this one, perhaps, no longer.
    Begun(Option<Wakee>),
    /// The side is ready, or gone.
    Refused(Wakee),
    /// The system will tell of no event. It waits all the same.
    Failed(io::Error),
}

impl Link {
    /// Forgets a descriptor, before it is closed. From any thread.
    pub(crate) fn delete(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        self.poller.delete(fd, key.pack())
    }

    /// See the contract above. Elsewhere.
    pub(crate) fn epoch(&self) -> u32 {
        // Ordering: Acquire, so that an operation that follows finds whatever was ready when the
        // events of this epoch were brought.
        self.epoch.load(Ordering::Acquire)
    }
}

impl Reactor {
    pub(crate) fn new() -> Reactor {
        Reactor { sources: OnceCell::new(), waiting: Cell::new(0), is_exposed: Cell::new(false) }
    }

    /// Whether it has had no source yet.
    pub(crate) fn is_new(&self) -> bool {
        let Reactor { sources, waiting, is_exposed } = self;
        sources.get().is_none() && waiting.get() == 0 && !is_exposed.get()
    }

    fn sources(&self) -> io::Result<&Sources> {
        if let Some(sources) = self.sources.get() {
            return Ok(sources);
        }
        let link = Link { poller: Poller::new()?, epoch: AtomicU32::new(0) };
        Ok(self.sources.get_or_init(|| {
            Box::new(Sources {
                link: Arc::new(link),
                #[cfg(debug_assertions)]
                process: std::process::id(),
                table: RefCell::new(Table::new()),
                events: RefCell::new(Events::new()),
                woken: Cell::new(Vec::new()),
                polled: Cell::new(0),
            })
        }))
    }

    /// What sources need of the reactor.
    pub(crate) fn link(&self) -> io::Result<&Arc<Link>> {
        Ok(&self.sources()?.link)
    }

    /// The poller, for whoever waits for its descriptor instead of the loop.
    pub(crate) fn expose(&self) -> io::Result<&Arc<Link>> {
        let link = self.link()?;
        self.is_exposed.set(true);
        Ok(link)
    }

    /// Whether anybody waits for a source.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting.get() > 0
    }

    fn table<R>(&self, f: impl FnOnce(&mut Table) -> R) -> Option<R> {
        let sources = self.sources.get()?;
        Some(f(&mut sources.table.borrow_mut()))
    }

    /// Registers a descriptor, which is to be deleted from the poller before it is closed, and whose
    /// source is to be removed then.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, what: &'static str) -> io::Result<Key> {
        let sources = self.sources()?;
        let mut table = sources.table.borrow_mut();
        // Ordering: Relaxed; only home writes it.
        let epoch = sources.link.epoch.load(Ordering::Relaxed);
        let key = table.insert(epoch, Name::Fd(what, fd.as_raw_fd()));
        if let Err(error) = sources.link.poller.add(fd, key.pack()) {
            table.remove(key, &mut Vec::new());
            return Err(error);
        }
        Ok(key)
    }

    /// Who can say more of what the source is.
    pub(crate) fn set_name(&self, key: Key, name: Name) {
        self.table(|table| table.get(key).map(|source| source.name = name));
    }

    /// Forgets a source; those who wait for it are woken.
    pub(crate) fn remove(&self, key: Key) {
        self.wake(|table, woken| table.remove(key, woken));
    }

    /// Wakes those whom `f` takes out of the table.
    fn wake<R>(&self, f: impl FnOnce(&mut Table, &mut Vec<Wakee>) -> R) -> Option<R> {
        let sources = self.sources.get()?;
        let mut woken = sources.woken.take();
        let result = f(&mut sources.table.borrow_mut(), &mut woken);
        self.waiting.set(self.waiting.get() - woken.len());
        for wakee in woken.drain(..) {
            // Foreign code, perhaps, which may come back here.
            wakee.wake();
        }
        sources.woken.set(woken);
        Some(result)
    }

    /// Whether an operation is to be tried. If not, and nobody waits, the one whom
    /// `own` makes begins to wait under this token; `own` runs no foreign code.
    #[inline]
    pub(crate) fn attempt(
        &self,
        key: Key,
        way: Way,
        token: Token,
        own: impl FnOnce() -> Option<Wakee>,
    ) -> Attempt {
        let Some(sources) = self.sources.get() else { return Attempt::Gone };
        let mut table = sources.table.borrow_mut();
        let Some(side) = table.side(key, way) else { return Attempt::Gone };
        if side.ready {
            return Attempt::Go;
        }
        if sources.link.poller.is_oneshot() || side.is_awaited() {
            return Attempt::Wait;
        }
        let Some(wakee) = own() else { return Attempt::Wait };
        side.begin(token, wakee);
        self.waiting.set(self.waiting.get() + 1);
        Attempt::Waits
    }

    /// An operation has shown that the next one would block, unless the side has ended.
    #[inline]
    pub(crate) fn drained(&self, key: Key, way: Way) {
        self.table(|table| table.side(key, way).map(|side| side.ready = side.ended));
    }

    /// An operation would have blocked, whatever was said before.
    pub(crate) fn blocked(&self, key: Key, way: Way) {
        self.table(|table| table.side(key, way).map(Side::block));
    }

    /// As [`Reactor::blocked`], unless an event has come since this epoch.
    pub(crate) fn blocked_at(&self, key: Key, way: Way, epoch: u32) {
        let Some(sources) = self.sources.get() else { return };
        if let Some(side) = sources.table.borrow_mut().side(key, way) {
            // Counted on a circle.
            if epoch.wrapping_sub(side.epoch) as i32 >= 0 {
                side.block();
            } else {
                // Ordering: Relaxed; only home writes it. The next letter says this one or a later
                // one, however old the last event is.
                side.epoch = sources.link.epoch.load(Ordering::Relaxed);
            }
        }
    }

    /// Whether whoever is meant waits already.
    #[inline]
    pub(crate) fn knows(&self, key: Key, way: Way, is: impl Fn(&Wakee, Token) -> bool) -> bool {
        let known = self.table(|table| {
            let side = table.side(key, way).filter(|side| side.is_awaited());
            side.is_some_and(|side| side.waiting().any(|(w, t)| is(w, t)))
        });
        known.unwrap_or(false)
    }

    /// Has somebody woken at the next event, in place of whoever waited under this token.
    #[inline]
    pub(crate) fn wait_for(&self, key: Key, way: Way, token: Token, wakee: Wakee) -> Waiting {
        let Some(sources) = self.sources.get() else { return Waiting::Refused(wakee) };
        let mut table = sources.table.borrow_mut();
        let Some(side) = table.side(key, way).filter(|side| !side.ready) else {
            return Waiting::Refused(wakee);
        };
        let old = side.replace(token, wakee);
        self.waiting.set(self.waiting.get() + 1 - usize::from(old.is_some()));
        if !sources.link.poller.is_oneshot() {
            return Waiting::Begun(old);
        }
        let awaited = table.awaited(key);
        // Whoever is dropped may come back here.
        drop(table);
        match sources.link.poller.arm(key.pack(), awaited) {
            Ok(()) => Waiting::Begun(old),
            Err(error) => Waiting::Failed(error),
        }
    }

    /// Whoever waited under this token waits no longer, and is given back.
    pub(crate) fn give_up(&self, key: Key, way: Way, token: Token) -> Option<Wakee> {
        let wakee = self.table(|table| table.side(key, way)?.take(token)).flatten();
        self.waiting.set(self.waiting.get() - usize::from(wakee.is_some()));
        wakee
    }

    /// A token that nobody has who waits.
    pub(crate) fn token(&self) -> Token {
        self.table(Table::token).unwrap_or_default()
    }

    /// That many tasks were polled. Looks for events, without waiting, if it is time to and anybody
    /// waits for them.
    #[inline]
    pub(crate) fn pace(&self, polls: i64) -> bool {
        if !self.is_awaited() {
            return false;
        }
        self.pace_awaited(polls)
    }

    #[inline(never)]
    fn pace_awaited(&self, polls: i64) -> bool {
        let Some(sources) = self.sources.get() else { return false };
        let polled = sources.polled.get() + polls;
        sources.polled.set(polled);
        polled >= i64::from(STRIDE) && self.look_once(sources).0
    }

    /// Looks for events, without waiting, if anybody may want to know of them. Whether there were
    /// any.
    pub(crate) fn look(&self) -> bool {
        if !self.is_awaited() && !self.is_exposed.get() {
            return false;
        }
        let Some(sources) = self.sources.get() else { return false };
        let mut any = false;
        loop {
            let (some, is_full) = self.look_once(sources);
            any |= some;
            // What is left may be what somebody waits for; and whoever waits for the descriptor takes
            // one that is not read empty for news.
            if !is_full {
                return any;
            }
        }
    }

    /// Whether there were any events, and whether there may be more.
    fn look_once(&self, sources: &Sources) -> (bool, bool) {
        sources.wait(Some(Duration::ZERO));
        let is_full = sources.events.borrow().is_full();
        (self.take_in(sources), is_full)
    }

    /// Sleeps until there are events, the bell rings, or `limit` is over; may return early. Whether
    /// there were events.
    pub(crate) fn park(&self, bell: &Bell, limit: Option<Duration>) -> bool {
        let Some(sources) = self.sources.get().filter(|_| self.is_awaited()) else {
            bell.park(limit);
            return false;
        };
        let mut has_waited = false;
        bell.park_in(&sources.link, || {
            sources.wait(limit);
            has_waited = true;
        });
        has_waited && self.take_in(sources)
    }

    /// Wakes those whom events are for. Whether there were any events.
    fn take_in(&self, sources: &Sources) -> bool {
        sources.polled.set(0);
        let events = sources.events.borrow();
        // Ordering: Relaxed to read what only home writes; Release, see `Link::epoch`.
        let epoch = sources.link.epoch.load(Ordering::Relaxed).wrapping_add(1);
        sources.link.epoch.store(epoch, Ordering::Release);
        let mut any = false;
        self.wake(|table, woken| {
            for event in events.iter() {
                any = true;
                table.take_in(event, epoch, woken);
                if sources.link.poller.is_oneshot() {
                    sources.rearm(table, event, epoch, woken);
                }
            }
            drop(events);
        });
        any
    }

    /// Forgets all sources, and wakes everybody who waits: the loop goes. No source comes from now on.
    pub(crate) fn close(&self) {
        self.wake(Table::remove_all);
    }

    /// Runs `f` for everybody who waits, with what they wait for.
    pub(crate) fn each(&self, mut f: impl FnMut(&Wakee, String)) {
        // Names are asked for while nothing is borrowed: who says the last word of a source closes it.
        let names = self.table(|table| table.names()).unwrap_or_default();
        for (key, way, name) in names {
            let name = name.describe(way);
            self.table(|table| {
                for (wakee, _) in table.side(key, way).into_iter().flat_map(|side| side.waiting()) {
                    f(wakee, name.clone());
                }
            });
        }
    }
}

impl Sources {
    /// An event has disarmed its source: asks for the next one, if somebody still waits in the other
    /// direction. If the system refuses, they are woken, and hear it when they wait again.
    #[cold]
    fn rearm(&self, table: &mut Table, event: Event, epoch: u32, woken: &mut Vec<Wakee>) {
        let awaited = table.awaited(Key::unpack(event.key));
        if awaited.contains(&true) && self.link.poller.arm(event.key, awaited).is_err() {
            table.take_in(Event { readable: true, writable: true, ..event }, epoch, woken);
        }
    }

    /// Waits for events, or looks for them.
    fn wait(&self, limit: Option<Duration>) {
        // Not in release builds, since it is a call to the system.
        #[cfg(debug_assertions)]
        assert!(
            std::process::id() == self.process,
            "boucle: this process is a fork of the one that made the loop, and would take its events \
             away from it: use a loop of its own in each process, made after the fork"
        );
        let mut events = self.events.borrow_mut();
        if let Err(error) = self.link.poller.wait(&mut events, limit) {
            drop(events);
            panic!(
                "boucle: the system refuses to wait for sockets ({error}): has somebody closed a \
                 descriptor that is not theirs?"
            );
        }
    }
}

impl Alarm for Link {
    fn rouse(&self) {
        self.poller.notify();
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}
