//! A training step: the forward pass, the backward pass, and the optimizer.
//!
//! The backward pass of every operator follows one rule of its kind:
//!
//! - A product Y = X W gives two products, dX = dY W' and dW = X' dY, each with the work of the forward one; so
//!   the backward pass takes twice the FLOPs of the forward pass (Kaplan et al. 2020, section 2.1).
//! - Attention reads its inputs again and does twice its work; its scores are not kept, as in FlashAttention, and the
//!   work of making them again is left out.
//! - Whatever works element by element reads what came in and the gradient of what went out.
//! - A sum hands its gradient on without touching it; gradients that meet are summed up in place.
//!
//! What the backward pass reads stays in memory until then: nothing is computed twice (no activation checkpointing).

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::plan::{Filtering, Operator, Planner, Product, Shape, Step, Val};
use crate::closed;
use crate::trace::{Kind, Mode, Op};

closed! {
    /// How weights are updated.
    #[derive(Default)]
    pub enum Optimizer("optimizer", "optimizer") {
        /// Gradient descent: no state.
        Sgd = "sgd",
        /// Gradient descent with momentum: one 32-bit number per weight.
        Momentum = "momentum",
        /// Adam or AdamW: two 32-bit numbers per weight (Kingma and Ba 2015).
        #[default]
        Adam = "adam",
    }
}

impl Optimizer {
    /// Its 32-bit states. Weights narrower than that have a 32-bit copy, which is the one that is updated (Micikevicius
    /// et al. 2018; with Adam that makes the 12 bytes per weight of Rajbhandari et al. 2020, section 3.1).
    pub(crate) fn states(self, weight_bits: u64) -> Vec<&'static str> {
        let own: &[&str] = match self {
            Self::Sgd => &[],
            Self::Momentum => &["momentum"],
            Self::Adam => &["exp_avg", "exp_avg_sq"],
        };
        let copy = (weight_bits < STATE_BITS).then_some("master");
        own.iter().copied().chain(copy).collect()
    }
}

/// Width of optimizer states.
const STATE_BITS: u64 = 32;
/// Gradients are at least as wide, however narrow the weights are: none of the formats below is trained in.
const GRADIENT_BITS: u64 = 16;
/// The work of the backward pass as a multiple of that of the forward pass.
const BACKWARD: f64 = 2.0;

/// Appends the backward pass and the optimizer to a forward pass. `states` remembers what the optimizer keeps from step to
/// step.
pub(crate) fn train(
    planner: &mut Planner,
    step: &mut Step,
    optimizer: Optimizer,
    states: &mut BTreeMap<Val, Vec<Val>>,
) {
    let Some(output) = step.output else { return };
    let operators = step.operators.clone();
    step.mark("backward");
    let inputs = step.inputs.clone();
    let mut backward = Backward { planner, step, gradients: BTreeMap::new(), weights: Vec::new(), inputs };
    // The loss reads the output once and writes its gradient.
    let (gradient, mode) = backward.gradient(output);
    backward
        .step
        .push(Operator { writes: vec![(gradient, mode)], ..Operator::new(Op::Softmax, None, vec![output], gradient) });
    for operator in operators.iter().rev() {
        backward.operator_backward(operator);
    }
    let Backward { weights, gradients, .. } = backward;
    step.mark("optimizer");
    for weight in weights {
        let Some(gradient) = gradients.get(&weight) else { continue };
        let Val::Stored(index) = weight else { continue };
        let (name, shape, layer) = {
            let about = planner.about(index);
            (about.name.clone(), about.shape, about.layer)
        };
        let kept = states.entry(weight).or_insert_with(|| {
            let state = Shape { bits: STATE_BITS, ..shape };
            let names = optimizer.states(shape.bits).into_iter();
            names
                .map(|state_name| planner.stored(format!("{name}.{state_name}"), state, layer, Kind::Optimizer))
                .collect()
        });
        let mut reads = vec![*gradient];
        reads.extend(kept.iter().copied());
        // With a copy of its own, the narrow weight is only written.
        let copied = shape.bits < STATE_BITS;
        if !copied {
            reads.push(weight);
        }
        let mut writes: Vec<(Val, Mode)> = kept.iter().map(|state| (*state, Mode::Write)).collect();
        writes.push((weight, Mode::Write));
        step.push(Operator { writes, ..Operator::new(Op::Optimizer, layer, reads, weight) });
    }
}

struct Backward<'a> {
    planner: &'a Planner,
    step: &'a mut Step,
    /// The gradient of each tensor that has one so far.
    gradients: BTreeMap<Val, Val>,
    /// Weights with a gradient, in the order in which they got it.
    weights: Vec<Val>,
    inputs: Vec<Val>,
}

