//! One poll of a task that wakes itself, among n that do the same. Notice: no growth from 1 task
//! to 1000; at 100 000 both sides wait for memory.

// criterion's macro makes a public function without a word about it.
#![allow(missing_docs)]

mod limit;

use std::collections::VecDeque;

use boucle::{Loop, yield_now};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use limit::Boxed;

async fn for_ever() {
    loop {
        yield_now().await;
    }
}

fn yields(c: &mut Criterion) {
    let mut group = c.benchmark_group("yield");
    for n in [1, 1_000, 100_000] {
        let rounds = 100_000 / n;
        limit::of(&mut group, rounds * n);
        group.bench_function(BenchmarkId::new("boucle", n), |b| {
            let l = Loop::new();
            // The root is one of the n: each of its turns is one of theirs.
            for _ in 1..n {
                drop(l.spawn(for_ever()));
            }
            b.iter(|| {
                l.block_on(async {
                    for _ in 0..rounds {
                        yield_now().await;
                    }
                });
            });
        });
        group.bench_function(BenchmarkId::new("limit", n), |b| {
            let mut queue: VecDeque<Boxed<()>> = VecDeque::new();
            for _ in 0..n {
                queue.push_back(Box::pin(for_ever()));
            }
            b.iter(|| limit::round_robin(&mut queue, rounds * n));
        });
    }
}

criterion_group!(name = benches; config = limit::short(); targets = yields);
criterion_main!(benches);
