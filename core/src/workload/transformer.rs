//! Inference with a decoder-only Transformer: one prefill of the prompts, then one step per decoded token.
//!
//! The trace is what a runtime moves, operator by operator:
//!
//! - Every stored tensor is split into tiles of at most `tile_bytes`, because real tensors exceed fast memory.
//! - An operator reads each tile of its operands once: reuse inside an operator is not modelled here.
//! - Embedding look-ups read rows, not the table: one object of `batch × tokens` rows a step, used once.
//! - Keys and values live in blocks of whole positions, at most a tile each (as in paged attention). A step
//!   writes the blocks of its new positions and reads every block in the attention window.
//! - Activations live in one set of buffers for prefill and one for decode, reused by every layer, as static
//!   memory planners lay them out.
//! - The output head is read for the last position of each sequence only.
//! - FLOPs are those of matrix multiplications and of attention (2 for each multiplication with its addition, masked
//!   pairs left out), waiting for the weights and for the blocks of the KV cache.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::config::{Dtype, Facts, LayerShapes, ModelConfig, product};
use super::{ModelRef, check_range};
use crate::error::Error;
use crate::trace::{Kind, Mode, Op, Tensor, Trace, TraceBuilder};
use crate::units::MIB;

/// The most accesses a run may make.
pub const MAX_ACCESSES: usize = 50_000_000;

/// The most tiles a run may have: a tile takes about a hundred bytes before it is used at all.
pub const MAX_TILES: usize = 4_000_000;

/// One run of a model: its shapes, its load and how its tensors are stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inference {
    /// The model.
    pub model: ModelRef,
    /// Sequences decoded together, 1..=4096.
    pub batch_size: u64,
    /// Tokens of each prompt, 1..=131072.
    pub prompt_tokens: u64,
    /// Tokens decoded after the prompt, 0..=131072.
    pub decode_tokens: u64,
    /// Number format of the weights, where it is not the model's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_dtype: Option<Dtype>,
    /// Number format of the KV cache, where it is not that of the activations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_dtype: Option<Dtype>,
    /// The largest block that moves as one, 1 KiB..=1 TiB.
    pub tile_bytes: u64,
}

impl Default for Inference {
    fn default() -> Self {
        Self {
            model: ModelRef::Preset("mistral-7b".into()),
            batch_size: 1,
            prompt_tokens: 128,
            decode_tokens: 16,
            weight_dtype: None,
            kv_dtype: None,
            tile_bytes: 4 * MIB,
        }
    }
}

impl Inference {
    /// Fails on the first field that is out of range; returns the model's configuration.
    pub fn check(&self) -> Result<ModelConfig, Error> {
        check_range("batch_size", self.batch_size, 1..=4096)?;
        check_range("prompt_tokens", self.prompt_tokens, 1..=131_072)?;
        check_range("decode_tokens", self.decode_tokens, 0..=131_072)?;
        check_range("tile_bytes", self.tile_bytes, 1024..=1 << 40)?;
        let config = self.model.config()?;
        let longest = config.max_position_embeddings;
        let (prompt, decode) = (self.prompt_tokens, self.decode_tokens);
        if prompt + decode > longest {
            return Err(Error::field(
                if prompt > longest { "prompt_tokens" } else { "decode_tokens" },
                if prompt > longest { prompt } else { decode },
                format!(
                    "the model has {longest} positions, and prompt and decoded tokens together take {}",
                    prompt + decode
                ),
                "Choose fewer tokens",
            ));
        }
        Ok(config)
    }

    fn weight_dtype(&self, config: &ModelConfig) -> Dtype {
        self.weight_dtype.unwrap_or(config.torch_dtype)
    }

    /// Activations keep the model's own format, at least 16 bits wide.
    fn activation_dtype(config: &ModelConfig) -> Dtype {
        if config.torch_dtype.bits() >= 16 { config.torch_dtype } else { Dtype::Bfloat16 }
    }

