//! A trace: a table of tensors and the order in which they are used.

pub mod part;
pub mod popularity;
pub mod reuse;
pub mod views;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::closed;
use crate::error::{Error, Place};

/// The most accesses a trace holds in memory; longer ones are refused with the cure.
pub const MAX_ACCESSES: usize = 200_000_000;

closed! {
    /// What a tensor is to the model.
    pub enum Kind("kind", "kind of tensor") {
        /// Parameters, read and never written during inference.
        Weights = "weights",
        /// Keys and values of past tokens.
        KvCache = "kv_cache" titled "KV cache",
        /// Intermediate results.
        Activations = "activations",
        /// What training wants to change: of weights and of intermediate results.
        Gradients = "gradients",
        /// What an optimizer keeps of each weight from step to step.
        Optimizer = "optimizer" titled "optimizer state",
        /// Unknown: an object of an imported trace.
        Object = "object" titled "objects",
    }
}

closed! {
    /// The operation that uses a tensor. The first five are the prototype's names.
    pub enum Op("op", "operation") {
        /// Matrix multiplication.
        Matmul = "matmul",
        /// Attention scores and their weighted sum.
        Attention = "attention",
        /// Convolution.
        Conv = "conv",
        /// An activation function.
        Relu = "relu",
        /// Routing of tokens to experts.
        Gating = "gating",
        /// Look-up of embedding rows.
        Embedding = "embedding",
        /// Layer or RMS normalisation.
        Norm = "norm",
        /// A residual addition.
        Add = "add",
        /// A pool of a convolutional network.
        Pool = "pool",
        /// Scores that sum up to one, and the loss on top of them.
        Softmax = "softmax",
        /// Elements moved: gathered, concatenated, transposed.
        Copy = "copy",
        /// The update of a weight.
        Optimizer = "optimizer",
        /// Any other.
        Other = "other",
        /// A request of a storage or cache trace.
        Request = "request",
    }
}

closed! {
    /// What an access does to its tensor.
    #[derive(Default)]
    pub enum Mode("mode", "mode of access") {
        /// Reads it.
        #[default]
        Read = "read",
        /// Replaces it whole: its old content is not needed.
        Write = "write",
        /// Changes a part of it: its old content is needed, unless this is its first use.
        Update = "update",
    }
}

/// A named object with a size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    /// Its name, unique in the trace.
    pub name: String,
    /// Its size in bytes; where it changes, at its first use.
    pub bytes: u64,
    /// The layer it belongs to, where there is one.
    pub layer: Option<u32>,
    /// The stride in elements with which it is read (1 = contiguous).
    pub stride: u32,
    /// What it is to the model.
    pub kind: Kind,
}

/// A point in a trace that deserves a name, such as the first decoded token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Index of the first access after the mark.
    pub at: u64,
    /// What begins there.
    pub label: String,
}

/// Where a trace decodes tokens, counted in accesses and tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decoding {
    /// Accesses after which the first token of the first requests is known.
    pub first_token: u64,
    /// Accesses before the first step of decoding.
    pub start: u64,
    /// Steps of decoding: each gives every running request a token.
    pub steps: u64,
    /// Tokens that these steps give to all requests together.
    pub tokens: u64,
}

/// Marks a tensor that continues no other.
pub const NO_PARENT: u32 = u32::MAX;

/// From access `at` on, the tensor of that access has another size than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resize {
    /// Number of the access; a trace that is not held may have more than 2^32.
    pub at: u64,
    /// The new size in bytes.
    pub bytes: u64,
}

/// Accesses that follow each other.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// Number of the first access in the trace.
    pub start: usize,
    /// Indices of tensors, in order of use.
    pub accesses: &'a [u32],
    /// Where sizes change among them.
    pub resizes: &'a [Resize],
    /// For each access, the number of the first one for which what it brings in is too old; empty where nothing expires.
    pub deadlines: &'a [u32],
}

