//! Scores by a language model: which label follows a query and an item, and how sure is the model?
//!
//! [`Scoring`] checks a request, asks equal prompts once and looks into the [`cache`]; a [`Backend`] answers the rest: the
//! [`queue`] of the model on this machine, a [`remote`] engine, or none, and then the caller falls back to the heuristic
//! and says so.

pub mod cache;
pub mod checksum;
pub mod queue;
pub mod remote;
mod tokens;
pub mod trace;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use accel_core::score::Scorer;
use accel_core::score::prompt;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use crate::metrics::Metrics;
use accel_model::ModelError;
use cache::Cache;

/// How often a request that is asked again, as another model is loaded, looks for a place in the queue.
const RENEWED_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of what one request, and all of them together, may ask.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Limits {
    /// Items of one request; of a trace, its distinct prompts.
    pub items: usize,
    /// Tokens of one request: the query's and every item's.
    pub tokens: usize,
    /// Bytes of one query or item.
    pub text_bytes: usize,
    /// Labels of one request.
    pub labels: usize,
    /// Accesses of a trace to score.
    pub accesses: usize,
    /// Items that wait for the model, of all requests.
    pub queue_items: usize,
    /// Tokens that wait for the model, of all requests.
    pub queue_tokens: usize,
    /// How long a request may wait for its answer.
    #[serde(rename = "deadline_s", serialize_with = "as_seconds")]
    #[schema(value_type = f64)]
    pub deadline: Duration,
}

fn as_seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// A request of four thousand short items takes a 7B model on two cores some ten minutes, so nothing larger waits for its
/// answer; the queue holds two of them.
impl Default for Limits {
    fn default() -> Self {
        Self {
            items: 4096,
            tokens: 1 << 18,
            text_bytes: 1 << 20,
            labels: 64,
            accesses: 1 << 20,
            queue_items: 8192,
            queue_tokens: 1 << 19,
            deadline: Duration::from_secs(120),
        }
    }
}

/// Which label follows `query` and each item?
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoreRequest {
    /// What precedes every item; the two are read as one text. Where all items begin a word or a line, it is read once.
    #[serde(default)]
    #[schema(example = "Is the colour warm (1) or cold (0)?\n")]
    pub query: String,
    /// What is asked about; equal items are asked once.
    #[schema(example = json!(["red: ", "blue: "]))]
    pub items: Vec<String>,
    /// The answers to choose from, each one token after every item; the digits if left out.
    #[serde(default = "digits")]
    #[schema(example = json!(["0", "1"]))]
    pub labels: Vec<String>,
}

fn digits() -> Vec<String> {
    prompt::LABELS.map(str::to_owned).to_vec()
}

/// How an item was answered.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ItemScore {
    /// The probability of each label, given that it is one of them.
    #[schema(example = json!([0.2, 0.8]))]
    pub probabilities: Vec<f64>,
    /// The probability that the model says one of the labels at all; null where the engine does not say.
    pub label_mass: Option<f64>,
    /// Entropy of the probabilities in nats: 0 is certain, ln(labels) is a guess.
    pub entropy: f64,
}

/// log P of every label, as an engine gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// One value per label.
    pub log_probs: Arc<[f32]>,
    /// Whether they are shares of the whole vocabulary; else of the labels alone.
    pub of_vocabulary: bool,
}

/// How far probabilities of disjoint events may sum past one: engines round logits to half precision, and logarithms
/// to some digits.
const ROUNDING: f64 = 1e-3;

impl Row {
    /// What is wrong with it as log probabilities of different tokens after one prompt, if anything is.
    pub fn fault(&self) -> Option<String> {
        if let Some(odd) = self.log_probs.iter().find(|p| p.is_nan() || f64::from(**p) > ROUNDING) {
            return Some(format!("a log probability of {odd}"));
        }
        let sum: f64 = self.log_probs.iter().map(|p| f64::from(*p).exp()).sum();
        (sum > 1.0 + ROUNDING).then(|| format!("probabilities of labels that sum to {sum}"))
    }

