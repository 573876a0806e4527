//! Anything that has a descriptor.

use std::{
    any::type_name,
    fmt,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    pin::Pin,
    task::{Context, Poll},
};

use futures_lite::{AsyncRead, AsyncWrite};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::source::{Source, plain};
use crate::sys::{self, Way};

/// Anything that has a descriptor which the system can wait for: a pipe, a terminal, a socket of
/// another library, inotify, a timer.
///
/// As smol's `Async`: what it wraps does not block, and [`read_with`](Async::read_with) and
/// [`write_with`](Async::write_with) turn each of its operations that says `WouldBlock` into one that
/// waits. What implements [`Read`] or [`Write`] has futures-lite's traits.
///
/// It belongs to the loop that ran where it was made, as [sockets](crate::net) do. Dropping it closes
/// what it wraps: that is how a child process learns that its input has ended.
///
/// That it does not block holds for every duplicate of the descriptor, and stays so. For a terminal these
/// are stdin, stdout and stderr of this process and of its parent, whose `println!` may then fail: open
/// `/dev/tty` anew instead, or have a thread read.
///
/// ```
/// use boucle::io::Async;
/// use futures_lite::{AsyncReadExt, AsyncWriteExt};
/// use std::os::unix::net::UnixStream;
///
/// boucle::block_on(async {
///     let (a, b) = UnixStream::pair()?;
///     let (mut a, mut b) = (Async::new(a)?, Async::new(b)?);
///     a.write_all(b"soda").await?;
///     let mut order = [0; 4];
///     b.read_exact(&mut order).await?;
///     assert_eq!(&order, b"soda");
///     std::io::Result::Ok(())
/// })
/// # .unwrap();
/// ```
///
/// A signal, as an end of file or a byte in a pipe, by signal-hook:
///
/// ```
/// use boucle::io::Async;
/// use signal_hook::{consts::SIGTERM, low_level};
/// use std::os::unix::net::UnixStream;
///
/// boucle::block_on(async {
///     let (ours, theirs) = UnixStream::pair()?;
///     low_level::pipe::register(SIGTERM, theirs)?;
///     let term = Async::new(ours)?;
///     # low_level::raise(SIGTERM)?;
///     term.readable().await // then the server says good-bye
/// })
/// # .unwrap();
/// ```
pub struct Async<T: AsFd> {
    source: Source<T>,
}

impl<T: AsFd> Unpin for Async<T> {}

impl<T: AsFd> Async<T> {
    /// Registers a descriptor with the loop that runs here, and has it not block.
    ///
    /// # Errors
    /// [`Unsupported`](io::ErrorKind::Unsupported) if it is nothing that the system can wait for: a
    /// file on a disk, which never has anybody wait. What else the system says, such as that the
    /// same descriptor is registered already.
    ///
    /// # Panics
    /// Outside a loop.
    ///
    /// ```
    /// let file = std::fs::File::open("/proc/self/exe").unwrap();
    /// let error = boucle::block_on(async { boucle::io::Async::new(file).unwrap_err() });
    /// assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    /// ```
    #[track_caller]
    pub fn new(io: T) -> io::Result<Async<T>> {
        let source = Source::new(io, "Async::new", type_name::<T>())?;
        // Only now: what is refused stays as it was.
        sys::call(|| Ok(rustix::io::ioctl_fionbio(&source, true)?))?;
        Ok(Async { source })
    }

    /// What is wrapped.
    ///
    /// There is no `get_mut`: what is registered stays where it is until
    /// [`into_inner`](Async::into_inner).
    ///
    /// ```compile_fail,E0599
    /// # fn t78_what_is_registered_cannot_be_replaced() {
    /// use std::os::unix::net::UnixStream;
    ///
    /// boucle::block_on(async {
    ///     let (a, b) = UnixStream::pair().unwrap();
    ///     let mut a = boucle::io::Async::new(a).unwrap();
    ///     // The loop would go on waiting for a descriptor that somebody else has by then.
    ///     *a.get_mut() = b;
    /// });
    /// # }
    /// ```
    pub fn get_ref(&self) -> &T {
        self.source.get()
    }

    /// Takes it out of the loop. It still does not block.
    ///
    /// ```
    /// use std::{io::Write, os::unix::net::UnixStream};
    ///
    /// boucle::block_on(async {
    ///     let (a, _b) = UnixStream::pair()?;
    ///     let mut a: UnixStream = boucle::io::Async::new(a)?.into_inner();
    ///     a.write_all(b"soda")
    /// })
    /// # .unwrap();
    /// ```
    pub fn into_inner(self) -> T {
        self.source.into_inner()
    }

