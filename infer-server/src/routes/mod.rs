//! The endpoints, one module per kind.

mod compile;
mod health;
mod info;
mod jobs;
mod prototype;
mod recipes;
mod reload;
mod score;

use utoipa_axum::router::OpenApiRouter;

use crate::http::Service;

/// The path below which the API is by version.
const VERSION: &str = "/v1";

/// What only those with the key may ask, if there is one.
pub(crate) fn guarded() -> OpenApiRouter<Service> {
    let mut versioned = by_both();
    for item in versioned.get_openapi_mut().paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            // No two operations have one name.
            operation.operation_id = operation.operation_id.take().map(|id| format!("{id}_v1"));
        }
    }
    OpenApiRouter::new()
        .merge(by_both())
        .nest(VERSION, versioned)
        .merge(recipes::router())
        .merge(score::router())
        .merge(reload::router())
        .merge(jobs::router())
        .merge(info::metrics_router())
}

/// What has a path of its own and one below [`VERSION`]: the prototype's endpoints, and what is as old.
fn by_both() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .merge(prototype::router())
        .merge(compile::router())
        .merge(info::router())
        .merge(jobs::events_router())
}

/// What everyone may ask.
pub(crate) fn public() -> OpenApiRouter<Service> {
    health::router()
}
