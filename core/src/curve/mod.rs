//! How misses fall as memory grows, for each policy and between the bounds.
//!
//! The curve of LRU is exact at every capacity and comes from one pass ([`lru`]); the others are measured on a grid.

pub mod lru;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bound::lower::Lower;
use crate::bound::packing::Packing;
use crate::bound::{Misses, Reuses, Value};
use crate::error::Error;
use crate::policy::{Admission, PolicyKind, Setup};
use crate::score::Scores;
use crate::sim::simulate;
use crate::trace::Trace;
use crate::trace::reuse::Future;
use crate::workload::check_range;
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
    ///
    /// A grid of its own reaches from 1/1024 of the bytes of all tensors (or the smallest of them) to all of them:
    /// below, hardly anything hits, and above, nothing changes.
    pub fn capacities(&self, trace: &Trace) -> Vec<u64> {
        let mut capacities = self.capacities.clone();
        if capacities.is_empty() {
            let most = trace.summary().unique_bytes.max(1);
            let smallest = trace.tensors().iter().map(|t| t.bytes).min().unwrap_or(1);
            let least = (most / 1024).max(smallest).clamp(1, most);
            let ratio = most as f64 / least as f64;
            let steps = self.points.max(2) - 1;
            let at = |i: u32| (least as f64 * power(ratio, f64::from(i) / f64::from(steps))).round() as u64;
            capacities = (0..steps).map(at).collect();
            capacities.push(most);
        }
        capacities.sort_unstable();
        capacities.dedup();
        capacities
    }
}

/// `base` to the power of `exponent` in 0..1, from square roots alone: the same on every platform.
fn power(base: f64, mut exponent: f64) -> f64 {
    let (mut result, mut root) = (1.0, base);
    for _ in 0..53 {
        root = root.sqrt();
        exponent *= 2.0;
        if exponent >= 1.0 {
            exponent -= 1.0;
            result *= root;
        }
    }
    result
}

/// Misses at one capacity, as shares of all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
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
    pub policy: PolicyKind,
    /// Whether knee and smallest capacities hold among all capacities, not those of the grid alone.
    pub exact: bool,
    /// By rising capacity.
    pub points: Vec<Point>,
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
    pub lower: Vec<Point>,
    /// Attained: the best of Belady, BeladySize and greedy packing, for objects and for bytes.
    pub upper: Vec<Point>,
}

/// All curves of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// One a policy.
    pub curves: Vec<Curve>,
    /// What is possible at all.
    pub bounds: CurveBounds,
}

/// Shares of the hits for which the smallest capacity is told.
pub const SHARES: [f64; 5] = [0.5, 0.8, 0.9, 0.95, 0.99];

/// A piece of work that needs no other.
#[derive(Debug, Clone, Copy)]
enum Task {
    Lru,
    Policy(PolicyKind, u64),
    Lower,
    Upper(u64),
}

/// What came of a task.
#[derive(Debug)]
enum Done {
    Curve(Curve),
    Misses(Misses),
    Points(Vec<Misses>),
}

/// The result of a [`Plan::run`].
#[derive(Debug)]
pub struct Answer(Done);

/// The work behind the curves, in tasks that may run in any order or at once.
#[derive(Debug)]
pub struct Plan {
    trace: Arc<Trace>,
    scores: Option<Scores>,
    future: Arc<Future>,
    sizes: Vec<u64>,
    admission: Admission,
    seed: u64,
    policies: Vec<PolicyKind>,
    capacities: Vec<u64>,
    tasks: Vec<Task>,
}

impl Plan {
    /// The curves of `policies` over `grid`. Policies that read scores need `scores`.
    pub fn new(
        trace: &Arc<Trace>,
        future: &Arc<Future>,
        scores: Option<&Scores>,
        policies: &[PolicyKind],
        admission: Admission,
        seed: u64,
        grid: &Grid,
    ) -> Self {
        let capacities = grid.capacities(trace);
        let mut tasks = vec![Task::Lower];
        for &policy in policies.iter().filter(|p| **p != PolicyKind::Lru) {
            tasks.extend(capacities.iter().map(|c| Task::Policy(policy, *c)));
        }
        tasks.extend(capacities.iter().map(|c| Task::Upper(*c)));
        // LRU's newcomer is the last to be evicted, so its curve is the same in both modes.
        if policies.contains(&PolicyKind::Lru) {
            tasks.push(Task::Lru);
        }
        Self {
            trace: Arc::clone(trace),
            scores: scores.cloned(),
            future: Arc::clone(future),
            sizes: trace.sizes(),
            admission,
            seed,
            policies: policies.to_vec(),
            capacities,
            tasks,
        }
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    fn setup(&self, capacity_bytes: u64) -> Setup<'_> {
        Setup {
            admission: self.admission,
            scores: self.scores.as_ref(),
            future: Some(&self.future),
            seed: self.seed,
            ..Setup::new(&self.sizes, capacity_bytes)
        }
    }

