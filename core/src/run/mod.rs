//! `run(recipe)`: the one way in.
//!
//! [`run`] goes from recipe to outcome in one call. A [`Plan`] holds what the passes of a run share; the passes may run
//! one after the other in steps ([`Job`], for a browser's worker, which must breathe in between), or at once on many
//! threads ([`Plan::run`]). What is not asked for ([`Details`]) is not computed. [`stream`] is for traces that are too
//! long to hold.

pub mod after;
mod counter;
mod pass;
pub mod sampled;
pub mod stream;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use crate::bound::lower::Lower;
use crate::bound::{Bounds, Least, Misses, Reuses, Schedule, Value};
use crate::curve::lru::LruCurve;
use crate::curve::{CurveAnswer, CurveTasks, Curves, Grid, Question, is_stacked};
use crate::error::Error;
use crate::explain::{Reuse, explain, headline};
use crate::memory::{Costing, Stated};
use crate::policy::{Admission, Knows, PolicyKind, PolicySpec, Setup};
use crate::progress::{Flow, Progress};
use crate::recipe::measure::Measure;
use crate::recipe::sample::Sample;
use crate::recipe::{Recipe, Workload};
use crate::rules::Rules;
use crate::score::{Scorer, Scores};
use crate::sim::timeline::{Buckets, Grouping, Timeline};
use crate::sim::why::Eviction;
use crate::sim::{Report, evictions_at};
use crate::trace::reuse::{Future, Histogram};
use crate::trace::{Mark, Summary, Trace};
use crate::validate::{self, Validation};
use crate::workload::config::Facts;
pub use after::{Finished, Order, Wanted};
use counter::Counter;
pub use pass::Answer;
use pass::{Found, PACKINGS, Pass, REFERENCES, Running};
use sampled::{Estimate, Sampled, Samples};

/// Which parts of an [`Outcome`] are wanted, beside what the recipe asks for; the others stay empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Details {
    /// A report per policy, at the capacity of the recipe, and bounds there.
    pub runs: bool,
    /// Stack distances ([`Outcome::reuse`]), and what they mean in words.
    pub explanation: bool,
    /// Why each policy misses ([`Report::why`]).
    pub reasons: bool,
    /// Data of the charts.
    pub charts: bool,
}

impl Details {
    /// Everything.
    pub const ALL: Self = Self { runs: true, explanation: true, reasons: true, charts: true };
    /// The reports alone: the engine's numbers, as fast as it goes.
    pub const REPORTS: Self = Self { runs: true, explanation: false, reasons: false, charts: false };
    /// The curves alone.
    pub const CURVES: Self = Self { runs: false, ..Self::REPORTS };
}

/// Charts of all runs share their columns and rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Charts {
    /// The first access of the first column.
    pub first_access: u64,
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
    /// What counts time and energy.
    pub cost: Stated,
    /// One report a policy, in the order of the recipe.
    pub runs: Vec<Report>,
    /// How good any policy could be, where the recipe asks.
    pub bounds: Option<Bounds>,
    /// Bytes that the operators of a model load into fast memory at least, whatever order their tiles come in; 0 where
    /// nothing is known of them (see [`crate::tiling`]).
    pub io_bound_bytes: u64,
    /// How misses fall as memory grows, where the recipe asks.
    pub curve: Option<Curves>,
    /// How sure reports and curves are, where they are those of samples.
    pub sampled: Option<Sampled>,
    /// Who made the eviction scores.
    pub scorer: Scorer,
    /// Parameters and bytes, where the workload is a model.
    pub model: Option<Facts>,
    /// How far apart the uses of a tensor are.
    pub reuse: Reuse,
    /// What it comes to, in a sentence or two.
    pub headline: String,
    /// What it means, in words.
    pub explanation: Vec<String>,
    /// Tokens that are decoded, where the workload decodes.
    pub decoded_tokens: Option<u64>,
    /// What the reader should know about the trace.
    pub warnings: Vec<String>,
    /// Whether the trace matches its own generator; only a drawn trace has a law to match.
    pub validation: Option<Validation>,
    /// Data of the charts.
    pub charts: Charts,
}

