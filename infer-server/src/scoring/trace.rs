//! Scores of every access of a trace, by the model if there is one.

use std::sync::Arc;

use accel_core::score::prompt::{self, Questions};
use accel_core::score::{BuiltIn, Scorer, Scores};
use accel_core::trace::Trace;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Patience, ScoreError, ScoreRequest, Scoring, blocking};

/// Why no model scores.
const NO_MODEL: &str = "no model is loaded";
/// Prompts that a job asks at a time.
const JOB_ITEMS: usize = 256;

/// Who made scores, and why it was not a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Source {
    /// `heuristic`, `history`, `embedded`, `local` or `remote`.
    #[schema(example = "heuristic")]
    pub scorer: &'static str,
    /// The model's name.
    pub model: Option<String>,
    /// Why no model scored, where one was wanted.
    #[schema(example = "no model is loaded")]
    pub fallback_reason: Option<&'static str>,
}

/// How sure the model was of an access.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Certainty {
    /// The probability that it said a digit at all, where that is known.
    pub label_mass: Option<f64>,
    /// In nats.
    pub entropy: f64,
}

/// The scores of a trace.
#[derive(Debug, Clone)]
pub struct TraceScores {
    /// One per access.
    pub scores: Scores,
    /// Who made them.
    pub source: Source,
    /// One per access, if a model was asked.
    pub certainty: Option<Vec<Certainty>>,
    /// Distinct prompts among the accesses, if a model was asked.
    pub prompts: Option<usize>,
}

impl Scoring {
    /// Scores every access; `progress` is called with how many distinct prompts of how many are answered.
    ///
    /// `without` answers only where the server has no model at all. A model that cannot answer is an error: numbers
    /// of another scorer would look like its own.
    pub async fn score_trace(
        &self,
        trace: Trace,
        without: BuiltIn,
        patience: Patience,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<(Trace, TraceScores), ScoreError> {
        let (accesses, most) = (trace.accesses().len(), self.limits().accesses);
        if self.scorer() == Scorer::Heuristic {
            return blocking(move || {
                let scores = without.scores(&trace);
                let source = Source { scorer: scores.scorer.name(), model: None, fallback_reason: Some(NO_MODEL) };
                (trace, TraceScores { scores, source, certainty: None, prompts: None })
            })
            .await;
        }
        if accesses > most {
            let problem = format!("a trace of {accesses} accesses, and the limit is {most}");
            return Err(ScoreError::too_large(problem, "Choose larger tiles, fewer tokens or fewer layers"));
        }
        let (trace, questions) = blocking(move || {
            let questions = Questions::of(&trace);
            (trace, questions)
        })
        .await?;
        let (total, most) = (questions.items.len(), self.limits().items);
        let piece = match patience {
            Patience::Job => JOB_ITEMS.min(most),
            Patience::Until(_) if total > most => {
                let problem = format!("a trace with {total} distinct prompts, and the limit of one request is {most}");
                return Err(ScoreError::too_large(problem, "Run it as a job (POST /v1/jobs), or raise --max-items"));
            }
            Patience::Until(_) => most,
        };
        let labels: Vec<String> = prompt::LABELS.map(str::to_owned).to_vec();
        let mut answers = Vec::with_capacity(total);
        progress(0, total as u64);
        for items in questions.items.chunks(piece.max(1)) {
            let request = ScoreRequest { query: prompt::prefix(), items: items.to_vec(), labels: labels.clone() };
            for item in self.score(request, patience).await? {
                let probabilities = item.probabilities.as_slice().try_into();
                let probabilities: &[f64; 10] =
                    probabilities.map_err(|_| ScoreError::Model("an answer without ten digits".into()))?;
                let certainty = Certainty { label_mass: item.label_mass, entropy: item.entropy };
                answers.push((prompt::score(probabilities), certainty));
            }
            progress(answers.len() as u64, total as u64);
        }
        let each = questions.of_accesses(&answers).map_err(|error| ScoreError::Model(error.to_string()))?;
        let (values, certainty): (Vec<f64>, Vec<Certainty>) = each.into_iter().unzip();
        let scores = Scores { values: Arc::from(values), scorer: self.scorer() };
        let source = Source { scorer: scores.scorer.name(), model: self.model(), fallback_reason: None };
        Ok((trace, TraceScores { scores, source, certainty: Some(certainty), prompts: Some(total) }))
    }
}
