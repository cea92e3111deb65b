//! Single experiments: recipes, their runs, curves and bounds; kernels; and what has a name.

use std::path::PathBuf;
use std::sync::Arc;

use accel_chart::answer;
use accel_core::bound;
use accel_core::closed;
use accel_core::curve::CurvePoint;
use accel_core::error::Error;
use accel_core::policy::{Admission, PolicyKind};
use accel_core::progress::Progress;
use accel_core::recipe::fields::{FIELDS, FieldInfo, Part};
use accel_core::recipe::{Recipe, Workload};
use accel_core::recommend::{self as designs, Wanted};
use accel_core::run::{Details, Outcome, Plan};
use accel_core::scenarios;
use accel_core::sweep::table::{Column, Values};
use accel_core::sweep::{Cells, Found, Key, Row, table};
use accel_core::trace;
use accel_files::list::What;
use accel_files::parallel::{Capacity, at_capacities, run_all, run_plan};
use accel_kernel::predict;
use accel_kernel::report::Request;
use pyo3::prelude::*;
use serde::Serialize;

use crate::attend::{Heard, attend};
use crate::error::{OrRaise as _, raised};
use crate::table::Table;
use crate::trace::{Trace, of_file};

fn read(py: Python<'_>, recipe: &str) -> PyResult<Recipe> {
    Recipe::from_json("recipe", recipe.as_bytes()).or_raise(py)
}

/// The parts of a recipe that have fields, by name.
const PARTS: [(&str, Part); 7] = [
    ("model", Part::Model),
    ("synthetic", Part::Synthetic),
    ("file", Part::File),
    ("memory", Part::Memory),
    ("device", Part::Device),
    ("measure", Part::Measure),
    ("experiment", Part::Experiment),
];

/// The recipe of the part `part` with everything as it is by default.
#[pyfunction]
pub(crate) fn template(py: Python<'_>, part: &str) -> PyResult<String> {
    let found = PARTS.iter().find(|(name, _)| *name == part);
    let (_, part) = found.ok_or_else(|| raised(py, &Error::Internal(format!("there is no part {part}"))))?;
    let mut recipe = part.recipe();
    // A file may be long, and bounds take as long as a dozen policies: they are computed where asked for.
    recipe.bounds &= !matches!(recipe.workload, Workload::File(_));
    recipe.to_json().or_raise(py)
}

/// Fields that have an argument of their own.
fn is_named(row: &FieldInfo) -> bool {
    let own = ["capacity_bytes", "model_type", "columns", "points"];
    row.id.is_empty() || own.contains(&row.id)
}

/// The fields of a recipe that are options, with the part that has them and what they are for.
#[pyfunction]
pub(crate) fn field_names() -> Vec<(&'static str, &'static str, &'static str)> {
    let part = |row: &FieldInfo| PARTS.iter().find(|(_, part)| *part == row.part).map_or("scores", |(name, _)| name);
    FIELDS.iter().filter(|row| !is_named(row)).map(|row| (row.id, part(row), row.hint)).collect()
}

/// The recipe with these fields, each as a text.
#[pyfunction]
pub(crate) fn with_fields(py: Python<'_>, recipe: &str, fields: Vec<(String, String)>) -> PyResult<String> {
    let mut recipe = read(py, recipe)?;
    for (name, text) in fields {
        let row = FIELDS.iter().find(|row| row.id == name && !name.is_empty()).ok_or_else(|| {
            let known: Vec<&str> = FIELDS.iter().filter(|row| !is_named(row)).map(|row| row.id).collect();
            let cure = format!("The options are {}", known.join(", "));
            raised(py, &Error::field(&name, &text, "there is no such option", cure))
        })?;
        row.set(&mut recipe, &text).or_raise(py)?;
    }
    recipe.to_json().or_raise(py)
}

/// A recipe, read from JSON or from a link, as JSON with its defaults.
#[pyfunction]
pub(crate) fn parse_recipe(py: Python<'_>, text: &str) -> PyResult<String> {
    let recipe = match text.trim_start().starts_with('{') {
        true => read(py, text)?,
        false => Recipe::from_fragment(text).or_raise(py)?,
    };
    recipe.to_json().or_raise(py)
}

