//! Kernels of Triton and of numba.cuda: what one program of the grid does to its tiles, or one thread to its elements.
//!
//! A tile is an expression of its axes (`tl.arange`); what is loaded, stored and computed with it stands in loops over
//! these axes, a mask is a condition within them. `tile` holds the values and what operators make of them, `host` finds
//! the launch.

mod host;
mod reach;
#[cfg(test)]
mod tests;
mod tile;

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::{Decorator, Expr as Tree, ModModule, Stmt, StmtFor, StmtFunctionDef, StmtIf};
use ruff_text_size::Ranged;

use self::tile::{Dim, Value};
use super::lower::Reading;
use super::tree::{integer, last_name, root};
use crate::expr::{Expr, Rounding, Symbol};
use crate::nest::{Array, At, Axis, Branch, Builder, Condition, Grid, Kernel, Loop, Node, Work};
use crate::normal::{Normal, tidy};
use crate::source::{Extent, Source, place, refuse};
use accel_ground::error::Error;

/// Loops are read twice, to see what each iteration moves: deeper ones are refused.
const MOST_LOOPS: usize = 6;
/// Longer kernels are refused: statements, those of loops and calls as often as they are read.
const MOST_STEPS: usize = 1 << 14;
/// Warps of a program where nobody says (Triton's default).
const WARPS: i64 = 4;
/// Threads of a block of numba where nobody says, as for CUDA C.
const THREADS: i64 = 256;

/// How a kernel is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// A program works on tiles.
    Triton,
    /// A thread works on elements.
    Numba,
}

fn style(decorators: &[Decorator]) -> Option<Style> {
    decorators.iter().find_map(|decorator| {
        let called = match &decorator.expression {
            Tree::Call(call) => &*call.func,
            other => other,
        };
        match (root(called), last_name(called)) {
            (Some("triton"), Some("jit")) => Some(Style::Triton),
            (Some("cuda"), Some("jit")) => Some(Style::Numba),
            _ => None,
        }
    })
}

/// Reads the kernel of a source that has one; nothing where it has none.
pub(super) fn read<'a>(reading: &'a Reading<'a>, module: &'a ModModule) -> Result<Option<Kernel>, Error> {
    let source = reading.source;
    let kernels: Vec<(&StmtFunctionDef, Style)> = module
        .body
        .iter()
        .filter_map(|stmt| match stmt {
            Stmt::FunctionDef(function) => Some((function, style(&function.decorator_list)?)),
            _ => None,
        })
        .collect();
    let chosen: Vec<_> = match source.function {
        Some(wanted) => kernels.iter().filter(|(function, _)| function.name.as_str() == wanted).collect(),
        None => {
            let mut called = BTreeSet::new();
            for (function, _) in &kernels {
                host::calls(&function.body, &mut |call| {
                    called.extend(last_name(&call.func).map(str::to_owned));
                });
            }
            kernels.iter().filter(|(function, _)| !called.contains(function.name.as_str())).collect()
        }
    };
    let (function, style) = match chosen.as_slice() {
        [only] => **only,
        [] => return Ok(None),
        [_, second, ..] => {
            let names: Vec<&str> = chosen.iter().map(|(function, _)| function.name.as_str()).collect();
            let at = place(source.code, second.0.start().to_usize());
            let problem = format!("there are several kernels: {}", names.join(", "));
            return Err(refuse(at, problem, "Say which one to look at"));
        }
    };
    let launch = host::find(reading, module, function);
    let mut lower = Lowering::new(source, module, launch, style);
    lower.declare(function);
    lower.block(&function.body)?;
    lower.finish(function).map(Some)
}

/// Whether statements launch the kernel.
pub(super) fn calls(body: &[Stmt], kernel: &StmtFunctionDef) -> bool {
    let mut found = false;
    host::calls(body, &mut |call| {
        found |= call.func.as_subscript_expr().is_some_and(|own| last_name(&own.value) == Some(kernel.name.as_str()));
    });
    found
}

