//! The page and its worker, one WASM binary: with a window it is the page, without one the worker.
//!
//! The modules, ground first; each imports only from those before it, all of them from `accel-ui`:
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`protocol`] | what page and worker say to each other |
//! | [`extra`] | the worker's side of the module loaded on demand |
//! | [`worker`] | the worker |
//! | [`engine`] | the page's side of the worker |
//! | [`form`] | what the user typed, and the recipe it stands for |
//! | [`app`] | the state of the page |
//! | [`panels`] | what came out: one file per panel, with its chart |
//! | [`page`] | the page: form, panels, files, the way to the Kernel page |

mod app;
mod engine;
mod extra;
mod form;
mod page;
mod panels;
mod protocol;
mod worker;

fn main() {
    console_error_panic_hook::set_once();
    if web_sys::window().is_some() {
        leptos::mount::mount_to_body(page::page);
    } else {
        worker::start();
    }
}
