//! Which loop runs on this thread, and the sentence users see when none does.

use crate::turn::{Core, with_core};

/// Runs `f` with the loop that runs on this thread.
#[inline]
#[track_caller]
pub(crate) fn current<R>(call: &str, f: impl FnOnce(&Core) -> R) -> R {
    match with_core(f) {
        Some(result) => result,
        None => nowhere(call),
    }
}

#[cold]
#[track_caller]
fn nowhere(call: &str) -> ! {
    panic!(
        "`{call}` outside a loop: no boucle loop runs on this thread; call it from a future that \
         `boucle::block_on` or `Loop::run` runs"
    )
}
