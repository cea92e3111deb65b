//! Tiles, and what operators and functions make of them.

use ruff_python_ast::{BoolOp, CmpOp, Expr as Tree, ExprCall, ExprSubscript, Operator, UnaryOp};

use super::super::tree::last_name;
use super::{Lowering, Style, literal};
use crate::expr::{Expr, Rounding, Symbol};
use crate::functions::{self, Yields};
use crate::nest::{Access, At, Comparison, Condition, Flops, Work};
use crate::normal::tidy;
use crate::source::{MAX_DEPTH, refuse};
use accel_ground::error::Error;

/// One axis of a tile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Dim {
    /// Counted by that variable.
    Axis(Symbol),
    /// Of one element.
    One,
}

/// What an expression is: of no axes where it is one number.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// An argument that nobody has used yet.
    Argument(String),
    /// Integers that axes, loops and parameters decide.
    Index(Vec<Dim>, Expr),
    /// Elements of an array: their numbers.
    Pointers(Vec<Dim>, usize, Expr),
    /// Elements of an array such as data decide.
    Somewhere(Vec<Dim>, usize),
    /// A mask.
    Mask(Vec<Dim>, Condition),
    /// Data, floating-point or not.
    Data(Vec<Dim>, bool),
    /// Several values.
    List(Vec<Value>),
    /// What nobody computes with: a type, a text.
    Other,
}

impl Value {
    pub(super) fn scalar(expr: Expr) -> Self {
        Self::Index(Vec::new(), expr)
    }

    /// How much further `other` is, if both are of one kind.
    pub(super) fn moved(&self, other: &Self) -> Option<Expr> {
        match (self, other) {
            (Self::Index(a, x), Self::Index(b, y)) if a == b => Some(tidy(&y.clone().minus(x.clone()))),
            (Self::Pointers(a, p, x), Self::Pointers(b, q, y)) if a == b && p == q => {
                Some(tidy(&y.clone().minus(x.clone())))
            }
            _ => None,
        }
    }

    pub(super) fn shifted(&self, by: &Expr) -> Option<Self> {
        match self {
            Self::Index(dims, x) => Some(Self::Index(dims.clone(), tidy(&x.clone().plus(by.clone())))),
            Self::Pointers(dims, p, x) => Some(Self::Pointers(dims.clone(), *p, tidy(&x.clone().plus(by.clone())))),
            _ => None,
        }
    }

    /// The same, of which only the shape is known.
    pub(super) fn unknown(&self) -> Self {
        match self {
            Self::Index(dims, _) | Self::Mask(dims, _) => Self::Data(dims.clone(), false),
            other => other.clone(),
        }
    }

    fn dims(&self) -> Vec<Dim> {
        match self {
            Self::Index(dims, _)
            | Self::Pointers(dims, ..)
            | Self::Mask(dims, _)
            | Self::Data(dims, _)
            | Self::Somewhere(dims, _) => dims.clone(),
            Self::Argument(_) | Self::List(_) | Self::Other => Vec::new(),
        }
    }
}

/// An element, or a tile of them: its axes, its array and its place; none where data decide it.
pub(super) type Place = (Vec<Dim>, usize, Option<Expr>);

