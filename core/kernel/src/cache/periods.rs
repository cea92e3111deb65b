//! Warping (Morelli and Reineke, "Warping Cache Simulation of Polyhedral Programs", PLDI 2022): where a loop finds the
//! cache as some iterations ago, only with the lines of each array moved as far as the loop has moved its accesses
//! since, it will miss again as it did since then, and so on; all but the rest can be skipped.

use super::lru::{Line, Lru};
use super::meter::Meter;
use super::plan::Period;
use super::totals::Totals;
use accel_ground::error::Error;

/// Looks for such iterations in one run of a loop.
#[derive(Debug)]
pub(super) struct Periods<'p> {
    period: &'p Period,
    /// Iterations between looks, a multiple of the period.
    length: u64,
    /// What was found then; replaced when a quarter more iterations have passed, so that a start that is not like the
    /// rest is left behind, and when keeping it costs no more than a share of running.
    seen: Option<Seen>,
    /// From this work of the meter on, looking again costs little beside what was done.
    due: u64,
    /// The meter when the loop began.
    start: u64,
    done: bool,
}

#[derive(Debug)]
struct Seen {
    round: u64,
    /// The meter then.
    spent: u64,
    lines: Vec<Line>,
    totals: Totals,
}

impl<'p> Periods<'p> {
    pub(super) fn new(period: &'p Period, length: u64, meter: &Meter<'_>) -> Self {
        Self { period, length, seen: None, due: 0, start: meter.spent(), done: false }
    }

    /// Whether [`Self::skip`] would look at the cache before `round`.
    pub(super) fn is_due(&self, round: u64, lru: &Lru, totals: &Totals, meter: &Meter<'_>) -> bool {
        // The first look waits until as much work is done as it takes.
        let first = self.start.saturating_add((lru.len() + totals.misses.len()) as u64);
        !self.done && round != 0 && round.is_multiple_of(self.length) && meter.spent() >= self.due.max(first)
    }

    /// How many iterations can be skipped before `round`, if a look is due, after which `left` iterations can follow at most; they are
    /// counted and the cache is brought to where they leave it.
    pub(super) fn skip(
        &mut self,
        round: u64,
        left: u64,
        lru: &mut Lru,
        totals: &mut Totals,
        meter: &mut Meter<'_>,
    ) -> Result<u64, Error> {
        if let Some(seen) = &self.seen {
            let since = round - seen.round;
            let mut looked = 0;
            if left >= since && self.repeats(seen, since, lru, &mut looked) {
                let times = left / since;
                let periods = (times * since / self.period.rounds) as i64;
                totals.repeat(&seen.totals, times);
                lru.shift(|array| self.period.moved(array, periods));
                meter.spend(lru.len() as u64)?;
                self.done = true;
                self.seen = None;
                return Ok(times * since);
            }
            meter.spend(looked)?;
            // Four times the work of a look must pass before the next.
            self.due = meter.spent() + 4 * looked;
        }
        let old = |seen: &Seen| {
            round - seen.round >= seen.round.div_ceil(4) && meter.spent() - seen.spent >= 4 * lru.len() as u64
        };
        if self.seen.as_ref().is_none_or(old) {
            let lines: Vec<Line> = lru.lines().collect();
            meter.spend(lines.len() as u64)?;
            self.seen = Some(Seen { round, spent: meter.spent(), lines, totals: totals.clone() });
        }
        Ok(0)
    }

    fn repeats(&self, seen: &Seen, since: u64, lru: &Lru, looked: &mut u64) -> bool {
        let periods = (since / self.period.rounds) as i64;
        lru.len() == seen.lines.len()
            && lru.lines().zip(&seen.lines).all(|(now, then)| {
                *looked += 1;
                let number = then.number.wrapping_add_signed(self.period.moved(then.array, periods));
                now == Line { number, ..*then }
            })
    }
}
