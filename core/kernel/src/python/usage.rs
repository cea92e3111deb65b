//! How a function uses its names: what nobody declares is inferred from that.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ruff_python_ast::visitor::{Visitor, walk_comprehension, walk_expr, walk_stmt};
use ruff_python_ast::{Comprehension, Expr, ExprCall, Operator, Stmt, StmtFunctionDef};

use super::registry::{self, Make, Move, Product, Read};
use super::tree::{integer, root, subscripts, subscripts_of};
use crate::nest::Element;
use crate::source::{MAX_DEPTH, Shape};

/// How a name is used.
#[derive(Debug, Clone, Default)]
pub(super) struct Use {
    /// The most subscripts it has; 0 if it has none.
    pub(super) rank: usize,
    /// Whether only an array can stand there.
    pub(super) array: bool,
    /// Whether only an integer can stand there: a bound, an extent.
    pub(super) integer: bool,
    /// Whether it is a subscript: an integer, or an array of them.
    pub(super) subscript: bool,
    /// The fewest axes that it has, inferred from `axis=`.
    pub(super) least: usize,
    /// Whether its elements are subscripts or bounds.
    pub(super) index: bool,
    /// How often it is read.
    pub(super) reads: u32,
}

/// How names are used in a body.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage {
    /// By name.
    pub(super) names: BTreeMap<String, Use>,
    /// Whether there are loops over single elements: what is neither array nor integer then is a scalar.
    pub(super) plain: bool,
    /// The most subscripts that a name has.
    pub(super) rank: usize,
}

/// The functions of a module by name.
pub(super) type Functions<'a> = BTreeMap<&'a str, &'a StmtFunctionDef>;

/// How the functions of a module use their names, by [`address`]; the module itself has 0.
pub(super) type Usages = BTreeMap<usize, Rc<Usage>>;

/// What tells a function from all others.
pub(super) fn address(function: &StmtFunctionDef) -> usize {
    std::ptr::from_ref(function).addr()
}

/// How a body by itself uses its names.
pub(super) fn usage_of(body: &[Stmt], functions: &Functions<'_>) -> Usage {
    UsageVisitor::read(body, functions).finished()
}

/// How the module and its functions use their names.
///
/// What a function does with its arguments is done with those of its callers. Calls may nest deep and go in circles, so
/// that is no recursion: it is carried over from call to call until nothing new comes of it.
pub(super) fn usages<'a>(body: &'a [Stmt], functions: &Functions<'a>) -> Usages {
    let bodies = functions.iter().map(|(name, function)| (*name, &*function.body)).chain([("", body)]);
    let mut visitors: Vec<(&str, UsageVisitor)> =
        bodies.map(|(name, body)| (name, UsageVisitor::read(body, functions))).collect();
    for _ in 0..=MAX_DEPTH {
        let known: BTreeMap<&str, Vec<Use>> = (visitors.iter())
            .filter_map(|(name, visitor)| {
                let parameters = functions.get(name)?.parameters.iter_non_variadic_params();
                let found = |name: &str| visitor.usage.names.get(name).cloned().unwrap_or_default();
                Some((*name, parameters.map(|parameter| found(parameter.name().as_str())).collect()))
            })
            .collect();
        let before: usize = visitors.iter().map(|(_, visitor)| visitor.usage.known_facts()).sum();
        visitors.iter_mut().for_each(|(_, visitor)| visitor.passed(&known));
        if visitors.iter().map(|(_, visitor)| visitor.usage.known_facts()).sum::<usize>() == before {
            break;
        }
    }
    let key = |name: &str| functions.get(name).map_or(0, |function| address(function));
    visitors.into_iter().map(|(name, visitor)| (key(name), Rc::new(visitor.finished()))).collect()
}

impl Usage {
    /// How much is known: it only ever grows.
    fn known_facts(&self) -> usize {
        let one = |found: &Use| {
            let flags = [found.array, found.integer, found.subscript, found.index];
            found.rank + found.least + flags.into_iter().filter(|flag| *flag).count()
        };
        self.names.values().map(one).sum()
    }
}

