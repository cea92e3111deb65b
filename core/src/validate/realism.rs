//! Does a trace look like real ones? Its stack distances and sizes beside those of a reference.
//!
//! Each comparison says three things. *How far*: the greatest distance D between the two cumulative distributions
//! (Kolmogorov–Smirnov, taken only where all ties are counted) and the mean shift of their quantiles in doublings.
//! *Does it matter*: D in words. *Could it be chance*: a p-value that is uniform when the distributions agree, though
//! neighbouring accesses depend on each other, which the textbook p-value does not survive.
//!
//! The p-value: the trace is cut into a few long blocks of equal length. A block's deviations, its cumulative
//! distribution less that of the profile (or of the block at the same place of the reference trace), are means over
//! many accesses, so nearly independent of the next block's, and under the claim as likely to go one way as the other.
//! So the mean deviation is compared with those under all patterns of signs of whole blocks; against a trace, to flip a
//! sign is to swap the two blocks, and the test is a permutation. It holds its level for few blocks of dependent data
//! (Canay, Romano & Shaikh, "Randomization tests under an approximate symmetry assumption", Econometrica 85, 2017),
//! where resampling many short blocks rejects too often; it asks for equal distributions alone, not for equal
//! dependence or length; and it draws nothing by chance. D is the same for many patterns where distances or sizes are
//! few: patterns of equal D are ordered by the sum of squared deviations, as in the test of sizes.
//!
//! Measured over 1,000 seeds at 5 % (`rejection_rates` below): 3.4 to 6.8 % for 300 to 5,000 observations, independent,
//! repeating the last value with probability 0.5 or staying in its mode with 0.5 or 0.75. Repeating with 0.8 needs 500
//! observations: of 300, 84 % get no p-value, and 4 to 12 % of the others (whose dependence looks weaker than it is)
//! are rejected. Two synthetic traces: 3.3 to 5.1 % from 100 layers; of 32 layers with reuse probability 0.7, 6.4 % of
//! 5,000 seeds and 7.6 % of the first 1,000.

use serde::{Deserialize, Serialize};

use super::dependence::block_length;
use super::profile::Profile;
use super::sample::{Law, Sample, distance};
use super::{SIGNIFICANCE, figure, probability};
use crate::error::Error;
use crate::order;
use crate::trace::Trace;
use crate::trace::views::{log2_bin, log2_bounds};

/// Blocks of each side. With eight, a test at 5 % rejects 6 of 128 sign patterns (4.7 %) and a block is as long as can
/// be: of 8, 10 and 20 blocks, eight kept the level best where dependence is long, at nearly the same power.
const BLOCKS: usize = 8;
/// Blocks of long traces, so that p-values may be as low as 1/2048.
const MOST_BLOCKS: usize = 12;
/// Observations of a block that is long in any case, and multiples of those needed, for more than [`BLOCKS`] (ours: a
/// block's variance then falls short by a tenth of what is allowed).
const LONG_BLOCK: usize = 100;
const LONG_MULTIPLE: usize = 10;
/// Observations of each side at least (measured): dependence over ten neighbours goes unseen in fewer, and up to 9 % of
/// true claims are rejected with 200, 30 % with 100.
const LEAST: usize = 300;
/// Points at which the resampled distributions are compared: D is missed by at most 1/64 between two of them, alike for
/// the trace and for every pattern.
const GRID: u64 = 64;

/// What a trace is compared with.
#[derive(Debug, Clone, Copy)]
pub enum Reference<'a> {
    /// A built-in profile: stack distances only.
    Profile(&'static Profile),
    /// Another trace.
    Trace(&'a Trace),
}

/// How far apart two distributions are, in words: D of two normal laws of equal variance whose means differ by 0.2, 0.5
/// and 0.8 standard deviations, 2 Phi(d / 2) - 1 (thresholds of Cohen, "Statistical power analysis", 1988).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// D below 0.080.
    Negligible,
    /// D below 0.197.
    Small,
    /// D below 0.311.
    Medium,
    /// D of 0.311 or more.
    Large,
}

