//! C loop nests: files, functions or fragments.
//!
//! `text` makes one file of the source that the parser reads: it runs the directives (`preprocess`), writes C++ and CUDA C
//! as C (`dialect`, `launch`, with `words`), refuses what would take the parser too deep (`guard`) and puts a function
//! around a fragment. `statement`, `declaration` and `loops` make a program of the tree, with one state (`lower`); `head`
//! and `moving` say how loops count, `structs` and `cuda` read what they are called after. Integers are followed as
//! expressions of parameters and loop variables (`integer`), accesses and arithmetic are collected statement by statement
//! (`value`), functions are put in the place of their calls (`call`), and extents that nobody gave follow from the
//! subscripts (`array`, `view`).

mod array;
mod blas;
mod call;
mod cuda;
mod declaration;
mod dialect;
mod guard;
mod head;
mod integer;
mod launch;
mod loops;
mod lower;
mod moving;
mod opencl;
mod preprocess;
mod statement;
mod structs;
#[cfg(test)]
mod tests;
mod text;
mod token;
mod types;
mod value;
mod view;
mod walk;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use lang_c::ast::*;
use lang_c::span::Node;

use super::nest::{Kernel, Node as Step, Program};
use super::source::{Source, refuse};
use accel_ground::error::Error;
use lower::{CLowering, SourceFunction};
use text::{FRAGMENT, Text};
use walk::{Part, walk};

/// Reads a kernel.
pub fn read(source: &Source) -> Result<Kernel, Error> {
    let text = Text::read(source)?;
    let functions = functions(&text.unit);
    let chosen = choose(source, &text, &functions)?;
    let defines = defines(source, &text, chosen.and_then(|name| functions.get(name)));
    let mut lower = CLowering::new(source, &text, &defines.values);
    for assumption in text.assumptions.iter().chain(&defines.assumptions) {
        lower.builder.assume(assumption.clone());
    }
    let name = chosen.unwrap_or(FRAGMENT);
    let Some(function) = functions.get(name).copied() else {
        return Err(Error::Internal(format!("there is no function {name}")));
    };
    lower.functions = functions.into_iter().filter(|(own, _)| *own != FRAGMENT).collect();
    lower.kernel(&text.unit, function, name)?;
    let grid = lower.leave_grid(text.at(function.span.start));
    lower.finish_arrays()?;
    unused(source, &text, &mut lower);
    let CLowering { out, builder, .. } = lower;
    // A pragma is for the loop behind it.
    let mut lines = BTreeSet::new();
    loop_lines(&out, &mut lines);
    let behind = |pragma: &u32| lines.range(pragma + 1..).next().copied();
    let parallel = text.shares.iter().filter_map(behind).collect();
    let program = Program { body: out, parallel, ..builder.program };
    Ok(Kernel { function: chosen.map(str::to_owned), program, grid })
}

/// The lines of the loops of `body`.
fn loop_lines(body: &[Step], lines: &mut BTreeSet<u32>) {
    for node in body {
        match node {
            Step::Loop(l) => {
                lines.insert(l.at.line);
                loop_lines(&l.body, lines);
            }
            Step::Branch(branch) => {
                loop_lines(&branch.then, lines);
                loop_lines(&branch.otherwise, lines);
            }
            Step::Work(_) | Step::Library(_) => {}
        }
    }
}

impl<'a> CLowering<'a> {
    /// Reads the declarations of the file, and the function of that name.
    fn kernel(&mut self, unit: &'a TranslationUnit, function: SourceFunction<'a>, name: &'a str) -> Result<(), Error> {
        self.calls.push(name);
        let fragment = name == FRAGMENT;
        self.collect_names(function);
        for item in &unit.0 {
            match &item.node {
                ExternalDeclaration::Declaration(declaration) => self.declaration(declaration)?,
                ExternalDeclaration::FunctionDefinition(_) | ExternalDeclaration::StaticAssert(_) => {}
            }
        }
        self.scopes.push(BTreeMap::new());
        self.base = 1;
        // What a fragment declares, the functions that it calls see too.
        self.shared = if fragment { 2 } else { 1 };
        self.declare_parameters(function.definition)?;
        if let Statement::Compound(items) = &function.definition.statement.node {
            self.block(items, true)?;
        }
        self.flush(self.text.at(function.span.start));
        Ok(())
    }

