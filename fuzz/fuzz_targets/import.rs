//! What the targets of the importers share.

use accel_core::error::Error;
use accel_core::run::{Flow, Progress};
use accel_core::trace::Trace;
use accel_core::trace::format::cache_csv::Columns;
use accel_core::trace::format::input::Input;
use accel_core::trace::format::{self, Format};

/// Stops a file that unpacks to more than some 16 MiB: readers report once a mebibyte.
struct Cap(u32);

impl Progress for Cap {
    fn report(&mut self, done: u64, total: u64, _: &str) -> Flow {
        assert!(done <= total);
        self.0 += 1;
        if self.0 < 16 { Flow::Continue } else { Flow::Cancel }
    }
}

/// Reads the bytes in `format`, and in the one that they look like.
pub fn check(format: Format, bytes: &[u8], columns: Option<&Columns>) {
    let input = Input::new("input", bytes);
    if let Ok(found) = format::detect(&input) {
        let _ = format::read(found, &input, None, &mut Cap(0));
    }
    match format::read(format, &input, columns, &mut Cap(0)) {
        Ok(trace) => round_trips(&trace),
        Err(Error::Internal(problem)) => panic!("{problem}"),
        Err(error) => assert!(error.to_string().len() < 2000, "{error}"),
    }
}

/// What is written is read back: the same accesses and sizes.
fn round_trips(trace: &Trace) {
    for format in Format::ALL.into_iter().filter(|format| format.writable()) {
        let lost = format::lost(format, trace);
        let Ok(bytes) = format::write(format, trace) else { continue };
        // Names that differ in nothing else become one.
        if lost.iter().any(|what| what.contains("space around names")) {
            continue;
        }
        let again = format::read(format, &Input::new("again", &bytes), None, &mut Cap(0));
        let again = match again {
            Ok(again) => again,
            Err(Error::Cancelled) => continue,
            Err(error) => panic!("{}: {error}", format.name()),
        };
        assert_eq!(again.accesses(), trace.accesses(), "{}", format.name());
        // Megabytes are exact to the byte up to 2^53.
        if trace.sizes().iter().all(|bytes| *bytes < 1 << 50) {
            assert_eq!(again.sizes(), trace.sizes(), "{}", format.name());
        }
    }
}
