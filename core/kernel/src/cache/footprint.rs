//! The lines that a program touches at all: its compulsory misses, exactly.
//!
//! A line's first touch needs no cache to be found, and [`Sparse`] skips what touches nothing new. The same walk proves
//! all subscripts to lie within their arrays.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::chance;
use super::meter::{EVALUATION, Meter};
use super::plan::{CachePlan, Touch};
use super::run::{Cursor, each_round};
use super::sparse::{Sparse, Turn, Visitor};
use super::sweep::Sweep;
use accel_ground::error::Error;

/// Lines of a page.
const PAGE: u64 = 4096;
/// So many pages one after another are kept as a range.
const LONG: u64 = 16;
/// Pages that are not full take memory; so many of them take 128 MiB.
const MAX_PART_FULL: usize = 1 << 18;
/// Full ones take a place in a table; so many of them are 256 GiB in lines of 64 bytes.
const MAX_PAGES: usize = 1 << 20;

/// So many accesses of a loop are compared with each other.
const MOST_COMPARED: usize = 64;

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
    /// Long ranges of full pages: the first of each, and the first behind it. No two meet.
    ranges: BTreeMap<u64, u64>,
    /// Other pages.
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
        // Whole pages of a long range.
        let (first, end) = (from.div_ceil(PAGE), (to + 1) / PAGE);
        if end.saturating_sub(first) >= LONG {
            let mut added = self.add_pages(first, end);
            if from < first * PAGE {
                added += self.add(from, first * PAGE - 1);
            }
            if to >= end * PAGE {
                added += self.add(end * PAGE, to);
            }
            return added;
        }
        let mut added = 0;
        for page in from / PAGE..=to / PAGE {
            if self.range(page).is_some() {
                continue;
            }
            let low = from.max(page * PAGE) % PAGE;
            let high = to.min(page * PAGE + PAGE - 1) % PAGE;
            added += self.add_within(page, low, high);
        }
        added
    }

    /// The long range that holds a page.
    fn range(&self, page: u64) -> Option<(u64, u64)> {
        let before = self.ranges.range(..=page).next_back();
        before.map(|(first, end)| (*first, *end)).filter(|(_, end)| page < *end)
    }

    /// Adds the pages `first..end` and returns how many of their lines were new.
    fn add_pages(&mut self, first: u64, end: u64) -> u64 {
        if self.range(first).is_some_and(|(_, behind)| end <= behind) {
            return 0;
        }
        let mut known = 0;
        let part_full = &mut self.part_full;
        let mut take = |page: Page| match page {
            Page::Full => known += PAGE,
            Page::Part(bits) => {
                known += bits.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
                *part_full -= 1;
            }
        };
        if (self.pages.len() as u64) < end - first {
            let inside: Vec<u64> = self.pages.keys().copied().filter(|page| (first..end).contains(page)).collect();
            inside.iter().filter_map(|page| self.pages.remove(page)).for_each(&mut take);
        } else {
            (first..end).filter_map(|page| self.pages.remove(&page)).for_each(&mut take);
        }
        let (mut low, mut high) = (first, end);
        while let Some((from, to)) = self.range(low).or_else(|| {
            let next = self.ranges.range(low..=high).next();
            next.map(|(from, to)| (*from, *to))
        }) {
            self.ranges.remove(&from);
            known += to.min(end).saturating_sub(from.max(first)) * PAGE;
            (low, high) = (low.min(from), high.max(to));
        }
        self.ranges.insert(low, high);
        (end - first) * PAGE - known
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

/// Whether no line is touched from two lines of the source.
fn are_told_apart(sweeps: &[(&Sweep, (u64, u64))]) -> bool {
    sweeps.iter().enumerate().all(|(index, (a, (low, high)))| {
        let others = sweeps.iter().skip(index + 1).filter(|(b, _)| b.array == a.array && b.source != a.source);
        others.into_iter().all(|(_, (from, to))| to < low || high < from)
    })
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
        if plan.random && finder.drawn(plan)? {
            return Ok(finder.found);
        }
        let mut values = plan.values.clone();
        for step in &plan.steps {
            let mut sweeps = Vec::new();
            if Sweep::collect(plan, std::slice::from_ref(step), &plan.values, &mut sweeps) {
                let lines: Vec<_> = sweeps.iter().map(|own| (own, own.lines(plan.line_bytes))).collect();
                if are_told_apart(&lines) {
                    for (own, (low, high)) in lines {
                        finder.add(own.write, own.source, low, high)?;
                    }
                    continue;
                }
            }
            let steps = std::slice::from_ref(step);
            let mut walk = Sparse::new(plan, values, Turn::First { check: true }, &mut finder);
            walk.steps(steps, 0)?;
            values = walk.into_values();
        }
        Ok(finder.found)
    }
}

