//! Passes of a convolutional network.
//!
//! A convolution is the product of a matrix with a row for each position of the filter, and of the filters: read from
//! the image directly, or written out first (im2col). Convolutions in groups are not cut by a dataflow.

use super::fields::Convolution;
use crate::error::Error;
use crate::tiling::{Axis, Chain, Image};
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
    pub(crate) fn new(
        planner: &mut Planner,
        network: &'a Network,
        bits: Bits,
        (convolution, batch): (Convolution, u64),
    ) -> Self {
        let mut weights = Vec::new();
        for block in &network.blocks {
            let (matrix, rest) = network.stored(block);
            let filters = block.out[0];
            let mut stored = |name: String, elements: u64| {
                let shape = match elements.is_multiple_of(filters) {
                    true => Shape::new(elements / filters, filters, bits.weights),
                    false => Shape::new(1, elements, bits.weights),
                };
                (elements > 0).then(|| planner.stored(name, shape, Some(block.layer), Kind::Weights))
            };
            let name = match block.kind {
                BlockKind::Norm | BlockKind::Scale(_) | BlockKind::Attention { .. } => block.name.clone(),
                _ => format!("{}.bias", block.name),
            };
            let (matrix, rest) = (stored(block.name.clone(), matrix), stored(name, rest));
            // Of a table the rows that are looked up move, which stand for the biases that it has not.
            let rest = match block.kind {
                BlockKind::Rows { .. } => {
                    stored(format!("{}.rows", block.name), block.out.iter().product::<u64>() * batch)
                }
                _ => rest,
            };
            weights.push((matrix, rest));
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
                BlockKind::Scale(_) => ("scaled", elementwise(Op::Norm).in_place()),
                BlockKind::Gate => ("gated", elementwise(Op::Relu)),
                BlockKind::Copy(other) => {
                    let reads = std::iter::once(from).chain(other.map(|other| made[other])).collect();
                    ("laid_out", Operator::new(Op::Copy, layer, reads, Val::Temp(0)))
                }
                BlockKind::Input => {
                    let input = step.temp("input", shape(block.out)?, layer);
                    step.inputs.push(input);
                    made.push(input);
                    continue;
                }
                BlockKind::Learned | BlockKind::Parameter | BlockKind::Rows { .. } => {
                    let (op, reads) = match block.kind {
                        BlockKind::Learned => (Op::Add, vec![from]),
                        BlockKind::Parameter => (Op::Copy, Vec::new()),
                        _ => (Op::Embedding, Vec::new()),
                    };
                    let out = step.temp("hidden", shape(block.out)?, layer);
                    let rows = matches!(block.kind, BlockKind::Rows { .. });
                    let streams = if rows { *rest } else { *matrix };
                    let operator = Operator::new(op, layer, reads, out);
                    let table = matrix.filter(|_| rows);
                    step.push(Operator { streams: streams.into_iter().collect(), table, ..operator });
                    made.push(out);
                    continue;
                }
                BlockKind::Attention { heads, others, window, .. } => {
                    let out = step.temp("attended", shape(block.out)?, layer);
                    let reads = match others {
                        Some([k, v]) => vec![from, made[*k], made[*v]],
                        None => vec![from],
                    };
                    let queries = block.out[1] * block.out[2];
                    let keys = match others {
                        Some([k, _]) => self.network.out(*k)[1..].iter().product(),
                        None => queries,
                    };
                    // Windows are a batch of their own; one at the border is padded.
                    let (parts, queries, keys) = match window {
                        Some(size) => (queries.div_ceil(*size), *size, *size),
                        None => (1, queries, keys),
                    };
                    let width = filters / heads;
                    let own = self.bits.activations;
                    let chain = Chain {
                        batch: product(&[batch, *heads, parts])?,
                        rows: queries,
                        inputs: width,
                        outputs: width,
                        middle: keys,
                        factors: 1,
                        carried: 2,
                        pairs: product(&[queries, keys])?,
                        bits: [own; 3],
                    };
                    let pairs = (chain.batch * queries) as f64 * keys as f64;
                    let operator = Operator::new(Op::Attention, layer, reads, out);
                    let streams = rest.iter().copied().collect();
                    step.push(Operator { streams, flops: 4.0 * width as f64 * pairs, chains: vec![chain], ..operator });
                    made.push(out);
                    continue;
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
