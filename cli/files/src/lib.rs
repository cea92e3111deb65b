//! What the command line and the Python package share: files of traces and of sweeps, runs on all processors, and lists
//! of what has a name.
//!
//! [`model`] reads a model from a file or a folder. [`trace`] makes the trace of a recipe with the file that it names; [`parquet`] is the format whose library is too large
//! for the page. [`sweep`] runs a sweep on all processors and keeps its rows in a folder of Parquet parts.

pub mod list;
pub mod model;
pub mod parallel;
pub mod parquet;
pub mod pieces;
pub mod stream;
pub mod sweep;
pub mod trace;
