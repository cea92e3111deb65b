//! The run over the trace: hit rate, traffic, stall and what is resident, above one axis. They are read together, and
//! brushing a part shows it in all of them, counted anew.

use std::sync::Arc;

use accel_core::run::Outcome;
use accel_core::sim::timeline::Timeline;
use accel_core::units::{format_bytes, format_count};
use accel_ui::built::{Build, Built};
use accel_ui::chart::{Chart, Failure, Frame, HPos, LABELS_AND_NAME, VPos, svg};
use accel_ui::over::{Over, Point};
use accel_ui::view::{legend_of, show_in, yes};
use leptos::html::Div;
use leptos::prelude::*;

use super::axis::{Shown, TraceAxis, accesses_of, column_at};
use super::metrics::milliseconds;
use super::{multiples, occupancy};
use crate::app::App;
use crate::engine::Window;

/// A chart of one figure of each policy: what it shows, its element, and how the figure is taken and written.
#[derive(Clone, Copy)]
struct Measure {
    title: &'static str,
    id: &'static str,
    value: fn(&Timeline, column: usize, accesses: u64) -> f64,
    show: fn(f64) -> String,
    /// The top of the axis where no figure is higher.
    at_least: f64,
    /// Whether the axis is named below: the last chart's is.
    named: bool,
}

const MEASURES: [Measure; 3] = [
    Measure {
        title: "Hit rate",
        id: "hit-rates",
        value: |timeline, column, accesses| {
            timeline.hits.get(column).map_or(0.0, |hits| f64::from(*hits) / accesses.max(1) as f64)
        },
        show: |rate| format!("{:.1} %", 100.0 * rate),
        at_least: 1.0,
        named: false,
    },
    Measure {
        title: "DRAM traffic",
        id: "traffic-over-time",
        value: |timeline, column, _| timeline.miss_bytes.get(column).map_or(0.0, |bytes| *bytes as f64),
        show: |bytes| format_bytes(bytes as u64),
        at_least: 1.0,
        named: false,
    },
    Measure {
        title: "Stall",
        id: "stall-over-time",
        value: |timeline, column, _| timeline.stall_ms.get(column).copied().unwrap_or_default(),
        show: milliseconds,
        at_least: 1e-6,
        named: true,
    },
];

/// Everything over the trace.
pub(super) fn over_time(app: App, outcome: &Arc<Outcome>) -> Built {
    let view = app.view;
    let accesses = outcome.trace.accesses;
    let titles: Vec<String> = outcome.runs.iter().map(|run| run.policy.title()).collect();
    let legend = legend_of(titles, view.isolated);
    let shown = {
        let outcome = Arc::clone(outcome);
        Signal::derive(move || {
            let window = app.engine.window.get();
            let window = window.filter(|window| view.part.with(|part| *part == Some(window.part)));
            match window {
                Some(Window { part, charts }) => {
                    Shown { outcome: Arc::clone(&outcome), window: Some(charts), end: part.1 }
                }
                None => Shown { outcome: Arc::clone(&outcome), window: None, end: accesses },
            }
        })
    };
    // A part that was looked at before is looked at in this run as well, where it has one.
    Effect::new(move |_| {
        let Some(part) = view.part.get() else { return };
        match part.1 <= accesses {
            true if app.engine.window.with_untracked(|w| w.as_ref().is_none_or(|w| w.part != part)) => {
                app.engine.ask_window(part);
            }
            true => {}
            false => view.part.set(None),
        }
    });
    let measures = MEASURES.into_iter().filter(|measure| {
        measure.id != "stall-over-time" || outcome.charts.timelines.iter().any(|t| !t.stall_ms.is_empty())
    });
    let many = (outcome.runs.len() > multiples::FEW).then(|| multiples::multiples(app, shown));
    let charts = measures.map(|measure| measure.view(app, shown)).collect_view();
    let heatmap = NodeRef::<Div>::new();
    show_in(heatmap, {
        let outcome = Arc::clone(outcome);
        move || Some(occupancy::occupancy(app, &outcome, shown))
    });
    let which = Signal::derive(move || match view.part.get() {
        Some((from, to)) => {
            format!("Accesses {} to {} of {}.", format_count(from), format_count(to), format_count(accesses))
        }
        None => "Brush a part of a chart to see it closer.".to_owned(),
    });
    view! {
        <section class="panel" id="over-time">
            <h2>"Over the trace"</h2>
            <ul class="legend">{legend}</ul>
            <div class="bar">
                <span class="hint" id="part">
                    {which}
                </span>
                <button
                    type="button"
                    class="quiet"
                    id="show-all"
                    hidden=yes(move || view.part.with(Option::is_none))
                    on:click=move |_| view.part.set(None)
                >
                    "Show all"
                </button>
            </div>
            {many}
            {charts}
            <div node_ref=heatmap></div>
        </section>
    }
    .built()
}

