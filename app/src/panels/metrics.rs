//! The metrics of each policy.

use accel_core::explain::{Grade, grades};
use accel_core::run::Outcome;
use accel_core::sim::Report;
use accel_core::units::{format_bytes, format_count};
use accel_ui::view::dot;
use leptos::prelude::*;

/// The grade of a report, with a word for a bad one.
type Grading = fn(&Report) -> (Grade, &'static str);

/// A column of the table: its head, what it means, and how it is taken from a report.
struct Column {
    key: &'static str,
    head: &'static str,
    about: &'static str,
    show: fn(&Report) -> String,
    /// The number behind the text; the best run is marked by it.
    value: fn(&Report) -> f64,
    more_is_better: bool,
    grade: Option<Grading>,
}

/// A time in milliseconds, with their thousands set apart.
pub(super) fn milliseconds(value: f64) -> String {
    let hundredths = (value * 100.0).round() as u64;
    format!("{}.{:02} ms", format_count(hundredths / 100), hundredths % 100)
}

const COLUMNS: [Column; 10] = [
    Column {
        key: "hit_rate",
        head: "Hit rate",
        about: "Hits as a percentage of accesses. Over 80 % is good, under 50 % bad.",
        show: |r| format!("{:.2} %", 100.0 * r.hit_ratio()),
        value: Report::hit_ratio,
        more_is_better: true,
        grade: Some(|r| (grades(r).hit_rate, "")),
    },
    Column {
        key: "byte_hit_rate",
        head: "Byte hit rate",
        about: "Bytes hit as a percentage of bytes requested: what DRAM does not have to deliver.",
        show: |r| format!("{:.2} %", 100.0 * r.byte_hit_ratio()),
        value: Report::byte_hit_ratio,
        more_is_better: true,
        grade: None,
    },
    Column {
        key: "hits",
        head: "Hits",
        about: "Accesses that found their tensor in fast memory.",
        show: |r| format_count(r.hits),
        value: |r| r.hits as f64,
        more_is_better: true,
        grade: None,
    },
    Column {
        key: "misses",
        head: "DRAM accesses",
        about: "Accesses that did not, and went to DRAM.",
        show: |r| format_count(r.misses),
        value: |r| r.misses as f64,
        more_is_better: false,
        grade: None,
    },
    Column {
        key: "miss_bytes",
        head: "DRAM traffic",
        about: "Bytes that DRAM delivers.",
        show: |r| format_bytes(r.miss_bytes),
        value: |r| r.miss_bytes as f64,
        more_is_better: false,
        grade: None,
    },
    Column {
        key: "evictions",
        head: "Evictions",
        about: "Tensors evicted to make room. More than half as many as accesses is thrashing.",
        show: |r| format_count(r.evictions),
        value: |r| r.evictions as f64,
        more_is_better: false,
        grade: Some(|r| (grades(r).evictions, "thrashing")),
    },
    Column {
        key: "gap_closed",
        head: "Gap closed",
        about: "How much of the way from LRU to the best schedule known it goes, in misses: 100 % is all of it.",
        show: |r| r.gap_closed.map_or("–".into(), |gap| format!("{:.1} %", 100.0 * gap)),
        value: |r| r.gap_closed.unwrap_or(0.0),
        more_is_better: true,
        grade: None,
    },
    Column {
        key: "bypassed",
        head: "Bypassed",
        about: "Misses whose tensor was not kept: larger than fast memory, or its own victim.",
        show: |r| format_count(r.bypassed),
        value: |r| r.bypassed as f64,
        more_is_better: false,
        grade: None,
    },
    Column {
        key: "total_latency_ms",
        head: "Total latency",
        about: "0.01 ms per hit; 0.1 ms per MB plus size / 32 GB/s per miss (the prototype's constants). Under 10 ms is good, over 100 ms bad.",
        show: |r| milliseconds(r.total_latency_ms),
        value: |r| r.total_latency_ms,
        more_is_better: false,
        grade: Some(|r| (grades(r).latency, "")),
    },
    Column {
        key: "bandwidth_wait_ms",
        head: "Bandwidth wait",
        about: "The part of the latency that waits for DRAM bandwidth. Under 20 % is good, over 70 % a bottleneck.",
        show: |r| milliseconds(r.bandwidth_wait_ms),
        value: |r| r.bandwidth_wait_ms,
        more_is_better: false,
        grade: Some(|r| (grades(r).bandwidth, "bottleneck")),
    },
];

/// The policies side by side: one column per policy, so that a phone shows them whole.
pub(super) fn metrics(outcome: &Outcome, capacity_bytes: u64) -> AnyView {
    let runs = &outcome.runs;
    let heads = runs
        .iter()
        .enumerate()
        .map(|(i, run)| {
            let info = run.policy.info();
            view! { <th scope="col" title=info.about><span class=dot(i)></span>{info.title}</th> }
        })
        .collect_view();
    let rows = COLUMNS
        .iter()
        .map(|column| {
            let best = runs.iter().map(column.value).fold(None, |best: Option<f64>, v| {
                Some(best.map_or(v, |b| if column.more_is_better { b.max(v) } else { b.min(v) }))
            });
            let differs = runs.iter().any(|r| Some((column.value)(r)) != best);
            let cells = runs
                .iter()
                .map(|run| {
                    let (grade, word) = column.grade.map_or((Grade::Fair, ""), |grade| grade(run));
                    let class = match grade {
                        Grade::Good => "good",
                        Grade::Bad => "bad",
                        Grade::Fair => "",
                    };
                    let note = (grade == Grade::Bad && !word.is_empty()).then(|| view! { <small>{word}</small> });
                    let value = (column.value)(run);
                    view! {
                        <td class=class class:best=differs && Some(value) == best
                            data-policy=run.policy.name() data-metric=column.key data-value=value.to_string()>
                            {(column.show)(run)} {note}
                        </td>
                    }
                })
                .collect_view();
            view! { <tr><th scope="row" title=column.about>{column.head}</th>{cells}</tr> }
        })
        .collect_view();
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label="Metrics by policy">
            <table id="metrics">
                <caption>{format!("Capacity {} ({} bytes). The best of each row is bold.", format_bytes(capacity_bytes), format_count(capacity_bytes))}</caption>
                <thead><tr><td></td>{heads}</tr></thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .into_any()
}
