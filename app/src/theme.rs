//! Dark or light: as the system says, or as the user chose.
//!
//! By hand, because the ready-made hook brings a cookie parser and a calendar, too large for the page.

use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::prelude::Closure;
use web_sys::MediaQueryListEvent;

/// Where the choice is kept between visits.
const KEY: &str = "accel-theme";

/// The theme of the page.
#[derive(Clone, Copy)]
pub(crate) struct Theme {
    /// Whether the system asks for dark.
    system: RwSignal<bool>,
    /// What the user chose, if anything.
    chosen: RwSignal<Option<bool>>,
}

impl Theme {
    /// Follows the system until [`toggle`](Self::toggle) is called, and remembers the choice.
    pub(crate) fn new() -> Self {
        let query = window().match_media("(prefers-color-scheme: dark)").ok().flatten();
        let stored = storage().and_then(|s| s.get_item(KEY).ok().flatten());
        let theme = Self {
            system: RwSignal::new(query.as_ref().is_some_and(|q| q.matches())),
            chosen: RwSignal::new(stored.map(|name| name == "dark")),
        };
        if let Some(query) = query {
            let listener = Closure::<dyn Fn(MediaQueryListEvent)>::new(move |e: MediaQueryListEvent| {
                theme.system.set(e.matches());
            });
            query.set_onchange(Some(listener.as_ref().unchecked_ref()));
            listener.forget(); // Lives as long as the page.
        }
        Effect::new(move |_| {
            let class = theme.chosen.get().map_or("", name);
            if let Some(html) = document().document_element() {
                html.set_class_name(class);
            }
        });
        theme
    }

    /// Whether the page is dark.
    pub(crate) fn dark(self) -> bool {
        self.chosen.get().unwrap_or_else(|| self.system.get())
    }

    /// Changes to the other theme.
    pub(crate) fn toggle(self) {
        let dark = !untrack(|| self.dark());
        self.chosen.set(Some(dark));
        if let Some(storage) = storage() {
            // Without storage the choice lasts for this visit.
            let _ = storage.set_item(KEY, name(dark));
        }
    }
}

fn name(dark: bool) -> &'static str {
    if dark { "dark" } else { "light" }
}

fn storage() -> Option<web_sys::Storage> {
    window().local_storage().ok().flatten()
}
