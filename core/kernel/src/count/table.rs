//! What polynomials are made of besides symbols: minima, quotients, sums that have no polynomial.

use std::collections::BTreeMap;
use std::rc::Rc;

use num_traits::CheckedDiv;

use super::number::Number;
use super::poly::{Atom, Poly, PowerSums, Rational};
use crate::expr::{Expr, Rounding, Symbol};
use crate::nest::{At, Program};
use crate::source::refuse;
use accel_ground::error::Error;

/// Terms of polynomials that one analysis may make: far more than any program that people write needs, and a bound for
/// what is made to need many. After that, products are left in factors and sums are tried out.
const TERMS: u64 = 4_000_000;

/// Among more arguments of a minimum, nobody looks for those that are never the smallest.
const MAX_COMPARED: usize = 6;

/// What an atom is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A parameter or a loop variable. The first atoms are the program's symbols, numbered like them.
    Symbol(Symbol),
    /// The smallest of several, ascending.
    Min(Vec<Poly>),
    /// The largest of several, ascending.
    Max(Vec<Poly>),
    /// A quotient, rounded to an integer.
    Quotient(Poly, Poly, Round),
    /// A power: the first to the second.
    Power(Poly, Poly),
    /// How many digits the first has in the base that the second is.
    Digits(Poly, Poly),
    /// 1 where it is at least 0, otherwise 0.
    Holds(Poly),
    /// A polynomial that takes part in another without being multiplied out.
    Group(Poly),
    /// A sum over the iterations of a loop.
    Sum(Box<Series>),
}

/// How a quotient becomes an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Round {
    Down,
    Up,
    ToZero,
}

/// The sum of `body` over the values of `var`: `lower`, `lower + step`, ... before `upper`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series {
    pub(super) var: Symbol,
    pub(super) lower: Poly,
    pub(super) upper: Poly,
    pub(super) step: Poly,
    pub(super) body: Poly,
}

/// An atom.
#[derive(Debug)]
pub(super) struct Info {
    pub(super) kind: Rc<Kind>,
    /// Loop variables of which it depends, ascending.
    pub(super) vars: Vec<Symbol>,
    /// Where it came up first.
    pub(super) at: At,
    /// Its value, once known, if it depends on no loop variable.
    pub(super) value: Option<Number>,
}

/// Between which values a loop variable lies.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) var: Symbol,
    /// It is at least each of these.
    pub(super) lowers: Vec<Poly>,
    /// It is at most each of these.
    pub(super) uppers: Vec<Poly>,
}

/// Whether something that holds for the parameters' values, but not for all, may be assumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Assume {
    Nothing,
    Conditions,
}

/// All atoms of a program, and what was assumed.
#[derive(Debug)]
pub(super) struct Table<'p> {
    pub(super) program: &'p Program,
    /// Parameters' values by symbol.
    pub(super) values: Vec<i64>,
    pub(super) atoms: Vec<Info>,
    numbers: BTreeMap<Rc<Kind>, Atom>,
    pub(super) sums: PowerSums,
    /// What must be at least 0 for closed forms to hold, other than that parameters are at least 1.
    pub(super) conditions: Vec<Poly>,
    /// What is looked at now.
    pub(super) at: At,
    /// Terms left of [`TERMS`].
    pub(super) terms_left: u64,
    /// Evaluations for sums that have no polynomial: in all, and left.
    pub(super) evaluations: u64,
    pub(super) evaluations_left: u64,
    /// The loop that is tried now.
    pub(super) tried: At,
}

impl<'p> Table<'p> {
    /// The symbols of `program`.
    pub(super) fn new(program: &'p Program, evaluations: u64) -> Self {
        let mut table = Self {
            program,
            values: program.values(),
            atoms: Vec::new(),
            numbers: BTreeMap::new(),
            sums: PowerSums::default(),
            conditions: Vec::new(),
            at: At::default(),
            terms_left: TERMS,
            evaluations,
            evaluations_left: evaluations,
            tried: At::default(),
        };
        for symbol in 0..program.symbols.len() as u32 {
            table.intern(Kind::Symbol(Symbol(symbol)));
        }
        table
    }

    /// The atom of that kind.
    pub(super) fn intern(&mut self, kind: Kind) -> Poly {
        if let Some(atom) = self.numbers.get(&kind) {
            return Poly::atom(*atom);
        }
        let atom = self.atoms.len() as Atom;
        let vars = self.vars_of(&kind);
        let kind = Rc::new(kind);
        self.atoms.push(Info { kind: Rc::clone(&kind), vars, at: self.at, value: None });
        self.numbers.insert(kind, atom);
        Poly::atom(atom)
    }

