//! Futures that are polled inside of others: gather, race, wait.

use std::{
    panic::resume_unwind,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use super::{Core, Plant, STRIDE, hub::Key, sleep::Sleep, task::Join};
use crate::runtime::{BoxFuture, Handle, Payload, Until, Value, Waited, catch};

/// What came of polling a child.
#[derive(PartialEq)]
enum Child {
    Pending,
    Done,
    /// Nobody is polled again.
    Last,
}

/// Which children are ready: at first all, then those that were woken.
struct Nest {
    core: Rc<Core>,
    key: Option<Key>,
    len: u64,
    fresh: u64,
}

impl Nest {
    fn new(core: &Rc<Core>, len: usize) -> Nest {
        Nest { core: core.clone(), key: None, len: len as u64, fresh: 0 }
    }

    fn leave(&mut self) {
        if let Some(key) = self.key.take() {
            self.core.hub.remove(key);
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut child: impl FnMut(usize, &mut Context<'_>) -> Child,
    ) {
        if self.len == 0 {
            return;
        }
        if self.len == 1 {
            // As if it were awaited itself.
            child(0, cx);
            return;
        }
        let (core, hub) = (self.core.clone(), &self.core.hub);
        let key = *self.key.get_or_insert_with(|| hub.add_nest(self.len as usize));
        let until = hub.begin(key, cx.waker());
        let mut budget = core.begin();
        let mut left = self.fresh < self.len || until.is_some();
        while left && (budget > 0 || core.is(Plant::GreedyGather)) {
            let (place, wanted) = if self.fresh < self.len {
                self.fresh += 1;
                (self.fresh - 1, true)
            } else {
                hub.pop_place(key).expect("the last one is in the list")
            };
            left = self.fresh < self.len || until.is_some_and(|until| until != place);
            if !wanted {
                continue;
            }
            let waker = hub.waker(key, place);
            let polled =
                core.spend(budget, || child(place as usize, &mut Context::from_waker(&waker)));
            let (became, left_over) = match polled {
                Ok(polled) => polled,
                Err(payload) => {
                    hub.set_polling(key, false);
                    resume_unwind(payload);
                }
            };
            match became {
                Child::Pending => {}
                Child::Done => hub.retire(key, place),
                Child::Last => {
                    hub.set_polling(key, false);
                    return;
                }
            }
            budget = left_over;
        }
        hub.set_polling(key, false);
    }

    /// Whoever polls is to wait: if some are ready already, he is woken.
    fn wait(&self, cx: &mut Context<'_>) {
        let Some(key) = self.key else { return };
        if self.fresh < self.len || self.core.hub.has_woken(key) {
            cx.waker().wake_by_ref();
        }
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Core {
    /// How many children may be polled now: children of children share what is left.
    pub(super) fn begin(&self) -> u32 {
        if self.inner.get() { self.budget.get().max(1) } else { STRIDE }
    }

    /// Polls a child, which counts as a poll of the loop; gives what is left of the budget.
    pub(super) fn spend<R>(&self, budget: u32, f: impl FnOnce() -> R) -> Result<(R, u32), Payload> {
        self.budget.set(budget.saturating_sub(1));
        self.countdown.set(self.countdown.get() - 1);
        let outer = self.inner.replace(true);
        let result = catch(f);
        self.inner.set(outer);
        Ok((result?, self.budget.get()))
    }
}

/// A future, then its output, then nothing.
enum Stage<'a> {
    Future(BoxFuture<'a, Value>),
    Output(Option<Value>),
}

impl Stage<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let Stage::Future(future) = self else { return false };
        let Poll::Ready(value) = future.as_mut().poll(cx) else { return false };
        *self = Stage::Output(Some(value));
        true
    }

    fn take(&mut self) -> Value {
        let Stage::Output(value) = self else { unreachable!("it is done") };
        value.take().expect("taken once")
    }
}

/// Drops all, whichever of them panic.
fn clear(children: &mut [Stage<'_>]) -> Result<(), Payload> {
    let mut first = Ok(());
    for child in children {
        let dropped = catch(|| *child = Stage::Output(None));
        first = first.and(dropped);
    }
    first
}

pub(super) struct Gather<'a> {
    children: Vec<Stage<'a>>,
    nest: Nest,
    left: usize,
}

impl<'a> Gather<'a> {
    pub(super) fn new(core: &Rc<Core>, futures: Vec<BoxFuture<'a, Value>>) -> Gather<'a> {
        let left = futures.len();
        let children = futures.into_iter().map(Stage::Future).collect();
        Gather { children, nest: Nest::new(core, left), left }
    }
}

impl Future for Gather<'_> {
    type Output = Vec<Value>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Vec<Value>> {
        let Gather { children, nest, left } = &mut *self;
        let polled = catch(|| {
            nest.poll(cx, |place, cx| {
                if !children[place].poll(cx) {
                    return Child::Pending;
                }
                *left -= 1;
                Child::Done
            });
            if *left > 0 {
                nest.wait(cx);
            }
        });
        if let Err(payload) = polled {
            let _second = clear(children);
            resume_unwind(payload);
        }
        if *left > 0 {
            return Poll::Pending;
        }
        Poll::Ready(children.iter_mut().map(Stage::take).collect())
    }
}

pub(super) struct Race<'a> {
    children: Vec<Stage<'a>>,
    nest: Nest,
}

impl<'a> Race<'a> {
    pub(super) fn new(core: &Rc<Core>, futures: Vec<BoxFuture<'a, Value>>) -> Race<'a> {
        let nest = Nest::new(core, futures.len());
        Race { children: futures.into_iter().map(Stage::Future).collect(), nest }
    }
}

impl Future for Race<'_> {
    type Output = Value;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Value> {
        let Race { children, nest } = &mut *self;
        let mut winner = None;
        let polled = catch(|| {
            nest.poll(cx, |place, cx| {
                if !children[place].poll(cx) {
                    return Child::Pending;
                }
                winner = Some(children[place].take());
                Child::Last
            });
            if winner.is_none() {
                nest.wait(cx);
            }
        });
        if let Err(payload) = polled {
            let _second = clear(children);
            resume_unwind(payload);
        }
        let Some(winner) = winner else { return Poll::Pending };
        nest.leave();
        if let Err(payload) = clear(children) {
            let _ = catch(|| drop(winner));
            resume_unwind(payload);
        }
        Poll::Ready(winner)
    }
}

pub(super) struct Wait {
    tasks: Vec<Join>,
    nest: Nest,
    /// Whether each was seen to have ended; empty before the first poll.
    seen: Vec<bool>,
    until: Until,
    timer: Option<Sleep>,
    overdue: bool,
}

impl Wait {
    pub(super) fn new(
        core: &Rc<Core>,
        tasks: Vec<Join>,
        until: Until,
        timer: Option<Sleep>,
    ) -> Wait {
        let nest = Nest::new(core, tasks.len());
        Wait { tasks, nest, seen: Vec::new(), until, timer, overdue: false }
    }

    fn is_enough(&self) -> bool {
        let mut ended = self.tasks.iter().zip(&self.seen).filter(|(_, seen)| **seen);
        ended.clone().count() == self.tasks.len()
            || match self.until {
                Until::All => false,
                Until::FirstDone => ended.next().is_some(),
                Until::FirstFailed => ended.any(|(task, _)| task.task().status() != "FINISHED"),
            }
    }

    fn look(&mut self, cx: &mut Context<'_>) -> bool {
        if self.seen.is_empty() {
            self.seen = self.tasks.iter().map(|task| task.task().has_ended()).collect();
        }
        if !self.is_enough() {
            let Wait { tasks, nest, seen, .. } = self;
            nest.poll(cx, |place, cx| {
                seen[place] |= tasks[place].watch(cx);
                if seen[place] { Child::Done } else { Child::Pending }
            });
            if !self.is_enough() {
                self.nest.wait(cx);
            }
        }
        self.is_enough()
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if let (false, Some(timer)) = (self.overdue, &mut self.timer) {
            if Pin::new(timer).poll(cx).is_ready() {
                // One more turn, for those that end in this very moment.
                self.overdue = true;
                cx.waker().wake_by_ref();
            }
            return false;
        }
        self.overdue
    }
}

impl Future for Wait {
    type Output = Waited;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Waited> {
        if !self.look(cx) && !self.is_late(cx) {
            return Poll::Pending;
        }
        let (mut done, mut failed, mut pending) = (Vec::new(), Vec::new(), Vec::new());
        for task in std::mem::take(&mut self.tasks) {
            let list = match task.task().status() {
                "FINISHED" => &mut done,
                _ if task.task().has_ended() => &mut failed,
                _ => &mut pending,
            };
            list.push(Box::new(task) as Box<dyn Handle>);
        }
        Poll::Ready(Waited { done, failed, pending })
    }
}
