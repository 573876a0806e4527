//! The caller's end: awaits, cancels, and passes on the panics that nobody has seen.

use std::{
    fmt,
    mem::replace,
    panic::Location,
    pin::Pin,
    task::{Context, Poll},
};

use super::shared::{Awaiter, Outcome, Shared};
use crate::{
    facade::{Arc, Ordering, lock},
    guard::{catch, discard},
    home::{HomeRef, Letter},
    task::{Cause, JoinError, Waits, lament, note, with_here},
    turn::{Core, with_core},
};

/// Awaits a task of a loop that may be on another thread, or cancels it. From
/// [`Remote::spawn`](crate::Remote::spawn).
///
/// A handle is a future, for any executor: its output is that of the task, or a [`JoinError`] if
/// the task panicked, was cancelled, or went with its loop. It is `Send` if the output is. Dropping
/// the handle detaches the task, which runs on.
///
/// An output that the handle has received but not returned is dropped with the handle, on whatever
/// thread that is. A panic that it has not returned counts as unobserved in the task's loop: it is
/// resumed when the loop's `block_on` or `run` returns, or given to
/// [`on_unobserved`](crate::Builder::on_unobserved).
///
/// # Cancellation
/// As for [`JoinHandle`](crate::JoinHandle): dropping a future that awaits the handle drops the
/// handle with it, unless it was awaited through `&mut handle`; the task runs on either way.
///
/// # Panics
/// Polling it again after it returned the result.
///
/// ```
/// use std::{future::pending, sync::mpsc, thread};
///
/// let (tell, told) = mpsc::channel();
/// let kitchen = thread::spawn(move || {
///     let l = boucle::Loop::new();
///     tell.send(l.remote()).unwrap();
///     // Proven to be stuck, as soon as nobody can send it anything any more.
///     l.try_block_on(pending::<()>()).unwrap_err();
/// });
/// let remote: boucle::Remote = told.recv().unwrap();
/// let fries = remote.spawn(|| async { if true { panic!("burnt") } });
/// // Another executor, in another thread.
/// let error = futures_lite::future::block_on(fries).unwrap_err();
/// assert_eq!(*error.into_panic().downcast::<&str>().unwrap(), "burnt");
/// drop(remote);
/// kitchen.join().unwrap();
/// ```
#[must_use = "dropping the handle detaches the task and loses its result; name it `_` to mean it"]
pub struct RemoteHandle<T> {
    shared: Arc<Shared<T>>,
    home: HomeRef,
}

// A handle never pins what it hands out.
impl<T> Unpin for RemoteHandle<T> {}

impl<T> RemoteHandle<T> {
    pub(super) fn new(shared: Arc<Shared<T>>, home: HomeRef) -> RemoteHandle<T> {
        RemoteHandle { shared, home }
    }

    /// Asks the loop to cancel the task; false if it has ended already.
    ///
    /// The loop drops the future when it gets to it, at the task's next turn, and not before this
    /// returns. But once this has returned true, the handle will yield a [`JoinError`] for which
    /// [`JoinError::is_cancelled`] holds: should the task end meanwhile, its output is dropped on
    /// the loop's thread.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let forever = l.remote().spawn(std::future::pending::<()>);
    /// std::thread::scope(|scope| scope.spawn(|| assert!(forever.cancel())).join().unwrap());
    /// assert!(!forever.is_finished());
    /// assert!(l.block_on(forever).unwrap_err().is_cancelled());
    /// ```
    pub fn cancel(&self) -> bool {
        let mut state = lock(&self.shared.state);
        if !matches!(state.outcome, Outcome::Awaited) {
            return false;
        }
        // Ordering: Relaxed; the wake, or else the lock, hands it over.
        self.shared.cancelled.store(1, Ordering::Relaxed);
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
        true
    }

    /// Whether the task has ended, in whatever way. Its future has been dropped by then.
    pub fn is_finished(&self) -> bool {
        !matches!(lock(&self.shared.state).outcome, Outcome::Awaited)
    }
}

impl<T> Future for RemoteHandle<T> {
    type Output = Result<T, JoinError>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Whether the clock of the loop that polls is to stand still.
        let elsewhere = |core: &Core| core.is_simulated() && !self.home.is_here();
        let holds = with_core(elsewhere).unwrap_or(false);
        // Cloned and dropped while the state is not locked: it may be foreign.
        let mut known = None;
        loop {
            let mut state = lock(&self.shared.state);
            match replace(&mut state.outcome, Outcome::Taken) {
                Outcome::Awaited => state.outcome = Outcome::Awaited,
                Outcome::There(result) => {
                    drop(state);
                    return Poll::Ready(result);
                }
                Outcome::Taken => {
                    drop(state);
                    panic!(
                        "the result of remote task '{}', spawned at {}, is awaited after it was \
                         taken: await a handle once",
                        self.shared.name, self.shared.place
                    )
                }
            }
            if state.awaiter.as_ref().is_some_and(|awaiter| awaiter.is(cx, holds)) {
                drop(state);
                note(Waits::Remote(Location::caller()));
                return Poll::Pending;
            }
            if let Some(awaiter) = known.take() {
                let old = state.awaiter.replace(awaiter);
                drop(state);
                drop(old);
                note(Waits::Remote(Location::caller()));
                return Poll::Pending;
            }
            drop(state);
            let hold = with_core(|core| holds.then(|| core.tasks.home.hold()));
            known = Some(Awaiter { waker: cx.waker().clone(), hold: hold.flatten() });
        }
    }
}

impl<T> Drop for RemoteHandle<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.detached = true;
        let outcome = replace(&mut state.outcome, Outcome::Taken);
        let (id, awaiter, task) = (state.id, state.awaiter.take(), state.task.take());
        drop(state);
        drop(task);
        let _ = catch(|| drop(awaiter)).map_err(discard);
        let error = match outcome {
            Outcome::Awaited | Outcome::Taken => return,
            Outcome::There(Err(error)) => error,
            Outcome::There(Ok(output)) => match catch(|| drop(output)) {
                Ok(()) => return,
                Err(payload) => self.shared.error(id, Cause::panicked(payload)),
            },
        };
        if error.is_panic() {
            report(&self.home, error);
        }
    }
}

impl<T> fmt::Debug for RemoteHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteHandle")
            .field("name", &self.shared.name)
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// Tells a loop of a panic that nobody can observe any more.
fn report(home: &HomeRef, error: JoinError) {
    let unseen = Unseen(Some(error));
    if home.is_here() {
        unseen.report();
    } else {
        home.post(Letter::Job(Box::new(|| unseen.report())));
    }
}

/// A panic on its way to a loop, which may be gone.
struct Unseen(Option<JoinError>);

impl Unseen {
    /// To the loop that is entered here.
    fn report(mut self) {
        if let Some(error) = self.0.take() {
            with_here(|tasks| tasks.report(error));
        }
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        if let Some(error) = self.0.take() {
            lament(error);
        }
    }
}
