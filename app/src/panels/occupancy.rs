//! What is resident when: a heatmap of groups of tensors over the trace.

use std::sync::Arc;

use accel_core::run::Outcome;
use accel_core::units::{format_bytes, format_count};
use accel_ui::built::{Build, Built};
use accel_ui::chart::{Canvas, Colour, Failure, Frame, HPos, LABELS_AND_NAME, RIGHT, TOP, VPos, drawn, svg, width_of};
use accel_ui::view::choices;
use leptos::ev::PointerEvent;
use leptos::html::Div;
use leptos::prelude::*;

use super::axis::TraceAxis;

/// Share of each group of tensors that is resident, for one policy.
pub(super) fn occupancy(outcome: &Arc<Outcome>) -> Built {
    let place = NodeRef::<Div>::new();
    let width = width_of(place);
    let run = RwSignal::new(0usize);
    let grouping = RwSignal::new(0usize);
    let reading = RwSignal::new(String::new());
    let policies = choices(outcome.runs.iter().map(|r| r.policy.title()).collect());
    let groupings = choices(outcome.charts.groupings.iter().map(|g| format!("by {}", g.by)).collect());
    let (charts, outcome) = (Arc::clone(outcome), Arc::clone(outcome));
    let svg = move || drawn(width.get(), &|width| draw(&charts, run.get(), grouping.get(), width));
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
                <select
                    id="heatmap-policy"
                    aria-label="Policy"
                    on:change:target=move |e| run.set(e.target().value().parse().unwrap_or(0))
                >
                    {policies}
                </select>
                <select
                    id="heatmap-rows"
                    aria-label="Rows"
                    on:change:target=move |e| grouping.set(e.target().value().parse().unwrap_or(0))
                >
                    {groupings}
                </select>
                <span class="ramp" aria-hidden="true">
                    "absent"
                    <i></i>
                    "all resident"
                </span>
            </div>
            <div
                class="chart"
                id="heatmap"
                node_ref=place
                role="img"
                aria-label="Share of each group of tensors that is resident, over the trace"
                on:pointermove=point
                on:pointerleave=move |_| reading.set(String::new())
                inner_html=svg
            ></div>
            <p class="hint reading">
                {move || match reading.get() {
                    text if text.is_empty() => "Point at a cell to read it.".to_owned(),
                    text => text,
                }}
            </p>
        </section>
    }
    .built()
}

/// Space for the names of the rows, and the height of a row, in pixels.
const NAMES: i32 = 118;
const ROW_HEIGHT: i32 = 14;

/// Where the cells lie in a drawing of `width` pixels with `rows` rows.
fn cells(width: u32, rows: usize) -> Frame {
    Frame { left: NAMES, right: width as i32 - RIGHT, top: TOP, bottom: TOP + ROW_HEIGHT * rows as i32 }
}

/// Shades of a cell: enough to see, few enough that equal neighbours are drawn as one.
const SHADES: f64 = 24.0;

/// One row per group, one column per stretch of the trace.
fn draw(outcome: &Outcome, run: usize, grouping: usize, width: u32) -> Result<String, Failure> {
    let charts = &outcome.charts;
    let (Some(timeline), Some(groups)) = (charts.timelines.get(run), charts.groupings.get(grouping)) else {
        return Ok(String::new());
    };
    let Some(rows) = timeline.resident.get(grouping) else { return Ok(String::new()) };
    let frame = cells(width, rows.len());
    let columns = timeline.hits.len().max(1);
    let axis = TraceAxis { charts, accesses: outcome.trace.accesses, columns, frame };
    svg(width, (frame.bottom + LABELS_AND_NAME) as u32, &|canvas| {
        for (i, (row, bytes)) in rows.iter().zip(&groups.bytes).enumerate() {
            let top = TOP + ROW_HEIGHT * i as i32;
            let at = (NAMES - 8, top + ROW_HEIGHT / 2);
            canvas.text(groups.labels[i].clone(), at, HPos::Right, VPos::Center)?;
            draw_row(canvas, &axis, top, row, *bytes)?;
        }
        axis.draw_marks(canvas)?;
        axis.draw(canvas)
    })
}

fn draw_row(canvas: &Canvas<'_>, axis: &TraceAxis<'_>, top: i32, row: &[u64], bytes: u64) -> Result<(), Failure> {
    let shade = |column: usize| (SHADES * row[column] as f64 / bytes.max(1) as f64).round();
    let corners = |from, to| [(axis.x(from), top), (axis.x(to), top + ROW_HEIGHT - 1)];
    canvas.rectangle(corners(0, axis.columns), Colour::EMPTY)?;
    let mut start = 0;
    for column in 1..=axis.columns {
        if column == axis.columns || shade(column) != shade(start) {
            let opacity = (shade(start) / SHADES).min(1.0);
            canvas.rectangle(corners(start, column), Colour::FULL.faint(opacity))?;
            start = column;
        }
    }
    Ok(())
}

/// The cell at a point of the drawing, in words; empty beside the cells.
fn read_cell(outcome: &Outcome, run: usize, grouping: usize, width: u32, x: f64, y: f64) -> String {
    let charts = &outcome.charts;
    let (Some(timeline), Some(groups)) = (charts.timelines.get(run), charts.groupings.get(grouping)) else {
        return String::new();
    };
    let Frame { left, right, top, bottom } = cells(width, groups.labels.len());
    // How far the point is from one edge to the other, 0 to 1 where it is on a cell.
    let share = |at: f64, from: i32, to: i32| (at - f64::from(from)) / f64::from(to - from);
    let (across, down) = (share(x, left, right), share(y, top, bottom));
    if !(0.0..1.0).contains(&across) || !(0.0..1.0).contains(&down) {
        return String::new();
    }
    let column = (across * timeline.hits.len() as f64) as usize;
    let row = (down * groups.labels.len() as f64) as usize;
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