impl<'a> Chunk<'a> {
    /// Its accesses `from..to`, counted from its own start.
    pub fn part(self, from: usize, to: usize) -> Self {
        let Chunk { start, accesses, resizes, deadlines } = self;
        let first = resizes.partition_point(|resize| (resize.at as usize) < start + from);
        let last = resizes.partition_point(|resize| (resize.at as usize) < start + to);
        Chunk {
            start: start + from,
            accesses: &accesses[from..to],
            resizes: &resizes[first..last],
            deadlines: deadlines.get(from..to).unwrap_or_default(),
        }
    }
}

/// A table of tensors and the sequence of their uses.
///
/// Sizes belong to accesses: where a file gives a tensor another size later, [`Resize`] says from when on. Every access names a tensor of the table, and the bytes of all accesses together fit in 64 bits; the
/// engine relies on both, so they hold from [`TraceBuilder::finish`] on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Trace {
    tensors: Vec<Tensor>,
    #[serde(with = "shared")]
    accesses: Arc<Vec<u32>>,
    /// Where sizes change, in order of access; empty where no tensor's does.
    resizes: Vec<Resize>,
    /// For each access, the number of the first one for which what it brings in is too old; empty where nothing expires.
    deadlines: Vec<u32>,
    /// The tensor without which each is worth nothing, or [`NO_PARENT`]; empty where there are no such ties.
    parents: Vec<u32>,
    /// Empty where every access is a request.
    ops: Vec<Op>,
    /// Empty where every access reads.
    modes: Vec<Mode>,
    /// Empty where nothing is known of the work.
    flops: Vec<f32>,
    marks: Vec<Mark>,
    decoding: Option<Decoding>,
    model_type: String,
    warnings: Vec<String>,
    requested_bytes: u64,
    unique_bytes: u64,
    /// Whether the file had times other than the order of the accesses; they are not kept.
    timed: bool,
    /// Bytes that its operators load into the memory for which the trace was made, at least; 0 where nothing is known.
    least_bytes: u64,
}

/// A shared column crosses as its content.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(column: &Arc<Vec<u32>>, serializer: S) -> Result<S::Ok, S::Error> {
        column.as_slice().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Vec<u32>>, D::Error> {
        Vec::deserialize(deserializer).map(Arc::new)
    }
}

impl Trace {
    /// The tensors, in order of first mention.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Indices into [`tensors`](Self::tensors), in order of use.
    pub fn accesses(&self) -> &[u32] {
        &self.accesses
    }

    /// The same, for whoever outlives a borrow.
    pub fn shared_accesses(&self) -> Arc<Vec<u32>> {
        Arc::clone(&self.accesses)
    }

    /// Where sizes change, in order of access.
    pub fn resizes(&self) -> &[Resize] {
        &self.resizes
    }

    /// For each tensor the one that it continues, or [`NO_PARENT`]; empty where there are no such ties.
    ///
    /// The blocks of a KV cache that hold a prompt make up a path of a tree: prompts with a prefix in common share its
    /// blocks, and a block is worth nothing without those before it. A parent has a lower number than its children.
    pub fn parents(&self) -> &[u32] {
        &self.parents
    }