/// Height of a chart over the trace in pixels, and space on its left.
const HEIGHT: u32 = 150;
const LEFT: i32 = 76;

impl Measure {
    fn frame(self, width: u32) -> Frame {
        Frame::new(width, HEIGHT, LEFT, if self.named { LABELS_AND_NAME } else { 8 })
    }

    /// The figure of each policy in a column.
    fn values(self, shown: &Shown, column: usize) -> Vec<f64> {
        let charts = shown.charts();
        let (from, to) = accesses_of(charts, shown.end, column);
        charts.timelines.iter().map(|timeline| (self.value)(timeline, column, to - from)).collect()
    }

    fn view(self, app: App, shown: Signal<Shown>) -> Built {
        let view = app.view;
        let draw = move |width| shown.with(|shown| self.draw(shown, &|title| view.is_pale(title), width));
        let read = move |at: Point| shown.with(|shown| self.read(shown, at));
        let brushed = move |part| view.part.set(Some(shown.with_untracked(|shown| shown.part(part))));
        let rows = move || shown.with_untracked(|shown| self.rows(shown));
        let over = Over {
            frame: Arc::new(move |width| self.frame(width)),
            at: view.at,
            steps: (shown.with_untracked(Shown::columns), 1),
            read: Arc::new(read),
            hint: "",
            brushed: Some(Arc::new(brushed)),
            picked: None,
            handle: None,
        };
        view! {
            <h3>{self.title}</h3>
            {Chart::new(self.id, self.title, Arc::new(draw)).over(over).rows(Arc::new(rows)).view()}
        }
        .built()
    }

    fn draw(self, shown: &Shown, pale: &dyn Fn(&str) -> bool, width: u32) -> Result<String, Failure> {
        let (frame, columns) = (self.frame(width), shown.columns());
        let axis = TraceAxis { charts: shown.charts(), end: shown.end, columns, frame };
        let by_column: Vec<Vec<f64>> = (0..columns).map(|column| self.values(shown, column)).collect();
        let most = by_column.iter().flatten().copied().fold(self.at_least, f64::max);
        svg(width, HEIGHT, &|canvas| {
            for share in [0.0, 0.5, 1.0] {
                let y = frame.y(share);
                canvas.line(vec![(frame.left, y), (frame.right, y)], accel_ui::chart::Colour::GRID, 1)?;
                canvas.text((self.show)(most * share), (frame.left - 6, y), HPos::Right, VPos::Center)?;
            }
            axis.draw_marks(canvas)?;
            for (i, run) in shown.outcome.runs.iter().enumerate() {
                let point = |(column, values): (usize, &Vec<f64>)| {
                    (axis.middle(column), frame.y(values.get(i).copied().unwrap_or_default() / most))
                };
                canvas.series(by_column.iter().enumerate().map(point).collect(), i, pale(&run.policy.title()))?;
            }
            if self.named { axis.draw(canvas) } else { Ok(()) }
        })
    }

    /// The figures at a place, the policies in words.
    fn read(self, shown: &Shown, at: Point) -> String {
        let column = column_at(at.x, shown.columns());
        let (from, to) = accesses_of(shown.charts(), shown.end, column);
        let values = self.values(shown, column);
        let each = shown.outcome.runs.iter().zip(values);
        let each: Vec<String> =
            each.map(|(run, value)| format!("{} {}", run.policy.title(), (self.show)(value))).collect();
        format!("Accesses {}–{}: {}", format_count(from), format_count(to.saturating_sub(1)), each.join(", "))
    }

    /// The figures behind the chart.
    fn rows(self, shown: &Shown) -> Vec<Vec<String>> {
        let mut head = vec!["first_access".to_owned()];
        head.extend(shown.outcome.runs.iter().map(|run| run.policy.name()));
        let row = |column| {
            let (from, _) = accesses_of(shown.charts(), shown.end, column);
            let values = self.values(shown, column).into_iter().map(|value| value.to_string());
            std::iter::once(from.to_string()).chain(values).collect()
        };
        std::iter::once(head).chain((0..shown.columns()).map(row)).collect()
    }
}
