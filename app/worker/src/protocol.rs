//! What page and worker say to each other.
//!
//! Messages travel as postcard bytes: the numbers stay exact, and the code that reads them is a fraction of
//! what a JSON reader for the same types would take. Recipes travel as the JSON text they are elsewhere.

use accel_core::curve::Curves;
use accel_core::error::Error;
use accel_core::fit::Fit;
use accel_core::recommend::Goal;
use accel_core::run::after::{Cell, Scatter};
use accel_core::run::{Charts, Outcome, Wanted};
use js_sys::{Array, Uint8Array};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::Blob;

/// To the worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Keep the file that comes along.
    File {
        /// The file's name.
        name: String,
    },
    /// Run a recipe. A newer run replaces an older one.
    Run {
        /// What the answer carries.
        id: u32,
        /// The recipe as JSON.
        recipe: String,
        /// The server whose model makes the scores, where there is one.
        scorer: Option<String>,
    },
    /// Stop the run.
    Cancel,
    /// Show scored accesses of the last finished run.
    Records {
        /// Which, and in which order.
        wanted: Wanted,
        /// The first row.
        start: u64,
        /// Rows.
        count: u64,
    },
    /// Show the charts of the last finished run over a part of its accesses. A newer part replaces an older one.
    Window {
        /// The first access.
        from: u64,
        /// The first access behind the part.
        to: u64,
    },
    /// Show what happened in a cell of a heatmap.
    Cell(Place),
    /// Show the scores of the last finished run against the truth.
    Scatters,
    /// Show how misses fall as memory grows, in the run number `id`.
    Curve {
        /// The run, which must be the newest.
        id: u32,
        /// Capacities.
        points: u32,
    },
    /// Say whether the model of a recipe fits a device.
    Fit {
        /// The recipe as JSON.
        recipe: String,
        /// Bytes of the device.
        budget_bytes: u64,
    },
    /// Say which design is the best for the recipe of the last finished run.
    Recommend {
        /// The recipe as JSON.
        recipe: String,
        /// What is to be least.
        goal: Goal,
    },
    /// Run the experiments between those of the last finished run.
    Sweep {
        /// The recipe as JSON.
        recipe: String,
        /// What varies: the id of each field, and its values as people write them.
        axes: Vec<(String, String)>,
    },
    /// Show distributions of the trace of the last finished run.
    Views,
    /// Show the traffic of the operators of a recipe by the size of fast memory.
    Traffic {
        /// The recipe as JSON.
        recipe: String,
    },
    /// Price the operators of a model.
    Prices {
        /// The question as JSON.
        question: String,
        /// The file that describes the model, where one does.
        file: Option<String>,
    },
    /// Write that trace as a file.
    Write {
        /// The name of the format.
        format: String,
    },
    /// Compare that trace with a profile, or, where the name is empty, with the file.
    Compare {
        /// The profile's name.
        profile: String,
    },
}

/// A cell of a heatmap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Number of the policy in the recipe.
    pub run: usize,
    /// Number of the grouping.
    pub grouping: usize,
    /// Number of the row.
    pub row: usize,
    /// The first access.
    pub from: u64,
    /// The first access behind the cell.
    pub to: u64,
}

/// From the worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// How far a run is.
    Progress {
        /// The run.
        id: u32,
        /// What is done.
        done: u64,
        /// Of how much; 0 where nobody knows.
        total: u64,
        /// What is being done.
        what: String,
    },
    /// A run is finished.
    Done {
        /// The run.
        id: u32,
        /// What came out.
        outcome: Box<Outcome>,
        /// How long it took.
        run_ms: f64,
    },
    /// A run ended without an outcome.
    Failed {
        /// The run.
        id: u32,
        /// Why.
        error: Error,
    },
    /// Scored accesses.
    Records {
        /// How many accesses were asked for in all.
        total: u64,
        /// The rows.
        rows: Vec<Scored>,
    },
    /// Charts over a part of the accesses.
    Window {
        /// The first access, and the first one behind the part.
        range: (u64, u64),
        /// The charts, or why there are none.
        answer: Result<Box<Charts>, Error>,
    },
    /// What happened in a cell.
    Cell {
        /// Which cell.
        place: Place,
        /// What happened, or why nobody knows.
        answer: Result<Cell, Error>,
    },
    /// Scores against the truth, those of the run first.
    Scatters {
        /// One a scorer.
        scatters: Vec<Scatter>,
    },
    /// Whether a model fits a device, or why nobody knows.
    Fit {
        /// The sum and what follows from it.
        answer: Result<Fit, Error>,
    },
    /// How far the search for a design is: done, and of how much.
    Searched(u64, u64),
    /// Which design is the best, or why nobody knows.
    Recommended {
        /// The designs.
        answer: Result<Advice, Error>,
    },
    /// How far a sweep is: cells that are done, and of how many.
    Sweeping(u64, u64),
    /// What a sweep came to, or why there is nothing.
    Swept {
        /// The table.
        answer: Result<Swept, Error>,
    },
    /// How far the curves are.
    CurveProgress {
        /// The run.
        id: u32,
        /// From 0 to 1.
        share: f64,
    },
    /// How misses fall as memory grows.
    Curve {
        /// The run.
        id: u32,
        /// The curves, or why there are none.
        answer: Result<Curves, Error>,
    },
    /// Distributions of the trace ([`Views`](accel_core::trace::views::Views)), or why there are none.
    Views {
        /// What the module answered.
        answer: Answer,
    },
    /// Traffic by the size of fast memory ([`Curve`](accel_core::traffic::Curve)), or why there is none.
    Traffic {
        /// What the module answered.
        answer: Answer,
    },
    /// What the operators of a model take, or why nobody knows.
    Prices {
        /// The question as JSON.
        question: String,
        /// What the module answered.
        answer: Answer,
    },
    /// The trace as a file: its bytes, and what the format does not keep.
    Written {
        /// The name of the format.
        format: String,
        /// What the module answered.
        answer: Answer,
    },
    /// The trace beside a reference ([`Realism`](accel_core::validate::realism::Realism)), or why not.
    Compared {
        /// What the module answered.
        answer: Answer,
    },
}

