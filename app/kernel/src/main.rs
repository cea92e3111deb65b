//! The Kernel page: what does a loop nest or a piece of NumPy cost, and why?
//!
//! One WASM binary of its own, loaded when the page is first opened: with a window it is the page, without one its worker.

mod chart;
mod engine;
mod examples;
mod form;
mod results;
mod worker;

use leptos::mount::mount_to;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;

/// Where the page around it wants it, and says where its own files lie.
pub(crate) const PLACE: &str = "kernel";

fn main() {
    console_error_panic_hook::set_once();
    if web_sys::window().is_none() {
        return worker::start();
    }
    let place = document().get_element_by_id(PLACE).and_then(|e| e.dyn_into::<web_sys::HtmlElement>().ok());
    if let Some(place) = place {
        place.set_text_content(None);
        mount_to(place, form::page).forget();
    }
}
