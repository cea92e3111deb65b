//! `run(recipe)`: the one way in.
//!
//! [`run`] goes from recipe to outcome in one call. [`Job`] is the same in steps, for callers that must
//! breathe in between: a browser's worker reports progress and reads its messages between steps.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bound::lower::Lower;
use crate::bound::packing::Packing;
use crate::bound::{Bounds, Least, Misses, Reuses, Value};
use crate::curve::{Answer, CurveTasks, Curves, Question};
use crate::error::Error;
use crate::explain::{Reuse, explain};
use crate::import::prototype_csv::{Record, record};
use crate::policy::{Admission, PolicyKind, Setup};
use crate::progress::{Flow, Progress};
use crate::recipe::Recipe;
use crate::recipe::Workload;
use crate::score::{Scorer, Scores, heuristic};
use crate::sim::timeline::{Buckets, Grouping, Timeline};
use crate::sim::{self, Cache, Report, Simulation};
use crate::trace::reuse::{Future, Histogram, StackDistances};
use crate::trace::{Mark, Summary, Trace};
use crate::validate::{self, Validation};
use crate::workload::config::Facts;
use crate::workload::synthetic::sort_by_key;

/// Charts of all runs share their columns and rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Charts {
    /// Accesses a column covers.
    pub accesses_per_column: u64,
    /// What the rows of the heatmaps are.
    pub groupings: Vec<Grouping>,
    /// Named points in the trace.
    pub marks: Vec<Mark>,
    /// What each run shows, in the order of the runs.
    pub timelines: Vec<Timeline>,
}

/// Everything an experiment answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Size of the trace.
    pub trace: Summary,
    /// One report a policy, in the order of the recipe.
    pub runs: Vec<Report>,
    /// How good any policy could be, where the recipe asks.
    pub bounds: Option<Bounds>,
    /// How misses fall as memory grows, where the recipe asks.
    pub curve: Option<Curves>,
    /// Who made the eviction scores.
    pub scorer: Scorer,
    /// Parameters and bytes, where the workload is a model.
    pub model: Option<Facts>,
    /// How far apart the uses of a tensor are.
    pub reuse: Reuse,
    /// What it means, in words.
    pub explanation: Vec<String>,
    /// What the reader should know about the trace.
    pub warnings: Vec<String>,
    /// Whether the trace matches its own generator; only a drawn trace has a law to match.
    pub validation: Option<Validation>,
    /// Data of the charts.
    pub charts: Charts,
}

/// The trace behind an outcome, for questions about single accesses.
#[derive(Debug)]
pub struct Scored {
    trace: Arc<Trace>,
    scores: Scores,
    /// Accesses by falling score, sorted when first asked for.
    ranked: Option<Vec<u32>>,
}

/// The order of [`Scored::records`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As the trace runs.
    #[default]
    Access,
    /// Highest eviction score first.
    Score,
}

impl Scored {
    /// The trace.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The scored records `start..start + count` in `order`, each with its access number.
    pub fn records(&mut self, order: Order, start: usize, count: usize) -> Vec<(u64, Record)> {
        let accesses = self.trace.accesses().len();
        let end = start.saturating_add(count).min(accesses);
        let wanted: Vec<usize> = match order {
            Order::Access => (start..end).collect(),
            Order::Score => {
                let values = &self.scores.values;
                let ranked = self.ranked.get_or_insert_with(|| {
                    let mut ranked: Vec<(f64, u32)> = values.iter().map(|v| -v).zip(0..).collect();
                    sort_by_key(&mut ranked);
                    ranked.into_iter().map(|(_, access)| access).collect()
                });
                ranked.get(start..end).unwrap_or_default().iter().map(|i| *i as usize).collect()
            }
        };
        wanted.into_iter().map(|access| (access as u64, record(&self.trace, &self.scores, access))).collect()
    }
}

/// One pass over the trace.
#[derive(Debug, Clone, Copy)]
enum Pass {
    /// Measures stack distances.
    Reuse,
    /// Runs a policy of the recipe, watched.
    Policy(PolicyKind),
    /// Runs a policy for the bounds, unwatched.
    Reference(PolicyKind),
    /// Sorts the reuses and fills the space-time.
    Lower,
    /// Packs the reuses in one of the orders of [`PACKINGS`].
    Packing(usize),
    /// A task of the curves.
    Curve(usize),
}

