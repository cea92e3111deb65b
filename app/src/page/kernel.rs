//! The Kernel page: a module of its own, loaded when it is first opened.

use accel_ui::view::yes;
use leptos::prelude::*;

use crate::app::App;
use crate::engine;
use crate::view::Tab;

/// The place of the Kernel page.
pub(super) fn place(app: App) -> impl IntoView {
    let shown = app.view.shows(Tab::Kernel);
    let loaded = StoredValue::new(false);
    Effect::new(move |_| {
        if shown.get() && !loaded.get_value() {
            loaded.set_value(true);
            load();
        }
    });
    view! {
        <main id="kernel" hidden=yes(move || !shown.get())>
            <p class="hint">"The Kernel page is on its way."</p>
        </main>
    }
}

/// Starts the module; it finds its place, and its own files in the place's attributes.
fn load() {
    let started = engine::module("accel-kernel-page").and_then(|module| {
        let script = format!(
            r#"const place = document.getElementById("kernel");
            [place.dataset.script, place.dataset.wasm] = ["{0}", "{1}"];
            import("{0}").then((module) => module.default({{ module_or_path: "{1}" }}))
                .catch(() => {{ place.textContent = "The Kernel page could not be loaded. Reload the page."; }});"#,
            module.script, module.wasm
        );
        let element = document().create_element("script").ok()?;
        element.set_attribute("type", "module").ok()?;
        element.set_text_content(Some(&script));
        document().body()?.append_child(&element).ok()
    });
    if started.is_none() {
        leptos::logging::error!("the Kernel page cannot be loaded");
    }
}
