//! Highest eviction score first: the prototype's rule.

use std::sync::Arc;

use super::heap::IndexedHeap;
use super::{Policy, Setup};
use crate::error::Error;

/// Evicts the tensor whose latest access has the highest score; among equals, the one used last.
///
/// Equal scores are frequent, and come most often of weights that are read in turn, over and over: there the most
/// recently used is the one needed last.
#[derive(Debug)]
pub struct Ml {
    scores: Arc<[f64]>,
    /// Score and time of the latest access.
    heap: IndexedHeap<(f64, usize)>,
}

impl Policy for Ml {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self { scores: setup.scores()?, heap: IndexedHeap::new(setup.sizes.len()) })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        self.insert(tensor, now);
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.heap.set(tensor, (self.scores[now], now));
    }

    fn evict(&mut self) -> Option<u32> {
        self.heap.pop()
    }

    fn remove(&mut self, tensor: u32) {
        self.heap.remove(tensor);
    }
}
