//! Whether the server lives and takes work.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::Service;
use crate::schema;
use crate::scoring::Backend;
use crate::scoring::queue::Phase;

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(live)).routes(routes!(ready))
}

/// The state of the server.
#[derive(Debug, Serialize, ToSchema)]
struct Status {
    /// `live`, `ready`, `unloaded`, `loading`, `warming`, `failed`, `unreachable` or `draining`.
    status: &'static str,
    /// Where the model is in its life.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::ModelPhase>)]
    model: Option<&'static str>,
    /// What is wrong; left out where a key guards the server, whose log says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Whether the process runs.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, description = "It runs", body = Status)))]
async fn live() -> Json<Status> {
    Json(Status { status: "live", model: None, problem: None })
}

/// Whether the server takes work: its model has answered its first question, or the engine that has it can be asked.
#[utoipa::path(
    get, path = "/health/ready", tag = "health",
    responses(
        (status = 200, description = "It takes work", body = Status),
        (status = 503, description = "Shutting down, or the model is not loaded, broken or out of reach", body = Status),
    )
)]
async fn ready(State(service): State<Service>) -> (StatusCode, Json<Status>) {
    let (status, problem) = match service.scoring.backend() {
        _ if service.health.draining() => ("draining", None),
        Backend::Heuristic => ("ready", None),
        Backend::Local(queue) => match queue.phase() {
            Phase::Failed(problem) => ("failed", Some(problem)),
            phase => (phase.name(), None),
        },
        Backend::Remote(client) => match client.reachable().await {
            Ok(()) => ("ready", None),
            Err(problem) => ("unreachable", Some(problem)),
        },
    };
    let problem = problem.filter(|_| !service.guarded);
    let code = if status == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Status { status, model: Some(service.model_state()), problem }))
}
