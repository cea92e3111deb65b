//! The roofline: its panel, and its chart.

use std::sync::Arc;

use accel_kernel::report::{Report, Roofline};
use accel_ui::built::{Build, Built};
use accel_ui::chart::{Chart, Colour, Failure, Frame, HPos, VPos, svg};
use accel_ui::over::{Over, Point};
use accel_ui::view::legend;
use leptos::prelude::*;

use crate::number::short;

/// The roof of each memory, and where the kernel stands.
pub(super) fn roofline(report: &Report) -> Built {
    let data = report.roofline.clone();
    let legend = legend(
        data.roofs
            .iter()
            .map(|roof| {
                let intensity = roof
                    .flop_per_byte
                    .map_or_else(|| "no byte counted".to_owned(), |at| format!("{} FLOP/byte", short(at)));
                format!("{}: {} GB/s, {intensity}", roof.name, short(roof.gb_s))
            })
            .collect(),
    );
    let peak = data.peak_gflop_s.map_or_else(
        || "The device's peak is not known: no ceiling is drawn.".to_owned(),
        |peak| format!("Ceiling: {} GFLOP/s. The kernel reaches {} GFLOP/s.", short(peak), short(data.gflop_s)),
    );
    let limit = limit(&data)
        .map(|(roof, name)| format!(" That is {:.0} % of its roof, limited by {name}.", 100.0 * data.gflop_s / roof));
    let read = {
        let data = data.clone();
        move |at| reading(&data, at)
    };
    let rows = {
        let data = data.clone();
        move || rows(&data)
    };
    let over = Over {
        frame: Arc::new(frame),
        at: RwSignal::new(None),
        steps: (48, 1),
        read: Arc::new(read),
        hint: "Point to read how high the roof is.",
        brushed: None,
        picked: None,
        handle: None,
    };
    let draw = move |width| draw(&data, width);
    view! {
        <section class="panel" id="roofline">
            <h2>"Roofline"</h2>
            <ul class="legend">{legend}</ul>
            {Chart::new("roofline-chart", "Roofline chart; its numbers stand above it", Arc::new(draw))
                .over(over)
                .rows(Arc::new(rows))
                .view()}
            <p class="hint" id="roofline-limit">
                {peak}
                {limit}
            </p>
        </section>
    }
    .built()
}

/// Height of the chart, and space for the labels around it, in pixels.
const HEIGHT: i32 = 320;
const LEFT: i32 = 62;
const RIGHT: i32 = 12;
const TOP: i32 = 14;
const BOTTOM: i32 = 40;

/// From the power of ten below `least` to that above `most`.
fn decades(least: f64, most: f64) -> (i32, i32) {
    let (low, high) = (least.log10().floor() as i32, most.log10().ceil() as i32);
    (low, high.max(low + 1))
}

/// A power of ten in words: 0.01, 1, 100, 10k, 1M, 1G.
fn power(exponent: i32) -> String {
    match exponent {
        ..=-4 => format!("1e{exponent}"),
        -3..0 => format!("{:.*}", exponent.unsigned_abs() as usize, 10f64.powi(exponent)),
        0..=3 => 10f64.powi(exponent).to_string(),
        4..=5 => format!("{}k", 10f64.powi(exponent - 3)),
        6..=8 => format!("{}M", 10f64.powi(exponent - 6)),
        _ => format!("1e{exponent}"),
    }
}

/// The width at which it is drawn, given that of its place.
fn drawn_width(width: u32) -> i32 {
    (width as i32).clamp(280, 1100)
}

/// Where the chart lies.
fn frame(width: u32) -> Frame {
    Frame { left: LEFT, right: drawn_width(width) - RIGHT, top: TOP, bottom: HEIGHT - BOTTOM }
}

/// The powers of ten from which to which the axes reach: FLOP per byte, and GFLOP/s.
fn axes(data: &Roofline) -> ((i32, i32), (i32, i32)) {
    let intensities: Vec<f64> = data.roofs.iter().filter_map(|roof| roof.flop_per_byte).filter(|x| *x > 0.0).collect();
    let ridges: Vec<f64> = match data.peak_gflop_s {
        Some(peak) => data.roofs.iter().map(|roof| peak / roof.gb_s).collect(),
        None => Vec::new(),
    };
    let xs = || intensities.iter().chain(&ridges).copied().filter(|x| x.is_finite() && *x > 0.0);
    let (x0, x1) = decades(xs().fold(0.1, f64::min), xs().fold(10.0, f64::max) * 2.0);
    let top = top(data, x1);
    let slowest = data.roofs.iter().map(|roof| roof.gb_s * 10f64.powi(x0)).fold(top, f64::min);
    ((x0, x1), decades(slowest.min(reached(data, top)).max(top * 1e-7), top * 1.5))
}

/// The highest that is drawn, in GFLOP/s.
fn top(data: &Roofline, x1: i32) -> f64 {
    let fastest = data.roofs.iter().map(|roof| roof.gb_s).fold(0.0, f64::max);
    data.peak_gflop_s.unwrap_or(fastest * 10f64.powi(x1)).max(data.gflop_s)
}

/// How high the kernel is drawn, in GFLOP/s.
fn reached(data: &Roofline, top: f64) -> f64 {
    if data.gflop_s > 0.0 { data.gflop_s } else { top }
}