impl<'a> Lowering<'a> {
    /// Reads an expression.
    pub(super) fn value(&mut self, tree: &'a Tree) -> Result<Value, Error> {
        let at = self.at(tree);
        if let Some(number) = literal(tree) {
            return Ok(Value::scalar(Expr::Const(number)));
        }
        match tree {
            Tree::NumberLiteral(_) => Ok(Value::Data(Vec::new(), true)),
            Tree::BooleanLiteral(own) => Ok(Value::scalar(Expr::Const(i64::from(own.value)))),
            Tree::NoneLiteral(_) | Tree::StringLiteral(_) => Ok(Value::Other),
            Tree::Name(name) => match self.names.get(name.id.as_str()) {
                Some(value) => Ok(value.clone()),
                // Constants of the file are parameters.
                None => Ok(Value::Argument(name.id.to_string())),
            },
            Tree::Tuple(parts) => {
                Ok(Value::List(parts.elts.iter().map(|part| self.value(part)).collect::<Result<_, _>>()?))
            }
            Tree::List(parts) => {
                Ok(Value::List(parts.elts.iter().map(|part| self.value(part)).collect::<Result<_, _>>()?))
            }
            Tree::BinOp(op) => {
                let (left, right) = (self.value(&op.left)?, self.value(&op.right)?);
                self.binary(op.op, left, right, at)
            }
            Tree::UnaryOp(op) => {
                let value = self.value(&op.operand)?;
                match (op.op, value) {
                    (UnaryOp::USub, Value::Index(dims, expr)) => Ok(Value::Index(dims, expr.times(-1))),
                    (UnaryOp::Invert | UnaryOp::Not, Value::Mask(dims, condition)) => {
                        Ok(Value::Mask(dims, Condition::Not(Box::new(condition))))
                    }
                    (_, value) => Ok(value),
                }
            }
            Tree::BoolOp(op) => {
                let mut made: Option<(Vec<Dim>, Condition)> = None;
                for part in &op.values {
                    let part = self.value(part)?;
                    let part = (part.dims(), self.condition(part, at)?);
                    made = Some(match made {
                        None => part,
                        Some(before) => self.join(op.op == BoolOp::And, before, part),
                    });
                }
                Ok(made.map_or(Value::Other, |(dims, condition)| Value::Mask(dims, condition)))
            }
            Tree::Compare(compare) => {
                if let Some(same) = self.same_text(compare) {
                    return Ok(Value::scalar(Expr::Const(i64::from(same))));
                }
                let ([operator], [right]) = (compare.ops.as_ref(), compare.comparators.as_ref()) else {
                    return Err(refuse(at, "comparisons in a row are not read in a kernel", "Use `and`"));
                };
                let (left, right) = (self.value(&compare.left)?, self.value(right)?);
                self.compare(*operator, left, right, at)
            }
            Tree::Subscript(subscript) => self.subscript(subscript, at),
            Tree::Call(call) => self.call(call, at),
            Tree::Attribute(attribute) => {
                let base = self.value(&attribute.value)?;
                match (attribute.attr.as_str(), base) {
                    // `x.size` and `x.shape` of numba.
                    ("size", Value::Argument(name)) => Ok(Value::scalar(self.parameter(&format!("{name}_size")))),
                    ("shape", Value::Argument(name)) => {
                        let extent = |own: &mut Self, axis| Value::scalar(own.parameter(&format!("{name}_{axis}")));
                        Ok(Value::List((0..3).map(|axis| extent(self, axis)).collect()))
                    }
                    ("x" | "y" | "z", Value::Other) => {
                        let axis = ["x", "y", "z"].iter().position(|own| *own == attribute.attr.as_str());
                        Ok(self.coordinate(last_name(&attribute.value).unwrap_or_default(), axis.unwrap_or_default()))
                    }
                    _ => Ok(Value::Other),
                }
            }
            Tree::If(choice) => {
                let test = self.value(&choice.test)?;
                let condition = self.condition(test, at)?;
                if let Condition::Compare(a, comparison, b) = &condition
                    && let (Some(a), Some(b)) = (self.known(a), self.known(b))
                {
                    return self.value(if crate::nest::compares(a, *comparison, b) {
                        &choice.body
                    } else {
                        &choice.orelse
                    });
                }
                let (then, _) = (self.value(&choice.body)?, self.value(&choice.orelse)?);
                Ok(then.unknown())
            }
            _ => Err(refuse(at, "this expression of a kernel is not read", "Use arithmetic and tl's operations")),
        }
    }

    /// `ACTIVATION == "relu"`, where the launch says what it is.
    fn same_text(&self, compare: &ruff_python_ast::ExprCompare) -> Option<bool> {
        let ([op], Tree::Name(name), [Tree::StringLiteral(text)]) =
            (compare.ops.as_ref(), &*compare.left, compare.comparators.as_ref())
        else {
            return None;
        };
        let same = self.launch.texts.get(name.id.as_str())? == text.value.to_str();
        match op {
            CmpOp::Eq => Some(same),
            CmpOp::NotEq => Some(!same),
            _ => None,
        }
    }

    /// `threadIdx.x` and its like in numba.
    fn coordinate(&mut self, name: &str, axis: usize) -> Value {
        match name {
            "threadIdx" => Value::scalar(Expr::from(self.index(axis, true))),
            "blockIdx" => Value::scalar(Expr::from(self.index(axis, false))),
            "blockDim" => {
                let symbol = self.index(axis, true);
                Value::scalar(self.extents.get(&symbol).cloned().unwrap_or(Expr::Const(1)))
            }
            "gridDim" => Value::scalar(self.parameter(&format!("gridDim_{}", ["x", "y", "z"][axis]))),
            _ => Value::Other,
        }
    }

