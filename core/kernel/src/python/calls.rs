//! Calls: Python's own functions, those of `math`, NumPy and its relatives.
//!
//! Composed functions are the passes that their formulas have: `softmax(x)` is a maximum, a difference, an exponential, a
//! sum and a quotient; `var(x)` a mean, a difference, a square and a mean; `layer_norm` both of them, a difference, a
//! square root of the variance plus epsilon, and a quotient.

use std::collections::BTreeMap;

use ruff_python_ast::{Expr as Tree, ExprAttribute, ExprCall, Operator};

use super::array::{shape, wider};
use super::expr::Real;
use super::lower::Lower;
use super::stmt::clip;
use super::usage::root;
use super::value::{Value, View};
use crate::expr::Expr;
use crate::functions::{self, Function, Yields};
use crate::nest::{At, Element, Flops, Node, Work};
use crate::normal::Normal;
use crate::source::refuse;
use accel_core::error::Error;

/// The other functions that are known.
const OTHERS: [&str; 101] = [
    "all",
    "amax",
    "amin",
    "any",
    "arange",
    "argmax",
    "argmin",
    "array",
    "asarray",
    "ascontiguousarray",
    "astype",
    "average",
    "bmm",
    "broadcast_to",
    "cat",
    "concatenate",
    "contiguous",
    "conv1d",
    "conv2d",
    "convolve",
    "convolve2d",
    "copy",
    "correlate2d",
    "cumprod",
    "cumsum",
    "detach",
    "diag",
    "diagonal",
    "dim",
    "dot",
    "double",
    "einsum",
    "empty",
    "empty_like",
    "expand_dims",
    "eye",
    "fill",
    "flatten",
    "flip",
    "float",
    "full",
    "full_like",
    "half",
    "hstack",
    "identity",
    "inner",
    "int",
    "item",
    "layer_norm",
    "len",
    "linalg.norm",
    "linear",
    "linspace",
    "log_softmax",
    "logsumexp",
    "matmul",
    "max",
    "mean",
    "min",
    "mm",
    "moveaxis",
    "mv",
    "norm",
    "numel",
    "ones",
    "ones_like",
    "outer",
    "pad",
    "permute",
    "pow",
    "power",
    "print",
    "prod",
    "ravel",
    "repeat",
    "reshape",
    "roll",
    "size",
    "softmax",
    "squeeze",
    "stack",
    "std",
    "sum",
    "swapaxes",
    "t",
    "tensordot",
    "tile",
    "to",
    "trace",
    "transpose",
    "triu",
    "tril",
    "unsqueeze",
    "var",
    "vdot",
    "view",
    "vstack",
    "where",
    "zeros",
    "zeros_like",
    "correlate",
];

/// The arguments of a call, evaluated.
pub(super) struct Args<'a> {
    /// Those without a name; that of a method first.
    pub(super) values: Vec<(Value, At)>,
    names: Vec<(&'a str, Value, At)>,
    /// The module that the function is of, if the call says so.
    module: Option<&'a str>,
    pub(super) at: At,
}

impl Args<'_> {
    fn none(at: At) -> Self {
        Self { values: Vec::new(), names: Vec::new(), module: None, at }
    }

    /// The argument at `position`, or of one of those names.
    pub(super) fn get(&self, position: usize, names: &[&str]) -> Option<&Value> {
        let named = || self.names.iter().find(|(name, ..)| names.contains(name)).map(|(_, value, _)| value);
        self.values.get(position).map(|(value, _)| value).or_else(named)
    }
}

impl<'a> Lower<'a> {
    pub(super) fn attribute(&mut self, attribute: &'a ExprAttribute) -> Result<Value, Error> {
        let at = self.at(attribute);
        let name = attribute.attr.as_str();
        if root(&attribute.value).is_some_and(|root| self.is_module(root)) {
            return Ok(match name {
                "pi" | "e" | "inf" | "nan" | "tau" => Value::Literal(1.0),
                "newaxis" => Value::None,
                name => match Element::named(name.trim_end_matches('_')) {
                    Some(element) => Value::Type(element),
                    None => return self.unknown(name, at),
                },
            });
        }
        let value = self.eval(&attribute.value)?;
        let value = self.known(value, 2, at)?;
        let Some(dims) = shape(&value) else {
            return self.refuse(attribute, format!("`.{name}` of {}", value.what()), "Only arrays have it");
        };
        match name {
            "shape" => Ok(Value::Tuple(dims.into_iter().map(Value::Int).collect())),
            "ndim" => Ok(Value::Int(Expr::Const(dims.len() as i64))),
            "size" => Ok(Value::Int(self.tidy(&dims.into_iter().fold(Expr::Const(1), Expr::times), at)?)),
            "dtype" => Ok(match value {
                Value::View(view) => Value::Type(self.element(&view)),
                _ => Value::Type(self.source.element),
            }),
            "T" | "mT" => self.transposed(value, at),
            "real" | "data" => Ok(value),
            _ => self.unknown(name, at),
        }
    }

    /// Whether a name is a module, not a value.
    fn is_module(&self, name: &str) -> bool {
        const MODULES: [&str; 18] = [
            "np", "numpy", "jnp", "jax", "torch", "F", "nn", "math", "scipy", "special", "signal", "cp", "cupy", "sp",
            "linalg", "numba", "nb", "lax",
        ];
        self.lookup(name).is_none() && (MODULES.contains(&name) || self.imports.contains_key(name))
    }

    /// Refuses a function that is not known, naming those nearest to it.
    fn unknown<T>(&self, name: &str, at: At) -> Result<T, Error> {
        let all = functions::FUNCTIONS.iter().flat_map(|function| function.python).copied().chain(OTHERS);
        let mut near: Vec<(usize, &str)> = all.map(|other| (distance(name, other), other)).collect();
        near.sort_unstable();
        near.dedup();
        let near: Vec<&str> = near.iter().take(5).map(|(_, name)| *name).collect();
        let problem = format!("what `{}` costs is not known", clip(name));
        Err(refuse(at, problem, format!("Known names nearest to it are {}; or write it out", near.join(", "))))
    }

