//! Proofs that a polynomial is never negative where loop variables lie within their bounds.
//!
//! Everything that is not a parameter is replaced by a bound of it, the innermost first; what is left has a number. A
//! proof that is not found is no harm: the count is then made in another way.

use num_traits::Signed;

use super::poly::{Atom, Poly, Rational};
use super::table::{Assume, Bounds, Kind, Round, Table};

/// Replacements in one proof; more than a few nested minima never need.
const STEPS: u32 = 64;

/// What a step of a proof takes besides the terms of its polynomial, in terms.
const STEP_TERMS: usize = 8;

/// A proof under way.
struct Proof<'s> {
    scope: &'s [Bounds],
    assume: Assume,
    steps: u32,
    /// What holds for the values of the parameters only.
    conditions: Vec<Poly>,
}

/// An atom's part in a polynomial: what is multiplied with its first power, and the rest.
struct Part {
    factor: Poly,
    rest: Poly,
}

impl Table<'_> {
    /// Whether `poly` is at least 0 throughout `scope`. With [`Assume::Conditions`], what this takes of parameters is
    /// assumed.
    pub(super) fn prove(&mut self, poly: &Poly, scope: &[Bounds], assume: Assume) -> bool {
        if let Some(constant) = poly.constant() {
            return !constant.is_negative();
        }
        let mut proof = Proof { scope, assume, steps: STEPS, conditions: Vec::new() };
        let proven = self.never_negative(poly, &mut proof).is_some();
        if proven {
            proof.conditions.into_iter().for_each(|condition| self.assume(condition));
        }
        proven
    }

    fn never_negative(&mut self, poly: &Poly, proof: &mut Proof) -> Option<()> {
        if let Some(constant) = poly.constant() {
            return (!constant.is_negative()).then_some(());
        }
        proof.steps = proof.steps.checked_sub(1)?;
        self.spend(STEP_TERMS + poly.len())?;
        let closed = self.is_closed(poly);
        if closed {
            self.check(poly)?;
            if self.never_negative_anyway(poly) {
                return Some(());
            }
        }
        let atom = poly.atoms().filter(|atom| self.can_be_bounded(*atom)).max();
        let assumed = proof.conditions.len();
        if let Some(atom) = atom
            && self.bound_atom(poly, atom, proof).is_some()
        {
            return Some(());
        }
        proof.conditions.truncate(assumed);
        if closed {
            return self.condition(poly, proof);
        }
        let bounds = proof.scope.iter().rev().find(|bounds| poly.atoms().any(|atom| atom == bounds.var.0))?;
        self.bound_variable(poly, bounds, proof)
    }

    /// Whether it holds for the parameters' values. What takes trying out is not looked at.
    fn check(&mut self, poly: &Poly) -> Option<()> {
        let tried = |atom| self.info(atom).is_none_or(|info| matches!(*info.kind, Kind::Sum(_) | Kind::Group(_)));
        if poly.atoms().any(tried) {
            return None;
        }
        self.number(poly).is_ok_and(|value| !value.is_negative()).then_some(())
    }

    fn condition(&mut self, poly: &Poly, proof: &mut Proof) -> Option<()> {
        let allowed = proof.assume == Assume::Conditions;
        allowed.then(|| proof.conditions.push(poly.clone()))
    }

    fn can_be_bounded(&self, atom: Atom) -> bool {
        self.info(atom).is_some_and(|info| {
            matches!(*info.kind, Kind::Min(_) | Kind::Max(_) | Kind::Quotient(..) | Kind::Power(..) | Kind::Digits(..))
        })
    }

    /// Whether it is at least 0 wherever every parameter is at least 1: no coefficient is negative once each atom is
    /// written as its least value and what is above it.
    pub(super) fn never_negative_anyway(&mut self, poly: &Poly) -> bool {
        self.least(poly, 4).is_some_and(|least| !least.is_negative())
    }

    /// A number below which `poly` never is while parameters are at least 1.
    fn least(&mut self, poly: &Poly, depth: u32) -> Option<Rational> {
        let mut shifted = poly.clone();
        let mut atoms: Vec<Atom> = poly.atoms().collect();
        atoms.sort_unstable();
        atoms.dedup();
        for atom in atoms {
            let least = self.least_of(atom, depth)?;
            self.spend(shifted.len())?;
            shifted = shifted.replaced(atom, &Poly::atom(atom).plus(&Poly::from(least))?)?;
        }
        let constant = shifted.constant_term();
        shifted.terms().all(|(monomial, value)| monomial.is_empty() || !value.is_negative()).then_some(constant)
    }

    fn least_of(&mut self, atom: Atom, depth: u32) -> Option<Rational> {
        let depth = depth.checked_sub(1)?;
        let kind = self.info(atom)?.kind.clone();
        match &*kind {
            Kind::Symbol(_) => Some(Rational::from(1)),
            Kind::Min(args) => {
                let all: Option<Vec<_>> = args.iter().map(|arg| self.least(arg, depth)).collect();
                all?.into_iter().min()
            }
            Kind::Max(args) => args.iter().filter_map(|arg| self.least(arg, depth)).max(),
            Kind::Quotient(a, b, round) => {
                let (one, zero) = (Rational::from(1), Rational::from(0));
                let (a, b) = (self.least(a, depth)?, self.least(b, depth)?);
                let positive = *round == Round::Up && a >= one;
                (b >= one && a >= zero).then_some(if positive { one } else { zero })
            }
            Kind::Holds(_) | Kind::Digits(..) => Some(Rational::from(0)),
            Kind::Power(base, _) => {
                let one = Rational::from(1);
                (self.least(base, depth)? >= one).then_some(one)
            }
            Kind::Group(_) | Kind::Sum(_) => None,
        }
    }

    /// The part of an atom that has no powers in `poly`.
    fn part(poly: &Poly, atom: Atom) -> Option<Part> {
        match <[Poly; 2]>::try_from(poly.coefficients(atom)) {
            Ok([rest, factor]) => Some(Part { factor, rest }),
            Err(_) => None,
        }
    }

    /// Whether a factor is never negative (or never positive).
    fn sign(&mut self, factor: &Poly, proof: &mut Proof) -> Option<bool> {
        if let Some(constant) = factor.constant() {
            return Some(!constant.is_negative());
        }
        if !self.is_closed(factor) {
            return None;
        }
        let negated = factor.scaled(&Rational::from(-1))?;
        let (signed, positive) = if self.check(factor).is_some() { (factor, true) } else { (&negated, false) };
        self.check(signed)?;
        if !self.never_negative_anyway(signed) {
            self.condition(signed, proof)?;
        }
        Some(positive)
    }

    /// Goes on with bounds instead of a minimum, a maximum or a quotient.
    fn bound_atom(&mut self, poly: &Poly, atom: Atom, proof: &mut Proof) -> Option<()> {
        let Part { factor, rest } = Self::part(poly, atom)?;
        let positive = self.sign(&factor, proof)?;
        let kind = self.info(atom)?.kind.clone();
        let with = |bound: &Poly| factor.times(bound)?.plus(&rest);
        match &*kind {
            // The least that it can be is any of them, or the best of them.
            Kind::Min(args) if positive => args.iter().try_for_each(|arg| self.never_negative(&with(arg)?, proof)),
            Kind::Max(args) if !positive => args.iter().try_for_each(|arg| self.never_negative(&with(arg)?, proof)),
            Kind::Min(args) | Kind::Max(args) => args.iter().find_map(|arg| self.attempt(&with(arg)?, proof)),
            Kind::Quotient(a, b, round) => {
                let bound = match b.integer() {
                    Some(b) if b > 0 => by_number(a, b, *round, positive)?,
                    Some(_) => return None,
                    None => {
                        self.never_negative(&b.plus_number(-1)?, proof)?;
                        self.never_negative(a, proof)?;
                        if positive { Poly::default() } else { a.clone() }
                    }
                };
                self.never_negative(&with(&bound)?, proof)
            }
            // At least 1, where the base is.
            Kind::Power(base, _) if positive => {
                self.never_negative(&base.plus_number(-1)?, proof)?;
                self.never_negative(&with(&Poly::from(1))?, proof)
            }
            Kind::Digits(..) if positive => self.never_negative(&with(&Poly::default())?, proof),
            _ => None,
        }
    }

    /// Goes on with a bound of a loop variable instead of it.
    fn bound_variable(&mut self, poly: &Poly, bounds: &Bounds, proof: &mut Proof) -> Option<()> {
        let var = bounds.var.0;
        let mut coefficients = poly.coefficients(var).into_iter();
        let _constant = coefficients.next();
        let factors: Vec<Poly> = coefficients.filter(|factor| !factor.is_zero()).collect();
        let signs: Option<Vec<bool>> = factors.iter().map(|factor| self.sign(factor, proof)).collect();
        let positive = *signs.as_ref()?.first()?;
        if signs?.iter().any(|sign| *sign != positive) {
            return None;
        }
        // A power grows with its base only above zero.
        if poly.coefficients(var).len() > 2 {
            bounds.lowers.iter().find_map(|lower| self.attempt(lower, proof))?;
        }
        let ends = if positive { &bounds.lowers } else { &bounds.uppers };
        ends.iter().find_map(|end| self.attempt(&poly.replaced(var, end)?, proof))
    }

    /// One way of several: what it assumes is forgotten if it fails.
    fn attempt(&mut self, poly: &Poly, proof: &mut Proof) -> Option<()> {
        let assumed = proof.conditions.len();
        let proven = self.never_negative(poly, proof);
        if proven.is_none() {
            proof.conditions.truncate(assumed);
        }
        proven
    }
}

/// The least (or the most) that `a / b` can be once it is rounded.
fn by_number(a: &Poly, b: i128, round: Round, least: bool) -> Option<Poly> {
    let change = match (round, least) {
        (Round::Down | Round::ToZero, true) => 1 - b,
        (Round::Up | Round::ToZero, false) => b - 1,
        _ => 0,
    };
    a.plus_number(change)?.scaled(&Rational::new(1, b))
}
