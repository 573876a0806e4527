//! Counts user-space instructions per operation, under callgrind: the same on every run, however
//! busy the machine is.
//!
//! `cargo bench --bench instructions` runs each workload twice under valgrind, with N and 2N
//! operations, and prints the difference per operation beside the bare limit: boxed futures
//! polled by hand with a waker that does nothing.
//!
//! The counts that were measured last are in `instructions.baseline`. With `--check` it fails if one
//! has grown by more than three in a hundred; with `--renew` it writes the file anew, for a commit that
//! says why. With `--workload NAME N` it does N operations of one workload and says nothing.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    hint::black_box,
    pin::{Pin, pin},
    process::Command,
    rc::Rc,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use boucle::{
    Loop, TaskSet, block_on, gather, scope, sleep, spawn,
    sync::{Mutex, Semaphore, channel},
    yield_now,
};

/// Name, what it does N times, N, and the figure to reach; zero stands for none. The limits, whose
/// names say so, have no baseline.
type Workload = (&'static str, fn(usize), usize, u64);

const WORKLOADS: &[Workload] = &[
    ("yield_1000", yield_1000, 200_000, 105),
    ("yield_1000_limit", yield_1000_limit, 200_000, 0),
    ("spawn_await", spawn_await, 50_000, 480),
    ("spawn_await_limit", spawn_await_limit, 50_000, 0),
    ("spawn_join", spawn_join, 100_000, 700),
    ("spawn_join_limit", spawn_join_limit, 100_000, 0),
    ("ping_pong", ping_pong, 100_000, 370),
    ("ping_pong_limit", ping_pong_limit, 100_000, 0),
    ("timer_10k_live", timer_10k_live, 50_000, 320),
    ("gather_1", gather_1, 20_000, 560),
    ("gather_1_limit", gather_1_limit, 20_000, 0),
    ("gather_pair", gather_pair, 20_000, 0),
    ("gather_pair_woken", gather_pair_woken, 20_000, 0),
    ("gather_10", gather_10, 100_000, 140),
    ("gather_10_limit", gather_10_limit, 100_000, 0),
    ("gather_1000", gather_1000, 200_000, 450),
    ("gather_1000_limit", gather_1000_limit, 200_000, 0),
    ("scope_1000", scope_1000, 100_000, 620),
    ("join_next", join_next, 100_000, 120),
    ("join_next_limit", join_next_limit, 100_000, 0),
    ("mutex_lock", mutex_lock, 200_000, 60),
    ("mutex_lock_limit", mutex_lock_limit, 200_000, 0),
    ("channel", channel_of_16, 200_000, 0),
    ("channel_limit", channel_limit, 200_000, 0),
    ("block_on_ready", block_on_ready, 20_000, 214),
    ("block_on_ready_limit", block_on_ready_limit, 20_000, 0),
    ("loop_new_drop", loop_new_drop, 20_000, 0),
    ("loop_new_drop_two", loop_new_drop_two, 20_000, 0),
    ("loop_new_drop_limit", loop_new_drop_limit, 20_000, 0),
];

/// A line per workload: its name and its count.
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.baseline");

/// To reach, for a task that waits: its future of 64 bytes is part of it.
const RESIDENT: usize = 168;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--workload") {
        let (name, n) = (&args[at + 1], args[at + 2].parse().expect("a number"));
        let (_, work, ..) = WORKLOADS.iter().find(|w| w.0 == name).expect("a workload");
        return work(n);
    }
    let [check, renew] = ["--check", "--renew"].map(|flag| args.iter().any(|arg| arg == flag));
    let baseline = read_baseline();
    let (mut grown, mut renewed) = (Vec::new(), String::new());
    println!("| workload | instructions/op | baseline | to reach |\n|---|---|---|---|");
    for &(name, _, n, goal) in WORKLOADS {
        let (once, twice) = thread::scope(|s| {
            let once = s.spawn(|| count(name, n));
            let twice = count(name, 2 * n);
            (once.join().expect("counting does not panic"), twice)
        });
        let Some((once, twice)) = once.zip(twice) else {
            println!("valgrind is not there, or failed: nothing counted");
            std::process::exit(i32::from(check || renew));
        };
        let per_op = (twice - once) / n as u64;
        let before = baseline.iter().find(|(of, _)| of == name).map(|&(_, before)| before);
        let shown = before.map_or("-".into(), |before| before.to_string());
        let goal = if goal == 0 { "-".into() } else { goal.to_string() };
        println!("| {name} | {per_op} | {shown} | {goal} |");
        if !name.contains("_limit") {
            renewed += &format!("{name} {per_op}\n");
            if before.is_none_or(|before| per_op * 100 > before * 103) {
                grown.push(name);
            }
        }
    }
    if let Some(bytes) = resident() {
        println!("\nresident bytes per idle task, 1M tasks: {bytes} ({RESIDENT} to reach)");
        if bytes > RESIDENT {
            grown.push("resident");
        }
    }
    if renew {
        std::fs::write(BASELINE, renewed).expect("the baseline can be written");
    } else if check && !grown.is_empty() {
        println!(
            "grown, or without a baseline: {}; make it smaller, or `--renew` the baseline and say why",
            grown.join(", ")
        );
        std::process::exit(1);
    }
}

