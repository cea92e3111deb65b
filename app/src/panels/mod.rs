//! What came out: one file per panel, with its chart beside it.
//!
//! Beneath the panels stand [`figures`] (small charts of the trace) and [`axis`] (charts over the trace).

mod advice;
mod answer;
mod axis;
mod bounds;
mod cards;
pub(crate) mod compare;
mod curve;
mod device;
mod figures;
mod fit;
mod json;
mod metrics;
mod multiples;
mod occupancy;
mod over_time;
mod policies;
mod preview;
mod questions;
mod realism;
mod reasons;
mod save;
mod scatter;
mod scores;
mod server;
mod traffic;
mod treemap;
mod validation;
mod views;

use std::sync::Arc;

use accel_core::run::Outcome;
use accel_ui::built::{Build as _, Built};
use accel_ui::run::Phase;
use accel_ui::view::{in_turns, show_in, yes};
use leptos::html::Div;
use leptos::prelude::*;

use crate::app::App;
use crate::engine::Answer;
use crate::view::Tab;
pub(crate) use preview::first_lines;

/// All results of the last finished run, in the tabs that show them.
pub(crate) fn results(app: App, stale: Signal<bool>) -> impl IntoView {
    // Results are there once they are shown.
    let state = Signal::derive(move || match app.engine.phase.with(Phase::name) {
        "done" if !app.view.whole.get() => "drawing".to_owned(),
        state => state.to_owned(),
    });
    let first_run = move || app.engine.answer.with(Option::is_none) && app.engine.phase.with(Phase::is_running);
    let place = |tab: Tab, show: fn(App, Answer) -> Built| {
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
            <div hidden=hidden(app, Tab::Scores)>{server::server(app)}</div>
            {place(Tab::Scores, of_scores)}
        </section>
    }
}

fn hidden(app: App, tab: Tab) -> Signal<bool> {
    yes(move || app.view.tab.get() != tab)
}

/// First what was asked, then what stands behind it.
fn lab(app: App, answer: Answer) -> Built {
    let outcome = answer.outcome;
    // Each panel keeps the outcome for itself.
    let with = move |show: fn(App, &Arc<Outcome>) -> Built| -> Box<dyn Fn() -> Built> {
        let outcome = Arc::clone(&outcome);
        Box::new(move || show(app, &outcome))
    };
    let beside = |app: App, outcome: &Arc<Outcome>| {
        view! { <div class="beside">{curve::curve(app, outcome)} {policies::policies(app, outcome)}</div> }.built()
    };
    let folds = |app: App, outcome: &Arc<Outcome>| {
        let [why, bounds, timed] = [outcome; 3].map(Arc::clone);
        let device = outcome.runs.iter().find_map(|run| run.physical.as_ref()).map(|physical| {
            let title = format!("Time and energy on the device: {}", physical.device);
            app.view.fold("on-device", title, move || device::device(&timed.runs))
        });
        let bounds = outcome.bounds.is_some().then(|| {
            let shown = move || bounds.bounds.as_ref().map(bounds::bounds);
            app.view.fold("bounds-panel", "How good any policy could be", shown)
        });
        let fits =
            outcome.model.is_some().then(|| app.view.fold("fit", "Does it fit a device?", move || fit::fit(app)));
        let why = app.view.fold("why", "Why it misses", move || reasons::reasons(app, &why));
        let advice = app.view.fold("advice-panel", "Which design is the best?", move || advice::advice(app));
        view! { <div class="stack">{why} {bounds} {device} {advice} {fits} {json::json(app, Arc::clone(outcome))}</div> }.built()
    };
    in_turns(
        vec![
            with(answer::answer),
            with(beside),
            with(over_time::over_time),
            with(|app, outcome| answer::details(app, outcome)),
            with(folds),
        ],
        app.view.whole,
    )
}

/// What the trace is like.
fn trace(app: App, answer: Answer) -> Built {
    let panels = [
        views::views(app),
        traffic::traffic(app),
        realism::realism(app),
        save::save(app),
        validation::validation(answer.outcome.validation.as_ref()),
    ];
    panels.into_iter().collect_view().built()
}

/// The scores, and how good they are.
fn of_scores(app: App, answer: Answer) -> Built {
    [scatter::scatter(app), scores::scores(app, &answer.outcome)].into_iter().collect_view().built()
}
