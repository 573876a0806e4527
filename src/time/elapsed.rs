//! `Elapsed`: why a timeout has no output.

use std::{borrow::Cow, error::Error, fmt, io, time::Duration};

use crate::task::{Id, with_here};

/// Why a [`timeout`](crate::timeout) gave no output: its time was up.
///
/// It knows how long was allowed, and in which task that happened. It turns into an
/// [`io::Error`] of kind `TimedOut` by `?`.
///
/// ```
/// use std::{future::pending, time::Duration};
///
/// async fn fetch() -> Result<(), boucle::Elapsed> {
///     boucle::timeout(Duration::from_millis(2), pending()).await
/// }
///
/// let error = boucle::block_on(async { boucle::spawn(fetch()).await.unwrap() }).unwrap_err();
/// assert_eq!(error.to_string(), "task 'fetch' (#2) timed out after 2ms");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Elapsed(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    allowed: Duration,
    task: Option<(Cow<'static, str>, Id)>,
}

impl Elapsed {
    /// The time is up for the task on the stack.
    #[cold]
    pub(super) fn new(allowed: Duration) -> Elapsed {
        let task = with_here(|tasks| tasks.running_name().zip(tasks.running().map(|t| t.id)));
        Elapsed(Box::new(Inner { allowed, task: task.flatten() }))
    }

    /// How long was allowed: the duration that was given, or the time from the call until the
    /// deadline.
    pub fn allowed(&self) -> Duration {
        self.0.allowed
    }

    /// The name of the task that polled the timeout; `None` if no task did.
    pub fn task_name(&self) -> Option<&str> {
        self.0.task.as_ref().map(|(name, _)| &**name)
    }

    /// The id of the task that polled the timeout; `None` if no task did.
    pub fn id(&self) -> Option<Id> {
        self.0.task.as_ref().map(|(_, id)| *id)
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, id)) = &self.0.task {
            write!(f, "task '{name}' ({id}) ")?;
        }
        write!(f, "timed out after {:?}", self.0.allowed)
    }
}

impl fmt::Debug for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Elapsed({self})")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}
