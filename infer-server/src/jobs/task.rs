//! What a job does.

use std::sync::Arc;

use accel_core::error::{Error, Place};
use accel_core::progress::{Flow, Progress};
use accel_core::recipe::Recipe;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::view::JobKind;
use super::{Job, Jobs};
use crate::error::ApiError;
use crate::input::{json, refuse_files};
use crate::scoring::Patience;
use crate::work::{self, blocking, score_accesses};

/// What a job does.
pub(super) enum Task {
    Run(Box<Recipe>),
    Evictions(Vec<u8>),
}

impl Task {
    /// What `body` asks for.
    pub(super) fn read(body: &[u8]) -> Result<Self, ApiError> {
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
                refuse_files(&recipe)?;
                Ok(Self::Run(Box::new(recipe)))
            }
            "evictions" => Ok(Self::Evictions(task.to_string().into_bytes())),
            other => Err(fault(&format!("no job is called {other:?}"))),
        }
    }

    /// The name in the body.
    pub(super) fn kind(&self) -> JobKind {
        match self {
            Self::Run(_) => JobKind::Run,
            Self::Evictions(_) => JobKind::Evictions,
        }
    }

    /// Does it, and reports to `jobs` how far `job` is.
    pub(super) async fn work(self, jobs: &Jobs, job: &Arc<Job>) -> Result<Box<RawValue>, ApiError> {
        let scoring = &jobs.0.means.scoring;
        let asked = |done, total| jobs.progress(job, done, total, "asking the model");
        let as_json = |e: serde_json::Error| ApiError::Server(e.to_string());
        match self {
            Self::Run(mut recipe) => {
                jobs.0.means.hub.resolve(&mut recipe.workload).await?;
                let permit = Arc::clone(&jobs.0.means.runs).acquire_owned().await;
                let _permit = permit.map_err(|e| ApiError::Server(e.to_string()))?;
                let progress = JobRun { jobs: jobs.clone(), job: Arc::clone(job) };
                let (outcome, _) = work::run(scoring, *recipe, progress, Patience::Job, &asked).await?;
                blocking(move || to_raw_value(&outcome).map_err(as_json)).await
            }
            Self::Evictions(body) => {
                let answer = score_accesses(scoring, body, Patience::Job, &asked).await?;
                blocking(move || to_raw_value(&answer).map_err(as_json)).await
            }
        }
    }
}

/// Reports to a job how far its run is, and to the run when to stop.
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
