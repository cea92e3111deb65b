//! Does a synthetic trace match the laws its generator claims to draw from?
//!
//! [`synthetic`] asks two tests whose p-values are uniform when the claim holds: over 1,000 seeds, 3 to 7 % lie at or
//! below 5 % (tests below and in [`realism`]). Where a trace is too small for that they give no p-value.
//!
//! - *Reuses*: a tensor's uses after the first are Binomial(5, p). Pearson's chi-square over the counts 0..=5,
//!   neighbours merged until each bin expects at least five tensors; degrees of freedom are bins - 1, and one
//!   less where p is estimated from the trace.
//! - *Sizes*: 4, 8, 16, 32 MB with equal probability. Kolmogorov–Smirnov with the exact null distribution of
//!   the statistic for a discrete law (the textbook p-value holds for continuous laws only), outcomes of equal D
//!   ordered by a second statistic.
//!
//! Whether a trace looks like real ones is asked by [`realism`], of the reference profiles of [`profile`] or of another
//! trace.
//!
//! p-values are rounded to 12 decimals, other figures to 6: the last bits of the special functions behind them differ
//! between platforms, and a recipe gives the same bytes everywhere.

mod dependence;
pub mod profile;
pub mod realism;
mod sample;
mod uniform;

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, ChiSquared, ContinuousCDF, Discrete, DiscreteCDF};

use crate::error::Error;
use crate::trace::Trace;
use crate::units::MB;
use crate::workload::synthetic::{MAX_REUSES, SIZES_MB};

/// Expected tensors a chi-square bin must have at least (Cochran's rule).
const LEAST_EXPECTED: f64 = 5.0;
/// Tensors from which the test of sizes rejects 4 to 5 % of true claims at 5 %; with fewer it has too few outcomes
/// to come near (`uniform` counts them in a test).
const LEAST_SIZES: u64 = 9;
/// Rejections of true claims at 5 % that pass as calibrated.
const CALIBRATED: std::ops::RangeInclusive<f64> = 0.03..=0.07;
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

