//! Sorting by a number, always by the same code: a sort is long, and is compiled anew for each type
//! and each key.

use std::mem;

use crate::heap::Heap;

/// Sorts by this key. Those with equal keys stay in their order. O(n) if there is nothing to do.
pub(crate) fn sort_by<T>(items: &mut [T], key: impl Fn(&T) -> u64) {
    let mut keys = Vec::with_capacity(items.len());
    for item in &*items {
        keys.push(key(item));
    }
    sort(&keys, &mut |a, b| items.swap(a, b));
}

/// Tells which items change places, one pair after the other.
fn sort(keys: &[u64], swap: &mut dyn FnMut(usize, usize)) {
    if (1..keys.len()).all(|at| keys[at - 1] <= keys[at]) {
        return;
    }
    let mut left = Heap::new();
    for (at, key) in keys.iter().enumerate() {
        left.push(u128::from(*key) << 64 | at as u128);
    }
    // Who comes to each place.
    let mut order = Vec::with_capacity(keys.len());
    while let Some(least) = left.pop() {
        order.push(least as u64 as usize);
    }
    for start in 0..order.len() {
        // Round the circle of those who move on for each other; who has moved is a circle alone.
        let mut at = start;
        loop {
            let from = mem::replace(&mut order[at], at);
            if from == start {
                break;
            }
            swap(at, from);
            at = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ones_stay_in_their_order() {
        let mut words = vec!["three", "one", "seven", "two", "a"];
        sort_by(&mut words, |word| word.len() as u64);
        assert_eq!(words, ["a", "one", "two", "three", "seven"]);
        sort_by(&mut words, |word| word.len() as u64);
        assert_eq!(words, ["a", "one", "two", "three", "seven"]);
    }

    #[test]
    fn agrees_with_the_sort_of_std() {
        let mut state = 1_u64;
        for len in 0..200 {
            let mut items = Vec::new();
            for at in 0..len {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                items.push(((state >> 33) % (1 + len / 2), at));
            }
            let mut model = items.clone();
            model.sort_by_key(|(key, _)| *key);
            sort_by(&mut items, |(key, _)| *key);
            assert_eq!(items, model);
        }
    }
}
