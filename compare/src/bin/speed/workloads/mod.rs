//! What every runtime does, written once over the verbs of [`Runtime`] and [`Timers`].
//!
//! Each takes a case and a meter, does its preparations, starts the meter, does at least `ops`
//! operations, stops it, and says how many they were. It runs inside a task, since that is where a
//! program spends its life, unless its name says root.

pub(crate) mod parts;

use std::{
    hint::black_box,
    pin::Pin,
    sync::mpsc,
    task::{Poll, Waker},
    time::Duration,
};

use parts::{Crowd, Ring, glance, ready_64, yield_now};

use crate::{
    apart::Apart,
    cases::{Case, Workload},
    meter::Meter,
    runtimes::{Runtime, Timers},
};

/// Of operations, this part warms up and is not measured.
const WARM_UP: usize = 10;

pub(crate) fn tasks<R: Runtime>(case: Case, meter: &Meter) -> Option<usize> {
    let rt = R::new();
    let meter = meter.clone();
    let ops = match case.workload {
        Workload::Yield => in_a_task(&rt, yields(rt.clone(), case, meter)),
        Workload::SpawnAwait => in_a_task(&rt, spawn_await(rt.clone(), case, meter)),
        Workload::SpawnAwaitRoot => rt.block_on(spawn_await(rt.clone(), case, meter)),
        Workload::SpawnJoin => {
            let ops = in_a_task(&rt, spawn_join(rt.clone(), case, meter.clone()));
            // What a runtime has kept of ended tasks, it frees now at the latest.
            drop(rt);
            meter.stop();
            ops
        }
        Workload::Ring => in_a_task(&rt, ring(rt.clone(), case, meter)),
        Workload::Elsewhere => in_a_task(&rt, elsewhere(case, meter)),
        _ => return None,
    };
    Some(ops)
}

pub(crate) fn timers<R: Timers>(case: Case, meter: &Meter) -> Option<usize> {
    let rt = R::new();
    let meter = meter.clone();
    let ops = match case.workload {
        Workload::Sleeps => in_a_task(&rt, sleeps(rt.clone(), case, meter)),
        Workload::Timeouts => in_a_task(&rt, timeouts(rt.clone(), case, meter)),
        _ => return None,
    };
    Some(ops)
}

pub(crate) fn block_on<R: Runtime>(case: Case, meter: &Meter) -> Option<usize> {
    let rt = R::new();
    match case.workload {
        Workload::BlockOn => {
            enter(case, meter, |i| rt.block_on(async move { black_box(i) }));
        }
        Workload::NewBlockOn => {
            enter(case, meter, |i| R::new().block_on(async move { black_box(i) }));
        }
        _ => return None,
    }
    Some(case.ops)
}

/// Goes in and out, again and again.
pub(crate) fn enter(case: Case, meter: &Meter, once: impl Fn(usize) -> usize) {
    for i in 0..case.ops / WARM_UP {
        black_box(once(i));
    }
    meter.start();
    for i in 0..case.ops {
        black_box(once(i));
    }
    meter.stop();
}

fn in_a_task<R: Runtime>(rt: &R, body: impl Future<Output = usize> + 'static) -> usize {
    rt.block_on(async { R::value(rt.spawn(body).await) })
}

/// How often `size` operations must be done to make `ops`.
pub(crate) fn batches(case: Case) -> usize {
    case.ops.div_ceil(case.size)
}

/// Tasks that wait for one another, then yield as often as it takes. That they are let go is a wake
/// and a poll too, so it counts.
async fn yields<R: Runtime>(rt: R, case: Case, meter: Meter) -> usize {
    let crowd = Crowd::new(case.size, meter);
    let passes = batches(case);
    let members: Vec<_> = (0..case.size).map(|_| rt.spawn(crowd.clone().member(passes))).collect();
    crowd.passed.wait().await;
    crowd.leave.open();
    for member in members {
        R::value(member.await);
    }
    passes * case.size + case.size - 1
}

