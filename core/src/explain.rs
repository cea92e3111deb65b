//! What the numbers mean, in words.

use serde::{Deserialize, Serialize};

use crate::bound::Bounds;
use crate::memory::{Costing, HIT_MS, miss_ms};
use crate::policy::{Knows, PolicyKind, PolicySpec};
use crate::sim::Report;
use crate::sim::timing::Timed;
use crate::trace::Summary;
use crate::units::{format_bytes, format_count};

/// How far apart the uses of a tensor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reuse {
    /// Accesses that are not the first use of their tensor.
    pub reuses: u64,
    /// Reuses whose stack distance is at most the capacity.
    pub within_capacity: u64,
    /// Half of all reuses have at most this stack distance in bytes (within 1 %).
    pub median_stack_distance_bytes: u64,
}

/// Differences in hit ratio below this are called none.
const SAME: f64 = 0.01;

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

/// Sentences that say how the policies differ, and why; `trace` and `reuse` are of the accesses that count.
pub fn explain(
    trace: &Summary,
    reuse: &Reuse,
    runs: &[Report],
    bounds: Option<&Bounds>,
    costing: &Costing,
) -> Vec<String> {
    let Some(first) = runs.first() else { return Vec::new() };
    let capacity = first.capacity_bytes;
    let mut out = Vec::new();

    let first_uses = trace.accesses - reuse.reuses;
    let ceiling = format!(
        "{} of {} accesses are first uses, which no policy can hit",
        percent(first_uses, trace.accesses),
        format_count(trace.accesses)
    );
    if trace.unique_bytes <= capacity {
        out.push(format!(
            "Everything fits: the trace touches {} and fast memory holds {}. {ceiling}; all others hit, whatever the policy.",
            format_bytes(trace.unique_bytes),
            format_bytes(capacity)
        ));
        out.extend(time(runs));
        return out;
    }
    out.push(format!(
        "The trace touches {}, fast memory holds {}. {ceiling}.",
        format_bytes(trace.unique_bytes),
        format_bytes(capacity)
    ));
    if reuse.reuses > 0 {
        out.push(format!(
            "Half of the {} reuses come after {} of other data or less; for {} of them, what passes in between fits.",
            format_count(reuse.reuses),
            format_bytes(reuse.median_stack_distance_bytes),
            percent(reuse.within_capacity, reuse.reuses)
        ));
    }
    out.extend(compare(reuse, runs));
    out.extend(time(runs));
    out.extend(bounds.and_then(|bounds| policy_or_working_set(trace, reuse, runs, bounds)));

    if first.oversize > 0 {
        out.push(format!(
            "{} accesses are to tensors larger than fast memory: they are bypassed, and count as misses.",
            format_count(first.oversize)
        ));
    }
    if *costing == Costing::Prototype && miss_ms(trace.requested_bytes / trace.accesses.max(1)) < HIT_MS {
        out.push(format!(
            "By the prototype's constants, a miss of the mean size takes less time than a hit ({HIT_MS} ms): here its \
             latency says nothing about policies."
        ));
    }
    out
}

/// What it comes to, in a sentence or two; empty where nothing was run.
pub fn headline(trace: &Summary, runs: &[Report], bounds: Option<&Bounds>) -> String {
    let Some(best) = best_policy(runs) else { return String::new() };
    let (title, fetched) = (best.policy.title(), best.miss_bytes);
    let bytes = format_bytes(fetched);
    if trace.unique_bytes <= best.capacity_bytes {
        let (unique, capacity) = (format_bytes(trace.unique_bytes), format_bytes(best.capacity_bytes));
        return format!(
            "Everything fits: {unique} in {capacity} of fast memory. {bytes} come from DRAM, whatever the policy."
        );
    }
    let lru = runs.iter().find(|run| run.policy == PolicyKind::Lru).filter(|lru| lru.miss_bytes > fetched);
    let less = lru.map(|lru| format!(", {} less than LRU", percent(lru.miss_bytes - fetched, lru.miss_bytes)));
    let reach = bounds.map(|bounds| {
        let [least, known] = [bounds.miss_bytes.lower, bounds.miss_bytes.upper].map(format_bytes);
        // One byte in fifty: less than a user would notice.
        let near = |bytes: u64| fetched.saturating_sub(bytes) <= fetched / 50;
        if near(bounds.miss_bytes.lower) {
            format!(" No policy can need less than {least}: only more memory helps.")
        } else if near(bounds.miss_bytes.upper) {
            format!(" No better schedule is known, and none can need less than {least}.")
        } else {
            format!(" With the future known it could be {known}.")
        }
    });
    format!("{title} fetches the least from DRAM: {bytes}{}.{}", less.unwrap_or_default(), reach.unwrap_or_default())
}

