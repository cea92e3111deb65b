//! From the calls of operators that a framework recorded to the accesses of a trace.
//!
//! An execution trace is a tree of calls; every call names the tensors it takes and returns. The rules:
//!
//! 1. *What counts.* A call counts where it does work of its own. It does when no call below it works, and it names
//!    tensors. Where calls below it work (the fill before a scatter, the copy of a bias before a product), it still
//!    does when it takes a tensor that none of them takes, or returns one that none of them writes: only those count
//!    for it, and what it returns and they have begun is an update. Everything else above a working call is
//!    bookkeeping; counting it would count accesses twice. Annotations, the autograd engine's own nodes and the
//!    profiler's roots are no calls.
//! 2. *What moves no data.* Views are dropped: calls that promise to change nothing (no `!` in the schema) and return
//!    only memory that they were given; without a schema, a table of names tells, and a name that ends in `_` changes
//!    its first argument whatever its schema says. So a reshape that copies counts (its
//!    result lies elsewhere), and one that does not, does not. Allocations and queries of shapes are dropped by name.
//! 3. *Objects.* An object is one life of one storage on one device. Storages are numbered by address, and allocators
//!    hand addresses out again: a new life begins where a call returns memory that neither it nor a call around it was
//!    given.
//! 4. *Size.* The largest extent (offset and elements, or what shape and strides span) that any call names in a life.
//!    Without strides, a view with more elements than what it views repeats them, and does not count.
//! 5. *Accesses.* A call accesses an object once for reading and once for writing at most, however many views of it
//!    it names. What the schema marks `!` is an update, and so is a storage that a call without a schema takes and
//!    returns; new memory is written. An update that is known to replace the whole object is a write.
//! 6. *Order.* Reads in the order of the arguments, then writes. Calls come in the order of their ids, which one
//!    counter gives out as calls begin, across threads; work that a call does beside calls below it comes after them.
//! 7. *Look-ups* (embeddings, selections by index) read rows: of memory older than the trace, which is a table, each
//!    look-up reads an object of its own, as large as its rows. The file does not tell which rows those are.
//! 8. *Kinds.* Weights are storages older than the trace that a linear, convolution, normalisation, recurrent or
//!    embedding operator takes as its `weight` or `bias`, and storages that only an optimizer's step changes and other
//!    operators read. Running statistics, and what older than the trace only the optimizer uses (its state), are
//!    objects of no kind. The rest are activations.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::error::{Error, Place};
use crate::progress::{Flow, Progress};
use crate::trace::{Kind, Mode, Op, Tensor, Trace, TraceBuilder};

/// The most calls: three gigabytes of JSON, hours of training. They take some 200 bytes each while they are sorted, so
/// that a file needs less than 2 GB.
const MOST_NODES: usize = 6_000_000;
/// The most tensors that all calls together may name.
const MOST_MENTIONS: usize = 15_000_000;
/// The most different names (and schemas): PyTorch has some three thousand operators.
const MOST_NAMES: usize = 200_000;
/// Of a name, this many bytes are kept: kernels made by compilers have long ones.
const NAME: usize = 120;
/// The longest name of a device (`cuda:0`).
const DEVICE: usize = 64;
/// The largest tensor: no memory holds 2^50 bytes, so a larger one is a damaged number.
const MOST_BYTES: u64 = 1 << 50;
/// The most marks: a chart cannot show more.
const MOST_MARKS: usize = 1000;
/// The parent of a call that has none.
pub(super) const NO_PARENT: u64 = u64::MAX;
/// No node, storage or life.
const NONE: u32 = u32::MAX;

/// Calls that return a view of their first argument, without the namespace. Schemas tell this by themselves; the
/// table is for calls without one, and for `_unsafe_view`, whose schema does not admit it.
const VIEWS: [&str; 48] = [
    "_conj",
    "_neg_view",
    "_reshape_alias",
    "_unsafe_view",
    "adjoint",
    "alias",
    "as_strided",
    "broadcast_to",
    "chunk",
    "contiguous",
    "detach",
    "diagonal",
    "expand",
    "expand_as",
    "flatten",
    "lift_fresh",
    "mH",
    "mT",
    "matrix_H",
    "movedim",
    "narrow",
    "numpy_T",
    "permute",
    "ravel",
    "real",
    "reshape",
    "reshape_as",
    "resolve_conj",
    "resolve_neg",
    "select",
    "slice",
    "split",
    "split_with_sizes",
    "squeeze",
    "swapaxes",
    "swapdims",
    "t",
    "tensor_split",
    "to",
    "transpose",
    "unbind",
    "unflatten",
    "unfold",
    "unsqueeze",
    "view",
    "view_as",
    "view_as_complex",
    "view_as_real",
];

/// Calls that touch no element: they allocate, change the shape of a handle, or ask about one.
const NO_DATA: [&str; 44] = [
    "_debug_has_internal_overlap",
    "_empty_affine_quantized",
    "_fused_sdp_choice",
    "_has_compatible_shallow_copy_type",
    "_has_same_storage_numel",
    "_is_zerotensor",
    "_nested_tensor_size",
    "_use_cudnn_ctc_loss",
    "_version",
    "as_strided_",
    "can_cast",
    "cudnn_is_acceptable",
    "data",
    "detach_",
    "empty",
    "empty_like",
    "empty_permuted",
    "empty_quantized",
    "empty_strided",
    "is_complex",
    "is_contiguous",
    "is_floating_point",
    "is_pinned",
    "is_same_size",
    "new_empty",
    "new_empty_strided",
    "numel",
    "output_nr",
    "record_stream",
    "rename_",
    "requires_grad_",
    "resize_",
    "resize_as_",
    "result_type",
    "retain_grad",
    "set_",
    "set_data",
    "size",
    "squeeze_",
    "stride",
    "sym_size",
    "t_",
    "transpose_",
    "unsqueeze_",
];

/// In-place calls after which nothing of the old content is left in the part they are given.
const REPLACE: [&str; 19] = [
    "_allgather_base_",
    "_foreach_copy_",
    "_foreach_zero_",
    "_reduce_scatter_base_",
    "allgather_",
    "alltoall_",
    "alltoall_base_",
    "bernoulli_",
    "cauchy_",
    "copy_",
    "exponential_",
    "fill_",
    "geometric_",
    "log_normal_",
    "normal_",
    "recv_",
    "reduce_scatter_",
    "uniform_",
    "zero_",
];

/// Calls that read of their first argument the rows (or elements) that others name.
const LOOK_UPS: [&str; 6] =
    ["_embedding_bag", "_embedding_bag_forward_only", "embedding", "gather", "index_select", "take"];

