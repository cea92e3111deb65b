use super::*;
use crate::progress::Unattended;
use crate::score::BuiltIn;
use crate::workload::synthetic::Synthetic;

fn synthetic() -> Recipe {
    Recipe { workload: Workload::Synthetic(Synthetic::default()), ..Recipe::default() }
}

#[test]
fn steps_of_any_size_give_the_same_outcome() {
    let recipe = synthetic();
    let whole = run(&recipe, &mut Unattended).unwrap();
    for step in [1, 7, 1000] {
        let mut job = Job::new(&recipe, None).unwrap();
        let mut last = 0;
        while !job.is_done() {
            let (done, total, _) = job.progress();
            assert!(done < total && (done == 0 || done > last));
            last = done;
            job.step(step).unwrap();
        }
        assert_eq!(job.finish().unwrap().0, whole);
    }
}

#[test]
fn progress_can_cancel() {
    struct Stop;
    impl Progress for Stop {
        fn report(&mut self, _: u64, _: u64, _: &str) -> Flow {
            Flow::Cancel
        }
    }
    assert_eq!(run(&synthetic(), &mut Stop).unwrap_err(), Error::Cancelled);
}

#[test]
fn records_by_access_and_by_score() {
    let mut job = Job::new(&synthetic(), None).unwrap();
    while !job.is_done() {
        job.step(1 << 20).unwrap();
    }
    let (outcome, mut finished) = job.finish().unwrap();
    let count = outcome.trace.accesses as usize;
    let by = |order| Wanted { order, ..Wanted::default() };
    let (total, all) = finished.records(&by(Order::Access), 0, count);
    assert_eq!((total, all.len()), (count as u64, count));
    assert!(all.iter().enumerate().all(|(i, (now, _))| *now == i as u64));
    let (_, ranked) = finished.records(&by(Order::Score), 0, count);
    assert!(ranked.windows(2).all(|w| w[0].1.eviction_score >= w[1].1.eviction_score));
    assert_eq!(finished.records(&by(Order::Score), 3, 2).1, ranked[3..5]);
    assert!(finished.records(&by(Order::Score), count, 5).1.is_empty());
    // Those of a part, and those to tensors of a name, are picked from the same.
    let name = all[0].1.tensor_id.clone();
    let wanted = Wanted { part: Some((0, 50)), tensor: name.clone(), ..Wanted::default() };
    let picked: Vec<_> = all[..50].iter().filter(|(_, row)| row.tensor_id.contains(&name)).cloned().collect();
    assert_eq!(finished.records(&wanted, 0, count), (picked.len() as u64, picked));
    for (now, record) in ranked {
        assert_eq!(all[now as usize].1, record);
    }
}

#[test]
fn scores_from_outside_are_used_and_counted() {
    let recipe = Recipe { memory: crate::memory::Memory::default(), ..synthetic() };
    let trace = || recipe.trace(None).unwrap();
    let run_scored = |scores| run_to_end(Job::with_scores(&recipe, Some(trace()), Some(scores))?, &mut Unattended);
    // Reasons are each scorer's own.
    let misses = |outcome: &Outcome| outcome.runs.iter().map(|run| run.misses).collect::<Vec<_>>();
    let own = BuiltIn::default().scores(&trace());
    let same = Scores { scorer: Scorer::Local, ..own.clone() };
    let outcome = run_scored(same).unwrap();
    assert_eq!((outcome.scorer, own.scorer), (Scorer::Local, Scorer::Embedded));
    assert_eq!(misses(&outcome), misses(&run(&recipe, &mut Unattended).unwrap()));

    let opposite = Scores { values: own.values.iter().map(|s| 1.0 - s).collect(), scorer: Scorer::Remote };
    let outcome = run_scored(opposite).unwrap();
    assert_ne!(misses(&outcome), misses(&run(&recipe, &mut Unattended).unwrap()));

    // By another scorer that the recipe names.
    let named = Recipe { scorer: Some(BuiltIn::Heuristic), ..recipe.clone() };
    let (named, given) = (run(&named, &mut Unattended).unwrap(), BuiltIn::Heuristic.scores(&trace()));
    assert_eq!(named.scorer, Scorer::Heuristic);
    assert_eq!(named.runs, run_scored(given).unwrap().runs);

    let few = Scores { values: own.values.iter().copied().take(3).collect(), scorer: Scorer::Local };
    let error = run_scored(few).unwrap_err();
    assert!(error.to_string().contains("3 scores for"), "{error}");
}

#[test]
fn a_file_recipe_without_its_file_says_so() {
    let json = br#"{"workload":{"file":{"name":"x.csv"}}}"#;
    let recipe = Recipe::from_json("r", json).unwrap();
    assert!(run(&recipe, &mut Unattended).unwrap_err().to_string().contains("Give the file along"));
}

