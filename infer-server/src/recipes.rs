//! Any recipe, run on the server: the same outcome as on the page and the command line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use accel_core::error::{Error, Place};
use accel_core::recipe::Recipe;
use accel_core::run::{Flow, Outcome, Progress, run};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{ApiError, Refusal};

/// Limits how many runs go on at once.
#[derive(Debug, Clone)]
struct Runs(Arc<Semaphore>);

/// `POST /v1/run`, with at most `runs` at once.
pub fn router(runs: usize) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(run_recipe)).with_state(Runs(Arc::new(Semaphore::new(runs))))
}

/// Stops a run when it is dropped: when the client goes away, so does its run.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct UntilStopped(Arc<AtomicBool>);

impl Progress for UntilStopped {
    fn report(&mut self, _done: u64, _total: u64, _what: &str) -> Flow {
        if self.0.load(Ordering::Relaxed) { Flow::Cancel } else { Flow::Continue }
    }
}

/// Run a recipe.
#[utoipa::path(
    post, path = "/v1/run", tag = "recipes",
    request_body(content = Object, description = "A recipe, as the page's link, `accel recipe` and files hold it",
        example = json!({"workload": {"inference": {"model": "mistral-7b"}}, "memory": {"capacity_bytes": 8589934592u64},
                         "policies": ["lru", "fifo", "ml"], "seed": 42})),
    responses(
        (status = 200, description = "The outcome: trace, runs, explanation, validation, charts", body = Object),
        (status = 422, body = Refusal),
        (status = 429, description = "As many runs as the server does at once are under way", body = Refusal),
    )
)]
async fn run_recipe(State(Runs(runs)): State<Runs>, body: Bytes) -> Result<Json<Outcome>, ApiError> {
    let recipe = Recipe::from_json("body", &body).map_err(ApiError::body)?;
    if let Some(file) = recipe.workload.file() {
        return Err(ApiError::body(Error::input(
            file,
            Place::Whole,
            "the recipe names a file, which a request cannot carry",
            "Send the records of a trace to /simulate, or use the page or `accel simulate`",
        )));
    }
    let permit = runs.try_acquire_owned().map_err(|_| ApiError::Busy)?;
    let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
    let mut progress = UntilStopped(Arc::clone(&stop.0));
    let task = tokio::task::spawn_blocking(move || {
        let outcome = run(&recipe, &mut progress);
        drop(permit);
        outcome
    });
    let outcome = task.await.map_err(|e| ApiError::Server(e.to_string()))?;
    outcome.map(Json).map_err(ApiError::body)
}
