//! Integer expressions in normal form: sums of products, so that equal expressions look equal and are written short.
//!
//! Both front ends write extents, bounds and subscripts in it. What is no polynomial (a quotient, a minimum) is a
//! factor like a symbol, its own parts in normal form. The polynomials of `count` are another thing: they have rational
//! coefficients, for Faulhaber's formulas, and factors that are numbers of one count's table.

use std::collections::BTreeMap;

use crate::expr::{Expr, Rounding, Symbol};

/// Longer sums have no normal form: `n = (n + 1)*(n + 1)` again and again must not fill the memory. Ours: subscripts of
/// real code have a dozen terms at most.
const MAX_TERMS: usize = 64;
/// Nor have larger products and quotients, in operations and operands. Ours.
const MAX_SIZE: usize = 256;

/// A sum of products of symbols and of what is no polynomial: coefficients, none of them zero, by sorted factors.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Normal {
    terms: BTreeMap<Vec<Expr>, i64>,
}

impl Normal {
    /// The normal form; none if it is too long or a coefficient leaves 64 bits.
    pub(crate) fn of(expr: &Expr) -> Option<Self> {
        match expr {
            Expr::Const(_) | Expr::Symbol(_) => Self::factor(expr.clone()),
            Expr::Add(a, b) => Self::of(a)?.plus(&Self::of(b)?),
            Expr::Mul(a, b) => Self::of(a)?.times(&Self::of(b)?),
            Expr::Div(a, b, rounding) => Self::of(a)?.over(&Self::of(b)?, *rounding),
            Expr::Rem(a, b, rounding) => Self::of(a)?.modulo(&Self::of(b)?, *rounding),
            Expr::Min(a, b) => Self::of(a)?.extreme(&Self::of(b)?, false),
            Expr::Max(a, b) => Self::of(a)?.extreme(&Self::of(b)?, true),
            Expr::Power(a, b) => Self::factor(Self::of(a)?.expr().power(Self::of(b)?.expr())),
            Expr::Digits(a, b) => Self::factor(Self::of(a)?.expr().digits(Self::of(b)?.expr())),
        }
    }

    fn factor(expr: Expr) -> Option<Self> {
        let (factors, coefficient) = match expr {
            Expr::Const(0) => return Some(Self::default()),
            Expr::Const(value) => (Vec::new(), value),
            factor if factor.size(MAX_SIZE) <= MAX_SIZE => (vec![factor], 1),
            _ => return None,
        };
        Some(Self { terms: BTreeMap::from([(factors, coefficient)]) })
    }

    fn add(&mut self, factors: Vec<Expr>, coefficient: i64) -> Option<()> {
        let sum = self.terms.get(&factors).map_or(Some(coefficient), |own| own.checked_add(coefficient))?;
        if sum == 0 {
            self.terms.remove(&factors);
        } else {
            self.terms.insert(factors, sum);
        }
        (self.terms.len() <= MAX_TERMS).then_some(())
    }

    /// A sum.
    pub(crate) fn plus(mut self, other: &Self) -> Option<Self> {
        for (factors, coefficient) in &other.terms {
            self.add(factors.clone(), *coefficient)?;
        }
        Some(self)
    }

    /// A product.
    pub(crate) fn times(&self, other: &Self) -> Option<Self> {
        let mut product = Self::default();
        for (a, x) in &self.terms {
            for (b, y) in &other.terms {
                let mut factors = [a.as_slice(), b].concat();
                factors.sort_unstable();
                let size: usize = factors.iter().map(|factor| factor.size(MAX_SIZE)).sum();
                product.add((size <= MAX_SIZE).then_some(factors)?, x.checked_mul(*y)?)?;
            }
        }
        Some(product)
    }

    /// The number that divides each coefficient, if `other` is one.
    fn divisor(&self, other: &Self) -> Option<i64> {
        let divisor = other.constant().filter(|divisor| *divisor != 0)?;
        self.terms.values().all(|coefficient| coefficient.checked_rem(divisor) == Some(0)).then_some(divisor)
    }

    fn over(&self, other: &Self, rounding: Rounding) -> Option<Self> {
        match self.divisor(other) {
            Some(divisor) => self.mapped(|coefficient| coefficient.checked_div(divisor)),
            None => Self::factor(self.expr().over(other.expr(), rounding)),
        }
    }

    fn modulo(&self, other: &Self, rounding: Rounding) -> Option<Self> {
        match self.divisor(other) {
            Some(_) => Some(Self::default()),
            None => Self::factor(self.expr().modulo(other.expr(), rounding)),
        }
    }

    fn extreme(&self, other: &Self, larger: bool) -> Option<Self> {
        // `min(N, N - 1)` is known without a value.
        let negated = other.mapped(i64::checked_neg)?;
        if let Some(difference) = self.clone().plus(&negated)?.constant() {
            return Some(if (difference > 0) == larger { self.clone() } else { other.clone() });
        }
        let (a, b) = (self.expr(), other.expr());
        Self::factor(if larger { a.max(b) } else { a.min(b) })
    }