impl Effect {
    /// The size of a distance D.
    pub fn of(d: f64) -> Self {
        match d {
            d if d < 0.080 => Self::Negligible,
            d if d < 0.197 => Self::Small,
            d if d < 0.311 => Self::Medium,
            _ => Self::Large,
        }
    }

    /// The word people read.
    pub fn label(self) -> &'static str {
        match self {
            Self::Negligible => "negligible",
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        }
    }
}

/// Shares of two distributions in one bin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShareBin {
    /// The least value of the bin.
    pub low: u64,
    /// The greatest value of the bin.
    pub high: u64,
    /// The trace's share, 0..=1.
    pub share: f64,
    /// The reference's share, 0..=1.
    pub reference_share: f64,
}

/// One distribution of a trace beside the reference's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What is tested.
    pub claim: String,
    /// Observations in the trace.
    pub samples: u64,
    /// Observations in the reference; none where it is a law.
    pub reference_samples: Option<u64>,
    /// Kolmogorov–Smirnov's D, 0..=1.
    pub statistic: f64,
    /// Mean over the Q–Q points of |log2((1 + trace) / (1 + reference))|: how many doublings the quantiles lie apart.
    pub shift_log2: f64,
    /// D in words.
    pub effect: Effect,
    /// Probability of a D at least this large if the claim holds, 1 / `resamples` at least; none where the trace is too
    /// short for a test.
    pub p_value: Option<f64>,
    /// Sign patterns it is the share of; 0 without.
    pub resamples: u32,
    /// Blocks of each side; 0 without.
    pub blocks: u32,
    /// Observations in a block of the trace; 0 without.
    pub block_length: u64,
    /// Observations that a block needs by the dependence measured, the greater of both sides.
    pub block_length_needed: u64,
    /// (reference, trace) at 1, 2, ... 99 %.
    pub qq: Vec<(f64, f64)>,
    /// Bins 0, 1, 2–3, 4–7, ... that both share.
    pub histogram: Vec<ShareBin>,
}

/// A trace beside a reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Realism {
    /// The reference's name.
    pub reference: String,
    /// Stack distances: distinct other tensors used since the last use of the same one.
    pub distances: Comparison,
    /// Sizes of tensors in bytes, in order of first mention; none against a profile, which has no law of sizes.
    pub sizes: Option<Comparison>,
    /// The verdict in words.
    pub interpretation: String,
}

/// Compares `trace` with `reference`. Fails where one of them never reuses a tensor.
pub fn realism(trace: &Trace, reference: Reference<'_>) -> Result<Realism, Error> {
    let ours = Sample::of_distances(trace, "the trace")?;
    let (name, distances, sizes) = match reference {
        Reference::Profile(profile) => {
            let claim = format!("stack distances follow the profile of {}", profile.title);
            (profile.title.to_owned(), compare(claim, &ours, &Law::Profile(profile)), None)
        }
        Reference::Trace(other) => {
            let theirs = Sample::of_distances(other, "the reference trace")?;
            let claim = "stack distances are distributed as in the reference trace".into();
            let distances = compare(claim, &ours, &Law::Sample(&theirs));
            let (ours, theirs) = (Sample::of(&trace.sizes()), Sample::of(&other.sizes()));
            let claim = "sizes of tensors are distributed as in the reference trace".into();
            let sizes = compare(claim, &ours, &Law::Sample(&theirs));
            ("the reference trace".to_owned(), distances, Some(sizes))
        }
    };
    let interpretation = interpret(&name, &distances, sizes.as_ref());
    Ok(Realism { reference: name, distances, sizes, interpretation })
}