    fn simulate(&self, policy: PolicyKind, capacity: u64) -> Result<Misses, Error> {
        let report = simulate(policy, &self.setup(capacity), &self.trace)?;
        Ok(Misses { objects: report.misses, bytes: report.miss_bytes })
    }

    fn lower(&self, value: Value) -> Lower {
        Lower::new(&Reuses::new(&self.trace, &self.future), value, self.admission)
    }

    /// Does task `index` of [`tasks`](Self::tasks).
    pub fn run(&self, index: usize) -> Result<Answer, Error> {
        Ok(Answer(match self.tasks[index] {
            Task::Policy(policy, capacity) => Done::Misses(self.simulate(policy, capacity)?),
            Task::Lru => Done::Curve(self.lru()?),
            Task::Lower => {
                let total = self.trace.summary();
                let objects = self.lower(Value::Objects);
                let objects: Vec<u64> = self.capacities.iter().map(|c| objects.most_hits(*c)).collect();
                let bytes = self.lower(Value::Bytes);
                let hits = objects.into_iter().zip(self.capacities.iter().map(|c| bytes.most_hit_bytes(*c)));
                let misses =
                    |(hits, bytes)| Misses { objects: total.accesses - hits, bytes: total.requested_bytes - bytes };
                Done::Points(hits.map(misses).collect())
            }
            Task::Upper(capacity) => {
                let mut best = Misses { objects: u64::MAX, bytes: u64::MAX };
                let mut offer = |misses: Misses| {
                    best.objects = best.objects.min(misses.objects);
                    best.bytes = best.bytes.min(misses.bytes);
                };
                offer(self.simulate(PolicyKind::Belady, capacity)?);
                offer(self.simulate(PolicyKind::BeladySize, capacity)?);
                for value in [Value::Objects, Value::Bytes] {
                    let mut packing = Packing::new(&self.lower(value), capacity);
                    packing.step(usize::MAX);
                    offer(packing.misses());
                }
                Done::Misses(best)
            }
        }))
    }

    fn point(&self, capacity_bytes: u64, misses: Misses) -> Point {
        let total = self.trace.summary();
        Point {
            capacity_bytes,
            miss_ratio: misses.objects as f64 / total.accesses.max(1) as f64,
            byte_miss_ratio: misses.bytes as f64 / total.requested_bytes.max(1) as f64,
        }
    }

    fn points(&self, misses: impl IntoIterator<Item = Misses>) -> Vec<Point> {
        self.capacities.iter().zip(misses).map(|(c, m)| self.point(*c, m)).collect()
    }

    /// Hits in a memory that holds everything.
    fn most_hits(&self) -> u64 {
        (self.trace.accesses().len() - self.sizes.len()) as u64
    }

    fn lru(&self) -> Result<Curve, Error> {
        let exact = LruCurve::new(&self.trace);
        let misses = |capacity: &u64| match exact.misses(*capacity) {
            Some(misses) => Ok(misses),
            None => self.simulate(PolicyKind::Lru, *capacity),
        };
        let misses = self.capacities.iter().map(misses).collect::<Result<Vec<_>, _>>()?;
        let smallest = |share: f64| Smallest {
            share_of_hits: share,
            capacity_bytes: exact.smallest_capacity((share * self.most_hits() as f64).ceil() as u64),
        };
        Ok(Curve {
            policy: PolicyKind::Lru,
            exact: true,
            points: self.points(misses),
            knee_bytes: exact.knee(),
            smallest: SHARES.map(smallest).to_vec(),
        })
    }

