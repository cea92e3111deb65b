//! The page: a form on one side, results on the other.

mod field;
mod files;
mod kernel;
mod memory;
mod workload;

use accel_core::recipe::Recipe;
use accel_ui::run::{Phase, RunBar};
use accel_ui::view::yes;
use accel_ui::{address, theme};
use leptos::ev;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;

use crate::app::App;
use crate::engine::Engine;
use crate::form::{Form, recipe_from_address, show_in_address};
use crate::panels;

/// The whole page.
pub(crate) fn page() -> impl IntoView {
    let form = Form::new(&Recipe::default());
    let app = App {
        form,
        engine: Engine::new(),
        recipe: RwSignal::new(untrack(|| form.json())),
        kernel: RwSignal::new(kernel::in_address()),
        files: StoredValue::new(0),
        notice: RwSignal::new(None),
    };
    Effect::new(move |_| app.recipe.set(form.json()));
    // Effects run once the page is built: from here on it can be used. Measured by the browser test.
    Effect::new(|_| window().performance().map(|p| p.mark("usable")));
    app.open_address();
    Effect::new(move |_| {
        // The first visit opens on an experiment; the address stays clean until something is chosen.
        let idle = untrack(|| app.engine.phase.with(|phase| *phase == Phase::Idle));
        if !app.kernel.get() && idle && recipe_from_address().is_none() {
            app.engine.run(&Recipe::default(), None);
        }
    });
    let _ = window_event_listener(ev::hashchange, move |_| app.open_address());

    view! {
        <a
            class="skip"
            href="#results"
            on:click=|event| {
                event.prevent_default();
                focus_results();
            }
        >
            "Skip to the results"
        </a>
        <header class="top">
            <div>
                <h1>"Accelerator Optimization Copilot"</h1>
                <p>
                    "What should stay in fast memory, how much of it does your model need, and which policy should decide?"
                </p>
            </div>
            <div class="actions">{kernel::links(app.kernel)} {copy_link(app)} {theme::button()}</div>
        </header>
        <main hidden=yes(move || app.kernel.get())>
            <form
                class="panel"
                aria-label="Experiment"
                on:submit=move |event| {
                    event.prevent_default();
                    app.run();
                }
            >
                {workload::workload_form(app)}
                {memory::memory_form(app)}
                {run_bar(app)}
            </form>
            {panels::results(app)}
        </main>
        {kernel::place(app)}
        <footer>
            "Everything is computed in this page: nothing is uploaded. Units: MB = 10⁶ bytes, MiB = 2²⁰ bytes."
        </footer>
        {files::drop_anywhere(app)}
    }
}

fn focus_results() {
    let results = document().get_element_by_id("results").and_then(|e| e.dyn_into::<web_sys::HtmlElement>().ok());
    if let Some(results) = results {
        // A browser that refuses to focus still shows them.
        let _ = results.focus();
    }
}

/// Copies a link that reopens the experiment in the form.
fn copy_link(app: App) -> impl IntoView {
    let prepare = move || {
        // The Kernel page keeps the address in step by itself.
        if app.kernel.get_untracked() {
            return true;
        }
        let shown = untrack(|| app.form.recipe()).map(|recipe| show_in_address(&recipe));
        if let Ok(Err(error)) = &shown {
            app.notice.set(Some(error.to_string()));
        }
        matches!(shown, Ok(Ok(())))
    };
    address::copy_button(yes(move || !app.kernel.get() && app.recipe.with(Result::is_err)), prepare)
}

/// Run, Cancel, progress, and what went wrong.
const RUN_BAR: RunBar = RunBar {
    run_id: "run",
    run: "Run",
    cancel_id: "cancel",
    status_id: "status",
    stale_id: "stale",
    stale: "The results are those of the last run. Press Run for these settings.",
    error_id: "error",
    cancelled: "The run was cancelled.",
};

fn run_bar(app: App) -> impl IntoView {
    let bad = yes(move || app.recipe.with(Result::is_err));
    let changed = yes(move || {
        let shown = app.engine.answer.with(|a| a.as_ref().map(|a| a.recipe.clone()));
        app.recipe.with(|r| r.as_ref().is_ok_and(|r| shown.is_some_and(|shown| shown != *r)))
    });
    // Errors that belong to no single field: of a link, of a file, of the form as a whole.
    let problem = move || {
        let of_form = app.recipe.with(|r| r.as_ref().err().filter(|e| !field::has_a_place(e)).map(ToString::to_string));
        app.notice.get().or(of_form)
    };
    RUN_BAR.view(app.engine.phase, bad, changed, Signal::derive(problem), move || app.engine.cancel())
}
