//! Chakra execution traces (MLCommons): protobuf messages one after another, each behind its length as a varint, or the
//! same as JSON (`json`).
//!
//! The first message is a `GlobalMetadata`, every other one a `Node` (schema/protobuf/et_def.proto; the field numbers
//! stand at the structs below). Order: what a node depends on (`data_deps`, `ctrl_deps`) comes before it; where that
//! leaves a choice, the smaller id comes first. Data dependencies decide: control dependencies that are part of a cycle
//! do not count, and a warning says how many. Two kinds of file are read:
//!
//! - *Converted from PyTorch*: nodes name tensors in `inputs.values` and `outputs.values`, as Python writes lists. They
//!   are read like the traces they came from, by the rules of [`operators`](super::operators); the caller of a call is
//!   the operator that is its first `ctrl_deps`. What repeats the tensors of another node is left out: a kernel
//!   (`is_cpu_op` false) where the operator that launched it names them, and all but the first of the parts that the
//!   converter cuts an operator into which launches several kernels (`aten::add(0)`, `aten::add(1)`: one `rf_id`).
//! - *Made for a simulator*, without tensors: a node with a size (`comm_size` for communication, else `tensor_size`)
//!   makes one object of so many bytes. It reads the objects of its `data_deps`, in their order, then writes its own;
//!   a load (MEM_LOAD_NODE) reads its own. `num_ops` is its work.

mod json;
mod order;

use std::io::Read;

use prost::Message;
use rustc_hash::FxHashMap;

use super::input::{Input, strip_mark};
use super::operators::{Call, Calls, Flag, Lists, NO_PARENT, NOT_WHOLE, RawTensor, Side, Type, operation};
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::trace::{Kind, Mode, Tensor, Trace, TraceBuilder};

/// The longest message: an operator on 4096 tensors, the most that PyTorch writes of a list, takes less than one MiB.
const MOST_MESSAGE: u64 = 8 << 20;
/// The most dependencies of all nodes together.
const MOST_DEPENDENCIES: usize = 30_000_000;
/// The most nodes, as for execution traces.
const MOST_NODES: usize = 6_000_000;
/// Bytes that are kept of a name.
const NAME: usize = 120;
/// How deep lists nest in a string; PyTorch nests them three deep.
const MOST_DEPTH: u32 = 32;
/// The largest object, as for execution traces: a larger one is a damaged number.
const MOST_BYTES: i128 = 1 << 50;
const CURE: &str = "Check that it is a Chakra execution trace (.et) and is not damaged";

/// NodeType of the schema.
const METADATA: i32 = 1;
const LOAD: i32 = 2;
const SEND: i32 = 5;
const COLLECTIVE: i32 = 7;

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    /// A string; in the first version of the schema, an attribute.
    #[prost(bytes = "vec", tag = "1")]
    version: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    attributes: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(uint64, repeated, tag = "4")]
    control: Vec<u64>,
    #[prost(uint64, repeated, tag = "5")]
    data: Vec<u64>,
    #[prost(message, optional, tag = "8")]
    inputs: Option<Values>,
    #[prost(message, optional, tag = "9")]
    outputs: Option<Values>,
    /// Attributes, decoded one at a time: an empty one takes two bytes in the file, and a hundred as a struct.
    #[prost(bytes = "vec", repeated, tag = "10")]
    attributes: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Values {
    #[prost(string, tag = "1")]
    values: String,
    #[prost(string, tag = "2")]
    shapes: String,
    #[prost(string, tag = "3")]
    types: String,
    #[prost(string, tag = "4")]
    strides: String,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(double, optional, tag = "3")]
    double: Option<f64>,
    #[prost(float, optional, tag = "5")]
    float: Option<f32>,
    #[prost(int32, optional, tag = "7")]
    int32: Option<i32>,
    #[prost(int64, optional, tag = "9")]
    int64: Option<i64>,
    #[prost(uint32, optional, tag = "11")]
    uint32: Option<u32>,
    #[prost(uint64, optional, tag = "13")]
    uint64: Option<u64>,
    #[prost(bool, optional, tag = "27")]
    bool: Option<bool>,
    #[prost(string, optional, tag = "29")]
    string: Option<String>,
}

impl Attribute {
    fn whole(&self) -> Option<i128> {
        let signed = self.int64.map(i128::from).or(self.int32.map(i128::from));
        signed.or(self.uint64.map(i128::from)).or(self.uint32.map(i128::from))
    }

    fn number(&self) -> Option<f64> {
        self.whole().map(|n| n as f64).or(self.double).or(self.float.map(f64::from))
    }
}

/// A varint and what follows it; none where the bytes do not hold a whole one.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut rest = bytes;
    let value = prost::encoding::decode_varint(&mut rest).ok()?;
    Some((value, rest))
}

/// Whether a file begins like this format, as protobuf or as JSON.
pub fn matches(head: &[u8]) -> bool {
    json::matches(head) || is_protobuf(head)
}

/// Whether `head` has messages behind their lengths, of which the first is a plausible `GlobalMetadata` and the next are
/// nodes with names.
fn is_protobuf(head: &[u8]) -> bool {
    let Some((length, rest)) = varint(head) else { return false };
    let Some((metadata, mut rest)) = usize::try_from(length).ok().and_then(|n| rest.split_at_checked(n)) else {
        return false;
    };
    // A version or an attribute; an empty message is allowed, but then the nodes decide.
    if !matches!(metadata.first(), None | Some(0x0a | 0x12)) || Metadata::decode(metadata).is_err() {
        return false;
    }
    let mut nodes = 0;
    while nodes < 8 {
        let Some((length, after)) = varint(rest) else { break };
        let Some((node, after)) = usize::try_from(length).ok().and_then(|n| after.split_at_checked(n)) else { break };
        match Node::decode(node) {
            Ok(node) if !node.name.is_empty() && node.kind > 0 => nodes += 1,
            _ => return false,
        }
        rest = after;
    }
    nodes > 0
}