    fn kv_dtype(&self, config: &ModelConfig) -> Dtype {
        self.kv_dtype.unwrap_or_else(|| Self::activation_dtype(config))
    }

    /// Parameters and bytes, from the shapes alone.
    pub fn facts(&self) -> Result<Facts, Error> {
        let config = self.check()?;
        let kv = product(&[config.num_hidden_layers, config.kv_elements_per_layer()])?;
        let kv_bytes_per_token = self.kv_dtype(&config).bytes(kv)?;
        Ok(Facts {
            parameters: config.parameters(),
            weight_bytes: self.weight_dtype(&config).bytes(config.parameters())?,
            kv_bytes_per_token,
            kv_bytes: product(&[kv_bytes_per_token, self.batch_size, self.prompt_tokens + self.decode_tokens])?,
        })
    }

    /// The trace of the run.
    pub fn trace(&self) -> Result<Trace, Error> {
        let config = self.check()?;
        let mut run = Run::new(self, &config)?;
        run.builder.mark("prefill");
        run.step(0..self.prompt_tokens)?;
        if self.decode_tokens > 0 {
            run.builder.mark("decode");
        }
        run.buffers = None; // decode has its own
        for token in 0..self.decode_tokens {
            let position = self.prompt_tokens + token;
            run.step(position..position + 1)?;
        }
        let name = match &self.model {
            ModelRef::Preset(name) => name.as_str(),
            ModelRef::Config(_) => "config.json",
        };
        run.builder.finish(name)
    }
}

/// Tiles of one tensor: indices in the trace's table.
type Tiles = Range<u32>;

/// The stored tensors of a layer.
struct Layer {
    norm1: Tiles,
    qkv: Vec<Tiles>,
    attention_out: Tiles,
    norm2: Tiles,
    mlp_in: Vec<Tiles>,
    mlp_out: Tiles,
    /// Blocks of keys and values, each of whole positions.
    kv: Vec<Tiles>,
}

/// Activation buffers of one phase.
struct Buffers {
    hidden: Tiles,
    normed: Tiles,
    qkv: Tiles,
    attended: Tiles,
    mlp: Tiles,
    last: Tiles,
    logits: Tiles,
}

struct Run<'a> {
    spec: &'a Inference,
    config: &'a ModelConfig,
    builder: TraceBuilder,
    layers: Vec<Layer>,
    final_norm: Tiles,
    head: Tiles,
    buffers: Option<Buffers>,
    /// Positions a block of the KV cache holds.
    block_positions: u64,
}

impl<'a> Run<'a> {
    fn new(spec: &'a Inference, config: &'a ModelConfig) -> Result<Self, Error> {
        let mut run = Self {
            spec,
            config,
            builder: TraceBuilder::new("Transformer"),
            layers: Vec::new(),
            final_norm: 0..0,
            head: 0..0,
            buffers: None,
            block_positions: (spec.tile_bytes / run_kv_bytes(spec, config)?).max(1),
        };
        let LayerShapes { prefix, norm1, qkv, attention_out, norm2, mlp_in, mlp_out } = config.layer();
        for layer in 0..config.num_hidden_layers as u32 {
            let mut weight =
                |(name, elements): (&str, u64)| run.weights(format!("{prefix}.{layer}.{name}"), elements, Some(layer));
            let stored = Layer {
                norm1: weight(norm1)?,
                qkv: qkv.iter().map(|shape| weight(*shape)).collect::<Result<_, _>>()?,
                attention_out: weight(attention_out)?,
                norm2: weight(norm2)?,
                mlp_in: mlp_in.iter().map(|shape| weight(*shape)).collect::<Result<_, _>>()?,
                mlp_out: weight(mlp_out)?,
                kv: Vec::new(),
            };
            run.layers.push(stored);
        }
        run.final_norm = run.weights("final_norm".into(), config.final_norm_elements(), None)?;
        let head = if config.tie_word_embeddings { "embed_tokens" } else { "lm_head" };
        run.head = run.weights(head.into(), config.embedding_elements(), None)?;
        Ok(run)
    }

