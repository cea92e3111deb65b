//! What lies behind the numbers: bounds, capacity curves, the device, and why a policy misses.

use std::sync::Arc;

use accel_core::bound::Bounds;
use accel_core::explain::schedule_name;
use accel_core::run::Outcome;
use accel_core::sim::Report;
use accel_core::sim::timing::Timed;
use accel_core::sim::why::Why;
use accel_core::units::{format_bytes, format_count, format_joules};
use leptos::html::Div;
use leptos::prelude::*;

use super::App;
use super::results::{choices, dot, drawing_width, drawn, milliseconds, show_in};
use crate::chart::{self, Palette};

/// A table of text; the first column names its row.
pub(super) fn table(id: &'static str, head: &[&str], rows: Vec<Vec<String>>) -> AnyView {
    let head = head.iter().map(|text| view! { <th scope="col">{(*text).to_owned()}</th> }).collect_view();
    let rows = rows
        .into_iter()
        .map(|row| {
            let mut cells = row.into_iter();
            let name = cells.next();
            let cells = cells.map(|text| view! { <td>{text}</td> }).collect_view();
            view! { <tr><th scope="row">{name}</th>{cells}</tr> }
        })
        .collect_view();
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label=id>
            <table id=id><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>
        </div>
    }
    .into_any()
}

/// Between which figures the best possible schedule lies.
pub(super) fn bounds(bounds: &Bounds) -> AnyView {
    let line = |what: &str, lower: String, upper: String, by: &str| vec![what.into(), lower, upper, schedule_name(by)];
    let Bounds { admission, misses, miss_bytes, total_latency_ms, .. } = bounds;
    let rows = vec![
        line("DRAM accesses", format_count(misses.lower), format_count(misses.upper), &misses.schedule),
        line("DRAM traffic", format_bytes(miss_bytes.lower), format_bytes(miss_bytes.upper), &miss_bytes.schedule),
        line(
            "Total latency",
            milliseconds(total_latency_ms.lower),
            milliseconds(total_latency_ms.upper),
            &total_latency_ms.schedule,
        ),
    ];
    view! {
        <section class="panel">
            <h2>"How good any policy could be"</h2>
            <p class="hint">{format!(
                "With {} admission, no schedule needs less than the first figure, and one is known that needs the second. Whatever the policy, half of the reuses cannot hit below {}.",
                admission.name(),
                format_bytes(bounds.half_of_hits_bytes),
            )}</p>
            {table("bounds-table", &["", "proven at least", "attained", "by"], rows)}
        </section>
    }
    .into_any()
}

/// How misses fall as memory grows.
pub(super) fn curves(app: App, outcome: Arc<Outcome>) -> AnyView {
    let Some(curves) = &outcome.curve else { return ().into_any() };
    let place = NodeRef::<Div>::new();
    let width = drawing_width(place);
    let by_bytes = RwSignal::new(false);
    let legend = curves
        .curves
        .iter()
        .enumerate()
        .map(|(i, curve)| view! { <li><span class=dot(i)></span>{curve.policy.info().title}</li> })
        .collect_view();
    let rows = curves.curves.iter().map(|curve| {
        let mut row = vec![curve.policy.info().title.to_owned()];
        row.push(curve.knee_bytes.map_or("none".into(), format_bytes));
        row.extend(curve.smallest.iter().map(|s| s.capacity_bytes.map_or("–".into(), format_bytes)));
        row
    });
    let rows = rows.collect();
    let mut head = vec!["".to_owned(), "knee".to_owned()];
    if let Some(curve) = curves.curves.first() {
        head.extend(curve.smallest.iter().map(|s| format!("{:.0} % of hits", 100.0 * s.share_of_hits)));
    }
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let smallest = table("curve-table", &head, rows);
    let charts = Arc::clone(&outcome);
    let svg = move || match (width.get(), &charts.curve) {
        (0, _) | (_, None) => String::new(),
        (width, Some(curves)) => drawn(chart::curves(curves, by_bytes.get(), width, &Palette::of(app.theme.dark()))),
    };
    view! {
        <section class="panel" id="curves">
            <h2>"How much memory it needs"</h2>
            <ul class="legend">{legend}<li><span class="dot bound"></span>"best known, and proven least"</li></ul>
            <div class="bar">
                <select aria-label="Misses in" on:change:target=move |e| by_bytes.set(e.target().value() == "1")>
                    {choices(vec!["misses of accesses".into(), "bytes missed of bytes requested".into()])}
                </select>
            </div>
            <div class="chart" id="curve-chart" node_ref=place role="img" aria-label="Miss ratio of each policy by capacity" inner_html=svg></div>
            <p class="hint">"The smallest capacity for a share of all possible hits, and the knee, where more memory stops paying: exact for LRU from the largest tensor on, otherwise among the measured capacities."</p>
            {smallest}
        </section>
    }
    .into_any()
}

fn ms(value: f64) -> String {
    format!("{value:.3} ms")
}

