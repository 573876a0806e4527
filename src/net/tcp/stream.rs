//! Connections.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{self, Shutdown, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustix::net::{RecvFlags, recv};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{
    io::{Source, plain},
    net::{
        addr::{ToSocketAddrs, resolve},
        halves::{OwnedReadHalf, OwnedWriteHalf, sealed::Connection, split},
        socket::{named, register, socket},
        stream::{Handle, stream},
    },
    reactor::{Describe, Name},
    sys::{self, Way},
};

/// A TCP connection.
///
/// Reading and writing are in the traits [`AsyncRead`](futures_lite::AsyncRead) and
/// [`AsyncWrite`](futures_lite::AsyncWrite) of futures-lite, which it implements, and so does
/// `&TcpStream`: one task may read while another writes. Clones are the same connection, for tasks
/// that need one of their own each; so are the [halves](TcpStream::into_split). It is closed when
/// the last of them is dropped.
///
/// Options that have no method here are set through [`socket2::SockRef`]. One of them to beware of is
/// a linger of more than zero: dropping the stream then stops the thread, and so the loop, until all is
/// sent, or the time is over.
///
/// ```
/// use boucle::net::{TcpListener, TcpStream};
/// use socket2::{SockRef, TcpKeepalive};
/// use std::time::Duration;
///
/// boucle::block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let stream = TcpStream::connect(listener.local_addr()?).await?;
///     let socket = SockRef::from(&stream);
///     socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(60)))?;
///     assert!(socket.keepalive()?);
///     std::io::Result::Ok(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone)]
pub struct TcpStream {
    source: Handle<net::TcpStream>,
}

impl TcpStream {
    /// Connects to the first of these addresses that accepts, each tried in turn.
    ///
    /// # Errors
    /// The last address's, if none accepts; if the name cannot be resolved. An attempt may take
    /// minutes before the system gives it up: see [`timeout`](crate::timeout).
    ///
    /// # Panics
    /// Outside a loop.
    ///
    /// # Cancellation
    /// Dropping the future gives up the attempt.
    ///
    /// ```
    /// use boucle::net::{TcpListener, TcpStream};
    ///
    /// boucle::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub async fn connect(addrs: impl ToSocketAddrs) -> io::Result<TcpStream> {
        let addrs = resolve(addrs).await?;
        let mut result = Err(io::ErrorKind::InvalidInput.into());
        for addr in addrs {
            result = TcpStream::connect_to(addr).await;
            if result.is_ok() {
                break;
            }
        }
        result
    }

    async fn connect_to(addr: SocketAddr) -> io::Result<TcpStream> {
        let domain = Domain::for_address(addr);
        let socket = sys::call(|| Socket::new(domain, Type::STREAM, Some(Protocol::TCP)))?;
        sys::call(|| socket.set_nonblocking(true))?;
        let connected = sys::call(|| begin(&socket, &addr.into()))?;
        let source = Source::new(net::TcpStream::from(socket), "TcpStream::connect", "tcp")?;
        if !connected {
            source.expect_event(Way::Write);
            let name: Arc<dyn Describe + Send + Sync> = Arc::new(Connecting(addr));
            source.set_name(Name::Of(Arc::downgrade(&name)));
            source.op(Way::Write, |stream| outcome(stream).map(plain)).await?;
        }
        let local = sys::call(|| source.get().local_addr())?;
        if local.port() == addr.port() && local == sys::call(|| source.get().peer_addr())? {
            // Nobody listens there, and the system has chosen the very port for this end: the socket
            // talks to itself.
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(TcpStream::own(source))
    }

    #[track_caller]
    pub(super) fn new(stream: net::TcpStream, call: &str) -> io::Result<TcpStream> {
        Ok(TcpStream::own(Source::new(stream, call, "tcp")?))
    }

    fn own(source: Source<net::TcpStream>) -> TcpStream {
        TcpStream { source: named(source).into() }
    }

    #[track_caller]
    fn register(stream: net::TcpStream, call: &str) -> io::Result<TcpStream> {
        Ok(TcpStream { source: register(stream, call, "tcp")?.into() })
    }

    /// For the traits of others.
    #[cfg(any(feature = "hyper", feature = "tokio-io"))]
    pub(crate) fn handle(&mut self) -> &mut Handle<net::TcpStream> {
        &mut self.source
    }

    /// The address of this end.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// What the system says: [`NotConnected`](io::ErrorKind::NotConnected) once it was reset.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().peer_addr()
    }

    /// Shuts one direction down, or both, for all clones and halves.
    ///
    /// After [`Shutdown::Write`] the peer reads an end of file, and may still answer. A task that
    /// waits in a read or write that cannot happen any more is woken.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the peer has gone.
    ///
    /// ```
    /// use boucle::net::{TcpListener, TcpStream};
    /// use futures_lite::AsyncReadExt;
    /// use std::net::Shutdown;
    ///
    /// boucle::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     stream.shutdown(Shutdown::Write)?;
    ///     let (mut served, _) = listener.accept().await?;
    ///     assert_eq!(served.read(&mut [0; 8]).await?, 0);
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        sys::call(|| self.source.get().shutdown(how))
    }

    /// Reads without taking: the next read gets the same bytes. Returns how many there were; zero
    /// at the end of file.
    ///
    /// # Errors
    /// What the system says; if the loop of the stream is gone.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    ///
    /// ```
    /// use boucle::net::{TcpListener, TcpStream};
    /// use futures_lite::AsyncWriteExt;
    ///
    /// boucle::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let mut stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     stream.write_all(b"soda").await?;
    ///     let (served, _) = listener.accept().await?;
    ///     let mut buf = [0; 8];
    ///     for _ in 0..2 {
    ///         assert_eq!(served.peek(&mut buf).await?, 4);
    ///     }
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source
            .op(Way::Read, |stream| {
                let (peeked, _) = recv(stream, &mut *buf, RecvFlags::PEEK)?;
                Ok(plain(peeked))
            })
            .await
    }

    /// Whether small writes are sent at once: the option `TCP_NODELAY`, off by default.
    ///
    /// # Errors
    /// What the system says.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.source.get().nodelay()
    }

    /// Sets what [`nodelay`](TcpStream::nodelay) tells.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// ```
    /// use boucle::net::{TcpListener, TcpStream};
    ///
    /// boucle::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     stream.set_nodelay(true)?;
    ///     assert!(stream.nodelay()?);
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.source.get().set_nodelay(nodelay)
    }

    /// How many routers a packet may pass: the option `IP_TTL`.
    ///
    /// # Errors
    /// What the system says.
    pub fn ttl(&self) -> io::Result<u32> {
        self.source.get().ttl()
    }

    /// Sets what [`ttl`](TcpStream::ttl) tells.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.source.get().set_ttl(ttl)
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
    /// use boucle::net::{TcpListener, TcpStream};
    /// use futures_lite::{AsyncReadExt, AsyncWriteExt};
    ///
    /// boucle::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (mut served, _) = listener.accept().await?;
    ///     let (mut reader, mut writer) = stream.into_split();
    ///     writer.write_all(b"soda").await?;
    ///     drop(writer);
    ///     let mut order = String::new();
    ///     served.read_to_string(&mut order).await?;
    ///     served.write_all(order.to_uppercase().as_bytes()).await?;
    ///     drop(served);
    ///     order.clear();
    ///     reader.read_to_string(&mut order).await?;
    ///     assert_eq!(order, "SODA");
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn into_split(self) -> (OwnedReadHalf<TcpStream>, OwnedWriteHalf<TcpStream>) {
        split(self)
    }
}

