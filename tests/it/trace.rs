//! What the tests share: a log to compare, a simulated loop, panics as sentences.

use std::{
    any::Any,
    cell::RefCell,
    fmt::Display,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Wake, Waker},
    time::Duration,
};

use boucle::Loop;

/// What happened, in order; clones write to the same log.
#[derive(Clone, Default)]
pub(crate) struct Trace(Rc<RefCell<Vec<String>>>);

impl Trace {
    pub(crate) fn say(&self, what: impl Display) {
        self.0.borrow_mut().push(what.to_string());
    }

    /// How much was said since the last look.
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// What was said since the last look, in one line.
    pub(crate) fn take(&self) -> String {
        self.0.take().join(" ")
    }
}

/// Says something when it is dropped.
pub(crate) struct Last(pub(crate) Trace, pub(crate) &'static str);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.say(self.1);
    }
}

pub(crate) fn simulated() -> Loop {
    Loop::builder().virtual_time().build()
}

pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The message of the panic that `f` must end with.
#[track_caller]
pub(crate) fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("this should have panicked"),
        Err(payload) => sentence(&*payload),
    }
}

pub(crate) fn sentence(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// The waker of whoever awaits this.
pub(crate) async fn my_waker() -> Waker {
    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
}

/// A waker of no executor, which counts.
#[derive(Default)]
pub(crate) struct Count(AtomicUsize);

impl Count {
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn waker() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), Waker::from(count))
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.add();
    }
}
