//! Ordering tasks of one loop, and passing values between them: no atomics, nothing to poison.
//!
//! | to | reach for |
//! |---|---|
//! | let tasks go on once something has happened, for good | [`Waiter`] |
//! | hand over one value, once | [`oneshot`] |
//! | hand over many values, and slow down whoever sends too many | [`channel`] |
//! | hand over many values without ever waiting to send | [`unbounded`] |
//! | let at most n do something at the same time | [`Semaphore`] |
//! | keep a value for one task across its awaits | [`Mutex`] |
//! | change a shared value between awaits | `Rc<Cell<_>>` or `Rc<RefCell<_>>`, and none of these |
//!
//! All of them serve those who wait in the order in which they came, and a future that is dropped
//! hands on what it was given. To join a queue, to leave it and to be served take constant time,
//! however many wait. Nothing here can be sent to another thread. A task that waits for
//! ever is found: the loop tells [what it waits for](crate::Stalled).
//!
//! ```
//! let gate = boucle::sync::Waiter::new(1);
//! boucle::block_on(boucle::gather((gate.wait(), async { gate.set() })));
//! ```

mod channel;
mod error;
mod mutex;
mod oneshot;
mod pipe;
mod semaphore;
mod taken;
mod waiter;

pub use channel::{Receiver, Receiving, Sender, Sending, UnboundedSender, channel, unbounded};
pub use error::{RecvError, SendError, TryRecvError, TrySendError};
pub use mutex::{Lock, Mutex, MutexGuard};
pub use oneshot::{Closed, OneshotReceiver, OneshotSender, oneshot};
pub use semaphore::{Acquire, AcquireOwned, OwnedPermit, Permit, Semaphore};
pub use waiter::{WaitFor, Waiter};
