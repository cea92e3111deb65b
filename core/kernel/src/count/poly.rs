//! Polynomials with rational coefficients. What does not fit is `None`, never a panic.

use std::collections::BTreeMap;

use num_rational::Ratio;
use num_traits::{CheckedAdd, CheckedMul};

/// A coefficient.
pub(super) type Rational = Ratio<i128>;

/// What a polynomial is made of, by its number: a symbol or what no polynomial can say.
pub(super) type Atom = u32;

/// Atoms with their exponents, ascending by atom.
pub(super) type Monomial = Vec<(Atom, u32)>;

/// Products with more terms are not multiplied out: nobody reads them, and nesting would square them each time.
const MAX_TERMS: usize = 256;

/// A polynomial: coefficients, none of them zero, by monomial.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Poly(BTreeMap<Monomial, Rational>);

/// `a + b`; integers, which most coefficients are, need no common denominator.
pub(super) fn add(a: &Rational, b: &Rational) -> Option<Rational> {
    match (a.denom(), b.denom()) {
        (1, 1) => a.numer().checked_add(b.numer()).map(Rational::from),
        _ => a.checked_add(b),
    }
}

/// `a * b`.
pub(super) fn mul(a: &Rational, b: &Rational) -> Option<Rational> {
    match (a.denom(), b.denom()) {
        (1, 1) => a.numer().checked_mul(b.numer()).map(Rational::from),
        _ => a.checked_mul(b),
    }
}

impl From<Rational> for Poly {
    fn from(value: Rational) -> Self {
        Self::term(Monomial::new(), value)
    }
}

impl From<i128> for Poly {
    fn from(value: i128) -> Self {
        Self::from(Rational::from(value))
    }
}

impl Poly {
    /// One atom.
    pub(super) fn atom(atom: Atom) -> Self {
        Self::term(vec![(atom, 1)], Rational::from(1))
    }

    /// One term.
    pub(super) fn term(monomial: Monomial, coefficient: Rational) -> Self {
        let mut poly = Self::default();
        poly.put(monomial, coefficient);
        poly
    }

    /// Sets the coefficient of a monomial.
    fn put(&mut self, monomial: Monomial, coefficient: Rational) {
        if *coefficient.numer() == 0 {
            self.0.remove(&monomial);
        } else {
            self.0.insert(monomial, coefficient);
        }
    }

    /// Adds a term in place; whether it fits.
    pub(super) fn add_term(&mut self, monomial: Monomial, coefficient: &Rational) -> Option<()> {
        let sum = match self.0.get(&monomial) {
            Some(present) => add(present, coefficient)?,
            None => *coefficient,
        };
        self.put(monomial, sum);
        Some(())
    }

    /// The terms, in the order of the atoms' numbers.
    pub(super) fn terms(&self) -> impl Iterator<Item = (&Monomial, &Rational)> {
        self.0.iter()
    }

    /// How many terms it has.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is zero.
    pub(super) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// Its value, if it has no atoms.
    pub(super) fn constant(&self) -> Option<Rational> {
        match self.0.len() {
            0 => Some(Rational::from(0)),
            1 => self.0.get(&Monomial::new()).copied(),
            _ => None,
        }
    }

    /// The coefficient of the term without atoms.
    pub(super) fn constant_term(&self) -> Rational {
        self.0.get(&Monomial::new()).copied().unwrap_or_else(|| Rational::from(0))
    }

    /// Its integer value, if it has no atoms.
    pub(super) fn integer(&self) -> Option<i128> {
        self.constant().filter(Rational::is_integer).map(|value| *value.numer())
    }

    /// The atom that it is, if it is nothing else.
    pub(super) fn only_atom(&self) -> Option<Atom> {
        match self.0.iter().next() {
            Some((monomial, one)) if self.0.len() == 1 && *one == Rational::from(1) => match monomial.as_slice() {
                [(atom, 1)] => Some(*atom),
                _ => None,
            },
            _ => None,
        }
    }

    /// Its atoms, those of several terms several times.
    pub(super) fn atoms(&self) -> impl Iterator<Item = Atom> {
        self.0.keys().flatten().map(|(atom, _)| *atom)
    }

    /// Adds `other` in place; half of it may be added if it does not fit.
    pub(super) fn add_all(&mut self, other: &Self) -> Option<()> {
        other.0.iter().try_for_each(|(monomial, coefficient)| self.add_term(monomial.clone(), coefficient))
    }

    /// `self + other`.
    pub(super) fn plus(&self, other: &Self) -> Option<Self> {
        let mut sum = self.clone();
        sum.add_all(other)?;
        Some(sum)
    }

    /// `self + number`.
    pub(super) fn plus_number(&self, number: i128) -> Option<Self> {
        self.plus(&Self::from(number))
    }

    /// `self - other`.
    pub(super) fn minus(&self, other: &Self) -> Option<Self> {
        self.plus(&other.scaled(&Rational::from(-1))?)
    }

    /// `self * factor`.
    pub(super) fn scaled(&self, factor: &Rational) -> Option<Self> {
        let scale =
            |(monomial, coefficient): (&Monomial, &Rational)| Some((monomial.clone(), mul(coefficient, factor)?));
        if *factor.numer() == 0 {
            Some(Self::default())
        } else {
            self.0.iter().map(scale).collect::<Option<_>>().map(Self)
        }
    }