    pub(super) fn call(&mut self, call: &'a ExprCall) -> Result<Value, Error> {
        let at = self.at(call);
        self.step(at)?;
        let (name, receiver) = match &*call.func {
            Tree::Name(name) => {
                let own = name.id.as_str();
                if let Some(function) = self.functions.get(own).copied() {
                    return self.unfold(function, call);
                }
                (self.imports.get(own).copied().unwrap_or(own), None)
            }
            Tree::Attribute(attribute) => {
                let module = root(&attribute.value).is_some_and(|root| self.is_module(root));
                (attribute.attr.as_str(), (!module).then_some(&*attribute.value))
            }
            other => return self.refuse(other, "only functions with names are called", "Write `f(x)` or `np.f(x)`"),
        };
        if let ("print", None) = (name, receiver) {
            self.assume(at, "`print` is left out");
            return Ok(Value::None);
        }
        if let ("sum", None, [Tree::Generator(generator)]) = (name, receiver, call.arguments.args.as_ref()) {
            return self.sum_of(generator);
        }
        if let ("range", None) = (name, receiver) {
            return self.refuse(call, "a range used as a value", "Loop over it");
        }
        let mut args = Args::none(at);
        if let (Tree::Attribute(attribute), None) = (&*call.func, receiver) {
            args.module = root(&attribute.value);
        }
        if let Some(receiver) = receiver {
            let own = self.at(receiver);
            args.values.push((self.eval(receiver)?, own));
        }
        for arg in &call.arguments.args {
            let own = self.at(arg);
            args.values.push((self.eval(arg)?, own));
        }
        for keyword in &call.arguments.keywords {
            let Some(own) = &keyword.arg else {
                return self.refuse(keyword, "`**` of arguments is not read", "Write the arguments out");
            };
            let place = self.at(&keyword.value);
            args.names.push((own.as_str(), self.eval(&keyword.value)?, place));
        }
        let out = match args.get(usize::MAX, &["out"]).cloned() {
            Some(value) => match self.known(value, 2, at)? {
                Value::View(view) => Some(view),
                _ => None,
            },
            None => None,
        };
        let value = self.function(name, args, out.clone())?;
        match out {
            Some(out) if value != Value::View(out.clone()) => {
                self.store(&out, value, at)?;
                Ok(Value::View(out))
            }
            _ => Ok(value),
        }
    }

    /// A function of NumPy or of Python by its last name.
    fn function(&mut self, name: &str, mut args: Args<'a>, out: Option<View>) -> Result<Value, Error> {
        let at = args.at;
        let reduction = |name: &str| {
            Some(match name {
                "sum" | "nansum" => Flops::ADD,
                "prod" => Flops::MUL,
                "max" | "amax" | "min" | "amin" => Flops::MIN_MAX,
                "argmax" | "argmin" | "any" | "all" => Flops::NONE,
                _ => return None,
            })
        };
        if let ("abs", [(Value::Int(expr), _)]) = (name, args.values.as_slice()) {
            return Ok(Value::Int(self.tidy(&expr.clone().max(expr.clone().times(-1)), at)?));
        }
        if let Some(function) = functions::of_python(name) {
            return self.ufunc(name, function, args, out.as_ref());
        }
        let numbers = args.values.iter().filter(|(value, _)| value.is_number()).count();
        if let ("max" | "min", true) = (name, numbers > 1 || (args.values.len() > 1 && numbers != 1)) {
            return self.least(name, &args);
        }
        if let Some(flops) = reduction(name) {
            return self.reduction(flops, &args);
        }
        match name {
            "power" | "pow" => {
                let exponent = args.get(1, &["exponent"]).cloned().unwrap_or(Value::None);
                let function = Function {
                    c: &[],
                    python: &[],
                    operands: 2,
                    flops: self.power(&exponent, at),
                    yields: Yields::Same,
                };
                self.ufunc(name, &function, args, out.as_ref())
            }
            "where" => match args.values.len() {
                3 => self.elementwise(args.values, Flops::NONE, None, at),
                _ => Err(refuse(at, "how many elements `where` finds depends on data", "Use `np.where(test, a, b)`")),
            },
            "mean" | "average" | "var" | "std" | "norm" | "logsumexp" | "softmax" | "log_softmax" | "layer_norm" => {
                self.statistic(name, &args)
            }
            "cumsum" | "cumprod" => {
                let view = self.operand(&args, 0)?;
                let along = match args.get(1, &["axis", "dim"]) {
                    Some(axis) => self.axis(axis, view.dims.len(), at)?,
                    None if view.dims.len() <= 1 => 0,
                    None => return Err(refuse(at, "a running sum over all axes is not read", "Give `axis=`")),
                };
                let flops = if name == "cumsum" { Flops::ADD } else { Flops::MUL };
                self.scan(&view, flops, along, at)
            }
            "matmul" | "mm" | "bmm" | "mv" | "dot" | "inner" | "vdot" | "outer" | "einsum" | "tensordot" | "linear"
            | "convolve" | "correlate" | "convolve2d" | "correlate2d" | "conv1d" | "conv2d" => {
                self.product(name, args, out)
            }
            "len" => {
                let value = args.get(0, &[]).cloned().unwrap_or(Value::None);
                match self.known(value, 1, at)? {
                    Value::Tuple(parts) => Ok(Value::Int(Expr::Const(parts.len() as i64))),
                    other => match shape(&other).and_then(|dims| dims.first().cloned()) {
                        Some(dim) => Ok(Value::Int(dim)),
                        None => Err(refuse(
                            at,
                            format!("the length of {}", other.what()),
                            "Only arrays and tuples have one",
                        )),
                    },
                }
            }
            "float" | "int" | "item" | "tolist" | "float64" | "float32" | "int64" | "int32" | "bool"
                if args.values.len() == 1 =>
            {
                match args.values.swap_remove(0).0 {
                    Value::Int(expr) if name.starts_with("float") => Ok(match expr {
                        Expr::Const(value) => Value::Literal(value as f64),
                        _ => Value::Counter(true),
                    }),
                    Value::Literal(_) | Value::Counter(_) if name.starts_with("int") => Ok(Value::Counter(false)),
                    Value::Scalar(_) if name.starts_with("int") => Ok(Value::Scalar(false)),
                    value if value.is_array() => match Element::named(name) {
                        Some(element) => self.elementwise(vec![(value, at)], Flops::NONE, Some(Real::Of(element)), at),
                        None => Err(refuse(at, "an array as a single number", "Take one of its elements")),
                    },
                    value => Ok(value),
                }
            }
            _ => self.shaping(name, &args),
        }
    }

