//! Tuples of up to twelve.

// The fields are named after the types.
#![allow(non_snake_case)]

use std::{pin::Pin, task::Context};

use pin_project_lite::pin_project;

use super::{
    Stage,
    race::RaceChildren,
    sealed::{self, Children},
    try_gather::{Outcome, TryChildren},
};

/// Does something with the child of a number.
macro_rules! at {
    ($tuple:expr, $index:ident, |$stage:ident| $what:expr, $first:ident $($name:ident)*) => {{
        let this = $tuple.as_mut().project();
        #[allow(unused_mut)]
        let mut at = 0;
        if $index == at {
            let $stage = this.$first;
            return $what;
        }
        $(
            at += 1;
            if $index == at {
                let $stage = this.$name;
                return $what;
            }
        )*
        unreachable!("a tuple of {} has no child {}", at + 1, $index)
    }};
}

/// The futures of a tuple, each in a field of its own.
macro_rules! tuples {
    ($($tuple:ident: $first:ident $($name:ident)*;)*) => {$(
        pin_project! {
            pub struct $tuple<$first: Future, $($name: Future),*> {
                #[pin] $first: Stage<$first>,
                $(#[pin] $name: Stage<$name>,)*
            }
        }

        impl<$first: Future, $($name: Future),*> sealed::Gather for ($first, $($name,)*) {
            type Children = $tuple<$first, $($name),*>;

            fn into_children(self) -> Self::Children {
                let ($first, $($name,)*) = self;
                $tuple { $first: Stage::new($first), $($name: Stage::new($name)),* }
            }
        }

        impl<$first: Future, $($name: Future),*> Children for $tuple<$first, $($name),*> {
            type Output = ($first::Output, $($name::Output,)*);
            type Pass<'c> = Pin<&'c mut Self> where Self: 'c;

            fn len(&self) -> usize {
                [stringify!($first), $(stringify!($name)),*].len()
            }

            fn pass(self: Pin<&mut Self>) -> Pin<&mut Self> {
                self
            }

            fn poll(pass: &mut Pin<&mut Self>, index: usize, cx: &mut Context<'_>) -> bool {
                at!(pass, index, |stage| stage.poll(cx), $first $($name)*)
            }

            fn take(self: Pin<&mut Self>) -> Self::Output {
                let this = self.project();
                (this.$first.take(), $(this.$name.take(),)*)
            }

            fn clear(self: Pin<&mut Self>) {
                let this = self.project();
                this.$first.clear();
                $(this.$name.clear();)*
            }
        }

        impl<$first, $($name),*> TryChildren for $tuple<$first, $($name),*>
        where
            $first: Future<Output: Outcome>,
            $($name: Future<Output: Outcome<Error = <$first::Output as Outcome>::Error>>,)*
        {
            type Tried =
                (<$first::Output as Outcome>::Value, $(<$name::Output as Outcome>::Value,)*);
            type Error = <$first::Output as Outcome>::Error;

            fn error(pass: &mut Pin<&mut Self>, index: usize) -> Option<Self::Error> {
                at!(pass, index, |stage| stage.error(), $first $($name)*)
            }

            fn values(self: Pin<&mut Self>) -> Self::Tried {
                let this = self.project();
                (this.$first.value(), $(this.$name.value(),)*)
            }
        }

        impl<$first, $($name),*> RaceChildren for $tuple<$first, $($name),*>
        where
            $first: Future,
            $($name: Future<Output = $first::Output>,)*
        {
            type Prize = $first::Output;

            fn prize(pass: &mut Pin<&mut Self>, index: usize) -> Self::Prize {
                at!(pass, index, |stage| stage.take(), $first $($name)*)
            }
        }
    )*};
}

tuples! {
    Tuple1: A;
    Tuple2: A B;
    Tuple3: A B C;
    Tuple4: A B C D;
    Tuple5: A B C D E;
    Tuple6: A B C D E G;
    Tuple7: A B C D E G H;
    Tuple8: A B C D E G H I;
    Tuple9: A B C D E G H I J;
    Tuple10: A B C D E G H I J K;
    Tuple11: A B C D E G H I J K L;
    Tuple12: A B C D E G H I J K L M;
}

impl sealed::Gather for () {
    type Children = ();

    fn into_children(self) {}
}

impl Children for () {
    type Output = ();
    type Pass<'c> = ();

    fn len(&self) -> usize {
        0
    }

    fn pass(self: Pin<&mut Self>) {}

    fn poll((): &mut (), index: usize, _: &mut Context<'_>) -> bool {
        unreachable!("an empty tuple has no child {index}")
    }

    fn take(self: Pin<&mut Self>) {}

    fn clear(self: Pin<&mut Self>) {}
}
