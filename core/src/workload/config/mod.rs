//! Models by their shapes: what a Hugging Face `config.json` says, and the same for networks that have none.

// Ground first: each imports only from those before it.
mod keys;
pub(crate) mod layers;
mod layout;
mod pattern;

mod ggml;
mod quantization;
mod shapes;
mod shard;
mod special;
mod transformer;

mod network;

mod cnn;
mod diffusion;
mod graph;
mod mlp;
mod params;
mod towers;
mod vision;

mod families;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::cnn::{Cnn, Layer, Resnet};
pub use self::families::{FAMILIES, Family};
pub(crate) use self::ggml::GgmlType;
pub use self::graph::Graph;
pub(crate) use self::layout::{CNN, MLP, MOE, TRANSFORMER};
pub use self::mlp::{Gemm, Mlp};
pub use self::network::Window;
pub(crate) use self::network::{BlockKind, Network};
pub(crate) use self::quantization::Width;
pub(crate) use self::shard::Cuts;
pub use self::transformer::{Experts, Transformer};

use self::families::Reader;
use self::keys::Keys;
use super::dtype::Dtype;
use crate::closed;
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
    /// A network of operators over images or vectors, by the keys of its file.
    Graph(Box<Graph>),
    /// A chain of linear layers.
    Mlp(Mlp),
    /// One matrix multiplication.
    Gemm(Gemm),
    /// A model of a family that is not in the table, but whose file has the keys of one that is.
    Unknown(Unknown),
}

/// The keys of a model of a family that is not in the table. It is only read as one of another family when that is asked for
/// ([`ReadAs`]).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Unknown {
    keys: Map<String, Value>,
}

closed! {
    /// A family whose layout a file of an unknown family is read with.
    pub enum ReadAs("read_as", "family to read as") {
        /// Llama's: whatever differs from it is not counted.
        Llama = "llama" titled "read as Llama",
    }
}

/// The keys that every file of Llama's kind has.
const LLAMA_KEYS: [&str; 4] = ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"];

/// Parts of names of keys that say how large something is.
const SIZES: [&str; 8] = ["size", "dim", "num_", "rank", "layers", "heads", "expert", "ratio"];
/// Keys with such names that change no size.
const NO_SIZES: [&str; 4] = ["pretraining_tp", "initializer_range", "layer_norm_eps", "query_pre_attn_scalar"];

impl Unknown {
    fn refusal(&self) -> Error {
        let keys = Keys::new("config.json", &self.keys);
        let name = keys.model_type().unwrap_or_default();
        let cure = format!(
            "It has Llama's keys: choose read_as llama to count it as a Llama, or use a configuration of type {}",
            families::supported()
        );
        keys.bad("model_type", format!("\"{name}\" is not supported"), &cure)
    }

    /// Its keys with the layout of another family, and what of them was not read.
    pub fn read_as(&self, family: ReadAs) -> Result<ModelConfig, Error> {
        let mut keys = self.keys.clone();
        let name = keys.insert("model_type".into(), Value::from(family.name()));
        let mut config = ModelConfig::read("config.json", &keys)?;
        if let ModelConfig::Transformer(transformer) = &mut config {
            let name = name.as_ref().and_then(Value::as_str).unwrap_or_default();
            transformer.notes.push(format!("\"{name}\" is read as {}", family.name()));
            let sizes = |key: &&str| SIZES.iter().any(|part| key.contains(part)) && !NO_SIZES.contains(key);
            let unread: Vec<&str> = keys.keys().map(String::as_str).filter(sizes).collect();
            let unread: Vec<&str> = unread.into_iter().filter(|key| !transformer.reads(key)).collect();
            if !unread.is_empty() {
                transformer.notes.push(format!(
                    "keys that a {} does not have are not read: {}",
                    family.name(),
                    unread.join(", ")
                ));
            }
        }
        Ok(config)
    }
}

impl<'de> Deserialize<'de> for ModelConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys = Map::deserialize(deserializer)?;
        Self::read("config.json", &keys).map_err(serde::de::Error::custom)
    }
}

