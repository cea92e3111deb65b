//! The forward passes of a Transformer, as a runtime computes them.
//!
//! - Embedding look-ups read rows, not the table: one object of all tokens' rows a step, used once.
//! - Where tokens see only those before them, keys and values live in blocks of whole positions of one request, at most
//!   a tile each (as in paged attention). A step writes the blocks of its new positions and reads every block in the
//!   attention window. Without a cache, and in training, attention reads the keys and values of this pass.
//! - Attention does not write its scores (as FlashAttention); masked pairs are no work.
//! - Tokens of all experts are first put together by expert, and their answers put back at the end.
//! - When answering, the output head is read for the last position of each sequence only; in training for all.

use std::ops::Range;

use super::config::{Attention, Feed, Linear, MlpShape, Stack, Transformer, product};
use super::model_run::{Bits, ModelRun, Task};
use super::plan::{MAX_TILES, Operator, Plan, Product, Shape, Step, Val};
use super::requests::Request;
use super::routing::{ExpertLog, Router};
use crate::error::{Error, Place};
use crate::trace::{Kind, Mode, Op};

/// The most choices of experts that a run draws.
const MOST_CHOICES: u64 = 200_000_000;

/// Who says which experts a token is sent to.
pub(crate) enum Experts<'a> {
    None,
    Drawn(Box<Router>),
    /// A log, the tokens of it that are used up, and the experts that each token is sent to.
    Log(&'a dyn ExpertLog, u64, u64),
}

impl<'a> Experts<'a> {
    pub(crate) fn new(
        run: &ModelRun,
        model: &Transformer,
        seed: u64,
        log: Option<&'a dyn ExpertLog>,
    ) -> Result<Self, Error> {
        let Some(experts) = &model.experts else { return Ok(Self::None) };
        let layers: u64 = model.stacks().iter().map(|stack| stack.layers).sum();
        if layers * experts.num_experts > MAX_TILES as u64 {
            return Err(Error::TooLarge {
                problem: format!("{layers} layers of {} experts are more than {MAX_TILES} tiles", experts.num_experts),
                cure: "Check num_experts and the layers in the configuration".into(),
            });
        }
        if let Some(log) = log {
            return Ok(Self::Log(log, 0, experts.num_experts_per_tok));
        }
        let tokens: u64 = run.requests_of(model).iter().map(|r| r.prompt_tokens + r.decode_tokens).sum();
        let choices = product(&[tokens, layers, experts.num_experts_per_tok, run.steps])?;
        if choices > MOST_CHOICES {
            return Err(Error::TooLarge {
                problem: format!("tokens are sent to experts {choices} times; at most {MOST_CHOICES} times are drawn"),
                cure: "Choose fewer tokens or a smaller batch".into(),
            });
        }
        let (all, each) = (experts.num_experts, experts.num_experts_per_tok);
        Ok(Self::Drawn(Box::new(Router::new(&run.routing, seed, layers as usize, all, each))))
    }
}

/// A matrix of weights and its biases.
struct Matrix {
    linear: Linear,
    weights: Val,
    bias: Option<Val>,
}

struct AttentionWeights {
    qkv: Vec<Matrix>,
    out: Matrix,
    q_norm: Option<Val>,
    k_norm: Option<Val>,
    positions: Option<Val>,
}

struct MlpWeights {
    up: Vec<Matrix>,
    down: Matrix,
}

enum FeedWeights {
    Dense(MlpWeights),
    Sparse { router: Matrix, experts: Vec<MlpWeights>, shared: Option<(MlpWeights, Matrix)> },
}

struct Layer {
    attention: AttentionWeights,
    cross: Option<AttentionWeights>,
    /// Norms in the order in which they are read.
    norms: Vec<Val>,
    feed: FeedWeights,
    /// Blocks of keys and values of each request.
    kv: Vec<Vec<Val>>,
    /// Keys and values of each request's prompt, for the attention to the other stack.
    cross_kv: Vec<Option<Val>>,
}

struct StackWeights {
    stack: Stack,
    layers: Vec<Layer>,
    final_norm: Option<Val>,
    /// The number of its first layer in heatmaps and routing.
    first: u32,
}

/// Positions of one request that a pass computes.
struct Span {
    request: usize,
    positions: Range<u64>,
}

