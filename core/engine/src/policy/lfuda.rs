//! LFU with dynamic aging (Arlitt et al., "Evaluating Content Management Techniques for Web Proxy Caches", 2000).

use super::heap::GrowingHeap;
use super::{Policy, Setup};
use crate::error::Error;

/// Evicts the tensor with the lowest age + uses, where the age is that sum of the last victim at the time the
/// tensor was last used; among equals, the one whose last use is longest ago.
#[derive(Debug)]
pub struct Lfuda {
    heap: GrowingHeap,
    uses: Vec<u64>,
    age: u64,
}

impl Policy for Lfuda {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let tensors = setup.sizes.len();
        Ok(Self { heap: GrowingHeap::new(tensors), uses: vec![0; tensors], age: 0 })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        let uses = &mut self.uses[tensor as usize];
        *uses += 1;
        self.heap.raise(tensor, (self.age + *uses, now as u64));
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.uses[tensor as usize] = 1;
        self.heap.push(tensor, (self.age + 1, now as u64));
    }

    fn evict(&mut self) -> Option<u32> {
        let ((age, _), tensor) = self.heap.pop()?;
        self.age = age;
        Some(tensor)
    }

    fn remove(&mut self, tensor: u32) {
        self.heap.remove(tensor);
    }
}
