//! The service as a whole: in process with a model that tests can steer, over loopback, and as the real binary.
//!
//! No test depends on how fast the machine is: models and stand-ins wait for signals, loads are counts, and what is
//! waited for has a limit only to end a test that hangs.
#![allow(missing_docs, clippy::panic, clippy::unwrap_used)]

mod common;
#[cfg(feature = "model")]
mod engines;
mod fetch;
mod jobs_file;
mod kill;
mod lifecycle;
mod listen;
mod load;
#[path = "../../model/tests/it/mutant.rs"]
mod mutant;
mod mutations;
mod origin;
mod page;
mod ready;
mod remote;
mod serving;
mod traces;
