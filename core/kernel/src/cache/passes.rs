//! Programs that are nothing but passes over arrays, one after the other, in closed form.
//!
//! A line is still there if fewer other lines than the cache holds were touched since it was touched last: those of the
//! passes since, those that the earlier pass came to after it, and those that the present one came to before it. That set
//! only grows with the iteration that comes to the line now, and only shrinks with the one that touched it last. So lines
//! next to each other are decided together, from the first and the last of their iterations, and divided where these
//! leave it open; a line by itself by the order within its two iterations.

use std::collections::{BTreeMap, BTreeSet};

use super::chance::{self, Drawn, Held};
use super::meter::{EVALUATION, Meter};
use super::order::{Orders, Origin};
use super::plan::{CachePlan, PlanLoop, Step, Touch};
use super::stream::{Stream, Window};
use super::sweep;
use super::totals::Totals;
use accel_ground::error::Error;

/// Standard deviations that hold 99 % of a normal distribution.
const DEVIATIONS: f64 = 2.576;

/// Where an iteration touches more lines than this, too many of them hang on the order within it.
const FINE: u64 = 4096;
/// Lines next to each other that are there before draws are looked at in this many parts: they leave one by one.
const AGES: u64 = 64;
/// A loop is not divided into more passes.
const MOST_PARTS: u64 = 64;

/// Lines of an array next to each other.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    low: u64,
    high: u64,
    dirty: bool,
}

impl Piece {
    fn lines(self) -> u64 {
        self.high - self.low + 1
    }

    /// What of it lies within a range.
    fn within(self, (low, high): (u64, u64)) -> Option<Self> {
        let (low, high) = (self.low.max(low), self.high.min(high));
        (low <= high).then_some(Self { low, high, ..self })
    }
}

/// A pass that is over, and the lines of each of its windows that no pass since has touched.
#[derive(Debug)]
struct Past<'p, 'a> {
    /// The number of the pass.
    number: u64,
    stream: Stream,
    origin: Origin<'p, 'a>,
    left: Vec<Vec<Piece>>,
}

impl Past<'_, '_> {
    /// The pieces of each window.
    fn windows(&self) -> impl Iterator<Item = (&Window, &[Piece])> {
        self.stream.windows().iter().zip(self.left.iter().map(Vec::as_slice))
    }

    fn lines(&self) -> u64 {
        self.left.iter().flatten().map(|piece| piece.lines()).sum()
    }
}

#[derive(Debug)]
pub(super) struct Passes<'p, 'a, 'm> {
    plan: &'p CachePlan<'a>,
    values: Vec<i64>,
    capacity: u64,
    /// The oldest first; none of which nothing can be there.
    past: Vec<Past<'p, 'a>>,
    totals: Totals,
    /// By how much the misses may be off, with 99 % confidence, where data decide some.
    spread: f64,
    /// Arrays of which it is not known what is there.
    unknown: BTreeSet<u32>,
    /// Whether nothing is known of what comes next.
    over: bool,
    /// The number of the present pass.
    number: u64,
    orders: Orders,
    meter: &'p mut Meter<'m>,
}

