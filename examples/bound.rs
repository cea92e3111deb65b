//! A bound of your own beside the proven ones: `cargo run -p accel-core --example bound`.
//!
//! The lower bound made here is a simple one: whatever the policy, the first access to a tensor misses, and so does every
//! access to one that is larger than the memory. PFOO-L (`bound::lower`) knows that residents share the memory, so it says
//! more; the packing (`bound::packing`) is a schedule that can be carried out, so the best has no more misses than it.

use std::sync::Arc;

use accel_core::bound::lower::Lower;
use accel_core::bound::packing::Packing;
use accel_core::bound::{Reuses, Value};
use accel_core::error::Error;
use accel_core::policy::{Admission, PolicyKind, Setup};
use accel_core::sim::simulate;
use accel_core::trace::Trace;
use accel_core::trace::reuse::{Future, NEVER, previous_use};
use accel_core::units::GIB;
use accel_core::workload::model_run::ModelRun;

/// Misses that no policy can avoid: first accesses, and those to tensors that never fit.
fn unavoidable(trace: &Trace, capacity_bytes: u64) -> u64 {
    let first = previous_use(trace).into_iter().map(|previous| previous == NEVER);
    let large = trace.accesses().iter().map(|tensor| trace.tensors()[*tensor as usize].bytes > capacity_bytes);
    first.zip(large).filter(|(first, large)| *first || *large).count() as u64
}

fn main() -> Result<(), Error> {
    let trace = ModelRun::default().trace(42, 8 << 30)?;
    let sizes = trace.sizes();
    let future = Arc::new(Future::of(&trace));
    let reuses = Reuses::new(&trace, &future);
    // Every bound is one for an admission mode.
    let admission = Admission::Always;
    let lower = Lower::new(&reuses, Value::Objects, admission);
    println!("{:>8} {:>11} {:>8} {:>8} {:>8} {:>8}", "GiB", "unavoidable", "PFOO-L", "packing", "Belady", "LRU");
    for gib in [2, 4, 8, 12, 16] {
        let capacity = gib * GIB;
        let mut packing = Packing::new(&lower, capacity);
        packing.step(usize::MAX);
        let misses = |kind| {
            let setup = Setup { future: Some(&future), ..Setup::new(&sizes, capacity) };
            simulate(kind, &setup, &trace).map(|report| report.misses)
        };
        let (belady, lru) = (misses(PolicyKind::Belady)?, misses(PolicyKind::Lru)?);
        let proven = reuses.accesses() as u64 - lower.most_hits(capacity);
        let own = unavoidable(&trace, capacity);
        println!("{gib:>8} {own:>11} {proven:>8} {:>8} {belady:>8} {lru:>8}", packing.misses().objects);
    }
    Ok(())
}
