//! Speed of the engine: `cargo xtask bench`. The items are accesses, so the last columns read accesses/s.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use std::sync::LazyLock;

use accel_core::score::heuristic;
use accel_core::trace::Trace;
use accel_core::trace::reuse::StackDistances;
use divan::Bencher;
use divan::counter::ItemsCount;

const ACCESSES: usize = 1_000_000;

fn main() {
    divan::main();
}

static ZIPF: LazyLock<(Trace, Vec<u64>)> = LazyLock::new(|| {
    let trace = common::zipf(ACCESSES);
    let sizes = trace.sizes();
    (trace, sizes)
});

#[divan::bench]
fn stack_distances(bencher: Bencher<'_, '_>) {
    let (trace, sizes) = &*ZIPF;
    bencher.counter(ItemsCount::new(ACCESSES)).bench(|| {
        let mut stack = StackDistances::new(sizes.len());
        trace.accesses().iter().filter_map(|t| stack.access(*t, sizes[*t as usize])).fold(0, u64::wrapping_add)
    });
}

#[divan::bench]
fn heuristic_scores(bencher: Bencher<'_, '_>) {
    let (trace, ..) = &*ZIPF;
    bencher.counter(ItemsCount::new(ACCESSES)).bench(|| heuristic(trace));
}