    /// The accesses `start..end`.
    pub fn chunk(&self, start: usize, end: usize) -> Chunk<'_> {
        self.whole().part(start, end)
    }

    /// Whether tensors grow too old to be hit.
    pub fn expires(&self) -> bool {
        !self.deadlines.is_empty()
    }

    /// All accesses.
    pub fn whole(&self) -> Chunk<'_> {
        Chunk { start: 0, accesses: &self.accesses, resizes: &self.resizes, deadlines: &self.deadlines }
    }

    /// Tensor and size of each access, in order.
    pub fn sized(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let mut sizes = self.sizes();
        let mut resizes = self.resizes.iter().peekable();
        (0u64..).zip(&*self.accesses).map(move |(now, &tensor)| {
            if let Some(resize) = resizes.next_if(|resize| resize.at == now) {
                sizes[tensor as usize] = resize.bytes;
            }
            (tensor, sizes[tensor as usize])
        })
    }

    /// The size of the tensor of access `now` in bytes, at that access.
    pub fn bytes_at(&self, now: usize) -> u64 {
        let tensor = self.accesses[now];
        let until = self.resizes.partition_point(|resize| resize.at as usize <= now);
        let of_it = |resize: &&Resize| self.accesses[resize.at as usize] == tensor;
        let last = self.resizes[..until].iter().rev().find(of_it);
        last.map_or(self.tensors[tensor as usize].bytes, |resize| resize.bytes)
    }

    /// The largest size of each tensor in bytes.
    pub fn largest_sizes(&self) -> Vec<u64> {
        let mut sizes = self.sizes();
        for Resize { at, bytes } in &self.resizes {
            let size = &mut sizes[self.accesses[*at as usize] as usize];
            *size = (*size).max(*bytes);
        }
        sizes
    }

    /// The operation of access `now`.
    pub fn op(&self, now: usize) -> Op {
        self.ops.get(now).copied().unwrap_or(Op::Request)
    }

    /// What access `now` does to its tensor.
    pub fn mode(&self, now: usize) -> Mode {
        self.modes.get(now).copied().unwrap_or_default()
    }

    /// The operations in order; empty where every access is a request.
    pub fn ops(&self) -> impl Iterator<Item = Op> + '_ {
        self.ops.iter().copied()
    }

    /// What the accesses do to their tensors, in order; empty where every access reads.
    pub fn modes(&self) -> impl Iterator<Item = Mode> + '_ {
        self.modes.iter().copied()
    }

    /// Floating-point operations that wait for access `now`; 0 where nothing is known of the work.
    pub fn flops(&self, now: usize) -> f64 {
        self.flops.get(now).copied().map_or(0.0, f64::from)
    }

    /// Whether the trace knows the operation of any access: one that is more than a request.
    pub fn knows_operations(&self) -> bool {
        self.ops().any(|op| op != Op::Request)
    }

    /// Whether the trace knows the work of its accesses.
    pub fn knows_flops(&self) -> bool {
        !self.flops.is_empty()
    }

    /// Named points, in order.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Where it decodes tokens, if it does.
    pub fn decoding(&self) -> Option<Decoding> {
        self.decoding
    }

    /// The family of model, as the prototype's records name it; empty where unknown.
    pub fn model_type(&self) -> &str {
        &self.model_type
    }

    /// What its user should know about how the trace was made.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Records something that the reader should know.
    pub fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// Bytes that its operators load at least into a memory of the capacity that the trace was made for, whatever order
    /// their tiles come in; 0 where nothing is known of them.
    pub fn least_bytes(&self) -> u64 {
        self.least_bytes
    }

    /// Whether the file that it was read from had times, which are not kept: the order of the accesses counts.
    pub fn was_timed(&self) -> bool {
        self.timed
    }

    /// The size of each tensor in bytes; where it changes, at its first use.
    pub fn sizes(&self) -> Vec<u64> {
        self.tensors.iter().map(|t| t.bytes).collect()
    }

    /// Number of accesses, tensors and bytes.
    pub fn summary(&self) -> Summary {
        Summary {
            accesses: self.accesses.len() as u64,
            tensors: self.tensors.len() as u64,
            requested_bytes: self.requested_bytes,
            unique_bytes: self.unique_bytes,
        }
    }
}

/// The size of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Number of accesses.
    pub accesses: u64,
    /// Number of distinct tensors.
    pub tensors: u64,
    /// Bytes of all accesses.
    pub requested_bytes: u64,
    /// Bytes of all distinct tensors, each at its largest.
    pub unique_bytes: u64,
}

fn too_many_accesses() -> Error {
    Error::TooLarge {
        problem: format!("the workload makes more than {MAX_ACCESSES} accesses"),
        cure: "Use larger tiles, fewer tokens or a smaller batch, or a shorter file".into(),
    }
}