    /// A function that works element by element.
    fn ufunc(&mut self, name: &str, function: &Function, args: Args<'a>, out: Option<&View>) -> Result<Value, Error> {
        let at = args.at;
        let named = args.names.into_iter().filter_map(|(name, value, at)| {
            const OPERANDS: [&str; 8] = ["min", "max", "a_min", "a_max", "exponent", "x", "input", "other"];
            OPERANDS.contains(&name).then_some((value, at))
        });
        let mut values: Vec<(Value, At)> = args.values.into_iter().chain(named).collect();
        values.truncate(function.operands);
        // `None` bounds nothing.
        values.retain(|(value, _)| !matches!(value, Value::None | Value::Text(_) | Value::Type(_)));
        let flops = match function.flops {
            Flops { min_max: 2, .. } => Flops { min_max: values.len().saturating_sub(1) as u32, ..Flops::NONE },
            flops => flops,
        };
        if values.is_empty() {
            return Err(refuse(at, format!("`{name}` of nothing"), "Give its argument"));
        }
        if let [(a, a_at), (b, b_at)] = values.as_slice() {
            let (a_at, b_at) = (*a_at, *b_at);
            let (a, b) = self.pair(a.clone(), b.clone(), at)?;
            values = vec![(a, a_at), (b, b_at)];
        }
        let real = match function.yields {
            Yields::Float => Some(Real::Yes),
            Yields::Truth => Some(Real::Truth),
            Yields::Same | Yields::Integer => None,
        };
        match out {
            Some(_) => self.lazy(values, flops, real, at),
            None => self.elementwise(values, flops, real, at),
        }
    }

    /// `min(a, b)` and `max(a, b)` of numbers.
    fn least(&mut self, name: &str, args: &Args<'a>) -> Result<Value, Error> {
        let ints: Option<Vec<Expr>> = (args.values.iter())
            .map(|(value, _)| match value {
                Value::Int(expr) => Some(expr.clone()),
                _ => None,
            })
            .collect();
        if let Some(ints) = ints {
            let least = ints.into_iter().reduce(|a, b| if name == "min" { a.min(b) } else { a.max(b) });
            return Ok(Value::Int(self.tidy(&least.unwrap_or(Expr::Const(0)), args.at)?));
        }
        let times = args.values.len().saturating_sub(1) as u32;
        self.elementwise(args.values.clone(), Flops { min_max: times, ..Flops::NONE }, None, args.at)
    }

    /// An argument that is an array, in memory.
    pub(super) fn operand(&mut self, args: &Args<'a>, position: usize) -> Result<View, Error> {
        let value = args.get(position, &["x", "input", "a"]).cloned().unwrap_or(Value::None);
        let at = args.values.get(position).map_or(args.at, |(_, at)| *at);
        self.view(value, 2, at)
    }

    /// `value` as an array in memory.
    pub(super) fn view(&mut self, value: Value, rank: usize, at: At) -> Result<View, Error> {
        match self.known(value, rank, at)? {
            Value::View(view) => Ok(view),
            Value::Lazy(lazy) => self.materialise(*lazy, "element-wise"),
            other => Err(refuse(at, format!("{} where an array must stand", other.what()), "Give an array")),
        }
    }

    /// The number of an axis, from the last if it is negative.
    pub(super) fn axis(&mut self, value: &Value, rank: usize, at: At) -> Result<usize, Error> {
        let number = match value {
            Value::Int(expr) => self.number(expr),
            _ => None,
        };
        let from = number.map(|number| if number < 0 { number + rank as i64 } else { number });
        match from.and_then(|from| usize::try_from(from).ok()).filter(|from| *from < rank) {
            Some(axis) => Ok(axis),
            None => {
                let given = number.map_or_else(|| value.what().to_owned(), |number| number.to_string());
                Err(refuse(
                    at,
                    format!("axis {given} of an array with {rank} axes"),
                    "Give the array's shape, or another axis",
                ))
            }
        }
    }

    /// Which axes a reduction takes; none for all.
    fn axes(&mut self, args: &Args<'a>, position: usize, rank: usize) -> Result<Option<Vec<usize>>, Error> {
        let at = args.at;
        Ok(match args.get(position, &["axis", "dim"]).cloned() {
            None | Some(Value::None) => None,
            Some(Value::Tuple(parts)) => {
                let mut axes: Vec<usize> =
                    parts.iter().map(|part| self.axis(part, rank, at)).collect::<Result<_, _>>()?;
                axes.sort_unstable();
                axes.dedup();
                Some(axes)
            }
            Some(value) => Some(vec![self.axis(&value, rank, at)?]),
        })
    }

    fn keeps(args: &Args<'a>) -> bool {
        matches!(args.get(usize::MAX, &["keepdims", "keepdim"]), Some(Value::Bool(true)))
    }

    fn reduction(&mut self, flops: Flops, args: &Args<'a>) -> Result<Value, Error> {
        let value = args.get(0, &["a", "x", "input"]).cloned().unwrap_or(Value::None);
        if let Value::Tuple(parts) = &value {
            let numbers = parts.iter().map(|part| (part.clone(), args.at)).collect();
            return self.elementwise(numbers, Flops { add: parts.len() as u32, ..Flops::NONE }, None, args.at);
        }
        let value = self.known(value, 2, args.at)?;
        let rank = shape(&value).map_or(0, |dims| dims.len());
        let axes = self.axes(args, 1, rank)?;
        self.reduce(value, flops, axes, Self::keeps(args), args.at)
    }

