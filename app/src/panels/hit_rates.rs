//! The hit rate of each policy over the trace.

use std::sync::Arc;

use accel_core::run::Outcome;
use accel_ui::built::{Build, Built};
use accel_ui::chart::{Failure, Frame, LABELS_AND_NAME, chart, svg};
use accel_ui::view::legend;
use leptos::prelude::*;

use super::axis::TraceAxis;
use crate::app::App;

/// Hit rate over time, one line per policy.
pub(super) fn hit_rates(app: App, outcome: &Arc<Outcome>) -> Built {
    let legend = legend(outcome.runs.iter().map(|run| run.policy.title()).collect());
    let outcome = Arc::clone(outcome);
    let draw = move |width| draw(&outcome, &|title| app.is_pale(title), width);
    view! {
        <section class="panel">
            <h2>"Hit rate over time"</h2>
            <ul class="legend">{legend}</ul>
            {chart("hit-rates", "Hit rate of each policy over the trace", Arc::new(draw))}
        </section>
    }
    .built()
}

/// Height of the chart in pixels.
const HEIGHT: u32 = 230;

fn draw(outcome: &Outcome, pale: &dyn Fn(&str) -> bool, width: u32) -> Result<String, Failure> {
    let (charts, accesses) = (&outcome.charts, outcome.trace.accesses);
    let frame = Frame::new(width, HEIGHT, 48, LABELS_AND_NAME);
    let columns = charts.timelines.first().map_or(1, |t| t.hits.len().max(1));
    let axis = TraceAxis { charts, accesses, columns, frame };
    svg(width, HEIGHT, &|canvas| {
        canvas.percentages(&frame, 1.0, 4)?;
        axis.draw_marks(canvas)?;
        for (i, (timeline, run)) in charts.timelines.iter().zip(&outcome.runs).enumerate() {
            let per = charts.accesses_per_column;
            let point = |(column, hits): (usize, &u32)| {
                let in_column = per.min(accesses - per * column as u64).max(1);
                let rate = f64::from(*hits) / in_column as f64;
                ((axis.x(column) + axis.x(column + 1)) / 2, frame.y(rate))
            };
            let points = timeline.hits.iter().enumerate().map(point).collect();
            canvas.series(points, i, pale(&run.policy.title()))?;
        }
        axis.draw(canvas)
    })
}
