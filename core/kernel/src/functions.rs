//! The functions that kernels call: one row each for both languages, with its names and what it counts.
//!
//! What is one FLOP follows IEEE 754-2019: an operation of clause 5.4.1 (a sum, a product, a quotient, a square root; a
//! fused multiply-add counts as the two that it is), a minimum or a maximum (9.6), a function of clause 9.2
//! (exponentials, logarithms, trigonometric functions, powers, `hypot`). Operations on signs (5.5.1), comparisons and
//! tests (5.6, 5.7) and roundings to an integer (5.3.1, 5.9) are none. A function that is a formula of such operations
//! counts as its formula, which stands beside it, so that a call costs what it costs written out.

use crate::nest::Flops;

/// The type of a function's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Yields {
    /// Floating-point, of integers too.
    Float,
    /// The type of its operands; on integers it is an operation on integers.
    Same,
    /// True or false.
    Truth,
    /// An integer.
    Integer,
}

/// A function that takes numbers, in Python arrays of them, and gives one.
#[derive(Debug)]
pub(crate) struct Function {
    /// Its names in C, those for `double`: `sqrt` stands for `sqrtf`, `sqrtl` and `__builtin_sqrt` too.
    pub(crate) c: &'static [&'static str],
    /// Its names in Python: of `math`, NumPy, SciPy, PyTorch and JAX.
    pub(crate) python: &'static [&'static str],
    /// How many of its arguments are numbers; what stands behind them are options.
    pub(crate) operands: usize,
    /// What it counts.
    pub(crate) flops: Flops,
    /// The type of its result.
    pub(crate) yields: Yields,
}

const fn row(
    c: &'static [&'static str],
    python: &'static [&'static str],
    operands: usize,
    flops: Flops,
    yields: Yields,
) -> Function {
    Function { c, python, operands, flops, yields }
}

use Yields::{Float, Integer, Same, Truth};

