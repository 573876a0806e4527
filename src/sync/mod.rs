//! Ordering tasks of one loop: no atomics, nothing to poison.
//!
//! ```
//! let gate = boucle::sync::Waiter::new(1);
//! boucle::block_on(boucle::gather((gate.wait(), async { gate.set() })));
//! ```

pub(crate) mod queue;
mod waiter;

pub use waiter::{WaitFor, Waiter};
