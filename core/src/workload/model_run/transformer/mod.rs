//! The forward passes of a Transformer, as a runtime computes them.
//!
//! - Embedding look-ups read rows, not the table: one object per step for the rows of all tokens, used once.
//! - Where tokens see only those before them, keys and values live in blocks of whole positions of one request, at most
//!   a tile each (as in paged attention). A step writes the blocks of its new positions and reads every block in the
//!   attention window. Layers that look back at a window keep their positions in a ring, whose blocks are written over.
//!   Without a cache, and in training, attention reads the keys and values of this pass.
//! - Attention does not write its scores (as FlashAttention), unless that is asked for (`fusion`); masked pairs are no work.
//! - The tokens of a layer are first gathered by expert, and the outputs of the experts scattered back at the end.
//! - In inference, the output head is read for the last position of each sequence only; in training for all.

// Ground first: each imports only from those before it.
mod spans;

mod experts;
mod weights;

mod attention;
mod serve;

use self::experts::{padded, route};
use self::spans::{Prefix, Span, distinct, tokens};
use self::weights::{BlockWeights, LayerWeights, Matrix, MlpWeights, StackWeights, Store};
use super::fields::Task;
use crate::error::Error;
use crate::tiling::Chain;
use crate::trace::{Kind, Mode, Op};
use crate::workload::config::Transformer;
use crate::workload::config::layers::{By, Linear, Place, Table, Tokens};
use crate::workload::dtype::Bits;
use crate::workload::fusion::Fusion;
use crate::workload::parallel::Parallel;
use crate::workload::plan::{Operator, Planner, Product, Shape, Step, Val};
use crate::workload::requests::Request;

pub(super) use self::experts::ExpertChoice;
pub(super) use self::serve::DRAFT;

/// Makes the passes of one model.
pub(crate) struct Passes<'a> {
    pub(crate) planner: &'a mut Planner,
    model: &'a Transformer,
    bits: Bits,
    fusion: Fusion,
    /// Positions that a block of the widest cache holds.
    block_positions: u64,
    experts: ExpertChoice<'a>,
    task: Task,
    /// The devices that share the model, of which this is one.
    pub(crate) parallel: Parallel,
    /// Whether blocks of finished requests are used again.
    pub(crate) reuse: bool,
    /// Positions that each request keeps in the end.
    lengths: Vec<u64>,
    prefix: Prefix,
    /// Blocks of the KV cache so far.
    blocks: u64,
    stacks: Vec<StackWeights>,
    embed: Val,
    embed_bits: u64,
    /// Bits of the elements of tables, biases and norms.
    own_bits: u64,
    tables: Vec<(Table, Val)>,
    learned: Option<Val>,
    embedding_norm: Option<Val>,
    inputs: Vec<Matrix>,
    outputs: Vec<Matrix>,
    head: Option<Matrix>,
    extras: Option<Val>,
    passes: u64,
}

