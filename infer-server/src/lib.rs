//! The native server as a library: [`app::router`] makes the whole service, so tests run it in process.
//!
//! - [`prototype`]: the prototype's endpoints with their exact requests and keys.
//! - [`compile`]: what source code costs, also in the prototype's keys.
//! - [`recipes`]: any recipe, run on the server; [`jobs`]: the same in the background.
//! - [`score`]: questions to the language model; [`scoring`]: who answers them, and how.
//! - `accel_model`, a crate of its own: the model on this machine, how it is made and where it comes from.
//! - [`app`]: health, documentation, the static page, limits, key and logs around them; [`info`]: what the server is.

pub mod app;
pub mod auth;
pub mod compile;
pub mod error;
pub mod info;
pub mod jobs;
pub mod metrics;
pub mod prototype;
pub mod recipes;
pub mod score;
pub mod scoring;