/// The run that fetches the least from DRAM, of those that do not know the future where there are any.
pub fn best_policy(runs: &[Report]) -> Option<&Report> {
    let online = runs.iter().filter(|run| run.policy.info().knows != Knows::Future);
    online.min_by_key(|run| run.miss_bytes).or_else(|| runs.iter().min_by_key(|run| run.miss_bytes))
}

/// Whether the policy or the working set is to blame, by what any schedule could do.
///
/// None where the best policy leaves no more than first uses to miss, or where the bounds do not decide.
fn policy_or_working_set(trace: &Summary, reuse: &Reuse, runs: &[Report], bounds: &Bounds) -> Option<String> {
    let best = runs.iter().filter(|r| r.policy.info().knows != Knows::Future).min_by_key(|r| r.misses)?;
    let title = best.policy.title();
    if best.misses <= trace.accesses - reuse.reuses {
        return Some(format!("No schedule misses less than {title} does: what is left are first uses."));
    }
    let share = |misses: u64| percent(misses, trace.accesses);
    let least = share(bounds.misses.lower);
    let could_save = best.misses.saturating_sub(bounds.misses.lower);
    let known_to_save = best.misses.saturating_sub(bounds.misses.upper);
    // One access in fifty: less than a user would notice.
    let little = |misses: u64| misses * 50 < trace.accesses;
    let half = format!(
        "Whatever the policy, half of the reuses cannot hit below {}.",
        format_bytes(bounds.half_of_hits_bytes)
    );
    Some(if little(could_save) {
        format!(
            "It is the working set, not the policy: {title} misses {}, and even the best schedule misses {least}. {half}",
            share(best.misses)
        )
    } else if little(known_to_save) {
        format!(
            "No schedule is known that misses 2 points less than {title}; proven is only that none misses less than {least}. {half}"
        )
    } else {
        let schedule = schedule_name(&bounds.misses.schedule);
        let attained = share(bounds.misses.upper);
        format!(
            "It is also the policy: {title} misses {}, a schedule that knows the future ({schedule}) {attained}, and none less than {least}.",
            share(best.misses)
        )
    })
}

/// The name people read.
pub fn schedule_name(schedule: &str) -> String {
    PolicySpec::parse(schedule).map_or_else(|_| schedule.into(), |policy| policy.title())
}

/// The byte hit ratios against each other: bytes are what DRAM delivers.
fn compare(reuse: &Reuse, runs: &[Report]) -> Option<String> {
    if runs.len() < 2 {
        return None;
    }
    let by_bytes = |a: &&Report, b: &&Report| a.byte_hit_ratio().total_cmp(&b.byte_hit_ratio());
    let (best, worst) = (runs.iter().max_by(by_bytes)?, runs.iter().min_by(by_bytes)?);
    let show = |run: &Report| format!("{} hits {:.1} % of the bytes", run.policy.title(), 100.0 * run.byte_hit_ratio());
    if best.byte_hit_ratio() - worst.byte_hit_ratio() < SAME {
        return Some(format!(
            "The policies differ by less than one point ({}): here capacity decides, not the policy.",
            show(best)
        ));
    }
    let lru = runs.iter().find(|r| r.policy == PolicyKind::Lru);
    let looping = reuse.within_capacity * 2 < reuse.reuses;
    let (other, why) = match lru {
        Some(lru) if best.byte_hit_ratio() - lru.byte_hit_ratio() >= SAME && looping => (
            lru,
            ": most tensors come round again only after more has passed than fits, so LRU puts each one out \
             shortly before its next use, while a policy that leaves part of them in place keeps hitting that part",
        ),
        Some(lru) if lru.policy == best.policy => (worst, ": recent use predicts well what is needed next"),
        _ => (worst, ""),
    };
    Some(format!("{}, {}{why}.", show(best), show(other)))
}

