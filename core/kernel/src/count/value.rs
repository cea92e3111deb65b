//! Numbers: what polynomials and their atoms are worth.

use std::rc::Rc;

use super::poly::{self, Atom, Monomial, Poly, Rational};
use super::table::{Kind, Round, Series, Table};
use crate::expr::{self, Rounding};
use crate::report::Count;
use accel_core::error::Error;

/// A number: exact, or beyond 128 bits with a bound of what rounding did to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    Exact(Rational),
    Rough { value: f64, error: f64 },
}

impl Value {
    /// Nothing.
    pub(super) const ZERO: Self = Self::Exact(Rational::new_raw(0, 1));

    /// As a floating-point number, with a bound of its error.
    fn rough(self) -> (f64, f64) {
        match self {
            Self::Exact(value) => {
                let value = *value.numer() as f64 / *value.denom() as f64;
                (value, value.abs() * 2.0 * f64::EPSILON)
            }
            Self::Rough { value, error } => (value, error),
        }
    }

    /// The sum of two.
    pub(super) fn plus(self, other: Self) -> Self {
        if let (Self::Exact(a), Self::Exact(b)) = (self, other)
            && let Some(sum) = poly::add(&a, &b)
        {
            return Self::Exact(sum);
        }
        let ((a, e), (b, f)) = (self.rough(), other.rough());
        Self::Rough { value: a + b, error: e + f + (a + b).abs() * f64::EPSILON }
    }

    /// The product of two.
    pub(super) fn times(self, other: Self) -> Self {
        if let (Self::Exact(a), Self::Exact(b)) = (self, other)
            && let Some(product) = poly::mul(&a, &b)
        {
            return Self::Exact(product);
        }
        if self == Self::ZERO || other == Self::ZERO {
            return Self::ZERO;
        }
        let ((a, e), (b, f)) = (self.rough(), other.rough());
        Self::Rough { value: a * b, error: a.abs() * f + b.abs() * e + e * f + (a * b).abs() * f64::EPSILON }
    }

    /// As a count; `expected` if chances decide about it. None if rounding has eaten what was left of it.
    pub(super) fn count(self, expected: bool) -> Option<Count> {
        match self {
            Self::Exact(value) if !expected && value.is_integer() => {
                let whole = *value.numer();
                Some(u64::try_from(whole).map_or(Count::Real(whole as f64), Count::Whole))
            }
            Self::Exact(_) => Some(Count::Real(self.rough().0)),
            // Beyond 2^64, or not to be told from a number that is not.
            Self::Rough { value, error } => {
                let large = expected || value - error > u64::MAX as f64;
                (value.is_finite() && error <= value.abs() * 1e-9 && large).then_some(Count::Real(value))
            }
        }
    }
}

