//! Charts as SVG text, drawn with plotters at the size and in the colours of the page.

use std::ops::Range;

use accel_core::curve::{Curves, Point};
use accel_core::run::Charts;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Why a chart could not be drawn.
type Failure = DrawingAreaErrorKind<std::io::Error>;

/// Colours of lines; the style sheet has the same for the marks beside the names.
pub(crate) const SERIES: usize = 6;

/// Colours of a theme.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Palette {
    text: RGBColor,
    grid: RGBColor,
    empty: RGBColor,
    full: RGBColor,
    series: [RGBColor; SERIES],
}

/// On white. The series are those of Okabe and Ito, told apart by all common kinds of colour vision.
const LIGHT: Palette = Palette {
    text: RGBColor(71, 78, 92),
    grid: RGBColor(226, 229, 236),
    empty: RGBColor(238, 241, 247),
    full: RGBColor(16, 78, 139),
    series: [
        RGBColor(0, 114, 178),
        RGBColor(213, 94, 0),
        RGBColor(0, 158, 115),
        RGBColor(204, 121, 167),
        RGBColor(145, 108, 0),
        RGBColor(86, 180, 233),
    ],
};

/// On near-black: the same hues, lighter.
const DARK: Palette = Palette {
    text: RGBColor(174, 182, 196),
    grid: RGBColor(48, 54, 66),
    empty: RGBColor(33, 38, 48),
    full: RGBColor(120, 190, 255),
    series: [
        RGBColor(86, 170, 230),
        RGBColor(240, 140, 60),
        RGBColor(50, 200, 155),
        RGBColor(225, 160, 200),
        RGBColor(215, 180, 70),
        RGBColor(150, 215, 250),
    ],
};

impl Palette {
    /// The colours of the dark or the light theme.
    pub(crate) fn of(dark: bool) -> Self {
        if dark { DARK } else { LIGHT }
    }

    /// The colour of a share 0..=1 of a row that is resident.
    fn shade(&self, share: f64) -> RGBColor {
        let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share).round() as u8;
        RGBColor(mix(self.empty.0, self.full.0), mix(self.empty.1, self.full.1), mix(self.empty.2, self.full.2))
    }
}

/// Room for the labels left of and below a heatmap, and above it, in pixels.
const LABELS: i32 = 118;
const AXIS: i32 = 34;
const TOP: i32 = 18;
const RIGHT: i32 = 8;
const ROW_HEIGHT: i32 = 14;
const TEXT: i32 = 12;

/// Where the cells of a heatmap lie in a drawing of `width` pixels with `rows` rows.
pub(crate) fn heatmap_area(width: u32, rows: usize) -> (Range<f64>, Range<f64>) {
    let bottom = TOP + ROW_HEIGHT * rows as i32;
    (f64::from(LABELS)..f64::from(width as i32 - RIGHT), f64::from(TOP)..f64::from(bottom))
}

/// Shades of a heatmap: enough to see, few enough that equal neighbours are drawn as one.
const SHADES: f64 = 24.0;

/// Which tensors are resident when: one row a group, one column a stretch of the trace.
pub(crate) fn heatmap(
    charts: &Charts,
    accesses: u64,
    run: usize,
    grouping: usize,
    width: u32,
    palette: &Palette,
) -> Result<String, Failure> {
    let (Some(timeline), Some(groups)) = (charts.timelines.get(run), charts.groupings.get(grouping)) else {
        return Ok(String::new());
    };
    let Some(rows) = timeline.resident.get(grouping) else { return Ok(String::new()) };
    let columns = timeline.hits.len().max(1);
    let (across, down) = heatmap_area(width, rows.len());
    let height = down.end as u32 + AXIS as u32;
    let x = |column: usize| (across.start + (across.end - across.start) * column as f64 / columns as f64) as i32;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        let text = text_style(palette);
        let label = text.pos(Pos::new(HPos::Right, VPos::Center));
        for (i, (row, bytes)) in rows.iter().zip(&groups.bytes).enumerate() {
            let top = TOP + ROW_HEIGHT * i as i32;
            area.draw(&Text::new(groups.labels[i].clone(), (LABELS - 8, top + ROW_HEIGHT / 2), label.clone()))?;
            let shade = |column: usize| (SHADES * row[column] as f64 / (*bytes).max(1) as f64).round();
            let mut start = 0;
            for column in 1..=columns {
                if column == columns || shade(column) != shade(start) {
                    let colour = palette.shade((shade(start) / SHADES).min(1.0));
                    let cell = [(x(start), top), (x(column), top + ROW_HEIGHT - 1)];
                    area.draw(&Rectangle::new(cell, colour.filled()))?;
                    start = column;
                }
            }
        }
        let bottom = down.end as i32;
        draw_marks(&area, charts, columns, &x, TOP, bottom, palette)?;
        draw_access_axis(&area, charts, accesses, columns, &x, bottom, palette)?;
        area.present()?;
    }
    Ok(svg)
}

