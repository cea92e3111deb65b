//! Samples against the whole trace: how far they are off, and whether their intervals cover the truth.
//!
//! The traces are requests to objects: Zipf's law over objects of one size and of many, with scans, and with a loop whose
//! miss ratio falls from a cliff. Where the real block trace lies beside the project, it is read as well.

use accel_core::curve::Grid;
use accel_core::import::columns::{Batch, FromColumns, Ids};
use accel_core::policy::{PolicySpec, Setup};
use accel_core::progress::Unattended;
use accel_core::recipe::measure::Amount;
use accel_core::recipe::{FileSource, Recipe, Workload};
use accel_core::run::stream::{Done, Known, Stream};
use accel_core::run::{Outcome, run_with};
use accel_core::sim::simulate;
use accel_core::trace::Trace;

use crate::libcachesim::SplitMix64;

/// Draws ranks from 0 on by Zipf's law with an exponent, from its sums.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(objects: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=objects).map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        });
        Self(sums.collect())
    }

    fn draw(&self, random: &mut SplitMix64) -> u64 {
        let at = random.unit() * self.0[self.0.len() - 1];
        self.0.partition_point(|sum| *sum <= at) as u64
    }
}

/// A trace of requests: what is asked for, and how large it is.
fn trace(ids: &[u64], bytes: impl Fn(u64) -> u64) -> Trace {
    let sizes: Vec<u64> = ids.iter().map(|id| bytes(*id)).collect();
    let batch = Batch { ids: Ids::Unsigned(ids), sizes: Some(&sizes), times: None, ttls: None, parents: None };
    let mut columns = FromColumns::new("t");
    columns.look(&batch);
    columns.push(&batch).unwrap();
    columns.finish().unwrap()
}

/// Sizes from 512 bytes to 64 KiB, as blocks have them; what an object is says which.
fn blocks(id: u64) -> u64 {
    512 << (SplitMix64(id).next() % 8)
}

/// Traces of so many requests to so many objects, by name.
fn traces(objects: usize, requests: u64) -> Vec<(&'static str, Trace)> {
    let zipf = |exponent: f64, seed: u64| -> Vec<u64> {
        let (zipf, mut random) = (Zipf::new(objects, exponent), SplitMix64(seed));
        (0..requests).map(|_| zipf.draw(&mut random)).collect()
    };
    let scans = || {
        let (zipf, mut random, mut scan) = (Zipf::new(objects, 0.8), SplitMix64(3), 1 << 40);
        let mut one = |_| match random.unit() {
            kind if kind < 0.15 => {
                scan += 1;
                scan
            }
            _ => zipf.draw(&mut random),
        };
        (0..requests).map(&mut one).collect::<Vec<u64>>()
    };
    vec![
        ("zipf 0.6", trace(&zipf(0.6, 1), |_| 4096)),
        ("zipf 1.0, blocks", trace(&zipf(1.0, 2), blocks)),
        ("scans, blocks", trace(&scans(), blocks)),
    ]
}

/// The policies that must be near.
fn policies() -> Vec<PolicySpec> {
    ["lru", "s3-fifo", "gdsf"].map(|name| PolicySpec::parse(name).unwrap()).to_vec()
}

fn recipe(sample: &str) -> Recipe {
    let mut recipe = Recipe {
        workload: Workload::File(FileSource::named("t")),
        policies: policies(),
        bounds: false,
        ..Recipe::default()
    };
    recipe.measure.sample = Some(sample.parse().unwrap());
    recipe
}

/// Capacities from a hundredth to half of the bytes of all objects.
fn capacities(trace: &Trace) -> Vec<u64> {
    [0.01, 0.03, 0.07, 0.15, 0.3, 0.5].map(|share| (share * trace.summary().unique_bytes as f64) as u64).to_vec()
}

/// What an estimate is off by, and what its interval does.
#[derive(Debug, Default)]
struct Tally {
    points: usize,
    error: f64,
    covered: usize,
    /// Those that do not cover the truth and say that they may not.
    warned: usize,
}

