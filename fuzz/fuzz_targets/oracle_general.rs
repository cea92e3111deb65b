//! Any bytes as oracle general: read or refused, never a panic.
#![no_main]

mod import;

use accel_core::import::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| import::check(Format::OracleGeneral, bytes, None));
