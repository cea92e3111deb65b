//! ONNX graphs: operators and shapes, without the numbers.
//!
//! Shapes of intermediate tensors are worked out from those of the inputs; where the rule of an operator is not known
//! here, the graph must state the shape. What only relabels a tensor (reshape, flatten, identity, ...) moves nothing.
//! FLOPs are those of convolutions and matrix multiplications; operators that are read without their work are named in
//! a warning.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost::bytes::Bytes;
use prost::encoding::{WireType, decode_key, decode_varint};
use rustc_hash::{FxHashMap, FxHashSet};

use super::input::Input;
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::trace::{Kind, Op};
use crate::workload::dtype::product;
use crate::workload::file::{ModelFile, Operators, Stored};
use crate::workload::model_run::{Convolution, ModelRun, refuse_field as without};
use crate::workload::plan::{Operator, Plan, Product, Shape, Step, Val};

/// The longest file: what protobuf allows.
const MOST_BYTES: usize = (2 << 30) - 1;
/// The most elements of a tensor whose values are followed: shapes and indices.
const MOST_VALUES: usize = 1024;
/// The most dimensions of a tensor.
const MOST_DIMS: usize = 64;
/// The most parts of a graph: operators, names, attributes, tensors, dimensions. A graph of a hundred thousand operators
/// has a tenth of that; decoded, a part takes up to 120 bytes, and two in the file.
const MOST_PARTS: usize = 4_000_000;

