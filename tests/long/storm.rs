//! Threads that wake, spawn, cancel and drop at once, by the second: nothing is lost, nothing stays.
//!
//! `cargo run --example storm -- [SECONDS] [SEED]`. A wake that is lost hangs it, so it is run under
//! `timeout`. What two threads do at once is for a sanitizer to see: `.ci/tsan`.
//!
//! A round is a loop with 32 guests, who wait for waiters: threads that serve them, and that spawn,
//! await and cancel tasks of their own by a remote. In every third round the loop goes in the midst.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicIsize, AtomicU64, Ordering::Relaxed},
    },
    task::{Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use boucle::{
    JoinError, JoinHandle, Loop, Reaction, Remote, RemoteHandle, Sleep, forever, sleep, spawn,
    yield_now,
};
use futures_lite::future::poll_once;

const WAITERS: u64 = 4;
const GUESTS: u64 = 32;
const COURSES: u64 = 8;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static ANSWERS: AtomicU64 = AtomicU64::new(0);
static CANCELS: AtomicU64 = AtomicU64::new(0);
static WAKES: AtomicU64 = AtomicU64::new(0);

/// Something to be dropped once. Its number is not atomic: whoever reads it was handed it.
struct Dish(Box<u64>);

impl Dish {
    fn new(n: u64) -> Dish {
        LIVE.fetch_add(1, Relaxed);
        Dish(Box::new(n))
    }
}

impl Drop for Dish {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Relaxed);
    }
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Who waits, and what is set before the wake, which alone hands it over.
type Queue = Arc<Mutex<Vec<(Waker, Arc<AtomicBool>)>>>;

/// Waits for every course.
async fn eat(queue: Queue, dish: Dish) -> Dish {
    for _ in 0..COURSES {
        let (is_served, mut is_queued) = (Arc::new(AtomicBool::new(false)), false);
        poll_fn(|cx| {
            // Ordering: Relaxed; a wake hands over what was written before it.
            if is_served.load(Relaxed) {
                return Poll::Ready(());
            }
            if !is_queued {
                is_queued = true;
                queue.lock().unwrap().push((cx.waker().clone(), is_served.clone()));
            }
            Poll::Pending
        })
        .await;
        WAKES.fetch_add(1, Relaxed);
    }
    dish
}

struct Waiter {
    dice: Dice,
    remote: Remote,
    queue: Queue,
    /// The loop may go at any time.
    is_abrupt: bool,
    handles: Vec<(u64, RemoteHandle<(Dish, Sleep)>)>,
    kept: Vec<Waker>,
}

impl Waiter {
    fn run(mut self, is_over: &AtomicBool) {
        while !is_over.load(Relaxed) {
            match self.dice.below(6) {
                0 | 1 if self.handles.len() < 64 => self.order(),
                2 if !self.handles.is_empty() => self.settle(),
                _ => self.serve(),
            }
        }
        for (n, handle) in std::mem::take(&mut self.handles) {
            self.check(n, false, pollster::block_on(handle));
        }
        // Some of them for a loop that has gone.
        for waker in self.kept {
            drop(waker.clone());
            waker.wake();
        }
    }

    /// Spawns a task elsewhere, whose timer comes here to be dropped.
    fn order(&mut self) {
        let (n, turns) = (self.dice.below(99), self.dice.below(4));
        let dish = Dish::new(n);
        let task = move || async move {
            let mut hour = sleep(Duration::from_secs(3600));
            assert!(poll_once(&mut hour).await.is_none());
            for _ in 0..turns {
                yield_now().await;
            }
            (Dish::new(*dish.0 + 1), hour)
        };
        self.handles.push((n, self.remote.spawn(task)));
    }

    /// Ends what has to do with a task elsewhere.
    fn settle(&mut self) {
        let at = self.dice.below(self.handles.len() as u64) as usize;
        let (n, handle) = self.handles.swap_remove(at);
        match self.dice.below(5) {
            0 => drop(handle),
            1 => _ = handle.cancel(),
            2 => self.check(n, handle.cancel(), pollster::block_on(handle)),
            3 => self.check(n, false, pollster::block_on(handle)),
            _ => self.check(n, false, boucle::block_on(handle)),
        }
    }

