//! An unbounded letter box: any thread posts, one thread empties it, and it can be closed.

use crate::facade::{Mutex, lock};

pub(crate) struct Inbox<T> {
    letters: Mutex<Letters<T>>,
}

struct Letters<T> {
    waiting: Vec<T>,
    closed: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Inbox { letters: Mutex::new(Letters { waiting: Vec::new(), closed: false }) }
    }

    /// Leaves a letter; hands it back when the box is closed. Never waits for the reader.
    pub(crate) fn post(&self, letter: T) -> Result<(), T> {
        let mut letters = lock(&self.letters);
        if letters.closed {
            return Err(letter);
        }
        letters.waiting.push(letter);
        Ok(())
    }

    /// Exchanges the letters for an empty vector, whose capacity is used from now on.
    pub(crate) fn swap(&self, with: &mut Vec<T>) {
        debug_assert!(with.is_empty());
        std::mem::swap(&mut lock(&self.letters).waiting, with);
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.letters).closed
    }

    /// Closes the box for ever and returns what was in it.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut letters = lock(&self.letters);
        letters.closed = true;
        std::mem::take(&mut letters.waiting)
    }
}
