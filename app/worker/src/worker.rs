//! The worker: runs recipes in short steps, so that a cancel is noticed between them.

use std::rc::Rc;

use accel_core::curve::Grid;
use accel_core::error::{Error, Place};
use accel_core::fit::fit;
use accel_core::import::prototype_csv::Record;
use accel_core::progress::{Flow, Progress};
use accel_core::recipe::{Recipe, Workload};
use accel_core::recommend::{DESIGNS, Goal, Wanted, recommend};
use accel_core::run::{Finished, Job, Outcome};
use accel_core::score::Scores;
use accel_core::score::ask::{Asking, refusal};
use accel_core::trace::Trace;
use accel_ui::worker::listen;
use accel_worker::protocol::{self, Advice, Answer, Reply, Request, unpack};
use js_sys::Uint8Array;
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Blob, DedicatedWorkerGlobalScope, Headers, RequestInit, Response};

use crate::state::{
    REPORTS_PER_S, State, bytes_of, bytes_of_file, file_named, now, pause, send, with, yield_to_messages,
};
use crate::{extra, sweep};

/// How long a step should take: short enough to cancel at once, long enough to cost nothing.
const STEP_MS: f64 = 50.0;
/// Accesses of the first step, before the speed is known.
const FIRST_STEP: usize = 1 << 14;

/// How long requests to a busy or loading server are repeated before giving up.
const PATIENCE_S: f64 = 600.0;

/// Answers the page.
pub(crate) fn start() {
    let state = Rc::new(State::default());
    listen(move |scope, data| handle(scope, &state, data));
}

fn handle(scope: &DedicatedWorkerGlobalScope, state: &Rc<State>, data: JsValue) {
    let (request, file) = match unpack::<Request>(data) {
        Ok(message) => message,
        Err(error) => return send(scope, &Reply::Failed { id: state.newest.get(), error }),
    };
    match request {
        Request::File { name } => {
            *state.file.borrow_mut() = file.map(|file| (name, file));
        }
        Request::Cancel => {
            state.newest.set(0);
        }
        Request::Run { id, recipe, scorer } => {
            state.newest.set(id);
            let (scope, state) = (scope.clone(), Rc::clone(state));
            spawn_local(async move {
                let started = now();
                match run(&scope, &state, id, (&recipe, scorer)).await {
                    Ok((outcome, finished)) => {
                        let outcome = Box::new(outcome);
                        *state.finished.borrow_mut() = Some(finished);
                        send(&scope, &Reply::Done { id, outcome, run_ms: now() - started });
                    }
                    Err(error) => send(&scope, &Reply::Failed { id, error }),
                }
            });
        }
        Request::Window { from, to } => {
            let number = state.windows.get() + 1;
            state.windows.set(number);
            let job = with(state, |finished| finished.window(from..to));
            let (scope, state, id) = (scope.clone(), Rc::clone(state), state.newest.get());
            spawn_local(async move {
                let current = || state.newest.get() == id && state.windows.get() == number;
                let answer = match job {
                    Ok(job) => step(&scope, job, current, |_| {}).await.map(|(outcome, _)| Box::new(outcome.charts)),
                    Err(error) => Err(error),
                };
                if current() {
                    send(&scope, &Reply::Window { range: (from, to), answer });
                }
            });
        }
        Request::Cell(place) => {
            let protocol::Place { run, grouping, row, from, to } = place;
            let answer = with(state, |finished| finished.cell(run, grouping, row, from..to));
            send(scope, &Reply::Cell { place, answer });
        }
        Request::Fit { recipe, budget_bytes } => {
            let answer = Recipe::from_json("recipe", recipe.as_bytes()).and_then(|recipe| match &recipe.workload {
                Workload::Model(run) => fit(run, budget_bytes),
                _ => {
                    Err(Error::field("workload", "not a model", "only a model is asked whether it fits", "Choose one"))
                }
            });
            send(scope, &Reply::Fit { answer });
        }
        Request::Recommend { recipe, goal } => {
            let answer = advise(scope, state, &recipe, goal);
            send(scope, &Reply::Recommended { answer });
        }
        Request::Sweep { recipe, axes } => {
            let (scope, state) = (scope.clone(), Rc::clone(state));
            spawn_local(async move {
                let answer = sweep::run(&scope, &state, &recipe, &axes).await;
                send(&scope, &Reply::Swept { answer });
            });
        }
        Request::Scatters => {
            if let Ok(scatters) = with(state, |finished| Ok(finished.scatters())) {
                send(scope, &Reply::Scatters { scatters });
            }
        }
        Request::Curve { id, points } => {
            let job = with(state, |finished| finished.curve(&Grid { points, capacities: Vec::new() }));
            let (scope, state) = (scope.clone(), Rc::clone(state));
            spawn_local(async move {
                let current = || state.newest.get() == id;
                let answer = match job {
                    Ok(job) => step(&scope, job, current, |job| {
                        let (done, total, _) = job.progress();
                        send(&scope, &Reply::CurveProgress { id, share: done as f64 / total.max(1) as f64 });
                    })
                    .await
                    .and_then(|(outcome, _)| outcome.curve.ok_or_else(|| Error::Internal("there is no curve".into()))),
                    Err(error) => Err(error),
                };
                if current() {
                    send(&scope, &Reply::Curve { id, answer });
                }
            });
        }
        Request::Views => {
            let (scope, state) = (scope.clone(), Rc::clone(state));
            spawn_local(async move { send(&scope, &Reply::Views { answer: ask(&state, None).await }) });
        }
        Request::Traffic { recipe } => {
            let (scope, state) = (scope.clone(), Rc::clone(state));
            spawn_local(async move { send(&scope, &Reply::Traffic { answer: traffic(&state, &recipe).await }) });
        }
        Request::Prices { question, file } => {
            let (scope, state) = (scope.clone(), Rc::clone(state));
            spawn_local(async move {
                let answer = prices(&state, &question, file).await;
                send(&scope, &Reply::Prices { question, answer });
            });
        }
        Request::Write { format } => {
            let (scope, state) = (scope.clone(), Rc::clone(state));
            spawn_local(async move {
                let answer = write(&state, &format).await;
                send(&scope, &Reply::Written { format, answer });
            });
        }
        Request::Compare { profile } => {
            let (scope, state) = (scope.clone(), Rc::clone(state));
            spawn_local(async move { send(&scope, &Reply::Compared { answer: ask(&state, Some(&profile)).await }) });
        }
        Request::Records { wanted, start, count } => {
            if let Some(finished) = state.finished.borrow_mut().as_mut() {
                let (total, records) = finished.records(&wanted, start as usize, count as usize);
                let row = |(access, r): (u64, Record)| protocol::Scored {
                    access,
                    tensor: r.tensor_id,
                    size_mb: r.size_mb,
                    reuse_distance: r.reuse_distance,
                    stride: r.stride,
                    op: r.op,
                    score: r.eviction_score.unwrap_or_default(),
                };
                let rows = records.into_iter().map(row).collect();
                send(scope, &Reply::Records { total, rows });
            }
        }
    }
}

