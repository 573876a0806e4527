//! `gather`: futures that run together inside the one that awaits them.

mod list;
mod race;
mod try_gather;
mod tuple;

pub use race::{Race, Racing, race};
pub use try_gather::{TryGather, TryGathering, try_gather};

use std::{
    convert::Infallible,
    fmt,
    marker::PhantomData,
    panic::{Location, resume_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::{
    guard::{Payload, catch, discard},
    nest::{Child, Nest},
};

/// Runs futures together, in place, and returns their outputs in the order given.
///
/// Takes a `Vec<F>`, an array or a tuple of up to twelve futures, which may borrow. They are polled
/// inside the awaiting task, the first time in the order given and then each only when it was
/// woken; but one that is alone is polled whenever the gather is, as if it were awaited itself. One
/// call makes at most three allocations, however many futures there are. It works in any executor.
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
#[track_caller]
pub fn gather<G: Gather>(futures: G) -> Gathering<<G as sealed::Gather>::Children> {
    Gathering::new(futures.into_children())
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
        /// All of them, as they are polled one after another.
        type Pass<'c>
        where
            Self: 'c;
        fn len(&self) -> usize;
        fn pass(self: Pin<&mut Self>) -> Self::Pass<'_>;
        /// Polls one child; true if it is done.
        fn poll(pass: &mut Self::Pass<'_>, index: usize, cx: &mut Context<'_>) -> bool;
        /// All are done: their outputs.
        fn take(self: Pin<&mut Self>) -> Self::Output;
        /// Drops what is left of every child. One whose destructor panics is gone then too.
        fn clear(self: Pin<&mut Self>);
    }

    /// When futures that run together have ended, and what comes of it.
    pub trait Rule<C: Children> {
        const NAME: &'static str;
        type Output;
        /// What ends it before all are done.
        type Early;
        /// Whether this child, which is done, ends it for all.
        fn early(children: &mut C::Pass<'_>, index: usize) -> Option<Self::Early>;
        fn ended(early: Self::Early) -> Self::Output;
        /// All are done, and none has ended it.
        fn take(children: Pin<&mut C>) -> Self::Output;
    }

    /// The rule of `gather`.
    pub struct All;
}

use sealed::{All, Children, Rule};

pin_project! {
    /// The future of [`gather`]; with another `Rule`, that of [`try_gather`] or [`race`].
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
    pub struct Gathering<C, Rule = All> {
        #[pin]
        children: C,
        nest: Nest,
        left: usize,
        rule: PhantomData<Rule>,
    }
}

impl<C: Children, R> Gathering<C, R> {
    #[track_caller]
    fn new(children: C) -> Self {
        let len = children.len();
        let nest = Nest::new(len, Location::caller());
        Gathering { children, nest, left: len, rule: PhantomData }
    }
}

impl<C: Children, R: Rule<C>> Future for Gathering<C, R> {
    type Output = R::Output;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R::Output> {
        let mut this = self.project();
        assert!(*this.left != OVER, "a {} was polled after it had ended", R::NAME);
        if *this.left > 0 {
            let (mut left, mut early) = (*this.left, None);
            let polled = catch(|| {
                let len = this.children.len();
                let mut children = this.children.as_mut().pass();
                this.nest.poll(cx, len, |index, cx| {
                    if !C::poll(&mut children, index, cx) {
                        return Child::Pending;
                    }
                    left -= 1;
                    early = R::early(&mut children, index);
                    if early.is_some() { Child::Last } else { Child::Done }
                });
                if left > 0 && early.is_none() {
                    this.nest.wait(cx);
                }
            });
            if let Err(payload) = polled {
                *this.left = OVER;
                // A second panic, from a destructor, is dropped in favour of the first.
                let _ = clear(this.children).map_err(discard);
                resume_unwind(payload);
            }
            if let Some(early) = early {
                *this.left = OVER;
                // Those that are dropped now have nobody to wake any more.
                this.nest.leave();
                if let Err(payload) = clear(this.children) {
                    let _ = catch(|| drop(early)).map_err(discard);
                    resume_unwind(payload);
                }
                return Poll::Ready(R::ended(early));
            }
            *this.left = left;
            if left > 0 {
                return Poll::Pending;
            }
            this.nest.leave();
        }
        *this.left = OVER;
        Poll::Ready(R::take(this.children))
    }
}

/// How many are left of a gathering that has ended.
const OVER: usize = usize::MAX;

/// Drops what is left of every child, whichever of them panic; the first of these panics.
#[cold]
fn clear<C: Children>(mut children: Pin<&mut C>) -> Result<(), Payload> {
    let mut result = Ok(());
    // Each round ends at a destructor that panics, and its child has gone.
    while let Err(payload) = catch(|| children.as_mut().clear()) {
        match result {
            Ok(()) => result = Err(payload),
            Err(_) => discard(payload),
        }
    }
    result
}

impl<C: Children> Rule<C> for All {
    const NAME: &'static str = "gather";
    type Output = C::Output;
    type Early = Infallible;

    #[inline]
    fn early(_: &mut C::Pass<'_>, _: usize) -> Option<Infallible> {
        None
    }

    fn ended(early: Infallible) -> C::Output {
        match early {}
    }

    #[inline]
    fn take(children: Pin<&mut C>) -> C::Output {
        children.take()
    }
}

impl<C, R> fmt::Debug for Gathering<C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathering").field("left", &self.left).finish_non_exhaustive()
    }
}

pin_project! {
    /// A future, then its output, then nothing.
    #[project = StageProj]
    #[project_replace = StageOwn]
    #[derive(Debug)]
    pub enum Stage<F: Future> {
        /// Not done.
        Future { #[pin] future: F },
        /// Done.
        Output { output: F::Output },
        /// Done, and its output taken.
        // A variant of its own, so that a stage is no larger than a future that has a value to spare:
        // then the vector of futures becomes that of stages where it is.
        Gone,
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
                Poll::Ready(output) => self.set(Stage::Output { output }),
            }
            return true;
        }
        // Done already: the nest has moved to another loop and asks again. Not counted twice.
        false
    }

    /// The output of one that is done.
    fn take(self: Pin<&mut Self>) -> F::Output {
        match self.project_replace(Stage::Gone) {
            StageOwn::Output { output } => output,
            StageOwn::Future { .. } | StageOwn::Gone => unreachable!("done, and taken once"),
        }
    }

    fn clear(mut self: Pin<&mut Self>) {
        self.set(Stage::Gone);
    }
}
