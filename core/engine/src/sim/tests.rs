//! Every policy against a model that is too simple to be wrong.

use std::sync::Arc;

use proptest::prelude::*;

use super::audit::audit;
use super::*;
use crate::memory::Physical;
use crate::policy::{POLICIES, PolicyInfo, PolicyKind};
use crate::rng::Rng;
use crate::rules::Rules;
use crate::score::{BuiltIn, Scorer, Scores, heuristic, predicted_reuse_distance};
use crate::trace::NO_PARENT;
use crate::trace::reuse::{Future, NEVER};
use crate::trace::testing::{expiring, sized, trace, tree};

/// `policy` with each parameter somewhere in its range, 0 being its least value and 1 its greatest.
fn tuned_to(policy: &PolicyInfo, at: &[f64]) -> PolicySpec {
    let value = |(row, at): (&crate::policy::Parameter, &f64)| {
        let [least, most] = row.range;
        // Multiples of the capacity that matter are small.
        let value = least + (most.min(3.0 + least) - least) * at;
        format!("{}={}", row.name, if row.whole { value.round() } else { value })
    };
    let pairs: Vec<String> = policy.parameters.iter().zip(at).map(value).collect();
    PolicySpec::parse(&format!("{}({})", policy.name, pairs.join(","))).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_policy_equals_its_naive_model(
        uses in prop::collection::vec((0u32..10, prop_oneof![Just(0u64), 1u64..20, 1u64..80]), 1..120),
        narrow in 1u32..11,
        steady: bool,
        capacity in 1u64..60,
        // Shares of a hundredth and a tenth need room to differ.
        scale in prop_oneof![Just(1u64), Just(10), Just(101)],
        rest in 0u64..100,
        levels in prop::collection::vec(0u8..4, 120),
        parents in prop_oneof![Just(Vec::new()), prop::collection::vec(0u32..10, 10)],
        use_heuristic: bool,
        bypass: bool,
        tuned: bool,
        at in prop::array::uniform4(0.0f64..=1.0),
    ) {
        let uses: Vec<(u32, u64)> = uses.iter().map(|(t, size)| (t % narrow, size * scale)).collect();
        let capacity = capacity * scale + rest % scale;
        let trace = tree(&uses, steady, &parents);
        let sizes = trace.sizes();
        // Few distinct scores, so that ties come up.
        let coarse = Scores {
            values: levels[..uses.len()].iter().map(|l| f64::from(*l) / 4.0).collect::<Arc<[f64]>>(),
            scorer: Scorer::Heuristic,
        };
        let scores = if use_heuristic { heuristic(&trace) } else { coarse };
        let future = Arc::new(Future::of(&trace));
        let admission = if bypass { Admission::Bypass } else { Admission::Always };
        let setup =
            Setup { admission, scores: Some(&scores), future: Some(&future), parents: trace.parents(), ..Setup::new(&sizes, capacity) };
        for policy in POLICIES {
            let policy = if tuned { tuned_to(policy, &at) } else { policy.kind.into() };
            let counts = audit(policy, &setup, &trace).map_err(|e| TestCaseError::fail(format!("{policy}: {e}")))?;
            let now = naive::Sizes::new(sizes.clone().into());
            if let Some(mut model) = naive::model(policy, &setup, &future, &now) {
                prop_assert_eq!(counts, naive::run(&mut *model, &setup, &trace, &now), "{}", policy);
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
        uses in prop::collection::vec((0u32..12, 0u64..20), 1..400),
        capacity in 1u64..100,
        steady: bool,
    ) {
        let trace = sized(&uses, steady);
        let sizes = trace.sizes();
        let scores = heuristic(&trace);
        let future = Arc::new(Future::of(&trace));
        let setup = Setup { scores: Some(&scores), future: Some(&future), ..Setup::new(&sizes, capacity) };
        let buckets = Buckets::new(&trace);
        for policy in POLICIES {
            let physical = Physical { prefetch_depth: 2, ..Physical::default() };
            let costing = Costing::Device { physical, named: true };
            let mut run = start(policy.kind, &setup, &future, &buckets, &costing, Watched::ALL).unwrap();
            let half = trace.accesses().len() / 2;
            run.advance(&trace, 0, half);
            run.advance(&trace, half, trace.accesses().len());
            let (mut report, timeline) = run.finish(&trace, Counts::default());
            let timeline = timeline.unwrap();
            let why = report.why.take().unwrap();
            let timed = report.physical.take().unwrap();
            prop_assert_eq!(why.kinds.iter().map(|k| k.misses).sum::<u64>(), report.misses);
            prop_assert_eq!(why.kinds.iter().map(|k| k.evictions).sum::<u64>(), report.evictions);
            prop_assert_eq!(timed.dram_read_bytes, report.miss_bytes);
            prop_assert_eq!(&report, &simulate(policy.kind, &setup, &trace).unwrap());
            prop_assert_eq!(timeline.hits.iter().map(|h| u64::from(*h)).sum::<u64>(), report.hits);
            for column in 0..buckets.columns {
                let used: u64 = timeline.resident[0].iter().map(|row| row[column]).sum();
                prop_assert!(used <= capacity, "{} {used} {capacity}", policy.name);
            }
        }
    }
}

/// Each policy with every combination of the least, the usual and the greatest value of its parameters.
fn at_extremes(policy: &PolicyInfo) -> Vec<PolicySpec> {
    let mut texts = vec![String::new()];
    for row in policy.parameters {
        let values = [row.range[0], row.default, row.range[1]];
        texts = texts.iter().flat_map(|text| values.map(|value| format!("{text}{}={value},", row.name))).collect();
    }
    texts
        .iter()
        .map(|text| PolicySpec::parse(&format!("{}({})", policy.name, text.trim_end_matches(','))).unwrap())
        .collect()
}

/// No room, room for a byte, for a part of a tensor, for all; no tensor, one, tensors without bytes, and sizes that change:
/// nothing panics, no promise is broken, and what has a naive model equals it.
#[test]
fn extremes_are_handled() {
    let alone: Vec<(u32, u64)> = vec![(0, 1); 5];
    let empty: Vec<(u32, u64)> = (0..12).map(|i| (i % 3, 0)).collect();
    let large: Vec<(u32, u64)> = (0..12).map(|i| (i % 3, u64::MAX / 12)).collect();
    let mixed: Vec<(u32, u64)> = (0..60u32).map(|i| (i * i % 11, u64::from(i * 7 % 5))).collect();
    let changing: Vec<(u32, u64)> = (0..40u32).map(|i| (i % 4, 1 << (i * 5 % 8))).collect();
    for (uses, steady) in [(alone, true), (empty, true), (large, true), (mixed, true), (changing, false)] {
        let trace = sized(&uses, steady);
        let (sizes, scores, future) = (trace.sizes(), heuristic(&trace), Arc::new(Future::of(&trace)));
        for (capacity, admission) in
            [0, 1, 2, 9, 1000, u64::MAX].into_iter().flat_map(|c| [(c, Admission::Always), (c, Admission::Bypass)])
        {
            let setup =
                Setup { admission, scores: Some(&scores), future: Some(&future), ..Setup::new(&sizes, capacity) };
            for policy in POLICIES.iter().flat_map(at_extremes) {
                let counts =
                    audit(policy, &setup, &trace).unwrap_or_else(|error| panic!("{policy} in {capacity}: {error}"));
                let now = naive::Sizes::new(sizes.clone().into());
                if uses.iter().all(|(_, bytes)| *bytes < 1 << 40)
                    && capacity < 1 << 40
                    && let Some(mut model) = naive::model(policy, &setup, &future, &now)
                {
                    assert_eq!(
                        counts,
                        naive::run(&mut *model, &setup, &trace, &now),
                        "{policy} in {capacity}, {admission:?}"
                    );
                }
            }
        }
    }
}

/// Every policy has a naive model but those named here, and the reason why.
#[test]
fn only_the_policies_named_here_have_no_naive_model() {
    // They draw by chance.
    let without = ["random", "hyperbolic", "lecar", "cacheus", "lhd", "lrb"];
    // CONTRIBUTING's example of a policy, which `contributing` (tests/it) compiles into a copy of this crate.
    let example = "2-random";
    let trace = trace(&[1, 2], &[0, 1, 0]);
    let sizes = trace.sizes();
    let scores = heuristic(&trace);
    let future = Arc::new(Future::of(&trace));
    let setup = Setup { scores: Some(&scores), future: Some(&future), ..Setup::new(&sizes, 2) };
    let now = naive::Sizes::new(sizes.clone().into());
    let found: Vec<&str> = POLICIES
        .iter()
        .filter(|policy| naive::model(policy.kind.into(), &setup, &future, &now).is_none())
        .map(|policy| policy.name)
        .filter(|name| *name != example)
        .collect();
    assert_eq!(found, without, "write the policy once more in naive.rs");
}

/// A hit with another size changes the resident: growing may evict, shrinking makes room, and who outgrows the memory
/// leaves.
#[test]
fn sizes_belong_to_accesses() {
    let counts = |uses: &[(u32, u64)], capacity| {
        let trace = sized(uses, false);
        let sizes = trace.sizes();
        let setup = Setup::new(&sizes, capacity);
        let Counts { hits, misses, evictions, oversize, .. } = audit(PolicyKind::Lru, &setup, &trace).unwrap();
        (hits, misses, evictions, oversize)
    };
    let outgrown = [(0, 10), (1, 10), (0, 10), (1, 10), (0, 1000), (1, 10), (1, 10), (1, 10)];
    assert_eq!(counts(&outgrown, 500), (5, 3, 1, 1));
    let grown = [(0, 10), (1, 10), (0, 15), (1, 10)];
    assert_eq!(counts(&grown, 20), (1, 3, 2, 0));
    let shrunk = [(0, 10), (1, 10), (0, 5), (2, 5), (1, 10), (0, 5)];
    assert_eq!(counts(&shrunk, 20), (3, 3, 0, 0));
}

/// Twenty tensors of 4 MiB in a loop, in room for 15 and 16: a share of the capacity holds one of them at least.
#[test]
fn shares_hold_a_tensor_at_least() {
    let order: Vec<u32> = (0..2000).map(|i| i % 20).collect();
    let trace = trace(&[4 << 20; 20], &order);
    let sizes = trace.sizes();
    let misses = |policy: &str, capacity| {
        let policy = PolicySpec::parse(policy).unwrap();
        audit(policy, &Setup::new(&sizes, capacity), &trace).unwrap().misses
    };
    assert_eq!(misses("lru", 64 << 20), 2000);
    // The memory holds 15 for good and one for the others: 5 of 20 miss in each loop but the first.
    assert_eq!(misses("lirs", 64 << 20), 20 + 99 * 5);
    assert_eq!(misses("lirs", 64_000_000), 20 + 99 * 6);
    for policy in ["s3-fifo", "w-tinylfu", "w-tinylfu(window=0)", "2q", "lirs(high=0)"] {
        for capacity in [64 << 20, 64_000_000] {
            let misses = misses(policy, capacity);
            assert!(misses < 1500, "{policy} misses {misses} in {capacity}");
        }
    }
}

/// Blocks 0, 1 and 2 hold a prompt, and 3 comes between its two uses. Without ties LRU evicts the block that is needed
/// first; where the others are worth nothing without it, all are lost. From the leaves, two remain.
#[test]
fn prefixes_leave_from_their_ends() {
    let uses = [0, 1, 2, 3, 0, 1, 2].map(|t| (t, 1));
    let trace = tree(&uses, true, &[NO_PARENT, 0, 1, NO_PARENT]);
    let sizes = trace.sizes();
    let setup = Setup { parents: trace.parents(), ..Setup::new(&sizes, 3) };
    let counts = |policy| audit(policy, &setup, &trace).unwrap();
    let lru = counts(PolicyKind::Lru);
    assert_eq!((lru.hits, lru.evictions), (0, 4));
    for policy in [PolicyKind::Radix, PolicyKind::RadixCost] {
        assert_eq!(counts(policy).hits, 2, "{policy:?}");
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

/// Scores that say exactly when a tensor comes back, as the scale of ten buckets allows.
fn oracle_scores(trace: &Trace) -> Scores {
    let future = Future::of(trace);
    let score = |(now, next): (usize, &u32)| match *next {
        NEVER => 1.0,
        next => ((next as usize - now) as f64).log2() / 18.0,
    };
    Scores { values: future.next_use.iter().enumerate().map(score).collect(), scorer: Scorer::Heuristic }
}

#[test]
fn good_predictions_keep_a_part_of_a_cycle_and_bad_ones_decay_to_lru() {
    let misses = |trace: &Trace, scores: &Scores, policy: PolicyKind, capacity| {
        let (sizes, future) = (trace.sizes(), Arc::new(Future::of(trace)));
        let setup = Setup { scores: Some(scores), future: Some(&future), ..Setup::new(&sizes, capacity) };
        simulate(policy, &setup, trace).unwrap().misses
    };
    let cycle: Vec<u32> = (0..5000).map(|i| i % 100).collect();
    let looped = trace(&[1; 100], &cycle);
    let scores = oracle_scores(&looped);
    assert_eq!(misses(&looped, &scores, PolicyKind::Lru, 50), 5000);
    let best = misses(&looped, &scores, PolicyKind::Belady, 50);
    let predicted = misses(&looped, &scores, PolicyKind::MlReuse, 50);
    assert!(predicted <= best + best / 20, "{predicted} {best}");
    // Those that learn know nothing in the first two rounds.
    for scorer in [BuiltIn::History, BuiltIn::Embedded] {
        let predicted = misses(&looped, &scorer.scores(&looped), PolicyKind::MlReuse, 50);
        assert!(predicted <= best + 200, "{scorer:?} {predicted} {best}");
    }

    // Recency is right here, and the predictions are the opposite of the truth.
    let mut rng = Rng::new(1, "test");
    let mut order = Vec::new();
    for step in 0..20_000u32 {
        order.push((step / 50 + rng.below(20)) % 200);
    }
    let local = trace(&[3; 200], &order);
    let mut wrong = oracle_scores(&local);
    wrong.values = wrong.values.iter().map(|s| 1.0 - s).collect();
    let lru = misses(&local, &wrong, PolicyKind::Lru, 60);
    let predicted = misses(&local, &wrong, PolicyKind::MlReuse, 60);
    // What it takes to see that they are wrong, and to change sides.
    assert!(predicted <= lru + 32 + lru / 50, "{predicted} {lru}");
    assert!(misses(&local, &wrong, PolicyKind::Ml, 60) > 2 * lru);
    // All alike, and by chance, where the order has no sense either.
    let any: Vec<u32> = (0..40_000).map(|_| rng.below(200)).collect();
    let any = trace(&[3; 200], &any);
    let constant = Scores { values: vec![0.5; 40_000].into(), scorer: Scorer::Heuristic };
    let drawn = Scores { values: (0..40_000).map(|_| rng.unit()).collect(), scorer: Scorer::Heuristic };
    for scores in [&constant, &drawn] {
        let (lru, predicted) =
            (misses(&any, scores, PolicyKind::Lru, 60), misses(&any, scores, PolicyKind::MlReuse, 60));
        assert!(predicted <= lru + lru / 50, "{predicted} {lru}");
    }
}

/// The accesses of a phase: the tensors of 0 to 199 that come next.
type Pattern = fn(u32, &mut Rng) -> u32;

/// A round, as the layers of a model, over the lower half.
fn round(step: u32, _: &mut Rng) -> u32 {
    step % 100
}

/// Forward and backward again over the same.
fn forth_and_back(step: u32, _: &mut Rng) -> u32 {
    let at = step % 198;
    at.min(198 - at)
}

/// What was used lately, and moves on.
fn lately(step: u32, rng: &mut Rng) -> u32 {
    (step / 50 + rng.below(20)) % 200
}

/// Four in five of a few, which are the lower ones.
fn few_low(_: u32, rng: &mut Rng) -> u32 {
    if rng.below(5) > 0 { rng.below(50) } else { 50 + rng.below(150) }
}

/// The same, which are the upper ones.
fn few_high(step: u32, rng: &mut Rng) -> u32 {
    199 - few_low(step, rng)
}

/// Any.
fn whichever(_: u32, rng: &mut Rng) -> u32 {
    rng.below(200)
}

/// So many accesses in phases of `length`, by two patterns in turn.
fn phases(two: [Pattern; 2], accesses: u32, length: u32, sizes: &[u64]) -> Trace {
    let mut rng = Rng::new(u64::from(length), "phases");
    let order = (0..accesses).map(|step| two[(step / length % 2) as usize](step % length, &mut rng));
    trace(sizes, &order.collect::<Vec<_>>())
}

/// What was learned in a phase is wrong in the next one: for those who learn, and for the rule alone, with the truth about
/// the other phase and with the opposite of its own, it costs at most 2 % more misses than LRU, and 32.
#[test]
fn phases_that_swap_cost_little_more_than_lru() {
    let patterns: [Pattern; 6] = [round, forth_and_back, lately, few_low, few_high, whichever];
    let (same, different) = (vec![3; 200], (0..200).map(|i| 1 + i * 7 % 6).collect::<Vec<u64>>());
    for (one, first) in patterns.iter().enumerate() {
        for (two, second) in patterns.iter().enumerate().skip(one + 1) {
            let (length, sizes) = if (one + two) % 2 == 0 { (400, &same) } else { (1_000, &different) };
            let check = |trace: &Trace, all: &[Scores]| {
                let run = |policy, scores| {
                    let setup = Setup { scores: Some(scores), ..Setup::new(sizes, 180) };
                    simulate(policy, &setup, trace).unwrap().misses
                };
                for (i, scores) in all.iter().enumerate() {
                    let (lru, misses) = (run(PolicyKind::Lru, scores), run(PolicyKind::MlReuse, scores));
                    let bar = lru + lru / 50 + 32;
                    assert!(misses <= bar, "{one} and {two}, {i} by {:?}: {misses}, LRU {lru}", scores.scorer);
                }
            };
            let learned = phases([*first, *second], 6_000, length, sizes);
            check(&learned, &[BuiltIn::History, BuiltIn::Embedded].map(|scorer| scorer.scores(&learned)));
            let [trace, turned] = [[*first, *second], [*second, *first]].map(|two| phases(two, 40_000, length, sizes));
            let mut opposite = oracle_scores(&trace);
            opposite.values = opposite.values.iter().map(|score| 1.0 - score).collect();
            check(&trace, &[oracle_scores(&turned), opposite]);
        }
    }
}

#[test]
fn an_eviction_is_told_with_the_better_victim() {
    // LRU puts 0 out for 2 although 1 is never used again.
    let trace = trace(&[1_000_000, 2_000_000, 1_000_000], &[0, 1, 2, 0]);
    let (sizes, future) = (trace.sizes(), Arc::new(Future::of(&trace)));
    let setup = Setup::new(&sizes, 3_000_000);
    let evictions = evictions_at(PolicyKind::Lru, &setup, &future, &trace, &Costing::Prototype, 2).unwrap();
    let expected = why::Eviction {
        access: 2,
        tensor: "0".into(),
        bytes: 1_000_000,
        next_use: Some(3),
        best_tensor: "1".into(),
        best_bytes: 2_000_000,
        best_next_use: None,
        cost_ms: Some(0.13125),
        sooner_by: 1,
        prediction: None,
    };
    assert_eq!(evictions, std::slice::from_ref(&expected));
    assert!(evictions_at(PolicyKind::Lru, &setup, &future, &trace, &Costing::Prototype, 1).unwrap().is_empty());
    assert_eq!(
        evictions_at(PolicyKind::Lru, &setup, &future, &trace, &Costing::Prototype, 4).unwrap_err().field_name(),
        Some("at")
    );
    let buckets = Buckets::new(&trace);
    let mut run = start(PolicyKind::Lru, &setup, &future, &buckets, &Costing::Prototype, Watched::ALL).unwrap();
    run.advance(&trace, 0, 4);
    let why = run.finish(&trace, Counts::default()).0.why.unwrap();
    assert_eq!((why.worst, why.evicted_too_early, why.best_choices), (vec![expected], 1, 1));
    assert_eq!((why.kinds[0].misses, why.tensors[0].tensor.as_str(), why.tensors[0].misses), (4, "0", 2));
}

/// Each scorer's own words, from the last use of who is evicted.
#[test]
fn an_eviction_by_scores_is_told_with_the_prediction() {
    let order: Vec<u32> = (0..40).map(|access| access % 4).collect();
    let trace = trace(&[1 << 20; 4], &order);
    let (sizes, future) = (trace.sizes(), Arc::new(Future::of(&trace)));
    let told = |scores: &Scores, policy: PolicyKind, access: usize| {
        let setup = Setup { scores: Some(scores), ..Setup::new(&sizes, 3 << 20) };
        let evictions = evictions_at(policy, &setup, &future, &trace, &Costing::Prototype, access).unwrap();
        evictions.into_iter().next().unwrap().prediction
    };
    let evicts = |scores: &Scores, from: usize| {
        let setup = Setup { scores: Some(scores), ..Setup::new(&sizes, 3 << 20) };
        let evictions =
            |at: usize| evictions_at(PolicyKind::MlReuse, &setup, &future, &trace, &Costing::Prototype, at).unwrap();
        (from..40).find(|at| !evictions(*at).is_empty()).unwrap()
    };
    for (scorer, wanted) in [
        (BuiltIn::History, "read by request, last gap about 4, came back after 4 accesses (mean, "),
        (BuiltIn::Embedded, "the network: "),
        (BuiltIn::Heuristic, "1.05 MB, "),
    ] {
        let scores = scorer.scores(&trace);
        let access = evicts(&scores, 20);
        let prediction = told(&scores, PolicyKind::MlReuse, access).unwrap();
        assert!(prediction.reason.contains(wanted), "{}", prediction.reason);
        let last_use = prediction.last_use as usize;
        assert!(last_use < access && prediction.score == scores.values[last_use]);
        let next_use = prediction.last_use + predicted_reuse_distance(prediction.score);
        assert_eq!((prediction.next_use, prediction.distrusted), (Some(next_use), false));
        assert_eq!(told(&scores, PolicyKind::Lru, access), None);
    }
    let model = Scores { values: vec![1.0; 40].into(), scorer: Scorer::Remote };
    let prediction = told(&model, PolicyKind::MlReuse, evicts(&model, 20)).unwrap();
    assert!(prediction.reason.starts_with("the answer to: objects, 1 MiB, read by request"), "{}", prediction.reason);
    assert_eq!(prediction.next_use, None);
}

/// Opposite predictions are followed until LRU is ahead by 32 misses.
#[test]
fn an_eviction_tells_whether_scores_were_followed() {
    // Pairs that come back at once, and those before them never.
    let order: Vec<u32> = (0..400).map(|access| access / 4 + access % 2).collect();
    let trace = trace(&[1; 101], &order);
    let mut wrong = oracle_scores(&trace);
    wrong.values = wrong.values.iter().map(|score| 1.0 - score).collect();
    let (sizes, future) = (trace.sizes(), Arc::new(Future::of(&trace)));
    let setup = Setup { scores: Some(&wrong), ..Setup::new(&sizes, 2) };
    let distrusted = |access: usize| {
        let evictions = evictions_at(PolicyKind::MlReuse, &setup, &future, &trace, &Costing::Prototype, access);
        evictions.unwrap().first().and_then(|eviction| eviction.prediction.as_ref()).map(|it| it.distrusted)
    };
    let sides: Vec<bool> = (0..400).filter_map(distrusted).collect();
    let (first, last) = (sides.first().unwrap(), sides.last().unwrap());
    assert!(!first && *last, "{sides:?}");
}

proptest! {
    #[test]
    fn the_best_victim_is_the_farthest(
        order in prop::collection::vec(0u32..8, 1..60),
        capacity in 8u64..30,
        bypass: bool,
    ) {
        let sizes: Vec<u64> = (1..=8).collect();
        let trace = trace(&sizes, &order);
        let (sizes, future) = (trace.sizes(), Arc::new(Future::of(&trace)));
        let admission = if bypass { Admission::Bypass } else { Admission::Always };
        let setup = Setup { admission, future: Some(&future), ..Setup::new(&sizes, capacity) };
        let buckets = Buckets::new(&trace);
        let mut run = start(PolicyKind::Belady, &setup, &future, &buckets, &Costing::Prototype, Watched::ALL).unwrap();
        run.advance(&trace, 0, trace.accesses().len());
        let why = run.finish(&trace, Counts::default()).0.why.unwrap();
        prop_assert!(why.worst.is_empty(), "{:?}", why.worst);
    }
}

/// A memory of unit-sized tensors whose order of eviction is a list, told step by step; `lru` moves what is hit.
fn naive_with_ages(order: &[u32], deadlines: &[u32], capacity: usize, lru: bool) -> (u64, u64) {
    let mut residents: Vec<(u32, usize)> = Vec::new();
    let (mut misses, mut expired) = (0, 0);
    for (now, &tensor) in order.iter().enumerate() {
        let mut at = residents.iter().position(|(resident, _)| *resident == tensor);
        if let Some(old) = at.filter(|at| deadlines[residents[*at].1] as usize <= now) {
            residents.remove(old);
            (at, expired) = (None, expired + 1);
        }
        match at {
            Some(hit) if lru => {
                let resident = residents.remove(hit);
                residents.push(resident);
            }
            Some(_) => {}
            None => {
                misses += 1;
                if residents.len() == capacity {
                    residents.remove(0);
                }
                residents.push((tensor, now));
            }
        }
    }
    (misses, expired)
}

proptest! {
    #[test]
    fn what_is_too_old_is_absent_and_leaves(
        uses in prop::collection::vec((0u32..8, 1u32..30), 1..150),
        capacity in 1usize..8,
        step in 1usize..40,
    ) {
        let order: Vec<u32> = uses.iter().map(|(tensor, _)| *tensor).collect();
        let deadlines: Vec<u32> = (0..).zip(&uses).map(|(now, (_, lives))| now + lives).collect();
        let units: Vec<(u32, u64)> = order.iter().map(|tensor| (*tensor, 1)).collect();
        let trace = expiring(sized(&units, true), &deadlines);
        let (sizes, future) = (trace.sizes(), Arc::new(Future::of(&trace)));
        let scores = heuristic(&trace);
        let setup =
            Setup { scores: Some(&scores), future: Some(&future), ..Setup::new(&sizes, capacity as u64) };
        for (kind, lru) in [(PolicyKind::Lru, true), (PolicyKind::Fifo, false)] {
            let report = simulate(kind, &setup, &trace).unwrap();
            let naive = naive_with_ages(&order, &deadlines, capacity, lru);
            prop_assert_eq!((report.misses, report.expired), naive);
        }
        for policy in POLICIES {
            let mut run =
                start(policy.kind, &setup, &future, &Buckets::new(&trace), &Costing::Nothing, Watched::ALL).unwrap();
            for at in (0..order.len()).step_by(step) {
                run.advance(&trace, at, (at + step).min(order.len()));
            }
            let (mut report, _) = run.finish(&trace, Counts::default());
            let why = report.why.take().unwrap();
            prop_assert_eq!(why.kinds.iter().map(|k| k.evictions).sum::<u64>(), report.evictions);
            prop_assert_eq!(report, simulate(policy.kind, &setup, &trace).unwrap());
        }
    }
}

/// What rules say, as plainly as they can be told.
struct Told {
    /// The part of each tensor; none where it is pinned.
    part: Vec<Option<usize>>,
    /// The capacity of each part, and what it is emptied down to.
    rooms: Vec<(u64, u64)>,
    most: u64,
    second_request: bool,
    bypass: bool,
}

/// Runs a model for each part: memories of their own, in which pinned tensors and those that are not let in never arrive.
fn naive_under_rules(models: &mut [Box<dyn naive::Model>], told: &Told, trace: &Trace, sizes: &naive::Sizes) -> Counts {
    let size = |t: &u32| sizes.borrow()[*t as usize];
    let (mut residents, mut pinned) = (vec![Vec::<u32>::new(); told.rooms.len()], Vec::new());
    let mut missed = Vec::new();
    let mut counts = Counts::default();
    for (now, (t, bytes)) in trace.sized().enumerate() {
        let Some(part) = told.part[t as usize] else {
            sizes.borrow_mut()[t as usize] = bytes;
            if pinned.contains(&t) {
                (counts.hits, counts.hit_bytes) = (counts.hits + 1, counts.hit_bytes + bytes);
            } else {
                (counts.misses, counts.miss_bytes) = (counts.misses + 1, counts.miss_bytes + bytes);
                pinned.push(t);
            }
            continue;
        };
        let (model, residents, (capacity, low)) = (&mut models[part], &mut residents[part], told.rooms[part]);
        // Evicts down to `low` once more than `most` is used; whether `t` itself had to go.
        let make_room = |residents: &mut Vec<u32>, model: &mut Box<dyn naive::Model>, most: u64, low: u64| {
            let used = |residents: &Vec<u32>| residents.iter().map(size).sum::<u64>();
            let full = used(residents) > most;
            let (mut evicted, mut itself) = (0, false);
            while ((full && used(residents) > low) || model.crowded()) && !residents.is_empty() {
                let victim = model.evict();
                residents.retain(|r| *r != victim);
                (evicted, itself) = (evicted + 1, itself || victim == t);
            }
            (evicted, itself)
        };
        if bytes > capacity && residents.contains(&t) {
            residents.retain(|r| *r != t);
            model.remove(t);
            counts.evictions += 1;
        }
        if size(&t) != bytes {
            model.resize(t, bytes);
        }
        let resized = std::mem::replace(&mut sizes.borrow_mut()[t as usize], bytes) != bytes;
        if residents.contains(&t) {
            (counts.hits, counts.hit_bytes) = (counts.hits + 1, counts.hit_bytes + bytes);
            model.hit(t, now);
            if resized {
                counts.evictions += make_room(residents, model, capacity, low).0;
            }
            continue;
        }
        (counts.misses, counts.miss_bytes) = (counts.misses + 1, counts.miss_bytes + bytes);
        let oversize = bytes > capacity;
        let again = missed.contains(&t);
        if !oversize {
            missed.push(t);
        }
        counts.oversize += u64::from(oversize);
        if oversize || bytes > told.most || (told.second_request && !again) {
            counts.bypassed += 1;
            continue;
        }
        model.miss(t, now);
        if told.bypass {
            residents.push(t);
            model.insert(t, now);
            let (evicted, itself) = make_room(residents, model, capacity, low);
            counts.evictions += evicted - u64::from(itself);
            counts.bypassed += u64::from(itself);
        } else {
            counts.evictions += make_room(residents, model, capacity - bytes, low.saturating_sub(bytes)).0;
            residents.push(t);
            model.insert(t, now);
        }
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn rules_are_what_they_say(
        uses in prop::collection::vec((0u32..10, 1u64..20), 1..120),
        steady: bool,
        pinned in prop::collection::vec(prop::bool::weighted(0.2), 10),
        second in prop::collection::vec(any::<bool>(), 10),
        divided: bool,
        share in 0.1f64..0.9,
        watermark in prop_oneof![Just(1.0), 0.3f64..1.0],
        rule in 0usize..5,
        spare in 20u64..150,
    ) {
        let trace = sized(&uses, steady);
        let name = |t: &usize| trace.tensors()[*t].name.parse::<usize>().unwrap();
        let tensors: Vec<usize> = (0..trace.tensors().len()).collect();
        let chosen = |flags: &[bool]| tensors.iter().filter(|t| flags[name(t)]).map(|t| name(t).to_string()).collect::<Vec<_>>();
        let rule = ["always", "bypass", "size(most=9)", "second-request", "adaptsize(every=100)"][rule];
        let admission = crate::rules::AdmissionSpec::parse(rule).unwrap();
        let pins: Vec<_> = chosen(&pinned).iter().map(|text| text.parse().unwrap()).collect();
        let mut shares: Vec<crate::rules::Share> = Vec::new();
        if divided {
            let members = chosen(&second);
            shares.extend(members.iter().map(|text| format!("{text}={}", share / members.len() as f64).parse().unwrap()));
        }
        let rules = Rules::new(admission, watermark).pin(&pins, &trace).unwrap().divide(&shares, &trace).unwrap();
        let pinned_bytes: u64 = trace.largest_sizes().iter().zip(&tensors).filter(|(_, t)| pinned[name(t)]).map(|(b, _)| *b).sum();
        let capacity = pinned_bytes + spare;
        let Ok(rooms) = rules.capacities(capacity) else { return Ok(()) };
        // Where every tensor has a share and the rest is a part of its own, that stays empty.
        let mut next = 0;
        let parts: Vec<Option<usize>> = tensors.iter().map(|t| {
            let shared = divided && second[name(t)];
            next += usize::from(shared);
            if pinned[name(t)] { None } else if shared { Some(next) } else { Some(0) }
        }).collect();
        let told = Told {
            part: parts,
            rooms: rooms.iter().map(|room| (*room, ((*room as f64 * watermark) as u64).min(*room))).collect(),
            most: if rule.starts_with("size") { 9 } else { u64::MAX },
            second_request: rule == "second-request",
            bypass: rule == "bypass",
        };
        let sizes = trace.sizes();
        let future = Arc::new(Future::of(&trace));
        let scores = heuristic(&trace);
        let mode = if rule == "bypass" { Admission::Bypass } else { Admission::Always };
        let setup = Setup {
            admission: mode,
            rules: Some(&rules),
            scores: Some(&scores),
            future: Some(&future),
            ..Setup::new(&sizes, capacity)
        };
        for policy in POLICIES {
            let policy = PolicySpec::from(policy.kind);
            let counts = audit(policy, &setup, &trace).map_err(|e| TestCaseError::fail(format!("{policy}: {e}")))?;
            let now = naive::Sizes::new(sizes.clone().into());
            let model = |room: &u64| naive::model(policy, &Setup { capacity_bytes: *room, ..setup.clone() }, &future, &now);
            let models: Option<Vec<_>> = rooms.iter().map(model).collect();
            if let Some(mut models) = models.filter(|_| !rule.starts_with("adapt")) {
                prop_assert_eq!(counts, naive_under_rules(&mut models, &told, &trace, &now), "{} {:?}", policy, &rules);
            }
        }
    }
}

/// Twelve accesses to four layers of equal size in a loop: whole, LRU misses always; divided by layer, each part holds its
/// own.
#[test]
fn a_part_for_each_layer() {
    let order: Vec<u32> = (0..12).map(|i| i % 4).collect();
    let whole = trace(&[10; 4], &order);
    let sizes = whole.sizes();
    let misses = |rules: &Rules, capacity| {
        let setup = Setup { rules: Some(rules), ..Setup::new(&sizes, capacity) };
        audit(PolicyKind::Lru, &setup, &whole).unwrap().misses
    };
    let plain = || Rules::new(crate::rules::AdmissionSpec::default(), 1.0);
    assert_eq!(misses(&plain(), 30), 12);
    let pinned = plain().pin(&["0".parse().unwrap(), "1".parse().unwrap()], &whole).unwrap();
    assert_eq!(misses(&pinned, 30), 2 + 6);
    let divided = plain().divide(&["0=0.34".parse().unwrap(), "1=0.34".parse().unwrap()], &whole).unwrap();
    assert_eq!(misses(&divided, 30), 2 + 6);
}

/// A rule that looks at the newcomer leaves the policy no say: MRU evicts another for it, and only under `bypass` itself.
#[test]
fn who_is_let_in_comes_in() {
    let order = trace(&[10; 3], &[0, 1, 2, 2]);
    let sizes = order.sizes();
    let hits = |rule: &str| {
        let rules = Rules::new(crate::rules::AdmissionSpec::parse(rule).unwrap(), 1.0);
        let setup = Setup { admission: rules.admission().mode(), rules: Some(&rules), ..Setup::new(&sizes, 20) };
        audit(PolicyKind::Mru, &setup, &order).unwrap().hits
    };
    assert_eq!([hits("always"), hits("size(most=10)"), hits("bypass")], [1, 1, 0]);
}
/// A trace that is not held may have more accesses than 2^32: no policy, and no change of a size, cares for the number
/// of the first one.
#[cfg(target_pointer_width = "64")]
#[test]
fn accesses_may_have_numbers_beyond_32_bits() {
    let mut rng = Rng::new(3, "far");
    let uses: Vec<(u32, u64)> = (0..3000).map(|_| (rng.below(60), u64::from(1 + rng.below(20)))).collect();
    let trace = sized(&uses, false);
    assert!(trace.resizes().len() > 100);
    let sizes = trace.sizes();
    let setup = Setup::new(&sizes, 200);
    for policy in POLICIES.iter().filter(|policy| policy.knows == crate::policy::Knows::Past) {
        // The last one straddles 2^32.
        let counts = [0, 1 << 33, (1 << 32) - 1000].map(|start: usize| {
            let resize = |resize: &Resize| Resize { at: resize.at + start as u64, ..*resize };
            let resizes: Vec<Resize> = trace.resizes().iter().map(resize).collect();
            let mut memory = cache(policy.kind, &setup).unwrap();
            memory.advance(Chunk { start, accesses: trace.accesses(), resizes: &resizes, deadlines: &[] });
            memory.counts()
        });
        assert_eq!(counts[0], counts[1], "{}", policy.name);
        assert_eq!(counts[0], counts[2], "{}", policy.name);
    }
}
