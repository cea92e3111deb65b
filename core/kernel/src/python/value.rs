//! What names stand for while a program is read.

use std::collections::BTreeSet;

use crate::expr::{Expr, Symbol};
use crate::nest::{At, Element, Flops};
use crate::normal::tidy;

/// Symbols from here on are axes of views: `AXIS + 1` is the second.
const AXIS: u32 = 1 << 31;
/// The symbol of a subscript that data decide.
pub(super) const DRAWN: Symbol = Symbol(AXIS - 1);

/// What a name or an expression stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// `None`.
    None,
    /// `True` or `False`, where the source says so.
    Bool(bool),
    /// An integer known as an expression of parameters and loop variables.
    Int(Expr),
    /// A number in the source, such as `0.5`.
    Literal(f64),
    /// A number in a register that only a run would know, an element of an array among what it comes from, or an
    /// argument; whether it is floating-point.
    Scalar(bool),
    /// A number that comes from no element of an array, but whose expression is not known, such as a counter; whether
    /// it is floating-point.
    Counter(bool),
    /// A string.
    Text(String),
    /// The type of elements: `np.float32`.
    Type(Element),
    /// Several: a shape, two results.
    Tuple(Vec<Value>),
    /// An instance of a class, or a dictionary: its number among [`super::defined::Object`]s.
    Object(usize),
    /// Something that can be called: its number among [`super::defined::Callable`]s.
    Function(usize),
    /// An array in memory, or part of one.
    View(View),
    /// Element-wise operations still to be done.
    Lazy(Box<Lazy>),
    /// An argument of the function that nothing says anything about yet.
    Unknown(String),
}

impl Value {
    /// Whether it is, or may be, an array.
    pub(super) fn is_array(&self) -> bool {
        matches!(self, Self::View(_) | Self::Lazy(_))
    }

    /// Whether it is one number.
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Literal(_) | Self::Scalar(_) | Self::Counter(_) | Self::Bool(_))
    }

    /// Whether it is one floating-point number.
    pub(super) fn is_real(&self) -> bool {
        matches!(self, Self::Scalar(true) | Self::Counter(true) | Self::Literal(_))
    }

    /// Whether data decide it.
    pub(super) fn by_data(&self) -> bool {
        matches!(self, Self::Scalar(_) | Self::View(_) | Self::Lazy(_) | Self::Unknown(_))
    }

    /// A number computed from others: whether it is floating-point, and whether data decide it.
    pub(super) fn computed(float: bool, by_data: bool) -> Self {
        if by_data { Self::Scalar(float) } else { Self::Counter(float) }
    }

    /// How many items it holds, those inside it included.
    pub(super) fn items(&self) -> usize {
        match self {
            Self::Tuple(parts) => parts.iter().fold(1, |sum, part| sum.saturating_add(part.items())),
            _ => 1,
        }
    }

    /// What errors call it.
    pub(super) fn description(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "an integer",
            Self::Literal(_) | Self::Scalar(_) | Self::Counter(_) => "a number",
            Self::Text(_) => "a string",
            Self::Type(_) => "a type",
            Self::Tuple(_) => "a tuple",
            Self::Object(_) => "an object",
            Self::Function(_) => "a function",
            Self::View(_) | Self::Lazy(_) => "an array",
            Self::Unknown(_) => "an argument of unknown shape",
        }
    }
}

/// What kind of result an operation has, where its operands do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Real {
    /// Floating-point, of integers too.
    Yes,
    /// True or false.
    Truth,
    /// Elements of that type.
    Of(Element),
}

/// An array, or a part of one without a copy: transposed, sliced, reshaped, broadcast.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    /// The array.
    pub(super) array: usize,
    /// Extents of the view.
    pub(super) dims: Vec<Expr>,
    /// The array's subscripts, with axes of the view as symbols.
    pub(super) index: Vec<Expr>,
    /// Whether data decide one of the subscripts.
    pub(super) by_data: bool,
}

/// The symbol of an axis of a view.
pub(super) fn axis(number: usize) -> Expr {
    Expr::Symbol(Symbol(AXIS + number as u32))
}

impl View {
    /// All of an array.
    pub(super) fn whole(array: usize, dims: Vec<Expr>) -> Self {
        let index = (0..dims.len()).map(axis).collect();
        Self { array, dims, index, by_data: false }
    }

    /// The array's subscripts of the element at `at` of the view.
    pub(super) fn element(&self, at: &[Expr]) -> Vec<Expr> {
        self.index.iter().map(|index| substitute(index, at)).collect()
    }

    /// The view whose element at `axes` is this one's element at `at`.
    pub(super) fn of(&self, dims: Vec<Expr>, at: &[Expr]) -> Self {
        Self { array: self.array, dims, index: self.element(at), by_data: self.by_data }
    }

