//! What a trace is like as SVG, drawn with plotters.

use accel_core::trace::popularity::Popularity;
use accel_core::trace::views::{Bin, Point, Views};
use accel_core::units::format_bytes;
use anyhow::anyhow;
use plotters::prelude::{
    BLACK, BLUE, ChartBuilder, IntoDrawingArea as _, IntoLogRange as _, PathElement, RED, Rectangle, SVGBackend, WHITE,
};
use plotters::style::{Color as _, RGBColor};

/// Pixels of a plot: a column of a paper, and the height that goes with it.
const SIZE: (u32, u32) = (720, 420);

/// A file name and its SVG for each plot.
pub(crate) fn all(popularity: &Popularity, views: &Views) -> anyhow::Result<Vec<(&'static str, String)>> {
    let bars = |name, title, bins: &[Bin], bytes| Ok::<_, anyhow::Error>((name, bars(title, bins, bytes)?));
    Ok(vec![
        ("popularity.svg", ranks(popularity)?),
        bars("sizes.svg", "Tensors by size in bytes", &views.sizes, true)?,
        bars("reuse.svg", "Reuses by accesses since the last use", &views.reuse_distance, false)?,
        bars(
            "stack_distances.svg",
            "Reuses by bytes of the distinct tensors since the last use",
            &views.stack_distance_bytes,
            true,
        )?,
        ("working_set.svg", working_set(&views.working_set)?),
    ])
}

/// Draws into a string.
fn draw<E: std::fmt::Display>(
    paint: impl FnOnce(&plotters::drawing::DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Result<(), E>,
) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let failed = |error: String| anyhow!("cannot draw: {error}");
        area.fill(&WHITE).map_err(|e| failed(e.to_string()))?;
        paint(&area).map_err(|e| failed(e.to_string()))?;
        area.present().map_err(|e| failed(e.to_string()))?;
    }
    Ok(svg)
}

type Failure = plotters::drawing::DrawingAreaErrorKind<std::io::Error>;

/// Accesses by rank, both axes logarithmic, with the law that fits best.
fn ranks(popularity: &Popularity) -> anyhow::Result<String> {
    let points: Vec<(f64, f64)> =
        popularity.ranks.iter().map(|point| (point.rank as f64, point.accesses as f64)).collect();
    let (last, most) = (points.last().map_or(1.0, |p| p.0), points.first().map_or(1.0, |p| p.1));
    let title = match popularity.zipf {
        Some(zipf) => format!("Accesses by rank, and rank^-{:.3}", zipf.exponent),
        None => "Accesses by rank".to_owned(),
    };
    draw(|area| -> Result<(), Failure> {
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(70)
            .build_cartesian_2d((1.0..last.max(2.0)).log_scale(), (0.9..most.max(2.0) * 1.2).log_scale())?;
        chart.configure_mesh().x_desc("rank").y_desc("accesses").draw()?;
        if let Some(zipf) = popularity.zipf {
            // Through the accesses of the middle of the ranks in this scale.
            let (rank, accesses) = points.get(points.len() / 2).copied().unwrap_or((1.0, 1.0));
            let law = points.iter().map(|(at, _)| (*at, accesses * (at / rank).powf(-zipf.exponent)));
            let law = law.map(|(at, accesses)| (at, accesses.clamp(0.9, most.max(2.0) * 1.2)));
            chart.draw_series([PathElement::new(law.collect::<Vec<_>>(), RED.stroke_width(1))])?;
        }
        chart.draw_series([PathElement::new(points, BLUE.stroke_width(2))])?;
        Ok(())
    })
}

/// A bar for each bin.
fn bars(title: &str, bins: &[Bin], bytes: bool) -> anyhow::Result<String> {
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(1).max(1);
    let label = |at: &f64| {
        let bin = bins.get(at.floor().max(0.0) as usize);
        bin.map_or_else(String::new, |bin| if bytes { format_bytes(bin.low) } else { bin.low.to_string() })
    };
    let width = bins.len().max(1) as f64;
    draw(|area| -> Result<(), Failure> {
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(90)
            .build_cartesian_2d(0.0..width, 0.0..most as f64 * 1.05)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(10)
            .x_label_formatter(&label)
            .x_desc("from")
            .y_desc("count")
            .y_label_formatter(&|count| format!("{count:.0}"))
            .draw()?;
        let bar = |(i, bin): (usize, &Bin)| {
            let (left, right) = (i as f64 + 0.1, i as f64 + 0.9);
            Rectangle::new([(left, 0.0), (right, bin.count as f64)], BLUE.filled())
        };
        chart.draw_series(bins.iter().enumerate().map(bar))?;
        Ok(())
    })
}

/// Distinct bytes of each window, and since the start.
fn working_set(points: &[Point]) -> anyhow::Result<String> {
    let last = points.last().map_or(1, |point| point.at).max(1) as f64;
    let most = points.iter().map(|point| point.bytes_so_far.max(point.bytes)).max().unwrap_or(1).max(1) as f64;
    let line = |figure: fn(&Point) -> u64, colour: RGBColor| {
        let points: Vec<(f64, f64)> = points.iter().map(|point| (point.at as f64, figure(point) as f64)).collect();
        PathElement::new(points, colour.stroke_width(2))
    };
    draw(|area| -> Result<(), Failure> {
        let mut chart = ChartBuilder::on(area)
            .caption("Distinct bytes of each window (blue), and since the start (black)", ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(90)
            .build_cartesian_2d(0.0..last, 0.0..most * 1.05)?;
        chart
            .configure_mesh()
            .x_desc("accesses")
            .x_label_formatter(&|at| format!("{at:.0}"))
            .y_label_formatter(&|bytes| format_bytes(bytes.round() as u64))
            .draw()?;
        chart.draw_series([line(|point| point.bytes_so_far, BLACK), line(|point| point.bytes, BLUE)])?;
        Ok(())
    })
}
