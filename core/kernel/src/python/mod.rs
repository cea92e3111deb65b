//! Python: plain loops and NumPy.
//!
//! The text is checked for depth (`scan`), parsed, and read twice: once to infer the shapes that nobody gave (`usage`,
//! `dry`, `infer`), once to write the program. Reading is an evaluation in which names stand for integer expressions,
//! registers or parts of arrays (`value`), with one state (`lower`): statements (`stmt`, `loops`, `branch`), functions
//! of the source (`unfold`, `parameters`), expressions (`expr`, `condition`, `subscript`) make accesses and arithmetic;
//! calls (`calls`, which looks into the `registry`; `args`, `statistics`, `products`, `convolution`, `making`,
//! `moving`) and other operations on whole arrays (`array`) make loop nests of their own.

mod args;
mod array;
mod branch;
mod calls;
mod condition;
mod convolution;
mod dry;
mod expr;
mod infer;
mod loops;
mod lower;
mod making;
mod moving;
mod parameters;
mod products;
mod registry;
mod scan;
mod statistics;
mod stmt;
mod subscript;
#[cfg(test)]
mod tests;
mod tree;
mod triton;
mod unfold;
mod usage;
mod value;

use std::collections::BTreeSet;

use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{Expr, ModModule, Stmt, StmtFunctionDef};
use ruff_text_size::Ranged;

use self::lower::PythonLowering;
use self::scan::{SourceLines, check_depth};
use self::tree::{assigned, integer};
use self::usage::{Functions, usages};
use self::value::Value;
use super::nest::{At, Kernel};
use super::source::{Source, check_length, refuse};
use accel_ground::error::Error;

/// Reads a kernel.
pub fn read(source: &Source) -> Result<Kernel, Error> {
    check_length(source.code)?;
    check_depth(source.code)?;
    let lines = SourceLines::new(source.code);
    let module = match ruff_python_parser::parse_module(source.code) {
        Ok(parsed) => parsed.into_syntax(),
        Err(error) => {
            let at = lines.at(error.location.start().to_usize());
            return Err(refuse(at, format!("this is no Python: {}", error.error), "Correct the syntax"));
        }
    };
    let idle = |stmt: &Stmt| matches!(stmt, Stmt::Expr(expr) if expr.value.is_string_literal_expr());
    if module.body.iter().all(idle) {
        return Err(refuse(At { line: 1, column: 1 }, "the source has no statements", "Give a function or a loop"));
    }
    if let Some(kernel) = triton::read(source, &module)? {
        return Ok(kernel);
    }
    let functions: Functions = (module.body.iter())
        .filter_map(|stmt| match stmt {
            Stmt::FunctionDef(function) => Some((function.name.as_str(), function)),
            _ => None,
        })
        .collect();
    let entry = entry(source, &functions, &lines)?;
    let usages = usages(&module.body, &functions);
    let comments = [&lines.comments("probability"), &lines.comments("trips")];
    let dry = PythonLowering::new(source, &lines, &functions, &usages, comments, None);
    let shapes = run(dry, &module, entry)?.learned();
    let mut real =
        run(PythonLowering::new(source, &lines, &functions, &usages, comments, Some(&shapes)), &module, entry)?;
    real.state_unused();
    Ok(Kernel { function: entry.map(|function| function.name.to_string()), program: real.builder.program, grid: None })
}

/// The function to look at: the one asked for, or the only one that no other calls; none in a source without functions.
fn entry<'a>(
    source: &Source,
    functions: &Functions<'a>,
    lines: &SourceLines,
) -> Result<Option<&'a StmtFunctionDef>, Error> {
    let names = || functions.keys().copied().take(20).collect::<Vec<_>>().join(", ");
    if let Some(name) = source.function {
        let problem =
            if functions.is_empty() { "the source has no functions".to_owned() } else { format!("it has {}", names()) };
        let found = functions.get(name).copied();
        return found
            .map(Some)
            .ok_or_else(|| Error::field("function", name, problem, "Name one of the source's functions"));
    }
    let mut called = Called::default();
    for function in functions.values() {
        called.own = function.name.as_str();
        called.visit_body(&function.body);
    }
    let free: Vec<_> = functions.iter().filter(|(name, _)| !called.names.contains(**name)).map(|(_, f)| *f).collect();
    match (free.as_slice(), functions.len()) {
        ([only], _) => Ok(Some(only)),
        (_, 0) => Ok(None),
        (several, _) => {
            let second =
                several.get(1).or(functions.values().next().as_ref().map(|f| *f)).map_or(0, |f| f.start().to_usize());
            let which = if several.is_empty() {
                "every function is called by another"
            } else {
                "no other function calls several of these"
            };
            Err(refuse(lines.at(second), format!("{which}: {}", names()), "Say which function to look at"))
        }
    }
}

