//! The attention of a layer, and the blocks of keys and values.

use std::ops::Range;

use super::Passes;
use super::spans::{Span, count, pairs, tokens};
use super::weights::{AttentionWeights, LayerWeights, Matrix};
use crate::error::Error;
use crate::tiling::Chain;
use crate::trace::{Kind, Mode, Op};
use crate::workload::model_run::Task;
use crate::workload::plan::{MAX_TILES, Operator, Shape, Step, Val};

impl Passes<'_> {
    /// Queries, keys and values of a pass: one tensor for all, or three.
    fn project(
        &self,
        step: &mut Step,
        weights: &AttentionWeights,
        from: Val,
        rows: u64,
        layer: Option<u32>,
    ) -> Vec<Val> {
        let names: &[&str] = if weights.qkv.len() == 1 { &["qkv"] } else { &["q", "k", "v"] };
        let project = |(matrix, name): (&Matrix, &&'static str)| self.linear(step, from, matrix, rows, name, layer);
        let mut made: Vec<Val> = weights.qkv.iter().zip(names).map(project).collect();
        for (at, norm) in [(0, weights.q_norm), (1, weights.k_norm)] {
            if let Some(norm) = norm {
                let cols = weights.qkv[at].linear.outputs;
                made[at] = self.norm(step, made[at], norm, (rows, cols), layer);
            }
        }
        made
    }

    pub(super) fn self_attention(
        &mut self,
        step: &mut Step,
        stack: usize,
        layer: usize,
        from: Val,
        spans: &[Span],
    ) -> Result<Val, Error> {
        let rows = tokens(spans);
        let number = Some(self.stacks[stack].first + layer as u32);
        let causal = self.stacks[stack].stack.causal;
        let made = self.project(step, &self.stacks[stack].layers[layer].attention, from, rows, number);
        let window = if causal { self.model.window_of(layer as u64) } else { u64::MAX };
        let cached = causal && self.task == Task::Inference;
        let mut reads = made.clone();
        let mut streams = Vec::new();
        if cached {
            let keys_and_values = if made.len() == 1 { made.clone() } else { made[1..].to_vec() };
            let mut written = Vec::new();
            for span in spans {
                written.extend(self.kv_blocks(stack, layer, span.request, span.positions.clone())?);
                let seen = span.positions.start.saturating_sub(window - 1)..span.positions.end;
                streams.extend(self.kv_blocks(stack, layer, span.request, seen)?);
            }
            let writes: Vec<(Val, Mode)> = written.into_iter().map(|block| (block, Mode::Update)).collect();
            let Some(&(first, _)) = writes.first() else { return Err(Error::Internal("a pass without tokens".into())) };
            step.push(Operator { writes, ..Operator::new(Op::Attention, number, keys_and_values, first) });
            reads.truncate(1);
        }
        // The bias of positions is made once, in the first layer, and used by all.
        streams.extend(self.stacks[stack].layers[layer].attention.positions);
        let seen = spans.iter().map(|span| {
            let keys = if causal {
                span.positions.end - span.positions.start.saturating_sub(window - 1).min(span.positions.end)
            } else {
                count(span)
            };
            (count(span), keys, pairs(&span.positions, causal, window))
        });
        let seen: Vec<_> = seen.collect();
        let attended = self.attend(step, reads, streams, rows, &seen, number);
        let out = &self.stacks[stack].layers[layer].attention.out;
        Ok(self.linear(step, attended, out, rows, "attention_out", number))
    }

    /// Attention: pairs of a query and a key, each multiplied twice (the score, and the sum of values). `seen` has the
    /// queries, the keys and the pairs of each request.
    fn attend(
        &self,
        step: &mut Step,
        reads: Vec<Val>,
        streams: Vec<Val>,
        rows: u64,
        seen: &[(u64, u64, f64)],
        layer: Option<u32>,
    ) -> Val {
        let width = self.model.q_width();
        let pairs: f64 = seen.iter().map(|(.., pairs)| pairs).sum();
        // Heads that share keys and values are rows of one chain.
        let (heads, kv_heads) = (self.model.num_attention_heads, self.model.num_key_value_heads.max(1));
        let together = heads / kv_heads;
        let (own, kv) = (self.bits.activations, self.bits.kv);
        let chain = |(queries, keys, pairs): &(u64, u64, f64)| Chain {
            batch: kv_heads,
            rows: together * queries,
            inputs: self.model.head_dim,
            outputs: self.model.head_dim,
            middle: *keys,
            factors: 1,
            carried: 2,
            pairs: ((*pairs * together as f64) as u64).min((together * queries).saturating_mul(*keys)),
            bits: [own, if self.task == Task::Training { own } else { kv }, own],
        };
        let chains = seen.iter().map(chain).collect();
        let attended = self.activation(step, "attended", rows, width, layer);
        let flops = 4.0 * width as f64 * pairs;
        step.push(Operator { streams, flops, chains, ..Operator::new(Op::Attention, layer, reads, attended) });
        attended
    }

    /// Attention to what the other stack made: in this pass, or kept from an earlier one.
    pub(super) fn cross_attention(
        &mut self,
        step: &mut Step,
        (stack, layer): (usize, usize),
        from: Val,
        spans: &[Span],
        encoded: Option<&(Val, Vec<u64>)>,
    ) -> Result<Val, Error> {
        let rows = tokens(spans);
        let number = Some(self.stacks[stack].first + layer as u32);
        let of_layer = &self.stacks[stack].layers[layer];
        let Some(weights) = &of_layer.cross else { return Ok(from) };
        let q = self.linear(step, from, &weights.qkv[0], rows, "q", number);
        let (mut reads, mut streams, mut seen) = (vec![q], Vec::new(), Vec::new());
        match encoded {
            Some((encoded, lengths)) => {
                let all = lengths.iter().sum();
                reads.push(self.linear(step, *encoded, &weights.qkv[1], all, "k", number));
                reads.push(self.linear(step, *encoded, &weights.qkv[2], all, "v", number));
                let both = |(span, length): (&Span, &u64)| (count(span), *length, (count(span) * length) as f64);
                seen.extend(spans.iter().zip(lengths).map(both));
            }
            None => {
                for span in spans {
                    let kept = of_layer.cross_kv.get(span.request).copied().flatten();
                    let kept =
                        kept.ok_or_else(|| Error::Internal("a request was decoded before it was read".into()))?;
                    let Val::Stored(index) = kept else { continue };
                    let keys = self.planner.about(index).shape.rows;
                    seen.push((count(span), keys, (count(span) * keys) as f64));
                    streams.push(kept);
                }
            }
        }
        let attended = self.attend(step, reads, streams, rows, &seen, number);
        Ok(self.linear(step, attended, &weights.out, rows, "attention_out", number))
    }

    /// Makes the keys and values of prompts for every layer of the decoder, and keeps them.
    pub(super) fn keep_encoded(&mut self, step: &mut Step, encoded: Val, spans: &[Span]) -> Result<(), Error> {
        let rows = tokens(spans);
        let stack = self.stacks.len() - 1;
        let encoded = self.close(step, 0, encoded, rows);
        for layer in 0..self.stacks[stack].layers.len() {
            let number = self.stacks[stack].first + layer as u32;
            let Some(weights) = &self.stacks[stack].layers[layer].cross else { continue };
            let k = self.linear(step, encoded, &weights.qkv[1], rows, "k", Some(number));
            let v = self.linear(step, encoded, &weights.qkv[2], rows, "v", Some(number));
            let mut writes = Vec::new();
            for span in spans {
                let shape = Shape::new(count(span), self.model.kv_elements_per_layer(), self.bits.kv);
                let name = format!("cross_kv.{number}.request{}", span.request);
                let kept = self.planner.stored(name, shape, Some(number), Kind::KvCache);
                let of_layer = &mut self.stacks[stack].layers[layer].cross_kv;
                of_layer.resize(of_layer.len().max(span.request + 1), None);
                of_layer[span.request] = Some(kept);
                writes.push((kept, Mode::Write));
            }
            let Some(&(first, _)) = writes.first() else { continue };
            step.push(Operator { writes, ..Operator::new(Op::Attention, Some(number), vec![k, v], first) });
        }
        Ok(())
    }

    /// The blocks that hold `positions` of a request, made where they are new.
    fn kv_blocks(
        &mut self,
        stack: usize,
        layer: usize,
        request: usize,
        positions: Range<u64>,
    ) -> Result<Vec<Val>, Error> {
        let number = self.stacks[stack].first + layer as u32;
        let (common, positions) = self.prefix.parts(request, &positions);
        let blocks = positions.start / self.block_positions..positions.end.div_ceil(self.block_positions);
        let width = self.model.kv_elements_per_layer();
        let LayerWeights { kv, common_kv, .. } = &mut self.stacks[stack].layers[layer];
        while common_kv.len() < common.end {
            let block = common_kv.len();
            let name = format!("kv.{number}.common.block{block}");
            let shape = Shape::new(self.prefix.positions(block), width, self.bits.kv);
            common_kv.push(self.planner.stored(name, shape, Some(number), Kind::KvCache));
        }
        let mut all = common_kv[common].to_vec();
        if kv.len() <= request {
            kv.resize(request + 1, Vec::new());
        }
        let of_request = &mut kv[request];
        self.blocks += blocks.end.saturating_sub(of_request.len() as u64);
        if self.blocks > MAX_TILES as u64 {
            return Err(Error::TooLarge {
                problem: format!("the KV cache has more than {MAX_TILES} blocks"),
                cure: "Choose a larger tile_bytes, fewer tokens or a smaller batch".into(),
            });
        }
        while (of_request.len() as u64) < blocks.end {
            let block = of_request.len();
            let name = format!("kv.{number}.request{request}.block{block}");
            // The last block is as long as the request needs.
            let own = self.lengths[request] - self.prefix.of(request);
            let rest = own.saturating_sub(block as u64 * self.block_positions);
            let shape = Shape::new(self.block_positions.min(rest).max(1), width, self.bits.kv);
            of_request.push(self.planner.stored(name, shape, Some(number), Kind::KvCache));
        }
        all.extend_from_slice(&of_request[blocks.start as usize..blocks.end as usize]);
        Ok(all)
    }
}
