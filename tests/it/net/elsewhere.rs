//! Sockets on several threads and in several loops, which come and go as they like.

use super::{
    hostile::{assert_nothing_awaited, bounded, context, doubtful_loop, pair},
    streams::{run, settle},
};
use crate::support::{Log, noting_waker};
use boucle::{
    Loop,
    net::{TcpListener, TcpStream, UnixStream},
    spawn, yield_now,
};
use futures_lite::{
    AsyncRead, AsyncReadExt, AsyncWriteExt, StreamExt,
    future::{block_on as block_alone, poll_once},
};
use std::{
    cell::Cell,
    io::{self, Read, Write},
    os::unix,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
    thread,
    time::Duration,
};

/// A stream of a loop, and a peer that belongs to none.
async fn pair_with_std() -> (TcpStream, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().await.unwrap().0, peer)
}

/// Waits for a thread while the loop goes on.
async fn joined<T: Send + 'static>(thread: thread::JoinHandle<T>) -> T {
    blocking::unblock(|| thread.join().unwrap()).await
}

#[test]
fn an_operation_dropped_elsewhere_is_given_up() {
    let l = doubtful_loop();
    let (stream, _peer) = l.block_on(pair());
    let stream = Arc::new(stream);
    let shared = stream.clone();
    let mut op: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        let _ = shared.peek(&mut [0]).await;
    });
    assert!(l.block_on(poll_once(op.as_mut())).is_none());
    // A real thread: it is another one that is tested.
    thread::spawn(move || drop(op)).join().unwrap();
    assert_nothing_awaited(&l);
}

#[test]
fn whoever_waits_elsewhere_is_woken_by_an_event_and_by_nothing_else() {
    let l = Loop::new();
    let (stream, mut peer) = unix::net::UnixStream::pair().unwrap();
    let stream = l.block_on(async { UnixStream::try_from(stream).unwrap() });
    let log = Log::default();
    let waker = noting_waker(&log, "reader");
    // Outside a run of the loop, all is as on another thread.
    let poll = || Pin::new(&mut &stream).poll_read(&mut context(&waker), &mut [0]);
    for _ in 0..3 {
        for _ in 0..2 {
            assert!(poll().is_pending());
            l.run_until_stalled();
            l.run_until_stalled();
        }
        let woken = |log: &Log| log.take().iter().filter(|line| *line == "Wake reader").count();
        assert_eq!(woken(&log), 0, "nothing has come");
        peer.write_all(&[1]).unwrap();
        l.run_until_stalled();
        assert_eq!(woken(&log), 1);
        assert!(matches!(poll(), Poll::Ready(Ok(1))));
        l.run_until_stalled();
        assert_eq!(woken(&log), 0);
    }
}

#[test]
fn whoever_asks_elsewhere_is_told_what_went_wrong() {
    let l = Loop::new();
    let (stream, peer) = l.block_on(pair());
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    // It is on its way.
    while stream.peer_addr().is_ok() {
        thread::yield_now();
    }
    let read = Pin::new(&mut &stream).poll_read(&mut context(Waker::noop()), &mut [0]);
    let Poll::Ready(Err(error)) = read else { panic!("{read:?}") };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_clone_that_is_dropped_elsewhere_wakes_who_waited_by_it() {
    let l = doubtful_loop();
    let (stream, _peer) = l.block_on(pair());
    let log = Log::default();
    let waker = noting_waker(&log, "reader");
    let mut clone = stream.clone();
    l.block_on(async {
        assert!(Pin::new(&mut clone).poll_read(&mut context(&waker), &mut [0]).is_pending());
    });
    assert_eq!(log.take(), ["Clone reader"]);
    // Outside a run of the loop, all is as on another thread.
    drop(clone);
    l.run_until_stalled();
    assert_eq!(log.take(), ["Wake reader", "Drop reader"]);
    assert_nothing_awaited(&l);
}

#[test]
#[cfg(target_os = "linux")]
fn a_connection_under_way_is_waited_for_elsewhere() {
    let l = Loop::new();
    let (_listener, addr, _queued) = super::tcp::full().unwrap();
    let mut op = Box::pin(TcpStream::connect(addr));
    assert!(l.block_on(poll_once(op.as_mut())).is_none());
    // Outside a run of the loop, the system is asked at once.
    assert!(block_alone(poll_once(op.as_mut())).is_none());
    l.run_until_stalled();
    assert!(block_alone(poll_once(op.as_mut())).is_none());
}

#[test]
fn a_source_of_another_loop_that_is_always_ready_gives_way() {
    bounded(|| {
        let home = Loop::new();
        let (mut a, b) = home.block_on(pair());
        home.block_on(async {
            a.write_all(&[1]).await.unwrap();
            b.peek(&mut [0]).await.unwrap();
        });
        boucle::block_on(async {
            let done = Rc::new(Cell::new(0));
            let counted = done.clone();
            let busy = spawn(async move {
                loop {
                    b.peek(&mut [0]).await.unwrap();
                    counted.set(counted.get() + 1);
                }
            });
            yield_now().await;
            assert_eq!(done.get(), 128, "as many as in the loop of its own");
            busy.cancel();
        });
    });
}

#[test]
fn connections_that_come_no_more_let_others_run() {
    bounded(|| {
        let listener = boucle::block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        boucle::block_on(async {
            let server = spawn(async move {
                let mut incoming = listener.incoming();
                // It does not mind what went wrong.
                while incoming.next().await.is_some() {}
            });
            settle().await;
            server.cancel();
        });
    });
}

#[test]
fn loops_streams_and_readers_elsewhere_go_in_any_order() {
    for n in 0..24 {
        let l = Loop::new();
        let (stream, _peer) = l.block_on(pair());
        let (one, two) = (stream.clone(), stream.clone());
        drop(l.spawn(async move { (&one).read(&mut [0]).await }));
        drop(l.spawn(async move { two.peek(&mut [0]).await }));
        l.run_until_stalled();
        // Real threads, since they are what is tested: they begin and end whenever they like.
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let stream = stream.clone();
                thread::spawn(move || block_alone((&stream).read(&mut [0])))
            })
            .collect();
        if n % 3 == 0 {
            l.run_until_stalled();
        }
        if n % 2 == 0 {
            drop(stream);
            drop(l);
        } else {
            drop(l);
            drop(stream);
        }
        for thread in threads {
            let error = thread.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        }
    }
}

