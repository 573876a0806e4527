//! `race`: the first of them.

use std::pin::Pin;

use super::{
    Gathering,
    sealed::{Children, Gather, Rule},
};

/// Runs futures together, in place, until one of them is done, and returns its output.
///
/// Takes what [`gather`](crate::gather) takes, if all outputs are of one type, also those of a
/// tuple's futures; not the empty tuple, since nobody would win. The others are dropped, and then
/// the output is returned. When several are ready, the one polled first wins: at the first poll the
/// order is the one given, and those behind the winner are never polled; later it is that of their
/// wakes.
///
/// If a future panics, the others are dropped, and the panic goes on to whoever awaits. So does the
/// panic of a destructor that the end has called, once all have run.
///
/// # Cancellation
/// Dropping the future drops all of them. The futures that lose are dropped likewise, so they
/// should be safe to cancel.
///
/// # Panics
/// At the call, if there is no future at all: an end would never come.
///
/// ```
/// use std::time::Duration;
///
/// boucle::block_on(async {
///     let slow = async {
///         boucle::sleep(Duration::from_secs(3600)).await;
///         "slow"
///     };
///     assert_eq!(boucle::race((slow, async { "quick" })).await, "quick");
/// });
/// ```
#[track_caller]
pub fn race<G: Race>(futures: G) -> Racing<<G as Gather>::Children> {
    let children = futures.into_children();
    assert!(children.len() > 0, "`boucle::race` of no futures: nobody could ever win it");
    Gathering::new(children)
}

/// The future of [`race`].
pub type Racing<C> = Gathering<C, First>;

/// What [`race`] takes: vectors, arrays and tuples of futures with one type of output.
///
/// This trait is sealed: its methods are not part of the interface.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be raced",
    label = "not a vector, an array or a tuple of futures",
    note = "`race` takes a `Vec<F>`, a `[F; N]` or a tuple of one to twelve futures, all with the \
            same type of output"
)]
pub trait Race: Gather<Children: RaceChildren> {}

impl<G: Gather<Children: RaceChildren>> Race for G {}

/// Futures whose outputs have one type.
#[diagnostic::on_unimplemented(
    message = "`race` needs at least one future",
    label = "nobody could win this race"
)]
pub trait RaceChildren: Children {
    type Prize;
    /// The output of a child that is done.
    fn prize(pass: &mut Self::Pass<'_>, index: usize) -> Self::Prize;
}

/// The rule of `race`.
pub struct First;

impl<C: RaceChildren> Rule<C> for First {
    const NAME: &'static str = "race";
    type Output = C::Prize;
    type Early = C::Prize;

    fn early(children: &mut C::Pass<'_>, index: usize) -> Option<C::Prize> {
        Some(C::prize(children, index))
    }

    fn ended(prize: C::Prize) -> C::Prize {
        prize
    }

    fn take(_: Pin<&mut C>) -> C::Prize {
        unreachable!("the first to be done has ended it")
    }
}