    /// The value of an integer.
    pub(super) fn number(&mut self, value: Value, at: At) -> Result<Expr, Error> {
        match value {
            Value::Argument(name) => Ok(self.parameter(&name)),
            Value::Index(dims, expr) if dims.is_empty() => Ok(expr),
            _ => Err(refuse(at, "this number is decided by data", "Use parameters, constants and indices of programs")),
        }
    }

    pub(super) fn condition(&mut self, value: Value, at: At) -> Result<Condition, Error> {
        match value {
            Value::Mask(_, condition) => Ok(condition),
            Value::Index(_, expr) => Ok(Condition::Compare(expr, Comparison::NotEqual, Expr::Const(0))),
            Value::Argument(name) => {
                let value = self.parameter(&name);
                Ok(Condition::Compare(value, Comparison::NotEqual, Expr::Const(0)))
            }
            _ => {
                let probability = self.source.probability;
                self.builder.assume(format!(
                    "the condition on line {}, column {} holds with probability {probability} (default)",
                    at.line, at.column
                ));
                Ok(Condition::Chance(probability))
            }
        }
    }

    /// What `a[i]` of numba is.
    pub(super) fn element(&mut self, subscript: &'a ExprSubscript, at: At) -> Result<Place, Error> {
        let base = self.value(&subscript.value)?;
        let Value::Argument(name) = base else {
            return Err(refuse(at, "what this subscript is of is not an array", "Use an argument of the kernel"));
        };
        let parts = match &*subscript.slice {
            Tree::Tuple(parts) => parts.elts.as_slice(),
            part => std::slice::from_ref(part),
        };
        let array = self.array(&name);
        let mut index = Some(Expr::Const(0));
        for (axis, part) in parts.iter().enumerate() {
            let value = match self.value(part)? {
                Value::Argument(name) => Some(self.parameter(&name)),
                Value::Index(dims, expr) if dims.is_empty() => Some(expr),
                _ => None,
            };
            // Rows as long as `x.shape` says.
            let row = if axis > 0 { self.parameter(&format!("{name}_{axis}")) } else { Expr::Const(1) };
            index = index.zip(value).map(|(index, value)| tidy(&index.times(row).plus(value)));
        }
        Ok((Vec::new(), array, index))
    }

    /// Loads or stores what `place` is, under `mask`.
    pub(super) fn touch(&mut self, place: Place, mask: Option<Condition>, write: bool, at: At) -> Result<(), Error> {
        let (dims, array, index) = place;
        match &index {
            Some(index) => self.touched.push((array, index.clone())),
            None => {
                let name = self.builder.program.arrays.get(array).map(|array| array.name.clone()).unwrap_or_default();
                self.builder.assume(format!("which element of {name} line {} uses is decided by data", at.line));
            }
        }
        let access = Access { array, index: index.map(|index| vec![index]), known: Default::default(), write, at };
        self.emit(&dims, mask, Work { accesses: vec![access], ..Work::default() }, at);
        Ok(())
    }

    fn is_float(&self, array: usize) -> bool {
        self.builder.program.arrays.get(array).is_some_and(|array| array.element.is_float())
    }

    fn subscript(&mut self, subscript: &'a ExprSubscript, at: At) -> Result<Value, Error> {
        let base = self.value(&subscript.value)?;
        let parts = match &*subscript.slice {
            Tree::Tuple(parts) => parts.elts.as_slice(),
            part => std::slice::from_ref(part),
        };
        if let Value::List(values) = &base
            && let [part] = parts
        {
            let at_index = literal(part).and_then(|i| usize::try_from(i).ok()).and_then(|i| values.get(i).cloned());
            return at_index.ok_or_else(|| refuse(at, "which of these values this is cannot be seen", "Use a number"));
        }
        if matches!(base, Value::Argument(_)) {
            let place = self.element(subscript, at)?;
            let float = self.is_float(place.1);
            self.touch(place, None, false, at)?;
            return Ok(Value::Data(Vec::new(), float));
        }
        // `offsets[:, None]`
        let (mut own, mut dims) = (base.dims().into_iter(), Vec::new());
        for part in parts {
            match part {
                Tree::NoneLiteral(_) => dims.push(Dim::One),
                Tree::Slice(_) => dims.extend(own.next()),
                _ => return Err(refuse(at, "this subscript of a tile is not read", "Use `[:, None]` and `[None, :]`")),
            }
        }
        dims.extend(own);
        Ok(match base {
            Value::Index(_, expr) => Value::Index(dims, expr),
            Value::Pointers(_, array, expr) => Value::Pointers(dims, array, expr),
            Value::Mask(_, condition) => Value::Mask(dims, condition),
            Value::Data(_, float) => Value::Data(dims, float),
            Value::Somewhere(_, array) => Value::Somewhere(dims, array),
            other => other,
        })
    }

