//! One loop: its tasks, its timers, its clock; and one turn of it.
//!
//! A turn polls what is ready, in order, and looks at letters and timers when nothing is ready,
//! and at least every [`STRIDE`] polls, so that a task that always wakes itself starves nobody.
//! When a look finds nothing either, the loop waits: it parks until the next deadline or the
//! bell, or, if its clock is simulated, moves the clock.

mod close;
mod watch;

pub(crate) use self::watch::{Verdict, Watch, WatchPolls, Watcher};

use std::{
    cell::{Cell, RefCell},
    ptr::NonNull,
    time::{Duration, Instant},
};

#[cfg(all(unix, feature = "net", not(loom)))]
use crate::home::HomeRef;
use crate::{
    call_site::CallSite,
    clock::{self, Clock},
    home::{Home, STRIDE, here},
    reactor::Reactor,
    task::{ENDED, Header, Id, OnUnobserved, Tasks},
    timers::{Key, Timers},
    wakee::{Wakee, renew},
};

/// `[core]` invariant: every home is the head of a core, and pointers to homes cover all of it.
#[repr(C)]
pub(crate) struct Core {
    pub(crate) tasks: Tasks,
    timers: RefCell<Timers>,
    pub(crate) reactor: Reactor,
    clock: Clock,
    watch: RefCell<Watcher>,
    /// The watch was told that the loop is idle, and nothing has come since.
    worried: Cell<bool>,
    /// How often the watch has said something, of what may come often and of all else.
    told: [Cell<u32>; 2],
    /// The circles of tasks that it has told, each in the order of their ids.
    circles: RefCell<Vec<Vec<Id>>>,
    /// Counts looks of a busy loop without timers.
    looks: Cell<u32>,
    /// Why the loop cannot be driven on, to be told by whoever drives it.
    verdict: Cell<Option<Verdict>>,
    condemned: Cell<bool>,
    /// The watch looks on while tasks are polled.
    is_watched: bool,
    /// A timer has fired, a letter has come, or the loop has waited, since polls were last watched.
    news: Cell<bool>,
    /// Tells loom of a core that is never freed.
    #[cfg(loom)]
    _tracked: loom::alloc::Track<()>,
}

/// What became of a wait.
#[derive(PartialEq)]
pub(crate) enum Waited {
    /// Something may be ready.
    Maybe,
    /// Nothing can ever be ready again, or there is a verdict.
    Stuck,
}

/// Runs `f` with the core of the loop that is entered on this thread, if there is one.
#[inline]
pub(crate) fn with_core<R>(f: impl FnOnce(&Core) -> R) -> Option<R> {
    let home = here();
    // SAFETY: [here], [core].
    (!home.is_null()).then(|| f(unsafe { &*home.cast::<Core>() }))
}

/// Runs `f` with the core of this loop, if that is entered on this thread.
#[cfg(all(unix, feature = "net", not(loom)))]
#[inline]
pub(crate) fn with_core_at<R>(home: &HomeRef, f: impl FnOnce(&Core) -> R) -> Option<R> {
    let here = here();
    // SAFETY: [here], [core].
    home.is(here).then(|| f(unsafe { &*here.cast::<Core>() }))
}

impl Core {
    /// A core on its own, with one reference, which the caller gives back by [`Core::close`].
    pub(crate) fn create(
        clock: Clock,
        on_unobserved: Option<OnUnobserved>,
        watch: Watcher,
    ) -> NonNull<Core> {
        let is_usual = !clock.is_simulated() && on_unobserved.is_none() && watch.own().is_none();
        let is_watched = watch.own().is_some_and(|watch| watch.polls().is_some());
        let core = Box::new(Core {
            tasks: Tasks::new(Home::new(free), on_unobserved),
            timers: RefCell::new(Timers::new()),
            reactor: Reactor::new(),
            clock,
            watch: RefCell::new(watch),
            worried: Cell::new(false),
            told: [const { Cell::new(0) }; 2],
            circles: RefCell::new(Vec::new()),
            looks: Cell::new(0),
            verdict: Cell::new(None),
            condemned: Cell::new(false),
            is_watched,
            news: Cell::new(true),
            #[cfg(loom)]
            _tracked: loom::alloc::Track::new(()),
        });
        let core = NonNull::from(Box::leak(core));
        // SAFETY: it stays where it is, and the pointer covers all of it.
        unsafe { Home::settle_in(core.cast()) };
        if !is_usual {
            // SAFETY: it is new.
            unsafe { core.as_ref() }.tasks.home.touch();
        }
        core
    }

