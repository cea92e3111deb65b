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
pub const SHIPPED: Settings = Settings { seed: 1, workloads: 780, samples: 3_000, epochs: 6, batch: 256, rate: 2e-3 };
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

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: Settings = Settings { seed: 9, workloads: 26, samples: 200, epochs: 3, batch: 64, rate: 2e-3 };

    /// The same weights twice, and on every machine: a change of this number is a change of what is trained, and then the
    /// file that is shipped must be made anew.
    #[test]
    fn training_gives_the_same_weights_everywhere() {
        let mut said = Vec::new();
        let weights = train(&TINY, &mut said).unwrap();
        assert_eq!(weights, train(&TINY, &mut std::io::sink()).unwrap());
        let digest = weights.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, weight| {
            (hash ^ u64::from(*weight as u16)).wrapping_mul(0x0100_0000_01b3)
        });
        assert_eq!(digest, DIGEST, "{}", String::from_utf8_lossy(&said));
    }

    /// FNV-1a of the weights of [`TINY`].
    const DIGEST: u64 = 0xb634_2b23_4b47_7259;

    /// What is measured is not trained on: `workloads` refuses the shapes, and the seed is another.
    #[test]
    fn training_and_measuring_share_no_seed() {
        let seeds = [SHIPPED, TINY].map(|settings| settings.seed);
        assert!(!seeds.contains(&crate::points::SEED));
    }

    #[test]
    fn labels_cut_off_by_the_end_say_at_least() {
        let trace = accel_core::trace::testing::trace(&[8, 8, 8], &[0, 1, 0, 2, 1, 1]);
        let samples = samples(&trace, 6, &mut Rng::new(1, "test"));
        let sixteenths = |gap: f32| gap.log2() / 16.0;
        let wanted = [(2.0, false), (3.0, true)];
        assert_eq!((samples[0].wanted, samples[0].at_least), (sixteenths(wanted[0].0), wanted[0].1));
        let third = f32::from(accel_core::score::log2(3)) / ONE as f32;
        assert_eq!((samples[1].wanted, samples[1].at_least), (third, false));
        assert!(samples[2].at_least && samples[3].at_least && !samples[4].at_least && samples[5].at_least);
    }
}
