//! Farthest predicted next use, as long as the predictions are worth it; LRU otherwise.

use std::sync::Arc;

use super::heap::IndexedHeap;
use super::list::Queues;
use super::lru::Lru;
use super::{Policy, Setup};
use crate::error::Error;
use crate::score::predicted_reuse_distance;

/// Predicts a tensor's next use from the score and the time of its last access, and prefers to evict the farthest.
///
/// Two shadow memories run along, one under the predictions and one under LRU. Victims are tensors that the better
/// of the two, by misses so far, has evicted as well: good predictions are followed, and bad ones cost little more
/// than LRU (two experts combined, as in Antoniadis et al., "Online Metric Algorithms with Untrusted Predictions",
/// ICML 2020).
#[derive(Debug)]
pub struct MlReuse {
    predicted: Shadow<Predicted>,
    recent: Shadow<Lru>,
    /// Residents by who else keeps them ([`group`]), each by time of its last change.
    residents: Queues<4>,
    /// The group of each resident.
    groups: Vec<Option<usize>>,
    /// What a shadow memory just evicted; kept to save allocations.
    evicted: Vec<u32>,
}

/// The part of LRU's misses that predictions must save: one in so many.
const MARGIN: u64 = 16;
/// Misses that they must save in any case, so that chance at the start does not decide.
const LEAST_LEAD: u64 = 16;

impl MlReuse {
    /// Lets both shadow memories see the access.
    fn shadow(&mut self, tensor: u32, now: usize) {
        let mut evicted = std::mem::take(&mut self.evicted);
        self.predicted.access(tensor, now, &mut evicted);
        self.recent.access(tensor, now, &mut evicted);
        for victim in evicted.drain(..) {
            if let Some(from) = self.groups[victim as usize] {
                self.residents.remove(from, victim);
                self.admit(victim);
            }
        }
        self.evicted = evicted;
    }

    /// Whether the predictions have saved enough of LRU's misses to be followed. Changing sides costs misses too, so a
    /// small lead does not count, and where they never get ahead this is LRU, miss for miss.
    fn predictions_pay(&self) -> bool {
        self.predicted.misses + self.recent.misses / MARGIN + LEAST_LEAD < self.recent.misses
    }

    /// Puts a resident that is in no group into its group.
    fn admit(&mut self, tensor: u32) {
        let group = group(self.predicted.keeps(tensor), self.recent.keeps(tensor));
        self.groups[tensor as usize] = Some(group);
        self.residents.push_newest(group, tensor);
    }
}

/// The group of a resident.
fn group(predicted_keeps: bool, recent_keeps: bool) -> usize {
    usize::from(predicted_keeps) + 2 * usize::from(recent_keeps)
}

impl Policy for MlReuse {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let tensors = setup.sizes.len();
        Ok(Self {
            predicted: Shadow::new(setup)?,
            recent: Shadow::new(setup)?,
            residents: Queues::new(tensors),
            groups: vec![None; tensors],
            evicted: Vec::new(),
        })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        self.shadow(tensor, now);
        if let Some(from) = self.groups[tensor as usize] {
            self.residents.remove(from, tensor);
        }
        self.admit(tensor);
    }

    fn miss(&mut self, tensor: u32, now: usize) {
        self.shadow(tensor, now);
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.admit(tensor);
    }

    fn evict(&mut self) -> Option<u32> {
        // First whom neither keeps, then whom only the worse of the two keeps.
        let only_worse = if self.predictions_pay() { group(false, true) } else { group(true, false) };
        let order = [group(false, false), only_worse, 3 - only_worse, group(true, true)];
        let victim = order.into_iter().find_map(|group| self.residents.pop_oldest(group))?;
        self.groups[victim as usize] = None;
        Some(victim)
    }

    fn remove(&mut self, tensor: u32) {
        self.predicted.remove(tensor);
        self.recent.remove(tensor);
        if let Some(from) = self.groups[tensor as usize].take() {
            self.residents.remove(from, tensor);
        }
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.predicted.resize(tensor, bytes);
        self.recent.resize(tensor, bytes);
    }
}

/// A memory that moves no data: it counts what its policy would have missed.
#[derive(Debug)]
struct Shadow<P> {
    policy: P,
    sizes: Vec<u64>,
    kept: Vec<bool>,
    capacity_bytes: u64,
    used_bytes: u64,
    misses: u64,
}

impl<P: Policy> Shadow<P> {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self {
            policy: P::new(setup)?,
            sizes: setup.sizes.to_vec(),
            kept: vec![false; setup.sizes.len()],
            capacity_bytes: setup.capacity_bytes,
            used_bytes: 0,
            misses: 0,
        })
    }

    fn keeps(&self, tensor: u32) -> bool {
        self.kept[tensor as usize]
    }

    /// Uses `tensor`, which fits; adds to `evicted` who made room for it.
    fn access(&mut self, tensor: u32, now: usize, evicted: &mut Vec<u32>) {
        if self.keeps(tensor) {
            self.policy.hit(tensor, now);
            return self.make_room(self.capacity_bytes, evicted);
        }
        self.misses += 1;
        let bytes = self.sizes[tensor as usize];
        self.make_room(self.capacity_bytes - bytes, evicted);
        self.kept[tensor as usize] = true;
        self.used_bytes += bytes;
        self.policy.insert(tensor, now);
    }

    /// Evicts until at most `most` bytes are used.
    fn make_room(&mut self, most: u64, evicted: &mut Vec<u32>) {
        while self.used_bytes > most {
            let Some(victim) = self.policy.evict() else { break };
            self.kept[victim as usize] = false;
            self.used_bytes -= self.sizes[victim as usize];
            evicted.push(victim);
        }
    }

    fn remove(&mut self, tensor: u32) {
        if std::mem::take(&mut self.kept[tensor as usize]) {
            self.used_bytes -= self.sizes[tensor as usize];
            self.policy.remove(tensor);
        }
    }

    /// One that outgrows the memory leaves it; others make room at the next access.
    fn resize(&mut self, tensor: u32, bytes: u64) {
        if bytes > self.capacity_bytes {
            self.remove(tensor);
        }
        let before = std::mem::replace(&mut self.sizes[tensor as usize], bytes);
        self.policy.resize(tensor, bytes);
        if self.keeps(tensor) {
            self.used_bytes = self.used_bytes - before + bytes;
        }
    }
}

/// The farthest predicted next use first; among equals, the higher number.
#[derive(Debug)]
struct Predicted {
    scores: Arc<[f64]>,
    heap: IndexedHeap<(u64, u32)>,
}

impl Policy for Predicted {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self { scores: setup.scores()?, heap: IndexedHeap::new(setup.sizes.len()) })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        self.insert(tensor, now);
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        let next_use = (now as u64).saturating_add(predicted_reuse_distance(self.scores[now]));
        self.heap.set(tensor, (next_use, tensor));
    }

    fn evict(&mut self) -> Option<u32> {
        self.heap.pop()
    }

    fn remove(&mut self, tensor: u32) {
        self.heap.remove(tensor);
    }
}
