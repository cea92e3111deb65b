//! Functions as values, and what calling one does: those of the source and of the library are done where they are
//! called.

use std::collections::BTreeMap;
use std::rc::Rc;

use ruff_python_ast::{Expr as Tree, ExprLambda, Parameters, Stmt, StmtFunctionDef};

use super::args::Args;
use super::defined::{Callable, Function, Scope};
use super::lower::PythonLowering;
use super::registry;
use super::tree::{call_name, last_name, root};
use super::usage::{address, annotated_shape};
use super::value::Value;
use crate::nest::{At, Element};
use crate::source::{Fusion, refuse};
use accel_ground::error::Error;

impl<'a> PythonLowering<'a> {
    /// A callable as a value.
    pub(super) fn function_value(&mut self, callable: Callable<'a>) -> Value {
        self.callables.push(callable);
        Value::Function(self.callables.len() - 1)
    }

    /// What names stand for here, for a function that is defined here; none in the module, whose names all see.
    pub(super) fn capture(&mut self) -> Result<Option<Scope>, Error> {
        if self.frames.len() < 2 {
            return Ok(None);
        }
        let waits = self.fusion() == Fusion::Graph;
        let lazy: Vec<String> = (self.frames.last().into_iter().flat_map(|frame| &frame.names))
            .filter(|(_, value)| matches!(value, Value::Lazy(_)) && !waits)
            .map(|(name, _)| name.clone())
            .collect();
        for name in lazy {
            if let Some(value) = self.lookup(&name) {
                let value = self.materialised(value, &name)?;
                self.bind(&name, value);
            }
        }
        let Some(frame) = self.frames.last() else { return Ok(None) };
        let mut names = frame.captured.as_deref().cloned().unwrap_or_default();
        names.extend(frame.names.iter().map(|(name, value)| (name.clone(), value.clone())));
        Ok(Some(Rc::new(names)))
    }

    /// Calls a value.
    pub(super) fn invoke(&mut self, callee: &Value, args: Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        self.step(at)?;
        let called = match callee {
            Value::Function(number) => self.callables.get(*number).cloned(),
            Value::Object(object) => {
                let method = ["forward", "__call__"].into_iter().find_map(|name| self.method(*object, name));
                return match method {
                    Some(method) => self.unfold(method, args),
                    None => {
                        let problem = format!("{} has no `forward`", self.class_name(*object));
                        Err(refuse(at, problem, "Call one of its methods"))
                    }
                };
            }
            // `self.layers[1:](x)`: a part of `nn.Sequential`.
            Value::Tuple(layers) => {
                let mut args = args;
                for layer in layers {
                    let value = self.invoke(layer, args)?;
                    args = Args { values: vec![(value, at)], ..Args::none("", at) };
                }
                return Ok(args.values.pop().map_or(Value::None, |(value, _)| value));
            }
            _ => None,
        };
        match called {
            Some(Callable::Def(function)) => self.unfold(function, args),
            Some(Callable::Lambda(lambda, captured, library)) => self.lambda(lambda, captured, library, args),
            Some(Callable::Class(class)) => self.instantiate(class, args),
            Some(Callable::Named(name)) => self.function(Args { name, ..args }, None),
            Some(Callable::Partial(inner, mut values, mut names)) => {
                values.extend(args.values);
                names.retain(|(name, ..)| !args.names.iter().any(|(own, ..)| own == name));
                names.extend(args.names);
                self.invoke(&inner, Args { values, names, ..Args::none(args.name, at) })
            }
            Some(Callable::Mapped(inner, axes)) => self.mapped(&inner, &axes, args),
            None => Err(refuse(at, format!("{} is called", callee.description()), "Call a function")),
        }
    }

