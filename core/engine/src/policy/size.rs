//! The largest first (Williams et al., "Removal Policies in Network Caches for World-Wide Web Documents", SIGCOMM
//! 1996).

use super::heap::{IndexedHeap, Key};
use super::{Policy, Setup};
use crate::error::Error;

/// Evicts the largest tensor; among equals, the one used longest ago.
#[derive(Debug)]
pub struct Size {
    heap: IndexedHeap<Key>,
    sizes: Vec<u64>,
}

impl Policy for Size {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self { heap: IndexedHeap::new(setup.sizes.len()), sizes: setup.sizes.to_vec() })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        self.heap.set(tensor, (self.sizes[tensor as usize], !(now as u64)));
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.hit(tensor, now);
    }

    fn evict(&mut self) -> Option<u32> {
        self.heap.pop()
    }

    fn remove(&mut self, tensor: u32) {
        self.heap.remove(tensor);
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.sizes[tensor as usize] = bytes;
    }
}
