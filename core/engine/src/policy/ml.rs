//! Highest eviction score first: the prototype's rule.

use std::cmp::Reverse;
use std::sync::Arc;

use super::heap::IndexedHeap;
use super::{Policy, Setup};
use crate::error::Error;

/// Evicts the tensor whose latest access has the highest score; among equals, the one that came in first.
#[derive(Debug)]
pub struct Ml {
    scores: Arc<[f64]>,
    heap: IndexedHeap<(f64, Reverse<u64>)>,
    inserted: u64,
}

impl Policy for Ml {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self { scores: setup.scores()?, heap: IndexedHeap::new(setup.sizes.len()), inserted: 0 })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        let (_, inserted) = self.heap.key(tensor);
        self.heap.set(tensor, (self.scores[now], inserted));
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.inserted += 1;
        self.heap.set(tensor, (self.scores[now], Reverse(self.inserted)));
    }

    fn evict(&mut self) -> Option<u32> {
        self.heap.pop()
    }

    fn remove(&mut self, tensor: u32) {
        self.heap.remove(tensor);
    }
}
