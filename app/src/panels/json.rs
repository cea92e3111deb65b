//! Recipe and results as JSON.

use accel_ui::built::{Build, Built};
use std::sync::Arc;

use accel_core::run::Outcome;
use leptos::prelude::*;

use crate::app::App;

/// The whole outcome for scripts and reports; written out only when opened.
pub(super) fn json(app: App, outcome: Arc<Outcome>) -> Built {
    let open = RwSignal::new(false);
    let recipe = move || app.engine.answer.with(|a| a.as_ref().map(|a| a.recipe.clone()));
    let text = Memo::new(
        move |_| if open.get() { serde_json::to_string(&*outcome).unwrap_or_default() } else { String::new() },
    );
    view! {
        <details class="panel" id="json" on:toggle:target=move |event| open.set(event.target().open())>
            <summary>"Recipe and results as JSON"</summary>
            <p class="hint">"Run the recipe on the command line: accel simulate --recipe FILE"</p>
            <textarea id="recipe-json" readonly rows="12" aria-label="Recipe" prop:value=recipe></textarea>
            <textarea id="outcome-json" readonly rows="6" aria-label="Results" prop:value=text></textarea>
        </details>
    }
    .built()
}
