//! Gaps closed, their means, and how sure these are.

use std::collections::BTreeMap;

use accel_core::rng::Rng;
use accel_core::run::gap_closed;

use crate::points::SEED;

/// Means of workloads drawn anew for an interval.
const RESAMPLES: usize = 10_000;
/// The share of them below an interval, and above it: it covers 95 %.
const OUTSIDE: f64 = 0.025;

/// (LRU - cost) / (LRU - best), at least -1: a policy that is much worse than LRU would outweigh all others. None where LRU
/// is the best.
pub fn closed(lru: u64, cost: u64, best: u64) -> Option<f64> {
    gap_closed(lru, cost, best).map(|gap| gap.max(-1.0))
}

/// A mean, and the interval that holds it in 95 % of all cases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// The mean; not a number where there is nothing.
    pub mean: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// Values that the mean is of.
    pub count: usize,
}

/// The mean of all values, with its percentile bootstrap (Efron 1979). Each value comes with its workload: workloads are
/// drawn, each with all of its values, because two memories of one workload tell less than two workloads.
pub fn mean<K: Ord>(values: impl Iterator<Item = (K, f64)>) -> Mean {
    // The sum and the number of values of each workload.
    let mut workloads: BTreeMap<K, (f64, usize)> = BTreeMap::new();
    for (workload, value) in values {
        let (sum, count) = workloads.entry(workload).or_default();
        (*sum, *count) = (*sum + value, *count + 1);
    }
    let workloads: Vec<(f64, usize)> = workloads.into_values().collect();
    let of = |drawn: &mut dyn Iterator<Item = (f64, usize)>| {
        let (sum, count) = drawn.fold((0.0, 0), |(sum, count), (more, values)| (sum + more, count + values));
        sum / count as f64
    };
    let mut rng = Rng::new(SEED, "bootstrap");
    let some = workloads.len() as u32;
    let mut draw = || of(&mut (0..some).map(|_| workloads[rng.below(some) as usize]));
    let mut means: Vec<f64> = if some == 0 { Vec::new() } else { (0..RESAMPLES).map(|_| draw()).collect() };
    means.sort_by(f64::total_cmp);
    let outside = (RESAMPLES as f64 * OUTSIDE) as usize;
    let end = |at: usize| means.get(at).copied().unwrap_or(f64::NAN);
    Mean {
        mean: of(&mut workloads.iter().copied()),
        low: end(outside),
        high: end(RESAMPLES - 1 - outside),
        count: workloads.iter().map(|(_, values)| values).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_by_hand() {
        assert_eq!(closed(100, 60, 20), Some(0.5));
        assert_eq!(closed(100, 20, 20), Some(1.0));
        assert_eq!(closed(100, 140, 20), Some(-0.5));
        // Ten times as bad as it could be good counts as bad as that.
        assert_eq!(closed(100, 900, 20), Some(-1.0));
        assert_eq!((closed(100, 50, 100), closed(100, 50, 120)), (None, None));
    }

    #[test]
    fn intervals_by_hand() {
        let none = mean(std::iter::empty::<(&str, f64)>());
        assert!(none.mean.is_nan() && none.low.is_nan() && none.count == 0);
        // One workload is drawn whatever is drawn.
        let one = mean([("a", 0.2), ("a", 0.4)].into_iter());
        assert!((one.mean - 0.3).abs() < 1e-12 && one.low == one.mean && one.high == one.mean, "{one:?}");
        // Of two, either is drawn twice in a quarter of all cases.
        let two = mean([("a", 0.0), ("b", 1.0)].into_iter());
        assert_eq!((two.mean, two.low, two.high, two.count), (0.5, 0.0, 1.0, 2));
        // Four hundred: the mean of as many coins lies within 1.96 x 0.5 / 20 of their half.
        let names: Vec<String> = (0..400).map(|i| i.to_string()).collect();
        let many = mean(names.iter().enumerate().map(|(i, name)| (name.as_str(), (i % 2) as f64)));
        assert!((many.low - 0.451).abs() < 0.004 && (many.high - 0.549).abs() < 0.004, "{many:?}");
        // The same values as one hundred workloads of four: twice as wide.
        let few = mean(names.iter().enumerate().map(|(i, _)| (names[i / 4].as_str(), (i / 4 % 2) as f64)));
        assert!((few.low - 0.402).abs() < 0.008 && (few.high - 0.598).abs() < 0.008, "{few:?}");
        assert_eq!(few.count, 400);
    }
}
