//! The whole service: API, documentation, health and the page, behind limits and logs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::{prototype, recipes};

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
}

impl Default for Config {
    fn default() -> Self {
        Self { page: None, cors_origins: Vec::new(), body_limit_bytes: 16 << 20, runs: 2 }
    }
}

/// Whether the service takes work.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<AtomicBool>);

impl Health {
    /// From now on `/health/ready` says that the server is shutting down.
    pub fn drain(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Accelerator Optimization Copilot", description = "What should stay in fast memory, how much of it does a model need, and which policy should decide?"),
    tags(
        (name = "prototype", description = "The prototype's endpoints"),
        (name = "recipes", description = "Any experiment as one value"),
        (name = "health", description = "For load balancers and supervisors"),
    )
)]
struct ApiDoc;

/// The service. `health` is shared with whoever shuts it down.
pub fn router(config: &Config, health: Health) -> Router {
    let (api, openapi) = OpenApiRouter::with_openapi(ApiDoc::openapi())
        .merge(prototype::router())
        .merge(recipes::router(config.runs))
        .merge(OpenApiRouter::new().routes(routes!(live)).routes(routes!(ready)).with_state(health))
        .split_for_parts();
    let with_docs = api.merge(SwaggerUi::new("/docs").url("/openapi.json", openapi));
    let no_cache = SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let service = match &config.page {
        Some(page) => with_docs.fallback_service(ServeDir::new(page)),
        None => with_docs.route("/", get(page_is_missing)),
    };
    service
        .layer(DefaultBodyLimit::max(config.body_limit_bytes))
        .layer(no_cache)
        .layer(CompressionLayer::new())
        .layer(cors(&config.cors_origins))
        .layer(TraceLayer::new_for_http())
}

fn cors(origins: &[HeaderValue]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE])
        .expose_headers([prototype::SCORER_HEADER, prototype::FALLBACK_HEADER].map(HeaderName::from_static))
        // A page served over HTTPS asks for this before it may call a server on the visitor's own machine.
        .allow_private_network(true)
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
    /// `live`, `ready` or `draining`.
    status: &'static str,
}

/// Whether the process runs.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, body = Status)))]
async fn live() -> axum::Json<Status> {
    axum::Json(Status { status: "live" })
}

/// Whether the server takes work.
#[utoipa::path(
    get, path = "/health/ready", tag = "health",
    responses((status = 200, body = Status), (status = 503, description = "Shutting down", body = Status))
)]
async fn ready(State(Health(draining)): State<Health>) -> (StatusCode, axum::Json<Status>) {
    if draining.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, axum::Json(Status { status: "draining" }))
    } else {
        (StatusCode::OK, axum::Json(Status { status: "ready" }))
    }
}
