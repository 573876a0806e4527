//! Vectors and arrays.
//!
//! `[elements]` invariant, of vectors and arrays of stages: an element moves only when the whole
//! array does, and a vector's never do, since nobody pushes or takes a whole stage out. So a pinned
//! array or vector pins its elements.

use std::{pin::Pin, task::Context};

use super::{
    Stage,
    race::RaceChildren,
    sealed::{self, Children},
    try_gather::{Outcome, TryChildren},
};

impl<F: Future> sealed::Gather for Vec<F> {
    type Children = Vec<Stage<F>>;

    fn into_children(self) -> Self::Children {
        self.into_iter().map(Stage::new).collect()
    }
}

impl<F: Future, const N: usize> sealed::Gather for [F; N] {
    type Children = [Stage<F>; N];

    fn into_children(self) -> Self::Children {
        self.map(Stage::new)
    }
}

impl<F: Future> Children for Vec<Stage<F>> {
    type Output = Vec<F::Output>;

    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn poll(self: Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> bool {
        element(self, index).poll(cx)
    }

    fn take(mut self: Pin<&mut Self>) -> Self::Output {
        (0..Vec::len(&self)).map(|index| element(self.as_mut(), index).take()).collect()
    }

    fn clear(mut self: Pin<&mut Self>) {
        (0..Vec::len(&self)).for_each(|index| element(self.as_mut(), index).clear());
    }
}

impl<F: Future, const N: usize> Children for [Stage<F>; N] {
    type Output = [F::Output; N];

    fn len(&self) -> usize {
        N
    }

    fn poll(self: Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> bool {
        element(self, index).poll(cx)
    }

    fn take(mut self: Pin<&mut Self>) -> Self::Output {
        std::array::from_fn(|index| element(self.as_mut(), index).take())
    }

    fn clear(mut self: Pin<&mut Self>) {
        (0..N).for_each(|index| element(self.as_mut(), index).clear());
    }
}

impl<F: Future<Output: Outcome>> TryChildren for Vec<Stage<F>> {
    type Tried = Vec<<F::Output as Outcome>::Value>;
    type Error = <F::Output as Outcome>::Error;

    fn error(self: Pin<&mut Self>, index: usize) -> Option<Self::Error> {
        element(self, index).error()
    }

    fn values(mut self: Pin<&mut Self>) -> Self::Tried {
        (0..Vec::len(&self)).map(|index| element(self.as_mut(), index).value()).collect()
    }
}

impl<F: Future<Output: Outcome>, const N: usize> TryChildren for [Stage<F>; N] {
    type Tried = [<F::Output as Outcome>::Value; N];
    type Error = <F::Output as Outcome>::Error;

    fn error(self: Pin<&mut Self>, index: usize) -> Option<Self::Error> {
        element(self, index).error()
    }

    fn values(mut self: Pin<&mut Self>) -> Self::Tried {
        std::array::from_fn(|index| element(self.as_mut(), index).value())
    }
}

impl<F: Future> RaceChildren for Vec<Stage<F>> {
    type Prize = F::Output;

    fn prize(self: Pin<&mut Self>, index: usize) -> F::Output {
        element(self, index).take()
    }
}

impl<F: Future, const N: usize> RaceChildren for [Stage<F>; N] {
    type Prize = F::Output;

    fn prize(self: Pin<&mut Self>, index: usize) -> F::Output {
        element(self, index).take()
    }
}

/// The element of a pinned vector or array of stages.
#[inline]
fn element<F: Future, L>(list: Pin<&mut L>, index: usize) -> Pin<&mut Stage<F>>
where
    L: AsMut<[Stage<F>]>,
{
    // SAFETY: [elements].
    unsafe { list.map_unchecked_mut(|list| &mut list.as_mut()[index]) }
}