/// The fragment of a link that opens the recipe in the page.
#[pyfunction]
pub(crate) fn fragment(py: Python<'_>, recipe: &str) -> PyResult<String> {
    read(py, recipe)?.to_fragment().or_raise(py)
}

/// The recipe of a scenario.
#[pyfunction]
pub(crate) fn scenario(py: Python<'_>, name: &str) -> PyResult<String> {
    scenarios::find(name).or_raise(py)?.recipe().to_json().or_raise(py)
}

/// The model that a file describes, as JSON.
#[pyfunction]
pub(crate) fn model_of_file(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    let (model, notes) = accel_files::model::read(&path).or_raise(py)?;
    let warnings = py.import("warnings")?;
    for note in notes {
        warnings.call_method1("warn", (note,))?;
    }
    serde_json::to_string(&model).or_raise(py)
}

/// A list of what has a name, as JSON.
#[pyfunction]
pub(crate) fn listing(py: Python<'_>, what: &str) -> PyResult<String> {
    let what: What = closed::from_name("list", what).or_raise(py)?;
    let lists = accel_files::list::json(&[what]).or_raise(py)?;
    serde_json::to_string(&lists[what.name()]).or_raise(py)
}

/// Predicts what a kernel costs; request and report are JSON.
#[pyfunction]
#[pyo3(signature = (request, progress=None))]
pub(crate) fn kernel(py: Python<'_>, request: &str, progress: Option<Py<PyAny>>) -> PyResult<String> {
    let request: Request = serde_json::from_str(request).map_err(|error| {
        let cure = "See the arguments of accel_copilot.kernel";
        raised(py, &Error::field("kernel", "given", error.to_string(), cure))
    })?;
    let report = attend(py, progress, None, move |heard| Ok(predict(&request, heard)?))?;
    serde_json::to_string(&report).or_raise(py)
}

/// What makes the trace of a recipe: one that is at hand, or a folder in which its file lies.
#[derive(Clone)]
struct Source {
    trace: Option<Arc<trace::Trace>>,
    folder: PathBuf,
}

impl Source {
    fn plan(&self, recipe: &Recipe, details: Details, progress: &mut dyn Progress) -> anyhow::Result<Plan> {
        let file = match &self.trace {
            Some(trace) => Some(trace::Trace::clone(trace)),
            None => {
                recipe.check()?;
                of_file(recipe, &self.folder, progress)?
            }
        };
        Ok(Plan::new(recipe, file, None, details)?)
    }
}

/// The recipe in a memory of this size, where that is known before the trace is: tiles are made for it.
fn in_memory(recipe: &Recipe, capacity: Option<Capacity>) -> Recipe {
    let mut recipe = recipe.clone();
    if let Some(Capacity::Bytes(bytes)) = capacity {
        recipe.memory.capacity_bytes = bytes;
    }
    recipe
}

/// An experiment in several memories.
fn outcomes(
    recipe: &Recipe,
    source: &Source,
    capacities: &[Capacity],
    details: Details,
    progress: &mut Heard,
) -> anyhow::Result<(Vec<Recipe>, Vec<Outcome>)> {
    let recipe = &in_memory(recipe, capacities.first().copied());
    let mut plans = at_capacities(source.plan(recipe, details, progress)?, capacities)?;
    let recipes: Vec<Recipe> = plans.iter().map(|plan| plan.recipe().clone()).collect();
    if recipes.len() > 1 && recipe.workload.follows_capacity() && source.trace.is_none() {
        // Each memory has tiles of its own, and so a trace of its own.
        plans = recipes.iter().map(|recipe| source.plan(recipe, details, progress)).collect::<anyhow::Result<_>>()?;
    }
    Ok((recipes, run_all(plans, progress)?))
}

