//! The prototype's REST API, unchanged: requests, answers and keys are those its clients know.

use accel_core::import::prototype_csv::{Record, records};
use accel_core::memory::{Cost, Memory, PROTOTYPE_CAPACITY_BYTES};
use accel_core::policy::PolicySpec;
use accel_core::progress::Unattended;
use accel_core::recipe::{FileSource, Recipe, Workload};
use accel_core::rules::AdmissionSpec;
use accel_core::run::{Details, Job, Plan, run_to_end};
use accel_core::score::{BuiltIn, Scores};
use accel_core::trace::Trace;
use accel_core::units::parse_bytes;
use accel_core::validate::realism::{Realism, Reference, realism};
use accel_core::validate::{self, profile};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, PartialSchema as _, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::http::{Body, Service, parameters, scorer_headers};
use crate::input::TraceInput;
use crate::schema;
use crate::scoring::trace::{Source, TraceScores};
use crate::work::blocking;

/// The endpoints.
pub(crate) fn router() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(generate_trace))
        .routes(routes!(predict_schedule))
        .routes(routes!(simulate_policy))
        .routes(routes!(validate_trace))
}

/// A record whose score somebody made.
#[derive(Debug, Serialize)]
struct ScoredRecord {
    #[serde(flatten)]
    record: Record,
    /// Who made it.
    scorer: &'static str,
}

/// What a policy did, in the prototype's keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Metrics)]
pub(crate) struct PolicyMetrics {
    /// Accesses that found their tensor in the cache.
    #[serde(rename = "cache_hits (count)")]
    cache_hits: u64,
    /// Accesses that went to DRAM; with the hits, all accesses.
    #[serde(rename = "dram_accesses (count)")]
    dram_accesses: u64,
    /// Time of all accesses, one after the other.
    #[serde(rename = "total_latency (ms)")]
    total_latency: f64,
    /// Tensors evicted to make room.
    #[serde(rename = "evictions (count)")]
    evictions: u64,
    /// The part of the latency that waits for DRAM bandwidth.
    #[serde(rename = "bandwidth_wait_time (ms)")]
    bandwidth_wait_time: f64,
    /// Hits in percent of accesses, with two decimals.
    #[serde(rename = "cache_hit_rate (%)")]
    cache_hit_rate: f64,
    /// The policy.
    #[schema(example = "lru")]
    policy: String,
    /// Capacity in bytes.
    capacity_bytes: u64,
    /// Bytes of the hits.
    hit_bytes: u64,
    /// Bytes of the misses: what DRAM delivers.
    miss_bytes: u64,
    /// Misses whose tensor was not kept: it was too large, or its own victim.
    bypassed: u64,
    /// Misses of tensors larger than the capacity, which are never admitted; part of `bypassed`.
    oversize: u64,
    /// Which missed tensors come in.
    #[schema(example = "always")]
    admission: String,
    /// No schedule has fewer misses than this.
    lower_bound_misses: Option<u64>,
    /// Misses of the best schedule known.
    best_known_misses: Option<u64>,
    /// How much of the way from LRU's misses to those of the best schedule known the policy goes; null where LRU is
    /// the best known.
    gap_closed: Option<f64>,
    /// The same ratio for bytes missed.
    byte_gap_closed: Option<f64>,
    /// Who made the scores that the policy read, if it read any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::ScorerName>)]
    scorer: Option<&'static str>,
    /// The model, if one was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// Why it was not a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback_reason: Option<&'static str>,
}

/// Whether a trace matches the laws of its generator.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValidationAnswer {
    /// p-value of the reuse counts against Binomial(5, reuse_probability); null where the trace is too small.
    #[serde(rename = "reuse_distribution_p_value (chi-square)")]
    reuse_p_value: Option<f64>,
    /// Exact p-value of the tensor sizes against 4, 8, 16, 32 MB with equal probability.
    #[serde(rename = "tensor_size_distribution_p_value (KS-test)")]
    size_p_value: Option<f64>,
    /// The verdict in words.
    interpretation: String,
    /// The trace beside a reference profile, if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Realism>)]
    realism: Option<Realism>,
}

/// How to test.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ValidateQuery {
    /// A reference profile to lay beside the trace; none if left out.
    #[param(schema_with = schema::Profile::schema)]
    reference: Option<String>,
}

