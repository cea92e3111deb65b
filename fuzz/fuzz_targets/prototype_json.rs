//! Any bytes as prototype json: read or refused, never a panic.
#![no_main]

mod import;

use accel_core::import::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| import::check(Format::PrototypeJson, bytes, None));
