//! Farthest predicted next use, as long as predictions are not worse than LRU.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::list::Queues;
use super::lru::Lru;
use super::{Admission, Policy, Setup};
use crate::error::Error;
use crate::score::predicted_reuse_distance;

/// Predicts a tensor's next use from the score and the time of its last access, and prefers to evict the tensor with the
/// greatest product of the time to it, or since it where it has passed, and the square root of the size.
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

/// The misses by which LRU must be ahead before it is followed. Predictions come first: those that learn have little to
/// go by at the start (measured in `docs/learned.md`).
const LEAD: u64 = 32;

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

    /// Whether LRU is not so far ahead that it is followed.
    fn predictions_pay(&self) -> bool {
        self.predicted.misses < self.recent.misses + LEAD
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

    fn distrusts_scores(&self) -> bool {
        !self.predictions_pay()
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
    admission: Admission,
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
            admission: setup.admission,
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
        } else {
            self.misses += 1;
            self.policy.miss(tensor, now);
            let bytes = self.sizes[tensor as usize];
            if self.admission == Admission::Always {
                self.make_room(self.capacity_bytes - bytes, evicted);
            }
            self.kept[tensor as usize] = true;
            self.used_bytes += bytes;
            self.policy.insert(tensor, now);
        }
        self.make_room(self.capacity_bytes, evicted);
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

/// The greatest |predicted next use - now| x sqrt(bytes) first, sizes rounded down to powers of two.
///
/// A prediction that did not come true is no sign of a use to come: the longer it is overdue, the worse it was
/// (Shah, Jain and Lin, "Effective Mimicry of Belady's MIN Policy", HPCA 2022, evict by the absolute time as well). The
/// root stands between the rules that are best for misses and for bytes. As time passes the order changes, but not
/// within those of a size that are due, nor within those that are overdue: the victim is at an end of a set.
///
/// Among equals the larger size leaves, of one size who is overdue; then the lower number of those overdue, the higher
/// number of the others.
#[derive(Debug)]
struct Predicted {
    scores: Arc<[f64]>,
    now: u64,
    /// The [`class`] of each tensor's size.
    classes: Vec<u8>,
    /// What stands in the set for each tensor, its predicted next use and its number; 0 where it is in none.
    keys: Vec<u64>,
    /// The residents of each class.
    sets: Vec<BTreeSet<u64>>,
    /// The classes that have residents, as bits.
    occupied: u64,
}

/// The power of two of a size; nothing counts as a byte.
fn class(bytes: u64) -> u8 {
    bytes.max(1).ilog2() as u8
}

impl Predicted {
    fn set(&mut self, tensor: u32, key: u64) {
        let class = self.classes[tensor as usize];
        let before = std::mem::replace(&mut self.keys[tensor as usize], key);
        let set = &mut self.sets[usize::from(class)];
        if before != 0 {
            set.remove(&before);
        }
        if key != 0 {
            set.insert(key);
        }
        let bit = 1 << class;
        if set.is_empty() { self.occupied &= !bit } else { self.occupied |= bit }
    }
}

impl Policy for Predicted {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self {
            scores: setup.scores()?,
            now: 0,
            classes: setup.sizes.iter().map(|bytes| class(*bytes)).collect(),
            keys: vec![0; setup.sizes.len()],
            sets: vec![BTreeSet::new(); u64::BITS as usize],
            occupied: 0,
        })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        self.insert(tensor, now);
    }

    fn miss(&mut self, _tensor: u32, now: usize) {
        self.now = now as u64;
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.now = now as u64;
        // Both fit 32 bits: a trace has at most 2^28 accesses, and a prediction is at most 2^18.
        let next_use = self.now + predicted_reuse_distance(self.scores[now]);
        self.set(tensor, next_use << 32 | u64::from(tensor));
    }

    fn evict(&mut self) -> Option<u32> {
        let mut greatest = (-1.0, 0);
        let mut classes = self.occupied;
        while classes != 0 {
            let class = classes.trailing_zeros();
            classes &= classes - 1;
            let set = &self.sets[class as usize];
            let (Some(&first), Some(&last)) = (set.first(), set.last()) else { continue };
            let (overdue, ahead) = (self.now.checked_sub(first >> 32), (last >> 32).saturating_sub(self.now));
            let (time, key) = match overdue {
                Some(overdue) if overdue >= ahead => (overdue, first),
                _ => (ahead, last),
            };
            // The square of the product: a power of two keeps it exact.
            let product = time as f64 * time as f64 * (1u64 << class) as f64;
            if product >= greatest.0 {
                greatest = (product, key);
            }
        }
        let tensor = greatest.1 as u32;
        (greatest.0 >= 0.0).then(|| {
            self.set(tensor, 0);
            tensor
        })
    }

    fn remove(&mut self, tensor: u32) {
        self.set(tensor, 0);
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        let key = self.keys[tensor as usize];
        self.set(tensor, 0);
        self.classes[tensor as usize] = class(bytes);
        self.set(tensor, key);
    }
}
