//! What a task waits for, in one word of its header.
//!
//! A leaf of boucle's own notes it when it returns `Pending`; each poll begins with nothing. A
//! key is the number of something that the loop owns, never an address.

use std::fmt;

use super::tasks::with_running;

/// What kept a task from going on at its last poll.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waits {
    /// Nothing of boucle's: a future of another crate, or none at all.
    Foreign,
    /// Its next turn: it has yielded.
    Turn,
    /// A deadline.
    Timer,
    /// The end of the task with this number.
    Join(u64),
    /// A `Waiter` to open.
    Waiter,
    /// The children of a gather or a wait.
    Children,
    /// More than one of these.
    Several,
}

const SHIFT: u32 = 3;

impl Waits {
    fn pack(self) -> usize {
        match self {
            Waits::Foreign => 0,
            Waits::Turn => 1,
            Waits::Timer => 2,
            Waits::Join(id) => (id as usize) << SHIFT | 3,
            Waits::Waiter => 4,
            Waits::Children => 5,
            Waits::Several => 6,
        }
    }

    pub(super) fn unpack(word: usize) -> Waits {
        match word & ((1 << SHIFT) - 1) {
            0 => Waits::Foreign,
            1 => Waits::Turn,
            2 => Waits::Timer,
            3 => Waits::Join((word >> SHIFT) as u64),
            4 => Waits::Waiter,
            5 => Waits::Children,
            _ => Waits::Several,
        }
    }
}

/// Notes what the task on the stack is about to wait for, if there is one.
#[inline]
pub(crate) fn note(waits: Waits) {
    with_running(|task| {
        let new = if task.waits.get() == 0 { waits } else { Waits::Several };
        task.waits.set(new.pack());
    });
}

/// As [`note`], for a future whose children have noted their own waits.
pub(crate) fn note_instead(waits: Waits) {
    with_running(|task| task.waits.set(waits.pack()));
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waits::Foreign => f.write_str("a foreign future"),
            Waits::Turn => f.write_str("its turn"),
            Waits::Timer => f.write_str("a timer"),
            Waits::Join(id) => write!(f, "the end of task #{id}"),
            Waits::Waiter => f.write_str("a Waiter"),
            Waits::Children => f.write_str("its children"),
            Waits::Several => f.write_str("several things"),
        }
    }
}