/// The parts of onnx.proto that are read, with its field numbers.
mod proto {
    use prost::bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Model {
        #[prost(int64, tag = "1")]
        pub(super) ir_version: i64,
        #[prost(message, optional, tag = "7")]
        pub(super) graph: Option<Graph>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Graph {
        #[prost(message, repeated, tag = "1")]
        pub(super) nodes: Vec<Node>,
        #[prost(string, tag = "2")]
        pub(super) name: String,
        #[prost(message, repeated, tag = "5")]
        pub(super) initializers: Vec<Tensor>,
        #[prost(message, repeated, tag = "11")]
        pub(super) inputs: Vec<ValueInfo>,
        #[prost(message, repeated, tag = "12")]
        pub(super) outputs: Vec<ValueInfo>,
        #[prost(message, repeated, tag = "13")]
        pub(super) values: Vec<ValueInfo>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Node {
        #[prost(string, repeated, tag = "1")]
        pub(super) inputs: Vec<String>,
        #[prost(string, repeated, tag = "2")]
        pub(super) outputs: Vec<String>,
        #[prost(string, tag = "3")]
        pub(super) name: String,
        #[prost(string, tag = "4")]
        pub(super) op_type: String,
        #[prost(message, repeated, tag = "5")]
        pub(super) attributes: Vec<Attribute>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Attribute {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(int64, tag = "3")]
        pub(super) i: i64,
        #[prost(bytes = "bytes", tag = "4")]
        pub(super) s: Bytes,
        #[prost(message, optional, tag = "5")]
        pub(super) t: Option<Tensor>,
        #[prost(float, repeated, tag = "7")]
        pub(super) floats: Vec<f32>,
        #[prost(int64, repeated, tag = "8")]
        pub(super) ints: Vec<i64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Tensor {
        #[prost(int64, repeated, tag = "1")]
        pub(super) dims: Vec<i64>,
        #[prost(int32, tag = "2")]
        pub(super) data_type: i32,
        /// Packed varints: only short lists of them are ever decoded.
        #[prost(bytes = "bytes", tag = "5")]
        pub(super) int32_data: Bytes,
        #[prost(bytes = "bytes", tag = "7")]
        pub(super) int64_data: Bytes,
        #[prost(string, tag = "8")]
        pub(super) name: String,
        #[prost(bytes = "bytes", tag = "9")]
        pub(super) raw_data: Bytes,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ValueInfo {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(message, optional, tag = "2")]
        pub(super) kind: Option<Type>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Type {
        #[prost(message, optional, tag = "1")]
        pub(super) tensor: Option<TensorType>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TensorType {
        #[prost(int32, tag = "1")]
        pub(super) elem_type: i32,
        #[prost(message, optional, tag = "2")]
        pub(super) shape: Option<Dims>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Dims {
        #[prost(message, repeated, tag = "1")]
        pub(super) dims: Vec<Dim>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Dim {
        #[prost(int64, optional, tag = "1")]
        pub(super) value: Option<i64>,
        #[prost(string, tag = "2")]
        pub(super) name: String,
    }
}

/// The messages of the file, by the fields that hold others, to count their parts before they are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    Dims,
    Leaf,
}

impl Message {
    /// What a field holds; none where it is passed over.
    fn field(self, tag: u32) -> Option<Self> {
        Some(match (self, tag) {
            (Self::Model, 7) => Self::Graph,
            (Self::Graph, 1) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5) => Self::Tensor,
            (Self::Graph, 11..=13) => Self::ValueInfo,
            (Self::Node, 5) => Self::Attribute,
            (Self::ValueInfo, 2) => Self::Type,
            (Self::Type, 1) => Self::TensorType,
            (Self::TensorType, 2) => Self::Dims,
            (Self::Node, 1 | 2) | (Self::Attribute, 7 | 8) | (Self::Tensor, 1) | (Self::Dims, 1) => Self::Leaf,
            _ => return None,
        })
    }

    /// Takes the parts of a message from `left`; none where there are more. What is no protobuf is left to the decoder.
    fn count(self, mut bytes: &[u8], left: &mut usize) -> Option<()> {
        while !bytes.is_empty() {
            let Ok((tag, wire)) = decode_key(&mut bytes) else { return Some(()) };
            let length = match wire {
                WireType::LengthDelimited => decode_varint(&mut bytes).ok().and_then(|n| usize::try_from(n).ok()),
                WireType::Varint => decode_varint(&mut bytes).ok().map(|_| 0),
                WireType::SixtyFourBit => Some(8),
                WireType::ThirtyTwoBit => Some(4),
                WireType::StartGroup | WireType::EndGroup => None,
            };
            let Some((content, rest)) = length.and_then(|n| bytes.split_at_checked(n)) else { return Some(()) };
            bytes = rest;
            if let Some(inner) = self.field(tag) {
                // Numbers that are packed take a byte each at least.
                let packed = inner == Self::Leaf && matches!(self, Self::Attribute | Self::Tensor);
                *left = left.checked_sub(if packed { content.len().max(1) } else { 1 })?;
                inner.count(if inner == Self::Leaf { &[] } else { content }, left)?;
            }
        }
        Some(())
    }
}

/// Bits of an element, by the numbers of onnx.proto's TensorProto.DataType.
fn bits(data_type: i32) -> Option<u64> {
    Some(match data_type {
        1 | 6 | 12 => 32,       // float, int32, uint32
        2 | 3 | 9 => 8,         // uint8, int8, bool
        4 | 5 | 10 | 16 => 16,  // uint16, int16, float16, bfloat16
        7 | 11 | 13 | 14 => 64, // int64, double, uint64, complex64
        15 => 128,              // complex128
        17..=20 | 24 => 8,      // the 8-bit floats
        21..=23 => 4,           // uint4, int4, float4e2m1
        25 | 26 => 2,           // uint2, int2
        _ => return None,
    })
}

/// int64 and int32, whose values shapes are made of.
const INT64: i32 = 7;
const INT32: i32 = 6;
const BOOL: i32 = 9;
/// What a constant is made of where nothing else is said.
const FLOAT: i32 = 1;

/// An ONNX graph, its operators in an order in which they can run.
#[derive(Debug)]
struct Graph {
    input: String,
    graph: proto::Graph,
}

/// Whether `head` begins like an ONNX model: a protobuf message with a small `ir_version`, then known fields.
pub(super) fn matches(head: &[u8]) -> bool {
    // ir_version is written first: field 1, varint. Versions so far are 1 to 13.
    let [8, 1..=32, rest @ ..] = head else { return false };
    // producer_name (2), producer_version (3), domain (4), model_version (5), doc_string (6), graph (7), opset (8).
    matches!(rest.first(), Some(0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42))
}

/// What is known of a tensor of the graph.
#[derive(Debug, Clone)]
struct Known {
    dims: Vec<u64>,
    data_type: i32,
    /// What stands for it in the plan; none for shapes and indices, which are computed but not moved.
    value: Option<Val>,
    /// Its values, for shapes and indices.
    ints: Option<Vec<i64>>,
    /// Whether it is stored in the file.
    stored: bool,
}

/// How the free dimensions of a graph are filled.
#[derive(Debug, Clone, Copy)]
struct Free {
    /// The first dimension of an input.
    batch: u64,
    /// Further ones.
    tokens: Option<u64>,
}

/// Tokens where nobody says otherwise, as in every other model.
const TOKENS: u64 = 128;

/// The free dimensions that were filled.
#[derive(Debug, Default)]
struct Filled {
    /// By their names; those without one by the input and their place in it.
    sizes: BTreeMap<String, u64>,
    /// Whether any is the batch, and whether any is that of tokens.
    batch: bool,
    tokens: bool,
}

impl Filled {
    /// The size of dimension `at` of an input: as its name says, else the first is the batch and others are tokens.
    fn fill(&mut self, input: &str, at: usize, name: &str, free: Free) -> u64 {
        let plain = name.to_ascii_lowercase();
        let is_batch = plain == "n" || plain.starts_with("batch");
        let is_tokens = plain.starts_with("seq") || plain.ends_with("length") || plain == "tokens";
        let batch = is_batch || (at == 0 && !is_tokens);
        let label = if name.is_empty() { format!("{input}[{at}]") } else { name.to_owned() };
        *self.sizes.entry(label).or_insert_with(|| {
            *(if batch { &mut self.batch } else { &mut self.tokens }) = true;
            if batch { free.batch } else { free.tokens.unwrap_or(TOKENS) }
        })
    }
}

/// Reads a model's graph.
pub(super) fn model(input: &Input<'_>, progress: &mut dyn Progress) -> Result<ModelFile, Error> {
    Ok(ModelFile::Operators(Box::new(Graph::parse(input, progress)?)))
}

impl Operators for Graph {
    fn family(&self) -> &'static str {
        self.family_of()
    }

    fn check(&self, run: &ModelRun) -> Result<(), Error> {
        let im2col = run.convolution == Convolution::Im2col;
        without("convolution", im2col, "the convolutions of a graph read their images directly")?;
        without("weight_dtype", run.weight_dtype.is_some(), "the graph says how its weights are stored")
    }

    fn store<'a>(&'a self, plan: &mut Plan, run: &'a ModelRun) -> Result<Box<dyn Stored + 'a>, Error> {
        let free = Free { batch: run.batch_size, tokens: run.prompt_tokens };
        Ok(Box::new(self.prepare(plan, free)?))
    }
}

impl Graph {
    /// Reads a model and sorts its operators.
    fn parse(input: &Input<'_>, progress: &mut dyn Progress) -> Result<Self, Error> {
        let bytes = Bytes::from(input.whole(MOST_BYTES, progress)?);
        let refuse = |problem: String, cure: &str| Error::input(input.name, Place::Whole, problem, cure);
        if Message::Model.count(&bytes, &mut { MOST_PARTS }).is_none() {
            let problem = format!("the graph has more than {MOST_PARTS} parts (operators, names, dimensions)");
            return Err(refuse(problem, "Check that it is the file you meant and is not damaged"));
        }
        let model = proto::Model::decode(bytes)
            .map_err(|e| refuse(format!("not an ONNX model: {e}"), "Export or fetch the model again"))?;
        let graph = model.graph.filter(|graph| !graph.nodes.is_empty());
        let graph = graph.ok_or_else(|| {
            refuse("the model has no operators".into(), "Give the file that holds the graph (model.onnx)")
        })?;
        let mut graph = Self { input: input.name.to_owned(), graph };
        graph.sort()?;
        Ok(graph)
    }

    fn refuse(&self, node: &proto::Node, problem: impl Into<String>, cure: &str) -> Error {
        let name = if node.name.is_empty() { node.outputs.first().map_or("", String::as_str) } else { &node.name };
        Error::input(&self.input, Place::Key(format!("{} {}", node.op_type, short(name))), problem, cure)
    }

    /// Puts every operator behind those that it reads from.
    fn sort(&mut self) -> Result<(), Error> {
        let nodes = std::mem::take(&mut self.graph.nodes);
        let mut maker: FxHashMap<&str, usize> = FxHashMap::default();
        for (i, node) in nodes.iter().enumerate() {
            for output in node.outputs.iter().filter(|name| !name.is_empty()) {
                if maker.insert(output, i).is_some() {
                    let problem = format!("the tensor {} is made twice", short(output));
                    return Err(self.refuse(node, problem, "Check the model with onnx.checker"));
                }
            }
        }
        let before = |node: &proto::Node| -> BTreeSet<usize> {
            node.inputs.iter().filter_map(|input| maker.get(input.as_str()).copied()).collect()
        };
        let mut missing: Vec<usize> = nodes.iter().map(|node| before(node).len()).collect();
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
        for (i, node) in nodes.iter().enumerate() {
            before(node).into_iter().for_each(|maker| readers[maker].push(i));
        }
        // The smallest first: a graph in order stays in order.
        let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|i| missing[*i] == 0).collect();
        let mut order = Vec::with_capacity(nodes.len());
        while let Some(next) = ready.pop_first() {
            order.push(next);
            for reader in &readers[next] {
                missing[*reader] -= 1;
                if missing[*reader] == 0 {
                    ready.insert(*reader);
                }
            }
        }
        if let Some(stuck) = missing.iter().position(|count| *count > 0) {
            let problem = "the graph runs in a circle through this operator";
            return Err(self.refuse(&nodes[stuck], problem, "Check the model with onnx.checker"));
        }
        let mut nodes: Vec<Option<proto::Node>> = nodes.into_iter().map(Some).collect();
        self.graph.nodes = order.into_iter().filter_map(|i| nodes[i].take()).collect();
        Ok(())
    }

    /// The family, as the prototype's records name it.
    fn family_of(&self) -> &'static str {
        let has = |wanted: Role| self.graph.nodes.iter().any(|node| role(&node.op_type) == wanted);
        match (has(Role::Conv), has(Role::Like(Op::Softmax))) {
            (true, _) => "CNN",
            (false, true) => "Transformer",
            (false, false) => "MLP",
        }
    }

    /// The layer that each operator counts to: a new one begins with each that multiplies with weights.
    fn layers(&self) -> Vec<u32> {
        let made = self.graph.nodes.iter().filter(|node| matches!(role(&node.op_type), Role::Constant | Role::Shape));
        let made = made.flat_map(|node| &node.outputs);
        let weights: FxHashSet<&str> =
            self.graph.initializers.iter().map(|tensor| &tensor.name).chain(made).map(String::as_str).collect();
        let mut layer = 0;
        let mut first = true;
        let number = |node: &proto::Node| {
            let multiplies = matches!(role(&node.op_type), Role::Conv | Role::MatMul | Role::Gemm);
            if multiplies && node.inputs.iter().any(|name| weights.contains(name.as_str())) {
                layer += u32::from(!std::mem::take(&mut first));
            }
            layer
        };
        self.graph.nodes.iter().map(number).collect()
    }

    /// Adds the weights to a plan.
    fn prepare<'a>(&'a self, plan: &mut Plan, free: Free) -> Result<Prepared<'a>, Error> {
        let layers = self.layers();
        let mut layer_of: FxHashMap<&str, u32> = FxHashMap::default();
        for (node, layer) in self.graph.nodes.iter().zip(&layers) {
            for name in &node.inputs {
                layer_of.entry(name).or_insert(*layer);
            }
        }
        let mut weights = FxHashMap::default();
        for tensor in &self.graph.initializers {
            let known = self.weight(plan, tensor, &tensor.name, layer_of.get(tensor.name.as_str()).copied())?;
            weights.insert(tensor.name.as_str(), known);
        }
        self.constants(plan, &layer_of, &mut weights)?;
        let read =
            self.graph.nodes.iter().flat_map(|node| &node.inputs).chain(self.graph.outputs.iter().map(|o| &o.name));
        let read = read.map(String::as_str).collect();
        let stated = FxHashMap::default();
        let mut stored = Prepared { graph: self, layers, weights, stated, read, inputs: Vec::new() };
        let mut filled = Filled::default();
        for info in &self.graph.inputs {
            if stored.weights.contains_key(info.name.as_str()) {
                continue;
            }
            let known = self.state(info, &mut filled, Some(free))?.ok_or_else(|| {
                let place = Place::Key(format!("input {}", short(&info.name)));
                Error::input(&self.input, place, "it has no shape", "Export the model with the shapes of its inputs")
            })?;
            stored.stated.insert(info.name.as_str(), known);
            stored.inputs.push(info.name.as_str());
        }
        if free.batch != 1 && !filled.batch {
            let problem = "the shapes in the graph are fixed, so that it takes one batch as it is";
            let cure = "Choose 1, or export the model with a dynamic first dimension";
            return Err(Error::field("batch_size", free.batch, problem, cure));
        }
        if let Some(tokens) = free.tokens.filter(|_| !filled.tokens) {
            let problem = "no dimension of the graph is left free for tokens";
            return Err(Error::field("prompt_tokens", tokens, problem, "Leave it out: the graph has its own lengths"));
        }
        for info in self.graph.values.iter().chain(&self.graph.outputs) {
            if let Some(known) = self.state(info, &mut filled, None)? {
                stored.stated.insert(info.name.as_str(), known);
            }
        }
        if !filled.sizes.is_empty() {
            let sizes = filled.sizes.iter().map(|(name, size)| format!("{} = {size}", short(name)));
            let sizes: Vec<String> = sizes.collect();
            plan.warn(format!("free dimensions were filled in: {}", sizes.join(", ")));
        }
        Ok(stored)
    }

