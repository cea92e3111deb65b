//! What the first reading learns about shapes that nobody gave: open extents, and what they turn out to be.

use std::collections::BTreeMap;

use crate::expr::{Expr, Symbol};
use crate::nest::Element;
use crate::normal::{Normal, tidy};

/// What an argument turned out to be.
#[derive(Debug, Clone)]
pub(super) enum FoundArgument {
    /// A number in a register.
    Scalar,
    /// An array.
    Array(Vec<Expr>),
}

/// Arguments that turned out to be arrays or scalars, and the names and values of the parameters in their extents.
#[derive(Debug, Clone, Default)]
pub(super) struct Shapes {
    /// What arguments are, by name.
    pub(super) found: BTreeMap<String, FoundArgument>,
    /// Names and values of parameters, by symbol of the first reading.
    pub(super) names: BTreeMap<Symbol, (String, i64)>,
    /// Types of elements that functions ask for.
    pub(super) elements: BTreeMap<String, Element>,
}

/// What is learned in the first reading.
#[derive(Debug, Default)]
pub(super) struct Dry {
    /// Extents that nothing is known of, and the names they would like.
    pub(super) open: BTreeMap<Symbol, Open>,
    /// What some of them turned out to be.
    pub(super) bound: BTreeMap<Symbol, Expr>,
    /// Arrays made of arguments.
    pub(super) arrays: Vec<(String, Vec<Expr>)>,
    /// The most axes that one of them has.
    pub(super) axes: usize,
    /// Arguments that turned out to be scalars.
    pub(super) scalars: Vec<String>,
    /// Types of elements that functions ask for.
    pub(super) elements: BTreeMap<String, Element>,
}

/// An extent that nothing is known of.
#[derive(Debug)]
pub(super) struct Open {
    /// The name that it would like.
    pub(super) hint: String,
    /// Whether a product gave it that name.
    pub(super) strong: bool,
    /// How far subscripts reach.
    pub(super) reaches: Vec<Expr>,
}

impl Dry {
    /// `expr` with what its open extents turned out to be.
    pub(super) fn known(&self, expr: &Expr) -> Expr {
        let mut expr = tidy(expr);
        // Each binding takes a symbol out, so this ends.
        for _ in 0..=self.bound.len() {
            let next = tidy(&expr.replaced(&|symbol| self.bound.get(&symbol).cloned()));
            if next == expr {
                break;
            }
            expr = next;
        }
        expr
    }

    /// What is known of an extent that is open.
    pub(super) fn open(&mut self, expr: &Expr) -> Option<(Symbol, &mut Open)> {
        let Expr::Symbol(symbol) = self.known(expr) else { return None };
        self.open.get_mut(&symbol).map(|open| (symbol, open))
    }

    /// Whether an open extent stands in `expr`.
    pub(super) fn is_open(&self, expr: &Expr) -> bool {
        !self.open.is_empty() && self.known(expr).symbols().iter().any(|symbol| self.open.contains_key(symbol))
    }

    /// Makes the open extent `a` equal to `b`; false if it is none.
    pub(super) fn bind(&mut self, a: &Expr, b: &Expr) -> bool {
        let Some((symbol, open)) = self.open(a) else { return false };
        let (hint, strong, reaches) = (open.hint.clone(), open.strong, open.reaches.clone());
        if b.mentions(symbol) {
            return false;
        }
        self.bound.insert(symbol, b.clone());
        if let Some((_, other)) = self.open(b) {
            other.reaches.extend(reaches);
            if strong && !other.strong {
                (other.hint, other.strong) = (hint, true);
            }
        }
        true
    }

    /// Makes `a` and `b` equal where one open extent can see to it: `M - 2` and `N - 2`.
    pub(super) fn solve(&mut self, a: &Expr, b: &Expr) -> bool {
        let Some(difference) = Normal::of(&b.clone().minus(a.clone())) else { return false };
        let open = difference.expr().symbols().into_iter().filter(|symbol| self.open.contains_key(symbol));
        open.collect::<Vec<_>>().into_iter().rev().any(|symbol| {
            let Some((slope, rest)) = difference.split(symbol) else { return false };
            let rest = match slope.constant() {
                Some(1) => rest.expr().times(-1),
                Some(-1) => rest.expr(),
                _ => return false,
            };
            self.bind(&Expr::Symbol(symbol), &tidy(&rest))
        })
    }
}