/// Makes the passes of one model.
pub(crate) struct Passes<'a> {
    pub(crate) plan: &'a mut Plan,
    model: &'a Transformer,
    bits: Bits,
    /// Positions that a block of the KV cache holds.
    block_positions: u64,
    experts: Experts<'a>,
    task: Task,
    /// Positions that each request keeps in the end.
    lengths: Vec<u64>,
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

/// Adds stored matrices to a plan.
struct Store<'a> {
    plan: &'a mut Plan,
    bits: u64,
}

impl Store<'_> {
    fn tensor(&mut self, name: String, rows: u64, cols: u64, layer: Option<u32>) -> Val {
        self.plan.stored(name, Shape::new(rows, cols, self.bits), layer, Kind::Weights)
    }

    fn matrix(&mut self, prefix: &str, linear: Linear, layer: Option<u32>) -> Matrix {
        let name = format!("{prefix}{}", linear.name);
        let bias = linear.bias.then(|| self.tensor(format!("{name}.bias"), 1, linear.outputs, layer));
        Matrix { linear, weights: self.tensor(name, linear.inputs, linear.outputs, layer), bias }
    }

    fn norm(&mut self, name: String, elements: u64, layer: Option<u32>) -> Option<Val> {
        (elements > 0).then(|| self.tensor(name, 1, elements, layer))
    }

    fn attention(&mut self, prefix: &str, attention: &Attention, layer: u32) -> AttentionWeights {
        let layer = Some(layer);
        AttentionWeights {
            qkv: attention.qkv.iter().map(|linear| self.matrix(prefix, *linear, layer)).collect(),
            out: self.matrix(prefix, attention.out, layer),
            q_norm: self.norm(format!("{prefix}self_attn.q_norm"), attention.qk_norm, layer),
            k_norm: self.norm(format!("{prefix}self_attn.k_norm"), attention.qk_norm, layer),
            positions: self.norm(format!("{prefix}relative_attention_bias"), attention.positions, layer),
        }
    }

    fn mlp(&mut self, prefix: &str, mlp: &MlpShape, layer: u32) -> MlpWeights {
        let up = mlp.up.iter().map(|linear| self.matrix(prefix, *linear, Some(layer))).collect();
        MlpWeights { up, down: self.matrix(prefix, mlp.down, Some(layer)) }
    }

    fn layer(&mut self, model: &Transformer, stack: &Stack, of_stack: u64, number: u32) -> Layer {
        let prefix = format!("{}.{of_stack}.", stack.prefix);
        let attention = self.attention(&prefix, &model.attention(of_stack, false), number);
        let cross = stack.cross.then(|| self.attention(&prefix, &model.attention(of_stack, true), number));
        let norms = 2 * if model.norms_twice() { 2 } else { 1 } + u64::from(stack.cross);
        let norms =
            (0..norms).filter_map(|i| self.norm(format!("{prefix}norm{i}"), model.norm_elements(), Some(number)));
        let norms = norms.collect();
        let feed = match model.feed(stack, of_stack) {
            Feed::Dense(mlp) => FeedWeights::Dense(self.mlp(&prefix, &mlp, number)),
            Feed::Sparse { router, expert, shared } => FeedWeights::Sparse {
                router: self.matrix(&prefix, router, Some(number)),
                experts: (0..model.experts.as_ref().map_or(0, |e| e.num_experts))
                    .map(|e| self.mlp(&format!("{prefix}mlp.experts.{e}."), &expert, number))
                    .collect(),
                shared: shared
                    .map(|(mlp, gate)| (self.mlp(&prefix, &mlp, number), self.matrix(&prefix, gate, Some(number)))),
            },
        };
        Layer { attention, cross, norms, feed, kv: Vec::new(), cross_kv: Vec::new() }
    }
}

