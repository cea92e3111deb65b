//! `accel simulate`: policies side by side.

use std::io::Write;

use accel_core::run::{Outcome, run_with};
use accel_core::sim::Report;
use accel_core::trace::Summary;
use accel_core::units::{format_bytes, format_count};
use clap::Args;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::progress::Bar;
use crate::source::{ExperimentArgs, Source};

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The answer as JSON.
#[derive(Serialize)]
struct Answer<'a> {
    trace: &'a Summary,
    runs: &'a [Report],
    /// Who made the eviction scores, where a policy read them.
    #[serde(skip_serializing_if = "Option::is_none")]
    scorer: Option<&'static str>,
}

impl Simulate {
    pub(crate) fn run(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let recipe = self.source.recipe(&self.experiment)?;
        let file = self.source.file(&recipe)?.map(|(trace, _)| trace);
        let outcome = run_with(&recipe, file, &mut Bar::new())?;
        if self.json {
            let scored = outcome.runs.iter().any(|r| r.policy.info().scored());
            let scorer = scored.then(|| outcome.scorer.name());
            serde_json::to_writer_pretty(&mut *out, &Answer { trace: &outcome.trace, runs: &outcome.runs, scorer })?;
            writeln!(out)?;
            return Ok(());
        }
        print(&outcome, recipe.memory.capacity_bytes, out)
    }
}

fn print(outcome: &Outcome, capacity_bytes: u64, out: &mut dyn Write) -> anyhow::Result<()> {
    let Summary { accesses, tensors, requested_bytes, unique_bytes } = outcome.trace;
    writeln!(
        out,
        "{} accesses to {} tensors: {} requested, {} unique. Capacity {}.",
        format_count(accesses),
        format_count(tensors),
        format_bytes(requested_bytes),
        format_bytes(unique_bytes),
        format_bytes(capacity_bytes),
    )?;
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "policy",
        "hits",
        "misses",
        "hit %",
        "byte hit %",
        "from DRAM",
        "evictions",
        "bypassed",
        "latency ms",
        "bandwidth wait ms",
    ]);
    for run in &outcome.runs {
        table.add_row([
            run.policy.info().title.to_owned(),
            format_count(run.hits),
            format_count(run.misses),
            format!("{:.2}", 100.0 * run.hit_ratio()),
            format!("{:.2}", 100.0 * run.byte_hit_ratio()),
            format_bytes(run.miss_bytes),
            format_count(run.evictions),
            format_count(run.bypassed),
            format!("{:.2}", run.total_latency_ms),
            format!("{:.2}", run.bandwidth_wait_ms),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    writeln!(out, "{table}")?;
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
