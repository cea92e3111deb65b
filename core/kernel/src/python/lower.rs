//! What is shared by statements, expressions and array operations: names, places, loops, extents.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ruff_python_ast::{Expr as Tree, StmtFunctionDef};
use ruff_text_size::Ranged;

use super::defined::{Callable, Classes, Object, Scope};
use super::dry::{Dry, Shapes};
use super::scan::SourceLines;
use super::tape::Tape;
use super::usage::{Functions, Usage, Usages, address, usage_of};
use super::value::{DRAWN, Value, View};
use crate::expr::{Expr, Symbol};
use crate::nest::{Access, Array, At, Builder, Element, Loop, Node, Work};
use crate::normal::{Normal, difference, tidy};
use crate::source::{Fusion, MAX_DEPTH, Source, refuse};
use accel_ground::error::Error;

/// More statements, calls unfolded, are refused: functions that call each other twice each could go on for ever.
const MAX_STEPS: usize = 200_000;
/// Operators nest as deep as this, calls unfolded; what is deeper inside counts as several.
const MAX_INSIDE: usize = 128;
/// A tuple or a list has as many items as this, those inside it included.
const MAX_ITEMS: usize = 4096;
/// As many items of tuples and lists are read or made in all: names may each hold many.
const MAX_ALL_ITEMS: usize = 1 << 20;
/// As many axes an array has, as in NumPy.
pub(super) const MAX_AXES: usize = 64;
/// What an array may have in bytes at most.
const MAX_ARRAY_BYTES: i128 = 1 << 60;

/// A function being read.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// What its names stand for.
    pub(super) names: BTreeMap<String, Value>,
    /// How it uses them.
    pub(super) usage: Rc<Usage>,
    /// Loops around its call.
    pub(super) loops: usize,
    /// What the names around its definition stood for, where it was defined in a function.
    pub(super) captured: Option<Scope>,
    /// Where it was called, for functions of the library: what they do stands there.
    pub(super) library: Option<At>,
    /// How much of its chained operations is done in one pass, where that is not as the source is read.
    pub(super) fusion: Option<Fusion>,
}

/// What is read: the source, and what is known of it before.
pub(super) struct Reading<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) lines: &'a SourceLines<'a>,
    pub(super) functions: Functions<'a>,
    pub(super) classes: Classes<'a>,
    pub(super) usages: Usages,
    /// What comments say by line: `# probability: 0.3`.
    pub(super) probabilities: BTreeMap<u32, &'a str>,
    /// What comments say by line: `# trips: 10`.
    pub(super) trips: BTreeMap<u32, &'a str>,
}

/// A loop around what is being read: its variable, its least value, and its greatest.
#[derive(Debug, Clone)]
pub(super) struct Around {
    pub(super) var: Symbol,
    pub(super) least: Expr,
    pub(super) greatest: Expr,
    /// The greatest value as the bound says it, steps left out.
    pub(super) below: Expr,
    /// What is added each iteration.
    pub(super) step: i64,
}

