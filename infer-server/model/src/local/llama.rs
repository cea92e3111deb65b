//! The forward pass: weights that are shared, keys and values that are the caller's, several items in one pass.
//!
//! Items lie behind one another in a pass and do not see each other: each sees its past and itself, at positions that
//! go on from the past. Those of one past are a part of the pass; weights are read once for all parts. Shapes: T tokens of
//! the pass, P of a part's past, S = P + the part's tokens. The order of a layer is written once; `Compute` says how its
//! steps are done: for answers here, for gradients in `learn`.

use std::collections::BTreeSet;
use std::ops::Range;

use candle_core::{Device, Result, Tensor};
use candle_nn::ops::rms_norm;
use candle_nn::rotary_emb::{rope, rope_i};
use rayon::prelude::*;

use super::config::{FACTORS, LlamaConfig};
use super::fused::{Seen, added, attention_weights, gated};
use super::gguf::{Gguf, Rows};
use super::lora::Adapter;
use super::matrix::Matrix;
pub use super::projection::Projection;
use crate::error::ModelError;

pub(super) struct Layer {
    attention_norm: Tensor,
    mlp_norm: Tensor,
    /// Of the heads of queries and of keys, where they have norms.
    head_norms: Option<[Tensor; 2]>,
    pub(super) projections: [Matrix; 7],
    biases: [Option<Tensor>; 7],
}

impl Layer {
    /// What a projection adds whatever goes in.
    pub(super) fn bias(&self, projection: Projection) -> Option<&Tensor> {
        self.biases[projection as usize].as_ref()
    }
}

/// A model's weights.
pub(super) struct Llama {
    pub(super) config: LlamaConfig,
    device: Device,
    embedding: Matrix,
    pub(super) layers: Vec<Layer>,
    norm: Tensor,
    pub(super) head: Matrix,
    /// Radians a position turns each pair of a head's numbers.
    frequencies: Vec<f32>,
}

/// Rotary positions of heads, `[1, heads, T, turned]`: pairs of neighbours, or of numbers half of it apart.
pub(super) fn turn(x: &Tensor, cos: &Tensor, sin: &Tensor, neighbours: bool) -> Result<Tensor> {
    if neighbours { rope_i(x, cos, sin) } else { rope(x, cos, sin) }
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

    /// A layer's keys and values with those of some tokens of a pass behind them, in memory of their own.
    fn with(&self, layer: usize, k: &Tensor, v: &Tensor, tokens: &Range<usize>) -> Result<(Tensor, Tensor)> {
        let of_tokens = |x: &Tensor| x.narrow(1, tokens.start, tokens.len());
        let (k, v) = (of_tokens(k)?, of_tokens(v)?);
        match self.layers.get(layer) {
            Some((past_k, past_v)) => Ok((Tensor::cat(&[past_k, &k], 1)?, Tensor::cat(&[past_v, &v], 1)?)),
            None => Ok((k.force_contiguous()?, v.force_contiguous()?)),
        }
    }
}

/// Items that go on from one past.
pub(super) struct Part<'i> {
    pub(super) past: &'i Past,
    pub(super) items: Vec<&'i [u32]>,
}

/// What each token of a pass is and sees.
pub(super) struct Pass {
    pub(super) tokens: Vec<u32>,
    pub(super) positions: Vec<usize>,
    /// The item of each token.
    pub(super) items: Vec<usize>,
    /// The tokens of each part, and how many its past has.
    pub(super) parts: Vec<(Range<usize>, usize)>,
}

impl Pass {
    fn new(parts: &[Part<'_>]) -> Self {
        let mut pass = Self { tokens: Vec::new(), positions: Vec::new(), items: Vec::new(), parts: Vec::new() };
        let mut item = 0;
        for part in parts {
            let (start, past) = (pass.tokens.len(), part.past.tokens);
            for tokens in &part.items {
                pass.tokens.extend(*tokens);
                pass.positions.extend(past..past + tokens.len());
                pass.items.extend(std::iter::repeat_n(item, tokens.len()));
                item += 1;
            }
            pass.parts.push((start..pass.tokens.len(), past));
        }
        pass
    }

    /// The last token of each item.
    fn ends(&self) -> Vec<usize> {
        let last = self.items.len().saturating_sub(1);
        (0..self.items.len()).filter(|at| *at == last || self.items[*at] != self.items[*at + 1]).collect()
    }

    /// What a row of a part sees, of the S tokens of its past and the part: its past, and its item up to itself.
    fn seen(&self, part: usize, row: usize, window: Option<usize>) -> Seen {
        let (tokens, past) = (&self.parts[part].0, self.parts[part].1);
        let position = self.positions[row];
        let nearest = position.saturating_sub(window.map_or(position, |window| window - 1));
        // An item's positions follow the past's one by one.
        let before = position - past.max(nearest);
        let column = past + row - tokens.start;
        [nearest.min(past)..past, column - before..column + 1]
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
    /// Attention in a layer: `[heads, rows, head_dim]` over `[kv_heads, T, head_dim]`, and what is before them, gives the
    /// shape of the first.
    fn attend(&self, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor, sight: &Self::Sight) -> Result<Tensor>;
    /// `x` and the architecture's multiple of what a block of a layer makes of it.
    fn add(&self, x: &Tensor, y: &Tensor) -> Result<Tensor>;
    /// The gate's numbers through the architecture's function, times what it opens.
    fn gated(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor>;
    /// Logits of rows.
    fn head(&self, x: &Tensor) -> Result<Tensor>;
}

/// For answers: candle's fast kernels.
struct Fast<'a> {
    llama: &'a Llama,
    adapter: Option<&'a Adapter>,
    parts: &'a [Part<'a>],
}

/// What the rows of a part see.
struct PartSight {
    /// The part's tokens in the pass.
    tokens: Range<usize>,
    /// The part's rows among those that ask.
    rows: Range<usize>,
    /// The columns that each sees.
    seen: Vec<Seen>,
}

impl Compute for Fast<'_> {
    type Sight = Vec<PartSight>;

