//! The positions that a pass computes.

use std::ops::Range;

use crate::order;
use crate::workload::config::layers::Sees;
use crate::workload::requests::Request;

/// Positions of one request that a pass computes.
pub(super) struct Span {
    pub(super) request: usize,
    pub(super) positions: Range<u64>,
}

/// The beginning that prompts have in common: its keys and values are computed with the first of them, and kept once.
#[derive(Default)]
pub(super) struct Prefix {
    /// Positions of it that each request has.
    shared: Vec<u64>,
    /// Where its blocks end. Each request has whole blocks.
    ends: Vec<u64>,
    /// Positions of it that are computed.
    kept: u64,
}

impl Prefix {
    /// The common beginning of `requests`, in blocks of at most `block_positions`.
    pub(super) fn new(requests: &[Request], block_positions: u64) -> Self {
        let shared: Vec<u64> = requests.iter().map(|request| request.shared_tokens).collect();
        let mut ends = Vec::new();
        for index in order::by_key(shared.iter().copied()) {
            let end = shared[index as usize];
            let mut at = ends.last().copied().unwrap_or(0);
            while at < end {
                at = end.min(at + block_positions);
                ends.push(at);
            }
        }
        Self { shared, ends, kept: 0 }
    }

    /// Positions of it that `request` has; none where nothing is shared.
    pub(super) fn of(&self, request: usize) -> u64 {
        self.shared.get(request).copied().unwrap_or(0)
    }

    /// Positions of block number `block` of it.
    pub(super) fn positions(&self, block: usize) -> u64 {
        self.ends[block] - block.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// `request` is read: where it begins, behind what is computed of its beginning. All of that is, afterwards.
    pub(super) fn keep(&mut self, request: usize) -> u64 {
        let start = self.kept.min(self.of(request));
        self.kept = self.kept.max(self.of(request));
        start
    }

    /// The blocks of the common beginning that hold `positions` of `request`, and its own positions among them, counted
    /// from where the beginning ends.
    pub(super) fn parts(&self, request: usize, positions: &Range<u64>) -> (Range<usize>, Range<u64>) {
        let shared = self.of(request);
        let own = positions.start.max(shared) - shared..positions.end.max(shared) - shared;
        let end = positions.end.min(shared);
        if positions.start >= end {
            return (0..0, own);
        }
        let first = self.ends.partition_point(|block| *block <= positions.start);
        (first..self.ends.partition_point(|block| *block < end) + 1, own)
    }
}

/// Tokens of all spans.
pub(super) fn tokens(spans: &[Span]) -> u64 {
    spans.iter().map(count).sum()
}

/// Positions that the spans cover, each counted once.
pub(super) fn distinct(spans: &[Span]) -> u64 {
    let (mut end, mut sum) = (0, 0);
    for index in order::by_key(spans.iter().map(|span| span.positions.start)) {
        let range = &spans[index as usize].positions;
        sum += range.end.saturating_sub(range.start.max(end));
        end = end.max(range.end);
    }
    sum
}

pub(super) fn count(span: &Span) -> u64 {
    span.positions.end - span.positions.start
}

/// Pairs of a query at one of `positions` and a key that it sees.
pub(super) fn pairs(positions: &Range<u64>, causal: bool, sees: Sees) -> f64 {
    if !causal {
        let all = positions.end - positions.start;
        let seen = if let Sees::Window(window) = sees { all.min(window) } else { all };
        return all as f64 * seen as f64;
    }
    match sees {
        Sees::All => rising(positions, u64::MAX),
        Sees::Window(most) | Sees::Chosen(most) => rising(positions, most),
        // Each chunk begins anew.
        Sees::Chunk(chunk) => {
            let until = |end: u64| {
                let whole = (end / chunk) as f64 * rising(&(0..chunk), u64::MAX);
                whole + rising(&(0..end % chunk), u64::MAX)
            };
            until(positions.end) - until(positions.start)
        }
        Sees::Compressed { window, ratio, chosen } => {
            let entries = positions.clone().map(|position| ((position + 1) / ratio).min(chosen));
            rising(positions, window) + entries.sum::<u64>() as f64
        }
    }
}

/// Pairs of a query and one entry for each `ratio` positions up to its own.
pub(super) fn distinct_pairs(positions: &Range<u64>, ratio: u64) -> f64 {
    match ratio {
        0 | 1 => rising(positions, u64::MAX),
        ratio => positions.clone().map(|position| (position + 1) / ratio).sum::<u64>() as f64,
    }
}

/// Positions before the window is full see one more each; the others see as many as it holds.
fn rising(positions: &Range<u64>, window: u64) -> f64 {
    let full = window.clamp(positions.start, positions.end);
    let rising = (full - positions.start) as f64 * (positions.start + full + 1) as f64 / 2.0;
    rising + (positions.end - full) as f64 * window as f64
}
