//! Does a synthetic trace match the laws its generator claims to draw from?
//!
//! Two tests, each with a p-value that is uniform (or, being discrete, at most uniform) when the claim holds:
//!
//! - *Reuses*: a tensor's uses after the first are Binomial(5, p). Pearson's chi-square over the counts 0..=5,
//!   neighbours merged until each bin expects at least five tensors; degrees of freedom are bins - 1, and one
//!   less where p is estimated from the trace.
//! - *Sizes*: 4, 8, 16, 32 MB with equal probability. Kolmogorov–Smirnov with the exact null distribution of
//!   the statistic for a discrete law: the textbook p-value holds for continuous laws only.
//!
//! p-values are rounded to 12 decimals, other figures to 6: the last bits of the special functions behind them differ between
//! platforms, and a recipe gives the same bytes everywhere.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, ChiSquared, ContinuousCDF, Discrete};

use crate::error::Error;
use crate::trace::Trace;
use crate::units::MB;
use crate::workload::synthetic::{MAX_REUSES, SIZES_MB};

/// Expected tensors a chi-square bin must have at least (Cochran's rule).
const LEAST_EXPECTED: f64 = 5.0;
/// Significance below which a claim is doubted (the prototype's).
pub const SIGNIFICANCE: f64 = 0.05;

/// A goodness-of-fit test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// What is tested against what.
    pub claim: String,
    /// The statistic: chi-square or D.
    pub statistic: f64,
    /// Degrees of freedom, for chi-square.
    pub degrees_of_freedom: Option<u32>,
    /// Probability of a statistic at least this large if the claim holds; none where the trace is too small.
    pub p_value: Option<f64>,
    /// The categories that were counted.
    pub categories: Vec<String>,
    /// Tensors seen in each.
    pub observed: Vec<u64>,
    /// Tensors expected in each.
    pub expected: Vec<f64>,
}

/// Both tests and their verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Reuses of a tensor.
    pub reuse: Fit,
    /// Sizes of tensors.
    pub size: Fit,
    /// The verdict in words.
    pub interpretation: String,
}

/// Tests a synthetic trace against the laws of its generator. Without `reuse_probability`, it is estimated.
pub fn synthetic(trace: &Trace, reuse_probability: Option<f64>) -> Result<Validation, Error> {
    let mut uses = vec![0u64; trace.tensors().len()];
    for t in trace.accesses() {
        uses[*t as usize] += 1;
    }
    let mut reuses = [0u64; MAX_REUSES as usize + 2];
    for n in &uses {
        reuses[(*n as usize - 1).min(MAX_REUSES as usize + 1)] += 1;
    }
    let mut sizes = [0u64; SIZES_MB.len()];
    let mut other_sizes = 0;
    for tensor in trace.tensors() {
        match SIZES_MB.iter().position(|s| s * MB == tensor.bytes) {
            Some(i) => sizes[i] += 1,
            None => other_sizes += 1,
        }
    }
    let reuse = reuse_fit(&reuses, reuse_probability)?;
    let size = size_fit(&sizes, other_sizes)?;
    let interpretation = interpret(&reuse, &size);
    Ok(Validation { reuse, size, interpretation })
}

/// `counts[k]` tensors were reused k times; the last element counts those reused more often than possible.
fn reuse_fit(counts: &[u64; MAX_REUSES as usize + 2], claimed: Option<f64>) -> Result<Fit, Error> {
    let (impossible, counts) = counts.split_last().unwrap_or((&0, &[]));
    let n = (counts.iter().sum::<u64>() + impossible) as f64;
    let total: f64 = counts.iter().enumerate().map(|(k, c)| k as f64 * *c as f64).sum();
    let p = claimed.unwrap_or(total / (n * f64::from(MAX_REUSES))).clamp(0.0, 1.0);
    let law = Binomial::new(p, u64::from(MAX_REUSES)).map_err(|e| Error::Internal(e.to_string()))?;
    let expected: Vec<f64> = (0..counts.len()).map(|k| n * law.pmf(k as u64)).collect();
    let bins = merge(counts, &expected);
    let parameters = u32::from(claimed.is_none());
    let statistic: f64 = bins.iter().filter(|(_, e)| *e > 0.0).map(|(o, e)| (o - e) * (o - e) / e).sum();
    let degrees = (bins.len() as u32).saturating_sub(1 + parameters);
    // With p = 0 or 1 every tensor must fall in one bin, and a count that cannot occur refutes the claim.
    let refuted = *impossible > 0 || counts.iter().zip(&expected).any(|(o, e)| *o > 0 && *e == 0.0);
    let certain = p == 0.0 || p == 1.0;
    let p_value = match (refuted, certain, degrees) {
        (true, ..) => Some(0.0),
        (_, true, _) => Some(1.0),
        (_, _, 0) => None,
        _ => {
            let law = ChiSquared::new(f64::from(degrees)).map_err(|e| Error::Internal(e.to_string()))?;
            Some(law.sf(statistic))
        }
    };
    let source = if claimed.is_some() { "" } else { ", p estimated" };
    Ok(Fit {
        claim: format!("reuses of a tensor are Binomial({MAX_REUSES}, {p:.3}{source})"),
        statistic: figure(statistic),
        degrees_of_freedom: Some(degrees),
        p_value: p_value.map(probability),
        categories: (0..counts.len()).map(|k| k.to_string()).chain([format!("over {MAX_REUSES}")]).collect(),
        observed: counts.iter().copied().chain([*impossible]).collect(),
        expected: expected.iter().copied().map(figure).chain([0.0]).collect(),
    })
}

