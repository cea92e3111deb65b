//! First in, first out.

use std::collections::VecDeque;

use super::{Policy, Setup};
use crate::error::Error;

/// Evicts the tensor that came in first; a hit changes nothing.
#[derive(Debug)]
pub struct Fifo(VecDeque<u32>);

impl Policy for Fifo {
    fn new(_setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self(VecDeque::new()))
    }

    fn hit(&mut self, _tensor: u32, _now: usize) {}

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.0.push_back(tensor);
    }

    fn evict(&mut self) -> Option<u32> {
        self.0.pop_front()
    }
}
