//! What TCP and Unix streams have in common.

use boucle::{net, spawn, timeout, yield_now};
use futures_lite::{AsyncRead, AsyncWrite, AsyncWriteExt, future::poll_once};
use std::{io, os::fd::AsFd, time::Duration};

use crate::support::Log;

/// Runs a test in real time, but not for ever.
pub(super) fn run(test: impl Future<Output = io::Result<()>>) {
    let test = async { timeout(Duration::from_secs(600), test).await };
    boucle::block_on(test).expect("it hangs").unwrap();
}

/// Has everybody else go on, until nothing is ready.
pub(super) async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * n / 128) as u8).collect()
}

/// Writes until nothing more goes in.
pub(super) async fn fill<S: AsyncWrite + Unpin>(mut stream: S) -> usize {
    let (mut written, mut refused) = (0, 0);
    // A poll may also end because it has written often enough.
    while refused < 3 {
        match poll_once(stream.write(&[7; 1024])).await {
            Some(more) => (written, refused) = (written + more.unwrap(), 0),
            None => {
                refused += 1;
                yield_now().await;
            }
        }
    }
    written
}

/// Little room for what is under way.
pub(super) fn narrow(stream: &impl AsFd) {
    // Little room on the other side as well would have TCP wait a fifth of a second now and then.
    socket2::SockRef::from(stream).set_send_buffer_size(1).unwrap();
}

/// A stream whose clones are the same.
pub(super) trait Stream: AsyncRead + AsyncWrite + AsFd + Clone + Unpin + 'static {}

impl Stream for net::TcpStream {}
impl Stream for net::UnixStream {}

/// Notes what a task ends with.
pub(super) fn note<T: std::fmt::Debug + 'static>(
    log: &Log,
    name: &'static str,
    task: impl Future<Output = io::Result<T>> + 'static,
) -> boucle::JoinHandle<()> {
    let log = log.clone();
    spawn(async move {
        let line = match task.await {
            Ok(value) => format!("{name}: {value:?}"),
            Err(error) => format!("{name}: {:?}", error.kind()),
        };
        log.push(line);
    })
}

