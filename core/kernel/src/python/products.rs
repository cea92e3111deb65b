//! Products of matrices.

use ruff_python_ast::Operator;

use super::args::Args;
use super::array::{shape, wider};
use super::lower::PythonLowering;
use super::registry::Product;
use super::tape::{Sizes, Taped};
use super::value::{Value, View, axis};
use crate::expr::{Expr, Rounding};
use crate::nest::{At, Flops, Library, Node, Scalars, Work};
use crate::source::refuse;
use accel_ground::error::Error;

impl<'a> PythonLowering<'a> {
    /// Reads a product: `out` is where its result goes, if the call says so.
    pub(super) fn product(&mut self, product: Product, args: &Args<'a>, out: Option<View>) -> Result<Value, Error> {
        let (name, at) = (args.name, args.at);
        if product == Product::EinSum {
            return self.einsum(args);
        }
        let first = args.get(0, &["input", "a", "x", "x1", "lhs"]).cloned();
        let second = args.get(1, &["weight", "other", "b", "v", "mat2", "y", "x2", "rhs"]).cloned();
        let (Some(a), Some(b)) = (first, second) else {
            return Err(refuse(at, format!("`{name}` takes two arrays"), "Give both"));
        };
        match product {
            Product::MatMul => {
                if a.is_number() || b.is_number() {
                    return self.arithmetic(Operator::Mult, (a, at), (b, at), at);
                }
                self.matmul(name, a, b, out, at)
            }
            Product::VectorDot => {
                let (a, b) = (self.view(a, 1, at)?, self.view(b, 1, at)?);
                let product = self.lazy(vec![(Value::View(a), at), (Value::View(b), at)], Flops::MUL, None, at)?;
                self.reduce(product, Flops::ADD, None, false, at)
            }
            Product::Inner => {
                let (a, b) = (self.view(a, 1, at)?, self.view(b, 1, at)?);
                let (x, y) = (a.dims.len(), b.dims.len());
                self.contracted(name, (a, x.saturating_sub(1)..x), (b, y.saturating_sub(1)..y), at)
            }
            Product::TensorDot => self.tensordot(args, a, b),
            Product::Outer => {
                let (a, b) = (self.view(a, 1, at)?, self.view(b, 1, at)?);
                let (a, b) = (self.flattened(a, at)?, self.flattened(b, at)?);
                let (column, row) = (Value::View(a.expanded(1)), Value::View(b.expanded(0)));
                self.elementwise(vec![(column, at), (row, at)], Flops::MUL, None, at)
            }
            Product::Linear => {
                let (a, b) = (self.view(a, 2, at)?, self.view(b, 2, at)?);
                let transposed = self.transposed(Value::View(b), at)?;
                let product = self.matmul(name, Value::View(a), transposed, None, at)?;
                self.biased(product, args.get(2, &["bias"]).cloned(), at)
            }
            Product::EinSum => self.einsum(args),
            Product::DotGeneral => self.dot_general(args, a, b),
            Product::Attention => self.flash_attention(args, a, b),
            Product::Transposed(axes) => self.transposed_convolution(axes, a, b, args),
            Product::Convolve(default) => self.convolve(a, b, default, args),
            Product::Convolve2d => self.convolve2d(a, b, args),
            Product::Convolution(axes) => self.convolution(axes, a, b, args),
        }
    }

    /// An array as a row of its elements.
    fn flattened(&mut self, view: View, at: At) -> Result<View, Error> {
        if view.dims.len() == 1 {
            return Ok(view);
        }
        let flat = self.flat(&view, at)?;
        self.view(flat, 1, at)
    }

    fn biased(&mut self, value: Value, bias: Option<Value>, at: At) -> Result<Value, Error> {
        match bias {
            None | Some(Value::None) => Ok(value),
            Some(bias) => {
                let bias = match bias {
                    Value::Unknown(name) if !self.resolved.contains_key(&name) => {
                        let last = shape(&value).and_then(|dims| dims.last().cloned());
                        Value::View(self.array_with(&name, last.into_iter().collect(), at)?)
                    }
                    bias => bias,
                };
                let (a, b) = self.pair(value, bias, at)?;
                self.elementwise(vec![(a, at), (b, at)], Flops::ADD, None, at)
            }
        }
    }

