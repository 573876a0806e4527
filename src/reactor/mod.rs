//! Which descriptors are ready, and who waits for that.
//!
//! A *source* is a registered descriptor. For each direction it has a *side*, which is ready until
//! an operation would have blocked: the first one is tried without asking, and after one that would
//! have blocked nobody tries again before an event has come. An operation that came out short says
//! the same without a second call, unless the side has *ended*: then the end may lie behind the last
//! data, and no event will come for it.
//!
//! | | at home | elsewhere |
//! |---|---|---|
//! | before an operation | asks whether the side is ready | remembers the poller's [`epoch`] |
//! | it would have blocked | the side is not ready any more, and one waits | writes home, with that epoch |
//!
//! Home counts an epoch after each wait for events, and notes it on the sides that events were
//! for. If it finds a later one there than the letter says, the event may have come after the
//! operation: whoever wrote is woken at once. If not, it waits as one who is at home does.
//!
//! Knows wakers, not tasks, and no timers. Nothing is woken, and no name asked for, while the table
//! is borrowed.
//!
//! [`epoch`]: Link::epoch

#[cfg(all(unix, feature = "net", not(loom)))]
mod name;
#[cfg(not(all(unix, feature = "net", not(loom))))]
mod none;
#[cfg(all(unix, feature = "net", not(loom)))]
mod sources;
#[cfg(all(unix, feature = "net", not(loom)))]
mod table;
#[cfg(all(test, unix, feature = "net", not(loom)))]
mod tests;

#[cfg(all(unix, feature = "net", not(loom)))]
pub(crate) use name::{Describe, Name};
#[cfg(not(all(unix, feature = "net", not(loom))))]
pub(crate) use none::Reactor;
#[cfg(all(unix, feature = "net", not(loom)))]
pub(crate) use sources::{Attempt, Link, Reactor, Waiting};
#[cfg(all(unix, feature = "net", not(loom)))]
pub(crate) use table::{Key, Token};
