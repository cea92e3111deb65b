//! `accel sweep`: many experiments, and one table of what they come to.

use std::io::Write;
use std::path::{Path, PathBuf};

use accel_core::sweep::{Cells, Group, Shard, left};
use accel_core::units::format_count;
use accel_files::sweep::{self, Files, Folder, Job};
use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;

use crate::flags::Named;
use crate::picture;
use crate::progress::Bar;
use crate::report;

/// Cells that stand in one list, at most.
const LISTED: u64 = 100_000;

#[derive(Debug, Args)]
pub(crate) struct Sweep {
    /// What to run: a file of JSON, TOML or YAML with a recipe and axes, - for JSON on standard input (docs/sweeps.md).
    #[arg(value_name = "GRID")]
    grid: PathBuf,
    /// The folder that keeps the rows, as Parquet files. What is there already is not run again: the same command goes on
    /// where it was stopped, and one with more values or policies runs those alone.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Run one of so many parts: 2/8 is the second of eight. Each may be run on another machine, into the same folder or
    /// another.
    #[arg(long, value_name = "I/N", value_parser = shard(), default_value = "1/1")]
    shard: Shard,
    /// Print the cells with their keys, and run nothing.
    #[arg(long, conflicts_with_all = ["dry_run", "compact"])]
    list: bool,
    /// Say how many cells and accesses there are and how long they may take, and run one cell only.
    #[arg(long, conflicts_with = "compact")]
    dry_run: bool,
    /// Draw a report of all rows when everything is done: .html with the figures, .svg or .png. Where the rows are there
    /// already, nothing else is done.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["list", "dry_run"])]
    plot: Option<PathBuf>,
    /// Put all rows into one file when everything is done.
    #[arg(long)]
    compact: bool,
}

fn shard() -> Named<Shard> {
    Named { read: |text| Ok(text.parse::<Shard>()?), names: Vec::new }
}

impl Sweep {
    /// Whether every cell could be computed.
    pub(crate) fn run(&self, out: &mut dyn Write) -> anyhow::Result<bool> {
        let name = self.grid.display();
        let cells = sweep::read(&self.grid)?.cells().with_context(|| format!("{name}"))?;
        // Next to the grid, as files that a recipe names are next to it.
        let folder = self.grid.parent().unwrap_or(Path::new("")).to_owned();
        let mut files = Files::within(folder);
        let groups = cells.groups(&mut |name| files.digest(name))?;
        if self.list {
            return list(&cells, &groups, out).map(|()| true);
        }
        let folder = match &self.out {
            Some(path) => Some(Folder::open(path, &cells, &groups)?),
            None if self.dry_run => None,
            None => bail!("there is no place for the rows. Name a folder: --out DIR"),
        };
        let todo = left(groups.clone(), self.shard, &|key| folder.as_ref().is_some_and(|folder| folder.has(key)));
        let job = Job { cells: &cells, groups: &todo, files: &files };
        if self.dry_run {
            return dry_run(&job, out).map(|()| true);
        }
        let Some(folder) = folder else { return Ok(true) };
        let tally = sweep::run(&job, &folder, &mut Bar::counting())?;
        let folder = folder.again(&cells, &groups)?;
        let (done, all) = folder.progress();
        let place = folder.path().display().to_string();
        let [rows, there, of] = [tally.rows, done as u64, all as u64].map(format_count);
        writeln!(out, "{rows} rows were made; {there} of {of} are in {place}.")?;
        let failed = folder.failed()?;
        if let Some(path) = &self.plot {
            let report = report::of_sweep(&cells, &folder.table()?)?;
            let mut about = report.about;
            if done < all {
                about.push(format!("{done} of {all} rows are there: the sweep goes on."));
            }
            picture::save(path, "A sweep", &about, &report.figures)?;
            writeln!(out, "Its report is {}.", path.display())?;
        }
        if self.compact {
            writeln!(out, "All of them are in {}.", folder.compact()?.display())?;
        }
        for error in &tally.errors {
            eprintln!("error: {error}");
        }
        if failed > 0 {
            let failed = format_count(failed);
            eprintln!("error: {failed} rows could not be computed. The column error says why; the others are there");
        }
        Ok(failed == 0)
    }
}

/// One line a cell: its number, the values of its axes, and its keys by policy.
fn list(cells: &Cells, groups: &[Group], out: &mut dyn Write) -> anyhow::Result<()> {
    if cells.len() > LISTED {
        bail!("{} cells are too many for a list: leave --list out, or give fewer values", format_count(cells.len()));
    }
    let mut all: Vec<_> = groups.iter().flat_map(|group| &group.cells).collect();
    all.sort_by_key(|todo| todo.cell);
    for todo in all {
        let fields = cells.fields().zip(cells.values(todo.cell));
        let axes: serde_json::Map<String, Value> =
            fields.map(|((pointer, _), value)| (pointer.to_owned(), value.clone())).collect();
        let keys: serde_json::Map<String, Value> =
            todo.policies.iter().map(|(policy, key)| (policy.name(), Value::String(key.to_string()))).collect();
        writeln!(out, "{}", serde_json::json!({"cell": todo.cell, "axes": axes, "keys": keys}))?;
    }
    Ok(())
}

fn dry_run(job: &Job<'_>, out: &mut dyn Write) -> anyhow::Result<()> {
    let price = sweep::dry_run(job, &mut Bar::counting())?;
    let rows: u64 = job.groups.iter().map(|group| group.keys().count() as u64).sum();
    let [cells, rows, traces] = [job.len(), rows, job.groups.len() as u64].map(format_count);
    writeln!(out, "{cells} cells with {rows} rows are left, on {traces} traces.")?;
    let [made, run] = [price.trace_accesses, price.accesses].map(format_count);
    writeln!(out, "The traces have {made} accesses; policies run {run}, beside bounds.")?;
    match price.seconds {
        Some(seconds) => {
            writeln!(out, "That may take {} on this machine, as long as the first cell did.", time(seconds))?
        }
        None => writeln!(out, "The first cell cannot be computed, so the time is not known.")?,
    }
    Ok(())
}

/// A time for people.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.1} s"),
        s if s < 5_400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3_600.0),
    }
}
