//! The lines that a program touches at all: its compulsory misses, exactly.
//!
//! A line's first touch needs no cache to be found, and most rounds touch nothing new: where a loop neither moves an
//! access nor decides whether it happens, all its rounds touch what the first one did. So each access is followed
//! through the first rounds of such loops only.
//!
//! The same walk proves all subscripts to lie within their arrays.

use rustc_hash::FxHashMap;

use super::meter::Meter;
use super::plan::{Depths, Kind, Loop, Plan, Step, Touch};
use super::run::{Cursor, cursors, each_round};
use crate::error::Error;

/// Lines of a page.
const PAGE: u64 = 4096;
/// Pages that are not full take memory; so many of them take 128 MiB.
const MAX_PART_FULL: usize = 1 << 18;
/// Full ones take a place in a table; so many of them are a terabyte in lines of 64 bytes.
const MAX_PAGES: usize = 1 << 22;

/// The lines touched.
#[derive(Debug, Default)]
pub(super) struct Footprint {
    /// How many there are.
    pub(super) lines: u64,
    /// How many of them are written to.
    pub(super) written: u64,
    /// By index into [`Plan::sources`]: who touched them first.
    pub(super) first: Vec<u64>,
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

#[derive(Debug)]
struct Walk<'p, 'a, 'm> {
    plan: &'p Plan<'a>,
    values: Vec<i64>,
    touched: Lines,
    written: Lines,
    found: Footprint,
    meter: &'p mut Meter<'m>,
    /// Kept for its memory.
    cursors: Vec<Cursor>,
}

impl Footprint {
    pub(super) fn of<'a>(plan: &Plan<'a>, meter: &mut Meter<'_>) -> Result<Self, Error> {
        let found = Self { first: vec![0; plan.sources.len()], ..Self::default() };
        let (touched, written) = (Lines::default(), Lines::default());
        let mut walk = Walk { plan, values: plan.values.clone(), touched, written, found, meter, cursors: Vec::new() };
        walk.steps(&plan.steps, 0)?;
        Ok(walk.found)
    }
}

/// Whether a touch may be new while the loops `past` are past their first rounds.
fn alive(kind: Kind, past: Depths) -> bool {
    past & !kind.mentions == 0
}