async fn run(
    scope: &DedicatedWorkerGlobalScope,
    state: &State,
    id: u32,
    (recipe, scorer): (&str, Option<String>),
) -> Result<(Outcome, Finished), Error> {
    // The last trace is not needed any more, and two may not fit.
    *state.finished.borrow_mut() = None;
    send(scope, &Reply::Progress { id, done: 0, total: 0, what: "trace".into() });
    let recipe = Recipe::from_json("recipe", recipe.as_bytes())?;
    let file = match recipe.workload.file() {
        Some(name) => Some(read_file(scope, state, id, &recipe, name).await?),
        None => None,
    };
    yield_to_messages(scope).await;
    if state.newest.get() != id {
        return Err(Error::Cancelled);
    }
    let job = match scorer {
        None => Job::new(&recipe, file)?,
        Some(server) => {
            let trace = recipe.trace(file)?;
            let scores = ask_server(scope, state, id, &server, &trace).await?;
            Job::with_scores(&recipe, Some(trace), Some(scores))?
        }
    };
    let current = || state.newest.get() == id;
    step(scope, job, current, |job| {
        let (done, total, what) = job.progress();
        send(scope, &Reply::Progress { id, done, total, what: what.into() });
    })
    .await
}

/// Runs `job` in short steps for as long as it is `current`; `tell` hears of it at most [`REPORTS_PER_S`] times a second.
async fn step(
    scope: &DedicatedWorkerGlobalScope,
    mut job: Job,
    current: impl Fn() -> bool,
    tell: impl Fn(&Job),
) -> Result<(Outcome, Finished), Error> {
    let (mut accesses, mut told) = (FIRST_STEP, f64::NEG_INFINITY);
    while !job.is_done() {
        let before = now();
        if before - told >= 1000.0 / REPORTS_PER_S {
            tell(&job);
            told = before;
        }
        yield_to_messages(scope).await;
        if !current() {
            return Err(Error::Cancelled);
        }
        let before = now();
        job.step(accesses)?;
        accesses = next_step(accesses, now() - before);
    }
    job.finish()
}