impl<'a> Passes<'a> {
    pub(crate) fn new(
        planner: &'a mut Planner,
        model: &'a Transformer,
        (task, tile_bytes, chosen, fusion): (Task, u64, Option<u64>, Fusion),
        bits: Bits,
        experts: ExpertChoice<'a>,
    ) -> Self {
        let layers = &model.model;
        let mut store = Store { planner, model, chosen, kv_bits: bits.kv, tile_bytes, fusion };
        let mut first = 0;
        let mut stacks = Vec::new();
        for stack in &layers.stacks {
            let numbered = stack.layers.iter().enumerate();
            let of: Vec<LayerWeights> =
                numbered.map(|(at, layer)| store.layer(stack, at, layer, first + at as u32)).collect();
            let final_norm = store.norm(format!("{}.final_norm", stack.prefix), stack.norm, None);
            let causal = stack.causal;
            stacks.push(StackWeights { first, final_norm, causal, layers: of });
            first += stack.layers.len() as u32;
        }
        let (rows, width) = (layers.vocabulary.rows, layers.vocabulary.width);
        let embedding = store.width("model.embed_tokens", Place::Embedding);
        let (embed, embed_scales) = store.stored("embed_tokens", (rows, width), None, embedding);
        let tables = layers.tables.iter().filter(|table| table.rows > 0);
        let tables =
            tables.map(|table| (*table, store.tensor(table.name.into(), table.rows, table.width, None))).collect();
        let learned = layers.learned_tokens;
        let learned = (learned > 0).then(|| store.tensor("embeddings.cls_token".into(), learned, layers.hidden, None));
        let embedding_norm = store.norm("embeddings.norm".into(), layers.embedding_norm, None);
        let matrices = |store: &mut Store<'_>, all: &[Linear]| -> Vec<Matrix> {
            let several = |name: &str| all.iter().filter(|linear| linear.name == name).count() > 1;
            let numbered = all.iter().enumerate().map(|(at, linear)| {
                let prefix = if several(linear.name) { format!("{at}.") } else { String::new() };
                store.matrix(&prefix, *linear, None, Place::Kept)
            });
            numbered.collect()
        };
        let inputs = matrices(&mut store, &layers.inputs);
        let outputs = matrices(&mut store, &layers.outputs);
        let head = layers.head.map(|linear| match layers.tied {
            true => {
                let bias = linear.bias.then(|| store.tensor("lm_head.bias".into(), 1, linear.outputs, None));
                Matrix { linear, weights: embed, scales: embed_scales, bias }
            }
            false => store.matrix("", linear, None, Place::Head),
        });
        let extras = store.extras("", &layers.extras, None);
        let own_bits = store.own();
        let widest = layers.caches().map(|cache| cache.width).max().unwrap_or(0);
        let kv_bits = (widest * bits.kv).max(1);
        Self {
            planner,
            model,
            bits,
            fusion,
            block_positions: (tile_bytes.saturating_mul(8) / kv_bits).max(1),
            experts,
            task,
            parallel: Parallel::default(),
            reuse: false,
            lengths: Vec::new(),
            prefix: Prefix::default(),
            blocks: 0,
            stacks,
            embed,
            embed_bits: embedding.bits,
            own_bits,
            tables,
            learned,
            embedding_norm,
            inputs,
            outputs,
            head,
            extras,
            passes: 0,
        }
    }

    /// One pass over whole sequences, without a cache.
    pub(crate) fn whole(&mut self, requests: &[Request]) -> Result<Step, Error> {
        let mut step = Step::default();
        let spans = |length: fn(&Request) -> u64| -> Vec<Span> {
            let span = |(request, r): (usize, &Request)| Span { request, positions: 0..length(r) };
            requests.iter().enumerate().map(span).collect()
        };
        let mut encoded: Option<(Val, Vec<u64>)> = None;
        let mut hidden = None;
        for stack in 0..self.stacks.len() {
            let spans = spans(if stack == 0 { |r| r.prompt_tokens } else { |r| r.decode_tokens.max(1) });
            let start = self.embed(&mut step, &spans)?;
            let mut out = self.stack(&mut step, stack, start, &spans, encoded.as_ref())?;
            if stack + 1 < self.stacks.len() {
                out = self.close(&mut step, stack, out, tokens(&spans));
            }
            let lengths = spans.iter().map(|span| span.positions.end).collect();
            encoded = Some((out, lengths));
            hidden = Some((out, spans));
        }
        let (hidden, spans) = hidden.ok_or_else(|| Error::Internal("a model without layers".into()))?;
        let last = self.stacks.len() - 1;
        step.output = Some(self.answer(&mut step, last, hidden, &spans));
        Ok(step)
    }

    fn activation(&self, step: &mut Step, name: &'static str, rows: u64, cols: u64, layer: Option<u32>) -> Val {
        step.temp(name, Shape::new(rows, cols, self.bits.activations), layer)
    }

    /// Looks up the tokens of a pass.
    fn embed(&mut self, step: &mut Step, spans: &[Span]) -> Result<Val, Error> {
        self.passes += 1;
        let (rows, pass) = (tokens(spans), self.passes);
        let layers = &self.model.model;
        let hidden = layers.hidden;
        let width = layers.vocabulary.width;
        let mut start = match (self.inputs.first(), layers.tokens) {
            (Some(input), Tokens::Image { patches, .. }) => {
                // Patches come from outside; tokens such as that of the class are learned, and belong to each image.
                let of_images = patches * spans.len() as u64;
                let patches = self.activation(step, "patches", of_images, input.linear.inputs, None);
                step.inputs.push(patches);
                let embedded = self.linear(step, patches, input, of_images, "patch_embeddings", None);
                let start = self.activation(step, "hidden", rows, hidden, None);
                let streams = self.learned.into_iter().collect();
                step.push(Operator { streams, ..Operator::new(Op::Copy, None, vec![embedded], start) });
                start
            }
            // What the stage before has made.
            _ if layers.vocabulary.rows == 0 || (self.parallel.pipeline > 1 && self.head.is_some()) => {
                let received = self.activation(step, "received", rows, hidden, None);
                step.inputs.push(received);
                received
            }
            _ => {
                let name = format!("embed_tokens.rows[{pass}]");
                let shape = Shape::new(rows, width, self.embed_bits);
                let streams = vec![self.planner.stored(name, shape, None, Kind::Weights)];
                let looked_up = self.activation(step, "hidden", rows, width, None);
                let operator = Operator::new(Op::Embedding, None, Vec::new(), looked_up);
                step.push(Operator { streams, table: Some(self.embed), ..operator });
                let through = |from, input| self.linear(step, from, input, rows, "hidden", None);
                self.inputs.iter().fold(looked_up, through)
            }
        };
        let positions = distinct(spans);
        for (table, weights) in &self.tables {
            // Sequences at the same position share its row.
            let rows_read = match table.by {
                By::Position => positions,
                By::Kind => table.rows,
                By::Token => rows,
            };
            let name = format!("{}.rows[{pass}]", table.name);
            let shape = Shape::new(rows_read, table.width, self.own_bits);
            let looked_up = self.planner.stored(name, shape, None, Kind::Weights);
            let sum = self.activation(step, "hidden", rows, hidden, None);
            let operator = Operator::new(Op::Add, None, vec![start], sum).in_place();
            step.push(Operator { streams: vec![looked_up], table: Some(*weights), ..operator });
            start = sum;
        }
        Ok(match self.embedding_norm {
            Some(norm) => self.norm(step, start, norm, (rows, hidden), None),
            None => start,
        })
    }

    fn norm(&self, step: &mut Step, from: Val, weights: Val, (rows, cols): (u64, u64), layer: Option<u32>) -> Val {
        let out = self.activation(step, "normed", rows, cols, layer);
        if let Some(sum) = step.operators.last_mut().filter(|_| self.fusion.norm)
            && sum.op == Op::Add
            && matches!(sum.writes[..], [(written, _)] if written == from)
        {
            sum.streams.push(weights);
            sum.writes.push((out, Mode::Write));
            return out;
        }
        step.push(Operator { streams: vec![weights], ..Operator::new(Op::Norm, layer, vec![from], out).in_place() });
        out
    }

    fn linear(
        &self,
        step: &mut Step,
        from: Val,
        matrix: &Matrix,
        rows: u64,
        name: &'static str,
        layer: Option<u32>,
    ) -> Val {
        self.multiply(step, from, matrix, (rows, name, layer), Op::Matmul)
    }

    fn multiply(
        &self,
        step: &mut Step,
        from: Val,
        matrix: &Matrix,
        (rows, name, layer): (u64, &'static str, Option<u32>),
        op: Op,
    ) -> Val {
        let Linear { inputs, outputs, .. } = matrix.linear;
        // As many rows as what comes in, which for an expert may be more than are worked on.
        let out = self.activation(step, name, step.shape(from).rows, outputs, layer);
        let product = Product {
            // The table of a tied head has a row for each token.
            b_transposed: matrix.weights == self.embed,
            ..Product::new((rows, outputs, inputs), from, matrix.weights, out)
        };
        let streams = std::iter::once(matrix.weights).chain(matrix.scales).chain(matrix.bias).collect();
        // Blocks on the diagonal: each output meets a part of what comes in.
        let grouped = step.shape(from).cols != inputs;
        step.push(Operator { grouped, ..Operator::multiply(op, layer, product, streams) });
        out
    }

    fn add(&self, step: &mut Step, to: Val, what: Val, rows: u64, layer: Option<u32>) -> Val {
        let sum = self.activation(step, "hidden", rows, self.model.model.hidden, layer);
        step.push(Operator::new(Op::Add, layer, vec![to, what], sum).in_place());
        sum
    }

    /// The layers of a stack; `encoded` is what the other stack made in this pass, with the length of each sequence.
    fn stack(
        &mut self,
        step: &mut Step,
        stack: usize,
        mut hidden: Val,
        spans: &[Span],
        encoded: Option<&(Val, Vec<u64>)>,
    ) -> Result<Val, Error> {
        let rows = tokens(spans);
        for layer in 0..self.stacks[stack].layers.len() {
            hidden = self.layer(step, (stack, layer), hidden, spans, encoded)?;
        }
        if let ExpertChoice::Log(_, used, _) = &mut self.experts {
            *used += rows;
        }
        Ok(hidden)
    }

    /// The parts of a layer: norms, what each computes, and the sum with what came in.
    fn layer(
        &mut self,
        step: &mut Step,
        (stack, layer): (usize, usize),
        mut hidden: Val,
        spans: &[Span],
        encoded: Option<&(Val, Vec<u64>)>,
    ) -> Result<Val, Error> {
        let rows = tokens(spans);
        let number = Some(self.stacks[stack].first + layer as u32);
        let shape = (rows, self.model.model.hidden);
        // What the part before worked on, before and after its norm.
        let (mut base, mut read) = (hidden, hidden);
        for part in 0..self.stacks[stack].layers[layer].parts.len() {
            let of = &self.stacks[stack].layers[layer].parts[part];
            let ([before, after, last], beside) = (of.norms, of.beside);
            base = if beside { base } else { hidden };
            read = match before {
                Some(norm) => self.norm(step, base, norm, shape, number),
                None if beside => read,
                None => base,
            };
            let mut out = match &self.stacks[stack].layers[layer].parts[part].block {
                BlockWeights::Mix(_) => self.mix(step, (stack, layer, part), read, spans)?,
                BlockWeights::Cross(_) => self.cross_attention(step, (stack, layer, part), read, spans, encoded)?,
                BlockWeights::Dense(mlp) => self.mlp(step, mlp, read, rows, number),
                BlockWeights::Chain(chain) => {
                    chain.iter().fold(read, |from, matrix| self.linear(step, from, matrix, rows, "chain", number))
                }
                BlockWeights::Sparse { .. } => self.sparse(step, (stack, layer, part), read, spans)?,
            };
            if self.parallel.tensor > 1 && self.summed(&self.stacks[stack].layers[layer].parts[part].block) {
                out = self.reduce(step, out, rows, number);
            }
            if let Some(norm) = after {
                out = self.norm(step, out, norm, shape, number);
            }
            hidden = self.add(step, hidden, out, rows, number);
            if let Some(norm) = last {
                hidden = self.norm(step, hidden, norm, shape, number);
            }
        }
        if let (Some(extras), Some(sum)) = (self.stacks[stack].layers[layer].extras, step.operators.last_mut()) {
            sum.streams.push(extras);
        }
        Ok(hidden)
    }

    /// Whether what a block makes is a part of a sum over devices.
    fn summed(&self, block: &BlockWeights) -> bool {
        match block {
            BlockWeights::Sparse { shared, .. } => self.parallel.expert == 1 || shared.is_some(),
            BlockWeights::Chain(_) => false,
            _ => true,
        }
    }

    /// What a device sends to others, as bytes that pass through its memory.
    fn send(&self, step: &mut Step, name: &'static str, what: Vec<Val>, bytes: u64, layer: Option<u32>) -> Val {
        let sent = step.temp(name, Shape::new(1, bytes.max(1), 8), layer);
        step.push(Operator::new(Op::Copy, layer, what, sent));
        sent
    }

    /// The sum over devices of a partial result: a ring passes it but for the own part, once to sum up and once to hand out.
    fn reduce(&self, step: &mut Step, part: Val, rows: u64, layer: Option<u32>) -> Val {
        let width = self.model.model.hidden;
        let bytes = (rows * width * self.bits.activations).div_ceil(8);
        let devices = self.parallel.tensor;
        let sent = self.send(step, "all_reduce", vec![part], 2 * (bytes / devices) * (devices - 1), layer);
        let sum = self.activation(step, "hidden", rows, width, layer);
        step.push(Operator::new(Op::Copy, layer, vec![sent], sum));
        sum
    }

    /// Bytes of tokens that go to the experts of other devices, or come back.
    fn exchanged(&self, rows: u64, width: u64) -> u64 {
        let each = self.model.experts.map_or(0, |experts| experts.num_experts_per_tok);
        let bytes = (rows * each * width * self.bits.activations).div_ceil(8);
        bytes / self.parallel.expert * (self.parallel.expert - 1)
    }

    /// The norm that closes a stack.
    fn close(&self, step: &mut Step, stack: usize, hidden: Val, rows: u64) -> Val {
        match self.stacks[stack].final_norm {
            Some(norm) => self.norm(step, hidden, norm, (rows, self.model.model.hidden), None),
            None => hidden,
        }
    }

    /// The output: of the last (or first) position of each sequence, or in training of all.
    fn answer(&self, step: &mut Step, stack: usize, hidden: Val, spans: &[Span]) -> Val {
        self.answers(step, stack, hidden, (tokens(spans), spans.len() as u64))
    }

    /// The same for `answered` of `rows` positions, in inference.
    fn answers(&self, step: &mut Step, stack: usize, mut hidden: Val, (mut rows, answered): (u64, u64)) -> Val {
        let classifies = self.model.encodes_only();
        if self.parallel.pipeline > 1 && self.head.is_none() && self.outputs.is_empty() {
            let bytes = (rows * self.model.model.hidden * self.bits.activations).div_ceil(8);
            return self.send(step, "to_next_stage", vec![hidden], bytes, None);
        }
        if self.task == Task::Inference || classifies {
            rows = answered;
            let chosen = self.activation(step, "chosen", rows, self.model.model.hidden, None);
            step.push(Operator::new(Op::Copy, None, vec![hidden], chosen));
            hidden = chosen;
        }
        hidden = self.close(step, stack, hidden, rows);
        for matrix in &self.outputs {
            hidden = self.linear(step, hidden, matrix, rows, "pooled", None);
        }
        if let Some(extras) = self.extras {
            hidden = self.norm(step, hidden, extras, (rows, step.shape(hidden).cols), None);
        }
        if let Some(matrix) = &self.head {
            hidden = self.linear(step, hidden, matrix, rows, "logits", None);
        }
        hidden
    }

    /// An MLP whose middle is never stored.
    fn fused_mlp(&self, step: &mut Step, weights: &MlpWeights, from: Val, rows: u64, layer: Option<u32>) -> Val {
        let down = weights.down.linear;
        let out = self.activation(step, "mlp_out", step.shape(from).rows, down.outputs, layer);
        let all = weights.up.iter().chain([&weights.down]);
        let streams = all.clone().flat_map(|of| std::iter::once(of.weights).chain(of.scales).chain(of.bias)).collect();
        let products = all.map(|of| of.linear.inputs as f64 * of.linear.outputs as f64).sum::<f64>();
        let chain = Chain {
            batch: 1,
            rows,
            inputs: step.shape(from).cols,
            outputs: down.outputs,
            middle: down.inputs,
            factors: weights.up.iter().map(|of| of.linear.outputs).sum::<u64>() / down.inputs.max(1),
            carried: 0,
            pairs: rows.saturating_mul(down.inputs),
            bits: [self.bits.activations, self.bits.weights, self.bits.activations],
        };
        let flops = 2.0 * rows as f64 * products;
        step.push(Operator {
            streams,
            flops,
            chains: vec![chain],
            ..Operator::new(Op::Matmul, layer, vec![from], out)
        });
        out
    }

    fn mlp(&self, step: &mut Step, weights: &MlpWeights, from: Val, rows: u64, layer: Option<u32>) -> Val {
        if self.fusion.mlp {
            return self.fused_mlp(step, weights, from, rows, layer);
        }
        let up: Vec<Val> =
            weights.up.iter().map(|matrix| self.linear(step, from, matrix, rows, "mlp", layer)).collect();
        let active = self.activation(step, "mlp", step.shape(from).rows, weights.down.linear.inputs, layer);
        step.push(Operator::new(Op::Relu, layer, up, active).in_place());
        self.linear(step, active, &weights.down, rows, "mlp_out", layer)
    }

    /// The experts of a layer.
    fn sparse(
        &mut self,
        step: &mut Step,
        (stack, layer, part): (usize, usize, usize),
        mut from: Val,
        spans: &[Span],
    ) -> Result<Val, Error> {
        let rows = tokens(spans);
        let first = self.stacks[stack].first as usize + layer;
        let number = Some(first as u32);
        let BlockWeights::Sparse { router, experts, shared, latent, extras } =
            &self.stacks[stack].layers[layer].parts[part].block
        else {
            return Err(Error::Internal("a layer changed its kind".into()));
        };
        // Devices with other experts send as many tokens here as this one sends there.
        let all = self.model.experts.map_or(experts.len(), |of| of.num_experts as usize);
        let mut loads = route(&mut self.experts, first, all, spans)?;
        loads.truncate(experts.len());
        loads.iter_mut().for_each(|load| *load *= self.parallel.expert);
        let hidden = self.model.model.hidden;
        let choice = self.multiply(step, from, router, (rows, "router", number), Op::Gating);
        if let (Some(extras), Some(operator)) = (extras, step.operators.last_mut()) {
            operator.streams.push(*extras);
        }
        let outer = from;
        if let Some((into, _)) = latent {
            from = self.linear(step, from, into, rows, "latent", number);
        }
        let width = step.shape(from).cols;
        if self.parallel.expert > 1 {
            from = self.send(step, "all_to_all", vec![from], self.exchanged(rows, width), number);
        }
        let loads = loads.into_iter().enumerate().filter(|(_, tokens)| *tokens > 0);
        let groups: Vec<(usize, u64, Val)> = loads
            .map(|(expert, tokens)| {
                let rows = if self.planner.walks() { tokens } else { padded(tokens) };
                (expert, tokens, self.activation(step, "expert_in", rows, width, number))
            })
            .collect();
        let writes: Vec<(Val, Mode)> = groups.iter().map(|(.., group)| (*group, Mode::Write)).collect();
        step.push(Operator { writes, ..Operator::new(Op::Copy, number, vec![from], choice) });
        let mut answers = vec![choice];
        for (expert, tokens, group) in groups {
            answers.push(self.mlp(step, &experts[expert], group, tokens, number));
        }
        if self.parallel.expert > 1 {
            let back = self.exchanged(rows, width);
            answers = vec![self.send(step, "all_to_all", answers, back, number)];
        }
        if let Some((_, out)) = latent {
            // The experts' answers are weighed and summed up before they are widened again.
            let sum = self.activation(step, "latent", rows, width, number);
            step.push(Operator::new(Op::Gating, number, std::mem::take(&mut answers), sum));
            answers.push(self.linear(step, sum, out, rows, "mlp_out", number));
        }
        if let Some((mlp, gate)) = shared {
            if let Some(gate) = gate {
                answers.push(self.multiply(step, outer, gate, (rows, "shared_gate", number), Op::Gating));
            }
            answers.push(self.mlp(step, mlp, outer, rows, number));
        }
        let out = self.activation(step, "mlp_out", rows, hidden, number);
        step.push(Operator::new(Op::Gating, number, answers, out));
        Ok(out)
    }
}
