//! The page's side of the worker: sends runs, and turns its replies into signals.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use accel_core::error::Error;
use accel_core::recipe::Recipe;
use accel_core::run::{Order, Outcome};
use accel_core::trace::views::Views;
use accel_core::traffic::Curve;
use accel_core::validate::realism::Realism;
use accel_ui::run::Phase;
use accel_ui::worker::Worker;
use js_sys::Uint8Array;
use leptos::prelude::*;
use wasm_bindgen::JsValue;

use accel_worker::protocol::{Reply, Request, Scored, pack, read, unpack};

/// How long a worker may take to notice a cancel before it is replaced.
const PATIENCE: Duration = Duration::from_millis(400);

/// A finished run.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// What was run, as JSON.
    pub(crate) recipe: String,
    /// What came out.
    pub(crate) outcome: Arc<Outcome>,
}

/// A handle to the worker; copies are the same worker.
#[derive(Clone, Copy)]
pub(crate) struct Engine {
    /// Where the newest run stands.
    pub(crate) phase: RwSignal<Phase>,
    /// The newest finished run.
    pub(crate) answer: RwSignal<Option<Answer>>,
    /// The scored accesses asked for last.
    pub(crate) records: RwSignal<Vec<Scored>>,
    /// The distributions asked for last.
    pub(crate) views: RwSignal<Option<Result<Arc<Views>, Error>>>,
    /// The traffic by the size of fast memory asked for last.
    pub(crate) traffic: RwSignal<Option<Result<Arc<Curve>, Error>>>,
    /// The comparison asked for last.
    pub(crate) compared: RwSignal<Option<Result<Arc<Realism>, Error>>>,
    worker: Worker,
    inner: StoredValue<Inner, LocalStorage>,
}

#[derive(Default)]
struct Inner {
    /// The file, kept for the next worker.
    file: Option<(String, Uint8Array)>,
    /// Number of the newest run, and its recipe.
    id: u32,
    recipe: Option<String>,
    /// Whether the worker was started: not before it is needed.
    started: bool,
    /// Whether the answer came with the page, so that the worker knows nothing of it yet.
    given: bool,
    /// Questions about the answer, to be sent once the worker knows it.
    waiting: Vec<Request>,
}

impl Engine {
    /// An engine whose worker is started when it is first needed.
    pub(crate) fn new() -> Self {
        Self {
            phase: RwSignal::new(Phase::Idle),
            answer: RwSignal::new(None),
            records: RwSignal::new(Vec::new()),
            views: RwSignal::new(None),
            traffic: RwSignal::new(None),
            compared: RwSignal::new(None),
            worker: Worker::new(
                "accel-worker",
                "Choose larger tiles, fewer tokens or a shorter trace, or use the command line",
            ),
            inner: StoredValue::new_local(Inner::default()),
        }
    }

    /// Starts the worker, if that was not done before.
    pub(crate) fn start(self) {
        let started = self.inner.try_update_value(|inner| std::mem::replace(&mut inner.started, true));
        if started != Some(false) {
            return;
        }
        let handler = move |message: Result<_, Error>| match message {
            Ok(data) => match unpack(data) {
                Ok((reply, _)) => self.handle(reply),
                Err(error) => self.phase.set(Phase::Failed(error)),
            },
            Err(error) => {
                self.inner.update_value(|inner| inner.waiting.clear());
                self.phase.set(Phase::Failed(error));
            }
        };
        self.worker.start(Rc::new(move || self.file()), Rc::new(handler));
    }

    /// Runs `recipe`, in place of what may be running, with scores by the model of the server at `scorer`, if given.
    pub(crate) fn run(self, recipe: &Recipe, scorer: Option<String>) {
        let recipe = match recipe.to_json() {
            Ok(json) => json,
            Err(error) => return self.phase.set(Phase::Failed(error)),
        };
        let id = self
            .inner
            .try_update_value(|inner| {
                inner.id += 1;
                inner.given = false;
                inner.waiting.clear();
                inner.recipe = Some(recipe.clone());
                inner.id
            })
            .unwrap_or_default();
        self.phase.set(Phase::Running { share: None, what: "trace".into() });
        self.send(&Request::Run { id, recipe, scorer });
    }

    /// Stops the run; a worker that does not answer is replaced.
    pub(crate) fn cancel(self) {
        self.send(&Request::Cancel);
        let id = self.inner.with_value(|inner| inner.id);
        set_timeout(
            move || {
                let same = self.inner.with_value(|inner| inner.id) == id;
                if same && self.phase.with_untracked(Phase::is_running) {
                    self.phase.set(Phase::Failed(Error::Cancelled));
                    self.worker.replace();
                }
            },
            PATIENCE,
        );
    }

