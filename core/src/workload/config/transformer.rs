//! Transformers: what their `config.json` says, and the tensors that follow from it.

use serde::{Deserialize, Serialize};

use serde_json::Value;

use super::keys::Keys;
use super::product;
use crate::check::check_range;
use crate::error::Error;
use crate::workload::dtype::Dtype;

/// A layout of tensors, by the `model_type` of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// RMS norm, rotary positions, gated MLP, grouped queries.
    Llama,
    /// Llama's layout; may attend to a sliding window.
    Mistral,
    /// Mistral with experts in place of every MLP.
    Mixtral,
    /// Llama's layout with biases on queries, keys and values.
    Qwen2,
    /// Qwen2 with experts, and one expert for all tokens.
    Qwen2Moe,
    /// Llama's layout with norms on queries and keys.
    Qwen3,
    /// Qwen3 with experts.
    Qwen3Moe,
    /// Llama's layout with wide heads and tied embeddings.
    Gemma,
    /// Gemma with norms before and after both halves of a layer; every other layer sees a window only.
    Gemma2,
    /// Gemma2 with norms on queries and keys; every sixth layer sees everything.
    Gemma3Text,
    /// Layer norm, learned positions, biases, plain MLP, tied embeddings.
    Gpt2,
    /// GPT-2's layout with separate queries, keys and values.
    Opt,
    /// An encoder with norms after each half of a layer, token types and a pooler.
    Bert,
    /// An encoder and a decoder, relative positions, no biases.
    T5,
    /// T5 with experts in some layers.
    SwitchTransformers,
    /// An encoder of image patches with a classifier.
    Vit,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 16] = [
        Self::Llama,
        Self::Mistral,
        Self::Mixtral,
        Self::Qwen2,
        Self::Qwen2Moe,
        Self::Qwen3,
        Self::Qwen3Moe,
        Self::Gemma,
        Self::Gemma2,
        Self::Gemma3Text,
        Self::Gpt2,
        Self::Opt,
        Self::Bert,
        Self::T5,
        Self::SwitchTransformers,
        Self::Vit,
    ];

    /// The `model_type` of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Mixtral => "mixtral",
            Self::Qwen2 => "qwen2",
            Self::Qwen2Moe => "qwen2_moe",
            Self::Qwen3 => "qwen3",
            Self::Qwen3Moe => "qwen3_moe",
            Self::Gemma => "gemma",
            Self::Gemma2 => "gemma2",
            Self::Gemma3Text => "gemma3_text",
            Self::Gpt2 => "gpt2",
            Self::Opt => "opt",
            Self::Bert => "bert",
            Self::T5 => "t5",
            Self::SwitchTransformers => "switch_transformers",
            Self::Vit => "vit",
        }
    }

    /// What transformers assumes where a file leaves these keys out: files of Gemma 3 give only what differs.
    fn defaults(self) -> &'static [(&'static str, u64)] {
        match self {
            Self::Mistral => &[("sliding_window", 4096)],
            Self::Gemma2 => &[("sliding_window", 4096)],
            Self::Gemma3Text => &[
                ("vocab_size", 262_208),
                ("hidden_size", 2304),
                ("intermediate_size", 9216),
                ("num_hidden_layers", 26),
                ("num_attention_heads", 8),
                ("num_key_value_heads", 4),
                ("head_dim", 256),
                ("max_position_embeddings", 131_072),
                ("sliding_window", 4096),
            ],
            _ => &[],
        }
    }

    fn t5_like(self) -> bool {
        matches!(self, Self::T5 | Self::SwitchTransformers)
    }

    /// Layer norms with biases, and biases on every linear layer.
    fn with_biases(self) -> bool {
        matches!(self, Self::Gpt2 | Self::Opt | Self::Bert | Self::Vit)
    }

    /// Whether it only encodes: every token sees every other, and nothing is decoded.
    fn encodes_only(self) -> bool {
        matches!(self, Self::Bert | Self::Vit)
    }
}

/// What a layer looks back at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerType {
    /// Everything.
    FullAttention,
    /// The window.
    SlidingAttention,
}

/// Experts in place of MLPs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Experts {
    /// Experts of a layer.
    pub num_experts: u64,
    /// Experts that each token is sent to.
    pub num_experts_per_tok: u64,
    /// Width of an expert.
    pub moe_intermediate_size: u64,
    /// Width of the expert for all tokens, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_expert_intermediate_size: Option<u64>,
    /// Every how many layers has experts.
    pub decoder_sparse_step: u64,
    /// The same for the encoder, where there are two stacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder_sparse_step: Option<u64>,
    /// Layers without experts in spite of the step (Qwen).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mlp_only_layers: Vec<u64>,
}

