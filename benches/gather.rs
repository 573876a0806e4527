//! n children that yield once, gathered; and one child that yields for ever among n that sleep.
//! Notice: the second does not depend on n, since only the woken child is polled.

// criterion's macro makes a public function without a word about it.
#![allow(missing_docs)]

mod limit;

use std::{
    collections::VecDeque,
    future::poll_fn,
    hint::black_box,
    pin::Pin,
    task::{Context, Poll},
};

use boucle::{Loop, gather, yield_now};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use limit::Boxed;

fn yielding(c: &mut Criterion) {
    let mut group = c.benchmark_group("gather children that yield once");
    for n in [1, 1_000, 100_000] {
        limit::of(&mut group, n);
        group.bench_function(BenchmarkId::new("boucle", n), |b| {
            let l = Loop::new();
            b.iter(|| {
                l.block_on(async {
                    black_box(gather((0..n).map(|_| yield_now()).collect::<Vec<_>>()).await);
                });
            });
        });
        group.bench_function(BenchmarkId::new("limit", n), |b| {
            b.iter(|| {
                let mut queue: VecDeque<Boxed<()>> = VecDeque::new();
                for _ in 0..n {
                    queue.push_back(Box::pin(yield_now()));
                }
                limit::round_robin(&mut queue, usize::MAX);
            });
        });
    }
}

/// Never done; a busy one wakes itself.
struct Child {
    busy: bool,
}

impl Future for Child {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.busy {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

fn one_of_many(c: &mut Criterion) {
    const N: usize = 1_000;
    let mut group = c.benchmark_group("poll one child of many");
    limit::of(&mut group, N);
    for n in [1, 1_000, 100_000] {
        group.bench_function(BenchmarkId::new("boucle", n), |b| {
            let l = Loop::new();
            let children: Vec<_> = (0..n).map(|i| Child { busy: i == 0 }).collect();
            let mut all = Box::pin(gather(children));
            let mut polls = |times: usize| {
                let mut left = times;
                l.block_on(poll_fn(|cx| {
                    let _ = all.as_mut().poll(cx);
                    left -= 1;
                    if left == 0 { Poll::Ready(()) } else { Poll::Pending }
                }));
            };
            // Before a poll finds nothing but the busy child, all must have been polled once.
            polls(n / 64 + 2);
            b.iter(|| polls(N));
        });
    }
    group.bench_function("limit", |b| {
        let mut queue: VecDeque<Boxed<()>> = VecDeque::from([Box::pin(Child { busy: true }) as _]);
        b.iter(|| limit::round_robin(&mut queue, N));
    });
}

criterion_group!(name = benches; config = limit::short(); targets = yielding, one_of_many);
criterion_main!(benches);
