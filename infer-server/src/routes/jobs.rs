//! Work that outlasts a request: jobs are started, looked at, followed and stopped.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt as _};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::broadcast::error::RecvError;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::http::{Body, Service};
use crate::jobs::{BROKEN, JobView, MISSED};
use crate::schema;

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(get, cancel)).routes(routes!(job_events))
}

/// The events of all jobs.
pub(crate) fn events_router() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(all_events))
}

/// The name of a job in the path. No job has one that is no text.
struct JobId(String);

impl<S: Send + Sync> FromRequestParts<S> for JobId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(id) = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::not_found(format!("no such job: {}", rejection.body_text())))?;
        Ok(Self(id))
    }
}

/// A job with its result.
#[derive(Debug, Serialize, ToSchema)]
struct JobAnswer {
    #[serde(flatten)]
    view: JobView,
    /// What `/v1/run` or `/v1/evictions` would have answered, once it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    result: Option<Arc<RawValue>>,
}

/// Start a job.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "jobs",
    request_body(content = schema::JobRequest, description = "`run` with a recipe, or `evictions` with what /v1/evictions takes"),
    responses(
        (status = 202, description = "The job", body = JobView, headers(("location" = String, description = "Its path"))),
        (status = 429, description = "As many jobs as the server takes are waiting or running"),
        (status = 503, description = "The server is shutting down"),
    )
)]
async fn start(State(service): State<Service>, Body(body): Body) -> Result<Response, ApiError> {
    service.accept()?;
    let view = service.jobs.start(&body).await?;
    let location = format!("/v1/jobs/{}", view.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(view)).into_response())
}

/// Look at a job.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job")),
    responses((status = 200, description = "The job", body = JobAnswer), (status = 404))
)]
async fn get(State(service): State<Service>, JobId(id): JobId) -> Result<Json<JobAnswer>, ApiError> {
    let (view, result) = service.jobs.get(&id)?;
    Ok(Json(JobAnswer { view, result }))
}

/// Stop a job, or forget the result of one that ended.
#[utoipa::path(
    delete, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job")),
    responses(
        (status = 202, description = "It stops", body = JobView),
        (status = 204, description = "It had ended, and is forgotten"),
        (status = 404),
    )
)]
async fn cancel(State(service): State<Service>, JobId(id): JobId) -> Result<Response, ApiError> {
    Ok(match service.jobs.cancel(&id).await? {
        Some(view) => (StatusCode::ACCEPTED, Json(view)).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

type Events = Result<Event, Infallible>;

fn event(view: &JobView) -> Events {
    let event = Event::default().event(view.status.event()).id(view.id.clone());
    Ok(event.json_data(view).unwrap_or_else(|error| Event::default().event(BROKEN).data(error.to_string())))
}

/// Ends with the server, or it could not shut down; between events, comments keep the connection open.
fn sse(service: &Service, events: impl Stream<Item = Events> + Send + 'static) -> Response {
    let health = service.health.clone();
    let until = events.take_until(Box::pin(async move { health.drained().await }));
    Sse::new(until).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response()
}

/// Follow a job to its end: events `progress`, then `done`, `failed` or `cancelled`.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/events", tag = "jobs", params(("id" = String, Path, description = "The job")),
    responses(
        (status = 200, description = "Server-sent events; data is the job without its result", body = schema::JobEvents, content_type = "text/event-stream"),
        (status = 404),
    )
)]
async fn job_events(State(service): State<Service>, JobId(id): JobId) -> Result<Response, ApiError> {
    let events = stream::unfold(Some(service.jobs.follow(&id)?), |view| async {
        let mut view = view?;
        view.changed().await.ok()?;
        let now = view.borrow_and_update().clone();
        Some((event(&now), (!now.status.ended()).then_some(view)))
    });
    Ok(sse(&service, events))
}

/// Follow every job.
#[utoipa::path(
    get, path = "/events", tag = "jobs",
    responses((status = 200, description = "Server-sent events of all jobs, from now on", body = schema::JobEvents, content_type = "text/event-stream"))
)]
async fn all_events(State(service): State<Service>) -> Response {
    let events = stream::unfold(service.jobs.follow_all(), |mut events| async {
        let next = match events.recv().await {
            Ok(view) => event(&view),
            Err(RecvError::Lagged(missed)) => Ok(Event::default().event(MISSED).data(missed.to_string())),
            Err(RecvError::Closed) => return None,
        };
        Some((next, events))
    });
    sse(&service, events)
}
