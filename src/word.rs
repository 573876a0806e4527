//! The one word of a task that other threads may write.
//!
//! At home, references are counted in plain cells. Elsewhere they are counted here, as a
//! difference that may be negative: a waker cloned at home and dropped elsewhere counts +1 there
//! and -1 here. The sum of the two counts is the number of wakers that exist.
//!
//! | bit | set | cleared |
//! |---|---|---|
//! | `WAKE` | by a wake elsewhere | when home collects the word |
//! | `POSTED` | by whoever then posts a letter about this word; the letter keeps the memory | when home collects the word, or the letter cannot be delivered |
//! | `ORPHAN` | once, when the loop goes | never: from now on the count is all there is |
//!
//! A wake elsewhere is one read-modify-write, always done, even when a letter is already on its
//! way: that is what hands the writer's memory over to the poll that follows. The bits never
//! leave this file.

use crate::facade::{AtomicUsize, Ordering, planted};

const WAKE: usize = 1;
const POSTED: usize = 2;
const ORPHAN: usize = 4;
const SHIFT: u32 = 3;
const ONE: usize = 1 << SHIFT;

/// More wakers than this of one task mean a program that leaks them. At most half of what the
/// count can hold: the other half is room for threads that race past the check.
const LIMIT: isize = if isize::BITS == 64 { 1 << 30 } else { isize::MAX >> (SHIFT + 1) };

pub(crate) struct Word(AtomicUsize);

/// What the sender of a wake or a drop has to do next.
#[must_use]
#[derive(Debug, PartialEq)]
pub(crate) enum Sent {
    /// Nothing: a letter is on its way already, or nobody is left to read one.
    Done,
    /// Post a letter about this word.
    Post,
    /// Free the memory: that was the last reference, and no loop is there to notice.
    Last,
}

/// What home sees when it looks.
#[derive(Debug, PartialEq)]
pub(crate) enum Peeked {
    /// Wakers cloned elsewhere less wakers dropped elsewhere since home last collected.
    ///
    /// When home's own count plus this one is zero, no waker exists, so none can appear: the
    /// answer does not go stale until home makes a waker itself.
    Count(isize),
    /// A letter is on its way.
    Posted,
    /// The loop is gone.
    Orphan,
}

/// What home finds when it collects a word.
pub(crate) struct Collected {
    /// Wakers cloned elsewhere less wakers dropped elsewhere since the last time.
    pub(crate) clones: isize,
    pub(crate) wake: bool,
}

fn count(word: usize) -> isize {
    (word as isize) >> SHIFT
}

impl Word {
    pub(crate) fn new() -> Self {
        Word(AtomicUsize::new(0))
    }

    /// A word that never had a loop; `count` references exist.
    pub(crate) fn orphan(count: usize) -> Self {
        Word(AtomicUsize::new(ORPHAN + count * ONE))
    }

    /// A waker was cloned elsewhere. Aborts when there are absurdly many.
    pub(crate) fn cloned(&self) {
        // Ordering: Relaxed, as for any count that only grows here: the clone that is read
        // through keeps the memory meanwhile.
        let old = self.0.fetch_add(ONE, Ordering::Relaxed);
        if count(old) >= LIMIT {
            too_many("a task has more wakers");
        }
    }

    /// A wake, a waker's drop, or both at once, elsewhere.
    pub(crate) fn send(&self, wake: bool, dropped: bool) -> Sent {
        let less = if dropped { ONE } else { 0 };
        let mut old = self.0.load(Ordering::Relaxed);
        loop {
            let orphan = old & ORPHAN != 0;
            let bits = match (orphan, wake) {
                (true, _) => 0,
                (false, true) => WAKE | POSTED,
                (false, false) => POSTED,
            };
            let new = (old | bits).wrapping_sub(less);
            // Ordering: Release hands over what this thread wrote before the wake or the drop;
            // Acquire is for the last reference of an orphan, which frees what others released.
            let order = if planted("relaxed") { Ordering::Relaxed } else { Ordering::AcqRel };
            let is_last = count(new) == 0 || planted("use_after_free") && count(new) == 1;
            match self.0.compare_exchange_weak(old, new, order, Ordering::Relaxed) {
                Ok(_) if planted("leak") && orphan => return Sent::Done,
                Ok(_) if orphan && dropped && is_last && new & POSTED == 0 => {
                    return Sent::Last;
                }
                Ok(_) if !orphan && old & POSTED == 0 => return Sent::Post,
                Ok(_) => return Sent::Done,
                Err(now) => old = now,
            }
        }
    }

