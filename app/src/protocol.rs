//! What page and worker say to each other.
//!
//! Messages travel as postcard bytes: the numbers stay exact, and the code that reads them is a fraction of
//! what a JSON reader for the same types would take. Recipes travel as the JSON text they are elsewhere.

use accel_core::error::Error;
use accel_core::run::{Order, Outcome};
use js_sys::{Array, Uint8Array};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wasm_bindgen::{JsCast as _, JsValue};

/// What the script that starts the worker calls the function that loads the module `accel-extra`.
pub(crate) const LOADER: &str = "loadExtra";

/// To the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Keep the bytes that come along: the file `name`.
    File { name: String },
    /// Run the recipe; the answer carries `id`. A newer run replaces an older one.
    /// Scores come from the model of the server at `scorer`, where there is one.
    Run { id: u32, recipe: String, scorer: Option<String> },
    /// Stop the run.
    Cancel,
    /// Show scored accesses of the last finished run.
    Records { order: Order, start: u64, count: u64 },
    /// Show distributions of the trace of the last finished run.
    Views,
    /// Show the traffic of the operators of a recipe by the size of fast memory.
    Traffic { recipe: String },
    /// Compare that trace with a profile, or, where the name is empty, with the file.
    Compare { profile: String },
}

/// From the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// How far run `id` is.
    Progress { id: u32, done: u64, total: u64, what: String },
    /// Run `id` is finished.
    Done { id: u32, outcome: Box<Outcome>, run_ms: f64 },
    /// Run `id` ended without an outcome.
    Failed { id: u32, error: Error },
    /// Scored accesses.
    Records { rows: Vec<Scored> },
    /// Distributions of the trace ([`Views`](accel_core::trace::views::Views)), or why there are none.
    Views { answer: Answer },
    /// Traffic by the size of fast memory ([`Curve`](accel_core::traffic::Curve)), or why there is none.
    Traffic { answer: Answer },
    /// The trace beside a reference ([`Realism`](accel_core::validate::realism::Realism)), or why not.
    Compared { answer: Answer },
}

/// What the module `accel-extra` answered, not yet read, or why it did not.
pub(crate) type Answer = Result<Vec<u8>, Error>;

/// The content of an answer of the module: the worker passes on what only the page reads.
pub(crate) fn read<T: DeserializeOwned>(answer: Answer) -> Result<T, Error> {
    let broken = |_| Error::Internal("unreadable answer of the module".into());
    postcard::from_bytes::<Result<T, Error>>(&answer?).map_err(broken)?
}

/// A scored access, as a row of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Scored {
    /// Its number in the trace.
    pub(crate) access: u64,
    pub(crate) tensor: String,
    pub(crate) size_mb: f64,
    pub(crate) reuse_distance: u32,
    pub(crate) stride: u32,
    pub(crate) op: String,
    pub(crate) score: f64,
}

/// A message, and the bytes that come along.
pub(crate) fn pack(message: &impl Serialize, file: Option<&Uint8Array>) -> Result<JsValue, Error> {
    let bytes = postcard::to_allocvec(message).map_err(|e| Error::Internal(e.to_string()))?;
    let packed = Array::of1(&Uint8Array::from(bytes.as_slice()));
    if let Some(file) = file {
        packed.push(file);
    }
    Ok(packed.into())
}

/// The message in `data`, and the bytes that came along.
pub(crate) fn unpack<T: DeserializeOwned>(data: JsValue) -> Result<(T, Option<Uint8Array>), Error> {
    let broken = || Error::Internal("unreadable message between page and worker".into());
    let packed: Array = data.dyn_into().map_err(|_| broken())?;
    let bytes: Uint8Array = packed.get(0).dyn_into().map_err(|_| broken())?;
    let message = postcard::from_bytes(&bytes.to_vec()).map_err(|_| broken())?;
    Ok((message, packed.get(1).dyn_into().ok()))
}
