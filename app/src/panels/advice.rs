//! Which design is the best.

use accel_core::recipe::Recipe;
use accel_core::recommend::{Goal, HEAD};
use accel_ui::built::{Build, Built};
use accel_ui::view::choices;
use accel_worker::protocol::Advice;
use leptos::prelude::*;

use super::search::{controls, result};
use crate::app::App;

/// Asks for the best design, and shows what was found.
pub(super) fn advice(app: App) -> Built {
    let goal = RwSignal::new(Goal::default());
    let search = app.engine.advice;
    let ask = move || app.engine.ask_advice(goal.get_untracked());
    let controls = controls(app, search, ["recommend", "Try them all"], "end-search", "Trying designs", ask);
    let titles = Goal::ALL.iter().map(|goal| goal.title().to_owned()).collect();
    view! {
        <div class="bar">
            <select
                id="goal"
                aria-label="What is to be least"
                on:change:target=move |event| {
                    let chosen = event.target().value().parse::<usize>().ok();
                    goal.set(chosen.and_then(|i| Goal::ALL.get(i).copied()).unwrap_or_default());
                }
            >
                {choices(titles)}
            </select>
            {controls}
        </div>
        <p class="hint">
            "Policies, admission, prefetch depths and tiles at this capacity; for the least capacity, at twelve of them."
        </p>
        {result(search, move |advice| shown(app, advice))}
    }
    .built()
}

fn shown(app: App, advice: &Advice) -> Built {
    let head = HEAD.iter().map(|name| view! { <th scope="col">{*name}</th> }).collect_view();
    let cells = |cells: &[String]| cells.iter().map(|text| view! { <td>{text.clone()}</td> }).collect_view();
    let rows = advice
        .designs
        .iter()
        .map(|(texts, recipe)| {
            let recipe = recipe.clone();
            let open = move |_| {
                if let Ok(recipe) = Recipe::from_json("recipe", recipe.as_bytes()) {
                    app.form.set(&recipe);
                    app.run();
                }
            };
            view! {
                <tr>
                    {cells(texts)} <td>
                        <button type="button" class="quiet" on:click=open>
                            "Run"
                        </button>
                    </td>
                </tr>
            }
        })
        .collect_view();
    let tried = advice.tried.iter().map(|text| view! { <li>{text.clone()}</li> }).collect_view();
    view! {
        <p id="advice">{advice.headline.clone()}</p>
        <div class="scroll" tabindex="0" role="region" aria-label="The best designs">
            <table id="designs">
                <thead>
                    <tr>{head} <td></td></tr>
                </thead>
                <tbody>{rows} <tr>{cells(&advice.baseline)} <td>"as given"</td></tr></tbody>
            </table>
        </div>
        <p>{advice.left.clone()}</p>
        <details>
            <summary>"What was tried"</summary>
            <ul>{tried}</ul>
        </details>
    }
    .built()
}
