//! Transformers: what their `config.json` says.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::families::{ExpertLayout, Gated, Layout, ModelInput, Norms, Positions, SlidingWindow, SparseLayers};
use super::keys::Keys;
use crate::check::check_range;
use crate::error::Error;
use crate::workload::dtype::{Dtype, product};

/// The positions that the attention of a layer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerType {
    /// All positions.
    FullAttention,
    /// Those in the window.
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
    /// One of how many layers has experts.
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
    /// The family, by the `model_type` of its files.
    pub model_type: &'static str,
    /// What the row of the family says.
    #[serde(skip)]
    pub(super) layout: &'static Layout,
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
    /// One of how many layers sees everything in spite of the window.
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

impl Transformer {
    /// Reads a file of the family `name`.
    pub(super) fn from_keys(name: &'static str, layout: &'static Layout, keys: &Keys<'_>) -> Result<Self, Error> {
        if let Some(Value::Object(text)) = keys.value("text_config") {
            // A model of text and images: what is asked here is its language model. Its number format stands outside.
            let mut merged = text.clone();
            for key in ["torch_dtype", "dtype", "quantization_config", "tie_word_embeddings"] {
                if let (None, Some(value)) = (text.get(key).filter(|v| !v.is_null()), keys.value(key)) {
                    merged.insert(key.into(), value.clone());
                }
            }
            return Self::from_keys(name, layout, &Keys { input: keys.input, keys: &merged });
        }
        let mut complete = keys.keys.clone();
        for (key, value) in layout.defaults {
            complete.entry(*key).or_insert(Value::from(*value));
        }
        let keys = &Keys { input: keys.input, keys: &complete };
        let two_stacks = layout.two_stacks();
        let heads = keys.required(layout.keys.num_attention_heads, 1 << 14)?;
        let hidden_size = keys.required(layout.keys.hidden_size, 1 << 20)?;
        let head_dim = match keys.optional(layout.keys.head_dim, 1 << 14)? {
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
        let intermediate = keys.optional(layout.keys.intermediate_size, 1 << 22)?;
        let expert = keys.optional(&["moe_intermediate_size"], 1 << 22)?;
        let intermediate_size = match (intermediate.or(expert), layout.mlp_factor) {
            (Some(size), _) => size,
            (None, Some(factor)) => factor * hidden_size,
            (None, None) => keys.required(layout.keys.intermediate_size, 1 << 22)?,
        };
        let layers = keys.required(layout.keys.num_hidden_layers, 1024)?;
        let image = match layout.input {
            ModelInput::Patches => Some(Image::from_keys(keys)?),
            ModelInput::Tokens { .. } => None,
        };
        let config = Self {
            model_type: name,
            layout,
            hidden_size,
            intermediate_size,
            num_hidden_layers: layers,
            num_decoder_layers: match keys.optional(&["num_decoder_layers"], 1024)? {
                _ if !two_stacks => None,
                decoder => Some(decoder.unwrap_or(layers)),
            },
            num_attention_heads: heads,
            num_key_value_heads: keys.optional(&["num_key_value_heads"], 1 << 14)?.unwrap_or(heads),
            head_dim,
            vocab_size: if image.is_some() { 0 } else { keys.required(&["vocab_size"], 1 << 24)? },
            max_position_embeddings: match &image {
                Some(image) => image.tokens(),
                None => match (keys.optional(layout.keys.max_position_embeddings, 1 << 24)?, &layout.positions) {
                    (Some(positions), _) => positions,
                    // They have no end; the key only says what the model was trained with.
                    (None, Positions::Relative { .. }) => 1 << 17,
                    (None, _) => keys.required(layout.keys.max_position_embeddings, 1 << 24)?,
                },
            },
            sliding_window: match layout.window {
                SlidingWindow::Never => None,
                SlidingWindow::IfUsed { .. } if !keys.flag("use_sliding_window", false)? => None,
                _ => keys.optional(&["sliding_window"], 1 << 24)?,
            },
            use_sliding_window: keys.flag("use_sliding_window", false)?,
            sliding_window_pattern: match layout.window {
                SlidingWindow::AllBut { every } => {
                    Some(keys.optional(&["sliding_window_pattern"], 1024)?.unwrap_or(every))
                }
                _ => None,
            },
            max_window_layers: match layout.window {
                SlidingWindow::IfUsed { full: Some(full) } => match keys.value("max_window_layers") {
                    Some(zero) if zero.as_u64() == Some(0) => Some(0),
                    _ => Some(keys.optional(&["max_window_layers"], 1 << 16)?.unwrap_or(full)),
                },
                _ => None,
            },
            layer_types: Self::layer_types(keys, layers)?,
            tie_word_embeddings: keys.flag("tie_word_embeddings", layout.tied)?,
            attention_bias: keys.flag("attention_bias", false)?,
            mlp_bias: keys.flag("mlp_bias", false)?,
            is_gated_act: match (&layout.gated, keys.text("feed_forward_proj")?) {
                (Gated::Never, _) => false,
                (Gated::Always, _) => true,
                (Gated::File, Some(name)) => name.starts_with("gated-"),
                (Gated::File, None) => keys.flag("is_gated_act", false)?,
            },
            experts: Experts::from_keys(layout.experts.as_ref(), keys, intermediate_size, layers)?,
            type_vocab_size: match layout.input {
                ModelInput::Tokens { types: Some(types), .. } => {
                    Some(keys.optional(&["type_vocab_size"], 1 << 16)?.unwrap_or(types))
                }
                _ => None,
            },
            word_embed_proj_dim: match layout.input {
                ModelInput::Tokens { narrow: true, .. } => {
                    keys.optional(&["word_embed_proj_dim"], 1 << 20)?.filter(|width| *width != hidden_size)
                }
                _ => None,
            },
            do_layer_norm_before: keys.flag("do_layer_norm_before", layout.norms != Norms::After)?,
            image,
            torch_dtype: keys.dtype()?,
        };
        Ok(config)
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
    pub(super) fn tokens(&self) -> u64 {
        (self.image_size / self.patch_size).pow(2) + 1
    }
}

impl Experts {
    /// `width` is that of an MLP, and `layers` the number of layers (of the encoder, where there are two stacks).
    fn from_keys(
        layout: Option<&ExpertLayout>,
        keys: &Keys<'_>,
        width: u64,
        layers: u64,
    ) -> Result<Option<Self>, Error> {
        let step = keys.optional(&["decoder_sparse_step"], 1024)?;
        let Some(layout) = layout else { return Ok(None) };
        let num_experts = keys.required(&["num_local_experts", "num_experts"], (1 << 16) - 1)?;
        let per_token = &["num_experts_per_tok"];
        let num_experts_per_tok = match layout.per_token {
            Some(default) => keys.optional(per_token, 1 << 16)?.unwrap_or(default),
            None => keys.required(per_token, 1 << 16)?,
        };
        let expert = &["moe_intermediate_size"];
        let moe_intermediate_size = match layout.wide_as_mlp {
            true => keys.optional(expert, 1 << 22)?.unwrap_or(width),
            false => keys.required(expert, 1 << 22)?,
        };
        let shared_expert_intermediate_size = match layout.shared {
            true => Some(keys.required(&["shared_expert_intermediate_size"], 1 << 22)?),
            false => None,
        };
        let (mut decoder_sparse_step, mut encoder_sparse_step, mut mlp_only_layers) = (1, None, Vec::new());
        match layout.layers {
            SparseLayers::All => {}
            SparseLayers::LastOfGroup => {
                decoder_sparse_step = step.unwrap_or(1);
                if let Some(list) = keys.value("mlp_only_layers") {
                    mlp_only_layers = serde_json::from_value(list.clone()).map_err(|e| {
                        keys.bad("mlp_only_layers", e.to_string(), "Write a list of layers, counted from 0")
                    })?;
                }
            }
            SparseLayers::SecondOfGroup => {
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
                // A third of the layers where the file is silent, as in transformers' SwitchTransformersConfig.
                decoder_sparse_step = decoder_step.or(step).unwrap_or((decoder / 3).max(1));
                encoder_sparse_step = Some(encoder_step.or(stated).unwrap_or((layers / 3).max(1)));
            }
        }
        Ok(Some(Self {
            num_experts,
            num_experts_per_tok,
            moe_intermediate_size,
            shared_expert_intermediate_size,
            decoder_sparse_step,
            encoder_sparse_step,
            mlp_only_layers,
        }))
    }
}
