//! The error of a loop that cannot go on.

use std::{error::Error, fmt};

use super::{info::TaskInfo, snapshot::Snapshot};

/// Why a loop cannot, or should not, go on: a report of all its tasks and what each waits for.
///
/// By far the most common one is [`Grade::Proven`]. Nothing is guessed then: nothing is ready, no
/// timer is armed, no [`Remote`](crate::Remote) is left, and no waker of any task exists outside
/// boucle's own waiting lists, so nobody can ever wake one. A task whose waker somebody else keeps,
/// another thread or a future of another crate, could still be woken: while there is such a waker,
/// the loop waits, unless [`on_stall`](crate::Builder::on_stall) says for how long.
///
/// ```
/// let l = boucle::Loop::new();
/// let gate = boucle::Waiter::new(1).named("gate");
/// let stalled = l.try_block_on(async { gate.wait().await }).unwrap_err();
/// assert!(stalled.to_string().contains(r#"main #1 WAITING, waiting for waiter "gate" at "#));
/// ```
pub struct Stalled {
    grade: Grade,
    /// What it is about, one line.
    pub(super) headline: String,
    snapshot: Snapshot,
}

/// How sure a [`Stalled`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Grade {
    /// No task can ever run again.
    Proven,
    /// The loop has been idle for long, and only somebody else could wake it: see
    /// [`Builder::on_stall`](crate::Builder::on_stall).
    Likely,
    /// Tasks wait for each other in a circle: see [`Builder::on_cycle`](crate::Builder::on_cycle).
    Cycle,
    /// A task can never run again: see [`Builder::on_dead`](crate::Builder::on_dead).
    Dead,
    /// A poll took long: see [`Builder::on_slow_poll`](crate::Builder::on_slow_poll).
    Slow,
    /// Tasks only wake themselves: see [`Builder::on_spinning`](crate::Builder::on_spinning).
    Spinning,
}

impl Stalled {
    pub(crate) fn proven(snapshot: Snapshot) -> Stalled {
        let count = snapshot.tasks().len();
        let (tasks, wait) = if count == 1 { ("task", "waits") } else { ("tasks", "wait") };
        let headline = format!("deadlock: {count} {tasks} {wait} for what can never happen");
        Stalled::new(Grade::Proven, headline, snapshot)
    }

    pub(super) fn new(grade: Grade, headline: String, snapshot: Snapshot) -> Stalled {
        Stalled { grade, headline, snapshot }
    }

    /// How sure it is.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let stalled = l.try_block_on(boucle::forever()).unwrap_err();
    /// assert_eq!(stalled.grade(), boucle::Grade::Proven);
    /// ```
    pub fn grade(&self) -> Grade {
        self.grade
    }

    /// The tasks that wait, in the order in which they were spawned.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let stalled = l.try_block_on(std::future::pending::<()>()).unwrap_err();
    /// assert_eq!(stalled.tasks()[0].name, "main");
    /// ```
    pub fn tasks(&self) -> &[TaskInfo] {
        self.snapshot.tasks()
    }

    /// The loop, as it was then.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let stalled = l.try_block_on(std::future::pending::<()>()).unwrap_err();
    /// assert_eq!(stalled.snapshot().tasks().len(), 1);
    /// ```
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline)?;
        self.snapshot.report(f, "  ")
    }
}

impl fmt::Debug for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Stalled {}