    /// Functions that are several passes.
    fn statistic(&mut self, name: &str, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let value = args.get(0, &["x", "input", "a"]).cloned().unwrap_or(Value::None);
        let value = self.known(value, 2, at)?;
        let Some(dims) = shape(&value) else {
            return Err(refuse(at, format!("`{name}` of {}", value.what()), "Give an array"));
        };
        // Read more than once.
        let value = Value::View(self.view(value, 2, at)?);
        let position = if name == "norm" { 2 } else { 1 };
        let axes = match name {
            "layer_norm" => {
                let normal = match args.get(1, &["normalized_shape", "axis"]) {
                    Some(Value::Tuple(parts)) => parts.len().clamp(1, dims.len().max(1)),
                    _ => 1,
                };
                Some((dims.len().saturating_sub(normal)..dims.len()).collect())
            }
            _ => self.axes(args, position, dims.len())?,
        };
        let axes = match (name, axes) {
            // Of PyTorch and JAX, whose default is the last axis; SciPy's is all of them.
            ("softmax" | "log_softmax", None) => Some(vec![dims.len().saturating_sub(1)]),
            (_, axes) => axes,
        };
        let keep = Self::keeps(args);
        match name {
            "mean" | "average" => self.mean(value, axes, keep, at),
            "var" => self.variance(value, axes, keep, at),
            "std" => {
                let variance = self.variance(value, axes, keep, at)?;
                self.elementwise(vec![(variance, at)], Flops::SQRT, Some(Real::Yes), at)
            }
            "norm" => {
                let squares = self.elementwise(vec![(value, at)], Flops::MUL, None, at)?;
                let sum = self.reduce(squares, Flops::ADD, axes, keep, at)?;
                self.elementwise(vec![(sum, at)], Flops::SQRT, Some(Real::Yes), at)
            }
            "softmax" => {
                let exp = self.shifted(&value, axes.clone(), at)?;
                let exp = Value::View(self.view(exp, 2, at)?);
                let sum = self.reduce(exp.clone(), Flops::ADD, axes, true, at)?;
                self.elementwise(vec![(exp, at), (sum, at)], Flops::DIV, None, at)
            }
            "log_softmax" => {
                let most = self.reduce(value.clone(), Flops::MIN_MAX, axes.clone(), true, at)?;
                let shifted = self.elementwise(vec![(value, at), (most, at)], Flops::ADD, None, at)?;
                let shifted = Value::View(self.view(shifted, 2, at)?);
                let exp = self.elementwise(vec![(shifted.clone(), at)], Flops::SPECIAL, Some(Real::Yes), at)?;
                let sum = self.reduce(exp, Flops::ADD, axes, true, at)?;
                let log = self.elementwise(vec![(sum, at)], Flops::SPECIAL, Some(Real::Yes), at)?;
                self.elementwise(vec![(shifted, at), (log, at)], Flops::ADD, None, at)
            }
            "logsumexp" => {
                let most = self.reduce(value.clone(), Flops::MIN_MAX, axes.clone(), keep, at)?;
                let exp = self.shifted(&value, axes.clone(), at)?;
                let sum = self.reduce(exp, Flops::ADD, axes, keep, at)?;
                let log = self.elementwise(vec![(sum, at)], Flops::SPECIAL, Some(Real::Yes), at)?;
                self.elementwise(vec![(log, at), (most, at)], Flops::ADD, None, at)
            }
            _ => self.layer_norm(value, axes, args),
        }
    }

    /// `exp(x - max(x))`.
    fn shifted(&mut self, value: &Value, axes: Option<Vec<usize>>, at: At) -> Result<Value, Error> {
        let most = self.reduce(value.clone(), Flops::MIN_MAX, axes, true, at)?;
        let shifted = self.elementwise(vec![(value.clone(), at), (most, at)], Flops::ADD, None, at)?;
        self.elementwise(vec![(shifted, at)], Flops::SPECIAL, Some(Real::Yes), at)
    }

    fn mean(&mut self, value: Value, axes: Option<Vec<usize>>, keep: bool, at: At) -> Result<Value, Error> {
        let sum = self.reduce(value, Flops::ADD, axes, keep, at)?;
        self.elementwise(vec![(sum, at)], Flops::DIV, Some(Real::Yes), at)
    }

    fn variance(&mut self, value: Value, axes: Option<Vec<usize>>, keep: bool, at: At) -> Result<Value, Error> {
        let mean = self.mean(value.clone(), axes.clone(), true, at)?;
        let difference = self.elementwise(vec![(value, at), (mean, at)], Flops::ADD, None, at)?;
        let squares = self.elementwise(vec![(difference, at)], Flops::MUL, None, at)?;
        self.mean(squares, axes, keep, at)
    }

    fn layer_norm(&mut self, value: Value, axes: Option<Vec<usize>>, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let mean = self.mean(value.clone(), axes.clone(), true, at)?;
        let centred = self.elementwise(vec![(value, at), (mean, at)], Flops::ADD, None, at)?;
        let centred = Value::View(self.view(centred, 2, at)?);
        let squares = self.elementwise(vec![(centred.clone(), at)], Flops::MUL, None, at)?;
        let variance = self.mean(squares, axes, true, at)?;
        let root =
            self.elementwise(vec![(variance, at)], Flops { add: 1, sqrt: 1, ..Flops::NONE }, Some(Real::Yes), at)?;
        let mut result = self.elementwise(vec![(centred, at), (root, at)], Flops::DIV, None, at)?;
        for (position, name, flops) in [(2, "weight", Flops::MUL), (3, "bias", Flops::ADD)] {
            let Some(other) = args.get(position, &[name]).filter(|value| !matches!(value, Value::None)).cloned() else {
                continue;
            };
            let (a, b) = self.pair(result, other, at)?;
            result = self.elementwise(vec![(a, at), (b, at)], flops, None, at)?;
        }
        Ok(result)
    }

