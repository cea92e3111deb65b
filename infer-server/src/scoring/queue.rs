//! The model's one thread, and the bounded queue before it.
//!
//! A request waits as an entry. The thread takes the first one, with those behind it that fit into one piece of work, asks
//! the model, and puts what is left behind the others, so that a short request is not stuck behind a long one and several
//! short ones share a pass. Entries whose client left are dropped; under way they are cancelled between passes. A panic
//! costs the requests of its piece and the model, never the server.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::{Context, KeyValue};
use tokio::sync::{oneshot, watch};

use super::cache::{Cache, Digest, digest, file_identity, files_identity, key};
use super::checksum::Checksum;
use super::{Common, Patience, Row, ScoreError, seconds};
use crate::metrics::Metrics;
use crate::panics::{caught, guarded};
use crate::traces::record;
use accel_model::{Loader, Model, ModelError, ModelInfo, Prompt, Tokenize};

/// Items of a piece: enough to fill packed passes, few enough that others wait for a second or so.
const PIECE_ITEMS: usize = 64;
/// Tokens of a piece, those of its queries among them where it has several; unless one item alone has more.
const PIECE_TOKENS: usize = 2048;
/// After a failure to load or a panic, requests within this time are refused; the next one loads again.
const RELOAD_AFTER: Duration = Duration::from_secs(30);
/// What is promised while a model loads: a 4 GB file takes seconds to pack.
const LOADING_TAKES: Duration = Duration::from_secs(5);
/// How often a job asks for a place in the queue.
const JOB_PAUSE: Duration = Duration::from_millis(50);

/// The span of a piece in the model: one in the trace of each request that it is made of.
const FORWARD: &str = "forward pass";

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
    /// The identity of the model whose tokens they are.
    pub(crate) made_for: Digest,
}

struct Entry {
    work: Work,
    /// Answers so far.
    rows: Vec<Row>,
    deadline: Option<Instant>,
    /// When it came; none once the model has looked at it.
    waiting: Option<Instant>,
    /// The span that it belongs to.
    trace: Context,
    reply: oneshot::Sender<Result<Vec<Row>, ScoreError>>,
}

impl Entry {
    /// Whether the answer still matters.
    fn wanted(&self) -> bool {
        !self.reply.is_closed() && self.deadline.is_none_or(|deadline| Instant::now() < deadline)
    }

    /// Items that are not answered yet.
    fn left(&self) -> &[Item] {
        &self.work.items[self.rows.len()..]
    }
}

struct Swap {
    adapter: Option<PathBuf>,
    reply: oneshot::Sender<Result<ModelInfo, ModelError>>,
}

