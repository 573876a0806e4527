//! Several who await one task.

use std::{
    cell::{Cell, OnceCell, RefCell},
    fmt,
    panic::Location,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    queue::{Place, ResourceKind, Signed, WaitQueue},
    task::{JoinError, JoinHandle, note_claim, wakee_of},
};

impl<T: Clone> JoinHandle<T> {
    /// Lets several await the task: each clone of what this returns gives a clone of the output.
    ///
    /// ```
    /// boucle::block_on(async {
    ///     let soup = boucle::spawn(async { String::from("soup") }).shared();
    ///     let guests = [soup.clone(), soup.clone(), soup];
    ///     for bowl in boucle::gather(guests).await {
    ///         assert_eq!(bowl.unwrap(), "soup");
    ///     }
    /// });
    /// ```
    #[track_caller]
    pub fn shared(self) -> Shared<T> {
        let queue = WaitQueue::new(ResourceKind::Task, Location::caller());
        queue.set_takers(Rc::new(RefCell::new(Signed::new([self.who()]))));
        let task = Task {
            handle: RefCell::new(self),
            result: OnceCell::new(),
            queue,
            watchman: Cell::new(0),
            numbers: Cell::new(0),
        };
        Shared::new(Rc::new(task))
    }
}

/// One of several who await a task. Made by [`JoinHandle::shared`](crate::JoinHandle::shared).
///
/// Its output is a clone of the task's, or, shared by all, the error. Dropping the last clone
/// detaches the task.
///
/// # Cancellation
/// Dropping one takes nothing from the others. The task runs on.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Shared<T> {
    task: Rc<Task<T>>,
    place: Option<Place>,
    number: u64,
}

struct Task<T> {
    /// Nothing of a user's runs while it is borrowed mutably.
    handle: RefCell<JoinHandle<T>>,
    result: OnceCell<Result<T, Arc<JoinError>>>,
    /// All who wait.
    queue: WaitQueue,
    /// Which of them the end of the task wakes; that one wakes the others.
    watchman: Cell<u64>,
    numbers: Cell<u64>,
}

impl<T> Shared<T> {
    fn new(task: Rc<Task<T>>) -> Shared<T> {
        let number = task.numbers.get() + 1;
        task.numbers.set(number);
        Shared { task, place: None, number }
    }

    /// Gives the place in the queue up. If this was the watchman, another one takes over.
    fn leave(&mut self) {
        if let Some(place) = self.place.take() {
            let taken = self.task.queue.leave(place);
            if taken || self.task.watchman.get() == self.number {
                let next = self.task.queue.take_first();
                if let Some(next) = next {
                    next.wake();
                }
            }
        }
    }
}

impl<T: Clone> Future for Shared<T> {
    type Output = Result<T, Arc<JoinError>>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.task.result.get().is_none() {
            // Woken to take over as the watchman: whoever is taken stands in no queue.
            if this.task.queue.join(&mut this.place, 0, Location::caller(), cx) {
                if let Some(place) = this.place.take() {
                    let _taken = this.task.queue.leave(place);
                }
                let _not_taken = this.task.queue.join(&mut this.place, 0, Location::caller(), cx);
            }
            // The last to watch is the watchman. Foreign code runs before and after, not between.
            let wakee = wakee_of(cx);
            let old = this.task.handle.borrow().replace_joiner(wakee);
            this.task.watchman.set(this.number);
            drop(old);
            if !this.task.handle.borrow().is_finished() {
                note_claim(Place::number(&this.place));
                return Poll::Pending;
            }
            let Ok(mut handle) = this.task.handle.try_borrow_mut() else {
                // A clone of this is watching further out, and has run the waker that polls here.
                // It will find that the task has ended, and wake all who stand in the queue.
                return Poll::Pending;
            };
            // `take` runs no user code.
            let _ = this.task.result.set(handle.take().map_err(Arc::new));
            drop(handle);
            for waiting in this.task.queue.take_all() {
                waiting.wake();
            }
        }
        this.leave();
        match this.task.result.get() {
            Some(Ok(output)) => Poll::Ready(Ok(output.clone())),
            Some(Err(error)) => Poll::Ready(Err(error.clone())),
            None => unreachable!("it was there, or was set"),
        }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared::new(self.task.clone())
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handle = self.task.handle.borrow();
        let (id, name, status) = (handle.id(), handle.name(), handle.status());
        drop(handle);
        write!(f, "Shared({id} '{name}' [{status}])")
    }
}
