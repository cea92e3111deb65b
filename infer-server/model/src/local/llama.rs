//! The forward pass: weights that are shared, keys and values that are the caller's, several items in one pass.
//!
//! Items lie behind one another in a pass and do not see each other: each sees the past and itself, at positions that
//! go on from the past. Shapes: T tokens of the pass, P of the past, S = P + T. The order of a layer is written once;
//! `Compute` says how its steps are done: for answers here, for gradients in `learn`.

use candle_core::quantized::QMatMul;
use candle_core::{Device, Module as _, Result, Tensor};
use candle_nn::ops::{rms_norm, softmax_last_dim};
use candle_nn::rotary_emb::rope_i;

use super::gguf::{Gguf, LlamaConfig};
use super::lora::Adapter;
pub use super::projection::Projection;
use crate::error::ModelError;

pub(super) struct Layer {
    attention_norm: Tensor,
    mlp_norm: Tensor,
    pub(super) projections: [QMatMul; 7],
}

/// A model's weights.
pub(super) struct Llama {
    pub(super) config: LlamaConfig,
    device: Device,
    embedding: QMatMul,
    pub(super) layers: Vec<Layer>,
    norm: Tensor,
    pub(super) head: QMatMul,
    /// Radians a position turns each pair of a head's numbers.
    frequencies: Vec<f32>,
}

/// Keys (after the rotary embedding) and values of tokens, `[kv_heads, tokens, head_dim]` a layer. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Past {
    layers: Vec<(Tensor, Tensor)>,
    pub(super) tokens: usize,
}

impl Past {
    /// Its first tokens, without a copy.
    pub(super) fn truncated(&self, tokens: usize) -> Result<Self> {
        if tokens == 0 {
            return Ok(Self::default());
        }
        let cut = |(k, v): &(Tensor, Tensor)| Ok((k.narrow(1, 0, tokens)?, v.narrow(1, 0, tokens)?));
        Ok(Self { layers: self.layers.iter().map(cut).collect::<Result<_>>()?, tokens })
    }

    /// A layer's keys and values with those of the pass behind them.
    fn with(&self, layer: usize, k: Tensor, v: Tensor) -> Result<(Tensor, Tensor)> {
        match self.layers.get(layer) {
            Some((past_k, past_v)) => Ok((Tensor::cat(&[past_k, &k], 1)?, Tensor::cat(&[past_v, &v], 1)?)),
            None => Ok((k, v)),
        }
    }
}

/// What each token of a pass is and sees.
pub(super) struct Pass {
    pub(super) tokens: Vec<u32>,
    pub(super) positions: Vec<usize>,
    /// The item of each token.
    pub(super) items: Vec<usize>,
    pub(super) past: usize,
}

impl Pass {
    fn new<'i>(items: impl IntoIterator<Item = &'i [u32]>, past: usize) -> Self {
        let mut pass = Self { tokens: Vec::new(), positions: Vec::new(), items: Vec::new(), past };
        for (item, tokens) in items.into_iter().enumerate() {
            pass.tokens.extend(tokens);
            pass.positions.extend(past..past + tokens.len());
            pass.items.extend(std::iter::repeat_n(item, tokens.len()));
        }
        pass
    }

    /// The last token of each item.
    fn ends(&self) -> Vec<usize> {
        let last = self.items.len().saturating_sub(1);
        (0..self.items.len()).filter(|at| *at == last || self.items[*at] != self.items[*at + 1]).collect()
    }

    /// Added to the attention's scores: 0 where the row's token sees the column's, else minus infinity. `[rows, S]`
    fn mask(&self, rows: &[usize], window: Option<usize>, device: &Device) -> Result<Tensor> {
        let columns = self.past + self.tokens.len();
        let mut mask = vec![f32::NEG_INFINITY; rows.len() * columns];
        for (mask, &row) in mask.chunks_exact_mut(columns).zip(rows) {
            let position = self.positions[row];
            let nearest = position.saturating_sub(window.map_or(position, |window| window - 1));
            mask[nearest.min(self.past)..self.past].fill(0.0);
            let item = self.items[row];
            for (column, mask) in mask[self.past..].iter_mut().enumerate().take(row + 1) {
                if self.items[column] == item && self.positions[column] >= nearest {
                    *mask = 0.0;
                }
            }
        }
        Tensor::from_vec(mask, (rows.len(), columns), device)
    }
}