/// Takes accesses as they are made, in order and in pieces, in the place of a trace that holds them. An error ends the
/// making.
pub struct Sink(Box<dyn FnMut(Vec<u32>) -> Result<(), Error> + Send>);

impl Sink {
    /// Hands each piece to `take`.
    pub fn new(take: impl FnMut(Vec<u32>) -> Result<(), Error> + Send + 'static) -> Self {
        Self(Box::new(take))
    }
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sink")
    }
}

/// Accesses of a piece: enough that handing it over costs nothing beside making it.
const PIECE: usize = 1 << 16;

/// Collects a trace and checks it.
#[derive(Debug, Default)]
pub struct TraceBuilder {
    trace: Trace,
    /// Those that were not handed to a sink.
    accesses: Vec<u32>,
    sink: Option<Sink>,
    /// Accesses that the sink has.
    handed: usize,
    used: Vec<bool>,
    /// The size of each tensor at its last use, once any has changed.
    sizes: Vec<u64>,
}

impl TraceBuilder {
    /// An empty trace of a model of family `model_type` (may be empty).
    pub fn new(model_type: impl Into<String>) -> Self {
        Self { trace: Trace { model_type: model_type.into(), ..Trace::default() }, ..Self::default() }
    }

    /// Names the family of the model.
    pub fn of_model(&mut self, model_type: impl Into<String>) {
        self.trace.model_type = model_type.into();
    }

    /// From now on accesses go to `sink`, and only the tensors are kept: there may be as many as it takes.
    pub fn hand_to(&mut self, sink: Sink) {
        self.sink = Some(sink);
    }

    /// Whether accesses are held.
    pub fn holds(&self) -> bool {
        self.sink.is_none()
    }

    fn hand_over(&mut self) -> Result<(), Error> {
        let Some(Sink(take)) = &mut self.sink else { return Ok(()) };
        self.handed += self.accesses.len();
        take(std::mem::replace(&mut self.accesses, Vec::with_capacity(PIECE)))
    }

    /// Adds a tensor and returns its index.
    pub fn tensor(&mut self, tensor: Tensor) -> Result<u32, Error> {
        let index = u32::try_from(self.trace.tensors.len()).ok().filter(|i| *i < u32::MAX);
        let index = index.ok_or_else(|| Error::TooLarge {
            problem: "the trace has more than 2^32 - 1 tensors".into(),
            cure: "Use larger tiles, or split the trace".into(),
        })?;
        self.trace.tensors.push(tensor);
        self.used.push(false);
        Ok(index)
    }

    /// Says that `tensor`, the last one added, continues `parent`, one added before it.
    pub fn continues(&mut self, tensor: u32, parent: u32) -> Result<(), Error> {
        if parent >= tensor || tensor as usize + 1 != self.trace.tensors.len() {
            return Err(Error::Internal(format!("tensor {tensor} cannot continue tensor {parent}")));
        }
        self.trace.parents.resize(tensor as usize, NO_PARENT);
        self.trace.parents.push(parent);
        Ok(())
    }

    /// Gives tensor `i` the number `numbers[i]`; whether that is possible: each number once, and a parent's below those of
    /// its children.
    pub fn renumber(&mut self, numbers: &[u32]) -> bool {
        let tensors = &self.trace.tensors;
        let mut order = vec![u32::MAX; tensors.len()];
        for (tensor, number) in (0..).zip(numbers) {
            match order.get_mut(*number as usize) {
                Some(place) if *place == u32::MAX => *place = tensor,
                _ => return false,
            }
        }
        let parents = (0u32..).zip(&self.trace.parents);
        let inverted = |(tensor, parent): (u32, &u32)| {
            *parent != NO_PARENT && numbers[*parent as usize] > numbers[tensor as usize]
        };
        if numbers.len() != tensors.len() || parents.clone().any(inverted) {
            return false;
        }
        let by_number = |tensor: &u32| *tensor as usize;
        if !self.trace.parents.is_empty() {
            self.trace.parents.resize(tensors.len(), NO_PARENT);
            let parent = |tensor: usize| match self.trace.parents[tensor] {
                NO_PARENT => NO_PARENT,
                parent => numbers[parent as usize],
            };
            self.trace.parents = order.iter().map(by_number).map(parent).collect();
        }
        if !self.sizes.is_empty() {
            let size = |tensor: usize| self.sizes.get(tensor).copied().unwrap_or(self.trace.tensors[tensor].bytes);
            self.sizes = order.iter().map(by_number).map(size).collect();
        }
        self.used = order.iter().map(by_number).map(|tensor| self.used[tensor]).collect();
        self.trace.tensors = order.iter().map(by_number).map(|tensor| self.trace.tensors[tensor].clone()).collect();
        self.accesses.iter_mut().for_each(|tensor| *tensor = numbers[*tensor as usize]);
        true
    }

