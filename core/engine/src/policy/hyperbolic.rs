//! Hyperbolic caching (Blankstein, Sen and Freedman, "Hyperbolic Caching: Flexible Caching for Web Applications",
//! USENIX ATC 2017).

use super::{Parameter, Policy, Setup};
use crate::error::Error;
use crate::rng::Rng;

/// What is known of a resident: in one place, because an eviction looks at many of them.
#[derive(Debug, Clone, Copy)]
struct Resident {
    entered: usize,
    tensor: u32,
    uses: u32,
}

/// Of some residents drawn by chance, evicts the one with the fewest uses per access since it came in.
#[derive(Debug)]
pub struct Hyperbolic {
    residents: Vec<Resident>,
    places: Vec<u32>,
    sizes: Vec<u64>,
    draws: usize,
    by_size: bool,
    now: usize,
    rng: Rng,
}

impl Hyperbolic {
    /// Uses per access, and per byte where sizes count.
    fn priority(&self, Resident { entered, tensor, uses }: Resident) -> f64 {
        let age = (self.now - entered).max(1) as f64;
        let cost = if self.by_size { self.sizes[tensor as usize].max(1) as f64 } else { 1.0 };
        f64::from(uses) / (age * cost)
    }
}

impl Policy for Hyperbolic {
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::count("draws", 64.0, [1.0, 1024.0], "residents drawn for each eviction; the paper's choice"),
        Parameter::choice("bytes", "1: uses per byte; 0: uses, whatever the sizes, as in libCacheSim"),
    ];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let tensors = setup.sizes.len();
        let [draws, by_size, ..] = setup.values::<Self>();
        Ok(Self {
            residents: Vec::new(),
            places: vec![0; tensors],
            sizes: setup.sizes.to_vec(),
            draws: draws as usize,
            by_size: by_size > 0.0,
            now: 0,
            rng: Rng::new(setup.seed, "hyperbolic"),
        })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        self.now = now;
        if let Some(resident) = self.residents.get_mut(self.places[tensor as usize] as usize) {
            resident.uses = resident.uses.saturating_add(1);
        }
    }

    fn miss(&mut self, _tensor: u32, now: usize) {
        self.now = now;
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.places[tensor as usize] = self.residents.len() as u32;
        self.residents.push(Resident { entered: now, tensor, uses: 1 });
    }

    fn evict(&mut self) -> Option<u32> {
        let mut best: Option<(f64, u32)> = None;
        for _ in 0..self.draws {
            let drawn = self.rng.below(self.residents.len() as u32) as usize;
            let resident = *self.residents.get(drawn)?;
            let priority = self.priority(resident);
            if best.is_none_or(|(least, _)| priority < least) {
                best = Some((priority, resident.tensor));
            }
        }
        let (_, victim) = best?;
        self.remove(victim);
        Some(victim)
    }

    fn remove(&mut self, tensor: u32) {
        let place = self.places[tensor as usize] as usize;
        self.residents.swap_remove(place);
        if let Some(moved) = self.residents.get(place) {
            self.places[moved.tensor as usize] = place as u32;
        }
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.sizes[tensor as usize] = bytes;
    }
}
