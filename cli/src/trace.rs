//! `accel trace generate`, `info` and `convert`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use accel_core::recipe::Recipe;
use accel_core::trace::format::{self, Format};
use accel_core::trace::{Kind, Summary};
use accel_core::units::{format_bytes, format_count};
use accel_core::workload::config::Facts;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::convert::Convert;
use crate::source::{ExperimentArgs, Source};

#[derive(Debug, Subcommand)]
pub(crate) enum Trace {
    /// Make the trace of a recipe, a model or the synthetic workload.
    Generate(Generate),
    /// Say what is in a trace.
    Info(Info),
    /// Read a trace in one format and write it in another.
    Convert(Convert),
}

#[derive(Debug, Args)]
pub(crate) struct Generate {
    #[command(flatten)]
    source: Source,
    /// Where to write; standard output if left out.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Format to write: prototype-csv, prototype-json, csv or oracle-general.
    #[arg(long, value_name = "NAME", default_value = "prototype-csv")]
    to: String,
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    /// A trace file.
    #[arg(value_name = "FILE", conflicts_with_all = ["trace", "recipe", "model", "synthetic"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Tensors of one kind.
#[derive(Debug, Default, Serialize)]
struct Share {
    tensors: u64,
    bytes: u64,
    accesses: u64,
}

/// The answer of `info` as JSON.
#[derive(Serialize)]
struct Answer {
    trace: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    smallest_bytes: u64,
    largest_bytes: u64,
    kinds: BTreeMap<Kind, Share>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Facts>,
    warnings: Vec<String>,
}

impl Trace {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        match self {
            Self::Generate(generate) => generate.run(out),
            Self::Info(info) => info.run(out),
            Self::Convert(convert) => convert.run(out),
        }
    }
}

/// The trace needs no memory and no policies: the defaults pass the checks.
fn load(source: &Source) -> anyhow::Result<(Recipe, accel_core::trace::Trace, Option<&'static str>)> {
    let recipe = source.recipe(&ExperimentArgs::default())?;
    Ok(match source.file(&recipe)? {
        Some((trace, format)) => (recipe, trace, Some(format)),
        None => {
            let trace = recipe.workload.trace(recipe.seed)?;
            (recipe, trace, None)
        }
    })
}

impl Generate {
    fn run(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let to = Format::from_name(&self.to)?;
        let (_, trace, _) = load(&self.source)?;
        let bytes = format::write(to, &trace)?;
        match &self.output {
            None => out.write_all(&bytes)?,
            Some(path) => {
                std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
                let summary = trace.summary();
                eprintln!("wrote {} accesses to {}", format_count(summary.accesses), path.display());
            }
        }
        Ok(())
    }
}

impl Info {
    fn run(mut self, out: &mut dyn Write) -> anyhow::Result<()> {
        self.source.trace = self.source.trace.or(self.file.take());
        let (recipe, trace, format) = load(&self.source)?;
        let mut kinds: BTreeMap<Kind, Share> = BTreeMap::new();
        for tensor in trace.tensors() {
            let share = kinds.entry(tensor.kind).or_default();
            share.tensors += 1;
            share.bytes += tensor.bytes;
        }
        for &t in trace.accesses() {
            kinds.entry(trace.tensors()[t as usize].kind).or_default().accesses += 1;
        }
        let sizes = || trace.tensors().iter().map(|t| t.bytes);
        let answer = Answer {
            trace: trace.summary(),
            format,
            smallest_bytes: sizes().min().unwrap_or(0),
            largest_bytes: sizes().max().unwrap_or(0),
            kinds,
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
    for (kind, share) in &answer.kinds {
        writeln!(
            out,
            "{:<16} {} tensors, {}, {} accesses",
            kind.label(),
            format_count(share.tensors),
            format_bytes(share.bytes),
            format_count(share.accesses)
        )?;
    }
    if let Some(model) = &answer.model {
        writeln!(out, "parameters       {}", format_count(model.parameters))?;
        writeln!(out, "all weights      {}", format_bytes(model.weight_bytes))?;
        writeln!(
            out,
            "KV cache         {} a token, {} in all",
            format_bytes(model.kv_bytes_per_token),
            format_bytes(model.kv_bytes)
        )?;
    }
    Ok(())
}