/// Height of the chart of hit rates in pixels.
const LINES_HEIGHT: u32 = 230;

/// Hit rate over time, one line a run.
pub(crate) fn hit_rates(charts: &Charts, accesses: u64, width: u32, palette: &Palette) -> Result<String, Failure> {
    let columns = charts.timelines.first().map_or(1, |t| t.hits.len().max(1));
    let left = 48;
    let bottom = LINES_HEIGHT as i32 - AXIS;
    let across = f64::from(left)..f64::from(width as i32 - RIGHT);
    let x = |column: usize| (across.start + (across.end - across.start) * column as f64 / columns as f64) as i32;
    let y = |rate: f64| bottom - (f64::from(bottom - TOP) * rate).round() as i32;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, LINES_HEIGHT)).into_drawing_area();
        let label = text_style(palette).pos(Pos::new(HPos::Right, VPos::Center));
        for quarter in 0..=4 {
            let at = y(f64::from(quarter) / 4.0);
            area.draw(&PathElement::new([(left, at), (across.end as i32, at)], palette.grid))?;
            area.draw(&Text::new(format!("{} %", quarter * 25), (left - 6, at), label.clone()))?;
        }
        draw_marks(&area, charts, columns, &x, TOP, bottom, palette)?;
        for (i, timeline) in charts.timelines.iter().enumerate() {
            let per = charts.accesses_per_column;
            let rate = |(column, hits): (usize, &u32)| {
                let in_column = per.min(accesses - per * column as u64).max(1);
                f64::from(*hits) / in_column as f64
            };
            let rates: Vec<f64> = timeline.hits.iter().enumerate().map(rate).collect();
            let middle = |column: usize| (x(column) + x(column + 1)) / 2;
            let points: Vec<(i32, i32)> = rates.iter().enumerate().map(|(c, r)| (middle(c), y(*r))).collect();
            let colour = palette.series[i % SERIES];
            area.draw(&PathElement::new(points, colour.stroke_width(2)))?;
        }
        draw_access_axis(&area, charts, accesses, columns, &x, bottom, palette)?;
        area.present()?;
    }
    Ok(svg)
}

/// Height of the chart of capacity curves in pixels.
const CURVES_HEIGHT: u32 = 300;