impl<'p, 'a> Walk<'p, 'a, '_> {
    fn steps(&mut self, steps: &'p [Step<'a>], past: Depths) -> Result<(), Error> {
        for step in steps {
            match step {
                Step::Loop(l) if l.kinds.iter().any(|kind| alive(*kind, past)) => self.repeat(l, past)?,
                Step::Loop(_) => {}
                Step::Branch(branch) => {
                    self.meter.spend(1)?;
                    let arm = self.plan.arm(branch, &self.values)?;
                    self.steps(arm, past)?;
                }
                Step::Touch(touch) if alive(touch.kind, past) => {
                    self.check(touch)?;
                    let line = self.plan.line(touch, &self.values)?;
                    self.add(touch.write, touch.source, line, line)?;
                }
                Step::Touch(_) => {}
            }
        }
        Ok(())
    }

    fn check(&mut self, touch: &Touch<'_>) -> Result<(), Error> {
        if touch.doubtful { self.plan.check(touch, &self.values) } else { Ok(()) }
    }

    fn add(&mut self, write: bool, source: u32, from: u64, to: u64) -> Result<(), Error> {
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
            return Err(Error::TooLarge {
                problem: "the kernel touches more cache lines than can be told apart".into(),
                cure: "Use smaller parameters".into(),
            });
        }
        Ok(())
    }

    fn set(&mut self, l: &Loop<'_>, first: i64, round: u64) {
        if let Some(var) = self.values.get_mut(l.var) {
            *var = first.wrapping_add(l.step.wrapping_mul(round as i64));
        }
    }

    fn repeat(&mut self, l: &'p Loop<'a>, past: Depths) -> Result<(), Error> {
        self.meter.spend(1)?;
        let (first, rounds) = self.plan.rounds(l, &self.values)?;
        if rounds == 0 {
            return Ok(());
        }
        if l.straight {
            return self.straight(l, first, rounds, past);
        }
        self.set(l, first, 0);
        self.steps(&l.body, past)?;
        let past = past | l.depth;
        if !l.kinds.iter().any(|kind| alive(*kind, past)) {
            return Ok(());
        }
        self.set(l, first, 0);
        if let Some(runs) = self.flat(l, past)? {
            return self.runs(runs, rounds);
        }
        for round in 1..rounds {
            self.set(l, first, round);
            self.steps(&l.body, past)?;
        }
        Ok(())
    }

    /// The accesses that may still be new after the first round of `l`, where none of them mentions a loop further in:
    /// then the loops within do not matter, and `l` is as good as straight.
    fn flat(&mut self, l: &'p Loop<'a>, past: Depths) -> Result<Option<Vec<Cursor>>, Error> {
        let further_in = !(l.depth | (l.depth - 1));
        let mut kinds = l.kinds.iter().filter(|kind| alive(**kind, past));
        if kinds.any(|kind| kind.domain & l.depth != 0 || kind.mentions & further_in != 0) {
            return Ok(None);
        }
        let mut runs = std::mem::take(&mut self.cursors);
        runs.clear();
        if self.flatten(l, &l.body, past, &mut runs)? {
            return Ok(Some(runs));
        }
        self.cursors = runs;
        Ok(None)
    }

    /// Collects the accesses of `steps` in the first rounds of the loops within; false where one is not even.
    fn flatten(
        &mut self,
        l: &'p Loop<'a>,
        steps: &'p [Step<'a>],
        past: Depths,
        runs: &mut Vec<Cursor>,
    ) -> Result<bool, Error> {
        for step in steps {
            let even = match step {
                Step::Loop(inner) if inner.kinds.iter().any(|kind| alive(*kind, past)) => {
                    let (first, rounds) = self.plan.rounds(inner, &self.values)?;
                    self.set(inner, first, 0);
                    rounds == 0 || self.flatten(l, &inner.body, past, runs)?
                }
                Step::Branch(branch) => {
                    let arm = self.plan.arm(branch, &self.values)?;
                    self.flatten(l, arm, past, runs)?
                }
                Step::Touch(touch) if alive(touch.kind, past) => {
                    let run = Cursor::new(touch, l.var, l.step, &self.values).filter(|_| !touch.doubtful);
                    runs.extend(run);
                    run.is_some()
                }
                Step::Loop(_) | Step::Touch(_) => true,
            };
            if !even {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn straight(&mut self, l: &'p Loop<'a>, first: i64, rounds: u64, past: Depths) -> Result<(), Error> {
        // Subscripts that move evenly are within the array all the way if they are at both ends.
        for round in [rounds - 1, 0] {
            self.set(l, first, round);
            for step in l.body.iter().filter(|_| l.doubtful) {
                if let Step::Touch(touch) = step {
                    self.check(touch)?;
                }
            }
        }
        let mut runs = std::mem::take(&mut self.cursors);
        cursors(l, &self.values, |touch| alive(touch.kind, past), &mut runs);
        self.runs(runs, rounds)
    }

    /// Adds what `runs` touch in their rounds.
    fn runs(&mut self, mut runs: Vec<Cursor>, rounds: u64) -> Result<(), Error> {
        let one_source = runs.iter().all(|run| Some(run.source) == runs.first().map(|first| first.source));
        if one_source {
            // Who of them was first makes no difference, so each can go by itself.
            for run in &mut runs {
                self.sweep(run, rounds)?;
            }
        } else {
            let plan = self.plan;
            each_round(plan, &mut runs, (0, rounds), |runs, _| {
                runs.iter().try_for_each(|run| self.add(run.write, run.source, run.line, run.line))
            })?;
        }
        self.cursors = runs;
        Ok(())
    }

    /// Adds all lines of one access.
    fn sweep(&mut self, run: &mut Cursor, rounds: u64) -> Result<(), Error> {
        if let Some((from, to)) = run.lines_without_gaps(rounds, self.plan.line_bytes) {
            return self.add(run.write, run.source, from, to);
        }
        let plan = self.plan;
        each_round(plan, std::slice::from_mut(run), (0, rounds), |runs, _| {
            runs.iter().try_for_each(|run| self.add(run.write, run.source, run.line, run.line))
        })
    }
}
