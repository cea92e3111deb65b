//! How misses fall as memory grows, for each policy and between the bounds.
//!
//! The curve of LRU is exact at every capacity and comes from one pass ([`lru`]); the others are measured on a grid.

pub mod lru;

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::bound::lower::Lower;
use crate::bound::packing::Packing;
use crate::bound::{Misses, Reuses, Value};
use crate::check::check_range;
use crate::error::Error;
use crate::math::power;
use crate::order;
use crate::policy::{Admission, PolicyKind, PolicySpec, Setup};
use crate::rules::Rules;
use crate::score::Scores;
use crate::sim::simulate;
use crate::trace::reuse::Future;
use crate::trace::{Summary, Trace};
use lru::LruCurve;

/// The most points a curve has.
pub const MAX_POINTS: u32 = 512;

/// Which capacities to measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grid {
    /// Capacities in equal ratios up to the bytes of all tensors, 2..=512; not used where `capacities` are given.
    pub points: u32,
    /// These capacities in bytes, each at least 1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capacities: Vec<u64>,
}

impl Default for Grid {
    fn default() -> Self {
        Self { points: 24, capacities: Vec::new() }
    }
}

impl Grid {
    /// Fails on the first field that is out of range.
    pub fn check(&self) -> Result<(), Error> {
        check_range("curve.points", self.points, 2..=MAX_POINTS)?;
        check_range("curve.capacities", self.capacities.len(), 0..=MAX_POINTS as usize)?;
        if self.capacities.contains(&0) {
            let problem = "a memory without capacity holds nothing";
            return Err(Error::field("curve.capacities", 0, problem, "Choose capacities of at least 1 byte"));
        }
        Ok(())
    }

    /// The capacities for `trace`, rising and distinct.
    pub fn capacities(&self, trace: &Trace) -> Vec<u64> {
        let smallest = trace.tensors().iter().map(|t| t.bytes).min().unwrap_or(1);
        self.capacities_of(trace.summary().unique_bytes, smallest)
    }

    /// The capacities where all tensors have `unique_bytes` and the smallest of them has `smallest`.
    ///
    /// A grid of its own reaches from 1/1024 of the bytes of all tensors (or the smallest of them) to all of them:
    /// below, hardly anything hits, and above, nothing changes.
    pub fn capacities_of(&self, unique_bytes: u64, smallest: u64) -> Vec<u64> {
        let mut capacities = self.capacities.clone();
        if capacities.is_empty() {
            let most = unique_bytes.max(1);
            let least = (most / 1024).max(smallest).clamp(1, most);
            let ratio = most as f64 / least as f64;
            let steps = self.points.max(2) - 1;
            let at = |i: u32| (least as f64 * power(ratio, f64::from(i) / f64::from(steps))).round() as u64;
            capacities = (0..steps).map(at).collect();
            capacities.push(most);
        }
        order::distinct(capacities)
    }
}

/// Misses at one capacity, as shares of all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Capacity in bytes.
    pub capacity_bytes: u64,
    /// Misses as a share of accesses, 0..=1.
    pub miss_ratio: f64,
    /// Bytes missed as a share of bytes requested, 0..=1.
    pub byte_miss_ratio: f64,
}

/// The smallest capacity for a share of the hits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Smallest {
    /// Share of the hits that a memory for all tensors gives, 0..=1.
    pub share_of_hits: f64,
    /// The smallest capacity measured that gives them, in bytes; none where no capacity of the grid does.
    pub capacity_bytes: Option<u64>,
}

/// The curve of a policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The policy.
    pub policy: PolicySpec,
    /// From this capacity on, knee and smallest capacities are found among all capacities; below it, and where it is
    /// none, among those of the grid.
    pub exact_from_bytes: Option<u64>,
    /// By rising capacity.
    pub points: Vec<CurvePoint>,
    /// Where more memory stops paying: the point of the curve farthest below the line from its first to its last
    /// point (Satopaa et al., "Finding a Kneedle in a Haystack", 2011); none where the curve has no bend.
    pub knee_bytes: Option<u64>,
    /// The smallest capacity for some shares of the hits.
    pub smallest: Vec<Smallest>,
}

