//! What the worker keeps between messages, and how it hears and answers.

use std::cell::{Cell, RefCell};

use accel_core::error::{Error, Place};
use accel_core::run::Finished;
use accel_ui::worker::post;
use accel_worker::protocol::{Reply, pack};
use js_sys::{Promise, Uint8Array};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, DedicatedWorkerGlobalScope};

/// How often the page hears of progress, at most.
pub(crate) const REPORTS_PER_S: f64 = 4.0;

/// What the worker keeps between messages.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) file: RefCell<Option<(String, Blob)>>,
    pub(crate) finished: RefCell<Option<Finished>>,
    /// The newest run; an older one stops when it sees another number here.
    pub(crate) newest: Cell<u32>,
    /// The newest part of the trace that was asked for.
    pub(crate) windows: Cell<u32>,
}

pub(crate) fn send(scope: &DedicatedWorkerGlobalScope, reply: &Reply) {
    post(scope, pack(reply, None));
}

/// What the last finished run answers.
pub(crate) fn with<T>(state: &State, ask: impl FnOnce(&Finished) -> Result<T, Error>) -> Result<T, Error> {
    let finished = state.finished.borrow();
    ask(finished.as_ref().ok_or_else(|| Error::Internal("there is no finished run".into()))?)
}

/// Name and bytes of the file that was given last; empty where there is none. Nobody keeps the bytes: they are read again.
pub(crate) async fn bytes_of_file(state: &State) -> Result<(String, Uint8Array), Error> {
    // Not held while it is read: another may be given meanwhile.
    let file = state.file.borrow().clone();
    match file {
        Some((name, file)) => Ok((name.clone(), bytes_of(&name, &file, 0.0, file.size()).await?)),
        None => Ok((String::new(), Uint8Array::new_with_length(0))),
    }
}

/// The file `name`, which must be the one that was given last.
pub(crate) fn file_named(state: &State, name: &str) -> Result<Blob, Error> {
    let known = state.file.borrow().clone().filter(|(known, _)| known == name);
    known.map(|(_, file)| file).ok_or_else(|| {
        let problem = "this experiment reads a file that the page does not have";
        Error::input(name, Place::Whole, problem, "Drop the file on the page, or choose it under Trace file")
    })
}

/// A part of a file.
pub(crate) async fn bytes_of(name: &str, file: &Blob, from: f64, to: f64) -> Result<Uint8Array, Error> {
    let part = file.slice_with_f64_and_f64(from, to).map(|part| JsFuture::from(part.array_buffer()));
    let bytes = match part {
        Ok(part) => part.await,
        Err(error) => Err(error),
    };
    bytes.map(|bytes| Uint8Array::new(&bytes)).map_err(|_| {
        let problem = "the browser cannot read it any more: it was moved or changed, or memory is short";
        Error::input(name, Place::Whole, problem, "Drop it again")
    })
}

/// Lets messages that wait be handled.
pub(crate) async fn yield_to_messages(scope: &DedicatedWorkerGlobalScope) {
    pause(scope, 0).await;
}

pub(crate) async fn pause(scope: &DedicatedWorkerGlobalScope, ms: i32) {
    let promise = Promise::new(&mut |resolve, _| {
        // Without a timer the promise is resolved at once: slower to cancel, still right.
        if scope.set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, ms).is_err() {
            let _ = resolve.call0(&JsValue::UNDEFINED);
        }
    });
    let _ = JsFuture::from(promise).await;
}

/// Milliseconds of a steady clock.
pub(crate) fn now() -> f64 {
    js_sys::Reflect::get(&js_sys::global(), &"performance".into())
        .ok()
        .and_then(|p| p.dyn_into::<web_sys::Performance>().ok())
        .map_or_else(js_sys::Date::now, |p| p.now())
}
