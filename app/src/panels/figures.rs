//! Figures of the trace: how an answer is shown, and small charts of bars and lines.

use std::sync::Arc;

use accel_core::error::Error;
use accel_core::units::format_bytes;
use accel_ui::built::{Build, Built};
use accel_ui::chart::{Colour, Draw, Failure, Frame, HPos, LABELS, VPos, chart, svg};
use accel_ui::view::show_in;
use leptos::html::Div;
use leptos::prelude::*;

/// Height of a small chart in pixels.
const HEIGHT: u32 = 170;

/// A chart under its title.
pub(super) fn figure(title: &'static str, id: &'static str, draw: Draw) -> Built {
    view! {
        <h3>{title}</h3>
        {chart(id, title, draw)}
    }
    .built()
}

/// Shows in `place` what `view` makes of an answer, or why there is none.
pub(super) fn show_answer<T: Send + Sync + 'static>(
    place: NodeRef<Div>,
    answer: RwSignal<Option<Result<Arc<T>, Error>>>,
    view: fn(&T) -> Built,
) {
    show_in(place, move || {
        answer.get().map(|answer| match answer {
            Ok(answer) => view(&answer),
            Err(error) => view! {
                <p class="error" role="alert">
                    {error.to_string()}
                </p>
            }
            .built(),
        })
    });
}

/// A value of a bin in few letters.
pub(super) fn short(value: u64, bytes: bool) -> String {
    if bytes {
        return format_bytes(value);
    }
    match value {
        1_000_000.. => format!("{}M", value / 1_000_000),
        10_000.. => format!("{}k", value / 1000),
        _ => value.to_string(),
    }
}

/// Shares of one or two distributions over the same bins, side by side; the highest fills the chart.
pub(super) fn bars(labels: Vec<String>, series: Vec<Vec<f64>>) -> Draw {
    Arc::new(move |width| draw_bars(&labels, &series, width))
}

fn draw_bars(labels: &[String], series: &[Vec<f64>], width: u32) -> Result<String, Failure> {
    let frame = Frame::new(width, HEIGHT, 48, LABELS);
    let Frame { left, right, bottom, .. } = frame;
    let top = series.iter().flatten().copied().fold(0.0, f64::max).max(1e-9);
    let bins = labels.len().max(1) as i32;
    let x = |bin: i32| left + (right - left) * bin / bins;
    svg(width, HEIGHT, &|canvas| {
        canvas.percentages(&frame, top, 2)?;
        for (i, shares) in series.iter().enumerate() {
            for (bin, share) in shares.iter().enumerate() {
                let wide = (x(bin as i32 + 1) - x(bin as i32)).max(1);
                let from = x(bin as i32) + wide * i as i32 / series.len() as i32;
                let to = x(bin as i32) + (wide * (i as i32 + 1) / series.len() as i32 - 1).max(1);
                canvas.rectangle([(from, frame.y(share / top)), (to, bottom)], Colour::series(i))?;
            }
        }
        let every = (labels.len() * 64).div_ceil((right - left).max(1) as usize).max(1);
        for (bin, text) in labels.iter().enumerate().step_by(every) {
            let middle = (x(bin as i32) + x(bin as i32 + 1)) / 2;
            canvas.text(text.clone(), (middle, bottom + 4), HPos::Center, VPos::Top)?;
        }
        Ok(())
    })
}

/// One line through `points`, each 0 to 1 both ways, with the texts at the top of one axis and at the end of the
/// other; with `diagonal`, the line on which both axes agree.
pub(super) fn line(points: Vec<(f64, f64)>, top: String, end: String, diagonal: bool) -> Draw {
    Arc::new(move |width| draw_line(&points, &top, &end, diagonal, width))
}

fn draw_line(points: &[(f64, f64)], top: &str, end: &str, diagonal: bool, width: u32) -> Result<String, Failure> {
    let frame = Frame::new(width, HEIGHT, 64, LABELS);
    let Frame { left, right, bottom, .. } = frame;
    let at = |&(x, y): &(f64, f64)| (frame.x(x), frame.y(y));
    svg(width, HEIGHT, &|canvas| {
        for y in [0.0, 0.5, 1.0] {
            canvas.line(vec![at(&(0.0, y)), at(&(1.0, y))], Colour::GRID, 1)?;
        }
        if diagonal {
            canvas.line(vec![at(&(0.0, 0.0)), at(&(1.0, 1.0))], Colour::TEXT.faint(0.5), 1)?;
        }
        canvas.line(points.iter().map(at).collect(), Colour::series(0), 2)?;
        canvas.text(top.to_owned(), (left - 6, frame.top), HPos::Right, VPos::Center)?;
        canvas.text("0".to_owned(), (left - 6, bottom), HPos::Right, VPos::Center)?;
        canvas.text("0".to_owned(), (left, bottom + 4), HPos::Left, VPos::Top)?;
        canvas.text(end.to_owned(), (right, bottom + 4), HPos::Right, VPos::Top)
    })
}
