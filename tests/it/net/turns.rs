//! Sockets and the turns of a loop: waiting, budgets, virtual time, other threads, other loops.

use crate::support::Log;
use boucle::{
    Diagnostic, Loop, Reaction, gather,
    io::Async,
    net::{TcpListener, TcpStream, UdpSocket},
    sleep, spawn, timeout, yield_now,
};
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future::poll_fn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    cell::{Cell, RefCell},
    future::pending,
    io::{self, Read, Write},
    net,
    os::{fd::AsFd, unix::net::UnixStream},
    pin::Pin,
    rc::Rc,
    sync::mpsc,
    task::Poll,
    thread,
    time::Duration,
};

/// Two ends of a connection within one process.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

fn unix_pair() -> (Async<UnixStream>, Async<UnixStream>) {
    let (a, b) = UnixStream::pair().unwrap();
    (Async::new(a).unwrap(), Async::new(b).unwrap())
}

#[test]
fn a_task_says_which_socket_it_waits_for() {
    let l = Loop::new();
    let said = l.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let accepts = listener.local_addr().unwrap();
        let (mut reads, mut writes) = pair().await;
        let (near, far) = (reads.local_addr().unwrap(), reads.peer_addr().unwrap());
        while poll_fn(|cx| Poll::Ready(Pin::new(&mut writes).poll_write(cx, &[0; 1 << 16])))
            .await
            .is_ready()
        {}
        drop(spawn(async move { listener.accept().await.map(drop) }).named("server"));
        drop(spawn(async move { writes.write(&[0]).await }).named("writer"));
        // Nothing comes on the other connection, and nothing is read from this one.
        let (mut quiet, peer) = pair().await;
        let (left, right) = (quiet.local_addr().unwrap(), quiet.peer_addr().unwrap());
        drop(spawn(async move { (quiet.read(&mut [0]).await, peer) }).named("reader"));
        let (pipe, end) = unix_pair();
        drop(spawn(async move { (pipe.readable().await, end) }).named("pipe"));
        yield_now().await;
        let said = boucle::snapshot().to_string();
        reads.read(&mut [0]).await.unwrap();
        assert!(said.contains(&format!("for accept on tcp {accepts}, spawned at")), "{said}");
        assert!(said.contains(&format!("for write on tcp {far} -> {near}, spawned at")), "{said}");
        assert!(said.contains(&format!("for read on tcp {left} -> {right}, spawned at")), "{said}");
        said
    });
    assert!(said.contains("for read on std::os::unix::net::"), "{said}");
}

#[test]
fn whoever_waits_for_a_socket_is_never_called_stuck() {
    // The only thing that happens while the loop sleeps is that somebody outside connects.
    let client = Rc::new(RefCell::new(None));
    let addr = Rc::new(Cell::new(None));
    let l = Loop::builder()
        .on_stall(Duration::from_millis(1), Reaction::Tell)
        .on_diagnostic({
            let (client, addr) = (client.clone(), addr.clone());
            move |found| {
                assert!(matches!(found, Diagnostic::Stall(_)));
                if let Some(addr) = addr.take() {
                    *client.borrow_mut() = Some(net::TcpStream::connect::<net::SocketAddr>(addr));
                }
            }
        })
        .build();
    let accepted = l.try_block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        addr.set(Some(listener.local_addr()?));
        listener.accept().await.map(|(_, peer)| peer)
    });
    let peer = accepted.expect("a socket is no deadlock").unwrap();
    assert_eq!(client.take().unwrap().unwrap().local_addr().unwrap(), peer);
}

#[test]
fn a_wait_that_was_given_up_leaves_no_trace() {
    let l = Loop::builder().virtual_time().build();
    let stalled = l.try_block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (stream, _peer) = pair().await;
        let pipe = unix_pair();
        let second = Duration::from_secs(1);
        assert!(timeout(second, listener.accept()).await.is_err());
        assert!(timeout(second, stream.peek(&mut [0])).await.is_err());
        assert!(timeout(second, pipe.0.readable()).await.is_err());
        pending::<()>().await;
    });
    let report = stalled.unwrap_err().to_string();
    assert!(report.contains("waiting for nothing: nobody can wake it"), "{report}");
}

