//! Two counters, read where the measured part of a workload begins and where it ends.

use std::{cell::Cell, rc::Rc};

/// Nanoseconds, or allocations and their bytes: the workloads need not know.
pub(crate) type Reading = [u64; 2];

/// Shared by the tasks of a workload: one of them starts it, maybe another stops it.
#[derive(Clone)]
pub(crate) struct Meter(Rc<Inner>);

struct Inner {
    read: fn() -> Reading,
    begun: Cell<Reading>,
    spent: Cell<Option<Reading>>,
}

impl Meter {
    pub(crate) fn new(read: fn() -> Reading) -> Meter {
        Meter(Rc::new(Inner { read, begun: Cell::default(), spent: Cell::default() }))
    }

    pub(crate) fn start(&self) {
        self.0.begun.set((self.0.read)());
    }

    pub(crate) fn stop(&self) {
        let [now, begun] = [(self.0.read)(), self.0.begun.get()];
        self.0.spent.set(Some([now[0] - begun[0], now[1] - begun[1]]));
    }

    /// What the measured part took.
    pub(crate) fn spent(&self) -> Reading {
        self.0.spent.get().expect("a workload starts and stops its meter")
    }
}