/// What the passes of a run share, and which passes there are.
#[derive(Debug)]
pub struct Plan {
    recipe: Recipe,
    details: Details,
    trace: Arc<Trace>,
    /// Given, or made when a pass first asks for them.
    scores: Arc<OnceLock<Scores>>,
    sizes: Arc<[u64]>,
    /// Made when a pass first asks for it.
    future: Arc<OnceLock<Arc<Future>>>,
    /// The reuses sorted by objects and by bytes: the lower bound and a packing use each, and the second one takes it.
    orders: [Mutex<Option<Lower>>; 2],
    buckets: Buckets,
    costing: Costing,
    rules: Arc<Rules>,
    /// The first access that is counted, and the accesses of an interval.
    from: usize,
    interval: Option<usize>,
    curve: Option<CurveTasks>,
    /// What stands for the whole trace, where the recipe says so.
    samples: Option<Samples>,
    passes: Vec<Pass>,
}

impl Plan {
    /// Checks `recipe` and makes its trace; a file workload brings its trace along. Eviction scores may be made
    /// elsewhere, one per access; where a policy reads them and none are given, the scorer of the recipe makes them.
    pub fn new(recipe: &Recipe, file: Option<Trace>, scores: Option<Scores>, details: Details) -> Result<Self, Error> {
        recipe.check()?;
        let trace = Arc::new(recipe.trace(file)?);
        let (given, accesses) = (scores.as_ref().map(|scores| scores.values.len()), trace.accesses().len());
        if let Some(given) = given.filter(|given| *given != accesses) {
            return Err(Error::Internal(format!("{given} scores for {accesses} accesses")));
        }
        let from = recipe.measure.begin(accesses)?;
        let random = matches!(recipe.workload, Workload::Synthetic(_));
        let mut plan = Self {
            sizes: trace.sizes().into(),
            buckets: if details.charts { Buckets::new(&trace) } else { Buckets::default() },
            costing: recipe.memory.cost.fit(trace.knows_operations(), random),
            rules: Arc::new(recipe.memory.rules(&trace)?),
            from,
            interval: recipe.measure.interval(accesses - from)?,
            recipe: recipe.clone(),
            details,
            trace,
            scores: Arc::new(scores.map(OnceLock::from).unwrap_or_default()),
            future: Arc::default(),
            orders: Default::default(),
            curve: None,
            samples: None,
            passes: Vec::new(),
        };
        if let Some(sample) = &recipe.measure.sample {
            plan.sampled(sample)?;
        }
        plan.curve = recipe.curve.as_ref().map(|grid| plan.curves(grid));
        plan.passes = plan.all_passes();
        Ok(plan)
    }

    /// Lets samples stand for the trace, where it has more objects than they would have.
    fn sampled(&mut self, sample: &Sample) -> Result<(), Error> {
        self.samples = Samples::new(sample, self)?;
        if self.samples.is_some() {
            // What a sample has no words and pictures for.
            self.details = Details { runs: self.details.runs, ..Details::REPORTS };
            self.buckets = Buckets::default();
        } else {
            let objects = self.trace.tensors().len();
            let all = format!("The trace has {objects} objects, no more than a sample would have: all of it was run");
            Arc::make_mut(&mut self.trace).warn(all);
        }
        Ok(())
    }

    /// The plan of sample number `at`.
    fn sample(&self, at: usize) -> Result<&Self, Error> {
        let missing = || Error::Internal("a plan without samples".into());
        self.samples.as_ref().ok_or_else(missing)?.plan(at)
    }

    /// Asks for curves at the capacities of `grid`.
    fn set_curve(&mut self, grid: &Grid) {
        self.recipe.curve = Some(grid.clone());
        self.curve = Some(self.curves(grid));
        if let Some(samples) = &mut self.samples {
            let capacities = grid.capacities(&self.trace);
            samples.set_curve(&Grid { capacities, ..grid.clone() }, self.details);
        }
        self.passes = self.all_passes();
    }

    /// What there is to do for curves at the capacities of `grid`.
    fn curves(&self, grid: &Grid) -> CurveTasks {
        let Recipe { policies, memory, seed, bounds, .. } = &self.recipe;
        let (admission, rules) = (memory.mode(), Some(&*self.rules));
        // Beside samples, LRU alone runs over the whole trace.
        let lru = [PolicyKind::Lru.into()];
        let policies = if self.samples.is_some() { &lru } else { &policies[..] };
        let question = Question { grid, policies, admission, rules, seed: *seed, bounds: *bounds };
        let scores = self.recipe.reads_scores().then(|| self.scores());
        CurveTasks::new(&self.trace, self.future(), scores, &question)
    }

