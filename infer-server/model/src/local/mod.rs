//! The model itself: mapped, packed at the first pass and asked for many items behind one prefix at once.
//!
//! - `gguf`: the file's header, sizes and weights; `mapped`: its bytes in memory.
//! - [`tokenizer`]: text to tokens; `spm`: SentencePiece's algorithm.
//! - [`llama`]: the forward pass; `lora`: adapters; [`learn`]: makes one.

mod gguf;
pub mod learn;
pub mod llama;
mod lora;
mod mapped;
mod projection;
mod spm;
#[cfg(test)]
mod tests;
pub mod tokenizer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;

use crate::error::ModelError;
use crate::{DeviceKind, LabelLogProbs, LoadOptions, Loader, Model, ModelInfo, Prompt, Tokenize};

pub use gguf::LlamaConfig;
pub use tokenizer::TextTokenizer;

use gguf::Gguf;
use llama::{Llama, Past};
use lora::Adapter;
use mapped::MappedFile;

/// The most tokens of a pass: weights are unpacked once per pass. Items of 30 tokens took .102, .088, .079, .076 and .080 s
/// of one core's time each in passes of up to 32, 64, 128, 256 and 512 tokens (the file of `cargo xtask bench model`).
const PASS_TOKENS: usize = 256;
/// The most scores of attention in a pass and layer, 256 MiB of f32: long prefixes make passes shorter.
const PASS_SCORES: usize = 64 << 20;
/// The most bytes of keys and values kept for prefixes, besides the one in use: 4000 tokens of a Mistral-7B.
const PREFIX_BYTES: usize = 1 << 30;
/// The most prefixes kept: a query, and others that come in between.
const PREFIXES: usize = 8;

/// A loaded model. It computes on one thread at a time, which takes all cores.
pub struct LocalModel {
    file: Arc<MappedFile>,
    llama: Llama,
    adapter: Option<Adapter>,
    tokenizer: Arc<TextTokenizer>,
    device: Device,
    info: ModelInfo,
    /// The last used first.
    prefixes: Vec<(Vec<u32>, Past)>,
}

impl std::fmt::Debug for LocalModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalModel").field("info", &self.info).finish_non_exhaustive()
    }
}

