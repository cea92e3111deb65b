//! Every refusal: a sentence for people, the place in the request for programs, and the status.
//!
//! The prototype's endpoints answer a [`Refusal`], whose keys its clients know; those below `/v1` a [`Problem`]
//! (RFC 9457), which has the same sentence and places under names of its own.

use std::time::Duration;

use accel_core::error::{Error, Place};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::panics::told;
use crate::scoring::{ScoreError, seconds};

/// A refused request. `detail` has the shape that clients of the prototype (FastAPI) know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Refusal {
    /// What is wrong and what to do about it.
    #[schema(example = "num_layers is 0: out of range. Choose a value from 1 to 1024")]
    pub(crate) error: String,
    /// Where in the request.
    pub(crate) detail: Vec<Detail>,
}

/// A refusal below `/v1`, as RFC 9457 has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Always `about:blank`: the status says all about its kind.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    kind: &'static str,
    /// The status in words.
    #[schema(example = "Unprocessable Entity")]
    title: &'static str,
    /// The status.
    #[schema(example = 422, minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong and what to do about it.
    #[schema(example = "num_layers is 0: out of range. Choose a value from 1 to 1024")]
    detail: String,
    /// The path that was asked.
    #[schema(example = "/v1/simulate")]
    instance: String,
    /// The same as `detail`, under the name that it has everywhere else.
    error: String,
    /// Where in the request.
    errors: Vec<Detail>,
}

impl Problem {
    /// `refusal` of what was asked at `path`.
    pub(crate) fn new(refusal: Refusal, status: StatusCode, path: &str) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Refused"),
            status: status.as_u16(),
            detail: refusal.error.clone(),
            instance: path.to_owned(),
            error: refusal.error,
            errors: refusal.detail,
        }
    }
}

/// One fault of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Detail {
    /// The path to the value, such as `["body", "num_layers"]`.
    pub(crate) loc: Vec<String>,
    /// What is wrong with it.
    pub(crate) msg: String,
    /// The value that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<String>,
}

/// An error on its way out.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// The request is at fault; `part` says where its fields are.
    Request {
        /// What is wrong.
        error: Error,
        /// `body` or `query`.
        part: &'static str,
    },
    /// Anything else that is refused.
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// What is wrong and what to do about it.
        message: String,
        /// Where in the request.
        place: Vec<String>,
        /// After how many seconds to try again.
        retry_after: Option<u64>,
    },
    /// The server is at fault.
    Server(String),
}

impl ApiError {
    /// A fault in the request's body.
    pub(crate) fn body(error: Error) -> Self {
        Self::Request { error, part: "body" }
    }

    /// A fault in the request's query.
    pub(crate) fn query(error: Error) -> Self {
        Self::Request { error, part: "query" }
    }

    /// What answers a request panicked with `panic`: the server is at fault, and goes on. Its text is in the log.
    pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Self {
        Self::Server(format!("{}, under the request's x-request-id", told(panic)))
    }

    fn refused(status: StatusCode, message: impl Into<String>) -> Self {
        Self::Refused { status, message: message.into(), place: Vec::new(), retry_after: None }
    }

    fn later(status: StatusCode, message: impl Into<String>, seconds: u64) -> Self {
        Self::Refused { status, message: message.into(), place: Vec::new(), retry_after: Some(seconds) }
    }

    /// As many runs as the server does at once are under way.
    pub(crate) fn busy() -> Self {
        let message = "the server is busy with other runs. Try again in a second";
        Self::later(StatusCode::TOO_MANY_REQUESTS, message, 1)
    }

    /// As many jobs as the server keeps are waiting or running.
    pub(crate) fn jobs_are_full(most: usize) -> Self {
        let message = format!("{most} jobs are waiting or running, and the server takes no more. Try again later");
        Self::later(StatusCode::TOO_MANY_REQUESTS, message, 5)
    }

    /// The server is shutting down.
    pub(crate) fn draining() -> Self {
        let message = "the server is shutting down. Ask another one, or try again in a while";
        Self::later(StatusCode::SERVICE_UNAVAILABLE, message, 5)
    }