/// The lowest roof over the kernel in GFLOP/s, and whose it is.
fn limit(data: &Roofline) -> Option<(f64, String)> {
    let memories = data.roofs.iter().filter_map(|roof| Some((roof.flop_per_byte? * roof.gb_s, roof.name.clone())));
    let arithmetic = data.peak_gflop_s.map(|peak| (peak, "arithmetic".to_owned()));
    memories.chain(arithmetic).filter(|(roof, _)| *roof > 0.0).min_by(|a, b| a.0.total_cmp(&b.0))
}

/// How high each roof is at a place, and the lowest of them.
fn reading(data: &Roofline, at: Point) -> String {
    let ((x0, x1), _) = axes(data);
    let intensity = 10f64.powf(f64::from(x0) + at.x * f64::from(x1 - x0));
    let under = |roof: f64| data.peak_gflop_s.map_or(roof, |peak| roof.min(peak));
    let each = data.roofs.iter().map(|roof| (under(intensity * roof.gb_s), &roof.name));
    let words: Vec<String> = each.clone().map(|(roof, name)| format!("{name} {}", short(roof))).collect();
    let lowest = each.min_by(|a, b| a.0.total_cmp(&b.0));
    let lowest = lowest.map(|(roof, name)| match data.peak_gflop_s {
        Some(peak) if roof >= peak => "limited by arithmetic".to_owned(),
        _ => format!("limited by {name}"),
    });
    format!("At {} FLOP/byte, in GFLOP/s: {}; {}", short(intensity), words.join(", "), lowest.unwrap_or_default())
}

/// The roofs as rows.
fn rows(data: &Roofline) -> Vec<Vec<String>> {
    let head = ["memory", "gb_s", "flop_per_byte", "peak_gflop_s", "gflop_s"].map(str::to_owned).to_vec();
    let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    let row = |roof: &accel_kernel::report::Roof| {
        let (peak, reached) = (number(data.peak_gflop_s), data.gflop_s.to_string());
        vec![roof.name.clone(), roof.gb_s.to_string(), number(roof.flop_per_byte), peak, reached]
    };
    std::iter::once(head).chain(data.roofs.iter().map(row)).collect()
}

/// Roofs of each memory, the ceiling of arithmetic, and where the kernel stands under each roof.
fn draw(data: &Roofline, width: u32) -> Result<String, Failure> {
    let width = drawn_width(width);
    let ((x0, x1), (y0, y1)) = axes(data);
    let top = top(data, x1);
    let reached = reached(data, top);
    let (right, bottom) = (width - RIGHT, HEIGHT - BOTTOM);
    let scale = |value: f64, (from, to): (i32, i32), (a, b): (i32, i32)| {
        let share = (value.log10() - f64::from(from)) / f64::from(to - from);
        a + (share * f64::from(b - a)).round() as i32
    };
    let x = |value: f64| scale(value, (x0, x1), (LEFT, right));
    let y = |value: f64| scale(value, (y0, y1), (bottom, TOP));

    svg(width as u32, HEIGHT as u32, &|canvas| {
        let every = if width < 480 { 2 } else { 1 };
        for exponent in x0..=x1 {
            let at = x(10f64.powi(exponent));
            canvas.line(vec![(at, TOP), (at, bottom)], Colour::GRID, 1)?;
            if (exponent - x0) % every == 0 {
                canvas.text(power(exponent), (at, bottom + 5), HPos::Center, VPos::Top)?;
            }
        }
        for exponent in y0..=y1 {
            let at = y(10f64.powi(exponent));
            canvas.line(vec![(LEFT, at), (right, at)], Colour::GRID, 1)?;
            canvas.text(power(exponent), (LEFT - 6, at), HPos::Right, VPos::Center)?;
        }
        canvas.text("FLOP per byte".into(), ((LEFT + right) / 2, bottom + 21), HPos::Center, VPos::Top)?;
        canvas.text("GFLOP/s".into(), (LEFT - 4, 1), HPos::Right, VPos::Top)?;
        for (i, roof) in data.roofs.iter().enumerate() {
            let colour = Colour::series(i);
            let end = data.peak_gflop_s.map_or(10f64.powi(x1), |peak| (peak / roof.gb_s).min(10f64.powi(x1)));
            // It begins where it enters the picture.
            let start = (10f64.powi(y0) / roof.gb_s).max(10f64.powi(x0));
            if start < end {
                canvas.line(vec![(x(start), y(start * roof.gb_s)), (x(end), y(end * roof.gb_s))], colour, 2)?;
            }
            if let Some(at) = roof.flop_per_byte.filter(|at| *at > 0.0) {
                let point = (x(at), y(reached));
                canvas.line(vec![(point.0, y((at * roof.gb_s).min(top))), point], colour, 1)?;
                canvas.circle(point, 5, colour)?;
            }
        }
        if let Some(peak) = data.peak_gflop_s {
            let first = data.roofs.iter().map(|roof| peak / roof.gb_s).fold(10f64.powi(x1), f64::min);
            canvas.line(vec![(x(first.max(10f64.powi(x0))), y(peak)), (right, y(peak))], Colour::STRONG, 2)?;
        }
        Ok(())
    })
}
