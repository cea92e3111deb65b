//! Sweeps: cell after cell, so that a newer run is noticed between them.

use accel_core::error::Error;
use accel_core::progress::Unattended;
use accel_core::recipe::fields::FIELDS;
use accel_core::recipe::{Recipe, Workload};
use accel_core::sweep::{Cells, Digest, Group, Row, Shared, Sweep, share_trace, table};
use accel_core::units::{format_bytes, format_count};
use accel_worker::protocol::{Reply, Swept};
use web_sys::DedicatedWorkerGlobalScope;

use crate::state::{REPORTS_PER_S, State, bytes_of, file_named, now, send, with, yield_to_messages};

/// Cells that a page runs, at most (ours: one processor does as many in minutes, and shows as many rows).
const MOST: u64 = 2_000;

/// The columns behind the axes.
const SHOWN: [&str; 7] = ["Policy", "Hit rate", "DRAM traffic", "Evictions", "Time, ms", "Energy, J", "Why not"];

/// Varies `axes` of `recipe`, which is that of the last finished run.
pub(crate) async fn run(
    scope: &DedicatedWorkerGlobalScope,
    state: &State,
    recipe: &str,
    axes: &[(String, String)],
) -> Result<Swept, Error> {
    let recipe = Recipe::from_json("recipe", recipe.as_bytes())?;
    let field = |id: &str| {
        let row = FIELDS.iter().find(|row| row.id == id);
        row.ok_or_else(|| Error::Internal(format!("there is no field {id}")))
    };
    let axes = axes.iter().map(|(id, text)| Ok((field(id)?, text.as_str())));
    let sweep = Sweep::varied(&recipe, &axes.collect::<Result<Vec<_>, Error>>()?)?;
    let cells = sweep.cells()?;
    if cells.len() > MOST {
        return Err(Error::TooLarge {
            problem: format!("{} cells are more than the {} of a page", format_count(cells.len()), format_count(MOST)),
            cure: "Give fewer values, or save the grid of a smaller one and run it with accel sweep".into(),
        });
    }
    let digest = match recipe.workload.file() {
        Some(name) => {
            let file = file_named(state, name)?;
            Some(Digest::of(&bytes_of(name, &file, 0.0, file.size()).await?.to_vec()))
        }
        None => None,
    };
    let unknown = || Error::Internal("a sweep names a file that its recipe does not".into());
    let groups = cells.groups(&mut |_| digest.ok_or_else(unknown))?;
    let rows = rows(scope, state, (&recipe, &cells), &groups).await?;
    let columns = table::columns(&cells, &rows)?;
    let grid = serde_json::to_string_pretty(&sweep).map_err(|e| Error::Internal(e.to_string()))?;
    let shown = |row: &Row| {
        let recipe = row.recipe.as_ref().map(Recipe::to_json).transpose()?;
        Ok((shown(&cells, row), recipe))
    };
    let (head, rows) = filled(head(&cells), rows.iter().map(shown).collect::<Result<_, Error>>()?);
    Ok(Swept { head, rows, csv: table::csv(&columns)?, grid })
}

/// The names of the columns: axes have those of the form.
fn head(cells: &Cells) -> Vec<String> {
    let title =
        |pointer: &str| FIELDS.iter().find(|row| row.pointer == pointer).map_or(pointer, |row| row.title).to_owned();
    cells.fields().map(|(pointer, _)| title(pointer)).chain(SHOWN.map(str::to_owned)).collect()
}

/// A row: its cells, and its recipe.
type Shown = (Vec<String>, Option<String>);

/// Leaves out the columns in which no row has anything.
fn filled(head: Vec<String>, rows: Vec<Shown>) -> (Vec<String>, Vec<Shown>) {
    let is_filled = |at: &usize| rows.iter().any(|(cells, _)| cells.get(*at).is_some_and(|text| !text.is_empty()));
    let kept: Vec<usize> = (0..head.len()).filter(is_filled).collect();
    let of = |texts: &[String]| kept.iter().filter_map(|at| texts.get(*at).cloned()).collect();
    let (head, rows) = (of(&head), rows.into_iter().map(|(cells, recipe)| (of(&cells), recipe)));
    (head, rows.collect())
}

/// The rows of all `groups`, cell by cell.
async fn rows(
    scope: &DedicatedWorkerGlobalScope,
    state: &State,
    (recipe, cells): (&Recipe, &Cells),
    groups: &[Group],
) -> Result<Vec<Row>, Error> {
    let (newest, total) = (state.newest.get(), cells.len());
    let (mut rows, mut done, mut told) = (Vec::new(), 0, f64::NEG_INFINITY);
    for group in groups {
        let shared = open(state, (recipe, cells), group);
        for todo in &group.cells {
            let now = now();
            if now - told >= 1000.0 / REPORTS_PER_S {
                told = now;
                send(scope, &Reply::Sweeping(done, total));
            }
            yield_to_messages(scope).await;
            if state.newest.get() != newest {
                return Err(Error::Cancelled);
            }
            rows.extend(todo.rows(cells, &shared, &mut Unattended)?);
            done += 1;
        }
        rows.extend(group.broken_rows(cells));
    }
    rows.sort_by_key(|row| row.cell);
    Ok(rows)
}

/// The trace of `group`; that of a file is the last finished run's.
fn open(state: &State, (recipe, cells): (&Recipe, &Cells), group: &Group) -> Result<Shared, Error> {
    let of_group = Shared::recipe(cells, group)?;
    let file = match of_group.workload.file() {
        None => None,
        Some(name) => {
            // Of a file of accesses nothing is drawn by chance.
            let seed = if matches!(of_group.workload, Workload::File(_)) { recipe.seed } else { of_group.seed };
            if !share_trace(&Recipe { seed, ..of_group.clone() }, recipe)? {
                let problem = "a page varies neither how a file is read nor what is made of it";
                return Err(Error::field("axes", name, problem, "Save the grid, and run it with accel sweep"));
            }
            Some(with(state, |finished| Ok(finished.trace().clone()))?)
        }
    };
    Shared::new(&of_group, file, group.lru_runs())
}

/// A row as people read it.
fn shown(cells: &Cells, row: &Row) -> Vec<String> {
    let axes = cells.fields().zip(&row.axes).map(|((pointer, _), value)| match (pointer, value.as_str()) {
        (_, Some(text)) => text.to_owned(),
        (pointer, None) if pointer.ends_with("bytes") => value.as_u64().map_or_else(|| value.to_string(), format_bytes),
        _ => value.to_string(),
    });
    let policy = row.policy().map_or_else(String::new, |policy| policy.title());
    let figures = match &row.found {
        Ok(found) => {
            let report = &found.report;
            let physical = report.physical.as_ref();
            let time_ms = physical.map(|physical| physical.total_ms).or(report.total_latency_ms);
            let energy = physical.map(|physical| [physical.energy.low_j, physical.energy.high_j]);
            [
                format!("{:.2} %", 100.0 * report.hit_ratio()),
                format_bytes(report.miss_bytes),
                format_count(report.evictions),
                time_ms.map_or_else(String::new, |ms| format!("{ms:.3}")),
                energy.map_or_else(String::new, |[low, high]| format!("{low:.3} to {high:.3}")),
                String::new(),
            ]
        }
        Err(error) => {
            let [hits, misses, evictions, time, energy] = std::array::from_fn(|_| String::new());
            [hits, misses, evictions, time, energy, error.to_string()]
        }
    };
    axes.chain([policy]).chain(figures).collect()
}