/// Time, traffic and energy on the device.
pub(super) fn device(runs: &[Report]) -> AnyView {
    let timed: Vec<(&str, &Timed)> =
        runs.iter().filter_map(|run| Some((run.policy.info().title, run.physical.as_ref()?))).collect();
    let Some((first_title, first)) = timed.first() else { return ().into_any() };
    let rows = timed.iter().map(|(title, t)| {
        vec![
            (*title).to_owned(),
            ms(t.total_ms),
            ms(t.compute_ms),
            ms(t.stall_ms),
            format_bytes(t.dram_read_bytes),
            format_bytes(t.dram_written_bytes),
            format_bytes(t.dropped_bytes),
            format!("{:.1} GB/s", t.achieved_gb_s),
            format_joules(t.energy.low_j, t.energy.high_j),
        ]
    });
    let head = ["", "total", "compute", "stall", "read", "written", "dropped", "achieved", "energy"];
    let times = table("device-table", &head, rows.collect());
    let levels: Vec<Vec<String>> = timed
        .iter()
        .flat_map(|(title, t)| t.levels.iter().map(move |level| (title, level)))
        .map(|(title, level)| {
            vec![
                format!("{title} over {} ({})", level.name, level.policy.info().title),
                format_bytes(level.capacity_bytes),
                format_count(level.accesses),
                format_count(level.hits),
                format_bytes(level.miss_bytes),
                format_bytes(level.written_bytes),
            ]
        })
        .collect();
    let head = ["level", "capacity", "loads", "hits", "from beneath", "written"];
    let levels = (!levels.is_empty()).then(|| {
        view! {
            <details>
                <summary>"The levels below"</summary>
                {table("levels-table", &head, levels)}
            </details>
        }
    });
    let ledger = first.energy.ledger.iter().map(|item| {
        vec![
            item.what.clone(),
            format!("{:.3e} {}s", item.amount, item.unit),
            format!("{:.2} to {:.2} pJ", item.low_pj, item.high_pj),
            format_joules(item.low_j, item.high_j),
            item.source.clone(),
        ]
    });
    let ledger = table("energy-table", &["", "amount", "each", "energy", "source"], ledger.collect());
    view! {
        <section class="panel" id="device-results">
            <h2>{format!("On the device: {}", first.device)}</h2>
            <p class="hint">"Stall is time in which nothing computes because data is on its way. Dropped are dead activations that need no write-back."</p>
            {times}
            {levels}
            <details>
                <summary>{format!("Energy of {first_title}, line by line")}</summary>
                {ledger}
            </details>
        </section>
    }
    .into_any()
}

/// Why a policy misses; one at a time.
pub(super) fn why(outcome: &Arc<Outcome>) -> AnyView {
    let run = RwSignal::new(0usize);
    let policies = choices(outcome.runs.iter().map(|r| r.policy.info().title.to_owned()).collect());
    let place = NodeRef::<Div>::new();
    let shown = Arc::clone(outcome);
    show_in(place, move || {
        let report = shown.runs.get(run.get())?;
        report.why.as_ref().map(|why| reasons(report, why))
    });
    view! {
        <section class="panel" id="why">
            <h2>"Why it misses"</h2>
            <div class="bar">
                <select id="why-policy" aria-label="Policy" on:change:target=move |e| run.set(e.target().value().parse().unwrap_or(0))>{policies}</select>
            </div>
            <div node_ref=place></div>
        </section>
    }
    .into_any()
}

fn reasons(report: &Report, why: &Why) -> AnyView {
    let kinds = why.kinds.iter().map(|k| {
        vec![
            k.kind.title().to_owned(),
            format_count(k.tensors),
            format_count(k.accesses),
            format_count(k.misses),
            format_bytes(k.miss_bytes),
            format_count(k.evictions),
            format_count(k.evicted_too_early),
        ]
    });
    let kinds = table(
        "kinds-table",
        &["", "tensors", "accesses", "misses", "missed", "evictions", "too early"],
        kinds.collect(),
    );
    let when = |next: Option<u64>| next.map_or("never".into(), format_count);
    let worst = why.worst.iter().map(|e| {
        vec![
            format_count(e.access),
            format!("{} ({})", e.tensor, format_bytes(e.bytes)),
            when(e.next_use),
            format!("{} ({})", e.best_tensor, format_bytes(e.best_bytes)),
            when(e.best_next_use),
            format!("{:.4} ms", e.cost_ms),
        ]
    });
    let head = ["access", "evicted", "needed next", "best victim", "needed next", "cost of the difference"];
    let worst: Vec<Vec<String>> = worst.collect();
    let worst = (!worst.is_empty()).then(|| table("worst-table", &head, worst));
    view! {
        <div>
            <p>{format!(
                "{} evicts {} times; {} of these tensors were used again, and {} choices were as good as the best.",
                report.policy.info().title,
                format_count(report.evictions),
                format_count(why.evicted_too_early),
                format_count(why.best_choices),
            )}</p>
            {kinds}
            <h3>"The worst evictions"</h3>
            <p class="hint">"By size times how much sooner the tensor was needed than the resident needed last. The cost is the time to load the one again less that to load the other."</p>
            {worst}
        </div>
    }
    .into_any()
}
