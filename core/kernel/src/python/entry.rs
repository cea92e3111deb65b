//! What of a source is looked at: a function, a method of a class, or the statements of the module; and what the
//! statements outside say about its arguments.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{Expr, ExprCall, ModModule, Stmt, StmtAnnAssign, StmtClassDef, StmtFunctionDef};
use ruff_text_size::Ranged;

use super::args::Args;
use super::callable::definition;
use super::defined::{Callable, Class, Classes, Function};
use super::lower::{Launched, PythonLowering, Reading};
use super::object::is_data;
use super::registry::{self, Read};
use super::tree::{assigned, call_name, integer};
use super::usage::{Functions, address};
use super::value::Value;
use crate::nest::At;
use crate::source::{Fusion, refuse};
use accel_ground::error::Error;

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry<'a> {
    /// The statements of the module: there are no functions.
    Module,
    /// A function.
    Function(&'a StmtFunctionDef),
    /// A method of a class, for which an object is made.
    Method(&'a StmtClassDef, &'a StmtFunctionDef),
    /// What the module makes and calls: `model = Net()`, `model(x)`.
    Made(&'a str),
}

impl Entry<'_> {
    /// Its name: `f`, `Net.forward`.
    pub(super) fn name(self) -> Option<String> {
        match self {
            Self::Module => None,
            Self::Function(function) => Some(function.name.to_string()),
            Self::Method(class, method) => Some(format!("{}.{}", class.name, method.name)),
            Self::Made(name) => Some(name.to_owned()),
        }
    }
}

/// The method that calling an object runs, or its only one.
fn main_method(class: &StmtClassDef) -> Option<&StmtFunctionDef> {
    let mut methods = class.body.iter().filter_map(definition);
    let named = |name: &str| class.body.iter().filter_map(definition).rfind(|method| method.name.as_str() == name);
    let plain = |method: &&StmtFunctionDef| !method.name.as_str().starts_with('_');
    named("forward").or_else(|| named("__call__")).or_else(|| {
        let only = methods.find(plain)?;
        methods.find(plain).is_none().then_some(only)
    })
}

