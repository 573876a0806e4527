//! smol on one thread: its `LocalExecutor`, driven by async-io, whose timers it has. It has no
//! timeout, but a race with a timer.

use std::{rc::Rc, time::Duration};

use async_executor::{LocalExecutor, Task};
use async_io::Timer;
use futures_lite::FutureExt;

use super::{Runtime, Timers};

#[derive(Clone)]
pub(crate) struct Smol(Rc<LocalExecutor<'static>>);

impl Runtime for Smol {
    type Joined<T> = T;
    type Handle<T: 'static> = Task<T>;

    fn new() -> Self {
        Smol(Rc::new(LocalExecutor::new()))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        async_io::block_on(self.0.run(future))
    }

    fn spawn<F: Future<Output: 'static> + 'static>(&self, future: F) -> Task<F::Output> {
        self.0.spawn(future)
    }

    fn value<T>(joined: T) -> T {
        joined
    }

    fn detach<F: Future<Output = ()> + 'static>(&self, future: F) {
        self.0.spawn(future).detach();
    }
}

impl Timers for Smol {
    fn sleep(&self, duration: Duration) -> impl Future<Output: 'static> + 'static {
        Timer::after(duration)
    }

    fn timeout<F: Future + 'static>(&self, duration: Duration, future: F) -> impl Future {
        async { Some(future.await) }.or(async move {
            Timer::after(duration).await;
            None
        })
    }
}