struct UsageVisitor<'a, 'b> {
    functions: &'b Functions<'a>,
    usage: Usage,
    /// `n = N`: what is copied from what.
    copies: Vec<(String, &'a Expr)>,
    /// What loops run over, by the names of their rows.
    rows: Vec<(String, &'a Expr)>,
    /// Calls of what may be a function of the source, and their arguments.
    calls: Vec<(&'a str, &'a [Expr])>,
    counters: BTreeSet<String>,
    loops: bool,
    elements: bool,
}

impl<'a, 'b> UsageVisitor<'a, 'b> {
    fn new(functions: &'b Functions<'a>) -> Self {
        Self {
            functions,
            usage: Usage::default(),
            copies: Vec::new(),
            rows: Vec::new(),
            calls: Vec::new(),
            counters: BTreeSet::new(),
            loops: false,
            elements: false,
        }
    }

    /// Reads a body.
    fn read(body: &'a [Stmt], functions: &'b Functions<'a>) -> Self {
        let mut visitor = Self::new(functions);
        body.iter().for_each(|stmt| visitor.visit_stmt(stmt));
        visitor.usage.plain = visitor.loops && visitor.elements;
        visitor.copied();
        // The rows of an array have one axis less.
        for (row, of) in std::mem::take(&mut visitor.rows).iter().rev() {
            let found = visitor.usage.names.get(row).filter(|found| found.array);
            if let Some(rank) = found.map(|found| found.rank.max(1)) {
                visitor.array(of, rank + 1);
            }
        }
        visitor
    }

    fn finished(self) -> Usage {
        let rank = self.usage.names.values().map(|found| found.rank).max().unwrap_or_default();
        Usage { rank, ..self.usage }
    }

    /// What the library says of its parameters.
    fn annotated(&mut self, function: &StmtFunctionDef, arguments: &[&Expr]) {
        for (parameter, arg) in function.parameters.iter_non_variadic_params().zip(arguments) {
            let Some((element, dims)) = annotated_shape(parameter.annotation()) else { continue };
            self.array(arg, dims);
            if let Some(found) = self.name(arg) {
                found.index |= element.is_some_and(|element| !element.is_float());
            }
        }
    }

    /// Backwards, so that `n = N` before `m = n` before `range(m)` informs about all three.
    fn copied(&mut self) {
        for (target, value) in std::mem::take(&mut self.copies).iter().rev() {
            if self.usage.names.get(target).is_some_and(|found| found.integer || found.subscript) {
                self.integer(value);
            }
        }
    }

    /// What functions of the same source do with what they are given.
    fn passed(&mut self, known: &BTreeMap<&str, Vec<Use>>) {
        let calls = std::mem::take(&mut self.calls);
        for (name, args) in &calls {
            for (found, arg) in known.get(name).into_iter().flatten().zip(*args) {
                if (found.integer || found.subscript) && !found.array {
                    self.integer(arg);
                } else if found.array {
                    self.array(arg, found.rank);
                }
            }
        }
        self.calls = calls;
    }

    fn name(&mut self, expr: &Expr) -> Option<&mut Use> {
        match expr {
            Expr::Name(name) => Some(self.usage.names.entry(name.id.to_string()).or_default()),
            _ => None,
        }
    }

    fn array(&mut self, expr: &Expr, rank: usize) {
        if let Some(found) = self.name(expr) {
            found.array = true;
            found.rank = found.rank.max(rank);
        }
    }

    fn at_least(&mut self, expr: &Expr, rank: usize) {
        self.array(expr, 0);
        if let Some(found) = self.name(expr) {
            found.least = found.least.max(rank);
        }
    }

    /// All names in an expression of integers; an array of which elements stand there holds integers.
    fn integer(&mut self, expr: &Expr) {
        for base in bases(expr) {
            self.usage.names.entry(base).or_default().index = true;
        }
        for name in names(expr) {
            self.usage.names.entry(name).or_default().integer = true;
        }
    }

    fn call(&mut self, call: &'a ExprCall) {
        let args = &call.arguments.args;
        let (name, of_module) = match &*call.func {
            Expr::Name(name) => (name.id.as_str(), false),
            Expr::Attribute(attribute) => (attribute.attr.as_str(), true),
            _ => return,
        };
        if !of_module && self.functions.contains_key(name) {
            return self.calls.push((name, args));
        }
        match (name, registry::find(name)) {
            ("range" | "prange", _) | (_, Some(Read::Make(Make::Filled | Make::Empty | Make::Eye | Make::Arange))) => {
                args.iter().for_each(|arg| self.integer(arg));
            }
            (_, Some(Read::Make(Make::Full))) => args.iter().take(1).for_each(|arg| self.integer(arg)),
            (_, Some(Read::Move(Move::Reshape))) => {
                // Of `np.reshape(a, (n, m))` the first argument is the array.
                let from = usize::from(name == "reshape" && args.len() > 1 && !is_method(call));
                args.iter().skip(from).for_each(|arg| self.integer(arg));
                args.iter().take(from).for_each(|arg| self.array(arg, 1));
            }
            // What makes objects takes numbers as often as arrays.
            (_, Some(Read::Class(_))) => {}
            (name, None) if name.starts_with(|c: char| c.is_ascii_uppercase()) => {}
            (_, Some(Read::Library(function))) => {
                let receiver = call.func.as_attribute_expr().filter(|_| is_method(call)).map(|method| &*method.value);
                let arguments: Vec<&Expr> = receiver.into_iter().chain(args.iter()).collect();
                self.annotated(function, &arguments);
                self.along(call, name);
            }
            ("permute", _) if is_method(call) && args.len() > 1 => {
                if let Expr::Attribute(method) = &*call.func {
                    self.array(&method.value, args.len());
                }
            }
            ("transpose" | "size", _) if is_method(call) => {
                let rank = args.iter().filter_map(integer).map(axes_for).max().unwrap_or_default();
                if let Expr::Attribute(method) = &*call.func {
                    self.at_least(&method.value, rank);
                }
            }
            ("enumerate" | "zip", _) | (_, Some(Read::Length)) => args.iter().for_each(|arg| self.array(arg, 0)),
            (_, Some(Read::Make(Make::Like { .. }))) => args.iter().take(1).for_each(|arg| self.array(arg, 0)),
            (_, Some(Read::Product(Product::MatMul | Product::Linear))) => {
                let rank = if name == "bmm" { 3 } else { 0 };
                args.iter().take(2).for_each(|arg| self.array(arg, rank));
            }
            (_, Some(Read::Product(Product::Inner | Product::Outer | Product::VectorDot | Product::Convolve(_)))) => {
                args.iter().take(2).for_each(|arg| self.array(arg, 1));
            }
            (_, Some(Read::Product(Product::Convolve2d))) => {
                args.iter().take(2).for_each(|arg| self.array(arg, 2));
            }
            (_, Some(Read::Product(Product::Convolution(axes) | Product::Transposed(axes)))) => {
                args.iter().take(2).for_each(|arg| self.array(arg, axes + 2));
                args.iter().skip(2).take(1).for_each(|arg| self.array(arg, 1));
            }
            (_, Some(Read::Product(Product::EinSum))) => {
                let spec = args.first().and_then(|spec| spec.as_string_literal_expr()).map(|text| text.value.to_str());
                let inputs = spec.unwrap_or_default().split("->").next().unwrap_or_default();
                for (letters, arg) in inputs.split(',').zip(args.iter().skip(1)) {
                    match letters.split_once("...") {
                        Some((before, behind)) => self.at_least(arg, before.trim().len() + behind.trim().len()),
                        None => self.array(arg, letters.trim().len()),
                    }
                }
            }
            // Of Python's own, which take numbers as often as arrays, nothing is inferred.
            ("float" | "int" | "abs" | "min" | "max" | "print" | "round" | "pow" | "isinstance", _) => {}
            _ => self.along(call, name),
        }
    }

    /// What `axis=` says of the first argument.
    fn along(&mut self, call: &'a ExprCall, name: &str) {
        let args = &call.arguments.args;
        let along = call.arguments.find_keyword("axis").or_else(|| call.arguments.find_keyword("dim"));
        let axes = match along.map(|keyword| &keyword.value) {
            Some(Expr::Tuple(tuple)) => tuple.elts.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        let rank = axes.iter().filter_map(integer).map(axes_for).max().unwrap_or_default();
        let root = root(&call.func);
        if root.is_some_and(|root| root != "math" && root != "cmath") && !OF_NUMBERS.contains(&name) && rank <= 8 {
            args.iter().take(1).for_each(|arg| self.at_least(arg, rank));
        }
        if let (Expr::Attribute(method), true) = (&*call.func, rank <= 8) {
            self.at_least(&method.value, rank);
        }
    }
}

impl<'a> Visitor<'a> for UsageVisitor<'a, '_> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            // Looked at where it is called.
            Stmt::FunctionDef(_) | Stmt::ClassDef(_) => return,
            Stmt::While(w) => {
                if let Expr::Compare(compare) = &*w.test
                    && let [bound] = compare.comparators.as_ref()
                {
                    for (counter, bound) in [(&*compare.left, bound), (bound, &*compare.left)] {
                        let stepped = w.body.iter().any(|stmt| match stmt {
                            Stmt::AugAssign(assign) => {
                                same_name(&assign.target, counter) && integer(&assign.value).is_some()
                            }
                            _ => false,
                        });
                        if stepped {
                            self.integer(bound);
                            self.counters.extend(names(counter));
                            self.loops = true;
                        }
                    }
                }
            }
            Stmt::For(f) => {
                self.over(&f.target, &f.iter);
                self.loops = true;
                self.counters.extend(names(&f.target));
                self.array_if_name(&f.iter);
            }
            Stmt::Assign(assign) => {
                for target in &assign.targets {
                    self.assigned(target, &assign.value);
                }
            }
            _ => {}
        }
        walk_stmt(self, stmt);
    }

