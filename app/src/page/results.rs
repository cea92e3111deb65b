//! What came out: words, numbers, charts, scores and the test of the generator.

use std::sync::Arc;
use std::time::Duration;

use accel_core::explain::{Grade, grades};
use accel_core::run::{Order, Outcome};
use accel_core::score::Scorer;
use accel_core::sim::Report;
use accel_core::units::{format_bytes, format_count};
use accel_core::validate::{Fit, Validation};
use leptos::ev::{self, PointerEvent};
use leptos::html::{Div, ElementType, Tbody};
use leptos::mount::mount_to;
use leptos::prelude::*;
use wasm_bindgen::JsCast;

use super::{App, depth, trace, yes};
use crate::chart::{self, Palette};
use crate::engine::{Answer, Phase};
use crate::protocol::Scored;

/// All results of the last finished run.
pub(crate) fn results(app: App) -> impl IntoView {
    let state = Signal::derive(move || {
        let name = app.engine.phase.with(|phase| match phase {
            Phase::Idle => "idle",
            Phase::Running { .. } => "running",
            Phase::Done => "done",
            Phase::Failed(_) => "failed",
        });
        name.to_owned()
    });
    let first_run = move || {
        app.engine.answer.with(Option::is_none) && app.engine.phase.with(|p| matches!(p, Phase::Running { .. }))
    };
    let place = NodeRef::<Div>::new();
    show_in(place, move || app.engine.answer.get().map(|answer| outcomes(app, answer)));
    view! {
        <section id="results" aria-label="Results" data-state=state tabindex="-1">
            <p class="hint" hidden=yes(move || !first_run())>"The first results are on their way."</p>
            <div class="stack" node_ref=place></div>
        </section>
    }
}