    /// A stored tensor of `elements` in the format of the weights.
    fn weights(&mut self, name: String, elements: u64, layer: Option<u32>) -> Result<Tiles, Error> {
        let bytes = self.spec.weight_dtype(self.config).bytes(elements)?;
        self.tiles(name, bytes, layer, Kind::Weights)
    }

    /// An activation of `elements` a position of each sequence.
    fn activation(&mut self, name: String, elements: u64, positions: u64) -> Result<Tiles, Error> {
        let elements = product(&[elements, positions, self.spec.batch_size])?;
        let bytes = Inference::activation_dtype(self.config).bytes(elements)?;
        self.tiles(name, bytes, None, Kind::Activations)
    }

    /// Splits a tensor into tiles of at most `tile_bytes`.
    fn tiles(&mut self, name: String, bytes: u64, layer: Option<u32>, kind: Kind) -> Result<Tiles, Error> {
        let tile = self.spec.tile_bytes;
        let count = bytes.div_ceil(tile);
        if count.saturating_add(self.builder.tensors() as u64) > MAX_TILES as u64 {
            return Err(Error::TooLarge {
                problem: format!("the run has more than {MAX_TILES} tiles ({name} alone falls into {count})"),
                cure: "Choose a larger tile_bytes, or check the sizes in the configuration".into(),
            });
        }
        let tensor = |name, bytes| Tensor { name, bytes, layer, stride: 1, kind };
        if count == 1 {
            let only = self.builder.tensor(tensor(name, bytes))?;
            return Ok(only..only + 1);
        }
        let mut tiles = 0..0;
        for i in 0..count {
            let size = tile.min(bytes - i * tile);
            let index = self.builder.tensor(tensor(format!("{name}#{i}"), size))?;
            tiles = if i == 0 { index..index + 1 } else { tiles.start..index + 1 };
        }
        Ok(tiles)
    }

    fn buffers(&mut self, phase: &str, positions: u64) -> Result<Buffers, Error> {
        let c = self.config;
        let q = c.num_attention_heads * c.head_dim;
        let gated = c.layer().mlp_in.len() as u64;
        let mut make = |name: &str, width, positions| self.activation(format!("{phase}.{name}"), width, positions);
        Ok(Buffers {
            hidden: make("hidden", c.hidden_size, positions)?,
            normed: make("normed", c.hidden_size, positions)?,
            qkv: make("qkv", q + c.kv_elements_per_layer(), positions)?,
            attended: make("attended", q, positions)?,
            mlp: make("mlp", gated * c.intermediate_size, positions)?,
            last: make("last", c.hidden_size, 1)?,
            logits: make("logits", c.vocab_size, 1)?,
        })
    }

    fn read(&mut self, tiles: &Tiles, op: Op) -> Result<(), Error> {
        self.touch(tiles, op, Mode::Read, 0.0)
    }

    fn touch(&mut self, tiles: &Tiles, op: Op, mode: Mode, flops_per_byte: f64) -> Result<(), Error> {
        if self.builder.len() > MAX_ACCESSES {
            return Err(Error::TooLarge {
                problem: format!("the run makes more than {MAX_ACCESSES} accesses"),
                cure: "Choose a larger tile_bytes, fewer tokens or a smaller batch".into(),
            });
        }
        tiles.clone().try_for_each(|tile| {
            let flops = flops_per_byte * self.builder.tensor_mut(tile).bytes as f64;
            self.builder.access_with(tile, op, mode, flops)
        })
    }

