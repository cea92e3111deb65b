//! Integer expressions as polynomials: to tell whether two are the same, and to write them short.

use std::collections::BTreeMap;

use crate::expr::{Expr, Symbol};

/// More terms are not worth it.
const MAX_TERMS: usize = 64;
/// Nor is a higher degree.
const MAX_DEGREE: usize = 8;

/// A sum of products of symbols. What is no polynomial, such as a minimum, is a symbol of its own.
#[derive(Debug, Default)]
pub(super) struct Poly {
    /// Factors by product.
    pub(super) terms: BTreeMap<Vec<Symbol>, i64>,
    /// What symbols from [`ATOM`] on stand for.
    atoms: Vec<Expr>,
}

/// The first symbol that stands for an expression.
const ATOM: u32 = 1 << 31;

type Terms = BTreeMap<Vec<Symbol>, i64>;

/// `expr` as a polynomial, if it is not too long.
pub(super) fn poly(expr: &Expr) -> Option<Poly> {
    let mut atoms = Vec::new();
    let terms = terms(expr, &mut atoms)?;
    Some(Poly { terms, atoms })
}

fn terms(expr: &Expr, atoms: &mut Vec<Expr>) -> Option<Terms> {
    let mut sum = Terms::new();
    match expr {
        Expr::Const(value) => add(&mut sum, Vec::new(), *value)?,
        Expr::Symbol(symbol) => add(&mut sum, vec![*symbol], 1)?,
        Expr::Add(a, b) => {
            sum = terms(a, atoms)?;
            for (product, factor) in terms(b, atoms)? {
                add(&mut sum, product, factor)?;
            }
        }
        Expr::Mul(a, b) => {
            let b = terms(b, atoms)?;
            for (left, x) in terms(a, atoms)? {
                for (right, y) in &b {
                    let mut product = [left.as_slice(), right].concat();
                    product.sort_unstable();
                    add(&mut sum, product, x.checked_mul(*y)?)?;
                }
            }
        }
        other => {
            let known = atoms.iter().position(|atom| atom == other);
            let number = known.unwrap_or_else(|| {
                atoms.push(other.clone());
                atoms.len() - 1
            });
            add(&mut sum, vec![Symbol(ATOM + number as u32)], 1)?;
        }
    }
    sum.retain(|_, factor| *factor != 0);
    Some(sum)
}

fn add(sum: &mut Terms, product: Vec<Symbol>, factor: i64) -> Option<()> {
    if sum.len() >= MAX_TERMS || product.len() > MAX_DEGREE {
        return None;
    }
    let own = sum.entry(product).or_insert(0);
    *own = own.checked_add(factor)?;
    Some(())
}

impl Poly {
    /// A product as an expression.
    pub(super) fn product(&self, product: &[Symbol]) -> Expr {
        product.iter().fold(Expr::Const(1), |term, symbol| {
            let atom = symbol.0.checked_sub(ATOM).and_then(|number| self.atoms.get(number as usize));
            term.times(atom.cloned().unwrap_or(Expr::Symbol(*symbol)))
        })
    }

    /// `factor` and `offset` of `factor * symbol + offset`.
    pub(super) fn linear(&self, symbol: Symbol) -> Option<(Expr, Expr)> {
        let (mut factor, mut offset) = (Expr::Const(0), Expr::Const(0));
        for (product, times) in &self.terms {
            let rest: Vec<Symbol> = product.iter().copied().filter(|own| *own != symbol).collect();
            let term = self.product(&rest).times(*times);
            match product.len() - rest.len() {
                0 => offset = offset.plus(term),
                1 => factor = factor.plus(term),
                _ => return None,
            }
        }
        (!self.hides(symbol)).then_some((factor, offset))
    }

    /// Whether a part that is no polynomial mentions `symbol`.
    pub(super) fn hides(&self, symbol: Symbol) -> bool {
        self.atoms.iter().any(|atom| atom.mentions(symbol))
    }
}

/// `expr` with like terms taken together.
pub(super) fn tidy(expr: Expr) -> Expr {
    if let Expr::Min(a, b) | Expr::Max(a, b) = &expr
        && let Some(gap) = difference(a, b)
    {
        let first = (gap <= 0) == matches!(expr, Expr::Min(..));
        return if first { (**a).clone() } else { (**b).clone() };
    }
    match poly(&expr) {
        Some(poly) => expression(&poly),
        None => expr,
    }
}

/// Longer products first, constants last.
fn expression(poly: &Poly) -> Expr {
    let mut terms: Vec<_> = poly.terms.iter().collect();
    terms.sort_by_key(|(product, factor)| (usize::MAX - product.len(), **factor < 0));
    terms.into_iter().fold(Expr::Const(0), |sum, (product, factor)| {
        let product = poly.product(product);
        sum.plus(match factor {
            _ if product == Expr::Const(1) => Expr::Const(*factor),
            // What is taken away ends in `* -1`, which is written as a minus.
            factor if *factor < 0 && *factor != i64::MIN => Expr::Const(-factor).times(product).times(-1),
            factor => Expr::Const(*factor).times(product),
        })
    })
}

/// `a - b`, if it is a number.
pub(super) fn difference(a: &Expr, b: &Expr) -> Option<i64> {
    let Poly { terms, .. } = poly(&a.clone().minus(b.clone()))?;
    match terms.len() {
        0 => Some(0),
        1 => terms.get(&Vec::new()).copied(),
        _ => None,
    }
}

/// The nodes of `expr`, up to `most`.
pub(super) fn size(expr: &Expr, most: usize) -> usize {
    let mut open = vec![expr];
    let mut nodes = 0;
    while let Some(expr) = open.pop() {
        nodes += 1;
        if nodes > most {
            break;
        }
        match expr {
            Expr::Const(_) | Expr::Symbol(_) => {}
            Expr::Add(a, b)
            | Expr::Mul(a, b)
            | Expr::Div(a, b, _)
            | Expr::Rem(a, b, _)
            | Expr::Min(a, b)
            | Expr::Max(a, b) => open.extend([&**a, b]),
        }
    }
    nodes
}