    /// The tensor at `index`, to amend what a later record tells of it.
    pub fn tensor_mut(&mut self, index: u32) -> &mut Tensor {
        &mut self.trace.tensors[index as usize]
    }

    /// Appends a read of `tensor` by `op`.
    pub fn access(&mut self, tensor: u32, op: Op) -> Result<(), Error> {
        self.access_with(tensor, op, Mode::Read, 0.0)
    }

    /// Appends a use of `tensor` by `op`, for which `flops` floating-point operations wait.
    pub fn access_with(&mut self, tensor: u32, op: Op, mode: Mode, flops: f64) -> Result<(), Error> {
        let now = self.accesses.len();
        self.used[tensor as usize] = true;
        self.accesses.push(tensor);
        if self.sink.is_some() {
            return if self.accesses.len() < PIECE { Ok(()) } else { self.hand_over() };
        }
        if now >= MAX_ACCESSES {
            return Err(too_many_accesses());
        }
        // Most traces only read, and many know nothing of the work: such columns are not kept.
        if op != Op::Request || !self.trace.ops.is_empty() {
            self.trace.ops.resize(now, Op::Request);
            self.trace.ops.push(op);
        }
        if mode != Mode::Read || !self.trace.modes.is_empty() {
            self.trace.modes.resize(now, Mode::Read);
            self.trace.modes.push(mode);
        }
        if flops > 0.0 || !self.trace.flops.is_empty() {
            self.trace.flops.resize(now, 0.0);
            self.trace.flops.push(flops as f32);
        }
        Ok(())
    }

    /// `tensor` has `bytes` from the next access on, which must be to it. Before its first use, the table changes.
    pub fn resize(&mut self, tensor: u32, bytes: u64) -> Result<(), Error> {
        let index = tensor as usize;
        let known = self.sizes.get(index).copied().unwrap_or(self.trace.tensors[index].bytes);
        if known == bytes {
            return Ok(());
        }
        if !self.used[index] {
            self.trace.tensors[index].bytes = bytes;
            return Ok(());
        }
        for tensor in &self.trace.tensors[self.sizes.len()..] {
            self.sizes.push(tensor.bytes);
        }
        self.sizes[index] = bytes;
        self.trace.resizes.push(Resize { at: self.len() as u64, bytes });
        Ok(())
    }

    /// Appends a request for each of `tensors`, which have no other operations beside them. `resizes` are all changes
    /// of their sizes.
    pub fn requests(&mut self, tensors: &[u32], resizes: &[Resize]) -> Result<(), Error> {
        self.trace.resizes.extend_from_slice(resizes);
        if !self.trace.ops.is_empty() || !self.trace.modes.is_empty() || !self.trace.flops.is_empty() {
            return tensors.iter().try_for_each(|tensor| self.access(*tensor, Op::Request));
        }
        if tensors.len() > MAX_ACCESSES - self.accesses.len() {
            return Err(too_many_accesses());
        }
        tensors.iter().for_each(|tensor| self.used[*tensor as usize] = true);
        self.accesses.extend_from_slice(tensors);
        Ok(())
    }

    /// Names the point before the next access.
    pub fn mark(&mut self, label: impl Into<String>) {
        self.trace.marks.push(Mark { at: self.len() as u64, label: label.into() });
    }

