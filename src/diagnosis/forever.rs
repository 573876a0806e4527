//! `forever`: to wait for nothing, and to mean it.

use std::{
    fmt,
    panic::Location,
    pin::Pin,
    task::{Context, Poll},
};

use crate::task::{Waits, note};

/// Never ready, on purpose: a task that awaits it is not reported as dead, though nobody can wake
/// it. It ends when it is cancelled.
///
/// A loop in which nothing else is left to wait for is stalled all the same.
///
/// # Cancellation
/// Dropping the future does nothing.
///
/// ```
/// boucle::block_on(async {
///     let guard = boucle::spawn(boucle::forever());
///     boucle::yield_now().await;
///     assert!(guard.cancel());
/// });
/// ```
#[track_caller]
pub fn forever() -> Forever {
    Forever { at: Location::caller() }
}

/// The future of [`forever`].
///
/// # Cancellation
/// Dropping it does nothing.
///
/// ```
/// let never: boucle::Forever = boucle::forever();
/// drop(never);
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Forever {
    at: &'static Location<'static>,
}

impl Future for Forever {
    type Output = std::convert::Infallible;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        note(Waits::Forever(self.at));
        Poll::Pending
    }
}

impl fmt::Debug for Forever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forever")
    }
}
