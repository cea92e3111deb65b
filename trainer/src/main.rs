//! `accel-trainer`: see the library.

use std::io::{stderr, stdout};

use accel_trainer::embedded::{SHIPPED, train};
use accel_trainer::gauge::gauge;

/// The file that is shipped.
const WEIGHTS: &str = "core/engine/src/score/embedded.bin";

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["gauge"] => gauge(None, &mut stdout()),
        ["gauge", keep] => gauge(Some(keep), &mut stdout()),
        ["embedded"] => {
            let weights = train(&SHIPPED, &mut stderr())?;
            let bytes: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
            Ok(std::fs::write(WEIGHTS, bytes)?)
        }
        _ => anyhow::bail!("Say accel-trainer gauge [FILE], or accel-trainer embedded"),
    }
}
