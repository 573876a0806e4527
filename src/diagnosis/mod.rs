//! Why it hangs: what each task waits for, and what that proves.
//!
//! | file | what it knows |
//! |---|---|
//! | `info` | a task, what it waits for, who took that: plain data |
//! | `snapshot` | how to gather it, in one walk over tasks, timers and queues |
//! | `chains` | who waits for whom: circles, and tasks that only stuck tasks can wake |
//! | `report` | how it reads |
//! | `dot` | how it is drawn |
//! | `data` | how it is written as data, with the feature `serde` |
//! | `stalled` | the error of a loop that cannot go on |
//! | `diagnostic` | what a loop may find while it runs, and what to do then |
//! | `watch` | when it looks, and what it finds |
//! | `polls` | what looking on while tasks are polled finds |
//! | `blocked` | the same from another thread, during a poll |
//! | `leftovers` | what is left of a loop at its end |
//! | `forever` | a task that is meant to wait for ever |
//!
//! Nothing here polls a task, and nothing keeps one: all is found from the loop's side, at the
//! moment of asking.

mod blocked;
mod chains;
#[cfg(feature = "serde")]
mod data;
mod diagnostic;
mod dot;
mod forever;
mod info;
mod leftovers;
mod polls;
mod report;
mod snapshot;
mod stalled;
mod watch;

pub use crate::queue::ResourceKind;
pub use blocked::{Blocked, Running};
pub(crate) use blocked::{Limit, OnBlocked, Watchdog};
pub(crate) use diagnostic::Tell;
pub use diagnostic::{Diagnostic, Reaction, Spinner};
pub use forever::{Forever, forever};
pub use info::{Resource, TaskInfo, TaskRef, WaitInfo, WaitsFor};
pub use leftovers::Leftovers;
pub(crate) use polls::Polls;
pub use snapshot::{Snapshot, snapshot};
pub use stalled::{Grade, Stalled};
pub(crate) use watch::{DEFAULT, Settings, VIRTUAL};
