//! boucle, as programs see it.

use std::{
    any::Any,
    cell::RefCell,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use boucle::{JoinError, JoinHandle, Loop, Scope, ScopedHandle, Status, TaskSet};

use crate::{
    runtime::{
        BoxFuture, End, Handle, Joining, Nap, Nursery, Runtime, ScopeBody, Until, Value, Waited,
        planned,
    },
    trace::Trace,
};

pub(crate) struct Real {
    /// `None` while it is dropped, and then.
    l: RefCell<Option<Rc<Loop>>>,
    start: Instant,
}

impl Real {
    pub(crate) fn new(trace: Trace) -> Real {
        let note = move |error: JoinError| {
            trace.say("nobody observes", 0, planned(&*error.into_panic()).into());
        };
        // Programs wait for each other in circles and for nobody: that is no news.
        let l = Loop::builder().virtual_time().on_unobserved(note).on_diagnostic(|_| ()).build();
        Real { start: l.now(), l: RefCell::new(Some(Rc::new(l))) }
    }

    fn l(&self) -> Rc<Loop> {
        self.l.borrow().clone().expect("it is there until it is closed")
    }

    fn since(&self, at: Instant) -> u64 {
        (at - self.start).as_millis() as u64
    }
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn name(status: Status) -> &'static str {
    match status {
        Status::New => "NEW",
        Status::Ready => "READY",
        Status::Running => "RUNNING",
        Status::Waiting => "WAITING",
        Status::Finished => "FINISHED",
        Status::Failed => "FAILED",
        Status::Cancelled => "CANCELLED",
        _ => "?",
    }
}

fn end(result: Result<Value, JoinError>) -> End<Value> {
    match result {
        Ok(value) => End::Done(value),
        Err(error) if error.is_cancelled() => End::Cancelled,
        Err(error) => End::Panicked(planned(&*error.into_panic())),
    }
}

struct Task(JoinHandle<Value>);

impl Joining for Task {
    fn cancel(&self) -> bool {
        self.0.cancel()
    }

    fn status(&self) -> &'static str {
        name(self.0.status())
    }

    fn poll_join(&mut self, cx: &mut Context<'_>) -> Poll<End<Value>> {
        Pin::new(&mut self.0).poll(cx).map(end)
    }
}

impl Handle for Task {
    fn look(&self) -> Option<End<u32>> {
        Some(match self.0.result()? {
            Ok(value) => End::Done(value.id),
            Err(error) if error.is_cancelled() => End::Cancelled,
            Err(_) => End::Panicked(0),
        })
    }

    fn canceller(&self) -> Box<dyn Fn() -> bool> {
        let canceller = self.0.canceller();
        Box::new(move || canceller.cancel())
    }

    fn bind(self: Box<Self>) -> Box<dyn Handle> {
        Box::new(Task(self.0.cancel_on_drop()))
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

struct Child<'s>(ScopedHandle<'s, Value>);

impl Joining for Child<'_> {
    fn cancel(&self) -> bool {
        self.0.cancel()
    }

    fn status(&self) -> &'static str {
        name(self.0.status())
    }

    fn poll_join(&mut self, cx: &mut Context<'_>) -> Poll<End<Value>> {
        Pin::new(&mut self.0).poll(cx).map(end)
    }
}

struct Sleep(boucle::Sleep);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Nap for Sleep {
    fn reset(&mut self, after: u64) {
        self.0.reset(boucle::now() + millis(after));
    }
}

