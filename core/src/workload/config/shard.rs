//! The share of a model that one device of many holds: the same table of layers with smaller sizes.
//!
//! - Tensor parallel (Shoeybi et al. 2019, Megatron-LM, section 3): matrices into heads and into MLPs are split by their
//!   outputs, those out of them by their inputs, embeddings and head by rows of the vocabulary. Norms, routers and latent
//!   vectors are on every device; so are heads of keys and values where there are more devices than heads.
//! - Expert parallel (Rajbhandari et al. 2022, DeepSpeed-MoE, section 5): whole experts, as many on each device.
//! - Pipeline parallel (Narayanan et al. 2021, section 2.2): runs of whole layers; embeddings on the first stage, the
//!   head on the last.
//!
//! Where sizes do not divide, the device with most is meant.

use super::layers::{Block, Heads, Layer, Linear, Mixer, Mixing, Mixture, MlpShape, Model, Role, Stack};

/// In how many parts a model is cut, by whole layers, by heads and widths, and by experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cuts {
    pub(crate) tensor: u64,
    pub(crate) pipeline: u64,
    pub(crate) expert: u64,
}

impl Cuts {
    fn outputs(self, linear: Linear) -> Linear {
        Linear { outputs: linear.outputs.div_ceil(self.tensor), ..linear }
    }

    /// Biases behind a sum over devices are added once, but every device holds them.
    fn inputs(self, linear: Linear) -> Linear {
        Linear { inputs: linear.inputs.div_ceil(self.tensor), ..linear }
    }

    fn mlp(self, mlp: MlpShape) -> MlpShape {
        let split = |linear| self.outputs(linear);
        MlpShape { gate: mlp.gate.map(split), up: split(mlp.up), down: self.inputs(mlp.down) }
    }

    fn heads(self, heads: &Heads) -> Heads {
        let kv_heads = heads.kv_heads.div_ceil(self.tensor).max(1);
        let kept = match heads.latent {
            // Every head reads the same vectors.
            Some(_) => heads.kept,
            None => heads.kept / heads.kv_heads.max(1) * kv_heads,
        };
        Heads { heads: heads.heads.div_ceil(self.tensor), kv_heads, kept, ..*heads }
    }

    fn mixer(self, mixer: &Mixer) -> Mixer {
        let mut part = mixer.clone();
        match &mut part.mixing {
            Mixing::Attention(of) => {
                let whole = *of;
                *of = self.heads(&whole);
                let latent = part.makes.iter().position(|make| make.role == Role::Latent);
                let local = |width: u64| width / whole.kv_heads.max(1) * of.kv_heads;
                for make in &mut part.makes {
                    let outputs = make.linear.outputs;
                    make.linear.outputs = match make.role {
                        Role::Query => outputs.div_ceil(self.tensor),
                        Role::Kept => local(outputs),
                        Role::Packed => {
                            let kv = whole.kv_heads * (whole.qk_dim + whole.v_dim);
                            outputs.saturating_sub(kv).div_ceil(self.tensor) + local(kv.min(outputs))
                        }
                        // What is spread out of latent vectors belongs to heads; all else is on every device.
                        Role::Inner if latent.is_some() && make.from == latent => outputs.div_ceil(self.tensor),
                        Role::Latent | Role::Inner => outputs,
                    };
                    if make.norm > 0 && make.norm % outputs == 0 {
                        make.norm = make.norm / outputs * make.linear.outputs;
                    }
                }
            }
            Mixing::State { elements, convolved, flops } => {
                for size in [elements, convolved, flops] {
                    *size = size.div_ceil(self.tensor);
                }
                // Each device mixes some of the channels.
                let narrow = |linear: Linear| linear.outputs * 8 < linear.inputs;
                for make in part.makes.iter_mut().filter(|make| make.from.is_some() || !narrow(make.linear)) {
                    make.linear = self.outputs(make.linear);
                }
                for (_, elements) in &mut part.extras {
                    *elements = elements.div_ceil(self.tensor);
                }
            }
        }
        if let [only] = &mut part.outs[..] {
            *only = self.inputs(*only);
        } else if let [first, .., last] = &mut part.outs[..] {
            (*first, *last) = (self.outputs(*first), self.inputs(*last));
        }
        part
    }

    fn mixture(self, mixture: &Mixture) -> Mixture {
        // An expert is whole where experts are dealt out.
        let (experts, expert) = match self.expert {
            1 => (mixture.experts, self.mlp(mixture.expert)),
            devices => (mixture.experts.div_ceil(devices), mixture.expert),
        };
        let shared = mixture.shared.map(|(mlp, gate)| (self.mlp(mlp), gate));
        Mixture { experts, expert, shared, ..mixture.clone() }
    }

    fn layer(self, layer: &Layer) -> Layer {
        let mut part = layer.clone();
        for of in &mut part.parts {
            of.block = match &of.block {
                Block::Mix(mixer) => Block::Mix(self.mixer(mixer)),
                Block::Cross(mixer) => Block::Cross(self.mixer(mixer)),
                Block::Dense(mlp) => Block::Dense(self.mlp(*mlp)),
                Block::Sparse(mixture) => Block::Sparse(Box::new(self.mixture(mixture))),
                Block::Chain(chain) => Block::Chain(chain.clone()),
            };
        }
        part
    }

    /// The first and the last layer (not included) of a stage, of `layers`.
    fn stage(self, layers: usize, stage: u64) -> std::ops::Range<usize> {
        let at = |stage: u64| (layers as u64 * stage / self.pipeline) as usize;
        at(stage)..at(stage + 1)
    }
}

impl Model {
    /// What a device of stage `stage` holds of it.
    pub(crate) fn share(&self, cuts: Cuts, stage: u64) -> Self {
        let mut share = self.clone();
        let (first, last) = (stage == 0, stage + 1 == cuts.pipeline);
        let mut at = 0;
        let all = self.layers().count();
        let wanted = cuts.stage(all, stage);
        for stack in &mut share.stacks {
            let whole: &Stack = &stack.clone();
            let numbered = whole.layers.iter().enumerate();
            let mine = numbered.filter(|(number, _)| wanted.contains(&(at + number)));
            stack.layers = mine.map(|(_, layer)| cuts.layer(layer)).collect();
            at += whole.layers.len();
            // The norm is behind its last layer.
            if at > 0 && !wanted.contains(&(at - 1)) {
                stack.norm = 0;
            }
        }
        let split = |linear: Linear| cuts.outputs(linear);
        let tied = self.tied && self.head.is_some();
        // A tied table is on the first stage and on the last.
        share.vocabulary.rows = if first || (last && tied) { self.vocabulary.rows.div_ceil(cuts.tensor) } else { 0 };
        share.head = self.head.filter(|_| last).map(split);
        if !first {
            share.tables.clear();
            share.inputs.clear();
            (share.learned_tokens, share.embedding_norm) = (0, 0);
        }
        if !last {
            share.outputs.clear();
            share.extras.clear();
        }
        share
    }
}