    /// Says where tokens are decoded.
    pub fn decodes(&mut self, decoding: Decoding) {
        self.trace.decoding = Some(decoding);
    }

    /// For each access, the number of the first one for which what it brings in is too old.
    pub fn expires(&mut self, deadlines: Vec<u32>) {
        self.trace.deadlines = deadlines;
    }

    /// Records something the reader should know.
    pub fn warn(&mut self, warning: impl Into<String>) {
        self.trace.warnings.push(warning.into());
    }

    /// What the reader should know so far.
    pub fn warnings(&self) -> &[String] {
        &self.trace.warnings
    }

    /// Records what the operators load at least.
    pub fn moves_at_least(&mut self, bytes: u64) {
        self.trace.least_bytes = bytes;
    }

    /// Records that the accesses had times other than their order.
    pub fn timed(&mut self) {
        self.trace.timed = true;
    }

    /// Number of tensors so far.
    pub fn tensors(&self) -> usize {
        self.trace.tensors.len()
    }

    /// Number of accesses so far.
    pub fn len(&self) -> usize {
        self.handed + self.accesses.len()
    }

    /// Whether there is no access yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn check(&self, input: &str) -> Result<(), Error> {
        if self.is_empty() {
            return Err(Error::input(input, Place::Whole, "the trace has no accesses", "Give at least one record"));
        }
        match self.used.iter().position(|used| !used) {
            Some(unused) => Err(Error::Internal(format!("tensor {} is never used", self.trace.tensors[unused].name))),
            None => Ok(()),
        }
    }

    /// Hands the last accesses to the sink; the tensors, and what their reader should know. `input` is named in the errors.
    pub fn finish_handing(mut self, input: &str) -> Result<(Vec<Tensor>, Vec<String>), Error> {
        self.check(input)?;
        self.hand_over()?;
        if !self.trace.resizes.is_empty() {
            return Err(Error::Internal("sizes change in a trace that is not held".into()));
        }
        Ok((self.trace.tensors, self.trace.warnings))
    }

    /// Checks and returns the trace; `input` is named in the errors.
    pub fn finish(mut self, input: &str) -> Result<Trace, Error> {
        self.check(input)?;
        self.accesses.shrink_to_fit();
        self.trace.accesses = Arc::new(self.accesses);
        let total = self.trace.sized().try_fold(0u64, |sum, (_, bytes)| sum.checked_add(bytes));
        self.trace.requested_bytes = total.ok_or_else(|| {
            Error::input(
                input,
                Place::Whole,
                "the sizes of all accesses add up to more than 2^64 - 1 bytes",
                "Check the unit of the sizes: they are read as bytes (or MB in the prototype's records)",
            )
        })?;
        // Cannot overflow: every tensor has its largest size at some access.
        self.trace.unique_bytes = self.trace.largest_sizes().iter().sum();
        if !self.trace.parents.is_empty() {
            self.trace.parents.resize(self.trace.tensors.len(), NO_PARENT);
        }
        self.trace.tensors.shrink_to_fit();
        self.trace.resizes.shrink_to_fit();
        self.trace.ops.shrink_to_fit();
        self.trace.modes.shrink_to_fit();
        self.trace.flops.shrink_to_fit();
        Ok(self.trace)
    }
}

/// Traces by hand, for tests.
#[doc(hidden)]
#[allow(clippy::unwrap_used, reason = "a test that cannot make its trace fails")]
pub mod testing {
    use super::*;

    /// A trace of tensors `0..sizes.len()` in the given order; tensors never used are left out.
    pub fn trace(sizes: &[u64], order: &[u32]) -> Trace {
        let mut builder = TraceBuilder::new("");
        let mut index = vec![None; sizes.len()];
        for &t in order {
            let at = *index[t as usize].get_or_insert_with(|| {
                builder
                    .tensor(Tensor {
                        name: t.to_string(),
                        bytes: sizes[t as usize],
                        layer: None,
                        stride: 1,
                        kind: Kind::Object,
                    })
                    .unwrap()
            });
            builder.access(at, Op::Request).unwrap();
        }
        builder.finish("test").unwrap()
    }

