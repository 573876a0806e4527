//! A connection in two halves.

use std::{
    error::Error,
    fmt,
    io::{self, IoSlice, IoSliceMut},
    net::Shutdown,
    pin::Pin,
    task::{Context, Poll},
};

use futures_lite::{AsyncRead, AsyncWrite};

use super::stream::TcpStream;

/// The half of a [`TcpStream`] that reads, from [`TcpStream::into_split`].
#[derive(Debug)]
pub struct OwnedReadHalf(TcpStream);

/// The half of a [`TcpStream`] that writes, from [`TcpStream::into_split`]. Dropping it shuts the
/// writing direction down.
#[derive(Debug)]
pub struct OwnedWriteHalf {
    /// There until it is reunited.
    stream: Option<TcpStream>,
}

impl TcpStream {
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
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        (OwnedReadHalf(self.clone()), OwnedWriteHalf { stream: Some(self) })
    }
}

impl OwnedReadHalf {
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
    pub fn reunite(self, mut writer: OwnedWriteHalf) -> Result<TcpStream, ReuniteError> {
        match writer.stream.take() {
            Some(stream) if stream.is(&self.0) => Ok(stream),
            stream => {
                writer.stream = stream;
                Err(ReuniteError(self, writer))
            }
        }
    }

    /// The stream.
    pub fn stream(&self) -> &TcpStream {
        &self.0
    }
}

impl OwnedWriteHalf {
    /// The stream.
    pub fn stream(&self) -> &TcpStream {
        self.stream.as_ref().expect("it is there until now")
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            // A peer that has gone needs no end of file.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
}

impl AsyncRead for OwnedReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream()).poll_read(cx, buf)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream()).poll_read_vectored(cx, bufs)
    }
}

impl AsyncWrite for OwnedWriteHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream()).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream()).poll_close(cx)
    }
}

/// Two halves of different streams.
#[derive(Debug)]
pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

impl fmt::Display for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are of different streams")
    }
}

impl Error for ReuniteError {}
