//! What a cache has missed so far.

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Misses, by index into [`super::plan::CachePlan::sources`].
    pub(super) misses: Vec<u128>,
    /// Lines that were changed and go back, each when it is first written to since it came.
    pub(super) write_backs: u128,
}

impl Totals {
    /// Counts what happened since `before` `times` more.
    pub(super) fn repeat(&mut self, before: &Self, times: u64) {
        let more = |now: u128, before: u128| now.saturating_add((now - before).saturating_mul(times.into()));
        for (now, before) in self.misses.iter_mut().zip(&before.misses) {
            *now = more(*now, *before);
        }
        self.write_backs = more(self.write_backs, before.write_backs);
    }
}