/// The state of reading a kernel.
#[derive(Clone)]
struct Lowering<'a> {
    source: &'a Source<'a>,
    functions: BTreeMap<&'a str, &'a StmtFunctionDef>,
    launch: host::Launch,
    style: Style,
    builder: Builder,
    names: BTreeMap<String, Value>,
    arrays: BTreeMap<String, usize>,
    /// What `tl.make_block_ptr` says of how far rows lie apart, by array.
    strides: BTreeMap<usize, Vec<Expr>>,
    /// Which elements are touched, by array.
    touched: Vec<(usize, Expr)>,
    /// The extents of variables of loops, axes and the grid.
    extents: BTreeMap<Symbol, Expr>,
    /// The axes of tiles.
    lanes: BTreeSet<Symbol>,
    /// Indices of programs (or blocks) and threads, x first.
    blocks: [Option<Symbol>; 3],
    threads: [Option<Symbol>; 3],
    /// The grid that the masks ask for.
    wanted: [Option<Expr>; 3],
    /// Lines whose FLOPs are those of tensor cores.
    tensor_lines: BTreeSet<u32>,
    out: Vec<Node>,
    loops: usize,
    calls: usize,
    /// Statements read so far.
    steps: usize,
    /// What a function of the source gave back.
    result: Option<Value>,
}

impl<'a> Lowering<'a> {
    fn new(source: &'a Source<'a>, module: &'a ModModule, launch: host::Launch, style: Style) -> Self {
        let functions = module.body.iter().filter_map(|stmt| match stmt {
            Stmt::FunctionDef(function) => Some((function.name.as_str(), function)),
            _ => None,
        });
        let mut values = launch.values.clone();
        values.extend(source.defines.clone());
        Self {
            source,
            functions: functions.collect(),
            launch,
            style,
            builder: Builder::new(&values),
            names: BTreeMap::new(),
            arrays: BTreeMap::new(),
            strides: BTreeMap::new(),
            touched: Vec::new(),
            extents: BTreeMap::new(),
            lanes: BTreeSet::new(),
            blocks: [None; 3],
            threads: [None; 3],
            wanted: [const { None }; 3],
            tensor_lines: BTreeSet::new(),
            out: Vec::new(),
            loops: 0,
            calls: 0,
            steps: 0,
            result: None,
        }
    }

    fn at(&self, ranged: &impl Ranged) -> At {
        place(self.source.code, ranged.start().to_usize())
    }

    /// The arguments: what each is shows in its use.
    fn declare(&mut self, function: &StmtFunctionDef) {
        let names: Vec<String> =
            function.parameters.iter_non_variadic_params().map(|own| own.parameter.name.to_string()).collect();
        for (position, name) in names.iter().enumerate() {
            // `stride_am, stride_ak`: elements of a row lie one behind another.
            let family = |name: &str| {
                let last = name.char_indices().next_back().map_or(0, |(at, _)| at);
                let several = name.strip_prefix("stride_").is_some_and(|rest| rest.len() > 1);
                several.then(|| name.get(..last).map(str::to_owned))
            };
            let next = names.get(position + 1).and_then(|next| family(next)).flatten();
            let own = family(name).flatten();
            if own.is_some()
                && own != next
                && self.builder.given(name).is_none()
                && !self.launch.values.contains_key(name)
            {
                self.builder.assume(format!("{name} is 1: elements of a row lie one behind another"));
                self.names.insert(name.clone(), Value::scalar(Expr::Const(1)));
                continue;
            }
            self.names.insert(name.clone(), Value::Argument(name.clone()));
        }
    }

    /// The value of an integer argument.
    fn parameter(&mut self, name: &str) -> Expr {
        let blocks = self.names.keys().filter(|name| name.to_ascii_uppercase().starts_with("BLOCK")).count();
        let upper = name.to_ascii_uppercase();
        // Sizes of tiles, as Triton's tutorials have them: 1024 elements, or 64 by 64.
        let default = match () {
            () if upper.starts_with("BLOCK") && blocks > 1 => 64,
            () if upper.starts_with("GROUP") => 8,
            () => crate::nest::DEFAULT_EXTENT,
        };
        Expr::from(self.builder.parameter_or(name, default))
    }