    fn vars_of(&self, kind: &Kind) -> Vec<Symbol> {
        let polys: Vec<&Poly> = match kind {
            Kind::Symbol(symbol) => {
                let info = self.program.symbols.get(symbol.0 as usize);
                return if info.is_some_and(|info| info.value.is_none()) { vec![*symbol] } else { Vec::new() };
            }
            Kind::Min(args) | Kind::Max(args) => args.iter().collect(),
            Kind::Quotient(a, b, _) | Kind::Power(a, b) | Kind::Digits(a, b) => vec![a, b],
            Kind::Holds(poly) | Kind::Group(poly) => vec![poly],
            Kind::Sum(series) => vec![&series.lower, &series.upper, &series.step, &series.body],
        };
        let bound = if let Kind::Sum(series) = kind { Some(series.var) } else { None };
        let mut vars: Vec<Symbol> = polys.into_iter().flat_map(|poly| self.vars(poly)).collect();
        vars.retain(|var| Some(*var) != bound);
        vars.sort_unstable();
        vars.dedup();
        vars
    }

    /// The loop variables of which `poly` depends, some several times.
    fn vars<'a>(&'a self, poly: &'a Poly) -> impl Iterator<Item = Symbol> + 'a {
        poly.atoms().flat_map(|atom| self.info(atom).map_or(&[][..], |info| &info.vars)).copied()
    }

    /// What is known of an atom.
    pub(super) fn info(&self, atom: Atom) -> Option<&Info> {
        self.atoms.get(atom as usize)
    }

    /// Whether an atom depends on a loop variable.
    pub(super) fn atom_depends(&self, atom: Atom, var: Symbol) -> bool {
        self.info(atom).is_some_and(|info| info.vars.contains(&var))
    }

    /// Whether `poly` depends on a loop variable.
    pub(super) fn depends(&self, poly: &Poly, var: Symbol) -> bool {
        poly.atoms().any(|atom| self.atom_depends(atom, var))
    }

    /// Whether `poly` depends on no loop variable.
    pub(super) fn is_closed(&self, poly: &Poly) -> bool {
        self.vars(poly).next().is_none()
    }

    /// Takes `terms` from what may be made; whether there were so many.
    pub(super) fn spend(&mut self, terms: usize) -> Option<()> {
        self.terms_left = self.terms_left.saturating_sub(terms as u64);
        (self.terms_left > 0).then_some(())
    }

    /// `a * b`, if it may be multiplied out.
    pub(super) fn times(&mut self, a: &Poly, b: &Poly) -> Option<Poly> {
        self.spend(a.len() * b.len())?;
        a.times(b)
    }

    /// `a * b`, left in factors where it may not be multiplied out.
    pub(super) fn product(&mut self, a: &Poly, b: &Poly) -> Poly {
        if let Some(product) = self.times(a, b) {
            return product;
        }
        let (a, b) = (self.group(a), self.group(b));
        // Two monomials without coefficients always have a product.
        a.times(&b).unwrap_or_default()
    }

    /// Adds `b` to `a`, as groups where coefficients grow too large.
    pub(super) fn add(&mut self, a: &mut Poly, b: &Poly) {
        for (monomial, coefficient) in b.terms() {
            if a.add_term(monomial.clone(), coefficient).is_none() {
                let group = self.group(&Poly::term(monomial.clone(), *coefficient));
                // Groups have coefficients of 1, of which no sum grows too large.
                let _ = a.add_all(&group);
            }
        }
    }

    /// `a - b`, as groups where coefficients grow too large.
    pub(super) fn difference(&mut self, a: &Poly, b: &Poly) -> Poly {
        if let Some(difference) = a.minus(b) {
            return difference;
        }
        let (a, b) = (self.group(a), self.group(b));
        a.minus(&b).unwrap_or_default()
    }

    /// `poly` as an atom.
    fn group(&mut self, poly: &Poly) -> Poly {
        match poly.only_atom() {
            Some(_) => poly.clone(),
            None => self.intern(Kind::Group(poly.clone())),
        }
    }

    /// A bound, an extent or a subscript as a polynomial over atoms.
    pub(super) fn poly(&mut self, expr: &Expr, scope: &[Bounds]) -> Result<Poly, Error> {
        let poly = self.convert(expr, scope)?;
        if self.is_closed(&poly) && expr.value(&self.values).is_err() {
            return Err(self.no_value(self.at));
        }
        Ok(poly)
    }

