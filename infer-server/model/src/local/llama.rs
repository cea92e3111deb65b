//! The forward pass: weights that are shared, keys and values that are the caller's, several items in one pass.
//!
//! Items lie behind one another in a pass and do not see each other: each sees the past and itself, at positions that
//! go on from the past. Shapes: T tokens of the pass, P of the past, S = P + T.

use candle_core::quantized::QMatMul;
use candle_core::{Device, Module as _, Result, Tensor};
use candle_nn::ops::{rms_norm, softmax_last_dim};
use candle_nn::rotary_emb::rope_i;

use super::gguf::{Gguf, LlamaConfig};
use super::lora::{Adapter, Delta};
pub use super::projection::Projection;
use crate::error::ModelError;

struct Layer {
    attention_norm: Tensor,
    mlp_norm: Tensor,
    projections: [QMatMul; 7],
}

/// A model's weights.
pub(super) struct Llama {
    pub(super) config: LlamaConfig,
    device: Device,
    embedding: QMatMul,
    layers: Vec<Layer>,
    norm: Tensor,
    head: QMatMul,
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
struct Pass {
    tokens: Vec<u32>,
    positions: Vec<usize>,
    /// The item of each token.
    items: Vec<usize>,
    past: usize,
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

/// `x W^T`, and what the adapter adds to it.
fn project(weight: &QMatMul, delta: Option<&Delta>, x: &Tensor) -> Result<Tensor> {
    let y = weight.forward(x)?;
    match delta {
        Some(delta) => y + delta.forward(x)?,
        None => Ok(y),
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

    /// The past with `tokens` behind it.
    pub(super) fn extend(&self, past: &Past, tokens: &[u32], adapter: Option<&Adapter>) -> Result<Past> {
        let pass = Pass::new([tokens], past.tokens);
        let (_, layers) = self.run(&pass, past, adapter, None)?;
        Ok(Past { layers, tokens: past.tokens + tokens.len() })
    }

    /// The logits of what follows each item behind the past: `[items, vocabulary]`.
    pub(super) fn logits(&self, past: &Past, items: &[&[u32]], adapter: Option<&Adapter>) -> Result<Tensor> {
        let pass = Pass::new(items.iter().copied(), past.tokens);
        let (last, _) = self.run(&pass, past, adapter, Some(&pass.ends()))?;
        let last = rms_norm(&last, &self.norm, self.config.norm_epsilon)?;
        self.head.forward(&last)
    }

    /// Through all layers: what the last one leaves for `rows`, or all keys and values where none are asked for. Of
    /// the last layer only the keys and values of all tokens are needed, and the rest for the rows alone.
    fn run(
        &self,
        pass: &Pass,
        past: &Past,
        adapter: Option<&Adapter>,
        rows: Option<&[usize]>,
    ) -> Result<(Tensor, Vec<(Tensor, Tensor)>)> {
        let all: Vec<usize> = (0..pass.tokens.len()).collect();
        let (cos, sin) = self.rotation(pass, &all)?;
        let mask = pass.mask(&all, self.config.window, &self.device)?;
        let mut x = self.embedding.embedding(&Tensor::new(&pass.tokens[..], &self.device)?)?;
        let mut kept = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let is_last = i + 1 == self.layers.len();
            let deltas = |it: Projection| adapter.and_then(|adapter| adapter.delta(i, it));
            let apply = |it: Projection, x: &Tensor| project(&layer.projections[it as usize], deltas(it), x);
            let mut h = rms_norm(&x, &layer.attention_norm, self.config.norm_epsilon)?;
            let k = self.rotate(&apply(Projection::K, &h)?, self.config.kv_heads, &cos, &sin)?;
            let v = self.by_head(&apply(Projection::V, &h)?, self.config.kv_heads)?;
            let (k, v) = past.with(i, k, v)?;
            if rows.is_none() {
                kept.push((k.clone(), v.clone()));
                if is_last {
                    break;
                }
            }
            let attended = match rows.filter(|_| is_last) {
                None => {
                    let q = self.rotate(&apply(Projection::Q, &h)?, self.config.heads, &cos, &sin)?;
                    self.attend(&q, &k, &v, &mask)?
                }
                Some(rows) => {
                    let chosen: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
                    let chosen = Tensor::new(chosen, &self.device)?;
                    (x, h) = (x.index_select(&chosen, 0)?, h.index_select(&chosen, 0)?);
                    let (cos, sin) = self.rotation(pass, rows)?;
                    let q = self.rotate(&apply(Projection::Q, &h)?, self.config.heads, &cos, &sin)?;
                    self.attend(&q, &k, &v, &pass.mask(rows, self.config.window, &self.device)?)?
                }
            };
            x = (x + apply(Projection::O, &attended)?)?;
            let h = rms_norm(&x, &layer.mlp_norm, self.config.norm_epsilon)?;
            let gated = (apply(Projection::Gate, &h)?.silu()? * apply(Projection::Up, &h)?)?;
            x = (x + apply(Projection::Down, &gated)?)?;
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

    /// `[T, heads x head_dim]` to `[heads, T, head_dim]`.
    fn by_head(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        x.reshape((x.dim(0)?, heads, self.config.head_dim))?.transpose(0, 1)?.contiguous()
    }

    /// By head, turned by position. GGUF files have the two numbers of a pair beside each other.
    fn rotate(&self, x: &Tensor, heads: usize, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
        rope_i(&self.by_head(x, heads)?.unsqueeze(0)?, cos, sin)?.squeeze(0)
    }

    /// Attention: `[heads, rows, head_dim]` over `[kv_heads, S, head_dim]` gives `[rows, heads x head_dim]`. The heads
    /// of queries that share one of keys are stacked, so that keys and values are not copied for each.
    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (heads, rows, head_dim) = q.dims3()?;
        let (kv_heads, columns, _) = k.dims3()?;
        let stacked = heads / kv_heads * rows;
        let q = (q * (head_dim as f64).powf(-0.5))?.reshape((kv_heads, stacked, head_dim))?;
        let scores = q.matmul(&k.transpose(1, 2)?)?.reshape((heads, rows, columns))?;
        let weights = softmax_last_dim(&scores.broadcast_add(mask)?)?;
        let seen = weights.reshape((kv_heads, stacked, columns))?.matmul(v)?;
        seen.reshape((heads, rows, head_dim))?.transpose(0, 1)?.contiguous()?.reshape((rows, heads * head_dim))
    }
}
