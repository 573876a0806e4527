//! zruntime: a `LocalRuntime`.

use std::time::Duration;

use ::zruntime::{LocalRuntime, Task};

use super::{Runtime, Timers};

#[derive(Clone)]
pub(crate) struct Zruntime(LocalRuntime);

impl Runtime for Zruntime {
    type Joined<T> = std::io::Result<T>;
    type Handle<T: 'static> = Task<T>;

    fn new() -> Self {
        Zruntime(LocalRuntime::new().expect("a runtime"))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(&self, future: F) -> Task<F::Output> {
        self.0.spawn("a task", future)
    }

    fn value<T>(joined: std::io::Result<T>) -> T {
        joined.expect("no task fails")
    }

    fn detach<F: Future<Output = ()> + 'static>(&self, future: F) {
        self.0.spawn("a task", future).detach();
    }
}

impl Timers for Zruntime {
    fn sleep(&self, duration: Duration) -> impl Future<Output: 'static> + 'static {
        self.0.sleep(duration)
    }

    fn timeout<F: Future + 'static>(&self, duration: Duration, future: F) -> impl Future {
        self.0.timeout(duration, future)
    }
}
