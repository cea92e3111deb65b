//! Which operator of a library a loop nest or a call is: by what it touches, and how often.
//!
//! A nest is an operator where each element of its largest operand is met once in each pass over it: an operation on each
//! element, a copy, a reduction, or several passes over each row. What meets elements again in another order (a product
//! of matrices in loops, a triangle) is none, and is priced by its parts.

use std::collections::BTreeMap;

use crate::expr::{Expr, Symbol};
use crate::nest::{Access, Element, Flops, Library, Loop, Node, Program, Work};
use crate::operator::{Class, Operator, Product, Rows};

/// An exponential, a logarithm and so on is taken as that many multiplications (an assumption: polynomials with range
/// reduction in common libraries have 15 to 30 operations).
pub(super) const SPECIAL: f64 = 20.0;
/// Operations of plain code that one FLOP of each kind stands for: divisions and roots take the special units and a
/// correction, functions a polynomial as well (an assumption; `SPECIAL` of cores).
const SLOW: f64 = 8.0;
/// What front ends call scores, softmax and weighted sum in one pass.
const ATTENTION: &str = "attention";
/// More passes over rows than any function has.
const MOST_PASSES: usize = 64;

/// A loop around: its variable and how often it runs.
type Around = (Symbol, f64);

/// What an array is used for.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    /// The most elements that one access names.
    elements: f64,
    /// Whether it is read before it is written.
    read: bool,
    /// Whether it is written.
    written: bool,
}

/// What is found in a nest.
#[derive(Debug, Default)]
struct Found {
    arrays: BTreeMap<usize, Use>,
    operations: f64,
    special: bool,
    /// Iterations of the passes, innermost loops each by itself.
    passes: Vec<f64>,
    /// Elements read where data decide.
    gathered: f64,
    /// Bytes that lie together at such places.
    together: f64,
    /// Whether some access runs across the rows of its array.
    across: bool,
    /// Loops around the passes.
    rows: f64,
    element: Option<Element>,
}

/// An operator of a program, and the arrays that it reads and writes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Own {
    pub(super) operator: Operator,
    pub(super) reads: Vec<usize>,
    pub(super) writes: Vec<usize>,
}

/// The operator that `l` is; none where it is none.
pub(super) fn of_nest(program: &Program, l: &Loop, values: &[i64]) -> Option<Own> {
    let mut found = Found { rows: 1.0, ..Found::default() };
    let mut around = Vec::new();
    enter(program, l, values, &mut around, &mut found)?;
    let bytes = |array: &usize, elements: f64| {
        elements * program.arrays.get(*array).map_or(0.0, |array| array.element.bytes() as f64)
    };
    let sum = |which: fn(&Use) -> bool| -> f64 {
        found.arrays.iter().filter(|(_, own)| which(own)).map(|(array, own)| bytes(array, own.elements)).sum()
    };
    let (read, written) = (sum(|own| own.read), sum(|own| own.written));
    let most = found.passes.iter().copied().fold(0.0, f64::max);
    let stored = found.arrays.values().filter(|own| own.written).map(|own| own.elements).fold(0.0, f64::max);
    let met = found.arrays.values().map(|own| own.elements).fold(found.gathered, f64::max);
    let arrays = |which: fn(&Use) -> bool| -> Vec<usize> {
        found.arrays.iter().filter(|(_, own)| which(own)).map(|(array, _)| *array).collect()
    };
    if found.arrays.is_empty() && found.gathered == 0.0 {
        // Arithmetic on registers.
        let (class, element, operations) = (Class::Elementwise, Element::F32, found.operations);
        let operator = Operator { class, element, read_bytes: 0.0, written_bytes: 0.0, operations };
        return Some(Own { operator, reads: Vec::new(), writes: Vec::new() });
    }
    // Something is met again for each round of some loop, in another order: a product, a table.
    if met < most || found.passes.is_empty() {
        return None;
    }
    let element = found.element?;
    let rows = Rows { rows: found.rows, columns: most / found.rows.max(1.0) };
    let class = if found.gathered > 0.0 {
        Class::Gather { bytes: found.together }
    } else if found.passes.len() > 1 {
        match (stored >= most, found.special) {
            (true, true) => Class::Softmax(rows),
            (true, false) => Class::Norm(rows),
            (false, _) => Class::Reduction,
        }
    } else if stored < most {
        Class::Reduction
    } else if found.across {
        Class::Transpose
    } else {
        Class::Elementwise
    };
    let gathered = found.gathered * element.bytes() as f64;
    let (read_bytes, operations) = (read + gathered, found.operations);
    let operator = Operator { class, element, read_bytes, written_bytes: written, operations };
    Some(Own { operator, reads: arrays(|own| own.read), writes: arrays(|own| own.written) })
}