/// Reads Python and writes a program.
pub(super) struct PythonLowering<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) lines: &'a SourceLines<'a>,
    pub(super) functions: Functions<'a>,
    pub(super) classes: &'a Classes<'a>,
    /// `from math import sqrt as root`: what a name is called where it comes from.
    pub(super) imports: BTreeMap<&'a str, &'a str>,
    /// And of which module it is one.
    pub(super) modules: BTreeMap<&'a str, &'a str>,
    pub(super) probabilities: &'a BTreeMap<u32, &'a str>,
    pub(super) trips: &'a BTreeMap<u32, &'a str>,
    pub(super) builder: Builder,
    /// What is done, so far, in the block being read.
    pub(super) out: Vec<Node>,
    /// What the statement being read does itself, so far.
    pub(super) work: Work,
    pub(super) frames: Vec<Frame>,
    pub(super) loops: Vec<Around>,
    /// What is known not to be negative: the conditions around.
    pub(super) facts: Vec<Expr>,
    /// Functions being unfolded, and the objects whose methods they are.
    pub(super) calls: Vec<(usize, Option<usize>)>,
    /// Instances of classes.
    pub(super) objects: Vec<Object<'a>>,
    /// Functions as values.
    pub(super) callables: Vec<Callable<'a>>,
    /// Objects being made: nothing that makes one is counted.
    pub(super) building: usize,
    /// Axes that arguments turned out to have.
    pub(super) ranks: BTreeMap<String, usize>,
    /// The axes of an argument that turned out to be too few, and how many more there are.
    pub(super) wanted: Option<(String, usize)>,
    /// Shapes inferred from use, where this is the run that uses them.
    pub(super) shapes: Option<&'a Shapes>,
    /// What is learned, where this is the run that finds the shapes.
    pub(super) dry: Dry,
    /// Arguments of which nothing was known at first.
    pub(super) resolved: BTreeMap<String, Value>,
    /// Scalars that the statement being read has read so far.
    pub(super) reads: BTreeSet<String>,
    /// Loops of array operations around the one being written, for the names of their variables.
    nested: usize,
    usages: Usages,
    /// Expressions, conditions and calls being read inside one another.
    depth: usize,
    steps: usize,
    /// Operations on elements so far.
    pub(super) operations: usize,
    /// Where the results of operations lie that a compiler of graphs has stored, by the number of the last operation.
    pub(super) stored: BTreeMap<usize, View>,
    /// Functions and methods that a compiler of graphs is given (`jax.jit(f)`), as in `calls`.
    pub(super) compiled: BTreeSet<(usize, Option<usize>)>,
    /// Items of tuples and lists so far.
    items: usize,
    /// Operations whose gradients are asked for.
    pub(super) tape: Tape,
    /// Arrays that have a gradient.
    pub(super) differentiable: BTreeSet<usize>,
    /// Names whose given shapes the source asked for.
    pub(super) shapes_used: BTreeSet<&'a str>,
    /// The kernel whose launch is looked for, and the launch.
    pub(super) kernel: Option<&'a StmtFunctionDef>,
    pub(super) launch: Option<Launched<'a>>,
}

/// The launch of a kernel of a grid: `kernel[grid](x, n, BLOCK=1024)`.
pub(super) struct Launched<'a> {
    /// What stands in the brackets.
    pub(super) grid: Value,
    pub(super) values: Vec<Value>,
    pub(super) names: Vec<(&'a str, Value)>,
}

impl<'a> PythonLowering<'a> {
    pub(super) fn new(reading: &'a Reading<'a>, shapes: Option<&'a Shapes>, ranks: BTreeMap<String, usize>) -> Self {
        Self {
            source: reading.source,
            lines: reading.lines,
            functions: reading.functions.clone(),
            classes: &reading.classes,
            imports: BTreeMap::new(),
            modules: BTreeMap::new(),
            probabilities: &reading.probabilities,
            trips: &reading.trips,
            builder: Builder::new(reading.source.defines),
            out: Vec::new(),
            work: Work::default(),
            frames: Vec::new(),
            loops: Vec::new(),
            facts: Vec::new(),
            calls: Vec::new(),
            objects: Vec::new(),
            callables: Vec::new(),
            building: 0,
            ranks,
            wanted: None,
            shapes,
            dry: Dry::default(),
            resolved: BTreeMap::new(),
            reads: BTreeSet::new(),
            nested: 0,
            usages: reading.usages.clone(),
            depth: 0,
            steps: 0,
            operations: 0,
            stored: BTreeMap::new(),
            compiled: BTreeSet::new(),
            items: 0,
            tape: Tape::default(),
            differentiable: BTreeSet::new(),
            shapes_used: BTreeSet::new(),
            kernel: None,
            launch: None,
        }
    }

    /// The place of a part of the tree; in a function of the library, where it was called.
    pub(super) fn at(&self, part: &impl Ranged) -> At {
        let called = self.frames.last().and_then(|frame| frame.library);
        called.unwrap_or_else(|| self.lines.at(part.start().to_usize()))
    }

    /// Whether a function of the library is being read.
    pub(super) fn in_library(&self) -> bool {
        self.frames.last().is_some_and(|frame| frame.library.is_some())
    }

    /// How much of chained operations is done in one pass here.
    pub(super) fn fusion(&self) -> Fusion {
        self.frames.last().and_then(|frame| frame.fusion).unwrap_or(self.source.fusion)
    }

    /// Whether shapes are still being found.
    pub(super) fn is_dry(&self) -> bool {
        self.shapes.is_none()
    }

