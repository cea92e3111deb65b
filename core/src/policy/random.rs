//! A victim by chance.

use super::{Policy, Setup};
use crate::error::Error;
use crate::rng::Rng;

/// Evicts any of the residents, each with the same probability; the seed of the recipe decides which.
#[derive(Debug)]
pub struct Random {
    residents: Vec<u32>,
    rng: Rng,
}

impl Policy for Random {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self { residents: Vec::new(), rng: Rng::new(setup.seed, "random policy") })
    }

    fn hit(&mut self, _tensor: u32, _now: usize) {}

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.residents.push(tensor);
    }

    fn evict(&mut self) -> Option<u32> {
        if self.residents.is_empty() {
            return None;
        }
        let chosen = self.rng.below(self.residents.len() as u32);
        Some(self.residents.swap_remove(chosen as usize))
    }
}
