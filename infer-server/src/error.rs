//! Every refusal as JSON: a sentence for people, and the place in the request for programs.

use accel_core::error::{Error, Place};
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A refused request. `detail` has the shape that clients of the prototype (FastAPI) know.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refusal {
    /// What is wrong and what to do about it.
    #[schema(example = "num_layers is 0: out of range. Choose a value from 1 to 1024")]
    pub error: String,
    /// Where in the request.
    pub detail: Vec<Detail>,
}

/// One fault of a request.
#[derive(Debug, Serialize, ToSchema)]
pub struct Detail {
    /// The path to the value, such as `["body", "num_layers"]`.
    pub loc: Vec<String>,
    /// What is wrong with it.
    pub msg: String,
    /// The value that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
}

/// An error on its way out.
#[derive(Debug)]
pub enum ApiError {
    /// The request is at fault; `in_query` tells where its fields stand.
    Request {
        /// What is wrong.
        error: Error,
        /// `body` or `query`.
        part: &'static str,
    },
    /// As many runs as the server does at once are under way.
    Busy,
    /// The server is at fault.
    Server(String),
}

impl ApiError {
    /// A fault in the request's body.
    pub fn body(error: Error) -> Self {
        Self::Request { error, part: "body" }
    }

    /// A fault in the request's query.
    pub fn query(error: Error) -> Self {
        Self::Request { error, part: "query" }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, message, detail) = match self {
            Self::Request { error: Error::Internal(problem), .. } | Self::Server(problem) => {
                tracing::error!(%problem, "internal error");
                (StatusCode::INTERNAL_SERVER_ERROR, format!("internal error: {problem}"), Vec::new())
            }
            Self::Busy => {
                let message = "the server is busy with other runs. Try again in a second".to_owned();
                let body = Json(Refusal { error: message, detail: Vec::new() });
                return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], body).into_response();
            }
            Self::Request { error, part } => {
                let (place, input) = match &error {
                    Error::Field { field, value, .. } => (Some(field.clone()), Some(value.clone())),
                    Error::Input { place: Place::Item(item), .. } => (Some(item.to_string()), None),
                    Error::Input { place: Place::Key(key), .. } => (Some(key.clone()), None),
                    _ => (None, None),
                };
                let loc = [part.to_owned()].into_iter().chain(place).collect();
                let message = error.to_string();
                (StatusCode::UNPROCESSABLE_ENTITY, message.clone(), vec![Detail { loc, msg: message, input }])
            }
        };
        (status, Json(Refusal { error: message, detail })).into_response()
    }
}
