//! The passes of a run on all processors.

use std::collections::BTreeMap;
use std::sync::Mutex;

use accel_core::error::Error;
use accel_core::progress::{Flow, Progress};
use accel_core::run::{Answer, Outcome, Plan};
use accel_core::units::parse_bytes;
use anyhow::Context as _;
use rayon::iter::{ParallelBridge as _, ParallelIterator as _};

/// A capacity: bytes, or a share of the bytes of all tensors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Capacity {
    /// Bytes.
    Bytes(u64),
    /// A share of the bytes of all tensors, above 0 and below 1.
    Share(f64),
}

impl std::str::FromStr for Capacity {
    type Err = Error;

    /// Reads `64MiB`, `4096` or `0.1`.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text.trim().parse::<f64>() {
            Ok(share) if share > 0.0 && share < 1.0 => Ok(Self::Share(share)),
            _ => parse_bytes("capacity_bytes", text).map(Self::Bytes),
        }
    }
}

impl Capacity {
    /// In bytes, where all tensors together have `unique_bytes`.
    pub fn bytes(self, unique_bytes: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Share(share) => ((share * unique_bytes as f64).round() as u64).max(1),
        }
    }
}

/// The most bytes that passes take together.
const MOST_BYTES: u64 = 8 << 30;

/// Runs a plan alone.
pub fn run_plan(plan: Plan, progress: &mut (dyn Progress + Send)) -> anyhow::Result<Outcome> {
    let mut outcomes = run_all(vec![plan], progress)?;
    outcomes.pop().context("a plan without an outcome")
}

/// The plan at each of `capacities`, the first of which also has what is the same for all.
pub fn at_capacities(mut plan: Plan, capacities: &[Capacity]) -> anyhow::Result<Vec<Plan>> {
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
pub fn run_all(plans: Vec<Plan>, progress: &mut (dyn Progress + Send)) -> anyhow::Result<Vec<Outcome>> {
    let Some(first) = plans.first() else { return Ok(Vec::new()) };
    let accesses = first.trace().summary().accesses;
    let passes = plans.iter().flat_map(|plan| (0..plan.passes()).map(move |pass| (plan, pass)));
    let mut passes: Vec<(usize, (&Plan, usize))> = passes.enumerate().collect();
    passes.sort_by_key(|(_, (plan, pass))| plan.turn(*pass));
    let shared = Mutex::new(Shared { done: 0, total: passes.len() as u64 * accesses, progress });
    // The passes of bounds and curves take some 24 bytes per access each while they run.
    let at_once = MOST_BYTES / (24 * accesses).max(1);
    let threads = usize::try_from(at_once).unwrap_or(usize::MAX).clamp(1, rayon::current_num_threads());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let run = |(at, (plan, pass)): (usize, (&Plan, usize))| {
        plan.run(pass, &mut Part { shared: &shared, done: 0 }).map(|answer| (at, answer))
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
struct Shared<'a> {
    done: u64,
    total: u64,
    progress: &'a mut (dyn Progress + Send),
}

/// The progress of one pass.
struct Part<'a, 'b> {
    shared: &'a Mutex<Shared<'b>>,
    done: u64,
}

impl Progress for Part<'_, '_> {
    fn report(&mut self, done: u64, _total: u64, what: &str) -> Flow {
        // A poisoned lock is one whose thread has panicked: that panic is on its way already.
        let Ok(mut shared) = self.shared.lock() else { return Flow::Cancel };
        shared.done += done.saturating_sub(self.done);
        self.done = done;
        let (done, total) = (shared.done, shared.total);
        shared.progress.report(done, total, what)
    }
}