    /// Unfolds a call: the function's statements are done here, with its parameters standing for the arguments.
    pub(super) fn unfold(&mut self, function: Function<'a>, mut args: Args<'a>) -> Result<Value, Error> {
        let (at, def) = (args.at, function.def);
        let name = def.name.as_str();
        let key = (address(def), function.receiver);
        if !function.library && self.calls.contains(&key) {
            let problem = format!("{name} calls itself: how deep it goes is not known");
            return Err(refuse(at, problem, "Write it as a loop"));
        }
        let outside = self.fusion();
        let compiled = !function.library && outside != Fusion::None && self.is_compiled(def, function.receiver);
        if !function.library && outside != Fusion::Graph {
            let values = args.values.iter_mut().map(|(value, own)| (value, *own));
            for (value, own) in values.chain(args.names.iter_mut().map(|(_, value, own)| (value, *own))) {
                *value = self.passed(std::mem::replace(value, Value::None), own)?;
            }
        }
        self.accept(&function)?;
        if !function.library && outside != Fusion::Graph {
            self.materialise_all()?;
        }
        let here = self.work.at;
        self.flush();
        let whole = function.decorated("one_pass").is_some();
        self.enter(Some(def))?;
        if let Some(frame) = self.frames.last_mut() {
            frame.captured = function.captured.clone();
            frame.library = function.library.then_some(at);
            frame.fusion = match outside {
                _ if compiled => Some(Fusion::Graph),
                Fusion::Graph => Some(outside),
                _ => whole.then_some(Fusion::Function),
            };
        }
        if compiled && outside != Fusion::Graph {
            self.state_compiled(def);
        }
        let along = function.decorated("fused").filter(|_| outside != Fusion::None && !whole);
        self.calls.push(key);
        let done = self.bound(&function, args).and_then(|()| {
            self.deeper(at, 3, |own| match along {
                Some(along) => own.by_rows(def, along, at),
                None => own.block(&def.body).map(|(_, value)| value),
            })
        });
        self.flush();
        self.calls.pop();
        self.frames.pop();
        self.work.at = here;
        let value = done?;
        let stored = (whole && outside == Fusion::None) || (compiled && outside != Fusion::Graph);
        if stored { self.materialised(value, "result") } else { Ok(value) }
    }

    /// Whether a compiler of graphs is given the function, where it is defined or elsewhere.
    pub(super) fn is_compiled(&self, def: &'a StmtFunctionDef, receiver: Option<usize>) -> bool {
        let by_decorator = def.decorator_list.iter().any(|decorator| match &decorator.expression {
            // `@partial(jax.jit, static_argnums=0)`, `@torch.compile(dynamic=True)`
            Tree::Call(call) if call_name(call) == Some("partial") => {
                call.arguments.args.first().is_some_and(|first| self.compiles(first))
            }
            Tree::Call(call) => self.compiles(&call.func),
            other => self.compiles(other),
        });
        by_decorator || self.compiled.contains(&(address(def), receiver))
    }

    /// Whether `expr` names a compiler of graphs. Numba's `jit` is none: it compiles loops.
    pub(super) fn compiles(&self, expr: &Tree) -> bool {
        let named = |name: &str| COMPILERS.contains(&name);
        match expr {
            Tree::Name(name) => {
                let (own, module) = (name.id.as_str(), self.modules.get(name.id.as_str()));
                named(self.imports.get(own).copied().unwrap_or(own)) && module.is_some_and(|module| !is_numba(module))
            }
            Tree::Attribute(attribute) => {
                let module = root(expr).map(|name| self.modules.get(name).copied().unwrap_or(name));
                named(attribute.attr.as_str()) && module.is_some_and(|module| !is_numba(module))
            }
            _ => false,
        }
    }

    /// Says that a compiler of graphs is given the function.
    pub(super) fn state_compiled(&mut self, def: &'a StmtFunctionDef) {
        let at = self.at(def);
        self.assume(
            at,
            format!(
                "{} is compiled as a whole: element-wise operations are done in the pass that needs them, in each of \
                 several, and nothing is stored in between",
                def.name
            ),
        );
    }

    /// Gives a function or an object to a compiler of graphs; Numba, where it is used, is none.
    pub(super) fn compile(&mut self, value: &Value) {
        if self.modules.values().any(|module| is_numba(module)) {
            return;
        }
        let found = match value {
            Value::Function(number) => match self.callables.get(*number) {
                Some(Callable::Def(function)) => Some((function.def, function.receiver)),
                _ => None,
            },
            Value::Object(object) => ["forward", "__call__"]
                .into_iter()
                .find_map(|name| self.method(*object, name))
                .map(|method| (method.def, method.receiver)),
            _ => None,
        };
        self.compiled.extend(found.map(|(def, receiver)| (address(def), receiver)));
    }

