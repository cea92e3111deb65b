//! Trains the policy that is shipped, and measures what it is worth.

pub mod embedded;
pub mod gauge;
pub mod network;
pub mod points;
pub mod storage;
pub mod workloads;