/// The names of the orders in which reuses are packed.
const PACKINGS: [(&str, Value); 2] = [("packing by objects", Value::Objects), ("packing by bytes", Value::Bytes)];
/// Policies whose schedules compete with the packings.
const REFERENCES: [PolicyKind; 3] = [PolicyKind::Lru, PolicyKind::Belady, PolicyKind::BeladySize];

/// A run in steps.
pub struct Job {
    recipe: Recipe,
    trace: Arc<Trace>,
    /// Where a policy reads them.
    scores: Option<Scores>,
    sizes: Vec<u64>,
    future: Arc<Future>,
    buckets: Buckets,
    stack: StackDistances,
    distances: Histogram,
    reuse: Reuse,
    passes: Vec<Pass>,
    /// The current pass, and what it has done: accesses, reuses, or nothing.
    pass: usize,
    at: usize,
    /// What the current pass works on.
    watched: Option<Box<dyn Simulation>>,
    unwatched: Option<Box<dyn Cache>>,
    packing: Option<Packing>,
    /// What finished passes left.
    finished: Vec<(Report, Timeline)>,
    schedules: Vec<(&'static str, Misses)>,
    least: Option<Least>,
    curve: Option<CurveTasks>,
    answers: Vec<Answer>,
}

impl Job {
    /// Checks `recipe` and makes its trace; a file workload brings its trace along.
    pub fn new(recipe: &Recipe, file: Option<Trace>) -> Result<Self, Error> {
        Self::with_scores(recipe, file, None)
    }

    /// The same with eviction scores made elsewhere, one an access; none makes those of the heuristic.
    pub fn with_scores(recipe: &Recipe, file: Option<Trace>, scores: Option<Scores>) -> Result<Self, Error> {
        recipe.check()?;
        let trace = Arc::new(match file {
            Some(trace) => trace,
            None => recipe.workload.trace(recipe.seed)?,
        });
        let (given, accesses) = (scores.as_ref().map(|scores| scores.values.len()), trace.accesses().len());
        if let Some(given) = given.filter(|given| *given != accesses) {
            return Err(Error::Internal(format!("{given} scores for {accesses} accesses")));
        }
        let scores = scores.or_else(|| recipe.reads_scores().then(|| heuristic(&trace)));
        let future = Arc::new(Future::of(&trace));
        let curve = recipe.curve.as_ref().map(|grid| {
            let question = Question {
                grid,
                policies: &recipe.policies,
                admission: recipe.memory.admission,
                seed: recipe.seed,
                bounds: recipe.bounds,
            };
            CurveTasks::new(&trace, &future, scores.as_ref(), &question)
        });
        let summary = trace.summary();
        let nothing_kept = Misses { objects: summary.accesses, bytes: summary.requested_bytes };
        let schedules = match recipe.memory.admission {
            Admission::Always => Vec::new(),
            Admission::Bypass => vec![("nothing kept", nothing_kept)],
        };
        let mut passes = vec![Pass::Reuse];
        passes.extend(recipe.policies.iter().map(|policy| Pass::Policy(*policy)));
        if recipe.bounds {
            let missing = REFERENCES.into_iter().filter(|policy| !recipe.policies.contains(policy));
            passes.extend(missing.map(Pass::Reference));
            passes.push(Pass::Lower);
            passes.extend((0..PACKINGS.len()).map(Pass::Packing));
        }
        passes.extend((0..curve.as_ref().map_or(0, CurveTasks::tasks)).map(Pass::Curve));
        Ok(Self {
            sizes: trace.sizes(),
            buckets: Buckets::new(&trace),
            stack: StackDistances::new(trace.tensors().len()),
            distances: Histogram::default(),
            reuse: Reuse::default(),
            passes,
            pass: 0,
            at: 0,
            watched: None,
            unwatched: None,
            packing: None,
            finished: Vec::new(),
            schedules,
            least: None,
            curve,
            answers: Vec::new(),
            recipe: recipe.clone(),
            trace,
            scores,
            future,
        })
    }

