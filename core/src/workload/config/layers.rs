//! A model as a table of its layers: what each is made of, what it keeps of the tokens that it has seen, and how many
//! parameters that takes. Whatever is asked of a model (facts, traces, number formats, one device of many) reads this.

/// A matrix of weights, with its name inside the layer. Of one that falls into equal blocks on the diagonal (groups, a
/// convolution over time), `inputs` are those of one output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Linear {
    pub(crate) name: &'static str,
    pub(crate) inputs: u64,
    pub(crate) outputs: u64,
    pub(crate) bias: bool,
}

impl Linear {
    /// A matrix without biases.
    pub(crate) const fn new(name: &'static str, inputs: u64, outputs: u64) -> Self {
        Self { name, inputs, outputs, bias: false }
    }

    pub(crate) fn elements(&self) -> u64 {
        (self.inputs + u64::from(self.bias)) * self.outputs
    }
}

/// Where a matrix stands, which decides whether quantisers touch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a layer.
    Layer,
    /// One of the experts of a layer.
    Expert,
    /// What chooses experts, a convolution over time, and other matrices that no quantiser touches.
    Kept,
    Head,
    Embedding,
}

/// Tensors that are no matrices: name and elements.
pub(crate) type Extra = (&'static str, u64);

/// What a matrix at the beginning of a mixer makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Query,
    /// Keys or values.
    Kept,
    /// Queries, keys and values in one.
    Packed,
    /// Keys and values in one small vector, which is kept in their place (multi-head latent attention).
    Latent,
    /// What stays within the layer: read by other matrices, or by the mixing itself.
    Inner,
}

/// A matrix at the beginning of a mixer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Make {
    pub(crate) linear: Linear,
    /// The matrix before it whose result it multiplies; the input of the layer where none.
    pub(crate) from: Option<usize>,
    /// Elements of the norm over what it makes; 0 where there is none.
    pub(crate) norm: u64,
    pub(crate) role: Role,
}

impl Make {
    /// A matrix on the input, without a norm.
    pub(crate) fn new(role: Role, linear: Linear) -> Self {
        Self { linear, from: None, norm: 0, role }
    }
}

/// The positions that a query sees of those up to its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sees {
    All,
    /// The last ones, its own included.
    Window(u64),
    /// Those in its own chunk.
    Chunk(u64),
    /// So many of all, which an index chooses; all are kept.
    Chosen(u64),
    /// The last `window`, and of those before one for each `ratio` positions, at most `chosen` of them.
    Compressed {
        window: u64,
        ratio: u64,
        chosen: u64,
    },
}

/// The index that chooses positions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Index {
    pub(crate) heads: u64,
    pub(crate) dim: u64,
    /// Positions that share one key.
    pub(crate) ratio: u64,
}

/// Softmax attention over kept positions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) heads: u64,
    pub(crate) kv_heads: u64,
    /// Width of a query and of a key.
    pub(crate) qk_dim: u64,
    /// Width of a value.
    pub(crate) v_dim: u64,
    /// The widths of key and value where one query works on the latent vectors themselves.
    pub(crate) latent: Option<(u64, u64)>,
    pub(crate) sees: Sees,
    /// Elements that are kept of a position; 0 where the layer keeps none.
    pub(crate) kept: u64,
    /// The earlier layer of the stack whose keys and values it reads, where it keeps none of its own.
    pub(crate) borrows: Option<u64>,
    pub(crate) index: Option<Index>,
}

/// What a layer keeps of the positions of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cache {
    pub(crate) name: &'static str,
    /// Elements of an entry.
    pub(crate) width: u64,
    /// Entries of the ring that they are kept in, where there is no room for all.
    pub(crate) ring: Option<u64>,
    /// Positions that share an entry.
    pub(crate) ratio: u64,
}

impl Cache {
    /// Entries that are kept of `tokens` positions.
    pub(crate) fn entries(&self, tokens: u64) -> u64 {
        let all = tokens / self.ratio.max(1);
        self.ring.map_or(all, |ring| all.min(ring))
    }

    /// The ring, where `tokens` positions do not fit it.
    pub(crate) fn wraps(&self, tokens: u64) -> Option<u64> {
        self.ring.filter(|ring| tokens > *ring)
    }

    /// Whether requests of `tokens` positions may keep what they have in common once.
    pub(crate) fn shareable(&self, tokens: u64) -> bool {
        self.ratio == 1 && self.wraps(tokens).is_none()
    }
}

