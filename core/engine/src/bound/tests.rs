//! The bounds against every schedule there is.

use std::sync::Arc;

use proptest::prelude::*;

use super::lower::Lower;
use super::packing::Packing;
use super::*;
use crate::policy::{PolicyKind, Setup};
use crate::sim::simulate;
use crate::trace::NO_PARENT;
use crate::trace::testing::{trace, tree};

/// The least total cost of the misses from access `from` on over all schedules: for every set of residents, the least
/// cost to get there.
fn optimum_since(
    from: usize,
    trace: &Trace,
    capacity: u64,
    admission: Admission,
    miss_cost: impl Fn(u64) -> f64,
) -> f64 {
    let mut sizes = trace.sizes();
    let tensors = sizes.len();
    let feasible = |sizes: &[u64]| -> Vec<bool> {
        let bytes = |set: usize| (0..tensors).filter(|t| set >> t & 1 == 1).map(|t| sizes[t]).sum::<u64>();
        (0..1 << tensors).map(|set| bytes(set) <= capacity).collect()
    };
    let mut fits = feasible(&sizes);
    // Nobody is kept without the one that it continues.
    let whole = |set: usize| {
        let kept = |t: usize| set >> t & 1 == 1;
        let parents = trace.parents().iter().enumerate();
        parents.filter(|(t, parent)| kept(*t) && **parent != NO_PARENT).all(|(_, parent)| kept(*parent as usize))
    };
    let mut cost = vec![f64::INFINITY; 1 << tensors];
    cost[0] = 0.0;
    for (now, (t, size)) in trace.sized().enumerate() {
        let resized = size != sizes[t as usize];
        if resized {
            sizes[t as usize] = size;
            fits = feasible(&sizes);
        }
        let bit = 1usize << t;
        let mut after = vec![f64::INFINITY; 1 << tensors];
        for (set, &so_far) in cost.iter().enumerate().filter(|(_, c)| c.is_finite()) {
            let hit = set & bit != 0 && size <= capacity;
            let paid = so_far + if hit || now < from { 0.0 } else { miss_cost(size) };
            let tied = trace.parents().get(t as usize).filter(|parent| **parent != NO_PARENT);
            let orphan = tied.is_some_and(|parent| set >> parent & 1 == 0);
            // A newcomer that continues another may find it gone once there is room.
            let must_be_in = admission == Admission::Always && size <= capacity && !(hit && resized) && tied.is_none();
            let may_be_in = hit || (size <= capacity && !orphan);
            // Every subset of what is there and what comes in may stay.
            let most = if may_be_in { set | bit } else { set };
            let mut kept = most;
            loop {
                if fits[kept] && whole(kept) && (!must_be_in || kept & bit != 0) {
                    after[kept] = after[kept].min(paid);
                }
                if kept == 0 {
                    break;
                }
                kept = (kept - 1) & most;
            }
        }
        cost = after;
    }
    cost.into_iter().fold(f64::INFINITY, f64::min)
}

fn optimum(trace: &Trace, capacity: u64, admission: Admission, miss_cost: impl Fn(u64) -> f64) -> f64 {
    optimum_since(0, trace, capacity, admission, miss_cost)
}

fn packed(lower: &Lower, capacity: u64) -> Misses {
    let mut packing = Packing::new(lower, capacity);
    while packing.progress().0 < packing.progress().1 {
        packing.step(3);
    }
    packing.misses()
}