    /// Steps done, steps in all, and what comes next.
    pub fn progress(&self) -> (u64, u64, &'static str) {
        let next = match self.passes.get(self.pass) {
            Some(Pass::Reuse) => "reuse",
            Some(Pass::Policy(policy)) => policy.info().title,
            Some(Pass::Reference(_) | Pass::Lower | Pass::Packing(_)) => "bounds",
            Some(Pass::Curve(_)) => "capacity curve",
            None => "charts",
        };
        let accesses = self.accesses() as u64;
        (self.pass as u64 * accesses + self.at as u64, accesses * self.passes.len() as u64, next)
    }

    fn accesses(&self) -> usize {
        self.trace.accesses().len()
    }

    /// Whether every pass is done.
    pub fn is_done(&self) -> bool {
        self.pass == self.passes.len()
    }

    /// Runs up to `accesses` accesses further, or a piece of work that cannot be divided.
    pub fn step(&mut self, accesses: usize) -> Result<(), Error> {
        let Some(pass) = self.passes.get(self.pass).copied() else { return Ok(()) };
        let (start, end) = (self.at, self.at.saturating_add(accesses.max(1)).min(self.accesses()));
        let mut done = end == self.accesses();
        match pass {
            Pass::Reuse => self.measure(start, end),
            Pass::Policy(policy) => self.simulate(policy, start, end)?,
            Pass::Reference(policy) => self.refer(policy, start, end)?,
            Pass::Lower => {
                let reuses = Reuses::new(&self.trace, &self.future);
                let memory = &self.recipe.memory;
                self.least = Some(Least::new(&reuses, memory.capacity_bytes, memory.admission));
                done = true;
            }
            Pass::Packing(order) => done = self.pack(PACKINGS[order], end - start),
            Pass::Curve(task) => {
                if let Some(curve) = &self.curve {
                    self.answers.push(curve.run(task)?);
                }
                done = true;
            }
        }
        (self.pass, self.at) = if done { (self.pass + 1, 0) } else { (self.pass, end) };
        Ok(())
    }

    fn measure(&mut self, start: usize, end: usize) {
        let capacity = self.recipe.memory.capacity_bytes;
        for &tensor in &self.trace.accesses()[start..end] {
            if let Some(distance) = self.stack.access(tensor, self.sizes[tensor as usize]) {
                self.reuse.reuses += 1;
                self.reuse.within_capacity += u64::from(distance <= capacity);
                self.distances.add(distance);
            }
        }
        if end == self.accesses() {
            self.stack = StackDistances::new(0);
        }
    }

    fn setup(&self) -> Setup<'_> {
        Setup {
            admission: self.recipe.memory.admission,
            scores: self.scores.as_ref(),
            future: Some(&self.future),
            seed: self.recipe.seed,
            ..Setup::new(&self.sizes, self.recipe.memory.capacity_bytes)
        }
    }

    fn simulate(&mut self, policy: PolicyKind, start: usize, end: usize) -> Result<(), Error> {
        let mut run = match self.watched.take() {
            Some(run) => run,
            None => {
                let physical = self.recipe.memory.physical();
                sim::start(policy, &self.setup(), &self.future, &self.buckets, physical)?
            }
        };
        run.advance(&self.trace, start, end);
        if end < self.accesses() {
            self.watched = Some(run);
            return Ok(());
        }
        let (report, timeline) = run.finish(&self.trace);
        self.attained(policy.name(), report.misses, report.miss_bytes);
        self.finished.push((report, timeline));
        Ok(())
    }

    fn refer(&mut self, policy: PolicyKind, start: usize, end: usize) -> Result<(), Error> {
        let mut memory = match self.unwatched.take() {
            Some(memory) => memory,
            None => sim::cache(policy, &self.setup())?,
        };
        memory.advance(&self.trace.accesses()[start..end], start);
        if end < self.accesses() {
            self.unwatched = Some(memory);
            return Ok(());
        }
        let counts = memory.counts();
        self.attained(policy.name(), counts.misses, counts.miss_bytes);
        Ok(())
    }

