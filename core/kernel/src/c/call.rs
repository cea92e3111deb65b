//! Calls: of functions in the source, which are put in their places, and of those that everyone knows.

use std::collections::BTreeMap;

use lang_c::ast::*;
use lang_c::span::Node;

use super::lower::{Binding, CLowering, IntegerValue, Scalar};
use super::structs;
use super::types::{self, Base, Dim, Type};
use super::value::{INTEGER, NumberKind};
use super::view::Pointee;
use super::walk::name;
use crate::expr::Expr;
use crate::functions::{self, Yields};
use crate::nest::At;
use crate::source::{MAX_DEPTH, refuse};
use accel_ground::error::Error;

/// Functions that a kernel may call without its counts meaning less.
const IGNORED: [&str; 22] = [
    "printf",
    "fprintf",
    "puts",
    "putchar",
    "fputs",
    "fputc",
    "fflush",
    "free",
    "assert",
    "perror",
    "exit",
    "clock",
    "time",
    "srand",
    "omp_get_wtime",
    "omp_set_num_threads",
    "gettimeofday",
    "clock_gettime",
    "fopen",
    "fclose",
    "polybench_timer_start",
    "polybench_timer_stop",
];

/// A parameter of a function that is an array: what it is called, and what it is.
type Slot<'a> = (&'a str, Type<'a>, Pointee, At);

impl<'a> CLowering<'a> {
    pub(super) fn call(&mut self, call: &'a CallExpression, at: At) -> Result<NumberKind, Error> {
        let Some(function) = name(&call.callee) else {
            return Err(refuse(at, "which function this calls is not known", "Call it by its name"));
        };
        if self.functions.contains_key(function) {
            return self.inline(function, call, at);
        }
        if self.find(function).is_some() {
            return Err(refuse(
                at,
                format!("{function} is not a function that can be followed"),
                "Call a function by its name",
            ));
        }
        if function == "__builtin_expect"
            && let Some(value) = call.arguments.first()
        {
            return self.value(value);
        }
        if IGNORED.contains(&function) {
            self.builder.assume(format!("{function} (line {}) is left out", at.line));
            return Ok(INTEGER);
        }
        if let Some(Expr::Const(_)) = self.integer_call(call, false)?.filter(|_| function.starts_with("omp_")) {
            self.builder.assume("OpenMP's functions answer as for one thread");
            return Ok(INTEGER);
        }
        if let Some(kind) = self.cuda(function, call, at)? {
            return Ok(kind);
        }
        if let Some(kind) = self.blas(function, call, at)? {
            return Ok(kind);
        }
        let Some(known) = functions::of_c(function) else {
            let names: Vec<&str> = functions::FUNCTIONS.iter().flat_map(|row| row.c).copied().collect();
            let problem = format!("what {function} does is not known");
            let cure = format!(
                "Add its source, or write it out. Known are cblas_sgemm, cblas_dgemm, {} (and those of float)",
                names.join(", ")
            );
            return Err(refuse(at, problem, cure));
        };
        let mut kinds = Vec::new();
        for argument in &call.arguments {
            kinds.push(self.value(argument)?);
        }
        let float = match known.yields {
            Yields::Float => true,
            Yields::Same => kinds.iter().any(|kind| kind.float),
            Yields::Truth | Yields::Integer => false,
        };
        if kinds.iter().all(|kind| kind.constant) && !kinds.is_empty() {
            return Ok(NumberKind { float, constant: true });
        }
        if known.yields == Yields::Same && !float {
            self.work.integer_ops += 1;
        } else {
            self.work.flops = self.work.flops.plus(known.flops);
        }
        Ok(NumberKind { float, constant: false })
    }

    /// Puts the body of `function` in the place of its call.
    fn inline(&mut self, function: &'a str, call: &'a CallExpression, at: At) -> Result<NumberKind, Error> {
        let Some(found) = self.functions.get(function).copied() else { return Ok(INTEGER) };
        if self.calls.contains(&function) {
            return Err(refuse(at, format!("{function} calls itself"), "Write it as a loop"));
        }
        if self.calls.len() >= MAX_DEPTH {
            return Err(refuse(at, format!("calls are nested more than {MAX_DEPTH} deep"), "Write some of them out"));
        }
        let parameters = parameters(found.definition);
        if parameters.len() != call.arguments.len() {
            let problem = format!("{function} takes {} arguments, not {}", parameters.len(), call.arguments.len());
            return Err(refuse(at, problem, "Give as many as it takes"));
        }
        let mut scope = BTreeMap::new();
        let mut arrays: Vec<Slot<'a>> = Vec::new();
        for (parameter, argument) in parameters.iter().zip(&call.arguments) {
            let own = self.parameter_type(parameter);
            let Some(name) = parameter.node.declarator.as_ref().and_then(|declarator| types::name(&declarator.node))
            else {
                self.value(argument)?;
                continue;
            };
            let name = name.node.name.as_str();
            match own.float() {
                Some(float) => {
                    let value = if float { None } else { self.integer(argument, false)? };
                    self.value(argument)?;
                    let value = value.map_or(IntegerValue::Unknown, IntegerValue::Known);
                    let scalar = Scalar { float, value, stored: true, depth: self.loops.len(), range: own.range() };
                    scope.insert(name.to_owned(), Binding::Scalar(scalar));
                }
                None if own.dims.is_empty() || own.dims.iter().any(|dim| matches!(dim, Dim::Function)) => {
                    let problem = format!("the argument {name} of {function} is not followed");
                    return Err(refuse(self.at(argument), problem, "Pass numbers and arrays"));
                }
                None => {
                    let place = self.at(argument);
                    let view = self.place(argument, own.rank())?;
                    arrays.push((name, own, view, place));
                }
            }
        }
        // What was loaded so far comes before what the function does, unless that is one expression.
        let single = matches!(&found.definition.statement.node, Statement::Compound(items)
            if matches!(items.first().map(|item| &item.node), Some(BlockItem::Statement(first)) if matches!(first.node, Statement::Return(_))));
        if !single {
            self.flush(at);
        }
        self.inside(function, found.definition, scope, arrays)?;
        let result = types::declared(&found.definition.specifiers, &self.typedefs);
        Ok(NumberKind { float: matches!(result.base, Base::Number(element) if element.is_float()), constant: false })
    }

