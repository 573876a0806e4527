//! A heap whose nodes have four children: the least value first, half the levels of a binary one.

pub(crate) struct Heap<T> {
    items: Vec<T>,
}

const ARITY: usize = 4;

impl<T: Copy + Ord> Heap<T> {
    pub(crate) const fn new() -> Self {
        Heap { items: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn peek(&self) -> Option<T> {
        self.items.first().copied()
    }

    /// O(log n).
    pub(crate) fn push(&mut self, item: T) {
        self.items.push(item);
        self.rise(self.items.len() - 1);
    }

    /// O(log n).
    pub(crate) fn pop(&mut self) -> Option<T> {
        let last = self.items.pop()?;
        let Some(top) = self.items.first_mut() else { return Some(last) };
        let least = std::mem::replace(top, last);
        self.sink(0);
        Some(least)
    }

    /// Keeps what `keep` says and lets `keep` change it; gives surplus memory back. O(n).
    pub(crate) fn rebuild(&mut self, keep: impl FnMut(&mut T) -> bool) {
        self.items.retain_mut(keep);
        if self.items.len() < self.items.capacity() / 4 {
            self.items.shrink_to(self.items.len() * 2);
        }
        for at in (0..self.items.len().div_ceil(ARITY)).rev() {
            self.sink(at);
        }
    }

    fn rise(&mut self, mut at: usize) {
        let item = self.items[at];
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if self.items[parent] <= item {
                break;
            }
            self.items[at] = self.items[parent];
            at = parent;
        }
        self.items[at] = item;
    }

    fn sink(&mut self, mut at: usize) {
        let len = self.items.len();
        let Some(&item) = self.items.get(at) else { return };
        loop {
            let first = at * ARITY + 1;
            if first >= len {
                break;
            }
            let mut least = first;
            for child in first + 1..len.min(first + ARITY) {
                if self.items[child] < self.items[least] {
                    least = child;
                }
            }
            if item <= self.items[least] {
                break;
            }
            self.items[at] = self.items[least];
            at = least;
        }
        self.items[at] = item;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator (splitmix64), so that the test needs no crate and no seed.
    fn noise(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[test]
    fn agrees_with_a_sorted_map_under_random_use() {
        let (mut heap, mut model, mut seed) = (Heap::new(), std::collections::BTreeSet::new(), 7);
        for round in 0..20_000_u64 {
            match noise(&mut seed) % 5 {
                0..=2 => {
                    let item = (noise(&mut seed) % 1000, round);
                    heap.push(item);
                    model.insert(item);
                }
                3 => assert_eq!(heap.pop(), model.pop_first()),
                _ if round % 97 == 0 => {
                    heap.rebuild(|item| item.0 % 3 != 0);
                    model.retain(|item| item.0 % 3 != 0);
                }
                _ => assert_eq!(heap.peek(), model.first().copied()),
            }
            assert_eq!(heap.len(), model.len());
        }
        while let Some(item) = heap.pop() {
            assert_eq!(Some(item), model.pop_first());
        }
        assert!(model.is_empty());
    }

    #[test]
    fn whatever_a_rebuild_changes_is_in_order_afterwards() {
        for len in 0..40_u64 {
            let mut heap = Heap::new();
            (0..len).for_each(|item| heap.push(item));
            heap.rebuild(|item| {
                *item = len - *item;
                true
            });
            let popped: Vec<u64> = std::iter::from_fn(|| heap.pop()).collect();
            assert_eq!(popped, (1..=len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn memory_goes_back_when_less_than_a_quarter_is_used() {
        let left = |kept: fn(usize) -> usize| {
            let mut heap = Heap { items: Vec::with_capacity(64) };
            (0..64).for_each(|item| heap.push(item));
            let (before, kept) = (heap.items.capacity(), kept(heap.items.capacity()));
            heap.rebuild(|item| *item < kept);
            (before, kept, heap.items.capacity())
        };
        let (before, _, after) = left(|capacity| capacity / 4);
        assert_eq!(after, before);
        let (_, kept, after) = left(|capacity| capacity / 4 - 1);
        assert_eq!(after, 2 * kept);
    }
}