    fn visit_comprehension(&mut self, comprehension: &'a Comprehension) {
        self.over(&comprehension.target, &comprehension.iter);
        self.array_if_name(&comprehension.iter);
        walk_comprehension(self, comprehension);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(_) => {
                if let Some(found) = self.name(expr) {
                    found.reads += 1;
                }
            }
            Expr::Subscript(subscript) => {
                let (base, rank, element) = subscripts(expr);
                match base {
                    Expr::Attribute(attribute) if attribute.attr.as_str() == "shape" => {
                        let axis = integer(&subscript.slice).unwrap_or_default();
                        self.at_least(&attribute.value, usize::try_from(axis).map_or(0, |axis| (axis + 1).min(8)));
                    }
                    base => self.array(base, rank),
                }
                self.elements |= element;
                self.integer_subscript(&subscript.slice);
            }
            Expr::Attribute(attribute)
                if matches!(attribute.attr.as_str(), "T" | "shape" | "size" | "ndim" | "dtype") =>
            {
                self.array(&attribute.value, 0);
            }
            Expr::BinOp(op) if op.op == Operator::MatMult => {
                self.array(&op.left, 0);
                self.array(&op.right, 0);
            }
            Expr::Compare(compare) => {
                let sides = || std::iter::once(&*compare.left).chain(&compare.comparators);
                if sides().any(|side| names(side).iter().any(|name| self.counters.contains(name))) {
                    sides().for_each(|side| self.integer(side));
                }
            }
            Expr::Call(call) => self.call(call),
            _ => {}
        }
        walk_expr(self, expr);
    }
}