    fn inside(
        &mut self,
        function: &'a str,
        definition: &'a FunctionDefinition,
        scope: BTreeMap<String, Binding>,
        arrays: Vec<Slot<'a>>,
    ) -> Result<(), Error> {
        let (base, outer) = (self.base, self.outer_loops);
        self.base = self.scopes.len();
        self.outer_loops = self.loops.len();
        self.scopes.push(scope);
        self.calls.push(function);
        for (name, own, view, place) in arrays {
            let view = self.fit(view, &own, place)?;
            let pointer = self.cursor(view);
            self.bind(name, pointer);
        }
        self.statement(&definition.statement, true)?;
        self.calls.pop();
        self.scopes.truncate(self.base);
        (self.base, self.outer_loops) = (base, outer);
        Ok(())
    }

    /// The type of a parameter.
    pub(super) fn parameter_type(&self, parameter: &'a Node<ParameterDeclaration>) -> Type<'a> {
        let base = types::declared(&parameter.node.specifiers, &self.typedefs);
        match &parameter.node.declarator {
            Some(declarator) => types::derived(base, &declarator.node),
            None => base,
        }
    }

    /// Declares the parameters of the function looked at: integers are parameters of the kernel, pointers are arrays.
    pub(super) fn declare_parameters(&mut self, definition: &'a FunctionDefinition) -> Result<(), Error> {
        let parameters = parameters(definition);
        let (mut arrays, mut several) = (Vec::new(), Vec::new());
        for parameter in parameters {
            let Some(declarator) = &parameter.node.declarator else { continue };
            let Some(name) = types::name(&declarator.node) else { continue };
            let place = self.text.at(name.span.start);
            let own = self.parameter_type(parameter);
            let name = name.node.name.as_str();
            match (own.float(), &own.base) {
                (Some(true), _) => {
                    let scalar = self.scalar(true, IntegerValue::Unknown);
                    self.bind(name, scalar);
                }
                (Some(false), _) => {
                    let (value, depth) = (IntegerValue::Parameter(name.to_owned()), self.loops.len());
                    let scalar =
                        Binding::Scalar(Scalar { float: false, value, stored: true, depth, range: own.range() });
                    self.bind(name, scalar);
                }
                (None, Base::Number(element)) if !own.dims.iter().any(|dim| matches!(dim, Dim::Function)) => {
                    arrays.push((name, own.clone(), *element, place));
                }
                (None, Base::Struct(inner)) if own.dims.is_empty() => self.object(name, inner, true, place)?,
                (None, Base::Struct(inner))
                    if own.dims.len() == 1
                        && (self.holds_pointers(inner) || structs::alone(&definition.statement, name)) =>
                {
                    self.object(name, inner, true, place)?;
                }
                (None, Base::Struct(inner)) if !own.dims.iter().any(|dim| matches!(dim, Dim::Function)) => {
                    let layout = self.layout(inner, place)?;
                    several.push((name, own.clone(), layout, place));
                }
                (None, Base::Other(what)) => self.bind(name, Binding::Other(what)),
                (None, Base::Void) => self.bind(name, Binding::Other("a pointer to anything")),
                (None, _) => self.bind(name, Binding::Other("a pointer to a function")),
            }
        }
        for (name, own, element, place) in arrays {
            let dims = self.extents(&own, place)?;
            // The first extent of a parameter's type says nothing to C, and everything to people.
            let dims: Vec<Option<Expr>> = dims;
            let view = self.array(name, element, dims, place)?;
            let moved = self.assigned.contains(name);
            let binding = if moved { self.cursor(view) } else { Binding::Array(view) };
            self.bind(name, binding);
        }
        for (name, own, layout, place) in several {
            let view = self.structs(name, &own, layout, place)?;
            let binding = if self.assigned.contains(name) { self.cursor(view) } else { Binding::Array(view) };
            self.bind(name, binding);
        }
        Ok(())
    }
}

/// The parameters of a function.
pub(super) fn parameters(definition: &FunctionDefinition) -> &[Node<ParameterDeclaration>] {
    let mut declarator = &definition.declarator.node;
    loop {
        let function = declarator.derived.iter().find_map(|step| match &step.node {
            DerivedDeclarator::Function(function) => Some(function.node.parameters.as_slice()),
            _ => None,
        });
        match (function, &declarator.kind.node) {
            // `f(void)` has none.
            (Some([only]), _) if only.node.declarator.is_none() => return &[],
            (Some(parameters), _) => return parameters,
            (None, DeclaratorKind::Declarator(inner)) => declarator = &inner.node,
            (None, _) => return &[],
        }
    }
}
