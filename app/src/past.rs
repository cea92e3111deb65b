//! What was done before: the last experiments on this machine, and a draft of the form that survives a reload.

use accel_core::recipe::Recipe;
use accel_ui::built::{Build, Built};
use accel_ui::view::{show_in, yes};
use leptos::html::Ul;
use leptos::prelude::*;
use web_sys::Storage;

use crate::app::{App, Experiment};

/// Where the last experiments and the draft are kept.
const EXPERIMENTS: &str = "accel-experiments";
const DRAFT: &str = "accel-draft";
/// Experiments that are kept.
const KEPT: usize = 50;

fn local() -> Option<Storage> {
    window().local_storage().ok().flatten()
}

fn session() -> Option<Storage> {
    window().session_storage().ok().flatten()
}

fn read<T: serde::de::DeserializeOwned + Default>(storage: Option<Storage>, key: &str) -> T {
    let text = storage.and_then(|storage| storage.get_item(key).ok().flatten());
    text.and_then(|text| serde_json::from_slice(text.as_bytes()).ok()).unwrap_or_default()
}

fn write<T: serde::Serialize>(storage: Option<Storage>, key: &str, value: &T) {
    if let (Some(storage), Ok(text)) = (storage, serde_json::to_string(value)) {
        // A browser without room forgets.
        let _ = storage.set_item(key, &text);
    }
}

/// Keeps what is run from now on, and the form as it is typed.
pub(crate) fn keep(app: App) {
    Effect::new(move |_| {
        let Some(answer) = app.engine.answer.get() else { return };
        // What came with the page was nobody's experiment.
        if !app.engine.ran.get_untracked() {
            return;
        }
        let mut experiments: Vec<Experiment> = read(local(), EXPERIMENTS);
        experiments.retain(|(recipe, _)| *recipe != answer.recipe);
        experiments.insert(0, (answer.recipe, answer.outcome.headline.clone()));
        experiments.truncate(KEPT);
        write(local(), EXPERIMENTS, &experiments);
        app.past.set(experiments);
    });
    app.past.set(read(local(), EXPERIMENTS));
    Effect::new(move |_| {
        // A run changes the address that the draft belongs to.
        app.engine.phase.track();
        write(session(), DRAFT, &(accel_ui::address::fragment(), app.form.draft()));
    });
}

/// Shows the form as it was typed before a reload of the same address.
pub(crate) fn restore(app: App) -> bool {
    let (fragment, draft): (String, Vec<String>) = read(session(), DRAFT);
    let same = !draft.is_empty() && fragment == accel_ui::address::fragment();
    if same {
        app.form.set_draft(&draft);
    }
    same
}

/// The last experiments, each to be opened again or compared with.
pub(crate) fn list(app: App) -> Built {
    let place = NodeRef::<Ul>::new();
    show_in(place, move || {
        let items = app.past.get().into_iter().map(|experiment| item(app, experiment));
        Some(items.collect_view())
    });
    let none = move || app.past.with(Vec::is_empty);
    let forget = move |_| {
        write(local(), EXPERIMENTS, &Vec::<Experiment>::new());
        app.past.set(Vec::new());
    };
    view! {
        <section class="panel" id="past">
            <h2>"The last experiments on this machine"</h2>
            <p class="hint" hidden=yes(move || !none())>
                "None yet: what you run is listed here. It stays in this browser."
            </p>
            <ul class="past" node_ref=place></ul>
            <button type="button" class="quiet" hidden=yes(none) on:click=forget>
                "Forget them"
            </button>
        </section>
    }
    .built()
}

fn item(app: App, (json, headline): Experiment) -> Built {
    let recipe = Recipe::from_json("recipe", json.as_bytes()).ok();
    let title = recipe.as_ref().map_or("of another version".to_owned(), crate::form::title);
    let open = move |_| {
        if let Some(recipe) = &recipe {
            app.form.set(recipe);
            app.run();
        }
    };
    let with = move |_| {
        app.other.set(Some(json.clone()));
        // A form at fault has no address; the comparison stands all the same.
        let _ = app.show_in_address();
    };
    view! {
        <li>
            <b>{title}</b>
            <span>{headline}</span>
            <span class="bar">
                <button type="button" class="quiet" on:click=open>
                    "Open"
                </button>
                <button type="button" class="quiet" on:click=with>
                    "Compare with"
                </button>
            </span>
        </li>
    }
    .built()
}
