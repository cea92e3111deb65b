//! A row of the table: one policy of one cell.

use serde_json::Value;

use super::cells::{Cells, Group, Todo};
use super::key::Key;
use super::shared::Shared;
use crate::bound::Bounds;
use crate::error::Error;
use crate::policy::{PolicyKind, PolicySpec};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::run::Alone;
use crate::run::sampled::Estimate;
use crate::score::Scorer;
use crate::sim::Report;
use crate::trace::Summary;

/// What one policy of one cell came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What it is known by.
    pub key: Key,
    /// The number of its cell.
    pub cell: u64,
    /// The value of each field that varies.
    pub axes: Vec<Value>,
    /// The recipe with this policy alone; none where it cannot be read.
    pub recipe: Option<Recipe>,
    /// What it came to, or why there is nothing.
    pub found: Result<Found, Error>,
    /// Seconds that it took, as whoever ran it measured; 0 where nobody did.
    pub seconds: f64,
}

/// The numbers of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The report.
    pub report: Report,
    /// How good any policy could be, where the recipe asks.
    pub bounds: Option<Bounds>,
    /// Who made the eviction scores, where the policy reads them.
    pub scorer: Option<Scorer>,
    /// The size of the trace.
    pub trace: Summary,
    /// Bytes that the operators of a model load at least; 0 where nothing is known of them.
    pub io_bound_bytes: u64,
    /// What the reader should know about the trace and the run.
    pub warnings: Vec<String>,
    /// How sure the report is, where it is that of samples.
    pub estimate: Option<Estimate>,
}

impl Row {
    /// The policy, where the recipe can be read.
    pub fn policy(&self) -> Option<PolicySpec> {
        self.recipe.as_ref()?.policies.first().copied()
    }
}

impl Group {
    /// How many of its runs LRU's exact curve may stand for.
    pub fn lru_runs(&self) -> usize {
        let all = self.cells.iter().flat_map(|todo| &todo.policies);
        all.filter(|(policy, _)| *policy == PolicyKind::Lru).count()
    }

    /// The rows of cells whose recipe cannot be read.
    pub fn broken_rows(&self, cells: &Cells) -> Vec<Row> {
        let rows = self.broken.iter().filter_map(|(cell, key)| {
            let error = cells.recipe(*cell).err()?;
            let axes = cells.values(*cell).into_iter().cloned().collect();
            Some(Row { key: *key, cell: *cell, axes, recipe: None, found: Err(error), seconds: 0.0 })
        });
        rows.collect()
    }
}

impl Todo {
    /// Runs what is left of the cell on the trace of its group, or on none if that could not be made. Fails only where
    /// `progress` asks it to stop: what cannot be computed is a row that says why.
    pub fn rows(
        &self,
        cells: &Cells,
        shared: &Result<Shared, Error>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Row>, Error> {
        let recipe = cells.recipe(self.cell)?;
        let policies: Vec<PolicySpec> = self.policies.iter().map(|(policy, _)| *policy).collect();
        // What is wrong with the cell says more than what is wrong with another of its group.
        let found = recipe.check().and_then(|()| match shared {
            Ok(shared) => run(shared, Recipe { policies, ..recipe.clone() }, progress),
            Err(error) => Err(error.clone()),
        });
        let found: Vec<Result<Found, Error>> = match found {
            Ok(found) => found.into_iter().map(Ok).collect(),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => self.policies.iter().map(|_| Err(error.clone())).collect(),
        };
        let values: Vec<Value> = cells.values(self.cell).into_iter().cloned().collect();
        let rows = self.policies.iter().zip(found).map(|((policy, key), found)| Row {
            key: *key,
            cell: self.cell,
            axes: values.clone(),
            recipe: Some(Recipe { policies: vec![*policy], ..recipe.clone() }),
            found,
            seconds: 0.0,
        });
        Ok(rows.collect())
    }
}

fn run(shared: &Shared, recipe: Recipe, progress: &mut dyn Progress) -> Result<Vec<Found>, Error> {
    let trace = shared.trace();
    let found = |Alone { report, bounds, scorer, estimate, warnings }: Alone| Found {
        report,
        bounds,
        scorer,
        trace: trace.summary(),
        io_bound_bytes: trace.least_bytes(),
        warnings: trace.warnings().iter().cloned().chain(warnings).collect(),
        estimate,
    };
    Ok(shared.run(recipe, progress)?.into_iter().map(found).collect())
}
