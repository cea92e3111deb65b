//! What came out: one file per panel, with its chart beside it.
//!
//! Beneath the panels stand [`figures`] (small charts of the trace) and [`axis`] (charts over the trace).

mod answer;
mod axis;
mod bounds;
mod cards;
pub(crate) mod compare;
mod curve;
mod device;
mod figures;
mod json;
mod metrics;
mod occupancy;
mod over_time;
mod policies;
mod preview;
mod questions;
mod realism;
mod reasons;
mod scatter;
mod scores;
mod traffic;
mod treemap;
mod validation;
mod views;

use std::sync::Arc;

use accel_ui::built::{Build as _, Built};
use accel_ui::run::Phase;
use accel_ui::view::{show_in, yes};
use leptos::html::Div;
use leptos::prelude::*;

use crate::app::App;
use crate::engine::Answer;
use crate::view::Tab;
pub(crate) use preview::first_lines;

/// All results of the last finished run, in the tabs that show them.
pub(crate) fn results(app: App, stale: Signal<bool>) -> impl IntoView {
    let state = Signal::derive(move || app.engine.phase.with(Phase::name).to_owned());
    let first_run = move || app.engine.answer.with(Option::is_none) && app.engine.phase.with(Phase::is_running);
    let place = |tab: Tab, show: fn(App, Answer) -> Vec<Built>| {
        let place = NodeRef::<Div>::new();
        // What nobody has looked at is not built.
        let seen = Memo::new(move |seen: Option<&bool>| seen == Some(&true) || app.view.tab.get() == tab);
        show_in(place, move || app.engine.answer.get().filter(|_| seen.get()).map(|answer| show(app, answer)));
        view! { <div class="stack" hidden=hidden(app, tab) node_ref=place></div> }
    };
    view! {
        <section id="results" class:stale=stale aria-label="Results" data-state=state tabindex="-1">
            <p class="hint" hidden=yes(move || !first_run())>
                "The first results are on their way."
            </p>
            <div hidden=hidden(app, Tab::Lab)>{questions::questions(app)}</div>
            <div hidden=hidden(app, Tab::Trace)>{preview::preview(app)}</div>
            {place(Tab::Lab, lab)}
            {place(Tab::Trace, trace)}
            {place(Tab::Scores, of_scores)}
        </section>
    }
}

fn hidden(app: App, tab: Tab) -> Signal<bool> {
    yes(move || app.view.tab.get() != tab)
}

/// First what was asked, then what stands behind it.
fn lab(app: App, answer: Answer) -> Vec<Built> {
    let (view, outcome) = (app.view, answer.outcome);
    let beside = view! { <div class="beside">{curve::curve(app, &outcome)} {policies::policies(app, &outcome)}</div> };
    let why = Arc::clone(&outcome);
    let mut panels = vec![
        answer::answer(app, &outcome),
        beside.built(),
        over_time::over_time(app, &outcome),
        answer::details(app, &outcome),
        view.fold("why", "Why it misses", move || reasons::reasons(app, &why)),
    ];
    if outcome.bounds.is_some() {
        let outcome = Arc::clone(&outcome);
        let shown = move || outcome.bounds.as_ref().map(bounds::bounds);
        panels.push(view.fold("bounds-panel", "How good any policy could be", shown));
    }
    if let Some(timed) = outcome.runs.iter().find_map(|run| run.physical.as_ref()) {
        let title = format!("Time and energy on the device: {}", timed.device);
        let outcome = Arc::clone(&outcome);
        panels.push(view.fold("on-device", title, move || device::device(&outcome.runs)));
    }
    panels.push(json::json(app, outcome));
    panels
}

/// What the trace is like.
fn trace(app: App, answer: Answer) -> Vec<Built> {
    vec![
        views::views(app),
        traffic::traffic(app),
        realism::realism(app),
        validation::validation(answer.outcome.validation.as_ref()),
    ]
}

/// The scores, and how good they are.
fn of_scores(app: App, answer: Answer) -> Vec<Built> {
    vec![scatter::scatter(app), scores::scores(app, &answer.outcome)]
}
