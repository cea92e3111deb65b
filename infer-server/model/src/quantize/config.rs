//! `config.json` of a Hugging Face model: what it is, and whether a llama GGUF can say it.

use std::path::Path;

use accel_core::error::{Error, Place};
use serde::Deserialize;
use serde_json::Value as Json;

use super::gguf::{Metadata, Value};
use super::{read_json, refuse};

/// The shape of a model of the llama family.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Config {
    pub(super) name: String,
    pub(super) layers: usize,
    pub(super) width: usize,
    pub(super) inner: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) vocabulary: usize,
    pub(super) context: usize,
    pub(super) norm_epsilon: f32,
    pub(super) rope_base: f32,
    pub(super) sliding_window: Option<usize>,
    pub(super) tied: bool,
    /// Ids by name (`bos`, `eos`, ...), for a tokenizer that names no such token.
    pub(super) token_ids: Vec<(&'static str, u32)>,
}

/// The keys that are read. What is missing has the default of `LlamaConfig` and `MistralConfig` in transformers.
#[derive(Deserialize)]
struct Raw {
    architectures: Option<Vec<String>>,
    #[serde(rename = "_name_or_path")]
    name: Option<String>,
    num_hidden_layers: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<Rope>,
    /// Where transformers 5 keeps both.
    rope_parameters: Option<Rope>,
    sliding_window: Option<usize>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    hidden_act: Option<String>,
    quantization_config: Option<Quantization>,
    bos_token_id: Option<Json>,
    eos_token_id: Option<Json>,
    pad_token_id: Option<Json>,
    unk_token_id: Option<Json>,
}

#[derive(Deserialize)]
struct Rope {
    rope_theta: Option<f64>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
}

#[derive(Deserialize)]
struct Quantization {
    quant_method: Option<String>,
    #[serde(default)]
    load_in_8bit: bool,
}

/// `rope_theta` of `LlamaConfig` and `MistralConfig` in transformers, where the file names none.
const ROPE_THETA: f64 = 10000.0;

/// The most layers: what a recipe may ask for, and several times what any llama has.
const MOST_LAYERS: usize = 1024;

/// Reads `config.json` in `dir`.
///
/// # Errors
/// Where it is not there or broken, or says what a llama GGUF, or its readers, cannot.
pub(super) fn read(dir: &Path) -> Result<Config, Error> {
    let path = dir.join("config.json");
    let cure = "Name the folder of a Hugging Face model with --input";
    let raw: Raw = read_json(&path, cure)?;
    let refuse = |key: &str, problem: String, cure: &str| refuse(&path, Place::Key(key.to_owned()), problem, cure);

    let architectures = raw.architectures.unwrap_or_default();
    if !architectures.iter().any(|a| a == "LlamaForCausalLM" || a == "MistralForCausalLM") {
        let problem = format!("the architecture is {}", list(&architectures));
        return Err(refuse("architectures", problem, "Choose a model of LlamaForCausalLM or MistralForCausalLM"));
    }
    if let Some(quantization) = raw.quantization_config {
        check_quantization(&quantization).map_err(|(problem, cure)| refuse("quantization_config", problem, cure))?;
    }
    let activation = raw.hidden_act.as_deref().unwrap_or("silu");
    if activation != "silu" {
        return Err(refuse(
            "hidden_act",
            format!("the activation is {activation}"),
            "Only silu is read by llama models",
        ));
    }
    for (key, set) in [("attention_bias", raw.attention_bias), ("mlp_bias", raw.mlp_bias)] {
        if set {
            return Err(refuse(key, "the model has biases".to_owned(), "Choose a model without them"));
        }
    }
    for (key, rope) in [("rope_scaling", &raw.rope_scaling), ("rope_parameters", &raw.rope_parameters)] {
        let kind = rope.as_ref().and_then(|r| r.rope_type.as_deref()).unwrap_or("default");
        if kind != "default" {
            let problem = format!("positions are scaled by {kind:?}");
            return Err(refuse(
                key,
                problem,
                "Choose a model without scaled positions, such as Mistral-7B-Instruct-v0.2",
            ));
        }
    }
    let count = |key: &'static str, value: usize| match u32::try_from(value) {
        Ok(1..) => Ok(value),
        _ => Err(refuse(key, format!("{value} is out of range"), cure)),
    };
    let layers = count("num_hidden_layers", raw.num_hidden_layers)?;
    if layers > MOST_LAYERS {
        return Err(refuse("num_hidden_layers", format!("{layers} is out of range"), cure));
    }
    let heads = count("num_attention_heads", raw.num_attention_heads)?;
    let kv_heads = count("num_key_value_heads", raw.num_key_value_heads.unwrap_or(heads))?;
    if !heads.is_multiple_of(kv_heads) {
        let problem = format!("{heads} heads cannot share {kv_heads}");
        return Err(refuse("num_key_value_heads", problem, "It must divide num_attention_heads"));
    }
    let width = count("hidden_size", raw.hidden_size)?;
    let head_dim = count("head_dim", raw.head_dim.unwrap_or(width / heads))?;
    if !head_dim.is_multiple_of(2) {
        let problem = format!("heads have {head_dim} dimensions");
        return Err(refuse("head_dim", problem, "Rotary positions turn pairs, so it must be even"));
    }
    let rope = [raw.rope_parameters, raw.rope_scaling].into_iter().flatten().find_map(|r| r.rope_theta);
    Ok(Config {
        name: name(raw.name.as_deref(), dir),
        layers,
        width,
        inner: count("intermediate_size", raw.intermediate_size)?,
        heads,
        kv_heads,
        head_dim,
        vocabulary: count("vocab_size", raw.vocab_size)?,
        context: count("max_position_embeddings", raw.max_position_embeddings)?,
        norm_epsilon: raw.rms_norm_eps as f32,
        rope_base: raw.rope_theta.or(rope).unwrap_or(ROPE_THETA) as f32,
        sliding_window: raw.sliding_window,
        tied: raw.tie_word_embeddings,
        token_ids: [
            ("bos", raw.bos_token_id),
            ("eos", raw.eos_token_id),
            ("unk", raw.unk_token_id),
            ("pad", raw.pad_token_id),
        ]
        .into_iter()
        .filter_map(|(name, id)| Some((name, first_id(&id?)?)))
        .collect(),
    })
}