    /// The axes of two tiles together, and by what the second's are to be called instead.
    fn together(&self, a: &[Dim], b: &[Dim]) -> (Vec<Dim>, Vec<(Symbol, Symbol)>) {
        let rank = a.len().max(b.len());
        let (mut dims, mut renamed) = (Vec::new(), Vec::new());
        for position in 0..rank {
            let of = |dims: &[Dim]| (position + dims.len()).checked_sub(rank).and_then(|i| dims.get(i)).copied();
            dims.push(match (of(a), of(b)) {
                (Some(Dim::Axis(x)), Some(Dim::Axis(y))) => {
                    if x != y {
                        renamed.push((y, x));
                    }
                    Dim::Axis(x)
                }
                (Some(Dim::Axis(x)), _) | (_, Some(Dim::Axis(x))) => Dim::Axis(x),
                _ => Dim::One,
            });
        }
        (dims, renamed)
    }

    fn join(&self, and: bool, a: (Vec<Dim>, Condition), b: (Vec<Dim>, Condition)) -> (Vec<Dim>, Condition) {
        let (dims, renamed) = self.together(&a.0, &b.0);
        let (a, b) = (Box::new(a.1), Box::new(condition_with(&b.1, &renamed)));
        (dims, if and { Condition::And(a, b) } else { Condition::Or(a, b) })
    }

    pub(super) fn binary(&mut self, op: Operator, left: Value, right: Value, at: At) -> Result<Value, Error> {
        let (left, right) = match (left, right) {
            // A pointer and what is added to it.
            (Value::Argument(name), Value::Index(dims, by))
                if op == Operator::Add && (!dims.is_empty() || self.is_pointer(&name)) =>
            {
                let array = self.array(&name);
                return Ok(Value::Pointers(dims, array, by));
            }
            (Value::Argument(name), Value::Argument(other)) if op == Operator::Add && self.is_pointer(&name) => {
                let (array, by) = (self.array(&name), self.parameter(&other));
                return Ok(Value::Pointers(Vec::new(), array, by));
            }
            (left, right) => (self.plain(left), self.plain(right)),
        };
        let (dims, renamed) = self.together(&left.dims(), &right.dims());
        Ok(match (left, right) {
            (Value::Index(_, a), Value::Index(_, b)) => {
                let b = with(&b, &renamed);
                let made = match op {
                    Operator::Add => Some(a.plus(b)),
                    Operator::Sub => Some(a.minus(b)),
                    Operator::Mult => Some(a.times(b)),
                    Operator::FloorDiv => Some(a.over(b, Rounding::Floor)),
                    Operator::Mod => Some(a.modulo(b, Rounding::Floor)),
                    Operator::LShift => match b {
                        Expr::Const(by @ 0..=62) => Some(a.times(1_i64 << by)),
                        _ => None,
                    },
                    _ => None,
                };
                made.map_or(Value::Data(dims.clone(), op == Operator::Div), |made| Value::Index(dims, tidy(&made)))
            }
            (Value::Pointers(_, array, a), Value::Index(_, b)) if matches!(op, Operator::Add | Operator::Sub) => {
                let b = with(&b, &renamed);
                let by = if op == Operator::Add { b } else { b.times(-1) };
                Value::Pointers(dims, array, tidy(&a.plus(by)))
            }
            (Value::Index(_, b), Value::Pointers(_, array, a)) if op == Operator::Add => {
                Value::Pointers(dims, array, tidy(&b.plus(with(&a, &renamed))))
            }
            (Value::Mask(x, a), Value::Mask(y, b)) => {
                let (dims, condition) = self.join(op == Operator::BitAnd, (x, a), (y, b));
                Value::Mask(dims, condition)
            }
            (Value::Pointers(_, array, _) | Value::Somewhere(_, array), _)
            | (_, Value::Pointers(_, array, _) | Value::Somewhere(_, array)) => Value::Somewhere(dims, array),
            (left, right) => {
                let float = |value: &Value| matches!(value, Value::Data(_, true));
                let float = float(&left) || float(&right) || op == Operator::Div;
                let flops = match op {
                    Operator::Mult => Flops::MUL,
                    Operator::Div | Operator::FloorDiv | Operator::Mod => Flops::DIV,
                    Operator::Pow => Flops::SPECIAL,
                    _ => Flops::ADD,
                };
                self.compute(&dims, flops, float, at);
                Value::Data(dims, float)
            }
        })
    }

