//! The page's side of the worker.

use std::rc::Rc;

use accel_ground::error::Error;
use accel_kernel::report::{Report, Request};
use accel_ui::run::Phase;
use accel_ui::worker::Worker;
use leptos::prelude::*;

use crate::worker::Reply;

/// Identifier of the element that the page around it keeps for it.
pub(crate) const PLACE: &str = "kernel";

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
    worker: Worker,
    /// What is being predicted.
    asked: StoredValue<Option<Request>>,
}

impl Engine {
    /// Starts the worker.
    pub(crate) fn new() -> Self {
        let engine = Self {
            phase: RwSignal::new(Phase::Idle),
            answer: RwSignal::new(None),
            worker: Worker::new("accel-kernel-page", "Choose smaller parameters, or use the command line"),
            asked: StoredValue::new(None),
        };
        let handler = move |message: Result<_, Error>| {
            let reply = message.and_then(|data: wasm_bindgen::JsValue| {
                let json = data.as_string().unwrap_or_default();
                serde_json::from_str(&json).map_err(|e| Error::Internal(e.to_string()))
            });
            engine.handle(reply.unwrap_or_else(Reply::Failed));
        };
        engine.worker.start(Rc::new(|| None), Rc::new(handler));
        engine
    }

    /// Predicts, in place of what may be under way.
    pub(crate) fn run(self, request: Request) {
        if self.phase.with_untracked(Phase::is_running) {
            self.worker.replace();
        }
        self.phase.set(Phase::Running { share: None, what: "reading".into() });
        let json = serde_json::to_string(&request).map_err(|e| Error::Internal(e.to_string()));
        self.asked.set_value(Some(request));
        if let Err(error) = json.and_then(|json| self.worker.send(json.into())) {
            self.phase.set(Phase::Failed(error));
        }
    }

    /// Stops what is under way.
    pub(crate) fn cancel(self) {
        self.worker.replace();
        self.handle(Reply::Failed(Error::Cancelled));
    }

    fn handle(self, reply: Reply) {
        match reply {
            Reply::Progress(share, what) => {
                self.phase.set(Phase::Running { share: (share > 0.0).then(|| share.min(1.0)), what });
            }
            Reply::Done(report, ms) => {
                if let Some(request) = self.asked.try_update_value(Option::take).flatten() {
                    self.answer.set(Some(Answer { request, report: *report }));
                }
                self.phase.set(Phase::Done { ms });
            }
            Reply::Failed(error) => {
                self.asked.set_value(None);
                self.phase.set(Phase::Failed(error));
            }
        }
    }
}
