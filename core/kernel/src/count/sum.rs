//! Sums over the iterations of loops, with the conditions under which something runs.

use num_traits::Signed;

use super::poly::{Atom, Poly, Rational};
use super::table::{Assume, Bounds, Kind, Round, Series, Table};
use crate::expr::Symbol;
use crate::nest::At;

/// A loop: the values that its variable takes.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub(super) var: Symbol,
    pub(super) lower: Poly,
    pub(super) upper: Poly,
    pub(super) step: Poly,
    /// Whether the step is positive.
    pub(super) ascending: bool,
    pub(super) at: At,
}

/// When something runs, decided by loop variables and parameters.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Constraint {
    /// It is at least 0.
    AtLeastZero(Poly),
    /// Divided by the modulus, rounded down, it leaves the residue: `0 <= residue < modulus`.
    Residue { poly: Poly, modulus: i128, residue: i128 },
}

/// One way in which something comes to run: all of `constraints`, and how much it then counts.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) factor: Poly,
    pub(super) constraints: Vec<Constraint>,
}

impl Constraint {
    fn poly(&self) -> &Poly {
        match self {
            Self::AtLeastZero(poly) | Self::Residue { poly, .. } => poly,
        }
    }
}

impl Range {
    /// What is known of the variable.
    fn bounds(&self) -> Option<Bounds> {
        let (low, high) = match self.ascending {
            true => (self.lower.clone(), self.upper.plus_number(-1)?),
            false => (self.upper.plus_number(1)?, self.lower.clone()),
        };
        Some(Bounds { var: self.var, lowers: vec![low], uppers: vec![high] })
    }

    fn is_unit(&self) -> bool {
        self.step.integer() == Some(1)
    }
}

