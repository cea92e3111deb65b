//! Python: plain loops, NumPy, and the modules of PyTorch and JAX.
//!
//! The text is checked for depth (`scan`), parsed, and what to look at is chosen (`entry`). It is read twice: once to
//! infer the shapes that nobody gave (`usage`, `dry`, `infer`), once to write the program. Reading is an evaluation in
//! which names stand for integer expressions, registers, parts of arrays (`value`), objects (`object`) or functions
//! (`callable`), with one state (`lower`): statements (`stmt`, `loops`, `counted`, `branch`), expressions (`expr`,
//! `condition`, `subscript`) make accesses and arithmetic; calls (`calls`, which looks into the `registry`; `args`,
//! `parameters`, `own`, `reductions`, `products`, `einsum`, `einops`, `convolution`, `making`, `moving`, `picking`, `rows`, `gradient`) and
//! other operations on whole arrays (`array`) make loop nests of their own. What is made of others is written in Python
//! (`library`).

mod args;
mod array;
mod branch;
mod callable;
mod calls;
mod condition;
mod convolution;
mod counted;
mod defined;
mod dry;
mod einops;
mod einsum;
mod entry;
mod expr;
mod gradient;
mod infer;
mod library;
mod loops;
mod lower;
mod making;
mod moving;
mod object;
mod own;
mod parameters;
mod picking;
mod products;
mod reductions;
mod registry;
mod rows;
mod scan;
mod stmt;
mod subscript;
mod tape;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod torch_tests;
mod tree;
mod triton;
mod usage;
mod value;
#[cfg(test)]
mod written_tests;

use std::collections::BTreeMap;

use ruff_python_ast::{ModModule, Stmt};
use ruff_text_size::Ranged;

use self::defined::Classes;
use self::entry::entry;
use self::lower::{PythonLowering, Reading};
use self::scan::{SourceLines, check_depth};
use self::usage::{Functions, usages};
use super::nest::{At, Kernel};
use super::source::{Source, check_length, refuse};
use accel_ground::error::Error;

pub(crate) use self::registry::nearest_of as nearest;

/// As many times shapes are inferred anew because an argument turns out to have more axes.
const MAX_READINGS: usize = 12;

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
    let reading = reading(source, &module, &lines);
    if let Some(kernel) = triton::read(&reading, &module)? {
        return Ok(kernel);
    }
    foreign(&module.body, &lines)?;
    let entry = entry(&reading, &module)?;
    let mut ranks = BTreeMap::new();
    let mut readings = 0;
    let shapes = loop {
        let mut dry = PythonLowering::new(&reading, None, ranks.clone());
        match (dry.look(&module, entry), dry.wanted.take()) {
            (Ok(()), _) => break dry.learned(),
            (Err(_), Some((name, rank))) if ranks.get(&name) != Some(&rank) && readings < MAX_READINGS => {
                ranks.insert(name, rank);
                readings += 1;
            }
            (Err(error), _) => return Err(error),
        }
    };
    let mut real = PythonLowering::new(&reading, Some(&shapes), ranks);
    real.look(&module, entry)?;
    real.state_unused();
    Ok(Kernel { function: entry.name(), program: real.builder.program, grid: None })
}

/// What is known of a source before it is read.
fn reading<'a>(source: &'a Source<'a>, module: &'a ModModule, lines: &'a SourceLines<'a>) -> Reading<'a> {
    let functions: Functions = (module.body.iter())
        .filter_map(|stmt| match stmt {
            Stmt::FunctionDef(function) => Some((function.name.as_str(), function)),
            _ => None,
        })
        .collect();
    let classes: Classes = (module.body.iter())
        .filter_map(|stmt| match stmt {
            Stmt::ClassDef(class) => Some((class.name.as_str(), class)),
            _ => None,
        })
        .collect();
    let usages = usages(&module.body, &functions);
    let (probabilities, trips) = (lines.comments("probability"), lines.comments("trips"));
    Reading { source, lines, functions, classes, usages, probabilities, trips }
}

/// Refuses sources of other languages that look like Python, by what they import.
fn foreign(body: &[Stmt], lines: &SourceLines<'_>) -> Result<(), Error> {
    // What is imported, what that is, and what to give instead.
    const LANGUAGES: [(&str, &str, &str); 5] = [
        ("tvm", "a schedule for TVM", "Give the loops, or the operator in NumPy"),
        ("taichi", "a kernel of Taichi, whose grid the source does not give", "Write the grid as a loop"),
        ("warp", "a kernel of Warp, whose grid the source does not give", "Write the grid as a loop"),
        ("tensorflow", "a graph of TensorFlow", "Write it with NumPy, PyTorch or JAX"),
        ("mlx", "a graph of MLX", "Write it with NumPy, PyTorch or JAX"),
    ];
    for stmt in body {
        let names: Vec<String> = match stmt {
            Stmt::Import(import) => import.names.iter().map(|alias| alias.name.to_string()).collect(),
            Stmt::ImportFrom(import) => {
                let module = import.module.as_ref().map_or("", |module| module.as_str());
                import.names.iter().map(|alias| format!("{module}.{}", alias.name)).collect()
            }
            _ => continue,
        };
        let of = |name: &str| {
            LANGUAGES
                .iter()
                .find(|(own, ..)| name.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
        };
        if let Some((_, what, cure)) = names.iter().find_map(|name| of(name)) {
            let at = lines.at(stmt.start().to_usize());
            return Err(refuse(at, format!("this is {what}"), *cure));
        }
    }
    Ok(())
}