struct Door<'s, 'env>(&'s Scope<'s, 'env>);

impl<'s> Nursery<'s> for Door<'s, '_> {
    fn spawn(&self, child: BoxFuture<'s, Value>) -> Box<dyn Joining + 's> {
        Box::new(Child(self.0.spawn(child)))
    }

    fn cancel_all(&self) {
        self.0.cancel();
    }
}

/// No async closure: that would drop the body while its output is on its way, and if the former
/// panics, Rust may forget the latter.
fn plain<'env, F>(f: F) -> F
where
    F: for<'s> FnOnce(&'s Scope<'s, 'env>) -> BoxFuture<'s, Value>,
{
    f
}

impl Runtime for Real {
    fn spawn(&self, future: BoxFuture<'static, Value>) -> Box<dyn Handle> {
        let l = self.l.borrow().clone();
        Box::new(Task(match l {
            Some(l) => l.spawn(future),
            None => boucle::spawn(future),
        }))
    }

    fn yield_now(&self) -> BoxFuture<'static, ()> {
        Box::pin(boucle::yield_now())
    }

    fn sleep(&self, after: u64) -> Box<dyn Nap> {
        Box::new(Sleep(boucle::sleep(millis(after))))
    }

    fn timeout<'a>(&self, after: u64, f: BoxFuture<'a, Value>) -> BoxFuture<'a, Option<Value>> {
        let mut timeout = boucle::timeout(millis(after), f);
        Box::pin(poll_fn(move |cx| Pin::new(&mut timeout).poll(cx).map(Result::ok)))
    }

    fn gather<'a>(&self, futures: Vec<BoxFuture<'a, Value>>) -> BoxFuture<'a, Vec<Value>> {
        Box::pin(boucle::gather(futures))
    }

    fn race<'a>(&self, futures: Vec<BoxFuture<'a, Value>>) -> BoxFuture<'a, Value> {
        Box::pin(boucle::race(futures))
    }

    fn scope(&self, body: ScopeBody) -> BoxFuture<'static, Value> {
        Box::pin(boucle::scope(plain(|s| body(Rc::new(Door(s))))))
    }

    fn wait(
        &self,
        tasks: Vec<Box<dyn Handle>>,
        until: Until,
        timeout: Option<u64>,
    ) -> BoxFuture<'static, Waited> {
        let own = |task: Box<dyn Handle>| {
            let any: Box<dyn Any> = task.into_any();
            any.downcast::<Task>().expect("a handle of boucle").0
        };
        let wait = boucle::wait(tasks.into_iter().map(own).collect::<Vec<_>>());
        let show = |task| Box::new(Task(task)) as Box<dyn Handle>;
        let list = move |set: TaskSet<Value>| set.into_iter().map(show).collect();
        let mut wait = match (until, timeout) {
            (Until::All, None) => {
                let mut wait = wait;
                return Box::pin(poll_fn(move |cx| {
                    Pin::new(&mut wait).poll(cx).map(|(done, failed)| Waited {
                        done: list(done),
                        failed: list(failed),
                        pending: Vec::new(),
                    })
                }));
            }
            (Until::All, Some(after)) => wait.timeout(millis(after)),
            (Until::FirstDone, None) => wait.first_done(),
            (Until::FirstDone, Some(after)) => wait.timeout(millis(after)).first_done(),
            (Until::FirstFailed, None) => wait.first_failed(),
            (Until::FirstFailed, Some(after)) => wait.first_failed().timeout(millis(after)),
        };
        Box::pin(poll_fn(move |cx| {
            Pin::new(&mut wait).poll(cx).map(|boucle::Waited { done, failed, pending }| {
                let pending = pending.into_iter().map(show).collect();
                Waited { done: list(done), failed: list(failed), pending }
            })
        }))
    }

    fn now(&self) -> u64 {
        self.since(self.l().now())
    }

    fn next_deadline(&self) -> Option<u64> {
        self.l().next_deadline().map(|at| self.since(at))
    }

    fn step(&self) -> bool {
        self.l().step()
    }

    fn run_until_stalled(&self) {
        self.l().run_until_stalled();
    }

    fn advance(&self, by: u64) {
        self.l().advance(millis(by));
    }

    fn block_on(&self, future: BoxFuture<'static, Value>) -> Value {
        self.l().block_on(future)
    }

    fn close(&self) {
        let l = self.l.take();
        drop(l);
    }
}
