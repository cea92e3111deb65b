//! How much memory runs and importers take, in one binary, whose allocator counts.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::sync::{Mutex, MutexGuard, PoisonError};

#[path = "../common/mod.rs"]
mod common;

mod execution_traces;
mod import;
mod mutations;
mod run;
mod stream;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Tests take turns: the allocator counts what all of them hold.
fn lock() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
