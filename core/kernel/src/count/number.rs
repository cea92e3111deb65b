//! Numbers of any size: exact as long as that is possible.

use super::poly::{self, Rational};
use crate::report::Count;

/// A number: exact, or beyond 128 bits with a bound of what rounding did to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    /// Exact.
    Exact(Rational),
    /// Rounded.
    Rough {
        /// The number.
        value: f64,
        /// At most so far from it.
        error: f64,
    },
}

impl Number {
    /// Nothing.
    pub(super) const ZERO: Self = Self::Exact(Rational::new_raw(0, 1));

    /// As a floating-point number, with a bound of its error.
    fn rough(self) -> (f64, f64) {
        match self {
            Self::Exact(value) => {
                let value = *value.numer() as f64 / *value.denom() as f64;
                (value, value.abs() * 2.0 * f64::EPSILON)
            }
            Self::Rough { value, error } => (value, error),
        }
    }

    /// The sum of two.
    pub(super) fn plus(self, other: Self) -> Self {
        if let (Self::Exact(a), Self::Exact(b)) = (self, other)
            && let Some(sum) = poly::add(&a, &b)
        {
            return Self::Exact(sum);
        }
        let ((a, e), (b, f)) = (self.rough(), other.rough());
        Self::Rough { value: a + b, error: e + f + (a + b).abs() * f64::EPSILON }
    }

    /// The product of two.
    pub(super) fn times(self, other: Self) -> Self {
        if let (Self::Exact(a), Self::Exact(b)) = (self, other)
            && let Some(product) = poly::mul(&a, &b)
        {
            return Self::Exact(product);
        }
        if self == Self::ZERO || other == Self::ZERO {
            return Self::ZERO;
        }
        let ((a, e), (b, f)) = (self.rough(), other.rough());
        Self::Rough { value: a * b, error: a.abs() * f + b.abs() * e + e * f + (a * b).abs() * f64::EPSILON }
    }

    /// As a count; `expected` if chances decide about it. None if rounding has eaten what was left of it.
    pub(super) fn count(self, expected: bool) -> Option<Count> {
        match self {
            Self::Exact(value) if !expected && value.is_integer() => {
                let whole = *value.numer();
                Some(u64::try_from(whole).map_or(Count::Real(whole as f64), Count::Whole))
            }
            Self::Exact(_) => Some(Count::Real(self.rough().0)),
            // Beyond 2^64, or indistinguishable from a number that is not.
            Self::Rough { value, error } => {
                let large = expected || value - error > u64::MAX as f64;
                (value.is_finite() && error <= value.abs() * 1e-9 && large).then_some(Count::Real(value))
            }
        }
    }
}
