//! Networks of operators over images and over sequences of vectors: which there are, and what each stores.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Filters of `size` x `size` that move by `stride` over an image with a border of `padding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Height and width.
    pub size: u64,
    /// Step; 1 where absent.
    #[serde(default = "one")]
    pub stride: u64,
    /// Border; 0 where absent.
    #[serde(default)]
    pub padding: u64,
}

fn one() -> u64 {
    1
}

impl Window {
    /// Positions along a side of `side` elements; none where the window does not fit.
    pub(crate) fn positions(&self, side: u64) -> Option<u64> {
        if self.size == 0 || self.padding > 1 << 16 {
            return None;
        }
        let room = side.checked_add(2 * self.padding)?.checked_sub(self.size)?;
        Some(room.checked_div(self.stride)? + 1)
    }
}

/// An operator of a convolutional network. `from` names the operator whose output it reads (0 = the image, 1 = the
/// first operator, ...).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    /// The name of its weights, or what it is.
    pub(crate) name: String,
    /// The layer it counts to.
    pub(crate) layer: u32,
    /// Whose output it reads.
    pub(crate) from: usize,
    /// What it does.
    pub(crate) kind: BlockKind,
    /// Channels, height and width of what it makes.
    pub(crate) out: [u64; 3],
}

/// What a [`Block`] does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum BlockKind {
    /// A convolution, with a bias or not.
    Conv {
        /// How it moves.
        window: Window,
        /// Groups of channels.
        groups: u64,
        /// Whether it has biases.
        bias: bool,
    },
    /// Batch normalisation: a factor and an offset per channel.
    Norm,
    /// A rectifier.
    Relu,
    /// A pool.
    Pool(Window),
    /// An average over the image.
    GlobalPool,
    /// The sum with another operator's output.
    Add(usize),
    /// A linear layer over everything, with biases.
    Linear,
    /// What else comes in from outside, such as the vectors of a text.
    Input,
    /// Element by element, with so many stored elements: factors of a norm, or none.
    Scale(u64),
    /// The product of the two halves of the channels, one behind an activation.
    Gate,
    /// The same elements in another order, with those of another operator behind them.
    Copy(Option<usize>),
    /// The sum with a stored tensor of the same shape: learned positions.
    Learned,
    /// A stored tensor, the same for each image, such as a query that is learned.
    Parameter,
    /// Rows of a table, one for each position.
    Rows {
        /// Rows of the table.
        rows: u64,
    },
    /// Attention of queries to keys and values, which stand behind the queries in the same channels or are made by two other
    /// operators.
    Attention {
        /// Heads that share the channels.
        heads: u64,
        /// The operators that made keys and values.
        others: Option<[usize; 2]>,
        /// Positions that see each other, where not all do.
        window: Option<u64>,
        /// Elements of a table of relative positions.
        table: u64,
    },
}

/// The operators of a convolutional network, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Network {
    /// Channels, height and width of the image.
    pub(crate) image: [u64; 3],
    pub(crate) blocks: Vec<Block>,
}

impl Network {
    /// Channels, height and width of the image (0) or of what an operator makes (1, 2, ...).
    pub(crate) fn out(&self, of: usize) -> [u64; 3] {
        if of == 0 { self.image } else { self.blocks[of - 1].out }
    }

    /// Elements that a block stores: its matrix, and its biases (or factors and offsets).
    pub(crate) fn stored(&self, block: &Block) -> (u64, u64) {
        let [channels, height, width] = self.out(block.from);
        let [filters, ..] = block.out;
        // What passes 64 bits is refused when its bytes are counted.
        let times = |factors: &[u64]| factors.iter().fold(1u64, |p, f| p.saturating_mul(*f));
        match &block.kind {
            BlockKind::Conv { window, groups, bias } => {
                (times(&[filters, channels / groups, window.size, window.size]), if *bias { filters } else { 0 })
            }
            BlockKind::Norm => (0, 2 * filters),
            BlockKind::Linear => (times(&[filters, channels, height, width]), filters),
            BlockKind::Scale(elements) => (0, *elements),
            BlockKind::Attention { table, .. } => (0, *table),
            BlockKind::Learned | BlockKind::Parameter => (times(&block.out), 0),
            BlockKind::Rows { rows } => (times(&[*rows, filters]), 0),
            BlockKind::Relu
            | BlockKind::Pool(_)
            | BlockKind::GlobalPool
            | BlockKind::Add(_)
            | BlockKind::Input
            | BlockKind::Gate
            | BlockKind::Copy(_) => (0, 0),
        }
    }

    pub(super) fn parameters(&self) -> u64 {
        let sizes = self.blocks.iter().map(|block| self.stored(block));
        sizes.fold(0, |sum, (matrix, rest)| sum.saturating_add(matrix).saturating_add(rest))
    }
}

/// Builds a network operator by operator.
pub(super) struct NetworkBuilder {
    pub(super) network: Network,
    pub(super) layer: u32,
}

impl NetworkBuilder {
    pub(super) fn new(image: [u64; 3]) -> Self {
        Self { network: Network { image, blocks: Vec::new() }, layer: 0 }
    }

