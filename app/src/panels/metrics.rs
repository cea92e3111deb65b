//! The metrics of each policy.

use accel_core::explain::{Grade, grades};
use accel_core::run::Outcome;
use accel_core::sim::Report;
use accel_core::sim::timing::Tokens;
use accel_core::units::{format_bytes, format_count};
use accel_ui::built::{Build, Built};
use accel_ui::export;
use accel_ui::view::{dot, show_in};
use leptos::html::Div;
use leptos::prelude::*;

use crate::app::App;

/// A number of a report, where it has one, and its text.
type Value = fn(&Report) -> Option<f64>;
type Show = fn(&Report) -> String;

/// The grade of a report, with a word for a bad one.
type Grading = fn(&Report) -> (Grade, &'static str);

/// A column of the table: its head, what it means, and how it is taken from a report.
struct Column {
    key: &'static str,
    head: &'static str,
    about: &'static str,
    /// The number behind the text; the best run is marked by it.
    value: Value,
    show: Show,
    more_is_better: bool,
    grade: Option<Grading>,
}

/// A time in milliseconds, with their thousands set apart.
pub(super) fn milliseconds(value: f64) -> String {
    let hundredths = (value * 100.0).round() as u64;
    format!("{}.{:02} ms", format_count(hundredths / 100), hundredths % 100)
}

impl Column {
    /// A column whose largest value is the best.
    const fn more(key: &'static str, head: &'static str, about: &'static str, value: Value, show: Show) -> Self {
        Self { key, head, about, value, show, more_is_better: true, grade: None }
    }

    /// A column whose smallest value is the best.
    const fn less(key: &'static str, head: &'static str, about: &'static str, value: Value, show: Show) -> Self {
        Self { more_is_better: false, ..Self::more(key, head, about, value, show) }
    }

    /// The same column with grades.
    const fn graded(self, grade: Grading) -> Self {
        Self { grade: Some(grade), ..self }
    }
}

const COLUMNS: [Column; 15] = [
    Column::more(
        "hit_rate",
        "Hit rate",
        "Hits as a percentage of accesses. Over 80 % is good, under 50 % bad.",
        |r| Some(r.hit_ratio()),
        |r| format!("{:.2} %", 100.0 * r.hit_ratio()),
    )
    .graded(|r| (grades(r).hit_rate, "")),
    Column::more(
        "byte_hit_rate",
        "Byte hit rate",
        "Bytes hit as a percentage of bytes requested: what DRAM does not have to deliver.",
        |r| Some(r.byte_hit_ratio()),
        |r| format!("{:.2} %", 100.0 * r.byte_hit_ratio()),
    ),
    Column::more(
        "hits",
        "Hits",
        "Accesses that found their tensor in fast memory.",
        |r| Some(r.hits as f64),
        |r| format_count(r.hits),
    ),
    Column::less(
        "misses",
        "DRAM accesses",
        "Accesses that did not, and went to DRAM.",
        |r| Some(r.misses as f64),
        |r| format_count(r.misses),
    ),
    Column::less(
        "miss_bytes",
        "DRAM traffic",
        "Bytes that DRAM delivers.",
        |r| Some(r.miss_bytes as f64),
        |r| format_bytes(r.miss_bytes),
    ),
    Column::less(
        "evictions",
        "Evictions",
        "Tensors evicted to make room. More than half as many as accesses is thrashing.",
        |r| Some(r.evictions as f64),
        |r| format_count(r.evictions),
    )
    .graded(|r| (grades(r).evictions, "thrashing")),
    Column::more(
        "gap_closed",
        "Gap closed",
        "How much of the way from LRU to the best schedule known it goes, in misses: 100 % is all of it.",
        |r| r.gap_closed,
        |r| percent(r.gap_closed),
    ),
    Column::less(
        "bypassed",
        "Bypassed",
        "Misses whose tensor was not kept: larger than fast memory, or its own victim.",
        |r| Some(r.bypassed as f64),
        |r| format_count(r.bypassed),
    ),
    Column::less(
        "total_latency_ms",
        "Total latency",
        "0.01 ms per hit; 0.1 ms per MB plus size / 32 GB/s per miss (the prototype's constants). \
         Under 10 ms is good, over 100 ms bad.",
        |r| r.total_latency_ms,
        |r| in_ms(r.total_latency_ms),
    )
    .graded(|r| (grades(r).latency, "")),
    Column::less(
        "bandwidth_wait_ms",
        "Bandwidth wait",
        "The part of the latency that waits for DRAM bandwidth. Under 20 % is good, over 70 % a bottleneck.",
        |r| r.bandwidth_wait_ms,
        |r| in_ms(r.bandwidth_wait_ms),
    )
    .graded(|r| (grades(r).bandwidth, "bottleneck")),
    Column::less(
        "total_ms",
        "Time",
        "From the start until everything is computed and what left fast memory is written back.",
        |r| r.physical.as_ref().map(|timed| timed.total_ms),
        |r| in_ms(r.physical.as_ref().map(|timed| timed.total_ms)),
    ),
    Column::less(
        "stall_ms",
        "Stall",
        "The part of the time in which nothing computes because data is on its way.",
        |r| r.physical.as_ref().map(|timed| timed.stall_ms),
        |r| in_ms(r.physical.as_ref().map(|timed| timed.stall_ms)),
    ),
    Column::less(
        "ttft_ms",
        "Time to first token",
        "Until the first prompts are read.",
        |r| tokens(r).map(|tokens| tokens.ttft_ms),
        |r| in_ms(tokens(r).map(|tokens| tokens.ttft_ms)),
    ),
    Column::less(
        "ms_per_token",
        "Time per token",
        "Of a step of decoding, which gives every running request a token.",
        |r| tokens(r)?.ms_per_token,
        |r| in_ms(tokens(r).and_then(|tokens| tokens.ms_per_token)),
    ),
    Column::more(
        "tokens_per_s",
        "Tokens per second",
        "Of all requests together, while they decode.",
        |r| tokens(r)?.tokens_per_s,
        |r| tokens(r).and_then(|tokens| tokens.tokens_per_s).map_or("–".into(), |rate| format!("{rate:.1}")),
    ),
];

fn tokens(run: &Report) -> Option<&Tokens> {
    run.physical.as_ref()?.tokens.as_ref()
}

fn in_ms(value: Option<f64>) -> String {
    value.map_or("–".into(), milliseconds)
}

fn percent(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{:.1} %", 100.0 * share))
}

/// The policies side by side: one column per policy, so that a phone shows them whole. A click on the name of a row orders
/// the policies by it, the best first; another the other way round; a third as they were.
pub(super) fn metrics(app: App, outcome: &Outcome, capacity_bytes: u64) -> Built {
    let runs = outcome.runs.clone();
    let place = NodeRef::<Div>::new();
    show_in(place, move || Some(sorted(app, &runs, capacity_bytes)));
    let rows = outcome.runs.clone();
    let export = export::menu("metrics", "Metrics by policy", None, std::sync::Arc::new(move || figures(&rows)));
    view! {
        <div node_ref=place></div>
        {export}
    }
    .built()
}

/// The numbers behind the table.
fn figures(runs: &[Report]) -> Vec<Vec<String>> {
    let mut head = vec!["policy".to_owned()];
    head.extend(COLUMNS.iter().map(|column| column.key.to_owned()));
    let row = |run: &Report| {
        let values = COLUMNS.iter().map(|column| (column.value)(run).map_or(String::new(), |value| value.to_string()));
        std::iter::once(run.policy.name()).chain(values).collect()
    };
    std::iter::once(head).chain(runs.iter().map(row)).collect()
}

fn sorted(app: App, all: &[Report], capacity_bytes: u64) -> Built {
    let sort = app.view.sort.get();
    let mut order: Vec<usize> = (0..all.len()).collect();
    if let Some((key, best_first)) = sort
        && let Some(column) = COLUMNS.iter().find(|column| column.key == key)
    {
        let rank =
            |i: &usize| (column.value)(&all[*i]).map_or(f64::INFINITY, |v| if column.more_is_better { -v } else { v });
        order.sort_by(|a, b| if best_first { rank(a).total_cmp(&rank(b)) } else { rank(b).total_cmp(&rank(a)) });
    }
    let runs: Vec<&Report> = order.iter().map(|i| &all[*i]).collect();
    let heads = order
        .iter()
        .map(|i| {
            let (i, run) = (*i, &all[*i]);
            let info = run.policy.info();
            view! {
                <th scope="col" title=info.about>
                    <span class=dot(i)></span>
                    {run.policy.title()}
                </th>
            }
        })
        .collect_view();
    let rows = COLUMNS
        .iter()
        // What nobody counts has no row; a gap is always asked about.
        .filter(|column| column.key == "gap_closed" || runs.iter().any(|run| (column.value)(run).is_some()))
        .map(|column| {
            let best = runs.iter().filter_map(|run| (column.value)(run)).fold(None, |best: Option<f64>, v| {
                Some(best.map_or(v, |b| if column.more_is_better { b.max(v) } else { b.min(v) }))
            });
            let differs = runs.iter().any(|r| (column.value)(r) != best);
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
                        <td
                            class=class
                            class:best=differs && value.is_some() && value == best
                            data-policy=run.policy.name()
                            data-metric=column.key
                            data-value=value.unwrap_or(0.0).to_string()
                        >
                            {(column.show)(run)}
                            {note}
                        </td>
                    }
                })
                .collect_view();
            let key = column.key;
            let turn = move |_| {
                app.view.sort.update(|sort| {
                    *sort = match *sort {
                        Some((sorted, true)) if sorted == key => Some((key, false)),
                        Some((sorted, false)) if sorted == key => None,
                        _ => Some((key, true)),
                    };
                });
            };
            let mark = match sort {
                Some((sorted, best_first)) if sorted == key => {
                    if best_first {
                        " ▸"
                    } else {
                        " ◂"
                    }
                }
                _ => "",
            };
            view! {
                <tr>
                    <th scope="row">
                        <button type="button" class="series" title=column.about on:click=turn>
                            {column.head}
                            {mark}
                        </button>
                    </th>
                    {cells}
                </tr>
            }
        })
        .collect_view();
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label="Metrics by policy">
            <table id="metrics">
                <caption>
                    {format!(
                        "Capacity {} ({} bytes). The best of each row is bold.",
                        format_bytes(capacity_bytes),
                        format_count(capacity_bytes),
                    )}
                </caption>
                <thead>
                    <tr>
                        <th scope="col">"A click on a name sorts"</th>
                        {heads}
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .built()
}
