//! Any bytes as a file of any format: a trace or an error, never a panic. `ACCEL_FUZZ_FORMAT` names the format; without
//! it, the first byte chooses one.
#![no_main]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use accel_core::error::Error;
use accel_core::import::cache_csv::Columns;
use accel_core::import::input::Input;
use accel_core::import::{self, FORMATS, FileKind, FormatInfo};
use accel_core::progress::{Flow, Progress};
use accel_core::recipe::{FileSource, Workload};
use accel_core::trace::Trace;
use arbitrary::{Arbitrary as _, Unstructured};
use libfuzzer_sys::fuzz_target;

/// The format that the environment names.
static NAMED: LazyLock<Option<&FormatInfo>> = LazyLock::new(|| {
    let name = std::env::var("ACCEL_FUZZ_FORMAT").ok()?;
    Some(import::Format::from_name(&name).unwrap_or_else(|error| panic!("ACCEL_FUZZ_FORMAT: {error}")).info())
});

fuzz_target!(|bytes: &[u8]| {
    let (info, bytes) = match (*NAMED, bytes) {
        (Some(info), bytes) => (info, bytes),
        (None, [first, rest @ ..]) => (&FORMATS[usize::from(*first) % FORMATS.len()], rest),
        (None, []) => return,
    };
    match info.kind {
        FileKind::Model => check_model(info, bytes),
        FileKind::Table => {
            let Ok((columns, bytes)) = <(&str, &[u8])>::arbitrary_take_rest(Unstructured::new(bytes)) else { return };
            let columns: Option<Columns> = columns.parse().ok();
            if let Some(columns) = &columns {
                assert_eq!(columns.to_string().parse().as_ref(), Ok(columns));
            }
            check_trace(info, bytes, columns.as_ref());
        }
        FileKind::Trace | FileKind::Records | FileKind::Weights => check_trace(info, bytes, None),
    }
});

/// Stops a file that unpacks to more than some 16 MiB: readers report once per mebibyte.
struct Cap(u32);

impl Progress for Cap {
    fn report(&mut self, done: u64, total: u64, _: &str) -> Flow {
        assert!(done <= total);
        self.0 += 1;
        if self.0 < 16 { Flow::Continue } else { Flow::Cancel }
    }
}

/// Reads a trace in the format, and in the one that is detected.
fn check_trace(info: &FormatInfo, bytes: &[u8], columns: Option<&Columns>) {
    let input = Input::new("input", bytes);
    // As the format that is detected, or as a member of an archive.
    if let Err(error) = Workload::File(FileSource::named("input")).trace_with((1, u64::MAX), &input, &mut Cap(0)) {
        check_error(&error);
    }
    match import::read(info.format, &input, columns, &mut Cap(0)) {
        Ok(trace) => {
            check_summary(&trace);
            check_round_trip(&trace);
        }
        Err(error) => check_error(&error),
    }
}

/// Reads a model in the format and makes the trace of a run.
fn check_model(info: &FormatInfo, bytes: &[u8]) {
    let input = Input::new("input", bytes);
    let _ = import::detect(&input);
    let source = FileSource { format: Some(info.format), ..FileSource::named("input") };
    match Workload::File(source).trace_with((1, u64::MAX), &input, &mut Cap(0)) {
        Ok((trace, _)) => check_summary(&trace),
        Err(error) => check_error(&error),
    }
}

fn check_error(error: &Error) {
    match error {
        Error::Internal(problem) => panic!("{problem}"),
        error => assert!(error.to_string().len() < 2000, "{error}"),
    }
}

fn check_summary(trace: &Trace) {
    let summary = trace.summary();
    assert!(summary.unique_bytes <= summary.requested_bytes && summary.tensors <= summary.accesses);
}

/// What is written is read back: the same accesses and sizes.
fn check_round_trip(trace: &Trace) {
    let names: BTreeSet<&str> = trace.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    for info in FORMATS.iter().filter(|info| info.writable) {
        let lost = import::lost(info.format, trace);
        let Ok(bytes) = import::write(info.format, trace) else { continue };
        // Names that differ in nothing else become one, as do the same names.
        if lost.iter().any(|what| what.contains("space around names")) || names.len() < trace.tensors().len() {
            continue;
        }
        let again = match import::read(info.format, &Input::new("again", &bytes), None, &mut Cap(0)) {
            Ok(again) => again,
            Err(Error::Cancelled) => continue,
            Err(error) => panic!("{}: {error}", info.name),
        };
        assert_eq!(again.accesses(), trace.accesses(), "{}", info.name);
        // Megabytes are exact to the byte up to 2^53.
        if trace.sizes().iter().all(|bytes| *bytes < 1 << 50) {
            assert_eq!(again.sizes(), trace.sizes(), "{}", info.name);
        }
    }
}
