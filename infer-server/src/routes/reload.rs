//! The model, loaded anew.

use accel_model::ModelInfo;
use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::http::Service;
use crate::scoring::Backend;

/// The endpoint.
pub(crate) fn router() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(reload))
}

/// Load the model anew from its file, with the adapter that it has; requests go on meanwhile.
#[utoipa::path(
    post, path = "/v1/reload", tag = "model",
    responses(
        (status = 200, description = "The model as it is now", body = Object),
        (status = 500, description = "It cannot be loaded; the old one stays"),
        (status = 501, description = "The server has no local model"),
        (status = 503, description = "The server is shutting down"),
    )
)]
async fn reload(State(service): State<Service>) -> Result<Json<ModelInfo>, ApiError> {
    service.accept()?;
    match service.scoring.backend() {
        Backend::Local(queue) => Ok(Json(queue.reload().await?)),
        _ => Err(ApiError::not_set_up("there is no model on this server. Start it with --model FILE")),
    }
}
