//! Inference of shapes, and of the values of shapes and indices.

use std::collections::BTreeSet;

use prost::bytes::Bytes;
use prost::encoding::decode_varint;
use rustc_hash::FxHashMap;

use super::graph::{Graph, Role, short};
use super::proto::{self, BOOL, FLOAT, INT32, INT64};
use crate::error::Error;
use crate::workload::dtype::product;
use crate::workload::plan::Val;

/// The most elements of a tensor whose values are followed: shapes and indices.
pub(super) const MOST_VALUES: usize = 1024;

/// The most dimensions of a tensor.
const MOST_DIMS: usize = 64;

/// Shape and type of an output.
pub(super) type Made = (Vec<u64>, i32);

/// What is known of a tensor of the graph.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) dims: Vec<u64>,
    pub(super) data_type: i32,
    /// What stands for it in the plan; none for shapes and indices, which are computed but not moved.
    pub(super) value: Option<Val>,
    /// Its values, for shapes and indices.
    pub(super) ints: Option<Vec<i64>>,
    /// Whether it is stored in the file.
    pub(super) stored: bool,
}

/// What is known of the tensors of a graph while its operators are visited in order.
pub(super) struct Shapes<'a> {
    pub(super) graph: &'a Graph,
    /// What is stored in the file.
    pub(super) weights: &'a FxHashMap<&'a str, Known>,
    /// Inputs, and outputs of the operators so far.
    pub(super) known: FxHashMap<&'a str, Known>,
}