/// Calls that take tensors for their shape alone.
fn takes_shapes(base: &str) -> bool {
    base.ends_with("_like") || base.starts_with("new_") || matches!(base, "expand_as" | "view_as" | "reshape_as")
}

/// Whether the name is one that the profiler, the autograd engine or an optimizer gives to what it does around
/// operators.
pub(super) fn annotates(name: &str) -> bool {
    let known = ["[pytorch|", "autograd::engine::", "torch::autograd::", "## ", "ProfilerStep", "Optimizer."];
    known.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the name is one that the autograd engine gives to the gradient of an operator (`AddmmBackward0`).
pub(super) fn is_gradient(name: &str) -> bool {
    !name.contains("::") && name.trim_end_matches(|c: char| c.is_ascii_digit()).ends_with("Backward")
}

/// What a call of the name does, without its namespace and overload.
pub(super) fn base(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

/// Whether the call moves no data, by its name alone.
pub(super) fn moves_no_data(name: &str) -> bool {
    VIEWS.contains(&base(name)) || NO_DATA.contains(&base(name))
}

/// The operation that a call of the name stands for.
pub(super) fn operation(name: &str) -> Op {
    let base = base(name);
    let plain = base.strip_prefix("_foreach_").unwrap_or(base).trim_end_matches('_');
    let has = |parts: &[&str]| parts.iter().any(|part| base.contains(part));
    if has(&["attention", "softmax"]) {
        Op::Attention
    } else if has(&["conv"]) && !has(&["convert"]) {
        Op::Conv
    } else if has(&["norm"]) && plain != "normal" {
        Op::Norm
    } else if has(&["embedding"]) || plain == "index_select" {
        Op::Embedding
    } else if has(&["matmul", "linear", "gemm", "einsum"])
        || plain.split('_').any(|word| matches!(word, "mm" | "addmm" | "bmm" | "baddbmm" | "mv" | "addmv" | "dot"))
    {
        Op::Matmul
    } else if has(&["relu", "gelu", "silu", "elu", "sigmoid", "tanh", "threshold", "mish", "hardswish", "softplus"])
        || plain == "clamp_min"
    {
        Op::Relu
    } else if plain == "add" {
        Op::Add
    } else {
        Op::Other
    }
}

/// A value that is no tensor, as far as the work depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flag {
    /// The argument.
    pub position: u32,
    /// Whether it (or this element of its list) is true.
    pub set: bool,
}

/// Stands for what is no whole number, or too large for one.
pub(super) const NOT_WHOLE: i64 = i64::MIN;

/// A tensor as a call names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawTensor {
    /// Tensor id, storage id, offset, elements, bytes of an element; [`NOT_WHOLE`] where it is no whole number.
    pub numbers: [i64; 5],
    /// Index of its device.
    pub device: u16,
    /// The argument it belongs to.
    pub position: u32,
    /// Its place in that argument, where that is a list.
    pub element: u32,
}

/// Lists of numbers, one for each tensor: shapes or strides.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Argument, place in it, and the end of its numbers.
    ends: Vec<(u32, u32, usize)>,
    numbers: Vec<i64>,
}

impl Lists {
    fn clear(&mut self) {
        self.ends.clear();
        self.numbers.clear();
    }

    /// Adds a number to the list that is being read.
    pub(super) fn number(&mut self, number: i64) {
        self.numbers.push(number);
    }

    /// Ends the list being read: it belongs to `element` of argument `position`.
    pub(super) fn end(&mut self, position: u32, element: u32) {
        self.ends.push((position, element, self.numbers.len()));
    }

    /// The list of `element` of argument `position`; the lists are in order.
    fn get(&self, position: u32, element: u32) -> Option<&[i64]> {
        let at = self.ends.binary_search_by_key(&(position, element), |(p, e, _)| (*p, *e)).ok()?;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(_, _, end)| *end);
        self.ends.get(at).and_then(|(_, _, end)| self.numbers.get(start..*end))
    }
}

/// What a type says of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// One tensor.
    Tensor,
    /// A list with tensors in it.
    Tensors,
    /// No tensor.
    Other,
}

impl Type {
    /// The type of that name.
    pub(super) fn of(name: &str) -> Self {
        if name.starts_with("Tensor") {
            Self::Tensor
        } else if name.contains("Tensor") {
            Self::Tensors
        } else {
            Self::Other
        }
    }
}

/// What a call takes, or what it returns.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// Its tensors, in order.
    pub tensors: Vec<RawTensor>,
    /// Its truth values, in order.
    pub flags: Vec<Flag>,
    /// The type of each argument, where the file tells.
    pub types: Vec<Type>,
    /// The shape of each tensor.
    pub shapes: Lists,
    /// The stride of each tensor.
    pub strides: Lists,
    /// Number of arguments.
    pub len: u32,
}

impl Side {
    fn clear(&mut self) {
        self.tensors.clear();
        self.flags.clear();
        self.types.clear();
        self.shapes.clear();
        self.strides.clear();
        self.len = 0;
    }

    fn shape(&self, position: u32) -> Option<&[i64]> {
        self.shapes.get(position, 0)
    }

    /// How many of the truth values of an argument are set.
    fn set(&self, position: u32) -> usize {
        self.flags.iter().filter(|f| f.position == position && f.set).count()
    }
}

/// A call as it is read, before it is reduced to what is kept. One is used for all.
#[derive(Debug, Default)]
pub(super) struct Call {
    /// Its number, which gives the order.
    pub id: u64,
    /// The number of the call above it.
    pub parent: u64,
    /// Its name.
    pub name: String,
    /// Its schema; empty where it has none.
    pub schema: String,
    /// PyTorch's RecordScope; none where the file does not tell.
    pub scope: Option<u64>,
    /// Whether it is known to be no operator.
    pub excluded: bool,
    /// What it takes.
    pub inputs: Side,
    /// What it returns.
    pub outputs: Side,
}

impl Call {
    /// Makes room for the next.
    pub(super) fn clear(&mut self) {
        (self.id, self.parent, self.scope, self.excluded) = (0, 0, None, false);
        self.name.clear();
        self.schema.clear();
        self.inputs.clear();
        self.outputs.clear();
    }

    /// RecordScope (ATen/record_function.h): 1 is an autograd function, which only wraps operators; 5 to 7 and 9 are
    /// features, interpreters, users' annotations and whole models. Without it, the profiler's names tell.
    fn is_operator(&self) -> bool {
        !self.excluded && !annotates(&self.name) && !matches!(self.scope, Some(1 | 5 | 6 | 7 | 9))
    }
}

/// Elements of a shape.
fn count(shape: &[i64]) -> f64 {
    shape.iter().map(|d| (*d).max(0) as f64).product()
}

