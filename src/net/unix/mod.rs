//! Unix sockets, and what belongs to them: as [`std::os::unix::net`] and async-net's `unix`.
//!
//! A socket that is bound to a path makes a file there, which stays when the socket has gone, as with
//! std: whoever binds the next one removes it first. On Linux, addresses may be names that are no
//! paths, and leave nothing behind: `std::os::linux::net::SocketAddrExt` makes them.

mod addr;
mod again;
mod datagram;
mod listener;
mod stream;

pub use self::{
    datagram::UnixDatagram,
    listener::{Incoming, UnixListener},
    stream::UnixStream,
};
pub use std::os::unix::net::SocketAddr;
