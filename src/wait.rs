//! `wait`: until some tasks have ended, or until there is another reason to go on.

use std::{
    any::type_name,
    cell::Cell,
    fmt,
    panic::Location,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    current::current,
    guard::OnDrop,
    nest::{Child, Nest},
    task::{JoinHandle, Status},
    task_set::TaskSet,
    time::{Sleep, sleep},
};

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
///
/// [`first_done`](Wait::first_done), [`first_failed`](Wait::first_failed) and
/// [`timeout`](Wait::timeout) make it return earlier, with the tasks that still run.
#[track_caller]
pub fn wait<T, I>(tasks: I) -> Wait<T>
where
    I: IntoIterator,
    I::Item: Into<JoinHandle<T>>,
{
    Wait::new(collect(tasks), is_done)
}

/// As [`wait`], for tasks that return a `Result`: one that has returned an `Err` has failed too.
///
/// ```
/// boucle::block_on(async {
///     let tasks = ["4", "2", "x"].map(|text| boucle::spawn(async { text.parse::<u8>() }));
///     let (done, failed) = boucle::try_wait(tasks).await;
///     assert_eq!((done.len(), failed.len()), (2, 1));
/// });
/// ```
#[track_caller]
pub fn try_wait<T, E, I>(tasks: I) -> Wait<Result<T, E>>
where
    I: IntoIterator,
    I::Item: Into<JoinHandle<Result<T, E>>>,
{
    Wait::new(collect(tasks), is_ok)
}

fn is_done<T>(task: &JoinHandle<T>) -> bool {
    task.status() == Status::Finished
}

fn is_ok<T, E>(task: &JoinHandle<Result<T, E>>) -> bool {
    // What was taken, by awaiting the handle before, is not judged.
    is_done(task) && !matches!(task.output_ref(), Some(Err(_)))
}

/// The handles of the tasks; futures become tasks here.
#[track_caller]
fn collect<T, I>(tasks: I) -> Vec<JoinHandle<T>>
where
    I: IntoIterator,
    I::Item: Into<JoinHandle<T>>,
{
    let outer = PLACE.replace(Some(Location::caller()));
    let _restore = OnDrop(|| PLACE.set(outer));
    tasks.into_iter().map(Into::into).collect()
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

/// The future of [`wait`] and [`try_wait`].
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
    /// Whether one of those has failed.
    failed: bool,
    /// Whether a task that has ended is done, rather than failed.
    is_done: fn(&JoinHandle<T>) -> bool,
}

// The handles are plain pointers, and nothing is pinned.
impl<T> Unpin for Wait<T> {}

impl<T> Wait<T> {
    #[track_caller]
    fn new(tasks: Vec<JoinHandle<T>>, is_done: fn(&JoinHandle<T>) -> bool) -> Wait<T> {
        let (nest, left) = (Nest::new(tasks.len(), Location::caller()), tasks.len());
        Wait { tasks, nest, left, seen: Vec::new(), failed: false, is_done }
    }

    /// Returns as soon as one task has ended, be it done or failed, or when there is none.
    ///
    /// Tasks that ended before count: then it returns at once.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use boucle::{Loop, Waited, sleep, spawn, wait};
    ///
    /// Loop::builder().virtual_time().build().block_on(async {
    ///     let tasks = [2, 1].map(|n| spawn(sleep(Duration::from_secs(n))));
    ///     let Waited { done, failed, pending } = wait(tasks).first_done().await;
    ///     assert_eq!((done.len(), failed.len(), pending.len()), (1, 0, 1));
    /// });
    /// ```
    pub fn first_done(self) -> WaitUntil<T> {
        WaitUntil::new(self).first_done()
    }

    /// Returns as soon as one task has failed, or when all have ended.
    ///
    /// ```
    /// use boucle::{Waited, block_on, spawn, try_wait};
    ///
    /// block_on(async {
    ///     let tasks = [spawn(std::future::pending()), spawn(async { "x".parse::<u8>() })];
    ///     let Waited { done, failed, pending } = try_wait(tasks).first_failed().await;
    ///     assert_eq!((done.len(), failed.len(), pending.len()), (0, 1, 1));
    /// });
    /// ```
    pub fn first_failed(self) -> WaitUntil<T> {
        WaitUntil::new(self).first_failed()
    }

    /// Returns after a while, counted from this call, or when all tasks have ended.
    ///
    /// Tasks that are ready at the deadline beat it: each of them is polled once more before this
    /// returns. So after a duration of zero, every task that was ready has had a turn.
    ///
    /// # Panics
    /// When polled, as a [`Sleep`] does: outside a loop, or under another clock than it was made
    /// under.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use boucle::{Waited, block_on, spawn, wait};
    ///
    /// block_on(async {
    ///     let tasks = [spawn(std::future::pending::<()>())];
    ///     let Waited { pending, .. } = wait(tasks).timeout(Duration::from_millis(1)).await;
    ///     pending[0].cancel();
    /// });
    /// ```
    pub fn timeout(self, duration: Duration) -> WaitUntil<T> {
        WaitUntil::new(self).timeout(duration)
    }

    /// Looks at the tasks that may have ended, unless `enough` is known to be true.
    fn look(&mut self, cx: &mut Context<'_>, enough: fn(&Wait<T>) -> bool) -> bool {
        if self.seen.is_empty() {
            // Tasks that have ended take no turn, however many they are.
            for task in &self.tasks {
                let ended = task.is_finished();
                self.seen.push(ended);
                self.left -= usize::from(ended);
                self.failed |= ended && !(self.is_done)(task);
            }
        }
        if !enough(self) {
            let Wait { tasks, nest, left, seen, failed, is_done } = self;
            nest.poll(cx, tasks.len(), |index, cx| {
                let ended = tasks[index].watch(cx);
                if ended && !std::mem::replace(&mut seen[index], true) {
                    *left -= 1;
                    *failed |= !is_done(&tasks[index]);
                }
                if ended { Child::Done } else { Child::Pending }
            });
            if !enough(self) {
                self.nest.wait(cx);
            }
        }
        enough(self)
    }