    /// Hands a file to the worker; recipes may name it from now on.
    pub(crate) fn set_file(self, name: String, bytes: Uint8Array) {
        self.inner.update_value(|inner| inner.file = Some((name, bytes)));
        // One that starts from now on gets it first.
        let message = self.file().filter(|_| self.worker.is_there());
        if let Some(Err(error)) = message.map(|message| self.worker.send(message)) {
            self.phase.set(Phase::Failed(error));
        }
    }

    /// What hands the file to a worker.
    fn file(self) -> Option<JsValue> {
        let (name, bytes) = self.inner.with_value(|inner| inner.file.clone())?;
        pack(&Request::File { name }, Some(&bytes)).ok()
    }

    /// Asks for scored accesses; they arrive in `records`.
    pub(crate) fn ask_records(self, order: Order, start: u64, count: u64) {
        self.ask(Request::Records { order, start, count });
    }

    /// Asks for the distributions of the trace; they arrive in `views`.
    pub(crate) fn ask_views(self) {
        self.ask(Request::Views);
    }

    /// Asks for the traffic of the operators behind the newest answer; it arrives in `traffic`.
    pub(crate) fn ask_traffic(self) {
        if let Some(recipe) = self.answer.with_untracked(|answer| answer.as_ref().map(|answer| answer.recipe.clone())) {
            self.send(&Request::Traffic { recipe });
        }
    }

    /// Asks how the trace compares with a profile, or with the file; the answer arrives in `compared`.
    pub(crate) fn ask_compared(self, profile: String) {
        self.compared.set(None);
        self.ask(Request::Compare { profile });
    }

    /// Shows an answer that came with the page.
    pub(crate) fn give(self, recipe: String, outcome: Outcome) {
        self.inner.update_value(|inner| inner.given = true);
        self.answer.set(Some(Answer { recipe, outcome: Arc::new(outcome) }));
        self.phase.set(Phase::Done { ms: 0.0 });
    }

    /// Asks about the newest answer; where it came with the page, once the worker has made it as well.
    fn ask(self, request: Request) {
        let given = self.inner.with_value(|inner| inner.given);
        let recipe = self.answer.with_untracked(|answer| answer.as_ref().map(|answer| answer.recipe.clone()));
        match recipe.filter(|_| given) {
            None => self.send(&request),
            Some(recipe) => {
                let first = self.inner.try_update_value(|inner| {
                    inner.waiting.push(request);
                    inner.waiting.len() == 1
                });
                if first == Some(true) {
                    let id = self.inner.with_value(|inner| inner.id);
                    self.send(&Request::Run { id, recipe, scorer: None });
                }
            }
        }
    }

    fn send(self, request: &Request) {
        self.start();
        if let Err(error) = pack(request, None).and_then(|message| self.worker.send(message)) {
            self.phase.set(Phase::Failed(error));
        }
    }

    fn handle(self, reply: Reply) {
        let newest = self.inner.with_value(|inner| inner.id);
        match reply {
            // The worker makes what the page shows already.
            Reply::Progress { .. } if self.inner.with_value(|inner| inner.given) => {}
            Reply::Done { id, .. } if id == newest && self.inner.with_value(|inner| inner.given) => {
                let waiting = self.inner.try_update_value(|inner| {
                    inner.given = false;
                    std::mem::take(&mut inner.waiting)
                });
                waiting.unwrap_or_default().iter().for_each(|request| self.send(request));
            }
            Reply::Progress { id, done, total, what } if id == newest => {
                // Until the trace is made nobody knows how much there is to do.
                let share = (total > 0).then(|| done as f64 / total as f64);
                self.phase.set(Phase::Running { share, what });
            }
            Reply::Done { id, outcome, run_ms } if id == newest => {
                if let Some(recipe) = self.inner.try_update_value(|inner| inner.recipe.take()).flatten() {
                    self.records.set(Vec::new());
                    self.views.set(None);
                    self.traffic.set(None);
                    self.compared.set(None);
                    self.answer.set(Some(Answer { recipe, outcome: Arc::new(*outcome) }));
                }
                self.phase.set(Phase::Done { ms: run_ms });
            }
            Reply::Failed { id, error } if id == newest || id == 0 => self.phase.set(Phase::Failed(error)),
            Reply::Records { rows } => self.records.set(rows),
            Reply::Views { answer } => self.views.set(Some(read(answer).map(Arc::new))),
            Reply::Traffic { answer } => self.traffic.set(Some(read(answer).map(Arc::new))),
            Reply::Compared { answer } => self.compared.set(Some(read(answer).map(Arc::new))),
            // Of a run that a newer one has replaced.
            Reply::Progress { .. } | Reply::Done { .. } | Reply::Failed { .. } => {}
        }
    }
}