/// Floating-point operations of a product, by the shapes of its inputs alone: two for each multiplication and
/// addition. 0 where it is no product, or unknown.
pub(super) fn products<'s>(name: &str, shape: &dyn Fn(u32) -> Option<&'s [i64]>) -> f64 {
    let product = |a: Option<&[i64]>, b: Option<&[i64]>| match (a, b.and_then(|b| b.last())) {
        (Some(a), Some(n)) => 2.0 * count(a) * (*n).max(0) as f64,
        _ => 0.0,
    };
    match base(name) {
        "mm" | "bmm" | "_scaled_mm" => product(shape(0), shape(1)),
        "addmm" | "addmm_" | "baddbmm" | "baddbmm_" | "_addmm_activation" => product(shape(1), shape(2)),
        "mv" | "dot" => shape(0).map_or(0.0, |a| 2.0 * count(a)),
        "addmv" | "addmv_" => shape(1).map_or(0.0, |a| 2.0 * count(a)),
        "linear" | "mkldnn_linear" | "_mkl_linear" => match (shape(0), shape(1)) {
            (Some(x), Some([n, ..])) => 2.0 * count(x) * (*n).max(0) as f64,
            _ => 0.0,
        },
        _ => 0.0,
    }
}

/// Whether a call of the name is a product or a convolution that works itself, whatever it calls.
pub(super) fn multiplies(name: &str) -> bool {
    matches!(
        base(name),
        "mm" | "bmm"
            | "_scaled_mm"
            | "addmm"
            | "addmm_"
            | "baddbmm"
            | "baddbmm_"
            | "_addmm_activation"
            | "mv"
            | "addmv"
            | "addmv_"
            | "dot"
            | "cudnn_convolution"
            | "mkldnn_convolution"
            | "miopen_convolution"
            | "_slow_conv2d_forward"
            | "convolution_backward"
    )
}

/// Floating-point operations of one call by its shapes: two for each multiplication and addition. 0 where unknown.
fn work(name: &str, inputs: &Side, outputs: &Side) -> f64 {
    let shape = |position| inputs.shape(position);
    // Of `y` elements, each takes as many products as a filter has weights.
    let filters = |y: Option<&[i64]>, weight: Option<&[i64]>| match (y, weight.and_then(|w| w.split_first())) {
        (Some(y), Some((_, filter))) => 2.0 * count(y) * count(filter),
        _ => 0.0,
    };
    // Scores and weighted sums of [batch, heads, length, width].
    let attention = |first: u32, wide: f64, value: f64| match (shape(first), shape(first + 1), shape(first + 2)) {
        (Some(q @ [_, _, _, width]), Some([_, _, length, _]), Some([_, _, _, v])) => {
            let scores = 2.0 * count(q) / (*width).max(1) as f64 * (*length).max(0) as f64;
            scores * (wide * (*width).max(0) as f64 + value * (*v).max(0) as f64)
        }
        _ => 0.0,
    };
    match base(name) {
        "matmul" => match (outputs.shape(0), shape(0).and_then(|a| a.last())) {
            (Some(y), Some(k)) => 2.0 * count(y) * (*k).max(0) as f64,
            _ => 0.0,
        },
        "convolution" | "_convolution" | "convolution_overrideable" if inputs.set(6) > 0 => filters(shape(0), shape(1)),
        "convolution_backward" => {
            // The mask asks for the gradients of input, weight and bias; the last is a sum.
            let mask = inputs.flags.iter().filter(|flag| flag.position == 10).take(2);
            let y = if inputs.set(7) > 0 { shape(1) } else { shape(0) };
            mask.filter(|flag| flag.set).count() as f64 * filters(y, shape(2))
        }
        base if base.contains("conv") && base.contains("transpose") && !base.contains("backward") => {
            filters(shape(0), shape(1))
        }
        "convolution"
        | "_convolution"
        | "convolution_overrideable"
        | "conv1d"
        | "conv2d"
        | "conv3d"
        | "cudnn_convolution"
        | "cudnn_convolution_relu"
        | "mkldnn_convolution"
        | "miopen_convolution"
        | "_slow_conv2d_forward"
        | "slow_conv3d_forward"
        | "thnn_conv2d"
        | "_conv_depthwise2d"
        | "conv_depthwise3d" => filters(outputs.shape(0), shape(1)),
        // Backward: the scores once more, their gradient, and those of q, k and v.
        base if base.starts_with("_scaled_dot_product_") && base.contains("backward") => attention(1, 3.0, 2.0),
        base if base.starts_with("_scaled_dot_product_") => attention(0, 1.0, 1.0),
        _ => products(name, &shape),
    }
}

/// What is kept of a call.
#[derive(Debug)]
struct Node {
    id: u64,
    parent: u64,
    name: u32,
    schema: u32,
    /// Its tensors: inputs up to `split`, outputs up to `end`.
    start: u32,
    split: u32,
    end: u32,
    flops: f32,
    operator: bool,
}

/// A tensor with elements, as a call names it.
#[derive(Debug, Clone, Copy)]
struct Mention {
    tensor: u64,
    /// Bytes of its elements.
    bytes: u64,
    /// Bytes of the storage up to its last element.
    extent: u64,
    storage: u32,
    argument: u16,
    /// Whether the extent comes from strides.
    exact: bool,
}

/// What a name says.
#[derive(Debug)]
struct Name {
    text: String,
    view: bool,
    no_data: bool,
    replaces: bool,
    shapes_only: bool,
    looks_up: bool,
    in_place: bool,
    phase: Option<Phase>,
}