/// Runs samples over curves of `trace`, against the engine over all of it.
fn tally(name: &str, trace: &Trace, sample: &str) -> Tally {
    let mut recipe = recipe(sample);
    let capacities = capacities(trace);
    recipe.curve = Some(Grid { capacities: capacities.clone(), ..Grid::default() });
    let outcome = run_with(&recipe, Some(trace.clone()), &mut Unattended).unwrap();
    let sampled = outcome.sampled.as_ref().unwrap();
    let (sizes, total) = (trace.sizes(), trace.summary());
    let mut tally = Tally::default();
    for policy in policies() {
        let mut of_policy = (0.0, 0.0, 0);
        for capacity in &capacities {
            let setup = Setup { seed: recipe.seed, ..Setup::new(&sizes, *capacity) };
            let exact = simulate(policy, &setup, trace).unwrap();
            let truth = exact.misses as f64 / total.accesses as f64;
            let bytes = exact.miss_bytes as f64 / total.requested_bytes as f64;
            let estimate = sampled.estimate(policy, *capacity).unwrap();
            let error = (estimate.miss_ratio.mean - truth).abs();
            let byte_error = (estimate.byte_miss_ratio.mean - bytes).abs();
            let covers = estimate.miss_ratio.covers(truth);
            if std::env::var("ACCEL_SHOW_SAMPLES").is_ok() {
                let half = estimate.miss_ratio.high - estimate.miss_ratio.mean;
                println!(
                    "{name} {} {capacity}: {truth:.4}, off {error:.4} of {half:.4} {covers} {}, bytes {bytes:.4} off {byte_error:.4}",
                    policy.name(),
                    estimate.sure
                );
            }
            tally.points += 1;
            tally.error += error;
            tally.covered += usize::from(covers);
            tally.warned += usize::from(!covers && !estimate.sure);
            of_policy = (of_policy.0 + error, of_policy.1 + byte_error, of_policy.2 + usize::from(covers));
        }
        let (error, byte_error, covered) = of_policy;
        println!(
            "{name}, {}: mean absolute error {:.4}, of bytes {:.4}, covered {covered} of {}",
            policy.name(),
            error / capacities.len() as f64,
            byte_error / capacities.len() as f64,
            capacities.len()
        );
    }
    tally
}

/// Samples of 32,768 objects are off by no more than 0.005 in the mean, and their intervals cover the truth in nine of ten
/// points or say that they may not.
#[test]
fn samples_are_near_and_say_how_near() {
    let mut all = traces(120_000, 400_000);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/block_io.oracleGeneral.bin");
    match std::fs::read(path) {
        Ok(bytes) => {
            let input = accel_core::import::input::Input::new("block_io", &bytes);
            all.push(("block I/O", accel_core::import::oracle_general::read(&input, &mut Unattended).unwrap()));
        }
        Err(_) => println!("skipped: ../shared/data/block_io.oracleGeneral.bin is not there"),
    }
    let (mut points, mut covered) = (0, 0);
    for (name, trace) in &all {
        let tally = tally(name, trace, "32768objects");
        let mean = tally.error / tally.points as f64;
        assert!(mean <= 0.005, "{name}: the mean absolute error is {mean}");
        points += tally.points;
        covered += tally.covered + tally.warned;
    }
    assert!(10 * covered >= 9 * points, "{covered} of {points} points are covered or told");
}