/// The rows of a table, as a sweep writes them, but for the key: it would not know a trace that is at hand.
fn rows(recipes: &[Recipe], outcomes: &[Outcome]) -> Result<Table, Error> {
    let mut rows = Vec::new();
    for (recipe, outcome) in recipes.iter().zip(outcomes) {
        for report in &outcome.runs {
            let policy = report.policy;
            rows.push(Row {
                key: Key::of(recipe, policy, None)?,
                cell: 0,
                axes: Vec::new(),
                recipe: Some(Recipe { policies: vec![policy], curve: None, ..recipe.clone() }),
                found: Ok(Found {
                    report: report.clone(),
                    bounds: outcome.bounds.clone(),
                    scorer: policy.info().scored().then_some(outcome.scorer),
                    trace: outcome.trace,
                    io_bound_bytes: outcome.io_bound_bytes,
                    warnings: outcome.warnings.clone(),
                    estimate: outcome
                        .sampled
                        .as_ref()
                        .and_then(|it| it.estimate(policy, report.capacity_bytes))
                        .cloned(),
                }),
                seconds: 0.0,
            });
        }
    }
    let mut columns = table::columns(&Cells::of_recipes(Vec::new()), &rows)?;
    columns.retain(|column| !["key", "error", "seconds"].contains(&column.name.as_str()));
    Ok(Table::new(columns))
}

/// The points of all curves.
fn points(outcomes: &[Outcome]) -> Table {
    let curves = outcomes.iter().filter_map(|outcome| outcome.curve.as_ref()).flat_map(|curves| &curves.curves);
    let points: Vec<_> = curves.flat_map(|curve| curve.points.iter().map(|point| (curve.policy, point))).collect();
    let column = |name: &str, values| Column { name: name.to_owned(), values };
    let number = |of: fn(&CurvePoint) -> f64| Values::Number(points.iter().map(|(_, point)| Some(of(point))).collect());
    Table::new(vec![
        column("policy", Values::Text(points.iter().map(|(policy, _)| Some(policy.name())).collect())),
        column("capacity_bytes", Values::Whole(points.iter().map(|(_, point)| Some(point.capacity_bytes)).collect())),
        column("miss_ratio", number(|point| point.miss_ratio)),
        column("byte_miss_ratio", number(|point| point.byte_miss_ratio)),
    ])
}

