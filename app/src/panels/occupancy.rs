//! What is resident when: a heatmap of groups of tensors over the trace. A click on a cell tells what happened in it.

use std::sync::Arc;

use accel_core::run::Outcome;
use accel_core::run::after::Cell;
use accel_core::units::{format_bytes, format_count};
use accel_ui::built::{Build, Built};
use accel_ui::chart::{Canvas, Chart, Colour, Failure, Frame, HPos, LABELS_AND_NAME, RIGHT, TOP, VPos, svg};
use accel_ui::over::{Over, Point};
use accel_ui::view::{options, show_in, table};
use accel_worker::protocol::Place;
use leptos::html::Div;
use leptos::prelude::*;

use super::axis::{Shown, TraceAxis, accesses_of, column_at};
use crate::app::App;
use crate::view::View;

/// Share of each group of tensors that is resident, for one policy.
pub(super) fn occupancy(app: App, outcome: &Arc<Outcome>, shown: Signal<Shown>) -> Built {
    let view = app.view;
    let titles: Vec<String> = outcome.runs.iter().map(|run| run.policy.title()).collect();
    let groupings: Vec<String> = outcome.charts.groupings.iter().map(|grouping| grouping.by.clone()).collect();
    let most_rows = outcome.charts.groupings.iter().map(|grouping| grouping.labels.len()).max().unwrap_or(1);
    let run = Signal::derive({
        let titles = titles.clone();
        move || View::chosen(view.policy, &titles)
    });
    let grouping = Signal::derive({
        let groupings = groupings.clone();
        move || View::chosen(view.rows, &groupings)
    });
    let rows = move |shown: &Shown| shown.charts().groupings.get(grouping.get()).map_or(1, |group| group.labels.len());
    let draw = move |width| shown.with(|shown| draw(shown, run.get(), grouping.get(), width));
    let read = move |at: Point| shown.with(|shown| read_cell(shown, run.get(), grouping.get(), at));
    let picked = move |at: Point| {
        let place = shown.with_untracked(|shown| {
            let column = column_at(at.x, shown.columns());
            let (from, to) = accesses_of(shown.charts(), shown.end, column);
            let row = column_at(at.y, untrack(|| rows(shown)));
            Place { run: run.get_untracked(), grouping: grouping.get_untracked(), row, from, to }
        });
        app.engine.ask_cell(place);
    };
    let over = Over {
        frame: Arc::new(move |width| cells(width, shown.with_untracked(|shown| untrack(|| rows(shown))))),
        at: view.at,
        steps: (shown.with_untracked(Shown::columns), most_rows),
        read: Arc::new(read),
        hint: "Point at a cell to read it; click to see what happened in it.",
        brushed: None,
        picked: Some(Arc::new(picked)),
        handle: None,
    };
    let figures = move || shown.with_untracked(|shown| rows_of(shown, run.get_untracked(), grouping.get_untracked()));
    let place = NodeRef::<Div>::new();
    let labels = Arc::clone(outcome);
    show_in(place, move || {
        let (place, answer) = app.engine.cell.get()?;
        let group = labels.charts.groupings.get(place.grouping)?.labels.get(place.row)?.clone();
        let policy = labels.runs.get(place.run)?.policy.title();
        let heading =
            format!("{group} under {policy}, accesses {} to {}", format_count(place.from), format_count(place.to));
        Some(match answer {
            Ok(cell) => cell_of(heading, &cell),
            Err(error) => view! { <p class="error">{error.to_string()}</p> }.built(),
        })
    });
    let choose = |id: &'static str,
                  label: &'static str,
                  names: Vec<String>,
                  chosen: RwSignal<Option<String>>,
                  prefix: &'static str| {
        let value = RwSignal::new(untrack(|| names.get(View::chosen(chosen, &names)).cloned().unwrap_or_default()));
        let names = names.into_iter().map(|name| (name.clone(), format!("{prefix}{name}"))).collect();
        view! {
            <select
                id=id
                aria-label=label
                on:change:target=move |event| {
                    value.set(event.target().value());
                    chosen.set(Some(event.target().value()));
                }
            >
                {options(value, names)}
            </select>
        }
    };
    view! {
        <h3>"What is in fast memory when"</h3>
        <div class="bar">
            {choose("heatmap-policy", "Policy", titles, view.policy, "")}
            {choose("heatmap-rows", "Rows", groupings, view.rows, "by ")} <span class="ramp" aria-hidden="true">
                "absent"
                <i></i>
                "all resident"
            </span>
        </div>
        {Chart::new("heatmap", "Share of each group of tensors that is resident, over the trace", Arc::new(draw))
            .over(over)
            .rows(Arc::new(figures))
            .view()}
        <div id="cell" node_ref=place></div>
    }
    .built()
}

