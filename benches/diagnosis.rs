//! How long it takes to say why 100k tasks hang. Notice that the proof costs a fraction of the
//! snapshot that goes with it, and both are linear.

// criterion's macro makes a public function without a word about it.
#![allow(missing_docs)]

mod limit;

use std::{hint::black_box, rc::Rc, time::Duration};

use boucle::{JoinHandle, Loop, Waiter, sleep, sync::Mutex};
use criterion::{Criterion, criterion_group, criterion_main};

const TASKS: usize = 100_000;

/// Tasks in a loop, of which a third wait for a mutex each, a third for a timer if there are to be
/// timers, and a third for the task before them; the rest for one and the same waiter.
fn kitchen(l: &Loop, timers: bool) {
    let closing = Rc::new(Waiter::new(1));
    let mut last: JoinHandle<()> = l.spawn(async move { closing.wait().await });
    for i in 1..TASKS {
        last = match i % 3 {
            0 => {
                let pan = Rc::new(Mutex::new(()));
                l.spawn(async move {
                    let _taken = pan.lock().await;
                    let _again = pan.lock().await;
                })
            }
            1 if timers => l.spawn(async { sleep(Duration::from_secs(3600)).await }),
            _ => l.spawn(async move { drop(last.await) }),
        };
    }
    drop(last);
    l.run_until_stalled();
}

fn quiet() -> Loop {
    // What each task waits for is found at the moment of asking, and by nobody before.
    use boucle::Reaction::Ignore;
    Loop::builder().on_dead(Ignore).on_cycle(Ignore).build()
}

fn snapshots(c: &mut Criterion) {
    let mut group = c.benchmark_group("100k tasks");
    limit::of(&mut group, TASKS);
    let l = quiet();
    kitchen(&l, true);
    group.bench_function("snapshot", |b| b.iter(|| black_box(l.snapshot())));
    let snapshot = l.snapshot();
    group.bench_function("who is stuck", |b| b.iter(|| black_box(snapshot.stuck().len())));
    group.bench_function("report", |b| b.iter(|| black_box(snapshot.to_string())));
    group.bench_function("graph", |b| b.iter(|| black_box(snapshot.to_dot())));
    let l = quiet();
    kitchen(&l, false);
    group.bench_function("proof that nothing can happen, with its snapshot", |b| {
        b.iter(|| black_box(l.try_block_on(std::future::pending::<()>()).unwrap_err()));
    });
}

criterion_group!(name = benches; config = limit::short(); targets = snapshots);
criterion_main!(benches);
