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

/// Steps of a block: what a range has of its first and its last block is gone through step by step.
const BLOCK: usize = 64;

/// Bytes resident at each step, with additions to and maxima over ranges in logarithmic time.
///
/// A node of the tree over blocks of steps holds the maximum below it, without what was added to whole ranges above. A
/// node over `width` blocks is followed by its left half, then its right: no block has more than two nodes. Blocks keep
/// the tree small enough for a processor's cache, and their steps lie beside each other.
#[derive(Debug)]
struct Load {
    tree: Vec<u64>,
    /// What was added to each block as a whole.
    wholes: Vec<u64>,
    /// What was added to each step besides.
    steps: Vec<u64>,
}

/// A node: its place in the tree, and the blocks it covers.
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
        from <= BLOCK * self.start && BLOCK * (self.start + self.width) <= to
    }

    fn touches(self, from: usize, to: usize) -> bool {
        from < BLOCK * (self.start + self.width) && BLOCK * self.start < to
    }

    /// The steps of `from..to` in its only block.
    fn part(self, from: usize, to: usize) -> std::ops::Range<usize> {
        from.max(BLOCK * self.start)..to.min(BLOCK * (self.start + 1))
    }
}

fn greatest(steps: &[u64]) -> u64 {
    steps.iter().fold(0, |most, step| most.max(*step))
}

impl Load {
    fn new(steps: usize, own: impl Fn(usize) -> u64) -> Self {
        let blocks = steps.div_ceil(BLOCK);
        let mut load =
            Self { tree: vec![0; 2 * blocks], wholes: vec![0; blocks], steps: (0..steps).map(own).collect() };
        if steps > 0 {
            load.fill(load.root());
        }
        load
    }

    fn root(&self) -> Node {
        Node { at: 0, start: 0, width: self.wholes.len() }
    }

    fn fill(&mut self, node: Node) -> u64 {
        let most = if node.width == 1 {
            greatest(&self.steps[node.part(0, self.steps.len())])
        } else {
            let (left, right) = node.halves();
            self.fill(left).max(self.fill(right))
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
        if node.width == 1 { self.wholes[node.start] } else { self.tree[node.at] - self.below(node) }
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
        if node.width == 1 {
            return greatest(&self.steps[node.part(from, to)]) <= room;
        }
        let (left, right) = node.halves();
        [left, right].into_iter().all(|half| !half.touches(from, to) || self.fits(half, from, to, room))
    }

    fn add(&mut self, node: Node, from: usize, to: usize, bytes: u64) {
        let added = self.added(node);
        if node.lies_within(from, to) {
            self.tree[node.at] += bytes;
            if node.width == 1 {
                self.wholes[node.start] += bytes;
            }
            return;
        }
        if node.width == 1 {
            let part = &mut self.steps[node.part(from, to)];
            part.iter_mut().for_each(|step| *step += bytes);
            // What is added only grows.
            self.tree[node.at] = self.tree[node.at].max(added + greatest(part));
            return;
        }
        let (left, right) = node.halves();
        for half in [left, right] {
            if half.touches(from, to) {
                self.add(half, from, to, bytes);
            }
        }
        self.tree[node.at] = added + self.below(node);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The same as a list of steps, over several blocks.
        #[test]
        fn loads_are_those_of_each_step(
            own in prop::collection::vec(0u64..5, 1..6 * BLOCK),
            ranges in prop::collection::vec((0usize..6 * BLOCK, 0usize..6 * BLOCK, 0u64..8), 1..60),
            capacity in 1u64..30,
        ) {
            let mut load = Load::new(own.len(), |step| own[step]);
            let mut steps = own;
            for (from, to, bytes) in ranges {
                let (from, to) = (from.min(steps.len()), to.min(steps.len()));
                let fits = from >= to || steps[from..to].iter().all(|step| step + bytes <= capacity);
                let range = from as u32..to as u32;
                prop_assert_eq!(load.add_if_fits(range, bytes, capacity), fits && bytes <= capacity);
                if fits && bytes <= capacity && from < to {
                    steps[from..to].iter_mut().for_each(|step| *step += bytes);
                }
                prop_assert_eq!(load.tree[0], greatest(&steps));
            }
        }
    }
}
