//! What is read, in which order: workloads that make a [`Trace`](crate::trace::Trace).

// Ground first: each imports only from those before it.
pub mod dtype;

pub mod config;
pub mod presets;

mod model_ref;
pub mod requests;
pub mod routing;
pub mod serving;
pub mod synthetic;

pub mod fusion;
pub mod parallel;
pub mod plan;
pub mod train;

pub mod model_run;

pub use self::model_ref::ModelRef;
pub(crate) use self::model_run::file;