/// Draw a synthetic trace.
#[utoipa::path(
    post, path = "/generate-trace", tag = "prototype",
    request_body(content = schema::TraceInput, description = "The workload; `{}` or nothing for the defaults"),
    responses((status = 200, description = "The trace, in order", body = [schema::TraceRecord]))
)]
async fn generate_trace(Body(body): Body) -> Result<Json<Vec<Record>>, ApiError> {
    blocking(move || {
        let TraceInput { trace, .. } = TraceInput::read(&body)?;
        Ok(Json(records(&trace, None).collect()))
    })
    .await
}

/// Score every access of a trace.
#[utoipa::path(
    post, path = "/predict-schedule", tag = "prototype",
    request_body(content = schema::TraceInput, description = "The workload, or the records of a trace; nothing for the defaults"),
    responses(
        (status = 200, description = "The trace with scores", body = [schema::ScoredRecord], headers(
            ("x-scorer" = String, description = "Who made the scores"),
            ("x-model" = String, description = "The model, if one was asked"),
            ("x-fallback-reason" = String, description = "Why it was not a model"),
        )),
        (status = 413, description = "More bytes, or distinct questions to the model, than one request may have"),
        (status = 429, description = "The model's queue is full"),
        (status = 502),
        (status = 503),
        (status = 504),
    )
)]
async fn predict_schedule(
    State(service): State<Service>,
    Body(body): Body,
) -> Result<(HeaderMap, Json<Vec<ScoredRecord>>), ApiError> {
    let TraceInput { trace, .. } = blocking(move || TraceInput::read(&body)).await?;
    let (trace, TraceScores { scores, source, .. }) = scores(&service, trace).await?;
    blocking(move || {
        let scored = |record| ScoredRecord { record, scorer: source.scorer };
        Ok((scorer_headers(&source), Json(records(&trace, Some(&scores)).map(scored).collect())))
    })
    .await
}

/// The scores of a trace, for someone who waits.
async fn scores(service: &Service, trace: Trace) -> Result<(Trace, TraceScores), ApiError> {
    service.accept()?;
    Ok(service.scoring.score_trace(trace, BuiltIn::Heuristic, service.scoring.patience(), &|_, _| {}).await?)
}

/// How to simulate.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SimulateQuery {
    /// The policy, with parameters where they are not the defaults, as in `slru(segments=2)`; case does not matter, and
    /// `lru` if left out.
    #[param(schema_with = schema::Policy::schema)]
    policy: Option<String>,
    /// Capacity, such as `128MiB`; the prototype's 64 MB if left out.
    #[param(schema_with = schema::Capacity::schema)]
    capacity: Option<String>,
    /// Which missed tensors come in: `always` (all that fit), `bypass`, `size(most=64KiB)` …; always if left out.
    #[param(schema_with = schema::Admission::schema)]
    admission: Option<String>,
}

/// Run a policy over a trace.
#[utoipa::path(
    post, path = "/simulate", tag = "prototype", params(SimulateQuery),
    request_body(content = schema::TraceInput, description = "The workload, or the records of a trace; nothing for the defaults"),
    responses(
        (status = 200, description = "What the policy did", body = PolicyMetrics, headers(
            ("x-scorer" = String, description = "Who made the scores, where the policy reads them"),
            ("x-model" = String, description = "The model, if one was asked"),
            ("x-fallback-reason" = String, description = "Why it was not a model"),
        )),
        (status = 413, description = "More bytes, or distinct questions to the model, than one request may have"),
        (status = 502),
        (status = 503),
        (status = 504),
    )
)]
async fn simulate_policy(
    State(service): State<Service>,
    query: Result<Query<SimulateQuery>, QueryRejection>,
    Body(body): Body,
) -> Result<(HeaderMap, Json<PolicyMetrics>), ApiError> {
    let query = parameters(query, "Give policy, capacity and admission at most once each, and nothing else")?;
    let (policy, memory) = simulation(&query)?;
    let TraceInput { trace, .. } = blocking(move || TraceInput::read(&body)).await?;
    if policy.info().scored() {
        let (trace, TraceScores { scores, source, .. }) = scores(&service, trace).await?;
        let headers = scorer_headers(&source);
        let Source { scorer, model, fallback_reason } = source;
        blocking(move || {
            let metrics = simulate_now(policy, memory, trace, Some(scores))?;
            Ok((headers, Json(PolicyMetrics { scorer: Some(scorer), model, fallback_reason, ..metrics })))
        })
        .await
    } else {
        blocking(move || Ok((HeaderMap::new(), Json(simulate_now(policy, memory, trace, None)?)))).await
    }
}

