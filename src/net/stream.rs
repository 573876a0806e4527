//! What streams have in common: reading and writing.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net,
    ops::Deref,
    os::{fd::AsFd, unix},
    sync::Arc,
    task::{Context, Poll},
};

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};

use super::socket::Share;
use crate::{
    io::{Done, Source, WANTED, plain, streamed},
    reactor::Token,
    sys::Way,
};

/// A socket of a stream.
pub(crate) trait Flows: AsFd {
    /// What a read of `did` bytes says, of `wanted` at most.
    fn read(&self, did: usize, wanted: usize) -> Done<usize>;
}

impl Flows for net::TcpStream {
    fn read(&self, did: usize, wanted: usize) -> Done<usize> {
        streamed(did, wanted)
    }
}

impl Flows for unix::net::UnixStream {
    /// A short read may have come to descriptors or credentials that were sent along, and there may
    /// be more behind them.
    fn read(&self, did: usize, _: usize) -> Done<usize> {
        plain(did)
    }
}

/// A peer that has gone is an error, not a signal.
#[cfg(not(target_vendor = "apple"))]
pub(super) const FLAGS: SendFlags = SendFlags::NOSIGNAL;
/// There, std and socket2 set an option of each socket.
#[cfg(target_vendor = "apple")]
pub(super) const FLAGS: SendFlags = SendFlags::empty();

/// One of those who share a stream. Whoever waits through it, in one direction, is one: the last to
/// be polled, until it is dropped.
pub(crate) struct Handle<T: AsFd> {
    source: Arc<Source<T>>,
    /// For reading and for writing.
    tokens: [Token; 2],
}

/// Who may do operations: a handle, or any number of tasks through a reference to one.
pub(crate) trait Polled {
    type Socket: Flows;

    fn poll<R>(
        &mut self,
        way: Way,
        cx: &Context<'_>,
        op: impl FnMut(&Self::Socket) -> io::Result<Done<R>>,
    ) -> Poll<io::Result<R>>;
}

impl<T: Flows> Polled for Handle<T> {
    type Socket = T;

    #[inline]
    fn poll<R>(
        &mut self,
        way: Way,
        cx: &Context<'_>,
        op: impl FnMut(&T) -> io::Result<Done<R>>,
    ) -> Poll<io::Result<R>> {
        self.source.poll(way, cx, &mut self.tokens[way as usize], op)
    }
}

impl<T: Flows> Polled for &Handle<T> {
    type Socket = T;

    #[inline]
    fn poll<R>(
        &mut self,
        way: Way,
        cx: &Context<'_>,
        op: impl FnMut(&T) -> io::Result<Done<R>>,
    ) -> Poll<io::Result<R>> {
        self.source.poll(way, cx, &mut 0, op)
    }
}

impl<T: AsFd> Handle<T> {
    /// Whether both share one stream.
    pub(super) fn is(&self, other: &Handle<T>) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
    }
}

impl<T: AsFd> From<Arc<Source<T>>> for Handle<T> {
    fn from(source: Arc<Source<T>>) -> Self {
        Handle { source, tokens: [WANTED; 2] }
    }
}

impl<T: AsFd> Share<T> for Handle<T> {
    fn share(self) -> Arc<Source<T>> {
        self.source.clone()
    }
}

impl<T: AsFd> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Handle::from(self.source.clone())
    }
}

impl<T: AsFd> Deref for Handle<T> {
    type Target = Source<T>;

    fn deref(&self) -> &Source<T> {
        &self.source
    }
}

impl<T: AsFd> Drop for Handle<T> {
    fn drop(&mut self) {
        for way in [Way::Read, Way::Write] {
            self.source.forsake(way, self.tokens[way as usize]);
        }
    }
}

pub(super) fn poll_read(
    polled: &mut impl Polled,
    cx: &Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    polled.poll(Way::Read, cx, |io| {
        let (read, _) = recv(io, &mut *buf, RecvFlags::empty())?;
        Ok(Flows::read(io, read, buf.len()))
    })
}

/// Into memory that need not be initialised; what was read is returned.
#[cfg_attr(not(any(feature = "hyper", feature = "tokio-io")), allow(dead_code))]
pub(crate) fn poll_read_uninit(
    polled: &mut impl Polled,
    cx: &Context<'_>,
    buf: &mut [MaybeUninit<u8>],
) -> Poll<io::Result<usize>> {
    polled.poll(Way::Read, cx, |io| {
        let ((read, _), _) = recv(io, &mut *buf, RecvFlags::empty())?;
        let read = read.len();
        Ok(Flows::read(io, read, buf.len()))
    })
}

pub(super) fn poll_read_vectored(
    polled: &mut impl Polled,
    cx: &Context<'_>,
    bufs: &mut [IoSliceMut<'_>],
) -> Poll<io::Result<usize>> {
    // The system takes no more in one call.
    let most = bufs.len().min(1024);
    let bufs = &mut bufs[..most];
    polled.poll(Way::Read, cx, |io| {
        let read = rustix::io::readv(io, bufs)?;
        Ok(Flows::read(io, read, bufs.iter().map(|buf| buf.len()).sum()))
    })
}

pub(super) fn poll_write(
    polled: &mut impl Polled,
    cx: &Context<'_>,
    buf: &[u8],
) -> Poll<io::Result<usize>> {
    polled.poll(Way::Write, cx, |io| {
        let written = send(io, buf, FLAGS)?;
        Ok(streamed(written, buf.len()))
    })
}

pub(super) fn poll_write_vectored(
    polled: &mut impl Polled,
    cx: &Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    // The system takes no more in one call.
    let bufs = &bufs[..bufs.len().min(1024)];
    polled.poll(Way::Write, cx, |io| {
        let written = sendmsg(io, bufs, &mut SendAncillaryBuffer::default(), FLAGS)?;
        Ok(streamed(written, bufs.iter().map(|buf| buf.len()).sum()))
    })
}

/// The traits of futures-lite, for a type that has a [`Handle`] called `source`, and for references
/// to it; `$handle` is how it is lent.
macro_rules! stream {
    ($type:ty, $($handle:tt)+) => {
        impl futures_lite::AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                crate::net::stream::poll_read($($handle)+ self.get_mut().source, cx, buf)
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                crate::net::stream::poll_read_vectored($($handle)+ self.get_mut().source, cx, bufs)
            }
        }

        impl futures_lite::AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                crate::net::stream::poll_write($($handle)+ self.get_mut().source, cx, buf)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                crate::net::stream::poll_write_vectored($($handle)+ self.get_mut().source, cx, bufs)
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
