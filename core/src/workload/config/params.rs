//! `params.json`, as Meta and Mistral publish models beside Hugging Face: the same sizes under names of their own.

use serde_json::{Map, Value};

use super::keys::Keys;
use super::shapes::WIDEST;
use crate::error::Error;

/// Names of sizes, and those of a `config.json`.
const NAMES: [(&str, &str); 10] = [
    ("dim", "hidden_size"),
    ("n_layers", "num_hidden_layers"),
    ("n_heads", "num_attention_heads"),
    ("n_kv_heads", "num_key_value_heads"),
    ("head_dim", "head_dim"),
    ("hidden_dim", "intermediate_size"),
    ("vocab_size", "vocab_size"),
    ("sliding_window", "sliding_window"),
    ("max_seq_len", "max_position_embeddings"),
    ("max_position_embeddings", "max_position_embeddings"),
];

/// Whether these are the keys of a `params.json`.
pub(super) fn is_params(keys: &Map<String, Value>) -> bool {
    ["dim", "n_layers", "n_heads"].iter().all(|key| keys.contains_key(*key)) && !keys.contains_key("model_type")
}

/// The same sizes as a `config.json`, and what is assumed.
pub(super) fn translated(input: &str, params: &Map<String, Value>) -> Result<(Map<String, Value>, Vec<String>), Error> {
    let keys = Keys::new(input, params);
    let mut config = Map::new();
    for (from, to) in NAMES {
        if let Some(value) = params.get(from).filter(|value| !value.is_null()) {
            config.insert(to.into(), value.clone());
        }
    }
    let experts = params.get("moe").filter(|moe| !moe.is_null());
    let mut family = "llama";
    if params.contains_key("sliding_window") || params.contains_key("hidden_dim") {
        family = "mistral";
        config.entry("sliding_window").or_insert(Value::Null);
    }
    if let Some(moe) = experts {
        family = "mixtral";
        for (from, to) in [("num_experts", "num_local_experts"), ("num_experts_per_tok", "num_experts_per_tok")] {
            config.insert(to.into(), moe.get(from).cloned().unwrap_or_default());
        }
    }
    config.insert("model_type".into(), family.into());
    if !config.contains_key("intermediate_size") {
        // As Llama's reference code has it: two thirds of four times the width, scaled and rounded up.
        let dim = keys.required(&["dim"], 1 << 20)?;
        let of = keys.optional(&["multiple_of"], 1 << 20)?.unwrap_or(256);
        let mut width = 8 * dim / 3;
        if let Some(factor) = keys.value("ffn_dim_multiplier").and_then(Value::as_f64) {
            width = (factor * width as f64) as u64;
        }
        config.insert("intermediate_size".into(), width.min(WIDEST).next_multiple_of(of).into());
    }
    // Rotary positions have no end; the file names none.
    config.entry("max_position_embeddings").or_insert((1 << 17).into());
    config.insert("torch_dtype".into(), "bfloat16".into());
    let note = "params.json names no number format: bfloat16, in which such weights are published, is assumed";
    Ok((config, vec![note.to_owned()]))
}
