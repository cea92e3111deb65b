//! Labelled fields that show what is wrong with them.

use accel_core::error::Error;
use leptos::prelude::*;

use super::App;

/// Fields of the form: an error that names one of them is shown beside it.
const FIELDS: [&str; 17] = [
    "model",
    "config",
    "batch_size",
    "prompt_tokens",
    "decode_tokens",
    "weight_dtype",
    "kv_dtype",
    "tile_bytes",
    "model_type",
    "num_layers",
    "seq_length",
    "reuse_probability",
    "max_tensors_per_layer",
    "capacity_bytes",
    "policies",
    "seed",
    "file",
];

/// Whether the error is shown beside a field.
pub(crate) fn has_a_place(error: &Error) -> bool {
    error.field_name().is_some_and(|field| FIELDS.contains(&field))
}

/// What is wrong with the field `name`, and the cure.
fn problem(app: App, name: &'static str) -> Option<String> {
    app.recipe.with(|recipe| match recipe {
        Err(Error::Field { field, problem, cure, .. }) if field == name => {
            let mut text = problem.clone();
            if let Some(first) = text.get(..1) {
                text.replace_range(..1, &first.to_ascii_uppercase());
            }
            Some(if cure.is_empty() { text } else { format!("{text}. {cure}.") })
        }
        _ => None,
    })
}

/// The line under a field that says what is wrong with it.
#[component]
pub(crate) fn Problem(
    /// The name in errors.
    name: &'static str,
    /// The name of the field's element.
    #[prop(default = name)]
    id: &'static str,
) -> impl IntoView {
    let app = expect_context::<App>();
    view! { <p class="problem" id=format!("{id}-problem") role="alert">{move || problem(app, name)}</p> }
}

/// How far a slider goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slider {
    pub(crate) min: &'static str,
    pub(crate) max: &'static str,
    pub(crate) step: &'static str,
}

/// A text field, with a slider for the usual range where there is one.
#[component]
pub(crate) fn Input(
    /// The name in errors.
    name: &'static str,
    /// The element's own name, where two fields share the name in errors.
    #[prop(default = name)]
    id: &'static str,
    /// What people read.
    label: &'static str,
    value: RwSignal<String>,
    #[prop(optional)] slider: Option<Slider>,
    /// What may be written, or what it means.
    #[prop(optional)]
    hint: &'static str,
) -> impl IntoView {
    let app = expect_context::<App>();
    let invalid = move || problem(app, name).is_some().to_string();
    view! {
        <div class="field">
            <label for=id>{label}</label>
            <input
                id=id type="text" inputmode=if slider.is_some() { "decimal" } else { "text" } autocomplete="off" spellcheck="false"
                aria-invalid=invalid aria-describedby=format!("{id}-problem")
                prop:value=move || value.get()
                on:input:target=move |event| value.set(event.target().value())
            />
            {slider.map(|Slider { min, max, step }| view! {
                <input
                    type="range" min=min max=max step=step aria-label=format!("{label}, slider")
                    prop:value=move || value.get()
                    on:input:target=move |event| value.set(event.target().value())
                />
            })}
            {(!hint.is_empty()).then(|| view! { <p class="hint">{hint}</p> })}
            <Problem name id />
        </div>
    }
}

/// A choice among named values.
#[component]
pub(crate) fn Choice(
    /// The name in errors.
    name: &'static str,
    /// What people read.
    label: &'static str,
    value: RwSignal<String>,
    /// Values and what people read for them.
    options: Vec<(String, String)>,
    /// What the choice means.
    #[prop(optional)]
    hint: &'static str,
) -> impl IntoView {
    let options = options
        .into_iter()
        .map(|(option, text)| {
            let selected = {
                let option = option.clone();
                move || value.get() == option
            };
            view! { <option value=option prop:selected=selected>{text}</option> }
        })
        .collect_view();
    view! {
        <div class="field">
            <label for=name>{label}</label>
            <select id=name on:change:target=move |event| value.set(event.target().value())>{options}</select>
            {(!hint.is_empty()).then(|| view! { <p class="hint">{hint}</p> })}
            <Problem name />
        </div>
    }
}
