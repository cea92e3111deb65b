//! The launch of a kernel: `kernel[grid](arguments, BLOCK=1024)`, and what the grid is.

use std::collections::BTreeMap;

use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{Expr as Tree, ExprCall, ModModule, Operator, Stmt, StmtFunctionDef};

use super::super::args::Args;
use super::super::lower::{Launched, PythonLowering, Reading};
use super::super::tree::{integer, last_name};
use super::super::value::Value;
use crate::expr::Expr;
use crate::nest::{At, Element};

/// A number that the host computes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Formula {
    Number(i64),
    /// An argument of the kernel, or a name of the host.
    Name(String),
    Sum(Box<Formula>, Box<Formula>),
    Minus(Box<Formula>, Box<Formula>),
    Product(Box<Formula>, Box<Formula>),
    /// Rounded down.
    Quotient(Box<Formula>, Box<Formula>),
    /// Rounded up.
    Ceil(Box<Formula>, Box<Formula>),
}

/// What a launch says.
#[derive(Debug, Clone, Default)]
pub(super) struct Launch {
    /// Programs (or blocks) along x, y and z.
    pub(super) grid: Vec<Option<Formula>>,
    /// Arguments that are numbers.
    pub(super) values: BTreeMap<String, i64>,
    /// Arguments that are strings.
    pub(super) texts: BTreeMap<String, String>,
    /// Arguments that are arrays: the type of their elements, and how many there are.
    pub(super) arrays: BTreeMap<String, (Element, i64)>,
}

/// Calls `see` with every call in `body`.
pub(super) fn calls<'a>(body: &'a [Stmt], see: &mut dyn FnMut(&'a ExprCall)) {
    struct Calls<'a, 's>(&'s mut dyn FnMut(&'a ExprCall));
    impl<'a> Visitor<'a> for Calls<'a, '_> {
        fn visit_expr(&mut self, expr: &'a Tree) {
            if let Tree::Call(call) = expr {
                (self.0)(call);
            }
            walk_expr(self, expr);
        }
    }
    Calls(see).visit_body(body);
}

/// The first launch of `kernel`: what the host's statements make of its arguments, and else what stands there.
pub(super) fn find<'a>(reading: &'a Reading<'a>, module: &'a ModModule, kernel: &'a StmtFunctionDef) -> Launch {
    let mut launch = written(module, kernel);
    for (name, value) in configured(module) {
        launch.values.entry(name).or_insert(value);
    }
    let mut host = PythonLowering::new(reading, None, BTreeMap::new());
    let Some(Launched { grid, values, names }) = host.host(module, kernel) else { return launch };
    let parameters = kernel.parameters.iter_non_variadic_params().map(|own| own.parameter.name.as_str());
    for (name, value) in parameters.zip(values).chain(names) {
        let number = match &value {
            Value::Int(number) => host.number(number),
            Value::Bool(value) => Some(i64::from(*value)),
            _ => None,
        };
        launch.values.extend(number.map(|number| (name.to_owned(), number)));
        if let Value::Text(text) = &value {
            launch.texts.insert(name.to_owned(), text.clone());
        }
        if let Value::View(view) = &value {
            let count = view.dims.iter().try_fold(1_i64, |all, dim| all.checked_mul(host.number(dim)?));
            launch.arrays.extend(count.map(|count| (name.to_owned(), (host.element(view), count))));
        }
    }
    let grid = match grid {
        Value::Function(_) => {
            let fields = launch.values.iter().map(|(name, value)| (name.clone(), Value::Int(Expr::Const(*value))));
            let meta = host.dictionary(fields.collect());
            let args = Args { values: vec![(meta, At::default())], ..Args::none("", At::default()) };
            host.invoke(&grid, args).unwrap_or(Value::None)
        }
        grid => grid,
    };
    let of = |host: &PythonLowering<'a>, value: &Value| match value {
        Value::Int(number) => host.number(number).map(Formula::Number),
        _ => None,
    };
    let sizes: Vec<Option<Formula>> = match &grid {
        Value::Tuple(sizes) => match sizes.first() {
            Some(Value::Tuple(blocks)) => blocks.iter().map(|size| of(&host, size)).collect(),
            _ => sizes.iter().map(|size| of(&host, size)).collect(),
        },
        size => vec![of(&host, size)],
    };
    for (axis, size) in sizes.into_iter().enumerate() {
        match launch.grid.get_mut(axis) {
            Some(own) => *own = size.or(own.take()),
            None => launch.grid.push(size),
        }
    }
    launch
}

/// The numbers of the first `triton.Config({"BLOCK": 64}, num_warps=4)`.
fn configured(module: &ModModule) -> Vec<(String, i64)> {
    let mut found: Vec<(String, i64)> = Vec::new();
    calls(&module.body, &mut |call| {
        if last_name(&call.func) != Some("Config") || !found.is_empty() {
            return;
        }
        let options = call.arguments.args.first().and_then(|options| options.as_dict_expr());
        let own = options.into_iter().flat_map(|options| &options.items).filter_map(|item| {
            let name = item.key.as_ref()?.as_string_literal_expr()?;
            Some((name.value.to_str().to_owned(), integer(&item.value)?))
        });
        let more = call.arguments.keywords.iter();
        let more = more.filter_map(|own| Some((own.arg.as_ref()?.to_string(), integer(&own.value)?)));
        found = own.chain(more).collect();
    });
    found
}

