//! Sockets among wakers and descriptors that do what they should not.

use super::streams::{pattern, run, settle};
use crate::support::{Act, Drops, Log, boom, foreign_waker, noting_waker, panics};
use boucle::{
    Diagnostic, Loop, Reaction, gather,
    io::Async,
    net::{self, TcpListener, TcpStream},
    scope, spawn, yield_now,
};
use futures_lite::{
    AsyncRead, AsyncReadExt, AsyncWrite,
    future::{poll_fn, poll_once},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::SendFlags,
};
use std::{
    cell::{Cell, RefCell},
    future::pending,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    pin::{Pin, pin},
    rc::Rc,
    sync::mpsc,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

/// Two ends of a connection within one process.
pub(super) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// Fails rather than hang. On a thread of its own, and by a real clock, since a loop that a fault
/// keeps busy or asleep comes to no timer.
#[track_caller]
pub(super) fn bounded(test: impl FnOnce() + Send + 'static) {
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        let _tell = tell;
        test();
    });
    let ended = told.recv_timeout(Duration::from_secs(600));
    assert_ne!(ended, Err::<(), _>(mpsc::RecvTimeoutError::Timeout), "it hangs");
    thread.join().unwrap();
}

/// A loop that tells certain deadlocks from a wait for sockets, which it ends after a minute.
pub(super) fn doubtful_loop() -> Loop {
    Loop::builder().on_stall(Duration::from_secs(60), Reaction::Fail).build()
}

/// Nobody waits for a socket of `l`.
#[track_caller]
pub(super) fn assert_nothing_awaited(l: &Loop) {
    let report = l.try_block_on(pending::<()>()).unwrap_err().to_string();
    // How long it has waited, by a real clock, stands between.
    assert!(report.starts_with("deadlock: 1 task"), "{report}");
    assert!(report.contains("for nothing: nobody can wake it"), "{report}");
}

pub(super) fn context(waker: &Waker) -> Context<'_> {
    Context::from_waker(waker)
}

fn is_readable(fd: &impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&now)).unwrap() == 1
}

#[test]
fn any_number_of_buffers_is_read_and_written() {
    run(async {
        let (mut a, mut b) = pair().await;
        let bytes = pattern(3000);
        let bufs: Vec<_> = bytes.iter().map(std::slice::from_ref).map(IoSlice::new).collect();
        let mut sent = 0;
        while sent < bytes.len() {
            let left = &bufs[sent..];
            sent += poll_fn(|cx| Pin::new(&mut a).poll_write_vectored(cx, left)).await?;
        }
        // All has come by now: whoever took what the system takes at once for all would wait.
        let mut got = Vec::<u8>::new();
        while got.len() < bytes.len() {
            let mut parts = vec![[0_u8]; 1500];
            let mut bufs: Vec<_> =
                parts.iter_mut().map(|part| IoSliceMut::new(&mut part[..])).collect();
            let read = poll_fn(|cx| Pin::new(&mut b).poll_read_vectored(cx, &mut bufs)).await?;
            got.extend(parts.iter().flatten().take(read));
        }
        assert!(got == bytes, "other bytes came");
        Ok(())
    });
}

#[test]
fn an_operation_dropped_outside_a_run_is_given_up() {
    let l = doubtful_loop();
    let (stream, _peer) = l.block_on(pair());
    let mut buf = [0];
    let mut op = Box::pin(stream.peek(&mut buf));
    assert!(l.block_on(poll_once(op.as_mut())).is_none());
    drop(op);
    assert_nothing_awaited(&l);
}

#[test]
fn the_descriptor_of_a_loop_that_has_work_is_readable() {
    let l = Loop::new();
    drop(l.spawn(async {}));
    assert!(is_readable(&l), "spawned before it was asked for");
    l.run_until_stalled();
    assert!(!is_readable(&l), "nothing is left to do");
    drop(l.spawn(async {}));
    assert!(is_readable(&l), "spawned after it was asked for");
    l.run_until_stalled();
    l.block_on(async { drop(spawn(async {})) });
    assert!(is_readable(&l), "left ready by block_on");
}

#[test]
fn of_those_who_read_by_a_stream_in_vain_only_the_last_is_kept() {
    run(async {
        let (mut stream, _peer) = pair().await;
        let live = Rc::new(());
        for _ in 0..1000 {
            let mine = live.clone();
            let waker = foreign_waker(move |_| {
                let _mine = &mine;
            });
            let mut buf = [0];
            let mut read = pin!(stream.read(&mut buf));
            assert!(read.as_mut().poll(&mut context(&waker)).is_pending());
            drop(waker);
            assert_eq!(Rc::strong_count(&live), 2, "this one and that of the last waker");
        }
        drop(stream);
        assert_eq!(Rc::strong_count(&live), 1);
        Ok(())
    });
}

