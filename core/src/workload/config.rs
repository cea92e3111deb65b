//! A Transformer's shapes from its Hugging Face `config.json`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::check_range;
use crate::error::{Error, Place};

/// The layout of a decoder-only Transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// RMS norm, rotary positions, gated MLP, grouped queries.
    Llama,
    /// Llama's layout; may attend to a sliding window.
    Mistral,
    /// Layer norm, learned positions, biases, plain MLP, tied embeddings.
    Gpt2,
}

/// A number format, by the width of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 32 bits.
    Float32,
    /// 16 bits.
    Float16,
    /// 16 bits.
    Bfloat16,
    /// 8 bits.
    Float8,
    /// 8 bits.
    Int8,
    /// 4 bits, without the scales of a block format.
    Int4,
}

impl Dtype {
    /// Every format.
    pub const ALL: [Self; 6] = [Self::Float32, Self::Float16, Self::Bfloat16, Self::Float8, Self::Int8, Self::Int4];

    /// Other names in use: shorthand, and those of PyTorch.
    const ALIASES: [(&str, Self); 12] = [
        ("f32", Self::Float32),
        ("f16", Self::Float16),
        ("half", Self::Float16),
        ("bf16", Self::Bfloat16),
        ("fp8", Self::Float8),
        ("float8_e4m3fn", Self::Float8),
        ("float8_e5m2", Self::Float8),
        ("i8", Self::Int8),
        ("q8", Self::Int8),
        ("i4", Self::Int4),
        ("q4", Self::Int4),
        ("fp4", Self::Int4),
    ];

    /// The name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float16 => "float16",
            Self::Bfloat16 => "bfloat16",
            Self::Float8 => "float8",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        }
    }

    /// The format of that name, as `config.json` or common shorthand writes it; `field` is named in the error.
    pub fn from_name(field: &str, name: &str) -> Result<Self, Error> {
        let plain = name.strip_prefix("torch.").unwrap_or(name);
        let named = Self::ALL.into_iter().map(|dtype| (dtype.name(), dtype)).chain(Self::ALIASES);
        let found = named.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(plain));
        found.map(|(_, dtype)| dtype).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::field(field, format!("\"{name}\""), "no such number format", format!("Choose one of {names}"))
        })
    }

    /// Bits an element takes.
    pub fn bits(self) -> u64 {
        match self {
            Self::Float32 => 32,
            Self::Float16 | Self::Bfloat16 => 16,
            Self::Float8 | Self::Int8 => 8,
            Self::Int4 => 4,
        }
    }

    /// Bytes that `elements` take, rounded up.
    pub fn bytes(self, elements: u64) -> Result<u64, Error> {
        product(&[elements, self.bits()]).map(|bits| bits.div_ceil(8))
    }
}

impl Serialize for Dtype {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Dtype {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name("dtype", &name).map_err(serde::de::Error::custom)
    }
}

/// The product of `factors`, or an error where it passes 64 bits.
pub(crate) fn product(factors: &[u64]) -> Result<u64, Error> {
    factors.iter().try_fold(1u64, |p, f| p.checked_mul(*f)).ok_or_else(|| Error::TooLarge {
        problem: "a tensor of this model has more than 2^64 - 1 bytes".into(),
        cure: "Check the sizes in the configuration, the batch size and the token counts".into(),
    })
}