    /// Collects names whose use says what they are.
    fn collect_names(&mut self, function: SourceFunction<'a>) {
        let (mut integers, mut assigned) = (BTreeSet::new(), BTreeSet::new());
        walk(Part::Statement(&function.definition.statement), &mut |part| {
            let (expression, whole) = match part {
                Part::Expression(expression) => (expression, false),
                Part::Head(expression) => (expression, true),
                _ => return,
            };
            if let Some(name) = walk::assigned(&expression.node) {
                assigned.insert(name.to_owned());
            }
            if whole {
                names_in(expression, &mut integers);
            }
            if let Expression::BinaryOperator(binary) = &expression.node
                && binary.node.operator.node == BinaryOperator::Index
            {
                names_in(&binary.node.rhs, &mut integers);
            }
        });
        (self.integers, self.assigned) = (integers, assigned);
    }
}

/// The names in `expression`.
fn names_in(expression: &Node<Expression>, names: &mut BTreeSet<String>) {
    walk(Part::Expression(expression), &mut |part| {
        if let Part::Expression(part) = part
            && let Some(name) = walk::name(part)
        {
            names.insert(name.to_owned());
        }
    });
}

/// The functions of a file, by name.
fn functions(unit: &TranslationUnit) -> BTreeMap<&str, SourceFunction<'_>> {
    let definitions = unit.0.iter().filter_map(|item| match &item.node {
        ExternalDeclaration::FunctionDefinition(definition) => Some(definition),
        _ => None,
    });
    definitions
        .filter_map(|definition| {
            let name = types::name(&definition.node.declarator.node)?;
            Some((name.node.name.as_str(), SourceFunction { definition: &definition.node, span: definition.span }))
        })
        .collect()
}

/// The function to look at; none for a fragment.
fn choose<'a>(
    source: &Source,
    text: &Text,
    functions: &BTreeMap<&'a str, SourceFunction<'a>>,
) -> Result<Option<&'a str>, Error> {
    let named: Vec<&str> = functions.keys().copied().filter(|name| *name != FRAGMENT).collect();
    if let Some(wanted) = source.function {
        let found = functions.keys().find(|name| **name == wanted);
        return found.map(|name| Some(*name)).ok_or_else(|| {
            let cure = match named.as_slice() {
                [] => "The source is a fragment without functions; leave the name out".to_owned(),
                named => format!("Choose one of {}", some(named)),
            };
            Error::field("function", wanted, "the source has no function of that name", cure)
        });
    }
    if text.fragment {
        return Ok(None);
    }
    let start = text.at(0);
    if named.is_empty() {
        return Err(refuse(start, "there is nothing that runs", "Give a function or a loop nest"));
    }
    let others: Vec<&str> = named.iter().copied().filter(|name| *name != "main" || named.len() == 1).collect();
    let mut called = BTreeSet::new();
    for name in &others {
        let Some(function) = functions.get(name) else { continue };
        walk(Part::Statement(&function.definition.statement), &mut |part| {
            if let Part::Expression(expression) | Part::Head(expression) = part
                && let Expression::Call(call) = &expression.node
                && let Some(callee) = walk::name(&call.node.callee)
                && callee != *name
            {
                called.insert(callee.to_owned());
            }
        });
    }
    let free: Vec<&str> = others.into_iter().filter(|name| !called.contains(*name)).collect();
    let on_grid: Vec<&str> = free
        .iter()
        .copied()
        .filter(|name| text.launch.as_ref().is_some_and(|launch| launch.kernels.contains(*name)))
        .collect();
    let free = if on_grid.is_empty() { free } else { on_grid };
    let marked = |name: &&str| {
        functions.get(name).is_some_and(|function| {
            let lines = text.at(function.span.start).line..=text.at(function.span.end).line;
            text.scops.iter().any(|line| lines.contains(line))
        })
    };
    let one = |names: Vec<&'a str>| match names.as_slice() {
        [only] => Some(*only),
        _ => None,
    };
    let owned: Vec<&'a str> = functions.keys().copied().filter(|name| free.contains(name)).collect();
    let kernels = owned.iter().copied().filter(|name| name.starts_with("kernel")).collect();
    let chosen =
        one(owned.clone()).or_else(|| one(owned.iter().copied().filter(marked).collect())).or_else(|| one(kernels));
    match (chosen, owned.first()) {
        (Some(chosen), _) => Ok(Some(chosen)),
        // Functions that call each other: what is wrong with that is said where they do.
        (None, None) => Ok(functions.keys().copied().find(|name| *name != "main")),
        (None, Some(_)) => {
            let problem = format!("there are several functions that no other calls: {}", some(&owned));
            Err(refuse(start, problem, "Say which one to look at"))
        }
    }
}

/// The first of `names`, for a message.
fn some(names: &[&str]) -> String {
    const MOST: usize = 12;
    let list = names.get(..MOST).unwrap_or(names).join(", ");
    if names.len() > MOST { format!("{list} and {} more", names.len() - MOST) } else { list }
}

