//! The tokenizer of a Hugging Face folder as the `tokenizer.ggml.*` keys of a GGUF.
//!
//! Three kinds are read: `tokenizer.model` of SentencePiece; `tokenizer.json` with a BPE that falls back to bytes, which
//! is how SentencePiece's comes out of transformers; and `tokenizer.json` with a BPE over bytes, as Llama 3 has it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use accel_core::error::{Error, Place};
use prost::Message as _;
use serde::Deserialize;
use serde_json::Value as Json;

use super::config::Config;
use super::gguf::{Metadata, Value};
use super::{read_bytes, read_json, refuse};

/// Kinds of tokens: `llama_token_type` of llama.h, which are SentencePiece's own numbers.
mod kind {
    pub(super) const NORMAL: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const CONTROL: i32 = 3;
    pub(super) const USER_DEFINED: i32 = 4;
    pub(super) const UNUSED: i32 = 5;
    pub(super) const BYTE: i32 = 6;
}

/// The score of a token that is never the result of a merge, as convert_hf_to_gguf.py of llama.cpp has it.
const UNMERGED_SCORE: f32 = -1000.0;
/// The score of an id without a token, from the same place.
const UNUSED_SCORE: f32 = -10000.0;

/// The parts of sentencepiece_model.proto that are read, with its field numbers
/// (<https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto>).
mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Model {
        #[prost(message, repeated, tag = "1")]
        pub(super) pieces: Vec<Piece>,
        #[prost(message, optional, tag = "2")]
        pub(super) trainer: Option<Trainer>,
        #[prost(message, optional, tag = "3")]
        pub(super) normalizer: Option<Normalizer>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Piece {
        #[prost(string, tag = "1")]
        pub(super) piece: String,
        #[prost(float, tag = "2")]
        pub(super) score: f32,
        #[prost(int32, optional, tag = "3")]
        pub(super) kind: Option<i32>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Trainer {
        #[prost(int32, optional, tag = "3")]
        pub(super) model_type: Option<i32>,
        #[prost(int32, optional, tag = "40")]
        pub(super) unk_id: Option<i32>,
        #[prost(int32, optional, tag = "41")]
        pub(super) bos_id: Option<i32>,
        #[prost(int32, optional, tag = "42")]
        pub(super) eos_id: Option<i32>,
        #[prost(int32, optional, tag = "43")]
        pub(super) pad_id: Option<i32>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Normalizer {
        #[prost(bytes = "vec", tag = "2")]
        pub(super) precompiled_charsmap: Vec<u8>,
        #[prost(bool, optional, tag = "3")]
        pub(super) add_dummy_prefix: Option<bool>,
        #[prost(bool, optional, tag = "4")]
        pub(super) remove_extra_whitespaces: Option<bool>,
    }
}

/// `TrainerSpec.ModelType.BPE` of SentencePiece.
const SENTENCEPIECE_BPE: i32 = 2;

/// The expressions by which a BPE over bytes cuts a text into words, and the names that llama.cpp gives them: first that
/// of Llama 3, then Mistral's Tekken. Without one, words are cut as GPT-2 does.
const WORDS: [(&str, &str); 2] = [
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "llama-bpe",
    ),
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "tekken",
    ),
];

