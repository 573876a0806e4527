//! What streams have in common: reading and writing.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net,
    os::{fd::AsFd, unix},
    task::{Context, Poll},
};

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};

use crate::{
    io::{Done, Source, plain, streamed},
    sys::Way,
};

/// A socket of a stream.
pub(crate) trait Flows: AsFd {
    /// What a read of `did` bytes says, of `wanted` at most.
    fn read(did: usize, wanted: usize) -> Done<usize>;
}

impl Flows for net::TcpStream {
    fn read(did: usize, wanted: usize) -> Done<usize> {
        streamed(did, wanted)
    }
}

impl Flows for unix::net::UnixStream {
    /// A short read may have come to descriptors or credentials that were sent along, and there may
    /// be more behind them.
    fn read(did: usize, _: usize) -> Done<usize> {
        plain(did)
    }
}

/// A peer that has gone is an error, not a signal.
#[cfg(not(target_vendor = "apple"))]
pub(super) const FLAGS: SendFlags = SendFlags::NOSIGNAL;
/// There, std and socket2 set an option of each socket.
#[cfg(target_vendor = "apple")]
pub(super) const FLAGS: SendFlags = SendFlags::empty();

pub(super) fn poll_read<T: Flows>(
    source: &Source<T>,
    cx: &Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    source.poll(Way::Read, cx, &mut 0, |io| {
        let (read, _) = recv(io, &mut *buf, RecvFlags::empty())?;
        Ok(T::read(read, buf.len()))
    })
}

/// Into memory that need not be initialised; what was read is returned.
#[cfg_attr(not(any(feature = "hyper", feature = "tokio-io")), allow(dead_code))]
pub(crate) fn poll_read_uninit<T: Flows>(
    source: &Source<T>,
    cx: &Context<'_>,
    buf: &mut [MaybeUninit<u8>],
) -> Poll<io::Result<usize>> {
    source.poll(Way::Read, cx, &mut 0, |io| {
        let ((read, _), _) = recv(io, &mut *buf, RecvFlags::empty())?;
        let read = read.len();
        Ok(T::read(read, buf.len()))
    })
}

pub(super) fn poll_read_vectored<T: Flows>(
    source: &Source<T>,
    cx: &Context<'_>,
    bufs: &mut [IoSliceMut<'_>],
) -> Poll<io::Result<usize>> {
    // The system takes no more in one call.
    let most = bufs.len().min(1024);
    let bufs = &mut bufs[..most];
    source.poll(Way::Read, cx, &mut 0, |io| {
        let read = rustix::io::readv(io, bufs)?;
        Ok(T::read(read, bufs.iter().map(|buf| buf.len()).sum()))
    })
}

pub(super) fn poll_write<T: AsFd>(
    source: &Source<T>,
    cx: &Context<'_>,
    buf: &[u8],
) -> Poll<io::Result<usize>> {
    source.poll(Way::Write, cx, &mut 0, |io| {
        let written = send(io, buf, FLAGS)?;
        Ok(streamed(written, buf.len()))
    })
}

pub(super) fn poll_write_vectored<T: AsFd>(
    source: &Source<T>,
    cx: &Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    // The system takes no more in one call.
    let bufs = &bufs[..bufs.len().min(1024)];
    source.poll(Way::Write, cx, &mut 0, |io| {
        let written = sendmsg(io, bufs, &mut SendAncillaryBuffer::default(), FLAGS)?;
        Ok(streamed(written, bufs.iter().map(|buf| buf.len()).sum()))
    })
}

/// The traits of futures-lite, for a type whose `source()` is that of a stream and which has a
/// `shutdown(Shutdown::Write)`, and for references to it.
macro_rules! stream {
    ($type:ty) => {
        impl futures_lite::AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                crate::net::stream::poll_read(self.source(), cx, buf)
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                crate::net::stream::poll_read_vectored(self.source(), cx, bufs)
            }
        }

        impl futures_lite::AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                crate::net::stream::poll_write(self.source(), cx, buf)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                crate::net::stream::poll_write_vectored(self.source(), cx, bufs)
            }

            /// Nothing is kept back.
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            /// Shuts the writing direction down.
            fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(crate::net::stream::closed(self.shutdown(Shutdown::Write)))
            }
        }
    };
}
pub(super) use stream;

/// To close what the other side has closed already is no error.
pub(super) fn closed(shutdown: io::Result<()>) -> io::Result<()> {
    match shutdown {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}