    /// The blocks of the KV cache of `layer` that hold `positions`, made where they are new.
    fn kv_blocks(&mut self, layer: usize, positions: Range<u64>) -> Result<Vec<Tiles>, Error> {
        let total = self.spec.prompt_tokens + self.spec.decode_tokens;
        let per_position = run_kv_bytes(self.spec, self.config)?;
        let blocks = positions.start / self.block_positions..positions.end.div_ceil(self.block_positions);
        while (self.layers[layer].kv.len() as u64) < blocks.end {
            let block = self.layers[layer].kv.len() as u64;
            let held = self.block_positions.min(total - block * self.block_positions);
            let bytes = product(&[held, per_position])?;
            let tiles = self.tiles(format!("kv.{layer}.block{block}"), bytes, Some(layer as u32), Kind::KvCache)?;
            self.layers[layer].kv.push(tiles);
        }
        Ok(self.layers[layer].kv[blocks.start as usize..blocks.end as usize].to_vec())
    }

    /// One forward pass over `positions` of every sequence.
    fn step(&mut self, positions: Range<u64>) -> Result<(), Error> {
        let tokens = positions.end - positions.start;
        let phase = if positions.start == 0 { "prefill" } else { "decode" };
        let buffers = match self.buffers.take() {
            Some(buffers) => buffers,
            None => self.buffers(phase, tokens)?,
        };
        let window = self.config.sliding_window.unwrap_or(u64::MAX);

        let rows = product(&[self.config.hidden_size, tokens, self.spec.batch_size])?;
        let rows = self.weights(format!("embed_tokens.rows[{}]", positions.start), rows, None)?;
        self.read(&rows, Op::Embedding)?;
        if self.config.position_elements() > 0 {
            let rows = product(&[self.config.hidden_size, tokens])?;
            let rows = self.weights(format!("embed_positions.rows[{}]", positions.start), rows, None)?;
            self.read(&rows, Op::Embedding)?;
        }
        self.touch(&buffers.hidden, Op::Embedding, Mode::Write, 0.0)?;

        for layer in 0..self.layers.len() {
            // Taken out for the time of the layer, so that the builder can be written to meanwhile.
            let written = self.kv_blocks(layer, positions.clone())?;
            let read = self.kv_blocks(layer, positions.start.saturating_sub(window - 1)..positions.end)?;
            let flops_per_byte = self.attention_flops(&positions, window) / self.bytes_of(&read).max(1.0);
            let stored = std::mem::replace(&mut self.layers[layer], Layer::empty());

            self.norm(&buffers.hidden, &stored.norm1, &buffers.normed)?;
            self.linear(&buffers.normed, &stored.qkv, &buffers.qkv, Mode::Write, tokens)?;

            self.read(&buffers.qkv, Op::Attention)?;
            for block in &written {
                self.touch(block, Op::Attention, Mode::Update, 0.0)?;
            }
            for block in &read {
                self.touch(block, Op::Attention, Mode::Read, flops_per_byte)?;
            }
            self.touch(&buffers.attended, Op::Attention, Mode::Write, 0.0)?;

            // Both halves of a layer add to what came in.
            let out = std::slice::from_ref(&stored.attention_out);
            self.linear(&buffers.attended, out, &buffers.hidden, Mode::Update, tokens)?;
            self.norm(&buffers.hidden, &stored.norm2, &buffers.normed)?;
            self.linear(&buffers.normed, &stored.mlp_in, &buffers.mlp, Mode::Write, tokens)?;
            let out = std::slice::from_ref(&stored.mlp_out);
            self.linear(&buffers.mlp, out, &buffers.hidden, Mode::Update, tokens)?;
            self.layers[layer] = stored;
        }

        self.norm(&buffers.hidden, &self.final_norm.clone(), &buffers.last)?;
        let head = self.head.clone();
        self.linear(&buffers.last, std::slice::from_ref(&head), &buffers.logits, Mode::Write, 1)?;
        self.buffers = Some(buffers);
        Ok(())
    }

    fn norm(&mut self, input: &Tiles, weights: &Tiles, output: &Tiles) -> Result<(), Error> {
        self.read(input, Op::Norm)?;
        self.read(weights, Op::Norm)?;
        self.touch(output, Op::Norm, Mode::Write, 0.0)
    }

