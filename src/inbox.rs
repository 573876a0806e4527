//! An unbounded letter box: any thread posts, one thread empties it, and it can be closed.
//!
//! It knows how many writers there are, who may post at any time without a reason that its reader
//! knows of, and how many answers the reader is waiting for. Letters are never dropped while the
//! lock is held.

use crate::facade::{Mutex, lock};

pub(crate) struct Inbox<T> {
    letters: Mutex<Letters<T>>,
}

struct Letters<T> {
    waiting: Vec<T>,
    writers: usize,
    awaited: usize,
    closed: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        let letters = Letters { waiting: Vec::new(), writers: 0, awaited: 0, closed: false };
        Inbox { letters: Mutex::new(letters) }
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

    /// Whether it has not had a letter yet, for all that can be told, and nobody may write.
    pub(crate) fn is_new(&self) -> bool {
        let Letters { waiting, writers, awaited, closed } = &*lock(&self.letters);
        waiting.capacity() == 0 && *writers == 0 && *awaited == 0 && !*closed
    }

    /// One more writer.
    pub(crate) fn join(&self) {
        lock(&self.letters).writers += 1;
    }

    /// One writer less; true if it was the last. What it has posted is seen by whoever sees that
    /// it has left.
    pub(crate) fn leave(&self) -> bool {
        let mut letters = lock(&self.letters);
        letters.writers -= 1;
        letters.writers == 0
    }

    /// Whether nobody writes and no letter waits.
    pub(crate) fn is_quiet(&self) -> bool {
        let letters = lock(&self.letters);
        letters.writers == 0 && letters.waiting.is_empty()
    }

    /// Whether there are writers.
    pub(crate) fn has_writers(&self) -> bool {
        lock(&self.letters).writers > 0
    }

    /// One more answer is awaited.
    pub(crate) fn expect(&self) {
        lock(&self.letters).awaited += 1;
    }

    /// An answer has come, or is not awaited any more; true if it was the last.
    pub(crate) fn settle(&self) -> bool {
        let mut letters = lock(&self.letters);
        letters.awaited -= 1;
        letters.awaited == 0
    }

    /// Whether an answer is awaited.
    pub(crate) fn is_expecting(&self) -> bool {
        lock(&self.letters).awaited > 0
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