/// Whether a subscript in `body` mentions `var`.
pub(super) fn mentions(body: &[Node], var: Symbol) -> bool {
    body.iter().any(|node| match node {
        Node::Loop(l) => mentions(&l.body, var),
        Node::Branch(branch) => mentions(&branch.then, var) || mentions(&branch.otherwise, var),
        Node::Work(work) => {
            let index = work.accesses.iter().flat_map(|access| access.index.iter().flatten());
            index.into_iter().any(|own| own.mentions(var))
        }
        Node::Library(library) => mentions(&library.sweep, var),
    })
}

fn extent(l: &Loop, values: &[i64], around: &[Around]) -> Option<f64> {
    // A triangle, or tiles: other rounds for each round around.
    if [&l.lower, &l.upper, &l.step].into_iter().any(|bound| around.iter().any(|(var, _)| bound.mentions(*var))) {
        return None;
    }
    let value = |expr: &Expr| expr.value(values).ok().map(|value| value as f64);
    let (lower, upper, step) = (value(&l.lower)?, value(&l.upper)?, value(&l.step)?);
    (step != 0.0).then(|| ((upper - lower) / step).ceil().max(0.0))
}

fn enter(program: &Program, l: &Loop, values: &[i64], around: &mut Vec<Around>, found: &mut Found) -> Option<()> {
    let rounds = extent(l, values, around)?;
    around.push((l.var, rounds));
    let all: f64 = around.iter().map(|(_, rounds)| rounds).product();
    let innermost = !l.body.iter().any(|node| matches!(node, Node::Loop(_)));
    if innermost {
        found.passes.push(all);
    } else if l.body.len() > 1 {
        found.rows = found.rows.max(all);
    }
    if found.passes.len() > MOST_PASSES {
        return None;
    }
    for node in &l.body {
        match node {
            Node::Loop(inner) => enter(program, inner, values, around, found)?,
            Node::Work(work) => step(program, work, around, innermost, found)?,
            Node::Branch(_) | Node::Library(_) => return None,
        }
    }
    around.pop();
    Some(())
}

/// One step, in the loops around.
fn step(program: &Program, work: &Work, around: &[Around], innermost: bool, found: &mut Found) -> Option<()> {
    let all: f64 = around.iter().map(|(_, rounds)| rounds).product();
    found.operations += all * (operations(work.flops) + f64::from(work.integer_ops.saturating_sub(work.subscript_ops)));
    found.special |= work.flops.special > 0;
    for access in &work.accesses {
        let array = program.arrays.get(access.array)?;
        let widest = found
            .element
            .is_none_or(|own| (array.element.is_float(), array.element.bytes()) > (own.is_float(), own.bytes()));
        found.element = if widest { Some(array.element) } else { found.element };
        let Some(index) = &access.index else {
            // Data decide where; what the loops of no subscript read from data cover lies together.
            found.gathered += all;
            found.together = together(program, work, around) * array.element.bytes() as f64;
            continue;
        };
        let mentioned = |var: Symbol| index.iter().any(|own| own.mentions(var));
        let elements: f64 = around.iter().filter(|(var, _)| mentioned(*var)).map(|(_, rounds)| rounds).product();
        // The fastest axis of the array must follow the innermost loop, or not move in it.
        let single = |dim: &Expr| *dim == Expr::Const(1);
        let last = array.dims.iter().zip(index).rev().find(|(dim, _)| !single(dim)).map(|(_, last)| last);
        if let (Some((var, rounds)), Some(last)) = (around.last(), last)
            && innermost
            && *rounds > 1.0
            && elements >= all
            && !last.mentions(*var)
        {
            found.across = true;
        }
        let own = found.arrays.entry(access.array).or_default();
        own.elements = own.elements.max(elements);
        own.read |= !access.write && !own.written;
        own.written |= access.write;
    }
    Some(())
}

