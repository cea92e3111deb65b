//! The families of models that are read: one row each.
//!
//! A row names the `model_type` of the family's files, the keys and defaults of these files, and the layout of the
//! tensors. What reads a `config.json` and what derives tensors from it look at the row alone, and know no family by name.
//! So a family that is made of known parts is one row; a part of a new kind is a variant here, and its meaning in
//! `transformer` (if it is a key) or in `shapes` (if it is a tensor). No field of a row has a default.

/// A family of models: what its files are called, and how they are read.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// The `model_type` of its files.
    pub name: &'static str,
    /// Other names: those derived from `architectures`, and that of a model of text and images around this one.
    pub aliases: &'static [&'static str],
    /// The name people read.
    pub title: &'static str,
    /// What sets it apart, in a few words.
    pub about: &'static str,
    /// How its files are read.
    pub(super) reader: Reader,
}

impl Family {
    /// The type of its models, in the prototype's words: Transformer, MoE, CNN or MLP.
    pub fn kind(&self) -> &'static str {
        match &self.reader {
            Reader::Transformer(layout) => layout.kind(),
            Reader::Resnet | Reader::Cnn => CNN,
            Reader::Mlp | Reader::Gemm => MLP,
        }
    }

    /// Whether `name` is its `model_type` or one of its other names.
    pub(super) fn has_name(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// The names of all families, for messages.
pub(super) fn supported() -> String {
    let names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    match names.split_last() {
        Some((last, names)) => format!("{} and {last}", names.join(", ")),
        None => String::new(),
    }
}

// The types of models, in the prototype's words.
pub(crate) const TRANSFORMER: &str = "Transformer";
pub(crate) const MOE: &str = "MoE";
pub(crate) const CNN: &str = "CNN";
pub(crate) const MLP: &str = "MLP";

/// What reads the files of a family.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// [`Transformer`](super::Transformer), of this layout.
    Transformer(&'static Layout),
    /// [`Resnet`](super::Resnet).
    Resnet,
    /// [`Cnn`](super::Cnn).
    Cnn,
    /// [`Mlp`](super::Mlp).
    Mlp,
    /// [`Gemm`](super::Gemm).
    Gemm,
}

/// How the files of a family of Transformers are read, and how its tensors are laid out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The keys of its sizes.
    pub(super) keys: SizeKeys,
    /// What transformers assumes where a file leaves these keys out.
    pub(super) defaults: &'static [(&'static str, u64)],
    /// Its stacks of layers.
    pub(super) stacks: Stacks,
    /// The names of the matrices of a layer.
    pub(super) matrices: Matrices,
    /// What its norms store.
    pub(super) norm: Norm,
    /// Where the norms of a layer stand.
    pub(super) norms: Norms,
    /// Whether queries and keys have norms of their own.
    pub(super) qk_norm: bool,
    /// How positions come in.
    pub(super) positions: Positions,
    /// Which layers look back at a window only.
    pub(super) window: SlidingWindow,
    /// Which projections of the attention have biases.
    pub(super) attention_bias: AttentionBias,
    /// Whether the projections of the MLP have biases, whatever the file says (`mlp_bias`).
    pub(super) mlp_bias: bool,
    /// Whether the MLP multiplies two projections.
    pub(super) gated: Gated,
    /// The width of the MLP as a multiple of the model's, where the file gives none; without it, the file must.
    pub(super) mlp_factor: Option<u64>,
    /// Experts in place of MLPs.
    pub(super) experts: Option<ExpertLayout>,
    /// What comes in.
    pub(super) input: ModelInput,
    /// Whether it ends in a pooler (BERT) in place of a head.
    pub(super) pooler: bool,
    /// Whether the output head is the embedding table, where the file does not say.
    pub(super) tied: bool,
}

impl Layout {
    /// The type of a model of this layout, in the prototype's words.
    pub(super) fn kind(&self) -> &'static str {
        if self.experts.is_some() { MOE } else { TRANSFORMER }
    }

    /// Whether there is an encoder and a decoder.
    pub(super) fn two_stacks(&self) -> bool {
        matches!(self.stacks, Stacks::Both { .. })
    }
}

/// The keys of a size: Llama's name first, because configurations are written with it, then those of the family.
type Names = &'static [&'static str];

