//! The weights of a Transformer, as tensors of a planner.

use crate::trace::Kind;
use crate::workload::config::{Attention, Feed, Linear, MlpShape, Stack, Transformer};
use crate::workload::plan::{Planner, Shape, Val};

/// A matrix of weights and its biases.
pub(super) struct Matrix {
    pub(super) linear: Linear,
    pub(super) weights: Val,
    pub(super) bias: Option<Val>,
}

pub(super) struct AttentionWeights {
    pub(super) qkv: Vec<Matrix>,
    pub(super) out: Matrix,
    pub(super) q_norm: Option<Val>,
    pub(super) k_norm: Option<Val>,
    pub(super) positions: Option<Val>,
}

pub(super) struct MlpWeights {
    pub(super) up: Vec<Matrix>,
    pub(super) down: Matrix,
}

pub(super) enum FeedWeights {
    Dense(MlpWeights),
    Sparse { router: Matrix, experts: Vec<MlpWeights>, shared: Option<(MlpWeights, Matrix)> },
}

pub(super) struct LayerWeights {
    pub(super) attention: AttentionWeights,
    pub(super) cross: Option<AttentionWeights>,
    /// Norms in the order in which they are read.
    pub(super) norms: Vec<Val>,
    pub(super) feed: FeedWeights,
    /// Blocks of keys and values of each request.
    pub(super) kv: Vec<Vec<Val>>,
    /// Blocks of keys and values of the prompts' common beginning.
    pub(super) common_kv: Vec<Val>,
    /// Keys and values of each request's prompt, for the attention to the other stack.
    pub(super) cross_kv: Vec<Option<Val>>,
}

pub(super) struct StackWeights {
    pub(super) stack: Stack,
    pub(super) layers: Vec<LayerWeights>,
    pub(super) final_norm: Option<Val>,
    /// The number of its first layer in heatmaps and routing.
    pub(super) first: u32,
}

/// Adds stored matrices to a plan.
pub(super) struct Store<'a> {
    pub(super) planner: &'a mut Planner,
    pub(super) bits: u64,
}

impl Store<'_> {
    pub(super) fn tensor(&mut self, name: String, rows: u64, cols: u64, layer: Option<u32>) -> Val {
        self.planner.stored(name, Shape::new(rows, cols, self.bits), layer, Kind::Weights)
    }

    pub(super) fn matrix(&mut self, prefix: &str, linear: Linear, layer: Option<u32>) -> Matrix {
        let name = format!("{prefix}{}", linear.name);
        let bias = linear.bias.then(|| self.tensor(format!("{name}.bias"), 1, linear.outputs, layer));
        Matrix { linear, weights: self.tensor(name, linear.inputs, linear.outputs, layer), bias }
    }

    pub(super) fn norm(&mut self, name: String, elements: u64, layer: Option<u32>) -> Option<Val> {
        (elements > 0).then(|| self.tensor(name, 1, elements, layer))
    }

    fn attention(&mut self, prefix: &str, attention: &Attention, layer: u32) -> AttentionWeights {
        let layer = Some(layer);
        AttentionWeights {
            qkv: attention.qkv.iter().map(|linear| self.matrix(prefix, *linear, layer)).collect(),
            out: self.matrix(prefix, attention.out, layer),
            q_norm: self.norm(format!("{prefix}self_attn.q_norm"), attention.qk_norm, layer),
            k_norm: self.norm(format!("{prefix}self_attn.k_norm"), attention.qk_norm, layer),
            positions: self.norm(format!("{prefix}relative_attention_bias"), attention.positions, layer),
        }
    }

    fn mlp(&mut self, prefix: &str, mlp: &MlpShape, layer: u32) -> MlpWeights {
        let up = mlp.up.iter().map(|linear| self.matrix(prefix, *linear, Some(layer))).collect();
        MlpWeights { up, down: self.matrix(prefix, mlp.down, Some(layer)) }
    }

    pub(super) fn layer(&mut self, model: &Transformer, stack: &Stack, of_stack: u64, number: u32) -> LayerWeights {
        let prefix = format!("{}.{of_stack}.", stack.prefix);
        let attention = self.attention(&prefix, &model.attention(of_stack, false), number);
        let cross = stack.cross.then(|| self.attention(&prefix, &model.attention(of_stack, true), number));
        let norms = (0..model.norms(stack))
            .filter_map(|i| self.norm(format!("{prefix}norm{i}"), model.norm_elements(), Some(number)));
        let norms = norms.collect();
        let feed = match model.feed(stack, of_stack) {
            Feed::Dense(mlp) => FeedWeights::Dense(self.mlp(&prefix, &mlp, number)),
            Feed::Sparse { router, expert, shared } => FeedWeights::Sparse {
                router: self.matrix(&prefix, router, Some(number)),
                experts: (0..model.experts.as_ref().map_or(0, |e| e.num_experts))
                    .map(|e| self.mlp(&format!("{prefix}mlp.experts.{e}."), &expert, number))
                    .collect(),
                shared: shared
                    .map(|(mlp, gate)| (self.mlp(&prefix, &mlp, number), self.matrix(&prefix, gate, Some(number)))),
            },
        };
        LayerWeights { attention, cross, norms, feed, kv: Vec::new(), common_kv: Vec::new(), cross_kv: Vec::new() }
    }
}
