//! Answers as pictures: `--plot`.

use std::fs;
use std::path::Path;

use accel_chart::alone::{Figure, html};
use accel_chart::canvas::Failure;
use accel_chart::{capacity, ranking};
use accel_core::curve::Curves;
use accel_core::sim::Report;
use accel_core::units::format_bytes;
use anyhow::{Context as _, anyhow, bail};

/// Pixels of a picture: what a page of text or a slide has room for.
const WIDTH: u32 = 900;

fn drawn(svg: Result<String, Failure>) -> anyhow::Result<String> {
    svg.map_err(|error| anyhow!("cannot draw: {error}"))
}

/// What each policy fetches from DRAM.
pub(crate) fn of_runs(runs: &[Report], least: Option<u64>) -> anyhow::Result<Figure> {
    let same = runs.windows(2).all(|pair| pair[0].capacity_bytes == pair[1].capacity_bytes);
    let name = |run: &Report| match same {
        true => run.policy.title(),
        false => format!("{}, {}", run.policy.title(), format_bytes(run.capacity_bytes)),
    };
    let bytes: Vec<(String, u64)> = runs.iter().map(|run| (name(run), run.miss_bytes)).collect();
    let svg = drawn(ranking::draw(&bytes, least, WIDTH))?;
    let head = ["policy", "capacity_bytes", "hits", "misses", "miss_bytes", "time_ms"].map(str::to_owned).to_vec();
    let row = |run: &Report| {
        let numbers = [run.capacity_bytes, run.hits, run.misses, run.miss_bytes].map(|number| number.to_string());
        let time = run.time_ms().map_or(String::new(), |ms| ms.to_string());
        [run.policy.name()].into_iter().chain(numbers).chain([time]).collect()
    };
    let rows = [head].into_iter().chain(runs.iter().map(row)).collect();
    Ok(Figure { title: "What each policy fetches from DRAM".into(), legend: Vec::new(), svg, rows })
}

/// How misses fall as memory grows.
pub(crate) fn of_curves(curves: &Curves) -> anyhow::Result<Figure> {
    let svg = drawn(capacity::draw(curves, true, &|_| false, WIDTH))?;
    let legend = curves.curves.iter().map(|curve| curve.policy.title()).collect();
    let title = "Bytes missed per byte requested, by the capacity of fast memory".into();
    Ok(Figure { title, legend, svg, rows: capacity::figures(curves) })
}

/// Writes a figure into a file whose name ends in .svg or .html.
pub(crate) fn save(path: &Path, figure: &Figure) -> anyhow::Result<()> {
    let content = match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => figure.to_svg(),
        Some("html" | "htm") => html(&figure.title, std::slice::from_ref(figure)),
        _ => bail!(
            "--plot \"{}\": pictures are SVG or HTML. Name a file that ends in .svg or .html; a browser or Inkscape makes a \
             PNG of it",
            path.display()
        ),
    };
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}
