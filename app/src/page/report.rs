//! The experiment as one HTML file that needs nothing else: what is shown, the recipe, and the link.

use accel_ui::built::{Build, Built};
use accel_ui::export;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast as _;

use crate::app::App;
use crate::form;

accel_ui::parts! {
    tabs: fn load_report -> fn(App) -> Option<String> = report;
}

/// The button that saves it.
pub(super) fn button(app: App) -> Built {
    let none = accel_ui::view::yes(move || app.engine.answer.with(Option::is_none));
    let click = move |_| {
        spawn_local(async move {
            match load_report().await.ok().and_then(|report| report(app)) {
                Some(html) => export::save("report.html", "text/html", &html),
                None => app.notice.set(Some("The report could not be put together: reload the page".into())),
            }
        });
    };
    view! {
        <button
            type="button"
            class="quiet"
            id="report"
            disabled=none
            on:click=click
            title="What is shown, as one HTML file that needs nothing else"
        >
            "Save report"
        </button>
    }
    .built()
}

fn report(app: App) -> Option<String> {
    let answer = app.engine.answer.get_untracked()?;
    let recipe = accel_core::recipe::Recipe::from_json("recipe", answer.recipe.as_bytes()).ok()?;
    let page: web_sys::Element =
        document().get_element_by_id("results")?.clone_node_with_deep(true).ok()?.dyn_into().ok()?;
    // What acts has no place on paper, and what is hidden was not looked at.
    let out = page
        .query_selector_all("button.quiet, select, .over, .handle, .menu, #questions, #json, [hidden], input, .under")
        .ok()?;
    for i in 0..out.length() {
        if let Some(node) = out.item(i).and_then(|node| node.dyn_into::<web_sys::Element>().ok()) {
            node.remove();
        }
    }
    let style = style_sheet().unwrap_or_default();
    let (title, link) = (escaped(&form::title(&recipe)), window().location().href().ok()?);
    let (recipe, link) = (escaped(&answer.recipe), escaped(&link));
    let body = page.outer_html();
    Some(format!(
        r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}
body {{ max-width: 75rem; margin: 1rem auto; padding: 0 1rem; }}</style></head>
<body><h1>{title}</h1>
{body}
<h2>Recipe</h2><pre class="source"><code>{recipe}</code></pre>
<p>Opened by <code>accel simulate --recipe FILE</code>, or by <a href="{link}">the link of the page</a>.</p>
</body></html>
"#
    ))
}

/// The rules of the page's style sheet.
fn style_sheet() -> Option<String> {
    let sheets = document().style_sheets();
    let mut text = String::new();
    for i in 0..sheets.length() {
        let sheet: web_sys::CssStyleSheet = sheets.item(i)?.dyn_into().ok()?;
        let rules = sheet.css_rules().ok()?;
        for j in 0..rules.length() {
            text.push_str(&rules.item(j)?.css_text());
            text.push('\n');
        }
    }
    Some(text)
}

/// A text as HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
