//! What others see of a job.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Refusal;

/// Events of a job.
pub(crate) const EVENT_NAMES: [&str; 4] = ["progress", "done", "failed", "cancelled"];
/// The event that says how many a slow reader has missed.
pub(crate) const MISSED: &str = "missed";
/// The event in place of one that cannot be written.
pub(crate) const BROKEN: &str = "error";

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JobKind {
    /// It runs a recipe.
    Run,
    /// It scores the accesses of a trace.
    Evictions,
}

impl JobKind {
    /// The name in answers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Evictions => "evictions",
        }
    }
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JobStatus {
    /// It waits for its turn.
    Queued,
    /// It is under way.
    Running,
    /// It has a result.
    Done,
    /// It has an error.
    Failed,
    /// Somebody stopped it, or the server shut down.
    Cancelled,
}

impl JobStatus {
    /// The name in answers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing changes any more.
    pub(crate) fn ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }

    /// The name of the event that says so.
    pub(crate) fn event(self) -> &'static str {
        let [progress, done, failed, cancelled] = EVENT_NAMES;
        match self {
            Self::Queued | Self::Running => progress,
            Self::Done => done,
            Self::Failed => failed,
            Self::Cancelled => cancelled,
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct JobProgress {
    /// Steps done.
    pub(super) done: u64,
    /// Steps in all; 0 until that is known.
    pub(super) total: u64,
    /// What comes next.
    #[schema(example = "bounds")]
    pub(super) what: String,
}

/// A job without its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct JobView {
    /// Names it in `/v1/jobs/{id}`.
    pub(crate) id: String,
    /// What it does.
    pub(super) kind: JobKind,
    /// Where it is.
    pub(crate) status: JobStatus,
    /// How far it is.
    pub(super) progress: JobProgress,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Refusal>,
}
