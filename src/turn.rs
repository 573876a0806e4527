//! One loop: its tasks, its timers, its clock; and one turn of it.
//!
//! A turn polls what is ready, in order, and looks at letters and timers when nothing is ready,
//! and at least every [`STRIDE`] polls, so that a task that always wakes itself starves nobody.
//! When a look finds nothing either, the loop waits: it parks until the next deadline or the
//! bell, or, if its clock is simulated, moves the clock.

use std::{
    cell::RefCell,
    ptr::NonNull,
    time::{Duration, Instant},
};

use crate::{
    clock::{self, Clock},
    guard::{catch, discard},
    home::{Entered, Home, STRIDE, here},
    task::{ENDED, Header, OnUnobserved, Tasks},
    timers::{Key, Timers},
    wakee::{Wakee, renew},
};

/// `[core]` invariant: every home is the head of a core, and pointers to homes cover all of it.
#[repr(C)]
pub(crate) struct Core {
    pub(crate) tasks: Tasks,
    timers: RefCell<Timers>,
    clock: Clock,
    /// Tells loom of a core that is never freed.
    #[cfg(loom)]
    _tracked: loom::alloc::Track<()>,
}

/// What became of a wait.
#[derive(PartialEq)]
pub(crate) enum Waited {
    /// Something may be ready.
    Maybe,
    /// Nothing can ever be ready again.
    Stuck,
}

/// Runs `f` with the core of the loop that is entered on this thread, if there is one.
#[inline]
pub(crate) fn with_core<R>(f: impl FnOnce(&Core) -> R) -> Option<R> {
    let home = here();
    // SAFETY: [here], [core].
    (!home.is_null()).then(|| f(unsafe { &*home.cast::<Core>() }))
}

impl Core {
    /// A core on its own, with one reference, which the caller gives back by [`Core::close`].
    pub(crate) fn create(clock: Clock, on_unobserved: Option<OnUnobserved>) -> NonNull<Core> {
        let core = Box::new(Core {
            tasks: Tasks::new(Home::new(free), on_unobserved),
            timers: RefCell::new(Timers::new()),
            clock,
            #[cfg(loom)]
            _tracked: loom::alloc::Track::new(()),
        });
        let core = NonNull::from(Box::leak(core));
        // SAFETY: it stays where it is, and the pointer covers all of it.
        unsafe { Home::settle_in(core.cast()) };
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
    pub(crate) fn arm(&self, at: Instant, born: u64, wakee: Wakee) -> Option<Key> {
        if self.tasks.is_closing() {
            return None;
        }
        Some(self.timers.borrow_mut().arm(at, born, wakee))
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
        let wakee = timers.remove(key)?;
        Some(timers.arm(at, born, wakee))
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let earliest = self.timers.borrow_mut().earliest();
        earliest.map(clock::instant)
    }

    /// Reads letters and fires timers.
    pub(crate) fn look(&self) {
        if self.tasks.home.bell.answer() {
            self.tasks.home.read_letters(|slot, reset| self.hear(Key(slot), reset));
        }
        if self.timers.borrow().len() > 0 {
            let now = self.clock.nanos();
            loop {
                // One at a time, since a wake may be foreign code that arms and disarms.
                let due = self.timers.borrow_mut().fire(now);
                let Some(wakee) = due else { break };
                wakee.wake();
            }
        }
    }

    /// Polls what is ready, and what becomes ready meanwhile, until `task`, which is `MAIN`, has
    /// ended (then true) or nothing is ready (then false).
    ///
    /// # Safety
    /// The loop is entered, and the caller keeps it.
    pub(crate) unsafe fn run_ready(&self, task: Option<&Header>) -> bool {
        let countdown = &self.tasks.home.countdown;
        loop {
            countdown.set(i64::from(STRIDE) - 1);
            // SAFETY: the caller says so. The end of `main` stops the countdown.
            while unsafe { self.tasks.run_one() } {
                countdown.set(countdown.get() - 1);
                if countdown.get() < 0 {
                    break;
                }
            }
            self.tasks.step_back();
            if task.is_some_and(|task| task.is(ENDED)) {
                return true;
            }
            self.look();
            if self.tasks.ready.is_empty() {
                return false;
            }
        }
    }

    /// Waits for something to become ready, after [`Core::run_ready`] returned false.
    pub(crate) fn wait(&self) -> Waited {
        // Asked first: whoever lets the clock go has rung before.
        let held = self.clock.is_simulated() && self.tasks.home.is_held();
        if self.tasks.home.bell.has_rung() {
            // The last look has run foreign code, which may have seen a letter off: before the
            // clock moves or anybody is called stuck, it is read.
            self.look();
            return Waited::Maybe;
        }
        let earliest = self.timers.borrow_mut().earliest();
        match earliest {
            Some(_) if held => {
                self.tasks.home.bell.park(None);
                self.look();
            }
            Some(deadline) if self.clock.is_simulated() => {
                self.clock.set(deadline);
                self.look();
            }
            Some(deadline) => {
                let left = deadline.saturating_sub(self.clock.nanos());
                if left > 0 {
                    self.tasks.home.bell.park(Some(Duration::from_nanos(left)));
                }
                self.look();
            }
            None if self.tasks.is_stuck() => return Waited::Stuck,
            None => {
                self.tasks.home.bell.park(None);
                self.look();
            }
        }
        Waited::Maybe
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
            if self.tasks.home.bell.has_rung() {
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
    pub(crate) fn rest(&self) {
        while self.tasks.ready.is_empty() && !self.tasks.home.bell.idle() {
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

    /// Drops every task, and refuses new ones from now on.
    pub(crate) fn drop_tasks(&self) {
        self.tasks.set_closing();
        self.tasks.cancel_all();
        self.tasks.clear_ready();
    }

    /// Drops what is left and lets go of the core.
    ///
    /// # Safety
    /// Home's thread only, once, by the owner of the first reference.
    pub(crate) unsafe fn close(core: NonNull<Core>) {
        // SAFETY: the caller's reference keeps it until the end.
        unsafe {
            let this = core.as_ref();
            let entered = Entered::new(core.cast());
            this.drop_tasks();
            // What remotes have asked for is dropped while the loop can still be reached.
            this.tasks.home.read_letters(|slot, reset| this.hear(Key(slot), reset));
            let wakees = this.timers.borrow_mut().take_all();
            drop(wakees);
            let callback = this.tasks.take_callback();
            let host = this.tasks.home.bell.set_host(None);
            let _ = catch(|| drop((callback, host))).map_err(discard);
            // What a panic carries may hold the handle of another task that panicked.
            while let Some(unobserved) = this.tasks.take_unobserved() {
                unobserved.lament();
            }
            // Whatever those destructors have woken has ended already.
            this.tasks.clear_ready();
            drop(entered);
            let sleeps = this.timers.borrow().len();
            Home::abandon(core.cast(), sleeps);
            Home::release(core.cast());
        }
    }
}

/// # Safety
/// The home is that of a core whose last reference has gone.
unsafe fn free(home: NonNull<Home>) {
    // SAFETY: [core]; it was made by `create`. What users gave it was dropped by `close`, and what
    // panics later is not kept, so it does not matter which thread this is.
    drop(unsafe { Box::from_raw(home.cast::<Core>().as_ptr()) });
}
