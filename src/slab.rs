//! Values at stable small indices, which are reused.

pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    /// The first vacant index, or `NONE`.
    vacant: u32,
    len: usize,
}

enum Entry<T> {
    Occupied(T),
    /// The next vacant index, or `NONE`.
    Vacant(u32),
}

const NONE: u32 = u32::MAX;

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Slab { entries: Vec::new(), vacant: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let index = self.vacant;
        if let Some(entry) = self.entries.get_mut(index as usize) {
            match std::mem::replace(entry, Entry::Occupied(value)) {
                Entry::Vacant(next) => self.vacant = next,
                Entry::Occupied(_) => unreachable!("the list of vacancies holds vacant entries"),
            }
            self.len += 1;
            return index;
        }
        let index = self.entries.len() as u32;
        assert!(self.entries.len() < NONE as usize, "boucle: 4 billion entries in one table");
        self.entries.push(Entry::Occupied(value));
        self.len += 1;
        index
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let entry = self.entries.get_mut(index as usize)?;
        if matches!(entry, Entry::Vacant(_)) {
            return None;
        }
        let old = std::mem::replace(entry, Entry::Vacant(self.vacant));
        self.vacant = index;
        self.len -= 1;
        if self.len == 0 && self.entries.len() > 1024 {
            // A burst is over: give its memory back.
            self.entries = Vec::new();
            self.vacant = NONE;
        }
        match old {
            Entry::Occupied(value) => Some(value),
            Entry::Vacant(_) => None,
        }
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        match self.entries.get_mut(index as usize) {
            Some(Entry::Occupied(value)) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.entries.iter_mut().zip(0..).filter_map(|(entry, index)| match entry {
            Entry::Occupied(value) => Some((index, value)),
            Entry::Vacant(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_reused_and_values_come_back() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!((a, b, slab.len()), (0, 1, 2));
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.insert('c'), a);
        assert_eq!(slab.get_mut(a), Some(&mut 'c'));
        assert_eq!(slab.iter_mut().map(|(i, c)| (i, *c)).collect::<Vec<_>>(), [(0, 'c'), (1, 'b')]);
    }

    #[test]
    fn an_empty_slab_gives_the_memory_of_a_burst_back() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..5000).map(|n| slab.insert(n)).collect();
        for key in keys {
            assert!(slab.remove(key).is_some());
        }
        assert_eq!((slab.len(), slab.entries.capacity()), (0, 0));
        assert_eq!(slab.insert(7), 0);
    }
}
