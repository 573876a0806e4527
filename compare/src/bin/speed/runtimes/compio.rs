//! compio: io_uring where the system has it, else polling.

use std::time::Duration;

use ::compio::{
    runtime::{self, JoinError, JoinHandle, spawn},
    time,
};

use super::{Runtime, Timers};

#[derive(Clone)]
pub(crate) struct Compio(runtime::Runtime);

impl Runtime for Compio {
    type Joined<T> = Result<T, JoinError>;
    type Handle<T: 'static> = JoinHandle<T>;

    fn new() -> Self {
        Compio(runtime::Runtime::new().expect("a runtime"))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        spawn(future)
    }

    fn value<T>(joined: Result<T, JoinError>) -> T {
        joined.expect("no task fails")
    }

    fn detach<F: Future<Output = ()> + 'static>(&self, future: F) {
        spawn(future).detach();
    }
}

impl Timers for Compio {
    fn sleep(&self, duration: Duration) -> impl Future<Output: 'static> + 'static {
        time::sleep(duration)
    }

    fn timeout<F: Future + 'static>(&self, duration: Duration, future: F) -> impl Future {
        time::timeout(duration, future)
    }
}