impl LocalModel {
    /// Maps the file and checks all of it but the numbers.
    ///
    /// # Errors
    /// Each with the place and the cure: the file, its architecture, the tokenizer, the adapter, the device.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Self, ModelError> {
        check_threads(options.threads)?;
        let device = open_device(options.device)?;
        let gguf = Gguf::open(path)?;
        let config = gguf.config()?;
        let tokenizer = TextTokenizer::of(&gguf, options.tokenizer.as_deref(), config.context)?;
        let tokenizer = Arc::new(tokenizer.fits(config.vocabulary, path)?);
        let adapter = options.adapter.as_deref().map(|dir| lora::load(dir, &config, &device)).transpose()?;
        for ((from, to), count) in gguf.slow_types() {
            tracing::info!(file = %path.display(), count, from, to, "re-quantising weights of a slow type");
        }
        let llama = Llama::load(&gguf, &device)?;
        let stem = || path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let info = ModelInfo {
            name: gguf.text("general.name").map_or_else(stem, str::to_owned),
            architecture: "llama".into(),
            file: path.to_owned(),
            file_bytes: gguf.file.bytes().len() as u64,
            parameters: gguf.parameters(),
            quantization: gguf.quantization(),
            context_length: config.context,
            vocabulary: config.vocabulary,
            layers: config.layers,
            adapter: None,
            device: options.device,
        };
        Ok(Self { file: gguf.file, llama, adapter, tokenizer, device, info, prefixes: Vec::new() })
    }

    /// One pass, at which candle packs the weights; then the file's pages are given back.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub fn warm_up(&mut self) -> Result<(), ModelError> {
        // More than one row everywhere: a single row runs on weights that are not packed.
        let tokens = vec![0; 32.min(self.info.context_length / 2).max(1)];
        let prompt = Prompt { prefix: tokens.clone(), items: vec![tokens; 2], labels: vec![0] };
        let scored = self.score(&prompt, &|| false);
        self.prefixes.clear();
        self.file.release();
        scored.map(|_| ())
    }

    /// What is loaded.
    pub fn info(&self) -> ModelInfo {
        ModelInfo { adapter: self.adapter.as_ref().map(|adapter| adapter.name.clone()), ..self.info.clone() }
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> Arc<TextTokenizer> {
        Arc::clone(&self.tokenizer)
    }

    /// Takes another adapter, or none, from the next question on.
    ///
    /// # Errors
    /// [`ModelError::Adapter`]: then the old one stays.
    pub fn set_adapter(&mut self, dir: Option<&Path>) -> Result<(), ModelError> {
        self.adapter = dir.map(|dir| lora::load(dir, &self.llama.config, &self.device)).transpose()?;
        self.prefixes.clear();
        Ok(())
    }

    /// Asks for all items, in passes of some hundred tokens behind the prefix. `cancelled` is asked before each.
    ///
    /// # Errors
    /// What is wrong with the prompt, an answer that is not finite, or that it was cancelled.
    pub fn score(&mut self, prompt: &Prompt, cancelled: &dyn Fn() -> bool) -> Result<LabelLogProbs, ModelError> {
        self.check(prompt)?;
        let past = self.prefix(&prompt.prefix, cancelled)?;
        let mut rows = Vec::with_capacity(prompt.items.len());
        let mut left = &prompt.items[..];
        while let Some(first) = left.first() {
            // A long item goes through like a prefix, but for its last tokens.
            let most = self.pass_tokens(past.tokens + first.len());
            let (past, items) = if first.len() > most {
                let (head, tail) = first.split_at(first.len() - most);
                (self.extend(past.clone(), head, cancelled)?, vec![tail])
            } else {
                let mut tokens = 0;
                let fitting = left.iter().take_while(|item| {
                    tokens += item.len();
                    tokens <= most
                });
                (past.clone(), fitting.map(Vec::as_slice).collect())
            };
            if cancelled() {
                return Err(ModelError::Cancelled);
            }
            let logits = self.llama.logits(&past, &items, self.adapter.as_ref())?.to_vec2::<f32>()?;
            for logits in &logits {
                let item = rows.len();
                rows.push(log_probabilities(logits, &prompt.labels).ok_or(ModelError::NotFinite { item })?);
            }
            left = &left[items.len()..];
        }
        Ok(rows)
    }

    fn check(&self, prompt: &Prompt) -> Result<(), ModelError> {
        let longest = prompt.items.iter().map(Vec::len).max().unwrap_or(0);
        let (tokens, limit) = (prompt.prefix.len() + longest, self.info.context_length);
        if tokens > limit {
            return Err(ModelError::TooLong { tokens, limit });
        }
        if let Some(item) = prompt.items.iter().position(Vec::is_empty) {
            let problem = "it has no tokens. Leave it out, or give it a text".into();
            return Err(ModelError::Prompt { place: format!("item {item}"), problem });
        }
        let lists = [("prefix", &prompt.prefix), ("labels", &prompt.labels)];
        for (place, tokens) in lists.into_iter().chain(prompt.items.iter().map(|item| ("items", item))) {
            if let Some(token) = tokens.iter().find(|token| **token as usize >= self.info.vocabulary) {
                let problem = format!("token {token}, and the model knows {}", self.info.vocabulary);
                return Err(ModelError::Prompt { place: place.into(), problem });
            }
        }
        Ok(())
    }

    /// The most tokens of a pass in which the last sees `columns` tokens.
    fn pass_tokens(&self, columns: usize) -> usize {
        (PASS_SCORES / self.llama.config.heads / columns.max(1)).clamp(1, PASS_TOKENS)
    }

    fn extend(&self, mut past: Past, tokens: &[u32], cancelled: &dyn Fn() -> bool) -> Result<Past, ModelError> {
        let most = self.pass_tokens(past.tokens + tokens.len());
        for part in tokens.chunks(most) {
            if cancelled() {
                return Err(ModelError::Cancelled);
            }
            past = self.llama.extend(&past, part, self.adapter.as_ref())?;
        }
        Ok(past)
    }

    /// The prefix's keys and values: kept ones as far as they go, the rest computed.
    fn prefix(&mut self, prefix: &[u32], cancelled: &dyn Fn() -> bool) -> Result<Past, ModelError> {
        if prefix.is_empty() {
            return Ok(Past::default());
        }
        let common = |kept: &[u32]| kept.iter().zip(prefix).take_while(|(a, b)| a == b).count();
        let nearest = self.prefixes.iter().enumerate().max_by_key(|(_, (kept, _))| common(kept));
        let past = match nearest.map(|(at, (kept, past))| (at, kept.len(), common(kept), past)) {
            Some((at, length, shared, _)) if shared == prefix.len() && shared == length => {
                let (kept, past) = self.prefixes.remove(at);
                self.prefixes.insert(0, (kept, past.clone()));
                return Ok(past);
            }
            Some((_, _, shared, past)) => past.truncated(shared)?,
            None => Past::default(),
        };
        let rest = &prefix[past.tokens..];
        let past = self.extend(past, rest, cancelled)?;
        self.prefixes.insert(0, (prefix.to_vec(), past.clone()));
        let config = &self.llama.config;
        let token_bytes = 2 * config.layers * config.kv_heads * config.head_dim * size_of::<f32>();
        let mut bytes = 0;
        self.prefixes.truncate(PREFIXES);
        self.prefixes.retain(|(kept, _)| {
            bytes += kept.len() * token_bytes;
            bytes <= PREFIX_BYTES || kept == prefix
        });
        Ok(past)
    }
}