impl Shapes<'_> {
    pub(super) fn get(&self, node: &proto::Node, at: usize) -> Option<&Known> {
        let name = node.inputs.get(at).filter(|name| !name.is_empty())?.as_str();
        self.known.get(name).or_else(|| self.weights.get(name))
    }

    pub(super) fn require(&self, node: &proto::Node, at: usize) -> Result<&Known, Error> {
        self.get(node, at).ok_or_else(|| {
            let problem = match node.inputs.get(at) {
                None => format!("it has {} inputs, and {} are needed", node.inputs.len(), at + 1),
                Some(name) => {
                    let mut makers = self.graph.graph.nodes.iter();
                    match makers.find(|maker| maker.outputs.contains(name)) {
                        Some(maker) => format!(
                            "the shape of its input {}, an output of {}, is not stated, and not worked out here",
                            short(name),
                            maker.op_type
                        ),
                        None => format!("its input {} is made nowhere", short(name)),
                    }
                }
            };
            self.graph.refuse(node, problem, "Check the model with onnx.checker")
        })
    }

    /// Shape and type of the first output, where the rule is known.
    pub(super) fn first(&self, node: &proto::Node, role: Role) -> Result<Option<Made>, Error> {
        let refuse = |problem: String| self.graph.refuse(node, problem, "Check the model with onnx.checker");
        let first = self.get(node, 0);
        Ok(match role {
            Role::Like(_) => {
                let data_type = match node.op_type.as_str() {
                    "Cast" => node.int("to", 1) as i32,
                    "QuantizeLinear" => self.get(node, 2).map_or(2, |zero| zero.data_type),
                    "DequantizeLinear" => self.get(node, 1).map_or(1, |scale| scale.data_type),
                    "Not" | "IsNaN" | "IsInf" => BOOL,
                    _ => self.require(node, 0)?.data_type,
                };
                Some((self.require(node, 0)?.dims.clone(), data_type))
            }
            Role::Elements(_) => {
                let mut dims: Vec<u64> = Vec::new();
                for at in 0..node.inputs.len() {
                    let other = &self.require(node, at)?.dims;
                    dims = broadcast(&dims, other).ok_or_else(|| {
                        refuse(format!("its inputs of shapes {dims:?} and {other:?} do not go together"))
                    })?;
                }
                let data_type = match node.op_type.as_str() {
                    "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" => BOOL,
                    "Where" => self.require(node, 1)?.data_type,
                    _ => self.require(node, 0)?.data_type,
                };
                Some((dims, data_type))
            }
            Role::Conv | Role::Pool => Some(self.window(node, role)?),
            Role::GlobalPool => {
                let image = self.require(node, 0)?;
                let kept = image.dims.len().min(2);
                let ones = image.dims.iter().skip(2).map(|_| 1);
                Some((image.dims[..kept].iter().copied().chain(ones).collect(), image.data_type))
            }
            Role::MatMul => {
                let (a, b) = (self.require(node, 0)?, self.require(node, second(&node.op_type))?);
                let (dims, ..) = matmul(&a.dims, &b.dims)
                    .ok_or_else(|| refuse(format!("shapes {:?} and {:?} do not multiply", a.dims, b.dims)))?;
                Some((dims, if node.op_type == "MatMulInteger" { INT32 } else { a.data_type }))
            }
            Role::Gemm => {
                let (a, b) = (self.require(node, 0)?, self.require(node, 1)?);
                let sides_of = |dims: &[u64], transposed: bool| match dims {
                    [rows, cols] => Some(if transposed { (*cols, *rows) } else { (*rows, *cols) }),
                    _ => None,
                };
                let sides =
                    sides_of(&a.dims, node.int("transA", 0) != 0).zip(sides_of(&b.dims, node.int("transB", 0) != 0));
                let ((m, _), (_, n)) = sides
                    .filter(|((_, k), (other, _))| k == other)
                    .ok_or_else(|| refuse(format!("shapes {:?} and {:?} do not multiply", a.dims, b.dims)))?;
                Some((vec![m, n], a.data_type))
            }
            Role::View => self.view(node)?,
            Role::Transpose => {
                let from = self.require(node, 0)?;
                let order: Vec<usize> = match node.ints("perm") {
                    Some(order) => order.iter().map(|axis| *axis as usize).collect(),
                    None => (0..from.dims.len()).rev().collect(),
                };
                let dims: Option<Vec<u64>> = order.iter().map(|axis| from.dims.get(*axis).copied()).collect();
                let dims = dims.filter(|dims| dims.len() == from.dims.len());
                Some((dims.ok_or_else(|| refuse(format!("it turns {:?} by {order:?}", from.dims)))?, from.data_type))
            }
            Role::Concat => {
                let from = self.require(node, 0)?;
                let axis = axis(node.int("axis", 0), from.dims.len())
                    .ok_or_else(|| refuse("its axis is out of range".into()))?;
                let mut dims = from.dims.clone();
                dims[axis] = 0;
                for at in 0..node.inputs.len() {
                    let part = &self.require(node, at)?.dims;
                    let meets = |i: usize| i == axis || part.get(i) == from.dims.get(i);
                    if part.len() != from.dims.len() || !(0..part.len()).all(meets) {
                        return Err(refuse(format!("shapes {:?} and {part:?} do not go together", from.dims)));
                    }
                    dims[axis] = dims[axis].saturating_add(part[axis]);
                }
                Some((dims, from.data_type))
            }
            Role::Gather => {
                let (data, indices) = (self.require(node, 0)?, self.require(node, 1)?);
                let axis = axis(node.int("axis", 0), data.dims.len())
                    .ok_or_else(|| refuse("its axis is out of range".into()))?;
                let (before, after) = (&data.dims[..axis], &data.dims[axis + 1..]);
                Some(([before, &indices.dims, after].concat(), data.data_type))
            }
            Role::Shape => match (node.op_type.as_str(), first) {
                ("Shape", Some(first)) => Some((vec![first.dims.len() as u64], INT64)),
                ("Size", _) => Some((Vec::new(), INT64)),
                ("ConstantOfShape", Some(Known { ints: Some(ints), .. })) => {
                    let dims = dims_of(ints.iter().copied()).map_err(refuse)?;
                    let filled = node.attributes.iter().find_map(|a| a.t.as_ref());
                    Some((dims, filled.map_or(1, |tensor| tensor.data_type)))
                }
                _ => None,
            },
            Role::Constant | Role::Control | Role::Moves | Role::Reduce | Role::Other => None,
        })
    }

    /// Shape and type of what a filter makes that moves over an image: convolutions and pooling.
    fn window(&self, node: &proto::Node, role: Role) -> Result<(Vec<u64>, i32), Error> {
        let refuse = |problem: String| self.graph.refuse(node, problem, "Check the model with onnx.checker");
        let image = self.require(node, 0)?;
        let weights = if role == Role::Conv { Some(self.require(node, second(&node.op_type))?) } else { None };
        let filter: Vec<i64> = match (&weights, node.ints("kernel_shape")) {
            (_, Some(shape)) => shape.to_vec(),
            (Some(weights), None) => weights.dims.iter().skip(2).map(|d| *d as i64).collect(),
            (None, None) => return Err(refuse("it has no kernel_shape".into())),
        };
        if image.dims.len() != filter.len() + 2 {
            return Err(refuse(format!("an input of shape {:?} for a filter of {filter:?}", image.dims)));
        }
        let mut dims = image.dims[..2].to_vec();
        if let Some(weights) = weights {
            let [filters, own, sides @ ..] = weights.dims.as_slice() else {
                return Err(refuse(format!("its filters have the shape {:?}", weights.dims)));
            };
            let groups = node.int("group", 1);
            let fits = u64::try_from(groups)
                .is_ok_and(|groups| own.checked_mul(groups) == Some(dims[1]) && filters.checked_rem(groups) == Some(0));
            if !fits {
                return Err(refuse(format!(
                    "filters of shape {:?} in {groups} groups for an input of {} channels",
                    weights.dims, dims[1]
                )));
            }
            if !sides.iter().zip(&filter).all(|(side, filter)| i64::try_from(*side) == Ok(*filter)) {
                return Err(refuse(format!("filters of shape {:?} for a kernel_shape of {filter:?}", weights.dims)));
            }
            dims[1] = *filters;
        }
        let text = node.attribute("auto_pad").map_or(&b""[..], |a| &a.s);
        for (axis, (side, filter_side)) in image.dims[2..].iter().zip(&filter).enumerate() {
            let window = Axis {
                size: *filter_side,
                stride: node.ints("strides").and_then(|s| s.get(axis)).copied().unwrap_or(1),
                dilation: node.ints("dilations").and_then(|s| s.get(axis)).copied().unwrap_or(1),
                padding: node.ints("pads").map_or(Some(0), |pads| {
                    let end = pads.get(axis + filter.len()).copied().unwrap_or(0);
                    pads.get(axis).copied().unwrap_or(0).checked_add(end)
                }),
                up: node.int("ceil_mode", 0) == 1,
                same: text.starts_with(b"SAME"),
            };
            dims.push(window.positions(*side).ok_or_else(|| {
                refuse(format!("a window of {filter_side} does not fit into {side} elements with its strides and pads"))
            })?);
        }
        let data_type = match node.op_type.as_str() {
            "ConvInteger" => INT32,
            _ => image.data_type,
        };
        Ok((dims, data_type))
    }

    /// Shape and type of what relabels its first input; none where its new shape is not known.
    fn view(&self, node: &proto::Node) -> Result<Option<(Vec<u64>, i32)>, Error> {
        let from = self.require(node, 0)?;
        let all = count(&from.dims);
        let refuse = |problem: String| self.graph.refuse(node, problem, "Check the model with onnx.checker");
        // Axes moved from an attribute to an input with opset 13.
        let axes = || match (node.attribute("axes"), self.get(node, 1)) {
            (Some(axes), _) => Some(axes.ints.clone()),
            (None, Some(known)) => known.ints.clone(),
            (None, None) => Some(Vec::new()),
        };
        let dims = match node.op_type.as_str() {
            "Identity" | "Dropout" => from.dims.clone(),
            "Flatten" => {
                let at = node.attribute("axis").map_or(1, |a| a.i);
                let rank = from.dims.len() as i64;
                let at = if at < 0 { at + rank } else { at };
                if !(0..=rank).contains(&at) {
                    return Err(refuse(format!("its axis {at} is out of range")));
                }
                vec![count(&from.dims[..at as usize]), count(&from.dims[at as usize..])]
            }
            "Squeeze" => {
                let Some(axes) = axes() else { return Ok(None) };
                let drop: Vec<usize> = axes.iter().filter_map(|a| axis(*a, from.dims.len())).collect();
                let kept = from.dims.iter().enumerate();
                let gone = |i: usize, side: u64| if axes.is_empty() { side == 1 } else { drop.contains(&i) };
                kept.filter(|(i, side)| !gone(*i, **side)).map(|(_, side)| *side).collect()
            }
            "Unsqueeze" => {
                let Some(axes) = axes() else { return Ok(None) };
                let rank = from.dims.len() + axes.len();
                let new: BTreeSet<usize> = axes.iter().filter_map(|a| axis(*a, rank)).collect();
                let mut old = from.dims.iter().copied();
                (0..rank).map(|i| if new.contains(&i) { 1 } else { old.next().unwrap_or(1) }).collect()
            }
            _ => {
                let Some(shape) = self.get(node, 1).and_then(|known| known.ints.clone()) else { return Ok(None) };
                let mut dims = Vec::new();
                for (i, side) in shape.iter().enumerate() {
                    dims.push(match side {
                        0 if node.int("allowzero", 0) == 0 => from.dims.get(i).copied().unwrap_or(0),
                        -1 => 0,
                        side => u64::try_from(*side).map_err(|_| refuse(format!("its shape is {shape:?}")))?,
                    });
                }
                if let Some(free) = shape.iter().position(|side| *side == -1) {
                    let others: u64 = dims
                        .iter()
                        .enumerate()
                        .filter(|(i, _)| *i != free)
                        .map(|(_, d)| *d)
                        .fold(1, u64::saturating_mul);
                    dims[free] = all.checked_div(others).unwrap_or(0);
                }
                dims
            }
        };
        if count(&dims) != all {
            return Err(refuse(format!("it makes {dims:?} of {:?}, which has other elements", from.dims)));
        }
        Ok(Some((dims, from.data_type)))
    }

    /// The numbers of an input that is stored in the file, such as scales.
    pub(super) fn floats(&self, node: &proto::Node, at: usize) -> Option<Vec<f32>> {
        let name = node.inputs.get(at)?;
        let graph = &self.graph.graph;
        let stored = graph.initializers.iter().find(|tensor| tensor.name == *name);
        let constant = || {
            let maker = graph.nodes.iter().find(|maker| maker.outputs.first() == Some(name))?;
            maker.attribute("value").and_then(|attribute| attribute.t.as_ref())
        };
        let tensor = stored.or_else(constant).filter(|tensor| tensor.data_type == FLOAT)?;
        let bytes = if tensor.raw_data.is_empty() { &tensor.float_data } else { &tensor.raw_data };
        let numbers = bytes.chunks_exact(4).take(MOST_VALUES);
        Some(numbers.map(|b| f32::from_le_bytes(std::array::from_fn(|i| b[i]))).collect())
    }
}