/// The tests, for a `pair()` of connected streams.
macro_rules! stream_tests {
    () => {
        mod as_any_stream {
            use super::pair;
            use crate::{
                net::streams::{Stream, fill, narrow, note, pattern, run, settle},
                support::{Log, noting_waker},
            };
            use boucle::spawn;
            use futures_lite::{
                AsyncRead, AsyncReadExt, AsyncWriteExt,
                future::{poll_once, zip},
            };
            use std::{
                io::{ErrorKind, IoSlice, IoSliceMut},
                net::Shutdown,
                os::fd::{AsFd, AsRawFd},
                pin::Pin,
                task::Context,
            };

            fn stream<S: Stream>(stream: S) -> S {
                stream
            }

            #[test]
            fn t69_a_cancelled_writer_does_not_take_the_readers_wake() {
                run(async {
                    let (a, mut b) = pair().await?;
                    narrow(&a);
                    narrow(&b);
                    let log = Log::default();
                    let (mut reads, mut writes) = (a.clone(), a.clone());
                    let writer =
                        note(
                            &log,
                            "writer",
                            async move { writes.write_all(&pattern(1 << 22)).await },
                        );
                    let reader = note(&log, "reader", async move {
                        let mut byte = [0];
                        reads.read_exact(&mut byte).await?;
                        Ok(byte)
                    });
                    settle().await;
                    assert!(log.take().is_empty());
                    assert!(writer.cancel());
                    b.write_all(b"x").await?;
                    reader.await.unwrap();
                    assert_eq!(log.take(), ["reader: [120]"]);
                    Ok(())
                });
            }

            #[test]
            fn t69_a_cancelled_reader_does_not_take_the_writers_wake() {
                run(async {
                    let (a, mut b) = pair().await?;
                    narrow(&a);
                    narrow(&b);
                    let (mut reads, mut writes) = (a.clone(), a.clone());
                    let all = pattern(1 << 18);
                    let sent = all.clone();
                    let writer = spawn(async move { writes.write_all(&sent).await });
                    let reader = spawn(async move { reads.read(&mut [0]).await });
                    settle().await;
                    assert!(!writer.is_finished());
                    assert!(reader.cancel());
                    let mut got = vec![0; all.len()];
                    b.read_exact(&mut got).await?;
                    assert!(got == all);
                    writer.await.unwrap()
                });
            }

            #[test]
            fn t69_a_wait_that_was_cancelled_by_its_own_task_leaves_the_next_one_alone() {
                run(async {
                    let (mut a, mut b) = pair().await?;
                    let mut buf = [0; 4];
                    for n in 0..20_u8 {
                        assert!(poll_once(a.read(&mut buf)).await.is_none());
                        b.write_all(&[n]).await?;
                        assert_eq!(a.read(&mut buf).await?, 1);
                        assert_eq!(buf[0], n);
                    }
                    Ok(())
                });
            }

            #[test]
            fn t71_each_way_is_closed_by_itself() {
                run(async {
                    let (mut a, mut b) = pair().await?;
                    a.write_all(b"last").await?;
                    a.close().await?;
                    // Twice is no error.
                    a.close().await?;
                    assert_eq!(a.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
                    let mut text = String::new();
                    b.read_to_string(&mut text).await?;
                    assert_eq!(text, "last");
                    assert_eq!(b.read(&mut [0; 8]).await?, 0);
                    b.write_all(b"answer").await?;
                    b.shutdown(Shutdown::Write)?;
                    text.clear();
                    a.read_to_string(&mut text).await?;
                    assert_eq!(text, "answer");
                    drop(a);
                    b.close().await
                });
            }

            #[test]
            fn t71_a_writer_hears_that_its_peer_has_gone() {
                run(async {
                    let (a, b) = pair().await?;
                    narrow(&a);
                    narrow(&b);
                    let mut writes = a.clone();
                    let writer = spawn(async move { writes.write_all(&pattern(1 << 22)).await });
                    settle().await;
                    assert!(!writer.is_finished());
                    drop(b);
                    let kind = writer.await.unwrap().unwrap_err().kind();
                    assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
                    Ok(())
                });
            }

            #[test]
            fn t71_whoever_shuts_down_wakes_its_own_reader_and_writer() {
                run(async {
                    let (a, b) = pair().await?;
                    narrow(&a);
                    narrow(&b);
                    let log = Log::default();
                    let (mut reads, mut writes) = (a.clone(), a.clone());
                    let reader = note(&log, "reader", async move { reads.read(&mut [0]).await });
                    let writer =
                        note(&log, "writer", async move { writes.write_all(&[0; 1 << 22]).await });
                    settle().await;
                    a.shutdown(Shutdown::Both)?;
                    (reader.await.unwrap(), writer.await.unwrap());
                    let mut said = log.take();
                    said.sort();
                    assert_eq!(said, ["reader: 0", "writer: BrokenPipe"]);
                    drop(b);
                    Ok(())
                });
            }

            #[test]
            fn t74_megabytes_pass_in_order_through_narrow_buffers() {
                run(async {
                    let (mut a, mut b) = pair().await?;
                    narrow(&a);
                    narrow(&b);
                    let all = pattern((2 << 20) + 1234);
                    let sent = all.clone();
                    let writer = spawn(async move {
                        let mut rest = &sent[..];
                        let mut shorts = 0;
                        while !rest.is_empty() {
                            let parts = rest.len().min(100_000);
                            let (one, two) = rest[..parts].split_at(parts / 3);
                            let bufs = [IoSlice::new(one), IoSlice::new(&[]), IoSlice::new(two)];
                            let wrote = a.write_vectored(&bufs).await?;
                            shorts += usize::from(wrote < parts);
                            rest = &rest[wrote..];
                        }
                        a.close().await?;
                        std::io::Result::Ok(shorts)
                    });
                    let mut got = Vec::new();
                    let (mut one, mut two) = ([0; 777], vec![0; 70_000]);
                    loop {
                        let mut bufs = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
                        let read = b.read_vectored(&mut bufs).await?;
                        if read == 0 {
                            break;
                        }
                        got.extend_from_slice(&one[..read.min(777)]);
                        got.extend_from_slice(&two[..read.saturating_sub(777)]);
                    }
                    assert!(got == all);
                    assert!(writer.await.unwrap()? > 10, "writes were to be short");
                    Ok(())
                });
            }

            #[test]
            fn t74_both_ways_at_once_through_narrow_buffers() {
                run(async {
                    let (a, b) = pair().await?;
                    narrow(&a);
                    narrow(&b);
                    let all = pattern(1 << 19);
                    let talk = |stream: super::Ours| {
                        let sent = all.clone();
                        async move {
                            let (mut reads, mut writes) = (stream.clone(), stream);
                            let mut got = vec![0; sent.len()];
                            let (wrote, read) =
                                zip(writes.write_all(&sent), reads.read_exact(&mut got)).await;
                            wrote.and(read).unwrap();
                            assert!(got == sent);
                        }
                    };
                    zip(talk(a), talk(b)).await;
                    Ok(())
                });
            }

            #[test]
            fn all_who_read_by_clones_are_woken() {
                run(async {
                    let (a, mut b) = pair().await?;
                    let log = Log::default();
                    let readers: Vec<_> = (0..3)
                        .map(|_| {
                            let mut reads = a.clone();
                            note(&log, "reader", async move { reads.read(&mut [0]).await })
                        })
                        .collect();
                    settle().await;
                    assert!(log.take().is_empty());
                    b.write_all(b"abc").await?;
                    for reader in readers {
                        reader.await.unwrap();
                    }
                    assert_eq!(log.take(), ["reader: 1"; 3]);
                    Ok(())
                });
            }

            #[test]
            fn an_end_that_comes_with_the_last_data_is_seen() {
                run(async {
                    for waits in [false, true] {
                        let (mut a, mut b) = pair().await?;
                        let log = Log::default();
                        let mut read = None;
                        let first = async move {
                            let mut buf = [0; 64];
                            Ok((b.read(&mut buf).await?, b.read(&mut buf).await?))
                        };
                        if waits {
                            read = Some(note(&log, "read", first));
                            settle().await;
                            a.write_all(b"data").await?;
                            drop(a);
                        } else {
                            a.write_all(b"data").await?;
                            drop(a);
                            settle().await;
                            read.get_or_insert(note(&log, "read", first));
                        }
                        read.unwrap().await.unwrap();
                        assert_eq!(log.take(), ["read: (4, 0)"]);
                    }
                    Ok(())
                });
            }

            #[test]
            fn a_stream_that_is_dropped_wakes_who_waited_by_it() {
                run(async {
                    let (mut a, _b) = pair().await?;
                    let log = Log::default();
                    {
                        let waker = noting_waker(&log, "waker");
                        let mut cx = Context::from_waker(&waker);
                        let polled = AsyncRead::poll_read(Pin::new(&mut a), &mut cx, &mut [0]);
                        assert!(polled.is_pending());
                    }
                    log.take();
                    drop(a);
                    assert_eq!(log.take(), ["Wake waker", "Drop waker"]);
                    Ok(())
                });
            }

            #[test]
            fn a_clone_that_is_dropped_wakes_who_waited_by_it_and_nobody_else() {
                run(async {
                    let (a, _b) = pair().await?;
                    let log = Log::default();
                    let [first, second] = ["first", "second"].map(|name| {
                        let (mut clone, waker) = (a.clone(), noting_waker(&log, name));
                        let mut cx = Context::from_waker(&waker);
                        let polled = Pin::new(&mut clone).poll_read(&mut cx, &mut [0]);
                        assert!(polled.is_pending());
                        clone
                    });
                    log.take();
                    drop(second);
                    assert_eq!(log.take(), ["Wake second", "Drop second"]);
                    drop(first);
                    assert_eq!(log.take(), ["Wake first", "Drop first"]);
                    drop(a);
                    Ok(())
                });
            }

            #[test]
            fn references_read_and_write() {
                run(async {
                    let (a, b) = pair().await?;
                    (&a).write_all(b"soda").await?;
                    let mut got = [0; 4];
                    (&b).read_exact(&mut got).await?;
                    assert_eq!(&got, b"soda");
                    (&a).flush().await?;
                    (&a).close().await?;
                    assert_eq!((&b).read(&mut got).await?, 0);
                    Ok(())
                });
            }

            #[test]
            fn halves_are_the_stream_and_become_it_again() {
                run(async {
                    let (a, mut b) = pair().await?;
                    let (other, _) = pair().await?;
                    let fd = a.as_raw_fd();
                    let (mut reader, writer) = a.into_split();
                    assert_eq!(reader.stream().as_raw_fd(), fd);
                    assert_eq!(writer.stream().as_raw_fd(), fd);
                    let (_reader, foreign) = other.into_split();
                    let error = reader.reunite(foreign).unwrap_err();
                    assert_eq!(error.to_string(), "the halves are of different streams");
                    reader = error.0;
                    let mut a = reader.reunite(writer).unwrap();
                    // Nothing was shut down.
                    a.write_all(b"soda").await?;
                    let (mut reader, mut writer) = stream(a).into_split();
                    let parts = [IoSlice::new(b" and "), IoSlice::new(b"coffee")];
                    assert_eq!(writer.write_vectored(&parts).await?, 11);
                    writer.flush().await?;
                    drop(writer);
                    let mut text = String::new();
                    b.read_to_string(&mut text).await?;
                    assert_eq!(text, "soda and coffee");
                    b.write_all(b"ok").await?;
                    let mut got = [0; 2];
                    reader.read_exact(&mut got).await?;
                    assert_eq!(&got, b"ok");
                    b.write_all(b"ok").await?;
                    let (mut one, mut two) = ([0], [0; 8]);
                    let mut parts = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
                    assert_eq!(reader.read_vectored(&mut parts).await?, 2);
                    assert_eq!((&one, two[0]), (b"o", b'k'));
                    Ok(())
                });
            }

            #[test]
            fn a_writing_half_that_is_closed_may_be_dropped_after_its_peer() {
                run(async {
                    let (a, mut b) = pair().await?;
                    let (mut reader, mut writer) = a.into_split();
                    writer.close().await?;
                    assert_eq!(b.read(&mut [0]).await?, 0);
                    drop(b);
                    assert_eq!(reader.read(&mut [0]).await?, 0);
                    drop(writer);
                    drop(reader);
                    Ok(())
                });
            }

            #[test]
            fn nothing_is_written_before_there_is_room_again() {
                run(async {
                    let (mut a, mut b) = pair().await?;
                    narrow(&a);
                    narrow(&b);
                    let full = fill(&mut a).await;
                    let mut got = vec![0; full];
                    b.read_exact(&mut got).await?;
                    assert_eq!(got, vec![7; full]);
                    // The room was told of.
                    a.write_all(b"soda").await?;
                    b.read_exact(&mut got[..4]).await?;
                    assert_eq!(&got[..4], b"soda");
                    Ok(())
                });
            }

            #[test]
            fn t79_no_stream_blocks_or_is_inherited() {
                run(async {
                    let (a, b) = pair().await?;
                    for stream in [&a, &b] {
                        $crate::net::streams::assert_private(stream);
                    }
                    let fd = a.as_raw_fd();
                    let duplicate = a.clone();
                    let std = super::Std::try_from(a)?;
                    assert_ne!(std.as_raw_fd(), fd);
                    drop(duplicate);
                    let again = super::Std::try_from(b)?;
                    again.set_nonblocking(false)?;
                    let fd = again.as_raw_fd();
                    let b = super::Ours::try_from(again)?;
                    assert_eq!(b.as_fd().as_raw_fd(), fd);
                    $crate::net::streams::assert_private(&b);
                    assert!(format!("{b:?}").contains("Stream"));
                    assert!(b.take_error()?.is_none());
                    Ok(())
                });
            }
        }
    };
}
pub(super) use stream_tests;

/// It does not block, and is not inherited by programs that are run.
#[track_caller]
pub(super) fn assert_private(fd: &impl AsFd) {
    let flags = rustix::io::fcntl_getfd(fd).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "inherited");
    assert!(socket2::SockRef::from(fd).nonblocking().unwrap(), "it blocks");
}
