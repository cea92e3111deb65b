//! How much memory a run takes: at most 40 bytes per access and 200 per tensor, whatever the policy.

use accel_core::curve::Grid;
use accel_core::memory::{Cost, Memory, Physical};
use accel_core::policy::POLICIES;
use accel_core::progress::Unattended;
use accel_core::recipe::Recipe;
use accel_core::recipe::{FileSource, Workload};
use accel_core::run::run_with;
use accel_core::trace::{Kind, Op, Tensor, TraceBuilder};

use crate::lock;

/// The most bytes that a run with every policy, a device, bounds and a curve holds at once.
fn most_bytes(accesses: usize, tensors: usize) -> f64 {
    let profiler = dhat::Profiler::builder().testing().build();
    let mut builder = TraceBuilder::new("");
    for i in 0..tensors {
        let name = format!("{:020}", i * 7919); // as long as an object's id gets
        let bytes = 1 + (i * 31 % 4096) as u64;
        builder.tensor(Tensor { name, bytes, layer: None, stride: 1, kind: Kind::Object }).unwrap();
    }
    // All tensors, then a walk that comes back to some soon and to others late.
    let mut state = 1u64;
    for i in 0..accesses {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let skewed = (state >> 33) as usize % (1 + (state >> 20) as usize % tensors);
        builder.access(if i < tensors { i } else { skewed } as u32, Op::Request).unwrap();
    }
    let trace = builder.finish("test").unwrap();
    let capacity = trace.summary().unique_bytes / 3;
    let recipe = Recipe {
        workload: Workload::File(FileSource::named("test")),
        memory: Memory { cost: Cost::Physical(Physical::default()), ..Memory::new(capacity) },
        policies: POLICIES.iter().map(|p| p.kind.into()).collect(),
        curve: Some(Grid { points: 2, capacities: vec![capacity] }),
        ..Recipe::default()
    };
    run_with(&recipe, Some(trace), &mut Unattended).unwrap();
    let most = dhat::HeapStats::get().max_bytes;
    drop(profiler);
    most as f64
}

/// Charts and tables do not grow with the trace, so what counts is the difference between a short and a long one.
#[test]
fn a_run_takes_at_most_40_bytes_an_access_and_200_a_tensor() {
    let _lock = lock();
    let small = most_bytes(30_000, 1_000);
    let an_access = (most_bytes(130_000, 1_000) - small) / 100_000.0;
    println!("{an_access:.1} bytes per access");
    // More tensors take the place of as many reuses.
    let a_tensor = (most_bytes(30_000, 21_000) - small) / 20_000.0;
    println!("{a_tensor:.1} bytes per tensor");
    assert!(an_access <= 40.0, "{an_access}");
    assert!(a_tensor <= 200.0, "{a_tensor}");
}