/// Where the matrix of a product stands among its inputs: quantised ones have scale and zero point between.
pub(super) fn second(op_type: &str) -> usize {
    if op_type.starts_with("QLinear") { 3 } else { 1 }
}

/// A filter along one axis.
struct Axis {
    size: i64,
    stride: i64,
    dilation: i64,
    padding: Option<i64>,
    /// Whether a last position may stick out.
    up: bool,
    /// Whether padding is chosen so that only the stride makes the output smaller.
    same: bool,
}

impl Axis {
    fn positions(&self, side: u64) -> Option<u64> {
        let side = i64::try_from(side).ok()?;
        if self.size < 1 || self.stride < 1 || self.dilation < 1 {
            return None;
        }
        if self.same {
            return u64::try_from(side.checked_add(self.stride - 1)? / self.stride).ok();
        }
        let reach = self.dilation.checked_mul(self.size - 1)?.checked_add(1)?;
        let room = side.checked_add(self.padding?)?.checked_sub(reach)?;
        if room < 0 {
            return None;
        }
        let steps = if self.up { room.checked_add(self.stride - 1)? / self.stride } else { room / self.stride };
        u64::try_from(steps + 1).ok()
    }
}

/// Elements of a tensor; what passes 64 bits is refused when its bytes are counted.
pub(super) fn count(dims: &[u64]) -> u64 {
    dims.iter().fold(1, |product: u64, side| product.saturating_mul(*side))
}