impl ModelConfig {
    /// Reads a Hugging Face `config.json` of a family that is in the table; `input` is named in the errors.
    pub fn from_json(input: &str, text: &[u8]) -> Result<Self, Error> {
        let config = Self::of_any_family(input, text)?;
        config.check().map(|()| config)
    }

    /// The same of any family that has the keys of one in the table.
    pub fn of_any_family(input: &str, text: &[u8]) -> Result<Self, Error> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let keys: Map<String, Value> = serde_json::from_slice(&without_infinities(text)).map_err(|e| {
            let place = Place::LineColumn(e.line() as u64, e.column() as u64);
            Error::input(input, place, format!("not a JSON object: {e}"), "Paste the model's config.json as it is")
        })?;
        Self::read(input, &keys)
    }

    /// The classes of diffusers that are read: their files name them in place of a family.
    pub(crate) fn classes() -> impl Iterator<Item = &'static str> {
        let of_classes = FAMILIES.iter().filter(|family| matches!(family.reader, Reader::Graph(..)));
        of_classes.flat_map(|family| family.aliases).copied()
    }

    fn read(input: &str, keys: &Map<String, Value>) -> Result<Self, Error> {
        if params::is_params(keys) {
            let (keys, notes) = params::translated(input, keys)?;
            let mut config = Self::read(input, &keys)?;
            if let Self::Transformer(transformer) = &mut config {
                transformer.notes.extend(notes);
            }
            return Ok(config);
        }
        let whole = Keys::new(input, keys);
        // A model of several parts that are all counted.
        let family = |name: &str| FAMILIES.iter().find(|family| family.has_name(name));
        if let Ok(name) = whole.model_type()
            && let Some(Family { reader: Reader::Graph(kind, build), name, .. }) = family(&name)
        {
            let graph = Graph::from_keys(name, (kind, *build), whole)?;
            return Ok(Self::Graph(Box::new(graph)));
        }
        let mut keys = whole.innermost();
        let name = keys.model_type()?;
        let Some(family) = family(&name) else {
            if LLAMA_KEYS.iter().all(|key| keys.keys.contains_key(*key)) {
                return Ok(Self::Unknown(Unknown { keys: keys.keys }));
            }
            if keys.keys.contains_key("_class_name") {
                let classes: Vec<&str> = Self::classes().filter(|class| class.ends_with("Model")).collect();
                let problem =
                    format!("\"{}\" of diffusers is not supported", name.chars().take(40).collect::<String>());
                let cure = format!("Use the config.json of one of {}, or export the model as ONNX", classes.join(", "));
                return Err(keys.bad("_class_name", problem, &cure));
            }
            let cure = format!("Use a configuration of type {}", families::supported());
            return Err(keys.bad("model_type", format!("\"{name}\" is not supported"), &cure));
        };
        let config = match &family.reader {
            Reader::Transformer(layout) => {
                Self::Transformer(Box::new(Transformer::from_keys(family.name, layout, &mut keys)?))
            }
            Reader::Graph(kind, build) => Self::Graph(Box::new(Graph::from_keys(family.name, (kind, *build), keys)?)),
            Reader::Resnet => Self::Resnet(Resnet::from_keys(&keys)?),
            Reader::Cnn => Self::Cnn(Cnn::from_keys(&keys)?),
            Reader::Mlp => Self::Mlp(Mlp::from_keys(&keys)?),
            Reader::Gemm => Self::Gemm(Gemm::from_keys(&keys)?),
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
            Self::Graph(_) | Self::Mlp(_) | Self::Gemm(_) => Ok(()),
            Self::Unknown(unknown) => Err(unknown.refusal()),
        }
    }

    /// Number of parameters.
    pub fn parameters(&self) -> u64 {
        match self {
            Self::Transformer(transformer) => transformer.model.parameters(),
            // Checked when it was read.
            Self::Resnet(resnet) => resnet.network().map_or(0, |network| network.parameters()),
            Self::Cnn(cnn) => cnn.network().map_or(0, |network| network.parameters()),
            Self::Graph(graph) => graph.network.parameters(),
            Self::Mlp(mlp) => mlp.parameters(),
            Self::Gemm(gemm) => gemm.k * gemm.n,
            Self::Unknown(_) => 0,
        }
    }

    /// Parameters that one token (or image, or row) is multiplied with: all but look-up tables, and of the experts only
    /// those that a token is sent to.
    pub fn active_parameters(&self) -> u64 {
        match self {
            Self::Transformer(transformer) => transformer.model.active_parameters(),
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
            Self::Graph(graph) => graph.torch_dtype,
            Self::Mlp(mlp) => mlp.torch_dtype,
            Self::Gemm(gemm) => gemm.torch_dtype,
            Self::Unknown(_) => Dtype::Float32,
        }
    }

    /// The family, as the prototype's records name it.
    pub fn family(&self) -> &'static str {
        match self {
            Self::Transformer(transformer) => transformer.kind(),
            Self::Graph(graph) => graph.kind,
            Self::Resnet(_) | Self::Cnn(_) => CNN,
            Self::Mlp(_) | Self::Gemm(_) => MLP,
            Self::Unknown(_) => TRANSFORMER,
        }
    }
}

