//! The trace itself: its distributions, and how it compares with those of real models.

use std::sync::Arc;

use accel_core::error::Error;
use accel_core::trace::views::{Bin, Share, Views};
use accel_core::units::{format_bytes, format_count};
use accel_core::validate::profile::PROFILES;
use accel_core::validate::realism::{Comparison, Realism};
use leptos::html::Div;
use leptos::prelude::*;

use super::App;
use super::depth::table;
use super::results::{drawing_width, drawn, show_in};
use crate::chart::{self, Palette};

/// Draws a chart at a width and in the colours of a theme.
type Draw = Arc<dyn Fn(u32, &Palette) -> String + Send + Sync>;

fn figure(app: App, title: &'static str, id: &'static str, draw: Draw) -> AnyView {
    let place = NodeRef::<Div>::new();
    let width = drawing_width(place);
    let svg = move || match width.get() {
        0 => String::new(),
        width => draw(width, &Palette::of(app.theme.dark())),
    };
    view! {
        <h3>{title}</h3>
        <div class="chart" id=id node_ref=place role="img" aria-label=title inner_html=svg></div>
    }
    .into_any()
}

/// A value of a bin in few letters.
fn short(value: u64, bytes: bool) -> String {
    if bytes {
        return format_bytes(value);
    }
    match value {
        1_000_000.. => format!("{}M", value / 1_000_000),
        10_000.. => format!("{}k", value / 1000),
        _ => value.to_string(),
    }
}

fn histogram(bins: &[Bin], bytes: bool) -> Draw {
    let all = bins.iter().map(|bin| bin.count).sum::<u64>().max(1) as f64;
    let labels: Vec<String> = bins.iter().map(|bin| short(bin.low, bytes)).collect();
    let shares = [bins.iter().map(|bin| bin.count as f64 / all).collect()];
    Arc::new(move |width, palette| drawn(chart::bars(&labels, &shares, width, palette)))
}

fn problem(error: &Error) -> AnyView {
    view! { <p class="error" role="alert">{error.to_string()}</p> }.into_any()
}

/// Distributions of the trace, computed when the panel is opened.
pub(super) fn views(app: App) -> impl IntoView {
    let place = NodeRef::<Div>::new();
    show_in(place, move || {
        app.engine.views.get().map(|answer| match answer {
            Ok(views) => shown(app, &views),
            Err(error) => problem(&error),
        })
    });
    let open = move |is_open: bool| {
        if is_open && app.engine.views.with_untracked(Option::is_none) {
            app.engine.ask_views();
        }
    };
    view! {
        <details class="panel" id="trace-views" on:toggle:target=move |event| open(event.target().open())>
            <summary>"What the trace is like"</summary>
            <div class="stack" node_ref=place></div>
        </details>
    }
}

fn share_rows(shares: impl Iterator<Item = (String, Share)>, requested: f64) -> Vec<Vec<String>> {
    let row = |(name, share): (String, Share)| {
        let part = format!("{:.1} %", 100.0 * share.accessed_bytes as f64 / requested);
        vec![name, format_count(share.tensors), format_bytes(share.bytes), format_count(share.accesses), part]
    };
    shares.map(row).collect()
}

fn shown(app: App, views: &Views) -> AnyView {
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
    let working_set: Draw =
        Arc::new(move |width, palette| drawn(chart::line(&points, [&top, "0", &end], false, width, palette)));
    view! {
        <p class="hint">{format!(
            "{} accesses are first uses. The working set is what {} accesses touch.",
            format_count(views.cold),
            format_count(views.window)
        )}</p>
        {table("trace-kinds", &head, kinds)}
        {figure(app, "Reuse distance in accesses", "chart-reuse", histogram(&views.reuse_distance, false))}
        {figure(app, "Stack distance in tensors", "chart-stack", histogram(&views.stack_distance_tensors, false))}
        {figure(app, "Stack distance in bytes", "chart-stack-bytes", histogram(&views.stack_distance_bytes, true))}
        {figure(app, "Sizes of tensors", "chart-sizes", histogram(&views.sizes, true))}
        {figure(app, "Working set over time", "chart-working-set", working_set)}
        <details><summary>"By layer"</summary>{table("trace-layers", &head, layers)}</details>
    }
    .into_any()
}

/// The trace beside a profile of a real model, or beside another trace.
pub(super) fn realism(app: App) -> impl IntoView {
    let place = NodeRef::<Div>::new();
    show_in(place, move || {
        app.engine.compared.get().map(|answer| match answer {
            Ok(realism) => compared(app, &realism),
            Err(error) => problem(&error),
        })
    });
    let profiles = PROFILES.iter().map(|p| view! { <option value=p.name>{p.title}</option> }).collect_view();
    let ask = move |name: String| {
        if name != "none" {
            app.engine.ask_compared(if name == "file" { String::new() } else { name });
        }
    };
    view! {
        <details class="panel" id="realism">
            <summary>"Is it realistic? Compare with training traces of real models"</summary>
            <div class="field">
                <label for="reference">"Reference"</label>
                <select id="reference" on:change:target=move |event| ask(event.target().value())>
                    <option value="none">"Choose one"</option>
                    {profiles}
                    <option value="file">"The file that was dropped last"</option>
                </select>
            </div>
            <div class="stack" node_ref=place></div>
        </details>
    }
}

fn compared(app: App, realism: &Realism) -> AnyView {
    let all = [("Stack distances", Some(&realism.distances)), ("Sizes", realism.sizes.as_ref())];
    let row = |(name, c): (&str, &Comparison)| {
        vec![
            name.to_owned(),
            format!("{:.3} ({})", c.statistic, c.effect.label()),
            format!("{:.2}", c.shift_log2),
            c.p_value.map_or("too few".to_owned(), |p| format!("{p:.4}")),
            format_count(c.samples),
        ]
    };
    let rows = all.iter().filter_map(|(name, c)| c.map(|c| row((name, c)))).collect();
    let head = ["", "KS distance D", "Doublings apart", "p-value", "Observed"];
    let c = &realism.distances;
    let labels: Vec<String> = c.histogram.iter().map(|bin| short(bin.low, false)).collect();
    let shares = [
        c.histogram.iter().map(|bin| bin.share).collect::<Vec<f64>>(),
        c.histogram.iter().map(|bin| bin.reference_share).collect(),
    ];
    let bars: Draw = Arc::new(move |width, palette| drawn(chart::bars(&labels, &shares, width, palette)));
    let most = c.qq.iter().map(|(a, b)| a.max(*b)).fold(1.0, f64::max);
    // Distances span decades: both axes are logarithmic.
    let log = |value: f64| (1.0 + value).ln() / (1.0 + most).ln();
    let points: Vec<(f64, f64)> = c.qq.iter().map(|(reference, trace)| (log(*reference), log(*trace))).collect();
    let top = short(most as u64, false);
    let end = format!("reference, to {top}");
    let qq: Draw = Arc::new(move |width, palette| drawn(chart::line(&points, [&top, "0", &end], true, width, palette)));
    view! {
        <p id="realism-words">{realism.interpretation.clone()}</p>
        {table("realism-table", &head, rows)}
        <ul class="legend"><li><span class="dot s0"></span>"this trace"</li><li><span class="dot s1"></span>{realism.reference.clone()}</li></ul>
        {figure(app, "Stack distances in tensors", "chart-realism", bars)}
        {figure(app, "Quantiles against quantiles, on logarithmic axes", "chart-qq", qq)}
    }
    .into_any()
}