    /// `rows` are in order.
    fn sight(&self, pass: &Pass, rows: &[usize]) -> Result<Vec<PartSight>> {
        let of_part = |(part, (tokens, _)): (usize, &(Range<usize>, usize))| {
            let before = |end: usize| rows.partition_point(|row| *row < end);
            let asking = before(tokens.start)..before(tokens.end);
            let window = self.llama.config.window;
            let seen = rows[asking.clone()].iter().map(|row| pass.seen(part, *row, window)).collect();
            PartSight { tokens: tokens.clone(), rows: asking, seen }
        };
        Ok(pass.parts.iter().enumerate().map(of_part).collect())
    }

    fn project(&self, layer: usize, projection: Projection, x: &Tensor) -> Result<Tensor> {
        let layer_of = &self.llama.layers[layer];
        let mut y = layer_of.projections[projection as usize].forward(x)?;
        if let Some(bias) = layer_of.bias(projection) {
            y = added(&y, bias, 1.0)?;
        }
        match self.adapter.and_then(|adapter| adapter.delta(layer, projection)) {
            Some(delta) => added(&y, &delta.forward(x)?, 1.0),
            None => Ok(y),
        }
    }

    fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        rms_norm(x, weight, self.llama.config.norm_epsilon)
    }

    fn rope(&self, x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
        turn(x, cos, sin, self.llama.config.architecture.neighbours)
    }

    fn attend(&self, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor, sight: &Vec<PartSight>) -> Result<Tensor> {
        let scale = self.llama.config.scales.attention;
        let of_part = |(part, sight): (&Part<'_>, &PartSight)| {
            let (k, v) = part.past.with(layer, k, v, &sight.tokens)?;
            attend_part(&q.narrow(1, sight.rows.start, sight.rows.len())?, &k, &v, &sight.seen, scale)
        };
        let attended: Vec<Tensor> = self.parts.par_iter().zip(sight).map(of_part).collect::<Result<_>>()?;
        Tensor::cat(&attended, 1)
    }

    fn add(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        added(x, y, self.llama.config.scales.residual)
    }

    fn gated(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        gated(gate, up, self.llama.config.architecture.gelu)
    }

    fn head(&self, x: &Tensor) -> Result<Tensor> {
        self.llama.head.forward(x)
    }
}

/// The heads of queries that share one of keys are stacked, so that keys and values are not copied for each.
fn attend_part(q: &Tensor, k: &Tensor, v: &Tensor, seen: &[Seen], scale: f64) -> Result<Tensor> {
    let (heads, rows, head_dim) = q.dims3()?;
    let (kv_heads, columns, _) = k.dims3()?;
    let stacked = heads / kv_heads * rows;
    let q = q.reshape((kv_heads, stacked, head_dim))?;
    let scores = q.matmul(&k.transpose(1, 2)?)?.reshape((heads, rows, columns))?;
    let weights = attention_weights(&scores, seen, scale)?;
    weights.reshape((kv_heads, stacked, columns))?.matmul(v)?.reshape((heads, rows, head_dim))
}