/// The keys of the sizes of a Transformer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SizeKeys {
    pub(super) hidden_size: Names,
    pub(super) intermediate_size: Names,
    pub(super) num_hidden_layers: Names,
    pub(super) num_attention_heads: Names,
    pub(super) head_dim: Names,
    pub(super) max_position_embeddings: Names,
}

const LLAMA_KEYS: SizeKeys = SizeKeys {
    hidden_size: &["hidden_size"],
    intermediate_size: &["intermediate_size"],
    num_hidden_layers: &["num_hidden_layers"],
    num_attention_heads: &["num_attention_heads"],
    head_dim: &["head_dim"],
    max_position_embeddings: &["max_position_embeddings"],
};

const GPT2_KEYS: SizeKeys = SizeKeys {
    hidden_size: &["hidden_size", "n_embd"],
    intermediate_size: &["intermediate_size", "n_inner"],
    num_hidden_layers: &["num_hidden_layers", "n_layer"],
    num_attention_heads: &["num_attention_heads", "n_head"],
    max_position_embeddings: &["max_position_embeddings", "n_positions", "n_ctx"],
    ..LLAMA_KEYS
};

const OPT_KEYS: SizeKeys = SizeKeys { intermediate_size: &["intermediate_size", "ffn_dim"], ..LLAMA_KEYS };

const T5_KEYS: SizeKeys = SizeKeys {
    hidden_size: &["hidden_size", "d_model"],
    intermediate_size: &["intermediate_size", "d_ff"],
    num_hidden_layers: &["num_hidden_layers", "num_layers"],
    num_attention_heads: &["num_attention_heads", "num_heads"],
    head_dim: &["head_dim", "d_kv"],
    ..LLAMA_KEYS
};

/// The stacks of layers, each with what the names of its tensors begin with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stacks {
    /// Each token sees those before it, and more can be decoded.
    Decoder(&'static str),
    /// Every token sees every other, and nothing is decoded.
    Encoder(&'static str),
    /// An encoder, and a decoder whose layers also attend to what the encoder made.
    Both {
        encoder: &'static str,
        decoder: &'static str,
        /// The projections of that second attention: queries, keys, values, output.
        cross: [&'static str; 4],
    },
}

/// The names of the matrices of a layer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Matrices {
    pub(super) qkv: Qkv,
    pub(super) out: &'static str,
    /// Up, gate and down.
    pub(super) mlp: [&'static str; 3],
}

/// Queries, keys and values.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Qkv {
    /// Three matrices.
    Separate([&'static str; 3]),
    /// One matrix for all.
    Packed(&'static str),
}

const LLAMA_MATRICES: Matrices = Matrices {
    qkv: Qkv::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    out: "self_attn.o_proj",
    mlp: ["mlp.up_proj", "mlp.gate_proj", "mlp.down_proj"],
};

const BERT_MATRICES: Matrices = Matrices {
    qkv: Qkv::Separate(["attention.query", "attention.key", "attention.value"]),
    out: "attention.output",
    mlp: ["intermediate.dense", "intermediate.gate", "output.dense"],
};

const T5_MATRICES: Matrices = Matrices {
    qkv: Qkv::Separate(["SelfAttention.q", "SelfAttention.k", "SelfAttention.v"]),
    out: "SelfAttention.o",
    mlp: ["DenseReluDense.wi", "DenseReluDense.wi_0", "DenseReluDense.wo"],
};

const T5_STACKS: Stacks = Stacks::Both {
    encoder: "encoder.block",
    decoder: "decoder.block",
    cross: ["EncDecAttention.q", "EncDecAttention.k", "EncDecAttention.v", "EncDecAttention.o"],
};

/// What a norm stores.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Norm {
    /// RMS norm: a factor per channel.
    Rms,
    /// Layer norm: a factor and an offset per channel.
    Layer,
}

/// Where the norms of a layer stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Norms {
    /// Before each half of a layer, and one after the last layer; a file may say otherwise (`do_layer_norm_before`).
    Before,
    /// After the sum of each half of a layer.
    After,
    /// Before and after each half of a layer, and one after the last layer.
    Around,
}

/// How positions come in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Positions {
    /// Queries and keys are rotated, which takes no weights.
    Rotary,
    /// A table with a row per position, and some more.
    Learned {
        /// Rows that are no position.
        extra: u64,
    },
    /// A table with a row per distance and a column per head in the first layer of each stack; sequences may be of any
    /// length.
    Relative {
        /// Distances that are told apart.
        buckets: u64,
    },
}

/// Buckets of T5's relative positions (`relative_attention_num_buckets` in its configuration; no published model has
/// another number).
const T5_POSITIONS: Positions = Positions::Relative { buckets: 32 };

/// Which layers look back at a window (`sliding_window`) only.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SlidingWindow {
    /// None, whatever the file says.
    Never,
    /// All of them.
    All,
    /// All but every n-th (`sliding_window_pattern`).
    AllBut {
        /// n, where the file does not say.
        every: u64,
    },
    /// None unless the file says so (`use_sliding_window`), for these files name windows that are not in use.
    IfUsed {
        /// How many layers at the front see everything nevertheless (`max_window_layers`), where the file does not say;
        /// none = the family has no such key.
        full: Option<u64>,
    },
}

