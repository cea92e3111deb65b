//! What is counted of a run: from which access on, and by intervals where they are asked for.

use crate::sim::{Cache, Counts, Interval, Report};
use crate::trace::Chunk;

/// Looks at the counts of a run where counting begins and where an interval ends.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    /// The first access that is counted, and the number of accesses.
    from: usize,
    accesses: usize,
    /// Accesses of an interval.
    interval: Option<usize>,
    /// What happened before counting began.
    before: Counts,
    /// What had happened at the end of the last interval, and where the next one ends.
    last: Counts,
    end: usize,
    intervals: Vec<Interval>,
}

impl Counter {
    /// Counts the accesses `from..accesses`.
    pub(super) fn new(from: usize, accesses: usize, interval: Option<usize>) -> Self {
        let end = interval.map_or(usize::MAX, |interval| from.saturating_add(interval));
        let (before, last) = (Counts::default(), Counts::default());
        Self { from, accesses, interval, before, last, end, intervals: Vec::new() }
    }

    /// The first access that is counted.
    pub(super) fn from(&self) -> usize {
        self.from
    }

    /// Counting begins here, where `counts` have happened.
    pub(super) fn begin(&mut self, counts: Counts) {
        self.before = counts;
    }

    /// Where counts have to be looked at next, behind access `at` and up to access `end`.
    pub(super) fn next(&self, at: usize, end: usize) -> usize {
        let from = if at < self.from { self.from } else { usize::MAX };
        end.min(from).min(self.end)
    }

    /// Looks at the counts of what precedes access `now`; whether counting begins here.
    pub(super) fn look(&mut self, now: usize, counts: Counts) -> bool {
        let begins = now == self.from && now > 0;
        if begins {
            (self.before, self.last) = (counts, counts);
        }
        if let Some(interval) = self.interval
            && (now == self.end || (now == self.accesses && now > self.from))
        {
            let Counts { hits, misses, hit_bytes, miss_bytes, .. } = counts.since(self.last);
            let (accesses, requested_bytes) = (hits + misses, hit_bytes + miss_bytes);
            self.intervals.push(Interval { end: now as u64, accesses, misses, requested_bytes, miss_bytes });
            self.last = counts;
            self.end = self.end.saturating_add(interval);
        }
        begins
    }

    /// Runs `chunk` in `memory`, and looks where it has to.
    pub(super) fn advance(&mut self, memory: &mut dyn Cache, chunk: Chunk<'_>) {
        let (start, end) = (chunk.start, chunk.start + chunk.accesses.len());
        let mut at = start;
        while at < end {
            let next = self.next(at, end);
            memory.advance(chunk.part(at - start, next - start));
            self.look(next, memory.counts());
            at = next;
        }
    }

    /// What happened before counting began.
    pub(super) fn before(&self) -> Counts {
        self.before
    }

    /// The report with its intervals.
    pub(super) fn report(self, report: Report) -> Report {
        Report { intervals: self.intervals, ..report }
    }
}