    fn weight(&self, plan: &mut Plan, tensor: &proto::Tensor, name: &str, layer: Option<u32>) -> Result<Known, Error> {
        let place = || Place::Key(format!("initializer {}", short(name)));
        let dims = dims_of(tensor.dims.iter().copied())
            .map_err(|problem| Error::input(&self.input, place(), problem, "Export the model again"))?;
        let width = self.bits(name, tensor.data_type)?;
        // Filters are a row each.
        let shape = match dims.as_slice() {
            [filters, rest @ ..] if rest.len() > 1 => Shape::new((*filters).max(1), count(rest).max(1), width),
            dims => matrix(dims, width),
        };
        let ints = values_of(tensor, &dims);
        // Scalars, shapes and indices are part of the program, not tensors that move.
        let moves = count(&dims) > 1 && (ints.is_none() || tensor.data_type != INT64);
        let value = moves.then(|| plan.stored(name.to_owned(), shape, layer, Kind::Weights));
        Ok(Known { ints, dims, data_type: tensor.data_type, value, stored: true })
    }

    /// Adds to the weights what operators make of nothing but the file: constants, and tensors filled with one value,
    /// which stand for weights in graphs that were stripped of theirs.
    fn constants<'a>(
        &'a self,
        plan: &mut Plan,
        layer_of: &FxHashMap<&str, u32>,
        weights: &mut FxHashMap<&'a str, Known>,
    ) -> Result<(), Error> {
        for node in &self.graph.nodes {
            let Some(name) = node.outputs.first().filter(|name| !name.is_empty()) else { continue };
            let layer = layer_of.get(name.as_str()).copied();
            let attribute = |name: &str| node.attributes.iter().find(|a| a.name == name);
            let tensor = attribute("value").and_then(|a| a.t.as_ref());
            let known = match node.op_type.as_str() {
                "Constant" => match tensor {
                    Some(tensor) => self.weight(plan, tensor, name, layer)?,
                    None => {
                        let list = |length: usize| vec![length as u64];
                        let (dims, data_type, ints) = if let Some(ints) = attribute("value_ints") {
                            (list(ints.ints.len()), INT64, Some(ints.ints.clone()))
                        } else if let Some(int) = attribute("value_int") {
                            (Vec::new(), INT64, Some(vec![int.i]))
                        } else if let Some(floats) = attribute("value_floats") {
                            (list(floats.floats.len()), FLOAT, None)
                        } else {
                            (Vec::new(), FLOAT, None)
                        };
                        Known { dims, data_type, value: None, ints, stored: true }
                    }
                },
                "ConstantOfShape" => {
                    let shape = node.inputs.first().and_then(|shape| weights.get(shape.as_str()));
                    let Some(dims) = shape.and_then(|shape| shape.ints.clone()) else { continue };
                    let data_type = tensor.map_or(FLOAT, |tensor| tensor.data_type);
                    let filled = proto::Tensor { dims, data_type, ..proto::Tensor::default() };
                    self.weight(plan, &filled, name, layer)?
                }
                _ => continue,
            };
            weights.insert(name, known);
        }
        Ok(())
    }

    fn bits(&self, name: &str, data_type: i32) -> Result<u64, Error> {
        bits(data_type).ok_or_else(|| {
            let problem = format!("the element type {data_type} is unknown or has no size");
            let cure = "Export the model with number types";
            Error::input(&self.input, Place::Key(format!("tensor {}", short(name))), problem, cure)
        })
    }

    /// The shape that the file states; free dimensions are filled in, of inputs by `free`.
    fn state(&self, info: &proto::ValueInfo, filled: &mut Filled, free: Option<Free>) -> Result<Option<Known>, Error> {
        let Some(tensor) = info.kind.as_ref().and_then(|kind| kind.tensor.as_ref()) else { return Ok(None) };
        let Some(shape) = &tensor.shape else { return Ok(None) };
        let mut dims = Vec::new();
        for (i, dim) in shape.dims.iter().enumerate() {
            let size = match (dim.value, free) {
                // Exporters write 0 for what they do not know.
                (Some(value), _) if value != 0 => value,
                (_, Some(free)) => filled.fill(&info.name, i, &dim.name, free) as i64,
                (_, None) => match filled.sizes.get(&dim.name) {
                    Some(size) if !dim.name.is_empty() => *size as i64,
                    _ => return Ok(None),
                },
            };
            dims.push(size);
        }
        let dims = dims_of(dims).map_err(|problem| {
            let place = Place::Key(format!("tensor {}", short(&info.name)));
            Error::input(&self.input, place, problem, "Export the model again")
        })?;
        Ok(Some(Known { dims, data_type: tensor.elem_type, value: None, ints: None, stored: false }))
    }
}