/// Merges neighbouring bins from the left until each expects enough; what is left over joins the last bin.
fn merge(observed: &[u64], expected: &[f64]) -> Vec<(f64, f64)> {
    let mut bins: Vec<(f64, f64)> = Vec::new();
    let mut open = (0.0, 0.0);
    for (o, e) in observed.iter().zip(expected) {
        open = (open.0 + *o as f64, open.1 + e);
        if open.1 >= LEAST_EXPECTED {
            bins.push(std::mem::take(&mut open));
        }
    }
    match bins.last_mut() {
        Some(last) => *last = (last.0 + open.0, last.1 + open.1),
        None => bins.push(open),
    }
    bins
}

fn size_fit(counts: &[u64; SIZES_MB.len()], others: u64) -> Result<Fit, Error> {
    let n = counts.iter().sum::<u64>();
    let all = n + others;
    let expected = all as f64 / SIZES_MB.len() as f64;
    let (statistic, p_value) = if others > 0 {
        (1.0, Some(0.0))
    } else {
        let d = ks_distance(counts);
        (d as f64 / (n as f64 * SIZES_MB.len() as f64), Some(ks_p_value(n, d)?))
    };
    Ok(Fit {
        claim: "sizes are 4, 8, 16 or 32 MB with equal probability".into(),
        statistic: figure(statistic),
        degrees_of_freedom: None,
        p_value: p_value.map(probability),
        categories: SIZES_MB.iter().map(|s| format!("{s} MB")).chain(["other".into()]).collect(),
        observed: counts.iter().copied().chain([others]).collect(),
        expected: vec![expected; SIZES_MB.len()].into_iter().chain([0.0]).collect(),
    })
}

/// The largest distance between the empirical and the uniform distribution over the categories, times
/// n x categories: a whole number, so that comparisons are exact.
fn ks_distance(counts: &[u64; SIZES_MB.len()]) -> u64 {
    let k = counts.len() as u64;
    let n: u64 = counts.iter().sum();
    let mut seen = 0;
    let distance = |(j, c): (usize, &u64)| {
        seen += c;
        (seen * k).abs_diff(n * (j as u64 + 1))
    };
    counts.iter().enumerate().map(distance).max().unwrap_or(0)
}

/// The exact probability that the distance of n uniform draws is at least `d`.
///
/// The cumulative counts form a Markov chain: given the count so far, the next category takes a binomial share
/// of the rest. The probability that no cumulative count strays by `d` or more is summed over that chain.
fn ks_p_value(n: u64, d: u64) -> Result<f64, Error> {
    let k = SIZES_MB.len() as u64;
    // Dvoretzky-Kiefer-Wolfowitz, with Massart's constant: p <= 2 exp(-2 n (d / kn)^2). Beyond this the p-value
    // rounds to 0, and the paths to sum over stay within some eight square roots of n.
    if u128::from(d) * u128::from(d) > 15 * u128::from(k * k) * u128::from(n) {
        return Ok(0.0);
    }
    let stays = |category: u64, seen: u64| (seen * k).abs_diff(n * category) < d;
    // (cumulative count, probability) of the paths that have stayed within.
    let mut paths = vec![(0u64, 1.0f64)];
    for category in 1..k {
        let share = 1.0 / (k - category + 1) as f64;
        let low = (n * category).saturating_sub(d) / k;
        let high = ((n * category + d) / k).min(n);
        let mut next: Vec<(u64, f64)> =
            (low..=high).filter(|seen| stays(category, *seen)).map(|seen| (seen, 0.0)).collect();
        for (seen, probability) in paths {
            let law = Binomial::new(share, n - seen).map_err(|e| Error::Internal(e.to_string()))?;
            for (then, sum) in next.iter_mut().filter(|(then, _)| *then >= seen) {
                *sum += probability * law.pmf(*then - seen);
            }
        }
        paths = next;
    }
    Ok((1.0 - paths.iter().map(|(_, p)| p).sum::<f64>()).clamp(0.0, 1.0))
}

fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}