/// Elements that lie together at a place that data decide: rounds of the loops that no array of integers follows.
fn together(program: &Program, work: &Work, around: &[Around]) -> f64 {
    let integers = |access: &&Access| program.arrays.get(access.array).is_some_and(|array| !array.element.is_float());
    let decides = |var: Symbol| {
        work.accesses
            .iter()
            .filter(integers)
            .flat_map(|access| access.index.iter().flatten())
            .any(|index| index.mentions(var))
    };
    around.iter().filter(|(var, _)| !decides(*var)).map(|(_, rounds)| rounds).product()
}

/// Operations of plain code.
fn operations(flops: Flops) -> f64 {
    let simple = flops.add + flops.mul + flops.min_max;
    let slow = flops.div + flops.sqrt;
    f64::from(simple) + SLOW * f64::from(slow) + SPECIAL * f64::from(flops.special)
}

/// The operator that a call of a library is.
pub(super) fn of_library(library: &Library, values: &[i64]) -> Option<Own> {
    let extent = |expr: &Expr| expr.value(values).ok().map(|value| value.max(0) as f64);
    let own = Product {
        batch: extent(&library.batch)?,
        m: extent(&library.m)?,
        n: extent(&library.n)?,
        k: extent(&library.k)?,
    };
    let size = library.element.bytes() as f64;
    // What it touches: operands and the result, each once.
    let mut moved = [0.0, 0.0];
    let mut least = f64::INFINITY;
    let mut arrays = [Vec::new(), Vec::new()];
    for node in &library.sweep {
        let (elements, access) = swept(node, values, 1.0)?;
        moved[usize::from(access.write)] += size * elements;
        arrays[usize::from(access.write)].push(access.array);
        if !access.write {
            least = least.min(elements);
        }
    }
    if library.sweep.is_empty() {
        moved = [size * own.batch * (own.m * own.k + own.k * own.n), size * own.batch * own.m * own.n];
    }
    let [read_bytes, written_bytes] = moved;
    // One matrix that all share: rows of all are rows of one product, as libraries fold them.
    let shared = own.batch > 1.0 && least <= own.k * own.n;
    let class = if library.name == ATTENTION {
        Class::Attention(own)
    } else if shared {
        Class::Linear(Product { batch: 1.0, m: own.batch * own.m, ..own })
    } else if own.batch > 1.0 {
        Class::Bmm(own)
    } else {
        Class::Linear(own)
    };
    let operator = Operator { class, element: library.element, read_bytes, written_bytes, operations: 0.0 };
    let [reads, writes] = arrays;
    Some(Own { operator, reads, writes })
}

/// Elements that a loop of a sweep touches, and how.
fn swept<'n>(node: &'n Node, values: &[i64], all: f64) -> Option<(f64, &'n Access)> {
    match node {
        Node::Loop(l) => {
            let all = all * extent(l, values, &[])?;
            l.body.first().and_then(|node| swept(node, values, all))
        }
        Node::Work(work) => work.accesses.first().map(|access| (all, access)),
        Node::Branch(_) | Node::Library(_) => None,
    }
}
