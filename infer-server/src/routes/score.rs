//! Questions to the model: `/v1/score`, `/v1/evictions` and the adapter it answers with.

use std::path::{Component, Path, PathBuf};

use accel_core::error::Error;
use accel_model::ModelInfo;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::http::{Body, Service, scorer_headers};
use crate::input::typed;
use crate::schema;
use crate::scoring::trace::Source;
use crate::scoring::{Backend, ItemScore, ScoreRequest};
use crate::work::{Evictions, score_accesses};

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(score)).routes(routes!(evictions)).routes(routes!(adapter))
}

/// Scores of items.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScoreAnswer {
    /// Who answered.
    #[serde(flatten)]
    source: Source,
    /// What the probabilities are of.
    labels: Vec<String>,
    /// One per item, in the order of the request.
    items: Vec<ItemScore>,
}

/// Ask which label follows a query and each item.
#[utoipa::path(
    post, path = "/v1/score", tag = "model",
    request_body(content = ScoreRequest),
    responses(
        (status = 200, description = "The distribution over the labels of each item", body = ScoreAnswer),
        (status = 413, description = "Over the limit of items, tokens, labels or bytes"),
        (status = 422, description = "Not a request, or a label that is not one token"),
        (status = 429, description = "The queue is full: try again after Retry-After"),
        (status = 500, description = "The model failed"),
        (status = 501, description = "The server has no model"),
        (status = 502, description = "The remote engine failed"),
        (status = 503, description = "The model is being loaded or broken, or the server is shutting down"),
        (status = 504, description = "No answer within the deadline"),
    )
)]
async fn score(State(service): State<Service>, Body(body): Body) -> Result<Json<ScoreAnswer>, ApiError> {
    service.accept()?;
    let request: ScoreRequest = typed(&body, "Send {\"query\":…,\"items\":[…],\"labels\":[…]}")?;
    let labels = request.labels.clone();
    let items = service.scoring.score(request, service.scoring.patience()).await?;
    let source =
        Source { scorer: service.scoring.scorer().name(), model: service.scoring.model(), fallback_reason: None };
    Ok(Json(ScoreAnswer { source, labels, items }))
}

/// Score every access of a trace.
#[utoipa::path(
    post, path = "/v1/evictions", tag = "model",
    request_body(content = schema::EvictionsRequest, description = "A workload as for /generate-trace, the records of a trace, or a recipe"),
    responses(
        (status = 200, description = "One score per access", body = Evictions, headers(
            ("x-scorer" = String, description = "Who made the scores"),
            ("x-model" = String, description = "The model, if one was asked"),
            ("x-fallback-reason" = String, description = "Why it was not a model"),
        )),
        (status = 413, description = "Over the limit of accesses or distinct prompts"),
        (status = 429, description = "The queue is full"),
        (status = 500, description = "The model failed"),
        (status = 502, description = "The remote engine failed"),
        (status = 503, description = "The model is being loaded or broken, or the server is shutting down"),
        (status = 504, description = "No answer within the deadline"),
    )
)]
async fn evictions(State(service): State<Service>, Body(body): Body) -> Result<(HeaderMap, Json<Evictions>), ApiError> {
    service.accept()?;
    let answer = score_accesses(&service.scoring, body.to_vec(), service.scoring.patience(), &|_, _| {}).await?;
    Ok((scorer_headers(&answer.source), Json(answer)))
}

/// Which adapter to answer with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AdapterRequest {
    /// A folder below the server's `--adapters`; null for the model as it is.
    #[schema(example = "eviction-lora", value_type = Option<String>)]
    #[serde(deserialize_with = "given")]
    path: Option<PathBuf>,
}

/// The field may be null, but not left out.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    Option::deserialize(deserializer)
}

/// Take another LoRA adapter, between two pieces of work.
#[utoipa::path(
    post, path = "/v1/adapter", tag = "model",
    request_body(content = AdapterRequest),
    responses(
        (status = 200, description = "The model as it is now", body = schema::ModelInfo),
        (status = 422, description = "No adapter for this model, or not below --adapters"),
        (status = 501, description = "The server has no local model, or no --adapters"),
        (status = 503, description = "The model is being loaded or broken, or the server is shutting down"),
    )
)]
async fn adapter(State(service): State<Service>, Body(body): Body) -> Result<Json<ModelInfo>, ApiError> {
    service.accept()?;
    let AdapterRequest { path } = typed(&body, "Send {\"path\":\"NAME\"} or {\"path\":null}")?;
    let Backend::Local(queue) = service.scoring.backend() else {
        return Err(ApiError::not_set_up("there is no model on this server. Start it with --model FILE"));
    };
    let Some(folder) = &service.adapters else {
        return Err(ApiError::not_set_up("the server has no folder of adapters. Start it with --adapters DIR"));
    };
    let path = path.map(|path| below(folder, &path)).transpose()?;
    Ok(Json(queue.set_adapter(path).await?))
}

/// The folder `path` below `folder`, links followed.
fn below(folder: &Path, path: &Path) -> Result<PathBuf, ApiError> {
    let fault = |problem: &str| {
        let cure = "Name a folder below the server's --adapters";
        ApiError::body(Error::field("path", path.display(), problem.to_owned(), cure))
    };
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(fault("not a plain name"));
    }
    let folder = folder.canonicalize().map_err(|_| fault("the folder of adapters is gone"))?;
    match folder.join(path).canonicalize() {
        Ok(found) if found.starts_with(&folder) && found.is_dir() => Ok(found),
        _ => Err(fault("no such adapter")),
    }
}
