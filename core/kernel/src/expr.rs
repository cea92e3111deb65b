//! Integer expressions over parameters and loop variables: bounds, extents, subscripts.

use std::fmt::Write as _;

/// A parameter or a loop variable: an index into the symbols of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(pub u32);

/// How an integer division rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rounding {
    /// Towards minus infinity, as in Python.
    Floor,
    /// Towards zero, as in C.
    Zero,
}

/// An integer expression.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expr {
    /// A number.
    Const(i64),
    /// A parameter or a loop variable.
    Symbol(Symbol),
    /// A sum.
    Add(Box<Expr>, Box<Expr>),
    /// A product.
    Mul(Box<Expr>, Box<Expr>),
    /// A quotient, rounded to an integer.
    Div(Box<Expr>, Box<Expr>, Rounding),
    /// What the division leaves: `a - b * (a / b)`.
    Rem(Box<Expr>, Box<Expr>, Rounding),
    /// The smaller of two.
    Min(Box<Expr>, Box<Expr>),
    /// The larger of two.
    Max(Box<Expr>, Box<Expr>),
    /// A power: the first to the second, which is not negative.
    Power(Box<Expr>, Box<Expr>),
    /// How many digits the first has in the base that the second is, at least 2: the rounds of `for (; a > 0; a /= b)`.
    /// None where it is not positive.
    Digits(Box<Expr>, Box<Expr>),
}

/// Why an expression has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoValue {
    /// It leaves the range of 64-bit integers.
    Overflow,
    /// It divides by zero.
    DivisionByZero,
}

impl From<i64> for Expr {
    fn from(value: i64) -> Self {
        Self::Const(value)
    }
}

impl From<Symbol> for Expr {
    fn from(symbol: Symbol) -> Self {
        Self::Symbol(symbol)
    }
}

/// Sums, products and so on, with constants folded where they fit.
impl Expr {
    /// `self + other`.
    #[must_use]
    pub fn plus(self, other: impl Into<Self>) -> Self {
        match (self, other.into()) {
            (Self::Const(0), e) | (e, Self::Const(0)) => e,
            (Self::Const(a), Self::Const(b)) if a.checked_add(b).is_some() => Self::Const(a.wrapping_add(b)),
            (a, b) => Self::Add(Box::new(a), Box::new(b)),
        }
    }

    /// `self * other`.
    #[must_use]
    pub fn times(self, other: impl Into<Self>) -> Self {
        match (self, other.into()) {
            (Self::Const(1), e) | (e, Self::Const(1)) => e,
            (Self::Const(0), _) | (_, Self::Const(0)) => Self::Const(0),
            (Self::Const(a), Self::Const(b)) if a.checked_mul(b).is_some() => Self::Const(a.wrapping_mul(b)),
            (a, b) => Self::Mul(Box::new(a), Box::new(b)),
        }
    }

    /// `self - other`.
    #[must_use]
    pub fn minus(self, other: impl Into<Self>) -> Self {
        self.plus(other.into().times(-1))
    }

    /// `self / other`, rounded.
    #[must_use]
    pub fn over(self, other: impl Into<Self>, rounding: Rounding) -> Self {
        match (self, other.into()) {
            (e, Self::Const(1)) => e,
            (Self::Const(a), Self::Const(b)) if divide(a, b, rounding).is_ok() => {
                Self::Const(divide(a, b, rounding).unwrap_or_default())
            }
            (a, b) => Self::Div(Box::new(a), Box::new(b), rounding),
        }
    }

    /// What `self / other` leaves.
    #[must_use]
    pub fn modulo(self, other: impl Into<Self>, rounding: Rounding) -> Self {
        match (self, other.into()) {
            (Self::Const(a), Self::Const(b)) if remainder(a, b, rounding).is_ok() => {
                Self::Const(remainder(a, b, rounding).unwrap_or_default())
            }
            (a, b) => Self::Rem(Box::new(a), Box::new(b), rounding),
        }
    }

    /// The smaller of the two.
    #[must_use]
    pub fn min(self, other: impl Into<Self>) -> Self {
        match (self, other.into()) {
            (Self::Const(a), Self::Const(b)) => Self::Const(a.min(b)),
            (a, b) if a == b => a,
            (a, b) => Self::Min(Box::new(a), Box::new(b)),
        }
    }

    /// The larger of the two.
    #[must_use]
    pub fn max(self, other: impl Into<Self>) -> Self {
        match (self, other.into()) {
            (Self::Const(a), Self::Const(b)) => Self::Const(a.max(b)),
            (a, b) if a == b => a,
            (a, b) => Self::Max(Box::new(a), Box::new(b)),
        }
    }

    /// `self` to the power of `other`.
    #[must_use]
    pub fn power(self, other: impl Into<Self>) -> Self {
        match (self, other.into()) {
            (_, Self::Const(0)) => Self::Const(1),
            (Self::Const(a), Self::Const(b)) if power(a, b).is_ok() => Self::Const(power(a, b).unwrap_or_default()),
            (a, b) => Self::Power(Box::new(a), Box::new(b)),
        }
    }

