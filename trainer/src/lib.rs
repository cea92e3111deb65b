//! Trains the policy that is shipped, and measures what it is worth.

pub mod embedded;
pub mod eval;
#[cfg(feature = "model")]
pub mod lora;
pub mod network;
pub mod points;
pub mod questions;
pub mod speed;
pub mod storage;
pub mod workloads;
