//! A token that goes round n tasks, each of which stores its waker and wakes the next; and a round
//! trip to another thread. Notice: a wake at home costs a few nanoseconds over a bare poll, and
//! elsewhere next to nothing over the system's own park and unpark.

// criterion's macro makes a public function without a word about it.
#![allow(missing_docs)]

mod limit;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Poll, Waker},
    thread,
};

use boucle::Loop;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use limit::Boxed;

/// Who has the token, and where each leaves its waker.
struct Ring {
    turn: Cell<usize>,
    wakers: Vec<RefCell<Option<Waker>>>,
}

impl Ring {
    fn new(n: usize) -> Rc<Ring> {
        Rc::new(Ring { turn: Cell::new(0), wakers: (0..n).map(|_| RefCell::default()).collect() })
    }

    /// Waits for the token.
    async fn take(&self, me: usize) {
        poll_fn(|cx| {
            if self.turn.get() == me {
                return Poll::Ready(());
            }
            *self.wakers[me].borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Gives the token to the next.
    fn pass(&self, me: usize) {
        let next = if me + 1 == self.wakers.len() { 0 } else { me + 1 };
        self.turn.set(next);
        let waker = self.wakers[next].borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn member(self: Rc<Ring>, me: usize) {
        loop {
            self.take(me).await;
            self.pass(me);
        }
    }
}

fn ring(c: &mut Criterion) {
    let mut group = c.benchmark_group("wake the next");
    for n in [2, 1_000, 100_000] {
        let rounds = 100_000 / n;
        limit::of(&mut group, rounds * n);
        group.bench_function(BenchmarkId::new("boucle", n), |b| {
            let (l, ring) = (Loop::new(), Ring::new(n));
            for me in 1..n {
                drop(l.spawn(ring.clone().member(me)));
            }
            l.run_until_stalled();
            b.iter(|| {
                l.block_on(async {
                    for _ in 0..rounds {
                        ring.pass(0);
                        ring.take(0).await;
                    }
                });
            });
        });
        group.bench_function(BenchmarkId::new("limit", n), |b| {
            let ring = Ring::new(n);
            let mut queue: VecDeque<Boxed<()>> = VecDeque::new();
            for me in 0..n {
                queue.push_back(Box::pin(ring.clone().member(me)));
            }
            b.iter(|| limit::round_robin(&mut queue, rounds * n));
        });
    }
}

fn elsewhere(c: &mut Criterion) {
    const ROUNDS: usize = 1_000;
    let mut group = c.benchmark_group("round trip to another thread");
    limit::of(&mut group, ROUNDS);
    group.bench_function("boucle", |b| {
        let (wakers, received) = mpsc::channel::<Waker>();
        let echo = thread::spawn(move || received.into_iter().for_each(Waker::wake));
        let l = Loop::new();
        b.iter(|| {
            l.block_on(async {
                for _ in 0..ROUNDS {
                    let mut sent = false;
                    poll_fn(|cx| {
                        if sent {
                            return Poll::Ready(());
                        }
                        sent = wakers.send(cx.waker().clone()).is_ok();
                        Poll::Pending
                    })
                    .await;
                }
            });
        });
        drop(wakers);
        echo.join().expect("it ends");
    });
    group.bench_function("limit", |b| {
        static ANSWERS: AtomicUsize = AtomicUsize::new(0);
        let (threads, received) = mpsc::channel::<thread::Thread>();
        let echo = thread::spawn(move || {
            for thread in received {
                ANSWERS.fetch_add(1, Ordering::Release);
                thread.unpark();
            }
        });
        b.iter(|| {
            for _ in 0..ROUNDS {
                let before = ANSWERS.load(Ordering::Acquire);
                threads.send(thread::current()).expect("it listens");
                while ANSWERS.load(Ordering::Acquire) == before {
                    thread::park();
                }
            }
        });
        drop(threads);
        echo.join().expect("it ends");
    });
}

criterion_group!(name = benches; config = limit::short(); targets = ring, elsewhere);
criterion_main!(benches);
