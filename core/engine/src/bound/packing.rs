//! A schedule made by packing intervals greedily: it can be carried out, so the optimum is no worse.

use std::ops::Range;
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
        let mut batch = Vec::with_capacity(BATCH);
        while self.done < end {
            let to = end.min(self.done + BATCH);
            batch.clear();
            batch.extend(self.order[self.done..to].iter().map(|start| self.reuses.interval(*start)));
            self.load.touch(batch.iter().map(|interval| [interval.start, interval.end]));
            for interval in &batch {
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
            self.done = to;
        }
    }

    /// Misses of the schedule so far: every interval not packed misses.
    pub fn misses(&self) -> Misses {
        self.missed
    }
}

/// Intervals whose places in memory are fetched at once: one by one, each would wait for its own.
const BATCH: usize = 32;
/// Steps of a block, and nodes below a node: what a range has of its first and last one is gone through one by one.
const BLOCK: usize = 64;
const FAN: usize = 16;

/// Bytes resident at each step, with additions to and maxima over ranges in logarithmic time.
///
/// A tree that is wide and low, so that what is looked at lies beside each other. Both ends of a range climb it
/// together, from the blocks that hold its ends to the root: at each level the nodes between them are covered as a whole.
#[derive(Debug)]
struct Load {
    /// What was added to each step alone.
    steps: Vec<u64>,
    /// The blocks, then the nodes above them; the last level is the root.
    levels: Vec<Level>,
}

/// The nodes of a level.
#[derive(Debug)]
struct Level {
    /// What was added to all steps of each.
    added: Vec<u64>,
    /// The most of its steps, without what was added above it.
    most: Vec<u64>,
}

impl Level {
    fn new(most: Vec<u64>) -> Self {
        Self { added: vec![0; most.len()], most }
    }

    /// Adds `bytes` to all steps of `nodes`; the most of them.
    fn add(&mut self, nodes: Range<usize>, bytes: u64) -> u64 {
        self.added[nodes.clone()].iter_mut().for_each(|added| *added += bytes);
        self.most[nodes.clone()].iter_mut().for_each(|most| *most += bytes);
        greatest(&self.most[nodes])
    }
}

fn greatest(values: &[u64]) -> u64 {
    values.iter().fold(0, |most, value| most.max(*value))
}

/// The parts of `range` in the groups `first` and `last` of `width`; the second is empty where these are the same.
fn ends(range: Range<usize>, [first, last]: [usize; 2], width: usize) -> [Range<usize>; 2] {
    let Range { start, end } = range;
    if first == last { [start..end, end..end] } else { [start..(first + 1) * width, last * width..end] }
}

impl Load {
    fn new(steps: usize, own: impl Fn(usize) -> u64) -> Self {
        let steps: Vec<u64> = (0..steps).map(own).collect();
        let mut levels = vec![Level::new(steps.chunks(BLOCK).map(greatest).collect())];
        while let Some(below) = levels.last().filter(|level| level.most.len() > 1) {
            levels.push(Level::new(below.most.chunks(FAN).map(greatest).collect()));
        }
        Self { steps, levels }
    }

    /// Has the processor fetch what is asked about at some steps, all at once.
    fn touch(&self, steps: impl Iterator<Item = [u32; 2]>) {
        let mut sum = 0u64;
        for step in steps.flatten() {
            let at = (step as usize).min(self.steps.len() - 1);
            let Level { added, most } = &self.levels[0];
            sum ^= self.steps[at] ^ added[at / BLOCK] ^ most[at / BLOCK];
        }
        std::hint::black_box(sum);
    }

    /// Adds `bytes` to every step of `range`, unless one would then exceed `capacity`.
    fn add_if_fits(&mut self, range: Range<u32>, bytes: u64, capacity: u64) -> bool {
        let Some(room) = capacity.checked_sub(bytes) else { return false };
        let (from, to) = (range.start as usize, range.end as usize);
        let fits = from >= to || self.fits(from, to, room);
        if fits && from < to {
            self.add(from, to, bytes);
        }
        fits
    }

    /// Whether none of the steps `from..to` holds more than `room`.
    fn fits(&self, from: usize, to: usize, room: u64) -> bool {
        let [mut first, mut last] = [from / BLOCK, (to - 1) / BLOCK];
        let mut most = ends(from..to, [first, last], BLOCK).map(|part| greatest(&self.steps[part]));
        for level in &self.levels {
            most = [most[0] + level.added[first], most[1] + level.added[last]];
            if most[0].max(most[1]) > room {
                return false;
            }
            let above = [first / FAN, last / FAN];
            if first < last {
                let between = ends(first + 1..last, above, FAN).map(|nodes| greatest(&level.most[nodes]));
                most = [most[0].max(between[0]), most[1].max(between[1])];
            }
            [first, last] = above;
        }
        true
    }

    fn add(&mut self, from: usize, to: usize, bytes: u64) {
        let [mut first, mut last] = [from / BLOCK, (to - 1) / BLOCK];
        let mut most = ends(from..to, [first, last], BLOCK).map(|part| {
            self.steps[part.clone()].iter_mut().for_each(|step| *step += bytes);
            greatest(&self.steps[part])
        });
        for level in &mut self.levels {
            let before = level.most[first];
            for (node, most) in [first, last].into_iter().zip(&mut most) {
                // What is added only grows.
                *most = level.most[node].max(level.added[node] + *most);
                level.most[node] = *most;
            }
            let above = [first / FAN, last / FAN];
            if first < last {
                let between = ends(first + 1..last, above, FAN).map(|nodes| level.add(nodes, bytes));
                most = [most[0].max(between[0]), most[1].max(between[1])];
            } else if level.most[first] == before {
                return;
            }
            [first, last] = above;
        }
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
            own in prop::collection::vec(0u64..5, 1..40 * BLOCK),
            ranges in prop::collection::vec((0usize..40 * BLOCK, 0usize..40 * BLOCK, 0u64..8), 1..60),
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
                let [.., root] = &load.levels[..] else { unreachable!() };
                prop_assert_eq!(&root.most, &[greatest(&steps)]);
            }
        }
    }
}
