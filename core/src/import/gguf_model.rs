//! A model by the header of its GGUF file: the metadata say its sizes, and the list of weights how each is stored.
//!
//! What comes out are the keys of a `config.json`, so that a recipe carries them and needs the file no more. Keys of the
//! metadata: `docs/gguf.md` of ggml, and `gguf-py/gguf/constants.py` of llama.cpp.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::weights::Weights;
use super::{gguf, input::Input, text::shorten};
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::workload::config::ModelConfig;
use crate::workload::file::ModelFile;
use crate::workload::model_run::ModelRun;
use crate::workload::{ModelRef, dtype::Dtype};

/// Architectures of llama.cpp, the family of each, and that of its models with experts.
const ARCHITECTURES: [(&str, &str, &str); 17] = [
    // Mistral and Mixtral are converted to Llama's.
    ("llama", "llama", "mixtral"),
    ("mistral3", "ministral3", ""),
    ("qwen2", "qwen2", ""),
    ("qwen2vl", "qwen2", ""),
    ("qwen2moe", "", "qwen2_moe"),
    ("qwen3", "qwen3", ""),
    ("qwen3vl", "qwen3", ""),
    ("qwen3moe", "", "qwen3_moe"),
    ("qwen3vlmoe", "", "qwen3_moe"),
    ("gemma", "gemma", ""),
    ("gemma2", "gemma2", ""),
    ("gemma3", "gemma3_text", ""),
    ("phi3", "phi3", ""),
    ("olmo2", "olmo2", ""),
    ("olmoe", "", "olmoe"),
    ("smollm3", "smollm3", ""),
    ("granite", "granite", ""),
];