impl<'a> UsageVisitor<'a, '_> {
    fn array_if_name(&mut self, expr: &Expr) {
        self.array(expr, 0);
    }

    /// What the targets of a loop are rows of.
    fn over(&mut self, target: &'a Expr, iter: &'a Expr) {
        match (target, iter) {
            (target, Expr::Call(call)) => match (&*call.func, target, call.arguments.args.as_ref()) {
                (Expr::Name(name), target, [Expr::Starred(rows)]) if name.id.as_str() == "zip" => {
                    self.over(target, &rows.value);
                }
                (Expr::Name(name), Expr::Tuple(targets), args) if name.id.as_str() == "zip" => {
                    targets.elts.iter().zip(args).for_each(|(target, arg)| self.over(target, arg));
                }
                (Expr::Name(name), Expr::Tuple(targets), [arg, ..]) if name.id.as_str() == "enumerate" => {
                    targets.elts.iter().skip(1).for_each(|target| self.over(target, arg));
                }
                _ => {}
            },
            (Expr::Name(row), of @ Expr::Name(_)) => self.rows.push((row.id.to_string(), of)),
            _ => {}
        }
    }

    fn integer_subscript(&mut self, slice: &Expr) {
        match slice {
            Expr::Tuple(tuple) => tuple.elts.iter().for_each(|part| self.integer_subscript(part)),
            Expr::Slice(slice) => {
                [&slice.lower, &slice.upper, &slice.step].into_iter().flatten().for_each(|part| self.integer(part));
            }
            Expr::Name(_) => {
                if let Some(found) = self.name(slice) {
                    (found.subscript, found.index) = (true, true);
                }
            }
            part => self.integer(part),
        }
    }

    fn assigned(&mut self, target: &Expr, value: &'a Expr) {
        match (target, value) {
            (Expr::Tuple(targets), Expr::Attribute(attribute)) if attribute.attr.as_str() == "shape" => {
                self.array(&attribute.value, targets.elts.len());
            }
            (Expr::Tuple(targets), Expr::Call(call)) if call.arguments.is_empty() => {
                if let Expr::Attribute(attribute) = &*call.func
                    && attribute.attr.as_str() == "size"
                {
                    self.array(&attribute.value, targets.elts.len());
                }
            }
            (Expr::Tuple(targets), Expr::Tuple(values)) => {
                targets.elts.iter().zip(&values.elts).for_each(|(target, value)| self.assigned(target, value));
            }
            (Expr::Name(name), value) => self.copies.push((name.id.to_string(), value)),
            _ => {}
        }
    }
}

