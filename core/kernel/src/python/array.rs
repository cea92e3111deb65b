//! Whole-array operations as loop nests.
//!
//! Each element-wise operation is a pass of its own over its operands into a new array, as NumPy does it, unless
//! [`Fusion`] says that chains of them are one pass. A reduction over the last axes keeps its sum in a register; over
//! other axes it loads and stores the row of results for each row of the operand. A sum of `n` elements counts `n`
//! additions, as a loop that starts from zero does.

use ruff_python_ast::{Expr as Tree, ExprListComp, Operator};

use super::lower::{MAX_AXES, PythonLowering};
use super::tape::Taped;
use super::tree::call_name;
use super::value::{DRAWN, Lazy, Real, Step, Value, View, axis};
use crate::expr::{Expr, Rounding};
use crate::nest::{Access, At, Element, Flops, Node, Scalars, Work};
use crate::normal::{Normal, tidy};
use crate::source::{Fusion, refuse};
use accel_ground::error::Error;

impl<'a> PythonLowering<'a> {
    /// `value`, an argument of which nothing was known being an array of `rank` axes now.
    pub(super) fn known(&mut self, value: Value, rank: usize, at: At) -> Result<Value, Error> {
        match value {
            Value::Unknown(name) => match self.resolved.get(&name) {
                Some(value) => Ok(value.clone()),
                None => Ok(Value::View(self.array_of(&name, rank, at)?)),
            },
            other => Ok(other),
        }
    }

    /// Two operands that meet element by element: where nothing is known of one, it takes the shape of the other.
    pub(super) fn pair(&mut self, left: Value, right: Value, at: At) -> Result<(Value, Value), Error> {
        let like = |own: &mut Self, name: String, other: &Value| -> Result<Value, Error> {
            if let Some(value) = own.resolved.get(&name) {
                return Ok(value.clone());
            }
            let used = own.used(&name).rank;
            match other {
                Value::View(view) if !view.dims.is_empty() => {
                    let computed = own.builder.program.arrays.get(view.array).is_some_and(|array| array.temporary);
                    own.like(name, view.dims.clone(), (used, computed), at)
                }
                Value::Lazy(lazy) => own.like(name, lazy.dims.clone(), (used, true), at),
                _ => {
                    let rank = own.likely_rank();
                    Ok(Value::View(own.array_of(&name, rank, at)?))
                }
            }
        };
        // Arguments of constructors are integers where they meet numbers.
        if self.building > 0 {
            let number = |own: &mut Self, value: Value| match value {
                Value::Unknown(name) => {
                    own.known_integer(Value::Unknown(name.clone())).map_or(Value::Unknown(name), Value::Int)
                }
                other => other,
            };
            return match (left, right) {
                (a, b) if a.is_array() || b.is_array() => Ok((a, b)),
                (a, b) => Ok((number(self, a), number(self, b))),
            };
        }
        match (left, right) {
            (Value::Unknown(a), Value::Unknown(b)) => {
                let left = self.known(Value::Unknown(a.clone()), 2, at)?;
                let right = if a == b { left.clone() } else { like(self, b, &left)? };
                Ok((left, right))
            }
            (Value::Unknown(name), other) => Ok((like(self, name, &other)?, other)),
            (other, Value::Unknown(name)) => {
                let value = like(self, name, &other)?;
                Ok((other, value))
            }
            both => Ok(both),
        }
    }