    // Shapes and copies.

    /// A shape given as a tuple, a number, or several numbers from `from` on.
    fn dims(&mut self, args: &Args<'a>, from: usize, names: &[&str]) -> Result<Vec<Expr>, Error> {
        let at = args.at;
        let parts = match args.get(from, names) {
            Some(Value::Tuple(parts)) => parts.clone(),
            Some(first) => {
                let more = args.values.iter().skip(from + 1).map(|(value, _)| value.clone());
                std::iter::once(first.clone())
                    .chain(more.filter(|value| !matches!(value, Value::Type(_) | Value::Text(_))))
                    .collect()
            }
            None => return Err(refuse(at, "a shape is missing", "Give it: `np.zeros((n, m))`")),
        };
        (parts.into_iter())
            .map(|part| match self.known_integer(part) {
                Some(expr) => Ok(expr),
                None => Err(refuse(at, "an extent of this shape is not known", "Give it as a parameter")),
            })
            .collect()
    }

    fn known_integer(&mut self, value: Value) -> Option<Expr> {
        match value {
            Value::Int(expr) => Some(expr),
            Value::Unknown(name) => match self.resolved.get(&name) {
                Some(Value::Int(expr)) => Some(expr.clone()),
                Some(_) => None,
                None => {
                    let expr: Expr = self.builder.parameter(&name).into();
                    self.resolved.insert(name, Value::Int(expr.clone()));
                    Some(expr)
                }
            },
            _ => None,
        }
    }

    /// The type that a call asks for, if it does.
    fn asked(args: &Args<'a>) -> Option<Element> {
        let named = |value: &Value| match value {
            Value::Type(element) => Some(*element),
            Value::Text(text) => Element::named(text),
            _ => None,
        };
        let given = args.get(usize::MAX, &["dtype"]).and_then(named);
        given.or_else(|| args.values.iter().skip(1).find_map(|(value, _)| named(value)))
    }

    /// The type of what a call makes: as it asks, else as its module has it.
    fn kind(&self, name: &str, args: &Args<'a>) -> Element {
        let whole = |value: &Value| match value {
            Value::Tuple(parts) => parts.iter().all(|part| match part {
                Value::Tuple(row) => row.iter().all(|part| matches!(part, Value::Int(_))),
                part => matches!(part, Value::Int(_)),
            }),
            value => matches!(value, Value::Int(_)),
        };
        // Of integers, these are integers.
        let integers = match name {
            "arange" => args.values.iter().all(|(value, _)| whole(value)),
            "full" => args.get(1, &["fill_value"]).is_some_and(whole),
            "array" | "asarray" | "ascontiguousarray" | "asanyarray" | "tensor" => args.get(0, &[]).is_some_and(whole),
            _ => false,
        };
        Self::asked(args).unwrap_or(match args.module {
            Some("np" | "numpy" | "torch") if integers => Element::I64,
            Some("jnp" | "jax") if integers => Element::I32,
            Some("np" | "numpy") => Element::F64,
            Some("torch" | "jnp" | "jax") => Element::F32,
            _ => self.source.element,
        })
    }

    fn shaping(&mut self, name: &str, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let element = self.kind(name, args);
        match name {
            "zeros" | "ones" | "empty" | "full" => {
                let dims = match name {
                    // The value stands where further extents of others do.
                    "full" => {
                        let first = Args { values: args.values.iter().take(1).cloned().collect(), ..Args::none(at) };
                        self.dims(&first, 0, &["shape"])?
                    }
                    _ => self.dims(args, 0, &["shape", "size"])?,
                };
                self.made(name, element, &dims, at)
            }
            "eye" | "identity" => {
                let mut dims = self.dims(args, 0, &["N", "n"])?;
                dims.truncate(2);
                if let [one] = dims.as_slice() {
                    dims = vec![one.clone(), one.clone()];
                }
                self.made(name, element, &dims, at)
            }
            "arange" | "linspace" => {
                let ends = self.dims(args, 0, &["stop"]);
                let count = match (name, args.get(2, &["num", "step"])) {
                    ("linspace", Some(count)) => self.known_integer(count.clone()),
                    ("linspace", None) => Some(Expr::Const(50)),
                    _ => match ends?.as_slice() {
                        [stop] => Some(stop.clone()),
                        [start, stop] => Some(stop.clone().minus(start.clone())),
                        [start, stop, step] => {
                            let step = self.number(step).filter(|step| *step != 0);
                            step.map(|step| Self::rounds(start, stop, step))
                        }
                        _ => None,
                    },
                };
                let Some(count) = count else {
                    return Err(refuse(at, "how many elements this has is not known", "Give whole numbers"));
                };
                let count = self.tidy(&count, at)?;
                self.made(name, element, &[count], at)
            }
            "zeros_like" | "ones_like" | "empty_like" | "full_like" => {
                let view = self.operand(args, 0)?;
                let own = self.element(&view);
                self.made(name, if args.get(usize::MAX, &["dtype"]).is_some() { element } else { own }, &view.dims, at)
            }
            "rand" | "randn" | "random" | "random_sample" | "standard_normal" | "normal" | "uniform" | "randint" => {
                let from = match name {
                    "normal" | "uniform" | "randint" => usize::MAX,
                    _ => 0,
                };
                let dims = self.dims(args, from, &["size"])?;
                self.assume(at, "of random numbers only the stores are counted");
                self.made(name, if name == "randint" { Element::I64 } else { element }, &dims, at)
            }
            "fill" | "fill_" | "zero_" => {
                let view = self.operand(args, 0)?;
                self.fill(&view, at);
                Ok(Value::None)
            }
            "array" | "asarray" | "ascontiguousarray" | "contiguous" | "detach" | "tensor" | "asanyarray" => {
                let value = args.get(0, &[]).cloned().unwrap_or(Value::None);
                match self.known(value, 2, at)? {
                    Value::Tuple(parts) => self.literal(parts, element, at),
                    Value::View(view) if name == "array" => self.copied(&view, at),
                    other => Ok(other),
                }
            }
            "copy" | "clone" | "flatten" | "astype" | "to" | "half" | "double" => {
                let view = self.operand(args, 0)?;
                let own = match name {
                    "astype" | "to" => element,
                    "half" => Element::F16,
                    "double" => Element::F64,
                    _ => self.element(&view),
                };
                let operand = vec![(Value::View(view), at)];
                let value = self.elementwise(operand, Flops::NONE, Some(Real::Of(own)), at)?;
                if name != "flatten" {
                    return Ok(value);
                }
                let view = self.view(value, 2, at)?;
                self.flat(&view, at)
            }
            "ravel" => {
                let view = self.operand(args, 0)?;
                self.flat(&view, at)
            }
            "copyto" => {
                let view = self.operand(args, 0)?;
                let value = args.get(1, &["src"]).cloned().unwrap_or(Value::None);
                self.store(&view, value, at)?;
                Ok(Value::None)
            }
            "reshape" | "view" => {
                let view = self.operand(args, 0)?;
                let mut dims = self.dims(args, 1, &["newshape", "shape"])?;
                let whole = view.dims.iter().cloned().fold(Expr::Const(1), Expr::times);
                if let Some(open) = dims.iter().position(|dim| *dim == Expr::Const(-1)) {
                    dims.remove(open);
                    let rest = dims.iter().cloned().fold(Expr::Const(1), Expr::times);
                    if self.number(&rest) == Some(0) {
                        return Err(refuse(at, "an extent of this shape is zero", "Give other extents"));
                    }
                    dims.insert(open, self.tidy(&self.exact(&whole, &rest), at)?);
                }
                self.reshape(&view, dims, at)
            }
            "numel" | "size" | "dim" | "ndim" => {
                let view = self.operand(args, 0)?;
                Ok(match (name, args.get(1, &["axis", "dim"]).cloned()) {
                    ("dim" | "ndim", _) => Value::Int(Expr::Const(view.dims.len() as i64)),
                    ("size", Some(axis)) => {
                        let along = self.axis(&axis, view.dims.len(), at)?;
                        Value::Int(view.dims.get(along).cloned().unwrap_or(Expr::Const(1)))
                    }
                    _ => Value::Int(self.tidy(&view.dims.into_iter().fold(Expr::Const(1), Expr::times), at)?),
                })
            }
            _ => self.moving(name, args),
        }
    }