    /// A trace that uses tensors of these names, sizes, layers and kinds once each.
    pub fn named(tensors: &[(&str, u64, Option<u32>, Kind)]) -> Trace {
        let mut builder = TraceBuilder::new("");
        for &(name, bytes, layer, kind) in tensors {
            let at = builder.tensor(Tensor { name: name.into(), bytes, layer, stride: 1, kind }).unwrap();
            builder.access(at, Op::Request).unwrap();
        }
        builder.finish("test").unwrap()
    }

    /// The same trace, in which what each access brings in is too old from the access with this number on.
    pub fn expiring(trace: Trace, deadlines: &[u32]) -> Trace {
        Trace { deadlines: deadlines.to_vec(), ..trace }
    }

    /// A trace of `uses`: tensor and size of each access. Where it is `steady`, the first size of a tensor counts.
    pub fn sized(uses: &[(u32, u64)], steady: bool) -> Trace {
        tree(uses, steady, &[])
    }

    /// The same, where a tensor `t` continues tensor `parents[t]` if that is used before it.
    pub fn tree(uses: &[(u32, u64)], steady: bool, parents: &[u32]) -> Trace {
        let mut builder = TraceBuilder::new("");
        let mut index = std::collections::BTreeMap::new();
        for &(t, bytes) in uses {
            let parent = parents.get(t as usize).and_then(|parent| index.get(parent)).copied();
            let at = *index.entry(t).or_insert_with(|| {
                let name = t.to_string();
                let at = builder.tensor(Tensor { name, bytes, layer: None, stride: 1, kind: Kind::Object }).unwrap();
                parent.into_iter().for_each(|parent| builder.continues(at, parent).unwrap());
                at
            });
            if !steady {
                builder.resize(at, bytes).unwrap();
            }
            builder.access(at, Op::Request).unwrap();
        }
        builder.finish("test").unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes belong to accesses: what is requested is their sum, and what is distinct counts at its largest.
    #[test]
    fn sizes_belong_to_accesses() {
        let uses = [(0, 10), (1, 10), (0, 10), (1, 10), (0, 1000), (1, 10), (0, 7), (0, 7)];
        let trace = testing::sized(&uses, false);
        assert_eq!(trace.sizes(), [10, 10]);
        assert_eq!(trace.largest_sizes(), [1000, 10]);
        assert_eq!(trace.resizes(), [Resize { at: 4, bytes: 1000 }, Resize { at: 6, bytes: 7 }]);
        assert_eq!(trace.sized().collect::<Vec<_>>(), uses);
        assert_eq!(trace.chunk(4, 6).resizes, [Resize { at: 4, bytes: 1000 }]);
        let Summary { requested_bytes, unique_bytes, .. } = trace.summary();
        assert_eq!((requested_bytes, unique_bytes), (1064, 1010));
        assert_eq!(testing::sized(&uses, true).resizes(), []);
    }

    #[test]
    fn an_empty_trace_is_refused() {
        let error = TraceBuilder::new("").finish("x.csv").unwrap_err();
        assert_eq!(error.to_string(), "x.csv, whole input: the trace has no accesses. Give at least one record");
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let mut builder = TraceBuilder::new("");
        let big = Tensor { name: "a".into(), bytes: u64::MAX, layer: None, stride: 1, kind: Kind::Object };
        let a = builder.tensor(big).unwrap();
        builder.access(a, Op::Request).unwrap();
        builder.access(a, Op::Request).unwrap();
        assert!(builder.finish("x").unwrap_err().to_string().contains("2^64"));
    }

    #[test]
    fn op_names_round_trip() {
        for op in Op::ALL {
            assert_eq!(Op::from_name(op.name()), Ok(op));
            assert_eq!(serde_json::to_string(&op).unwrap(), format!("\"{}\"", op.name()));
        }
    }
}
