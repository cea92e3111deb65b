//! The steps of a layer so that gradients flow back to the adapter: the prefix and all items in one pass.
//!
//! Items are padded to one length, so that attention is a product of blocks: each item over the prefix, which all share,
//! and over itself. Shapes: P tokens of the prefix, n items of L tokens, K heads of keys, G heads of queries for each.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::{rms_norm, softmax_last_dim};
use rayon::prelude::*;

use super::graph::{known, known_of_three};
use super::variables::Variables;
use crate::local::llama::{Compute, Llama, Pass, scaled, turn};
use crate::local::lora::Delta;
use crate::local::matrix::Matrix;
use crate::local::projection::Projection;

/// The prefix and the items of a pass.
pub(super) struct Blocks {
    pub(super) prefix: usize,
    pub(super) items: usize,
    /// Tokens of the longest item, and of each with what pads it.
    pub(super) length: usize,
    pub(super) pass: Pass,
    /// The last token of each item.
    pub(super) ends: Vec<usize>,
}

impl Blocks {
    pub(super) fn new(prefix: &[u32], items: &[Vec<u32>]) -> Self {
        let length = items.iter().map(Vec::len).max().unwrap_or(0);
        let (p, mut tokens, mut ends) = (prefix.len(), prefix.to_vec(), Vec::new());
        for item in items {
            ends.push(tokens.len() + item.len() - 1);
            tokens.extend(item);
            tokens.resize(p + ends.len() * length, 0);
        }
        let positions = (0..p).chain(items.iter().flat_map(|_| p..p + length)).collect();
        // Nobody asks for items and parts: attention is by blocks.
        let pass = Pass { tokens, positions, items: Vec::new(), parts: Vec::new() };
        Self { prefix: p, items: items.len(), length, pass, ends }
    }
}

/// What is left out by chance, as PEFT does: of what goes into each A.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropout {
    pub(super) share: f64,
    pub(super) seed: u64,
}

impl Dropout {
    /// For one matrix.
    fn of(self, layer: usize, projection: Projection) -> Self {
        Self { seed: mixed(mixed(self.seed) ^ (layer * 7 + projection as usize) as u64), ..self }
    }

    /// `x` with a share of its numbers left out and the others larger.
    fn thin(self, x: &Tensor) -> Result<Tensor> {
        let (rows, columns) = x.dims2()?;
        let (most, larger) = ((self.share * 65_536.0) as u64, (1.0 / (1.0 - self.share)) as f32);
        let mut kept = vec![0f32; rows * columns];
        kept.par_chunks_mut(columns).enumerate().for_each(|(row, kept)| {
            let seed = mixed(self.seed ^ row as u64);
            for (part, kept) in kept.chunks_mut(4).enumerate() {
                let mut chance = mixed(seed.wrapping_add(part as u64));
                for kept in kept {
                    *kept = if chance & 0xFFFF < most { 0.0 } else { larger };
                    chance >>= 16;
                }
            }
        });
        x * Tensor::from_vec(kept, (rows, columns), x.device())?
    }
}

/// A step of SplitMix64 (Steele, Lea and Flood, 2014).
fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// For gradients.
pub(super) struct Learning<'a> {
    pub(super) llama: &'a Llama,
    pub(super) frozen: &'a Frozen,
    pub(super) variables: &'a Variables,
    pub(super) blocks: &'a Blocks,
    pub(super) dropout: Option<Dropout>,
}

/// Added to the scores: of the prefix over itself where it asks, of each item's rows over the prefix and itself.
pub(super) struct Sight {
    prefix: Option<Tensor>,
    /// `[n or 1, 1, rows, P + L]`
    items: Tensor,
}

/// The most numbers of a model that are kept unpacked: 4 GiB of f32.
const KEPT: u64 = 1 << 30;

/// The matrices that do not change, as numbers: kept of a small model, unpacked when needed of a large one.
pub(super) struct Frozen(Vec<Stored>);

/// `[outputs, inputs]`
#[derive(Clone)]
enum Stored {
    Kept(Tensor),
    Packed(Matrix),
}

