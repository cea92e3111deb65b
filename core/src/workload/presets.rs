//! Published models by name. Each number is from the model's own `config.json` at the source named.

use super::config::{Dtype, Family, ModelConfig};
use crate::error::Error;

/// A published model.
#[derive(Debug)]
pub struct Preset {
    /// The name in recipes and on the command line.
    pub name: &'static str,
    /// The name people read.
    pub title: &'static str,
    /// Where the numbers come from.
    pub source: &'static str,
    make: fn() -> ModelConfig,
}

impl Preset {
    /// Its configuration.
    pub fn config(&self) -> ModelConfig {
        (self.make)()
    }
}

/// Every preset.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "mistral-7b",
        title: "Mistral-7B",
        source: "mistralai/Mistral-7B-Instruct-v0.2 config.json",
        make: || ModelConfig {
            model_type: Family::Mistral,
            hidden_size: 4096,
            intermediate_size: 14336,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: 8,
            head_dim: 128,
            vocab_size: 32000,
            max_position_embeddings: 32768,
            sliding_window: None,
            tie_word_embeddings: false,
            attention_bias: false,
            mlp_bias: false,
            torch_dtype: Dtype::Bfloat16,
        },
    },
    Preset {
        name: "llama-2-7b",
        title: "Llama-2-7B",
        source: "meta-llama/Llama-2-7b-hf config.json",
        make: || ModelConfig {
            model_type: Family::Llama,
            hidden_size: 4096,
            intermediate_size: 11008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: 32,
            head_dim: 128,
            vocab_size: 32000,
            max_position_embeddings: 4096,
            sliding_window: None,
            tie_word_embeddings: false,
            attention_bias: false,
            mlp_bias: false,
            torch_dtype: Dtype::Float16,
        },
    },
    Preset {
        name: "gpt2-large",
        title: "GPT-2-large",
        source: "openai-community/gpt2-large config.json",
        make: || ModelConfig {
            model_type: Family::Gpt2,
            hidden_size: 1280,
            intermediate_size: 5120,
            num_hidden_layers: 36,
            num_attention_heads: 20,
            num_key_value_heads: 20,
            head_dim: 64,
            vocab_size: 50257,
            max_position_embeddings: 1024,
            sliding_window: None,
            tie_word_embeddings: true,
            attention_bias: false,
            mlp_bias: false,
            torch_dtype: Dtype::Float32,
        },
    },
];

/// The preset of that name; case does not matter.
pub fn find(name: &str) -> Result<&'static Preset, Error> {
    PRESETS.iter().find(|p| p.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names = PRESETS.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
        Error::field("model", format!("\"{name}\""), "no such preset", format!("Choose one of {names}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published counts: 7.24 B, 6.74 B and 774 M.
    #[test]
    fn presets_have_the_published_parameters() {
        let counts: Vec<u64> = PRESETS.iter().map(|p| p.config().parameters()).collect();
        assert_eq!(counts, [7_241_732_096, 6_738_415_616, 774_030_080]);
    }

    #[test]
    fn presets_pass_their_own_check() {
        for preset in PRESETS {
            preset.config().check().unwrap();
            assert_eq!(find(&preset.name.to_uppercase()).unwrap().name, preset.name);
        }
        assert!(find("gpt-9").unwrap_err().to_string().contains("Choose one of mistral-7b"));
    }
}
