//! The roofline: its panel, and its chart.

use std::sync::Arc;

use accel_kernel::report::{Report, Roofline};
use accel_ui::built::{Build, Built};
use accel_ui::chart::{Colour, Failure, HPos, VPos, chart, svg};
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
    let draw = move |width| draw(&data, width);
    view! {
        <section class="panel" id="roofline">
            <h2>"Roofline"</h2>
            <ul class="legend">{legend}</ul>
            {chart("roofline-chart", "Roofline chart; its numbers stand above it", Arc::new(draw))}
            <p class="hint">{peak}</p>
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

/// Roofs of each memory, the ceiling of arithmetic, and where the kernel stands under each roof.
fn draw(data: &Roofline, width: u32) -> Result<String, Failure> {
    let width = (width as i32).clamp(280, 1100);
    let intensities: Vec<f64> = data.roofs.iter().filter_map(|roof| roof.flop_per_byte).filter(|x| *x > 0.0).collect();
    let ridges: Vec<f64> = match data.peak_gflop_s {
        Some(peak) => data.roofs.iter().map(|roof| peak / roof.gb_s).collect(),
        None => Vec::new(),
    };
    let xs = || intensities.iter().chain(&ridges).copied().filter(|x| x.is_finite() && *x > 0.0);
    let (x0, x1) = decades(xs().fold(0.1, f64::min), xs().fold(10.0, f64::max) * 2.0);
    let fastest = data.roofs.iter().map(|roof| roof.gb_s).fold(0.0, f64::max);
    let top = data.peak_gflop_s.unwrap_or(fastest * 10f64.powi(x1)).max(data.gflop_s);
    let reached = if data.gflop_s > 0.0 { data.gflop_s } else { top };
    let slowest = data.roofs.iter().map(|roof| roof.gb_s * 10f64.powi(x0)).fold(top, f64::min);
    let (y0, y1) = decades(slowest.min(reached).max(top * 1e-7), top * 1.5);
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
