//! The page's side of the worker: starts it, sends runs, and turns its replies into signals.

use std::sync::Arc;
use std::time::Duration;

use accel_core::error::{Error, Place};
use accel_core::recipe::Recipe;
use accel_core::run::{Order, Outcome};
use accel_core::trace::views::Views;
use accel_core::validate::realism::Realism;
use js_sys::{Array, Uint8Array};
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::prelude::Closure;
use web_sys::{Blob, BlobPropertyBag, MessageEvent, Url, Worker, WorkerOptions, WorkerType};

use crate::extra::LOADER;
use crate::protocol::{Reply, Request, Scored, pack, unpack};

/// How long a worker may take to hear a cancel before it is replaced.
const PATIENCE: Duration = Duration::from_millis(400);

/// Where a run stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Phase {
    /// Nothing was run yet.
    Idle,
    /// Under way: steps done, steps in all (0 while the trace is made), and what is being done.
    Running { done: u64, total: u64, what: String },
    /// Finished.
    Done,
    /// Ended without an outcome.
    Failed(Error),
}

/// A finished run.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// What was run, as JSON.
    pub(crate) recipe: String,
    /// What came out.
    pub(crate) outcome: Arc<Outcome>,
    /// How long the worker took.
    pub(crate) run_ms: f64,
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
    /// The comparison asked for last.
    pub(crate) compared: RwSignal<Option<Result<Arc<Realism>, Error>>>,
    inner: StoredValue<Inner, LocalStorage>,
}

#[derive(Default)]
struct Inner {
    worker: Option<Worker>,
    /// What to send once the worker listens.
    waiting: Option<Vec<Request>>,
    /// Why there is no worker.
    broken: Option<Error>,
    /// The trace file, kept for the next worker.
    file: Option<(String, Uint8Array)>,
    /// Number of the newest run, and its recipe.
    id: u32,
    recipe: Option<String>,
}

impl Engine {
    /// Starts the worker.
    pub(crate) fn new() -> Self {
        let engine = Self {
            phase: RwSignal::new(Phase::Idle),
            answer: RwSignal::new(None),
            records: RwSignal::new(Vec::new()),
            views: RwSignal::new(None),
            compared: RwSignal::new(None),
            inner: StoredValue::new_local(Inner::default()),
        };
        engine.start_worker();
        engine
    }

    fn start_worker(self) {
        match spawn(self) {
            Ok(worker) => self.inner.update_value(|inner| {
                inner.worker = Some(worker);
                inner.waiting = Some(Vec::new());
            }),
            Err(error) => self.give_up(error),
        }
    }

    /// There is no worker, and a new one would fail as well: from now on every request is told why.
    fn give_up(self, error: Error) {
        self.inner.update_value(|inner| {
            inner.worker = None;
            inner.waiting = None;
            inner.broken = Some(error.clone());
        });
        self.phase.set(Phase::Failed(error));
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
                inner.recipe = Some(recipe.clone());
                inner.id
            })
            .unwrap_or_default();
        self.phase.set(Phase::Running { done: 0, total: 0, what: "trace".into() });
        self.send(Request::Run { id, recipe, scorer });
    }

    /// Stops the run; a worker that does not answer is replaced.
    pub(crate) fn cancel(self) {
        self.send(Request::Cancel);
        let id = self.inner.with_value(|inner| inner.id);
        set_timeout(
            move || {
                let same = self.inner.with_value(|inner| inner.id) == id;
                if same && matches!(self.phase.get_untracked(), Phase::Running { .. }) {
                    self.phase.set(Phase::Failed(Error::Cancelled));
                    self.replace_worker();
                }
            },
            PATIENCE,
        );
    }

    fn replace_worker(self) {
        self.inner.update_value(|inner| {
            if let Some(worker) = inner.worker.take() {
                worker.terminate();
            }
        });
        self.start_worker();
        let file = self.inner.with_value(|inner| inner.file.is_some());
        if file {
            self.send_file();
        }
    }

    /// Hands a trace file to the worker; recipes may name it from now on.
    pub(crate) fn set_file(self, name: String, bytes: Uint8Array) {
        self.inner.update_value(|inner| inner.file = Some((name, bytes)));
        self.send_file();
    }

    fn send_file(self) {
        let name = self.inner.with_value(|inner| inner.file.as_ref().map(|(name, _)| name.clone()));
        if let Some(name) = name {
            self.send(Request::File { name });
        }
    }

    /// Asks for scored accesses; they arrive in `records`.
    pub(crate) fn ask_records(self, order: Order, start: u64, count: u64) {
        self.send(Request::Records { order, start, count });
    }

    /// Asks for the distributions of the trace; they arrive in `views`.
    pub(crate) fn ask_views(self) {
        self.send(Request::Views);
    }

    /// Asks how the trace compares with a profile, or with the file; the answer arrives in `compared`.
    pub(crate) fn ask_compared(self, profile: String) {
        self.compared.set(None);
        self.send(Request::Compare { profile });
    }

    fn send(self, request: Request) {
        let failed = self.inner.try_update_value(|inner| match (&mut inner.waiting, &inner.worker) {
            (Some(waiting), _) => {
                waiting.push(request);
                None
            }
            (None, Some(worker)) => post(worker, &request, inner.file.as_ref().map(|(_, bytes)| bytes)).err(),
            (None, None) => inner.broken.clone(),
        });
        if let Some(Some(error)) = failed {
            self.phase.set(Phase::Failed(error));
        }
    }

    fn hear(self, reply: Reply) {
        let newest = self.inner.with_value(|inner| inner.id);
        match reply {
            Reply::Ready => {
                let waiting = self.inner.try_update_value(|inner| inner.waiting.take()).flatten();
                waiting.into_iter().flatten().for_each(|request| self.send(request));
            }
            Reply::Progress { id, done, total, what } if id == newest => {
                self.phase.set(Phase::Running { done, total, what });
            }
            Reply::Done { id, outcome, run_ms } if id == newest => {
                if let Some(recipe) = self.inner.try_update_value(|inner| inner.recipe.take()).flatten() {
                    self.records.set(Vec::new());
                    self.views.set(None);
                    self.compared.set(None);
                    self.answer.set(Some(Answer { recipe, outcome: Arc::new(*outcome), run_ms }));
                }
                self.phase.set(Phase::Done);
            }
            Reply::Failed { id, error } if id == newest || id == 0 => self.phase.set(Phase::Failed(error)),
            Reply::Records { rows } => self.records.set(rows),
            Reply::Views { answer } => self.views.set(Some(answer.map(|views| Arc::new(*views)))),
            Reply::Compared { answer } => self.compared.set(Some(answer.map(|realism| Arc::new(*realism)))),
            // Of a run that a newer one has replaced.
            Reply::Progress { .. } | Reply::Done { .. } | Reply::Failed { .. } => {}
        }
    }
}