    /// `whole / part`, where it is known to leave nothing: factors that both have are left out.
    fn exact(&self, whole: &Expr, part: &Expr) -> Expr {
        let factors = |expr: &Expr| {
            let normal = Normal::of(expr)?;
            normal.only_term().map(|(factors, coefficient)| (factors.to_vec(), coefficient))
        };
        if let (Some((mut above, a)), Some((below, b))) = (factors(whole), factors(part))
            && b != 0
            && a % b == 0
        {
            let mut all = true;
            for factor in &below {
                match above.iter().position(|own| own == factor) {
                    Some(at) => {
                        above.remove(at);
                    }
                    None => all = false,
                }
            }
            if all {
                return above.into_iter().fold(Expr::Const(a / b), Expr::times);
            }
        }
        whole.clone().over(part.clone(), crate::expr::Rounding::Floor)
    }

    fn made(&mut self, name: &str, element: Element, dims: &[Expr], at: At) -> Result<Value, Error> {
        let view = self.allocate(name, element, dims, at)?;
        if !name.starts_with("empty") {
            self.fill(&view, at);
        }
        Ok(Value::View(view))
    }

    pub(super) fn flat(&mut self, view: &View, at: At) -> Result<Value, Error> {
        let whole = self.tidy(&view.dims.iter().cloned().fold(Expr::Const(1), Expr::times), at)?;
        self.reshape(view, vec![whole], at)
    }

    fn copied(&mut self, view: &View, at: At) -> Result<Value, Error> {
        self.elementwise(vec![(Value::View(view.clone()), at)], Flops::NONE, None, at)
    }

    /// `np.array([1.0, 2.0])`: nested lists of numbers.
    fn literal(&mut self, parts: Vec<Value>, element: Element, at: At) -> Result<Value, Error> {
        let rows: Vec<usize> =
            parts.iter().map(|part| if let Value::Tuple(row) = part { row.len() } else { 0 }).collect();
        let numbers = parts.iter().all(Value::is_number);
        let table = parts.iter().all(|part| matches!(part, Value::Tuple(row) if row.iter().all(Value::is_number)));
        let even = rows.windows(2).all(|pair| pair.first() == pair.last());
        let mut dims = vec![Expr::Const(parts.len() as i64)];
        if table && even && !parts.is_empty() {
            dims.push(Expr::Const(rows.first().copied().unwrap_or_default() as i64));
        } else if !numbers {
            return Err(refuse(at, "this list is no table of numbers", "Give lists of equal lengths"));
        }
        self.made("array", element, &dims, at)
    }

    pub(super) fn transposed(&mut self, value: Value, at: At) -> Result<Value, Error> {
        let view = self.view(value, 2, at)?;
        let order: Vec<usize> = (0..view.dims.len()).rev().collect();
        Ok(Value::View(view.permuted(&order)))
    }

