//! A language model on this machine, asked one thing: how likely is each label after a prompt?
//!
//! One GGUF model (Mistral-7B-Instruct first) is loaded and asked; nothing is generated. The types of questions, answers
//! and errors are always here, and so is [`fetch`], which downloads a model from the hub. What
//! computes needs the feature `candle`; without it, the same names answer with an error that names the cure.
//!
//! - [`loader`]: makes the model in a file; [`Model`] and [`Tokenize`]: what is asked of it.
//! - `local`: the model itself; [`quantize`]: Hugging Face safetensors to GGUF.
//! - [`client`]: HTTP clients, whose TLS is ring's.

pub mod client;
mod error;
pub mod fetch;
pub mod flags;
#[cfg(feature = "candle")]
pub mod local;
#[cfg(feature = "candle")]
pub mod quantize;
#[cfg(not(feature = "candle"))]
mod without_candle;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

pub use error::ModelError;
#[cfg(feature = "candle")]
pub use local::{LlamaConfig, LocalModel, TextTokenizer, loader};
#[cfg(not(feature = "candle"))]
pub use without_candle::{loader, quantize};

accel_ground::closed! {
    /// Where the model is computed.
    #[derive(Default)]
    pub enum DeviceKind("device", "device") {
        /// On the processor.
        #[default]
        Cpu = "cpu" titled "The processor",
        /// On the first NVIDIA GPU; needs the feature `cuda`.
        Cuda = "cuda" titled "An NVIDIA GPU, in a server built with it",
        /// On an Apple GPU; needs the feature `metal`.
        Metal = "metal" titled "An Apple GPU, in a server built with it",
    }
}

/// What a model is loaded with.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// A `tokenizer.json` in the place of the file's own tokenizer.
    pub tokenizer: Option<PathBuf>,
    /// The folder of a PEFT LoRA adapter.
    pub adapter: Option<PathBuf>,
    /// Where to compute.
    pub device: DeviceKind,
    /// The longest prompt in tokens; none: what the model was made for, or, where its positions have factors for short and for
    /// long contexts (LongRoPE), the length that it was first trained for. A longer one takes the factors for long contexts,
    /// for all prompts.
    pub context: Option<usize>,
    /// Threads that compute; none: one per core.
    pub threads: Option<usize>,
    /// How many compute at once, each on one thread, with the same weights; none: one, on all threads.
    pub replicas: Option<NonZeroUsize>,
}

/// A question: what follows the prefix and each item?
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prompt {
    /// The tokens that all items have before them.
    pub prefix: Vec<u32>,
    /// The tokens of each item.
    pub items: Vec<Vec<u32>>,
    /// The tokens asked for.
    pub labels: Vec<u32>,
}

/// Which numbers the same file gives: greater by one whenever they change, so that kept answers are asked again.
pub const NUMBERS: u32 = 3;

/// log P(label | prefix item) over the whole vocabulary, one row per item, one column per label.
pub type LabelLogProbs = Vec<Vec<f32>>;

/// What is loaded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelInfo {
    /// The name that the file gives, or the file's.
    pub name: String,
    /// The kind of model.
    pub architecture: String,
    /// The file, or the first of several.
    pub file: PathBuf,
    /// The others, in order.
    #[serde(skip)]
    pub further_files: Vec<PathBuf>,
    /// The size of all.
    pub file_bytes: u64,
    /// All numbers of the model.
    pub parameters: u64,
    /// The types of its weights, those with the most bytes first.
    pub quantization: String,
    /// The longest prompt in tokens.
    pub context_length: usize,
    /// Tokens that the model knows.
    pub vocabulary: usize,
    /// Blocks of attention and MLP.
    pub layers: usize,
    /// The adapter's folder, if there is one.
    pub adapter: Option<String>,
    /// Where it is computed.
    pub device: DeviceKind,
}

/// A model that one thread owns. Tests have one of their own.
pub trait Model: Send {
    /// One pass, so that everything that happens once is over.
    fn warm_up(&mut self) -> Result<(), ModelError>;
    /// What it is.
    fn info(&self) -> ModelInfo;
    /// Its tokenizer, for any thread.
    fn tokenizer(&self) -> Arc<dyn Tokenize>;
    /// Takes the adapter in `dir`, or none; on an error the old one stays.
    fn set_adapter(&mut self, dir: Option<&Path>) -> Result<(), ModelError>;
    /// log P(label | prefix item); `cancelled` is asked between passes.
    fn score(&mut self, prompt: &Prompt, cancelled: &dyn Fn() -> bool) -> Result<LabelLogProbs, ModelError>;
    /// The answers to several prompts, each as [`Model::score`] gives it; passes may be shared. `cancelled` is asked of the
    /// prompt at a place.
    fn score_together(
        &mut self,
        prompts: &[Prompt],
        cancelled: &dyn Fn(usize) -> bool,
    ) -> Vec<Result<LabelLogProbs, ModelError>> {
        prompts.iter().enumerate().map(|(place, prompt)| self.score(prompt, &|| cancelled(place))).collect()
    }
}

/// Text to tokens.
pub trait Tokenize: Send + Sync {
    /// The tokens of `text`, at the start of a prompt or continuing one.
    fn encode(&self, text: &str, start: bool) -> Result<Vec<u32>, ModelError>;
    /// The one token that each label adds after `context`.
    fn label_tokens(&self, context: &str, labels: &[String]) -> Result<Vec<u32>, ModelError>;
}

/// Makes a model; called on the thread that owns it, and again after a failure.
pub type Loader = Box<dyn FnMut() -> Result<Box<dyn Model>, ModelError> + Send>;
