//! Kolmogorov–Smirnov's test of whether draws fall on four values with equal probability, exact for every number of
//! draws.
//!
//! D takes few values, so its own probability steps over 5 %: with 48 draws it rejects 4.6 %, with 40 it is 2.5 %. A
//! second statistic, the sum of squared deviations (Cramér–von Mises), orders the outcomes of equal D and splits the
//! steps. The p-value stays exact: any order of the outcomes that is fixed beforehand gives one that is at most uniform.

use crate::workload::synthetic::SIZES_MB;

/// Draws that fell on each value.
pub(super) type DrawCounts = [u64; SIZES_MB.len()];
// The sum below halves the values twice.
const _: () = assert!(SIZES_MB.len() == 4);

/// How far the cumulative counts stray from those of the uniform law, times four: whole numbers, so that
/// comparisons are exact. The last is always 0 and left out. D is the greatest, over four times the draws.
pub(super) fn deviations(counts: &DrawCounts) -> [u64; SIZES_MB.len() - 1] {
    let n: u64 = counts.iter().sum();
    let mut seen = 0;
    std::array::from_fn(|j| {
        seen += counts[j];
        (seen * SIZES_MB.len() as u64).abs_diff(n * (j as u64 + 1))
    })
}

/// The exact probability that n uniform draws stray as far as `counts` or farther: with a greater D, or with the
/// same D and a sum of squared deviations (Cramér–von Mises) as great or greater.
///
/// Given how many draws fall in the first two categories, how those and the others split in halves is independent:
/// the sum runs over that count and the count of the first, the third is a range of a cumulative binomial.
pub(super) fn p_value(counts: &DrawCounts) -> f64 {
    let n: u64 = counts.iter().sum();
    let observed = deviations(counts);
    let d = observed.into_iter().max().unwrap_or(0);
    // Dvoretzky-Kiefer-Wolfowitz, with Massart's constant: p <= 2 exp(-2 n (d / 4n)^2). Beyond this the p-value
    // rounds to 0; within, squares of deviations stay far below 2^63 and the sums within some eight square roots of n.
    if u128::from(d) * u128::from(d) > 15 * 16 * u128::from(n) {
        return 0.0;
    }
    let squares = |deviations: &[u64]| deviations.iter().map(|a| a * a).sum::<u64>();
    let w = squares(&observed);
    let mut nearer = 0.0;
    for (two, p_two) in Halves::of(n).probabilities() {
        let middle = (4 * two).abs_diff(2 * n);
        if middle > d {
            continue;
        }
        let rest = Halves::of(n - two);
        let cumulative = rest.cumulative();
        for (one, p_one) in Halves::of(two).probabilities() {
            let first = (4 * one).abs_diff(n);
            if first > d {
                continue;
            }
            // The last deviation must be below `limit` for the outcome to be nearer than the one observed.
            let left = w.saturating_sub(squares(&[first, middle]));
            let limit = match first.max(middle) == d {
                true => ceil_sqrt(left).min(d + 1),
                false => d + u64::from(d * d < left),
            };
            // |4 three - 3n| < limit
            let from = (3 * n + 4).saturating_sub(limit) / 4;
            let to = (3 * n + limit).div_ceil(4);
            let below = |three: u64| {
                let at = three.saturating_sub(two).saturating_sub(rest.first) as usize;
                cumulative[at.min(cumulative.len() - 1)]
            };
            if limit > 0 {
                nearer += p_two * p_one * (below(to) - below(from));
            }
        }
    }
    (1.0 - nearer).clamp(0.0, 1.0)
}

/// The smallest number whose square is at least `square`.
fn ceil_sqrt(square: u64) -> u64 {
    let root = square.isqrt();
    root + u64::from(root * root < square)
}

/// How many of n draws fall in the first of two equal halves, where that has a probability worth a sum.
struct Halves {
    first: u64,
    probability: Vec<f64>,
}

impl Halves {
    /// Walks outwards from the middle by the ratio of neighbours: four operations that every platform rounds alike.
    fn of(n: u64) -> Self {
        // Relative to the middle: what is left out sums to less than the last bit of a double.
        const LEAST: f64 = 1e-22;
        let middle = n / 2;
        let mut up = vec![1.0];
        let mut k = middle;
        while k < n && up[up.len() - 1] > LEAST {
            up.push(up[up.len() - 1] * (n - k) as f64 / (k + 1) as f64);
            k += 1;
        }
        let mut down = Vec::new();
        let (mut k, mut p) = (middle, 1.0);
        while k > 0 && p > LEAST {
            p *= k as f64 / (n - k + 1) as f64;
            down.push(p);
            k -= 1;
        }
        down.reverse();
        down.append(&mut up);
        let total: f64 = down.iter().sum();
        down.iter_mut().for_each(|p| *p /= total);
        Self { first: k, probability: down }
    }

    fn probabilities(&self) -> impl Iterator<Item = (u64, f64)> {
        self.probability.iter().enumerate().map(|(i, p)| (self.first + i as u64, *p))
    }

    /// The probability of fewer than `first + i`, for each i.
    fn cumulative(&self) -> Vec<f64> {
        let mut out = vec![0.0];
        for (i, p) in self.probability.iter().enumerate() {
            out.push(out[i] + p);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All ways in which n draws can fall, with their number among the 4^n.
    fn outcomes(n: u64) -> Vec<(DrawCounts, f64)> {
        let mut factorial = vec![1.0];
        (1..=n).for_each(|k| factorial.push(factorial[k as usize - 1] * k as f64));
        let mut out = Vec::new();
        for a in 0..=n {
            for b in 0..=n - a {
                for c in 0..=n - a - b {
                    let counts = [a, b, c, n - a - b - c];
                    let ways = counts.iter().fold(factorial[n as usize], |ways, k| ways / factorial[*k as usize]);
                    out.push((counts, ways / 4f64.powi(n as i32)));
                }
            }
        }
        out
    }

    fn order(counts: &DrawCounts) -> (u64, u64) {
        let deviations = deviations(counts);
        (*deviations.iter().max().unwrap(), deviations.iter().map(|a| a * a).sum())
    }

    #[test]
    fn the_probability_is_exact() {
        for n in 1..=14 {
            let outcomes = outcomes(n);
            for (counts, _) in &outcomes {
                let far = outcomes.iter().filter(|(other, _)| order(other) >= order(counts));
                let exact: f64 = far.map(|(_, probability)| probability).sum();
                let got = p_value(counts);
                assert!((got - exact).abs() < 1e-12, "{counts:?}: {got} against {exact}");
            }
        }
    }

    /// How many of the true claims are rejected at 5 %: all that can be, but with fewer than nine draws.
    #[test]
    fn levels_come_near_five_percent() {
        for n in 1..=30 {
            let mut outcomes: Vec<_> = outcomes(n).into_iter().map(|(c, p)| (order(&c), p)).collect();
            outcomes.sort_by_key(|(order, _)| std::cmp::Reverse(*order));
            let (mut sum, mut level) = (0.0, 0.0);
            for tied in outcomes.chunk_by(|a, b| a.0 == b.0) {
                sum += tied.iter().map(|(_, p)| p).sum::<f64>();
                level = if sum <= 0.05 { sum } else { level };
            }
            assert_eq!((0.04..=0.05).contains(&level), n >= 9, "{n} draws: {level}");
        }
    }
}
