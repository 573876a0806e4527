#![doc = include_str!("../README.md")]
// An example that is pasted draws no warning about a handle that was dropped.
#![doc(test(attr(deny(unused_must_use))))]

// The rooms, from the floor up: each imports only from those above it in this list. Rooms that
// hold `unsafe` say so on their door.

// Tools: no tasks, no wakers, no I/O.
mod call_site;
mod facade;
mod guard;
mod heap;
mod inbox;
mod map;
mod order;
mod roster;
mod slab;
mod word;

// What is woken, what waits.
mod bell;
mod clock;
#[allow(unsafe_code)]
mod home;
#[allow(unsafe_code)]
mod pulse;
#[allow(unsafe_code)]
mod ready;
#[cfg(all(unix, feature = "net", not(loom)))]
#[allow(unsafe_code)]
mod sys;
#[allow(unsafe_code)]
mod wakee;

// Tasks, timers and descriptors, blind to each other.
mod queue;
mod reactor;
#[allow(unsafe_code)]
mod task;
mod timers;

// One turn of a loop; children polled inside their parent.
#[allow(unsafe_code)]
mod nest;
#[allow(unsafe_code)]
mod turn;

// Which loop runs here; why it hangs.
mod current;
mod diagnosis;
#[allow(unsafe_code)]
mod drive;

// The doors.
mod builder;
#[allow(unsafe_code)]
mod event_loop;
#[allow(unsafe_code)]
mod gather;
#[cfg(all(unix, feature = "hyper", not(loom)))]
#[allow(unsafe_code)]
pub mod hyper;
#[cfg(all(unix, feature = "net", not(loom)))]
pub mod io;
#[cfg(all(unix, feature = "net", not(loom)))]
#[allow(unsafe_code)]
pub mod net;
mod remote;
#[allow(unsafe_code)]
mod scope;
mod shared;
mod shield;
#[cfg(all(unix, feature = "signal", not(loom)))]
mod signal;
#[allow(unsafe_code)]
mod spawn;
pub mod sync;
#[allow(unsafe_code)]
mod task_set;
#[allow(unsafe_code)]
pub mod time;
#[cfg(all(feature = "blocking", not(loom)))]
mod unblock;
#[allow(unsafe_code)]
mod wait;

pub use builder::Builder;
pub use diagnosis::{
    Blocked, Diagnostic, Forever, Grade, Leftovers, Reaction, Resource, ResourceKind, Running,
    Snapshot, Spinner, Stalled, TaskInfo, TaskRef, WaitInfo, WaitsFor, forever, snapshot,
};
pub use event_loop::{Loop, block_on};
pub use gather::{
    Gather, Gathering, Race, Racing, TryGather, TryGathering, gather, race, try_gather,
};
pub use remote::{Remote, RemoteHandle, remote};
pub use scope::{NeverReady, Ready, Scope, ScopedHandle, TryScope, scope, try_scope};
pub use shared::Shared;
pub use shield::{Shield, shield};
#[cfg(all(unix, feature = "signal", not(loom)))]
pub use signal::report_on_sigquit;
pub use spawn::{YieldNow, spawn, yield_now};
pub use sync::Waiter;
pub use task::{Canceller, Id, JoinError, JoinHandle, Status};
pub use task_set::{JoinNext, Members, TaskSet};
pub use time::{
    Elapsed, Interval, MissedTicks, Sleep, Timeout, interval, interval_at, now, sleep, sleep_until,
    timeout, timeout_at,
};
#[cfg(all(feature = "blocking", not(loom)))]
pub use unblock::{Unblock, unblock};
pub use wait::{Wait, WaitUntil, Waited, try_wait, wait};
