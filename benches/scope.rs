//! A scope of n children that borrow and yield once. Notice: a child costs about what a task does.

// criterion's macro makes a public function without a word about it.
#![allow(missing_docs)]

mod limit;

use std::{cell::Cell, collections::VecDeque, hint::black_box};

use boucle::{Loop, scope, yield_now};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use limit::Boxed;

async fn count(done: &Cell<usize>) {
    yield_now().await;
    done.set(done.get() + 1);
}

fn yielding(c: &mut Criterion) {
    let mut group = c.benchmark_group("scope of children that yield once");
    for n in [1, 1_000, 100_000] {
        limit::of(&mut group, n);
        group.bench_function(BenchmarkId::new("boucle", n), |b| {
            let l = Loop::new();
            b.iter(|| {
                let done = Cell::new(0);
                l.block_on(scope(async |s| {
                    for _ in 0..n {
                        drop(s.spawn(count(&done)));
                    }
                }));
                assert_eq!(black_box(done).get(), n);
            });
        });
        group.bench_function(BenchmarkId::new("limit", n), |b| {
            b.iter(|| {
                let done = Cell::new(0);
                let mut queue: VecDeque<Boxed<()>> = VecDeque::new();
                for _ in 0..n {
                    // The limit's futures do not borrow: its queue is of `'static` ones.
                    queue.push_back(Box::pin(yield_now()));
                    done.set(done.get() + 1);
                }
                limit::round_robin(&mut queue, usize::MAX);
                black_box(&done);
            });
        });
    }
}

criterion_group!(name = benches; config = limit::short(); targets = yielding);
criterion_main!(benches);
