//! The launch of a kernel: `kernel[grid](arguments, BLOCK=1024)`, and what the grid is.

use std::collections::BTreeMap;

use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{Expr as Tree, ExprCall, ModModule, Operator, Stmt, StmtFunctionDef};

use super::super::tree::{integer, last_name};

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

/// The first launch of `kernel`.
pub(super) fn find(module: &ModModule, kernel: &StmtFunctionDef) -> Launch {
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