    /// The distribution over the labels.
    pub fn score(&self) -> ItemScore {
        let most = self.log_probs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f64> = self.log_probs.iter().map(|p| f64::from(p - most).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let probabilities: Vec<f64> = weights.iter().map(|w| w / sum).collect();
        let entropy = -probabilities.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>();
        // Rounding may carry a sum of probabilities past one.
        let label_mass = self.of_vocabulary.then(|| (f64::from(most).exp() * sum).min(1.0));
        ItemScore { probabilities, label_mass, entropy: entropy.max(0.0) }
    }
}

/// Why there is no score.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// A part of the request cannot be asked.
    #[error("{field}: {problem}. {cure}")]
    Request {
        /// Which part.
        field: String,
        /// What is wrong with it.
        problem: String,
        /// What to send instead.
        cure: String,
    },
    /// The request is larger than the server takes.
    #[error("{problem}. {cure}")]
    TooLarge {
        /// Which quantity passes which limit.
        problem: String,
        /// How to make it smaller.
        cure: String,
    },
    /// No model is there to ask.
    #[error("no model is loaded. Start the server with --model FILE or --remote URL")]
    NoModel,
    /// The queue is full.
    #[error("the model has as much to do as it may. Try again in {} s", seconds(.0))]
    Busy(Duration),
    /// The model cannot answer now.
    #[error("{reason}. Try again in {} s", seconds(retry_after))]
    Unavailable {
        /// Why not.
        reason: String,
        /// When it might.
        retry_after: Duration,
    },
    /// The answer took too long.
    #[error("no answer within {} s. Ask for less at once, run it as a job (POST /v1/jobs), or raise --deadline", seconds(.0))]
    Deadline(Duration),
    /// The model failed on this request.
    #[error("the model failed: {0}")]
    Model(String),
    /// The remote engine failed on this request.
    #[error("the remote engine failed: {0}")]
    Remote(String),
    /// The one who asked is gone.
    #[error("cancelled")]
    Cancelled,
    /// Another model took the place of the one that the question was made for: it is asked again.
    #[error("the model was loaded anew")]
    Renewed,
}

/// Whole seconds for people and for `Retry-After`, at least one.
pub fn seconds(time: &Duration) -> u64 {
    time.as_secs_f64().ceil().max(1.0) as u64
}

impl ScoreError {
    /// A part of the request that cannot be asked.
    pub fn request(field: impl Into<String>, problem: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Request { field: field.into(), problem: problem.into(), cure: cure.into() }
    }

    fn too_large(problem: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::TooLarge { problem: problem.into(), cure: cure.into() }
    }
}

/// What a model says of a request is the request's fault or its own.
impl From<ModelError> for ScoreError {
    fn from(error: ModelError) -> Self {
        match &error {
            ModelError::Label { label, problem, cure } => {
                Self::request("labels", format!("{label:?}: {problem}"), cure.clone())
            }
            ModelError::Prompt { place, problem } => {
                Self::request("items", format!("{place}: {problem}"), "Send texts that the model can read")
            }
            ModelError::TooLong { tokens, limit } => {
                let problem = format!("the prompt has at least {tokens} tokens, and the model reads {limit}");
                Self::too_large(problem, "Shorten the query or the item")
            }
            ModelError::Cancelled => Self::Cancelled,
            _ => Self::Model(error.to_string()),
        }
    }
}

/// How long to wait for an answer.
#[derive(Debug, Clone, Copy)]
pub enum Patience {
    /// A client is connected: refuse rather than wait for a place in the queue or for a model to load.
    Until(Instant),
    /// A job waits for both, until it is cancelled.
    Job,
}

impl Patience {
    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Until(deadline) => Some(deadline),
            Self::Job => None,
        }
    }
}

/// Who answers.
#[derive(Debug)]
pub enum Backend {
    /// Nobody: callers use the heuristic and say so.
    Heuristic,
    /// A model on this machine.
    Local(queue::Queue),
    /// A model behind another server.
    Remote(Box<remote::Client>),
}

/// A request whose equal items are one.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: ScoreRequest,
    /// The first item of each kind.
    pub(crate) unique: Vec<u32>,
    /// Which kind each item is.
    kinds: Vec<u32>,
}

impl Asked {
    fn new(request: ScoreRequest) -> Self {
        let mut known: HashMap<&str, u32> = HashMap::with_capacity(request.items.len());
        let (mut unique, mut kinds) = (Vec::new(), Vec::with_capacity(request.items.len()));
        for (i, item) in (0..).zip(&request.items) {
            let kind = *known.entry(item).or_insert_with(|| {
                unique.push(i);
                unique.len() as u32 - 1
            });
            kinds.push(kind);
        }
        drop(known);
        Self { request, unique, kinds }
    }

