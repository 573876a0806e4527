//! Who a task is, in words that stay true when it has gone.

use super::{Anchor, Home, here};
use std::{num::NonZeroU64, ptr::NonNull};

/// Names a task, of any loop of this thread, without keeping it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// The number of its home: an address would name a later loop too.
    home: u64,
    /// Where it is, or was, in its home's roster.
    slot: u32,
    pub(crate) id: NonZeroU64,
}

impl Who {
    #[inline]
    pub(crate) fn new(home: &Home, anchor: &Anchor, id: NonZeroU64) -> Who {
        Who { home: home.number, slot: anchor.slot(), id }
    }

    /// Whether it is, or was, a task of this loop.
    pub(crate) fn is_of(self, home: &Home) -> bool {
        self.home == home.number
    }

    /// What is in its slot now, if its loop is this one: the task itself, or, with another id,
    /// somebody who came later.
    pub(crate) fn find(self, home: &Home) -> Option<NonNull<Anchor>> {
        if self.is_of(home) { home.anchor(self.slot) } else { None }
    }
}

/// When the loop of this thread last looked at the clock, in nanoseconds; zero if there is none,
/// or it has not yet.
#[inline]
pub(crate) fn looked() -> u64 {
    let home = here();
    // SAFETY: [here].
    if home.is_null() { 0 } else { unsafe { (*home).looked.get() } }
}