/// The default of transformers' Qwen configurations.
const QWEN_WINDOW: SlidingWindow = SlidingWindow::IfUsed { full: Some(28) };

/// Which projections of the attention have biases.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AttentionBias {
    Never,
    /// Queries, keys and values.
    Inputs,
    /// All four.
    Always,
    /// All four, where the file says so (`attention_bias`).
    File,
}

/// Whether the MLP multiplies two projections.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gated {
    Never,
    Always,
    /// Where the file says so (`feed_forward_proj` or `is_gated_act`).
    File,
}

/// Experts in place of MLPs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExpertLayout {
    /// How many each token is sent to, where the file does not say; without it, the file must.
    pub(super) per_token: Option<u64>,
    /// Whether an expert is as wide as the MLP where the file does not say; otherwise, the file must.
    pub(super) wide_as_mlp: bool,
    /// Whether all tokens are sent to one expert more.
    pub(super) shared: bool,
    /// Which layers have experts.
    pub(super) layers: SparseLayers,
}

/// Which layers have experts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SparseLayers {
    All,
    /// The last of each group of `decoder_sparse_step`, but those that the file excepts (`mlp_only_layers`).
    LastOfGroup,
    /// The second of each group, whose length follows from the number of layers with experts in either stack.
    SecondOfGroup,
}

const QWEN2_EXPERTS: ExpertLayout =
    ExpertLayout { per_token: None, wide_as_mlp: false, shared: true, layers: SparseLayers::LastOfGroup };

/// What comes in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ModelInput {
    /// Tokens, whose rows are looked up in a table.
    Tokens {
        /// Kinds of tokens (`type_vocab_size`), where the file does not say; none = the family has no such table.
        types: Option<u64>,
        /// Whether the embeddings have a norm.
        norm: bool,
        /// Whether the table may be narrower than the model (`word_embed_proj_dim`).
        narrow: bool,
    },
    /// An image, whose patches are multiplied with a matrix.
    Patches,
}

const PLAIN_TOKENS: ModelInput = ModelInput::Tokens { types: None, norm: false, narrow: false };