/// The values of parameters, the user's and the source's own.
struct Defines {
    values: BTreeMap<String, i64>,
    assumptions: Vec<String>,
}

fn defines(source: &Source, text: &Text, function: Option<&SourceFunction>) -> Defines {
    let mut values = text.values.clone();
    let mut constants = BTreeMap::new();
    for item in &text.unit.0 {
        match &item.node {
            ExternalDeclaration::Declaration(declaration) => constants_of(&declaration.node, true, &mut constants),
            ExternalDeclaration::FunctionDefinition(definition) => {
                walk(Part::Statement(&definition.node.statement), &mut |part| {
                    if let Part::Declaration(declaration) = part {
                        constants_of(&declaration.node, false, &mut constants);
                    }
                });
            }
            ExternalDeclaration::StaticAssert(_) => {}
        }
    }
    // A name with two values in two functions is no parameter of the kernel.
    values.extend(constants.into_iter().filter_map(|(name, value)| Some((name, value?))));
    values.extend(source.defines.iter().map(|(name, value)| (name.clone(), *value)));
    let mut assumptions = Vec::new();
    // PolyBench calls an extent NI, and the argument that holds it ni.
    if text.names.iter().any(|name| name.starts_with("_PB_") || name.starts_with("POLYBENCH_")) {
        let parameters = function.map(|function| call::parameters(function.definition)).unwrap_or_default();
        for parameter in parameters {
            let name = parameter.node.declarator.as_ref().and_then(|declarator| types::name(&declarator.node));
            let Some(name) = name.map(|name| name.node.name.clone()) else { continue };
            let upper = name.to_ascii_uppercase();
            if let Some(value) = values.get(&upper).copied().filter(|_| !source.defines.contains_key(&name)) {
                assumptions.push(format!("{name} is {upper} (PolyBench)"));
                values.insert(name, value);
            }
        }
    }
    Defines { values, assumptions }
}

/// Notes the integers with plain values that `declaration` declares: constants, and what a file declares.
fn constants_of(declaration: &Declaration, of_file: bool, constants: &mut BTreeMap<String, Option<i64>>) {
    let own = types::declared(&declaration.specifiers, &BTreeMap::new());
    for specifier in &declaration.specifiers {
        if let DeclarationSpecifier::TypeSpecifier(word) = &specifier.node
            && let TypeSpecifier::Enum(list) = &word.node
        {
            for enumerator in &list.node.enumerators {
                if let Some(value) = enumerator.node.expression.as_ref().and_then(|value| plain(value)) {
                    note(constants, &enumerator.node.identifier.node.name, value);
                }
            }
        }
    }
    if own.float() != Some(false) || !(own.constant || of_file) {
        return;
    }
    for declarator in &declaration.declarators {
        let plain_name = declarator.node.declarator.node.derived.is_empty();
        let name = types::name(&declarator.node.declarator.node).filter(|_| plain_name);
        if let Some(name) = name
            && let Some(Initializer::Expression(value)) = declarator.node.initializer.as_ref().map(|value| &value.node)
            && let Some(value) = plain(value)
        {
            note(constants, &name.node.name, value);
        }
    }
}

fn note(constants: &mut BTreeMap<String, Option<i64>>, name: &str, value: i64) {
    let known = constants.entry(name.to_owned()).or_insert(Some(value));
    if *known != Some(value) {
        *known = None;
    }
}

/// The value of an integer literal.
fn plain(expression: &Node<Expression>) -> Option<i64> {
    match &expression.node {
        Expression::Constant(constant) => match &constant.node {
            Constant::Integer(number) if number.base == IntegerBase::Decimal => number.number.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// States what the user gave and the source has no use for.
fn unused(source: &Source, text: &Text, lower: &mut CLowering) {
    for name in source.defines.keys() {
        let symbol = |own: &String| lower.builder.program.symbols.iter().any(|symbol| symbol.name == *own);
        let known = ["registers_per_thread", "dynamic_shared_bytes"].contains(&name.as_str())
            || name.starts_with("DATA_TYPE_IS_")
            || text.names.contains(name)
            || text.names.contains(&format!("_PB_{name}"))
            || text.names.contains(&name.to_ascii_lowercase())
            || symbol(name);
        if !known {
            lower.builder.assume(format!("{name} was given, and the source does not use it"));
        }
    }
    for shape in source.shapes {
        if !lower.builder.program.arrays.iter().any(|array| array.name == shape.name) {
            lower.builder.assume(format!("the shape of {} was given, and there is no such array", shape.name));
        }
    }
}