/// Dimensions as the file gives them, checked.
pub(super) fn dims_of(dims: impl IntoIterator<Item = i64>) -> Result<Vec<u64>, String> {
    let mut checked = Vec::new();
    for side in dims {
        checked.push(u64::try_from(side).map_err(|_| format!("a dimension is {side}"))?);
        if checked.len() > MOST_DIMS {
            return Err(format!("it has more than {MOST_DIMS} dimensions"));
        }
    }
    product(&checked).map_err(|_| "it has more than 2^64 - 1 elements".to_owned())?;
    Ok(checked)
}

/// A list of packed numbers.
fn packed(bytes: &Bytes) -> Option<Vec<i64>> {
    let mut rest = &bytes[..];
    let mut values = Vec::new();
    while !rest.is_empty() && values.len() <= MOST_VALUES {
        values.push(decode_varint(&mut rest).ok()? as i64);
    }
    Some(values)
}

/// The values of a small tensor of whole numbers.
pub(super) fn values_of(tensor: &proto::Tensor, dims: &[u64]) -> Option<Vec<i64>> {
    let length = usize::try_from(count(dims)).ok().filter(|n| *n <= MOST_VALUES && dims.len() <= 1)?;
    let values: Vec<i64> = match tensor.data_type {
        INT64 if !tensor.int64_data.is_empty() => packed(&tensor.int64_data)?,
        INT32 if !tensor.int32_data.is_empty() => packed(&tensor.int32_data)?,
        BOOL => tensor.raw_data.iter().map(|byte| i64::from(*byte != 0)).collect(),
        INT64 => tensor.raw_data.chunks_exact(8).map(|b| i64::from_le_bytes(std::array::from_fn(|i| b[i]))).collect(),
        INT32 => {
            let read = |b: &[u8]| i64::from(i32::from_le_bytes(std::array::from_fn(|i| b[i])));
            tensor.raw_data.chunks_exact(4).map(read).collect()
        }
        _ => return None,
    };
    (values.len() == length).then_some(values)
}