/// Runs a recipe, in several memories where there are `capacities`: the table of all policies, the outcomes as JSON, and
/// the recipe of the first. A trace that is at hand stands for that of the recipe; files are looked for in `folder`. `details` is "reports", "all"
/// or "curves".
#[pyfunction]
#[pyo3(signature = (recipe, trace, folder, capacities, details, progress=None))]
pub(crate) fn run(
    py: Python<'_>,
    recipe: &str,
    trace: Option<PyRef<'_, Trace>>,
    folder: PathBuf,
    capacities: Vec<String>,
    details: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<(Table, String, String)> {
    let recipe = read(py, recipe)?;
    let source = Source { trace: trace.map(|trace| Arc::clone(&trace.trace)), folder };
    let capacities: Vec<Capacity> =
        capacities.iter().map(|text| text.parse::<Capacity>().or_raise(py)).collect::<PyResult<Vec<_>>>()?;
    let details = match details {
        "all" => Details::ALL,
        "curves" => Details::CURVES,
        _ => Details::REPORTS,
    };
    attend(py, progress, None, move |heard| {
        let (recipes, outcomes) = outcomes(&recipe, &source, &capacities, details, heard)?;
        let table = if details == Details::CURVES { points(&outcomes) } else { rows(&recipes, &outcomes)? };
        let first = recipes.first().map(Recipe::to_json).transpose()?.unwrap_or_default();
        Ok((table, serde_json::to_string(&outcomes)?, first))
    })
}

/// Pixels of a chart in a notebook.
const WIDTH: u32 = 760;

/// The outcomes of [`run`] as an SVG: their curves, or else what each policy fetches; empty where there is neither.
#[pyfunction]
pub(crate) fn chart(py: Python<'_>, outcomes: &str) -> PyResult<String> {
    let outcomes: Vec<Outcome> = serde_json::from_str(outcomes).or_raise(py)?;
    let curves = outcomes.iter().find_map(|outcome| outcome.curve.as_ref());
    let runs: Vec<_> = outcomes.iter().flat_map(|outcome| outcome.runs.iter().cloned()).collect();
    let least = outcomes.first().filter(|_| outcomes.len() == 1).and_then(|outcome| outcome.bounds.as_ref());
    let figure = match curves {
        Some(curves) => answer::of_curves(curves, WIDTH),
        None if runs.is_empty() => return Ok(String::new()),
        None => answer::of_runs(&runs, least.map(|bounds| bounds.miss_bytes.lower), WIDTH),
    };
    figure.map(|figure| figure.to_svg()).map_err(|error| raised(py, &Error::Internal(error.to_string())))
}

/// What to build for a goal: `wanted` is JSON, and so is the answer, with its headline and what the bounds leave in words.
#[pyfunction]
#[pyo3(signature = (recipe, trace, folder, wanted, capacities, progress=None))]
pub(crate) fn recommend(
    py: Python<'_>,
    recipe: &str,
    trace: Option<PyRef<'_, Trace>>,
    folder: PathBuf,
    wanted: &str,
    capacities: Vec<String>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(String, String, String)> {
    let wanted: Wanted = serde_json::from_str(wanted).map_err(|error| {
        let cure = "A goal is time, energy or capacity; hits and stall are shares";
        raised(py, &Error::field("goal", "given", error.to_string(), cure))
    })?;
    let recipe = read(py, recipe)?;
    let source = Source { trace: trace.map(|trace| Arc::clone(&trace.trace)), folder };
    let capacities: Vec<Capacity> =
        capacities.iter().map(|text| text.parse::<Capacity>().or_raise(py)).collect::<PyResult<Vec<_>>>()?;
    attend(py, progress, None, move |heard| {
        recipe.check()?;
        let file = match &source.trace {
            Some(trace) => Some(trace::Trace::clone(trace)),
            None => of_file(&recipe, &source.folder, heard)?,
        };
        let bytes = |capacity: &Capacity| match (capacity, &file) {
            (Capacity::Bytes(bytes), _) => Ok(*bytes),
            (share, Some(trace)) => Ok(share.bytes(trace.summary().unique_bytes)),
            (share, None) => Ok(share.bytes(recipe.trace(None)?.summary().unique_bytes)),
        };
        let capacities = capacities.iter().map(bytes).collect::<Result<Vec<u64>, Error>>()?;
        let answer = designs::recommend(&recipe, file, wanted, &capacities, heard)?;
        Ok((serde_json::to_string(&answer)?, answer.headline(), answer.what_is_left()))
    })
}

/// The answer of `accel bounds --json`.
#[derive(Serialize)]
struct Answer {
    trace: trace::Summary,
    capacity_bytes: u64,
    /// Misses of LRU, from which the gap is counted; the same in both modes.
    lru: bound::Misses,
    /// One for each mode asked for.
    bounds: Vec<bound::Bounds>,
}

/// The bounds of a recipe, in both modes of admission unless only its own is `asked` for, as JSON.
#[pyfunction]
#[pyo3(signature = (recipe, trace, folder, capacity, asked, progress=None))]
pub(crate) fn bounds(
    py: Python<'_>,
    recipe: &str,
    trace: Option<PyRef<'_, Trace>>,
    folder: PathBuf,
    capacity: Option<&str>,
    asked: bool,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let capacity: Option<Capacity> = capacity.map(|text| text.parse::<Capacity>().or_raise(py)).transpose()?;
    let mut recipe = in_memory(&read(py, recipe)?, capacity);
    let source = Source { trace: trace.map(|trace| Arc::clone(&trace.trace)), folder };
    recipe.policies = vec![PolicyKind::Lru.into()];
    (recipe.bounds, recipe.curve) = (true, None);
    attend(py, progress, None, move |heard| {
        let modes = if asked { vec![recipe.memory.admission] } else { Admission::ALL.map(Into::into).to_vec() };
        let mut answer: Option<Answer> = None;
        for admission in modes {
            recipe.memory.admission = admission;
            let mut plan = source.plan(&recipe, Details::REPORTS, heard)?;
            if let Some(capacity) = capacity {
                plan.set_capacity(capacity.bytes(plan.trace().summary().unique_bytes))?;
            }
            let capacity_bytes = plan.recipe().memory.capacity_bytes;
            let outcome = run_plan(plan, heard)?;
            let (trace, lru) = (outcome.trace, bound::Misses::default());
            let answer = answer.get_or_insert(Answer { trace, capacity_bytes, lru, bounds: Vec::new() });
            if let Some(lru) = outcome.runs.first() {
                answer.lru = bound::Misses { objects: lru.misses, bytes: lru.miss_bytes };
            }
            answer.bounds.extend(outcome.bounds);
        }
        Ok(serde_json::to_string(&answer)?)
    })
}
