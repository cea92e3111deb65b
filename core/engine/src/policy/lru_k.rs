//! LRU-K (O'Neil, O'Neil and Weikum, "The LRU-K Page Replacement Algorithm for Database Disk Buffering", SIGMOD 1993).

use super::heap::GrowingHeap;
use super::{Parameter, Policy, Setup};
use crate::error::Error;

/// The paper's K is at most this.
const MOST_USES: usize = 8;

/// Evicts the tensor whose K-th last use is longest ago; those used less often since they came in go before all
/// others, in the order in which they came in. What is evicted is forgotten, as in libCacheSim: the paper remembers
/// uses for a while.
#[derive(Debug)]
pub struct LruK {
    /// By the time of the K-th last use, or of insertion for those used less often.
    heap: GrowingHeap,
    /// The times of the last K uses of each tensor: a ring.
    times: Vec<u64>,
    /// Uses of each since it came in.
    uses: Vec<u64>,
    k: usize,
}

/// Behind every time of insertion.
const OFTEN: u64 = 1 << 63;

impl Policy for LruK {
    const PARAMETERS: &'static [Parameter] =
        &[Parameter::count("k", 2.0, [1.0, MOST_USES as f64], "the use that counts: the K-th last")];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let [k, ..] = setup.values::<Self>();
        let (k, tensors) = (k as usize, setup.sizes.len());
        Ok(Self { heap: GrowingHeap::new(tensors), times: vec![0; k * tensors], uses: vec![0; tensors], k })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        let ring = &mut self.times[tensor as usize * self.k..][..self.k];
        let uses = &mut self.uses[tensor as usize];
        ring[*uses as usize % self.k] = now as u64;
        *uses += 1;
        if *uses as usize >= self.k {
            let time = ring[*uses as usize % self.k];
            self.heap.raise(tensor, (OFTEN + time, now as u64));
        }
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.times[tensor as usize * self.k] = now as u64;
        self.uses[tensor as usize] = 1;
        let time = now as u64;
        self.heap.push(tensor, (if self.k == 1 { OFTEN + time } else { time }, time));
    }

    fn evict(&mut self) -> Option<u32> {
        self.heap.pop().map(|(_, tensor)| tensor)
    }

    fn remove(&mut self, tensor: u32) {
        self.heap.remove(tensor);
    }
}
