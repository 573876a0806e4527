//! monoio: io_uring where the system has it, else its epoll; with timers.

use std::{cell::RefCell, rc::Rc, time::Duration};

use ::monoio::{
    FusionDriver, FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder, spawn,
    task::JoinHandle,
    time::{self, TimeDriver},
};

use super::{Runtime, Timers};

type Either = FusionRuntime<TimeDriver<IoUringDriver>, TimeDriver<LegacyDriver>>;

#[derive(Clone)]
pub(crate) struct Monoio(Rc<RefCell<Either>>);

impl Runtime for Monoio {
    type Joined<T> = T;
    type Handle<T: 'static> = JoinHandle<T>;

    fn new() -> Self {
        let runtime = RuntimeBuilder::<FusionDriver>::new().enable_timer().build();
        Monoio(Rc::new(RefCell::new(runtime.expect("a runtime"))))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.borrow_mut().block_on(future)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        spawn(future)
    }

    fn value<T>(joined: T) -> T {
        joined
    }

    fn detach<F: Future<Output = ()> + 'static>(&self, future: F) {
        drop(spawn(future));
    }
}

impl Timers for Monoio {
    fn sleep(&self, duration: Duration) -> impl Future<Output: 'static> + 'static {
        time::sleep(duration)
    }

    fn timeout<F: Future + 'static>(&self, duration: Duration, future: F) -> impl Future {
        time::timeout(duration, future)
    }
}
