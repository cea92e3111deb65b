//! CLOCK with one reference bit (Corbató, "A Paging Experiment with the Multics System", 1968).

use std::collections::VecDeque;

use super::{Policy, Setup};
use crate::error::Error;

/// A queue in order of insertion; a tensor used since the hand last passed it goes round once more.
#[derive(Debug)]
pub struct Clock {
    queue: VecDeque<u32>,
    used: Vec<bool>,
}

impl Policy for Clock {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self { queue: VecDeque::new(), used: vec![false; setup.sizes.len()] })
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        self.used[tensor as usize] = true;
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.used[tensor as usize] = false;
        self.queue.push_back(tensor);
    }

    fn evict(&mut self) -> Option<u32> {
        loop {
            let tensor = self.queue.pop_front()?;
            if !std::mem::take(&mut self.used[tensor as usize]) {
                return Some(tensor);
            }
            self.queue.push_back(tensor);
        }
    }
}
