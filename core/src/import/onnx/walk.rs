//! One pass through a graph: the accesses and the work of its operators.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::graph::{Role, role, short};
use super::prepare::{Prepared, matrix};
use super::proto::{self, BOOL, INT64};
use super::rules;
use super::shape::{Known, MOST_VALUES, Shapes, count, matmul, second};
use super::values::values;
use crate::error::{Error, Place};
use crate::tiling::{Axis, Image};
use crate::trace::{Kind, Mode, Op};
use crate::workload::file::StoredModel;
use crate::workload::plan::{Operator, Planner, Product, Step, Val};

/// A multiplication with its addition.
const FLOPS_PER_MAC: f64 = 2.0;

/// One walk through the graph.
struct Walk<'a, 'p> {
    of: &'a Prepared<'a>,
    shapes: Shapes<'a>,
    planner: &'p mut Planner,
    pass: u64,
    step: Step,
    /// Operators whose work is not counted.
    uncounted: BTreeSet<&'a str>,
    /// Tensors for which the file states another shape.
    mismatched: Vec<String>,
}

impl StoredModel for Prepared<'_> {
    fn step(&self, planner: &mut Planner, pass: u64) -> Result<Step, Error> {
        let shapes = Shapes { graph: self.graph, weights: &self.weights, known: FxHashMap::default() };
        let step = Step::default();
        let mut walk =
            Walk { of: self, shapes, planner, pass, step, uncounted: BTreeSet::new(), mismatched: Vec::new() };
        for name in &self.inputs {
            let stated = &self.stated[name];
            let mut known = stated.clone();
            // A tensor without elements moves nothing.
            if count(&stated.dims) > 0 {
                let value = walk.temp(name, &stated.dims, stated.data_type, None)?;
                walk.step.inputs.push(value);
                known.value = Some(value);
            }
            walk.shapes.known.insert(name, known);
        }
        for (node, layer) in self.graph.graph.nodes.iter().zip(&self.layers) {
            walk.node(node, Some(*layer))?;
        }
        if pass == 0 && !walk.uncounted.is_empty() {
            let names: Vec<&str> = walk.uncounted.iter().copied().collect();
            walk.planner.warn(format!("the work of these operators is not counted: {}", names.join(", ")));
        }
        if let (0, Some(first)) = (pass, walk.mismatched.first()) {
            let count = walk.mismatched.len();
            let text = "tensors have another shape than the file states; what their operators make counts";
            walk.planner.warn(format!("{count} {text} ({first})"));
        }
        let outputs = self.graph.graph.outputs.iter();
        let mut made =
            outputs.filter_map(|info| walk.shapes.known.get(info.name.as_str()).and_then(|known| known.value));
        let output = made.find(|value| matches!(value, Val::Temp(_)));
        let mut step = walk.step;
        step.output = output;
        if step.operators.is_empty() {
            let empty = self.stated.values().any(|known| count(&known.dims) == 0);
            let (problem, cure) = match empty {
                true => {
                    let problem = "no operator moves a tensor: its tensors have no elements, because a dimension is 0";
                    (problem, "Export the model with a dynamic dimension, or with one that is not 0")
                }
                false => ("no operator moves a tensor", "Give a model that computes something"),
            };
            return Err(Error::input(&self.graph.input, Place::Whole, problem, cure));
        }
        Ok(step)
    }
}