    /// The array of an argument that is a pointer.
    fn array(&mut self, name: &str) -> usize {
        if let Some(array) = self.arrays.get(name) {
            return *array;
        }
        let shape = self.source.shapes.iter().find(|shape| shape.name == name);
        let launched = self.launch.arrays.get(name).map(|(element, _)| *element);
        let element = shape.and_then(|shape| shape.element).or(launched).unwrap_or(self.source.element);
        let array = self.builder.array(Array { name: name.to_owned(), element, dims: Vec::new(), temporary: false });
        self.arrays.insert(name.to_owned(), array);
        array
    }

    /// A new variable with so many values from 0.
    fn variable(&mut self, name: &str, extent: Expr) -> Symbol {
        let symbol = self.builder.variable(name);
        self.extents.insert(symbol, extent);
        symbol
    }

    fn block(&mut self, body: &'a [Stmt]) -> Result<(), Error> {
        for stmt in body {
            if self.result.is_some() {
                break;
            }
            self.statement(stmt)?;
        }
        Ok(())
    }

    fn statement(&mut self, stmt: &'a Stmt) -> Result<(), Error> {
        let at = self.at(stmt);
        self.steps += 1;
        if self.steps > MOST_STEPS {
            let problem = format!("the kernel has more than {MOST_STEPS} statements once calls are written out");
            return Err(refuse(at, problem, "Give a smaller kernel"));
        }
        match stmt {
            Stmt::Assign(assign) => {
                let value = self.value(&assign.value)?;
                assign.targets.iter().try_for_each(|target| self.assign(target, value.clone(), at))
            }
            Stmt::AnnAssign(assign) => match &assign.value {
                Some(value) => {
                    let value = self.value(value)?;
                    self.assign(&assign.target, value, at)
                }
                None => Ok(()),
            },
            Stmt::AugAssign(assign) => {
                let before = self.value(&assign.target)?;
                let by = self.value(&assign.value)?;
                let value = self.binary(assign.op, before, by, at)?;
                self.assign(&assign.target, value, at)
            }
            Stmt::Expr(expr) => self.value(&expr.value).map(|_| ()),
            Stmt::For(repeat) => self.for_loop(repeat, at),
            Stmt::If(branch) => self.branch(branch, at),
            Stmt::Return(own) => {
                let value = own.value.as_ref().map(|value| self.value(value)).transpose()?;
                self.result = Some(value.unwrap_or(Value::Other));
                Ok(())
            }
            Stmt::Pass(_) | Stmt::Assert(_) => Ok(()),
            _ => {
                let cure = "Use assignments, `for ... in range(...)`, `if`, and tl's operations";
                Err(refuse(at, "this statement of a kernel is not read", cure))
            }
        }
    }

    fn assign(&mut self, target: &'a Tree, value: Value, at: At) -> Result<(), Error> {
        match target {
            Tree::Name(name) => {
                self.names.insert(name.id.to_string(), value);
                Ok(())
            }
            Tree::Tuple(targets) => {
                let Value::List(values) = value else {
                    return Err(refuse(at, "these are not several values", "Assign them one by one"));
                };
                targets.elts.iter().zip(values).try_for_each(|(target, value)| self.assign(target, value, at))
            }
            Tree::Subscript(subscript) => {
                let place = self.element(subscript, at)?;
                self.touch(place, None, true, at)
            }
            _ => Err(refuse(at, "this cannot be assigned to in a kernel", "Assign to a name or an element")),
        }
    }

