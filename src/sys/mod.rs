//! Waiting for the system: one face, two back ends.
//!
//! | call of `Poller` | duty |
//! |---|---|
//! | `new` | makes it, with whatever `notify` needs |
//! | `add` | registers a descriptor, for both directions, under a key |
//! | `is_oneshot` | whether an event disarms its descriptor, for both directions |
//! | `arm` | asks for the next event of a key, in one direction or both; needed where events come once |
//! | `delete` | forgets a descriptor and its key, before it is closed; from any thread |
//! | `wait` | waits for events, for a limit; a limit of zero does not wait |
//! | `notify` | ends a `wait`, from any thread, now or the next one |
//! | `as_fd` | a descriptor that is readable while there are events |
//!
//! On Linux it is epoll, edge-triggered; elsewhere, or with `--cfg boucle_portable`, the `polling`
//! crate, edge-triggered where it can be (`--cfg boucle_oneshot` says that it cannot). Events may be spurious, and late; none is lost: what becomes ready after `add`, or after
//! an operation that would have blocked, is told.
//!
//! Every call to the system that makes, registers or uses a descriptor goes through [`call`], so that
//! tests can have any of them fail; all but the wait itself, the bell, and plain questions and options
//! of sockets, whose errors go straight to whoever asks. It also keeps the processor from guessing wrong:
//! see `returns`.

mod call;
#[cfg(all(target_os = "linux", not(boucle_portable)))]
mod epoll;
mod event;
#[cfg(test)]
pub(crate) mod fault;
#[cfg(not(all(target_os = "linux", not(boucle_portable))))]
mod portable;
mod returns;

pub(crate) use call::call;
#[cfg(all(target_os = "linux", not(boucle_portable)))]
pub(crate) use epoll::{Events, Poller, TELLS_ENDS};
pub(crate) use event::{Event, Way};
#[cfg(not(all(target_os = "linux", not(boucle_portable))))]
pub(crate) use portable::{Events, Poller, TELLS_ENDS};