/// The image of a vision Transformer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    /// Height and width.
    pub image_size: u64,
    /// Height and width of a patch.
    pub patch_size: u64,
    /// Channels.
    pub num_channels: u64,
    /// Classes.
    pub num_labels: u64,
}

/// The keys of a Transformer's `config.json` that decide what is read and written.
///
/// It is written with Llama's names and read with every family's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transformer {
    /// The family; its layout of tensors.
    pub model_type: Family,
    /// Width of the residual stream (`n_embd`, `d_model`).
    pub hidden_size: u64,
    /// Width of the MLP (`n_inner`, `ffn_dim`, `d_ff`).
    pub intermediate_size: u64,
    /// Layers (`n_layer`); of the encoder, where there are two stacks.
    pub num_hidden_layers: u64,
    /// Layers of the decoder, where there is an encoder as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_decoder_layers: Option<u64>,
    /// Query heads (`n_head`, `num_heads`).
    pub num_attention_heads: u64,
    /// Key and value heads; fewer than query heads under grouped-query attention.
    pub num_key_value_heads: u64,
    /// Width of a head (`d_kv`).
    pub head_dim: u64,
    /// Rows of the embedding table; 0 for images.
    pub vocab_size: u64,
    /// Longest sequence (`n_positions`).
    pub max_position_embeddings: u64,
    /// Tokens a layer looks back at, where limited; written as null where not, for some families have a default.
    pub sliding_window: Option<u64>,
    /// Whether the window is in use (Qwen); the other families' always is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub use_sliding_window: bool,
    /// Every how many layers sees everything in spite of the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sliding_window_pattern: Option<u64>,
    /// How many layers at the front see everything in spite of the window (Qwen).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_window_layers: Option<u64>,
    /// What each layer sees, where the file lists it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_types: Option<Vec<LayerType>>,
    /// Whether the output head is the embedding table.
    pub tie_word_embeddings: bool,
    /// Whether Llama's attention projections have biases.
    pub attention_bias: bool,
    /// Whether Llama's MLP projections have biases.
    pub mlp_bias: bool,
    /// Whether the MLP multiplies two projections (`gated-gelu` in T5's files).
    pub is_gated_act: bool,
    /// Experts, where there are some.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub experts: Option<Experts>,
    /// Kinds of tokens (BERT).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub type_vocab_size: Option<u64>,
    /// Width of the embedding table, where it is not that of the residual stream (OPT).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word_embed_proj_dim: Option<u64>,
    /// Whether norms come before each half of a layer (OPT).
    pub do_layer_norm_before: bool,
    /// The image, for a vision Transformer.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// Number format of the stored weights (`dtype`); where the file names none, float32 as in transformers.
    pub torch_dtype: Dtype,
}

/// A matrix of weights, with its name inside the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Linear {
    pub(crate) name: &'static str,
    pub(crate) inputs: u64,
    pub(crate) outputs: u64,
    pub(crate) bias: bool,
}

impl Linear {
    fn elements(&self) -> u64 {
        (self.inputs + u64::from(self.bias)) * self.outputs
    }
}

/// The weights of an attention.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    /// Queries, keys and values: three matrices, or one for all.
    pub(crate) qkv: Vec<Linear>,
    pub(crate) out: Linear,
    /// Elements of the norm on queries, and of that on keys; 0 where there are none.
    pub(crate) qk_norm: u64,
    /// Elements of a table of relative positions; 0 where there is none.
    pub(crate) positions: u64,
}

/// The weights of an MLP: one matrix in, or two that are multiplied with each other, and one out.
#[derive(Debug, Clone)]
pub(crate) struct MlpShape {
    pub(crate) up: Vec<Linear>,
    pub(crate) down: Linear,
}

impl MlpShape {
    fn elements(&self) -> u64 {
        self.up.iter().map(Linear::elements).sum::<u64>() + self.down.elements()
    }
}

/// What follows the attention of a layer.
#[derive(Debug, Clone)]
pub(crate) enum Feed {
    Dense(MlpShape),
    Sparse {
        router: Linear,
        expert: MlpShape,
        /// The expert for all tokens, and the matrix that weighs it.
        shared: Option<(MlpShape, Linear)>,
    },
}