impl<'a> Walk<'a, '_> {
    fn temp(&mut self, name: &str, dims: &[u64], data_type: i32, layer: Option<u32>) -> Result<Val, Error> {
        let width = self.of.graph.bits(name, data_type)?;
        Ok(self.step.temp(name.to_owned(), matrix(dims, width), layer))
    }

    fn node(&mut self, node: &'a proto::Node, layer: Option<u32>) -> Result<(), Error> {
        for (at, name) in node.inputs.iter().enumerate() {
            if !name.is_empty() {
                self.shapes.require(node, at)?;
            }
        }
        let role = role(&node.op_type);
        match role {
            Role::Control => {
                let cure = "Export the model without control flow, or record an execution trace of it";
                return Err(self.of.graph.refuse(node, "what it runs is decided only while it runs", cure));
            }
            // They are among the weights.
            Role::Constant | Role::Shape
                if node.outputs.iter().all(|name| self.of.weights.contains_key(name.as_str())) =>
            {
                return Ok(());
            }
            _ => {}
        }
        let inferred = self.shapes.infer(node, role)?;
        let values: Vec<_> = (0..node.outputs.len()).map(|at| values(&self.shapes, node, at)).collect();
        for (i, name) in node.outputs.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let stated = self.of.stated.get(name.as_str());
            let (dims, data_type) = match (inferred.get(i), stated) {
                (Some((dims, data_type)), _) => (dims.clone(), *data_type),
                (_, Some(stated)) => (stated.dims.clone(), stated.data_type),
                // Further outputs (masks, indices, running means) are seldom used: they are left out unless read.
                _ if i > 0 && !self.of.read.contains(name.as_str()) => continue,
                _ if i > 0 => match (inferred.first(), node.op_type.as_str()) {
                    (Some((dims, _)), "MaxPool") => (dims.clone(), INT64),
                    (Some((dims, _)), "Dropout") => (dims.clone(), BOOL),
                    _ => continue,
                },
                _ => {
                    let problem =
                        format!("the shape of its output {} is not stated, and not worked out here", short(name));
                    let cure = "Run onnx.shape_inference.infer_shapes on the model (or onnxsim) and give what it saves";
                    return Err(self.of.graph.refuse(node, problem, cure));
                }
            };
            if let Some(stated) = stated.filter(|stated| stated.dims != dims) {
                self.mismatched.push(format!("{}: {:?} stated, {dims:?} made", short(name), stated.dims));
            }
            let ints = values.get(i).cloned().flatten();
            self.shapes.known.insert(name, Known { dims, data_type, value: None, ints, stored: false });
        }
        let Some(first) = node.outputs.first() else { return Ok(()) };
        // Shapes and indices are computed, not moved.
        if values.first().is_some_and(Option::is_some) {
            return Ok(());
        }
        if role == Role::Shape {
            return Ok(());
        }
        if role == Role::View {
            let source = self.shapes.require(node, 0)?;
            let (value, stored) = (source.value, source.stored);
            if let Some(known) = self.shapes.known.get_mut(first.as_str()) {
                (known.value, known.stored) = (value, stored);
            }
            return Ok(());
        }
        self.emit(node, role, layer)
    }

    /// The accesses of an operator that moves tensors.
    fn emit(&mut self, node: &'a proto::Node, role: Role, layer: Option<u32>) -> Result<(), Error> {
        let Some(first) = node.outputs.first().filter(|name| !name.is_empty()) else { return Ok(()) };
        let mut reads = Vec::new();
        let mut streams = Vec::new();
        for at in 0..node.inputs.len() {
            let Some(known) = self.shapes.get(node, at) else { continue };
            match known.value {
                Some(value) if known.stored => streams.push(value),
                Some(value) => reads.push(value),
                None => {}
            }
        }
        let (dims, data_type) = {
            let known = &self.shapes.known[first.as_str()];
            (known.dims.clone(), known.data_type)
        };
        // What has no elements moves nothing, nor does a little that is made of shapes and scalars alone.
        if count(&dims) == 0 || (reads.is_empty() && streams.is_empty() && count(&dims) <= MOST_VALUES as u64) {
            return Ok(());
        }
        if role == Role::Gather && self.shapes.require(node, 0)?.stored {
            // A table is read by rows: a tensor of its own, as large as what is looked up.
            let table = self.shapes.require(node, 0)?.value;
            let width = self.of.graph.bits(first, data_type)?;
            let name = format!("{}.rows[{}]", node.inputs[0], self.pass);
            let rows = self.planner.stored(name, matrix(&dims, width), layer, Kind::Weights);
            let out = self.temp(first, &dims, data_type, layer)?;
            let operator = Operator::new(Op::Embedding, layer, reads, out);
            self.step.push(Operator { streams: vec![rows], table, ..operator });
            self.set(first, out);
            return Ok(());
        }
        let out = self.temp(first, &dims, data_type, layer)?;
        let mut operator = Operator::new(Op::Other, layer, reads, out);
        operator.streams = streams;
        match role {
            Role::Conv => {
                operator.op = Op::Conv;
                let weights = self.shapes.require(node, second(&node.op_type))?;
                let filters = weights.dims.first().copied().unwrap_or(1).max(1);
                let k = count(&weights.dims) / filters;
                self.multiply(node, &mut operator, (count(&dims) / filters, filters, k), out, true)?;
                let channels = self.shapes.require(node, 0)?.dims.get(1).copied().unwrap_or(1);
                let own = self.shapes.require(node, second(&node.op_type))?.dims.get(1).copied().unwrap_or(1);
                operator.grouped = channels != own;
                if let Some(product) = &mut operator.product {
                    *product = product.over(self.image(node, &dims)?);
                }
            }
            Role::MatMul => {
                operator.op = Op::Matmul;
                let (a, b) = (self.shapes.require(node, 0)?, self.shapes.require(node, second(&node.op_type))?);
                let Some((_, batch, m, n, k)) = matmul(&a.dims, &b.dims) else { return Ok(()) };
                if b.dims.len() <= 2 {
                    self.multiply(node, &mut operator, (batch * m, n, k), out, false)?;
                } else {
                    operator.flops = 2.0 * batch as f64 * m as f64 * n as f64 * k as f64;
                }
            }
            Role::Gemm => {
                operator.op = Op::Matmul;
                let transposed = |name: &str| node.int(name, 0) != 0;
                let a = self.shapes.require(node, 0)?;
                let k = a.dims.get(usize::from(!transposed("transA"))).copied().unwrap_or(1);
                let sides = (dims.first().copied().unwrap_or(1), dims.get(1).copied().unwrap_or(1), k);
                self.multiply(node, &mut operator, sides, out, transposed("transB"))?;
                if let Some(product) = &mut operator.product {
                    product.a_transposed = transposed("transA");
                }
            }
            Role::Like(op) | Role::Elements(op) => {
                operator.op = op;
                operator.in_place = true;
            }
            Role::Pool | Role::GlobalPool => operator.op = Op::Pool,
            Role::Concat | Role::Transpose | Role::Gather | Role::Moves => operator.op = Op::Copy,
            Role::Reduce => operator.op = Op::Other,
            _ if let Some(work) = rules::work(&self.shapes, node) => {
                operator.op = if node.op_type == "ConvTranspose" { Op::Conv } else { Op::Matmul };
                operator.flops = work;
            }
            _ => {
                self.uncounted.insert(&node.op_type);
            }
        }
        // Other outputs, such as the parts of a split.
        for name in node.outputs.iter().skip(1).filter(|name| !name.is_empty()) {
            let Some(known) = self.shapes.known.get(name.as_str()) else { continue };
            let (dims, data_type) = (known.dims.clone(), known.data_type);
            let value = self.temp(name, &dims, data_type, layer)?;
            operator.writes.push((value, Mode::Write));
            self.set(name, value);
        }
        if operator.flops > 0.0 && operator.reads.is_empty() && operator.streams.is_empty() {
            self.uncounted.insert(&node.op_type);
        }
        self.step.push(operator);
        self.set(first, out);
        Ok(())
    }

    /// The images of a convolution that makes `out`: of two dimensions, by filters without holes.
    fn image(&self, node: &proto::Node, out: &[u64]) -> Result<Option<Image>, Error> {
        let (from, weights) =
            (&self.shapes.require(node, 0)?.dims, &self.shapes.require(node, second(&node.op_type))?.dims);
        let whole = node.ints("dilations").is_none_or(|holes| holes.iter().all(|side| *side == 1));
        let ([images, _, height, width], [.., rows, cols], [_, _, out_rows, out_cols]) = (&from[..], &weights[..], out)
        else {
            return Ok(None);
        };
        // "SAME_UPPER" and "SAME_LOWER" pad as much as is needed, half of it on either side.
        let same = node.attribute("auto_pad").is_some_and(|text| text.s.starts_with(b"SAME"));
        let axis = |at: usize, size: u64, filter: u64, out: u64| {
            let int =
                |name: &str| node.ints(name).and_then(|list| list.get(at)).and_then(|value| u64::try_from(*value).ok());
            let stride = int("strides").unwrap_or(1);
            let needed = out.saturating_sub(1).saturating_mul(stride).saturating_add(filter).saturating_sub(size) / 2;
            Axis { out, size, filter, stride, pad: if same { needed } else { int("pads").unwrap_or(0) } }
        };
        let axes = [axis(0, *height, *rows, *out_rows), axis(1, *width, *cols, *out_cols)];
        Ok((whole && weights.len() == 4).then_some(Image { images: *images, axes }))
    }

    fn set(&mut self, name: &'a str, value: Val) {
        if let Some(known) = self.shapes.known.get_mut(name) {
            known.value = Some(value);
        }
    }

    /// Makes the operator a product of its first input and its matrix.
    fn multiply(
        &self,
        node: &proto::Node,
        operator: &mut Operator,
        sides: (u64, u64, u64),
        out: Val,
        transposed: bool,
    ) -> Result<(), Error> {
        let (a, b) = (self.shapes.require(node, 0)?.value, self.shapes.require(node, second(&node.op_type))?.value);
        let Some((a, b)) = a.zip(b) else {
            // The work is the same where a matrix is computed on the way and does not move.
            let (m, n, k) = sides;
            operator.flops = FLOPS_PER_MAC * m as f64 * n as f64 * k as f64;
            return Ok(());
        };
        let product = Product { b_transposed: transposed, ..Product::new(sides, a, b, out) };
        operator.flops = product.flops();
        operator.product = Some(product);
        // The work waits for the matrix, wherever it comes from; what the caller gives is laid out where it is read.
        let given = self.step.inputs.contains(&b);
        if let Some(at) = operator.reads.iter().rposition(|value| *value == b && a != b && !given) {
            operator.reads.remove(at);
            operator.streams.insert(0, b);
        }
        Ok(())
    }
}
