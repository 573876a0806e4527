//! A task and what it waits for, as plain data.

use std::{borrow::Cow, fmt, panic::Location, sync::Arc, time::Instant};

use crate::{
    queue::ResourceKind,
    task::{Id, Status},
};

/// What a loop knows of one of its tasks: a snapshot, which does not change with the task.
///
/// ```
/// use boucle::{Loop, Status, TaskInfo};
///
/// let l = Loop::new();
/// let _soda = l.spawn(boucle::yield_now()).named("soda");
/// let infos: Vec<TaskInfo> = l.tasks();
/// l.run();
/// assert_eq!((&*infos[0].name, infos[0].status, infos[0].parent), ("soda", Status::New, None));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its number.
    pub id: Id,
    /// Its name: the one it was given, or that of its async fn.
    pub name: Cow<'static, str>,
    /// Where it is in its life.
    pub status: Status,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// The task that spawned it; `None` if it was spawned from outside the loop's tasks.
    pub parent: Option<Id>,
    /// What it waits for: nothing unless it is `WAITING`, or `NEW` in a set with a limit. Several
    /// things if its children, or the arms of a race or a timeout, wait for different ones.
    pub waits: Vec<WaitInfo>,
    /// When it was last polled, as far as the loop had looked at the clock by then; `None` if it has
    /// not been, or is ready.
    pub polled_at: Option<Instant>,
    /// Whether somebody else has a waker of it or of one of its children: a thread, or a future of
    /// another crate. If so, nobody can tell whether it will be woken.
    pub has_wakers: bool,
    /// Whether it is a child of a scope, which ends before its parent does.
    pub is_scoped: bool,
}

/// One thing that a task waits for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WaitInfo {
    /// What it is.
    pub what: WaitsFor,
    /// Since when, by the loop's last look at the clock before; `None` if it had not looked.
    pub since: Option<Instant>,
    /// Where the wait is written, if that is known: for timers and joins in builds with debug
    /// assertions only.
    pub at: Option<&'static Location<'static>>,
}

/// What a task may wait for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WaitsFor {
    /// The end of a task whose handle it awaits.
    Task(TaskRef),
    /// Something of [`sync`](crate::sync), or a turn in a [`TaskSet`](crate::TaskSet).
    Resource {
        /// What.
        resource: Arc<Resource>,
        /// How many permits, if it is a semaphore.
        wants: usize,
    },
    /// A point in time.
    Timer(Instant),
    /// A socket or another descriptor, and what it wants to do: `read on tcp 127.0.0.1:80 ->
    /// 127.0.0.1:50000`.
    Io(String),
    /// Its children: the futures of a gather or a race, the tasks of a wait, a set or a scope.
    Children,
    /// An answer from another thread or loop.
    Remote,
    /// [`forever`](crate::forever()).
    Forever,
    /// Something that is not boucle's, which has a waker of the task.
    Foreign,
    /// Nothing that the loop knows of, though something of boucle's refers to it: a
    /// [`Canceller`](crate::Canceller), or a task of another loop of the same thread.
    Unknown,
    /// Nothing: nobody can wake it.
    Nothing,
}

/// Something that tasks wait for.
///
/// ```
/// use boucle::{Loop, ResourceKind, sync::Mutex};
///
/// let (l, orders) = (Loop::new(), Mutex::new(()).named("orders"));
/// let stalled = l.try_block_on(async {
///     let _guard = orders.lock().await;
///     drop(orders.lock().await);
/// });
/// let stalled = stalled.unwrap_err();
/// let resource = &stalled.snapshot().resources()[0];
/// assert_eq!(resource.kind, ResourceKind::Mutex);
/// assert_eq!(resource.name.as_deref(), Some("orders"));
/// assert_eq!(resource.taken_by[0].to_string(), "main #1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resource {
    /// What it is.
    pub kind: ResourceKind,
    /// Its number among those of its thread that somebody has waited for.
    pub number: u64,
    /// The name it was given.
    pub name: Option<Cow<'static, str>>,
    /// Where it was made.
    pub made_at: &'static Location<'static>,
    /// The tasks that took it, or some of it, and have not given it back. Who has it now is another
    /// question: a guard may have gone elsewhere.
    pub taken_by: Vec<TaskRef>,
    /// Whether permits of it were also taken outside the tasks of this loop.
    pub taken_elsewhere: bool,
}

/// A task by number and name. Displays as `cook #4`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskRef {
    /// Its number.
    pub id: Id,
    /// Its name, if it has not ended.
    pub name: Option<Cow<'static, str>>,
}

impl fmt::Display for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} {}", self.id),
            None => write!(f, "task {} (ended)", self.id),
        }
    }
}