impl<'p, 'a, 'm> Passes<'p, 'a, 'm> {
    /// The counts of the whole program in a cache of `capacity` lines, and by how much the misses may be off; none
    /// where it is not made of passes, where a line hangs on the order within an iteration, or where it takes too
    /// much work.
    pub(super) fn run(
        plan: &'p CachePlan<'a>,
        capacity: u64,
        meter: &'p mut Meter<'m>,
    ) -> Result<Option<(Totals, f64)>, Error> {
        let totals = Totals { misses: vec![0; plan.sources.len()], write_backs: 0 };
        let (values, past, unknown) = (plan.values.clone(), Vec::new(), BTreeSet::new());
        let (spread, over, number, orders) = (0.0, false, 0, Orders::default());
        let mut passes = Self { plan, values, capacity, past, totals, spread, unknown, over, number, orders, meter };
        match passes.steps(&plan.steps) {
            Ok(whole) => Ok(whole.then_some((passes.totals, passes.spread))),
            Err(Error::TooLarge { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn steps(&mut self, steps: &'p [Step<'a>]) -> Result<bool, Error> {
        for step in steps {
            self.meter.spend(EVALUATION)?;
            let whole = match step {
                Step::Loop(l) => self.repeat(l)?,
                Step::Branch(branch) => {
                    let arm = self.plan.arm(branch, &self.values)?;
                    self.steps(arm)?
                }
                Step::Touch(touch) => {
                    let line = self.plan.line(touch, &self.values)?;
                    self.pass(Stream::one(self.plan, touch, line), None)?
                }
            };
            if !whole {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn repeat(&mut self, l: &'p PlanLoop<'a>) -> Result<bool, Error> {
        let (first, rounds) = self.plan.rounds(l, &self.values)?;
        if rounds == 0 {
            return Ok(true);
        }
        self.set(l, first, 0);
        let mut from = 0;
        for part in parts(l, &self.values, rounds) {
            if !self.part(l, (first, from), part)? {
                return Ok(false);
            }
            from += part;
        }
        Ok(true)
    }

    /// `rounds` iterations of `l`, of which the first is number `from`.
    fn part(&mut self, l: &'p PlanLoop<'a>, (first, from): (i64, u64), rounds: u64) -> Result<bool, Error> {
        self.set(l, first, from);
        let stream = Stream::new(self.plan, l, &self.values, rounds).filter(|own| own.stays(self.capacity));
        if let Some(stream) = stream.filter(|own| own.iteration() <= FINE || !self.goes_in(l, rounds)) {
            return self.pass(stream, Some((l, self.values.clone())));
        }
        if self.plan.random
            && let Some((stream, draws)) = Stream::and_draws(self.plan, l, &self.values, rounds)
            && !draws.is_empty()
        {
            let stays = self.stays(l, &stream);
            return self.draws((stream, Some((l, self.values.clone()))), stays, &draws);
        }
        if l.straight {
            return Ok(false);
        }
        for round in from..from + rounds {
            self.set(l, first, round);
            if !self.steps(&l.body)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the iterations of `l` are passes, too, and not too many.
    fn goes_in(&self, l: &PlanLoop<'_>, rounds: u64) -> bool {
        let is_pass = |step: &Step<'_>| match step {
            Step::Loop(inner) => self.plan.rounds(inner, &self.values).is_ok_and(|(first, rounds)| {
                let mut values = self.values.clone();
                if let Some(var) = values.get_mut(inner.var) {
                    *var = first;
                }
                Stream::new(self.plan, inner, &values, rounds).is_some_and(|own| own.stays(self.capacity))
            }),
            Step::Branch(_) | Step::Touch(_) => false,
        };
        rounds.saturating_mul(l.body.len() as u64) <= MOST_PARTS && l.body.iter().all(is_pass)
    }

    fn set(&mut self, l: &PlanLoop<'_>, first: i64, round: u64) {
        if let Some(var) = self.values.get_mut(l.var) {
            *var = first.wrapping_add(l.step.wrapping_mul(round as i64));
        }
    }

    /// Whether only the first touch of each line of a pass misses: where the cache holds two iterations of `l`, or where
    /// each goes through lines of its own, of the single loop within it.
    fn stays(&self, l: &PlanLoop<'_>, stream: &Stream) -> bool {
        if stream.stays(self.capacity) {
            return true;
        }
        let [Step::Loop(inner)] = &l.body[..] else { return false };
        let Ok((first, rounds)) = self.plan.rounds(inner, &self.values) else { return false };
        let mut values = self.values.clone();
        if let Some(var) = values.get_mut(inner.var) {
            *var = first;
        }
        let Some((within, _)) = Stream::and_draws(self.plan, inner, &values, rounds) else { return false };
        let alike = stream.windows().len() == within.windows().len();
        alike
            && (stream.windows().iter().zip(within.windows()))
                .all(|(own, inner)| own.moves_on() || (own.stands() && inner.stands()))
            && self.stays(inner, &within)
    }

    /// A pass beside accesses that data decide, of whose lines only the first touch misses if one `stays`; false where
    /// too little is known.
    fn draws(
        &mut self,
        (stream, origin): (Stream, Origin<'p, 'a>),
        stays: bool,
        draws: &[(&Touch<'_>, f64)],
    ) -> Result<bool, Error> {
        let all = chance::by_array(self.plan, draws, stream.rounds() as f64);
        let known = self.past.iter().flat_map(Past::windows).filter(|(_, pieces)| !pieces.is_empty());
        let known: BTreeSet<u32> =
            known.map(|(window, _)| window.array()).chain(self.unknown.iter().copied()).collect();
        let moved: Vec<u32> = stream.windows().iter().map(Window::array).collect();
        let few = stream.stays(self.capacity) && chance::few(&all, self.plan.lines);
        if self.over
            || chance::too_few(&all, self.plan.lines)
            || moved.iter().any(|array| all.contains_key(array))
            || (!few && moved.iter().any(|array| known.contains(array)))
            || all.keys().any(|array| self.unknown.contains(array))
            // How old lines are is known by iterations that the cache holds.
            || (!stream.stays(self.capacity) && all.keys().any(|array| known.contains(array)))
            || !stays
        {
            return Ok(false);
        }
        let mut passing = [0.0; 2];
        for window in stream.windows() {
            let Some(write) = window.writes() else { return Ok(false) };
            let (low, high) = stream.touched(window);
            let lines = high - low + 1;
            let [stand, moving] = &mut passing;
            *(if window.stands() { stand } else { moving }) += lines as f64;
            if !few {
                self.count(window.source(), lines.into(), if write { lines.into() } else { 0 });
            }
        }
        let stays = chance::stays(&all, self.capacity, passing);
        let held = self.held(&stream, &all)?;
        let found = chance::found(&all, held, (self.capacity, stays), passing);
        for (array, own) in &all {
            // Lines from which all draws come one after the other are there for them.
            let turn = own.turn.filter(|_| !known.contains(array));
            let there = turn.is_some_and(|lines| 2 * (lines + stream.iteration()) <= self.capacity);
            let [mut misses, mut write_backs] = if there { own.touched() } else { own.misses(stays) };
            self.spread = self.spread.hypot(DEVIATIONS * (misses * own.lot).sqrt());
            if let Some([there, changed]) = found.get(array) {
                (misses, write_backs) = ((misses - there).max(0.0), (write_backs - changed).max(0.0));
            }
            for (source, draws) in &own.by_source {
                let share = own.share(*draws);
                self.count(*source, (misses * share).round() as u128, (write_backs * share).round() as u128);
            }
        }
        if few {
            // Each may keep one other line from being there, or bring one that is met again.
            self.spread += chance::number(&all);
            return self.pass(stream, origin);
        }
        self.over = stays >= 1.0;
        self.past.clear();
        self.unknown.extend(moved.iter().chain(all.keys()));
        Ok(true)
    }

    /// The lines of arrays drawn from that may still be there.
    fn held(&mut self, stream: &Stream, all: &BTreeMap<u32, Drawn>) -> Result<Vec<Held>, Error> {
        let mut held = Vec::new();
        for (index, past) in self.past.iter().enumerate() {
            for (before, pieces) in past.windows().filter(|(before, _)| all.contains_key(&before.array())) {
                let (plan, past, origin, capacity) = (self.plan, &self.past[..], &None, self.capacity);
                let number = self.number;
                let question = Question { plan, past, index, before, number, stream, origin, window: before, capacity };
                for piece in pieces {
                    question.ages(*piece, &mut held, self.meter)?;
                }
            }
        }
        Ok(held)
    }

    fn count(&mut self, source: u32, misses: u128, write_backs: u128) {
        if let Some(own) = self.totals.misses.get_mut(source as usize) {
            *own = own.saturating_add(misses);
        }
        self.totals.write_backs = self.totals.write_backs.saturating_add(write_backs);
    }

    fn pass(&mut self, stream: Stream, origin: Origin<'p, 'a>) -> Result<bool, Error> {
        if self.over || stream.windows().iter().any(|window| self.unknown.contains(&window.array())) {
            return Ok(false);
        }
        self.meter.spend(self.past.iter().map(|past| past.left.len() as u64).sum())?;
        let mut left = Vec::with_capacity(stream.windows().len());
        for window in stream.windows() {
            let Some(pieces) = self.window((&stream, &origin), window)? else { return Ok(false) };
            left.push(pieces);
        }
        for window in stream.windows() {
            let range = stream.touched(window);
            for past in &mut self.past {
                let own = past.stream.windows().iter().zip(&mut past.left);
                for (_, pieces) in own.filter(|(own, _)| own.array() == window.array()) {
                    remove(pieces, range);
                }
            }
        }
        self.past.push(Past { number: self.number, stream, origin, left });
        self.number += 1;
        let (mut newer, mut first) = (0u64, self.past.len());
        while first > 0 && newer < self.capacity {
            first -= 1;
            newer = newer.saturating_add(self.past.get(first).map_or(0, Past::lines));
        }
        self.past.drain(..first);
        self.past.retain(|past| past.lines() > 0);
        Ok(true)
    }

    /// Counts a window of a pass, and returns its lines; none where it is not known what they do.
    fn window(
        &mut self,
        (stream, origin): (&Stream, &Origin<'p, 'a>),
        window: &Window,
    ) -> Result<Option<Vec<Piece>>, Error> {
        let Some(write) = window.writes() else { return Ok(None) };
        let (low, high) = stream.touched(window);
        let mut hits = Vec::new();
        for (index, past) in self.past.iter().enumerate() {
            for (before, pieces) in past.windows().filter(|(before, _)| before.array() == window.array()) {
                for piece in pieces.iter().filter_map(|piece| piece.within((low, high))) {
                    let (plan, past, number, capacity) = (self.plan, &self.past[..], self.number, self.capacity);
                    let question = Question { plan, past, index, before, number, stream, origin, window, capacity };
                    question.decide(piece, &mut hits, &mut self.orders, self.meter)?;
                }
            }
        }
        hits.sort_unstable_by_key(|piece| piece.low);
        let mut all: Vec<Piece> = Vec::with_capacity(hits.len());
        let mut push = |piece: Piece| match all.last_mut() {
            Some(last) if last.high + 1 == piece.low && last.dirty == piece.dirty => last.high = piece.high,
            _ => all.push(piece),
        };
        let (mut next, mut known, mut changed) = (low, 0, 0);
        for hit in hits {
            if next < hit.low {
                push(Piece { low: next, high: hit.low - 1, dirty: write });
            }
            push(Piece { dirty: hit.dirty || write, ..hit });
            known += hit.lines();
            changed += if write && !hit.dirty { hit.lines() } else { 0 };
            next = hit.high + 1;
        }
        if next <= high {
            push(Piece { low: next, high, dirty: write });
        }
        let missed = high - low + 1 - known;
        self.count(window.source(), missed.into(), (changed + if write { missed } else { 0 }).into());
        Ok(Some(all))
    }
}

/// How many iterations of `l` move evenly, one part after the other: those in which subscripts meet a bound stand alone.
fn parts(l: &PlanLoop<'_>, values: &[i64], rounds: u64) -> Vec<u64> {
    let inside = sweep::inside(l, values, rounds);
    let even = inside.end.saturating_sub(inside.start);
    if even == 0 || rounds - even > MOST_PARTS {
        return vec![rounds];
    }
    let alone = |count: u64| (0..count).map(|_| 1);
    alone(inside.start).chain([even]).chain(alone(rounds - inside.end)).collect()
}

fn remove(pieces: &mut Vec<Piece>, (low, high): (u64, u64)) {
    if pieces.iter().all(|piece| piece.within((low, high)).is_none()) {
        return;
    }
    let rest = |piece: &Piece| {
        let below = (piece.low < low).then(|| Piece { high: piece.high.min(low.saturating_sub(1)), ..*piece });
        let above = (piece.high > high).then(|| Piece { low: piece.low.max(high + 1), ..*piece });
        below.into_iter().chain(above)
    };
    *pieces = pieces.iter().flat_map(rest).collect();
}

/// Whether lines that `before`, a window of a past pass, touched last are there when `window` of `stream` comes to them.
struct Question<'q, 'p, 'a> {
    plan: &'p CachePlan<'a>,
    past: &'q [Past<'p, 'a>],
    index: usize,
    before: &'q Window,
    number: u64,
    stream: &'q Stream,
    origin: &'q Origin<'p, 'a>,
    window: &'q Window,
    capacity: u64,
}

impl Question<'_, '_, '_> {
    /// Adds what of `piece` is there to `hits`.
    fn decide(
        &self,
        piece: Piece,
        hits: &mut Vec<Piece>,
        orders: &mut Orders,
        meter: &mut Meter<'_>,
    ) -> Result<(), Error> {
        let Some(past) = self.past.get(self.index) else { return Ok(()) };
        let lines = (piece.low, piece.high);
        let (again, last) = (self.stream.first_rounds(self.window, lines), past.stream.last_rounds(self.before, lines));
        let least = self.since(again.0, last.1 + 1, meter)?;
        if least >= self.capacity {
            return Ok(());
        }
        // The line itself is among these.
        let stays = self.since(again.1 + 1, last.0, meter)? <= self.capacity;
        let room = self.capacity - least;
        if stays || piece.low == piece.high && self.fit(room, piece.low, (again.0, last.0), orders, meter)? {
            hits.push(piece);
        }
        if stays || piece.low == piece.high {
            return Ok(());
        }
        let middle = piece.low + (piece.high - piece.low) / 2;
        self.decide(Piece { high: middle, ..piece }, hits, orders, meter)?;
        self.decide(Piece { low: middle + 1, ..piece }, hits, orders, meter)
    }

    /// Adds `piece` in parts to `held`, each with how many lines were touched since.
    fn ages(&self, piece: Piece, held: &mut Vec<Held>, meter: &mut Meter<'_>) -> Result<(), Error> {
        let Some(past) = self.past.get(self.index) else { return Ok(()) };
        let lines = piece.lines();
        let parts = lines.min(AGES);
        let start = |part: u64| piece.low + lines / parts * part + lines % parts * part / parts;
        for part in 0..parts {
            let (low, end) = (start(part), start(part + 1));
            let middle = low + (end - low) / 2;
            let (last, _) = past.stream.last_rounds(self.before, (middle, middle));
            let age = self.since(0, last + 1, meter)? as f64;
            held.push(Held { array: self.before.array(), lines: (end - low) as f64, age, dirty: piece.dirty });
        }
        Ok(())
    }

    /// Whether fewer than `room` lines more than [`Self::since`] says are touched between two touches of `line`: the
    /// last, in iteration `last` of the past pass, and the first, in iteration `again` of the present one.
    fn fit(
        &self,
        room: u64,
        line: u64,
        (again, last): (u64, u64),
        orders: &mut Orders,
        meter: &mut Meter<'_>,
    ) -> Result<bool, Error> {
        let Some(past) = self.past.get(self.index) else { return Ok(true) };
        let after = orders.order(self.plan, (past.number, &past.stream, &past.origin), last, meter)?;
        let before = orders.order(self.plan, (self.number, self.stream, self.origin), again, meter)?;
        let (first, rest) = (before.before(line), after.after(line));
        meter.spend((first.len() + rest.len()) as u64)?;
        let mut more = first.iter().chain(rest.iter().filter(|own| !before.is_before(**own, line)));
        let more = more.by_ref().filter(|own| !self.counts(**own, again, last + 1));
        let most = usize::try_from(room).unwrap_or(usize::MAX);
        Ok(more.take(most).count() < most)
    }

    /// Whether `line` is among those that [`Self::since`] counts.
    fn counts(&self, line: u64, to: u64, from: u64) -> bool {
        let within = |range: Option<(u64, u64)>| range.is_some_and(|(low, high)| (low..=high).contains(&line));
        let again = self.stream.windows().iter().any(|window| within(self.stream.span(window, (0, to))));
        again
            || (0..).zip(self.past).skip(self.index).any(|(index, past)| {
                let after = if index > self.index { 0 } else { from };
                past.windows().any(|(window, pieces)| {
                    within(past.stream.span(window, (after, u64::MAX)))
                        && pieces.iter().any(|piece| within(Some((piece.low, piece.high))))
                })
            })
    }

    /// How many lines are touched from iteration `from` of the past pass until before iteration `to` of the present one.
    fn since(&self, to: u64, from: u64, meter: &mut Meter<'_>) -> Result<u64, Error> {
        let touched = |window: &Window| self.stream.span(window, (0, to));
        let own = self.stream.windows();
        let mut sum: u64 = own.iter().filter_map(touched).map(|(low, high)| high - low + 1).sum();
        let mut work = own.len() as u64;
        for (index, past) in (0..).zip(self.past).skip(self.index) {
            for (window, pieces) in past.windows() {
                let after = if index > self.index { 0 } else { from };
                let Some(range) = past.stream.span(window, (after, u64::MAX)) else { continue };
                work += pieces.len() as u64;
                for piece in pieces.iter().filter_map(|piece| piece.within(range)) {
                    let again = own.iter().filter(|other| other.array() == window.array()).filter_map(touched);
                    let again: u64 = again.filter_map(|range| piece.within(range)).map(Piece::lines).sum();
                    sum += piece.lines() - again;
                }
            }
        }
        meter.spend(work)?;
        Ok(sum)
    }
}
