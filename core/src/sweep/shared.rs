//! A trace and what is known of it, for all cells that run on it.

use std::sync::OnceLock;

use super::cells::{Cells, Group};
use crate::curve::is_stacked;
use crate::curve::lru::LruCurve;
use crate::error::Error;
use crate::memory::Memory;
use crate::policy::PolicyKind;
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::run::{Alone, Details, Plan};
use crate::trace::Trace;

/// From so many capacities on, LRU's curve takes less time than a run at each.
const ONE_PASS: usize = 8;

/// What the cells of a [`Group`] share.
#[derive(Debug)]
pub struct Shared {
    plan: Plan,
    /// Runs of LRU without bounds for which its curve may stand.
    lru_runs: usize,
    curve: OnceLock<LruCurve>,
}

impl Shared {
    /// The recipe that makes the trace of `group`: one that passes its checks, or why none does.
    pub fn recipe(cells: &Cells, group: &Group) -> Result<Recipe, Error> {
        let mut why = Error::Internal("a group without cells".into());
        for todo in &group.cells {
            let recipe = cells.recipe(todo.cell)?;
            match recipe.check() {
                Ok(()) => return Ok(recipe),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Makes the trace that `recipe` describes; a file workload brings its trace along. `lru_runs` of the cells run LRU.
    pub fn new(recipe: &Recipe, file: Option<Trace>, lru_runs: usize) -> Result<Self, Error> {
        // Rules and the warm-up are those of each cell; a fault in them is its own.
        let bare = Recipe {
            memory: Memory { cost: recipe.memory.cost.clone(), ..Memory::new(recipe.memory.capacity_bytes) },
            measure: crate::recipe::measure::Measure { warmup: None, interval: None, ..recipe.measure.clone() },
            curve: None,
            ..recipe.clone()
        };
        let plan = Plan::new(&bare, file, None, Details::REPORTS)?;
        Ok(Self { plan, lru_runs, curve: OnceLock::new() })
    }

    /// The trace.
    pub fn trace(&self) -> &Trace {
        self.plan.trace()
    }

    /// Runs `recipe`, which has this trace: a report for each of its policies, as if it named that policy alone.
    pub fn run(&self, recipe: Recipe, progress: &mut dyn Progress) -> Result<Vec<Alone>, Error> {
        let plan = self.plan.on_this_trace(recipe)?;
        let answers =
            (0..plan.passes()).map(|pass| match self.curve(&plan).and_then(|lru| plan.from_curve(pass, lru)) {
                Some(answer) => Ok(answer),
                None => plan.run(pass, progress),
            });
        plan.alone(answers.collect::<Result<_, _>>()?)
    }

    /// LRU's curve, where it pays.
    fn curve(&self, plan: &Plan) -> Option<&LruCurve> {
        let plain = self.lru_runs >= ONE_PASS && plan.costing().physical().is_none() && is_stacked(self.trace());
        let runs_lru = plan.recipe().bounds || plan.recipe().policies.iter().any(|policy| *policy == PolicyKind::Lru);
        (plain && runs_lru).then(|| self.curve.get_or_init(|| LruCurve::new(self.trace())))
    }
}
