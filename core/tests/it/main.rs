//! Tests of accel-core on files, in one binary.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod closed;
mod execution_traces;
mod gguf;
mod libcachesim;
mod model_files;
mod models;
mod sampled;
mod serving;
mod tiling;