/// Names in arithmetic, such as `n` and `m` in `n // 2 + m`: calls and subscripts are not entered.
fn names(expr: &Expr) -> Vec<String> {
    let (mut found, mut left) = (Vec::new(), vec![expr]);
    while let Some(expr) = left.pop() {
        match expr {
            Expr::Name(name) => found.push(name.id.to_string()),
            Expr::BinOp(op) => left.extend([&*op.left, &*op.right]),
            Expr::UnaryOp(op) => left.push(&op.operand),
            Expr::Tuple(tuple) => left.extend(&tuple.elts),
            Expr::List(list) => left.extend(&list.elts),
            Expr::Call(call) if matches!(&*call.func, Expr::Name(f) if matches!(f.id.as_str(), "min" | "max" | "int")) =>
            {
                left.extend(&call.arguments.args);
            }
            _ => {}
        }
    }
    found
}

/// Arrays whose elements stand in arithmetic: `rows` in `rows[i] + 1`.
fn bases(expr: &Expr) -> Vec<String> {
    let (mut found, mut left) = (Vec::new(), vec![expr]);
    while let Some(expr) = left.pop() {
        match expr {
            Expr::Subscript(subscript) => {
                if let Expr::Name(name) = subscripts_of(subscript).0 {
                    found.push(name.id.to_string());
                }
            }
            Expr::BinOp(op) => left.extend([&*op.left, &*op.right]),
            Expr::UnaryOp(op) => left.push(&op.operand),
            _ => {}
        }
    }
    found
}

fn is_method(call: &ExprCall) -> bool {
    // Sources have arrays of these names as often as modules.
    let arrays = ["signal", "special", "random"];
    matches!(&*call.func, Expr::Attribute(a)
        if !root(&a.value).is_some_and(|root| MODULES.contains(&root) && !arrays.contains(&root)))
}

fn same_name(a: &Expr, b: &Expr) -> bool {
    matches!((a, b), (Expr::Name(a), Expr::Name(b)) if a.id == b.id)
}

/// How many axes an array has that has this one.
fn axes_for(axis: i64) -> usize {
    match axis {
        axis if axis < 0 => axis.unsigned_abs() as usize,
        axis => (axis as usize).saturating_add(1),
    }
}

/// The type and the axes that an annotation such as `"i64[B, T]"` gives.
pub(super) fn annotated_shape(annotation: Option<&Expr>) -> Option<(Option<Element>, usize)> {
    let text = annotation?.as_string_literal_expr()?.value.to_str();
    let (element, dims) = Shape::parse_type(text).ok()?;
    Some((element, dims.len()))
}

/// Names that are modules, not values.
pub(super) const MODULES: [&str; 22] = [
    "triton",
    "np",
    "numpy",
    "jnp",
    "jax",
    "torch",
    "F",
    "nn",
    "math",
    "scipy",
    "special",
    "signal",
    "cp",
    "cupy",
    "sp",
    "linalg",
    "numba",
    "nb",
    "lax",
    "functools",
    "random",
    "functional",
];

/// Functions of modules that are called on numbers as often as on arrays: these do not show that their argument is one.
const OF_NUMBERS: [&str; 12] =
    ["sqrt", "exp", "log", "sin", "cos", "abs", "float32", "float64", "int32", "int64", "maximum", "minimum"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_numbers_are_read() {
        assert!(OF_NUMBERS.iter().all(|name| registry::find(name).is_some()));
    }
}
