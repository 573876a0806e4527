//! Why a task has no output.

use std::{any::Any, borrow::Cow, error::Error, fmt, panic::Location, sync::Mutex};

use super::Id;
use crate::guard::{Payload, message};

/// Why awaiting a [`JoinHandle`](crate::JoinHandle) gave no output: the task panicked or was
/// cancelled.
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
    id: Id,
    spawned_at: &'static Location<'static>,
    /// `None` for a cancelled task. The lock is never taken but through `&mut` or for a message:
    /// it makes the error `Sync`, which the payload is not.
    payload: Option<Mutex<Payload>>,
}

impl JoinError {
    pub(crate) fn new(
        name: Cow<'static, str>,
        id: Id,
        spawned_at: &'static Location<'static>,
        payload: Option<Payload>,
    ) -> JoinError {
        JoinError(Box::new(Inner { name, id, spawned_at, payload: payload.map(Mutex::new) }))
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
        self.0.payload.is_none()
    }

    /// Whether the task panicked.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let task = l.spawn(async { panic!("burnt") });
    /// assert!(l.block_on(task).unwrap_err().is_panic());
    /// ```
    pub fn is_panic(&self) -> bool {
        self.0.payload.is_some()
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
        match self.0.payload.take() {
            Some(payload) => {
                Ok(payload.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
            }
            None => Err(self),
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

    /// The id of the task.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let task = l.spawn(async { panic!("burnt") });
    /// let id = task.id();
    /// assert_eq!(l.block_on(task).unwrap_err().id(), id);
    /// ```
    pub fn id(&self) -> Id {
        self.0.id
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
        match &self.0.payload {
            None => f.write_str("was cancelled"),
            Some(payload) => {
                let payload = payload.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                write!(f, "panicked: {}", message(&payload))
            }
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { name, id, spawned_at, .. } = &*self.0;
        write!(f, "task '{name}' ({id}, spawned at {spawned_at}) ")?;
        self.cause(f)
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl Error for JoinError {}