/// A graph whose weights are part of a plan.
struct Prepared<'a> {
    graph: &'a Graph,
    layers: Vec<u32>,
    weights: FxHashMap<&'a str, Known>,
    /// Shapes that the file states.
    stated: FxHashMap<&'a str, Known>,
    /// What any operator or the caller reads.
    read: FxHashSet<&'a str>,
    inputs: Vec<&'a str>,
}

/// What an operator is to its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Conv,
    MatMul,
    Gemm,
    /// Relabels its first input.
    View,
    /// Works element by element on inputs of one shape, or broadcast to one.
    Elements(Op),
    /// As its first input; the others are parameters.
    Like(Op),
    Pool,
    GlobalPool,
    /// Makes shapes or constants.
    Constant,
    Shape,
    Look,
    Concat,
    Transpose,
    Control,
    Other,
}

fn role(op_type: &str) -> Role {
    match op_type {
        "Conv" | "ConvInteger" | "QLinearConv" => Role::Conv,
        "MatMul" | "MatMulInteger" | "QLinearMatMul" => Role::MatMul,
        "Gemm" => Role::Gemm,
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Identity" | "Dropout" => Role::View,
        "Add" | "Sum" => Role::Elements(Op::Add),
        "Relu" | "LeakyRelu" | "PRelu" | "Sigmoid" | "HardSigmoid" | "Tanh" | "Gelu" | "FastGelu" | "QuickGelu"
        | "Elu" | "Selu" | "Celu" | "HardSwish" | "Softplus" | "Softsign" | "Mish" | "Swish" | "Clip"
        | "ThresholdedRelu" => Role::Like(Op::Relu),
        "Softmax" | "LogSoftmax" | "Hardmax" => Role::Like(Op::Softmax),
        "BatchNormalization"
        | "LayerNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "SimplifiedLayerNormalization"
        | "RMSNormalization"
        | "LRN"
        | "LpNormalization" => Role::Like(Op::Norm),
        "Sub" | "Mul" | "Div" | "Pow" | "Min" | "Max" | "Mod" | "Where" | "Equal" | "Greater" | "GreaterOrEqual"
        | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" | "BitShift" | "Mean" => Role::Elements(Op::Other),
        "Abs" | "Neg" | "Exp" | "Log" | "Sqrt" | "Reciprocal" | "Erf" | "Floor" | "Ceil" | "Round" | "Sign" | "Sin"
        | "Cos" | "Not" | "IsNaN" | "CumSum" | "Trilu" | "QuantizeLinear" | "DequantizeLinear" | "Cast"
        | "CastLike" => Role::Like(Op::Other),
        "MaxPool" | "AveragePool" | "LpPool" => Role::Pool,
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => Role::GlobalPool,
        "Constant" => Role::Constant,
        "Shape" | "Size" | "ConstantOfShape" | "Range" => Role::Shape,
        "Gather" => Role::Look,
        "Concat" => Role::Concat,
        "Transpose" => Role::Transpose,
        "If" | "Loop" | "Scan" | "SequenceMap" => Role::Control,
        _ => Role::Other,
    }
}

