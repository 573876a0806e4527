//! `gather`: futures that run together inside the one that awaits them.

mod list;
mod tuple;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::{guard::catch, nest::Nest};

/// Runs futures together, in place, and returns their outputs in the order given.
///
/// Takes a `Vec<F>`, an array or a tuple of up to twelve futures, which may borrow. They are polled
/// inside the awaiting task, the first time in the order given and then each only when it was
/// woken. One call makes at most three allocations, however many futures there are. It works in
/// any executor.
///
/// If a future panics, the others are dropped, and the panic goes on to whoever awaits.
///
/// # Cancellation
/// Dropping the future drops all of them.
///
/// ```
/// use std::time::Duration;
///
/// boucle::block_on(async {
///     let menu = [3, 1, 2].map(|n| async move {
///         boucle::sleep(Duration::from_millis(n)).await;
///         n
///     });
///     assert_eq!(boucle::gather(menu).await, [3, 1, 2]);
///     assert_eq!(boucle::gather((async { 1 }, async { "two" })).await, (1, "two"));
/// });
/// ```
pub fn gather<G: Gather>(futures: G) -> Gathering<<G as sealed::Gather>::Children> {
    let children = futures.into_children();
    let len = children.len();
    Gathering { children, nest: Nest::new(len), left: len }
}

/// What [`gather`] takes: vectors, arrays and tuples of futures.
///
/// This trait is sealed: its methods are not part of the interface. Futures of one type go into a
/// `Vec` or an array, those of several types into a tuple; an iterator is collected first.
///
/// ```
/// use boucle::{Gather, gather};
///
/// fn both(futures: impl Gather) {
///     let _never_polled = gather(futures);
/// }
///
/// both((async { 1 }, async { "two" }));
/// both((0..2).map(|n| async move { n }).collect::<Vec<_>>());
/// ```
#[diagnostic::on_unimplemented(
    message = "`gather` takes a `Vec`, an array or a tuple of futures, not `{Self}`",
    label = "not a `Vec`, an array or a tuple of futures",
    note = "collect the futures of an iterator into a `Vec` first: \
            `gather(iter.collect::<Vec<_>>())`",
    note = "put futures of different types, or a single one, into a tuple: `gather((a, b))`, \
            `gather((a,))`"
)]
pub trait Gather: sealed::Gather {}

impl<G: sealed::Gather> Gather for G {}

mod sealed {
    use std::{pin::Pin, task::Context};

    pub trait Gather {
        type Children: Children;
        fn into_children(self) -> Self::Children;
    }

    pub trait Children {
        type Output;
        fn len(&self) -> usize;
        /// Polls one child; true if it is done.
        fn poll(self: Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> bool;
        /// All are done: their outputs.
        fn take(self: Pin<&mut Self>) -> Self::Output;
        /// Drops what is left of every child.
        fn clear(self: Pin<&mut Self>);
    }
}

use sealed::Children;

pin_project! {
    /// The future of [`gather`].
    ///
    /// # Cancellation
    /// Dropping it drops all the futures, and the outputs of those that have ended.
    ///
    /// # Panics
    /// With the panic of the first future that panics, once the others were dropped; and when it is
    /// polled after that, or after it has returned the outputs.
    ///
    /// ```
    /// let both = boucle::gather((async { 1 }, async { "two" }));
    /// assert_eq!(boucle::block_on(both), (1, "two"));
    /// ```
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Gathering<C> {
        #[pin]
        children: C,
        nest: Nest,
        left: usize,
    }
}

impl<C: Children> Future for Gathering<C> {
    type Output = C::Output;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let mut this = self.project();
        assert!(*this.left != OVER, "a gather was polled after it had ended");
        let (children, left) = (&mut this.children, &mut *this.left);
        if *left > 0 {
            let polled = catch(|| {
                this.nest.poll(cx, |index, cx| {
                    let done = children.as_mut().poll(index, cx);
                    *left -= usize::from(done);
                    done
                });
            });
            if let Err(payload) = polled {
                *left = OVER;
                // A second panic, from a destructor, is dropped in favour of the first.
                let _ = catch(|| children.as_mut().clear()).map_err(crate::guard::discard);
                std::panic::resume_unwind(payload);
            }
            if *left > 0 {
                return Poll::Pending;
            }
        }
        *this.left = OVER;
        Poll::Ready(this.children.take())
    }
}

/// How many are left of a gathering that has ended.
const OVER: usize = usize::MAX;

impl<C> fmt::Debug for Gathering<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathering").field("left", &self.left).finish_non_exhaustive()
    }
}

pin_project! {
    /// A future, then its output, then nothing.
    #[project = StageProj]
    #[derive(Debug)]
    pub enum Stage<F: Future> {
        /// Not done.
        Future { #[pin] future: F },
        /// Done.
        Output { output: Option<F::Output> },
    }
}

impl<F: Future> Stage<F> {
    fn new(future: F) -> Self {
        Stage::Future { future }
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        if let StageProj::Future { future } = self.as_mut().project() {
            match future.poll(cx) {
                Poll::Pending => return false,
                Poll::Ready(output) => self.set(Stage::Output { output: Some(output) }),
            }
            return true;
        }
        // Done already: the nest has moved to another loop and asks again. Not counted twice.
        false
    }

    fn take(self: Pin<&mut Self>) -> F::Output {
        match self.project() {
            StageProj::Output { output } => output.take().expect("taken once"),
            StageProj::Future { .. } => unreachable!("taken when all are done"),
        }
    }

    fn clear(mut self: Pin<&mut Self>) {
        self.set(Stage::Output { output: None });
    }
}
