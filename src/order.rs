//! Sorting by a number, always by the same code: a sort is long, and is compiled anew for each type
//! and each key.

/// Sorts by this key. Those with equal keys stay in their order. O(n) if there is nothing to do.
pub(crate) fn sort_by<T>(items: &mut Vec<T>, key: impl Fn(&T) -> u128) {
    let mut order: Vec<(u128, usize)> = items.iter().map(key).zip(0..).collect();
    if order.is_sorted() {
        return;
    }
    order.sort_unstable();
    let mut unsorted: Vec<Option<T>> = items.drain(..).map(Some).collect();
    items.extend(order.iter().filter_map(|&(_, at)| unsorted[at].take()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ones_stay_in_their_order() {
        let mut words = vec!["three", "one", "seven", "two", "a"];
        sort_by(&mut words, |word| word.len() as u128);
        assert_eq!(words, ["a", "one", "two", "three", "seven"]);
        sort_by(&mut words, |word| word.len() as u128);
        assert_eq!(words, ["a", "one", "two", "three", "seven"]);
    }
}
