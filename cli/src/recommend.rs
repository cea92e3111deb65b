//! `accel recommend`: which design to build for a goal.

use std::io::Write;

use accel_core::recommend::{Design, Goal, Recommendation, Wanted, recommend};
use accel_core::units::{format_bytes, format_count, format_joules};
use clap::Args;

use crate::flags;
use crate::progress::Bar;
use crate::source::{ExperimentArgs, Source};
use crate::table::{numbers, print_json};

#[derive(Debug, Args)]
pub(crate) struct Recommend {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// What is to be least. For the least time or energy each --capacity is tried, and one where none is given; for the least
    /// capacity twelve of them, where none are given.
    #[arg(long, value_name = "NAME", default_value = "time", value_parser = flags::one_of::<Goal>())]
    goal: Goal,
    /// With --goal capacity: enough is this share of the best hit rate of all designs.
    #[arg(long, value_name = "SHARE", default_value_t = Wanted::default().hits)]
    hits: f64,
    /// Leave out designs that wait for DRAM during more than this share of their time.
    #[arg(long, value_name = "SHARE")]
    stall: Option<f64>,
    /// Print JSON, with the recipe of each design.
    #[arg(long)]
    json: bool,
}

impl Recommend {
    pub(crate) fn run(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let recipe = self.source.recipe(&self.experiment)?;
        let file = self.source.file(&recipe)?.map(|(trace, _)| trace);
        let given = &self.experiment.memory.capacities;
        let capacities = match (given.is_empty(), &file) {
            (true, _) => Vec::new(),
            (false, Some(trace)) => given.iter().map(|c| c.bytes(trace.summary().unique_bytes)).collect(),
            (false, None) => {
                let unique_bytes = recipe.trace(None)?.summary().unique_bytes;
                given.iter().map(|c| c.bytes(unique_bytes)).collect::<Vec<_>>()
            }
        };
        let wanted = Wanted { goal: self.goal, hits: self.hits, stall: self.stall };
        let answer = recommend(&recipe, file, wanted, &capacities, &mut Bar::new())?;
        if self.json { print_json(&answer, out) } else { print(&answer, out) }
    }
}

fn row(design: &Design) -> [String; 9] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    [
        format_bytes(design.capacity_bytes),
        design.policy.title(),
        design.admission.to_string(),
        or_none(design.prefetch_depth.map(|depth| depth.to_string())),
        design.tile_bytes.map_or_else(|| "-".into(), format_bytes),
        format!("{:.2} %", 100.0 * design.hit_ratio),
        format_bytes(design.miss_bytes),
        or_none(design.time_ms.map(|ms| format!("{ms:.3}"))),
        or_none(design.energy_j.map(|[low, high]| format_joules(low, high))),
    ]
}

fn print(answer: &Recommendation, out: &mut dyn Write) -> anyhow::Result<()> {
    let [tried, enough] = [answer.tried, answer.enough].map(format_count);
    writeln!(
        out,
        "For {}: {tried} designs were tried, {enough} of them reach what is wanted.",
        answer.wanted.goal.title()
    )?;
    let head = ["capacity", "policy", "admission", "prefetch", "tile", "hits", "from DRAM", "time ms", "energy"];
    writeln!(out, "{}", numbers(head, answer.designs.iter().map(row)))?;
    writeln!(out, "To compare with, LRU as given:\n{}", numbers(head, [row(&answer.baseline)]))?;
    if let Some(best) = answer.designs.first() {
        let left = answer.left;
        let bytes = format_bytes(left.miss_bytes);
        let time = left.time_ms.map_or(String::new(), |ms| format!(" and takes less than {ms:.3} ms"));
        writeln!(out, "With {} no schedule fetches less than {bytes}{time}.", format_bytes(best.capacity_bytes))?;
    }
    for tried in &answer.space {
        writeln!(out, "Tried {tried}.")?;
    }
    Ok(())
}
