//! `accel-trainer`: see the library.

use std::io::{stderr, stdout};
use std::path::{Path, PathBuf};

use accel_trainer::embedded::{SHIPPED, train};
use accel_trainer::eval::{Options, eval};
#[cfg(feature = "model")]
use accel_trainer::lora::{
    measure::{self, MeasureArgs},
    train::{self as lora, LoraArgs},
};
use accel_trainer::questions;
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
    /// Make questions to a language model, and how often each digit was the answer, as a file to learn from.
    Questions {
        /// The file to write.
        file: PathBuf,
    },
    /// Learn the adapter of a language model; goes on where it was interrupted.
    #[cfg(feature = "model")]
    Lora(LoraArgs),
    /// Measure a language model, with its adapter or without.
    #[cfg(feature = "model")]
    LoraMeasure(MeasureArgs),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Embedded { file } => embedded(&file),
        Command::Eval(options) => eval(&options),
        Command::Speed => speed(&mut stdout()),
        Command::Questions { file } => questions::write(&file, &mut stdout()),
        #[cfg(feature = "model")]
        Command::Lora(args) => lora::train(&args, &mut stdout()),
        #[cfg(feature = "model")]
        Command::LoraMeasure(args) => measure::measure(&args, &mut stdout()),
    }
}

fn embedded(file: &Path) -> anyhow::Result<()> {
    let weights = train(&SHIPPED, &mut stderr())?;
    let bytes: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    std::fs::write(file, bytes).with_context(|| {
        format!("cannot write {}: run it from the root of the repository, or name a file", file.display())
    })
}
