//! The native server as a library: [`app::router`] makes the whole service, so tests run it in process.
//!
//! - [`prototype`]: the prototype's endpoints with their exact requests and keys.
//! - [`recipes`]: any recipe, run on the server.
//! - [`quantize`]: Hugging Face safetensors to GGUF; [`fetch`]: a model from the hub.
//! - [`app`]: health, documentation, the static page, limits and logs around them.

pub mod app;
pub mod error;
pub mod fetch;
pub mod prototype;
pub mod quantize;
pub mod recipes;
