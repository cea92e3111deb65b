//! Sweeps: on this machine, or as tasks for whoever has workers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use accel_core::error::{Error, Place};
use accel_core::policy::PolicySpec;
use accel_core::progress::Progress;
use accel_core::recipe::Recipe;
use accel_core::sweep::{Cells, Group, Key, Shard, Todo, left, table};
use accel_files::sweep::{self, Files, Folder, Job, bytes_of};
use anyhow::Context as _;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::attend::attend;
use crate::error::OrRaise as _;
use crate::table::Table;

/// How long a sweep that was stopped may take to write what it has.
const SAVING: Duration = Duration::from_secs(5);

/// Which program makes the numbers: its version, and that of its results.
#[pyfunction]
pub(crate) fn engine() -> String {
    table::engine()
}

/// Keeps parts that workers sent as one file of the folder `out`: how many rows it has.
#[pyfunction]
pub(crate) fn keep(py: Python<'_>, out: PathBuf, parts: Vec<Vec<u8>>) -> PyResult<usize> {
    py.detach(|| sweep::keep(&out, &parts)).or_raise(py)
}

/// What is left to do of a cell, as it travels: its number, and its policies with their keys.
#[derive(Debug, Serialize, Deserialize)]
struct Task(u64, Vec<(PolicySpec, Key)>);

/// A sweep.
#[pyclass(frozen, module = "accel_copilot._native")]
pub(crate) struct Sweep(Arc<Held>);

struct Held {
    text: String,
    cells: Cells,
    folder: PathBuf,
    groups: OnceLock<(Vec<Group>, Files)>,
}

impl Held {
    /// Its cells by trace, once the files are read that they name.
    fn groups(&self) -> anyhow::Result<&(Vec<Group>, Files)> {
        if let Some(groups) = self.groups.get() {
            return Ok(groups);
        }
        let mut files = Files::within(&self.folder);
        let groups = self.cells.groups(&mut |name| files.digest(name))?;
        Ok(self.groups.get_or_init(|| (groups, files)))
    }

    /// What is left for a shard, with the folder where there is one.
    fn left(&self, out: Option<&Path>, shard: Shard) -> anyhow::Result<(Vec<Group>, Option<Folder>)> {
        let (groups, _) = self.groups()?;
        let folder = out.map(|out| Folder::open(out, &self.cells, groups)).transpose()?;
        let todo = left(groups.clone(), shard, &|key| folder.as_ref().is_some_and(|folder| folder.has(key)));
        Ok((todo, folder))
    }

    /// Runs `groups` and gives their rows as a table in the order of the cells.
    fn table(&self, groups: &[Group], progress: &mut (dyn Progress + Send)) -> anyhow::Result<Table> {
        let (_, files) = self.groups()?;
        let job = Job { cells: &self.cells, groups, files };
        let mut rows = sweep::rows(&job, progress)?;
        rows.sort_by_key(|row| row.cell);
        Ok(Table::new(table::columns(&self.cells, &rows)?))
    }

    /// A group of cells of one trace, whose keys must be those that this machine finds.
    fn group(&self, texts: &[String], files: &mut Files) -> anyhow::Result<Group> {
        let mut cells = Vec::new();
        for text in texts {
            let Task(cell, policies) = serde_json::from_str(text)?;
            let recipe: Recipe = self.cells.recipe(cell)?;
            let digest = recipe.workload.file().map(|name| files.digest(name)).transpose()?;
            for (policy, key) in &policies {
                if Key::of(&recipe, *policy, digest)? != *key {
                    let input = recipe.workload.file().unwrap_or("recipe").to_owned();
                    let cure = "Put the same file on every worker, in the same folder";
                    let problem = "it is another file on this worker than where the sweep was started";
                    return Err(Error::input(input, Place::Whole, problem, cure).into());
                }
            }
            cells.push(Todo { cell, policies });
        }
        Ok(Group { cells, broken: Vec::new() })
    }
}

/// Threads of our own: those of a process that was forked have none.
fn on<T: Send>(threads: usize, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start threads")?.install(work)
}

#[pymethods]
impl Sweep {
    /// A sweep from its JSON, or the one that is written in the file `grid`; files that recipes name lie in `folder`, or
    /// beside `grid`.
    #[new]
    #[pyo3(signature = (text=None, grid=None, folder=None))]
    fn new(py: Python<'_>, text: Option<&str>, grid: Option<PathBuf>, folder: Option<PathBuf>) -> PyResult<Self> {
        let sweep = match (text, &grid) {
            (Some(text), _) => serde_json::from_str(text).map_err(|error| {
                let cure = "Write {\"recipe\": {...}, \"axes\": [{\"/seed\": [1, 2]}]}; see docs/sweeps.md";
                anyhow::Error::from(Error::field("grid", "given", error.to_string(), cure))
            }),
            (None, Some(grid)) => sweep::read(grid),
            (None, None) => Err(Error::Internal("a sweep of nothing".into()).into()),
        };
        let sweep: accel_core::sweep::Sweep = sweep.or_raise(py)?;
        let beside = || grid.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
        let text = serde_json::to_string(&sweep).or_raise(py)?;
        let cells = sweep.cells().or_raise(py)?;
        let folder = folder.unwrap_or_else(beside);
        Ok(Self(Arc::new(Held { text, cells, folder, groups: OnceLock::new() })))
    }