    /// The same run in a memory of `capacity_bytes`, without curves: the trace and what is known of it are shared.
    pub fn at(&self, capacity_bytes: u64) -> Result<Self, Error> {
        let mut recipe = self.recipe.clone();
        (recipe.memory.capacity_bytes, recipe.curve) = (capacity_bytes, None);
        recipe.memory.check()?;
        self.sharing(recipe)
    }

    /// Another experiment on the trace of this one, without curves: `recipe` has the same workload, seed and part of the
    /// trace. The trace and what is known of it are shared.
    pub fn on_this_trace(&self, mut recipe: Recipe) -> Result<Self, Error> {
        let of = |recipe: &Recipe| {
            let Measure { requests, ignore_size, sample, .. } = recipe.measure;
            (recipe.seed, requests, ignore_size, sample)
        };
        if of(&recipe) != of(&self.recipe) || recipe.workload != self.recipe.workload {
            return Err(Error::Internal("a plan of another trace".into()));
        }
        recipe.curve = None;
        recipe.check()?;
        self.sharing(recipe)
    }

    fn sharing(&self, recipe: Recipe) -> Result<Self, Error> {
        let rules = match recipe.memory.rules_like(&self.recipe.memory) {
            true => Arc::clone(&self.rules),
            false => Arc::new(recipe.memory.rules(&self.trace)?),
        };
        rules.capacities(recipe.memory.capacity_bytes)?;
        let accesses = self.accesses();
        let from = recipe.measure.begin(accesses)?;
        let random = matches!(recipe.workload, Workload::Synthetic(_));
        let samples = self.samples.as_ref().map(|samples| samples.sharing(&recipe, &self.trace, from)).transpose()?;
        // The first plan makes the scores of all that want them by the same scorer.
        let scored = recipe.scorer == self.recipe.scorer;
        let mut plan = Self {
            details: self.details,
            trace: Arc::clone(&self.trace),
            scores: if scored { Arc::clone(&self.scores) } else { Arc::default() },
            sizes: Arc::clone(&self.sizes),
            future: Arc::clone(&self.future),
            orders: Default::default(),
            buckets: self.buckets.clone(),
            costing: recipe.memory.cost.fit(self.trace.knows_operations(), random),
            rules,
            from,
            interval: recipe.measure.interval(accesses - from)?,
            curve: None,
            samples,
            passes: Vec::new(),
            recipe,
        };
        plan.passes = plan.all_passes();
        if scored {
            plan.passes.retain(|pass| !matches!(pass, Pass::Scores));
        }
        Ok(plan)
    }

    /// Takes a memory of `capacity_bytes` in place of the recipe's.
    pub fn set_capacity(&mut self, capacity_bytes: u64) -> Result<(), Error> {
        self.recipe.memory.capacity_bytes = capacity_bytes;
        self.recipe.memory.check()?;
        if let Some(samples) = &mut self.samples {
            samples.set_capacity(capacity_bytes)?;
        }
        self.rules.capacities(capacity_bytes).map(|_| ())
    }

    fn all_passes(&self) -> Vec<Pass> {
        let Self { recipe, details, .. } = self;
        let mut passes = Vec::new();
        if let Some(samples) = &self.samples {
            passes.extend(details.runs.then_some(Pass::Reference(PolicyKind::Lru)));
            passes.extend((0..self.curve.as_ref().map_or(0, CurveTasks::tasks)).map(Pass::Curve));
            passes.extend(samples.passes().map(|(sample, pass)| Pass::Sampled(sample, pass)));
            return passes;
        }
        if details.runs && recipe.reads_scores() && self.scores.get().is_none() {
            passes.push(Pass::Scores);
        }
        if details.explanation {
            passes.push(Pass::Reuse);
        }
        if details.runs {
            passes.extend(recipe.policies.iter().map(|policy| Pass::Policy(*policy)));
        }
        if details.runs && recipe.bounds {
            let missing = REFERENCES.into_iter().filter(|kind| !recipe.policies.iter().any(|policy| policy == kind));
            passes.extend(missing.map(Pass::Reference));
            passes.push(Pass::Lower);
            // A packed tensor would be kept beyond its age, or without the one that it continues.
            if !self.trace.expires() && self.trace.parents().is_empty() {
                passes.extend((0..PACKINGS.len()).map(Pass::Packing));
            }
        }
        passes.extend((0..self.curve.as_ref().map_or(0, CurveTasks::tasks)).map(Pass::Curve));
        passes
    }

