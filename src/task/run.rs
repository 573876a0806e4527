//! One poll of one task.

use std::ptr::{self, NonNull};

use super::{
    end::{cancel_now, conclude},
    header::Header,
    state::{BUSY, CANCEL, LIVE, QUEUED, STARTED},
    tasks::Tasks,
};
use crate::{home::Anchor, wakee::set_polled};

/// A task that stays pending leaves the stack.
///
/// # Safety
/// Home only; the task is `LIVE` and `BUSY`.
#[inline(always)]
pub(super) unsafe fn rest(header: NonNull<Header>) {
    // SAFETY: `LIVE` keeps the task.
    let task = unsafe { header.as_ref() };
    let flags = task.flags() & !BUSY;
    task.anchor.flags.set(flags);
    if flags & QUEUED == 0 && !task.anchor.is_counted() {
        // SAFETY: as above.
        unsafe { forsaken(header.cast()) };
    }
}

/// Has a task looked at that nobody seems to be able to wake any more.
///
/// # Safety
/// As `AnchorVTable::forsaken`, of a task.
#[cold]
pub(super) unsafe fn forsaken(anchor: NonNull<Anchor>) {
    // SAFETY: the caller says so; [outlives]. A child of a scope may have no loop.
    unsafe {
        let task = anchor.cast::<Header>().as_ref();
        let home = task.anchor.home;
        if home != NonNull::dangling() && !home.as_ref().is_gone() {
            Tasks::of(task).suspect(task);
        }
    }
}

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
                task.stamp(self.home.looked.get());
                self.running.set(header.as_ptr());
                set_polled(header.as_ptr().cast());
                if (task.vtable().poll)(header) {
                    self.step_back();
                    conclude(header);
                } else if header.as_ref().is(CANCEL) {
                    self.step_back();
                    cancel_now(header);
                } else {
                    rest(header);
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
