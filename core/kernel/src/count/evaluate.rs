//! Evaluation: what polynomials and their atoms are worth.

use std::rc::Rc;

use super::number::Number;
use super::poly::{Atom, Monomial, Poly, Rational};
use super::table::{Kind, Round, Series, Table};
use crate::expr::{self, Rounding};
use accel_ground::error::Error;

/// What the table's polynomials are worth with the values of parameters, and of loop variables while they are tried.
impl Table<'_> {
    /// The value of a polynomial.
    pub(super) fn evaluate(&mut self, poly: &Poly) -> Result<Number, Error> {
        let mut sum = Number::ZERO;
        for (monomial, coefficient) in poly.terms() {
            sum = sum.plus(self.term(monomial, coefficient)?);
        }
        Ok(sum)
    }

    /// The value of a polynomial that must be a number of no more than 128 bits.
    pub(super) fn number(&mut self, poly: &Poly) -> Result<Rational, Error> {
        match self.evaluate(poly)? {
            Number::Exact(value) => Ok(value),
            Number::Rough { .. } => Err(self.no_value(self.at)),
        }
    }

    fn term(&mut self, monomial: &Monomial, coefficient: &Rational) -> Result<Number, Error> {
        // Where a condition does not hold, nobody asks for what it guards: that may divide by zero.
        for (atom, _) in monomial {
            if self.is_condition(*atom) && self.atom(*atom)? == Number::ZERO {
                return Ok(Number::ZERO);
            }
        }
        let cost = monomial.iter().fold(1, |cost, (_, power)| cost + u64::from(power.saturating_sub(1)));
        self.evaluations_left = self.evaluations_left.checked_sub(cost).ok_or_else(|| self.too_many())?;
        // The coefficient last: what is before it is mostly an integer, which is faster than a fraction.
        let mut product = Number::Exact(Rational::from(1));
        for (atom, power) in monomial {
            let value = self.atom(*atom)?;
            for _ in 0..*power {
                product = product.times(value);
            }
        }
        Ok(product.times(Number::Exact(*coefficient)))
    }

    fn is_condition(&self, atom: Atom) -> bool {
        self.info(atom).is_some_and(|info| matches!(*info.kind, Kind::Holds(_)))
    }

    fn atom(&mut self, atom: Atom) -> Result<Number, Error> {
        let Some(info) = self.info(atom) else { return Ok(Number::ZERO) };
        if let Kind::Symbol(symbol) = *info.kind {
            let value = self.values.get(symbol.0 as usize).copied().unwrap_or_default();
            return Ok(Number::Exact(Rational::from(i128::from(value))));
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

    fn kind(&mut self, kind: &Kind) -> Result<Number, Error> {
        match kind {
            Kind::Symbol(_) => Ok(Number::ZERO),
            Kind::Min(args) => self.extreme(args, |new, best| new < best),
            Kind::Max(args) => self.extreme(args, |new, best| new > best),
            Kind::Quotient(a, b, round) => {
                let (a, b) = (self.integer(a)?, self.integer(b)?);
                let rounding = if *round == Round::ToZero { Rounding::Zero } else { Rounding::Floor };
                let quotient = expr::divide(a, b, rounding).map_err(|_| self.no_value(self.at))?;
                let up = *round == Round::Up && i128::from(quotient) * i128::from(b) != i128::from(a);
                Ok(Number::Exact(Rational::from(i128::from(quotient) + i128::from(up))))
            }
            Kind::Power(a, b) | Kind::Digits(a, b) => {
                let (a, b) = (self.integer(a)?, self.integer(b)?);
                let of = if matches!(kind, Kind::Power(..)) { expr::power } else { expr::digits };
                let value = of(a, b).map_err(|_| self.no_value(self.at))?;
                Ok(Number::Exact(Rational::from(i128::from(value))))
            }
            Kind::Holds(poly) => {
                let holds = self.number(poly)? >= Rational::from(0);
                Ok(Number::Exact(Rational::from(i128::from(holds))))
            }
            Kind::Group(poly) => self.evaluate(poly),
            Kind::Sum(series) => self.series(series),
        }
    }

    fn extreme(&mut self, args: &[Poly], better: impl Fn(&Rational, &Rational) -> bool) -> Result<Number, Error> {
        let mut best = None;
        for arg in args {
            let value = self.number(arg)?;
            if best.as_ref().is_none_or(|best| better(&value, best)) {
                best = Some(value);
            }
        }
        Ok(best.map_or(Number::ZERO, Number::Exact))
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
    fn series(&mut self, series: &Series) -> Result<Number, Error> {
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
        let mut sum = Number::ZERO;
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
                self.evaluations
            ),
            cure: "Give smaller parameters, simpler bounds and conditions, or a larger budget".into(),
        }
    }
}
