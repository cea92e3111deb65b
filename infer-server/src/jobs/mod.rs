//! Work that outlasts a request: a recipe or the scores of a trace, in the background.
//!
//! A bounded number is kept: those waiting or running, and the results of those that ended lately; in memory, and by option
//! in a file (`file`).

mod file;
mod task;
mod view;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use opentelemetry::context::FutureExt as _;
use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, KeyValue};
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, broadcast, watch};
use tracing::Instrument as _;

use crate::error::{ApiError, Refusal};
use crate::health::Health;
use crate::hub::Hub;
use crate::scoring::Scoring;
use crate::traces::Span;

use file::Kept;
pub use file::{JobsFile, JobsFileError};
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
    ended: Mutex<Option<SystemTime>>,
    /// What it ends as, while that is written and not yet told.
    outcome: Mutex<Option<JobView>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    fn new(view: JobView, result: Option<Arc<RawValue>>, ended: Option<SystemTime>) -> Self {
        Self {
            view: watch::Sender::new(view),
            stop: watch::Sender::new(false),
            result: Mutex::new(result),
            ended: Mutex::new(ended),
            outcome: Mutex::default(),
        }
    }

    /// As it is to be found after a restart.
    fn kept(&self) -> Kept {
        let (now, outcome) = (self.view(), locked(&self.outcome).clone());
        let view = outcome.filter(|_| !now.status.ended()).unwrap_or(now);
        let ended = locked(&self.ended).unwrap_or_else(SystemTime::now).duration_since(UNIX_EPOCH).unwrap_or_default();
        let ended_ms = view.status.ended().then(|| ended.as_millis().try_into().unwrap_or(u64::MAX));
        let result = if view.status == JobStatus::Done { locked(&self.result).clone() } else { None };
        Kept { view, ended_ms, result }
    }

    /// One from before a restart. What had not ended was interrupted.
    fn of_before(kept: Kept) -> Self {
        let Kept { mut view, ended_ms, result } = kept;
        if !view.status.ended() {
            view.status = JobStatus::Failed;
            view.error = Some(Refusal { error: INTERRUPTED.to_owned(), detail: Vec::new() });
        }
        // A file may say anything.
        let ended = ended_ms.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
        Self::new(view, result, Some(ended.unwrap_or_else(SystemTime::now)))
    }

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

/// What jobs are done with.
#[derive(Debug)]
pub(crate) struct Means {
    pub(crate) limits: JobLimits,
    pub(crate) scoring: Scoring,
    /// How many recipes may run at once, jobs and requests together.
    pub(crate) runs: Arc<Semaphore>,
    pub(crate) health: Health,
    pub(crate) hub: Hub,
    /// Where they are kept, by option.
    pub(crate) file: Option<JobsFile>,
}

#[derive(Debug)]
struct Store {
    jobs: Mutex<VecDeque<Arc<Job>>>,
    events: broadcast::Sender<JobView>,
    means: Means,
}

/// All jobs of a server.
#[derive(Debug, Clone)]
pub(crate) struct Jobs(Arc<Store>);

/// Events that a slow listener may be behind.
const EVENTS: usize = 256;
/// What a job failed with that was under way when the server stopped.
const INTERRUPTED: &str = "interrupted: the server stopped before it ended. Start it again with POST /v1/jobs";

impl Jobs {
    /// Those of before, from the file, are there from the start.
    pub(crate) fn new(means: Means) -> Self {
        let mut before: Vec<Kept> = means.file.iter().flat_map(JobsFile::read).collect();
        before.sort_by_key(|job| job.ended_ms.unwrap_or(u64::MAX));
        let jobs = Mutex::new(before.into_iter().map(Job::of_before).map(Arc::new).collect());
        let all = Self(Arc::new(Store { jobs, events: broadcast::Sender::new(EVENTS), means }));
        if let Some(file) = &all.0.means.file {
            file.save(|| all.kept());
        }
        all
    }

    /// All jobs, as they are to be found after a restart.
    fn kept(&self) -> Vec<Kept> {
        self.tidy().iter().map(|job| job.kept()).collect()
    }

