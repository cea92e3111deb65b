//! Labelled fields that show what is wrong with them.

use accel_core::error::Error;
use accel_core::recipe::fields::{Domain, FIELDS, FieldInfo, Part};
use accel_ui::built::{Build, Built};
use accel_ui::field::{self, Field};
use accel_ui::view::yes;
use leptos::prelude::*;

use crate::app::App;

/// What of the form is no row of the table of fields.
const OTHERS: [&str; 9] =
    ["model", "config", "device", "physical", "curve.capacities", "policies", "policy", "file", "workload"];

/// The identifier of the field that the error names, if there is one on the page.
pub(crate) fn place_of(error: &Error) -> Option<&'static str> {
    let name = error.field_name()?;
    let row = FIELDS.iter().find(|row| row.name == name && !row.title.is_empty()).map(|row| row.id);
    row.or_else(|| match name {
        "curve.capacities" => Some("capacities"),
        "policies" => Some("policy-lru"),
        name => OTHERS.into_iter().find(|other| *other == name),
    })
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
    field::problem_line(id, problem(app, name))
}

/// `true` or `false` for `aria-invalid` of the field `name`.
pub(crate) fn invalid(app: App, name: &'static str) -> Signal<String> {
    field::invalid(problem(app, name))
}

/// The field that errors call `name`, and so does the page.
pub(crate) fn labelled(app: App, name: &'static str, label: &'static str, value: RwSignal<String>) -> Field {
    Field::new(name, label, value).problem(problem(app, name))
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

fn lines(app: App, mut rows: &[&'static FieldInfo]) -> Vec<Built> {
    let mut lines = Vec::new();
    while let [first, rest @ ..] = rows {
        rows = match rest {
            [second, rest @ ..] if first.half && second.half => {
                let hidden = unless_any(app, vec![first, second]);
                let pair = view! {
                    <div class="pair" hidden=hidden>
                        {field_of(app, first)}
                        {field_of(app, second)}
                    </div>
                };
                lines.push(pair.built());
                rest
            }
            rest => {
                lines.push(field_of(app, first));
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
fn field_of(app: App, row: &'static FieldInfo) -> Built {
    field_at(app, row, row.id, problem(app, row.name))
}

/// The same field once more, as the element `id`.
pub(super) fn field_at(app: App, row: &'static FieldInfo, id: &'static str, problem: Signal<String>) -> Built {
    let field = Field {
        slider: row.slider,
        hint: row.hint,
        placeholder: row.empty,
        hidden: Some(unless_any(app, vec![row])),
        problem: Some(problem),
        ..Field::new(id, row.title, app.form.text(row.field))
    };
    match row.value {
        Domain::Choice(choices) => {
            let empty = (!row.empty.is_empty()).then(|| (String::new(), row.empty.to_owned()));
            let choices = choices().into_iter().map(|choice| (choice.name.to_owned(), choice.title.to_owned()));
            field.choice(empty.into_iter().chain(choices).collect())
        }
        Domain::Tuned(choices) => field.input_of(choices().into_iter().map(|choice| choice.name).collect()),
        Domain::Number(_) | Domain::Size | Domain::Text => field.input(),
    }
}