    /// Binds the parameters of the function just entered.
    fn bound(&mut self, function: &Function<'a>, args: Args<'a>) -> Result<(), Error> {
        let name = function.def.name.as_str();
        let values = self.parameters(name, &function.def.parameters, function.receiver, function.library, args)?;
        for (name, value) in values {
            self.bind(name, value);
        }
        Ok(())
    }

    /// What the parameters of `name` stand for, defaults among them.
    fn parameters(
        &mut self,
        name: &str,
        parameters: &'a Parameters,
        receiver: Option<usize>,
        library: bool,
        args: Args<'a>,
    ) -> Result<Vec<(&'a str, Value)>, Error> {
        let at = args.at;
        let mut given: BTreeMap<&str, Value> = BTreeMap::new();
        let mut values: Vec<(Value, At)> = args.values;
        if let Some(object) = receiver {
            values.insert(0, (Value::Object(object), at));
        }
        let all: Vec<_> = parameters.iter_non_variadic_params().collect();
        let placed = parameters.posonlyargs.len() + parameters.args.len();
        let more = if values.len() > placed { values.split_off(placed) } else { Vec::new() };
        match (&parameters.vararg, more.first()) {
            (Some(parameter), _) => {
                let rest = more.into_iter().map(|(value, _)| value).collect();
                given.insert(parameter.name.as_str(), Value::Tuple(rest));
            }
            (None, Some((_, at))) => {
                let expected = placed - usize::from(receiver.is_some());
                return Err(refuse(*at, format!("{name} takes {expected} arguments"), "Give as many"));
            }
            (None, None) => {}
        }
        for (parameter, (value, _)) in all.iter().zip(values) {
            given.insert(parameter.name().as_str(), value);
        }
        let mut options = Vec::new();
        for (own, value, place) in args.names {
            let same = |other: &str| other == own || (library && registry::same_parameter(own, other));
            let known = all.iter().map(|parameter| parameter.name().as_str()).find(|other| same(other));
            match known {
                Some(known) if !given.contains_key(known) => {
                    given.insert(known, value);
                }
                None if parameters.kwarg.is_some() => options.push((own.to_owned(), value)),
                None if library && registry::changes_no_cost(own) => {}
                _ => {
                    let problem = if known.is_some() { "is given twice" } else { "is no parameter" };
                    return Err(refuse(place, format!("{own} {problem} of {name}"), "Give each parameter once"));
                }
            }
        }
        if let Some(parameter) = &parameters.kwarg {
            let object = self.dictionary(options);
            given.insert(parameter.name.as_str(), object);
        }
        let mut bound: Vec<(&str, Value)> = Vec::new();
        for parameter in all {
            let own = parameter.name().as_str();
            let value = match (given.remove(own), parameter.default()) {
                (Some(value), _) => self.expected(value, own, parameter.annotation(), library, at)?,
                (None, Some(default)) => self.eval(default)?,
                (None, None) => return Err(refuse(at, format!("{name} needs {own}"), "Give the argument")),
            };
            bound.push((own, value));
        }
        bound.extend(given.into_iter().map(|(name, value)| (own_name(parameters, name), value)));
        Ok(bound)
    }

    /// An argument as the library wants it: an array of as many axes as its annotation has, in memory where it is read
    /// more than once.
    fn expected(
        &mut self,
        value: Value,
        name: &str,
        annotation: Option<&'a Tree>,
        library: bool,
        at: At,
    ) -> Result<Value, Error> {
        if !library {
            return Ok(value);
        }
        let value = match (value, annotated_shape(annotation)) {
            (Value::Unknown(argument), Some((element, rank))) if !self.resolved.contains_key(&argument) => {
                let whole = element.is_some_and(|element| !element.is_float());
                Value::View(self.array_as(&argument, rank, whole.then_some(Element::I64), at)?)
            }
            (value, _) => value,
        };
        let once = self.frames.last().and_then(|frame| frame.usage.names.get(name)).is_none_or(|found| found.reads < 2);
        match value {
            Value::Lazy(lazy) if !once && self.fusion() != Fusion::Graph => {
                Ok(Value::View(self.materialise(*lazy, "element-wise")?))
            }
            value => Ok(value),
        }
    }

