//! Byte sizes as people write them: `128MiB`, `64 MB`, `1.5GiB`, `4096`. MB is 10^6 bytes, MiB 2^20.

use crate::error::Error;

/// Bytes in a megabyte (10^6).
pub const MB: u64 = 1_000_000;
/// Bytes in a mebibyte (2^20).
pub const MIB: u64 = 1 << 20;
/// Bytes in a gibibyte (2^30).
pub const GIB: u64 = 1 << 30;

const UNITS: [(&str, u64); 13] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", MB),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", MIB),
    ("gib", GIB),
    ("tib", 1 << 40),
    ("k", 1 << 10),
    ("m", MIB),
    ("g", GIB),
    ("t", 1 << 40),
];

/// Reads a size such as `128MiB`, `64 MB` or `4096` into bytes; `field` is named in the error.
///
/// A bare `K`, `M`, `G`, `T` means the power of two, as in most command lines.
///
/// ```
/// use accel_ground::units::parse_bytes;
/// assert_eq!(parse_bytes("capacity", "128MiB")?, 134_217_728);
/// assert_eq!(parse_bytes("capacity", "1.5 GB")?, 1_500_000_000);
/// assert!(parse_bytes("capacity", "-1").is_err());
/// # Ok::<(), accel_ground::error::Error>(())
/// ```
pub fn parse_bytes(field: &str, text: &str) -> Result<u64, Error> {
    let bad = |problem: &str| {
        Error::field(field, format!("\"{text}\""), problem, "Write a size such as 64MB, 128MiB, 8GiB or 4096")
    };
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let number = number.trim();
    let factor = if unit.is_empty() {
        1
    } else {
        let unit = unit.to_ascii_lowercase();
        UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, factor)| *factor)
            .ok_or_else(|| bad("the unit is not one of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"))?
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(|| bad("it is more than 2^64 - 1 bytes"));
    }
    let value: f64 = number.parse().map_err(|_| bad("it is not a number with a unit"))?;
    let bytes = value * factor as f64;
    if !bytes.is_finite() || bytes < 0.0 {
        return Err(bad("a size is a finite number, zero or more"));
    }
    if bytes >= u64::MAX as f64 {
        return Err(bad("it is more than 2^64 - 1 bytes"));
    }
    Ok(bytes as u64)
}

/// A size for people to read, in decimal units with three significant digits: `14.5 GB`.
pub fn format_bytes(bytes: u64) -> String {
    let scaled = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    for (unit, factor) in scaled {
        // 999,950 B rounds to 1.00 MB, not to 1000 kB.
        if bytes as f64 >= factor * 0.99995 {
            let value = bytes as f64 / factor;
            let digits = if value < 9.995 {
                2
            } else if value < 99.95 {
                1
            } else {
                0
            };
            return format!("{value:.digits$} {unit}");
        }
    }
    format!("{bytes} B")
}

/// A whole number with thousands separated by commas: `1,234,567`.
pub fn format_count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A range of energies in joules for people, such as `1.50 to 3.54 mJ`: the unit suits the larger.
pub fn format_joules(low: f64, high: f64) -> String {
    let (unit, factor) = match high {
        h if h >= 1e3 => ("kJ", 1e-3),
        h if h >= 1.0 || h == 0.0 => ("J", 1.0),
        h if h >= 1e-3 => ("mJ", 1e3),
        h if h >= 1e-6 => ("µJ", 1e6),
        _ => ("nJ", 1e9),
    };
    format!("{:.2} to {:.2} {unit}", low * factor, high * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joules() {
        assert_eq!(format_joules(1.5, 3.541), "1.50 to 3.54 J");
        assert_eq!(format_joules(0.0, 0.0), "0.00 to 0.00 J");
        assert_eq!(format_joules(1.25e-6, 2.5e-3), "0.00 to 2.50 mJ");
        assert_eq!(format_joules(1e3, 2e6), "1.00 to 2000.00 kJ");
        assert_eq!(format_joules(1e-12, 5e-9), "0.00 to 5.00 nJ");
    }

    #[test]
    fn sizes_people_write() {
        for (text, bytes) in [
            ("4096", 4096),
            ("64MB", 64_000_000),
            ("64 mib", 64 << 20),
            ("0.5GiB", 1 << 29),
            ("2K", 2048),
            ("18446744073709551615", u64::MAX),
            ("1e3", 0), // `e` reads as a unit: refused below
        ] {
            match parse_bytes("x", text) {
                Ok(got) => assert_eq!(got, bytes, "{text}"),
                Err(_) => assert_eq!(text, "1e3"),
            }
        }
    }

    #[test]
    fn sizes_refused() {
        for text in ["", "MB", "-4", "NaN", "inf", "4 parsecs", "99999999999999999999", "20000000TiB", "1.5.2MB"] {
            let error = parse_bytes("capacity", text).unwrap_err();
            assert_eq!(error.field_name(), Some("capacity"), "{text}");
        }
    }

    #[test]
    fn sizes_people_read() {
        assert_eq!(format_bytes(999), "999 B");
        assert_eq!(format_bytes(14_483_464_192), "14.5 GB");
        assert_eq!(format_bytes(999_960), "1.00 MB");
        assert_eq!(format_count(1_234_567), "1,234,567");
        assert_eq!(format_count(12), "12");
    }
}