    fn counter(&self) -> Counter {
        Counter::new(self.from, self.accesses(), self.interval)
    }

    fn future(&self) -> &Arc<Future> {
        self.future.get_or_init(|| Arc::new(Future::of(&self.trace)))
    }

    fn reuses(&self) -> Reuses {
        Reuses::since(self.from, &self.trace, self.future())
    }

    fn scores(&self) -> &Scores {
        self.scores.get_or_init(|| self.recipe.scorer.unwrap_or_default().scores(&self.trace))
    }

    /// The reuses sorted by `value`. Whoever comes second waits for the first rather than sort once more.
    fn order(&self, value: Value) -> Lower {
        let [objects, bytes] = &self.orders;
        let kept = match value {
            Value::Objects => objects,
            Value::Bytes | Value::Cost { .. } => bytes,
        };
        // An order is whole, or there is none.
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take().unwrap_or_else(|| {
            let order = Lower::new(&self.reuses(), value, self.recipe.memory.mode());
            *kept = Some(order.clone());
            order
        })
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The trace.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Number of passes over the trace.
    pub fn passes(&self) -> usize {
        self.passes.len()
    }

    /// When pass number `pass` had best begin, where passes run at once: first what others wait for, then what takes long,
    /// and last what waits for the first.
    pub fn turn(&self, pass: usize) -> u8 {
        match self.passes.get(pass) {
            Some(Pass::Scores) => 0,
            Some(Pass::Packing(_) | Pass::Lower | Pass::Curve(_)) => 1,
            Some(Pass::Policy(policy)) if self.recipe.reads_scores_under(*policy) => 3,
            _ => 2,
        }
    }

    /// What pass number `pass` is for, in words.
    pub fn title(&self, pass: usize) -> &'static str {
        match self.passes.get(pass) {
            Some(Pass::Scores) => "scores",
            Some(Pass::Reuse) => "reuse",
            Some(Pass::Policy(policy)) => policy.info().title,
            Some(Pass::Reference(_) | Pass::Lower | Pass::Packing(_)) => "bounds",
            Some(Pass::Curve(_)) => "capacity curve",
            Some(Pass::Sampled(sample, pass)) => self.sample(*sample).map_or("samples", |plan| plan.title(*pass)),
            None => "charts",
        }
    }

    /// Runs pass number `pass` to its end; passes may run at once, and in any order. `progress` hears accesses.
    pub fn run(&self, pass: usize, progress: &mut dyn Progress) -> Result<Answer, Error> {
        let mut running = Running::start(self, pass)?;
        let accesses = self.accesses();
        let mut at = 0usize;
        loop {
            if progress.report(at as u64, accesses as u64, self.title(pass)) == Flow::Cancel {
                return Err(Error::Cancelled);
            }
            let end = at.saturating_add(STEP).min(accesses);
            if running.step(self, at, end)? {
                // Work that cannot be divided is done at once.
                if progress.report(accesses as u64, accesses as u64, self.title(pass)) == Flow::Cancel {
                    return Err(Error::Cancelled);
                }
                return running.finish(self);
            }
            at = end;
        }
    }

    /// The answer of pass number `pass` from LRU's exact curve over the trace, where that pass is LRU's and the curve gives
    /// what it would count: the whole trace, under no rules, timed by no device and watched for nothing.
    pub fn from_curve(&self, pass: usize, curve: &LruCurve) -> Option<Answer> {
        let watched = self.details.charts || self.details.reasons || self.costing.physical().is_some();
        let plain = self.rules.are_plain() && is_stacked(&self.trace) && self.from == 0 && self.interval.is_none();
        let (policy, reports) = match self.passes.get(pass)? {
            Pass::Policy(policy) => (*policy, true),
            Pass::Reference(kind) => (PolicySpec::from(*kind), false),
            _ => return None,
        };
        if watched || !plain || policy != PolicyKind::Lru {
            return None;
        }
        let capacity_bytes = self.recipe.memory.capacity_bytes;
        let report = Report::new(policy, capacity_bytes, curve.counts(capacity_bytes)?);
        Some(pass::found(&self.costing, report, None, reports))
    }