    /// Packs up to `reuses` more by `value`; whether that was all.
    fn pack(&mut self, (name, value): (&'static str, Value), reuses: usize) -> bool {
        let memory = &self.recipe.memory;
        let packing = self.packing.get_or_insert_with(|| {
            let all = Reuses::new(&self.trace, &self.future);
            Packing::new(&Lower::new(&all, value, memory.admission), memory.capacity_bytes)
        });
        packing.step(reuses);
        let (done, all) = packing.progress();
        if done < all {
            return false;
        }
        let Misses { objects, bytes } = packing.misses();
        self.packing = None;
        self.attained(name, objects, bytes);
        true
    }

    fn attained(&mut self, schedule: &'static str, objects: u64, bytes: u64) {
        self.schedules.push((schedule, Misses { objects, bytes }));
    }

    /// The outcome and what is behind it, once [`is_done`](Self::is_done).
    pub fn finish(mut self) -> Result<(Outcome, Scored), Error> {
        if !self.is_done() {
            return Err(Error::Internal("the run was finished before its last step".into()));
        }
        let scores = match self.scores.take() {
            Some(scores) => scores,
            None => heuristic(&self.trace),
        };
        let (mut runs, timelines): (Vec<_>, Vec<_>) = std::mem::take(&mut self.finished).into_iter().unzip();
        self.reuse.median_stack_distance_bytes = self.distances.quantile(0.5).unwrap_or(0);
        let summary = self.trace.summary();
        let admission = self.recipe.memory.admission;
        let bounds = self.least.and_then(|least| least.bounds(admission, summary.accesses, &self.schedules));
        if let Some(bounds) = &bounds {
            self.close_gaps(&mut runs, bounds);
        }
        let validation = match &self.recipe.workload {
            Workload::Synthetic(s) => Some(validate::synthetic(&self.trace, Some(s.reuse_probability))?),
            Workload::Model(_) | Workload::Tenants(_) | Workload::File(_) => None,
        };
        let outcome = Outcome {
            trace: summary,
            explanation: explain(&summary, &self.reuse, &runs, bounds.as_ref()),
            runs,
            bounds,
            curve: self.curve.map(|curve| curve.finish(self.answers)).transpose()?,
            scorer: scores.scorer,
            model: self.recipe.workload.model_facts()?,
            reuse: self.reuse,
            warnings: self.trace.warnings().to_vec(),
            validation,
            charts: Charts {
                accesses_per_column: self.buckets.width as u64,
                groupings: self.buckets.groupings.to_vec(),
                marks: self.trace.marks().to_vec(),
                timelines,
            },
        };
        Ok((outcome, Scored { trace: self.trace, scores, ranked: None }))
    }

    /// Tells each run how far it goes from LRU to the best schedule known.
    fn close_gaps(&self, runs: &mut [Report], bounds: &Bounds) {
        let lru = self.schedules.iter().find(|(name, _)| *name == PolicyKind::Lru.name());
        let Some((_, lru)) = lru else { return };
        for run in runs {
            run.gap_closed = gap_closed(lru.objects, run.misses, bounds.misses.upper);
            run.byte_gap_closed = gap_closed(lru.bytes, run.miss_bytes, bounds.miss_bytes.upper);
        }
    }
}

/// (LRU - policy) / (LRU - best); none where LRU is the best.
pub fn gap_closed(lru: u64, policy: u64, best: u64) -> Option<f64> {
    let gap = lru.checked_sub(best).filter(|gap| *gap > 0)?;
    Some((lru as f64 - policy as f64) / gap as f64)
}

/// Accesses [`run`] does between two reports.
const STEP: usize = 1 << 18;

/// Runs `recipe` to its outcome.
pub fn run(recipe: &Recipe, progress: &mut dyn Progress) -> Result<Outcome, Error> {
    run_with(recipe, None, progress)
}

/// Runs `recipe`; a file workload brings its trace along.
pub fn run_with(recipe: &Recipe, file: Option<Trace>, progress: &mut dyn Progress) -> Result<Outcome, Error> {
    run_to_end(Job::new(recipe, file)?, progress)
}

/// Runs `recipe` over its trace with eviction scores made elsewhere.
pub fn run_scored(
    recipe: &Recipe,
    trace: Trace,
    scores: Scores,
    progress: &mut dyn Progress,
) -> Result<Outcome, Error> {
    run_to_end(Job::with_scores(recipe, Some(trace), Some(scores))?, progress)
}

fn run_to_end(mut job: Job, progress: &mut dyn Progress) -> Result<Outcome, Error> {
    while !job.is_done() {
        let (done, total, what) = job.progress();
        if progress.report(done, total, what) == Flow::Cancel {
            return Err(Error::Cancelled);
        }
        job.step(STEP)?;
    }
    Ok(job.finish()?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Unattended;
    use crate::workload::synthetic::Synthetic;

    fn synthetic() -> Recipe {
        Recipe { workload: Workload::Synthetic(Synthetic::default()), ..Recipe::default() }
    }

    #[test]
    fn steps_of_any_size_give_the_same_outcome() {
        let recipe = synthetic();
        let whole = run(&recipe, &mut Unattended).unwrap();
        for step in [1, 7, 1000] {
            let mut job = Job::new(&recipe, None).unwrap();
            let mut last = 0;
            while !job.is_done() {
                let (done, total, _) = job.progress();
                assert!(done < total && (done == 0 || done > last));
                last = done;
                job.step(step).unwrap();
            }
            assert_eq!(job.finish().unwrap().0, whole);
        }
    }

    #[test]
    fn progress_can_cancel() {
        struct Stop;
        impl Progress for Stop {
            fn report(&mut self, _: u64, _: u64, _: &str) -> Flow {
                Flow::Cancel
            }
        }
        assert_eq!(run(&synthetic(), &mut Stop).unwrap_err(), Error::Cancelled);
    }

    #[test]
    fn records_by_access_and_by_score() {
        let mut job = Job::new(&synthetic(), None).unwrap();
        while !job.is_done() {
            job.step(1 << 20).unwrap();
        }
        let (outcome, mut finished) = job.finish().unwrap();
        let count = outcome.trace.accesses as usize;
        let all = finished.records(Order::Access, 0, count);
        assert_eq!(all.len(), count);
        assert!(all.iter().enumerate().all(|(i, (now, _))| *now == i as u64));
        let ranked = finished.records(Order::Score, 0, count);
        assert!(ranked.windows(2).all(|w| w[0].1.eviction_score >= w[1].1.eviction_score));
        assert_eq!(finished.records(Order::Score, 3, 2), ranked[3..5]);
        assert!(finished.records(Order::Score, count, 5).is_empty());
        for (now, record) in ranked {
            assert_eq!(all[now as usize].1, record);
        }
    }

    #[test]
    fn scores_from_outside_are_used_and_counted() {
        let recipe = Recipe { memory: crate::memory::Memory::default(), ..synthetic() };
        let trace = || recipe.workload.trace(recipe.seed).unwrap();
        let heuristic = heuristic(&trace());
        let same = Scores { scorer: Scorer::Local, ..heuristic.clone() };
        let outcome = run_scored(&recipe, trace(), same, &mut Unattended).unwrap();
        assert_eq!(outcome.scorer, Scorer::Local);
        assert_eq!(outcome.runs, run(&recipe, &mut Unattended).unwrap().runs);

        let opposite = Scores { values: heuristic.values.iter().map(|s| 1.0 - s).collect(), scorer: Scorer::Remote };
        let outcome = run_scored(&recipe, trace(), opposite, &mut Unattended).unwrap();
        assert_ne!(outcome.runs, run(&recipe, &mut Unattended).unwrap().runs);

        let few = Scores { values: heuristic.values.iter().copied().take(3).collect(), scorer: Scorer::Local };
        let error = run_scored(&recipe, trace(), few, &mut Unattended).unwrap_err();
        assert!(error.to_string().contains("3 scores for"), "{error}");
    }

    #[test]
    fn a_file_recipe_without_its_file_says_so() {
        let json = br#"{"workload":{"file":{"name":"x.csv"}}}"#;
        let recipe = Recipe::from_json("r", json).unwrap();
        assert!(run(&recipe, &mut Unattended).unwrap_err().to_string().contains("Give the file along"));
    }
}
