//! The backward pass: for each array operation, from the last to the first, what computes its operands' gradients.
//!
//! Operations are kept on a tape while they are read. The gradient of a product of matrices is two products of its
//! FLOPs; that of an element-wise operation or a reduction is a pass that reads the gradient of the result and, where
//! the operation is not linear, its operands. An operand that is broadcast, or used a second time, is added to.

use super::lower::PythonLowering;
use super::tape::{Sizes, Taped};
use super::value::{Value, View, axis};
use crate::expr::{Expr, Rounding};
use crate::nest::{Access, At, Flops, Library, Node, Work};
use crate::source::refuse;
use accel_ground::error::Error;

/// FLOPs of the gradient of an element-wise operation of `flops` with respect to so many operands: a product takes one
/// for each operand, a quotient a quotient for each and a product for the divisor, a root a quotient and a product, a
/// special function two products; sums, minima and maxima pass the gradient on.
fn gradient_flops(flops: Flops, operands: usize) -> Flops {
    let operands = operands.clamp(1, 2) as u32;
    Flops {
        mul: flops.mul * operands + flops.div * (operands - 1) + flops.sqrt + 2 * flops.special,
        div: flops.div * operands + flops.sqrt,
        ..Flops::NONE
    }
}

impl<'a> PythonLowering<'a> {
    /// Keeps an operation for the backward pass.
    pub(super) fn record(&mut self, taped: impl FnOnce() -> Taped) {
        if !self.source.backward || self.building > 0 {
            return;
        }
        let taped = taped();
        let (operands, result): (Vec<usize>, Option<usize>) = match &taped {
            Taped::Pass { leaves, result, .. } => {
                (leaves.iter().map(|leaf| leaf.array).collect(), result.as_ref().map(|view| view.array))
            }
            Taped::Product { operands, result, .. } => {
                (operands.iter().map(|operand| operand.array).collect(), Some(result.array))
            }
            Taped::Picked { from, result, .. } => (vec![from.array], Some(result.array)),
        };
        if operands.iter().any(|operand| self.differentiable.contains(operand)) {
            self.differentiable.extend(result);
            self.tape.done.push(taped);
        }
    }

    /// Refuses gradients of what is on the tape since `before`.
    pub(super) fn no_gradient(&self, before: usize, at: At) -> Result<(), Error> {
        if self.tape.done.len() == before {
            return Ok(());
        }
        let cure = "Leave the backward pass out, or write the operations out";
        Err(refuse(at, "the gradient of array operations in a loop is not read", cure))
    }

    /// Writes the backward pass from what is returned.
    pub(super) fn backward(&mut self, returned: &Value) -> Result<(), Error> {
        let mut left = vec![returned.clone()];
        while let Some(value) = left.pop() {
            match value {
                Value::View(view) if self.differentiable.contains(&view.array) => {
                    let whole = self.gradient(&view, At::default())?;
                    self.tape.written.push(whole);
                }
                Value::Tuple(parts) => left.extend(parts),
                _ => {}
            }
        }
        let mut any = false;
        for taped in std::mem::take(&mut self.tape.done).into_iter().rev() {
            any |= self.undo(taped)?;
        }
        if !any {
            let problem = "no array operation here has a gradient";
            return Err(Error::field(
                "backward",
                true,
                problem,
                "Leave it out, or give a module or a function of arrays",
            ));
        }
        self.builder.assume(
            "backward: gradients of all floating-point arguments and parameters; training: dropout is on, batch norm \
             uses the batch",
        );
        Ok(())
    }

    /// The gradient of a view's elements.
    fn gradient(&mut self, view: &View, at: At) -> Result<View, Error> {
        let array = match self.tape.gradients.get(&view.array) {
            Some(array) => *array,
            None => {
                let Some(own) = self.builder.program.arrays.get(view.array).cloned() else {
                    return Err(refuse(at, "this array is not known", "Give its shape"));
                };
                let name = format!("gradient of {}", own.name);
                let gradient = self.declare(&name, own.element, &own.dims, own.temporary, at)?;
                self.tape.gradients.insert(view.array, gradient.array);
                gradient.array
            }
        };
        Ok(View { array, ..view.clone() })
    }

    /// Whether a gradient reaches an array.
    fn reached(&self, view: &View) -> bool {
        self.tape.gradients.contains_key(&view.array)
    }

    /// Whether a store in `gradient` adds to what is there: it was stored to before, or several elements meet in one.
    fn adds(&mut self, gradient: &View, dims: &[Expr]) -> bool {
        let repeats = dims.iter().enumerate().any(|(own, dim)| {
            let Expr::Symbol(symbol) = axis(own) else { return false };
            *dim != Expr::Const(1) && !gradient.index.iter().any(|index| index.mentions(symbol))
        });
        let mixed = gradient.index.iter().any(|index| index.symbols().len() > 1);
        let before = self.tape.written.contains(gradient);
        if !before {
            self.tape.written.push(gradient.clone());
        }
        repeats || mixed || before || gradient.by_data
    }

