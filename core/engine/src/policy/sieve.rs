//! SIEVE (Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024).

use super::list::Queues;
use super::{Policy, Setup};
use crate::error::Error;

/// A queue in order of insertion, and a hand that moves from the oldest to the newest: it clears the mark of
/// the tensors used since it last passed, and evicts the first without a mark. Nothing moves in the queue.
#[derive(Debug)]
pub struct Sieve {
    queue: Queues<1>,
    visited: Vec<bool>,
    /// Where the hand goes on; at the oldest, if nowhere.
    hand: Option<u32>,
}

impl Policy for Sieve {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let tensors = setup.sizes.len();
        Ok(Self { queue: Queues::new(tensors), visited: vec![false; tensors], hand: None })
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        self.visited[tensor as usize] = true;
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.visited[tensor as usize] = false;
        self.queue.push_newest(0, tensor);
    }

    fn evict(&mut self) -> Option<u32> {
        let mut at = self.hand.or_else(|| self.queue.oldest(0))?;
        while std::mem::take(&mut self.visited[at as usize]) {
            at = self.queue.newer(at).or_else(|| self.queue.oldest(0))?;
        }
        self.hand = self.queue.newer(at);
        self.queue.remove(0, at);
        Some(at)
    }

    fn remove(&mut self, tensor: u32) {
        if self.hand == Some(tensor) {
            self.hand = self.queue.newer(tensor);
        }
        self.queue.remove(0, tensor);
    }
}
