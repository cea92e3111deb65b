//! How many accesses scorers do per second.

use std::io::Write;
use std::time::Instant;

use accel_core::policy::{PolicyKind, Setup};
use accel_core::sim::simulate;
use anyhow::Context as _;

use crate::eval::measure::{Predictor, predictors};
use crate::points::points;

/// Seconds that this thread has had a processor, which others on the machine do not change; none but on Linux.
fn processor_s() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split(' ').next()?.parse::<f64>().ok()? / 1e9)
}

/// Prints how many accesses each scorer, and `ml-reuse` with it, does per second of a processor, or of the clock where the
/// system does not tell the former.
pub fn speed(out: &mut dyn Write) -> anyhow::Result<()> {
    let point = points().next().context("there is no point")?;
    let trace = point.row.trace(point.place.capacity_bytes)?;
    let sizes = trace.sizes();
    let setup = Setup::new(&sizes, point.place.capacity_bytes);
    let million = trace.accesses().len() as f64 / 1e6;
    writeln!(out, "By the time of {}:", if processor_s().is_some() { "one processor" } else { "the clock" })?;
    let start = Instant::now();
    let seconds = || processor_s().unwrap_or_else(|| start.elapsed().as_secs_f64());
    for predictor in predictors().filter(|predictor| matches!(predictor, Predictor::BuiltIn(_))) {
        let name = predictor.name();
        let began = seconds();
        let scores = predictor.scores(&trace);
        let scored = seconds() - began;
        simulate(PolicyKind::MlReuse, &Setup { scores: Some(&scores), ..setup.clone() }, &trace)?;
        let all = seconds() - began;
        writeln!(out, "{name}: {:.2} million accesses/s, {:.2} with ml-reuse", million / scored, million / all)?;
    }
    Ok(())
}
