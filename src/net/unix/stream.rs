//! Connections.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::net::{self, SocketAddr},
    },
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustix::io::Errno;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::{
    addr::{self, to_system},
    again::{again_alone, is_refused},
};
use crate::{
    io::Source,
    net::{
        halves::{OwnedReadHalf, OwnedWriteHalf, sealed::Connection, split},
        socket::{named, register, socket},
        stream::{Handle, stream},
    },
    reactor::{Describe, Name},
    sys::{self, Way},
};

/// A Unix connection.
///
/// Reading and writing are in the traits [`AsyncRead`](futures_lite::AsyncRead) and
/// [`AsyncWrite`](futures_lite::AsyncWrite) of futures-lite, which it implements, and so does
/// `&UnixStream`: one task may read while another writes. Clones are the same connection, for tasks
/// that need one of their own each; so are the [halves](UnixStream::into_split). It is closed when
/// the last of them is dropped.
///
/// Descriptors that the peer sends along are closed, unless they are received by other means, such
/// as [`read_with`](crate::io::Async::read_with) of an [`Async`](crate::io::Async) and `recvmsg`.
///
/// Who the peer is, the system knows:
///
/// ```
/// # #[cfg(target_os = "linux")]
/// # {
/// use boucle::net::UnixStream;
/// use rustix::net::sockopt::socket_peercred;
///
/// boucle::block_on(async {
///     let (a, _b) = UnixStream::pair()?;
///     let peer = socket_peercred(&a)?;
///     assert_eq!(peer.pid.as_raw_nonzero().get() as u32, std::process::id());
///     std::io::Result::Ok(())
/// })
/// # .unwrap();
/// # }
/// ```
#[derive(Clone)]
pub struct UnixStream {
    source: Handle<net::UnixStream>,
}

impl UnixStream {
    /// Connects to whoever listens at this path.
    ///
    /// A listener with so many connections to accept that it takes no more (`EAGAIN`) is asked again
    /// after a pause of 1 millisecond, which doubles up to 50.
    ///
    /// # Errors
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if nobody listens there any more;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the path is too long for the system; what
    /// else the system says.
    ///
    /// # Panics
    /// Outside a loop.
    ///
    /// # Cancellation
    /// Dropping the future gives up the attempt.
    ///
    /// ```
    /// use boucle::net::{UnixListener, UnixStream};
    ///
    /// let path = std::env::temp_dir().join(format!("boucle-connect-{}", std::process::id()));
    /// boucle::block_on(async {
    ///     let listener = UnixListener::bind(&path)?;
    ///     let stream = UnixStream::connect(&path).await?;
    ///     assert_eq!(stream.peer_addr()?.as_pathname(), Some(&*path));
    ///     assert!(stream.local_addr()?.is_unnamed());
    ///     drop(listener);
    ///     let refused = UnixStream::connect(&path).await.unwrap_err();
    ///     assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// # let _ = std::fs::remove_file(&path);
    /// ```
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<UnixStream> {
        let addr = SocketAddr::from_pathname(path)?;
        UnixStream::connect_addr(&addr).await
    }

    /// [`connect`](UnixStream::connect), to an address that may be none of a file.
    ///
    /// # Errors
    /// As [`connect`](UnixStream::connect).
    ///
    /// # Panics
    /// Outside a loop.
    ///
    /// # Cancellation
    /// Dropping the future gives up the attempt.
    pub async fn connect_addr(addr: &SocketAddr) -> io::Result<UnixStream> {
        let to = to_system(addr)?;
        let socket = sys::call(|| Socket::new(Domain::UNIX, Type::STREAM, None))?;
        sys::call(|| socket.set_nonblocking(true))?;
        let stream = net::UnixStream::from(OwnedFd::from(socket));
        let refused = match sys::call(|| begin(&stream, &to)) {
            Err(error) if is_refused(&error) => true,
            result => result.map(|()| false)?,
        };
        let mut source = Source::new(stream, "UnixStream::connect", "unix")?;
        if refused {
            let name: Arc<dyn Describe + Send + Sync> = Arc::new(Connecting(addr.clone()));
            source.set_name(Name::Of(Arc::downgrade(&name)));
            again_alone(&source, |stream| begin(stream, &to)).await?;
            // Whether it is ready has to be found out from the beginning.
            source = Source::new(source.into_inner(), "UnixStream::connect", "unix")?;
        }
        Ok(UnixStream { source: named(source).into() })
    }

