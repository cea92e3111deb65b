//! Whether the engine can be asked.

use std::time::Duration;

use reqwest::StatusCode;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Client, chain};

/// How long the engine may take to say that it is there: those who ask for health wait a few seconds at most.
const TAKES: Duration = Duration::from_secs(3);
/// For how long it counts that the engine answers: it is not asked more often, however often health is asked for.
const KEPT: Duration = Duration::from_secs(5);
/// For how long it counts that it does not: it may be about to start.
const KEPT_FAILURE: Duration = Duration::from_secs(1);

/// What the engine said last, and when.
#[derive(Debug, Default)]
pub(super) struct Probe(Mutex<Option<(Instant, Result<(), String>)>>);

impl Client {
    /// Whether the engine answers, as found out within the last seconds. All of them have a list of models; one that
    /// knows no such page is there as well.
    ///
    /// # Errors
    ///
    /// What is wrong: no connection, a fault of the engine, or a key that it does not take.
    pub async fn reachable(&self) -> Result<(), String> {
        let mut known = self.probe.0.lock().await;
        if let Some((when, answer)) = &*known
            && when.elapsed() < if answer.is_ok() { KEPT } else { KEPT_FAILURE }
        {
            return answer.clone();
        }
        let answer = self.ask_whether_it_is_there().await;
        let news = known.as_ref().is_none_or(|(_, before)| *before != answer);
        if let (Err(problem), true) = (&answer, news) {
            tracing::warn!(problem, "the engine does not answer");
        }
        *known = Some((Instant::now(), answer.clone()));
        answer
    }

    async fn ask_whether_it_is_there(&self) -> Result<(), String> {
        let url = self.base.join("v1/models").map_err(|e| e.to_string())?;
        let sent = self.http.get(url).timeout(TAKES).send().await;
        let status = sent.map_err(|error| format!("{}: {}", self.base, chain(&error.without_url())))?.status();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(format!("{}: {status}. Give its key in ACCEL_REMOTE_API_KEY", self.base))
            }
            status if status.is_server_error() => Err(format!("{}: {status}. Wait until it is ready", self.base)),
            _ => Ok(()),
        }
    }
}
