//! Misses by capacity, with the capacity of the experiment as a line to drag.

use std::sync::Arc;

use accel_core::curve::{CurvePoint, Curves};
use accel_core::recipe::fields::Field;
use accel_core::run::Outcome;
use accel_core::units::{format_bytes, parse_bytes};
use accel_ui::built::{Build, Built};
use accel_ui::chart::{Chart, Colour, Failure, Frame, HPos, LABELS_AND_NAME, VPos, svg};
use accel_ui::over::{Handle, Over, Point};
use accel_ui::view::{choices, legend_of, show_in, table};
use leptos::html::Div;
use leptos::prelude::*;

use crate::app::App;
use crate::engine::Capacities;

/// How misses fall as memory grows.
pub(super) fn curve(app: App, outcome: &Arc<Outcome>) -> Built {
    let titles: Vec<String> = outcome.runs.iter().map(|run| run.policy.title()).collect();
    let place = NodeRef::<Div>::new();
    // Progress alone exchanges nothing.
    let known = Memo::new(move |_| match app.engine.curve.get() {
        Capacities::Known(curves) => Some(ByAddress(curves)),
        _ => None,
    });
    show_in(place, move || known.get().map(|curves| shown(app, curves.0)));
    let waits = move || match app.engine.curve.get() {
        Capacities::Running(share) => format!("Computing the curves: {:.0} %", 100.0 * share),
        Capacities::Failed(error) => error.to_string(),
        Capacities::Unasked => "The curves of this experiment take a while.".to_owned(),
        Capacities::Known(_) => String::new(),
    };
    let unasked = move || app.engine.curve.with(|curve| matches!(curve, Capacities::Unasked | Capacities::Failed(_)));
    view! {
        <section class="panel" id="curves">
            <h2>"How much memory it needs"</h2>
            <ul class="legend">
                {legend_of(titles, app.view.isolated)}<li>
                    <span class="dot bound"></span>
                    "between best known and proven least"
                </li>
            </ul>
            <p class="hint" id="curve-waits">
                {Signal::derive(waits)}
            </p>
            <button
                type="button"
                class="quiet"
                id="ask-curve"
                hidden=accel_ui::view::yes(move || !unasked())
                on:click=move |_| app.engine.ask_curve(accel_core::curve::Grid::default().points)
            >
                "Compute them"
            </button>
            <div node_ref=place></div>
        </section>
    }
    .built()
}

/// The same where it is the same: two of them are not compared point by point.
#[derive(Clone)]
pub(super) struct ByAddress(pub(super) Arc<Curves>);

impl PartialEq for ByAddress {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

fn shown(app: App, curves: Arc<Curves>) -> Built {
    let by_bytes = app.view.by_bytes;
    let rows = curves.curves.iter().map(|curve| {
        let mut row = vec![curve.policy.title()];
        row.push(curve.knee_bytes.map_or("none".into(), format_bytes));
        row.extend(curve.smallest.iter().map(|s| s.capacity_bytes.map_or("–".into(), format_bytes)));
        row
    });
    let rows = rows.collect();
    let mut head = vec!["policy".to_owned(), "knee".to_owned()];
    if let Some(curve) = curves.curves.first() {
        head.extend(curve.smallest.iter().map(|s| format!("{:.0} % of hits", 100.0 * s.share_of_hits)));
    }
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let smallest = table("curve-table", &head, rows);
    let scale = Scale::of(&curves);
    let (drawn, read, exported) = (Arc::clone(&curves), Arc::clone(&curves), curves);
    let draw = move |width| draw(&drawn, by_bytes.get(), &|title| app.view.is_pale(title), width);
    let capacity = app.form.text(Field::Capacity);
    let handle = Handle {
        label: "Capacity of fast memory",
        at: Signal::derive(move || {
            Some(scale.share(parse_bytes("capacity_bytes", &capacity.get()).ok()?)).filter(|s| (0.0..=1.0).contains(s))
        }),
        text: Signal::derive(move || capacity.get()),
        moved: Arc::new(move |share| capacity.set(format_bytes(scale.capacity(share)))),
        dropped: Arc::new(move |()| app.run()),
    };
    let over = Over {
        frame: Arc::new(frame),
        at: RwSignal::new(None),
        steps: (48, 1),
        read: Arc::new(move |at| reading(&read, scale, by_bytes.get(), at)),
        hint: "Point to read. Drag the line to set the capacity.",
        brushed: None,
        picked: None,
        handle: Some(handle),
    };
    let figures = move || figures(&exported);
    view! {
        <div class="bar">
            <select aria-label="Misses in" on:change:target=move |e| by_bytes.set(e.target().value() == "0")>
                {choices(vec!["bytes missed per byte requested".into(), "misses per access".into()])}
            </select>
        </div>
        {Chart::new("curve-chart", "Miss ratio of each policy by capacity", Arc::new(draw))
            .over(over)
            .rows(Arc::new(figures))
            .view()}
        <details>
            <summary>"Knees, and the smallest capacity for a share of the hits"</summary>
            <p class="hint">
                "The knee is where more memory stops paying. For LRU both are exact from the largest tensor on; otherwise they are among the measured capacities."
            </p>
            {smallest}
        </details>
    }
    .built()
}

/// The logarithmic axis of capacities.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    from: f64,
    to: f64,
}