    /// What is said of a bound without a value.
    pub(super) fn no_value(&self, at: At) -> Error {
        let problem = "a bound, an extent or a condition divides by zero or leaves the range of 64-bit integers";
        refuse(at, problem, "Give the parameters other values")
    }

    fn convert(&mut self, expr: &Expr, scope: &[Bounds]) -> Result<Poly, Error> {
        let both = |table: &mut Self, a, b| Ok::<_, Error>((table.convert(a, scope)?, table.convert(b, scope)?));
        let poly = match expr {
            Expr::Const(value) => Some(Poly::from(i128::from(*value))),
            Expr::Symbol(symbol) if (symbol.0 as usize) < self.program.symbols.len() => Some(Poly::atom(symbol.0)),
            Expr::Symbol(_) => None,
            Expr::Add(a, b) => {
                let (a, b) = both(self, a, b)?;
                a.plus(&b)
            }
            Expr::Mul(a, b) => {
                let (a, b) = both(self, a, b)?;
                Some(self.product(&a, &b))
            }
            Expr::Div(a, b, rounding) => {
                let (a, b) = both(self, a, b)?;
                Some(self.rounded(&a, &b, *rounding, scope)?)
            }
            Expr::Rem(a, b, rounding) => {
                let (a, b) = both(self, a, b)?;
                let quotient = self.rounded(&a, &b, *rounding, scope)?;
                let whole = self.product(&quotient, &b);
                a.minus(&whole)
            }
            Expr::Min(a, b) => {
                let (a, b) = both(self, a, b)?;
                Some(self.min(&a, &b, scope, Assume::Nothing))
            }
            Expr::Max(a, b) => {
                let (a, b) = both(self, a, b)?;
                Some(self.max(&a, &b, scope, Assume::Nothing))
            }
            Expr::Power(a, b) => {
                let (a, b) = both(self, a, b)?;
                Some(self.intern(Kind::Power(a, b)))
            }
            Expr::Digits(a, b) => {
                let (a, b) = both(self, a, b)?;
                Some(self.intern(Kind::Digits(a, b)))
            }
        };
        poly.ok_or_else(|| {
            refuse(self.at, "the numbers of an expression are too large", "Write the expression in a simpler way")
        })
    }

    /// `a / b` as the source's language rounds it.
    fn rounded(&mut self, a: &Poly, b: &Poly, rounding: Rounding, scope: &[Bounds]) -> Result<Poly, Error> {
        if self.is_closed(b) && self.number(b)? == Rational::from(0) {
            return Err(self.no_value(self.at));
        }
        let down = rounding == Rounding::Floor || self.same_signs(a, b, scope);
        Ok(self.quotient(a, b, if down { Round::Down } else { Round::ToZero }))
    }

    /// Whether `a` is never negative and `b` positive, so that rounding down is rounding to zero.
    fn same_signs(&mut self, a: &Poly, b: &Poly, scope: &[Bounds]) -> bool {
        let positive = b.plus_number(-1).is_some_and(|b| self.prove(&b, scope, Assume::Nothing));
        positive && self.prove(a, scope, Assume::Nothing)
    }

    /// `a / b`, rounded to an integer; `b` is not zero, and both are integers.
    pub(super) fn quotient(&mut self, a: &Poly, b: &Poly, round: Round) -> Poly {
        let minus = Rational::from(-1);
        if b.integer().is_some_and(|b| b < 0)
            && let (Some(a), Some(b)) = (a.scaled(&minus), b.scaled(&minus))
        {
            return self.quotient(&a, &b, round);
        }
        // What divides without a rest comes out, which changes how the rest is rounded to zero, unless it is alone.
        let Some((whole, rest)) = divided(a, b) else {
            return self.intern(Kind::Quotient(a.clone(), b.clone(), round));
        };
        if round == Round::ToZero && !rest.is_zero() && !whole.is_zero() {
            return self.intern(Kind::Quotient(a.clone(), b.clone(), round));
        }
        let part = match (rest.integer(), b.integer()) {
            (Some(rest), Some(b)) => Poly::from(match round {
                Round::Down => rest.div_euclid(b),
                Round::Up => rest.div_euclid(b) + i128::from(rest.rem_euclid(b) != 0),
                Round::ToZero => rest / b,
            }),
            (Some(0), None) => Poly::default(),
            (_, Some(b)) => return self.shifted(&whole, &rest, b, round),
            _ => self.intern(Kind::Quotient(rest, b.clone(), round)),
        };
        whole.plus(&part).unwrap_or_else(|| self.intern(Kind::Quotient(a.clone(), b.clone(), round)))
    }

