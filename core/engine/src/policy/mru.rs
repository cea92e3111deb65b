//! Most recently used.

use super::list::Queues;
use super::{Policy, Setup};
use crate::error::Error;

/// Evicts the tensor that was used last: good where the same order comes round again and again.
#[derive(Debug)]
pub struct Mru(Queues<1>);

impl Policy for Mru {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self(Queues::new(setup.sizes.len())))
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        self.0.make_newest(0, tensor);
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.0.push_newest(0, tensor);
    }

    fn evict(&mut self) -> Option<u32> {
        self.0.pop_newest(0)
    }

    fn remove(&mut self, tensor: u32) {
        self.0.remove(0, tensor);
    }
}
