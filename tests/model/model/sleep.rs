//! Timers: a sorted map of deadlines.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use super::{Core, Plant};
use crate::runtime::{BoxFuture, Nap, Value};

pub(super) struct Sleep {
    core: Rc<Core>,
    deadline: u64,
    born: i64,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// It had passed when it was made: one turn is let pass.
    Due,
    New,
    Armed,
    Done,
}

impl Sleep {
    pub(super) fn new(core: &Rc<Core>, after: u64) -> Sleep {
        let stage = if after == 0 { Stage::Due } else { Stage::New };
        let deadline = core.now.get() + after;
        Sleep { core: core.clone(), deadline, born: core.next_born(), stage }
    }

    fn key(&self) -> (u64, i64) {
        (self.deadline, self.born)
    }

    fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    fn disarm(&mut self) {
        if self.stage == Stage::Armed {
            self.stage = Stage::Done;
            self.core.timers.borrow_mut().remove(&self.key());
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let key = self.key();
        let core = self.core.clone();
        let mut timers = core.timers.borrow_mut();
        match self.stage {
            Stage::Due => {
                self.stage = Stage::Done;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Stage::New => self.stage = Stage::Armed,
            Stage::Armed if timers.contains_key(&key) => {}
            Stage::Armed | Stage::Done => {
                self.stage = Stage::Done;
                return Poll::Ready(());
            }
        }
        timers.insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Nap for Sleep {
    fn reset(&mut self, after: u64) {
        let waker = match self.stage {
            Stage::Armed => self.core.timers.borrow_mut().remove(&self.key()),
            _ => None,
        };
        self.deadline = self.core.now.get() + after;
        self.born = self.core.next_born();
        self.stage = match waker {
            // Whoever waits for it goes on waiting.
            Some(waker) => {
                self.core.timers.borrow_mut().insert(self.key(), waker);
                Stage::Armed
            }
            None if after == 0 => Stage::Due,
            None => Stage::New,
        };
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// The future is asked first, then the clock.
pub(super) struct Timeout<'a> {
    future: BoxFuture<'a, Value>,
    sleep: Sleep,
}

impl<'a> Timeout<'a> {
    pub(super) fn new(future: BoxFuture<'a, Value>, sleep: Sleep) -> Timeout<'a> {
        Timeout { future, sleep }
    }
}

impl Future for Timeout<'_> {
    type Output = Option<Value>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Value>> {
        let armed = self.sleep.stage == Stage::Armed;
        let clock_first = armed && self.sleep.core.is(Plant::ClockFirst);
        if clock_first && Pin::new(&mut self.sleep).poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        // No time at all is one poll, and then a pause.
        if !self.sleep.is_done() {
            if let Poll::Ready(value) = self.future.as_mut().poll(cx) {
                self.sleep.disarm();
                return Poll::Ready(Some(value));
            }
        }
        Pin::new(&mut self.sleep).poll(cx).map(|()| None)
    }
}
