//! The exact way for long streams: every touch of another line goes through an LRU cache; where iterations of a loop
//! repeat, they are skipped.

use super::lru::{Lru, MAX_TABLE};
use super::meter::{EVALUATION, Meter, too_long};
use super::periods::Periods;
use super::plan::{CachePlan, PlanLoop, Step, Touch};
use super::run::{Cursor, cursors, each_round};
use super::sparse::{Sparse, Turn, Visitor};
use super::stream::{Stream, held};
use super::totals::Totals;
use accel_ground::error::Error;

/// Iterations of a straight loop are looked at this many periods at a time: a look must cost little beside them.
const PERIODS_AT_A_TIME: u64 = 64;
/// In straight loops of fewer looks than this, it is the loops around that matter.
const MIN_CHUNKS: u64 = 4;

/// Whether an outermost loop of which nothing can be skipped will come to its end shows when this part of the work is
/// done.
const ENOUGH: u64 = 8;
/// Where loops within it decide how long an iteration takes, the first ones may take up to so many times the mean:
/// twice in a triangle, three times in a pyramid.
const UNLIKE: u128 = 4;

#[derive(Debug)]
pub(super) struct Replay<'p, 'a, 'm> {
    plan: &'p CachePlan<'a>,
    values: Vec<i64>,
    /// What the cache holds, but for `flushed`.
    lru: Lru,
    /// A loop that left nothing in the cache but lines of its own, which are not yet in `lru`.
    flushed: Option<Flushed<'p, 'a>>,
    capacity: u64,
    totals: Totals,
    /// Whether iterations were skipped.
    skipped: bool,
    meter: &'p mut Meter<'m>,
    /// Work per touch.
    touch: u64,
    /// Kept for its memory.
    cursors: Vec<Cursor>,
}

/// A loop that went by in closed form, and where.
#[derive(Debug)]
struct Flushed<'p, 'a> {
    stream: Stream,
    l: &'p PlanLoop<'a>,
    first: i64,
    values: Vec<i64>,
}

/// A touch takes about so many times longer where a hash map finds the line, or where it is not near the one before.
const HASHED: u64 = 4;

impl<'p, 'a, 'm> Replay<'p, 'a, 'm> {
    /// The counts of the whole program in a cache of `capacity` lines, and whether iterations were skipped.
    pub(super) fn run(
        plan: &'p CachePlan<'a>,
        capacity: u64,
        meter: &'p mut Meter<'m>,
    ) -> Result<(Totals, bool), Error> {
        let lru = Lru::new(usize::try_from(capacity).unwrap_or(usize::MAX), plan.lines);
        let totals = Totals { misses: vec![0; plan.sources.len()], write_backs: 0 };
        let values = plan.values.clone();
        let touch = if plan.lines > MAX_TABLE || plan.random { HASHED } else { 1 };
        let cursors = Vec::new();
        let mut replay =
            Replay { plan, values, lru, flushed: None, capacity, totals, skipped: false, meter, touch, cursors };
        replay.steps(&plan.steps)?;
        Ok((replay.totals, replay.skipped))
    }

