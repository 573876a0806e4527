//! The flags of a task, and what they say together.
//!
//! | flag | set | cleared | meaning |
//! |---|---|---|---|
//! | `LIVE` | at birth | when the task ends | the cell holds the future; wakes count |
//! | `HANDLE` | at birth | by the handle's drop | somebody may still ask for the result |
//! | `QUEUED` | at birth, mostly, and by a wake | when popped | the ready queue has it |
//! | `BUSY` | before a poll or a cancel | after it | the future, or its destructor, is on the stack |
//! | `STARTED` | by the first poll | never | it is not NEW any more |
//! | `CANCEL` | by a cancel while `BUSY` | never | to be cancelled as soon as it leaves the stack |
//! | `NAMED` | by `named` | never | the name is in the side table |
//! | `FINISHED`, `FAILED`, `CANCELLED` | one of them, at the end | never | how it ended |
//! | `OUTPUT` | with `FINISHED`, if there is a handle | when the output leaves the cell | the cell holds the output |
//! | `ERROR` | with `FAILED` or `CANCELLED`, likewise | likewise | the cell holds the error |
//! | `SEEN` | by `result` | never | the error does not count as unobserved, nor the output as not taken |
//! | `SCOPED` | at birth | never | a child of a scope: a berth lies behind the header |
//! | `BOUND` | by `cancel_on_drop` | never | the handle's drop cancels the task |
//! | `REASON` | by a cancel with a reason | never | the reason is in the side table, until the task is marked as cancelled |
//! | `WANTED` | when a task is found to wait for what this one took, or for its end | never | what it waits for itself is looked at |
//! | `SUSPECT` | when a task is to be looked at | when that is done | it is in the list of suspects |
//! | `TOLD` | when a report has named it as dead | never | it is not named again |
//! | `MAIN` | at birth | never | a `block_on` waits for it: its end stops the turn |
//!
//! The first four keep the memory (`KEEP`). At most one of `LIVE`, `OUTPUT` and `ERROR` is set,
//! except that `BUSY` alone also means that a future is being dropped.

use std::fmt;

pub(crate) use crate::home::{AWAKE, LIVE, STARTED};
pub(crate) const HANDLE: u32 = 1 << 1;
pub(crate) const QUEUED: u32 = 1 << 2;
pub(crate) const BUSY: u32 = 1 << 3;
pub(crate) const CANCEL: u32 = 1 << 5;
pub(crate) const NAMED: u32 = 1 << 6;
pub(crate) const FINISHED: u32 = 1 << 7;
pub(crate) const FAILED: u32 = 1 << 8;
pub(crate) const CANCELLED: u32 = 1 << 9;
pub(crate) const OUTPUT: u32 = 1 << 10;
pub(crate) const ERROR: u32 = 1 << 11;
pub(crate) const SEEN: u32 = 1 << 12;
pub(crate) const MAIN: u32 = 1 << 13;
pub(crate) const SCOPED: u32 = 1 << 14;
pub(crate) const BOUND: u32 = 1 << 15;
pub(crate) const REASON: u32 = 1 << 16;
pub(crate) const WANTED: u32 = 1 << 17;
pub(crate) const SUSPECT: u32 = 1 << 18;
pub(crate) const TOLD: u32 = 1 << 19;

pub(crate) const ENDED: u32 = FINISHED | FAILED | CANCELLED;

const _: () = assert!(LIVE | HANDLE | QUEUED | BUSY == crate::home::KEEP);
const _: () = assert!(LIVE | QUEUED | BUSY | STARTED == crate::home::AWAKE);

/// Where a task is in its life.
///
/// ```
/// use boucle::{Loop, Status};
///
/// let l = Loop::new();
/// let task = l.spawn(async {});
/// assert_eq!(task.status(), Status::New);
/// l.run();
/// assert_eq!(task.status().to_string(), "FINISHED");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Spawned, and not polled yet.
    New,
    /// Woken, and waiting for its turn.
    Ready,
    /// On the stack: being polled, or its destructor runs.
    Running,
    /// Pending until somebody wakes it.
    Waiting,
    /// Ended with an output.
    Finished,
    /// Ended with a panic.
    Failed,
    /// Cancelled before it could end.
    Cancelled,
}

impl Status {
    pub(crate) fn of(flags: u32) -> Status {
        match flags {
            f if f & FINISHED != 0 => Status::Finished,
            f if f & FAILED != 0 => Status::Failed,
            f if f & CANCELLED != 0 => Status::Cancelled,
            f if f & BUSY != 0 => Status::Running,
            // Not queued either while it waits for its turn in a set.
            f if f & STARTED == 0 => Status::New,
            f if f & QUEUED == 0 => Status::Waiting,
            _ => Status::Ready,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Status::New => "NEW",
            Status::Ready => "READY",
            Status::Running => "RUNNING",
            Status::Waiting => "WAITING",
            Status::Finished => "FINISHED",
            Status::Failed => "FAILED",
            Status::Cancelled => "CANCELLED",
        })
    }
}