fn compare(claim: String, sample: &Sample, law: &Law<'_>) -> Comparison {
    let theirs = match law {
        Law::Profile(_) => None,
        Law::Sample(other) => Some(*other),
    };
    let sides = [Some(sample), theirs].into_iter().flatten();
    let needs: Vec<(usize, usize)> = sides.map(|side| (side.len(), block_length(side))).collect();
    let calibrated = needs.iter().all(|(n, needed)| *n >= LEAST && n / BLOCKS >= *needed);
    let long = needs.iter().map(|(n, needed)| n / (LONG_MULTIPLE * needed).max(LONG_BLOCK)).min();
    let blocks = long.unwrap_or(0).clamp(BLOCKS, MOST_BLOCKS);
    let p_value = calibrated.then(|| {
        let (deviations, width) = deviations(sample, law, blocks);
        sign_flips(&deviations, width)
    });
    let d = distance(sample, law);
    let qq: Vec<(u64, u64)> = (1..100).map(|i| (law.quantile(i, 100), sample.quantile(i, 100))).collect();
    let doublings = |(theirs, ours): &(u64, u64)| ((1.0 + *ours as f64) / (1.0 + *theirs as f64)).log2().abs();
    Comparison {
        claim,
        samples: sample.len() as u64,
        reference_samples: theirs.map(|other| other.len() as u64),
        statistic: figure(d),
        shift_log2: figure(qq.iter().map(doublings).sum::<f64>() / qq.len() as f64),
        effect: Effect::of(d),
        p_value: p_value.map(probability),
        resamples: p_value.map_or(0, |_| 1 << (blocks - 1)),
        blocks: p_value.map_or(0, |_| blocks as u32),
        block_length: p_value.map_or(0, |_| (sample.len() / blocks) as u64),
        block_length_needed: needs.iter().map(|(_, needed)| *needed as u64).max().unwrap_or(1),
        qq: qq.into_iter().map(|(theirs, ours)| (theirs as f64, ours as f64)).collect(),
        histogram: histogram(sample, law),
    }
}

/// For each block, the share of observations up to each point of a grid, less the reference's; and the points.
fn deviations(sample: &Sample, law: &Law<'_>, blocks: usize) -> (Vec<f64>, usize) {
    // Quantiles of both traces in equal number, so that neither is favoured; of the law alone where there is one.
    let grid: Vec<u64> = match law {
        Law::Profile(_) => (1..GRID).map(|i| law.quantile(i, GRID)).collect(),
        Law::Sample(other) => {
            (1..GRID / 2).flat_map(|i| [sample.quantile(i, GRID / 2), other.quantile(i, GRID / 2)]).collect()
        }
    };
    let grid = order::distinct(grid);
    let mut out = vec![0.0; blocks * grid.len()];
    add_shares(&mut out, 1.0, sample, &grid, blocks);
    match law {
        Law::Profile(profile) => {
            let expected: Vec<f64> = grid.iter().map(|x| profile.at_most(*x)).collect();
            for row in out.chunks_mut(grid.len()) {
                row.iter_mut().zip(&expected).for_each(|(share, e)| *share -= e);
            }
        }
        Law::Sample(other) => add_shares(&mut out, -1.0, other, &grid, blocks),
    }
    (out, grid.len())
}

/// Adds `sign` times the share of each block's observations up to each point of `grid`.
fn add_shares(rows: &mut [f64], sign: f64, sample: &Sample, grid: &[u64], blocks: usize) {
    // The first point that an observation is not above.
    let cell: Vec<u8> = sample.values.iter().map(|v| grid.partition_point(|x| x < v) as u8).collect();
    let mut counts = vec![0u64; grid.len() + 1];
    for (b, row) in rows.chunks_mut(grid.len()).enumerate() {
        counts.fill(0);
        let block = sample.block(b, blocks);
        block.iter().for_each(|code| counts[usize::from(cell[*code as usize])] += 1);
        let mut seen = 0;
        for (share, count) in row.iter_mut().zip(&counts) {
            seen += count;
            *share += sign * (seen as f64 / block.len() as f64);
        }
    }
}