/// Between what any policy could do at each capacity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurveBounds {
    /// The mode for which the bounds hold.
    pub admission: Admission,
    /// Proven: no schedule misses less (PFOO-L, for objects and for bytes).
    pub lower: Vec<CurvePoint>,
    /// Attained: the best of Belady, BeladySize and greedy packing, for objects and for bytes.
    pub upper: Vec<CurvePoint>,
}

/// All curves of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// One a policy.
    pub curves: Vec<Curve>,
    /// What is possible at all, where the recipe asks.
    pub bounds: Option<CurveBounds>,
}

/// Whether LRU's curve is exact: stack distances give its hits where sizes, ages and shared prefixes do not change them.
pub fn is_stacked(trace: &Trace) -> bool {
    trace.resizes().is_empty() && trace.parents().is_empty() && !trace.expires()
}

/// Shares of the hits for which the smallest capacity is reported.
pub const SHARES: [f64; 5] = [0.5, 0.8, 0.9, 0.95, 0.99];

/// A piece of work that needs no other.
#[derive(Debug, Clone, Copy)]
enum CurveTask {
    /// All of LRU's curve from the largest tensor on.
    Lru,
    Policy(PolicySpec, u64),
    Lower(u64),
    Upper(u64),
}

/// The result of a [`CurveTasks::run`].
#[derive(Debug)]
pub enum CurveAnswer {
    /// LRU at all capacities that hold the largest tensor.
    Lru(LruAnswer),
    /// Misses at one capacity.
    Misses(Misses),
}

/// What is kept of LRU's exact curve: the rest takes as much memory as a trace.
#[derive(Debug)]
pub struct LruAnswer {
    /// At the capacities of the grid that hold the largest tensor.
    misses: Vec<Misses>,
    /// For each of [`SHARES`].
    smallest: Vec<Option<u64>>,
    line: Line,
    /// The knee among all these capacities.
    knee: Bend,
}

/// Which curves are asked for.
#[derive(Debug)]
pub struct Question<'a> {
    /// The capacities.
    pub grid: &'a Grid,
    /// The policies, in the order of the curves.
    pub policies: &'a [PolicySpec],
    /// Which missed tensors come in.
    pub admission: Admission,
    /// What else decides about residency, if anything.
    pub rules: Option<&'a Rules>,
    /// The seed of policies that draw by chance.
    pub seed: u64,
    /// Whether to enclose the best possible schedule at each capacity.
    pub bounds: bool,
}

/// The work behind the curves, in tasks that may run in any order or at once.
#[derive(Debug)]
pub struct CurveTasks {
    trace: Arc<Trace>,
    scores: Option<Scores>,
    future: Arc<Future>,
    admission: Admission,
    rules: Option<Rules>,
    seed: u64,
    policies: Vec<PolicySpec>,
    measured: Measured,
    largest: u64,
    /// Whether LRU's curve follows from stack distances.
    stacked: bool,
    bounds: bool,
    tasks: Vec<CurveTask>,
    /// The reuses by value for their space-time, for objects and for bytes: sorted once for all capacities.
    orders: OnceLock<[Lower; 2]>,
}

