//! The model's one thread, and the bounded queue before it.
//!
//! A request waits as an entry. The thread takes the first one, asks the model a piece of it, and puts what is left behind
//! the others, so that a short request is not stuck behind a long one. Entries whose client left are dropped; a piece under
//! way is cancelled between passes. A panic costs the request that caused it and the model, never the server.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::cache::{Cache, Digest, digest, file_identity, key};
use super::checksum::Checksum;
use super::{Common, Patience, Row, ScoreError, seconds};
use crate::metrics::Metrics;
use accel_model::{Loader, Model, ModelError, ModelInfo, Prompt, Tokenize};

/// Items of a piece: enough to fill packed passes, few enough that others wait for a second or so.
const PIECE_ITEMS: usize = 64;
/// Tokens of a piece, unless one item alone has more.
const PIECE_TOKENS: usize = 2048;
/// After a failure to load or a panic, requests within this time are refused; the next one loads again.
const RELOAD_AFTER: Duration = Duration::from_secs(30);
/// What is promised while a model loads: a 4 GB file takes seconds to pack.
const LOADING_TAKES: Duration = Duration::from_secs(5);
/// How often a job asks for a place in the queue.
const JOB_PAUSE: Duration = Duration::from_millis(50);

/// Where a model is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nobody asked yet.
    Unloaded,
    /// Its file is read.
    Loading,
    /// Its weights are packed.
    Warming,
    /// It answers.
    Ready,
    /// It could not be loaded, or broke.
    Failed(String),
}

impl Phase {
    /// The name in `/health/ready`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unloaded => "unloaded",
            Self::Loading => "loading",
            Self::Warming => "warming",
            Self::Ready => "ready",
            Self::Failed(_) => "failed",
        }
    }
}

/// A loaded model, as seen from outside its thread.
#[derive(Clone)]
pub struct Loaded {
    /// What it is.
    pub info: ModelInfo,
    /// Its tokenizer.
    pub tokenizer: Arc<dyn Tokenize>,
    /// Distinguishes its answers from those of any other model and adapter.
    pub identity: Digest,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("info", &self.info).finish_non_exhaustive()
    }
}

/// How to hold a model.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The adapter that the loader applies, if any.
    pub adapter: Option<PathBuf>,
    /// How long a failure lasts; half a minute if none.
    pub reload_after: Option<Duration>,
}

/// One item of a request.
#[derive(Debug)]
pub(crate) struct Item {
    /// Its tokens.
    pub(crate) tokens: Vec<u32>,
    /// What is asked, whoever answers.
    pub(crate) content: Digest,
}

/// A request, ready for the model.
#[derive(Debug)]
pub(crate) struct Work {
    /// Tokens before every item.
    pub(crate) prefix: Vec<u32>,
    /// The token of each label.
    pub(crate) labels: Vec<u32>,
    /// The items.
    pub(crate) items: Vec<Item>,
    /// Tokens of prefix and items.
    pub(crate) tokens: usize,
}

struct Entry {
    work: Work,
    /// Answers so far.
    rows: Vec<Row>,
    deadline: Option<Instant>,
    reply: oneshot::Sender<Result<Vec<Row>, ScoreError>>,
}

impl Entry {
    /// Whether the answer still matters.
    fn wanted(&self) -> bool {
        !self.reply.is_closed() && self.deadline.is_none_or(|deadline| Instant::now() < deadline)
    }
}

struct Swap {
    adapter: Option<PathBuf>,
    reply: oneshot::Sender<Result<ModelInfo, ModelError>>,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Entry>,
    swaps: VecDeque<Swap>,
    /// Of the entries and of the piece under way.
    items: usize,
    tokens: usize,
    loaded: Option<Loaded>,
    /// Since when the model is broken.
    failed: Option<Instant>,
    wants_load: bool,
    closed: bool,
    /// Tokens per second, as measured lately.
    speed: Option<f64>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    phase: watch::Sender<Phase>,
    cache: Arc<Cache>,
    metrics: Metrics,
    limits: (usize, usize),
    options: Options,
    checksum: Checksum,
}

impl Shared {
    /// No panic happens while the lock is held but for a lack of memory; then counts may be off, and nothing else.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, state: &State) {
        self.metrics.queue_items.set(state.items as i64);
        self.metrics.queue_tokens.set(state.tokens as i64);
    }

    fn release(&self, state: &mut State, work: &Work) {
        state.items = state.items.saturating_sub(work.items.len());
        state.tokens = state.tokens.saturating_sub(work.tokens);
        self.count(state);
    }

    /// Drops the entries that nobody waits for.
    fn purge(&self, state: &mut State) {
        let (kept, left): (VecDeque<_>, VecDeque<_>) = state.entries.drain(..).partition(Entry::wanted);
        state.entries = kept;
        for entry in left {
            self.abandon(state, entry);
        }
    }

    fn abandon(&self, state: &mut State, entry: Entry) {
        self.release(state, &entry.work);
        self.metrics.abandoned.inc();
        // Whoever set the deadline watches it as well; this is for one whose clock is a moment behind.
        let _ = entry.reply.send(Err(ScoreError::Cancelled));
    }
}

