//! Errors as exceptions.

use accel_core::error::Error;
use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyPermissionError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The exception of an error; its class stands in `accel_copilot/_errors.py`, and its fields are attributes.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    let build = || -> PyResult<PyErr> {
        let fields = PyDict::new(py);
        let class = match error {
            Error::Field { field, value, problem, cure } => {
                for (name, text) in [("field", field), ("value", value), ("problem", problem), ("cure", cure)] {
                    fields.set_item(name, text)?;
                }
                "FieldError"
            }
            Error::Input { input, place, problem, cure } => {
                for (name, text) in
                    [("input", input), ("place", &place.to_string()), ("problem", problem), ("cure", cure)]
                {
                    fields.set_item(name, text)?;
                }
                "InputError"
            }
            Error::TooLarge { problem, cure } => {
                fields.set_item("problem", problem)?;
                fields.set_item("cure", cure)?;
                "TooLargeError"
            }
            Error::Cancelled => "CancelledError",
            Error::Internal(problem) => {
                fields.set_item("problem", problem)?;
                "InternalError"
            }
        };
        let class = py.import("accel_copilot._errors")?.getattr(class)?;
        Ok(PyErr::from_value(class.call((error.to_string(),), Some(&fields))?))
    };
    build().unwrap_or_else(|error| error)
}

/// The exception of an error that may be one of files.
pub(crate) fn raised_any(py: Python<'_>, error: &anyhow::Error) -> PyErr {
    if let Some(error) = error.chain().find_map(|cause| cause.downcast_ref::<Error>()) {
        return raised(py, error);
    }
    let text = format!("{error:#}");
    match error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind) {
        Some(std::io::ErrorKind::NotFound) => PyFileNotFoundError::new_err(text),
        Some(std::io::ErrorKind::PermissionDenied) => PyPermissionError::new_err(text),
        Some(_) => PyOSError::new_err(text),
        None => PyRuntimeError::new_err(text),
    }
}

/// Turns results into those of Python.
pub(crate) trait OrRaise<T> {
    /// The value, or the exception.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for Result<T, Error> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raised(py, &error))
    }
}

impl<T> OrRaise<T> for anyhow::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raised_any(py, &error))
    }
}

impl<T> OrRaise<T> for serde_json::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raised(py, &Error::Internal(error.to_string())))
    }
}
