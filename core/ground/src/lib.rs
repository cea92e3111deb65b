//! What both `accel-core` and `accel-kernel` stand on: errors, names, units, chance, progress, and devices.
//!
//! Nothing here knows traces or policies, so that a change of a policy recompiles no parser and no kernel. Like both, it
//! has no I/O, no clock, no threads and no DOM. `accel-core` re-exports all of it.
//!
//! The modules in order, ground first: [`error`], [`mod@closed`], [`units`], [`math`], [`rng`], [`progress`], [`check`],
//! [`energy`], [`device`].

pub mod check;
pub mod closed;
pub mod device;
pub mod energy;
pub mod error;
pub mod math;
pub mod progress;
pub mod rng;
pub mod units;
