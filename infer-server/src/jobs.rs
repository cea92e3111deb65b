//! Work that outlasts a request: a recipe or the scores of a trace, in the background.
//!
//! A bounded number is kept: those waiting or running, and the results of those that ended lately.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use accel_core::error::{Error, Place};
use accel_core::progress::{Flow, Progress};
use accel_core::recipe::Recipe;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt as _};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{broadcast, watch};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::Service;
use crate::error::{ApiError, Body, Refusal};
use crate::metrics::Metrics;
use crate::prototype::{aside, json};
use crate::recipes::run_scored;
use crate::score::{score_accesses, without_file};
use crate::scoring::Patience;

/// Bounds of jobs.
#[derive(Debug, Clone)]
pub struct JobLimits {
    /// Jobs waiting or running.
    pub unfinished: usize,
    /// Jobs that ended and whose results are kept.
    pub finished: usize,
    /// For how long.
    pub kept: Duration,
    /// Bytes of a result.
    pub result_bytes: usize,
}

/// Results of an hour; 32 of 32 MiB each are a gigabyte at worst.
impl Default for JobLimits {
    fn default() -> Self {
        Self { unfinished: 16, finished: 32, kept: Duration::from_secs(3600), result_bytes: 32 << 20 }
    }
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// It waits for its turn.
    Queued,
    /// It is under way.
    Running,
    /// It has a result.
    Done,
    /// It has an error.
    Failed,
    /// Somebody stopped it, or the server shut down.
    Cancelled,
}

impl JobStatus {
    fn ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }

    fn event(self) -> &'static str {
        match self {
            Self::Queued | Self::Running => "progress",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct JobProgress {
    /// Steps done.
    done: u64,
    /// Steps in all; 0 until that is known.
    total: u64,
    /// What comes next.
    #[schema(example = "bounds")]
    what: String,
}

/// A job without its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct JobView {
    /// Names it in `/v1/jobs/{id}`.
    id: String,
    /// `run` or `evictions`.
    #[schema(example = "evictions")]
    kind: &'static str,
    /// Where it is.
    status: JobStatus,
    /// How far it is.
    progress: JobProgress,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Refusal>,
}

/// A job with its result.
#[derive(Debug, Serialize, ToSchema)]
struct JobAnswer {
    #[serde(flatten)]
    view: JobView,
    /// What `/v1/run` or `/v1/evictions` would have answered, once it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    result: Option<Arc<RawValue>>,
}

#[derive(Debug)]
struct Job {
    view: watch::Sender<JobView>,
    stop: watch::Sender<bool>,
    result: Mutex<Option<Arc<RawValue>>>,
    ended: Mutex<Option<Instant>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    fn view(&self) -> JobView {
        self.view.borrow().clone()
    }

    fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    async fn until_stopped(&self) {
        // The sender lives as long as the job.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }
}

#[derive(Debug)]
struct Store {
    jobs: Mutex<VecDeque<Arc<Job>>>,
    events: broadcast::Sender<JobView>,
    limits: JobLimits,
    metrics: Metrics,
}

/// All jobs of a server.
#[derive(Debug, Clone)]
pub(crate) struct Jobs(Arc<Store>);

/// Events that a slow listener may be behind.
const EVENTS: usize = 256;

impl Jobs {
    pub(crate) fn new(limits: JobLimits, metrics: Metrics) -> Self {
        let events = broadcast::Sender::new(EVENTS);
        Self(Arc::new(Store { jobs: Mutex::default(), events, limits, metrics }))
    }

    /// A new job, if there is room.
    fn add(&self, kind: &'static str) -> Result<Arc<Job>, ApiError> {
        let id = (getrandom::u64().ok().zip(getrandom::u64().ok())).map(|(a, b)| format!("{a:016x}{b:016x}"));
        let id = id.ok_or_else(|| ApiError::Server("no random number for the job's name".into()))?;
        let mut jobs = self.tidy();
        let unfinished = jobs.iter().filter(|job| !job.view.borrow().status.ended()).count();
        if unfinished >= self.0.limits.unfinished {
            return Err(ApiError::jobs_are_full(self.0.limits.unfinished));
        }
        let view = JobView { id, kind, status: JobStatus::Queued, progress: JobProgress::default(), error: None };
        let job = Arc::new(Job {
            view: watch::Sender::new(view),
            stop: watch::Sender::new(false),
            result: Mutex::default(),
            ended: Mutex::default(),
        });
        jobs.push_back(Arc::clone(&job));
        self.0.metrics.jobs.inc();
        Ok(job)
    }

