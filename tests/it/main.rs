//! What boucle promises, tested from outside: a file per subject.

mod running;
mod sync;
mod tidy;
mod time;
mod together;
mod trace;
mod transcripts;
