//! `POST /predict-compile`: what source code costs, in the prototype's keys.

use std::collections::BTreeMap;

use accel_core::error::{Error, Place};
use accel_kernel::predict;
use accel_kernel::report::{
    Advice, Features, Language, LevelReport, LineCost, OperatorCost, OptLevel, Part, Report, Request, Roofline,
};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::http::{Body, Service};
use crate::input::json;
use crate::schema;
use crate::work::blocking;

/// The endpoint.
pub(crate) fn router() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(predict_compile))
}

/// What the code does and costs: the prototype's keys, then everything else that is known.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CompileAnswer {
    /// Time.
    #[serde(rename = "latency (ms)")]
    latency: f64,
    /// Energy: the middle of the range.
    #[serde(rename = "energy (J)")]
    energy: f64,
    /// What was counted: `num_loops`, `num_branches`, `load_ops`, `store_ops`, `flops`, `mem_bytes`.
    #[schema(value_type = schema::CodeFeatures)]
    features: Features,
    /// How many ms each feature accounts for (exact Shapley values of this prediction).
    feature_importance: BTreeMap<String, f64>,
    /// Between which times it lies.
    latency_range_ms: [f64; 2],
    /// Between which energies it lies.
    energy_range_j: [f64; 2],
    /// Each cache, nearest first.
    #[schema(value_type = Vec<Object>)]
    levels: Vec<LevelReport>,
    /// The counts as expressions in the parameters.
    closed_forms: BTreeMap<String, String>,
    /// What was assumed.
    assumptions: Vec<String>,
    /// The function looked at; null for a fragment.
    function: Option<String>,
    /// The language it was read as.
    #[schema(value_type = String)]
    language: Language,
    /// The device's name.
    device: String,
    /// How it was compiled.
    #[schema(value_type = String)]
    opt_level: OptLevel,
    /// Values of parameters.
    parameters: BTreeMap<String, i64>,
    /// What takes the time, in words.
    bottleneck: String,
    /// What takes the time, part by part.
    #[schema(value_type = Vec<Object>)]
    parts: Vec<Part>,
    /// The data of a roofline chart.
    #[schema(value_type = Object)]
    roofline: Roofline,
    /// What each line of the source costs.
    #[schema(value_type = Vec<Object>)]
    lines: Vec<LineCost>,
    /// On a device that works as a whole, what each operator takes.
    #[schema(value_type = Vec<Object>)]
    operators: Vec<OperatorCost>,
    /// On such a device, changes that would help, the best first.
    #[schema(value_type = Vec<Object>)]
    advice: Vec<Advice>,
}

impl From<Report> for CompileAnswer {
    fn from(report: Report) -> Self {
        Self {
            latency: report.latency_ms,
            energy: report.energy_j,
            features: report.features,
            feature_importance: report.feature_importance,
            latency_range_ms: report.latency_range_ms,
            energy_range_j: report.energy_range_j,
            levels: report.levels,
            closed_forms: report.closed_forms,
            assumptions: report.assumptions,
            function: report.function,
            language: report.language,
            device: report.device,
            opt_level: report.opt_level,
            parameters: report.parameters,
            bottleneck: report.bottleneck,
            parts: report.parts,
            roofline: report.roofline,
            lines: report.lines,
            operators: report.operators,
            advice: report.advice,
        }
    }
}

/// Reads a request field by field, so that a refusal names the field.
fn read(body: &[u8]) -> Result<Request, ApiError> {
    let Value::Object(mut fields) = json(body)? else {
        let cure = "Send {\"code\":\"def matmul(a, b): return a @ b\"}";
        return Err(ApiError::body(Error::input("body", Place::Whole, "not an object", cure)));
    };
    request(&mut fields).map_err(ApiError::body)
}

fn request(fields: &mut Map<String, Value>) -> Result<Request, Error> {
    if let Some(family) = fields.remove("model_type")
        && !(family.is_string() || family.is_null())
    {
        return Err(Error::field("model_type", family, "not a string", "Send a JSON string, or leave it out"));
    }
    if let Some(Value::String(name)) = fields.get("opt_level") {
        let level = OptLevel::from_name(name)?;
        fields.insert("opt_level".into(), Value::String(format!("{level:?}")));
    }
    if !matches!(fields.get("code"), Some(Value::String(_))) {
        let given = fields.get("code").cloned().unwrap_or_default();
        return Err(Error::field("code", given, "not a string", "Send C or Python source as a JSON string"));
    }
    for (name, value) in fields.iter() {
        let alone = Value::Object([(name.clone(), value.clone())].into_iter().collect());
        serde_json::from_value::<Request>(alone)
            .map_err(|e| Error::field(name, value, e.to_string(), "See the description of the request at /docs"))?;
    }
    let fields = Value::Object(std::mem::take(fields));
    serde_json::from_value(fields).map_err(|e| Error::Internal(e.to_string()))
}

/// Predict what source code costs.
#[utoipa::path(
    post, path = "/predict-compile", tag = "prototype",
    request_body(content = schema::CompileRequest, description = "The code; everything else has a default"),
    responses(
        (status = 200, description = "Counts, cache misses, time and energy", body = CompileAnswer),
        (status = 422, description = "The code cannot be read or known, at which place; or a field is wrong"),
        (status = 429, description = "As many runs as the server does at once are under way"),
    )
)]
async fn predict_compile(State(service): State<Service>, Body(body): Body) -> Result<Json<CompileAnswer>, ApiError> {
    service.accept()?;
    let (_stop, mut progress) = service.start()?;
    blocking(move || {
        let request = read(&body)?;
        Ok(Json(predict(&request, &mut progress).map_err(ApiError::body)?.into()))
    })
    .await
}