/// The tokens, and how a text becomes them.
struct Vocabulary {
    /// `llama` (merges by score) or `gpt2` (merges by rank).
    model: &'static str,
    /// The name that llama.cpp has for how a text is cut into words.
    words: &'static str,
    tokens: Vec<Token>,
    merges: Vec<String>,
    add_space_prefix: bool,
    add_bos: Option<bool>,
    add_eos: Option<bool>,
    /// Ids by name (`bos`, `eos`, `unk`, `pad`), where the file names them.
    ids: Vec<(&'static str, u32)>,
}

#[derive(Clone)]
struct Token {
    text: String,
    score: f32,
    kind: i32,
}

impl Token {
    /// For an id that no text leads to.
    fn unused(id: usize) -> Self {
        Self { text: format!("[PAD{id}]"), score: UNUSED_SCORE, kind: kind::UNUSED }
    }
}

/// `tokenizer_config.json`: what overrides the tokenizer's own file.
#[derive(Default, Deserialize)]
struct Settings {
    add_bos_token: Option<bool>,
    add_eos_token: Option<bool>,
    add_prefix_space: Option<bool>,
    bos_token: Option<Json>,
    eos_token: Option<Json>,
    unk_token: Option<Json>,
    pad_token: Option<Json>,
    chat_template: Option<Json>,
    #[serde(default)]
    added_tokens_decoder: BTreeMap<String, Added>,
}

#[derive(Deserialize)]
struct Added {
    content: String,
    #[serde(default)]
    special: bool,
    id: Option<u32>,
}

/// Reads the tokenizer in `dir`; what a user should know of goes to `warnings`.
///
/// # Errors
/// Where there is none, or it is broken or of a kind that is not read.
pub(super) fn read(dir: &Path, config: &Config, warnings: &mut Vec<String>) -> Result<Metadata, Error> {
    let settings_path = dir.join("tokenizer_config.json");
    let settings: Settings =
        if settings_path.is_file() { read_json(&settings_path, "Download it again")? } else { Settings::default() };
    let (sentencepiece, json) = (dir.join("tokenizer.model"), dir.join("tokenizer.json"));
    let mut vocabulary = if sentencepiece.is_file() {
        read_sentencepiece(&sentencepiece, warnings)?
    } else if json.is_file() {
        read_tokenizer_json(&json, warnings)?
    } else {
        let cure = "Download tokenizer.model or tokenizer.json of the model into the folder";
        return Err(refuse(dir, Place::Whole, "there is no tokenizer", cure));
    };
    let added = settings.added_tokens_decoder.iter().filter_map(|(id, token)| Some((id.parse().ok()?, token)));
    add_tokens(&mut vocabulary.tokens, added, config.vocabulary);
    fit(&mut vocabulary.tokens, config.vocabulary, warnings);
    // What transformers makes of SentencePiece's names the unknown token only among the settings.
    let unknown = name_of(settings.unk_token.as_ref());
    for token in vocabulary.tokens.iter_mut().filter(|t| unknown == Some(t.text.as_str()) && t.kind == kind::CONTROL) {
        token.kind = kind::UNKNOWN;
    }
    Ok(metadata(vocabulary, &settings, config, dir))
}

/// A token among the settings: a text, or an object with more about it.
fn name_of(token: Option<&Json>) -> Option<&str> {
    token.and_then(|t| t.as_str().or_else(|| t["content"].as_str()))
}

/// Puts tokens that were added after training where their ids are.
fn add_tokens<'a>(tokens: &mut Vec<Token>, added: impl Iterator<Item = (usize, &'a Added)>, most: usize) {
    for (id, token) in added.filter(|(id, _)| *id < most) {
        while tokens.len() <= id {
            tokens.push(Token::unused(tokens.len()));
        }
        let old = &tokens[id];
        let same = old.text == token.content;
        let kind = match (old.kind, token.special) {
            // What a tokenizer says of its own tokens is more than `special`.
            (kind::UNKNOWN | kind::BYTE, _) if same => old.kind,
            (_, true) => kind::CONTROL,
            (_, false) => kind::USER_DEFINED,
        };
        let text = if kind == kind::USER_DEFINED { token.content.replace('▁', " ") } else { token.content.clone() };
        tokens[id] = Token { text, score: if same { old.score } else { UNMERGED_SCORE }, kind };
    }
}

/// As many tokens as the model has rows for them.
fn fit(tokens: &mut Vec<Token>, rows: usize, warnings: &mut Vec<String>) {
    if tokens.len() > rows {
        warnings.push(format!(
            "the tokenizer has {} tokens, the model {rows} rows for them: the tokens from {rows} on are left out",
            tokens.len()
        ));
        tokens.truncate(rows);
    }
    while tokens.len() < rows {
        tokens.push(Token::unused(tokens.len()));
    }
}