/// The steps of a layer that are done in one way for answers and in another for gradients.
pub(super) trait Compute {
    /// What the rows of a pass see.
    type Sight;
    /// What `rows` of a pass see.
    fn sight(&self, pass: &Pass, rows: &[usize]) -> Result<Self::Sight>;
    /// `x W^T` and what the adapter adds to it: `[T, inputs]` to `[T, outputs]`.
    fn project(&self, layer: usize, projection: Projection, x: &Tensor) -> Result<Tensor>;
    /// RMS norm of rows.
    fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor>;
    /// Rotary positions: `[1, heads, T, head_dim]`.
    fn rope(&self, x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor>;
    /// Attention: `[heads, rows, head_dim]` over `[kv_heads, S, head_dim]` gives the shape of the first.
    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, sight: &Self::Sight) -> Result<Tensor>;
    /// Logits of rows.
    fn head(&self, x: &Tensor) -> Result<Tensor>;
}

/// For answers: candle's fast kernels.
struct Fast<'a> {
    llama: &'a Llama,
    adapter: Option<&'a Adapter>,
}

impl Compute for Fast<'_> {
    type Sight = Tensor;

    fn sight(&self, pass: &Pass, rows: &[usize]) -> Result<Tensor> {
        pass.mask(rows, self.llama.config.window, &self.llama.device)
    }

    fn project(&self, layer: usize, projection: Projection, x: &Tensor) -> Result<Tensor> {
        let y = self.llama.layers[layer].projections[projection as usize].forward(x)?;
        match self.adapter.and_then(|adapter| adapter.delta(layer, projection)) {
            Some(delta) => y + delta.forward(x)?,
            None => Ok(y),
        }
    }

    fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        rms_norm(x, weight, self.llama.config.norm_epsilon)
    }

    fn rope(&self, x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
        rope_i(x, cos, sin)
    }

    /// The heads of queries that share one of keys are stacked, so that keys and values are not copied for each.
    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (heads, rows, head_dim) = q.dims3()?;
        let (kv_heads, columns, _) = k.dims3()?;
        let stacked = heads / kv_heads * rows;
        let q = (q * (head_dim as f64).powf(-0.5))?.reshape((kv_heads, stacked, head_dim))?;
        let scores = q.matmul(&k.transpose(1, 2)?)?.reshape((heads, rows, columns))?;
        let weights = softmax_last_dim(&scores.broadcast_add(mask)?)?;
        weights.reshape((kv_heads, stacked, columns))?.matmul(v)?.reshape((heads, rows, head_dim))
    }

    fn head(&self, x: &Tensor) -> Result<Tensor> {
        self.llama.head.forward(x)
    }
}

