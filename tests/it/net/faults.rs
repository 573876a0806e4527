//! Events for nothing, descriptors that lie, and peers that have gone.

use std::{
    cell::{Cell, RefCell},
    fs::File,
    future::poll_fn,
    io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    pin::pin,
    rc::Rc,
    sync::mpsc,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use boucle::{
    Loop,
    io::Async,
    net::{TcpListener, TcpStream},
    now, sleep, spawn, timeout, yield_now,
};
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Act, foreign_waker, own_waker, pause, subprocess, virtual_loop};

const SECOND: Duration = Duration::from_secs(1);

/// The two ends of a connection.
async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    let (served, _) = listener.accept().await?;
    Ok((client, served))
}

/// Virtual time, so what is on its way arrives.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// Keeps its task's waker for others, and counts its polls.
async fn exposed<F: Future>(
    future: F,
    waker: &RefCell<Option<Waker>>,
    polls: &Cell<u32>,
) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        polls.set(polls.get() + 1);
        *waker.borrow_mut() = Some(cx.waker().clone());
        future.as_mut().poll(cx)
    })
    .await
}

#[test]
fn t46_wakes_for_nothing_do_not_disturb_who_waits() {
    virtual_loop().block_on(async {
        let (mut client, mut served) = pair().await.unwrap();
        let (waker, polls) = (Rc::new(RefCell::new(None)), Rc::new(Cell::new(0)));
        let reader = spawn({
            let (waker, polls) = (waker.clone(), polls.clone());
            async move {
                let mut buf = [0; 8];
                exposed(served.read(&mut buf), &waker, &polls).await
            }
        });
        settle().await;
        for _ in 0..100 {
            waker.borrow().as_ref().unwrap().wake_by_ref();
            yield_now().await;
        }
        assert!(!reader.is_finished());
        client.write_all(b"soda").await.unwrap();
        assert_eq!(reader.await.unwrap().unwrap(), 4);
        assert_eq!(polls.get(), 1 + 100 + 1, "the first, those for nothing, that of the event");
    });
}

#[test]
fn t46_an_event_whose_data_another_has_taken_is_for_nothing() {
    virtual_loop().block_on(async {
        let (mut client, served) = pair().await.unwrap();
        let polls: Rc<[Cell<u32>; 2]> = Rc::default();
        let readers = [0, 1].map(|n| {
            let (mut served, polls) = (served.clone(), polls.clone());
            spawn(async move {
                let mut buf = [0; 1];
                exposed(served.read_exact(&mut buf), &RefCell::new(None), &polls[n]).await
            })
        });
        settle().await;
        for done in 1..=2 {
            client.write_all(b"s").await.unwrap();
            settle().await;
            assert_eq!(readers.iter().filter(|reader| reader.is_finished()).count(), done);
        }
        assert_eq!(polls[0].get() + polls[1].get(), 2 + 2 + 1);
    });
}

