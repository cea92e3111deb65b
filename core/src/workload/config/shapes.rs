//! From the keys of a file and the layout of its family to a table of layers.

use serde_json::Value;

use super::keys::{Keys, show};
use super::layers::{
    Block, By, Heads, Index, Layer, Linear, Make, Mixer, Mixing, Mixture, MlpShape, Model, Part, Role, Sees, Stack,
    Table, Tokens,
};
use super::layout::{
    AttentionBias, Gated, Layout, ModelInput, Norm, Norms, Pooler, Positions, QkNorm, Qkv, Shapes, Shared,
    SlidingWindow, SparseLayers, Stacks, Transform,
};
use crate::check::check_range;
use crate::error::Error;

/// The largest widths, so that no product of two passes 64 bits.
pub(super) const WIDEST: u64 = 1 << 22;

/// What the model ends in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Head,
    Nothing,
    Pooler,
    /// A score for each class, of the whole text or of each token, and what stands before it.
    Classes {
        classes: u64,
        bias: bool,
        transform: bool,
    },
    /// A transformation and the embedding table (BERT), and whether the pooler and a class of the next sentence stand
    /// beside it.
    Masked {
        sentences: bool,
    },
}

impl<'a> Shapes<'a> {
    pub(super) fn new(layout: &'static Layout, keys: &'a Keys<'a>) -> Result<Self, Error> {
        let heads = keys.optional(layout.keys.num_attention_heads, 1 << 14)?;
        let heads = match (heads, layout.attends) {
            (Some(heads), _) => heads,
            (None, false) => 1,
            (None, true) => keys.required(layout.keys.num_attention_heads, 1 << 14)?,
        };
        let hidden = keys.required(layout.keys.hidden_size, 1 << 20)?;
        let head_dim = match keys.optional(layout.keys.head_dim, 1 << 14)? {
            Some(head_dim) => head_dim,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                return Err(keys.bad(
                    "num_attention_heads",
                    format!("{heads} heads do not divide hidden_size {hidden}"),
                    "Correct one of the two, or give head_dim",
                ));
            }
        };
        check_range("head_dim", head_dim, 1..=(1 << 24) / heads)?;
        let intermediate = match keys.find(layout.keys.intermediate_size) {
            // One for each layer: whoever makes the layers reads them.
            Some((_, Value::Array(all))) => {
                all.iter().filter_map(Value::as_u64).max().filter(|width| (1..=WIDEST).contains(width))
            }
            _ => keys.count(layout.keys.intermediate_size, WIDEST)?,
        };
        let expert = keys.optional(&["moe_intermediate_size"], WIDEST)?;
        let inner = match (intermediate.or(expert), layout.mlp_factor) {
            (Some(size), _) => size,
            (None, Some(0)) => 0,
            (None, Some(factor)) => factor * hidden,
            (None, None) => keys.required(layout.keys.intermediate_size, WIDEST)?,
        };
        let kv_heads = keys.optional(layout.keys.num_key_value_heads, 1 << 14)?.unwrap_or(heads);
        check_range("num_key_value_heads", kv_heads, 1..=heads)?;
        if !heads.is_multiple_of(kv_heads) {
            let problem = format!("does not divide the {heads} attention heads");
            return Err(Error::field("num_key_value_heads", kv_heads, problem, "Correct one of the two"));
        }
        let layers = keys.required(layout.keys.num_hidden_layers, 1024)?;
        let decoder_layers = match layout.stacks {
            Stacks::Both { .. } => keys.optional(layout.keys.num_decoder_layers, 1024)?.unwrap_or(layers),
            _ => layers,
        };
        let image = matches!(layout.input, ModelInput::Patches { .. });
        let window = match layout.window {
            SlidingWindow::Never => None,
            SlidingWindow::IfUsed { .. } if !keys.flag("use_sliding_window", false)? => None,
            _ => keys.optional(&["sliding_window", "attention_window_size"], 1 << 24)?,
        };
        let all_biased = match layout.attention_bias {
            AttentionBias::FileAll { key, default } => keys.flag(key, default)?,
            _ => false,
        };
        Ok(Self {
            keys,
            layout,
            hidden,
            inner,
            layers,
            decoder_layers,
            heads,
            kv_heads,
            head_dim,
            vocabulary: if image { 0 } else { keys.required(layout.keys.vocab_size, 1 << 24)? },
            window,
            gated: match (&layout.gated, keys.text("feed_forward_proj")?) {
                (Gated::Never, _) => false,
                (Gated::Always, _) => true,
                (Gated::File, Some(name)) => name.starts_with("gated-"),
                (Gated::File, None) => keys.flag("is_gated_act", false)?,
                (Gated::Packed, _) => false,
            },
            mlp_bias: layout.mlp_bias || keys.flag("mlp_bias", false)? || all_biased,
            attention_bias: match layout.attention_bias {
                AttentionBias::FileAll { .. } => all_biased,
                AttentionBias::InputsBy(key) => keys.flag(key, false)?,
                _ => keys.flag("attention_bias", false)?,
            },
            norms_after: layout.norms == Norms::After
                || !keys.flag("do_layer_norm_before", layout.norms != Norms::After)?,
        })
    }

    /// Elements of one norm over `width` channels.
    pub(super) fn norm_of(&self, width: u64) -> u64 {
        match self.layout.norm {
            Norm::Rms => width,
            Norm::Layer => 2 * width,
            Norm::Bare => 0,
        }
    }

    /// Elements of one norm over the residual stream.
    pub(super) fn norm(&self) -> u64 {
        self.norm_of(self.hidden)
    }

    /// The positions that layer `layer` sees.
    pub(super) fn sees(&self, layer: u64) -> Result<Sees, Error> {
        let keys = self.keys;
        let listed = match keys.of_layer("layer_types", layer, self.layers)? {
            None => None,
            Some(Value::String(name)) => match name.as_str() {
                "full_attention" | "attention" | "global" => Some(None),
                "sliding_attention" | "local" => Some(self.window.map(Sees::Window)),
                "chunked_attention" => Some(keys.optional(&["attention_chunk_size"], 1 << 24)?.map(Sees::Chunk)),
                // Their mixers know what they see.
                "linear_attention"
                | "mamba"
                | "conv"
                | "recurrent"
                | "moe"
                | "minimax_m3_sparse"
                | "compressed_sparse_attention"
                | "heavily_compressed_attention" => Some(None),
                other => {
                    let problem = format!("layer {layer} is of type \"{other}\", which is not known");
                    let cure = "Write a list of full_attention and sliding_attention, one for each layer";
                    return Err(keys.bad("layer_types", problem, cure));
                }
            },
            Some(other) => {
                let cure = "Write a list of full_attention and sliding_attention, one for each layer";
                return Err(keys.bad("layer_types", format!("the value is {}", show(other)), cure));
            }
        };
        let everything = match (listed, &self.layout.window) {
            (Some(listed), _) => return Ok(listed.unwrap_or(Sees::All)),
            (None, SlidingWindow::AllBut { every }) => {
                let every =
                    keys.optional(&["sliding_window_pattern", "_sliding_window_pattern"], 1024)?.unwrap_or(*every);
                (layer + 1).is_multiple_of(every)
            }
            (None, SlidingWindow::Listed) => true,
            (None, SlidingWindow::Alternate) => !layer.is_multiple_of(2),
            (None, SlidingWindow::IfUsed { full: Some(full) }) => {
                let full = match keys.value("max_window_layers") {
                    Some(zero) if zero.as_u64() == Some(0) => 0,
                    _ => keys.optional(&["max_window_layers"], 1 << 16)?.unwrap_or(*full),
                };
                layer < full
            }
            _ => false,
        };
        Ok(match self.window {
            Some(window) if !everything => Sees::Window(window),
            _ => Sees::All,
        })
    }

    /// Whether projections in and out of the attention have biases.
    pub(super) fn attention_biases(&self) -> (bool, bool) {
        match self.layout.attention_bias {
            AttentionBias::Never => (false, false),
            AttentionBias::Inputs => (true, false),
            AttentionBias::Always => (true, true),
            AttentionBias::File | AttentionBias::FileAll { .. } => (self.attention_bias, self.attention_bias),
            AttentionBias::FileInputs | AttentionBias::InputsBy(_) => (self.attention_bias, false),
            AttentionBias::NotKeys => (true, true),
        }
    }

    /// An attention of these heads.
    pub(super) fn heads_of(
        &self,
        layer: u64,
        kv_heads: u64,
        head_dim: u64,
        sees: Sees,
        cross: bool,
    ) -> Result<Mixer, Error> {
        let (layout, hidden) = (self.layout, self.hidden);
        let (q, kv) = (self.heads * head_dim, kv_heads * head_dim);
        let (in_bias, out_bias) = self.attention_biases();
        let key = match layout.stacks {
            Stacks::Both { cross: [_, key, ..], .. } if cross => key,
            _ => layout.key_name(),
        };
        let input = |role, name, outputs, norm| {
            let keyless = layout.attention_bias == AttentionBias::NotKeys;
            let bias = in_bias && !(keyless && name == key);
            Make { norm, ..Make::new(role, Linear { name, inputs: hidden, outputs, bias }) }
        };
        let used = self.keys.flag("use_qk_norm", false)?;
        let norms = match layout.qk_norm {
            QkNorm::None => (0, 0),
            _ if cross => (0, 0),
            QkNorm::File | QkNorm::FileAll if !used => (0, 0),
            QkNorm::Head | QkNorm::File => (self.norm_of(head_dim), self.norm_of(head_dim)),
            QkNorm::All | QkNorm::FileAll => (self.norm_of(q), self.norm_of(kv)),
        };
        let separate = |[of_q, of_k, of_v]: [&'static str; 3]| {
            vec![
                input(Role::Query, of_q, q, norms.0),
                input(Role::Kept, of_k, kv, norms.1),
                input(Role::Kept, of_v, kv, 0),
            ]
        };
        let (makes, out) = match (&layout.stacks, &layout.matrices.qkv) {
            (Stacks::Both { cross: [of_q, of_k, of_v, out], .. }, _) if cross => (separate([of_q, of_k, of_v]), *out),
            (_, Qkv::Separate(names)) => (separate(*names), layout.matrices.out),
            (_, Qkv::Packed(name)) => {
                let mut made = input(Role::Packed, name, q + 2 * kv, 0);
                made.norm = norms.0 + norms.1;
                (vec![made], layout.matrices.out)
            }
        };
        Ok(Mixer {
            makes,
            mixing: Mixing::Attention(Heads {
                heads: self.heads,
                kv_heads,
                qk_dim: head_dim,
                v_dim: head_dim,
                latent: None,
                sees,
                kept: 2 * kv,
                index: None,
                borrows: None,
            }),
            outs: vec![Linear { name: out, inputs: q, outputs: hidden, bias: out_bias }],
            extras: Vec::new(),
            positions: match layout.positions {
                // The first layer holds the table for all of its stack.
                Positions::Relative { buckets } if layer == 0 && !cross => buckets * self.heads,
                _ => 0,
            },
        })
    }

    /// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1): queries and keys are made of small
    /// vectors, of which that of the keys and values is kept.
    pub(super) fn latent(&self) -> Result<Mixer, Error> {
        let keys = self.keys;
        let size = |name| keys.required(&[name], 1 << 14);
        let (nope, rope, v_dim) = (size("qk_nope_head_dim")?, size("qk_rope_head_dim")?, size("v_head_dim")?);
        let (rank, q_rank) = (size("kv_lora_rank")?, keys.optional(&["q_lora_rank"], 1 << 16)?);
        let (heads, hidden) = (self.heads, self.hidden);
        let bias = self.attention_bias;
        let q = heads * (nope + rope);
        let mut makes = match q_rank {
            Some(q_rank) => {
                let small = Linear { bias, ..Linear::new("self_attn.q_a_proj", hidden, q_rank) };
                let large = Make::new(Role::Query, Linear::new("self_attn.q_b_proj", q_rank, q));
                vec![Make { norm: q_rank, ..Make::new(Role::Inner, small) }, Make { from: Some(0), ..large }]
            }
            None => vec![Make::new(Role::Query, Linear::new("self_attn.q_proj", hidden, q))],
        };
        let latent = Linear { bias, ..Linear::new("self_attn.kv_a_proj_with_mqa", hidden, rank + rope) };
        makes.push(Make { norm: rank, ..Make::new(Role::Latent, latent) });
        let from = Some(makes.len() - 1);
        let keys_and_values = Linear::new("self_attn.kv_b_proj", rank, heads * (nope + v_dim));
        makes.push(Make { from, ..Make::new(Role::Inner, keys_and_values) });
        Ok(Mixer {
            makes,
            mixing: Mixing::Attention(Heads {
                heads,
                kv_heads: heads,
                qk_dim: nope + rope,
                v_dim,
                latent: Some((rank + rope, rank)),
                sees: Sees::All,
                kept: rank + rope,
                index: None,
                borrows: None,
            }),
            outs: vec![Linear { bias, ..Linear::new("self_attn.o_proj", heads * v_dim, hidden) }],
            extras: Vec::new(),
            positions: 0,
        })
    }

    /// The index of sparse attention (DeepSeek-V3.2): it scores all positions by narrow keys of their own, and the
    /// attention sees the best `index_topk`.
    pub(super) fn indexed(&self, mut mixer: Mixer) -> Result<Mixer, Error> {
        let size = |name| self.keys.required(&[name], 1 << 16);
        let (heads, dim, chosen) = (size("index_n_heads")?, size("index_head_dim")?, size("index_topk")?);
        let q_rank = mixer.makes.first().map_or(self.hidden, |make| make.linear.outputs);
        let queries = Make::new(Role::Inner, Linear::new("self_attn.indexer.wq_b", q_rank, heads * dim));
        mixer.makes.push(Make { from: Some(0), ..queries });
        // A layer norm, whatever the norms of the family are.
        let keys = Make::new(Role::Inner, Linear::new("self_attn.indexer.wk", self.hidden, dim));
        mixer.makes.push(Make { norm: 2 * dim, ..keys });
        mixer.makes.push(Make::new(Role::Inner, Linear::new("self_attn.indexer.weights_proj", self.hidden, heads)));
        if let Mixing::Attention(of) = &mut mixer.mixing {
            of.sees = Sees::Chosen(chosen);
            of.index = Some(Index { heads, dim, ratio: 1 });
        }
        Ok(mixer)
    }

    /// An MLP of this width; `names` are those of its matrices up, gate and down.
    pub(super) fn mlp(&self, width: u64, names: [&'static str; 3]) -> MlpShape {
        self.mlp_between(self.hidden, width, names)
    }

    /// The same between layers of width `outer`.
    pub(super) fn mlp_between(&self, outer: u64, width: u64, names: [&'static str; 3]) -> MlpShape {
        let bias = self.mlp_bias;
        let packed = self.layout.gated == Gated::Packed;
        let up = Linear { name: names[0], inputs: outer, outputs: if packed { 2 * width } else { width }, bias };
        let gate = self.gated.then_some(Linear { name: names[1], ..up });
        MlpShape { gate, up, down: Linear { name: names[2], inputs: width, outputs: outer, bias } }
    }

    /// A layer of its mixer and what follows, with norms where the family has them.
    pub(super) fn arrange(&self, blocks: Vec<Block>) -> Layer {
        self.arrange_as(blocks, self.layout.norms)
    }

    /// The same with norms at other places.
    pub(super) fn arrange_as(&self, blocks: Vec<Block>, norms: Norms) -> Layer {
        let norm = self.norm();
        let mut parts: Vec<Part> = blocks.into_iter().map(|block| Part::new(block, norm)).collect();
        for (at, part) in parts.iter_mut().enumerate() {
            match norms {
                _ if self.norms_after => part.norms = [0, 0, norm],
                Norms::Before | Norms::After => {}
                Norms::Around => part.norms[1] = norm,
                Norms::Outputs => part.norms = [0, norm, 0],
                Norms::Beside => {
                    part.beside = at > 0;
                    part.norms[0] = if at > 0 { 0 } else { norm };
                }
                // Both halves read the sum, each through a norm of its own.
                Norms::BesideTwo => part.beside = at > 0,
            }
        }
        Layer { parts, extras: Vec::new() }
    }

    fn stack(&self, number: usize, prefix: &'static str, layers: u64, causal: bool) -> Result<Stack, Error> {
        let all: Result<Vec<Layer>, Error> = (0..layers).map(|at| (self.layout.layer)(self, number, at)).collect();
        let norm = if self.norms_after || !self.layout.final_norm { 0 } else { self.norm() };
        Ok(Stack { prefix, layers: all?, causal, norm })
    }

    /// What transformers' class of the file's `architectures` ends in.
    fn end(&self) -> Result<End, Error> {
        let (pooler, encodes) = (self.layout.pooler, self.layout.stacks_encode());
        let both = matches!(self.layout.stacks, Stacks::Both { .. });
        let by_default = if pooler == Pooler::ByDefault { End::Pooler } else { End::Head };
        let Some(architecture) = self.keys.architecture() else { return Ok(by_default) };
        let has = |parts: &[&str]| parts.iter().any(|part| architecture.contains(part));
        // Encoders look at the first token through a matrix (BERT's pooler, DistilBERT's `pre_classifier`).
        let whole = |classes| End::Classes { classes, bias: encodes || both, transform: encodes || both };
        let labels = || self.keys.labels(2);
        Ok(if has(&["ForSequenceClassification"]) {
            whole(labels()?)
        } else if has(&["ForTokenClassification", "ForQuestionAnswering"]) {
            let transform = self.layout.transform == Transform::Everywhere;
            End::Classes { classes: labels()?, bias: true, transform }
        } else if has(&["ForMultipleChoice"]) {
            whole(1)
        } else if has(&["ForNextSentencePrediction"]) {
            whole(2)
        } else if encodes && has(&["ForMaskedLM", "ForCausalLM", "LMHead", "ForPreTraining"]) {
            End::Masked { sentences: pooler == Pooler::ByDefault && has(&["ForPreTraining"]) }
        } else if has(&["For", "LMHead", "CausalLM"]) {
            End::Head
        } else if architecture.ends_with("Model") {
            if pooler == Pooler::Never { End::Nothing } else { End::Pooler }
        } else {
            by_default
        })
    }

    pub(super) fn model(self) -> Result<Model, Error> {
        let (keys, layout, hidden) = (self.keys, self.layout, self.hidden);
        let stacks = match layout.stacks {
            Stacks::Decoder(prefix) => vec![self.stack(0, prefix, self.layers, true)?],
            Stacks::Encoder(prefix) => vec![self.stack(0, prefix, self.layers, false)?],
            Stacks::Both { encoder, decoder, .. } => {
                vec![self.stack(0, encoder, self.layers, false)?, self.stack(1, decoder, self.decoder_layers, true)?]
            }
        };
        let longest = keys.optional(layout.keys.max_position_embeddings, 1 << 24)?;
        let (mut inputs, mut tables, mut learned_tokens, mut tokens) = (Vec::new(), Vec::new(), 0, Tokens::Chosen);
        let mut width = hidden;
        let table = |name, rows, by| Table { name, rows, width: hidden, by };
        let positions = match layout.input {
            ModelInput::Patches { learned } => {
                let image = Image::from_keys(keys)?;
                learned_tokens = learned;
                inputs.push(image.embedding(hidden));
                tokens = Tokens::Image { all: image.patches() + learned, patches: image.patches() };
                image.patches() + learned
            }
            ModelInput::Tokens { types, narrow, .. } => {
                if narrow
                    && let Some(narrow) = keys.optional(layout.narrow, 1 << 20)?.filter(|narrow| *narrow != hidden)
                {
                    width = narrow;
                    inputs.push(Linear {
                        name: "project_in",
                        inputs: narrow,
                        outputs: hidden,
                        bias: layout.project_bias,
                    });
                }
                if let Some(types) = types {
                    let types = keys.count(&["type_vocab_size"], 1 << 16)?.unwrap_or(types);
                    tables.push(table("token_type_embeddings", types, By::Kind));
                }
                match (longest, &layout.positions) {
                    (Some(positions), _) => positions,
                    // They have no end; the key only says what the model was trained with.
                    (None, Positions::Relative { .. } | Positions::None) => 1 << 17,
                    (None, _) => keys.required(layout.keys.max_position_embeddings, 1 << 24)?,
                }
            }
        };
        if let Positions::Learned { extra } = layout.positions {
            for (at, _) in stacks.iter().enumerate().filter(|(at, _)| *at == 0 || layout.positions_each) {
                let name = if at == 0 { "embed_positions" } else { "decoder.embed_positions" };
                tables.insert(at, table(name, positions + extra, By::Position));
            }
        }
        let image = matches!(layout.input, ModelInput::Patches { .. });
        let embedding_norm = if layout.embedding_norm { self.norm_of(width) } else { 0 };
        let (mut outputs, mut extras) = (Vec::new(), Vec::new());
        let end = self.end()?;
        let dense = |name, outputs, bias| Linear { name, inputs: hidden, outputs, bias };
        match end {
            End::Pooler => outputs.push(dense("pooler.dense", hidden, true)),
            End::Classes { transform: true, .. } if layout.transform == Transform::Everywhere => {
                outputs.push(dense("head.dense", hidden, false));
                extras.push(("head.norm", self.norm()));
            }
            End::Classes { transform: true, .. } => outputs.push(dense("pooler.dense", hidden, true)),
            End::Masked { sentences: true } => {
                extras.push(("pooler.dense", hidden * hidden + hidden));
                extras.push(("seq_relationship", 2 * hidden + 2));
            }
            _ => {}
        }
        if width != hidden && matches!(end, End::Head | End::Masked { .. }) && layout.narrow_out {
            outputs.push(Linear { name: "project_out", inputs: hidden, outputs: width, bias: false });
        }
        let mut tied = !image && keys.flag("tie_word_embeddings", layout.tied)?;
        let head = match end {
            End::Nothing | End::Pooler => None,
            End::Classes { classes, bias, .. } => {
                tied = false;
                Some(dense(if layout.stacks_encode() { "classifier" } else { "score" }, classes, bias))
            }
            End::Head if image => {
                let classes = keys.labels(layout.classes)?;
                Some(Linear { name: "classifier", inputs: hidden * layout.classified, outputs: classes, bias: true })
            }
            End::Head | End::Masked { .. } => {
                let masked = end != End::Head;
                if masked {
                    outputs.push(dense("transform.dense", width, layout.transform == Transform::Masked));
                    extras.push(("transform.LayerNorm", self.norm_of(width)));
                    extras.push(("decoder.bias", self.vocabulary));
                }
                let name = if tied { "embed_tokens" } else { "lm_head" };
                let inputs = if layout.narrow_out || masked { width } else { hidden };
                Some(Linear { name, inputs, outputs: self.vocabulary, bias: layout.head_bias && !masked })
            }
        };
        let vocabulary = Table { name: "embed_tokens", rows: self.vocabulary, width, by: By::Token };
        let mut model = Model {
            hidden,
            stacks,
            vocabulary,
            tables,
            learned_tokens,
            embedding_norm,
            inputs,
            outputs,
            head,
            tied,
            extras,
            positions,
            tokens,
        };
        if let Some(finish) = layout.finish {
            finish(&self, &mut model)?;
        }
        Ok(model)
    }
}

/// The image of a vision Transformer.
#[derive(Debug, Clone, Copy)]
struct Image {
    size: u64,
    patch: u64,
    channels: u64,
}

impl Image {
    fn from_keys(keys: &Keys<'_>) -> Result<Self, Error> {
        // The defaults are those of transformers' ViTConfig.
        let image = Self {
            size: keys.optional(&["image_size"], 1 << 14)?.unwrap_or(224),
            patch: keys.optional(&["patch_size"], 1 << 14)?.unwrap_or(16),
            channels: keys.optional(&["num_channels"], 1 << 10)?.unwrap_or(3),
        };
        if !image.size.is_multiple_of(image.patch) {
            let problem = format!("patches of {} do not divide an image of {}", image.patch, image.size);
            return Err(keys.bad("patch_size", problem, "Correct one of the two"));
        }
        Ok(image)
    }

    fn patches(self) -> u64 {
        (self.size / self.patch).pow(2)
    }

    /// The matrix that patches are multiplied with.
    fn embedding(self, hidden: u64) -> Linear {
        let inputs = self.channels * self.patch * self.patch;
        Linear { name: "embeddings.patch_embeddings", inputs, outputs: hidden, bias: true }
    }
}

/// What mixes the tokens of a layer in most families: attention of heads of one size.
pub(super) fn heads(shapes: &Shapes<'_>, layer: u64) -> Result<Mixer, Error> {
    shapes.heads_of(layer, shapes.kv_heads, shapes.head_dim, shapes.sees(layer)?, false)
}

/// What follows in most families: an MLP, or experts.
pub(super) fn feed(shapes: &Shapes<'_>, stack: usize, layer: u64) -> Result<Block, Error> {
    match shapes.mixture(stack, layer)? {
        Some(mixture) => Ok(Block::Sparse(Box::new(mixture))),
        None => Ok(Block::Dense(shapes.mlp(shapes.inner, shapes.layout.matrices.mlp))),
    }
}

/// A layer in most families: what mixes tokens, in a second stack the attention to the first, and what follows.
pub(super) fn layer(shapes: &Shapes<'_>, stack: usize, layer: u64) -> Result<Layer, Error> {
    let mut mixer = (shapes.layout.mixer)(shapes, layer)?;
    if stack == 0
        && matches!(shapes.layout.stacks, Stacks::Encoder(_) | Stacks::Both { .. })
        && let (Sees::All, Mixing::Attention(heads)) = (Sees::All, &mut mixer.mixing)
    {
        // An encoder keeps nothing.
        heads.kept = 0;
    }
    let mut blocks = vec![Block::Mix(mixer)];
    if stack > 0 {
        blocks.push(Block::Cross(shapes.heads_of(layer, shapes.kv_heads, shapes.head_dim, Sees::All, true)?));
    }
    blocks.push((shapes.layout.feed)(shapes, stack, layer)?);
    Ok(shapes.arrange(blocks))
}

impl Shapes<'_> {
    /// The experts of a layer, where it has some.
    pub(super) fn mixture(&self, stack: usize, layer: u64) -> Result<Option<Mixture>, Error> {
        let keys = self.keys;
        let Some(layout) = &self.layout.experts else { return Ok(None) };
        const ROUTED: [&str; 4] = ["num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"];
        const EACH: [&str; 5] = ["num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k_experts", "moe_k"];
        let experts = keys.required(&ROUTED, (1 << 16) - 1)?;
        let per_token = match layout.per_token {
            Some(default) => keys.optional(&EACH, 1 << 16)?.unwrap_or(default),
            None => keys.required(&EACH, 1 << 16)?,
        };
        check_range("num_experts_per_tok", per_token, 1..=experts)?;
        let width = &["moe_intermediate_size"];
        let width = match layout.wide_as_mlp {
            true => keys.optional(width, WIDEST)?.unwrap_or(self.inner),
            false => keys.required(width, WIDEST)?,
        };
        if !self.sparse(layout.layers, stack, layer)? {
            return Ok(None);
        }
        let shared = match layout.shared {
            Shared::None => None,
            Shared::Weighed => {
                let width = keys.required(&["shared_expert_intermediate_size"], WIDEST)?;
                let names = ["mlp.shared_expert.up_proj", "mlp.shared_expert.gate_proj", "mlp.shared_expert.down_proj"];
                Some((self.mlp(width, names), Some(Linear::new("mlp.shared_expert_gate", self.hidden, 1))))
            }
            Shared::Several | Shared::One => {
                let count = match layout.shared {
                    Shared::One => 1,
                    _ => keys.count(&["n_shared_experts", "num_shared_experts"], 1 << 10)?.unwrap_or(0),
                };
                let wide = keys.optional(
                    &["moe_shared_expert_intermediate_size", "share_expert_dim", "shared_intermediate_size"],
                    WIDEST,
                )?;
                let names =
                    ["mlp.shared_experts.up_proj", "mlp.shared_experts.gate_proj", "mlp.shared_experts.down_proj"];
                (count > 0).then(|| (self.mlp(wide.unwrap_or(width * count), names), None))
            }
        };
        Ok(Some(Mixture {
            router: Linear { bias: layout.router_bias, ..Linear::new(layout.router, self.hidden, experts) },
            expert: self.mlp(width, layout.names),
            experts,
            per_token,
            shared,
            latent: None,
            extras: Vec::new(),
        }))
    }

    /// Whether a layer has experts.
    fn sparse(&self, layers: SparseLayers, stack: usize, layer: u64) -> Result<bool, Error> {
        let keys = self.keys;
        if let Some(of) = keys.of_layer("mlp_layer_types", layer, self.layers)? {
            return Ok(of.as_str() == Some("sparse"));
        }
        Ok(match layers {
            SparseLayers::All => true,
            SparseLayers::LastOfGroup => {
                let step = keys.optional(&["decoder_sparse_step"], 1024)?.unwrap_or(1);
                let dense: Vec<u64> = match keys.value("mlp_only_layers") {
                    None => Vec::new(),
                    Some(list) => serde_json::from_value(list.clone()).map_err(|e| {
                        keys.bad("mlp_only_layers", e.to_string(), "Write a list of layers, counted from 0")
                    })?,
                };
                (layer + 1).is_multiple_of(step) && !dense.contains(&layer)
            }
            SparseLayers::SecondOfGroup => {
                // As transformers derives it: every n-th layer, so that the stated number of layers has experts.
                // None at all is written as 0 and then means one of them all.
                let (name, stated, layers) = match stack {
                    0 => ("num_sparse_encoder_layers", "encoder_sparse_step", self.layers),
                    _ => ("num_sparse_decoder_layers", "decoder_sparse_step", self.decoder_layers),
                };
                let every = match keys.count(&[name], 1024)? {
                    Some(0) => Some(layers),
                    Some(sparse) => Some((layers / sparse).max(1)),
                    None => keys.optional(&[stated], 1024)?,
                };
                // A third of the layers where the file is silent, as in transformers' SwitchTransformersConfig.
                let step = every.unwrap_or((layers / 3).max(1));
                step == 1 || layer % step == 1
            }
            SparseLayers::Behind => match keys.value("moe_layer_freq") {
                Some(Value::Array(_)) => {
                    keys.of_layer("moe_layer_freq", layer, self.layers)?.is_some_and(|of| of.as_u64() != Some(0))
                }
                _ => {
                    let step = keys.optional(&["moe_layer_freq"], 1024)?.unwrap_or(1);
                    let first = keys.count(&["first_k_dense_replace"], 1024)?.unwrap_or(0);
                    layer >= first && layer.is_multiple_of(step)
                }
            },
            SparseLayers::Interleaved => match keys.value("moe_layers") {
                Some(Value::Array(listed)) => listed.iter().any(|of| of.as_u64() == Some(layer)),
                _ => {
                    let step = keys.optional(&["interleave_moe_layer_step"], 1024)?.unwrap_or(1);
                    (layer + 1).is_multiple_of(step)
                }
            },
            SparseLayers::Periodic => {
                let period = keys.optional(&["expert_layer_period"], 1024)?.unwrap_or(2);
                let offset = keys.count(&["expert_layer_offset"], 1024)?.unwrap_or(1);
                layer % period == offset
            }
        })
    }
}