#[test]
fn virtual_time_passes_beside_sockets() {
    let l = Loop::builder().virtual_time().build();
    let start = l.now();
    let log = Log::default();
    l.block_on(async {
        let (mut client, mut served) = pair().await;
        let seen = log.clone();
        let server = spawn(async move {
            let mut buf = [0; 8];
            loop {
                match timeout(Duration::from_secs(3600), served.read(&mut buf)).await {
                    Ok(Ok(0)) => break,
                    Ok(read) => seen.push(format!("read {}", read.unwrap())),
                    Err(_) => seen.push("an hour of silence".to_owned()),
                }
            }
        });
        client.write_all(b"soda").await.unwrap();
        sleep(Duration::from_secs(5400)).await;
        client.write_all(b"burger").await.unwrap();
        drop(client);
        server.await.unwrap();
    });
    assert_eq!(log.take(), ["read 4", "an hour of silence", "read 6"]);
    assert_eq!(l.now() - start, Duration::from_secs(5400));
}

#[test]
fn a_stream_is_used_on_another_thread() {
    let l = Loop::new();
    let total = l.block_on(async {
        let (mut near, mut far) = pair().await;
        // A real thread, since that is what is tested; it waits for the loop, not for time.
        let remote = thread::spawn(move || {
            futures_lite::future::block_on(async move {
                let mut total = 0;
                let mut buf = [0; 1 << 14];
                loop {
                    match far.read(&mut buf).await? {
                        0 => return io::Result::Ok(total),
                        read => total += read,
                    }
                    far.write_all(b"ok").await?;
                }
            })
        });
        for size in [1, 100, 1 << 20] {
            let (mut sent, chunk) = (0, vec![7; size]);
            while sent < size {
                sent += near.write(&chunk[sent..]).await.unwrap();
                let mut acked = [0; 2];
                near.read_exact(&mut acked).await.unwrap();
            }
        }
        // Answers to reads that came out in several pieces may still be on their way.
        near.shutdown(net::Shutdown::Write).unwrap();
        while near.read(&mut [0; 64]).await.unwrap() > 0 {}
        remote.join().unwrap().unwrap()
    });
    assert_eq!(total, 1 + 100 + (1 << 20));
}

#[test]
fn a_stream_is_used_in_another_loop() {
    let (give, take) = mpsc::channel();
    let (told, done) = mpsc::channel();
    let other = thread::spawn(move || {
        let mut stream: TcpStream = take.recv().unwrap();
        boucle::block_on(async {
            let mut order = [0; 4];
            stream.read_exact(&mut order).await.unwrap();
            stream.write_all(&order).await.unwrap();
        });
        told.send(()).unwrap();
    });
    boucle::block_on(async {
        let (mut near, far) = pair().await;
        give.send(far).unwrap();
        near.write_all(b"soda").await.unwrap();
        let mut order = [0; 4];
        near.read_exact(&mut order).await.unwrap();
        assert_eq!(&order, b"soda");
    });
    done.recv().unwrap();
    other.join().unwrap();
}

#[test]
fn once_its_loop_is_gone_a_socket_says_so() {
    let l = Loop::new();
    let (mut near, _far) = l.block_on(pair());
    drop(l);
    let outside = futures_lite::future::block_on(near.read(&mut [0]));
    let inside = boucle::block_on(async { near.write(&[0]).await });
    for error in [outside.unwrap_err(), inside.unwrap_err()] {
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        assert!(error.to_string().contains("the boucle loop of this socket was dropped"));
    }
}

#[test]
fn whoever_waits_elsewhere_hears_that_the_loop_has_gone() {
    let (told, waiting) = mpsc::channel();
    let l = Loop::new();
    let (mut near, _far) = l.block_on(pair());
    let elsewhere = thread::spawn(move || {
        let mut told = Some(told);
        futures_lite::future::block_on(poll_fn(|cx| {
            let polled = Pin::new(&mut near).poll_read(cx, &mut [0]);
            if let (Poll::Pending, Some(told)) = (&polled, told.take()) {
                told.send(()).unwrap();
            }
            polled
        }))
    });
    waiting.recv().unwrap();
    // Read the letter or not: both ways of waiting end.
    l.run_until_stalled();
    drop(l);
    let error = elsewhere.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
}

#[test]
fn a_socket_may_be_dropped_anywhere() {
    let l = Loop::new();
    for _ in 0..10 {
        let (near, far) = l.block_on(pair());
        thread::spawn(move || drop(near)).join().unwrap();
        drop(far);
    }
    let (near, far) = l.block_on(pair());
    drop(l);
    drop(near);
    thread::spawn(move || drop(far)).join().unwrap();
}

#[test]
fn dropping_a_socket_wakes_who_waits_for_it() {
    let (stream, log) = (Rc::new(RefCell::new(None)), Log::default());
    boucle::block_on(async {
        let (near, _far) = pair().await;
        *stream.borrow_mut() = Some(near);
        let (shared, seen) = (stream.clone(), log.clone());
        let reader = spawn(poll_fn(move |cx| match &mut *shared.borrow_mut() {
            Some(stream) => Pin::new(stream).poll_read(cx, &mut [0]).map(|_| ()),
            None => {
                seen.push("gone".to_owned());
                Poll::Ready(())
            }
        }));
        yield_now().await;
        drop(stream.take());
        reader.await.unwrap();
    });
    assert_eq!(log.take(), ["gone"]);
}

