//! A poll that goes on for long, seen from another thread while it does.
//!
//! The loop writes two words per poll (see `pulse`), and hands a state over at the beginning and at
//! the end of each stride:
//!
//! | state | meaning | left by |
//! |---|---|---|
//! | `RESTING` | no task is polled | the loop: `AWAKE`; the watchdog, at a look: `SLEEPING` |
//! | `AWAKE` | tasks are polled | the loop: `RESTING` |
//! | `SLEEPING` | likewise `RESTING`, and the watchdog is parked | the loop: `AWAKE`, and the watchdog is unparked |
//! | `STOPPED` | the loop is gone | never |
//!
//! So an idle loop costs nothing, its watchdog sleeps, and a loop that is busy again makes one
//! system call if it was idle at a look of the watchdog.

use std::{
    cell::OnceCell,
    fmt,
    io,
    num::NonZeroU64,
    panic::Location,
    // A watchdog looks at the time, which no model has: not from the facade.
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use super::report::Span;
use crate::{
    guard::{catch, discard},
    pulse::Pulse,
    task::Id,
};

/// A poll that goes on for long, as a watchdog sees it: told to
/// [`Builder::on_blocked`](crate::Builder::on_blocked). Its `Display` is the report.
///
/// The task has no name here: names belong to the loop's thread.
///
/// ```
/// use boucle::{Blocked, Loop, spawn};
/// use std::{sync::{Mutex, mpsc}, time::Duration};
///
/// let (tell, told) = mpsc::channel();
/// let tell = Mutex::new(tell);
/// let l = Loop::builder()
///     .watchdog(Duration::from_millis(1))
///     .on_blocked(move |blocked: &Blocked| drop(tell.lock().unwrap().send(blocked.clone())))
///     .build();
/// // A task that blocks its thread until the watchdog has barked.
/// let task = l.spawn(async move { told.recv().unwrap() });
/// let id = task.id();
/// assert_eq!(l.block_on(task).unwrap().id, id);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Blocked {
    /// The number of the task. On 32-bit machines its lower half.
    pub id: Id,
    /// Where the task was spawned.
    pub spawned_at: &'static Location<'static>,
    /// For how long, at least, it had been polled.
    pub lasted: Duration,
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Blocked { id, spawned_at, lasted } = self;
        write!(f, "blocked: task {id}, spawned at {spawned_at}, has been polled for ")?;
        write!(f, "{} and goes on", Span(*lasted))
    }
}

/// Whom a watchdog tells.
pub(crate) type OnBlocked = Arc<dyn Fn(&Blocked) + Send + Sync>;

/// Which task a loop polls right now, for other threads and for signal handlers.
///
/// Given to [`Builder::running`](crate::Builder::running), which has the loop write it at each poll.
/// Of one loop at a time: what two of them write at once says nothing.
///
/// ```
/// use boucle::{Loop, Running};
///
/// let running = Running::new();
/// let l = Loop::builder().running(&running).build();
/// let task = l.spawn({
///     let running = running.clone();
///     async move { std::thread::spawn(move || running.task()).join().unwrap() }
/// });
/// let id = task.id();
/// let (seen, spawned_at) = l.block_on(task).unwrap().unwrap();
/// assert_eq!((seen, spawned_at.file()), (id, file!()));
/// assert!(running.task().is_none());
/// ```
#[derive(Clone, Default)]
pub struct Running(Arc<Pulse>);

impl Running {
    /// To be given to a loop.
    ///
    /// ```
    /// assert!(boucle::Running::new().task().is_none());
    /// ```
    pub fn new() -> Running {
        Running::default()
    }

    /// The number of the task that is polled right now, and where it was spawned; `None` if none
    /// is, or the loop went on to another one meanwhile.
    ///
    /// Async-signal-safe: four loads, and nothing else. A handler finds the handle in a
    /// [`OnceLock`](std::sync::OnceLock), say. On 32-bit machines the number is the lower half.
    ///
    /// ```
    /// assert!(boucle::Running::new().task().is_none());
    /// ```
    pub fn task(&self) -> Option<(Id, &'static Location<'static>)> {
        let beat = self.0.read()?;
        Some((Id(NonZeroU64::new(beat.id)?), beat.place))
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("task", &self.task()).finish()
    }
}

const RESTING: u8 = 0;
const AWAKE: u8 = 1;
const SLEEPING: u8 = 2;
const STOPPED: u8 = 3;

/// No shorter than this, so that a watchdog never spins.
const SHORTEST: Duration = Duration::from_millis(1);

/// After how long a watchdog barks, and how it gets its thread.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    over: Duration,
    start: fn(Bound) -> io::Result<Thread>,
}

impl Limit {
    /// A thread is much code, and this is `#[inline]`: it is compiled by those who want a watchdog.
    #[inline]
    pub(crate) fn new(over: Duration) -> Limit {
        Limit { over, start }
    }
}

#[inline]
fn start(bound: Bound) -> io::Result<Thread> {
    let thread = thread::Builder::new().name("boucle watchdog".into());
    Ok(thread.spawn(move || bound.run())?.thread().clone())
}