    /// An argument of a function of the source: arrays in memory, numbers loaded.
    fn passed(&mut self, value: Value, at: At) -> Result<Value, Error> {
        match value {
            Value::Lazy(lazy) => Ok(Value::View(self.materialise(*lazy, "argument")?)),
            Value::View(view) if view.dims.is_empty() => Ok(self.load(&view, at)),
            other => Ok(other),
        }
    }

    fn lambda(
        &mut self,
        lambda: &'a ExprLambda,
        captured: Option<Scope>,
        library: Option<At>,
        args: Args<'a>,
    ) -> Result<Value, Error> {
        let at = args.at;
        self.flush();
        self.enter(None)?;
        if let Some(frame) = self.frames.last_mut() {
            (frame.captured, frame.library, frame.usage) = (captured, library, Rc::default());
        }
        let bound = match lambda.parameters.as_deref() {
            Some(parameters) => self.parameters("lambda", parameters, None, library.is_some(), args),
            None => Ok(Vec::new()),
        };
        let value = bound.and_then(|bound| {
            bound.into_iter().for_each(|(name, value)| self.bind(name, value));
            self.deeper(at, 2, |own| own.eval(&lambda.body))
        });
        self.frames.pop();
        value
    }

    /// Whether a function is one that can be read: not `async`, with known decorators.
    pub(super) fn accept(&mut self, function: &Function<'a>) -> Result<(), Error> {
        let def = function.def;
        if function.library {
            return Ok(());
        }
        if def.is_async {
            return self.refuse(def, "`async` is not read", "Write a plain function");
        }
        for decorator in &def.decorator_list {
            let name = match &decorator.expression {
                // `@partial(jax.jit, static_argnums=0)`
                Tree::Call(call) if call_name(call) == Some("partial") => {
                    call.arguments.args.first().and_then(|first| last_name(first))
                }
                Tree::Call(call) => call_name(call),
                other => last_name(other),
            };
            let at = self.at(decorator);
            match name {
                Some("staticmethod" | "classmethod" | "property" | "cached_property" | "override") => {}
                // What a compiler of graphs makes of it is said where it is entered.
                Some(_) if self.source.fusion != Fusion::None && self.is_compiled(def, None) => {}
                Some(name) if KEPT.contains(&name) => self.assume(at, format!("@{name} changes nothing here")),
                Some(name @ ("grid" | "cuda")) => {
                    let problem = format!("@{name} makes a kernel of a grid that the source does not give");
                    return Err(refuse(at, problem, "Write the grid as a loop"));
                }
                _ => return self.refuse(decorator, "what this decorator does is not known", "Leave it out"),
            }
        }
        Ok(())
    }

    /// A function that the source defines inside another, or a method without its object.
    pub(super) fn defined(&mut self, def: &'a StmtFunctionDef) -> Result<Value, Error> {
        let captured = self.capture()?;
        let library = self.in_library();
        Ok(self.function_value(Callable::Def(Function { captured, ..Function::new(def, library) })))
    }
}

/// What gives a function to a compiler of graphs: XLA or Inductor.
const COMPILERS: [&str; 4] = ["jit", "pjit", "filter_jit", "compile"];

/// Decorators that change no counts.
const KEPT: [&str; 21] = [
    "compact",
    "remat",
    "nowrap",
    "njit",
    "jit",
    "vectorize",
    "guvectorize",
    "compile",
    "no_grad",
    "inference_mode",
    "script",
    "export",
    "ignore",
    "unused",
    "checkpoint",
    "wraps",
    "autocast",
    "typed",
    "jaxtyped",
    "typechecked",
    "beartype",
];

/// Whether a module is Numba, or what people call it.
fn is_numba(module: &str) -> bool {
    ["numba", "nb"].contains(&module) || module.starts_with("numba.")
}

/// The name of the parameter, as long as the tree lives.
fn own_name<'a>(parameters: &'a Parameters, name: &str) -> &'a str {
    let variadic = [&parameters.vararg, &parameters.kwarg];
    variadic.into_iter().flatten().map(|parameter| parameter.name.as_str()).find(|own| *own == name).unwrap_or("")
}

/// The function that a statement defines.
pub(super) fn definition(stmt: &Stmt) -> Option<&StmtFunctionDef> {
    stmt.as_function_def_stmt()
}
