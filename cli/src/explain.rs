//! `accel explain`: why a policy misses.

use std::io::Write;

use accel_core::policy::PolicySpec;
use accel_core::run::{Details, Plan};
use accel_core::sim::Report;
use accel_core::sim::why::{Eviction, Prediction, Why};
use accel_core::trace::Summary;
use accel_core::units::{format_bytes, format_count};
use accel_files::parallel;
use clap::Args;
use serde::Serialize;

use crate::flags;
use crate::progress::Bar;
use crate::scores::ScorerArgs;
use crate::source::{ExperimentArgs, MemoryArgs, Source};
use crate::table::{numbers, print_json, print_summary};

#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    memory: MemoryArgs,
    /// The policy.
    #[arg(long, value_name = "NAME", default_value = "lru", value_parser = flags::policy())]
    policy: PolicySpec,
    #[command(flatten)]
    scorer: ScorerArgs,
    /// Explain the evictions that this access causes (counted from 0) instead of the worst of the run.
    #[arg(long, value_name = "ACCESS", allow_negative_numbers = true)]
    at: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Evictions shown in a table, at most.
const SHOWN: usize = 50;

/// The answer as JSON.
#[derive(Serialize)]
struct Answer<'a> {
    trace: &'a Summary,
    run: &'a Report,
    /// What it means, in words.
    explanation: &'a [String],
}

impl Explain {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let policy = self.policy;
        let capacity = self.memory.one_capacity()?;
        let mut recipe = self.source.recipe(&ExperimentArgs { memory: self.memory, policy: None })?;
        recipe.policies = vec![policy];
        self.scorer.apply_named(&mut recipe)?;
        recipe.curve = None;
        let file = self.source.file(&recipe)?.map(|(trace, _)| trace);
        let details = match self.at {
            Some(_) => Details::REPORTS,
            None => Details { charts: false, ..Details::ALL },
        };
        let mut plan = Plan::new(&recipe, file, None, details)?;
        if let Some(capacity) = capacity {
            recipe.memory.capacity_bytes = capacity.bytes(plan.trace().summary().unique_bytes);
            plan.set_capacity(recipe.memory.capacity_bytes)?;
        }
        if let Some(access) = self.at {
            let evictions = plan.evictions_at(policy, access)?;
            if self.json {
                return print_json(&evictions, out);
            }
            if evictions.is_empty() {
                writeln!(out, "Access {access} evicts nothing.")?;
            }
            return print_evictions(&evictions, out);
        }
        let outcome = parallel::run_plan(plan, &mut Bar::new())?;
        let Some(run) = outcome.runs.first() else { return Ok(()) };
        if self.json {
            return print_json(&Answer { trace: &outcome.trace, run, explanation: &outcome.explanation }, out);
        }
        print_summary(&outcome.trace, &[recipe.memory.capacity_bytes], out)?;
        writeln!(out, "{}", outcome.cost.about)?;
        writeln!(out, "{}", outcome.headline)?;
        for sentence in &outcome.explanation {
            writeln!(out, "{sentence}")?;
        }
        run.why.as_ref().map_or(Ok(()), |why| print(run, why, out))
    }
}

fn print(run: &Report, why: &Why, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "{} evicts {} times; {} of these tensors were used again, and {} choices were as good as the best.",
        run.policy.title(),
        format_count(run.evictions),
        format_count(why.evicted_too_early),
        format_count(why.best_choices)
    )?;
    let kinds = why.kinds.iter().map(|k| {
        [
            k.kind.title().to_owned(),
            format_count(k.tensors),
            format_count(k.accesses),
            format_count(k.hits),
            format_count(k.misses),
            format_bytes(k.miss_bytes),
            format_count(k.evictions),
            format_count(k.evicted_too_early),
        ]
    });
    let header = ["kind", "tensors", "accesses", "hits", "misses", "missed", "evictions", "too early"];
    writeln!(out, "{}", numbers(header, kinds))?;
    let tensors = why.tensors.iter().map(|t| {
        [
            t.tensor.clone(),
            format_bytes(t.bytes),
            format_count(t.accesses),
            format_count(t.misses),
            format_bytes(t.miss_bytes),
            format_count(t.evictions),
        ]
    });
    writeln!(out, "{}", numbers(["costliest tensors", "size", "accesses", "misses", "missed", "evictions"], tensors))?;
    if !why.worst.is_empty() {
        writeln!(out, "The worst evictions, by size x how much sooner the tensor was needed than the best victim:")?;
    }
    print_evictions(&why.worst, out)
}

fn print_evictions(evictions: &[Eviction], out: &mut dyn Write) -> anyhow::Result<()> {
    if evictions.is_empty() {
        return Ok(());
    }
    let when = |next: Option<u64>| next.map_or("never".into(), format_count);
    let rows = evictions.iter().take(SHOWN).map(|e| {
        [
            format_count(e.access),
            format!("{} ({})", e.tensor, format_bytes(e.bytes)),
            when(e.next_use),
            format!("{} ({})", e.best_tensor, format_bytes(e.best_bytes)),
            when(e.best_next_use),
            format_count(e.sooner_by),
            e.cost_ms.map_or("-".to_owned(), |ms| format!("{ms:.4}")),
        ]
    });
    let header = ["access", "evicted", "needed next", "best victim", "needed next", "sooner by", "cost ms"];
    writeln!(out, "{}", numbers(header, rows))?;
    for e in evictions.iter().take(SHOWN) {
        let Some(Prediction { last_use, score, next_use, reason, distrusted }) = &e.prediction else { continue };
        let (access, last_use) = (format_count(e.access), format_count(*last_use));
        let distrusted = if *distrusted { "; LRU was ahead and followed instead" } else { "" };
        let (next_use, tensor) = (when(*next_use), &e.tensor);
        writeln!(
            out,
            "{access}: {tensor}, used at {last_use}, predicted at {next_use} (score {score:.3}{distrusted})."
        )?;
        writeln!(out, "    {reason}")?;
    }
    if evictions.len() > SHOWN {
        writeln!(out, "{} more are left out: --json prints them all.", format_count((evictions.len() - SHOWN) as u64))?;
    }
    Ok(())
}
