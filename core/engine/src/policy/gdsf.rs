//! Greedy dual size frequency (Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency
//! Caching Policy", HP Labs 1998).

use super::heap::GrowingHeap;
use super::{Policy, Setup};
use crate::error::Error;

/// Evicts the tensor with the lowest clock + uses / bytes, where the clock is that sum of the last victim at the
/// time the tensor was last used; among equals, the one whose last use is longest ago.
#[derive(Debug)]
pub struct Gdsf {
    /// Keys are the bits of a number that is never negative: they order as the number does.
    heap: GrowingHeap,
    uses: Vec<u32>,
    sizes: Vec<f64>,
    clock: f64,
}

impl Gdsf {
    fn key(&self, tensor: u32, now: usize) -> (u64, u64) {
        let priority = self.clock + f64::from(self.uses[tensor as usize]) / self.sizes[tensor as usize];
        (priority.to_bits(), now as u64)
    }
}

impl Policy for Gdsf {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let tensors = setup.sizes.len();
        Ok(Self {
            heap: GrowingHeap::new(tensors),
            uses: vec![0; tensors],
            sizes: setup.sizes.iter().map(|bytes| *bytes as f64).collect(),
            clock: 0.0,
        })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        let uses = &mut self.uses[tensor as usize];
        *uses = uses.saturating_add(1);
        let key = self.key(tensor, now);
        // A tensor that grew may be worth less than before.
        self.heap.set(tensor, key);
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.uses[tensor as usize] = 1;
        let key = self.key(tensor, now);
        self.heap.push(tensor, key);
    }

    fn evict(&mut self) -> Option<u32> {
        let ((priority, _), tensor) = self.heap.pop()?;
        self.clock = f64::from_bits(priority);
        Some(tensor)
    }

    fn remove(&mut self, tensor: u32) {
        self.heap.remove(tensor);
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.sizes[tensor as usize] = bytes as f64;
    }
}