/// Times on a device against each other: how long, how much of it waits, and how fast tokens come.
fn time(runs: &[Report]) -> Option<String> {
    let timed = || runs.iter().filter_map(|run| Some((run, run.physical.as_ref()?)));
    let by_time = |a: &(&Report, &Timed), b: &(&Report, &Timed)| a.1.total_ms.total_cmp(&b.1.total_ms);
    let (best, worst) = (timed().min_by(by_time)?, timed().max_by(by_time)?);
    let show = |(run, timed): (&Report, &Timed)| {
        let title = run.policy.title();
        let stalled = 100.0 * timed.stall_ms / timed.total_ms.max(f64::MIN_POSITIVE);
        let tokens = timed.tokens.and_then(|tokens| {
            let (ms, per_s) = (tokens.ms_per_token?, tokens.tokens_per_s?);
            Some(format!(": {ms:.3} ms per token, {per_s:.1} tokens/s, the first after {:.3} ms", tokens.ttft_ms))
        });
        let tokens = tokens.unwrap_or_default();
        format!("{title} takes {:.3} ms, of which {stalled:.1} % waits for data{tokens}", timed.total_ms)
    };
    let slower = worst.1.total_ms > best.1.total_ms * (1.0 + SAME);
    Some(match slower {
        true => format!("{}; {}.", show(best), show(worst)),
        false => format!("{}.", show(best)),
    })
}

/// How a number is to be read, by the prototype's guide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    /// As it should be.
    Good,
    /// Neither good nor bad.
    Fair,
    /// Worth a change.
    Bad,
}

/// The grades of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grades {
    /// Hit rate: over 80 % is good, under 50 % bad.
    pub hit_rate: Grade,
    /// Total latency by the prototype's constants: under 10 ms is good, over 100 ms bad.
    pub latency: Grade,
    /// Evictions: more than half as many as accesses is thrashing.
    pub evictions: Grade,
    /// Bandwidth wait: under 20 % of the latency is good, over 70 % a bandwidth bottleneck.
    pub bandwidth: Grade,
}

/// Grades a run by the prototype's guide.
pub fn grades(run: &Report) -> Grades {
    let at_most = |value: f64, good: f64, bad: f64| match value {
        v if v < good => Grade::Good,
        v if v > bad => Grade::Bad,
        _ => Grade::Fair,
    };
    let by_prototype = run.total_latency_ms.zip(run.bandwidth_wait_ms);
    let of_time = |grade: &dyn Fn(f64, f64) -> Grade| by_prototype.map_or(Grade::Fair, |(all, wait)| grade(all, wait));
    Grades {
        hit_rate: at_most(1.0 - run.hit_ratio(), 0.2, 0.5),
        latency: of_time(&|all, _| at_most(all, 10.0, 100.0)),
        evictions: if 2 * run.evictions > run.accesses { Grade::Bad } else { Grade::Fair },
        bandwidth: of_time(&|all, wait| at_most(wait / all.max(f64::MIN_POSITIVE), 0.2, 0.7)),
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::PolicyKind;
    use crate::progress::Unattended;
    use crate::recipe::Recipe;
    use crate::run::run;
    use crate::units::GIB;

    #[test]
    fn the_default_experiment_says_why_the_policies_differ() {
        let outcome = run(&Recipe::default(), &mut Unattended).unwrap();
        let text = outcome.explanation.join(" ");
        assert!(text.contains("ML hits") && text.contains("LRU puts each one out"), "{text}");
        assert!(outcome.headline.starts_with("ML fetches the least from DRAM: "), "{}", outcome.headline);
        assert!(outcome.headline.contains(" % less than LRU. "), "{}", outcome.headline);
    }

    /// Weights of 14.5 GB read in the same order for every token: below the size of half of them, no policy helps.
    #[test]
    fn the_verdict_tells_policy_from_working_set() {
        let verdict = |capacity_bytes| {
            let mut recipe = Recipe::default();
            recipe.memory.capacity_bytes = capacity_bytes;
            let outcome = run(&recipe, &mut Unattended).unwrap();
            outcome.explanation.last().unwrap().clone()
        };
        let small = verdict(GIB / 8);
        assert!(small.starts_with("It is the working set, not the policy: "), "{small}");
        assert!(small.contains("half of the reuses cannot hit below"), "{small}");
        let mut lru = Recipe { policies: vec![PolicyKind::Lru.into()], ..Recipe::default() };
        lru.memory.capacity_bytes = 8 * GIB;
        let text = run(&lru, &mut Unattended).unwrap().explanation.join(" ");
        assert!(text.contains("It is also the policy: LRU misses"), "{text}");
    }

    #[test]
    fn a_memory_that_holds_everything_needs_no_policy() {
        let mut recipe = Recipe::default();
        recipe.memory.capacity_bytes = 64 * GIB;
        let outcome = run(&recipe, &mut Unattended).unwrap();
        assert!(outcome.explanation[0].starts_with("Everything fits"));
        let first_uses = outcome.trace.accesses - outcome.reuse.reuses;
        assert!(outcome.runs.iter().all(|r| r.misses == first_uses));
        assert!(outcome.headline.starts_with("Everything fits: "), "{}", outcome.headline);
    }
}
