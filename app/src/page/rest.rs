//! All that the first screen does without: the form, the other tabs, and what acts. Its code comes second.

use std::time::Duration;

use accel_ui::built::{Build as _, Built};
use accel_ui::run::{Phase, RunBar};
use accel_ui::view::yes;
use accel_ui::{address, theme};
use leptos::ev;
use leptos::prelude::*;

use super::{chips, field, files, kernel, keys, memory, report, tabs, workload};
use crate::app::App;
use crate::form;
use crate::view::Tab;
use crate::{panels, past};

/// What goes into the places that the first screen leaves, in their order; see [`super::page`].
pub(super) type Places = [Built; 6];

/// Makes it, and does what the address asks for.
pub(super) fn rest(app: App, meaning: RwSignal<Option<form::Meaning>>) -> Places {
    meaning.set(Some(form::meaningful));
    app.form.reset();
    app.recipe.set(untrack(|| app.form.json()));
    Effect::new(move |_| app.recipe.set(app.form.json()));
    Effect::new(move |_| {
        if let Some(ask) = app.asked.get() {
            app.asked.set(None);
            untrack(|| app.answer(ask));
        }
    });
    // Effects run once the page is built: from here on it can be used. Measured by the browser test.
    Effect::new(|_| window().performance().map(|p| p.mark("usable")));
    app.open_address();
    past::restore(app);
    past::keep(app);
    let _ = window_event_listener(ev::hashchange, move |_| app.open_address());
    files::open_url(app);
    run_when_quick(app);
    [
        view! {
            {tabs::tabs(app)}
            <div class="actions">{copy_link(app)} {report::button(app)} {theme::button()} {keys::keys(app)}</div>
        }
        .built(),
        view! {
            {chips::chips(app)}
            {run_bar(app)}
        }
        .built(),
        view! {
            {workload::workload_form(app)}
            {memory::memory_form(app)}
        }
        .built(),
        panels::comparison(app),
        panels::tabs(app),
        view! {
            {kernel::place(app)}
            <footer>
                "Everything is computed in this page: nothing is uploaded. Units: MB = 10⁶ bytes, MiB = 2²⁰ bytes."
            </footer>
            {files::drop_anywhere(app)}
        }
        .built(),
    ]
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
                if quick && still && app.view.tab.get_untracked() != Tab::Kernel && untrack(|| app.differs()) {
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
    let changed = yes(move || app.differs());
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
