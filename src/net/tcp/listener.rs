//! Listening.

use std::{
    fmt, io,
    net::{self, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_lite::Stream;

use super::stream::TcpStream;
use crate::{
    io::Source,
    net::{
        accept::{Accepting, Drought},
        addr::{ToSocketAddrs, resolve},
        socket::{register, socket},
    },
    reactor::Describe,
    sys::{self, Way},
};

/// A TCP socket that listens for connections. Clones are the same socket.
///
/// ```
/// use boucle::net::{TcpListener, TcpStream};
/// use futures_lite::{AsyncReadExt, AsyncWriteExt};
///
/// boucle::block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let addr = listener.local_addr()?;
///     let guest = boucle::spawn(async move { TcpStream::connect(addr).await?.write_all(b"soda").await });
///     let (mut stream, _) = listener.accept().await?;
///     let mut order = String::new();
///     stream.read_to_string(&mut order).await?;
///     assert_eq!(order, "soda");
///     guest.await.unwrap()
/// })
/// # .unwrap();
/// ```
#[derive(Clone)]
pub struct TcpListener {
    source: Arc<Source<net::TcpListener>>,
    drought: Arc<Drought>,
}

type Accepted = (net::TcpStream, SocketAddr);

/// Takes a connection that neither blocks nor is inherited by programs that are run.
fn accept(listener: &net::TcpListener) -> io::Result<Accepted> {
    #[cfg(not(target_vendor = "apple"))]
    {
        use rustix::net::{SocketFlags, acceptfrom_with};
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (fd, peer) = acceptfrom_with(listener, flags)?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        let stream = net::TcpStream::from(fd);
        let peer = peer.map_or_else(|| stream.peer_addr(), Ok)?;
        Ok((stream, peer))
    }
    #[cfg(target_vendor = "apple")]
    {
        let (stream, peer) = listener.accept()?;
        stream.set_nonblocking(true)?;
        Ok((stream, peer))
    }
}

impl TcpListener {
    /// Listens on the first of these addresses that can be bound.
    ///
    /// Port 0 asks the system for a free one: [`local_addr`](TcpListener::local_addr) says which.
    /// As with std, the address may be used again at once after a server has ended (`SO_REUSEADDR`).
    ///
    /// # Errors
    /// The last address's, if none can be bound.
    ///
    /// # Panics
    /// Outside a loop.
    ///
    /// ```
    /// use boucle::net::TcpListener;
    ///
    /// let listener = boucle::block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    /// assert!(listener.local_addr().unwrap().ip().is_loopback());
    /// ```
    pub async fn bind(addrs: impl ToSocketAddrs) -> io::Result<TcpListener> {
        let addrs = resolve(addrs).await?;
        let listener = sys::call(|| net::TcpListener::bind(&*addrs))?;
        TcpListener::new(listener, "TcpListener::bind")
    }

    #[track_caller]
    fn new(listener: net::TcpListener, call: &str) -> io::Result<TcpListener> {
        let source = register(listener, call, "tcp")?;
        Ok(TcpListener { source, drought: Arc::default() })
    }

    /// Accepts the next connection.
    ///
    /// A connection that is gone before it was accepted is passed over. When the process or the
    /// system has run out of descriptors or memory, that is said on stderr, once a minute at most, and
    /// tried again after a pause of 10 milliseconds that grows to one second, until it succeeds: a
    /// server outlives a rush. On a thread where no loop runs it is an error instead.
    ///
    /// Several tasks may accept from one listener: each connection goes to one of them.
    ///
    /// # Errors
    /// What else the system says; if the listener's loop is gone.
    ///
    /// # Panics
    /// Where no loop runs, once there is a connection: it belongs to the loop that runs here.
    ///
    /// # Cancellation
    /// Dropping the future loses no connection.
    ///
    /// ```
    /// use boucle::net::{TcpListener, TcpStream};
    ///
    /// boucle::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (_stream, addr) = listener.accept().await?;
    ///     assert_eq!(addr, client.local_addr()?);
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = Accepting::new(&self.source, &self.drought, accept).await?;
        Ok((TcpStream::new(stream, "TcpListener::accept")?, peer))
    }

    /// The connections that come, one after the other, for ever: as [`accept`](TcpListener::accept)
    /// in a loop.
    ///
    /// # Cancellation
    /// Dropping the stream loses no connection.
    ///
    /// ```
    /// use boucle::net::{TcpListener, TcpStream};
    /// use futures_lite::StreamExt;
    ///
    /// boucle::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let _client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let mut incoming = listener.incoming();
    ///     while let Some(stream) = incoming.next().await {
    ///         assert_eq!(stream?.local_addr()?, listener.local_addr()?);
    ///         # break;
    ///     }
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self, next: None }
    }

    /// The address on which it listens.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// ```
    /// boucle::block_on(async {
    ///     let listener = boucle::net::TcpListener::bind("127.0.0.1:0").await?;
    ///     assert_ne!(listener.local_addr()?.port(), 0);
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// How many routers a packet may pass: the option `IP_TTL`.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// ```
    /// boucle::block_on(async {
    ///     let listener = boucle::net::TcpListener::bind("127.0.0.1:0").await?;
    ///     listener.set_ttl(42)?;
    ///     assert_eq!(listener.ttl()?, 42);
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn ttl(&self) -> io::Result<u32> {
        self.source.get().ttl()
    }

    /// Sets what [`ttl`](TcpListener::ttl) tells; accepted connections inherit it.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.source.get().set_ttl(ttl)
    }
}

impl Describe for Source<net::TcpListener> {
    fn describe(&self, _: Way) -> String {
        match self.get().local_addr() {
            Ok(addr) => format!("accept on tcp {addr}"),
            Err(_) => "accept on tcp".into(),
        }
    }
}

socket!(TcpListener, net::TcpListener, TcpListener::new);

/// The stream of [`TcpListener::incoming`].
#[must_use = "streams do nothing unless they are polled"]
pub struct Incoming<'l> {
    listener: &'l TcpListener,
    next: Option<Accepting<'l, net::TcpListener, Accepted>>,
}

impl Stream for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let TcpListener { source, drought } = self.listener;
        let next = self.next.get_or_insert_with(|| Accepting::new(source, drought, accept));
        let accepted = ready!(Pin::new(next).poll(cx));
        self.next = None;
        let stream = accepted.and_then(|(stream, _)| TcpStream::new(stream, "Incoming::next"));
        Poll::Ready(Some(stream))
    }
}

impl fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Incoming").field(self.listener).finish()
    }
}
