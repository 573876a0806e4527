//! The limit: the same futures, boxed, and polled by hand with a waker that does nothing. Below it
//! is no runtime; what it lacks is all that makes one.

use std::{
    collections::VecDeque,
    hint::black_box,
    pin::{Pin, pin},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use crate::{
    apart::Apart,
    cases::{Case, Workload},
    meter::Meter,
    resident,
    workloads::{
        batches, enter,
        parts::{Crowd, Ring, ready_64, yield_now},
    },
};

type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

/// Polls the futures in turn until all have ended.
fn round_robin<T>(queue: &mut VecDeque<Boxed<T>>) {
    let mut cx = Context::from_waker(Waker::noop());
    while let Some(mut future) = queue.pop_front() {
        match future.as_mut().poll(&mut cx) {
            Poll::Pending => queue.push_back(future),
            Poll::Ready(output) => drop(black_box(output)),
        }
    }
}

pub(super) fn tasks(case: Case, meter: &Meter) -> Option<usize> {
    let ops = match case.workload {
        Workload::Yield => yields(case, meter),
        Workload::SpawnAwait | Workload::SpawnAwaitRoot => spawn_await(case, meter),
        Workload::SpawnJoin => spawn_join(case, meter),
        Workload::Ring => ring(case, meter),
        Workload::Elsewhere => elsewhere(case, meter),
        Workload::Timeouts => now(case, meter),
        _ => return None,
    };
    Some(ops)
}

fn yields(case: Case, meter: &Meter) -> usize {
    let crowd = Crowd::new(case.size, meter.clone());
    let passes = batches(case);
    crowd.leave.open();
    let mut queue: VecDeque<Boxed<()>> = VecDeque::new();
    for _ in 0..case.size {
        queue.push_back(Box::pin(crowd.clone().member(passes)));
    }
    round_robin(&mut queue);
    passes * case.size + case.size - 1
}

fn spawn_await(case: Case, meter: &Meter) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    meter.start();
    for i in 0..case.ops {
        let mut task: Boxed<u64> = black_box(Box::pin(ready_64([i as u64; 7])));
        let _ = black_box(task.as_mut().poll(&mut cx));
    }
    meter.stop();
    case.ops
}

fn spawn_join(case: Case, meter: &Meter) -> usize {
    let batch = || {
        let mut tasks: VecDeque<Boxed<u64>> = VecDeque::with_capacity(case.size);
        for i in 0..case.size {
            tasks.push_back(black_box(Box::pin(ready_64([i as u64; 7]))));
        }
        round_robin(&mut tasks);
    };
    meter.start();
    for _ in 0..batches(case) {
        batch();
    }
    meter.stop();
    batches(case) * case.size
}

fn ring(case: Case, meter: &Meter) -> usize {
    let laps = batches(case);
    let ring = Ring::new(case.size, laps, meter.clone());
    let mut queue: VecDeque<Boxed<()>> = VecDeque::new();
    for me in 0..case.size {
        queue.push_back(Box::pin(ring.clone().member(me)));
    }
    let mut cx = Context::from_waker(Waker::noop());
    while !ring.over.is_open() {
        let mut member = queue.pop_front().expect("they run until it is over");
        if member.as_mut().poll(&mut cx).is_pending() {
            queue.push_back(member);
        }
    }
    laps * case.size
}

/// The system's own park and unpark.
fn elsewhere(case: Case, meter: &Meter) -> usize {
    static ANSWERS: AtomicUsize = AtomicUsize::new(0);
    let (threads, received) = mpsc::channel::<thread::Thread>();
    let echo = Apart::spawn(move || {
        for thread in received {
            ANSWERS.fetch_add(1, Ordering::Release);
            thread.unpark();
        }
    });
    meter.start();
    for _ in 0..case.ops {
        let before = ANSWERS.load(Ordering::Acquire);
        threads.send(thread::current()).expect("it listens");
        while ANSWERS.load(Ordering::Acquire) == before {
            thread::park();
        }
    }
    meter.stop();
    drop(threads);
    echo.join();
    case.ops
}

/// No timeout is cheaper than to look at the clock.
fn now(case: Case, meter: &Meter) -> usize {
    meter.start();
    for i in 0..case.ops as u64 {
        black_box(Instant::now() + Duration::from_secs(30 + i % 60));
    }
    meter.stop();
    case.ops
}

/// Boxes, a queue of them each time.
pub(super) fn gather(case: Case, meter: &Meter) -> Option<usize> {
    let batch = || {
        let mut queue: VecDeque<Boxed<()>> = VecDeque::with_capacity(case.size);
        for _ in 0..case.size {
            queue.push_back(black_box(Box::pin(yield_now())));
        }
        round_robin(&mut queue);
    };
    batch();
    meter.start();
    for _ in 0..batches(case) {
        batch();
    }
    meter.stop();
    Some(batches(case) * case.size)
}

pub(super) fn block_on(case: Case, meter: &Meter) -> Option<usize> {
    if case.workload != Workload::BlockOn {
        return None;
    }
    enter(case, meter, |i| {
        let future = pin!(async move { black_box(i) });
        match black_box(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(i) => i,
            Poll::Pending => unreachable!("nothing is awaited"),
        }
    });
    Some(case.ops)
}

pub(super) fn idle() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut tasks: Vec<Boxed<()>> = Vec::new();
    let before = resident::bytes();
    for i in 0..resident::TASKS {
        tasks.push(Box::pin(resident::idler(i)));
        let _ = tasks[i].as_mut().poll(&mut cx);
    }
    resident::report(before);
}