/// Tells the page how far a search is, at most [`REPORTS_PER_S`] times a second.
struct Told<'a> {
    scope: &'a DedicatedWorkerGlobalScope,
    at_ms: f64,
}

impl Progress for Told<'_> {
    fn report(&mut self, done: u64, total: u64, what: &str) -> Flow {
        let now = now();
        if what == DESIGNS && now - self.at_ms >= 1000.0 / REPORTS_PER_S {
            self.at_ms = now;
            send(self.scope, &Reply::Searched(done, total));
        }
        Flow::Continue
    }
}

/// The best designs for a recipe. In one go: whoever does not want to wait ends the worker.
fn advise(scope: &DedicatedWorkerGlobalScope, state: &State, recipe: &str, goal: Goal) -> Result<Advice, Error> {
    let recipe = Recipe::from_json("recipe", recipe.as_bytes())?;
    let file = match recipe.workload.file() {
        Some(_) => Some(with(state, |finished| Ok(finished.trace().clone()))?),
        None => None,
    };
    let mut told = Told { scope, at_ms: now() };
    let answer = recommend(&recipe, file, Wanted { goal, ..Wanted::default() }, &[], &mut told)?;
    let designs = answer.designs.iter().map(|design| Ok((design.cells().to_vec(), design.recipe.to_json()?)));
    Ok(Advice {
        headline: answer.headline(),
        designs: designs.collect::<Result<_, Error>>()?,
        baseline: answer.baseline.cells().to_vec(),
        left: answer.what_is_left(),
        tried: answer.space,
    })
}

/// Scores of a trace by the model of a server.
async fn ask_server(
    scope: &DedicatedWorkerGlobalScope,
    state: &State,
    id: u32,
    server: &str,
    trace: &Trace,
) -> Result<Scores, Error> {
    let url = format!("{}/v1/score", server.trim_end_matches('/'));
    let mut asking = Asking::of(trace);
    let mut waited_s = 0.0;
    while let Some(body) = asking.body()? {
        let (done, total) = asking.progress();
        send(scope, &Reply::Progress { id, done, total, what: "asking".into() });
        let (status, retry_after_s, text) = post_to(scope, &url, &body).await.map_err(|_| {
            let cure = "Start it (infer-server --model FILE), and let it answer this page (--cors-origin)";
            Error::input(server, Place::Whole, "the server cannot be reached", cure)
        })?;
        if state.newest.get() != id {
            return Err(Error::Cancelled);
        }
        match (status, retry_after_s) {
            (200, _) => {
                asking.take(server, &text)?;
                waited_s = 0.0;
            }
            // Busy, or still loading its model.
            (429 | 503, Some(seconds)) if waited_s < PATIENCE_S => {
                let seconds = f64::min(seconds, 30.0).max(1.0);
                waited_s += seconds;
                let why = if status == 429 { "the server is busy" } else { "the server loads its model" };
                let (done, total) = asking.progress();
                send(scope, &Reply::Progress { id, done, total, what: format!("{why}: waited {waited_s:.0} s") });
                for _ in 0..(4.0 * seconds) as u32 {
                    pause(scope, 250).await;
                    if state.newest.get() != id {
                        return Err(Error::Cancelled);
                    }
                }
            }
            _ => return Err(refusal(server, status, &text)),
        }
    }
    asking.finish()
}

/// Status, seconds to wait and body of the answer to a request.
async fn post_to(
    scope: &DedicatedWorkerGlobalScope,
    url: &str,
    body: &str,
) -> Result<(u16, Option<f64>, Vec<u8>), JsValue> {
    let options = RequestInit::new();
    options.set_method("POST");
    options.set_body(&body.into());
    let headers = Headers::new()?;
    headers.set("content-type", "application/json")?;
    options.set_headers(&headers);
    let answer = JsFuture::from(scope.fetch_with_str_and_init(url, &options)).await?;
    let answer: Response = answer.dyn_into()?;
    let retry_after = answer.headers().get("retry-after")?.and_then(|seconds| seconds.parse().ok());
    let body = JsFuture::from(answer.array_buffer()?).await?;
    Ok((answer.status(), retry_after, Uint8Array::new(&body).to_vec()))
}

/// Accesses that should take [`STEP_MS`], given how long the last step took; at most eight times as many.
fn next_step(accesses: usize, took_ms: f64) -> usize {
    let factor = (STEP_MS / took_ms.max(0.1)).clamp(0.125, 8.0);
    ((accesses as f64 * factor) as usize).max(FIRST_STEP)
}

