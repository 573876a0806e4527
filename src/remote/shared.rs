//! What a remote task and its handle share.

use std::{
    panic::Location,
    task::{Context, Waker},
};

use crate::{
    facade::{AtomicUsize, Mutex, Ordering},
    home::Hold,
    task::{Cause, Id, JoinError},
};

/// One end is the task's, one the handle's. Nothing foreign is called or dropped under the lock.
pub(super) struct Shared<T> {
    pub(super) name: &'static str,
    pub(super) place: &'static Location<'static>,
    /// Whether the task is to end. Written under the lock, read without it at each poll.
    pub(super) cancelled: AtomicUsize,
    pub(super) state: Mutex<State<T>>,
}

pub(super) struct State<T> {
    pub(super) outcome: Outcome<T>,
    /// The task's number, once it has begun.
    pub(super) id: Option<Id>,
    /// Who awaits the handle.
    pub(super) awaiter: Option<Awaiter>,
    /// The task, as long as it runs and may be cancelled.
    pub(super) task: Option<Waker>,
    /// The handle is gone.
    pub(super) detached: bool,
}

pub(super) struct Awaiter {
    pub(super) waker: Waker,
    /// Of the clock of the loop where the handle was polled, unless that is the task's own.
    pub(super) hold: Option<Hold>,
}

impl Awaiter {
    /// Whether it would wake the waker of `cx`, and holds the clock of the loop that is entered on
    /// this thread, or none, as it should.
    pub(super) fn is(&self, cx: &Context<'_>, holds: bool) -> bool {
        let held = match &self.hold {
            Some(hold) => holds && hold.is_here(),
            None => !holds,
        };
        held && self.waker.will_wake(cx.waker())
    }
}

pub(super) enum Outcome<T> {
    Awaited,
    There(Result<T, JoinError>),
    Taken,
}

impl<T> Shared<T> {
    pub(super) fn new(name: &'static str, place: &'static Location<'static>) -> Shared<T> {
        let state = State {
            outcome: Outcome::Awaited,
            id: None,
            awaiter: None,
            task: None,
            detached: false,
        };
        Shared { name, place, cancelled: AtomicUsize::new(0), state: Mutex::new(state) }
    }

    pub(super) fn error(&self, id: Option<Id>, cause: Cause) -> JoinError {
        JoinError::new(self.name.into(), id, self.place, cause)
    }

    pub(super) fn is_cancelled(&self) -> bool {
        // Ordering: Relaxed; the wake that comes with it has handed it over.
        self.cancelled.load(Ordering::Relaxed) != 0
    }
}
