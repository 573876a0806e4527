//! What a task waits for, in one word of its header.
//!
//! Each poll begins with nothing, and leaves of ours that return `Pending` note themselves, but for
//! sleeps. The word names a slot that a loop or its thread owns, never a place inside the leaf; who
//! reads it looks there whether the task is still waiting. It is for following chains of waits in a
//! few steps. All that a task waits for, a survey finds from the other side: in the timers, the
//! queues, and the headers of tasks that are awaited.

/// What kept a task from going on at its last poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Nothing of boucle's: a future of another crate, or none at all.
    Foreign,
    /// The end of the task in this slot of the roster.
    Join(u32),
    /// Its turn in a queue; the number of its place.
    Place(u32),
    /// Children: of a gather, a race, a wait, a set or a scope.
    Children,
    /// An answer from another thread.
    Remote,
    /// Nothing, and that is meant.
    Forever,
    /// More than one of these.
    Several,
}

const BITS: u32 = 3;

/// The slots of 32-bit machines are cut: whoever follows them looks whether they fit.
impl Waits {
    #[inline]
    pub(super) fn pack(self) -> usize {
        match self {
            Waits::Foreign => 0,
            Waits::Join(slot) => (slot as usize) << BITS | 1,
            Waits::Place(place) => (place as usize) << BITS | 2,
            Waits::Children => 3,
            Waits::Remote => 4,
            Waits::Forever => 5,
            Waits::Several => 6,
        }
    }

    pub(super) fn unpack(word: usize) -> Waits {
        let key = (word >> BITS) as u32;
        match word & ((1 << BITS) - 1) {
            0 => Waits::Foreign,
            1 => Waits::Join(key),
            2 => Waits::Place(key),
            3 => Waits::Children,
            4 => Waits::Remote,
            5 => Waits::Forever,
            _ => Waits::Several,
        }
    }
}
