//! A table of results, which any library of data frames reads by Arrow's PyCapsule interface.

use std::sync::Arc;

use accel_core::sweep::table::{Column, Values};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, RecordBatchIterator, StringArray, UInt64Array};
use arrow_schema::{Field, Schema};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyList};

use crate::error::OrRaise as _;

/// Rows as columns of one type each: whole numbers, numbers, yes or no, or texts; None where there is no value.
#[pyclass(frozen, module = "accel_copilot._native")]
pub(crate) struct Table(pub(crate) accel_files::sweep::Table);

fn array(values: &Values) -> ArrayRef {
    match values {
        Values::Text(values) => Arc::new(values.iter().map(Option::as_deref).collect::<StringArray>()),
        Values::Whole(values) => Arc::new(values.iter().copied().collect::<UInt64Array>()),
        Values::Number(values) => Arc::new(values.iter().copied().collect::<Float64Array>()),
        Values::Flag(values) => Arc::new(values.iter().copied().collect::<BooleanArray>()),
    }
}

impl Table {
    pub(crate) fn new(columns: Vec<Column>) -> Self {
        Self(accel_files::sweep::Table { columns })
    }
}

#[pymethods]
impl Table {
    /// The names of the columns.
    #[getter]
    fn names(&self) -> Vec<&str> {
        self.0.columns.iter().map(|column| column.name.as_str()).collect()
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// The values of a column.
    fn column<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyList>> {
        match self.0.column(name) {
            Some(Values::Text(values)) => PyList::new(py, values),
            Some(Values::Whole(values)) => PyList::new(py, values),
            Some(Values::Number(values)) => PyList::new(py, values),
            Some(Values::Flag(values)) => PyList::new(py, values),
            None => Err(PyKeyError::new_err(name.to_owned())),
        }
    }

    /// The table as the content of a Parquet file.
    fn to_parquet<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.0.to_parquet().or_raise(py)?))
    }

    /// The table as a stream of Arrow record batches (the Arrow PyCapsule interface). Another schema may be asked for, and
    /// need not be given: the code that casts any type to any other takes two megabytes.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        let arrays: Vec<ArrayRef> = self.0.columns.iter().map(|column| array(&column.values)).collect();
        let fields = self.0.columns.iter().zip(&arrays);
        let fields: Vec<Field> =
            fields.map(|(column, array)| Field::new(&column.name, array.data_type().clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(anyhow::Error::from).or_raise(py)?;
        let reader = RecordBatchIterator::new([Ok(batch)], schema);
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(reader)), c"arrow_array_stream")
    }
}
