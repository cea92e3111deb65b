//! The experiment in a line: each part opens its field.

use accel_core::policy::PolicySpec;
use accel_core::recipe::fields::Field;
use accel_core::workload::presets;
use accel_ui::built::{Build, Built};
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::HtmlElement;

use crate::app::App;
use crate::form::{CUSTOM, FITTING, Form, PROTOTYPE, Source};

/// Most policies whose names are shown.
const NAMED: usize = 3;

/// A chip for workload, capacity, policies and device.
pub(super) fn chips(app: App) -> Built {
    let form = app.form;
    let of_source = move || match form.source.get() {
        Source::Model => "model",
        Source::Synthetic => "source-synthetic",
        Source::File => "file",
        Source::Json => "workload",
    };
    view! {
        <div class="chips" role="group" aria-label="The experiment">
            {chip(app, of_source, move || workload(form))}
            {chip(app, || "capacity_bytes", move || form.text(Field::Capacity).get())}
            {chip(app, || "policy-lru", move || policies(form))}
            {chip(app, || "device", move || device(form))}
        </div>
    }
    .built()
}

fn chip(
    app: App,
    field: impl Fn() -> &'static str + Send + Sync + 'static,
    text: impl Fn() -> String + Send + Sync + 'static,
) -> Built {
    let text = Signal::derive(text);
    view! {
        <button type="button" class="chip" on:click=move |_| open_field(app, field())>
            {text}
        </button>
    }
    .built()
}

fn workload(form: Form) -> String {
    match form.source.get() {
        Source::Model => match form.model.get() {
            custom if custom == CUSTOM => "your config.json".into(),
            name => presets::find(&name).map_or_else(|_| form.model_file.get(), |preset| preset.title.to_owned()),
        },
        Source::Synthetic => format!("random {}", form.text(Field::ModelType).get()),
        Source::File => form.file.with(|file| file.as_ref().map_or("no file yet".into(), |file| file.name.clone())),
        Source::Json => "your workload".into(),
    }
}

fn policies(form: Form) -> String {
    let policies = form.policies().unwrap_or_default();
    match policies.len() {
        0 => "no policy".into(),
        1..=NAMED => policies.iter().map(PolicySpec::title).collect::<Vec<_>>().join(", "),
        many => format!("{many} policies"),
    }
}

fn device(form: Form) -> String {
    form.device.with(|name| match name.as_str() {
        FITTING => "device that fits".into(),
        PROTOTYPE => "prototype's times".into(),
        CUSTOM => "your device".into(),
        name => name.to_owned(),
    })
}

/// Shows the field with the identifier `id`, whatever is folded over it; on a phone, with the form around it.
pub(super) fn open_field(app: App, id: &'static str) {
    app.view.sheet.set(true);
    // Not before the form is there: what is hidden takes no focus.
    request_animation_frame(move || focus_field(id));
}

fn focus_field(id: &str) {
    let Some(field) = document().get_element_by_id(id).and_then(|field| field.dyn_into::<HtmlElement>().ok()) else {
        return;
    };
    if let Ok(Some(fold)) = field.closest("details") {
        // An attribute that cannot be set leaves the fold shut; the focus opens it in most browsers.
        let _ = fold.set_attribute("open", "");
    }
    field.scroll_into_view();
    // A browser that refuses to focus still shows it.
    let _ = field.focus();
}
