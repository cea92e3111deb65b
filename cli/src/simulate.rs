//! `accel simulate`: policies side by side.

use std::io::Write;

use accel_core::bound::Bounds;
use accel_core::curve::Curves;
use accel_core::policy::Knows;
use accel_core::recipe::Recipe;
use accel_core::run::{Details, Outcome};
use accel_core::sim::Report;
use accel_core::trace::Summary;
use accel_core::units::{format_bytes, format_count, format_joules};
use clap::Args;
use comfy_table::Table;
use serde::Serialize;

use crate::progress::Bar;
use crate::scores::ScorerArgs;
use crate::source::{ExperimentArgs, Source};
use crate::stream;
use crate::table::{numbers, print_bounds, print_curves, print_json, print_summary};

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    experiment: ExperimentArgs,
    #[command(flatten)]
    scorer: ScorerArgs,
    /// Leave out the bounds on what any policy could do.
    #[arg(long)]
    no_bounds: bool,
    /// Read the trace file in two passes without holding it, whatever its length; for policies that decide by the past,
    /// without bounds, device and explanation (oracleGeneral).
    #[arg(long, requires = "trace", conflicts_with_all = ["recipe", "device", "scorer"])]
    stream: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The answer as JSON.
#[derive(Serialize)]
struct Answer<'a> {
    trace: &'a Summary,
    runs: &'a [Report],
    /// How good any policy could be, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    bounds: Option<&'a Bounds>,
    /// How misses fall as memory grows, where the recipe asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    curve: Option<&'a Curves>,
    /// Who made the eviction scores, where a policy read them.
    #[serde(skip_serializing_if = "Option::is_none")]
    scorer: Option<&'static str>,
}

impl Simulate {
    pub(crate) fn run(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut recipe = self.source.recipe(&self.experiment)?;
        if self.stream {
            if self.experiment.policy.is_none() {
                recipe.policies.retain(|policy| policy.info().knows == Knows::Past);
            }
            return self.stream(&recipe, out);
        }
        recipe.bounds &= !self.no_bounds;
        let file = self.source.file(&recipe)?.map(|(trace, _)| trace);
        // What is not printed is not computed: `accel explain` tells the reasons.
        let details = Details { explanation: !self.json, ..Details::REPORTS };
        let outcome = self.scorer.run(&recipe, file, details)?;
        if self.json {
            let scored = outcome.runs.iter().any(|r| r.policy.info().scored());
            let scorer = scored.then(|| outcome.scorer.name());
            let Outcome { trace, runs, bounds, curve, .. } = &outcome;
            let answer = Answer { trace, runs, bounds: bounds.as_ref(), curve: curve.as_ref(), scorer };
            return print_json(&answer, out);
        }
        print(&outcome, recipe.memory.capacity_bytes, out)
    }

    fn stream(&self, recipe: &Recipe, out: &mut dyn Write) -> anyhow::Result<()> {
        let (trace, runs) = stream::simulate(recipe, &mut Bar::new())?;
        if self.json {
            return print_json(&Answer { trace: &trace, runs: &runs, bounds: None, curve: None, scorer: None }, out);
        }
        print_summary(&trace, recipe.memory.capacity_bytes, out)?;
        writeln!(out, "{}", table(&runs))?;
        Ok(())
    }
}

fn table(runs: &[Report]) -> Table {
    let header = [
        "policy",
        "hits",
        "misses",
        "hit %",
        "byte hit %",
        "gap closed %",
        "from DRAM",
        "evictions",
        "bypassed",
        "latency ms",
        "bandwidth wait ms",
    ];
    let row = |run: &Report| {
        [
            run.policy.title(),
            format_count(run.hits),
            format_count(run.misses),
            format!("{:.2}", 100.0 * run.hit_ratio()),
            format!("{:.2}", 100.0 * run.byte_hit_ratio()),
            run.gap_closed.map_or("-".into(), |gap| format!("{:.1}", 100.0 * gap)),
            format_bytes(run.miss_bytes),
            format_count(run.evictions),
            format_count(run.bypassed),
            format!("{:.2}", run.total_latency_ms),
            format!("{:.2}", run.bandwidth_wait_ms),
        ]
    };
    numbers(header, runs.iter().map(row))
}

/// Time, traffic and energy on the device.
fn print_physical(runs: &[Report], out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(first) = runs.iter().find_map(|run| run.physical.as_ref()) else { return Ok(()) };
    let header =
        ["on the device", "total ms", "compute ms", "stall ms", "read", "written", "dropped", "GB/s", "energy"];
    let row = |run: &Report| {
        let timed = run.physical.as_ref()?;
        Some([
            run.policy.title(),
            format!("{:.3}", timed.total_ms),
            format!("{:.3}", timed.compute_ms),
            format!("{:.3}", timed.stall_ms),
            format_bytes(timed.dram_read_bytes),
            format_bytes(timed.dram_written_bytes),
            format_bytes(timed.dropped_bytes),
            format!("{:.1}", timed.achieved_gb_s),
            format_joules(timed.energy.low_j, timed.energy.high_j),
        ])
    };
    writeln!(out, "Device: {}.\n{}", first.device, numbers(header, runs.iter().filter_map(row)))?;
    let levels = runs.iter().flat_map(|run| {
        let title = run.policy.title();
        run.physical.iter().flat_map(|timed| &timed.levels).map(move |level| {
            [
                format!("{title} over {} ({})", level.name, level.policy.title()),
                format_bytes(level.capacity_bytes),
                format_count(level.accesses),
                format_count(level.hits),
                format_count(level.misses),
                format_bytes(level.miss_bytes),
                format_bytes(level.written_bytes),
            ]
        })
    });
    if !first.levels.is_empty() {
        let header = ["level", "capacity", "loads", "hits", "misses", "from beneath", "written"];
        writeln!(out, "{}", numbers(header, levels))?;
    }
    let items = first.energy.ledger.iter().map(|item| {
        [
            item.what.clone(),
            format!("{:.4e} {}s", item.amount, item.unit),
            format!("{:.3} to {:.3}", item.low_pj, item.high_pj),
            format_joules(item.low_j, item.high_j),
            item.source.clone(),
        ]
    });
    let title = format!("energy of {}", runs.first().map_or("", |run| run.policy.title()));
    writeln!(out, "{}", numbers([title.as_str(), "amount", "pJ each", "energy", "source"], items))?;
    Ok(())
}

fn print(outcome: &Outcome, capacity_bytes: u64, out: &mut dyn Write) -> anyhow::Result<()> {
    print_summary(&outcome.trace, capacity_bytes, out)?;
    writeln!(out, "{}", table(&outcome.runs))?;
    print_physical(&outcome.runs, out)?;
    if let Some(bounds) = &outcome.bounds {
        print_bounds(bounds, out)?;
    }
    if let Some(curves) = &outcome.curve {
        print_curves(curves, out)?;
    }
    for sentence in &outcome.explanation {
        writeln!(out, "{sentence}")?;
    }
    if outcome.runs.iter().any(|r| r.policy.info().scored()) {
        writeln!(out, "Eviction scores by the {} scorer.", outcome.scorer.name())?;
    }
    if let Some(validation) = &outcome.validation {
        writeln!(out, "Validation against the generator's own laws. {}", validation.interpretation)?;
    }
    Ok(())
}
