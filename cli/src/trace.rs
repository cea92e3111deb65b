//! `accel trace generate`, `info`, `analyze`, `convert` and `validate`.

use std::io::Write;
use std::path::{Path, PathBuf};

use accel_core::import::Format;
use accel_core::trace::Summary;
use accel_core::trace::views::Views;
use accel_core::units::{format_bytes, format_count};
use accel_core::workload::config::Facts;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::analyze::Analyze;
use crate::convert::{Convert, To, Written, is_stdout};
use crate::source::{Source, load};
use crate::validate::Validate;

#[derive(Debug, Subcommand)]
pub(crate) enum Trace {
    /// Make the trace of a recipe, a model or the synthetic workload.
    Generate(Generate),
    /// Say what is in a trace.
    Info(Info),
    /// Say what a trace is like: popularity, sizes, reuse, stack distances and the working set over time.
    Analyze(Analyze),
    /// Read a trace in one format and write it in another.
    Convert(Convert),
    /// Say whether a trace matches its generator, and how much it looks like traces of real models.
    Validate(Validate),
}

#[derive(Debug, Args)]
pub(crate) struct Generate {
    #[command(flatten)]
    source: Source,
    /// Where to write; standard output if left out.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    written: Written,
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    /// A trace file.
    #[arg(value_name = "FILE", conflicts_with_all = ["trace", "recipe", "model", "synthetic", "scenario"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The answer of `info` as JSON.
#[derive(Serialize)]
struct Answer {
    trace: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    smallest_bytes: u64,
    largest_bytes: u64,
    /// Accesses that give their tensor another size than it had before.
    resizes: u64,
    views: Views,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Facts>,
    warnings: Vec<String>,
}

impl Trace {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        match self {
            Self::Generate(generate) => generate.run(out),
            Self::Info(info) => info.run(out),
            Self::Analyze(analyze) => analyze.run(out),
            Self::Convert(convert) => convert.run(out),
            Self::Validate(validate) => validate.run(out),
        }
    }
}

impl Generate {
    fn run(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let output = self.output.as_deref().unwrap_or(Path::new("-"));
        // Standard output has no name that a format goes with.
        let default = is_stdout(output).then_some(To::Core(Format::PrototypeCsv));
        let to = self.written.check(output)?.or(default);
        let (_, trace, _) = load(&self.source)?;
        self.written.write(&trace, to, output, out)
    }
}

impl Info {
    fn run(mut self, out: &mut dyn Write) -> anyhow::Result<()> {
        self.source.trace = self.source.trace.or(self.file.take());
        let (recipe, trace, format) = load(&self.source)?;
        let sizes = || trace.sized().map(|(_, bytes)| bytes);
        let answer = Answer {
            trace: trace.summary(),
            format,
            smallest_bytes: sizes().min().unwrap_or(0),
            largest_bytes: sizes().max().unwrap_or(0),
            resizes: trace.resizes().len() as u64,
            views: Views::of(&trace),
            model: recipe.workload.model_facts()?,
            warnings: trace.warnings().to_vec(),
        };
        if self.json {
            serde_json::to_writer_pretty(&mut *out, &answer)?;
            writeln!(out)?;
            return Ok(());
        }
        print(&answer, out)
    }
}

fn print(answer: &Answer, out: &mut dyn Write) -> anyhow::Result<()> {
    let Summary { accesses, tensors, requested_bytes, unique_bytes } = answer.trace;
    if let Some(format) = answer.format {
        writeln!(out, "format           {format}")?;
    }
    writeln!(out, "accesses         {}", format_count(accesses))?;
    writeln!(out, "tensors          {}", format_count(tensors))?;
    writeln!(out, "requested        {} ({} bytes)", format_bytes(requested_bytes), format_count(requested_bytes))?;
    writeln!(out, "unique           {} ({} bytes)", format_bytes(unique_bytes), format_count(unique_bytes))?;
    writeln!(
        out,
        "tensor sizes     {} to {}",
        format_bytes(answer.smallest_bytes),
        format_bytes(answer.largest_bytes)
    )?;
    if answer.resizes > 0 {
        let count = format_count(answer.resizes);
        writeln!(out, "size changes     {count} accesses give their tensor another size than it had before")?;
    }
    print_views(&answer.views, requested_bytes, out)?;
    if let Some(model) = &answer.model {
        writeln!(out, "parameters       {}", format_count(model.parameters))?;
        writeln!(out, "all weights      {}", format_bytes(model.weight_bytes))?;
        if model.active_parameters != model.parameters {
            writeln!(out, "of them active   {} (multiplied with a token)", format_count(model.active_parameters))?;
        }
        if model.kv_bytes > 0 {
            let (token, all) = (format_bytes(model.kv_bytes_per_token), format_bytes(model.kv_bytes));
            writeln!(out, "KV cache         {token} a token, {all} in all")?;
        }
        if model.state_bytes > 0 {
            writeln!(out, "states           {}, however many tokens", format_bytes(model.state_bytes))?;
        }
    }
    Ok(())
}

/// The distributions of a trace in a few lines each; `--json` has all of them.
fn print_views(views: &Views, requested: u64, out: &mut dyn Write) -> anyhow::Result<()> {
    let share = |bytes: u64| 100.0 * bytes as f64 / requested.max(1) as f64;
    for (kind, of_kind) in &views.kinds {
        writeln!(
            out,
            "{:<16} {} tensors, {}, {} accesses, {:.1} % of the bytes requested",
            kind.title(),
            format_count(of_kind.tensors),
            format_bytes(of_kind.bytes),
            format_count(of_kind.accesses),
            share(of_kind.accessed_bytes)
        )?;
    }
    let largest = views.working_set.iter().map(|point| point.bytes).max().unwrap_or(0);
    let window = format_count(views.window);
    writeln!(out, "working set      up to {} in {window} accesses", format_bytes(largest))?;
    writeln!(out, "first uses       {}", format_count(views.cold))?;
    for (name, bins, bytes) in [
        ("reuse distance", &views.reuse_distance, false),
        ("stack distance", &views.stack_distance_tensors, false),
        ("", &views.stack_distance_bytes, true),
    ] {
        let all: u64 = bins.iter().map(|bin| bin.count).sum();
        if all == 0 {
            continue;
        }
        let mut below = 0;
        let mut quartiles = [25, 50, 75, 90].into_iter().peekable();
        let mut parts = Vec::new();
        for bin in bins {
            below += bin.count;
            while let Some(percent) = quartiles.next_if(|percent| below * 100 >= all * percent) {
                let high = if bytes { format_bytes(bin.high) } else { format_count(bin.high) };
                parts.push(format!("{percent} % at most {high}"));
            }
        }
        let unit = if bytes {
            "bytes"
        } else if name == "reuse distance" {
            "accesses"
        } else {
            "tensors"
        };
        writeln!(out, "{name:<16} {} ({unit})", parts.join(", "))?;
    }
    Ok(())
}