impl Stored {
    fn numbers(&self, device: &Device) -> Result<Tensor> {
        match self {
            Self::Kept(numbers) => Ok(numbers.clone()),
            Self::Packed(weight) => weight.numbers(device),
        }
    }
}

impl Frozen {
    pub(super) fn new(llama: &Llama, parameters: u64) -> Result<Self> {
        let all = llama.layers.iter().flat_map(|layer| &layer.projections).map(|weight| match parameters {
            0..KEPT => Ok(Stored::Kept(weight.numbers(llama.device())?)),
            _ => Ok(Stored::Packed(weight.clone())),
        });
        all.collect::<Result<_>>().map(Self)
    }

    fn of(&self, layer: usize, projection: Projection) -> Stored {
        self.0[layer * Projection::ALL.len() + projection as usize].clone()
    }
}

/// Softmax of scores with a mask added.
fn softmax(scores: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let weights = softmax_last_dim(&scores.detach().broadcast_add(mask)?)?;
    known(scores, weights, |_, weights, gradient| {
        let part = (weights * gradient)?;
        let sum = part.sum_keepdim(D::Minus1)?;
        part - weights.broadcast_mul(&sum)?
    })
}

impl Learning<'_> {
    /// 0 where a token at a position sees a column, else minus infinity: `[rows, columns]`.
    fn causal(&self, positions: &[usize], columns: usize) -> Result<Tensor> {
        let window = self.llama.config.window.unwrap_or(usize::MAX);
        let sees = |row: usize, column: usize| column <= row && row - column < window;
        let mask = positions
            .iter()
            .flat_map(|row| (0..columns).map(|column| if sees(*row, column) { 0.0 } else { f32::NEG_INFINITY }));
        Tensor::from_vec(mask.collect(), (positions.len(), columns), self.llama.device())
    }
}

