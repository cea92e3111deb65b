//! Whether an innermost loop can work on vectors.

use crate::expr::{Expr, Symbol};
use crate::nest::{Access, Element, Loop, Node, Program};

/// Loops with more accesses are left as they are: pairs of them are compared.
const MOST_ACCESSES: usize = 256;

/// Whether a loop works on vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Vector {
    /// It does; the widest type of its elements decides how many fit.
    Of(Element),
    /// It does not, because of that.
    No(&'static str),
}

/// Whether the innermost loop `l` can: every access steps by one element or stays, no iteration needs what another one
/// of the same loop wrote, and nothing depends on a condition. `values` holds the variables around it, and is left so.
pub(super) fn of(program: &Program, l: &Loop, values: &mut [i64]) -> Vector {
    let mut accesses = Vec::new();
    for node in &l.body {
        match node {
            Node::Work(work) if work.carried => return Vector::No("an iteration needs the result of the one before"),
            Node::Work(work) => accesses.extend(&work.accesses),
            Node::Branch(_) => return Vector::No("a condition decides what an iteration does"),
            Node::Loop(_) | Node::Library(_) => return Vector::No("it is not an innermost loop"),
        }
    }
    if accesses.len() > MOST_ACCESSES {
        return Vector::No("it has more than 256 accesses");
    }
    let elements = accesses.iter().filter_map(|access| program.arrays.get(access.array)).map(|array| array.element);
    let Some(widest) = elements.max_by_key(|element| element.bytes()) else {
        return Vector::No("it touches no array");
    };
    let var = l.var.0 as usize;
    let (Ok(lower), Ok(upper), Ok(step)) = (l.lower.value(values), l.upper.value(values), l.step.value(values)) else {
        return Vector::No("its bounds are unknown");
    };
    let mut at = |access: &Access, value: i128| {
        let value = i64::try_from(value).ok()?;
        *values.get_mut(var)? = value;
        let address = address(program, access, values, l.var);
        *values.get_mut(var)? = lower;
        address
    };
    let mut steps = Vec::with_capacity(accesses.len());
    for access in &accesses {
        let first = at(access, lower.into());
        let second = at(access, i128::from(lower) + i128::from(step));
        let (Some(first), Some(second)) = (first, second) else {
            return Vector::No("data decide where it reads or writes");
        };
        let stride = second - first;
        if stride.abs() > 1 {
            return Vector::No("its iterations are not next to each other in memory");
        }
        steps.push((first, stride));
    }
    let rounds =
        ((i128::from(upper) - i128::from(lower)).abs() + i128::from(step).abs() - 1) / i128::from(step).abs().max(1);
    for (store, (first, stride)) in accesses.iter().zip(&steps).filter(|(access, _)| access.write) {
        let same = accesses.iter().zip(&steps).filter(|(other, _)| other.array == store.array);
        for (other, (first_of, other_stride)) in same {
            if other.index.is_some() != store.index.is_some() {
                return Vector::No("data decide where it reads or writes");
            }
            // Apart by less than the loop covers: some iteration meets what another one wrote.
            let apart = (first_of - first).abs();
            if other_stride != stride || (apart > 0 && apart < rounds) || *stride == 0 {
                return Vector::No("an iteration may need what another one wrote");
            }
        }
    }
    Vector::Of(widest)
}

/// Whether the source says how often `l` runs, and vectors of so many elements divide it.
pub(super) fn divides(l: &Loop, lanes: f64) -> bool {
    let (Expr::Const(lower), Expr::Const(upper), Expr::Const(1)) = (&l.lower, &l.upper, &l.step) else { return false };
    (*upper as f64 - *lower as f64) % lanes == 0.0
}

/// The number of the element in its array, or, where data decide on a row and the loop over `var` goes through it, in the
/// row; none where data decide it or it cannot be decided.
pub(super) fn address(program: &Program, access: &Access, values: &[i64], var: Symbol) -> Option<i128> {
    let array = program.arrays.get(access.array)?;
    let index = match &access.index {
        Some(index) => index,
        None => goes_through(access, var).then_some(&access.known[1])?,
    };
    let decided = array.dims.len().checked_sub(index.len())?;
    array.dims.iter().skip(decided).zip(index).try_fold(0i128, |sum, (dim, index)| {
        let (dim, index) = (dim.value(values).ok()?, index.value(values).ok()?);
        sum.checked_mul(dim.into())?.checked_add(index.into())
    })
}

/// Whether the loop over `var` goes through a row that data decide on.
pub(super) fn goes_through(access: &Access, var: Symbol) -> bool {
    access.known[1].iter().any(|index| index.mentions(var))
}

/// Bytes that lie together at a place that data decide, where `var` is the innermost loop: a row, or an element.
pub(super) fn together(program: &Program, access: &Access, values: &[i64], var: Option<Symbol>) -> f64 {
    let Some(array) = program.arrays.get(access.array) else { return 1.0 };
    let own = if var.is_some_and(|var| goes_through(access, var)) { access.known[1].len() } else { 0 };
    let row = array.dims.iter().rev().take(own).map(|dim| dim.value(values).map_or(1.0, |dim| dim.max(1) as f64));
    row.product::<f64>() * array.element.bytes() as f64
}
