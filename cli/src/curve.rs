//! `accel curve`: misses by capacity.

use std::io::Write;
use std::path::PathBuf;

use accel_core::curve::Grid;
use accel_core::recipe::fields::{Field, Part};
use accel_core::run::{Details, Plan};
use accel_core::units::parse_bytes;
use accel_files::parallel::run_plan;
use clap::Args;

use crate::flags::{self, Flags, OfCurve, Policies};
use crate::picture;
use crate::progress::Bar;
use crate::scores::ScorerArgs;
use crate::source::{ExperimentArgs, MemoryArgs, Source};
use crate::table::{print_curves, print_json};

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
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Draw the curves into a file as well: .svg, or .html with the figures.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

impl Curve {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let memory = MemoryArgs::default();
        let mut recipe = self.source.recipe(&ExperimentArgs { memory, policy: self.policy })?;
        self.fields.apply(Part::Memory, &mut recipe)?;
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
        recipe.bounds = !self.no_bounds && (recipe.bounds || !self.source.names_a_recipe());
        recipe.curve = Some(grid);
        let file = self.source.file(&recipe)?.map(|(trace, _)| trace);
        // A recipe with a grid has curves.
        let plan = Plan::new(&recipe, file, None, Details::CURVES)?;
        let Some(curves) = run_plan(plan, &mut Bar::new())?.curve else { return Ok(()) };
        if let Some(path) = &self.plot {
            picture::save(path, &picture::of_curves(&curves)?)?;
        }
        if self.json { print_json(&curves, out) } else { print_curves(&curves, out) }
    }
}
