//! First in, first out.

use super::list::FifoQueue;
use super::{Policy, Setup};
use crate::error::Error;

/// Evicts the tensor that came in first; a hit changes nothing.
#[derive(Debug)]
pub struct Fifo(FifoQueue);

impl Policy for Fifo {
    fn new(_setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self(FifoQueue::default()))
    }

    fn hit(&mut self, _tensor: u32, _now: usize) {}

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.0.push(tensor);
    }

    fn evict(&mut self) -> Option<u32> {
        self.0.pop()
    }

    fn remove(&mut self, tensor: u32) {
        self.0.remove(tensor);
    }
}
