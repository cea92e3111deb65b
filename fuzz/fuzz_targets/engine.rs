//! Any trace under any policy and rules, sizes changing or not: the audit finds no broken promise, no bound is overtaken, nothing panics.
#![no_main]

use std::sync::Arc;

use accel_core::bound::lower::Lower;
use accel_core::bound::packing::Packing;
use accel_core::bound::{Reuses, Value};
use accel_core::curve::lru::LruCurve;
use accel_core::memory::{Cost, Memory, Physical};
use accel_core::policy::{Admission, POLICIES, PolicyKind, Setup};
use accel_core::progress::Unattended;
use accel_core::recipe::Recipe;
use accel_core::recipe::{FileSource, Workload};
use accel_core::run::run_with;
use accel_core::score::heuristic;
use accel_core::sim::audit::audit;
use accel_core::trace::reuse::Future;
use accel_core::trace::{Kind, Mode, Op, Tensor, Trace, TraceBuilder};
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    /// Mantissa and shift of each size.
    sizes: Vec<(u8, u8)>,
    /// Tensor and mode of each access.
    uses: Vec<(u8, u8)>,
    capacity: (u8, u8),
    bypass: bool,
    /// Whether every use has a size of its own.
    changing: bool,
    /// The admission rule, the tensor that is pinned, the one that has a share, and how large, and the watermark.
    rule: u8,
    pinned: Option<u8>,
    shared: Option<(u8, u8)>,
    watermark: u8,
    seed: u64,
}

fn size((mantissa, shift): (u8, u8)) -> u64 {
    u64::from(mantissa) << (shift % 56)
}

/// The trace of the input; none where it is empty or the sizes add up to too much.
fn trace(input: &Input) -> Option<Trace> {
    let mut builder = TraceBuilder::new("");
    let mut index = vec![None; input.sizes.len().min(64)];
    for &(tensor, mode) in input.uses.iter().take(2000) {
        let tensor = usize::from(tensor) % index.len().max(1);
        let own = if input.changing { (tensor + usize::from(mode) / 3) % input.sizes.len() } else { tensor };
        let bytes = size(*input.sizes.get(own)?);
        let kind = Kind::ALL[tensor % Kind::ALL.len()];
        let at = match index[tensor] {
            Some(at) => at,
            None => builder.tensor(Tensor { name: tensor.to_string(), bytes, layer: None, stride: 1, kind }).ok()?,
        };
        index[tensor] = Some(at);
        if input.changing {
            builder.resize(at, bytes).ok()?;
        }
        let mode = [Mode::Read, Mode::Write, Mode::Update][usize::from(mode % 3)];
        builder.access_with(at, Op::Request, mode, f64::from(mode as u8)).ok()?;
    }
    builder.finish("input").ok()
}

fuzz_target!(|input: Input| {
    let Some(trace) = trace(&input) else { return };
    let capacity = size(input.capacity).max(1);
    let (sizes, scores, future) = (trace.sizes(), heuristic(&trace), Arc::new(Future::of(&trace)));
    let rule = ["always", "bypass", "size(most=4KiB)", "probability", "size-probability", "second-request", "adaptsize(every=100)"];
    let mut memory = Memory {
        admission: if input.bypass { Admission::Bypass.into() } else { rule[usize::from(input.rule) % 7].parse().unwrap() },
        watermark: (f64::from(input.watermark) / 255.0).max(0.01),
        ..Memory::new(capacity)
    };
    let selector = |tensor: u8| tensor.to_string().parse().unwrap();
    memory.pinned.extend(input.pinned.map(selector));
    let share = |(tensor, share)| format!("{tensor}={}", f64::from(share) / 255.0).parse().ok();
    memory.shares.extend(input.shared.and_then(share));
    // A rule that means nobody, or leaves no room, is refused.
    let Ok(rules) = memory.rules(&trace) else { return };
    let admission = memory.mode();
    let setup = Setup {
        admission,
        rules: Some(&rules),
        scores: Some(&scores),
        future: Some(&future),
        seed: input.seed,
        ..Setup::new(&sizes, capacity)
    };
    let total = trace.summary();
    let reuses = Reuses::new(&trace, &future);
    let objects = Lower::new(&reuses, Value::Objects, admission);
    let bytes = Lower::new(&reuses, Value::Bytes, admission);
    let (least, least_bytes) =
        (total.accesses - objects.most_hits(capacity), total.requested_bytes - bytes.most_hit_bytes(capacity));
    for row in POLICIES {
        let counts = audit(row.kind, &setup, &trace).unwrap_or_else(|e| panic!("{}: {e}", row.name));
        assert!(counts.misses >= least && counts.miss_bytes >= least_bytes, "{} beats a bound", row.name);
        let exact = if rules.are_plain() && !input.changing { LruCurve::new(&trace).misses(capacity) } else { None };
        if let (PolicyKind::Lru, Some(exact)) = (row.kind, exact) {
            assert_eq!((exact.objects, exact.bytes), (counts.misses, counts.miss_bytes));
        }
    }
    let mut packing = Packing::new(&objects, capacity);
    packing.step(usize::MAX);
    assert!(packing.misses().objects >= least && packing.misses().bytes >= least_bytes);

    let workload = Workload::File(FileSource::named("input"));
    let cost = Cost::Physical(Physical { prefetch_depth: (input.seed % 5) as u32, ..Physical::default() });
    let memory = Memory { cost, ..memory };
    let recipe = Recipe { workload, memory, seed: input.seed, ..Recipe::default() };
    run_with(&recipe, Some(trace), &mut Unattended).unwrap();
});