    /// The distinct items.
    pub(crate) fn items(&self) -> impl ExactSizeIterator<Item = &str> {
        self.unique.iter().map(|i| self.request.items[*i as usize].as_str())
    }

    /// The ordinal, in the request, of a distinct item.
    pub(crate) fn place(&self, unique: usize) -> String {
        format!("items[{}]", self.unique.get(unique).copied().unwrap_or_default())
    }

    /// The distinct last words of the items, each with an item that ends so: what a label's token depends on, as tokens do
    /// not reach over words. Where an item has no last word, or a very long one, its last bytes stand for it.
    pub(crate) fn endings(&self) -> impl Iterator<Item = (&str, &str)> {
        const LONGEST: usize = 64;
        let mut seen = HashSet::new();
        let ending = |item: &'_ str| {
            let word = item.trim_end().rfind(char::is_whitespace).unwrap_or(0);
            let mut start = word.max(item.len().saturating_sub(LONGEST));
            while !item.is_char_boundary(start) {
                start += 1;
            }
            start
        };
        self.items().map(move |item| (&item[ending(item)..], item)).filter(move |(ending, _)| seen.insert(*ending))
    }
}

/// What every part of the scoring shares.
#[derive(Debug, Clone)]
pub struct Common {
    /// Answers given before.
    pub cache: Arc<Cache>,
    /// The bounds of a request.
    pub limits: Limits,
    /// What is counted.
    pub metrics: Metrics,
}

impl Default for Common {
    fn default() -> Self {
        Self::in_memory(Limits::default())
    }
}

impl Common {
    /// With a cache that dies with the process.
    pub fn in_memory(limits: Limits) -> Self {
        let metrics = Metrics::default();
        Self { cache: Arc::new(Cache::new(cache::ENTRIES, None, metrics.clone())), limits, metrics }
    }
}

#[derive(Debug)]
struct Inner {
    backend: Backend,
    common: Common,
    /// Requests turned into tokens at once: as many as there are cores, so that a flood waits here and not in memory.
    tokenising: Semaphore,
}

/// Everything that answers score requests; clones share it.
#[derive(Debug, Clone)]
pub struct Scoring(Arc<Inner>);

impl Default for Scoring {
    fn default() -> Self {
        Self::new(Backend::Heuristic, Common::default())
    }
}