    /// How many digits `self` has in base `other`.
    #[must_use]
    pub fn digits(self, other: impl Into<Self>) -> Self {
        match (self, other.into()) {
            (Self::Const(a), Self::Const(b)) if digits(a, b).is_ok() => Self::Const(digits(a, b).unwrap_or_default()),
            (a, b) => Self::Digits(Box::new(a), Box::new(b)),
        }
    }

    /// Its value, with `values` by symbol.
    pub fn value(&self, values: &[i64]) -> Result<i64, NoValue> {
        Ok(match self {
            Self::Const(value) => *value,
            Self::Symbol(symbol) => values.get(symbol.0 as usize).copied().unwrap_or_default(),
            Self::Add(a, b) => a.value(values)?.checked_add(b.value(values)?).ok_or(NoValue::Overflow)?,
            Self::Mul(a, b) => a.value(values)?.checked_mul(b.value(values)?).ok_or(NoValue::Overflow)?,
            Self::Div(a, b, rounding) => divide(a.value(values)?, b.value(values)?, *rounding)?,
            Self::Rem(a, b, rounding) => remainder(a.value(values)?, b.value(values)?, *rounding)?,
            Self::Min(a, b) => a.value(values)?.min(b.value(values)?),
            Self::Max(a, b) => a.value(values)?.max(b.value(values)?),
            Self::Power(a, b) => power(a.value(values)?, b.value(values)?)?,
            Self::Digits(a, b) => digits(a.value(values)?, b.value(values)?)?,
        })
    }

    /// Whether it mentions `symbol`.
    pub fn mentions(&self, symbol: Symbol) -> bool {
        *self == Self::Symbol(symbol) || self.parts().is_some_and(|[a, b]| a.mentions(symbol) || b.mentions(symbol))
    }

    /// The two parts that it is made of, if it is no number and no symbol.
    pub(crate) fn parts(&self) -> Option<[&Self; 2]> {
        match self {
            Self::Const(_) | Self::Symbol(_) => None,
            Self::Add(a, b)
            | Self::Mul(a, b)
            | Self::Div(a, b, _)
            | Self::Rem(a, b, _)
            | Self::Min(a, b)
            | Self::Max(a, b)
            | Self::Power(a, b)
            | Self::Digits(a, b) => Some([a, b]),
        }
    }

    /// How many operations and operands it has; counted up to one more than `most`.
    pub(crate) fn size(&self, most: usize) -> usize {
        let (mut open, mut nodes) = (vec![self], 0);
        while let Some(expr) = open.pop().filter(|_| nodes <= most) {
            nodes += 1;
            open.extend(expr.parts().into_iter().flatten());
        }
        nodes
    }

    /// Its symbols, in the order in which they stand.
    pub(crate) fn symbols(&self) -> Vec<Symbol> {
        let (mut found, mut open) = (Vec::new(), vec![self]);
        while let Some(expr) = open.pop() {
            if let Self::Symbol(symbol) = expr {
                found.push(*symbol);
            }
            open.extend(expr.parts().into_iter().flatten().rev());
        }
        found
    }

    /// The same with other expressions instead of symbols.
    pub(crate) fn replaced(&self, with: &dyn Fn(Symbol) -> Option<Self>) -> Self {
        let go = |part: &Self| part.replaced(with);
        match self {
            Self::Const(_) => self.clone(),
            Self::Symbol(symbol) => with(*symbol).unwrap_or_else(|| self.clone()),
            Self::Add(a, b) => go(a).plus(go(b)),
            Self::Mul(a, b) => go(a).times(go(b)),
            Self::Div(a, b, rounding) => go(a).over(go(b), *rounding),
            Self::Rem(a, b, rounding) => go(a).modulo(go(b), *rounding),
            Self::Min(a, b) => go(a).min(go(b)),
            Self::Max(a, b) => go(a).max(go(b)),
            Self::Power(a, b) => go(a).power(go(b)),
            Self::Digits(a, b) => go(a).digits(go(b)),
        }
    }

    /// As people write it; `name` names symbols.
    pub fn text(&self, name: &dyn Fn(Symbol) -> String) -> String {
        let mut text = String::new();
        self.write(&mut text, name, 0);
        text
    }