    /// `a @ b`: the last axis of `a` with the last but one of `b`.
    pub(super) fn matmul(&mut self, name: &str, a: Value, b: Value, out: Option<View>, at: At) -> Result<Value, Error> {
        let (a, b) = (self.view(a, 2, at)?, self.view(b, 2, at)?);
        let (x, y) = (a.dims.len(), b.dims.len());
        if x == 0 || y == 0 {
            return Err(refuse(at, "a matrix product with a number", "Use `*`"));
        }
        let along = y.saturating_sub(2);
        let (Some(k), Some(other)) = (a.dims.last().cloned(), b.dims.get(along).cloned()) else {
            return Err(refuse(at, "a matrix product with a number", "Use `*`"));
        };
        self.hint(&k, "K");
        if x > 1 {
            self.hint(&a.dims.get(x - 2).cloned().unwrap_or(Expr::Const(1)), "M");
        }
        self.hint(&other, "K");
        if y > 1 {
            self.hint(&b.dims.get(y - 1).cloned().unwrap_or(Expr::Const(1)), "N");
        }
        if !self.unify(&k, &other) {
            let (a, b) = (self.shape_text(&a.dims), self.shape_text(&b.dims));
            let problem = format!("a product of shapes {a} and {b}: what is summed over differs");
            return Err(refuse(at, problem, "The last extent of the first must be the last but one of the second"));
        }
        if x == 1 && y == 1 {
            let operands = vec![(Value::View(a), at), (Value::View(b), at)];
            let product = self.lazy(operands, Flops::MUL, None, at)?;
            return self.fused_reduce(product, at);
        }
        if y == 1 && a.runs_along(x - 1) {
            return self.rows_times_vector(&a, &b, out, at);
        }
        let batch_dims = self.broadcast(
            &[
                a.dims.get(..x.saturating_sub(2)).unwrap_or_default().to_vec(),
                b.dims.get(..along).unwrap_or_default().to_vec(),
            ],
            at,
        )?;
        let m = if x > 1 { a.dims.get(x - 2).cloned().unwrap_or(Expr::Const(1)) } else { Expr::Const(1) };
        let n = if y > 1 { b.dims.last().cloned().unwrap_or(Expr::Const(1)) } else { Expr::Const(1) };
        let mut dims = batch_dims.clone();
        dims.extend((x > 1).then(|| m.clone()));
        dims.extend((y > 1).then(|| n.clone()));
        // One matrix for all of a batch: a product of more rows, as libraries do it.
        let shared = y == 2 && x > 2;
        let all = self.tidy(&batch_dims.into_iter().fold(Expr::Const(1), Expr::times), at)?;
        let (batch, m) = if shared { (Expr::Const(1), self.tidy(&all.times(m), at)?) } else { (all, m) };
        self.library(name, Sizes { batch, m, n, k }, &[a, b], (dims, out), at)
    }

    /// Scores, softmax and a weighted sum, block by block without the scores in memory (FlashAttention): queries, keys
    /// and values are read, and the result is stored.
    fn flash_attention(&mut self, args: &Args<'a>, q: Value, k: Value) -> Result<Value, Error> {
        let at = args.at;
        let v = args.get(2, &[]).cloned().unwrap_or(Value::None);
        let (q, k, v) = (self.view(q, 4, at)?, self.view(k, 4, at)?, self.view(v, 4, at)?);
        let part = |view: &View, from_end: usize| {
            view.dims.len().checked_sub(from_end).and_then(|at| view.dims.get(at)).cloned().unwrap_or(Expr::Const(1))
        };
        let lead = |view: &View| view.dims.get(..view.dims.len().saturating_sub(2)).unwrap_or_default().to_vec();
        let (rows, depth, keys, width) = (part(&q, 2), part(&q, 1), part(&k, 2), part(&v, 1));
        if !self.unify(&depth, &part(&k, 1)) || !self.unify(&keys, &part(&v, 2)) {
            let texts = [&q, &k, &v].map(|view| self.shape_text(&view.dims));
            let problem = format!("attention of shapes {}: they do not fit", texts.join(", "));
            return Err(refuse(at, problem, "Give the arrays' shapes"));
        }
        let outer = self.broadcast(&[lead(&q), lead(&k), lead(&v)], at)?;
        let mut dims = outer.clone();
        dims.extend([rows.clone(), width.clone()]);
        let causal = matches!(args.get(4, &[]), Some(Value::Bool(true)));
        // Half the blocks of scores lie above the diagonal, and kernels leave them out.
        let seen = if causal { keys.over(2, Rounding::Floor) } else { keys };
        if causal {
            self.assume(at, "the scores above the diagonal, half of them, are left out");
        }
        let batch = self.tidy(&outer.into_iter().fold(Expr::Const(1), Expr::times), at)?;
        let scores = self.tidy(&batch.clone().times(rows.clone()).times(seen.clone()), at)?;
        let k_size = self.tidy(&depth.plus(width), at)?;
        let sizes = Sizes { batch, m: rows, n: k_size, k: self.tidy(&seen, at)? };
        let mut operands = vec![q, k, v];
        if let Some(mask) = args.get(3, &[]).filter(|mask| **mask != Value::None).cloned() {
            operands.push(self.view(mask, 2, at)?);
        }
        let result = self.library("attention", sizes, &operands, (dims, None), at)?;
        // The scores' softmax, in registers: scaled, a maximum, a difference, an exponential, a sum; the quotient is
        // taken of the result.
        let nodes = self.nest(&[scores], at, |_, _| {
            let flops = Flops { add: 2, mul: 1, min_max: 1, special: 1, ..Flops::NONE };
            vec![Node::Work(Work { flops, at, ..Work::default() })]
        });
        self.emit(nodes);
        Ok(result)
    }

