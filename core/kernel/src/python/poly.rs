//! Integer expressions in normal form: a sum of products, so that equal extents look equal.

use crate::expr::{Expr, Rounding, Symbol};

/// Longer sums are refused: `n = (n + 1)*(n + 1)` again and again must not fill the memory.
const MAX_TERMS: usize = 48;
/// So are expressions with more operations, and with more factors in a product.
const MAX_SIZE: usize = 256;

/// A sum of products of symbols and of what is no polynomial (quotients, minima).
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Poly {
    terms: Vec<(Vec<Expr>, i64)>,
}

impl Poly {
    /// The normal form; none if it is too long or a coefficient leaves 64 bits.
    pub(super) fn of(expr: &Expr) -> Option<Self> {
        match expr {
            Expr::Const(0) => Some(Self::default()),
            Expr::Const(value) => Some(Self { terms: vec![(Vec::new(), *value)] }),
            Expr::Symbol(_) => Some(Self { terms: vec![(vec![expr.clone()], 1)] }),
            Expr::Add(a, b) => Self::of(a)?.plus(&Self::of(b)?),
            Expr::Mul(a, b) => Self::of(a)?.times(&Self::of(b)?),
            Expr::Div(a, b, rounding) => Self::of(a)?.over(&Self::of(b)?, *rounding),
            Expr::Rem(a, b, rounding) => Self::of(a)?.modulo(&Self::of(b)?, *rounding),
            Expr::Min(a, b) => Self::of(a)?.extreme(&Self::of(b)?, false),
            Expr::Max(a, b) => Self::of(a)?.extreme(&Self::of(b)?, true),
        }
    }

    fn atom(expr: Expr) -> Option<Self> {
        match expr {
            Expr::Const(0) => Some(Self::default()),
            Expr::Const(value) => Some(Self { terms: vec![(Vec::new(), value)] }),
            atom if size(&atom) <= MAX_SIZE => Some(Self { terms: vec![(vec![atom], 1)] }),
            _ => None,
        }
    }

    fn add(&mut self, factors: Vec<Expr>, coefficient: i64) -> Option<()> {
        match self.terms.iter().position(|(own, _)| *own == factors) {
            Some(at) => {
                let (_, own) = self.terms.get_mut(at)?;
                *own = own.checked_add(coefficient)?;
                if *own == 0 {
                    self.terms.remove(at);
                }
            }
            None => self.terms.push((factors, coefficient)),
        }
        (self.terms.len() <= MAX_TERMS).then_some(())
    }

    /// A sum.
    pub(super) fn plus(mut self, other: &Self) -> Option<Self> {
        for (factors, coefficient) in &other.terms {
            self.add(factors.clone(), *coefficient)?;
        }
        Some(self)
    }

    /// A product.
    pub(super) fn times(&self, other: &Self) -> Option<Self> {
        let mut product = Self::default();
        for (a, x) in &self.terms {
            for (b, y) in &other.terms {
                let mut factors: Vec<Expr> = a.iter().chain(b).cloned().collect();
                factors.sort_by_cached_key(key);
                let longest: usize = factors.iter().map(size).sum();
                product.add((longest <= MAX_SIZE).then_some(factors)?, x.checked_mul(*y)?)?;
            }
        }
        Some(product)
    }

    fn over(&self, other: &Self, rounding: Rounding) -> Option<Self> {
        if let Some(divisor) = other.constant().filter(|divisor| *divisor != 0)
            && self.terms.iter().all(|(_, coefficient)| coefficient.checked_rem(divisor) == Some(0))
        {
            let terms = self.terms.iter().map(|(factors, c)| Some((factors.clone(), c.checked_div(divisor)?)));
            return Some(Self { terms: terms.collect::<Option<_>>()? });
        }
        Self::atom(self.expr().over(other.expr(), rounding))
    }

    fn modulo(&self, other: &Self, rounding: Rounding) -> Option<Self> {
        if let Some(divisor) = other.constant().filter(|divisor| *divisor != 0)
            && self.terms.iter().all(|(_, coefficient)| coefficient.checked_rem(divisor) == Some(0))
        {
            return Some(Self::default());
        }
        Self::atom(self.expr().modulo(other.expr(), rounding))
    }

    fn extreme(&self, other: &Self, larger: bool) -> Option<Self> {
        // `min(N, N - 1)` is known without a value.
        if let Some(difference) = self.clone().plus(&other.negated()?)?.constant() {
            return Some(if (difference > 0) == larger { self.clone() } else { other.clone() });
        }
        let (a, b) = (self.expr(), other.expr());
        Self::atom(if larger { a.max(b) } else { a.min(b) })
    }

    fn negated(&self) -> Option<Self> {
        let terms = self.terms.iter().map(|(factors, c)| Some((factors.clone(), c.checked_neg()?)));
        Some(Self { terms: terms.collect::<Option<_>>()? })
    }

    /// The number that it is, if it is one.
    pub(super) fn constant(&self) -> Option<i64> {
        match self.terms.as_slice() {
            [] => Some(0),
            [(factors, coefficient)] if factors.is_empty() => Some(*coefficient),
            _ => None,
        }
    }