    /// Writes the gradient of one operation; false where none reaches it.
    fn undo(&mut self, taped: Taped) -> Result<bool, Error> {
        match taped {
            Taped::Pass { dims, leaves, flops, result, at } => {
                if result.as_ref().is_some_and(|result| !self.reached(result)) {
                    return Ok(false);
                }
                let of_result = result.map(|result| self.gradient(&result, at)).transpose()?;
                let needed: Vec<View> =
                    leaves.iter().filter(|leaf| self.differentiable.contains(&leaf.array)).cloned().collect();
                let mut flops_back = gradient_flops(flops, needed.len());
                let mut targets = Vec::new();
                for leaf in &needed {
                    let gradient = self.gradient(leaf, at)?;
                    // What a sum in place passes on is there already.
                    if of_result.as_ref() != Some(&gradient) {
                        let adds = self.adds(&gradient, &dims);
                        flops_back.add += u32::from(adds);
                        targets.push((gradient, adds));
                    }
                }
                if targets.is_empty() {
                    return Ok(true);
                }
                let linear = flops.total() == u64::from(flops.add);
                let read: Vec<View> = if linear { Vec::new() } else { leaves };
                let nodes = self.nest(&dims, at, |_, index| {
                    let mut accesses: Vec<Access> = Vec::new();
                    accesses.extend(of_result.as_ref().map(|view| Self::access(view, index, false, at)));
                    accesses.extend(read.iter().map(|leaf| Self::access(leaf, index, false, at)));
                    for (gradient, adds) in &targets {
                        accesses.extend(adds.then(|| Self::access(gradient, index, false, at)));
                        accesses.push(Self::access(gradient, index, true, at));
                    }
                    vec![Node::Work(Work { accesses, flops: flops_back, at, ..Work::default() })]
                });
                self.emit(nodes);
                Ok(true)
            }
            Taped::Product { name, sizes, operands, result, at } => {
                if !self.reached(&result) {
                    return Ok(false);
                }
                let of_result = self.gradient(&result, at)?;
                if let [a, b] = operands.as_slice() {
                    let Sizes { batch, m, n, k } = sizes;
                    let of_a = Sizes { batch: batch.clone(), m: m.clone(), n: k.clone(), k: n.clone() };
                    let of_b = Sizes { batch, m: k, n, k: m };
                    self.product_gradient(&name, of_a, [&of_result, b], a, at)?;
                    self.product_gradient(&name, of_b, [a, &of_result], b, at)?;
                    return Ok(true);
                }
                // FlashAttention's backward pass: five products where the forward pass has two (Dao et al., 2022).
                let mut sweep = Vec::new();
                for read in operands.iter().chain([&of_result]) {
                    sweep.extend(self.pass(read, false, at));
                }
                for operand in &operands {
                    if self.differentiable.contains(&operand.array) {
                        let gradient = self.gradient(operand, at)?;
                        sweep.extend(self.pass(&gradient, true, at));
                    }
                }
                let element = self.element(&result);
                let name = format!("{name} backward");
                let Sizes { batch, m, n, k } = sizes;
                let k = self.tidy(&k.times(5).over(2, Rounding::Floor), at)?;
                self.emit(vec![Node::Library(Library { name, batch, m, n, k, element, sweep, at })]);
                Ok(true)
            }
            Taped::Picked { index, from, result, at } => {
                if !self.reached(&result) || !self.differentiable.contains(&from.array) {
                    return Ok(false);
                }
                let (of_result, of_source) = (self.gradient(&result, at)?, self.gradient(&from, at)?);
                let dims = result.dims.clone();
                let nodes = self.nest(&dims, at, |_, own| {
                    let accesses = vec![
                        Self::access(&index, own, false, at),
                        Self::access(&of_result, own, false, at),
                        Self::access(&of_source, own, false, at),
                        Self::access(&of_source, own, true, at),
                    ];
                    vec![Node::Work(Work { accesses, flops: Flops::ADD, at, ..Work::default() })]
                });
                self.emit(nodes);
                Ok(true)
            }
        }
    }

    /// One of the two products of a product's gradient.
    fn product_gradient(
        &mut self,
        name: &str,
        sizes: Sizes,
        operands: [&View; 2],
        of: &View,
        at: At,
    ) -> Result<(), Error> {
        if !self.differentiable.contains(&of.array) {
            return Ok(());
        }
        let gradient = self.gradient(of, at)?;
        let adds = self.tape.written.contains(&gradient);
        if !adds {
            self.tape.written.push(gradient.clone());
        }
        let mut sweep = Vec::new();
        for operand in operands {
            sweep.extend(self.pass(operand, false, at));
        }
        if adds {
            sweep.extend(self.pass(&gradient, false, at));
        }
        sweep.extend(self.pass(&gradient, true, at));
        let element = self.element(&gradient);
        let Sizes { batch, m, n, k } = sizes;
        let name = format!("{name} backward");
        self.emit(vec![Node::Library(Library { name, batch, m, n, k, element, sweep, at })]);
        Ok(())
    }
}