impl Llama {
    pub(super) fn load(gguf: &Gguf, config: LlamaConfig, device: &Device) -> std::result::Result<Self, ModelError> {
        let architecture = config.architecture;
        let mut known = BTreeSet::new();
        let mut name = |name: String| {
            known.insert(name.clone());
            name
        };
        let vector = |name: &str, length| gguf.vector(name, length, device);
        let mut layers = Vec::with_capacity(config.layers);
        for i in 0..config.layers {
            let mut of_layer = |part: &str| name(format!("blk.{i}.{part}"));
            let [q, k, v, o, gate, up, down] = Projection::ALL.map(|it| {
                let (weight, rows) = it.place(&config);
                gguf.matrix(&of_layer(&format!("{weight}.weight")), rows, it.shape(&config)[1], device)
            });
            // Files of some other architectures have them too, and they are always added.
            let [bias_q, bias_k, bias_v, bias_o, bias_gate, bias_up, bias_down] = Projection::ALL.map(|it| {
                let bias = format!("blk.{i}.{}.bias", it.weight());
                let wanted = architecture.biases && matches!(it, Projection::Q | Projection::K | Projection::V);
                let there = wanted || !architecture.fused && gguf.weight(&bias).is_some();
                there.then(|| vector(&of_layer(&format!("{}.bias", it.weight())), it.shape(&config)[0])).transpose()
            });
            let head_norms = ["attn_q_norm.weight", "attn_k_norm.weight"]
                .map(|part| architecture.head_norms.then(|| vector(&of_layer(part), config.head_dim)).transpose());
            let [q_norm, k_norm] = head_norms;
            layers.push(Layer {
                attention_norm: vector(&of_layer("attn_norm.weight"), config.hidden)?,
                mlp_norm: vector(&of_layer("ffn_norm.weight"), config.hidden)?,
                head_norms: q_norm?.zip(k_norm?).map(|(q, k)| [q, k]),
                projections: [q?, k?, v?, o?, gate?, up?, down?],
                biases: [bias_q?, bias_k?, bias_v?, bias_o?, bias_gate?, bias_up?, bias_down?],
            });
        }
        let rows = Rows::all(config.vocabulary);
        let embedding = gguf.matrix(&name("token_embd.weight".into()), rows, config.hidden, device)?;
        let head = match gguf.weight("output.weight") {
            Some(_) => gguf.matrix(&name("output.weight".into()), rows, config.hidden, device)?,
            None => embedding.clone(),
        };
        let pairs = config.rope.turned / 2;
        // Those for other contexts are known, and not used.
        FACTORS.iter().for_each(|weight| drop(name((*weight).into())));
        let factors = match config.factors {
            Some(factors) => gguf.vector(factors, pairs, &Device::Cpu)?.to_vec1::<f32>()?,
            None => vec![1.0; pairs],
        };
        let norm = vector(&name("output_norm.weight".into()), config.hidden)?;
        if let Some(other) = gguf.names().find(|name| !known.contains(*name)) {
            let (all, known) = (gguf.names().len(), gguf.names().filter(|name| known.contains(*name)).count());
            let problem = format!(
                "it has {all} weights and {known} are known, so that it computes something else: one is {other}"
            );
            let cure = "Take a file of the model as llama.cpp's converter writes it".to_owned();
            return Err(ModelError::Unsupported { path: gguf.name(), problem, cure });
        }
        let frequencies = config.rope.frequencies(&factors);
        Ok(Self { config, device: device.clone(), embedding, layers, norm, head, frequencies })
    }

    /// The matrices that candle packs when they are first multiplied with.
    fn packed(&self) -> impl Iterator<Item = &Matrix> {
        let of_layers = self.layers.iter().flat_map(|layer| &layer.projections);
        of_layers.chain([&self.head]).filter(|matrix| matrix.is_quantised())
    }

    /// Whether there are any.
    pub(super) fn packs(&self) -> bool {
        self.packed().next().is_some()
    }

