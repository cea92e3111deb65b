//! The exact curve of LRU at all capacities, from the stack distances of one pass (Mattson et al., "Evaluation
//! Techniques for Storage Hierarchies", 1970), with sizes in bytes.
//!
//! LRU evicts from the cold end, so what is resident is always the top of the stack of recent uses, and a reuse hits
//! exactly where the distinct bytes since the last use, its own included, fit. Tensors larger than the memory are the
//! exception: they are never in the stack. So the curve holds from the largest tensor on; below it, a simulation is
//! needed. Where sizes change it holds nowhere: who left before a tensor shrank does not come back with the room. Nor
//! does it where tensors continue others, and leave with them.

use crate::bound::Misses;
use crate::order;
use crate::sim::Counts;
use crate::trace::Trace;
use crate::trace::reuse::StackDistances;

/// Hits at every capacity from the largest tensor on.
#[derive(Debug)]
pub struct LruCurve {
    /// Stack distances of the reuses, rising, with the bytes of all reuses up to each.
    reuses: Vec<(u64, u64)>,
    accesses: u64,
    requested_bytes: u64,
    largest: u64,
    /// Bytes of the tensors used last, one more of them each time: what is resident at the end are the first that fit.
    stack: Vec<u64>,
}

impl LruCurve {
    /// Measures `trace`, in which no size changes and no tensor continues another.
    pub fn new(trace: &Trace) -> Self {
        let mut stack = StackDistances::new(trace.tensors().len());
        let mut reuses = Vec::with_capacity(trace.accesses().len() - trace.tensors().len());
        reuses.extend(trace.sized().filter_map(|(tensor, bytes)| Some((stack.access(tensor, bytes)?, tensor))));
        drop(stack);
        order::sort(&mut reuses);
        let (sizes, mut sum) = (trace.sizes(), 0);
        let add = |(distance, tensor): (u64, u32)| {
            sum += sizes[tensor as usize];
            (distance, sum)
        };
        let reuses = reuses.into_iter().map(add).collect();
        let summary = trace.summary();
        let (mut seen, mut bytes) = (vec![false; sizes.len()], 0);
        let last_uses = trace.accesses().iter().rev().filter(|tensor| {
            let first = !seen[**tensor as usize];
            seen[**tensor as usize] = true;
            first
        });
        let add = |tensor: &u32| {
            bytes += sizes[*tensor as usize];
            bytes
        };
        let stack = last_uses.map(add).collect();
        Self {
            reuses,
            stack,
            accesses: summary.accesses,
            requested_bytes: summary.requested_bytes,
            largest: trace.tensors().iter().map(|t| t.bytes).max().unwrap_or(0),
        }
    }

    /// Misses at `capacity` bytes; none below the largest tensor, where the distances do not determine them.
    pub fn misses(&self, capacity: u64) -> Option<Misses> {
        if capacity < self.largest {
            return None;
        }
        let hits = self.reuses.partition_point(|(distance, _)| *distance <= capacity);
        let hit_bytes = hits.checked_sub(1).map_or(0, |last| self.reuses[last].1);
        Some(Misses { objects: self.accesses - hits as u64, bytes: self.requested_bytes - hit_bytes })
    }

    /// What a run at `capacity` bytes counts; none below the largest tensor.
    pub fn counts(&self, capacity: u64) -> Option<Counts> {
        let misses = self.misses(capacity)?;
        let residents = self.stack.partition_point(|bytes| *bytes <= capacity) as u64;
        Some(Counts {
            hits: self.accesses - misses.objects,
            misses: misses.objects,
            hit_bytes: self.requested_bytes - misses.bytes,
            miss_bytes: misses.bytes,
            // Every miss brought its tensor in.
            evictions: misses.objects - residents,
            ..Counts::default()
        })
    }

    /// The smallest capacity, of those that hold the largest tensor, that hits at least `hits` times.
    pub fn smallest_capacity(&self, hits: u64) -> Option<u64> {
        let distance = self.reuses.get((hits as usize).saturating_sub(1)).map(|(distance, _)| *distance);
        distance.map(|distance| distance.max(self.largest).max(1))
    }

    /// Capacity and misses of each step of the curve from the largest tensor on.
    pub(super) fn steps(&self) -> impl Iterator<Item = (u64, u64)> + Clone + '_ {
        let first = self.misses(self.largest).map(|misses| (self.largest, misses.objects));
        let from = self.reuses.partition_point(|(distance, _)| *distance <= self.largest);
        let rest = self.reuses[from..].iter().zip(from as u64 + 1..);
        first.into_iter().chain(rest.map(|((distance, _), hits)| (*distance, self.accesses - hits)))
    }
}
