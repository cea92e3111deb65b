//! Two experiments side by side: what differs in the recipes, and what came out.

use accel_core::curve::Curves;
use accel_core::recipe::Recipe;
use accel_core::run::Outcome;
use accel_core::units::format_bytes;
use accel_ui::built::{Build, Built};
use accel_ui::view::{show_in, table, yes};
use leptos::html::Div;
use leptos::prelude::*;
use serde_json::Value;

use super::metrics::milliseconds;
use crate::app::App;
use crate::engine::Answer;
use crate::past;
use crate::view::Tab;

/// The tab: the pinned experiment beside the one of the form, and the last experiments.
pub(crate) fn compare(app: App) -> Built {
    let place = NodeRef::<Div>::new();
    // The other one is run first where it is not known; its answer is kept when the one of the form comes back.
    let pinned = RwSignal::new(None::<Answer>);
    Effect::new(move |_| {
        let answer = app.engine.answer.get();
        let other = app.other.get().filter(|_| app.view.tab.get() == Tab::Compare);
        let Some(other) = other else { return };
        if pinned.with_untracked(|pinned| pinned.as_ref().is_some_and(|pinned| pinned.recipe == other)) {
            return;
        }
        match app.engine.known(&other) {
            Some(known) => {
                let back = answer.is_some_and(|answer| answer.recipe == other);
                pinned.set(Some(known));
                // It was run for this: on to the one of the form.
                if back && untrack(|| app.form.json()).is_ok_and(|form| form != other) {
                    app.run();
                }
            }
            None if app.engine.phase.with_untracked(|phase| !phase.is_running()) => {
                if let Ok(recipe) = Recipe::from_json("recipe", other.as_bytes()) {
                    app.engine.run(&recipe, None);
                }
            }
            None => {}
        }
    });
    show_in(place, move || {
        let other = app.other.get()?;
        let a = pinned.get().filter(|pinned| pinned.recipe == other)?;
        let b = app.engine.answer.get()?;
        Some(both(&a, &b))
    });
    let swap = move |_| {
        let answer = app.engine.answer.with_untracked(|answer| answer.as_ref().map(|answer| answer.recipe.clone()));
        let other = app.other.get_untracked().and_then(|other| Recipe::from_json("recipe", other.as_bytes()).ok());
        if let Some(other) = other {
            app.other.set(answer);
            app.form.set(&other);
            app.run();
        }
    };
    view! {
        <section class="panel" id="comparison">
            <h2>"Two experiments side by side"</h2>
            <p class="hint">
                "Pin the experiment that is shown as A, then change the form: B is always the newest one."
            </p>
            <div class="bar">
                <button
                    type="button"
                    id="pin"
                    disabled=yes(move || app.engine.answer.with(Option::is_none))
                    on:click=move |_| app.pin()
                >
                    "Pin as A"
                </button>
                <button
                    type="button"
                    class="quiet"
                    id="swap"
                    disabled=yes(move || app.other.with(Option::is_none))
                    on:click=swap
                >
                    "Swap A and B"
                </button>
            </div>
            <div class="stack" node_ref=place></div>
        </section>
        {past::list(app)}
    }
    .built()
}

fn both(a: &Answer, b: &Answer) -> Built {
    let differences = differences(&a.recipe, &b.recipe);
    let differences = match differences.is_empty() {
        true => view! { <p>"The two recipes are the same."</p> }.built(),
        false => table("differences", &["what differs", "A", "B"], differences),
    };
    view! {
        {differences}
        {table(
            "compared",
            &[
                "policy",
                "A: DRAM traffic",
                "B: DRAM traffic",
                "B / A",
                "A: hit rate",
                "B: hit rate",
                "A: time",
                "B: time",
            ],
            policies(&a.outcome, &b.outcome),
        )}
        {curves(&a.outcome, &b.outcome)}
    }
    .built()
}

/// The fields whose values differ, by their paths.
fn differences(a: &str, b: &str) -> Vec<Vec<String>> {
    let parse = |text: &str| serde_json::from_slice::<Value>(text.as_bytes()).unwrap_or_default();
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    flatten("", &parse(a), &mut of_a);
    flatten("", &parse(b), &mut of_b);
    let find = |fields: &[(String, String)], path: &str| {
        fields.iter().find(|(p, _)| p == path).map(|(_, value)| value.clone())
    };
    let mut rows = Vec::new();
    for (path, value) in &of_a {
        let other = find(&of_b, path);
        if other.as_ref() != Some(value) {
            rows.push(vec![path.clone(), value.clone(), other.unwrap_or_else(|| "–".into())]);
        }
    }
    for (path, value) in &of_b {
        if find(&of_a, path).is_none() {
            rows.push(vec![path.clone(), "–".into(), value.clone()]);
        }
    }
    rows
}

fn flatten(path: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, fields);
            }
        }
        other => fields.push((path.to_owned(), other.to_string())),
    }
}

/// A row for each policy of either.
fn policies(a: &Outcome, b: &Outcome) -> Vec<Vec<String>> {
    let mut titles: Vec<String> = a.runs.iter().chain(&b.runs).map(|run| run.policy.title()).collect();
    let mut seen = Vec::new();
    titles.retain(|title| {
        let new = !seen.contains(title);
        seen.push(title.clone());
        new
    });
    let row = |title: String| {
        let runs = [a, b].map(|outcome| outcome.runs.iter().find(|run| run.policy.title() == title));
        let [bytes_a, bytes_b] = runs.map(|run| run.map_or("–".into(), |run| format_bytes(run.miss_bytes)));
        let [rate_a, rate_b] =
            runs.map(|run| run.map_or("–".into(), |run| format!("{:.2} %", 100.0 * run.hit_ratio())));
        let [time_a, time_b] = runs.map(|run| run.and_then(|run| run.time_ms()).map_or("–".into(), milliseconds));
        let ratio = match runs {
            [Some(a), Some(b)] if a.miss_bytes > 0 => format!("{:.3}", b.miss_bytes as f64 / a.miss_bytes as f64),
            _ => "–".into(),
        };
        vec![title, bytes_a, bytes_b, ratio, rate_a, rate_b, time_a, time_b]
    };
    titles.into_iter().map(row).collect()
}

/// Both capacity curves of the policies that both have, where the recipes ask for them.
fn curves(a: &Outcome, b: &Outcome) -> Option<Built> {
    let (a, b) = (a.curve.as_ref()?, b.curve.as_ref()?);
    let smallest = |curves: &Curves, title: &str| {
        let curve = curves.curves.iter().find(|curve| curve.policy.title() == title)?;
        curve.smallest.iter().find(|s| (s.share_of_hits - 0.9).abs() < 1e-9)?.capacity_bytes
    };
    let rows = a.curves.iter().map(|curve| {
        let title = curve.policy.title();
        let bytes = [a, b].map(|curves| smallest(curves, &title).map_or("–".into(), format_bytes));
        std::iter::once(title).chain(bytes).collect()
    });
    Some(table("compared-curves", &["smallest capacity for 90 % of the hits", "A", "B"], rows.collect()))
}