impl Backward<'_> {
    /// Whether `value` needs a gradient.
    fn needs_gradient(&self, value: Val) -> bool {
        match value {
            Val::Temp(_) => !self.inputs.contains(&value),
            Val::Stored(index) => self.planner.about(index).kind == Kind::Weights,
        }
    }

    /// The gradient of `value` to write to, and how: the first part replaces, further ones are added.
    fn gradient(&mut self, value: Val) -> (Val, Mode) {
        if let Some(gradient) = self.gradients.get(&value) {
            return (*gradient, Mode::Update);
        }
        let (name, shape, layer) = match value {
            Val::Temp(t) => {
                let temp = &self.step.temps[t as usize];
                (temp.name.to_string(), temp.shape, temp.layer)
            }
            Val::Stored(s) => {
                self.weights.push(value);
                let about = self.planner.about(s);
                (about.name.clone(), about.shape, about.layer)
            }
        };
        let shape = Shape { bits: shape.bits.max(GRADIENT_BITS), ..shape };
        let gradient = self.step.temp_of(Cow::Owned(format!("{name}.grad")), shape, layer, Kind::Gradients);
        self.gradients.insert(value, gradient);
        (gradient, Mode::Write)
    }

    /// The backward pass of one operator.
    fn operator_backward(&mut self, forward: &Operator) {
        let outputs: Vec<Val> =
            forward.writes.iter().filter_map(|(value, _)| self.gradients.get(value).copied()).collect();
        let Some(&gradient) = outputs.first() else { return };
        match (forward.op, &forward.product) {
            (_, Some(product)) => self.product_backward(forward, product, gradient),
            (Op::Add, None) => self.sum_backward(forward, gradient),
            (Op::Embedding, None) => self.lookup_backward(forward, gradient),
            // What only moves elements needs nothing but the gradient.
            (Op::Copy, None) => self.elementwise_backward(forward, outputs),
            _ => {
                let inputs = forward.reads.iter().chain(&forward.streams).copied();
                self.elementwise_backward(forward, outputs.into_iter().chain(inputs).collect());
            }
        }
    }

    /// The gradient of a table is as large as the table, though few of its rows were looked up (PyTorch's default).
    fn lookup_backward(&mut self, forward: &Operator, gradient: Val) {
        let Some(table) = forward.table else { return };
        let write = self.gradient(table);
        let back = Operator::new(Op::Embedding, forward.layer, vec![gradient], write.0);
        self.step.push(Operator { writes: vec![write], ..back });
    }

    fn product_backward(&mut self, forward: &Operator, product: &Product, gradient: Val) {
        let Product { m, n, k, a, b, a_transposed, b_transposed, .. } = *product;
        let filtering = |operands, sum| product.filtering.map(|of| Filtering { operands, sum, ..of });
        let operator = |reads, streams, write: (Val, Mode), product: Product| Operator {
            reads,
            streams,
            writes: vec![write],
            flops: forward.flops,
            grouped: forward.grouped,
            product: Some(product),
            ..Operator::new(forward.op, forward.layer, Vec::new(), write.0)
        };
        if self.needs_gradient(a) {
            let write = self.gradient(a);
            // dX = dY W', or its transpose where X is stored so: every gradient is stored as what it belongs to.
            let back = if a_transposed {
                Product {
                    a_transposed: b_transposed,
                    b_transposed: true,
                    ..Product::new((k, m, n), b, gradient, write.0)
                }
            } else {
                Product { b_transposed: !b_transposed, ..Product::new((m, k, n), gradient, b, write.0) }
            };
            let back = Product { filtering: filtering([write.0, b, gradient], 0), ..back };
            self.step.push(operator(vec![gradient], vec![b], write, back));
        }
        if self.needs_gradient(b) {
            let write = self.gradient(b);
            let back = if b_transposed {
                Product {
                    a_transposed: true,
                    b_transposed: a_transposed,
                    ..Product::new((n, k, m), gradient, a, write.0)
                }
            } else {
                Product { a_transposed: !a_transposed, ..Product::new((k, n, m), a, gradient, write.0) }
            };
            let back = Product { filtering: filtering([a, write.0, gradient], 1), ..back };
            self.step.push(operator(vec![a], vec![gradient], write, back));
        }
        for other in forward.streams.iter().filter(|value| **value != b) {
            if self.needs_gradient(*other) {
                // A bias: the sum of the gradient over all rows.
                let write = self.gradient(*other);
                self.step.push(Operator {
                    writes: vec![write],
                    ..Operator::new(forward.op, forward.layer, vec![gradient], write.0)
                });
            }
        }
    }

    fn sum_backward(&mut self, forward: &Operator, gradient: Val) {
        self.lookup_backward(forward, gradient);
        let parameters = forward.streams.iter().filter(|_| forward.table.is_none());
        for bias in parameters.copied() {
            if self.needs_gradient(bias) {
                let write = self.gradient(bias);
                let back = Operator::new(Op::Add, forward.layer, vec![gradient], write.0);
                self.step.push(Operator { writes: vec![write], ..back });
            }
        }
        for input in forward.reads.clone() {
            if !self.needs_gradient(input) {
                continue;
            }
            match self.gradients.get(&input).copied() {
                None => {
                    self.gradients.insert(input, gradient);
                }
                // It may have met itself on another way.
                Some(known) if known == gradient => {}
                Some(known) => {
                    let sum = Operator::new(Op::Add, forward.layer, vec![gradient], known);
                    self.step.push(Operator { writes: vec![(known, Mode::Update)], ..sum });
                }
            }
        }
    }

    fn elementwise_backward(&mut self, forward: &Operator, reads: Vec<Val>) {
        let inputs = forward.reads.iter().chain(&forward.streams).copied();
        let wanted: Vec<Val> = inputs.filter(|value| self.needs_gradient(*value)).collect();
        let writes: Vec<(Val, Mode)> = wanted.into_iter().map(|value| self.gradient(value)).collect();
        let Some(&(first, _)) = writes.first() else { return };
        let flops = BACKWARD * forward.flops;
        let back = Operator::new(forward.op, forward.layer, reads, first);
        self.step.push(Operator { writes, flops, in_place: forward.in_place, ..back });
    }
}
