//! Traces: from files, from columns, or made by a recipe.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use accel_core::error::Error;
use accel_core::import::Format;
use accel_core::import::cache_csv::Columns;
use accel_core::progress::Progress;
use accel_core::recipe::Recipe;
use accel_core::units::{format_bytes, format_count};
use arrow_array::{Array as _, ArrayRef, Float64Array, Int64Array, StringArray, UInt64Array};
use pyo3::prelude::*;
use pyo3_arrow::input::{AnyArray, AnyRecordBatch};

use crate::attend::attend;
use crate::columns::{Frame, INPUT};
use crate::error::{OrRaise as _, raised};

/// A trace: tensors or objects with their sizes, and the order in which they are used.
#[pyclass(frozen, module = "accel_copilot._native")]
pub(crate) struct Trace {
    pub(crate) trace: Arc<accel_core::trace::Trace>,
    name: String,
    format: Option<&'static str>,
}

#[pymethods]
impl Trace {
    /// What it was read from.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// The format of its file; None where it was read from no file.
    #[getter]
    fn format(&self) -> Option<&str> {
        self.format
    }

    /// Number of accesses.
    #[getter]
    fn accesses(&self) -> u64 {
        self.trace.summary().accesses
    }

    /// Number of distinct tensors or objects.
    #[getter]
    fn tensors(&self) -> u64 {
        self.trace.summary().tensors
    }

    /// Bytes of all accesses.
    #[getter]
    fn requested_bytes(&self) -> u64 {
        self.trace.summary().requested_bytes
    }

    /// Bytes of all distinct tensors, each at its largest.
    #[getter]
    fn unique_bytes(&self) -> u64 {
        self.trace.summary().unique_bytes
    }

    /// What one should know about how it was read or made.
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.trace.warnings().to_vec()
    }

    fn __len__(&self) -> usize {
        self.trace.accesses().len()
    }

    fn __repr__(&self) -> String {
        let it = self.trace.summary();
        let [accesses, tensors] = [it.accesses, it.tensors].map(format_count);
        format!(
            "Trace({}: {accesses} accesses to {tensors} tensors of {}, {} requested)",
            self.name,
            format_bytes(it.unique_bytes),
            format_bytes(it.requested_bytes)
        )
    }
}

fn columns(py: Python<'_>, text: Option<&str>) -> PyResult<Option<Columns>> {
    text.map(|text| text.parse::<Columns>().or_raise(py)).transpose()
}

/// Reads a trace file, whose format is detected where none is named.
#[pyfunction]
#[pyo3(signature = (path, format=None, columns=None, progress=None))]
pub(crate) fn read_trace(
    py: Python<'_>,
    path: PathBuf,
    format: Option<&str>,
    columns: Option<&str>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Trace> {
    let format = format.map(|name| Format::from_name(name).or_raise(py)).transpose()?;
    let columns = self::columns(py, columns)?;
    let name = path.display().to_string();
    let read = move |heard: &mut crate::attend::Heard| accel_files::trace::read(&path, format, columns.as_ref(), heard);
    let (trace, format) = attend(py, progress, None, read)?;
    Ok(Trace { trace: Arc::new(trace), name, format: Some(format) })
}

/// An array of what Arrow or the buffer protocol gives, or of the values of any iterable.
fn arrays(py: Python<'_>, name: &str, column: &Bound<'_, PyAny>) -> PyResult<Vec<ArrayRef>> {
    if let Ok(array) = column.extract::<AnyArray>() {
        return array.into_reader()?.collect::<Result<_, _>>().map_err(anyhow::Error::from).or_raise(py);
    }
    let items = column.try_iter().and_then(|items| items.collect::<PyResult<Vec<_>>>());
    let all = |items: &[Bound<'_, PyAny>]| -> Option<ArrayRef> {
        fn every<'a, 'py, T: FromPyObject<'a, 'py>>(items: &'a [Bound<'py, PyAny>]) -> Option<Vec<T>> {
            items.iter().map(|item| item.extract::<T>().ok()).collect()
        }
        None.or_else(|| Some(Arc::new(Int64Array::from(every::<i64>(items)?)) as ArrayRef))
            .or_else(|| Some(Arc::new(UInt64Array::from(every::<u64>(items)?)) as ArrayRef))
            .or_else(|| Some(Arc::new(Float64Array::from(every::<Option<f64>>(items)?)) as ArrayRef))
            .or_else(|| Some(Arc::new(StringArray::from(every::<Option<String>>(items)?)) as ArrayRef))
    };
    items.ok().as_deref().and_then(all).map(|array| vec![array]).ok_or_else(|| {
        let kind = column.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        let cure = "Give a numpy array of whole numbers in the machine's byte order, an Arrow array, or a list of numbers or texts";
        raised(py, &Error::field(format!("trace[{name:?}]"), format!("of type {kind}"), "its values cannot be read", cure))
    })
}