impl Heads {
    /// What is kept of the positions.
    pub(crate) fn caches(&self) -> Vec<Cache> {
        if self.kept == 0 {
            return Vec::new();
        }
        let cache = |name, width, ring, ratio| Cache { name, width, ring, ratio };
        let mut all = match self.sees {
            Sees::All | Sees::Chosen(_) => vec![cache("kv", self.kept, None, 1)],
            Sees::Window(size) | Sees::Chunk(size) => vec![cache("kv", self.kept, Some(size), 1)],
            Sees::Compressed { window, ratio, .. } => {
                vec![cache("kv", self.kept, Some(window), 1), cache("compressed_kv", self.kept, None, ratio)]
            }
        };
        all.extend(self.index.map(|index| cache("index", index.dim, None, index.ratio)));
        all
    }
}

/// How tokens are mixed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mixing {
    Attention(Heads),
    /// A state of fixed size that each token changes: linear attention, state spaces, short convolutions.
    State {
        /// Elements of 32 bits that each sequence keeps.
        elements: u64,
        /// Elements of the convolution over time, in the width of the activations.
        convolved: u64,
        /// Work of one token besides the matrices.
        flops: u64,
    },
}

/// What mixes tokens: matrices, the mixing, matrices.
#[derive(Debug, Clone)]
pub(crate) struct Mixer {
    pub(crate) makes: Vec<Make>,
    pub(crate) mixing: Mixing,
    pub(crate) outs: Vec<Linear>,
    pub(crate) extras: Vec<Extra>,
    /// A table of relative positions, which the first layer holds for its stack.
    pub(crate) positions: u64,
}

impl Mixer {
    /// Its attention, where it is one.
    pub(crate) fn heads(&self) -> Option<&Heads> {
        match &self.mixing {
            Mixing::Attention(heads) => Some(heads),
            Mixing::State { .. } => None,
        }
    }

    fn matrices(&self) -> impl Iterator<Item = &Linear> {
        self.makes.iter().map(|make| &make.linear).chain(&self.outs)
    }

    fn small(&self) -> u64 {
        self.makes.iter().map(|make| make.norm).sum::<u64>() + extras(&self.extras) + self.positions
    }
}

/// Elements of all `extras`.
fn extras(extras: &[Extra]) -> u64 {
    extras.iter().map(|(_, elements)| elements).sum()
}

/// An MLP: one matrix in, or two that are multiplied with each other, and one out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MlpShape {
    pub(crate) gate: Option<Linear>,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
}

impl MlpShape {
    /// Its matrices, in the order in which they are used.
    pub(crate) fn matrices(self) -> impl Iterator<Item = Linear> {
        self.gate.into_iter().chain([self.up, self.down])
    }

    /// The matrices in.
    pub(crate) fn ups(self) -> impl Iterator<Item = Linear> {
        self.gate.into_iter().chain([self.up])
    }
}

/// Experts in place of an MLP.
#[derive(Debug, Clone)]
pub(crate) struct Mixture {
    pub(crate) router: Linear,
    pub(crate) expert: MlpShape,
    /// Experts of the layer, and those that each token is sent to.
    pub(crate) experts: u64,
    pub(crate) per_token: u64,
    /// The expert for all tokens, and the matrix that weighs it.
    pub(crate) shared: Option<(MlpShape, Option<Linear>)>,
    /// Matrices into and out of a narrower width that the experts work in.
    pub(crate) latent: Option<(Linear, Linear)>,
    pub(crate) extras: Vec<Extra>,
}

/// What a part of a layer computes.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    Mix(Mixer),
    /// Attention to what the other stack made.
    Cross(Mixer),
    Dense(MlpShape),
    Sparse(Box<Mixture>),
    /// Matrices one after the other.
    Chain(Vec<Linear>),
}

impl Block {
    /// Its matrices, with how many there are of each (all, or those that one token meets) and where they stand.
    fn matrices(&self, of_one_token: bool) -> Vec<(Linear, u64, Place)> {
        let layer = |linear: Linear| (linear, 1, Place::Layer);
        match self {
            Self::Mix(mixer) | Self::Cross(mixer) => {
                let place = |linear: &Linear| if linear.name.ends_with("conv1d") { Place::Kept } else { Place::Layer };
                mixer.matrices().map(|linear| (*linear, 1, place(linear))).collect()
            }
            Self::Dense(mlp) => mlp.matrices().map(layer).collect(),
            Self::Chain(chain) => chain.iter().copied().map(layer).collect(),
            Self::Sparse(mixture) => {
                let times = if of_one_token { mixture.per_token } else { mixture.experts };
                let latent = mixture.latent.into_iter().flat_map(|(into, out)| [into, out]).map(layer);
                let gate = mixture.shared.and_then(|(_, gate)| gate);
                let kept = [mixture.router].into_iter().chain(gate).map(|linear| (linear, 1, Place::Kept));
                let shared = mixture.shared.into_iter().flat_map(|(mlp, _)| mlp.matrices()).map(layer);
                let experts = mixture.expert.matrices().map(|linear| (linear, times, Place::Expert));
                kept.chain(latent).chain(shared).chain(experts).collect()
            }
        }
    }