/// What a schema says of each argument.
#[derive(Debug, Default)]
struct Schema {
    arguments: Vec<Argument>,
    changes: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Argument {
    changed: bool,
    /// Changed without being read: the place of the result.
    result: bool,
    weight: bool,
    statistic: bool,
}

impl Schema {
    /// `aten::add_.Tensor(Tensor(a!) self, Tensor other, *, Scalar alpha=1) -> Tensor(a!)`
    fn parse(text: &str) -> Self {
        let (name, rest) = text.split_once('(').unwrap_or((text, ""));
        let name = base(name);
        let holds_parameters = ["linear", "conv", "norm", "embedding", "prelu", "bilinear", "lstm", "gru", "rnn"]
            .iter()
            .any(|part| name.contains(part));
        let mut schema = Self::default();
        let (mut depth, mut start, mut keywords) = (0u32, 0, false);
        for (at, byte) in rest.bytes().enumerate() {
            let ends = depth == 0 && (byte == b',' || byte == b')');
            match byte {
                b'(' | b'[' => depth += 1,
                b')' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if !ends {
                continue;
            }
            let argument = rest.get(start..at).unwrap_or_default().trim();
            start = at + 1;
            if argument == "*" {
                keywords = true;
            } else if !argument.is_empty() {
                let declared = argument.split('=').next().unwrap_or_default().trim();
                let (kind, called) = declared.rsplit_once(' ').unwrap_or((declared, ""));
                let changed = kind.contains('!');
                schema.changes |= changed;
                schema.arguments.push(Argument {
                    changed,
                    result: changed && keywords,
                    weight: holds_parameters
                        && kind.starts_with("Tensor")
                        && matches!(
                            called,
                            "weight" | "weights" | "bias" | "params" | "dev_weights" | "uvm_weights" | "host_weights"
                        ),
                    statistic: matches!(called, "running_mean" | "running_var"),
                });
            }
            if byte == b')' {
                break;
            }
        }
        schema
    }
}

/// Where in a training step a call belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Forward,
    Backward,
    Optimizer,
}

impl Phase {
    fn of(name: &str) -> Option<Self> {
        if name.starts_with("Optimizer.step") || name == "## optimizer ##" {
            Some(Self::Optimizer)
        } else if name.starts_with("autograd::engine::") || name == "## backward ##" {
            Some(Self::Backward)
        } else if name == "## forward ##" {
            Some(Self::Forward)
        } else {
            None
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Optimizer => "optimizer step",
        }
    }
}

/// Texts that come again and again, numbered.
#[derive(Debug, Default)]
struct Interned(FxHashMap<String, u32>);

impl Interned {
    /// The number of `text`, and whether it is new.
    fn number(&mut self, text: &str, what: &str, input: &str) -> Result<(u32, bool), Error> {
        if let Some(&number) = self.0.get(text) {
            return Ok((number, false));
        }
        if self.0.len() >= MOST_NAMES {
            let problem = format!("it has more than {MOST_NAMES} different {what}");
            let cure = "Check that it is an execution trace and is not damaged";
            return Err(Error::input(input, Place::Whole, problem, cure));
        }
        let number = self.0.len() as u32;
        self.0.insert(text.to_owned(), number);
        Ok((number, true))
    }
}

/// The first bytes of a text, whole characters.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// All calls of a trace, as they are read.
#[derive(Debug, Default)]
pub(super) struct Calls {
    input: String,
    nodes: Vec<Node>,
    mentions: Vec<Mention>,
    name_numbers: Interned,
    names: Vec<Name>,
    schema_numbers: Interned,
    schemas: Vec<Schema>,
    storage_numbers: FxHashMap<(u64, u16), u32>,
    storages: Vec<(u64, u16)>,
    devices: Vec<String>,
    empty: u64,
}

impl Calls {
    /// None yet, of the file `input`.
    pub(super) fn new(input: &str) -> Self {
        Self { input: input.to_owned(), ..Self::default() }
    }

    /// Number of calls so far.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether any call so far names a tensor.
    pub(super) fn names_tensors(&self) -> bool {
        !self.mentions.is_empty() || self.empty > 0
    }

    /// The number of a device.
    pub(super) fn device(&mut self, name: &str) -> Result<u16, Error> {
        if let Some(at) = self.devices.iter().position(|d| d == name) {
            return Ok(at as u16);
        }
        // A search of a short list: more devices than any machine has are refused, so it stays short.
        if name.len() > DEVICE || self.devices.len() >= 4096 {
            let problem = format!("a tensor lies on the device \"{}\"", cut(name, DEVICE));
            return Err(Error::input(&self.input, self.place(), problem, "Devices are named such as cpu or cuda:0"));
        }
        self.devices.push(name.to_owned());
        Ok((self.devices.len() - 1) as u16)
    }

    /// Gives each call the id, the parent and the right to count that `choose` says, from its id and parent.
    pub(super) fn settle(&mut self, mut choose: impl FnMut(u64, u64) -> (u64, u64, bool)) {
        for node in &mut self.nodes {
            let operator;
            (node.id, node.parent, operator) = choose(node.id, node.parent);
            node.operator &= operator;
        }
    }

    fn place(&self) -> Place {
        Place::Key(format!("nodes[{}]", self.nodes.len()))
    }

    /// Keeps what counts of `call`.
    pub(super) fn push(&mut self, call: &Call) -> Result<(), Error> {
        if self.nodes.len() >= MOST_NODES || self.mentions.len() >= MOST_MENTIONS {
            return Err(Error::TooLarge {
                problem: format!("{} has more than {MOST_NODES} calls or {MOST_MENTIONS} tensors in them", self.input),
                cure: "Record fewer steps".into(),
            });
        }
        let (name, new) = self.name_numbers.number(cut(&call.name, NAME), "names of operators", &self.input)?;
        if new {
            let text = cut(&call.name, NAME).to_owned();
            let base = base(&text);
            self.names.push(Name {
                view: VIEWS.contains(&base),
                no_data: NO_DATA.contains(&base),
                replaces: REPLACE.contains(&base),
                shapes_only: takes_shapes(base),
                looks_up: LOOK_UPS.contains(&base),
                in_place: base.ends_with('_') && !base.ends_with("__"),
                phase: Phase::of(&text),
                text,
            });
        }
        let operator = call.is_operator();
        let schema = if call.schema.is_empty() || !operator {
            NONE
        } else {
            // The longest schemas, of optimizers, have some 600 bytes.
            let (schema, new) = self.schema_numbers.number(cut(&call.schema, 4096), "schemas", &self.input)?;
            if new {
                self.schemas.push(Schema::parse(&call.schema));
            }
            schema
        };
        let start = self.mentions.len() as u32;
        let mut split = start;
        if operator {
            self.side(call, &call.inputs, "input")?;
            split = self.mentions.len() as u32;
            self.side(call, &call.outputs, "output")?;
        }
        self.nodes.push(Node {
            id: call.id,
            parent: call.parent,
            name,
            schema,
            start,
            split,
            end: self.mentions.len() as u32,
            flops: if operator { work(&call.name, &call.inputs, &call.outputs) as f32 } else { 0.0 },
            operator,
        });
        Ok(())
    }

