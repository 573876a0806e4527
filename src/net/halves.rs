//! A connection in two halves, of whatever kind.

use std::{
    error::Error,
    fmt,
    io::{self, IoSlice, IoSliceMut},
    net::Shutdown,
    pin::Pin,
    task::{Context, Poll},
};

use futures_lite::{AsyncRead, AsyncWrite};

use sealed::Connection;

pub(super) mod sealed {
    use std::{io, net::Shutdown};

    /// A stream that can be taken apart: its clones are the same connection.
    pub trait Connection: Clone {
        fn is(&self, other: &Self) -> bool;
        fn shut(&self, how: Shutdown) -> io::Result<()>;
    }
}

/// The half of a stream that reads, from [`TcpStream::into_split`] or [`UnixStream::into_split`].
///
/// [`TcpStream::into_split`]: crate::net::TcpStream::into_split
/// [`UnixStream::into_split`]: crate::net::UnixStream::into_split
#[derive(Debug)]
pub struct OwnedReadHalf<S: Connection>(S);

/// The half of a stream that writes, from [`TcpStream::into_split`] or [`UnixStream::into_split`].
/// Dropping it shuts the writing direction down.
///
/// [`TcpStream::into_split`]: crate::net::TcpStream::into_split
/// [`UnixStream::into_split`]: crate::net::UnixStream::into_split
#[derive(Debug)]
pub struct OwnedWriteHalf<S: Connection> {
    /// There until it is reunited.
    stream: Option<S>,
}

pub(super) fn split<S: Connection>(stream: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    (OwnedReadHalf(stream.clone()), OwnedWriteHalf { stream: Some(stream) })
}

impl<S: Connection> OwnedReadHalf<S> {
    /// Makes one stream again of two halves of the same.
    ///
    /// # Errors
    /// [`ReuniteError`], with the two, if they are of different streams.
    ///
    /// ```
    /// use boucle::net::{TcpListener, TcpStream};
    ///
    /// boucle::block_on(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (reader, writer) = stream.into_split();
    ///     let stream = reader.reunite(writer).unwrap();
    ///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn reunite(self, mut writer: OwnedWriteHalf<S>) -> Result<S, ReuniteError<S>> {
        match writer.stream.take() {
            Some(stream) if stream.is(&self.0) => Ok(stream),
            stream => {
                writer.stream = stream;
                Err(ReuniteError(self, writer))
            }
        }
    }

    /// The stream.
    pub fn stream(&self) -> &S {
        &self.0
    }

    #[cfg(feature = "tokio-io")]
    pub(super) fn stream_mut(&mut self) -> &mut S {
        &mut self.0
    }
}

impl<S: Connection> OwnedWriteHalf<S> {
    /// The stream.
    pub fn stream(&self) -> &S {
        self.stream.as_ref().expect("it is there until now")
    }

    pub(super) fn stream_mut(&mut self) -> &mut S {
        self.stream.as_mut().expect("it is there until now")
    }
}

impl<S: Connection> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            // A peer that has gone needs no end of file.
            let _ = stream.shut(Shutdown::Write);
        }
    }
}

impl<S: Connection + AsyncRead + Unpin> AsyncRead for OwnedReadHalf<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read_vectored(cx, bufs)
    }
}

impl<S: Connection + AsyncWrite + Unpin> AsyncWrite for OwnedWriteHalf<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream_mut()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream_mut()).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream_mut()).poll_close(cx)
    }
}

/// Two halves of different streams.
#[derive(Debug)]
pub struct ReuniteError<S: Connection>(pub OwnedReadHalf<S>, pub OwnedWriteHalf<S>);

impl<S: Connection> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are of different streams")
    }
}

impl<S: Connection + fmt::Debug> Error for ReuniteError<S> {}