/// Misses by capacity on a logarithmic scale: one line a policy, and the bounds in the colour of the text.
pub(crate) fn curves(curves: &Curves, by_bytes: bool, width: u32, palette: &Palette) -> Result<String, Failure> {
    let left = 48;
    let bottom = CURVES_HEIGHT as i32 - AXIS;
    let right = width as i32 - RIGHT;
    let log = |capacity: u64| (capacity.max(1) as f64).log2();
    let Some(points) = curves.curves.first().map(|curve| &curve.points) else { return Ok(String::new()) };
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Ok(String::new()) };
    let (from, to) = (log(first.capacity_bytes), log(last.capacity_bytes));
    let x = |capacity: u64| {
        left + (f64::from(right - left) * (log(capacity) - from) / (to - from).max(1e-9)).round() as i32
    };
    let y = |ratio: f64| bottom - (f64::from(bottom - TOP) * ratio).round() as i32;
    let line = |points: &[Point]| -> Vec<(i32, i32)> {
        let at = |p: &Point| (x(p.capacity_bytes), y(if by_bytes { p.byte_miss_ratio } else { p.miss_ratio }));
        points.iter().map(at).collect()
    };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, CURVES_HEIGHT)).into_drawing_area();
        let label = text_style(palette).pos(Pos::new(HPos::Right, VPos::Center));
        for quarter in 0..=4 {
            let at = y(f64::from(quarter) / 4.0);
            area.draw(&PathElement::new([(left, at), (right, at)], palette.grid))?;
            area.draw(&Text::new(format!("{} %", quarter * 25), (left - 6, at), label.clone()))?;
        }
        let bound = palette.text.mix(0.7).stroke_width(2);
        for points in curves.bounds.iter().flat_map(|bounds| [&bounds.upper, &bounds.lower]) {
            area.draw(&PathElement::new(line(points), bound))?;
        }
        for (i, curve) in curves.curves.iter().enumerate() {
            area.draw(&PathElement::new(line(&curve.points), palette.series[i % SERIES].stroke_width(2)))?;
        }
        let labels = (width as usize / 110).min(points.len()).clamp(1, 7);
        for i in 0..labels {
            let capacity = points[i * (points.len() - 1) / (labels - 1).max(1)].capacity_bytes;
            let position = match i {
                0 => HPos::Left,
                _ if i + 1 == labels => HPos::Right,
                _ => HPos::Center,
            };
            let style = text_style(palette).pos(Pos::new(position, VPos::Top));
            let text = accel_core::units::format_bytes(capacity);
            area.draw(&Text::new(text, (x(capacity), bottom + 4), style))?;
        }
        let style = text_style(palette).pos(Pos::new(HPos::Center, VPos::Top));
        area.draw(&Text::new("capacity", ((left + right) / 2, bottom + 18), style))?;
        area.present()?;
    }
    Ok(svg)
}

/// Height of a small chart in pixels.
const SMALL_HEIGHT: u32 = 170;