    /// Whether an argument was a pointer before, or is called like one.
    fn is_pointer(&self, name: &str) -> bool {
        let lower = name.to_ascii_lowercase();
        self.arrays.contains_key(name)
            || self.launch.arrays.contains_key(name)
            || lower.ends_with("ptr")
            || lower.ends_with("pointer")
            || lower.ends_with("ptrs")
    }

    /// An argument as the number that it is.
    fn plain(&mut self, value: Value) -> Value {
        match value {
            Value::Argument(name) if self.is_pointer(&name) => {
                let array = self.array(&name);
                Value::Pointers(Vec::new(), array, Expr::Const(0))
            }
            Value::Argument(name) => Value::scalar(self.parameter(&name)),
            other => other,
        }
    }

    /// Arithmetic on each element of a tile.
    fn compute(&mut self, dims: &[Dim], flops: Flops, float: bool, at: At) {
        let work = match float {
            true => Work { flops, ..Work::default() },
            false => Work { integer_ops: 1, ..Work::default() },
        };
        if !float || flops != Flops::NONE {
            self.emit(dims, None, work, at);
        }
    }

    fn compare(&mut self, op: CmpOp, left: Value, right: Value, at: At) -> Result<Value, Error> {
        let (left, right) = (self.plain(left), self.plain(right));
        let (dims, renamed) = self.together(&left.dims(), &right.dims());
        let (Value::Index(_, a), Value::Index(_, b)) = (&left, &right) else {
            return Ok(Value::Data(dims, false));
        };
        let (a, b) = (a.clone(), with(b, &renamed));
        let made = match op {
            CmpOp::Lt => {
                self.want(&a, &b);
                Condition::Compare(a, Comparison::Less, b)
            }
            CmpOp::LtE => Condition::Compare(a, Comparison::LessEqual, b),
            CmpOp::Gt => Condition::Compare(b, Comparison::Less, a),
            CmpOp::GtE => {
                self.want(&a, &b);
                Condition::Compare(b, Comparison::LessEqual, a)
            }
            CmpOp::Eq => Condition::Compare(a, Comparison::Equal, b),
            CmpOp::NotEq => Condition::Compare(a, Comparison::NotEqual, b),
            _ => return Err(refuse(at, "this comparison is not read in a kernel", "Use <, <=, ==, !=, >= and >")),
        };
        Ok(Value::Mask(dims, made))
    }

    /// Several integers.
    fn numbers(&mut self, value: Option<Value>, at: At) -> Result<Vec<Expr>, Error> {
        match value {
            Some(Value::List(parts)) => parts.into_iter().map(|part| self.number(part, at)).collect(),
            Some(one) => Ok(vec![self.number(one, at)?]),
            None => Err(refuse(at, "an argument is missing", "Give shape, strides, offsets and block_shape")),
        }
    }

    /// A tile of that shape.
    fn shaped(&mut self, shape: Value, at: At) -> Result<Vec<Dim>, Error> {
        let extents = match shape {
            Value::List(extents) => extents,
            one => vec![one],
        };
        let mut dims = Vec::new();
        for extent in extents {
            let extent = self.number(extent, at)?;
            dims.push(if extent == Expr::Const(1) { Dim::One } else { Dim::Axis(self.axis(extent)) });
        }
        Ok(dims)
    }

    fn axis(&mut self, extent: Expr) -> Symbol {
        let symbol = self.variable("lane", extent);
        self.lanes.insert(symbol);
        symbol
    }

    fn extent(&self, dim: Dim) -> Expr {
        match dim {
            Dim::Axis(symbol) => self.extents.get(&symbol).cloned().unwrap_or(Expr::Const(1)),
            Dim::One => Expr::Const(1),
        }
    }

