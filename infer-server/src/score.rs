//! Questions to the model: `/v1/score`, `/v1/evictions` and the adapter it answers with.

use std::path::{Component, Path, PathBuf};

use accel_core::error::{Error, Place};
use accel_core::recipe::Recipe;
use accel_core::trace::Trace;
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::Service;
use crate::error::{ApiError, Body, Refusal};
use crate::prototype::{Input, aside, json, scorer_headers};
use crate::scoring::trace::{Source, TraceScores};
use crate::scoring::{Backend, ItemScore, Patience, ScoreRequest};

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(score)).routes(routes!(evictions)).routes(routes!(adapter))
}

/// Scores of items.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScoreAnswer {
    /// Who answered.
    #[serde(flatten)]
    source: Source,
    /// What the probabilities are of.
    labels: Vec<String>,
    /// One an item, in the order of the request.
    items: Vec<ItemScore>,
}

/// Ask which label follows a query and each item.
#[utoipa::path(
    post, path = "/v1/score", tag = "model",
    request_body(content = ScoreRequest),
    responses(
        (status = 200, description = "The distribution over the labels, an item each", body = ScoreAnswer),
        (status = 413, description = "Over the limit of items, tokens, labels or bytes", body = Refusal),
        (status = 422, description = "Not a request, or a label that is not one token", body = Refusal),
        (status = 429, description = "The queue is full: try again after Retry-After", body = Refusal),
        (status = 500, description = "The model failed", body = Refusal),
        (status = 501, description = "The server has no model", body = Refusal),
        (status = 502, description = "The remote engine failed", body = Refusal),
        (status = 503, description = "The model is being loaded or broken, or the server is shutting down", body = Refusal),
        (status = 504, description = "No answer within the deadline", body = Refusal),
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

/// Reads a body of one type.
fn typed<'a, T: Deserialize<'a>>(body: &'a [u8], cure: &str) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|e| {
        let place = Place::LineColumn(e.line() as u64, e.column() as u64);
        ApiError::body(Error::input("body", place, e.to_string(), cure))
    })
}

/// The score of one access.
#[derive(Debug, Serialize, ToSchema)]
pub struct Eviction {
    /// The tensor's name.
    #[schema(example = "Q_0")]
    tensor_id: String,
    /// From 0 (keep) to 1 (evict first).
    eviction_score: f64,
    /// The probability that the model said a digit at all; null where no model was asked or the engine does not tell.
    label_mass: Option<f64>,
    /// Entropy of the digits in nats; null where no model was asked.
    entropy: Option<f64>,
}

/// Scores of a trace.
#[derive(Debug, Serialize, ToSchema)]
pub struct Evictions {
    /// Who scored.
    #[serde(flatten)]
    source: Source,
    /// The version of the question; null where no model was asked.
    prompt_version: Option<u32>,
    /// Distinct questions among the accesses; null where no model was asked.
    prompts: Option<usize>,
    /// One an access, in order.
    accesses: Vec<Eviction>,
}

impl Evictions {
    fn new(trace: &Trace, scored: TraceScores) -> Self {
        let TraceScores { scores, source, certainty, prompts } = scored;
        let sure = |access: usize| certainty.as_ref().and_then(|all| all.get(access));
        let accesses = (trace.accesses().iter().zip(scores.values.iter()).enumerate())
            .map(|(access, (tensor, score))| Eviction {
                tensor_id: trace.tensors()[*tensor as usize].name.to_string(),
                eviction_score: *score,
                label_mass: sure(access).and_then(|sure| sure.label_mass),
                entropy: sure(access).map(|sure| sure.entropy),
            })
            .collect();
        let prompt_version = prompts.map(|_| accel_core::score::prompt::VERSION);
        Self { source, prompt_version, prompts, accesses }
    }
}

