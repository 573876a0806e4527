//! n tasks that have ended, joined in the order of their ends; and a task that is spawned into a
//! set and joined at once, among n that wait. Notice: neither depends on n.

// criterion's macro makes a public function without a word about it.
#![allow(missing_docs)]

mod limit;

use std::{collections::VecDeque, future::pending, hint::black_box};

use boucle::{Loop, TaskSet};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use limit::Boxed;

/// Ready at once.
async fn ready(n: usize) -> usize {
    n
}

fn ended(c: &mut Criterion) {
    let mut group = c.benchmark_group("join_next of tasks that have ended");
    for n in [1_000, 100_000] {
        limit::of(&mut group, n);
        group.bench_function(BenchmarkId::new("boucle", n), |b| {
            let l = Loop::new();
            let set = || {
                let set: TaskSet<usize> = (0..n).map(|i| l.spawn(ready(i))).collect();
                l.run();
                set
            };
            let join = |mut set: TaskSet<usize>| {
                l.block_on(async {
                    while let Some(result) = set.join_next().await {
                        black_box(result.expect("it ended"));
                    }
                });
            };
            b.iter_batched(set, join, BatchSize::PerIteration);
        });
        group.bench_function(BenchmarkId::new("limit", n), |b| {
            let outputs = || (0..n).map(Box::new).collect::<VecDeque<_>>();
            let take = |mut outputs: VecDeque<Box<usize>>| {
                while let Some(output) = outputs.pop_front() {
                    black_box(output);
                }
            };
            b.iter_batched(outputs, take, BatchSize::PerIteration);
        });
    }
}

fn one_of_many(c: &mut Criterion) {
    const N: usize = 1_000;
    let mut group = c.benchmark_group("spawn and join_next in a set");
    limit::of(&mut group, N);
    for n in [0, 1_000, 100_000] {
        group.bench_function(BenchmarkId::new("boucle", n), |b| {
            let l = Loop::new();
            let mut set: TaskSet<usize> = (0..n).map(|_| l.spawn(pending())).collect();
            l.run_until_stalled();
            b.iter(|| {
                l.block_on(async {
                    for i in 0..N {
                        set.spawn(ready(i));
                        black_box(set.join_next().await);
                    }
                });
            });
        });
    }
    group.bench_function("limit", |b| {
        b.iter(|| {
            let mut queue: VecDeque<Boxed<usize>> = VecDeque::new();
            for i in 0..N {
                queue.push_back(Box::pin(ready(i)));
                limit::round_robin(&mut queue, usize::MAX);
            }
        });
    });
}

criterion_group!(name = benches; config = limit::short(); targets = ended, one_of_many);
criterion_main!(benches);
