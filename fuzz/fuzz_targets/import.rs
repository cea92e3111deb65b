//! What the targets of the importers share.

use accel_core::error::Error;
use accel_core::progress::{Flow, Progress};
use accel_core::trace::Trace;
use accel_core::import::cache_csv::Columns;
use accel_core::import::input::Input;
use accel_core::import::{self, Format};

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
    if let Ok(found) = import::detect(&input) {
        let _ = import::read(found, &input, None, &mut Cap(0));
    }
    match import::read(format, &input, columns, &mut Cap(0)) {
        Ok(trace) => round_trips(&trace),
        Err(Error::Internal(problem)) => panic!("{problem}"),
        Err(error) => assert!(error.to_string().len() < 2000, "{error}"),
    }
}

/// What is written is read back: the same accesses and sizes.
fn round_trips(trace: &Trace) {
    for format in Format::all().filter(|format| format.writable()) {
        let lost = import::lost(format, trace);
        let Ok(bytes) = import::write(format, trace) else { continue };
        // Names that differ in nothing else become one.
        if lost.iter().any(|what| what.contains("space around names")) {
            continue;
        }
        let again = import::read(format, &Input::new("again", &bytes), None, &mut Cap(0));
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
