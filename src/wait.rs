//! `wait`: until all of some tasks have ended.

use std::{
    any::type_name,
    cell::Cell,
    fmt,
    panic::Location,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{current::current, guard::OnDrop, nest::Nest, task::JoinHandle, task_set::TaskSet};

/// Waits until all tasks have ended, and returns those that finished and those that failed, each
/// in the order given.
///
/// Takes the handles of tasks in any state, or boxed futures, which are spawned by this call, so
/// that they run whether the result is awaited or not. A task *failed* if it panicked or was
/// cancelled; one that returned an `Err` is done. Nothing to wait for, or only tasks that have
/// ended, takes no turn.
///
/// A panic in `failed` has not been read by this: if the set is dropped without a look at
/// [`result`](JoinHandle::result), the panic is [unobserved](JoinHandle#unobserved-panics).
///
/// # Cancellation
/// Dropping the future, or never awaiting it, detaches the tasks: they run on, and their results
/// are lost.
///
/// # Panics
/// Outside a loop, if it is given boxed futures.
///
/// ```
/// boucle::block_on(async {
///     let burger = boucle::spawn(async { "burger" });
///     let fries = boucle::spawn(async { panic!("burnt") });
///     let (done, failed) = boucle::wait([burger, fries]).await;
///     assert_eq!(format!("{done:?}"), r#"[<Task 'main' [FINISHED] ("burger")>]"#);
///     assert!(failed.iter().all(|task| task.result().unwrap().unwrap_err().is_panic()));
///
///     let (done, _) = boucle::wait([Box::pin(async { 1 })]).await;
///     assert_eq!(done.len(), 1);
/// });
/// ```
#[track_caller]
pub fn wait<T, I>(tasks: I) -> Wait<T>
where
    I: IntoIterator,
    I::Item: Into<JoinHandle<T>>,
{
    let outer = PLACE.replace(Some(Location::caller()));
    let _restore = OnDrop(|| PLACE.set(outer));
    let tasks: Vec<JoinHandle<T>> = tasks.into_iter().map(Into::into).collect();
    Wait { nest: Nest::new(tasks.len()), left: tasks.len(), seen: Vec::new(), tasks }
}

thread_local! {
    /// Where `wait` was called, while it turns futures into tasks: a `From` has no caller.
    static PLACE: Cell<Option<&'static Location<'static>>> = const { Cell::new(None) };
}

impl<T, F> From<Pin<Box<F>>> for JoinHandle<T>
where
    T: 'static,
    F: Future<Output = T> + ?Sized + 'static,
{
    /// Spawns the future on the loop that runs on this thread.
    ///
    /// # Panics
    /// Outside a loop.
    #[track_caller]
    fn from(future: Pin<Box<F>>) -> JoinHandle<T> {
        let place = PLACE.get().unwrap_or_else(Location::caller);
        current("boucle::wait", |core| {
            // SAFETY: the current loop's thread is this one; nothing is borrowed.
            unsafe { JoinHandle::spawn(&core.tasks, future, place, false) }
        })
    }
}

/// The future of [`wait`].
///
/// # Cancellation
/// Dropping it detaches the tasks: they run on, and their results are lost.
///
/// ```
/// boucle::block_on(async {
///     let both: boucle::Wait<i32> = boucle::wait([boucle::spawn(async { 1 })]);
///     let (done, failed) = both.await;
///     assert_eq!((done.len(), failed.len()), (1, 0));
/// });
/// ```
#[must_use = "the tasks run all the same, but nobody waits for them and their results are lost; \
              `.await` it"]
pub struct Wait<T> {
    tasks: Vec<JoinHandle<T>>,
    nest: Nest,
    left: usize,
    /// Which tasks are known to have ended: the nest asks again when it moves to another loop.
    /// Empty until the first poll.
    seen: Vec<bool>,
}

// The handles are plain pointers, and nothing is pinned.
impl<T> Unpin for Wait<T> {}

impl<T> Future for Wait<T> {
    type Output = (TaskSet<T>, TaskSet<T>);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Wait { tasks, nest, left, seen } = self.get_mut();
        if seen.is_empty() {
            // Tasks that have ended take no turn, however many they are.
            seen.extend(tasks.iter().map(JoinHandle::is_finished));
            *left = seen.iter().filter(|&&ended| !ended).count();
        }
        if *left > 0 {
            nest.poll(cx, |index, cx| {
                let ended = tasks[index].watch(cx);
                if ended && !std::mem::replace(&mut seen[index], true) {
                    *left -= 1;
                }
                ended
            });
            if *left > 0 {
                return Poll::Pending;
            }
        }
        let ended = std::mem::take(tasks).into_iter();
        let (done, failed): (TaskSet<T>, TaskSet<T>) =
            ended.partition(|task| task.status() == crate::Status::Finished);
        Poll::Ready((done, failed))
    }
}

impl<T> fmt::Debug for Wait<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} tasks", type_name::<Self>(), self.tasks.len())
    }
}
