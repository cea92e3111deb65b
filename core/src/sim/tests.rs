//! Every policy against a model that is too simple to be wrong.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::policy::POLICIES;
use crate::score::{Scorer, Scores, heuristic};
use crate::trace::testing::trace;

/// The cache as a list of residents with the access number of their insertion and last use.
fn naive(kind: PolicyKind, sizes: &[u64], order: &[u32], capacity: u64, scores: &[f64]) -> Counts {
    let mut residents: Vec<(u32, usize, usize)> = Vec::new();
    let mut counts = Counts::default();
    for (now, &t) in order.iter().enumerate() {
        let bytes = sizes[t as usize];
        if let Some(found) = residents.iter_mut().find(|r| r.0 == t) {
            found.2 = now;
            counts.hits += 1;
            counts.hit_bytes += bytes;
            continue;
        }
        counts.misses += 1;
        counts.miss_bytes += bytes;
        if bytes > capacity {
            counts.bypassed += 1;
            continue;
        }
        while residents.iter().map(|r| sizes[r.0 as usize]).sum::<u64>() + bytes > capacity {
            let mut victim = 0;
            for (i, r) in residents.iter().enumerate() {
                let v = residents[victim];
                let worse = match kind {
                    PolicyKind::Lru => r.2 < v.2,
                    PolicyKind::Fifo => r.1 < v.1,
                    PolicyKind::Ml => scores[r.2] > scores[v.2] || (scores[r.2] == scores[v.2] && r.1 < v.1),
                };
                if worse {
                    victim = i;
                }
            }
            residents.remove(victim);
            counts.evictions += 1;
        }
        residents.push((t, now, now));
    }
    counts
}

/// Checks the engine's promises at every event.
struct Checker {
    capacity: u64,
    used: u64,
    resident: Vec<bool>,
    accesses: usize,
}

impl Observer for Checker {
    fn hit(&mut self, now: usize, tensor: u32, _bytes: u64) {
        assert!(self.resident[tensor as usize]);
        assert_eq!(now, self.accesses);
        self.accesses += 1;
    }
    fn miss(&mut self, now: usize, tensor: u32, _bytes: u64) {
        assert!(!self.resident[tensor as usize]);
        assert_eq!(now, self.accesses);
        self.accesses += 1;
    }
    fn insert(&mut self, _now: usize, tensor: u32, bytes: u64) {
        self.resident[tensor as usize] = true;
        self.used += bytes;
        assert!(self.used <= self.capacity);
    }
    fn evict(&mut self, _now: usize, tensor: u32, bytes: u64) {
        assert!(std::mem::take(&mut self.resident[tensor as usize]));
        self.used -= bytes;
    }
}

struct Checked<'a>(&'a Setup<'a>, &'a Trace);

impl Visitor for Checked<'_> {
    type Output = Counts;
    fn visit<P: Policy + 'static>(self) -> Counts {
        let Self(setup, trace) = self;
        let mut engine = Engine::<P>::new(setup).unwrap();
        let mut checker =
            Checker { capacity: setup.capacity_bytes, used: 0, resident: vec![false; setup.sizes.len()], accesses: 0 };
        engine.advance(trace.accesses(), 0, &mut checker);
        assert_eq!(engine.used_bytes(), checker.used);
        engine.counts()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_policy_equals_its_naive_model(
        sizes in prop::collection::vec(prop_oneof![Just(0u64), 1u64..20], 1..10),
        order in prop::collection::vec(0u32..10, 1..120),
        capacity in 1u64..60,
        levels in prop::collection::vec(0u8..4, 120),
        use_heuristic: bool,
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
        let setup = Setup { sizes: &sizes, capacity_bytes: capacity, scores: Some(&scores) };
        for policy in POLICIES {
            let expected = naive(policy.kind, &sizes, trace.accesses(), capacity, &scores.values);
            prop_assert_eq!(policy.kind.dispatch(Checked(&setup, &trace)), expected, "{}", policy.name);
        }
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
        let setup = Setup { sizes: &sizes, capacity_bytes: capacity, scores: Some(&scores) };
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
                prop_assert!(used <= capacity);
            }
        }
    }
}

#[test]
fn a_tensor_larger_than_the_memory_is_bypassed() {
    let trace = trace(&[100, 10], &[0, 1, 0, 1]);
    let sizes = trace.sizes();
    let setup = Setup { sizes: &sizes, capacity_bytes: 50, scores: None };
    let report = simulate(PolicyKind::Lru, &setup, &trace).unwrap();
    assert_eq!((report.hits, report.misses, report.bypassed, report.evictions), (1, 3, 2, 0));
}

#[test]
fn the_largest_capacity_holds_everything() {
    let trace = trace(&[u64::MAX / 4, 10], &[0, 1, 0, 1]);
    let sizes = trace.sizes();
    for capacity_bytes in [1u64 << 63, u64::MAX] {
        let setup = Setup { sizes: &sizes, capacity_bytes, scores: None };
        assert_eq!(simulate(PolicyKind::Lru, &setup, &trace).unwrap().hits, 2);
    }
}
