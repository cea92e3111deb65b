//! Misses by capacity.

use std::sync::Arc;

use accel_core::curve::{CurvePoint, Curves};
use accel_core::run::Outcome;
use accel_core::units::format_bytes;
use accel_ui::built::{Build, Built};
use accel_ui::chart::{Colour, Failure, Frame, HPos, LABELS_AND_NAME, VPos, chart, svg};
use accel_ui::view::{choices, legend, table};
use leptos::prelude::*;

use crate::app::App;

/// How misses fall as memory grows.
pub(super) fn curve(app: App, outcome: &Arc<Outcome>) -> Option<Built> {
    let curves = outcome.curve.as_ref()?;
    let by_bytes = RwSignal::new(false);
    let legend = legend(curves.curves.iter().map(|curve| curve.policy.title()).collect());
    let rows = curves.curves.iter().map(|curve| {
        let mut row = vec![curve.policy.title()];
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
    let outcome = Arc::clone(outcome);
    let draw = move |width| match &outcome.curve {
        Some(curves) => draw(curves, by_bytes.get(), &|title| app.is_pale(title), width),
        None => Ok(String::new()),
    };
    let panel = view! {
        <section class="panel" id="curves">
            <h2>"How much memory it needs"</h2>
            <ul class="legend">
                {legend}<li>
                    <span class="dot bound"></span>
                    "best known, and proven least"
                </li>
            </ul>
            <div class="bar">
                <select aria-label="Misses in" on:change:target=move |e| by_bytes.set(e.target().value() == "1")>
                    {choices(vec!["misses per access".into(), "bytes missed per byte requested".into()])}
                </select>
            </div>
            {chart("curve-chart", "Miss ratio of each policy by capacity", Arc::new(draw))}
            <p class="hint">
                "The smallest capacity for a share of all possible hits, and the knee, where more memory stops paying: exact for LRU from the largest tensor on, otherwise among the measured capacities."
            </p>
            {smallest}
        </section>
    };
    Some(panel.built())
}

/// Height of the chart in pixels.
const HEIGHT: u32 = 300;

/// On a logarithmic scale: one line per policy, and the bounds in the colour of the text.
fn draw(curves: &Curves, by_bytes: bool, pale: &dyn Fn(&str) -> bool, width: u32) -> Result<String, Failure> {
    let log = |capacity: u64| (capacity.max(1) as f64).log2();
    let Some(points) = curves.curves.first().map(|curve| &curve.points) else { return Ok(String::new()) };
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Ok(String::new()) };
    let (from, to) = (log(first.capacity_bytes), log(last.capacity_bytes));
    let frame = Frame::new(width, HEIGHT, 48, LABELS_AND_NAME);
    let Frame { left, right, bottom, .. } = frame;
    let x = |capacity: u64| frame.x((log(capacity) - from) / (to - from).max(1e-9));
    let line = |points: &[CurvePoint]| -> Vec<(i32, i32)> {
        let ratio = |p: &CurvePoint| if by_bytes { p.byte_miss_ratio } else { p.miss_ratio };
        points.iter().map(|p| (x(p.capacity_bytes), frame.y(ratio(p)))).collect()
    };
    svg(width, HEIGHT, &|canvas| {
        canvas.percentages(&frame, 1.0, 4)?;
        for points in curves.bounds.iter().flat_map(|bounds| [&bounds.upper, &bounds.lower]) {
            canvas.line(line(points), Colour::TEXT.faint(0.7), 2)?;
        }
        for (i, curve) in curves.curves.iter().enumerate() {
            canvas.series(line(&curve.points), i, pale(&curve.policy.title()))?;
        }
        let labels = (width as usize / 110).min(points.len()).clamp(1, 7);
        for i in 0..labels {
            let capacity = points[i * (points.len() - 1) / (labels - 1).max(1)].capacity_bytes;
            let position = match i {
                0 => HPos::Left,
                _ if i + 1 == labels => HPos::Right,
                _ => HPos::Center,
            };
            canvas.text(format_bytes(capacity), (x(capacity), bottom + 4), position, VPos::Top)?;
        }
        canvas.text("capacity".into(), ((left + right) / 2, bottom + 18), HPos::Center, VPos::Top)
    })
}
