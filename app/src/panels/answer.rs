//! What it comes to: a sentence and five figures; and behind them, in words and in a table, all that is known.

use std::sync::Arc;

use accel_core::policy::Knows;
use accel_core::run::Outcome;
use accel_core::score::Scorer;
use accel_core::units::{format_bytes, format_count};
use accel_ui::built::{Build, Built};
use accel_ui::view::show_in;
use leptos::html::Div;
use leptos::prelude::*;

use super::cards::cards;
use super::metrics::metrics;
use crate::app::App;
use crate::engine::Capacities;

/// What it comes to, and what the reader should know.
pub(super) fn answer(app: App, outcome: &Arc<Outcome>) -> Built {
    let place = NodeRef::<Div>::new();
    let shown = Arc::clone(outcome);
    // Progress alone exchanges nothing.
    let known = Memo::new(move |_| app.engine.curve.with(|curve| matches!(curve, Capacities::Known(_))));
    show_in(place, move || {
        let curves = match (known.get(), app.engine.curve.get_untracked()) {
            (true, Capacities::Known(curves)) => Some(curves),
            _ => None,
        };
        cards(&shown, curves.as_deref())
    });
    let warnings = outcome.warnings.iter().map(|s| view! { <p class="warning">{s.clone()}</p> }).collect_view();
    view! {
        <section class="panel" id="answer">
            <h2 class="verdict" id="verdict">
                {outcome.headline.clone()}
            </h2>
            <div node_ref=place></div>
            {led_by(outcome)}
            {warnings}
        </section>
    }
    .built()
}

/// What the policies that read scores are led by.
fn led_by(outcome: &Outcome) -> Option<Built> {
    let led = outcome.runs.iter().filter(|run| run.policy.info().knows == Knows::Scores);
    let titles: Vec<String> = led.map(|run| run.policy.title()).collect();
    let who = match outcome.scorer {
        Scorer::Heuristic => "a fixed formula of size, earlier uses and stride",
        Scorer::History => "what came back after how long so far",
        Scorer::Embedded => "a small trained network, which guesses when each tensor is used again",
        Scorer::Local | Scorer::Remote => "a language model, asked when each tensor is used again",
    };
    let verb = if titles.len() == 1 { "is" } else { "are" };
    (!titles.is_empty())
        .then(|| view! { <p class="hint">{format!("{} {verb} led by {who}.", titles.join(" and "))}</p> }.built())
}

/// All of it, in words and in numbers.
pub(super) fn details(app: App, outcome: &Outcome) -> Built {
    let words = outcome.explanation.iter().map(|s| view! { <p>{s.clone()}</p> }).collect_view();
    let summary = &outcome.trace;
    let model = outcome.model.as_ref().map(|m| {
        let size =
            format!(" The model has {} parameters ({})", format_count(m.parameters), format_bytes(m.weight_bytes));
        match m.kv_bytes_per_token {
            0 => format!("{size}."),
            kv => format!("{size}; each token adds {} of KV cache.", format_bytes(kv)),
        }
    });
    view! {
        <section class="panel" id="details">
            <h2>"Every figure"</h2>
            <p class="hint">
                <span id="summary">
                    {format!(
                        "{} accesses to {} tensors, {} requested, {} unique.",
                        format_count(summary.accesses),
                        format_count(summary.tensors),
                        format_bytes(summary.requested_bytes),
                        format_bytes(summary.unique_bytes),
                    )}
                </span>
                {model}
            </p>
            {metrics(app, outcome, outcome.runs.first().map_or(0, |r| r.capacity_bytes))}
            <details>
                <summary>"In words"</summary>
                <div class="words" id="explanation">
                    {words}
                    <p>{outcome.cost.about.clone()}</p>
                </div>
            </details>
        </section>
    }
    .built()
}
