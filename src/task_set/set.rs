//! A set of tasks: joined in the order in which they end, kept in the order in which they came.

use std::{
    any::type_name,
    borrow::Cow,
    fmt,
    iter::FusedIterator,
    panic::Location,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    vec,
};

use super::{
    board::Board,
    gate::{Gate, Turn},
    row::{self, Row},
};
use crate::{
    spawn::spawn_for,
    task::{Id, JoinError, JoinHandle, Waits, note},
};

/// A group of tasks that ends with its owner, and whose results come as they are ready.
///
/// [`wait`](crate::wait()) returns two of these, of tasks that have ended.
///
/// Dropping the set cancels what still runs, in order. The futures have been dropped when the drop
/// returns, with the exceptions that [`JoinHandle::cancel`] has: a set that is dropped inside one
/// of its own tasks, or inside a destructor that a cancel runs. A panic that nobody has read is
/// then [unobserved](JoinHandle#unobserved-panics).
///
/// ```
/// use std::time::Duration;
///
/// use boucle::{Loop, TaskSet, sleep};
///
/// Loop::builder().virtual_time().build().block_on(async {
///     let mut set = TaskSet::new();
///     for seconds in [3, 1, 2] {
///         set.spawn(async move {
///             sleep(Duration::from_secs(seconds)).await;
///             seconds
///         });
///     }
///     let mut outputs = Vec::new();
///     while let Some(result) = set.join_next().await {
///         outputs.push(result.unwrap());
///     }
///     assert_eq!(outputs, [1, 2, 3]);
/// });
/// ```
#[must_use = "the results of the tasks are in the set; dropping it cancels those that run"]
pub struct TaskSet<T> {
    tasks: Row<JoinHandle<T>>,
    /// Made for the first member.
    board: Option<Rc<Board>>,
    gate: Option<Rc<Gate>>,
}

impl<T> TaskSet<T> {
    /// An empty set. Takes no memory.
    ///
    /// ```
    /// let set = boucle::TaskSet::<()>::new();
    /// assert!(set.is_empty());
    /// ```
    pub const fn new() -> TaskSet<T> {
        TaskSet { tasks: Row::new(), board: None, gate: None }
    }

    /// An empty set that runs at most `n` members at once; the others start in order, each as
    /// soon as one that runs has ended, in whatever way.
    ///
    /// A member that has not started is a task with an id and a name, in status
    /// [`New`](crate::Status::New); cancelled, it gives up its place in the queue. Members that
    /// were [inserted](TaskSet::insert) run already, so they do not queue, but they count. Tasks
    /// that the set detaches keep to the limit among themselves, and count no more in the set.
    ///
    /// # Panics
    /// If `n` is zero: nothing would ever run.
    ///
    /// ```
    /// use boucle::{Status, TaskSet, block_on, yield_now};
    ///
    /// block_on(async {
    ///     let mut set = TaskSet::with_limit(1);
    ///     let first = set.spawn(std::future::pending::<()>());
    ///     let second = set.spawn(std::future::pending());
    ///     yield_now().await;
    ///     assert_eq!(set.get(first).unwrap().status(), Status::Waiting);
    ///     assert_eq!(set.get(second).unwrap().status(), Status::New);
    /// });
    /// ```
    #[track_caller]
    pub fn with_limit(n: usize) -> TaskSet<T> {
        assert!(n > 0, "a `TaskSet` with a limit of zero would never run anything");
        TaskSet { tasks: Row::new(), board: None, gate: Some(Gate::new(n)) }
    }

    /// Spawns a task on the loop that runs on this thread, as a member. O(1).
    ///
    /// # Panics
    /// Outside a loop. There, [`Loop::spawn`](crate::Loop::spawn) makes handles to
    /// [insert](TaskSet::insert).
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let mut set = boucle::TaskSet::new();
    /// let id = set.spawn(async { 1 });
    /// assert!(!set.get(id).unwrap().is_finished());
    /// assert_eq!(set.join_next().await.unwrap().unwrap(), 1);
    /// # });
    /// ```
    #[track_caller]
    pub fn spawn<F>(&mut self, future: F) -> Id
    where
        F: Future<Output = T> + 'static,
        T: 'static,
    {
        let handle = spawn_for("boucle::TaskSet::spawn", self.gate.is_some(), future);
        self.add(handle, true)
    }

