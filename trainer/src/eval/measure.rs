//! What every policy misses at a point, and how long the device then waits.

use accel_core::policy::{Admission, POLICIES, PolicyKind, PolicySpec};
use accel_core::progress::Unattended;
use accel_core::recipe::{Recipe, Workload};
use accel_core::run::{Details, Outcome, Plan};
use accel_core::score::{BuiltIn, Scorer, Scores, log2, of_log2};
use accel_core::sim::Report;
use accel_core::trace::Trace;
use accel_core::trace::reuse::{Future, NEVER};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::gaps::closed;
use crate::points::{Place, Point, SEED};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Accesses that miss.
    Objects,
    /// Their bytes.
    Bytes,
    /// Time in which the device computes nothing.
    Stall,
}

impl Unit {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Objects, Self::Bytes, Self::Stall];
}

/// What a schedule costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Accesses that miss.
    pub misses: u64,
    /// Bytes of the misses.
    pub miss_bytes: u64,
    /// Time in which the device computes nothing, in ns; none where no device counts time.
    pub stall_ns: Option<u64>,
}

impl Cost {
    fn of(report: &Report) -> Self {
        let stall_ns = report.physical.as_ref().map(|timed| nanoseconds(timed.stall_ms));
        Self { misses: report.misses, miss_bytes: report.miss_bytes, stall_ns }
    }

    /// The count of `unit`.
    pub fn get(&self, unit: Unit) -> Option<u64> {
        match unit {
            Unit::Objects => Some(self.misses),
            Unit::Bytes => Some(self.miss_bytes),
            Unit::Stall => self.stall_ns,
        }
    }

    /// The lesser of the counts of both.
    fn least(self, other: Self) -> Self {
        Self {
            misses: self.misses.min(other.misses),
            miss_bytes: self.miss_bytes.min(other.miss_bytes),
            stall_ns: self.stall_ns.zip(other.stall_ns).map(|(a, b)| a.min(b)),
        }
    }
}

/// Whole numbers come back from a file as they were.
fn nanoseconds(ms: f64) -> u64 {
    (ms * 1e6).round().max(0.0) as u64
}

/// A policy at a point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The policy's name.
    pub policy: String,
    /// Who scores, for a policy that reads scores.
    pub scorer: Option<String>,
    /// What it costs.
    pub cost: Cost,
}

/// A point and what was found there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The family of the workload.
    pub family: String,
    /// The workload's name.
    pub workload: String,
    /// The point's name.
    pub point: String,
    /// Whether it was looked at while choices were made.
    pub seen: bool,
    /// Capacity in bytes.
    pub capacity_bytes: u64,
    /// Which missed tensors come in.
    pub admission: Admission,
    /// Accesses of the trace.
    pub accesses: u64,
    /// What LRU costs.
    pub lru: Cost,
    /// What the best schedule known costs, unit by unit.
    pub best: Cost,
    /// What no schedule goes below, unit by unit.
    pub proven: Cost,
    /// Every policy, those that know the future included, and `ml-reuse` by every scorer.
    pub runs: Vec<Run>,
}

impl Measured {
    /// The way from LRU to the best schedule known that `cost` goes, at least -1; none where LRU is the best known.
    pub fn gap(&self, unit: Unit, cost: Option<u64>) -> Option<f64> {
        closed(self.lru.get(unit)?, cost?, self.best.get(unit)?)
    }

    /// The same to what no schedule goes below.
    pub fn proven_gap(&self, unit: Unit, cost: Option<u64>) -> Option<f64> {
        closed(self.lru.get(unit)?, cost?, self.proven.get(unit)?)
    }

    /// What a policy costs; a scorer is named where it reads scores.
    pub fn cost(&self, policy: PolicyKind, scorer: Option<&str>, unit: Unit) -> Option<u64> {
        let run = self.runs.iter().find(|run| run.policy == policy.name() && run.scorer.as_deref() == scorer)?;
        run.cost.get(unit)
    }
}

/// Who predicts, for `ml-reuse`.
#[derive(Debug, Clone, Copy)]
pub enum Predictor {
    /// One of the scorers that are shipped.
    BuiltIn(BuiltIn),
    /// One that knows the next use.
    Perfect,
}

/// The name of [`Predictor::Perfect`].
pub const PERFECT: &str = "perfect";

/// Every predictor.
pub fn predictors() -> impl Iterator<Item = Predictor> {
    BuiltIn::ALL.iter().copied().map(Predictor::BuiltIn).chain([Predictor::Perfect])
}