/// A model may have many ends; a GGUF names one.
fn first_id(id: &Json) -> Option<u32> {
    let first = id.as_array().map_or(Some(id), |ids| ids.first())?;
    u32::try_from(first.as_u64()?).ok()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "not named".to_owned() } else { names.join(", ") }
}

/// The last part of the name or, where there is none, of the folder.
fn name(named: Option<&str>, dir: &Path) -> String {
    let named = named.and_then(|n| n.trim_end_matches('/').rsplit('/').next()).filter(|n| !n.is_empty() && *n != ".");
    let folder = || dir.canonicalize().ok()?.file_name().map(|f| f.to_string_lossy().into_owned());
    named.map(str::to_owned).or_else(folder).unwrap_or_else(|| "model".to_owned())
}

/// Of the quantised checkpoints those of bitsandbytes in 4 bits are read; the others are named in the refusal.
fn check_quantization(quantization: &Quantization) -> Result<(), (String, &'static str)> {
    match quantization.quant_method.as_deref() {
        Some("bitsandbytes") | None if quantization.load_in_8bit => {
            Err((eight_bit(), "Quantise the model that it was made from, or save it in 4 bits (NF4)"))
        }
        Some("bitsandbytes") | None => Ok(()),
        Some(method) => Err((
            format!("the weights are quantised by {method}"),
            "Quantise the model that it was made from: floats and bitsandbytes NF4 are read",
        )),
    }
}

/// What is wrong with weights that bitsandbytes keeps in 8 bits.
pub(super) fn eight_bit() -> String {
    "the weights are quantised by LLM.int8 (bitsandbytes, 8 bits)".to_owned()
}

/// The keys of `llama` models, as convert_hf_to_gguf.py of llama.cpp writes them; `file_type` is one of `llama_ftype`.
pub(super) fn metadata(config: &Config, file_type: u32) -> Metadata {
    // Every count was checked to fit when it was read.
    let count = |value: usize| Value::U32(u32::try_from(value).unwrap_or(u32::MAX));
    let mut rows = vec![
        ("general.architecture", Value::String("llama".to_owned())),
        ("general.type", Value::String("model".to_owned())),
        ("general.name", Value::String(config.name.clone())),
        ("llama.block_count", count(config.layers)),
        ("llama.context_length", count(config.context)),
        ("llama.embedding_length", count(config.width)),
        ("llama.feed_forward_length", count(config.inner)),
        ("llama.attention.head_count", count(config.heads)),
        ("llama.attention.head_count_kv", count(config.kv_heads)),
        ("llama.attention.key_length", count(config.head_dim)),
        ("llama.attention.value_length", count(config.head_dim)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(config.norm_epsilon)),
        ("llama.rope.dimension_count", count(config.head_dim)),
        ("llama.rope.freq_base", Value::F32(config.rope_base)),
        ("llama.vocab_size", count(config.vocabulary)),
        ("general.file_type", Value::U32(file_type)),
        // GGML_QNT_VERSION of ggml.h.
        ("general.quantization_version", Value::U32(2)),
    ];
    if let Some(window) = config.sliding_window {
        rows.push(("llama.attention.sliding_window", count(window)));
    }
    rows.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
