//! What expressions of pointers stand for, and arithmetic on subscripts.

use crate::expr::{Expr, Symbol};
use crate::nest::{Element, Program};
use crate::normal::{Normal, difference, tidy};

/// A subscript; none where data decide it.
pub(super) type Index = Option<Expr>;

/// What a name or an expression of pointers stands for: an array, a row of it, or a place in it.
#[derive(Debug, Clone)]
pub(super) struct Pointee {
    /// The array.
    pub(super) array: usize,
    /// Subscripts that are fixed.
    pub(super) prefix: Vec<Index>,
    /// What is added to the next subscript.
    pub(super) shift: Index,
    /// How many subscripts it still takes.
    pub(super) rank: usize,
}

impl Pointee {
    /// The element or row at `index`.
    pub(super) fn at(mut self, index: Index) -> Self {
        self.prefix.push(sum(self.shift.take(), index));
        Self { shift: Some(Expr::Const(0)), rank: self.rank.saturating_sub(1), ..self }
    }
}

/// The sum of two subscripts.
pub(super) fn sum(a: Index, b: Index) -> Index {
    Some(tidy(&a?.plus(b?)))
}

/// Whether subscripts are the same.
pub(super) fn alike(a: &[Index], b: &[Index]) -> bool {
    let same = |(a, b): (&Index, &Index)| match (a, b) {
        (Some(a), Some(b)) => difference(a, b) == Some(0),
        _ => false,
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}

/// How the fields of a struct lie one behind another, in units that are as large as each of its numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    /// The type of a unit.
    pub(super) unit: Element,
    /// How many units it has.
    pub(super) units: i64,
    pub(super) fields: Vec<Field>,
}

/// A field of a struct.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    /// The units before it.
    pub(super) offset: i64,
    pub(super) element: Element,
    /// Whether it is an array.
    pub(super) many: bool,
}

/// What is known about an array besides what the program says.
#[derive(Debug)]
pub(super) struct Info {
    /// Its extents, outermost first, where they are known.
    pub(super) dims: Vec<Option<Expr>>,
    /// By extent: one more than the largest subscripts.
    pub(super) reached: Vec<Vec<Expr>>,
    /// Whether its rank and type follow from its use.
    pub(super) undeclared: bool,
    /// How its structs lie, whose units its last extent counts.
    pub(super) layout: Option<Layout>,
}

/// The value of an expression of parameters.
pub(super) fn value(expr: &Expr, program: &Program) -> Option<i64> {
    match expr {
        // Most are: no need to look at all parameters.
        Expr::Const(value) => Some(*value),
        Expr::Symbol(symbol) => program.symbols.get(symbol.0 as usize)?.value,
        _ => expr.value(&program.values()).ok(),
    }
}

/// `factor` and `offset` of `factor * symbol + offset`.
pub(super) fn linear(expr: &Expr, symbol: Symbol) -> Option<(Expr, Expr)> {
    let (factor, offset) = Normal::of(expr)?.split(symbol)?;
    Some((factor.expr(), offset.expr()))
}

/// Whether an element that is written in one iteration of the loop of `var` is read in a later one.
pub(super) fn recurs(read: &[Expr], write: &[Expr], var: Symbol, step: &Expr) -> bool {
    let Expr::Const(step) = step else { return read == write };
    // `write(i) == read(i + rounds * step)` with one number of rounds for all subscripts.
    let mut rounds = None;
    for (read, write) in read.iter().zip(write) {
        let next = read.replaced(&|symbol| (symbol == var).then(|| Expr::from(var).plus(*step)));
        let (Some(gap), Some(stride)) = (difference(write, read), difference(&next, read)) else { return false };
        match (gap, stride) {
            (0, 0) => {}
            (_, 0) => return false,
            (gap, stride) if gap % stride != 0 || gap / stride < 1 => return false,
            (gap, stride) => {
                if rounds.replace(gap / stride).is_some_and(|known| known != gap / stride) {
                    return false;
                }
            }
        }
    }
    true
}