#[test]
fn a_source_that_is_always_ready_gives_way() {
    boucle::block_on(async {
        let (mut a, mut b) = unix_pair();
        a.write_all(&[0; 1000]).await.unwrap();
        let turns = Rc::new(Cell::new(0));
        let counted = turns.clone();
        let other = spawn(async move {
            loop {
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        });
        let before = turns.get();
        for _ in 0..1000 {
            b.read_exact(&mut [0]).await.unwrap();
        }
        // 128 operations in each poll.
        assert_eq!(turns.get() - before, 1000 / 128);
        other.cancel();
    });
}

#[test]
fn a_task_that_yields_for_ever_does_not_starve_sockets() {
    boucle::block_on(async {
        let (mut near, mut far) = pair().await;
        let turns = Rc::new(Cell::new(0));
        let counted = turns.clone();
        let busy = spawn(async move {
            loop {
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        });
        let reader = spawn(async move { far.read_exact(&mut [0; 4]).await });
        yield_now().await;
        let before = turns.get();
        near.write_all(b"soda").await.unwrap();
        reader.await.unwrap().unwrap();
        assert!(turns.get() - before <= 3 * 64, "{} polls", turns.get() - before);
        busy.cancel();
    });
}

#[test]
fn a_busy_loop_looks_at_sockets_after_64_polls_whenever_something_comes() {
    let most = boucle::block_on(async {
        let (near, far) = unix_pair();
        let turns = Rc::new(Cell::new(0));
        let counted = turns.clone();
        let busy = spawn(async move {
            loop {
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        });
        let mut most = 0;
        for round in 0..128 {
            let far = far.get_ref().try_clone().unwrap();
            let reader = spawn(async move {
                let far = Async::new(far).unwrap();
                far.readable().await.unwrap();
                far.get_ref().read(&mut [0; 4]).unwrap()
            });
            for _ in 0..round {
                yield_now().await;
            }
            let before = turns.get();
            near.get_ref().write_all(b"soda").unwrap();
            assert_eq!(reader.await.unwrap(), 4);
            most = most.max(turns.get() - before);
        }
        busy.cancel();
        most
    });
    // And the turn of the reader itself.
    assert!(most <= 64 + 1, "{most} polls");
}

/// Such as another executor within the poll: it would ask again for ever.
#[test]
fn whoever_asks_again_in_the_poll_that_has_done_enough_is_let_through() {
    use futures_lite::future::block_on as stranger;
    boucle::block_on(async {
        let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        near.connect(near.local_addr().unwrap()).await.unwrap();
        let mut refused = 0;
        stranger(async {
            for _ in 0..300 {
                let mut send = Box::pin(near.send(b"soda"));
                let mut asked = 0;
                poll_fn(|cx| {
                    asked += 1;
                    assert!(asked <= 2);
                    send.as_mut().poll(cx)
                })
                .await
                .unwrap();
                refused += asked - 1;
            }
        });
        assert_eq!(refused, 300 - 128);
    });
}

#[test]
fn timers_that_are_always_due_do_not_starve_sockets() {
    boucle::block_on(async {
        let (mut near, mut far) = pair().await;
        let turns = Rc::new(Cell::new(0));
        let counted = turns.clone();
        let busy = spawn(async move {
            loop {
                counted.set(counted.get() + 1);
                sleep(Duration::from_nanos(1)).await;
            }
        });
        let reader = spawn(async move { far.read_exact(&mut [0; 4]).await });
        yield_now().await;
        let before = turns.get();
        near.write_all(b"soda").await.unwrap();
        reader.await.unwrap().unwrap();
        assert!(turns.get() - before <= 3 * 64, "{} polls", turns.get() - before);
        busy.cancel();
    });
}

#[test]
fn sub_millisecond_deadlines_are_not_early() {
    // A real clock, since that is what is tested: never early, however late.
    boucle::block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for micros in [1, 50, 300, 999, 1500] {
            let span = Duration::from_micros(micros);
            let start = std::time::Instant::now();
            assert!(timeout(span, listener.accept()).await.is_err());
            assert!(start.elapsed() >= span);
        }
    });
}

/// Whether the descriptor is readable now.
fn is_readable(fd: &impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&now)).unwrap() == 1
}