    fn mapped(&self, coefficient: impl Fn(i64) -> Option<i64>) -> Option<Self> {
        let terms = self.terms.iter().map(|(factors, own)| Some((factors.clone(), coefficient(*own)?)));
        Some(Self { terms: terms.collect::<Option<_>>()? })
    }

    /// The number that it is, if it is one.
    pub(crate) fn constant(&self) -> Option<i64> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get([].as_slice()).copied(),
            _ => None,
        }
    }

    /// As an expression: what is added, then what is subtracted, longer products first, the number last.
    pub(crate) fn expr(&self) -> Expr {
        let mut terms: Vec<_> = self.terms.iter().collect();
        terms.sort_by_key(|(factors, coefficient)| (factors.is_empty(), **coefficient < 0, usize::MAX - factors.len()));
        terms.into_iter().fold(Expr::Const(0), |sum, (factors, coefficient)| {
            let Some(product) = factors.iter().cloned().reduce(Expr::times) else { return sum.plus(*coefficient) };
            let term = match coefficient {
                -1 => product.times(-1),
                // Behind something, what ends in `* -1` is written as a minus.
                c if *c < 0 && *c != i64::MIN && sum != Expr::Const(0) => Expr::Const(-c).times(product).times(-1),
                c => Expr::Const(*c).times(product),
            };
            sum.plus(term)
        })
    }

    /// What `symbol` is multiplied by, and the rest; none if it stands in a square or in a quotient.
    pub(crate) fn split(&self, symbol: Symbol) -> Option<(Self, Self)> {
        let (mut slope, mut rest) = (Self::default(), Self::default());
        for (factors, coefficient) in &self.terms {
            let others: Vec<Expr> = factors.iter().filter(|own| **own != Expr::Symbol(symbol)).cloned().collect();
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

    /// The terms: factors and coefficients.
    pub(crate) fn terms(&self) -> impl Iterator<Item = (&[Expr], i64)> {
        self.terms.iter().map(|(factors, coefficient)| (factors.as_slice(), *coefficient))
    }

    /// The term that it is, if it is one.
    pub(crate) fn only_term(&self) -> Option<(&[Expr], i64)> {
        self.terms().next().filter(|_| self.terms.len() == 1)
    }
}

/// `expr` in normal form; as it is where it has none.
pub(crate) fn tidy(expr: &Expr) -> Expr {
    Normal::of(expr).map_or_else(|| expr.clone(), |normal| normal.expr())
}

/// `a - b`, if it is a number.
pub(crate) fn difference(a: &Expr, b: &Expr) -> Option<i64> {
    Normal::of(&a.clone().minus(b.clone()))?.constant()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_expressions_look_equal() {
        let (n, i) = (Expr::from(Symbol(0)), Expr::from(Symbol(1)));
        assert_eq!(tidy(&n.clone().minus(1).minus(1)), n.clone().minus(2));
        assert_eq!(tidy(&i.clone().plus(n.clone()).minus(i.clone())), n);
        assert_eq!(tidy(&i.clone().plus(n.clone())), tidy(&n.clone().plus(i.clone())));
        assert_eq!(tidy(&n.clone().times(4).over(2, Rounding::Floor)), Expr::Const(2).times(n.clone()));
        assert_eq!(tidy(&n.clone().min(n.clone().minus(1))), n.clone().minus(1));
        assert_eq!(difference(&n.clone().plus(i.clone()).plus(3), &i.clone().plus(n.clone())), Some(3));
        assert_eq!(difference(&n, &i), None);
        let (slope, rest) = Normal::of(&i.clone().plus(1).times(n.clone())).unwrap().split(Symbol(1)).unwrap();
        assert_eq!((slope.expr(), rest.expr()), (n.clone(), n));
    }

    #[test]
    fn sums_are_written_as_people_write_them() {
        let name = |symbol: Symbol| ["N", "i", "T"][symbol.0 as usize].to_owned();
        let (n, i, t) = (Expr::from(Symbol(0)), Expr::from(Symbol(1)), Expr::from(Symbol(2)));
        let cases = [
            (Expr::Const(-1).plus(i.clone()).plus(n.clone().times(t.clone())), "N*T + i - 1"),
            (n.clone().minus(i.clone().times(2)).minus(t.clone()), "N - 2*i - T"),
            (n.clone().minus(i.clone().times(t.clone())), "N - i*T"),
            (i.clone().times(-2), "-2*i"),
            (n.clone().plus(0).over(t.clone(), Rounding::Floor).plus(i), "i + N/T"),
        ];
        for (expr, text) in cases {
            assert_eq!(tidy(&expr).text(&name), text);
        }
    }

    #[test]
    fn growth_is_bounded() {
        let mut e = Expr::from(Symbol(0)).plus(Symbol(1)).plus(Symbol(2));
        let steps = (0..64).take_while(|_| match Normal::of(&e).and_then(|own| own.times(&own)) {
            Some(square) => {
                e = square.expr();
                true
            }
            None => false,
        });
        assert!(steps.count() < 8);
    }
}
