//! How many members of a set run at once; the others queue.

use std::{cell::Cell, panic::Location, rc::Rc};

use crate::{
    guard::OnDrop,
    queue::{Place, ResourceKind, WaitQueue},
    wakee::Wakee,
};

pub(super) struct Gate {
    limit: Cell<usize>,
    running: Cell<usize>,
    /// Nobody is let in, since all are being cancelled.
    shut: Cell<bool>,
    queue: WaitQueue,
}

/// What a member has to do with the gate of its set.
#[derive(Default)]
pub(super) enum Turn {
    /// There is no gate.
    #[default]
    Free,
    /// It counts as running.
    Running,
    /// It has joined the queue, and may have been let in meanwhile.
    Queued(Place),
}

impl Gate {
    #[track_caller]
    pub(super) fn new(limit: usize) -> Rc<Gate> {
        Rc::new(Gate {
            limit: Cell::new(limit),
            running: Cell::new(0),
            shut: Cell::new(false),
            queue: WaitQueue::new(ResourceKind::Turn, Location::caller()),
        })
    }

    /// A gate like this one, with nobody there.
    pub(super) fn another(&self) -> Rc<Gate> {
        Gate::new(self.limit.get())
    }

    /// For a member that runs already, whatever the limit.
    pub(super) fn count(&self) -> Turn {
        self.running.set(self.running.get() + 1);
        Turn::Running
    }

    /// For a member that starts when it is woken; [`Gate::admit`] comes next.
    pub(super) fn queue(&self, wakee: Wakee) -> Turn {
        Turn::Queued(self.queue.enter(wakee))
    }

    /// Lets in whom the limit allows, in order. May ring a host's bell, which is foreign code.
    pub(super) fn admit(&self) {
        while !self.shut.get() && self.running.get() < self.limit.get() {
            let Some(wakee) = self.queue.take_first() else { return };
            self.running.set(self.running.get() + 1);
            wakee.wake();
        }
    }

    /// A member has ended. One that was still in the queue leaves it.
    pub(super) fn ended(&self, turn: Turn) {
        let ran = match turn {
            Turn::Free => false,
            Turn::Running => true,
            Turn::Queued(place) => self.queue.leave(place),
        };
        if ran {
            self.running.set(self.running.get() - 1);
            self.admit();
        }
    }

    /// Nobody will say of a member when it ends, and nobody is left to be let in.
    pub(super) fn lose(&self, turn: Turn) {
        if let Turn::Queued(place) = turn {
            let _ = self.queue.leave(place);
        }
    }

    /// From now on there is no limit.
    pub(super) fn open(&self) {
        self.limit.set(usize::MAX);
        self.admit();
    }

    /// Lets nobody in until the guard is dropped.
    pub(super) fn shut(&self) -> OnDrop<impl FnMut()> {
        let outer = self.shut.replace(true);
        OnDrop(move || {
            self.shut.set(outer);
            self.admit();
        })
    }
}
