//! The passes of a run over its trace.

use super::counter::Counter;
use super::{Plan, schedule};
use crate::bound::packing::Packing;
use crate::bound::{Least, Schedule, Value};
use crate::curve;
use crate::error::Error;
use crate::explain::Reuse;
use crate::memory::Costing;
use crate::policy::{PolicyKind, PolicySpec};
use crate::sim::timeline::Timeline;
use crate::sim::{self, Cache, Report, Simulation, Watched};
use crate::trace::Chunk;
use crate::trace::reuse::{Histogram, StackDistances};

/// One pass over the trace.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pass {
    /// Makes the scores that policies read.
    Scores,
    /// Measures stack distances.
    Reuse,
    /// Runs a policy of the recipe, watched as far as the details ask.
    Policy(PolicySpec),
    /// Runs a policy for the bounds, unwatched.
    Reference(PolicyKind),
    /// Sorts the reuses and fills the space-time.
    Lower,
    /// Packs the reuses in one of the orders of [`PACKINGS`].
    Packing(usize),
    /// A task of the curves.
    Curve(usize),
    /// A pass of a sample: the number of the sample and of its pass.
    Sampled(usize, usize),
}

/// The names of the orders in which reuses are packed.
pub(super) const PACKINGS: [(&str, Value); 2] =
    [("packing by objects", Value::Objects), ("packing by bytes", Value::Bytes)];
/// Policies whose schedules compete with the packings.
pub(super) const REFERENCES: [PolicyKind; 3] = [PolicyKind::Lru, PolicyKind::Belady, PolicyKind::BeladySize];

/// What a pass found.
#[derive(Debug)]
pub struct Answer(pub(super) Found);

/// The kinds of answers.
#[derive(Debug)]
pub(super) enum Found {
    Scores,
    Reuse(Reuse, Histogram),
    Run(Box<Report>, Option<Timeline>),
    Schedule(Schedule),
    Lower(Least),
    Curve(curve::CurveAnswer),
    Sampled(Box<Answer>),
}

/// A pass under way.
pub(super) enum Running {
    Scores,
    Reuse(Box<Distances>),
    Watched { run: Box<Simulation>, counter: Counter, reports: bool },
    Unwatched { policy: PolicySpec, memory: Box<dyn Cache>, counter: Counter, reports: bool },
    Lower(Option<Least>),
    Packing { name: &'static str, packing: Packing },
    Curve { task: usize, answer: Option<curve::CurveAnswer> },
    Sampled { sample: usize, running: Box<Running> },
}

/// Stack distances so far.
pub(super) struct Distances {
    stack: StackDistances,
    /// The size of each tensor at its last use.
    sizes: Vec<u64>,
    reuse: Reuse,
    histogram: Histogram,
}

impl Distances {
    fn advance(&mut self, chunk: Chunk<'_>, plan: &Plan) {
        let mut resizes = chunk.resizes.iter().peekable();
        for (now, &tensor) in (chunk.start..).zip(chunk.accesses) {
            let size = &mut self.sizes[tensor as usize];
            let before = *size;
            if let Some(resize) = resizes.next_if(|resize| resize.at as usize == now) {
                *size = resize.bytes;
            }
            if let Some(distance) = self.stack.access_resized(tensor, before, *size).filter(|_| now >= plan.from) {
                self.reuse.reuses += 1;
                self.reuse.within_capacity += u64::from(distance <= plan.recipe.memory.capacity_bytes);
                self.histogram.add(distance);
            }
        }
    }
}

impl Running {
    /// Begins pass number `pass` of `plan`.
    pub(super) fn start(plan: &Plan, pass: usize) -> Result<Self, Error> {
        let missing = || Error::Internal(format!("there is no pass {pass}"));
        let memory = &plan.recipe.memory;
        Ok(match plan.passes.get(pass).copied().ok_or_else(missing)? {
            Pass::Scores => Self::Scores,
            Pass::Reuse => Self::Reuse(Box::new(Distances {
                stack: StackDistances::new(plan.sizes.len()),
                sizes: plan.sizes.to_vec(),
                reuse: Reuse::default(),
                histogram: Histogram::default(),
            })),
            Pass::Policy(policy) => {
                let watched = Watched { charts: plan.details.charts, reasons: plan.details.reasons };
                Self::policy(plan, policy, watched, true)?
            }
            Pass::Reference(policy) => Self::policy(plan, policy.into(), Watched::NOTHING, false)?,
            Pass::Lower => Self::Lower(None),
            Pass::Packing(order) => {
                let (name, value) = PACKINGS[order];
                let packing = Packing::new(&plan.order(value), memory.capacity_bytes);
                Self::Packing { name, packing }
            }
            Pass::Curve(task) => Self::Curve { task, answer: None },
            Pass::Sampled(sample, pass) => {
                let running = Box::new(Self::start(plan.sample(sample)?, pass)?);
                Self::Sampled { sample, running }
            }
        })
    }

