//! Long passes over arrays, in closed form: where a straight loop goes through more lines than a cache holds before it
//! comes to one that may be there, each of its lines misses, once.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::lru::Lru;
use super::plan::CachePlan;
use super::run::{Cursor, each_round};
use super::totals::Totals;

/// More accesses than this in a loop are not compared with each other.
const MOST_RUNS: usize = 64;

/// Between which lines (inclusive) those of each array lie that a cache holds.
pub(super) type Held = BTreeMap<u32, (u64, u64)>;

/// What `lru` holds.
pub(super) fn held(lru: &Lru) -> Held {
    let mut held = Held::new();
    for line in lru.lines() {
        let own = held.entry(line.array).or_insert((line.number, line.number));
        *own = (own.0.min(line.number), own.1.max(line.number));
    }
    held
}

/// A straight loop whose accesses go through lines of their own, one after another without gaps.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    runs: Vec<Cursor>,
    /// Indices of accesses that go together, as a load and a store of the same element do.
    groups: Vec<Vec<usize>>,
    rounds: u64,
    line_bytes: u64,
}

impl Stream {
    /// The loop, if it is one.
    pub(super) fn new(runs: &[Cursor], rounds: u64, line_bytes: u64) -> Option<Self> {
        if runs.is_empty() || runs.len() > MOST_RUNS || !runs.iter().all(|run| run.moves_within(line_bytes)) {
            return None;
        }
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (index, run) in runs.iter().enumerate() {
            let mut own = groups.iter_mut();
            match own.find(|group| group.first().and_then(|first| runs.get(*first)).is_some_and(|r| r.is_like(run))) {
                Some(group) => group.push(index),
                None => groups.push(vec![index]),
            }
        }
        let stream = Self { runs: runs.to_vec(), groups, rounds, line_bytes };
        let mut ranges: Vec<(u64, u64)> = stream.firsts().map(|run| run.lines((0, rounds), line_bytes)).collect();
        ranges.sort_unstable();
        let apart = ranges.windows(2).all(|pair| matches!(pair, [a, b] if a.1 < b.0));
        apart.then_some(stream)
    }

    /// The first access of each group.
    fn firsts(&self) -> impl Iterator<Item = &Cursor> {
        self.groups.iter().filter_map(|group| group.first().and_then(|first| self.runs.get(*first)))
    }

    /// How many lines the iterations `from..to` touch.
    fn lines(&self, from: u64, to: u64) -> u64 {
        if from >= to {
            return 0;
        }
        let lines = self.firsts().map(|run| run.lines((from, to), self.line_bytes));
        lines.fold(0, |sum, (low, high)| sum.saturating_add(high - low + 1))
    }

    /// Whether it goes through at least `capacity` lines, of which all of an iteration stay.
    pub(super) fn fills(&self, capacity: u64) -> bool {
        self.runs.len() as u64 <= capacity && self.lines(0, self.rounds) >= capacity
    }

    /// Whether each of its lines misses in a cache that holds lines between those of `held`.
    pub(super) fn misses_all(&self, held: &Held, capacity: u64) -> bool {
        let met = self.firsts().filter_map(|run| {
            let (low, high) = run.lines((0, self.rounds), self.line_bytes);
            let (from, to) = held.get(&run.array).copied().filter(|(from, to)| *from <= high && low <= *to)?;
            let visit = if run.is_backward() { high - to.min(high) } else { from.max(low) - low };
            run.round_of(visit, self.rounds, self.line_bytes)
        });
        let met = met.min().unwrap_or(self.rounds);
        self.lines(0, met) >= capacity
    }

    /// Counts its misses, and the lines that it changes.
    pub(super) fn count(&self, totals: &mut Totals) {
        for group in &self.groups {
            let mut own = group.iter().filter_map(|index| self.runs.get(*index));
            let Some(first) = own.next() else { continue };
            let (low, high) = first.lines((0, self.rounds), self.line_bytes);
            let lines = u128::from(high - low + 1);
            if let Some(misses) = totals.misses.get_mut(first.source as usize) {
                *misses = misses.saturating_add(lines);
            }
            if first.write || own.any(|run| run.write) {
                totals.write_backs = totals.write_backs.saturating_add(lines);
            }
        }
    }

    /// The first of the last iterations, which touch `capacity` lines or hardly more.
    fn last(&self, capacity: u64) -> u64 {
        // Of the first iterations before `most`, none of those at `least` and below is needed.
        let (mut least, mut most) = (0, self.rounds);
        while most - least > 1 {
            let middle = least + (most - least) / 2;
            if self.lines(middle, self.rounds) >= capacity {
                least = middle;
            } else {
                most = middle;
            }
        }
        least
    }

    /// What it leaves in a cache, that it fills: between which lines.
    pub(super) fn left(&self, capacity: u64) -> Held {
        let from = self.last(capacity);
        let mut held = Held::new();
        for run in self.firsts() {
            let (low, high) = run.lines((from, self.rounds), self.line_bytes);
            let own = held.entry(run.array).or_insert((low, high));
            *own = (own.0.min(low), own.1.max(high));
        }
        held
    }

    /// Calls `touch` for the last touches that decide what a cache holds, in order.
    pub(super) fn replay(mut self, plan: &CachePlan<'_>, capacity: u64, mut touch: impl FnMut(&Cursor)) {
        let from = self.last(capacity);
        let range = (from, self.rounds);
        let Ok(()) = each_round::<Infallible>(plan, &mut self.runs, range, |runs, _| {
            runs.iter().for_each(&mut touch);
            Ok(())
        });
    }
}