    /// There is no such thing.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::refused(StatusCode::NOT_FOUND, message)
    }

    /// The server is not set up for it.
    pub(crate) fn not_set_up(message: impl Into<String>) -> Self {
        Self::refused(StatusCode::NOT_IMPLEMENTED, message)
    }

    /// Another server that is asked for it does not answer.
    pub(crate) fn bad_gateway(message: impl Into<String>) -> Self {
        Self::refused(StatusCode::BAD_GATEWAY, message)
    }

    /// No key, or a wrong one.
    pub(crate) fn unauthorized() -> Self {
        let message = "this server wants its key. Send it as the header `Authorization: Bearer KEY`";
        Self::refused(StatusCode::UNAUTHORIZED, message)
    }

    /// The key is right, and its role opens less than what was asked.
    pub(crate) fn forbidden_to(role: &str, wanted: &str) -> Self {
        let message = format!("this key has the role {role}, and {wanted} is needed. Ask with a key that has it");
        Self::refused(StatusCode::FORBIDDEN, message)
    }

    /// The key asks more often than it may.
    pub(crate) fn too_often(wait: Duration) -> Self {
        let seconds = seconds(&wait);
        let message = format!("this key asks more often than --rate-limit lets it. Try again in {seconds} s");
        Self::later(StatusCode::TOO_MANY_REQUESTS, message, seconds)
    }

    /// The header Host is missing, or cannot be one.
    pub(crate) fn bad_host(problem: &str) -> Self {
        Self::refused(StatusCode::BAD_REQUEST, format!("header Host: {problem}. Send it once, as HOST or HOST:PORT"))
    }

    /// The request is for another host.
    pub(crate) fn foreign_host(host: &str) -> Self {
        let cure = "Ask by the server's address, or start it with --allowed-host NAME or with a key";
        Self::refused(
            StatusCode::MISDIRECTED_REQUEST,
            format!("header Host: {host:?} is no name of this server. {cure}"),
        )
    }

    /// A page from elsewhere asks for what it may not.
    pub(crate) fn foreign_origin(origin: &str) -> Self {
        let message =
            format!("pages of {origin:?} may change nothing here. Start the server with --cors-origin ORIGIN");
        Self::refused(StatusCode::FORBIDDEN, message)
    }

    /// The body says that it is no JSON.
    pub(crate) fn not_json(kind: &str) -> Self {
        let message = format!("a body of type {kind:?}. Send JSON, with the header `Content-Type: application/json`");
        Self::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Request { error: Error::Internal(_), .. } | Self::Server(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Request { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Refused { status, .. } => *status,
        }
    }

    /// The answer's body.
    pub(crate) fn refusal(self) -> Refusal {
        let (message, place, input) = match self {
            Self::Request { error: Error::Internal(problem), .. } | Self::Server(problem) => {
                tracing::error!(%problem, "internal error");
                (format!("internal error: {problem}"), Vec::new(), None)
            }
            Self::Refused { message, place, .. } => (message, place, None),
            Self::Request { error, part } => {
                let (place, input) = match &error {
                    Error::Field { field, value, .. } => (Some(field.clone()), Some(value.clone())),
                    Error::Input { place: Place::Item(item), .. } => (Some(item.to_string()), None),
                    Error::Input { place: Place::Key(key), .. } => (Some(key.clone()), None),
                    _ => (None, None),
                };
                (error.to_string(), [part.to_owned()].into_iter().chain(place).collect(), input)
            }
        };
        let fault = (!place.is_empty()).then(|| Detail { loc: place, msg: message.clone(), input });
        Refusal { error: message, detail: fault.into_iter().collect() }
    }
}

impl From<ScoreError> for ApiError {
    fn from(error: ScoreError) -> Self {
        let message = error.to_string();
        match error {
            ScoreError::Request { field, .. } => Self::Refused {
                status: StatusCode::UNPROCESSABLE_ENTITY,
                message,
                place: vec!["body".to_owned(), field],
                retry_after: None,
            },
            ScoreError::TooLarge { .. } => Self::refused(StatusCode::PAYLOAD_TOO_LARGE, message),
            ScoreError::NoModel => Self::not_set_up(message),
            ScoreError::Busy(wait) => Self::later(StatusCode::TOO_MANY_REQUESTS, message, seconds(&wait)),
            ScoreError::Unavailable { retry_after, .. } => {
                Self::later(StatusCode::SERVICE_UNAVAILABLE, message, seconds(&retry_after))
            }
            ScoreError::Deadline(_) => Self::refused(StatusCode::GATEWAY_TIMEOUT, message),
            ScoreError::Model(_) => Self::Server(message),
            ScoreError::Remote(_) => {
                tracing::error!(problem = message, "the remote engine failed");
                Self::refused(StatusCode::BAD_GATEWAY, message)
            }
            ScoreError::Cancelled | ScoreError::Renewed => Self::later(StatusCode::SERVICE_UNAVAILABLE, message, 1),
        }
    }
}
