//! Listening.

use std::{
    fmt, io,
    os::unix::net::{self, SocketAddr},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_lite::Stream;

use super::{addr::describe, stream::UnixStream};
use crate::{
    current::current,
    io::Source,
    net::{
        accept::{Accepting, Drought},
        socket::{register, socket},
    },
    reactor::Describe,
    sys::{self, Way},
};

/// A Unix socket that listens for connections.
///
/// ```
/// use boucle::net::{UnixListener, UnixStream};
/// use futures_lite::{AsyncReadExt, AsyncWriteExt};
///
/// let path = std::env::temp_dir().join(format!("boucle-listener-{}", std::process::id()));
/// boucle::block_on(async {
///     let listener = UnixListener::bind(&path)?;
///     let mut client = UnixStream::connect(&path).await?;
///     let (mut served, _) = listener.accept().await?;
///     client.write_all(b"soda").await?;
///     drop(client);
///     let mut order = String::new();
///     served.read_to_string(&mut order).await?;
///     assert_eq!(order, "soda");
///     std::io::Result::Ok(())
/// })
/// # .unwrap();
/// # let _ = std::fs::remove_file(&path);
/// ```
#[derive(Clone)]
pub struct UnixListener {
    source: Arc<Source<net::UnixListener>>,
    drought: Arc<Drought>,
}

type Accepted = (net::UnixStream, SocketAddr);

/// Takes a connection that neither blocks nor is inherited by programs that are run.
fn accept(listener: &net::UnixListener) -> io::Result<Accepted> {
    #[cfg(not(target_vendor = "apple"))]
    {
        use rustix::net::{SocketFlags, accept_with};
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let stream = net::UnixStream::from(accept_with(listener, flags)?);
        // Some systems do not know any more when it has gone.
        let peer = stream.peer_addr().or_else(|_| SocketAddr::from_pathname(""))?;
        Ok((stream, peer))
    }
    #[cfg(target_vendor = "apple")]
    {
        let (stream, peer) = listener.accept()?;
        stream.set_nonblocking(true)?;
        Ok((stream, peer))
    }
}

impl UnixListener {
    /// Makes a socket at this path, and listens there.
    ///
    /// The file stays when the socket is dropped, as with std.
    ///
    /// # Errors
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if there is such a file, though nobody listens there;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the path is too long for the system, which
    /// may be so with little more than 100 bytes; what else the system says.
    ///
    /// # Panics
    /// Outside a loop.
    #[track_caller]
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListener::bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// [`bind`](UnixListener::bind), to an address that may be none of a file.
    ///
    /// # Errors
    /// As [`bind`](UnixListener::bind).
    ///
    /// # Panics
    /// Outside a loop.
    ///
    /// ```
    /// # #[cfg(target_os = "linux")]
    /// # {
    /// use boucle::net::{UnixListener, UnixStream, unix::SocketAddr};
    /// use std::os::linux::net::SocketAddrExt;
    ///
    /// boucle::block_on(async {
    ///     let name = format!("boucle-name-{}", std::process::id());
    ///     let addr = SocketAddr::from_abstract_name(name)?;
    ///     let listener = UnixListener::bind_addr(&addr)?;
    ///     let client = UnixStream::connect_addr(&addr).await?;
    ///     assert_eq!(client.peer_addr()?.as_abstract_name(), addr.as_abstract_name());
    ///     listener.accept().await?;
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// # }
    /// ```
    #[track_caller]
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<UnixListener> {
        // No file is made where the call is wrong.
        current("UnixListener::bind", |_| ());
        let listener = sys::call(|| net::UnixListener::bind_addr(addr))?;
        UnixListener::new(listener, "UnixListener::bind")
    }

    #[track_caller]
    fn new(listener: net::UnixListener, call: &str) -> io::Result<UnixListener> {
        Ok(UnixListener { source: register(listener, call, "unix")?, drought: Arc::default() })
    }

    /// Accepts the next connection. Its peer has an address if it has bound one, which few do.
    ///
    /// When the process or the system has run out of descriptors or memory, that is said once on
    /// stderr, and tried again after a pause, as in [`TcpListener::accept`]. Several tasks may accept
    /// from one listener: each connection goes to one of them.
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
    /// [`TcpListener::accept`]: crate::net::TcpListener::accept
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (stream, peer) = Accepting::new(&self.source, &self.drought, accept).await?;
        Ok((UnixStream::new(stream, "UnixListener::accept")?, peer))
    }

    /// The connections that come, one after the other, for ever: as
    /// [`accept`](UnixListener::accept) in a loop.
    ///
    /// # Cancellation
    /// Dropping the stream loses no connection.
    ///
    /// ```
    /// use boucle::net::{UnixListener, UnixStream};
    /// use futures_lite::StreamExt;
    ///
    /// let path = std::env::temp_dir().join(format!("boucle-incoming-{}", std::process::id()));
    /// boucle::block_on(async {
    ///     let listener = UnixListener::bind(&path)?;
    ///     let _client = UnixStream::connect(&path).await?;
    ///     let mut incoming = listener.incoming();
    ///     while let Some(stream) = incoming.next().await {
    ///         assert_eq!(stream?.local_addr()?.as_pathname(), Some(&*path));
    ///         # break;
    ///     }
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// # let _ = std::fs::remove_file(&path);
    /// ```
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self, next: None }
    }

    /// The address on which it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// The error that the socket keeps, if it keeps one, which is then cleared: `SO_ERROR`.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.get().take_error()
    }
}

impl Describe for Source<net::UnixListener> {
    fn describe(&self, way: Way) -> String {
        let nobody = Err(io::ErrorKind::NotConnected.into());
        describe(["accept"; 2], way, self.get().local_addr(), nobody)
    }
}

socket!(UnixListener, net::UnixListener, UnixListener::new);

/// The stream of [`UnixListener::incoming`].
#[must_use = "streams do nothing unless they are polled"]
pub struct Incoming<'l> {
    listener: &'l UnixListener,
    next: Option<Accepting<'l, net::UnixListener, Accepted>>,
}

impl Stream for Incoming<'_> {
    type Item = io::Result<UnixStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let UnixListener { source, drought } = self.listener;
        let next = self.next.get_or_insert_with(|| Accepting::new(source, drought, accept));
        let accepted = ready!(Pin::new(next).poll(cx));
        self.next = None;
        let stream = accepted.and_then(|(stream, _)| UnixStream::new(stream, "Incoming::next"));
        Poll::Ready(Some(stream))
    }
}

impl fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Incoming").field(self.listener).finish()
    }
}