/// What to look at: what is asked for, or the only function or class that nothing else uses.
pub(super) fn entry<'a>(reading: &Reading<'a>, module: &'a ModModule) -> Result<Entry<'a>, Error> {
    let methods: BTreeMap<&str, (&StmtClassDef, &StmtFunctionDef)> = (reading.classes.iter())
        .filter(|(_, class)| !is_data(class))
        .filter_map(|(name, class)| Some((*name, (*class, main_method(class)?))))
        .collect();
    let of = |name: &str| match (reading.functions.get(name), methods.get(name)) {
        (Some(function), _) => Some(Entry::Function(function)),
        (None, Some((class, method))) => Some(Entry::Method(class, method)),
        (None, None) => None,
    };
    let all: Vec<&str> = reading.functions.keys().chain(methods.keys()).copied().collect();
    let names = || all.iter().copied().take(20).collect::<Vec<_>>().join(", ");
    if let Some(name) = reading.source.function {
        let method = name.split_once('.').and_then(|(class, method)| {
            let class = reading.classes.get(class)?;
            let method = class.body.iter().filter_map(definition).rfind(|own| own.name.as_str() == method)?;
            Some(Entry::Method(class, method))
        });
        let problem =
            if all.is_empty() { "the source has no functions".to_owned() } else { format!("it has {}", names()) };
        let made = made_and_called(&reading.functions, &reading.classes, module);
        let made = made.into_iter().find(|own| *own == name).map(Entry::Made);
        return of(name)
            .or(method)
            .or(made)
            .ok_or_else(|| Error::field("function", name, problem, "Name one of the source's functions"));
    }
    if let Some(name) = made_and_called(&reading.functions, &reading.classes, module).last() {
        return Ok(Entry::Made(name));
    }
    let idle = |stmt: &Stmt| matches!(stmt, Stmt::ClassDef(_) | Stmt::Import(_) | Stmt::ImportFrom(_));
    if all.is_empty()
        && module.body.iter().all(idle)
        && let Some(class) = reading.classes.values().next()
    {
        let at = reading.lines.at(class.start().to_usize());
        let problem = format!("the class {} has no `forward`", class.name);
        return Err(refuse(at, problem, "Give a function, or the class that uses it"));
    }
    let mut used = Names::default();
    for (name, function) in &reading.functions {
        used.own = name;
        used.visit_body(&function.body);
    }
    for (name, class) in &reading.classes {
        used.own = name;
        used.visit_stmt_of(class);
    }
    let free: Vec<&str> = all.iter().filter(|name| !used.names.contains(**name)).copied().collect();
    let called = outside_calls(module);
    let mut run: Vec<&str> = free.iter().filter(|name| called.contains(**name)).copied().collect();
    if run.len() > 1 {
        // `forward(init(sizes), x)`: what only makes the arguments of another is not what is looked at.
        let statements: Vec<&Stmt> = outside(&module.body).collect();
        let makes = |name: &str| run.iter().any(|other| *other != name && serves(&statements, name, of(other)));
        let last: Vec<&str> = run.iter().filter(|name| !makes(name)).copied().collect();
        if let [only] = last.as_slice() {
            run = vec![*only];
        }
    }
    match (free.as_slice(), run.as_slice(), all.len()) {
        ([only], ..) | (_, [only], _) => Ok(of(only).unwrap_or(Entry::Module)),
        (_, _, 0) => Ok(Entry::Module),
        (several, ..) => {
            let place = |name: &str| match of(name) {
                Some(Entry::Function(function)) => function.start().to_usize(),
                Some(Entry::Method(class, _)) => class.start().to_usize(),
                _ => 0,
            };
            let mut places: Vec<usize> = several.iter().map(|name| place(name)).collect();
            places.sort_unstable();
            let second = places.get(1).copied().unwrap_or_else(|| all.first().map_or(0, |name| place(name)));
            let which = match (several.is_empty(), methods.is_empty()) {
                (true, true) => "every function is called by another".to_owned(),
                (true, false) => "every function and every class is used by another".to_owned(),
                (false, true) => "no other function calls several of these".to_owned(),
                (false, false) => "nothing else uses several of these".to_owned(),
            };
            let listed = if several.is_empty() {
                names()
            } else {
                several.iter().copied().take(20).collect::<Vec<_>>().join(", ")
            };
            let listed = if methods.is_empty() { names() } else { listed };
            let cure = "Say which function to look at, such as --function NAME on the command line";
            Err(refuse(reading.lines.at(second), format!("{which}: {listed}"), cure))
        }
    }
}

/// Names that functions and classes use, but for their own.
#[derive(Default)]
struct Names<'a> {
    own: &'a str,
    names: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    fn visit_stmt_of(&mut self, class: &'a StmtClassDef) {
        class.arguments.iter().flat_map(|arguments| arguments.args.iter()).for_each(|base| self.visit_expr(base));
        self.visit_body(&class.body);
    }
}

impl<'a> Visitor<'a> for Names<'a> {
    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(name) if name.id.as_str() != self.own && name.ctx.is_load() => {
                self.names.insert(name.id.as_str());
            }
            _ => {}
        }
        walk_expr(self, expr);
    }
}

/// Calls in the statements outside functions and classes.
#[derive(Default)]
struct Calls<'a>(Vec<&'a ExprCall>);

impl<'a> Visitor<'a> for Calls<'a> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        if !matches!(stmt, Stmt::FunctionDef(_) | Stmt::ClassDef(_)) {
            ruff_python_ast::visitor::walk_stmt(self, stmt);
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Call(call) = expr {
            self.0.push(call);
        }
        walk_expr(self, expr);
    }
}

