//! Trains the network that is shipped: from a seed, the same file to the last bit on every machine.

use std::io::Write;

use accel_core::rng::Rng;
use accel_core::score::embedded::{Inputs, WEIGHTS};
use accel_core::score::history::{NEVER, ONE, scan};
use accel_core::score::log2;
use accel_core::trace::Trace;
use accel_core::trace::reuse::{Future, NEVER as NO_USE};

use crate::network::{Sample, Trainee};
use crate::workloads;

/// How the network is trained.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Seed of the shapes and of the order in which samples are seen.
    pub seed: u64,
    /// Workloads drawn; those that are too long or too short are left out.
    pub workloads: u64,
    /// Samples of each, at most.
    pub samples: usize,
    /// Passes over all samples.
    pub epochs: usize,
    /// Samples between two steps.
    pub batch: usize,
    /// The first rate of Adam; it falls to nothing.
    pub rate: f32,
}

/// Those of the file that is shipped.
pub const SHIPPED: Settings =
    Settings { seed: 1, workloads: 360, samples: 3_000, epochs: 6, batch: 256, rate: 2e-3 };
/// One workload in so many is not learned from, but tells how well the others did.
const HELD_OUT: u64 = 10;

/// The samples of a trace: what was seen at accesses drawn by chance, and how long it took until the next use.
fn samples(trace: &Trace, most: usize, rng: &mut Rng) -> Vec<Sample> {
    let accesses = trace.accesses().len();
    let future = Future::of(trace);
    let mut samples = Vec::with_capacity(most.min(accesses));
    let mut now = 0;
    scan(trace, |seen| {
        if (rng.below(accesses as u32) as usize) < most {
            let next = future.next_use[now];
            // Cut off by the end of the trace: nobody knows when, but not before it.
            let at_least = next == NO_USE;
            let gap = if at_least { accesses - now } else { next as usize - now };
            let wanted = f32::from(log2(gap as u64).min(NEVER)) / ONE as f32;
            samples.push(Sample { inputs: Inputs::of(seen), wanted, at_least, weight: 1.0 });
        }
        now += 1;
    });
    // A workload counts about as much as any other.
    let weight = 0.5 + 2_000.0 / samples.len().max(1) as f32;
    samples.iter_mut().for_each(|sample| sample.weight = weight);
    samples
}

/// The weights that `settings` give; `progress` hears how it goes.
pub fn train(settings: &Settings, progress: &mut dyn Write) -> anyhow::Result<[i16; WEIGHTS]> {
    let mut rng = Rng::new(settings.seed, "training");
    let (mut learned, mut held) = (Vec::new(), Vec::new());
    let mut traces = 0;
    for number in 0..settings.workloads {
        let Some(trace) = workloads::trace(settings.seed, number) else { continue };
        traces += 1;
        let samples = samples(&trace, settings.samples, &mut rng);
        if number % HELD_OUT == 5 { held.extend(samples) } else { learned.extend(samples) }
    }
    writeln!(progress, "{traces} workloads, {} samples to learn from, {} held out", learned.len(), held.len())?;
    let mut trainee = Trainee::new(&mut rng);
    let mut order: Vec<u32> = (0..learned.len() as u32).collect();
    let steps = learned.len().div_ceil(settings.batch) * settings.epochs;
    let mut step = 0;
    for epoch in 1..=settings.epochs {
        for i in (1..order.len() as u32).rev() {
            order.swap(i as usize, rng.below(i + 1) as usize);
        }
        let mut loss = 0.0f64;
        let batches = order.chunks(settings.batch);
        let count = batches.len();
        for batch in batches {
            let rate = settings.rate * (1.0 - step as f32 / steps as f32);
            loss += f64::from(trainee.step(batch.iter().map(|at| &learned[*at as usize]), rate));
            step += 1;
        }
        let held_out = trainee.loss(held.iter());
        writeln!(progress, "epoch {epoch}: loss {:.5}, held out {held_out:.5}", loss / count as f64)?;
    }
    Ok(trainee.whole())
}
