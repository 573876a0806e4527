//! Faults on purpose: the nth call to the system of this thread fails.

use std::{cell::Cell, io};

thread_local! {
    static PLAN: Cell<Option<(usize, i32)>> = const { Cell::new(None) };
}

/// Runs `f` with its `nth` call, from 0, failing with this error number. Whether it came to that.
pub(crate) fn inject<R>(nth: usize, errno: i32, f: impl FnOnce() -> R) -> (R, bool) {
    PLAN.set(Some((nth, errno)));
    let result = f();
    (result, PLAN.take().is_none())
}

/// What the next call is to fail with, if it is.
pub(crate) fn next() -> Option<io::Error> {
    let (left, errno) = PLAN.get()?;
    PLAN.set(left.checked_sub(1).map(|left| (left, errno)));
    (left == 0).then(|| io::Error::from_raw_os_error(errno))
}
