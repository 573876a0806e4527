//! Millions of tasks, timers and wakes, twice: the second time leaves no more behind than the first.
//!
//! `cargo run --release --example soak -- [ROUNDS]` of the game between two threads, one million
//! without; `--small` is a thousandth of everything. Both times together it is 24M timers, 100M
//! wakes within the loop and 10M from three threads, and each time 1M tasks live at once.
//!
//! What is left is judged twice. By the bytes that the program has not given back: none more than
//! before. And by resident memory, of which the allocator keeps what it likes: after the second
//! time it is at most 5 % more than after the first.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    future::poll_fn,
    hint::black_box,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicIsize, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    task::{Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use boucle::{Loop, Sleep, sleep, spawn, yield_now};

/// How often nobody sees progress, in a row, until the program has lost a wake.
const TICKS: u32 = 12;
const TICK: Duration = Duration::from_secs(5);

static BYTES: AtomicIsize = AtomicIsize::new(0);
static LIVE: AtomicIsize = AtomicIsize::new(0);
static PROGRESS: AtomicU64 = AtomicU64::new(0);

/// Counts the bytes that are not given back.
struct Counting;

// SAFETY: everything is left to the system.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size() as isize, Relaxed);
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as isize, Relaxed);
        // SAFETY: as the caller's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What a task owns.
struct Probe;

impl Probe {
    fn new() -> Probe {
        LIVE.fetch_add(1, Relaxed);
        Probe
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Relaxed);
    }
}

struct Load {
    tasks: u64,
    timers: u64,
    local: u64,
    foreign: u64,
    rounds: u64,
}

fn tasks(count: u64) {
    let l = Loop::new();
    let sum: u64 = l.block_on(async {
        let task = |n| {
            let probe = Probe::new();
            spawn(async move {
                let _probe = probe;
                yield_now().await;
                n
            })
        };
        let tasks: Vec<_> = (0..count).map(task).collect();
        assert_eq!(LIVE.load(Relaxed), count as isize);
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        sum
    });
    assert_eq!((sum, LIVE.load(Relaxed)), (count * (count - 1) / 2, 0));
    assert!(l.tasks().is_empty());
}

/// A third of them is cancelled, all over the heap.
fn timers(count: u64, at_once: u64) {
    let l = Loop::builder().virtual_time().build();
    l.block_on(async {
        for _ in 0..count / at_once {
            // By steps of a large prime: no two in order, none twice.
            let after = |n| Duration::from_micros(1 + n * 15_485_863 % 1_000_003_039);
            let mut sleeps: Vec<Sleep> = (0..at_once).map(|n| sleep(after(n))).collect();
            poll_fn(|cx| {
                assert!(sleeps.iter_mut().all(|sleep| Pin::new(sleep).poll(cx).is_pending()));
                Poll::Ready(())
            })
            .await;
            let mut n = 0;
            sleeps.retain(|_| {
                n += 1;
                n % 3 != 0
            });
            for sleep in sleeps {
                sleep.await;
            }
            PROGRESS.fetch_add(1, Relaxed);
        }
    });
    assert_eq!(l.next_deadline(), None);
}

fn local_wakes(count: u64) {
    const TASKS: u64 = 64;
    let task = move || async move {
        let _probe = Probe::new();
        for _ in 0..count / TASKS {
            yield_now().await;
        }
        PROGRESS.fetch_add(1, Relaxed);
    };
    let l = Loop::new();
    let tasks: Vec<_> = (0..TASKS).map(|_| l.spawn(task())).collect();
    l.run();
    assert!(tasks.iter().all(|task| task.is_finished()));
}

