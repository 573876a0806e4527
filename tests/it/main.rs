//! What boucle promises, tested from outside: a file per subject; `tNN_` names the trap that a test
//! springs.

mod auto_traits;
mod combinations;
mod hostile;
mod panics;
mod running;
#[allow(unsafe_code)]
mod support;
mod sync;
mod task_set;
mod tasks;
mod tidy;
mod time;
mod together;
mod trace;
mod transcripts;
#[allow(unsafe_code)]
mod wakers;