/// What the statements outside functions and classes call.
fn outside_calls(module: &ModModule) -> BTreeSet<&str> {
    let mut calls = Calls::default();
    calls.visit_body(&module.body);
    calls.0.iter().filter_map(|call| call_name(call)).collect()
}

/// The statements of a module outside functions, those under `if __name__ == "__main__"` among them.
fn outside(body: &[Stmt]) -> impl Iterator<Item = &Stmt> {
    body.iter().flat_map(|stmt| match stmt {
        Stmt::If(branch) if is_main(&branch.test) => branch.body.as_slice(),
        other => std::slice::from_ref(other),
    })
}

/// The names of what the module makes of its functions and classes and then calls, but for what is called within a call
/// of another: `layer(x, rope(x, positions))`.
fn made_and_called<'a>(functions: &Functions<'a>, classes: &Classes<'a>, module: &'a ModModule) -> Vec<&'a str> {
    let called = outside_calls(module);
    let makes = |stmt: &'a Stmt| {
        let Stmt::Assign(assign) = stmt else { return None };
        let ([Expr::Name(name)], Expr::Call(_)) = (assign.targets.as_slice(), &*assign.value) else { return None };
        let mut used = Names::default();
        used.visit_expr(&assign.value);
        let own = |name: &&str| functions.contains_key(name) || classes.get(name).is_some_and(|class| !is_data(class));
        let name = name.id.as_str();
        let other = !functions.contains_key(name) && !classes.contains_key(name);
        (other && called.contains(name) && used.names.iter().any(own)).then_some(name)
    };
    let made: Vec<&str> = outside(&module.body).filter_map(makes).collect();
    let mut calls = Calls::default();
    calls.visit_body(&module.body);
    let mut inner = Calls::default();
    for call in calls.0.iter().filter(|call| call_name(call).is_some_and(|name| made.contains(&name))) {
        call.arguments.args.iter().for_each(|arg| inner.visit_expr(arg));
        call.arguments.keywords.iter().for_each(|keyword| inner.visit_expr(&keyword.value));
    }
    let inner: BTreeSet<&str> = inner.0.iter().filter_map(|call| call_name(call)).collect();
    match made.iter().any(|name| !inner.contains(*name)) {
        true => made.into_iter().filter(|name| !inner.contains(*name)).collect(),
        false => made,
    }
}

