//! What all routes share: the state of the service, reading bodies and queries, the limit of runs, and refusals as answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use accel_core::error::{Error, Place};
use accel_core::progress::{Flow, Progress};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequest, Query, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{ApiError, Problem, Refusal};
use crate::health::Health;
use crate::hub::Hub;
use crate::jobs::Jobs;
use crate::listen::TooSlow;
use crate::scoring::trace::Source;
use crate::scoring::{Backend, Scoring};

/// The response header that names who made the scores.
pub(crate) const SCORER_HEADER: &str = "x-scorer";
/// The response header that says why it was not the scorer one might expect.
pub(crate) const FALLBACK_HEADER: &str = "x-fallback-reason";
/// The response header that names the model behind the scores.
pub(crate) const MODEL_HEADER: &str = "x-model";

/// What the endpoints share.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) scoring: Scoring,
    pub(crate) health: Health,
    pub(crate) runs: Arc<Semaphore>,
    pub(crate) jobs: Jobs,
    pub(crate) adapters: Option<PathBuf>,
    pub(crate) hub: Hub,
    /// Whether a key guards what the server says of itself.
    pub(crate) guarded: bool,
}

impl Service {
    /// Refuses new work while the server shuts down.
    pub(crate) fn accept(&self) -> Result<(), ApiError> {
        if self.health.draining() { Err(ApiError::draining()) } else { Ok(()) }
    }

    /// A place among the runs under way, and what stops the run; refused where all places are taken.
    pub(crate) fn start(&self) -> Result<(StopOnDrop, UntilStopped), ApiError> {
        let permit = Arc::clone(&self.runs).try_acquire_owned().map_err(|_| ApiError::busy())?;
        let stop = Arc::new(AtomicBool::new(false));
        Ok((StopOnDrop(Arc::clone(&stop)), UntilStopped(stop, permit)))
    }

    /// The phase of the model's life.
    pub(crate) fn model_state(&self) -> &'static str {
        match self.scoring.backend() {
            Backend::Heuristic => "none",
            Backend::Local(queue) => queue.phase().name(),
            Backend::Remote(_) => "remote",
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let retry_after = match &self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        };
        let refusal = self.refusal();
        let mut response = (status, Json(&refusal)).into_response();
        response.extensions_mut().insert(refusal);
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Whether a path is one of the API by version: what is refused there is a [`Problem`].
pub(crate) fn is_versioned(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

/// Gives every refusal the shape that clients of its path know, those of the libraries below included.
pub(crate) async fn refusals(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let status = response.status();
    let told = response.extensions().get::<Refusal>().cloned();
    if !(status.is_client_error() || status.is_server_error()) || (told.is_none() && is_told(&response)) {
        return response;
    }
    let refusal = told.clone().unwrap_or_else(|| untold(&response, &method, &path));
    let (mut parts, body) = response.into_parts();
    let (kind, answer) = match (is_versioned(&path), told) {
        (true, _) => ("application/problem+json", Json(Problem::new(refusal, status, &path)).into_response()),
        (false, None) => ("application/json", Json(refusal).into_response()),
        // It has the right shape already.
        (false, Some(_)) => return Response::from_parts(parts, body),
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Response::from_parts(parts, answer.into_body())
}

/// Whether an answer that is no [`Refusal`] says for itself what is wrong: the state of health, and the note on a missing
/// page.
fn is_told(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.starts_with("application/json") || kind.starts_with("text/html")
}

/// What a refusal means that came without words, or with words of a library.
fn untold(response: &Response, method: &Method, path: &str) -> Refusal {
    let error = match response.status() {
        StatusCode::NOT_FOUND => format!("there is nothing at {path}. The endpoints are described at /docs"),
        // The router adds the header behind us.
        StatusCode::METHOD_NOT_ALLOWED => {
            format!("{path} does not take {method}. The header Allow names what it takes")
        }
        status => {
            let reason = status.canonical_reason().unwrap_or("refused");
            format!("{method} {path}: {reason}. The endpoints are described at /docs")
        }
    };
    Refusal { error, detail: Vec::new() }
}

/// What is answered where a handler panics: the server is at fault, and goes on.
pub(crate) fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    ApiError::panicked(&*panic).into_response()
}

/// A request's body as it came. What axum says of one that is too large is text; this says it as every refusal.
#[derive(Debug)]
pub(crate) struct Body(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Bytes::from_request(request, state).await.map(Self).map_err(|rejection: BytesRejection| {
            let (mut status, mut problem) = (rejection.status(), rejection.body_text());
            if TooSlow::caused(&rejection) {
                (status, problem) = (StatusCode::REQUEST_TIMEOUT, TooSlow.to_string());
            }
            let cure = match status {
                StatusCode::PAYLOAD_TOO_LARGE => "Send less at once, or start the server with a larger --body-limit",
                StatusCode::REQUEST_TIMEOUT => {
                    "Send it without long pauses, or start the server with larger --body-timeout and --stall-timeout"
                }
                _ => "Send the whole body",
            };
            ApiError::Refused {
                status,
                message: format!("body: {problem}. {cure}"),
                place: vec!["body".to_owned()],
                retry_after: None,
            }
        })
    }
}

/// The parameters of a query; `cure` says which there are.
pub(crate) fn parameters<T>(query: Result<Query<T>, QueryRejection>, cure: &str) -> Result<T, ApiError> {
    let Query(parameters) =
        query.map_err(|e| ApiError::query(Error::input("query", Place::Whole, e.body_text(), cure)))?;
    Ok(parameters)
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

/// The headers that say who made the scores.
pub(crate) fn scorer_headers(source: &Source) -> HeaderMap {
    // A model's name may hold anything; a header may not.
    let plain = |text: &str| text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
    let of = |name, text: &str| {
        let text: String = plain(text);
        HeaderValue::try_from(text).ok().map(|value| (HeaderName::from_static(name), value))
    };
    let fields = [
        of(SCORER_HEADER, source.scorer),
        source.model.as_deref().and_then(|model| of(MODEL_HEADER, model)),
        source.fallback_reason.and_then(|reason| of(FALLBACK_HEADER, reason)),
    ];
    fields.into_iter().flatten().collect()
}