/// Shows in `place` what `make` returns, anew whenever a signal that it reads changes.
///
/// A whole tree is exchanged for another: comparing the two, as a view inside a view would, needs code for
/// each element and finds nothing in common.
pub(super) fn show_in<E, V>(place: NodeRef<E>, make: impl Fn() -> Option<V> + 'static)
where
    E: ElementType<Output: JsCast + Clone + Into<web_sys::HtmlElement>> + 'static,
    V: IntoView + 'static,
{
    let shown = StoredValue::new_local(None);
    Effect::new(move |_| {
        let Some(place) = place.get() else { return };
        let view = make();
        // The old tree goes first: its identifiers may come again.
        shown.set_value(None);
        shown.set_value(view.map(|view| mount_to(place.into(), move || view)));
    });
}

fn outcomes(app: App, answer: Answer) -> impl IntoView {
    let outcome = answer.outcome;
    let words = outcome.explanation.iter().map(|s| view! { <p>{s.clone()}</p> }).collect_view();
    let warnings = outcome.warnings.iter().map(|s| view! { <p class="warning">{s.clone()}</p> }).collect_view();
    let summary = outcome.trace;
    let model = outcome.model.as_ref().map(|m| {
        let size =
            format!(" The model has {} parameters ({})", format_count(m.parameters), format_bytes(m.weight_bytes));
        match m.kv_bytes_per_token {
            0 => format!("{size}."),
            kv => format!("{size}; a token adds {} of KV cache.", format_bytes(kv)),
        }
    });
    view! {
        <section class="panel" id="answer">
            <h2>"What happens"</h2>
            <div class="words" id="explanation">{words}</div>
            {warnings}
            <p class="hint">
                <span id="summary">{format!(
                    "{} accesses to {} tensors, {} requested, {} unique.",
                    format_count(summary.accesses),
                    format_count(summary.tensors),
                    format_bytes(summary.requested_bytes),
                    format_bytes(summary.unique_bytes),
                )}</span>
                {model}
            </p>
            {metrics(&outcome, outcome.runs.first().map_or(0, |r| r.capacity_bytes))}
        </section>
        {outcome.bounds.as_ref().map(depth::bounds)}
        {depth::curves(app, Arc::clone(&outcome))}
        {depth::device(&outcome.runs)}
        {hit_rates(app, Arc::clone(&outcome))}
        {occupancy(app, Arc::clone(&outcome))}
        {depth::why(&outcome)}
        {scores(app, Arc::clone(&outcome))}
        {trace::views(app)}
        {trace::realism(app)}
        {validation_panel(outcome.validation.clone())}
        {json(app, outcome)}
    }
}

/// Reads a grade off a report, with a word for a bad one.
type Grading = fn(&Report) -> (Grade, &'static str);

/// A column of the table: its head, what it means, and how it is read off a report.
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

pub(super) fn milliseconds(value: f64) -> String {
    let hundredths = (value * 100.0).round() as u64;
    format!("{}.{:02} ms", format_count(hundredths / 100), hundredths % 100)
}

const COLUMNS: [Column; 10] = [
    Column {
        key: "hit_rate",
        head: "Hit rate",
        about: "Hits in percent of accesses. Over 80 % is good, under 50 % bad.",
        show: |r| format!("{:.2} %", 100.0 * r.hit_ratio()),
        value: Report::hit_ratio,
        more_is_better: true,
        grade: Some(|r| (grades(r).hit_rate, "")),
    },
    Column {
        key: "byte_hit_rate",
        head: "Byte hit rate",
        about: "Bytes hit in percent of bytes requested: what DRAM does not have to deliver.",
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
        about: "Accesses that did not.",
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
        about: "Tensors put out to make room. More than half as many as accesses is thrashing.",
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
        about: "0.01 ms a hit; 0.1 ms per MB plus size / 32 GB/s a miss (the prototype's constants). Under 10 ms is good, over 100 ms bad.",
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

/// The mark of a run's line in the charts.
pub(super) fn dot(run: usize) -> String {
    format!("dot s{}", run % chart::SERIES)
}

/// The policies side by side: one column a policy, so that a phone shows them whole.
fn metrics(outcome: &Outcome, capacity_bytes: u64) -> impl IntoView + use<> {
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
}

/// The width to draw at: that of `place`, in steps, so that dragging a window does not redraw every pixel.
pub(super) fn drawing_width(place: NodeRef<Div>) -> RwSignal<u32> {
    let width = RwSignal::new(0);
    let measure = move || {
        // The results may have made way for others meanwhile.
        if let Some(place) = place.try_get_untracked().flatten() {
            let wide = (place.client_width() / 20 * 20).clamp(0, 1600) as u32;
            if wide != width.get_untracked() {
                width.set(wide);
            }
        }
    };
    // Once when the place is there, as a task of its own for each chart, and whenever the window changes.
    Effect::new(move |_| {
        place.track();
        set_timeout(measure, Duration::ZERO);
    });
    let listener = window_event_listener(ev::resize, move |_| measure());
    on_cleanup(move || listener.remove());
    width
}

/// A chart's SVG, or why there is none.
pub(super) fn drawn<E: std::fmt::Display>(svg: Result<String, E>) -> String {
    svg.unwrap_or_else(|error| format!("<p>The chart could not be drawn: {error}</p>"))
}

fn hit_rates(app: App, outcome: Arc<Outcome>) -> impl IntoView {
    let place = NodeRef::<Div>::new();
    let width = drawing_width(place);
    let legend = outcome
        .runs
        .iter()
        .enumerate()
        .map(|(i, run)| {
            view! { <li><span class=dot(i)></span>{run.policy.info().title}</li> }
        })
        .collect_view();
    let svg = move || match width.get() {
        0 => String::new(),
        width => {
            drawn(chart::hit_rates(&outcome.charts, outcome.trace.accesses, width, &Palette::of(app.theme.dark())))
        }
    };
    view! {
        <section class="panel">
            <h2>"Hit rate over time"</h2>
            <ul class="legend">{legend}</ul>
            <div class="chart" id="hit-rates" node_ref=place role="img" aria-label="Hit rate of each policy over the trace" inner_html=svg></div>
        </section>
    }
}

fn occupancy(app: App, outcome: Arc<Outcome>) -> impl IntoView {
    let place = NodeRef::<Div>::new();
    let width = drawing_width(place);
    let run = RwSignal::new(0usize);
    let grouping = RwSignal::new(0usize);
    let reading = RwSignal::new(String::new());
    let charts = Arc::clone(&outcome);
    let svg = move || match width.get() {
        0 => String::new(),
        width => drawn(chart::heatmap(
            &charts.charts,
            charts.trace.accesses,
            run.get(),
            grouping.get(),
            width,
            &Palette::of(app.theme.dark()),
        )),
    };
    let policies = choices(outcome.runs.iter().map(|r| r.policy.info().title.to_owned()).collect());
    let groupings = choices(outcome.charts.groupings.iter().map(|g| format!("by {}", g.by)).collect());
    let point = move |event: PointerEvent| {
        let Some(place) = place.get_untracked() else { return };
        let frame = place.get_bounding_client_rect();
        let (x, y) = (f64::from(event.client_x()) - frame.left(), f64::from(event.client_y()) - frame.top());
        reading.set(read_cell(&outcome, run.get_untracked(), grouping.get_untracked(), width.get_untracked(), x, y));
    };
    view! {
        <section class="panel">
            <h2>"What is in fast memory when"</h2>
            <div class="bar">
                <select id="heatmap-policy" aria-label="Policy" on:change:target=move |e| run.set(e.target().value().parse().unwrap_or(0))>{policies}</select>
                <select id="heatmap-rows" aria-label="Rows" on:change:target=move |e| grouping.set(e.target().value().parse().unwrap_or(0))>{groupings}</select>
                <span class="ramp" aria-hidden="true">"absent" <i></i> "all resident"</span>
            </div>
            <div class="chart" id="heatmap" node_ref=place role="img" aria-label="Share of each group of tensors that is resident, over the trace"
                on:pointermove=point on:pointerleave=move |_| reading.set(String::new()) inner_html=svg></div>
            <p class="hint reading">{move || match reading.get() {
                text if text.is_empty() => "Point at a cell to read it.".to_owned(),
                text => text,
            }}</p>
        </section>
    }
}

pub(super) fn choices(names: Vec<String>) -> impl IntoView {
    names.into_iter().enumerate().map(|(i, name)| view! { <option value=i.to_string()>{name}</option> }).collect_view()
}

/// The cell of the heatmap at a point of the drawing, in words; empty beside the cells.
fn read_cell(outcome: &Outcome, run: usize, grouping: usize, width: u32, x: f64, y: f64) -> String {
    let charts = &outcome.charts;
    let (Some(timeline), Some(groups)) = (charts.timelines.get(run), charts.groupings.get(grouping)) else {
        return String::new();
    };
    let (across, down) = chart::heatmap_area(width, groups.labels.len());
    if !across.contains(&x) || !down.contains(&y) {
        return String::new();
    }
    let column = ((x - across.start) / (across.end - across.start) * timeline.hits.len() as f64) as usize;
    let row = ((y - down.start) / (down.end - down.start) * groups.labels.len() as f64) as usize;
    let cell = timeline.resident.get(grouping).and_then(|rows| rows.get(row)?.get(column));
    let (Some(resident), Some(label), Some(bytes)) = (cell, groups.labels.get(row), groups.bytes.get(row)) else {
        return String::new();
    };
    let after = ((column as u64 + 1) * charts.accesses_per_column).min(outcome.trace.accesses);
    format!(
        "{label} after access {}: {} of {} resident ({:.0} %).",
        format_count(after),
        format_bytes(*resident),
        format_bytes(*bytes),
        100.0 * *resident as f64 / (*bytes).max(1) as f64
    )
}

/// Rows of the score table shown at once.
const PAGE_ROWS: u64 = 20;

fn scores(app: App, outcome: Arc<Outcome>) -> impl IntoView {
    let order = RwSignal::new(Order::Score);
    let start = RwSignal::new(0u64);
    let accesses = outcome.trace.accesses;
    Effect::new(move |_| app.engine.ask_records(order.get(), start.get(), PAGE_ROWS));
    let row = |r: Scored| {
        let verdict = match r.score {
            s if s < 0.3 => "keep",
            s if s < 0.6 => "moderate",
            _ => "evict first",
        };
        view! {
            <tr>
                <td>{format_count(r.access)}</td>
                <td class="name">{r.tensor}</td>
                <td>{format!("{:.3}", r.size_mb)}</td>
                <td>{r.reuse_distance.to_string()}</td>
                <td>{r.stride.to_string()}</td>
                <td class="name">{r.op}</td>
                <td><meter min="0" max="1" low="0.3" high="0.6" optimum="0" value=r.score.to_string()></meter>{format!(" {:.3}", r.score)}</td>
                <td class="name">{verdict}</td>
            </tr>
        }
    };
    // The worker keeps the accesses of the newest run only: once another has begun, these are gone.
    let gone = move || app.engine.phase.with(|phase| *phase != Phase::Done);
    let rows = NodeRef::<Tbody>::new();
    show_in(rows, move || Some(app.engine.records.get().into_iter().map(row).collect_view()));
    let last_start = (accesses.saturating_sub(1)) / PAGE_ROWS * PAGE_ROWS;
    let range = move || {
        format!(
            "{}–{} of {}",
            format_count(start.get() + 1),
            format_count((start.get() + PAGE_ROWS).min(accesses)),
            format_count(accesses)
        )
    };
    let by = move |which: Order| {
        move |_| {
            order.set(which);
            start.set(0);
        }
    };
    view! {
        <section class="panel">
            <h2>"Eviction scores"</h2>
            <p class="hint">
                {match outcome.scorer {
                    Scorer::Heuristic => "Made by the heuristic: 0.4 size + 0.5 reuse distance + 0.1 stride, each divided by the largest in the trace. ",
                    Scorer::Local | Scorer::Remote => "Made by the server's model, asked for each access how long until the tensor is used again: the mean of its digits over 9. ",
                }}
                "0.0–0.3 keep, 0.3–0.6 moderate, 0.6–1.0 evict first."
            </p>
            <div class="bar">
                <label class="tick"><input type="radio" name="order" disabled=yes(gone) prop:checked=yes(move || order.get() == Order::Score) on:change=by(Order::Score) />"highest first"</label>
                <label class="tick"><input type="radio" name="order" disabled=yes(gone) prop:checked=yes(move || order.get() == Order::Access) on:change=by(Order::Access) />"as the trace runs"</label>
            </div>
            <div class="scroll" tabindex="0" role="region" aria-label="Eviction scores">
                <table id="scores">
                    <thead><tr>
                        <th scope="col">"Access"</th><th scope="col" class="name">"Tensor"</th><th scope="col">"Size MB"</th>
                        <th scope="col" title="Earlier uses of this tensor, as the prototype counts them">"Reuse distance"</th>
                        <th scope="col">"Stride"</th><th scope="col" class="name">"Operation"</th><th scope="col">"Score"</th><th scope="col" class="name">"Reads as"</th>
                    </tr></thead>
                    <tbody node_ref=rows></tbody>
                </table>
            </div>
            <div class="bar">
                <button type="button" class="quiet" disabled=yes(move || gone() || start.get() == 0) on:click=move |_| start.update(|s| *s = s.saturating_sub(PAGE_ROWS))>"Previous"</button>
                <span>{Signal::derive(range)}</span>
                <button type="button" class="quiet" disabled=yes(move || gone() || start.get() >= last_start) on:click=move |_| start.update(|s| *s += PAGE_ROWS)>"Next"</button>
            </div>
            <p class="hint" hidden=yes(move || !gone())>"The accesses behind these results are gone: run again to page through them."</p>
        </section>
    }
}

fn validation_panel(validation: Option<Validation>) -> impl IntoView {
    let body = match validation {
        None => view! {
            <p>"This trace is computed from shapes or read from a file, not drawn by chance: there is no law of its own that it could miss. The synthetic workload is tested here against its generator."</p>
        }
        .into_any(),
        Some(v) => view! {
            <p id="interpretation">{v.interpretation}</p>
            <div class="fits">
                {fit_table("Reuses of a tensor (chi-square)", v.reuse)}
                {fit_table("Sizes (Kolmogorov–Smirnov, exact for a discrete law)", v.size)}
            </div>
        }
        .into_any(),
    };
    view! {
        <section class="panel" id="validation">
            <h2>"Validation"</h2>
            {body}
        </section>
    }
}

fn fit_table(title: &'static str, fit: Fit) -> impl IntoView {
    let p_value = fit.p_value.map_or("too few tensors to tell".to_owned(), |p| format!("p = {p:.4}"));
    let most = fit.observed.iter().map(|o| *o as f64).chain(fit.expected.iter().copied()).fold(1.0, f64::max);
    let rows = fit
        .categories
        .into_iter()
        .zip(fit.observed)
        .zip(fit.expected)
        .map(|((category, observed), expected)| {
            let bar = format!("width:{:.1}%", 100.0 * observed as f64 / most);
            let tick = format!("left:{:.1}%", 100.0 * expected / most);
            view! {
                <tr><th scope="row">{category}</th><td>{format_count(observed)}</td><td>{format!("{expected:.1}")}</td>
                <td class="bars"><i style=bar></i><b style=tick></b></td></tr>
            }
        })
        .collect_view();
    view! {
        <div>
            <h3>{title}</h3>
            <p class="hint">{format!("{}: statistic {:.4}{}, {p_value}.", fit.claim, fit.statistic, fit.degrees_of_freedom.map_or(String::new(), |d| format!(", {d} degrees of freedom")))}</p>
            <table><thead><tr><td></td><th scope="col">"seen"</th><th scope="col">"expected"</th><td></td></tr></thead><tbody>{rows}</tbody></table>
        </div>
    }
}

/// The whole outcome for scripts and reports; written out only when opened.
fn json(app: App, outcome: Arc<Outcome>) -> impl IntoView {
    let open = RwSignal::new(false);
    let recipe = move || app.engine.answer.with(|a| a.as_ref().map(|a| a.recipe.clone()));
    let text = Memo::new(
        move |_| if open.get() { serde_json::to_string(&*outcome).unwrap_or_default() } else { String::new() },
    );
    view! {
        <details class="panel" id="json" on:toggle:target=move |event| open.set(event.target().open())>
            <summary>"Recipe and results as JSON"</summary>
            <p class="hint">"Run the recipe on the command line: accel simulate --recipe FILE"</p>
            <textarea id="recipe-json" readonly rows="12" aria-label="Recipe" prop:value=recipe></textarea>
            <textarea id="outcome-json" readonly rows="6" aria-label="Results" prop:value=text></textarea>
        </details>
    }
}
