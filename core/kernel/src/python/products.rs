//! Products of matrices, and sums over letters.

use ruff_python_ast::Operator;

use super::args::Args;
use super::array::{shape, wider};
use super::lower::PythonLowering;
use super::registry::Product;
use super::value::{Value, View, axis};
use crate::expr::Expr;
use crate::nest::{At, Flops, Library, Node, Scalars, Work};
use crate::source::refuse;
use accel_ground::error::Error;

/// What a library multiplies: how many products, rows, columns, and what is summed over.
pub(super) struct Sizes {
    pub(super) batch: Expr,
    pub(super) m: Expr,
    pub(super) n: Expr,
    pub(super) k: Expr,
}

impl<'a> PythonLowering<'a> {
    /// Reads a product: `out` is where its result goes, if the call says so.
    pub(super) fn product(&mut self, product: Product, args: &Args<'a>, out: Option<View>) -> Result<Value, Error> {
        let (name, at) = (args.name, args.at);
        let two = (args.get(0, &["input", "a"]).cloned(), args.get(1, &["weight", "other", "b", "v", "mat2"]).cloned());
        let (Some(a), Some(b)) = two else {
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
        let batch = self.tidy(&batch_dims.into_iter().fold(Expr::Const(1), Expr::times), at)?;
        self.library(name, Sizes { batch, m, n, k }, &[a, b], (dims, out), at)
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
        let Sizes { batch, m, n, k } = sizes;
        self.emit(vec![Node::Library(Library { name: name.to_owned(), batch, m, n, k, element, sweep, at })]);
        Ok(Value::View(result))
    }

    // Sums over letters.

    fn einsum(&mut self, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let cure = "Write it as `np.einsum(\"ij,jk->ik\", a, b)`";
        let wrong = |problem: &str| Err(refuse(at, problem, cure));
        let Some((Value::Text(text), _)) = args.values.first() else {
            return wrong("the letters of this sum are not known");
        };
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (inputs, output) = match text.split_once("->") {
            Some((inputs, output)) => (inputs, Some(output)),
            None => (text.as_str(), None),
        };
        let inputs: Vec<Vec<char>> = inputs.split(',').map(|part| part.chars().collect()).collect();
        if inputs
            .iter()
            .flatten()
            .chain(&output.unwrap_or_default().chars().collect::<Vec<_>>())
            .any(|c| !c.is_ascii_alphabetic())
        {
            return wrong("only letters can name axes here");
        }
        if inputs.len() + 1 != args.values.len() {
            return wrong("there are not as many arrays as groups of letters");
        }
        let output: Vec<char> = match output {
            Some(output) => output.chars().collect(),
            None => {
                let all: Vec<char> = inputs.iter().flatten().copied().collect();
                let mut once: Vec<char> =
                    all.iter().copied().filter(|c| all.iter().filter(|o| *o == c).count() == 1).collect();
                once.sort_unstable();
                once
            }
        };
        let mut views = Vec::new();
        for (letters, (value, own)) in inputs.iter().zip(args.values.iter().skip(1)) {
            let view = self.view(value.clone(), letters.len(), *own)?;
            if view.dims.len() != letters.len() {
                return wrong(&format!("{} letters for an array of {} axes", letters.len(), view.dims.len()));
            }
            views.push(view);
        }
        let ordered = args.get(usize::MAX, &["optimize"]);
        if views.len() > 2 && !matches!(ordered, None | Some(Value::Bool(false) | Value::None)) {
            self.assume(at, "`optimize` is left out: all factors are multiplied for each element of the sum");
        }
        self.letters(&format!("einsum \"{text}\""), &inputs, views, &output, at)
    }

    /// Sums over the letters that the result has not.
    fn letters(
        &mut self,
        name: &str,
        inputs: &[Vec<char>],
        views: Vec<View>,
        output: &[char],
        at: At,
    ) -> Result<Value, Error> {
        let mut extents: Vec<(char, Expr)> = Vec::new();
        for (letter, dim) in inputs.iter().flatten().zip(views.iter().flat_map(|view| &view.dims)) {
            match extents.iter().find(|(own, _)| own == letter).map(|(_, dim)| dim.clone()) {
                None => extents.push((*letter, dim.clone())),
                Some(before) => {
                    if !self.unify(&before, dim) {
                        let problem = format!(
                            "{letter} is {} and {}",
                            self.shape_text(&[before]),
                            self.shape_text(std::slice::from_ref(dim))
                        );
                        return Err(refuse(at, problem, "A letter has one extent: give the arrays' shapes"));
                    }
                }
            }
        }
        let extent = |letter: &char| extents.iter().find(|(own, _)| own == letter).map(|(_, dim)| dim.clone());
        let Some(dims) = output.iter().map(extent).collect::<Option<Vec<Expr>>>() else {
            return Err(refuse(
                at,
                "a letter of the result stands in no operand",
                "Take its letters from the operands",
            ));
        };
        let mut summed_over: Vec<char> =
            extents.iter().map(|(letter, _)| *letter).filter(|c| !output.contains(c)).collect();
        summed_over.dedup();
        if let [a, b] = inputs
            && let Some(sizes) = self.as_product(a, b, output, &extents)
        {
            return self.library(name, sizes, &views, (dims, None), at);
        }
        // Operands as views of all letters: repeated letters are diagonals.
        let all: Vec<char> = output.iter().chain(&summed_over).copied().collect();
        let inner: Vec<Expr> = summed_over.iter().filter_map(extent).collect();
        let place = |letter: &char| all.iter().position(|own| own == letter).unwrap_or_default();
        let whole: Vec<Expr> = all.iter().filter_map(extent).collect();
        let views: Vec<View> = (inputs.iter().zip(&views))
            .map(|(letters, view)| {
                view.of(whole.clone(), &letters.iter().map(|letter| axis(place(letter))).collect::<Vec<_>>())
            })
            .collect();
        let products = Flops { mul: views.len().saturating_sub(1) as u32, ..Flops::NONE };
        let operands = views.into_iter().map(|view| (Value::View(view), at)).collect();
        let product = self.lazy(operands, products, None, at)?;
        if inner.is_empty() {
            let view = self.view(product, 2, at)?;
            return Ok(Value::View(view));
        }
        let axes = (output.len()..all.len()).collect();
        let product = match product {
            Value::Lazy(mut lazy) => {
                lazy.operations = 0;
                Value::Lazy(lazy)
            }
            other => other,
        };
        self.reduce(product, Flops::ADD, Some(axes), false, at)
    }

    /// Two operands whose letters are those of a batch, rows, columns and what is summed over.
    fn as_product(&self, a: &[char], b: &[char], output: &[char], extents: &[(char, Expr)]) -> Option<Sizes> {
        let distinct =
            |letters: &[char]| letters.iter().enumerate().all(|(at, c)| !letters.iter().skip(at + 1).any(|o| o == c));
        if !distinct(a) || !distinct(b) || !distinct(output) {
            return None;
        }
        let (mut sizes, mut rows, mut columns, mut sums) =
            (Sizes { batch: 1.into(), m: 1.into(), n: 1.into(), k: 1.into() }, 0, 0, 0);
        for (letter, dim) in extents {
            let part = match (a.contains(letter), b.contains(letter), output.contains(letter)) {
                (true, true, true) => &mut sizes.batch,
                (true, false, true) => {
                    rows += 1;
                    &mut sizes.m
                }
                (false, true, true) => {
                    columns += 1;
                    &mut sizes.n
                }
                (true, true, false) => {
                    sums += 1;
                    &mut sizes.k
                }
                _ => return None,
            };
            *part = part.clone().times(dim.clone());
        }
        (rows > 0 && columns > 0 && sums > 0).then_some(sizes)
    }

    /// Sums over neighbouring axes of both.
    fn contracted(
        &mut self,
        name: &str,
        (a, over_a): (View, std::ops::Range<usize>),
        (b, over_b): (View, std::ops::Range<usize>),
        at: At,
    ) -> Result<Value, Error> {
        let letter = |number: usize| char::from(b'a' + (number % 26) as u8);
        if a.dims.len() + b.dims.len() > 26 {
            return Err(refuse(at, "more than 26 axes", "Use fewer axes"));
        }
        let first: Vec<char> = (0..a.dims.len()).map(letter).collect();
        let second: Vec<char> = (0..b.dims.len())
            .map(|own| {
                if over_b.contains(&own) {
                    letter(over_a.start + own - over_b.start)
                } else {
                    letter(a.dims.len() + own)
                }
            })
            .collect();
        let shared: Vec<char> = over_a.map(letter).collect();
        let output: Vec<char> = first.iter().chain(&second).copied().filter(|c| !shared.contains(c)).collect();
        self.letters(name, &[first, second], vec![a, b], &output, at)
    }

    fn tensordot(&mut self, args: &Args<'a>, a: Value, b: Value) -> Result<Value, Error> {
        let at = args.at;
        let (a, b) = (self.view(a, 2, at)?, self.view(b, 2, at)?);
        let (x, y) = (a.dims.len(), b.dims.len());
        let (over_a, over_b) = match args.get(2, &["axes", "dims"]).cloned() {
            None => (x.saturating_sub(2)..x, 0..2),
            Some(Value::Int(Expr::Const(count))) => {
                let count = usize::try_from(count).unwrap_or(usize::MAX).min(x);
                (x - count..x, 0..count)
            }
            Some(Value::Tuple(parts)) => {
                let one = |value: &Value| match value {
                    Value::Tuple(parts) if parts.len() == 1 => parts.first().cloned(),
                    Value::Int(_) => Some(value.clone()),
                    _ => None,
                };
                let (Some(first), Some(second)) = (parts.first().and_then(one), parts.get(1).and_then(one)) else {
                    return Err(refuse(at, "these axes are not read", "Give a number of axes, or use `np.einsum`"));
                };
                let (first, second) = (self.axis(&first, x, at)?, self.axis(&second, y, at)?);
                (first..first + 1, second..second + 1)
            }
            Some(_) => return Err(refuse(at, "these axes are not read", "Give a number of axes, or use `np.einsum`")),
        };
        if over_b.end > y || over_a.len() != over_b.len() {
            return Err(refuse(at, "more axes are summed over than there are", "Give fewer"));
        }
        self.contracted("tensordot", (a, over_a), (b, over_b), at)
    }
}

/// A product added to a sum in a register.
fn summed(accesses: Vec<crate::nest::Access>, float: bool, at: At) -> Work {
    let flops = if float { Flops::MUL.plus(Flops::ADD) } else { Flops::NONE };
    let integer_ops = if float { 0 } else { 2 };
    Work { accesses, flops, integer_ops, subscript_ops: 0, scalars: Scalars { reads: 1, writes: 1 }, carried: true, at }
}
