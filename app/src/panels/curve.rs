//! Misses by capacity, with the capacity of the experiment as a line to drag.

use std::sync::Arc;

use accel_chart::capacity::{Scale, draw, figures, frame, ratio};
use accel_core::curve::{CurvePoint, Curves};
use accel_core::recipe::fields::Field;
use accel_core::run::Outcome;
use accel_core::units::{format_bytes, parse_bytes};
use accel_ui::built::{Build, Built};
use accel_ui::chart::Chart;
use accel_ui::over::{Handle, Over, Point};
use accel_ui::view::{choices, legend_of, show_in, table};
use leptos::html::Div;
use leptos::prelude::*;

use crate::app::{App, Ask};
use crate::engine::Capacities;

/// How misses fall as memory grows.
pub(super) fn curve(app: App, outcome: &Arc<Outcome>) -> Built {
    let titles: Vec<String> = outcome.runs.iter().map(|run| run.policy.title()).collect();
    let place = NodeRef::<Div>::new();
    // Progress alone exchanges nothing.
    let known = Memo::new(move |_| match app.engine.curve.get() {
        Capacities::Known(curves) => Some(ByAddress(curves)),
        _ => None,
    });
    show_in(place, move || known.get().map(|curves| shown(app, curves.0)));
    let waits = move || match app.engine.curve.get() {
        Capacities::Running(share) => format!("Computing the curves: {:.0} %", 100.0 * share),
        Capacities::Failed(error) => error.to_string(),
        Capacities::Unasked => "The curves of this experiment take a while.".to_owned(),
        Capacities::Known(_) => String::new(),
    };
    let unasked = move || app.engine.curve.with(|curve| matches!(curve, Capacities::Unasked | Capacities::Failed(_)));
    view! {
        <section class="panel" id="curves">
            <h2>"How much memory it needs"</h2>
            <ul class="legend">
                {legend_of(titles, app.view.isolated)}<li>
                    <span class="dot bound"></span>
                    "between best known and proven least"
                </li>
            </ul>
            <p class="hint" id="curve-waits">
                {Signal::derive(waits)}
            </p>
            <button
                type="button"
                class="quiet"
                id="ask-curve"
                hidden=accel_ui::view::yes(move || !unasked())
                on:click=move |_| app.asked.set(Some(Ask::Curves))
            >
                "Compute them"
            </button>
            <div node_ref=place></div>
        </section>
    }
    .built()
}

/// The same where it is the same: two of them are not compared point by point.
#[derive(Clone)]
pub(super) struct ByAddress(pub(super) Arc<Curves>);

impl PartialEq for ByAddress {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

fn shown(app: App, curves: Arc<Curves>) -> Built {
    let by_bytes = app.view.by_bytes;
    let rows = curves.curves.iter().map(|curve| {
        let mut row = vec![curve.policy.title()];
        row.push(curve.knee_bytes.map_or("none".into(), format_bytes));
        row.extend(curve.smallest.iter().map(|s| s.capacity_bytes.map_or("–".into(), format_bytes)));
        row
    });
    let rows = rows.collect();
    let mut head = vec!["policy".to_owned(), "knee".to_owned()];
    if let Some(curve) = curves.curves.first() {
        head.extend(curve.smallest.iter().map(|s| format!("{:.0} % of hits", 100.0 * s.share_of_hits)));
    }
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let smallest = table("curve-table", &head, rows);
    let scale = Scale::of(&curves);
    let (drawn, read, exported) = (Arc::clone(&curves), Arc::clone(&curves), curves);
    let draw = move |width| draw(&drawn, by_bytes.get(), &|title| app.view.is_pale(title), width);
    let capacity = app.form.text(Field::Capacity);
    let handle = Handle {
        label: "Capacity of fast memory",
        at: Signal::derive(move || {
            Some(scale.share(parse_bytes("capacity_bytes", &capacity.get()).ok()?)).filter(|s| (0.0..=1.0).contains(s))
        }),
        text: Signal::derive(move || capacity.get()),
        moved: Arc::new(move |share| capacity.set(format_bytes(scale.capacity(share)))),
        dropped: Arc::new(move |()| app.asked.set(Some(Ask::Run))),
    };
    let over = Over {
        frame: Arc::new(frame),
        at: RwSignal::new(None),
        steps: (48, 1),
        read: Arc::new(move |at| reading(&read, scale, by_bytes.get(), at)),
        hint: "Point to read. Drag the line to set the capacity.",
        brushed: None,
        picked: None,
        handle: Some(handle),
    };
    let figures = move || figures(&exported);
    view! {
        <div class="bar">
            <select aria-label="Misses in" on:change:target=move |e| by_bytes.set(e.target().value() == "0")>
                {choices(vec!["bytes missed per byte requested".into(), "misses per access".into()])}
            </select>
        </div>
        {Chart::new("curve-chart", "Miss ratio of each policy by capacity", Arc::new(draw))
            .over(over)
            .rows(Arc::new(figures))
            .view()}
        <details>
            <summary>"Knees, and the smallest capacity for a share of the hits"</summary>
            <p class="hint">
                "The knee is where more memory stops paying. For LRU both are exact from the largest tensor on; otherwise they are among the measured capacities."
            </p>
            {smallest}
        </details>
    }
    .built()
}

/// The measured capacity nearest to a place, and what each policy misses there.
fn reading(curves: &Curves, scale: Scale, by_bytes: bool, at: Point) -> String {
    let Some(first) = curves.curves.first() else { return String::new() };
    let far = |point: &CurvePoint| (scale.share(point.capacity_bytes) - at.x).abs();
    let nearest = (0..first.points.len()).min_by(|a, b| far(&first.points[*a]).total_cmp(&far(&first.points[*b])));
    let Some(nearest) = nearest else { return String::new() };
    let percent = |points: &[CurvePoint]| points.get(nearest).map_or(0.0, |point| 100.0 * ratio(point, by_bytes));
    let each = curves.curves.iter().map(|curve| format!("{} {:.1} %", curve.policy.title(), percent(&curve.points)));
    let bounds = curves.bounds.as_ref().map(|bounds| {
        format!("; best known {:.1} %, proven least {:.1} %", percent(&bounds.upper), percent(&bounds.lower))
    });
    let each: Vec<String> = each.collect();
    let capacity = format_bytes(first.points[nearest].capacity_bytes);
    format!("At {capacity} missed: {}{}", each.join(", "), bounds.unwrap_or_default())
}
