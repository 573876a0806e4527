//! What boucle promises, tested from outside: a file per subject; `tNN_` names the trap that a test
//! springs.

mod auto_traits;
mod channels;
mod combinations;
mod hostile;
mod locks;
mod panics;
mod running;
mod scope;
#[allow(unsafe_code)]
mod support;
mod sync;
mod tasks;
mod tidy;
mod time;
mod together;
mod trace;
mod transcripts;
#[allow(unsafe_code)]
mod wakers;
