//! Whether the engine can be asked, and which model it says that it has.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{ANSWER_BYTES, Client, chain};
use crate::scoring::cache::{Digest, digest};

/// How long the engine may take to say that it is there: those who ask for health wait a few seconds at most.
const TAKES: Duration = Duration::from_secs(3);
/// For how long it counts that the engine answers: it is not asked more often, however often health is asked for.
const KEPT: Duration = Duration::from_secs(5);
/// For how long it counts that it does not: it may be about to start.
const KEPT_FAILURE: Duration = Duration::from_secs(1);

/// What vLLM and llama.cpp's server say anew with each list of models: the time, and permissions with numbers by chance.
const PASSING: [&str; 2] = ["created", "permission"];

/// What the engine said last, and when.
#[derive(Debug, Default)]
pub(super) struct Probe(Mutex<Option<(Instant, Result<Digest, String>)>>);

impl Client {
    /// Whether the engine answers, as found out within the last seconds. All of them have a list of models; one that
    /// knows no such page is there as well.
    ///
    /// # Errors
    ///
    /// What is wrong: no connection, a fault of the engine, or a key that it does not take.
    pub async fn reachable(&self) -> Result<(), String> {
        self.models().await.map(drop)
    }

    /// Distinguishes its answers from those of any other engine and model, and from those of the model that it had before
    /// under the same name, as far as its list of models tells. None where that cannot be had: then nobody knows whose an
    /// answer is. `anew`: ask it now, rather than take what it said in the last seconds.
    pub async fn identity(&self, anew: bool) -> Option<Digest> {
        if anew {
            *self.probe.0.lock().await = None;
        }
        let models = self.models().await.ok()?;
        let [kind, base, model] = [self.kind().name(), self.base.as_str(), self.model()].map(str::as_bytes);
        Some(digest([kind, base, model, &models]))
    }

    /// A digest of what it says of its models.
    async fn models(&self) -> Result<Digest, String> {
        let mut known = self.probe.0.lock().await;
        if let Some((when, answer)) = &*known
            && when.elapsed() < if answer.is_ok() { KEPT } else { KEPT_FAILURE }
        {
            return answer.clone();
        }
        let answer = self.ask_for_models().await;
        let news = known.as_ref().is_none_or(|(_, before)| *before != answer);
        if let (Err(problem), true) = (&answer, news) {
            tracing::warn!(problem, "the engine does not answer");
        }
        *known = Some((Instant::now(), answer.clone()));
        answer
    }

    async fn ask_for_models(&self) -> Result<Digest, String> {
        let url = self.base.join("v1/models").map_err(|e| e.to_string())?;
        let sent = self.http.get(url).timeout(TAKES).send().await;
        let unreachable = |error: reqwest::Error| format!("{}: {}", self.base, chain(&error.without_url()));
        let mut response = sent.map_err(unreachable)?;
        match response.status() {
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(format!("{}: {status}. Give its key in ACCEL_REMOTE_API_KEY", self.base))
            }
            status if status.is_server_error() => Err(format!("{}: {status}. Wait until it is ready", self.base)),
            status if !status.is_success() => Ok(of_models(&[])),
            _ => {
                let mut said = Vec::new();
                while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
                    if said.len() + chunk.len() > ANSWER_BYTES {
                        return Err(format!("{}v1/models: more than {ANSWER_BYTES} bytes", self.base));
                    }
                    said.extend_from_slice(&chunk);
                }
                Ok(of_models(&said))
            }
        }
    }
}

/// A digest of a list of models, without what is another one each time; where it is no JSON, of nothing.
fn of_models(said: &[u8]) -> Digest {
    fn steady(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| !PASSING.contains(&name.as_str()));
                fields.values_mut().for_each(steady);
            }
            Value::Array(list) => list.iter_mut().for_each(steady),
            _ => {}
        }
    }
    let mut said: Value = serde_json::from_slice(said).unwrap_or_default();
    steady(&mut said);
    digest([said.to_string().as_bytes()])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The lists of vLLM 0.11 and of llama.cpp's server.
    #[test]
    fn a_list_of_models_says_the_same_until_the_model_is_another() {
        let vllm = |created: u64, root: &str| {
            let permission = json!([{"id": format!("modelperm-{created}"), "created": created}]);
            let model = json!({"id": "m", "created": created, "root": root, "permission": permission});
            of_models(json!({"object": "list", "data": [model]}).to_string().as_bytes())
        };
        assert_eq!(vllm(1, "/models/a"), vllm(2, "/models/a"));
        assert_ne!(vllm(1, "/models/a"), vllm(1, "/models/b"));
        let llama_cpp = |created: u64, parameters: u64| {
            let meta = json!({"n_params": parameters, "size": 1000, "n_vocab": 32000});
            let said = json!({"object": "list", "data": [{"id": "m", "created": created, "meta": meta}]});
            of_models(said.to_string().as_bytes())
        };
        assert_eq!(llama_cpp(1, 7), llama_cpp(2, 7));
        assert_ne!(llama_cpp(1, 7), llama_cpp(1, 8));
        assert_eq!(of_models(b"<html>"), of_models(b""));
    }
}