/// One pass over pieces gives what the held trace gives, to the bit: with samples and without, with a warm-up, and however
/// the pieces are cut and the runs are split.
#[test]
fn a_stream_is_the_held_trace() {
    let ids: Vec<u64> =
        (0..60_000u64).map(|i| SplitMix64(i).next() % (1 + SplitMix64(i / 7).next() % 20_000)).collect();
    // Sizes change now and then.
    let sized: Vec<u64> = ids.iter().zip(0u64..).map(|(id, at)| 100 + id % 900 + at / 30_000).collect();
    let batch = Batch { ids: Ids::Unsigned(&ids), sizes: Some(&sized), times: None, ttls: None, parents: None };
    let mut columns = FromColumns::new("t");
    columns.look(&batch);
    columns.push(&batch).unwrap();
    let trace = columns.finish().unwrap();
    let known: Vec<u64> = trace.tensors().iter().map(|tensor| tensor.name.parse().unwrap()).collect();
    let (sizes, largest) = (trace.sizes(), trace.largest_sizes());
    let summary = trace.summary();
    assert!(summary.tensors > 10_000 && !trace.resizes().is_empty());
    for (sample, warmup) in [(None, None), (None, Some(0.3)), (Some("8192objects"), None), (Some("0.8"), Some(0.4))] {
        let mut recipe = recipe("0.5");
        recipe.measure.sample = sample.map(|text| text.parse().unwrap());
        recipe.measure.warmup = warmup.map(Amount::Share);
        recipe.policies = ["s3-fifo", "sieve"].map(|name| PolicySpec::parse(name).unwrap()).to_vec();
        let capacities = [0.05, 0.4].map(|share| (share * summary.unique_bytes as f64) as u64);
        let known = Known { summary, ids: &known, sizes: &sizes, largest: Some(&largest) };
        for (piece, parts) in [(60_000, 1), (999, 3)] {
            let mut stream = Stream::new(&recipe, &capacities, known).unwrap();
            let mut done: Vec<Done> = Vec::new();
            for mut part in stream.split(parts) {
                for start in (0..60_000).step_by(piece) {
                    part.advance(trace.chunk(start, (start + piece).min(60_000)));
                }
                done.extend(part.finish());
            }
            let streamed = stream.finish(done).unwrap();
            let (mut runs, mut estimates) = (Vec::new(), Vec::new());
            for capacity in capacities {
                recipe.memory.capacity_bytes = capacity;
                let Outcome { runs: found, sampled, .. } =
                    run_with(&recipe, Some(trace.clone()), &mut Unattended).unwrap();
                runs.extend(found.into_iter().map(|run| accel_core::sim::Report { why: None, ..run }));
                estimates.extend(sampled.into_iter().flat_map(|sampled| sampled.estimates));
            }
            assert_eq!(streamed.runs, runs, "{sample:?} {warmup:?}");
            assert_eq!(streamed.sampled.map_or(Vec::new(), |sampled| sampled.estimates), estimates);
        }
    }
}

/// What a sample cannot answer is refused, with the field and what to do.
#[test]
fn what_is_no_matter_of_samples_is_refused() {
    let refused = |change: &dyn Fn(&mut Recipe)| {
        let mut recipe = recipe("8192objects");
        change(&mut recipe);
        let ids: Vec<u64> = (0..20_000).collect();
        run_with(&recipe, Some(trace(&ids, |_| 1)), &mut Unattended).unwrap_err().to_string()
    };
    for (change, field, wanted) in [
        (&(|recipe: &mut Recipe| recipe.bounds = true) as &dyn Fn(&mut Recipe), "bounds", "prove nothing"),
        (&|recipe| recipe.measure.interval = Some(100), "interval", "too few"),
        (&|recipe| recipe.policies = vec![PolicySpec::parse("ml").unwrap()], "policies", "scores"),
        (&|recipe| recipe.measure.sample = Some("0.1".parse().unwrap()), "sample", "2000 of 20000 objects"),
        (&|recipe| recipe.workload = Recipe::default().workload, "sample", "a model has few tensors"),
    ] {
        let error = refused(change);
        assert!(error.contains(field) && error.contains(wanted), "{error}");
    }
    // All objects are no sample: the trace is run as it is, and says so.
    let ids: Vec<u64> = (0..9_000).chain(0..9_000).collect();
    let outcome = run_with(&recipe("9000objects"), Some(trace(&ids, |_| 1)), &mut Unattended).unwrap();
    assert!(outcome.sampled.is_none() && outcome.warnings.iter().any(|text| text.contains("all of it was run")));
}