impl Compute for Learning<'_> {
    type Sight = Sight;

    fn sight(&self, pass: &Pass, rows: &[usize]) -> Result<Sight> {
        let Blocks { prefix, items, length, .. } = *self.blocks;
        let columns = prefix + length;
        if rows.len() == pass.tokens.len() {
            let positions: Vec<usize> = (0..columns).collect();
            let own = self.causal(&positions[prefix..], columns)?.reshape((1, 1, length, columns))?;
            return Ok(Sight { prefix: Some(self.causal(&positions[..prefix], prefix)?), items: own });
        }
        let positions: Vec<usize> = rows.iter().map(|row| pass.positions[*row]).collect();
        Ok(Sight { prefix: None, items: self.causal(&positions, columns)?.reshape((items, 1, 1, columns))? })
    }

    fn project(&self, layer: usize, projection: Projection, x: &Tensor) -> Result<Tensor> {
        let weight = self.frozen.of(layer, projection);
        let (down, up) = self.variables.pair(layer, projection);
        let scale = self.variables.scale;
        let dropout = self.dropout.map(|dropout| dropout.of(layer, projection));
        let thin = move |x: &Tensor| dropout.map_or_else(|| Ok(x.clone()), |dropout| dropout.thin(x));
        let now = x.detach();
        let delta = Delta { down: down.detach(), up: (up.detach() * scale)? };
        let y = (now.matmul(&weight.numbers(x.device())?.t()?)? + delta.forward(&thin(&now)?)?)?;
        let y = known_of_three([x, down, up], y, move |[x, down, up], gradient| {
            let x = thin(x)?;
            let inner = (gradient.matmul(&up.t()?)? * scale)?;
            let of_up = (x.matmul(down)?.t()?.matmul(gradient)? * scale)?;
            let of_down = x.t()?.matmul(&inner)?;
            let through = inner.matmul(&down.t()?)?;
            let through = dropout.map_or_else(|| Ok(through.clone()), |dropout| dropout.thin(&through))?;
            let of_x = (gradient.matmul(&weight.numbers(gradient.device())?)? + through)?;
            Ok([of_x, of_down, of_up])
        })?;
        match self.llama.layers[layer].bias(projection) {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }

    fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let epsilon = self.llama.config.norm_epsilon;
        let (y, weight) = (rms_norm(&x.detach(), weight, epsilon)?, weight.clone());
        known(x, y, move |x, _, gradient| {
            let square = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(epsilon))?;
            let gradient = gradient.broadcast_mul(&weight)?;
            let along = ((&gradient * x)?.mean_keepdim(D::Minus1)? / &square)?;
            (gradient - x.broadcast_mul(&along)?)?.broadcast_div(&square.sqrt()?)
        })
    }

    fn rope(&self, x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
        let neighbours = self.llama.config.architecture.neighbours;
        let y = turn(&x.detach(), cos, sin, neighbours)?;
        let (cos, back) = (cos.clone(), sin.neg()?);
        known(x, y, move |_, _, gradient| turn(&gradient.contiguous()?, &cos, &back, neighbours))
    }

    fn attend(&self, _layer: usize, q: &Tensor, k: &Tensor, v: &Tensor, sight: &Sight) -> Result<Tensor> {
        let (heads, rows, size) = q.dims3()?;
        let kv = k.dim(0)?;
        let Blocks { prefix, items, length, .. } = *self.blocks;
        let group = heads / kv;
        let asking = sight.prefix.as_ref().map_or(0, |_| prefix);
        let each = (rows - asking) / items;
        let q = (q * self.llama.config.scales.attention)?;
        let part = |x: &Tensor, from, count| x.narrow(1, from, count)?.contiguous();
        let (shared_k, shared_v) = (part(k, 0, prefix)?, part(v, 0, prefix)?);
        let own = |x| part(x, prefix, items * length)?.reshape((kv * items, length, size));
        let (own_k, own_v) = (own(k)?, own(v)?);
        let of_items = part(&q, asking, items * each)?.reshape((kv, group, items, each, size))?;
        let of_items = of_items.transpose(1, 2)?.contiguous()?;
        let far = of_items.reshape((kv, items * group * each, size))?.matmul(&shared_k.t()?)?;
        let near = of_items.reshape((kv * items, group * each, size))?.matmul(&own_k.t()?)?;
        let scores = Tensor::cat(&[far.reshape((kv * items, group * each, prefix))?, near], 2)?;
        let weights = softmax(&scores.reshape((kv, items, group, each, prefix + length))?, &sight.items)?;
        let weights = weights.reshape((kv * items, group * each, prefix + length))?;
        let far = weights.narrow(2, 0, prefix)?.contiguous()?.reshape((kv, items * group * each, prefix))?;
        let far = far.matmul(&shared_v)?.reshape((kv * items, group * each, size))?;
        let near = weights.narrow(2, prefix, length)?.contiguous()?.matmul(&own_v)?;
        let seen = (far + near)?.reshape((kv, items, group, each, size))?.transpose(1, 2)?.contiguous()?;
        let seen = seen.reshape((heads, items * each, size))?;
        let Some(mask) = &sight.prefix else { return Ok(seen) };
        let of_prefix = part(&q, 0, prefix)?.reshape((kv, group * prefix, size))?;
        let scores = of_prefix.matmul(&shared_k.t()?)?.reshape((heads, prefix, prefix))?;
        let weights = softmax(&scores, mask)?.reshape((kv, group * prefix, prefix))?;
        Tensor::cat(&[weights.matmul(&shared_v)?.reshape((heads, prefix, size))?, seen], 1)
    }

    fn add(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        x + scaled(y.clone(), self.llama.config.scales.residual)?
    }

    fn gated(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        (if self.llama.config.architecture.gelu { gate.gelu()? } else { gate.silu()? }) * up
    }

    fn head(&self, x: &Tensor) -> Result<Tensor> {
        let head = self.llama.head.clone();
        let logits = head.forward(&x.detach())?;
        known(x, logits, move |_, _, gradient| gradient.matmul(&head.numbers(gradient.device())?))
    }
}