/// Who is polled, for whoever asks, and perhaps a thread that does.
pub(crate) struct Watchdog {
    running: Running,
    /// None without a thread.
    limit: Option<Limit>,
    on_blocked: Option<OnBlocked>,
    state: Arc<AtomicU8>,
    /// Started by the first poll; none if that failed.
    thread: OnceCell<Option<Thread>>,
}

impl Watchdog {
    pub(crate) fn new(
        running: Running,
        limit: Option<Limit>,
        on_blocked: Option<OnBlocked>,
    ) -> Watchdog {
        let state = Arc::new(AtomicU8::new(RESTING));
        Watchdog { running, limit, on_blocked, state, thread: OnceCell::new() }
    }

    pub(super) fn pulse(&self) -> &Pulse {
        &self.running.0
    }

    /// Tasks are polled from now on.
    pub(super) fn begin(&self) {
        let Some(limit) = self.limit else { return };
        // Ordering: Relaxed, here and below: the state hands nothing over, and each change of one
        // side is a read-modify-write or has no other side.
        let was = self.state.swap(AWAKE, Ordering::Relaxed);
        let thread = self.thread.get_or_init(|| self.start(limit));
        if let Some(thread) = thread.as_ref().filter(|_| was == SLEEPING) {
            thread.unpark();
        }
    }

    /// No task is polled until further notice.
    pub(super) fn end(&self) {
        if self.limit.is_some() {
            self.state.store(RESTING, Ordering::Relaxed);
        }
    }

    #[cold]
    fn start(&self, limit: Limit) -> Option<Thread> {
        let bound = Bound {
            pulse: self.running.0.clone(),
            limit: limit.over.max(SHORTEST),
            state: self.state.clone(),
            on_blocked: self.on_blocked.clone(),
        };
        match (limit.start)(bound) {
            Ok(thread) => Some(thread),
            Err(error) => {
                say(&format!("no watchdog: {error}"));
                None
            }
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Let go rather than joined: whom it tells may take long, or wait for this very thread.
        self.state.store(STOPPED, Ordering::Relaxed);
        if let Some(Some(thread)) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// A watchdog, in its thread.
pub(crate) struct Bound {
    pulse: Arc<Pulse>,
    limit: Duration,
    state: Arc<AtomicU8>,
    on_blocked: Option<OnBlocked>,
}

impl Bound {
    fn run(self) {
        // The poll that was going on at the last look, since when it was seen, and whether that was
        // told.
        let mut last: Option<(usize, Instant, bool)> = None;
        while self.is_wanted() {
            // Twice in the time that a poll may take.
            thread::park_timeout(self.limit / 2);
            let (beat, now) = (self.pulse.read(), Instant::now());
            last = match (beat, last) {
                (Some(beat), Some((ticket, since, told))) if beat.ticket == ticket => {
                    let lasted = now.saturating_duration_since(since);
                    let is_due = !told && lasted >= self.limit;
                    if let Some(id) = NonZeroU64::new(beat.id).filter(|_| is_due) {
                        self.bark(&Blocked { id: Id(id), spawned_at: beat.place, lasted });
                    }
                    Some((ticket, since, told || is_due))
                }
                (beat, _) => beat.map(|beat| (beat.ticket, now, false)),
            };
        }
    }

    /// Sleeps while the loop rests. False if the loop is gone.
    fn is_wanted(&self) -> bool {
        let ordering = (Ordering::Relaxed, Ordering::Relaxed);
        let _ = self.state.compare_exchange(RESTING, SLEEPING, ordering.0, ordering.1);
        loop {
            match self.state.load(Ordering::Relaxed) {
                STOPPED => return false,
                SLEEPING => thread::park(),
                _ => return true,
            }
        }
    }

    fn bark(&self, blocked: &Blocked) {
        match &self.on_blocked {
            Some(tell) => {
                let _ = catch(|| tell(blocked)).map_err(discard);
            }
            None => say(&blocked.to_string()),
        }
    }
}

fn say(line: &str) {
    let _ = catch(|| eprintln!("boucle: {line}")).map_err(discard);
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use std::sync::{Mutex, mpsc};

    #[test]
    fn a_watchdog_sleeps_while_its_loop_rests_and_goes_with_it() {
        let (tell, told) = mpsc::channel();
        let tell = Mutex::new(tell);
        let on_blocked: OnBlocked =
            Arc::new(move |blocked| drop(tell.lock().unwrap().send(blocked.id.to_string())));
        let dog = Watchdog::new(Running::new(), Some(Limit::new(Duration::ZERO)), Some(on_blocked));
        assert!(dog.thread.get().is_none(), "no thread before the first poll");
        for id in 1..=3 {
            dog.begin();
            dog.pulse().begin(id, Location::caller());
            // It barks while the poll goes on.
            assert_eq!(told.recv().unwrap(), format!("#{id}"));
            dog.pulse().end();
            dog.end();
            // It has nothing to do now, and nobody wakes it: sooner or later it sleeps.
            while dog.state.load(Ordering::Relaxed) != SLEEPING {
                thread::yield_now();
            }
        }
        assert!(told.try_recv().is_err(), "each poll is told once");
        drop(dog);
        // The thread ends, and drops the other end.
        assert!(told.recv().is_err());
    }
}