fn framed(py: Python<'_>, frame: Frame, chosen: Option<&str>, progress: Option<Py<PyAny>>) -> PyResult<Trace> {
    let chosen = columns(py, chosen)?;
    let work = move |heard: &mut crate::attend::Heard| Ok(frame.trace(chosen.as_ref(), heard as &mut dyn Progress)?);
    let trace = attend(py, progress, None, work)?;
    Ok(Trace { trace: Arc::new(trace), name: INPUT.to_owned(), format: None })
}

/// Reads a trace from columns of equal length: arrays of numpy or Arrow, or lists.
#[pyfunction]
#[pyo3(signature = (names, values, columns=None, progress=None))]
pub(crate) fn trace_of_columns(
    py: Python<'_>,
    names: Vec<String>,
    values: Vec<Bound<'_, PyAny>>,
    columns: Option<&str>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Trace> {
    let mut chunked: Vec<Vec<ArrayRef>> = Vec::new();
    for (name, column) in names.iter().zip(&values) {
        let chunks = arrays(py, name, column)?;
        let rows = |chunks: &[ArrayRef]| chunks.iter().map(|array| array.len()).sum::<usize>();
        let (length, first) = (rows(&chunks), chunked.first().map(|chunks| rows(chunks)));
        if let Some(first) = first.filter(|first| *first != length) {
            let (value, problem) = (format!("{length} long"), format!("{} is {first} long", names[0]));
            let cure = "Give columns of one length, a value of each for every access";
            return Err(raised(py, &Error::field(format!("trace[{name:?}]"), value, problem, cure)));
        }
        chunked.push(chunks);
    }
    framed(py, Frame { names, pieces: pieces(chunked) }, columns, progress)
}

/// Columns of one length, each in chunks of its own, in pieces of rows.
fn pieces(mut columns: Vec<Vec<ArrayRef>>) -> Vec<Vec<ArrayRef>> {
    let mut pieces = Vec::new();
    columns.iter_mut().for_each(|chunks| {
        chunks.retain(|array| !array.is_empty());
        chunks.reverse();
    });
    while let Some(rows) = columns.iter().map(|chunks| chunks.last().map_or(0, |array| array.len())).min() {
        if rows == 0 {
            break;
        }
        let mut piece = Vec::new();
        for chunk in columns.iter_mut().filter_map(|chunks| chunks.last_mut()) {
            piece.push(chunk.slice(0, rows));
            *chunk = chunk.slice(rows, chunk.len() - rows);
        }
        columns.iter_mut().for_each(|chunks| drop(chunks.pop_if(|array| array.is_empty())));
        pieces.push(piece);
    }
    pieces
}

/// Reads a trace from a data frame: whatever has `__arrow_c_stream__` or `__arrow_c_array__`.
#[pyfunction]
#[pyo3(signature = (stream, columns=None, progress=None))]
pub(crate) fn trace_of_stream(
    py: Python<'_>,
    stream: &Bound<'_, PyAny>,
    columns: Option<&str>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Trace> {
    let reader = stream.extract::<AnyRecordBatch>()?.into_reader()?;
    let names = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut pieces = Vec::new();
    for batch in reader {
        py.check_signals()?;
        pieces.push(batch.map_err(anyhow::Error::from).or_raise(py)?.columns().to_vec());
    }
    framed(py, Frame { names, pieces }, columns, progress)
}

/// Makes the trace of a recipe; files that it names are looked for in `folder`.
#[pyfunction]
#[pyo3(signature = (recipe, folder, progress=None))]
pub(crate) fn trace_of_recipe(
    py: Python<'_>,
    recipe: &str,
    folder: PathBuf,
    progress: Option<Py<PyAny>>,
) -> PyResult<Trace> {
    let recipe = Recipe::from_json("recipe", recipe.as_bytes()).or_raise(py)?;
    let name = match recipe.workload.file() {
        Some(file) => file.to_owned(),
        None => "recipe".to_owned(),
    };
    let work = move |heard: &mut crate::attend::Heard| {
        recipe.check()?;
        let file = of_file(&recipe, &folder, heard)?;
        Ok(recipe.trace(file)?)
    };
    let trace = attend(py, progress, None, work)?;
    Ok(Trace { trace: Arc::new(trace), name, format: None })
}

/// The trace that the recipe's file makes, where it names one.
pub(crate) fn of_file(
    recipe: &Recipe,
    folder: &Path,
    progress: &mut dyn Progress,
) -> anyhow::Result<Option<accel_core::trace::Trace>> {
    let Some(name) = recipe.workload.file() else { return Ok(None) };
    Ok(Some(accel_files::trace::read_workload(recipe, &folder.join(name), progress)?.0))
}
