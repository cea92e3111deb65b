//! The passes of a run over its trace.

use super::Plan;
use crate::bound::lower::Lower;
use crate::bound::packing::Packing;
use crate::bound::{Least, Misses, Reuses, Value};
use crate::curve;
use crate::error::Error;
use crate::explain::Reuse;
use crate::policy::{PolicyKind, PolicySpec};
use crate::sim::timeline::Timeline;
use crate::sim::{self, Cache, Report, Simulation, Watched};
use crate::trace::Chunk;
use crate::trace::reuse::{Histogram, StackDistances};

/// One pass over the trace.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pass {
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
    Reuse(Reuse, Histogram),
    Run(Box<Report>, Option<Timeline>),
    Schedule(String, Misses),
    Lower(Least),
    Curve(curve::Answer),
}

/// A pass under way.
pub(super) enum Running {
    Reuse(Box<Distances>),
    Watched(Box<dyn Simulation>),
    Unwatched { policy: PolicySpec, memory: Box<dyn Cache>, reports: bool },
    Lower(Option<Least>),
    Packing { name: &'static str, packing: Packing },
    Curve { task: usize, answer: Option<curve::Answer> },
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
            if let Some(distance) = self.stack.access_resized(tensor, before, *size) {
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
            Pass::Reuse => Self::Reuse(Box::new(Distances {
                stack: StackDistances::new(plan.sizes.len()),
                sizes: plan.sizes.clone(),
                reuse: Reuse::default(),
                histogram: Histogram::default(),
            })),
            Pass::Policy(policy) => {
                let watched = Watched { charts: plan.details.charts, reasons: plan.details.reasons };
                let physical = memory.physical();
                if watched == Watched::NOTHING && physical.is_none() {
                    return Ok(Self::Unwatched { policy, memory: sim::cache(policy, &plan.setup())?, reports: true });
                }
                let setup = plan.setup();
                Self::Watched(sim::start(policy, &setup, &plan.future, &plan.buckets, physical, watched)?)
            }
            Pass::Reference(policy) => {
                Self::Unwatched { policy: policy.into(), memory: sim::cache(policy, &plan.setup())?, reports: false }
            }
            Pass::Lower => Self::Lower(None),
            Pass::Packing(order) => {
                let (name, value) = PACKINGS[order];
                let all = Reuses::new(&plan.trace, &plan.future);
                let packing = Packing::new(&Lower::new(&all, value, memory.admission), memory.capacity_bytes);
                Self::Packing { name, packing }
            }
            Pass::Curve(task) => Self::Curve { task, answer: None },
        })
    }

    /// Goes on from access `start` to access `end`, or does a piece of work that cannot be divided; whether that was
    /// all.
    pub(super) fn step(&mut self, plan: &Plan, start: usize, end: usize) -> Result<bool, Error> {
        let chunk = plan.trace.chunk(start, end);
        match self {
            Self::Reuse(distances) => distances.advance(chunk, plan),
            Self::Watched(run) => run.advance(&plan.trace, start, end),
            Self::Unwatched { memory, .. } => memory.advance(chunk),
            Self::Lower(least) => {
                let reuses = Reuses::new(&plan.trace, &plan.future);
                let memory = &plan.recipe.memory;
                *least = Some(Least::new(&reuses, memory.capacity_bytes, memory.admission));
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
        }
        Ok(end == plan.accesses())
    }

    /// What was found, after the last step.
    pub(super) fn finish(self, plan: &Plan) -> Result<Answer, Error> {
        let unfinished = || Error::Internal("a pass was finished before its last step".into());
        Ok(Answer(match self {
            Self::Reuse(distances) => Found::Reuse(distances.reuse, distances.histogram),
            Self::Watched(run) => {
                let (report, timeline) = run.finish(&plan.trace);
                Found::Run(Box::new(report), timeline)
            }
            Self::Unwatched { policy, memory, reports: true } => {
                let report = Report::new(policy, plan.recipe.memory.capacity_bytes, memory.counts());
                Found::Run(Box::new(report), None)
            }
            Self::Unwatched { policy, memory, reports: false } => {
                let counts = memory.counts();
                let misses = Misses { objects: counts.misses, bytes: counts.miss_bytes };
                Found::Schedule(policy.name(), misses)
            }
            Self::Lower(least) => Found::Lower(least.ok_or_else(unfinished)?),
            Self::Packing { name, packing } => Found::Schedule(name.into(), packing.misses()),
            Self::Curve { answer, .. } => Found::Curve(answer.ok_or_else(unfinished)?),
        }))
    }
}
