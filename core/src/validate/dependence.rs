//! How long observations depend on each other.

use super::sample::Sample;

/// The share by which the variance of block means may fall short of its limit because blocks are finite. A normal test
/// at 5 % then rejects 6.3 %, 2 (1 - Phi(1.96 sqrt(0.9))), inside the 3 to 7 % wanted.
pub(super) const SHORTFALL: f64 = 0.1;
/// Means over runs of observations that the dependence is measured on, at most: bounds time and memory.
const MOST_CELLS: usize = 16_384;

/// Observations that a block needs for its mean to be nearly independent of the next.
///
/// The variance of a block's mean falls short of its limit by the share G / (g L), where L is its length, g the sum of
/// all autocorrelations and G the sum of |lag| times autocorrelation. Both are estimated from the ranks (so that no
/// large value rules) with the flat-top window and its data-driven width of Politis & White, "Automatic block-length
/// selection for the dependent bootstrap", Econometric Reviews 23, 2004 (corrected by Patton, Politis & White, 28,
/// 2009). Their L minimises the error of the variance and grows with the cube root of the observations (Künsch 1989);
/// a test needs the bias alone to be small, so L keeps it below [`SHORTFALL`].
pub(super) fn block_length(sample: &Sample) -> usize {
    let run = sample.len().div_ceil(MOST_CELLS).max(1);
    let ranks = mean_ranks(sample, run);
    let cells = ranks.len();
    let variance: f64 = ranks.iter().map(|r| r * r).sum();
    if variance <= 0.0 {
        return 1;
    }
    let autocorrelation = |lag: usize| {
        let product: f64 = ranks.iter().zip(&ranks[lag.min(cells)..]).map(|(a, b)| a * b).sum();
        product / variance
    };
    // Politis & White: lags matter until five in a row are below 2 sqrt(log10(n) / n), looked for up to sqrt(n) + 5.
    const QUIET: usize = 5;
    let digits = f64::from(usize::BITS - cells.leading_zeros()) * std::f64::consts::LOG10_2;
    let threshold = 2.0 * (digits / cells as f64).sqrt();
    let most = (cells.isqrt() + QUIET).min(cells / 2);
    let mut seen = vec![1.0];
    let (mut quiet, mut last) = (0, 0);
    while quiet < QUIET && seen.len() <= most {
        let lag = seen.len();
        let r = autocorrelation(lag);
        seen.push(r);
        quiet = if r.abs() < threshold { quiet + 1 } else { 0 };
        last = if quiet == 0 { lag } else { last };
    }
    let width = 2 * last.max(1);
    let (mut sum, mut weighted) = (1.0, 0.0);
    for lag in 1..width.min(cells) {
        let r = seen.get(lag).copied().unwrap_or_else(|| autocorrelation(lag));
        let window = (2.0 * (1.0 - lag as f64 / width as f64)).min(1.0);
        sum += 2.0 * window * r;
        weighted += 2.0 * window * r * lag as f64;
    }
    let windowed = weighted / sum.max(SHORTFALL);
    // In a short trace the window cuts off lags that matter. If every lag follows from the first (an autoregression of
    // order one, r corrected for its bias after Kendall 1954), G / g is 2 r / (1 - r^2).
    let first = seen.get(1).copied().unwrap_or(0.0);
    let r = (first + (1.0 + 3.0 * first) / cells as f64).clamp(0.0, 1.0 - SHORTFALL);
    let markov = 2.0 * r / (1.0 - r * r);
    let length = windowed.max(markov) / SHORTFALL * run as f64;
    (length.ceil() as usize).clamp(run, sample.len())
}

/// The ranks of the observations (ties share theirs), averaged over runs of `run` and centred.
fn mean_ranks(sample: &Sample, run: usize) -> Vec<f64> {
    let mut before = 0;
    let rank = |at_most: &u64| {
        let middle = (before + *at_most) as f64 / 2.0;
        before = *at_most;
        middle / sample.len() as f64 - 0.5
    };
    let ranks: Vec<f64> = sample.at_most.iter().map(rank).collect();
    let mean = |codes: &[u32]| codes.iter().map(|code| ranks[*code as usize]).sum::<f64>() / run as f64;
    // An incomplete run at the end would vary more than the others.
    sample.codes.chunks_exact(run).map(mean).collect()
}