    fn check(&self, n: u64, is_cancelled: bool, result: Result<(Dish, Sleep), JoinError>) {
        ANSWERS.fetch_add(1, Relaxed);
        CANCELS.fetch_add(is_cancelled.into(), Relaxed);
        match result {
            Ok((dish, _)) => assert!(*dish.0 == n + 1 && !is_cancelled),
            Err(error) => assert!(self.is_abrupt || is_cancelled && error.is_cancelled()),
        }
    }

    /// Wakes one who waits, and some who do not.
    fn serve(&mut self) {
        if self.kept.len() > 16 {
            let at = self.dice.below(self.kept.len() as u64) as usize;
            let waker = self.kept.swap_remove(at);
            if at % 2 == 0 {
                waker.wake_by_ref();
            }
        }
        let Some((waker, is_served)) = self.queue.lock().unwrap().pop() else {
            return thread::yield_now();
        };
        is_served.store(true, Relaxed);
        match self.dice.below(4) {
            0 => waker.wake(),
            1 => waker.wake_by_ref(),
            2 => {
                self.kept.push(waker.clone());
                waker.wake();
            }
            // By another task of the loop.
            _ => drop(self.remote.spawn(|| async { waker.wake() })),
        }
    }
}

fn round(dice: &mut Dice) {
    let (queue, is_over) = (Queue::default(), Arc::new(AtomicBool::new(false)));
    let is_abrupt = dice.below(3) == 0;
    // Nobody may be forgotten.
    let l = Loop::builder().on_dead(Reaction::Fail).build();
    let waiters: Vec<_> = (0..WAITERS)
        .map(|_| {
            let (dice, remote, queue) = (Dice(dice.next()), l.remote(), queue.clone());
            let (handles, kept) = (Vec::new(), Vec::new());
            let waiter = Waiter { dice, remote, queue, is_abrupt, handles, kept };
            let is_over = is_over.clone();
            thread::spawn(move || waiter.run(&is_over))
        })
        .collect();
    l.block_on(async {
        let guest = |n| spawn(eat(queue.clone(), Dish::new(n)));
        let guests: Vec<JoinHandle<Dish>> = (0..GUESTS).map(guest).collect();
        if is_abrupt {
            let until = WAKES.load(Relaxed) + dice.below(GUESTS * COURSES / 2);
            while WAKES.load(Relaxed) < until {
                yield_now().await;
            }
            return;
        }
        for (n, guest) in (0..).zip(guests) {
            // It may have ended, or be about to be woken.
            let is_cancelled = n % 4 == 3 && guest.cancel();
            match guest.await {
                Ok(dish) => assert!(*dish.0 == n && !is_cancelled),
                Err(error) => assert!(is_cancelled && error.is_cancelled()),
            }
        }
    });
    if is_abrupt {
        drop(l);
        is_over.store(true, Relaxed);
    } else {
        is_over.store(true, Relaxed);
        // Until the last remote has gone.
        assert!(l.try_block_on(forever()).is_err());
        assert!(l.tasks().is_empty(), "{}", l.snapshot());
    }
    for waiter in waiters {
        waiter.join().unwrap();
    }
    assert_eq!(LIVE.load(Relaxed), 0, "dishes that nobody has dropped");
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let seconds = numbers.next().unwrap_or(2);
    let seed = numbers.next().unwrap_or(1);
    let (start, mut dice, mut rounds) = (Instant::now(), Dice(seed), 0);
    while rounds == 0 || start.elapsed() < Duration::from_secs(seconds) {
        round(&mut dice);
        rounds += 1;
    }
    println!(
        "storm: seed {seed}, {rounds} rounds of {WAITERS} threads in {} s: {} remote tasks answered, \
         {} of them cancelled, {} wakes seen; nothing is lost, nothing is left",
        start.elapsed().as_secs(),
        ANSWERS.load(Relaxed),
        CANCELS.load(Relaxed),
        WAKES.load(Relaxed),
    );
}