    /// Two ends of a connection of their own.
    ///
    /// # Errors
    /// What the system says, such as that there are no descriptors left.
    ///
    /// # Panics
    /// Outside a loop.
    ///
    /// ```
    /// use boucle::net::UnixStream;
    /// use futures_lite::{AsyncReadExt, AsyncWriteExt};
    ///
    /// boucle::block_on(async {
    ///     let (mut a, mut b) = UnixStream::pair()?;
    ///     a.write_all(b"soda").await?;
    ///     let mut order = [0; 4];
    ///     b.read_exact(&mut order).await?;
    ///     assert_eq!(&order, b"soda");
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (a, b) = sys::call(net::UnixStream::pair)?;
        // No closure: it would hide the caller.
        Ok((UnixStream::of_std(a, "UnixStream::pair")?, UnixStream::of_std(b, "UnixStream::pair")?))
    }

    /// Of a socket that does not block yet.
    #[track_caller]
    fn of_std(stream: net::UnixStream, call: &str) -> io::Result<UnixStream> {
        Ok(UnixStream { source: register(stream, call, "unix")?.into() })
    }

    /// Of one that does not block.
    #[track_caller]
    pub(super) fn new(stream: net::UnixStream, call: &str) -> io::Result<UnixStream> {
        Ok(UnixStream { source: named(Source::new(stream, call, "unix")?).into() })
    }

    /// For the traits of others.
    #[cfg(any(feature = "hyper", feature = "tokio-io"))]
    pub(crate) fn handle(&mut self) -> &mut Handle<net::UnixStream> {
        &mut self.source
    }

    /// The address of this end, if it has one.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// The address of the other end, if it has one.
    ///
    /// # Errors
    /// What the system says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().peer_addr()
    }

    /// Shuts one direction down, or both, for all clones and halves.
    ///
    /// After [`Shutdown::Write`] the peer reads an end of file, and may still answer. A task that
    /// waits in a read or write that cannot happen any more is woken.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// ```
    /// use boucle::net::UnixStream;
    /// use futures_lite::AsyncReadExt;
    /// use std::net::Shutdown;
    ///
    /// boucle::block_on(async {
    ///     let (a, mut b) = UnixStream::pair()?;
    ///     a.shutdown(Shutdown::Write)?;
    ///     assert_eq!(b.read(&mut [0; 8]).await?, 0);
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        sys::call(|| self.source.get().shutdown(how))
    }

    /// The error that the socket keeps, if it keeps one, which is then cleared: `SO_ERROR`.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.get().take_error()
    }

    /// Two halves, for two tasks. Dropping the writing half shuts the writing direction down.
    ///
    /// ```
    /// use boucle::net::UnixStream;
    /// use futures_lite::{AsyncReadExt, AsyncWriteExt};
    ///
    /// boucle::block_on(async {
    ///     let (a, mut b) = UnixStream::pair()?;
    ///     let (reader, mut writer) = a.into_split();
    ///     writer.write_all(b"soda").await?;
    ///     drop(writer);
    ///     let mut order = String::new();
    ///     b.read_to_string(&mut order).await?;
    ///     assert_eq!(order, "soda");
    ///     # drop(reader);
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn into_split(self) -> (OwnedReadHalf<UnixStream>, OwnedWriteHalf<UnixStream>) {
        split(self)
    }
}

impl Connection for UnixStream {
    fn is(&self, other: &UnixStream) -> bool {
        self.source.is(&other.source)
    }

    fn shut(&self, how: Shutdown) -> io::Result<()> {
        self.shutdown(how)
    }
}

/// Connects; it would block while the listener takes no more connections.
fn begin(stream: &net::UnixStream, addr: &SockAddr) -> io::Result<()> {
    match SockRef::from(stream).connect(addr) {
        Err(error) => match Errno::from_io_error(&error) {
            // An earlier call has done it, or goes on.
            Some(Errno::ISCONN) => Ok(()),
            Some(Errno::INPROGRESS | Errno::ALREADY) => Err(io::ErrorKind::WouldBlock.into()),
            _ => Err(error),
        },
        result => result,
    }
}

/// An attempt.
struct Connecting(SocketAddr);

impl Describe for Connecting {
    fn describe(&self, _: Way) -> String {
        let name = addr::name(self.0.clone()).unwrap_or_default();
        format!("connect to unix {name}")
    }
}

impl Describe for Source<net::UnixStream> {
    fn describe(&self, way: Way) -> String {
        let stream = self.get();
        addr::describe(["read", "write"], way, stream.local_addr(), stream.peer_addr())
    }
}

stream!(UnixStream, &mut);
stream!(&UnixStream, &mut &);
socket!(UnixStream, net::UnixStream, UnixStream::of_std);
