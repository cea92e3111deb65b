//! Chains of linear layers, and single matrix multiplications.

use crate::error::Error;
use crate::trace::{Kind, Op};
use crate::workload::config::{Gemm, Mlp};
use crate::workload::dtype::{Bits, product};
use crate::workload::plan::{Operator, Planner, Product, Shape, Step, Val};

/// The stored layers of an MLP.
pub(crate) struct MlpLayers<'a> {
    model: &'a Mlp,
    bits: Bits,
    layers: Vec<(Val, Option<Val>)>,
}

impl<'a> MlpLayers<'a> {
    pub(crate) fn new(planner: &mut Planner, model: &'a Mlp, bits: Bits) -> Self {
        let mut layers = Vec::new();
        for (layer, sides) in (0..).zip(model.layers.windows(2)) {
            let mut stored = |name: String, rows, cols| {
                planner.stored(name, Shape::new(rows, cols, bits.weights), Some(layer), Kind::Weights)
            };
            let weights = stored(format!("layers.{layer}"), sides[0], sides[1]);
            layers.push((weights, model.bias.then(|| stored(format!("layers.{layer}.bias"), 1, sides[1]))));
        }
        Self { model, bits, layers }
    }

    /// One pass over `rows` rows.
    pub(crate) fn step(&self, rows: u64) -> Result<Step, Error> {
        let mut step = Step::default();
        let shape = |cols| Shape::new(rows, cols, self.bits.activations);
        let mut last = step.temp("input", shape(self.model.layers[0]), None);
        step.inputs.push(last);
        for ((number, sides), (weights, bias)) in (0..).zip(self.model.layers.windows(2)).zip(&self.layers) {
            let layer = Some(number);
            let out = step.temp("hidden", shape(sides[1]), layer);
            let product = Product::new((rows, sides[1], sides[0]), last, *weights, out);
            step.push(Operator::multiply(Op::Matmul, layer, product, std::iter::once(*weights).chain(*bias).collect()));
            last = out;
            if number as usize + 1 < self.layers.len() {
                last = step.temp("hidden", shape(sides[1]), layer);
                step.push(Operator::new(Op::Relu, layer, vec![out], last).in_place());
            }
        }
        step.output = Some(last);
        Ok(step)
    }
}

/// The second operand of a matrix multiplication.
pub(crate) fn store_gemm(planner: &mut Planner, gemm: &Gemm, bits: Bits) -> Val {
    planner.stored("B".into(), Shape::new(gemm.k, gemm.n, bits.weights), Some(0), Kind::Weights)
}

/// One multiplication, of `batch` first operands one below the other.
pub(crate) fn gemm(gemm: &Gemm, weights: Val, batch: u64, bits: Bits) -> Result<Step, Error> {
    let mut step = Step::default();
    let rows = product(&[gemm.m, batch])?;
    let a = step.temp("A", Shape::new(rows, gemm.k, bits.activations), Some(0));
    let c = step.temp("C", Shape::new(rows, gemm.n, bits.activations), Some(0));
    step.inputs.push(a);
    step.output = Some(c);
    let product = Product::new((rows, gemm.n, gemm.k), a, weights, c);
    step.push(Operator::multiply(Op::Matmul, Some(0), product, vec![weights]));
    Ok(step)
}