/// The keys of a `config.json` that decide what is read during inference.
///
/// It is written with Llama's names and read with every family's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelConfig {
    /// The family; its layout of tensors.
    pub model_type: Family,
    /// Width of the residual stream (`n_embd`).
    pub hidden_size: u64,
    /// Width of the MLP (`n_inner`).
    pub intermediate_size: u64,
    /// Layers (`n_layer`).
    pub num_hidden_layers: u64,
    /// Query heads (`n_head`).
    pub num_attention_heads: u64,
    /// Key and value heads; fewer than query heads under grouped-query attention.
    pub num_key_value_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Rows of the embedding table.
    pub vocab_size: u64,
    /// Longest sequence (`n_positions`).
    pub max_position_embeddings: u64,
    /// Tokens a layer looks back at, where limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<u64>,
    /// Whether the output head is the embedding table.
    pub tie_word_embeddings: bool,
    /// Whether Llama's attention projections have biases.
    pub attention_bias: bool,
    /// Whether Llama's MLP projections have biases.
    pub mlp_bias: bool,
    /// Number format of the stored weights (`dtype`); where the file names none, float32 as in transformers.
    pub torch_dtype: Dtype,
}

impl<'de> Deserialize<'de> for ModelConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys = Map::deserialize(deserializer)?;
        Self::from_keys("config.json", &keys).map_err(serde::de::Error::custom)
    }
}

/// A JSON value in few words: what stands in a refused file may be long.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(n), ..) => n.to_string(),
            (_, Some(n), _) => n.to_string(),
            (.., n) => n.unwrap_or(f64::NAN).to_string(),
        },
        Value::String(text) => format!("\"{}\"", text.chars().take(40).collect::<String>()),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

/// The keys of one file, with errors that name it.
struct Keys<'a> {
    input: &'a str,
    keys: &'a Map<String, Value>,
}

