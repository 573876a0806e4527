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

    #[inline]
    pub(crate) fn remove(&mut self, index: u32) {
        self.len -= 1;
        if self.len == 0 && self.entries.len() > 1024 {
            return self.burst_over();
        }
        self.entries[index as usize] = ptr::without_provenance_mut((self.vacant as usize) << 1 | 1);
        self.vacant = index;
    }

    /// Gives the memory of a burst back, now that nobody is there.
    #[cold]
    #[inline(never)]
    fn burst_over(&mut self) {
        self.entries = Vec::new();
        self.vacant = NONE;
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
        roster.remove(0);
        assert_eq!((roster.get(0), roster.get(1), roster.get(2)), (None, Some(b), None));
        assert_eq!(roster.insert(c), 0);
        assert_eq!((roster.get(0), roster.span()), (Some(c), 2));
        roster.remove(1);
        roster.remove(0);
        assert_eq!((roster.insert(a), roster.insert(b), roster.span()), (0, 1, 2));
    }
}
