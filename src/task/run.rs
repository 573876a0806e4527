//! One poll of one task.

use std::ptr::{self, NonNull};

use super::{
    end::{cancel_now, conclude},
    state::{BUSY, CANCEL, LIVE, QUEUED, STARTED},
    tasks::Tasks,
};
use crate::{home::Anchor, wakee::set_polled};

impl Tasks {
    /// Polls the first task of the ready queue; false if none is ready.
    ///
    /// A task that stays pending is left as the one that runs and is polled, until the next one is
    /// or [`Tasks::step_back`] is called: nothing can end it before.
    ///
    /// # Safety
    /// The loop is entered, and the caller keeps it. The caller steps back before anything but
    /// the next call.
    #[inline(always)]
    pub(crate) unsafe fn run_one(&self) -> bool {
        loop {
            let Some(header) = NonNull::new(self.ready.pop()) else { return false };
            // SAFETY: [queued] keeps the task until `QUEUED` is cleared, then `BUSY` does. The
            // references end before `conclude` and `cancel_now`.
            unsafe {
                let task = header.as_ref();
                let flags = task.flags() & !QUEUED;
                debug_assert!(flags & BUSY == 0, "`drive` refuses to drive a loop twice");
                if flags & LIVE == 0 {
                    task.anchor.flags.set(flags);
                    Anchor::settle(header.cast());
                    continue;
                }
                task.anchor.flags.set(flags | BUSY | STARTED);
                task.waits.set(0);
                self.running.set(header.as_ptr());
                set_polled(header.as_ptr().cast());
                if (task.vtable().poll)(header) {
                    self.step_back();
                    conclude(header);
                } else if header.as_ref().is(CANCEL) {
                    self.step_back();
                    cancel_now(header);
                } else {
                    header.as_ref().clear(BUSY);
                }
            }
            return true;
        }
    }

    /// Nothing runs and nothing is polled until the next [`Tasks::run_one`].
    #[inline]
    pub(crate) fn step_back(&self) {
        set_polled(ptr::null());
        self.running.set(ptr::null_mut());
    }
}
