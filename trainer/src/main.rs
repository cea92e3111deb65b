//! `accel-trainer`: see the library.

use std::io::{stderr, stdout};
use std::path::{Path, PathBuf};

use accel_trainer::embedded::{SHIPPED, train};
use accel_trainer::eval::{Options, eval};
use accel_trainer::speed::speed;
use anyhow::Context as _;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "accel-trainer", about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train the network that is shipped: from a seed, the same bytes on every machine.
    Embedded {
        /// The file to write, from the root of the repository.
        #[arg(default_value = "core/engine/src/score/embedded.bin")]
        file: PathBuf,
    },
    /// Measure every policy and every scorer at every point; writes docs/evaluation.md, its plots and its table.
    Eval(Options),
    /// Measure scorers in accesses per second.
    Speed,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Embedded { file } => embedded(&file),
        Command::Eval(options) => eval(&options),
        Command::Speed => speed(&mut stdout()),
    }
}

fn embedded(file: &Path) -> anyhow::Result<()> {
    let weights = train(&SHIPPED, &mut stderr())?;
    let bytes: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    std::fs::write(file, bytes).with_context(|| {
        format!("cannot write {}: run it from the root of the repository, or name a file", file.display())
    })
}
