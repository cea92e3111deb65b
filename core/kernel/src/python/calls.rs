//! Calls: of the source's own functions, of Python's, and of those of `math`, NumPy and its relatives.

use std::collections::BTreeMap;

use ruff_python_ast::{Expr as Tree, ExprAttribute, ExprCall};

use super::args::Args;
use super::array::shape;
use super::lower::PythonLowering;
use super::registry::{self, Read};
use super::tree::{clip, root};
use super::value::{Real, Value, View};
use crate::expr::Expr;
use crate::functions::Yields;
use crate::nest::{At, Element, Flops};
use crate::source::refuse;
use accel_ground::error::Error;

impl<'a> PythonLowering<'a> {
    /// `a.shape`, `np.pi`.
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
            return self.refuse(attribute, format!("`.{name}` of {}", value.description()), "Only arrays have it");
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

    /// Refuses a function that is not read, naming those nearest to it.
    fn unknown<T>(&self, name: &str, at: At) -> Result<T, Error> {
        let near = registry::nearest(name).join(", ");
        let problem = format!("what `{}` costs is not known", clip(name));
        Err(refuse(at, problem, format!("Known names nearest to it are {near}; or write it out")))
    }

    /// What a call stands for; what it does is written down.
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
        if let (Some(Read::LeftOut), None) = (registry::find(name), receiver) {
            self.assume(at, format!("`{name}` is left out"));
            return Ok(Value::None);
        }
        if let ("sum", None, [Tree::Generator(generator)]) = (name, receiver, call.arguments.args.as_ref()) {
            return self.sum_of(generator);
        }
        if let ("range", None) = (name, receiver) {
            return self.refuse(call, "a range used as a value", "Loop over it");
        }
        let mut args = Args::none(name, at);
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
        let value = self.function(args, out.clone())?;
        match out {
            Some(out) if value != Value::View(out.clone()) => {
                self.store(&out, value, at)?;
                Ok(Value::View(out))
            }
            _ => Ok(value),
        }
    }

    /// What a function of Python, NumPy or a relative of it stands for.
    fn function(&mut self, mut args: Args<'a>, out: Option<View>) -> Result<Value, Error> {
        let at = args.at;
        let Some(read) = registry::find(args.name) else { return self.unknown(args.name, at) };
        match read {
            Read::Elementwise(function) => {
                if let ("abs", [(Value::Int(expr), _)]) = (args.name, args.values.as_slice()) {
                    return Ok(Value::Int(self.tidy(&expr.clone().max(expr.clone().times(-1)), at)?));
                }
                let real = match function.yields {
                    Yields::Float => Some(Real::Yes),
                    Yields::Truth => Some(Real::Truth),
                    Yields::Same | Yields::Integer => None,
                };
                self.ufunc(args, function.operands, |_| function.flops, real, out.as_ref())
            }
            Read::Clip => {
                let bounds = |values: usize| Flops { min_max: values.saturating_sub(1) as u32, ..Flops::NONE };
                self.ufunc(args, 3, bounds, None, out.as_ref())
            }
            Read::Power => {
                let exponent = args.get(1, &["exponent"]).cloned().unwrap_or(Value::None);
                let flops = self.power(&exponent, at);
                self.ufunc(args, 2, |_| flops, None, out.as_ref())
            }
            Read::Where => match args.values.len() {
                3 => self.elementwise(args.values, Flops::NONE, None, at),
                _ => Err(refuse(at, "how many elements `where` finds depends on data", "Use `np.where(test, a, b)`")),
            },
            Read::Extreme { largest } => {
                let numbers = args.values.iter().filter(|(value, _)| value.is_number()).count();
                if numbers > 1 || (args.values.len() > 1 && numbers != 1) {
                    return self.extreme_of(largest, &args);
                }
                self.reduction(Flops::MIN_MAX, &args)
            }
            Read::Reduction(flops) => self.reduction(flops, &args),
            Read::Running(flops) => {
                let view = self.operand(&args, 0)?;
                let along = match args.get(1, &["axis", "dim"]) {
                    Some(axis) => self.axis(axis, view.dims.len(), at)?,
                    None if view.dims.len() <= 1 => 0,
                    None => return Err(refuse(at, "a running sum over all axes is not read", "Give `axis=`")),
                };
                self.scan(&view, flops, along, at)
            }
            Read::Statistic(statistic) => self.statistic(statistic, &args),
            Read::Product(product) => self.product(product, &args, out),
            Read::Make(make) => self.make(make, &args),
            Read::Move(moved) => self.moving(moved, &args),
            Read::Number => match args.values.len() {
                1 => self.number_as(args.name, args.values.swap_remove(0).0, at),
                _ => Err(refuse(at, format!("`{}` takes one value", args.name), "Give one")),
            },
            Read::Length => {
                let value = args.get(0, &[]).cloned().unwrap_or(Value::None);
                match self.known(value, 1, at)? {
                    Value::Tuple(parts) => Ok(Value::Int(Expr::Const(parts.len() as i64))),
                    other => match shape(&other).and_then(|dims| dims.first().cloned()) {
                        Some(dim) => Ok(Value::Int(dim)),
                        None => Err(refuse(
                            at,
                            format!("the length of {}", other.description()),
                            "Only arrays and tuples have one",
                        )),
                    },
                }
            }
            Read::Size => {
                let view = self.operand(&args, 0)?;
                Ok(Value::Int(match args.get(1, &["axis", "dim"]).cloned() {
                    Some(axis) => {
                        let along = self.axis(&axis, view.dims.len(), at)?;
                        view.dims.get(along).cloned().unwrap_or(Expr::Const(1))
                    }
                    None => self.tidy(&view.dims.into_iter().fold(Expr::Const(1), Expr::times), at)?,
                }))
            }
            Read::Rank => Ok(Value::Int(Expr::Const(self.operand(&args, 0)?.dims.len() as i64))),
            Read::LeftOut => self.unknown(args.name, at),
        }
    }

    /// `float(x)`, `np.int64(x)`, `x.item()`: a number; of an array, a copy as that type.
    fn number_as(&mut self, name: &str, value: Value, at: At) -> Result<Value, Error> {
        match value {
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

    /// A function that works element by element, on at most so many operands, at a cost that their number may decide.
    fn ufunc(
        &mut self,
        args: Args<'a>,
        operands: usize,
        flops: impl FnOnce(usize) -> Flops,
        real: Option<Real>,
        out: Option<&View>,
    ) -> Result<Value, Error> {
        let at = args.at;
        let named = args.names.into_iter().filter_map(|(name, value, at)| {
            const OPERANDS: [&str; 8] = ["min", "max", "a_min", "a_max", "exponent", "x", "input", "other"];
            OPERANDS.contains(&name).then_some((value, at))
        });
        let mut values: Vec<(Value, At)> = args.values.into_iter().chain(named).collect();
        values.truncate(operands);
        // `None` bounds nothing.
        values.retain(|(value, _)| !matches!(value, Value::None | Value::Text(_) | Value::Type(_)));
        if values.is_empty() {
            return Err(refuse(at, format!("`{}` of nothing", args.name), "Give its argument"));
        }
        if let [(a, a_at), (b, b_at)] = values.as_slice() {
            let (a_at, b_at) = (*a_at, *b_at);
            let (a, b) = self.pair(a.clone(), b.clone(), at)?;
            values = vec![(a, a_at), (b, b_at)];
        }
        let flops = flops(values.len());
        match out {
            Some(_) => self.lazy(values, flops, real, at),
            None => self.elementwise(values, flops, real, at),
        }
    }

    /// `min(a, b)` and `max(a, b)` of numbers.
    fn extreme_of(&mut self, largest: bool, args: &Args<'a>) -> Result<Value, Error> {
        let ints: Option<Vec<Expr>> = (args.values.iter())
            .map(|(value, _)| match value {
                Value::Int(expr) => Some(expr.clone()),
                _ => None,
            })
            .collect();
        if let Some(ints) = ints {
            let extreme = ints.into_iter().reduce(|a, b| if largest { a.max(b) } else { a.min(b) });
            return Ok(Value::Int(self.tidy(&extreme.unwrap_or(Expr::Const(0)), args.at)?));
        }
        let times = args.values.len().saturating_sub(1) as u32;
        self.elementwise(args.values.clone(), Flops { min_max: times, ..Flops::NONE }, None, args.at)
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

    /// Adds `element` to what the iteration of a sum does.
    fn summand(&mut self, element: &'a Tree, at: At) -> Result<bool, Error> {
        let value = self.number_of(element)?;
        if !value.is_number() {
            return Err(refuse(at, format!("a sum of {}", value.description()), "Sum numbers"));
        }
        let float = value.is_real();
        self.count(Flops::ADD, float);
        self.work.scalars.reads += 1;
        self.work.scalars.writes += 1;
        self.work.carried = true;
        Ok(float)
    }
}
