//! Labelled fields that show what is wrong with them.

use accel_core::error::Error;
use accel_core::recipe::fields::{FIELDS, FieldInfo, Part, Value};
use accel_ui::view::yes;
use leptos::prelude::*;

use crate::app::App;

/// What of the form is no row of the table of fields.
const OTHERS: [&str; 8] = ["model", "config", "device", "physical", "curve.capacities", "policies", "file", "workload"];

/// Whether the error is shown beside a field.
pub(crate) fn has_a_place(error: &Error) -> bool {
    let shown = |name| OTHERS.contains(&name) || FIELDS.iter().any(|row| row.name == name && !row.title.is_empty());
    error.field_name().is_some_and(shown)
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

/// The line under the field `name` (with the element `id`) that says what is wrong with it.
pub(crate) fn problem_line(app: App, name: &'static str, id: &'static str) -> impl IntoView {
    view! { <p class="problem" id=format!("{id}-problem") role="alert">{problem(app, name)}</p> }
}

/// `true` or `false` for `aria-invalid` of the field `name`.
pub(crate) fn invalid(app: App, name: &'static str) -> Signal<String> {
    let what = problem(app, name);
    Signal::derive(move || (!what.get().is_empty()).to_string())
}

/// The fields of `part` that are always open. Neighbours that share a line stand side by side.
pub(crate) fn open_fields(app: App, part: Part) -> impl IntoView {
    lines(app, &rows(part, ""))
}

/// The fields of `part` that are folded away, by their groups.
pub(crate) fn folded_fields(app: App, part: Part) -> impl IntoView {
    let mut groups = Vec::new();
    for row in part.fields().filter(|row| !row.group.is_empty()) {
        if !groups.contains(&row.group) {
            groups.push(row.group);
        }
    }
    groups.into_iter().map(|group| fold(app, rows(part, group), group)).collect_view()
}

/// The fields of `part` in `group` that have a place on the page.
fn rows(part: Part, group: &str) -> Vec<&'static FieldInfo> {
    part.fields().filter(|row| row.group == group && !row.title.is_empty()).collect()
}

/// A folded group, hidden where none of its fields means anything. A field at fault unfolds it.
fn fold(app: App, rows: Vec<&'static FieldInfo>, group: &'static str) -> impl IntoView {
    let lines = lines(app, &rows);
    let hidden = unless_any(app, rows.clone());
    let open = yes(move || {
        app.recipe.with(|recipe| match recipe.as_ref().err().and_then(Error::field_name) {
            Some(name) => rows.iter().any(|row| row.name == name),
            None => false,
        })
    });
    view! {
        <details open=open hidden=hidden>
            <summary>{group}</summary>
            {lines}
        </details>
    }
}

fn lines(app: App, mut rows: &[&'static FieldInfo]) -> Vec<AnyView> {
    let mut lines = Vec::new();
    while let [first, rest @ ..] = rows {
        rows = match rest {
            [second, rest @ ..] if first.half && second.half => {
                let hidden = unless_any(app, vec![first, second]);
                let pair = view! { <div class="pair" hidden=hidden>{field(app, first)}{field(app, second)}</div> };
                lines.push(pair.into_any());
                rest
            }
            rest => {
                lines.push(field(app, first));
                rest
            }
        };
    }
    lines
}

/// Whether none of `rows` means anything to the chosen model.
fn unless_any(app: App, rows: Vec<&'static FieldInfo>) -> Signal<bool> {
    yes(move || app.form.meaningful.with(|meaningful| !rows.iter().any(|row| row.means(meaningful))))
}

/// The field of a row, hidden where it means nothing to the chosen model.
fn field(app: App, row: &'static FieldInfo) -> AnyView {
    let field = Field {
        id: row.id,
        hint: row.hint,
        placeholder: row.empty,
        slider: row.slider,
        hidden: Some(unless_any(app, vec![row])),
        ..Field::new(row.name, row.title, app.form.text(row.field))
    };
    match row.value {
        Value::Choice(choices) => {
            let empty = (!row.empty.is_empty()).then(|| (String::new(), row.empty.to_owned()));
            let choices = choices().into_iter().map(|choice| (choice.name.to_owned(), choice.title.to_owned()));
            field.choice(app, empty.into_iter().chain(choices).collect()).into_any()
        }
        Value::Number(_) | Value::Size | Value::Text => field.input(app).into_any(),
    }
}

/// A labelled field.
pub(crate) struct Field {
    name: &'static str,
    id: &'static str,
    label: &'static str,
    value: RwSignal<String>,
    /// Least, most and step.
    slider: Option<[&'static str; 3]>,
    hint: &'static str,
    placeholder: &'static str,
    hidden: Option<Signal<bool>>,
}

impl Field {
    /// The field that errors call `name`.
    pub(crate) fn new(name: &'static str, label: &'static str, value: RwSignal<String>) -> Self {
        Self { name, id: name, label, value, slider: None, hint: "", placeholder: "", hidden: None }
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
        let Self { name, id, label, value, slider, hint, placeholder, hidden } = self;
        let invalid = invalid(app, name);
        let mode = if slider.is_some() { "decimal" } else { "text" };
        view! {
            <div class="field" hidden=hidden>
                <label for=id>{label}</label>
                <input
                    id=id type="text" inputmode=mode autocomplete="off" spellcheck="false" placeholder=placeholder
                    aria-invalid=invalid aria-describedby=format!("{id}-problem")
                    prop:value=value
                    on:input:target=move |event| value.set(event.target().value())
                />
                {slider.map(|[min, max, step]| view! {
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
        let Self { name, id, label, value, hint, hidden, .. } = self;
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
            <div class="field" hidden=hidden>
                <label for=id>{label}</label>
                <select id=id aria-invalid=invalid(app, name) aria-describedby=format!("{id}-problem") on:change:target=move |event| value.set(event.target().value())>{options}</select>
                <p class="hint">{hint}</p>
                {problem_line(app, name, id)}
            </div>
        }
    }
}