    /// `for i in range(a, b, c)`.
    fn for_loop(&mut self, repeat: &'a StmtFor, at: At) -> Result<(), Error> {
        let Tree::Call(call) = &*repeat.iter else {
            return Err(refuse(at, "what this loop goes over is not a range", "Use `for i in range(n)`"));
        };
        if !matches!(last_name(&call.func), Some("range" | "static_range")) {
            return Err(refuse(at, "what this loop goes over is not a range", "Use `for i in range(n)`"));
        }
        if self.loops >= MOST_LOOPS {
            return Err(refuse(at, format!("loops are nested more than {MOST_LOOPS} deep"), "Write some of them out"));
        }
        let mut ends = Vec::new();
        for argument in &call.arguments.args {
            let value = self.value(argument)?;
            ends.push(self.number(value, at)?);
        }
        let (lower, upper, step) = match ends.as_slice() {
            [upper] => (Expr::Const(0), upper.clone(), Expr::Const(1)),
            [lower, upper] => (lower.clone(), upper.clone(), Expr::Const(1)),
            [lower, upper, step] => (lower.clone(), upper.clone(), step.clone()),
            _ => return Err(refuse(at, "range takes one to three numbers", "Use `for i in range(n)`")),
        };
        let Some(counter) = repeat.target.as_name_expr().map(|name| name.id.to_string()) else {
            return Err(refuse(at, "this loop counts with more than a name", "Use `for i in range(n)`"));
        };
        let span = upper.minus(lower.clone()).plus(step.clone()).minus(1);
        let trips = tidy(&span.over(step.clone(), Rounding::Floor).max(0));
        let var = self.variable(&counter, trips.clone());
        self.names.insert(counter.clone(), Value::scalar(tidy(&lower.plus(step.times(var)))));
        let before = self.names.clone();
        // Once to see what moves.
        let mut dry = self.clone();
        dry.loops += 1;
        dry.block(&repeat.body)?;
        self.steps = dry.steps;
        let mut behind = BTreeMap::new();
        for (name, start) in &before {
            let Some(end) = dry.names.get(name).filter(|end| *end != start && **name != counter) else { continue };
            let fixed = |by: &Expr| !by.symbols().iter().any(|symbol| *symbol == var || self.lanes.contains(symbol));
            let by = start.moved(end).filter(fixed);
            let values = by.and_then(|by| {
                let at_round = start.shifted(&by.clone().times(var))?;
                Some((at_round, start.shifted(&by.times(trips.clone()))?))
            });
            let (inside, after) = values.unwrap_or_else(|| (end.unknown(), end.unknown()));
            self.names.insert(name.clone(), inside);
            behind.insert(name.clone(), after);
        }
        let out = std::mem::take(&mut self.out);
        self.loops += 1;
        self.block(&repeat.body)?;
        self.loops -= 1;
        let body = std::mem::replace(&mut self.out, out);
        self.names.extend(behind);
        self.names.remove(&counter);
        let (lower, step) = (Expr::Const(0), Expr::Const(1));
        self.out.push(Node::Loop(Loop { var, lower, upper: trips, step, body, at }));
        Ok(())
    }

    fn branch(&mut self, branch: &'a StmtIf, at: At) -> Result<(), Error> {
        let test = self.value(&branch.test)?;
        let condition = self.condition(test, at)?;
        let clauses = branch.elif_else_clauses.as_slice();
        let rest = |own: &mut Self| match clauses {
            [] => Ok(()),
            [only] if only.test.is_none() => own.block(&only.body),
            [first, ..] => Err(refuse(own.at(first), "`elif` in a kernel is not read", "Use `else:` and `if` in it")),
        };
        // What parameters decide is decided.
        if let Condition::Compare(a, comparison, b) = &condition
            && let (Some(a), Some(b)) = (self.known(a), self.known(b))
        {
            return if crate::nest::compares(a, *comparison, b) { self.block(&branch.body) } else { rest(self) };
        }
        let (names, out) = (self.names.clone(), std::mem::take(&mut self.out));
        self.block(&branch.body)?;
        // `if i >= n: return` keeps the rest from running; that is written as a condition around it.
        if self.result.take().is_some() && self.calls == 0 {
            let cure = "Put what follows into an `if`";
            return Err(refuse(at, "a `return` within a condition is not followed", cure));
        }
        let then = std::mem::take(&mut self.out);
        let after = std::mem::replace(&mut self.names, names);
        rest(self)?;
        let otherwise = std::mem::replace(&mut self.out, out);
        for (name, value) in after {
            if let Some(own) = self.names.get_mut(&name)
                && *own != value
            {
                *own = value.unknown();
            }
        }
        self.out.push(Node::Branch(Branch { condition, then, otherwise, at }));
        Ok(())
    }

