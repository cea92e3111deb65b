//! DRAM traffic of the operators by the size of fast memory.

use accel_core::traffic::Curve;
use accel_core::units::format_bytes;
use accel_ui::built::{Build, Built};
use accel_ui::view::table;
use leptos::html::Div;
use leptos::prelude::*;

use super::figures::{bars, figure, show_answer};
use crate::app::App;

/// What the operators of a model move, computed when the panel is opened.
pub(super) fn traffic(app: App) -> Built {
    let place = NodeRef::<Div>::new();
    show_answer(place, app.engine.traffic, shown);
    let open = move |is_open: bool| {
        if is_open && app.engine.traffic.with_untracked(|traffic| !matches!(traffic, Some(Ok(_)))) {
            app.engine.ask_traffic();
        }
    };
    view! {
        <details class="panel" id="traffic" on:toggle:target=move |event| open(event.target().open())>
            <summary>"What its operators move, by the size of fast memory"</summary>
            <div class="stack" node_ref=place></div>
        </details>
    }
    .built()
}

fn shown(curve: &Curve) -> Built {
    let most = curve.points.iter().map(|point| point.attained_bytes).max().unwrap_or(0).max(1) as f64;
    let shares = |of: fn(&accel_core::traffic::Point) -> u64| {
        curve.points.iter().map(|point| of(point) as f64 / most).collect::<Vec<f64>>()
    };
    let labels = curve.points.iter().map(|point| format_bytes(point.capacity_bytes)).collect();
    let chart = bars(labels, vec![shares(|point| point.attained_bytes), shares(|point| point.bound_bytes)]);
    let rows = curve.points.iter().map(|point| {
        let bytes = [point.capacity_bytes, point.bound_bytes, point.attained_bytes].map(format_bytes);
        bytes.into_iter().chain([format!("{:.2}", point.ratio)]).collect()
    });
    let rows = rows.collect();
    view! {
        <p class="hint">
            "One operator after the other, each in the tiles and the order that move the least, with nothing kept in between. The second bar is proven: no schedule moves less."
        </p>
        {figure("DRAM traffic, of the most", "chart-traffic", chart)}
        {table("traffic-table", &["Fast memory", "At least", "Attained", "Attained / least"], rows)}
    }
    .built()
}