    /// Axes in another order.
    pub(super) fn permuted(&self, order: &[usize]) -> Self {
        let dims = order.iter().filter_map(|old| self.dims.get(*old).cloned()).collect();
        let at: Vec<Expr> =
            (0..self.dims.len()).map(|old| axis(order.iter().position(|o| *o == old).unwrap_or(old))).collect();
        self.of(dims, &at)
    }

    /// A new axis of extent 1 before axis `before`.
    pub(super) fn expanded(&self, before: usize) -> Self {
        let mut dims = self.dims.clone();
        dims.insert(before.min(dims.len()), Expr::Const(1));
        let at: Vec<Expr> = (0..self.dims.len()).map(|old| axis(old + usize::from(old >= before))).collect();
        self.of(dims, &at)
    }

    /// Without axis `gone`, at its element `at`.
    pub(super) fn fixed(&self, gone: usize, at: &Expr) -> Self {
        let mut dims = self.dims.clone();
        if gone < dims.len() {
            dims.remove(gone);
        }
        let index: Vec<Expr> = (0..self.dims.len())
            .map(|old| match old.cmp(&gone) {
                std::cmp::Ordering::Less => axis(old),
                std::cmp::Ordering::Equal => at.clone(),
                std::cmp::Ordering::Greater => axis(old - 1),
            })
            .collect();
        self.of(dims, &index)
    }

    /// `lower + step * k` along axis `along`, `extent` of them.
    pub(super) fn sliced(&self, along: usize, lower: &Expr, step: &Expr, extent: Expr) -> Self {
        let mut dims = self.dims.clone();
        if let Some(dim) = dims.get_mut(along) {
            *dim = extent;
        }
        let mut at: Vec<Expr> = (0..self.dims.len()).map(axis).collect();
        if let Some(index) = at.get_mut(along) {
            *index = tidy(&axis(along).times(step.clone()).plus(lower.clone()));
        }
        self.of(dims, &at)
    }

    /// Whether the last subscript of the array runs along the view's axis `number` and nothing else does.
    pub(super) fn runs_along(&self, number: usize) -> bool {
        self.index.split_last().is_some_and(|(last, others)| {
            *last == axis(number) && !others.iter().any(|index| index.mentions(Symbol(AXIS + number as u32)))
        })
    }
}

fn substitute(index: &Expr, at: &[Expr]) -> Expr {
    match index {
        // What most subscripts are.
        Expr::Symbol(symbol) if symbol.0 >= AXIS => {
            at.get((symbol.0 - AXIS) as usize).cloned().unwrap_or(Expr::Const(0))
        }
        _ => tidy(&index.replaced(&|symbol| at.get(symbol.0.checked_sub(AXIS)? as usize).cloned())),
    }
}

/// Element-wise operations on arrays that nothing has stored yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lazy {
    /// Extents of the result.
    pub(super) dims: Vec<Expr>,
    /// The type of its elements.
    pub(super) element: Element,
    /// What is loaded for each element, in order; views of the extents of the result.
    pub(super) leaves: Vec<(View, At)>,
    /// What is computed for each element, in order.
    pub(super) steps: Vec<Step>,
    /// How many operations of the source it stands for.
    pub(super) operations: u32,
    /// Where the last of them stands.
    pub(super) at: At,
}

/// An operation on elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    /// Which one of all that were read: no two have one number.
    pub(super) number: usize,
    pub(super) flops: Flops,
    /// Operations on integers.
    pub(super) integer_ops: u32,
}

impl Lazy {
    /// The floating-point operations for each element.
    pub(super) fn flops(&self) -> Flops {
        self.steps.iter().fold(Flops::NONE, |sum, step| sum.plus(step.flops))
    }

    /// The operations on integers for each element.
    pub(super) fn integer_ops(&self) -> u32 {
        self.steps.iter().map(|step| step.integer_ops).sum()
    }

    /// Loads a leaf too. Where operations are `shared`, one that is loaded already stays in a register.
    pub(super) fn load(&mut self, leaf: (View, At), shared: bool) {
        if !shared || !self.leaves.iter().any(|(own, _)| *own == leaf.0) {
            self.leaves.push(leaf);
        }
    }

    /// Computes what `other` computes, too. Where operations are `shared`, none is done twice.
    pub(super) fn join(&mut self, other: Self, shared: bool) {
        if !shared || self.steps.is_empty() {
            self.steps.extend(other.steps);
        } else {
            let known: BTreeSet<usize> = self.steps.iter().map(|step| step.number).collect();
            self.steps.extend(other.steps.into_iter().filter(|step| !known.contains(&step.number)));
        }
        other.leaves.into_iter().for_each(|leaf| self.load(leaf, shared));
        self.operations = if shared { self.steps.len() as u32 + 1 } else { self.operations + other.operations };
    }
}