/// Every family.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "llama",
        aliases: &[],
        title: "Llama",
        about: "RMS norm, rotary positions, gated MLP, grouped queries",
        reader: Reader::Transformer(&Layout {
            keys: LLAMA_KEYS,
            defaults: &[],
            stacks: Stacks::Decoder("model.layers"),
            matrices: LLAMA_MATRICES,
            norm: Norm::Rms,
            norms: Norms::Before,
            qk_norm: false,
            positions: Positions::Rotary,
            window: SlidingWindow::Never,
            attention_bias: AttentionBias::File,
            mlp_bias: false,
            gated: Gated::Always,
            mlp_factor: None,
            experts: None,
            input: PLAIN_TOKENS,
            pooler: false,
            tied: false,
        }),
    },
    Family {
        name: "mistral",
        aliases: &[],
        title: "Mistral",
        about: "Llama's layout; may attend to a sliding window",
        reader: Reader::Transformer(&Layout {
            keys: LLAMA_KEYS,
            defaults: &[("sliding_window", 4096)],
            stacks: Stacks::Decoder("model.layers"),
            matrices: LLAMA_MATRICES,
            norm: Norm::Rms,
            norms: Norms::Before,
            qk_norm: false,
            positions: Positions::Rotary,
            window: SlidingWindow::All,
            attention_bias: AttentionBias::File,
            mlp_bias: false,
            gated: Gated::Always,
            mlp_factor: None,
            experts: None,
            input: PLAIN_TOKENS,
            pooler: false,
            tied: false,
        }),
    },
    Family {
        name: "mixtral",
        aliases: &[],
        title: "Mixtral",
        about: "Mistral with experts in place of every MLP",
        reader: Reader::Transformer(&Layout {
            keys: LLAMA_KEYS,
            defaults: &[],
            stacks: Stacks::Decoder("model.layers"),
            matrices: LLAMA_MATRICES,
            norm: Norm::Rms,
            norms: Norms::Before,
            qk_norm: false,
            positions: Positions::Rotary,
            window: SlidingWindow::All,
            attention_bias: AttentionBias::File,
            mlp_bias: false,
            gated: Gated::Always,
            mlp_factor: None,
            experts: Some(ExpertLayout {
                per_token: None,
                wide_as_mlp: true,
                shared: false,
                layers: SparseLayers::All,
            }),
            input: PLAIN_TOKENS,
            pooler: false,
            tied: false,
        }),
    },
    Family {
        name: "qwen2",
        aliases: &[],
        title: "Qwen2",
        about: "Llama's layout with biases on queries, keys and values",
        reader: Reader::Transformer(&Layout {
            keys: LLAMA_KEYS,
            defaults: &[],
            stacks: Stacks::Decoder("model.layers"),
            matrices: LLAMA_MATRICES,
            norm: Norm::Rms,
            norms: Norms::Before,
            qk_norm: false,
            positions: Positions::Rotary,
            window: QWEN_WINDOW,
            attention_bias: AttentionBias::Inputs,
            mlp_bias: false,
            gated: Gated::Always,
            mlp_factor: None,
            experts: None,
            input: PLAIN_TOKENS,
            pooler: false,
            tied: false,
        }),
    },
    Family {
        name: "qwen2_moe",
        aliases: &["qwen2moe"],
        title: "Qwen2-MoE",
        about: "Qwen2 with experts, and one expert for all tokens",
        reader: Reader::Transformer(&Layout {
            keys: LLAMA_KEYS,
            defaults: &[],
            stacks: Stacks::Decoder("model.layers"),
            matrices: LLAMA_MATRICES,
            norm: Norm::Rms,
            norms: Norms::Before,
            qk_norm: false,
            positions: Positions::Rotary,
            window: QWEN_WINDOW,
            attention_bias: AttentionBias::Inputs,
            mlp_bias: false,
            gated: Gated::Always,
            mlp_factor: None,
            experts: Some(QWEN2_EXPERTS),
            input: PLAIN_TOKENS,
            pooler: false,
            tied: false,
        }),
    },
    Family {
        name: "qwen3",
        aliases: &[],
        title: "Qwen3",
        about: "Llama's layout with norms on queries and keys",
        reader: Reader::Transformer(&Layout {
            keys: LLAMA_KEYS,
            defaults: &[],
            stacks: Stacks::Decoder("model.layers"),
            matrices: LLAMA_MATRICES,
            norm: Norm::Rms,
            norms: Norms::Before,
            qk_norm: true,
            positions: Positions::Rotary,
            window: QWEN_WINDOW,
            attention_bias: AttentionBias::File,
            mlp_bias: false,
            gated: Gated::Always,
            mlp_factor: None,
            experts: None,
            input: PLAIN_TOKENS,
            pooler: false,
            tied: false,
        }),
    },
    Family {
        name: "qwen3_moe",
        aliases: &["qwen3moe"],
        title: "Qwen3-MoE",
        about: "Qwen3 with experts",
        reader: Reader::Transformer(&Layout {
            keys: LLAMA_KEYS,
            defaults: &[],
            stacks: Stacks::Decoder("model.layers"),
            matrices: LLAMA_MATRICES,
            norm: Norm::Rms,
            norms: Norms::Before,
            qk_norm: true,
            positions: Positions::Rotary,
            window: SlidingWindow::IfUsed { full: None },
            attention_bias: AttentionBias::File,
            mlp_bias: false,
            gated: Gated::Always,
            mlp_factor: None,
            experts: Some(ExpertLayout { shared: false, ..QWEN2_EXPERTS }),
            input: PLAIN_TOKENS,
            pooler: false,
            tied: false,
        }),
    },
    Family {
        name: "gemma",
        aliases: &[],
        title: "Gemma",
        about: "Llama's layout with wide heads and tied embeddings",
        reader: Reader::Transformer(&Layout {
            keys: LLAMA_KEYS,
            defaults: &[],
            stacks: Stacks::Decoder("model.layers"),
            matrices: LLAMA_MATRICES,
            norm: Norm::Rms,
            norms: Norms::Before,
            qk_norm: false,
            positions: Positions::Rotary,
            window: SlidingWindow::Never,
            attention_bias: AttentionBias::File,
            mlp_bias: false,
            gated: Gated::Always,
            mlp_factor: None,
            experts: None,
            input: PLAIN_TOKENS,
            pooler: false,
            tied: true,
        }),
    },
    Family {
        name: "gemma2",
        aliases: &[],
        title: "Gemma 2",
        about: "Gemma with norms before and after both halves of a layer; every other layer sees a window only",
        reader: Reader::Transformer(&Layout {
            keys: LLAMA_KEYS,
            defaults: &[("sliding_window", 4096)],
            stacks: Stacks::Decoder("model.layers"),
            matrices: LLAMA_MATRICES,
            norm: Norm::Rms,
            norms: Norms::Around,
            qk_norm: false,
            positions: Positions::Rotary,
            window: SlidingWindow::AllBut { every: 2 },
            attention_bias: AttentionBias::File,
            mlp_bias: false,
            gated: Gated::Always,
            mlp_factor: None,
            experts: None,
            input: PLAIN_TOKENS,
            pooler: false,
            tied: true,
        }),
    },
    Family {
        name: "gemma3_text",
        aliases: &["gemma3"],
        title: "Gemma 3",
        about: "Gemma 2 with norms on queries and keys; every sixth layer sees everything",
        reader: Reader::Transformer(&Layout {
            keys: LLAMA_KEYS,
            // Its published files give only what differs from these.
            defaults: &[
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
            stacks: Stacks::Decoder("model.layers"),
            matrices: LLAMA_MATRICES,
            norm: Norm::Rms,
            norms: Norms::Around,
            qk_norm: true,
            positions: Positions::Rotary,
            window: SlidingWindow::AllBut { every: 6 },
            attention_bias: AttentionBias::File,
            mlp_bias: false,
            gated: Gated::Always,
            mlp_factor: None,
            experts: None,
            input: PLAIN_TOKENS,
            pooler: false,
            tied: true,
        }),
    },
    Family {
        name: "gpt2",
        aliases: &[],
        title: "GPT-2",
        about: "Layer norm, learned positions, biases, plain MLP, tied embeddings",
        reader: Reader::Transformer(&Layout {
            keys: GPT2_KEYS,
            defaults: &[],
            stacks: Stacks::Decoder("transformer.h"),
            matrices: Matrices {
                qkv: Qkv::Packed("attn.c_attn"),
                out: "attn.c_proj",
                mlp: ["mlp.c_fc", "mlp.gate", "mlp.c_proj"],
            },
            norm: Norm::Layer,
            norms: Norms::Before,
            qk_norm: false,
            positions: Positions::Learned { extra: 0 },
            window: SlidingWindow::Never,
            attention_bias: AttentionBias::Always,
            mlp_bias: true,
            gated: Gated::Never,
            mlp_factor: Some(4),
            experts: None,
            input: PLAIN_TOKENS,
            pooler: false,
            tied: true,
        }),
    },
    Family {
        name: "opt",
        aliases: &[],
        title: "OPT",
        about: "GPT-2's layout with separate queries, keys and values",
        reader: Reader::Transformer(&Layout {
            keys: OPT_KEYS,
            defaults: &[],
            stacks: Stacks::Decoder("model.decoder.layers"),
            matrices: Matrices {
                qkv: Qkv::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
                out: "self_attn.out_proj",
                mlp: ["fc1", "gate", "fc2"],
            },
            norm: Norm::Layer,
            norms: Norms::Before,
            qk_norm: false,
            // The offset of OPTLearnedPositionalEmbedding in transformers, for padding.
            positions: Positions::Learned { extra: 2 },
            window: SlidingWindow::Never,
            attention_bias: AttentionBias::Always,
            mlp_bias: true,
            gated: Gated::Never,
            mlp_factor: None,
            experts: None,
            input: ModelInput::Tokens { types: None, norm: false, narrow: true },
            pooler: false,
            tied: true,
        }),
    },
    Family {
        name: "bert",
        aliases: &[],
        title: "BERT",
        about: "An encoder with norms after each half of a layer, token types and a pooler",
        reader: Reader::Transformer(&Layout {
            keys: LLAMA_KEYS,
            defaults: &[],
            stacks: Stacks::Encoder("encoder.layer"),
            matrices: BERT_MATRICES,
            norm: Norm::Layer,
            norms: Norms::After,
            qk_norm: false,
            positions: Positions::Learned { extra: 0 },
            window: SlidingWindow::Never,
            attention_bias: AttentionBias::Always,
            mlp_bias: true,
            gated: Gated::Never,
            mlp_factor: None,
            experts: None,
            input: ModelInput::Tokens { types: Some(2), norm: true, narrow: false },
            pooler: true,
            tied: true,
        }),
    },
    Family {
        name: "t5",
        aliases: &[],
        title: "T5",
        about: "An encoder and a decoder, relative positions, no biases",
        reader: Reader::Transformer(&Layout {
            keys: T5_KEYS,
            defaults: &[],
            stacks: T5_STACKS,
            matrices: T5_MATRICES,
            norm: Norm::Rms,
            norms: Norms::Before,
            qk_norm: false,
            positions: T5_POSITIONS,
            window: SlidingWindow::Never,
            attention_bias: AttentionBias::Never,
            mlp_bias: false,
            gated: Gated::File,
            mlp_factor: None,
            experts: None,
            input: PLAIN_TOKENS,
            pooler: false,
            tied: true,
        }),
    },
    Family {
        name: "switch_transformers",
        aliases: &["switchtransformers"],
        title: "Switch Transformers",
        about: "T5 with experts in some layers",
        reader: Reader::Transformer(&Layout {
            keys: T5_KEYS,
            defaults: &[],
            stacks: T5_STACKS,
            matrices: T5_MATRICES,
            norm: Norm::Rms,
            norms: Norms::Before,
            qk_norm: false,
            positions: T5_POSITIONS,
            window: SlidingWindow::Never,
            attention_bias: AttentionBias::Never,
            mlp_bias: false,
            gated: Gated::File,
            mlp_factor: None,
            experts: Some(ExpertLayout {
                per_token: Some(1),
                wide_as_mlp: true,
                shared: false,
                layers: SparseLayers::SecondOfGroup,
            }),
            input: PLAIN_TOKENS,
            pooler: false,
            tied: true,
        }),
    },
    Family {
        name: "vit",
        aliases: &[],
        title: "ViT",
        about: "An encoder of image patches with a classifier",
        reader: Reader::Transformer(&Layout {
            keys: LLAMA_KEYS,
            defaults: &[],
            stacks: Stacks::Encoder("vit.encoder.layer"),
            matrices: BERT_MATRICES,
            norm: Norm::Layer,
            norms: Norms::Before,
            qk_norm: false,
            positions: Positions::Learned { extra: 0 },
            window: SlidingWindow::Never,
            attention_bias: AttentionBias::Always,
            mlp_bias: true,
            gated: Gated::Never,
            mlp_factor: None,
            experts: None,
            input: ModelInput::Patches,
            pooler: false,
            tied: false,
        }),
    },
    Family {
        name: "resnet",
        aliases: &[],
        title: "ResNet",
        about: "Residual blocks of convolutions with batch normalisation, in stages of falling resolution",
        reader: Reader::Resnet,
    },
    Family {
        name: "cnn",
        aliases: &[],
        title: "Chain of convolutions",
        about: "Convolutions, pools and linear layers one after the other, listed in `layers`",
        reader: Reader::Cnn,
    },
    Family {
        name: "mlp",
        aliases: &[],
        title: "MLP",
        about: "Linear layers one after the other, their widths listed in `layers`",
        reader: Reader::Mlp,
    },
    Family {
        name: "gemm",
        aliases: &[],
        title: "Matrix multiplication",
        about: "One product of an m x k and a k x n matrix",
        reader: Reader::Gemm,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::keys::Keys;
    use super::*;
    use crate::workload::ModelRef;
    use crate::workload::config::ModelConfig;
    use crate::workload::model_run::{ModelRun, Task};

    #[test]
    fn no_name_is_used_twice() {
        let names = FAMILIES.iter().flat_map(|family| [family.name].into_iter().chain(family.aliases.iter().copied()));
        let mut seen = BTreeSet::new();
        for name in names {
            assert!(seen.insert(name), "{name}");
        }
        assert!(FAMILIES.iter().all(|family| !family.title.is_empty() && !family.about.is_empty()));
    }

    /// `docs/workloads.md` lists the table as it is.
    #[test]
    fn the_documentation_lists_every_family() {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/workloads.md"));
        let listed =
            text.split("<!-- families -->\n").nth(1).unwrap().split("<!-- end of families -->").next().unwrap();
        let mut table = "| `model_type` | family | type | layout |\n| --- | --- | --- | --- |\n".to_owned();
        for family in FAMILIES {
            table += &format!("| `{}` | {} | {} | {} |\n", family.name, family.title, family.kind(), family.about);
        }
        assert_eq!(listed, table, "write this between the marks of docs/workloads.md:\n{table}");
    }

    /// A family of known parts is a row, and nothing else: this one is in no table.
    static STARCODER2: &[Family] = &[Family {
        name: "starcoder2",
        aliases: &[],
        title: "StarCoder2",
        about: "Llama's attention with GPT-2's norms, biases and MLP",
        reader: Reader::Transformer(&Layout {
            keys: LLAMA_KEYS,
            defaults: &[("sliding_window", 4096)],
            stacks: Stacks::Decoder("model.layers"),
            matrices: Matrices { mlp: ["mlp.c_fc", "mlp.gate", "mlp.c_proj"], ..LLAMA_MATRICES },
            norm: Norm::Layer,
            norms: Norms::Before,
            qk_norm: false,
            positions: Positions::Rotary,
            window: SlidingWindow::All,
            attention_bias: AttentionBias::Always,
            mlp_bias: true,
            gated: Gated::Never,
            mlp_factor: None,
            experts: None,
            input: PLAIN_TOKENS,
            pooler: false,
            tied: true,
        }),
    }];

    /// bigcode/starcoder2-3b: its published weights are 3,030,371,328 parameters.
    #[test]
    fn a_new_family_is_one_row() {
        let read = |text: &str| {
            let Value::Object(keys) = serde_json::from_str(text).unwrap() else { panic!("not an object") };
            ModelConfig::of_family(STARCODER2, &Keys { input: "config.json", keys: &keys })
        };
        let config = read(
            r#"{"model_type":"starcoder2","hidden_size":3072,"intermediate_size":12288,"num_hidden_layers":30,
            "num_attention_heads":24,"num_key_value_heads":2,"vocab_size":49152,"max_position_embeddings":16384,
            "torch_dtype":"bfloat16"}"#,
        )
        .unwrap();
        assert_eq!((config.parameters(), config.family()), (3_030_371_328, "Transformer"));
        assert_eq!(config.transformer().unwrap().window_of(7), 4096);
        assert_eq!(read(&serde_json::to_string(&config).unwrap()).unwrap(), config);
        for task in Task::ALL {
            let model = ModelRef::Config(Box::new(config.clone()));
            let trace = ModelRun { task, model, ..ModelRun::default() }.trace(0).unwrap();
            assert!(trace.tensors().iter().any(|tensor| tensor.name.starts_with("model.layers.29.mlp.c_fc")));
        }
        let error = read(r#"{"model_type":"llama"}"#).unwrap_err().to_string();
        assert!(error.contains("\"llama\" is not supported"), "{error}");
    }
}