/// What is kept of every node; ends are those of its part of a list, which begins where that of the node before ends.
struct Kept {
    id: u64,
    name_end: u32,
    kind: i32,
    device: bool,
    /// Whether it is kept as a call, and whether that names tensors.
    call: bool,
    tensors: bool,
    /// Of the storages of its tensors, sorted.
    storages_end: u32,
    /// The call of the profiler that it is a part of; 0 where that is not said.
    part_of: u64,
    /// Of its dependencies: first data, then control.
    data_end: u32,
    end: u32,
    bytes: u64,
    work: f64,
}

struct Reader<'a> {
    input: &'a str,
    calls: Calls,
    nodes: Vec<Kept>,
    /// The names of all nodes, one after the other.
    names: String,
    dependencies: Vec<u64>,
    storages: Vec<i64>,
}

/// What the attributes of a node say.
#[derive(Default)]
struct Facts {
    device: bool,
    tensor_size: Option<i128>,
    comm_size: Option<i128>,
    work: f64,
    scope: Option<u64>,
    schema: String,
    part_of: u64,
}

impl Facts {
    fn take(&mut self, attribute: Attribute) {
        match attribute.name.as_str() {
            "is_cpu_op" => self.device = attribute.bool == Some(false) || attribute.whole() == Some(0),
            "tensor_size" => self.tensor_size = attribute.whole(),
            "comm_size" => self.comm_size = attribute.whole(),
            "num_ops" => self.work = attribute.number().filter(|n| n.is_finite() && *n > 0.0).unwrap_or(0.0),
            "scope" => self.scope = attribute.whole().and_then(|n| u64::try_from(n).ok()),
            "op_schema" => self.schema = attribute.string.unwrap_or_default(),
            "rf_id" => self.part_of = attribute.whole().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            _ => {}
        }
    }
}

/// A dependency between nodes, by their indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dependency {
    node: u32,
    of: u32,
    data: bool,
}

/// Reads a Chakra trace.
pub fn read(input: &Input<'_>, progress: &mut dyn Progress) -> Result<Trace, Error> {
    let (dependencies, storages) = (Vec::new(), Vec::new());
    let (calls, nodes, names) = (Calls::new(input.name), Vec::new(), String::new());
    let mut reader = Reader { input: input.name, calls, nodes, names, dependencies, storages };
    if json::matches(strip_mark(&input.head())) {
        json::read(&mut reader, input, progress)?;
    } else {
        reader.messages(input, progress)?;
    }
    if reader.nodes.is_empty() {
        let problem = "the trace has no nodes";
        return Err(Error::input(input.name, Place::Whole, problem, "Give a trace with at least one node"));
    }
    reader.trace(progress)
}

/// The length of the next message and its own length; none at the end of the file.
fn length(content: &mut impl Read, input: &Input<'_>, at: u64) -> Result<Option<(u64, u64)>, Error> {
    let (mut value, mut width) = (0u64, 0u64);
    loop {
        let mut byte = [0];
        if content.read(&mut byte).map_err(|e| input.error(&e))? == 0 {
            if width == 0 {
                return Ok(None);
            }
            let problem = "the file ends inside the length of a message";
            return Err(Error::input(input.name, Place::Byte(at), problem, "The file is truncated: fetch it again"));
        }
        // Lengths that are allowed take four bytes.
        if width == 9 {
            return Err(Error::input(input.name, Place::Byte(at), "no length of a message stands here", CURE));
        }
        let [byte] = byte;
        value |= u64::from(byte & 0x7f) << (7 * width);
        width += 1;
        if byte & 0x80 == 0 {
            return Ok(Some((value, width)));
        }
    }
}