/// What the first launch of `kernel` says by itself.
fn written(module: &ModModule, kernel: &StmtFunctionDef) -> Launch {
    let mut found = None;
    calls(&module.body, &mut |call| {
        if let Tree::Subscript(subscript) = &*call.func
            && last_name(&subscript.value) == Some(kernel.name.as_str())
            && found.is_none()
        {
            found = Some((call, &*subscript.slice));
        }
    });
    let mut launch = Launch::default();
    let Some((call, slice)) = found else { return launch };
    let parameters: Vec<&str> =
        kernel.parameters.iter_non_variadic_params().map(|own| own.parameter.name.as_str()).collect();
    let mut renamed = BTreeMap::new();
    let positional = parameters.iter().copied().zip(&call.arguments.args);
    let keywords = call.arguments.keywords.iter().filter_map(|own| Some((own.arg.as_ref()?.as_str(), &own.value)));
    for (parameter, argument) in positional.chain(keywords) {
        if let Some(number) = integer(argument) {
            launch.values.insert(parameter.to_owned(), number);
        }
        if let Tree::Call(stride) = argument
            && last_name(&stride.func) == Some("stride")
            && stride.arguments.args.first().and_then(integer) == Some(1)
        {
            launch.values.insert(parameter.to_owned(), 1);
        }
        if let Tree::Name(name) = argument {
            renamed.insert(name.id.to_string(), parameter.to_owned());
        }
    }
    let grid = match slice {
        Tree::Name(name) => assigned(module, name.id.as_str()),
        other => Some(other),
    };
    let sizes = match grid {
        Some(Tree::Lambda(lambda)) => Some(&*lambda.body),
        other => other,
    };
    launch.grid = match sizes {
        Some(Tree::Tuple(sizes)) => {
            let nested = sizes.elts.first().and_then(|first| first.as_tuple_expr());
            // numba: `kernel[(blocks,), (threads,)]` and `kernel[blocks, threads]`.
            let sizes = nested.unwrap_or(sizes);
            sizes.elts.iter().map(|size| formula(size, &renamed, module, 0)).collect()
        }
        Some(size) => vec![formula(size, &renamed, module, 0)],
        None => Vec::new(),
    };
    launch
}

/// What the source assigns to `name` last.
fn assigned<'a>(module: &'a ModModule, name: &str) -> Option<&'a Tree> {
    fn walk<'a>(body: &'a [Stmt], name: &str, found: &mut Option<&'a Tree>) {
        for stmt in body {
            match stmt {
                Stmt::Assign(assign) => {
                    let named = |target: &Tree| target.as_name_expr().is_some_and(|own| own.id.as_str() == name);
                    if assign.targets.iter().any(named) {
                        *found = Some(&assign.value);
                    }
                }
                Stmt::FunctionDef(function) => walk(&function.body, name, found),
                Stmt::If(branch) => walk(&branch.body, name, found),
                Stmt::With(with) => walk(&with.body, name, found),
                _ => {}
            }
        }
    }
    let mut found = None;
    walk(&module.body, name, &mut found);
    found
}

fn formula(tree: &Tree, renamed: &BTreeMap<String, String>, module: &ModModule, depth: usize) -> Option<Formula> {
    if depth > 16 {
        return None;
    }
    let again = |tree: &Tree| formula(tree, renamed, module, depth + 1).map(Box::new);
    if let Some(number) = integer(tree) {
        return Some(Formula::Number(number));
    }
    match tree {
        Tree::Name(name) => match renamed.get(name.id.as_str()) {
            Some(parameter) => Some(Formula::Name(parameter.clone())),
            None => match assigned(module, name.id.as_str()) {
                Some(value) => formula(value, renamed, module, depth + 1),
                None => Some(Formula::Name(name.id.to_string())),
            },
        },
        // `meta['BLOCK']`
        Tree::Subscript(subscript) => {
            let text = subscript.slice.as_string_literal_expr()?;
            Some(Formula::Name(text.value.to_str().to_owned()))
        }
        Tree::BinOp(op) => {
            // `-(-n // b)` and `(n + b - 1) // b` are what they are.
            let (a, b) = (again(&op.left)?, again(&op.right)?);
            match op.op {
                Operator::Add => Some(Formula::Sum(a, b)),
                Operator::Sub => Some(Formula::Minus(a, b)),
                Operator::Mult => Some(Formula::Product(a, b)),
                Operator::FloorDiv => Some(Formula::Quotient(a, b)),
                _ => None,
            }
        }
        Tree::Call(call) if last_name(&call.func) == Some("cdiv") => match call.arguments.args.as_ref() {
            [a, b] => Some(Formula::Ceil(again(a)?, again(b)?)),
            _ => None,
        },
        _ => None,
    }
}
