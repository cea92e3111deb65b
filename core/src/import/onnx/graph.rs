//! A graph and its operators, in an order in which they can run.

use std::collections::BTreeSet;

use prost::Message as _;
use prost::bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};

use super::proto::{self, Message, bits};
use crate::error::{Error, Place};
use crate::import::input::Input;
use crate::progress::Progress;
use crate::trace::Op;

/// The longest file: what protobuf allows.
const MOST_BYTES: usize = (2 << 30) - 1;
/// The most parts of a graph: operators, names, attributes, tensors, dimensions. A graph of a hundred thousand operators
/// has a tenth of that; decoded, a part takes up to 120 bytes, and two in the file.
const MOST_PARTS: usize = 4_000_000;

/// An ONNX graph, its operators in an order in which they can run.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) input: String,
    pub(super) graph: proto::Graph,
}

impl Graph {
    /// Reads a model and sorts its operators.
    pub(super) fn parse(input: &Input<'_>, progress: &mut dyn Progress) -> Result<Self, Error> {
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

    pub(super) fn refuse(&self, node: &proto::Node, problem: impl Into<String>, cure: &str) -> Error {
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
            let problem = "the graph has a cycle through this operator";
            return Err(self.refuse(&nodes[stuck], problem, "Check the model with onnx.checker"));
        }
        let mut nodes: Vec<Option<proto::Node>> = nodes.into_iter().map(Some).collect();
        self.graph.nodes = order.into_iter().filter_map(|i| nodes[i].take()).collect();
        Ok(())
    }

    /// The family, as the prototype's records name it.
    pub(super) fn family_name(&self) -> &'static str {
        let has = |wanted: Role| self.graph.nodes.iter().any(|node| role(&node.op_type) == wanted);
        match (has(Role::Conv), has(Role::Like(Op::Softmax))) {
            (true, _) => "CNN",
            (false, true) => "Transformer",
            (false, false) => "MLP",
        }
    }

    /// The layer that each operator counts to: a new one begins with each that multiplies with weights.
    pub(super) fn layers(&self) -> Vec<u32> {
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

    pub(super) fn bits(&self, name: &str, data_type: i32) -> Result<u64, Error> {
        bits(data_type).ok_or_else(|| {
            let problem = format!("the element type {data_type} is unknown or has no size");
            let cure = "Export the model with number types";
            Error::input(&self.input, Place::Key(format!("tensor {}", short(name))), problem, cure)
        })
    }
}

/// What an operator is to its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
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
    Gather,
    Concat,
    Transpose,
    /// Copies elements to other places.
    Moves,
    /// Sums up or picks along axes.
    Reduce,
    Control,
    Other,
}

pub(super) fn role(op_type: &str) -> Role {
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
        | "MeanVarianceNormalization"
        | "LpNormalization" => Role::Like(Op::Norm),
        "Sub" | "Mul" | "Div" | "Pow" | "Min" | "Max" | "Mod" | "Where" | "Equal" | "Greater" | "GreaterOrEqual"
        | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" | "BitShift" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor"
        | "Mean" => Role::Elements(Op::Other),
        "Abs" | "Neg" | "Exp" | "Log" | "Sqrt" | "Reciprocal" | "Erf" | "Floor" | "Ceil" | "Round" | "Sign" | "Sin"
        | "Cos" | "Tan" | "Asin" | "Acos" | "Atan" | "Sinh" | "Cosh" | "Asinh" | "Acosh" | "Atanh" | "Shrink"
        | "BitwiseNot" | "IsInf" | "Not" | "IsNaN" | "CumSum" | "Trilu" | "QuantizeLinear" | "DequantizeLinear"
        | "Cast" | "CastLike" => Role::Like(Op::Other),
        "MaxPool" | "AveragePool" | "LpPool" => Role::Pool,
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => Role::GlobalPool,
        "Constant" => Role::Constant,
        "Shape" | "Size" | "ConstantOfShape" | "Range" => Role::Shape,
        "Gather" => Role::Gather,
        "Concat" => Role::Concat,
        "Transpose" => Role::Transpose,
        "Slice" | "Split" | "Pad" | "Expand" | "Tile" | "Resize" | "Upsample" | "DepthToSpace" | "SpaceToDepth"
        | "Scatter" | "ScatterND" | "ScatterElements" | "GatherND" | "GatherElements" | "ReverseSequence"
        | "OneHot" | "Compress" | "EyeLike" | "GridSample" => Role::Moves,
        "ArgMax" | "ArgMin" | "TopK" => Role::Reduce,
        name if name.starts_with("Reduce") => Role::Reduce,
        "If" | "Loop" | "Scan" | "SequenceMap" => Role::Control,
        _ => Role::Other,
    }
}

/// The beginning of a long name.
pub(super) fn short(name: &str) -> String {
    if name.chars().count() <= 60 {
        name.to_owned()
    } else {
        format!("{}...", name.chars().take(57).collect::<String>())
    }
}