/// What the query asks for.
fn simulation(query: &SimulateQuery) -> Result<(PolicySpec, Memory), ApiError> {
    let policy = PolicySpec::parse(query.policy.as_deref().unwrap_or("lru")).map_err(ApiError::query)?;
    let capacity_bytes = match &query.capacity {
        None => PROTOTYPE_CAPACITY_BYTES,
        Some(size) => parse_bytes("capacity", size).map_err(ApiError::query)?,
    };
    let mut memory = Memory { cost: Cost::Prototype, ..Memory::new(capacity_bytes) };
    if let Some(admission) = &query.admission {
        memory.admission = AdmissionSpec::parse(admission).map_err(ApiError::query)?;
    }
    memory.check().map_err(ApiError::query)?;
    Ok((policy, memory))
}

fn simulate_now(
    policy: PolicySpec,
    memory: Memory,
    trace: Trace,
    scores: Option<Scores>,
) -> Result<PolicyMetrics, ApiError> {
    let (capacity_bytes, admission) = (memory.capacity_bytes, memory.admission.name());
    let workload = Workload::File(FileSource::named("body"));
    let recipe = Recipe { workload, memory, policies: vec![policy], ..Recipe::default() };
    let plan = Plan::new(&recipe, Some(trace), scores, Details::REPORTS).map_err(ApiError::body)?;
    let outcome = run_to_end(Job::of(plan), &mut Unattended).map_err(ApiError::body)?;
    let bounds = outcome.bounds.map(|bounds| bounds.misses);
    let report = outcome.runs.into_iter().next().ok_or_else(|| ApiError::Server("a run without a report".into()))?;
    let by_prototype = |ms: Option<f64>| ms.ok_or_else(|| ApiError::Server("the prototype's time is missing".into()));
    Ok(PolicyMetrics {
        cache_hits: report.hits,
        dram_accesses: report.misses,
        total_latency: by_prototype(report.total_latency_ms)?,
        evictions: report.evictions,
        bandwidth_wait_time: by_prototype(report.bandwidth_wait_ms)?,
        cache_hit_rate: (report.hit_ratio() * 10_000.0).round() / 100.0,
        policy: policy.name(),
        capacity_bytes,
        hit_bytes: report.hit_bytes,
        miss_bytes: report.miss_bytes,
        bypassed: report.bypassed,
        oversize: report.oversize,
        admission,
        lower_bound_misses: bounds.as_ref().map(|range| range.lower),
        best_known_misses: bounds.as_ref().map(|range| range.upper),
        gap_closed: report.gap_closed,
        byte_gap_closed: report.byte_gap_closed,
        scorer: None,
        model: None,
        fallback_reason: None,
    })
}

/// Test a trace against the laws of its generator, and beside traces of real models.
#[utoipa::path(
    post, path = "/validate-trace", tag = "prototype", params(ValidateQuery),
    request_body(content = schema::TraceInput, description = "The workload, or the records of a trace; nothing for the defaults"),
    responses((status = 200, description = "How well it matches", body = ValidationAnswer))
)]
async fn validate_trace(
    query: Result<Query<ValidateQuery>, QueryRejection>,
    Body(body): Body,
) -> Result<Json<ValidationAnswer>, ApiError> {
    let query = parameters(query, "Give reference at most once, and nothing else")?;
    blocking(move || {
        let profile = query.reference.as_deref().map(profile::find).transpose().map_err(ApiError::query)?;
        let TraceInput { trace, reuse_probability } = TraceInput::read(&body)?;
        let beside = profile.map(|profile| realism(&trace, Reference::Profile(profile)));
        let realism = beside.transpose().map_err(ApiError::body)?;
        let validation = validate::synthetic(&trace, reuse_probability).map_err(ApiError::body)?;
        Ok(Json(ValidationAnswer {
            reuse_p_value: validation.reuse.p_value,
            size_p_value: validation.size.p_value,
            interpretation: validation.interpretation,
            realism,
        }))
    })
    .await
}
