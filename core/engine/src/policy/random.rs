//! A victim by chance.

use super::{Parameter, Policy, Setup};
use crate::error::Error;
use crate::rng::Rng;

/// Evicts any of the residents, each with the same probability; the seed of the recipe decides which. Where it draws
/// several, the one used longest ago leaves: of two, it is libCacheSim's RandomTwo.
#[derive(Debug)]
pub struct Random {
    residents: Vec<u32>,
    /// The last use of each, where several are drawn.
    used: Vec<usize>,
    draws: usize,
    /// Where each resident stands in the list.
    places: Vec<u32>,
    rng: Rng,
}

impl Policy for Random {
    const PARAMETERS: &'static [Parameter] =
        &[Parameter::count("draws", 1.0, [1.0, 1024.0], "residents drawn; the one used longest ago leaves")];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let [draws, ..] = setup.values::<Self>();
        Ok(Self {
            residents: Vec::new(),
            used: if draws > 1.0 { vec![0; setup.sizes.len()] } else { Vec::new() },
            draws: draws as usize,
            places: vec![0; setup.sizes.len()],
            rng: Rng::new(setup.seed, "random policy"),
        })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        if let Some(used) = self.used.get_mut(tensor as usize) {
            *used = now;
        }
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.hit(tensor, now);
        self.places[tensor as usize] = self.residents.len() as u32;
        self.residents.push(tensor);
    }

    fn evict(&mut self) -> Option<u32> {
        if self.residents.is_empty() {
            return None;
        }
        let draw = |_| self.residents[self.rng.below(self.residents.len() as u32) as usize];
        let victim = (0..self.draws).map(draw).min_by_key(|drawn| self.used.get(*drawn as usize))?;
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
