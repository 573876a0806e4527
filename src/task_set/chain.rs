//! Values in the order in which they came, at indices that stay: a linked list through a slab.

use crate::slab::Slab;

pub(super) struct Chain<T> {
    links: Slab<Link<T>>,
    first: u32,
    last: u32,
}

struct Link<T> {
    value: Option<T>,
    before: u32,
    after: u32,
}

const NONE: u32 = u32::MAX;

impl<T> Chain<T> {
    pub(super) const fn new() -> Chain<T> {
        Chain { links: Slab::new(), first: NONE, last: NONE }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// Adds a value at the end.
    #[inline]
    pub(super) fn push(&mut self, value: T) -> u32 {
        let before = self.last;
        let index = self.links.insert(Link { value: Some(value), before, after: NONE });
        match self.links.get_mut(before) {
            Some(link) => link.after = index,
            None => self.first = index,
        }
        self.last = index;
        index
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.links.get(index)?.value.as_ref()
    }

    #[inline]
    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let link = self.links.get_mut(index)?;
        let value = link.value.take()?;
        let (before, after) = (link.before, link.after);
        match self.links.get_mut(before) {
            Some(link) => link.after = after,
            None => self.first = after,
        }
        match self.links.get_mut(after) {
            Some(link) => link.before = before,
            None => self.last = before,
        }
        self.links.vacate(index);
        Some(value)
    }

    pub(super) fn pop_first(&mut self) -> Option<T> {
        self.remove(self.first)
    }

    pub(super) fn iter(&self) -> Iter<'_, T> {
        Iter { chain: self, first: self.first, last: self.last, left: self.len() }
    }
}

pub(super) struct Iter<'c, T> {
    chain: &'c Chain<T>,
    first: u32,
    last: u32,
    left: usize,
}

impl<T> Clone for Iter<'_, T> {
    fn clone(&self) -> Self {
        Iter { ..*self }
    }
}

impl<'c, T> Iterator for Iter<'c, T> {
    type Item = &'c T;

    fn next(&mut self) -> Option<&'c T> {
        self.left = self.left.checked_sub(1)?;
        let link = self.chain.links.get(self.first)?;
        self.first = link.after;
        link.value.as_ref()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> DoubleEndedIterator for Iter<'_, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let link = self.chain.links.get(self.last)?;
        self.last = link.before;
        link.value.as_ref()
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_whoever_leaves() {
        let mut chain = Chain::new();
        let at = ['a', 'b', 'c', 'd'].map(|c| chain.push(c));
        assert_eq!(chain.remove(at[1]), Some('b'));
        assert_eq!(chain.remove(at[1]), None);
        chain.push('e');
        assert_eq!(chain.iter().collect::<String>(), "acde");
        assert_eq!(chain.iter().rev().collect::<String>(), "edca");
        assert_eq!(chain.get(at[2]), Some(&'c'));
        let mut both = chain.iter();
        assert_eq!((both.next(), both.next_back(), both.len()), (Some(&'a'), Some(&'e'), 2));
        assert_eq!(
            (chain.remove(at[0]), chain.pop_first(), chain.len()),
            (Some('a'), Some('c'), 2)
        );
        let last = chain.iter().next_back().copied();
        assert_eq!((last, chain.pop_first(), chain.pop_first()), (Some('e'), Some('d'), Some('e')));
        assert_eq!((chain.pop_first(), chain.iter().next()), (None, None));
    }
}
