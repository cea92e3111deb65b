//! Work that outlasts a request: a recipe or the scores of a trace, in the background.
//!
//! A bounded number is kept: those waiting or running, and the results of those that ended lately.

mod task;
mod view;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use tokio::sync::{Semaphore, broadcast, watch};

use crate::error::{ApiError, Refusal};
use crate::health::Health;
use crate::hub::Hub;
use crate::scoring::Scoring;

use task::Task;
pub(crate) use view::{BROKEN, EVENT_NAMES, JobView, MISSED};
use view::{JobKind, JobProgress, JobStatus};

/// Bounds of jobs.
#[derive(Debug, Clone)]
pub struct JobLimits {
    /// Jobs waiting or running.
    pub unfinished: usize,
    /// Jobs that ended and whose results are kept.
    pub finished: usize,
    /// For how long they are kept.
    pub kept: Duration,
    /// The most bytes of a result.
    pub result_bytes: usize,
}

/// Results of an hour; 32 of 32 MiB each are a gigabyte at worst.
impl Default for JobLimits {
    fn default() -> Self {
        Self { unfinished: 16, finished: 32, kept: Duration::from_secs(3600), result_bytes: 32 << 20 }
    }
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
    scoring: Scoring,
    /// How many recipes may run at once, jobs and requests together.
    runs: Arc<Semaphore>,
    health: Health,
    hub: Hub,
}

/// All jobs of a server.
#[derive(Debug, Clone)]
pub(crate) struct Jobs(Arc<Store>);

/// Events that a slow listener may be behind.
const EVENTS: usize = 256;

impl Jobs {
    pub(crate) fn new(limits: JobLimits, scoring: Scoring, runs: Arc<Semaphore>, health: Health, hub: Hub) -> Self {
        let events = broadcast::Sender::new(EVENTS);
        Self(Arc::new(Store { jobs: Mutex::default(), events, limits, scoring, runs, health, hub }))
    }

    /// Starts the job that `body` asks for.
    pub(crate) fn start(&self, body: &[u8]) -> Result<JobView, ApiError> {
        let task = Task::read(body)?;
        let job = self.add(task.kind())?;
        let (view, jobs) = (job.view(), self.clone());
        tokio::spawn(async move {
            let outcome = tokio::select! {
                outcome = task.work(&jobs, &job) => outcome,
                () = job.until_stopped() => Err(ApiError::draining()),
                () = jobs.0.health.drained() => {
                    job.stop.send_replace(true);
                    Err(ApiError::draining())
                }
            };
            jobs.end(&job, outcome);
        });
        Ok(view)
    }

    /// A job, with its result once it is done.
    pub(crate) fn get(&self, id: &str) -> Result<(JobView, Option<Arc<RawValue>>), ApiError> {
        let job = self.find(id)?;
        let view = job.view();
        let result = if view.status == JobStatus::Done { locked(&job.result).clone() } else { None };
        Ok((view, result))
    }

    /// Stops a job; one that had ended is forgotten, and then there is nothing to see.
    pub(crate) fn cancel(&self, id: &str) -> Result<Option<JobView>, ApiError> {
        let job = self.find(id)?;
        if job.view().status.ended() {
            locked(&self.0.jobs).retain(|job| job.view.borrow().id != id);
            return Ok(None);
        }
        job.stop.send_replace(true);
        self.change(&job, |view| view.status = JobStatus::Cancelled);
        Ok(Some(job.view()))
    }

    /// A job as it is now and whenever it changes.
    pub(crate) fn follow(&self, id: &str) -> Result<watch::Receiver<JobView>, ApiError> {
        let mut view = self.find(id)?.view.subscribe();
        view.mark_changed();
        Ok(view)
    }

    /// Every job that changes from now on.
    pub(crate) fn follow_all(&self) -> broadcast::Receiver<JobView> {
        self.0.events.subscribe()
    }

    /// A new job, if there is room.
    fn add(&self, kind: JobKind) -> Result<Arc<Job>, ApiError> {
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
        self.0.scoring.metrics().jobs.inc();
        Ok(job)
    }

    /// The jobs, once those whose time is over are dropped.
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

    /// Changes a job that has not ended, and informs everyone who follows it.
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
                self.0.scoring.metrics().jobs.dec();
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