/// Names of functions that are called by others.
#[derive(Default)]
struct Called<'a> {
    own: &'a str,
    names: BTreeSet<&'a str>,
}

impl<'a> Visitor<'a> for Called<'a> {
    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Call(call) = expr
            && let Expr::Name(name) = &*call.func
            && name.id.as_str() != self.own
        {
            self.names.insert(name.id.as_str());
        }
        walk_expr(self, expr);
    }
}

/// Reads the module's constants, then the function, or the module itself if there is none.
fn run<'a>(
    mut lower: PythonLowering<'a>,
    module: &'a ModModule,
    entry: Option<&'a StmtFunctionDef>,
) -> Result<PythonLowering<'a>, Error> {
    lower.enter(None)?;
    let Some(function) = entry else {
        constants(&mut lower, &module.body, true)?;
        lower.whole_body(&module.body)?;
        return Ok(lower);
    };
    constants(&mut lower, &module.body, false)?;
    lower.accept(function)?;
    lower.enter(Some(function))?;
    if let Some(parameter) = function.parameters.vararg.as_ref().or(function.parameters.kwarg.as_ref()) {
        return lower.refuse(&**parameter, "`*args` and `**kwargs` are not read", "Name the parameters");
    }
    for parameter in function.parameters.iter_non_variadic_params() {
        let at = lower.at(parameter);
        let (annotation, default) = (parameter.parameter.annotation.as_deref(), parameter.default.as_deref());
        let value = lower.argument(parameter.name().as_str(), annotation, default, at)?;
        lower.bind(parameter.name().as_str(), value);
    }
    lower.calls.push(function.name.as_str());
    lower.whole_body(&function.body)?;
    Ok(lower)
}

/// Integers that the module names once are parameters with those values: `N = 1024`.
fn constants<'a>(lower: &mut PythonLowering<'a>, body: &'a [Stmt], fragment: bool) -> Result<(), Error> {
    let (mut once, mut often) = (BTreeSet::new(), BTreeSet::new());
    for stmt in body {
        let simple = matches!(stmt, Stmt::Assign(_) | Stmt::AnnAssign(_));
        for name in assigned(std::slice::from_ref(stmt)) {
            if !once.insert(name) || !simple {
                often.insert(name);
            }
        }
    }
    lower.bind("__name__", Value::Text("__main__".to_owned()));
    let mut left_out: Option<At> = None;
    for stmt in body {
        match stmt {
            Stmt::Import(_) | Stmt::ImportFrom(_) => lower.import(stmt),
            Stmt::Assign(assign) => {
                if let ([Expr::Name(name)], Some(value)) = (assign.targets.as_slice(), integer(&assign.value))
                    && !often.contains(name.id.as_str())
                {
                    let value = lower.builder.parameter_or(name.id.as_str(), value).into();
                    lower.bind(name.id.as_str(), Value::Int(value));
                } else if let ([Expr::Name(name)], Expr::NumberLiteral(_), false) =
                    (assign.targets.as_slice(), &*assign.value, fragment)
                {
                    lower.bind(name.id.as_str(), Value::Scalar(true));
                } else {
                    left_out = left_out.or(Some(lower.at(stmt)));
                }
            }
            Stmt::FunctionDef(_) | Stmt::Pass(_) => {}
            Stmt::Expr(expr) if expr.value.is_string_literal_expr() => {}
            other => left_out = left_out.or(Some(lower.at(other))),
        }
    }
    if let (Some(at), false) = (left_out, fragment) {
        lower.assume(at, "what stands outside functions is left out");
    }
    Ok(())
}
