//! The same experiment with other values: a table of them all.

use accel_core::recipe::Recipe;
use accel_core::recipe::fields::{FIELDS, Field, FieldInfo};
use accel_ui::built::{Build, Built};
use accel_ui::export::{save, save_bytes};
use accel_ui::view::yes;
use accel_worker::protocol::Swept;
use leptos::prelude::*;

use super::search::{controls, result};
use crate::app::App;

/// Rows that are shown, at most (ours); the file has them all.
const ROWS: usize = 500;

/// Fields that may vary in `recipe`: those that it has and that the page names.
fn fields(recipe: &Recipe) -> Vec<&'static FieldInfo> {
    FIELDS.iter().filter(|row| !row.title.is_empty() && row.get(recipe).is_some()).collect()
}

/// Asks for a sweep, and shows it.
pub(super) fn sweep(app: App) -> Built {
    let recipe = app.engine.answer.with_untracked(|answer| {
        let json = answer.as_ref().map(|answer| answer.recipe.clone()).unwrap_or_default();
        Recipe::from_json("recipe", json.as_bytes()).map(|recipe| Recipe { curve: None, ..recipe })
    });
    let recipe = match recipe {
        Ok(recipe) => recipe,
        Err(error) => return view! { <p class="error">{error.to_string()}</p> }.built(),
    };
    let rows = fields(&recipe);
    let bytes = recipe.memory.capacity_bytes;
    let axes = [
        Axis::new(Field::Capacity.info().id, format!("{} to {} in 7", bytes.div_ceil(8), bytes.saturating_mul(8))),
        Axis::new("", String::new()),
    ];
    let search = app.engine.sweep;
    let ask = move || {
        let given = axes.iter().map(|axis| (axis.field.get_untracked(), axis.values.get_untracked()));
        app.engine.ask_sweep(given.filter(|(field, _)| !field.is_empty()).collect());
    };
    let [first, second] = [(axes[0], "1"), (axes[1], "2")].map(|(axis, number)| axis.shown(number, &rows));
    let controls = controls(app, search, ["run-sweep", "Run them all"], "end-sweep", "Running", ask);
    view! {
        {first}
        {second}
        <div class="bar">{controls}</div>
        <p class="hint">
            "Values as 32MB, 64MB, with semicolons where they hold commas; or as 32MB to 1GB in 6. Every policy runs in each."
        </p>
        {result(search, move |swept| shown(app, swept))}
    }
    .built()
}

/// A field that varies, by its id (none where it is empty), and its values as they are typed.
#[derive(Clone, Copy)]
struct Axis {
    field: RwSignal<String>,
    values: RwSignal<String>,
}

impl Axis {
    fn new(field: &str, values: String) -> Self {
        Self { field: RwSignal::new(field.to_owned()), values: RwSignal::new(values) }
    }

    fn shown(self, number: &'static str, rows: &[&'static FieldInfo]) -> Built {
        let Self { field, values } = self;
        let chosen = field.get_untracked();
        let options = rows
            .iter()
            .map(|row| {
                view! {
                    <option value=row.id selected=row.id == chosen>
                        {row.title}
                    </option>
                }
            })
            .collect_view();
        view! {
            <div class="bar">
                <select
                    id=format!("axis-{number}")
                    aria-label="What varies"
                    on:change:target=move |event| field.set(event.target().value())
                >
                    <option value="" selected=chosen.is_empty()>
                        "nothing more"
                    </option>
                    {options}
                </select>
                <input
                    type="text"
                    id=format!("values-{number}")
                    aria-label="Its values"
                    prop:value=values.get_untracked()
                    disabled=yes(move || field.with(String::is_empty))
                    on:input:target=move |event| values.set(event.target().value())
                />
            </div>
        }
        .built()
    }
}

fn shown(app: App, swept: &Swept) -> Built {
    let head = swept.head.iter().map(|name| view! { <th scope="col">{name.clone()}</th> }).collect_view();
    let rows = swept.rows.iter().take(ROWS).map(|(cells, recipe)| {
        let cells = cells.iter().map(|text| view! { <td>{text.clone()}</td> }).collect_view();
        let run = recipe.clone().map(|recipe| {
            let open = move |_| {
                if let Ok(recipe) = Recipe::from_json("recipe", recipe.as_bytes()) {
                    app.form.set(&recipe);
                    app.run();
                }
            };
            view! {
                <button type="button" class="quiet" on:click=open>
                    "Run"
                </button>
            }
        });
        view! { <tr>{cells} <td>{run}</td></tr> }
    });
    let rows = rows.collect_view();
    let all = swept.rows.len();
    let cut = (all > ROWS)
        .then(|| view! { <p class="hint">{format!("The first {ROWS} of {all} rows: the file has them all.")}</p> });
    let (csv, grid) = (swept.csv.clone(), swept.grid.clone());
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label="The sweep">
            <table id="swept">
                <thead>
                    <tr>{head} <td></td></tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
        {cut}
        <div class="bar">
            <button type="button" class="quiet" id="save-sweep" on:click=move |_| save_bytes("sweep.csv", &csv)>
                "Save as CSV"
            </button>
            <button
                type="button"
                class="quiet"
                id="save-grid"
                on:click=move |_| save("grid.json", "application/json", &grid)
            >
                "Save the grid for accel sweep"
            </button>
        </div>
    }
    .built()
}
