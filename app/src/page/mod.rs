//! The page: a form on one side, results on the other, and the way between its tabs.

mod chips;
mod field;
mod files;
mod first;
mod kernel;
mod keys;
mod memory;
mod prices;
mod report;
mod rest;
mod tabs;
mod workload;

use accel_core::recipe::FRAGMENT;
use accel_ui::address;
use accel_ui::part::Part;
use accel_ui::view::yes;
use leptos::html::Div;
use leptos::mount::mount_to;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;

use crate::app::{App, Ask};
use crate::form::Meaning;
use crate::panels;
use crate::view::Tab;

accel_ui::parts! {
    rest: fn load_rest -> fn(App, RwSignal<Option<Meaning>>) -> rest::Places = rest::rest;
}

/// The whole page: the first screen, and places for what comes second.
pub(crate) fn page() -> impl IntoView {
    let fragment = address::fragment();
    let meaning = RwSignal::new(None);
    let app = App::new(Tab::of(&fragment), meaning);
    // The first visit opens on an experiment; the address stays clean until something is chosen.
    first::load(app, fragment.split('&').any(|part| part.starts_with(FRAGMENT)));
    let part = Part::new("The rest of the page", load_rest);
    let places @ [head, bar, fields, comparison, tabs, foot] =
        std::array::from_fn::<_, 6, _>(|_| NodeRef::<Div>::new());
    part.want();
    Effect::new(move |_| {
        let Some(rest) = part.get() else { return };
        for (place, view) in places.into_iter().zip(untrack(|| rest(app, meaning))) {
            if let Some(place) = place.get_untracked() {
                // It stays as long as the page.
                mount_to(place.into(), move || view).forget();
            }
        }
    });

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
            <div class="place" node_ref=head></div>
        </header>
        <section class="runbar" aria-label="The experiment and its run" hidden=kernel>
            {part.waiting()}
            <div class="place" node_ref=bar></div>
        </section>
        <main hidden=yes(move || kernel.get()) class:wide=compare>
            <form
                class="panel"
                class:open=app.view.sheet
                id="experiment"
                aria-label="Experiment"
                on:submit=move |event| {
                    event.prevent_default();
                    app.view.sheet.set(false);
                    app.asked.set(Some(Ask::Run));
                }
            >
                <div class="bar sheet">
                    <button type="submit">"Run"</button>
                    <button type="button" class="quiet" id="close-form" on:click=move |_| app.view.sheet.set(false)>
                        "Close"
                    </button>
                </div>
                <div on:focusin=move |_| app.asked.set(Some(Ask::Start)) node_ref=fields></div>
            </form>
            <div class="stack">
                <div class="place" node_ref=comparison></div>
                {panels::results(app, tabs)}
            </div>
        </main>
        <div class="place" node_ref=foot></div>
    }
}

fn focus_results() {
    let results = document().get_element_by_id("results").and_then(|e| e.dyn_into::<web_sys::HtmlElement>().ok());
    if let Some(results) = results {
        // A browser that refuses to focus still shows them.
        let _ = results.focus();
    }
}
