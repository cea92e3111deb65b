//! The page, a WASM module that shows; what computes is its worker's, `accel-worker`.
//!
//! The modules, ground first; each imports only from those before it, all of them from `accel-ui`:
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`engine`] | the page's side of the worker |
//! | [`view`] | how the results are looked at |
//! | [`places`] | the addresses of the page |
//! | [`form`] | what the user typed, and the recipe it stands for |
//! | [`app`] | the state of the page |
//! | [`past`] | the last experiments, and the draft of the form |
//! | [`panels`] | what came out: one file per panel, with its chart |
//! | [`page`] | the page: form, panels, files, the way to the Kernel page |

mod app;
mod engine;
mod form;
mod page;
mod panels;
mod past;
mod places;
mod view;

fn main() {
    console_error_panic_hook::set_once();
    // What stood in the HTML makes way.
    if let Some(standing) = leptos::prelude::document().get_element_by_id("standing") {
        standing.remove();
    }
    leptos::mount::mount_to_body(page::page);
}
