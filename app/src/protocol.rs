//! What page and worker say to each other. Messages travel as JSON text: the numbers stay exact.

use accel_core::error::Error;
use accel_core::recipe::Recipe;
use accel_core::run::{Order, Outcome};
use accel_core::trace::format::prototype_csv::Record;
use js_sys::{Array, Uint8Array};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wasm_bindgen::{JsCast as _, JsValue};

/// To the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Keep the bytes that come along: the trace file `name`.
    File { name: String },
    /// Run the recipe; the answer carries `id`. A newer run replaces an older one.
    Run { id: u32, recipe: Box<Recipe> },
    /// Stop the run.
    Cancel,
    /// Show scored accesses of the last finished run.
    Records { order: Order, start: u64, count: u64 },
}

/// From the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The worker listens from now on.
    Ready,
    /// How far run `id` is.
    Progress { id: u32, done: u64, total: u64, what: String },
    /// Run `id` is finished.
    Done { id: u32, outcome: Box<Outcome>, run_ms: f64 },
    /// Run `id` ended without an outcome.
    Failed { id: u32, error: Error },
    /// Scored accesses with their numbers.
    Records { rows: Vec<(u64, Record)> },
}

/// A message, and the bytes that come along.
pub(crate) fn pack(message: &impl Serialize, bytes: Option<&Uint8Array>) -> Result<JsValue, Error> {
    let text = serde_json::to_string(message).map_err(|e| Error::Internal(e.to_string()))?;
    let packed = Array::of1(&JsValue::from_str(&text));
    if let Some(bytes) = bytes {
        packed.push(bytes);
    }
    Ok(packed.into())
}

/// The message in `data`, and the bytes that came along.
pub(crate) fn unpack<T: DeserializeOwned>(data: JsValue) -> Result<(T, Option<Uint8Array>), Error> {
    let broken = |what: String| Error::Internal(format!("unreadable message: {what}"));
    let packed: Array = data.dyn_into().map_err(|_| broken("not a list".into()))?;
    let text = packed.get(0).as_string().ok_or_else(|| broken("no text".into()))?;
    let message = serde_json::from_str(&text).map_err(|e| broken(e.to_string()))?;
    Ok((message, packed.get(1).dyn_into().ok()))
}
