//! Source code → loop nest → counts → misses → roofline → time and energy.
//!
//! Two front ends ([`c`], [`python`]) write the same program ([`nest`]): loops whose bounds are integer expressions
//! ([`expr`]), conditions, accesses of array elements, and calls of libraries. [`count`] counts it, in closed form and
//! as numbers; [`cache`] finds the misses of fully associative LRU caches; [`cost`] makes time and energy of both.

pub mod c;
pub mod cache;
pub mod cost;
pub mod count;
pub mod expr;
#[cfg(test)]
pub(crate) mod naive;
pub mod nest;
pub mod python;
pub mod report;
pub mod source;

/// The device of whom nobody asks for another.
pub const DEFAULT_DEVICE: &str = "reference";

/// What a front end makes of source code.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// The function looked at; none for a fragment.
    pub function: Option<String>,
    /// What it does.
    pub program: nest::Program,
}

/// Predicts.
pub fn predict(
    _request: &report::Request,
    _progress: &mut dyn crate::run::Progress,
) -> Result<report::Report, crate::error::Error> {
    Err(crate::error::Error::Internal("not yet".into()))
}
