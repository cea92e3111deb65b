//! Who is let in: the admission rules that look at the newcomer alone.

use std::collections::BTreeMap;

use super::{AdmissionRule, AdmissionSpec};
use crate::math::{exp, power};
use crate::rng::Rng;

/// An admission rule at work.
#[derive(Debug)]
pub(crate) enum Filter {
    /// Everyone; where tensors may pass by, the policy decides.
    All,
    /// Up to so many bytes.
    Size(u64),
    /// With this probability.
    Probability(f64, Rng),
    /// With probability e^(-size / bytes).
    SizeProbability(f64, Rng),
    /// Whoever missed before.
    SecondRequest(Vec<bool>),
    /// The same with bytes that are chosen anew all the time.
    AdaptSize(Box<AdaptSize>),
}

impl Filter {
    /// The rule `spec` for `tensors` tensors in a memory of `capacity` bytes.
    pub(crate) fn new(spec: AdmissionSpec, tensors: usize, capacity: u64, seed: u64) -> Self {
        let [value, ..] = spec.values();
        let rng = || Rng::new(seed, "admission");
        match spec.kind() {
            AdmissionRule::Always | AdmissionRule::Bypass => Self::All,
            AdmissionRule::Size => Self::Size(value as u64),
            AdmissionRule::Probability => Self::Probability(value, rng()),
            AdmissionRule::SizeProbability => Self::SizeProbability(value, rng()),
            AdmissionRule::SecondRequest => Self::SecondRequest(vec![false; tensors]),
            AdmissionRule::AdaptSize => {
                Self::AdaptSize(Box::new(AdaptSize::new(tensors, capacity, value as usize, rng())))
            }
        }
    }

    /// Whether `tensor` of `bytes`, which missed and fits, comes in.
    pub(crate) fn lets_in(&mut self, tensor: u32, bytes: u64) -> bool {
        match self {
            Self::All => true,
            Self::Size(most) => bytes <= *most,
            Self::Probability(share, rng) => rng.unit() < *share,
            Self::SizeProbability(size, rng) => rng.unit() < exp(-(bytes as f64) / *size),
            Self::SecondRequest(missed) => std::mem::replace(&mut missed[tensor as usize], true),
            Self::AdaptSize(it) => it.rng.unit() < exp(-(bytes as f64) / it.size),
        }
    }

    /// After how many accesses it wants to hear of them; none if it does not.
    pub(crate) fn patience(&self) -> Option<usize> {
        match self {
            Self::AdaptSize(it) => Some(it.every - it.since),
            _ => None,
        }
    }

    /// Hears of `accesses`, which are over.
    pub(crate) fn hear(&mut self, accesses: &[u32], bytes: impl Fn(u32) -> u64) {
        if let Self::AdaptSize(it) = self {
            it.hear(accesses, bytes);
        }
    }
}

/// Weight of the past in the rates of requests, and of the last stretch (AdaptSize's own code).
const DECAY: [f64; 2] = [0.3, 0.7];

/// Stretches for which a choice is made (ours): whoever is let in so seldom that it takes longer does not count.
const HORIZON: f64 = 10.0;

/// Chooses the bytes of e^(-size / bytes) by a model of the hits that they would give.
#[derive(Debug)]
pub(crate) struct AdaptSize {
    capacity: f64,
    size: f64,
    every: usize,
    since: usize,
    counts: Vec<u32>,
    rates: Vec<f64>,
    rng: Rng,
}

/// Tensors of about the same rate and size: how many, and the means of both.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Group {
    tensors: f64,
    rate: f64,
    bytes: f64,
}

impl AdaptSize {
    fn new(tensors: usize, capacity: u64, every: usize, rng: Rng) -> Self {
        // Until something is known, nearly everyone comes in.
        let capacity = capacity as f64;
        Self { capacity, size: capacity, every, since: 0, counts: vec![0; tensors], rates: vec![0.0; tensors], rng }
    }

    fn hear(&mut self, accesses: &[u32], bytes: impl Fn(u32) -> u64) {
        accesses.iter().for_each(|tensor| self.counts[*tensor as usize] += 1);
        self.since += accesses.len();
        if self.since < self.every {
            return;
        }
        self.since = 0;
        // Rates and sizes within a quarter of an octave are one: the first bits of the number tell.
        let quarter = |number: f64| number.to_bits() >> (f64::MANTISSA_DIGITS - 3);
        let mut groups: BTreeMap<(u64, u64), Group> = BTreeMap::new();
        for (tensor, (rate, count)) in (0..).zip(self.rates.iter_mut().zip(&mut self.counts)) {
            *rate = DECAY[0] * *rate + DECAY[1] * f64::from(std::mem::take(count));
            let bytes = bytes(tensor) as f64;
            // What was asked for long ago is forgotten, and what is larger than the memory never comes in.
            if *rate > 1e-6 && bytes <= self.capacity {
                let group = groups.entry((quarter(*rate), quarter(bytes))).or_default();
                group.tensors += 1.0;
                group.rate += *rate;
                group.bytes += bytes;
            }
        }
        let mean =
            |group: Group| Group { rate: group.rate / group.tensors, bytes: group.bytes / group.tensors, ..group };
        let groups: Vec<Group> = groups.into_values().map(mean).collect();
        self.size = best_size(&groups, self.capacity, HORIZON);
    }
}