    /// Views in another order, and copies of several arrays into one.
    fn moving(&mut self, name: &str, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        match name {
            "transpose" | "permute" | "t" => {
                let view = self.operand(args, 0)?;
                let rank = view.dims.len();
                let given = match args.get(1, &["axes", "dims"]).cloned() {
                    None | Some(Value::None) => return self.transposed(Value::View(view), at),
                    Some(Value::Tuple(parts)) => parts,
                    Some(_) => args.values.iter().skip(1).map(|(value, _)| value.clone()).collect(),
                };
                let order: Vec<usize> = given.iter().map(|part| self.axis(part, rank, at)).collect::<Result<_, _>>()?;
                let mut sorted = order.clone();
                sorted.sort_unstable();
                if sorted == (0..rank).collect::<Vec<_>>() {
                    return Ok(Value::View(view.permuted(&order)));
                }
                // PyTorch's `transpose` swaps two axes.
                if let ([a, b], "transpose") = (order.as_slice(), name) {
                    let mut order: Vec<usize> = (0..rank).collect();
                    order.swap(*a, *b);
                    return Ok(Value::View(view.permuted(&order)));
                }
                Err(refuse(at, "these axes are no order of the array's", "Name each axis once"))
            }
            "swapaxes" | "moveaxis" => {
                let view = self.operand(args, 0)?;
                let rank = view.dims.len();
                let (Some(a), Some(b)) =
                    (args.get(1, &["axis1", "source"]).cloned(), args.get(2, &["axis2", "destination"]).cloned())
                else {
                    return Err(refuse(at, "two axes are needed", "Write `np.swapaxes(a, 0, 1)`"));
                };
                let (a, b) = (self.axis(&a, rank, at)?, self.axis(&b, rank, at)?);
                let mut order: Vec<usize> = (0..rank).collect();
                if name == "swapaxes" {
                    order.swap(a, b);
                } else {
                    let moved = order.remove(a);
                    order.insert(b, moved);
                }
                Ok(Value::View(view.permuted(&order)))
            }
            "expand_dims" | "unsqueeze" => {
                let view = self.operand(args, 0)?;
                let axis = args.get(1, &["axis", "dim"]).cloned().unwrap_or(Value::Int(Expr::Const(0)));
                let before = self.axis(&axis, view.dims.len() + 1, at)?;
                Ok(Value::View(view.expanded(before)))
            }
            "squeeze" => {
                let mut view = self.operand(args, 0)?;
                let axes = self.axes(args, 1, view.dims.len())?;
                let units: Vec<usize> =
                    (0..view.dims.len()).filter(|own| view.dims.get(*own) == Some(&Expr::Const(1))).collect();
                for axis in axes.unwrap_or(units).into_iter().rev() {
                    view = view.fixed(axis, &Expr::Const(0));
                }
                Ok(Value::View(view))
            }
            "broadcast_to" | "expand" => {
                let view = self.operand(args, 0)?;
                let dims = self.dims(args, 1, &["shape"])?;
                let whole = self.broadcast(&[dims, view.dims.clone()], at)?;
                Ok(Value::View(Self::spread(&view, &whole)))
            }
            "flip" => {
                let view = self.operand(args, 0)?;
                let axes = self.axes(args, 1, view.dims.len())?.unwrap_or_else(|| (0..view.dims.len()).collect());
                axes.into_iter()
                    .try_fold(view, |view, along| self.slice(&view, along, (None, None, Expr::Const(-1)), at))
                    .map(Value::View)
            }
            "diag" | "diagonal" | "trace" => {
                let view = self.operand(args, 0)?;
                let [rows, columns] = view.dims.as_slice() else {
                    return Err(refuse(at, format!("`{name}` of an array that is no matrix"), "Give a matrix"));
                };
                let extent = if self.unify(&rows.clone(), &columns.clone()) {
                    rows.clone()
                } else {
                    rows.clone().min(columns.clone())
                };
                let diagonal = Value::View(view.of(vec![extent], &[super::value::axis(0), super::value::axis(0)]));
                if name == "trace" { self.reduce(diagonal, Flops::ADD, None, false, at) } else { Ok(diagonal) }
            }
            "triu" | "tril" => {
                let view = self.operand(args, 0)?;
                self.copied(&view, at)
            }
            "concatenate" | "cat" | "stack" | "vstack" | "hstack" => self.joined(name, args),
            "roll" => self.rolled(args),
            "pad" => self.padded(args),
            _ => self.unknown(name, at),
        }
    }

    fn joined(&mut self, name: &str, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let Some(Value::Tuple(parts)) = args.get(0, &[]).cloned() else {
            return Err(refuse(at, format!("`{name}` takes a list of arrays"), "Write `np.concatenate([a, b])`"));
        };
        let mut views = parts.into_iter().map(|part| self.view(part, 2, at)).collect::<Result<Vec<_>, _>>()?;
        let rank = views.first().map_or(0, |view| view.dims.len());
        let given = args.get(1, &["axis", "dim"]).cloned().unwrap_or(Value::Int(Expr::Const(0)));
        let along = match name {
            "stack" => self.axis(&given, rank + 1, at)?,
            "vstack" => 0,
            "hstack" => usize::from(rank > 1),
            _ => self.axis(&given, rank, at)?,
        };
        if name == "stack" || (name == "vstack" && rank == 1) {
            views = views.iter().map(|view| view.expanded(along)).collect();
        }
        let Some(first) = views.first().cloned() else {
            return Err(refuse(at, "nothing is joined", "Give arrays"));
        };
        let mut total = Expr::Const(0);
        for view in &views {
            let mut like = view.dims.clone();
            let own = like.get(along).cloned().unwrap_or(Expr::Const(1));
            if let (Some(dim), Some(of_first)) = (like.get_mut(along), first.dims.get(along)) {
                *dim = of_first.clone();
            }
            if !self.same(&like, &first.dims) {
                let (a, b) = (self.shape_text(&first.dims), self.shape_text(&view.dims));
                return Err(refuse(
                    at,
                    format!("arrays of shapes {a} and {b} cannot be joined"),
                    "Only the joined axis may differ",
                ));
            }
            total = total.plus(own);
        }
        let mut dims = first.dims.clone();
        if let Some(dim) = dims.get_mut(along) {
            *dim = self.tidy(&total, at)?;
        }
        let element = views.iter().map(|view| self.element(view)).reduce(wider).unwrap_or(self.source.element);
        let result = self.allocate(name, element, &dims, at)?;
        let mut offset = Expr::Const(0);
        for view in views {
            let extent = view.dims.get(along).cloned().unwrap_or(Expr::Const(1));
            let part = result.sliced(along, &offset, &Expr::Const(1), extent.clone());
            self.store(&part, Value::View(view), at)?;
            offset = self.tidy(&offset.plus(extent), at)?;
        }
        Ok(Value::View(result))
    }

