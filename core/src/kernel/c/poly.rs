//! Integer expressions as polynomials: to tell whether two are the same, and to write them short.

use std::collections::BTreeMap;

use crate::kernel::expr::{Expr, Symbol};

/// More terms are not worth it.
const MAX_TERMS: usize = 64;
/// Nor is a higher degree.
const MAX_DEGREE: usize = 8;

/// A sum of products of symbols, by product.
pub(super) type Poly = BTreeMap<Vec<Symbol>, i64>;

/// `expr` as a polynomial, if it is one and not too long.
pub(super) fn poly(expr: &Expr) -> Option<Poly> {
    let mut sum = Poly::new();
    match expr {
        Expr::Const(value) => add(&mut sum, Vec::new(), *value)?,
        Expr::Symbol(symbol) => add(&mut sum, vec![*symbol], 1)?,
        Expr::Add(a, b) => {
            sum = poly(a)?;
            for (product, factor) in poly(b)? {
                add(&mut sum, product, factor)?;
            }
        }
        Expr::Mul(a, b) => {
            let b = poly(b)?;
            for (left, x) in poly(a)? {
                for (right, y) in &b {
                    let mut product = [left.as_slice(), right].concat();
                    product.sort_unstable();
                    add(&mut sum, product, x.checked_mul(*y)?)?;
                }
            }
        }
        _ => return None,
    }
    Some(sum)
}

fn add(sum: &mut Poly, product: Vec<Symbol>, factor: i64) -> Option<()> {
    if sum.len() >= MAX_TERMS || product.len() > MAX_DEGREE {
        return None;
    }
    let own = sum.entry(product).or_insert(0);
    *own = own.checked_add(factor)?;
    sum.retain(|_, factor| *factor != 0);
    Some(())
}

/// `expr` with like terms taken together, where it is a polynomial.
pub(super) fn tidy(expr: Expr) -> Expr {
    match (&expr, poly(&expr)) {
        (_, Some(poly)) => expression(&poly),
        (Expr::Add(..), None) => {
            // A constant outside of a minimum, or the like: `min(a, b) - 1 + 1`.
            let (rest, constant) = split(expr);
            rest.plus(constant)
        }
        _ => expr,
    }
}

/// `expr` without the constants at the end of its sums, and these.
fn split(expr: Expr) -> (Expr, i64) {
    match expr {
        Expr::Add(a, b) if matches!(*b, Expr::Const(_)) => {
            let Expr::Const(last) = *b else { return (*a, 0) };
            let (rest, constant) = split(*a);
            match constant.checked_add(last) {
                Some(sum) => (rest, sum),
                None => (rest.plus(constant), last),
            }
        }
        other => (other, 0),
    }
}

/// Longer products first, constants last.
fn expression(poly: &Poly) -> Expr {
    let mut terms: Vec<_> = poly.iter().collect();
    terms.sort_by_key(|(product, factor)| (usize::MAX - product.len(), **factor < 0));
    terms.into_iter().fold(Expr::Const(0), |sum, (product, factor)| {
        let product = product.iter().fold(Expr::Const(1), |term, symbol| term.times(*symbol));
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
    let poly = poly(&a.clone().minus(b.clone()))?;
    match poly.len() {
        0 => Some(0),
        1 => poly.get(&Vec::new()).copied(),
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