    /// A sum of products in one pass, whatever fusion says: a dot product has no array of products.
    fn fused_reduce(&mut self, product: Value, at: At) -> Result<Value, Error> {
        let product = match product {
            Value::Lazy(mut lazy) => {
                lazy.operations = 0;
                Value::Lazy(lazy)
            }
            other => other,
        };
        self.reduce(product, Flops::ADD, None, false, at)
    }

    /// A matrix whose rows lie in a row of memory, times a vector: a dot product for each row.
    fn rows_times_vector(&mut self, a: &View, x: &View, out: Option<View>, at: At) -> Result<Value, Error> {
        let (outer, inner) = a.dims.split_at(a.dims.len().saturating_sub(1));
        let result = match out {
            Some(out) if self.unify_all(&out.dims.clone(), outer) => out,
            _ => {
                let element = wider(self.element(a), self.element(x));
                self.allocate("product", element, outer, at)?
            }
        };
        let float = self.element(a).is_float() || self.element(x).is_float();
        let nodes = self.nest(outer, at, |own, outer| {
            let mut body = own.nest(inner, at, |_, inner| {
                let index: Vec<Expr> = outer.iter().chain(inner).cloned().collect();
                let accesses = vec![Self::access(a, &index, false, at), Self::access(x, inner, false, at)];
                vec![Node::Work(summed(accesses, float, at))]
            });
            let accesses = vec![Self::access(&result, outer, true, at)];
            body.push(Node::Work(Work { accesses, at, ..Work::default() }));
            body
        });
        self.emit(nodes);
        self.record(|| {
            let vector = x.of(a.dims.clone(), &[axis(outer.len())]);
            let rows: Vec<Expr> = (0..outer.len()).map(axis).collect();
            let result = Some(result.of(a.dims.clone(), &rows));
            Taped::Pass { dims: a.dims.clone(), leaves: vec![a.clone(), vector], flops: Flops::MUL, result, at }
        });
        Ok(Value::View(result))
    }

    /// A call of a library that sweeps its operands and its result.
    pub(super) fn library(
        &mut self,
        name: &str,
        sizes: Sizes,
        operands: &[View],
        (dims, out): (Vec<Expr>, Option<View>),
        at: At,
    ) -> Result<Value, Error> {
        let element = operands.iter().map(|view| self.element(view)).reduce(wider).unwrap_or(self.source.element);
        let result = match out {
            Some(out) if self.unify_all(&out.dims.clone(), &dims) => out,
            _ => self.allocate("product", element, &dims, at)?,
        };
        let mut sweep = Vec::new();
        for operand in operands {
            sweep.extend(self.pass(operand, false, at));
        }
        sweep.extend(self.pass(&result, true, at));
        self.record(|| Taped::Product {
            name: name.to_owned(),
            sizes: sizes.clone(),
            operands: operands.to_vec(),
            result: result.clone(),
            at,
        });
        let Sizes { batch, m, n, k } = sizes;
        self.emit(vec![Node::Library(Library { name: name.to_owned(), batch, m, n, k, element, sweep, at })]);
        Ok(Value::View(result))
    }
}

/// A product added to a sum in a register.
fn summed(accesses: Vec<crate::nest::Access>, float: bool, at: At) -> Work {
    let flops = if float { Flops::MUL.plus(Flops::ADD) } else { Flops::NONE };
    let integer_ops = if float { 0 } else { 2 };
    Work { accesses, flops, integer_ops, subscript_ops: 0, scalars: Scalars { reads: 1, writes: 1 }, carried: true, at }
}
