//! The trace itself: its distributions.

use accel_core::trace::views::{Bin, Share, Views};
use accel_core::units::{format_bytes, format_count};
use accel_ui::built::{Build, Built};
use accel_ui::chart::Draw;
use accel_ui::view::table;
use leptos::html::Div;
use leptos::prelude::*;

use super::figures::{bars, figure, line, short, show_answer};
use crate::app::App;

/// Distributions of the trace, computed when the panel is opened.
pub(super) fn views(app: App) -> Built {
    let place = NodeRef::<Div>::new();
    show_answer(place, app.engine.views, shown);
    let open = move |is_open: bool| {
        if is_open && app.engine.views.with_untracked(|views| !matches!(views, Some(Ok(_)))) {
            app.engine.ask_views();
        }
    };
    view! {
        <details class="panel" id="trace-views" on:toggle:target=move |event| open(event.target().open())>
            <summary>"What the trace is like"</summary>
            <div class="stack" node_ref=place></div>
        </details>
    }
    .built()
}

/// The distribution of what is counted in `bins`.
fn histogram(bins: &[Bin], bytes: bool) -> Draw {
    let all = bins.iter().map(|bin| bin.count).sum::<u64>().max(1) as f64;
    let labels = bins.iter().map(|bin| short(bin.low, bytes)).collect();
    bars(labels, vec![bins.iter().map(|bin| bin.count as f64 / all).collect()])
}

fn share_rows(shares: impl Iterator<Item = (String, Share)>, requested: f64) -> Vec<Vec<String>> {
    let row = |(name, share): (String, Share)| {
        let part = format!("{:.1} %", 100.0 * share.accessed_bytes as f64 / requested);
        vec![name, format_count(share.tensors), format_bytes(share.bytes), format_count(share.accesses), part]
    };
    shares.map(row).collect()
}

fn shown(views: &Views) -> Built {
    let requested = views.kinds.iter().map(|(_, share)| share.accessed_bytes).sum::<u64>().max(1) as f64;
    let head = ["", "Tensors", "Bytes", "Accesses", "Of the bytes requested"];
    let kinds = share_rows(views.kinds.iter().map(|(kind, share)| (kind.title().to_owned(), *share)), requested);
    let layer = |(layer, share): &(Option<u32>, Share)| {
        (layer.map_or("no layer".to_owned(), |layer| format!("layer {layer}")), *share)
    };
    let layers = share_rows(views.layers.iter().map(layer), requested);
    let most = views.working_set.iter().map(|point| point.bytes).max().unwrap_or(0).max(1);
    let last = views.working_set.last().map_or(1, |point| point.at).max(1);
    let points: Vec<(f64, f64)> = views
        .working_set
        .iter()
        .map(|point| (point.at as f64 / last as f64, point.bytes as f64 / most as f64))
        .collect();
    let (top, end) = (format_bytes(most), format!("access {}", format_count(last)));
    let working_set = line(points, top, end, false);
    view! {
        <p class="hint">
            {format!(
                "{} accesses are first uses. The working set is what {} accesses touch.",
                format_count(views.cold),
                format_count(views.window),
            )}
        </p>
        {table("trace-kinds", &head, kinds)}
        {figure("Reuse distance in accesses", "chart-reuse", histogram(&views.reuse_distance, false))}
        {figure("Stack distance in tensors", "chart-stack", histogram(&views.stack_distance_tensors, false))}
        {figure("Stack distance in bytes", "chart-stack-bytes", histogram(&views.stack_distance_bytes, true))}
        {figure("Sizes of tensors", "chart-sizes", histogram(&views.sizes, true))}
        {figure("Working set over time", "chart-working-set", working_set)}
        <details>
            <summary>"By layer"</summary>
            {table("trace-layers", &head, layers)}
        </details>
    }
    .built()
}