    /// Writes it, in parentheses if what stands around binds tighter (0 nothing, 1 a sum, 2 a product).
    fn write(&self, out: &mut String, name: &dyn Fn(Symbol) -> String, around: u8) {
        let call = |out: &mut String, function: &str, a: &Self, b: &Self| {
            out.push_str(function);
            out.push('(');
            a.write(out, name, 0);
            out.push_str(", ");
            b.write(out, name, 0);
            out.push(')');
        };
        let own = match self {
            Self::Add(..) => 1,
            Self::Mul(..) => 2,
            Self::Div(..) | Self::Rem(..) => 2,
            _ => 3,
        };
        let parentheses = own < around || (own == 2 && around == 2 && !matches!(self, Self::Mul(..)));
        if parentheses {
            out.push('(');
        }
        match self {
            Self::Const(value) => {
                let _ = write!(out, "{value}");
            }
            Self::Symbol(symbol) => out.push_str(&name(*symbol)),
            Self::Add(a, b) => {
                a.write(out, name, 1);
                match &**b {
                    Self::Const(value) if *value < 0 => {
                        let _ = write!(out, " - {}", value.unsigned_abs());
                    }
                    Self::Mul(factor, rest) if **rest == Self::Const(-1) => {
                        out.push_str(" - ");
                        factor.write(out, name, 2);
                    }
                    b => {
                        out.push_str(" + ");
                        b.write(out, name, 1);
                    }
                }
            }
            Self::Mul(a, b) => {
                a.write(out, name, 2);
                out.push('*');
                b.write(out, name, 2);
            }
            Self::Div(a, b, _) => {
                a.write(out, name, 2);
                out.push('/');
                b.write(out, name, 3);
            }
            Self::Rem(a, b, _) => {
                a.write(out, name, 2);
                out.push('%');
                b.write(out, name, 3);
            }
            Self::Min(a, b) => call(out, "min", a, b),
            Self::Max(a, b) => call(out, "max", a, b),
            Self::Power(a, b) => call(out, "pow", a, b),
            Self::Digits(a, b) => call(out, "digits", a, b),
        }
        if parentheses {
            out.push(')');
        }
    }
}

/// `a / b`, rounded.
pub fn divide(a: i64, b: i64, rounding: Rounding) -> Result<i64, NoValue> {
    if b == 0 {
        return Err(NoValue::DivisionByZero);
    }
    let quotient = a.checked_div(b).ok_or(NoValue::Overflow)?;
    let below = rounding == Rounding::Floor && a % b != 0 && (a < 0) != (b < 0);
    Ok(if below { quotient - 1 } else { quotient })
}

/// What `a / b` leaves.
pub fn remainder(a: i64, b: i64, rounding: Rounding) -> Result<i64, NoValue> {
    let quotient = divide(a, b, rounding)?;
    // As wide as a product of two needs.
    i64::try_from(i128::from(a) - i128::from(b) * i128::from(quotient)).map_err(|_| NoValue::Overflow)
}

/// `a` to the power of `b`.
pub fn power(a: i64, b: i64) -> Result<i64, NoValue> {
    u32::try_from(b).ok().and_then(|b| a.checked_pow(b)).ok_or(NoValue::Overflow)
}

/// How many digits `a` has in base `b`.
pub fn digits(a: i64, b: i64) -> Result<i64, NoValue> {
    match (a, b) {
        (_, ..2) => Err(NoValue::Overflow),
        (..1, _) => Ok(0),
        (a, b) => Ok(i64::from(a.ilog(b)) + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divisions_round_as_the_languages_do() {
        for (a, b, floor, zero) in [(7, 2, 3, 3), (-7, 2, -4, -3), (7, -2, -4, -3), (-7, -2, 3, 3), (6, 3, 2, 2)] {
            assert_eq!(divide(a, b, Rounding::Floor), Ok(floor));
            assert_eq!(divide(a, b, Rounding::Zero), Ok(zero));
            assert_eq!(remainder(a, b, Rounding::Zero), Ok(a % b));
            assert_eq!(remainder(a, b, Rounding::Floor), Ok(a - b * floor));
        }
        assert_eq!(divide(1, 0, Rounding::Floor), Err(NoValue::DivisionByZero));
        assert_eq!(divide(i64::MIN, -1, Rounding::Zero), Err(NoValue::Overflow));
    }

    #[test]
    fn digits_are_the_rounds_of_a_loop_that_divides() {
        for a in -3..70 {
            for b in 2..5 {
                let (mut left, mut rounds) = (a, 0);
                while left > 0 {
                    assert_eq!(a / power(b, rounds).unwrap(), left);
                    (left, rounds) = (left / b, rounds + 1);
                }
                assert_eq!(digits(a, b), Ok(rounds), "{a} in base {b}");
            }
        }
        assert_eq!(
            (digits(3, 1), power(2, -1), power(2, 63)),
            (Err(NoValue::Overflow), Err(NoValue::Overflow), Err(NoValue::Overflow))
        );
    }

    #[test]
    fn text_reads_as_written() {
        let name = |symbol: Symbol| ["N", "i", "T"][symbol.0 as usize].to_owned();
        let (n, i, t) = (Expr::from(Symbol(0)), Expr::from(Symbol(1)), Expr::from(Symbol(2)));
        let cases = [
            (n.clone().minus(1), "N - 1"),
            (i.clone().times(n.clone()).plus(t.clone()), "i*N + T"),
            (i.clone().plus(1).times(n.clone()), "(i + 1)*N"),
            (i.clone().plus(t.clone()).min(n.clone()), "min(i + T, N)"),
            (n.clone().plus(t.clone()).over(t.clone(), Rounding::Floor), "(N + T)/T"),
            (n.clone().minus(i.clone()), "N - i"),
            (n.times(i).modulo(t, Rounding::Zero), "N*i%T"),
        ];
        for (expr, text) in cases {
            assert_eq!(expr.text(&name), text);
        }
    }
}
