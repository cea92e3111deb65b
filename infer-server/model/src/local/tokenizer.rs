//! Text to the tokens of the model: from the GGUF's own metadata, or from a `tokenizer.json`.
//!
//! Control tokens in a text stay text: `<s>` in a trace's name does not end the prompt.

use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::tokenizer::TokenizerFromGguf as _;
use tokenizers::Tokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;

use super::gguf::Gguf;
use super::spm::{Kind, SPACE, Spm};
use crate::error::ModelError;

/// Pre-tokenisers of byte-level BPE: the name in GGUF files, the name in candle's table, and whether llama.cpp puts
/// the first token before a text where the file does not say (`llama-vocab.cpp`).
const PRE_TOKENIZERS: [(&str, &str, bool); 7] = [
    ("llama-bpe", "llama3", true),
    ("llama-v3", "llama3", true),
    ("llama3", "llama3", true),
    ("smaug-bpe", "smaug-bpe", false),
    ("qwen2", "qwen2", false),
    ("deepseek-r1-qwen", "qwen2", false),
    (SMOLLM, "gpt2", false),
];
/// GPT-2's after each digit is taken apart, as SmolLM's `tokenizer.json` has it, and not in candle's table.
const SMOLLM: &str = "smollm";
/// A line end never merges with what follows in the vocabularies that put a space before a text, which is checked.
const ANCHOR: &str = "\n";
const CURE: &str = "Name the model's own tokenizer.json with --tokenizer";

/// Turns text into tokens. Shared between threads.
#[derive(Debug)]
pub struct TextTokenizer {
    algorithm: Algorithm,
    /// What every prompt starts with.
    first: Option<u32>,
    vocabulary: usize,
    /// Bytes of the longest token: a text has at least its bytes divided by these tokens.
    longest: usize,
    /// Tokens that the model takes.
    limit: usize,
}

#[derive(Debug)]
enum Algorithm {
    Spm {
        pieces: Spm,
        /// Whether a text's start counts as a word's start.
        space_first: bool,
    },
    Json {
        tokenizer: Box<Tokenizer>,
        /// The tokens of [`ANCHOR`], where the tokenizer puts a space before every text.
        anchor: Option<Vec<u32>>,
    },
}

impl TextTokenizer {
    /// The file named, or the GGUF's own, or the `tokenizer.json` beside it.
    pub(super) fn of(gguf: &Gguf, named: Option<&Path>, limit: usize) -> Result<Self, ModelError> {
        let beside = gguf.path.with_file_name("tokenizer.json");
        let tokenizer = match (named, gguf.text("tokenizer.ggml.model")) {
            (Some(named), _) => Self::from_json(named, limit)?,
            (None, Some(kind)) => Self::from_gguf(gguf, kind, limit)?,
            (None, None) if beside.is_file() => Self::from_json(&beside, limit)?,
            (None, None) => {
                let problem = "the GGUF has none, and no tokenizer.json lies beside it";
                return Err(bad(&gguf.path, problem, CURE));
            }
        };
        Ok(tokenizer)
    }

    /// Refuses a tokenizer that knows tokens the model does not.
    pub(super) fn fits(self, vocabulary: usize, model: &Path) -> Result<Self, ModelError> {
        if self.vocabulary > vocabulary {
            let problem = format!("it has {} tokens and the model {vocabulary}", self.vocabulary);
            return Err(bad(model, problem, CURE));
        }
        Ok(self)
    }

    fn from_json(path: &Path, limit: usize) -> Result<Self, ModelError> {
        let tokenizer = Tokenizer::from_file(path)
            .map_err(|error| bad(path, format!("cannot be read: {error}"), "Give the tokenizer.json of the model"))?;
        // What the file's template puts before a text; a prompt has no end.
        let ids = |special| tokenizer.encode("a", special).map(|encoding| encoding.get_ids().to_vec());
        let whole = ids(true).and_then(|whole| Ok((whole, ids(false)?)));
        let (whole, plain) = whole.map_err(|error| bad(path, error.to_string(), CURE))?;
        let before = whole.windows(plain.len().max(1)).position(|part| part == plain).unwrap_or(0);
        if before > 1 {
            return Err(bad(path, "it puts more than one token before a text", CURE));
        }
        let first = whole.first().copied().filter(|_| before == 1);
        Self::json(path, tokenizer, first, limit)
    }