    /// `whole + rest / b` for a number `b` above zero, in the one form in which it is written: `floor((n + 255)/256)` is
    /// `ceil(n/256)`, and `floor((n + 300)/256)` is `floor((n + 44)/256) + 1`.
    fn shifted(&mut self, whole: &Poly, rest: &Poly, b: i128, round: Round) -> Poly {
        let shift = rest.constant_term();
        let shifted = || {
            let up = if round == Round::Up { b - 1 } else { 0 };
            let shift = Some(*shift.numer()).filter(|_| shift.is_integer() && round != Round::ToZero)?;
            let (more, left) = (shift.checked_add(up)?.div_euclid(b), shift.checked_add(up)?.rem_euclid(b));
            let (left, round) = if left == b - 1 { (0, Round::Up) } else { (left, Round::Down) };
            Some((whole.plus_number(more)?, rest.plus_number(left.checked_sub(shift)?)?, round))
        };
        let (mut all, rest, round) = shifted().unwrap_or_else(|| (whole.clone(), rest.clone(), round));
        let part = self.intern(Kind::Quotient(rest, Poly::from(b), round));
        self.add(&mut all, &part);
        all
    }

    /// The smaller of two.
    pub(super) fn min(&mut self, a: &Poly, b: &Poly, scope: &[Bounds], assume: Assume) -> Poly {
        let args = self.arguments(a, b, |kind| if let Kind::Min(args) = kind { Some(args) } else { None });
        let args = self.extremes(args, scope, assume, true);
        if let [only] = args.as_slice() { only.clone() } else { self.intern(Kind::Min(args)) }
    }

    /// The larger of two.
    pub(super) fn max(&mut self, a: &Poly, b: &Poly, scope: &[Bounds], assume: Assume) -> Poly {
        let args = self.arguments(a, b, |kind| if let Kind::Max(args) = kind { Some(args) } else { None });
        let args = self.extremes(args, scope, assume, false);
        if let [only] = args.as_slice() { only.clone() } else { self.intern(Kind::Max(args)) }
    }

    /// The arguments of `min(a, b)`, with those of minima among them.
    fn arguments(&self, a: &Poly, b: &Poly, inner: impl Fn(&Kind) -> Option<&Vec<Poly>>) -> Vec<Poly> {
        let mut args = Vec::new();
        for poly in [a, b] {
            match poly.only_atom().and_then(|atom| self.info(atom)).and_then(|info| inner(&info.kind)) {
                Some(several) => args.extend(several.iter().cloned()),
                None => args.push(poly.clone()),
            }
        }
        args.sort();
        args.dedup();
        args
    }

    /// Leaves out what is never the smallest (or the largest).
    fn extremes(&mut self, mut args: Vec<Poly>, scope: &[Bounds], assume: Assume, smallest: bool) -> Vec<Poly> {
        let mut at = if args.len() > MAX_COMPARED { args.len() } else { 0 };
        while at < args.len() {
            let own = args[at].clone();
            let beaten = (0..args.len()).filter(|other| *other != at).any(|other| {
                let (low, high) = if smallest { (&args[other], &own) } else { (&own, &args[other]) };
                high.minus(low).is_some_and(|difference| self.prove(&difference, scope, assume))
            });
            if beaten {
                args.remove(at);
            } else {
                at += 1;
            }
        }
        args
    }

    /// States that `poly` is at least 0.
    pub(super) fn assume(&mut self, poly: Poly) {
        if !self.conditions.contains(&poly) {
            self.conditions.push(poly);
        }
    }
}

/// `a / b` where it has no rest, and the rest of `a`: for a number or a single product of atoms as `b`.
fn divided(a: &Poly, b: &Poly) -> Option<(Poly, Poly)> {
    let mut terms = b.terms();
    let (divisor, coefficient) = terms.next()?;
    if terms.next().is_some() {
        return None;
    }
    let (mut whole, mut rest) = (Poly::default(), Poly::default());
    for (monomial, value) in a.terms() {
        let mut quotient = monomial.clone();
        let divides = divisor.iter().all(|(atom, power)| {
            quotient.iter_mut().find(|(own, has)| own == atom && *has >= *power).map(|(_, has)| *has -= power).is_some()
        });
        quotient.retain(|(_, power)| *power > 0);
        let ratio = value.checked_div(coefficient)?;
        if divides && ratio.is_integer() {
            whole.add_term(quotient, &ratio)?;
        } else {
            rest.add_term(monomial.clone(), value)?;
        }
    }
    Some((whole, rest))
}