    fn small(&self) -> u64 {
        match self {
            Self::Mix(mixer) | Self::Cross(mixer) => mixer.small(),
            Self::Sparse(mixture) => extras(&mixture.extras),
            Self::Dense(_) | Self::Chain(_) => 0,
        }
    }
}

/// A part of a layer: what it computes of the residual stream is added to it.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) block: Block,
    /// Elements of the norm before it, after it, and after the sum; 0 where there is none.
    pub(crate) norms: [u64; 3],
    /// Whether it works on what the part before it worked on, rather than on the sum.
    pub(crate) beside: bool,
}

impl Part {
    /// A part with a norm of `before` elements.
    pub(crate) fn new(block: Block, before: u64) -> Self {
        Self { block, norms: [before, 0, 0], beside: false }
    }
}

/// A layer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer {
    pub(crate) parts: Vec<Part>,
    pub(crate) extras: Vec<Extra>,
}

impl Layer {
    /// What mixes its tokens.
    pub(crate) fn mixers(&self) -> impl Iterator<Item = &Mixer> {
        self.parts.iter().filter_map(|part| match &part.block {
            Block::Mix(mixer) => Some(mixer),
            _ => None,
        })
    }

    /// The attentions over its own tokens.
    pub(crate) fn attentions(&self) -> impl Iterator<Item = &Heads> {
        self.mixers().filter_map(Mixer::heads)
    }

    /// Its experts, where it has some.
    pub(crate) fn mixture(&self) -> Option<&Mixture> {
        self.parts.iter().find_map(|part| match &part.block {
            Block::Sparse(mixture) => Some(&**mixture),
            _ => None,
        })
    }

    /// Its matrices, with how many there are of each and where they stand.
    pub(crate) fn placed(&self) -> Vec<(Linear, u64, Place)> {
        self.matrices(false)
    }

    fn matrices(&self, of_one_token: bool) -> Vec<(Linear, u64, Place)> {
        self.parts.iter().flat_map(|part| part.block.matrices(of_one_token)).collect()
    }

    /// Elements of what is no matrix.
    pub(crate) fn small(&self) -> u64 {
        let part = |part: &Part| part.norms.iter().sum::<u64>() + part.block.small();
        self.parts.iter().map(part).sum::<u64>() + extras(&self.extras)
    }

    fn parameters(&self, of_one_token: bool) -> u64 {
        let matrices = self.matrices(of_one_token);
        matrices.iter().map(|(linear, times, _)| linear.elements() * times).sum::<u64>() + self.small()
    }
}

/// A stack of layers.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    /// What the names of its tensors begin with.
    pub(crate) prefix: &'static str,
    pub(crate) layers: Vec<Layer>,
    /// Whether a token sees only those before it, whose keys and values are kept.
    pub(crate) causal: bool,
    /// Elements of the norm that closes it; 0 where there is none.
    pub(crate) norm: u64,
}

impl Stack {
    /// The name of what is called `name` in layer `layer`.
    pub(crate) fn name(&self, layer: usize, name: &str) -> String {
        format!("{}.{layer}.{name}", self.prefix)
    }
}

/// How the tokens of a model come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tokens {
    /// As many as the run asks for.
    Chosen,
    /// As many as the image has patches, and some that are learned, with its patches.
    Image { all: u64, patches: u64 },
}

/// A table that is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) rows: u64,
    pub(crate) width: u64,
    pub(crate) by: By,
}

/// What the rows of a table stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Token,
    Position,
    /// Each pass reads all of it.
    Kind,
}

