//! Values in the order in which they came, each taken out in O(1).
//!
//! Each has a number, by which it is found. Who leaves makes a hole. When there are many more holes
//! than values, the values close ranks: less than one move for each value that has left. If all
//! holes are at the front, since values leave in the order in which they came, numbers stay as they
//! are; otherwise the nodes of the values are told of new ones.

use std::{
    mem::{self, ManuallyDrop},
    slice, vec,
};

pub(super) struct Row<T> {
    places: Vec<Place<T>>,
    /// The number of the first place. Numbers wrap around: no two of one row are the same.
    base: u32,
    len: usize,
}

struct Place<T> {
    /// Dropped by the row, so that nobody looks for something to drop in a hole.
    value: Option<ManuallyDrop<T>>,
    /// Who is to know where the value is.
    node: u32,
}

/// A row as long as this may be all holes.
const SHORT: usize = 64;

impl<T> Row<T> {
    pub(super) const fn new() -> Row<T> {
        Row { places: Vec::new(), base: 0, len: 0 }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The number that the next value will have.
    #[inline]
    pub(super) fn next(&self) -> u32 {
        let len = u32::try_from(self.places.len()).expect("boucle: 4 billion tasks in one set");
        self.base.wrapping_add(len)
    }

    #[inline]
    pub(super) fn push(&mut self, value: T, node: u32) -> &T {
        self.places.push(Place { value: Some(ManuallyDrop::new(value)), node });
        self.len += 1;
        let last = self.places.last().and_then(|place| place.value.as_deref());
        last.expect("it was just pushed")
    }

    /// Takes a value out; `moved` hears of every node whose value has a new number.
    #[inline]
    pub(super) fn remove(&mut self, number: u32, moved: impl FnMut(u32, u32)) -> Option<T> {
        let at = number.wrapping_sub(self.base) as usize;
        let value = self.places.get_mut(at)?.value.take()?;
        self.len -= 1;
        if self.places.len() > self.longest() {
            self.close_ranks(moved);
        }
        Some(ManuallyDrop::into_inner(value))
    }

    #[cold]
    #[inline(never)]
    fn close_ranks(&mut self, mut moved: impl FnMut(u32, u32)) {
        let holes = self.places.len() - self.len;
        if self.places[holes..].iter().all(|place| place.value.is_some()) {
            self.places.drain(..holes);
            self.base = self.base.wrapping_add(holes as u32);
        } else {
            self.places.retain(|place| place.value.is_some());
            let mut number = self.base;
            for place in &self.places {
                moved(place.node, number);
                number = number.wrapping_add(1);
            }
        }
        // A burst is over: give its memory back, but for what the holes need next time.
        if self.places.capacity() > 4 * self.longest() {
            self.places.shrink_to(2 * self.longest());
        }
    }

    /// How long the row may be, with its holes.
    #[inline]
    fn longest(&self) -> usize {
        8 * self.len + SHORT
    }

    /// All values, in order, which leaves none.
    pub(super) fn take(&mut self) -> vec::IntoIter<T> {
        let places = mem::take(&mut self.places);
        (self.base, self.len) = (0, 0);
        let values: Vec<T> = places
            .into_iter()
            .filter_map(|place| place.value.map(ManuallyDrop::into_inner))
            .collect();
        values.into_iter()
    }

    pub(super) fn iter(&self) -> Iter<'_, T> {
        Iter { places: self.places.iter(), left: self.len }
    }
}

impl<T> Drop for Row<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

pub(super) struct Iter<'r, T> {
    places: slice::Iter<'r, Place<T>>,
    left: usize,
}

impl<T> Clone for Iter<'_, T> {
    fn clone(&self) -> Self {
        Iter { places: self.places.clone(), left: self.left }
    }
}

impl<'r, T> Iterator for Iter<'r, T> {
    type Item = &'r T;

