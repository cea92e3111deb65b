//! `accel trace convert`: a trace from one format into another.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use accel_core::closed;
use accel_core::import::cache_csv::Columns;
use accel_core::import::{self, Format};
use accel_core::trace::Trace;
use accel_core::units::format_count;
use anyhow::{Context as _, anyhow, bail};
use clap::Args;

use crate::flags::{self, Named};
use crate::progress::Bar;
use crate::source::read_trace;
use accel_files::parallel::Capacity;
use accel_files::parquet::{self, Labels};

#[derive(Debug, Args)]
pub(crate) struct Convert {
    /// The trace to read, - for standard input.
    #[arg(value_name = "INPUT")]
    input: PathBuf,
    /// Where to write; - for standard output.
    #[arg(value_name = "OUTPUT")]
    output: PathBuf,
    /// Format of the input; detected from its content if left out.
    #[arg(long, value_name = "NAME", value_parser = flags::format())]
    from: Option<Format>,
    /// Columns of a CSV or Parquet input, as libCacheSim's -t takes them:
    /// time-col=1,obj-id-col=2,obj-size-col=3,has-header=true,delimiter=, (numbers from 1, or names).
    #[arg(long, value_name = "KEY=VALUE,...")]
    columns: Option<Columns>,
    #[command(flatten)]
    written: Written,
}

/// How a trace is written.
#[derive(Debug, Args)]
pub(crate) struct Written {
    /// Format to write; by the output's name if left out (.csv, .json, .bin, .oracleGeneral, .parquet).
    #[arg(long, value_name = "NAME", value_parser = Named { read: to, names: writable })]
    to: Option<To>,
    /// Write what a predictor of reuse learns from beside the trace, into Parquet: when each tensor is used next, what
    /// Belady keeps in a memory of CAPACITY (bytes, or a share of all tensors; 0.1 if left out), and what is known of the
    /// past. docs/learned.md names the columns.
    #[arg(
        long,
        value_name = "CAPACITY",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "0.1",
        value_parser = flags::capacity()
    )]
    labels: Option<Capacity>,
    /// Overwrite the output.
    #[arg(long)]
    force: bool,
}

/// A format to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Core(Format),
    Parquet,
}

/// The format to write under the output's name.
fn by_name(output: &Path, trace: &Trace) -> anyhow::Result<To> {
    if let Some(format) = Format::to_write(&output.to_string_lossy(), trace) {
        return Ok(To::Core(format));
    }
    let extension = output.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        parquet::NAME => Ok(To::Parquet),
        "gz" | "zst" => bail!(
            "{}: packed files are read, not written. Write it plain and pack it (zstd FILE, gzip FILE)",
            output.display()
        ),
        _ => bail!("the name {} does not say a format: name one with --to ({})", output.display(), names()),
    }
}

/// The names of the formats that are written.
fn writable() -> Vec<&'static str> {
    let names = Format::all().filter(|format| format.writable()).map(Format::name);
    names.chain([parquet::NAME]).collect()
}

fn names() -> String {
    writable().join(", ")
}

/// The format of that name, to be written.
fn to(name: &str) -> anyhow::Result<To> {
    if closed::same_name(name, parquet::NAME) {
        return Ok(To::Parquet);
    }
    match Format::from_name(name)? {
        format if format.writable() => Ok(To::Core(format)),
        format => bail!("{} is read, not written. Choose one of {}", format.name(), names()),
    }
}

impl Convert {
    pub(crate) fn run(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let to = self.written.check(&self.output)?;
        if to.is_none() && is_stdout(&self.output) {
            bail!("standard output has no file name to infer a format from: name one with --to ({})", names())
        }
        let (trace, _) = read_trace(&self.input, self.from, self.columns.as_ref())?;
        self.written.write(&trace, to, &self.output, out)
    }
}

/// Whether that is standard output.
pub(crate) fn is_stdout(output: &Path) -> bool {
    output == Path::new("-")
}

impl Written {
    /// The format that is named; fails on what can be known before the work.
    pub(crate) fn check(&self, output: &Path) -> anyhow::Result<Option<To>> {
        if !is_stdout(output) && !self.force && output.exists() {
            return Err(exists(output));
        }
        Ok(self.to)
    }

    /// Writes `trace` as `to`, or as the output's name says, and says what is lost.
    pub(crate) fn write(
        &self,
        trace: &Trace,
        to: Option<To>,
        output: &Path,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let (bytes, lost, name) = match to.map_or_else(|| by_name(output, trace), Ok)? {
            To::Core(format) if self.labels.is_some() => {
                bail!("{} has no columns for labels: write Parquet (--to {})", format.name(), parquet::NAME)
            }
            To::Core(format) => (import::write(format, trace)?, import::lost(format, trace), format.name()),
            To::Parquet => {
                let capacity = self.labels.map(|capacity| capacity.bytes(trace.summary().unique_bytes));
                let labels = capacity.map(|capacity_bytes| Labels { capacity_bytes });
                (parquet::write(trace, labels, &mut Bar::new())?, Vec::new(), parquet::NAME)
            }
        };
        if !lost.is_empty() {
            eprintln!("lost in {name}: {}", lost.join("; "));
        }
        if is_stdout(output) {
            out.write_all(&bytes)?;
            return Ok(());
        }
        self.save(&bytes, output)?;
        eprintln!("wrote {} accesses to {} as {name}", format_count(trace.summary().accesses), output.display());
        Ok(())
    }

    fn save(&self, bytes: &[u8], output: &Path) -> anyhow::Result<()> {
        let cannot = || format!("cannot write {}", output.display());
        let mut options = OpenOptions::new();
        options.write(true);
        if self.force {
            options.create(true).truncate(true)
        } else {
            options.create_new(true)
        };
        match options.open(output) {
            Ok(mut file) => file.write_all(bytes).with_context(cannot),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists(output)),
            Err(error) => Err(error).with_context(cannot),
        }
    }
}

fn exists(output: &Path) -> anyhow::Error {
    anyhow!("{} exists: give --force to overwrite it, or another name", output.display())
}
