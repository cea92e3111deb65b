//! Least frequently used.

use super::heap::GrowingHeap;
use super::{Policy, Setup};
use crate::error::Error;

/// Evicts the tensor with the fewest uses since it came in; among equals, the one whose last use is longest ago.
#[derive(Debug)]
pub struct Lfu(GrowingHeap);

impl Policy for Lfu {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self(GrowingHeap::new(setup.sizes.len())))
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        let (uses, _) = self.0.key(tensor);
        self.0.raise(tensor, (uses + 1, now as u64));
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.0.push(tensor, (1, now as u64));
    }

    fn evict(&mut self) -> Option<u32> {
        self.0.pop().map(|(_, tensor)| tensor)
    }

    fn remove(&mut self, tensor: u32) {
        self.0.remove(tensor);
    }
}