    pub(crate) fn is_simulated(&self) -> bool {
        self.clock.is_simulated()
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Arms a timer for whoever `wakee` is; `None` if the loop is closing.
    #[inline]
    pub(crate) fn arm(&self, at: Instant, born: u64, site: CallSite, wakee: Wakee) -> Option<Key> {
        if self.tasks.is_closing() {
            return None;
        }
        self.tasks.home.touch();
        Some(self.timers.borrow_mut().arm(at, born, site, wakee))
    }

    /// Looks at a timer; if it has not fired, whoever is polled with `cx` is woken when it does.
    #[inline(never)]
    pub(crate) fn has_fired(&self, key: Key, cx: &std::task::Context<'_>) -> bool {
        let mut timers = self.timers.borrow_mut();
        let Some(slot) = timers.wakee(key) else { return true };
        if slot.as_ref().is_some_and(|wakee| wakee.is(cx)) {
            return false;
        }
        drop(timers);
        // Making a wakee may run foreign code, and so may dropping the old one.
        let mut new = None;
        renew(&mut new, cx);
        let mut timers = self.timers.borrow_mut();
        let Some(slot) = timers.wakee(key) else { return true };
        std::mem::swap(slot, &mut new);
        drop(timers);
        drop(new);
        false
    }

    /// Forgets a timer, fired or not.
    #[inline]
    pub(crate) fn disarm(&self, key: Key) {
        let wakee = self.timers.borrow_mut().remove(key);
        drop(wakee);
    }

    /// The sleep of a timer was dropped or reset elsewhere.
    #[cold]
    fn hear(&self, key: Key, reset: bool) {
        let wakee = self.timers.borrow_mut().remove(key);
        match wakee {
            Some(wakee) if reset => wakee.wake(),
            wakee => drop(wakee),
        }
    }

    /// Gives a timer another deadline and age, for whoever waits for it already; `None` if it has
    /// fired, and is now forgotten.
    #[inline(never)]
    pub(crate) fn rearm(&self, key: Key, at: Instant, born: u64) -> Option<Key> {
        let mut timers = self.timers.borrow_mut();
        let site = timers.site(key)?;
        let wakee = timers.remove(key)?;
        Some(timers.arm(at, born, site, wakee))
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let earliest = self.timers.borrow_mut().earliest();
        earliest.map(clock::instant)
    }

    /// Runs `f` for every timer that is armed: who is woken, when, and where the sleep was made.
    pub(crate) fn each_timer(&self, f: impl FnMut(&Wakee, Instant, CallSite)) {
        self.timers.borrow_mut().each(f);
    }

    /// Reads the clock, for whoever asks later since when a task waits.
    fn stamp(&self) -> u64 {
        let now = self.clock.nanos();
        self.tasks.home.looked.set(now);
        now
    }

    /// Reads letters and fires timers, and looks for events if many polls have passed since the last
    /// time.
    pub(crate) fn look(&self) {
        let polls = i64::from(STRIDE) - self.tasks.home.counts.countdown.get();
        if self.reactor.pace(polls) {
            self.worried.set(false);
            self.news.set(true);
        }

        if self.tasks.home.bell.answer() {
            self.tasks.home.touch();
            self.worried.set(false);
            self.news.set(true);
            self.tasks.home.read_letters(|slot, reset| self.hear(Key(slot), reset));
        }
        if self.timers.borrow().len() > 0 {
            let now = self.stamp();
            loop {
                // One at a time, since a wake may be foreign code that arms and disarms.
                let due = self.timers.borrow_mut().fire(now);
                let Some(wakee) = due else { break };
                self.news.set(true);
                wakee.wake();
            }
        } else if !self.tasks.ready.is_empty() {
            // Now and then, so that a loop that is busy for long knows since when others wait.
            self.looks.set(self.looks.get().wrapping_add(1));
            if self.looks.get() % 16 == 0 {
                self.stamp();
            }
        }
    }

    /// Looks at everything: what a loop that does not wait does instead.
    pub(crate) fn look_around(&self) {
        self.look();
        if self.reactor.look() {
            self.news.set(true);
        }
    }

    /// The task `main` is about to be made, and nothing polled since the loop was entered: whether the
    /// first poll may as well be done at once, since nothing else is ready and nobody looks on.
    #[inline]
    pub(crate) fn begin(&self) -> bool {
        self.tasks.home.counts.countdown.set(i64::from(STRIDE) - 1);
        // A loop that is watched, or condemned, was touched.
        let is_plain = !self.tasks.home.is_touched() || !self.is_watched && !self.condemned.get();
        is_plain && self.tasks.ready.is_empty()
    }

    /// Polls what is ready, and what becomes ready meanwhile, until `task`, which is `MAIN`, has
    /// ended (then true) or nothing is ready (then false, and the memory of a burst is given back).
    ///
    /// # Safety
    /// The loop is entered, and the caller keeps it.
    pub(crate) unsafe fn run_ready(&self, task: Option<&Header>) -> bool {
        self.tasks.home.counts.countdown.set(i64::from(STRIDE) - 1);
        // SAFETY: the caller says so.
        unsafe { self.run_on(task) }
    }

    /// As [`Core::run_ready`], but goes on with the countdown.
    ///
    /// # Safety
    /// Likewise.
    pub(crate) unsafe fn run_on(&self, task: Option<&Header>) -> bool {
        let countdown = &self.tasks.home.counts.countdown;
        loop {
            if self.is_watched {
                // SAFETY: the caller says so.
                unsafe { self.run_watched(false) };
            } else if countdown.get() >= 0 {
                // SAFETY: the caller says so. The end of `main` stops the countdown.
                while unsafe { self.tasks.run_one(&()) } {
                    countdown.set(countdown.get() - 1);
                    if countdown.get() < 0 {
                        break;
                    }
                }
            }
            self.tasks.step_back();
            if task.is_some_and(|task| task.is(ENDED)) {
                return true;
            }
            self.look();
            if !self.tasks.ready.is_empty() {
                self.tasks.home.blocks.trim_busy();
            } else if !self.tasks.home.blocks.trim() {
                return false;
            }
            self.judge();
            if self.condemned.get() {
                return false;
            }
            countdown.set(i64::from(STRIDE) - 1);
        }
    }

    /// Polls one task; false if none is ready.
    ///
    /// # Safety
    /// As [`Core::run_ready`].
    pub(crate) unsafe fn run_one(&self) -> bool {
        // SAFETY: the caller says so.
        let polled = unsafe {
            if self.is_watched { self.run_watched(true) } else { self.tasks.run_one(&()) }
        };
        self.tasks.step_back();
        polled
    }

    /// Polls what is ready until the countdown ends, or one task, while the watch looks on. Whether
    /// any task was polled.
    ///
    /// # Safety
    /// As [`Core::run_ready`]; the caller steps back.
    #[cold]
    #[inline(never)]
    unsafe fn run_watched(&self, once: bool) -> bool {
        let countdown = &self.tasks.home.counts.countdown;
        let watch = self.watch();
        let Some(polls) = watch.get().polls() else {
            // The loop was dropped meanwhile, and its tasks with it.
            return false;
        };
        polls.begin(self.news.replace(false));
        let mut polled = false;
        // SAFETY: the caller says so. Stepping back comes before user code.
        while unsafe { self.tasks.run_one(polls) } {
            polled = true;
            if polls.has_found() {
                self.tasks.step_back();
                polls.tell(self);
            }
            if once || self.condemned.get() {
                break;
            }
            countdown.set(countdown.get() - 1);
            if countdown.get() < 0 {
                break;
            }
        }
        polls.end();
        polled
    }

    /// Has suspects looked at.
    #[inline]
    pub(crate) fn judge(&self) {
        if self.tasks.has_suspects() {
            self.watch().get().judge(self);
        }
    }

    /// The watch, which may be asked to drop its loop.
    fn watch(&self) -> Watcher {
        self.watch.borrow().clone()
    }

    /// How often something like it was said before, now that it is said again.
    pub(crate) fn count_told(&self, is_frequent: bool) -> u32 {
        self.tasks.home.touch();
        let told = &self.told[usize::from(is_frequent)];
        let before = told.get();
        told.set(before.saturating_add(1));
        before
    }

    /// Whether this circle of tasks was told before.
    pub(crate) fn has_told(&self, circle: &[Id]) -> bool {
        self.circles.borrow().iter().any(|told| told == circle)
    }

    pub(crate) fn set_told(&self, circle: Vec<Id>) {
        self.tasks.home.touch();
        self.circles.borrow_mut().push(circle);
    }

    pub(crate) fn is_condemned(&self) -> bool {
        self.condemned.get()
    }

    /// Has whoever drives the loop stop, and say why. The first verdict counts.
    pub(crate) fn condemn(&self, verdict: Verdict) {
        self.tasks.home.touch();
        if !self.condemned.replace(true) {
            self.verdict.set(Some(verdict));
        }
    }

    /// The verdict, if there is one.
    pub(crate) fn take_verdict(&self) -> Option<Verdict> {
        if self.condemned.replace(false) { self.verdict.take() } else { None }
    }

    /// Waits for something to become ready, after [`Core::run_ready`] returned false.
    pub(crate) fn wait(&self) -> Waited {
        self.tasks.home.touch();
        if self.condemned.get() {
            return Waited::Stuck;
        }
        // Asked first: whoever lets the clock go has rung before.
        let held = self.clock.is_simulated() && self.tasks.home.is_held();
        if self.tasks.home.bell.has_rung() {
            // The last look has run foreign code, which may have seen a letter off: before the
            // clock moves or anybody is called stuck, it is read.
            self.look();
            return Waited::Maybe;
        }
        let earliest = self.timers.borrow_mut().earliest();
        // Whoever waits for a source may be woken at any time.
        let awaited = self.reactor.is_awaited();
        if earliest.is_none() && !awaited && self.tasks.is_stuck() {
            return Waited::Stuck;
        }
        if self.tasks.has_suspects() {
            // Only now: what can never go on at all is one report, not one for each.
            self.judge();
            // That may have run user code.
            self.look();
            return Waited::Maybe;
        }
        match earliest {
            Some(deadline) if self.clock.is_simulated() && !held => {
                if awaited && self.is_stirred(self.clock.quiet()) {
                    self.news.set(true);
                } else {
                    self.clock.set(deadline);
                }
            }
            Some(deadline) if !self.clock.is_simulated() => {
                let left = deadline.saturating_sub(self.stamp());
                if left > 0 {
                    self.news.set(true);
                    self.park(Some(Duration::from_nanos(left)));
                }
            }
            _ => {
                self.park_patiently();
                self.stamp();
            }
        }
        self.look();
        Waited::Maybe
    }

    /// Waits until anything happens on awaited sockets, or the bell rings, for `span` of real time at
    /// most. Whether it did.
    fn is_stirred(&self, span: Duration) -> bool {
        let since = Instant::now();
        loop {
            let left = span.saturating_sub(since.elapsed());
            if self.park(Some(left)) || self.tasks.home.bell.has_rung() {
                return true;
            }
            // Only then was it a last look: before, a signal may have cut the wait short.
            if left.is_zero() {
                return false;
            }
        }
    }

    /// Parks until the bell rings, and tells the watch once if that takes too long.
    fn park_patiently(&self) {
        self.news.set(true);
        let watch = self.watch();
        let patience = watch.get().patience(self).filter(|_| !self.worried.get());
        let Some(patience) = patience else {
            self.park(None);
            return;
        };
        // Real time, whatever the clock of the loop says: somebody may be sitting there.
        if !self.is_stirred(patience) {
            self.worried.set(true);
            watch.get().worry(self);
            if self.condemned.get() {
                // Who drives the loop on after this failure is to be told of the next.
                self.worried.set(false);
            }
        }
    }

    /// Whether events have come.
    fn park(&self, limit: Option<Duration>) -> bool {
        let stirred = self.reactor.park(&self.tasks.home.bell, limit);
        if stirred {
            self.worried.set(false);
        }
        stirred
    }

    /// Moves a simulated clock, stopping at each deadline to run what is ready.
    ///
    /// # Safety
    /// As [`Core::run_ready`].
    pub(crate) unsafe fn advance(&self, by: Duration) {
        let until = self.clock.nanos().saturating_add(clock::nanos(by));
        loop {
            // SAFETY: the caller says so.
            unsafe { self.run_ready(None) };
            if self.condemned.get() {
                return;
            }
            self.look_around();
            if !self.tasks.ready.is_empty() || self.tasks.home.bell.has_rung() {
                // As in `wait`.
                continue;
            }
            let earliest = self.timers.borrow_mut().earliest();
            match earliest.filter(|&deadline| deadline <= until) {
                Some(deadline) => {
                    self.clock.set(deadline);
                    self.look();
                }
                None => break,
            }
        }
        self.clock.set(until);
    }

    /// Makes the loop idle unless something is ready: a bell that has rung is answered first.
    #[inline]
    pub(crate) fn rest(&self) {
        while !self.tasks.has_ready() && !self.tasks.home.bell.idle() {
            self.look();
        }
    }

    /// Whether no task is left. If so the loop is at rest: every letter has been read, and one that
    /// comes later is news for its host.
    pub(crate) fn is_over(&self) -> bool {
        if self.tasks.live() == 0 {
            self.rest();
        }
        self.tasks.live() == 0
    }
}

/// # Safety
/// The home is that of a core whose last reference has gone.
unsafe fn free(home: NonNull<Home>) {
    // SAFETY: [core]; it was made by `create`. What users gave it was dropped by `close`, and what
    // panics later is not kept, so it does not matter which thread this is.
    drop(unsafe { Box::from_raw(home.cast::<Core>().as_ptr()) });
}
