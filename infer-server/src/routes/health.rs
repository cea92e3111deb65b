//! Whether the server lives and takes work.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::Service;
use crate::scoring::Backend;
use crate::scoring::queue::Phase;

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(live)).routes(routes!(ready))
}

/// The state of the server.
#[derive(Debug, Serialize, ToSchema)]
struct Status {
    /// `live`, `ready`, `loading`, `warming`, `failed` or `draining`.
    status: &'static str,
    /// Where the model is in its life: `none`, `unloaded`, `loading`, `warming`, `ready`, `failed` or `remote`.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'static str>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Whether the process runs.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, body = Status)))]
async fn live() -> Json<Status> {
    Json(Status { status: "live", model: None, problem: None })
}

/// Whether the server takes work. A model that nobody asked yet is loaded by the first question, so the server is ready.
#[utoipa::path(
    get, path = "/health/ready", tag = "health",
    responses(
        (status = 200, body = Status),
        (status = 503, description = "Shutting down, or the model is being loaded or broken", body = Status),
    )
)]
async fn ready(State(service): State<Service>) -> (StatusCode, Json<Status>) {
    let phase = match service.scoring.backend() {
        Backend::Local(queue) => Some(queue.phase()),
        Backend::Heuristic | Backend::Remote(_) => None,
    };
    let (code, status) = match &phase {
        _ if service.health.draining() => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        None | Some(Phase::Ready | Phase::Unloaded) => (StatusCode::OK, "ready"),
        Some(phase) => (StatusCode::SERVICE_UNAVAILABLE, phase.name()),
    };
    let problem = match phase {
        Some(Phase::Failed(problem)) => Some(problem),
        _ => None,
    };
    (code, Json(Status { status, model: Some(service.model_state()), problem }))
}
