//! The whole service: API, documentation, health and the page, behind limits and logs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use accel_core::trace::Trace;
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::auth::{self, ApiKey};
use crate::error::ApiError;
use crate::jobs::{self, JobLimits, Jobs};
use crate::scoring::queue::Phase;
use crate::scoring::trace::TraceScores;
use crate::scoring::{Backend, Scoring};
use crate::{info, prototype, recipes, score};

/// What the service is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder of the built page; none serves a note on how to build it.
    pub page: Option<PathBuf>,
    /// Origins whose pages may call the API.
    pub cors_origins: Vec<HeaderValue>,
    /// The largest request body in bytes.
    pub body_limit_bytes: usize,
    /// Recipes run at once.
    pub runs: usize,
    /// Who makes scores.
    pub scoring: Scoring,
    /// The folder below which adapters may be chosen.
    pub adapters: Option<PathBuf>,
    /// Bounds of jobs.
    pub jobs: JobLimits,
    /// What a request must know, but for the page, its documentation and health.
    pub api_key: Option<ApiKey>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            page: None,
            cors_origins: Vec::new(),
            body_limit_bytes: 16 << 20,
            runs: 2,
            scoring: Scoring::default(),
            adapters: None,
            jobs: JobLimits::default(),
            api_key: None,
        }
    }
}

/// Whether the service takes work.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<watch::Sender<bool>>);

impl Health {
    /// From now on the server takes no more work: `/health/ready` says so, jobs are cancelled and event streams end.
    pub fn drain(&self) {
        self.0.send_replace(true);
    }

    fn draining(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the server shuts down.
    pub(crate) async fn drained(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(|draining| *draining).await;
    }
}

/// What the endpoints share.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) scoring: Scoring,
    pub(crate) health: Health,
    pub(crate) runs: Arc<Semaphore>,
    pub(crate) jobs: Jobs,
    pub(crate) adapters: Option<PathBuf>,
}

impl Service {
    /// Refuses new work while the server shuts down.
    pub(crate) fn accept(&self) -> Result<(), ApiError> {
        if self.health.draining() { Err(ApiError::draining()) } else { Ok(()) }
    }

    /// The scores of a trace, for someone who waits.
    pub(crate) async fn scores(&self, trace: Trace) -> Result<(Trace, TraceScores), ApiError> {
        self.accept()?;
        Ok(self.scoring.score_trace(trace, self.scoring.patience(), &|_, _| {}).await?)
    }

    /// Where the model is in its life.
    pub(crate) fn model_state(&self) -> &'static str {
        match self.scoring.backend() {
            Backend::Heuristic => "none",
            Backend::Local(queue) => queue.phase().name(),
            Backend::Remote(_) => "remote",
        }
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Accelerator Optimization Copilot", description = "What should stay in fast memory, how much of it does a model need, and which policy should decide?"),
    tags(
        (name = "prototype", description = "The prototype's endpoints"),
        (name = "recipes", description = "Any experiment as one value"),
        (name = "model", description = "Questions to the language model"),
        (name = "jobs", description = "Work that outlasts a request"),
        (name = "health", description = "For load balancers and supervisors"),
    )
)]
struct ApiDoc;

/// The service. `health` is shared with whoever shuts it down.
pub fn router(config: &Config, health: Health) -> Router {
    let service = Service {
        scoring: config.scoring.clone(),
        health,
        runs: Arc::new(Semaphore::new(config.runs)),
        jobs: Jobs::new(config.jobs.clone(), config.scoring.metrics().clone()),
        adapters: config.adapters.clone(),
    };
    let mut guarded = OpenApiRouter::new()
        .merge(prototype::router())
        .merge(recipes::router())
        .merge(score::router())
        .merge(jobs::router())
        .merge(info::router());
    if let Some(key) = &config.api_key {
        guarded = guarded.route_layer(middleware::from_fn_with_state(key.clone(), auth::require));
    }
    let (api, openapi) = OpenApiRouter::with_openapi(ApiDoc::openapi())
        .merge(guarded)
        .merge(OpenApiRouter::new().routes(routes!(live)).routes(routes!(ready)))
        .with_state(service.clone())
        .split_for_parts();
    let with_docs = api.merge(SwaggerUi::new("/docs").url("/openapi.json", openapi));
    let no_cache = SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let whole = match &config.page {
        Some(page) => with_docs.fallback_service(ServeDir::new(page)),
        None => with_docs.route("/", get(page_is_missing)),
    };
    whole
        .layer(middleware::from_fn_with_state(service, count))
        .layer(DefaultBodyLimit::max(config.body_limit_bytes))
        .layer(no_cache)
        .layer(CompressionLayer::new())
        .layer(cors(&config.cors_origins))
        .layer(TraceLayer::new_for_http())
}

fn cors(origins: &[HeaderValue]) -> CorsLayer {
    let exposed = [prototype::SCORER_HEADER, prototype::MODEL_HEADER, prototype::FALLBACK_HEADER];
    let exposed = exposed.map(HeaderName::from_static).into_iter().chain([header::LOCATION, header::RETRY_AFTER]);
    let exposed: Vec<HeaderName> = exposed.collect();
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION])
        .expose_headers(exposed)
        // A page served over HTTPS asks for this before it may call a server on the visitor's own machine.
        .allow_private_network(true)
}

/// Counts every request by the pattern it matched.
async fn count(State(service): State<Service>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let start = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    service.scoring.metrics().request(route.as_deref().unwrap_or("page"), status, start.elapsed());
    response
}

async fn page_is_missing() -> Response {
    const NOTE: &str = "<!doctype html><title>No page</title><p>The server runs, but it has no page to serve. \
        Start it with <code>cargo xtask serve</code>, or name the built page with <code>--page DIR</code>. \
        The API is described at <a href=\"docs\">/docs</a>.";
    (StatusCode::NOT_FOUND, Html(NOTE)).into_response()
}

/// How the server is.
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
async fn live() -> axum::Json<Status> {
    axum::Json(Status { status: "live", model: None, problem: None })
}

/// Whether the server takes work. A model that nobody asked yet is loaded by the first question, so the server is ready.
#[utoipa::path(
    get, path = "/health/ready", tag = "health",
    responses(
        (status = 200, body = Status),
        (status = 503, description = "Shutting down, or the model is being loaded or broken", body = Status),
    )
)]
async fn ready(State(service): State<Service>) -> (StatusCode, axum::Json<Status>) {
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
    (code, axum::Json(Status { status, model: Some(service.model_state()), problem }))
}
