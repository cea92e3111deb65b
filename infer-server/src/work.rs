//! What requests and jobs have in common: running a recipe, scoring a trace.

use accel_core::progress::Progress;
use accel_core::recipe::Recipe;
use accel_core::run::{self, Job, Outcome};
use accel_core::score::{BuiltIn, prompt};
use accel_core::trace::Trace;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::input::trace_of;
use crate::scoring::trace::{Source, TraceScores};
use crate::scoring::{Patience, ScoreError, Scoring};

/// Runs `work` on a thread where it does not hold up other requests.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => ApiError::panicked(&*panic),
        Err(error) => ApiError::Server(error.to_string()),
    })?
}

/// Runs `recipe` with scores by whom it names, or else of the server's model, where a policy reads them; `asked` is called
/// with how far the model is.
pub(crate) async fn run(
    scoring: &Scoring,
    recipe: Recipe,
    mut progress: impl Progress + Send + 'static,
    patience: Patience,
    asked: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<(Outcome, Option<Source>), ApiError> {
    if !recipe.reads_scores() {
        return blocking(move || Ok((run::run(&recipe, &mut progress).map_err(ApiError::body)?, None))).await;
    }
    if let Some(scorer) = recipe.scorer {
        let source = Source { scorer: scorer.name(), model: None, fallback_reason: None };
        return blocking(move || Ok((run::run(&recipe, &mut progress).map_err(ApiError::body)?, Some(source)))).await;
    }
    let (recipe, trace) = blocking(move || {
        recipe.check().map_err(ApiError::body)?;
        let trace = recipe.trace(None).map_err(ApiError::body)?;
        Ok((recipe, trace))
    })
    .await?;
    let (trace, scored) = scoring.score_trace(trace, BuiltIn::default(), patience, asked).await?;
    blocking(move || {
        let job = Job::with_scores(&recipe, Some(trace), Some(scored.scores)).map_err(ApiError::body)?;
        let outcome = run::run_to_end(job, &mut progress).map_err(ApiError::body)?;
        Ok((outcome, Some(scored.source)))
    })
    .await
}

/// The score of one access.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Eviction {
    /// The tensor's name.
    #[schema(example = "Q_0")]
    tensor_id: String,
    /// From 0 (keep) to 1 (evict first).
    eviction_score: f64,
    /// The probability that the model said a digit at all; null where no model was asked or the engine does not say.
    label_mass: Option<f64>,
    /// Entropy of the digits in nats; null where no model was asked.
    entropy: Option<f64>,
}

/// Scores of a trace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Evictions {
    /// Who scored.
    #[serde(flatten)]
    pub(crate) source: Source,
    /// The version of the question; null where no model was asked.
    prompt_version: Option<u32>,
    /// Distinct questions among the accesses; null where no model was asked.
    prompts: Option<usize>,
    /// One per access, in order.
    accesses: Vec<Eviction>,
}

impl Evictions {
    fn new(trace: &Trace, scored: TraceScores) -> Self {
        let TraceScores { scores, source, certainty, prompts } = scored;
        let sure = |access: usize| certainty.as_ref().and_then(|all| all.get(access));
        let accesses = (trace.accesses().iter().zip(scores.values.iter()).enumerate())
            .map(|(access, (tensor, score))| Eviction {
                tensor_id: trace.tensors()[*tensor as usize].name.to_string(),
                eviction_score: *score,
                label_mass: sure(access).and_then(|sure| sure.label_mass),
                entropy: sure(access).map(|sure| sure.entropy),
            })
            .collect();
        let prompt_version = prompts.map(|_| prompt::VERSION);
        Self { source, prompt_version, prompts, accesses }
    }
}

/// Scores every access of the trace that `body` asks for.
pub(crate) async fn score_accesses(
    scoring: &Scoring,
    body: Vec<u8>,
    patience: Patience,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Evictions, ApiError> {
    let most = scoring.limits().accesses;
    let trace = blocking(move || trace_of(&body)).await?;
    if trace.accesses().len() > most {
        let problem = format!("a trace of {} accesses, and the limit is {most}", trace.accesses().len());
        let cure = "Choose larger tiles, fewer tokens or fewer layers".to_owned();
        return Err(ScoreError::TooLarge { problem, cure }.into());
    }
    let (trace, scored) = scoring.score_trace(trace, BuiltIn::Heuristic, patience, progress).await?;
    blocking(move || Ok(Evictions::new(&trace, scored))).await
}