    /// Writes the jobs to the file, where there is one.
    async fn save(&self) {
        let Some(file) = self.0.means.file.clone() else { return };
        let jobs = self.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || file.save(|| jobs.kept())).await {
            tracing::error!(%error, "the file of jobs is not written");
        }
    }

    /// Starts the job that `body` asks for.
    pub(crate) async fn start(&self, body: &[u8]) -> Result<JobView, ApiError> {
        let task = Task::read(body)?;
        let job = self.add(task.kind())?;
        let (jobs, theirs) = (self.clone(), Arc::clone(&job));
        let view = self.spawn(job, async move { task.work(&jobs, &theirs).await });
        // Under way before it is written: its client may leave meanwhile.
        self.save().await;
        Ok(view)
    }

    /// Does `work` in the background, for `job`. A panic of it costs the job alone.
    fn spawn(
        &self,
        job: Arc<Job>,
        work: impl Future<Output = Result<Box<RawValue>, ApiError>> + Send + 'static,
    ) -> JobView {
        let (view, jobs) = (job.view(), self.clone());
        let attributes = vec![KeyValue::new("accel.job.id", view.id.clone())];
        let name = format!("job {}", view.kind.name());
        let span = Span::begin(&Context::current(), SpanKind::Internal, name, attributes);
        let context = span.context().clone();
        let work = async move {
            let outcome = tokio::select! {
                // What it touches is thrown away after a panic.
                outcome = AssertUnwindSafe(work).catch_unwind() => {
                    outcome.unwrap_or_else(|panic| Err(ApiError::panicked(&*panic)))
                }
                () = job.until_stopped() => Err(ApiError::draining()),
                () = jobs.0.means.health.drained() => {
                    job.stop.send_replace(true);
                    Err(ApiError::draining())
                }
            };
            jobs.end(&job, outcome).await;
            let view = job.view();
            span.set(KeyValue::new("accel.job.status", view.status.name()));
            if let Some(error) = view.error {
                span.fail(error.error);
            }
        };
        // What it logs carries the name of the request that started it.
        let log = tracing::info_span!("job", id = view.id);
        tokio::spawn(work.instrument(log).with_context(context));
        view
    }

    /// A job, with its result once it is done.
    pub(crate) fn get(&self, id: &str) -> Result<(JobView, Option<Arc<RawValue>>), ApiError> {
        let job = self.find(id)?;
        let view = job.view();
        let result = if view.status == JobStatus::Done { locked(&job.result).clone() } else { None };
        Ok((view, result))
    }

    /// Stops a job; one that had ended is forgotten, and then there is nothing to see.
    pub(crate) async fn cancel(&self, id: &str) -> Result<Option<JobView>, ApiError> {
        let job = self.find(id)?;
        if job.view().status.ended() {
            locked(&self.0.jobs).retain(|job| job.view.borrow().id != id);
            self.save().await;
            return Ok(None);
        }
        job.stop.send_replace(true);
        self.change(&job, |view| view.status = JobStatus::Cancelled);
        self.save().await;
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
        if unfinished >= self.0.means.limits.unfinished {
            return Err(ApiError::jobs_are_full(self.0.means.limits.unfinished));
        }
        let view = JobView { id, kind, status: JobStatus::Queued, progress: JobProgress::default(), error: None };
        let job = Arc::new(Job::new(view, None, None));
        jobs.push_back(Arc::clone(&job));
        self.0.means.scoring.metrics().jobs.inc();
        Ok(job)
    }

    /// The jobs, once those whose time is over are dropped.
    fn tidy(&self) -> MutexGuard<'_, VecDeque<Arc<Job>>> {
        let limits = &self.0.means.limits;
        let mut jobs = locked(&self.0.jobs);
        let ended = |job: &Arc<Job>| *locked(&job.ended);
        let mut surplus = jobs.iter().filter(|job| ended(job).is_some()).count().saturating_sub(limits.finished);
        jobs.retain(|job| {
            let Some(ended) = ended(job) else { return true };
            let first = surplus > 0;
            surplus = surplus.saturating_sub(1);
            // A clock that was put back keeps it for longer.
            !first && ended.elapsed().unwrap_or_default() < limits.kept
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
                *locked(&job.ended) = Some(SystemTime::now());
                self.0.means.scoring.metrics().jobs.dec();
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

    /// What it ends as is written before it is told: whoever saw it finds it after a restart.
    async fn end(&self, job: &Job, outcome: Result<Box<RawValue>, ApiError>) {
        let mut view = job.view();
        let most = self.0.means.limits.result_bytes;
        match outcome {
            _ if job.stopped() => view.status = JobStatus::Cancelled,
            Ok(result) if result.get().len() > most => {
                let bytes = result.get().len();
                let error = format!("the result has {bytes} bytes, and the limit is {most}. Ask for less");
                view.status = JobStatus::Failed;
                view.error = Some(Refusal { error, detail: Vec::new() });
            }
            Ok(result) => {
                *locked(&job.result) = Some(Arc::from(result));
                view.status = JobStatus::Done;
                view.progress.done = view.progress.total;
                view.progress.what.clear();
            }
            Err(error) => {
                view.status = JobStatus::Failed;
                view.error = Some(error.refusal());
            }
        }
        *locked(&job.outcome) = Some(view.clone());
        self.save().await;
        self.change(job, |told| *told = view);
        // Unless somebody stopped it in between, it is written already.
        self.save().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is logged, one line per event.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            locked(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_panic_costs_its_job_alone_and_is_told_in_the_log() {
        let log = Log::default();
        let theirs = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || theirs.clone()).finish();
        let _logged = tracing::subscriber::set_default(subscriber);
        let jobs = Jobs::new(Means {
            limits: JobLimits { unfinished: 1, ..JobLimits::default() },
            scoring: Scoring::default(),
            runs: Arc::new(Semaphore::new(1)),
            health: Health::default(),
            hub: Hub::default(),
            file: None,
        });
        for _ in 0..2 {
            // There is room for the second: the first has ended.
            let job = jobs.add(JobKind::Run).unwrap();
            let request = tracing::info_span!("request", id = "mine");
            let id = request.in_scope(|| jobs.spawn(job, async { panic!("told to") })).id;
            let mut view = jobs.follow(&id).unwrap();
            let view = view.wait_for(|view| view.status.ended()).await.unwrap().clone();
            let error = view.error.unwrap().error;
            assert!(view.status == JobStatus::Failed && error.contains("it panicked"), "{error}");
            assert!(!error.contains("told to"), "{error}");
            let log = String::from_utf8(locked(&log.0).clone()).unwrap();
            let line = log.lines().find(|line| line.contains("told to") && line.contains(&id));
            assert!(line.is_some_and(|line| line.contains("request{id=\"mine\"}")), "{log}");
        }
    }
}
