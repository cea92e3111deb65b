//! `accel curve`: misses by capacity.

use std::io::Write;
use std::path::PathBuf;

use accel_core::curve::{Curves, Grid};
use accel_core::policy::Knows;
use accel_core::recipe::Recipe;
use accel_core::recipe::fields::{Field, Part};
use accel_core::run::sampled::Sampled;
use accel_core::run::{Details, Outcome, Plan};
use accel_core::units::parse_bytes;
use accel_files::parallel::run_plan;
use accel_files::stream::Memories;
use clap::Args;
use serde::Serialize;

use crate::flags::{self, Flags, OfCurve, Policies};
use crate::picture;
use crate::progress::Bar;
use crate::scores::ScorerArgs;
use crate::source::{ExperimentArgs, MemoryArgs, Source};
use crate::stream;
use crate::table::{print_curves, print_json, print_sampled};

#[derive(Debug, Args)]
pub(crate) struct Curve {
    #[command(flatten)]
    source: Source,
    /// Policies to compare, separated by commas, or all.
    #[arg(long, value_name = "LIST", value_parser = flags::policies())]
    policy: Option<Policies>,
    #[command(flatten)]
    fields: Flags<OfCurve>,
    #[command(flatten)]
    scorer: ScorerArgs,
    /// These capacities, separated by commas, such as 64MiB,1GiB.
    #[arg(long, value_name = "LIST", value_delimiter = ',', allow_hyphen_values = true, conflicts_with = "points")]
    capacities: Vec<String>,
    /// Leave out the bounds on what any policy could do.
    #[arg(long)]
    no_bounds: bool,
    /// Go twice through the trace of a file or a model without holding it, whatever its length, and run all policies at all
    /// capacities in one of them; for policies that decide by the past, without bounds.
    #[arg(long, conflicts_with_all = ["recipe", "scorer"])]
    stream: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Draw the curves into a file as well: .svg, .png, or .html with the figures.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// The answer as JSON.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    curves: &'a Curves,
    /// How sure they are, where they are those of samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    sampled: Option<&'a Sampled>,
}

impl Curve {
    pub(crate) fn run(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let memory = MemoryArgs::default();
        let mut recipe = self.source.recipe(&ExperimentArgs { memory, policy: self.policy.clone() })?;
        self.fields.apply(Part::Memory, &mut recipe)?;
        self.fields.apply(Part::Measure, &mut recipe)?;
        if self.policy.is_none() && recipe.measure.sample.is_some() {
            recipe.policies.retain(|policy| !policy.info().scored());
        }
        self.scorer.apply_named(&mut recipe)?;
        let mut grid = recipe.curve.take().unwrap_or_default();
        if self.fields.text(Field::Points).is_some() {
            recipe.curve = Some(Grid::default());
            self.fields.apply(Part::Curve, &mut recipe)?;
            grid = recipe.curve.take().unwrap_or_default();
        }
        if !self.capacities.is_empty() {
            let capacities = self.capacities.iter().map(|c| parse_bytes("capacities", c));
            grid.capacities = capacities.collect::<Result<_, _>>()?;
        }
        grid.check()?;
        // A sample and a stream have none; where a recipe asks for them, it is told.
        let whole = recipe.measure.sample.is_none() && !self.stream;
        recipe.bounds = !self.no_bounds && (recipe.bounds || (whole && !self.source.names_a_recipe()));
        if self.stream {
            return self.stream(&mut recipe, &grid, out);
        }
        recipe.curve = Some(grid);
        let file = self.source.file(&recipe)?.map(|(trace, _)| trace);
        // A recipe with a grid has curves.
        let plan = Plan::new(&recipe, file, None, Details::CURVES)?;
        let Outcome { curve, sampled, .. } = run_plan(plan, &mut Bar::new())?;
        let Some(curves) = curve else { return Ok(()) };
        self.print(&curves, sampled.as_ref(), out)
    }

    /// Runs the policies at all capacities in one pass over a file that is not held.
    fn stream(&self, recipe: &mut Recipe, grid: &Grid, out: &mut dyn Write) -> anyhow::Result<()> {
        if self.policy.is_none() {
            recipe.policies.retain(|policy| policy.info().knows == Knows::Past);
        }
        let streamed = stream::run(recipe, &self.source, Memories::Grid(grid))?;
        self.print(&streamed.curves(recipe), streamed.outcome.sampled.as_ref(), out)
    }

    fn print(&self, curves: &Curves, sampled: Option<&Sampled>, out: &mut dyn Write) -> anyhow::Result<()> {
        if let Some(path) = &self.plot {
            picture::save_one(path, &picture::of_curves(curves)?)?;
        }
        if self.json {
            return print_json(&Answer { curves, sampled }, out);
        }
        print_curves(curves, out)?;
        sampled.map_or(Ok(()), |sampled| print_sampled(sampled, out))
    }
}
