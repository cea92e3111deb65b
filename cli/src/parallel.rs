//! The passes of a run on all processors.

use std::collections::BTreeMap;
use std::sync::Mutex;

use accel_core::progress::{Flow, Progress};
use accel_core::recipe::Recipe;
use accel_core::run::{Answer, Details, Outcome, Plan};
use accel_core::score::Scores;
use accel_core::trace::Trace;
use anyhow::Context as _;
use rayon::iter::{ParallelBridge as _, ParallelIterator as _};

use crate::flags::Capacity;
use crate::progress::Bar;

/// The most bytes that passes take together.
const MOST_BYTES: u64 = 8 << 30;

/// Runs `recipe`, as many passes at once as there are processors; what `details` leave out is not computed.
pub(crate) fn run(
    recipe: &Recipe,
    file: Option<Trace>,
    scores: Option<Scores>,
    details: Details,
) -> anyhow::Result<Outcome> {
    run_plan(Plan::new(recipe, file, scores, details)?)
}

/// Runs a plan alone.
pub(crate) fn run_plan(plan: Plan) -> anyhow::Result<Outcome> {
    let mut outcomes = run_all(vec![plan])?;
    outcomes.pop().context("a plan without an outcome")
}

/// The plan at each of `capacities`, the first of which also has what is the same for all.
pub(crate) fn at_capacities(mut plan: Plan, capacities: &[Capacity]) -> anyhow::Result<Vec<Plan>> {
    let unique_bytes = plan.trace().summary().unique_bytes;
    let mut bytes = Vec::new();
    for capacity in capacities.iter().map(|capacity| capacity.bytes(unique_bytes)) {
        if !bytes.contains(&capacity) {
            bytes.push(capacity);
        }
    }
    let Some((first, others)) = bytes.split_first() else { return Ok(vec![plan]) };
    let others = others.iter().map(|capacity| plan.at(*capacity)).collect::<Result<Vec<_>, _>>()?;
    plan.set_capacity(*first)?;
    Ok([plan].into_iter().chain(others).collect())
}

/// Runs plans of one trace, as many of all their passes at once as there are processors.
pub(crate) fn run_all(plans: Vec<Plan>) -> anyhow::Result<Vec<Outcome>> {
    let Some(first) = plans.first() else { return Ok(Vec::new()) };
    let accesses = first.trace().summary().accesses;
    let passes = plans.iter().flat_map(|plan| (0..plan.passes()).map(move |pass| (plan, pass)));
    let mut passes: Vec<(usize, (&Plan, usize))> = passes.enumerate().collect();
    passes.sort_by_key(|(_, (plan, pass))| plan.turn(*pass));
    let bar = Mutex::new(Shared { done: 0, total: passes.len() as u64 * accesses, bar: Bar::new() });
    // The passes of bounds and curves take some 24 bytes per access each while they run.
    let at_once = MOST_BYTES / (24 * accesses).max(1);
    let threads = usize::try_from(at_once).unwrap_or(usize::MAX).clamp(1, rayon::current_num_threads());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let run = |(at, (plan, pass)): (usize, (&Plan, usize))| {
        plan.run(pass, &mut Part { bar: &bar, done: 0 }).map(|answer| (at, answer))
    };
    // Handed out one by one, in turn.
    let answers = pool.install(|| passes.into_iter().par_bridge().map(run).collect::<Result<Vec<_>, _>>())?;
    let answers: BTreeMap<usize, Answer> = answers.into_iter().collect();
    let mut answers = answers.into_values();
    let finish = |plan: Plan| {
        let answers = answers.by_ref().take(plan.passes()).collect();
        Ok(plan.finish(answers)?.0)
    };
    plans.into_iter().map(finish).collect()
}

/// The progress of all passes together.
struct Shared {
    done: u64,
    total: u64,
    bar: Bar,
}

/// The progress of one pass.
struct Part<'a> {
    bar: &'a Mutex<Shared>,
    done: u64,
}

impl Progress for Part<'_> {
    fn report(&mut self, done: u64, _total: u64, what: &str) -> Flow {
        // A poisoned bar is one whose thread has panicked: that panic is on its way already.
        let Ok(mut shared) = self.bar.lock() else { return Flow::Cancel };
        shared.done += done.saturating_sub(self.done);
        self.done = done;
        let (done, total) = (shared.done, shared.total);
        shared.bar.report(done, total, what)
    }
}
