//! The whole service: API, documentation, health and the page, behind limits and logs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use crate::auth::{self, Keys};
use crate::document;
use crate::error::{Problem, Refusal};
use crate::health::Health;
use crate::http::{self, FALLBACK_HEADER, MODEL_HEADER, SCORER_HEADER, Service};
use crate::hub::Hub;
use crate::jobs::{JobLimits, Jobs, JobsFile, Means};
use crate::page::Page;
use crate::scoring::Scoring;
use crate::{logs, origin, routes};

/// What the service is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// The built page; none serves a note on how to build it.
    pub page: Option<Page>,
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
    /// The hub that requests may name models of.
    pub hub: Hub,
    /// Bounds of jobs.
    pub jobs: JobLimits,
    /// Where jobs are kept over restarts; none keeps them in memory.
    pub jobs_file: Option<JobsFile>,
    /// What a request must know, but for the page, its documentation and health.
    pub keys: Option<Keys>,
    /// Names of the server beside addresses and `localhost`, for one without keys.
    pub allowed_hosts: Vec<String>,
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
            hub: Hub::default(),
            jobs: JobLimits::default(),
            jobs_file: None,
            keys: None,
            allowed_hosts: Vec::new(),
        }
    }
}

/// What the document says before anything else.
const DESCRIPTION: &str = "What should stay in fast memory, how much of it does a model need, and which policy should \
    decide?\n\nThe prototype's endpoints are at their own paths and below `/v1`. What is refused below `/v1` is answered \
    as problem details (RFC 9457, `application/problem+json`), and elsewhere in the shape that clients of the prototype \
    know; both say in `error` what is wrong and what to do about it. A path that does not exist is 404, a method that it \
    does not take 405 with `Allow`.";

#[derive(OpenApi)]
#[openapi(
    info(title = "Accelerator Optimization Copilot", description = DESCRIPTION),
    components(schemas(Problem, Refusal)),
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
    let service = state(config, health);
    let mut guarded = routes::guarded();
    document::guard(guarded.get_openapi_mut(), config.keys.is_some());
    if let Some(keys) = &config.keys {
        guarded = guarded.route_layer(middleware::from_fn_with_state(keys.clone(), auth::require));
    }
    let (api, openapi) = OpenApiRouter::with_openapi(ApiDoc::openapi())
        .merge(guarded)
        .merge(routes::public())
        .with_state(service.clone())
        .split_for_parts();
    let docs = SwaggerUi::new("/docs").external_url_unchecked("/openapi.json", document::complete(&openapi));
    let with_docs = api.merge(docs);
    let whole = match &config.page {
        Some(page) => with_docs.fallback_service(page.service()),
        None => with_docs.route("/", get(page_is_missing)),
    };
    behind_limits(config, service, whole)
}

/// What the endpoints share.
fn state(config: &Config, health: Health) -> Service {
    let (scoring, runs) = (config.scoring.clone(), Arc::new(Semaphore::new(config.runs)));
    let jobs = Jobs::new(Means {
        limits: config.jobs.clone(),
        scoring: scoring.clone(),
        runs: Arc::clone(&runs),
        health: health.clone(),
        hub: config.hub.clone(),
        file: config.jobs_file.clone(),
    });
    let (adapters, hub, guarded) = (config.adapters.clone(), config.hub.clone(), config.keys.is_some());
    Service { scoring, health, runs, jobs, adapters, hub, guarded }
}

/// `routes` behind limits, rules, counts and logs; the last is the first that sees a request.
fn behind_limits(config: &Config, service: Service, routes: Router) -> Router {
    let rules = Arc::new(origin::Rules {
        hosts: config.allowed_hosts.clone(),
        origins: config.cors_origins.clone(),
        guarded: config.keys.is_some(),
    });
    let unless_set = |name, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    routes
        .layer(CatchPanicLayer::custom(http::panicked))
        .layer(middleware::from_fn_with_state(rules, origin::check))
        .layer(middleware::from_fn(http::refusals))
        .layer(middleware::from_fn_with_state(service, count))
        .layer(DefaultBodyLimit::max(config.body_limit_bytes))
        .layer(unless_set(header::CACHE_CONTROL, "no-cache"))
        // Nothing is taken for a script that is not sent as one, and no other site learns from where it was reached.
        .layer(unless_set(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(unless_set(header::REFERRER_POLICY, "no-referrer"))
        .layer(CompressionLayer::new())
        .layer(cors(&config.cors_origins))
        .layer(middleware::from_fn(logs::request))
}

fn cors(origins: &[HeaderValue]) -> CorsLayer {
    let exposed = [SCORER_HEADER, MODEL_HEADER, FALLBACK_HEADER];
    let exposed = exposed.map(HeaderName::from_static).into_iter().chain([
        header::LOCATION,
        header::RETRY_AFTER,
        logs::REQUEST_ID,
    ]);
    let exposed: Vec<HeaderName> = exposed.collect();
    // A page may go on with a trace of its own (W3C Trace Context).
    let [traceparent, tracestate] = ["traceparent", "tracestate"].map(HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION, traceparent, tracestate])
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

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::HeaderMap;
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::*;
    use crate::error::ApiError;

    fn kind(headers: &HeaderMap) -> &str {
        headers[header::CONTENT_TYPE].to_str().unwrap()
    }

    async fn get_from(router: &Router, path: &str) -> (StatusCode, HeaderMap, Value) {
        let request = Request::get(path).header(logs::REQUEST_ID, "mine").body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (parts.status, parts.headers, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_answered_as_a_problem_and_costs_its_request_alone() {
        async fn panics() {
            panic!("told to");
        }
        let config = Config::default();
        let service = state(&config, Health::default());
        let blocking = || async { crate::work::blocking(|| -> Result<(), ApiError> { panic!("told to") }).await };
        let routes = Router::new()
            .route("/v1/panics", get(panics))
            .route("/v1/blocking", get(blocking))
            .route("/panics", get(panics))
            .merge(routes::public().with_state(service.clone()).split_for_parts().0);
        let router = behind_limits(&config, service.clone(), routes);
        for path in ["/v1/panics", "/v1/blocking"] {
            let (status, headers, problem) = get_from(&router, path).await;
            assert_eq!((status.as_u16(), kind(&headers)), (500, "application/problem+json"));
            assert_eq!(headers[logs::REQUEST_ID], "mine");
            assert_eq!((problem["status"].as_u64(), problem["instance"].as_str()), (Some(500), Some(path)));
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.starts_with("internal error: it panicked"), "{detail}");
            assert!(detail.ends_with("x-request-id") && !detail.contains("told to"), "{detail}");
        }
        let (status, headers, refusal) = get_from(&router, "/panics").await;
        assert_eq!((status.as_u16(), kind(&headers)), (500, "application/json"));
        let error = refusal["error"].as_str().unwrap();
        assert!(error.starts_with("internal error: it panicked") && !error.contains("told to"), "{error}");
        // It is counted as any other, and the next is answered.
        assert_eq!(get_from(&router, "/health/live").await.0, StatusCode::OK);
        let counts = service.scoring.metrics().text().unwrap();
        assert!(counts.contains(r#"accel_http_requests_total{route="/v1/panics",status="500"} 1"#), "{counts}");
    }
}
