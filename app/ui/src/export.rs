//! What is shown, as files: a drawing as SVG or PNG, its figures as CSV or JSON.

use std::fmt::Write as _;

use accel_chart::canvas::VARIABLES;
use leptos::html::Div;
use leptos::prelude::*;
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{
    Blob, BlobPropertyBag, CanvasRenderingContext2d, Element, HtmlAnchorElement, HtmlCanvasElement, HtmlImageElement,
    Url,
};

use crate::built::{Build, Built};

/// The figures behind what is shown, their heads first.
pub type Rows = std::sync::Arc<dyn Fn() -> Vec<Vec<String>> + Send + Sync>;

/// Pixels of a PNG for each of the drawing.
const SCALE: u32 = 2;

/// The menu that saves what is called `label` in files called `name`. A drawing is what `place` shows.
pub fn menu(name: &'static str, label: &str, place: Option<NodeRef<Div>>, rows: Rows) -> Built {
    let drawing = move || place.and_then(|place| place.get_untracked()).and_then(|place| drawing_of(&place));
    let button = |format: &'static str, save: Box<dyn Fn()>| {
        view! {
            <button type="button" class="quiet" on:click=move |_| save()>
                {format}
            </button>
        }
    };
    let pictures = place.map(|_| {
        let svg = move || {
            if let Some(drawing) = drawing() {
                save(&format!("{name}.svg"), "image/svg+xml", &drawing);
            }
        };
        let png = move || {
            if let Some(drawing) = drawing() {
                save_png(name, &drawing);
            }
        };
        view! {
            {button("SVG", Box::new(svg))}
            {button("PNG", Box::new(png))}
        }
    });
    let of_json = std::sync::Arc::clone(&rows);
    let csv = move || save(&format!("{name}.csv"), "text/csv", &csv(&rows()));
    let json = move || save(&format!("{name}.json"), "application/json", &json(&of_json()));
    view! {
        <details class="menu">
            <summary aria-label=format!("Export: {label}")>"Export"</summary>
            <div>{pictures} {button("CSV", Box::new(csv))} {button("JSON", Box::new(json))}</div>
        </details>
    }
    .built()
}

/// Saves `content` as the file `name`.
pub fn save(name: &str, kind: &str, content: &str) {
    save_part(name, kind, &content.into());
}

/// Saves `bytes` as the file `name`.
pub fn save_bytes(name: &str, bytes: &[u8]) {
    save_part(name, "application/octet-stream", &js_sys::Uint8Array::from(bytes).into());
}

/// Saves a text or bytes as the file `name`.
fn save_part(name: &str, kind: &str, content: &JsValue) {
    let options = BlobPropertyBag::new();
    options.set_type(kind);
    let parts = js_sys::Array::of1(content);
    if let Ok(blob) = Blob::new_with_u8_array_sequence_and_options(&parts, &options) {
        save_blob(name, &blob);
    }
}

fn save_blob(name: &str, blob: &Blob) {
    let saved = || -> Result<(), JsValue> {
        let url = Url::create_object_url_with_blob(blob)?;
        let link: HtmlAnchorElement = document().create_element("a")?.unchecked_into();
        link.set_href(&url);
        link.set_download(name);
        link.click();
        // The browser has it by the time that the next turn begins.
        set_timeout(move || drop(Url::revoke_object_url(&url)), std::time::Duration::from_secs(10));
        Ok(())
    };
    if saved().is_err() {
        leptos::logging::error!("the browser refuses to save {name}");
    }
}

/// The drawing that `place` shows, with its colours in the place of the variables of the style sheet.
fn drawing_of(place: &Element) -> Option<String> {
    let svg = place.query_selector("svg").ok().flatten()?.outer_html();
    let mut svg = with_colours(svg);
    if !svg.contains("xmlns=") {
        svg = svg.replacen("<svg", r#"<svg xmlns="http://www.w3.org/2000/svg""#, 1);
    }
    let behind = format!(r#"<rect width="100%" height="100%" fill="{}"/>"#, colour("--panel")?);
    let body = svg.find('>')? + 1;
    svg.insert_str(body, &behind);
    Some(svg)
}

/// A text of SVG in which every variable of the style sheet has become the colour that it stands for now.
pub fn with_colours(mut svg: String) -> String {
    for (variable, ..) in VARIABLES {
        let name = format!("var({variable})");
        if svg.contains(&name) {
            svg = svg.replace(&name, &colour(variable).unwrap_or_default());
        }
    }
    svg
}

/// The colour of a variable of the style sheet, as the theme has it now.
fn colour(variable: &str) -> Option<String> {
    // Only what an element uses is computed.
    let probe: web_sys::HtmlElement = document().create_element("i").ok()?.dyn_into().ok()?;
    probe.style().set_property("color", &format!("var({variable})")).ok()?;
    document().body()?.append_child(&probe).ok()?;
    let colour = window().get_computed_style(&probe).ok()??.get_property_value("color").ok();
    probe.remove();
    colour
}

fn save_png(name: &'static str, svg: &str) {
    let Ok(image) = HtmlImageElement::new() else { return };
    let drawn = {
        let image = image.clone();
        Closure::once_into_js(move || {
            let saved = || -> Result<(), JsValue> {
                let canvas: HtmlCanvasElement = document().create_element("canvas")?.unchecked_into();
                let (width, height) = (image.natural_width() * SCALE, image.natural_height() * SCALE);
                canvas.set_width(width);
                canvas.set_height(height);
                let context = canvas.get_context("2d")?.ok_or(JsValue::NULL)?;
                let context: CanvasRenderingContext2d = context.unchecked_into();
                let (width, height) = (f64::from(width), f64::from(height));
                context.draw_image_with_html_image_element_and_dw_and_dh(&image, 0.0, 0.0, width, height)?;
                let take = Closure::once_into_js(move |blob: Option<Blob>| {
                    if let Some(blob) = blob {
                        save_blob(&format!("{name}.png"), &blob);
                    }
                });
                canvas.to_blob(take.unchecked_ref())
            };
            if saved().is_err() {
                leptos::logging::error!("the browser refuses to draw {name}");
            }
        })
    };
    image.set_onload(Some(drawn.unchecked_ref()));
    let text = js_sys::encode_uri_component(svg).as_string().unwrap_or_default();
    image.set_src(&format!("data:image/svg+xml,{text}"));
}

/// Rows as CSV.
fn csv(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for row in rows {
        let cell = |cell: &String| match cell.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        };
        let cells: Vec<String> = row.iter().map(cell).collect();
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

/// Rows as a list of objects, numbers as numbers.
fn json(rows: &[Vec<String>]) -> String {
    let quoted = |text: &str| js_sys::JSON::stringify(&text.into()).map_or_else(|_| "null".into(), String::from);
    let value = |text: &String| match text.parse::<f64>() {
        Ok(number) if number.is_finite() => text.clone(),
        _ if text.is_empty() => "null".into(),
        _ => quoted(text),
    };
    let mut text = String::from("[");
    let Some((heads, rows)) = rows.split_first() else { return "[]".into() };
    for (i, row) in rows.iter().enumerate() {
        text.push_str(if i == 0 { "\n" } else { ",\n" });
        let fields = heads.iter().zip(row).map(|(head, cell)| format!("{}:{}", quoted(head), value(cell)));
        let fields: Vec<String> = fields.collect();
        // Writing to a text does not fail.
        let _ = write!(text, "{{{}}}", fields.join(","));
    }
    text.push_str("\n]\n");
    text
}
