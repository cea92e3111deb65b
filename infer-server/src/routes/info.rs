//! What the server is: `/info` for people and scripts, `/metrics` for Prometheus.

use accel_core::score::prompt;
use accel_core::sweep::RESULTS_VERSION;
use accel_model::{DeviceKind, ModelInfo};
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::http::Service;
use crate::schema;
use crate::scoring::{Backend, Limits};

/// What the server is.
pub(crate) fn router() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(info))
}

/// What Prometheus reads.
pub(crate) fn metrics_router() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// What the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Info {
    /// Of the server.
    version: &'static str,
    /// What it was built for, such as `x86_64-linux`.
    target: String,
    /// Whether a language model can run in it.
    with_model: bool,
    /// Version of what simulations compute: the same one gives the same numbers.
    results_version: u32,
    /// Who scores.
    #[schema(value_type = schema::ScorerName)]
    backend: &'static str,
    /// Where the model is in its life.
    #[schema(value_type = schema::ModelPhase)]
    state: &'static str,
    /// Version of the question that models are asked about an access.
    prompt_version: u32,
    /// The model, once it is loaded.
    #[schema(value_type = Option<schema::ModelInfo>)]
    model: Option<ModelInfo>,
    /// SHA-256 of all files of the model; null until it is computed.
    model_sha256: Option<String>,
    /// The adapter.
    adapter: Option<String>,
    /// Where the model computes.
    #[schema(value_type = Option<String>, example = "cpu")]
    device: Option<DeviceKind>,
    /// The engine, if the model is behind another server.
    remote: Option<Remote>,
    /// The bounds of a request.
    limits: Limits,
}

/// An engine.
#[derive(Debug, Serialize, ToSchema)]
struct Remote {
    /// Its address.
    url: String,
    /// What it speaks.
    kind: &'static str,
    /// The model's name there.
    model: String,
}

/// What the server is and may do.
#[utoipa::path(get, path = "/info", tag = "health", responses((status = 200, description = "What it is", body = Info)))]
async fn info(State(service): State<Service>) -> Json<Info> {
    let scoring = &service.scoring;
    let mut info = Info {
        version: env!("CARGO_PKG_VERSION"),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        with_model: cfg!(feature = "model"),
        results_version: RESULTS_VERSION,
        backend: scoring.scorer().name(),
        state: service.model_state(),
        prompt_version: prompt::VERSION,
        model: None,
        model_sha256: None,
        adapter: None,
        device: None,
        remote: None,
        limits: scoring.limits().clone(),
    };
    match scoring.backend() {
        Backend::Heuristic => {}
        Backend::Local(queue) => {
            info.model = queue.loaded().map(|loaded| loaded.info);
            info.model_sha256 = queue.sha256();
            info.adapter = info.model.as_ref().and_then(|model| model.adapter.clone());
            info.device = info.model.as_ref().map(|model| model.device);
        }
        Backend::Remote(client) => {
            let (url, model) = (client.url().to_owned(), client.model().to_owned());
            info.remote = Some(Remote { url, kind: client.kind().name(), model });
        }
    }
    Json(info)
}

/// Counts for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses((status = 200, description = "Counts in the OpenMetrics text format", body = String, content_type = "application/openmetrics-text"))
)]
async fn metrics(State(service): State<Service>) -> Result<impl IntoResponse, ApiError> {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    service.scoring.metrics().phase(service.model_state());
    let text = service.scoring.metrics().text().map_err(|e| ApiError::Server(e.to_string()))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text))
}