    fn call(&mut self, call: &'a ExprCall, at: At) -> Result<Value, Error> {
        let Some(function) = last_name(&call.func) else {
            return Err(refuse(at, "what this calls is not known", "Call a function by its name"));
        };
        if let Some(found) = self.functions.get(function).copied() {
            return self.inline(found, call, at);
        }
        let mut values = Vec::new();
        // `x.to(tl.float16)`: what stands before the point is an operand.
        if let Tree::Attribute(attribute) = &*call.func
            && !matches!(
                last_name(&attribute.value),
                Some("tl" | "math" | "cuda" | "language" | "libdevice" | "triton" | "extra")
            )
        {
            values.push(self.value(&attribute.value)?);
        }
        for argument in &call.arguments.args {
            values.push(self.value(argument)?);
        }
        let named = |own: &mut Self, name: &str| {
            let found =
                call.arguments.keywords.iter().find(|own| own.arg.as_ref().is_some_and(|arg| arg.as_str() == name));
            found.map(|keyword| own.value(&keyword.value)).transpose()
        };
        let first = values.first().cloned();
        let axis_of = |value: Option<Value>| match value {
            Some(Value::Index(_, Expr::Const(axis @ 0..=2))) => axis as usize,
            _ => 0,
        };
        match (function, first) {
            ("program_id", first) => {
                let axis = match named(self, "axis")? {
                    Some(axis) => axis_of(Some(axis)),
                    None => axis_of(first),
                };
                Ok(Value::scalar(Expr::from(self.index(axis, false))))
            }
            ("num_programs", first) => {
                let name = format!("gridDim_{}", ["x", "y", "z"][axis_of(first)]);
                Ok(Value::scalar(self.parameter(&name)))
            }
            // `cuda.grid(1)` and `cuda.grid(2)` of numba.
            ("grid" | "gridsize", Some(Value::Index(_, Expr::Const(count @ 1..=3)))) if self.style == Style::Numba => {
                let mut all = Vec::new();
                for axis in 0..count as usize {
                    let thread = self.index(axis, true);
                    let size = self.extents.get(&thread).cloned().unwrap_or(Expr::Const(1));
                    all.push(Value::scalar(if function == "grid" {
                        Expr::from(self.index(axis, false)).times(size).plus(thread)
                    } else {
                        self.parameter(&format!("gridDim_{}", ["x", "y", "z"][axis])).times(size)
                    }));
                }
                Ok(if all.len() == 1 { all.remove(0) } else { Value::List(all) })
            }
            ("arange", Some(start)) => {
                let (start, end) = (self.number(start, at)?, values.get(1).cloned());
                let (start, end) = match end {
                    Some(end) => (start, self.number(end, at)?),
                    None => (Expr::Const(0), start),
                };
                let symbol = self.axis(tidy(&end.minus(start.clone())));
                Ok(Value::Index(vec![Dim::Axis(symbol)], start.plus(symbol)))
            }
            ("load" | "store" | "atomic_add" | "atomic_max" | "atomic_min", Some(pointers)) => {
                let (dims, array, index) = match self.plain(pointers) {
                    Value::Pointers(dims, array, index) => (dims, array, Some(index)),
                    Value::Somewhere(dims, array) => (dims, array, None),
                    _ => {
                        let cure = "Add indices to an argument of the kernel";
                        return Err(refuse(at, "where this points is not known", cure));
                    }
                };
                let store = function != "load";
                let blocked = self.strides.contains_key(&array) && named(self, "boundary_check")?.is_some();
                if blocked {
                    self.builder.assume(format!("line {}: tiles at the edges are counted as whole", at.line));
                }
                let mask = match named(self, "mask")? {
                    Some(mask) => Some(mask),
                    None => values.get(if store { 2 } else { 1 }).cloned().filter(|_| !blocked),
                };
                let (dims, mask) = match mask {
                    Some(Value::Other) | None => (dims, None),
                    Some(mask) => {
                        let (dims, renamed) = self.together(&dims, &mask.dims());
                        let mask = self.condition(mask, at)?;
                        (dims, Some(condition_with(&mask, &renamed)))
                    }
                };
                let float = self.is_float(array);
                let place = (dims.clone(), array, index);
                if function.starts_with("atomic") {
                    self.touch(place.clone(), mask.clone(), false, at)?;
                    self.compute(&dims, Flops::ADD, float, at);
                }
                self.touch(place, mask, store, at)?;
                Ok(Value::Data(dims, float))
            }
            ("make_block_ptr", first) => {
                let base = named(self, "base")?.or(first).unwrap_or(Value::Other);
                let base = self.plain(base);
                let Value::Pointers(_, array, start) = base else {
                    return Err(refuse(
                        at,
                        "where this points is not known",
                        "Give an argument of the kernel as the base",
                    ));
                };
                let mut parts = Vec::new();
                for (position, name) in [(2, "strides"), (3, "offsets"), (4, "block_shape")] {
                    let part = named(self, name)?.or(values.get(position).cloned());
                    parts.push(self.numbers(part, at)?);
                }
                let [strides, offsets, sizes] = parts.as_slice() else { return Ok(Value::Other) };
                let (mut dims, mut index) = (Vec::new(), start);
                for ((stride, offset), size) in strides.iter().zip(offsets).zip(sizes) {
                    let symbol = self.axis(size.clone());
                    dims.push(Dim::Axis(symbol));
                    index = index.plus(offset.clone().plus(symbol).times(stride.clone()));
                }
                self.strides.insert(array, strides.clone());
                Ok(Value::Pointers(dims, array, tidy(&index)))
            }
            ("advance", Some(Value::Pointers(dims, array, index))) => {
                let by = named(self, "offsets")?.or(values.get(1).cloned());
                let by = self.numbers(by, at)?;
                let strides = self.strides.get(&array).cloned().unwrap_or_default();
                let moved = strides.into_iter().zip(by).fold(index, |index, (stride, by)| index.plus(by.times(stride)));
                Ok(Value::Pointers(dims, array, tidy(&moved)))
            }
            ("rand" | "randn" | "randint" | "rand4x" | "randint4x", Some(_)) => {
                let dims = values.get(1).map(Value::dims).unwrap_or_default();
                self.builder.assume(format!("line {}: what random numbers cost to make is not counted", at.line));
                Ok(Value::Data(dims, true))
            }
            ("dot", Some(a)) => {
                let b = values.get(1).cloned().unwrap_or(Value::Other);
                let (a, b) = (a.dims(), b.dims());
                let ([m, k], [_, n]) = (a.as_slice(), b.as_slice()) else {
                    return Err(refuse(at, "tl.dot takes two tiles of two axes", "Give it those"));
                };
                let extents = [*m, *n, *k].map(|dim| self.extent(dim));
                let axes = extents.map(|extent| Dim::Axis(self.axis(extent)));
                let flops = Flops { mul: 1, add: 1, ..Flops::NONE };
                self.emit(&axes, None, Work { flops, ..Work::default() }, at);
                self.tensor_lines.insert(at.line);
                Ok(Value::Data(vec![*m, *n], true))
            }
            ("zeros" | "full", Some(shape)) => Ok(Value::Data(self.shaped(shape, at)?, true)),
            ("zeros_like", Some(value)) => Ok(Value::Data(value.dims(), true)),
            ("sum" | "max" | "min" | "argmax" | "argmin" | "cumsum" | "reduce", Some(value))
                if !call.func.is_name_expr() =>
            {
                let axis = match named(self, "axis")? {
                    Some(Value::Index(_, Expr::Const(axis))) => Some(axis),
                    _ => values.get(1).and_then(|axis| match axis {
                        Value::Index(_, Expr::Const(axis)) => Some(*axis),
                        _ => None,
                    }),
                };
                let mut dims = value.dims();
                let flops = if matches!(function, "sum" | "cumsum") { Flops::ADD } else { Flops::MIN_MAX };
                self.compute(&dims, flops, !matches!(value, Value::Data(_, false)), at);
                match (function, axis) {
                    ("cumsum", _) => {}
                    (_, Some(axis)) => {
                        let axis = if axis < 0 { axis + dims.len() as i64 } else { axis };
                        if let Ok(axis) = usize::try_from(axis)
                            && axis < dims.len()
                        {
                            dims.remove(axis);
                        }
                    }
                    (_, None) => dims.clear(),
                }
                Ok(Value::Data(dims, true))
            }
            ("cdiv", Some(a)) => {
                let b = values.get(1).cloned().unwrap_or(Value::Other);
                let (a, b) = (self.number(a, at)?, self.number(b, at)?);
                Ok(Value::scalar(tidy(&a.plus(b.clone()).minus(1).over(b, Rounding::Floor))))
            }
            ("minimum" | "maximum" | "min" | "max", Some(a)) => {
                let b = values.get(1).cloned().unwrap_or(Value::Other);
                let (a, b) = (self.plain(a), self.plain(b));
                let (dims, renamed) = self.together(&a.dims(), &b.dims());
                if let (Value::Index(_, a), Value::Index(_, b)) = (&a, &b) {
                    let b = with(b, &renamed);
                    let made = if function.starts_with("min") { a.clone().min(b) } else { a.clone().max(b) };
                    return Ok(Value::Index(dims, made));
                }
                self.compute(&dims, Flops::MIN_MAX, true, at);
                Ok(Value::Data(dims, true))
            }
            ("where", Some(mask)) => {
                let (a, b) = (values.get(1).cloned(), values.get(2).cloned());
                let (a, b) = (a.unwrap_or(Value::Other), b.unwrap_or(Value::Other));
                let (dims, _) = self.together(&a.dims(), &b.dims());
                let (dims, _) = self.together(&dims, &mask.dims());
                Ok(Value::Data(dims, true))
            }
            (
                "to" | "cast" | "multiple_of" | "max_contiguous" | "broadcast_to" | "cached" | "float" | "int",
                Some(value),
            ) => Ok(value),
            ("trans", Some(value)) => {
                let mut dims = value.dims();
                dims.reverse();
                Ok(match value {
                    Value::Data(_, float) => Value::Data(dims, float),
                    other => other,
                })
            }
            ("expand_dims", Some(value)) => {
                let axis = axis_of(values.get(1).cloned());
                let mut dims = value.dims();
                dims.insert(axis.min(dims.len()), Dim::One);
                Ok(match value {
                    Value::Index(_, expr) => Value::Index(dims, expr),
                    Value::Data(_, float) => Value::Data(dims, float),
                    Value::Mask(_, condition) => Value::Mask(dims, condition),
                    other => other,
                })
            }
            ("static_assert" | "static_print" | "device_print" | "debug_barrier" | "syncthreads" | "syncwarp", _) => {
                Ok(Value::Other)
            }
            (name, Some(_)) => {
                let Some(known) = functions::of_python(name) else {
                    let cure = "Use tl.load, tl.store, tl.dot, arithmetic, reductions and the functions of tl.math";
                    return Err(refuse(at, format!("what {name} does in a kernel is not known"), cure));
                };
                let mut dims = Vec::new();
                for value in &values {
                    dims = self.together(&dims, &value.dims()).0;
                }
                self.compute(&dims, known.flops, true, at);
                Ok(Value::Data(dims, known.yields != Yields::Truth))
            }
            (name, None) => {
                Err(refuse(at, format!("what {name} does in a kernel is not known"), "Use tl's operations"))
            }
        }
    }

