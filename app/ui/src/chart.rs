//! Charts that are looked at, read and exported: drawn by [`accel_chart`] at the width they are shown.

use std::sync::Arc;

pub use accel_chart::canvas::{Canvas, Colour, Failure, HPos, VPos, svg};
pub use accel_chart::frame::{Frame, LABELS, LABELS_AND_NAME, RIGHT, TOP};
use leptos::html::Div;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::prelude::Closure;
use web_sys::ResizeObserver;

use crate::built::{Build, Built};
use crate::export;
pub use crate::export::Rows;
use crate::over::Over;

/// Draws a chart at a width in pixels; drawn anew whenever a signal that it reads changes.
pub type Draw = Arc<dyn Fn(u32) -> Result<String, Failure> + Send + Sync>;

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