/// The shape that both go to when sides of 1 are repeated.
pub(super) fn broadcast(a: &[u64], b: &[u64]) -> Option<Vec<u64>> {
    let rank = a.len().max(b.len());
    let side = |dims: &[u64], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |at| dims[at]);
    let meet = |i: usize| match (side(a, i), side(b, i)) {
        (x, y) if x == y => Some(x),
        (1, y) => Some(y),
        (x, 1) => Some(x),
        _ => None,
    };
    (0..rank).map(meet).collect()
}

/// Shape, repetitions, rows, columns and inner side of a product, as NumPy multiplies.
pub(super) fn matmul(a: &[u64], b: &[u64]) -> Option<(Vec<u64>, u64, u64, u64, u64)> {
    let (a_outer, m, k) = match a {
        [] => return None,
        [k] => (&[][..], None, *k),
        [outer @ .., m, k] => (outer, Some(*m), *k),
    };
    let (b_outer, other, n) = match b {
        [] => return None,
        [k] => (&[][..], *k, None),
        [outer @ .., k, n] => (outer, *k, Some(*n)),
    };
    if k != other {
        return None;
    }
    let mut dims = broadcast(a_outer, b_outer)?;
    let batch = count(&dims);
    dims.extend(m);
    dims.extend(n);
    Some((dims, batch, m.unwrap_or(1), n.unwrap_or(1), k))
}

/// An axis, counted from the end where negative.
pub(super) fn axis(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let at = if axis < 0 { axis.checked_add(rank)? } else { axis };
    (0..rank).contains(&at).then_some(at as usize)
}
