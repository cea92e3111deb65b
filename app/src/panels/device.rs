//! Time, traffic and energy on a device.

use accel_core::sim::Report;
use accel_core::sim::timing::Timed;
use accel_core::units::{format_bytes, format_count, format_joules};
use accel_ui::built::{Build, Built};
use accel_ui::view::table;
use leptos::prelude::*;

fn ms(value: f64) -> String {
    format!("{value:.3} ms")
}

/// Time, traffic and energy on the device.
pub(super) fn device(runs: &[Report]) -> Option<Built> {
    let timed: Vec<(String, &Timed)> =
        runs.iter().filter_map(|run| Some((run.policy.title(), run.physical.as_ref()?))).collect();
    let (first_title, first) = timed.first()?;
    let rows = timed.iter().map(|(title, t)| {
        vec![
            title.clone(),
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
    let head = ["policy", "total", "compute", "stall", "read", "written", "dropped", "achieved", "energy"];
    let times = table("device-table", &head, rows.collect());
    let levels: Vec<Vec<String>> = timed
        .iter()
        .flat_map(|(title, t)| t.levels.iter().map(move |level| (title, level)))
        .map(|(title, level)| {
            vec![
                format!("{title} over {} ({})", level.name, level.policy.title()),
                format_bytes(level.capacity_bytes),
                format_count(level.accesses),
                format_count(level.hits),
                format_bytes(level.miss_bytes),
                format_bytes(level.written_bytes),
            ]
        })
        .collect();
    let head = ["level", "capacity", "loads", "hits", "from below", "written"];
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
    let ledger = table("energy-table", &["of", "amount", "each", "energy", "source"], ledger.collect());
    let panel = view! {
        <div id="device-results">
            <p class="hint">
                "Stall is time in which nothing computes because data is on its way. Dropped are dead activations that need no write-back."
            </p>
            {times}
            {levels}
            <details>
                <summary>{format!("Energy of {first_title}, line by line")}</summary>
                {ledger}
            </details>
        </div>
    };
    Some(panel.built())
}
