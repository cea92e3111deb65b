//! `accel trace validate`: does a trace match its generator, and does it look like real ones?

use std::io::Write;
use std::path::{Path, PathBuf};

use accel_core::import::cache_csv::Columns;
use accel_core::import::{FORMATS, FileKind};
use accel_core::recipe::Workload;
use accel_core::validate::profile::{self, PROFILES};
use accel_core::validate::realism::{Comparison, Realism, Reference, realism};
use accel_core::validate::{self, Fit, Validation};
use clap::Args;
use serde::Serialize;

use crate::source::{Source, load, read_trace};

#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// A trace file.
    #[arg(value_name = "FILE", conflicts_with_all = ["trace", "recipe", "model", "synthetic", "scenario"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// What to compare it with: a profile (linear, resnet-50, gpt2-large, dlrm) or another trace file, - for standard
    /// input. All profiles if left out.
    #[arg(long, value_name = "NAME|FILE")]
    reference: Option<String>,
    /// Columns of a reference in CSV or Parquet, as --columns takes them.
    #[arg(long, value_name = "KEY=VALUE,...", requires = "reference")]
    reference_columns: Option<Columns>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The answer as JSON.
#[derive(Serialize)]
struct Answer {
    /// Against the laws of the synthetic generator, where the trace may come from it.
    self_consistency: Option<Validation>,
    /// Against each reference.
    realism: Vec<Realism>,
}

impl Validate {
    pub(crate) fn run(mut self, out: &mut dyn Write) -> anyhow::Result<()> {
        self.source.trace = self.source.trace.or(self.file.take());
        let (recipe, trace, format) = load(&self.source)?;
        let is_records = |name| FORMATS.iter().any(|info| info.name == name && info.kind == FileKind::Records);
        let self_consistency = match &recipe.workload {
            Workload::Synthetic(synthetic) => Some(validate::synthetic(&trace, Some(synthetic.reuse_probability))?),
            // The prototype's records may come from its generator; with which probability they do not say.
            _ if format.is_some_and(is_records) => Some(validate::synthetic(&trace, None)?),
            _ => None,
        };
        let realism = match &self.reference {
            None => {
                let profiles = PROFILES.iter().map(|profile| realism(&trace, Reference::Profile(profile)));
                profiles.collect::<Result<_, _>>()?
            }
            Some(file) if file == "-" || Path::new(file).is_file() => {
                let (other, _) = read_trace(Path::new(file), None, self.reference_columns.as_ref())?;
                vec![Realism { reference: file.clone(), ..realism(&trace, Reference::Trace(&other))? }]
            }
            Some(name) => vec![realism(&trace, Reference::Profile(profile::find(name)?))?],
        };
        let answer = Answer { self_consistency, realism };
        if self.json {
            serde_json::to_writer_pretty(&mut *out, &answer)?;
            writeln!(out)?;
            return Ok(());
        }
        print(&answer, out)
    }
}

fn print(answer: &Answer, out: &mut dyn Write) -> anyhow::Result<()> {
    if let Some(own) = &answer.self_consistency {
        writeln!(out, "Its own generator: {}", own.interpretation)?;
        for Fit { claim, statistic, p_value, .. } in [&own.reuse, &own.size] {
            writeln!(out, "  {claim}: statistic {statistic:.3}, p {}", p_text(*p_value))?;
        }
        writeln!(out)?;
    }
    for compared in &answer.realism {
        writeln!(out, "Beside {}: {}", compared.reference, compared.interpretation)?;
        print_comparison("distances", &compared.distances, out)?;
        if let Some(sizes) = &compared.sizes {
            print_comparison("sizes", sizes, out)?;
        }
    }
    Ok(())
}

fn print_comparison(what: &str, compared: &Comparison, out: &mut dyn Write) -> anyhow::Result<()> {
    let Comparison { samples, statistic, shift_log2, effect, p_value, .. } = compared;
    let (effect, p) = (effect.label(), p_text(*p_value));
    writeln!(
        out,
        "  {what}: D {statistic:.3} ({effect}), quantiles {shift_log2:.2} doublings apart, p {p}, {samples} observed"
    )?;
    Ok(())
}

fn p_text(p: Option<f64>) -> String {
    p.map_or("unknown: too few observations".into(), |p| format!("{p:.4}"))
}
