//! Everybody who is there: pointers at stable indices, eight bytes each.

use std::ptr::{self, NonNull};

/// An entry is a pointer, or a vacancy: the index of the next vacancy, doubled, plus one. What is
/// pointed at is aligned to at least two, so the lowest bit tells them apart.
pub(crate) struct Roster<T> {
    entries: Vec<*mut T>,
    /// The first vacant index, or `NONE`.
    vacant: u32,
    len: usize,
}

/// Fits beside the lowest bit on 32-bit machines too.
const NONE: u32 = u32::MAX >> 1;

impl<T> Roster<T> {
    pub(crate) const fn new() -> Self {
        const { assert!(align_of::<T>() >= 2) };
        Roster { entries: Vec::new(), vacant: NONE, len: 0 }
    }

    #[inline]
    pub(crate) fn insert(&mut self, entry: NonNull<T>) -> u32 {
        self.len += 1;
        let index = self.vacant;
        // `NONE` is past the end.
        if let Some(place) = self.entries.get_mut(index as usize) {
            self.vacant = (place.addr() >> 1) as u32;
            *place = entry.as_ptr();
            return index;
        }
        self.append(entry)
    }

    #[inline(never)]
    fn append(&mut self, entry: NonNull<T>) -> u32 {
        assert!(self.entries.len() < NONE as usize, "boucle: 2 billion tasks in one loop");
        self.entries.push(entry.as_ptr());
        (self.entries.len() - 1) as u32
    }

    /// True if nobody is left: then [`Roster::rest`].
    #[inline]
    #[must_use]
    pub(crate) fn remove(&mut self, index: u32) -> bool {
        self.len -= 1;
        self.entries[index as usize] = ptr::without_provenance_mut((self.vacant as usize) << 1 | 1);
        self.vacant = index;
        self.len == 0
    }

    /// Gives the memory of a burst back, now that nobody is there.
    pub(crate) fn rest(&mut self) {
        debug_assert!(self.len == 0);
        if self.entries.len() > 1024 {
            self.entries = Vec::new();
            self.vacant = NONE;
        }
    }

    /// Begins anew, now that nobody is there, if so many entries have been enough. One vacancy is as
    /// good as none.
    #[inline]
    pub(crate) fn renew(&mut self, most: usize) -> bool {
        debug_assert!(self.len == 0);
        let is_small = self.entries.capacity() <= most;
        if is_small && self.entries.len() > 1 {
            self.entries.clear();
            self.vacant = NONE;
        }
        is_small
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many indices have ever been given out: the bound for [`Roster::get`].
    pub(crate) fn span(&self) -> u32 {
        self.entries.len() as u32
    }

    pub(crate) fn get(&self, index: u32) -> Option<NonNull<T>> {
        let entry = *self.entries.get(index as usize)?;
        if entry.addr() & 1 == 1 { None } else { NonNull::new(entry) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_stable_and_reused() {
        let mut values = [1_u32, 2, 3];
        let [a, b, c] = values.each_mut().map(NonNull::from);
        let mut roster = Roster::new();
        assert_eq!((roster.insert(a), roster.insert(b)), (0, 1));
        assert!(!roster.remove(0));
        assert_eq!((roster.get(0), roster.get(1), roster.get(2)), (None, Some(b), None));
        assert_eq!(roster.insert(c), 0);
        assert_eq!((roster.get(0), roster.span()), (Some(c), 2));
        assert!(!roster.remove(1) && roster.remove(0));
        roster.rest();
        assert_eq!((roster.insert(a), roster.insert(b), roster.span()), (0, 1, 2));
    }

    #[test]
    fn the_memory_of_a_burst_goes_with_the_last() {
        let mut value = 1_u32;
        let entry = NonNull::from(&mut value);
        let mut roster = Roster::new();
        for index in 0..2000 {
            assert_eq!(roster.insert(entry), index);
        }
        let last: Vec<_> = (0..2000).filter(|&index| roster.remove(index)).collect();
        assert_eq!(last, [1999]);
        roster.rest();
        assert_eq!((roster.span(), roster.entries.capacity(), roster.insert(entry)), (0, 0, 0));
    }
}
