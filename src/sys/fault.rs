//! Faults on purpose: the nth call to the system of this thread fails.

use std::{cell::Cell, io};

thread_local! {
    static PLAN: Cell<Option<(usize, i32)>> = const { Cell::new(None) };
}

/// From now on the `nth` call, from 0, fails with this error number.
pub(crate) fn plan(nth: usize, errno: i32) {
    PLAN.set(Some((nth, errno)));
}

/// Ends that. Whether the call has come, and failed.
pub(crate) fn has_failed() -> bool {
    PLAN.take().is_none()
}

/// What the next call is to fail with, if it is.
pub(crate) fn next() -> Option<io::Error> {
    let (left, errno) = PLAN.get()?;
    PLAN.set(left.checked_sub(1).map(|left| (left, errno)));
    (left == 0).then(|| io::Error::from_raw_os_error(errno))
}
