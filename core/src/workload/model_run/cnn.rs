//! Passes of a convolutional network.
//!
//! A convolution is the product of a matrix with a row for each position of the filter, and of the filters: read from
//! the image directly, or written out first (im2col). Convolutions in groups are not cut by a dataflow.

use super::fields::Convolution;
use crate::error::Error;
use crate::tiling::{Axis, Image};
use crate::trace::{Kind, Op};
use crate::workload::config::{BlockKind, Network, Window};
use crate::workload::dtype::{Bits, product};
use crate::workload::plan::{Operator, Planner, Product, Shape, Step, Val};

/// A network with its weights stored.
pub(crate) struct Images<'a> {
    network: &'a Network,
    bits: Bits,
    convolution: Convolution,
    /// The matrix, and the biases (or factors and offsets), of each operator.
    weights: Vec<(Option<Val>, Option<Val>)>,
}

impl<'a> Images<'a> {
    pub(crate) fn new(planner: &mut Planner, network: &'a Network, bits: Bits, convolution: Convolution) -> Self {
        let mut weights = Vec::new();
        for block in &network.blocks {
            let (matrix, rest) = network.stored(block);
            let filters = block.out[0];
            let mut stored = |name: String, rows: u64, cols: u64| {
                (rows > 0).then(|| {
                    planner.stored(name, Shape::new(rows, cols, bits.weights), Some(block.layer), Kind::Weights)
                })
            };
            let name =
                if matches!(block.kind, BlockKind::Norm) { block.name.clone() } else { format!("{}.bias", block.name) };
            weights
                .push((stored(block.name.clone(), matrix / filters, filters), stored(name, rest / filters, filters)));
        }
        Self { network, bits, convolution, weights }
    }

    /// One pass over `batch` images.
    pub(crate) fn step(&self, batch: u64) -> Result<Step, Error> {
        let mut step = Step::default();
        let shape = |[channels, height, width]: [u64; 3]| {
            Ok::<_, Error>(Shape::new(product(&[batch, height, width])?, channels, self.bits.activations))
        };
        let image = step.temp("image", shape(self.network.image)?, None);
        step.inputs.push(image);
        // What each operator makes; the image comes first.
        let mut made = vec![image];
        for (block, (matrix, rest)) in self.network.blocks.iter().zip(&self.weights) {
            let layer = Some(block.layer);
            let from = made[block.from];
            let [channels, height, width] = self.network.out(block.from);
            let [filters, ..] = block.out;
            let elementwise = |op| Operator::new(op, layer, vec![from], Val::Temp(0));
            let (name, operator) = match &block.kind {
                BlockKind::Norm => ("normed", elementwise(Op::Norm).in_place()),
                BlockKind::Relu => ("active", elementwise(Op::Relu).in_place()),
                BlockKind::Pool(_) | BlockKind::GlobalPool => ("pooled", elementwise(Op::Pool)),
                BlockKind::Add(other) => {
                    ("sum", Operator::new(Op::Add, layer, vec![from, made[*other]], Val::Temp(0)).in_place())
                }
                BlockKind::Linear => {
                    let out = step.temp("logits", shape(block.out)?, layer);
                    let inputs = product(&[channels, height, width])?;
                    let b = matrix.ok_or_else(no_weights)?;
                    let product = Product::new((batch, filters, inputs), from, b, out);
                    let streams = std::iter::once(b).chain(*rest).collect();
                    step.push(Operator::multiply(Op::Matmul, layer, product, streams));
                    made.push(out);
                    continue;
                }
                BlockKind::Conv { window, groups, .. } => {
                    let weights = (matrix.ok_or_else(no_weights)?, *rest);
                    let [_, out_height, out_width] = block.out;
                    let axis =
                        |out, size| Axis { out, size, filter: window.size, stride: window.stride, pad: window.padding };
                    let image = Image { images: batch, axes: [axis(out_height, height), axis(out_width, width)] };
                    let rows = shape(block.out)?.rows;
                    let conv = Conv { window: *window, groups: *groups, channels, rows, image };
                    let out = step.temp("features", shape(block.out)?, layer);
                    self.conv(&mut step, layer, &conv, from, weights, out);
                    made.push(out);
                    continue;
                }
            };
            let out = step.temp(name, shape(block.out)?, layer);
            step.push(Operator {
                writes: vec![(out, operator.writes[0].1)],
                streams: rest.iter().copied().collect(),
                ..operator
            });
            made.push(out);
        }
        step.output = made.last().copied();
        Ok(step)
    }

    fn conv(&self, step: &mut Step, layer: Option<u32>, conv: &Conv, from: Val, weights: (Val, Option<Val>), out: Val) {
        let (matrix, bias) = weights;
        let filters = step.shape(out).cols;
        let k = conv.window.size * conv.window.size * conv.channels / conv.groups;
        let (mut a, mut image) = (from, Some(conv.image));
        // A filter of one element that moves by one reads the image as it is.
        if self.convolution == Convolution::Im2col && (conv.window.size > 1 || conv.window.stride > 1) {
            image = None;
            a = step.temp("im2col", Shape::new(conv.rows, k * conv.groups, self.bits.activations), layer);
            step.push(Operator::new(Op::Copy, layer, vec![from], a));
        }
        let product = Product::new((conv.rows, filters, k), a, matrix, out).over(image);
        let streams = std::iter::once(matrix).chain(bias).collect();
        let operator = Operator::multiply(Op::Conv, layer, product, streams);
        step.push(if conv.groups == 1 { operator } else { Operator { grouped: true, ..operator } });
    }
}

struct Conv {
    window: Window,
    groups: u64,
    channels: u64,
    /// Positions of the filters in all images.
    rows: u64,
    /// The images, and how the filter moves over them.
    image: Image,
}

fn no_weights() -> Error {
    Error::Internal("an operator without its weights".into())
}
