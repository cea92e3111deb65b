//! The Kernel page: a module of its own, loaded when it is first opened.

use accel_ui::module;
use accel_ui::view::yes;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::app::App;
use crate::view::Tab;

/// The place of the Kernel page.
pub(super) fn place(app: App) -> impl IntoView {
    let shown = app.view.shows(Tab::Kernel);
    let problem = RwSignal::new(None);
    Effect::new(move |_| {
        if shown.get() {
            load(problem);
        }
    });
    view! {
        <main id="kernel" hidden=yes(move || !shown.get())>
            <p class="hint" hidden=yes(move || problem.with(Option::is_some))>
                "The Kernel page is on its way."
            </p>
            <p class="error" role="alert">
                {move || problem.get()}
            </p>
            <button type="button" hidden=yes(move || problem.with(Option::is_none)) on:click=move |_| load(problem)>
                "Try again"
            </button>
        </main>
    }
}

/// Loads and starts the module, unless it was before; it finds its place. `problem` tells why it cannot be loaded.
fn load(problem: RwSignal<Option<String>>) {
    problem.set(None);
    spawn_local(async move {
        if let Err(error) = module::load("accel-kernel-page", "the Kernel page").await {
            problem.set(Some(error.to_string()));
        }
    });
}