impl Scoring {
    /// Answers with `backend`.
    pub fn new(backend: Backend, common: Common) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Inner { backend, common, tokenising: Semaphore::new(cores) }))
    }

    /// Who answers.
    pub fn backend(&self) -> &Backend {
        &self.0.backend
    }

    /// The bounds of a request.
    pub fn limits(&self) -> &Limits {
        &self.0.common.limits
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.0.common.metrics
    }

    /// Who makes scores.
    pub fn scorer(&self) -> Scorer {
        match self.backend() {
            Backend::Heuristic => Scorer::Heuristic,
            Backend::Local(_) => Scorer::Local,
            Backend::Remote(_) => Scorer::Remote,
        }
    }

    /// The model's name, if one is loaded.
    pub fn model(&self) -> Option<String> {
        match self.backend() {
            Backend::Heuristic => None,
            Backend::Local(queue) => queue.loaded().map(|loaded| loaded.info.name.clone()),
            Backend::Remote(client) => Some(client.model().to_owned()),
        }
    }

    /// How long a request waits whose client is connected.
    pub fn patience(&self) -> Patience {
        Patience::Until(Instant::now() + self.0.common.limits.deadline)
    }

    /// One score per item.
    pub async fn score(&self, request: ScoreRequest, patience: Patience) -> Result<Vec<ItemScore>, ScoreError> {
        self.check(&request)?;
        let asked = Arc::new(Asked::new(request));
        let work = self.rows(&asked, patience);
        let rows = match patience.deadline() {
            None => work.await?,
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), work).await {
                Ok(Err(ScoreError::Cancelled)) | Err(_) => {
                    return Err(ScoreError::Deadline(self.0.common.limits.deadline));
                }
                Ok(rows) => rows?,
            },
        };
        let scores: Vec<ItemScore> = rows.iter().map(Row::score).collect();
        asked
            .kinds
            .iter()
            .map(|kind| scores.get(*kind as usize).cloned())
            .collect::<Option<_>>()
            .ok_or_else(|| ScoreError::Model(format!("{} answers to {} prompts", scores.len(), asked.unique.len())))
    }

    async fn rows(&self, asked: &Arc<Asked>, patience: Patience) -> Result<Vec<Row>, ScoreError> {
        match self.backend() {
            Backend::Heuristic => Err(ScoreError::NoModel),
            Backend::Local(queue) => self.local_rows(queue, asked, patience).await,
            Backend::Remote(client) => self.remote_rows(client, asked, patience).await,
        }
    }

    /// The answers of the model here; asked again where another one takes its place meanwhile.
    async fn local_rows(
        &self,
        queue: &queue::Queue,
        asked: &Arc<Asked>,
        patience: Patience,
    ) -> Result<Vec<Row>, ScoreError> {
        let mut renewed = false;
        loop {
            match self.rows_of(queue, asked, patience).await {
                Err(ScoreError::Renewed) => renewed = true,
                // It had its place in the queue, and others were faster to come back.
                Err(ScoreError::Busy(_)) if renewed => tokio::time::sleep(RENEWED_PAUSE).await,
                rows => return rows,
            }
        }
    }

    /// The answers of the model that is loaded now.
    async fn rows_of(
        &self,
        queue: &queue::Queue,
        asked: &Arc<Asked>,
        patience: Patience,
    ) -> Result<Vec<Row>, ScoreError> {
        let loaded = queue.load(patience).await?;
        let permit = self.0.tokenising.acquire().await.map_err(|_| ScoreError::Cancelled)?;
        let (cache, limits, asked) =
            (Arc::clone(&self.0.common.cache), self.0.common.limits.clone(), Arc::clone(asked));
        let prepared = blocking(move || {
            let contents = cache::contents(&asked);
            let keys: Vec<_> = contents.iter().map(|content| cache::key(&loaded.identity, content)).collect();
            // The model's thread looks again, item by item; here only an answer in full saves the way through the queue.
            if let Some(rows) = cache.get_all(&keys) {
                return Ok(Err(rows));
            }
            tokens::tokenise(&loaded, &asked, contents, &limits).map(Ok)
        })
        .await?;
        drop(permit);
        match prepared? {
            Err(rows) => Ok(rows),
            Ok(work) => queue.submit(work, patience).await,
        }
    }

    async fn remote_rows(
        &self,
        client: &remote::Client,
        asked: &Arc<Asked>,
        patience: Patience,
    ) -> Result<Vec<Row>, ScoreError> {
        let identity = client.identity(false).await;
        let (cache, all) = (Arc::clone(&self.0.common.cache), Arc::clone(asked));
        let (keys, mut rows) = blocking(move || {
            let contents = cache::contents(&all);
            let Some(identity) = identity else { return (Vec::new(), vec![None; contents.len()]) };
            let keys: Vec<_> = contents.iter().map(|content| cache::key(&identity, content)).collect();
            let rows: Vec<Option<Row>> = keys.iter().map(|key| cache.get(key)).collect();
            (keys, rows)
        })
        .await?;
        let missing: Vec<usize> = (0..rows.len()).filter(|i| rows[*i].is_none()).collect();
        if !missing.is_empty() {
            let answers = client.rows(asked, &missing, patience).await?;
            // Unless it became another model meanwhile, whose answers some of them are.
            if identity.is_some() && client.identity(true).await == identity {
                let fresh = missing.iter().map(|i| keys[*i]).zip(answers.clone());
                self.0.common.cache.put(fresh.collect());
            }
            for (i, row) in missing.into_iter().zip(answers) {
                rows[i] = Some(row);
            }
        }
        let answered = rows.into_iter().collect::<Option<Vec<Row>>>();
        answered.ok_or_else(|| ScoreError::Remote("fewer answers than questions".into()))
    }

    /// Refuses what no backend should see.
    fn check(&self, request: &ScoreRequest) -> Result<(), ScoreError> {
        let limits = &self.0.common.limits;
        let labels = &request.labels;
        if request.items.is_empty() {
            return Err(ScoreError::request("items", "none is given", "Send at least one item"));
        }
        if request.items.len() > limits.items {
            let problem = format!("{} items, and the limit is {}", request.items.len(), limits.items);
            return Err(ScoreError::too_large(problem, "Send fewer at once, or raise --max-items"));
        }
        if labels.is_empty() {
            return Err(ScoreError::request(
                "labels",
                "none is given",
                "Send at least one label, or leave them out for digits",
            ));
        }
        if labels.len() > limits.labels {
            let problem = format!("{} labels, and the limit is {}", labels.len(), limits.labels);
            return Err(ScoreError::too_large(problem, "Choose among fewer labels"));
        }
        for (i, label) in labels.iter().enumerate() {
            let field = format!("labels[{i}]");
            if label.is_empty() {
                return Err(ScoreError::request(field, "it is empty", "Send labels that are one token each"));
            }
            if labels[..i].contains(label) {
                return Err(ScoreError::request(field, format!("{label:?} is named twice"), "Name each label once"));
            }
        }
        let texts = [&request.query].into_iter().chain(&request.items).chain(labels);
        if let Some(bytes) = texts.map(String::len).max().filter(|bytes| *bytes > limits.text_bytes) {
            let problem = format!("a string of {bytes} bytes, and the limit is {}", limits.text_bytes);
            return Err(ScoreError::too_large(problem, "Shorten the query, the item or the label"));
        }
        Ok(())
    }
}