fn read_baseline() -> Vec<(String, u64)> {
    let text = std::fs::read_to_string(BASELINE).unwrap_or_default();
    let line = |line: &str| {
        let (name, count) = line.split_once(' ').expect("a name and a count");
        (name.to_owned(), count.parse().expect("a count"))
    };
    text.lines().map(line).collect()
}

/// How much resident memory each of a million waiting tasks takes, where the system tells.
fn resident() -> Option<usize> {
    const TASKS: usize = 1_000_000;
    let pages = || -> Option<usize> {
        let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
        statm.split_whitespace().nth(1)?.parse().ok()
    };
    let l = boucle::Loop::new();
    let before = pages()?;
    for i in 0..TASKS {
        let data = [i; 7];
        let future = async move {
            std::future::pending::<()>().await;
            black_box(&data);
        };
        assert_eq!(size_of_val(&future), 64);
        drop(l.spawn(future));
    }
    l.run_until_stalled();
    let bytes = (pages()? - before) * 4096;
    println!("\n{bytes} bytes for {TASKS} idle tasks");
    Some(bytes / TASKS)
}

/// The instructions of one run, read from callgrind's summary.
fn count(name: &str, n: usize) -> Option<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().ok()?)
        .args(["--workload", name, &n.to_string()])
        .output()
        .ok()?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = log.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn yield_1000(n: usize) {
    block_on(async {
        let tasks: Vec<_> = (0..1000)
            .map(|_| {
                spawn(async move {
                    for _ in 0..n / 1000 {
                        yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// A queue of boxed futures, polled in turn until all are done.
fn round_robin(mut queue: VecDeque<Pin<Box<dyn Future<Output = ()>>>>) {
    let mut cx = Context::from_waker(Waker::noop());
    while let Some(mut future) = queue.pop_front() {
        if future.as_mut().poll(&mut cx).is_pending() {
            queue.push_back(future);
        }
    }
}

fn yield_1000_limit(n: usize) {
    let mut queue: VecDeque<Pin<Box<dyn Future<Output = ()>>>> = VecDeque::new();
    for _ in 0..1000 {
        queue.push_back(Box::pin(async move {
            for _ in 0..n / 1000 {
                yield_now().await;
            }
        }));
    }
    round_robin(queue);
}

/// A future of 64 bytes that is ready at once.
async fn ready_64(data: [u64; 7]) -> u64 {
    data[0]
}

fn spawn_await(n: usize) {
    block_on(async {
        for i in 0..n as u64 {
            black_box(spawn(ready_64([i; 7])).await.unwrap());
        }
    });
}

fn spawn_await_limit(n: usize) {
    let mut cx = Context::from_waker(Waker::noop());
    for i in 0..n as u64 {
        let mut future: Pin<Box<dyn Future<Output = u64>>> = black_box(Box::pin(ready_64([i; 7])));
        let _ = black_box(future.as_mut().poll(&mut cx));
    }
}

fn spawn_join(n: usize) {
    block_on(async {
        let tasks: Vec<_> = (0..n as u64).map(|i| spawn(ready_64([i; 7]))).collect();
        for task in tasks {
            black_box(task.await.unwrap());
        }
    });
}

fn spawn_join_limit(n: usize) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut tasks: VecDeque<Pin<Box<dyn Future<Output = u64>>>> = VecDeque::new();
    for i in 0..n as u64 {
        tasks.push_back(Box::pin(ready_64([i; 7])));
    }
    while let Some(mut task) = tasks.pop_front() {
        let _ = black_box(task.as_mut().poll(&mut cx));
    }
}

/// Whose turn it is, and who waits for it.
#[derive(Default)]
struct Table {
    turn: Cell<usize>,
    wakers: [Cell<Option<Waker>>; 2],
}

/// Waits for its turn, leaving a clone of its waker each time, and gives the turn away.
async fn player(table: Rc<Table>, me: usize, rounds: usize) {
    for _ in 0..rounds {
        std::future::poll_fn(|cx| {
            if table.turn.get() == me {
                return Poll::Ready(());
            }
            table.wakers[me].set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        table.turn.set(1 - me);
        if let Some(waker) = table.wakers[1 - me].take() {
            waker.wake();
        }
    }
}

fn ping_pong(n: usize) {
    block_on(async {
        let table = Rc::new(Table::default());
        for player in [0, 1].map(|me| spawn(player(table.clone(), me, n))) {
            player.await.unwrap();
        }
    });
}

fn ping_pong_limit(n: usize) {
    let table = Rc::new(Table::default());
    round_robin([0, 1].map(|me| Box::pin(player(table.clone(), me, n)) as _).into());
}

/// Polls once and lets go.
async fn glance<F: Future>(future: F) {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        let _ = future.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
}

fn timer_10k_live(n: usize) {
    block_on(async {
        let live: Vec<_> = (0..10_000)
            .map(|i| {
                spawn(async move { sleep(Duration::from_secs(1000 + i * 7919 % 10_007)).await })
            })
            .collect();
        yield_now().await;
        for i in 0..n as u64 {
            glance(sleep(Duration::from_secs(30 + i % 60))).await;
            if i % 64 == 0 {
                yield_now().await;
            }
        }
        drop(live);
    });
}

/// Gathers of so many children, n in sum, that yield once.
fn gather_of(size: usize, n: usize) {
    block_on(async {
        for _ in 0..n / size {
            black_box(gather((0..size).map(|_| yield_now()).collect::<Vec<_>>()).await);
        }
    });
}

fn gather_limit(size: usize, n: usize) {
    for _ in 0..n / size {
        let futures = (0..size).map(|_| Box::pin(yield_now()) as Pin<Box<dyn Future<Output = ()>>>);
        round_robin(futures.collect());
    }
}

fn gather_1(n: usize) {
    gather_of(black_box(1), n);
}

fn gather_1_limit(n: usize) {
    gather_limit(black_box(1), n);
}

/// Each is of two that yield once, in a tuple.
fn gather_pair(n: usize) {
    block_on(async {
        for _ in 0..n {
            black_box(gather((yield_now(), yield_now())).await);
        }
    });
}

/// Each is of one that waits for the other, and so has its waker kept.
fn gather_pair_woken(n: usize) {
    let gate = Semaphore::new(0);
    block_on(async {
        for _ in 0..n {
            let waits = async { gate.acquire().await.forget() };
            black_box(gather((waits, async { gate.add_permits(1) })).await);
        }
    });
}

fn gather_10(n: usize) {
    gather_of(black_box(10), n);
}

fn gather_10_limit(n: usize) {
    gather_limit(black_box(10), n);
}

fn gather_1000(n: usize) {
    gather_of(black_box(1000), n);
}

fn gather_1000_limit(n: usize) {
    gather_limit(black_box(1000), n);
}

/// Scopes of a thousand children that yield once.
fn scope_1000(n: usize) {
    block_on(async {
        let data = Cell::new(0);
        for _ in 0..n / 1000 {
            scope(async |s| {
                for _ in 0..1000 {
                    s.spawn(async {
                        yield_now().await;
                        data.set(data.get() + 1);
                    });
                }
            })
            .await;
        }
        assert_eq!(data.get(), n / 1000 * 1000);
    });
}

/// Joins n of as many finished tasks as the longer run joins: what differs is the joining alone.
/// The memory of the tasks goes back to the allocator only when the loop has nothing to do; the
/// limit below frees its own at once.
fn join_next(n: usize) {
    const TASKS: u64 = 200_000;
    block_on(async {
        let mut set = TaskSet::new();
        for i in 0..TASKS {
            set.spawn(async move { i });
        }
        yield_now().await;
        assert_eq!(set.iter().filter(|task| task.is_finished()).count() as u64, TASKS);
        for _ in 0..n {
            black_box(set.join_next().await.unwrap().unwrap());
        }
        // The way out is not to be counted.
        std::process::exit(0);
    });
}

/// The boxes alone, dropped in order, after their output was read.
fn join_next_limit(n: usize) {
    let mut done: VecDeque<Box<[u64; 13]>> = (0..200_000).map(|i| Box::new([i; 13])).collect();
    for _ in 0..n {
        black_box(done.pop_front().unwrap()[0]);
    }
    std::process::exit(0);
}

/// Locks and unlocks what nobody else wants.
fn mutex_lock(n: usize) {
    let mutex = Mutex::new(0);
    block_on(async {
        for _ in 0..n {
            *black_box(&mutex).lock().await += 1;
        }
    });
    assert_eq!(mutex.into_inner(), n);
}

fn mutex_lock_limit(n: usize) {
    let cell = RefCell::new(0);
    for _ in 0..n {
        *black_box(&cell).borrow_mut() += 1;
    }
    assert_eq!(cell.into_inner(), n);
}

/// A message from one task to another, through a channel that is full or empty all the time.
fn channel_of_16(n: usize) {
    block_on(async {
        let (tx, rx) = channel(16);
        let sender = spawn(async move {
            for i in 0..n {
                tx.send(i).await.unwrap();
            }
        });
        let mut sum = 0;
        while let Ok(i) = rx.recv().await {
            sum += black_box(i);
        }
        sender.await.unwrap();
        assert_eq!(sum, n * (n - 1) / 2);
    });
}

fn channel_limit(n: usize) {
    let queue = RefCell::new(VecDeque::new());
    for _ in 0..n / 16 {
        for i in 0..16 {
            black_box(&queue).borrow_mut().push_back(i);
        }
        for _ in 0..16 {
            black_box(black_box(&queue).borrow_mut().pop_front());
        }
    }
}

fn block_on_ready(n: usize) {
    for i in 0..n {
        black_box(block_on(async { black_box(i) }));
    }
}

/// What pollster does, which is to be 1.2 times as quick at most. That is version 0.4, which makes what
/// it is woken by for each call; since 1.0 it keeps one per thread, and so takes a dozen instructions.
fn block_on_ready_limit(n: usize) {
    for i in 0..n {
        black_box(pollster::block_on(async { black_box(i) }));
    }
}

/// Loops that begin with what the one before has left.
fn loop_new_drop(n: usize) {
    for _ in 0..n {
        drop(black_box(Loop::new()));
    }
}

/// As above, and beside each one that begins in memory of its own and gives it back.
fn loop_new_drop_two(n: usize) {
    for _ in 0..n {
        drop(black_box([Loop::new(), Loop::new()]));
    }
}

/// The one allocation of a loop.
fn loop_new_drop_limit(n: usize) {
    for _ in 0..n {
        drop(black_box(Box::new(std::mem::MaybeUninit::<[u64; 133]>::uninit())));
    }
}
