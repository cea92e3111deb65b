//! What should stay in fast memory, how much of it does a model need, and which policy should decide?
//!
//! `accel-core` computes the answers and does nothing else: no I/O, no clock, no threads, no DOM. The
//! same recipe gives the same bytes on every platform, in a browser as on a server.
//!
//! Data flows one way through the modules:
//!
//! [`recipe`] (one experiment as one value) → [`workload`] and [`trace`] (what is read, in which
//! order) → [`score`] (how evictable an access leaves a tensor) → [`policy`] (who leaves first) →
//! [`sim`] with [`memory`] (hits, misses, time) → [`validate`] and [`explain`] → [`run`], the one way in.
//!
//! ```
//! use accel_core::{progress::Unattended, recipe::Recipe, run::run};
//!
//! let recipe = Recipe::default();
//! let outcome = run(&recipe, &mut Unattended)?;
//! let lru = &outcome.runs[0];
//! assert_eq!(lru.hits + lru.misses, outcome.trace.accesses);
//! # Ok::<(), accel_core::error::Error>(())
//! ```

pub use accel_engine::{bound, curve, memory, order, policy, rules, score, sim, trace, tuned};
pub use accel_ground::{by_name, closed, error, progress, rng, units};
pub(crate) use accel_ground::{check, math};

pub mod explain;
pub mod fit;
pub mod import;
pub mod recipe;
pub mod recommend;
pub mod run;
pub mod scenarios;
pub mod sweep;
pub mod tiling;
pub mod traffic;
pub mod validate;
pub mod workload;
