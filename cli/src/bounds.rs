//! `accel bounds`: how good any policy could be.

use std::io::Write;

use accel_core::bound;
use accel_core::policy::{Admission, PolicyKind};
use accel_core::recipe::fields::Field;
use accel_core::run::{Details, Plan};
use accel_core::trace::Summary;
use accel_core::units::{format_bytes, format_count};
use accel_files::parallel;
use clap::Args;
use serde::Serialize;

use crate::progress::Bar;
use crate::source::{ExperimentArgs, MemoryArgs, Source};
use crate::table::{print_bounds, print_json, print_summary};

#[derive(Debug, Args)]
pub(crate) struct Bounds {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    memory: MemoryArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The answer as JSON.
#[derive(Serialize)]
struct Answer {
    trace: Summary,
    capacity_bytes: u64,
    /// Misses of LRU, from which the gap is counted; the same in both modes.
    lru: bound::Misses,
    /// One for each mode asked for.
    bounds: Vec<bound::Bounds>,
}

impl Bounds {
    pub(crate) fn run(self, out: &mut dyn Write) -> anyhow::Result<()> {
        let capacity = self.memory.one_capacity()?;
        let asked = self.memory.fields.text(Field::Admission).is_some();
        let experiment = ExperimentArgs { memory: self.memory, policy: None };
        let mut recipe = self.source.recipe(&experiment)?;
        recipe.policies = vec![PolicyKind::Lru.into()];
        (recipe.bounds, recipe.curve) = (true, None);
        let trace = self.source.file(&recipe)?.map(|(trace, _)| trace);
        let modes = if asked { vec![recipe.memory.admission] } else { Admission::ALL.map(Into::into).to_vec() };
        let mut answer: Option<Answer> = None;
        for admission in modes {
            recipe.memory.admission = admission;
            let mut plan = Plan::new(&recipe, trace.clone(), None, Details::REPORTS)?;
            if let Some(capacity) = capacity {
                recipe.memory.capacity_bytes = capacity.bytes(plan.trace().summary().unique_bytes);
                plan.set_capacity(recipe.memory.capacity_bytes)?;
            }
            let outcome = parallel::run_plan(plan, &mut Bar::new())?;
            let answer = answer.get_or_insert(Answer {
                trace: outcome.trace,
                capacity_bytes: recipe.memory.capacity_bytes,
                lru: bound::Misses::default(),
                bounds: Vec::new(),
            });
            if let Some(lru) = outcome.runs.first() {
                answer.lru = bound::Misses { objects: lru.misses, bytes: lru.miss_bytes };
            }
            answer.bounds.extend(outcome.bounds);
        }
        let Some(answer) = answer else { return Ok(()) };
        if self.json {
            return print_json(&answer, out);
        }
        print_summary(&answer.trace, &[answer.capacity_bytes], out)?;
        for bounds in &answer.bounds {
            print_bounds(bounds, out)?;
        }
        writeln!(out, "LRU misses {} ({}).", format_count(answer.lru.objects), format_bytes(answer.lru.bytes))?;
        if let Some(bounds) = answer.bounds.first() {
            let least = format_bytes(bounds.half_of_hits_bytes);
            writeln!(out, "Whatever the policy, half of the reuses cannot hit below {least}.")?;
        }
        Ok(())
    }
}