/// The bytes that give the most hits, of all halves of octaves from a byte to 16 times the capacity.
fn best_size(groups: &[Group], capacity: f64, horizon: f64) -> f64 {
    let sizes =
        (0..).map(|half| power(2.0, f64::from(half) / 2.0)).take_while(|size| *size <= 16.0 * capacity.max(1.0));
    let better = |best: (f64, f64), size: f64| {
        let hits = hits(groups, capacity, size, horizon);
        // Where it makes no difference, more come in.
        if hits >= best.0 { (hits, size) } else { best }
    };
    sizes.fold((0.0, capacity), better).1
}

/// Hits per stretch of accesses under LRU behind a filter that lets in e^(-bytes / size) of the newcomers, where requests
/// come at random: a tensor stays for a time T after its last request, and T is such that all who stay fill the memory
/// (section 4 of the paper, after Che's approximation). The paper's model is of the long run; here a tensor counts for
/// the part of the next `horizon` stretches that is left when it first comes in.
fn hits(groups: &[Group], capacity: f64, size: f64, horizon: f64) -> f64 {
    let resident = |group: &Group, time: f64| {
        let let_in = exp(-group.bytes / size);
        let admitted = let_in * (exp((group.rate * time).min(700.0)) - 1.0);
        let in_the_end = if admitted.is_finite() { admitted / (1.0 + admitted) } else { 1.0 };
        // The mean of 1 - e^(-x t) over t from 0 to 1; x / 2 where x is small.
        let x = group.rate * let_in * horizon;
        let part = if x > 1e-6 { 1.0 - (1.0 - exp(-x)) / x } else { x / 2.0 };
        in_the_end * part
    };
    let used = |time: f64| groups.iter().map(|group| group.tensors * group.bytes * resident(group, time)).sum::<f64>();
    // T doubles until the memory is full, or everyone is in; then it is halved in.
    let (mut least, mut most) = (0.0, 1.0);
    while used(most) < capacity && most < 1e9 {
        (least, most) = (most, 2.0 * most);
    }
    for _ in 0..30 {
        let middle = f64::midpoint(least, most);
        if used(middle) < capacity { least = middle } else { most = middle }
    }
    groups.iter().map(|group| group.tensors * group.rate * resident(group, least)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{PolicyKind, Setup};
    use crate::rules::Rules;
    use crate::sim::simulate;
    use crate::trace::testing::trace;

    /// 200 tensors of 1 to 50 bytes, the first ones asked for more often, at random.
    fn at_random(accesses: usize) -> (Vec<u64>, Vec<u32>, Vec<Group>) {
        let mut rng = Rng::new(5, "test");
        let sizes: Vec<u64> = (0..200).map(|_| 1 + u64::from(rng.below(50))).collect();
        let weights: Vec<f64> = (0..200).map(|t| 1.0 / f64::from(t + 1)).collect();
        let sum: f64 = weights.iter().sum();
        let draw = |mut at: f64| {
            let found = weights.iter().position(|weight| {
                at -= weight / sum;
                at < 0.0
            });
            found.unwrap_or(199) as u32
        };
        let order = (0..accesses).map(|_| draw(rng.unit())).collect();
        let group = |(bytes, weight): (&u64, &f64)| Group { tensors: 1.0, rate: weight / sum, bytes: *bytes as f64 };
        (sizes.clone(), order, sizes.iter().zip(&weights).map(group).collect())
    }

    #[test]
    fn the_model_foretells_the_hits() {
        let (sizes, order, groups) = at_random(200_000);
        let trace = trace(&sizes, &order);
        for capacity in [300u64, 1000, 2500] {
            // With 5 it would be one draw that decides when the tensor asked for most comes in.
            for size in ["20", "200"] {
                let spec = AdmissionSpec::parse(&format!("size-probability(bytes={size})")).unwrap();
                let rules = Rules::new(spec, 1.0);
                let setup = Setup { rules: Some(&rules), ..Setup::new(&sizes, capacity) };
                let measured = simulate(PolicyKind::Lru, &setup, &trace).unwrap().hit_ratio();
                let foretold = hits(&groups, capacity as f64, size.parse().unwrap(), 200_000.0);
                assert!((measured - foretold).abs() < 0.02, "{capacity} {size}: {measured} {foretold}");
            }
        }
    }

    #[test]
    fn adapt_size_finds_the_size_that_hits_most() {
        let (sizes, order, _) = at_random(200_000);
        let trace = trace(&sizes, &order);
        let hits = |rule: &str| {
            let rules = Rules::new(AdmissionSpec::parse(rule).unwrap(), 1.0);
            let setup = Setup { rules: Some(&rules), ..Setup::new(&sizes, 300) };
            simulate(PolicyKind::Lru, &setup, &trace).unwrap().hit_ratio()
        };
        let fixed = (0..12).map(|octave| hits(&format!("size-probability(bytes={})", 1 << octave)));
        let best = fixed.fold(0.0, f64::max);
        let (always, adapted) = (hits("always"), hits("adaptsize"));
        assert!(best > always + 0.05 && adapted > best - 0.01, "{always} {adapted} {best}");
    }
}
