//! `accel-trainer`: see the library.

use std::io::{stderr, stdout};

use accel_trainer::embedded::{SHIPPED, train};
use accel_trainer::gauge::{gauge, speed};
use anyhow::Context as _;

/// The file that is shipped, from the root of the repository.
const SHIPPED_FILE: &str = "core/engine/src/score/embedded.bin";

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["embedded"] => embedded(SHIPPED_FILE),
        ["embedded", path] => embedded(path),
        ["gauge"] => gauge(None, &mut stdout()),
        ["gauge", keep] => gauge(Some(keep), &mut stdout()),
        ["speed"] => speed(&mut stdout()),
        #[cfg(feature = "model")]
        ["questions" | "lora" | "lora-measure", ..] => of_model(),
        _ => anyhow::bail!(
            "say one of\n  \
             accel-trainer embedded [FILE]  trains the network that is shipped, into its place in the repository or FILE\n  \
             accel-trainer gauge [FILE]     measures policies; FILE keeps what does not depend on scorers\n  \
             accel-trainer speed            measures scorers in accesses per second\n  \
             accel-trainer lora --help      trains the adapter of a language model\n  \
             accel-trainer lora-measure     measures it; accel-trainer questions FILE makes what it learns from"
        ),
    }
}

#[cfg(feature = "model")]
#[derive(clap::Parser)]
enum OfModel {
    /// Makes questions and how often each digit was the answer, as a file
    Questions {
        /// The file
        file: std::path::PathBuf,
    },
    /// Learns the adapter of a language model
    Lora(accel_trainer::lora::train::LoraArgs),
    /// Measures a language model, with its adapter or without
    LoraMeasure(accel_trainer::lora::measure::MeasureArgs),
}

#[cfg(feature = "model")]
fn of_model() -> anyhow::Result<()> {
    use accel_trainer::lora::{measure, train};
    match <OfModel as clap::Parser>::parse() {
        OfModel::Questions { file } => train::write_questions(&file, &mut stdout()),
        OfModel::Lora(args) => train::train(&args, &mut stdout()),
        OfModel::LoraMeasure(args) => measure::measure(&args, &mut stdout()),
    }
}

fn embedded(path: &str) -> anyhow::Result<()> {
    let weights = train(&SHIPPED, &mut stderr())?;
    let bytes: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    std::fs::write(path, bytes)
        .with_context(|| format!("cannot write {path}: run it from the root of the repository, or name a file"))
}