    /// Whether there is a loop in `steps` of which iterations may be skipped.
    pub(super) fn may_skip(steps: &[Step<'_>], capacity: u64) -> bool {
        steps.iter().any(|step| match step {
            Step::Loop(l) => {
                let chunk = if l.straight { PERIODS_AT_A_TIME * MIN_CHUNKS } else { 1 };
                l.period.as_ref().is_some_and(|period| l.most / period.rounds > chunk)
                    || (l.sparse && l.lines <= capacity)
                    || Self::may_skip(&l.body, capacity)
            }
            Step::Branch(branch) => {
                Self::may_skip(&branch.then, capacity) || Self::may_skip(&branch.otherwise, capacity)
            }
            Step::Touch(_) => false,
        })
    }

    fn steps(&mut self, steps: &'p [Step<'a>]) -> Result<(), Error> {
        for step in steps {
            match step {
                Step::Loop(l) => self.repeat(l)?,
                Step::Branch(branch) => {
                    self.meter.spend(EVALUATION)?;
                    let arm = self.plan.arm(branch, &self.values)?;
                    self.steps(arm)?;
                }
                Step::Touch(touch) => {
                    let line = self.plan.line(touch, &self.values)?;
                    self.settle()?;
                    self.meter.spend(self.touch + touch.evaluation())?;
                    touch_line(&mut self.lru, &mut self.totals, line, touch.array, touch.write, touch.source);
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, l: &PlanLoop<'_>, first: i64, round: u64) {
        if let Some(var) = self.values.get_mut(l.var) {
            *var = first.wrapping_add(l.step.wrapping_mul(round as i64));
        }
    }

    fn repeat(&mut self, l: &'p PlanLoop<'a>) -> Result<(), Error> {
        self.meter.spend(EVALUATION)?;
        let (first, rounds) = self.plan.rounds(l, &self.values)?;
        if rounds == 0 {
            return Ok(());
        }
        self.set(l, first, 0);
        if l.lines >= self.capacity && self.stream(l, first, rounds)? {
            return Ok(());
        }
        if l.straight {
            return self.straight(l, rounds);
        }
        if l.sparse && l.lines <= self.capacity {
            return self.fits(l);
        }
        let mut periods = l.period.as_ref().map(|period| Periods::new(period, period.rounds, self.meter));
        let (begun, allowed) = (self.meter.spent(), self.meter.left());
        let mut round = 0;
        while round < rounds {
            round += self.skip(periods.as_mut(), round, rounds)?;
            self.set(l, first, round);
            self.steps(&l.body)?;
            round += 1;
            let spent = self.meter.spent() - begun;
            if l.depth == 1 && periods.is_none() && spent > allowed / ENOUGH {
                let all = u128::from(spent) * u128::from(rounds) / u128::from(round);
                let alike = l.kinds.iter().all(|kind| kind.domain == 0);
                if all > u128::from(allowed) * if alike { 1 } else { UNLIKE } {
                    return Err(too_long());
                }
            }
        }
        Ok(())
    }

    /// A loop whose lines all fit. None of them leaves before the loop ends, so what misses is decided by the first
    /// touch of each alone; and the order of use that the loop leaves behind by the last touch of each.
    fn fits(&mut self, l: &'p PlanLoop<'a>) -> Result<(), Error> {
        self.settle()?;
        self.meter.spend(self.values.len() as u64)?;
        self.skipped = true;
        let plan = self.plan;
        for turn in [Turn::First { check: false }, Turn::Last] {
            let values = self.values.clone();
            Sparse::new(plan, values, turn, self).repeat(l, 0)?;
        }
        Ok(())
    }

    fn straight(&mut self, l: &'p PlanLoop<'a>, rounds: u64) -> Result<(), Error> {
        let mut runs = std::mem::take(&mut self.cursors);
        cursors(l, &self.values, |_| true, &mut runs);
        self.settle()?;
        let period = l.period.as_ref().map(|period| (period, period.rounds * PERIODS_AT_A_TIME));
        let mut periods = None;
        let mut chunk = rounds;
        if let Some((period, length)) = period.filter(|(_, length)| rounds / length >= MIN_CHUNKS) {
            periods = Some(Periods::new(period, length, self.meter));
            chunk = length;
        }
        let mut round = 0;
        while round < rounds {
            round += self.skip(periods.as_mut(), round, rounds)?;
            let to = rounds.min(round.saturating_add(chunk));
            self.rounds(&mut runs, (round, to))?;
            round = to;
        }
        self.cursors = runs;
        Ok(())
    }

    /// A loop that goes through more lines than the cache holds, each once, before it comes to one that may be there:
    /// each line is a miss. False where it is not known to be one.
    fn stream(&mut self, l: &'p PlanLoop<'a>, first: i64, rounds: u64) -> Result<bool, Error> {
        let own = Stream::new(self.plan, l, &self.values, rounds).filter(|own| own.fills(self.capacity));
        self.meter.spend(l.body.len() as u64)?;
        let Some(stream) = own else { return Ok(false) };
        let held = match &self.flushed {
            Some(before) => before.stream.left(self.capacity),
            None => {
                self.meter.spend(self.lru.len() as u64 / 4)?;
                held(&self.lru)
            }
        };
        if !stream.misses_all(&held, self.capacity) {
            return Ok(false);
        }
        self.skipped = true;
        stream.count(&mut self.totals);
        self.flushed = Some(Flushed { stream, l, first, values: self.values.clone() });
        Ok(true)
    }

    /// Brings the cache to where the last loop left it.
    fn settle(&mut self) -> Result<(), Error> {
        let Some(Flushed { stream, l, first, values }) = self.flushed.take() else { return Ok(()) };
        self.lru.clear();
        self.meter.spend(self.capacity)?;
        let totals = self.totals.clone();
        let values = std::mem::replace(&mut self.values, values);
        let last = stream.last(self.capacity);
        if l.straight {
            let mut runs = Vec::new();
            cursors(l, &self.values, |_| true, &mut runs);
            self.rounds(&mut runs, (last.start, last.end))?;
        } else {
            for round in last {
                self.set(l, first, round);
                self.steps(&l.body)?;
            }
        }
        (self.values, self.totals) = (values, totals);
        Ok(())
    }

    fn rounds(&mut self, runs: &mut [Cursor], range: (u64, u64)) -> Result<(), Error> {
        let Self { plan, lru, totals, meter, capacity, touch, .. } = self;
        let all_stay = *capacity >= runs.len() as u64;
        each_round(plan, runs, range, |runs, rounds| {
            // Where the cache holds all lines of an iteration, the next iteration with the same lines hits and changes
            // nothing.
            for _ in 0..if all_stay { 1 } else { rounds } {
                meter.spend(*touch * runs.len() as u64)?;
                for run in runs {
                    touch_line(lru, totals, run.line, run.array, run.write, run.source);
                }
            }
            Ok(())
        })
    }

    /// How many rounds to skip before `round`: they repeat what was counted already.
    fn skip(&mut self, periods: Option<&mut Periods<'_>>, round: u64, rounds: u64) -> Result<u64, Error> {
        let Some(periods) = periods else { return Ok(0) };
        if !periods.is_due(round, &self.lru, &self.totals, self.meter) {
            return Ok(0);
        }
        self.settle()?;
        // One iteration stays to be run, so that the loop leaves its variables and lines as it would have.
        let skipped = periods.skip(round, rounds - 1 - round, &mut self.lru, &mut self.totals, self.meter)?;
        self.skipped |= skipped > 0;
        Ok(skipped)
    }
}

impl Visitor for Replay<'_, '_, '_> {
    fn step(&mut self) -> Result<(), Error> {
        self.meter.spend(EVALUATION)
    }

    fn touch(&mut self, touch: &Touch<'_>, line: u64) -> Result<(), Error> {
        self.meter.spend(self.touch + touch.evaluation())?;
        touch_line(&mut self.lru, &mut self.totals, line, touch.array, touch.write, touch.source);
        Ok(())
    }

    fn runs(&mut self, _plan: &CachePlan<'_>, runs: &mut [Cursor], rounds: u64) -> Result<(), Error> {
        self.rounds(runs, (0, rounds))
    }
}

#[inline]
fn touch_line(lru: &mut Lru, totals: &mut Totals, line: u64, array: u32, write: bool, source: u32) {
    let touched = lru.touch(line, array, write);
    if touched.missed
        && let Some(misses) = totals.misses.get_mut(source as usize)
    {
        *misses += 1;
    }
    totals.write_backs += u128::from(touched.changed);
}
