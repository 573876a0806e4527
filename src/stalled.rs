//! The report of a loop that can never go on.

use std::{error::Error, fmt};

use crate::task::TaskInfo;

/// The proof that a loop would hang for ever: nothing is ready, no timer is armed, and no waker of
/// any of its tasks exists outside boucle's own waiting lists, so nobody can ever wake one.
///
/// Nothing is guessed. A task whose waker somebody else keeps, another thread or a future of
/// another crate, could still be woken, and a timer that is armed will fire: while there is such a
/// waker or timer, the loop waits and reports nothing, even if none of it ever helps.
///
/// Its `Display` lists the tasks, what each waits for and where it was spawned.
///
/// ```
/// let l = boucle::Loop::new();
/// let gate = boucle::Waiter::new(1);
/// let stalled = l.try_block_on(async { gate.wait().await }).unwrap_err();
/// assert!(stalled.to_string().contains("main #1 WAITING for a Waiter"));
/// ```
pub struct Stalled {
    tasks: Vec<TaskInfo>,
}

/// How many tasks a report lists.
const LISTED: usize = 50;

impl Stalled {
    pub(crate) fn new(tasks: Vec<TaskInfo>) -> Stalled {
        Stalled { tasks }
    }

    /// The tasks that wait, in the order in which they were spawned.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let stalled = l.try_block_on(std::future::pending::<()>()).unwrap_err();
    /// assert_eq!(stalled.tasks()[0].name, "main");
    /// ```
    pub fn tasks(&self) -> &[TaskInfo] {
        &self.tasks
    }
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.tasks.len();
        let (tasks, wait) = if count == 1 { ("task", "waits") } else { ("tasks", "wait") };
        write!(f, "deadlock: {count} {tasks} {wait} for what can never happen")?;
        for TaskInfo { id, name, status, spawned_at, waits, .. } in self.tasks.iter().take(LISTED) {
            write!(f, "\n  {name} {id} {status} for {waits}, spawned at {spawned_at}")?;
        }
        if count > LISTED {
            write!(f, "\n  and {} more", count - LISTED)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Stalled {}