/// A model that was loaded beside the one that answers.
struct Fresh {
    model: Box<dyn Model>,
    loaded: Loaded,
    adapter: Option<PathBuf>,
    reply: oneshot::Sender<Result<ModelInfo, String>>,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Entry>,
    swaps: VecDeque<Swap>,
    /// Takes the model's place between two pieces.
    fresh: Option<Fresh>,
    /// The adapter that the model has now.
    adapter: Option<PathBuf>,
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
    loader: Mutex<Loader>,
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
            state: Mutex::new(State { adapter: options.adapter.clone(), ..State::default() }),
            wake: Condvar::new(),
            phase: watch::Sender::new(Phase::Unloaded),
            cache: Arc::clone(&common.cache),
            metrics: common.metrics.clone(),
            limits: (common.limits.queue_items, common.limits.queue_tokens),
            options,
            checksum: Checksum::default(),
            loader: Mutex::new(loader),
        });
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new().name("model".into()).spawn(move || serve(&theirs))?;
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

    /// Whether the files of the model or its adapter are others than when it was loaded.
    pub fn is_outdated(&self) -> bool {
        let state = self.0.state();
        let Some(loaded) = &state.loaded else { return true };
        identity(&loaded.info, state.adapter.as_deref()) != loaded.identity
    }

    /// Loads the model anew, beside the one that answers meanwhile, with the adapter that it has; then it takes that one's
    /// place, and requests that wait are asked anew. For a while both are in memory.
    ///
    /// # Errors
    ///
    /// Where it cannot be loaded; then the old one stays. One that is not loaded is loaded as by the first question.
    pub async fn reload(&self) -> Result<ModelInfo, ScoreError> {
        if self.loaded().is_none() {
            return self.load(Patience::Job).await.map(|loaded| loaded.info);
        }
        let (reply, answer) = oneshot::channel();
        let shared = Arc::clone(&self.0);
        let load = move || {
            let adapter = shared.state().adapter.clone();
            let other = (adapter != shared.options.adapter).then(|| adapter.clone());
            match guarded(|| make(&shared, other, || ())) {
                Ok((model, loaded)) => {
                    shared.state().fresh = Some(Fresh { model, loaded, adapter, reply });
                    shared.wake.notify_all();
                }
                Err(problem) => {
                    tracing::error!(%problem, "the model is not loaded anew");
                    let _ = reply.send(Err(problem));
                }
            }
        };
        let started = std::thread::Builder::new().name("model-reload".into()).spawn(load);
        started.map_err(|error| ScoreError::Model(format!("no thread to load it anew: {error}")))?;
        let gone = |_| ScoreError::Model("the model broke while it was loaded anew".into());
        answer.await.map_err(gone)?.map_err(|problem| ScoreError::Model(format!("{problem}. The old one stays")))
    }

    /// One row per item. A full queue refuses a connected client; a job waits.
    pub(crate) async fn submit(&self, work: Work, patience: Patience) -> Result<Vec<Row>, ScoreError> {
        let (reply, answer) = oneshot::channel();
        let (deadline, waiting, trace) = (patience.deadline(), Some(Instant::now()), Context::current());
        let mut entry = Entry { work, rows: Vec::new(), deadline, waiting, trace, reply };
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
        // Tokens of one model mean nothing to another one.
        if state.loaded.as_ref().is_some_and(|loaded| loaded.identity != entry.work.made_for) {
            let _ = entry.reply.send(Err(ScoreError::Renewed));
            return Ok(());
        }
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
    Renew(Box<Fresh>),
    Swap(Swap),
    Piece(Vec<Entry>),
    End,
}