/// A JSON text with null in place of `NaN`, `Infinity` and `-Infinity`, which Python writes and JSON does not know. None of
/// them is a size. The text stays as long as it is, so that errors name the right place.
fn without_infinities(text: &[u8]) -> Vec<u8> {
    let (mut text, mut at, mut quoted) = (text.to_vec(), 0, false);
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'N' | b'I' | b'-' => {
                let word =
                    [&b"-Infinity"[..], b"Infinity", b"NaN"].into_iter().find(|word| text[at..].starts_with(word));
                if let Some(word) = word {
                    let value = if word.len() < 4 { &b"0"[..] } else { b"null" };
                    text[at..at + word.len()].fill(b' ');
                    text[at..at + value.len()].copy_from_slice(value);
                    at += word.len() - 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    text
}

/// What a model's shapes say before anything is simulated.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Number of parameters.
    pub parameters: u64,
    /// Parameters that one token (or image, or row) is multiplied with.
    pub active_parameters: u64,
    /// Bytes of all weights that a device holds: in the chosen number format, or as the file stores them, with scales and zeros.
    pub weight_bytes: u64,
    /// Bytes of keys and values that one token adds before any window is full, all layers together.
    pub kv_bytes_per_token: u64,
    /// Bytes of keys and values of all requests at their ends.
    pub kv_bytes: u64,
    /// Bytes of the states of all requests (linear attention, state spaces), however long they are.
    pub state_bytes: u64,
    /// What the configuration says and is not counted.
    #[serde(default)]
    pub notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::layers::Sees;
    use super::*;
    use crate::workload::ModelRef;
    use crate::workload::model_run::ModelRun;

    const MISTRAL: &str = r#"{"model_type":"mistral","hidden_size":4096,"intermediate_size":14336,
        "num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"max_position_embeddings":32768,
        "sliding_window":null,"tie_word_embeddings":false,"torch_dtype":"bfloat16","vocab_size":32000}"#;

    #[test]
    fn broken_configs_name_the_key() {
        for (change, wanted) in [
            (("mistral", "mystery"), "key `model_type`: \"mystery\" is not supported"),
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
            assert!(matches!(run.trace(0, u64::MAX), Err(Error::TooLarge { .. })), "{text}");
        }
    }

    const LLAMA3: &str = r#"{"model_type":"llama","hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,
        "num_attention_heads":32,"num_key_value_heads":8,"vocab_size":128256,"max_position_embeddings":8192,
        "torch_dtype":"bfloat16"}"#;

    fn facts_of(text: &str, run: ModelRun) -> Facts {
        let config = ModelConfig::from_json("c", text.as_bytes()).unwrap();
        ModelRun { model: ModelRef::Config(Box::new(config)), ..run }.facts().unwrap()
    }

    /// Llama-3-8B in each dialect. Embeddings, head and 65 norms keep 16 bits; 6,979,321,856 elements are in matrices of
    /// 32 layers, with 1,376,256 outputs, and 49,152 inputs for q, k, v, gate and up besides 4096 and 14336.
    #[test]
    fn quantised_weights_count_module_by_module() {
        let (matrices, own) = (6_979_321_856u64, 2 * (1_050_673_152 + 65 * 4096));
        let outputs = 32 * (4096 + 1024 + 1024 + 4096 + 2 * 14_336 + 4096);
        let inputs = 32 * (6 * 4096 + 14_336);
        for (quantization, wanted) in [
            // Groups of 128 elements, each with 16 bits of scale and 4 of zeros.
            (
                r#"{"quant_method":"awq","bits":4,"group_size":128,"zero_point":true,"version":"gemm"}"#,
                own + matrices / 2 + matrices / 128 * 5 / 2,
            ),
            // The same and a 32-bit number for each input.
            (
                r#"{"quant_method":"gptq","bits":4,"group_size":128}"#,
                own + matrices / 2 + matrices / 128 * 5 / 2 + 4 * inputs,
            ),
            (
                r#"{"quant_method":"gptq","bits":3,"group_size":128}"#,
                own + matrices * 3 / 8 + matrices / 128 * 19 / 8 + 4 * inputs,
            ),
            (r#"{"quant_method":"gptq","bits":8,"group_size":-1}"#, own + matrices + outputs * 3 + 4 * inputs),
            (r#"{"quant_method":"bitsandbytes","load_in_8bit":true}"#, own + matrices + 4 * outputs),
            (
                r#"{"quant_method":"bitsandbytes","load_in_4bit":true,"bnb_4bit_quant_type":"nf4"}"#,
                own + matrices / 2 + matrices / 64 * 4,
            ),
            (
                r#"{"quant_method":"bitsandbytes","load_in_4bit":true,"bnb_4bit_use_double_quant":true}"#,
                own + matrices / 2 + matrices / 64 + matrices / 16_384 * 4,
            ),
            (r#"{"quant_method":"fp8"}"#, own + matrices + 32 * 7 * 4),
            (r#"{"quant_method":"fp8","weight_block_size":[128,128]}"#, own + matrices + matrices / 16_384 * 4),
            (
                r#"{"quant_method":"modelopt","quant_algo":"NVFP4","exclude_modules":["lm_head"]}"#,
                own + matrices / 2 + matrices / 16 + 32 * 7 * 8,
            ),
            (
                r#"{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"group_0":{"targets":["Linear"],
                "weights":{"num_bits":4,"type":"int","group_size":128,"symmetric":true}}},"ignore":["lm_head"]}"#,
                own + matrices / 2 + matrices / 128 * 2,
            ),
            (
                r#"{"quant_method":"compressed-tensors","format":"float-quantized","config_groups":{"group_0":{"targets":["Linear"],
                "weights":{"num_bits":8,"type":"float","strategy":"channel"}}},"ignore":["lm_head"]}"#,
                own + matrices + 2 * outputs,
            ),
            // The attention is left alone: 4 matrices of 41,943,040 elements in each layer.
            (
                r#"{"quant_method":"compressed-tensors","format":"mxfp4-pack-quantized","config_groups":{"group_0":{"targets":["Linear"],
                "weights":{"num_bits":4,"type":"float","group_size":32}}},"ignore":["re:.*self_attn.*","lm_head"]}"#,
                own + 2 * 32 * 41_943_040 + (matrices - 32 * 41_943_040) * 17 / 32,
            ),
        ] {
            let text =
                LLAMA3.replace("\"vocab_size\"", &format!("\"quantization_config\":{quantization},\"vocab_size\""));
            let facts = facts_of(&text, ModelRun::default());
            assert_eq!((facts.weight_bytes, facts.notes.len()), (wanted, 0), "{quantization} {:?}", facts.notes);
            // The trace moves all of them but the table, of which it reads rows.
            let config = ModelConfig::from_json("c", text.as_bytes()).unwrap();
            let run = ModelRun {
                model: ModelRef::Config(Box::new(config)),
                prompt_tokens: Some(2),
                decode_tokens: Some(0),
                ..ModelRun::default()
            };
            let trace = run.trace(0, u64::MAX).unwrap();
            let weights =
                trace.tensors().iter().filter(|t| t.kind == crate::trace::Kind::Weights && !t.name.contains("rows["));
            let table = 2 * 128_256 * 4096;
            assert_eq!(weights.map(|t| t.bytes).sum::<u64>() + table, wanted, "{quantization}");
        }
        // Embeddings and head too, with scales and biases of 16 bits for 64 elements each; norms keep their width.
        let mlx = LLAMA3.replace("\"vocab_size\"", "\"quantization\":{\"group_size\":64,\"bits\":4},\"vocab_size\"");
        let all = matrices + 1_050_673_152;
        assert_eq!(facts_of(&mlx, ModelRun::default()).weight_bytes, 2 * 65 * 4096 + all / 2 + all / 64 * 4);
    }

    #[test]
    fn what_a_quantiser_says_is_read_or_told() {
        let with = |quantization: &str| {
            let text =
                MISTRAL.replace("\"vocab_size\"", &format!("\"quantization_config\":{quantization},\"vocab_size\""));
            ModelConfig::from_json("c", text.as_bytes())
        };
        assert_eq!(with("null").unwrap().dtype(), Dtype::Bfloat16);
        for unknown in [r#"{"bits":3}"#, r#"{"quant_method":"aqlm","bits":2}"#, r#"{"quant_method":"gptq","bits":7}"#] {
            assert!(with(unknown).unwrap_err().to_string().contains("Remove the key and choose"), "{unknown}");
        }
        let told = with(r#"{"quant_method":"awq","bits":4,"group_size":64,"outlier_bits":16}"#).unwrap();
        assert!(told.transformer().unwrap().notes[0].contains("outlier_bits"));
        for scheme in [
            r#""kv_cache_scheme":{"num_bits":8,"type":"float"}"#,
            r#""kv_cache_scheme":"FP8""#,
            r#""kv_cache_quant_algo":"FP8""#,
        ] {
            let text = LLAMA3.replace(
                "\"vocab_size\"",
                &format!("\"quantization_config\":{{\"quant_method\":\"fp8\",{scheme}}},\"vocab_size\""),
            );
            assert_eq!(facts_of(&text, ModelRun::default()).kv_bytes_per_token, 2 * 8 * 128 * 32, "{scheme}");
            let wide = ModelRun { kv_dtype: Some(Dtype::Bfloat16), ..ModelRun::default() };
            assert_eq!(facts_of(&text, wide).kv_bytes_per_token, 2 * 2 * 8 * 128 * 32);
        }
    }

    /// Gemma-3-27B: 10 of 62 layers see everything, the others a window of 1024. Mistral-7B v0.1: all a window of 4096.
    #[test]
    fn windows_keep_no_more_than_they_see() {
        let gemma = r#"{"model_type":"gemma3","torch_dtype":"bfloat16","text_config":{"head_dim":128,"hidden_size":5376,
            "intermediate_size":21504,"model_type":"gemma3_text","num_attention_heads":32,"num_hidden_layers":62,
            "num_key_value_heads":16,"sliding_window":1024}}"#;
        let mistral = MISTRAL.replace("\"sliding_window\":null", "\"sliding_window\":4096");
        for (text, prompt, wanted) in [
            (gemma, 32_768, 2 * 16 * 128 * 2 * (10 * 32_769 + 52 * 1024)),
            (&mistral, 16_384, 2 * 8 * 128 * 2 * 32 * 4096),
        ] {
            let run = || ModelRun { prompt_tokens: Some(prompt), decode_tokens: Some(1), ..ModelRun::default() };
            assert_eq!(facts_of(text, run()).kv_bytes, wanted);
            let config = ModelConfig::from_json("c", text.as_bytes()).unwrap();
            let trace = ModelRun { model: ModelRef::Config(Box::new(config)), ..run() }.trace(0, u64::MAX).unwrap();
            let kept = trace.tensors().iter().filter(|t| t.kind == crate::trace::Kind::KvCache);
            assert_eq!(kept.map(|t| t.bytes).sum::<u64>(), wanted);
        }
    }

    /// What a model ends in, as transformers' classes have it.
    #[test]
    fn architectures_decide_head_and_pooler() {
        let bert = r#"{"model_type":"bert","hidden_size":768,"intermediate_size":3072,"num_attention_heads":12,
            "num_hidden_layers":12,"vocab_size":30522,"max_position_embeddings":512,"type_vocab_size":2}"#;
        for (text, architecture, wanted) in [
            (MISTRAL, "MistralForCausalLM", 7_241_732_096),
            (MISTRAL, "MistralModel", 7_110_660_096),
            (LLAMA3, "LlamaForSequenceClassification", 7_504_924_672 + 2 * 4096),
            (bert, "BertModel", 109_482_240),
            (bert, "BertForMaskedLM", 109_514_298),
        ] {
            let text =
                text.replace("{\"model_type\"", &format!("{{\"architectures\":[\"{architecture}\"],\"model_type\""));
            let config = ModelConfig::from_json("c", text.as_bytes()).unwrap();
            assert_eq!(config.parameters(), wanted, "{architecture}");
        }
        // gemma-7b as it was published, without its head_dim of 256, which is the default of its class.
        let gemma = r#"{"model_type":"gemma","hidden_size":3072,"intermediate_size":24576,"max_position_embeddings":8192,
            "num_attention_heads":16,"num_hidden_layers":28,"num_key_value_heads":16,"vocab_size":256000}"#;
        assert_eq!(ModelConfig::from_json("c", gemma.as_bytes()).unwrap().parameters(), 8_537_680_896);
    }

    fn sees(config: &ModelConfig) -> Vec<Sees> {
        let layers = config.transformer().unwrap().model.layers();
        layers.flat_map(|(.., layer)| layer.attentions().map(|heads| heads.sees)).collect()
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
        sees(&config).into_iter().map(|sees| sees == Sees::Window(1024)).collect()
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
        assert_eq!(sees(&config)[0], Sees::Window(4096));
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
    fn what_python_writes_is_read() {
        let text =
            MISTRAL.replace("32000}", "32000,\"limit\":[0.0,Infinity,-Infinity,NaN],\"a\":\"NaN \\\" Infinity\"}");
        assert_eq!(ModelConfig::from_json("c", text.as_bytes()).unwrap().parameters(), 7_241_732_096);
        let broken = MISTRAL.replace("32000}", "[Infinity] 32000}");
        assert!(ModelConfig::from_json("c", broken.as_bytes()).is_err());
    }

    /// Llama-3-8B and Mixtral-8x7B as their makers publish them beside Hugging Face.
    #[test]
    fn params_json_is_read() {
        for (text, wanted) in [
            (
                r#"{"dim":4096,"n_layers":32,"n_heads":32,"n_kv_heads":8,"vocab_size":128256,"multiple_of":1024,
                "ffn_dim_multiplier":1.3,"norm_eps":1e-05,"rope_theta":500000.0}"#,
                8_030_261_248,
            ),
            (
                r#"{"dim":4096,"n_layers":32,"head_dim":128,"hidden_dim":14336,"n_heads":32,"n_kv_heads":8,
                "norm_eps":1e-05,"vocab_size":32000,"moe":{"num_experts_per_tok":2,"num_experts":8}}"#,
                46_702_792_704,
            ),
        ] {
            let config = ModelConfig::from_json("params.json", text.as_bytes()).unwrap();
            assert_eq!((config.parameters(), config.dtype()), (wanted, Dtype::Bfloat16));
            assert!(config.transformer().unwrap().notes[0].contains("bfloat16"));
        }
        let old = r#"{"dim":4096,"n_layers":32,"n_heads":32,"vocab_size":-1}"#;
        let error = ModelConfig::from_json("params.json", old.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("key `vocab_size`: the value is -1"), "{error}");
    }

    #[test]
    fn the_family_may_come_from_architectures() {
        let text = MISTRAL.replace("\"model_type\":\"mistral\"", "\"architectures\":[\"MistralForCausalLM\"]");
        let config = ModelConfig::from_json("c", text.as_bytes()).unwrap();
        assert_eq!(config.transformer().unwrap().model_type, "mistral");
    }
}
