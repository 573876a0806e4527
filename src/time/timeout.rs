//! `timeout`: a future that has only so much time.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use pin_project_lite::pin_project;

use super::{
    elapsed::Elapsed,
    sleep::{Sleep, time},
};
use crate::clock;

/// Gives a future so much time, counted from this call.
///
/// The future is polled first and then the clock is asked, so that an output which is there beats
/// the deadline. A timeout of zero polls the future once; unless it is ready, the loop has a turn,
/// so that a loop around it starves nobody, and the time is up. Durations too long for the clock
/// saturate, at more than 500 years.
///
/// # Errors
/// [`Elapsed`] if the time is up. The future is dropped with the `Timeout`, or had back by
/// [`Timeout::into_inner`].
///
/// # Cancellation
/// Dropping the future drops the one inside and disarms the timer. A timer that is not needed is
/// disarmed as soon as the output is there. O(1); O(log n) if the loop has looked at it.
///
/// # Panics
/// When polled outside a loop, or under another clock than it was made under, as
/// [`sleep`](crate::sleep), unless the future is ready; and after it has ended.
///
/// ```
/// use std::{future::pending, time::Duration};
///
/// boucle::block_on(async {
///     let soon = Duration::from_millis(1);
///     assert_eq!(boucle::timeout(soon, async { "burger" }).await, Ok("burger"));
///     let error = boucle::timeout(soon, pending::<()>()).await.unwrap_err();
///     assert_eq!(error.allowed(), soon);
/// });
/// ```
#[inline]
#[track_caller]
pub fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Timeout<F::IntoFuture> {
    let (now, clock) = time();
    let sleep = Sleep::new(clock::later(now, duration), clock, duration.is_zero());
    Timeout { future: future.into_future(), sleep, allowed: Some(duration) }
}

/// Gives a future until a point in time on the clock of the loop, or on the real clock if it is made
/// outside a loop.
///
/// As [`timeout`] otherwise. An instant that has passed is as good as no time at all.
///
/// ```
/// use std::{future::pending, time::Duration};
///
/// boucle::block_on(async {
///     let deadline = boucle::now() + Duration::from_millis(1);
///     assert!(boucle::timeout_at(deadline, pending::<()>()).await.is_err());
///     assert!(boucle::now() >= deadline);
///     assert_eq!(boucle::timeout_at(deadline, async { 1 }).await, Ok(1));
/// });
/// ```
#[track_caller]
pub fn timeout_at<F: IntoFuture>(deadline: Instant, future: F) -> Timeout<F::IntoFuture> {
    let (now, clock) = time();
    let allowed = Some(deadline.saturating_duration_since(now));
    let sleep = Sleep::new(deadline, clock, deadline <= now);
    Timeout { future: future.into_future(), sleep, allowed }
}

pin_project! {
    /// The future of [`timeout`] and [`timeout_at`].
    ///
    /// It is `Send` if the future is, and `Sync` likewise.
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
        // `None` once it has ended.
        allowed: Option<Duration>,
    }
}

impl<F> Timeout<F> {
    /// When its time is up.
    pub fn deadline(&self) -> Instant {
        self.sleep.deadline()
    }

    /// The future inside.
    pub fn get_ref(&self) -> &F {
        &self.future
    }

    /// The future inside, if it is not pinned.
    pub fn get_mut(&mut self) -> &mut F {
        &mut self.future
    }

    /// The future inside, pinned.
    pub fn get_pin_mut(self: Pin<&mut Self>) -> Pin<&mut F> {
        self.project().future
    }

    /// The future inside, with no limit any more.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// boucle::block_on(async {
    ///     let fries = boucle::spawn(boucle::sleep(Duration::from_millis(2)));
    ///     let mut timeout = boucle::timeout(Duration::from_millis(1), fries);
    ///     if (&mut timeout).await.is_err() {
    ///         timeout.into_inner().await.unwrap();
    ///     }
    /// });
    /// ```
    pub fn into_inner(self) -> F {
        self.future
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(allowed) = *this.allowed else {
            panic!("a timeout was polled after it had ended")
        };
        // A sleep of no time is done after its first poll, which only pauses: the future has had
        // its one poll then.
        if !this.sleep.is_done() {
            if let Poll::Ready(output) = this.future.poll(cx) {
                this.sleep.disarm();
                *this.allowed = None;
                return Poll::Ready(Ok(output));
            }
        }
        if Pin::new(this.sleep).poll(cx).is_pending() {
            return Poll::Pending;
        }
        *this.allowed = None;
        Poll::Ready(Err(Elapsed::new(allowed)))
    }
}

impl<F: fmt::Debug> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("future", &self.future)
            .field("deadline", &self.deadline())
            .finish_non_exhaustive()
    }
}