impl Reader<'_> {
    /// Reads the messages of protobuf.
    fn messages(&mut self, input: &Input<'_>, progress: &mut dyn Progress) -> Result<(), Error> {
        let mut content = input.reader(progress);
        let (mut message, mut call) = (Vec::new(), Call::default());
        let (mut at, mut first) = (0u64, true);
        while let Some((length, width)) = length(&mut content, input, at)? {
            let place = Place::Byte(at);
            // Chakra's own reader stops there as well.
            if length == 0 && !first {
                break;
            }
            if length > MOST_MESSAGE {
                let problem = format!("a message of {length} bytes begins here; none has more than {MOST_MESSAGE}");
                return Err(Error::input(input.name, place, problem, CURE));
            }
            message.clear();
            let read = (&mut content).take(length).read_to_end(&mut message).map_err(|e| input.error(&e))?;
            if (read as u64) < length {
                let problem = format!("the message that begins here has {read} of {length} bytes");
                return Err(Error::input(input.name, place, problem, "The file is truncated: fetch it again"));
            }
            let broken = |what: &str, error: prost::DecodeError| {
                let problem = format!("the {what} that begins here cannot be read ({error})");
                Error::input(input.name, Place::Byte(at), problem, CURE)
            };
            if first {
                Metadata::decode(message.as_slice()).map_err(|e| broken("metadata", e))?;
            } else {
                let node = Node::decode(message.as_slice()).map_err(|e| broken("node", e))?;
                let mut facts = Facts::default();
                for bytes in &node.attributes {
                    facts.take(
                        Attribute::decode(bytes.as_slice())
                            .map_err(|e| self.refuse(&node, &place, &format!("an attribute cannot be read ({e})")))?,
                    );
                }
                self.node(node, facts, &mut call, &place)?;
            }
            first = false;
            at += width + length;
        }
        Ok(())
    }

    fn refuse(&self, node: &Node, place: &Place, problem: &str) -> Error {
        let problem = format!("node {} ({}): {problem}", node.id, cut(&node.name));
        Error::input(self.input, place.clone(), problem, CURE)
    }

    /// Keeps a node that stands at `place`.
    fn node(&mut self, mut node: Node, facts: Facts, call: &mut Call, place: &Place) -> Result<(), Error> {
        let dependencies = self.dependencies.len() + node.data.len() + node.control.len();
        if self.nodes.len() >= MOST_NODES || dependencies > MOST_DEPENDENCIES {
            return Err(Error::TooLarge {
                problem: format!("{} has more than {MOST_NODES} nodes or {MOST_DEPENDENCIES} dependencies", self.input),
                cure: "Give a trace of fewer steps".into(),
            });
        }
        call.clear();
        let communicates = (SEND..=COLLECTIVE).contains(&node.kind);
        let size = if communicates { facts.comm_size.or(facts.tensor_size) } else { facts.tensor_size };
        let bytes = size.unwrap_or(0);
        if !(0..=MOST_BYTES).contains(&bytes) {
            return Err(self.refuse(&node, place, &format!("its size is {bytes} bytes")));
        }
        let is_call = node.inputs.is_some() || node.outputs.is_some();
        let mut tensors = false;
        if is_call {
            for (values, side) in [(&node.inputs, &mut call.inputs), (&node.outputs, &mut call.outputs)] {
                if let Some(values) = values {
                    side_of(values, side, &mut self.calls).map_err(|problem| self.refuse(&node, place, &problem))?;
                }
            }
            tensors = !call.inputs.tensors.is_empty() || !call.outputs.tensors.is_empty();
            let mut storages: Vec<i64> =
                call.inputs.tensors.iter().chain(&call.outputs.tensors).map(|tensor| tensor.numbers[1]).collect();
            storages.sort_unstable();
            storages.dedup();
            self.storages.append(&mut storages);
            call.id = node.id;
            call.parent = node.control.first().copied().unwrap_or(NO_PARENT);
            (call.scope, call.schema) = (facts.scope, facts.schema);
            call.name.push_str(&node.name);
            call.excluded = node.kind == METADATA;
            self.calls.push(call)?;
        }
        self.dependencies.append(&mut node.data);
        let data_end = self.dependencies.len() as u32;
        self.dependencies.append(&mut node.control);
        self.names.push_str(cut(&node.name));
        self.nodes.push(Kept {
            id: node.id,
            name_end: self.names.len() as u32,
            kind: node.kind,
            device: facts.device,
            call: is_call,
            tensors,
            storages_end: self.storages.len() as u32,
            part_of: facts.part_of,
            data_end,
            end: self.dependencies.len() as u32,
            bytes: bytes as u64,
            work: facts.work,
        });
        Ok(())
    }

    /// The node before node `n`.
    fn before(&self, n: usize) -> Option<&Kept> {
        n.checked_sub(1).and_then(|before| self.nodes.get(before))
    }

    /// The name of node `n`.
    fn name(&self, n: usize) -> &str {
        let range = |node: &Kept| self.before(n).map_or(0, |before| before.name_end) as usize..node.name_end as usize;
        self.nodes.get(n).and_then(|node| self.names.get(range(node))).unwrap_or_default()
    }

    /// The storages of the tensors of node `n`.
    fn storages(&self, n: usize) -> &[i64] {
        let start = self.before(n).map_or(0, |before| before.storages_end);
        &self.storages[start as usize..self.nodes[n].storages_end as usize]
    }

    fn trace(mut self, progress: &mut dyn Progress) -> Result<Trace, Error> {
        let mut index = FxHashMap::default();
        for (at, node) in self.nodes.iter().enumerate() {
            if let Some(other) = index.insert(node.id, at as u32) {
                let (other, name) = (self.name(other as usize), self.name(at));
                let problem = format!("two nodes have the id {} ({other} and {name})", node.id);
                return Err(Error::input(self.input, Place::Item(at as u64), problem, CURE));
            }
        }
        // From ids to indices; what is not in the file is nobody's dependency.
        let (mut missing, mut kept) = (0u64, Vec::with_capacity(self.dependencies.len()));
        for n in 0..self.nodes.len() {
            let (start, node) = (self.before(n).map_or(0, |before| before.end), &self.nodes[n]);
            for (at, id) in (start..).zip(&self.dependencies[start as usize..node.end as usize]) {
                let data = at < node.data_end;
                match index.get(id) {
                    // A process or thread of the profiler is its own caller.
                    Some(of) if *of as usize == n && self.name(n).starts_with('[') => {}
                    Some(of) => kept.push(Dependency { node: n as u32, of: *of, data }),
                    None => missing += 1,
                }
            }
        }
        // A file may have millions of nodes.
        drop(index);
        self.dependencies = Vec::new();
        let ids: Vec<u64> = self.nodes.iter().map(|node| node.id).collect();
        let dropped = order::drop_cycles(ids.len(), &mut kept);
        let order = order::order(&ids, &kept).map_err(|at| self.cycle(at))?;
        let mut trace = if self.calls.names_tensors() {
            self.converted(&order, &kept, progress)
        } else {
            self.made(&order, &kept)
        }?;
        if dropped > 0 {
            trace.warn(format!(
                "{dropped} control dependencies are part of a cycle and do not count; data dependencies give the order"
            ));
        }
        if missing > 0 {
            trace.warn(format!("{missing} dependencies name nodes that are not in the file; they do not count"));
        }
        Ok(trace)
    }

    fn cycle(&self, at: u32) -> Error {
        let name =
            self.nodes.get(at as usize).map_or_else(String::new, |n| format!("{} ({})", n.id, self.name(at as usize)));
        let problem = format!("node {name} depends on itself: its data dependencies form a cycle");
        let cure = "Remove one of the dependencies, or convert the trace again";
        Error::input(self.input, Place::Item(u64::from(at)), problem, cure)
    }

    /// For each node, the one whose tensors it repeats: the operator that launched it, or the first part of its operator.
    /// Itself where it repeats none.
    fn originals(&self, dependencies: &[Dependency]) -> Vec<u32> {
        let mut originals: Vec<u32> = (0..self.nodes.len() as u32).collect();
        let mut first_parts: FxHashMap<(u64, &str), u32> = FxHashMap::default();
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.tensors) {
            if node.device {
                let launches = |of: &u32| {
                    let other = &self.nodes[*of as usize];
                    !other.device && other.tensors
                };
                let from = dependencies.partition_point(|dependency| (dependency.node as usize) < at);
                let own = dependencies[from..].iter().take_while(|dependency| dependency.node as usize == at);
                // A kernel that waits for its operator alone, or names nothing but what that names.
                let within = |of: &u32| {
                    let whole = self.storages(*of as usize);
                    self.storages(at).iter().all(|storage| whole.binary_search(storage).is_ok())
                };
                let caller = own.clone().find(|dependency| !dependency.data).map(|dependency| dependency.of);
                let launched = caller
                    .filter(launches)
                    .or_else(|| own.map(|dependency| dependency.of).find(|of| launches(of) && within(of)));
                originals[at] = launched.unwrap_or(at as u32);
            } else if node.part_of != 0
                && let Some((name, _)) = self.name(at).rsplit_once('(')
            {
                let first = *first_parts.entry((node.part_of, name)).or_insert(at as u32);
                if self.storages(first as usize) == self.storages(at) {
                    originals[at] = first;
                }
            }
        }
        originals
    }

    /// The trace of nodes that name tensors.
    fn converted(
        &mut self,
        order: &[u32],
        dependencies: &[Dependency],
        progress: &mut dyn Progress,
    ) -> Result<Trace, Error> {
        let mut rank = vec![0u64; order.len()];
        for (at, node) in order.iter().enumerate() {
            rank[*node as usize] = at as u64;
        }
        let originals = self.originals(dependencies);
        let mut callers = vec![None; self.nodes.len()];
        for Dependency { node, of, .. } in dependencies.iter().filter(|dependency| !dependency.data) {
            // What runs on a device is inside nothing, and nothing is inside it.
            if !self.nodes[*node as usize].device && !self.nodes[*of as usize].device {
                callers[*node as usize].get_or_insert(originals[*of as usize]);
            }
        }
        let (nodes, mut kernels, mut parts, mut sizes) = (&self.nodes, 0u64, 0u64, 0u64);
        for (at, node) in nodes.iter().enumerate() {
            sizes += u64::from(!node.tensors && node.bytes > 0);
            let repeats = originals[at] as usize != at;
            *(if node.device { &mut kernels } else { &mut parts }) += u64::from(repeats);
        }
        let mut calls = std::mem::replace(&mut self.calls, Calls::new(self.input));
        // Calls stand in the order of the nodes that are calls.
        let mut at = (0..nodes.len()).filter(|at| nodes[*at].call);
        calls.renumber(|_, _| {
            let at = at.next().unwrap_or(0);
            let above = callers[at].map_or(NO_PARENT, |caller| rank[caller as usize]);
            (rank[at], above, originals[at] as usize == at)
        });
        let mut trace = calls.trace(progress)?;
        for (count, text) in [
            (kernels, "kernels repeat the tensors of the operator that launched them: left out"),
            (parts, "parts of operators that launch several kernels repeat the tensors of the first part: left out"),
            (sizes, "nodes have a size but name no tensor: left out, because others name theirs"),
        ] {
            if count > 0 {
                trace.warn(format!("{count} {text}"));
            }
        }
        Ok(trace)
    }

    /// The trace of nodes that have sizes alone.
    fn made(&self, order: &[u32], dependencies: &[Dependency]) -> Result<Trace, Error> {
        let mut builder = TraceBuilder::new("");
        let mut tensors = vec![None; self.nodes.len()];
        let (mut nothing, mut without) = (0u64, 0u64);
        for &at in order {
            let node = &self.nodes[at as usize];
            let name = self.name(at as usize);
            let op = operation(name);
            let from = dependencies.partition_point(|dependency| dependency.node < at);
            let own = dependencies[from..].iter().take_while(|dependency| dependency.node == at);
            let mut work = node.work;
            let before = builder.len();
            let mut read = Vec::new();
            for dependency in own.filter(|dependency| dependency.data) {
                if let Some(tensor) = tensors[dependency.of as usize] {
                    read.push(tensor);
                }
            }
            // Listed twice, read once.
            let mut sorted = read.clone();
            sorted.sort_unstable();
            sorted.dedup();
            if sorted.len() < read.len() {
                read = sorted;
            }
            for tensor in read {
                builder.access_with(tensor, op, Mode::Read, std::mem::take(&mut work))?;
            }
            if node.bytes > 0 {
                let tensor = builder.tensor(Tensor {
                    name: format!("node {} {name}", node.id),
                    bytes: node.bytes,
                    layer: None,
                    stride: 1,
                    kind: Kind::Object,
                })?;
                tensors[at as usize] = Some(tensor);
                let mode = if node.kind == LOAD { Mode::Read } else { Mode::Write };
                builder.access_with(tensor, op, mode, std::mem::take(&mut work))?;
            }
            nothing += u64::from(builder.len() == before);
            without += u64::from(node.bytes == 0);
        }
        if builder.is_empty() {
            let nodes = self.nodes.len();
            let problem =
                format!("it is a Chakra execution trace, and none of its {nodes} nodes names a tensor or has a size");
            let cure = "Give nodes tensor_size (communication: comm_size), or inputs and outputs with tensors: converted from \
                        PyTorch, the protobuf file has them";
            return Err(Error::input(self.input, Place::Whole, problem, cure));
        }
        builder.warn(format!(
            "The {} nodes name no tensors: each node with a size makes an object ({} have none), and the nodes that wait \
             for its data read it; {nothing} nodes use nothing",
            self.nodes.len(),
            without,
        ));
        builder.finish(self.input)
    }
}

