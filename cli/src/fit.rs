//! `accel fit`: whether a model fits a device, and how much of it would.

use std::io::Write;

use accel_core::fit::{Fit as Answer, fit};
use accel_core::memory::device;
use accel_core::recipe::Workload;
use accel_core::units::{format_bytes, format_count, parse_bytes};
use anyhow::bail;
use clap::Args;

use crate::source::{ExperimentArgs, Source};
use crate::table::{numbers, print_json};

#[derive(Debug, Args)]
pub(crate) struct Fit {
    #[command(flatten)]
    source: Source,
    /// Memory of a device, such as 80GB or 24GiB, or the name of a device (`accel list devices` prints them).
    #[arg(long, visible_alias = "budget", value_name = "SIZE|DEVICE")]
    on: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Fit {
    pub(crate) fn run(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let recipe = self.source.recipe(&ExperimentArgs::default())?;
        let Workload::Model(run) = &recipe.workload else {
            bail!("only a model is asked whether it fits. Give --model NAME|FILE, or a recipe of a model");
        };
        let budget = match device::find(&self.on) {
            Ok(device) => match device.dram_bytes {
                Some(bytes) => bytes,
                None => bail!("how much memory {} has is not in the table. Give --on SIZE, such as 16GB", device.title),
            },
            Err(_) => parse_bytes("on", &self.on)?,
        };
        let answer = fit(run, budget)?;
        if self.json { print_json(&answer, out) } else { print(run.name(), &answer, out) }
    }
}

fn print(name: &str, answer: &Answer, out: &mut dyn Write) -> anyhow::Result<()> {
    let on = match answer.devices {
        1 => "one device".to_owned(),
        devices => format!("each of {} devices", format_count(devices)),
    };
    writeln!(
        out,
        "{name} with {} sequences of {} tokens {} {on} of {}.",
        format_count(answer.batch_size),
        format_count(answer.context),
        if answer.fits { "fits" } else { "does not fit" },
        format_bytes(answer.budget_bytes),
    )?;
    let mut rows: Vec<[String; 3]> = answer
        .held
        .iter()
        .map(|held| [held.what.clone(), format_bytes(held.bytes), format_count(held.bytes)])
        .collect();
    rows.push(["sum".into(), format_bytes(answer.bytes), format_count(answer.bytes)]);
    writeln!(out, "{}", numbers(["held", "size", "bytes"], rows))?;
    let most = |value: Option<u64>, limit: u64, what: &str| match value {
        None => "none fits".to_owned(),
        Some(value) if value >= limit => format!("{} ({what})", format_count(value)),
        Some(value) => format_count(value),
    };
    let context = most(answer.longest_context, answer.positions, "all that the model has positions for");
    writeln!(out, "Longest context with this batch: {context}.")?;
    let batch = most(answer.largest_batch, 1 << 20, "no more were tried");
    writeln!(out, "Largest batch with this context: {batch}.")?;
    if !answer.sent.is_empty() {
        let rows = answer.sent.iter().map(|sent| [sent.what.clone(), sent.algorithm.clone(), format_bytes(sent.bytes)]);
        writeln!(out, "{}", numbers(["sent in a step", "by", "size"], rows))?;
    }
    for note in &answer.notes {
        writeln!(out, "Note: {note}.")?;
    }
    Ok(())
}
