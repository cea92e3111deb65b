//! The page: a form on one side, results on the other.

mod depth;
mod field;
mod files;
mod kernel;
mod memory;
mod results;
mod trace;
mod workload;

use std::time::Duration;

use accel_core::error::Error;
use accel_core::recipe::Recipe;
use leptos::ev;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast as _;
use wasm_bindgen_futures::JsFuture;

use crate::engine::{Engine, Phase};
use crate::form::{Form, recipe_from_address, show_in_address};
use crate::theme::Theme;

/// What every part of the page may use.
#[derive(Clone, Copy)]
pub(crate) struct App {
    pub(crate) form: Form,
    pub(crate) engine: Engine,
    /// The recipe that the form stands for, as JSON, or what is wrong with it.
    pub(crate) recipe: RwSignal<Result<String, Error>>,
    /// Dark or light.
    pub(crate) theme: Theme,
    /// Whether the Kernel page is shown.
    pub(crate) kernel: RwSignal<bool>,
    /// Number of the newest file given to the page.
    pub(crate) files: StoredValue<u32>,
    /// What went wrong outside the form: an unreadable link, a refused file.
    pub(crate) notice: RwSignal<Option<String>>,
}

impl App {
    /// Runs what the form says; a bad field is shown where it stands.
    pub(crate) fn run(self) {
        self.notice.set(None);
        // Read afresh: the form may have changed a moment ago.
        if let Ok(recipe) = untrack(|| self.form.recipe()) {
            if let Err(error) = show_in_address(&recipe) {
                self.notice.set(Some(error.to_string()));
            }
            let scorer = untrack(|| self.form.scorer(&recipe));
            self.engine.run(&recipe, scorer);
        }
    }

    /// Shows and runs the recipe of the address, if there is one.
    fn open_address(self) {
        match recipe_from_address() {
            Some(Ok(recipe)) => {
                self.form.set(&recipe);
                self.run();
            }
            Some(Err(error)) => self.notice.set(Some(format!("The link cannot be opened: {error}"))),
            None => {}
        }
    }
}

/// A condition as a signal: all conditions of the page then share one piece of code.
pub(crate) fn yes(condition: impl Fn() -> bool + Send + Sync + 'static) -> Signal<bool> {
    Signal::derive(condition)
}

/// The whole page.
pub(crate) fn page() -> impl IntoView {
    let theme = Theme::new();
    let form = Form::new(&Recipe::default());
    let app = App {
        form,
        engine: Engine::new(),
        recipe: RwSignal::new(untrack(|| form.json())),
        theme,
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
        <a class="skip" href="#results" on:click=|event| { event.prevent_default(); focus_results(); }>"Skip to the results"</a>
        <header class="top">
            <div>
                <h1>"Accelerator Optimization Copilot"</h1>
                <p>"What should stay in fast memory, how much of it does your model need, and which policy should decide?"</p>
            </div>
            <div class="actions">
                {kernel::links(app.kernel)}
                {copy_link(app)}
                <button type="button" class="quiet" on:click=move |_| theme.toggle()>{Signal::derive(move || if theme.dark() { "Light theme" } else { "Dark theme" }.to_owned())}
                </button>
            </div>
        </header>
        <main hidden=yes(move || app.kernel.get())>
            <form class="panel" aria-label="Experiment" on:submit=move |event| { event.prevent_default(); app.run(); }>
                {workload::workload_form(app)}
                {memory::memory_form(app)}
                {run_bar(app)}
            </form>
            {results::results(app)}
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
    let label = RwSignal::new("Copy link");
    let click = move |_| {
        // The Kernel page keeps the address in step by itself.
        if !app.kernel.get_untracked() {
            let Ok(recipe) = untrack(|| app.form.recipe()) else { return };
            if let Err(error) = show_in_address(&recipe) {
                return app.notice.set(Some(error.to_string()));
            }
        }
        spawn_local(async move {
            let link = window().location().href().unwrap_or_default();
            // Browsers refuse the clipboard to pages served without encryption from other machines.
            let secure = window().is_secure_context();
            let copied = secure && JsFuture::from(window().navigator().clipboard().write_text(&link)).await.is_ok();
            label.set(if copied { "Link copied" } else { "Link is in the address bar" });
            set_timeout(move || label.set("Copy link"), Duration::from_secs(3));
        });
    };
    let bad = yes(move || !app.kernel.get() && app.recipe.with(Result::is_err));
    view! {
        <button type="button" class="quiet" disabled=bad on:click=click title="A link that reopens this experiment with the same numbers">
            {label}
        </button>
    }
}

/// Run, Cancel, progress, and what went wrong.
fn run_bar(app: App) -> impl IntoView {
    let running = move || app.engine.phase.with(|phase| matches!(phase, Phase::Running { .. }));
    let bad = yes(move || app.recipe.with(Result::is_err));
    let changed = move || {
        let shown = app.engine.answer.with(|a| a.as_ref().map(|a| a.recipe.clone()));
        !running() && app.recipe.with(|r| r.as_ref().is_ok_and(|r| shown.is_some_and(|shown| shown != *r)))
    };
    view! {
        <div class="run">
            <button type="submit" id="run" disabled=bad>"Run"</button>
            <button type="button" id="cancel" class="quiet" disabled=yes(move || !running()) on:click=move |_| app.engine.cancel()>
                "Cancel"
            </button>
            {progress(app)}
        </div>
        <p class="hint" id="stale" hidden=yes(move || !changed())>"The results are those of the last run. Press Run for these settings."</p>
        {form_error(app)}
    }
}

fn progress(app: App) -> impl IntoView {
    let idle = yes(move || app.engine.phase.with(|phase| !matches!(phase, Phase::Running { .. })));
    // Until the trace is made nobody knows how much there is to do: a bar without a value says so.
    let share = move || {
        app.engine.phase.with(|phase| match phase {
            Phase::Running { done, total, .. } if *total > 0 => Some((*done as f64 / *total as f64).to_string()),
            _ => None,
        })
    };
    let status = move || {
        app.engine.phase.with(|phase| match phase {
            Phase::Running { what, .. } => format!("Running: {what}"),
            Phase::Done => {
                app.engine.answer.with(|a| a.as_ref().map_or(String::new(), |a| format!("Done in {:.0} ms", a.run_ms)))
            }
            Phase::Failed(_) | Phase::Idle => String::new(),
        })
    };
    view! {
        <div class="progress">
            <progress aria-label="Progress" max="1" hidden=idle value=share></progress>
            <span role="status" id="status">{Signal::derive(status)}</span>
        </div>
    }
}

/// Errors that belong to no single field: of the run, of a link, of a file.
fn form_error(app: App) -> impl IntoView {
    let message = move || {
        let of_run = app.engine.phase.with(|phase| match phase {
            Phase::Failed(Error::Cancelled) => Some("The run was cancelled.".to_owned()),
            Phase::Failed(error) => Some(error.to_string()),
            _ => None,
        });
        let of_form = app.recipe.with(|r| r.as_ref().err().filter(|e| !field::has_a_place(e)).map(ToString::to_string));
        app.notice.get().or(of_form).or(of_run).unwrap_or_default()
    };
    view! {
        <div role="alert" id="error" class="error">{Signal::derive(message)}</div>
    }
}