    fn next(&mut self) -> Option<&'r T> {
        let value = self.places.find_map(|place| place.value.as_deref())?;
        self.left -= 1;
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> DoubleEndedIterator for Iter<'_, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let value = self.places.by_ref().rev().find_map(|place| place.value.as_deref())?;
        self.left -= 1;
        Some(value)
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_whoever_leaves() {
        let mut row = Row::new();
        for (node, c) in (10..).zip("abcd".chars()) {
            assert_eq!(row.next(), node - 10);
            assert_eq!(*row.push(c, node), c);
        }
        let quiet = |_, _| panic!("nobody moves");
        assert_eq!((row.remove(1, quiet), row.remove(1, quiet)), (Some('b'), None));
        row.push('e', 14);
        assert_eq!(row.iter().collect::<String>(), "acde");
        assert_eq!(row.iter().rev().collect::<String>(), "edca");
        let mut both = row.iter();
        assert_eq!((both.next(), both.next_back(), both.len()), (Some(&'a'), Some(&'e'), 2));
        assert_eq!(both.collect::<String>(), "cd");
        assert_eq!((row.take().collect::<String>().as_str(), row.len()), ("acde", 0));
        assert_eq!((row.remove(0, quiet), row.iter().next()), (None, None));
    }

    #[test]
    fn ranks_are_closed_when_few_are_left_and_memory_goes_back() {
        let mut row = Row::new();
        for n in 0..10_000 {
            row.push(n, n);
        }
        // Where each is, by node.
        let mut at: Vec<u32> = (0..10_000).collect();
        let mut moves = 0;
        for n in (0..10_000).filter(|n| n % 100 != 7) {
            let taken = row.remove(at[n as usize], |node, place| {
                moves += 1;
                at[node as usize] = place;
            });
            assert_eq!(taken, Some(n));
        }
        let left: Vec<u32> = row.iter().copied().collect();
        assert_eq!(left, (7..10_000).step_by(100).collect::<Vec<_>>());
        assert!(moves > 0 && moves < 2_000, "{moves} moves");
        assert!(row.places.len() <= 8 * 100 + SHORT && row.places.capacity() < 4_000);
        for n in left {
            assert_eq!(row.remove(at[n as usize], |node, to| at[node as usize] = to), Some(n));
        }
        assert_eq!((row.len(), row.iter().count()), (0, 0));
    }

    #[test]
    fn numbers_stay_and_memory_goes_back_when_the_first_leave_first() {
        let quiet = |_, _| panic!("nobody gets a new number");
        let mut row = Row::new();
        // Numbers wrap around.
        row.base = u32::MAX - 5000;
        let numbers: Vec<u32> = (0..10_000)
            .map(|n| {
                let number = row.next();
                row.push(n, n);
                number
            })
            .collect();
        for n in 0..9_900 {
            assert_eq!(row.remove(numbers[n as usize], quiet), Some(n));
        }
        assert_eq!(row.remove(numbers[0], quiet), None);
        assert!(row.iter().copied().eq(9_900..10_000));
        assert!(row.places.len() <= 8 * 100 + SHORT && row.places.capacity() < 4_000);
        let last = row.next();
        row.push(10_000, 10_000);
        for n in 9_900..10_000 {
            assert_eq!(row.remove(numbers[n as usize], quiet), Some(n));
        }
        assert_eq!((row.remove(last, quiet), row.len()), (Some(10_000), 0));
    }

    #[test]
    fn values_are_dropped_once() {
        let value = std::rc::Rc::new(());
        let count = || std::rc::Rc::strong_count(&value) - 1;
        let full = || {
            let mut row = Row::new();
            for node in 0..100 {
                row.push(value.clone(), node);
            }
            drop(row.remove(7, |_, _| {}));
            row
        };
        let (dropped, mut taken) = (full(), full());
        assert_eq!(count(), 198);
        drop(dropped);
        assert_eq!(count(), 99);
        let mut values = taken.take();
        drop((values.next(), taken));
        assert_eq!(count(), 98);
        drop(values);
        assert_eq!(count(), 0);
    }
}