impl Predictor {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::BuiltIn(scorer) => scorer.name(),
            Self::Perfect => PERFECT,
        }
    }

    /// A score for every access.
    pub fn scores(self, trace: &Trace) -> Scores {
        match self {
            Self::BuiltIn(scorer) => scorer.scores(trace),
            Self::Perfect => perfect(trace),
        }
    }
}

/// Scores that tell the time of the next use, as far as their scale goes: what the rule could do with perfect predictions.
fn perfect(trace: &Trace) -> Scores {
    let future = Future::of(trace);
    let score = |(now, next): (usize, &u32)| match *next {
        NEVER => 1.0,
        next => of_log2(log2(u64::from(next) - now as u64)),
    };
    // Nobody's: the name of a scorer that would be wrong is not shown.
    Scores { values: future.next_use.iter().enumerate().map(score).collect(), scorer: Scorer::Heuristic }
}

/// The outcome of `policies` by `scores`.
fn outcome(
    workload: &Workload,
    place: Place,
    trace: &Trace,
    policies: Vec<PolicySpec>,
    scores: Option<Scores>,
    bounds: bool,
) -> anyhow::Result<Outcome> {
    let mut recipe = Recipe { workload: workload.clone(), policies, bounds, seed: SEED, ..Recipe::default() };
    recipe.memory.capacity_bytes = place.capacity_bytes;
    recipe.memory.admission = place.admission.into();
    let plan = Plan::new(&recipe, Some(trace.clone()), scores, Details::REPORTS)?;
    let answers = (0..plan.passes()).map(|pass| plan.run(pass, &mut Unattended)).collect::<Result<_, _>>()?;
    Ok(plan.finish(answers)?.0)
}

/// What `ml-reuse` costs by `scores`.
pub fn by_scores(workload: &Workload, place: Place, trace: &Trace, scores: Scores) -> anyhow::Result<Cost> {
    let found = outcome(workload, place, trace, vec![PolicyKind::MlReuse.into()], Some(scores), false)?;
    Ok(Cost::of(found.runs.first().context("ml-reuse was not run")?))
}

