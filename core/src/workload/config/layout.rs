//! How the files of a family are read and how its layers are made: the parts that a row of the table of families is
//! made of.
//!
//! A family that is made of known parts is one row. A part of a new kind is a variant here, and its meaning in
//! `shapes`; what only one family has is a function in `special`.

use super::keys::Keys;
use super::layers::{Block, Layer, Mixer, Model};
use crate::error::Error;

// The types of models, in the prototype's words.
pub(crate) const TRANSFORMER: &str = "Transformer";
pub(crate) const MOE: &str = "MoE";
pub(crate) const CNN: &str = "CNN";
pub(crate) const MLP: &str = "MLP";

/// How the files of a family are read, and how its tensors are laid out.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The keys of its sizes.
    pub(super) keys: SizeKeys,
    /// What transformers assumes where a file leaves these keys out.
    pub(super) defaults: &'static [(&'static str, u64)],
    /// What it assumes besides where the file stands inside another: such files leave out what equals the defaults of
    /// their class.
    pub(super) class: &'static [(&'static str, u64)],
    /// Its stacks of layers.
    pub(super) stacks: Stacks,
    /// Whether it has attention, and so must say how many heads.
    pub(super) attends: bool,
    /// The names of the matrices of a layer.
    pub(super) matrices: Matrices,
    /// What its norms store.
    pub(super) norm: Norm,
    /// Where the norms of a layer stand.
    pub(super) norms: Norms,
    /// Whether a norm closes each stack, where norms come before.
    pub(super) final_norm: bool,
    /// Norms on queries and keys.
    pub(super) qk_norm: QkNorm,
    /// How positions come in.
    pub(super) positions: Positions,
    /// Whether each of two stacks has positions of its own.
    pub(super) positions_each: bool,
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
    /// Whether the embeddings have a norm.
    pub(super) embedding_norm: bool,
    /// The keys of a table narrower than the model.
    pub(super) narrow: Names,
    /// Whether the matrix behind such a table has biases, and whether there is one before the head.
    pub(super) project_bias: bool,
    pub(super) narrow_out: bool,
    /// Whether the class without a head ends in a pooler.
    pub(super) pooler: Pooler,
    /// What stands before a head for masked tokens.
    pub(super) transform: Transform,
    /// Classes of a classifier of images, where the file does not say, and vectors that it looks at.
    pub(super) classes: u64,
    pub(super) classified: u64,
    /// Whether the output head is the embedding table, where the file does not say.
    pub(super) tied: bool,
    /// Whether the output head has biases.
    pub(super) head_bias: bool,
    /// Makes what mixes the tokens of a layer.
    pub(super) mixer: fn(&Shapes<'_>, u64) -> Result<Mixer, Error>,
    /// Makes what follows it, in a layer of a stack.
    pub(super) feed: fn(&Shapes<'_>, usize, u64) -> Result<Block, Error>,
    /// Makes a layer of a stack.
    pub(super) layer: fn(&Shapes<'_>, usize, u64) -> Result<Layer, Error>,
    /// Puts right what no other field says.
    pub(super) finish: Option<Finish>,
}

impl Layout {
    /// The type of a model of this layout, in the prototype's words.
    pub(super) fn kind(&self) -> &'static str {
        if self.experts.is_some() { MOE } else { TRANSFORMER }
    }

    /// Whether all of its stacks are encoders.
    pub(super) fn stacks_encode(&self) -> bool {
        matches!(self.stacks, Stacks::Encoder(_))
    }

    /// The name of the matrix that makes keys, where it is one of its own.
    pub(super) fn key_name(&self) -> &'static str {
        match self.matrices.qkv {
            Qkv::Separate([_, key, _]) => key,
            Qkv::Packed(_) => "",
        }
    }
}

/// The sizes of a model, of which its layers are made.
pub(super) struct Shapes<'a> {
    pub(super) keys: &'a Keys<'a>,
    pub(super) layout: &'static Layout,
    pub(super) hidden: u64,
    /// Width of the MLP.
    pub(super) inner: u64,
    pub(super) layers: u64,
    /// Layers of the decoder, where there is an encoder as well.
    pub(super) decoder_layers: u64,
    pub(super) heads: u64,
    pub(super) kv_heads: u64,
    pub(super) head_dim: u64,
    pub(super) vocabulary: u64,
    pub(super) window: Option<u64>,
    pub(super) gated: bool,
    pub(super) mlp_bias: bool,
    pub(super) attention_bias: bool,
    pub(super) norms_after: bool,
}

/// The keys of a size, the first that is there counts.
pub(super) type Names = &'static [&'static str];

/// The keys of the sizes of a Transformer.
#[derive(Debug)]
pub(super) struct SizeKeys {
    pub(super) hidden_size: Names,
    pub(super) intermediate_size: Names,
    pub(super) num_hidden_layers: Names,
    pub(super) num_decoder_layers: Names,
    pub(super) num_attention_heads: Names,
    pub(super) num_key_value_heads: Names,
    pub(super) head_dim: Names,
    pub(super) vocab_size: Names,
    pub(super) max_position_embeddings: Names,
}