    /// Multiplies `positions` rows of each sequence by the weights.
    fn linear(
        &mut self,
        input: &Tiles,
        weights: &[Tiles],
        output: &Tiles,
        mode: Mode,
        positions: u64,
    ) -> Result<(), Error> {
        self.read(input, Op::Matmul)?;
        let elements_per_byte = 8.0 / self.spec.weight_dtype(self.config).bits() as f64;
        let flops_per_byte = 2.0 * (positions * self.spec.batch_size) as f64 * elements_per_byte;
        weights.iter().try_for_each(|tiles| self.touch(tiles, Op::Matmul, Mode::Read, flops_per_byte))?;
        self.touch(output, Op::Matmul, mode, 0.0)
    }

    /// FLOPs of attention in one layer: each query with each position that it may see, twice (scores, and the sum).
    fn attention_flops(&self, positions: &Range<u64>, window: u64) -> f64 {
        let seen = |position: u64| (position + 1).min(window) as f64;
        let pairs: f64 = positions.clone().map(seen).sum();
        let width = (self.config.num_attention_heads * self.config.head_dim) as f64;
        4.0 * width * pairs * self.spec.batch_size as f64
    }

    fn bytes_of(&mut self, tensors: &[Tiles]) -> f64 {
        tensors.iter().flat_map(Clone::clone).map(|tile| self.builder.tensor_mut(tile).bytes as f64).sum()
    }
}

impl Layer {
    fn empty() -> Self {
        let none = || 0..0;
        Self {
            norm1: none(),
            qkv: Vec::new(),
            attention_out: none(),
            norm2: none(),
            mlp_in: Vec::new(),
            mlp_out: none(),
            kv: Vec::new(),
        }
    }
}

