//! Closed forms as people write them.

use super::poly::{Atom, Monomial, Poly, Rational};
use super::table::{Kind, Round, Series, Table};

/// Longer forms are not written out: nobody reads them.
const MAX_TEXT: usize = 1 << 16;

/// Digits behind the point up to which a coefficient is written as a decimal.
const MAX_DECIMALS: u32 = 18;

/// Writes polynomials of one table.
pub(super) struct Writer<'t, 'p> {
    pub(super) table: &'t Table<'p>,
    /// Whether fractions are written as decimals where they are some: those that come of probabilities.
    pub(super) decimals: bool,
}

impl Writer<'_, '_> {
    /// A closed form, the terms of the highest degree first.
    pub(super) fn form(&self, poly: &Poly) -> String {
        let mut out = String::new();
        self.poly(poly, &mut out);
        if out.len() > MAX_TEXT { format!("a sum of {} terms, too long to be written out", poly.len()) } else { out }
    }

    /// `poly >= 0`, with what is subtracted on the other side.
    pub(super) fn condition(&self, poly: &Poly) -> String {
        let common = poly.terms().fold(1, |lcm, (_, c)| lcm / gcd(lcm, *c.denom()) * c.denom());
        let whole = poly.scaled(&Rational::from(common)).unwrap_or_else(|| poly.clone());
        let factor = whole.terms().fold(0, |all, (_, c)| gcd(all, *c.numer()));
        let whole = whole.scaled(&Rational::new(1, factor.max(1))).unwrap_or(whole);
        let (mut left, mut right) = (Poly::default(), Poly::default());
        for (monomial, coefficient) in whole.terms() {
            let (side, coefficient) = match *coefficient.numer() {
                0.. => (&mut left, *coefficient),
                _ => (&mut right, -coefficient),
            };
            // Each monomial comes once.
            let _ = side.add_term(monomial.clone(), &coefficient);
        }
        match left.constant() {
            Some(_) => format!("{} <= {}", self.form(&right), self.form(&left)),
            None => format!("{} >= {}", self.form(&left), self.form(&right)),
        }
    }

    fn poly(&self, poly: &Poly, out: &mut String) {
        let mut terms: Vec<(&Monomial, &Rational)> = poly.terms().collect();
        terms.sort_by_cached_key(|(monomial, _)| (std::cmp::Reverse(self.degree(monomial)), self.order(monomial)));
        if terms.is_empty() {
            out.push('0');
        }
        for (at, (monomial, coefficient)) in terms.into_iter().enumerate() {
            if out.len() > MAX_TEXT {
                return;
            }
            let negative = *coefficient.numer() < 0;
            out.push_str(match (at, negative) {
                (0, true) => "-",
                (0, false) => "",
                (_, true) => " - ",
                (_, false) => " + ",
            });
            let size = if negative { -coefficient } else { *coefficient };
            if monomial.is_empty() || size != Rational::from(1) {
                out.push_str(&self.number(&size));
            }
            if !monomial.is_empty() && size != Rational::from(1) {
                out.push('*');
            }
            self.monomial(monomial, out);
        }
    }

    /// Among monomials of one degree, the higher powers of the earlier atoms come first.
    fn order(&self, monomial: &Monomial) -> Vec<(Atom, std::cmp::Reverse<u32>)> {
        monomial.iter().map(|(atom, power)| (*atom, std::cmp::Reverse(*power))).collect()
    }

    fn degree(&self, monomial: &Monomial) -> u32 {
        monomial.iter().map(|(atom, power)| power.saturating_mul(self.atom_degree(*atom))).fold(0, u32::saturating_add)
    }

    fn atom_degree(&self, atom: Atom) -> u32 {
        let of = |poly: &Poly| poly.terms().map(|(monomial, _)| self.degree(monomial)).max().unwrap_or(0);
        match self.table.info(atom).map(|info| &*info.kind) {
            Some(Kind::Min(args) | Kind::Max(args)) => args.iter().map(of).max().unwrap_or(0),
            Some(Kind::Quotient(a, b, _)) => of(a).saturating_sub(of(b)),
            Some(Kind::Group(poly)) => of(poly),
            Some(Kind::Sum(series)) => of(&series.body).saturating_add(1),
            Some(Kind::Holds(_) | Kind::Power(..) | Kind::Digits(..)) | None => 0,
            Some(Kind::Symbol(_)) => 1,
        }
    }