#[test]
fn whoever_reads_by_a_stream_with_several_wakers_is_one() {
    let l = doubtful_loop();
    let (mut stream, _peer) = l.block_on(pair());
    let log = Log::default();
    l.block_on(async {
        for name in ["first", "second"] {
            let waker = noting_waker(&log, name);
            for _ in 0..3 {
                let polled = Pin::new(&mut stream).poll_read(&mut context(&waker), &mut [0]);
                assert!(polled.is_pending());
            }
        }
    });
    // Each is taken once. The waker of the one before goes when the next one has come.
    let acts = ["Clone first", "Drop first", "Clone second", "Drop first", "Drop second"];
    assert_eq!(log.take(), acts);
    l.block_on(async { drop(stream) });
    assert_eq!(log.take(), ["Wake second", "Drop second"]);
    assert_nothing_awaited(&l);
}

/// Shows another's descriptor when it is told to.
struct Liar {
    own: UnixStream,
    other: Rc<UnixStream>,
    lies: Rc<Cell<bool>>,
}

impl AsFd for Liar {
    fn as_fd(&self) -> BorrowedFd<'_> {
        if self.lies.get() { self.other.as_fd() } else { self.own.as_fd() }
    }
}

#[test]
fn t78_a_source_that_shows_another_descriptor_hurts_nobody() {
    run(async {
        for end in [drop, |liar: Async<Liar>| drop(liar.into_inner())] {
            let (mut peer, other) = UnixStream::pair()?;
            let other = Rc::new(other);
            let honest = Async::new(other.clone())?;
            let (own, _keep) = UnixStream::pair()?;
            let lies = Rc::new(Cell::new(false));
            let liar = Async::new(Liar { own, other, lies: lies.clone() })?;
            let mut readable = pin!(honest.readable());
            assert!(poll_once(readable.as_mut()).await.is_none());
            lies.set(true);
            end(liar);
            peer.write_all(&[1])?;
            readable.await?;
        }
        Ok(())
    });
}

/// Panics instead of showing its descriptor, when it is told to.
struct Panicking {
    own: UnixStream,
    panics: Rc<Cell<bool>>,
}

impl AsFd for Panicking {
    fn as_fd(&self) -> BorrowedFd<'_> {
        if self.panics.get() { boom() } else { self.own.as_fd() }
    }
}

#[test]
fn a_descriptor_that_panics_at_the_end_leaves_nobody_waiting() {
    for end in [drop, |source: Async<Panicking>| drop(source.into_inner())] {
        let l = doubtful_loop();
        let log = Log::default();
        let waker = noting_waker(&log, "waiting");
        l.block_on(async {
            let (own, _keep) = UnixStream::pair().unwrap();
            let panicking = Rc::new(Cell::new(false));
            let source = Async::new(Panicking { own, panics: panicking.clone() }).unwrap();
            assert!(source.poll_readable(&mut context(&waker)).is_pending());
            panicking.set(true);
            assert_eq!(log.take(), ["Clone waiting"]);
            assert_eq!(panics(|| end(source)), "boom");
            assert_eq!(log.take(), ["Wake waiting", "Drop waiting"]);
        });
        assert_nothing_awaited(&l);
    }
}