#[test]
fn the_descriptor_of_a_loop_is_readable_when_there_is_something_to_do() {
    let l = Loop::new();
    l.as_fd();
    let (mut near, far) = UnixStream::pair().unwrap();
    let (mut idle, spare) = UnixStream::pair().unwrap();
    let task = l.spawn(async move {
        // Registered, and nobody waits for it.
        let _spare = Async::new(spare).unwrap();
        let mut far = Async::new(far).unwrap();
        let mut buf = [0; 4];
        far.read_exact(&mut buf).await.unwrap();
        buf
    });
    l.run_until_stalled();
    assert!(!is_readable(&l), "nothing to do");
    idle.write_all(b"x").unwrap();
    // Where events are asked for one by one, nobody has asked.
    assert_eq!(is_readable(&l), !cfg!(boucle_oneshot), "a source is ready, if of nobody");
    l.run_until_stalled();
    assert!(!is_readable(&l), "that was all");
    near.write_all(b"soda").unwrap();
    assert!(is_readable(&l));
    l.run_until_stalled();
    assert_eq!(task.result().unwrap().unwrap(), b"soda");
    // From another thread.
    let gate = Rc::new(Cell::new(None));
    let waker = gate.clone();
    let woken = l.spawn(poll_fn(move |cx| match waker.replace(Some(cx.waker().clone())) {
        None => Poll::Pending,
        Some(_) => Poll::Ready(()),
    }));
    assert!(is_readable(&l), "a task was spawned");
    l.run_until_stalled();
    assert!(!is_readable(&l));
    let waker: std::task::Waker = gate.take().unwrap();
    gate.set(Some(waker.clone()));
    thread::spawn(move || waker.wake()).join().unwrap();
    assert!(is_readable(&l), "a task was woken");
    l.run_until_stalled();
    assert!(woken.is_finished());
    assert!(!is_readable(&l));
}

#[test]
fn stepping_looks_at_sockets() {
    let l = Loop::new();
    let (mut near, far) = UnixStream::pair().unwrap();
    let task = l.spawn(async move {
        let mut far = Async::new(far).unwrap();
        far.read_exact(&mut [0; 4]).await.unwrap();
    });
    assert!(l.step());
    assert!(!l.step());
    near.write_all(b"soda").unwrap();
    assert!(l.step());
    assert!(task.is_finished());
}

#[test]
fn many_sockets_in_one_loop() {
    boucle::block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = spawn(async move {
            for _ in 0..200 {
                let (mut stream, _) = listener.accept().await.unwrap();
                drop(spawn(async move {
                    let mut buf = [0; 100];
                    loop {
                        let read = stream.read(&mut buf).await.unwrap();
                        if read == 0 {
                            break;
                        }
                        stream.write_all(&buf[..read]).await.unwrap();
                    }
                }));
            }
        });
        let client = async |n: u32| {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            for round in 0..10 {
                let sent = (n * 10 + round).to_le_bytes();
                stream.write_all(&sent).await.unwrap();
                let mut back = [0; 4];
                stream.read_exact(&mut back).await.unwrap();
                assert_eq!(back, sent);
            }
        };
        gather((0..200).map(client).collect::<Vec<_>>()).await;
        server.await.unwrap();
    });
}

#[test]
fn the_readme_shows_the_example_of_the_docs() {
    let readme = include_str!("../../../README.md");
    let (_, shown) = readme.split_once("```rs\n").expect("the README has one");
    let (shown, _) = shown.split_once("```").expect("it ends");
    let docs = include_str!("../../../src/net/mod.rs");
    let docs = docs.lines().map(|line| line.trim_start_matches("//! ").trim_start_matches("//!"));
    let docs: String = docs.flat_map(|line| [line, "\n"]).collect();
    assert!(docs.contains(shown), "the two differ:\n{shown}");
}

#[test]
#[cfg(target_os = "linux")]
fn how_long_sockets_hold_virtual_time_back_is_a_choice() {
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    };
    let answered = |quiet| {
        let l = Loop::builder().virtual_time().sockets_quiet_for(quiet).build();
        l.block_on(async {
            // For a peer that is slower than what is waited for by default; real, as the silence is.
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags).unwrap();
            let [once, at] = [0, 30_000_000].map(|tv_nsec| Timespec { tv_sec: 0, tv_nsec });
            let spec = Itimerspec { it_interval: once, it_value: at };
            timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec).unwrap();
            let timer = Async::new(timer).unwrap();
            timeout(
                Duration::from_secs(1),
                timer.read_with(|fd| Ok(rustix::io::read(fd, &mut [0; 8])?)),
            )
            .await
            .is_ok()
        })
    };
    assert!(answered(Duration::from_secs(100)));
    assert!(!answered(Duration::ZERO));
}