async fn spawn_await<R: Runtime>(rt: R, case: Case, meter: Meter) -> usize {
    for i in 0..case.ops / WARM_UP {
        black_box(R::value(rt.spawn(ready_64([i as u64; 7])).await));
    }
    meter.start();
    for i in 0..case.ops {
        black_box(R::value(rt.spawn(ready_64([i as u64; 7])).await));
    }
    meter.stop();
    case.ops
}

/// No batch to warm up: a burst comes to a runtime that has not just ended as many tasks, whose
/// memory it might have kept. The caller stops the meter.
async fn spawn_join<R: Runtime>(rt: R, case: Case, meter: Meter) -> usize {
    let batch = async || {
        let tasks: Vec<_> = (0..case.size).map(|i| rt.spawn(ready_64([i as u64; 7]))).collect();
        for task in tasks {
            black_box(R::value(task.await));
        }
    };
    meter.start();
    for _ in 0..batches(case) {
        batch().await;
    }
    batches(case) * case.size
}

async fn ring<R: Runtime>(rt: R, case: Case, meter: Meter) -> usize {
    let laps = batches(case);
    let ring = Ring::new(case.size, laps, meter);
    let members: Vec<_> = (0..case.size).map(|me| rt.spawn(ring.clone().member(me))).collect();
    ring.over.wait().await;
    ring.stop();
    for member in members {
        R::value(member.await);
    }
    laps * case.size
}

/// Sends its waker to a thread, which wakes it.
async fn elsewhere(case: Case, meter: Meter) -> usize {
    let (wakers, received) = mpsc::channel::<Waker>();
    let echo = Apart::spawn(move || received.into_iter().for_each(Waker::wake));
    for round in 0..case.ops + case.ops / WARM_UP {
        if round == case.ops / WARM_UP {
            meter.start();
        }
        let mut sent = false;
        std::future::poll_fn(|cx| {
            if sent {
                return Poll::Ready(());
            }
            sent = true;
            wakers.send(cx.waker().clone()).expect("it listens");
            Poll::Pending
        })
        .await;
    }
    meter.stop();
    drop(wakers);
    echo.join();
    case.ops
}

/// The first is due when all have had time to be armed, the others soon after, in no order.
fn scattered(i: usize, n: usize) -> Duration {
    Duration::from_micros(1_000.max(n as u64)) + Duration::from_nanos((i * 7_919 % n) as u64 * 100)
}

async fn sleeps<R: Timers>(rt: R, case: Case, meter: Meter) -> usize {
    meter.start();
    for _ in 0..batches(case) {
        let tasks: Vec<_> =
            (0..case.size).map(|i| rt.spawn(rt.sleep(scattered(i, case.size)))).collect();
        for task in tasks {
            R::value(task.await);
        }
    }
    meter.stop();
    batches(case) * case.size
}

async fn timeouts<R: Timers>(rt: R, case: Case, meter: Meter) -> usize {
    // Timeouts are mostly of one length, so those that live are due before a new one. Nothing here
    // takes so long that they fire.
    const AGED: Duration = Duration::from_secs(20);
    let mut live: Vec<Pin<Box<dyn Future<Output = _>>>> = Vec::new();
    for i in 0..case.size {
        live.push(Box::pin(rt.sleep(AGED + Duration::from_millis(i as u64 * 7_919 % 10_007))));
    }
    for sleep in &mut live {
        glance(sleep.as_mut()).await;
    }
    // The runtime has nothing to do meanwhile but to see to its timers.
    rt.sleep(Duration::from_millis(2)).await;
    let some = async |ops: usize| {
        for i in 0..ops as u64 {
            let timeout =
                rt.timeout(Duration::from_secs(30 + i % 60), std::future::pending::<()>());
            glance(std::pin::pin!(timeout)).await;
            if i % 64 == 63 {
                yield_now().await;
            }
        }
    };
    some(case.ops / WARM_UP).await;
    meter.start();
    some(case.ops).await;
    meter.stop();
    case.ops
}
