//! tokio: a `LocalRuntime`, all of its drivers on.

use std::{rc::Rc, time::Duration};

use ::tokio::{
    runtime::{Builder, LocalOptions, LocalRuntime},
    task::{JoinError, JoinHandle, spawn_local},
    time,
};

use super::{Runtime, Timers};

#[derive(Clone)]
pub(crate) struct Tokio(Rc<LocalRuntime>);

impl Runtime for Tokio {
    type Joined<T> = Result<T, JoinError>;
    type Handle<T: 'static> = JoinHandle<T>;

    fn new() -> Self {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().build_local(LocalOptions::default());
        Tokio(Rc::new(runtime.expect("a runtime")))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        spawn_local(future)
    }

    fn value<T>(joined: Result<T, JoinError>) -> T {
        joined.expect("no task fails")
    }

    fn detach<F: Future<Output = ()> + 'static>(&self, future: F) {
        drop(spawn_local(future));
    }
}

impl Timers for Tokio {
    fn sleep(&self, duration: Duration) -> impl Future<Output: 'static> + 'static {
        time::sleep(duration)
    }

    fn timeout<F: Future + 'static>(&self, duration: Duration, future: F) -> impl Future {
        time::timeout(duration, future)
    }
}
