//! Locks and messages beside what they are made of: a borrow of a `RefCell`, a `VecDeque`. Notice:
//! what nobody waits for costs a few nanoseconds, and with a channel most of the rest is the tasks'.

// criterion's macro makes a public function without a word about it.
#![allow(missing_docs)]

mod limit;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    hint::black_box,
    rc::Rc,
};

use boucle::{
    Loop, spawn,
    sync::{Mutex, Semaphore, channel, oneshot},
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const OPS: usize = 10_000;

/// Locks that nobody else wants.
fn alone(c: &mut Criterion) {
    let mut group = c.benchmark_group("lock what nobody has");
    limit::of(&mut group, OPS);
    group.bench_function("mutex", |b| {
        let (l, mutex) = (Loop::new(), Mutex::new(0));
        b.iter(|| {
            l.block_on(async {
                for _ in 0..OPS {
                    *black_box(&mutex).lock().await += 1;
                }
            });
        });
    });
    group.bench_function("semaphore", |b| {
        let (l, semaphore, count) = (Loop::new(), Semaphore::new(2), Cell::new(0));
        b.iter(|| {
            l.block_on(async {
                for _ in 0..OPS {
                    let _permit = black_box(&semaphore).acquire().await;
                    count.set(count.get() + 1);
                }
            });
        });
    });
    group.bench_function("limit", |b| {
        let cell = RefCell::new(0);
        b.iter(|| {
            for _ in 0..OPS {
                *black_box(&cell).borrow_mut() += 1;
            }
        });
    });
}

/// A lock that goes round tasks that all want it: each unlock wakes the next.
fn contended(c: &mut Criterion) {
    const TASKS: usize = 100;
    let mut group = c.benchmark_group("lock what others wait for");
    limit::of(&mut group, OPS);
    group.bench_function("mutex", |b| {
        let l = Loop::new();
        b.iter(|| {
            l.block_on(async {
                let mutex = Rc::new(Mutex::new(0));
                let first = mutex.lock().await;
                let tasks: Vec<_> = (0..TASKS)
                    .map(|_| {
                        let mutex = mutex.clone();
                        spawn(async move {
                            for _ in 0..OPS / TASKS {
                                *mutex.lock().await += 1;
                            }
                        })
                    })
                    .collect();
                boucle::yield_now().await;
                drop(first);
                for task in tasks {
                    task.await.expect("it counts");
                }
            });
        });
    });
}

fn messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("a message from task to task");
    limit::of(&mut group, OPS);
    for bound in [1, 16, 1_000] {
        group.bench_function(BenchmarkId::new("channel", bound), |b| {
            let l = Loop::new();
            b.iter(|| {
                l.block_on(async {
                    let (tx, rx) = channel(bound);
                    let sender = spawn(async move {
                        for i in 0..OPS {
                            tx.send(i).await.expect("it listens");
                        }
                    });
                    while let Ok(i) = rx.recv().await {
                        black_box(i);
                    }
                    sender.await.expect("it sends");
                });
            });
        });
        group.bench_function(BenchmarkId::new("limit", bound), |b| {
            let queue = RefCell::new(VecDeque::new());
            b.iter(|| {
                for _ in 0..OPS / bound {
                    for i in 0..bound {
                        black_box(&queue).borrow_mut().push_back(i);
                    }
                    for _ in 0..bound {
                        black_box(black_box(&queue).borrow_mut().pop_front());
                    }
                }
            });
        });
    }
    group.bench_function("oneshot", |b| {
        let l = Loop::new();
        b.iter(|| {
            l.block_on(async {
                for i in 0..OPS {
                    let (tx, rx) = oneshot();
                    tx.send(black_box(i)).expect("it listens");
                    black_box(rx.await).expect("it was sent");
                }
            });
        });
    });
    group.bench_function("oneshot limit", |b| {
        b.iter(|| {
            for i in 0..OPS {
                let cell = Rc::new(Cell::new(None));
                let other = black_box(cell.clone());
                other.set(Some(i));
                black_box(cell.take());
            }
        });
    });
}

criterion_group!(
    name = benches; config = limit::short(); targets = alone, contended, messages
);
criterion_main!(benches);
