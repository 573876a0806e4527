//! futures: a `LocalPool`. It has no timers and no sockets.

use std::{cell::RefCell, rc::Rc};

use ::futures::{
    executor::{LocalPool, LocalSpawner},
    future::RemoteHandle,
    task::LocalSpawnExt,
};

use super::Runtime;

#[derive(Clone)]
pub(crate) struct Futures {
    pool: Rc<RefCell<LocalPool>>,
    spawner: LocalSpawner,
}

impl Runtime for Futures {
    type Joined<T> = T;
    type Handle<T: 'static> = RemoteHandle<T>;

    fn new() -> Self {
        let pool = LocalPool::new();
        Futures { spawner: pool.spawner(), pool: Rc::new(RefCell::new(pool)) }
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.pool.borrow_mut().run_until(future)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(&self, future: F) -> RemoteHandle<F::Output> {
        self.spawner.spawn_local_with_handle(future).expect("the pool is there")
    }

    fn value<T>(joined: T) -> T {
        joined
    }

    fn detach<F: Future<Output = ()> + 'static>(&self, future: F) {
        self.spawner.spawn_local(future).expect("the pool is there");
    }
}
