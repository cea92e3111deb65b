//! Which experts a token is sent to.
//!
//! The model of routing: in each layer, popularity falls with rank by Zipf's law (the expert of rank r is drawn with
//! weight 1 / r^`zipf`), and which expert has which rank is drawn once per layer. A token takes over each choice of the
//! token before it in its sequence with probability `stickiness`, and draws the others by popularity, none twice. So the
//! choices of a sequence are a Markov chain in every layer, and layers do not depend on each other.

use serde::{Deserialize, Serialize};

use crate::check::check_range;
use crate::error::Error;
use crate::math::power;
use crate::rng::Rng;

/// How tokens are routed where no log says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Routing {
    /// Exponent of the popularity, 0..=4: 0 makes all experts equally popular, which the balancing loss of training
    /// aims at.
    pub zipf: f64,
    /// Probability of taking over a choice of the token before, 0..=1.
    ///
    /// 0.15 lets the first choice out of eight repeat in 26 % of all cases, about what Jiang et al. 2024 (Mixtral of
    /// Experts, table 5) measured in the sixteenth layer of Mixtral-8x7B; chance gives 12.5 %.
    pub stickiness: f64,
    /// A record of routing (a MoE routing log) to follow instead: the name of the file, which the recipe does not carry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

impl Default for Routing {
    fn default() -> Self {
        Self { zipf: 0.0, stickiness: 0.15, log: None }
    }
}

impl Routing {
    pub(crate) fn check(&self) -> Result<(), Error> {
        // NaN is in no range.
        check_range("zipf", self.zipf, 0.0..=4.0)?;
        check_range("stickiness", self.stickiness, 0.0..=1.0)
    }
}

/// A record of which experts tokens were sent to.
pub(crate) trait ExpertLog {
    /// The experts of a token in a layer; an error where the log does not say.
    fn experts(&self, token: u64, layer: u32) -> Result<&[u16], Error>;
}

/// Draws the experts of tokens.
#[derive(Debug)]
pub(crate) struct Router {
    rng: Rng,
    stickiness: f64,
    per_token: usize,
    /// Weight of each expert in each layer: whole numbers, so that every platform draws the same.
    weights: Vec<Vec<u32>>,
    /// The choices of the last token of each sequence, layer by layer.
    last: Vec<Vec<Vec<u16>>>,
}

/// The weight of each rank: whole numbers, whose sum fits in 32 bits.
fn weights(experts: u64, zipf: f64) -> Vec<u32> {
    let scale = f64::from(u32::MAX) / experts as f64;
    (1..=experts).map(|rank| (scale / power(rank as f64, zipf)).round().max(1.0) as u32).collect()
}

impl Router {
    /// A router for `layers` layers of `experts` experts, of which each token takes `per_token`.
    pub(crate) fn new(routing: &Routing, seed: u64, layers: usize, experts: u64, per_token: u64) -> Self {
        let mut rng = Rng::new(seed, "routing");
        let by_rank = weights(experts, routing.zipf);
        let weights = (0..layers).map(|_| {
            let mut weights = by_rank.clone();
            // Fisher and Yates.
            for i in (1..weights.len()).rev() {
                weights.swap(i, rng.below(i as u32 + 1) as usize);
            }
            weights
        });
        let weights = weights.collect();
        Self {
            rng,
            stickiness: routing.stickiness,
            per_token: per_token as usize,
            weights,
            last: vec![Vec::new(); layers],
        }
    }

    /// The experts of the next token of `sequence` in `layer`.
    pub(crate) fn route(&mut self, layer: usize, sequence: usize) -> &[u16] {
        let Self { rng, stickiness, per_token, weights, last } = self;
        let of_layer = &mut last[layer];
        if of_layer.len() <= sequence {
            of_layer.resize(sequence + 1, Vec::new());
        }
        let chosen = &mut of_layer[sequence];
        // A slot that is not kept is marked, and filled by popularity.
        const OPEN: u16 = u16::MAX;
        chosen.iter_mut().for_each(|slot| {
            if rng.unit() >= *stickiness {
                *slot = OPEN;
            }
        });
        chosen.resize(*per_token, OPEN);
        let weights = &weights[layer];
        let mut taken: u64 = chosen.iter().filter(|e| **e != OPEN).map(|e| u64::from(weights[usize::from(*e)])).sum();
        let all: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        for slot in 0..chosen.len() {
            if chosen[slot] != OPEN {
                continue;
            }
            let mut at = u64::from(rng.below((all - taken).min(u64::from(u32::MAX)) as u32));
            let free = (0..).zip(weights).filter(|(expert, _)| !chosen.contains(expert));
            for (expert, weight) in free {
                if at < u64::from(*weight) {
                    chosen[slot] = expert;
                    taken += u64::from(*weight);
                    break;
                }
                at -= u64::from(*weight);
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(zipf: f64, stickiness: f64, experts: u64, per_token: u64) -> Router {
        Router::new(&Routing { zipf, stickiness, log: None }, 7, 2, experts, per_token)
    }

    #[test]
    fn every_token_gets_different_experts() {
        for (experts, per_token) in [(8, 2), (128, 8), (4, 4), (1, 1), (65_535, 3)] {
            let mut router = router(1.0, 0.5, experts, per_token);
            for token in 0..200 {
                let mut chosen = router.route(token % 2, token % 3).to_vec();
                chosen.sort_unstable();
                chosen.dedup();
                assert_eq!(chosen.len() as u64, per_token);
                assert!(chosen.iter().all(|e| u64::from(*e) < experts));
            }
        }
    }

    /// 8 experts, 2 of them per token: the first choice repeats by stickiness, or by chance.
    #[test]
    fn stickiness_is_the_share_of_repeats() {
        for (stickiness, wanted) in [(0.0, 0.125), (0.15, 0.26), (0.9, 0.91)] {
            let mut router = router(0.0, stickiness, 8, 2);
            let mut last = router.route(0, 0)[0];
            let mut repeats = 0;
            for _ in 0..40_000 {
                let first = router.route(0, 0)[0];
                repeats += u32::from(first == last);
                last = first;
            }
            let share = f64::from(repeats) / 4e4;
            assert!((share - wanted).abs() < 0.012, "{stickiness}: {share}");
        }
    }

    /// Powers by square roots are not those of the standard library to the last bit, but the weights are.
    #[test]
    fn weights_are_whole_numbers_that_no_rounding_error_reaches() {
        for experts in [2, 4, 8, 16, 60, 64, 128, 256, 512] {
            for zipf in (0..=80).map(|step| f64::from(step) / 20.0) {
                let scale = f64::from(u32::MAX) / experts as f64;
                let wanted: Vec<u32> =
                    (1..=experts).map(|rank| (scale / (rank as f64).powf(zipf)).round().max(1.0) as u32).collect();
                assert_eq!(weights(experts, zipf), wanted, "{experts} experts, {zipf}");
            }
        }
    }

    #[test]
    fn popularity_follows_zipf() {
        let mut router = router(1.0, 0.0, 8, 1);
        let mut counts = [0u32; 8];
        (0..80_000).for_each(|_| counts[usize::from(router.route(0, 0)[0])] += 1);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let harmonic: f64 = (1..=8).map(|r| 1.0 / f64::from(r)).sum();
        for (rank, count) in (1..).zip(counts) {
            let wanted = 8e4 / f64::from(rank) / harmonic;
            assert!((f64::from(count) / wanted - 1.0).abs() < 0.06, "rank {rank}: {count} for {wanted}");
        }
    }
}
