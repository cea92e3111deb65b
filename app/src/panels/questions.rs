//! Questions that come with their experiment: one click runs it.

use accel_core::scenarios::SCENARIOS;
use accel_ui::built::{Build, Built};
use leptos::prelude::*;

use crate::app::{App, Ask};

/// A card for each question, shut after the first own run.
pub(super) fn questions(app: App) -> Built {
    let cards = SCENARIOS
        .iter()
        .enumerate()
        .map(|(i, scenario)| {
            let spark = move || app.sparks.with(|sparks| sparks.get(i).map(|points| spark(points)).unwrap_or_default());
            let ask = move |_| app.asked.set(Some(Ask::Question(i)));
            view! {
                <button type="button" class="question" id=format!("ask-{}", scenario.name) on:click=ask>
                    <span>{scenario.question}</span>
                    <span class="spark" aria-hidden="true" inner_html=spark></span>
                </button>
            }
        })
        .collect_view();
    let own = move || app.engine.answer.with(|answer| answer.is_some()) && app.engine.ran.get();
    view! {
        <details class="panel" id="questions" open=accel_ui::view::yes(move || !own())>
            <summary>"Questions to begin with"</summary>
            <div class="questions">{cards}</div>
        </details>
    }
    .built()
}

/// What is missed as memory grows, from all to nothing, as a small curve.
fn spark(missed: &[u8]) -> String {
    let last = missed.len().saturating_sub(1).max(1);
    // The axis of a drawing points down.
    let points = missed.iter().enumerate().map(|(i, missed)| format!("{},{}", 100 * i / last, 255 - missed));
    let points: Vec<String> = points.collect();
    let points = points.join(" ");
    format!("<svg viewBox=\"0 -8 100 271\" preserveAspectRatio=\"none\"><polyline points=\"{points}\"/></svg>")
}