impl Keys<'_> {
    fn bad(&self, key: &str, problem: String, cure: &str) -> Error {
        Error::input(self.input, Place::Key(key.to_owned()), problem, cure)
    }

    /// The first of `names` that is present and not null.
    fn find(&self, names: &[&'static str]) -> Option<(&'static str, &Value)> {
        names.iter().find_map(|n| self.keys.get(*n).filter(|v| !v.is_null()).map(|v| (*n, v)))
    }

    fn optional(&self, names: &[&'static str], most: u64) -> Result<Option<u64>, Error> {
        let Some((name, value)) = self.find(names) else { return Ok(None) };
        let number = value.as_u64().filter(|n| (1..=most).contains(n));
        number.map(Some).ok_or_else(|| {
            self.bad(name, format!("the value is {}", show(value)), &format!("Write a whole number from 1 to {most}"))
        })
    }

    fn required(&self, names: &[&'static str], most: u64) -> Result<u64, Error> {
        self.optional(names, most)?
            .ok_or_else(|| self.bad(names[0], "the key is missing".into(), "Give the model's complete config.json"))
    }

    fn flag(&self, name: &'static str, default: bool) -> Result<bool, Error> {
        match self.find(&[name]) {
            None => Ok(default),
            Some((_, Value::Bool(flag))) => Ok(*flag),
            Some((_, other)) => Err(self.bad(name, format!("the value is {}", show(other)), "Write true or false")),
        }
    }
}

impl ModelConfig {
    /// Reads a Hugging Face `config.json`; `input` is named in the errors.
    pub fn from_json(input: &str, text: &[u8]) -> Result<Self, Error> {
        let keys: Map<String, Value> = serde_json::from_slice(text).map_err(|e| {
            let place = Place::LineColumn(e.line() as u64, e.column() as u64);
            Error::input(input, place, format!("not a JSON object: {e}"), "Paste the model's config.json as it is")
        })?;
        Self::from_keys(input, &keys)
    }

    fn from_keys(input: &str, keys: &Map<String, Value>) -> Result<Self, Error> {
        let keys = Keys { input, keys };
        let model_type = keys.family()?;
        let heads = keys.required(&["num_attention_heads", "n_head"], 1 << 14)?;
        let hidden_size = keys.required(&["hidden_size", "n_embd"], 1 << 20)?;
        let head_dim = match keys.optional(&["head_dim"], 1 << 14)? {
            Some(head_dim) => head_dim,
            None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
            None => {
                return Err(keys.bad(
                    "num_attention_heads",
                    format!("{heads} heads do not divide hidden_size {hidden_size}"),
                    "Correct one of the two, or give head_dim",
                ));
            }
        };
        let gpt2 = model_type == Family::Gpt2;
        let intermediate = keys.optional(&["intermediate_size", "n_inner"], 1 << 22)?;
        let config = Self {
            model_type,
            hidden_size,
            intermediate_size: match intermediate {
                Some(size) => size,
                None if gpt2 => 4 * hidden_size,
                None => keys.required(&["intermediate_size"], 1 << 22)?,
            },
            num_hidden_layers: keys.required(&["num_hidden_layers", "n_layer"], 1024)?,
            num_attention_heads: heads,
            num_key_value_heads: keys.optional(&["num_key_value_heads"], 1 << 14)?.unwrap_or(heads),
            head_dim,
            vocab_size: keys.required(&["vocab_size"], 1 << 24)?,
            max_position_embeddings: keys.required(&["max_position_embeddings", "n_positions", "n_ctx"], 1 << 24)?,
            sliding_window: if gpt2 { None } else { keys.optional(&["sliding_window"], 1 << 24)? },
            tie_word_embeddings: keys.flag("tie_word_embeddings", gpt2)?,
            attention_bias: keys.flag("attention_bias", false)?,
            mlp_bias: keys.flag("mlp_bias", false)?,
            torch_dtype: match keys.find(&["torch_dtype", "dtype"]) {
                _ if keys.find(&["quantization_config"]).is_some() => keys.quantized_dtype()?,
                None => Dtype::Float32,
                Some((name, Value::String(dtype))) => Dtype::from_name(name, dtype)?,
                Some((name, other)) => {
                    return Err(keys.bad(
                        name,
                        format!("the value is {}", show(other)),
                        "Write a name such as \"bfloat16\"",
                    ));
                }
            },
        };
        config.check()?;
        Ok(config)
    }

    /// Fails where two values contradict each other.
    pub fn check(&self) -> Result<(), Error> {
        check_range("num_key_value_heads", self.num_key_value_heads, 1..=self.num_attention_heads)?;
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return Err(Error::field(
                "num_key_value_heads",
                self.num_key_value_heads,
                format!("does not divide the {} attention heads", self.num_attention_heads),
                "Correct one of the two",
            ));
        }
        check_range("head_dim", self.head_dim, 1..=(1 << 24) / self.num_attention_heads)
    }

    /// The tensors outside the layers: embedding tables, final norm, output head.
    pub(crate) fn embedding_elements(&self) -> u64 {
        self.vocab_size * self.hidden_size
    }

    /// The stored tensors of one layer with their numbers of elements, in the order in which they are read.
    pub(crate) fn layer(&self) -> LayerShapes {
        let (h, i) = (self.hidden_size, self.intermediate_size);
        let q = self.num_attention_heads * self.head_dim;
        let kv = self.num_key_value_heads * self.head_dim;
        let linear =
            |name, inputs: u64, outputs: u64, bias: bool| (name, inputs * outputs + if bias { outputs } else { 0 });
        match self.model_type {
            Family::Llama | Family::Mistral => LayerShapes {
                prefix: "model.layers",
                norm1: ("input_layernorm", h),
                qkv: vec![
                    linear("self_attn.q_proj", h, q, self.attention_bias),
                    linear("self_attn.k_proj", h, kv, self.attention_bias),
                    linear("self_attn.v_proj", h, kv, self.attention_bias),
                ],
                attention_out: linear("self_attn.o_proj", q, h, self.attention_bias),
                norm2: ("post_attention_layernorm", h),
                mlp_in: vec![linear("mlp.gate_proj", h, i, self.mlp_bias), linear("mlp.up_proj", h, i, self.mlp_bias)],
                mlp_out: linear("mlp.down_proj", i, h, self.mlp_bias),
            },
            Family::Gpt2 => LayerShapes {
                prefix: "transformer.h",
                norm1: ("ln_1", 2 * h),
                qkv: vec![linear("attn.c_attn", h, q + 2 * kv, true)],
                attention_out: linear("attn.c_proj", q, h, true),
                norm2: ("ln_2", 2 * h),
                mlp_in: vec![linear("mlp.c_fc", h, i, true)],
                mlp_out: linear("mlp.c_proj", i, h, true),
            },
        }
    }

    /// Elements of the final norm.
    pub(crate) fn final_norm_elements(&self) -> u64 {
        match self.model_type {
            Family::Llama | Family::Mistral => self.hidden_size,
            Family::Gpt2 => 2 * self.hidden_size,
        }
    }

    /// Elements of a table of learned positions.
    pub(crate) fn position_elements(&self) -> u64 {
        match self.model_type {
            Family::Llama | Family::Mistral => 0,
            Family::Gpt2 => self.max_position_embeddings * self.hidden_size,
        }
    }

    /// Number of parameters.
    pub fn parameters(&self) -> u64 {
        // At most 2^10 layers of 2^46 elements: fits.
        let head = if self.tie_word_embeddings { 0 } else { self.embedding_elements() };
        self.embedding_elements()
            + self.position_elements()
            + self.num_hidden_layers * self.layer().elements()
            + self.final_norm_elements()
            + head
    }

    /// Key and value elements that one token adds in one layer.
    pub fn kv_elements_per_layer(&self) -> u64 {
        2 * self.num_key_value_heads * self.head_dim
    }
}

impl Keys<'_> {
    /// The width that a `quantization_config` (GPTQ, AWQ, bitsandbytes, FP8) gives the weights; all of them are
    /// counted at it, embeddings included.
    fn quantized_dtype(&self) -> Result<Dtype, Error> {
        const NAME: &str = "quantization_config";
        let value = self.keys.get(NAME);
        let find = |key: &str| value.and_then(|v| v.get(key));
        let on = |key: &str| find(key).and_then(Value::as_bool) == Some(true);
        match (find("bits").and_then(Value::as_u64), find("quant_method").and_then(Value::as_str)) {
            (Some(4), _) => Ok(Dtype::Int4),
            (Some(8), _) => Ok(Dtype::Int8),
            (None, Some("fp8" | "fbgemm_fp8")) => Ok(Dtype::Float8),
            (None, _) if on("load_in_4bit") || on("_load_in_4bit") => Ok(Dtype::Int4),
            (None, _) if on("load_in_8bit") || on("_load_in_8bit") => Ok(Dtype::Int8),
            _ => Err(self.bad(
                NAME,
                "the width of the weights cannot be told from it".into(),
                "Remove the key and choose the number format of the weights (weight_dtype) yourself",
            )),
        }
    }

    fn family(&self) -> Result<Family, Error> {
        let name = match (self.find(&["model_type"]), self.keys.get("architectures").and_then(|a| a.get(0))) {
            (Some((_, Value::String(name))), _) => name.clone(),
            (_, Some(Value::String(architecture))) => architecture
                .split("For")
                .next()
                .unwrap_or_default()
                .split("LMHead")
                .next()
                .unwrap_or_default()
                .to_ascii_lowercase(),
            _ => {
                return Err(self.bad(
                    "model_type",
                    "the key is missing".into(),
                    "Give the model's complete config.json; supported are llama, mistral and gpt2",
                ));
            }
        };
        match name.as_str() {
            "llama" => Ok(Family::Llama),
            "mistral" => Ok(Family::Mistral),
            "gpt2" => Ok(Family::Gpt2),
            other => Err(self.bad(
                "model_type",
                format!("\"{other}\" is not supported"),
                "Use a configuration of type llama, mistral or gpt2",
            )),
        }
    }
}

