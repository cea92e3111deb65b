//! Sorting. Each sort of the standard library is several kilobytes of the page for every type that is sorted, so what need
//! not be fast in its own way is sorted here, as one of two types.

/// Sorts by key, equal keys by index.
pub fn sort(keyed: &mut [(u64, u32)]) {
    keyed.sort_unstable();
}

/// The indices of `keys`, by rising key; those of equal keys in their order.
pub fn by_key(keys: impl Iterator<Item = u64>) -> Vec<u32> {
    let mut keyed: Vec<(u64, u32)> = keys.zip(0..).collect();
    sort(&mut keyed);
    keyed.into_iter().map(|(_, index)| index).collect()
}

/// The same of keys that take two numbers, the first of which goes before the second.
pub fn by_two_keys(keys: &[(u64, u64)]) -> Vec<u32> {
    let by_second = by_key(keys.iter().map(|(_, second)| *second));
    let order = by_key(by_second.iter().map(|index| keys[*index as usize].0));
    order.into_iter().map(|place| by_second[place as usize]).collect()
}

/// The bits of `value`, which order as the numbers do ([`f64::total_cmp`]).
pub fn bits(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// Sorts numbers.
pub fn sort_numbers(numbers: &mut [u64]) {
    numbers.sort_unstable();
}

/// The numbers that are there, rising.
pub fn distinct(numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut numbers: Vec<u64> = numbers.into_iter().collect();
    sort_numbers(&mut numbers);
    numbers.dedup();
    numbers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_stable_sort_of_the_standard_library(keys in prop::collection::vec((0u64..5, 0u64..5), 0..60)) {
            let indices = |sorted: Vec<(usize, &(u64, u64))>| sorted.into_iter().map(|(i, _)| i as u32).collect::<Vec<_>>();
            let mut sorted: Vec<_> = keys.iter().enumerate().collect();
            sorted.sort_by_key(|(_, key)| **key);
            prop_assert_eq!(by_two_keys(&keys), indices(sorted));
            let mut sorted: Vec<_> = keys.iter().enumerate().collect();
            sorted.sort_by_key(|(_, key)| key.0);
            prop_assert_eq!(by_key(keys.iter().map(|key| key.0)), indices(sorted));
        }

        #[test]
        fn bits_order_as_numbers(a: f64, b: f64) {
            prop_assert_eq!(bits(a).cmp(&bits(b)), a.total_cmp(&b));
        }
    }
}
