//! How unequally tensors are used: shares of the most used, and the Zipf law that fits best.

use serde::{Deserialize, Serialize};

use super::Trace;
use crate::order;

/// Points of the curve over ranks, at most: two to three pixels of a chart each (ours).
const POINTS: usize = 240;
/// Shares of the tensors, the most used first, of which it is told how much of the accesses they take.
const SHARES: [f64; 3] = [0.001, 0.01, 0.1];
/// Exponents between which the best is looked for; beyond 20 the second tensor has no millionth of the accesses.
const EXPONENTS: [f64; 2] = [0.0, 20.0];
/// Halvings of that range: until the last digits of a number.
const HALVINGS: usize = 60;

/// How often the tensor of a rank is used; rank 1 is the most used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rank {
    /// The rank, from 1.
    pub rank: u64,
    /// Accesses to the tensor of that rank.
    pub accesses: u64,
}

/// How much of the accesses the most used tensors take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// The most used tensors, as a share of all, rounded up to one tensor.
    pub share_of_tensors: f64,
    /// Their accesses as a share of all.
    pub share_of_accesses: f64,
}

/// Accesses in proportion to rank^-exponent over the ranks that there are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Zipf {
    /// The exponent of greatest likelihood; 0 where all are used alike.
    pub exponent: f64,
    /// Its standard error, if accesses are drawn from such a law one by one.
    pub standard_error: f64,
    /// Whether they are: the largest difference between the shares of accesses up to a rank, as they are and as the law
    /// has them (Kolmogorov and Smirnov's distance), 0..=1.
    pub distance: f64,
}

/// How unequally tensors are used.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Popularity {
    /// Tensors that are used once.
    pub once: u64,
    /// Shares of the most used.
    pub top: Vec<Top>,
    /// The law that fits best; none for a single tensor.
    pub zipf: Option<Zipf>,
    /// Accesses by rank, at ranks in equal ratios.
    pub ranks: Vec<Rank>,
}

impl Popularity {
    /// The popularity of the tensors of `trace`.
    pub fn of(trace: &Trace) -> Self {
        let mut uses = vec![0u64; trace.tensors().len()];
        trace.accesses().iter().for_each(|tensor| uses[*tensor as usize] += 1);
        order::sort_numbers(&mut uses);
        uses.reverse();
        Self::of_counts(&uses)
    }

    /// The same of counts that fall with the rank.
    fn of_counts(uses: &[u64]) -> Self {
        let all: u64 = uses.iter().sum();
        let share = |accesses: u64| accesses as f64 / all.max(1) as f64;
        let top = SHARES.map(|part| {
            let tensors = (part * uses.len() as f64).ceil() as usize;
            Top {
                share_of_tensors: tensors as f64 / uses.len().max(1) as f64,
                share_of_accesses: share(uses[..tensors].iter().sum()),
            }
        });
        let last = uses.len().max(1) as f64;
        let mut ranks: Vec<usize> =
            (0..POINTS).map(|i| last.powf(i as f64 / (POINTS - 1) as f64).round() as usize).collect();
        ranks.dedup();
        let rank = |rank: usize| Some(Rank { rank: rank as u64, accesses: *uses.get(rank - 1)? });
        Self {
            once: (uses.len() - uses.partition_point(|count| *count > 1)) as u64,
            top: top.to_vec(),
            zipf: Zipf::fit(uses),
            ranks: ranks.into_iter().filter_map(rank).collect(),
        }
    }
}

impl Zipf {
    /// The law that fits counts best that fall with the rank.
    ///
    /// The likelihood of exponent s is greatest where the law's mean of ln(rank) is that of the accesses; that mean falls
    /// as s grows, and its slope is the variance of ln(rank), from which the standard error comes.
    fn fit(uses: &[u64]) -> Option<Self> {
        let all: u64 = uses.iter().sum();
        if uses.len() < 2 {
            return None;
        }
        let logs: Vec<f64> = (1..=uses.len()).map(|rank| (rank as f64).ln()).collect();
        let mean = uses.iter().zip(&logs).map(|(count, log)| *count as f64 * log).sum::<f64>() / all as f64;
        let [mut low, mut high] = EXPONENTS;
        for _ in 0..HALVINGS {
            let middle = (low + high) / 2.0;
            if moments(&logs, middle).0 > mean {
                low = middle
            } else {
                high = middle
            }
            if high - low < 1e-9 {
                break;
            }
        }
        let exponent = (low + high) / 2.0;
        let (_, variance, sum) = moments(&logs, exponent);
        let (mut so_far, mut expected, mut distance) = (0u64, 0.0, 0.0f64);
        for (count, log) in uses.iter().zip(&logs) {
            so_far += count;
            expected += (-exponent * log).exp() / sum;
            distance = distance.max((so_far as f64 / all as f64 - expected).abs());
        }
        // Exponentials differ in their last digits from one system to the next.
        let rounded = |number: f64| (number * 1e6).round() / 1e6;
        let standard_error = 1.0 / (all as f64 * variance).sqrt();
        Some(Self { exponent: rounded(exponent), standard_error: rounded(standard_error), distance: rounded(distance) })
    }
}

/// Mean and variance of the logarithms of the ranks under the law of this exponent, and the sum of its weights.
fn moments(logs: &[f64], exponent: f64) -> (f64, f64, f64) {
    let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
    for log in logs {
        let weight = (-exponent * log).exp();
        sum += weight;
        first += weight * log;
        second += weight * log * log;
    }
    let mean = first / sum;
    (mean, second / sum - mean * mean, sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Draws from the law itself: the exponent comes out within four standard errors, and the distance is small.
    #[test]
    fn the_exponent_of_a_drawn_trace_comes_out() {
        let tensors = 200;
        for (exponent, draws) in [(0.6, 200_000u32), (1.0, 200_000), (1.5, 100_000)] {
            let mut sums: Vec<f64> = Vec::new();
            for rank in 1..=tensors {
                sums.push(sums.last().copied().unwrap_or(0.0) + f64::from(rank).powf(-exponent));
            }
            let all = sums[sums.len() - 1];
            let mut rng = Rng::new(7, "zipf");
            let mut uses = vec![0u64; sums.len()];
            for _ in 0..draws {
                let drawn = rng.unit() * all;
                uses[sums.partition_point(|sum| *sum < drawn)] += 1;
            }
            uses.sort_unstable_by(|a, b| b.cmp(a));
            let zipf = Zipf::fit(&uses).unwrap();
            assert!((zipf.exponent - exponent).abs() < 4.0 * zipf.standard_error + 0.005, "{exponent} {zipf:?}");
            assert!(zipf.distance < 0.01, "{exponent} {zipf:?}");
        }
    }

    #[test]
    fn equal_uses_have_no_exponent_and_others_are_far_from_the_law() {
        let equal = Popularity::of_counts(&[5; 100]);
        let zipf = equal.zipf.unwrap();
        assert!(zipf.exponent < 1e-6 && zipf.distance < 1e-6, "{zipf:?}");
        assert_eq!((equal.once, equal.top[2].share_of_accesses), (0, 0.1));
        // Half of the tensors a thousand times, the others once.
        let mut uses = vec![1000; 50];
        uses.extend([1; 50]);
        let two = Popularity::of_counts(&uses);
        assert!(two.zipf.unwrap().distance > 0.1, "{two:?}");
        assert_eq!(two.once, 50);
        assert_eq!((two.ranks[0], two.ranks.last().unwrap().rank), (Rank { rank: 1, accesses: 1000 }, 100));
        assert_eq!(Popularity::of_counts(&[3]).zipf, None);
    }
}
