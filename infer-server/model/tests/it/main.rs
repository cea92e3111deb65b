//! What quantising makes, against other implementations, and what damaged files do.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod mutant;
mod mutations;
mod quantize;