/// The best designs, as people read them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Advice {
    /// What was asked.
    pub headline: String,
    /// The cells of each design ([`HEAD`](accel_core::recommend::HEAD)), and its recipe as JSON.
    pub designs: Vec<(Vec<String>, String)>,
    /// LRU, to compare with.
    pub baseline: Vec<String>,
    /// What the bounds say is left.
    pub left: String,
    /// What was tried.
    pub tried: Vec<String>,
}

/// A sweep as people read it, and as programs do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Swept {
    /// The names of the columns.
    pub head: Vec<String>,
    /// The cells of each row, and its recipe as JSON, where it can be read.
    pub rows: Vec<(Vec<String>, Option<String>)>,
    /// All columns as CSV.
    pub csv: Vec<u8>,
    /// The grid as `accel sweep` reads it.
    pub grid: String,
}

/// What the module `accel-extra` answered, not yet read, or why it did not.
pub type Answer = Result<Vec<u8>, Error>;

/// The content of an answer of the module: the worker passes on what only the page reads.
pub fn read<T: DeserializeOwned>(answer: Answer) -> Result<T, Error> {
    let broken = |_| Error::Internal("unreadable answer of the module".into());
    postcard::from_bytes::<Result<T, Error>>(&answer?).map_err(broken)?
}

/// What lies beside the page for its first visitors: a recipe as JSON, its outcome and its curves; and for each scenario,
/// what the best policy misses as memory grows, in 255ths of the bytes requested.
pub type First = (String, Outcome, Curves, Vec<Vec<u8>>);

/// The content of what lies beside the page.
///
/// # Errors
///
/// Where they are of another version.
pub fn first_answer(bytes: &[u8]) -> Result<First, Error> {
    postcard::from_bytes(bytes).map_err(|_| Error::Internal("unreadable first answer".into()))
}

/// A scored access, as a row of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scored {
    /// Its number in the trace.
    pub access: u64,
    /// Its tensor.
    pub tensor: String,
    /// The tensor's size in MB.
    pub size_mb: f64,
    /// Earlier uses of the tensor: the prototype's `reuse_distance`.
    pub reuse_distance: u32,
    /// Stride in elements.
    pub stride: u32,
    /// What uses the tensor.
    pub op: String,
    /// From 0 (keep) to 1 (evict first).
    pub score: f64,
}

/// A message, and the file that comes along: not its bytes, which are read where they are needed.
pub fn pack(message: &impl Serialize, file: Option<&Blob>) -> Result<JsValue, Error> {
    let bytes = postcard::to_allocvec(message).map_err(|e| Error::Internal(e.to_string()))?;
    let packed = Array::of1(&Uint8Array::from(bytes.as_slice()));
    if let Some(file) = file {
        packed.push(file);
    }
    Ok(packed.into())
}

/// The message in `data`, and the file that came along.
pub fn unpack<T: DeserializeOwned>(data: JsValue) -> Result<(T, Option<Blob>), Error> {
    let broken = || Error::Internal("unreadable message between page and worker".into());
    let packed: Array = data.dyn_into().map_err(|_| broken())?;
    let bytes: Uint8Array = packed.get(0).dyn_into().map_err(|_| broken())?;
    let message = postcard::from_bytes(&bytes.to_vec()).map_err(|_| broken())?;
    Ok((message, packed.get(1).dyn_into().ok()))
}