impl Llama {
    pub(super) fn load(gguf: &Gguf, device: &Device) -> std::result::Result<Self, ModelError> {
        let config = gguf.config()?;
        let matrix = |name: &str, shape| gguf.matrix(name, shape, device);
        let vector = |name: &str, length| gguf.vector(name, length, device);
        let mut known = 2;
        let mut layers = Vec::with_capacity(config.layers);
        for i in 0..config.layers {
            let [q, k, v, o, gate, up, down] =
                Projection::ALL.map(|it| matrix(&format!("blk.{i}.{}.weight", it.weight()), it.shape(&config)));
            layers.push(Layer {
                attention_norm: vector(&format!("blk.{i}.attn_norm.weight"), config.hidden)?,
                mlp_norm: vector(&format!("blk.{i}.ffn_norm.weight"), config.hidden)?,
                projections: [q?, k?, v?, o?, gate?, up?, down?],
            });
            known += 9;
        }
        let shape = [config.vocabulary, config.hidden];
        let embedding = matrix("token_embd.weight", shape)?;
        let head = match gguf.has("output.weight") {
            true => {
                known += 1;
                matrix("output.weight", shape)?
            }
            false => embedding.clone(),
        };
        let pairs = config.head_dim / 2;
        let factors = match gguf.has("rope_freqs.weight") {
            true => {
                known += 1;
                gguf.vector("rope_freqs.weight", pairs, &Device::Cpu)?.to_vec1::<f32>()?
            }
            false => vec![1.0; pairs],
        };
        let all = gguf.content.tensor_infos.len();
        if all != known {
            let problem = format!("it has {all} weights and {known} are known, so that it computes something else");
            let cure = "Take a model without biases or other additions, such as Mistral-7B-Instruct-v0.2".into();
            return Err(ModelError::Unsupported { path: gguf.name(), problem, cure });
        }
        let frequency = |(i, factor): (usize, f32)| {
            let wavelength = config.rope_base.powf((2 * i) as f32 / config.head_dim as f32);
            1.0 / wavelength / factor / config.rope_divisor
        };
        let frequencies = factors.into_iter().enumerate().map(frequency).collect();
        let norm = vector("output_norm.weight", config.hidden)?;
        Ok(Self { config, device: device.clone(), embedding, layers, norm, head, frequencies })
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// The past with `tokens` behind it.
    pub(super) fn extend(&self, past: &Past, tokens: &[u32], adapter: Option<&Adapter>) -> Result<Past> {
        let pass = Pass::new([tokens], past.tokens);
        let (_, layers) = self.run(&Fast { llama: self, adapter }, &pass, past, None)?;
        Ok(Past { layers, tokens: past.tokens + tokens.len() })
    }

    /// The logits of what follows each item behind the past: `[items, vocabulary]`.
    pub(super) fn logits(&self, past: &Past, items: &[&[u32]], adapter: Option<&Adapter>) -> Result<Tensor> {
        let pass = Pass::new(items.iter().copied(), past.tokens);
        self.logits_by(&Fast { llama: self, adapter }, &pass, past, &pass.ends())
    }

    /// The logits of what follows `rows` of a pass: `[rows, vocabulary]`.
    pub(super) fn logits_by(&self, by: &impl Compute, pass: &Pass, past: &Past, rows: &[usize]) -> Result<Tensor> {
        let (last, _) = self.run(by, pass, past, Some(rows))?;
        by.head(&by.norm(&last, &self.norm)?)
    }

    /// Through all layers: what the last one leaves for `rows`, or all keys and values where none are asked for. Of
    /// the last layer only the keys and values of all tokens are needed, and the rest for the rows alone.
    fn run<C: Compute>(
        &self,
        by: &C,
        pass: &Pass,
        past: &Past,
        rows: Option<&[usize]>,
    ) -> Result<(Tensor, Vec<(Tensor, Tensor)>)> {
        let all: Vec<usize> = (0..pass.tokens.len()).collect();
        let (cos, sin) = self.rotation(pass, &all)?;
        let sight = by.sight(pass, &all)?;
        let mut x = self.embedding.embedding(&Tensor::new(&pass.tokens[..], &self.device)?)?;
        let mut kept = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let is_last = i + 1 == self.layers.len();
            let turned = |it: Projection, x: &Tensor, heads, cos: &Tensor, sin: &Tensor| {
                let x = self.by_head(&by.project(i, it, x)?, heads)?;
                by.rope(&x.unsqueeze(0)?, cos, sin)?.squeeze(0)
            };
            let mut h = by.norm(&x, &layer.attention_norm)?;
            let k = turned(Projection::K, &h, self.config.kv_heads, &cos, &sin)?;
            let v = self.by_head(&by.project(i, Projection::V, &h)?, self.config.kv_heads)?;
            let (k, v) = past.with(i, k, v)?;
            if rows.is_none() {
                kept.push((k.clone(), v.clone()));
                if is_last {
                    break;
                }
            }
            let attended = match rows.filter(|_| is_last) {
                None => by.attend(&turned(Projection::Q, &h, self.config.heads, &cos, &sin)?, &k, &v, &sight)?,
                Some(rows) => {
                    let chosen: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
                    let chosen = Tensor::new(chosen, &self.device)?;
                    (x, h) = (x.index_select(&chosen, 0)?, h.index_select(&chosen, 0)?);
                    let (cos, sin) = self.rotation(pass, rows)?;
                    let q = turned(Projection::Q, &h, self.config.heads, &cos, &sin)?;
                    by.attend(&q, &k, &v, &by.sight(pass, rows)?)?
                }
            };
            let (heads, rows, head_dim) = attended.dims3()?;
            let attended = attended.transpose(0, 1)?.contiguous()?.reshape((rows, heads * head_dim))?;
            x = (x + by.project(i, Projection::O, &attended)?)?;
            let h = by.norm(&x, &layer.mlp_norm)?;
            let gated = (by.project(i, Projection::Gate, &h)?.silu()? * by.project(i, Projection::Up, &h)?)?;
            x = (x + by.project(i, Projection::Down, &gated)?)?;
        }
        Ok((x, kept))
    }

    /// Cosine and sine of the rows' positions: `[rows, head_dim / 2]` each.
    fn rotation(&self, pass: &Pass, rows: &[usize]) -> Result<(Tensor, Tensor)> {
        let angles = rows.iter().flat_map(|row| self.frequencies.iter().map(|f| pass.positions[*row] as f32 * f));
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.map(|angle| (angle.cos(), angle.sin())).unzip();
        let shape = (rows.len(), self.frequencies.len());
        Ok((Tensor::from_vec(cos, shape, &self.device)?, Tensor::from_vec(sin, shape, &self.device)?))
    }

    /// `[T, heads x head_dim]` to `[heads, T, head_dim]`. GGUF files have the two numbers of a pair that is turned by
    /// position beside each other.
    fn by_head(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        x.reshape((x.dim(0)?, heads, self.config.head_dim))?.transpose(0, 1)?.contiguous()
    }
}