fn read_sentencepiece(path: &Path, warnings: &mut Vec<String>) -> Result<Vocabulary, Error> {
    let broken = |problem: String| refuse(path, Place::Whole, problem, "Download it again");
    let model = proto::Model::decode(read_bytes(path, "Download it again")?.as_slice())
        .map_err(|error| broken(format!("it is no SentencePiece model: {error}")))?;
    if model.pieces.is_empty() {
        return Err(broken("it has no tokens. A file of a few lines is a Git LFS pointer, not the model".to_owned()));
    }
    let trainer = model.trainer.unwrap_or_default();
    // Unigram is SentencePiece's default. llama.cpp merges by score, which is what BPE does.
    if trainer.model_type != Some(SENTENCEPIECE_BPE) {
        let cure = "Choose a model of the llama family: its tokenizer is a BPE";
        return Err(refuse(path, Place::Key("trainer_spec.model_type".to_owned()), "it is no BPE", cure));
    }
    let normalizer = model.normalizer.unwrap_or_default();
    // True by default (sentencepiece_model.proto); llama models have neither, and a GGUF of theirs cannot say it.
    let (squeezes, maps) =
        (normalizer.remove_extra_whitespaces.unwrap_or(true), !normalizer.precompiled_charsmap.is_empty());
    for (does, what) in [(squeezes, "joins spaces in a row"), (maps, "replaces characters before it cuts a text")] {
        if does {
            warnings.push(format!("tokenizer.model {what}, which the GGUF cannot say: such texts are cut otherwise"));
        }
    }
    let tokens = model.pieces.into_iter();
    let tokens = tokens.map(|p| Token { text: p.piece, score: p.score, kind: p.kind.unwrap_or(kind::NORMAL) });
    // The defaults of sentencepiece_model.proto; -1 means that there is none.
    let ids = [
        ("unk", trainer.unk_id, 0),
        ("bos", trainer.bos_id, 1),
        ("eos", trainer.eos_id, 2),
        ("pad", trainer.pad_id, -1),
    ];
    Ok(Vocabulary {
        model: "llama",
        words: "default",
        tokens: tokens.collect(),
        merges: Vec::new(),
        add_space_prefix: normalizer.add_dummy_prefix.unwrap_or(true),
        add_bos: None,
        add_eos: None,
        ids: ids
            .into_iter()
            .filter_map(|(name, id, none)| Some((name, u32::try_from(id.unwrap_or(none)).ok()?)))
            .collect(),
    })
}

#[derive(Deserialize)]
struct TokenizerJson {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Json>,
    pre_tokenizer: Option<Json>,
    post_processor: Option<Json>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    vocab: Json,
    #[serde(default)]
    merges: Vec<Merge>,
    #[serde(default)]
    byte_fallback: bool,
    unk_token: Option<String>,
}

/// Old files write a merge as a text, new ones as a pair.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Text(String),
}

impl Merge {
    fn pair(&self) -> Option<(&str, &str)> {
        match self {
            Self::Pair(left, right) => Some((left, right)),
            Self::Text(text) => text.split_once(' '),
        }
    }
}

fn read_tokenizer_json(path: &Path, warnings: &mut Vec<String>) -> Result<Vocabulary, Error> {
    let file: TokenizerJson = read_json(path, "Download it again")?;
    let at = |key: &str, problem: &str, cure: &str| refuse(path, Place::Key(key.to_owned()), problem, cure);
    let kinds = "Choose a model of the llama family: its tokenizer is a BPE";
    if file.model.kind.as_deref().is_some_and(|kind| kind != "BPE") {
        return Err(at("model.type", "it is no BPE", kinds));
    }
    let Ok(vocab) = serde_json::from_value::<HashMap<String, u32>>(file.model.vocab) else {
        return Err(at("model.vocab", "it is no table of tokens and their ids", "Download it again"));
    };
    let Some(merges) = file.model.merges.iter().map(Merge::pair).collect::<Option<Vec<_>>>() else {
        return Err(at("model.merges", "a merge is no pair", "Download it again"));
    };
    let words = byte_words(file.pre_tokenizer.as_ref());
    let (model, words) = match (file.model.byte_fallback, words) {
        (true, None) => ("llama", "default"),
        (false, Some(Ok(words))) => ("gpt2", words),
        (false, Some(Err(()))) => {
            return Err(at("pre_tokenizer", "it cuts words in a way that is not known here", kinds));
        }
        _ => return Err(at("model.byte_fallback", "bytes are neither a fallback nor what it merges", kinds)),
    };
    let scores = if model == "llama" { scores(&merges, &vocab, warnings) } else { HashMap::new() };

    let mut tokens: Vec<Token> = Vec::new();
    let mut by_id: Vec<(&str, usize)> = vocab.iter().map(|(text, id)| (text.as_str(), *id as usize)).collect();
    by_id.sort_unstable_by_key(|(_, id)| *id);
    // Ids may have gaps, but a table that names one far beyond its size is broken.
    if by_id.last().is_some_and(|(_, id)| *id > 2 * vocab.len() + file.added_tokens.len()) {
        return Err(at("model.vocab", "its ids go far beyond its size", "Download it again"));
    }
    for (text, id) in by_id {
        while tokens.len() < id {
            tokens.push(Token::unused(tokens.len()));
        }
        let byte = model == "llama" && is_byte(text);
        let unknown = file.model.unk_token.as_deref() == Some(text);
        let kind = if byte {
            kind::BYTE
        } else if unknown {
            kind::UNKNOWN
        } else {
            kind::NORMAL
        };
        let score = scores.get(text).copied().unwrap_or(UNMERGED_SCORE);
        tokens.truncate(id);
        tokens.push(Token { text: text.to_owned(), score, kind });
    }
    let most = vocab.len() + file.added_tokens.len() + tokens.len();
    add_tokens(&mut tokens, file.added_tokens.iter().filter_map(|t| Some((t.id? as usize, t))), most);
    let (add_bos, add_eos) = template(file.post_processor.as_ref());
    Ok(Vocabulary {
        model,
        words,
        add_space_prefix: model == "llama" && prefixes_space(file.normalizer.as_ref(), file.pre_tokenizer.as_ref()),
        merges: if model == "gpt2" { merges.iter().map(|(l, r)| format!("{l} {r}")).collect() } else { Vec::new() },
        ids: file.model.unk_token.and_then(|t| Some(("unk", *vocab.get(&t)?))).into_iter().collect(),
        tokens,
        add_bos,
        add_eos,
    })
}

