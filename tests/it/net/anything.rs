//! Anything that has a descriptor, as `io::Async`: each of its traits, by itself and by a reference.

use super::streams::run;
use crate::support::{Log, noting_waker};
use boucle::{Loop, io::Async};
use futures_lite::{
    AsyncRead, AsyncWrite, AsyncWriteExt,
    future::{poll_fn, poll_once},
};
use std::{
    cell::RefCell,
    io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::net::UnixStream,
    },
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

fn pair() -> io::Result<(Async<UnixStream>, Async<UnixStream>)> {
    let (a, b) = UnixStream::pair()?;
    Ok((Async::new(a)?, Async::new(b)?))
}

/// Writes until there is no more room.
fn fill(mut stream: impl Write) -> io::Result<usize> {
    let mut written = 0;
    for size in [1 << 14, 1] {
        loop {
            match stream.write(&[7; 1 << 14][..size]) {
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(written)
}

/// Several buffers at once, from `a` to `b`, and nothing before there is something.
async fn pass_in_parts(
    mut a: impl AsyncWrite + Unpin,
    mut b: impl AsyncRead + Unpin,
) -> io::Result<()> {
    let log = Log::default();
    let waker = noting_waker(&log, "reader");
    let (mut one, mut two) = ([0; 3], [0; 8]);
    let mut bufs = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut b).poll_read_vectored(&mut cx, &mut bufs).is_pending());
    assert_eq!(log.take(), ["Clone reader"]);
    let parts = [IoSlice::new(b"so"), IoSlice::new(b""), IoSlice::new(b"da")];
    assert_eq!(poll_fn(|cx| Pin::new(&mut a).poll_write_vectored(cx, &parts)).await?, 4);
    assert_eq!(poll_fn(|cx| Pin::new(&mut b).poll_read_vectored(cx, &mut bufs)).await?, 4);
    assert_eq!((&one, &two[..2]), (b"sod", &b"a\0"[..]));
    assert_eq!(log.take(), ["Wake reader", "Drop reader"]);
    Ok(())
}

#[test]
fn several_buffers_go_in_one_operation() {
    run(async {
        let (a, b) = pair()?;
        pass_in_parts(&a, &b).await?;
        pass_in_parts(a, b).await
    });
}

#[test]
fn several_buffers_that_find_no_room_wait_for_it() {
    async fn go(mut a: impl AsyncWrite + Unpin, mut b: &UnixStream) -> io::Result<()> {
        let block = [7; 1 << 14];
        let parts = [IoSlice::new(&block), IoSlice::new(&block)];
        let log = Log::default();
        let waker = noting_waker(&log, "writer");
        let mut cx = Context::from_waker(&waker);
        let mut written = 0;
        while let Poll::Ready(more) = Pin::new(&mut a).poll_write_vectored(&mut cx, &parts) {
            written += more?;
        }
        assert_eq!(log.take(), ["Clone writer"]);
        b.read_exact(&mut vec![0; written])?;
        let more = poll_fn(|cx| Pin::new(&mut a).poll_write_vectored(cx, &parts)).await?;
        b.read_exact(&mut vec![0; more])?;
        assert_eq!(log.take(), ["Wake writer", "Drop writer"]);
        Ok(())
    }
    run(async {
        let (a, b) = UnixStream::pair()?;
        let a = Async::new(a)?;
        go(&a, &b).await?;
        go(a, &b).await
    });
}

#[test]
fn whoever_polls_for_room_is_woken_when_there_is_some() {
    run(async {
        let (a, mut b) = UnixStream::pair()?;
        let a = Async::new(a)?;
        let log = Log::default();
        let waker = noting_waker(&log, "writer");
        let mut cx = Context::from_waker(&waker);
        assert!(a.poll_writable(&mut cx).is_ready());
        let written = a.write_with(|mut a| fill(&mut a)).await?;
        assert!(a.poll_writable(&mut cx).is_pending());
        assert_eq!(log.take(), ["Clone writer"]);
        b.read_exact(&mut vec![0; written])?;
        poll_fn(|cx| a.poll_writable(cx)).await?;
        assert_eq!(log.take(), ["Wake writer", "Drop writer"]);
        Ok(())
    });
}

#[test]
fn whoever_polls_several_times_waits_once() {
    run(async {
        let (a, mut b) = UnixStream::pair()?;
        let a = Async::new(a)?;
        let log = Log::default();
        let wakers = ["first", "second"].map(|name| noting_waker(&log, name));
        for waker in wakers.iter().cycle().take(6) {
            assert!(a.poll_readable(&mut Context::from_waker(waker)).is_pending());
        }
        assert_eq!(log.take(), ["Clone first", "Clone second"]);
        b.write_all(b"x")?;
        poll_fn(|cx| a.poll_readable(cx)).await?;
        assert_eq!(log.take(), ["Wake first", "Drop first", "Wake second", "Drop second"]);
        Ok(())
    });
}

#[test]
fn one_wait_of_a_task_does_not_stand_for_another() {
    run(async {
        let (a, mut b) = UnixStream::pair()?;
        let a = Async::new(a)?;
        let (mut first, mut second) = (Box::pin(a.readable()), Box::pin(a.readable()));
        assert!(poll_once(first.as_mut()).await.is_none());
        assert!(poll_once(second.as_mut()).await.is_none());
        drop(first);
        b.write_all(b"x")?;
        // Only what wakes for the second one brings this task back.
        second.await
    });
}

/// Keeps what is written back until it is flushed.
struct Late {
    io: UnixStream,
    kept: RefCell<Vec<u8>>,
}

impl AsFd for Late {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl Write for &Late {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.kept.borrow_mut().extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut kept = self.kept.borrow_mut();
        while !kept.is_empty() {
            let written = (&self.io).write(&kept)?;
            kept.drain(..written);
        }
        Ok(())
    }
}

impl Write for Late {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self).flush()
    }
}