impl CurveTasks {
    /// The work that answers `question`. Policies that read scores need `scores`.
    pub fn new(trace: &Arc<Trace>, future: &Arc<Future>, scores: Option<&Scores>, question: &Question<'_>) -> Self {
        let Question { grid, policies, admission, rules, seed, bounds } = *question;
        let rules = rules.filter(|rules| !rules.are_plain());
        let mut capacities = grid.capacities(trace);
        if let Some(rules) = rules.filter(|_| grid.capacities.is_empty()) {
            // What is pinned fits, and every part holds something. All tensors together are more than that.
            capacities.retain(|capacity| rules.capacities(*capacity).is_ok());
        }
        let largest = trace.largest_sizes().into_iter().max().unwrap_or(0);
        let stacked = rules.is_none() && is_stacked(trace);
        let exact = |policy: PolicySpec| policy == PolicyKind::Lru && stacked;
        let mut tasks = Vec::new();
        for &policy in policies {
            let simulated = |c: &&u64| !exact(policy) || **c < largest;
            tasks.extend(capacities.iter().filter(simulated).map(|c| CurveTask::Policy(policy, *c)));
            // LRU's newcomer is the last to be evicted, so its curve is the same in both modes.
            if exact(policy) {
                tasks.push(CurveTask::Lru);
            }
        }
        if bounds {
            tasks.extend(capacities.iter().map(|c| CurveTask::Lower(*c)));
            tasks.extend(capacities.iter().map(|c| CurveTask::Upper(*c)));
        }
        Self {
            trace: Arc::clone(trace),
            scores: scores.cloned(),
            future: Arc::clone(future),
            admission,
            rules: rules.cloned(),
            seed,
            policies: policies.to_vec(),
            measured: Measured::new(trace.summary(), capacities),
            largest,
            stacked,
            bounds,
            tasks,
            orders: OnceLock::new(),
        }
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    fn setup<'a>(&'a self, sizes: &'a [u64], capacity_bytes: u64) -> Setup<'a> {
        Setup {
            admission: self.admission,
            rules: self.rules.as_ref(),
            scores: self.scores.as_ref(),
            future: Some(&self.future),
            parents: self.trace.parents(),
            seed: self.seed,
            ..Setup::new(sizes, capacity_bytes)
        }
    }

    fn simulate(&self, policy: PolicySpec, capacity: u64) -> Result<Misses, Error> {
        // Held while it runs only.
        let sizes = self.trace.sizes();
        let report = simulate(policy, &self.setup(&sizes, capacity), &self.trace)?;
        Ok(Misses { objects: report.misses, bytes: report.miss_bytes })
    }

    fn orders(&self) -> &[Lower; 2] {
        self.orders.get_or_init(|| {
            let reuses = Reuses::new(&self.trace, &self.future);
            [Value::Objects, Value::Bytes].map(|value| Lower::new(&reuses, value, self.admission))
        })
    }

    /// Does task `index` of [`tasks`](Self::tasks).
    pub fn run(&self, index: usize) -> Result<CurveAnswer, Error> {
        Ok(CurveAnswer::Misses(match self.tasks[index] {
            CurveTask::Lru => return Ok(CurveAnswer::Lru(self.exact())),
            CurveTask::Policy(policy, capacity) => self.simulate(policy, capacity)?,
            CurveTask::Lower(capacity) => {
                let total = self.trace.summary();
                let [objects, bytes] = self.orders();
                Misses {
                    objects: total.accesses - objects.most_hits(capacity),
                    bytes: total.requested_bytes - bytes.most_hit_bytes(capacity),
                }
            }
            CurveTask::Upper(capacity) => {
                let pack = |order: &Lower| {
                    let mut packing = Packing::new(order, capacity);
                    packing.step(usize::MAX);
                    packing.misses()
                };
                let mut schedules = vec![
                    self.simulate(PolicyKind::Belady.into(), capacity)?,
                    self.simulate(PolicyKind::BeladySize.into(), capacity)?,
                ];
                // A packed tensor would be kept beyond its age, or without the one that it continues.
                if !self.trace.expires() && self.trace.parents().is_empty() {
                    schedules.extend(self.orders().iter().map(pack));
                }
                schedules.into_iter().fold(Misses { objects: u64::MAX, bytes: u64::MAX }, |best, m| Misses {
                    objects: best.objects.min(m.objects),
                    bytes: best.bytes.min(m.bytes),
                })
            }
        }))
    }

    /// Puts the answers of all tasks, in their order, together.
    pub fn finish(&self, answers: Vec<CurveAnswer>) -> Result<Curves, Error> {
        let mut answers = answers.into_iter();
        let n = self.measured.capacities.len();
        let below_largest = self.measured.capacities.partition_point(|c| *c < self.largest);
        let mut curves = Vec::new();
        for &policy in &self.policies {
            curves.push(if policy == PolicyKind::Lru && self.stacked {
                let below = misses(&mut answers, below_largest)?;
                let Some(CurveAnswer::Lru(exact)) = answers.next() else { return Err(incomplete()) };
                self.lru(below, exact)
            } else {
                self.measured.of_the_grid(policy, misses(&mut answers, n)?)
            });
        }
        let bounds = if self.bounds {
            let lower = self.measured.points(misses(&mut answers, n)?);
            let upper = self.measured.points(misses(&mut answers, n)?);
            Some(CurveBounds { admission: self.admission, lower, upper })
        } else {
            None
        };
        Ok(Curves { curves, bounds })
    }

    fn exact(&self) -> LruAnswer {
        let exact = LruCurve::new(&self.trace);
        let accesses = self.trace.accesses().len() as u64;
        let last = exact.steps().last().unwrap_or((0, accesses));
        let line = Line { first: (0, accesses), last };
        LruAnswer {
            misses: self.measured.capacities.iter().filter_map(|c| exact.misses(*c)).collect(),
            smallest: SHARES.iter().map(|share| exact.smallest_capacity(self.measured.hits(*share))).collect(),
            knee: exact.steps().fold(Bend::default(), |bend, point| line.farther(bend, point)),
            line,
        }
    }

    /// Exact from the largest tensor on; `below` it, as measured.
    fn lru(&self, below: Vec<Misses>, exact: LruAnswer) -> Curve {
        let knee = self.measured.measured(&below).fold(exact.knee, |bend, point| exact.line.farther(bend, point));
        let smallest = SHARES.iter().zip(exact.smallest);
        let smallest = smallest.map(|(share, exact)| self.measured.smallest(*share, &below).or(exact)).collect();
        let misses = below.into_iter().chain(exact.misses);
        self.measured.curve(PolicyKind::Lru.into(), misses, knee, smallest, Some(self.largest))
    }
}

/// What curves are measured in: a trace and the capacities of a grid.
#[derive(Debug, Clone)]
pub struct Measured {
    total: Summary,
    capacities: Vec<u64>,
}

impl Measured {
    /// A trace of this size in memories of these capacities, which rise.
    pub fn new(total: Summary, capacities: Vec<u64>) -> Self {
        Self { total, capacities }
    }