    fn side(&mut self, call: &Call, side: &Side, what: &str) -> Result<(), Error> {
        let refuse = |position: u32, problem: String| {
            let place = Place::Key(format!("nodes[{}], id {}, {what} {position}", self.nodes.len(), call.id));
            let cure = "Check that the file is not damaged; a tensor is [tensor id, storage id, offset, elements, \
                        bytes of an element, device]";
            Error::input(&self.input, place, problem, cure)
        };
        for (position, kind) in (0u32..).zip(&side.types).take(side.len as usize) {
            if *kind == Type::Tensor && side.tensors.binary_search_by_key(&position, |t| t.position).is_err() {
                return Err(refuse(position, "its type is a tensor, but its value is not".into()));
            }
        }
        for raw in &side.tensors {
            // A list that only looks like a tensor.
            if side.types.get(raw.position as usize) == Some(&Type::Other) {
                continue;
            }
            let mut numbers = [0u64; 5];
            let names = ["tensor id", "storage id", "offset", "number of elements", "size of an element"];
            for ((number, raw_number), name) in numbers.iter_mut().zip(raw.numbers).zip(names) {
                *number = u64::try_from(raw_number).map_err(|_| {
                    let found = if raw_number == NOT_WHOLE {
                        "not a whole number below 2^63".into()
                    } else {
                        raw_number.to_string()
                    };
                    refuse(raw.position, format!("its {name} is {found}"))
                })?;
            }
            let [tensor, storage, offset, elements, width] = numbers;
            let bytes = elements.checked_mul(width).filter(|b| *b <= MOST_BYTES);
            let begin = offset.checked_mul(width).filter(|b| *b <= MOST_BYTES);
            let (Some(bytes), Some(begin)) = (bytes, begin) else {
                let problem = format!("it has {elements} elements of {width} bytes at {offset}: more than 2^50 bytes");
                return Err(refuse(raw.position, problem));
            };
            // 16 bytes is a complex number in double precision.
            if elements > 0 && !matches!(width, 1 | 2 | 4 | 8 | 16) {
                let problem = format!("an element has {width} bytes, and no type of PyTorch has");
                return Err(refuse(raw.position, problem));
            }
            let device = self.devices.get(usize::from(raw.device)).map_or("", String::as_str);
            if bytes == 0 || device == "meta" {
                self.empty += 1;
                continue;
            }
            let shape = side.shapes.get(raw.position, raw.element);
            let strides = side.strides.get(raw.position, raw.element);
            let span = shape.zip(strides).and_then(|(shape, strides)| span(shape, strides, elements));
            let end = span.and_then(|span| span.checked_mul(width)).filter(|b| *b <= MOST_BYTES);
            let next = self.storages.len() as u32;
            let number = *self.storage_numbers.entry((storage, raw.device)).or_insert(next);
            if number == next {
                self.storages.push((storage, raw.device));
            }
            self.mentions.push(Mention {
                tensor,
                bytes,
                extent: begin + end.unwrap_or(bytes),
                storage: number,
                argument: raw.position.min(u32::from(u16::MAX)) as u16,
                exact: end.is_some(),
            });
        }
        Ok(())
    }
}

/// Elements from the first to the last of a tensor, both counted; none where shape and strides do not belong to it.
fn span(shape: &[i64], strides: &[i64], elements: u64) -> Option<u64> {
    if shape.len() != strides.len() {
        return None;
    }
    let (mut count, mut last) = (1u64, 0u64);
    for (size, stride) in shape.iter().zip(strides) {
        let (size, stride) = (u64::try_from(*size).ok()?, u64::try_from(*stride).ok()?);
        count = count.checked_mul(size)?;
        last = last.checked_add(size.checked_sub(1)?.checked_mul(stride)?)?;
    }
    (count == elements).then(|| last.checked_add(1)).flatten()
}

/// One use of a storage, before lives are told apart.
#[derive(Debug, Clone, Copy)]
struct Use {
    mention: u32,
    mode: UseMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UseMode {
    Read,
    Write,
    Update,
    /// A write if it covers the whole object, else an update.
    Replace,
}

/// What happens, in the order in which it happens at one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A call names what it takes.
    Takes,
    /// The storage of a mention begins a new life.
    Birth,
    /// A call uses storages.
    Uses,
    /// A call names what it returns.
    Returns,
}

#[derive(Debug, Clone, Copy)]
struct Event {
    /// The id at which it happens.
    at: u64,
    what: What,
    /// Ties are taken in this order.
    turn: u32,
    node: u32,
    /// Uses: where they start and end. Birth: the mention.
    range: (u32, u32),
    /// Whether the call's work is counted here.
    works: bool,
}

/// One life of a storage.
#[derive(Debug)]
struct Life {
    /// Bytes by extents that can be trusted, and by any.
    size: u64,
    any: u64,
    /// Its index in the trace, once it is used.
    tensor: Option<u32>,
    /// Whether it began in the trace.
    born: bool,
    weight: bool,
    statistic: bool,
    /// Whether an optimizer's step changes it, and whether nothing else uses it.
    stepped: bool,
    only_steps: bool,
    read_elsewhere: bool,
    written_elsewhere: bool,
}

impl Life {
    fn new(born: bool) -> Self {
        Self {
            size: 0,
            any: 0,
            tensor: None,
            born,
            weight: false,
            statistic: false,
            stepped: false,
            only_steps: true,
            read_elsewhere: false,
            written_elsewhere: false,
        }
    }

    fn bytes(&self) -> u64 {
        if self.size > 0 { self.size } else { self.any }
    }

    fn kind(&self) -> Kind {
        let learnt = self.stepped && self.read_elsewhere && !self.written_elsewhere;
        if self.born {
            Kind::Activations
        } else if self.weight || learnt {
            Kind::Weights
        } else if self.statistic || self.only_steps {
            Kind::Object
        } else {
            Kind::Activations
        }
    }
}

/// When a storage was last taken, written and born, in counted calls; and what the call at hand does with it.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    /// How many of the calls that are open were given it.
    held: u32,
    taken: u32,
    written: u32,
    born: u32,
    given: u32,
    returned: u32,
    plain: u32,
    changed: u32,
    used: u32,
}

/// A call whose inside is being visited.
#[derive(Debug)]
struct Frame {
    node: u32,
    /// Which of its children comes next.
    next: u32,
    /// The counts of calls, births and work when it was entered.
    counted: u32,
    births: u32,
    work: u32,
    /// The last id inside.
    last: u64,
    /// Whether there is an operator inside.
    operators: bool,
}

/// How many calls went which way.
#[derive(Debug, Default)]
struct Counts {
    operators: u64,
    leaves: u64,
    counted: u64,
    not_leaves: u64,
    views: u64,
    no_data: u64,
    without_tensors: u64,
    covered: u64,
}

/// The tree of calls.
struct Shape {
    /// Children of node `n`: `children[first[n]..first[n + 1]]`, in order of their ids.
    first: Vec<u32>,
    children: Vec<u32>,
    roots: Vec<u32>,
    parents: Vec<u32>,
    /// Nodes whose parent is not in the file.
    orphans: u64,
}