/// The share of sign patterns under which the mean deviation is as great as that of the blocks as they are.
fn sign_flips(deviations: &[f64], width: usize) -> f64 {
    // Sums of the same terms in another order differ in their last bits: equal within this counts as equal.
    const SAME: f64 = 1e-9;
    let blocks = deviations.len() / width;
    let mut sums = vec![0.0; width];
    let mut size = |signs: u32| {
        sums.fill(0.0);
        for (b, row) in deviations.chunks(width).enumerate() {
            let sign = if signs >> b & 1 == 0 { 1.0 } else { -1.0 };
            sums.iter_mut().zip(row).for_each(|(sum, deviation)| *sum += sign * deviation);
        }
        let greatest = sums.iter().fold(0.0, |most: f64, sum| most.max(sum.abs()));
        (greatest, sums.iter().map(|sum| sum * sum).sum::<f64>())
    };
    let observed = size(0);
    let as_far = |(greatest, squares): (f64, f64)| match greatest - observed.0 {
        more if more > SAME => true,
        less if less < -SAME => false,
        _ => squares >= observed.1 - SAME,
    };
    // A pattern and its opposite are equally far: the last block keeps its sign.
    let patterns = 1 << (blocks - 1);
    let far = (0..patterns).filter(|signs| as_far(size(*signs))).count();
    far as f64 / f64::from(patterns)
}

fn histogram(sample: &Sample, law: &Law<'_>) -> Vec<ShareBin> {
    let first = sample.quantile(0, 1).min(law.quantile(0, 1));
    let last = sample.quantile(1, 1).max(match law {
        // A law has no end: 99.9 % are shown.
        Law::Profile(_) => law.quantile(999, 1000),
        Law::Sample(other) => other.quantile(1, 1),
    });
    let shares = |bin| {
        let (low, high) = log2_bounds(bin);
        let below = |share: &dyn Fn(u64) -> f64| low.checked_sub(1).map_or(0.0, share);
        let within = |share: &dyn Fn(u64) -> f64| figure((share(high) - below(share)).max(0.0));
        let (share, reference_share) = (within(&|x| sample.share(x)), within(&|x| law.share(x)));
        ShareBin { low, high, share, reference_share }
    };
    (log2_bin(first)..=log2_bin(last)).map(shares).collect()
}

