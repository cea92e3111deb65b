//! Conditions as cases that exclude each other.

use super::poly::{Poly, Rational};
use super::sum::{Case, Constraint};
use super::table::{Assume, Bounds, Table};
use crate::expr::{Expr, Rounding};
use crate::nest::{Comparison, Condition};
use crate::source::refuse;
use accel_ground::error::Error;

/// More cases become one that is tried out.
const MAX_CASES: usize = 16;

/// Digits of a probability that count.
const PROBABILITY_DIGITS: usize = 18;

/// The cases in which a condition holds, and those in which it does not.
pub(super) struct Cases {
    pub(super) yes: Vec<Case>,
    pub(super) no: Vec<Case>,
}

/// The case that nothing decides.
pub(super) fn always() -> Case {
    Case { factor: Poly::from(1), constraints: Vec::new() }
}

/// Whether data decide about a condition.
pub(super) fn is_chance(condition: &Condition) -> bool {
    match condition {
        Condition::Chance(p) => *p > 0.0 && *p < 1.0,
        Condition::Compare(..) => false,
        Condition::And(a, b) | Condition::Or(a, b) => is_chance(a) || is_chance(b),
        Condition::Not(a) => is_chance(a),
    }
}

impl Table<'_> {
    /// When `condition` holds, and when not.
    pub(super) fn cases(&mut self, condition: &Condition, scope: &[Bounds]) -> Result<Cases, Error> {
        match condition {
            Condition::Compare(a, comparison, b) => self.comparison(a, *comparison, b, scope),
            Condition::Chance(p) => self.chance(*p),
            Condition::Not(a) => self.cases(a, scope).map(|Cases { yes, no }| Cases { yes: no, no: yes }),
            Condition::And(a, b) => {
                let (a, b) = (self.cases(a, scope)?, self.cases(b, scope)?);
                Ok(self.conjunction(a, b))
            }
            Condition::Or(a, b) => {
                let (a, b) = (self.cases(a, scope)?, self.cases(b, scope)?);
                let swapped = |cases: Cases| Cases { yes: cases.no, no: cases.yes };
                Ok(swapped(self.conjunction(swapped(a), swapped(b))))
            }
        }
    }

    /// Both hold; or else the first does not, or it does and the second does not.
    fn conjunction(&mut self, a: Cases, b: Cases) -> Cases {
        let yes = self.both(&a.yes, &b.yes);
        let mut no = a.no;
        no.extend(self.both(&a.yes, &b.no));
        Cases { yes, no: self.few(no) }
    }

    /// Each case of the one with each of the other.
    pub(super) fn both(&mut self, a: &[Case], b: &[Case]) -> Vec<Case> {
        let mut cases = Vec::with_capacity(a.len() * b.len());
        for a in a {
            for b in b {
                let constraints = a.constraints.iter().chain(&b.constraints).cloned().collect();
                cases.push(Case { factor: self.product(&a.factor, &b.factor), constraints });
            }
        }
        self.few(cases)
    }

    /// The cases, or one with the conditions as factors if they are many.
    fn few(&mut self, cases: Vec<Case>) -> Vec<Case> {
        if cases.len() <= MAX_CASES {
            return cases;
        }
        let mut sum = Poly::default();
        for case in cases {
            let factor = case.constraints.iter().fold(case.factor, |factor, constraint| {
                let indicator = self.indicator(constraint);
                self.product(&factor, &indicator)
            });
            self.add(&mut sum, &factor);
        }
        vec![Case { factor: sum, constraints: Vec::new() }]
    }

    fn comparison(&mut self, a: &Expr, comparison: Comparison, b: &Expr, scope: &[Bounds]) -> Result<Cases, Error> {
        let equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        if equality && let Some(cases) = self.residue(a, b, scope)? {
            return Ok(if comparison == Comparison::Equal { cases } else { Cases { yes: cases.no, no: cases.yes } });
        }
        let (a, b) = (self.poly(a, scope)?, self.poly(b, scope)?);
        let at_least = self.difference(&a, &b);
        let at_most = self.difference(&b, &a);
        let one = Poly::from(1);
        let (more, less) = (self.difference(&at_least, &one), self.difference(&at_most, &one));
        let equal = all(&[&at_least, &at_most]);
        let unequal: Vec<Case> = all(&[&less]).into_iter().chain(all(&[&more])).collect();
        Ok(match comparison {
            Comparison::Less => Cases { yes: all(&[&less]), no: all(&[&at_least]) },
            Comparison::LessEqual => Cases { yes: all(&[&at_most]), no: all(&[&more]) },
            Comparison::Equal => Cases { yes: equal, no: unequal },
            Comparison::NotEqual => Cases { yes: unequal, no: equal },
        })
    }

    /// `a % m == c` for numbers `m` and `c`, where the remainder is that of rounding down.
    fn residue(&mut self, a: &Expr, b: &Expr, scope: &[Bounds]) -> Result<Option<Cases>, Error> {
        let ((Expr::Rem(a, m, rounding), Expr::Const(c)) | (Expr::Const(c), Expr::Rem(a, m, rounding))) = (a, b) else {
            return Ok(None);
        };
        let Expr::Const(modulus @ 1..) = **m else { return Ok(None) };
        let poly = self.poly(a, scope)?;
        let down = *rounding == Rounding::Floor || *c == 0 || self.prove(&poly, scope, Assume::Nothing);
        if !down {
            return Ok(None);
        }
        if !(0..modulus).contains(c) {
            return Ok(Some(Cases { yes: Vec::new(), no: vec![always()] }));
        }
        let (modulus, residue) = (i128::from(modulus), i128::from(*c));
        let leaves = |residue| Constraint::Residue { poly: poly.clone(), modulus, residue };
        let case = |factor: i128, residue| Case { factor: Poly::from(factor), constraints: vec![leaves(residue)] };
        let no = if modulus == 2 { vec![case(1, 1 - residue)] } else { vec![always(), case(-1, residue)] };
        Ok(Some(Cases { yes: vec![case(1, residue)], no }))
    }

    fn chance(&mut self, p: f64) -> Result<Cases, Error> {
        if !(0.0..=1.0).contains(&p) {
            return Err(refuse(self.at, format!("the probability {p} is not one"), "Give a number from 0 to 1"));
        }
        let p = decimal(p);
        let case =
            |p: Rational| if p == Rational::from(0) { Vec::new() } else { vec![Case { factor: p.into(), ..always() }] };
        Ok(Cases { yes: case(p), no: case(Rational::from(1) - p) })
    }
}

/// The case in which all of `polys` are at least 0; none if that is never so.
fn all(polys: &[&Poly]) -> Vec<Case> {
    let never = |poly: &&&Poly| poly.constant().is_some_and(|constant| constant < Rational::from(0));
    if polys.iter().any(|poly| never(&poly)) {
        return Vec::new();
    }
    let open = polys.iter().filter(|poly| poly.constant().is_none());
    vec![Case { constraints: open.map(|poly| Constraint::AtLeastZero((*poly).clone())).collect(), ..always() }]
}

/// A number from 0 to 1 as the fraction that people mean by it: 0.3 is 3/10.
fn decimal(p: f64) -> Rational {
    let text = format!("{p:.PROBABILITY_DIGITS$}");
    let shortest = p.to_string();
    let text = if shortest.len() < text.len() { shortest } else { text };
    let (whole, digits) = text.split_once('.').unwrap_or((&text, ""));
    let number = |digits: &str| digits.parse::<i128>().unwrap_or_default();
    let scale = 10_i128.pow(digits.len().min(PROBABILITY_DIGITS) as u32);
    Rational::from(number(whole)) + Rational::new(number(digits), scale)
}
