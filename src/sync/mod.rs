//! Ordering tasks of one loop: no atomics, nothing to poison.

mod queue;
mod waiter;

pub use waiter::{WaitFor, Waiter};
