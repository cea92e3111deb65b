//! A model behind another server: [`vllm`] (and a Ray Serve cluster, which speaks the same), [`llama_cpp`]'s own server, and
//! any [`openai`] completions endpoint that gives log probabilities by text, such as llama-cpp-python's.
//!
//! This file is what they share: one HTTP client with limits, retries and an API key.

pub mod llama_cpp;
pub mod openai;
mod probe;
pub mod vllm;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use accel_core::closed;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, KeyValue};
use reqwest::{StatusCode, Url, header, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::cache::{Digest, digest};
use super::{Asked, Limits, Patience, Row, ScoreError};
use crate::metrics::Metrics;
use crate::traces::{Span, handed_on};

/// The most bytes of an answer: all tokens of a large vocabulary with their texts take about 10 MB.
const ANSWER_BYTES: usize = 64 << 20;
/// The first pause before a call is repeated; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause, whatever the engine asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How much of an engine's complaint is passed on.
const COMPLAINT: usize = 300;

closed! {
    /// What the engine speaks.
    pub enum Kind("remote_kind", "kind of engine") {
        /// vLLM, or Ray Serve LLM.
        Vllm = "vllm" titled "vLLM, or Ray Serve LLM",
        /// llama.cpp's `llama-server`.
        LlamaCpp = "llama-cpp" titled "llama.cpp's llama-server",
        /// An OpenAI-compatible completions endpoint, such as llama-cpp-python's.
        Openai = "openai" titled "An OpenAI-compatible completions endpoint, such as llama-cpp-python's",
    }
}

/// How to reach an engine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its address, such as `http://127.0.0.1:8080`.
    pub url: String,
    /// What it speaks.
    pub kind: Kind,
    /// The model's name there.
    pub model: String,
    /// Sent as a bearer token.
    pub key: Option<Secret>,
    /// Calls at once.
    pub concurrency: usize,
    /// How long one call may take.
    pub timeout: Duration,
    /// How often a call is repeated.
    pub retries: u32,
}

/// Keeps a key out of logs.
#[derive(Clone)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A client of one engine.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    options: Options,
    calls: Semaphore,
    /// Items asked or waiting, and how many may be.
    items: (AtomicUsize, usize),
    /// What the engine was found to understand.
    vllm: vllm::Dialect,
    /// The tokens of labels after endings of items.
    labels: Mutex<HashMap<Digest, Vec<u32>>>,
    probe: probe::Probe,
    metrics: Metrics,
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("--remote {url}: {problem}")]
pub struct OptionsError {
    url: String,
    problem: String,
}

/// Counts items while they are asked.
struct Place<'a>(&'a AtomicUsize, usize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// Why a call has no answer, and whether the same call may have one later.
enum Failure {
    Final(ScoreError),
    /// The engine refused the request as such: it may not know a field.
    Refused(StatusCode, String),
    Passing {
        error: ScoreError,
        pause: Option<Duration>,
    },
}

