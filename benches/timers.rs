//! Arming and firing n sleeps, and a timeout that is made and cancelled while n others live.
//! Notice: the first grows with log n and the caches, the second not at all, since a timeout that
//! goes before the loop looks never enters the heap.

// criterion's macro makes a public function without a word about it.
#![allow(missing_docs)]

mod limit;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    future::poll_fn,
    hint::black_box,
    pin::Pin,
    task::Poll,
    time::{Duration, Instant},
};

use boucle::{Loop, Sleep, sleep};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// Polls once, so that the timer is armed.
async fn arm(sleep: &mut Sleep) {
    poll_fn(|cx| {
        let _ = Pin::new(&mut *sleep).poll(cx);
        Poll::Ready(())
    })
    .await;
}

/// The i-th of n durations: all different and in no order.
fn scattered(i: usize, n: usize) -> Duration {
    Duration::from_micros(1 + (i * 7_919 % n) as u64)
}

fn fire(c: &mut Criterion) {
    let mut group = c.benchmark_group("arm and fire");
    for n in [1_000, 100_000, 1_000_000] {
        limit::of(&mut group, n);
        group.bench_function(BenchmarkId::new("boucle", n), |b| {
            let l = Loop::builder().virtual_time().build();
            b.iter(|| {
                l.block_on(async {
                    let mut sleeps: Vec<_> = (0..n).map(|i| sleep(scattered(i, n))).collect();
                    for sleep in &mut sleeps {
                        arm(sleep).await;
                    }
                    sleep(Duration::from_secs(2)).await;
                });
            });
        });
        // The limit of timers is a heap of deadlines, filled and emptied.
        group.bench_function(BenchmarkId::new("limit", n), |b| {
            let epoch = Instant::now();
            b.iter(|| {
                let mut heap = BinaryHeap::new();
                for i in 0..n {
                    heap.push(Reverse((epoch + scattered(i, n), i)));
                }
                while let Some(fired) = heap.pop() {
                    black_box(fired);
                }
            });
        });
    }
}

fn cancel(c: &mut Criterion) {
    const N: usize = 1_000;
    let mut group = c.benchmark_group("timeout made and cancelled");
    limit::of(&mut group, N);
    for live in [1_000, 100_000, 1_000_000] {
        group.bench_function(BenchmarkId::new("boucle", live), |b| {
            let l = Loop::new();
            let mut hours: Vec<_> = l.block_on(async {
                (0..live).map(|i| sleep(Duration::from_secs(3600) + scattered(i, live))).collect()
            });
            l.block_on(async {
                for hour in &mut hours {
                    arm(hour).await;
                }
            });
            // Now they are in the heap.
            assert!(l.next_deadline().is_some());
            b.iter(|| {
                l.block_on(async {
                    for _ in 0..N {
                        arm(&mut sleep(Duration::from_secs(30))).await;
                    }
                });
            });
        });
    }
    // No timeout is cheaper than looking at the clock.
    group.bench_function("limit", |b| {
        b.iter(|| {
            for _ in 0..N {
                black_box(Instant::now() + Duration::from_secs(30));
            }
        });
    });
}

criterion_group!(name = benches; config = limit::short(); targets = fire, cancel);
criterion_main!(benches);