/// A merge by score gives what a merge by rank does when a token's score falls with the rank of what makes it.
fn scores<'a>(
    merges: &[(&'a str, &'a str)],
    vocab: &HashMap<String, u32>,
    warnings: &mut Vec<String>,
) -> HashMap<String, f32> {
    let mut scores = HashMap::new();
    for (rank, (left, right)) in merges.iter().enumerate() {
        scores.entry(format!("{left}{right}")).or_insert(-(rank as f32));
    }
    // By score any two tokens merge whose join is one; by rank only the pairs that are listed.
    let listed: std::collections::HashSet<_> = merges.iter().copied().collect();
    let unlisted = |token: &&String| {
        token.char_indices().skip(1).any(|(at, _)| {
            let (left, right) = token.split_at(at);
            vocab.contains_key(left) && vocab.contains_key(right) && !listed.contains(&(left, right))
        })
    };
    let mut odd: Vec<&String> = scores.keys().filter(unlisted).collect();
    if !odd.is_empty() {
        odd.sort_unstable();
        warnings.push(format!(
            "tokenizer.json lists only some of the pairs that make {} of its tokens, such as {:?}: a text with them may \
             be cut otherwise from the GGUF's own tokenizer. Keep tokenizer.json beside the GGUF and name it with \
             --tokenizer, or put tokenizer.model into the folder",
            odd.len(),
            odd[0]
        ));
    }
    scores
}

/// `<0x00>` to `<0xFF>`.
fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
    digits.is_some_and(|d| d.len() == 2 && u8::from_str_radix(d, 16).is_ok())
}

/// The steps of a normalizer or pre-tokenizer, which may be a sequence of others.
fn steps(step: Option<&Json>) -> Vec<&Json> {
    let Some(step) = step else { return Vec::new() };
    let inner = ["normalizers", "pretokenizers"].iter().find_map(|key| step.get(key)?.as_array());
    inner.map_or_else(|| vec![step], |inner| inner.iter().flat_map(|s| steps(Some(s))).collect())
}

/// How words are cut where bytes are merged: `None` where they are not, an error where it is not known.
fn byte_words(pre_tokenizer: Option<&Json>) -> Option<Result<&'static str, ()>> {
    let steps = steps(pre_tokenizer);
    let bytes = steps.iter().find(|s| s["type"] == "ByteLevel")?;
    let others: Vec<_> = steps.iter().filter(|s| s["type"] != "ByteLevel").collect();
    Some(match (others.as_slice(), bytes["use_regex"].as_bool().unwrap_or(true)) {
        ([], true) => Ok("gpt-2"),
        ([split], false) => {
            let pattern = split["pattern"]["Regex"].as_str().unwrap_or_default();
            WORDS.iter().find(|(known, _)| *known == pattern).map(|(_, name)| *name).ok_or(())
        }
        _ => Err(()),
    })
}