    /// The curves of policies from their misses at each capacity.
    pub fn curves(&self, misses: impl IntoIterator<Item = (PolicySpec, Vec<Misses>)>) -> Curves {
        let curves = misses.into_iter().map(|(policy, misses)| self.of_the_grid(policy, misses)).collect();
        Curves { curves, bounds: None }
    }

    fn point(&self, capacity_bytes: u64, misses: Misses) -> CurvePoint {
        let total = self.total;
        CurvePoint {
            capacity_bytes,
            miss_ratio: misses.objects as f64 / total.accesses.max(1) as f64,
            byte_miss_ratio: misses.bytes as f64 / total.requested_bytes.max(1) as f64,
        }
    }

    fn points(&self, misses: impl IntoIterator<Item = Misses>) -> Vec<CurvePoint> {
        self.capacities.iter().zip(misses).map(|(c, m)| self.point(*c, m)).collect()
    }

    /// As measured at every capacity of the grid.
    fn of_the_grid(&self, policy: PolicySpec, misses: Vec<Misses>) -> Curve {
        let ends = self.measured(&misses).next().zip(self.measured(&misses).last());
        let knee = ends.map_or(Bend::default(), |(first, last)| {
            let line = Line { first, last };
            self.measured(&misses).fold(Bend::default(), |bend, point| line.farther(bend, point))
        });
        let smallest = SHARES.iter().map(|share| self.smallest(*share, &misses)).collect();
        self.curve(policy, misses, knee, smallest, None)
    }