impl Scale {
    pub(super) fn of(curves: &Curves) -> Self {
        let log = |point: Option<&CurvePoint>| point.map_or(0.0, |point| (point.capacity_bytes.max(1) as f64).log2());
        let points = curves.curves.first().map_or(&[][..], |curve| &curve.points);
        Self { from: log(points.first()), to: log(points.last()) }
    }

    /// The axis that holds both.
    pub(super) fn with(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), to: self.to.max(other.to) }
    }

    pub(super) fn share(self, capacity: u64) -> f64 {
        ((capacity.max(1) as f64).log2() - self.from) / (self.to - self.from).max(1e-9)
    }

    pub(super) fn capacity(self, share: f64) -> u64 {
        (self.from + share * (self.to - self.from)).exp2().round() as u64
    }
}

pub(super) fn ratio(point: &CurvePoint, by_bytes: bool) -> f64 {
    if by_bytes { point.byte_miss_ratio } else { point.miss_ratio }
}

/// Height of the chart in pixels.
pub(super) const HEIGHT: u32 = 280;

pub(super) fn frame(width: u32) -> Frame {
    Frame::new(width, HEIGHT, 48, LABELS_AND_NAME)
}

/// On a logarithmic scale: one line per policy with its knee, and the bounds as a band.
fn draw(curves: &Curves, by_bytes: bool, pale: &dyn Fn(&str) -> bool, width: u32) -> Result<String, Failure> {
    let Some(points) = curves.curves.first().map(|curve| &curve.points) else { return Ok(String::new()) };
    let (scale, frame) = (Scale::of(curves), frame(width));
    let Frame { left, right, bottom, .. } = frame;
    let x = |capacity: u64| frame.x(scale.share(capacity));
    let line = |points: &[CurvePoint]| -> Vec<(i32, i32)> {
        points.iter().map(|point| (x(point.capacity_bytes), frame.y(ratio(point, by_bytes)))).collect()
    };
    svg(width, HEIGHT, &|canvas| {
        canvas.percentages(&frame, 1.0, 4)?;
        if let Some(bounds) = &curves.bounds {
            let mut band = line(&bounds.upper);
            band.extend(line(&bounds.lower).into_iter().rev());
            canvas.area(band, Colour::TEXT.faint(0.25))?;
            canvas.line(line(&bounds.lower), Colour::TEXT.faint(0.7), 1)?;
        }
        for (i, curve) in curves.curves.iter().enumerate() {
            let pale = pale(&curve.policy.title());
            canvas.series(line(&curve.points), i, pale)?;
            let knee = curve.knee_bytes.filter(|_| !pale);
            let at = knee.and_then(|knee| curve.points.iter().min_by_key(|point| point.capacity_bytes.abs_diff(knee)));
            if let Some(point) = at {
                canvas.circle((x(point.capacity_bytes), frame.y(ratio(point, by_bytes))), 3, Colour::series(i))?;
            }
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

/// The measured capacity nearest to a place, and what each policy misses there.
fn reading(curves: &Curves, scale: Scale, by_bytes: bool, at: Point) -> String {
    let Some(first) = curves.curves.first() else { return String::new() };
    let far = |point: &CurvePoint| (scale.share(point.capacity_bytes) - at.x).abs();
    let nearest = (0..first.points.len()).min_by(|a, b| far(&first.points[*a]).total_cmp(&far(&first.points[*b])));
    let Some(nearest) = nearest else { return String::new() };
    let percent = |points: &[CurvePoint]| points.get(nearest).map_or(0.0, |point| 100.0 * ratio(point, by_bytes));
    let each = curves.curves.iter().map(|curve| format!("{} {:.1} %", curve.policy.title(), percent(&curve.points)));
    let bounds = curves.bounds.as_ref().map(|bounds| {
        format!("; best known {:.1} %, proven least {:.1} %", percent(&bounds.upper), percent(&bounds.lower))
    });
    let each: Vec<String> = each.collect();
    let capacity = format_bytes(first.points[nearest].capacity_bytes);
    format!("At {capacity} missed: {}{}", each.join(", "), bounds.unwrap_or_default())
}

/// One row for each capacity of each policy.
fn figures(curves: &Curves) -> Vec<Vec<String>> {
    let head = ["policy", "capacity_bytes", "miss_ratio", "byte_miss_ratio"].map(str::to_owned).to_vec();
    let lines = curves.curves.iter().map(|curve| (curve.policy.name(), &curve.points));
    let bounds = curves.bounds.iter();
    let bounds = bounds.flat_map(|b| [("best known".to_owned(), &b.upper), ("proven least".to_owned(), &b.lower)]);
    let rows = lines.chain(bounds).flat_map(|(name, points)| {
        points.iter().map(move |point| {
            let CurvePoint { capacity_bytes, miss_ratio, byte_miss_ratio } = point;
            vec![name.clone(), capacity_bytes.to_string(), miss_ratio.to_string(), byte_miss_ratio.to_string()]
        })
    });
    std::iter::once(head).chain(rows).collect()
}