impl Finder<'_, '_> {
    /// Adds what a program touches that goes through some arrays and draws from others, many times: as many of these as
    /// are expected. False where it does anything else.
    fn drawn(&mut self, plan: &CachePlan<'_>) -> Result<bool, Error> {
        let (mut sweeps, mut draws) = (Vec::new(), Vec::new());
        // Arrays that a step before went through, and whether it wrote them.
        let mut whole: BTreeMap<u32, bool> = BTreeMap::new();
        for step in &plan.steps {
            let (before, steps) = (sweeps.len(), std::slice::from_ref(step));
            let mut own = Vec::new();
            if !Sweep::and_draws(plan, steps, &plan.values, &mut sweeps, &mut own) {
                return Ok(false);
            }
            // Where all is there, and changed if they change it, they add nothing.
            own.retain(|(touch, _)| whole.get(&touch.array).is_none_or(|written| touch.write && !written));
            draws.append(&mut own);
            for (_, own) in sweeps.iter().skip(before) {
                let (low, high) = own.lines(plan.line_bytes);
                if high - low + 1 == plan.lines_of(own.array) {
                    *whole.entry(own.array).or_default() |= own.write;
                }
            }
        }
        let lines: Vec<_> = sweeps.iter().map(|(_, own)| (own, own.lines(plan.line_bytes))).collect();
        let all = chance::by_array(plan, &draws, 1.0);
        if !are_told_apart(&lines)
            || lines.iter().any(|(own, _)| all.contains_key(&own.array))
            || chance::too_few(&all, plan.lines)
        {
            return Ok(false);
        }
        for (own, (low, high)) in lines {
            self.add(own.write, own.source, low, high)?;
        }
        for own in all.values() {
            let [touched, written] = own.touched().map(|lines| lines.round() as u64);
            self.found.lines += touched;
            self.found.written += written;
            let mut left = touched;
            for (source, draws) in &own.by_source {
                let first = ((touched as f64 * own.share(*draws)).round() as u64).min(left);
                left -= first;
                if let Some(own) = self.found.first.get_mut(*source as usize) {
                    *own += first;
                }
            }
        }
        Ok(true)
    }

    fn add(&mut self, write: bool, source: u32, from: u64, to: u64) -> Result<(), Error> {
        self.meter.spend(1 + ((to - from) / PAGE).min(LONG))?;
        let added = self.touched.add(from, to);
        self.found.lines += added;
        if let Some(first) = self.found.first.get_mut(source as usize) {
            *first += added;
        }
        if write {
            self.found.written += self.written.add(from, to);
        }
        if self.touched.part_full > MAX_PART_FULL || self.touched.pages.len() + self.touched.ranges.len() > MAX_PAGES {
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

/// Whether accesses of different lines of the source touch no line in common.
fn are_apart(runs: &[Cursor], rounds: u64, line_bytes: u64) -> bool {
    if runs.len() > MOST_COMPARED || !runs.iter().all(|run| run.moves_within(line_bytes)) {
        return false;
    }
    runs.iter().enumerate().all(|(index, a)| {
        let (low, high) = a.lines((0, rounds), line_bytes);
        runs.iter().skip(index + 1).filter(|b| b.source != a.source).all(|b| {
            let (from, to) = b.lines((0, rounds), line_bytes);
            to < low || high < from
        })
    })
}

impl Visitor for Finder<'_, '_> {
    fn step(&mut self) -> Result<(), Error> {
        self.meter.spend(EVALUATION)
    }

    fn touch(&mut self, touch: &Touch<'_>, line: u64) -> Result<(), Error> {
        self.meter.spend(touch.evaluation())?;
        self.add(touch.write, touch.source, line, line)
    }

    fn runs(&mut self, plan: &CachePlan<'_>, runs: &mut [Cursor], rounds: u64) -> Result<(), Error> {
        // Where all are of one line of the source, or touch lines of their own, who of them was first makes no
        // difference, so each goes by itself.
        if runs.iter().all(|run| Some(run.source) == runs.first().map(|first| first.source))
            || are_apart(runs, rounds, plan.line_bytes)
        {
            runs.iter_mut().try_for_each(|run| self.sweep(plan, run, rounds))
        } else {
            self.by_round(plan, runs, rounds)
        }
    }
}
