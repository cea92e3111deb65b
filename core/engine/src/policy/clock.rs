//! CLOCK with one reference bit (Corbató, "A Paging Experiment with the Multics System", 1968).

use super::list::FifoQueue;
use super::{Policy, Setup};
use crate::error::Error;

/// A queue in order of insertion; a tensor used since the hand last passed it goes round once more.
#[derive(Debug)]
pub struct Clock {
    queue: FifoQueue,
    used: Vec<bool>,
}

impl Policy for Clock {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self { queue: FifoQueue::default(), used: vec![false; setup.sizes.len()] })
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        self.used[tensor as usize] = true;
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.used[tensor as usize] = false;
        self.queue.push(tensor);
    }

    fn evict(&mut self) -> Option<u32> {
        loop {
            let tensor = self.queue.pop()?;
            if !std::mem::take(&mut self.used[tensor as usize]) {
                return Some(tensor);
            }
            self.queue.push(tensor);
        }
    }

    fn remove(&mut self, tensor: u32) {
        self.queue.remove(tensor);
    }
}
