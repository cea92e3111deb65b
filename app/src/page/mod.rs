//! The page: a form on one side, results on the other, and the way between its tabs.

mod chips;
mod field;
mod files;
mod first;
mod kernel;
mod keys;
mod memory;
mod report;
mod tabs;
mod workload;

use std::time::Duration;

use accel_core::recipe::Recipe;
use accel_ui::run::{Phase, RunBar};
use accel_ui::view::yes;
use accel_ui::{address, theme};
use leptos::ev;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;

use crate::app::App;
use crate::engine::Engine;
use crate::form::Form;
use crate::places::Place;
use crate::view::{Tab, View};
use crate::{panels, past};

/// The whole page.
pub(crate) fn page() -> impl IntoView {
    let form = Form::new(&Recipe::default());
    let place = Place::of(&address::fragment());
    let app = App {
        form,
        engine: Engine::new(),
        view: View::new(place.as_ref().map_or(Tab::Lab, |place| place.tab)),
        recipe: RwSignal::new(untrack(|| form.json())),
        other: RwSignal::new(None),
        past: RwSignal::new(Vec::new()),
        kernel: StoredValue::new("kernel".into()),
        files: StoredValue::new(0),
        preview: RwSignal::new(None),
        sparks: RwSignal::new(Vec::new()),
        notice: RwSignal::new(None),
        note: RwSignal::new(None),
    };
    Effect::new(move |_| app.recipe.set(form.json()));
    // Effects run once the page is built: from here on it can be used. Measured by the browser test.
    Effect::new(|_| window().performance().map(|p| p.mark("usable")));
    app.open_address();
    past::restore(app);
    past::keep(app);
    // The first visit opens on an experiment; the address stays clean until something is chosen.
    let idle = app.engine.phase.with_untracked(|phase| *phase == Phase::Idle);
    let asked = Place::of(&address::fragment()).is_ok_and(|place| place.recipe.is_some());
    first::load(app, asked || !idle);
    let _ = window_event_listener(ev::hashchange, move |_| app.open_address());
    files::open_url(app);
    run_when_quick(app);

    let kernel = app.view.shows(Tab::Kernel);
    let compare = app.view.shows(Tab::Compare);
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
            <h1>"Accelerator Optimization Copilot"</h1>
            {tabs::tabs(app)}
            <div class="actions">{copy_link(app)} {report::button(app)} {theme::button()} {keys::keys(app)}</div>
        </header>
        <section class="runbar" aria-label="The experiment and its run" hidden=kernel>
            {chips::chips(app)}
            {run_bar(app)}
        </section>
        <main hidden=yes(move || kernel.get()) class:wide=compare>
            <form
                class="panel"
                class:open=app.view.sheet
                id="experiment"
                aria-label="Experiment"
                on:focusin=move |_| app.engine.start()
                on:submit=move |event| {
                    event.prevent_default();
                    app.view.sheet.set(false);
                    app.run();
                }
            >
                <div class="bar sheet">
                    <button type="submit">"Run"</button>
                    <button type="button" class="quiet" id="close-form" on:click=move |_| app.view.sheet.set(false)>
                        "Close"
                    </button>
                </div>
                {workload::workload_form(app)}
                {memory::memory_form(app)}
            </form>
            <div class="stack">
                <div class="stack" hidden=yes(move || !compare.get())>
                    {panels::compare::compare(app)}
                </div>
                {panels::results(app, Signal::derive(move || differs(app)))}
            </div>
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
        if app.view.tab.get_untracked() == Tab::Kernel {
            return true;
        }
        let shown = app.show_in_address();
        if let Err(error) = &shown {
            app.notice.set(Some(error.to_string()));
        }
        shown.is_ok()
    };
    let kernel = app.view.shows(Tab::Kernel);
    address::copy_button(yes(move || !kernel.get() && app.recipe.with(Result::is_err)), prepare)
}

/// Whether the form says something else than what was run.
fn differs(app: App) -> bool {
    let shown = app.engine.answer.with(|answer| answer.as_ref().map(|answer| answer.recipe.clone()));
    app.recipe.with(|recipe| recipe.as_ref().is_ok_and(|recipe| shown.is_some_and(|shown| shown != *recipe)))
}

/// A run that took less is run again by itself, in ms, and how long nothing must have changed before.
const QUICK_MS: f64 = 1000.0;
const STILL: Duration = Duration::from_millis(300);

/// Runs a changed form by itself where the last run was quick.
fn run_when_quick(app: App) {
    let changes = StoredValue::new(0u32);
    Effect::new(move |_| {
        app.recipe.track();
        let change = changes.try_update_value(|changes| {
            *changes += 1;
            *changes
        });
        set_timeout(
            move || {
                let quick =
                    app.engine.phase.with_untracked(|phase| matches!(phase, Phase::Done { ms } if *ms < QUICK_MS));
                let still = change == Some(changes.get_value());
                if quick && still && app.view.tab.get_untracked() != Tab::Kernel && untrack(|| differs(app)) {
                    app.run();
                }
            },
            STILL,
        );
    });
}

/// Run, Cancel, progress, and what went wrong.
const RUN_BAR: RunBar = RunBar {
    form_id: "experiment",
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
    let problem = move || {
        let of_form = app.recipe.with(|recipe| recipe.as_ref().err().map(ToString::to_string));
        app.notice.get().or(of_form)
    };
    let place = move || app.recipe.with(|recipe| recipe.as_ref().err().and_then(field::place_of));
    let changed = yes(move || differs(app));
    let note = move || app.note.get().unwrap_or_default();
    view! {
        <p class="hint" id="note" hidden=yes(move || app.note.with(Option::is_none))>
            {Signal::derive(note)}
        </p>
        {RUN_BAR.view(app.engine.phase, bad, changed, Signal::derive(problem), move || app.engine.cancel())}
        <button
            type="button"
            class="quiet"
            id="show-field"
            hidden=yes(move || place().is_none())
            on:click=move |_| {
                if let Some(field) = untrack(place) {
                    chips::open_field(app, field);
                }
            }
        >
            "Show the field"
        </button>
    }
}