/// Bytes of keys and values that one position of the batch adds in one layer.
fn run_kv_bytes(spec: &Inference, config: &ModelConfig) -> Result<u64, Error> {
    let elements = product(&[config.kv_elements_per_layer(), spec.batch_size])?;
    spec.kv_dtype(config).bytes(elements)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::trace::Kind;
    use crate::workload::config::Family;
    use crate::workload::presets::PRESETS;

    fn bytes_by_kind(trace: &Trace) -> BTreeMap<Kind, u64> {
        let mut sums = BTreeMap::new();
        for tensor in trace.tensors() {
            *sums.entry(tensor.kind).or_insert(0) += tensor.bytes;
        }
        sums
    }

    #[test]
    fn weights_and_kv_of_the_trace_equal_the_facts() {
        for preset in PRESETS {
            let spec = Inference {
                model: ModelRef::Preset(preset.name.into()),
                batch_size: 3,
                prompt_tokens: 40,
                decode_tokens: 3,
                ..Inference::default()
            };
            let config = spec.check().unwrap();
            let facts = spec.facts().unwrap();
            let trace = spec.trace().unwrap();
            let sums = bytes_by_kind(&trace);
            assert_eq!(sums[&Kind::KvCache], facts.kv_bytes, "{}", preset.name);
            // Of the tables, only the rows of the tokens are read; a tied table is read whole by the head.
            let rows: u64 = trace.tensors().iter().filter(|t| t.name.contains("rows[")).map(|t| t.bytes).sum();
            let tables =
                config.position_elements() + if config.tie_word_embeddings { 0 } else { config.embedding_elements() };
            let unread = spec.weight_dtype(&config).bytes(tables).unwrap();
            assert_eq!(sums[&Kind::Weights] - rows, facts.weight_bytes - unread, "{}", preset.name);
        }
    }

    #[test]
    fn decode_reads_every_weight_once_a_token() {
        let spec = Inference { decode_tokens: 5, ..Inference::default() };
        let trace = spec.trace().unwrap();
        let mut uses = vec![0; trace.tensors().len()];
        for t in trace.accesses() {
            uses[*t as usize] += 1;
        }
        for (tensor, uses) in trace.tensors().iter().zip(uses) {
            if tensor.kind == Kind::Weights && !tensor.name.contains("rows") {
                assert_eq!(uses, 6, "{}", tensor.name);
            }
            assert!(tensor.bytes <= spec.tile_bytes);
        }
        let labels: Vec<&str> = trace.marks().iter().map(|m| m.label.as_str()).collect();
        assert_eq!(labels, ["prefill", "decode"]);
    }

    #[test]
    fn flops_are_two_a_parameter_and_token_plus_attention() {
        let spec = Inference { prompt_tokens: 64, decode_tokens: 3, batch_size: 2, ..Inference::default() };
        let config = spec.check().unwrap();
        let trace = spec.trace().unwrap();
        let flops: f64 = (0..trace.accesses().len()).map(|now| trace.flops(now)).sum();
        // The head multiplies the last position of each of the four steps only; look-ups multiply nothing.
        let body = config.parameters() - 2 * config.embedding_elements();
        let matmul = 2.0 * 2.0 * (67 * body + 4 * config.embedding_elements()) as f64;
        let pairs = (67 * 68 / 2) as f64;
        let attention = 2.0 * 4.0 * (config.hidden_size * config.num_hidden_layers) as f64 * pairs;
        assert!((flops / (matmul + attention) - 1.0).abs() < 1e-3, "{flops} {}", matmul + attention);
        assert!(trace.knows_flops());
    }

    fn tiny() -> ModelConfig {
        ModelConfig {
            model_type: Family::Mistral,
            hidden_size: 64,
            intermediate_size: 128,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 16,
            vocab_size: 100,
            max_position_embeddings: 512,
            sliding_window: None,
            tie_word_embeddings: false,
            attention_bias: false,
            mlp_bias: false,
            torch_dtype: Dtype::Bfloat16,
        }
    }

    /// A position takes 2 x 2 heads x 16 x 2 B = 128 B a layer: 8 positions fill a tile of 1 KiB.
    #[test]
    fn a_sliding_window_limits_the_blocks_read() {
        let reads = |window| {
            let config = ModelConfig { sliding_window: window, ..tiny() };
            let spec = Inference {
                model: ModelRef::Config(Box::new(config)),
                prompt_tokens: 64,
                decode_tokens: 1,
                tile_bytes: 1024,
                ..Inference::default()
            };
            let trace = spec.trace().unwrap();
            let decode = trace.marks()[1].at as usize;
            let kv = trace.accesses()[decode..].iter().filter(|t| trace.tensors()[**t as usize].kind == Kind::KvCache);
            kv.count()
        };
        // Two layers: one block written, and 9 of 9 or 2 of 9 read (positions 57..=64 lie in blocks 7 and 8).
        assert_eq!(reads(None), 2 * (1 + 9));
        assert_eq!(reads(Some(8)), 2 * (1 + 2));
        assert_eq!(reads(Some(1)), 2 * (1 + 1));
    }

    #[test]
    fn too_many_positions_or_tiles_are_refused() {
        let gpt2 = |prompt, decode| Inference {
            model: ModelRef::Preset("gpt2-large".into()),
            prompt_tokens: prompt,
            decode_tokens: decode,
            ..Inference::default()
        };
        assert!(gpt2(1000, 24).trace().is_ok());
        assert_eq!(gpt2(1000, 25).trace().unwrap_err().field_name(), Some("decode_tokens"));
        assert_eq!(gpt2(1025, 0).trace().unwrap_err().field_name(), Some("prompt_tokens"));
        let many = Inference { tile_bytes: 1024, ..Inference::default() };
        assert!(matches!(many.trace().unwrap_err(), Error::TooLarge { .. }));
        let small = Inference { tile_bytes: 1024, batch_size: 4096, prompt_tokens: 30_000, ..Inference::default() };
        assert!(matches!(small.trace().unwrap_err(), Error::TooLarge { .. }));
    }
}
