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
        _ => anyhow::bail!(
            "say one of\n  \
             accel-trainer embedded [FILE]  trains the network that is shipped, into its place in the repository or FILE\n  \
             accel-trainer gauge [FILE]     measures policies; FILE keeps what does not depend on scorers\n  \
             accel-trainer speed            measures scorers in accesses per second"
        ),
    }
}

fn embedded(path: &str) -> anyhow::Result<()> {
    let weights = train(&SHIPPED, &mut stderr())?;
    let bytes: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    std::fs::write(path, bytes)
        .with_context(|| format!("cannot write {path}: run it from the root of the repository, or name a file"))
}