/// The model's queue. The thread ends when it is dropped.
pub struct Queue(Arc<Shared>);

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Queue").field(&self.phase()).finish()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.wake.notify_all();
    }
}

impl Queue {
    /// Starts the thread; `loader` is called when the model is first asked.
    pub fn start(loader: Loader, options: Options, common: &Common) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            phase: watch::Sender::new(Phase::Unloaded),
            cache: Arc::clone(&common.cache),
            metrics: common.metrics.clone(),
            limits: (common.limits.queue_items, common.limits.queue_tokens),
            options,
            checksum: Checksum::default(),
        });
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new().name("model".into()).spawn(move || serve(&theirs, loader))?;
        Ok(Self(shared))
    }

    /// Where the model is in its life.
    pub fn phase(&self) -> Phase {
        self.0.phase.borrow().clone()
    }

    /// The model, if it is loaded.
    pub fn loaded(&self) -> Option<Loaded> {
        self.0.state().loaded.clone()
    }

    /// SHA-256 of the model's file, once it is known.
    pub fn sha256(&self) -> Option<String> {
        self.0.checksum.get()
    }

    /// Starts to load the model if it is not loaded; whether it is.
    pub fn wake(&self) -> Result<Loaded, ScoreError> {
        let mut state = self.0.state();
        if let Some(loaded) = &state.loaded {
            return Ok(loaded.clone());
        }
        let reload_after = self.0.options.reload_after.unwrap_or(RELOAD_AFTER);
        let wait = state.failed.map(|since| reload_after.saturating_sub(since.elapsed()));
        if let (Some(wait), Phase::Failed(problem)) = (wait.filter(|wait| !wait.is_zero()), self.phase()) {
            // Not a matter of waiting: the next try will most likely fail as well.
            return Err(ScoreError::Model(format!("{problem}. It is loaded again after {} s", seconds(&wait))));
        }
        if !state.wants_load {
            state.wants_load = true;
            state.failed = None;
            self.0.phase.send_replace(Phase::Loading);
            self.0.wake.notify_all();
        }
        Err(ScoreError::Unavailable { reason: "the model is being loaded".into(), retry_after: LOADING_TAKES })
    }

    /// The loaded model. A connected client is refused with the time to come back; a job waits.
    pub async fn load(&self, patience: Patience) -> Result<Loaded, ScoreError> {
        let mut phase = self.0.phase.subscribe();
        loop {
            phase.mark_unchanged();
            match (self.wake(), patience) {
                (Ok(loaded), _) => return Ok(loaded),
                (Err(error), Patience::Until(_)) => return Err(error),
                (Err(error), Patience::Job) if matches!(self.phase(), Phase::Failed(_)) => return Err(error),
                (Err(_), Patience::Job) => phase.changed().await.map_err(|_| ScoreError::Cancelled)?,
            }
        }
    }

    /// Takes the adapter in `dir`, or none, between two pieces; what it makes of the model. The model must be loaded.
    pub async fn set_adapter(&self, adapter: Option<PathBuf>) -> Result<ModelInfo, ScoreError> {
        self.wake()?;
        let (reply, answer) = oneshot::channel();
        self.0.state().swaps.push_back(Swap { adapter, reply });
        self.0.wake.notify_all();
        let gone = |_| ScoreError::Model("the model broke before it took the adapter".into());
        answer.await.map_err(gone)?.map_err(|error| match &error {
            ModelError::Internal(_) => ScoreError::Model(error.to_string()),
            _ => ScoreError::request("path", error.to_string(), "Name the folder of an adapter made for this model"),
        })
    }

    /// One row per item. A full queue refuses a connected client; a job waits.
    pub(crate) async fn submit(&self, work: Work, patience: Patience) -> Result<Vec<Row>, ScoreError> {
        let (reply, answer) = oneshot::channel();
        let mut entry = Entry { work, rows: Vec::new(), deadline: patience.deadline(), reply };
        loop {
            let Err(full) = self.push(entry) else { break };
            let (refused, retry_after) = *full;
            entry = match patience {
                Patience::Until(_) => return Err(ScoreError::Busy(retry_after)),
                Patience::Job => refused,
            };
            tokio::time::sleep(JOB_PAUSE).await;
        }
        answer.await.map_err(|_| ScoreError::Cancelled)?
    }

    /// Puts an entry into the queue, or gives it back with the time after which there may be room.
    fn push(&self, entry: Entry) -> Result<(), Box<(Entry, Duration)>> {
        let mut state = self.0.state();
        let (most_items, most_tokens) = self.0.limits;
        let (items, tokens) = (entry.work.items.len(), entry.work.tokens);
        let full = |state: &State| state.items + items > most_items || state.tokens + tokens > most_tokens;
        if full(&state) {
            self.0.purge(&mut state);
        }
        if full(&state) {
            let wait = state.speed.map_or(1.0, |speed| state.tokens as f64 / speed);
            return Err(Box::new((entry, Duration::from_secs_f64(wait.clamp(1.0, 60.0)))));
        }
        state.items += items;
        state.tokens += tokens;
        self.0.count(&state);
        state.entries.push_back(entry);
        drop(state);
        self.0.wake.notify_all();
        Ok(())
    }
}