/// What has arrived by now.
fn arrived(mut peer: &UnixStream) -> io::Result<String> {
    let mut buf = [0; 64];
    match peer.read(&mut buf) {
        Ok(read) => Ok(String::from_utf8_lossy(&buf[..read]).into_owned()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// What is kept back goes when it is flushed, as soon as there is room, and when it is closed.
async fn flush_and_close(
    mut late: impl AsyncWrite + Unpin,
    mut peer: &UnixStream,
    full: usize,
) -> io::Result<()> {
    late.write_all(b"soda").await?;
    assert!(poll_once(late.flush()).await.is_none(), "there is no room");
    peer.read_exact(&mut vec![0; full])?;
    assert_eq!(arrived(peer)?, "");
    late.flush().await?;
    assert_eq!(arrived(peer)?, "soda");
    late.write_all(b" and coffee").await?;
    assert_eq!(arrived(peer)?, "");
    late.close().await?;
    assert_eq!(arrived(peer)?, " and coffee");
    Ok(())
}

#[test]
fn what_is_kept_back_goes_when_it_is_flushed_or_closed() {
    fn late() -> io::Result<(Async<Late>, UnixStream, usize)> {
        let (io, peer) = UnixStream::pair()?;
        io.set_nonblocking(true)?;
        peer.set_nonblocking(true)?;
        let full = fill(&io)?;
        Ok((Async::new(Late { io, kept: RefCell::default() })?, peer, full))
    }
    run(async {
        let (one, peer, full) = late()?;
        flush_and_close(one, &peer, full).await?;
        let (one, peer, full) = late()?;
        flush_and_close(&one, &peer, full).await
    });
}

#[test]
fn it_shows_what_it_wraps_and_under_which_number() {
    run(async {
        let (a, _b) = UnixStream::pair()?;
        let (fd, shown) = (a.as_raw_fd(), format!("Async({a:?})"));
        let a = Async::new(a)?;
        assert_eq!((a.as_raw_fd(), a.as_fd().as_raw_fd()), (fd, fd));
        assert_eq!(a.get_ref().as_raw_fd(), fd);
        assert_eq!(format!("{a:?}"), shown);
        Ok(())
    });
    let l = Loop::new();
    assert_eq!(l.as_raw_fd(), l.as_fd().as_raw_fd());
}

#[test]
fn what_is_registered_already_is_an_error() {
    run(async {
        let (a, _b) = UnixStream::pair()?;
        let a = Rc::new(a);
        let once = Async::new(a.clone())?;
        let error = Async::new(a.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(error.to_string(), "this descriptor is registered with the loop already");
        drop(once);
        drop(Async::new(a)?);
        Ok(())
    });
}
