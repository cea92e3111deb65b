//! Answers as pictures: `--plot`.

use std::fs;
use std::path::Path;

use accel_chart::alone::{Figure, html, svg_of_all};
use accel_chart::answer;
use accel_chart::canvas::Failure;
use accel_core::curve::Curves;
use accel_core::sim::Report;
use anyhow::{Context as _, anyhow, bail};
use resvg::{tiny_skia, usvg};

/// Pixels of a picture: what a page of text or a slide has room for.
pub(crate) const WIDTH: u32 = 900;

pub(crate) fn drawn<T>(drawing: Result<T, Failure>) -> anyhow::Result<T> {
    drawing.map_err(|error| anyhow!("cannot draw: {error}"))
}

/// What each policy fetches from DRAM.
pub(crate) fn of_runs(runs: &[Report], least: Option<u64>) -> anyhow::Result<Figure> {
    drawn(answer::of_runs(runs, least, WIDTH))
}

/// How misses fall as memory grows.
pub(crate) fn of_curves(curves: &Curves) -> anyhow::Result<Figure> {
    drawn(answer::of_curves(curves, WIDTH))
}

/// Writes figures into a file whose name ends in .svg, .png or .html; a page has `about` above them.
pub(crate) fn save(path: &Path, title: &str, about: &[String], figures: &[Figure]) -> anyhow::Result<()> {
    let content = match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => svg_of_all(figures).into_bytes(),
        Some("png") => png(&svg_of_all(figures))?,
        Some("html" | "htm") => html(title, about, figures).into_bytes(),
        _ => bail!(
            "--plot \"{}\": a picture is SVG or PNG, and a page is HTML. Name a file that ends in .svg, .png or .html",
            path.display()
        ),
    };
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes one figure, which has a title.
pub(crate) fn save_one(path: &Path, figure: &Figure) -> anyhow::Result<()> {
    save(path, &figure.title, &[], std::slice::from_ref(figure))
}

/// Pixels of a PNG for each of its SVG: sharp on screens of today.
const SCALE: f32 = 2.0;
/// Families of letters without serifs, the first that is there is taken.
const FAMILIES: [&str; 7] = ["Inter", "Noto Sans", "DejaVu Sans", "Liberation Sans", "Arial", "Helvetica", "Segoe UI"];

/// Renders an SVG.
///
/// # Errors
///
/// Where the system has no font: a chart without letters says nothing.
fn png(svg: &str) -> anyhow::Result<Vec<u8>> {
    let mut options = usvg::Options::default();
    let fonts = options.fontdb_mut();
    fonts.load_system_fonts();
    let has = |family: &&&str| {
        fonts.faces().any(|face| face.families.iter().any(|(name, _)| name.eq_ignore_ascii_case(family)))
    };
    let named = FAMILIES.iter().find(has).map(|family| (*family).to_owned());
    let first = || fonts.faces().find_map(|face| face.families.first().map(|(name, _)| name.clone()));
    let Some(family) = named.or_else(first) else {
        bail!(
            "no font is installed, and a PNG without letters says nothing. Install one (such as fonts-dejavu-core), or name \
             a file that ends in .svg or .html"
        )
    };
    fonts.set_sans_serif_family(family.clone());
    options.font_family = family;
    let tree = usvg::Tree::from_str(svg, &options).context("cannot read the drawing")?;
    let size = tree.size().to_int_size().scale_by(SCALE).context("the drawing is too large for a PNG")?;
    let mut pixels = tiny_skia::Pixmap::new(size.width(), size.height()).context("the drawing has no size")?;
    resvg::render(&tree, tiny_skia::Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| anyhow!("cannot write a PNG: {error}"))
}
