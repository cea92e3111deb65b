//! Any recipe, run on the server: the same outcome as on the page and the command line; the traffic and the prices of
//! operators.

use accel_core::fit::{Fit, Question};
use accel_core::recipe::Recipe;
use accel_core::run::Outcome;
use accel_core::traffic::{Curve, Subject, Traffic};
use accel_price::{PriceList, Question as PriceQuestion};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::http::{Body, Service, scorer_headers};
use crate::input::{refuse_file, refuse_files};
use crate::schema;
use crate::work;

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(run_recipe))
        .routes(routes!(traffic))
        .routes(routes!(fits))
        .routes(routes!(prices))
}

/// Run a recipe.
#[utoipa::path(
    post, path = "/v1/run", tag = "recipes",
    request_body(content = schema::Recipe, description = "A recipe, as the page's link, `accel recipe` and files hold it"),
    responses(
        (status = 200, description = "The outcome: trace, what counts time, runs (of models with `physical.tokens`: ms per token, tokens per second, time to the first token), explanation, validation, charts", body = schema::Outcome, headers(
            ("x-scorer" = String, description = "Who made the scores, where a policy reads them"),
            ("x-model" = String, description = "The model, if one was asked"),
            ("x-fallback-reason" = String, description = "Why it was not a model"),
        )),
        (status = 413, description = "More distinct questions to the model than one request may ask"),
        (status = 429, description = "As many runs as the server does at once are under way, or the model's queue is full"),
        (status = 503, description = "The model is being loaded or broken, or the server is shutting down"),
        (status = 504, description = "No answer of the model within the deadline"),
    )
)]
async fn run_recipe(State(service): State<Service>, Body(body): Body) -> Result<(HeaderMap, Json<Outcome>), ApiError> {
    let mut recipe = Recipe::from_json("body", &body).map_err(ApiError::body)?;
    refuse_files(&recipe)?;
    service.hub.resolve(&mut recipe.workload).await?;
    let (_stop, progress) = service.start()?;
    if recipe.reads_scores() {
        service.accept()?;
    }
    let (scoring, patience) = (&service.scoring, service.scoring.patience());
    let (outcome, source) = work::run(scoring, recipe, progress, patience, &|_, _| {}).await?;
    Ok((source.as_ref().map(scorer_headers).unwrap_or_default(), Json(outcome)))
}

/// DRAM traffic by the size of fast memory.
#[utoipa::path(
    post, path = "/v1/traffic", tag = "recipes",
    request_body(content = schema::Traffic, description = "An operator (gemm, conv or attention) or a workload of a \
        model, and the sizes of fast memory in bytes"),
    responses(
        (status = 200, description = "At each capacity what the best tiling found moves, and what no schedule goes below", body = schema::TrafficCurve),
        (status = 429, description = "As many runs as the server does at once are under way"),
        (status = 503, description = "The server is shutting down"),
    )
)]
async fn traffic(State(service): State<Service>, Body(body): Body) -> Result<Json<Curve>, ApiError> {
    let mut question = Traffic::from_json("body", &body).map_err(ApiError::body)?;
    if let Subject::Workload(workload) = &mut question.of {
        refuse_file(workload)?;
        service.hub.resolve(workload).await?;
    }
    let (_stop, mut progress) = service.start()?;
    let answer = move || question.curve(None, &mut progress).map_err(ApiError::body);
    work::blocking(answer).await.map(Json)
}

/// Whether a model fits a device, and how much of it would.
#[utoipa::path(
    post, path = "/v1/fit", tag = "recipes",
    request_body(content = schema::FitQuestion, description = "A run of a model, as a recipe has it, and the bytes of a device"),
    responses(
        (status = 200, description = "What a device holds and sends, whether it fits, the longest context and the largest batch that do", body = schema::Fit),
    )
)]
async fn fits(Body(body): Body) -> Result<Json<Fit>, ApiError> {
    Question::from_json("body", &body).and_then(|question| question.answer()).map_err(ApiError::body).map(Json)
}

/// What the operators of a model take, one by one.
#[utoipa::path(
    post, path = "/v1/price", tag = "recipes",
    request_body(content = schema::PriceQuestion, description = "A run of a model, as a recipe has it, and a device that \
        works as a whole"),
    responses(
        (status = 200, description = "Each operator with its sizes, time and what bounds it, their sum, and what would help", body = schema::PriceList),
        (status = 429, description = "As many runs as the server does at once are under way"),
        (status = 503, description = "The server is shutting down"),
    )
)]
async fn prices(State(service): State<Service>, Body(body): Body) -> Result<Json<PriceList>, ApiError> {
    let mut question = PriceQuestion::from_json("body", &body).map_err(ApiError::body)?;
    refuse_file(&question.workload)?;
    service.hub.resolve(&mut question.workload).await?;
    let (_stop, mut progress) = service.start()?;
    work::blocking(move || question.answer(None, &mut progress).map_err(ApiError::body)).await.map(Json)
}
