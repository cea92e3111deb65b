//! Runs over traces that are too long to hold: accesses come in pieces, and only the sizes of the tensors at
//! their first use are known beforehand.

use super::counter::Counter;
use crate::error::Error;
use crate::memory::Costing;
use crate::policy::{Knows, PolicySpec, Setup};
use crate::recipe::Recipe;
use crate::sim::{Cache, Report, cache};
use crate::trace::Chunk;

/// The policies of a recipe, each in memories of some capacities, over accesses that come in pieces.
pub struct Stream {
    runs: Vec<Run>,
    costing: Costing,
}

struct Run {
    policy: PolicySpec,
    capacity_bytes: u64,
    memory: Box<dyn Cache>,
    counter: Counter,
}

impl Stream {
    /// Starts the policies of `recipe` in memories of `capacities` over `accesses` to tensors that have `sizes` bytes at
    /// their first use. Fails for a policy that must know more than the past: its scores or its future would need the
    /// whole trace; and for a device, which needs it too.
    pub fn new(recipe: &Recipe, capacities: &[u64], sizes: &[u64], accesses: usize) -> Result<Self, Error> {
        if let Some(policy) = recipe.policies.iter().find(|policy| policy.info().knows != Knows::Past) {
            let problem = "this policy must know the whole trace, and a stream does not hold it";
            let cure = "Choose policies that decide by the past, or hold the trace";
            return Err(Error::field("policies", policy.name(), problem, cure));
        }
        let costing = recipe.memory.cost.fit(false, false);
        if costing.physical().is_some() {
            let problem = "a device must know the whole trace, and a stream does not hold it";
            return Err(Error::field("device", "given", problem, "Leave it out, or hold the trace"));
        }
        let from = recipe.measure.begin(accesses)?;
        let counter = Counter::new(from, accesses, recipe.measure.interval(accesses - from)?);
        let rules = recipe.memory.nameless_rules()?;
        let mut runs = Vec::new();
        for capacity_bytes in capacities {
            for policy in &recipe.policies {
                let setup = Setup {
                    admission: recipe.memory.mode(),
                    rules: Some(&rules),
                    seed: recipe.seed,
                    ..Setup::new(sizes, *capacity_bytes)
                };
                let memory = cache(*policy, &setup)?;
                runs.push(Run { policy: *policy, capacity_bytes: *capacity_bytes, memory, counter: counter.clone() });
            }
        }
        Ok(Self { runs, costing })
    }

    /// The same in `parts` or fewer, to be run at once; the runs in their order, part after part.
    pub fn split(self, parts: usize) -> Vec<Self> {
        let Self { runs, costing } = self;
        let each = runs.len().div_ceil(parts.max(1)).max(1);
        let mut runs = runs.into_iter().peekable();
        let mut all = Vec::new();
        while runs.peek().is_some() {
            all.push(Self { runs: runs.by_ref().take(each).collect(), costing: costing.clone() });
        }
        all
    }

    /// Runs the next accesses.
    pub fn advance(&mut self, chunk: Chunk<'_>) {
        self.runs.iter_mut().for_each(|run| run.counter.advance(&mut *run.memory, chunk));
    }

    /// A report for each policy and capacity: all policies at the first, in the order of the recipe, and so on.
    pub fn finish(self) -> Vec<Report> {
        let report = |run: Run| {
            let counts = run.memory.counts().since(run.counter.before());
            let report = run.counter.report(Report::new(run.policy, run.capacity_bytes, counts));
            if self.costing == Costing::Prototype { report.by_prototype() } else { report }
        };
        self.runs.into_iter().map(report).collect()
    }
}
