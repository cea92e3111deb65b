//! Runs a sweep on all processors.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use accel_core::error::Error;
use accel_core::progress::{Flow, Progress};
use accel_core::recipe::Recipe;
use accel_core::sweep::{Cells, Group, Row, Shared};
use accel_core::trace::Trace;
use rayon::iter::{IntoParallelRefIterator as _, ParallelBridge as _, ParallelIterator as _};

use super::{Files, Folder};

/// Cells of a part, and how long one is put off: what is lost when the program is ended.
const PART_CELLS: u64 = 100;
const PART_TAKES: Duration = Duration::from_secs(30);

/// What a sweep came to.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Rows that were made.
    pub rows: u64,
    /// Those that could not be computed.
    pub failed: u64,
    /// Why, of some of them.
    pub errors: Vec<String>,
}

/// Errors that are kept to be shown.
const SHOWN: usize = 5;

/// A part of a sweep, to be run here.
pub struct Job<'a> {
    /// Its cells.
    pub cells: &'a Cells,
    /// What is left to do.
    pub groups: &'a [Group],
    /// Where its files are.
    pub files: &'a Files,
}

/// Makes the trace of `group`, with its file where it needs one.
fn open(cells: &Cells, group: &Group, files: &Files) -> Result<Shared, Error> {
    let recipe = Shared::recipe(cells, group)?;
    Shared::new(&recipe, file(&recipe, files)?, group.lru_runs())
}

fn file(recipe: &Recipe, files: &Files) -> Result<Option<Trace>, Error> {
    let Some(name) = recipe.workload.file() else { return Ok(None) };
    let path = files.path(name);
    let read = crate::trace::read_workload(recipe, &path, &mut accel_core::progress::Unattended);
    let wrong = |error: anyhow::Error| {
        error.downcast::<Error>().unwrap_or_else(|error| {
            let cure = "Put the file where the recipe says, beside that of the sweep";
            Error::input(path.display().to_string(), accel_core::error::Place::Whole, format!("{error:#}"), cure)
        })
    };
    Ok(Some(read.map_err(wrong)?.0))
}

/// Hears of all cells together, and whether to stop.
struct Counter<'a> {
    done: u64,
    total: u64,
    progress: &'a mut (dyn Progress + Send),
    cancelled: bool,
}

impl Counter<'_> {
    fn tell(&mut self, cells: u64) -> Flow {
        self.done += cells;
        if !self.cancelled && self.progress.report(self.done, self.total, "cells") == Flow::Cancel {
            self.cancelled = true;
        }
        if self.cancelled { Flow::Cancel } else { Flow::Continue }
    }
}

/// The passes of one cell ask whether to go on.
struct Passes<'a, 'b>(&'a Mutex<Counter<'b>>);

impl Progress for Passes<'_, '_> {
    fn report(&mut self, _: u64, _: u64, _: &str) -> Flow {
        // A poisoned counter is one whose thread has panicked: that panic is on its way already.
        self.0.lock().map_or(Flow::Cancel, |mut counter| counter.tell(0))
    }
}

impl Job<'_> {
    /// The number of cells that are left.
    pub fn len(&self) -> u64 {
        self.groups.iter().map(|group| (group.cells.len() + group.broken.len()) as u64).sum()
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs all cells, as many at once as there are processors, and hands over the rows of each when it is done.
    fn each(
        &self,
        progress: &mut (dyn Progress + Send),
        take: &(dyn Fn(Vec<Row>) -> anyhow::Result<()> + Sync),
    ) -> anyhow::Result<()> {
        let counter = Mutex::new(Counter { done: 0, total: self.len(), progress, cancelled: false });
        let tell = |cells: u64| match counter.lock().map_or(Flow::Cancel, |mut counter| counter.tell(cells)) {
            Flow::Continue => Ok(()),
            Flow::Cancel => Err(anyhow::Error::from(Error::Cancelled)),
        };
        self.groups.iter().par_bridge().try_for_each(|group| {
            let broken = group.broken_rows(self.cells);
            if !broken.is_empty() {
                let cells = broken.len() as u64;
                take(broken)?;
                tell(cells)?;
            }
            if group.cells.is_empty() {
                return Ok(());
            }
            let shared = open(self.cells, group, self.files);
            group.cells.par_iter().try_for_each(|todo| {
                let began = Instant::now();
                let mut rows = todo.rows(self.cells, &shared, &mut Passes(&counter))?;
                let seconds = began.elapsed().as_secs_f64() / rows.len().max(1) as f64;
                rows.iter_mut().for_each(|row| row.seconds = seconds);
                take(rows)?;
                tell(1)
            })
        })
    }
}