    /// The number of the last operator.
    pub(super) fn last(&self) -> usize {
        self.network.blocks.len()
    }

    pub(super) fn push(&mut self, name: impl Into<String>, from: usize, kind: BlockKind, out: [u64; 3]) -> usize {
        self.network.blocks.push(Block { name: name.into(), layer: self.layer, from, kind, out });
        self.last()
    }

    /// Height and width of what a window leaves of the output of `from`.
    fn sides(&self, name: &str, from: usize, window: Window) -> Result<(u64, u64), Error> {
        let [_, height, width] = self.network.out(from);
        let sides = window.positions(height).zip(window.positions(width));
        sides.ok_or_else(|| {
            Error::field(
                "layers",
                format!("{} x {} by {}", window.size, window.size, window.stride),
                format!("{name}: the window does not fit into {height} x {width} with a border of {}", window.padding),
                "Choose a larger image, a smaller window or more padding, and a stride of 1 or more",
            )
        })
    }

    /// A convolution in `groups`, with biases or not.
    pub(super) fn conv(
        &mut self,
        name: &str,
        from: usize,
        filters: u64,
        window: Window,
        (groups, bias): (u64, bool),
    ) -> Result<usize, Error> {
        let [channels, ..] = self.network.out(from);
        let (height, width) = self.sides(name, from, window)?;
        if groups == 0 || !channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
            return Err(Error::field(
                "groups",
                groups,
                format!("{name} has {channels} channels and {filters} filters, which the groups must divide"),
                "Correct one of the three",
            ));
        }
        Ok(self.push(name, from, BlockKind::Conv { window, groups, bias }, [filters, height, width]))
    }

    pub(super) fn pool(&mut self, name: &str, from: usize, window: Window) -> Result<usize, Error> {
        let [channels, ..] = self.network.out(from);
        let (height, width) = self.sides(name, from, window)?;
        Ok(self.push(name, from, BlockKind::Pool(window), [channels, height, width]))
    }

    /// A linear layer at each position.
    pub(super) fn linear(&mut self, name: &str, from: usize, outputs: u64, bias: bool) -> Result<usize, Error> {
        let window = Window { size: 1, stride: 1, padding: 0 };
        self.conv(name, from, outputs, window, (1, bias))
    }

    /// A norm with a factor and an offset for each channel.
    pub(super) fn norm(&mut self, name: &str, from: usize) -> usize {
        self.keep(name.to_owned(), from, BlockKind::Norm)
    }

    /// Element by element, with so many stored elements.
    pub(super) fn scale(&mut self, name: &str, from: usize, elements: u64) -> usize {
        self.keep(name.to_owned(), from, BlockKind::Scale(elements))
    }

    /// An activation function.
    pub(super) fn active(&mut self, name: &str, from: usize) -> usize {
        self.keep(format!("{name}.activation"), from, BlockKind::Relu)
    }

    /// The sum of two.
    pub(super) fn add(&mut self, name: &str, from: usize, other: usize) -> usize {
        self.keep(format!("{name}.sum"), from, BlockKind::Add(other))
    }

    /// The same elements in another shape.
    pub(super) fn lay(&mut self, name: &str, from: usize, out: [u64; 3]) -> usize {
        self.push(format!("{name}.layout"), from, BlockKind::Copy(None), out)
    }

    /// Two outputs of the same height and width, one's channels behind the other's.
    pub(super) fn concat(&mut self, name: &str, from: usize, other: usize) -> usize {
        let ([channels, height, width], [more, ..]) = (self.network.out(from), self.network.out(other));
        self.push(format!("{name}.concat"), from, BlockKind::Copy(Some(other)), [channels + more, height, width])
    }

    /// Attention of queries to keys and values.
    pub(super) fn attention(&mut self, name: &str, [q, k, v]: [usize; 3], heads: u64) -> usize {
        let kind = BlockKind::Attention { heads, others: Some([k, v]), window: None, table: 0 };
        self.keep(format!("{name}.attention"), q, kind)
    }

    /// Two linear layers with an activation between them, all with biases.
    pub(super) fn mlp(&mut self, [up, down]: [&str; 2], from: usize, inner: u64, outer: u64) -> Result<usize, Error> {
        let wide = self.linear(up, from, inner, true)?;
        let active = self.active(up, wide);
        self.linear(down, active, outer, true)
    }

    pub(super) fn keep(&mut self, name: String, from: usize, kind: BlockKind) -> usize {
        let out = self.network.out(from);
        self.push(name, from, kind, out)
    }

    /// A convolution without bias, its normalisation and, if asked, its rectifier.
    pub(super) fn conv_norm(
        &mut self,
        name: &str,
        from: usize,
        filters: u64,
        window: Window,
        relu: bool,
    ) -> Result<usize, Error> {
        let conv = self.conv(&format!("{name}.convolution"), from, filters, window, (1, false))?;
        let norm = self.keep(format!("{name}.normalization"), conv, BlockKind::Norm);
        Ok(if relu { self.keep(format!("{name}.relu"), norm, BlockKind::Relu) } else { norm })
    }
}
