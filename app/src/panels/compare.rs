//! Two experiments side by side: what differs in the recipes, and what came out.

use std::sync::Arc;

use accel_chart::capacity::{HEIGHT, Scale, frame, ratio};
use accel_core::curve::{CurvePoint, Curves};
use accel_core::recipe::Recipe;
use accel_core::run::Outcome;
use accel_core::units::format_bytes;
use accel_ui::built::{Build, Built};
use accel_ui::chart::{Chart, Colour, Failure, HPos, VPos, svg};
use accel_ui::over::{Over, Point};
use accel_ui::view::{SERIES, dot, show_in, table, yes};
use leptos::html::Div;
use leptos::prelude::*;
use serde_json::Value;

use super::curve::ByAddress;
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
    let curves_place = NodeRef::<Div>::new();
    let curves_of = Memo::new(move |_| {
        app.engine.curve.track();
        let a = app.engine.known_curves(&app.other.get()?)?;
        let b = app.engine.known_curves(&app.engine.answer.get()?.recipe)?;
        Some((ByAddress(a), ByAddress(b)))
    });
    show_in(curves_place, move || curves_of.get().map(|(a, b)| curves(app, a.0, b.0)));
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
            <div class="stack" node_ref=curves_place></div>
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
        {bars(&a.outcome, &b.outcome)}
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

/// The titles of the policies of either, each once.
fn titles(a: &Outcome, b: &Outcome) -> Vec<String> {
    let mut titles: Vec<String> = Vec::new();
    for title in a.runs.iter().chain(&b.runs).map(|run| run.policy.title()) {
        if !titles.contains(&title) {
            titles.push(title);
        }
    }
    titles
}

/// A row for each policy of either.
fn policies(a: &Outcome, b: &Outcome) -> Vec<Vec<String>> {
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
    titles(a, b).into_iter().map(row).collect()
}

/// What each policy fetches from DRAM in either, as bars.
fn bars(a: &Outcome, b: &Outcome) -> Built {
    let most = a.runs.iter().chain(&b.runs).map(|run| run.miss_bytes).max().unwrap_or_default().max(1);
    let bar = |name: &'static str, of: &Outcome, title: &str, i: usize| {
        let run = of.runs.iter().find(|run| run.policy.title() == title)?;
        let share = 100.0 * run.miss_bytes as f64 / most as f64;
        let bytes = format_bytes(run.miss_bytes);
        Some(view! {
            <li>
                <span class="name">{name}</span>
                <div class="rank" aria-hidden="true">
                    <i class=format!("s{}", i % SERIES) style:width=format!("{share:.2}%")></i>
                </div>
                <span>{bytes}</span>
            </li>
        })
    };
    let rows = titles(a, b).into_iter().enumerate().map(|(i, title)| {
        let pair = [bar("A", a, &title, i), bar("B", b, &title, i)];
        view! {
            <div>
                <h3>
                    <span class=dot(i)></span>
                    {title}
                </h3>
                <ul class="ranking pairs">{pair.into_iter().flatten().collect_view()}</ul>
            </div>
        }
    });
    view! {
        <h3>"What each policy fetches from DRAM"</h3>
        <div class="fits">{rows.collect_view()}</div>
    }
    .built()
}

