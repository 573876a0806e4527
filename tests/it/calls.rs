//! A loop that was never parked makes no system call: the system itself is the judge.
//!
//! A child process has the system kill it at its next call, whatever that is but its own end, and lives
//! on boucle from then on.

use std::{
    cell::Cell,
    future::poll_fn,
    hint::black_box,
    pin::pin,
    rc::Rc,
    sync::mpsc,
    task::{Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use boucle::{Loop, TaskSet, gather, scope, sleep, spawn, sync::channel, timeout, yield_now};

use crate::support::subprocess;

/// Whether a process can do this without a system call.
fn is_quiet(work: fn()) -> bool {
    // SAFETY: the child runs no code of the parent's other threads, which it does not have, and ends
    // here. It allocates, which the C library of this system allows after a fork.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "{}", std::io::Error::last_os_error());
        if child == 0 {
            // Enough for all that follows, in pieces that do not go back as they come.
            let memory: Vec<Vec<u8>> = (1..64).map(|size| vec![1; size * 1024]).collect();
            drop(black_box(memory));
            forbid_calls();
            work();
            // `_exit` would end the whole group, which is another call.
            libc::syscall(libc::SYS_exit, 0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        let is_killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS;
        let is_well = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
        assert!(is_killed || is_well, "status {status:#x}");
        is_well
    }
}

/// Has memory that is freed stay with the process; false if the allocator is not the C library's.
fn keep_memory() -> bool {
    // SAFETY: it is always allowed.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX) == 1
            && libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 25) == 1
    }
}

/// From now on, a call of this process is its end.
unsafe fn forbid_calls() {
    // Load the number of the call; if it is `exit`, go on; else kill.
    let (ld, jeq, ret) = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JEQ, libc::BPF_RET);
    let step = |code: u32, jf, k| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let mut steps = [
        step(ld, 0, 0),
        step(libc::BPF_JMP | jeq | libc::BPF_K, 1, libc::SYS_exit as u32),
        step(ret | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        step(ret | libc::BPF_K, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    let filter = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: the system copies the filter.
    unsafe {
        let is_set = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0;
        if !is_set {
            libc::_exit(2);
        }
    }
}

fn allocate() {
    for size in 1..1000 {
        drop(black_box(vec![1_u8; size]));
    }
}

fn tell_the_time() {
    black_box(Instant::now());
}

/// The first loop of the process, and many more.
fn run_loops() {
    for _ in 0..100 {
        assert_eq!(boucle::block_on(async { 42 }), 42);
    }
    let loops = [Loop::new(), Loop::new()];
    for l in &loops {
        let task = l.spawn(yield_now()).named("guest");
        while l.step() {}
        assert!(task.is_finished());
        drop(l.spawn(boucle::forever()));
        l.on_wake(|| ());
        l.run_until_stalled();
        l.spawn(async {}).cancel_because("closing time");
    }
    drop(loops);
    boucle::block_on(async {
        let sum = Cell::new(0);
        scope(async |s| {
            for n in 0..100 {
                let sum = &sum;
                s.spawn(async move {
                    yield_now().await;
                    sum.set(sum.get() + n);
                });
            }
        })
        .await;
        assert_eq!(sum.get(), 4950);
        gather((0..100).map(|_| yield_now()).collect::<Vec<_>>()).await;
        let (tx, rx) = channel(1);
        let sender = spawn(async move {
            for n in 0..100 {
                tx.send(n).await.unwrap();
            }
        });
        let mut set = TaskSet::new();
        while let Ok(n) = rx.recv().await {
            set.spawn(async move { n });
        }
        sender.await.unwrap();
        while set.join_next().await.is_some() {}
        // Wakers and letters of another thread's kind, posted here.
        let remote = boucle::remote();
        let gift = remote.spawn(|| async { 1 });
        assert_eq!(gift.await.unwrap(), 1);
        let rest = Rc::new(());
        drop(spawn({
            let rest = rest.clone();
            async move {
                boucle::forever().await;
                drop(rest);
            }
        }));
    });
}

/// What reads the clock.
fn run_timers() {
    boucle::block_on(async {
        let hour = Duration::from_secs(3600);
        let naps: Vec<_> = (0..1000).map(|_| spawn(sleep(hour))).collect();
        yield_now().await;
        assert_eq!(timeout(hour, async { 1 }).await.unwrap(), 1);
        for nap in naps {
            assert!(nap.cancel());
        }
        sleep(Duration::ZERO).await;
    });
}

#[test]
fn a_loop_that_was_never_parked_makes_no_system_call() {
    const NAME: &str = "calls::a_loop_that_was_never_parked_makes_no_system_call";
    if let Some(ended) = subprocess(NAME) {
        assert!(ended.status.success(), "{}", ended.stderr);
        return;
    }
    // A call would be seen.
    assert!(!is_quiet(std::thread::yield_now));
    // Such as that of a sanitizer.
    if !keep_memory() || !is_quiet(allocate) {
        eprintln!("this allocator makes calls of its own: nothing can be told");
        return;
    }
    assert!(is_quiet(run_loops));
    if is_quiet(tell_the_time) {
        assert!(is_quiet(run_timers));
    } else {
        eprintln!("reading the clock is a call on this machine: nothing can be told of timers");
    }
}

/// How often this thread has given its core away of its own accord.
fn rests() -> libc::c_long {
    // SAFETY: zeros are a value of that type, and it is written to alone.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage), 0);
        usage.ru_nvcsw
    }
}

#[test]
fn a_loop_that_waits_for_a_deadline_rests() {
    let (tell, told) = mpsc::channel::<Waker>();
    // A real thread: nobody else could wake a loop that rests.
    let wakes = thread::spawn(move || told.into_iter().for_each(Waker::wake));
    let l = boucle::Loop::new();
    let has_rested = |_| {
        let (before, mut tell) = (rests(), Some(tell.clone()));
        let mut far = pin!(sleep(Duration::from_secs(3600)));
        l.block_on(poll_fn(|cx| {
            assert!(far.as_mut().poll(cx).is_pending());
            tell.take().map_or(Poll::Ready(()), |tell| {
                tell.send(cx.waker().clone()).unwrap();
                Poll::Pending
            })
        }));
        rests() > before
    };
    // The thread may be quicker, but not each time.
    assert!((0..100).any(has_rested));
    drop(tell);
    wakes.join().unwrap();
}
