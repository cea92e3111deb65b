//! Charts as SVG text, drawn with plotters at the width they are shown, in the colours of the style sheet.

use std::sync::Arc;

use leptos::html::Div;
use leptos::prelude::*;
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::{
    Circle, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea as _, IntoFont as _, PathElement, Polygon, RGBColor,
    Rectangle, SVGBackend, ShapeStyle, Text,
};
use plotters::style::Color as _;
use plotters::style::text_anchor::Pos;
pub use plotters::style::text_anchor::{HPos, VPos};
use wasm_bindgen::JsCast as _;
use wasm_bindgen::prelude::Closure;
use web_sys::ResizeObserver;

use crate::built::{Build, Built};
pub use crate::export::Rows;
use crate::export::{self, VARIABLES};
pub use crate::frame::{Frame, LABELS, LABELS_AND_NAME, RIGHT, TOP};
use crate::over::Over;
use crate::view::SERIES;

/// Why a chart could not be drawn.
pub type Failure = DrawingAreaErrorKind<std::io::Error>;

/// Draws a chart at a width in pixels; drawn anew whenever a signal that it reads changes.
pub type Draw = Arc<dyn Fn(u32) -> Result<String, Failure> + Send + Sync>;

/// Height of the text, in pixels.
const TEXT_SIZE: i32 = 12;

/// A colour of the style sheet.
#[derive(Debug, Clone, Copy)]
pub struct Colour {
    variable: u8,
    opacity: f64,
}

impl Colour {
    /// Labels, and lines that belong to no series.
    pub const TEXT: Self = Self::of(0);
    /// The lines behind a chart.
    pub const GRID: Self = Self::of(1);
    /// A line as strong as the text of the page.
    pub const STRONG: Self = Self::of(2);
    /// A cell of a heatmap of which nothing is resident.
    pub const EMPTY: Self = Self::of(3);
    /// A cell of a heatmap of which all is resident.
    pub const FULL: Self = Self::of(4);

    const fn of(variable: u8) -> Self {
        Self { variable, opacity: 1.0 }
    }

    /// The colour of the line number `i`; the mark in its legend has the same (see [`crate::view::dot`]).
    pub const fn series(i: usize) -> Self {
        Self::of(5 + (i % SERIES) as u8)
    }

    /// The same colour with an opacity of 0 to 1.
    pub const fn faint(self, opacity: f64) -> Self {
        Self { opacity, ..self }
    }

    /// What plotters draws in its place.
    fn stand_in(self, filled: bool, width: u32) -> ShapeStyle {
        ShapeStyle { color: RGBColor(0, 0, self.variable).mix(self.opacity), filled, stroke_width: width }
    }
}

/// Puts the variables in the place of their stand-ins.
fn with_variables(mut svg: String) -> String {
    for (i, variable) in VARIABLES.iter().enumerate() {
        // Texts hold no plain quotes: only attributes are met.
        svg = svg.replace(&format!("\"#0000{i:02X}\""), &format!("\"var({variable})\""));
    }
    svg
}

/// What a chart is painted on.
pub struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

impl Canvas<'_> {
    /// A line of `width` through `points`.
    pub fn line(&self, points: Vec<(i32, i32)>, colour: Colour, width: u32) -> Result<(), Failure> {
        self.0.draw(&PathElement::new(points, colour.stand_in(false, width)))
    }

    /// The line number `i` of a chart, pale where it is not what is looked at. The dashes tell apart those that share a
    /// colour; the marks of a legend have other shapes (see [`crate::view::dot`]).
    pub fn series(&self, points: Vec<(i32, i32)>, i: usize, pale: bool) -> Result<(), Failure> {
        let colour = Colour::series(i).faint(if pale { 0.15 } else { 1.0 });
        let dash = match i / SERIES {
            0 => return self.line(points, colour, 2),
            1 => (9, 4),
            2 => (2, 4),
            _ => (4, 8),
        };
        self.0.draw(&DashedPathElement::new(points, dash.0, dash.1, colour.stand_in(false, 2)))
    }

    /// The line number `i` of one of two things that are compared: that of the second is dashed.
    pub fn pair(&self, points: Vec<(i32, i32)>, i: usize, second: bool) -> Result<(), Failure> {
        match second {
            false => self.line(points, Colour::series(i), 2),
            true => self.0.draw(&DashedPathElement::new(points, 6, 4, Colour::series(i).stand_in(false, 2))),
        }
    }

    /// The filled area inside `points`.
    pub fn area(&self, points: Vec<(i32, i32)>, colour: Colour) -> Result<(), Failure> {
        self.0.draw(&Polygon::new(points, colour.stand_in(true, 1)))
    }

    /// A filled rectangle between two corners.
    pub fn rectangle(&self, corners: [(i32, i32); 2], colour: Colour) -> Result<(), Failure> {
        self.0.draw(&Rectangle::new(corners, colour.stand_in(true, 1)))
    }

    /// A filled circle.
    pub fn circle(&self, centre: (i32, i32), radius: u32, colour: Colour) -> Result<(), Failure> {
        self.0.draw(&Circle::new(centre, radius, colour.stand_in(true, 1)))
    }

    /// A text of which the point `at` is the given edge.
    pub fn text(&self, text: String, at: (i32, i32), horizontal: HPos, vertical: VPos) -> Result<(), Failure> {
        let style = ("system-ui, sans-serif", TEXT_SIZE).into_font().color(&Colour::TEXT.stand_in(true, 1).color);
        self.0.draw(&Text::new(text, at, style.pos(Pos::new(horizontal, vertical))))
    }

    /// Lines across `frame`, the highest of which stands for the share `most`, with a label of each.
    pub fn percentages(&self, frame: &Frame, most: f64, steps: u32) -> Result<(), Failure> {
        for step in 0..=steps {
            let share = f64::from(step) / f64::from(steps);
            let y = frame.y(share);
            self.line(vec![(frame.left, y), (frame.right, y)], Colour::GRID, 1)?;
            self.text(format!("{:.0} %", 100.0 * most * share), (frame.left - 6, y), HPos::Right, VPos::Center)?;
        }
        Ok(())
    }
}

