//! The program `accel` as a user runs it.
#![allow(missing_docs, clippy::unwrap_used)]

mod commands;
mod convert;
mod kernel;
mod lists;
mod stream;
mod sweep;

use std::process::{Command, Output};

use serde_json::Value;

/// Runs the program.
fn accel(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_accel")).args(arguments).output().unwrap()
}

/// Standard output of a command that succeeds.
fn stdout(arguments: &[&str]) -> String {
    let output = accel(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The same, as JSON.
fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout(arguments)).unwrap()
}

/// Standard error of a command that fails.
fn refusal(arguments: &[&str]) -> String {
    let output = accel(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!text.contains("panicked"), "{text}");
    text
}
