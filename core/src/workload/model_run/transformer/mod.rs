//! The forward passes of a Transformer, as a runtime computes them.
//!
//! - Embedding look-ups read rows, not the table: one object per step for the rows of all tokens, used once.
//! - Where tokens see only those before them, keys and values live in blocks of whole positions of one request, at most
//!   a tile each (as in paged attention). A step writes the blocks of its new positions and reads every block in the
//!   attention window. Without a cache, and in training, attention reads the keys and values of this pass.
//! - Attention does not write its scores (as FlashAttention); masked pairs are no work.
//! - The tokens of a layer are first gathered by expert, and the outputs of the experts scattered back at the end.
//! - In inference, the output head is read for the last position of each sequence only; in training for all.

// Ground first: each imports only from those before it.
mod spans;

mod experts;
mod weights;

mod attention;

use self::experts::{padded, route};
use self::spans::{Prefix, Span, distinct, tokens};
use self::weights::{FeedWeights, LayerWeights, Matrix, MlpWeights, StackWeights, Store};
use super::fields::Task;
use crate::error::Error;
use crate::order;
use crate::trace::{Decoding, Kind, Mode, Op};
use crate::workload::config::{Linear, Transformer};
use crate::workload::dtype::Bits;
use crate::workload::plan::{Operator, Planner, Product, Shape, Step, Val};
use crate::workload::requests::Request;

pub(super) use self::experts::ExpertChoice;

/// Makes the passes of one model.
pub(crate) struct Passes<'a> {
    pub(crate) planner: &'a mut Planner,
    model: &'a Transformer,
    bits: Bits,
    /// Positions that a block of the KV cache holds.
    block_positions: u64,
    experts: ExpertChoice<'a>,
    task: Task,
    /// Positions that each request keeps in the end.
    lengths: Vec<u64>,
    prefix: Prefix,
    /// Blocks of the KV cache so far.
    blocks: u64,
    stacks: Vec<StackWeights>,
    embed: Val,
    positions: Option<Val>,
    token_types: Option<Val>,
    class_token: Option<Val>,
    embedding_norm: Option<Val>,
    input: Option<Matrix>,
    output: Option<Matrix>,
    head: Option<Matrix>,
    passes: u64,
}

