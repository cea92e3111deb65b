//! The matrices of a layer.

use super::config::LlamaConfig;
use super::gguf::Rows;

/// The matrices of a layer that an adapter may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the papers'")]
pub enum Projection {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}

impl Projection {
    /// All, in the order of a layer.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// `[outputs, inputs]`.
    pub(super) fn shape(self, config: &LlamaConfig) -> [usize; 2] {
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        match self {
            Self::Q => [q, config.hidden],
            Self::K | Self::V => [kv, config.hidden],
            Self::O => [config.hidden, q],
            Self::Gate | Self::Up => [config.feed_forward, config.hidden],
            Self::Down => [config.hidden, config.feed_forward],
        }
    }

    /// The name in a GGUF file, and which rows of that matrix it is.
    pub(super) fn place(self, config: &LlamaConfig) -> (&'static str, Rows) {
        let rows = |of: Self| of.shape(config)[0];
        // The rows of one matrix are those of several, one after the other.
        let within = |together: &[Self]| {
            let first = together.iter().take_while(|other| **other != self).map(|other| rows(*other)).sum();
            Rows { first, count: rows(self), all: together.iter().map(|other| rows(*other)).sum() }
        };
        match self {
            Self::Q | Self::K | Self::V if config.architecture.fused => {
                ("attn_qkv", within(&[Self::Q, Self::K, Self::V]))
            }
            // Phi-3 has its gate before what it opens, under the latter's name.
            Self::Gate | Self::Up if config.architecture.fused => ("ffn_up", within(&[Self::Gate, Self::Up])),
            _ => (self.weight(), Rows::all(rows(self))),
        }
    }

    /// The name in a GGUF file that has a matrix of its own for it.
    pub(super) fn weight(self) -> &'static str {
        match self {
            Self::Q => "attn_q",
            Self::K => "attn_k",
            Self::V => "attn_v",
            Self::O => "attn_output",
            Self::Gate => "ffn_gate",
            Self::Up => "ffn_up",
            Self::Down => "ffn_down",
        }
    }

    /// The module of Hugging Face's models whose rows have this matrix among others, one after the other, and those.
    pub(super) fn together(self) -> Option<(&'static str, &'static [Self])> {
        match self {
            Self::Q | Self::K | Self::V => Some(("self_attn.qkv_proj", &[Self::Q, Self::K, Self::V])),
            Self::Gate | Self::Up => Some(("mlp.gate_up_proj", &[Self::Gate, Self::Up])),
            Self::O | Self::Down => None,
        }
    }

    /// The module that makes it in a model, and all that this makes: itself alone where matrices are not `fused`.
    pub(super) fn made_by(self, fused: bool) -> (&'static str, Vec<Self>) {
        match self.together().filter(|_| fused) {
            Some((module, all)) => (module, all.to_vec()),
            None => (self.module(), vec![self]),
        }
    }

    /// The name inside a layer in Hugging Face's models.
    pub(super) fn module(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }
}