impl Client {
    /// A client; nothing is asked yet.
    pub fn new(mut options: Options, limits: &Limits, metrics: Metrics) -> Result<Self, OptionsError> {
        // What stands before the host is a secret.
        let url = options.url.rsplit_once('@').map_or_else(|| options.url.clone(), |(_, host)| format!("…@{host}"));
        let fault = |problem: String| OptionsError { url: url.clone(), problem };
        let mut base = Url::parse(&options.url).map_err(|e| fault(format!("{e}. Write it as http://host:port")))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(fault("not an HTTP address. Write it as http://host:port or https://host".into()));
        }
        // So that joining keeps the path, and `…/v1`, which other tools want, means the same.
        let path = base.path().trim_end_matches('/');
        let path = format!("{}/", path.strip_suffix("/v1").unwrap_or(path));
        base.set_path(&path);
        base.set_query(None);
        base.set_fragment(None);
        let mut headers = header::HeaderMap::new();
        // reqwest makes the header of what stands before the host; from here on the address does without.
        let first = accel_model::client::builder().build().and_then(|http| http.get(base.clone()).build());
        let first = first.map_err(|e| fault(e.without_url().to_string()))?;
        if let Some(value) = first.headers().get(header::AUTHORIZATION) {
            if options.key.is_some() {
                return Err(fault("a name or password in it, and a key beside it. Leave one of them out".into()));
            }
            let mut value = value.clone();
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        base = first.url().clone();
        options.url = base.to_string();
        if let Some(Secret(key)) = &options.key {
            let mut value: header::HeaderValue = format!("Bearer {key}")
                .parse()
                .map_err(|_| fault("its key holds characters that no header takes".into()))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let http = accel_model::client::builder()
            .default_headers(headers)
            .timeout(options.timeout)
            .connect_timeout(options.timeout.min(Duration::from_secs(10)))
            // A key must not follow to where an engine points.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|e| fault(e.to_string()))?;
        Ok(Self {
            http,
            base,
            calls: Semaphore::new(options.concurrency.max(1)),
            items: (AtomicUsize::new(0), limits.queue_items),
            vllm: vllm::Dialect::default(),
            labels: Mutex::default(),
            probe: probe::Probe::default(),
            options,
            metrics,
        })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.options.model
    }

    /// What the engine speaks.
    pub fn kind(&self) -> Kind {
        self.options.kind
    }

    /// The engine's address.
    pub fn url(&self) -> &str {
        self.base.as_str()
    }

    fn labels(&self) -> MutexGuard<'_, HashMap<Digest, Vec<u32>>> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows of the distinct items `wanted`, in that order.
    pub(crate) async fn rows(
        &self,
        asked: &Arc<Asked>,
        wanted: &[usize],
        patience: Patience,
    ) -> Result<Vec<Row>, ScoreError> {
        let _place = self.place(wanted.len(), patience).await?;
        let rows = match self.kind() {
            Kind::Vllm => vllm::rows(self, asked, wanted).await?,
            Kind::LlamaCpp => llama_cpp::rows(self, asked, wanted).await?,
            Kind::Openai => openai::rows(self, asked, wanted).await?,
        };
        match rows.iter().zip(wanted).find_map(|(row, item)| Some((row.fault()?, *item))) {
            Some((fault, item)) => Err(self.fault("", format!("it answers {} with {fault}", asked.place(item)))),
            None => Ok(rows),
        }
    }

    /// A place for so many items, once there is one.
    async fn place(&self, items: usize, patience: Patience) -> Result<Place<'_>, ScoreError> {
        let (taken, most) = &self.items;
        loop {
            let free = |now: usize| (now == 0 || now + items <= *most).then_some(now + items);
            if taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).is_ok() {
                return Ok(Place(taken, items));
            }
            match patience {
                Patience::Until(_) => return Err(ScoreError::Busy(Duration::from_secs(1))),
                Patience::Job => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Asks `ask` for each of `wanted`, so many at once as there may be calls; the answers in order.
    async fn each<T, F: Future<Output = Result<T, ScoreError>>>(
        &self,
        wanted: &[usize],
        ask: impl Fn(usize) -> F,
    ) -> Result<Vec<T>, ScoreError> {
        let calls = wanted.iter().map(|item| ask(*item)).collect::<Vec<_>>();
        stream::iter(calls).buffered(self.options.concurrency.max(1)).try_collect().await
    }

    /// Posts `body` to `path`, again where the failure may pass; what the engine refuses is an error.
    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ScoreError> {
        match self.try_post(path, body).await? {
            Ok(answer) => Ok(answer),
            Err((status, complaint)) => Err(self.fault(path, format!("{status}: {complaint}"))),
        }
    }

    /// The same call; what the engine refuses (a status of 400, 404 or 422) is an answer of its own.
    async fn try_post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Result<T, (StatusCode, String)>, ScoreError> {
        let mut pause = FIRST_PAUSE;
        let mut attempt = 0;
        loop {
            let (error, asked_for) = match self.call(path, body).await {
                Ok(answer) => return Ok(Ok(answer)),
                Err(Failure::Refused(status, complaint)) => return Ok(Err((status, complaint))),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing { error, pause }) => (error, pause),
            };
            if attempt == self.options.retries {
                return Err(error);
            }
            attempt += 1;
            self.metrics.remote_retries.inc();
            let wait = asked_for.unwrap_or_else(|| jittered(pause)).min(LONGEST_PAUSE);
            tracing::warn!(%error, attempt, wait_ms = wait.as_millis() as u64, "asking the engine again");
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn call<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let attributes = vec![
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("server.address", self.base.host_str().unwrap_or_default().to_owned()),
            KeyValue::new("server.port", i64::from(self.base.port_or_known_default().unwrap_or_default())),
            KeyValue::new("url.full", format!("{}{path}", self.base)),
        ];
        let span = Span::begin(&Context::current(), SpanKind::Client, "POST".to_owned(), attributes);
        let answer = self.call_in(&span, path, body).await;
        match &answer {
            Ok(_) => {}
            Err(Failure::Refused(status, _)) => span.fail(status),
            Err(Failure::Final(error) | Failure::Passing { error, .. }) => span.fail(error),
        }
        answer
    }

    /// The same call, whose span the engine is told of.
    async fn call_in<T: DeserializeOwned>(&self, span: &Span, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let url = self.base.join(path).map_err(|e| Failure::Final(self.fault(path, e.to_string())))?;
        let _permit = self.calls.acquire().await.map_err(|_| Failure::Final(ScoreError::Cancelled))?;
        let passing = |problem: String| Failure::Passing { error: self.fault(path, problem), pause: None };
        let sent = self.http.post(url).headers(handed_on(span.context())).json(body).send().await;
        let mut response = sent.map_err(|error| passing(chain(&error)))?;
        let status = response.status();
        span.set(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        let retry_after =
            response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut bytes = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| passing(format!("cut short: {}", chain(&error))))?
        {
            if bytes.len() + chunk.len() > ANSWER_BYTES {
                return Err(Failure::Final(self.fault(path, format!("more than {ANSWER_BYTES} bytes"))));
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|e| {
                Failure::Final(self.fault(path, format!("an answer that is not what it should be: {e}")))
            });
        }
        let complaint: String = String::from_utf8_lossy(&bytes).chars().take(COMPLAINT).collect();
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let pause = retry_after.map(Duration::from_secs);
                let retry_after = pause.unwrap_or(Duration::from_secs(1));
                let reason = format!("{} is busy or not ready ({status}: {complaint})", self.base);
                Err(Failure::Passing { error: ScoreError::Unavailable { reason, retry_after }, pause })
            }
            StatusCode::REQUEST_TIMEOUT => Err(passing(format!("{status}: {complaint}"))),
            status if status.is_server_error() => Err(passing(format!("{status}: {complaint}"))),
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY => {
                Err(Failure::Refused(status, complaint))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let cure = "Give its key in ACCEL_REMOTE_API_KEY";
                Err(Failure::Final(self.fault(path, format!("{status}: {complaint}. {cure}"))))
            }
            status => Err(Failure::Final(self.fault(path, format!("{status}: {complaint}")))),
        }
    }

