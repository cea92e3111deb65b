//! Long passes over arrays, in closed form: where a loop goes through more lines than a cache holds before it comes to
//! one that may be there, each of its lines misses, once.
//!
//! In each iteration the accesses of an array touch all lines of a window, which moves on by no more than its own length.
//! So what a line is touched for lies in iterations one after another, and a cache that holds two iterations keeps it
//! as long as that.

use std::collections::BTreeMap;

use super::lru::Lru;
use super::plan::{CachePlan, PlanLoop, Touch};
use super::sweep::Sweep;
use super::totals::Totals;

/// Between which lines (inclusive) those of each array lie that a cache holds.
pub(super) type Held = BTreeMap<u32, (u64, u64)>;

/// What `lru` holds.
pub(super) fn held(lru: &Lru) -> Held {
    let mut held = Held::new();
    for line in lru.lines() {
        widen(&mut held, line.array, (line.number, line.number));
    }
    held
}

fn widen(held: &mut Held, array: u32, (low, high): (u64, u64)) {
    let own = held.entry(array).or_insert((low, high));
    *own = (own.0.min(low), own.1.max(high));
}

/// What the accesses of an array touch in an iteration: all lines between two bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// In the first iteration.
    sweep: Sweep,
    /// How far it moves in each.
    by: i64,
    /// The part that is written.
    written: Option<(i64, i64)>,
    /// Whether all accesses are of one line of the source.
    one_source: bool,
    /// Whether all accesses touch the same lines.
    same: bool,
}

impl Window {
    pub(super) fn array(&self) -> u32 {
        self.sweep.array
    }

    /// Whether every iteration touches the same lines.
    pub(super) fn stands(&self) -> bool {
        self.by == 0
    }

    /// Whether no two iterations touch the same element.
    pub(super) fn moves_on(&self) -> bool {
        self.by.unsigned_abs() > self.sweep.high.abs_diff(self.sweep.low)
    }

    /// Who touches its lines first.
    pub(super) fn source(&self) -> u32 {
        self.sweep.source
    }

    /// Whether it writes all that it touches, or none of it; neither where it writes a part.
    pub(super) fn writes(&self) -> Option<bool> {
        match self.written {
            None => Some(false),
            Some(written) => (written == (self.sweep.low, self.sweep.high)).then_some(true),
        }
    }

    /// Takes in another access of the same array; false where lines lie between.
    fn take(&mut self, (sweep, by): (Sweep, i64), line_bytes: i64) -> bool {
        let Some(behind) = self.sweep.high.checked_add(line_bytes).filter(|_| by == self.by) else { return false };
        if sweep.low > behind {
            return false;
        }
        self.one_source &= sweep.source == self.sweep.source;
        self.same &= (sweep.low, sweep.high) == (self.sweep.low, self.sweep.high);
        if sweep.write {
            self.written = match self.written {
                None => Some((sweep.low, sweep.high)),
                Some((low, high)) if sweep.low <= high.saturating_add(line_bytes) => Some((low, high.max(sweep.high))),
                Some(_) => return false,
            };
        }
        self.sweep.high = self.sweep.high.max(sweep.high);
        true
    }

    /// Whether it leaves no line out on its way.
    fn goes_on(&self, line_bytes: i64) -> bool {
        let within = |(low, high): (i64, i64)| {
            self.by.checked_abs().is_some_and(|by| by <= (high - low).saturating_add(line_bytes))
        };
        within((self.sweep.low, self.sweep.high)) && self.written.is_none_or(within)
    }
}

/// The accesses of the last of `rounds` iterations of `l`.
fn at_last(plan: &CachePlan<'_>, l: &PlanLoop<'_>, values: &[i64], rounds: u64) -> Option<Vec<Sweep>> {
    let mut values = values.to_vec();
    let var = values.get_mut(l.var)?;
    *var = i64::try_from(rounds - 1).ok()?.checked_mul(l.step)?.checked_add(*var)?;
    let (mut found, mut draws) = (Vec::new(), Vec::new());
    let all = Sweep::and_draws(plan, &l.body, &values, &mut found, &mut draws);
    all.then(|| found.into_iter().map(|(_, sweep)| sweep).collect())
}

/// A loop whose windows go on without gaps, through lines of their own.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    windows: Vec<Window>,
    rounds: u64,
    line_bytes: u64,
}

impl Stream {
    /// `rounds` iterations of `l`, the first where `values` hold, if they are one.
    pub(super) fn new(plan: &CachePlan<'_>, l: &PlanLoop<'_>, values: &[i64], rounds: u64) -> Option<Self> {
        let mut found = Vec::new();
        if rounds == 0 || !Sweep::each(plan, &l.body, values, &mut found) {
            return None;
        }
        Self::of(plan, l, found, (values, rounds))
    }