/// Makes the model in `path`, whenever it is called.
///
/// # Errors
/// None: what is wrong with the file is reported when it is loaded.
pub fn loader(path: PathBuf, options: LoadOptions) -> Result<Loader, ModelError> {
    Ok(Box::new(move || Ok(Box::new(LocalModel::load(&path, &options)?) as Box<dyn Model>)))
}

impl Model for LocalModel {
    fn warm_up(&mut self) -> Result<(), ModelError> {
        Self::warm_up(self)
    }

    fn info(&self) -> ModelInfo {
        Self::info(self)
    }

    fn tokenizer(&self) -> Arc<dyn Tokenize> {
        Self::tokenizer(self)
    }

    fn set_adapter(&mut self, dir: Option<&Path>) -> Result<(), ModelError> {
        Self::set_adapter(self, dir)
    }

    fn score(&mut self, prompt: &Prompt, cancelled: &dyn Fn() -> bool) -> Result<LabelLogProbs, ModelError> {
        Self::score(self, prompt, cancelled)
    }
}

impl Tokenize for TextTokenizer {
    fn encode(&self, text: &str, start: bool) -> Result<Vec<u32>, ModelError> {
        Self::encode(self, text, start)
    }

    fn label_tokens(&self, context: &str, labels: &[String]) -> Result<Vec<u32>, ModelError> {
        Self::label_tokens(self, context, labels)
    }
}

/// Whatever candle refuses past the checks made here is a fault of these checks.
impl From<candle_core::Error> for ModelError {
    fn from(error: candle_core::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

/// The device of a kind.
fn open_device(kind: DeviceKind) -> Result<Device, ModelError> {
    let device = match kind {
        DeviceKind::Cpu => return Ok(Device::Cpu),
        DeviceKind::Cuda => Device::new_cuda(0),
        DeviceKind::Metal => Device::new_metal(0),
    };
    device.map_err(|error| ModelError::Unsupported {
        path: format!("device {kind}"),
        problem: error.to_string(),
        cure: format!("Build the server with `--features {kind}` on a machine that has one, or take the CPU"),
    })
}

/// log softmax at the labels; none where a logit is not finite.
fn log_probabilities(logits: &[f32], labels: &[u32]) -> Option<Vec<f32>> {
    if !logits.iter().all(|logit| logit.is_finite()) {
        return None;
    }
    let most = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - most).exp()).sum();
    let log_sum = most + sum.ln();
    labels.iter().map(|label| logits.get(*label as usize).map(|logit| (f64::from(*logit) - log_sum) as f32)).collect()
}

/// candle takes its threads from the environment, once and for all.
fn check_threads(threads: Option<usize>) -> Result<(), ModelError> {
    let running = candle_core::utils::barrier_pool().n_workers() + 1;
    match threads {
        Some(threads) if threads != running => Err(ModelError::Unsupported {
            path: "threads".into(),
            problem: format!("{threads} are asked for and {running} compute"),
            cure: format!("Start the server with RAYON_NUM_THREADS={threads} in its environment"),
        }),
        _ => Ok(()),
    }
}
