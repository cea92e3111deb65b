//! `accel recommend`: which design to build for a goal.

use std::io::Write;

use accel_core::recommend::{Design, Goal, HEAD, Recommendation, Wanted, recommend};
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

fn print(answer: &Recommendation, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "{}", answer.headline())?;
    writeln!(out, "{}", numbers(HEAD, answer.designs.iter().map(Design::cells)))?;
    writeln!(out, "To compare with, LRU as given:\n{}", numbers(HEAD, [answer.baseline.cells()]))?;
    writeln!(out, "{}", answer.what_is_left())?;
    for tried in &answer.space {
        writeln!(out, "Tried {tried}.")?;
    }
    Ok(())
}
