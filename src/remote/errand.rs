//! The loop's end: a closure on its way, then a task, and the answer it owes.

use std::{
    mem::replace,
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::shared::{Awaiter, Outcome, Shared};
use crate::{
    facade::{Arc, lock},
    guard::{catch, discard},
    task::{Cause, JoinError, with_here},
};

/// The task's end of what is shared. Dropped unsent, it tells that the loop was.
struct Answer<T> {
    shared: Arc<Shared<T>>,
    sent: bool,
}

impl<T> Answer<T> {
    /// The task begins; true if it has been cancelled already.
    fn begin(&self, cx: &Context<'_>) -> bool {
        let id = with_here(|tasks| tasks.running().map(|task| task.id)).flatten();
        let mut task = Some(cx.waker().clone());
        let mut state = lock(&self.shared.state);
        state.id = id;
        let cancelled = self.shared.is_cancelled();
        if !cancelled && !state.detached {
            state.task = task.take();
        }
        drop(state);
        drop(task);
        cancelled
    }

    /// Sends the result, once; hands back what nobody will see.
    fn send(&mut self, result: Result<T, Cause>) -> Option<Result<T, JoinError>> {
        self.sent = true;
        let mut state = lock(&self.shared.state);
        let id = state.id;
        let mut result = result.map_err(|cause| self.shared.error(id, cause));
        let mut unseen = None;
        if state.detached {
            unseen = Some(result);
        } else {
            let counts = matches!(&result, Err(error) if error.is_cancelled());
            if self.shared.is_cancelled() && !counts {
                unseen =
                    Some(replace(&mut result, Err(self.shared.error(id, Cause::Cancelled(None)))));
            }
            state.outcome = Outcome::There(result);
        }
        let (awaiter, task) = (state.awaiter.take(), state.task.take());
        drop(state);
        drop(task);
        if let Some(Awaiter { waker, hold: _hold }) = awaiter {
            // The clock is let go once the wake has been sent: it is read before a jump.
            let _ = catch(|| waker.wake()).map_err(discard);
        }
        unseen
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        if !self.sent {
            // An error that carries nothing: it does not matter whether anybody sees it.
            drop(self.send(Err(Cause::LoopDropped)));
        }
    }
}

/// What goes to the loop. The closure is dropped first: before anybody can see that it was.
pub(super) struct Parcel<F, T> {
    f: F,
    answer: Answer<T>,
}

impl<F, T> Parcel<F, T> {
    pub(super) fn new(f: F, shared: Arc<Shared<T>>) -> Parcel<F, T> {
        Parcel { f, answer: Answer { shared, sent: false } }
    }

    pub(super) fn unpack<Fut: Future<Output = T>>(self) -> Errand<F, Fut> {
        let Parcel { f, answer } = self;
        Errand { stage: Stage::Call { f: Some(f) }, begun: false, answer, _served: Served::new() }
    }
}

pin_project! {
    /// The task. Its future is dropped first, as above.
    pub(super) struct Errand<F, Fut: Future> {
        #[pin]
        stage: Stage<F, Fut>,
        begun: bool,
        answer: Answer<Fut::Output>,
        _served: Served,
    }
}

/// An errand in the loop that is entered here: at home, where it lives and is dropped.
struct Served;

impl Served {
    fn new() -> Served {
        with_here(|tasks| tasks.home.serve(1));
        Served
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        with_here(|tasks| tasks.home.serve(-1));
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F, Fut> {
        Call { f: Option<F> },
        Run { #[pin] future: Fut },
        Over,
    }
}

impl<F: FnOnce() -> Fut, Fut: Future> Stage<F, Fut> {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fut::Output> {
        if let StageProjection::Call { f } = self.as_mut().project() {
            let f = f.take().expect("a closure that panicked is not called again");
            let future = f();
            self.set(Stage::Run { future });
        }
        match self.project() {
            StageProjection::Run { future } => future.poll(cx),
            _ => unreachable!("a task that has ended is not polled"),
        }
    }
}

impl<F: FnOnce() -> Fut, Fut: Future> Future for Errand<F, Fut> {
    type Output = ();

    /// What panics here in the end is a panic of the task, which nobody observes but its loop.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let begun = replace(this.begun, true);
        let cancelled =
            if begun { this.answer.shared.is_cancelled() } else { this.answer.begin(cx) };
        let result = if cancelled {
            Err(Cause::Cancelled(None))
        } else {
            match catch(|| this.stage.as_mut().poll(cx)) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(output)) => Ok(output),
                Err(payload) => Err(Cause::panicked(payload)),
            }
        };
        // Before anybody can see the result.
        let dropped = catch(|| this.stage.set(Stage::Over));
        let (result, stray) = match (result, dropped) {
            (result, Ok(())) => (result, None),
            (Ok(output), Err(payload)) => {
                let _ = catch(|| drop(output)).map_err(discard);
                (Err(Cause::panicked(payload)), None)
            }
            (Err(Cause::Panicked(first)), Err(second)) => {
                discard(second);
                (Err(Cause::Panicked(first)), None)
            }
            (Err(cause), Err(payload)) => (Err(cause), Some(payload)),
        };
        match this.answer.send(result) {
            Some(Ok(output)) => drop(output),
            Some(Err(error)) => {
                if let Ok(payload) = error.try_into_panic() {
                    resume_unwind(payload);
                }
            }
            None => {}
        }
        if let Some(payload) = stray {
            resume_unwind(payload);
        }
        Poll::Ready(())
    }
}