/// A probability with 12 decimals.
fn probability(value: f64) -> f64 {
    rounded(value, 12)
}

/// A statistic or expected count with 6 decimals.
fn figure(value: f64) -> f64 {
    rounded(value, 6)
}

fn interpret(reuse: &Fit, size: &Fit) -> String {
    let verdict = |name: &str, fit: &Fit| match fit.p_value {
        None => format!("{name}: too few tensors to tell"),
        Some(p) if p > SIGNIFICANCE => format!("{name}: a good match (p = {p:.3} > {SIGNIFICANCE})"),
        Some(p) => format!("{name}: does not match (p = {p:.3} <= {SIGNIFICANCE})"),
    };
    format!("{}; {}.", verdict("Reuses", reuse), verdict("sizes", size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::synthetic::Synthetic;

    /// All 4^n outcomes, counted.
    #[test]
    fn ks_is_exact_for_small_samples() {
        for n in 1..=7u32 {
            let mut at_least = vec![0u64; 4 * n as usize + 1];
            for outcome in 0..4u64.pow(n) {
                let mut counts = [0u64; 4];
                (0..n).for_each(|i| counts[(outcome >> (2 * i)) as usize & 3] += 1);
                let d = ks_distance(&counts) as usize;
                at_least[..=d].iter_mut().for_each(|c| *c += 1);
            }
            for (d, count) in at_least.iter().enumerate() {
                let exact = *count as f64 / 4f64.powi(n as i32);
                let got = ks_p_value(u64::from(n), d as u64).unwrap();
                assert!((got - exact).abs() < 1e-12, "n {n} d {d}: {got} against {exact}");
            }
        }
    }

    /// Under the null hypothesis 5 % of seeds are rejected, and not more by either test.
    #[test]
    fn p_values_are_calibrated() {
        for num_layers in [12, 100] {
            let (mut reuse, mut size) = (0, 0);
            for seed in 0..1000 {
                let synthetic = Synthetic { num_layers, ..Synthetic::default() };
                let v = super::synthetic(&synthetic.trace(seed).unwrap(), Some(0.3)).unwrap();
                reuse += u32::from(v.reuse.p_value.unwrap() <= SIGNIFICANCE);
                size += u32::from(v.size.p_value.unwrap() <= SIGNIFICANCE);
            }
            assert!((30..=70).contains(&reuse), "reuse rejected {reuse} of 1000 at {num_layers} layers");
            assert!((25..=70).contains(&size), "size rejected {size} of 1000 at {num_layers} layers");
        }
    }

    #[test]
    fn wrong_laws_are_found() {
        let trace = Synthetic { num_layers: 100, ..Synthetic::default() }.trace(1).unwrap();
        let right = synthetic(&trace, Some(0.3)).unwrap();
        let wrong = synthetic(&trace, Some(0.5)).unwrap();
        assert!(right.reuse.p_value > Some(SIGNIFICANCE), "{right:?}");
        assert!(wrong.reuse.p_value < Some(1e-6), "{wrong:?}");
        assert!(right.interpretation.starts_with("Reuses: a good match"));
        assert!(synthetic(&trace, None).unwrap().reuse.p_value > Some(SIGNIFICANCE));
        assert!(size_fit(&[40, 5, 5, 5], 0).unwrap().p_value < Some(1e-6));
        assert_eq!(size_fit(&[10, 10, 10, 10], 1).unwrap().p_value, Some(0.0));
        assert_eq!(size_fit(&[10, 10, 10, 10], 0).unwrap().p_value, Some(1.0));
    }

    /// One size for all of many tensors: refuted at once, not after summing over n^2 paths.
    #[test]
    fn a_hopeless_fit_takes_no_time() {
        assert_eq!(size_fit(&[3_000_000, 0, 0, 0], 0).unwrap().p_value, Some(0.0));
        // Just inside the bound, the sum itself rounds to 0.
        assert!(ks_p_value(400, 309).unwrap() < 1e-12);
    }

    #[test]
    fn certain_laws_and_tiny_traces() {
        let fit = |p, layers| {
            let s = Synthetic { num_layers: layers, reuse_probability: p, ..Synthetic::default() };
            synthetic(&s.trace(5).unwrap(), Some(p)).unwrap().reuse.p_value
        };
        assert_eq!(fit(0.0, 12), Some(1.0));
        assert_eq!(fit(1.0, 12), Some(1.0));
        assert_eq!(fit(0.3, 1), None);
    }

    /// The merged chi-square equals the definition worked out by hand.
    #[test]
    fn chi_square_by_hand() {
        let bins = merge(&[10, 20, 3, 1], &[12.0, 15.0, 4.0, 3.0]);
        assert_eq!(bins, [(10.0, 12.0), (20.0, 15.0), (4.0, 7.0)]);
    }
}
