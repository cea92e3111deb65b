//! Numbers as people read them.

use accel_ground::units::{format_bytes, format_count};
use accel_kernel::report::Count;

/// A time as people read it.
pub(crate) fn time(ms: f64) -> String {
    match ms {
        0.0 => "0".to_owned(),
        ms if ms < 1e-3 => format!("{} ns", short(ms * 1e6)),
        ms if ms < 1.0 => format!("{} µs", short(ms * 1e3)),
        ms if ms < 1e3 => format!("{} ms", short(ms)),
        ms => format!("{} s", short(ms / 1e3)),
    }
}

/// An energy as people read it.
pub(crate) fn energy(joules: f64) -> String {
    match joules {
        0.0 => "0".to_owned(),
        j if j < 1e-6 => format!("{} nJ", short(j * 1e9)),
        j if j < 1e-3 => format!("{} µJ", short(j * 1e6)),
        j if j < 1.0 => format!("{} mJ", short(j * 1e3)),
        j => format!("{} J", short(j)),
    }
}

/// Three significant digits.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format_count(value as u64),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.01 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}

/// A count; what is not whole is marked.
pub(crate) fn count(count: Count) -> String {
    match count {
        Count::Whole(count) => format_count(count),
        Count::Real(count) if count.abs() >= 1e15 => format!("{count:.4e}"),
        Count::Real(count) => format!("about {}", format_count(count.round() as u64)),
    }
}

/// A count of bytes, with its unit.
pub(crate) fn bytes(count: Count) -> String {
    format_bytes(count.value() as u64)
}
