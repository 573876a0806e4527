//! Waiting for descriptors: [`Async`], for anything that has one and no type of its own in
//! [`net`](crate::net). Feature `net`; unix only.

mod any;
mod exposed;
mod source;

pub use self::any::Async;
pub(crate) use self::source::{Done, Source, WANTED, plain, streamed};
