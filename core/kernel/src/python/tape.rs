//! What the backward pass keeps of the operations that were read.

use std::collections::BTreeMap;

use super::value::View;
use crate::expr::Expr;
use crate::nest::{At, Flops};

/// What a library multiplies: how many products, rows, columns, and what is summed over.
#[derive(Debug, Clone)]
pub(super) struct Sizes {
    pub(super) batch: Expr,
    pub(super) m: Expr,
    pub(super) n: Expr,
    pub(super) k: Expr,
}

/// An operation whose gradient is computed later.
#[derive(Debug, Clone)]
pub(super) enum Taped {
    /// A pass over `dims`, or a reduction: the result is a view of those extents, none where it is a number.
    Pass { dims: Vec<Expr>, leaves: Vec<View>, flops: Flops, result: Option<View>, at: At },
    /// A product in a library.
    Product { name: String, sizes: Sizes, operands: Vec<View>, result: View, at: At },
    /// Elements that indices choose.
    Picked { index: View, from: View, result: View, at: At },
}

/// What is kept while gradients are asked for.
#[derive(Debug, Default)]
pub(super) struct Tape {
    pub(super) done: Vec<Taped>,
    /// The gradients of arrays.
    pub(super) gradients: BTreeMap<usize, usize>,
    /// Parts of gradients that hold something already.
    pub(super) written: Vec<View>,
}
