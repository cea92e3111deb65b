//! The weights of a model, as tensors of a planner.

use std::collections::BTreeMap;

use crate::trace::Kind;
use crate::workload::config::Transformer;
use crate::workload::config::Width;
use crate::workload::config::layers::{
    Block, Cache, Extra, Layer, Linear, Make, Mixer, Mixing, MlpShape, Place, Role, Stack,
};
use crate::workload::fusion::Fusion;
use crate::workload::plan::{Planner, Shape, Val};

/// A matrix of weights, its scales and its biases.
pub(super) struct Matrix {
    pub(super) linear: Linear,
    pub(super) weights: Val,
    pub(super) scales: Option<Val>,
    pub(super) bias: Option<Val>,
}

pub(super) struct MakeWeights {
    pub(super) matrix: Matrix,
    pub(super) norm: Option<Val>,
    pub(super) from: Option<usize>,
    pub(super) role: Role,
}

pub(super) struct MixerWeights {
    pub(super) makes: Vec<MakeWeights>,
    pub(super) outs: Vec<Matrix>,
    pub(super) mixing: Mixing,
    pub(super) extras: Option<Val>,
    pub(super) positions: Option<Val>,
}

pub(super) struct MlpWeights {
    pub(super) up: Vec<Matrix>,
    pub(super) down: Matrix,
}

pub(super) enum BlockWeights {
    Mix(MixerWeights),
    Cross(MixerWeights),
    Dense(MlpWeights),
    Sparse {
        router: Matrix,
        experts: Vec<MlpWeights>,
        shared: Option<(MlpWeights, Option<Matrix>)>,
        latent: Option<(Matrix, Matrix)>,
        extras: Option<Val>,
    },
    Chain(Vec<Matrix>),
}

pub(super) struct PartWeights {
    pub(super) block: BlockWeights,
    /// Before, after, and after the sum.
    pub(super) norms: [Option<Val>; 3],
    pub(super) beside: bool,
}

/// The blocks of one cache of a layer.
pub(super) struct CacheBlocks {
    pub(super) cache: Cache,
    /// Entries of a block.
    pub(super) block: u64,
    /// Those of each request.
    pub(super) own: Vec<Vec<Val>>,
    /// Those of the prompts' common beginning.
    pub(super) common: Vec<Val>,
    /// Those of finished requests, which others may take, and how many were made.
    pub(super) free: Vec<Val>,
    pub(super) made: usize,
}

pub(super) struct LayerWeights {
    pub(super) parts: Vec<PartWeights>,
    pub(super) extras: Option<Val>,
    pub(super) caches: Vec<CacheBlocks>,
    /// The state of each request in each part.
    pub(super) states: BTreeMap<(usize, usize), Val>,
    /// The states of finished requests, which others may take, of each part.
    pub(super) free_states: BTreeMap<usize, Vec<Val>>,
    /// Keys and values of each request's prompt, for the attention to the other stack.
    pub(super) cross_kv: Vec<Option<Val>>,
}

pub(super) struct StackWeights {
    pub(super) causal: bool,
    pub(super) layers: Vec<LayerWeights>,
    pub(super) final_norm: Option<Val>,
    /// The number of its first layer in heatmaps and routing.
    pub(super) first: u32,
}

/// Adds stored matrices to a plan.
pub(super) struct Store<'a> {
    pub(super) planner: &'a mut Planner,
    pub(super) model: &'a Transformer,
    /// The width of all weights, where the run chooses it.
    pub(super) chosen: Option<u64>,
    pub(super) kv_bits: u64,
    pub(super) tile_bytes: u64,
    pub(super) fusion: Fusion,
}