impl<'a> Passes<'a> {
    pub(crate) fn new(
        plan: &'a mut Plan,
        model: &'a Transformer,
        run: &ModelRun,
        bits: Bits,
        experts: Experts<'a>,
    ) -> Self {
        let mut store = Store { plan, bits: bits.weights };
        let mut first = 0;
        let stacks = model.stacks().into_iter().map(|stack| {
            let layers: Vec<Layer> =
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
            plan,
            model,
            bits,
            block_positions: (run.tile_bytes.saturating_mul(8) / kv_bits).max(1),
            experts,
            task: run.task,
            lengths: Vec::new(),
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
        let mut waiting: Vec<usize> = (0..requests.len()).collect();
        // Sorted stably: those that come together keep their order.
        waiting.sort_by_key(|i| requests[*i].arrival);
        let mut waiting = waiting.into_iter().peekable();
        let (mut prefilled, mut decoded) = (false, false);
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
                    self.plan.mark("prefill");
                }
                self.prefill(requests, &new)?;
                running.extend(new.into_iter().filter(|i| requests[*i].decode_tokens > 0).map(|i| (i, 0)));
            }
            if running.is_empty() {
                match waiting.peek() {
                    None => return Ok(()),
                    Some(next) => now = now.max(requests[*next].arrival),
                }
                continue;
            }
            if !std::mem::replace(&mut decoded, true) {
                self.plan.mark("decode");
            }
            self.decode(requests, &running)?;
            running.iter_mut().for_each(|(_, tokens)| *tokens += 1);
            running.retain(|(i, tokens)| *tokens < requests[*i].decode_tokens);
            now += 1;
        }
    }

    fn prefill(&mut self, requests: &[Request], new: &[usize]) -> Result<(), Error> {
        let mut step = Step::default();
        let spans: Vec<Span> =
            new.iter().map(|i| Span { request: *i, positions: 0..requests[*i].prompt_tokens }).collect();
        let start = self.embed(&mut step, &spans)?;
        let hidden = self.stack(&mut step, 0, start, &spans, None)?;
        if self.stacks.len() == 1 {
            self.answer(&mut step, 0, hidden, &spans);
        } else {
            self.keep_encoded(&mut step, hidden, &spans)?;
        }
        self.plan.run(&step)
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
        self.plan.run(&step)
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
                // Patches come from outside; the token of the class, one an image, is learned.
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
                streams.push(self.plan.stored(name, Shape::new(rows, width, bits), None, Kind::Weights));
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
            let looked_up = self.plan.stored(name, Shape::new(rows_read, hidden, bits), None, Kind::Weights);
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
            b_turned: matrix.weights == self.embed,
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
        if let Experts::Log(_, used, _) = &mut self.experts {
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

    /// What the model says in the end: for the last (or first) position of each sequence, or in training for all.
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
                let rows = if self.plan.walks() { tokens } else { padded(tokens) };
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

    fn self_attention(
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
        let pairs: f64 = spans.iter().map(|span| pairs(&span.positions, causal, window)).sum();
        let attended = self.attend(step, reads, streams, rows, pairs, number);
        let out = &self.stacks[stack].layers[layer].attention.out;
        Ok(self.linear(step, attended, out, rows, "attention_out", number))
    }

    /// Attention: `pairs` of a query and a key, each multiplied twice (the score, and the sum of values).
    fn attend(
        &self,
        step: &mut Step,
        reads: Vec<Val>,
        streams: Vec<Val>,
        rows: u64,
        pairs: f64,
        layer: Option<u32>,
    ) -> Val {
        let width = self.model.q_width();
        let attended = self.activation(step, "attended", rows, width, layer);
        let flops = 4.0 * width as f64 * pairs;
        step.push(Operator { streams, flops, ..Operator::new(Op::Attention, layer, reads, attended) });
        attended
    }

    /// Attention to what the other stack made: in this pass, or kept from an earlier one.
    fn cross_attention(
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
        let (mut reads, mut streams, mut pairs) = (vec![q], Vec::new(), 0.0);
        match encoded {
            Some((encoded, lengths)) => {
                let all = lengths.iter().sum();
                reads.push(self.linear(step, *encoded, &weights.qkv[1], all, "k", number));
                reads.push(self.linear(step, *encoded, &weights.qkv[2], all, "v", number));
                pairs = spans.iter().zip(lengths).map(|(span, length)| (count(span) * length) as f64).sum();
            }
            None => {
                for span in spans {
                    let kept = of_layer.cross_kv.get(span.request).copied().flatten();
                    let kept =
                        kept.ok_or_else(|| Error::Internal("a request was decoded before it was read".into()))?;
                    let Val::Stored(index) = kept else { continue };
                    pairs += (count(span) * self.plan.about(index).shape.rows) as f64;
                    streams.push(kept);
                }
            }
        }
        let attended = self.attend(step, reads, streams, rows, pairs, number);
        Ok(self.linear(step, attended, &weights.out, rows, "attention_out", number))
    }

    /// Makes the keys and values of prompts for every layer of the decoder, and keeps them.
    fn keep_encoded(&mut self, step: &mut Step, encoded: Val, spans: &[Span]) -> Result<(), Error> {
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
                let kept = self.plan.stored(name, shape, Some(number), Kind::KvCache);
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
        let blocks = positions.start / self.block_positions..positions.end.div_ceil(self.block_positions);
        let width = self.model.kv_elements_per_layer();
        let kv = &mut self.stacks[stack].layers[layer].kv;
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
            let rest = self.lengths[request].saturating_sub(block as u64 * self.block_positions);
            let shape = Shape::new(self.block_positions.min(rest).max(1), width, self.bits.kv);
            of_request.push(self.plan.stored(name, shape, Some(number), Kind::KvCache));
        }
        Ok(of_request[blocks.start as usize..blocks.end as usize].to_vec())
    }
}

