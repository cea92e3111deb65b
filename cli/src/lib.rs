//! The command line as a library, so that tests can run it in process.

mod analyze;
mod bounds;
mod compare;
mod convert;
mod curve;
mod explain;
mod figures;
mod fit;
mod flags;
mod hub;
mod kernel;
mod list;
mod model;
mod picture;
mod plot;
mod progress;
mod recommend;
mod report;
mod scores;
mod simulate;
mod source;
mod stream;
mod sweep;
mod table;
mod trace;
mod traffic;
mod validate;

use std::io::Write;
use std::process::ExitCode;

use accel_core::recipe::fields::Part;
use accel_files::parallel::Capacity;
use clap::{Args, Parser, Subcommand};
use flags::{Flags, OfMeasure};
use source::{Source, WorkloadArgs};

/// What should stay in fast memory, how much of it does my model need, and which policy should decide?
#[derive(Debug, Parser)]
#[command(name = "accel", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run policies over a trace and compare them.
    #[command(visible_alias = "sim")]
    Simulate(simulate::Simulate),
    /// Enclose the misses of the best possible schedule.
    Bounds(bounds::Bounds),
    /// Show how misses fall as memory grows.
    Curve(curve::Curve),
    Compare(compare::Compare),
    /// Run many experiments at once: a recipe, and axes along which it varies.
    Sweep(sweep::Sweep),
    /// Show the DRAM traffic of an operator or a model by the size of fast memory: of the best tiling, and a lower bound.
    Traffic(traffic::Traffic),
    /// Say whether a model fits a device, with the sum, and the longest context and the largest batch that do.
    Fit(fit::Fit),
    /// Say which design to build for the least time, energy or capacity: policy, admission, prefetch depth and tile.
    Recommend(recommend::Recommend),
    /// Say why a policy misses: what it evicted too early, and who would have been the better victim.
    Explain(explain::Explain),
    /// Say what source code costs: loops, FLOPs, cache misses, time and energy.
    Kernel(kernel::Kernel),
    /// Make and inspect traces.
    #[command(subcommand)]
    Trace(trace::Trace),
    /// List what has a name: models, policies, devices, formats, families of models, scenarios, reference profiles.
    List(list::List),
    /// The lists that once were all there were.
    #[command(hide = true)]
    Models,
    /// Print the recipe that the flags describe, as JSON or as a link to the page.
    Recipe(Recipe),
}

#[derive(Debug, Args)]
struct Recipe {
    #[command(flatten)]
    workload: WorkloadArgs,
    #[command(flatten)]
    experiment: source::ExperimentArgs,
    #[command(flatten)]
    measure: Flags<OfMeasure>,
    #[command(flatten)]
    scorer: scores::ScorerArgs,
    /// Print a link that opens the experiment on the page at this address.
    #[arg(long, value_name = "URL")]
    link: Option<String>,
}

impl Cli {
    /// The exit status of an error: 1, unless that says that two answers differ.
    pub fn failure(&self) -> ExitCode {
        match self.command {
            Command::Compare(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Runs a parsed command line and writes its answer to `out`.
pub fn run(cli: Cli, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Compare(command) => {
            return Ok(if command.run(out)? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Sweep(command) => {
            return Ok(if command.run(out)? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Simulate(command) => command.run(out)?,
        Command::Bounds(command) => command.run(out)?,
        Command::Curve(command) => command.run(out)?,
        Command::Traffic(command) => command.run(out)?,
        Command::Fit(command) => command.run(out)?,
        Command::Recommend(command) => command.run(out)?,
        Command::Explain(command) => command.run(out)?,
        Command::Kernel(command) => command.run(out)?,
        Command::Trace(command) => command.run(out)?,
        Command::List(command) => command.run(out)?,
        Command::Models => list::models(out)?,
        Command::Recipe(command) => {
            let file = Flags::default();
            let source = Source { recipe: None, trace: None, format: None, file, workload: command.workload };
            let mut recipe = source.recipe(&command.experiment)?;
            command.measure.apply(Part::Measure, &mut recipe)?;
            recipe.measure.check()?;
            command.scorer.apply_named(&mut recipe)?;
            if let Some(capacity @ Capacity::Share(_)) = command.experiment.memory.one_capacity()? {
                let trace = recipe.trace(None)?;
                recipe.memory.capacity_bytes = capacity.bytes(trace.summary().unique_bytes);
            }
            match command.link {
                None => writeln!(out, "{}", serde_json::to_string_pretty(&recipe)?)?,
                Some(url) => writeln!(out, "{}#{}", url.trim_end_matches('#'), recipe.to_fragment()?)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
