//! What tasks do with the loop they are in: spawn, yield.

use std::{
    panic::Location,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{current::current, task::JoinHandle};

/// Spawns a task on the loop that runs on this thread.
///
/// The task starts at its turn, not at once. Its default name is that of its async fn.
///
/// # Panics
/// Outside a loop. [`Loop::spawn`](crate::Loop::spawn) works before and between runs.
///
/// ```
/// async fn cook() -> &'static str {
///     "burger"
/// }
///
/// boucle::block_on(async {
///     let burger = boucle::spawn(cook());
///     assert_eq!(burger.name(), "cook");
///     assert_eq!(burger.await.unwrap(), "burger");
/// });
/// ```
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    spawn_at("boucle::spawn", future, Location::caller())
}

/// As [`spawn`], on behalf of `call`, for a task that counts as spawned at `place`.
#[track_caller]
pub(crate) fn spawn_at<F>(
    call: &str,
    future: F,
    place: &'static Location<'static>,
) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    current(call, |core| {
        // SAFETY: the current loop's thread is this one; nothing is borrowed.
        unsafe { JoinHandle::spawn(&core.tasks, future, place, false) }
    })
}

/// As [`spawn`], for `call`; if it is `later`, the task does not start before it is woken.
#[inline]
#[track_caller]
pub(crate) fn spawn_for<F>(call: &str, later: bool, future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let place = Location::caller();
    current(call, |core| {
        // SAFETY: the current loop's thread is this one; nothing is borrowed.
        unsafe {
            if later {
                JoinHandle::spawn_later(&core.tasks, future, place)
            } else {
                JoinHandle::spawn(&core.tasks, future, place, false)
            }
        }
    })
}

/// Pauses for one turn: whatever is ready runs first.
///
/// Works in any executor.
///
/// # Cancellation
/// Dropping the future does nothing.
///
/// ```
/// boucle::block_on(async {
///     let task = boucle::spawn(async { 1 });
///     assert!(!task.is_finished());
///     boucle::yield_now().await;
///     assert!(task.is_finished());
/// });
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
///
/// # Cancellation
/// Dropping it does nothing; a wake that its first poll has made comes all the same.
///
/// ```
/// let pause: boucle::YieldNow = boucle::yield_now();
/// boucle::block_on(pause);
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