/// A stack of layers of one layout.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    /// What the names of its tensors begin with.
    pub(crate) prefix: &'static str,
    pub(crate) layers: u64,
    /// Whether a token sees only those before it, whose keys and values are kept.
    pub(crate) causal: bool,
    /// Whether it also attends to what the other stack made.
    pub(crate) cross: bool,
    /// Every how many layers has experts; 0 = none.
    pub(crate) sparse_step: u64,
}

/// How the tokens of a model come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tokens {
    /// As many as the run says.
    Chosen,
    /// As many as the image has patches, and one for the class.
    Image(u64),
}

/// Buckets of T5's relative positions (`relative_attention_num_buckets` in its configuration; no published model has
/// another number).
const RELATIVE_BUCKETS: u64 = 32;
/// OPT's table of positions has two rows more than positions (its offset for padding).
const OPT_OFFSET: u64 = 2;

impl Transformer {
    pub(super) fn from_keys(name: &str, keys: &Keys<'_>) -> Result<Self, Error> {
        let alias = match name {
            "switchtransformers" => "switch_transformers",
            "qwen2moe" => "qwen2_moe",
            "qwen3moe" => "qwen3_moe",
            "gemma3_text" | "gemma3" => "gemma3_text",
            other => other,
        };
        let family = Family::ALL.into_iter().find(|family| family.name() == alias).ok_or_else(|| {
            let cure = format!("Use a configuration of type {}", super::supported());
            keys.bad("model_type", format!("\"{name}\" is not supported"), &cure)
        })?;
        if let Some(Value::Object(text)) = keys.value("text_config") {
            // A model of text and images: what is asked here is its language model. Its number format stands outside.
            let mut merged = text.clone();
            for key in ["torch_dtype", "dtype", "quantization_config", "tie_word_embeddings"] {
                if let (None, Some(value)) = (text.get(key).filter(|v| !v.is_null()), keys.value(key)) {
                    merged.insert(key.into(), value.clone());
                }
            }
            return Self::from_keys(alias, &Keys { input: keys.input, keys: &merged });
        }
        let mut complete = keys.keys.clone();
        for (key, value) in family.defaults() {
            complete.entry(*key).or_insert(Value::from(*value));
        }
        let keys = &Keys { input: keys.input, keys: &complete };
        let t5 = family.t5_like();
        let heads = keys.required(&["num_attention_heads", "n_head", "num_heads"], 1 << 14)?;
        let hidden_size = keys.required(&["hidden_size", "n_embd", "d_model"], 1 << 20)?;
        let head_dim = match keys.optional(&["head_dim", "d_kv"], 1 << 14)? {
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
        let intermediate = keys.optional(&["intermediate_size", "n_inner", "ffn_dim", "d_ff"], 1 << 22)?;
        let intermediate_size = match (intermediate, keys.optional(&["moe_intermediate_size"], 1 << 22)?) {
            (Some(size), _) => size,
            (None, Some(expert)) => expert,
            (None, None) if family == Family::Gpt2 => 4 * hidden_size,
            (None, None) => keys.required(&["intermediate_size"], 1 << 22)?,
        };
        let layers = keys.required(&["num_hidden_layers", "n_layer", "num_layers"], 1024)?;
        let image = if family == Family::Vit { Some(Image::from_keys(keys)?) } else { None };
        let config = Self {
            model_type: family,
            hidden_size,
            intermediate_size,
            num_hidden_layers: layers,
            num_decoder_layers: match keys.optional(&["num_decoder_layers"], 1024)? {
                _ if !t5 => None,
                decoder => Some(decoder.unwrap_or(layers)),
            },
            num_attention_heads: heads,
            num_key_value_heads: keys.optional(&["num_key_value_heads"], 1 << 14)?.unwrap_or(heads),
            head_dim,
            vocab_size: if image.is_some() { 0 } else { keys.required(&["vocab_size"], 1 << 24)? },
            max_position_embeddings: match &image {
                Some(image) => image.tokens(),
                // Relative positions have no end; the key only says what the model was trained with.
                None if t5 => keys.optional(&["max_position_embeddings"], 1 << 24)?.unwrap_or(1 << 17),
                None => keys.required(&["max_position_embeddings", "n_positions", "n_ctx"], 1 << 24)?,
            },
            sliding_window: Self::window(family, keys)?,
            use_sliding_window: keys.flag("use_sliding_window", false)?,
            sliding_window_pattern: match family {
                // Gemma 2 alternates; of Gemma 3's layers, every sixth sees everything.
                Family::Gemma2 => Some(keys.optional(&["sliding_window_pattern"], 1024)?.unwrap_or(2)),
                Family::Gemma3Text => Some(keys.optional(&["sliding_window_pattern"], 1024)?.unwrap_or(6)),
                _ => None,
            },
            max_window_layers: match family {
                Family::Qwen2 | Family::Qwen2Moe | Family::Qwen3 => match keys.value("max_window_layers") {
                    Some(zero) if zero.as_u64() == Some(0) => Some(0),
                    // The default is that of transformers' configurations.
                    _ => Some(keys.optional(&["max_window_layers"], 1 << 16)?.unwrap_or(28)),
                },
                _ => None,
            },
            layer_types: Self::layer_types(keys, layers)?,
            tie_word_embeddings: keys.flag("tie_word_embeddings", family.ties_by_default())?,
            attention_bias: keys.flag("attention_bias", false)?,
            mlp_bias: keys.flag("mlp_bias", false)?,
            is_gated_act: match (t5, keys.text("feed_forward_proj")?) {
                (true, Some(name)) => name.starts_with("gated-"),
                (true, None) => keys.flag("is_gated_act", false)?,
                (false, _) => !family.with_biases(),
            },
            experts: Experts::from_keys(family, keys, intermediate_size, layers)?,
            type_vocab_size: match family {
                Family::Bert => Some(keys.optional(&["type_vocab_size"], 1 << 16)?.unwrap_or(2)),
                _ => None,
            },
            word_embed_proj_dim: match family {
                Family::Opt => keys.optional(&["word_embed_proj_dim"], 1 << 20)?.filter(|width| *width != hidden_size),
                _ => None,
            },
            do_layer_norm_before: keys.flag("do_layer_norm_before", family != Family::Bert)?,
            image,
            torch_dtype: keys.dtype()?,
        };
        Ok(config)
    }

    fn window(family: Family, keys: &Keys<'_>) -> Result<Option<u64>, Error> {
        let window = || keys.optional(&["sliding_window"], 1 << 24);
        match family {
            Family::Mistral | Family::Mixtral | Family::Gemma2 | Family::Gemma3Text => window(),
            // These files name a window that is not in use unless they say so.
            Family::Qwen2 | Family::Qwen2Moe | Family::Qwen3 | Family::Qwen3Moe => {
                if keys.flag("use_sliding_window", false)? { window() } else { Ok(None) }
            }
            // The others have none, whatever their files say.
            _ => Ok(None),
        }
    }

    /// Which layers look back at a window only, where the file lists them.
    fn layer_types(keys: &Keys<'_>, layers: u64) -> Result<Option<Vec<LayerType>>, Error> {
        let Some(value) = keys.value("layer_types") else { return Ok(None) };
        let cure = "Write a list of full_attention and sliding_attention, one for each layer";
        let types: Vec<LayerType> =
            serde_json::from_value(value.clone()).map_err(|e| keys.bad("layer_types", e.to_string(), cure))?;
        if types.len() as u64 != layers {
            let problem = format!("the list has {} elements for {layers} layers", types.len());
            return Err(keys.bad("layer_types", problem, cure));
        }
        Ok(Some(types))
    }

    /// Fails where two values contradict each other.
    pub(super) fn check(&self) -> Result<(), Error> {
        check_range("num_key_value_heads", self.num_key_value_heads, 1..=self.num_attention_heads)?;
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return Err(Error::field(
                "num_key_value_heads",
                self.num_key_value_heads,
                format!("does not divide the {} attention heads", self.num_attention_heads),
                "Correct one of the two",
            ));
        }
        if let Some(experts) = &self.experts {
            check_range("num_experts_per_tok", experts.num_experts_per_tok, 1..=experts.num_experts)?;
        }
        // Keeps every later count of elements within 64 bits.
        let layers = self.num_hidden_layers + self.num_decoder_layers.unwrap_or(0);
        let (experts, width) = self.experts.as_ref().map_or((1, 0), |e| (e.num_experts, e.moe_intermediate_size));
        product(&[8, layers, experts, self.hidden_size, self.intermediate_size.max(width)])?;
        check_range("head_dim", self.head_dim, 1..=(1 << 24) / self.num_attention_heads)
    }

