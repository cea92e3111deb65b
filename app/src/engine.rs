//! The page's side of the worker: sends runs, and turns its replies into signals.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use accel_core::curve::{Curves, Grid};
use accel_core::error::Error;
use accel_core::fit::Fit;
use accel_core::recipe::Recipe;
use accel_core::recommend::Goal;
use accel_core::run::after::{Cell, Scatter};
use accel_core::run::{Charts, Outcome, Wanted};
use accel_core::score::Scorer;
use accel_core::trace::views::Views;
use accel_core::traffic::Curve;
use accel_core::validate::realism::Realism;
use accel_ui::run::Phase;
use accel_ui::worker::Worker;
use leptos::prelude::*;
use serde_json::Value;
use wasm_bindgen::JsValue;
use web_sys::Blob;

use accel_worker::protocol::{self, Advice, Place, Reply, Request, Scored, Swept, pack, read, unpack};

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

/// What the worker answered.
type Told<T> = Result<Arc<T>, Error>;

/// The bytes of a file, and what it leaves out.
pub(crate) type Written = (Vec<u8>, Vec<String>);

/// Charts over a part of the trace: its first access and the first one behind it.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) part: (u64, u64),
    pub(crate) charts: Arc<Charts>,
}

/// How misses fall as memory grows.
#[derive(Debug, Clone, Default)]
pub(crate) enum Capacities {
    /// Nobody asked.
    #[default]
    Unasked,
    /// Under way: how far, 0 to 1.
    Running(f64),
    Known(Arc<Curves>),
    Failed(Error),
}

/// What takes many runs: the search for a design, or a sweep.
#[derive(Debug, Clone)]
pub(crate) enum Search<T> {
    /// Under way: how far, 0 to 1.
    Running(f64),
    Done(Told<T>),
}

/// What the curves of a run without any may take, in ms: as many capacities are measured as fit in.
const CURVE_MS: f64 = 6000.0;
/// Fewer capacities tell little; then the curves wait until they are asked for.
const FEWEST: f64 = 6.0;

/// Answers that are kept.
const ANSWERS: usize = 12;

/// A handle to the worker; copies are the same worker.
#[derive(Clone, Copy)]
pub(crate) struct Engine {
    /// Where the newest run stands.
    pub(crate) phase: RwSignal<Phase>,
    /// The newest finished run.
    pub(crate) answer: RwSignal<Option<Answer>>,
    /// Whether anything was run since the page was opened.
    pub(crate) ran: RwSignal<bool>,
    /// How misses fall as memory grows, for the newest answer.
    pub(crate) curve: RwSignal<Capacities>,
    /// The charts over the part of the trace asked for last.
    pub(crate) window: RwSignal<Option<Window>>,
    /// What happened in the cell asked for last.
    pub(crate) cell: RwSignal<Option<(Place, Told<Cell>)>>,
    /// Whether the model fits the device asked about last.
    pub(crate) fit: RwSignal<Option<Told<Fit>>>,
    /// The best designs, or how far the search for them is.
    pub(crate) advice: RwSignal<Option<Search<Advice>>>,
    /// The sweep asked for last, or how far it is.
    pub(crate) sweep: RwSignal<Option<Search<Swept>>>,
    /// Scores against the truth.
    pub(crate) scatters: RwSignal<Option<Arc<Vec<Scatter>>>>,
    /// Answers of the last runs, the newest last: going back to one runs nothing.
    answers: StoredValue<Vec<Answer>>,
    /// The scored accesses asked for last, and how many there are in all.
    pub(crate) records: RwSignal<(u64, Vec<Scored>)>,
    /// The distributions asked for last.
    pub(crate) views: RwSignal<Option<Result<Arc<Views>, Error>>>,
    /// The traffic by the size of fast memory asked for last.
    pub(crate) traffic: RwSignal<Option<Result<Arc<Curve>, Error>>>,
    /// What the operators of a model take, not yet read: the question asked last, and the answer.
    pub(crate) prices: RwSignal<Option<(String, protocol::Answer)>>,
    /// The comparison asked for last.
    pub(crate) compared: RwSignal<Option<Result<Arc<Realism>, Error>>>,
    /// The trace as a file: the name of its format, its bytes, and what the format does not keep.
    pub(crate) written: RwSignal<Option<(String, Told<Written>)>>,
    worker: Worker,
    inner: StoredValue<Inner, LocalStorage>,
}

