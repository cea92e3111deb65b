//! Cacheus (Rodriguez et al., "Learning Cache Replacement with CACHEUS", FAST 2021), with sizes in bytes.

use super::heap::{IndexedHeap, Key};
use super::list::Segments;
use super::{Parameter, Policy, Setup};
use crate::error::Error;
use crate::math::power;
use crate::rng::Rng;

// The lists of its LRU that resists scans: used once or long ago, used again, and evicted not long ago.
const SCAN: usize = 0;
const REUSED: usize = 1;
const HISTORY: usize = 2;

// Who evicted what not long ago.
const BY_LRU: usize = 0;
const BY_LFU: usize = 1;

#[derive(Debug, Clone, Copy, Default)]
struct State {
    uses: u64,
    /// Evicted before it was used again.
    new: bool,
    /// Fell from the reused to the others.
    demoted: bool,
}

/// An LRU that resists scans and an LFU that resists churn each propose a victim, and chance decides by their weights.
/// A miss on a tensor that one of them evicted not long ago takes weight from that one.
///
/// The LRU gives a half to tensors that were used again and a half to the others, which leave when they exceed it, as
/// in libCacheSim (0.3.5). In the paper and its authors' code the border moves; there, newcomers may use whatever is
/// free.
#[derive(Debug)]
pub struct Cacheus {
    lists: Segments<3>,
    ghosts: Segments<2>,
    /// The fewest uses first; among equals, the one used last.
    heap: IndexedHeap<Key>,
    states: Vec<State>,
    capacity_bytes: u64,
    /// How many bytes belong to tensors that were not used again.
    scan_bytes: u64,
    moving: bool,
    demoted: u64,
    new: u64,
    /// What a mistake leaves of a weight.
    kept: f64,
    /// The weight of LRU; LFU has the rest.
    weight: f64,
    known: bool,
    incoming_bytes: u64,
    rng: Rng,
}

impl Cacheus {
    /// Moves the oldest of the reused to the others until `bytes` more fit.
    fn demote(&mut self, bytes: u64) {
        let most = self.capacity_bytes - self.scan_bytes;
        while self.lists.bytes(REUSED).saturating_add(bytes) > most {
            let Some(oldest) = self.lists.oldest(REUSED) else { break };
            self.lists.make_newest(SCAN, oldest);
            if !std::mem::replace(&mut self.states[oldest as usize].demoted, true) {
                self.demoted += 1;
            }
        }
    }

    /// How far the border between the lists moves for a tensor of `bytes`.
    fn step(&self, bytes: u64, there: u64, here: u64) -> u64 {
        if self.moving { bytes.saturating_mul((there / here.max(1)).max(1)) } else { 0 }
    }

    fn use_again(&mut self, tensor: u32, now: usize) {
        let uses = &mut self.states[tensor as usize].uses;
        *uses += 1;
        self.heap.set(tensor, (!*uses, now as u64));
    }
}

