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
    type Pass<'c>
        = Pin<&'c mut [Stage<F>]>
    where
        Self: 'c;

    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn pass(self: Pin<&mut Self>) -> Pin<&mut [Stage<F>]> {
        elements(self)
    }

    #[inline]
    fn poll(pass: &mut Pin<&mut [Stage<F>]>, index: usize, cx: &mut Context<'_>) -> bool {
        element(pass, index).poll(cx)
    }

    fn take(self: Pin<&mut Self>) -> Self::Output {
        let mut all = elements(self);
        (0..all.len()).map(|index| element(&mut all, index).take()).collect()
    }

    fn clear(self: Pin<&mut Self>) {
        let mut all = elements(self);
        (0..all.len()).for_each(|index| element(&mut all, index).clear());
    }
}

impl<F: Future, const N: usize> Children for [Stage<F>; N] {
    type Output = [F::Output; N];
    type Pass<'c>
        = Pin<&'c mut [Stage<F>]>
    where
        Self: 'c;

    fn len(&self) -> usize {
        N
    }

    fn pass(self: Pin<&mut Self>) -> Pin<&mut [Stage<F>]> {
        elements(self)
    }

    #[inline]
    fn poll(pass: &mut Pin<&mut [Stage<F>]>, index: usize, cx: &mut Context<'_>) -> bool {
        element(pass, index).poll(cx)
    }

    fn take(self: Pin<&mut Self>) -> Self::Output {
        let mut all = elements(self);
        std::array::from_fn(|index| element(&mut all, index).take())
    }

    fn clear(self: Pin<&mut Self>) {
        let mut all = elements(self);
        (0..N).for_each(|index| element(&mut all, index).clear());
    }
}

impl<F: Future<Output: Outcome>> TryChildren for Vec<Stage<F>> {
    type Tried = Vec<<F::Output as Outcome>::Value>;
    type Error = <F::Output as Outcome>::Error;

    fn error(pass: &mut Pin<&mut [Stage<F>]>, index: usize) -> Option<Self::Error> {
        element(pass, index).error()
    }

    fn values(self: Pin<&mut Self>) -> Self::Tried {
        let mut all = elements(self);
        (0..all.len()).map(|index| element(&mut all, index).value()).collect()
    }
}

impl<F: Future<Output: Outcome>, const N: usize> TryChildren for [Stage<F>; N] {
    type Tried = [<F::Output as Outcome>::Value; N];
    type Error = <F::Output as Outcome>::Error;

    fn error(pass: &mut Pin<&mut [Stage<F>]>, index: usize) -> Option<Self::Error> {
        element(pass, index).error()
    }

    fn values(self: Pin<&mut Self>) -> Self::Tried {
        let mut all = elements(self);
        std::array::from_fn(|index| element(&mut all, index).value())
    }
}

impl<F: Future> RaceChildren for Vec<Stage<F>> {
    type Prize = F::Output;

    fn prize(pass: &mut Pin<&mut [Stage<F>]>, index: usize) -> F::Output {
        element(pass, index).take()
    }
}

impl<F: Future, const N: usize> RaceChildren for [Stage<F>; N] {
    type Prize = F::Output;

    fn prize(pass: &mut Pin<&mut [Stage<F>]>, index: usize) -> F::Output {
        element(pass, index).take()
    }
}

/// The elements of a pinned vector or array of stages.
#[inline]
fn elements<F: Future, L>(list: Pin<&mut L>) -> Pin<&mut [Stage<F>]>
where
    L: AsMut<[Stage<F>]>,
{
    // SAFETY: [elements].
    unsafe { list.map_unchecked_mut(L::as_mut) }
}

#[inline]
fn element<'l, F: Future>(
    list: &'l mut Pin<&mut [Stage<F>]>,
    index: usize,
) -> Pin<&'l mut Stage<F>> {
    // SAFETY: [elements].
    unsafe { list.as_mut().map_unchecked_mut(|list| &mut list[index]) }
}