    /// `self * other`, unless that has too many terms.
    pub(super) fn times(&self, other: &Self) -> Option<Self> {
        let mut product = Self::default();
        for (a, x) in &self.0 {
            for (b, y) in &other.0 {
                product.add_term(times(a, b), &mul(x, y)?)?;
                if product.len() > MAX_TERMS {
                    return None;
                }
            }
        }
        Some(product)
    }

    /// The polynomials by which each power of `atom` is multiplied, from the power 0.
    pub(super) fn coefficients(&self, atom: Atom) -> Vec<Self> {
        let mut coefficients = vec![Self::default()];
        for (monomial, coefficient) in &self.0 {
            let mut rest = monomial.clone();
            let found = rest.iter().position(|(own, _)| *own == atom);
            let power = found.map_or(0, |at| rest.remove(at).1 as usize);
            if coefficients.len() <= power {
                coefficients.resize(power + 1, Self::default());
            }
            coefficients[power].0.insert(rest, *coefficient);
        }
        coefficients
    }

    /// With `value` instead of `atom`.
    pub(super) fn replaced(&self, atom: Atom, value: &Self) -> Option<Self> {
        if !self.atoms().any(|own| own == atom) {
            return Some(self.clone());
        }
        // Horner's rule.
        let coefficients = self.coefficients(atom);
        coefficients.iter().rev().try_fold(Self::default(), |sum, next| sum.times(value)?.plus(next))
    }

    /// Those terms for which `keep` holds, and the others.
    pub(super) fn split(self, keep: impl Fn(&Monomial) -> bool) -> (Self, Self) {
        let (kept, others) = self.0.into_iter().partition(|(monomial, _)| keep(monomial));
        (Self(kept), Self(others))
    }
}

/// The product of two monomials.
pub(super) fn times(a: &Monomial, b: &Monomial) -> Monomial {
    let mut product = Vec::with_capacity(a.len() + b.len());
    let (mut left, mut right) = (a.iter().peekable(), b.iter().peekable());
    while let (Some(&&(x, m)), Some(&&(y, n))) = (left.peek(), right.peek()) {
        product.push((
            x.min(y),
            if x == y {
                m.saturating_add(n)
            } else if x < y {
                m
            } else {
                n
            },
        ));
        if x <= y {
            left.next();
        }
        if y <= x {
            right.next();
        }
    }
    product.extend(left.chain(right));
    product
}

/// The sums `0^k + 1^k + ... + (n-1)^k` as polynomials in `n`: row `k` has the coefficients of `n`, `n^2`, ... .
#[derive(Debug, Default)]
pub(super) struct PowerSums(Vec<Option<Vec<Rational>>>);

impl PowerSums {
    /// Row `k`, unless its numbers are too large.
    pub(super) fn row(&mut self, k: usize) -> Option<&[Rational]> {
        while self.0.len() <= k {
            let next = self.next();
            self.0.push(next);
        }
        self.0.get(k)?.as_deref()
    }

    /// From `n^(k+1) = sum over j <= k of C(k+1, j) S_j(n)`, which telescopes `(x+1)^(k+1) - x^(k+1)`.
    fn next(&self) -> Option<Vec<Rational>> {
        let k = self.0.len();
        let mut row = vec![Rational::from(0); k + 1];
        row[k] = Rational::from(1);
        let mut binomial = 1_i128;
        for (j, lower) in self.0.iter().enumerate() {
            for (power, coefficient) in lower.as_ref()?.iter().enumerate() {
                row[power] = add(&row[power], &mul(coefficient, &Rational::from(-binomial))?)?;
            }
            binomial = binomial.checked_mul((k + 1 - j) as i128)? / (j + 1) as i128;
        }
        row.iter().map(|coefficient| mul(coefficient, &Rational::new(1, k as i128 + 1))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_sums_are_right_or_absent() {
        let mut sums = PowerSums::default();
        for k in 0..40 {
            let Some(row) = sums.row(k).map(<[_]>::to_vec) else {
                assert!(k > 20, "row {k}");
                continue;
            };
            for n in 0..4_i128 {
                let expected: i128 = (0..n).map(|x| x.pow(k as u32)).sum();
                let value = row.iter().rev().fold(Rational::from(0), |sum, c| (sum + c) * n);
                assert_eq!(value, Rational::from(expected), "k {k}, n {n}");
            }
        }
    }

    #[test]
    fn polynomials_are_multiplied_and_replaced() {
        let (x, y) = (Poly::atom(0), Poly::atom(1));
        let sum = x.plus(&y).unwrap();
        let square = sum.times(&sum).unwrap();
        assert_eq!(square.coefficients(0)[1], y.scaled(&2.into()).unwrap());
        let minus_y = y.scaled(&Rational::from(-1)).unwrap();
        assert!(square.replaced(0, &minus_y).unwrap().is_zero());
        assert_eq!(square.replaced(1, &Poly::from(1)).unwrap().constant_term(), 1.into());
        assert_eq!(Poly::from(i128::MAX).times(&Poly::from(2)), None);
    }
}