/// The capacity curves of both over one axis: those of B are dashed.
fn curves(app: App, a: Arc<Curves>, b: Arc<Curves>) -> Built {
    let smallest = |curves: &Curves, title: &str| {
        let curve = curves.curves.iter().find(|curve| curve.policy.title() == title)?;
        curve.smallest.iter().find(|s| (s.share_of_hits - 0.9).abs() < 1e-9)?.capacity_bytes
    };
    let mut titles: Vec<String> = Vec::new();
    for title in a.curves.iter().chain(&b.curves).map(|curve| curve.policy.title()) {
        if !titles.contains(&title) {
            titles.push(title);
        }
    }
    let rows = titles.iter().map(|title| {
        let bytes = [&a, &b].map(|curves| smallest(curves, title).map_or("–".into(), format_bytes));
        std::iter::once(title.clone()).chain(bytes).collect()
    });
    let smallest = table("compared-curves", &["smallest capacity for 90 % of the hits", "A", "B"], rows.collect());
    let legend = titles.iter().enumerate().map(|(i, title)| {
        view! {
            <li>
                <span class=dot(i)></span>
                {title.clone()}
            </li>
        }
    });
    let legend = legend.collect_view();
    let scale = Scale::of(&a).with(Scale::of(&b));
    let lines: Arc<Vec<Line>> = Arc::new(
        [(&a, 0), (&b, 1)]
            .into_iter()
            .flat_map(|(curves, which)| curves.curves.iter().map(move |curve| (which, curve)))
            .filter_map(|(which, curve)| {
                let title = curve.policy.title();
                let series = titles.iter().position(|known| *known == title)?;
                Some(Line { which, series, title, points: curve.points.clone() })
            })
            .collect(),
    );
    let by_bytes = app.view.by_bytes;
    let (drawn, read) = (Arc::clone(&lines), Arc::clone(&lines));
    let draw = move |width| draw(&drawn, scale, by_bytes.get(), width);
    let over = Over {
        frame: Arc::new(frame),
        at: RwSignal::new(None),
        steps: (48, 1),
        read: Arc::new(move |at| reading(&read, scale, by_bytes.get(), at)),
        hint: "Point to read. Lines of A are whole, those of B dashed.",
        brushed: None,
        picked: None,
        handle: None,
    };
    view! {
        <h3>"How much memory both need"</h3>
        <ul class="legend">{legend}</ul>
        {Chart::new("compared-chart", "Miss ratio of each policy by capacity, in A and in B", Arc::new(draw))
            .over(over)
            .rows(Arc::new(move || figures(&lines)))
            .view()}
        {smallest}
    }
    .built()
}

/// The curve of a policy in A (0) or B (1).
struct Line {
    which: usize,
    series: usize,
    title: String,
    points: Vec<CurvePoint>,
}

impl Line {
    fn name(&self) -> &'static str {
        ["A", "B"][self.which]
    }
}

fn draw(lines: &[Line], scale: Scale, by_bytes: bool, width: u32) -> Result<String, Failure> {
    let frame = frame(width);
    svg(width, HEIGHT, &|canvas| {
        canvas.percentages(&frame, 1.0, 4)?;
        for line in lines {
            let place =
                |point: &CurvePoint| (frame.x(scale.share(point.capacity_bytes)), frame.y(ratio(point, by_bytes)));
            canvas.pair(line.points.iter().map(place).collect(), line.series, line.which == 1)?;
        }
        for (share, position) in [(0.0, HPos::Left), (0.5, HPos::Center), (1.0, HPos::Right)] {
            let at = (frame.x(share), frame.bottom + 4);
            canvas.text(format_bytes(scale.capacity(share)), at, position, VPos::Top)?;
        }
        let middle = ((frame.left + frame.right) / 2, frame.bottom + 18);
        canvas.line(vec![(frame.left, frame.bottom), (frame.right, frame.bottom)], Colour::GRID, 1)?;
        canvas.text("capacity".into(), middle, HPos::Center, VPos::Top)
    })
}

/// What each misses at the measured capacity nearest to a place.
fn reading(lines: &[Line], scale: Scale, by_bytes: bool, at: Point) -> String {
    let far = |point: &CurvePoint| (scale.share(point.capacity_bytes) - at.x).abs();
    let each = lines.iter().filter_map(|line| {
        let point = line.points.iter().min_by(|a, b| far(a).total_cmp(&far(b)))?;
        Some(format!("{} {} {:.1} %", line.name(), line.title, 100.0 * ratio(point, by_bytes)))
    });
    let each: Vec<String> = each.collect();
    format!("At about {} missed: {}", format_bytes(scale.capacity(at.x)), each.join(", "))
}

/// One row for each capacity of each policy of either.
fn figures(lines: &[Line]) -> Vec<Vec<String>> {
    let head = ["experiment", "policy", "capacity_bytes", "miss_ratio", "byte_miss_ratio"].map(str::to_owned);
    let rows = lines.iter().flat_map(|line| {
        line.points.iter().map(|point| {
            let CurvePoint { capacity_bytes, miss_ratio, byte_miss_ratio } = point;
            let numbers = [capacity_bytes.to_string(), miss_ratio.to_string(), byte_miss_ratio.to_string()];
            [line.name().to_owned(), line.title.clone()].into_iter().chain(numbers).collect()
        })
    });
    std::iter::once(head.to_vec()).chain(rows).collect()
}