/// Runs everything at `point`.
pub fn measure(point: &Point) -> anyhow::Result<Measured> {
    let Point { row, seen, place } = *point;
    let (workload, trace) = (row.workload()?, row.trace(place.capacity_bytes)?);
    let heuristic = BuiltIn::Heuristic;
    // `ml-reuse` comes below, with all of its scorers.
    let all = POLICIES.iter().map(|policy| policy.kind).filter(|kind| *kind != PolicyKind::MlReuse);
    let policies = all.map(PolicySpec::from).collect();
    let found = outcome(&workload, place, &trace, policies, Some(heuristic.scores(&trace)), true)?;
    let bounds = found.bounds.context("the bounds are missing")?;
    let mut runs: Vec<Run> = Vec::new();
    for report in &found.runs {
        let kind = report.policy.kind();
        let scorer = kind.info().scored().then(|| heuristic.name().to_owned());
        runs.push(Run { policy: kind.name().to_owned(), scorer, cost: Cost::of(report) });
    }
    let mut compute_ns = found.runs.iter().filter_map(|report| report.physical.as_ref());
    let compute_ns = compute_ns.next().map(|timed| nanoseconds(timed.compute_ms));
    for predictor in predictors() {
        let cost = by_scores(&workload, place, &trace, predictor.scores(&trace))?;
        let scorer = Some(predictor.name().to_owned());
        runs.push(Run { policy: PolicyKind::MlReuse.name().to_owned(), scorer, cost });
    }
    let lru = runs.iter().find(|run| run.policy == PolicyKind::Lru.name()).context("the run of LRU is missing")?.cost;
    let known = Cost { misses: bounds.misses.upper, miss_bytes: bounds.miss_bytes.upper, stall_ns: lru.stall_ns };
    let least_ns = bounds.time_ms.map(|time| nanoseconds(time.lower)).zip(compute_ns);
    Ok(Measured {
        family: row.family.to_owned(),
        workload: row.name.to_owned(),
        point: point.name(),
        seen,
        capacity_bytes: place.capacity_bytes,
        admission: place.admission,
        accesses: found.trace.accesses,
        lru,
        best: runs.iter().fold(known, |best, run| best.least(run.cost)),
        proven: Cost {
            misses: bounds.misses.lower,
            miss_bytes: bounds.miss_bytes.lower,
            stall_ns: least_ns.map(|(time, compute)| time.saturating_sub(compute)),
        },
        runs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::{Row, Source};
    use crate::storage::Storage;

    /// One small workload for each family.
    fn small() -> Vec<(Row, u64)> {
        let recipe = |family, json, megabytes: u64| {
            (Row { family, name: family, source: Source::Recipe(json), at: &[] }, megabytes * 1_000_000)
        };
        let requests = Storage { objects: 3_000, requests: 20_000, zipf: 0.9, scans: 0.1, drift: 0.0 };
        let step = include_bytes!("../../../tests/fixtures/et/dlrm_train.json.gz");
        vec![
            recipe("decode", r#"{"model":{"model":"llama-3.2-1b","decode_tokens":8,"tile_bytes":8388608}}"#, 1000),
            recipe(
                "prefill",
                r#"{"model":{"model":"opt-6.7b","requests":"2x256+1,2x512+1@2","tile_bytes":16777216}}"#,
                4000,
            ),
            recipe("encoder", r#"{"model":{"model":"bert-base","steps":4,"tile_bytes":524288}}"#, 100),
            recipe("cnn", r#"{"model":{"model":"resnet-18","steps":5,"batch_size":4,"tile_bytes":262144}}"#, 20),
            recipe(
                "training",
                r#"{"model":{"model":"bert-base","task":"training","steps":3,"tile_bytes":2097152}}"#,
                500,
            ),
            recipe(
                "moe",
                r#"{"model":{"model":"switch-base-8","decode_tokens":8,"prompt_tokens":16,"tile_bytes":2097152}}"#,
                600,
            ),
            recipe(
                "requests",
                r#"{"model":{"model":"llama-3.2-1b","batch_size":4,"requests":"2x64+8,2x128+6@4","tile_bytes":8388608}}"#,
                1000,
            ),
            recipe(
                "tenants",
                r#"{"tenants":{"tenants":[
                {"name":"a","workload":{"model":{"model":"bert-base","steps":4,"tile_bytes":524288}}},
                {"name":"b","workload":{"model":{"model":"resnet-18","steps":4,"tile_bytes":524288}}}]}}"#,
                150,
            ),
            recipe("synthetic", r#"{"synthetic":{"num_layers":512,"reuse_probability":0.6}}"#, 64),
            (Row { family: "storage", name: "storage", source: Source::Storage(requests), at: &[] }, 50_000_000),
            (Row { family: "pytorch", name: "pytorch", source: Source::Recorded(step, 12), at: &[] }, 10_000),
        ]
    }

    /// With perfect predictions the rule is nearly the best schedule known in bytes, but for three families: there sizes
    /// differ so much that no rule is best in objects and bytes, or so few tensors fit that nobody who evicts one after
    /// the other is best. In these it is about as good in both together as the better of the two policies that know the
    /// next use exactly.
    #[test]
    fn perfect_predictions_close_the_gap_in_every_family() {
        let families: std::collections::BTreeSet<&str> =
            crate::points::points().map(|point| point.row.family).collect();
        assert_eq!(families, small().iter().map(|(row, _)| row.family).collect());
        for (row, capacity_bytes) in small() {
            let place = Place { capacity_bytes, admission: Admission::Always };
            let (workload, trace) = (row.workload().unwrap(), row.trace(capacity_bytes).unwrap());
            let policies = PolicySpec::plain([PolicyKind::Lru, PolicyKind::Belady, PolicyKind::BeladySize]);
            let found = outcome(&workload, place, &trace, policies, None, true).unwrap();
            let bounds = found.bounds.unwrap();
            let perfect = by_scores(&workload, place, &trace, perfect(&trace)).unwrap();
            let [lru, belady, belady_size] = [0, 1, 2].map(|run| Cost::of(&found.runs[run]));
            let best = [bounds.misses.upper.min(perfect.misses), bounds.miss_bytes.upper.min(perfect.miss_bytes)];
            let [perfect, belady, belady_size] = [perfect, belady, belady_size].map(|cost| {
                let objects = closed(lru.misses, cost.misses, best[0]).unwrap();
                [objects, closed(lru.miss_bytes, cost.miss_bytes, best[1]).unwrap()]
            });
            println!(
                "{} {} accesses: {perfect:.3?}, Belady {belady:.3?}, by size {belady_size:.3?}",
                row.family,
                trace.accesses().len()
            );
            if ["synthetic", "storage", "pytorch"].contains(&row.family) {
                let both = |[objects, bytes]: [f64; 2]| (objects + bytes) / 2.0;
                let better = both(belady).max(both(belady_size));
                assert!(both(perfect) > better - 0.06, "{} {perfect:?} {belady:?} {belady_size:?}", row.family);
            } else {
                assert!(perfect[1] > 0.95, "{} {perfect:?}", row.family);
            }
        }
    }
}
