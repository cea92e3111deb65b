//! Byte-level BPE from a GGUF's metadata: its merges, and how its family cuts a text into words first.
//!
//! Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units", 2016. The expressions are
//! those of the families' `tokenizer.json`; their names in GGUF files and what goes with them: `llama-vocab.cpp`.

use candle_core::quantized::gguf_file::Value;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior::Isolated;
use tokenizers::{AddedToken, Tokenizer};

use super::gguf::Gguf;
use super::spm::Kind;

/// How a family makes tokens of a text.
pub(super) struct Family {
    /// Its names in GGUF files.
    names: &'static [&'static str],
    /// Each match is a word of its own, and what is between matches; one expression after the other.
    words: &'static [&'static str],
    /// A text begins with the first token, where the file does not say.
    pub(super) first: bool,
    /// A word that is a token as a whole is not taken apart.
    whole_words: bool,
    /// Characters and what is combined with them become one where Unicode has one (NFC), which llama.cpp leaves out.
    composed: bool,
}

const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Punctuation with letters behind it, words with their marks, and lines, after digits and East Asian text.
const DEEPSEEK_3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

const PLAIN: Family = Family { names: &[], words: &[], first: false, whole_words: false, composed: false };

/// Those that are built.
static FAMILIES: [Family; 11] = [
    Family {
        names: &["llama-bpe", "llama-v3", "llama3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        words: &[LLAMA_3],
        first: true,
        whole_words: true,
        ..PLAIN
    },
    Family { names: &["smaug-bpe", "dbrx", "chatglm-bpe", "glm4"], words: &[LLAMA_3], ..PLAIN },
    Family {
        names: &["qwen2", "deepseek-r1-qwen", "megrez", "kormo", "hunyuan"],
        words: &[QWEN_2],
        composed: true,
        ..PLAIN
    },
    Family { names: &["stablelm2"], words: &[QWEN_2], ..PLAIN },
    Family { names: &["qwen35"], words: &[QWEN_35], composed: true, ..PLAIN },
    Family {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        words: &[r"\p{N}", GPT_2],
        ..PLAIN
    },
    Family {
        names: &["gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "gigachat", "exaone4"],
        words: &[GPT_2],
        ..PLAIN
    },
    Family { names: &["tekken"], words: &[TEKKEN], first: true, whole_words: true, ..PLAIN },
    Family { names: &["gpt-4o", "llama4", "kanana2"], words: &[GPT_4O], ..PLAIN },
    Family {
        names: &["deepseek-v3", "hunyuan-dense"],
        words: &[r"\p{N}{1,3}", r"[一-龥\u3040-ゟ゠-ヿ]+", DEEPSEEK_3],
        ..PLAIN
    },
    Family {
        names: &["deepseek-coder"],
        words: &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-\uD7FF]+", r"\p{N}"],
        ..PLAIN
    },
];

/// What llama.cpp takes where a file names no family, or this one: no family cuts so.
static DEFAULT: Family =
    Family { names: &["default"], words: &[r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", r"[0-9][0-9][0-9]"], ..PLAIN };

impl Family {
    /// By the name in the file; none has one.
    pub(super) fn named(name: Option<&str>) -> Result<&'static Self, String> {
        let Some(name) = name.filter(|name| !DEFAULT.names.contains(name)) else {
            tracing::warn!("the file does not say how its tokenizer cuts words: taking llama.cpp's default");
            return Ok(&DEFAULT);
        };
        FAMILIES.iter().find(|family| family.names.contains(&name)).ok_or_else(|| {
            let names: Vec<_> = FAMILIES.iter().flat_map(|family| family.names).copied().collect();
            format!("the pre-tokenizer {name} is not built, only {}", names.join(", "))
        })
    }
}

/// The tokenizer of a file, whose `tokens` have kinds. Control tokens are no tokens of a text.
pub(super) fn tokenizer(gguf: &Gguf, family: &Family, tokens: &[(&str, Kind)]) -> Result<Tokenizer, String> {
    let merges = gguf.list("tokenizer.ggml.merges").ok_or("tokenizer.ggml.merges is missing or no list")?;
    let pair = |(i, merge): (usize, &Value)| match merge {
        // A token may be a space, so that the first letter is none that parts.
        Value::String(merge) => merge
            .char_indices()
            .skip(1)
            .find(|(_, letter)| *letter == ' ')
            .map(|(at, _)| (merge[..at].to_owned(), merge[at + 1..].to_owned()))
            .ok_or_else(|| format!("merge {i}, {merge:?}, is no pair")),
        other => Err(format!("merge {i} is {other:?}, and no text")),
    };
    let merges = merges.iter().enumerate().map(pair).collect::<Result<Vec<_>, _>>()?;
    let texts = tokens.iter().zip(0u32..).filter(|((_, kind), _)| !matches!(kind, Kind::Control | Kind::Unknown));
    let vocabulary: Vocab = texts.map(|((text, _), id)| ((*text).to_owned(), id)).collect();
    let whole_words = gguf.flag("tokenizer.ggml.ignore_merges").unwrap_or(family.whole_words);
    let model = BPE::builder().vocab_and_merges(vocabulary, merges);
    let model = model.ignore_merges(whole_words).build().map_err(|error| error.to_string())?;
    let mut tokenizer = Tokenizer::new(model);
    if family.composed {
        tokenizer.with_normalizer(Some(NFC)).map_err(|error| error.to_string())?;
    }
    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    for words in family.words {
        let split = Split::new(SplitPattern::Regex((*words).to_owned()), Isolated, false);
        steps.push(split.map_err(|error| error.to_string())?.into());
    }
    steps.push(ByteLevel::new(false, true, false).into());
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    let always = tokens.iter().filter(|(text, kind)| *kind == Kind::UserDefined && !text.is_empty());
    let always: Vec<_> = always.map(|(text, _)| AddedToken::from(*text, false).normalized(false)).collect();
    tokenizer.add_tokens(always).map_err(|error| error.to_string())?;
    Ok(tokenizer)
}