    /// Home reads the letter: takes the count over and forgets the wake.
    pub(crate) fn collect(&self) -> Collected {
        // Ordering: Acquire sees what the wakers wrote; Release lets a thread that finds POSTED
        // cleared again see that home is done with the previous letter.
        let old = self.0.swap(0, Ordering::AcqRel);
        debug_assert!(old & ORPHAN == 0, "collected after the loop was gone");
        Collected { clones: count(old), wake: old & WAKE != 0 }
    }

    /// Home adds what it has counted itself, which it then forgets.
    #[cold]
    pub(crate) fn add(&self, home: isize) {
        // Ordering: Relaxed, since home alone looks at the sum; the lower bits stay as they are.
        let add = (home << SHIFT) as usize;
        if count(self.0.fetch_add(add, Ordering::Relaxed).wrapping_add(add)) > LIMIT {
            too_many("a task has more wakers");
        }
    }

    /// Whether no other thread has ever used this word since home last collected it.
    #[inline]
    pub(crate) fn is_untouched(&self) -> bool {
        // Ordering: as in `peek`.
        self.0.load(Ordering::Acquire) == 0
    }

    /// Home looks without taking.
    #[inline]
    pub(crate) fn peek(&self) -> Peeked {
        // Ordering: Acquire, since a sum of zero is followed by freeing the memory.
        match self.0.load(Ordering::Acquire) {
            word if word & ORPHAN != 0 => Peeked::Orphan,
            word if word & POSTED != 0 => Peeked::Posted,
            word => Peeked::Count(count(word)),
        }
    }

    /// The loop goes: home adds its own count for ever. True if nothing is left to wait for.
    pub(crate) fn abandon(&self, home: isize) -> bool {
        // Ordering: as in `send`; the addition cannot touch the lower bits, ORPHAN was clear.
        let add = (home << SHIFT) as usize + ORPHAN;
        let new = self.0.fetch_add(add, Ordering::AcqRel).wrapping_add(add);
        count(new) == 0 && new & POSTED == 0
    }

    /// A letter came back, or was found when the box was closed. True if the memory must be freed.
    pub(crate) fn returned(&self) -> bool {
        // Ordering: as in `send`.
        let old = self.0.fetch_and(!(POSTED | WAKE), Ordering::AcqRel);
        debug_assert!(old & ORPHAN != 0, "boxes close after every word is an orphan");
        count(old) == 0
    }

    /// Brings the count to its limit.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn fill(&self) {
        self.0.store((LIMIT as usize) << SHIFT, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_orphan(&self) -> bool {
        // Ordering: Relaxed; the bit never clears, and whoever acts on it does so in `send`.
        self.0.load(Ordering::Relaxed) & ORPHAN != 0
    }
}

/// A program that leaks wakers by the billion would wrap the count and free memory in use.
#[cold]
pub(crate) fn too_many(what: &str) -> ! {
    eprintln!("boucle: {what} than can be counted, aborting; are they forgotten?");
    std::process::abort()
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn one_letter_for_many_wakes() {
        let word = Word::new();
        assert_eq!(word.send(true, false), Sent::Post);
        assert_eq!(word.send(true, false), Sent::Done);
        assert_eq!(word.send(false, true), Sent::Done);
        assert_eq!(word.peek(), Peeked::Posted);
        let found = word.collect();
        assert_eq!((found.clones, found.wake), (-1, true));
        assert_eq!(word.peek(), Peeked::Count(0));
        assert_eq!(word.send(false, true), Sent::Post);
    }

    #[test]
    fn an_orphan_is_freed_by_its_last_reference() {
        let word = Word::new();
        word.cloned();
        assert!(!word.abandon(1));
        assert_eq!(word.send(true, false), Sent::Done);
        assert_eq!(word.send(true, true), Sent::Done);
        assert_eq!(word.send(false, true), Sent::Last);
    }

    #[test]
    fn a_letter_on_its_way_keeps_an_orphan() {
        let word = Word::new();
        word.cloned();
        assert_eq!(word.send(true, true), Sent::Post);
        assert!(!word.abandon(0));
        assert!(word.returned());
    }

    #[test]
    fn a_letter_that_came_back_leaves_the_count_as_it_was() {
        let word = Word::new();
        word.cloned();
        word.cloned();
        assert_eq!(word.send(true, true), Sent::Post);
        assert!(!word.abandon(0));
        assert!(!word.returned(), "a waker is left");
        assert_eq!(word.send(false, true), Sent::Last);
    }

    #[test]
    fn an_abandoned_word_that_nobody_refers_to_is_free() {
        let word = Word::new();
        assert!(word.abandon(0));
        assert_eq!(word.peek(), Peeked::Orphan);
    }

    #[test]
    fn as_many_as_the_limit_are_not_too_many() {
        let word = Word::new();
        word.fill();
        word.add(0);
        assert_eq!(word.peek(), Peeked::Count(LIMIT));
    }
}