impl Fit {
    /// The points of a P–P plot: after each category, the share (expected, observed) of tensors up to it.
    pub fn cumulative(&self) -> Vec<(f64, f64)> {
        let (expected, observed) = (self.expected.iter().sum::<f64>(), self.observed.iter().sum::<u64>());
        let (mut e, mut o) = (0.0, 0);
        let point = |(expects, observes): (&f64, &u64)| {
            e += expects;
            o += observes;
            (figure(e / expected.max(f64::MIN_POSITIVE)), figure(o as f64 / observed.max(1) as f64))
        };
        self.expected.iter().zip(&self.observed).map(point).collect()
    }
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
    let size = size_fit(&sizes, other_sizes);
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
    let chi_squared = |degrees: u32| ChiSquared::new(f64::from(degrees)).map_err(|e| Error::Internal(e.to_string()));
    let p_value = match (refuted, certain, degrees) {
        (true, ..) => Some(0.0),
        (_, true, _) => Some(1.0),
        (_, _, 0) => None,
        // One degree with p known is two bins: the statistic has at most n + 1 values.
        (_, _, 1) if claimed.is_some() && !two_bins_are_calibrated(n, bins[0].1 / n, &chi_squared(1)?)? => None,
        _ => Some(chi_squared(degrees)?.sf(statistic)),
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

/// Whether the chi-square of two bins, of which one expects `share` of `n` tensors, rejects about 5 % of true claims
/// at 5 %. With few tensors its values are so far apart that it may be 2 % or 8; with three bins it is 4.4 to 5.3 %
/// for every number of tensors that fills them.
fn two_bins_are_calibrated(n: f64, share: f64, chi_squared: &ChiSquared) -> Result<bool, Error> {
    let law = Binomial::new(share, n as u64).map_err(|e| Error::Internal(e.to_string()))?;
    let spread = n * share * (1.0 - share);
    let critical = chi_squared.inverse_cdf(1.0 - SIGNIFICANCE) * spread;
    let (middle, reach) = (n * share, critical.sqrt());
    // The tensors in the bin that the test accepts.
    let (from, to) = ((middle - reach).max(0.0).ceil(), (middle + reach).min(n).floor());
    let accepted = law.cdf(to as u64) - if from >= 1.0 { law.cdf(from as u64 - 1) } else { 0.0 };
    Ok(CALIBRATED.contains(&(1.0 - accepted)))
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

fn size_fit(counts: &[u64; SIZES_MB.len()], others: u64) -> Fit {
    let n = counts.iter().sum::<u64>();
    let all = n + others;
    let expected = all as f64 / SIZES_MB.len() as f64;
    let (statistic, p_value) = if others > 0 {
        (1.0, Some(0.0))
    } else {
        let greatest = uniform::deviations(counts).into_iter().max().unwrap_or(0);
        let p_value = (n >= LEAST_SIZES).then(|| uniform::p_value(counts));
        (greatest as f64 / (n as f64 * SIZES_MB.len() as f64), p_value)
    };
    Fit {
        claim: "sizes are 4, 8, 16 or 32 MB with equal probability".into(),
        statistic: figure(statistic),
        degrees_of_freedom: None,
        p_value: p_value.map(probability),
        categories: SIZES_MB.iter().map(|s| format!("{s} MB")).chain(["other".into()]).collect(),
        observed: counts.iter().copied().chain([others]).collect(),
        expected: vec![expected; SIZES_MB.len()].into_iter().chain([0.0]).collect(),
    }
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
        None => format!("{name}: too few tensors for a test"),
        Some(p) if p > SIGNIFICANCE => format!("{name}: a good match (p = {p:.3} > {SIGNIFICANCE})"),
        Some(p) => format!("{name}: does not match (p = {p:.3} <= {SIGNIFICANCE})"),
    };
    format!("{}; {}.", verdict("Reuses", reuse), verdict("sizes", size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::workload::synthetic::{ModelType, Pattern, Synthetic};

    /// Rejections at 5 % in `seeds` traces, and traces without a p-value: reuses with p known, p estimated, sizes.
    fn rates(synthetic: &Synthetic, seeds: u64) -> [(f64, u64); 3] {
        let mut counts = [(0u64, 0u64); 3];
        for seed in 0..seeds {
            let trace = synthetic.trace(seed).unwrap();
            let known = super::synthetic(&trace, Some(synthetic.reuse_probability)).unwrap();
            let estimated = super::synthetic(&trace, None).unwrap();
            for (p, (rejected, none)) in
                [known.reuse.p_value, estimated.reuse.p_value, known.size.p_value].into_iter().zip(&mut counts)
            {
                *rejected += u64::from(p.is_some_and(|p| p <= SIGNIFICANCE));
                *none += u64::from(p.is_none());
            }
        }
        counts.map(|(rejected, none)| (rejected as f64 / (seeds - none).max(1) as f64, none))
    }

    const REGIMES: [(ModelType, u32); 6] = [
        (ModelType::Transformer, 12),
        (ModelType::Transformer, 32),
        (ModelType::Transformer, 100),
        (ModelType::Cnn, 24),
        (ModelType::Mlp, 40),
        (ModelType::MoE, 32),
    ];

    /// Under the null hypothesis about 5 % of seeds are rejected. In 20,000 seeds of each regime with p of 0.1, 0.3 and
    /// 0.7 (`rejection_rates`) it is 3.8 to 5.4 % for reuses, 4.7 to 5.3 % with p estimated and 4.7 to 5.2 % for sizes.
    /// Of the first 1,000 alone it is 3.4 to 6.3 %, but for 7.1 % at 100 layers with p estimated as 0.3.
    #[test]
    fn p_values_are_calibrated() {
        for (i, (model_type, num_layers)) in REGIMES.into_iter().enumerate() {
            let reuse_probability = [0.3, 0.1, 0.7][i % 3];
            let pattern = Pattern::ALL[i % 2];
            let synthetic = Synthetic { model_type, num_layers, pattern, reuse_probability, ..Synthetic::default() };
            // With p estimated as 0.1, some traces of 80 tensors fill two bins only: no degrees of freedom are left.
            for ((rate, none), most) in rates(&synthetic, 1000).into_iter().zip([0, 200, 0]) {
                assert!((0.03..=0.07).contains(&rate), "{rate} at {synthetic:?}");
                assert!(none <= most, "{none} without p-value at {synthetic:?}");
            }
        }
    }

    /// `cargo test --release -p accel-core rejection_rates -- --ignored --nocapture`
    #[test]
    #[ignore = "prints a table"]
    fn rejection_rates() {
        println!("rejected at 5 %, and seeds without a p-value: reuses, reuses with p estimated, sizes");
        for (seeds, patterns) in [(1000, Pattern::ALL.as_slice()), (20_000, &[Pattern::Interleaved])] {
            for (model_type, num_layers) in REGIMES {
                for (&pattern, reuse_probability) in patterns.iter().flat_map(|p| [0.1, 0.3, 0.7].map(|r| (p, r))) {
                    let spec = Synthetic { model_type, num_layers, pattern, reuse_probability, ..Synthetic::default() };
                    let found = rates(&spec, seeds);
                    println!("{model_type:?} {num_layers} {pattern:?} {reuse_probability}, {seeds}: {found:?}");
                }
            }
        }
    }

    /// Wrong parameters are found: power at 5 % over 200 seeds.
    #[test]
    fn wrong_parameters_are_rejected() {
        for (num_layers, claimed, least) in [(12, 0.5, 0.95), (32, 0.45, 0.99), (100, 0.4, 0.99)] {
            let found = |seed| {
                let trace = Synthetic { num_layers, ..Synthetic::default() }.trace(seed).unwrap();
                super::synthetic(&trace, Some(claimed)).unwrap().reuse.p_value <= Some(SIGNIFICANCE)
            };
            let power = (0..200).filter(|seed| found(*seed)).count() as f64 / 200.0;
            assert!(power >= least, "{claimed} at {num_layers} layers: {power}");
        }
        // Two of five tensors have the first size, and one of five each of the others.
        let found = |seed| {
            let mut rng = Rng::new(seed, "sizes");
            let mut counts = [0; 4];
            (0..192).for_each(|_| counts[rng.pick(&[0, 0, 1, 2, 3])] += 1);
            size_fit(&counts, 0).p_value <= Some(SIGNIFICANCE)
        };
        assert!((0..200).filter(|seed| found(*seed)).count() >= 190);
    }

    #[test]
    fn cumulative_shares_end_at_one() {
        let fit = size_fit(&[6, 2, 2, 0], 0);
        let points = [(0.25, 0.6), (0.5, 0.8), (0.75, 1.0), (1.0, 1.0), (1.0, 1.0)];
        assert_eq!(fit.cumulative(), points);
    }

    /// Traces too small for calibrated p-values get none, and the verdict says so.
    #[test]
    fn small_traces_get_no_p_value() {
        let validate = |model_type, num_layers| {
            let synthetic = Synthetic { model_type, num_layers, reuse_probability: 0.5, ..Synthetic::default() };
            super::synthetic(&synthetic.trace(1).unwrap(), Some(0.5)).unwrap()
        };
        let small = validate(ModelType::Mlp, 4);
        assert_eq!((small.reuse.p_value, small.size.p_value), (None, None));
        assert_eq!(small.interpretation, "Reuses: too few tensors for a test; sizes: too few tensors for a test.");
        // Two bins: 16 tensors would be rejected in 7.7 % of seeds, 12 in 3.9 %.
        assert_eq!(validate(ModelType::Mlp, 8).reuse.p_value, None);
        assert!(validate(ModelType::Mlp, 6).reuse.p_value.is_some());
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
        assert!(size_fit(&[40, 5, 5, 5], 0).p_value < Some(1e-6));
        assert_eq!(size_fit(&[10, 10, 10, 10], 1).p_value, Some(0.0));
        assert_eq!(size_fit(&[10, 10, 10, 10], 0).p_value, Some(1.0));
    }

    /// One size for all of many tensors: refuted at once, not after summing over n^2 paths.
    #[test]
    fn a_hopeless_fit_takes_no_time() {
        assert_eq!(size_fit(&[3_000_000, 0, 0, 0], 0).p_value, Some(0.0));
        // Just inside the bound, the sum itself rounds to 0.
        assert!(uniform::p_value(&[177, 77, 73, 73]) < 1e-12);
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
