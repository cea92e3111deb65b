//! Models by their shapes: what a Hugging Face `config.json` says, and the same for networks that have none.

// Ground first: each imports only from those before it.
mod families;
mod keys;

mod cnn;
mod mlp;
mod transformer;

mod shapes;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use self::cnn::{BlockKind, Network};
pub use self::cnn::{Cnn, Layer, Resnet, Window};
pub(crate) use self::families::{CNN, MLP, MOE, TRANSFORMER};
pub use self::families::{FAMILIES, Family};
pub use self::mlp::{Gemm, Mlp};
pub(crate) use self::shapes::{Attention, Feed, Linear, MlpShape, Stack, Tokens};
pub use self::transformer::{Experts, Image, Transformer};

use self::families::Reader;
use self::keys::Keys;
use super::dtype::Dtype;
use crate::error::{Error, Place};

/// The shapes of a model, from its `config.json` or in the same manner.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ModelConfig {
    /// Attention and MLPs: encoder, decoder or both, with or without experts.
    Transformer(Box<Transformer>),
    /// A residual network of convolutions.
    Resnet(Resnet),
    /// A chain of convolutions, pools and linear layers.
    Cnn(Cnn),
    /// A chain of linear layers.
    Mlp(Mlp),
    /// One matrix multiplication.
    Gemm(Gemm),
}

impl<'de> Deserialize<'de> for ModelConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys = Map::deserialize(deserializer)?;
        Self::from_keys("config.json", &keys).map_err(serde::de::Error::custom)
    }
}

impl ModelConfig {
    /// Reads a Hugging Face `config.json`; `input` is named in the errors.
    pub fn from_json(input: &str, text: &[u8]) -> Result<Self, Error> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let keys: Map<String, Value> = serde_json::from_slice(text).map_err(|e| {
            let place = Place::LineColumn(e.line() as u64, e.column() as u64);
            Error::input(input, place, format!("not a JSON object: {e}"), "Paste the model's config.json as it is")
        })?;
        Self::from_keys(input, &keys)
    }

    fn from_keys(input: &str, keys: &Map<String, Value>) -> Result<Self, Error> {
        Self::of_family(FAMILIES, &Keys { input, keys })
    }

    /// Reads a file of one of `families`.
    fn of_family(families: &'static [Family], keys: &Keys<'_>) -> Result<Self, Error> {
        let name = keys.model_type()?;
        let family = families.iter().find(|family| family.has_name(&name)).ok_or_else(|| {
            let cure = format!("Use a configuration of type {}", families::supported());
            keys.bad("model_type", format!("\"{name}\" is not supported"), &cure)
        })?;
        let config = match &family.reader {
            Reader::Transformer(layout) => {
                Self::Transformer(Box::new(Transformer::from_keys(family.name, layout, keys)?))
            }
            Reader::Resnet => Self::Resnet(Resnet::from_keys(keys)?),
            Reader::Cnn => Self::Cnn(Cnn::from_keys(keys)?),
            Reader::Mlp => Self::Mlp(Mlp::from_keys(keys)?),
            Reader::Gemm => Self::Gemm(Gemm::from_keys(keys)?),
        };
        config.check()?;
        Ok(config)
    }

    /// Fails where two values contradict each other.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Transformer(transformer) => transformer.check(),
            Self::Resnet(resnet) => resnet.network().map(|_| ()),
            Self::Cnn(cnn) => cnn.network().map(|_| ()),
            Self::Mlp(_) | Self::Gemm(_) => Ok(()),
        }
    }

    /// Number of parameters.
    pub fn parameters(&self) -> u64 {
        match self {
            Self::Transformer(transformer) => transformer.parameters(),
            // Checked when it was read.
            Self::Resnet(resnet) => resnet.network().map_or(0, |network| network.parameters()),
            Self::Cnn(cnn) => cnn.network().map_or(0, |network| network.parameters()),
            Self::Mlp(mlp) => mlp.parameters(),
            Self::Gemm(gemm) => gemm.k * gemm.n,
        }
    }

    /// Parameters that one token (or image, or row) is multiplied with: all but look-up tables, and of the experts only
    /// those that a token is sent to.
    pub fn active_parameters(&self) -> u64 {
        match self {
            Self::Transformer(transformer) => transformer.active_parameters(),
            other => other.parameters(),
        }
    }

    /// The Transformer, where it is one.
    pub fn transformer(&self) -> Option<&Transformer> {
        match self {
            Self::Transformer(transformer) => Some(transformer),
            _ => None,
        }
    }

    /// The number format of its weights.
    pub fn dtype(&self) -> Dtype {
        match self {
            Self::Transformer(transformer) => transformer.torch_dtype,
            Self::Resnet(resnet) => resnet.torch_dtype,
            Self::Cnn(cnn) => cnn.torch_dtype,
            Self::Mlp(mlp) => mlp.torch_dtype,
            Self::Gemm(gemm) => gemm.torch_dtype,
        }
    }

    /// The family, as the prototype's records name it.
    pub fn family(&self) -> &'static str {
        match self {
            Self::Transformer(transformer) => transformer.layout.kind(),
            Self::Resnet(_) | Self::Cnn(_) => CNN,
            Self::Mlp(_) | Self::Gemm(_) => MLP,
        }
    }
}