/// One walk through the graph.
struct Walk<'a, 'p> {
    of: &'a Prepared<'a>,
    plan: &'p mut Plan,
    pass: u64,
    known: FxHashMap<&'a str, Known>,
    step: Step,
    /// Operators whose work is not counted.
    unworked: BTreeSet<&'a str>,
    /// Tensors for which the file states another shape.
    otherwise: Vec<String>,
}

impl Stored for Prepared<'_> {
    fn step(&self, plan: &mut Plan, pass: u64) -> Result<Step, Error> {
        let known = FxHashMap::default();
        let step = Step::default();
        let mut walk = Walk { of: self, plan, pass, known, step, unworked: BTreeSet::new(), otherwise: Vec::new() };
        for name in &self.inputs {
            let stated = &self.stated[name];
            let value = walk.temp(name, &stated.dims, stated.data_type, None)?;
            walk.step.inputs.push(value);
            walk.known.insert(name, Known { value: Some(value), ..stated.clone() });
        }
        for (node, layer) in self.graph.graph.nodes.iter().zip(&self.layers) {
            walk.node(node, Some(*layer))?;
        }
        if pass == 0 && !walk.unworked.is_empty() {
            let names: Vec<&str> = walk.unworked.iter().copied().collect();
            walk.plan.warn(format!("the work of these operators is not counted: {}", names.join(", ")));
        }
        if let (0, Some(first)) = (pass, walk.otherwise.first()) {
            let count = walk.otherwise.len();
            let text = "tensors have another shape than the file states; what their operators make counts";
            walk.plan.warn(format!("{count} {text} ({first})"));
        }
        let outputs = self.graph.graph.outputs.iter();
        let mut made = outputs.filter_map(|info| walk.known.get(info.name.as_str()).and_then(|known| known.value));
        let output = made.find(|value| matches!(value, Val::Temp(_)));
        let mut step = walk.step;
        step.output = output;
        if step.operators.is_empty() {
            let cure = "Give a model that computes something";
            return Err(Error::input(&self.graph.input, Place::Whole, "no operator moves a tensor", cure));
        }
        Ok(step)
    }
}

