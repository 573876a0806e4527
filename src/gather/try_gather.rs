//! `try_gather`: all of them, or the first error.

use std::pin::Pin;

use super::{
    Gathering, Stage, StageProj,
    sealed::{Children, Gather, Rule},
};

/// Runs futures that may fail together, in place, and returns their outputs in the order given, or
/// the first error.
///
/// Takes what [`gather`](crate::gather) takes, if each output is a [`Result`] and all have one type
/// of error; not the empty tuple, whose error would have none. As soon as one future returns an
/// `Err`, the others, and the outputs of those that are done, are dropped, and then the error is
/// returned. Of errors in one turn, that of the future polled first counts: at the first poll the
/// order is the one given.
///
/// If a future panics, the others are dropped, and the panic goes on to whoever awaits. So does the
/// panic of a destructor that the end has called, once all have run.
///
/// # Cancellation
/// Dropping the future drops all of them.
///
/// ```
/// boucle::block_on(async {
///     let numbers = ["1", "2"].map(|text| async move { text.parse::<u8>() });
///     assert_eq!(boucle::try_gather(numbers).await, Ok([1, 2]));
///
///     let mixed = (async { "1".parse::<u8>() }, async { "one".parse::<i64>() });
///     assert!(boucle::try_gather(mixed).await.is_err());
/// });
/// ```
#[track_caller]
pub fn try_gather<G: TryGather>(futures: G) -> TryGathering<<G as Gather>::Children> {
    Gathering::new(futures.into_children())
}

/// The future of [`try_gather`].
pub type TryGathering<C> = Gathering<C, AllOrError>;

/// What [`try_gather`] takes: vectors, arrays and tuples of futures that return [`Result`]s with one
/// type of error.
///
/// This trait is sealed: its methods are not part of the interface.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be gathered by `try_gather`",
    label = "not a vector, an array or a tuple of futures that return `Result`s",
    note = "`try_gather` takes a `Vec<F>`, a `[F; N]` or a tuple of one to twelve futures, each \
            with a `Result` of the same error type as its output"
)]
pub trait TryGather: Gather<Children: TryChildren> {}

impl<G: Gather<Children: TryChildren>> TryGather for G {}

/// Futures whose outputs are results.
#[diagnostic::on_unimplemented(
    message = "`try_gather` needs futures that return a `Result` each, all with one error type",
    label = "not all of these return such a `Result`",
    note = "`gather` takes futures with any output"
)]
pub trait TryChildren: Children {
    type Tried;
    type Error;
    /// The error of a child that is done, if it has failed.
    fn error(pass: &mut Self::Pass<'_>, index: usize) -> Option<Self::Error>;
    /// All are done, and none has failed.
    fn values(self: Pin<&mut Self>) -> Self::Tried;
}

/// A `Result`, by a name that macros and bounds can take apart.
#[diagnostic::on_unimplemented(
    message = "`try_gather` needs futures that return a `Result`, not `{Self}`",
    label = "a future here does not return a `Result`",
    note = "`gather` takes futures with any output"
)]
pub trait Outcome {
    type Value;
    type Error;
    fn is_error(&self) -> bool;
    fn into_result(self) -> Result<Self::Value, Self::Error>;
}

impl<T, E> Outcome for Result<T, E> {
    type Value = T;
    type Error = E;

    #[inline]
    fn is_error(&self) -> bool {
        self.is_err()
    }

    #[inline]
    fn into_result(self) -> Result<T, E> {
        self
    }
}

impl<F: Future<Output: Outcome>> Stage<F> {
    /// The error of one that is done, if it has failed.
    pub(super) fn error(mut self: Pin<&mut Self>) -> Option<<F::Output as Outcome>::Error> {
        match self.as_mut().project() {
            StageProj::Output { output } if output.is_error() => self.take().into_result().err(),
            _ => None,
        }
    }

    /// The value of one that is done and has not failed.
    pub(super) fn value(self: Pin<&mut Self>) -> <F::Output as Outcome>::Value {
        match self.take().into_result() {
            Ok(value) => value,
            Err(_) => unreachable!("the first error has ended it"),
        }
    }
}

/// The rule of `try_gather`.
pub struct AllOrError;

impl<C: TryChildren> Rule<C> for AllOrError {
    const NAME: &'static str = "try_gather";
    type Output = Result<C::Tried, C::Error>;
    type Early = C::Error;

    fn early(children: &mut C::Pass<'_>, index: usize) -> Option<C::Error> {
        C::error(children, index)
    }

    fn ended(error: C::Error) -> Self::Output {
        Err(error)
    }

    fn take(children: Pin<&mut C>) -> Self::Output {
        Ok(children.values())
    }
}
