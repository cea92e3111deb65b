//! The Kernel tab: source code, whose page is a module of its own, loaded when it is first opened; or the operators of a
//! model.

use accel_ui::built::Built;
use accel_ui::part::Part;
use accel_ui::view::{show_in, yes};
use accel_ui::{address, module};
use leptos::html::Main;
use leptos::prelude::*;
use leptos::task::spawn_local;

use super::prices;
use crate::app::App;
use crate::view::Tab;

accel_ui::parts! {
    tabs: fn load_prices -> fn(App) -> Built = prices::prices;
}

/// The place of both.
pub(super) fn place(app: App) -> impl IntoView {
    let (tab, priced) = (app.view.shows(Tab::Kernel), app.view.priced);
    if prices::asks(&address::fragment()) {
        priced.set(true);
    }
    let [source, model] = [false, true].map(|of_model| yes(move || tab.get() && priced.get() == of_model));
    let choice = move |of_model: bool, id: &'static str, text: &'static str| {
        let on = yes(move || priced.get() == of_model);
        view! {
            <label class="tab">
                <input type="radio" name="priced" id=id prop:checked=on on:change=move |_| choose(app, of_model) />
                <span>{text}</span>
            </label>
        }
    };
    view! {
        <section class="tabs" id="priced" aria-label="What is priced" hidden=yes(move || !tab.get())>
            {choice(false, "price-source", "Source code")}
            {choice(true, "price-operators", "A model")}
        </section>
        {of_source(source)}
        {of_model(app, model)}
    }
}

/// Shows the operators of a model, or source code again, with the address that it had.
fn choose(app: App, of_model: bool) {
    if of_model {
        app.kernel.set_value(address::fragment());
    } else {
        let before = app.kernel.get_value();
        let before = if prices::asks(&before) { Tab::Kernel.name() } else { &before };
        // Where the browser refuses, the address stays that of the model.
        let _ = address::show(before);
    }
    app.view.priced.set(of_model);
}

/// The place of the module that reads source code.
fn of_source(shown: Signal<bool>) -> impl IntoView {
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

/// The place of the operators of a model, whose code is loaded when they are first wanted.
fn of_model(app: App, shown: Signal<bool>) -> impl IntoView {
    let part = Part::new("The price list", load_prices).when(shown);
    let place = NodeRef::<Main>::new();
    show_in(place, move || Some(part.get().map_or_else(|| part.waiting(), |prices| untrack(|| prices(app)))));
    view! { <main id="prices" hidden=yes(move || !shown.get()) node_ref=place></main> }
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