/// The last of them shows what was written before all of them.
fn foreign_wakes(count: u64) {
    const THREADS: u64 = 3;
    let l = Loop::new();
    let mut threads = Vec::new();
    let mut tasks = Vec::new();
    for _ in 0..THREADS {
        let (tell, told) = mpsc::channel::<Waker>();
        let (written, mut tell) = (Arc::new(AtomicU64::new(0)), Some(tell));
        let seen = written.clone();
        threads.push(thread::spawn(move || {
            let waker = told.recv().unwrap();
            for _ in 0..count / THREADS {
                written.fetch_add(1, Relaxed);
                waker.wake_by_ref();
            }
        }));
        tasks.push(l.spawn(poll_fn(move |cx| {
            if let Some(tell) = tell.take() {
                tell.send(cx.waker().clone()).unwrap();
            }
            PROGRESS.fetch_add(1, Relaxed);
            if seen.load(Relaxed) == count / THREADS { Poll::Ready(()) } else { Poll::Pending }
        })));
    }
    l.run();
    assert!(tasks.iter().all(|task| task.is_finished()));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Two threads, of which one sleeps while the other has its turn.
fn ping_pong(rounds: u64) {
    let turns = Arc::new(AtomicU64::new(0));
    let home = Arc::new(OnceLock::<Waker>::new());
    let (theirs, homes) = (turns.clone(), home.clone());
    let other = thread::spawn(move || {
        for round in 0..rounds {
            while theirs.load(Relaxed) != 2 * round + 1 {
                thread::park();
            }
            theirs.fetch_add(1, Relaxed);
            homes.get().unwrap().wake_by_ref();
        }
    });
    Loop::new().block_on(poll_fn(|cx| {
        home.get_or_init(|| cx.waker().clone());
        let turn = turns.load(Relaxed);
        if turn == 2 * rounds {
            return Poll::Ready(());
        }
        if turn % 2 == 0 {
            PROGRESS.fetch_add(1, Relaxed);
            turns.fetch_add(1, Relaxed);
            other.thread().unpark();
        }
        Poll::Pending
    }));
    other.join().unwrap();
}

/// In pages.
fn resident() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    statm.split(' ').nth(1)?.parse().ok()
}

fn cycle(load: &Load) -> (isize, Option<u64>) {
    tasks(load.tasks);
    timers(load.timers, load.timers.div_ceil(12));
    local_wakes(load.local);
    foreign_wakes(load.foreign);
    ping_pong(load.rounds);
    assert_eq!(LIVE.load(Relaxed), 0, "futures that nobody has dropped");
    // What threads own goes with them, in their own time.
    black_box((BYTES.load(Relaxed), resident()))
}

fn watch(is_over: &mpsc::Receiver<()>) {
    let (mut before, mut ticks) = (0, 0);
    while is_over.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
        let now = PROGRESS.load(Relaxed);
        // A program that was stopped for minutes sees one long tick.
        ticks = if now == before { ticks + 1 } else { 0 };
        before = now;
        if ticks == TICKS {
            eprintln!("soak: nothing goes on: a wake is lost");
            std::process::abort();
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let small = if args.iter().any(|arg| arg == "--small") { 1000 } else { 1 };
    let rounds = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000 / small);
    let load = Load {
        tasks: 1_000_000 / small,
        timers: 12_000_000 / small,
        local: 50_000_000 / small,
        foreign: 5_000_000 / small,
        rounds: rounds / 2,
    };
    let (over, is_over) = mpsc::channel();
    let watchdog = thread::spawn(move || watch(&is_over));
    let start = Instant::now();
    // Before it counts: it keeps its buffer.
    println!("soak: each of two times {} tasks, {} timers", load.tasks, load.timers);
    let (bytes, pages) = cycle(&load);
    println!(
        "soak: {} s, {bytes} bytes in use, {pages:?} pages resident",
        start.elapsed().as_secs()
    );
    let (again, pages_again) = cycle(&load);
    let seconds = start.elapsed().as_secs();
    println!("soak: {seconds} s, {again} bytes in use, {pages_again:?} pages resident");
    println!("soak: {rounds} rounds between two threads; 0 tasks, 0 futures left");
    assert!(again <= bytes, "the second cycle leaves {} bytes behind", again - bytes);
    if let (1, Some(first), Some(second)) = (small, pages, pages_again) {
        assert!(second * 100 <= first * 105, "from {first} to {second} resident pages");
    }
    drop(over);
    watchdog.join().unwrap();
}
