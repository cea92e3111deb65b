//! What mixes the tokens of a layer, and the blocks of keys and values.

use super::Passes;
use super::spans::{Span, count, distinct_pairs, pairs, tokens};
use super::weights::{BlockWeights, LayerWeights, MixerWeights};
use crate::error::Error;
use crate::tiling::Chain;
use crate::trace::{Kind, Mode, Op};
use crate::workload::config::layers::{Heads, Mixing, Role, STATE_BITS, Sees};
use crate::workload::model_run::Task;
use crate::workload::plan::{MAX_TILES, Operator, Shape, Step, Val};

/// Queries, keys and pairs of one request.
type Seen = (u64, u64, f64);

impl Passes<'_> {
    /// What the matrices at the beginning of a mixer make.
    fn project(
        &self,
        step: &mut Step,
        weights: &MixerWeights,
        from: Val,
        rows: u64,
        layer: Option<u32>,
    ) -> Vec<(Val, Role)> {
        let mut made: Vec<(Val, Role)> = Vec::new();
        for make in &weights.makes {
            let name = match make.role {
                Role::Packed => "qkv",
                Role::Query => "q",
                Role::Kept if made.iter().any(|(_, role)| *role == Role::Kept) => "v",
                Role::Kept => "k",
                Role::Latent => "latent",
                Role::Inner => "inner",
            };
            let from = make.from.and_then(|at| made.get(at)).map_or(from, |(value, _)| *value);
            made.push((self.linear(step, from, &make.matrix, rows, name, layer), make.role));
        }
        for (at, make) in weights.makes.iter().enumerate() {
            if let (Some(norm), Some(of)) = (make.norm, made.get_mut(at)) {
                of.0 = self.norm(step, of.0, norm, (rows, make.matrix.linear.outputs), layer);
            }
        }
        made
    }

    /// Part `part` of a layer, which mixes its tokens.
    pub(super) fn mix(
        &mut self,
        step: &mut Step,
        (stack, layer, part): (usize, usize, usize),
        from: Val,
        spans: &[Span],
    ) -> Result<Val, Error> {
        let rows = tokens(spans);
        let number = Some(self.stacks[stack].first + layer as u32);
        let BlockWeights::Mix(weights) = &self.stacks[stack].layers[layer].parts[part].block else {
            return Err(Error::Internal("a layer changed its kind".into()));
        };
        let made = self.project(step, weights, from, rows, number);
        let (mixing, extras, positions) = (weights.mixing, weights.extras, weights.positions);
        let mixed = match mixing {
            Mixing::Attention(heads) => {
                self.attention(step, (stack, layer), heads, made, spans, [extras, positions])?
            }
            Mixing::State { elements, convolved, flops } => {
                let bits = elements * STATE_BITS + convolved * self.bits.activations;
                let width = weights.outs.first().map_or(0, |out| out.linear.inputs);
                let mixed = self.activation(step, "mixed", rows, width, number);
                let mut writes = vec![(mixed, Mode::Write)];
                if self.stacks[stack].causal && self.task == Task::Inference {
                    for span in spans {
                        writes.push((self.state((stack, layer, part), span.request, bits), Mode::Update));
                    }
                }
                let reads = made.into_iter().map(|(value, _)| value).collect();
                let operator = Operator::new(Op::Other, number, reads, mixed);
                let flops = flops as f64 * rows as f64;
                step.push(Operator { writes, flops, streams: extras.into_iter().collect(), ..operator });
                mixed
            }
        };
        let BlockWeights::Mix(weights) = &self.stacks[stack].layers[layer].parts[part].block else {
            return Err(Error::Internal("a layer changed its kind".into()));
        };
        let out = |from, out| self.linear(step, from, out, rows, "attention_out", number);
        Ok(weights.outs.iter().fold(mixed, out))
    }

    /// The state of a request in a part of a layer, made where it is new.
    fn state(&mut self, (stack, layer, part): (usize, usize, usize), request: usize, bits: u64) -> Val {
        let number = self.stacks[stack].first + layer as u32;
        let LayerWeights { states, free_states, .. } = &mut self.stacks[stack].layers[layer];
        let free = free_states.get_mut(&part);
        let shape = Shape::new(1, bits.div_ceil(8).max(1), 8);
        let name = || format!("state.{number}.{part}.request{request}");
        let taken = || free.and_then(Vec::pop);
        let stored = || taken().unwrap_or_else(|| self.planner.stored(name(), shape, Some(number), Kind::KvCache));
        *states.entry((part, request)).or_insert_with(stored)
    }

    fn attention(
        &mut self,
        step: &mut Step,
        (stack, layer): (usize, usize),
        heads: Heads,
        made: Vec<(Val, Role)>,
        spans: &[Span],
        extras: [Option<Val>; 2],
    ) -> Result<Val, Error> {
        let rows = tokens(spans);
        let number = Some(self.stacks[stack].first + layer as u32);
        let causal = self.stacks[stack].causal;
        let of_role = |wanted: &[Role]| -> Vec<Val> {
            made.iter().filter(|(_, role)| wanted.contains(role)).map(|(value, _)| *value).collect()
        };
        // Latent vectors are spread out for the positions of this pass, where there are several.
        let single = spans.iter().all(|span| count(span) == 1);
        let (mut reads, mut streams) = (made.iter().map(|(value, _)| *value).collect::<Vec<_>>(), Vec::new());
        let mut writes: Vec<(Val, Mode)> = Vec::new();
        let mut after = false;
        if causal && self.task == Task::Inference {
            let own = heads.borrows.is_none();
            let keeper = heads.borrows.map_or(layer, |layer| layer as usize);
            // Keys and values of this pass that the attention reads as they were made.
            let mut fresh = false;
            for at in 0..self.stacks[stack].layers[keeper].caches.len() {
                let cache = self.stacks[stack].layers[keeper].caches[at].cache;
                for span in spans {
                    let range = span.positions.start..span.positions.end;
                    let start = self.first_seen(&heads, range.start);
                    let wraps = cache.wraps(self.lengths[span.request]).is_some();
                    let spread =
                        (heads.latent.is_some() && cache.name == "kv" && !single) || (wraps && count(span) > 1);
                    if own {
                        let written = self.kv_blocks((stack, keeper, at), span.request, range.clone())?;
                        writes.extend(written.into_iter().map(|block| (block, Mode::Update)));
                    }
                    let seen = if cache.ratio > 1 || cache.name == "index" {
                        0..range.end
                    } else if spread {
                        start..range.start
                    } else {
                        start..range.end
                    };
                    (fresh, after) = (fresh || spread, after || wraps && spread);
                    if !seen.is_empty() {
                        streams.extend(self.kv_blocks((stack, keeper, at), span.request, seen)?);
                    }
                }
            }
            if !fresh {
                let kept = [Role::Kept, Role::Latent];
                let keys_and_values: Vec<Val> = of_role(&kept);
                reads.retain(|value| !keys_and_values.contains(value));
            }
        }
        let keep = |step: &mut Step, writes: Vec<(Val, Mode)>| {
            if let Some(&(first, _)) = writes.first() {
                let mut kept = of_role(&[Role::Kept, Role::Packed, Role::Latent]);
                // One kernel makes queries, keys and values, and puts these two where they are kept.
                if self.fusion.qkv {
                    kept.retain(|value| !of_role(&[Role::Packed]).contains(value));
                }
                step.push(Operator { writes, ..Operator::new(Op::Attention, number, kept, first) });
            }
        };
        // A ring that goes round holds what is still to be read.
        let later = if after { std::mem::take(&mut writes) } else { Vec::new() };
        keep(step, writes);
        // The bias of positions is made once, in the first layer, and used by all.
        streams.extend(extras.into_iter().flatten());
        let seen = spans.iter().map(|span| {
            let start = self.first_seen(&heads, span.positions.start);
            let keys = if causal { span.positions.end - start.min(span.positions.end) } else { count(span) };
            (count(span), keys, pairs(&span.positions, causal, heads.sees))
        });
        let seen: Vec<Seen> = seen.collect();
        let index = match heads.index {
            Some(index) => {
                let all: f64 = spans.iter().map(|span| distinct_pairs(&span.positions, index.ratio)).sum();
                2.0 * (index.heads * index.dim) as f64 * all
            }
            None => 0.0,
        };
        let attended = self.attend(step, (heads, index), (reads, streams), rows, &seen, number);
        keep(step, later);
        Ok(attended)
    }

    /// The first position that a query at `position` sees.
    fn first_seen(&self, heads: &Heads, position: u64) -> u64 {
        match heads.sees {
            Sees::All | Sees::Chosen(_) => 0,
            Sees::Window(window) | Sees::Compressed { window, .. } => position.saturating_sub(window - 1),
            Sees::Chunk(chunk) => position - position % chunk,
        }
    }

    /// Attention: pairs of a query and a key, each multiplied twice (the score, and the sum of values). `seen` has the
    /// queries, the keys and the pairs of each request, `index` the work of choosing positions.
    fn attend(
        &self,
        step: &mut Step,
        (heads, index): (Heads, f64),
        (reads, streams): (Vec<Val>, Vec<Val>),
        rows: u64,
        seen: &[Seen],
        layer: Option<u32>,
    ) -> Val {
        // One query works on latent vectors as they are kept, all heads on the same.
        let absorbed = heads.latent.filter(|_| self.task == Task::Inference && seen.iter().all(|(q, ..)| *q == 1));
        let (kv_heads, qk_dim, v_dim) = match absorbed {
            Some((key, value)) => (1, key, value),
            None => (heads.kv_heads.max(1), heads.qk_dim, heads.v_dim),
        };
        let pairs: f64 = seen.iter().map(|(.., pairs)| pairs).sum();
        // Heads that share keys and values are rows of one chain.
        let together = heads.heads / kv_heads;
        let (own, kv) = (self.bits.activations, self.bits.kv);
        let chain = |(queries, keys, pairs): &Seen| Chain {
            batch: kv_heads,
            rows: together * queries,
            inputs: qk_dim,
            outputs: v_dim,
            middle: *keys,
            factors: 1,
            carried: 2,
            pairs: ((*pairs * together as f64) as u64).min((together * queries).saturating_mul(*keys)),
            bits: [own, if self.task == Task::Training { own } else { kv }, own],
        };
        let chains = seen.iter().map(chain).collect();
        if !self.fusion.attention {
            let widths = (qk_dim, v_dim);
            return self.attend_stored(step, (heads, widths, index), (reads, streams), (rows, pairs), seen, layer);
        }
        let attended = self.activation(step, "attended", rows, heads.heads * heads.v_dim, layer);
        let flops = 2.0 * (heads.heads * (qk_dim + v_dim)) as f64 * pairs + index;
        step.push(Operator { streams, flops, chains, ..Operator::new(Op::Attention, layer, reads, attended) });
        attended
    }

    /// Attention operator by operator: the scores of all pairs are written, made a distribution and read again. In training
    /// the distribution is what is written, and what the backward pass reads.
    fn attend_stored(
        &self,
        step: &mut Step,
        (heads, (qk_dim, v_dim), index): (Heads, (u64, u64), f64),
        (reads, streams): (Vec<Val>, Vec<Val>),
        (rows, pairs): (u64, f64),
        seen: &[Seen],
        layer: Option<u32>,
    ) -> Val {
        let all: u64 = seen.iter().map(|(queries, keys, _)| queries.saturating_mul(*keys)).sum();
        let shape = Shape::new(heads.heads, all.max(1), self.bits.activations);
        let kept: Vec<Val> = streams.iter().copied().filter(|value| self.is_kept(*value)).collect();
        // Keys are read for the scores, and values for their sum; what holds both is read for each.
        let (of_scores, of_values) = match reads[..] {
            [q, k, v] => (vec![q, k], vec![v]),
            [q] if !kept.is_empty() => (vec![q], Vec::new()),
            _ => (reads.clone(), reads.clone()),
        };
        let mut scores = step.temp("scores", shape, layer);
        let flops = |width: u64| 2.0 * (heads.heads * width) as f64 * pairs;
        let operator = Operator::new(Op::Attention, layer, of_scores, scores);
        step.push(Operator { streams, flops: flops(qk_dim) + index, ..operator });
        if self.task == Task::Inference {
            let shares = step.temp("scores", shape, layer);
            step.push(Operator::new(Op::Softmax, layer, vec![scores], shares).in_place());
            scores = shares;
        }
        let attended = self.activation(step, "attended", rows, heads.heads * heads.v_dim, layer);
        let reads = std::iter::once(scores).chain(of_values).collect();
        let operator = Operator::new(Op::Attention, layer, reads, attended);
        step.push(Operator { streams: kept, flops: flops(v_dim), ..operator });
        attended
    }

    /// Whether it holds keys and values.
    fn is_kept(&self, value: Val) -> bool {
        matches!(value, Val::Stored(index) if self.planner.about(index).kind == Kind::KvCache)
    }

    /// Attention to what the other stack made: in this pass, or kept from an earlier one.
    pub(super) fn cross_attention(
        &mut self,
        step: &mut Step,
        (stack, layer, part): (usize, usize, usize),
        from: Val,
        spans: &[Span],
        encoded: Option<&(Val, Vec<u64>)>,
    ) -> Result<Val, Error> {
        let rows = tokens(spans);
        let number = Some(self.stacks[stack].first + layer as u32);
        let of_layer = &self.stacks[stack].layers[layer];
        let Some((heads, [q, k, v], out)) = cross(&of_layer.parts[part].block) else { return Ok(from) };
        let q = self.linear(step, from, &q.matrix, rows, "q", number);
        let (mut reads, mut streams, mut seen) = (vec![q], Vec::new(), Vec::new());
        match encoded {
            Some((encoded, lengths)) => {
                let all = lengths.iter().sum();
                reads.push(self.linear(step, *encoded, &k.matrix, all, "k", number));
                reads.push(self.linear(step, *encoded, &v.matrix, all, "v", number));
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
        let attended = self.attend(step, (heads, 0.0), (reads, streams), rows, &seen, number);
        Ok(self.linear(step, attended, out, rows, "attention_out", number))
    }

    /// Makes the keys and values of prompts for every layer of the decoder, and keeps them.
    pub(super) fn keep_encoded(&mut self, step: &mut Step, encoded: Val, spans: &[Span]) -> Result<(), Error> {
        let rows = tokens(spans);
        let stack = self.stacks.len() - 1;
        let encoded = self.close(step, 0, encoded, rows);
        for layer in 0..self.stacks[stack].layers.len() {
            let number = self.stacks[stack].first + layer as u32;
            let parts = &self.stacks[stack].layers[layer].parts;
            let Some((heads, [_, k, v], _)) = parts.iter().find_map(|part| cross(&part.block)) else { continue };
            let k = self.linear(step, encoded, &k.matrix, rows, "k", Some(number));
            let v = self.linear(step, encoded, &v.matrix, rows, "v", Some(number));
            let mut writes = Vec::new();
            for span in spans {
                let shape = Shape::new(count(span), heads.kept, self.bits.kv);
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

    /// The blocks of a cache that hold `positions` of a request, made where they are new.
    fn kv_blocks(
        &mut self,
        (stack, layer, at): (usize, usize, usize),
        request: usize,
        positions: std::ops::Range<u64>,
    ) -> Result<Vec<Val>, Error> {
        let number = self.stacks[stack].first + layer as u32;
        let length = self.lengths[request];
        let of = &mut self.stacks[stack].layers[layer].caches[at];
        let (cache, size) = (of.cache, of.block);
        let (common, own, kept) = match cache.shareable(length) {
            true => {
                let (common, own) = self.prefix.parts(request, &positions);
                (common, own, length - self.prefix.of(request))
            }
            false => (0..0, positions.start / cache.ratio..positions.end / cache.ratio, cache.entries(length)),
        };
        while of.common.len() < common.end {
            let block = of.common.len();
            let name = format!("{}.{number}.common.block{block}", cache.name);
            let shape = Shape::new(self.prefix.positions(block), cache.width, self.bits.kv);
            of.common.push(self.planner.stored(name, shape, Some(number), Kind::KvCache));
        }
        let mut all = of.common[common].to_vec();
        if own.is_empty() {
            return Ok(all);
        }
        // The runs of entries that the positions lie in: of a ring, those that are not written over by later ones.
        let entries = match cache.wraps(length) {
            None => [own, 0..0],
            Some(ring) => {
                let first = own.start.max(own.end.saturating_sub(ring));
                let (start, many) = (first % ring, own.end - first);
                [start..(start + many).min(ring), 0..(start + many).saturating_sub(ring)]
            }
        };
        if of.own.len() <= request {
            of.own.resize(request + 1, Vec::new());
        }
        let of_request = &mut of.own[request];
        let mut blocks: Vec<usize> = Vec::new();
        for entries in entries {
            let run = (entries.start / size) as usize..entries.end.div_ceil(size) as usize;
            blocks.extend(run.filter(|_| !entries.is_empty()));
        }
        blocks.sort_unstable();
        blocks.dedup();
        let last = blocks.iter().max().map_or(0, |last| last + 1);
        self.blocks += last.saturating_sub(of_request.len()) as u64;
        if self.blocks > MAX_TILES as u64 {
            return Err(Error::TooLarge {
                problem: format!("the KV cache has more than {MAX_TILES} blocks"),
                cure: "Choose a larger tile_bytes, fewer tokens or a smaller batch".into(),
            });
        }
        while of_request.len() < last {
            let block = of_request.len();
            if self.reuse {
                // Blocks are whole, so that any request may take them.
                let rows = size.min(cache.ring.unwrap_or(size)).max(1);
                of_request.push(of.free.pop().unwrap_or_else(|| {
                    let name = format!("{}.{number}.block{}", cache.name, of.made);
                    of.made += 1;
                    let shape = Shape::new(rows, cache.width, self.bits.kv);
                    self.planner.stored(name, shape, Some(number), Kind::KvCache)
                }));
                continue;
            }
            let name = format!("{}.{number}.request{request}.block{block}", cache.name);
            // The last block is as long as the request needs.
            let rest = kept.saturating_sub(block as u64 * size);
            let shape = Shape::new(size.min(rest).max(1), cache.width, self.bits.kv);
            of_request.push(self.planner.stored(name, shape, Some(number), Kind::KvCache));
        }
        all.extend(blocks.into_iter().map(|block| of_request[block]));
        Ok(all)
    }
}

/// The attention to the other stack: its heads, what makes queries, keys and values, and the matrix out.
fn cross(block: &BlockWeights) -> Option<(Heads, [&super::weights::MakeWeights; 3], &super::weights::Matrix)> {
    let BlockWeights::Cross(weights) = block else { return None };
    let (Mixing::Attention(heads), [q, k, v], [out]) = (weights.mixing, &weights.makes[..], &weights.outs[..]) else {
        return None;
    };
    Some((heads, [q, k, v], out))
}
