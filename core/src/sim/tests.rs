//! Every policy against a model that is too simple to be wrong.

use std::sync::Arc;

use proptest::prelude::*;

use super::audit::audit;
use super::*;
use crate::policy::POLICIES;
use crate::score::{Scorer, Scores, heuristic};
use crate::trace::reuse::Future;
use crate::trace::testing::trace;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_policy_equals_its_naive_model(
        sizes in prop::collection::vec(prop_oneof![Just(0u64), 1u64..20], 1..10),
        order in prop::collection::vec(0u32..10, 1..120),
        capacity in 1u64..60,
        levels in prop::collection::vec(0u8..4, 120),
        use_heuristic: bool,
        bypass: bool,
    ) {
        let order: Vec<u32> = order.iter().map(|t| t % sizes.len() as u32).collect();
        let trace = trace(&sizes, &order);
        let sizes = trace.sizes();
        // Few distinct scores, so that ties come up.
        let coarse = Scores {
            values: levels[..order.len()].iter().map(|l| f64::from(*l) / 4.0).collect::<Arc<[f64]>>(),
            scorer: Scorer::Heuristic,
        };
        let scores = if use_heuristic { heuristic(&trace) } else { coarse };
        let future = Arc::new(Future::of(&trace));
        let admission = if bypass { Admission::Bypass } else { Admission::Always };
        let setup =
            Setup { admission, scores: Some(&scores), future: Some(&future), ..Setup::new(&sizes, capacity) };
        for policy in POLICIES {
            let counts = audit(policy.kind, &setup, &trace).map_err(|e| TestCaseError::fail(format!("{}: {e}", policy.name)))?;
            if let Some(mut model) = naive::model(policy.kind, &setup, &future) {
                prop_assert_eq!(counts, naive::run(&mut *model, &setup, trace.accesses()), "{}", policy.name);
            }
        }
    }

    #[test]
    fn arc_is_the_published_one_where_sizes_are_equal(
        order in prop::collection::vec(0u32..12, 1..300),
        capacity in 1u64..10,
        bytes in 1u64..5,
    ) {
        let trace = trace(&[bytes; 12], &order);
        let sizes = trace.sizes();
        let setup = Setup::new(&sizes, capacity * bytes);
        let counts = audit(PolicyKind::Arc, &setup, &trace).unwrap();
        prop_assert_eq!(counts.misses, naive::PublishedArc::misses(trace.accesses(), capacity as usize));
    }

    #[test]
    fn the_timeline_agrees_with_the_counts(
        order in prop::collection::vec(0u32..12, 1..400),
        capacity in 1u64..100,
    ) {
        let sizes: Vec<u64> = (1..=12).collect();
        let trace = trace(&sizes, &order);
        let sizes = trace.sizes();
        let scores = heuristic(&trace);
        let future = Arc::new(Future::of(&trace));
        let setup = Setup { scores: Some(&scores), future: Some(&future), ..Setup::new(&sizes, capacity) };
        let buckets = Buckets::new(&trace);
        for policy in POLICIES {
            let mut run = start(policy.kind, &setup, &buckets).unwrap();
            let half = trace.accesses().len() / 2;
            run.advance(&trace, 0, half);
            run.advance(&trace, half, trace.accesses().len());
            let (report, timeline) = run.finish();
            prop_assert_eq!(&report, &simulate(policy.kind, &setup, &trace).unwrap());
            prop_assert_eq!(timeline.hits.iter().map(|h| u64::from(*h)).sum::<u64>(), report.hits);
            for column in 0..buckets.columns {
                let used: u64 = timeline.resident[0].iter().map(|row| row[column]).sum();
                prop_assert!(used <= capacity, "{} {used} {capacity}", policy.name);
            }
        }
    }
}

#[test]
fn a_tensor_larger_than_the_memory_is_bypassed() {
    let trace = trace(&[100, 10], &[0, 1, 0, 1]);
    let sizes = trace.sizes();
    let setup = Setup::new(&sizes, 50);
    let report = simulate(PolicyKind::Lru, &setup, &trace).unwrap();
    assert_eq!((report.hits, report.misses, report.bypassed, report.evictions), (1, 3, 2, 0));
}

#[test]
fn the_largest_capacity_holds_everything() {
    let trace = trace(&[u64::MAX / 4, 10], &[0, 1, 0, 1]);
    let sizes = trace.sizes();
    for capacity_bytes in [1u64 << 63, u64::MAX] {
        let setup = Setup::new(&sizes, capacity_bytes);
        assert_eq!(simulate(PolicyKind::Lru, &setup, &trace).unwrap().hits, 2);
    }
}