/// Bytes of a file that tell how its records follow one another, and bytes that are looked through at once for lines.
const HEAD_BYTES: f64 = 65_536.0;
const PIECE_BYTES: f64 = 8e6;
/// Lines that may be heads or remarks.
const SPARE_LINES: u64 = 1000;

/// Where the first `accesses` of a file end: all that need be held of it. Its size where nobody knows.
async fn end_of(name: &str, file: &Blob, accesses: u64, extra: &extra::Extra) -> Result<f64, Error> {
    let head = bytes_of(name, file, 0.0, HEAD_BYTES).await?;
    match extra.records(&head) {
        0 => Ok(file.size()),
        1 => {
            let (mut at, mut lines) = (0.0, 0);
            while at < file.size() && lines < accesses.saturating_add(SPARE_LINES) {
                let piece = bytes_of(name, file, at, at + PIECE_BYTES).await?.to_vec();
                lines += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
                let is_last = at + piece.len() as f64 >= file.size();
                let whole_lines = piece.iter().rposition(|byte| *byte == b'\n').filter(|_| !is_last);
                at += whole_lines.map_or(piece.len(), |last| last + 1) as f64;
            }
            Ok(at)
        }
        bytes => Ok((f64::from(bytes) * accesses as f64).min(file.size())),
    }
}

/// The trace of a recipe that needs the file `name`.
async fn read_file(
    scope: &DedicatedWorkerGlobalScope,
    state: &State,
    id: u32,
    recipe: &Recipe,
    name: &str,
) -> Result<Trace, Error> {
    let file = file_named(state, name)?;
    let workload = serde_json::to_string(&recipe.workload).map_err(|e| Error::Internal(e.to_string()))?;
    let extra = extra::load().await?;
    let report = {
        let scope = scope.clone();
        Closure::<dyn Fn(f64, f64)>::new(move |done: f64, total: f64| {
            let (done, total) = (done as u64, total as u64);
            send(&scope, &Reply::Progress { id, done, total, what: "reading".into() });
        })
    };
    let made_with = (recipe.seed, recipe.memory.capacity_bytes);
    if let Some(accesses) = recipe.measure.requests {
        let end = end_of(name, &file, accesses, &extra).await?;
        if end < file.size() {
            let bytes = bytes_of(name, &file, 0.0, end).await?;
            // Where a record takes several lines, or many lines are remarks, the beginning is not enough.
            match extra.trace(&workload, made_with, name, &bytes, &report) {
                Ok(trace) if trace.accesses().len() as u64 >= accesses => return Ok(trace),
                _ => {}
            }
        }
    }
    let bytes = bytes_of(name, &file, 0.0, file.size()).await?;
    extra.trace(&workload, made_with, name, &bytes, &report)
}

/// The last trace, as the module reads it.
fn trace(state: &State) -> Result<Vec<u8>, Error> {
    let packed = |finished: &Finished| postcard::to_allocvec(finished.trace());
    with(state, |finished| packed(finished).map_err(|e| Error::Internal(e.to_string())))
}

/// The last trace as a file.
async fn write(state: &State, format: &str) -> Answer {
    let trace = trace(state)?;
    extra::load().await?.write(&trace, format)
}

/// The answer of the module to a question about the last trace: its views, or how it compares with a profile.
async fn ask(state: &State, profile: Option<&str>) -> Answer {
    let trace = trace(state)?;
    let extra = extra::load().await?;
    match profile {
        None => extra.views(&trace),
        Some(profile) => {
            let (name, bytes) = bytes_of_file(state).await?;
            extra.compare(&trace, profile, &name, &bytes)
        }
    }
}

/// The traffic of the operators of a recipe.
async fn traffic(state: &State, recipe: &str) -> Answer {
    let workload = Recipe::from_json("recipe", recipe.as_bytes())?.workload;
    let workload = serde_json::to_string(&workload).map_err(|e| Error::Internal(e.to_string()))?;
    let (name, bytes) = bytes_of_file(state).await?;
    let silent = Closure::<dyn Fn(f64, f64)>::new(|_, _| {});
    extra::load().await?.traffic(&workload, &name, &bytes, &silent)
}

/// What the operators of a model take; `file` describes it, where there is one.
async fn prices(state: &State, question: &str, file: Option<String>) -> Answer {
    let (name, bytes) = match file {
        Some(name) => {
            let file = file_named(state, &name)?;
            let bytes = bytes_of(&name, &file, 0.0, file.size()).await?;
            (name, bytes)
        }
        None => (String::new(), Uint8Array::new_with_length(0)),
    };
    extra::load().await?.prices(question, &name, &bytes)
}