    /// As [`spawn`](TaskSet::spawn), with a name for the task.
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let mut set = boucle::TaskSet::new();
    /// let id = set.spawn_named("fries", async {});
    /// assert_eq!(set.get(id).unwrap().name(), "fries");
    /// # });
    /// ```
    #[track_caller]
    pub fn spawn_named<F>(&mut self, name: impl Into<Cow<'static, str>>, future: F) -> Id
    where
        F: Future<Output = T> + 'static,
        T: 'static,
    {
        let handle = spawn_for("boucle::TaskSet::spawn_named", self.gate.is_some(), future);
        self.add(handle.named(name), true)
    }

    /// Adds a task in any state, of any loop of this thread, as the last member. O(1).
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let mut set = boucle::TaskSet::new();
    /// set.insert(l.spawn(async { 1 }));
    /// l.run();
    /// assert_eq!(set.try_join_next().unwrap().unwrap(), 1);
    /// ```
    pub fn insert(&mut self, handle: JoinHandle<T>) -> Id {
        self.add(handle, false)
    }

    fn add(&mut self, handle: JoinHandle<T>, spawned: bool) -> Id {
        let id = handle.id();
        let gate = self.gate.as_deref();
        let turn = match gate {
            // One that is spawned while its loop closes has ended.
            Some(_) if handle.is_finished() => Turn::Free,
            Some(gate) if spawned => gate.queue(handle.wakee()),
            Some(gate) => gate.count(),
            None => Turn::Free,
        };
        let board = self.board.get_or_insert_with(|| Board::new(self.gate.clone()));
        let (node, wakee) = board.wakee(self.tasks.next(), turn);
        self.tasks.push(handle, node).watch_by(wakee);
        if let Some(gate) = gate {
            gate.admit();
        }
        id
    }

    /// Waits for the next member to end, in whatever way; it leaves the set. `None`, at once, if the
    /// set is empty: a loop around a [`race`](crate::race()) with other things asks `is_empty` first.
    ///
    /// Members come in the order in which they end; those that had ended when they were inserted,
    /// as of then. O(1), whatever the size of the set. Works in any executor that polls it on the
    /// thread of the set.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing: a member leaves the set only as its result is returned.
    ///
    /// # Panics
    /// When polled, if the output of the member that is next was taken before it was inserted.
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let mut set = boucle::TaskSet::new();
    /// set.spawn(async { 1 });
    /// assert_eq!(set.join_next().await.unwrap().unwrap(), 1);
    /// assert!(set.join_next().await.is_none());
    /// # });
    /// ```
    #[inline]
    pub fn join_next(&mut self) -> JoinNext<'_, T> {
        JoinNext { set: self, waits: false }
    }

    /// The result of the next member that has ended, which leaves the set; `None` if no member
    /// has. O(1).
    ///
    /// # Panics
    /// As [`join_next`](TaskSet::join_next).
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let mut set = boucle::TaskSet::new();
    /// set.insert(l.spawn(async { 1 }));
    /// assert!(set.try_join_next().is_none());
    /// l.run();
    /// assert_eq!(set.try_join_next().unwrap().unwrap(), 1);
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        Some(self.next_ended()?.into_result())
    }

    /// Takes out the next member that has ended.
    #[inline]
    fn next_ended(&mut self) -> Option<JoinHandle<T>> {
        let board = self.board.as_ref()?;
        let place = board.pop()?;
        self.tasks.remove(place, |node, place| board.moved(node, place))
    }

    /// How many members there are, ended or not.
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let (done, failed) = boucle::wait([boucle::spawn(async {})]).await;
    /// assert_eq!((done.len(), failed.len()), (1, 0));
    /// # });
    /// ```
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is none.
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let (done, failed) = boucle::wait([boucle::spawn(async {})]).await;
    /// assert!(!done.is_empty() && failed.is_empty());
    /// # });
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The members, in the order in which they came.
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let (done, _) = boucle::wait([boucle::spawn(async { 1 }), boucle::spawn(async { 2 })]).await;
    /// let outputs: Vec<i32> = done.iter().map(|task| *task.result().unwrap().unwrap()).collect();
    /// assert_eq!(outputs, [1, 2]);
    /// # });
    /// ```
    pub fn iter(&self) -> Members<'_, T> {
        Members(self.tasks.iter())
    }

    /// The member with this id; the first, if members of several loops have the same. O(n).
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let soda = boucle::spawn(async {});
    /// let id = soda.id();
    /// let (done, _) = boucle::wait([soda]).await;
    /// assert_eq!(done.get(id).map(|task| task.id()), Some(id));
    /// # });
    /// ```
    pub fn get(&self, id: Id) -> Option<&JoinHandle<T>> {
        self.iter().find(|task| task.id() == id)
    }

    /// Cancels the members that have not ended, in order, as [`JoinHandle::cancel`] does. They stay
    /// in the set, and are still to be joined.
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let mut set = boucle::TaskSet::new();
    /// set.spawn(std::future::pending::<()>());
    /// set.cancel_all();
    /// assert!(set.join_next().await.unwrap().unwrap_err().is_cancelled());
    /// # });
    /// ```
    pub fn cancel_all(&self) {
        // Nobody starts only to be cancelled.
        let shut = self.gate.as_ref().map(|gate| gate.shut());
        for task in self {
            task.cancel();
        }
        drop(shut);
    }

    /// Detaches all members, which run on, and leaves the set empty.
    ///
    /// Those that queue in a set with a limit start when it is their turn among the detached ones.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let mut set = boucle::TaskSet::new();
    /// set.insert(l.spawn(boucle::yield_now()));
    /// set.detach_all();
    /// assert!(set.is_empty());
    /// assert_eq!(l.tasks().len(), 1);
    /// ```
    pub fn detach_all(&mut self) {
        self.board = None;
        let limited = self.gate.is_some();
        self.gate = self.gate.as_ref().map(|gate| gate.another());
        for task in self.tasks.take() {
            if limited {
                task.detach();
            } else {
                task.unbind();
                drop(task);
            }
        }
    }
}

