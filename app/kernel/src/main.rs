//! The Kernel page: what does a loop nest or a piece of NumPy cost, and why?
//!
//! One WASM binary of its own, loaded when the page is first opened: with a window it is the page, without one its worker.
//!
//! The modules, ground first; each imports only from those before it, all of them from `accel-ui`:
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`worker`] | the worker |
//! | [`engine`] | the page's side of the worker |
//! | [`examples`] | kernels to begin with |
//! | [`number`] | numbers as people read them |
//! | [`panels`] | what came out: one panel per file, with its chart beside it |
//! | [`form`] | the form, and the page |

mod engine;
mod examples;
mod form;
mod number;
mod panels;
mod worker;

use leptos::mount::mount_to;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;

fn main() {
    console_error_panic_hook::set_once();
    if web_sys::window().is_none() {
        return worker::start();
    }
    let place = document().get_element_by_id(engine::PLACE).and_then(|e| e.dyn_into::<web_sys::HtmlElement>().ok());
    if let Some(place) = place {
        place.set_text_content(None);
        mount_to(place, form::page).forget();
    }
}