/// What a model's shapes say before anything is simulated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Number of parameters.
    pub parameters: u64,
    /// Parameters that one token (or image, or row) is multiplied with.
    pub active_parameters: u64,
    /// Bytes of all weights in the chosen number format.
    pub weight_bytes: u64,
    /// Bytes of keys and values that one token adds, all layers together.
    pub kv_bytes_per_token: u64,
    /// Bytes of keys and values of all requests at their ends.
    pub kv_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::ModelRef;
    use crate::workload::model_run::ModelRun;

    const MISTRAL: &str = r#"{"model_type":"mistral","hidden_size":4096,"intermediate_size":14336,
        "num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"max_position_embeddings":32768,
        "sliding_window":null,"tie_word_embeddings":false,"torch_dtype":"bfloat16","vocab_size":32000}"#;

    #[test]
    fn broken_configs_name_the_key() {
        for (change, wanted) in [
            (("mistral", "mamba"), "key `model_type`: \"mamba\" is not supported"),
            (("4096,", "-4096,"), "key `hidden_size`: the value is -4096"),
            (("4096,", "64.0,"), "key `hidden_size`: the value is 64.0"),
            (("\"mistral\"", "5"), "key `model_type`: the value is 5"),
            (("4096,", "1e30,"), "key `hidden_size`"),
            (("\"num_hidden_layers\":32,", ""), "key `num_hidden_layers`: the key is missing"),
            (("\"num_attention_heads\":32", "\"num_attention_heads\":33"), "33 heads do not divide hidden_size"),
            (("\"num_key_value_heads\":8", "\"num_key_value_heads\":5"), "num_key_value_heads is 5: does not divide"),
            (("bfloat16", "posit8"), "torch_dtype is \"posit8\": no such number format"),
            (("\"sliding_window\":null", "\"sliding_window\":\"x\""), "key `sliding_window`: the value is \"x\""),
            (("32000}", "32000"), "line 3, column"),
            (("mistral", "mixtral"), "key `num_local_experts`: the key is missing"),
            (("mistral", "resnet"), "key `hidden_sizes`: the key is missing"),
            (("mistral", "mlp"), "key `layers`: the key is missing"),
            (("mistral", "cnn"), "key `layers`"),
            (("mistral", "gemm"), "key `m`: the key is missing"),
        ] {
            let text = MISTRAL.replace(change.0, change.1);
            let error = ModelConfig::from_json("config.json", text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{change:?} gave {error}");
        }
    }

    /// The largest values that each key allows: counted to the last parameter, or refused, but no overflow.
    #[test]
    fn huge_configs_do_not_overflow() {
        let (layers, hidden, heads, mlp) = (1u64 << 10, 1u64 << 20, 1u64 << 24, 1u64 << 22);
        let attention = (hidden + 1) * 3 * heads + (heads + 1) * hidden;
        let layer = attention + (hidden + 1) * mlp + (mlp + 1) * hidden + 4 * hidden;
        let tables = 2 * (hidden << 24);
        for (text, parameters) in [
            (
                r#"{"model_type":"qwen3_moe","hidden_size":1048576,"intermediate_size":4194304,"num_hidden_layers":1024,
                "num_attention_heads":16384,"head_dim":1024,"vocab_size":16777216,"max_position_embeddings":16777216,
                "num_experts":65535,"num_experts_per_tok":65535,"moe_intermediate_size":4194304}"#,
                None,
            ),
            (
                r#"{"model_type":"gpt2","n_embd":1048576,"n_layer":1024,"n_head":16384,"n_positions":16777216,
                "n_inner":4194304,"vocab_size":16777216,"head_dim":1024}"#,
                Some(layers * layer + tables + 2 * hidden),
            ),
            (r#"{"model_type":"mlp","layers":[16777216,16777216,16777216]}"#, Some(((1 << 24) + 1) << 25)),
            (r#"{"model_type":"gemm","m":16777216,"n":16777216,"k":16777216}"#, Some(1 << 48)),
            (
                r#"{"model_type":"cnn","image_size":65536,"num_channels":65536,"layers":[
                {"conv":{"filters":1048576,"size":65536}},{"linear":1048576}]}"#,
                None,
            ),
        ] {
            let Ok(config) = ModelConfig::from_json("c", text.as_bytes()) else {
                assert_eq!(parameters, None, "{text}");
                continue;
            };
            let run = ModelRun { model: ModelRef::Config(Box::new(config)), ..ModelRun::default() };
            match (run.facts(), parameters) {
                (Ok(facts), Some(wanted)) => {
                    assert_eq!((facts.parameters, facts.weight_bytes), (wanted, 4 * wanted), "{text}");
                }
                (Err(Error::TooLarge { .. }), None) => {}
                (other, wanted) => panic!("{text}: {other:?} for {wanted:?} parameters"),
            }
            assert!(matches!(run.trace(0), Err(Error::TooLarge { .. })), "{text}");
        }
    }

    #[test]
    fn quantised_weights_count_at_their_width() {
        let with = |quantization: &str| {
            let text =
                MISTRAL.replace("\"vocab_size\"", &format!("\"quantization_config\":{quantization},\"vocab_size\""));
            ModelConfig::from_json("c", text.as_bytes()).map(|c| c.dtype())
        };
        assert_eq!(with(r#"{"quant_method":"awq","bits":4}"#).unwrap(), Dtype::Int4);
        assert_eq!(with(r#"{"quant_method":"bitsandbytes","load_in_8bit":true}"#).unwrap(), Dtype::Int8);
        assert_eq!(with("null").unwrap(), Dtype::Bfloat16);
        assert!(with(r#"{"bits":3}"#).unwrap_err().to_string().contains("Remove the key and choose"));
    }

    fn windows(change: &str, family: &str) -> Vec<bool> {
        let text = MISTRAL
            .replace("\"mistral\"", &format!("\"{family}\""))
            .replace("\"sliding_window\":null", &format!("\"sliding_window\":1024{change}"))
            .replace("\"num_hidden_layers\":32", "\"num_hidden_layers\":4");
        let config = ModelConfig::from_json("c", text.as_bytes()).unwrap();
        // What is written reads back as the same.
        let again = ModelConfig::from_json("c", &serde_json::to_vec(&config).unwrap()).unwrap();
        assert_eq!(config, again);
        (0..4).map(|layer| config.transformer().unwrap().window_of(layer) == 1024).collect()
    }

    /// As transformers reads these keys.
    #[test]
    fn windows_are_used_where_the_family_uses_them() {
        let (yes, no) = (vec![true; 4], vec![false; 4]);
        assert_eq!(windows("", "mistral"), yes);
        assert_eq!(windows("", "llama"), no);
        assert_eq!(windows("", "qwen2"), no);
        assert_eq!(windows(",\"use_sliding_window\":true", "qwen2"), no);
        assert_eq!(windows(",\"use_sliding_window\":true,\"max_window_layers\":0", "qwen2"), yes);
        let half = [false, false, true, true];
        assert_eq!(windows(",\"use_sliding_window\":true,\"max_window_layers\":2", "qwen2"), half);
        let listed =
            ",\"layer_types\":[\"full_attention\",\"full_attention\",\"sliding_attention\",\"sliding_attention\"]";
        assert_eq!(windows(listed, "gemma3_text"), half);
        assert_eq!(windows(",\"sliding_window_pattern\":2", "gemma3_text"), [true, false, true, false]);
        let silent = MISTRAL.replace("\"sliding_window\":null,", "");
        let config = ModelConfig::from_json("c", silent.as_bytes()).unwrap();
        assert_eq!(config.transformer().unwrap().sliding_window, Some(4096));
    }

    /// google/gemma-3-4b-it: the published file gives only what differs from the defaults, and the number format
    /// outside. 3,880,263,168 parameters are those of its language model.
    #[test]
    fn a_model_of_text_and_images_is_read_as_its_language_model() {
        let text = r#"{"architectures":["Gemma3ForConditionalGeneration"],"model_type":"gemma3","torch_dtype":"bfloat16",
            "text_config":{"hidden_size":2560,"intermediate_size":10240,"model_type":"gemma3_text",
            "num_hidden_layers":34,"sliding_window":1024},"vision_config":{"hidden_size":1152}}"#;
        let config = ModelConfig::from_json("c", text.as_bytes()).unwrap();
        assert_eq!((config.parameters(), config.dtype()), (3_880_263_168, Dtype::Bfloat16));
    }

    /// Qwen1.5-MoE-A2.7B with three dense layers in front.
    #[test]
    fn layers_may_be_excepted_from_experts() {
        let with = |dense: &str| {
            let text = format!(
                r#"{{"model_type":"qwen2_moe","hidden_size":2048,"intermediate_size":5632,"num_hidden_layers":24,
                "num_attention_heads":16,"num_key_value_heads":16,"vocab_size":151936,"max_position_embeddings":8192,
                "num_experts":60,"num_experts_per_tok":4,"moe_intermediate_size":1408,
                "shared_expert_intermediate_size":5632,"mlp_only_layers":{dense}}}"#
            );
            ModelConfig::from_json("c", text.as_bytes()).unwrap().parameters()
        };
        assert_eq!(with("[]"), 14_315_784_192);
        assert_eq!(with("[0,1,2]"), 12_758_274_048);
    }

    #[test]
    fn a_typo_in_a_layer_is_told() {
        let text = r#"{"model_type":"cnn","image_size":8,"num_channels":3,"layers":[{"conv":{"filters":8,"size":3,"paddin":1}}]}"#;
        let error = ModelConfig::from_json("c", text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("paddin"), "{error}");
    }

    #[test]
    fn the_family_may_come_from_architectures() {
        let text = MISTRAL.replace("\"model_type\":\"mistral\"", "\"architectures\":[\"MistralForCausalLM\"]");
        let config = ModelConfig::from_json("c", text.as_bytes()).unwrap();
        assert_eq!(config.transformer().unwrap().model_type, "mistral");
    }
}