    /// Puts the answers of all tasks, in their order, together.
    pub fn finish(&self, answers: Vec<Answer>) -> Result<Curves, Error> {
        let mut answers = answers.into_iter().map(|answer| answer.0);
        let broken = || Error::Internal("an answer of a curve is missing".into());
        let Some(Done::Points(lower)) = answers.next() else { return Err(broken()) };
        let mut series = || -> Result<Vec<Misses>, Error> {
            let next = |_: &u64| match answers.next() {
                Some(Done::Misses(misses)) => Ok(misses),
                _ => Err(broken()),
            };
            self.capacities.iter().map(next).collect()
        };
        let mut curves = Vec::new();
        for &policy in self.policies.iter().filter(|p| **p != PolicyKind::Lru) {
            curves.push(self.curve(policy, &series()?));
        }
        let bounds =
            CurveBounds { admission: self.admission, lower: self.points(lower), upper: self.points(series()?) };
        if let Some(at) = self.policies.iter().position(|p| *p == PolicyKind::Lru) {
            let Some(Done::Curve(lru)) = answers.next() else { return Err(broken()) };
            curves.insert(at, lru);
        }
        Ok(Curves { curves, bounds })
    }

    fn curve(&self, policy: PolicyKind, misses: &[Misses]) -> Curve {
        let accesses = self.trace.accesses().len() as u64;
        let smallest = |share: f64| {
            let hits = (share * self.most_hits() as f64).ceil() as u64;
            let found = self.capacities.iter().zip(misses).find(|(_, m)| accesses - m.objects >= hits);
            Smallest { share_of_hits: share, capacity_bytes: found.map(|(c, _)| *c) }
        };
        let steps = self.capacities.iter().zip(misses).map(|(c, m)| (*c, m.objects));
        Curve {
            policy,
            exact: false,
            points: self.points(misses.iter().copied()),
            knee_bytes: knee(steps),
            smallest: SHARES.map(smallest).to_vec(),
        }
    }
}

/// The capacity at which a falling curve of misses lies farthest below the line between its ends.
fn knee(points: impl Iterator<Item = (u64, u64)> + Clone) -> Option<u64> {
    let (first, last) = (points.clone().next()?, points.clone().last()?);
    let width = (last.0 - first.0) as f64;
    let height = first.1 as f64 - last.1 as f64;
    if width <= 0.0 || height <= 0.0 {
        return None;
    }
    let below = |(capacity, misses): (u64, u64)| {
        let x = (capacity - first.0) as f64 / width;
        let y = (misses as f64 - last.1 as f64) / height;
        (1.0 - x - y, capacity)
    };
    let farthest = points.map(below).fold((0.0, 0), |best, p| if p.0 > best.0 { p } else { best });
    (farthest.0 > 0.0).then_some(farthest.1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::POLICIES;
    use crate::score::heuristic;
    use crate::trace::testing::trace;

    #[test]
    fn powers_are_powers() {
        for (base, exponent) in [(1024.0, 0.5), (2.0, 0.25), (7.0, 0.999), (1.0, 0.3), (9.0, 0.0)] {
            assert!((power(base, exponent) - f64::powf(base, exponent)).abs() < 1e-9);
        }
    }

    #[test]
    fn the_knee_of_a_corner_is_the_corner() {
        assert_eq!(knee([(1, 100), (2, 90), (3, 10), (50, 9), (100, 8)].into_iter()), Some(3));
        assert_eq!(knee([(1, 100), (2, 50), (3, 0)].into_iter()), None);
        assert_eq!(knee([(1, 5), (9, 5)].into_iter()), None);
        assert_eq!(knee(std::iter::empty()), None);
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
            let kinds: Vec<PolicyKind> = POLICIES.iter().map(|p| p.kind).collect();
            let grid = Grid { points: 5, capacities };
            let plan = Plan::new(&trace, &future, Some(&scores), &kinds, admission, 0, &grid);
            let answers = (0..plan.tasks()).map(|i| plan.run(i).unwrap()).collect();
            let curves = plan.finish(answers).unwrap();
            prop_assert_eq!(curves.curves.len(), kinds.len());
            for curve in &curves.curves {
                for (i, point) in curve.points.iter().enumerate() {
                    let setup = Setup {
                        admission, scores: Some(&scores), future: Some(&future),
                        ..Setup::new(&sizes, point.capacity_bytes)
                    };
                    let report = simulate(curve.policy, &setup, &trace).unwrap();
                    let accesses = trace.accesses().len() as f64;
                    prop_assert_eq!(point.miss_ratio, report.misses as f64 / accesses, "{}", curve.policy.name());
                    prop_assert!(curves.bounds.lower[i].miss_ratio <= point.miss_ratio);
                    prop_assert!(curves.bounds.lower[i].byte_miss_ratio <= point.byte_miss_ratio + 1e-12);
                }
            }
            for (lower, upper) in curves.bounds.lower.iter().zip(&curves.bounds.upper) {
                prop_assert!(lower.miss_ratio <= upper.miss_ratio);
            }
        }
    }
}