/// Keys of the metadata behind the architecture, and the keys of a `config.json` that say the same.
const SIZES: [(&str, &str); 12] = [
    ("embedding_length", "hidden_size"),
    ("block_count", "num_hidden_layers"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("context_length", "max_position_embeddings"),
    ("attention.sliding_window", "sliding_window"),
    ("expert_count", "num_experts"),
    ("expert_used_count", "num_experts_per_tok"),
    ("expert_feed_forward_length", "moe_intermediate_size"),
    ("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
    ("attention.key_length", "head_dim"),
];

/// What a model cannot be without.
const NEEDED: [&str; 4] = ["embedding_length", "block_count", "attention.head_count", "context_length"];

/// Reads the header, and the model that it describes.
pub(super) fn model(input: &Input<'_>, progress: &mut dyn Progress) -> Result<ModelFile, Error> {
    let config = config(input.name, &gguf::header(input, progress)?)?;
    Ok(ModelFile::Config(Box::new(config)))
}

/// The model whose weights these are.
pub(super) fn config(input: &str, weights: &Weights) -> Result<ModelConfig, Error> {
    let mut keys = keys(input, weights)?;
    // What belongs to no matrix of the layers is found by what the layers take.
    let found = read(input, &keys)?;
    let total = weights.bytes();
    let run = ModelRun { model: ModelRef::Config(Box::new(found.clone())), ..ModelRun::default() };
    let layers = run.weight_bytes(&found)?;
    let parts = number(weights, "split.count").filter(|parts| *parts > 1);
    match (total.checked_sub(layers), parts) {
        (Some(0), _) | (None, Some(_)) => Ok(found),
        (Some(beside), _) => {
            if let Some(Value::Object(stored)) = keys.get_mut("quantization_config") {
                stored.insert("beside_bytes".into(), beside.into());
            }
            read(input, &keys)
        }
        (None, None) => {
            let problem =
                format!("its weights take {total} bytes, and layers of the sizes in its metadata take {layers}");
            let cure = "Check that the file is complete, or give the model's config.json";
            Err(Error::input(input, Place::Whole, problem, cure))
        }
    }
}

fn read(input: &str, keys: &Map<String, Value>) -> Result<ModelConfig, Error> {
    let text = serde_json::to_vec(keys).map_err(|e| Error::Internal(e.to_string()))?;
    ModelConfig::from_json(input, &text)
}

fn metadata<'a>(weights: &'a Weights, key: &str) -> Option<&'a str> {
    weights.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

fn number(weights: &Weights, key: &str) -> Option<u64> {
    metadata(weights, key).and_then(|value| value.parse().ok())
}

/// The keys of a `config.json` that say what the header says.
fn keys(input: &str, weights: &Weights) -> Result<Map<String, Value>, Error> {
    let bad = |key: &str, problem: String, cure: &str| Error::input(input, Place::Key(key.to_owned()), problem, cure);
    let architecture = metadata(weights, "general.architecture").ok_or_else(|| {
        let cure = "Give the GGUF file of a whole model, or its config.json";
        bad("general.architecture", "the key is missing".into(), cure)
    })?;
    let known = ARCHITECTURES.iter().find(|(name, ..)| *name == architecture);
    let of = |key: &str| number(weights, &format!("{architecture}.{key}"));
    let experts = of("expert_count").unwrap_or(0);
    let family = known.map_or("", |(_, plain, sparse)| if experts > 0 { sparse } else { plain });
    if family.is_empty() {
        let names: Vec<&str> = ARCHITECTURES.iter().map(|(name, ..)| *name).collect();
        let with = if known.is_some() && experts > 0 { " with experts" } else { "" };
        let problem = format!("\"{}\"{with} is not one of the architectures that are read", shorten(architecture));
        let cure = format!("Give the model's config.json, or a GGUF file of {}", names.join(", "));
        return Err(bad("general.architecture", problem, &cure));
    }
    let mut keys = Map::new();
    keys.insert("model_type".into(), family.into());
    for (from, to) in SIZES {
        if let Some(value) = of(from).filter(|value| *value > 0) {
            keys.insert(to.into(), value.into());
        } else if NEEDED.contains(&from) {
            let cure = "Give a GGUF file whose layers are alike, or the model's config.json";
            return Err(bad(&format!("{architecture}.{from}"), "there is no such number".into(), cure));
        }
    }
    if experts > 0 {
        keys.entry("intermediate_size").or_insert(of("expert_feed_forward_length").unwrap_or(1).into());
        if family == "mixtral" {
            keys.insert("num_local_experts".into(), experts.into());
        }
    }
    if let (None, Some(hidden), Some(heads)) =
        (keys.get("head_dim"), of("embedding_length"), of("attention.head_count"))
    {
        // As llama.cpp has it: no default of the family counts.
        keys.insert("head_dim".into(), (hidden / heads.max(1)).into());
    }
    let shape = |name: &str| weights.tensors.iter().find(|weight| weight.name == name).map(|weight| &weight.shape);
    let Some([rows, _]) = shape("token_embd.weight").map(Vec::as_slice) else {
        let problem = "there is no table of tokens (token_embd.weight)".to_owned();
        let cure = "Merge the parts of the file (llama-gguf-split --merge), or give the model's config.json";
        return Err(Error::input(input, Place::Whole, problem, cure));
    };
    keys.insert("vocab_size".into(), (*rows).into());
    let has = |name: &str| shape(name).is_some();
    keys.insert("tie_word_embeddings".into(), (!has("output.weight")).into());
    keys.insert("attention_bias".into(), has("blk.0.attn_q.bias").into());
    keys.insert("mlp_bias".into(), has("blk.0.ffn_down.bias").into());
    // What is computed with; keys and values are kept so too.
    keys.insert("torch_dtype".into(), Dtype::Float16.name().into());
    let stored = [("quant_method", "gguf".into()), ("modules", modules(weights))];
    keys.insert("quantization_config".into(), stored.map(|(key, value)| (key.to_owned(), value)).into_iter().collect());
    Ok(keys)
}

/// The type of each module: of all layers, or a list where they differ.
fn modules(weights: &Weights) -> Value {
    let mut types: BTreeMap<String, BTreeMap<usize, &str>> = BTreeMap::new();
    for weight in weights.tensors.iter().filter(|weight| weight.shape.len() > 1) {
        let Some(name) = weight.name.strip_suffix(".weight") else { continue };
        let (layer, module) = match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
            Some((layer, module)) => (layer.parse().unwrap_or(0), module),
            None => (0, name),
        };
        // Files of old have a tensor for each expert.
        let module = match module.split_once('.') {
            Some((module, _)) => format!("{module}_exps"),
            None => module.to_owned(),
        };
        types.entry(module).or_default().insert(layer, &weight.dtype);
    }
    let of_module = |(module, of_layers): (String, BTreeMap<usize, &str>)| {
        let first = of_layers.values().next().copied().unwrap_or_default();
        if of_layers.values().all(|dtype| *dtype == first) {
            return (module, Value::from(first));
        }
        // A layer without such a module takes the type of the one before it.
        let last = of_layers.keys().next_back().copied().unwrap_or(0).min(MOST_LAYERS);
        let mut current = first;
        let list = (0..=last).map(|layer| {
            current = of_layers.get(&layer).copied().unwrap_or(current);
            Value::from(current)
        });
        let list = list.collect::<Vec<_>>();
        (module, Value::Array(list))
    };
    Value::Object(types.into_iter().map(of_module).collect())
}

/// More layers than any model has: a name may say any number.
const MOST_LAYERS: usize = 4096;
