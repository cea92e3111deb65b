//! `run(recipe)`: the one way in.
//!
//! [`run`] goes from recipe to outcome in one call. [`Job`] is the same in steps, for callers that must
//! breathe in between: a browser's worker reports progress and reads its messages between steps.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::explain::{Reuse, explain};
use crate::policy::Setup;
use crate::recipe::Recipe;
use crate::score::{Scorer, Scores, heuristic};
use crate::sim::timeline::{Buckets, Grouping, Timeline};
use crate::sim::{self, Report, Simulation};
use crate::trace::format::prototype_csv::{Record, record};
use crate::trace::reuse::{Future, Histogram, StackDistances};
use crate::trace::{Mark, Summary, Trace};
use crate::validate::{self, Validation};
use crate::workload::Workload;
use crate::workload::config::Facts;
use crate::workload::synthetic::sort_by_key;

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Stop; the run ends with [`Error::Cancelled`].
    Cancel,
}

/// Hears how far a run is, and may stop it.
pub trait Progress {
    /// `done` of `total` steps are done (never more than all), and `what` comes next.
    fn report(&mut self, done: u64, total: u64, what: &str) -> Flow;
}

/// Runs to the end without telling anyone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unattended;

impl Progress for Unattended {
    fn report(&mut self, _done: u64, _total: u64, _what: &str) -> Flow {
        Flow::Continue
    }
}

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
    trace: Trace,
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

/// A run in steps.
pub struct Job {
    recipe: Recipe,
    trace: Trace,
    scores: Scores,
    sizes: Vec<u64>,
    future: Arc<Future>,
    buckets: Buckets,
    stack: StackDistances,
    distances: Histogram,
    reuse: Reuse,
    /// The run in progress, and those that are finished.
    current: Option<Box<dyn Simulation>>,
    finished: Vec<(Report, Timeline)>,
    /// Accesses done in the current pass over the trace.
    at: usize,
    done: u64,
}

impl Job {
    /// Checks `recipe` and makes its trace; a file workload brings its trace along.
    pub fn new(recipe: &Recipe, file: Option<Trace>) -> Result<Self, Error> {
        recipe.check()?;
        let trace = match file {
            Some(trace) => trace,
            None => recipe.workload.trace(recipe.seed)?,
        };
        let accesses = trace.accesses().len();
        Ok(Self {
            scores: heuristic(&trace),
            sizes: trace.sizes(),
            future: Arc::new(Future::of(&trace)),
            buckets: Buckets::new(&trace),
            stack: StackDistances::new(trace.tensors().len(), accesses),
            distances: Histogram::default(),
            reuse: Reuse::default(),
            current: None,
            finished: Vec::new(),
            at: 0,
            done: 0,
            recipe: recipe.clone(),
            trace,
        })
    }

    /// Steps done, steps in all (one pass to measure reuse, one for each policy), and what comes next.
    pub fn progress(&self) -> (u64, u64, &'static str) {
        let next = match self.recipe.policies.get(self.finished.len()) {
            _ if !self.measured() => "reuse",
            Some(policy) => policy.info().title,
            None => "charts",
        };
        let passes = 1 + self.recipe.policies.len() as u64;
        (self.done, self.accesses() as u64 * passes, next)
    }

    fn accesses(&self) -> usize {
        self.trace.accesses().len()
    }

    fn measured(&self) -> bool {
        self.done >= self.accesses() as u64
    }

    /// Whether every pass is done.
    pub fn is_done(&self) -> bool {
        self.finished.len() == self.recipe.policies.len()
    }

    /// Runs up to `accesses` accesses further.
    pub fn step(&mut self, accesses: usize) -> Result<(), Error> {
        if self.is_done() {
            return Ok(());
        }
        let (start, end) = (self.at, self.at.saturating_add(accesses.max(1)).min(self.accesses()));
        if self.measured() {
            self.simulate(start, end)?;
        } else {
            self.measure(start, end);
        }
        self.done += (end - start) as u64;
        self.at = if end == self.accesses() { 0 } else { end };
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
    }

    fn simulate(&mut self, start: usize, end: usize) -> Result<(), Error> {
        let mut run = match self.current.take() {
            Some(run) => run,
            None => {
                let setup = Setup {
                    scores: Some(&self.scores),
                    future: Some(&self.future),
                    seed: self.recipe.seed,
                    ..Setup::new(&self.sizes, self.recipe.memory.capacity_bytes)
                };
                sim::start(self.recipe.policies[self.finished.len()], &setup, &self.buckets)?
            }
        };
        run.advance(&self.trace, start, end);
        if end == self.accesses() {
            self.finished.push(run.finish());
        } else {
            self.current = Some(run);
        }
        Ok(())
    }

    /// The outcome and what is behind it, once [`is_done`](Self::is_done).
    pub fn finish(mut self) -> Result<(Outcome, Scored), Error> {
        if !self.is_done() {
            return Err(Error::Internal("the run was finished before its last step".into()));
        }
        let (runs, timelines): (Vec<_>, Vec<_>) = self.finished.into_iter().unzip();
        self.reuse.median_stack_distance_bytes = self.distances.quantile(0.5).unwrap_or(0);
        let summary = self.trace.summary();
        let validation = match &self.recipe.workload {
            Workload::Synthetic(s) => Some(validate::synthetic(&self.trace, Some(s.reuse_probability))?),
            Workload::Inference(_) | Workload::File(_) => None,
        };
        let outcome = Outcome {
            trace: summary,
            explanation: explain(&summary, &self.reuse, &runs),
            runs,
            scorer: self.scores.scorer,
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
        Ok((outcome, Scored { trace: self.trace, scores: self.scores, ranked: None }))
    }
}

/// Accesses [`run`] does between two reports.
const STEP: usize = 1 << 18;

/// Runs `recipe` to its outcome.
pub fn run(recipe: &Recipe, progress: &mut dyn Progress) -> Result<Outcome, Error> {
    run_with(recipe, None, progress)
}

/// Runs `recipe`; a file workload brings its trace along.
pub fn run_with(recipe: &Recipe, file: Option<Trace>, progress: &mut dyn Progress) -> Result<Outcome, Error> {
    let mut job = Job::new(recipe, file)?;
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
    fn a_file_recipe_without_its_file_says_so() {
        let json = br#"{"workload":{"file":{"name":"x.csv"}}}"#;
        let recipe = Recipe::from_json("r", json).unwrap();
        assert!(run(&recipe, &mut Unattended).unwrap_err().to_string().contains("Give the file along"));
    }
}