const COST: Value = Value::Cost { fixed: -2.5, per_byte: 1.0 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn the_optimum_lies_between_the_bounds(
        uses in prop::collection::vec((0u32..6, prop_oneof![Just(0u64), 1u64..12, 1u64..40]), 1..20),
        steady: bool,
        parents in prop_oneof![Just(Vec::new()), prop::collection::vec(0u32..6, 6)],
        capacity in 1u64..30,
        bypass: bool,
        // Half of the cases have no warm-up.
        from in prop_oneof![Just(0usize), 0usize..20],
    ) {
        let admission = if bypass { Admission::Bypass } else { Admission::Always };
        let trace = tree(&uses, steady, &parents);
        let sizes = trace.sizes();
        let future = Arc::new(Future::of(&trace));
        let from = from.min(uses.len() - 1);
        let reuses = Reuses::since(from, &trace, &future);
        let accesses = (uses.len() - from) as u64;
        let requested: u64 = trace.sized().skip(from).map(|(_, bytes)| bytes).sum();

        let least = |cost: fn(u64) -> f64| optimum_since(from, &trace, capacity, admission, cost);
        let (objects, bytes) = (least(|_| 1.0) as u64, least(|size| size as f64) as u64);
        let by_objects = Lower::new(&reuses, Value::Objects, admission);
        let by_bytes = Lower::new(&reuses, Value::Bytes, admission);
        prop_assert!(accesses - by_objects.most_hits(capacity) <= objects);
        prop_assert!(requested - by_bytes.most_hit_bytes(capacity) <= bytes);
        // A hit on a small tensor saves nothing here: misses cost max(0, size - 2.5).
        let cost = least(|size| (size as f64 - 2.5).max(0.0));
        let all: f64 = trace.sized().skip(from).map(|(_, size)| (size as f64 - 2.5).max(0.0)).sum();
        let saved = Lower::new(&reuses, COST, admission).most_saved(capacity);
        prop_assert!(all - saved <= cost + 1e-6, "{} {saved} {cost}", all);

        for lower in [&by_objects, &by_bytes].into_iter().filter(|_| trace.parents().is_empty()) {
            let packed = packed(lower, capacity);
            prop_assert!(packed.objects >= objects && packed.bytes >= bytes);
        }
        let hits = accesses - objects;
        prop_assert!(by_objects.least_capacity(hits) <= capacity);
        for kind in [PolicyKind::Belady, PolicyKind::BeladySize] {
            let parents = trace.parents();
            let setup = Setup { admission, future: Some(&future), parents, ..Setup::new(&sizes, capacity) };
            let mut memory = crate::sim::cache(kind, &setup).unwrap();
            memory.advance(trace.chunk(0, from));
            let before = memory.counts();
            memory.advance(trace.chunk(from, uses.len()));
            let report = memory.counts().since(before);
            prop_assert!(report.misses >= objects && report.miss_bytes >= bytes);
            // Where sizes are equal, Belady in this mode is the best there is.
            if from == 0 && kind == PolicyKind::Belady && trace.resizes().is_empty() && parents.is_empty() && sizes.iter().all(|s| *s == sizes[0]) {
                prop_assert_eq!(report.misses, objects);
            }
        }
    }

    #[test]
    fn sizes_near_the_limit_keep_the_bound(
        sizes in prop::collection::vec(0u32..60, 4),
        order in prop::collection::vec(0u32..4, 1..12),
        capacity in 1u32..62,
    ) {
        let sizes: Vec<u64> = sizes.iter().map(|s| (1u64 << s) - 1).collect();
        let capacity = 1u64 << capacity;
        let trace = trace(&sizes, &order);
        let future = Arc::new(Future::of(&trace));
        let reuses = Reuses::new(&trace, &future);
        let least = optimum(&trace, capacity, Admission::Bypass, |_| 1.0) as u64;
        let lower = Lower::new(&reuses, Value::Objects, Admission::Bypass);
        prop_assert!(trace.summary().accesses - lower.most_hits(capacity) <= least);
        // Sums of such sizes as floats are exact up to their last digits.
        let least_bytes = optimum(&trace, capacity, Admission::Bypass, |size| size as f64);
        let by_bytes = Lower::new(&reuses, Value::Bytes, Admission::Bypass);
        let bound = trace.summary().requested_bytes - by_bytes.most_hit_bytes(capacity);
        prop_assert!(bound as f64 <= least_bytes * (1.0 + 1e-12));
        prop_assert!(packed(&lower, capacity).objects >= least);
    }
}

/// The example on which a published upper bound is not one: the truth is 4 misses of 8 with bypassing.
#[test]
fn the_published_counter_example() {
    let trace = trace(&[10, 10], &[0, 0, 1, 0, 1, 1, 1, 0]);
    let future = Arc::new(Future::of(&trace));
    let reuses = Reuses::new(&trace, &future);
    for (admission, truth) in [(Admission::Bypass, 4u32), (Admission::Always, 5)] {
        assert_eq!(optimum(&trace, 11, admission, |_| 1.0), f64::from(truth));
        let lower = Lower::new(&reuses, Value::Objects, admission);
        assert!(8 - lower.most_hits(11) <= u64::from(truth));
        assert!(packed(&lower, 11).objects >= u64::from(truth));
        let setup = Setup { admission, future: Some(&future), ..Setup::new(&[10, 10], 11) };
        assert_eq!(simulate(PolicyKind::Belady, &setup, &trace).unwrap().misses, u64::from(truth));
    }
}
