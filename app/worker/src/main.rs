//! The page's worker, a WASM module of its own: the page stands before the engine is there.
//!
//! The modules, ground first: [`extra`], the worker's side of the module loaded on demand; [`state`], what is kept between messages;
//! [`sweep`], many runs; [`worker`], what answers.

mod extra;
mod state;
mod sweep;
mod worker;

fn main() {
    console_error_panic_hook::set_once();
    worker::start();
}
