//! The report of a loop that can never go on.

use std::{error::Error, fmt};

use crate::task::TaskInfo;

/// The proof that a loop would hang for ever: nothing is ready, no timer is armed, and no waker of
/// any of its tasks exists outside boucle's own waiting lists, so nobody can ever wake one.
///
/// Its `Display` lists the tasks, what each waits for and where it was spawned.
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