    fn all(&self) -> bool {
        self.left == 0
    }

    fn first(&self) -> bool {
        self.all() || self.left < self.tasks.len()
    }

    fn failure(&self) -> bool {
        self.all() || self.failed
    }

    /// Every task that has ended by now is done or failed, whether its end was noticed or not.
    fn sort(&mut self) -> Waited<T> {
        let mut waited =
            Waited { done: TaskSet::new(), failed: TaskSet::new(), pending: Vec::new() };
        // Polled again, it has nothing to wait for.
        self.left = 0;
        for task in std::mem::take(&mut self.tasks) {
            if !task.is_finished() {
                waited.pending.push(task);
            } else if (self.is_done)(&task) {
                waited.done.insert(task);
            } else {
                waited.failed.insert(task);
            }
        }
        waited
    }
}

impl<T> Future for Wait<T> {
    type Output = (TaskSet<T>, TaskSet<T>);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if !this.look(cx, Wait::all) {
            return Poll::Pending;
        }
        let Waited { done, failed, .. } = this.sort();
        Poll::Ready((done, failed))
    }
}

impl<T> fmt::Debug for Wait<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} tasks", type_name::<Self>(), self.tasks.len())
    }
}

/// What has become of some tasks by the time a [`WaitUntil`] returned: everything that had ended
/// by then is in `done` or `failed`. Each keeps the order given.
///
/// Plain data, made to be taken apart; there is no fourth thing that a task could be.
#[derive(Debug)]
#[must_use = "dropping it detaches the tasks that are pending"]
pub struct Waited<T> {
    /// The tasks that finished; from [`try_wait`], those that returned `Ok`.
    pub done: TaskSet<T>,
    /// The tasks that panicked or were cancelled; from [`try_wait`], also those that returned
    /// `Err`.
    pub failed: TaskSet<T>,
    /// The tasks that have not ended. They run on, also if their handles are dropped.
    pub pending: Vec<JoinHandle<T>>,
}

/// A [`Wait`] that returns at the first of several reasons: [`Wait::first_done`],
/// [`Wait::first_failed`] and [`Wait::timeout`], in any combination, or the end of all tasks.
///
/// # Cancellation
/// Dropping the future, or never awaiting it, detaches the tasks: they run on, and their results
/// are lost.
///
/// ```
/// use std::time::Duration;
///
/// use boucle::{Waited, block_on, spawn, wait};
///
/// block_on(async {
///     let tasks = [spawn(std::future::pending()), spawn(async { 1 })];
///     let until = wait(tasks).first_failed().timeout(Duration::from_millis(1));
///     let Waited { done, failed, pending } = until.await;
///     assert_eq!((done.len(), failed.len(), pending.len()), (1, 0, 1));
/// });
/// ```
#[must_use = "the tasks run all the same, but nobody waits for them and their results are lost; \
              `.await` it"]
pub struct WaitUntil<T> {
    wait: Wait<T>,
    enough: Enough,
    timer: Option<Sleep>,
    /// The deadline has passed: who was ready then has its turn first.
    overdue: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Enough {
    All,
    FirstFailed,
    FirstDone,
}

impl<T> WaitUntil<T> {
    fn new(wait: Wait<T>) -> WaitUntil<T> {
        WaitUntil { wait, enough: Enough::All, timer: None, overdue: false }
    }

    /// Returns at the first end too, as [`Wait::first_done`].
    pub fn first_done(self) -> WaitUntil<T> {
        WaitUntil { enough: Enough::FirstDone, ..self }
    }

    /// Returns at the first failure too, as [`Wait::first_failed`].
    pub fn first_failed(self) -> WaitUntil<T> {
        match self.enough {
            // A failure is an end.
            Enough::FirstDone => self,
            _ => WaitUntil { enough: Enough::FirstFailed, ..self },
        }
    }

    /// Returns at this deadline too, as [`Wait::timeout`]. Of several, the earliest counts.
    pub fn timeout(self, duration: Duration) -> WaitUntil<T> {
        let new = sleep(duration);
        let timer = self.timer.into_iter().chain([new]).min_by_key(Sleep::deadline);
        WaitUntil { timer, ..self }
    }

    /// Whether the deadline has passed, and who was ready then has had its turn.
    #[track_caller]
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(timer) = &mut self.timer else { return false };
        if self.overdue {
            return true;
        }
        if Pin::new(timer).poll(cx).is_ready() {
            self.overdue = true;
            cx.waker().wake_by_ref();
        }
        false
    }
}

impl<T> Future for WaitUntil<T> {
    type Output = Waited<T>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Waited<T>> {
        let this = self.get_mut();
        let enough = match this.enough {
            Enough::All => Wait::all,
            Enough::FirstFailed => Wait::failure,
            Enough::FirstDone => Wait::first,
        };
        if this.wait.look(cx, enough) || this.is_late(cx) {
            return Poll::Ready(this.wait.sort());
        }
        Poll::Pending
    }
}

impl<T> fmt::Debug for WaitUntil<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitUntil")
            .field("wait", &self.wait)
            .field("timer", &self.timer)
            .finish_non_exhaustive()
    }
}