impl<'a> PythonLowering<'a> {
    /// Reads the module's constants, then what is looked at.
    pub(super) fn look(&mut self, module: &'a ModModule, entry: Entry<'a>) -> Result<(), Error> {
        self.enter(None)?;
        if matches!(entry, Entry::Module) {
            self.constants(module, true, entry)?;
            return self.whole_body(&module.body);
        }
        self.constants(module, false, entry)?;
        if let Entry::Made(name) = entry {
            let others = made_and_called(&self.functions, self.classes, module);
            let others: Vec<&str> = others.into_iter().filter(|other| *other != name).collect();
            if !others.is_empty() {
                let text = format!("{name} alone is looked at; the source calls {} as well", others.join(", "));
                self.builder.assume(text);
            }
        }
        if let Entry::Made(name) = entry
            && let Some(callee @ Value::Function(number)) = self.lookup(name)
            && !matches!(self.callables.get(number), None | Some(Callable::Def(_)))
            && let Some(args) = self.example(module, entry)?
        {
            let value = self.invoke(&callee, args)?;
            return self.finished(value);
        }
        let (def, object) = match entry {
            Entry::Module => return Ok(()),
            Entry::Function(def) => (def, None),
            Entry::Method(class, def) => (def, Some(self.object_of(Class { def: class, library: false })?)),
            Entry::Made(name) => self.made(name)?,
        };
        let example = self.example(module, entry)?;
        self.accept(&Function::new(def, false))?;
        let compiled = self.is_compiled(def, object) || self.compiled_outside(module, def);
        self.enter(Some(def))?;
        if self.source.fusion != Fusion::None && (compiled || self.source.fusion == Fusion::Graph) {
            if let Some(frame) = self.frames.last_mut() {
                frame.fusion = Some(Fusion::Graph);
            }
            self.state_compiled(def);
        }
        let fixed =
            def.decorator_list.iter().any(|own| super::tree::last_name(&own.expression) == Some("staticmethod"));
        let mut values = example.as_ref().map(|args| args.values.clone()).unwrap_or_default().into_iter();
        for (number, parameter) in def.parameters.iter_non_variadic_params().enumerate() {
            let (at, name) = (self.at(parameter), parameter.name().as_str());
            if let (0, Some(object), false) = (number, object, fixed) {
                self.bind(name, Value::Object(object));
                continue;
            }
            let placed = values.next().map(|(value, _)| value);
            let named =
                || example.as_ref()?.names.iter().find(|(own, ..)| *own == name).map(|(_, value, _)| value.clone());
            let given =
                self.source.shapes.iter().any(|shape| shape.name == name) || self.source.defines.contains_key(name);
            let value = match placed.or_else(named).filter(|value| !given && !matches!(value, Value::Unknown(_))) {
                Some(value) => {
                    self.state_example(name, &value, at);
                    value
                }
                None => {
                    let (annotation, default) = (parameter.annotation(), parameter.default());
                    self.argument(name, annotation, default, at)?
                }
            };
            self.bind(name, value);
        }
        self.variadic(def, example.as_ref())?;
        self.calls.push((address(def), object));
        self.whole_body(&def.body)
    }