    fn curve(
        &self,
        policy: PolicySpec,
        misses: impl IntoIterator<Item = Misses>,
        knee: Bend,
        smallest: Vec<Option<u64>>,
        exact_from_bytes: Option<u64>,
    ) -> Curve {
        let smallest = SHARES.into_iter().zip(smallest);
        let smallest = smallest.map(|(share_of_hits, capacity_bytes)| Smallest { share_of_hits, capacity_bytes });
        Curve {
            policy,
            exact_from_bytes,
            points: self.points(misses),
            knee_bytes: (knee.below > 0.0).then_some(knee.capacity),
            smallest: smallest.collect(),
        }
    }

    /// Capacity and misses at the first capacities of the grid.
    fn measured<'a>(&'a self, misses: &'a [Misses]) -> impl Iterator<Item = (u64, u64)> + 'a {
        self.capacities.iter().zip(misses).map(|(capacity, misses)| (*capacity, misses.objects))
    }

    /// The hits that make up a share of all that are possible.
    fn hits(&self, share: f64) -> u64 {
        (share * (self.total.accesses - self.total.tensors) as f64).ceil() as u64
    }

    /// The smallest measured capacity that gives a share of the hits.
    fn smallest(&self, share: f64, misses: &[Misses]) -> Option<u64> {
        let most = self.total.accesses - self.hits(share);
        self.measured(misses).find(|(_, misses)| *misses <= most).map(|(capacity, _)| capacity)
    }
}

fn incomplete() -> Error {
    Error::Internal("an answer of a curve is missing".into())
}

/// The next `n` answers, all of them misses.
fn misses(answers: &mut impl Iterator<Item = CurveAnswer>, n: usize) -> Result<Vec<Misses>, Error> {
    let next = |_| match answers.next() {
        Some(CurveAnswer::Misses(misses)) => Ok(misses),
        _ => Err(incomplete()),
    };
    (0..n).map(next).collect()
}

/// The straight line between the ends of a falling curve, as (capacity, misses).
#[derive(Debug, Clone, Copy)]
struct Line {
    first: (u64, u64),
    last: (u64, u64),
}

/// The point farthest below the line so far, and how far in shares of height and width.
#[derive(Debug, Clone, Copy, Default)]
struct Bend {
    below: f64,
    capacity: u64,
}

impl Line {
    /// `bend`, or the point if it lies farther below the line.
    fn farther(&self, bend: Bend, (capacity, misses): (u64, u64)) -> Bend {
        let width = self.last.0 as f64 - self.first.0 as f64;
        let height = self.first.1 as f64 - self.last.1 as f64;
        if width <= 0.0 || height <= 0.0 {
            return bend;
        }
        let x = (capacity as f64 - self.first.0 as f64) / width;
        let y = (misses as f64 - self.last.1 as f64) / height;
        let below = 1.0 - x - y;
        if below > bend.below { Bend { below, capacity } } else { bend }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::POLICIES;
    use crate::score::heuristic;
    use crate::sim::Report;
    use crate::trace::testing::trace;

    #[test]
    fn the_knee_of_a_corner_is_the_corner() {
        let knee = |points: &[(u64, u64)]| {
            let line = Line { first: points[0], last: points[points.len() - 1] };
            points.iter().fold(Bend::default(), |bend, point| line.farther(bend, *point)).capacity
        };
        assert_eq!(knee(&[(1, 100), (2, 90), (3, 10), (50, 9), (100, 8)]), 3);
        assert_eq!(knee(&[(1, 100), (2, 50), (3, 0)]), 0);
        assert_eq!(knee(&[(1, 5), (9, 5)]), 0);
    }

    /// Ten small tensors in a loop, and one so large that it is never worth its room.
    #[test]
    fn a_huge_tensor_does_not_hide_what_little_memory_does() {
        let mut sizes = vec![1_000_000; 10];
        sizes.push(2_000_000_000);
        let mut order: Vec<u32> = (0..400).map(|i| i % 10).collect();
        order.push(10);
        let trace = Arc::new(trace(&sizes, &order));
        let future = Arc::new(Future::of(&trace));
        let grid = Grid { capacities: vec![5_000_000, 10_000_000, 100_000_000, 3_000_000_000], ..Grid::default() };
        let question = Question {
            grid: &grid,
            policies: &[PolicyKind::Lru.into()],
            admission: Admission::Always,
            rules: None,
            seed: 0,
            bounds: false,
        };
        let plan = CurveTasks::new(&trace, &future, None, &question);
        let curves = plan.finish((0..plan.tasks()).map(|i| plan.run(i).unwrap()).collect()).unwrap();
        let lru = &curves.curves[0];
        assert_eq!(lru.exact_from_bytes, Some(2_000_000_000));
        assert_eq!(lru.knee_bytes, Some(10_000_000));
        assert!(lru.smallest.iter().all(|s| s.capacity_bytes == Some(10_000_000)));
        assert!(curves.bounds.is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn every_curve_is_what_the_engine_counts(
            sizes in prop::collection::vec(prop_oneof![Just(0u64), 1u64..20], 8),
            order in prop::collection::vec(0u32..8, 1..80),
            capacities in prop::collection::vec(1u64..120, 0..6),
            bypass: bool,
        ) {
            let admission = if bypass { Admission::Bypass } else { Admission::Always };
            let trace = Arc::new(trace(&sizes, &order));
            let (sizes, scores, future) = (trace.sizes(), heuristic(&trace), Arc::new(Future::of(&trace)));
            let kinds: Vec<PolicySpec> = POLICIES.iter().map(|p| p.kind.into()).collect();
            let grid = Grid { points: 5, capacities };
            let question = Question { grid: &grid, policies: &kinds, admission, rules: None, seed: 0, bounds: true };
            let plan = CurveTasks::new(&trace, &future, Some(&scores), &question);
            let answers = (0..plan.tasks()).map(|i| plan.run(i).unwrap()).collect();
            let curves = plan.finish(answers).unwrap();
            prop_assert_eq!(curves.curves.len(), kinds.len());
            let exact = LruCurve::new(&trace);
            for point in &curves.curves[0].points {
                let setup = Setup { admission, ..Setup::new(&sizes, point.capacity_bytes) };
                let report = simulate(PolicyKind::Lru, &setup, &trace).unwrap();
                if let Some(counts) = exact.counts(point.capacity_bytes) {
                    prop_assert_eq!(Report::new(PolicyKind::Lru.into(), point.capacity_bytes, counts), report);
                }
            }
            let bounds = curves.bounds.unwrap();
            for curve in &curves.curves {
                for (i, point) in curve.points.iter().enumerate() {
                    let setup = Setup {
                        admission, scores: Some(&scores), future: Some(&future),
                        ..Setup::new(&sizes, point.capacity_bytes)
                    };
                    let report = simulate(curve.policy, &setup, &trace).unwrap();
                    let accesses = trace.accesses().len() as f64;
                    prop_assert_eq!(point.miss_ratio, report.misses as f64 / accesses, "{}", curve.policy.name());
                    prop_assert!(bounds.lower[i].miss_ratio <= point.miss_ratio);
                    prop_assert!(bounds.lower[i].byte_miss_ratio <= point.byte_miss_ratio + 1e-12);
                }
            }
            for (lower, upper) in bounds.lower.iter().zip(&bounds.upper) {
                prop_assert!(lower.miss_ratio <= upper.miss_ratio);
            }
        }
    }
}
