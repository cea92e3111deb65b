//! A victim by chance.

use super::{Policy, Setup};
use crate::error::Error;
use crate::rng::Rng;

/// Evicts any of the residents, each with the same probability; the seed of the recipe decides which.
#[derive(Debug)]
pub struct Random {
    residents: Vec<u32>,
    /// Where each resident stands in the list.
    places: Vec<u32>,
    rng: Rng,
}

impl Policy for Random {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self {
            residents: Vec::new(),
            places: vec![0; setup.sizes.len()],
            rng: Rng::new(setup.seed, "random policy"),
        })
    }

    fn hit(&mut self, _tensor: u32, _now: usize) {}

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.places[tensor as usize] = self.residents.len() as u32;
        self.residents.push(tensor);
    }

    fn evict(&mut self) -> Option<u32> {
        if self.residents.is_empty() {
            return None;
        }
        let chosen = self.rng.below(self.residents.len() as u32);
        let victim = self.residents[chosen as usize];
        self.remove(victim);
        Some(victim)
    }

    fn remove(&mut self, tensor: u32) {
        let place = self.places[tensor as usize];
        self.residents.swap_remove(place as usize);
        if let Some(moved) = self.residents.get(place as usize) {
            self.places[*moved as usize] = place;
        }
    }
}
