//! What came out: one file per panel, with its chart beside it.
//!
//! Beneath the panels stand [`figures`] (small charts of the trace) and [`axis`] (charts over the trace).

mod answer;
mod axis;
mod bounds;
mod cards;
mod curve;
mod device;
mod figures;
mod hit_rates;
mod json;
mod metrics;
mod occupancy;
mod policies;
mod realism;
mod reasons;
mod scores;
mod traffic;
mod validation;
mod views;

use accel_ui::run::Phase;
use accel_ui::view::{show_in, yes};
use leptos::html::Div;
use leptos::prelude::*;

use crate::app::App;
use crate::engine::Answer;

/// All results of the last finished run.
pub(crate) fn results(app: App, stale: Signal<bool>) -> impl IntoView {
    let state = Signal::derive(move || app.engine.phase.with(Phase::name).to_owned());
    let first_run = move || app.engine.answer.with(Option::is_none) && app.engine.phase.with(Phase::is_running);
    let place = NodeRef::<Div>::new();
    show_in(place, move || app.engine.answer.get().map(|answer| panels(app, answer)));
    view! {
        <section id="results" class:stale=stale aria-label="Results" data-state=state tabindex="-1">
            <p class="hint" hidden=yes(move || !first_run())>
                "The first results are on their way."
            </p>
            <div class="stack" node_ref=place></div>
        </section>
    }
}

/// Every panel, in the order in which they are shown: first what was asked, then what stands behind it.
fn panels(app: App, answer: Answer) -> impl IntoView {
    let outcome = answer.outcome;
    view! {
        {answer::answer(&outcome)}
        <div class="beside">{curve::curve(app, &outcome)} {policies::policies(app, &outcome)}</div>
        {hit_rates::hit_rates(app, &outcome)}
        {occupancy::occupancy(&outcome)}
        {answer::details(&outcome)}
        {outcome.bounds.as_ref().map(bounds::bounds)}
        {device::device(&outcome.runs)}
        {reasons::reasons(&outcome)}
        {scores::scores(app, &outcome)}
        {traffic::traffic(app)}
        {views::views(app)}
        {realism::realism(app)}
        {validation::validation(outcome.validation.as_ref())}
        {json::json(app, outcome)}
    }
}
