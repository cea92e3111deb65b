//! Least recently used.

use super::list::Queue;
use super::{Policy, Setup};
use crate::error::Error;

/// Evicts the tensor whose last use is longest ago.
#[derive(Debug)]
pub struct Lru(Queue);

impl Policy for Lru {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self(Queue::new(setup.sizes.len())))
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        self.0.make_newest(tensor);
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.0.push_newest(tensor);
    }

    fn evict(&mut self) -> u32 {
        self.0.pop_oldest()
    }
}
