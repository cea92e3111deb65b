//! `accel curve`: misses by capacity.

use std::io::Write;

use accel_core::curve::{self, Curves, Grid};
use accel_core::recipe::fields::{Field, Part};
use accel_core::run::Details;
use accel_core::units::{format_bytes, parse_bytes};
use clap::Args;

use crate::flags::{self, Flags, OfCurve, Policies};
use crate::parallel;
use crate::simulate::{numbers, print_json};
use crate::source::{ExperimentArgs, MemoryArgs, Source};

#[derive(Debug, Args)]
pub(crate) struct Curve {
    #[command(flatten)]
    source: Source,
    /// Policies to compare, separated by commas, or all.
    #[arg(long, value_name = "LIST", value_parser = flags::policies())]
    policy: Option<Policies>,
    #[command(flatten)]
    fields: Flags<OfCurve>,
    /// These capacities, separated by commas, such as 64MiB,1GiB.
    #[arg(long, value_name = "LIST", value_delimiter = ',', allow_hyphen_values = true, conflicts_with = "points")]
    capacities: Vec<String>,
    /// Leave out the bounds on what any policy could do.
    #[arg(long)]
    no_bounds: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Curve {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let memory = MemoryArgs::default();
        let mut recipe = self.source.recipe(&ExperimentArgs { memory, policy: self.policy })?;
        self.fields.apply(Part::Memory, &mut recipe)?;
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
        recipe.bounds &= !self.no_bounds;
        recipe.curve = Some(grid);
        let file = self.source.file(&recipe)?.map(|(trace, _)| trace);
        // A recipe with a grid has curves.
        let Some(curves) = parallel::run(&recipe, file, None, Details::CURVES)?.curve else { return Ok(()) };
        if self.json { print_json(&curves, out) } else { print(&curves, out) }
    }
}

/// Prints the curves as tables.
pub(crate) fn print(curves: &Curves, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(first) = curves.curves.first() else { return Ok(()) };
    for (what, ratio) in [
        ("Misses in percent of accesses", (|p| p.miss_ratio) as fn(&curve::Point) -> f64),
        ("Bytes missed in percent of bytes requested", |p| p.byte_miss_ratio),
    ] {
        writeln!(out, "{what}:")?;
        let mut header = vec!["capacity"];
        header.extend(curves.curves.iter().map(|c| c.policy.info().title));
        if curves.bounds.is_some() {
            header.extend(["best known", "proven least"]);
        }
        let mut table = numbers::<0>([], []);
        table.set_header(header);
        for (i, point) in first.points.iter().enumerate() {
            let mut row = vec![format_bytes(point.capacity_bytes)];
            let bounds = curves.bounds.iter().flat_map(|b| [&b.upper[i], &b.lower[i]]);
            let points = curves.curves.iter().map(|c| &c.points[i]).chain(bounds);
            row.extend(points.map(|p| format!("{:.2}", 100.0 * ratio(p))));
            table.add_row(row);
        }
        for column in table.column_iter_mut() {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
        writeln!(out, "{table}")?;
    }
    for curve in &curves.curves {
        let title = curve.policy.info().title;
        let among = match curve.exact_from_bytes {
            Some(from) => format!("of all from {} on and of those measured below", format_bytes(from)),
            None => "of those measured".into(),
        };
        let knee = curve.knee_bytes.map_or("no knee".into(), |knee| format!("knee at {}", format_bytes(knee)));
        let smallest = curve.smallest.iter().map(|s| {
            let capacity = s.capacity_bytes.map_or("-".into(), format_bytes);
            format!("{:.0} % {capacity}", 100.0 * s.share_of_hits)
        });
        let smallest = smallest.collect::<Vec<_>>().join(", ");
        writeln!(out, "{title}: {knee}; smallest capacity, {among}, for a share of all possible hits: {smallest}")?;
    }
    Ok(())
}
