//! Speed of every policy against libCacheSim's: `cargo xtask bench`.
//!
//! libCacheSim's figures are millions of requests per second on a box with two cores, for the same kind of trace
//! (10 million accesses, Zipf 1.2 over 20,000 objects of 64 KiB to 4 MiB, 4 GiB, one thread).
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::Instant;

use accel_core::bound::lower::Lower;
use accel_core::bound::packing::Packing;
use accel_core::bound::{Reuses, Value};
use accel_core::curve::lru::LruCurve;
use accel_core::policy::{Admission, POLICIES, Setup};
use accel_core::score::heuristic;
use accel_core::sim::simulate;
use accel_core::trace::reuse::Future;

const ACCESSES: usize = 10_000_000;
const RUNS: usize = 5;
const CAPACITY_BYTES: u64 = 4 << 30;

/// Policy, libCacheSim's millions per second, and how many times that we want.
const REFERENCE: [(&str, f64, f64); 9] = [
    ("fifo", 16.9, 8.0),
    ("lru", 12.3, 8.0),
    ("clock", 14.0, 8.0),
    ("sieve", 18.6, 8.0),
    ("s3-fifo", 6.7, 5.0),
    ("arc", 14.1, 5.0),
    ("lfu", 5.4, 5.0),
    ("gdsf", 4.6, 5.0),
    ("belady", 9.1, 5.0),
];

/// Millions of accesses per second.
fn speed<T>(run: impl FnMut() -> T) -> f64 {
    ACCESSES as f64 / 1e6 / median_seconds(run)
}

/// The median time of [`RUNS`] runs.
fn median_seconds<T>(mut run: impl FnMut() -> T) -> f64 {
    let mut seconds: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(run());
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[RUNS / 2]
}

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with("--"));
    let trace = common::zipf(ACCESSES);
    let (sizes, scores, future) = (trace.sizes(), heuristic(&trace), Arc::new(Future::of(&trace)));
    let setup = Setup { scores: Some(&scores), future: Some(&future), ..Setup::new(&sizes, CAPACITY_BYTES) };
    println!("{ACCESSES} accesses, median of {RUNS} runs");
    println!("{:<24} {:>10} {:>12} {:>7} {:>7}", "", "M/s", "libCacheSim", "ratio", "aim");
    for row in POLICIES {
        if filter.as_ref().is_some_and(|f| !row.name.contains(f.as_str())) {
            continue;
        }
        let speed = speed(|| simulate(row.kind, &setup, &trace).unwrap());
        match REFERENCE.iter().find(|r| r.0 == row.name) {
            Some((_, reference, aim)) => {
                println!("{:<24} {speed:>10.1} {reference:>12} {:>7.1} {aim:>7}", row.title, speed / reference);
            }
            None => println!("{:<24} {speed:>10.1}", row.title),
        }
    }
    println!("{:<24} {:>10.1}", "next-use preparation", speed(|| Future::of(&trace)));

    let trace = common::zipf(1_000_000);
    let reuses = Reuses::new(&trace, &Arc::new(Future::of(&trace)));
    println!("\n1000000 accesses, median of {RUNS} runs{:>14} {:>7}", "ms", "at most");
    let all_capacities = median_seconds(|| LruCurve::new(&trace).misses(CAPACITY_BYTES));
    println!("{:<44} {:>6.0} {:>7}", "exact LRU curve", all_capacities * 1e3, 500);
    for (what, value) in [("objects", Value::Objects), ("bytes", Value::Bytes)] {
        let bound = median_seconds(|| {
            let lower = Lower::new(&reuses, value, Admission::Bypass);
            (lower.most_hits(CAPACITY_BYTES), lower.most_hit_bytes(CAPACITY_BYTES))
        });
        println!("{:<44} {:>6.0} {:>7}", format!("PFOO-L for {what}"), bound * 1e3, 1000);
        let packing = median_seconds(|| {
            let mut packing = Packing::new(&Lower::new(&reuses, value, Admission::Bypass), CAPACITY_BYTES);
            packing.step(usize::MAX);
            packing.misses()
        });
        println!("{:<44} {:>6.0}", format!("sorting and packing by {what}"), packing * 1e3);
    }
}
