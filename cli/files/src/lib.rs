//! Files of traces and of sweeps, for the command line and the Python package.
//!
//! [`trace`] makes the trace of a recipe with the file that it names; [`parquet`] is the format whose library is too large
//! for the page. [`sweep`] runs a sweep on all processors and keeps its rows in a folder of Parquet parts.

pub mod parquet;
pub mod pieces;
pub mod sweep;
pub mod trace;
