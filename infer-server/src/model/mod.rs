//! The local model: the types that the server and the model agree on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

/// Where a model computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum DeviceKind {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// An Apple GPU.
    Metal,
}

/// How to load a model.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// A `tokenizer.json` instead of the file's own.
    pub tokenizer: Option<PathBuf>,
    /// The folder of a PEFT adapter.
    pub adapter: Option<PathBuf>,
    /// Where to compute.
    pub device: DeviceKind,
    /// Threads; all cores if none.
    pub threads: Option<usize>,
}

/// What is asked: which label follows the prefix and an item?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Tokens before every item.
    pub prefix: Vec<u32>,
    /// Tokens of each item.
    pub items: Vec<Vec<u32>>,
    /// The token of each label.
    pub labels: Vec<u32>,
}

/// log P(label | prefix item) over the whole vocabulary, one row an item, one column a label.
pub type LabelLogProbs = Vec<Vec<f32>>;

/// What a model is.
#[derive(Debug, Clone, Serialize)]
pub struct ModelInfo {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Its file.
    pub file: PathBuf,
    /// The file's size.
    pub file_bytes: u64,
    /// How many weights it has.
    pub parameters: u64,
    /// How they are stored.
    pub quantization: String,
    /// The most tokens of a prompt.
    pub context_length: usize,
    /// How many tokens there are.
    pub vocabulary: usize,
    /// How many layers there are.
    pub layers: usize,
    /// The adapter, if any.
    pub adapter: Option<String>,
    /// Where it computes.
    pub device: String,
}

/// Why a model does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be read.
    #[error("{0}")]
    File(String),
    /// A label is not one token.
    #[error("{0}")]
    Label(String),
    /// More tokens than the model reads.
    #[error("the prompt has {tokens} tokens, and the model reads {limit}")]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens the model reads.
        limit: usize,
    },
    /// The model's answer is not a number.
    #[error("{0}")]
    NotFinite(String),
    /// The caller no longer wants an answer.
    #[error("cancelled")]
    Cancelled,
    /// A broken promise inside the program.
    #[error("{0}")]
    Internal(String),
}

/// Placeholder of this branch: the model itself is built on another one.
#[derive(Debug)]
pub struct LocalModel;

/// Placeholder of this branch.
#[derive(Debug)]
pub struct TextTokenizer;

impl TextTokenizer {
    /// The tokens of `text`.
    pub fn encode(&self, _text: &str, _start: bool) -> Result<Vec<u32>, ModelError> {
        Err(ModelError::Internal("no model in this build".into()))
    }

    /// The one token that each label adds after `context`.
    pub fn label_tokens(&self, _context: &str, _labels: &[String]) -> Result<Vec<u32>, ModelError> {
        Err(ModelError::Internal("no model in this build".into()))
    }
}

impl LocalModel {
    /// Maps the file.
    pub fn load(path: &Path, _options: &LoadOptions) -> Result<Self, ModelError> {
        Err(ModelError::File(format!("{}: no model in this build", path.display())))
    }

    /// Packs the weights.
    pub fn warm_up(&mut self) -> Result<(), ModelError> {
        Ok(())
    }

    /// What it is.
    pub fn info(&self) -> ModelInfo {
        unreachable!("never loaded")
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> Arc<TextTokenizer> {
        unreachable!("never loaded")
    }

    /// Swaps the adapter.
    pub fn set_adapter(&mut self, _dir: Option<&Path>) -> Result<(), ModelError> {
        Ok(())
    }

    /// Scores a prompt.
    pub fn score(&mut self, _prompt: &Prompt, _cancelled: &dyn Fn() -> bool) -> Result<LabelLogProbs, ModelError> {
        Err(ModelError::Internal("no model in this build".into()))
    }
}
