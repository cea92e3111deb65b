//! Numbers as people read them: three significant digits, and a unit that suits.

use accel_ground::units::format_count;

/// A time as people read it.
pub fn time(ms: f64) -> String {
    match ms {
        0.0 => "0".to_owned(),
        ms if ms < 1e-3 => format!("{} ns", short(ms * 1e6)),
        ms if ms < 1.0 => format!("{} µs", short(ms * 1e3)),
        ms if ms < 1e3 => format!("{} ms", short(ms)),
        ms => format!("{} s", short(ms / 1e3)),
    }
}

/// An energy as people read it.
pub fn energy(joules: f64) -> String {
    match joules {
        0.0 => "0".to_owned(),
        j if j < 1e-6 => format!("{} nJ", short(j * 1e9)),
        j if j < 1e-3 => format!("{} µJ", short(j * 1e6)),
        j if j < 1.0 => format!("{} mJ", short(j * 1e3)),
        j => format!("{} J", short(j)),
    }
}

/// Three significant digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format_count(value as u64),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.01 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}