#[test]
fn snapshots_are_made_while_streams_go_elsewhere() {
    run(async {
        for _ in 0..100 {
            let (stream, _peer) = pair().await;
            let log = Log::default();
            let waker = noting_waker(&log, "reader");
            let polled = Pin::new(&mut &stream).poll_read(&mut context(&waker), &mut [0]);
            assert!(polled.is_pending());
            // A real thread: it drops the stream while a snapshot asks for its name, now and then.
            let elsewhere = thread::spawn(move || drop(stream));
            for _ in 0..10 {
                assert!(boucle::snapshot().to_string().contains("RUNNING"));
            }
            joined(elsewhere).await;
            // The letter that says so is read within a stride of polls.
            let mut lines = log.take();
            while lines.len() < 3 {
                yield_now().await;
                lines.extend(log.take());
            }
            assert_eq!(lines, ["Clone reader", "Wake reader", "Drop reader"]);
        }
        Ok(())
    });
}

#[test]
fn readers_everywhere_share_all_that_comes() {
    async fn read_all(mut stream: TcpStream, at_once: usize) -> usize {
        let (mut buf, mut total) = (vec![0; at_once], 0);
        loop {
            match stream.read(&mut buf).await.unwrap() {
                0 => return total,
                read => total += read,
            }
        }
    }
    // Real threads, since they are what is tested.
    bounded(|| {
        boucle::block_on(async {
            for round in 0..4 {
                let (stream, mut peer) = pair_with_std().await;
                let alone = [1, 4].map(|at_once| {
                    let read = read_all(stream.clone(), at_once);
                    thread::spawn(|| block_alone(read))
                });
                let read = read_all(stream.clone(), 7);
                let other_loop = thread::spawn(|| boucle::block_on(read));
                let tasks = [5, 6].map(|at_once| spawn(read_all(stream.clone(), at_once)));
                let writer = thread::spawn(move || {
                    let mut sent = 0;
                    for n in 0..1000 {
                        sent += n % 13 + 1;
                        peer.write_all(&vec![1; n % 13 + 1]).unwrap();
                        if n % (5 + round) == 0 {
                            thread::yield_now();
                        }
                    }
                    sent
                });
                let mut total = 0;
                for task in tasks {
                    total += task.await.unwrap();
                }
                for reader in alone.into_iter().chain([other_loop]) {
                    total += joined(reader).await;
                }
                assert_eq!(total, joined(writer).await);
            }
        });
    });
}

#[test]
fn acceptors_everywhere_miss_no_connection() {
    const BATCH: usize = 50;
    async fn accept_all(listener: Arc<TcpListener>, taken: Arc<AtomicUsize>) {
        // Until the loop of the listener has gone.
        while let Ok(_accepted) = listener.accept().await {
            // Before it is dropped, which the client sees.
            taken.fetch_add(1, Ordering::SeqCst);
        }
    }
    // Real threads, since they are what is tested.
    bounded(|| {
        let l = Loop::new();
        let listener = Arc::new(l.block_on(TcpListener::bind("127.0.0.1:0")).unwrap());
        let addr = listener.local_addr().unwrap();
        let taken = Arc::new(AtomicUsize::new(0));
        let accept = || accept_all(listener.clone(), taken.clone());
        let threads = [(), ()].map(|()| {
            let accept = accept();
            thread::spawn(|| boucle::block_on(accept))
        });
        (0..3).for_each(|_| drop(l.spawn(accept())));
        let client = thread::spawn(move || {
            for _ in 0..10 {
                let connect = |_| std::net::TcpStream::connect(addr).unwrap();
                for mut stream in (0..BATCH).map(connect).collect::<Vec<_>>() {
                    // It ends when it has been accepted, and dropped.
                    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
                }
            }
        });
        l.block_on(joined(client));
        assert_eq!(taken.load(Ordering::SeqCst), 10 * BATCH);
        drop(l);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn writers_everywhere_come_to_their_end() {
    const EACH: usize = 1 << 20;
    async fn write(mut stream: TcpStream) {
        stream.write_all(&vec![3; EACH]).await.unwrap();
    }
    // Real threads, since they are what is tested.
    bounded(|| {
        boucle::block_on(async {
            let (stream, mut peer) = pair_with_std().await;
            let threads = [(), ()].map(|()| {
                let write = write(stream.clone());
                thread::spawn(|| block_alone(write))
            });
            let tasks = [(), ()].map(|()| spawn(write(stream.clone())));
            drop(stream);
            let reader = thread::spawn(move || io::copy(&mut peer, &mut io::sink()).unwrap());
            for task in tasks {
                task.await.unwrap();
            }
            for thread in threads {
                joined(thread).await;
            }
            assert_eq!(joined(reader).await, 4 * EACH as u64);
        });
    });
}