    fn policy(plan: &Plan, policy: PolicySpec, watched: Watched, reports: bool) -> Result<Self, Error> {
        let (setup, counter) = (plan.setup(policy), plan.counter());
        if watched == Watched::NOTHING && plan.costing.physical().is_none() {
            return Ok(Self::Unwatched { policy, memory: sim::cache(policy, &setup)?, counter, reports });
        }
        let run = sim::start(policy, &setup, plan.future(), &plan.buckets, &plan.costing, watched)?;
        Ok(Self::Watched { run: Box::new(run), counter, reports })
    }

    /// Goes on from access `start` to access `end`, or does a piece of work that cannot be divided; whether that was
    /// all.
    pub(super) fn step(&mut self, plan: &Plan, start: usize, end: usize) -> Result<bool, Error> {
        match self {
            Self::Scores => {
                plan.scores();
                return Ok(true);
            }
            Self::Reuse(distances) => distances.advance(plan.trace.chunk(start, end), plan),
            Self::Watched { run, counter, .. } => {
                let mut at = start;
                while at < end {
                    let next = counter.next(at, end);
                    run.advance(&plan.trace, at, next);
                    if counter.look(next, run.counts()) {
                        run.count_from_here(&plan.trace);
                    }
                    at = next;
                }
            }
            Self::Unwatched { memory, counter, .. } => counter.advance(&mut **memory, plan.trace.chunk(start, end)),
            Self::Lower(least) => {
                let reuses = plan.reuses();
                let memory = &plan.recipe.memory;
                let (capacity, admission) = (memory.capacity_bytes, memory.mode());
                let order = |value| plan.order(value);
                *least = Some(Least::new(&plan.trace, &reuses, capacity, admission, &plan.costing, order)?);
                return Ok(true);
            }
            Self::Packing { packing, .. } => {
                packing.step(end - start);
                let (done, all) = packing.progress();
                return Ok(done >= all);
            }
            Self::Curve { task, answer } => {
                *answer = plan.curve.as_ref().map(|curve| curve.run(*task)).transpose()?;
                return Ok(true);
            }
            Self::Sampled { sample, running } => {
                let sample = plan.sample(*sample)?;
                // As far through the sample as through the whole.
                let at = |access: usize| {
                    (access as u128 * sample.accesses() as u128 / plan.accesses().max(1) as u128) as usize
                };
                return running.step(sample, at(start), at(end));
            }
        }
        Ok(end == plan.accesses())
    }

    /// What was found, after the last step.
    pub(super) fn finish(self, plan: &Plan) -> Result<Answer, Error> {
        let found = |report, timeline, reports| found(&plan.costing, report, timeline, reports).0;
        let unfinished = || Error::Internal("a pass was finished before its last step".into());
        Ok(Answer(match self {
            Self::Scores => Found::Scores,
            Self::Reuse(distances) => Found::Reuse(distances.reuse, distances.histogram),
            Self::Watched { run, counter, reports } => {
                let (report, timeline) = run.finish(&plan.trace, counter.before());
                found(counter.report(report), timeline, reports)
            }
            Self::Unwatched { policy, memory, counter, reports } => {
                let counts = memory.counts().since(counter.before());
                let report = Report::new(policy, plan.recipe.memory.capacity_bytes, counts);
                found(counter.report(report), None, reports)
            }
            Self::Lower(least) => Found::Lower(least.ok_or_else(unfinished)?),
            Self::Packing { name, packing } => {
                Found::Schedule(Schedule { name: name.into(), misses: packing.misses(), time_ms: None })
            }
            Self::Curve { answer, .. } => Found::Curve(answer.ok_or_else(unfinished)?),
            Self::Sampled { sample, running } => Found::Sampled(Box::new(running.finish(plan.sample(sample)?)?)),
        }))
    }
}

/// What a run of a policy came to: a report, or a schedule for the bounds.
pub(super) fn found(costing: &Costing, report: Report, timeline: Option<Timeline>, reports: bool) -> Answer {
    let report = if *costing == Costing::Prototype { report.by_prototype() } else { report };
    if reports {
        return Answer(Found::Run(Box::new(report), timeline));
    }
    Answer(Found::Schedule(schedule(&report)))
}