/// Stored tensors of a layer: name and number of elements.
#[derive(Debug)]
pub(crate) struct LayerShapes {
    pub(crate) prefix: &'static str,
    pub(crate) norm1: (&'static str, u64),
    pub(crate) qkv: Vec<(&'static str, u64)>,
    pub(crate) attention_out: (&'static str, u64),
    pub(crate) norm2: (&'static str, u64),
    pub(crate) mlp_in: Vec<(&'static str, u64)>,
    pub(crate) mlp_out: (&'static str, u64),
}

impl LayerShapes {
    fn elements(&self) -> u64 {
        let all = self.qkv.iter().chain(&self.mlp_in);
        all.chain([&self.norm1, &self.attention_out, &self.norm2, &self.mlp_out]).map(|(_, n)| n).sum()
    }
}

/// What a model's shapes say before anything is simulated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Number of parameters.
    pub parameters: u64,
    /// Bytes of all weights in the chosen number format.
    pub weight_bytes: u64,
    /// Bytes of keys and values that one token adds, all layers together.
    pub kv_bytes_per_token: u64,
    /// Bytes of keys and values of the whole batch at the end of the run.
    pub kv_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISTRAL: &str = r#"{"model_type":"mistral","hidden_size":4096,"intermediate_size":14336,
        "num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"max_position_embeddings":32768,
        "sliding_window":null,"tie_word_embeddings":false,"torch_dtype":"bfloat16","vocab_size":32000}"#;

    #[test]
    fn mistral_has_the_published_parameters() {
        let config = ModelConfig::from_json("config.json", MISTRAL.as_bytes()).unwrap();
        assert_eq!(config.parameters(), 7_241_732_096);
        let again = serde_json::to_vec(&config).unwrap();
        assert_eq!(ModelConfig::from_json("config.json", &again).unwrap(), config);
    }

    #[test]
    fn broken_configs_name_the_key() {
        for (change, wanted) in [
            (("mistral", "mixtral"), "key `model_type`: \"mixtral\" is not supported"),
            (("4096,", "-4096,"), "key `hidden_size`: the value is -4096"),
            (("4096,", "1e30,"), "key `hidden_size`"),
            (("\"num_hidden_layers\":32,", ""), "key `num_hidden_layers`: the key is missing"),
            (("\"num_attention_heads\":32", "\"num_attention_heads\":33"), "33 heads do not divide hidden_size"),
            (("\"num_key_value_heads\":8", "\"num_key_value_heads\":5"), "num_key_value_heads is 5: does not divide"),
            (("bfloat16", "posit8"), "torch_dtype is \"posit8\": no such number format"),
            (("\"sliding_window\":null", "\"sliding_window\":\"x\""), "key `sliding_window`: the value is \"x\""),
            (("32000}", "32000"), "line 3, column"),
        ] {
            let text = MISTRAL.replace(change.0, change.1);
            let error = ModelConfig::from_json("config.json", text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{change:?} gave {error}");
        }
    }

    #[test]
    fn quantised_weights_count_at_their_width() {
        let with = |quantization: &str| {
            let text =
                MISTRAL.replace("\"vocab_size\"", &format!("\"quantization_config\":{quantization},\"vocab_size\""));
            ModelConfig::from_json("c", text.as_bytes()).map(|c| c.torch_dtype)
        };
        assert_eq!(with(r#"{"quant_method":"awq","bits":4}"#).unwrap(), Dtype::Int4);
        assert_eq!(with(r#"{"quant_method":"bitsandbytes","load_in_8bit":true}"#).unwrap(), Dtype::Int8);
        assert_eq!(with("null").unwrap(), Dtype::Bfloat16);
        assert!(with(r#"{"bits":3}"#).unwrap_err().to_string().contains("Remove the key and choose"));
    }

    #[test]
    fn the_family_may_come_from_architectures() {
        let text = MISTRAL.replace("\"model_type\":\"mistral\"", "\"architectures\":[\"MistralForCausalLM\"]");
        assert_eq!(ModelConfig::from_json("c", text.as_bytes()).unwrap().model_type, Family::Mistral);
    }
}