    /// `*args` and `**kwargs` of what is looked at: what the source's call of it gives.
    fn variadic(&mut self, def: &'a StmtFunctionDef, example: Option<&Args<'a>>) -> Result<(), Error> {
        let placed = def.parameters.posonlyargs.len() + def.parameters.args.len();
        let method = usize::from(
            self.frames.last().is_some_and(|frame| matches!(frame.names.get("self"), Some(Value::Object(_)))),
        );
        let of = |example: &Args<'a>| {
            example.values.iter().skip(placed - method.min(placed)).map(|(value, _)| value.clone()).collect::<Vec<_>>()
        };
        if let Some(parameter) = &def.parameters.vararg {
            let Some(rest) = example.map(of) else {
                return self.refuse(&**parameter, "nothing says what `*args` are", "Name the parameters");
            };
            self.bind(parameter.name.as_str(), Value::Tuple(rest));
        }
        if let Some(parameter) = &def.parameters.kwarg {
            let known = |name: &str| def.parameters.iter_non_variadic_params().any(|own| own.name().as_str() == name);
            let given = example.iter().flat_map(|args| args.names.iter()).filter(|(name, ..)| !known(name));
            let fields = given.map(|(name, value, _)| ((*name).to_owned(), value.clone())).collect();
            if example.is_none() {
                self.assume(self.at(&**parameter), format!("`**{}` is taken as empty", parameter.name));
            }
            let value = self.dictionary(fields);
            self.bind(parameter.name.as_str(), value);
        }
        Ok(())
    }

    /// Runs the host's statements, unpriced, up to the launch of a kernel; what cannot be read is left out.
    pub(super) fn host(&mut self, module: &'a ModModule, kernel: &'a StmtFunctionDef) -> Option<Launched<'a>> {
        self.enter(None).ok()?;
        self.bind("__name__", Value::Text("__main__".to_owned()));
        self.kernel = Some(kernel);
        self.building = 1;
        let mut own: Vec<&'a Stmt> = outside(&module.body).collect();
        // Of a host's function that nothing calls, the arguments have shapes of their own.
        let callers =
            module.body.iter().filter_map(definition).filter(|function| super::triton::calls(&function.body, kernel));
        for function in callers {
            own.extend(&function.body);
        }
        for stmt in own {
            match stmt {
                Stmt::Import(_) | Stmt::ImportFrom(_) => self.import(stmt),
                Stmt::Assign(assign) => {
                    let at = self.at(stmt);
                    let _ = self.eval(&assign.value).and_then(|value| {
                        let value = self.materialised(value, "value")?;
                        assign.targets.iter().try_for_each(|target| self.assign_to(target, value.clone(), at))
                    });
                }
                Stmt::Expr(expr) => {
                    let _ = self.eval(&expr.value);
                }
                _ => {}
            }
            if self.launch.is_some() {
                break;
            }
        }
        self.launch.take()
    }

    /// Whether the module gives the function to a compiler of graphs: `jax.jit(f)(x)`.
    fn compiled_outside(&self, module: &'a ModModule, def: &'a StmtFunctionDef) -> bool {
        let mut calls = Calls::default();
        calls.visit_body(&module.body);
        let of =
            |call: &&ExprCall| matches!(call.arguments.args.first(), Some(Expr::Name(name)) if name.id == def.name.id);
        calls.0.iter().any(|call| of(call) && self.compiles(&call.func))
    }

    /// What the module made under that name: a function, or an object and what calling it does.
    fn made(&self, name: &str) -> Result<(&'a StmtFunctionDef, Option<usize>), Error> {
        let found = match self.lookup(name) {
            Some(Value::Object(object)) => ["forward", "__call__"]
                .into_iter()
                .find_map(|method| self.method(object, method))
                .map(|method| (method.def, Some(object))),
            Some(Value::Function(number)) => match self.callables.get(number) {
                Some(Callable::Def(function)) => Some((function.def, function.receiver)),
                _ => None,
            },
            _ => None,
        };
        let problem = format!("what the source makes as {name} and then calls is not known");
        found.ok_or_else(|| Error::field("function", name, problem, "Name one of the source's functions or classes"))
    }

    fn state_example(&mut self, name: &str, value: &Value, at: At) {
        if let Some(dims) = super::array::shape(value) {
            let text = self.shape_text(&dims);
            self.assume(at, format!("{name} has shape {text}, as the source calls it"));
        }
    }

    /// The object whose method is looked at: the one that the module makes, or one made here.
    fn object_of(&mut self, class: Class<'a>) -> Result<usize, Error> {
        let of = |object: &usize| {
            self.objects.get(*object).and_then(|own| own.class).is_some_and(|own| std::ptr::eq(own.def, class.def))
        };
        let made =
            self.frames.first().into_iter().flat_map(|frame| frame.names.values()).find_map(|value| match value {
                Value::Object(object) if of(object) => Some(*object),
                _ => None,
            });
        if let Some(object) = made {
            return Ok(object);
        }
        let at = self.at(class.def);
        let mut values = Vec::new();
        let init = class.def.body.iter().filter_map(definition).rfind(|function| function.name.as_str() == "__init__");
        if let Some(init) = init {
            self.enter(Some(init))?;
            self.building += 1;
            for parameter in init.parameters.iter_non_variadic_params().skip(1) {
                let own = self.at(parameter);
                let (annotation, default) = (parameter.annotation(), parameter.default());
                let value = self.argument(parameter.name().as_str(), annotation, default, own)?;
                values.push((value, own));
            }
            self.building -= 1;
            self.frames.pop();
        }
        match self.instantiate(class, Args { values, ..Args::none(class.def.name.as_str(), at) })? {
            Value::Object(object) => Ok(object),
            _ => Err(refuse(at, "this class makes no object", "Give a function")),
        }
    }

    /// The arguments with which the module calls what is looked at.
    fn example(&mut self, module: &'a ModModule, entry: Entry<'a>) -> Result<Option<Args<'a>>, Error> {
        let mut calls = Calls::default();
        calls.visit_body(&module.body);
        for call in calls.0 {
            let found = match (entry, &*call.func) {
                (Entry::Made(made), Expr::Name(name)) => name.id.as_str() == made,
                (Entry::Function(def), Expr::Name(name)) => name.id == def.name.id,
                (Entry::Method(class, _), Expr::Name(name)) => match self.lookup(name.id.as_str()) {
                    Some(Value::Object(object)) => {
                        let own = self.objects.get(object).and_then(|own| own.class);
                        own.is_some_and(|own| std::ptr::eq(own.def, class))
                    }
                    _ => false,
                },
                (Entry::Method(class, _), Expr::Call(inner)) => call_name(inner) == Some(class.name.as_str()),
                _ => false,
            };
            if !found {
                continue;
            }
            let mut args = Args::none("", self.at(call));
            let before = self.dry.arrays.len();
            match self.unpriced(|own| own.arguments(call, &mut args)) {
                Ok(()) if self.dry.arrays.len() == before => return Ok(Some(args)),
                Ok(()) => {}
                Err(error) => {
                    let at = self.at(call);
                    self.assume(at, format!("the call is left out: {error}"));
                }
            }
        }
        // Without a call, arrays of the module that have the name of a parameter.
        let (Entry::Function(def) | Entry::Method(_, def)) = entry else { return Ok(None) };
        let names = def.parameters.iter_non_variadic_params().map(|parameter| parameter.name().as_str());
        let named: Vec<_> = names
            .filter_map(|name| match self.lookup(name)? {
                value @ Value::View(_) => Some((name, value, At::default())),
                _ => None,
            })
            .collect();
        Ok((!named.is_empty()).then(|| Args { names: named, ..Args::none("", At::default()) }))
    }

    /// What the module says outside functions. Integers that it names once are parameters with those values: `N = 1024`;
    /// arrays and objects that it makes may be the arguments of what is looked at, and what it computes of them is
    /// read, unpriced, where a call of what is looked at needs it.
    fn constants(&mut self, module: &'a ModModule, fragment: bool, entry: Entry<'a>) -> Result<(), Error> {
        let body = &module.body;
        let (mut once, mut often) = (BTreeSet::new(), BTreeSet::new());
        for stmt in body {
            let simple = matches!(stmt, Stmt::Assign(_) | Stmt::AnnAssign(_));
            for name in assigned(std::slice::from_ref(stmt)) {
                if !once.insert(name) || !simple {
                    often.insert(name);
                }
            }
        }
        self.bind("__name__", Value::Text("__main__".to_owned()));
        let mut left_out: Option<At> = None;
        let statements: Vec<&'a Stmt> = if fragment { body.iter().collect() } else { outside(body).collect() };
        let needed = needed(&statements, entry);
        let wanted = if let Entry::Made(name) = entry { name } else { "" };
        for stmt in statements {
            let (targets, value) = match stmt {
                Stmt::Import(_) | Stmt::ImportFrom(_) => {
                    self.import(stmt);
                    continue;
                }
                Stmt::Assign(assign) => (assign.targets.as_slice(), &*assign.value),
                Stmt::AnnAssign(StmtAnnAssign { target, value: Some(value), .. }) => {
                    (std::slice::from_ref(&**target), &**value)
                }
                Stmt::FunctionDef(_) | Stmt::ClassDef(_) | Stmt::Pass(_) => continue,
                Stmt::Expr(expr) if expr.value.is_string_literal_expr() => continue,
                other => {
                    left_out = left_out.or(Some(self.at(other)));
                    continue;
                }
            };
            let name = match targets {
                [Expr::Name(name)] => Some(name.id.as_str()),
                _ => None,
            };
            let makes = name.is_some_and(|name| name == wanted) || (name.is_some() && self.makes(value));
            let needs = assigned(std::slice::from_ref(stmt)).iter().any(|name| needed.contains(name));
            match (name, integer(value), value) {
                (Some(name), Some(value), _) if !often.contains(name) => {
                    let value = self.builder.parameter_or(name, value).into();
                    self.bind(name, Value::Int(value));
                }
                (Some(name), _, Expr::NumberLiteral(_)) if !fragment => self.bind(name, Value::Scalar(true)),
                _ if !fragment && (makes || needs) => {
                    let at = self.at(stmt);
                    let read = self.unpriced(|own| {
                        let value = own.eval(value)?;
                        let value = own.materialised(value, name.unwrap_or("value"))?;
                        targets.iter().try_for_each(|target| own.assign_to(target, value.clone(), at))
                    });
                    match read {
                        Ok(()) => {}
                        Err(error) if name.is_some_and(|name| name == wanted) => return Err(error),
                        Err(error) => self.assume(at, format!("the statement is left out: {error}")),
                    }
                }
                _ => left_out = left_out.or(Some(self.at(stmt))),
            }
        }
        if let (Some(at), false) = (left_out, fragment) {
            self.assume(at, "what stands outside functions is left out");
        }
        Ok(())
    }

    /// Whether a value of the module may be an argument: an array or an object that it makes.
    fn makes(&self, value: &Expr) -> bool {
        let mut value = value;
        loop {
            let Expr::Call(call) = value else { return matches!(value, Expr::Dict(_)) };
            match &*call.func {
                Expr::Attribute(method) if method.value.is_call_expr() => value = &method.value,
                _ => {
                    let name = call_name(call).unwrap_or_default();
                    let read = || registry::find(self.imports.get(name).copied().unwrap_or(name));
                    return self.classes.contains_key(name)
                        || matches!(
                            read(),
                            Some(
                                Read::Make(_)
                                    | Read::Class(_)
                                    | Read::Own(registry::Own::Dict | registry::Own::Compile)
                            )
                        );
                }
            }
        }
    }
}