#[derive(Default)]
struct Inner {
    /// The file, kept for the next worker.
    file: Option<(String, Blob)>,
    /// Number of the newest run, and its recipe.
    id: u32,
    recipe: Option<String>,
    /// Curves of the last experiments, each whatever its capacity, the newest last.
    curves: Vec<(String, Arc<Curves>)>,
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
            ran: RwSignal::new(false),
            curve: RwSignal::new(Capacities::Unasked),
            window: RwSignal::new(None),
            cell: RwSignal::new(None),
            fit: RwSignal::new(None),
            advice: RwSignal::new(None),
            sweep: RwSignal::new(None),
            scatters: RwSignal::new(None),
            answers: StoredValue::new(Vec::new()),
            records: RwSignal::new((0, Vec::new())),
            views: RwSignal::new(None),
            traffic: RwSignal::new(None),
            prices: RwSignal::new(None),
            compared: RwSignal::new(None),
            written: RwSignal::new(None),
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
        // The worker hears of nothing before a search is over.
        let searches = self.advice.with_untracked(|advice| matches!(advice, Some(Search::Running(_))));
        if searches || self.sweep.with_untracked(|sweep| matches!(sweep, Some(Search::Running(_)))) {
            self.end_search();
        }
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
        self.ran.set(true);
        self.phase.set(Phase::Running { share: None, what: "trace".into() });
        self.send(&Request::Run { id, recipe, scorer });
    }

    /// Shows what is known of one of the last runs, in place of what may be running; false where it is not known.
    pub(crate) fn show_again(self, recipe: &Recipe) -> bool {
        let Some(answer) = recipe.to_json().ok().and_then(|json| self.known(&json)) else { return false };
        if self.inner.with_value(|inner| inner.started) {
            self.send(&Request::Cancel);
        }
        self.inner.update_value(|inner| inner.id += 1);
        self.show(answer, 0.0, true);
        true
    }

    /// Shows an answer, which took `ms`; `given` where the worker does not have it.
    fn show(self, answer: Answer, ms: f64, given: bool) {
        self.inner.update_value(|inner| {
            inner.given = given;
            inner.waiting.clear();
        });
        self.records.set((0, Vec::new()));
        self.views.set(None);
        self.traffic.set(None);
        self.compared.set(None);
        self.window.set(None);
        self.cell.set(None);
        self.fit.set(None);
        self.advice.set(None);
        self.sweep.set(None);
        self.scatters.set(None);
        if let Some(curves) = &answer.outcome.curve {
            self.keep_curves(&answer.recipe, Arc::new(curves.clone()));
        }
        self.curve.set(self.known_curves(&answer.recipe).map_or(Capacities::Unasked, Capacities::Known));
        // The recipe does not tell whose model was asked.
        let own = !matches!(answer.outcome.scorer, Scorer::Local | Scorer::Remote);
        self.answers.update_value(|answers| {
            answers.retain(|known| known.recipe != answer.recipe);
            answers.extend(own.then(|| answer.clone()));
            if answers.len() > ANSWERS {
                answers.remove(0);
            }
        });
        self.answer.set(Some(answer));
        self.phase.set(Phase::Done { ms });
    }

    fn keep_curves(self, recipe: &str, curves: Arc<Curves>) {
        let experiment = of_any_capacity(recipe);
        self.inner.update_value(|inner| {
            inner.curves.retain(|(known, _)| *known != experiment);
            inner.curves.push((experiment, curves));
            if inner.curves.len() > ANSWERS {
                inner.curves.remove(0);
            }
        });
    }

    /// The curves of a recipe of one of the last runs.
    pub(crate) fn known_curves(self, recipe: &str) -> Option<Arc<Curves>> {
        let experiment = of_any_capacity(recipe);
        self.inner.with_value(|inner| {
            let known = inner.curves.iter().find(|(known, _)| *known == experiment);
            known.map(|(_, curves)| Arc::clone(curves))
        })
    }

    /// Asks for the curves at `points` capacities; they arrive in `curve`.
    pub(crate) fn ask_curve(self, points: u32) {
        self.curve.set(Capacities::Running(0.0));
        let id = self.inner.with_value(|inner| inner.id);
        self.ask(Request::Curve { id, points });
    }

    /// Asks for the charts over a part of the trace; they arrive in `window`.
    pub(crate) fn ask_window(self, (from, to): (u64, u64)) {
        self.ask(Request::Window { from, to });
    }

    /// Asks what happened in a cell of the heatmap; the answer arrives in `cell`.
    pub(crate) fn ask_cell(self, place: Place) {
        self.cell.set(None);
        self.ask(Request::Cell(place));
    }

    /// Asks whether the model of the newest answer fits a device of `budget_bytes`; the answer arrives in `fit`.
    pub(crate) fn ask_fit(self, budget_bytes: u64) {
        if let Some(recipe) = self.answer.with_untracked(|answer| answer.as_ref().map(|answer| answer.recipe.clone())) {
            self.send(&Request::Fit { recipe, budget_bytes });
        }
    }

    /// Asks which design is the best for the newest answer's recipe; it arrives in `advice`.
    pub(crate) fn ask_advice(self, goal: Goal) {
        if let Some(recipe) = self.answer.with_untracked(|answer| answer.as_ref().map(|answer| answer.recipe.clone())) {
            self.advice.set(Some(Search::Running(0.0)));
            self.ask(Request::Recommend { recipe, goal });
        }
    }

    /// Asks for the experiments beside the newest answer's, in which fields (by their ids) take other values; they arrive in
    /// `sweep`.
    pub(crate) fn ask_sweep(self, axes: Vec<(String, String)>) {
        if let Some(recipe) = self.answer.with_untracked(|answer| answer.as_ref().map(|answer| answer.recipe.clone())) {
            self.sweep.set(Some(Search::Running(0.0)));
            self.ask(Request::Sweep { recipe, axes });
        }
    }

    /// Ends a search or a sweep: the worker is replaced, and makes the newest answer again when it is asked about it.
    pub(crate) fn end_search(self) {
        forget_running(self.advice);
        forget_running(self.sweep);
        self.inner.update_value(|inner| inner.given = true);
        self.worker.replace();
    }

    /// Asks for scores against the truth; they arrive in `scatters`.
    pub(crate) fn ask_scatters(self) {
        self.ask(Request::Scatters);
    }

    /// The outcome of a recipe of one of the last runs.
    pub(crate) fn known(self, recipe: &str) -> Option<Answer> {
        self.answers.with_value(|answers| answers.iter().find(|answer| answer.recipe == recipe).cloned())
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
    pub(crate) fn set_file(self, name: String, file: Blob) {
        self.inner.update_value(|inner| inner.file = Some((name, file)));
        // One that starts from now on gets it first.
        let message = self.file().filter(|_| self.worker.is_there());
        if let Some(Err(error)) = message.map(|message| self.worker.send(message)) {
            self.phase.set(Phase::Failed(error));
        }
    }

    /// What hands the file to a worker.
    fn file(self) -> Option<JsValue> {
        let (name, file) = self.inner.with_value(|inner| inner.file.clone())?;
        pack(&Request::File { name }, Some(&file)).ok()
    }

    /// Asks for scored accesses; they arrive in `records`.
    pub(crate) fn ask_records(self, wanted: Wanted, start: u64, count: u64) {
        self.ask(Request::Records { wanted, start, count });
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

    /// Asks what the operators of a model take, which `file` describes, where one does; the answer arrives in `prices`.
    pub(crate) fn ask_prices(self, question: String, file: Option<String>) {
        self.send(&Request::Prices { question, file });
    }

    /// Asks for the trace as a file in the format of this name; it arrives in `written`.
    pub(crate) fn ask_written(self, format: String) {
        self.ask(Request::Write { format });
    }

    /// Asks how the trace compares with a profile, or with the file; the answer arrives in `compared`.
    pub(crate) fn ask_compared(self, profile: String) {
        self.compared.set(None);
        self.ask(Request::Compare { profile });
    }

    /// Shows an answer that came with the page, and its curves.
    pub(crate) fn give(self, recipe: String, outcome: Outcome, curves: Curves) {
        self.keep_curves(&recipe, Arc::new(curves));
        self.show(Answer { recipe, outcome: Arc::new(outcome) }, 0.0, true);
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
                    self.show(Answer { recipe, outcome: Arc::new(*outcome) }, run_ms, false);
                    let points = (CURVE_MS / run_ms.max(1.0)).min(f64::from(Grid::default().points));
                    if points >= FEWEST && self.curve.with_untracked(|curve| matches!(curve, Capacities::Unasked)) {
                        self.ask_curve(points as u32);
                    }
                }
            }
            Reply::Failed { id, error } if id == newest || id == 0 => self.phase.set(Phase::Failed(error)),
            Reply::Records { total, rows } => self.records.set((total, rows)),
            Reply::Window { range: part, answer } => match answer {
                Ok(charts) => self.window.set(Some(Window { part, charts: Arc::new(*charts) })),
                Err(error) => self.phase.set(Phase::Failed(error)),
            },
            Reply::Cell { place, answer } => self.cell.set(Some((place, answer.map(Arc::new)))),
            Reply::Fit { answer } => self.fit.set(Some(answer.map(Arc::new))),
            Reply::Searched(done, total) => {
                if self.advice.with_untracked(Option::is_some) {
                    self.advice.set(Some(Search::Running(done as f64 / total.max(1) as f64)));
                }
            }
            Reply::Recommended { answer } => self.advice.set(Some(Search::Done(answer.map(Arc::new)))),
            Reply::Sweeping(done, total) => {
                if self.sweep.with_untracked(Option::is_some) {
                    self.sweep.set(Some(Search::Running(done as f64 / total.max(1) as f64)));
                }
            }
            Reply::Swept { answer } => {
                if self.sweep.with_untracked(Option::is_some) {
                    self.sweep.set(Some(Search::Done(answer.map(Arc::new))));
                }
            }
            Reply::Scatters { scatters } => self.scatters.set(Some(Arc::new(scatters))),
            Reply::CurveProgress { id, share } if id == newest => self.curve.set(Capacities::Running(share)),
            Reply::Curve { id, answer } if id == newest => self.curve.set(match answer {
                Ok(curves) => {
                    let curves = Arc::new(curves);
                    if let Some(answer) = self.answer.get_untracked() {
                        self.keep_curves(&answer.recipe, Arc::clone(&curves));
                    }
                    Capacities::Known(curves)
                }
                Err(error) => Capacities::Failed(error),
            }),
            Reply::CurveProgress { .. } | Reply::Curve { .. } => {}
            Reply::Views { answer } => self.views.set(Some(read(answer).map(Arc::new))),
            Reply::Traffic { answer } => self.traffic.set(Some(read(answer).map(Arc::new))),
            Reply::Prices { question, answer } => self.prices.set(Some((question, answer))),
            Reply::Written { format, answer } => self.written.set(Some((format, read(answer).map(Arc::new)))),
            Reply::Compared { answer } => self.compared.set(Some(read(answer).map(Arc::new))),
            // Of a run that a newer one has replaced.
            Reply::Progress { .. } | Reply::Done { .. } | Reply::Failed { .. } => {}
        }
    }
}

/// Forgets what is under way; what is done stays.
fn forget_running<T: Send + Sync + 'static>(search: RwSignal<Option<Search<T>>>) {
    if search.with_untracked(|search| matches!(search, Some(Search::Running(_)))) {
        search.set(None);
    }
}

/// An experiment whatever its capacity: those that share it share their curves.
fn of_any_capacity(recipe: &str) -> String {
    let mut recipe: Value = serde_json::from_slice(recipe.as_bytes()).unwrap_or_default();
    if let Some(capacity) = recipe.pointer_mut("/memory/capacity_bytes") {
        *capacity = Value::Null;
    }
    recipe.to_string()
}