impl Store<'_> {
    /// Bits of what is not quantised.
    pub(super) fn own(&self) -> u64 {
        self.chosen.unwrap_or(self.model.quantization.own())
    }

    pub(super) fn width(&self, name: &str, place: Place) -> Width {
        match self.chosen {
            Some(bits) => Width::plain(bits),
            None => self.model.quantization.width(name, place),
        }
    }

    pub(super) fn tensor(&mut self, name: String, rows: u64, cols: u64, layer: Option<u32>) -> Val {
        let bits = self.own();
        self.planner.stored(name, Shape::new(rows, cols, bits), layer, Kind::Weights)
    }

    /// A matrix, and its scales where it has some.
    pub(super) fn stored(
        &mut self,
        name: &str,
        (rows, cols): (u64, u64),
        layer: Option<u32>,
        width: Width,
    ) -> (Val, Option<Val>) {
        let shape = Shape::new(rows, cols, width.bits);
        let weights = self.planner.stored(name.to_owned(), shape, layer, Kind::Weights);
        let bytes = width.scale_bits(rows, cols).div_ceil(8);
        let scales = (bytes > 0)
            .then(|| self.planner.stored(format!("{name}.scales"), Shape::new(1, bytes, 8), layer, Kind::Weights));
        (weights, scales)
    }

    pub(super) fn matrix(&mut self, prefix: &str, linear: Linear, layer: Option<u32>, place: Place) -> Matrix {
        let name = format!("{prefix}{}", linear.name);
        let width = self.width(&name, place);
        self.matrix_of(name, linear, layer, width)
    }

    fn matrix_of(&mut self, name: String, linear: Linear, layer: Option<u32>, width: Width) -> Matrix {
        let bias = linear.bias.then(|| self.tensor(format!("{name}.bias"), 1, linear.outputs, layer));
        let (weights, scales) = self.stored(&name, (linear.inputs, linear.outputs), layer, width);
        Matrix { linear, weights, scales, bias }
    }

    /// Matrices over the same input as one, under their names joined; none where they are stored in different widths.
    fn joined(&mut self, prefix: &str, all: &[Linear], layer: Option<u32>, place: Place) -> Option<Matrix> {
        let (first, rest) = all.split_first()?;
        let width = self.width(&format!("{prefix}{}", first.name), place);
        let same = |other: &Linear| {
            (other.inputs, other.bias) == (first.inputs, first.bias)
                && self.width(&format!("{prefix}{}", other.name), place) == width
        };
        if rest.is_empty() || !rest.iter().all(same) {
            return None;
        }
        let names = rest.iter().map(|of| of.name.rsplit('.').next().unwrap_or(of.name));
        let name = std::iter::once(first.name).chain(names).collect::<Vec<_>>().join("+");
        let linear = Linear { outputs: all.iter().map(|of| of.outputs).sum(), ..*first };
        Some(self.matrix_of(format!("{prefix}{name}"), linear, layer, width))
    }

    pub(super) fn norm(&mut self, name: String, elements: u64, layer: Option<u32>) -> Option<Val> {
        (elements > 0).then(|| self.tensor(name, 1, elements, layer))
    }

    /// Tensors that are no matrices, as one.
    pub(super) fn extras(&mut self, prefix: &str, extras: &[Extra], layer: Option<u32>) -> Option<Val> {
        let (name, _) = extras.first()?;
        let elements = extras.iter().map(|(_, elements)| elements).sum();
        self.norm(format!("{prefix}{name}"), elements, layer)
    }

    /// Queries, keys and values by one matrix, where three make them and nothing else is made of these.
    fn packed(&mut self, prefix: &str, makes: &[Make], layer: Option<u32>) -> Option<MakeWeights> {
        let [q, k, v, rest @ ..] = makes else { return None };
        let roles = [q, k, v].map(|make| make.role) == [Role::Query, Role::Kept, Role::Kept];
        if !self.fusion.qkv || !roles || makes.iter().any(|make| make.from.is_some()) {
            return None;
        }
        if rest.iter().any(|make| matches!(make.role, Role::Query | Role::Kept)) {
            return None;
        }
        let matrix = self.joined(prefix, &[q.linear, k.linear, v.linear], layer, Place::Layer)?;
        let norm = self.norm(format!("{prefix}self_attn.qk_norm"), q.norm + k.norm + v.norm, layer);
        Some(MakeWeights { matrix, norm, from: None, role: Role::Packed })
    }

    fn mixer(&mut self, prefix: &str, mixer: &Mixer, layer: u32, cross: bool) -> MixerWeights {
        let layer = Some(layer);
        let mut makes = Vec::new();
        let packed = if cross { None } else { self.packed(prefix, &mixer.makes, layer) };
        let single = if packed.is_some() { 3 } else { 0 };
        makes.extend(packed);
        for Make { linear, from, norm, role } in &mixer.makes[single..] {
            let place = if linear.name.ends_with("conv1d") { Place::Kept } else { Place::Layer };
            let matrix = self.matrix(prefix, *linear, layer, place);
            let name = match role {
                Role::Query => format!("{prefix}self_attn.q_norm"),
                Role::Kept => format!("{prefix}self_attn.k_norm"),
                _ => format!("{prefix}{}.norm", linear.name),
            };
            makes.push(MakeWeights { matrix, norm: self.norm(name, *norm, layer), from: *from, role: *role });
        }
        MixerWeights {
            makes,
            outs: mixer.outs.iter().map(|linear| self.matrix(prefix, *linear, layer, Place::Layer)).collect(),
            mixing: mixer.mixing,
            extras: self.extras(prefix, &mixer.extras, layer),
            positions: self.norm(format!("{prefix}relative_attention_bias"), mixer.positions, layer),
        }
    }

    fn mlp(&mut self, prefix: &str, mlp: &MlpShape, layer: u32) -> MlpWeights {
        let ups: Vec<Linear> = mlp.ups().collect();
        let fused = self.fusion.gate_up.then(|| self.joined(prefix, &ups, Some(layer), Place::Layer)).flatten();
        let up = match fused {
            Some(one) => vec![one],
            None => ups.into_iter().map(|linear| self.matrix(prefix, linear, Some(layer), Place::Layer)).collect(),
        };
        MlpWeights { up, down: self.matrix(prefix, mlp.down, Some(layer), Place::Layer) }
    }

    /// The experts of a layer: all are as wide as the first.
    fn experts(&mut self, prefix: &str, mlp: &MlpShape, count: u64, layer: u32) -> Vec<MlpWeights> {
        let of = |store: &Self, linear: Linear| {
            (linear, store.width(&format!("{prefix}mlp.experts.0.{}", linear.name), Place::Expert))
        };
        let mut up: Vec<(Linear, Width)> = mlp.ups().map(|linear| of(self, linear)).collect();
        if let (true, [(gate, width), (up_of, other)]) = (self.fusion.gate_up, &up[..])
            && width == other
        {
            let both = Linear { name: "gate_up_proj", outputs: gate.outputs + up_of.outputs, ..*gate };
            up = vec![(both, *width)];
        }
        let down = of(self, mlp.down);
        let mut expert = |number: u64| {
            let mut stored = |(linear, width): &(Linear, Width)| {
                let name = format!("{prefix}mlp.experts.{number}.{}", linear.name);
                self.matrix_of(name, *linear, Some(layer), *width)
            };
            MlpWeights { up: up.iter().map(&mut stored).collect(), down: stored(&down) }
        };
        (0..count).map(&mut expert).collect()
    }

    fn block(&mut self, prefix: &str, block: &Block, layer: u32) -> BlockWeights {
        let number = Some(layer);
        match block {
            Block::Mix(mixer) => BlockWeights::Mix(self.mixer(prefix, mixer, layer, false)),
            Block::Cross(mixer) => BlockWeights::Cross(self.mixer(prefix, mixer, layer, true)),
            Block::Dense(mlp) => BlockWeights::Dense(self.mlp(prefix, mlp, layer)),
            Block::Chain(chain) => BlockWeights::Chain(
                chain.iter().map(|linear| self.matrix(prefix, *linear, number, Place::Layer)).collect(),
            ),
            Block::Sparse(mixture) => BlockWeights::Sparse {
                router: self.matrix(prefix, mixture.router, number, Place::Kept),
                experts: self.experts(prefix, &mixture.expert, mixture.experts, layer),
                shared: mixture.shared.map(|(mlp, gate)| {
                    let mlp = self.mlp(prefix, &mlp, layer);
                    (mlp, gate.map(|gate| self.matrix(prefix, gate, number, Place::Kept)))
                }),
                latent: mixture.latent.map(|(into, out)| {
                    let into = self.matrix(prefix, into, number, Place::Layer);
                    (into, self.matrix(prefix, out, number, Place::Layer))
                }),
                extras: self.extras(prefix, &mixture.extras, number),
            },
        }
    }

    pub(super) fn layer(&mut self, stack: &Stack, of_stack: usize, layer: &Layer, number: u32) -> LayerWeights {
        let prefix = format!("{}.{of_stack}.", stack.prefix);
        let mut norms = 0;
        let mut parts = Vec::new();
        for part in &layer.parts {
            let block = self.block(&prefix, &part.block, number);
            let named = part.norms.map(|elements| {
                let norm = self.norm(format!("{prefix}norm{norms}"), elements, Some(number));
                norms += usize::from(norm.is_some());
                norm
            });
            parts.push(PartWeights { block, norms: named, beside: part.beside });
        }
        let caches = layer.attentions().flat_map(|heads| heads.caches()).map(|cache| CacheBlocks {
            block: (self.tile_bytes.saturating_mul(8) / (cache.width * self.kv_bits).max(1)).max(1),
            cache,
            own: Vec::new(),
            common: Vec::new(),
            free: Vec::new(),
            made: 0,
        });
        let caches = caches.collect();
        let extras = self.extras(&prefix, &layer.extras, Some(number));
        LayerWeights {
            parts,
            extras,
            caches,
            states: BTreeMap::new(),
            free_states: BTreeMap::new(),
            cross_kv: Vec::new(),
        }
    }
}
