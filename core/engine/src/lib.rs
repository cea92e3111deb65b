//! Traces, eviction policies, the simulator that runs them, and bounds on what any policy could do.
//!
//! This is what must be fast, and a crate of its own so that the page compiles it for speed and all else for size.
//! `accel-core` re-exports all of it.
//!
//! The modules in order, ground first: [`order`], [`trace`], [`score`], [`tuned`], [`rules`], [`policy`], [`memory`],
//! [`sim`], [`bound`], [`curve`].

pub use accel_ground::{by_name, closed, error, progress, rng, units};
pub(crate) use accel_ground::{check, math};

pub mod bound;
pub mod curve;
pub mod memory;
pub mod order;
pub mod policy;
pub mod rules;
pub mod score;
pub mod sim;
pub mod trace;
pub mod tuned;