#[test]
fn children_share_what_one_poll_may_do() {
    let (done, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    run(async {
        let (_a, b) = UnixStream::pair()?;
        let b = Rc::new(Async::new(b)?);
        let children: Vec<_> = (0..64)
            .map(|_| {
                let (b, done) = (b.clone(), done.clone());
                async move {
                    for _ in 0..100 {
                        b.writable().await.unwrap();
                        done.set(done.get() + 1);
                    }
                }
            })
            .collect();
        let family = spawn(async move { gather(children).await.len() });
        // Each turn polls the family once.
        while !family.is_finished() {
            let before = done.get();
            yield_now().await;
            most.set(most.get().max(done.get() - before));
        }
        assert_eq!((family.await.unwrap(), done.get()), (64, 6400));
        Ok(())
    });
    // Those who come after it is spent are let through once each.
    assert!((128..=128 + 64).contains(&most.get()), "{} operations in one poll", most.get());
}

type Shared = Rc<RefCell<Option<Rc<Async<UnixStream>>>>>;

/// A waker that comes back to the source whatever happens to it, with wakers of its kind.
fn returning(source: &Shared, acts: &Rc<RefCell<Vec<Act>>>) -> Waker {
    let (shared, acts) = (source.clone(), acts.clone());
    foreign_waker(move |act| {
        let Some(source) = shared.borrow().clone() else { return };
        acts.borrow_mut().push(act);
        if acts.borrow().len() < 100 {
            let waker = returning(&shared, &acts);
            let _ = source.poll_readable(&mut context(&waker));
            let _ = source.poll_writable(&mut context(&waker));
            let _ = boucle::snapshot().to_string();
            drop(spawn(async {}));
        }
    })
}

#[test]
fn foreign_wakers_may_come_back() {
    run(async {
        let (mut a, b) = UnixStream::pair()?;
        let source = Rc::new(Async::new(b)?);
        let shared = Rc::new(RefCell::new(Some(source.clone())));
        let acts = Rc::default();
        for _ in 0..20 {
            let waker = returning(&shared, &acts);
            assert!(source.poll_readable(&mut context(&waker)).is_pending());
            let mut op = Box::pin(source.readable());
            assert!(op.as_mut().poll(&mut context(&waker)).is_pending());
            // Another one in its place.
            let waker = returning(&shared, &acts);
            assert!(op.as_mut().poll(&mut context(&waker)).is_pending());
        }
        assert!(acts.borrow().contains(&Act::Clone) && acts.borrow().contains(&Act::Drop));
        // They come back once more while they are woken.
        acts.borrow_mut().clear();
        a.write_all(&[1])?;
        settle().await;
        source.readable().await?;
        shared.take();
        assert!(acts.borrow().contains(&Act::Wake) && acts.borrow().contains(&Act::Drop));
        let mut byte = [0];
        (&*source).read_exact(&mut byte).await?;
        assert_eq!(byte, [1]);
        Ok(())
    });
}

#[test]
fn a_waker_may_drop_another_loop() {
    let drops = Drops::default();
    let log = Log::default();
    let other = Loop::new();
    let (stream, peer) = other.block_on(pair());
    let probe = drops.probe();
    let seen = log.clone();
    let waiter = other.spawn(async move {
        let _probe = probe;
        let _ended = seen.on_drop("the other's task");
        let _ = stream.peek(&mut [0]).await;
    });
    other.run_until_stalled();
    let other = Rc::new(RefCell::new(Some(other)));
    run(async {
        let (mut a, b) = UnixStream::pair()?;
        let b = Async::new(b)?;
        let (doomed, seen) = (other.clone(), log.clone());
        let waker = foreign_waker(move |act| {
            if act == Act::Wake {
                let l = doomed.take();
                drop(l);
                seen.push("waker");
            }
        });
        assert!(b.poll_readable(&mut context(&waker)).is_pending());
        a.write_all(&[1])?;
        b.readable().await?;
        Ok(())
    });
    assert!(other.take().is_none());
    assert_eq!(log.take(), ["the other's task", "waker"]);
    drops.assert_all_dropped_here();
    assert!(waiter.is_finished());
    drop(peer);
}

#[test]
fn a_waker_may_drop_its_loop_amid_others() {
    for with_handles in [false, true] {
        let drops = Drops::default();
        let l = Loop::new();
        let (a, _peer) = UnixStream::pair().unwrap();
        let source = l.block_on(async { Rc::new(Async::new(a).unwrap()) });
        let doomed = Rc::new(RefCell::new(None::<Loop>));
        let (s, cell, probe) = (source.clone(), doomed.clone(), drops.probe());
        // It has the last reference, so that all who wait are woken when it is cancelled.
        let last = l.spawn(async move {
            let _probe = probe;
            let waker = foreign_waker(move |act| {
                if act == Act::Wake {
                    let l = cell.take();
                    drop(l);
                }
            });
            assert!(s.poll_readable(&mut context(&waker)).is_pending());
            // It is polled again after the others.
            yield_now().await;
            yield_now().await;
            pending::<()>().await;
            drop(s);
        });
        let handles: Vec<_> = (0..5)
            .map(|n| {
                let (source, probe) = (source.clone(), drops.probe());
                // Waits, and has nothing of the source.
                let mut source = Some(source);
                let waits = poll_fn(move |cx| {
                    let _probe = &probe;
                    if let Some(source) = source.take() {
                        assert!(source.poll_readable(cx).is_pending());
                    }
                    Poll::<()>::Pending
                });
                l.spawn(async move {
                    match n {
                        0..3 => waits.await,
                        3 => drop(gather((waits, pending::<()>())).await),
                        _ => {
                            scope(async |scope| {
                                let _child = scope.spawn(waits);
                                pending::<()>().await;
                            })
                            .await
                        }
                    }
                })
            })
            .collect();
        drop(source);
        l.run_until_stalled();
        let handles = if with_handles { handles } else { Vec::new() };
        doomed.replace(Some(l));
        last.cancel();
        assert!(doomed.take().is_none(), "the waker was woken");
        drops.assert_all_dropped_here();
        assert!(last.is_finished() && handles.iter().all(|handle| handle.is_finished()));
    }
}

#[test]
fn an_operation_that_panics_takes_nothing_with_it() {
    run(async {
        let (mut a, b) = UnixStream::pair()?;
        let source = Rc::new(Async::new(b)?);
        let shared = source.clone();
        let task = spawn(async move {
            let mut tries = 0;
            let op = |_: &UnixStream| -> io::Result<()> {
                tries += 1;
                if tries > 1 { boom() } else { Err(io::ErrorKind::WouldBlock.into()) }
            };
            shared.read_with(op).await
        });
        yield_now().await;
        a.write_all(&[1])?;
        assert!(task.await.unwrap_err().is_panic());
        let mut byte = [0];
        source.read_with(|mut b| b.read(&mut byte)).await?;
        assert_eq!(byte, [1]);
        Ok(())
    });
}

#[test]
fn outside_a_loop_nothing_is_done_to_a_descriptor() {
    let (a, _b) = UnixStream::pair().unwrap();
    let same = a.try_clone().unwrap();
    let said = panics(|| Async::new(a).map(drop));
    assert!(said.contains("Async::new"), "{said}");
    assert!(!socket2::SockRef::from(&same).nonblocking().unwrap());
}

#[test]
fn descriptors_sent_along_cut_no_read_into_several_buffers_short_for_ever() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};
    run(async {
        let (a, mut b) = net::UnixStream::pair()?;
        let reader = spawn(async move {
            let mut got = Vec::<u8>::new();
            while got.len() < 12 {
                let (mut one, mut two) = ([0; 3], [0; 64]);
                let mut bufs = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
                let read = b.read_vectored(&mut bufs).await?;
                got.extend(one.iter().chain(&two).take(read));
            }
            io::Result::Ok(got)
        });
        // The reader waits by now.
        settle().await;
        for part in [b"here", b"is a", b"fish"] {
            let fds = [a.as_fd()];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut along = SendAncillaryBuffer::new(&mut space);
            assert!(along.push(SendAncillaryMessage::ScmRights(&fds)));
            sendmsg(&a, &[IoSlice::new(part)], &mut along, SendFlags::empty())?;
        }
        assert_eq!(reader.await.unwrap()?, b"hereis afish");
        Ok(())
    });
}

