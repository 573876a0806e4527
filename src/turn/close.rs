//! How a loop goes, and how it leaves its core to the next.

use std::ptr::NonNull;

use super::{Core, Watcher};
use crate::{
    guard::{catch, discard},
    home::{Entered, Home, keep_spare, take_spare},
    timers::Key,
};

impl Core {
    /// Drops every task, and refuses new ones from now on.
    #[inline]
    pub(crate) fn drop_tasks(&self) {
        self.tasks.set_closing();
        if !self.tasks.home.is_empty() {
            self.drop_each();
        }
    }

    #[inline(never)]
    fn drop_each(&self) {
        self.tasks.cancel_all();
        self.tasks.clear_ready();
    }

    /// Drops what is left and lets go of the core.
    ///
    /// # Safety
    /// Home's thread only, once, by the owner of the first reference.
    #[inline(always)]
    pub(crate) unsafe fn close(core: NonNull<Core>) {
        // SAFETY: the caller's reference keeps it until the end.
        unsafe {
            if !Core::retire(core) {
                Core::take_apart(core);
            }
        }
    }

    /// # Safety
    /// As [`Core::close`].
    #[inline(never)]
    unsafe fn take_apart(core: NonNull<Core>) {
        // SAFETY: the caller's reference keeps it until the end.
        unsafe {
            let this = core.as_ref();
            let entered = Entered::new(core.cast());
            let own = this.watch.borrow().own().cloned();
            if let Some(watch) = &own {
                watch.closing(this);
            }
            this.drop_tasks();
            // What remotes have asked for is dropped while the loop can still be reached.
            this.tasks.home.read_letters(|slot, reset| this.hear(Key(slot), reset));
            let wakees = this.timers.borrow_mut().take_all();
            drop(wakees);
            this.reactor.close();
            if let Some(watch) = &own {
                watch.closed(this);
            }
            let callback = this.tasks.take_callback();
            let host = this.tasks.home.bell.set_host(None);
            let watch = this.watch.replace(Watcher::asleep());
            let verdict = this.take_verdict();
            // One at a time: a second destructor that panics while the first one does would abort.
            let _ = catch(|| drop(callback)).map_err(discard);
            let _ = catch(|| drop(host)).map_err(discard);
            drop(own);
            let _ = catch(|| drop(watch)).map_err(discard);
            drop(verdict);
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

    /// The core that the last loop of this thread has left, if it did, for one on the real clock that
    /// is not configured; with one reference, as from [`Core::create`].
    #[inline]
    pub(crate) fn reuse() -> Option<NonNull<Core>> {
        // [core].
        take_spare().map(NonNull::cast)
    }

    /// Leaves the core to the next loop, if it is as new; false if it is to be closed.
    ///
    /// # Safety
    /// As for [`Core::close`]. If true, the caller has given its reference away.
    #[inline(always)]
    unsafe fn retire(core: NonNull<Core>) -> bool {
        // SAFETY: the caller's reference keeps the core. An armed timer may be used from elsewhere, and
        // so may a source; there was none. If the home is alone too, nobody else refers to the core,
        // nor could begin to.
        unsafe {
            let this = core.as_ref();
            if this.tasks.home.is_touched() || !this.reactor.is_new() {
                return false;
            }
            Home::is_alone(core.cast()) && (*core.as_ptr()).renew() && keep_spare(core.cast())
        }
    }

    /// Makes it as one that is new, unless it cannot be.
    #[inline]
    fn renew(&mut self) -> bool {
        if !self.tasks.renew() {
            return false;
        }
        self.looks.set(0);
        self.news.set(true);
        debug_assert!(self.is_new());
        true
    }

    /// Whether it is as one that [`Core::create`] has made for a loop that is not configured.
    fn is_new(&mut self) -> bool {
        // All fields are named, so that none is forgotten.
        let Core {
            tasks,
            timers,
            reactor,
            clock,
            watch,
            worried,
            told,
            circles,
            looks,
            verdict,
            condemned,
            is_watched,
            news,
            #[cfg(loom)]
                _tracked: _,
        } = self;
        let is_asked = clock.is_simulated() || watch.get_mut().own().is_some() || *is_watched;
        let is_told = worried.get() || told.iter().any(|told| told.get() != 0);
        let is_judged = condemned.get() || verdict.get_mut().is_some();
        let is_fresh = timers.get_mut().is_new() && reactor.is_new() && looks.get() == 0;
        !(is_asked || is_told || is_judged)
            && is_fresh
            && news.get()
            && circles.get_mut().is_empty()
            && tasks.is_new()
    }
}
