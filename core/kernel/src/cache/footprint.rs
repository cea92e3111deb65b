//! The lines that a program touches at all: its compulsory misses, exactly.
//!
//! A line's first touch needs no cache to be found, and [`Sparse`] skips what touches nothing new. The same walk proves
//! all subscripts to lie within their arrays.

use rustc_hash::FxHashMap;

use super::meter::Meter;
use super::plan::{CachePlan, Touch};
use super::run::{Cursor, each_round};
use super::sparse::{Sparse, Turn, Visitor};
use accel_ground::error::Error;

/// Lines of a page.
const PAGE: u64 = 4096;
/// Pages that are not full take memory; so many of them take 128 MiB.
const MAX_PART_FULL: usize = 1 << 18;
/// Full ones take a place in a table; so many of them are 256 GiB in lines of 64 bytes.
const MAX_PAGES: usize = 1 << 20;

/// The lines touched.
#[derive(Debug, Default)]
pub(super) struct Footprint {
    /// How many there are.
    pub(super) lines: u64,
    /// How many of them are written to.
    pub(super) written: u64,
    /// By index into [`CachePlan::sources`]: who touched them first.
    pub(super) first: Vec<u64>,
    /// Whether these are all lines of all arrays, of which fewer may be touched.
    pub(super) at_most: bool,
}

/// A set of lines.
#[derive(Debug, Default)]
struct Lines {
    pages: FxHashMap<u64, Page>,
    part_full: usize,
}

#[derive(Debug)]
enum Page {
    Full,
    Part(Box<[u64; PAGE as usize / 64]>),
}

impl Lines {
    /// Adds `from..=to` and returns how many were new.
    fn add(&mut self, from: u64, to: u64) -> u64 {
        let mut added = 0;
        for page in from / PAGE..=to / PAGE {
            let low = from.max(page * PAGE) % PAGE;
            let high = to.min(page * PAGE + PAGE - 1) % PAGE;
            added += self.add_within(page, low, high);
        }
        added
    }

    fn add_within(&mut self, number: u64, low: u64, high: u64) -> u64 {
        let page = self.pages.entry(number).or_insert_with(|| {
            self.part_full += 1;
            Page::Part(Box::new([0; PAGE as usize / 64]))
        });
        let Page::Part(bits) = page else { return 0 };
        let mut added = 0;
        for (word, base) in
            bits.iter_mut().zip((0..).step_by(64)).skip(low as usize / 64).take((high / 64 - low / 64 + 1) as usize)
        {
            let from = low.max(base) - base;
            let to = high.min(base + 63) - base;
            let mask = (u64::MAX >> (63 - to)) & (u64::MAX << from);
            added += u64::from((mask & !*word).count_ones());
            *word |= mask;
        }
        if low == 0 && high == PAGE - 1 || (added > 0 && bits.iter().all(|word| *word == u64::MAX)) {
            *page = Page::Full;
            self.part_full -= 1;
        }
        added
    }
}

fn too_many() -> Error {
    Error::TooLarge {
        problem: "the kernel touches more cache lines than can be distinguished".into(),
        cure: "Use smaller parameters".into(),
    }
}

#[derive(Debug)]
struct Finder<'m, 'p> {
    touched: Lines,
    written: Lines,
    found: Footprint,
    meter: &'p mut Meter<'m>,
}

impl Footprint {
    /// The lines touched, or, where finding them takes too long, all lines there are.
    pub(super) fn of(plan: &CachePlan<'_>, meter: &mut Meter<'_>) -> Result<Self, Error> {
        match Self::exact(plan, meter) {
            Err(Error::TooLarge { .. }) => {
                let first = vec![0; plan.sources.len()];
                Ok(Self { lines: plan.lines, written: plan.lines, first, at_most: true })
            }
            found => found,
        }
    }

    fn exact(plan: &CachePlan<'_>, meter: &mut Meter<'_>) -> Result<Self, Error> {
        let found = Self { first: vec![0; plan.sources.len()], ..Self::default() };
        let mut finder = Finder { touched: Lines::default(), written: Lines::default(), found, meter };
        Sparse::new(plan, plan.values.clone(), Turn::First { check: true }, &mut finder).steps(&plan.steps, 0)?;
        Ok(finder.found)
    }
}

impl Finder<'_, '_> {
    fn add(&mut self, write: bool, source: u32, from: u64, to: u64) -> Result<(), Error> {
        // Known before they fill the memory.
        if (to - from) / PAGE > MAX_PAGES as u64 {
            return Err(too_many());
        }
        self.meter.spend(1 + (to - from) / PAGE)?;
        let added = self.touched.add(from, to);
        self.found.lines += added;
        if let Some(first) = self.found.first.get_mut(source as usize) {
            *first += added;
        }
        if write {
            self.found.written += self.written.add(from, to);
        }
        if self.touched.part_full > MAX_PART_FULL || self.touched.pages.len() > MAX_PAGES {
            return Err(too_many());
        }
        Ok(())
    }

    /// Adds all lines of one access.
    fn sweep(&mut self, plan: &CachePlan<'_>, run: &mut Cursor, rounds: u64) -> Result<(), Error> {
        if let Some((from, to)) = run.lines_without_gaps(rounds, plan.line_bytes) {
            return self.add(run.write, run.source, from, to);
        }
        self.by_round(plan, std::slice::from_mut(run), rounds)
    }

    fn by_round(&mut self, plan: &CachePlan<'_>, runs: &mut [Cursor], rounds: u64) -> Result<(), Error> {
        each_round(plan, runs, (0, rounds), |runs, _| {
            runs.iter().try_for_each(|run| self.add(run.write, run.source, run.line, run.line))
        })
    }
}

impl Visitor for Finder<'_, '_> {
    fn step(&mut self) -> Result<(), Error> {
        self.meter.spend(1)
    }

    fn touch(&mut self, touch: &Touch<'_>, line: u64) -> Result<(), Error> {
        self.add(touch.write, touch.source, line, line)
    }

    fn runs(&mut self, plan: &CachePlan<'_>, runs: &mut [Cursor], rounds: u64) -> Result<(), Error> {
        // Where all are of one line of the source, who of them was first makes no difference, so each goes by itself.
        if runs.iter().all(|run| Some(run.source) == runs.first().map(|first| first.source)) {
            runs.iter_mut().try_for_each(|run| self.sweep(plan, run, rounds))
        } else {
            self.by_round(plan, runs, rounds)
        }
    }
}
