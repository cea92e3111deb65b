//! Labelled fields that show what is wrong with them.

use accel_core::error::Error;
use accel_ui::view::yes;
use leptos::prelude::*;

use crate::app::App;

/// Fields of the form: an error that names one of them is shown beside it.
const FIELDS: [&str; 33] = [
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
    "admission",
    "device",
    "prefetch_depth",
    "physical",
    "curve.points",
    "curve.capacities",
    "policies",
    "seed",
    "file",
    "task",
    "steps",
    "requests",
    "dataflow",
    "convolution",
    "optimizer",
    "zipf",
    "stickiness",
    "columns",
    "workload",
];

/// Whether the error is shown beside a field.
pub(crate) fn has_a_place(error: &Error) -> bool {
    error.field_name().is_some_and(|field| FIELDS.contains(&field))
}

/// What is wrong with the field `name`, and the cure; empty where nothing is.
fn problem(app: App, name: &'static str) -> Signal<String> {
    Signal::derive(move || {
        app.recipe.with(|recipe| match recipe {
            Err(Error::Field { field, problem, cure, .. }) if field == name => {
                let mut text = problem.clone();
                if let Some(first) = text.get(..1) {
                    text.replace_range(..1, &first.to_ascii_uppercase());
                }
                if cure.is_empty() { text } else { format!("{text}. {cure}.") }
            }
            _ => String::new(),
        })
    })
}

/// Whether one of the fields `names` is at fault: what hides them is then opened.
pub(crate) fn at_fault(app: App, names: &'static [&'static str]) -> Signal<bool> {
    yes(move || app.recipe.with(|r| r.as_ref().err().and_then(Error::field_name).is_some_and(|f| names.contains(&f))))
}

/// The line under the field `name` (with the element `id`) that says what is wrong with it.
pub(crate) fn problem_line(app: App, name: &'static str, id: &'static str) -> impl IntoView {
    view! { <p class="problem" id=format!("{id}-problem") role="alert">{problem(app, name)}</p> }
}

/// `true` or `false` for `aria-invalid` of the field `name`.
pub(crate) fn invalid(app: App, name: &'static str) -> Signal<String> {
    let what = problem(app, name);
    Signal::derive(move || (!what.get().is_empty()).to_string())
}

/// How far a slider goes.
#[derive(Debug, Clone, Copy)]
struct Slider {
    min: &'static str,
    max: &'static str,
    step: &'static str,
}

/// A labelled field.
pub(crate) struct Field {
    name: &'static str,
    id: &'static str,
    label: &'static str,
    value: RwSignal<String>,
    slider: Option<Slider>,
    hint: &'static str,
    placeholder: &'static str,
}

impl Field {
    /// The field that errors call `name`.
    pub(crate) fn new(name: &'static str, label: &'static str, value: RwSignal<String>) -> Self {
        Self { name, id: name, label, value, slider: None, hint: "", placeholder: "" }
    }

    /// Names the element, where two fields share their name in errors.
    pub(crate) fn id(self, id: &'static str) -> Self {
        Self { id, ..self }
    }

    /// Adds a slider for the usual range; the text may go beyond.
    pub(crate) fn slider(self, min: &'static str, max: &'static str, step: &'static str) -> Self {
        Self { slider: Some(Slider { min, max, step }), ..self }
    }

    /// Shows what stands for an empty field.
    pub(crate) fn placeholder(self, placeholder: &'static str) -> Self {
        Self { placeholder, ..self }
    }

    /// Says what may be written, or what it means.
    pub(crate) fn hint(self, hint: &'static str) -> Self {
        Self { hint, ..self }
    }

    /// A text field.
    pub(crate) fn input(self, app: App) -> impl IntoView {
        let Self { name, id, label, value, slider, hint, placeholder } = self;
        let invalid = invalid(app, name);
        let mode = if slider.is_some() { "decimal" } else { "text" };
        view! {
            <div class="field">
                <label for=id>{label}</label>
                <input
                    id=id type="text" inputmode=mode autocomplete="off" spellcheck="false" placeholder=placeholder
                    aria-invalid=invalid aria-describedby=format!("{id}-problem")
                    prop:value=value
                    on:input:target=move |event| value.set(event.target().value())
                />
                {slider.map(|Slider { min, max, step }| view! {
                    <input
                        type="range" min=min max=max step=step aria-label=format!("{label}, slider")
                        prop:value=value
                        on:input:target=move |event| value.set(event.target().value())
                    />
                })}
                <p class="hint">{hint}</p>
                {problem_line(app, name, id)}
            </div>
        }
    }

    /// A choice among values, each with what people read for it.
    pub(crate) fn choice(self, app: App, options: Vec<(String, String)>) -> impl IntoView {
        let Self { name, id, label, value, hint, .. } = self;
        let options = options
            .into_iter()
            .map(|(option, text)| {
                let selected = yes({
                    let option = option.clone();
                    move || value.get() == option
                });
                view! { <option value=option prop:selected=selected>{text}</option> }
            })
            .collect_view();
        view! {
            <div class="field">
                <label for=id>{label}</label>
                <select id=id aria-invalid=invalid(app, name) aria-describedby=format!("{id}-problem") on:change:target=move |event| value.set(event.target().value())>{options}</select>
                <p class="hint">{hint}</p>
                {problem_line(app, name, id)}
            </div>
        }
    }
}