impl<'a> Passes<'a> {
    pub(crate) fn new(
        planner: &'a mut Planner,
        model: &'a Transformer,
        (task, tile_bytes): (Task, u64),
        bits: Bits,
        experts: ExpertChoice<'a>,
    ) -> Self {
        let mut store = Store { planner, bits: bits.weights };
        let mut first = 0;
        let stacks = model.stacks().into_iter().map(|stack| {
            let layers: Vec<LayerWeights> =
                (0..stack.layers).map(|layer| store.layer(model, &stack, layer, first + layer as u32)).collect();
            let norm = if model.has_final_norm() { model.norm_elements() } else { 0 };
            let final_norm = store.norm(format!("{}.final_norm", stack.prefix), norm, None);
            let weights = StackWeights { first, final_norm, layers, stack };
            first += weights.layers.len() as u32;
            weights
        });
        let stacks = stacks.collect();
        let (rows, width) = (model.vocab_size, model.embedding_width());
        let embed = store.tensor("embed_tokens".into(), rows, width, None);
        let hidden = model.hidden_size;
        let table = |store: &mut Store<'_>, name: &str, rows: u64| {
            (rows > 0).then(|| store.tensor(name.into(), rows, hidden, None))
        };
        let positions = table(&mut store, "embed_positions", model.position_rows());
        let token_types = table(&mut store, "token_type_embeddings", model.type_vocab_size.unwrap_or(0));
        let class_token = model.image.is_some().then(|| store.tensor("embeddings.cls_token".into(), 1, hidden, None));
        let embedding_norm = store.norm("embeddings.norm".into(), model.embedding_norm(), None);
        let matrix = |store: &mut Store<'_>, linear: Option<Linear>| linear.map(|l| store.matrix("", l, None));
        let input = matrix(&mut store, model.input_matrix());
        let output = matrix(&mut store, model.output_matrix());
        let head = model.head().map(|linear| match model.tie_word_embeddings && model.image.is_none() {
            true => Matrix { linear, weights: embed, bias: None },
            false => store.matrix("", linear, None),
        });
        let kv_bits = (model.kv_elements_per_layer() * bits.kv).max(1);
        Self {
            planner,
            model,
            bits,
            block_positions: (tile_bytes.saturating_mul(8) / kv_bits).max(1),
            experts,
            task,
            lengths: Vec::new(),
            prefix: Prefix::default(),
            blocks: 0,
            stacks,
            embed,
            positions,
            token_types,
            class_token,
            embedding_norm,
            input,
            output,
            head,
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

    /// Serves requests as they come: at most `together` at once, new ones before the next token of the others.
    pub(crate) fn serve(&mut self, requests: &[Request], together: u64) -> Result<(), Error> {
        let two = self.stacks.len() > 1;
        let kept = |r: &Request| r.decode_tokens + if two { 0 } else { r.prompt_tokens };
        self.lengths = requests.iter().map(kept).collect();
        self.prefix = Prefix::new(requests, self.block_positions);
        // Those that come together keep their order.
        let waiting = order::by_key(requests.iter().map(|request| request.arrival));
        let mut waiting = waiting.into_iter().map(|index| index as usize).peekable();
        let mut prefilled = false;
        let mut decoding: Option<Decoding> = None;
        let mut first_token = 0;
        // Running requests, and the tokens decoded so far.
        let mut running: Vec<(usize, u64)> = Vec::new();
        let mut now = 0;
        loop {
            let mut new = Vec::new();
            while (running.len() + new.len()) < together as usize
                && let Some(request) = waiting.next_if(|i| requests[*i].arrival <= now)
            {
                new.push(request);
            }
            if !new.is_empty() {
                if !std::mem::replace(&mut prefilled, true) {
                    self.planner.mark("prefill");
                }
                self.prefill(requests, &new)?;
                // A prompt ends with the scores of the first token; behind an encoder, the first step makes them.
                if decoding.is_none() && first_token == 0 && !two {
                    first_token = self.planner.accesses();
                }
                running.extend(new.into_iter().filter(|i| requests[*i].decode_tokens > 0).map(|i| (i, 0)));
            }
            if running.is_empty() {
                match waiting.peek() {
                    None => {
                        let none = Decoding { first_token, start: first_token, steps: 0, tokens: 0 };
                        if decoding.is_some() || first_token > 0 {
                            self.planner.decodes(decoding.unwrap_or(none));
                        }
                        return Ok(());
                    }
                    Some(next) => now = now.max(requests[*next].arrival),
                }
                continue;
            }
            if decoding.is_none() {
                self.planner.mark("decode");
            }
            let start = self.planner.accesses();
            self.decode(requests, &running)?;
            let so_far = decoding.get_or_insert_with(|| {
                let first_token = if first_token > 0 { first_token } else { self.planner.accesses() };
                Decoding { first_token, start, steps: 0, tokens: 0 }
            });
            so_far.steps += 1;
            so_far.tokens += running.len() as u64;
            running.iter_mut().for_each(|(_, tokens)| *tokens += 1);
            running.retain(|(i, tokens)| *tokens < requests[*i].decode_tokens);
            now += 1;
        }
    }

    fn prefill(&mut self, requests: &[Request], new: &[usize]) -> Result<(), Error> {
        let mut step = Step::default();
        let mut span = |i: &usize| Span { request: *i, positions: self.prefix.keep(*i)..requests[*i].prompt_tokens };
        let spans: Vec<Span> = new.iter().map(&mut span).collect();
        let start = self.embed(&mut step, &spans)?;
        let hidden = self.stack(&mut step, 0, start, &spans, None)?;
        if self.stacks.len() == 1 {
            self.answer(&mut step, 0, hidden, &spans);
        } else {
            self.keep_encoded(&mut step, hidden, &spans)?;
        }
        self.planner.run(&step)
    }

    fn decode(&mut self, requests: &[Request], running: &[(usize, u64)]) -> Result<(), Error> {
        let mut step = Step::default();
        let last = self.stacks.len() - 1;
        let before = |i: usize| if last == 0 { requests[i].prompt_tokens } else { 0 };
        let spans: Vec<Span> = running
            .iter()
            .map(|(i, tokens)| Span { request: *i, positions: before(*i) + tokens..before(*i) + tokens + 1 })
            .collect();
        let start = self.embed(&mut step, &spans)?;
        let hidden = self.stack(&mut step, last, start, &spans, None)?;
        self.answer(&mut step, last, hidden, &spans);
        self.planner.run(&step)
    }

    fn activation(&self, step: &mut Step, name: &'static str, rows: u64, cols: u64, layer: Option<u32>) -> Val {
        step.temp(name, Shape::new(rows, cols, self.bits.activations), layer)
    }

    /// Looks up the tokens of a pass.
    fn embed(&mut self, step: &mut Step, spans: &[Span]) -> Result<Val, Error> {
        self.passes += 1;
        let (rows, pass) = (tokens(spans), self.passes);
        let (hidden, bits) = (self.model.hidden_size, self.bits.weights);
        let width = self.model.embedding_width();
        let mut streams = Vec::new();
        let mut start = match (&self.input, self.model.image.is_some()) {
            (Some(input), true) => {
                // Patches come from outside; the token of the class, one per image, is learned.
                let of_images = rows - spans.len() as u64;
                let patches = self.activation(step, "patches", of_images, input.linear.inputs, None);
                step.inputs.push(patches);
                let embedded = self.linear(step, patches, input, of_images, "patch_embeddings", None);
                let start = self.activation(step, "hidden", rows, hidden, None);
                let streams = self.class_token.into_iter().collect();
                step.push(Operator { streams, ..Operator::new(Op::Copy, None, vec![embedded], start) });
                start
            }
            _ => {
                let name = format!("embed_tokens.rows[{pass}]");
                streams.push(self.planner.stored(name, Shape::new(rows, width, bits), None, Kind::Weights));
                let looked_up = self.activation(step, "hidden", rows, width, None);
                let operator = Operator::new(Op::Embedding, None, Vec::new(), looked_up);
                step.push(Operator { streams: std::mem::take(&mut streams), table: Some(self.embed), ..operator });
                match &self.input {
                    Some(input) => self.linear(step, looked_up, input, rows, "hidden", None),
                    None => looked_up,
                }
            }
        };
        let positions = distinct(spans);
        for (table, name, rows_read) in [
            (self.positions, "embed_positions", positions),
            (self.token_types, "token_type_embeddings", self.model.type_vocab_size.unwrap_or(0)),
        ] {
            let Some(table) = table else { continue };
            // Sequences at the same position share its row.
            let name = format!("{name}.rows[{pass}]");
            let looked_up = self.planner.stored(name, Shape::new(rows_read, hidden, bits), None, Kind::Weights);
            let sum = self.activation(step, "hidden", rows, hidden, None);
            let operator = Operator::new(Op::Add, None, vec![start], sum).in_place();
            step.push(Operator { streams: vec![looked_up], table: Some(table), ..operator });
            start = sum;
        }
        Ok(match self.embedding_norm {
            Some(norm) => self.norm(step, start, norm, (rows, hidden), None),
            None => start,
        })
    }

    fn norm(&self, step: &mut Step, from: Val, weights: Val, (rows, cols): (u64, u64), layer: Option<u32>) -> Val {
        let out = self.activation(step, "normed", rows, cols, layer);
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
        let streams = std::iter::once(matrix.weights).chain(matrix.bias).collect();
        step.push(Operator::multiply(op, layer, product, streams));
        out
    }

    fn add(&self, step: &mut Step, to: Val, what: Val, rows: u64, layer: Option<u32>) -> Val {
        let sum = self.activation(step, "hidden", rows, self.model.hidden_size, layer);
        step.push(Operator::new(Op::Add, layer, vec![to, what], sum).in_place());
        sum
    }

    /// The layers of a stack. `encoded` is what the other stack made in this pass, with the length of each sequence.
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
            let mut norms = 0;
            hidden = self.half(step, (stack, layer), hidden, rows, &mut norms, |passes, step, from| {
                passes.self_attention(step, stack, layer, from, spans)
            })?;
            if self.stacks[stack].stack.cross {
                hidden = self.half(step, (stack, layer), hidden, rows, &mut norms, |passes, step, from| {
                    passes.cross_attention(step, (stack, layer), from, spans, encoded)
                })?;
            }
            hidden = self.half(step, (stack, layer), hidden, rows, &mut norms, |passes, step, from| {
                passes.feed(step, stack, layer, from, spans)
            })?;
        }
        if let ExpertChoice::Log(_, used, _) = &mut self.experts {
            *used += rows;
        }
        Ok(hidden)
    }

    /// The norm that closes a stack.
    fn close(&self, step: &mut Step, stack: usize, hidden: Val, rows: u64) -> Val {
        match self.stacks[stack].final_norm {
            Some(norm) => self.norm(step, hidden, norm, (rows, self.model.hidden_size), None),
            None => hidden,
        }
    }

    /// The output: of the last (or first) position of each sequence, or in training of all.
    fn answer(&self, step: &mut Step, stack: usize, mut hidden: Val, spans: &[Span]) -> Val {
        let classifies = self.model.encodes_only();
        let mut rows = tokens(spans);
        if self.task == Task::Inference || classifies {
            rows = spans.len() as u64;
            let chosen = self.activation(step, "chosen", rows, self.model.hidden_size, None);
            step.push(Operator::new(Op::Copy, None, vec![hidden], chosen));
            hidden = chosen;
        }
        hidden = self.close(step, stack, hidden, rows);
        for (matrix, name) in [(&self.output, "pooled"), (&self.head, "logits")] {
            if let Some(matrix) = matrix {
                hidden = self.linear(step, hidden, matrix, rows, name, None);
            }
        }
        hidden
    }

    fn mlp(&self, step: &mut Step, weights: &MlpWeights, from: Val, rows: u64, layer: Option<u32>) -> Val {
        let up: Vec<Val> =
            weights.up.iter().map(|matrix| self.linear(step, from, matrix, rows, "mlp", layer)).collect();
        let active = self.activation(step, "mlp", step.shape(from).rows, weights.down.linear.inputs, layer);
        step.push(Operator::new(Op::Relu, layer, up, active).in_place());
        self.linear(step, active, &weights.down, rows, "mlp_out", layer)
    }

    fn feed(&mut self, step: &mut Step, stack: usize, layer: usize, from: Val, spans: &[Span]) -> Result<Val, Error> {
        let rows = tokens(spans);
        let first = self.stacks[stack].first as usize + layer;
        let number = Some(first as u32);
        let loads = match &self.stacks[stack].layers[layer].feed {
            FeedWeights::Dense(mlp) => return Ok(self.mlp(step, mlp, from, rows, number)),
            FeedWeights::Sparse { experts, .. } => route(&mut self.experts, first, experts.len(), spans)?,
        };
        let FeedWeights::Sparse { router, experts, shared } = &self.stacks[stack].layers[layer].feed else {
            return Err(Error::Internal("a layer changed its kind".into()));
        };
        let hidden = self.model.hidden_size;
        let choice = self.multiply(step, from, router, (rows, "router", number), Op::Gating);
        let loads = loads.into_iter().enumerate().filter(|(_, tokens)| *tokens > 0);
        let groups: Vec<(usize, u64, Val)> = loads
            .map(|(expert, tokens)| {
                let rows = if self.planner.walks() { tokens } else { padded(tokens) };
                (expert, tokens, self.activation(step, "expert_in", rows, hidden, number))
            })
            .collect();
        let writes: Vec<(Val, Mode)> = groups.iter().map(|(.., group)| (*group, Mode::Write)).collect();
        step.push(Operator { writes, ..Operator::new(Op::Copy, number, vec![from], choice) });
        let mut answers = vec![choice];
        for (expert, tokens, group) in groups {
            answers.push(self.mlp(step, &experts[expert], group, tokens, number));
        }
        if let Some((mlp, gate)) = shared {
            answers.push(self.multiply(step, from, gate, (rows, "shared_gate", number), Op::Gating));
            answers.push(self.mlp(step, mlp, from, rows, number));
        }
        let out = self.activation(step, "mlp_out", rows, hidden, number);
        step.push(Operator::new(Op::Gating, number, answers, out));
        Ok(out)
    }

    /// One half of a layer: norms, what it computes, and the sum with what came in.
    fn half(
        &mut self,
        step: &mut Step,
        (stack, layer): (usize, usize),
        hidden: Val,
        rows: u64,
        used: &mut usize,
        compute: impl FnOnce(&mut Self, &mut Step, Val) -> Result<Val, Error>,
    ) -> Result<Val, Error> {
        let number = Some(self.stacks[stack].first + layer as u32);
        let shape = (rows, self.model.hidden_size);
        let mut next = |passes: &Self| {
            *used += 1;
            passes.stacks[stack].layers[layer].norms.get(*used - 1).copied()
        };
        let normed = |passes: &Self, step: &mut Step, from: Val, norm: Option<Val>| match norm {
            Some(norm) => passes.norm(step, from, norm, shape, number),
            None => from,
        };
        if self.model.norms_after() {
            let out = compute(self, step, hidden)?;
            let sum = self.add(step, hidden, out, rows, number);
            let norm = next(self);
            return Ok(normed(self, step, sum, norm));
        }
        let norm = next(self);
        let before = normed(self, step, hidden, norm);
        let mut out = compute(self, step, before)?;
        if self.model.norms_twice() {
            let norm = next(self);
            out = normed(self, step, out, norm);
        }
        Ok(self.add(step, hidden, out, rows, number))
    }
}