/// What a recipe, a workload or records read.
pub(crate) fn trace_of(body: &[u8]) -> Result<Trace, ApiError> {
    let recipe = match json(body) {
        Ok(Value::Object(mut fields)) if fields.contains_key("recipe") => {
            if fields.len() > 1 {
                let cure = "Send either {\"recipe\":…} or the fields of a workload";
                let problem = "a recipe with other fields beside it";
                return Err(ApiError::body(Error::input("body", Place::Whole, problem, cure)));
            }
            fields.remove("recipe").map(|recipe| recipe.to_string())
        }
        // Of anything else, the prototype's reader knows what is wrong.
        _ => None,
    };
    match recipe {
        Some(recipe) => {
            let recipe = Recipe::from_json("body.recipe", recipe.as_bytes()).map_err(ApiError::body)?;
            without_file(&recipe)?;
            recipe.workload.trace(recipe.seed).map_err(ApiError::body)
        }
        None => Ok(Input::read(body)?.trace),
    }
}

/// A request cannot carry a file.
pub(crate) fn without_file(recipe: &Recipe) -> Result<(), ApiError> {
    let Some(file) = recipe.workload.file() else { return Ok(()) };
    let problem = "the recipe names a file, which a request cannot carry";
    let cure = "Send the records of a trace to /simulate, or use the page or `accel simulate`";
    Err(ApiError::body(Error::input(file, Place::Whole, problem, cure)))
}

/// Scores every access of the trace that `body` asks for.
pub(crate) async fn score_accesses(
    service: &Service,
    body: Vec<u8>,
    patience: Patience,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Evictions, ApiError> {
    let most = service.scoring.limits().accesses;
    let trace = aside(move || trace_of(&body)).await?;
    if trace.accesses().len() > most {
        let problem = format!("a trace of {} accesses, and the limit is {most}", trace.accesses().len());
        let cure = "Choose larger tiles, fewer tokens or fewer layers".to_owned();
        return Err(crate::scoring::ScoreError::TooLarge { problem, cure }.into());
    }
    let (trace, scored) = service.scoring.score_trace(trace, patience, progress).await?;
    aside(move || Ok(Evictions::new(&trace, scored))).await
}

/// Score every access of a trace.
#[utoipa::path(
    post, path = "/v1/evictions", tag = "model",
    request_body(content = Object, description = "A workload as for /generate-trace, the records of a trace, or a recipe",
        example = json!({"recipe": {"workload": {"inference": {"model": "tinyllama-1.1b"}}}})),
    responses(
        (status = 200, description = "One score an access", body = Evictions, headers(
            ("x-scorer" = String, description = "Who made the scores"),
            ("x-model" = String, description = "The model, if one was asked"),
            ("x-fallback-reason" = String, description = "Why it was not a model"),
        )),
        (status = 413, description = "Over the limit of accesses or distinct prompts", body = Refusal),
        (status = 422, body = Refusal),
        (status = 429, description = "The queue is full", body = Refusal),
        (status = 500, description = "The model failed", body = Refusal),
        (status = 502, description = "The remote engine failed", body = Refusal),
        (status = 503, description = "The model is being loaded or broken, or the server is shutting down", body = Refusal),
        (status = 504, description = "No answer within the deadline", body = Refusal),
    )
)]
async fn evictions(
    State(service): State<Service>,
    Body(body): Body,
) -> Result<(axum::http::HeaderMap, Json<Evictions>), ApiError> {
    service.accept()?;
    let answer = score_accesses(&service, body.to_vec(), service.scoring.patience(), &|_, _| {}).await?;
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
        (status = 200, description = "The model as it is now", body = Object),
        (status = 422, description = "No adapter for this model, or not below --adapters", body = Refusal),
        (status = 501, description = "The server has no local model, or no --adapters", body = Refusal),
        (status = 503, description = "The model is being loaded or broken, or the server is shutting down", body = Refusal),
    )
)]
async fn adapter(State(service): State<Service>, Body(body): Body) -> Result<Json<accel_model::ModelInfo>, ApiError> {
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
