//! What the queue asks of a model, and the local model's answer.

use std::path::Path;
use std::sync::Arc;

use accel_model::{LabelLogProbs, LocalModel, ModelError, ModelInfo, Prompt, TextTokenizer};

/// A model that one thread owns. Tests stand in for it.
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
}

/// Text to tokens.
pub trait Tokenize: Send + Sync {
    /// The tokens of `text`, at the start of a prompt or continuing one.
    fn encode(&self, text: &str, start: bool) -> Result<Vec<u32>, ModelError>;
    /// The one token that each label adds after `context`.
    fn label_tokens(&self, context: &str, labels: &[String]) -> Result<Vec<u32>, ModelError>;
}

/// Makes a model; called on the model's own thread, and again after a failure.
pub type Loader = Box<dyn FnMut() -> Result<Box<dyn Model>, ModelError> + Send>;

impl Model for LocalModel {
    fn warm_up(&mut self) -> Result<(), ModelError> {
        LocalModel::warm_up(self)
    }

    fn info(&self) -> ModelInfo {
        LocalModel::info(self)
    }

    fn tokenizer(&self) -> Arc<dyn Tokenize> {
        LocalModel::tokenizer(self)
    }

    fn set_adapter(&mut self, dir: Option<&Path>) -> Result<(), ModelError> {
        LocalModel::set_adapter(self, dir)
    }

    fn score(&mut self, prompt: &Prompt, cancelled: &dyn Fn() -> bool) -> Result<LabelLogProbs, ModelError> {
        LocalModel::score(self, prompt, cancelled)
    }
}

impl Tokenize for TextTokenizer {
    fn encode(&self, text: &str, start: bool) -> Result<Vec<u32>, ModelError> {
        TextTokenizer::encode(self, text, start)
    }

    fn label_tokens(&self, context: &str, labels: &[String]) -> Result<Vec<u32>, ModelError> {
        TextTokenizer::label_tokens(self, context, labels)
    }
}
