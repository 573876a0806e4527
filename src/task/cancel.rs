//! Cancelling a task, with a reason or without, by its handle or from elsewhere.

use std::{borrow::Cow, fmt, ptr::NonNull};

use super::{
    end::doom,
    header::Header,
    nursery,
    state::{BUSY, CANCEL, ENDED, LIVE, REASON, SCOPED},
    tasks::Tasks,
};
use crate::home::Anchor;

/// # Safety
/// Home's thread only; the task is alive.
pub(super) unsafe fn cancel(header: NonNull<Header>) -> bool {
    // SAFETY: the caller says so.
    let task = unsafe { header.as_ref() };
    if task.is(ENDED) {
        return false;
    }
    if task.is(BUSY) {
        task.set(CANCEL);
    } else if task.is(LIVE) && task.is(SCOPED) {
        // SAFETY: as above; a child's handle is not there without its scope.
        unsafe { nursery::doom(header) };
    } else if task.is(LIVE) {
        // SAFETY: as above.
        unsafe { doom(header) };
    }
    true
}

/// # Safety
/// As [`cancel`].
pub(super) unsafe fn cancel_because(header: NonNull<Header>, reason: Cow<'static, str>) -> bool {
    // SAFETY: the caller says so.
    let task = unsafe { header.as_ref() };
    if task.is(ENDED) {
        return false;
    }
    if !task.is(REASON) {
        Tasks::of(task).set_reason(task, reason);
    }
    // SAFETY: as above.
    unsafe { cancel(header) }
}

/// Cancels a task whose handle is elsewhere. Made by
/// [`JoinHandle::canceller`](crate::JoinHandle::canceller).
///
/// It keeps the task's memory, not its future or its output. Like the handle it belongs to the
/// thread of the loop: it is neither `Send` nor `Sync`. Dropping it cancels nothing.
///
/// ```
/// let l = boucle::Loop::new();
/// let task = l.spawn(std::future::pending::<()>());
/// let canceller: boucle::Canceller = task.canceller();
/// drop(canceller.clone());
/// assert!(!task.is_finished());
/// canceller.cancel();
/// assert!(task.is_finished());
/// ```
#[must_use = "a canceller does nothing until its `cancel` is called"]
pub struct Canceller {
    /// Held.
    header: NonNull<Header>,
}

impl Canceller {
    /// # Safety
    /// Home's thread only; the task is alive.
    pub(super) unsafe fn new(header: NonNull<Header>) -> Canceller {
        // SAFETY: the caller says so.
        unsafe { Anchor::hold(header.cast()) };
        Canceller { header }
    }

    /// Cancels the task, as [`JoinHandle::cancel`](crate::JoinHandle::cancel) does; false if it has
    /// ended already.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let canceller = l.spawn(async {}).canceller();
    /// assert!(canceller.cancel());
    /// assert!(!canceller.cancel());
    /// ```
    pub fn cancel(&self) -> bool {
        // SAFETY: the task is held; a canceller is `!Send`, so this is home's thread.
        unsafe { cancel(self.header) }
    }

    /// Cancels the task and says why, as
    /// [`JoinHandle::cancel_because`](crate::JoinHandle::cancel_because) does.
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let task = boucle::spawn(std::future::pending::<()>());
    /// task.canceller().cancel_because("too late");
    /// assert_eq!(task.await.unwrap_err().reason(), Some("too late"));
    /// # });
    /// ```
    pub fn cancel_because(&self, reason: impl Into<Cow<'static, str>>) -> bool {
        // SAFETY: the task is held; a canceller is `!Send`, so this is home's thread.
        unsafe { cancel_because(self.header, reason.into()) }
    }
}

impl Clone for Canceller {
    fn clone(&self) -> Self {
        // SAFETY: as above.
        unsafe { Anchor::hold(self.header.cast()) };
        Canceller { header: self.header }
    }
}

impl Drop for Canceller {
    fn drop(&mut self) {
        // SAFETY: it was held for this canceller.
        unsafe { Anchor::release(self.header.cast()) };
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: as above.
        let task = unsafe { self.header.as_ref() };
        write!(f, "Canceller({})", task.id)
    }
}
