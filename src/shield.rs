//! `shield`: what must not be cut.

use std::{
    fmt,
    panic::{Location, resume_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use crate::{spawn::spawn_at, task::JoinHandle};

/// Runs a future to its end, even if whoever awaits it goes.
///
/// The future becomes a task of the loop that runs on this thread, at once, whether the result is
/// awaited or not. For steps that must be done wholly once begun: a commit, a hand-over.
///
/// # Cancellation
/// Dropping the returned future leaves the task to the loop, which runs it on; a panic then counts
/// as [unobserved](crate::JoinHandle#unobserved-panics). Only the end of the loop cuts it.
///
/// # Panics
/// Outside a loop. When it is awaited: if the future panics, and if its loop was dropped first.
///
/// ```
/// use std::{cell::Cell, rc::Rc, time::Duration};
///
/// boucle::Loop::builder().virtual_time().build().block_on(async {
///     let saved = Rc::new(Cell::new(false));
///     let save = {
///         let saved = saved.clone();
///         async move {
///             boucle::sleep(Duration::from_secs(3)).await;
///             saved.set(true);
///         }
///     };
///     let second = Duration::from_secs(1);
///     assert!(boucle::timeout(second, boucle::shield(save)).await.is_err());
///     boucle::sleep(3 * second).await;
///     assert!(saved.get());
/// });
/// ```
#[track_caller]
pub fn shield<F>(future: F) -> Shield<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    Shield { task: spawn_at("boucle::shield", future, Location::caller()) }
}

/// The future of [`shield`].
///
/// # Cancellation
/// Dropping it cuts nothing off: the task runs on.
#[must_use = "the future runs to its end anyway, but its output is lost"]
pub struct Shield<T> {
    task: JoinHandle<T>,
}

impl<T> Future for Shield<T> {
    type Output = T;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match Pin::new(&mut self.task).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(output)) => Poll::Ready(output),
            Poll::Ready(Err(error)) => match error.try_into_panic() {
                Ok(payload) => resume_unwind(payload),
                Err(error) => panic!("a shielded future went with its loop: {error}"),
            },
        }
    }
}

impl<T> fmt::Debug for Shield<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shield({} '{}')", self.task.id(), self.task.name())
    }
}
