//! Dark or light: as the system is set, or as the user chose.
//!
//! By hand, because the ready-made hook brings a cookie parser and a calendar, too large for the page.

use crate::built::{Build, Built};
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::prelude::Closure;
use web_sys::MediaQueryListEvent;

/// Where the choice is kept between visits.
const KEY: &str = "accel-theme";

/// The button that changes to the other theme. Until it is pressed, the page follows the system; the choice is kept.
pub fn button() -> Built {
    let query = window().match_media("(prefers-color-scheme: dark)").ok().flatten();
    let stored = storage().and_then(|s| s.get_item(KEY).ok().flatten());
    // What the system asks for, and what the user chose, if anything.
    let system = RwSignal::new(query.as_ref().is_some_and(|q| q.matches()));
    let chosen = RwSignal::new(stored.map(|name| name == "dark"));
    if let Some(query) = query {
        let listener = Closure::<dyn Fn(MediaQueryListEvent)>::new(move |e: MediaQueryListEvent| {
            system.set(e.matches());
        });
        query.set_onchange(Some(listener.as_ref().unchecked_ref()));
        listener.forget(); // Lives as long as the page.
    }
    Effect::new(move |_| {
        if let Some(html) = document().document_element() {
            html.set_class_name(chosen.get().map_or("", name));
        }
    });
    let dark = move || chosen.get().unwrap_or_else(|| system.get());
    let toggle = move |_| {
        let dark = !untrack(dark);
        chosen.set(Some(dark));
        if let Some(storage) = storage() {
            // Without storage the choice lasts for this visit.
            let _ = storage.set_item(KEY, name(dark));
        }
    };
    let text = Signal::derive(move || if dark() { "Light theme" } else { "Dark theme" }.to_owned());
    view! {
        <button type="button" class="quiet" on:click=toggle>
            {text}
        </button>
    }
    .built()
}

/// The class of a theme, which is also what is kept of a choice.
fn name(dark: bool) -> &'static str {
    if dark { "dark" } else { "light" }
}

fn storage() -> Option<web_sys::Storage> {
    window().local_storage().ok().flatten()
}