/// What the thread does next.
enum Next {
    Load,
    Swap(Swap),
    Piece(Entry),
    End,
}

fn next(shared: &Shared) -> Next {
    let mut state = shared.state();
    loop {
        if state.closed {
            return Next::End;
        }
        if state.loaded.is_some() {
            if let Some(swap) = state.swaps.pop_front() {
                return Next::Swap(swap);
            }
            match state.entries.pop_front() {
                Some(entry) if entry.wanted() => return Next::Piece(entry),
                Some(entry) => {
                    shared.abandon(&mut state, entry);
                    continue;
                }
                None => {}
            }
        } else if state.wants_load {
            return Next::Load;
        }
        state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

fn serve(shared: &Shared, mut loader: Loader) {
    let mut model: Option<Box<dyn Model>> = None;
    loop {
        let outcome = match (next(shared), &mut model) {
            (Next::End, _) => return,
            (Next::Load, slot) => guarded(|| load(shared, &mut loader)).map(|loaded| *slot = Some(loaded)),
            (Next::Swap(swap), Some(model)) => swap_adapter(shared, model.as_mut(), swap),
            (Next::Piece(entry), Some(model)) => piece(shared, model.as_mut(), entry),
            // `loaded` is set only once there is a model.
            (Next::Swap(_) | Next::Piece(_), None) => Err("it was asked before it was loaded".into()),
        };
        if let Err(problem) = outcome {
            model = None;
            fail(shared, problem);
        }
    }
}

/// Turns a panic into its message.
fn guarded<T, E: ToString>(work: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    // What the closure touches is thrown away after a panic.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => Err(panicked(&*panic)),
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("no message"))
}

/// The model is gone, which is the answer to all that waits for it.
fn fail(shared: &Shared, problem: String) {
    tracing::error!(%problem, "the model failed");
    let mut state = shared.state();
    state.loaded = None;
    state.wants_load = false;
    state.failed = Some(Instant::now());
    state.swaps.clear();
    shared.phase.send_replace(Phase::Failed(problem.clone()));
    for entry in std::mem::take(&mut state.entries) {
        shared.release(&mut state, &entry.work);
        let _ = entry.reply.send(Err(ScoreError::Model(problem.clone())));
    }
}

fn load(shared: &Shared, loader: &mut Loader) -> Result<Box<dyn Model>, ModelError> {
    let start = Instant::now();
    let mut model = loader()?;
    shared.phase.send_replace(Phase::Warming);
    model.warm_up()?;
    let loaded = described(model.as_ref(), shared.options.adapter.as_deref());
    tracing::info!(model = loaded.info.name, seconds = start.elapsed().as_secs_f64(), "the model is ready");
    shared.checksum.start(loaded.info.file.as_ref());
    let mut state = shared.state();
    state.loaded = Some(loaded);
    state.wants_load = false;
    shared.phase.send_replace(Phase::Ready);
    Ok(model)
}

/// The model as seen from outside its thread.
fn described(model: &dyn Model, adapter: Option<&Path>) -> Loaded {
    let info = model.info();
    let weights = adapter.map(|dir| {
        let files = ["adapter_config.json", "adapter_model.safetensors"].map(|name| file_identity(&dir.join(name)));
        digest([&files[0][..], &files[1]])
    });
    let file = file_identity(info.file.as_ref());
    let identity = digest([info.name.as_bytes(), &file, weights.as_ref().map_or(&[][..], |weights| weights)]);
    Loaded { info, tokenizer: model.tokenizer(), identity }
}

fn swap_adapter(shared: &Shared, model: &mut dyn Model, swap: Swap) -> Result<(), String> {
    let (adapter, reply) = (swap.adapter, swap.reply);
    let outcome = match catch_unwind(AssertUnwindSafe(|| model.set_adapter(adapter.as_deref()))) {
        Ok(outcome) => outcome,
        Err(panic) => return Err(panicked(&*panic)),
    };
    let answer = outcome.map(|()| {
        let loaded = described(model, adapter.as_deref());
        let info = loaded.info.clone();
        let mut state = shared.state();
        state.loaded = Some(loaded);
        // What the other adapter answered of a request must not be mixed with what this one will.
        for entry in &mut state.entries {
            entry.rows.clear();
        }
        info
    });
    let _ = reply.send(answer);
    Ok(())
}

/// Asks the model a piece of `entry`. An error is a panic; what the model itself refuses is the entry's affair.
fn piece(shared: &Shared, model: &mut dyn Model, mut entry: Entry) -> Result<(), String> {
    let Some(identity) = shared.state().loaded.as_ref().map(|loaded| loaded.identity) else { return Ok(()) };
    let start = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| advance(shared, model, &mut entry, &identity)));
    shared.metrics.pieces.observe(start.elapsed().as_secs_f64());
    let mut state = shared.state();
    let outcome = match outcome {
        Ok(Ok(tokens)) => {
            let speed = tokens as f64 / start.elapsed().as_secs_f64().max(1e-6);
            state.speed = Some(state.speed.map_or(speed, |before| 0.8 * before + 0.2 * speed));
            if entry.rows.len() < entry.work.items.len() {
                state.entries.push_back(entry);
                return Ok(());
            }
            Ok(std::mem::take(&mut entry.rows))
        }
        Ok(Err(ModelError::Cancelled)) => {
            shared.abandon(&mut state, entry);
            return Ok(());
        }
        Ok(Err(error)) => Err(ScoreError::from(error)),
        Err(panic) => {
            // Answered with all others, once it is known that the model is gone.
            state.entries.push_front(entry);
            return Err(panicked(&*panic));
        }
    };
    shared.release(&mut state, &entry.work);
    drop(state);
    let _ = entry.reply.send(outcome);
    Ok(())
}