/// Whether a text gets a space in front, by a normalizer (older files) or a Metaspace (newer ones).
fn prefixes_space(normalizer: Option<&Json>, pre_tokenizer: Option<&Json>) -> bool {
    let prepends = |s: &&Json| s["type"] == "Prepend";
    let metaspace = |s: &&Json| {
        s["type"] == "Metaspace"
            && s["prepend_scheme"].as_str().map_or(s["add_prefix_space"] == true, |scheme| scheme != "never")
    };
    steps(normalizer).iter().any(prepends) || steps(pre_tokenizer).iter().any(metaspace)
}

/// Whether the template of one text has a token before it, and after it; `None` where there is no template.
fn template(post_processor: Option<&Json>) -> (Option<bool>, Option<bool>) {
    let Some(post_processor) = post_processor else { return (None, None) };
    let inner = post_processor["processors"].as_array();
    let all = inner.map_or_else(|| vec![post_processor], |inner| inner.iter().collect());
    let Some(single) = all.iter().find_map(|p| p["single"].as_array()) else { return (None, None) };
    let special = |piece: Option<&Json>| piece.map(|p| p.get("SpecialToken").is_some());
    (special(single.first()), special(single.last()))
}

/// The keys that convert_hf_to_gguf.py of llama.cpp writes.
fn metadata(vocabulary: Vocabulary, settings: &Settings, config: &Config, dir: &Path) -> Metadata {
    let Vocabulary { model, words, tokens, merges, .. } = vocabulary;
    let mut rows = vec![
        ("model", Value::String(model.to_owned())),
        ("pre", Value::String(words.to_owned())),
        ("tokens", Value::Strings(tokens.iter().map(|t| t.text.clone()).collect())),
    ];
    if model == "llama" {
        rows.push(("scores", Value::F32s(tokens.iter().map(|t| t.score).collect())));
    }
    rows.push(("token_type", Value::I32s(tokens.iter().map(|t| t.kind).collect())));
    if model == "gpt2" {
        rows.push(("merges", Value::Strings(merges)));
    }
    let named = [
        ("bos", "bos_token_id", &settings.bos_token),
        ("eos", "eos_token_id", &settings.eos_token),
        ("unk", "unknown_token_id", &settings.unk_token),
        ("pad", "padding_token_id", &settings.pad_token),
    ];
    for (name, key, text) in named {
        let by_text = name_of(text.as_ref()).and_then(|text| tokens.iter().position(|t| t.text == text));
        let by_id = |ids: &[(&str, u32)]| ids.iter().find(|(of, _)| *of == name).map(|(_, id)| *id);
        let id = by_text.and_then(|id| u32::try_from(id).ok()).or_else(|| by_id(&config.token_ids));
        if let Some(id) = id.or_else(|| by_id(&vocabulary.ids)).filter(|id| (*id as usize) < tokens.len()) {
            rows.push((key, Value::U32(id)));
        }
    }
    // Without a word on it, llama.cpp starts a text with BOS where the tokenizer is SentencePiece's.
    let add_bos = settings.add_bos_token.or(vocabulary.add_bos).unwrap_or(model == "llama");
    rows.push(("add_bos_token", Value::Bool(add_bos)));
    let add_eos = settings.add_eos_token.or(vocabulary.add_eos).unwrap_or(false);
    rows.push(("add_eos_token", Value::Bool(add_eos)));
    if model == "llama" {
        let add_space = settings.add_prefix_space.unwrap_or(vocabulary.add_space_prefix);
        rows.push(("add_space_prefix", Value::Bool(add_space)));
    }
    let mut rows: Metadata = rows.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).collect();
    if let Some(template) = chat_template(settings, &dir.join("chat_template.jinja")) {
        rows.push(("tokenizer.chat_template".to_owned(), Value::String(template)));
    }
    rows
}

/// A chat template stands in a file of its own or among the settings, there alone or as one of several.
fn chat_template(settings: &Settings, file: &PathBuf) -> Option<String> {
    let named = || match settings.chat_template.as_ref()? {
        Json::String(template) => Some(template.clone()),
        Json::Array(all) => all.iter().find(|t| t["name"] == "default")?["template"].as_str().map(str::to_owned),
        _ => None,
    };
    std::fs::read_to_string(file).ok().or_else(named)
}