/// The SVG of what `paint` draws.
pub fn svg(width: u32, height: u32, paint: &dyn Fn(&Canvas<'_>) -> Result<(), Failure>) -> Result<String, Failure> {
    let mut svg = String::new();
    {
        let canvas = Canvas(SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area());
        paint(&canvas)?;
        canvas.0.present()?;
    }
    Ok(with_variables(svg))
}

/// A chart that fills the width of its place, and may be read, brushed and exported.
///
/// What follows the pointer lies above the drawing: a pointer never draws a chart anew.
pub struct Chart {
    id: &'static str,
    label: &'static str,
    draw: Draw,
    over: Option<Over>,
    rows: Option<Rows>,
}

impl Chart {
    /// The chart in the element `id`, of which `label` says what it shows.
    pub fn new(id: &'static str, label: &'static str, draw: Draw) -> Self {
        Self { id, label, draw, over: None, rows: None }
    }

    /// The same chart with what lies above it.
    pub fn over(self, over: Over) -> Self {
        Self { over: Some(over), ..self }
    }

    /// The same chart with the figures behind it, which can be exported.
    pub fn rows(self, rows: Rows) -> Self {
        Self { rows: Some(rows), ..self }
    }

    /// The chart.
    pub fn view(self) -> Built {
        let Self { id, label, draw, over, rows } = self;
        let place = NodeRef::<Div>::new();
        let width = width_of(place);
        let svg = move || drawn(width.get(), &*draw);
        let (over, reading) = over.map(|over| over.view(label, width)).unzip();
        let export = rows.map(|rows| export::menu(id, label, Some(place), rows));
        view! {
            <div class="plot">
                <div class="chart" id=id node_ref=place role="img" aria-label=label inner_html=svg></div>
                {over}
            </div>
            <div class="under">{reading} {export}</div>
        }
        .built()
    }
}

/// A chart that is only looked at.
pub fn chart(id: &'static str, label: &'static str, draw: Draw) -> Built {
    Chart::new(id, label, draw).view()
}

/// A chart's SVG, or why there is none; empty until there is a width.
pub fn drawn(width: u32, draw: &dyn Fn(u32) -> Result<String, Failure>) -> String {
    match width {
        0 => String::new(),
        width => draw(width).unwrap_or_else(|error| format!("<p>The chart could not be drawn: {error}</p>")),
    }
}

/// The width to draw at: that of `place`, in steps, so that dragging a window does not redraw every pixel. A place that is
/// hidden keeps its last one, and is looked at again when it is shown.
pub fn width_of(place: NodeRef<Div>) -> RwSignal<u32> {
    let width = RwSignal::new(0);
    let observed = StoredValue::new_local(None);
    Effect::new(move |_| {
        let Some(place) = place.get() else { return };
        let measure = {
            let place = place.clone();
            Closure::<dyn Fn()>::new(move || {
                let wide = (place.client_width() / 20 * 20).clamp(0, 1600) as u32;
                // The results may have made way for others meanwhile.
                if wide > 0 && width.try_get_untracked().is_some_and(|known| known != wide) {
                    // A turn for each chart: drawn in one, many charts would hold up whoever types.
                    let draw = move || {
                        let _ = width.try_set(wide);
                    };
                    set_timeout(draw, std::time::Duration::ZERO);
                }
            })
        };
        // Says how large the place is at once, and whenever that changes.
        if let Ok(observer) = ResizeObserver::new(measure.as_ref().unchecked_ref()) {
            observer.observe(&place);
            observed.set_value(Some((observer, measure)));
        }
    });
    on_cleanup(move || {
        if let Some((observer, _)) = observed.try_update_value(Option::take).flatten() {
            observer.disconnect();
        }
    });
    width
}
