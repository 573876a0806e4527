//! Futures that the workloads are made of; the limit polls the same ones by hand.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    hint::black_box,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use crate::meter::Meter;

/// Wakes itself and is ready the next time: the same for all, since some runtimes have none.
pub(crate) struct YieldNow(bool);

pub(crate) fn yield_now() -> YieldNow {
    YieldNow(false)
}

impl Future for YieldNow {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A future of 64 bytes that is ready at once.
pub(crate) async fn ready_64(data: [u64; 7]) -> u64 {
    black_box(&data)[0]
}

/// Polls once.
pub(crate) async fn glance<F: Future + ?Sized>(mut future: Pin<&mut F>) {
    poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending(), "it is not due");
        Poll::Ready(())
    })
    .await;
}

/// Lets nobody pass until it is opened.
#[derive(Default)]
pub(crate) struct Gate {
    open: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Gate {
    pub(crate) fn with_room_for(n: usize) -> Gate {
        Gate { open: Cell::new(false), waiting: RefCell::new(Vec::with_capacity(n)) }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.get()
    }

    pub(crate) fn open(&self) {
        self.open.set(true);
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    pub(crate) async fn wait(&self) {
        let mut waits = false;
        poll_fn(|cx| {
            if self.open.get() {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut waits, true) {
                self.waiting.borrow_mut().push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// Tasks that start together: the last to come starts the meter, the last to have passed stops it,
/// in whatever order they are polled.
pub(crate) struct Crowd {
    away: Cell<usize>,
    passing: Cell<usize>,
    enter: Gate,
    /// Open once all have passed.
    pub(crate) passed: Gate,
    /// Opened to let them end.
    pub(crate) leave: Gate,
    meter: Meter,
}

impl Crowd {
    pub(crate) fn new(size: usize, meter: Meter) -> Rc<Crowd> {
        Rc::new(Crowd {
            away: Cell::new(size),
            passing: Cell::new(size),
            enter: Gate::with_room_for(size),
            passed: Gate::default(),
            leave: Gate::with_room_for(size),
            meter,
        })
    }

    pub(crate) async fn member(self: Rc<Crowd>, passes: usize) {
        self.away.set(self.away.get() - 1);
        if self.away.get() == 0 {
            self.meter.start();
            self.enter.open();
        }
        self.enter.wait().await;
        for _ in 0..passes {
            yield_now().await;
        }
        self.passing.set(self.passing.get() - 1);
        if self.passing.get() == 0 {
            self.meter.stop();
            self.passed.open();
        }
        self.leave.wait().await;
    }
}

/// Who has the token, and where each leaves its waker. The first is the one who counts laps.
pub(crate) struct Ring {
    turn: Cell<usize>,
    wakers: Vec<Cell<Option<Waker>>>,
    laps: usize,
    stopped: Cell<bool>,
    /// Open once all laps are run.
    pub(crate) over: Gate,
    meter: Meter,
}

impl Ring {
    pub(crate) fn new(size: usize, laps: usize, meter: Meter) -> Rc<Ring> {
        Rc::new(Ring {
            // The last member passes it to the first, when all others wait.
            turn: Cell::new(size - 1),
            wakers: (0..size).map(|_| Cell::default()).collect(),
            laps,
            stopped: Cell::new(false),
            over: Gate::default(),
            meter,
        })
    }

    /// Waits for the token.
    async fn take(&self, me: usize) {
        poll_fn(|cx| {
            if self.turn.get() == me {
                return Poll::Ready(());
            }
            self.wakers[me].set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Gives the token to the next.
    fn pass(&self, me: usize) {
        let next = if me + 1 == self.wakers.len() { 0 } else { me + 1 };
        self.turn.set(next);
        if let Some(waker) = self.wakers[next].take() {
            waker.wake();
        }
    }

    /// One lap to warm up, then those that count.
    pub(crate) async fn member(self: Rc<Ring>, me: usize) {
        for lap in 0..self.laps + 2 {
            self.take(me).await;
            if me == 0 && lap == 1 {
                self.meter.start();
            }
            if me == 0 && lap == self.laps + 1 {
                self.meter.stop();
                self.over.open();
                return;
            }
            self.pass(me);
            if self.stopped.get() {
                return;
            }
        }
    }

    /// Lets the others end.
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        self.pass(0);
    }
}
