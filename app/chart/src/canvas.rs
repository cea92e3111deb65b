//! What a chart is painted on, and its colours.

use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::{
    Circle, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea as _, IntoFont as _, PathElement, Polygon, RGBColor,
    Rectangle, SVGBackend, ShapeStyle, Text,
};
use plotters::style::Color as _;
use plotters::style::text_anchor::Pos;
pub use plotters::style::text_anchor::{HPos, VPos};

use crate::frame::Frame;

/// Colours of lines; further lines have the same ones and other marks.
pub const SERIES: usize = 6;

/// The variables of the page's style sheet that colours stand for, and what they are where there is no page: those of its
/// light and its dark theme. A drawing follows the theme by itself: plotters gets a stand-in of each colour, and the SVG the
/// variable in its place.
pub const VARIABLES: [(&str, &str, &str); 5 + SERIES] = [
    ("--chart-text", "rgb(71 78 92)", "rgb(174 182 196)"),
    ("--chart-grid", "rgb(226 229 236)", "rgb(48 54 66)"),
    ("--text", "#1b2130", "#e6e9ef"),
    ("--heat-empty", "rgb(238 241 247)", "rgb(33 38 48)"),
    ("--heat-full", "rgb(16 78 139)", "rgb(120 190 255)"),
    ("--s0", "rgb(0 114 178)", "rgb(86 170 230)"),
    ("--s1", "rgb(213 94 0)", "rgb(240 140 60)"),
    ("--s2", "rgb(0 158 115)", "rgb(50 200 155)"),
    ("--s3", "rgb(204 121 167)", "rgb(225 160 200)"),
    ("--s4", "rgb(145 108 0)", "rgb(215 180 70)"),
    ("--s5", "rgb(86 180 233)", "rgb(150 215 250)"),
];

/// Why a chart could not be drawn.
pub type Failure = DrawingAreaErrorKind<std::io::Error>;

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

    /// The colour of the line number `i`; the mark in its legend has the same (`dot` on the page).
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
    for (i, (variable, ..)) in VARIABLES.iter().enumerate() {
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
    /// colour; the marks of a legend have other shapes (`dot` on the page).
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
        self.text_in(Colour::TEXT, text, at, horizontal, vertical)
    }

    /// The same in a colour.
    pub fn text_in(
        &self,
        colour: Colour,
        text: String,
        at: (i32, i32),
        horizontal: HPos,
        vertical: VPos,
    ) -> Result<(), Failure> {
        let style = ("system-ui, sans-serif", TEXT_SIZE).into_font().color(&colour.stand_in(true, 1).color);
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