/// What the table's polynomials are worth with the values of parameters, and of loop variables while they are tried.
impl Table<'_> {
    /// The value of a polynomial.
    pub(super) fn evaluate(&mut self, poly: &Poly) -> Result<Value, Error> {
        let mut sum = Value::ZERO;
        for (monomial, coefficient) in poly.terms() {
            sum = sum.plus(self.term(monomial, coefficient)?);
        }
        Ok(sum)
    }

    /// The value of a polynomial that must be a number of no more than 128 bits.
    pub(super) fn number(&mut self, poly: &Poly) -> Result<Rational, Error> {
        match self.evaluate(poly)? {
            Value::Exact(value) => Ok(value),
            Value::Rough { .. } => Err(self.no_value(self.at)),
        }
    }

    fn term(&mut self, monomial: &Monomial, coefficient: &Rational) -> Result<Value, Error> {
        // Where a condition does not hold, nobody asks for what it guards: that may divide by zero.
        for (atom, _) in monomial {
            if self.is_condition(*atom) && self.atom(*atom)? == Value::ZERO {
                return Ok(Value::ZERO);
            }
        }
        let cost = monomial.iter().fold(1, |cost, (_, power)| cost + u64::from(power.saturating_sub(1)));
        self.evaluations_left = self.evaluations_left.checked_sub(cost).ok_or_else(|| self.too_many())?;
        // The coefficient last: what is before it is mostly an integer, which is faster than a fraction.
        let mut product = Value::Exact(Rational::from(1));
        for (atom, power) in monomial {
            let value = self.atom(*atom)?;
            for _ in 0..*power {
                product = product.times(value);
            }
        }
        Ok(product.times(Value::Exact(*coefficient)))
    }

    fn is_condition(&self, atom: Atom) -> bool {
        self.info(atom).is_some_and(|info| matches!(*info.kind, Kind::Holds(_)))
    }

    fn atom(&mut self, atom: Atom) -> Result<Value, Error> {
        let Some(info) = self.info(atom) else { return Ok(Value::ZERO) };
        if let Kind::Symbol(symbol) = *info.kind {
            let value = self.values.get(symbol.0 as usize).copied().unwrap_or_default();
            return Ok(Value::Exact(Rational::from(i128::from(value))));
        }
        if let Some(value) = info.value {
            return Ok(value);
        }
        let (kind, closed, at) = (Rc::clone(&info.kind), info.vars.is_empty(), info.at);
        let before = std::mem::replace(&mut self.at, at);
        let value = self.kind(&kind)?;
        self.at = before;
        if closed && let Some(info) = self.atoms.get_mut(atom as usize) {
            info.value = Some(value);
        }
        Ok(value)
    }

    fn kind(&mut self, kind: &Kind) -> Result<Value, Error> {
        match kind {
            Kind::Symbol(_) => Ok(Value::ZERO),
            Kind::Min(args) => self.extreme(args, |new, best| new < best),
            Kind::Max(args) => self.extreme(args, |new, best| new > best),
            Kind::Quotient(a, b, round) => {
                let (a, b) = (self.integer(a)?, self.integer(b)?);
                let rounding = if *round == Round::ToZero { Rounding::Zero } else { Rounding::Floor };
                let quotient = expr::divide(a, b, rounding).map_err(|_| self.no_value(self.at))?;
                let up = *round == Round::Up && i128::from(quotient) * i128::from(b) != i128::from(a);
                Ok(Value::Exact(Rational::from(i128::from(quotient) + i128::from(up))))
            }
            Kind::Holds(poly) => {
                let holds = self.number(poly)? >= Rational::from(0);
                Ok(Value::Exact(Rational::from(i128::from(holds))))
            }
            Kind::Group(poly) => self.evaluate(poly),
            Kind::Sum(series) => self.series(series),
        }
    }

    fn extreme(&mut self, args: &[Poly], better: impl Fn(&Rational, &Rational) -> bool) -> Result<Value, Error> {
        let mut best = None;
        for arg in args {
            let value = self.number(arg)?;
            if best.as_ref().is_none_or(|best| better(&value, best)) {
                best = Some(value);
            }
        }
        Ok(best.map_or(Value::ZERO, Value::Exact))
    }

    /// The value of an integer that fits 64 bits.
    pub(super) fn integer(&mut self, poly: &Poly) -> Result<i64, Error> {
        let value = match poly.constant() {
            Some(constant) => constant,
            None => self.number(poly)?,
        };
        i64::try_from(*value.numer()).ok().filter(|_| value.is_integer()).ok_or_else(|| self.no_value(self.at))
    }

    /// Tries every value of the loop's variable.
    fn series(&mut self, series: &Series) -> Result<Value, Error> {
        let (lower, upper) = (self.integer(&series.lower)?, self.integer(&series.upper)?);
        let step = self.integer(&series.step)?;
        let span = i128::from(upper) - i128::from(lower);
        let rounds =
            if step == 0 { 0 } else { (span + i128::from(step) - i128::from(step.signum())) / i128::from(step) };
        let rounds = u64::try_from(rounds.max(0)).unwrap_or(u64::MAX);
        let before = std::mem::replace(&mut self.tried, self.at);
        if rounds > self.evaluations_left {
            return Err(self.too_many());
        }
        let mut sum = Value::ZERO;
        let mut value = lower;
        for _ in 0..rounds {
            if let Some(own) = self.values.get_mut(series.var.0 as usize) {
                *own = value;
            }
            sum = sum.plus(self.evaluate(&series.body)?);
            // The last one may be beyond the range of numbers, and is not used.
            value = value.wrapping_add(step);
        }
        self.tried = before;
        Ok(sum)
    }

    fn too_many(&self) -> Error {
        let line = self.tried.line;
        Error::TooLarge {
            problem: format!(
                "the loop in line {line} has no closed form, and trying its rounds one by one takes more than {} \
                 evaluations",
                super::MAX_EVALUATIONS
            ),
            cure: "Give smaller parameters, or simpler bounds and conditions".into(),
        }
    }
}