    /// Whether nothing can be decoded with it.
    pub fn encodes_only(&self) -> bool {
        self.model_type.encodes_only()
    }

    /// How its tokens come about.
    pub(crate) fn tokens(&self) -> Tokens {
        self.image.as_ref().map_or(Tokens::Chosen, |image| Tokens::Image(image.tokens()))
    }

    /// Width of all query heads together.
    pub(crate) fn q_width(&self) -> u64 {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key heads together; values are as wide.
    pub(crate) fn kv_width(&self) -> u64 {
        self.num_key_value_heads * self.head_dim
    }

    /// Key and value elements that one token adds in one layer.
    pub fn kv_elements_per_layer(&self) -> u64 {
        2 * self.kv_width()
    }

    /// Layers that keep keys and values of the tokens they make.
    pub(crate) fn cached_layers(&self) -> u64 {
        let causal = self.stacks().into_iter().filter(|stack| stack.causal);
        causal.map(|stack| stack.layers).sum()
    }

    /// The stacks, in the order in which they run.
    pub(crate) fn stacks(&self) -> Vec<Stack> {
        let step = self.experts.as_ref().map_or(0, |experts| experts.decoder_sparse_step);
        let only =
            |prefix, causal| Stack { prefix, layers: self.num_hidden_layers, causal, cross: false, sparse_step: step };
        match self.model_type {
            Family::Gpt2 => vec![only("transformer.h", true)],
            Family::Opt => vec![only("model.decoder.layers", true)],
            Family::Bert => vec![only("encoder.layer", false)],
            Family::Vit => vec![only("vit.encoder.layer", false)],
            Family::T5 | Family::SwitchTransformers => {
                let encoder_step = self.experts.as_ref().map_or(0, |e| e.encoder_sparse_step.unwrap_or(step));
                let decoder = self.num_decoder_layers.unwrap_or(self.num_hidden_layers);
                vec![
                    Stack { sparse_step: encoder_step, ..only("encoder.block", false) },
                    Stack { layers: decoder, cross: true, ..only("decoder.block", true) },
                ]
            }
            _ => vec![only("model.layers", true)],
        }
    }

    /// Whether layer `layer` of a stack has experts.
    pub(crate) fn sparse(&self, stack: &Stack, layer: u64) -> bool {
        let dense = self.experts.as_ref().is_some_and(|experts| experts.mlp_only_layers.contains(&layer));
        match (stack.sparse_step, self.model_type) {
            _ if dense => false,
            (0, _) => false,
            (1, _) => true,
            // As transformers counts: Switch takes the second of each group, Qwen the last.
            (step, Family::SwitchTransformers) => layer % step == 1,
            (step, _) => (layer + 1).is_multiple_of(step),
        }
    }

    /// The positions that layer `layer` looks back at, itself included.
    pub(crate) fn window_of(&self, layer: u64) -> u64 {
        let everything = match self.layer_types.as_ref().and_then(|types| types.get(layer as usize)) {
            Some(of_layer) => *of_layer == LayerType::FullAttention,
            None => {
                self.sliding_window_pattern.is_some_and(|every| (layer + 1).is_multiple_of(every))
                    || self.max_window_layers.is_some_and(|full| layer < full)
            }
        };
        if everything { u64::MAX } else { self.sliding_window.unwrap_or(u64::MAX) }
    }

    /// Elements of one norm over the residual stream.
    pub(crate) fn norm_elements(&self) -> u64 {
        if self.model_type.with_biases() { 2 * self.hidden_size } else { self.hidden_size }
    }

    /// Whether norms come after the sum of each half of a layer.
    pub(crate) fn norms_after(&self) -> bool {
        self.model_type == Family::Bert || !self.do_layer_norm_before
    }

    /// Whether there are norms before and after each half of a layer.
    pub(crate) fn norms_twice(&self) -> bool {
        matches!(self.model_type, Family::Gemma2 | Family::Gemma3Text)
    }

    /// Whether a norm closes each stack.
    pub(crate) fn has_final_norm(&self) -> bool {
        !self.norms_after()
    }

    /// The weights of a layer's attention; `cross` to what the other stack made.
    pub(crate) fn attention(&self, layer: u64, cross: bool) -> Attention {
        let (h, q, kv) = (self.hidden_size, self.q_width(), self.kv_width());
        let linear = |name, inputs, outputs, bias| Linear { name, inputs, outputs, bias };
        let plain = |names: [&'static str; 4], bias, out_bias| Attention {
            qkv: vec![linear(names[0], h, q, bias), linear(names[1], h, kv, bias), linear(names[2], h, kv, bias)],
            out: linear(names[3], q, h, out_bias),
            qk_norm: 0,
            positions: 0,
        };
        let llama = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"];
        match self.model_type {
            Family::Gpt2 => Attention {
                qkv: vec![linear("attn.c_attn", h, q + 2 * kv, true)],
                out: linear("attn.c_proj", q, h, true),
                qk_norm: 0,
                positions: 0,
            },
            Family::Opt => {
                plain(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"], true, true)
            }
            Family::Bert | Family::Vit => {
                plain(["attention.query", "attention.key", "attention.value", "attention.output"], true, true)
            }
            Family::T5 | Family::SwitchTransformers if cross => plain(
                ["EncDecAttention.q", "EncDecAttention.k", "EncDecAttention.v", "EncDecAttention.o"],
                false,
                false,
            ),
            Family::T5 | Family::SwitchTransformers => Attention {
                // The first layer holds the table for all of its stack.
                positions: if layer == 0 { RELATIVE_BUCKETS * self.num_attention_heads } else { 0 },
                ..plain(["SelfAttention.q", "SelfAttention.k", "SelfAttention.v", "SelfAttention.o"], false, false)
            },
            Family::Qwen2 | Family::Qwen2Moe => plain(llama, true, false),
            Family::Qwen3 | Family::Qwen3Moe | Family::Gemma3Text => {
                Attention { qk_norm: self.head_dim, ..plain(llama, self.attention_bias, self.attention_bias) }
            }
            _ => plain(llama, self.attention_bias, self.attention_bias),
        }
    }

    fn mlp(&self, width: u64, names: [&'static str; 3]) -> MlpShape {
        let bias = self.mlp_bias || self.model_type.with_biases();
        let up = Linear { name: names[0], inputs: self.hidden_size, outputs: width, bias };
        let gate = Linear { name: names[1], ..up };
        let down = Linear { name: names[2], inputs: width, outputs: self.hidden_size, bias };
        MlpShape { up: if self.is_gated_act { vec![gate, up] } else { vec![up] }, down }
    }

    /// What follows the attention of layer `layer`.
    pub(crate) fn feed(&self, stack: &Stack, layer: u64) -> Feed {
        let llama = ["mlp.up_proj", "mlp.gate_proj", "mlp.down_proj"];
        match &self.experts {
            Some(experts) if self.sparse(stack, layer) => {
                let hidden = self.hidden_size;
                let linear = |name, outputs| Linear { name, inputs: hidden, outputs, bias: false };
                let shared = experts.shared_expert_intermediate_size.map(|width| {
                    let names =
                        ["mlp.shared_expert.up_proj", "mlp.shared_expert.gate_proj", "mlp.shared_expert.down_proj"];
                    (self.mlp(width, names), linear("mlp.shared_expert_gate", 1))
                });
                let names = ["up_proj", "gate_proj", "down_proj"];
                let expert = self.mlp(experts.moe_intermediate_size, names);
                Feed::Sparse { router: linear("mlp.gate", experts.num_experts), expert, shared }
            }
            _ => Feed::Dense(match self.model_type {
                Family::Gpt2 => self.mlp(self.intermediate_size, ["mlp.c_fc", "mlp.gate", "mlp.c_proj"]),
                Family::Opt => self.mlp(self.intermediate_size, ["fc1", "gate", "fc2"]),
                Family::Bert | Family::Vit => {
                    self.mlp(self.intermediate_size, ["intermediate.dense", "intermediate.gate", "output.dense"])
                }
                Family::T5 | Family::SwitchTransformers => {
                    self.mlp(self.intermediate_size, ["DenseReluDense.wi", "DenseReluDense.wi_0", "DenseReluDense.wo"])
                }
                _ => self.mlp(self.intermediate_size, llama),
            }),
        }
    }

    /// Norms over the residual stream in a layer of `stack`.
    fn norms(&self, stack: &Stack) -> u64 {
        2 * if self.norms_twice() { 2 } else { 1 } + u64::from(stack.cross)
    }

    /// Parameters of layer `layer` of `stack`, with `counted` of its experts.
    fn layer_parameters(&self, stack: &Stack, layer: u64, counted: impl Fn(&Experts) -> u64) -> u64 {
        let attention = |cross| {
            let a = self.attention(layer, cross);
            a.qkv.iter().map(Linear::elements).sum::<u64>() + a.out.elements() + 2 * a.qk_norm + a.positions
        };
        let feed = match (self.feed(stack, layer), &self.experts) {
            (Feed::Dense(mlp), _) => mlp.elements(),
            (Feed::Sparse { router, expert, shared }, experts) => {
                let shared = shared.map_or(0, |(mlp, gate)| mlp.elements() + gate.elements());
                router.elements() + shared + experts.as_ref().map_or(0, &counted) * expert.elements()
            }
        };
        let cross = if stack.cross { attention(true) } else { 0 };
        attention(false) + cross + feed + self.norms(stack) * self.norm_elements()
    }

    fn stack_parameters(&self, counted: impl Fn(&Experts) -> u64 + Copy) -> u64 {
        let stacks = self.stacks();
        let layers = stacks.iter().flat_map(|s| (0..s.layers).map(move |l| self.layer_parameters(s, l, counted)));
        let norms = if self.has_final_norm() { stacks.len() as u64 * self.norm_elements() } else { 0 };
        layers.sum::<u64>() + norms
    }

    /// Width of the embedding table.
    pub(crate) fn embedding_width(&self) -> u64 {
        self.word_embed_proj_dim.unwrap_or(self.hidden_size)
    }

    /// Elements of the embedding table, which is often the output head as well.
    pub(crate) fn embedding_elements(&self) -> u64 {
        self.vocab_size * self.embedding_width()
    }

    /// Rows of a table of learned positions.
    pub(crate) fn position_rows(&self) -> u64 {
        match self.model_type {
            Family::Gpt2 | Family::Bert => self.max_position_embeddings,
            Family::Opt => self.max_position_embeddings + OPT_OFFSET,
            Family::Vit => self.max_position_embeddings,
            _ => 0,
        }
    }

    /// Elements of the tables that are looked up, and not multiplied with: those of tokens where the output head is
    /// another tensor, of positions and of token types.
    pub(crate) fn table_elements(&self) -> u64 {
        let tokens = if self.tie_word_embeddings { 0 } else { self.embedding_elements() };
        let tokens = if self.model_type == Family::Bert { self.embedding_elements() } else { tokens };
        let class = if self.image.is_some() { self.hidden_size } else { 0 };
        let types = self.type_vocab_size.unwrap_or(0) * self.hidden_size;
        tokens + (self.position_rows()) * self.hidden_size + types + class
    }

    /// The matrix before the layers, where there is one: of patches, or from narrow embeddings.
    pub(crate) fn input_matrix(&self) -> Option<Linear> {
        if let Some(image) = &self.image {
            let inputs = image.num_channels * image.patch_size * image.patch_size;
            return Some(Linear { name: "embeddings.patch_embeddings", inputs, outputs: self.hidden_size, bias: true });
        }
        self.word_embed_proj_dim.map(|inputs| Linear {
            name: "project_in",
            inputs,
            outputs: self.hidden_size,
            bias: false,
        })
    }

    /// The matrix between the layers and the head.
    pub(crate) fn output_matrix(&self) -> Option<Linear> {
        let hidden = self.hidden_size;
        match self.model_type {
            Family::Bert => Some(Linear { name: "pooler.dense", inputs: hidden, outputs: hidden, bias: true }),
            _ => self.word_embed_proj_dim.map(|outputs| Linear {
                name: "project_out",
                inputs: hidden,
                outputs,
                bias: false,
            }),
        }
    }

    /// The output head, where it has weights; BERT's encoder ends at its pooler.
    pub(crate) fn head(&self) -> Option<Linear> {
        let inputs = self.embedding_width();
        match (&self.image, self.model_type) {
            (_, Family::Bert) => None,
            (Some(image), _) => Some(Linear { name: "classifier", inputs, outputs: image.num_labels, bias: true }),
            (None, _) => {
                let name = if self.tie_word_embeddings { "embed_tokens" } else { "lm_head" };
                Some(Linear { name, inputs, outputs: self.vocab_size, bias: false })
            }
        }
    }

    /// Elements of the norm over the embeddings.
    pub(crate) fn embedding_norm(&self) -> u64 {
        if self.model_type == Family::Bert { self.norm_elements() } else { 0 }
    }

    fn outside(&self) -> u64 {
        let matrices = [self.input_matrix(), self.output_matrix(), self.head()];
        matrices.iter().flatten().map(Linear::elements).sum::<u64>() + self.embedding_norm()
    }

    /// Number of parameters.
    pub(super) fn parameters(&self) -> u64 {
        self.stack_parameters(|experts| experts.num_experts) + self.outside() + self.table_elements()
    }

    pub(super) fn active_parameters(&self) -> u64 {
        self.stack_parameters(|experts| experts.num_experts_per_tok) + self.outside()
    }
}

impl Family {
    /// What transformers assumes where the file is silent.
    fn ties_by_default(self) -> bool {
        !matches!(
            self,
            Self::Llama
                | Self::Mistral
                | Self::Mixtral
                | Self::Qwen2
                | Self::Qwen2Moe
                | Self::Qwen3
                | Self::Qwen3Moe
                | Self::Vit
        )
    }
}

impl Image {
    fn from_keys(keys: &Keys<'_>) -> Result<Self, Error> {
        // The defaults are those of transformers' ViTConfig.
        let image = Self {
            image_size: keys.optional(&["image_size"], 1 << 14)?.unwrap_or(224),
            patch_size: keys.optional(&["patch_size"], 1 << 14)?.unwrap_or(16),
            num_channels: keys.optional(&["num_channels"], 1 << 10)?.unwrap_or(3),
            num_labels: keys.labels(1000)?,
        };
        if !image.image_size.is_multiple_of(image.patch_size) {
            let problem = format!("patches of {} do not divide an image of {}", image.patch_size, image.image_size);
            return Err(keys.bad("patch_size", problem, "Correct one of the two"));
        }
        Ok(image)
    }

    /// Its patches, and one token for the class.
    fn tokens(&self) -> u64 {
        (self.image_size / self.patch_size).pow(2) + 1
    }
}

impl Experts {
    fn from_keys(family: Family, keys: &Keys<'_>, width: u64, layers: u64) -> Result<Option<Self>, Error> {
        let per_token = || keys.required(&["num_experts_per_tok"], 1 << 16);
        let num_experts = || keys.required(&["num_local_experts", "num_experts"], (1 << 16) - 1);
        let expert = keys.optional(&["moe_intermediate_size"], 1 << 22)?.unwrap_or(width);
        let step = keys.optional(&["decoder_sparse_step"], 1024)?;
        Ok(match family {
            Family::Mixtral => Some(Self {
                num_experts: num_experts()?,
                num_experts_per_tok: per_token()?,
                moe_intermediate_size: expert,
                shared_expert_intermediate_size: None,
                decoder_sparse_step: 1,
                encoder_sparse_step: None,
                mlp_only_layers: Vec::new(),
            }),
            Family::Qwen2Moe | Family::Qwen3Moe => Some(Self {
                num_experts: num_experts()?,
                num_experts_per_tok: per_token()?,
                moe_intermediate_size: keys.required(&["moe_intermediate_size"], 1 << 22)?,
                shared_expert_intermediate_size: match family {
                    Family::Qwen2Moe => Some(keys.required(&["shared_expert_intermediate_size"], 1 << 22)?),
                    _ => None,
                },
                decoder_sparse_step: step.unwrap_or(1),
                encoder_sparse_step: None,
                mlp_only_layers: match keys.value("mlp_only_layers") {
                    None => Vec::new(),
                    Some(list) => serde_json::from_value(list.clone()).map_err(|e| {
                        keys.bad("mlp_only_layers", e.to_string(), "Write a list of layers, counted from 0")
                    })?,
                },
            }),
            Family::SwitchTransformers => {
                let decoder = keys.optional(&["num_decoder_layers"], 1024)?.unwrap_or(layers);
                // As transformers derives it: every n-th layer, so that the stated number of layers has experts.
                // None at all is written as 0 and then means one of them all.
                let every = |name, layers: u64| match keys.value(name).and_then(Value::as_u64) {
                    Some(0) => Ok(Some(layers)),
                    _ => Ok::<_, Error>(keys.optional(&[name], 1024)?.map(|n| (layers / n).max(1))),
                };
                let encoder_step = every("num_sparse_encoder_layers", layers)?;
                let decoder_step = every("num_sparse_decoder_layers", decoder)?;
                let stated = keys.optional(&["encoder_sparse_step"], 1024)?;
                Some(Self {
                    num_experts: num_experts()?,
                    num_experts_per_tok: keys.optional(&["num_experts_per_tok"], 1 << 16)?.unwrap_or(1),
                    moe_intermediate_size: expert,
                    shared_expert_intermediate_size: None,
                    decoder_sparse_step: decoder_step.or(step).unwrap_or((decoder / 3).max(1)),
                    encoder_sparse_step: Some(encoder_step.or(stated).unwrap_or((layers / 3).max(1))),
                    mlp_only_layers: Vec::new(),
                })
            }
            _ => None,
        })
    }
}