    /// The evictions that access number `access` causes under `policy`, the worst first.
    pub fn evictions_at(&self, policy: PolicySpec, access: usize) -> Result<Vec<Eviction>, Error> {
        evictions_at(policy, &self.setup(policy), self.future(), &self.trace, &self.costing, access)
    }

    fn accesses(&self) -> usize {
        self.trace.accesses().len()
    }

    /// What `policy` may know, and those of levels below, which do not know the future.
    fn setup(&self, policy: PolicySpec) -> Setup<'_> {
        Setup {
            admission: self.recipe.memory.mode(),
            rules: Some(&self.rules),
            scores: self.recipe.reads_scores_under(policy).then(|| self.scores()),
            future: (policy.info().knows == Knows::Future).then(|| self.future()),
            seed: self.recipe.seed,
            parents: self.trace.parents(),
            ..Setup::new(&self.sizes, self.recipe.memory.capacity_bytes)
        }
    }

    /// What is counted, and puts the answers of all passes together, in their order.
    fn gather(&self, answers: Vec<Answer>) -> Result<Gathered, Error> {
        if answers.len() != self.passes() {
            return Err(Error::Internal("the run was finished before its last step".into()));
        }
        let summary = self.trace.summary();
        let counted = Summary { accesses: summary.accesses - self.from as u64, ..summary };
        let counted = match self.from {
            0 => counted,
            from => Summary { requested_bytes: self.trace.sized().skip(from).map(|(_, bytes)| bytes).sum(), ..counted },
        };
        let nothing_kept = Misses { objects: counted.accesses, bytes: counted.requested_bytes };
        let nothing_kept = match self.recipe.memory.mode() {
            Admission::Always => None,
            Admission::Bypass => Some(Schedule { name: "nothing kept".into(), misses: nothing_kept, time_ms: None }),
        };
        let mut gathered = Gathered { counted, nothing_kept, ..Gathered::default() };
        let mut of_samples = Vec::new();
        for Answer(found) in answers {
            match found {
                Found::Scores => {}
                Found::Reuse(counts, stack) => (gathered.reuse, gathered.distances) = (counts, stack),
                Found::Run(report, timeline) => {
                    gathered.runs.push(*report);
                    gathered.timelines.extend(timeline);
                }
                Found::Schedule(schedule) => gathered.schedules.push(schedule),
                Found::Lower(found) => gathered.least = Some(found),
                Found::Curve(answer) => gathered.curve.push(answer),
                Found::Sampled(answer) => of_samples.push(*answer),
            }
        }
        if let Some(samples) = &self.samples {
            samples.tell(self, of_samples, &mut gathered)?;
        }
        Ok(gathered)
    }

    /// The bounds, where they were asked for, and how far `runs` go from LRU to the best of them and of `others`.
    fn enclose(&self, gathered: &Gathered, runs: &mut [Report], others: &[Schedule]) -> Option<Bounds> {
        // Of equal schedules the first has its name in the answer.
        let kept = gathered.nothing_kept.iter().cloned();
        let schedules: Vec<Schedule> = kept.chain(runs.iter().map(schedule)).chain(others.iter().cloned()).collect();
        let (admission, accesses) = (self.recipe.memory.mode(), gathered.counted.accesses);
        let bounds = gathered.least.and_then(|least| least.bounds(admission, accesses, &self.costing, &schedules))?;
        close_gaps(runs, &bounds, &schedules);
        Some(bounds)
    }

    /// Who makes the scores.
    fn scorer(&self) -> Scorer {
        let named = self.recipe.scorer.unwrap_or_default();
        self.scores.get().map_or(named.scorer(), |scores| scores.scorer)
    }

    /// What counts the time, where a device does or the prototype's constants do.
    pub fn costing(&self) -> &Costing {
        &self.costing
    }

    /// A report for each policy of the recipe and the bounds beside it, each as if the recipe named that policy alone, from
    /// the answers of all passes in their order. The trace and the scores stay.
    pub fn alone(&self, answers: Vec<Answer>) -> Result<Vec<Alone>, Error> {
        let mut gathered = self.gather(answers)?;
        let runs = std::mem::take(&mut gathered.runs);
        // What a plan of one policy runs beside it, in that order.
        let all: Vec<Schedule> = runs.iter().map(schedule).chain(std::mem::take(&mut gathered.schedules)).collect();
        let is = |schedule: &Schedule, kind: PolicyKind| schedule.name == kind.name();
        let references = REFERENCES.iter().filter_map(|kind| all.iter().find(|schedule| is(schedule, *kind)));
        let packings = all.iter().filter(|schedule| PACKINGS.iter().any(|(name, _)| schedule.name == *name));
        let others: Vec<Schedule> = references.chain(packings).cloned().collect();
        let scorer = self.scorer();
        let alone = |run: Report| {
            let others: Vec<Schedule> = others.iter().filter(|it| it.name != run.policy.name()).cloned().collect();
            let mut runs = [run];
            let bounds = self.enclose(&gathered, &mut runs, &others);
            let [report] = runs;
            let sampled = gathered.sampled.as_ref();
            Alone {
                scorer: report.policy.info().scored().then_some(scorer),
                estimate: sampled.and_then(|it| it.estimate(report.policy, report.capacity_bytes).cloned()),
                warnings: sampled.map_or(Vec::new(), Sampled::about),
                report,
                bounds,
            }
        };
        Ok(runs.into_iter().map(alone).collect())
    }

    /// The outcome and what is behind it, from the answers of all passes in their order.
    pub fn finish(self, answers: Vec<Answer>) -> Result<(Outcome, Finished), Error> {
        let mut gathered = self.gather(answers)?;
        let mut runs = std::mem::take(&mut gathered.runs);
        let schedules = std::mem::take(&mut gathered.schedules);
        let bounds = self.enclose(&gathered, &mut runs, &schedules);
        let Gathered { counted, timelines, curve, curves, sampled, mut reuse, distances, .. } = gathered;
        reuse.median_stack_distance_bytes = distances.quantile(0.5).unwrap_or(0);
        let validation = match &self.recipe.workload {
            Workload::Synthetic(s) if self.details.runs && self.recipe.measure.is_whole() => {
                Some(validate::synthetic(&self.trace, Some(s.reuse_probability))?)
            }
            Workload::Synthetic(_) | Workload::Model(_) | Workload::Tenants(_) | Workload::File(_) => None,
        };
        let explanation = match self.details.explanation {
            true => explain(&counted, &reuse, &runs, bounds.as_ref(), &self.costing),
            false => Vec::new(),
        };
        let outcome = Outcome {
            trace: self.trace.summary(),
            cost: self.costing.stated(self.recipe.memory.capacity_bytes)?,
            headline: match self.details.explanation {
                true => headline(&counted, &runs, bounds.as_ref()),
                false => String::new(),
            },
            explanation,
            decoded_tokens: self.trace.decoding().map(|decoding| decoding.tokens),
            runs,
            bounds,
            io_bound_bytes: self.trace.least_bytes(),
            curve: match curves {
                Some(curves) => Some(curves),
                None => self.curve.as_ref().map(|tasks| tasks.finish(curve)).transpose()?,
            },
            scorer: self.scorer(),
            model: self.recipe.workload.model_facts()?,
            reuse,
            warnings: {
                let of_samples = sampled.as_ref().map_or(Vec::new(), Sampled::about);
                self.trace.warnings().iter().cloned().chain(of_samples).collect()
            },
            sampled,
            validation,
            charts: Charts {
                first_access: self.buckets.range.start as u64,
                accesses_per_column: self.buckets.width as u64,
                groupings: self.buckets.groupings.to_vec(),
                marks: self.trace.marks().to_vec(),
                timelines,
            },
        };
        Ok((outcome, Finished::new(self)))
    }
}

