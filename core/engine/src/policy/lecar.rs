//! LeCaR (Vietri et al., "Driving Cache Replacement with ML-based LeCaR", HotStorage 2018), with sizes in bytes.

use super::heap::GrowingHeap;
use super::list::Segments;
use super::{Parameter, Policy, Setup};
use crate::error::Error;
use crate::math::{Powers, power};
use crate::rng::Rng;

// Residents by last use, and what each of the two evicted not long ago.
const RECENT: usize = 0;
const BY_LRU: usize = 1;
const BY_LFU: usize = 2;

/// The paper's discount: what a mistake weighs after as many accesses as the capacity is counted in.
const DISCOUNT: f64 = 0.005;

/// LRU and LFU each propose a victim, and chance decides by their weights. A miss on a tensor that one of them
/// evicted not long ago takes weight from that one, the more so the shorter ago that was.
#[derive(Debug)]
pub struct LeCaR {
    lists: Segments<3>,
    heap: GrowingHeap,
    evicted: Vec<usize>,
    half_bytes: u64,
    rate: f64,
    /// By what a mistake's weight shrinks with each access.
    discount: Powers,
    growth: Powers,
    /// The weight of LRU; LFU has the rest.
    weight: f64,
    now: usize,
    rng: Rng,
}

impl Policy for LeCaR {
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::share("rate", 0.45, "the learning rate"),
        Parameter::share("lru", 0.5, "the weight of LRU at the beginning"),
        Parameter::choice(
            "objects",
            "1: a mistake's weight shrinks over as many accesses as tensors fit, as in the paper; 0: as bytes, as in libCacheSim",
        ),
    ];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let tensors = setup.sizes.len();
        let [rate, weight, objects, _] = setup.values::<Self>();
        let span = if objects > 0.0 { setup.entries() as f64 } else { (setup.capacity_bytes as f64).max(1.0) };
        Ok(Self {
            lists: Segments::new(setup.sizes),
            heap: GrowingHeap::new(tensors),
            evicted: vec![0; tensors],
            half_bytes: setup.capacity_bytes / 2,
            rate,
            discount: Powers::of(power(DISCOUNT, 1.0 / span)),
            growth: Powers::of(std::f64::consts::E),
            weight,
            now: 0,
            rng: Rng::new(setup.seed, "lecar"),
        })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        self.lists.make_newest(RECENT, tensor);
        let (uses, _) = self.heap.key(tensor);
        self.heap.raise(tensor, (uses + 1, now as u64));
    }

    fn miss(&mut self, tensor: u32, now: usize) {
        self.now = now;
        let Some(by) = self.lists.place(tensor) else { return };
        let ago = now - self.evicted[tensor as usize];
        let kept = self.growth.raised(self.rate * self.discount.raised(ago as f64)).recip();
        let (mut lru, mut lfu) = (self.weight, 1.0 - self.weight);
        *(if by == BY_LRU { &mut lru } else { &mut lfu }) *= kept;
        // Neither ever has nothing.
        const LEAST: f64 = 1e-10;
        self.weight = (lru + LEAST) / (lru + lfu + 2.0 * LEAST);
        self.lists.remove(tensor);
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.lists.make_newest(RECENT, tensor);
        self.heap.push(tensor, (1, now as u64));
    }

    fn evict(&mut self) -> Option<u32> {
        let lru = self.lists.oldest(RECENT)?;
        let lfu = self.heap.peek()?;
        let by = match lru == lfu {
            true => None,
            // Hundredths, as in libCacheSim.
            false if f64::from(self.rng.below(100)) / 100.0 < self.weight => Some(BY_LRU),
            false => Some(BY_LFU),
        };
        let victim = if by == Some(BY_LFU) { lfu } else { lru };
        self.heap.remove(victim);
        self.lists.remove(victim);
        if let Some(by) = by {
            self.evicted[victim as usize] = self.now;
            self.lists.make_newest(by, victim);
            while self.lists.bytes(by) > self.half_bytes && self.lists.pop_oldest(by).is_some() {}
        }
        Some(victim)
    }

    fn remove(&mut self, tensor: u32) {
        self.heap.remove(tensor);
        self.lists.remove(tensor);
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.lists.resize(tensor, bytes);
    }
}
