//! Any bytes as CSV with any columns: read or refused, never a panic.
#![no_main]

mod import;

use accel_core::import::Format;
use accel_core::import::cache_csv::Columns;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8])| {
    let (columns, bytes) = input;
    let columns: Option<Columns> = columns.parse().ok();
    if let Some(columns) = &columns {
        assert_eq!(columns.to_string().parse().as_ref(), Ok(columns));
    }
    import::check(Format::Csv, bytes, columns.as_ref());
});
