//! Sockets, in the loop's own thread. Feature `net`; unix only.
//!
//! Names and behaviour are those of [`std::net`] and of smol's async-net: in most programs an import
//! is all that changes. Streams implement [`AsyncRead`] and [`AsyncWrite`] of futures-lite, whose
//! extension traits bring `read`, `write_all` and the like. With the feature `tokio-io` they and their
//! halves implement those of tokio as well, for crates that ask for them.
//!
//! A socket belongs to the loop that ran where it was made. It is `Send` and `Sync`, and may be used
//! on other threads and in other loops: its own loop then passes on when it is ready, so it must be
//! running. Once that loop is gone, every operation fails with
//! [`NotConnected`](std::io::ErrorKind::NotConnected). Dropping a socket closes it, on any thread.
//!
//! What is always ready starves nobody: after 128 operations on sockets in one poll, a task gives
//! way to the others.
//!
//! A process that forks must not use its parent's loop: both would share what the system tells of
//! sockets, and take it from each other. Builds with debug assertions panic then. Nor may it drop the
//! loop or its sockets, which would tell the system to forget them for both: it calls `exec` or
//! `_exit`.
//!
//! # Virtual time
//! Sockets work, in real time. While a task waits for a socket of its loop, a virtual clock moves on
//! only after 10 milliseconds, of real time, in which nothing has happened on any. A small TCP write may
//! wait for longer than that, 40 milliseconds, until the last one is acknowledged, and then be seen late:
//! where the times of a protocol matter, [`set_nodelay`](TcpStream::set_nodelay) on both sides sends it at
//! once.
//!
//! [`AsyncRead`]: futures_lite::AsyncRead
//! [`AsyncWrite`]: futures_lite::AsyncWrite
//!
//! ```
//! use boucle::net::{TcpListener, TcpStream};
//! use futures_lite::{AsyncReadExt, AsyncWriteExt};
//!
//! boucle::block_on(async {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let addr = listener.local_addr()?;
//!     let server = boucle::spawn(async move {
//!         let (mut stream, _) = listener.accept().await?;
//!         let mut order = String::new();
//!         stream.read_to_string(&mut order).await?;
//!         std::io::Result::Ok(order)
//!     });
//!     TcpStream::connect(addr).await?.write_all(b"a soda").await?; // dropped: closed
//!     assert_eq!(server.await.unwrap()?, "a soda");
//!     std::io::Result::Ok(())
//! })?;
//! # std::io::Result::Ok(())
//! ```

mod accept;
mod addr;
mod halves;
mod socket;
mod stream;
mod tcp;
#[cfg(all(test, target_os = "linux"))]
mod tests;
#[cfg(feature = "tokio-io")]
mod tokio;
mod udp;
pub mod unix;

#[cfg(feature = "hyper")]
pub(crate) use self::stream::poll_read_uninit;
#[doc(no_inline)]
pub use self::unix::{UnixDatagram, UnixListener, UnixStream};
pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
};

pub use self::{
    addr::{ToSocketAddrs, resolve},
    halves::{OwnedReadHalf, OwnedWriteHalf, ReuniteError},
    tcp::{Incoming, TcpListener, TcpStream},
    udp::UdpSocket,
};
