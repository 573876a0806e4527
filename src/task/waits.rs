//! What a task waits for, in one word of its header.
//!
//! Each poll begins with nothing. A leaf notes its kind when it returns `Pending`, unless the loop
//! can find out who waits for it: a join is found through the joiner in the header of the task
//! that is awaited, a timer in the list of timers.

use std::fmt;

use super::header::Id;

/// What kept a task from going on at its last poll.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waits {
    /// Nothing of boucle's: a future of another crate, or none at all.
    Foreign,
    /// The end of the task with this number.
    Join(Id),
    /// A `Waiter` to open.
    Waiter,
    /// The children of a gather, a wait or a set.
    Children,
    /// Its turn in a set with a limit: it has not started.
    Turn,
    /// A `Mutex` to be unlocked.
    Mutex,
    /// Permits of a `Semaphore`.
    Semaphore,
    /// Room in a channel.
    Room,
    /// A message from a channel.
    Message,
    /// The message of a oneshot, or its end.
    Oneshot,
    /// More than one of these.
    Several,
}

impl Waits {
    pub(super) fn pack(self) -> usize {
        match self {
            Waits::Foreign => 0,
            Waits::Join(_) => unreachable!("joins are found by their joiner"),
            Waits::Waiter => 1,
            Waits::Children => 2,
            Waits::Several => 3,
            Waits::Turn => 4,
            Waits::Mutex => 5,
            Waits::Semaphore => 6,
            Waits::Room => 7,
            Waits::Message => 8,
            Waits::Oneshot => 9,
        }
    }

    pub(super) fn unpack(word: usize) -> Waits {
        match word {
            0 => Waits::Foreign,
            1 => Waits::Waiter,
            2 => Waits::Children,
            4 => Waits::Turn,
            5 => Waits::Mutex,
            6 => Waits::Semaphore,
            7 => Waits::Room,
            8 => Waits::Message,
            9 => Waits::Oneshot,
            _ => Waits::Several,
        }
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waits::Foreign => f.write_str("a foreign future"),
            Waits::Join(id) => write!(f, "the end of task {id}"),
            Waits::Waiter => f.write_str("a Waiter"),
            Waits::Children => f.write_str("its children"),
            Waits::Turn => f.write_str("its turn in a TaskSet"),
            Waits::Mutex => f.write_str("a Mutex"),
            Waits::Semaphore => f.write_str("a Semaphore"),
            Waits::Room => f.write_str("room in a channel"),
            Waits::Message => f.write_str("a message from a channel"),
            Waits::Oneshot => f.write_str("a oneshot message"),
            Waits::Several => f.write_str("several things"),
        }
    }
}
