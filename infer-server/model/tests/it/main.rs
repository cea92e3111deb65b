//! What quantising makes, against other implementations.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod quantize;
