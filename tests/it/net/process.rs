//! What a process has: its descriptors, its signals, its children. Each test is one of its own.

use std::{
    cell::Cell,
    fs::File,
    io::ErrorKind,
    net,
    os::fd::OwnedFd,
    ptr,
    rc::Rc,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use boucle::{
    Loop,
    io::Async,
    net::{TcpListener, TcpStream},
    now, sleep, spawn,
};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use rustix::{
    event::{EventfdFlags, eventfd},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use crate::support::{own_waker, panics, subprocess, virtual_loop};

fn bell() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

fn ring(bell: &OwnedFd) {
    rustix::io::write(bell, &1_u64.to_ne_bytes()).unwrap();
}

/// Waits until it rings, and has it silent again.
async fn answer(bell: &Async<OwnedFd>) {
    bell.read_with(|bell| Ok(rustix::io::read(bell, &mut [0; 8])?)).await.unwrap();
}

#[test]
fn t66_a_wake_that_comes_too_late_touches_no_descriptor_of_others() {
    let name = "net::process::t66_a_wake_that_comes_too_late_touches_no_descriptor_of_others";
    let Some(ended) = subprocess(name) else {
        let (send, wakers) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let waking = thread::spawn(move || {
            for waker in wakers {
                for _ in 0..10 {
                    std::task::Waker::wake_by_ref(&waker);
                }
                drop(waker);
                tell.send(()).unwrap();
            }
        });
        for _ in 0..100 {
            let l = Loop::new();
            let idle = l.spawn(async {
                let bell = Async::new(bell()).unwrap();
                answer(&bell).await;
            });
            // It has slept, so the waker knows the poller, and the poller is gone with the loop.
            let waker = l.block_on(async {
                sleep(Duration::from_micros(10)).await;
                own_waker().await
            });
            send.send(waker.clone()).unwrap();
            drop((idle, l));
            let bells: Vec<_> = (0..8).map(|_| bell()).collect();
            waker.wake();
            told.recv().unwrap();
            for bell in &bells {
                let error = rustix::io::read(bell, &mut [0; 8]).unwrap_err();
                assert_eq!(error, rustix::io::Errno::AGAIN, "somebody has rung it");
            }
        }
        drop(send);
        waking.join().unwrap();
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn t68_a_server_without_descriptors_pauses_and_recovers() {
    let name = "net::process::t68_a_server_without_descriptors_pauses_and_recovers";
    let Some(ended) = subprocess(name) else {
        virtual_loop().block_on(async {
            let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
            let addr = listener.local_addr().unwrap();
            let _clients = [(); 2].map(|()| net::TcpStream::connect(addr).unwrap());
            let limit = getrlimit(Resource::Nofile);
            let low = Rlimit { current: Some(64), ..limit };
            setrlimit(Resource::Nofile, low).unwrap();
            // The second time there are pauses of 10, 20 and 40 milliseconds.
            for (lasts, pauses) in [(5, 10), (35, 70)] {
                let mut open = Vec::new();
                let error = loop {
                    match File::open("/dev/null") {
                        Ok(file) => open.push(file),
                        Err(error) => break error,
                    }
                };
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));

                let (before, listener) = (now(), listener.clone());
                let server = spawn(async move { listener.accept().await.map(drop) });
                sleep(Duration::from_millis(lasts)).await;
                assert!(!server.is_finished());
                drop(open);
                server.await.unwrap().unwrap();
                assert_eq!(now() - before, Duration::from_millis(pauses));
                eprintln!("it is over");
            }
        });
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
    // The second time comes too soon to be told.
    let said: Vec<&str> = ended.stderr.lines().collect();
    let told = said.first().is_some_and(|line| line.starts_with("boucle: no connection can be"));
    assert!(told && said[1..] == ["it is over"; 2], "{said:?}");
}

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn t72_signals_that_interrupt_calls_change_nothing() {
    let Some(ended) = subprocess("net::process::t72_signals_that_interrupt_calls_change_nothing")
    else {
        // SAFETY: the handler only counts, and the action is initialised, without `SA_RESTART`.
        let me = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = count as *const () as usize;
            assert_eq!(libc::sigaction(libc::SIGUSR1, &action, ptr::null_mut()), 0);
            libc::pthread_self()
        };
        let (end, ended) = mpsc::channel::<()>();
        let signalling = thread::spawn(move || {
            let pause = Duration::from_millis(1);
            while ended.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
                // SAFETY: the thread waits for this one, so it lives.
                assert_eq!(unsafe { libc::pthread_kill(me, libc::SIGUSR1) }, 0);
            }
        });
        boucle::block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            while SIGNALS.load(Ordering::Relaxed) < 200 {
                let mut client = TcpStream::connect(addr).await.unwrap();
                let (mut served, _) = listener.accept().await.unwrap();
                let echo = spawn(async move {
                    let mut buf = [0; 4];
                    served.read_exact(&mut buf).await.unwrap();
                    sleep(Duration::from_millis(3)).await;
                    served.write_all(&buf).await.unwrap();
                });
                let before = Instant::now();
                client.write_all(b"soda").await.unwrap();
                let mut buf = Vec::new();
                client.read_to_end(&mut buf).await.unwrap();
                assert_eq!(buf, b"soda");
                assert!(before.elapsed() >= Duration::from_millis(3), "a timer is never early");
                echo.await.unwrap();
            }
        });
        virtual_loop().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let waits = spawn(async move { listener.accept().await });
            for _ in 0..10 {
                let before = Instant::now();
                sleep(Duration::from_secs(1)).await;
                let quiet = before.elapsed();
                assert!(quiet >= Duration::from_millis(10), "a signal is no quiet: {quiet:?}");
            }
            waits.cancel();
        });
        drop(end);
        signalling.join().unwrap();
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
#[cfg(debug_assertions)]
fn t77_a_fork_must_not_use_the_loop_of_its_parent() {
    let Some(ended) = subprocess("net::process::t77_a_fork_must_not_use_the_loop_of_its_parent")
    else {
        let l = Loop::new();
        let listener = l.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = l.spawn(async move { listener.accept().await.map(drop) });
        l.run_until_stalled();
        // SAFETY: no other thread of this process holds anything that the child needs, and the child
        // ends here, without running what its parent would run at its end.
        unsafe {
            let child = libc::fork();
            assert_ne!(child, -1);
            if child == 0 {
                let told = panics(|| l.run_until_stalled());
                let is_clear =
                    told.contains("this process is a fork of the one that made the loop");
                libc::_exit(if is_clear { 77 } else { 1 });
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 77, "{status}");
        }
        // It has taken nothing away.
        let _client = net::TcpStream::connect(addr).unwrap();
        l.block_on(server).unwrap().unwrap();
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
}

/// As many descriptors as the system allows.
fn raise_limit(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    assert!(limit.maximum.is_none_or(|most| most > wanted), "too few descriptors to test with");
}

#[test]
fn t82_more_events_than_one_wait_brings_are_all_served() {
    let name = "net::process::t82_more_events_than_one_wait_brings_are_all_served";
    let Some(ended) = subprocess(name) else {
        const MANY: usize = 3500;
        raise_limit(MANY as u64 + 100);
        let l = virtual_loop();
        let bells: Rc<Vec<_>> =
            l.block_on(async { Rc::new((0..MANY).map(|_| Async::new(bell()).unwrap()).collect()) });
        for round in 0..3 {
            let tasks: Vec<_> = (0..MANY)
                .map(|n| {
                    let bells = bells.clone();
                    l.spawn(async move { answer(&bells[n]).await })
                })
                .collect();
            l.run_until_stalled();
            assert!(tasks.iter().all(|task| !task.is_finished()), "round {round}");
            bells.iter().for_each(|bell| ring(bell.get_ref()));
            l.run_until_stalled();
            let left = tasks.iter().filter(|task| !task.is_finished()).count();
            assert_eq!(left, 0, "round {round}");
        }
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn t82_what_is_always_ready_starves_nobody() {
    let Some(ended) = subprocess("net::process::t82_what_is_always_ready_starves_nobody") else {
        const MANY: usize = 2500;
        raise_limit(MANY as u64 + 100);
        virtual_loop().block_on(async {
            let (hot, is_over) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
            for _ in 0..MANY {
                let (hot, is_over) = (hot.clone(), is_over.clone());
                let bell = Async::new(bell()).unwrap();
                ring(bell.get_ref());
                drop(spawn(async move {
                    while !is_over.get() {
                        answer(&bell).await;
                        hot.set(hot.get() + 1);
                        // It is not ready before the system says so again.
                        let error = rustix::io::read(bell.get_ref(), &mut [0; 8]).unwrap_err();
                        assert_eq!(std::io::Error::from(error).kind(), ErrorKind::WouldBlock);
                        ring(bell.get_ref());
                    }
                }));
            }
            let cold = Async::new(bell()).unwrap();
            ring(cold.get_ref());
            // The one that came last, after everybody has had a few turns.
            for _ in 0..3 {
                answer(&cold).await;
                ring(cold.get_ref());
            }
            is_over.set(true);
            assert!(hot.get() <= 20 * MANY, "{} others came first", hot.get());
        });
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn a_loop_that_runs_until_it_is_stalled_looks_behind_events_of_nobody() {
    let name = "net::process::a_loop_that_runs_until_it_is_stalled_looks_behind_events_of_nobody";
    let Some(ended) = subprocess(name) else {
        const MANY: usize = 3000;
        raise_limit(MANY as u64 + 100);
        let l = virtual_loop();
        // Registered, rung and awaited by nobody, but for the last.
        let bells: Vec<_> =
            l.block_on(async { (0..MANY).map(|_| Async::new(bell()).unwrap()).collect() });
        let bells = Rc::new(bells);
        let last = bells.clone();
        let task = l.spawn(async move { answer(&last[MANY - 1]).await });
        l.run_until_stalled();
        assert!(!task.is_finished());
        bells.iter().for_each(|bell| ring(bell.get_ref()));
        l.run_until_stalled();
        assert!(task.is_finished());
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
}