/// The answers of all passes.
#[derive(Default)]
struct Gathered {
    /// The accesses that are counted.
    counted: Summary,
    runs: Vec<Report>,
    timelines: Vec<Timeline>,
    curve: Vec<CurveAnswer>,
    /// Curves that samples tell, and how sure they are.
    curves: Option<Curves>,
    sampled: Option<Sampled>,
    least: Option<Least>,
    /// What competes with the runs: to bring nothing in, where that is allowed, and other schedules.
    nothing_kept: Option<Schedule>,
    schedules: Vec<Schedule>,
    reuse: Reuse,
    distances: Histogram,
}

/// What a run attains.
fn schedule(run: &Report) -> Schedule {
    let misses = Misses { objects: run.misses, bytes: run.miss_bytes };
    Schedule { name: run.policy.name(), misses, time_ms: run.time_ms() }
}

/// What one policy of a recipe comes to, as if the recipe named no other.
#[derive(Debug, Clone, PartialEq)]
pub struct Alone {
    /// The report.
    pub report: Report,
    /// How good any policy could be, where the recipe asks.
    pub bounds: Option<Bounds>,
    /// Who made the eviction scores, where the policy reads them.
    pub scorer: Option<Scorer>,
    /// How sure the report is, where it is that of samples.
    pub estimate: Option<Estimate>,
    /// What the reader should know of the run, beside the trace.
    pub warnings: Vec<String>,
}

