//! `--stream`: a trace is not held, and what its policies hold must fit.

use accel_core::recipe::{Recipe, Workload};
use accel_core::units::{format_bytes, format_count};
use accel_files::stream::{self, Memories, Needs, Streamed, too_large};
use anyhow::bail;
use sysinfo::System;

use crate::progress::Bar;
use crate::source::Source;

/// Runs the policies of `recipe` over its trace file or its model's run, and tells what one should know of it.
pub(crate) fn run(recipe: &Recipe, source: &Source, memories: Memories<'_>) -> anyhow::Result<Streamed> {
    let bar = &mut Bar::new();
    let (name, streamed) = match (&recipe.workload, &source.trace) {
        (Workload::File(file), Some(path)) => {
            (accel_files::pieces::name(path), stream::run(recipe, file, path, memories, &mut allow, bar)?)
        }
        (Workload::Model(run), None) => {
            (run.name().to_owned(), stream::run_model(recipe, run, memories, &mut allow, bar)?)
        }
        _ => bail!("only a trace file or a model can be streamed: give --trace FILE or --model NAME"),
    };
    let about = streamed.outcome.sampled.as_ref().map_or(0, |sampled| sampled.about().len());
    // What samples are like is part of the answer.
    for warning in &streamed.warnings[..streamed.warnings.len() - about] {
        eprintln!("warning: {name}: {warning}");
    }
    Ok(streamed)
}

/// Says what a stream holds, and refuses what there is no room for.
fn allow(needs: Needs) -> anyhow::Result<()> {
    let Needs { bytes, objects, runs } = needs;
    let [objects, runs] = [objects, runs].map(format_count);
    eprintln!("{objects} objects in {runs} memories: up to {} are held.", format_bytes(bytes));
    // Where the system does not say what is free, it is tried.
    let Ok(mut system) = System::new() else { return Ok(()) };
    system.refresh_memory();
    // A container may have less than its machine.
    let container = system.cgroup_limits().map_or(u64::MAX, |limits| limits.free_memory);
    let available = match (system.available_memory(), system.free_memory()) {
        (0, free) => free,
        (available, _) => available,
    };
    let available = available.min(container);
    if available > 0 && bytes > available {
        return Err(too_large(needs, available).into());
    }
    Ok(())
}