    /// Packs them, as many at once as there are cores: candle packs each on one.
    pub(super) fn pack(&self) -> Result<()> {
        self.packed().collect::<Vec<_>>().par_iter().try_for_each(|matrix| matrix.pack(&self.device))
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// The past of each part with its one item behind it.
    pub(super) fn extend(&self, parts: &[Part<'_>], adapter: Option<&Adapter>) -> Result<Vec<Past>> {
        let pass = Pass::new(parts);
        let (_, layers) = self.run(&Fast { llama: self, adapter, parts }, &pass, None)?;
        let with = |(part, (tokens, past)): (&Part<'_>, &(Range<usize>, usize))| {
            let of_layer = |(layer, (k, v)): (usize, &(Tensor, Tensor))| part.past.with(layer, k, v, tokens);
            let layers = layers.iter().enumerate().map(of_layer).collect::<Result<_>>()?;
            Ok(Past { layers, tokens: past + tokens.len() })
        };
        parts.iter().zip(&pass.parts).map(with).collect()
    }

    /// The logits of what follows each item: `[items, vocabulary]`.
    pub(super) fn logits(&self, parts: &[Part<'_>], adapter: Option<&Adapter>) -> Result<Tensor> {
        let pass = Pass::new(parts);
        self.logits_by(&Fast { llama: self, adapter, parts }, &pass, &pass.ends())
    }

    /// The logits of what follows `rows` of a pass: `[rows, vocabulary]`.
    pub(super) fn logits_by(&self, by: &impl Compute, pass: &Pass, rows: &[usize]) -> Result<Tensor> {
        let (last, _) = self.run(by, pass, Some(rows))?;
        scaled(by.head(&by.norm(&last, &self.norm)?)?, self.config.scales.logits)
    }

    /// Through all layers: what the last one leaves for `rows`, or all keys and values of the pass where none are asked for. Of
    /// the last layer only the keys and values of all tokens are needed, and the rest for the rows alone.
    fn run<C: Compute>(&self, by: &C, pass: &Pass, rows: Option<&[usize]>) -> Result<(Tensor, Vec<(Tensor, Tensor)>)> {
        let all: Vec<usize> = (0..pass.tokens.len()).collect();
        let (cos, sin) = self.rotation(pass, &all)?;
        let sight = by.sight(pass, &all)?;
        let x = self.embedding.rows(&Tensor::new(&pass.tokens[..], &self.device)?)?;
        let mut x = scaled(x, self.config.scales.embedding)?;
        let mut kept = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let is_last = i + 1 == self.layers.len();
            let turned = |it: Projection, x: &Tensor, heads, cos: &Tensor, sin: &Tensor| {
                let mut x = self.by_head(&by.project(i, it, x)?, heads)?;
                if let Some([of_queries, of_keys]) = &layer.head_norms {
                    x = by.norm(&x, if it == Projection::Q { of_queries } else { of_keys })?;
                }
                let (turned, all) = (self.config.rope.turned, self.config.head_dim);
                let part = |from, to| x.narrow(2, from, to - from)?.contiguous();
                let head = by.rope(&part(0, turned)?.unsqueeze(0)?, cos, sin)?.squeeze(0)?;
                if turned == all { Ok(head) } else { Tensor::cat(&[head, part(turned, all)?], 2) }
            };
            let mut h = by.norm(&x, &layer.attention_norm)?;
            let k = turned(Projection::K, &h, self.config.kv_heads, &cos, &sin)?;
            let v = self.by_head(&by.project(i, Projection::V, &h)?, self.config.kv_heads)?;
            if rows.is_none() {
                kept.push((k.clone(), v.clone()));
                if is_last {
                    break;
                }
            }
            let attended = match rows.filter(|_| is_last) {
                None => by.attend(i, &turned(Projection::Q, &h, self.config.heads, &cos, &sin)?, &k, &v, &sight)?,
                Some(rows) => {
                    let chosen: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
                    let chosen = Tensor::new(chosen, &self.device)?;
                    (x, h) = (x.index_select(&chosen, 0)?, h.index_select(&chosen, 0)?);
                    let (cos, sin) = self.rotation(pass, rows)?;
                    let q = turned(Projection::Q, &h, self.config.heads, &cos, &sin)?;
                    by.attend(i, &q, &k, &v, &by.sight(pass, rows)?)?
                }
            };
            let (heads, rows, head_dim) = attended.dims3()?;
            let attended = attended.transpose(0, 1)?.contiguous()?.reshape((rows, heads * head_dim))?;
            x = by.add(&x, &by.project(i, Projection::O, &attended)?)?;
            let h = by.norm(&x, &layer.mlp_norm)?;
            let (gate, up) = (by.project(i, Projection::Gate, &h)?, by.project(i, Projection::Up, &h)?);
            let gated = by.gated(&gate, &up)?;
            x = by.add(&x, &by.project(i, Projection::Down, &gated)?)?;
        }
        Ok((x, kept))
    }

    /// Cosine and sine of the rows' positions: `[rows, turned / 2]` each.
    fn rotation(&self, pass: &Pass, rows: &[usize]) -> Result<(Tensor, Tensor)> {
        let angles = rows.iter().flat_map(|row| self.frequencies.iter().map(|f| pass.positions[*row] as f32 * f));
        let magnitude = self.config.rope.magnitude;
        let (cos, sin): (Vec<f32>, Vec<f32>) =
            angles.map(|angle| (angle.cos() * magnitude, angle.sin() * magnitude)).unzip();
        let shape = (rows.len(), self.frequencies.len());
        Ok((Tensor::from_vec(cos, shape, &self.device)?, Tensor::from_vec(sin, shape, &self.device)?))
    }

    /// `[T, heads x head_dim]` to `[heads, T, head_dim]`.
    fn by_head(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        x.reshape((x.dim(0)?, heads, self.config.head_dim))?.transpose(0, 1)?.contiguous()
    }
}

/// `x` times `scale`, which is 1 for most.
pub(super) fn scaled(x: Tensor, scale: f64) -> Result<Tensor> {
    if scale == 1.0 { Ok(x) } else { x * scale }
}
