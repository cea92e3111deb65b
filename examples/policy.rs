//! A policy of your own beside LRU: `cargo run -p accel-core --example policy`.
//!
//! The engine is generic over the policy, so one written outside the crate runs as fast as the known ones. A policy only
//! orders victims: capacity, hits and counting are the engine's.

use std::collections::BTreeSet;

use accel_core::error::Error;
use accel_core::policy::lru::Lru;
use accel_core::policy::{Policy, Setup};
use accel_core::sim::{Counts, Engine, Observer};
use accel_core::trace::Trace;
use accel_core::units::GIB;
use accel_core::workload::model_run::ModelRun;

/// Evicts the largest tensor; of equals, the one with the lowest number.
struct Largest {
    sizes: Vec<u64>,
    residents: BTreeSet<(u64, u32)>,
}

impl Policy for Largest {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self { sizes: setup.sizes.to_vec(), residents: BTreeSet::new() })
    }

    fn hit(&mut self, _tensor: u32, _now: usize) {}

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.residents.insert((self.sizes[tensor as usize], tensor));
    }

    fn evict(&mut self) -> Option<u32> {
        let (largest, _) = *self.residents.last()?;
        let victim = *self.residents.range((largest, 0)..).next()?;
        self.residents.remove(&victim);
        Some(victim.1)
    }

    fn remove(&mut self, tensor: u32) {
        self.residents.remove(&(self.sizes[tensor as usize], tensor));
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        let before = std::mem::replace(&mut self.sizes[tensor as usize], bytes);
        if self.residents.remove(&(before, tensor)) {
            self.residents.insert((bytes, tensor));
        }
    }
}

/// Watches nothing.
struct Nobody;

impl Observer for Nobody {}

/// What happens under the policy `P`.
fn run<P: Policy>(trace: &Trace, capacity_bytes: u64) -> Result<Counts, Error> {
    let sizes = trace.sizes();
    let mut memory = Engine::<P>::new(&Setup::new(&sizes, capacity_bytes))?;
    memory.advance(trace.whole(), &mut Nobody);
    Ok(memory.counts())
}

fn main() -> Result<(), Error> {
    // Mistral-7B decodes 16 tokens: its weights are read in the same order for every token, and do not fit.
    let trace = ModelRun::default().trace(42, 8 << 30)?;
    println!("{} accesses to {} tensors", trace.accesses().len(), trace.tensors().len());
    for (name, counts) in [("LRU", run::<Lru>(&trace, 8 * GIB)?), ("largest first", run::<Largest>(&trace, 8 * GIB)?)] {
        let gib = counts.miss_bytes as f64 / GIB as f64;
        println!("{name:>13}: {:>5} hits, {:>5} misses, {gib:.1} GiB missed", counts.hits, counts.misses);
    }
    Ok(())
}