fn post(worker: &Worker, request: &Request, file: Option<&Uint8Array>) -> Result<(), Error> {
    let bytes = if matches!(request, Request::File { .. }) { file } else { None };
    let message = pack(request, bytes)?;
    worker.post_message(&message).map_err(|_| Error::Internal("the worker cannot be reached".into()))
}

/// The files that the page was started from: their hashed names are in its head.
pub(crate) struct Files {
    script: String,
    wasm: String,
}

/// A module that is loaded when it is needed.
pub(crate) struct Module {
    /// The address of its script.
    pub(crate) script: String,
    /// The address of its WASM.
    pub(crate) wasm: String,
}

impl Files {
    /// None where the head does not name them.
    pub(crate) fn of_the_page() -> Option<Self> {
        let link = |selector: &str| {
            let element = document().query_selector(selector).ok().flatten();
            element.and_then(|e| js_sys::Reflect::get(&e, &"href".into()).ok()).and_then(|href| href.as_string())
        };
        Some(Self { script: link("link[rel=modulepreload]")?, wasm: link("link[rel=preload][as=fetch]")? })
    }

    /// The module of that name, which lies beside them.
    ///
    /// Its name has no hash: that of the page's keeps it in step with the page. Addresses hold no double quotes:
    /// browsers write them as %22.
    pub(crate) fn beside(&self, name: &str) -> Module {
        let (folder, file) = self.wasm.rsplit_once('/').unwrap_or(("", &self.wasm));
        let version = file.trim_start_matches("accel-app").trim_end_matches(".wasm");
        let address = |ending: &str| format!("{folder}/{name}{ending}?v={version}");
        Module { script: address(".js"), wasm: address("_bg.wasm") }
    }
}

/// Starts a worker from the very files that the page was started from.
fn spawn(engine: Engine) -> Result<Worker, Error> {
    let failed = |what: &str| Error::Internal(format!("the worker does not start: {what}"));
    let files = Files::of_the_page().ok_or_else(|| failed("no script in the page's head"))?;
    let extra = files.beside("accel-extra");
    let script = format!(
        r#"import init from "{}";
        let extra;
        self.{LOADER} = () => extra ??= (async () => {{
            const module = await import("{}");
            await module.default({{ module_or_path: "{}" }});
            return module;
        }})().catch((error) => {{ extra = undefined; throw error; }});
        await init({{ module_or_path: "{}" }});"#,
        files.script, extra.script, extra.wasm, files.wasm
    );
    let options = BlobPropertyBag::new();
    options.set_type("text/javascript");
    let blob = Blob::new_with_str_sequence_and_options(&Array::of1(&script.into()), &options);
    let url = blob.and_then(|b| Url::create_object_url_with_blob(&b)).map_err(|_| failed("no blob URL"))?;
    let options = WorkerOptions::new();
    options.set_type(WorkerType::Module);
    let worker = Worker::new_with_options(&url, &options).map_err(|_| failed("module workers are not supported"))?;

    let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| match unpack(event.data()) {
        Ok((reply, _)) => engine.hear(reply),
        Err(error) => engine.phase.set(Phase::Failed(error)),
    });
    worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    on_message.forget(); // Lives as long as the worker.
    let on_error = Closure::<dyn Fn(web_sys::Event)>::new(move |event: web_sys::Event| {
        let message = event.dyn_into::<web_sys::ErrorEvent>().map(|e| e.message()).unwrap_or_default();
        let what = if message.is_empty() { "without a reason".to_owned() } else { message };
        if engine.inner.with_value(|inner| inner.waiting.is_some()) {
            // It never listened: its files are gone or forbidden.
            return engine.give_up(Error::Input {
                input: "the page's worker".into(),
                place: Place::Whole,
                problem: "it could not be loaded".into(),
                cure: "Reload the page".into(),
            });
        }
        engine.phase.set(Phase::Failed(Error::TooLarge {
            problem: format!("the worker stopped ({what}); most likely the browser ran out of memory"),
            cure: "Choose larger tiles, fewer tokens or a shorter trace, or use the command line".into(),
        }));
        engine.replace_worker();
    });
    worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
    on_error.forget();
    Ok(worker)
}