    /// An argument met by an array of extents `dims`: an array of the same, or of the last, for a bias.
    fn like(&mut self, name: String, dims: Vec<Expr>, (rank, computed): (usize, bool), at: At) -> Result<Value, Error> {
        // `x @ w + b`, but not `a + b`.
        let numbered = name.strip_prefix('b').is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()));
        let bias = matches!(name.as_str(), "bias" | "gamma" | "beta" | "weight") || (computed && numbered);
        let rank = match rank {
            0 if bias => 1,
            0 => dims.len(),
            rank => rank.min(dims.len()),
        };
        let dims = dims.get(dims.len() - rank..).unwrap_or_default().to_vec();
        Ok(Value::View(self.array_with(&name, dims, at)?))
    }

    /// An element-wise operation, done as far as fusion asks.
    pub(super) fn elementwise(
        &mut self,
        operands: Vec<(Value, At)>,
        flops: Flops,
        real: Option<Real>,
        at: At,
    ) -> Result<Value, Error> {
        match self.lazy(operands, flops, real, at)? {
            Value::Lazy(lazy) if self.fusion() == Fusion::None => {
                Ok(Value::View(self.materialise(*lazy, "element-wise")?))
            }
            value => Ok(value),
        }
    }

    /// An element-wise operation, not done yet; on numbers it is done at once.
    pub(super) fn lazy(
        &mut self,
        operands: Vec<(Value, At)>,
        flops: Flops,
        real: Option<Real>,
        at: At,
    ) -> Result<Value, Error> {
        let mut values = Vec::new();
        for (value, own) in operands {
            let value = match self.known(value, 2, own)? {
                Value::View(view) if view.dims.is_empty() => self.load(&view, own),
                value => value,
            };
            if !value.is_array() && !value.is_number() {
                return Err(refuse(
                    own,
                    format!("arithmetic with {}", value.description()),
                    "Only numbers and arrays can stand here",
                ));
            }
            values.push((value, own));
        }
        let floats = Value::is_real;
        if !values.iter().any(|(value, _)| value.is_array()) {
            let float = real == Some(Real::Yes) || values.iter().any(|(value, _)| floats(value));
            self.count(flops, float && real != Some(Real::Truth));
            let by_data = values.iter().any(|(value, _)| value.by_data());
            return Ok(Value::computed(float && real != Some(Real::Truth), by_data));
        }
        let shapes: Vec<Vec<Expr>> = values.iter().filter_map(|(value, _)| shape(value)).collect();
        let dims = self.broadcast(&shapes, at)?;
        let mut result: Option<Element> = None;
        let mut whole = Lazy {
            dims: dims.clone(),
            element: self.source.element,
            leaves: Vec::new(),
            steps: Vec::new(),
            operations: 1,
            at,
        };
        let shared = self.fusion() == Fusion::Graph;
        let mut literal = false;
        for (value, own) in values {
            let value = match value {
                // Computed once, not once for each element that it meets.
                Value::Lazy(lazy) if lazy.dims.len() < dims.len() || !self.unify_all(&lazy.dims, &dims) => {
                    Value::View(self.materialise(*lazy, "element-wise")?)
                }
                value => value,
            };
            let element = match value {
                Value::View(view) => {
                    let element = self.element(&view);
                    whole.load((Self::spread(&view, &dims), own), shared);
                    element
                }
                Value::Lazy(lazy) => {
                    let element = lazy.element;
                    whole.join(*lazy, shared);
                    element
                }
                value => {
                    literal |= floats(&value);
                    continue;
                }
            };
            result = Some(result.map_or(element, |before| wider(before, element)));
        }
        let element = result.unwrap_or(self.source.element);
        let float = element.is_float() || literal || real == Some(Real::Yes);
        let (flops, integer_ops) = if float { (flops, 0) } else { (Flops::NONE, flops.total() as u32) };
        self.operations += 1;
        whole.steps.push(Step { number: self.operations, flops, integer_ops });
        whole.element = match real {
            Some(Real::Truth) => Element::I8,
            Some(Real::Of(element)) => element,
            _ if float && !element.is_float() => Element::F64,
            _ => element,
        };
        Ok(Value::Lazy(Box::new(whole)))
    }

    /// Adds to what the statement computes.
    pub(super) fn count(&mut self, flops: Flops, float: bool) {
        if float {
            self.work.flops = self.work.flops.plus(flops);
        } else {
            self.work.integer_ops += (flops.total() as u32).max(1);
        }
    }

    pub(super) fn unify_all(&mut self, a: &[Expr], b: &[Expr]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.unify(a, b))
    }

    /// The work of one element of `lazy` at `index`.
    fn element_work(lazy: &Lazy, index: &[Expr]) -> Work {
        let accesses = lazy.leaves.iter().map(|(view, at)| Self::access(view, index, false, *at)).collect();
        Work { accesses, flops: lazy.flops(), integer_ops: lazy.integer_ops(), at: lazy.at, ..Work::default() }
    }

    fn state_fusion(&mut self, lazy: &Lazy) {
        if lazy.operations > 1 {
            self.assume(lazy.at, format!("{} element-wise operations in one pass", lazy.operations));
        }
    }

    /// Does what is still to be done, into a new array.
    pub(super) fn materialise(&mut self, lazy: Lazy, name: &str) -> Result<View, Error> {
        let last = lazy.steps.last().map(|step| step.number).filter(|_| self.fusion() == Fusion::Graph);
        if let Some(view) = last.and_then(|last| self.stored.get(&last)) {
            return Ok(view.clone());
        }
        let view = self.allocate(name, lazy.element, &lazy.dims, lazy.at)?;
        if let Some(last) = last {
            // From here on it is in memory, whatever it is called.
            let is = |value: &&mut Value| matches!(value, Value::Lazy(own) if own.steps.last().is_some_and(|step| step.number == last));
            let names = self.frames.iter_mut().flat_map(|frame| frame.names.values_mut());
            names.filter(is).for_each(|value| *value = Value::View(view.clone()));
            self.stored.insert(last, view.clone());
        }
        self.compute(&view, lazy);
        Ok(view)
    }

    fn compute(&mut self, into: &View, lazy: Lazy) {
        self.state_fusion(&lazy);
        let nodes = self.nest(&into.dims, lazy.at, |_, index| {
            let mut work = Self::element_work(&lazy, index);
            work.accesses.push(Self::access(into, index, true, lazy.at));
            vec![Node::Work(work)]
        });
        self.emit(nodes);
        self.record(|| Taped::Pass {
            dims: into.dims.clone(),
            leaves: lazy.leaves.iter().map(|(leaf, _)| leaf.clone()).collect(),
            flops: lazy.flops(),
            result: Some(into.clone()),
            at: lazy.at,
        });
    }

    /// Stores `value` in the elements of `view`.
    pub(super) fn store(&mut self, view: &View, value: Value, at: At) -> Result<(), Error> {
        let value = match value {
            Value::View(own) if own.dims.is_empty() => self.load(&own, at),
            value => value,
        };
        match value {
            value if value.is_number() && view.dims.is_empty() => {
                let access = Self::access(view, &[], true, at);
                let carried = self.is_carried(&access);
                self.work.carried |= carried;
                self.work.accesses.push(access);
                Ok(())
            }
            value if value.is_number() => {
                self.fill(view, at);
                Ok(())
            }
            Value::View(own) => {
                self.fits_into(&own.dims, view, at)?;
                let own = Self::spread(&own, &view.dims);
                let element = self.element(&own);
                let dims = view.dims.clone();
                let copy = Lazy { dims, element, leaves: vec![(own, at)], steps: Vec::new(), operations: 1, at };
                self.compute(view, copy);
                Ok(())
            }
            Value::Lazy(mut lazy) => {
                self.fits_into(&lazy.dims, view, at)?;
                // What is written must not be read as it was: then a copy stands between.
                let clash = lazy
                    .leaves
                    .iter()
                    .any(|(leaf, _)| leaf.array == view.array && Self::spread(leaf, &view.dims).index != view.index);
                if clash || lazy.dims.len() != view.dims.len() {
                    let whole = self.materialise(*lazy, "element-wise")?;
                    return self.store(view, Value::View(whole), at);
                }
                lazy.leaves.iter_mut().for_each(|(leaf, _)| *leaf = Self::spread(leaf, &view.dims));
                self.compute(view, *lazy);
                Ok(())
            }
            Value::Tuple(parts) if view.dims.len() == 1 => {
                for (number, part) in parts.into_iter().enumerate() {
                    let element = view.fixed(0, &Expr::Const(number as i64));
                    self.store(&element, part, at)?;
                }
                Ok(())
            }
            other => Err(refuse(
                at,
                format!("{} cannot be stored in an array", other.description()),
                "Store numbers or arrays",
            )),
        }
    }

    fn fits_into(&mut self, dims: &[Expr], view: &View, at: At) -> Result<(), Error> {
        let whole = self.broadcast(&[view.dims.clone(), dims.to_vec()], at)?;
        if whole.len() == view.dims.len() && self.unify_all(&whole, &view.dims) {
            return Ok(());
        }
        let problem =
            format!("an array of shape {} does not fit into {}", self.shape_text(dims), self.shape_text(&view.dims));
        Err(refuse(at, problem, "Give the arrays' shapes"))
    }

    /// A pass over an array that only loads or stores it.
    pub(super) fn pass(&mut self, view: &View, write: bool, at: At) -> Vec<Node> {
        // Extents that a broadcast repeats are touched once.
        let dims: Vec<Expr> = (view.dims.iter().enumerate())
            .map(|(own, dim)| {
                let Expr::Symbol(symbol) = axis(own) else { return dim.clone() };
                if view.index.iter().any(|index| index.mentions(symbol)) { dim.clone() } else { Expr::Const(1) }
            })
            .collect();
        self.nest(&dims, at, |_, index| {
            let accesses = vec![Self::access(view, index, write, at)];
            vec![Node::Work(Work { accesses, at, ..Work::default() })]
        })
    }

    /// Stores a number in all elements.
    pub(super) fn fill(&mut self, view: &View, at: At) {
        let nodes = self.nest(&view.dims, at, |_, index| {
            vec![Node::Work(Work { accesses: vec![Self::access(view, index, true, at)], at, ..Work::default() })]
        });
        self.emit(nodes);
    }

    /// Whether a store leaves a value that the next iteration of the innermost loop loads.
    fn is_carried(&self, store: &Access) -> bool {
        let (Some(around), Some(written)) = (self.loops.last(), &store.index) else { return false };
        let after = |read: &Expr, rounds: i64| {
            let shift = |symbol| (symbol == around.var).then(|| Expr::from(symbol).plus(rounds));
            tidy(&read.replaced(&shift))
        };
        self.work.accesses.iter().filter(|access| access.array == store.array && !access.write).any(|load| {
            let Some(read) = &load.index else { return false };
            let still = read == written && !written.iter().any(|index| index.mentions(around.var));
            // Written now, read one or two iterations later.
            let again = [1, 2, -1, -2].into_iter().any(|rounds| {
                let same: Vec<Expr> = read.iter().map(|read| after(read, rounds)).collect();
                read != written && same == *written && (rounds > 0) == (around.step > 0)
            });
            still || again
        })
    }

    /// `view op= added`: what is added is loaded first, then the target.
    pub(super) fn in_place(&mut self, op: Operator, view: &View, added: Value, at: At) -> Result<(), Error> {
        let flops = match op {
            Operator::Add | Operator::Sub => Flops::ADD,
            Operator::Mult => Flops::MUL,
            Operator::Div | Operator::FloorDiv | Operator::Mod => Flops::DIV,
            Operator::Pow => self.power(&added, at),
            Operator::MatMult => {
                let product = self.matmul("matmul", Value::View(view.clone()), added, None, at)?;
                return self.store(view, product, at);
            }
            _ => Flops::NONE,
        };
        let value = self.lazy(vec![(added, at), (Value::View(view.clone()), at)], flops, None, at)?;
        self.store(view, value, at)
    }

    /// A reduction of `axes` at the cost of `flops` for each element.
    pub(super) fn reduce(
        &mut self,
        operand: Value,
        flops: Flops,
        axes: Option<Vec<usize>>,
        keep: bool,
        at: At,
    ) -> Result<Value, Error> {
        let lazy = match self.known(operand, 2, at)? {
            Value::Lazy(lazy) => *lazy,
            Value::View(view) if view.dims.is_empty() => return Ok(self.load(&view, at)),
            Value::View(view) => {
                let (dims, element) = (view.dims.clone(), self.element(&view));
                Lazy { dims, element, leaves: vec![(view, at)], steps: Vec::new(), operations: 0, at }
            }
            number if number.is_number() => return Ok(number),
            other => return Err(refuse(at, format!("a reduction of {}", other.description()), "Reduce an array")),
        };
        self.state_fusion(&lazy);
        let rank = lazy.dims.len();
        let axes = axes.unwrap_or_else(|| (0..rank).collect());
        let kept: Vec<usize> = (0..rank).filter(|own| !axes.contains(own)).collect();
        let dim = |own: &usize| lazy.dims.get(*own).cloned().unwrap_or(Expr::Const(1));
        let (inner, outer): (Vec<Expr>, Vec<Expr>) = (axes.iter().map(dim).collect(), kept.iter().map(dim).collect());
        let float = lazy.element.is_float();
        let step = |index: &[Expr], carried: bool| {
            let mut work = Self::element_work(&lazy, index);
            if float {
                work.flops = work.flops.plus(flops);
            } else {
                work.integer_ops += flops.total() as u32;
            }
            (work.at, work.carried) = (at, carried);
            work.scalars = if carried { Scalars { reads: 1, writes: 1 } } else { Scalars::default() };
            work
        };
        let place = |outer: &[Expr], inner: &[Expr]| -> Vec<Expr> {
            let part = |own: usize| match kept.iter().position(|kept| *kept == own) {
                Some(at) => outer.get(at),
                None => axes.iter().position(|axis| *axis == own).and_then(|at| inner.get(at)),
            };
            (0..rank).map(|own| part(own).cloned().unwrap_or(Expr::Const(0))).collect()
        };
        if kept.is_empty() {
            let nodes = self.nest(&inner, at, |_, index| vec![Node::Work(step(&place(&[], index), true))]);
            self.emit(nodes);
            self.record(|| Self::reduced(&lazy, flops, None, at));
            return Ok(Value::Scalar(float));
        }
        let result = self.allocate("reduced", lazy.element, &outer, at)?;
        let of_result = || {
            let rows: Vec<Expr> = kept.iter().map(|own| axis(*own)).collect();
            result.of(lazy.dims.clone(), &rows)
        };
        self.record(|| Self::reduced(&lazy, flops, Some(of_result()), at));
        let last_is_reduced = axes.contains(&(rank - 1));
        if kept.iter().max() < axes.iter().min() {
            let nodes = self.nest(&outer, at, |own, outer| {
                let mut body = own.nest(&inner, at, |_, inner| vec![Node::Work(step(&place(outer, inner), true))]);
                let accesses = vec![Self::access(&result, outer, true, at)];
                body.push(Node::Work(Work { accesses, at, ..Work::default() }));
                body
            });
            self.emit(nodes);
        } else {
            self.fill(&result, at);
            let nodes = self.nest(&lazy.dims, at, |_, index| {
                let outer: Vec<Expr> = kept.iter().filter_map(|own| index.get(*own).cloned()).collect();
                let mut work = step(index, last_is_reduced);
                work.scalars = Scalars::default();
                work.accesses.push(Self::access(&result, &outer, false, at));
                work.accesses.push(Self::access(&result, &outer, true, at));
                vec![Node::Work(work)]
            });
            self.emit(nodes);
        }
        let mut view = result;
        if keep {
            for own in &axes {
                view = view.expanded(*own);
            }
        }
        Ok(Value::View(view))
    }

    /// A reduction on the tape.
    fn reduced(lazy: &Lazy, flops: Flops, result: Option<View>, at: At) -> Taped {
        // A sum passes its gradient on; what is the largest must be seen.
        let flops = lazy.flops().plus(Flops { add: 0, ..flops });
        let leaves = lazy.leaves.iter().map(|(leaf, _)| leaf.clone()).collect();
        Taped::Pass { dims: lazy.dims.clone(), leaves, flops, result, at }
    }

    /// `np.cumsum` and the like: each element from the one before it.
    pub(super) fn scan(&mut self, view: &View, flops: Flops, along: usize, at: At) -> Result<Value, Error> {
        let element = self.element(view);
        let result = self.allocate("scan", element, &view.dims, at)?;
        let rank = view.dims.len();
        let order: Vec<usize> = (0..rank).filter(|own| *own != along).chain([along]).collect();
        let (from, into) = (view.permuted(&order), result.permuted(&order));
        let nodes = self.nest(&from.dims, at, |_, index| {
            let accesses = vec![Self::access(&from, index, false, at), Self::access(&into, index, true, at)];
            let scalars = Scalars { reads: 1, writes: 1 };
            let flops = if element.is_float() { flops } else { Flops::NONE };
            vec![Node::Work(Work { accesses, flops, scalars, carried: true, at, ..Work::default() })]
        });
        self.emit(nodes);
        let taped = || Taped::Pass {
            dims: view.dims.clone(),
            leaves: vec![view.clone()],
            flops,
            result: Some(result.clone()),
            at,
        };
        self.record(taped);
        Ok(Value::View(result))
    }

    /// `a[i]`, `a[i, j]`: what arrays choose along the first axes, copied.
    pub(super) fn gather(&mut self, view: &View, indices: &[View], at: At) -> Result<Value, Error> {
        let chosen: Vec<Vec<Expr>> = indices.iter().map(|index| index.dims.clone()).collect();
        let chosen = self.broadcast(&chosen, at)?;
        let rest = view.dims.get(indices.len()..).unwrap_or_default();
        let dims: Vec<Expr> = chosen.iter().chain(rest).cloned().collect();
        let element = self.element(view);
        let result = self.allocate("gathered", element, &dims, at)?;
        let mut rows = indices.iter().fold(view.clone(), |rows, _| rows.fixed(0, &Expr::from(DRAWN)));
        rows.by_data = true;
        let rank = chosen.len();
        let indices: Vec<View> = indices.iter().map(|index| Self::spread(index, &chosen)).collect();
        self.assume(at, "data decide which rows are taken: every line is as likely");
        self.record(|| {
            let rest = (0..rows.dims.len()).map(|own| axis(rank + own)).collect::<Vec<_>>();
            let first = (0..rank).map(axis).collect::<Vec<_>>();
            Taped::Picked {
                index: indices.first().unwrap_or(&rows).of(dims.clone(), &first),
                from: rows.of(dims.clone(), &rest),
                result: result.clone(),
                at,
            }
        });
        let nodes = self.nest(&dims, at, |_, own| {
            let (first, rest) = own.split_at(rank.min(own.len()));
            let mut accesses: Vec<Access> = indices.iter().map(|index| Self::access(index, first, false, at)).collect();
            accesses.extend([Self::access(&rows, rest, false, at), Self::access(&result, own, true, at)]);
            vec![Node::Work(Work { accesses, at, ..Work::default() })]
        });
        self.emit(nodes);
        Ok(Value::View(result))
    }

    /// `a[i] = b`, `a[i, j] = b`: the indices are loaded, and the rows to store to are such as data decide.
    pub(super) fn scattered(&mut self, view: &View, indices: &[View], at: At) -> Result<View, Error> {
        let chosen: Vec<Vec<Expr>> = indices.iter().map(|index| index.dims.clone()).collect();
        let chosen = self.broadcast(&chosen, at)?;
        let dims: Vec<Expr> = chosen.iter().chain(view.dims.iter().skip(indices.len())).cloned().collect();
        self.assume(at, "data decide which rows are stored to: every line is as likely");
        for index in indices {
            let nodes = self.pass(index, false, at);
            self.emit(nodes);
        }
        let rows = (0..view.dims.len()).map(|own| match own.checked_sub(indices.len()) {
            None => Expr::from(DRAWN),
            Some(rest) => axis(chosen.len() + rest),
        });
        Ok(View { by_data: true, ..view.of(dims, &rows.collect::<Vec<_>>()) })
    }

    /// The same elements in another shape: no copy where it splits or joins axes of what lies in a row.
    pub(super) fn reshape(&mut self, view: &View, dims: Vec<Expr>, at: At) -> Result<Value, Error> {
        if dims.len() > MAX_AXES {
            return Err(refuse(at, format!("an array of more than {MAX_AXES} axes"), "Use fewer axes"));
        }
        let product = |dims: &[Expr]| dims.iter().cloned().fold(Expr::Const(1), Expr::times);
        let (old, new) = (self.tidy(&product(&view.dims), at)?, self.tidy(&product(&dims), at)?);
        if !self.unify(&old, &new) {
            let (from, to) = (self.shape_text(&view.dims), self.shape_text(&dims));
            return Err(refuse(
                at,
                format!("{from} cannot be reshaped to {to}: the numbers of elements differ"),
                "Give the arrays' shapes",
            ));
        }
        // The number of the element, then that number in the old extents, from the last.
        let mut number = Expr::Const(0);
        for (own, dim) in dims.iter().enumerate() {
            number = if *dim == Expr::Const(1) { number } else { number.times(dim.clone()).plus(axis(own)) };
        }
        let mut number = tidy(&number);
        // How many of the new axes the number still has, while that can be decided.
        let mut left = Some(dims.len());
        let mut index = Vec::new();
        for (own, dim) in view.dims.iter().enumerate().rev() {
            let parts = left.and_then(|left| self.divided(&number, dim, dims.get(..left)?));
            let (quotient, rest) = match parts {
                _ if own == 0 => (Expr::Const(0), number.clone()),
                Some((quotient, rest, outer)) => {
                    left = Some(outer);
                    (quotient, rest)
                }
                None => {
                    left = None;
                    let rest = number.clone().modulo(dim.clone(), Rounding::Floor);
                    (number.over(dim.clone(), Rounding::Floor), rest)
                }
            };
            index.push(rest);
            number = quotient;
        }
        index.reverse();
        Ok(Value::View(view.of(dims, &index)))
    }

    /// `number / dim`, what is left, and how many axes the quotient has, where the last axes of `dims` make up `dim`.
    fn divided(&self, number: &Expr, dim: &Expr, dims: &[Expr]) -> Option<(Expr, Expr, usize)> {
        let divisor = self.number(dim)?;
        let (mut below, mut outer) = (1_i64, dims.len());
        while below < divisor && outer > 0 {
            outer -= 1;
            below = below.checked_mul(self.number(dims.get(outer)?)?)?;
        }
        if below != divisor {
            return None;
        }
        let normal = Normal::of(number)?;
        let (mut high, mut low, mut stride) = (Expr::Const(0), Expr::Const(0), Expr::Const(1));
        for (own, extent) in dims.iter().enumerate().rev() {
            let Expr::Symbol(symbol) = axis(own) else { return None };
            if own >= outer {
                low = low.plus(axis(own).times(normal.split(symbol)?.0.expr()));
            } else if *extent != Expr::Const(1) {
                high = high.plus(axis(own).times(stride.clone()));
                stride = stride.times(extent.clone());
            }
        }
        Some((tidy(&high), tidy(&low), outer))
    }

    /// `[0.0] * n`: a list as an array.
    pub(super) fn repeated(&mut self, parts: Vec<Value>, count: Value, at: At) -> Result<Value, Error> {
        let Value::Int(count) = self.known(count, 1, at)? else {
            return Err(refuse(at, "how long this list is depends on data", "Give its length as a parameter"));
        };
        let number = matches!(parts.as_slice(), [part] if part.is_number());
        if !number || self.settles() {
            let times = self.number(&count).and_then(|count| usize::try_from(count.max(0)).ok());
            let Some(times) = times else {
                return Err(refuse(at, "how long this list is depends on data", "Give its length as a parameter"));
            };
            self.count_items(parts.len().saturating_mul(times), at)?;
            return Ok(Value::Tuple(parts.iter().cloned().cycle().take(parts.len() * times).collect()));
        }
        let view = self.allocate("list", self.source.element, &[count], at)?;
        self.fill(&view, at);
        Ok(Value::View(view))
    }

    /// A list that is made: of objects one by one, of numbers over arrays, or filled.
    pub(super) fn list(&mut self, list: &'a ExprListComp) -> Result<Value, Error> {
        let zeros = |expr: &Tree| matches!(expr, Tree::NumberLiteral(_) | Tree::UnaryOp(_));
        let mut inner = &*list.elt;
        while let Tree::ListComp(next) = inner {
            inner = &next.elt;
        }
        let filled = match inner {
            Tree::BinOp(op) => op.op == Operator::Mult && matches!(&*op.left, Tree::List(_)),
            other => zeros(other),
        };
        let at = self.at(list);
        if filled && self.building == 0 {
            return self.filled_list(list);
        }
        let made = list.generators.first().map(|only| list.generators.len() > 1 || self.makes_items(&list.elt, only));
        match made {
            Some(true) => self.items_made(&list.elt, &list.generators, at),
            _ => self.array_made(list),
        }
    }

    /// `[[0.0] * m for _ in range(n)]`: nested lists as an array.
    fn filled_list(&mut self, list: &'a ExprListComp) -> Result<Value, Error> {
        let at = self.at(list);
        let (mut dims, mut inner) = (Vec::new(), &*list.elt);
        let mut generators = &list.generators;
        loop {
            let cure = "Write a loop, or `[[0.0] * m for _ in range(n)]`";
            let [generator] = generators.as_slice() else {
                return self.refuse(list, "this comprehension is not read", cure);
            };
            let Tree::Call(call) = &generator.iter else {
                return self.refuse(list, "this comprehension is not read", cure);
            };
            let (Some("range"), [count], []) =
                (call_name(call), call.arguments.args.as_ref(), generator.ifs.as_slice())
            else {
                return self.refuse(list, "this comprehension is not read", cure);
            };
            dims.push(self.whole(count)?);
            match inner {
                Tree::ListComp(next) => (inner, generators) = (&next.elt, &next.generators),
                Tree::BinOp(op) if op.op == Operator::Mult && matches!(&*op.left, Tree::List(_)) => {
                    dims.push(self.whole(&op.right)?);
                    break;
                }
                Tree::NumberLiteral(_) | Tree::UnaryOp(_) => break,
                _ => return self.refuse(list, "this comprehension is not read", cure),
            }
        }
        let view = self.allocate("list", self.source.element, &dims, at)?;
        self.fill(&view, at);
        Ok(Value::View(view))
    }
}

/// Extents of an array.
pub(super) fn shape(value: &Value) -> Option<Vec<Expr>> {
    match value {
        Value::View(view) => Some(view.dims.clone()),
        Value::Lazy(lazy) => Some(lazy.dims.clone()),
        _ => None,
    }
}

/// The type that holds both: floating-point before integers, then the larger.
pub(super) fn wider(a: Element, b: Element) -> Element {
    let rank = |element: Element| (element.is_float(), element.bytes());
    if rank(b) > rank(a) { b } else { a }
}