/// Tokens that each expert of a layer gets.
fn route(experts: &mut Experts<'_>, layer: usize, count: usize, spans: &[Span]) -> Result<Vec<u64>, Error> {
    let mut loads = vec![0; count];
    let tokens = spans.iter().flat_map(|span| span.positions.clone().map(|_| span.request));
    match experts {
        Experts::None => return Err(Error::Internal("experts without anyone to choose them".into())),
        Experts::Drawn(router) => {
            for request in tokens {
                router.route(layer, request).iter().for_each(|expert| loads[usize::from(*expert)] += 1);
            }
        }
        Experts::Log(log, used, each) => {
            for (token, _) in (*used..).zip(tokens) {
                let chosen = log.experts(token, layer as u32)?;
                if chosen.len() as u64 != *each {
                    let problem = format!(
                        "token {token} goes to {} experts in layer {layer}, and the model sends it to {each}",
                        chosen.len()
                    );
                    let cure = "Give the log of this model, or the model of this log";
                    return Err(Error::input("the routing log", Place::Item(token), problem, cure));
                }
                for expert in chosen {
                    let load = loads.get_mut(usize::from(*expert)).ok_or_else(|| {
                        let problem =
                            format!("token {token} goes to expert {expert} of layer {layer}, which has {count}");
                        let cure = "Give the log of this model, or the model of this log";
                        Error::input("the routing log", Place::Item(token), problem, cure)
                    })?;
                    *load += 1;
                }
            }
        }
    }
    Ok(loads)
}

/// Rows of the buffers of an expert with `tokens` tokens: the next number with at most three binary digits in front, as
/// kernels for groups of matrices pad theirs. Without it, every load that chance makes would have buffers of its own.
fn padded(tokens: u64) -> u64 {
    tokens.next_multiple_of(1 << (u64::BITS - tokens.leading_zeros()).saturating_sub(3))
}

/// Tokens of all spans.
fn tokens(spans: &[Span]) -> u64 {
    spans.iter().map(count).sum()
}

/// Positions that the spans cover, each counted once.
fn distinct(spans: &[Span]) -> u64 {
    let mut ranges: Vec<&Range<u64>> = spans.iter().map(|span| &span.positions).collect();
    ranges.sort_by_key(|range| range.start);
    let (mut end, mut sum) = (0, 0);
    for range in ranges {
        sum += range.end.saturating_sub(range.start.max(end));
        end = end.max(range.end);
    }
    sum
}

fn count(span: &Span) -> u64 {
    span.positions.end - span.positions.start
}

/// Pairs of a query at one of `positions` and a key that it sees.
fn pairs(positions: &Range<u64>, causal: bool, window: u64) -> f64 {
    if !causal {
        let all = (positions.end - positions.start) as f64;
        return all * all;
    }
    // Positions before the window is full see one more each; the others see as many as it holds.
    let full = window.clamp(positions.start, positions.end);
    let rising = (full - positions.start) as f64 * (positions.start + full + 1) as f64 / 2.0;
    rising + (positions.end - full) as f64 * window as f64
}