    /// The same, where data may decide some accesses: also those, each with how often it runs in an iteration.
    pub(super) fn and_draws<'s, 'a>(
        plan: &CachePlan<'_>,
        l: &'s PlanLoop<'a>,
        values: &[i64],
        rounds: u64,
    ) -> Option<(Self, Vec<(&'s Touch<'a>, f64)>)> {
        let (mut found, mut draws) = (Vec::new(), Vec::new());
        if rounds == 0 || !Sweep::and_draws(plan, &l.body, values, &mut found, &mut draws) {
            return None;
        }
        Some((Self::of(plan, l, found, (values, rounds))?, draws))
    }

    fn of(
        plan: &CachePlan<'_>,
        l: &PlanLoop<'_>,
        found: Vec<(&Touch<'_>, Sweep)>,
        (values, rounds): (&[i64], u64),
    ) -> Option<Self> {
        let bytes = i64::try_from(plan.line_bytes).ok()?;
        let mut sweeps = Vec::with_capacity(found.len());
        let mut last = None;
        for (index, (touch, sweep)) in found.into_iter().enumerate() {
            let by = touch.address.by_within(l.var)?.checked_mul(l.step)?;
            if rounds > 1 && touch.address.by(l.var).is_none() {
                // Where it ends as far away as if nothing were bounded, nothing was.
                let last = last.get_or_insert_with(|| at_last(plan, l, values, rounds));
                let end = last.as_ref()?.get(index)?;
                let far = by.checked_mul(i64::try_from(rounds - 1).ok()?)?;
                if (end.low, end.high) != (sweep.low.checked_add(far)?, sweep.high.checked_add(far)?) {
                    return None;
                }
            }
            sweeps.push((sweep, by));
        }
        // Accesses of the same lines stay in the order of the program.
        sweeps.sort_by_key(|(sweep, _)| (sweep.array, sweep.low));
        let mut windows: Vec<Window> = Vec::new();
        for (sweep, by) in sweeps {
            let last = windows.last_mut().filter(|last| last.sweep.array == sweep.array);
            if last.is_some_and(|last| last.take((sweep, by), bytes)) {
                continue;
            }
            let written = sweep.write.then_some((sweep.low, sweep.high));
            windows.push(Window { sweep, by, written, one_source: true, same: true });
        }
        // Who of several lines of the source is the first is known where they touch the same element.
        let known = |window: &Window| window.one_source || (window.same && l.straight);
        if !windows.iter().all(|window| known(window) && window.goes_on(bytes)) {
            return None;
        }
        let far = |window: &Window| window.by.checked_mul(i64::try_from(rounds).ok()?)?.checked_add(window.sweep.high);
        windows.iter().try_for_each(|window| far(window).map(|_| ()))?;
        let stream = Self { windows, rounds, line_bytes: plan.line_bytes };
        let mut ranges: Vec<(u64, u64)> = stream.windows.iter().map(|own| stream.range(own, 0, rounds)).collect();
        ranges.sort_unstable();
        let apart = ranges.windows(2).all(|pair| matches!(pair, [a, b] if a.1 < b.0));
        apart.then_some(stream)
    }

    /// A single touch of a line.
    pub(super) fn one(plan: &CachePlan<'_>, touch: &Touch<'_>, line: u64) -> Self {
        let byte = line.wrapping_mul(plan.line_bytes) as i64;
        let sweep = Sweep { array: touch.array, source: touch.source, write: touch.write, low: byte, high: byte };
        let written = touch.write.then_some((byte, byte));
        let window = Window { sweep, by: 0, written, one_source: true, same: true };
        Self { windows: vec![window], rounds: 1, line_bytes: plan.line_bytes }
    }

    pub(super) fn rounds(&self) -> u64 {
        self.rounds
    }

    pub(super) fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// All lines of a window.
    pub(super) fn touched(&self, window: &Window) -> (u64, u64) {
        self.range(window, 0, self.rounds)
    }

    /// The lines of a window in the iterations `from..to`; none where there are no such iterations.
    pub(super) fn span(&self, window: &Window, (from, to): (u64, u64)) -> Option<(u64, u64)> {
        let to = to.min(self.rounds);
        (from < to).then(|| self.range(window, from, to))
    }

    /// The iterations that first touch the lines between two of a window: the least and the most.
    pub(super) fn first_rounds(&self, window: &Window, lines: (u64, u64)) -> (u64, u64) {
        let first = |line: u64| {
            let (start, end) = self.bytes(line);
            let far = if window.by < 0 { window.sweep.low - end } else { start - window.sweep.high };
            let rounds = (far.max(0) as u64).checked_next_multiple_of(window.by.unsigned_abs());
            rounds.and_then(|far| far.checked_div(window.by.unsigned_abs())).unwrap_or(0)
        };
        let (a, b) = (first(lines.0), first(lines.1));
        (a.min(b), a.max(b))
    }

    /// The iterations that touch them last.
    pub(super) fn last_rounds(&self, window: &Window, lines: (u64, u64)) -> (u64, u64) {
        let last = |line: u64| {
            let (start, end) = self.bytes(line);
            let far = if window.by < 0 { window.sweep.high - start } else { end - window.sweep.low };
            let round = (far.max(0) as u64).checked_div(window.by.unsigned_abs());
            round.unwrap_or(u64::MAX).min(self.rounds.saturating_sub(1))
        };
        let (a, b) = (last(lines.0), last(lines.1));
        (a.min(b), a.max(b))
    }

    /// The first and the last byte of a line.
    fn bytes(&self, line: u64) -> (i64, i64) {
        let start = line.wrapping_mul(self.line_bytes);
        (start as i64, start.wrapping_add(self.line_bytes - 1) as i64)
    }

    /// The lowest and the highest line of a window in the iterations `from..to`.
    fn range(&self, window: &Window, from: u64, to: u64) -> (u64, u64) {
        self.between(window, (window.sweep.low, window.sweep.high), from, to)
    }

    fn between(&self, window: &Window, (low, high): (i64, i64), from: u64, to: u64) -> (u64, u64) {
        let moved = |byte: i64, round: u64| byte.wrapping_add(window.by.wrapping_mul(round as i64)) as u64;
        let last = to.saturating_sub(1);
        let (first, last) = if window.by < 0 { (last, from) } else { (from, last) };
        (moved(low, first) / self.line_bytes, moved(high, last) / self.line_bytes)
    }

    /// How many lines the iterations `from..to` touch.
    fn lines(&self, from: u64, to: u64) -> u64 {
        if from >= to {
            return 0;
        }
        let lines = self.windows.iter().map(|own| self.range(own, from, to));
        lines.fold(0, |sum, (low, high)| sum.saturating_add(high - low + 1))
    }

    /// How many lines an iteration touches at most.
    pub(super) fn iteration(&self) -> u64 {
        let most = |own: &Window| (own.sweep.high - own.sweep.low) as u64 / self.line_bytes + 2;
        self.windows.iter().map(most).fold(0, u64::saturating_add)
    }

    /// Whether a cache holds the lines of two iterations, so that only the first touch of each misses.
    pub(super) fn stays(&self, capacity: u64) -> bool {
        self.iteration().saturating_mul(2) <= capacity
    }

    /// Whether it goes through at least `capacity` lines, of which those of two iterations stay.
    pub(super) fn fills(&self, capacity: u64) -> bool {
        self.stays(capacity) && self.lines(0, self.rounds) >= capacity
    }

    /// Whether each of its lines misses in a cache that holds lines between those of `held`.
    pub(super) fn misses_all(&self, held: &Held, capacity: u64) -> bool {
        let met = self.windows.iter().filter_map(|own| self.meets(own, *held.get(&own.sweep.array)?));
        self.lines(0, met.min().unwrap_or(self.rounds)) >= capacity
    }

    /// The iteration before which a window certainly touches no line between `from` and `to`; none if it never does.
    fn meets(&self, window: &Window, (from, to): (u64, u64)) -> Option<u64> {
        let (low, high) = self.range(window, 0, self.rounds);
        if to < low || high < from {
            return None;
        }
        let reaches = |round: u64| {
            let (low, high) = self.range(window, round, round + 1);
            if window.by < 0 { low <= to } else { high >= from }
        };
        let (mut least, mut most) = (0, self.rounds);
        while least < most {
            let middle = least + (most - least) / 2;
            if reaches(middle) {
                most = middle;
            } else {
                least = middle + 1;
            }
        }
        Some(least)
    }

    /// Counts its misses, and the lines that it changes.
    pub(super) fn count(&self, totals: &mut Totals) {
        for own in &self.windows {
            let lines = |(low, high): (u64, u64)| u128::from(high - low + 1);
            let all = lines(self.range(own, 0, self.rounds));
            if let Some(misses) = totals.misses.get_mut(own.sweep.source as usize) {
                *misses = misses.saturating_add(all);
            }
            let written = own.written.map_or(0, |written| lines(self.between(own, written, 0, self.rounds)));
            totals.write_backs = totals.write_backs.saturating_add(written);
        }
    }

    /// Its iterations from which on it touches `capacity` lines or hardly more: they decide what it leaves in a cache.
    pub(super) fn last(&self, capacity: u64) -> std::ops::Range<u64> {
        let (mut least, mut most) = (0, self.rounds);
        while most - least > 1 {
            let middle = least + (most - least) / 2;
            if self.lines(middle, self.rounds) >= capacity {
                least = middle;
            } else {
                most = middle;
            }
        }
        least..self.rounds
    }

    /// What it leaves in a cache that it fills: between which lines.
    pub(super) fn left(&self, capacity: u64) -> Held {
        let last = self.last(capacity);
        let mut held = Held::new();
        for own in &self.windows {
            widen(&mut held, own.sweep.array, self.range(own, last.start, last.end));
        }
        held
    }
}