impl Policy for Cacheus {
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::share("rate", 0.0, "the learning rate; 0: drawn by chance from 0.001 to 1, as in libCacheSim"),
        Parameter::share("lru", 0.5, "the weight of LRU at the beginning"),
        Parameter::choice(
            "moving",
            "1: the border between new and reused tensors moves, and newcomers may use all that is free, as the \
             paper's authors have it; 0: it stays in the middle and newcomers keep to their half, as in libCacheSim",
        ),
    ];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let tensors = setup.sizes.len();
        let [rate, weight, moving, _] = setup.values::<Self>();
        let mut rng = Rng::new(setup.seed, "cacheus");
        let rate = if rate > 0.0 { rate } else { 0.001 + f64::from(rng.below(1000)) / 1000.0 };
        Ok(Self {
            lists: Segments::new(setup.sizes),
            ghosts: Segments::new(setup.sizes),
            heap: IndexedHeap::new(tensors),
            states: vec![State::default(); tensors],
            capacity_bytes: setup.capacity_bytes,
            scan_bytes: setup.capacity_bytes / 2,
            moving: moving > 0.0,
            demoted: 0,
            new: 0,
            kept: power(std::f64::consts::E, rate).recip(),
            weight,
            known: false,
            incoming_bytes: 0,
            rng,
        })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        if self.lists.place(tensor) == Some(SCAN) {
            if std::mem::take(&mut self.states[tensor as usize].demoted) {
                let step = self.step(self.lists.size(tensor), self.new, self.demoted);
                self.scan_bytes = self.scan_bytes.saturating_sub(step);
                self.demoted -= 1;
            }
            self.states[tensor as usize].new = false;
        }
        self.incoming_bytes = 0;
        self.lists.make_newest(REUSED, tensor);
        self.demote(0);
        self.use_again(tensor, now);
    }

    fn miss(&mut self, tensor: u32, _now: usize) {
        let (mut lru, mut lfu) = (self.weight, 1.0 - self.weight);
        match self.ghosts.place(tensor) {
            Some(BY_LRU) => lru *= self.kept,
            Some(_) => lfu *= self.kept,
            None => {}
        }
        self.weight = if lru + lfu > 0.0 { lru / (lru + lfu) } else { self.weight };
        self.ghosts.remove(tensor);
        self.known = self.lists.place(tensor) == Some(HISTORY);
        self.lists.remove(tensor);
        self.incoming_bytes = self.lists.size(tensor);
        let State { uses, new, .. } = self.states[tensor as usize];
        if self.known {
            if new {
                let step = self.step(self.incoming_bytes, self.demoted, self.new);
                self.scan_bytes = self.scan_bytes.saturating_add(step).min(self.capacity_bytes);
                self.new = self.new.saturating_sub(1);
            }
            self.demote(self.incoming_bytes);
            self.states[tensor as usize] = State { uses, ..State::default() };
        } else {
            self.states[tensor as usize] = State { new: true, ..State::default() };
        }
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.lists.make_newest(if self.known { REUSED } else { SCAN }, tensor);
        self.use_again(tensor, now);
        self.incoming_bytes = 0;
    }

    fn crowded(&self) -> bool {
        let newcomer = if self.known { 0 } else { self.incoming_bytes };
        // The half holds one tensor at least.
        let alone = newcomer == 0 && self.lists.newest(SCAN) == self.lists.oldest(SCAN);
        !self.moving
            && !alone
            && !self.lists.is_empty(SCAN)
            && self.lists.bytes(SCAN).saturating_add(newcomer) > self.scan_bytes
    }

    fn evict(&mut self) -> Option<u32> {
        let lru = self.lists.oldest(SCAN).or_else(|| self.lists.oldest(REUSED))?;
        let lfu = self.heap.peek()?;
        let used = self.lists.bytes(SCAN) + self.lists.bytes(REUSED);
        // What only exceeds the half of newcomers leaves without a choice.
        let forced = used.saturating_add(self.incoming_bytes) <= self.capacity_bytes && self.crowded();
        let by = match forced || lru == lfu {
            true => None,
            false if self.rng.unit() < self.weight => Some(BY_LRU),
            false => Some(BY_LFU),
        };
        let victim = if by == Some(BY_LFU) { lfu } else { lru };
        self.remove(victim);
        if self.states[victim as usize].new {
            self.new += 1;
        }
        self.lists.make_newest(HISTORY, victim);
        while self.lists.bytes(HISTORY) > self.capacity_bytes {
            let Some(oldest) = self.lists.pop_oldest(HISTORY) else { break };
            if self.states[oldest as usize].new {
                self.new = self.new.saturating_sub(1);
            }
        }
        if let Some(by) = by {
            self.ghosts.make_newest(by, victim);
            while self.ghosts.bytes(by) > self.capacity_bytes / 2 && self.ghosts.pop_oldest(by).is_some() {}
        }
        Some(victim)
    }

    fn remove(&mut self, tensor: u32) {
        self.heap.remove(tensor);
        self.lists.remove(tensor);
        if std::mem::take(&mut self.states[tensor as usize].demoted) {
            self.demoted -= 1;
        }
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.lists.resize(tensor, bytes);
        self.ghosts.resize(tensor, bytes);
    }
}
