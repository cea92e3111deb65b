//! Runs over traces that are too long to hold: accesses come in pieces, and only the sizes of the tensors at
//! their first use are known beforehand.

use crate::error::Error;
use crate::policy::{Knows, PolicySpec, Setup};
use crate::recipe::Recipe;
use crate::sim::{Cache, Report, cache};
use crate::trace::Chunk;

/// The policies of a recipe over accesses that come in pieces.
pub struct Stream {
    runs: Vec<(PolicySpec, Box<dyn Cache>)>,
    capacity_bytes: u64,
    /// Accesses so far.
    done: usize,
}

impl Stream {
    /// Starts the policies of `recipe` over tensors that have `sizes` bytes at their first use. Fails for a policy that must know more than
    /// the past: its scores or its future would need the whole trace.
    pub fn new(recipe: &Recipe, sizes: &[u64]) -> Result<Self, Error> {
        if let Some(policy) = recipe.policies.iter().find(|policy| policy.info().knows != Knows::Past) {
            let problem = "this policy must know the whole trace, and a stream does not hold it";
            let cure = "Choose policies that decide by the past, or hold the trace";
            return Err(Error::field("policies", policy.name(), problem, cure));
        }
        let setup = Setup {
            admission: recipe.memory.admission,
            seed: recipe.seed,
            ..Setup::new(sizes, recipe.memory.capacity_bytes)
        };
        let start = |policy: &PolicySpec| Ok((*policy, cache(*policy, &setup)?));
        let runs = recipe.policies.iter().map(start).collect::<Result<_, Error>>()?;
        Ok(Self { runs, capacity_bytes: recipe.memory.capacity_bytes, done: 0 })
    }

    /// Runs the next accesses.
    pub fn advance(&mut self, chunk: Chunk<'_>) {
        self.runs.iter_mut().for_each(|(_, memory)| memory.advance(chunk));
        self.done += chunk.accesses.len();
    }

    /// Number of accesses so far.
    pub fn accesses(&self) -> usize {
        self.done
    }

    /// A report per policy, in the order of the recipe.
    pub fn finish(self) -> Vec<Report> {
        let report =
            |(policy, memory): (PolicySpec, Box<dyn Cache>)| Report::new(policy, self.capacity_bytes, memory.counts());
        self.runs.into_iter().map(report).collect()
    }
}