/// Rows that are not written yet.
struct Waiting {
    rows: Vec<Row>,
    cells: u64,
    since: Instant,
}

/// Runs `job` and writes its rows to `folder`, part by part. What cannot be computed is a row that says why; the sweep
/// stops where `progress` asks for it or a part cannot be written. Parts that are written stay.
pub fn run(job: &Job<'_>, folder: &Folder, progress: &mut (dyn Progress + Send)) -> anyhow::Result<Tally> {
    let waiting = Mutex::new(Waiting { rows: Vec::new(), cells: 0, since: Instant::now() });
    let tally = Mutex::new(Tally::default());
    let poisoned = || Error::Internal("another thread has panicked".into());
    let take = |rows: Vec<Row>| {
        if let Ok(mut tally) = tally.lock() {
            tally.add(&rows);
        }
        let full = {
            let mut waiting = waiting.lock().map_err(|_| poisoned())?;
            waiting.rows.extend(rows);
            waiting.cells += 1;
            let full = waiting.cells >= PART_CELLS || waiting.since.elapsed() >= PART_TAKES;
            full.then(|| {
                (waiting.cells, waiting.since) = (0, Instant::now());
                std::mem::take(&mut waiting.rows)
            })
        };
        if let Some(rows) = full {
            folder.write(job.cells, &rows)?;
        }
        Ok(())
    };
    let ended = job.each(progress, &take);
    let rest = waiting.into_inner().map_err(|_| poisoned())?.rows;
    // What was computed is kept, also where the sweep was stopped; why it stopped is said first.
    let written = if rest.is_empty() { Ok(()) } else { folder.write(job.cells, &rest).map(|_| ()) };
    ended.and(written)?;
    Ok(tally.into_inner().map_err(|_| poisoned())?)
}

/// Runs `job` and keeps its rows, in no particular order.
pub fn rows(job: &Job<'_>, progress: &mut (dyn Progress + Send)) -> anyhow::Result<Vec<Row>> {
    let rows = Mutex::new(Vec::new());
    let poisoned = || Error::Internal("another thread has panicked".into());
    job.each(progress, &|made| {
        rows.lock().map_err(|_| poisoned())?.extend(made);
        Ok(())
    })?;
    Ok(rows.into_inner().map_err(|_| poisoned())?)
}

impl Tally {
    fn add(&mut self, rows: &[Row]) {
        self.rows += rows.len() as u64;
        for error in rows.iter().filter_map(|row| row.found.as_ref().err()) {
            self.failed += 1;
            let text = error.to_string();
            if self.errors.len() < SHOWN && !self.errors.contains(&text) {
                self.errors.push(text);
            }
        }
    }
}

/// What a sweep would take.
#[derive(Debug, Clone, Copy, Default)]
pub struct Price {
    /// Accesses of all traces.
    pub trace_accesses: u64,
    /// Accesses that policies are given, all together.
    pub accesses: u64,
    /// Seconds on all processors of this machine, expected from the first cell; none where it fails.
    pub seconds: Option<f64>,
}

/// Makes every trace of `job`, and runs one cell to see how long the others may take.
pub fn dry_run(job: &Job<'_>, progress: &mut (dyn Progress + Send)) -> anyhow::Result<Price> {
    let mut price = Price::default();
    let (mut making, mut running) = (Duration::ZERO, None);
    for (at, group) in (0..).zip(job.groups) {
        if progress.report(at, job.groups.len() as u64, "traces") == Flow::Cancel {
            return Err(Error::Cancelled.into());
        }
        let began = Instant::now();
        // What fails is a row of its own when the sweep is run.
        let Ok(shared) = open(job.cells, group, job.files) else { continue };
        making += began.elapsed();
        let accesses = shared.trace().summary().accesses;
        price.trace_accesses += accesses;
        let runs: usize = group.cells.iter().map(|todo| todo.policies.len()).sum();
        price.accesses += accesses * runs as u64;
        if running.is_none()
            && let Some(todo) = group.cells.first()
        {
            let began = Instant::now();
            let shared = Ok(shared);
            let rows = todo.rows(job.cells, &shared, &mut accel_core::progress::Unattended)?;
            if rows.iter().all(|row| row.found.is_ok()) {
                let each = (rows.len() as u64 * accesses).max(1);
                running = Some(began.elapsed().as_secs_f64() / each as f64);
            }
        }
    }
    let threads = rayon::current_num_threads() as f64;
    price.seconds = running.map(|each| (making.as_secs_f64() + each * price.accesses as f64) / threads);
    Ok(price)
}
