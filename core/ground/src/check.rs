//! Checks of single fields.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::error::Error;

/// Fails unless `value` lies in `range`; `field` is named in the error.
pub fn check_range<T: PartialOrd + Display>(field: &str, value: T, range: RangeInclusive<T>) -> Result<(), Error> {
    if range.contains(&value) {
        return Ok(());
    }
    let (low, high) = (range.start(), range.end());
    Err(Error::field(field, value, "out of range", format!("Choose a value from {low} to {high}")))
}