impl Shape {
    /// Of nodes in order of their ids.
    fn new(calls: &Calls) -> Result<Self, Error> {
        let nodes = &calls.nodes;
        let refuse = |id: u64, problem: String| {
            let cure = "Check that the file is not damaged, and holds one trace";
            Error::input(&calls.input, Place::Key(format!("nodes, id {id}")), problem, cure)
        };
        for pair in nodes.windows(2) {
            if let [a, b] = pair
                && a.id == b.id
            {
                let names = [a, b].map(|n| calls.names[n.name as usize].text.as_str());
                let problem = format!("two nodes have this id ({} and {})", names[0], names[1]);
                return Err(refuse(a.id, problem));
            }
        }
        let mut orphans = 0;
        let mut parents = vec![NONE; nodes.len()];
        for (at, node) in nodes.iter().enumerate() {
            // The profiler's root is its own parent.
            if node.parent == NO_PARENT || (node.parent == node.id && !node.operator) {
                continue;
            }
            match nodes.binary_search_by_key(&node.parent, |n| n.id) {
                Ok(parent) => parents[at] = parent as u32,
                Err(_) => orphans += 1,
            }
        }
        // Every node leads to a root: paths are followed until they meet one that does.
        let mut walk = vec![NONE; nodes.len()];
        for start in 0..nodes.len() {
            let mut at = start;
            while walk[at] == NONE {
                walk[at] = start as u32;
                match parents[at] {
                    NONE => break,
                    parent if walk[parent as usize] == start as u32 => {
                        let node = &nodes[parent as usize];
                        let name = &calls.names[node.name as usize].text;
                        return Err(refuse(node.id, format!("{name} is above itself: its parents form a cycle")));
                    }
                    parent => at = parent as usize,
                }
            }
        }
        let mut first = vec![0u32; nodes.len() + 1];
        let mut roots = Vec::new();
        for (at, parent) in parents.iter().enumerate() {
            match *parent {
                NONE => roots.push(at as u32),
                parent => first[parent as usize + 1] += 1,
            }
        }
        for at in 0..nodes.len() {
            first[at + 1] += first[at];
        }
        let mut next = first.clone();
        let mut children = vec![0u32; nodes.len() - roots.len()];
        for (at, parent) in parents.iter().enumerate().filter(|(_, parent)| **parent != NONE) {
            let slot = &mut next[*parent as usize];
            children[*slot as usize] = at as u32;
            *slot += 1;
        }
        Ok(Self { first, children, roots, parents, orphans })
    }
}

/// What comes out of the tree.
struct Visit<'c> {
    calls: &'c Calls,
    phases: Vec<Option<Phase>>,
    views: Vec<bool>,
    seen: Vec<Seen>,
    uses: Vec<Use>,
    events: Vec<Event>,
    births: u32,
    counted: u32,
    work: u32,
    tick: u32,
    counts: Counts,
}

impl<'c> Visit<'c> {
    fn new(calls: &'c Calls) -> Self {
        Self {
            calls,
            phases: vec![None; calls.nodes.len()],
            views: vec![false; calls.nodes.len()],
            seen: vec![Seen::default(); calls.storages.len()],
            uses: Vec::new(),
            events: Vec::new(),
            births: 0,
            counted: 0,
            work: 0,
            tick: 0,
            counts: Counts::default(),
        }
    }

    fn enter(&mut self, node: u32, above: Option<Phase>) -> Frame {
        let call = &self.calls.nodes[node as usize];
        self.phases[node as usize] = self.calls.names[call.name as usize].phase.or(above);
        if call.operator {
            for mention in self.calls.inputs(call) {
                self.seen[mention.storage as usize].held += 1;
            }
        }
        Frame {
            node,
            next: 0,
            counted: self.counted,
            births: self.births,
            work: self.work,
            last: call.id,
            operators: false,
        }
    }

    /// Visits all calls, those inside a call before it.
    fn all(&mut self, shape: &Shape) {
        let mut stack = Vec::new();
        for &root in &shape.roots {
            stack.push(self.enter(root, None));
            while let Some(frame) = stack.last_mut() {
                let node = frame.node as usize;
                let children = &shape.children[shape.first[node] as usize..shape.first[node + 1] as usize];
                if let Some(&child) = children.get(frame.next as usize) {
                    frame.next += 1;
                    stack.push(self.enter(child, self.phases[node]));
                    continue;
                }
                let Some(frame) = stack.pop() else { break };
                self.leave(&frame);
                if let Some(above) = stack.last_mut() {
                    above.last = above.last.max(frame.last);
                    above.operators |= frame.operators || self.calls.nodes[node].operator;
                }
            }
        }
    }

    fn event(&mut self, at: u64, what: What, node: u32, range: (u32, u32), works: bool) {
        let turn = self.events.len() as u32;
        self.events.push(Event { at, what, turn, node, range, works });
    }

    fn leave(&mut self, frame: &Frame) {
        let calls = self.calls;
        let node = &calls.nodes[frame.node as usize];
        if !node.operator {
            return;
        }
        self.counts.operators += 1;
        self.counts.leaves += u64::from(!frame.operators);
        if node.start == node.end {
            self.counts.without_tensors += 1;
            return;
        }
        self.tick += 1;
        let tick = self.tick;
        let name = &calls.names[node.name as usize];
        let (inputs, outputs) = (calls.inputs(node), calls.outputs(node));
        for mention in inputs {
            self.seen[mention.storage as usize].given = tick;
        }
        // Memory that neither this call nor one around it was given is new, unless a call inside made it.
        for (at, mention) in (node.split..).zip(outputs) {
            let seen = &mut self.seen[mention.storage as usize];
            seen.returned = tick;
            if seen.held == 0 && seen.born <= frame.births {
                self.births += 1;
                seen.born = self.births;
                self.event(node.id, What::Birth, frame.node, (at, at + 1), false);
            }
        }
        if !inputs.is_empty() {
            self.event(node.id, What::Takes, frame.node, (0, 0), false);
        }
        self.uses_of(frame, node, name);
        for mention in inputs {
            self.seen[mention.storage as usize].held -= 1;
        }
        if !outputs.is_empty() {
            self.event(frame.last, What::Returns, frame.node, (0, 0), false);
        }
    }

