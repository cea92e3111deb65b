//! The endpoints, one module per kind.

mod compile;
mod health;
mod info;
mod jobs;
mod prototype;
mod recipes;
mod score;

use utoipa_axum::router::OpenApiRouter;

use crate::http::Service;

/// What only those with the key may ask, if there is one.
pub(crate) fn guarded() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .merge(prototype::router())
        .merge(compile::router())
        .merge(recipes::router())
        .merge(score::router())
        .merge(jobs::router())
        .merge(info::router())
}

/// What everyone may ask.
pub(crate) fn public() -> OpenApiRouter<Service> {
    health::router()
}