    /// As an expression: what is added first, then what is taken away, the constant last.
    pub(super) fn expr(&self) -> Expr {
        let rank = |(factors, coefficient): &&(Vec<Expr>, i64)| (factors.is_empty(), *coefficient < 0);
        let mut terms: Vec<_> = self.terms.iter().collect();
        terms.sort_by_key(rank);
        terms.into_iter().fold(Expr::Const(0), |sum, (factors, coefficient)| {
            let product = factors.iter().cloned().reduce(Expr::times).unwrap_or(Expr::Const(1));
            match coefficient {
                c if factors.is_empty() => sum.plus(*c),
                -1 => sum.plus(product.times(-1)),
                c => sum.plus(Expr::Const(*c).times(product)),
            }
        })
    }

    /// What `symbol` is multiplied with, and the rest; none if it stands in a square or in a quotient.
    pub(super) fn split(&self, symbol: Symbol) -> Option<(Self, Self)> {
        let (mut slope, mut rest) = (Self::default(), Self::default());
        for (factors, coefficient) in &self.terms {
            let is_symbol = |factor: &Expr| *factor == Expr::Symbol(symbol);
            let others: Vec<Expr> = factors.iter().filter(|factor| !is_symbol(factor)).cloned().collect();
            if others.iter().any(|factor| factor.mentions(symbol)) {
                return None;
            }
            match factors.len() - others.len() {
                0 => rest.add(others, *coefficient)?,
                1 => slope.add(others, *coefficient)?,
                _ => return None,
            }
        }
        Some((slope, rest))
    }

    /// The terms.
    pub(super) fn terms(&self) -> &[(Vec<Expr>, i64)] {
        &self.terms
    }
}

/// Symbols first, as they were made.
fn key(expr: &Expr) -> (u32, String) {
    match expr {
        Expr::Symbol(symbol) => (symbol.0, String::new()),
        other => (u32::MAX, format!("{other:?}")),
    }
}

/// Operations and operands in an expression.
fn size(expr: &Expr) -> usize {
    match expr {
        Expr::Const(_) | Expr::Symbol(_) => 1,
        Expr::Add(a, b)
        | Expr::Mul(a, b)
        | Expr::Div(a, b, _)
        | Expr::Rem(a, b, _)
        | Expr::Min(a, b)
        | Expr::Max(a, b) => 1 + size(a) + size(b),
    }
}

/// `expr` in normal form; as it is where it has none.
pub(super) fn tidy(expr: &Expr) -> Expr {
    Poly::of(expr).map_or_else(|| expr.clone(), |poly| poly.expr())
}

/// `expr` with symbols replaced.
pub(super) fn replace(expr: &Expr, with: &dyn Fn(Symbol) -> Option<Expr>) -> Expr {
    let go = |a: &Expr| replace(a, with);
    match expr {
        Expr::Const(_) => expr.clone(),
        Expr::Symbol(symbol) => with(*symbol).unwrap_or_else(|| expr.clone()),
        Expr::Add(a, b) => go(a).plus(go(b)),
        Expr::Mul(a, b) => go(a).times(go(b)),
        Expr::Div(a, b, rounding) => go(a).over(go(b), *rounding),
        Expr::Rem(a, b, rounding) => go(a).modulo(go(b), *rounding),
        Expr::Min(a, b) => go(a).min(go(b)),
        Expr::Max(a, b) => go(a).max(go(b)),
    }
}

/// The symbols in `expr`, in the order in which they stand.
pub(super) fn symbols(expr: &Expr) -> Vec<Symbol> {
    let (mut found, mut left) = (Vec::new(), vec![expr]);
    while let Some(expr) = left.pop() {
        match expr {
            Expr::Const(_) => {}
            Expr::Symbol(symbol) => found.push(*symbol),
            Expr::Add(a, b)
            | Expr::Mul(a, b)
            | Expr::Div(a, b, _)
            | Expr::Rem(a, b, _)
            | Expr::Min(a, b)
            | Expr::Max(a, b) => left.extend([&**b, &**a]),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_expressions_look_equal() {
        let (n, i) = (Expr::from(Symbol(0)), Expr::from(Symbol(1)));
        assert_eq!(tidy(&n.clone().minus(1).minus(1)), n.clone().minus(2));
        assert_eq!(tidy(&i.clone().plus(n.clone()).minus(i.clone())), n);
        assert_eq!(tidy(&n.clone().times(4).over(2, Rounding::Floor)), Expr::Const(2).times(n.clone()));
        assert_eq!(tidy(&n.clone().min(n.clone().minus(1))), n.clone().minus(1));
        let (slope, rest) = Poly::of(&i.clone().plus(1).times(n.clone())).unwrap().split(Symbol(1)).unwrap();
        assert_eq!((slope.expr(), rest.expr()), (n.clone(), n));
    }

    #[test]
    fn growth_is_bounded() {
        let mut e = Expr::from(Symbol(0)).plus(Symbol(1)).plus(Symbol(2));
        let steps = (0..64).take_while(|_| match Poly::of(&e).and_then(|p| p.times(&p)) {
            Some(square) => {
                e = square.expr();
                true
            }
            None => false,
        });
        assert!(steps.count() < 8);
    }
}