/// All of them.
#[rustfmt::skip]
pub(crate) const FUNCTIONS: &[Function] = &[
    // IEEE 754-2019, 5.4.1: arithmetic.
    row(&[], &["add"], 2, Flops::ADD, Same),
    row(&[], &["subtract", "sub"], 2, Flops::ADD, Same),
    row(&[], &["multiply", "mul"], 2, Flops::MUL, Same),
    row(&[], &["divide", "true_divide", "div"], 2, Flops::DIV, Float),
    row(&["sqrt"], &["sqrt"], 1, Flops::SQRT, Float),
    row(&["fma"], &["fma"], 3, Flops { mul: 1, add: 1, ..Flops::NONE }, Float),
    // A quotient rounded down or up; PLuTo writes `floord` and `ceild`.
    row(&["floord", "ceild"], &["floor_divide"], 2, Flops::DIV, Same),
    // 5.3.1: a remainder, which is a quotient's (Flops: divisions and remainders).
    row(&["fmod", "remainder"], &["fmod"], 2, Flops::DIV, Float),
    row(&[], &["remainder", "mod"], 2, Flops::DIV, Same),
    // 9.6: minima and maxima.
    row(&["fmin"], &["fmin"], 2, Flops::MIN_MAX, Float),
    row(&["fmax"], &["fmax"], 2, Flops::MIN_MAX, Float),
    row(&["min", "MIN"], &["minimum"], 2, Flops::MIN_MAX, Same),
    row(&["max", "MAX"], &["maximum"], 2, Flops::MIN_MAX, Same),
    // 5.5.1: operations on signs.
    row(&["fabs"], &["fabs"], 1, Flops::NONE, Float),
    row(&["abs", "labs", "llabs"], &["abs", "absolute"], 1, Flops::NONE, Same),
    row(&[], &["negative", "neg"], 1, Flops::NONE, Same),
    row(&["copysign"], &["copysign"], 2, Flops::NONE, Float),
    row(&[], &["sign"], 1, Flops::NONE, Same),
    // 5.3.1 and 5.9: roundings to an integer.
    row(&["floor"], &["floor"], 1, Flops::NONE, Float),
    row(&["ceil"], &["ceil"], 1, Flops::NONE, Float),
    row(&["round"], &["round"], 1, Flops::NONE, Float),
    row(&["trunc"], &["trunc"], 1, Flops::NONE, Float),
    row(&["rint", "nearbyint"], &["rint"], 1, Flops::NONE, Float),
    row(&["lround", "lrint"], &[], 1, Flops::NONE, Integer),
    // 5.6 and 5.7: comparisons and tests.
    row(&[], &["equal"], 2, Flops::NONE, Truth),
    row(&[], &["not_equal"], 2, Flops::NONE, Truth),
    row(&[], &["less"], 2, Flops::NONE, Truth),
    row(&[], &["less_equal"], 2, Flops::NONE, Truth),
    row(&[], &["greater"], 2, Flops::NONE, Truth),
    row(&[], &["greater_equal"], 2, Flops::NONE, Truth),
    row(&[], &["logical_and"], 2, Flops::NONE, Truth),
    row(&[], &["logical_or"], 2, Flops::NONE, Truth),
    row(&[], &["logical_not"], 1, Flops::NONE, Truth),
    row(&["isnan"], &["isnan"], 1, Flops::NONE, Truth),
    row(&["isinf"], &["isinf"], 1, Flops::NONE, Truth),
    row(&["isfinite"], &["isfinite"], 1, Flops::NONE, Truth),
    row(&["signbit"], &["signbit"], 1, Flops::NONE, Truth),
    // 9.2: each is one special function, as in C's <math.h>; cbrt is 9.2's rootn.
    row(&["exp"], &["exp"], 1, Flops::SPECIAL, Float),
    row(&["exp2"], &["exp2"], 1, Flops::SPECIAL, Float),
    row(&["expm1"], &["expm1"], 1, Flops::SPECIAL, Float),
    row(&["log"], &["log"], 1, Flops::SPECIAL, Float),
    row(&["log2"], &["log2"], 1, Flops::SPECIAL, Float),
    row(&["log10"], &["log10"], 1, Flops::SPECIAL, Float),
    row(&["log1p"], &["log1p"], 1, Flops::SPECIAL, Float),
    row(&["sin"], &["sin"], 1, Flops::SPECIAL, Float),
    row(&["cos"], &["cos"], 1, Flops::SPECIAL, Float),
    row(&["tan"], &["tan"], 1, Flops::SPECIAL, Float),
    row(&["asin"], &["arcsin", "asin"], 1, Flops::SPECIAL, Float),
    row(&["acos"], &["arccos", "acos"], 1, Flops::SPECIAL, Float),
    row(&["atan"], &["arctan", "atan"], 1, Flops::SPECIAL, Float),
    row(&["atan2"], &["arctan2", "atan2"], 2, Flops::SPECIAL, Float),
    row(&["sinh"], &["sinh"], 1, Flops::SPECIAL, Float),
    row(&["cosh"], &["cosh"], 1, Flops::SPECIAL, Float),
    row(&["tanh"], &["tanh"], 1, Flops::SPECIAL, Float),
    row(&["asinh"], &["arcsinh", "asinh"], 1, Flops::SPECIAL, Float),
    row(&["acosh"], &["arccosh", "acosh"], 1, Flops::SPECIAL, Float),
    row(&["atanh"], &["arctanh", "atanh"], 1, Flops::SPECIAL, Float),
    row(&["hypot"], &["hypot"], 2, Flops::SPECIAL, Float),
    row(&["cbrt"], &["cbrt"], 1, Flops::SPECIAL, Float),
    // Python's power has a reader of its own, which looks at the exponent.
    row(&["pow"], &[], 2, Flops::SPECIAL, Float),
    row(&["ldexp"], &["ldexp"], 2, Flops::SPECIAL, Float),
    // C11, 7.12.8: error and gamma functions, counted like those of clause 9.2. (Python's `gamma` may be a
    // distribution.)
    row(&["erf"], &["erf"], 1, Flops::SPECIAL, Float),
    row(&["erfc"], &["erfc"], 1, Flops::SPECIAL, Float),
    row(&["tgamma"], &[], 1, Flops::SPECIAL, Float),
    row(&["lgamma"], &["lgamma", "gammaln"], 1, Flops::SPECIAL, Float),
    // C11, 7.12.12.1: x - y where that is positive.
    row(&["fdim"], &[], 2, Flops::ADD, Float),
    // x * x
    row(&[], &["square"], 1, Flops::MUL, Same),
    // 1 / x
    row(&[], &["reciprocal"], 1, Flops::DIV, Float),
    // 1 / sqrt(x): C23, 7.12.7.9, and torch.rsqrt, "the reciprocal of the square-root".
    row(&["rsqrt"], &["rsqrt"], 1, Flops { div: 1, sqrt: 1, ..Flops::NONE }, Float),
    // Activations, as PyTorch documents them. max(x, 0)
    row(&[], &["relu"], 1, Flops::MIN_MAX, Same),
    // max(x, slope * x)
    row(&[], &["leaky_relu"], 1, Flops { mul: 1, min_max: 1, ..Flops::NONE }, Float),
    // 1 / (1 + exp(-x))
    row(&[], &["sigmoid", "expit"], 1, Flops { add: 1, div: 1, special: 1, ..Flops::NONE }, Float),
    // x * sigmoid(x)
    row(&[], &["silu", "swish"], 1, Flops { add: 1, mul: 1, div: 1, special: 1, ..Flops::NONE }, Float),
    // log(1 + exp(x))
    row(&[], &["softplus"], 1, Flops { add: 1, special: 2, ..Flops::NONE }, Float),
    // x * (1 + erf(x / sqrt(2))) / 2, the constants multiplied in.
    row(&[], &["gelu"], 1, Flops { add: 1, mul: 3, special: 1, ..Flops::NONE }, Float),
];

/// C's function of that name, whatever type it is for: `sqrt`, `sqrtf`, `sqrtl`, `__builtin_sqrt`.
pub(crate) fn of_c(name: &str) -> Option<&'static Function> {
    let name = name.strip_prefix("__builtin_").unwrap_or(name);
    let find = |name: &str| FUNCTIONS.iter().find(|function| function.c.contains(&name));
    find(name).or_else(|| find(name.strip_suffix(['f', 'l'])?))
}

/// Python's function of that name, whatever module it is of.
pub(crate) fn of_python(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.python.contains(&name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_stands_in_one_row() {
        for names in [|row: &Function| row.c, |row: &Function| row.python] {
            let all: Vec<&str> = FUNCTIONS.iter().flat_map(names).copied().collect();
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        }
        assert!(FUNCTIONS.iter().all(|row| !row.c.is_empty() || !row.python.is_empty()));
    }

    #[test]
    fn names_for_other_types_are_the_same_function() {
        for name in ["sqrt", "sqrtf", "sqrtl", "__builtin_sqrt", "__builtin_sqrtf"] {
            assert_eq!(of_c(name).map(|row| row.c), Some(["sqrt"].as_slice()), "{name}");
        }
        assert!(of_c("sqrtq").is_none() && of_c("f").is_none());
    }

    #[test]
    fn the_root_in_a_quotient_costs_what_it_costs_written_out() {
        for found in [of_c("rsqrtf"), of_python("rsqrt")] {
            assert_eq!(found.map(|row| row.flops), Some(Flops::DIV.plus(Flops::SQRT)));
        }
    }
}
