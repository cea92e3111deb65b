//! What only some visitors of the page need: importers, statistics, views of a trace, and prices of operators.
//!
//! The worker loads this module when it is first asked for such a thing. The two have memories of their own: traces and
//! answers cross as postcard bytes, errors as well.

use accel_core::closed;
use accel_core::error::{Error, Place};
use accel_core::import::input::Input;
use accel_core::import::{self, Format, Records};
use accel_core::progress::{Flow, Progress, Unattended};
use accel_core::recipe::{FileSource, Workload};
use accel_core::trace::Trace;
use accel_core::trace::views::Views;
use accel_core::traffic::{Subject, Traffic};
use accel_core::validate::profile;
use accel_core::validate::realism::{Realism, Reference, realism};
use accel_price::Question;
use serde::Serialize;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

fn main() {
    console_error_panic_hook::set_once();
}

/// Reports to a function of the worker how far a file is read: it is called with the bytes done and all bytes.
struct ToWorker<'a>(&'a js_sys::Function);

impl Progress for ToWorker<'_> {
    fn report(&mut self, done: u64, total: u64, _what: &str) -> Flow {
        // Where it fails, the trace is still read. A worker is cancelled by ending it.
        let _ = self.0.call2(&JsValue::NULL, &(done as f64).into(), &(total as f64).into());
        Flow::Continue
    }
}

/// What crosses: the answer, or why there is none.
fn pack<T: Serialize>(answer: Result<T, Error>) -> Vec<u8> {
    let packed = postcard::to_allocvec(&answer);
    packed.unwrap_or_else(|e| {
        let error: Result<T, Error> = Err(Error::Internal(e.to_string()));
        postcard::to_allocvec(&error).unwrap_or_default()
    })
}

fn unpack(trace: &[u8]) -> Result<Trace, Error> {
    postcard::from_bytes(trace).map_err(|_| Error::Internal("unreadable trace between worker and module".into()))
}

/// The trace of a workload (as JSON), for a size of fast memory, with the file that it needs.
#[wasm_bindgen]
pub fn trace(
    workload: &str,
    seed: u64,
    capacity_bytes: u64,
    name: &str,
    bytes: &[u8],
    report: &js_sys::Function,
) -> Vec<u8> {
    let workload: Result<Workload, Error> =
        serde_json::from_slice(workload.as_bytes()).map_err(|e| Error::Internal(e.to_string()));
    pack(workload.and_then(|workload| {
        let (trace, _) =
            workload.trace_with((seed, capacity_bytes), &Input::new(name, bytes), &mut ToWorker(report))?;
        Ok(trace)
    }))
}

/// How the records of a file that begins with `head` follow one another: bytes of each, 1 where they are lines, 0 where
/// nobody knows.
#[wasm_bindgen]
pub fn records(head: &[u8]) -> u32 {
    match Records::of(head) {
        Some(Records::Bytes(bytes)) => bytes as u32,
        Some(Records::Lines) => 1,
        None => 0,
    }
}

/// The traffic of the operators of a workload (as JSON) by the size of fast memory; `bytes` are the file that it needs.
#[wasm_bindgen]
pub fn traffic(workload: &str, name: &str, bytes: &[u8], report: &js_sys::Function) -> Vec<u8> {
    let workload: Result<Workload, Error> =
        serde_json::from_slice(workload.as_bytes()).map_err(|e| Error::Internal(e.to_string()));
    pack(workload.and_then(|workload| {
        let question = Traffic { of: Subject::Workload(workload), capacities: Vec::new() };
        question.curve(Some(&Input::new(name, bytes)), &mut ToWorker(report))
    }))
}

/// What the operators of a model take, as a question (as JSON) asks; `bytes` are the file `name` that describes the model,
/// where it has a name.
#[wasm_bindgen]
pub fn prices(question: &str, name: &str, bytes: &[u8]) -> Vec<u8> {
    let file = (!name.is_empty()).then(|| Input::new(name, bytes));
    let question = Question::from_json("question", question.as_bytes());
    pack(question.and_then(|question| question.answer(file.as_ref(), &mut Unattended)))
}

/// Distributions of a trace.
#[wasm_bindgen]
pub fn views(trace: &[u8]) -> Vec<u8> {
    pack(unpack(trace).map(|trace| Views::of(&trace)))
}

/// A trace in the format of this name, and what that does not keep.
#[wasm_bindgen]
pub fn write(trace: &[u8], format: &str) -> Vec<u8> {
    pack(unpack(trace).and_then(|trace| {
        let format: Format = closed::from_name("format", format)?;
        Ok((import::write(format, &trace)?, import::lost(format, &trace)))
    }))
}

/// A trace beside a built-in profile, or beside the trace in a file.
#[wasm_bindgen]
pub fn compare(trace: &[u8], profile: &str, name: &str, bytes: &[u8], report: &js_sys::Function) -> Vec<u8> {
    pack(compared(trace, profile, name, bytes, report))
}

fn compared(
    trace: &[u8],
    profile: &str,
    name: &str,
    bytes: &[u8],
    report: &js_sys::Function,
) -> Result<Realism, Error> {
    let trace = unpack(trace)?;
    if !profile.is_empty() {
        return realism(&trace, Reference::Profile(profile::find(profile)?));
    }
    if bytes.is_empty() {
        let problem = "there is no file to compare with";
        return Err(Error::input("reference", Place::Whole, problem, "Drop the other trace on the page first"));
    }
    let source = FileSource::named(name);
    let (other, _) =
        Workload::File(source).trace_with((0, u64::MAX), &Input::new(name, bytes), &mut ToWorker(report))?;
    let answer = realism(&trace, Reference::Trace(&other))?;
    Ok(Realism { reference: name.to_owned(), ..answer })
}
