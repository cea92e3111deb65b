//! A schedule made by packing intervals greedily: it can be carried out, so the optimum is no worse.

use super::lower::Lower;
use super::{Misses, Reuses};
use crate::policy::Admission;

/// Packs intervals one after the other: one that fits beside those before it, at every step, is kept.
///
/// The order is that of a [`Lower`] bound, the most value for its space-time first.
#[derive(Debug)]
pub struct Packing {
    reuses: Reuses,
    admission: Admission,
    capacity: u64,
    load: Load,
    order: Vec<u32>,
    done: usize,
    missed: Misses,
}

impl Packing {
    /// Nothing packed yet into `capacity` bytes, in the order and for the mode of `lower`.
    pub fn new(lower: &Lower, capacity: u64) -> Self {
        let reuses = lower.reuses.clone();
        let order = &reuses.future.order;
        let own = |now: usize| match lower.admission {
            Admission::Bypass => 0,
            // The tensor in use is in, if it fits at all.
            Admission::Always => {
                let bytes = reuses.sizes[order[now] as usize];
                if bytes <= capacity { bytes } else { 0 }
            }
        };
        let load = Load::new(reuses.accesses(), own);
        let missed = Misses { objects: reuses.accesses() as u64, bytes: reuses.requested_bytes(u64::MAX) as u64 };
        Self { admission: lower.admission, capacity, load, order: lower.starts().to_vec(), done: 0, missed, reuses }
    }

    /// Intervals looked at so far, and in all.
    pub fn progress(&self) -> (usize, usize) {
        (self.done, self.order.len())
    }

    /// Looks at up to `intervals` more.
    pub fn step(&mut self, intervals: usize) {
        let end = self.done.saturating_add(intervals).min(self.order.len());
        for i in self.done..end {
            let interval = self.reuses.interval(self.order[i]);
            let first = match self.admission {
                Admission::Bypass => interval.start,
                Admission::Always => interval.start + 1,
            };
            if self.load.add_if_fits(first..interval.end, interval.bytes, self.capacity) {
                self.missed.objects -= 1;
                self.missed.bytes -= interval.bytes;
            }
        }
        self.done = end;
    }

    /// Misses of the schedule so far: every interval not packed misses.
    pub fn misses(&self) -> Misses {
        self.missed
    }
}

/// Bytes resident at each step, with additions to and maxima over ranges in logarithmic time.
///
/// A node of the tree over the steps holds the maximum below it, without what was added to whole ranges above.
#[derive(Debug)]
struct Load {
    tree: Vec<u64>,
    leaves: usize,
}

impl Load {
    fn new(steps: usize, own: impl Fn(usize) -> u64) -> Self {
        let leaves = steps.next_power_of_two();
        let mut tree = vec![0; 2 * leaves];
        for (step, leaf) in tree[leaves..].iter_mut().enumerate().take(steps) {
            *leaf = own(step);
        }
        for node in (1..leaves).rev() {
            tree[node] = tree[2 * node].max(tree[2 * node + 1]);
        }
        Self { tree, leaves }
    }

    /// Adds `bytes` to every step of `range`, unless one would then exceed `capacity`.
    fn add_if_fits(&mut self, range: std::ops::Range<u32>, bytes: u64, capacity: u64) -> bool {
        let Some(room) = capacity.checked_sub(bytes) else { return false };
        let (from, to) = (range.start as usize, range.end as usize);
        if from >= to {
            return true;
        }
        if self.most(1, 0, self.leaves, from, to) > room {
            return false;
        }
        self.add(1, 0, self.leaves, from, to, bytes);
        true
    }

    /// What was added to the whole range of `node`.
    fn added(&self, node: usize) -> u64 {
        self.tree[node] - self.tree[2 * node].max(self.tree[2 * node + 1])
    }

    /// The most at the steps `from..to` within `node`, which covers `start..start + width`.
    fn most(&self, node: usize, start: usize, width: usize, from: usize, to: usize) -> u64 {
        if from <= start && start + width <= to {
            return self.tree[node];
        }
        let half = width / 2;
        let middle = start + half;
        let left = if from < middle { self.most(2 * node, start, half, from, to) } else { 0 };
        let right = if to > middle { self.most(2 * node + 1, middle, half, from, to) } else { 0 };
        self.added(node) + left.max(right)
    }

    fn add(&mut self, node: usize, start: usize, width: usize, from: usize, to: usize, bytes: u64) {
        if from <= start && start + width <= to {
            self.tree[node] += bytes;
            return;
        }
        let added = self.added(node);
        let half = width / 2;
        let middle = start + half;
        if from < middle {
            self.add(2 * node, start, half, from, to, bytes);
        }
        if to > middle {
            self.add(2 * node + 1, middle, half, from, to, bytes);
        }
        self.tree[node] = added + self.tree[2 * node].max(self.tree[2 * node + 1]);
    }
}
