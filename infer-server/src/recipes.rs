//! Any recipe, run on the server: the same outcome as on the page and the command line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use accel_core::progress::{Flow, Progress};
use accel_core::recipe::Recipe;
use accel_core::run::{self, Outcome};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::Service;
use crate::error::{ApiError, Body, Refusal};
use crate::prototype::{aside, scorer_headers};
use crate::score::without_file;
use crate::scoring::Patience;
use crate::scoring::trace::Source;

/// `POST /v1/run`.
pub(crate) fn router() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(run_recipe))
}

/// Stops a run when it is dropped: when the client goes away, so does its run.
pub(crate) struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Holds the permit too: a run that its client left counts until it has stopped.
pub(crate) struct UntilStopped(Arc<AtomicBool>, #[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl Progress for UntilStopped {
    fn report(&mut self, _done: u64, _total: u64, _what: &str) -> Flow {
        if self.0.load(Ordering::Relaxed) { Flow::Cancel } else { Flow::Continue }
    }
}

/// A run's place among those under way, and what stops it; refused where all places are taken.
pub(crate) fn start(service: &Service) -> Result<(StopOnDrop, UntilStopped), ApiError> {
    let permit = Arc::clone(&service.runs).try_acquire_owned().map_err(|_| ApiError::busy())?;
    let stop = Arc::new(AtomicBool::new(false));
    Ok((StopOnDrop(Arc::clone(&stop)), UntilStopped(stop, permit)))
}

/// Run a recipe.
#[utoipa::path(
    post, path = "/v1/run", tag = "recipes",
    request_body(content = Object, description = "A recipe, as the page's link, `accel recipe` and files hold it",
        example = json!({"workload": {"inference": {"model": "mistral-7b"}}, "memory": {"capacity_bytes": 8589934592u64},
                         "policies": ["lru", "fifo", "ml"], "seed": 42})),
    responses(
        (status = 200, description = "The outcome: trace, runs, explanation, validation, charts", body = Object, headers(
            ("x-scorer" = String, description = "Who made the scores, where a policy reads them"),
            ("x-model" = String, description = "The model, if one was asked"),
            ("x-fallback-reason" = String, description = "Why it was not a model"),
        )),
        (status = 413, description = "More distinct questions to the model than one request may ask", body = Refusal),
        (status = 422, body = Refusal),
        (status = 429, description = "As many runs as the server does at once are under way, or the model's queue is full", body = Refusal),
        (status = 503, description = "The model is being loaded or broken, or the server is shutting down", body = Refusal),
        (status = 504, description = "No answer of the model within the deadline", body = Refusal),
    )
)]
async fn run_recipe(State(service): State<Service>, Body(body): Body) -> Result<(HeaderMap, Json<Outcome>), ApiError> {
    let recipe = Recipe::from_json("body", &body).map_err(ApiError::body)?;
    without_file(&recipe)?;
    let (_stop, progress) = start(&service)?;
    let patience = service.scoring.patience();
    let (outcome, source) = run_scored(&service, recipe, progress, patience, &|_, _| {}).await?;
    Ok((source.as_ref().map(scorer_headers).unwrap_or_default(), Json(outcome)))
}

/// Runs `recipe` with scores of the server's model, where a policy reads them; `asked` hears how far the model is.
pub(crate) async fn run_scored(
    service: &Service,
    recipe: Recipe,
    mut progress: impl Progress + Send + 'static,
    patience: Patience,
    asked: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<(Outcome, Option<Source>), ApiError> {
    if !recipe.reads_scores() {
        return aside(move || Ok((run::run(&recipe, &mut progress).map_err(ApiError::body)?, None))).await;
    }
    service.accept()?;
    let (recipe, trace) = aside(move || {
        recipe.check().map_err(ApiError::body)?;
        let trace = recipe.workload.trace(recipe.seed).map_err(ApiError::body)?;
        Ok((recipe, trace))
    })
    .await?;
    let (trace, scored) = service.scoring.score_trace(trace, patience, asked).await?;
    aside(move || {
        let outcome = run::run_scored(&recipe, trace, scored.scores, &mut progress).map_err(ApiError::body)?;
        Ok((outcome, Some(scored.source)))
    })
    .await
}
