//! First in, first out.

use super::list::Queue;
use super::{Policy, Setup};
use crate::error::Error;

/// Evicts the tensor that came in first; a hit changes nothing.
#[derive(Debug)]
pub struct Fifo(Queue);

impl Policy for Fifo {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self(Queue::new(setup.sizes.len())))
    }

    fn hit(&mut self, _tensor: u32, _now: usize) {}

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.0.push_newest(tensor);
    }

    fn evict(&mut self) -> u32 {
        self.0.pop_oldest()
    }
}