    /// The value of an expression of parameters.
    fn known(&self, expr: &Expr) -> Option<i64> {
        let program = &self.builder.program;
        let parameters = expr
            .symbols()
            .iter()
            .all(|symbol| program.symbols.get(symbol.0 as usize).is_some_and(|info| info.value.is_some()));
        parameters.then(|| expr.value(&program.values()).ok()).flatten()
    }

    /// The index of a program, a block or a thread along an axis.
    fn index(&mut self, axis: usize, thread: bool) -> Symbol {
        let names = ["x", "y", "z"];
        let found = if thread { self.threads[axis] } else { self.blocks[axis] };
        found.unwrap_or_else(|| {
            let kind = if thread { "threadIdx" } else { "blockIdx" };
            let symbol = self.builder.variable(&format!("{kind}.{}", names[axis]));
            if thread {
                let size = self.builder.given(&format!("blockDim_{}", names[axis]));
                let size = size.unwrap_or(if axis == 0 { THREADS } else { 1 });
                self.extents.insert(symbol, Expr::Const(size));
                self.threads[axis] = Some(symbol);
            } else {
                self.blocks[axis] = Some(symbol);
            }
            symbol
        })
    }

    /// A mask says how many programs there must be: `offsets < n` with offsets of `program_id * BLOCK`.
    fn want(&mut self, below: &Expr, limit: &Expr) {
        for axis in 0..3 {
            let Some(symbol) = self.blocks[axis].filter(|symbol| below.mentions(*symbol)) else { continue };
            let others = self.blocks.iter().flatten().any(|other| *other != symbol && below.mentions(*other));
            let split = Normal::of(below).and_then(|own| own.split(symbol));
            if let (Some((factor, _)), false, None) = (split, others, &self.wanted[axis]) {
                let factor = factor.expr();
                let grid = limit.clone().plus(factor.clone()).minus(1).over(factor, Rounding::Floor);
                self.wanted[axis] = Some(tidy(&grid));
            }
        }
    }

    /// `body` in loops over the axes of a tile, under its mask.
    fn emit(&mut self, dims: &[Dim], mask: Option<Condition>, work: Work, at: At) {
        let mut body = vec![Node::Work(Work { at, ..work })];
        if let Some(condition) = mask {
            body = vec![Node::Branch(Branch { condition, then: body, otherwise: Vec::new(), at })];
        }
        for dim in dims.iter().rev() {
            let Dim::Axis(symbol) = dim else { continue };
            let Some(upper) = self.extents.get(symbol).cloned() else { continue };
            let (lower, step) = (Expr::Const(0), Expr::Const(1));
            body = vec![Node::Loop(Loop { var: *symbol, lower, upper, step, body, at })];
        }
        self.out.extend(body);
    }

    fn finish(mut self, function: &StmtFunctionDef) -> Result<Kernel, Error> {
        let at = self.at(&function.name);
        let mut grid = Grid { lanes: self.lanes.clone(), tensor_lines: self.tensor_lines.clone(), ..Grid::default() };
        for axis in (0..3).rev() {
            let letter = ["x", "y", "z"][axis];
            let name = format!("gridDim_{letter}");
            if let Some(symbol) = self.blocks[axis] {
                let launched = self.launch.grid.get(axis).cloned().flatten();
                let launched = match launched {
                    Some(formula) if !self.source.defines.contains_key(&name) => self.formula(&formula),
                    _ => None,
                };
                let extent = match (launched, self.wanted[axis].clone()) {
                    _ if self.builder.given(&name).is_some() => Expr::from(self.builder.parameter(&name)),
                    (Some(launched), _) => launched,
                    (None, Some(wanted)) => {
                        let text = wanted.text(&|symbol| self.builder.program.name(symbol));
                        self.builder.assume(format!(
                            "the grid has {text} programs along {letter}, as many as the mask asks for (give {name} to change it)"
                        ));
                        wanted
                    }
                    (None, None) => Expr::from(self.builder.parameter(&name)),
                };
                self.extents.insert(symbol, extent.clone());
                grid.blocks.push(Axis { symbol, extent });
            }
            if let Some(symbol) = self.threads[axis] {
                let extent = self.extents.get(&symbol).cloned().unwrap_or(Expr::Const(1));
                if extent != Expr::Const(1) {
                    grid.threads.push(Axis { symbol, extent });
                }
            }
        }
        if self.style == Style::Triton {
            let warps = self.builder.given("num_warps").unwrap_or(WARPS).clamp(1, 32);
            grid.threads_per_block = Some(32 * warps);
        }
        self.reach();
        grid.body = std::mem::take(&mut self.out);
        self.builder.program.body = grid.around(grid.body.clone(), at);
        for name in self.builder.unused().into_iter().map(str::to_owned).collect::<Vec<_>>() {
            let own =
                ["num_warps", "num_stages", "registers_per_thread", "dynamic_shared_bytes"].contains(&name.as_str());
            if self.source.defines.contains_key(&name)
                && !own
                && !name.starts_with("blockDim_")
                && !name.starts_with("gridDim_")
            {
                self.builder.assume(format!("{name} was given, and the source does not use it"));
            }
        }
        Ok(Kernel { function: Some(function.name.to_string()), program: self.builder.program, grid: Some(grid) })
    }

