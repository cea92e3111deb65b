//! How evictable an access leaves its tensor: a score from 0 (keep) to 1 (evict first).

pub mod ask;
pub mod embedded;
pub mod history;
pub mod prompt;
pub mod reason;

use std::sync::Arc;

use crate::closed;
use crate::trace::Trace;

/// What a scorer sees of an access. Features come from the past alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Features {
    /// Size of the tensor in bytes at this access.
    pub bytes: u64,
    /// Earlier uses of the tensor: the prototype's `reuse_distance`.
    pub uses: u32,
    /// Stride in elements.
    pub stride: u32,
}

/// The features of every access, in order.
pub fn features(trace: &Trace) -> impl Iterator<Item = Features> + '_ {
    let mut uses = vec![0u32; trace.tensors().len()];
    trace.sized().map(move |(t, bytes)| {
        let tensor = &trace.tensors()[t as usize];
        let earlier = uses[t as usize];
        uses[t as usize] += 1;
        Features { bytes, uses: earlier, stride: tensor.stride }
    })
}

closed! {
    /// Who made a score.
    pub enum Scorer("scorer", "scorer") {
        /// The prototype's weighted sum, [`heuristic`].
        Heuristic = "heuristic",
        /// What came back after how long so far, [`history`].
        History = "history",
        /// The network that is shipped, [`embedded`].
        Embedded = "embedded",
        /// A language model on this machine, asked the question of [`prompt`].
        Local = "local",
        /// A language model behind another server, asked the same.
        Remote = "remote",
    }
}

closed! {
    /// Who scores where no language model is asked.
    #[derive(Default)]
    pub enum BuiltIn("scorer", "scorer") {
        /// [`embedded`].
        #[default]
        Embedded = "embedded" titled "embedded: the trained network",
        /// [`history`].
        History = "history" titled "history: what came back after how long",
        /// [`heuristic`].
        Heuristic = "heuristic" titled "heuristic: the prototype's sum",
    }
}

impl BuiltIn {
    /// A score for every access of `trace`, each from the accesses before it; the heuristic divides by the largest values
    /// of the whole trace, as the prototype does.
    pub fn scores(self, trace: &Trace) -> Scores {
        match self {
            Self::Embedded => embedded::embedded(trace),
            Self::History => history::history(trace),
            Self::Heuristic => heuristic(trace),
        }
    }

    /// The same as one of all scorers.
    pub fn scorer(self) -> Scorer {
        match self {
            Self::Embedded => Scorer::Embedded,
            Self::History => Scorer::History,
            Self::Heuristic => Scorer::Heuristic,
        }
    }
}

/// A score for every access, and who made them.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// One score per access, each from 0 to 1.
    pub values: Arc<[f64]>,
    /// Who made them.
    pub scorer: Scorer,
}

/// Weights of size, reuse and stride in the heuristic (the prototype's).
pub const WEIGHTS: [f64; 3] = [0.4, 0.5, 0.1];
/// Added to each column's maximum before dividing by it (the prototype's).
pub const EPSILON: f64 = 1e-8;

/// The prototype's heuristic: 0.4 size + 0.5 reuse distance + 0.1 stride, each divided by its column's
/// maximum + 1e-8. Sizes are taken in MB, as in the prototype's records.
pub fn heuristic(trace: &Trace) -> Scores {
    let columns = |f: Features| [f.bytes as f64 / 1e6, f64::from(f.uses), f64::from(f.stride)];
    let mut most = [0.0f64; 3];
    for row in features(trace).map(columns) {
        for (most, value) in most.iter_mut().zip(row) {
            *most = most.max(value);
        }
    }
    let score = |row: [f64; 3]| {
        let [size, reuse, stride]: [f64; 3] = std::array::from_fn(|i| WEIGHTS[i] * (row[i] / (most[i] + EPSILON)));
        size + reuse + stride
    };
    Scores { values: features(trace).map(columns).map(score).collect(), scorer: Scorer::Heuristic }
}

/// Accesses until the next use that a score predicts, on a logarithmic scale from 1 (score 0) to 2^18 (score 1:
/// not within any time that matters): each ninth, a bucket of the question a model is asked, is a factor of four.
pub fn predicted_reuse_distance(score: f64) -> u64 {
    // 4^(9 s) = 2^(18 s), with 2^fraction taken as 1 + fraction: exact on every platform, within 9 % of the power.
    let exponent = 18.0 * score.clamp(0.0, 1.0);
    let whole = exponent.floor();
    ((1u64 << whole as u32) as f64 * (1.0 + (exponent - whole))) as u64
}

/// The binary logarithm of `n`, at least 1, in parts of 256; what lies between powers of two is linear, as in
/// [`predicted_reuse_distance`].
pub fn log2(n: u64) -> u16 {
    let whole = n.max(1).ilog2();
    let part = if whole >= 8 { n >> (whole - 8) } else { n << (8 - whole) };
    (whole as u16) << 8 | (part & 255) as u16
}

/// The score that predicts a next use in 2^(`log2` / 256) accesses.
pub fn of_log2(log2: u16) -> f64 {
    f64::from(log2.min(history::NEVER)) / f64::from(history::NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::testing::trace;

    #[test]
    fn heuristic_by_hand() {
        let scores = heuristic(&trace(&[4_000_000, 8_000_000], &[0, 1, 0]));
        assert_eq!(scores.scorer, Scorer::Heuristic);
        let e = EPSILON;
        let stride = 0.1 * (1.0 / (1.0 + e));
        let expected = [
            0.4 * (4.0 / (8.0 + e)) + stride,
            0.4 * (8.0 / (8.0 + e)) + stride,
            0.4 * (4.0 / (8.0 + e)) + 0.5 * (1.0 / (1.0 + e)) + stride,
        ];
        for (got, want) in scores.values.iter().zip(expected) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
    }

    #[test]
    fn scores_lie_between_0_and_1() {
        let scores = heuristic(&trace(&[0, 1, u64::MAX / 16], &[0, 1, 2, 2, 1, 0, 0]));
        assert!(scores.values.iter().all(|s| (0.0..=1.0).contains(s)), "{scores:?}");
    }
}
