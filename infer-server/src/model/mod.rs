//! The local model: the types that the server and the model agree on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

/// Where a model computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
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
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    pub device: DeviceKind,
}

/// Why a model, an adapter or a prompt is refused.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be read, or is not what it says it is.
    #[error("{path}: {problem}. {cure}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        cure: String,
    },
    /// The file is sound, and asks for something that is not built.
    #[error("{path}: {problem}. {cure}")]
    Unsupported {
        /// The file, or the option.
        path: String,
        /// What is asked for.
        problem: String,
        /// What to do.
        cure: String,
    },
    /// There is no tokenizer, or it does not fit.
    #[error("tokenizer of {path}: {problem}. {cure}")]
    Tokenizer {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        cure: String,
    },
    /// The LoRA adapter cannot be applied to this model.
    #[error("adapter {path}: {problem}. {cure}")]
    Adapter {
        /// The adapter's folder, or the file in it.
        path: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        cure: String,
    },
    /// A label cannot be told from the others by one token.
    #[error("label {label:?}: {problem}. {cure}")]
    Label {
        /// The label.
        label: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        cure: String,
    },
    /// The prompt cannot be asked: an item without tokens, or a token that the model does not know.
    #[error("{place}: {problem}")]
    Prompt {
        /// Where in the prompt.
        place: String,
        /// What is wrong there, and the cure.
        problem: String,
    },
    /// The prompt is longer than the model's context.
    #[error("the prompt has at least {tokens} tokens and the model takes {limit}. Shorten the query or the item")]
    TooLong {
        /// Tokens of the prefix and the longest item.
        tokens: usize,
        /// The most that the model takes.
        limit: usize,
    },
    /// The model's answer is not a number.
    #[error(
        "the answer for item {item} has logits that are not finite. Check the model file: its weights are damaged or overflow"
    )]
    NotFinite {
        /// The item, from 0.
        item: usize,
    },
    /// Nobody waits for the answer any more.
    #[error("cancelled")]
    Cancelled,
    /// A fault of this program.
    #[error("internal error of the model: {0}")]
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
        Err(ModelError::Unsupported {
            path: path.display().to_string(),
            problem: "no model in this build".into(),
            cure: "Merge the branch that has it".into(),
        })
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