    /// What the call itself does.
    fn uses_of(&mut self, frame: &Frame, node: &Node, name: &Name) {
        let calls = self.calls;
        let (inputs, outputs, tick) = (calls.inputs(node), calls.outputs(node), self.tick);
        let schema = calls.schemas.get(node.schema as usize);
        if name.no_data {
            self.counts.no_data += 1;
            return;
        }
        let shared = outputs.iter().all(|m| self.seen[m.storage as usize].given == tick) && !outputs.is_empty();
        if shared && (name.view || schema.is_some_and(|s| !s.changes && !name.in_place)) {
            self.views[frame.node as usize] = true;
            self.counts.views += 1;
            return;
        }
        // Calls inside work. What this one does beside them can be told from a schema alone.
        let below = self.counted > frame.counted;
        if below && schema.is_none() {
            self.counts.covered += 1;
            return;
        }
        let start = self.uses.len();
        let argument = |m: &Mention, seen: &Seen| match schema {
            Some(schema) if schema.changes || !name.in_place => {
                schema.arguments.get(usize::from(m.argument)).copied().unwrap_or_default()
            }
            // The schemas of collectives (`c10d::allreduce_`) do not say what they change: the first argument.
            Some(_) => Argument { changed: m.argument == 0, ..Argument::default() },
            None => {
                Argument { changed: (name.in_place && m.argument == 0) || seen.returned == tick, ..Argument::default() }
            }
        };
        for m in inputs {
            let seen = &mut self.seen[m.storage as usize];
            if argument(m, seen).changed {
                seen.changed = tick;
            } else {
                seen.plain = tick;
            }
        }
        for (mention, m) in (node.start..).zip(inputs) {
            let seen = &mut self.seen[m.storage as usize];
            let inside = below && seen.taken > frame.counted;
            if seen.changed != tick && seen.used != tick && !inside && !name.shapes_only {
                seen.used = tick;
                self.uses.push(Use { mention, mode: UseMode::Read });
            }
        }
        let reads = self.uses.len() > start;
        for (mention, m) in (node.start..).zip(inputs.iter().chain(outputs)) {
            let seen = &mut self.seen[m.storage as usize];
            let output = mention >= node.split;
            let concerned = if output { seen.given != tick } else { seen.changed == tick };
            if !concerned || seen.used == tick {
                continue;
            }
            let inside = below && seen.written > frame.counted;
            let mode = if inside && !reads {
                continue;
            } else if inside {
                UseMode::Update
            } else if output {
                // A buffer that was given to a call around this one may be larger than what is written.
                if seen.held == 0 { UseMode::Write } else { UseMode::Replace }
            } else {
                let declared = argument(m, seen);
                if !declared.changed {
                    continue;
                }
                let replaces = declared.result || name.replaces;
                if replaces && seen.plain != tick { UseMode::Replace } else { UseMode::Update }
            };
            seen.used = tick;
            self.uses.push(Use { mention, mode });
        }
        if self.uses.len() == start {
            *(if below { &mut self.counts.covered } else { &mut self.counts.no_data }) += 1;
            return;
        }
        self.counted += 1;
        for used in self.uses.iter().skip(start) {
            let seen = &mut self.seen[calls.mentions[used.mention as usize].storage as usize];
            seen.taken = self.counted;
            if used.mode != UseMode::Read {
                seen.written = self.counted;
            }
        }
        // A call around the one that multiplies says the same work again.
        let works = node.flops > 0.0 && self.work == frame.work;
        self.work += u32::from(works);
        self.counts.counted += 1;
        self.counts.not_leaves += u64::from(frame.operators);
        self.event(frame.last, What::Uses, frame.node, (start as u32, self.uses.len() as u32), works);
    }
}

/// The lives of storages, told apart.
#[derive(Debug, Default)]
struct Lives {
    all: Vec<Life>,
    /// The life that each storage is in.
    current: Vec<u32>,
    /// The life of each use.
    of_use: Vec<u32>,
    /// Tensors that repeat their elements, where no strides tell their extent.
    repeated: FxHashSet<u64>,
}

impl Lives {
    fn begin(&mut self, storage: u32, born: bool) -> usize {
        let life = self.all.len();
        self.all.push(Life::new(born));
        self.current[storage as usize] = life as u32;
        life
    }

    fn at(&mut self, storage: u32) -> usize {
        match self.current[storage as usize] {
            NONE => self.begin(storage, false),
            life => life as usize,
        }
    }

    fn named(&mut self, mention: &Mention) -> &mut Life {
        let life = self.at(mention.storage);
        let trusted = mention.exact || !self.repeated.contains(&mention.tensor);
        let life = &mut self.all[life];
        life.any = life.any.max(mention.extent);
        if trusted {
            life.size = life.size.max(mention.extent);
        }
        life
    }

    fn new(calls: &Calls, visit: &Visit<'_>, parents: &[u32]) -> Self {
        let mut lives =
            Self { current: vec![NONE; calls.storages.len()], of_use: vec![NONE; visit.uses.len()], ..Self::default() };
        for event in &visit.events {
            let node = &calls.nodes[event.node as usize];
            let steps = visit.phases[event.node as usize] == Some(Phase::Optimizer);
            match event.what {
                What::Takes => {
                    let schema = calls.schemas.get(node.schema as usize);
                    for mention in calls.inputs(node) {
                        let life = lives.named(mention);
                        let argument = schema.and_then(|s| s.arguments.get(usize::from(mention.argument)));
                        if let Some(argument) = argument
                            && !steps
                        {
                            life.weight |= argument.weight;
                            life.statistic |= argument.statistic;
                        }
                    }
                }
                What::Birth => {
                    let mention = &calls.mentions[event.range.0 as usize];
                    lives.begin(mention.storage, true);
                    lives.repeated.remove(&mention.tensor);
                    lives.named(mention);
                }
                What::Uses => {
                    for at in event.range.0..event.range.1 {
                        let used = visit.uses[at as usize];
                        let life = lives.at(calls.mentions[used.mention as usize].storage);
                        lives.of_use[at as usize] = life as u32;
                        let life = &mut lives.all[life];
                        let reads = used.mode == UseMode::Read;
                        life.stepped |= steps && !reads;
                        life.only_steps &= steps;
                        life.read_elsewhere |= !steps && reads;
                        life.written_elsewhere |= !steps && !reads;
                    }
                }
                What::Returns => {
                    let view = visit.views[event.node as usize];
                    let above = parents[event.node as usize];
                    // The outermost of nested views tells what comes of it.
                    if !view || above == NONE || !visit.views[above as usize] {
                        lives.returned(calls.inputs(node), calls.outputs(node), view);
                    }
                }
            }
        }
        lives
    }

    fn returned(&mut self, inputs: &[Mention], outputs: &[Mention], view: bool) {
        for mention in outputs {
            if view && !mention.exact {
                // A view's inputs are few: one, nearly always.
                let mut whole = 0;
                let mut repeats = false;
                for from in inputs.iter().filter(|from| from.storage == mention.storage).take(8) {
                    whole = whole.max(from.bytes);
                    repeats |= !from.exact && self.repeated.contains(&from.tensor);
                }
                if repeats || mention.bytes > whole {
                    self.repeated.insert(mention.tensor);
                } else {
                    self.repeated.remove(&mention.tensor);
                }
            } else if !mention.exact {
                self.repeated.remove(&mention.tensor);
            }
            self.named(mention);
        }
    }
}

