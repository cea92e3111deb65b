//! Source code → loop nest → counts → misses → roofline → time and energy.
//!
//! A module imports only from those before it (a parent and its own children may refer to each other):
//!
//! | module | what it does |
//! | --- | --- |
//! | [`expr`] | integer expressions: bounds, extents, subscripts |
//! | [`nest`] | a program: loops, conditions, work, accesses of array elements, calls of libraries |
//! | [`operator`] | operators of libraries, and what one takes on a device that works as a whole |
//! | [`source`] | what a front end reads, and how it refuses what it cannot know |
//! | [`report`] | what is asked about a kernel, and what is answered |
//! | `functions` | the functions that kernels call: names in both languages, what each counts |
//! | `grid` | kernels on a grid: warps, shared memory, occupancy |
//! | `normal` | integer expressions in normal form |
//! | `naive` | runs a program step by step; for tests |
//! | [`count`] | closed forms in the parameters, and numbers |
//! | [`cache`] | misses of fully associative LRU caches |
//! | `share` | what one of several cores does |
//! | `cost` | time and energy |
//! | [`list`] | operators that need no source, and what each takes |
//! | [`c`], [`python`] | the front ends: they write a program |
//! | [`stablehlo`] | StableHLO, read as the Python that it is |
//! | `foreign` | languages that are not read, and what to give instead |
//! | `predict` | the way in |

pub mod c;
pub mod cache;
mod cost;
pub mod count;
pub mod expr;
mod foreign;
mod functions;
mod grid;
pub mod list;
#[cfg(test)]
pub(crate) mod naive;
pub mod nest;
mod normal;
pub mod operator;
mod predict;
pub mod python;
pub mod report;
mod share;
pub mod source;
pub mod stablehlo;

pub use nest::Kernel;
pub use predict::predict;
pub use report::{DEFAULT_DEVICE, DEFAULT_GPU};
