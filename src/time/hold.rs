//! A simulated clock that stands still for somebody outside.

use std::fmt;

use crate::{current::current, home};

/// Keeps a simulated clock from jumping for as long as it is kept: see [`hold`].
///
/// It is `Send`, to be dropped by whoever is waited for.
#[must_use = "the clock is held for as long as this is kept"]
pub struct Hold {
    _hold: home::Hold,
}

/// Keeps the loop's simulated clock from jumping to the next deadline, until the [`Hold`] is dropped.
///
/// With [virtual time](crate::Builder::virtual_time) a loop that has nothing ready moves its clock on
/// at once, since all it knows of are its own deadlines. A thread of yours, or a process, that is
/// about to wake a task is not among them: hold the clock while it works, and drop the hold after it
/// has woken the task. `unblock`, of feature `blocking`, and [`RemoteHandle`](crate::RemoteHandle) do
/// so by themselves. A real clock takes no notice, nor does
/// [`Loop::advance`](crate::Loop::advance), which says itself how far to go, nor a loop that serves
/// calls of [`Remote`](crate::Remote) at the time.
///
/// A loop that is held sleeps in real time: after 10 real seconds in which nothing happens it is
/// taken for stalled, unless [`on_stall`](crate::Builder::on_stall) says otherwise.
///
/// # Panics
/// Outside a loop.
///
/// ```
/// use std::{future::poll_fn, task::Poll, thread, time::Duration};
///
/// use boucle::{Loop, time::hold, timeout};
///
/// let l = Loop::builder().virtual_time().build();
/// let answered = l.block_on(async {
///     let mut hold = Some(hold());
///     let answer = poll_fn(|cx| match hold.take() {
///         None => Poll::Ready(()),
///         Some(hold) => {
///             let waker = cx.waker().clone();
///             thread::spawn(move || {
///                 waker.wake();
///                 drop(hold);
///             });
///             Poll::Pending
///         }
///     });
///     timeout(Duration::from_secs(1), answer).await
/// });
/// // Not held, the clock would have moved on to the end of the second.
/// assert!(answered.is_ok());
/// ```
#[track_caller]
pub fn hold() -> Hold {
    current("boucle::time::hold", |core| Hold { _hold: core.tasks.home.hold() })
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").finish_non_exhaustive()
    }
}
