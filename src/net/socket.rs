//! What all sockets have in common: how they come from std and go there, and their descriptors.

use std::{io, os::fd::AsFd, sync::Arc};

use crate::{
    io::Source,
    reactor::{Describe, Name},
    sys,
};

/// Registers a std socket with the loop that runs here, and has it not block; as [`Source::new`].
#[track_caller]
pub(super) fn register<T>(socket: T, call: &str, what: &'static str) -> io::Result<Arc<Source<T>>>
where
    T: AsFd + Send + Sync + 'static,
    Source<T>: Describe,
{
    sys::call(|| Ok(rustix::io::ioctl_fionbio(&socket, true)?))?;
    Ok(named(Source::new(socket, call, what)?))
}

/// Has a source speak for itself in reports.
pub(super) fn named<T>(source: Source<T>) -> Arc<Source<T>>
where
    T: AsFd + Send + Sync + 'static,
    Source<T>: Describe,
{
    let source = Arc::new(source);
    let name = Arc::downgrade(&source);
    source.set_name(Name::Of(name));
    source
}

/// A share of a source.
pub(super) trait Share<T: AsFd> {
    fn share(self) -> Arc<Source<T>>;
}

impl<T: AsFd> Share<T> for Arc<Source<T>> {
    fn share(self) -> Arc<Source<T>> {
        self
    }
}

/// For a type with a `source` that is a [`Share`], which `$make` makes of a std socket and the name
/// of a call.
macro_rules! socket {
    ($type:ident, $std:ty, $make:expr) => {
        /// Registers a std socket with the loop that runs here, and has it not block.
        ///
        /// # Panics
        /// Outside a loop.
        impl TryFrom<$std> for $type {
            type Error = std::io::Error;

            #[track_caller]
            fn try_from(socket: $std) -> std::io::Result<$type> {
                $make(socket, concat!(stringify!($type), "::try_from"))
            }
        }

        /// As from a std socket; the descriptor must be of that kind.
        ///
        /// # Panics
        /// Outside a loop.
        impl TryFrom<std::os::fd::OwnedFd> for $type {
            type Error = std::io::Error;

            #[track_caller]
            fn try_from(fd: std::os::fd::OwnedFd) -> std::io::Result<$type> {
                $type::try_from(<$std>::from(fd))
            }
        }

        /// Takes the std socket out of the loop; it still does not block. While others share it, it
        /// is a duplicate of theirs.
        ///
        /// # Errors
        /// If it cannot be duplicated.
        impl TryFrom<$type> for $std {
            type Error = std::io::Error;

            fn try_from(socket: $type) -> std::io::Result<$std> {
                match std::sync::Arc::try_unwrap($crate::net::socket::Share::share(socket.source)) {
                    Ok(source) => Ok(source.into_inner()),
                    Err(shared) => shared.get().try_clone(),
                }
            }
        }

        impl std::os::fd::AsFd for $type {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.source.as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $type {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                std::os::fd::AsFd::as_fd(self).as_raw_fd()
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.source.get().fmt(f)
            }
        }
    };
}
pub(super) use socket;
