//! Counts as people read them.

use accel_ground::units::{format_bytes, format_count};
use accel_kernel::report::Count;
pub(crate) use accel_ui::number::{energy, short, time};

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
