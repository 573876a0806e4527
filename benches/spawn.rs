//! Spawning n tasks with 64 bytes of future and awaiting them all. Notice: one allocation each,
//! as for the limit, so the two grow alike.

// criterion's macro makes a public function without a word about it.
#![allow(missing_docs)]

mod limit;

use std::{collections::VecDeque, hint::black_box};

use boucle::Loop;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use limit::Boxed;

/// A future of 64 bytes that is ready at once.
async fn ready_64(data: [u64; 7]) -> u64 {
    black_box(&data)[0]
}

fn join_all(c: &mut Criterion) {
    let mut group = c.benchmark_group("spawn and join all");
    for n in [1, 1_000, 100_000] {
        limit::of(&mut group, n as usize);
        group.bench_function(BenchmarkId::new("boucle", n), |b| {
            let l = Loop::new();
            b.iter(|| {
                let tasks: Vec<_> = (0..n).map(|i| l.spawn(ready_64([i; 7]))).collect();
                l.block_on(async {
                    for task in tasks {
                        black_box(task.await.expect("it ends"));
                    }
                });
            });
        });
        group.bench_function(BenchmarkId::new("limit", n), |b| {
            b.iter(|| {
                let mut tasks: VecDeque<Boxed<u64>> = VecDeque::new();
                for i in 0..n {
                    tasks.push_back(black_box(Box::pin(ready_64([i; 7]))));
                }
                limit::round_robin(&mut tasks, usize::MAX);
            });
        });
    }
}

fn one_by_one(c: &mut Criterion) {
    const N: u64 = 1_000;
    let mut group = c.benchmark_group("spawn and await, one by one");
    limit::of(&mut group, N as usize);
    group.bench_function("boucle", |b| {
        let l = Loop::new();
        b.iter(|| {
            l.block_on(async {
                for i in 0..N {
                    black_box(boucle::spawn(ready_64([i; 7])).await.expect("it ends"));
                }
            });
        });
    });
    group.bench_function("limit", |b| {
        let mut one: VecDeque<Boxed<u64>> = VecDeque::new();
        b.iter(|| {
            for i in 0..N {
                one.push_back(black_box(Box::pin(ready_64([i; 7]))));
                limit::round_robin(&mut one, 1);
            }
        });
    });
}

criterion_group!(name = benches; config = limit::short(); targets = one_by_one, join_all);
criterion_main!(benches);
