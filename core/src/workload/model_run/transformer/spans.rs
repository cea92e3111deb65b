//! The positions that a pass computes.

use std::ops::Range;

use crate::order;

/// Positions of one request that a pass computes.
pub(super) struct Span {
    pub(super) request: usize,
    pub(super) positions: Range<u64>,
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
pub(super) fn pairs(positions: &Range<u64>, causal: bool, window: u64) -> f64 {
    if !causal {
        let all = (positions.end - positions.start) as f64;
        return all * all;
    }
    // Positions before the window is full see one more each; the others see as many as it holds.
    let full = window.clamp(positions.start, positions.end);
    let rising = (full - positions.start) as f64 * (positions.start + full + 1) as f64 / 2.0;
    rising + (positions.end - full) as f64 * window as f64
}
