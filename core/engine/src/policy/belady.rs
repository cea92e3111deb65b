//! Farthest next use (Belady, "A Study of Replacement Algorithms for a Virtual-Storage Computer", 1966).

use std::collections::HashSet;
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
    /// Tensors that left unchosen and still stand in the set or among those that are not used again.
    gone: HashSet<u32>,
}

impl Policy for Belady {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let future = setup.future()?;
        Ok(Self {
            next_uses: TimeSet::new(future.next_use.len()),
            future,
            now: 0,
            done: Vec::new(),
            gone: HashSet::new(),
        })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        self.insert(tensor, now);
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.now = now;
        if !self.gone.is_empty() {
            self.gone.remove(&tensor);
        }
        match self.future.next_use[now] {
            NEVER => self.done.push(tensor),
            next => self.next_uses.insert(next),
        }
    }

    fn evict(&mut self) -> Option<u32> {
        loop {
            let victim = self.done.pop().or_else(|| {
                // Uses that came true stay in the set: every resident's next use lies behind them.
                let farthest = self.next_uses.last().filter(|next| *next as usize > self.now)?;
                self.next_uses.remove(farthest);
                Some(self.future.order[farthest as usize])
            })?;
            if self.gone.is_empty() || !self.gone.remove(&victim) {
                return Some(victim);
            }
        }
    }

    fn remove(&mut self, tensor: u32) {
        self.gone.insert(tensor);
    }
}