/// Appends the answers to the next items of `entry`, cached or asked; the tokens that were read.
fn advance(shared: &Shared, model: &mut dyn Model, entry: &mut Entry, identity: &Digest) -> Result<usize, ModelError> {
    let (mut keys, mut asked, mut tokens) = (Vec::new(), Vec::new(), 0);
    let mut rows: Vec<Option<Row>> = Vec::new();
    for item in &entry.work.items[entry.rows.len()..] {
        let full = asked.len() == PIECE_ITEMS || tokens + item.tokens.len() > PIECE_TOKENS;
        // A long run of cached items must not hold up others either.
        if (full && !asked.is_empty()) || rows.len() == 16 * PIECE_ITEMS {
            break;
        }
        let key = key(identity, &item.content);
        let known = shared.cache.get(&key);
        if known.is_none() {
            tokens += item.tokens.len();
            keys.push(key);
            asked.push(item.tokens.clone());
        }
        rows.push(known);
    }
    let mut answers = Vec::new();
    if !asked.is_empty() {
        tokens += entry.work.prefix.len();
        let prompt = Prompt { prefix: entry.work.prefix.clone(), items: asked, labels: entry.work.labels.clone() };
        let closed = || !entry.wanted() || shared.state().closed;
        answers = check(model.score(&prompt, &closed)?, &prompt)?;
        shared.metrics.items.inc_by(answers.len() as u64);
        shared.metrics.tokens.inc_by(tokens as u64);
        shared.cache.put(keys.into_iter().zip(answers.iter().cloned()).collect());
    }
    let mut answers = answers.into_iter();
    entry.rows.extend(rows.into_iter().filter_map(|known| known.or_else(|| answers.next())));
    Ok(tokens)
}

/// One finite value per label and item, or the model is broken.
fn check(answers: Vec<Vec<f32>>, prompt: &Prompt) -> Result<Vec<Row>, ModelError> {
    if answers.len() != prompt.items.len() || answers.iter().any(|row| row.len() != prompt.labels.len()) {
        return Err(ModelError::Internal(format!("{} answers to {} items", answers.len(), prompt.items.len())));
    }
    if answers.iter().flatten().any(|p| !p.is_finite()) {
        return Err(ModelError::Internal("a log probability that is not a number".into()));
    }
    Ok(answers.into_iter().map(|row| Row { log_probs: row.into(), of_vocabulary: true }).collect())
}
