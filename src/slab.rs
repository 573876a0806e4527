//! Values at stable small indices, which are reused.
//!
//! Whoever was given an index vacates it, once. The value is left there until the index is given
//! out again, so the caller empties it first, and values carry no mark of being in use.

pub(crate) struct Slab<T> {
    entries: Vec<T>,
    /// The indices that are not in use; the last is the first to be used again.
    vacant: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Slab { entries: Vec::new(), vacant: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.vacant.len()
    }

    /// Whether it has nothing, memory included.
    pub(crate) fn is_new(&self) -> bool {
        self.entries.capacity() == 0 && self.vacant.capacity() == 0
    }

    #[inline]
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(index) = self.vacant.pop() {
            self.entries[index as usize] = value;
            return index;
        }
        self.append(value)
    }

    #[inline(never)]
    fn append(&mut self, value: T) -> u32 {
        let index = u32::try_from(self.entries.len()).ok().filter(|&index| index < u32::MAX);
        let index = index.expect("boucle: 4 billion entries in one table");
        self.entries.push(value);
        index
    }

    #[inline]
    pub(crate) fn vacate(&mut self, index: u32) {
        debug_assert!(self.vacant.len() > 64 || !self.vacant.contains(&index), "vacated twice");
        self.vacant.push(index);
        if self.vacant.len() > 1024 && self.len() == 0 {
            // A burst is over: give its memory back.
            *self = Slab::new();
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(index as usize)
    }

    /// All values, those at vacant indices included.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        (0..).zip(&mut self.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_reused() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!((a, b, slab.len()), (0, 1, 2));
        slab.vacate(a);
        assert_eq!((slab.insert('c'), slab.len()), (a, 2));
        assert_eq!(slab.get_mut(a), Some(&mut 'c'));
        assert_eq!(slab.iter_mut().map(|(i, c)| (i, *c)).collect::<Vec<_>>(), [(0, 'c'), (1, 'b')]);
    }

    #[test]
    fn an_empty_slab_gives_the_memory_of_a_burst_back() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..5000).map(|n| slab.insert(n)).collect();
        for key in keys {
            slab.vacate(key);
        }
        assert_eq!((slab.len(), slab.entries.capacity(), slab.vacant.capacity()), (0, 0, 0));
        assert_eq!(slab.insert(7), 0);
    }
}