#[test]
fn urgent_data_holds_nothing_back_however_it_comes() {
    run(async {
        // Each bit says whether the reader runs between two steps.
        for pauses in 0..16 {
            let (a, mut b) = pair().await;
            let reader = spawn(async move {
                let (mut got, mut buf) = (Vec::new(), [0; 64]);
                while got.len() < 7 {
                    let read = b.read(&mut buf).await?;
                    assert!(read > 0);
                    got.extend_from_slice(&buf[..read]);
                }
                io::Result::Ok(got)
            });
            let parts = [(&b"abc"[..], false), (b"!", true), (b"de", false), (b"fg", false)];
            for (n, (part, is_urgent)) in parts.into_iter().enumerate() {
                if pauses >> n & 1 == 1 {
                    settle().await;
                }
                let flags = if is_urgent { SendFlags::OOB } else { SendFlags::empty() };
                assert_eq!(rustix::net::send(&a, part, flags)?, part.len());
            }
            assert_eq!(reader.await.unwrap()?, b"abcdefg", "{pauses:b}");
        }
        Ok(())
    });
}

#[test]
fn a_likely_stall_is_told_again_after_an_event() {
    // By a real clock, since a virtual one never waits for so long; nothing happens but by it.
    bounded(|| {
        let told = Rc::new(Cell::new(0));
        let (peer, b) = UnixStream::pair().unwrap();
        let count = told.clone();
        let l = Loop::builder()
            .on_stall(Duration::from_millis(1), Reaction::Tell)
            .on_diagnostic(move |found| {
                assert!(matches!(found, Diagnostic::Stall(_)));
                count.set(count.get() + 1);
                (&peer).write_all(&[1]).unwrap();
            })
            .build();
        l.block_on(async {
            let mut b = Async::new(b).unwrap();
            for n in 1..=3 {
                b.read_exact(&mut [0]).await.unwrap();
                assert_eq!(told.get(), n);
            }
        });
    });
}