/// A model of attention, states and MLPs, layer by layer.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    /// Width of the residual stream.
    pub(crate) hidden: u64,
    pub(crate) stacks: Vec<Stack>,
    /// The embedding table; no rows for images.
    pub(crate) vocabulary: Table,
    /// Tables of positions, kinds of tokens and the like.
    pub(crate) tables: Vec<Table>,
    /// Learned tokens at the beginning of an image.
    pub(crate) learned_tokens: u64,
    /// Elements of the norm over the embeddings; 0 where there is none.
    pub(crate) embedding_norm: u64,
    /// Matrices between the embeddings and the layers.
    pub(crate) inputs: Vec<Linear>,
    /// Matrices between the layers and the head.
    pub(crate) outputs: Vec<Linear>,
    /// The output head, where it has weights.
    pub(crate) head: Option<Linear>,
    /// Whether the output head is the embedding table.
    pub(crate) tied: bool,
    /// Tensors outside layers that are no matrices.
    pub(crate) extras: Vec<Extra>,
    /// Longest sequence.
    pub(crate) positions: u64,
    pub(crate) tokens: Tokens,
}

impl Model {
    /// All layers, in the order in which they run, each with its stack.
    pub(crate) fn layers(&self) -> impl Iterator<Item = (&Stack, usize, &Layer)> {
        self.stacks.iter().flat_map(|stack| stack.layers.iter().enumerate().map(move |(at, layer)| (stack, at, layer)))
    }

    /// Layers that keep something of the tokens they make.
    pub(crate) fn keeping(&self) -> impl Iterator<Item = &Layer> {
        self.stacks.iter().filter(|stack| stack.causal).flat_map(|stack| &stack.layers)
    }

    /// Whether nothing can be decoded with it.
    pub(crate) fn encodes_only(&self) -> bool {
        self.stacks.iter().all(|stack| !stack.causal)
    }

    /// What its layers keep of the positions of requests.
    pub(crate) fn caches(&self) -> impl Iterator<Item = Cache> {
        self.keeping().flat_map(Layer::attentions).flat_map(Heads::caches)
    }

    /// Elements of keys and values that one token adds before any window is full, all layers together; a part of an entry
    /// where several positions share one.
    pub(crate) fn kept_per_token(&self) -> u64 {
        self.caches().map(|cache| cache.width / cache.ratio.max(1)).sum()
    }

    /// Elements of keys and values of requests, each with its tokens and how many of them it has in common with the others.
    pub(crate) fn kept_elements(&self, requests: &[(u64, u64)]) -> u64 {
        let of_cache = |cache: Cache| {
            let (mut common, mut own) = (0, 0);
            for (tokens, shared) in requests {
                let shared = if cache.shareable(*tokens) { *shared } else { 0 };
                common = shared.max(common);
                own += cache.entries(tokens - shared);
            }
            cache.width * (common + own)
        };
        self.caches().map(of_cache).sum()
    }

    /// Bits of the states of one sequence, where activations have `activations` bits.
    pub(crate) fn state_bits(&self, activations: u64) -> u64 {
        let of = |mixer: &Mixer| match mixer.mixing {
            Mixing::State { elements, convolved, .. } => elements * STATE_BITS + convolved * activations,
            Mixing::Attention(_) => 0,
        };
        self.keeping().flat_map(Layer::mixers).map(of).sum()
    }

    /// Elements of the tables that are looked up, and not multiplied with: those of tokens where the output head is another
    /// tensor, of positions and of token types.
    pub(crate) fn table_elements(&self) -> u64 {
        let multiplied = self.tied && self.head.is_some();
        let tokens = if multiplied { 0 } else { self.vocabulary.rows * self.vocabulary.width };
        let tables: u64 = self.tables.iter().map(|table| table.rows * table.width).sum();
        tokens + tables + self.learned_tokens * self.hidden
    }

    /// Matrices outside the layers. A tied head is one of them, and the embedding table is it.
    pub(crate) fn outside(&self) -> impl Iterator<Item = &Linear> {
        self.inputs.iter().chain(&self.outputs).chain(&self.head)
    }

    /// Elements outside layers that are neither matrices nor tables.
    pub(crate) fn small(&self) -> u64 {
        let norms: u64 = self.stacks.iter().map(|stack| stack.norm).sum();
        self.embedding_norm + norms + extras(&self.extras)
    }

    fn multiplied(&self, of_one_token: bool) -> u64 {
        let layers: u64 = self.layers().map(|(.., layer)| layer.parameters(of_one_token)).sum();
        layers + self.outside().map(Linear::elements).sum::<u64>() + self.small()
    }

    /// Number of parameters.
    pub(crate) fn parameters(&self) -> u64 {
        self.multiplied(false) + self.table_elements()
    }

    /// Those that one token is multiplied with.
    pub(crate) fn active_parameters(&self) -> u64 {
        self.multiplied(true)
    }
}

/// Width of the elements of a state, as the kernels of Mamba and of gated linear attention keep them (float32).
pub(crate) const STATE_BITS: u64 = 32;
