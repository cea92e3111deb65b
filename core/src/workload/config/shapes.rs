//! The tensors of a Transformer, as its configuration and the layout of its family give them, and their parameters.

use super::families::{AttentionBias, ModelInput, Norm, Norms, Positions, Qkv, SparseLayers, Stacks};
use super::transformer::{Experts, LayerType, Transformer};

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
    /// As many as the run asks for.
    Chosen,
    /// As many as the image has patches, and one for the class.
    Image(u64),
}

impl Transformer {
    /// Whether nothing can be decoded with it.
    pub fn encodes_only(&self) -> bool {
        matches!(self.layout.stacks, Stacks::Encoder(_))
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
        match self.layout.stacks {
            Stacks::Decoder(prefix) => vec![only(prefix, true)],
            Stacks::Encoder(prefix) => vec![only(prefix, false)],
            Stacks::Both { encoder, decoder, .. } => {
                let encoder_step = self.experts.as_ref().map_or(0, |e| e.encoder_sparse_step.unwrap_or(step));
                let layers = self.num_decoder_layers.unwrap_or(self.num_hidden_layers);
                vec![
                    Stack { sparse_step: encoder_step, ..only(encoder, false) },
                    Stack { layers, cross: true, ..only(decoder, true) },
                ]
            }
        }
    }

    /// Whether layer `layer` of a stack has experts.
    pub(crate) fn sparse(&self, stack: &Stack, layer: u64) -> bool {
        let dense = self.experts.as_ref().is_some_and(|experts| experts.mlp_only_layers.contains(&layer));
        let second = matches!(&self.layout.experts, Some(e) if e.layers == SparseLayers::SecondOfGroup);
        match stack.sparse_step {
            _ if dense => false,
            0 => false,
            1 => true,
            step if second => layer % step == 1,
            step => (layer + 1).is_multiple_of(step),
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
        match self.layout.norm {
            Norm::Rms => self.hidden_size,
            Norm::Layer => 2 * self.hidden_size,
        }
    }

    /// Whether norms come after the sum of each half of a layer.
    pub(crate) fn norms_after(&self) -> bool {
        self.layout.norms == Norms::After || !self.do_layer_norm_before
    }

    /// Whether there are norms before and after each half of a layer.
    pub(crate) fn norms_twice(&self) -> bool {
        self.layout.norms == Norms::Around
    }

    /// Whether a norm closes each stack.
    pub(crate) fn has_final_norm(&self) -> bool {
        !self.norms_after()
    }

    /// The weights of a layer's attention; `cross` to what the other stack made.
    pub(crate) fn attention(&self, layer: u64, cross: bool) -> Attention {
        let (layout, hidden, q, kv) = (self.layout, self.hidden_size, self.q_width(), self.kv_width());
        let (in_bias, out_bias) = match layout.attention_bias {
            AttentionBias::Never => (false, false),
            AttentionBias::Inputs => (true, false),
            AttentionBias::Always => (true, true),
            AttentionBias::File => (self.attention_bias, self.attention_bias),
        };
        let input = |name, outputs| Linear { name, inputs: hidden, outputs, bias: in_bias };
        let separate = |[of_q, of_k, of_v]: [_; 3]| vec![input(of_q, q), input(of_k, kv), input(of_v, kv)];
        let (qkv, out) = match (&layout.stacks, &layout.matrices.qkv) {
            (Stacks::Both { cross: [of_q, of_k, of_v, out], .. }, _) if cross => (separate([of_q, of_k, of_v]), *out),
            (_, Qkv::Separate(names)) => (separate(*names), layout.matrices.out),
            (_, Qkv::Packed(name)) => (vec![input(name, q + 2 * kv)], layout.matrices.out),
        };
        Attention {
            qkv,
            out: Linear { name: out, inputs: q, outputs: hidden, bias: out_bias },
            qk_norm: if layout.qk_norm && !cross { self.head_dim } else { 0 },
            positions: match layout.positions {
                // The first layer holds the table for all of its stack.
                Positions::Relative { buckets } if layer == 0 && !cross => buckets * self.num_attention_heads,
                _ => 0,
            },
        }
    }

    /// An MLP of this width; `names` are those of its matrices up, gate and down.
    fn mlp(&self, width: u64, names: [&'static str; 3]) -> MlpShape {
        let bias = self.mlp_bias || self.layout.mlp_bias;
        let up = Linear { name: names[0], inputs: self.hidden_size, outputs: width, bias };
        let gate = Linear { name: names[1], ..up };
        let down = Linear { name: names[2], inputs: width, outputs: self.hidden_size, bias };
        MlpShape { up: if self.is_gated_act { vec![gate, up] } else { vec![up] }, down }
    }

    /// What follows the attention of layer `layer`.
    pub(crate) fn feed(&self, stack: &Stack, layer: u64) -> Feed {
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
            _ => Feed::Dense(self.mlp(self.intermediate_size, self.layout.matrices.mlp)),
        }
    }

    /// Norms over the residual stream in a layer of `stack`.
    pub(crate) fn norms(&self, stack: &Stack) -> u64 {
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
        match self.layout.positions {
            Positions::Learned { extra } => self.max_position_embeddings + extra,
            Positions::Rotary | Positions::Relative { .. } => 0,
        }
    }

    /// Elements of the tables that are looked up, and not multiplied with: those of tokens where the output head is
    /// another tensor, of positions and of token types.
    pub(crate) fn table_elements(&self) -> u64 {
        let multiplied = self.tie_word_embeddings && !self.layout.pooler;
        let tokens = if multiplied { 0 } else { self.embedding_elements() };
        let class = if self.image.is_some() { self.hidden_size } else { 0 };
        let types = self.type_vocab_size.unwrap_or(0) * self.hidden_size;
        tokens + self.position_rows() * self.hidden_size + types + class
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
        let inputs = self.hidden_size;
        if self.layout.pooler {
            return Some(Linear { name: "pooler.dense", inputs, outputs: inputs, bias: true });
        }
        self.word_embed_proj_dim.map(|outputs| Linear { name: "project_out", inputs, outputs, bias: false })
    }

    /// The output head, where it has weights; an encoder with a pooler ends there.
    pub(crate) fn head(&self) -> Option<Linear> {
        let inputs = self.embedding_width();
        match &self.image {
            _ if self.layout.pooler => None,
            Some(image) => Some(Linear { name: "classifier", inputs, outputs: image.num_labels, bias: true }),
            None => {
                let name = if self.tie_word_embeddings { "embed_tokens" } else { "lm_head" };
                Some(Linear { name, inputs, outputs: self.vocab_size, bias: false })
            }
        }
    }

    /// Elements of the norm over the embeddings.
    pub(crate) fn embedding_norm(&self) -> u64 {
        if matches!(self.layout.input, ModelInput::Tokens { norm: true, .. }) { self.norm_elements() } else { 0 }
    }

    /// Parameters outside the layers that something is multiplied with.
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
