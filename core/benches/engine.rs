//! Speed of the engine: `cargo xtask bench`. The items are accesses, so the last columns read accesses/s.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::LazyLock;

use accel_core::policy::{POLICIES, PolicyKind, Setup};
use accel_core::rng::Rng;
use accel_core::score::{Scores, heuristic};
use accel_core::sim::simulate;
use accel_core::trace::reuse::StackDistances;
use accel_core::trace::{Kind, Op, Tensor, Trace, TraceBuilder};
use divan::Bencher;
use divan::counter::ItemsCount;

const ACCESSES: usize = 1_000_000;
const TENSORS: usize = 20_000;
const CAPACITY_BYTES: u64 = 4 << 30;

fn main() {
    divan::main();
}

/// Zipf 1.2 over 20,000 tensors of 64 KiB to 4 MiB, sizes log-uniform in steps of 64 KiB.
static ZIPF: LazyLock<(Trace, Vec<u64>, Scores)> = LazyLock::new(|| {
    let mut rng = Rng::new(1, "bench");
    let mut builder = TraceBuilder::new("");
    let weights: Vec<f64> = (1..=TENSORS).map(|rank| (rank as f64).powf(-1.2)).collect();
    let total: f64 = weights.iter().sum();
    let cumulative: Vec<f64> = weights
        .iter()
        .scan(0.0, |sum, w| {
            *sum += w / total;
            Some(*sum)
        })
        .collect();
    let mut index = vec![None; TENSORS];
    for _ in 0..ACCESSES {
        let u = rng.unit();
        let rank = cumulative.partition_point(|c| *c < u).min(TENSORS - 1);
        let tensor = *index[rank].get_or_insert_with(|| {
            let bytes = 65_536 * 64f64.powf(rng.unit()) as u64;
            let name = rank.to_string();
            builder.tensor(Tensor { name, bytes, layer: None, stride: 1, kind: Kind::Object }).unwrap()
        });
        builder.access(tensor, Op::Request).unwrap();
    }
    let trace = builder.finish("zipf").unwrap();
    let (sizes, scores) = (trace.sizes(), heuristic(&trace));
    (trace, sizes, scores)
});

#[divan::bench(args = POLICIES.iter().map(|p| p.name))]
fn policy(bencher: Bencher<'_, '_>, name: &str) {
    let kind = PolicyKind::from_name(name).unwrap();
    let (trace, sizes, scores) = &*ZIPF;
    let setup = Setup { sizes, capacity_bytes: CAPACITY_BYTES, scores: Some(scores) };
    bencher.counter(ItemsCount::new(ACCESSES)).bench(|| simulate(kind, &setup, trace).unwrap());
}

#[divan::bench]
fn stack_distances(bencher: Bencher<'_, '_>) {
    let (trace, sizes, _) = &*ZIPF;
    bencher.counter(ItemsCount::new(ACCESSES)).bench(|| {
        let mut stack = StackDistances::new(sizes.len(), ACCESSES);
        trace.accesses().iter().filter_map(|t| stack.access(*t, sizes[*t as usize])).fold(0, u64::wrapping_add)
    });
}

#[divan::bench]
fn heuristic_scores(bencher: Bencher<'_, '_>) {
    let (trace, ..) = &*ZIPF;
    bencher.counter(ItemsCount::new(ACCESSES)).bench(|| heuristic(trace));
}