    /// A function of the source in the place of its call.
    fn inline(
        &mut self,
        function: &'a ruff_python_ast::StmtFunctionDef,
        call: &'a ExprCall,
        at: At,
    ) -> Result<Value, Error> {
        if self.calls >= MAX_DEPTH {
            return Err(refuse(at, format!("calls are nested more than {MAX_DEPTH} deep"), "Write some of them out"));
        }
        let mut names = std::collections::BTreeMap::new();
        let parameters: Vec<String> =
            function.parameters.iter_non_variadic_params().map(|own| own.parameter.name.to_string()).collect();
        for (name, argument) in parameters.iter().zip(&call.arguments.args) {
            names.insert(name.clone(), self.value(argument)?);
        }
        for keyword in &call.arguments.keywords {
            if let Some(name) = &keyword.arg {
                names.insert(name.to_string(), self.value(&keyword.value)?);
            }
        }
        let before = std::mem::replace(&mut self.names, names);
        self.calls += 1;
        self.block(&function.body)?;
        self.calls -= 1;
        self.names = before;
        Ok(self.result.take().unwrap_or(Value::Other))
    }
}

/// An expression with other axes.
fn with(expr: &Expr, renamed: &[(Symbol, Symbol)]) -> Expr {
    let find = |symbol: Symbol| renamed.iter().find(|(own, _)| *own == symbol).map(|(_, other)| Expr::from(*other));
    if renamed.is_empty() { expr.clone() } else { expr.replaced(&find) }
}

fn condition_with(condition: &Condition, renamed: &[(Symbol, Symbol)]) -> Condition {
    let again = |own: &Condition| Box::new(condition_with(own, renamed));
    match condition {
        Condition::Compare(a, comparison, b) => Condition::Compare(with(a, renamed), *comparison, with(b, renamed)),
        Condition::Chance(share) => Condition::Chance(*share),
        Condition::And(a, b) => Condition::And(again(a), again(b)),
        Condition::Or(a, b) => Condition::Or(again(a), again(b)),
        Condition::Not(a) => Condition::Not(again(a)),
    }
}
