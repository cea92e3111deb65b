//! What can go wrong with a model, each with the place and the cure.

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
    /// A label cannot be distinguished from the others by one token.
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
