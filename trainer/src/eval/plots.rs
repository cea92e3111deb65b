//! The plots of the evaluation as SVG, drawn with plotters on white, so that they are read in light and dark viewers.

use anyhow::anyhow;
use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, DrawingArea, IntoDrawingArea as _, PathElement, Rectangle, SVGBackend,
    SeriesLabelPosition, WHITE,
};
use plotters::style::{Color as _, RGBColor};

use super::compare::{EMBEDDED, Points, Who, best_single, reuse};
use super::gaps::Mean;
use super::measure::{Measured, Unit};
use super::report::{families, half};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Failure = plotters::drawing::DrawingAreaErrorKind<std::io::Error>;

/// Four colours that those who do not see red or green tell apart (Okabe and Ito 2008).
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(86, 180, 233), RGBColor(230, 159, 0), RGBColor(213, 94, 0)];
const LIGHT: RGBColor = RGBColor(225, 225, 225);

fn draw(size: (u32, u32), paint: impl FnOnce(&Area<'_>) -> Result<(), Failure>) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let drawn = area.fill(&WHITE).and_then(|()| paint(&area)).and_then(|()| area.present());
        drawn.map_err(|error| anyhow!("cannot draw: {error}"))?;
    }
    Ok(svg)
}

/// A file name and its SVG for each plot.
pub(super) fn all(measured: &[Measured]) -> anyhow::Result<Vec<(&'static str, String)>> {
    let halves = [("never seen", half(measured, false)), ("validation", half(measured, true))];
    let halves: Vec<(&str, Vec<&Measured>)> = halves.into_iter().filter(|(_, points)| !points.is_empty()).collect();
    Ok(vec![("families.svg", bars(&halves)?), ("points.svg", dots(&halves)?)])
}

/// For each half and family, the mean gap closed in bytes by four deciders, with its interval.
fn bars(halves: &[(&str, Vec<&Measured>)]) -> anyhow::Result<String> {
    draw((1080, 400 * halves.len() as u32), |area| {
        for ((name, points), part) in halves.iter().zip(area.split_evenly((halves.len(), 1))) {
            family_bars(&part, name, points)?;
        }
        Ok(())
    })
}

fn family_bars(area: &Area<'_>, name: &str, points: &Points<'_>) -> Result<(), Failure> {
    let single = best_single(points, Unit::Bytes);
    let who = [EMBEDDED, reuse("history"), single, Who::Hindsight];
    let names =
        who.map(|one| if one == single { format!("best single classic ({})", one.title()) } else { one.title() });
    let families = families(points);
    let label = |at: &f64| {
        // A label stands in the middle of its family.
        let inside = (at.fract() - 0.5).abs() < 0.01;
        families.get(*at as usize).filter(|_| inside).map_or_else(String::new, |family| (*family).to_owned())
    };
    let mut chart = ChartBuilder::on(area)
        .caption(format!("Gap closed in bytes, {name}: means and 95 % intervals"), ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(28)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..families.len() as f64, -1.0..1.02)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(LIGHT)
        .light_line_style(WHITE)
        .x_labels(2 * families.len() + 1)
        .x_label_formatter(&label)
        .y_labels(9)
        .y_label_formatter(&|gap| format!("{gap:.2}"))
        .label_style(("sans-serif", 14))
        .draw()?;
    for (i, (who, name)) in who.into_iter().zip(names).enumerate() {
        let colour = COLOURS[i];
        let (mut boxes, mut lines) = (Vec::new(), Vec::new());
        for (at, family) in families.iter().enumerate() {
            let part: Vec<&Measured> = points.iter().copied().filter(|point| point.family == *family).collect();
            let Mean { mean, low, high, count } = who.mean(&part, Unit::Bytes);
            if count == 0 {
                continue;
            }
            let left = at as f64 + 0.1 + 0.2 * i as f64;
            boxes.push(Rectangle::new([(left, 0.0), (left + 0.18, mean)], colour.filled()));
            lines.push(PathElement::new(vec![(left + 0.09, low), (left + 0.09, high)], BLACK.stroke_width(1)));
        }
        let legend = move |(x, y): (i32, i32)| Rectangle::new([(x, y - 6), (x + 12, y + 6)], colour.filled());
        chart.draw_series(boxes)?.label(name).legend(legend);
        chart.draw_series(lines)?;
    }
    chart.draw_series([PathElement::new(vec![(0.0, 0.0), (families.len() as f64, 0.0)], BLACK.stroke_width(1))])?;
    name_series(&mut chart)
}

/// The names of the series, in the lower left corner.
fn name_series(chart: &mut Chart<'_>) -> Result<(), Failure> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE)
        .border_style(LIGHT)
        .label_font(("sans-serif", 14))
        .draw()
}

/// Pixels of a point's row.
const ROW: u32 = 15;

/// For each point, the gap closed in bytes by what is shipped, by the best classic there, and by perfect predictions.
fn dots(halves: &[(&str, Vec<&Measured>)]) -> anyhow::Result<String> {
    let heights: Vec<u32> = halves.iter().map(|(_, points)| 80 + ROW * points.len() as u32).collect();
    draw((1080, heights.iter().sum()), |area| {
        let mut rest = area.clone();
        for ((name, points), height) in halves.iter().zip(heights) {
            let (part, below) = rest.split_vertically(height);
            point_dots(&part, name, points)?;
            rest = below;
        }
        Ok(())
    })
}

fn point_dots(area: &Area<'_>, name: &str, points: &Points<'_>) -> Result<(), Failure> {
    let rows = points.len();
    // The first point stands on top, in the middle of its row.
    let label = |at: &f64| {
        let inside = (at.fract() - 0.5).abs() < 0.01;
        let point = rows.checked_sub(1 + *at as usize).and_then(|row| points.get(row)).filter(|_| inside);
        point.map_or_else(String::new, |point| point.point.clone())
    };
    let mut chart = ChartBuilder::on(area)
        .caption(format!("Gap closed in bytes at every point, {name}"), ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(26)
        .y_label_area_size(330)
        .build_cartesian_2d(-1.05..1.05, 0.0..rows as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .bold_line_style(LIGHT)
        .light_line_style(WHITE)
        .x_labels(9)
        .x_label_formatter(&|gap| format!("{gap:.2}"))
        .y_labels(2 * rows + 1)
        .y_label_formatter(&label)
        .label_style(("sans-serif", 12))
        .draw()?;
    let at = |row: usize| (rows - row) as f64 - 0.5;
    let gap = |who: Who, row: usize| points.get(row).and_then(|point| who.gap(point, Unit::Bytes));
    let both = (0..rows).filter_map(|row| Some((row, gap(EMBEDDED, row)?, gap(Who::Hindsight, row)?)));
    chart.draw_series(
        both.map(|(row, from, to)| PathElement::new(vec![(from, at(row)), (to, at(row))], LIGHT.stroke_width(3))),
    )?;
    chart.draw_series([PathElement::new(vec![(0.0, 0.0), (0.0, rows as f64)], BLACK.stroke_width(1))])?;
    for (who, colour) in [(Who::Hindsight, COLOURS[3]), (EMBEDDED, COLOURS[0])] {
        let dots = (0..rows).filter_map(|row| Some(Circle::new((gap(who, row)?, at(row)), 4, colour.filled())));
        let legend = move |(x, y): (i32, i32)| Circle::new((x + 6, y), 4, colour.filled());
        chart.draw_series(dots)?.label(who.title()).legend(legend);
    }
    name_series(&mut chart)
}