/// Shares of one or two distributions over the same bins, side by side; the highest fills the chart.
pub(crate) fn bars(labels: &[String], series: &[Vec<f64>], width: u32, palette: &Palette) -> Result<String, Failure> {
    let (left, right) = (48, width as i32 - RIGHT);
    let bottom = SMALL_HEIGHT as i32 - AXIS + 14;
    let top = series.iter().flatten().copied().fold(0.0, f64::max).max(1e-9);
    let bins = labels.len().max(1) as i32;
    let x = |bin: i32| left + (right - left) * bin / bins;
    let y = |share: f64| bottom - (f64::from(bottom - TOP) * share / top).round() as i32;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, SMALL_HEIGHT)).into_drawing_area();
        let label = text_style(palette).pos(Pos::new(HPos::Right, VPos::Center));
        for half in 0..=2 {
            let share = top * f64::from(half) / 2.0;
            area.draw(&PathElement::new([(left, y(share)), (right, y(share))], palette.grid))?;
            area.draw(&Text::new(format!("{:.0} %", 100.0 * share), (left - 6, y(share)), label.clone()))?;
        }
        for (i, shares) in series.iter().enumerate() {
            for (bin, share) in shares.iter().enumerate() {
                let wide = (x(bin as i32 + 1) - x(bin as i32)).max(1);
                let from = x(bin as i32) + wide * i as i32 / series.len() as i32;
                let to = x(bin as i32) + (wide * (i as i32 + 1) / series.len() as i32 - 1).max(1);
                area.draw(&Rectangle::new([(from, y(*share)), (to, bottom)], palette.series[i % SERIES].filled()))?;
            }
        }
        let every = (labels.len() * 64).div_ceil((right - left).max(1) as usize).max(1);
        let style = text_style(palette).pos(Pos::new(HPos::Center, VPos::Top));
        for (bin, text) in labels.iter().enumerate().step_by(every) {
            let middle = (x(bin as i32) + x(bin as i32 + 1)) / 2;
            area.draw(&Text::new(text.clone(), (middle, bottom + 4), style.clone()))?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// One line through `points`, each 0..=1 both ways, with the texts at the ends of the axes; with `diagonal`, the line
/// on which both axes agree.
pub(crate) fn line(
    points: &[(f64, f64)],
    ends: [&str; 3],
    diagonal: bool,
    width: u32,
    palette: &Palette,
) -> Result<String, Failure> {
    let (left, right) = (64, width as i32 - RIGHT);
    let bottom = SMALL_HEIGHT as i32 - AXIS + 14;
    let at = |(x, y): (f64, f64)| {
        let across = left + (f64::from(right - left) * x).round() as i32;
        (across, bottom - (f64::from(bottom - TOP) * y).round() as i32)
    };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, SMALL_HEIGHT)).into_drawing_area();
        for y in [0.0, 0.5, 1.0] {
            area.draw(&PathElement::new([at((0.0, y)), at((1.0, y))], palette.grid))?;
        }
        if diagonal {
            area.draw(&PathElement::new([at((0.0, 0.0)), at((1.0, 1.0))], palette.text.mix(0.5)))?;
        }
        let line: Vec<(i32, i32)> = points.iter().map(|point| at(*point)).collect();
        area.draw(&PathElement::new(line, palette.series[0].stroke_width(2)))?;
        let [top, start, end] = ends;
        let style = |h, v| text_style(palette).pos(Pos::new(h, v));
        area.draw(&Text::new(top.to_owned(), (left - 6, TOP), style(HPos::Right, VPos::Center)))?;
        area.draw(&Text::new("0".to_owned(), (left - 6, bottom), style(HPos::Right, VPos::Center)))?;
        area.draw(&Text::new(start.to_owned(), (left, bottom + 4), style(HPos::Left, VPos::Top)))?;
        area.draw(&Text::new(end.to_owned(), (right, bottom + 4), style(HPos::Right, VPos::Top)))?;
        area.present()?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn text_style(palette: &Palette) -> TextStyle<'static> {
    TextStyle { color: palette.text.to_backend_color(), ..("system-ui, sans-serif", TEXT).into_font().into() }
}

/// A line with its name at each named point of the trace.
fn draw_marks(
    area: &Area<'_>,
    charts: &Charts,
    columns: usize,
    x: &dyn Fn(usize) -> i32,
    top: i32,
    bottom: i32,
    palette: &Palette,
) -> Result<(), Failure> {
    let mut free_from = i32::MIN;
    for mark in &charts.marks {
        let column = (mark.at / charts.accesses_per_column.max(1)) as usize;
        let at = x(column.min(columns));
        area.draw(&PathElement::new([(at, top), (at, bottom)], palette.text.mix(0.5)))?;
        // Names that would run into the one before are left out; their lines stay.
        if at >= free_from {
            let style = text_style(palette).pos(Pos::new(HPos::Left, VPos::Bottom));
            area.draw(&Text::new(mark.label.clone(), (at + 2, top - 2), style))?;
            free_from = at + 8 * mark.label.len() as i32 + 8;
        }
    }
    Ok(())
}

/// The axis of access numbers.
fn draw_access_axis(
    area: &Area<'_>,
    charts: &Charts,
    accesses: u64,
    columns: usize,
    x: &dyn Fn(usize) -> i32,
    bottom: i32,
    palette: &Palette,
) -> Result<(), Failure> {
    area.draw(&PathElement::new([(x(0), bottom), (x(columns), bottom)], palette.grid))?;
    for quarter in 0..=4 {
        let column = columns * quarter / 4;
        let position = match quarter {
            0 => HPos::Left,
            4 => HPos::Right,
            _ => HPos::Center,
        };
        let style = text_style(palette).pos(Pos::new(position, VPos::Top));
        let access = accel_core::units::format_count((charts.accesses_per_column * column as u64).min(accesses));
        area.draw(&Text::new(access, (x(column), bottom + 4), style))?;
    }
    let style = text_style(palette).pos(Pos::new(HPos::Center, VPos::Top));
    area.draw(&Text::new("access", (x(columns / 2), bottom + 18), style))
}
