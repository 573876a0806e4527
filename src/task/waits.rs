//! What a task waits for, in one word of its header.
//!
//! Each poll begins with nothing, and leaves of ours that return `Pending` note themselves, but for
//! sleeps; the last one counts. The word names a slot that a loop or its thread owns, never a place
//! inside the leaf; who reads it looks there whether the task is still waiting. It is for following
//! chains of waits in a few steps. All that a task waits for, a survey finds from the other side: in
//! the timers, the queues, and the headers of tasks that are awaited.

use std::{panic::Location, ptr};

/// Where a call is written.
type At = &'static Location<'static>;

/// What kept a task from going on at its last poll.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waits<A = At> {
    /// Nothing of boucle's: a future of another crate, or none at all.
    Foreign,
    /// The end of the task in this slot of the roster.
    Join(u32),
    /// Its turn in a queue; the number of its place.
    Place(u32),
    /// Children: of a gather, a race, a wait, a set or a scope.
    Children(A),
    /// An answer from another thread.
    Remote(A),
    /// Nothing, and that is meant.
    Forever(A),
}

/// One of the above: a number or the address of a place, and below it which it is. Null if it is
/// nothing.
pub(super) type Word = *const ();

const TAG: usize = 7;

/// Machines on which the lowest bits of an address are not free keep no place.
const PLACED: bool = align_of::<Location>() > TAG;

fn number(number: u32, tag: usize) -> Word {
    // Of 32-bit machines the highest bits go: whoever looks there sees whether it fits.
    ptr::without_provenance((number as usize) << TAG.count_ones() | tag)
}

fn place(at: At, tag: usize) -> Word {
    if PLACED {
        ptr::from_ref(at).cast::<()>().map_addr(|address| address | tag)
    } else {
        ptr::without_provenance(tag)
    }
}

impl Waits {
    #[inline]
    pub(super) fn pack(self) -> Word {
        match self {
            Waits::Foreign => ptr::null(),
            Waits::Join(slot) => number(slot, 1),
            Waits::Place(index) => number(index, 2),
            Waits::Children(at) => place(at, 3),
            Waits::Remote(at) => place(at, 4),
            Waits::Forever(at) => place(at, 5),
        }
    }

    /// What [`Waits::pack`] has made, with a place if there was room for it.
    pub(super) fn unpack(word: Word) -> Waits<Option<At>> {
        let number = (word.addr() >> TAG.count_ones()) as u32;
        let place = || {
            let at = word.map_addr(|address| address & !TAG).cast::<Location>();
            // SAFETY: words are made by `pack` alone: with this tag, of a place that lives for
            // ever, or of null.
            unsafe { at.as_ref() }
        };
        match word.addr() & TAG {
            0 => Waits::Foreign,
            1 => Waits::Join(number),
            2 => Waits::Place(number),
            3 => Waits::Children(place()),
            4 => Waits::Remote(place()),
            5 => Waits::Forever(place()),
            _ => unreachable!("nobody packs such a word"),
        }
    }
}
