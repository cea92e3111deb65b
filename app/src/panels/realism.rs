//! How the trace compares with those of real models.

use accel_core::units::format_count;
use accel_core::validate::profile::PROFILES;
use accel_core::validate::realism::{Comparison, Realism};
use accel_ui::built::{Build, Built};
use accel_ui::view::{legend, table};
use leptos::html::Div;
use leptos::prelude::*;

use super::figures::{bars, figure, line, short, show_answer};
use crate::app::App;

/// The trace beside a profile of a real model, or beside another trace.
pub(super) fn realism(app: App) -> Built {
    let place = NodeRef::<Div>::new();
    show_answer(place, app.engine.compared, compared);
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
    .built()
}

fn compared(realism: &Realism) -> Built {
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
    let labels = c.histogram.iter().map(|bin| short(bin.low, false)).collect();
    let shares = c.histogram.iter().map(|bin| bin.share).collect();
    let bars = bars(labels, vec![shares, c.histogram.iter().map(|bin| bin.reference_share).collect()]);
    let most = c.qq.iter().map(|(a, b)| a.max(*b)).fold(1.0, f64::max);
    // Distances span decades: both axes are logarithmic.
    let log = |value: f64| (1.0 + value).ln() / (1.0 + most).ln();
    let points = c.qq.iter().map(|(reference, trace)| (log(*reference), log(*trace))).collect();
    let top = short(most as u64, false);
    let end = format!("reference, to {top}");
    let qq = line(points, top, end, true);
    view! {
        <p id="realism-words">{realism.interpretation.clone()}</p>
        {table("realism-table", &head, rows)}
        <ul class="legend">{legend(vec!["this trace".into(), realism.reference.clone()])}</ul>
        {figure("Stack distances in tensors", "chart-realism", bars)}
        {figure("Quantiles against quantiles, on logarithmic axes", "chart-qq", qq)}
    }
    .built()
}
