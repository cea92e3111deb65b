//! The part of the Python package that computes; `accel_copilot` is what people import.
//!
//! Recipes and outcomes cross as JSON, tables and traces by Arrow's C data interface. Nothing here prints, and nothing
//! holds the interpreter while it computes (`attend`).

mod attend;
mod columns;
mod error;
mod experiment;
mod sweep;
mod table;
mod trace;

use pyo3::prelude::*;

#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::experiment::{
        bounds, chart, field_names, fragment, kernel, listing, model_of_file, parse_recipe, recommend, run, scenario,
        template, with_fields,
    };
    #[pymodule_export]
    use crate::sweep::{Sweep, engine, keep};
    /// The version of the package.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    #[pymodule_export]
    use crate::table::Table;
    #[pymodule_export]
    use crate::trace::{Trace, read_trace, trace_of_columns, trace_of_recipe, trace_of_stream};
}
