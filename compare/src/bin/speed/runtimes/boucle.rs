//! boucle: a `Loop`, `boucle::spawn`, `boucle::sleep` and `boucle::timeout`.

use std::{rc::Rc, time::Duration};

use ::boucle::{JoinError, JoinHandle, Loop};

use super::{Runtime, Timers};

#[derive(Clone)]
pub(crate) struct Boucle(Rc<Loop>);

impl Runtime for Boucle {
    type Joined<T> = Result<T, JoinError>;
    type Handle<T: 'static> = JoinHandle<T>;

    fn new() -> Self {
        Boucle(Rc::new(Loop::new()))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        ::boucle::spawn(future)
    }

    fn value<T>(joined: Result<T, JoinError>) -> T {
        joined.expect("no task fails")
    }

    fn detach<F: Future<Output = ()> + 'static>(&self, future: F) {
        drop(::boucle::spawn(future));
    }
}

impl Timers for Boucle {
    fn sleep(&self, duration: Duration) -> impl Future<Output: 'static> + 'static {
        ::boucle::sleep(duration)
    }

    fn timeout<F: Future + 'static>(&self, duration: Duration, future: F) -> impl Future {
        ::boucle::timeout(duration, future)
    }
}
