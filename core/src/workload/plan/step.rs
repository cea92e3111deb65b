//! Steps: operators over tensors, before anything is cut into tiles.

use std::borrow::Cow;

use crate::error::Error;
use crate::tiling::{Chain, Image};
use crate::trace::{Kind, Mode, Op};
use crate::workload::dtype::product;

/// A matrix: how many elements, and how wide they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    pub(crate) rows: u64,
    pub(crate) cols: u64,
    /// Bits an element takes.
    pub(crate) bits: u64,
}

impl Shape {
    pub(crate) fn new(rows: u64, cols: u64, bits: u64) -> Self {
        Self { rows, cols, bits }
    }

    pub(super) fn bytes(&self) -> Result<u64, Error> {
        product(&[self.rows, self.cols, self.bits]).map(|bits| bits.div_ceil(8))
    }
}

/// A tensor of a plan: stored for good, or temporary within a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Val {
    Stored(u32),
    Temp(u32),
}

/// C = A x B, all given as they are stored; `a_transposed` means that A is stored with its columns as rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    /// Rows of A and C.
    pub(crate) m: u64,
    /// Columns of B and C.
    pub(crate) n: u64,
    /// Columns of A and rows of B.
    pub(crate) k: u64,
    pub(crate) a: Val,
    pub(crate) b: Val,
    pub(crate) c: Val,
    pub(crate) a_transposed: bool,
    pub(crate) b_transposed: bool,
    /// The convolution that it is a part of, where filters move over an image.
    pub(crate) filtering: Option<Filtering>,
}

/// A convolution, forward or backward: its image, its filters and its output meet in the same products.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filtering {
    pub(crate) image: Image,
    /// The image, the filters and the output, or their gradients.
    pub(crate) operands: [Val; 3],
    /// Which of them is summed up.
    pub(crate) sum: usize,
}

/// A multiplication with its addition.
const FLOPS_PER_MAC: f64 = 2.0;

impl Product {
    /// The product of `a` and `b`, where `a` has `m` rows and `k` columns and `b` has `n` columns.
    pub(crate) fn new((m, n, k): (u64, u64, u64), a: Val, b: Val, c: Val) -> Self {
        Self { m, n, k, a, b, c, a_transposed: false, b_transposed: false, filtering: None }
    }

    /// The same with `a` as an image that filters move over, if it is one.
    pub(crate) fn over(self, image: Option<Image>) -> Self {
        let operands = [self.a, self.b, self.c];
        Self { filtering: image.map(|image| Filtering { image, operands, sum: 2 }), ..self }
    }

    pub(crate) fn flops(&self) -> f64 {
        FLOPS_PER_MAC * self.m as f64 * self.n as f64 * self.k as f64
    }
}

/// One operator: what it reads, what passes by, what it writes.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    pub(crate) op: Op,
    pub(crate) layer: Option<u32>,
    /// Read whole, in this order.
    pub(crate) reads: Vec<Val>,
    /// Read whole after that; the work waits for these.
    pub(crate) streams: Vec<Val>,
    pub(crate) writes: Vec<(Val, Mode)>,
    pub(crate) flops: f64,
    /// The matrix multiplication that it is, where it is one that a dataflow may cut.
    pub(crate) product: Option<Product>,
    /// Whether it works element by element, and may overwrite its first input.
    pub(crate) in_place: bool,
    /// Whether its product falls into groups, which no dataflow cuts.
    pub(crate) grouped: bool,
    /// The table whose rows it looks up.
    pub(crate) table: Option<Val>,
    /// The attention that it is, one of each shape.
    pub(crate) chains: Vec<Chain>,
}

impl Operator {
    /// An operator without work.
    pub(crate) fn new(op: Op, layer: Option<u32>, reads: Vec<Val>, write: Val) -> Self {
        Self {
            op,
            layer,
            reads,
            streams: Vec::new(),
            writes: vec![(write, Mode::Write)],
            flops: 0.0,
            product: None,
            in_place: false,
            grouped: false,
            table: None,
            chains: Vec::new(),
        }
    }

    /// The multiplication `product`; `streams` are its second operand and what else passes by.
    pub(crate) fn multiply(op: Op, layer: Option<u32>, product: Product, streams: Vec<Val>) -> Self {
        let reads = if streams.contains(&product.a) { Vec::new() } else { vec![product.a] };
        let flops = product.flops();
        Self { streams, flops, product: Some(product), ..Self::new(op, layer, reads, product.c) }
    }

    /// Every tensor that it names.
    pub(super) fn values(&self) -> impl Iterator<Item = Val> {
        self.reads.iter().chain(&self.streams).copied().chain(self.writes.iter().map(|(value, _)| *value))
    }

    /// The same, element by element.
    pub(crate) fn in_place(self) -> Self {
        Self { in_place: true, ..self }
    }
}

/// A temporary tensor.
#[derive(Debug, Clone)]
pub(crate) struct Temp {
    pub(crate) name: Cow<'static, str>,
    pub(crate) shape: Shape,
    pub(crate) layer: Option<u32>,
    pub(crate) kind: Kind,
}

/// Operators that run one after the other, such as one forward pass.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) temps: Vec<Temp>,
    pub(crate) operators: Vec<Operator>,
    /// What comes from outside; no gradient is wanted of these.
    pub(crate) inputs: Vec<Val>,
    /// What it ends with.
    pub(crate) output: Option<Val>,
    /// Names of points before operators.
    pub(crate) marks: Vec<(usize, &'static str)>,
}

impl Step {
    /// An activation.
    pub(crate) fn temp(&mut self, name: impl Into<Cow<'static, str>>, shape: Shape, layer: Option<u32>) -> Val {
        self.temp_of(name.into(), shape, layer, Kind::Activations)
    }

    pub(crate) fn temp_of(&mut self, name: Cow<'static, str>, shape: Shape, layer: Option<u32>, kind: Kind) -> Val {
        self.temps.push(Temp { name, shape, layer, kind });
        Val::Temp(self.temps.len() as u32 - 1)
    }

    /// The shape of a temporary tensor.
    pub(crate) fn shape(&self, value: Val) -> Shape {
        match value {
            Val::Temp(t) => self.temps[t as usize].shape,
            Val::Stored(_) => Shape::new(0, 0, 0),
        }
    }

    pub(crate) fn push(&mut self, operator: Operator) {
        self.operators.push(operator);
    }

    /// Names the point before the next operator.
    pub(crate) fn mark(&mut self, label: &'static str) {
        self.marks.push((self.operators.len(), label));
    }
}

/// The operator that uses each temporary tensor last.
pub(super) fn last_uses(step: &Step) -> Vec<usize> {
    let mut last = vec![0; step.temps.len()];
    for (now, operator) in step.operators.iter().enumerate() {
        for value in operator.values() {
            if let Val::Temp(t) = value {
                last[t as usize] = now;
            }
        }
    }
    last
}