    /// An experiment for each of these recipes, as JSON or as links.
    #[staticmethod]
    fn of_recipes(recipes: Vec<String>, folder: PathBuf) -> Self {
        // One that cannot be read is a row that says so.
        let value = |text: String| match text.trim_start().starts_with('{') {
            true => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            false => match Recipe::from_fragment(&text) {
                Ok(recipe) => serde_json::to_value(recipe).unwrap_or(Value::String(text)),
                Err(_) => Value::String(text),
            },
        };
        let cells = Cells::of_recipes(recipes.into_iter().map(value).collect());
        Self(Arc::new(Held { text: String::new(), cells, folder, groups: OnceLock::new() }))
    }

    /// The number of cells.
    fn __len__(&self) -> usize {
        usize::try_from(self.0.cells.len()).unwrap_or(usize::MAX)
    }

    /// The sweep as JSON.
    #[getter]
    fn text(&self) -> &str {
        &self.0.text
    }

    /// The folder in which files lie that recipes name.
    #[getter]
    fn folder(&self) -> PathBuf {
        self.0.folder.clone()
    }

    /// Runs what is left for a shard and writes it to the folder `out`.
    #[pyo3(signature = (out, shard, threads=0, progress=None))]
    fn run(
        &self,
        py: Python<'_>,
        out: PathBuf,
        shard: &str,
        threads: usize,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<u64> {
        let (held, shard) = (Arc::clone(&self.0), shard.parse::<Shard>().or_raise(py)?);
        attend(py, progress, Some(SAVING), move |heard| {
            let (groups, folder) = held.left(Some(&out), shard)?;
            let Some(folder) = folder else { return Ok(0) };
            let (_, files) = held.groups()?;
            let job = Job { cells: &held.cells, groups: &groups, files };
            Ok(on(threads, || sweep::run(&job, &folder, heard))?.rows)
        })
    }

    /// Runs a shard and keeps its rows nowhere: the table.
    #[pyo3(signature = (shard, threads=0, progress=None))]
    fn rows(&self, py: Python<'_>, shard: &str, threads: usize, progress: Option<Py<PyAny>>) -> PyResult<Table> {
        let (held, shard) = (Arc::clone(&self.0), shard.parse::<Shard>().or_raise(py)?);
        attend(py, progress, None, move |heard| {
            let (groups, _) = held.left(None, shard)?;
            on(threads, || held.table(&groups, heard))
        })
    }

    /// The rows that are in the folder `out`, in the order of the cells.
    fn table(&self, py: Python<'_>, out: PathBuf) -> PyResult<Table> {
        let held = Arc::clone(&self.0);
        attend(py, None, None, move |_| Ok(Table(Folder::open(&out, &held.cells, &held.groups()?.0)?.table()?)))
    }

    /// What is left for a shard, for workers: for each trace a list of cells, each as JSON. Rows of recipes that cannot be
    /// read are written to the folder `out` at once.
    fn todo(&self, py: Python<'_>, out: PathBuf, shard: &str) -> PyResult<Vec<Vec<String>>> {
        let (held, shard) = (Arc::clone(&self.0), shard.parse::<Shard>().or_raise(py)?);
        attend(py, None, None, move |_| {
            let (groups, folder) = held.left(Some(&out), shard)?;
            let broken: Vec<_> = groups.iter().flat_map(|group| group.broken_rows(&held.cells)).collect();
            if let Some(folder) = folder.filter(|_| !broken.is_empty()) {
                folder.write(&held.cells, &broken)?;
            }
            let text = |todo: &Todo| serde_json::to_string(&Task(todo.cell, todo.policies.clone()));
            let lists = groups.iter().map(|group| group.cells.iter().map(text).collect::<Result<Vec<_>, _>>());
            let mut lists = lists.collect::<Result<Vec<_>, _>>()?;
            lists.retain(|list| !list.is_empty());
            Ok(lists)
        })
    }

    /// Runs cells, given by trace as `todo` gave them, on one processor: their rows as the content of a Parquet file, and
    /// the seconds that it took.
    fn work<'py>(&self, py: Python<'py>, groups: Vec<Vec<String>>) -> PyResult<(Bound<'py, PyBytes>, f64)> {
        let held = Arc::clone(&self.0);
        let (content, seconds) = attend(py, None, None, move |heard| {
            let began = Instant::now();
            let mut files = Files::within(&held.folder);
            let groups =
                groups.iter().map(|texts| held.group(texts, &mut files)).collect::<anyhow::Result<Vec<_>>>()?;
            let job = Job { cells: &held.cells, groups: &groups, files: &files };
            let rows = on(1, || sweep::rows(&job, heard))?;
            Ok((bytes_of(&held.cells, &rows)?, began.elapsed().as_secs_f64()))
        })?;
        Ok((PyBytes::new(py, &content), seconds))
    }
}