/// The stacks of layers, each with what the names of its tensors begin with.
#[derive(Debug)]
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
#[derive(Debug)]
pub(super) struct Matrices {
    pub(super) qkv: Qkv,
    pub(super) out: &'static str,
    /// Up, gate and down.
    pub(super) mlp: [&'static str; 3],
}

/// Queries, keys and values.
#[derive(Debug)]
pub(super) enum Qkv {
    /// Three matrices.
    Separate([&'static str; 3]),
    /// One matrix for all.
    Packed(&'static str),
}

/// What a norm stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Norm {
    /// RMS norm, or layer norm without an offset: a factor per channel.
    Rms,
    /// Layer norm: a factor and an offset per channel.
    Layer,
    /// Nothing.
    Bare,
}

/// A matrix that reads the first token, in the class without a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooler {
    Never,
    /// In that class alone (ViT).
    Bare,
    /// And where the file names no class (BERT).
    ByDefault,
}

/// What stands before a head for masked tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transform {
    /// A matrix with biases and a norm (BERT).
    Masked,
    /// The same without biases, before each head (ModernBERT).
    Everywhere,
}

/// Where the norms of a layer stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Norms {
    /// Before each half of a layer, and one after the last layer; a file may say otherwise (`do_layer_norm_before`).
    Before,
    /// After the sum of each half of a layer.
    After,
    /// Before and after each half of a layer, and one after the last layer.
    Around,
    /// After each half of a layer, before the sum, and one after the last layer.
    Outputs,
    /// Before both halves, which work side by side.
    Beside,
    /// Before each of both halves, which work side by side.
    BesideTwo,
}

/// Norms on queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QkNorm {
    None,
    /// One for all heads, as wide as a head.
    Head,
    /// One over all heads together, or one for each head: as wide as all of them.
    All,
    /// As `Head`, where the file says so (`use_qk_norm`).
    File,
    /// As `All`, where the file says so.
    FileAll,
}

/// How positions come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Positions {
    /// Not at all, or by what takes no weights and has no end.
    None,
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

/// Which layers look back at a window (`sliding_window`) only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlidingWindow {
    /// None, whatever the file says.
    Never,
    /// All of them.
    All,
    /// Those that the file lists (`layer_types`), or none.
    Listed,
    /// All but every n-th (`sliding_window_pattern`).
    AllBut {
        /// n, where the file does not say.
        every: u64,
    },
    /// Every second layer, the first among them (gpt-oss).
    Alternate,
    /// None unless the file says so (`use_sliding_window`), for these files name windows that are not in use.
    IfUsed {
        /// How many layers at the front see everything nevertheless (`max_window_layers`), where the file does not say;
        /// none = the family has no such key.
        full: Option<u64>,
    },
}

/// Which projections of the attention have biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttentionBias {
    Never,
    /// Queries, keys and values.
    Inputs,
    /// All four.
    Always,
    /// All four but the keys (Whisper).
    NotKeys,
    /// All four, where the file says so (`attention_bias`).
    File,
    /// Queries, keys and values, where the file says so.
    FileInputs,
    /// The same by another key.
    InputsBy(&'static str),
    /// All projections of attention and MLP, where the file says so by another key (`bias`, `use_bias`).
    FileAll {
        key: &'static str,
        default: bool,
    },
}

/// Whether the MLP multiplies two projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gated {
    Never,
    Always,
    /// Both projections are one matrix.
    Packed,
    /// Where the file says so (`feed_forward_proj` or `is_gated_act`).
    File,
}

/// Experts in place of MLPs.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExpertLayout {
    /// How many each token is sent to, where the file does not say; without it, the file must.
    pub(super) per_token: Option<u64>,
    /// Whether an expert is as wide as the MLP where the file does not say; otherwise, the file must.
    pub(super) wide_as_mlp: bool,
    /// What all tokens are sent to besides.
    pub(super) shared: Shared,
    /// Which layers have experts.
    pub(super) layers: SparseLayers,
    /// The names of the router, and of an expert's matrices up, gate and down.
    pub(super) router: &'static str,
    pub(super) names: [&'static str; 3],
    /// Whether the router has biases.
    pub(super) router_bias: bool,
}

/// What all tokens are sent to besides experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shared {
    None,
    /// An expert of `shared_expert_intermediate_size`, weighed by a matrix.
    Weighed,
    /// `n_shared_experts` experts in one.
    Several,
    /// One expert more.
    One,
}

/// Which layers have experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SparseLayers {
    All,
    /// The last of each group of `decoder_sparse_step`, but those that the file excepts (`mlp_only_layers`).
    LastOfGroup,
    /// The second of each group, whose length follows from the number of layers with experts in either stack.
    SecondOfGroup,
    /// All behind the first `first_k_dense_replace` or those that `moe_layer_freq` lists.
    Behind,
    /// The last of each group of `interleave_moe_layer_step` (Llama 4).
    Interleaved,
    /// Those at `expert_layer_offset` of each `expert_layer_period` (Jamba).
    Periodic,
}

/// What a family does to a model whose layers stand.
pub(super) type Finish = fn(&Shapes<'_>, &mut Model) -> Result<(), Error>;

/// What comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ModelInput {
    /// Tokens, whose rows are looked up in a table.
    Tokens {
        /// Kinds of tokens (`type_vocab_size`), where the file does not say; none = the family has no such table.
        types: Option<u64>,
        /// Whether the table may be narrower than the model.
        narrow: bool,
    },
    /// An image, whose patches are multiplied with a matrix, and tokens that are learned.
    Patches { learned: u64 },
}