    fn json(path: &Path, mut tokenizer: Tokenizer, first: Option<u32>, limit: usize) -> Result<Self, ModelError> {
        let internal = |error: tokenizers::Error| bad(path, error.to_string(), CURE);
        tokenizer.with_truncation(None).map_err(internal)?;
        tokenizer.with_padding(None);
        tokenizer.set_encode_special_tokens(true);
        let starts_with_space = tokenizer
            .encode("a", false)
            .map_err(internal)?
            .get_tokens()
            .first()
            .is_some_and(|token| token.starts_with(SPACE));
        let anchor = match starts_with_space {
            true => Some(tokenizer.encode(ANCHOR, false).map_err(internal)?.get_ids().to_vec()),
            false => None,
        };
        let vocabulary = tokenizer.get_vocab(true);
        let longest = vocabulary.keys().map(String::len).max().unwrap_or(1);
        let vocabulary = vocabulary.values().max().map_or(0, |last| *last as usize + 1);
        let algorithm = Algorithm::Json { tokenizer: Box::new(tokenizer), anchor };
        Ok(Self { algorithm, first, vocabulary, longest, limit })
    }

    fn from_gguf(gguf: &Gguf, kind: &str, limit: usize) -> Result<Self, ModelError> {
        let path = &gguf.path;
        let flag = |name: &str, otherwise| gguf.flag(&format!("tokenizer.ggml.{name}")).unwrap_or(otherwise);
        let bos = gguf.whole("tokenizer.ggml.bos_token_id")?.map(|id| id as u32);
        let first = |wanted: bool| match (wanted, bos) {
            (true, None) => Err(bad(path, "tokenizer.ggml.bos_token_id is missing", CURE)),
            (wanted, bos) => Ok(bos.filter(|_| wanted)),
        };
        match kind {
            "llama" => {
                let tokens = pieces(gguf)?;
                let algorithm = Algorithm::Spm {
                    pieces: Spm::new(&tokens).map_err(|problem| bad(path, problem, CURE))?,
                    space_first: flag("add_space_prefix", true),
                };
                let longest = tokens.iter().map(|(text, ..)| text.len()).max().unwrap_or(1);
                let vocabulary = tokens.len();
                Ok(Self { algorithm, first: first(flag("add_bos_token", true))?, vocabulary, longest, limit })
            }
            "gpt2" => {
                let pre = gguf.text("tokenizer.ggml.pre").unwrap_or("default");
                let known = PRE_TOKENIZERS.iter().find(|(name, ..)| *name == pre);
                let Some((_, candles, starts)) = known else {
                    let names = PRE_TOKENIZERS.map(|(name, ..)| name).join(", ");
                    let problem = format!("the pre-tokenizer {pre} is not built, only {names}");
                    return Err(bad(path, problem, CURE));
                };
                let mut tokenizer = byte_level(gguf, candles).map_err(|error| bad(path, error.to_string(), CURE))?;
                if pre == SMOLLM {
                    let parts = vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()];
                    tokenizer.with_pre_tokenizer(Some(Sequence::new(parts)));
                }
                Self::json(path, tokenizer, first(flag("add_bos_token", *starts))?, limit)
            }
            other => Err(bad(path, format!("the kind {other} is not built, only llama and gpt2"), CURE)),
        }
    }

    /// The tokens of `text`: with the model's first token where a prompt starts, else just those that continue one.
    ///
    /// # Errors
    /// [`ModelError::TooLong`] where the text cannot fit into the model's context, before it is looked at closely.
    pub fn encode(&self, text: &str, start: bool) -> Result<Vec<u32>, ModelError> {
        let least = text.len() / self.longest;
        if least > self.limit {
            return Err(ModelError::TooLong { tokens: least, limit: self.limit });
        }
        let mut tokens: Vec<u32> = self.first.filter(|_| start).into_iter().collect();
        match &self.algorithm {
            Algorithm::Spm { pieces, space_first } => {
                let mut normal = String::with_capacity(text.len() + 3);
                if start && *space_first && !text.is_empty() {
                    normal.push(SPACE);
                }
                normal.extend(text.chars().map(|character| if character == ' ' { SPACE } else { character }));
                tokens.extend(pieces.encode(&normal));
            }
            Algorithm::Json { tokenizer, anchor } => {
                let encode = |text: &str| tokenizer.encode_fast(text, false).map_err(|e| refused(e.to_string()));
                match anchor.as_deref().filter(|_| !start) {
                    None => tokens.extend(encode(text)?.get_ids()),
                    Some(anchor) => {
                        let anchored = encode(&format!("{ANCHOR}{text}"))?;
                        let rest = anchored.get_ids().strip_prefix(anchor);
                        tokens.extend(rest.ok_or_else(|| refused("a line end merges with the text after it".into()))?);
                    }
                }
            }
        }
        Ok(tokens)
    }

    /// The one token that each label adds after `context`.
    ///
    /// # Errors
    /// [`ModelError::Label`] where appending a label adds another number of tokens, changes those before it, or gives
    /// the token of another label.
    pub fn label_tokens(&self, context: &str, labels: &[String]) -> Result<Vec<u32>, ModelError> {
        let cure =
            "Choose labels that are single tokens, such as the digits 0 to 9, and end the item where one follows";
        let mut tokens: Vec<u32> = Vec::with_capacity(labels.len());
        // As a whole prompt and as its continuation: the label must be the same token.
        let before = [self.encode(context, true)?, self.encode(context, false)?];
        for label in labels {
            let bad = |problem: String| ModelError::Label { label: label.clone(), problem, cure: cure.into() };
            let mut found = None;
            for (before, start) in before.iter().zip([true, false]) {
                let with = self.encode(&format!("{context}{label}"), start)?;
                match with.strip_prefix(&before[..]) {
                    Some([token]) => match found.replace(*token) {
                        Some(other) if other != *token => {
                            return Err(bad("its token depends on how the prompt begins".into()));
                        }
                        _ => {}
                    },
                    Some(added) => return Err(bad(format!("it is {} tokens after the prompt", added.len()))),
                    None => return Err(bad("it changes the tokens before it".into())),
                }
            }
            let token = found.ok_or_else(|| ModelError::Internal("a label without a token".into()))?;
            if let Some(same) = tokens.iter().position(|other| *other == token) {
                return Err(bad(format!("it is the same token as {:?}", labels[same])));
            }
            tokens.push(token);
        }
        Ok(tokens)
    }
}

