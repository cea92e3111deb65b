//! Many policies: a small chart of the hit rate for each, since lines above one axis could not be told apart.

use std::sync::Arc;

use accel_ui::built::Built;
use accel_ui::chart::{Chart, Colour, Failure, Frame, HPos, VPos, svg};
use accel_ui::over::{Over, Point};
use leptos::prelude::*;

use super::axis::{Shown, accesses_of, column_at};
use crate::app::App;

/// Policies that one axis takes.
pub(super) const FEW: usize = 6;

/// The least width of a small chart, its height and the space for its title, in pixels.
const WIDE: u32 = 170;
const HIGH: i32 = 70;
const TITLE: i32 = 16;

/// Where the small charts lie: how many stand in a row, and in how many rows.
fn grid(width: u32, policies: usize) -> (usize, usize) {
    let across = ((width / WIDE) as usize).clamp(1, policies.max(1));
    (across, policies.div_ceil(across))
}

fn frame(width: u32, policies: usize) -> Frame {
    let (_, rows) = grid(width, policies);
    Frame { left: 0, right: width as i32, top: 0, bottom: rows as i32 * HIGH }
}

/// A small chart for each policy; a click on one looks at that policy alone.
pub(super) fn multiples(app: App, shown: Signal<Shown>) -> Built {
    let policies = shown.with_untracked(|shown| shown.outcome.runs.len());
    // The drawing's width tells which small chart a place is in.
    let drawn_at = StoredValue::new(WIDE);
    let draw = move |width| {
        drawn_at.set_value(width);
        shown.with(|shown| draw(shown, &|title| app.view.is_pale(title), width))
    };
    let which = move |at: Point| {
        let (across, rows) = grid(drawn_at.get_value(), policies);
        let (column, row) = (at.x * across as f64, column_at(at.y, rows));
        let policy = row * across + column_at(at.x, across);
        (policy < policies).then_some((policy, column.fract()))
    };
    let read = move |at: Point| {
        let Some((policy, share)) = which(at) else { return String::new() };
        shown.with(|shown| {
            let column = column_at(share, shown.columns());
            let (from, to) = accesses_of(shown.charts(), shown.end, column);
            let rate = rate(shown, policy, column);
            let title = shown.outcome.runs.get(policy).map_or(String::new(), |run| run.policy.title());
            format!("{title}, accesses {from}–{}: {:.1} % hit", to.saturating_sub(1), 100.0 * rate)
        })
    };
    let picked = move |at: Point| {
        if let Some((policy, _)) = which(at) {
            let title = shown.with_untracked(|shown| shown.outcome.runs.get(policy).map(|run| run.policy.title()));
            title.iter().for_each(|title| app.view.isolate(title));
        }
    };
    let over = Over {
        frame: Arc::new(move |width| frame(width, policies)),
        at: RwSignal::new(None),
        steps: (48, 4),
        read: Arc::new(read),
        hint: "The hit rate of each policy over the trace. A click looks at one alone.",
        brushed: None,
        picked: Some(Arc::new(picked)),
        handle: None,
    };
    Chart::new("multiples", "Hit rate of each policy over the trace, in a chart of its own", Arc::new(draw))
        .over(over)
        .view()
}

/// The hit rate of a policy in a column.
fn rate(shown: &Shown, policy: usize, column: usize) -> f64 {
    let (from, to) = accesses_of(shown.charts(), shown.end, column);
    let hits = shown.charts().timelines.get(policy).and_then(|timeline| timeline.hits.get(column));
    hits.map_or(0.0, |hits| f64::from(*hits) / (to - from).max(1) as f64)
}

fn draw(shown: &Shown, pale: &dyn Fn(&str) -> bool, width: u32) -> Result<String, Failure> {
    let policies = shown.outcome.runs.len();
    let (across, _) = grid(width, policies);
    let wide = width as i32 / across as i32;
    svg(width, frame(width, policies).bottom as u32, &|canvas| {
        for (policy, run) in shown.outcome.runs.iter().enumerate() {
            let (left, top) = ((policy % across) as i32 * wide, (policy / across) as i32 * HIGH);
            let small = Frame { left: left + 2, right: left + wide - 8, top: top + TITLE, bottom: top + HIGH - 6 };
            let title = run.policy.title();
            canvas.rectangle([(small.left, small.top), (small.right, small.bottom)], Colour::EMPTY)?;
            canvas.text(title.clone(), (small.left, top + 2), HPos::Left, VPos::Top)?;
            let columns = shown.columns();
            let at = |column: usize| {
                let middle = (column as f64 + 0.5) / columns as f64;
                (small.x(middle), small.y(rate(shown, policy, column).min(1.0)))
            };
            canvas.series((0..columns).map(at).collect(), policy, pale(&title))?;
        }
        Ok(())
    })
}