    /// The jobs without those whose time is over.
    fn tidy(&self) -> MutexGuard<'_, VecDeque<Arc<Job>>> {
        let limits = &self.0.limits;
        let mut jobs = locked(&self.0.jobs);
        let ended = |job: &Arc<Job>| *locked(&job.ended);
        let mut surplus = jobs.iter().filter(|job| ended(job).is_some()).count().saturating_sub(limits.finished);
        jobs.retain(|job| {
            let Some(ended) = ended(job) else { return true };
            let first = surplus > 0;
            surplus = surplus.saturating_sub(1);
            !first && ended.elapsed() < limits.kept
        });
        jobs
    }

    fn find(&self, id: &str) -> Result<Arc<Job>, ApiError> {
        let found = self.tidy().iter().find(|job| job.view.borrow().id == id).cloned();
        found.ok_or_else(|| {
            ApiError::not_found(format!("no job {id:?}: results are kept for a while only. POST /v1/jobs makes one"))
        })
    }

    fn forget(&self, id: &str) {
        locked(&self.0.jobs).retain(|job| job.view.borrow().id != id);
    }

    /// Changes a job that has not ended, and tells everyone.
    fn change(&self, job: &Job, change: impl FnOnce(&mut JobView)) {
        let changed = job.view.send_if_modified(|view| {
            let open = !view.status.ended();
            if open {
                change(view);
            }
            open
        });
        if changed {
            let view = job.view();
            if view.status.ended() {
                *locked(&job.ended) = Some(Instant::now());
                self.0.metrics.jobs.dec();
            }
            // Nobody may be listening.
            let _ = self.0.events.send(view);
        }
    }

    fn progress(&self, job: &Job, done: u64, total: u64, what: &str) {
        self.change(job, |view| {
            view.status = JobStatus::Running;
            view.progress = JobProgress { done, total, what: what.to_owned() };
        });
    }

    fn end(&self, job: &Job, outcome: Result<Box<RawValue>, ApiError>) {
        let most = self.0.limits.result_bytes;
        match outcome {
            _ if job.stopped() => self.change(job, |view| view.status = JobStatus::Cancelled),
            Ok(result) if result.get().len() > most => {
                let bytes = result.get().len();
                let error = format!("the result has {bytes} bytes, and the limit is {most}. Ask for less");
                self.change(job, |view| {
                    view.status = JobStatus::Failed;
                    view.error = Some(Refusal { error, detail: Vec::new() });
                });
            }
            Ok(result) => {
                *locked(&job.result) = Some(Arc::from(result));
                self.change(job, |view| {
                    view.status = JobStatus::Done;
                    view.progress.done = view.progress.total;
                    view.progress.what.clear();
                });
            }
            Err(error) => {
                let refusal = error.refusal();
                self.change(job, |view| {
                    view.status = JobStatus::Failed;
                    view.error = Some(refusal);
                });
            }
        }
    }
}

/// What a job does.
enum Task {
    Run(Box<Recipe>),
    Evictions(Vec<u8>),
}

impl Task {
    fn read(body: &[u8]) -> Result<Self, ApiError> {
        let cure = "Send {\"run\":{…a recipe…}} or {\"evictions\":{…as for /v1/evictions…}}";
        let fault = |problem: &str| ApiError::body(Error::input("body", Place::Whole, problem, cure));
        let Value::Object(fields) = json(body)? else { return Err(fault("not an object")) };
        let mut fields = fields.into_iter();
        let (Some((kind, task)), None) = (fields.next(), fields.next()) else {
            return Err(fault("a job is one of run and evictions"));
        };
        match kind.as_str() {
            "run" => {
                let recipe = Recipe::from_json("body.run", task.to_string().as_bytes()).map_err(ApiError::body)?;
                without_file(&recipe)?;
                Ok(Self::Run(Box::new(recipe)))
            }
            "evictions" => Ok(Self::Evictions(task.to_string().into_bytes())),
            other => Err(fault(&format!("no job is called {other:?}"))),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::Evictions(_) => "evictions",
        }
    }

    async fn work(self, service: &Service, job: &Arc<Job>) -> Result<Box<RawValue>, ApiError> {
        let jobs = &service.jobs;
        let asked = |done, total| jobs.progress(job, done, total, "asking the model");
        let as_json = |e: serde_json::Error| ApiError::Server(e.to_string());
        match self {
            Self::Run(recipe) => {
                let permit = Arc::clone(&service.runs).acquire_owned().await;
                let _permit = permit.map_err(|e| ApiError::Server(e.to_string()))?;
                let progress = JobRun { jobs: jobs.clone(), job: Arc::clone(job) };
                let (outcome, _) = run_scored(service, *recipe, progress, Patience::Job, &asked).await?;
                aside(move || to_raw_value(&outcome).map_err(as_json)).await
            }
            Self::Evictions(body) => {
                let answer = score_accesses(service, body, Patience::Job, &asked).await?;
                aside(move || to_raw_value(&answer).map_err(as_json)).await
            }
        }
    }
}