/// The first bytes of a name.
fn cut(name: &str) -> &str {
    super::operators::cut(name, NAME)
}

/// Reads what a node takes or returns.
fn side_of(values: &Values, side: &mut Side, calls: &mut Calls) -> Result<(), String> {
    let mut text = Literal { rest: &values.values };
    side.len = text.list(0, &mut |text, position| {
        let leaf = text.value(position, 0, 1, side, calls)?;
        if let Leaf::Bool(set) = leaf {
            side.flags.push(Flag { position, set });
        }
        Ok(())
    })?;
    text.end("values")?;
    for (source, lists, what) in
        [(&values.shapes, &mut side.shapes, "shapes"), (&values.strides, &mut side.strides, "strides")]
    {
        if !source.is_empty() {
            let mut text = Literal { rest: source };
            text.list(0, &mut |text, position| text.shape(position, 0, 1, lists).map(|_| ()))?;
            text.end(what)?;
        }
    }
    if !values.types.is_empty() {
        let mut text = Literal { rest: &values.types };
        let types = &mut side.types;
        text.list(0, &mut |text, _| {
            types.push(Type::of(text.text()?));
            Ok(())
        })?;
        text.end("types")?;
    }
    Ok(())
}

/// What a value is.
#[derive(Clone, Copy)]
enum Leaf<'t> {
    Int(i64),
    Number,
    Bool(bool),
    Text(&'t str),
    /// A list, and how many leaves it has.
    List(u32),
}