    /// Waits until it can be read, has ended, or has failed.
    ///
    /// Somebody else may have read it by the time that the caller does.
    ///
    /// # Errors
    /// What the system says; if its loop is gone.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    ///
    /// ```
    /// use std::{io::Write, os::unix::net::UnixStream};
    ///
    /// boucle::block_on(async {
    ///     let (mut a, b) = UnixStream::pair()?;
    ///     let b = boucle::io::Async::new(b)?;
    ///     a.write_all(b"soda")?;
    ///     b.readable().await
    /// })
    /// # .unwrap();
    /// ```
    pub async fn readable(&self) -> io::Result<()> {
        self.source.op(Way::Read, |io| is_ready(io, Way::Read).map(plain)).await
    }

    /// Waits until it can be written to, or has failed. As [`readable`](Async::readable) otherwise.
    ///
    /// # Errors
    /// What the system says; if its loop is gone.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn writable(&self) -> io::Result<()> {
        self.source.op(Way::Write, |io| is_ready(io, Way::Write).map(plain)).await
    }

    /// [`readable`](Async::readable), for those who write futures by hand. Several tasks may wait;
    /// each is woken.
    ///
    /// # Errors
    /// As there.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.source.poll(Way::Read, cx, &mut 0, |io| is_ready(io, Way::Read).map(plain))
    }

    /// [`writable`](Async::writable), for those who write futures by hand. Several tasks may wait;
    /// each is woken.
    ///
    /// # Errors
    /// As there.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.source.poll(Way::Write, cx, &mut 0, |io| is_ready(io, Way::Write).map(plain))
    }

    /// Does a reading operation, and does it again when the descriptor is readable, for as long as it
    /// says [`WouldBlock`](io::ErrorKind::WouldBlock). Interrupted ones are done again at once.
    ///
    /// # Errors
    /// What the operation says; if its loop is gone.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing: no operation is under way while it waits.
    ///
    /// ```
    /// use boucle::io::Async;
    /// use std::net::UdpSocket;
    ///
    /// boucle::block_on(async {
    ///     let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    ///     let addr = b.local_addr()?;
    ///     let (a, b) = (Async::new(a)?, Async::new(b)?);
    ///     a.write_with(|a| a.send_to(b"soda", addr)).await?;
    ///     let mut buf = [0; 8];
    ///     let (len, from) = b.read_with(|b| b.recv_from(&mut buf)).await?;
    ///     assert_eq!((&buf[..len], from), (&b"soda"[..], a.get_ref().local_addr()?));
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub async fn read_with<R>(&self, mut op: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.source.op(Way::Read, |io| op(io).map(plain)).await
    }

    /// [`read_with`](Async::read_with), for a writing operation.
    ///
    /// # Errors
    /// What the operation says; if its loop is gone.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing: no operation is under way while it waits.
    pub async fn write_with<R>(&self, mut op: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.source.op(Way::Write, |io| op(io).map(plain)).await
    }
}

/// Asks the system whether an operation would block.
fn is_ready(fd: &impl AsFd, way: Way) -> io::Result<()> {
    let flags = match way {
        Way::Read => PollFlags::IN | PollFlags::PRI,
        Way::Write => PollFlags::OUT,
    };
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut [PollFd::new(fd, flags)], Some(&now))? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}

impl<T: AsFd + Read> AsyncRead for Async<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.source.poll_mut(Way::Read, cx, |io| io.read(buf))
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.source.poll_mut(Way::Read, cx, |io| io.read_vectored(bufs))
    }
}

impl<T: AsFd> AsyncRead for &Async<T>
where
    for<'t> &'t T: Read,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.source.poll(Way::Read, cx, &mut 0, |mut io| io.read(buf).map(plain))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.source.poll(Way::Read, cx, &mut 0, |mut io| io.read_vectored(bufs).map(plain))
    }
}

impl<T: AsFd + Write> AsyncWrite for Async<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.source.poll_mut(Way::Write, cx, |io| io.write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.source.poll_mut(Way::Write, cx, |io| io.write_vectored(bufs))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.source.poll_mut(Way::Write, cx, T::flush)
    }

    /// Flushes: to close more, drop it.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl<T: AsFd> AsyncWrite for &Async<T>
where
    for<'t> &'t T: Write,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.source.poll(Way::Write, cx, &mut 0, |mut io| io.write(buf).map(plain))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.source.poll(Way::Write, cx, &mut 0, |mut io| io.write_vectored(bufs).map(plain))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.source.poll(Way::Write, cx, &mut 0, |mut io| io.flush().map(plain))
    }

    /// Flushes: to close more, drop it.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl<T: AsFd> AsFd for Async<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl<T: AsFd> AsRawFd for Async<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for Async<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Async").field(self.get_ref()).finish()
    }
}
