//! Source code → loop nest → counts → misses → roofline → time and energy.
//!
//! Two front ends ([`c`], [`python`]) write the same program ([`nest`]): loops whose bounds are integer expressions
//! ([`expr`]), conditions, accesses of array elements, and calls of libraries. [`count`] counts it, in closed form and
//! as numbers; [`cache`] finds the misses of fully associative LRU caches; `cost` makes time and energy of both.

pub mod c;
pub mod cache;
mod cost;
pub mod count;
pub mod expr;
mod functions;
#[cfg(test)]
pub(crate) mod naive;
pub mod nest;
mod normal;
mod predict;
pub mod python;
pub mod report;
pub mod source;

pub use predict::predict;

/// The device where nobody asks for another: one of which all is known, with caches of 32 KiB and 512 KiB.
pub const DEFAULT_DEVICE: &str = "epyc-7452";

/// What a front end makes of source code.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// The function looked at; none for a fragment.
    pub function: Option<String>,
    /// What it does.
    pub program: nest::Program,
}