fn next(shared: &Shared) -> Next {
    let mut state = shared.state();
    loop {
        if state.closed {
            return Next::End;
        }
        if let Some(fresh) = state.fresh.take() {
            return Next::Renew(Box::new(fresh));
        }
        if state.loaded.is_some() {
            if let Some(swap) = state.swaps.pop_front() {
                return Next::Swap(swap);
            }
            let entries = take(shared, &mut state);
            if !entries.is_empty() {
                return Next::Piece(entries);
            }
        } else if state.wants_load {
            return Next::Load;
        }
        state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

/// The first entry, and those behind it that fit into its piece as a whole.
fn take(shared: &Shared, state: &mut State) -> Vec<Entry> {
    let (mut taken, mut items, mut tokens) = (Vec::new(), 0, 0);
    while let Some(entry) = state.entries.pop_front() {
        if !entry.wanted() {
            shared.abandon(state, entry);
            continue;
        }
        (items, tokens) = (items + entry.left().len(), tokens + entry.work.tokens);
        if !taken.is_empty() && (items > PIECE_ITEMS || tokens > PIECE_TOKENS) {
            state.entries.push_front(entry);
            break;
        }
        taken.push(entry);
    }
    taken
}

fn serve(shared: &Shared) {
    let mut model: Option<Box<dyn Model>> = None;
    loop {
        let outcome = match (next(shared), &mut model) {
            (Next::End, _) => return,
            (Next::Load, slot) => guarded(|| load(shared)).map(|loaded| *slot = Some(loaded)),
            (Next::Renew(fresh), slot) => renew(shared, *fresh).map(|renewed| *slot = renewed.or(slot.take())),
            (Next::Swap(swap), Some(model)) => swap_adapter(shared, model.as_mut(), swap),
            (Next::Piece(entries), Some(model)) => piece(shared, model.as_mut(), entries),
            // `loaded` is set only once there is a model.
            (Next::Swap(_) | Next::Piece(_), None) => Err("it was asked before it was loaded".into()),
        };
        if let Err(problem) = outcome {
            model = None;
            fail(shared, problem);
        }
    }
}

/// The model is gone, which is the answer to all that waits for it.
fn fail(shared: &Shared, problem: String) {
    tracing::error!(%problem, "the model failed");
    let mut state = shared.state();
    state.loaded = None;
    state.wants_load = false;
    state.failed = Some(Instant::now());
    state.swaps.clear();
    state.fresh = None;
    shared.phase.send_replace(Phase::Failed(problem.clone()));
    for entry in std::mem::take(&mut state.entries) {
        shared.release(&mut state, &entry.work);
        let _ = entry.reply.send(Err(ScoreError::Model(problem.clone())));
    }
}

fn load(shared: &Shared) -> Result<Box<dyn Model>, ModelError> {
    let (model, loaded) = make(shared, None, || {
        shared.phase.send_replace(Phase::Warming);
    })?;
    shared.checksum.start(files(&loaded.info));
    let mut state = shared.state();
    state.adapter = shared.options.adapter.clone();
    state.loaded = Some(loaded);
    state.wants_load = false;
    shared.phase.send_replace(Phase::Ready);
    Ok(model)
}

/// A model that has answered its first question, with the adapter `other` where that is not the loader's own.
fn make(
    shared: &Shared,
    other: Option<Option<PathBuf>>,
    read: impl FnOnce(),
) -> Result<(Box<dyn Model>, Loaded), ModelError> {
    let start = Instant::now();
    // A panic of the loader leaves it as it was: it reads files.
    let mut model = shared.loader.lock().unwrap_or_else(PoisonError::into_inner)()?;
    read();
    model.warm_up()?;
    if let Some(adapter) = &other {
        model.set_adapter(adapter.as_deref())?;
    }
    let adapter = other.as_ref().unwrap_or(&shared.options.adapter);
    let loaded = described(model.as_ref(), adapter.as_deref());
    tracing::info!(model = loaded.info.name, seconds = start.elapsed().as_secs_f64(), "the model is ready");
    Ok((model, loaded))
}

/// Puts a fresh model in the place of the old one. What waits was made for the old one, and is asked again. None where the
/// adapter, which was chosen while it was loaded, does not fit it.
fn renew(shared: &Shared, fresh: Fresh) -> Result<Option<Box<dyn Model>>, String> {
    let Fresh { mut model, mut loaded, adapter, reply } = fresh;
    let chosen = shared.state().adapter.clone();
    if adapter != chosen {
        if let Err(problem) = guarded(|| model.set_adapter(chosen.as_deref())) {
            let _ = reply.send(Err(problem));
            return Ok(None);
        }
        loaded = described(model.as_ref(), chosen.as_deref());
    }
    shared.checksum.start(files(&loaded.info));
    let info = loaded.info.clone();
    let mut state = shared.state();
    state.loaded = Some(loaded);
    (state.wants_load, state.failed) = (false, None);
    for entry in std::mem::take(&mut state.entries) {
        shared.release(&mut state, &entry.work);
        let _ = entry.reply.send(Err(ScoreError::Renewed));
    }
    shared.phase.send_replace(Phase::Ready);
    drop(state);
    let _ = reply.send(Ok(info));
    Ok(Some(model))
}

/// The model as seen from outside its thread.
fn described(model: &dyn Model, adapter: Option<&Path>) -> Loaded {
    let info = model.info();
    let identity = identity(&info, adapter);
    Loaded { info, tokenizer: model.tokenizer(), identity }
}

/// Distinguishes the answers of a model and an adapter, as their files are now.
fn identity(info: &ModelInfo, adapter: Option<&Path>) -> Digest {
    let weights = adapter.map(|dir| {
        let files = ["adapter_config.json", "adapter_model.safetensors"].map(|name| file_identity(&dir.join(name)));
        digest([&files[0][..], &files[1]])
    });
    let files = files_identity(&files(info));
    let weights = weights.as_ref().map_or(&[][..], |weights| weights);
    // Factors of positions may depend on the longest prompt.
    let context = (info.context_length as u64).to_le_bytes();
    digest([&accel_model::NUMBERS.to_le_bytes(), info.name.as_bytes(), &files, weights, &context])
}

/// All files of a model.
fn files(info: &ModelInfo) -> Vec<PathBuf> {
    [&info.file].into_iter().chain(&info.further_files).cloned().collect()
}

fn swap_adapter(shared: &Shared, model: &mut dyn Model, swap: Swap) -> Result<(), String> {
    let (adapter, reply) = (swap.adapter, swap.reply);
    let outcome = caught(|| model.set_adapter(adapter.as_deref()))?;
    let answer = outcome.map(|()| {
        let loaded = described(model, adapter.as_deref());
        let info = loaded.info.clone();
        let mut state = shared.state();
        state.loaded = Some(loaded);
        state.adapter = adapter;
        // What the other adapter answered of a request must not be mixed with what this one will.
        for entry in &mut state.entries {
            entry.rows.clear();
        }
        info
    });
    let _ = reply.send(answer);
    Ok(())
}

/// Asks the model a piece of the entries. An error is a panic; what the model itself refuses is the entry's affair.
fn piece(shared: &Shared, model: &mut dyn Model, mut entries: Vec<Entry>) -> Result<(), String> {
    let Some(identity) = shared.state().loaded.as_ref().map(|loaded| loaded.identity) else { return Ok(()) };
    let start = Instant::now();
    for (came, entry) in entries.iter_mut().filter_map(|entry| Some((entry.waiting.take()?, entry))) {
        shared.metrics.queue_wait.observe((start - came).as_secs_f64());
        record(&entry.trace, "queue", came, vec![KeyValue::new("accel.items", entry.work.items.len() as i64)], None);
    }
    let outcome = caught(|| advance(shared, model, &mut entries, &identity));
    shared.metrics.pieces.observe(start.elapsed().as_secs_f64());
    let mut state = shared.state();
    let (outcomes, tokens) = match outcome {
        Ok(done) => done,
        Err(problem) => {
            // Answered with all others, once it is known that the model is gone.
            for entry in entries.into_iter().rev() {
                record(&entry.trace, FORWARD, start, Vec::new(), Some(&problem));
                state.entries.push_front(entry);
            }
            return Err(problem);
        }
    };
    // What was answered before says nothing of the model's speed.
    if tokens > 0 {
        let speed = tokens as f64 / start.elapsed().as_secs_f64().max(1e-6);
        state.speed = Some(state.speed.map_or(speed, |before| 0.8 * before + 0.2 * speed));
    }
    for (mut entry, outcome) in entries.into_iter().zip(outcomes) {
        let answer = match outcome {
            Ok(()) if !entry.left().is_empty() => {
                state.entries.push_back(entry);
                continue;
            }
            Ok(()) => Ok(std::mem::take(&mut entry.rows)),
            Err(ModelError::Cancelled) => {
                shared.abandon(&mut state, entry);
                continue;
            }
            Err(error) => Err(ScoreError::from(error)),
        };
        shared.release(&mut state, &entry.work);
        // Whoever asked may have left just now.
        let _ = entry.reply.send(answer);
    }
    Ok(())
}

/// The next items of an entry: those answered before, and the keys of those to ask.
struct Step {
    known: Vec<Option<Row>>,
    keys: Vec<Digest>,
    tokens: usize,
}

/// Looks up the next items of `entry`, and makes a prompt of those that nobody asked before; none where all are known. It
/// ends before one that another entry of the piece asks: its answer is kept then.
fn step(shared: &Shared, entry: &Entry, identity: &Digest, asked: &mut HashSet<Digest>) -> (Step, Option<Prompt>) {
    let mut step = Step { known: Vec::new(), keys: Vec::new(), tokens: 0 };
    let mut items = Vec::new();
    for item in entry.left() {
        let full = items.len() == PIECE_ITEMS || step.tokens + item.tokens.len() > PIECE_TOKENS;
        // A long run of cached items must not hold up others either.
        if (full && !items.is_empty()) || step.known.len() == 16 * PIECE_ITEMS {
            break;
        }
        let key = key(identity, &item.content);
        let known = shared.cache.get(&key);
        if known.is_none() {
            if !asked.insert(key) {
                break;
            }
            step.tokens += item.tokens.len();
            step.keys.push(key);
            items.push(item.tokens.clone());
        }
        step.known.push(known);
    }
    if items.is_empty() {
        return (step, None);
    }
    step.tokens += entry.work.prefix.len();
    let prompt = Prompt { prefix: entry.work.prefix.clone(), items, labels: entry.work.labels.clone() };
    (step, Some(prompt))
}

/// Appends the answers to the next items of each entry, cached or asked. How each went, and the tokens that were read.
fn advance(
    shared: &Shared,
    model: &mut dyn Model,
    entries: &mut [Entry],
    identity: &Digest,
) -> (Vec<Result<(), ModelError>>, usize) {
    let (mut steps, mut prompts, mut asking) = (Vec::new(), Vec::new(), Vec::new());
    let mut asked = HashSet::new();
    for (place, entry) in entries.iter().enumerate() {
        let (step, prompt) = step(shared, entry, identity, &mut asked);
        steps.push(step);
        if let Some(prompt) = prompt {
            prompts.push(prompt);
            asking.push(place);
        }
    }
    let unwanted = |prompt: usize| !entries[asking[prompt]].wanted() || shared.state().closed;
    let start = Instant::now();
    let answers = if prompts.is_empty() { Vec::new() } else { model.score_together(&prompts, &unwanted) };
    let mut answers: Vec<_> = answers.into_iter().zip(&prompts).map(|(rows, prompt)| check(rows?, prompt)).collect();
    // A model that leaves prompts out is broken.
    answers.resize_with(prompts.len(), || Err(ModelError::Internal("fewer answers than prompts".into())));
    for (place, answer) in asking.iter().zip(&answers) {
        let (entry, step) = (&entries[*place], &steps[*place]);
        let counts = [("items", step.keys.len()), ("tokens", step.tokens), ("requests", prompts.len())];
        let counts = counts.map(|(name, count)| KeyValue::new(format!("accel.{name}"), count as i64)).to_vec();
        record(&entry.trace, FORWARD, start, counts, answer.as_ref().err().map(|error| error as _));
    }
    let mut answers = asking.into_iter().zip(answers).peekable();
    let (mut outcomes, mut tokens) = (Vec::new(), 0);
    for ((place, entry), step) in entries.iter_mut().enumerate().zip(steps) {
        let fresh = match answers.next_if(|(asking, _)| *asking == place) {
            None => Vec::new(),
            Some((_, Ok(rows))) => rows,
            Some((_, Err(error))) => {
                outcomes.push(Err(error));
                continue;
            }
        };
        tokens += step.tokens;
        shared.metrics.items.inc_by(fresh.len() as u64);
        shared.metrics.tokens.inc_by(step.tokens as u64);
        if !fresh.is_empty() {
            shared.cache.put(step.keys.into_iter().zip(fresh.iter().cloned()).collect());
        }
        let mut fresh = fresh.into_iter();
        entry.rows.extend(step.known.into_iter().filter_map(|known| known.or_else(|| fresh.next())));
        outcomes.push(Ok(()));
    }
    (outcomes, tokens)
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
