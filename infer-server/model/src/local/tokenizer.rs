//! Text to the tokens of the model: from the GGUF's own metadata, or from a `tokenizer.json`.
//!
//! Control tokens in a text stay text: `<s>` in a trace's name does not end the prompt.

use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use tokenizers::Tokenizer;

use super::bpe::{self, Family};
use super::gguf::{Gguf, whole};
use super::spm::{Kind, SPACE, Spm};
use crate::error::ModelError;

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
        let vocabulary = tokenizer.get_vocab(true).values().max().map_or(0, |last| *last as usize + 1);
        Self::json(path, tokenizer, first, vocabulary, limit)
    }

    fn json(
        path: &Path,
        mut tokenizer: Tokenizer,
        first: Option<u32>,
        vocabulary: usize,
        limit: usize,
    ) -> Result<Self, ModelError> {
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
        let longest = tokenizer.get_vocab(true).keys().map(String::len).max().unwrap_or(1);
        let algorithm = Algorithm::Json { tokenizer: Box::new(tokenizer), anchor };
        Ok(Self { algorithm, first, vocabulary, longest, limit })
    }

    fn from_gguf(gguf: &Gguf, kind: &str, limit: usize) -> Result<Self, ModelError> {
        let path = &gguf.path;
        let flag = |name: &str, otherwise| gguf.flag(&format!("tokenizer.ggml.{name}")).unwrap_or(otherwise);
        let tokens = tokens(gguf)?;
        let bos = gguf.whole("tokenizer.ggml.bos_token_id")?;
        let first = |wanted: bool| match bos.filter(|_| wanted) {
            None if wanted => Err(bad(path, "tokenizer.ggml.bos_token_id is missing", CURE)),
            Some(id) if id >= tokens.len() => {
                let problem = format!("tokenizer.ggml.bos_token_id is {id}, and there are {} tokens", tokens.len());
                Err(bad(path, problem, "The file is at fault: take another of the model, or convert it again"))
            }
            id => Ok(id.map(|id| id as u32)),
        };
        let vocabulary = tokens.len();
        match kind {
            "llama" => {
                let scores = scores(gguf, tokens.len())?;
                let pieces: Vec<_> =
                    tokens.iter().zip(scores).map(|((text, kind), score)| (*text, score, *kind)).collect();
                let algorithm = Algorithm::Spm {
                    pieces: Spm::new(&pieces).map_err(|problem| bad(path, problem, CURE))?,
                    space_first: flag("add_space_prefix", true),
                };
                let longest = tokens.iter().map(|(text, _)| text.len()).max().unwrap_or(1);
                Ok(Self { algorithm, first: first(flag("add_bos_token", true))?, vocabulary, longest, limit })
            }
            "gpt2" => {
                let refused = |problem: String| bad(path, problem, CURE);
                let family = Family::named(gguf.text("tokenizer.ggml.pre")).map_err(refused)?;
                let tokenizer = bpe::tokenizer(gguf, family, &tokens).map_err(refused)?;
                Self::json(path, tokenizer, first(flag("add_bos_token", family.first))?, vocabulary, limit)
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

/// The tokens with their kinds; where the file has none, kinds follow from what tokens are.
fn tokens(gguf: &Gguf) -> Result<Vec<(&str, Kind)>, ModelError> {
    let refused = |problem: String| bad(&gguf.path, problem, CURE);
    let list = gguf.list("tokenizer.ggml.tokens");
    let list = list.ok_or_else(|| refused("tokenizer.ggml.tokens is missing or no list".into()))?;
    let texts = list.iter().enumerate().map(|(id, token)| match token {
        Value::String(text) => Ok(text.as_str()),
        other => Err(refused(format!("token {id} is {other:?}, and no text"))),
    });
    let texts: Vec<&str> = texts.collect::<Result<_, _>>()?;
    let Some(kinds) = gguf.list("tokenizer.ggml.token_type") else {
        let id_of = |name: &str| gguf.whole(&format!("tokenizer.ggml.{name}_token_id"));
        let (unknown, ends) = (id_of("unknown")?, [id_of("bos")?, id_of("eos")?, id_of("padding")?]);
        let kind = |(id, text): (usize, &str)| match text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')) {
            _ if unknown == Some(id) => Kind::Unknown,
            _ if ends.contains(&Some(id)) => Kind::Control,
            Some(digits) if digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok() => Kind::Byte,
            _ => Kind::Normal,
        };
        return Ok(texts.iter().enumerate().map(|(id, text)| (*text, kind((id, text)))).collect());
    };
    if texts.len() != kinds.len() {
        return Err(refused(format!("{} tokens and {} kinds", texts.len(), kinds.len())));
    }
    let rows = texts.into_iter().zip(kinds).enumerate();
    rows.map(|(id, (text, kind))| match whole(kind) {
        Some(1) => Ok((text, Kind::Normal)),
        Some(2) => Ok((text, Kind::Unknown)),
        Some(3) => Ok((text, Kind::Control)),
        Some(4) => Ok((text, Kind::UserDefined)),
        Some(5) => Ok((text, Kind::Unused)),
        Some(6) => Ok((text, Kind::Byte)),
        _ => Err(refused(format!("token {id} has the kind {kind:?}"))),
    })
    .collect()
}

/// The scores of a SentencePiece model's tokens.
fn scores(gguf: &Gguf, tokens: usize) -> Result<Vec<f32>, ModelError> {
    let refused = |problem: String| bad(&gguf.path, problem, CURE);
    let list = gguf.list("tokenizer.ggml.scores");
    let list = list.ok_or_else(|| refused("tokenizer.ggml.scores is missing or no list".into()))?;
    if list.len() != tokens {
        return Err(refused(format!("{tokens} tokens, {} scores", list.len())));
    }
    let score = |(id, score): (usize, &Value)| match score {
        Value::F32(score) => Ok(*score),
        other => Err(refused(format!("token {id} has the score {other:?}"))),
    };
    list.iter().enumerate().map(score).collect()
}
