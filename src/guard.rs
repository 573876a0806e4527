//! Running other people's code without being hurt by it.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Runs `f` when dropped, so also when the scope unwinds.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Runs user code and hands its panic back as a value.
///
/// Asserting unwind safety is right here because the callers drop whatever the closure was
/// working on and never look at it again.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(f))
}

/// Drops a panic payload, whose own destructor may panic too.
pub(crate) fn discard(payload: Payload) {
    let mut next = Some(payload);
    for _ in 0..8 {
        let Some(payload) = next else { return };
        next = catch(|| drop(payload)).err();
    }
    // Payloads all the way down: leaking the last one ends the chain.
    std::mem::forget(next);
}

/// The sentence of a panic payload, if it is one.
pub(crate) fn message(payload: &Payload) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a value that is not a string"
    }
}
