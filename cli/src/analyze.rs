//! `accel trace analyze`: what a trace is like, in numbers and as plots.

use std::io::Write;
use std::path::PathBuf;

use accel_core::trace::popularity::Popularity;
use accel_core::trace::reuse::Histogram;
use accel_core::trace::views::{Bin, Views};
use accel_core::trace::{Summary, Trace};
use accel_core::units::{format_bytes, format_count};
use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::plot;
use crate::source::{Source, load};
use crate::table::{numbers, print_json};

#[derive(Debug, Args)]
pub(crate) struct Analyze {
    /// A trace file.
    #[arg(value_name = "FILE", conflicts_with_all = ["trace", "recipe", "model", "synthetic", "scenario"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Draw popularity, sizes, reuse and stack distances, and the working set as SVG files in this folder.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Sizes in bytes: of each tensor at its largest, and of each access.
#[derive(Debug, Serialize)]
struct Sizes {
    of_tensors: Quantiles,
    of_accesses: Quantiles,
}

/// Values at and below which a share of all lies, at most 1 % too large.
#[derive(Debug, Serialize)]
struct Quantiles {
    mean: f64,
    least: u64,
    median: u64,
    p90: u64,
    p99: u64,
    most: u64,
}

/// The answer as JSON.
#[derive(Debug, Serialize)]
struct Answer {
    trace: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    popularity: Popularity,
    sizes: Sizes,
    /// Reuse distances, stack distances in tensors and in bytes, sizes, and the working set by windows.
    views: Views,
    warnings: Vec<String>,
}

impl Quantiles {
    fn of(values: impl Iterator<Item = u64>) -> Self {
        let (mut histogram, mut sum, mut count) = (Histogram::default(), 0u128, 0u64);
        let (mut least, mut most) = (u64::MAX, 0);
        for value in values {
            histogram.add(value);
            (sum, count) = (sum + u128::from(value), count + 1);
            (least, most) = (least.min(value), most.max(value));
        }
        let at = |share| histogram.quantile(share).unwrap_or(0).min(most);
        Self {
            mean: sum as f64 / count.max(1) as f64,
            least: least.min(most),
            median: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            most,
        }
    }
}

impl Analyze {
    pub(crate) fn run(mut self, out: &mut dyn Write) -> anyhow::Result<()> {
        self.source.trace = self.source.trace.or(self.file.take());
        let (_, trace, format) = load(&self.source)?;
        let answer = Answer::of(&trace, format);
        if let Some(folder) = &self.plots {
            let shown = folder.display();
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {shown}"))?;
            for (name, svg) in plot::all(&answer.popularity, &answer.views)? {
                let path = folder.join(name);
                std::fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        if self.json { print_json(&answer, out) } else { answer.print(out) }
    }
}

impl Answer {
    fn of(trace: &Trace, format: Option<&'static str>) -> Self {
        Self {
            trace: trace.summary(),
            format,
            popularity: Popularity::of(trace),
            sizes: Sizes {
                of_tensors: Quantiles::of(trace.largest_sizes().into_iter()),
                of_accesses: Quantiles::of(trace.sized().map(|(_, bytes)| bytes)),
            },
            views: Views::of(trace),
            warnings: trace.warnings().to_vec(),
        }
    }

    fn print(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let Self { trace, popularity, sizes, views, .. } = self;
        writeln!(
            out,
            "{} accesses to {} tensors: {} requested, {} unique.",
            format_count(trace.accesses),
            format_count(trace.tensors),
            format_bytes(trace.requested_bytes),
            format_bytes(trace.unique_bytes),
        )?;
        writeln!(out, "\nPopularity")?;
        if let Some(zipf) = popularity.zipf {
            writeln!(
                out,
                "Zipf exponent {:.4} (standard error {:.4}); the shares of accesses up to a rank differ from that law's by \
                 at most {:.1} points.",
                zipf.exponent,
                zipf.standard_error,
                100.0 * zipf.distance
            )?;
        }
        let once = 100.0 * popularity.once as f64 / trace.tensors.max(1) as f64;
        writeln!(out, "{} tensors ({once:.1} %) are used once.", format_count(popularity.once))?;
        for top in &popularity.top {
            writeln!(
                out,
                "The most used {:.2} % of the tensors take {:.1} % of the accesses.",
                100.0 * top.share_of_tensors,
                100.0 * top.share_of_accesses
            )?;
        }
        writeln!(out, "\nSizes")?;
        let row = |what: &str, of: &Quantiles| {
            let Quantiles { mean, least, median, p90, p99, most } = *of;
            [
                what.to_owned(),
                format_bytes(mean.round() as u64),
                format_bytes(least),
                format_bytes(median),
                format_bytes(p90),
                format_bytes(p99),
                format_bytes(most),
            ]
        };
        let rows = [row("tensors", &sizes.of_tensors), row("accesses", &sizes.of_accesses)];
        writeln!(out, "{}", numbers(["", "mean", "least", "median", "90 %", "99 %", "most"], rows))?;
        let reuses = trace.accesses - views.cold;
        writeln!(out, "\nReuse")?;
        writeln!(
            out,
            "{} accesses ({:.1} %) are first uses, which no memory hits.",
            format_count(views.cold),
            100.0 * views.cold as f64 / trace.accesses.max(1) as f64
        )?;
        let rows = [
            ("accesses since the last use", &views.reuse_distance, format_count as fn(u64) -> String),
            ("distinct tensors since", &views.stack_distance_tensors, format_count),
            ("bytes of them, the tensor included", &views.stack_distance_bytes, format_bytes),
        ];
        let rows = rows.map(|(what, bins, show)| {
            let at = |share| quantile(bins, reuses, share).map_or("-".to_owned(), show);
            [what.to_owned(), at(0.25), at(0.5), at(0.75), at(0.9), at(0.99)]
        });
        let header = ["at most, of the reuses", "25 %", "50 %", "75 %", "90 %", "99 %"];
        writeln!(out, "{}", numbers(header, rows))?;
        writeln!(out, "\nWorking set, by windows of {} accesses", format_count(views.window))?;
        let bytes = Quantiles::of(views.working_set.iter().map(|point| point.bytes));
        let tensors = Quantiles::of(views.working_set.iter().map(|point| point.tensors));
        let rows = [("bytes", &bytes, format_bytes as fn(u64) -> String), ("tensors", &tensors, format_count)];
        let rows = rows.map(|(what, of, show)| [what.to_owned(), show(of.least), show(of.median), show(of.most)]);
        writeln!(out, "{}", numbers(["", "least", "median", "most"], rows))?;
        Ok(())
    }
}

/// The end of the bin up to which a share of `all` values lies.
fn quantile(bins: &[Bin], all: u64, share: f64) -> Option<u64> {
    let wanted = (share * all as f64).ceil() as u64;
    let mut so_far = 0;
    let bin = bins.iter().find(|bin| {
        so_far += bin.count;
        so_far >= wanted.max(1)
    })?;
    Some(bin.high)
}
