//! What boucle promises, tested from outside: a file per subject; `tNN_` names the trap that a test
//! springs.

mod again;
mod alive;
#[allow(unsafe_code)]
mod attack;
mod auto_traits;
mod blocked;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
mod calls;
mod cancelling;
mod channels;
mod combinations;
mod empty;
mod few;
mod graphs;
mod hostile;
mod intervals;
#[cfg(feature = "serde")]
mod json;
mod locks;
#[cfg(all(unix, feature = "net"))]
mod net;
mod outside;
mod panics;
mod races;
mod remote;
mod resets;
mod running;
mod scope;
#[cfg(all(unix, feature = "signal"))]
mod signals;
mod stuck;
#[allow(unsafe_code)]
mod support;
mod suspects;
mod sync;
mod task_set;
mod tasks;
mod tidy;
mod time;
mod timeouts;
mod together;
mod trace;
mod transcripts;
#[allow(unsafe_code)]
mod wakers;