    /// A positive coefficient.
    fn number(&self, value: &Rational) -> String {
        let decimal = (0..=MAX_DECIMALS).find(|digits| 10_i128.pow(*digits) % value.denom() == 0);
        let scaled =
            decimal.and_then(|digits| Some((digits, value.numer().checked_mul(10_i128.pow(digits) / value.denom())?)));
        match scaled {
            Some((digits, scaled)) if self.decimals && digits > 0 => {
                let (scale, width) = (10_i128.pow(digits), digits as usize);
                format!("{}.{:0width$}", scaled / scale, scaled % scale)
            }
            _ => value.to_string(),
        }
    }

    fn monomial(&self, monomial: &Monomial, out: &mut String) {
        for (at, (atom, power)) in monomial.iter().enumerate() {
            if at > 0 {
                out.push('*');
            }
            self.atom(*atom, out);
            if *power > 1 {
                out.push_str(&format!("^{power}"));
            }
        }
    }

    fn atom(&self, atom: Atom, out: &mut String) {
        match self.table.info(atom).map(|info| &*info.kind) {
            None => {}
            Some(Kind::Symbol(symbol)) => out.push_str(&self.table.program.name(*symbol)),
            Some(Kind::Min(args)) => self.call("min", args, out),
            Some(Kind::Max(args)) => self.call("max", args, out),
            Some(Kind::Quotient(a, b, round)) => {
                out.push_str(match round {
                    Round::Down => "floor(",
                    Round::Up => "ceil(",
                    Round::ToZero => "trunc(",
                });
                self.operand(a, out);
                out.push('/');
                self.operand(b, out);
                out.push(')');
            }
            Some(Kind::Power(a, b)) => {
                self.operand(a, out);
                out.push('^');
                self.operand(b, out);
            }
            // `floor(log2(a)) + 1`, and none where `a` is below one.
            Some(Kind::Digits(a, b)) => self.call("digits", &[a.clone(), b.clone()], out),
            Some(Kind::Holds(poly)) => out.push_str(&format!("[{}]", self.condition(poly))),
            Some(Kind::Group(poly)) => {
                out.push('(');
                self.poly(poly, out);
                out.push(')');
            }
            Some(Kind::Sum(series)) => self.series(series, out),
        }
    }

    fn call(&self, name: &str, args: &[Poly], out: &mut String) {
        out.push_str(name);
        // Numbers last, as people write them.
        let (numbers, others): (Vec<_>, Vec<_>) = args.iter().partition(|arg| arg.constant().is_some());
        for (at, arg) in others.into_iter().chain(numbers).enumerate() {
            out.push_str(if at == 0 { "(" } else { ", " });
            self.poly(arg, out);
        }
        out.push(')');
    }

    /// In parentheses unless it is a number or a name.
    fn operand(&self, poly: &Poly, out: &mut String) {
        let simple = poly.only_atom().is_some() || poly.integer().is_some_and(|number| number >= 0);
        out.push_str(if simple { "" } else { "(" });
        self.poly(poly, out);
        out.push_str(if simple { "" } else { ")" });
    }

    /// `sum(i=0..N-1, i)`; with a step other than 1, `sum(i=0..N-1 step T, i)`.
    fn series(&self, series: &Series, out: &mut String) {
        let name = self.table.program.name(series.var);
        // The last value is before the end, on the side from which the steps come.
        let down = series.step.integer().is_some_and(|step| step < 0);
        let last = series.upper.plus_number(if down { 1 } else { -1 });
        out.push_str(&format!("sum({name}="));
        out.push_str(&self.form(&series.lower).replace(' ', ""));
        out.push_str("..");
        out.push_str(&self.form(&last.unwrap_or_default()).replace(' ', ""));
        if series.step.integer() != Some(1) {
            out.push_str(" step ");
            self.poly(&series.step, out);
        }
        out.push_str(", ");
        self.poly(&series.body, out);
        out.push(')');
    }
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a.checked_abs().unwrap_or(i128::MAX) } else { gcd(b, a % b) }
}