/// Tells a job how far its run is, and the run when to stop.
struct JobRun {
    jobs: Jobs,
    job: Arc<Job>,
}

impl Progress for JobRun {
    fn report(&mut self, done: u64, total: u64, what: &str) -> Flow {
        self.jobs.progress(&self.job, done, total, what);
        if self.job.stopped() { Flow::Cancel } else { Flow::Continue }
    }
}

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(start))
        .routes(routes!(get, cancel))
        .routes(routes!(job_events))
        .routes(routes!(all_events))
}

/// Start a job.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "jobs",
    request_body(content = Object, description = "`run` with a recipe, or `evictions` with what /v1/evictions takes",
        example = json!({"evictions": {"recipe": {"workload": {"inference": {"model": "tinyllama-1.1b"}}}}})),
    responses(
        (status = 202, description = "The job; Location names it", body = JobView),
        (status = 422, body = Refusal),
        (status = 429, description = "As many jobs as the server takes are waiting or running", body = Refusal),
        (status = 503, description = "The server is shutting down", body = Refusal),
    )
)]
async fn start(State(service): State<Service>, Body(body): Body) -> Result<Response, ApiError> {
    service.accept()?;
    let task = Task::read(&body)?;
    let job = service.jobs.add(task.kind())?;
    let view = job.view();
    tokio::spawn(async move {
        let outcome = tokio::select! {
            outcome = task.work(&service, &job) => outcome,
            () = job.until_stopped() => Err(ApiError::draining()),
            () = service.health.drained() => {
                job.stop.send_replace(true);
                Err(ApiError::draining())
            }
        };
        service.jobs.end(&job, outcome);
    });
    let location = format!("/v1/jobs/{}", view.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(view)).into_response())
}

/// Look at a job.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job")),
    responses((status = 200, body = JobAnswer), (status = 404, body = Refusal))
)]
async fn get(State(service): State<Service>, Path(id): Path<String>) -> Result<Json<JobAnswer>, ApiError> {
    let job = service.jobs.find(&id)?;
    let view = job.view();
    let result = if view.status == JobStatus::Done { locked(&job.result).clone() } else { None };
    Ok(Json(JobAnswer { view, result }))
}

/// Stop a job, or forget the result of one that ended.
#[utoipa::path(
    delete, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job")),
    responses(
        (status = 202, description = "It stops", body = JobView),
        (status = 204, description = "It had ended, and is forgotten"),
        (status = 404, body = Refusal),
    )
)]
async fn cancel(State(service): State<Service>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let job = service.jobs.find(&id)?;
    if job.view().status.ended() {
        service.jobs.forget(&id);
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    job.stop.send_replace(true);
    service.jobs.change(&job, |view| view.status = JobStatus::Cancelled);
    Ok((StatusCode::ACCEPTED, Json(job.view())).into_response())
}

type Events = Result<Event, Infallible>;

fn event(view: &JobView) -> Events {
    let event = Event::default().event(view.status.event()).id(view.id.clone());
    Ok(event.json_data(view).unwrap_or_else(|error| Event::default().event("error").data(error.to_string())))
}

/// Ends with the server, or it could not shut down; between events, comments keep the connection open.
fn sse(service: &Service, events: impl Stream<Item = Events> + Send + 'static) -> Response {
    let health = service.health.clone();
    let until = events.take_until(Box::pin(async move { health.drained().await }));
    Sse::new(until).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response()
}

/// Follow a job to its end: events `progress`, then `done`, `failed` or `cancelled`.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/events", tag = "jobs", params(("id" = String, Path, description = "The job")),
    responses(
        (status = 200, description = "Server-sent events; data is the job without its result", body = String, content_type = "text/event-stream"),
        (status = 404, body = Refusal),
    )
)]
async fn job_events(State(service): State<Service>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let job = service.jobs.find(&id)?;
    let mut view = job.view.subscribe();
    view.mark_changed();
    let events = stream::unfold(Some(view), |view| async {
        let mut view = view?;
        view.changed().await.ok()?;
        let now = view.borrow_and_update().clone();
        Some((event(&now), (!now.status.ended()).then_some(view)))
    });
    Ok(sse(&service, events))
}

/// Follow every job.
#[utoipa::path(
    get, path = "/events", tag = "jobs",
    responses((status = 200, description = "Server-sent events of all jobs, from now on", body = String, content_type = "text/event-stream"))
)]
async fn all_events(State(service): State<Service>) -> Response {
    let events = stream::unfold(service.jobs.0.events.subscribe(), |mut events| async {
        let next = match events.recv().await {
            Ok(view) => event(&view),
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                Ok(Event::default().event("missed").data(missed.to_string()))
            }
            Err(broadcast::error::RecvError::Closed) => return None,
        };
        Some((next, events))
    });
    sse(&service, events)
}