/// Gives each run how far it goes from LRU to the best schedule known.
fn close_gaps(runs: &mut [Report], bounds: &Bounds, schedules: &[Schedule]) {
    let Some(lru) = schedules.iter().find(|schedule| schedule.name == PolicyKind::Lru.name()) else { return };
    let lru = lru.misses;
    for run in runs {
        run.gap_closed = gap_closed(lru.objects, run.misses, bounds.misses.upper);
        run.byte_gap_closed = gap_closed(lru.bytes, run.miss_bytes, bounds.miss_bytes.upper);
    }
}

/// (LRU - policy) / (LRU - best); none where LRU is the best.
pub fn gap_closed(lru: u64, policy: u64, best: u64) -> Option<f64> {
    let gap = lru.checked_sub(best).filter(|gap| *gap > 0)?;
    Some((lru as f64 - policy as f64) / gap as f64)
}

/// A run in steps: its passes one after the other.
pub struct Job {
    plan: Plan,
    /// The pass under way, if one is, and the accesses that it has done.
    running: Option<Running>,
    at: usize,
    answers: Vec<Answer>,
}

impl Job {
    /// Checks `recipe` and makes its trace; a file workload brings its trace along.
    pub fn new(recipe: &Recipe, file: Option<Trace>) -> Result<Self, Error> {
        Self::with_scores(recipe, file, None)
    }

    /// The same job with eviction scores made elsewhere, one per access; where none are given, the scorer of the recipe
    /// makes them.
    pub fn with_scores(recipe: &Recipe, file: Option<Trace>, scores: Option<Scores>) -> Result<Self, Error> {
        Ok(Self::of(Plan::new(recipe, file, scores, Details::ALL)?))
    }

    /// The passes of `plan`.
    pub fn of(plan: Plan) -> Self {
        Self { plan, running: None, at: 0, answers: Vec::new() }
    }

    /// Steps done, steps in all, and what comes next.
    pub fn progress(&self) -> (u64, u64, &'static str) {
        let (accesses, pass) = (self.plan.accesses() as u64, self.answers.len());
        (pass as u64 * accesses + self.at as u64, accesses * self.plan.passes() as u64, self.plan.title(pass))
    }

    /// Whether every pass is done.
    pub fn is_done(&self) -> bool {
        self.answers.len() == self.plan.passes()
    }

    /// Runs up to `accesses` accesses further, or a piece of work that cannot be divided.
    pub fn step(&mut self, accesses: usize) -> Result<(), Error> {
        if self.is_done() {
            return Ok(());
        }
        let mut running = match self.running.take() {
            Some(running) => running,
            None => Running::start(&self.plan, self.answers.len())?,
        };
        let end = self.at.saturating_add(accesses.max(1)).min(self.plan.accesses());
        if running.step(&self.plan, self.at, end)? {
            self.answers.push(running.finish(&self.plan)?);
            self.at = 0;
        } else {
            (self.running, self.at) = (Some(running), end);
        }
        Ok(())
    }

    /// The outcome and what is behind it, once [`is_done`](Self::is_done).
    pub fn finish(self) -> Result<(Outcome, Finished), Error> {
        self.plan.finish(self.answers)
    }
}

/// Accesses between two reports.
const STEP: usize = 1 << 18;

/// Runs `recipe` to its outcome.
pub fn run(recipe: &Recipe, progress: &mut dyn Progress) -> Result<Outcome, Error> {
    run_with(recipe, None, progress)
}

/// Runs `recipe`; a file workload brings its trace along.
pub fn run_with(recipe: &Recipe, file: Option<Trace>, progress: &mut dyn Progress) -> Result<Outcome, Error> {
    run_to_end(Job::new(recipe, file)?, progress)
}

/// Runs the steps of `job`.
pub fn run_to_end(mut job: Job, progress: &mut dyn Progress) -> Result<Outcome, Error> {
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
mod tests;
