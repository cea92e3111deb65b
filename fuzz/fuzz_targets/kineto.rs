//! Any bytes as a trace of the PyTorch profiler: a trace or an error, no panic.
#![no_main]

use accel_core::progress::Unattended;
use accel_core::import::input::Input;
use accel_core::import::{Format, detect, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let input = Input::new("input", bytes);
    let _ = detect(&input);
    if let Ok(trace) = read(Format::Kineto, &input, None, &mut Unattended) {
        let summary = trace.summary();
        assert!(summary.unique_bytes <= summary.requested_bytes && summary.tensors <= summary.accesses);
    }
});