fn bad(path: &Path, problem: impl Into<String>, cure: &str) -> ModelError {
    ModelError::Tokenizer { path: path.display().to_string(), problem: problem.into(), cure: cure.into() }
}

fn refused(problem: String) -> ModelError {
    ModelError::Prompt { place: "text".into(), problem }
}

/// The tokens of a SentencePiece model with scores and kinds.
fn pieces(gguf: &Gguf) -> Result<Vec<(&str, f32, Kind)>, ModelError> {
    let list = |name: &str| match gguf.value(&format!("tokenizer.ggml.{name}")) {
        Some(Value::Array(values)) => Ok(values),
        _ => Err(bad(&gguf.path, format!("tokenizer.ggml.{name} is missing or no list"), CURE)),
    };
    let (tokens, scores, kinds) = (list("tokens")?, list("scores")?, list("token_type")?);
    if tokens.len() != scores.len() || tokens.len() != kinds.len() {
        let problem = format!("{} tokens, {} scores and {} kinds", tokens.len(), scores.len(), kinds.len());
        return Err(bad(&gguf.path, problem, CURE));
    }
    let rows = tokens.iter().zip(scores).zip(kinds).enumerate();
    rows.map(|(id, row)| {
        let kind = match row.1 {
            Value::I32(1) => Kind::Normal,
            Value::I32(2) => Kind::Unknown,
            Value::I32(3) => Kind::Control,
            Value::I32(4) => Kind::UserDefined,
            Value::I32(5) => Kind::Unused,
            Value::I32(6) => Kind::Byte,
            other => return Err(bad(&gguf.path, format!("token {id} has the kind {other:?}"), CURE)),
        };
        match row.0 {
            (Value::String(text), Value::F32(score)) => Ok((text.as_str(), *score, kind)),
            _ => Err(bad(&gguf.path, format!("token {id} is no text with a score"), CURE)),
        }
    })
    .collect()
}

/// candle's byte-level BPE, with the pre-tokeniser's name as candle knows it.
fn byte_level(gguf: &Gguf, pre: &str) -> candle_core::Result<Tokenizer> {
    let tokenizer = |key: &&String| key.starts_with("tokenizer.");
    let metadata = gguf.content.metadata.iter().filter(|(key, _)| tokenizer(key));
    let mut metadata: std::collections::HashMap<_, _> = metadata.map(|(k, v)| (k.clone(), v.clone())).collect();
    metadata.insert("tokenizer.ggml.pre".into(), Value::String(pre.into()));
    // The text's beginning is put before it here, not there.
    for key in ["add_bos_token", "add_eos_token"] {
        metadata.insert(format!("tokenizer.ggml.{key}"), Value::Bool(false));
    }
    // llama.cpp does so for Llama 3: a word that is a token as a whole is not taken apart.
    metadata.entry("tokenizer.ggml.ignore_merges".into()).or_insert(Value::Bool(pre == "llama3"));
    let magic = gguf.content.magic;
    Tokenizer::from_gguf(&Content { magic, metadata, tensor_infos: Default::default(), tensor_data_offset: 0 })
}
