//! The model itself: mapped, packed at the first pass and asked for many items behind one prefix at once.
//!
//! - `gguf`: the file's header, values and weights; `mapped`: its bytes in memory.
//! - `config`: architectures and sizes; `rope`: rotary positions; `projection`, `matrix`: a layer's matrices.
//! - [`tokenizer`]: text to tokens; `spm`: SentencePiece's algorithm; `bpe`: byte-level BPE and its families.
//! - `passes`: several prompts in shared passes; `prefixes`: what they begin with, kept.
//! - [`llama`]: the forward pass; `fused`: steps of it in one; `lora`: adapters; [`learn`]: makes one.

mod bpe;
mod config;
mod fused;
mod gguf;
pub mod learn;
pub mod llama;
mod lora;
mod mapped;
mod matrix;
mod passes;
mod prefixes;
mod projection;
mod rope;
mod spm;
#[cfg(test)]
mod tests;
pub mod tokenizer;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::ModelError;
use crate::{DeviceKind, LabelLogProbs, LoadOptions, Loader, Model, ModelInfo, Prompt, Tokenize};

pub use config::LlamaConfig;
pub use tokenizer::TextTokenizer;

use gguf::Gguf;
use llama::Llama;
use lora::Adapter;
use mapped::MappedFile;
use prefixes::Prefixes;

/// What one replica has of its own: the weights are shared.
struct Replica {
    prefixes: Prefixes,
    /// Where it computes what candle divides by rayon, if there are others.
    pool: Option<Arc<ThreadPool>>,
}

/// A loaded model. It computes on one thread at a time, which takes all cores; or each replica on a thread of its own.
pub struct LocalModel {
    files: Vec<Arc<MappedFile>>,
    llama: Llama,
    adapter: Option<Adapter>,
    tokenizer: Arc<TextTokenizer>,
    device: Device,
    info: ModelInfo,
    replicas: Vec<Replica>,
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
        let replicas = replicas(options)?;
        let device = open_device(options.device)?;
        let gguf = Gguf::open(path)?;
        let config = LlamaConfig::read(&gguf, options.context)?;
        let tokenizer = TextTokenizer::of(&gguf, options.tokenizer.as_deref(), config.context)?;
        let tokenizer = Arc::new(tokenizer.fits(config.vocabulary, path)?);
        let adapter = options.adapter.as_deref().map(|dir| lora::load(dir, &config, &device)).transpose()?;
        for ((from, to), (count, bytes)) in gguf.slow_types(&device) {
            let file = path.display();
            tracing::warn!(%file, count, from, to, bytes, "weights of a type without fast kernels are recoded: they take so many bytes of memory, and loading takes longer. A Q4_K_M or Q8_0 file needs neither");
        }
        let llama = Llama::load(&gguf, config.clone(), &device)?;
        let stem = || path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let info = ModelInfo {
            name: gguf.text("general.name").map_or_else(stem, str::to_owned),
            architecture: config.architecture.name.into(),
            file: path.to_owned(),
            further_files: gguf.further.clone(),
            file_bytes: gguf.bytes(),
            parameters: gguf.parameters(),
            quantization: gguf.quantization(),
            context_length: config.context,
            vocabulary: config.vocabulary,
            layers: config.layers,
            adapter: None,
            device: options.device,
        };
        Ok(Self { files: gguf.files, llama, adapter, tokenizer, device, info, replicas })
    }

    /// Packs the weights, and does one pass; then the file's pages are given back.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub fn warm_up(&mut self) -> Result<(), ModelError> {
        if self.device.is_cpu() {
            self.llama.pack()?;
        }
        // More than one row everywhere: a single row runs on weights that are not packed. GPUs choose kernels by the rows.
        let rows = if self.llama.packs() && !self.device.is_cpu() { 32 } else { 2 };
        let tokens = vec![0; rows.min(self.info.context_length / 2).max(1)];
        let prompt = Prompt { prefix: tokens.clone(), items: vec![tokens; 2], labels: vec![0] };
        let scored = self.score(&prompt, &|| false);
        self.forget();
        self.files.iter().for_each(|file| file.release());
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
        self.forget();
        Ok(())
    }

    fn forget(&mut self) {
        self.replicas.iter_mut().for_each(|replica| replica.prefixes.clear());
    }

    /// Asks for all items, in passes of some hundred tokens behind the prefix. `cancelled` is asked before each.
    ///
    /// # Errors
    /// What is wrong with the prompt, an answer that is not finite, or that it was cancelled.
    pub fn score(&mut self, prompt: &Prompt, cancelled: &dyn Fn() -> bool) -> Result<LabelLogProbs, ModelError> {
        let answer = self.score_together(std::slice::from_ref(prompt), &|_| cancelled()).pop();
        answer.unwrap_or_else(|| Err(ModelError::Internal("no answer to a prompt".into())))
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

    fn score_together(
        &mut self,
        prompts: &[Prompt],
        cancelled: &dyn Fn(usize) -> bool,
    ) -> Vec<Result<LabelLogProbs, ModelError>> {
        Self::score_together(self, prompts, cancelled)
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

/// Replicas, each with a pool of its own where there are several.
fn replicas(options: &LoadOptions) -> Result<Vec<Replica>, ModelError> {
    let count = options.replicas.map_or(1, NonZeroUsize::get);
    // candle divides its products among threads of one pool, which serves one caller at a time; it takes their number from
    // the environment, once and for all.
    let running = candle_core::utils::barrier_pool().n_workers() + 1;
    let wanted = if count > 1 { options.threads.or(Some(1)) } else { options.threads };
    if let Some(threads) = wanted.filter(|threads| *threads != running || (count > 1 && *threads > 1)) {
        let problem = match count {
            1 => format!("{threads} are asked for and {running} compute"),
            _ => format!(
                "{count} replicas compute on one thread each, and {threads} are asked for where {running} compute"
            ),
        };
        let threads = if count > 1 { 1 } else { threads };
        let cure = format!("Start the server with RAYON_NUM_THREADS={threads} in its environment");
        return Err(ModelError::Unsupported { path: "threads".into(), problem, cure });
    }
    if count == 1 {
        return Ok(vec![Replica { prefixes: Prefixes::default(), pool: None }]);
    }
    let replica = |number| {
        let name = move |_| format!("replica-{number}");
        let pool = ThreadPoolBuilder::new().num_threads(1).thread_name(name).build();
        let pool = pool.map_err(|error| ModelError::Internal(format!("no thread for a replica: {error}")))?;
        Ok(Replica { prefixes: Prefixes::default(), pool: Some(Arc::new(pool)) })
    };
    (0..count).map(replica).collect()
}