impl<'a> Walk<'a, '_> {
    fn temp(&mut self, name: &str, dims: &[u64], data_type: i32, layer: Option<u32>) -> Result<Val, Error> {
        let width = self.of.graph.bits(name, data_type)?;
        Ok(self.step.temp(name.to_owned(), matrix(dims, width), layer))
    }

    fn get(&self, node: &proto::Node, at: usize) -> Option<&Known> {
        let name = node.inputs.get(at).filter(|name| !name.is_empty())?.as_str();
        self.known.get(name).or_else(|| self.of.weights.get(name))
    }

    fn need(&self, node: &proto::Node, at: usize) -> Result<&Known, Error> {
        self.get(node, at).ok_or_else(|| {
            let problem = match node.inputs.get(at) {
                None => format!("it has {} inputs, and {} are needed", node.inputs.len(), at + 1),
                Some(name) => {
                    let mut makers = self.of.graph.graph.nodes.iter();
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
            self.of.graph.refuse(node, problem, "Check the model with onnx.checker")
        })
    }

    fn node(&mut self, node: &'a proto::Node, layer: Option<u32>) -> Result<(), Error> {
        for (at, name) in node.inputs.iter().enumerate() {
            if !name.is_empty() {
                self.need(node, at)?;
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
        let inferred = self.infer(node, role)?;
        let ints = self.values(node, role);
        for (i, name) in node.outputs.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let stated = self.of.stated.get(name.as_str());
            let (dims, data_type) = match (&inferred, stated) {
                (Some((dims, data_type)), _) if i == 0 => (dims.clone(), *data_type),
                (_, Some(stated)) => (stated.dims.clone(), stated.data_type),
                // Further outputs (masks, indices, running means) are seldom used: they are left out unless read.
                _ if i > 0 && !self.of.read.contains(name.as_str()) => continue,
                (Some((dims, _)), _) if node.op_type == "MaxPool" => (dims.clone(), INT64),
                (Some((dims, _)), _) if node.op_type == "Dropout" => (dims.clone(), BOOL),
                _ if i > 0 => continue,
                _ => {
                    let problem =
                        format!("the shape of its output {} is not stated, and not worked out here", short(name));
                    let cure = "Run onnx.shape_inference.infer_shapes on the model (or onnxsim) and give what it saves";
                    return Err(self.of.graph.refuse(node, problem, cure));
                }
            };
            if let Some(stated) = stated.filter(|stated| stated.dims != dims) {
                self.otherwise.push(format!("{}: {:?} stated, {dims:?} made", short(name), stated.dims));
            }
            let known = Known { dims, data_type, value: None, ints: None, stored: false };
            self.known.insert(name, known);
        }
        let Some(first) = node.outputs.first() else { return Ok(()) };
        // Shapes and indices are computed, not moved.
        if let Some(ints) = ints {
            if let Some(known) = self.known.get_mut(first.as_str()) {
                known.ints = Some(ints);
            }
            return Ok(());
        }
        if role == Role::Shape {
            return Ok(());
        }
        if role == Role::View {
            let source = self.need(node, 0)?;
            let (value, stored) = (source.value, source.stored);
            if let Some(known) = self.known.get_mut(first.as_str()) {
                (known.value, known.stored) = (value, stored);
            }
            return Ok(());
        }
        self.emit(node, role, layer)
    }

    /// Shape and type of the first output, where the rule is known.
    fn infer(&self, node: &proto::Node, role: Role) -> Result<Option<(Vec<u64>, i32)>, Error> {
        let refuse = |problem: String| self.of.graph.refuse(node, problem, "Check the model with onnx.checker");
        let ints = |name: &str| node.attributes.iter().find(|a| a.name == name).map(|a| a.ints.as_slice());
        let int = |name: &str, default: i64| node.attributes.iter().find(|a| a.name == name).map_or(default, |a| a.i);
        let first = self.get(node, 0);
        Ok(match role {
            Role::Like(_) => {
                let data_type = match node.op_type.as_str() {
                    "Cast" => int("to", 1) as i32,
                    "QuantizeLinear" => self.get(node, 2).map_or(2, |zero| zero.data_type),
                    "DequantizeLinear" => self.get(node, 1).map_or(1, |scale| scale.data_type),
                    "Not" | "IsNaN" => BOOL,
                    _ => self.need(node, 0)?.data_type,
                };
                Some((self.need(node, 0)?.dims.clone(), data_type))
            }
            Role::Elements(_) => {
                let mut dims: Vec<u64> = Vec::new();
                for at in 0..node.inputs.len() {
                    let other = &self.need(node, at)?.dims;
                    dims = broadcast(&dims, other).ok_or_else(|| {
                        refuse(format!("its inputs of shapes {dims:?} and {other:?} do not go together"))
                    })?;
                }
                let data_type = match node.op_type.as_str() {
                    "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" => BOOL,
                    "Where" => self.need(node, 1)?.data_type,
                    _ => self.need(node, 0)?.data_type,
                };
                Some((dims, data_type))
            }
            Role::Conv | Role::Pool => {
                let image = self.need(node, 0)?;
                let weights = if role == Role::Conv { Some(self.need(node, second(&node.op_type))?) } else { None };
                let filter: Vec<i64> = match (&weights, ints("kernel_shape")) {
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
                    let groups = int("group", 1);
                    let fits = u64::try_from(groups).is_ok_and(|groups| {
                        own.checked_mul(groups) == Some(dims[1]) && filters.checked_rem(groups) == Some(0)
                    });
                    if !fits {
                        return Err(refuse(format!(
                            "filters of shape {:?} in {groups} groups for an input of {} channels",
                            weights.dims, dims[1]
                        )));
                    }
                    if !sides.iter().zip(&filter).all(|(side, filter)| i64::try_from(*side) == Ok(*filter)) {
                        return Err(refuse(format!(
                            "filters of shape {:?} for a kernel_shape of {filter:?}",
                            weights.dims
                        )));
                    }
                    dims[1] = *filters;
                }
                let text = node.attributes.iter().find(|a| a.name == "auto_pad").map_or(&b""[..], |a| &a.s);
                for (axis, (side, filter_side)) in image.dims[2..].iter().zip(&filter).enumerate() {
                    let window = Axis {
                        size: *filter_side,
                        stride: ints("strides").and_then(|s| s.get(axis)).copied().unwrap_or(1),
                        dilation: ints("dilations").and_then(|s| s.get(axis)).copied().unwrap_or(1),
                        padding: ints("pads").map_or(Some(0), |pads| {
                            let end = pads.get(axis + filter.len()).copied().unwrap_or(0);
                            pads.get(axis).copied().unwrap_or(0).checked_add(end)
                        }),
                        up: int("ceil_mode", 0) == 1,
                        same: text.starts_with(b"SAME"),
                    };
                    dims.push(window.positions(*side).ok_or_else(|| {
                        refuse(format!(
                            "a window of {filter_side} does not fit into {side} elements with its strides and pads"
                        ))
                    })?);
                }
                let data_type = match node.op_type.as_str() {
                    "ConvInteger" => INT32,
                    _ => image.data_type,
                };
                Some((dims, data_type))
            }
            Role::GlobalPool => {
                let image = self.need(node, 0)?;
                let kept = image.dims.len().min(2);
                let ones = image.dims.iter().skip(2).map(|_| 1);
                Some((image.dims[..kept].iter().copied().chain(ones).collect(), image.data_type))
            }
            Role::MatMul => {
                let (a, b) = (self.need(node, 0)?, self.need(node, second(&node.op_type))?);
                let (dims, ..) = matmul(&a.dims, &b.dims)
                    .ok_or_else(|| refuse(format!("shapes {:?} and {:?} do not multiply", a.dims, b.dims)))?;
                Some((dims, if node.op_type == "MatMulInteger" { INT32 } else { a.data_type }))
            }
            Role::Gemm => {
                let (a, b) = (self.need(node, 0)?, self.need(node, 1)?);
                let turn = |dims: &[u64], turned: bool| match dims {
                    [rows, cols] => Some(if turned { (*cols, *rows) } else { (*rows, *cols) }),
                    _ => None,
                };
                let sides = turn(&a.dims, int("transA", 0) != 0).zip(turn(&b.dims, int("transB", 0) != 0));
                let ((m, k), (other, n)) = sides
                    .filter(|((_, k), (other, _))| k == other)
                    .ok_or_else(|| refuse(format!("shapes {:?} and {:?} do not multiply", a.dims, b.dims)))?;
                let _ = (k, other);
                Some((vec![m, n], a.data_type))
            }
            Role::View => self.view(node)?,
            Role::Transpose => {
                let from = self.need(node, 0)?;
                let order: Vec<usize> = match ints("perm") {
                    Some(order) => order.iter().map(|axis| *axis as usize).collect(),
                    None => (0..from.dims.len()).rev().collect(),
                };
                let dims: Option<Vec<u64>> = order.iter().map(|axis| from.dims.get(*axis).copied()).collect();
                let dims = dims.filter(|dims| dims.len() == from.dims.len());
                Some((dims.ok_or_else(|| refuse(format!("it turns {:?} by {order:?}", from.dims)))?, from.data_type))
            }
            Role::Concat => {
                let from = self.need(node, 0)?;
                let axis =
                    axis(int("axis", 0), from.dims.len()).ok_or_else(|| refuse("its axis is out of range".into()))?;
                let mut dims = from.dims.clone();
                dims[axis] = 0;
                for at in 0..node.inputs.len() {
                    let part = &self.need(node, at)?.dims;
                    let meets = |i: usize| i == axis || part.get(i) == from.dims.get(i);
                    if part.len() != from.dims.len() || !(0..part.len()).all(meets) {
                        return Err(refuse(format!("shapes {:?} and {part:?} do not go together", from.dims)));
                    }
                    dims[axis] = dims[axis].saturating_add(part[axis]);
                }
                Some((dims, from.data_type))
            }
            Role::Look => {
                let (data, indices) = (self.need(node, 0)?, self.need(node, 1)?);
                let axis =
                    axis(int("axis", 0), data.dims.len()).ok_or_else(|| refuse("its axis is out of range".into()))?;
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
            Role::Constant | Role::Control | Role::Other => None,
        })
    }

    fn view(&self, node: &proto::Node) -> Result<Option<(Vec<u64>, i32)>, Error> {
        let from = self.need(node, 0)?;
        let all = count(&from.dims);
        let refuse = |problem: String| self.of.graph.refuse(node, problem, "Check the model with onnx.checker");
        let attribute = |name: &str| node.attributes.iter().find(|a| a.name == name);
        // Axes moved from an attribute to an input with opset 13.
        let axes = || match (attribute("axes"), self.get(node, 1)) {
            (Some(axes), _) => Some(axes.ints.clone()),
            (None, Some(known)) => known.ints.clone(),
            (None, None) => Some(Vec::new()),
        };
        let dims = match node.op_type.as_str() {
            "Identity" | "Dropout" => from.dims.clone(),
            "Flatten" => {
                let at = attribute("axis").map_or(1, |a| a.i);
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
                        0 => from.dims.get(i).copied().unwrap_or(0),
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

    /// The values of the first output, for operators on shapes and indices whose inputs are all known.
    fn values(&self, node: &proto::Node, role: Role) -> Option<Vec<i64>> {
        let known = |at: usize| self.get(node, at).and_then(|known| known.ints.as_deref());
        let int = |name: &str, default: i64| node.attributes.iter().find(|a| a.name == name).map_or(default, |a| a.i);
        match (node.op_type.as_str(), role) {
            ("Shape", _) => {
                let dims: Vec<i64> = self.get(node, 0)?.dims.iter().map(|d| *d as i64).collect();
                let rank = dims.len() as i64;
                let at = |value: i64| (if value < 0 { value + rank } else { value }).clamp(0, rank) as usize;
                let (start, end) = (at(int("start", 0)), at(int("end", rank)));
                Some(dims[start.min(end)..end].to_vec())
            }
            ("Size", _) => Some(vec![count(&self.get(node, 0)?.dims) as i64]),
            ("Gather", _) => {
                let (data, indices) = (known(0)?, known(1)?);
                let at = |i: &i64| {
                    data.get(usize::try_from(if *i < 0 { *i + data.len() as i64 } else { *i }).ok()?).copied()
                };
                indices.iter().map(at).collect()
            }
            ("Concat", _) => {
                let parts: Option<Vec<&[i64]>> = (0..node.inputs.len()).map(known).collect();
                parts.map(|parts| parts.concat()).filter(|all| all.len() <= MOST_VALUES)
            }
            ("Slice", _) => {
                let (data, starts, ends) = (known(0)?, known(1)?, known(2)?);
                let step = known(4).and_then(|s| s.first()).copied().unwrap_or(1);
                let length = data.len() as i64;
                let at = |value: i64| (if value < 0 { value.saturating_add(length) } else { value }).clamp(0, length);
                let (start, end) = (at(*starts.first()?), at(*ends.first()?));
                let step = usize::try_from(step).ok().filter(|s| *s > 0)?;
                Some(data[start.min(end) as usize..end as usize].iter().step_by(step).copied().collect())
            }
            ("Cast" | "Identity" | "Reshape" | "Squeeze" | "Unsqueeze", _) => known(0).map(<[i64]>::to_vec),
            ("Add" | "Sub" | "Mul" | "Div", _) => {
                let (a, b) = (known(0)?, known(1)?);
                let length = a.len().max(b.len());
                let at = |values: &[i64], i: usize| {
                    if values.len() == 1 { values.first().copied() } else { values.get(i).copied() }
                };
                let apply = |i: usize| {
                    let (a, b) = (at(a, i)?, at(b, i)?);
                    match node.op_type.as_str() {
                        "Add" => a.checked_add(b),
                        "Sub" => a.checked_sub(b),
                        "Mul" => a.checked_mul(b),
                        _ => a.checked_div(b),
                    }
                };
                (0..length).map(apply).collect()
            }
            _ => None,
        }
    }

    /// The accesses of an operator that moves tensors.
    fn emit(&mut self, node: &'a proto::Node, role: Role, layer: Option<u32>) -> Result<(), Error> {
        let Some(first) = node.outputs.first().filter(|name| !name.is_empty()) else { return Ok(()) };
        let mut reads = Vec::new();
        let mut streams = Vec::new();
        for at in 0..node.inputs.len() {
            let Some(known) = self.get(node, at) else { continue };
            match known.value {
                Some(value) if known.stored => streams.push(value),
                Some(value) => reads.push(value),
                None => {}
            }
        }
        let (dims, data_type) = {
            let known = &self.known[first.as_str()];
            (known.dims.clone(), known.data_type)
        };
        if role == Role::Look && self.need(node, 0)?.stored {
            // A table is read by rows: a tensor of its own, as large as what is looked up.
            let table = self.need(node, 0)?.value;
            let width = self.of.graph.bits(first, data_type)?;
            let name = format!("{}.rows[{}]", node.inputs[0], self.pass);
            let rows = self.plan.stored(name, matrix(&dims, width), layer, Kind::Weights);
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
                let weights = self.need(node, second(&node.op_type))?;
                let filters = weights.dims.first().copied().unwrap_or(1).max(1);
                let k = count(&weights.dims) / filters;
                self.multiply(node, &mut operator, (count(&dims) / filters, filters, k), out, true)?;
                let channels = self.need(node, 0)?.dims.get(1).copied().unwrap_or(1);
                let own = self.need(node, second(&node.op_type))?.dims.get(1).copied().unwrap_or(1);
                operator.grouped = channels != own;
            }
            Role::MatMul => {
                operator.op = Op::Matmul;
                let (a, b) = (self.need(node, 0)?, self.need(node, second(&node.op_type))?);
                let Some((_, batch, m, n, k)) = matmul(&a.dims, &b.dims) else { return Ok(()) };
                if b.dims.len() <= 2 {
                    self.multiply(node, &mut operator, (batch * m, n, k), out, false)?;
                } else {
                    operator.flops = 2.0 * batch as f64 * m as f64 * n as f64 * k as f64;
                }
            }
            Role::Gemm => {
                operator.op = Op::Matmul;
                let turned = |name: &str| node.attributes.iter().any(|a| a.name == name && a.i != 0);
                let a = self.need(node, 0)?;
                let k = a.dims.get(usize::from(!turned("transA"))).copied().unwrap_or(1);
                let sides = (dims.first().copied().unwrap_or(1), dims.get(1).copied().unwrap_or(1), k);
                self.multiply(node, &mut operator, sides, out, turned("transB"))?;
                if let Some(product) = &mut operator.product {
                    product.a_turned = turned("transA");
                }
            }
            Role::Like(op) | Role::Elements(op) => {
                operator.op = op;
                operator.in_place = true;
            }
            Role::Pool | Role::GlobalPool => operator.op = Op::Pool,
            Role::Concat | Role::Transpose | Role::Look => operator.op = Op::Copy,
            Role::Other if moves(&node.op_type) => operator.op = Op::Copy,
            _ => {
                self.unworked.insert(&node.op_type);
            }
        }
        // Other outputs, such as the parts of a split.
        for (i, name) in node.outputs.iter().enumerate().skip(1).filter(|(_, name)| !name.is_empty()) {
            let Some(known) = self.known.get(name.as_str()) else { continue };
            let (dims, data_type) = (known.dims.clone(), known.data_type);
            let value = self.temp(name, &dims, data_type, layer)?;
            operator.writes.push((value, crate::trace::Mode::Write));
            self.set(name, value);
            let _ = i;
        }
        if operator.flops > 0.0 && operator.reads.is_empty() && operator.streams.is_empty() {
            self.unworked.insert(&node.op_type);
        }
        self.step.push(operator);
        self.set(first, out);
        Ok(())
    }

    fn set(&mut self, name: &'a str, value: Val) {
        if let Some(known) = self.known.get_mut(name) {
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
        turned: bool,
    ) -> Result<(), Error> {
        let (a, b) = (self.need(node, 0)?.value, self.need(node, second(&node.op_type))?.value);
        let Some((a, b)) = a.zip(b) else {
            // The work is the same where a matrix is computed on the way and does not move.
            let (m, n, k) = sides;
            operator.flops = FLOPS_PER_MAC * m as f64 * n as f64 * k as f64;
            return Ok(());
        };
        let product = Product { b_turned: turned, ..Product::new(sides, a, b, out) };
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

/// Where the matrix of a product stands among its inputs: quantised ones have scale and zero point between.
fn second(op_type: &str) -> usize {
    if op_type.starts_with("QLinear") { 3 } else { 1 }
}

/// Operators without a rule of their own that only move elements.
fn moves(op_type: &str) -> bool {
    matches!(
        op_type,
        "Slice"
            | "Split"
            | "Pad"
            | "Expand"
            | "Tile"
            | "Resize"
            | "Upsample"
            | "DepthToSpace"
            | "SpaceToDepth"
            | "ScatterND"
            | "GatherND"
            | "GatherElements"
            | "ScatterElements"
            | "ReverseSequence"
            | "OneHot"
            | "Compress"
    )
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

fn short(name: &str) -> String {
    if name.chars().count() <= 60 {
        name.to_owned()
    } else {
        format!("{}...", name.chars().take(57).collect::<String>())
    }
}

/// Elements of a tensor; what passes 64 bits is refused when its bytes are counted.
fn count(dims: &[u64]) -> u64 {
    dims.iter().fold(1, |product: u64, side| product.saturating_mul(*side))
}

/// Dimensions as the file gives them, checked.
fn dims_of(dims: impl IntoIterator<Item = i64>) -> Result<Vec<u64>, String> {
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

/// A tensor as a matrix: images (four dimensions and more) with their channels as columns, others with their last side.
fn matrix(dims: &[u64], bits: u64) -> Shape {
    let all = count(dims).max(1);
    let cols = match dims {
        [] => 1,
        [_, channels, _, _, ..] => *channels,
        [.., last] => *last,
    };
    let cols = cols.max(1);
    Shape::new(all.div_ceil(cols), cols, bits)
}

/// A multiplication with its addition.
const FLOPS_PER_MAC: f64 = 2.0;

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
fn values_of(tensor: &proto::Tensor, dims: &[u64]) -> Option<Vec<i64>> {
    let length = usize::try_from(count(dims)).ok().filter(|n| *n <= MOST_VALUES && dims.len() <= 1)?;
    let values: Vec<i64> = match tensor.data_type {
        INT64 if !tensor.int64_data.is_empty() => packed(&tensor.int64_data)?,
        INT32 if !tensor.int32_data.is_empty() => packed(&tensor.int32_data)?,
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
fn broadcast(a: &[u64], b: &[u64]) -> Option<Vec<u64>> {
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
fn matmul(a: &[u64], b: &[u64]) -> Option<(Vec<u64>, u64, u64, u64, u64)> {
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

fn axis(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let at = if axis < 0 { axis.checked_add(rank)? } else { axis };
    (0..rank).contains(&at).then_some(at as usize)
}