/// A list as Python writes it (JSON is read as well).
struct Literal<'t> {
    rest: &'t str,
}

impl<'t> Literal<'t> {
    fn problem(&self, wanted: &str) -> String {
        let found: String = self.rest.chars().take(20).collect();
        format!("its inputs or outputs have \"{found}\" where {wanted} should stand")
    }

    fn skip(&mut self, token: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn end(&mut self, what: &str) -> Result<(), String> {
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() { Ok(()) } else { Err(self.problem(&format!("the end of the {what}"))) }
    }

    /// Reads `[...]` or `(...)` with `element`, and returns the number of elements. An empty text is an empty list.
    fn list(
        &mut self,
        depth: u32,
        element: &mut dyn FnMut(&mut Self, u32) -> Result<(), String>,
    ) -> Result<u32, String> {
        let close = match (self.skip('['), depth) {
            (true, _) => ']',
            (false, _) if self.skip('(') => ')',
            (false, 0) if self.rest.is_empty() => return Ok(0),
            _ => return Err(self.problem("a list")),
        };
        if depth > MOST_DEPTH {
            return Err(format!("its inputs or outputs nest deeper than {MOST_DEPTH} lists"));
        }
        let mut count = 0u32;
        loop {
            if self.skip(close) {
                return Ok(count);
            }
            if count > 0 && !self.skip(',') {
                return Err(self.problem("a comma or the end of a list"));
            }
            // Python ends a tuple of one with a comma.
            if count > 0 && self.skip(close) {
                return Ok(count);
            }
            element(self, count)?;
            count = count.saturating_add(1);
        }
    }

    fn opens(&mut self) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.starts_with(['[', '('])
    }