    /// Counts a statement or a call.
    pub(super) fn step(&mut self, at: At) -> Result<(), Error> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            let problem = format!("with every call unfolded, there are more than {MAX_STEPS} statements");
            return Err(refuse(at, problem, "Look at one of the functions that are called"));
        }
        Ok(())
    }

    /// Refuses a tuple of too many items, and too many of them in all: `x = (x, x)` again and again must not fill the
    /// memory.
    pub(super) fn count_items(&mut self, items: usize, at: At) -> Result<(), Error> {
        self.check_items(items, at)?;
        self.items += items;
        Ok(())
    }

    /// Refuses a tuple of as many items.
    pub(super) fn check_items(&self, items: usize, at: At) -> Result<(), Error> {
        let problem = match items {
            items if items > MAX_ITEMS => format!("a tuple or a list of more than {MAX_ITEMS} items"),
            items if self.items.saturating_add(items) > MAX_ALL_ITEMS => {
                format!("tuples and lists of more than {MAX_ALL_ITEMS} items in all")
            }
            _ => return Ok(()),
        };
        Err(refuse(at, problem, "Use an array whose shape is given"))
    }

    /// Reads a part inside what is being read: calls and operators of several functions must not fill the stack, of
    /// which a loop or a condition takes as much as several operators do.
    pub(super) fn deeper<T>(
        &mut self,
        at: At,
        levels: usize,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.depth + levels > MAX_INSIDE {
            let problem = "with every call unfolded, expressions, conditions and loops nest too deep";
            return Err(refuse(at, problem, "Name parts of it, or look at one of the functions that are called"));
        }
        self.depth += levels;
        let value = read(self);
        self.depth -= levels;
        value
    }

    /// Puts what the statement did so far before what comes next.
    pub(super) fn flush(&mut self) {
        let at = self.work.at;
        let work = std::mem::replace(&mut self.work, Work { at, ..Work::default() });
        if work != (Work { at, ..Work::default() }) {
            self.out.push(Node::Work(work));
        }
    }

    /// Reads with an empty block and returns it.
    pub(super) fn block_of<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<(Vec<Node>, T), Error> {
        self.flush();
        let around = std::mem::take(&mut self.out);
        let value = read(self);
        self.flush();
        let block = std::mem::replace(&mut self.out, around);
        Ok((block, value?))
    }

    // Names.

    /// What `name` stands for here.
    pub(super) fn lookup(&self, name: &str) -> Option<Value> {
        let frame = self.frames.last()?;
        let captured = || frame.captured.as_ref().and_then(|names| names.get(name));
        // Constants of the module are seen by its functions.
        let global = || self.frames.first().filter(|_| frame.library.is_none()).and_then(|frame| frame.names.get(name));
        match frame.names.get(name).or_else(captured).or_else(global) {
            Some(found @ Value::Unknown(argument)) => self.resolved.get(argument).or(Some(found)).cloned(),
            found => found.cloned(),
        }
    }

    /// Lets `name` stand for `value`.
    pub(super) fn bind(&mut self, name: &str, value: Value) {
        if let Some(frame) = self.frames.last_mut() {
            frame.names.insert(name.to_owned(), value);
        }
    }

    /// Begins a function.
    pub(super) fn enter(&mut self, function: Option<&'a StmtFunctionDef>) -> Result<(), Error> {
        if self.frames.len() > MAX_DEPTH {
            let at = function.map_or(At::default(), |function| self.at(function));
            return Err(refuse(
                at,
                format!("calls nest more than {MAX_DEPTH} deep"),
                "Look at one of the functions called",
            ));
        }
        let key = function.map_or(0, address);
        let usage = match (self.usages.get(&key), function) {
            (Some(usage), _) => usage.clone(),
            (None, Some(function)) => {
                let usage = Rc::new(usage_of(&function.body, &self.functions));
                self.usages.insert(key, usage.clone());
                usage
            }
            (None, None) => Rc::default(),
        };
        self.frames.push(Frame { usage, loops: self.loops.len(), ..Frame::default() });
        Ok(())
    }

    /// States what the user gave and the source has no use for.
    pub(super) fn state_unused(&mut self) {
        let defines: Vec<String> = self.builder.unused().into_iter().map(str::to_owned).collect();
        for name in defines {
            self.builder.assume(format!("{name} was given, and the source does not use it"));
        }
        for shape in self.source.shapes.iter().filter(|shape| !self.shapes_used.contains(shape.name.as_str())) {
            self.builder.assume(format!("{} was given a shape, and the source does not use it", shape.name));
        }
    }

    // Integers.

    /// `expr` in normal form; refused if it is too long.
    pub(super) fn tidy(&self, expr: &Expr, at: At) -> Result<Expr, Error> {
        let normal = Normal::of(expr).ok_or_else(|| {
            refuse(
                at,
                "this integer expression is too long, or leaves 64 bits",
                "Give its value as a parameter of its own",
            )
        })?;
        Ok(normal.expr())
    }

    /// Whether loop variables stand in `expr`.
    pub(super) fn varies(&self, expr: &Expr) -> bool {
        self.loops.iter().any(|around| expr.mentions(around.var))
    }

    /// The value of `expr`, if parameters alone give it.
    pub(super) fn number(&self, expr: &Expr) -> Option<i64> {
        if self.varies(expr) {
            return None;
        }
        let value = |symbol: Symbol| {
            let info = self.builder.program.symbols.get(symbol.0 as usize);
            info.and_then(|info| info.value).map(Expr::Const)
        };
        expr.replaced(&value).value(&[]).ok()
    }

    /// The least or the greatest value of `expr` in the loops around, and whether it is attained.
    ///
    /// Loop variables are replaced by their extremes, innermost first, so that `i - j` with `j < i` is known to be
    /// positive. With `steps`, the last value that a stepping loop reaches counts, not the bound that stops it.
    pub(super) fn extreme(&self, expr: &Expr, greatest: bool, steps: bool) -> Option<(Expr, bool)> {
        let (mut expr, mut exact) = (tidy(expr), true);
        for around in self.loops.iter().rev() {
            if !expr.mentions(around.var) {
                continue;
            }
            let normal = Normal::of(&expr)?;
            let Some((slope, rest)) = normal.split(around.var) else {
                let loose = self.loose(&normal, greatest, steps)?;
                return Some((loose, false));
            };
            let up = match self.number(&slope.expr()) {
                Some(slope) => (slope >= 0) == greatest,
                None => return None,
            };
            let end = match (up, steps) {
                (true, true) => &around.greatest,
                (true, false) => &around.below,
                (false, _) => &around.least,
            };
            exact &= !self.varies(&slope.expr());
            expr = slope.times(&Normal::of(end)?)?.plus(&rest)?.expr();
        }
        Some((expr, exact))
    }

    /// The same where quotients and minima are in the way: each term by itself.
    fn loose(&self, normal: &Normal, greatest: bool, steps: bool) -> Option<Expr> {
        let mut sum = Expr::Const(0);
        for (factors, coefficient) in normal.terms() {
            let up = (coefficient >= 0) == greatest;
            let [factor] = factors else {
                let product = factors.iter().cloned().reduce(Expr::times).unwrap_or(Expr::Const(1));
                if self.varies(&product) {
                    return None;
                }
                sum = sum.plus(product.times(coefficient));
                continue;
            };
            let end = |e: &Expr| self.extreme(e, up, steps).map(|(e, _)| e);
            let term = match factor {
                Expr::Min(a, b) => end(a)?.min(end(b)?),
                Expr::Max(a, b) => end(a)?.max(end(b)?),
                Expr::Div(a, b, rounding) if self.number(b).is_some_and(|b| b > 0) => {
                    end(a)?.over((**b).clone(), *rounding)
                }
                Expr::Rem(_, b, _) if self.number(b).is_some_and(|b| b > 0) => {
                    if up {
                        (**b).clone().minus(1)
                    } else {
                        Expr::Const(0)
                    }
                }
                Expr::Symbol(_) => end(factor)?,
                other if !self.varies(other) => other.clone(),
                _ => return None,
            };
            sum = sum.plus(term.times(coefficient));
        }
        Some(tidy(&sum))
    }

    /// Whether `expr` is never negative here; none where that cannot be decided.
    pub(super) fn never_negative(&self, expr: &Expr) -> Option<bool> {
        let certain = |fact: &Expr| difference(expr, fact).is_some_and(|difference| difference >= 0);
        if self.facts.iter().any(certain) {
            return Some(true);
        }
        let (least, exact) = self.extreme(expr, false, true)?;
        match self.number(&least)? {
            least if least >= 0 => Some(true),
            _ if exact && self.facts.is_empty() => Some(false),
            _ => None,
        }
    }

    // Extents.

    /// Whether two extents are the same; where shapes are being found, it makes them so.
    pub(super) fn unify(&mut self, a: &Expr, b: &Expr) -> bool {
        let (a, b) = (self.dry.known(a), self.dry.known(b));
        if a == b || difference(&a, &b) == Some(0) {
            return true;
        }
        if self.dry.bind(&a, &b) || self.dry.bind(&b, &a) || self.dry.solve(&a, &b) {
            return true;
        }
        match (self.number(&a), self.number(&b)) {
            (Some(x), Some(y)) => x == y,
            _ => self.dry.is_open(&a) || self.dry.is_open(&b),
        }
    }

    /// A shape in words.
    pub(super) fn shape_text(&self, dims: &[Expr]) -> String {
        let text = |dim: &Expr| {
            let form = dim.text(&|symbol| self.builder.program.name(symbol));
            match self.number(dim) {
                Some(value) if value.to_string() != form && !self.dry.is_open(dim) => format!("{form} = {value}"),
                _ => form,
            }
        };
        format!("[{}]", dims.iter().map(text).collect::<Vec<_>>().join(", "))
    }

    /// The extents of what broadcasting makes of arrays of `shapes`.
    pub(super) fn broadcast(&mut self, shapes: &[Vec<Expr>], at: At) -> Result<Vec<Expr>, Error> {
        let rank = shapes.iter().map(Vec::len).max().unwrap_or_default();
        let mut dims = vec![Expr::Const(1); rank];
        for shape in shapes {
            let before = rank - shape.len();
            for (dim, own) in dims.iter_mut().skip(before).zip(shape) {
                if *dim == Expr::Const(1) {
                    *dim = own.clone();
                } else if *own != Expr::Const(1) && !self.unify(dim, own) {
                    let texts: Vec<String> = shapes.iter().map(|shape| self.shape_text(shape)).collect();
                    let problem = format!("arrays of shapes {} do not fit together", texts.join(" and "));
                    return Err(refuse(at, problem, "Extents that meet must be equal or 1; give the arrays' shapes"));
                }
            }
        }
        Ok(dims)
    }

    /// `view` as part of something of extents `dims`.
    pub(super) fn spread(view: &View, dims: &[Expr]) -> View {
        let before = dims.len().saturating_sub(view.dims.len());
        let at: Vec<Expr> = (view.dims.iter().enumerate())
            .map(|(own, dim)| {
                let unit = *dim == Expr::Const(1) && dims.get(own + before) != Some(&Expr::Const(1));
                if unit { Expr::Const(0) } else { super::value::axis(own + before) }
            })
            .collect();
        view.of(dims.to_vec(), &at)
    }

    // Arrays.

    /// A new array; where its extents depend on loop variables, as large as it gets.
    pub(super) fn allocate(&mut self, name: &str, element: Element, dims: &[Expr], at: At) -> Result<View, Error> {
        self.declare(name, element, dims, true, at)
    }

    /// A new array, that the source names or does not.
    pub(super) fn declare(
        &mut self,
        name: &str,
        element: Element,
        dims: &[Expr],
        temporary: bool,
        at: At,
    ) -> Result<View, Error> {
        let unknown = || refuse(at, "the extent of this array cannot be determined", "Give it as a parameter");
        if dims.len() > MAX_AXES {
            return Err(refuse(at, format!("an array of more than {MAX_AXES} axes"), "Use fewer axes"));
        }
        let mut own = Vec::new();
        let mut bytes = i128::from(element.bytes());
        for dim in dims {
            let dim = match self.varies(dim) {
                true => self.extreme(dim, true, true).ok_or_else(unknown)?.0,
                false => dim.clone(),
            };
            let extent = self.number(&dim).ok_or_else(unknown)?;
            if extent < 0 {
                let problem = format!("an extent of this array is {extent}: {}", self.shape_text(dims));
                return Err(refuse(at, problem, "Give larger parameters"));
            }
            bytes = bytes.saturating_mul(i128::from(extent));
            own.push(dim);
        }
        if bytes > MAX_ARRAY_BYTES {
            let problem = format!("an array of {} would take {bytes} bytes", self.shape_text(dims));
            return Err(refuse(at, problem, "Give smaller parameters"));
        }
        let array = self.builder.array(Array { name: name.to_owned(), element, dims: own, temporary });
        // Arguments, and what objects are made of.
        if element.is_float() && (!temporary || self.building > 0) {
            self.differentiable.insert(array);
        }
        Ok(View::whole(array, dims.to_vec()))
    }

    /// The type of a view's elements.
    pub(super) fn element(&self, view: &View) -> Element {
        self.builder.program.arrays.get(view.array).map_or(self.source.element, |array| array.element)
    }

    /// A load or a store of the element at `index` of `view`.
    pub(super) fn access(view: &View, index: &[Expr], write: bool, at: At) -> Access {
        let subscripts = view.element(index);
        let parts: Vec<Option<Expr>> =
            subscripts.iter().map(|own| (!own.mentions(DRAWN)).then(|| own.clone())).collect();
        let known = Access::known_of(&parts);
        Access { array: view.array, index: (!view.by_data).then_some(subscripts), known, write, at }
    }

    /// Loops over `dims` around what `inner` makes of their variables; extents of 1 take no loop.
    pub(super) fn nest(
        &mut self,
        dims: &[Expr],
        at: At,
        inner: impl FnOnce(&mut Self, &[Expr]) -> Vec<Node>,
    ) -> Vec<Node> {
        let names = ["i", "j", "k", "l", "m", "n"];
        let around = self.nested;
        let vars: Vec<Option<Symbol>> = (dims.iter().enumerate())
            .map(|(depth, dim)| {
                let name = names.get(around + depth).copied().unwrap_or("x");
                (*dim != Expr::Const(1)).then(|| self.builder.variable(name))
            })
            .collect();
        let index: Vec<Expr> = vars.iter().map(|var| var.map_or(Expr::Const(0), Expr::from)).collect();
        self.nested += dims.len();
        let body = inner(self, &index);
        self.nested = around;
        dims.iter().zip(vars).rev().fold(body, |body, (dim, var)| match var {
            None => body,
            Some(var) => {
                let (lower, upper, step) = (Expr::Const(0), dim.clone(), Expr::Const(1));
                vec![Node::Loop(Loop { var, lower, upper, step, body, at })]
            }
        })
    }

    /// Puts nodes into the block being read.
    pub(super) fn emit(&mut self, nodes: Vec<Node>) {
        self.flush();
        self.out.extend(nodes);
    }

    /// States an assumption with its line.
    pub(super) fn assume(&mut self, at: At, text: impl std::fmt::Display) {
        self.builder.assume(format!("line {}: {text}", at.line));
    }

    /// What a comment such as `# trips: 10` says about a line, behind it or alone above it.
    pub(super) fn comment(comments: &BTreeMap<u32, &'a str>, at: At) -> Option<&'a str> {
        comments.get(&at.line).copied()
    }

    /// The last value of a loop variable that stepped from `lower` to `upper`.
    pub(super) fn last(lower: &Expr, upper: &Expr, step: i64) -> Expr {
        let toward = upper.clone().minus(step.signum());
        match step {
            1 | -1 => toward,
            step => {
                let rounds = toward.minus(lower.clone()).over(step, crate::expr::Rounding::Floor);
                lower.clone().plus(rounds.times(step))
            }
        }
    }

    /// How many iterations a range has, if it has any.
    pub(super) fn rounds(lower: &Expr, upper: &Expr, step: i64) -> Expr {
        match step {
            1 => tidy(&upper.clone().minus(lower.clone())),
            -1 => tidy(&lower.clone().minus(upper.clone())),
            step => {
                let span = upper.clone().minus(lower.clone()).plus(step - step.signum());
                tidy(&span.over(step, crate::expr::Rounding::Floor))
            }
        }
    }

    /// Refuses a part of the tree.
    pub(super) fn refuse<T>(&self, part: &impl Ranged, problem: impl Into<String>, cure: &str) -> Result<T, Error> {
        Err(refuse(self.at(part), problem, cure))
    }

    /// The code of a part of the tree.
    pub(super) fn text(&self, part: &Tree) -> &'a str {
        let range = part.range();
        let code = if self.in_library() { super::library::CODE } else { self.source.code };
        code.get(range.start().to_usize()..range.end().to_usize()).unwrap_or_default()
    }
}