/// Whether what function `name` gives is an argument of a call of `entry`.
fn serves<'a>(statements: &[&'a Stmt], name: &str, entry: Option<Entry<'a>>) -> bool {
    let Some(entry) = entry else { return false };
    let needed = needed(statements, entry);
    let within =
        statements.iter().filter(|stmt| assigned(std::slice::from_ref(**stmt)).iter().any(|own| needed.contains(own)));
    let mut calls = Calls::default();
    within.for_each(|stmt| calls.visit_stmt(stmt));
    needed.contains(name) || calls.0.iter().any(|call| call_name(call) == Some(name))
}

/// The names that a call of what is looked at needs, and those that these are made of.
fn needed<'a>(statements: &[&'a Stmt], entry: Entry<'a>) -> BTreeSet<&'a str> {
    let mut names = Names::default();
    for stmt in statements.iter().rev() {
        let mut calls = Calls::default();
        calls.visit_stmt(stmt);
        for call in calls.0 {
            let of = match (entry, &*call.func) {
                (Entry::Made(made), Expr::Name(name)) => name.id.as_str() == made,
                (Entry::Function(def), Expr::Name(name)) => name.id == def.name.id,
                // An object of the class has some name.
                (Entry::Method(..), Expr::Name(_)) => true,
                (Entry::Method(class, _), Expr::Call(inner)) => call_name(inner) == Some(class.name.as_str()),
                _ => false,
            };
            if of {
                call.arguments.args.iter().for_each(|arg| names.visit_expr(arg));
                call.arguments.keywords.iter().for_each(|keyword| names.visit_expr(&keyword.value));
            }
        }
        if let Stmt::Assign(assign) = stmt
            && assigned(std::slice::from_ref(*stmt)).iter().any(|name| names.names.contains(name))
        {
            names.visit_expr(&assign.value);
        }
    }
    names.names
}

/// `__name__ == "__main__"`
fn is_main(test: &Expr) -> bool {
    matches!(test, Expr::Compare(compare)
        if matches!(&*compare.left, Expr::Name(name) if name.id.as_str() == "__name__"))
}
