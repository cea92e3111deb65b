//! A table of results, which any library of data frames reads by Arrow's PyCapsule interface.

use std::sync::Arc;

use accel_core::sweep::table::{Column, Values};
use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, StructArray, UInt64Array};
use arrow_schema::{Field, Schema};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyList};
use pyo3_arrow::ffi::{ArrayIterator, to_stream_pycapsule};

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

    /// The table as a stream of Arrow record batches (the Arrow PyCapsule interface).
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let arrays: Vec<ArrayRef> = self.0.columns.iter().map(|column| array(&column.values)).collect();
        let fields = self.0.columns.iter().zip(&arrays);
        let fields: Vec<Field> =
            fields.map(|(column, array)| Field::new(&column.name, array.data_type().clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(schema, arrays).map_err(anyhow::Error::from).or_raise(py)?;
        let rows = StructArray::from(batch);
        let field = Arc::new(Field::new_struct("", rows.fields().clone(), false));
        let rows: ArrayRef = Arc::new(rows);
        Ok(to_stream_pycapsule(py, Box::new(ArrayIterator::new([Ok(rows)], field)), requested_schema)?)
    }
}
