//! The native server as a library: [`app::router`] makes the whole service, so tests run it in process.
//!
//! - [`prototype`]: the prototype's endpoints with their exact requests and keys.
//! - [`recipes`]: any recipe, run on the server.
//! - [`model`]: a language model on this machine.
//! - [`app`]: health, documentation, the static page, limits and logs around them.

pub mod app;
pub mod error;
pub mod model;
pub mod prototype;
pub mod recipes;
