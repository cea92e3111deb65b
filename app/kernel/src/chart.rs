//! The roofline chart as SVG text, drawn with plotters in stand-in colours that become those of the theme.

use accel_kernel::report::Roofline;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

type Failure = DrawingAreaErrorKind<std::io::Error>;

/// Stand-ins, and the variables of the style sheet that take their place: so a drawing follows the theme by itself.
const TEXT: (RGBColor, &str) = (RGBColor(1, 0, 0), "var(--soft)");
const GRID: (RGBColor, &str) = (RGBColor(2, 0, 0), "var(--line)");
const STRONG: (RGBColor, &str) = (RGBColor(3, 0, 0), "var(--text)");
const SERIES: [(RGBColor, &str); 6] = [
    (RGBColor(4, 0, 0), "var(--s0)"),
    (RGBColor(5, 0, 0), "var(--s1)"),
    (RGBColor(6, 0, 0), "var(--s2)"),
    (RGBColor(7, 0, 0), "var(--s3)"),
    (RGBColor(8, 0, 0), "var(--s4)"),
    (RGBColor(9, 0, 0), "var(--s5)"),
];

const HEIGHT: i32 = 320;
const LEFT: i32 = 62;
const RIGHT: i32 = 12;
const TOP: i32 = 14;
const BOTTOM: i32 = 40;
const SIZE: i32 = 12;

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
pub(crate) fn roofline(data: &Roofline, width: u32) -> Result<String, Failure> {
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

    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width as u32, HEIGHT as u32)).into_drawing_area();
        let style = |colour: RGBColor| ("system-ui, sans-serif", SIZE).into_font().color(&colour);
        let below = style(TEXT.0).pos(Pos::new(HPos::Center, VPos::Top));
        let beside = style(TEXT.0).pos(Pos::new(HPos::Right, VPos::Center));
        let every = if width < 480 { 2 } else { 1 };
        for exponent in x0..=x1 {
            let at = x(10f64.powi(exponent));
            area.draw(&PathElement::new([(at, TOP), (at, bottom)], GRID.0))?;
            if (exponent - x0) % every == 0 {
                area.draw(&Text::new(power(exponent), (at, bottom + 5), below.clone()))?;
            }
        }
        for exponent in y0..=y1 {
            let at = y(10f64.powi(exponent));
            area.draw(&PathElement::new([(LEFT, at), (right, at)], GRID.0))?;
            area.draw(&Text::new(power(exponent), (LEFT - 6, at), beside.clone()))?;
        }
        let middle = (LEFT + right) / 2;
        area.draw(&Text::new("FLOP per byte", (middle, bottom + 21), below.clone()))?;
        area.draw(&Text::new("GFLOP/s", (LEFT - 4, 1), style(TEXT.0).pos(Pos::new(HPos::Right, VPos::Top))))?;
        for (i, roof) in data.roofs.iter().enumerate() {
            let (colour, _) = SERIES[i % SERIES.len()];
            let end = data.peak_gflop_s.map_or(10f64.powi(x1), |peak| (peak / roof.gb_s).min(10f64.powi(x1)));
            // It begins where it enters the picture.
            let start = (10f64.powi(y0) / roof.gb_s).max(10f64.powi(x0));
            if start < end {
                let line = [(x(start), y(start * roof.gb_s)), (x(end), y(end * roof.gb_s))];
                area.draw(&PathElement::new(line, colour.stroke_width(2)))?;
            }
            if let Some(at) = roof.flop_per_byte.filter(|at| *at > 0.0) {
                let point = (x(at), y(reached));
                area.draw(&PathElement::new([(point.0, y((at * roof.gb_s).min(top))), point], colour.stroke_width(1)))?;
                area.draw(&Circle::new(point, 5, colour.filled()))?;
            }
        }
        if let Some(peak) = data.peak_gflop_s {
            let first = data.roofs.iter().map(|roof| peak / roof.gb_s).fold(10f64.powi(x1), f64::min);
            let line = [(x(first.max(10f64.powi(x0))), y(peak)), (right, y(peak))];
            area.draw(&PathElement::new(line, STRONG.0.stroke_width(2)))?;
        }
        area.present()?;
    }
    for (stand_in, variable) in [TEXT, GRID, STRONG].iter().chain(&SERIES) {
        svg = svg.replace(&format!("#{:02X}{:02X}{:02X}", stand_in.0, stand_in.1, stand_in.2), variable);
    }
    Ok(svg)
}