    /// Arrays are as long as what is touched reaches, or as their shapes say.
    fn reach(&mut self) {
        let mut ends = vec![1_i64; self.builder.program.arrays.len()];
        for (array, index) in &self.touched {
            let end = self.largest(index).unwrap_or(crate::nest::DEFAULT_EXTENT).saturating_add(1);
            if let Some(own) = ends.get_mut(*array) {
                *own = (*own).max(end);
            }
        }
        for (array, end) in ends.into_iter().enumerate() {
            let Some(name) = self.builder.program.arrays.get(array).map(|array| array.name.clone()) else { continue };
            let shape = self.source.shapes.iter().find(|shape| shape.name == name).map(|shape| shape.dims.clone());
            let given = shape.filter(|dims| !dims.is_empty()).map(|dims| {
                dims.iter().fold(Expr::Const(1), |all, dim| {
                    all.times(match dim {
                        Extent::Number(number) => Expr::Const(*number),
                        Extent::Name(name) => Expr::from(self.builder.parameter(name)),
                    })
                })
            });
            if let Some(own) = self.builder.program.arrays.get_mut(array) {
                let launched = self.launch.arrays.get(&name).map_or(0, |(_, count)| *count);
                own.dims = vec![given.unwrap_or(Expr::Const(end.max(launched)))];
            }
        }
    }

    /// The largest value of an index, each variable at its end.
    fn largest(&self, index: &Expr) -> Option<i64> {
        let mut high = self.builder.program.values();
        let low = high.clone();
        for (symbol, extent) in &self.extents {
            let last = extent.value(&low).ok()?.max(1) - 1;
            *high.get_mut(symbol.0 as usize)? = last;
        }
        // Extents may depend on other variables only through parameters, so one pass is enough.
        Some(reach::upper(index, &low, &high)?.max(0))
    }

    /// A formula of the host, in the kernel's parameters.
    fn formula(&mut self, formula: &host::Formula) -> Option<Expr> {
        Some(match formula {
            host::Formula::Number(number) => Expr::Const(*number),
            host::Formula::Name(name) => match self.names.get(name) {
                Some(Value::Argument(name)) => {
                    let name = name.clone();
                    self.parameter(&name)
                }
                _ => self.parameter(name),
            },
            host::Formula::Sum(a, b) => self.formula(a)?.plus(self.formula(b)?),
            host::Formula::Product(a, b) => self.formula(a)?.times(self.formula(b)?),
            host::Formula::Minus(a, b) => self.formula(a)?.minus(self.formula(b)?),
            host::Formula::Quotient(a, b) => self.formula(a)?.over(self.formula(b)?, Rounding::Floor),
            host::Formula::Ceil(a, b) => {
                let (a, b) = (self.formula(a)?, self.formula(b)?);
                tidy(&a.plus(b.clone()).minus(1).over(b, Rounding::Floor))
            }
        })
    }
}

/// A literal of the source.
fn literal(tree: &Tree) -> Option<i64> {
    integer(tree)
}
