//! Farthest next use (Belady, "A Study of Replacement Algorithms for a Virtual-Storage Computer", 1966).

use std::sync::Arc;

use super::{Policy, Setup};
use crate::error::Error;
use crate::trace::reuse::{Future, NEVER, TimeSet};

/// Evicts the tensor whose next use is farthest away. Best possible where all sizes are equal, and only there.
#[derive(Debug)]
pub struct Belady {
    future: Arc<Future>,
    /// The next uses of the residents that have one, and uses of the past.
    next_uses: TimeSet,
    now: usize,
    /// Residents that are not used again.
    done: Vec<u32>,
}

impl Policy for Belady {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let future = setup.future()?;
        Ok(Self { next_uses: TimeSet::new(future.next_use.len()), future, now: 0, done: Vec::new() })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        self.insert(tensor, now);
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.now = now;
        match self.future.next_use[now] {
            NEVER => self.done.push(tensor),
            next => self.next_uses.insert(next),
        }
    }

    fn evict(&mut self) -> Option<u32> {
        self.done.pop().or_else(|| {
            // Uses that came true stay in the set: every resident's next use lies behind them.
            let farthest = self.next_uses.last().filter(|next| *next as usize > self.now)?;
            self.next_uses.remove(farthest);
            Some(self.future.order[farthest as usize])
        })
    }
}
