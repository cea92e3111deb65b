//! Questions that come with their experiment: one click runs it.

use accel_core::scenarios::SCENARIOS;
use accel_ui::built::{Build, Built};
use leptos::prelude::*;

use crate::app::App;

/// A card for each question, shut after the first own run.
pub(super) fn questions(app: App) -> Built {
    let cards = SCENARIOS
        .iter()
        .map(|scenario| {
            let ask = move |_| {
                app.form.set(&scenario.recipe());
                app.run();
            };
            view! {
                <button type="button" class="question" id=format!("ask-{}", scenario.name) on:click=ask>
                    {scenario.question}
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
