//! The page's side of the worker.

use accel_core::error::{Error, Place};
use accel_kernel::report::{Report, Request};
use js_sys::Array;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::prelude::Closure;
use web_sys::{Blob, BlobPropertyBag, MessageEvent, Url, Worker, WorkerOptions, WorkerType};

use crate::PLACE;
use crate::worker::Reply;

/// Where a prediction stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Phase {
    /// Nothing was asked yet.
    Idle,
    /// Under way: how much is done, and what comes next.
    Running(f64, String),
    /// Answered, after so many ms.
    Done(f64),
    /// Not answered.
    Failed(Error),
}

/// What was answered, and to what.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// What was asked.
    pub(crate) request: Request,
    /// What came out.
    pub(crate) report: Report,
}

/// A handle to the worker; copies are the same worker.
#[derive(Clone, Copy)]
pub(crate) struct Engine {
    /// Where the newest prediction stands.
    pub(crate) phase: RwSignal<Phase>,
    /// The newest answer.
    pub(crate) answer: RwSignal<Option<Answer>>,
    inner: StoredValue<Inner, LocalStorage>,
}

#[derive(Default)]
struct Inner {
    worker: Option<Worker>,
    listens: bool,
    /// What is being predicted, or waits until the worker listens.
    asked: Option<Request>,
}

impl Engine {
    /// Starts the worker.
    pub(crate) fn new() -> Self {
        let engine = Self {
            phase: RwSignal::new(Phase::Idle),
            answer: RwSignal::new(None),
            inner: StoredValue::new_local(Inner::default()),
        };
        engine.start_worker();
        engine
    }

    fn start_worker(self) {
        match spawn(self) {
            Ok(worker) => self.inner.update_value(|inner| {
                inner.worker = Some(worker);
                inner.listens = false;
            }),
            Err(error) => self.phase.set(Phase::Failed(error)),
        }
    }

    /// Predicts, in place of what may be under way.
    pub(crate) fn run(self, request: Request) {
        if matches!(self.phase.get_untracked(), Phase::Running(..)) && self.inner.with_value(|inner| inner.listens) {
            self.replace_worker();
        }
        self.phase.set(Phase::Running(0.0, "reading".into()));
        self.inner.update_value(|inner| inner.asked = Some(request));
        if self.inner.with_value(|inner| inner.listens) {
            self.send();
        }
    }

    /// Stops what is under way.
    pub(crate) fn cancel(self) {
        self.replace_worker();
        self.phase.set(Phase::Failed(Error::Cancelled));
    }

    fn replace_worker(self) {
        self.inner.update_value(|inner| {
            inner.asked = None;
            if let Some(worker) = inner.worker.take() {
                worker.terminate();
            }
        });
        self.start_worker();
    }

    fn send(self) {
        let sent = self.inner.with_value(|inner| {
            let (Some(worker), Some(request)) = (&inner.worker, &inner.asked) else { return Ok(()) };
            let json = serde_json::to_string(request).map_err(|e| Error::Internal(e.to_string()))?;
            worker.post_message(&json.into()).map_err(|_| Error::Internal("the worker cannot be reached".into()))
        });
        if let Err(error) = sent {
            self.phase.set(Phase::Failed(error));
        }
    }

    fn hear(self, reply: Reply) {
        match reply {
            Reply::Ready => {
                self.inner.update_value(|inner| inner.listens = true);
                self.send();
            }
            Reply::Progress(share, what) => self.phase.set(Phase::Running(share, what)),
            Reply::Done(report, ms) => {
                if let Some(request) = self.inner.try_update_value(|inner| inner.asked.take()).flatten() {
                    self.answer.set(Some(Answer { request, report: *report }));
                }
                self.phase.set(Phase::Done(ms));
            }
            Reply::Failed(error) => {
                self.inner.update_value(|inner| inner.asked = None);
                self.phase.set(Phase::Failed(error));
            }
        }
    }
}

/// Starts a worker from the files that the page around it named.
fn spawn(engine: Engine) -> Result<Worker, Error> {
    let failed = |what: &str| Error::Internal(format!("the worker does not start: {what}"));
    let place = document().get_element_by_id(PLACE).ok_or_else(|| failed("the page has no place for it"))?;
    let file = |attribute: &str| place.get_attribute(attribute).ok_or_else(|| failed(attribute));
    // Addresses hold no double quotes: browsers write them as %22.
    let (script, wasm) = (file("data-script")?, file("data-wasm")?);
    let start = format!(r#"import init from "{script}"; await init({{ module_or_path: "{wasm}" }});"#);
    let options = BlobPropertyBag::new();
    options.set_type("text/javascript");
    let blob = Blob::new_with_str_sequence_and_options(&Array::of1(&start.into()), &options);
    let url = blob.and_then(|b| Url::create_object_url_with_blob(&b)).map_err(|_| failed("no blob URL"))?;
    let options = WorkerOptions::new();
    options.set_type(WorkerType::Module);
    let worker = Worker::new_with_options(&url, &options).map_err(|_| failed("module workers are not supported"))?;

    let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        match serde_json::from_str(&event.data().as_string().unwrap_or_default()) {
            Ok(reply) => engine.hear(reply),
            Err(error) => engine.phase.set(Phase::Failed(Error::Internal(error.to_string()))),
        }
    });
    worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    on_message.forget(); // Lives as long as the worker.
    let on_error = Closure::<dyn Fn(web_sys::Event)>::new(move |event: web_sys::Event| {
        let message = event.dyn_into::<web_sys::ErrorEvent>().map(|e| e.message()).unwrap_or_default();
        if !engine.inner.with_value(|inner| inner.listens) {
            let cure = "Reload the page";
            let error = Error::input("the page's worker", Place::Whole, "it could not be loaded", cure);
            return engine.phase.set(Phase::Failed(error));
        }
        engine.phase.set(Phase::Failed(Error::TooLarge {
            problem: format!("the worker stopped ({message}); most likely the browser ran out of memory"),
            cure: "Choose smaller parameters, or use the command line".into(),
        }));
        engine.replace_worker();
    });
    worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
    on_error.forget();
    Ok(worker)
}
