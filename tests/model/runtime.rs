//! What a program needs of an executor: one face for boucle and for the model.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// What futures give. Its drop is part of the trace.
pub(crate) struct Value {
    pub(crate) id: u32,
    last: Option<Box<dyn FnOnce()>>,
}

impl Value {
    /// `last` is called when the value is dropped.
    pub(crate) fn new(id: u32, last: impl FnOnce() + 'static) -> Value {
        Value { id, last: Some(Box::new(last)) }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        if let Some(last) = self.last.take() {
            last();
        }
    }
}

/// How a task has ended.
pub(crate) enum End<T> {
    Done(T),
    Cancelled,
    Panicked(u32),
}

/// The payload of a panic that a program asks for.
struct Planned(u32);

/// Panics without the panic hook, so that nothing is printed.
pub(crate) fn panic_as_planned(id: u32) -> ! {
    resume_unwind(Box::new(Planned(id)))
}

/// Which planned panic this is; the last number of all for any other.
pub(crate) fn planned(payload: &(dyn Any + Send)) -> u32 {
    payload.downcast_ref::<Planned>().map_or(u32::MAX, |planned| planned.0)
}

pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(f))
}

/// The handle of a task, or of a child of a scope.
pub(crate) trait Joining {
    fn cancel(&self) -> bool;
    fn status(&self) -> &'static str;
    fn poll_join(&mut self, cx: &mut Context<'_>) -> Poll<End<Value>>;
}

/// The handle of a task.
pub(crate) trait Handle: Joining {
    /// How it has ended: the number of its output, or of nothing.
    fn look(&self) -> Option<End<u32>>;
    fn canceller(&self) -> Box<dyn Fn() -> bool>;
    fn bind(self: Box<Self>) -> Box<dyn Handle>;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// A sleep that can be reset.
pub(crate) trait Nap: Future<Output = ()> + Unpin {
    /// Gives it another deadline, in milliseconds from now.
    fn reset(&mut self, after: u64);
}

/// Where the children of a scope are spawned.
pub(crate) trait Nursery<'s> {
    fn spawn(&self, child: BoxFuture<'s, Value>) -> Box<dyn Joining + 's>;
    fn cancel_all(&self);
}

pub(crate) type ScopeBody =
    Box<dyn for<'s> FnOnce(Rc<dyn Nursery<'s> + 's>) -> BoxFuture<'s, Value>>;

/// When a wait has waited enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Until {
    All,
    FirstDone,
    FirstFailed,
}

/// What a wait gives, in the order given.
pub(crate) struct Waited {
    pub(crate) done: Vec<Box<dyn Handle>>,
    pub(crate) failed: Vec<Box<dyn Handle>>,
    pub(crate) pending: Vec<Box<dyn Handle>>,
}

/// An executor in virtual time, whose unit here is a millisecond.
pub(crate) trait Runtime {
    fn spawn(&self, future: BoxFuture<'static, Value>) -> Box<dyn Handle>;
    fn yield_now(&self) -> BoxFuture<'static, ()>;
    fn sleep(&self, after: u64) -> Box<dyn Nap>;
    fn timeout<'a>(&self, after: u64, f: BoxFuture<'a, Value>) -> BoxFuture<'a, Option<Value>>;
    fn gather<'a>(&self, futures: Vec<BoxFuture<'a, Value>>) -> BoxFuture<'a, Vec<Value>>;
    fn race<'a>(&self, futures: Vec<BoxFuture<'a, Value>>) -> BoxFuture<'a, Value>;
    fn scope(&self, body: ScopeBody) -> BoxFuture<'static, Value>;
    fn wait(
        &self,
        tasks: Vec<Box<dyn Handle>>,
        until: Until,
        timeout: Option<u64>,
    ) -> BoxFuture<'static, Waited>;

    /// The time since the beginning.
    fn now(&self) -> u64;
    fn next_deadline(&self) -> Option<u64>;
    fn step(&self) -> bool;
    fn run_until_stalled(&self);
    fn advance(&self, by: u64);
    /// Panics with what the future panics with.
    fn block_on(&self, future: BoxFuture<'static, Value>) -> Value;
    /// Drops every task, and the loop.
    fn close(&self);
}

/// Wakes on another thread, which has ended when this returns.
pub(crate) fn wake_elsewhere(waker: Waker) {
    let woken = std::thread::spawn(move || waker.wake()).join();
    assert!(woken.is_ok(), "a wake has panicked");
}