    fn fault(&self, path: &str, problem: impl std::fmt::Display) -> ScoreError {
        ScoreError::Remote(format!("{}{path}: {problem}", self.base))
    }
}

/// An error with what caused it: the first one alone says only which address failed.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Between half of `pause` and all of it, so that clients that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let chance = RandomState::new().hash_one(Instant::now()) % 1000;
    pause.mul_f64(0.5 + chance as f64 / 2000.0)
}

/// A row of the labels' log probabilities, each by its key, or the first label that has none: a share that was rounded
/// to zero is none.
fn row_of<K>(labels: &[K], of_vocabulary: bool, log_prob: impl Fn(&K) -> Option<f32>) -> Result<Row, usize> {
    let values =
        labels.iter().enumerate().map(|(i, label)| log_prob(label).filter(|p| *p != f32::NEG_INFINITY).ok_or(i));
    Ok(Row { log_probs: values.collect::<Result<_, _>>()?, of_vocabulary })
}

/// The token of each label: the one that it adds after an item, and the same one after all of them.
///
/// `encode` asks the engine; it is called with an item of each ending, and with each label after it, once.
async fn label_tokens<F: Future<Output = Result<Vec<u32>, ScoreError>>>(
    client: &Client,
    asked: &Asked,
    encode: impl Fn(String) -> F,
) -> Result<Vec<u32>, ScoreError> {
    let names = &asked.request.labels;
    let mut known: Option<Vec<u32>> = None;
    for (ending, item) in asked.endings().take(ENDINGS) {
        let parts = [ending].into_iter().chain(names.iter().map(String::as_str));
        let key = digest(parts.map(str::as_bytes));
        let remembered = client.labels().get(&key).cloned();
        let tokens = match remembered {
            Some(tokens) => tokens,
            None => {
                let context = if item.is_empty() { asked.request.query.as_str() } else { item };
                let tokens = label_tokens_after(client, context, names, &encode).await?;
                let mut labels = client.labels();
                if labels.len() >= REMEMBERED {
                    labels.clear();
                }
                labels.insert(key, tokens.clone());
                tokens
            }
        };
        if known.as_ref().is_some_and(|known| *known != tokens) {
            let problem = format!("after {item:?} their tokens are other ones than after the items before it");
            return Err(ScoreError::request("labels", problem, "Let all items end alike, such as with \": \""));
        }
        known = Some(tokens);
    }
    Ok(known.unwrap_or_default())
}

