//! How a function uses its names: what nobody declares is inferred from that.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, ExprCall, Operator, Stmt, StmtFunctionDef};

use super::registry::{self, Make, Move, Product, Read};
use super::tree::{integer, root, subscripts, subscripts_of};
use crate::source::MAX_DEPTH;

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

/// How the functions of a module use their names, by name; the module itself has none.
pub(super) type Usages<'a> = BTreeMap<&'a str, Rc<Usage>>;

/// How the module and its functions use their names.
///
/// What a function does with its arguments is done with those of its callers. Calls may nest deep and go in circles, so
/// that is no recursion: it is carried over from call to call until nothing new comes of it.
pub(super) fn usages<'a>(body: &'a [Stmt], functions: &Functions<'a>) -> Usages<'a> {
    let bodies = functions.iter().map(|(name, function)| (*name, &*function.body)).chain([("", body)]);
    let mut visitors: Vec<(&str, UsageVisitor)> = bodies
        .map(|(name, body)| {
            let mut visitor = UsageVisitor::new(functions);
            body.iter().for_each(|stmt| visitor.visit_stmt(stmt));
            visitor.usage.plain = visitor.loops && visitor.elements;
            visitor.copied();
            (name, visitor)
        })
        .collect();
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
    let usage_of = |(name, visitor): (&'a str, UsageVisitor<'a, '_>)| {
        let rank = visitor.usage.names.values().map(|found| found.rank).max().unwrap_or_default();
        (name, Rc::new(Usage { rank, ..visitor.usage }))
    };
    visitors.into_iter().map(usage_of).collect()
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
            calls: Vec::new(),
            counters: BTreeSet::new(),
            loops: false,
            elements: false,
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
            (_, Some(Read::Product(Product::Convolution(axes)))) => {
                args.iter().take(2).for_each(|arg| self.array(arg, axes + 2));
                args.iter().skip(2).take(1).for_each(|arg| self.array(arg, 1));
            }
            (_, Some(Read::Product(Product::EinSum))) => {
                let spec = args.first().and_then(|spec| spec.as_string_literal_expr()).map(|text| text.value.to_str());
                let inputs = spec.unwrap_or_default().split("->").next().unwrap_or_default();
                for (letters, arg) in inputs.split(',').zip(args.iter().skip(1)) {
                    self.array(arg, letters.trim().len());
                }
            }
            // Of Python's own, which take numbers as often as arrays, nothing is inferred.
            ("float" | "int" | "abs" | "min" | "max" | "print" | "round" | "pow" | "isinstance", _) => {}
            _ => {
                let along = call.arguments.find_keyword("axis").or_else(|| call.arguments.find_keyword("dim"));
                let axes = match along.map(|keyword| &keyword.value) {
                    Some(Expr::Tuple(tuple)) => tuple.elts.as_slice(),
                    Some(one) => std::slice::from_ref(one),
                    None => &[],
                };
                let ranks = axes.iter().filter_map(integer).map(|axis| match axis {
                    axis if axis < 0 => axis.unsigned_abs() as usize,
                    axis => axis as usize + 1,
                });
                let rank = ranks.max().unwrap_or_default();
                let root = root(&call.func);
                if root.is_some_and(|root| root != "math" && root != "cmath")
                    && !OF_NUMBERS.contains(&name)
                    && rank <= 8
                {
                    args.iter().take(1).for_each(|arg| self.at_least(arg, rank));
                }
                if let (Expr::Attribute(method), true) = (&*call.func, rank <= 8) {
                    self.at_least(&method.value, rank);
                }
            }
        }
    }
}

impl<'a> Visitor<'a> for UsageVisitor<'a, '_> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            // Looked at where it is called.
            Stmt::FunctionDef(_) | Stmt::ClassDef(_) => return,
            Stmt::For(f) => {
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
    !matches!(&*call.func, Expr::Attribute(a) if root(&a.value).is_some_and(|r| matches!(r, "np" | "numpy" | "jnp" | "torch")))
}

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
