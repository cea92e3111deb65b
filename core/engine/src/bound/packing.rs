//! A schedule made by packing intervals greedily: it can be carried out, so the optimum is no worse.

use std::sync::Arc;

use super::lower::Lower;
use super::{Misses, Reuses};
use crate::policy::Admission;

/// Packs intervals one after the other: one that fits beside those before it, at every step, is kept.
///
/// The order is that of a [`Lower`] bound, the most value for its space-time first. Where tensors continue others, a
/// packing is no schedule: an interval may need another one that was not packed.
#[derive(Debug)]
pub struct Packing {
    reuses: Reuses,
    admission: Admission,
    capacity: u64,
    load: Load,
    order: Arc<[u32]>,
    done: usize,
    missed: Misses,
}

impl Packing {
    /// Nothing packed yet into `capacity` bytes, in the order and for the mode of `lower`.
    pub fn new(lower: &Lower, capacity: u64) -> Self {
        let reuses = lower.reuses.clone();
        let own = |now: usize| match lower.admission {
            Admission::Bypass => 0,
            // The tensor in use is in, if it fits at all.
            Admission::Always => {
                let (bytes, _) = reuses.size(now as u32);
                if bytes <= capacity { bytes } else { 0 }
            }
        };
        let load = Load::new(reuses.accesses(), own);
        let missed = Misses { objects: reuses.counted() as u64, bytes: reuses.requested_bytes() };
        Self { admission: lower.admission, capacity, load, order: lower.starts(), done: 0, missed, reuses }
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
            if interval.hit_bytes > self.capacity {
                continue;
            }
            if self.load.add_if_fits(first..interval.end, interval.bytes, self.capacity) {
                self.missed.objects -= 1;
                self.missed.bytes -= interval.hit_bytes;
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
/// A node of the tree over the steps holds the maximum below it, without what was added to whole ranges above. A node
/// over `width` steps is followed by its left half, then its right: no step has more than two nodes.
#[derive(Debug)]
struct Load {
    tree: Vec<u64>,
    steps: usize,
}

/// A node: its place in the tree, and the steps it covers.
#[derive(Debug, Clone, Copy)]
struct Node {
    at: usize,
    start: usize,
    width: usize,
}

impl Node {
    fn halves(self) -> (Self, Self) {
        let Self { at, start, width } = self;
        let half = width / 2;
        let left = Self { at: at + 1, start, width: half };
        (left, Self { at: at + 2 * half, start: start + half, width: width - half })
    }

    fn lies_within(self, from: usize, to: usize) -> bool {
        from <= self.start && self.start + self.width <= to
    }

    fn touches(self, from: usize, to: usize) -> bool {
        from < self.start + self.width && self.start < to
    }
}

impl Load {
    fn new(steps: usize, own: impl Fn(usize) -> u64) -> Self {
        let mut load = Self { tree: vec![0; 2 * steps], steps };
        if steps > 0 {
            load.fill(load.root(), &own);
        }
        load
    }

    fn root(&self) -> Node {
        Node { at: 0, start: 0, width: self.steps }
    }

    fn fill(&mut self, node: Node, own: &impl Fn(usize) -> u64) -> u64 {
        let most = if node.width == 1 {
            own(node.start)
        } else {
            let (left, right) = node.halves();
            self.fill(left, own).max(self.fill(right, own))
        };
        self.tree[node.at] = most;
        most
    }

    /// Adds `bytes` to every step of `range`, unless one would then exceed `capacity`.
    fn add_if_fits(&mut self, range: std::ops::Range<u32>, bytes: u64, capacity: u64) -> bool {
        let Some(room) = capacity.checked_sub(bytes) else { return false };
        let (from, to) = (range.start as usize, range.end as usize);
        if from >= to {
            return true;
        }
        if !self.fits(self.root(), from, to, room) {
            return false;
        }
        self.add(self.root(), from, to, bytes);
        true
    }

    /// The most in either half of a node.
    fn below(&self, node: Node) -> u64 {
        let (left, right) = node.halves();
        self.tree[left.at].max(self.tree[right.at])
    }

    /// What was added to all the steps of a node.
    fn added(&self, node: Node) -> u64 {
        self.tree[node.at] - self.below(node)
    }

    /// Whether none of the steps `from..to` that `node` covers holds more than `room`.
    fn fits(&self, node: Node, from: usize, to: usize, room: u64) -> bool {
        // Where all of the node fits, so does the part of it.
        if self.tree[node.at] <= room {
            return true;
        }
        if node.lies_within(from, to) {
            return false;
        }
        let Some(room) = room.checked_sub(self.added(node)) else { return false };
        let (left, right) = node.halves();
        [left, right].into_iter().all(|half| !half.touches(from, to) || self.fits(half, from, to, room))
    }

    fn add(&mut self, node: Node, from: usize, to: usize, bytes: u64) {
        if node.lies_within(from, to) {
            self.tree[node.at] += bytes;
            return;
        }
        let added = self.added(node);
        let (left, right) = node.halves();
        for half in [left, right] {
            if half.touches(from, to) {
                self.add(half, from, to, bytes);
            }
        }
        self.tree[node.at] = added + self.below(node);
    }
}