impl<T> Drop for TaskSet<T> {
    fn drop(&mut self) {
        self.cancel_all();
        for task in self.tasks.take() {
            drop(task);
        }
    }
}

impl<T> Default for TaskSet<T> {
    fn default() -> TaskSet<T> {
        TaskSet::new()
    }
}

/// Inserts every handle.
impl<T> Extend<JoinHandle<T>> for TaskSet<T> {
    fn extend<I: IntoIterator<Item = JoinHandle<T>>>(&mut self, tasks: I) {
        for task in tasks {
            self.insert(task);
        }
    }
}

/// A set without a limit.
impl<T> FromIterator<JoinHandle<T>> for TaskSet<T> {
    fn from_iter<I: IntoIterator<Item = JoinHandle<T>>>(tasks: I) -> TaskSet<T> {
        let mut set = TaskSet::new();
        set.extend(tasks);
        set
    }
}

impl<T> IntoIterator for TaskSet<T> {
    type Item = JoinHandle<T>;
    type IntoIter = vec::IntoIter<JoinHandle<T>>;

    /// The handles, in the order in which they came. Nothing is cancelled; members that queue
    /// start now, since the limit ends with the set.
    fn into_iter(mut self) -> Self::IntoIter {
        let tasks = self.tasks.take();
        if let Some(gate) = &self.gate {
            gate.open();
        }
        tasks
    }
}

impl<'s, T> IntoIterator for &'s TaskSet<T> {
    type Item = &'s JoinHandle<T>;
    type IntoIter = Members<'s, T>;

    fn into_iter(self) -> Members<'s, T> {
        self.iter()
    }
}

impl<T: fmt::Debug> fmt::Debug for TaskSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// The members of a [`TaskSet`], in the order in which they came. Made by [`TaskSet::iter`].
///
/// ```
/// # boucle::block_on(async {
/// let mut set = boucle::TaskSet::new();
/// set.spawn_named("soda", async {});
/// set.spawn_named("fries", async {});
/// let names: Vec<_> = set.iter().rev().map(|task| task.name()).collect();
/// assert_eq!(names, ["fries", "soda"]);
/// # });
/// ```
pub struct Members<'s, T>(row::Iter<'s, JoinHandle<T>>);

impl<'s, T> Iterator for Members<'s, T> {
    type Item = &'s JoinHandle<T>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T> DoubleEndedIterator for Members<'_, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back()
    }
}

impl<T> ExactSizeIterator for Members<'_, T> {}

impl<T> FusedIterator for Members<'_, T> {}

impl<T> Clone for Members<'_, T> {
    fn clone(&self) -> Self {
        Members(self.0.clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for Members<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

/// The future of [`TaskSet::join_next`].
///
/// # Cancellation
/// Dropping it loses nothing.
///
/// ```
/// # boucle::block_on(async {
/// let mut set: boucle::TaskSet<i32> = [boucle::spawn(async { 1 })].into_iter().collect();
/// let next: boucle::JoinNext<'_, i32> = set.join_next();
/// assert_eq!(next.await.unwrap().unwrap(), 1);
/// # });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct JoinNext<'s, T> {
    set: &'s mut TaskSet<T>,
    /// It is written on the board whom to wake.
    waits: bool,
}

impl<T> Future for JoinNext<'_, T> {
    type Output = Option<Result<T, JoinError>>;

    #[inline]
    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(handle) = this.set.next_ended() {
            return Poll::Ready(Some(handle.into_result()));
        }
        this.wait(cx)
    }
}

impl<T> JoinNext<'_, T> {
    #[inline(never)]
    #[track_caller]
    fn wait(&mut self, cx: &Context<'_>) -> Poll<Option<Result<T, JoinError>>> {
        if self.set.is_empty() {
            // A burst is over: its nodes go.
            self.set.board = None;
        }
        let Some(board) = &self.set.board else { return Poll::Ready(None) };
        self.waits = true;
        board.wait(cx);
        // A foreign waker's code may have ended a member.
        if let Some(result) = self.set.try_join_next() {
            return Poll::Ready(Some(result));
        }
        note(Waits::Children(Location::caller()));
        Poll::Pending
    }
}

impl<T> Drop for JoinNext<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.waits {
            if let Some(board) = &self.set.board {
                board.stop_waiting();
            }
        }
    }
}

impl<T> fmt::Debug for JoinNext<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} tasks", type_name::<Self>(), self.set.len())
    }
}