async fn label_tokens_after<F: Future<Output = Result<Vec<u32>, ScoreError>>>(
    client: &Client,
    context: &str,
    names: &[String],
    encode: &impl Fn(String) -> F,
) -> Result<Vec<u32>, ScoreError> {
    let before = encode(context.to_owned()).await?;
    let all: Vec<usize> = (0..names.len()).collect();
    let after = client.each(&all, |i| encode(format!("{context}{}", names[i]))).await?;
    let mut tokens: Vec<u32> = Vec::with_capacity(names.len());
    for (i, after) in after.into_iter().enumerate() {
        let fault = |problem: String, cure: &str| ScoreError::request(format!("labels[{i}]"), problem, cure);
        match after.split_last() {
            Some((token, _)) if tokens.contains(token) => {
                let problem = format!("{:?} is the same token as an earlier label", names[i]);
                return Err(fault(problem, "Choose labels that are different tokens"));
            }
            Some((token, rest)) if rest == before => tokens.push(*token),
            _ => {
                let problem = format!("{:?} is not one token of its own after {context:?}", names[i]);
                let cure =
                    "Choose labels that are one token, and end items so that they stay apart, such as with \": \"";
                return Err(fault(problem, cure));
            }
        }
    }
    Ok(tokens)
}

/// How many endings of a request's items are tried on a remote engine: each new one costs a call per label.
const ENDINGS: usize = 4;
/// How many endings are remembered.
const REMEMBERED: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let client_with = |url: &str, key: Option<Secret>| {
            let options = Options {
                url: url.into(),
                kind: Kind::Vllm,
                model: "m".into(),
                key,
                concurrency: 1,
                timeout: Duration::from_secs(1),
                retries: 0,
            };
            Client::new(options, &Limits::default(), Metrics::default()).map(|client| {
                let shown = format!("{client:?}");
                assert!(!shown.contains("\"k\"") && !shown.contains("alice") && !shown.contains("s3"), "{shown}");
                client.url().to_owned()
            })
        };
        let client = |url: &str| client_with(url, Some(Secret("k".into())));
        assert_eq!(client("http://h:1").unwrap(), "http://h:1/");
        assert_eq!(client("http://h:1/v1/").unwrap(), "http://h:1/");
        assert_eq!(client("https://h/a/b/v1").unwrap(), "https://h/a/b/");
        // What opens the engine is not shown.
        assert_eq!(client_with("http://alice:s3%40cret@h:1/v1?token=x", None).unwrap(), "http://h:1/");
        for bad in ["http://alice:s3cret@h:1", "ftp://alice:s3cret@h", "alice:s3cret@h", "http://alice:s3cret@"] {
            let error = client(bad).unwrap_err().to_string();
            assert!(!error.contains("s3") && !error.contains("alice"), "{error}");
        }
        for (bad, why) in [("h:1", "not an HTTP address"), ("", "Write it as"), ("ftp://h", "not an HTTP address")] {
            let error = client(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn pauses_are_jittered_within_their_half() {
        for _ in 0..100 {
            let pause = jittered(Duration::from_millis(200));
            assert!((Duration::from_millis(100)..=Duration::from_millis(200)).contains(&pause));
        }
    }
}