impl Connection for TcpStream {
    fn is(&self, other: &TcpStream) -> bool {
        self.source.is(&other.source)
    }

    fn shut(&self, how: Shutdown) -> io::Result<()> {
        self.shutdown(how)
    }
}

/// Begins to connect; true if that was all.
fn begin(socket: &Socket, addr: &SockAddr) -> io::Result<bool> {
    use rustix::io::Errno;
    match socket.connect(addr) {
        Ok(()) => Ok(true),
        Err(error) => match Errno::from_io_error(&error) {
            // After a signal it goes on as well, and must not be called again.
            Some(Errno::INPROGRESS | Errno::INTR) => Ok(false),
            _ => Err(error),
        },
    }
}

/// What became of an attempt to connect.
fn outcome(stream: &net::TcpStream) -> io::Result<()> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        result => result.map(drop),
    }
}

/// An attempt.
struct Connecting(SocketAddr);

impl Describe for Connecting {
    fn describe(&self, _: Way) -> String {
        format!("connect to tcp {}", self.0)
    }
}

impl Describe for Source<net::TcpStream> {
    fn describe(&self, way: Way) -> String {
        let way = if way == Way::Read { "read" } else { "write" };
        match (self.get().local_addr(), self.get().peer_addr()) {
            (Ok(local), Ok(peer)) => format!("{way} on tcp {local} -> {peer}"),
            (Ok(local), Err(_)) => format!("{way} on tcp {local}, whose peer has gone"),
            _ => format!("{way} on tcp"),
        }
    }
}

stream!(TcpStream, &mut);
stream!(&TcpStream, &mut &);

socket!(TcpStream, net::TcpStream, TcpStream::register);