/// What happened in a cell.
fn cell_of(heading: String, cell: &Cell) -> Built {
    let when = |next: Option<u64>| next.map_or("never again".into(), |next| format!("at {}", format_count(next)));
    let tensors = cell.tensors.iter().map(|(name, bytes, resident)| {
        vec![name.clone(), format_bytes(*bytes), if *resident { "resident" } else { "absent" }.into()]
    });
    let evictions = cell.evictions.iter().map(|(by, eviction)| {
        vec![
            eviction.tensor.clone(),
            format!("access {}, for {by}", format_count(eviction.access)),
            when(eviction.next_use),
            eviction.best_tensor.clone(),
            when(eviction.best_next_use),
        ]
    });
    let (tensors, evictions): (Vec<_>, Vec<_>) = (tensors.collect(), evictions.collect());
    let more = cell.of_tensors.saturating_sub(tensors.len() as u64);
    let more = (more > 0).then(|| format!("and {} smaller ones", format_count(more)));
    let evicted = match evictions.is_empty() {
        true => view! { <p>"None of them was evicted here."</p> }.built(),
        false => {
            table("cell-evictions", &["evicted", "when, and for what", "needed", "best to evict", "needed"], evictions)
        }
    };
    view! {
        <h3>{heading}</h3>
        {table("cell-tensors", &["tensor", "bytes", "at the end"], tensors)}
        <p class="hint">{more}</p>
        {evicted}
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
fn draw(shown: &Shown, run: usize, grouping: usize, width: u32) -> Result<String, Failure> {
    let charts = shown.charts();
    let (Some(timeline), Some(groups)) = (charts.timelines.get(run), charts.groupings.get(grouping)) else {
        return Ok(String::new());
    };
    let Some(rows) = timeline.resident.get(grouping) else { return Ok(String::new()) };
    let frame = cells(width, rows.len());
    let axis = TraceAxis { charts, end: shown.end, columns: shown.columns(), frame };
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

/// The cell at a place, in words.
fn read_cell(shown: &Shown, run: usize, grouping: usize, at: Point) -> String {
    let charts = shown.charts();
    let (Some(timeline), Some(groups)) = (charts.timelines.get(run), charts.groupings.get(grouping)) else {
        return String::new();
    };
    let (column, row) = (column_at(at.x, shown.columns()), column_at(at.y, groups.labels.len()));
    let cell = timeline.resident.get(grouping).and_then(|rows| rows.get(row)?.get(column));
    let (Some(resident), Some(label), Some(bytes)) = (cell, groups.labels.get(row), groups.bytes.get(row)) else {
        return String::new();
    };
    let (_, after) = accesses_of(charts, shown.end, column);
    format!(
        "{label} after access {}: {} of {} resident ({:.0} %).",
        format_count(after),
        format_bytes(*resident),
        format_bytes(*bytes),
        100.0 * *resident as f64 / (*bytes).max(1) as f64
    )
}

/// The bytes behind the heatmap.
fn rows_of(shown: &Shown, run: usize, grouping: usize) -> Vec<Vec<String>> {
    let charts = shown.charts();
    let (Some(timeline), Some(groups)) = (charts.timelines.get(run), charts.groupings.get(grouping)) else {
        return Vec::new();
    };
    let mut head = vec!["first_access".to_owned()];
    head.extend(groups.labels.iter().cloned());
    let resident = timeline.resident.get(grouping).map_or(&[][..], Vec::as_slice);
    let row = |column| {
        let (from, _) = accesses_of(charts, shown.end, column);
        let bytes = resident.iter().map(|row| row.get(column).copied().unwrap_or_default().to_string());
        std::iter::once(from.to_string()).chain(bytes).collect()
    };
    std::iter::once(head).chain((0..shown.columns()).map(row)).collect()
}
