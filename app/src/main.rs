//! The page and its worker, one WASM binary: with a window it is the page, without one the worker.

mod chart;
mod engine;
mod extra;
mod form;
mod page;
mod protocol;
mod theme;
mod worker;

fn main() {
    console_error_panic_hook::set_once();
    if web_sys::window().is_some() {
        leptos::mount::mount_to_body(page::page);
    } else {
        worker::start();
    }
}