/// Runs `work` on a thread where it does not hold up other requests.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ScoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ScoreError::Model(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(log_probs: &[f32]) -> Row {
        Row { log_probs: log_probs.into(), of_vocabulary: true }
    }

    #[test]
    fn a_row_is_a_distribution_over_its_labels() {
        let score = row(&[0.3f32.ln(), 0.1f32.ln()]).score();
        assert!((score.probabilities[0] - 0.75).abs() < 1e-6 && (score.probabilities[1] - 0.25).abs() < 1e-6);
        assert!((score.label_mass.unwrap() - 0.4).abs() < 1e-6);
        assert!((score.entropy - 0.562_335).abs() < 1e-5, "{}", score.entropy);
        assert_eq!(Row { of_vocabulary: false, ..row(&[-1.0]) }.score().label_mass, None);
        // Hopeless labels are still a distribution.
        let score = row(&[-200.0, -300.0]).score();
        assert!(score.probabilities[0] == 1.0 && (0.0..1e-40).contains(&score.entropy), "{score:?}");
    }

    #[test]
    fn what_is_no_distribution_is_told() {
        for good in [&[-1.0, -1.0][..], &[0.0, -30.0], &[0.0005], &[-3.0; 10], &[-500.0, -f32::INFINITY]] {
            assert_eq!(row(good).fault(), None, "{good:?}");
        }
        for (bad, words) in [
            (&[0.5, -1.0][..], "a log probability of 0.5"),
            (&[f32::NAN, -1.0], "a log probability of NaN"),
            (&[f32::INFINITY], "a log probability of inf"),
            (&[-0.1, -0.1], "sum to 1.8"),
        ] {
            let fault = row(bad).fault().unwrap();
            assert!(fault.contains(words), "{bad:?}: {fault}");
        }
    }

    #[test]
    fn equal_items_are_one_and_keep_their_places() {
        let items = ["a", "b", "a", "c", "b"].map(str::to_owned).to_vec();
        let asked = Asked::new(ScoreRequest { query: String::new(), items, labels: digits() });
        assert_eq!(asked.items().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((asked.kinds.clone(), asked.place(2)), (vec![0, 1, 0, 2, 1], "items[3]".to_owned()));
    }

    #[test]
    fn endings_are_told_apart_by_the_last_word() {
        let items =
            ["one: ", "two one: ", "two: ", "three two:", "日本語", &"é".repeat(100)].map(str::to_owned).to_vec();
        let asked = Asked::new(ScoreRequest { query: String::new(), items, labels: digits() });
        let all: Vec<(&str, &str)> = asked.endings().collect();
        assert_eq!(all.len(), 6, "{all:?}");
        let items = ["a 1 →", "b 2 →", "c 3 →"].map(str::to_owned).to_vec();
        let asked = Asked::new(ScoreRequest { query: String::new(), items, labels: digits() });
        assert_eq!(asked.endings().count(), 1);
    }
}