impl Calls {
    /// Turns the calls into a trace. `progress` is asked between the steps.
    pub(super) fn trace(mut self, progress: &mut dyn Progress) -> Result<Trace, Error> {
        let mut step = |done, what| match progress.report(done, 4, what) {
            Flow::Cancel => Err(Error::Cancelled),
            Flow::Continue => Ok(()),
        };
        step(0, "ordering the calls")?;
        // No more storages or names come.
        self.storage_numbers = FxHashMap::default();
        (self.name_numbers, self.schema_numbers) = (Interned::default(), Interned::default());
        self.mentions.shrink_to_fit();
        self.nodes.sort_by_key(|node| node.id);
        let shape = Shape::new(&self)?;
        step(1, "choosing what counts")?;
        let mut visit = Visit::new(&self);
        visit.all(&shape);
        visit.seen = Vec::new();
        step(2, "telling lives apart")?;
        visit.events.sort_unstable_by_key(|e| (e.at, e.what, e.turn));
        let lives = Lives::new(&self, &visit, &shape.parents);
        step(3, "building the trace")?;
        self.build(&visit, lives, shape.orphans)
    }

    fn inputs(&self, node: &Node) -> &[Mention] {
        &self.mentions[node.start as usize..node.split as usize]
    }

    fn outputs(&self, node: &Node) -> &[Mention] {
        &self.mentions[node.split as usize..node.end as usize]
    }

    /// Bytes of the rows that a look-up reads of its table.
    fn rows(&self, node: &Node) -> Option<u64> {
        let result = self.outputs(node).first()?.bytes;
        // A bag sums up several rows: as many as there are indices for each offset.
        match self.inputs(node) {
            [_, indices, offsets, ..] if self.names[node.name as usize].text.contains("_bag") => {
                let rows = u128::from(result) * u128::from(indices.bytes) / u128::from(offsets.bytes.max(1));
                u64::try_from(rows).ok()
            }
            _ => Some(result),
        }
    }

    fn build(&self, visit: &Visit<'_>, mut lives: Lives, orphans: u64) -> Result<Trace, Error> {
        let mut builder = TraceBuilder::new("");
        let mut numbers = vec![0u32; self.storages.len()];
        let (mut phase, mut marks) = (None, 0);
        let trained = visit.phases.iter().flatten().any(|phase| *phase != Phase::Forward);
        let (mut again, mut looked_up) = (0u64, 0u64);
        for event in visit.events.iter().filter(|event| event.what == What::Uses) {
            let node = &self.nodes[event.node as usize];
            let Name { text: name, looks_up, .. } = &self.names[node.name as usize];
            let rows = if *looks_up { self.rows(node) } else { None };
            let now = visit.phases[event.node as usize].unwrap_or(Phase::Forward);
            if trained && phase != Some(now) && marks < MOST_MARKS {
                builder.mark(now.label());
                phase = Some(now);
                marks += 1;
            }
            let op = operation(name);
            let range = event.range.0 as usize..event.range.1 as usize;
            let uses = &visit.uses[range.clone()];
            // The work waits for the largest input.
            let read = uses.iter().enumerate().filter(|(_, used)| used.mode == UseMode::Read);
            let largest = read
                .max_by_key(|(at, used)| (self.mentions[used.mention as usize].bytes, std::cmp::Reverse(*at)))
                .map_or(0, |(at, _)| at);
            for (at, (used, life)) in uses.iter().zip(&lives.of_use[range]).enumerate() {
                let mention = &self.mentions[used.mention as usize];
                let life = &mut lives.all[*life as usize];
                let (storage, device) = self.storages[mention.storage as usize];
                let device = &self.devices[usize::from(device)];
                let table = mention.argument == 0 && used.mode == UseMode::Read && !life.born;
                if let Some(bytes) = rows.filter(|bytes| table && *bytes < life.bytes()) {
                    looked_up += 1;
                    let name = format!("storage {storage} ({device}) {name} rows[{}]", node.id);
                    let rows = builder.tensor(Tensor { name, bytes, layer: None, stride: 1, kind: life.kind() })?;
                    builder.access_with(rows, op, Mode::Read, 0.0)?;
                    continue;
                }
                let tensor = match life.tensor {
                    Some(tensor) => tensor,
                    None => {
                        let number = &mut numbers[mention.storage as usize];
                        *number += 1;
                        again += u64::from(*number > 1);
                        let which = if *number > 1 { format!(" #{number}") } else { String::new() };
                        let mut called = format!("storage {storage} ({device}){which} {name}");
                        called.shrink_to_fit();
                        let tensor = builder.tensor(Tensor {
                            name: called,
                            bytes: life.bytes(),
                            layer: None,
                            stride: 1,
                            kind: life.kind(),
                        })?;
                        life.tensor = Some(tensor);
                        tensor
                    }
                };
                let mode = match used.mode {
                    UseMode::Read => Mode::Read,
                    UseMode::Write => Mode::Write,
                    UseMode::Replace if mention.bytes >= life.bytes() => Mode::Write,
                    UseMode::Update | UseMode::Replace => Mode::Update,
                };
                let flops = if event.works && at == largest { f64::from(node.flops) } else { 0.0 };
                builder.access_with(tensor, op, mode, flops)?;
            }
        }
        if builder.is_empty() {
            let problem = format!("none of its {} nodes is an operator that uses a tensor", self.nodes.len());
            let cure = "Record operators with their tensors: start the observer before the step, stop it after";
            return Err(Error::input(&self.input, Place::Whole, problem, cure));
        }
        let counts = &visit.counts;
        builder.warn(format!(
            "Of {} nodes, {} are operators ({} without operators inside). {} count, {} of which work beside operators \
             inside them. Not counted: {} whose work operators inside them do, {} views, {} that touch no element, {} \
             without tensors",
            self.nodes.len(),
            counts.operators,
            counts.leaves,
            counts.counted,
            counts.not_leaves,
            counts.covered,
            counts.views,
            counts.no_data,
            counts.without_tensors,
        ));
        if again > 0 {
            builder.warn(format!(
                "{again} tensors lie where an earlier one lay: an address that is returned as new memory is a new tensor"
            ));
        }
        if looked_up > 0 {
            builder.warn(format!(
                "{looked_up} look-ups read rows of a table, and the file does not tell which: the rows of each are an \
                 object of their own"
            ));
        }
        if self.empty > 0 {
            builder
                .warn(format!("{} times a tensor without elements (or without memory) is named: left out", self.empty));
        }
        if orphans > 0 {
            builder.warn(format!("{orphans} nodes name a parent that is not in the file; they stand at the top"));
        }
        if marks >= MOST_MARKS {
            builder.warn(format!("Marks end after the first {MOST_MARKS} changes of phase"));
        }
        builder.finish(&self.input)
    }
}
