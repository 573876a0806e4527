//! Datagrams.

use std::{
    io,
    net::Shutdown,
    os::unix::net::{self, SocketAddr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{addr::describe, again::again};
use crate::{
    current::current,
    io::{Done, Source, plain},
    net::{
        socket::{register, socket},
        stream::FLAGS,
    },
    reactor::Describe,
    sys::{self, Way},
};

/// A Unix socket for datagrams, which arrive in order, and none is lost.
///
/// Clones are the same socket, and several tasks may use one: each datagram goes to one of those who
/// receive. As with std, a datagram that is longer than the buffer it is received into is cut off
/// there: the rest is lost, and nothing tells.
///
/// ```
/// use boucle::net::UnixDatagram;
///
/// let path = std::env::temp_dir().join(format!("boucle-datagram-{}", std::process::id()));
/// boucle::block_on(async {
///     let counter = UnixDatagram::bind(&path)?;
///     let guest = UnixDatagram::unbound()?;
///     guest.send_to(b"soda", &path).await?;
///     let mut buf = [0; 1500];
///     let (len, from) = counter.recv_from(&mut buf).await?;
///     assert_eq!(&buf[..len], b"soda");
///     assert!(from.is_unnamed());
///     std::io::Result::Ok(())
/// })
/// # .unwrap();
/// # let _ = std::fs::remove_file(&path);
/// ```
#[derive(Clone)]
pub struct UnixDatagram {
    source: Arc<Source<net::UnixDatagram>>,
    /// Nothing more is to be received. Linux says `EAGAIN` then to those who do not block.
    ended: Arc<AtomicBool>,
}

impl UnixDatagram {
    /// Makes a socket at this path. The file stays when the socket is dropped, as with std.
    ///
    /// # Errors
    /// As [`UnixListener::bind`](crate::net::UnixListener::bind).
    ///
    /// # Panics
    /// Outside a loop.
    #[track_caller]
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        UnixDatagram::bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// [`bind`](UnixDatagram::bind), to an address that may be none of a file.
    ///
    /// # Errors
    /// As [`bind`](UnixDatagram::bind).
    ///
    /// # Panics
    /// Outside a loop.
    #[track_caller]
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<UnixDatagram> {
        // No file is made where the call is wrong.
        current("UnixDatagram::bind", |_| ());
        let socket = sys::call(|| net::UnixDatagram::bind_addr(addr))?;
        UnixDatagram::new(socket, "UnixDatagram::bind")
    }

    /// A socket without an address: it can send, and nobody can answer.
    ///
    /// # Errors
    /// What the system says, such as that there are no descriptors left.
    ///
    /// # Panics
    /// Outside a loop.
    #[track_caller]
    pub fn unbound() -> io::Result<UnixDatagram> {
        UnixDatagram::new(sys::call(net::UnixDatagram::unbound)?, "UnixDatagram::unbound")
    }

    /// Two sockets, each the peer of the other.
    ///
    /// # Errors
    /// What the system says, such as that there are no descriptors left.
    ///
    /// # Panics
    /// Outside a loop.
    ///
    /// ```
    /// use boucle::net::UnixDatagram;
    ///
    /// boucle::block_on(async {
    ///     let (a, b) = UnixDatagram::pair()?;
    ///     a.send(b"soda").await?;
    ///     a.send(b"coffee").await?;
    ///     let mut buf = [0; 1500];
    ///     assert_eq!(b.recv(&mut buf).await?, 4);
    ///     assert_eq!(b.recv(&mut buf).await?, 6);
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (a, b) = sys::call(net::UnixDatagram::pair)?;
        // No closure: it would hide the caller.
        Ok((
            UnixDatagram::new(a, "UnixDatagram::pair")?,
            UnixDatagram::new(b, "UnixDatagram::pair")?,
        ))
    }

    #[track_caller]
    fn new(socket: net::UnixDatagram, call: &str) -> io::Result<UnixDatagram> {
        let ended = Arc::new(AtomicBool::new(false));
        Ok(UnixDatagram { source: register(socket, call, "unix")?, ended })
    }

    /// Makes the socket at this path the peer: datagrams are sent there, and only its own are
    /// received. It may be called again, for another peer.
    ///
    /// # Errors
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if nobody has the path any more; what
    /// else the system says.
    ///
    /// ```
    /// use boucle::net::UnixDatagram;
    ///
    /// let path = std::env::temp_dir().join(format!("boucle-peer-{}", std::process::id()));
    /// boucle::block_on(async {
    ///     let counter = UnixDatagram::bind(&path)?;
    ///     let guest = UnixDatagram::unbound()?;
    ///     guest.connect(&path)?;
    ///     guest.send(b"soda").await?;
    ///     assert_eq!(counter.recv(&mut [0; 1500]).await?, 4);
    ///     assert_eq!(guest.peer_addr()?.as_pathname(), Some(&*path));
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// # let _ = std::fs::remove_file(&path);
    /// ```
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// [`connect`](UnixDatagram::connect), to an address that may be none of a file.
    ///
    /// # Errors
    /// As [`connect`](UnixDatagram::connect).
    pub fn connect_addr(&self, addr: &SocketAddr) -> io::Result<()> {
        sys::call(|| self.source.get().connect_addr(addr))
    }

    /// Sends a datagram to the peer, all of it or nothing; waits while the peer has too many that it
    /// has not received. Returns its length.
    ///
    /// Systems other than Linux may say `ENOBUFS` instead of having it wait, and so does this then.
    ///
    /// # Errors
    /// Without a peer; if it has gone; if the datagram is too long; what else the system says; if the
    /// loop of the socket is gone.
    ///
    /// # Cancellation
    /// Dropping the future sends nothing.
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        let send = |socket: &_| Ok(plain(rustix::net::send(socket, buf, FLAGS)?));
        self.source.op(Way::Write, send).await
    }

    /// Sends a datagram to the socket at this path, all of it or nothing. Returns its length.
    ///
    /// While the other one has too many that it has not received (`EAGAIN`), it is tried again after
    /// a pause of 1 millisecond, which doubles up to 50: that it has received some, the system tells
    /// only to those who have made it their [peer](UnixDatagram::connect). On a thread where no loop
    /// runs it is an error instead.
    ///
    /// # Errors
    /// If there is nobody; as [`send`](UnixDatagram::send) otherwise.
    ///
    /// # Cancellation
    /// Dropping the future sends nothing.
    pub async fn send_to(&self, buf: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        let addr = SocketAddr::from_pathname(path)?;
        self.send_to_addr(buf, &addr).await
    }

    /// [`send_to`](UnixDatagram::send_to), to an address that may be none of a file.
    ///
    /// # Errors
    /// As [`send_to`](UnixDatagram::send_to).
    ///
    /// # Cancellation
    /// Dropping the future sends nothing.
    pub async fn send_to_addr(&self, buf: &[u8], addr: &SocketAddr) -> io::Result<usize> {
        again(&self.source, |socket| socket.send_to_addr(buf, addr)).await
    }

    /// Receives a datagram, from the peer if there is one. Returns its length, or that of the buffer
    /// if it was too short for all of it.
    ///
    /// # Errors
    /// What the system says; if the loop of the socket is gone.
    ///
    /// # Cancellation
    /// Dropping the future loses no datagram.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let recv = |socket: &net::UnixDatagram| self.or_end(socket.recv(buf), || Ok(0));
        self.source.op(Way::Read, recv).await
    }

    /// Receives a datagram, and says who has sent it. As [`recv`](UnixDatagram::recv) otherwise.
    ///
    /// # Errors
    /// As [`recv`](UnixDatagram::recv).
    ///
    /// # Cancellation
    /// Dropping the future loses no datagram.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let nobody = || Ok((0, SocketAddr::from_pathname("")?));
        let recv = |socket: &net::UnixDatagram| self.or_end(socket.recv_from(buf), nobody);
        self.source.op(Way::Read, recv).await
    }

    /// What was received, or that nothing will be.
    fn or_end<R>(
        &self,
        received: io::Result<R>,
        end: impl Fn() -> io::Result<R>,
    ) -> io::Result<Done<R>> {
        let result = match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Ordering: Acquire, so that it is set for who is woken by the call that follows it.
                if self.ended.load(Ordering::Acquire) { end() } else { Err(error) }
            }
            received => received,
        };
        result.map(plain)
    }

    /// The address of this socket, if it has one.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// The address of the peer, if it has one.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) without a peer.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().peer_addr()
    }

    /// Shuts one direction down, or both, for all clones. Whoever receives gets zero from then on, once
    /// what has come before is received; a task that waits is woken.
    ///
    /// # Errors
    /// Without a peer; what else the system says.
    ///
    /// ```
    /// use boucle::net::UnixDatagram;
    /// use std::{io::ErrorKind, net::Shutdown};
    ///
    /// boucle::block_on(async {
    ///     let (a, b) = UnixDatagram::pair()?;
    ///     a.shutdown(Shutdown::Read)?;
    ///     assert_eq!(b.send(b"soda").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        sys::call(|| self.source.get().shutdown(how))?;
        if how != Shutdown::Write {
            self.ended.store(true, Ordering::Release);
            // Those who were woken in between, on other threads, come again.
            sys::call(|| self.source.get().shutdown(how))?;
        }
        Ok(())
    }

    /// The error that the socket keeps, if it keeps one, which is then cleared: `SO_ERROR`.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.get().take_error()
    }
}

impl Describe for Source<net::UnixDatagram> {
    fn describe(&self, way: Way) -> String {
        let socket = self.get();
        describe(["receive", "send"], way, socket.local_addr(), socket.peer_addr())
    }
}

socket!(UnixDatagram, net::UnixDatagram, UnixDatagram::new);
