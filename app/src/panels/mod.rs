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
mod search;
mod server;
mod sweep;
mod traffic;
mod treemap;
mod validation;
mod views;

use std::sync::Arc;

use accel_core::run::Outcome;
use accel_ui::built::{Build as _, Built};
use accel_ui::part::Part;
use accel_ui::run::Phase;
use accel_ui::view::{in_turns, show_in, yes};
use leptos::html::Div;
use leptos::prelude::*;

use crate::app::App;
use crate::engine::Answer;
use crate::view::Tab;
pub(crate) use preview::first_lines;

accel_ui::parts! {
    behind: fn load_behind -> fn(App, &Arc<Outcome>) -> Built = behind;
    tabs: fn load_trace -> Panels = (preview::preview, trace);
    tabs: fn load_scores -> Panels = (server::server, scores);
    tabs: fn load_compare -> fn(App) -> Built = compare::compare;
}

/// What a tab shows: before there is an answer, and of an answer.
type Panels = (fn(App) -> Built, fn(App, Answer) -> Built);

/// All results of the last finished run, in the tabs that show them; `others` is the place of all but the Lab.
pub(crate) fn results(app: App, others: NodeRef<Div>) -> impl IntoView {
    // Results are there once they are shown.
    let state = Signal::derive(move || match app.engine.phase.with(Phase::name) {
        "done" if !app.view.whole.get() => "drawing".to_owned(),
        state => state.to_owned(),
    });
    let first_run = move || app.engine.answer.with(Option::is_none) && app.engine.phase.with(Phase::is_running);
    let stale = yes(move || app.differs());
    view! {
        <section id="results" class:stale=stale aria-label="Results" data-state=state tabindex="-1">
            <p class="hint" hidden=yes(move || !first_run())>
                "The first results are on their way."
            </p>
            <div hidden=hidden(app, Tab::Lab)>{questions::questions(app)}</div>
            {lab(app)}
            <div class="place" node_ref=others></div>
        </section>
    }
}

/// The tabs beside the Lab.
pub(crate) fn tabs(app: App) -> Built {
    view! {
        {tab(app, Tab::Trace, Part::new("The trace", load_trace))}
        {tab(app, Tab::Scores, Part::new("The scores", load_scores))}
    }
    .built()
}

/// The tab that compares two experiments.
pub(crate) fn comparison(app: App) -> Built {
    let shown = app.view.shows(Tab::Compare);
    let part = Part::new("The comparison", load_compare).when(shown);
    let place = NodeRef::<Div>::new();
    show_in(place, move || Some(part.get().map_or_else(|| part.waiting(), |compare| untrack(|| compare(app)))));
    view! { <div class="stack" id="comparison" hidden=yes(move || !shown.get()) node_ref=place></div> }.built()
}

/// The place of a tab. What nobody has looked at is neither loaded nor built.
fn tab(app: App, tab: Tab, part: Part<Panels>) -> Built {
    let seen = Memo::new(move |seen: Option<&bool>| seen == Some(&true) || app.view.tab.get() == tab);
    let part = part.when(seen.into());
    let [before, of_answer] = std::array::from_fn::<_, 2, _>(|_| NodeRef::<Div>::new());
    show_in(before, move || {
        seen.get().then(|| part.get().map_or_else(|| part.waiting(), |(before, _)| untrack(|| before(app))))
    });
    show_in(of_answer, move || {
        let (_, panels) = part.get()?;
        app.engine.answer.get().map(|answer| panels(app, answer))
    });
    view! {
        <div class="stack" hidden=hidden(app, tab)>
            <div class="stack" node_ref=before></div>
            <div class="stack" node_ref=of_answer></div>
        </div>
    }
    .built()
}

fn hidden(app: App, tab: Tab) -> Signal<bool> {
    yes(move || app.view.tab.get() != tab)
}

/// First what was asked, then what stands behind it, whose code comes second.
fn lab(app: App) -> Built {
    let seen = Memo::new(move |seen: Option<&bool>| seen == Some(&true) || app.view.tab.get() == Tab::Lab);
    let shown = move || app.engine.answer.get().filter(|_| seen.get());
    let part = Part::new("What stands behind the answer", load_behind);
    let [first, second] = std::array::from_fn::<_, 2, _>(|_| NodeRef::<Div>::new());
    // Whether what was asked is in the page.
    let asked = RwSignal::new(false);
    show_in(first, move || {
        let outcome = shown()?.outcome;
        // Each panel keeps the outcome for itself.
        let with = |show: fn(App, &Arc<Outcome>) -> Built| -> Box<dyn Fn() -> Built> {
            let outcome = Arc::clone(&outcome);
            Box::new(move || show(app, &outcome))
        };
        app.view.whole.set(false);
        Some(in_turns(vec![with(answer::answer), with(beside)], asked))
    });
    show_in(second, move || {
        let answer = asked.get().then(shown)??;
        part.want();
        Some(part.get().map_or_else(|| part.waiting(), |behind| behind(app, &answer.outcome)))
    });
    view! {
        <div class="stack" hidden=hidden(app, Tab::Lab)>
            <div class="stack" node_ref=first></div>
            <div class="stack" node_ref=second></div>
        </div>
    }
    .built()
}

/// Curves and bars: how policies compare.
fn beside(app: App, outcome: &Arc<Outcome>) -> Built {
    view! { <div class="beside">{curve::curve(app, outcome)} {policies::policies(app, outcome)}</div> }.built()
}

/// What stands behind the answer.
fn behind(app: App, outcome: &Arc<Outcome>) -> Built {
    let with = |show: fn(App, &Arc<Outcome>) -> Built| -> Box<dyn Fn() -> Built> {
        let outcome = Arc::clone(outcome);
        Box::new(move || show(app, &outcome))
    };
    let parts = vec![with(over_time::over_time), with(|app, outcome| answer::details(app, outcome)), with(folds)];
    in_turns(parts, app.view.whole)
}

/// What is shut at first.
fn folds(app: App, outcome: &Arc<Outcome>) -> Built {
    let [why, bounds, timed] = [outcome; 3].map(Arc::clone);
    let device = outcome.runs.iter().find_map(|run| run.physical.as_ref()).map(|physical| {
        let title = format!("Time and energy on the device: {}", physical.device);
        app.view.fold("on-device", title, move || device::device(&timed.runs))
    });
    let bounds = outcome.bounds.is_some().then(|| {
        let shown = move || bounds.bounds.as_ref().map(bounds::bounds);
        app.view.fold("bounds-panel", "How good any policy could be", shown)
    });
    let fits = outcome.model.is_some().then(|| app.view.fold("fit", "Does it fit a device?", move || fit::fit(app)));
    let why = app.view.fold("why", "Why it misses", move || reasons::reasons(app, &why));
    let advice = app.view.fold("advice-panel", "Which design is the best?", move || advice::advice(app));
    let sweep = app.view.fold("sweep-panel", "What if some of it were different?", move || sweep::sweep(app));
    view! {
        <div class="stack">{why} {bounds} {device} {advice} {sweep} {fits} {json::json(app, Arc::clone(outcome))}</div>
    }
    .built()
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
fn scores(app: App, answer: Answer) -> Built {
    [scatter::scatter(app), scores::scores(app, &answer.outcome)].into_iter().collect_view().built()
}