#[test]
fn t47_a_loop_that_waits_for_sockets_hears_other_threads() {
    // A wake that is lost hangs.
    let Some(ended) =
        subprocess("net::faults::t47_a_loop_that_waits_for_sockets_hears_other_threads")
    else {
        let (wake, wakes) = mpsc::channel::<Waker>();
        let waking = thread::spawn(move || wakes.into_iter().map(Waker::wake).count());
        boucle::block_on(async move {
            let (_client, mut served) = pair().await.unwrap();
            let idle = spawn(async move { served.read(&mut [0; 8]).await });
            for _ in 0..2000 {
                pause(|waker| wake.send(waker.clone()).unwrap()).await;
            }
            idle.cancel();
        });
        assert_eq!(waking.join().unwrap(), 2000);
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn t47_a_wake_from_within_the_wait_is_heard() {
    virtual_loop().block_on(async {
        let (mut to, from) = UnixStream::pair().unwrap();
        let from = Async::new(from).unwrap();
        let (told, task) = (Rc::new(Cell::new(0)), own_waker().await);
        // Called on this thread, by the loop that takes its events in.
        let hook = foreign_waker({
            let told = told.clone();
            move |act| {
                if act == Act::Wake {
                    told.set(told.get() + 1);
                    task.wake_by_ref();
                }
            }
        });
        for n in 1..=3 {
            assert!(from.poll_readable(&mut Context::from_waker(&hook)).is_pending());
            to.write_all(b"s").unwrap();
            poll_fn(|_| if told.get() == n { Poll::Ready(()) } else { Poll::Pending }).await;
            assert_eq!(from.get_ref().read(&mut [0; 8]).unwrap(), 1);
        }
    });
}

#[test]
fn t56_a_limit_of_zero_does_not_wait() {
    // In real time, and nothing ever comes: whatever waits hangs.
    let l = Loop::new();
    l.block_on(async {
        let (_client, mut served) = pair().await.unwrap();
        for limit in [Duration::ZERO, Duration::from_nanos(1)] {
            assert!(timeout(limit, served.read(&mut [0; 8])).await.is_err());
        }
    });
    for l in [l, virtual_loop()] {
        let task = l.spawn(async {
            let (_client, mut served) = pair().await?;
            served.read(&mut [0; 8]).await
        });
        for _ in 0..10 {
            l.run_until_stalled();
        }
        assert!(!l.step());
        if l.next_deadline().is_none() && !task.is_finished() {
            task.cancel();
        }
        l.run_until_stalled();
    }
    let l = virtual_loop();
    l.advance(Duration::ZERO);
}

/// Shows one of two descriptors, whichever it is told to.
struct Liar {
    ends: [UnixStream; 2],
    shown: Rc<Cell<usize>>,
}

impl AsFd for Liar {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ends[self.shown.get()].as_fd()
    }
}

#[test]
fn t65_what_cannot_be_deleted_is_forgotten_all_the_same() {
    virtual_loop().block_on(async {
        let (first, mut to_first) = UnixStream::pair().unwrap();
        let (second, _to_second) = UnixStream::pair().unwrap();
        // The system goes on telling of it, as long as any duplicate is open.
        let _duplicate = first.try_clone().unwrap();
        let shown = Rc::new(Cell::new(0));
        let liar = Async::new(Liar { ends: [first, second], shown: shown.clone() }).unwrap();
        assert!(liar.poll_readable(&mut Context::from_waker(Waker::noop())).is_pending());
        shown.set(1);
        drop(liar);

        let (honest, mut to_honest) = UnixStream::pair().unwrap();
        let honest = Async::new(honest).unwrap();
        let polls = Cell::new(0);
        let waker = RefCell::new(None);
        let mut waits = pin!(exposed(honest.readable(), &waker, &polls));
        to_first.write_all(b"s").unwrap();
        assert!(timeout(SECOND, waits.as_mut()).await.is_err());
        let before = polls.get();
        to_honest.write_all(b"s").unwrap();
        waits.await.unwrap();
        assert_eq!((before, polls.get()), (2, 4), "each once for itself, and once for its end");
    });
}

#[test]
fn t64_numbers_are_used_again_at_once() {
    virtual_loop().block_on(async {
        let wait = |async_: Async<UnixStream>| async move {
            let mut buf = [0; 1];
            async_.read_with(|mut stream| stream.read(&mut buf)).await
        };
        for n in 0..300 {
            // What was registered goes in one way or another, awaited or not, ready or not; the next
            // one has its number.
            let (to, from) = UnixStream::pair().unwrap();
            let from = Async::new(from).unwrap();
            if n % 2 == 0 {
                (&to).write_all(b"s").unwrap();
            }
            match n % 3 {
                0 => drop(from),
                1 => drop(from.into_inner()),
                _ => {
                    let waits = spawn(wait(from));
                    yield_now().await;
                    waits.cancel();
                    yield_now().await;
                }
            }
            drop(to);
            let (mut to, from) = UnixStream::pair().unwrap();
            let waits = spawn(wait(Async::new(from).unwrap()));
            yield_now().await;
            assert!(!waits.is_finished());
            to.write_all(b"s").unwrap();
            assert_eq!(waits.await.unwrap().unwrap(), 1);
        }
    });
}

#[test]
fn t67_peers_that_have_gone_do_not_keep_the_loop_busy() {
    virtual_loop().block_on(async {
        // Not read: the end of one direction, of both, and a reset.
        let (half, _half_shut) = pair().await.unwrap();
        half.shutdown(Shutdown::Write).unwrap();
        let (closed, unread) = pair().await.unwrap();
        drop(closed);
        let (mut reset, unread_too) = pair().await.unwrap();
        (&unread_too).write_all(b"lost").await.unwrap();
        settle().await;
        drop(unread_too);
        // Somebody else has the loop look for events.
        let (_client, mut served) = pair().await.unwrap();
        let waits = spawn(async move { served.read(&mut [0; 8]).await });
        // As long as events come, a virtual clock stands still.
        let before = now();
        sleep(SECOND).await;
        assert_eq!(now() - before, SECOND);
        assert!(!waits.is_finished());
        assert_eq!((&unread).read(&mut [0; 8]).await.unwrap(), 0);
        let gone = reset.read_to_end(&mut Vec::new()).await;
        assert!(gone.is_ok() || gone.unwrap_err().kind() == ErrorKind::ConnectionReset);
        waits.cancel();
    });
}

#[test]
fn t67_who_waits_to_write_to_a_peer_that_only_reads_does_so_in_peace() {
    virtual_loop().block_on(async {
        let (mut client, mut served) = pair().await.unwrap();
        served.shutdown(Shutdown::Write).unwrap();
        let polls = Rc::new(Cell::new(0));
        let writes = spawn({
            let polls = polls.clone();
            async move {
                // More than both ends keep for each other.
                let block = vec![7; 64 << 20];
                let write = client.write_all(&block);
                exposed(write, &RefCell::new(None), &polls).await.map(|()| client)
            }
        });
        sleep(SECOND).await;
        let before = polls.get();
        sleep(10 * SECOND).await;
        assert!(!writes.is_finished());
        assert_eq!(polls.get(), before, "nothing has happened");
        let mut all = Vec::new();
        let (mut client, read) = futures_lite::future::zip(
            async {
                let mut client = writes.await.unwrap().unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                // The other direction has ended long ago.
                assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
                client
            },
            served.read_to_end(&mut all),
        )
        .await;
        assert_eq!(read.unwrap(), 64 << 20);
        drop(served);
        settle().await;
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn t74_a_read_or_write_of_more_buffers_than_one_call_takes_goes_on() {
    virtual_loop().block_on(async {
        let (mut client, mut served) = pair().await.unwrap();
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(3000).collect();
        let mut written = 0;
        while written < bytes.len() {
            let bufs: Vec<_> = bytes[written..].chunks(1).map(IoSlice::new).collect();
            written += client.write_vectored(&bufs).await.unwrap();
        }
        settle().await;
        let mut read = vec![0; bytes.len()];
        let mut done = 0;
        while done < bytes.len() {
            let mut bufs: Vec<_> = read[done..].chunks_mut(1).map(IoSliceMut::new).collect();
            let some = timeout(SECOND, served.read_vectored(&mut bufs)).await;
            done += some.expect("there is more, and nobody tells").unwrap();
        }
        assert!(read == bytes);
    });
}

#[test]
fn t81_what_the_system_cannot_wait_for_is_an_error() {
    virtual_loop().block_on(async {
        for path in ["/proc/self/exe", "/"] {
            let error = Async::new(File::open(path).unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("cannot wait for this descriptor"), "{error}");
        }
        let (mut client, mut served) = pair().await.unwrap();
        client.write_all(b"soda").await.unwrap();
        assert_eq!(served.read(&mut [0; 8]).await.unwrap(), 4);
    });
}
