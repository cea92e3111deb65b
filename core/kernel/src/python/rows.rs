//! What is done row by row: functions that libraries fuse, functions mapped over an axis, loops of JAX.

use ruff_python_ast::StmtFunctionDef;

use super::args::Args;
use super::lower::PythonLowering;
use super::tape::Taped;
use super::value::{Value, View, axis};
use crate::expr::{Expr, Symbol};
use crate::nest::{At, Element, Flops, Loop, Node};
use crate::normal::tidy;
use crate::source::{Fusion, refuse};
use accel_ground::error::Error;

/// An argument of a mapped function.
enum Mapped {
    /// A row along an axis for each call.
    Rows(View, usize, At),
    /// The same for each call.
    Whole(Value, At),
}

impl<'a> PythonLowering<'a> {
    /// A function of the library whose rows are done one after the other, without arrays in between: those along the
    /// axes that its parameter `along` gives are a row of its first parameter.
    pub(super) fn by_rows(&mut self, def: &'a StmtFunctionDef, along: &str, at: At) -> Result<Value, Error> {
        let first = def.parameters.iter_non_variadic_params().next().map_or("", |first| first.name().as_str());
        let given = self.lookup(first).unwrap_or(Value::None);
        let whole = self.view(given, 2, at)?;
        let rank = whole.dims.len();
        let axes = match self.lookup(along) {
            Some(Value::Tuple(parts)) => {
                parts.iter().map(|part| self.axis(part, rank, at)).collect::<Result<Vec<_>, _>>()?
            }
            Some(value @ Value::Int(_)) => vec![self.axis(&value, rank, at)?],
            _ => vec![rank.saturating_sub(1)],
        };
        let outer: Vec<usize> = (0..rank).filter(|own| !axes.contains(own)).collect();
        let names: Vec<(String, Value)> = self
            .frames
            .last()
            .map(|frame| frame.names.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
            .unwrap_or_default();
        let mut arrays: Vec<(String, View, View)> = Vec::new();
        for (name, value) in names {
            let view = match value {
                Value::Unknown(_) | Value::Lazy(_) | Value::View(_) => self.view(value, 1, at)?,
                _ => continue,
            };
            if !view.dims.is_empty() {
                self.broadcast(&[whole.dims.clone(), view.dims.clone()], at)?;
                // What is one number for a row stays one.
                let missing = rank.saturating_sub(view.dims.len());
                let dims = whole.dims.iter().enumerate().map(|(own, dim)| {
                    let has = own.checked_sub(missing).and_then(|own| view.dims.get(own));
                    let one = axes.contains(&own) && has.is_none_or(|has| *has == Expr::Const(1));
                    if one { Expr::Const(1) } else { dim.clone() }
                });
                let by_row = Self::spread(&view, &dims.collect::<Vec<_>>());
                arrays.push((name, by_row, Self::spread(&view, &whole.dims)));
            }
        }
        let rows: Vec<Value> = (0..axes.len()).map(|own| Value::Int(Expr::Const(own as i64))).collect();
        self.bind(along, Value::Tuple(rows));
        if let Some(frame) = self.frames.last_mut() {
            frame.fusion = Some(Fusion::Function);
        }
        self.assume(at, format!("`{}` in one pass over its rows", def.name.as_str().trim_start_matches('_')));
        let dims: Vec<Expr> = outer.iter().filter_map(|own| whole.dims.get(*own).cloned()).collect();
        let taped = self.tape.done.len();
        let mut result = Ok(Value::None);
        let nodes = self.nest(&dims, at, |own, index| {
            for (name, by_row, _) in &arrays {
                own.bind(name, Value::View(fixed(by_row, &outer, index)));
            }
            match own.block_of(|own| own.row_of(def, &whole, &outer, index, at)) {
                Ok((nodes, value)) => {
                    result = Ok(value);
                    nodes
                }
                Err(error) => {
                    result = Err(error);
                    Vec::new()
                }
            }
        });
        let result = result?;
        self.emit(nodes);
        // The gradient of a row is one pass too.
        let inside = self.tape.done.split_off(taped.min(self.tape.done.len()));
        let flops = inside.iter().fold(Flops::NONE, |sum, taped| match taped {
            Taped::Pass { flops, .. } => sum.plus(*flops),
            _ => sum,
        });
        if let Value::View(view) = &result {
            let all: Vec<Expr> = if view.dims.len() == rank {
                (0..rank).map(axis).collect()
            } else {
                outer.iter().map(|own| axis(*own)).collect()
            };
            let of_result = view.of(whole.dims.clone(), &all);
            let leaves = arrays.into_iter().map(|(_, _, whole)| whole).collect();
            self.record(|| Taped::Pass { dims: whole.dims.clone(), leaves, flops, result: Some(of_result), at });
        }
        Ok(result)
    }

    /// One row, stored in the result.
    fn row_of(
        &mut self,
        def: &'a StmtFunctionDef,
        whole: &View,
        outer: &[usize],
        index: &[Expr],
        at: At,
    ) -> Result<Value, Error> {
        let (_, value) = self.block(&def.body)?;
        let element = match &value {
            Value::Lazy(lazy) => lazy.element,
            Value::View(view) => self.element(view),
            _ => self.element(whole),
        };
        let result = if value.is_number() {
            let dims: Vec<Expr> = outer.iter().filter_map(|own| whole.dims.get(*own).cloned()).collect();
            self.allocate("result", element, &dims, at)?
        } else {
            self.allocate("result", element, &whole.dims, at)?
        };
        let part = match value.is_number() {
            true => result.of(Vec::new(), index),
            false => fixed(&result, outer, index),
        };
        self.store(&part, value, at)?;
        Ok(Value::View(result))
    }

    /// `jax.vmap(f)(x)`: what `f` does with a row, each operation over all rows.
    pub(super) fn mapped(&mut self, inner: &Value, axes: &Value, args: Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let mut extent: Option<Expr> = None;
        let mut mapped: Vec<Mapped> = Vec::new();
        for (number, (value, own)) in args.values.iter().enumerate() {
            let along = match axes {
                Value::Tuple(parts) => parts.get(number).cloned().unwrap_or(Value::None),
                other => other.clone(),
            };
            if along == Value::None {
                mapped.push(Mapped::Whole(value.clone(), *own));
                continue;
            }
            let view = self.view(value.clone(), 2, *own)?;
            let along = self.axis(&along, view.dims.len(), *own)?;
            let dim = view.dims.get(along).cloned().unwrap_or(Expr::Const(1));
            match &extent {
                None => extent = Some(dim),
                Some(before) => {
                    if !self.unify(&before.clone(), &dim) {
                        let text = self.shape_text(&[before.clone(), dim]);
                        return Err(refuse(*own, format!("the mapped axes differ: {text}"), "Give the arrays' shapes"));
                    }
                }
            }
            mapped.push(Mapped::Rows(view, along, *own));
        }
        let Some(extent) = extent else {
            return Err(refuse(at, "`vmap` of no array", "Give it arrays"));
        };
        let var = self.builder.variable("row");
        let values = mapped
            .into_iter()
            .map(|argument| match argument {
                Mapped::Rows(view, along, own) => (Value::View(view.fixed(along, &var.into())), own),
                Mapped::Whole(value, own) => (value, own),
            })
            .collect();
        let (before, taped) = (self.builder.program.arrays.len(), self.tape.done.len());
        let (mut nodes, value) = self.block_of(|own| {
            let value = own.invoke(inner, Args { values, names: args.names, ..Args::none(args.name, at) })?;
            own.in_memory(value, at)
        })?;
        self.no_gradient(taped, at)?;
        let made = before..self.builder.program.arrays.len();
        self.widen(made.clone(), &extent, var, &mut nodes);
        let wrapped = nodes.into_iter().map(|node| over(node, var, &extent, at)).collect();
        self.emit(wrapped);
        Ok(Self::rows_of(value, &made, var, &extent))
    }

    /// Gives the arrays made in a row an axis of rows, and their accesses its subscript.
    fn widen(&mut self, made: std::ops::Range<usize>, extent: &Expr, var: Symbol, nodes: &mut [Node]) {
        for array in self.builder.program.arrays.get_mut(made.clone()).unwrap_or_default() {
            array.dims.insert(0, extent.clone());
        }
        fn walk(nodes: &mut [Node], made: &std::ops::Range<usize>, var: Symbol) {
            for node in nodes {
                match node {
                    Node::Loop(l) => walk(&mut l.body, made, var),
                    Node::Branch(branch) => {
                        walk(&mut branch.then, made, var);
                        walk(&mut branch.otherwise, made, var);
                    }
                    Node::Library(library) => walk(&mut library.sweep, made, var),
                    Node::Work(work) => {
                        for access in work.accesses.iter_mut().filter(|access| made.contains(&access.array)) {
                            if let Some(index) = &mut access.index {
                                index.insert(0, var.into());
                            }
                        }
                    }
                }
            }
        }
        walk(nodes, &made, var);
    }

    /// A result of a row as one of all rows.
    fn rows_of(value: Value, made: &std::ops::Range<usize>, var: Symbol, extent: &Expr) -> Value {
        match value {
            Value::View(view) => {
                let mut dims = view.dims.clone();
                dims.insert(0, extent.clone());
                let later: Vec<Expr> = (0..view.dims.len()).map(|own| axis(own + 1)).collect();
                let mut index: Vec<Expr> = view.element(&later);
                if made.contains(&view.array) {
                    index.insert(0, axis(0));
                }
                let row = |symbol| (symbol == var).then(|| axis(0));
                let index = index.iter().map(|index| tidy(&index.replaced(&row))).collect();
                Value::View(View { array: view.array, dims, index, by_data: view.by_data })
            }
            Value::Tuple(parts) => {
                Value::Tuple(parts.into_iter().map(|part| Self::rows_of(part, made, var, extent)).collect())
            }
            other => other,
        }
    }

    /// A result whose numbers are stored.
    fn in_memory(&mut self, value: Value, at: At) -> Result<Value, Error> {
        match value {
            Value::Tuple(parts) => {
                let parts = parts.into_iter().map(|part| self.in_memory(part, at));
                parts.collect::<Result<_, _>>().map(Value::Tuple)
            }
            Value::Scalar(float) => {
                let element = if float { self.source.element } else { Element::I64 };
                let view = self.allocate("result", element, &[], at)?;
                self.store(&view, Value::Scalar(float), at)?;
                Ok(Value::View(view))
            }
            value => self.materialised(value, "result"),
        }
    }

    /// `lax.scan(f, init, xs)`: a loop over the rows of `xs` that carries a value and stacks what each row gives.
    pub(super) fn scanned(&mut self, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let (f, init) = (args.get(0, &["f"]).cloned(), args.get(1, &["init"]).cloned());
        let (Some(f), Some(init)) = (f, init) else {
            return Err(refuse(at, "`scan` needs a function and a first value", "Write `lax.scan(f, init, xs)`"));
        };
        let xs = match args.get(2, &["xs"]).cloned() {
            None | Some(Value::None) => None,
            Some(Value::Tuple(parts)) => {
                Some(parts.into_iter().map(|part| self.view(part, 2, at)).collect::<Result<Vec<_>, _>>()?)
            }
            Some(value) => Some(vec![self.view(value, 2, at)?]),
        };
        let several = matches!(args.get(2, &["xs"]), Some(Value::Tuple(_)));
        let extent = match (&xs, args.get(3, &["length"]).cloned()) {
            (Some(views), _) => views.first().and_then(|view| view.dims.first().cloned()),
            (None, Some(length)) => self.known_integer(length),
            (None, None) => None,
        };
        let Some(extent) = extent else {
            return Err(refuse(at, "how long this scan is is not known", "Give `length=`"));
        };
        let init = self.known_parts(init, at)?;
        let var = self.builder.variable("row");
        let (before, taped) = (self.builder.program.arrays.len(), self.tape.done.len());
        let (mut nodes, value) = self.block_of(|own| {
            let row = match xs {
                None => Value::None,
                Some(views) => {
                    let rows: Vec<Value> = views
                        .iter()
                        .map(|view| match view.fixed(0, &var.into()) {
                            row if row.dims.is_empty() => own.load(&row, at),
                            row => Value::View(row),
                        })
                        .collect();
                    if several { Value::Tuple(rows) } else { rows.into_iter().next().unwrap_or(Value::None) }
                }
            };
            own.flush();
            let values = vec![(init.clone(), at), (row, at)];
            let value = own.invoke(&f, Args { values, ..Args::none("scan", at) })?;
            own.materialised(value, "result")
        })?;
        self.no_gradient(taped, at)?;
        let Value::Tuple(parts) = value else {
            return Err(refuse(at, "the function of a scan gives one value", "Return what is carried and a row"));
        };
        let (carry, out) =
            (parts.first().cloned().unwrap_or(Value::None), parts.get(1).cloned().unwrap_or(Value::None));
        self.assume(at, "each step of the scan uses what is carried as the first one does");
        // Only the arrays of the rows that are kept have an axis of rows.
        let mut rows = Vec::new();
        let mut left = vec![out];
        while let Some(value) = left.pop() {
            match value {
                Value::View(view) if view.array >= before && !kept(&carry, view.array) => {
                    self.widen(view.array..view.array + 1, &extent, var, &mut nodes);
                    let own = view.array..view.array + 1;
                    rows.push(Self::rows_of(Value::View(view), &own, var, &extent));
                }
                // A row that is carried too, or one of the operands, is copied.
                Value::View(view) => {
                    let mut dims = view.dims.clone();
                    dims.insert(0, extent.clone());
                    let element = self.element(&view);
                    let all = self.allocate("rows", element, &dims, at)?;
                    let (copy, ()) =
                        self.block_of(|own| own.store(&all.fixed(0, &var.into()), Value::View(view), at))?;
                    nodes.extend(copy);
                    rows.push(Value::View(all));
                }
                Value::Scalar(float) => {
                    let element = self.source.element;
                    let all = self.allocate("rows", element, std::slice::from_ref(&extent), at)?;
                    let part = all.fixed(0, &var.into());
                    let (copy, ()) = self.block_of(|own| own.store(&part, Value::Scalar(float), at))?;
                    nodes.extend(copy);
                    rows.push(Value::View(all));
                }
                Value::Tuple(parts) => left.extend(parts.into_iter().rev()),
                _ => rows.push(Value::None),
            }
        }
        let (lower, step) = (Expr::Const(0), Expr::Const(1));
        self.emit(vec![Node::Loop(Loop { var, lower, upper: extent, step, body: nodes, at })]);
        let rows = if rows.len() == 1 { rows.remove(0) } else { Value::Tuple(rows) };
        Ok(Value::Tuple(vec![carry, rows]))
    }

    /// A value whose arguments of unknown shape are arrays now.
    fn known_parts(&mut self, value: Value, at: At) -> Result<Value, Error> {
        match value {
            Value::Tuple(parts) => {
                let parts = parts.into_iter().map(|part| self.known_parts(part, at));
                parts.collect::<Result<_, _>>().map(Value::Tuple)
            }
            value => {
                let value = self.known(value, 1, at)?;
                self.materialised(value, "carried")
            }
        }
    }
}

/// A view at `index` along the axes `outer`.
fn fixed(view: &View, outer: &[usize], index: &[Expr]) -> View {
    let pairs = outer.iter().zip(index).rev();
    pairs.fold(view.clone(), |view, (axis, at)| view.fixed(*axis, at))
}

/// Whether an array is among those carried.
fn kept(carry: &Value, array: usize) -> bool {
    match carry {
        Value::View(view) => view.array == array,
        Value::Tuple(parts) => parts.iter().any(|part| kept(part, array)),
        _ => false,
    }
}

/// A step of a row as one over all rows: products of libraries become larger, others are looped over.
fn over(node: Node, var: Symbol, extent: &Expr, at: At) -> Node {
    let looped = |body: Vec<Node>| {
        let (lower, step) = (Expr::Const(0), Expr::Const(1));
        Node::Loop(Loop { var, lower, upper: extent.clone(), step, body, at })
    };
    match node {
        Node::Library(mut library) => {
            let operands = library.sweep.len().saturating_sub(1);
            let varies: Vec<bool> = library.sweep.iter().map(|node| mentions(node, var)).collect();
            let all = varies.iter().take(operands).all(|varies| *varies);
            let larger = if all { &mut library.batch } else { &mut library.m };
            *larger = larger.clone().times(extent.clone());
            library.sweep = library
                .sweep
                .into_iter()
                .zip(varies)
                .map(|(node, varies)| if varies { looped(vec![node]) } else { node })
                .collect();
            Node::Library(library)
        }
        node => looped(vec![node]),
    }
}

/// Whether an access in `node` depends on `var`.
fn mentions(node: &Node, var: Symbol) -> bool {
    match node {
        Node::Loop(l) => l.body.iter().any(|node| mentions(node, var)),
        Node::Branch(branch) => branch.then.iter().chain(&branch.otherwise).any(|node| mentions(node, var)),
        Node::Library(library) => library.sweep.iter().any(|node| mentions(node, var)),
        Node::Work(work) => {
            let index = work.accesses.iter().filter_map(|access| access.index.as_ref()).flatten();
            index.into_iter().any(|index| index.mentions(var))
        }
    }
}