    /// `np.roll(a, n, axis)`: two copies.
    fn rolled(&mut self, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let view = self.operand(args, 0)?;
        let along = match args.get(2, &["axis", "dims"]).cloned() {
            Some(axis) => self.axis(&axis, view.dims.len(), at)?,
            None if view.dims.len() == 1 => 0,
            None => return Err(refuse(at, "a roll over all axes is not read", "Give `axis=`")),
        };
        let by = match args.get(1, &["shift", "shifts"]) {
            Some(Value::Int(expr)) => self.number(expr),
            _ => None,
        };
        let dim = view.dims.get(along).cloned().unwrap_or(Expr::Const(1));
        let (Some(by), Some(extent)) = (by, self.number(&dim).filter(|extent| *extent > 0)) else {
            return Err(refuse(at, "by how much this rolls is not known", "Give a number"));
        };
        let element = self.element(&view);
        let result = self.allocate("rolled", element, &view.dims, at)?;
        // The last `end` elements come first.
        let end = match by.rem_euclid(extent) {
            rest if by < 0 && by > -extent => dim.clone().minus(extent - rest),
            rest => Expr::Const(rest),
        };
        let rest = self.tidy(&dim.minus(end.clone()), at)?;
        for (to, from, extent) in [(Expr::Const(0), rest.clone(), end.clone()), (end, Expr::Const(0), rest)] {
            if extent != Expr::Const(0) {
                let part = view.sliced(along, &from, &Expr::Const(1), extent.clone());
                self.store(&result.sliced(along, &to, &Expr::Const(1), extent), Value::View(part), at)?;
            }
        }
        Ok(Value::View(result))
    }

    /// `np.pad(a, width)`: a filled array and a copy into its middle.
    fn padded(&mut self, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let view = self.operand(args, 0)?;
        let width = args.get(1, &["pad_width"]).cloned().unwrap_or(Value::None);
        let number = |value: &Value| match value {
            Value::Int(expr) => Some(expr.clone()),
            _ => None,
        };
        let pair = |value: &Value| match value {
            Value::Tuple(parts) => match parts.as_slice() {
                [a, b] => Some((number(a)?, number(b)?)),
                [a] => Some((number(a)?, number(a)?)),
                _ => None,
            },
            value => Some((number(value)?, number(value)?)),
        };
        let each: Option<Vec<(Expr, Expr)>> = match &width {
            Value::Tuple(parts)
                if parts.iter().all(|part| matches!(part, Value::Tuple(_))) && parts.len() == view.dims.len() =>
            {
                parts.iter().map(pair).collect()
            }
            other => pair(other).map(|pair| vec![pair; view.dims.len()]),
        };
        let Some(each) = each else {
            return Err(refuse(
                at,
                "by how much this pads is not known",
                "Write `np.pad(a, 1)` or `np.pad(a, ((1, 1), (0, 0)))`",
            ));
        };
        let dims: Vec<Expr> = (view.dims.iter().zip(&each))
            .map(|(dim, (before, after))| self.tidy(&dim.clone().plus(before.clone()).plus(after.clone()), at))
            .collect::<Result<_, _>>()?;
        let element = self.element(&view);
        let result = self.allocate("padded", element, &dims, at)?;
        self.fill(&result, at);
        let mut middle = result.clone();
        for (along, ((before, _), dim)) in each.iter().zip(&view.dims).enumerate() {
            middle = middle.sliced(along, before, &Expr::Const(1), dim.clone());
        }
        self.store(&middle, Value::View(view), at)?;
        Ok(Value::View(result))
    }

    /// `sum(a[i] * b[i] for i in range(n))`.
    fn sum_of(&mut self, generator: &'a ruff_python_ast::ExprGenerator) -> Result<Value, Error> {
        let at = self.at(generator);
        let cure = "Write a loop";
        let [only] = generator.generators.as_slice() else {
            return self.refuse(generator, "this comprehension is not read", cure);
        };
        if !only.ifs.is_empty() || only.is_async {
            return self.refuse(generator, "a comprehension with a condition is not read", cure);
        }
        let mut float = false;
        self.over(&only.target, &only.iter, &BTreeMap::new(), at, |own| {
            own.work.at = at;
            float = own.summand(&generator.elt, at)?;
            own.flush();
            Ok(())
        })?;
        Ok(Value::Scalar(float))
    }

    /// Adds `element` to what the round of a sum does.
    fn summand(&mut self, element: &'a Tree, at: At) -> Result<bool, Error> {
        let value = self.number_of(element)?;
        if !value.is_number() {
            return Err(refuse(at, format!("a sum of {}", value.what()), "Sum numbers"));
        }
        let float = value.is_real();
        self.count(Flops::ADD, float);
        self.work.scalars.reads += 1;
        self.work.scalars.writes += 1;
        self.work.carried = true;
        Ok(float)
    }

    /// A pass over an array that only loads or stores it.
    pub(super) fn pass(&mut self, view: &View, write: bool, at: At) -> Vec<Node> {
        // Extents that a broadcast repeats are touched once.
        let dims: Vec<Expr> = (view.dims.iter().enumerate())
            .map(|(own, dim)| {
                let Expr::Symbol(symbol) = super::value::axis(own) else { return dim.clone() };
                if view.index.iter().any(|index| index.mentions(symbol)) { dim.clone() } else { Expr::Const(1) }
            })
            .collect();
        self.nest(&dims, at, |_, index| {
            let accesses = vec![Self::access(view, index, write, at)];
            vec![Node::Work(Work { accesses, at, ..Work::default() })]
        })
    }

    /// `value * other`, element by element.
    pub(super) fn times(&mut self, a: Value, b: Value, at: At) -> Result<Value, Error> {
        self.arithmetic(Operator::Mult, (a, at), (b, at), at)
    }
}

/// How many letters must change to make one name of the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().take(40).enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let next = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            (diagonal, left) = (*cell, next);
            *cell = next;
        }
    }
    row.last().copied().unwrap_or_default()
}