impl Table<'_> {
    /// How often something runs inside of `ranges`, the outermost first, if `case` decides about it.
    pub(super) fn runs(&mut self, ranges: &[Range], case: &Case) -> Poly {
        let mut scope = self.scope(ranges, std::slice::from_ref(case));
        let mut constraints = case.constraints.clone();
        let mut runs = case.factor.clone();
        for range in ranges.iter().rev() {
            scope.retain(|bounds| bounds.var != range.var);
            let (own, outer) =
                constraints.into_iter().partition(|own: &Constraint| self.depends(own.poly(), range.var));
            constraints = outer;
            self.at = range.at;
            runs = self.over(range.clone(), runs, own, &scope);
        }
        constraints.iter().fold(runs, |runs, constraint| self.decided(runs, constraint))
    }

    /// What is known of the variables of `ranges` in each of `cases`.
    pub(super) fn scope(&self, ranges: &[Range], cases: &[Case]) -> Vec<Bounds> {
        let mut scope: Vec<Bounds> = ranges.iter().filter_map(Range::bounds).collect();
        if let [only] = cases {
            only.constraints.iter().for_each(|constraint| self.learn(&mut scope, constraint));
        }
        scope
    }

    /// A condition that bounds the innermost of its variables is a fact for proofs.
    fn learn(&self, scope: &mut [Bounds], constraint: &Constraint) {
        let Constraint::AtLeastZero(poly) = constraint else { return };
        let Some(bounds) = scope.iter_mut().rev().find(|bounds| self.depends(poly, bounds.var)) else { return };
        match self.affine(poly, bounds.var) {
            Some((1, rest)) => bounds.lowers.extend(rest.scaled(&Rational::from(-1))),
            Some((-1, rest)) => bounds.uppers.push(rest),
            _ => {}
        }
    }

    /// A condition of parameters alone holds or does not; which is assumed.
    fn decided(&mut self, runs: Poly, constraint: &Constraint) -> Poly {
        if let Constraint::AtLeastZero(poly) = constraint {
            if self.prove(poly, &[], Assume::Conditions) {
                return runs;
            }
            let otherwise = poly.scaled(&Rational::from(-1)).and_then(|poly| poly.plus_number(-1));
            if otherwise.is_some_and(|poly| self.prove(&poly, &[], Assume::Conditions)) {
                return Poly::default();
            }
        }
        let indicator = self.indicator(constraint);
        self.product(&runs, &indicator)
    }

    /// 1 where a condition holds, otherwise 0.
    pub(super) fn indicator(&mut self, constraint: &Constraint) -> Poly {
        match constraint {
            Constraint::AtLeastZero(poly) => self.holds(poly),
            Constraint::Residue { poly, modulus, residue } => {
                let modulus = Poly::from(*modulus);
                let beyond = self.difference(poly, &Poly::from(*residue));
                let quotient = self.quotient(&beyond, &modulus, Round::Down);
                // The remainder is never negative: it is zero if its opposite is not negative either.
                let multiple = self.product(&quotient, &modulus);
                let opposite = self.difference(&multiple, &beyond);
                self.holds(&opposite)
            }
        }
    }

    fn holds(&mut self, poly: &Poly) -> Poly {
        match poly.constant() {
            Some(constant) => Poly::from(i128::from(!constant.is_negative())),
            None => self.intern(Kind::Holds(poly.clone())),
        }
    }

    /// `poly` as `c * var + rest`, if it is that for a number `c`.
    fn affine(&self, poly: &Poly, var: Symbol) -> Option<(i128, Poly)> {
        let [rest, factor] = <[Poly; 2]>::try_from(poly.coefficients(var.0)).ok()?;
        let factor = factor.integer().filter(|_| !self.depends(&rest, var))?;
        Some((factor, rest))
    }

    /// The sum of `body` over a loop, where all of `constraints` hold; each depends on the loop's variable.
    fn over(&mut self, range: Range, body: Poly, constraints: Vec<Constraint>, scope: &[Bounds]) -> Poly {
        let (mut range, mut body) = (ascending_order(range), body);
        // Ends first: a residue makes steps of the range, whose ends then cannot be moved.
        let (residues, ends): (Vec<_>, Vec<_>) =
            constraints.into_iter().partition(|own| matches!(own, Constraint::Residue { .. }));
        for constraint in ends.into_iter().chain(residues) {
            if !range.is_unit() || self.tighten(&mut range, &constraint, scope).is_none() {
                let indicator = self.indicator(&constraint);
                body = self.product(&body, &indicator);
            }
        }
        if body.is_zero() {
            return body;
        }
        if range.is_unit() {
            if !self.is_ordered(&range, scope, true) {
                self.clamp(&mut range, scope);
            }
            return self.consecutive(&range, body, scope);
        }
        self.strided(range, body, scope)
    }

    /// Whether a loop never ends before it begins: at all, or by a step or more, which would be an iteration less than
    /// none.
    fn is_ordered(&mut self, range: &Range, scope: &[Bounds], at_all: bool) -> bool {
        let down = Rational::from(if range.ascending { 1 } else { -1 });
        let span = || {
            let span = range.upper.minus(&range.lower)?;
            let span = if at_all { span } else { span.plus(&range.step)? };
            span.scaled(&down)?.plus_number(if at_all { 0 } else { -1 })
        };
        span().is_some_and(|span| self.prove(&span, scope, Assume::Conditions))
    }

    /// Ends a loop that ends before it begins where it begins.
    fn clamp(&mut self, range: &mut Range, scope: &[Bounds]) {
        let (span, none) = (self.difference(&range.upper, &range.lower), Poly::default());
        let span = match range.ascending {
            true => self.max(&span, &none, scope, Assume::Nothing),
            false => self.min(&span, &none, scope, Assume::Nothing),
        };
        let mut upper = range.lower.clone();
        self.add(&mut upper, &span);
        range.upper = upper;
    }

    /// Leaves out of a range what a condition excludes, if that is one end of it or a residue.
    fn tighten(&mut self, range: &mut Range, constraint: &Constraint, scope: &[Bounds]) -> Option<()> {
        let (factor, rest) = self.affine(constraint.poly(), range.var)?;
        match constraint {
            Constraint::AtLeastZero(_) if factor > 0 => {
                let first = self.quotient(&rest.scaled(&Rational::from(-1))?, &Poly::from(factor), Round::Up);
                range.lower = self.max(&range.lower, &first, scope, Assume::Conditions);
            }
            Constraint::AtLeastZero(_) => {
                let last = self.quotient(&rest, &Poly::from(factor.checked_neg()?), Round::Down);
                range.upper = self.min(&range.upper, &last.plus_number(1)?, scope, Assume::Conditions);
            }
            Constraint::Residue { modulus, residue, .. } if factor.abs() == 1 => {
                // The variable is congruent to the residue less the rest, or to its opposite.
                let target = Poly::from(*residue).minus(&rest)?.scaled(&Rational::from(factor))?;
                let beyond = target.minus(&range.lower)?;
                let step = Poly::from(*modulus);
                let below = self.quotient(&beyond, &step, Round::Down);
                let skipped = beyond.minus(&self.product(&below, &step))?;
                range.lower = range.lower.plus(&skipped)?;
                range.step = step;
            }
            Constraint::Residue { .. } => return None,
        }
        Some(())
    }

    /// The sum over consecutive values; the first is not beyond the end.
    fn consecutive(&mut self, range: &Range, body: Poly, scope: &[Bounds]) -> Poly {
        let (hard, easy) = self.parted(body, range.var);
        let sum = match self.power_sum(range, &easy) {
            Some(sum) => sum,
            None => self.factored(range, easy),
        };
        let rest = if hard.is_zero() { hard } else { self.divided_at(range, hard, scope) };
        let mut sum = sum;
        self.add(&mut sum, &rest);
        sum
    }

    /// Those terms in which something other than a power of `var` depends on it, and the others.
    fn parted(&self, body: Poly, var: Symbol) -> (Poly, Poly) {
        body.split(|monomial| monomial.iter().any(|(atom, _)| *atom != var.0 && self.atom_depends(*atom, var)))
    }

    /// The sum of powers of the variable over consecutive values.
    fn power_sum(&mut self, range: &Range, body: &Poly) -> Option<Poly> {
        let mut sum = Poly::default();
        for (k, factor) in body.coefficients(range.var.0).iter().enumerate() {
            if factor.is_zero() {
                continue;
            }
            let span = self.powers_to(&range.upper, k)?.minus(&self.powers_to(&range.lower, k)?)?;
            sum.add_all(&self.times(factor, &span)?)?;
        }
        Some(sum)
    }

    /// `0^k + 1^k + ... + (n-1)^k`.
    fn powers_to(&mut self, n: &Poly, k: usize) -> Option<Poly> {
        let row = self.sums.row(k)?.to_vec();
        row.iter()
            .rev()
            .try_fold(Poly::default(), |sum, coefficient| self.times(&sum.plus(&Poly::from(*coefficient))?, n))
    }

    /// The sum where no polynomial fits: what does not depend on the variable is taken out of it.
    fn factored(&mut self, range: &Range, body: Poly) -> Poly {
        let (inside, outside) =
            body.split(|monomial| monomial.iter().any(|(atom, _)| self.atom_depends(*atom, range.var)));
        let mut sum = self.tried(range, inside);
        if !outside.is_zero() {
            let span = self.difference(&range.upper, &range.lower);
            let rounds = self.quotient(&span, &range.step, Round::Up);
            let constant = self.product(&outside, &rounds);
            self.add(&mut sum, &constant);
        }
        sum
    }

    /// A sum that is left to be tried out, without factors that do not depend on the variable.
    fn tried(&mut self, range: &Range, body: Poly) -> Poly {
        let mut parts = std::collections::BTreeMap::<_, Poly>::new();
        for (monomial, coefficient) in body.terms() {
            let (inside, outside): (Vec<_>, Vec<_>) =
                monomial.iter().copied().partition(|(atom, _)| self.atom_depends(*atom, range.var));
            // Each term comes once, so that nothing is added to another coefficient.
            let _ = parts.entry(outside).or_default().add_term(inside, coefficient);
        }
        let mut sum = Poly::default();
        for (outside, body) in parts {
            let Range { var, lower, upper, step, .. } = range.clone();
            // So is the coefficient of a single term.
            let factor = body.terms().next().filter(|_| body.len() == 1).map_or(Rational::from(1), |(_, own)| *own);
            let body = body.scaled(&factor.recip()).unwrap_or(body);
            let series = self.intern(Kind::Sum(Box::new(Series { var, lower, upper, step, body })));
            let part = self.product(&Poly::term(outside, factor), &series);
            self.add(&mut sum, &part);
        }
        sum
    }

    /// The sum of terms with a minimum or a maximum: before and after the place where one argument passes the other.
    fn divided_at(&mut self, range: &Range, body: Poly, scope: &[Bounds]) -> Poly {
        let mut atoms: Vec<Atom> = body.atoms().filter(|atom| self.atom_depends(*atom, range.var)).collect();
        atoms.sort_unstable();
        atoms.dedup();
        let parts = atoms.into_iter().find_map(|atom| self.parts(range, &body, atom, scope));
        let Some([before, after]) = parts else { return self.tried(range, body) };
        let mut sum = self.consecutive(&before.0, before.1, scope);
        let after = self.consecutive(&after.0, after.1, scope);
        self.add(&mut sum, &after);
        sum
    }

    /// Both parts of a range in which an extreme has one argument less, with the body in each.
    fn parts(&mut self, range: &Range, body: &Poly, atom: Atom, scope: &[Bounds]) -> Option<[(Range, Poly); 2]> {
        let kind = self.info(atom)?.kind.clone();
        let (args, smallest) = match &*kind {
            Kind::Min(args) => (args, true),
            Kind::Max(args) => (args, false),
            _ => return None,
        };
        self.spend(16 * body.len() + args.len() * args.len())?;
        let pairs = (0..args.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        let crossing = |(a, b): (usize, usize)| Some((a, b, self.affine(&args[a].minus(&args[b])?, range.var)?));
        let (a, b, (factor, rest)) = pairs.filter_map(crossing).find(|(_, _, (factor, _))| *factor != 0)?;
        // From there on, what grows faster is the larger one.
        let (faster, slower, factor, rest) = match factor > 0 {
            true => (a, b, factor, rest),
            false => (b, a, factor.checked_neg()?, rest.scaled(&Rational::from(-1))?),
        };
        let crossing = self.quotient(&rest.scaled(&Rational::from(-1))?, &Poly::from(factor), Round::Up);
        let crossing = self.max(&crossing, &range.lower, scope, Assume::Conditions);
        let crossing = self.min(&crossing, &range.upper, scope, Assume::Conditions);
        let without = |table: &mut Self, left_out: usize| {
            let others: Vec<Poly> = (0..args.len()).filter(|i| *i != left_out).map(|i| args[i].clone()).collect();
            let value = match others.as_slice() {
                [only] => only.clone(),
                _ if smallest => table.intern(Kind::Min(others)),
                _ => table.intern(Kind::Max(others)),
            };
            body.replaced(atom, &value)
        };
        let (early, late) = if smallest { (slower, faster) } else { (faster, slower) };
        let before = Range { upper: crossing.clone(), ..range.clone() };
        let after = Range { lower: crossing, ..range.clone() };
        Some([(before, without(self, early)?), (after, without(self, late)?)])
    }

    /// The sum over values that are not consecutive.
    fn strided(&mut self, mut range: Range, body: Poly, scope: &[Bounds]) -> Poly {
        let tiles = self.tile_end(&range, &body).is_some();
        if !self.is_ordered(&range, scope, tiles) {
            self.clamp(&mut range, scope);
        }
        let body = self.telescoped(&range, body);
        let (hard, easy) = self.parted(body.0, range.var);
        let mut sum = match self.strided_powers(&range, &easy) {
            Some(sum) => sum,
            None => self.factored(&range, easy),
        };
        let hard = self.tried(&range, hard);
        self.add(&mut sum, &hard);
        self.add(&mut sum, &body.1);
        sum
    }

    /// The sum of powers over `lower + step * round`.
    fn strided_powers(&mut self, range: &Range, body: &Poly) -> Option<Poly> {
        let span = range.upper.minus(&range.lower)?;
        let rounds = self.quotient(&span, &range.step, Round::Up);
        // The variable stands for the number of the iteration now.
        let value = self.times(&range.step, &Poly::atom(range.var.0))?.plus(&range.lower)?;
        self.spend(body.len() * (value.len() + 1))?;
        let body = body.replaced(range.var.0, &value)?;
        let numbers = Range { lower: Poly::default(), upper: rounds, step: Poly::from(1), ..range.clone() };
        self.power_sum(&numbers, &body)
    }

    /// What the loops of a tiling have between them: the end `min(var + step, upper)` of a tile is the beginning of the
    /// next, or the end of all. So the sum of `end^k` is that of `var^k`, and `upper^k - lower^k` more. Returns the
    /// body without such terms, and what is more in the sum.
    fn telescoped(&mut self, range: &Range, body: Poly) -> (Poly, Poly) {
        let none = Poly::default();
        let Some((atom, end)) = range.ascending.then(|| self.tile_end(range, &body)).flatten() else {
            return (body, none);
        };
        let var = range.var;
        let (tiles, rest) = body.clone().split(|monomial| {
            let other = |own: Atom| own != atom && self.atom_depends(own, var);
            monomial.iter().any(|(own, _)| *own == atom) && !monomial.iter().any(|(own, _)| other(*own))
        });
        let moved = || -> Option<(Poly, Poly)> {
            let begins = tiles.replaced(atom, &Poly::atom(var.0))?.plus(&rest)?;
            let more = tiles.replaced(atom, &end)?.minus(&tiles.replaced(atom, &range.lower)?)?;
            Some((begins, more))
        };
        moved().unwrap_or((body, none))
    }

    /// The atom that is the end of a tile, and the end of all tiles.
    fn tile_end(&mut self, range: &Range, body: &Poly) -> Option<(Atom, Poly)> {
        let next = Poly::atom(range.var.0).plus(&range.step)?;
        let atoms: Vec<Atom> = body.atoms().filter(|atom| self.atom_depends(*atom, range.var)).collect();
        atoms.into_iter().find_map(|atom| {
            let Kind::Min(args) = &*self.info(atom)?.kind.clone() else { return None };
            let others: Vec<Poly> = args.iter().filter(|arg| **arg != next).cloned().collect();
            let end = match others.as_slice() {
                [only] => only.clone(),
                _ => self.intern(Kind::Min(others.clone())),
            };
            (others.len() < args.len() && end == range.upper).then_some((atom, end))
        })
    }
}

/// A loop that counts down by one takes the same values as one that counts up.
fn ascending_order(range: Range) -> Range {
    match (range.step.integer(), range.upper.plus_number(1), range.lower.plus_number(1)) {
        (Some(-1), Some(lower), Some(upper)) => Range { lower, upper, step: Poly::from(1), ascending: true, ..range },
        _ => range,
    }
}