    /// A string in single or double quotes, as it stands there.
    fn text(&mut self) -> Result<&'t str, String> {
        self.rest = self.rest.trim_start();
        let quote = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let Some(quote) = quote else { return Err(self.problem("a string in quotes")) };
        let inside = self.rest.get(1..).unwrap_or_default();
        let mut escaped = false;
        for (at, byte) in inside.bytes().enumerate() {
            if escaped {
                escaped = false;
            } else if byte == b'\\' {
                escaped = true;
            } else if byte == quote as u8 {
                let text = inside.get(..at).unwrap_or_default();
                self.rest = inside.get(at + 1..).unwrap_or_default();
                return Ok(text);
            }
        }
        Err(self.problem("a string that ends"))
    }

    /// A value of argument `position`; the tensors in it are kept.
    fn value(
        &mut self,
        position: u32,
        element: u32,
        depth: u32,
        side: &mut Side,
        calls: &mut Calls,
    ) -> Result<Leaf<'t>, String> {
        if self.opens() {
            let mut numbers = [NOT_WHOLE; 5];
            let (mut tensor, mut leaves, mut device) = (true, 0u32, "");
            let count = self.list(depth, &mut |text, at| {
                let leaf = text.value(position, element.saturating_add(leaves), depth + 1, side, calls)?;
                match (leaf, numbers.get_mut(at as usize)) {
                    (Leaf::Int(number), Some(slot)) => *slot = number,
                    (Leaf::Number, Some(_)) => {}
                    (Leaf::Text(name), None) if at == 5 => device = name,
                    _ => tensor = false,
                }
                if let Leaf::Bool(set) = leaf {
                    side.flags.push(Flag { position, set });
                }
                leaves = leaves.saturating_add(if let Leaf::List(inner) = leaf { inner } else { 1 });
                Ok(())
            })?;
            if !tensor || count != 6 {
                return Ok(Leaf::List(leaves));
            }
            let device = calls.device(device).map_err(|error| error.to_string())?;
            side.tensors.push(RawTensor { numbers, device, position, element });
            return Ok(Leaf::List(1));
        }
        if self.rest.starts_with(['\'', '"']) {
            return self.text().map(Leaf::Text);
        }
        let end = self.rest.find([',', ']', ')']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let leaf = match word.trim() {
            "True" | "true" => Leaf::Bool(true),
            "False" | "false" => Leaf::Bool(false),
            "None" | "null" => Leaf::Number,
            word => match (word.parse(), word.parse::<f64>()) {
                (Ok(number), _) => Leaf::Int(number),
                // `inf` and `nan` are numbers of Python as well.
                (Err(_), Ok(_)) => Leaf::Number,
                _ => return Err(self.problem("a value")),
            },
        };
        self.rest = rest;
        Ok(leaf)
    }

    /// A shape of argument `position`, or a list of them; returns how many.
    fn shape(&mut self, position: u32, element: u32, depth: u32, lists: &mut Lists) -> Result<u32, String> {
        let (mut inner, mut nested) = (0u32, false);
        if !self.opens() {
            // Some writers leave the shape of a scalar out.
            let end = self.rest.find([',', ']', ')']).unwrap_or(self.rest.len());
            self.rest = self.rest.split_at(end).1;
            return Ok(1);
        }
        self.list(depth, &mut |text, _| {
            if text.opens() {
                nested = true;
                inner = inner.saturating_add(text.shape(position, element.saturating_add(inner), depth + 1, lists)?);
                return Ok(());
            }
            let end = text.rest.find([',', ']', ')']).unwrap_or(text.rest.len());
            let (word, rest) = text.rest.split_at(end);
            let number: i64 = word.trim().parse().map_err(|_| text.problem("a whole number"))?;
            lists.number(number);
            text.rest = rest;
            Ok(())
        })?;
        if nested {
            return Ok(inner);
        }
        lists.end(position, element);
        Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{Format, detect};
    use crate::progress::Unattended;
    use crate::trace::Op;

    fn attribute(name: &str) -> Attribute {
        Attribute { name: name.into(), ..Attribute::default() }
    }

    fn size(name: &str, bytes: i64) -> Attribute {
        Attribute { int64: Some(bytes), ..attribute(name) }
    }

    fn node(id: u64, kind: i32, data: &[u64], attributes: &[Attribute]) -> Node {
        let attributes = attributes.iter().map(Attribute::encode_to_vec).collect();
        Node { id, name: format!("node{id}"), kind, data: data.to_vec(), attributes, ..Node::default() }
    }

    fn on_tensors(id: u64, name: &str, inputs: &str, outputs: &str) -> Node {
        let values = |values: &str| Some(Values { values: values.into(), ..Values::default() });
        Node { name: name.into(), inputs: values(inputs), outputs: values(outputs), ..node(id, 4, &[], &[]) }
    }

    fn file(nodes: &[Node]) -> Vec<u8> {
        let metadata = Metadata { version: b"0.0.4".to_vec(), attributes: Vec::new() };
        let mut out = metadata.encode_length_delimited_to_vec();
        for node in nodes {
            out.extend(node.encode_length_delimited_to_vec());
        }
        out
    }

    fn read_bytes(bytes: &[u8]) -> Result<Trace, Error> {
        read(&Input::new("t.et", bytes), &mut Unattended)
    }

    #[test]
    fn sizes_alone_make_objects_that_their_dependants_read() {
        let mut last = node(9, 4, &[2, 2, 5], &[size("tensor_size", 40), size("num_ops", 800)]);
        last.name = "gemm".into();
        last.control = vec![5];
        let bytes = file(&[
            last,
            node(2, LOAD, &[], &[size("tensor_size", 100)]),
            node(5, COLLECTIVE, &[2], &[size("comm_size", 60), size("tensor_size", 7)]),
        ]);
        assert_eq!(detect(&Input::new("t", &bytes)).unwrap(), Format::Chakra);
        let trace = read_bytes(&bytes).unwrap();
        assert_eq!(trace.sizes(), [100, 60, 40]);
        assert_eq!(trace.accesses(), [0, 0, 1, 0, 1, 2]);
        assert_eq!((trace.mode(0), trace.mode(2), trace.mode(5)), (Mode::Read, Mode::Write, Mode::Write));
        assert_eq!((trace.op(3), trace.flops(3), trace.flops(4)), (Op::Matmul, 800.0, 0.0));
        assert_eq!(trace.tensors()[0].name, "node 2 node2");
    }

    #[test]
    fn kernels_repeat_the_tensors_of_their_operator() {
        let (x, y) = ("[[1, 2, 0, 4, 4, 'cuda:0'], '<None>', True, -0.5, inf]", "[(3, 4, 0, 4, 4, \"cuda:0\"),]");
        let on_device = [Attribute { bool: Some(false), ..attribute("is_cpu_op") }];
        let mut kernel = on_tensors(2, "relu_kernel", x, y);
        kernel.control = vec![1];
        kernel.attributes = on_device.iter().map(Attribute::encode_to_vec).collect();
        let trace = read_bytes(&file(&[kernel.clone(), on_tensors(1, "aten::relu", x, y)])).unwrap();
        assert_eq!(trace.accesses(), [0, 1]);
        assert!(trace.warnings().iter().any(|w| w.starts_with("1 kernels repeat")), "{:?}", trace.warnings());
        // On its own, it counts.
        assert_eq!(read_bytes(&file(&[kernel])).unwrap().sizes(), [16, 16]);
    }

    #[test]
    fn control_dependencies_that_close_a_cycle_are_dropped_and_told() {
        let sized = |id, data: &[u64], control: &[u64]| Node {
            control: control.to_vec(),
            ..node(id, 4, data, &[size("tensor_size", 10 * id as i64)])
        };
        // 4 -> 1 -> 2 by data; by control 1 -> 4 closes a cycle, 2 -> 3 none, and 3 waits for itself.
        let nodes = [sized(1, &[4], &[]), sized(2, &[1], &[3]), sized(3, &[], &[3]), sized(4, &[], &[1])];
        let trace = read_bytes(&file(&nodes)).unwrap();
        assert_eq!(trace.sizes(), [30, 40, 10, 20]);
        assert_eq!(trace.accesses(), [0, 1, 1, 2, 2, 3]);
        let told = "2 control dependencies are part of a cycle and do not count";
        assert!(trace.warnings().iter().any(|w| w.starts_with(told)), "{:?}", trace.warnings());
    }

    #[test]
    fn parts_of_an_operator_and_their_kernels_count_once() {
        let (x, y) = ("[[1, 2, 0, 4, 4, 'cuda:0'], [9, 9, 0, 4, 4, 'cuda:0']]", "[[3, 4, 0, 4, 4, 'cuda:0']]");
        let with = |node: Node, data: &[u64], attributes: &[Attribute]| Node {
            data: data.to_vec(),
            attributes: attributes.iter().map(Attribute::encode_to_vec).collect(),
            ..node
        };
        let (part, device) = ([size("rf_id", 7)], [Attribute { bool: Some(false), ..attribute("is_cpu_op") }]);
        let nodes = [
            with(on_tensors(1, "aten::add(0)", x, y), &[], &part),
            with(on_tensors(2, "aten::add(1)", x, y), &[1], &part),
            // Its operator is not its caller in the file, but names the same tensors.
            with(on_tensors(3, "add_kernel", x, y), &[2], &device),
            // Another operator of the same name, and a kernel with a tensor of its own.
            with(on_tensors(4, "aten::add(0)", x, y), &[2], &[size("rf_id", 8)]),
            with(on_tensors(5, "copy_kernel", y, "[[5, 6, 0, 4, 4, 'cuda:0']]"), &[4], &device),
        ];
        let trace = read_bytes(&file(&nodes)).unwrap();
        // What the second writes is a new tensor at the same address.
        assert_eq!(trace.accesses(), [0, 1, 2, 0, 1, 3, 3, 4]);
        let warnings = trace.warnings().join("\n");
        assert!(warnings.contains("1 kernels repeat") && warnings.contains("1 parts of operators"), "{warnings}");
    }

    /// The feeder's nodes, and protobuf's JSON of the messages.
    #[test]
    fn json_is_read_as_protobuf_is() {
        let on_device = Attribute { bool: Some(false), ..attribute("is_cpu_op") };
        let nodes = [
            node(2, LOAD, &[], &[size("tensor_size", 100)]),
            Node { control: vec![2], ..node(5, COLLECTIVE, &[2], &[size("comm_size", 60), on_device]) },
            node(9, 4, &[2, 5], &[size("tensor_size", 40), size("num_ops", 800)]),
        ];
        let wanted = read_bytes(&file(&nodes)).unwrap();
        let feeder = r#"{"workload_graph": [
            {"Id": 2, "Name": "node2", "NodeType": 2, "data_deps": [], "tensor_size": 100, "runtime": NaN},
            {"Id": 5, "Name": "node5", "NodeType": 7, "ctrlDeps": [2], "data_deps": [2], "comm_size": 60, "is_cpu_op": false},
            {"Id": 9, "Name": "node9", "NodeType": 4, "data_deps": [2, 5], "tensor_size": 40, "num_ops": 800}
        ], "ngpus": 8}"#;
        let messages = r#"{
          "version": "0.0.4"
        }{
          "id": "2", "name": "node2", "type": "MEM_LOAD_NODE", "durationMicros": "7",
          "attr": [{"name": "tensor_size", "uint64Val": "100"}]
        }{
          "id": "5", "name": "node5", "type": "COMM_COLL_NODE", "ctrlDeps": ["2"], "dataDeps": ["2"],
          "attr": [{"name": "comm_size", "int64Val": "60"}, {"name": "is_cpu_op", "boolVal": false}]
        }{
          "id": "9", "name": "node9", "type": "COMP_NODE", "data_deps": ["2", "5"],
          "attr": [{"name": "tensor_size", "uint64_val": "40"}, {"name": "num_ops", "int64Val": "800"}]
        }"#;
        for text in [feeder, messages] {
            assert_eq!(detect(&Input::new("t", text.as_bytes())).unwrap(), Format::Chakra);
            assert_eq!(read_bytes(text.as_bytes()).unwrap(), wanted);
        }
        let (x, y) = ("[[1, 2, 0, 4, 4, 'cuda:0'], '<None>']", "[[3, 4, 0, 4, 4, 'cuda:0']]");
        let call = format!(
            r#"[{{"id": 3, "name": "aten::relu", "type": 4, "attr": [], "inputs": {{"values": "{x}"}},
               "outputs": {{"values": "{y}"}}}}]"#
        );
        let wanted = read_bytes(&file(&[on_tensors(3, "aten::relu", x, y)])).unwrap();
        let graph = format!("{{\"workload_graph\": {call}}}");
        assert_eq!(read_bytes(graph.as_bytes()).unwrap(), wanted);
        for (text, wanted) in [
            ("{\"workload_graph\": [{\"Id\": 1}]}", "a node has no Id or no Name"),
            ("{\"workload_graph\": [{\"Id\": -1}]}", "expected a whole number, zero or more"),
            ("{\"workload_graph\": []}", "the trace has no nodes"),
            (
                "{\"workload_graph\": [{\"Id\": 1, \"Name\": \"a\"}]}",
                "it is a Chakra execution trace, and none of its 1",
            ),
            ("{\"workload_graph\": [{\"Id\": 1, \"Name\": \"a\"}", "the text ends here"),
            (
                "{\"workload_graph\": [{\"Id\": 1, \"Name\": \"a\", \"tensor_size\": -4}]}",
                "record 0: node 1 (a): its size is -4",
            ),
        ] {
            let error = read_bytes(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("t.et, ") && error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn broken_files_name_the_place_and_the_cure() {
        let sized = |id, data: &[u64]| node(id, 4, data, &[size("tensor_size", 8)]);
        let values = |text: &str| file(&[on_tensors(3, "aten::relu", text, "[]")]);
        let good = file(&[sized(1, &[]), sized(2, &[1])]);
        read_bytes(&good).unwrap();
        let mut broken_text = good.clone();
        let name = broken_text.windows(5).position(|w| w == b"node1").unwrap();
        broken_text[name] = 0xff;
        for (bytes, wanted) in [
            (good[..good.len() - 1].to_vec(), "bytes. The file is truncated: fetch it again"),
            (good[..12].to_vec(), "byte 8: the message that begins here has"),
            ([&good[..], &[0x80]].concat(), "the file ends inside the length of a message"),
            ([&good[..], &[0xff; 11]].concat(), "no length of a message stands here"),
            (
                [&good[..], &[0xff, 0xff, 0xff, 0x7f]].concat(),
                "a message of 268435455 bytes begins here; none has more",
            ),
            ([&good[..], &[1, 0xff]].concat(), "the node that begins here cannot be read"),
            (broken_text, "the node that begins here cannot be read"),
            (good[..8].to_vec(), "whole input: the trace has no nodes"),
            (file(&[sized(1, &[]), sized(1, &[])]), "record 1: two nodes have the id 1 (node1 and node1)"),
            (
                file(&[sized(1, &[3]), sized(2, &[1]), sized(3, &[2]), sized(0, &[2])]),
                "depends on itself: its data dependencies form a cycle",
            ),
            (file(&[sized(1, &[1])]), "node 1 (node1) depends on itself"),
            (file(&[node(1, 4, &[], &[])]), "none of its 1 nodes names a tensor or has a size"),
            (file(&[node(1, 4, &[], &[size("tensor_size", -5)])]), "node 1 (node1): its size is -5 bytes"),
            (file(&[node(1, 4, &[], &[size("tensor_size", i64::MAX)])]), "its size is 9223372036854775807 bytes"),
            (
                values("[1, 2"),
                "node 3 (aten::relu): its inputs or outputs have \"\" where a comma or the end of a list",
            ),
            (values("{}"), "have \"{}\" where a list should stand"),
            (values("[what]"), "have \"what]\" where a value should stand"),
            (values("['what]"), "where a string that ends should stand"),
            (values("[] []"), "have \"[]\" where the end of the values should stand"),
            (values(&"[".repeat(100)), "nest deeper than 32 lists"),
            (values("[[1, 2, 0, -4, 4, 'cpu']]"), "its number of elements is -4"),
            (values("[[1, 2, 0, 1000000000000000000, 4, 'cpu']]"), "more than 2^50 bytes"),
            (values("[[1, 2, 0, 1.5, 4, 'cpu']]"), "its number of elements is not a whole number"),
        ] {
            let error = read_bytes(&bytes).unwrap_err().to_string();
            assert!(error.starts_with("t.et, ") && error.contains(wanted), "{wanted}: {error}");
        }
    }

    #[test]
    fn not_fooled_by_others() {
        assert!(!matches(b""));
        assert!(!matches(b"tensor_id,size_mb"));
        assert!(!matches(b"{\"schema\": 1, \"nodes\": []}"));
        assert!(!matches(&[0; 4096]));
        // ONNX: ir_version 8, then the name of the producer.
        assert!(!matches(b"\x08\x08\x12\x07pytorch\x1a\x052.0.0:\x80\x01"));
    }
}
