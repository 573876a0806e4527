//! Why a task has no output.

use std::{any::Any, borrow::Cow, error::Error, fmt, io, panic::Location, sync::Mutex};

use super::Id;
use crate::guard::{Payload, message};

/// Why awaiting a [`JoinHandle`](crate::JoinHandle) or a [`RemoteHandle`](crate::RemoteHandle) gave
/// no output: the task panicked, was cancelled, or went with its loop.
///
/// ```
/// let error = boucle::block_on(async {
///     boucle::spawn(async { panic!("burnt") }).named("fries").await.unwrap_err()
/// });
/// assert!(error.is_panic());
/// let text = error.to_string();
/// assert!(text.starts_with("task 'fries' (#2, spawned at "), "{text}");
/// assert!(text.ends_with(") panicked: burnt"), "{text}");
/// ```
pub struct JoinError(Box<Inner>);

struct Inner {
    name: Cow<'static, str>,
    /// `None` if the task never came to be.
    id: Option<Id>,
    spawned_at: &'static Location<'static>,
    cause: Cause,
}

/// How a task ends without an output.
pub(crate) enum Cause {
    /// With the reason, if there is one.
    Cancelled(Option<Cow<'static, str>>),
    /// The loop was dropped. Counts as cancelled.
    LoopDropped,
    /// The lock is never taken but through `&mut` or for a message: it makes the error `Sync`,
    /// which the payload is not.
    Panicked(Mutex<Payload>),
}

impl Cause {
    pub(crate) fn panicked(payload: Payload) -> Cause {
        Cause::Panicked(Mutex::new(payload))
    }
}

impl JoinError {
    pub(crate) fn new(
        name: Cow<'static, str>,
        id: Option<Id>,
        spawned_at: &'static Location<'static>,
        cause: Cause,
    ) -> JoinError {
        JoinError(Box::new(Inner { name, id, spawned_at, cause }))
    }

    /// Whether the task was cancelled, or its loop went before it could end.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let task = l.spawn(async {});
    /// task.cancel();
    /// assert!(l.block_on(task).unwrap_err().is_cancelled());
    /// ```
    pub fn is_cancelled(&self) -> bool {
        !self.is_panic()
    }

    /// Whether the task was cancelled because its loop was dropped.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let task = l.spawn(std::future::pending::<()>());
    /// drop(l);
    /// let error = boucle::block_on(task).unwrap_err();
    /// assert!(error.is_cancelled() && error.is_loop_dropped());
    /// ```
    pub fn is_loop_dropped(&self) -> bool {
        matches!(self.0.cause, Cause::LoopDropped)
    }

    /// Why the task was cancelled, if [`JoinHandle::cancel_because`] said so.
    ///
    /// [`JoinHandle::cancel_because`]: crate::JoinHandle::cancel_because
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let task = boucle::spawn(std::future::pending::<()>());
    /// task.cancel_because("closing time");
    /// assert_eq!(task.await.unwrap_err().reason(), Some("closing time"));
    /// # });
    /// ```
    pub fn reason(&self) -> Option<&str> {
        match &self.0.cause {
            Cause::Cancelled(reason) => reason.as_deref(),
            Cause::LoopDropped | Cause::Panicked(_) => None,
        }
    }

    /// Whether the task panicked.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let task = l.spawn(async { panic!("burnt") });
    /// assert!(l.block_on(task).unwrap_err().is_panic());
    /// ```
    pub fn is_panic(&self) -> bool {
        matches!(self.0.cause, Cause::Panicked(_))
    }

    /// The payload of the panic, for [`std::panic::resume_unwind`].
    ///
    /// # Panics
    /// If the task was cancelled.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let task = l.spawn(async { panic!("burnt") });
    /// let payload = l.block_on(task).unwrap_err().into_panic();
    /// assert_eq!(payload.downcast_ref(), Some(&"burnt"));
    /// ```
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        match self.try_into_panic() {
            Ok(payload) => payload,
            Err(error) => panic!("`JoinError::into_panic` without a panic: {error}"),
        }
    }

    /// The payload of the panic, or the error back if the task was cancelled.
    ///
    /// # Errors
    /// The error itself, if the task was cancelled.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let task = l.spawn(async {});
    /// task.cancel();
    /// let error = l.block_on(task).unwrap_err().try_into_panic().unwrap_err();
    /// assert!(error.is_cancelled());
    /// ```
    pub fn try_into_panic(mut self) -> Result<Box<dyn Any + Send + 'static>, JoinError> {
        match std::mem::replace(&mut self.0.cause, Cause::LoopDropped) {
            Cause::Panicked(payload) => {
                Ok(payload.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
            }
            cause => {
                self.0.cause = cause;
                Err(self)
            }
        }
    }

    /// The name of the task.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let task = l.spawn(async { panic!("burnt") }).named("fries");
    /// assert_eq!(l.block_on(task).unwrap_err().task_name(), "fries");
    /// ```
    pub fn task_name(&self) -> &str {
        &self.0.name
    }

    /// The id of the task. A number that no task has, `u64::MAX`, if a remote spawn came to nothing
    /// because its loop was dropped first.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let task = l.spawn(async { panic!("burnt") });
    /// let id = task.id();
    /// assert_eq!(l.block_on(task).unwrap_err().id(), id);
    /// ```
    pub fn id(&self) -> Id {
        self.0.id.unwrap_or(Id(std::num::NonZeroU64::MAX))
    }

    /// Where the task was spawned.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let (task, line) = (l.spawn(async { panic!("burnt") }), line!());
    /// assert_eq!(l.block_on(task).unwrap_err().spawned_at().line(), line);
    /// ```
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.0.spawned_at
    }

    /// The panic's message, shortened to what fits in a line of a report.
    pub(crate) fn cause(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.cause {
            Cause::Cancelled(None) => f.write_str("was cancelled"),
            Cause::Cancelled(Some(reason)) => write!(f, "was cancelled: {reason}"),
            Cause::LoopDropped => f.write_str("was cancelled: its loop was dropped"),
            Cause::Panicked(payload) => {
                let payload = payload.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                write!(f, "panicked: {}", message(&payload))
            }
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { name, id, spawned_at, .. } = &*self.0;
        match id {
            Some(id) => write!(f, "task '{name}' ({id}, spawned at {spawned_at}) ")?,
            None => write!(f, "task '{name}' (never begun, spawned at {spawned_at}) ")?,
        }
        self.cause(f)
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl Error for JoinError {}

/// Of kind `Other`: so a task that does I/O is awaited by `task.await??`.
impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        io::Error::other(error)
    }
}