/// What is not asked for is empty, and what is asked for is the same with less around it, in any order of passes.
#[test]
fn parts_alone_are_the_same_as_in_the_whole() {
    let mut recipe = synthetic();
    recipe.policies = crate::policy::POLICIES.iter().map(|policy| policy.kind.into()).collect();
    recipe.memory.capacity_bytes = 32_000_000;
    recipe.curve = Some(crate::curve::Grid { points: 4, capacities: Vec::new() });
    for cost in [crate::memory::Cost::Prototype, crate::memory::Cost::Physical(Default::default())] {
        recipe.memory.cost = cost;
        let whole = run(&recipe, &mut Unattended).unwrap();
        for runs in [false, true] {
            for explanation in [false, true] {
                for reasons in [false, true] {
                    for charts in [false, true] {
                        let details = Details { runs, explanation, reasons, charts };
                        let plan = Plan::new(&recipe, None, None, details).unwrap();
                        let mut answers: Vec<(usize, Answer)> = (0..plan.passes())
                            .rev()
                            .map(|pass| (pass, plan.run(pass, &mut Unattended).unwrap()))
                            .collect();
                        answers.reverse();
                        let (part, _) = plan.finish(answers.into_iter().map(|(_, answer)| answer).collect()).unwrap();
                        let mut wanted = whole.clone();
                        if !runs {
                            (wanted.runs, wanted.bounds, wanted.validation) = (Vec::new(), None, None);
                            wanted.charts.timelines.clear();
                        }
                        if !charts {
                            wanted.charts.timelines.clear();
                            wanted.charts.groupings.clear();
                            wanted.charts.accesses_per_column = 0;
                        }
                        if !reasons {
                            wanted.runs.iter_mut().for_each(|run| run.why = None);
                        }
                        if !explanation {
                            (wanted.reuse, wanted.explanation) = (Reuse::default(), Vec::new());
                            wanted.headline = String::new();
                        } else if !runs {
                            wanted.explanation = part.explanation.clone();
                            wanted.headline = part.headline.clone();
                        }
                        assert_eq!(part, wanted, "{details:?}");
                    }
                }
            }
        }
    }
}

/// What is counted is what the whole run has more than a run of the warm-up alone, whatever the steps, on a device or
/// not, with charts or without.
#[test]
fn counting_begins_behind_the_warm_up() {
    use crate::memory::{Cost, Physical};
    use crate::recipe::measure::{Amount, Measure};

    for cost in [Cost::Prototype, Cost::Physical(Physical::default())] {
        let mut whole = synthetic();
        whole.memory = crate::memory::Memory { cost, ..crate::memory::Memory::new(32_000_000) };
        whole.policies = crate::policy::POLICIES.iter().map(|policy| policy.kind.into()).collect();
        let with = |measure: Measure| Recipe { measure, ..whole.clone() };
        let first = with(Measure { requests: Some(20), ..Measure::default() });
        let counted = with(Measure { warmup: Some(Amount::Accesses(20)), interval: Some(7), ..Measure::default() });
        let [whole, first] = [&whole, &first].map(|recipe| run(recipe, &mut Unattended).unwrap().runs);
        let known = run(&counted, &mut Unattended).unwrap();
        for ((whole, first), counted) in whole.iter().zip(&first).zip(&known.runs) {
            // A policy that draws by chance, or knows the future, does so alike in both.
            if counted.policy.info().knows == Knows::Past {
                assert_eq!(whole.misses - first.misses, counted.misses, "{}", counted.policy.name());
                assert_eq!(whole.hit_bytes - first.hit_bytes, counted.hit_bytes);
                assert_eq!(whole.evictions - first.evictions, counted.evictions);
            }
            assert_eq!(counted.accesses, whole.accesses - 20);
            let sum = |figure: fn(&crate::sim::Interval) -> u64| counted.intervals.iter().map(figure).sum::<u64>();
            assert_eq!((sum(|i| i.accesses), sum(|i| i.misses)), (counted.accesses, counted.misses));
            assert_eq!(sum(|i| i.miss_bytes), counted.miss_bytes);
            let ends: Vec<u64> = counted.intervals.iter().map(|interval| interval.end).collect();
            assert!(ends.windows(2).all(|two| two[1] - two[0] <= 7) && ends.last() == Some(&whole.accesses));
            if let (Some(all), Some(part)) = (&whole.physical, &counted.physical) {
                assert!(part.total_ms <= all.total_ms && part.stall_ms > -1e-9, "{part:?}");
                assert_eq!(part.dram_read_bytes, counted.miss_bytes);
            }
        }
        let bounds = known.bounds.clone().unwrap();
        assert!(bounds.misses.lower <= bounds.misses.upper);
        let least = known.runs.iter().map(|run| run.misses).min();
        assert!(least >= Some(bounds.misses.upper));
        let time = bounds.time_ms.unwrap();
        assert!(time.lower <= time.upper);
        for step in [1, 13] {
            let mut job = Job::new(&counted, None).unwrap();
            while !job.is_done() {
                job.step(step).unwrap();
            }
            assert_eq!(job.finish().unwrap().0, known);
        }
    }
}

/// A plan at another capacity is the plan of a recipe with that capacity.
#[test]
fn plans_at_other_capacities_are_those_of_their_recipes() {
    let recipe =
        Recipe { policies: PolicySpec::plain([PolicyKind::Lru, PolicyKind::Belady, PolicyKind::Ml]), ..synthetic() };
    let base = Plan::new(&recipe, None, None, Details::ALL).unwrap();
    for capacity in [1, 40_000_000, 1 << 40] {
        let mut alone = recipe.clone();
        alone.memory.capacity_bytes = capacity;
        let shared = run_to_end(Job::of(base.at(capacity).unwrap()), &mut Unattended).unwrap();
        assert_eq!(shared, run(&alone, &mut Unattended).unwrap());
    }
    assert_eq!(base.at(0).unwrap_err().field_name(), Some("capacity_bytes"));
}

#[test]
fn every_pass_tells_its_end() {
    struct Last(u64, u64);
    impl Progress for Last {
        fn report(&mut self, done: u64, total: u64, _: &str) -> Flow {
            assert!(done <= total && done >= self.0);
            (self.0, self.1) = (done, total);
            Flow::Continue
        }
    }
    let recipe = Recipe { curve: Some(crate::curve::Grid { points: 3, capacities: Vec::new() }), ..synthetic() };
    let plan = Plan::new(&recipe, None, None, Details::ALL).unwrap();
    for pass in 0..plan.passes() {
        let mut last = Last(0, 1);
        plan.run(pass, &mut last).unwrap();
        assert_eq!(last.0, last.1, "{}", plan.title(pass));
    }
}
