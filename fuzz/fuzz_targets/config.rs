//! Any bytes as a config.json: a trace or an error, never a panic.
#![no_main]

mod model;

use accel_core::import::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| model::check(Format::Config, bytes));
