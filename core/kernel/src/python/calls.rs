//! Calls: of the source's own functions and classes, of Python's, and of those of `math`, NumPy and its relatives.

use std::collections::BTreeMap;

use ruff_python_ast::{Expr as Tree, ExprAttribute, ExprCall, Operator};

use super::args::Args;
use super::array::shape;
use super::defined::{Callable, Class, Function};
use super::lower::{Launched, PythonLowering};
use super::registry::{self, Read};
use super::tree::{clip, root};
use super::usage::MODULES;
use super::value::{Real, Value, View};
use crate::expr::Expr;
use crate::functions::Yields;
use crate::nest::{At, Element, Flops};
use crate::source::refuse;
use accel_ground::error::Error;

/// What is called.
enum Callee<'a> {
    /// A value of the source.
    Value(Value),
    /// A function of the source, or of a class.
    Own(Function<'a>),
    /// A function of a library by its last name: its module or, for a method, what it is a method of.
    Named { name: &'a str, module: Option<&'a str>, receiver: Option<(Value, At)> },
}

impl<'a> PythonLowering<'a> {
    /// `a.shape`, `np.pi`, `self.weight`.
    pub(super) fn attribute(&mut self, attribute: &'a ExprAttribute) -> Result<Value, Error> {
        let at = self.at(attribute);
        let name = attribute.attr.as_str();
        if root(&attribute.value).is_some_and(|root| self.is_module(root)) {
            return Ok(match name {
                "pi" | "e" | "inf" | "nan" | "tau" => Value::Literal(1.0),
                "newaxis" => Value::None,
                name if MODULES.contains(&name) => self.function_value(Callable::Named(name)),
                name => match (Element::named(name.trim_end_matches('_')), registry::find(name)) {
                    (Some(element), _) => Value::Type(element),
                    (None, Some(Read::Class(def))) => {
                        self.function_value(Callable::Class(Class { def, library: true }))
                    }
                    (None, Some(_)) => self.function_value(Callable::Named(name)),
                    // What conditions ask: is there a graphics card, which type is this?
                    (None, None) if ["Tensor", "ndarray", "Module", "device"].contains(&name) => {
                        self.function_value(Callable::Named(name))
                    }
                    (None, None) => return self.unknown(name, at),
                },
            });
        }
        let value = match self.eval(&attribute.value)? {
            Value::Object(object) => return self.object_attribute(object, attribute),
            Value::Function(number) => return self.of_class(number, attribute),
            Value::Unknown(argument) if !self.resolved.contains_key(&argument) && !of_arrays(name) => {
                return self.unknown_field(&argument, name, at);
            }
            Value::Unknown(argument) => match self.resolved.get(&argument) {
                Some(Value::Object(object)) => {
                    let object = *object;
                    return self.object_attribute(object, attribute);
                }
                _ => Value::Unknown(argument),
            },
            // `x.device.type`
            Value::Text(device) if matches!(name, "type" | "index") => return Ok(Value::Text(device)),
            // What `max` and `sort` give along an axis.
            Value::Tuple(parts) if matches!(name, "values" | "indices") => {
                return Ok(parts.get(usize::from(name == "indices")).cloned().unwrap_or(Value::None));
            }
            value => value,
        };
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
            "T" => self.transposed(value, at),
            "mT" => {
                let view = self.view(value, 2, at)?;
                let rank = view.dims.len();
                let mut order: Vec<usize> = (0..rank).collect();
                order.swap(rank.saturating_sub(2), rank.saturating_sub(1));
                Ok(Value::View(view.permuted(&order)))
            }
            "real" | "data" | "values" => Ok(value),
            "device" => Ok(Value::Text("cuda".to_owned())),
            "grad" | "requires_grad" => Ok(Value::None),
            "is_cuda" => Ok(Value::Bool(true)),
            _ => self.unknown(name, at),
        }
    }

    /// What a class says a name stands for.
    fn of_class(&mut self, number: usize, attribute: &'a ExprAttribute) -> Result<Value, Error> {
        let name = attribute.attr.as_str();
        if let Some(Callable::Class(class)) = self.callables.get(number).cloned()
            && let Some(value) = self.class_attribute(class, name)?
        {
            return Ok(value);
        }
        if name == "__name__" {
            return Ok(Value::Text(String::new()));
        }
        self.refuse(attribute, format!("`.{name}` of a function"), "Call it")
    }

    /// Whether a name is a module, not a value.
    pub(super) fn is_module(&self, name: &str) -> bool {
        let imported = self.imports.contains_key(name) && !self.classes.contains_key(name);
        self.lookup(name).is_none() && (MODULES.contains(&name) || imported || self.modules.contains_key(name))
    }

    /// The module that a name stands for, as most people call it: `torch` for `th`.
    fn module_of(&self, expr: &'a Tree) -> Option<&'a str> {
        let own = root(expr)?;
        let real = || self.modules.get(own).map(|module| module.split('.').next().unwrap_or(module));
        if MODULES.contains(&own) { Some(own) } else { real().or(Some(own)) }
    }

    /// Refuses a function that is not read, naming those nearest to it.
    fn unknown<T>(&self, name: &str, at: At) -> Result<T, Error> {
        if matches!(name, "grad" | "value_and_grad" | "vjp" | "jvp" | "jacrev" | "jacfwd") {
            let problem = format!("gradients that the source asks for with `{name}` are not read");
            return Err(refuse(at, problem, "Look at the function itself, and ask for its gradients: --backward"));
        }
        let near = registry::nearest(name).join(", ");
        let problem = format!("what `{}` costs is not known", clip(name));
        Err(refuse(at, problem, format!("Known names nearest to it are {near}; or write it out")))
    }

    /// What a call stands for; what it does is written down.
    pub(super) fn call(&mut self, call: &'a ExprCall) -> Result<Value, Error> {
        let at = self.at(call);
        self.step(at)?;
        if let Some(value) = self.form(call, at)? {
            return Ok(value);
        }
        let callee = self.callee(call)?;
        let mut args = Args::none("", at);
        if let Callee::Named { name, module, receiver } = &callee {
            if matches!((registry::find(name), receiver), (Some(Read::LeftOut), None)) {
                self.assume(at, format!("`{name}` is left out"));
                return Ok(Value::None);
            }
            args = Args { module: *module, ..Args::none(name, at) };
            args.values.extend(receiver.clone());
        }
        self.arguments(call, &mut args)?;
        match callee {
            Callee::Value(value) => self.invoke(&value, args),
            Callee::Own(function) => self.unfold(function, args),
            Callee::Named { receiver, .. } => self.library_call(args, receiver.is_some()),
        }
    }

    /// Forms that are no calls like others: `super().__init__()`, `list.append(x)`, `x.at[i].set(y)`.
    fn form(&mut self, call: &'a ExprCall, at: At) -> Result<Option<Value>, Error> {
        if let Some(value) = self.changed_list(call)? {
            return Ok(Some(value));
        }
        match &*call.func {
            Tree::Name(name) if name.id.as_str() == "sum" && self.lookup("sum").is_none() => {
                match call.arguments.args.as_ref() {
                    [Tree::Generator(generator)] => self.sum_of(generator).map(Some),
                    _ => Ok(None),
                }
            }
            Tree::Subscript(subscript) if self.launches(&subscript.value) => {
                let mut args = Args::none("", at);
                self.arguments(call, &mut args)?;
                let grid = self.eval(&subscript.slice)?;
                let values = args.values.into_iter().map(|(value, _)| value).collect();
                let names = args.names.into_iter().map(|(name, value, _)| (name, value)).collect();
                self.launch = self.launch.take().or(Some(Launched { grid, values, names }));
                Ok(Some(Value::None))
            }
            Tree::Name(name) if name.id.as_str() == "range" => match self.settles() {
                true => self.range_items(call).map(Some),
                false => self.refuse(call, "a range used as a value", "Loop over it"),
            },
            Tree::Attribute(attribute) => match &*attribute.value {
                Tree::Subscript(subscript) if self.is_at(subscript) => {
                    self.updated(call, attribute, subscript).map(Some)
                }
                Tree::Call(inner) if matches!(&*inner.func, Tree::Name(name) if name.id.as_str() == "super") => {
                    let function = self.of_super(call)?;
                    let mut args = Args::none("super", at);
                    self.arguments(call, &mut args)?;
                    match function {
                        Some(function) => self.unfold(function, args).map(Some),
                        // What `nn.Module` and `object` do when they are made costs nothing.
                        None if self.building > 0 => Ok(Some(Value::None)),
                        None => self.unknown(attribute.attr.as_str(), at),
                    }
                }
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// The class of a library that `nn.Linear` names.
    pub(super) fn class_in(&self, expr: &'a Tree) -> Option<Class<'a>> {
        let module = root(expr).is_some_and(|root| self.is_module(root));
        match super::tree::last_name(expr).filter(|_| module).and_then(registry::find) {
            Some(Read::Class(def)) => Some(Class { def, library: true }),
            _ => None,
        }
    }

    /// Whether `expr` names the kernel whose launch is looked for.
    fn launches(&self, expr: &Tree) -> bool {
        self.kernel.is_some_and(|kernel| super::tree::last_name(expr) == Some(kernel.name.as_str()))
    }

    fn callee(&mut self, call: &'a ExprCall) -> Result<Callee<'a>, Error> {
        match &*call.func {
            Tree::Name(name) => {
                let own = name.id.as_str();
                match self.lookup(own) {
                    Some(value @ (Value::Function(_) | Value::Object(_) | Value::Tuple(_))) => {
                        return Ok(Callee::Value(value));
                    }
                    Some(Value::Type(element)) => {
                        return Ok(Callee::Named { name: element.name(), module: None, receiver: None });
                    }
                    _ => {}
                }
                if let Some(function) = self.functions.get(own).copied().filter(|_| !self.in_library()) {
                    return Ok(Callee::Own(Function::new(function, false)));
                }
                if let Some(class) = self.class_named(own).filter(|class| !class.library) {
                    return Ok(Callee::Value(self.function_value(Callable::Class(class))));
                }
                Ok(Callee::Named { name: self.imports.get(own).copied().unwrap_or(own), module: None, receiver: None })
            }
            // `nn.Linear.__init__(self, 4, 8)`
            Tree::Attribute(attribute)
                if attribute.value.is_attribute_expr() && self.class_in(&attribute.value).is_some() =>
            {
                match self.class_in(&attribute.value).and_then(|class| self.method_of(class, attribute.attr.as_str())) {
                    Some(method) => Ok(Callee::Own(method)),
                    None => self.unknown(attribute.attr.as_str(), self.at(attribute)),
                }
            }
            Tree::Attribute(attribute) => {
                let name = operator_name(attribute).unwrap_or(attribute.attr.as_str());
                if root(&attribute.value).is_some_and(|root| self.is_module(root)) {
                    return Ok(Callee::Named { name, module: self.module_of(&attribute.value), receiver: None });
                }
                let at = self.at(&*attribute.value);
                let mut value = self.eval(&attribute.value)?;
                if let Value::Unknown(argument) = &value
                    && let Some(known) = self.resolved.get(argument)
                {
                    value = known.clone();
                }
                match value {
                    Value::Object(object) => match self.field(object, name)? {
                        Some(value) => Ok(Callee::Value(value)),
                        None => Ok(Callee::Named { name, module: None, receiver: Some((Value::Object(object), at)) }),
                    },
                    Value::Function(number) => Ok(Callee::Value(self.of_class(number, attribute)?)),
                    value => Ok(Callee::Named { name, module: None, receiver: Some((value, at)) }),
                }
            }
            other => match self.eval(other)? {
                value @ (Value::Function(_) | Value::Object(_) | Value::Tuple(_)) => Ok(Callee::Value(value)),
                _ => self.refuse(other, "only functions with names are called", "Write `f(x)` or `np.f(x)`"),
            },
        }
    }

    /// Evaluates the arguments of a call.
    pub(super) fn arguments(&mut self, call: &'a ExprCall, args: &mut Args<'a>) -> Result<(), Error> {
        for arg in &call.arguments.args {
            let own = self.at(arg);
            match arg {
                Tree::Starred(starred) => {
                    let value = self.eval(&starred.value)?;
                    match self.items_of(&value) {
                        Some(parts) => args.values.extend(parts.into_iter().map(|part| (part, own))),
                        None => {
                            let problem = format!("`*` of {}", value.description());
                            return self.refuse(arg, problem, "Write the arguments out");
                        }
                    }
                }
                arg => args.values.push((self.eval(arg)?, own)),
            }
        }
        for keyword in &call.arguments.keywords {
            let place = self.at(keyword);
            let value = self.eval(&keyword.value)?;
            match (&keyword.arg, value) {
                (Some(own), value) => args.names.push((own.as_str(), value, place)),
                (None, Value::Object(object)) => {
                    let fields = self.objects.get(object).map(|own| own.fields.clone()).unwrap_or_default();
                    for (name, value) in fields {
                        args.names.push((self.interned(&name), value, place));
                    }
                }
                (None, _) => return self.refuse(keyword, "`**` of arguments is not read", "Write the arguments out"),
            }
        }
        Ok(())
    }

    /// A name of the source by its text; one that does not stand there is no parameter of any function.
    fn interned(&self, name: &str) -> &'a str {
        let code = self.source.code;
        code.find(name).and_then(|at| code.get(at..at + name.len())).unwrap_or("")
    }

    /// A function of a library by name; a method of what stands first in `args`.
    fn library_call(&mut self, mut args: Args<'a>, method: bool) -> Result<Value, Error> {
        let at = args.at;
        if let (true, Some((Value::Object(object), _))) = (method, args.values.first().cloned()) {
            args.values.remove(0);
            return match self.module_method(object, args.name, &args)? {
                Some(value) => Ok(value),
                None => self.unknown(args.name, at),
            };
        }
        // `x.add_(y)` stores what `x.add(y)` makes in `x`.
        if let (true, None, Some(name)) = (method, registry::find(args.name), args.name.strip_suffix('_')) {
            let first = args.values.first().cloned().map_or(Value::None, |(value, _)| value);
            let view = self.view(first, 2, at)?;
            let value = self.function(Args { name, ..args }, Some(view.clone()))?;
            if value != Value::View(view.clone()) {
                self.store(&view, value, at)?;
            }
            return Ok(Value::View(view));
        }
        let out = match args.names.iter().find(|(name, ..)| *name == "out").map(|(_, value, _)| value.clone()) {
            Some(value) => match self.known(value, 2, at)? {
                Value::View(view) => Some(view),
                _ => None,
            },
            None => None,
        };
        if !self.in_library() && args.name.starts_with('_') {
            return self.unknown(args.name, at);
        }
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
    pub(super) fn function(&mut self, mut args: Args<'a>, out: Option<View>) -> Result<Value, Error> {
        let at = args.at;
        if Self::is_einops(&args) {
            return self.einops(&args);
        }
        let Some(read) = registry::find(args.name) else { return self.unknown(args.name, at) };
        match read {
            Read::Elementwise(function) => {
                if let ("abs", [(Value::Int(expr), _)]) = (args.name, args.values.as_slice()) {
                    return Ok(Value::Int(self.tidy(&expr.clone().max(expr.clone().times(-1)), at)?));
                }
                if let Some(value) = self.settled(&args) {
                    return Ok(value);
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
                if let [(Value::Tuple(parts), _)] = args.values.as_slice()
                    && parts.len() > 1
                {
                    args.values = parts.iter().map(|part| (part.clone(), at)).collect();
                }
                let numbers = args.values.iter().filter(|(value, _)| value.is_number()).count();
                if numbers > 1 || (args.values.len() > 1 && numbers != 1) {
                    return self.extreme_of(largest, &args);
                }
                let most = self.reduction(Flops::MIN_MAX, &args)?;
                // PyTorch's gives where they are too.
                let pair = args.names.iter().any(|(name, ..)| *name == "dim") && !self.in_library();
                Ok(if pair { Value::Tuple(vec![most.clone(), most]) } else { most })
            }
            Read::Reduction(flops) => {
                let result = self.reduction(flops, &args)?;
                // Where the largest stands is an integer, whether any holds a truth value.
                let yields = match args.name {
                    "argmax" | "argmin" => Some(Element::I64),
                    "any" | "all" => Some(Element::I8),
                    _ => None,
                };
                if let (Value::View(view), Some(element)) = (&result, yields)
                    && let Some(array) = self.builder.program.arrays.get_mut(view.array).filter(|array| array.temporary)
                {
                    array.element = element;
                }
                Ok(result)
            }
            Read::Running(flops) => {
                let view = self.operand(&args, 0)?;
                let along = match args.get(1, &["axis", "dim"]) {
                    Some(axis) => self.axis(axis, view.dims.len(), at)?,
                    None if view.dims.len() <= 1 => 0,
                    None => return Err(refuse(at, "a running sum over all axes is not read", "Give `axis=`")),
                };
                self.scan(&view, flops, along, at)
            }
            Read::Mean => {
                let sum = self.reduction(Flops::ADD, &args)?;
                self.elementwise(vec![(sum, at)], Flops::DIV, Some(Real::Yes), at)
            }
            Read::Library(def) => self.unfold(Function::new(def, true), args),
            Read::Class(def) => self.instantiate(Class { def, library: true }, args),
            Read::Own(own) => self.own(own, args),
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
            // PyTorch's `x.size()` is the shape.
            Read::Size
                if args.name == "size" && args.module.is_none() && args.values.len() == 1 && args.names.is_empty() =>
            {
                let view = self.operand(&args, 0)?;
                Ok(Value::Tuple(view.dims.into_iter().map(Value::Int).collect()))
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
            Read::Stride => {
                let view = self.operand(&args, 0)?;
                let strides =
                    (0..view.dims.len()).map(|own| self.stride(&view, own, at)).collect::<Result<Vec<_>, _>>()?;
                match args.get(1, &["dim"]).cloned() {
                    Some(along) => {
                        let along = self.axis(&along, view.dims.len(), at)?;
                        Ok(strides.get(along).cloned().unwrap_or(Value::None))
                    }
                    None => Ok(Value::Tuple(strides)),
                }
            }
            Read::Rank => Ok(Value::Int(Expr::Const(self.operand(&args, 0)?.dims.len() as i64))),
            Read::LeftOut => {
                let more = if args.name == "backward" { ": ask for gradients to have them priced" } else { "" };
                self.assume(at, format!("`{}` is left out{more}", args.name));
                Ok(Value::None)
            }
        }
    }

    /// How far elements along an axis of a view lie apart.
    fn stride(&mut self, view: &View, along: usize, at: At) -> Result<Value, Error> {
        let array = self.builder.program.arrays.get(view.array).map(|array| array.dims.clone()).unwrap_or_default();
        let own = view.index.iter().position(|index| *index == super::value::axis(along));
        let (dims, behind) = match own {
            Some(own) => (array, own + 1),
            None => (view.dims.clone(), along + 1),
        };
        let apart = dims.into_iter().skip(behind).fold(Expr::Const(1), Expr::times);
        Ok(Value::Int(self.tidy(&apart, at)?))
    }

    /// `float(x)`, `np.int64(x)`, `x.item()`: a number; of an array, a copy as that type.
    fn number_as(&mut self, name: &str, value: Value, at: At) -> Result<Value, Error> {
        match value {
            Value::Int(expr) if name.starts_with("float") => Ok(match expr {
                Expr::Const(value) => Value::Literal(value as f64),
                _ => Value::Counter(true),
            }),
            Value::Literal(value) if name.starts_with("int") && value.abs() < 1e15 => {
                Ok(Value::Int(Expr::Const(value.trunc() as i64)))
            }
            // `float("-inf")`, `int("8")`
            Value::Text(text) => match text.trim().parse::<f64>() {
                Ok(value) if name.starts_with("float") => Ok(Value::Literal(value)),
                Ok(value) if value.abs() < 1e15 => Ok(Value::Int(Expr::Const(value.trunc() as i64))),
                _ => Err(refuse(at, format!("\"{}\" is no number", clip(&text)), "Give a number")),
            },
            Value::Literal(_) | Value::Counter(_) if name.starts_with("int") => Ok(Value::Counter(false)),
            Value::Scalar(_) if name.starts_with("int") => Ok(Value::Scalar(false)),
            // `x.float()` of such numbers is `x`.
            Value::View(view)
                if Element::named(name) == Some(self.element(&view)) && !name.ends_with(char::is_numeric) =>
            {
                Ok(Value::View(view))
            }
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
        let literals = args.values.iter().all(|(value, _)| matches!(value, Value::Literal(_) | Value::Int(_)));
        let numbers: Option<Vec<f64>> = args.values.iter().map(|(value, _)| self.real_number(value)).collect();
        if let (true, Some(numbers)) = (literals && self.settles(), numbers) {
            let extreme = numbers.into_iter().reduce(|a, b| if largest { a.max(b) } else { a.min(b) });
            return Ok(Value::Literal(extreme.unwrap_or_default()));
        }
        let times = args.values.len().saturating_sub(1) as u32;
        self.elementwise(args.values.clone(), Flops { min_max: times, ..Flops::NONE }, None, args.at)
    }

    /// `sum(a[i] * b[i] for i in range(n))`.
    fn sum_of(&mut self, generator: &'a ruff_python_ast::ExprGenerator) -> Result<Value, Error> {
        let at = self.at(generator);
        let cure = "Write a loop";
        let Some(only) = generator.generators.first() else {
            return self.refuse(generator, "this comprehension is not read", cure);
        };
        let plain = generator.generators.len() == 1 && only.ifs.is_empty();
        let mut float = false;
        let iter = self.iter(&only.iter)?;
        if Self::unrolls(&iter) || !plain {
            let items = self.items_made(&generator.elt, &generator.generators, at)?;
            let mut parts = self.items_of(&items).unwrap_or_default().into_iter();
            let mut total = parts.next().unwrap_or(Value::Int(Expr::Const(0)));
            for part in parts {
                total = self.arithmetic(Operator::Add, (total, at), (part, at), at)?;
            }
            return Ok(total);
        }
        self.over(&only.target, iter, &BTreeMap::new(), at, |own| {
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

/// The operator of `torch.ops.aten.mm.default`, as graphs of `torch.export` name it.
fn operator_name(attribute: &ExprAttribute) -> Option<&str> {
    let Tree::Attribute(operator) = &*attribute.value else { return None };
    let of_aten = matches!(&*operator.value, Tree::Attribute(aten) if aten.attr.as_str() == "aten");
    let of_aten = of_aten || matches!(&*operator.value, Tree::Name(aten) if aten.id.as_str() == "aten");
    of_aten.then(|| match operator.attr.as_str() {
        "_softmax" => "softmax",
        "_log_softmax" => "log_softmax",
        "_unsafe_view" | "_reshape_alias" => "view",
        "_to_copy" => "to",
        "_assert_tensor_metadata" => "_assert",
        "scaled_dot_product_attention" | "_scaled_dot_product_flash_attention_for_cpu" => {
            "scaled_dot_product_attention"
        }
        name => name,
    })
}

/// What arrays have, and configurations have not.
fn of_arrays(name: &str) -> bool {
    const NAMES: [&str; 13] = [
        "shape",
        "ndim",
        "size",
        "dtype",
        "T",
        "mT",
        "real",
        "data",
        "device",
        "values",
        "grad",
        "is_cuda",
        "requires_grad",
    ];
    NAMES.contains(&name)
}