fn interpret(reference: &str, distances: &Comparison, sizes: Option<&Comparison>) -> String {
    let verdict = |name: &str, c: &Comparison| {
        let far = format!(
            "D = {:.3}, quantiles {:.1} doublings apart: a {} difference",
            c.statistic,
            c.shift_log2,
            c.effect.label()
        );
        let least = c.reference_samples.map_or(c.samples, |n| n.min(c.samples));
        match c.p_value {
            Some(p) if p > SIGNIFICANCE => {
                format!("{name}: no difference from {reference} is shown (p = {p:.4}; {far})")
            }
            Some(p) => format!("{name}: differ from {reference} (p = {p:.4}; {far})"),
            None if least < LEAST as u64 => {
                format!(
                    "{name}: {least} are too few to distinguish a difference from chance, which takes {LEAST} ({far})"
                )
            }
            None => format!(
                "{name}: {least} are too few to distinguish a difference from chance, as neighbours depend on each other and \
                 {BLOCKS} blocks of {} are needed ({far})",
                c.block_length_needed
            ),
        }
    };
    let mut parts = vec![verdict("Stack distances", distances)];
    parts.extend(sizes.map(|sizes| verdict("sizes", sizes)));
    format!("{}.", parts.join("; "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::profile::{PROFILES, find};
    use super::*;
    use crate::rng::Rng;
    use crate::trace::testing;
    use crate::workload::synthetic::{ModelType, Synthetic};

    /// How a sequence with a profile as its distribution goes on.
    #[derive(Debug, Clone, Copy)]
    enum Chain {
        /// Independent draws.
        Independent,
        /// The last value again, with this probability.
        Repeat(f64),
        /// The mode of the last value again, with this probability; else one drawn by the weights.
        Mode(f64),
    }

    /// Draws by table: a search for each draw would take the tests' time.
    struct Drawer {
        short: Vec<f64>,
        long: Vec<f64>,
        weight: f64,
    }

    impl Drawer {
        fn of(profile: &Profile, factor: f64) -> Self {
            let table = |mean: f64| {
                let ratio = 1.0 - 1.0 / (mean * factor).max(1.000001);
                let mut farther = 1.0;
                let mut out = Vec::new();
                while farther > 1e-9 {
                    farther *= ratio;
                    out.push(1.0 - farther);
                }
                out
            };
            Self { short: table(profile.short_mean), long: table(profile.long_mean), weight: profile.short_weight }
        }

        fn draw(&self, n: usize, chain: Chain, rng: &mut Rng) -> Vec<u64> {
            let mut out: Vec<u64> = Vec::with_capacity(n);
            let mut short = rng.unit() < self.weight;
            while out.len() < n {
                let again = rng.unit();
                match (chain, out.last()) {
                    (Chain::Repeat(p), Some(last)) if again < p => {
                        out.push(*last);
                        continue;
                    }
                    (Chain::Mode(p), _) if again < p => {}
                    _ => short = rng.unit() < self.weight,
                }
                let table = if short { &self.short } else { &self.long };
                let u = rng.unit();
                out.push(table.partition_point(|below| *below <= u) as u64);
            }
            out
        }
    }

    /// Share of `seeds` rejected at 5 %, and share without a p-value.
    fn rate(seeds: u64, test: impl Fn(u64) -> Comparison) -> (f64, f64) {
        let (mut rejected, mut none) = (0, 0);
        for seed in 0..seeds {
            match test(seed).p_value {
                Some(p) => rejected += u64::from(p <= SIGNIFICANCE),
                None => none += 1,
            }
        }
        (rejected as f64 / (seeds - none).max(1) as f64, none as f64 / seeds as f64)
    }

    fn one_sample(of: &str, drawer: &Drawer, n: usize, chain: Chain, seed: u64) -> Comparison {
        let mut rng = Rng::new(seed, "realism test");
        let sample = Sample::of(&drawer.draw(n, chain, &mut rng));
        compare(String::new(), &sample, &Law::Profile(find(of).unwrap()))
    }

    fn two_samples(drawers: [&Drawer; 2], n: [usize; 2], chains: [Chain; 2], seed: u64) -> Comparison {
        let mut rng = Rng::new(seed, "realism test");
        let [a, b] = [0, 1].map(|i| Sample::of(&drawers[i].draw(n[i], chains[i], &mut rng)));
        compare(String::new(), &a, &Law::Sample(&b))
    }

    const CHAINS: [Chain; 5] =
        [Chain::Independent, Chain::Repeat(0.5), Chain::Repeat(0.8), Chain::Mode(0.5), Chain::Mode(0.75)];

    fn passes((rejected, _): (f64, f64), regime: &str) {
        assert!((0.03..=0.07).contains(&rejected), "{regime}: {rejected}");
    }

    /// Under the claim 3 to 7 % of 1,000 seeds are rejected; `rejection_rates` measures more regimes, up to 5,000 draws.
    #[test]
    fn p_values_against_a_profile_are_calibrated() {
        for (name, n, chain) in [
            ("dlrm", 300, Chain::Independent),
            ("gpt2-large", 300, Chain::Mode(0.5)),
            ("linear", 300, Chain::Repeat(0.5)),
            ("resnet-50", 1000, Chain::Mode(0.75)),
        ] {
            let drawer = Drawer::of(find(name).unwrap(), 1.0);
            passes(rate(1000, |seed| one_sample(name, &drawer, n, chain, seed)), &format!("{name} {n} {chain:?}"));
        }
    }

    #[test]
    fn p_values_against_a_trace_are_calibrated() {
        let drawer = Drawer::of(find("gpt2-large").unwrap(), 1.0);
        // Lengths and dependence may differ.
        let [once, twice] = [Chain::Independent, Chain::Repeat(0.5)];
        let both = |seed| two_samples([&drawer, &drawer], [300, 1000], [once, twice], seed);
        passes(rate(1000, both), "two chains");
        let synthetic = Synthetic { model_type: ModelType::Cnn, num_layers: 110, ..Synthetic::default() };
        let mut rejected = [0, 0];
        for seed in 0..1000 {
            let [a, b] = [seed, seed + 1_000_000].map(|seed| synthetic.trace(seed).unwrap());
            let both = realism(&a, Reference::Trace(&b)).unwrap();
            let p = [both.distances.p_value.unwrap(), both.sizes.unwrap().p_value.unwrap()];
            rejected.iter_mut().zip(p).for_each(|(r, p)| *r += u32::from(p <= SIGNIFICANCE));
        }
        assert!(rejected.iter().all(|r| (30..=70).contains(r)), "{rejected:?}");
    }

    /// Another profile, and a mean 1.5 times too long, are found.
    #[test]
    fn wrong_profiles_are_rejected() {
        for (of, n) in [("linear", 1000), ("dlrm", 1000), ("gpt2-large", 5000), ("resnet-50", 5000)] {
            let right = find(of).unwrap();
            let others = PROFILES.iter().filter(|p| p.name != of).map(|p| (p.name, Drawer::of(p, 1.0)));
            for (from, drawer) in others.chain([("1.5 times as long", Drawer::of(right, 1.5))]) {
                let (power, none) =
                    rate(50_000 / n as u64, |seed| one_sample(of, &drawer, n, Chain::Repeat(0.5), seed));
                assert!(power >= 0.96 && none == 0.0, "{from} against {of}: {power}, {none}");
            }
        }
    }

    /// `cargo test --release -p accel-core realism::tests::rejection_rates -- --ignored --nocapture`
    #[test]
    #[ignore = "prints tables"]
    fn rejection_rates() {
        let show = |(rejected, none): (f64, f64)| match none {
            1.0 => "none".to_owned(),
            0.0 => format!("{:.1} %", 100.0 * rejected),
            _ => format!("{:.1} % ({:.1} % without)", 100.0 * rejected, 100.0 * none),
        };
        println!("Rejected at 5 % of 1,000 seeds that get a p-value.\n\nA profile against itself:");
        for profile in PROFILES {
            let drawer = Drawer::of(profile, 1.0);
            for chain in CHAINS {
                let one = |n| show(rate(1000, |seed| one_sample(profile.name, &drawer, n, chain, seed)));
                println!("{} {chain:?}: 300, 500, 1000, 5000: {:?}", profile.name, [300, 500, 1000, 5000].map(one));
                let two = |n| show(rate(1000, |seed| two_samples([&drawer, &drawer], n, [chain, chain], seed)));
                let lengths = [[300, 300], [300, 5000], [1000, 1000], [5000, 5000]];
                println!("    two draws of {lengths:?}: {:?}", lengths.map(two));
            }
        }
        println!("\nTwo synthetic traces: distances, sizes");
        for (model_type, num_layers, reuse_probability) in [
            (ModelType::Transformer, 32, 0.7),
            (ModelType::Transformer, 100, 0.1),
            (ModelType::Transformer, 100, 0.3),
            (ModelType::Transformer, 100, 0.7),
            (ModelType::Cnn, 110, 0.3),
            (ModelType::Mlp, 160, 0.7),
            (ModelType::MoE, 256, 0.3),
        ] {
            let s = Synthetic { model_type, num_layers, reuse_probability, ..Synthetic::default() };
            let trace = |seed| s.trace(seed).unwrap();
            for seeds in [1000, 5000] {
                let both = |seed| realism(&trace(seed), Reference::Trace(&trace(seed + 1_000_000))).unwrap();
                let (distances, sizes) = (|seed| both(seed).distances, |seed| both(seed).sizes.unwrap());
                let rates = [show(rate(seeds, distances)), show(rate(seeds, sizes))];
                println!("{model_type:?} {num_layers} layers, p {reuse_probability}, {seeds} seeds: {rates:?}");
            }
        }
        println!("\nPower, 500 seeds: draws 1.5 times as long, and of the other profiles in order");
        for profile in PROFILES {
            for (n, chain) in [300, 1000, 5000].into_iter().flat_map(|n| CHAINS.map(|chain| (n, chain))) {
                let power = |from: &Profile, factor| {
                    let drawer = Drawer::of(from, factor);
                    show(rate(500, |seed| one_sample(profile.name, &drawer, n, chain, seed)))
                };
                let longer = power(profile, 1.5);
                let others: Vec<_> =
                    PROFILES.iter().filter(|p| p.name != profile.name).map(|p| power(p, 1.0)).collect();
                println!("{} {n} {chain:?}: {longer}, {others:?}", profile.name);
            }
        }
    }

    fn naive_distance(ours: &[u64], theirs: impl Fn(u64) -> f64, most: u64) -> f64 {
        let share = |x| ours.iter().filter(|v| **v <= x).count() as f64 / ours.len() as f64;
        (0..=most).map(|x| (share(x) - theirs(x)).abs()).fold(0.0, f64::max)
    }

    proptest! {
        /// D over all whole numbers, against samples and against laws.
        #[test]
        fn distances_equal_the_definition(
            ours in prop::collection::vec(0u64..60, 1..80),
            theirs in prop::collection::vec(0u64..60, 1..80),
            which in 0usize..4,
        ) {
            let (a, b) = (Sample::of(&ours), Sample::of(&theirs));
            let share = |x| theirs.iter().filter(|v| **v <= x).count() as f64 / theirs.len() as f64;
            let d = distance(&a, &Law::Sample(&b));
            prop_assert!((d - naive_distance(&ours, share, 60)).abs() < 1e-12);
            prop_assert_eq!(d, distance(&b, &Law::Sample(&a)));
            let profile = &PROFILES[which];
            // Past the last observation the law comes nearer again.
            let d = distance(&a, &Law::Profile(profile));
            prop_assert!((d - naive_distance(&ours, |x| profile.at_most(x), 60)).abs() < 1e-12);
        }

        #[test]
        fn distances_and_sizes_are_sampled_alike(order in prop::collection::vec(0u32..12, 2..200)) {
            let trace = testing::trace(&[7; 12], &order);
            let naive: Vec<u64> = (0..order.len())
                .filter_map(|now| {
                    let last = (0..now).rev().find(|i| order[*i] == order[now])?;
                    Some(order[last + 1..now].iter().collect::<std::collections::BTreeSet<_>>().len() as u64)
                })
                .collect();
            match Sample::of_distances(&trace, "x") {
                Err(_) => prop_assert!(naive.is_empty()),
                Ok(sample) => {
                    let expected = Sample::of(&naive);
                    prop_assert_eq!(&sample.values, &expected.values);
                    prop_assert_eq!(&sample.at_most, &expected.at_most);
                    prop_assert_eq!(&sample.codes, &expected.codes);
                }
            }
        }
    }

    #[test]
    fn shares_quantiles_and_bins_of_a_small_sample() {
        let sample = Sample::of(&[0, 5, 5, 1000]);
        assert_eq!([0, 4, 5, 999, 1000].map(|x| sample.share(x)), [0.25, 0.25, 0.75, 0.75, 1.0]);
        assert_eq!([0, 25, 26, 75, 76, 100].map(|p| sample.quantile(p, 100)), [0, 0, 5, 5, 1000, 1000]);
        let other = Sample::of(&[5, 6]);
        let bins = histogram(&sample, &Law::Sample(&other));
        assert_eq!(bins[0], ShareBin { low: 0, high: 0, share: 0.25, reference_share: 0.0 });
        assert_eq!(bins[3], ShareBin { low: 4, high: 7, share: 0.5, reference_share: 1.0 });
        assert_eq!(bins[10], ShareBin { low: 512, high: 1023, share: 0.25, reference_share: 0.0 });
        assert_eq!(bins.len(), 11);
        let largest = histogram(&Sample::of(&[u64::MAX]), &Law::Sample(&Sample::of(&[u64::MAX])));
        let all = ShareBin { low: 1 << 63, high: u64::MAX, share: 1.0, reference_share: 1.0 };
        assert_eq!(largest, [all]);
    }

    /// The block length follows what an autoregression of order one asks for, 20 r / (1 - r^2), and nothing for chance.
    #[test]
    fn block_lengths_follow_the_dependence() {
        let drawer = Drawer::of(find("linear").unwrap(), 1.0);
        let length = |chain| {
            let mut rng = Rng::new(1, "block length");
            block_length(&Sample::of(&drawer.draw(10_000, chain, &mut rng)))
        };
        let lengths = [Chain::Independent, Chain::Repeat(0.5), Chain::Repeat(0.8)].map(length);
        for (length, range) in lengths.into_iter().zip([1..=1, 12..=16, 38..=55]) {
            assert!(range.contains(&length), "{lengths:?}");
        }
    }

    #[test]
    fn a_trace_does_not_differ_from_itself() {
        let trace = Synthetic { num_layers: 200, ..Synthetic::default() }.trace(1).unwrap();
        let same = realism(&trace, Reference::Trace(&trace)).unwrap();
        for c in [&same.distances, same.sizes.as_ref().unwrap()] {
            assert_eq!((c.statistic, c.shift_log2, c.effect, c.p_value), (0.0, 0.0, Effect::Negligible, Some(1.0)));
            assert!(c.qq.len() == 99 && c.qq.iter().all(|(a, b)| a == b));
            assert!(c.histogram.iter().all(|b| b.share == b.reference_share));
        }
        assert!(same.interpretation.starts_with("Stack distances: no difference from the reference trace is shown"));
    }

    #[test]
    fn the_verdict_says_how_far_and_whether_by_chance() {
        let trace = Synthetic { num_layers: 200, ..Synthetic::default() }.trace(1).unwrap();
        let real = realism(&trace, Reference::Profile(find("gpt2-large").unwrap())).unwrap();
        assert_eq!(real.sizes, None);
        assert_eq!(real.distances.effect, Effect::Large);
        assert!(real.distances.p_value < Some(0.01));
        assert!(real.distances.blocks >= 8 && real.distances.resamples == 1 << (real.distances.blocks - 1));
        let json = serde_json::to_string(&real).unwrap();
        assert_eq!(serde_json::from_str::<Realism>(&json).unwrap(), real);
        let text = &real.interpretation;
        assert!(text.starts_with("Stack distances: differ from GPT-2-large (p = 0.00"), "{text}");
        let short = Synthetic::default().trace(1).unwrap();
        let short = realism(&short, Reference::Profile(find("gpt2-large").unwrap())).unwrap();
        assert_eq!((short.distances.p_value, short.distances.resamples), (None, 0));
        assert!(
            short.interpretation.contains("are too few to distinguish a difference from chance, which takes 300"),
            "{}",
            short.interpretation
        );
    }

    /// One value over and over, sizes of 0, one tensor: figures and no p-value, or an error that says why.
    #[test]
    fn degenerate_traces() {
        let constant = testing::trace(&[0], &[0; 400]);
        let same = realism(&constant, Reference::Trace(&constant)).unwrap();
        assert_eq!((same.distances.statistic, same.distances.p_value), (0.0, Some(1.0)));
        assert_eq!(same.sizes.unwrap().p_value, None);
        let other = realism(&constant, Reference::Profile(find("dlrm").unwrap())).unwrap().distances;
        assert!(other.p_value < Some(0.01) && other.effect == Effect::Large, "{other:?}");
        for order in [&[0u32][..], &[0, 1, 2]] {
            let once = testing::trace(&[1, 2, 3], order);
            let error = realism(&once, Reference::Trace(&constant)).unwrap_err().to_string();
            assert!(error.starts_with("the trace, whole input: every tensor is used once"), "{error}");
            assert!(realism(&constant, Reference::Trace(&once)).unwrap_err().to_string().contains("reference"));
        }
        // Long dependence: one distance in the first half, another in the second.
        let order: Vec<u32> = (0..800).map(|i| if i < 400 { 0 } else { i % 3 }).collect();
        let long = testing::trace(&[1; 3], &order);
        let found = realism(&long, Reference::Trace(&long)).unwrap();
        assert_eq!(found.distances.p_value, None);
        assert!(found.interpretation.contains("as neighbours depend on each other"), "{}", found.interpretation);
        let two = testing::trace(&[1], &[0, 0]);
        assert_eq!(realism(&two, Reference::Trace(&two)).unwrap().distances.samples, 1);
    }
}
