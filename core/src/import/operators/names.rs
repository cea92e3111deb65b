//! What the names of operators say: which move no data, which only look at shapes, and the operation of each.

use crate::trace::Op;

/// Calls that return a view of their first argument, without the namespace. Schemas say this themselves; the
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
pub(in crate::import) fn annotates(name: &str) -> bool {
    let known = ["[pytorch|", "autograd::engine::", "torch::autograd::", "## ", "ProfilerStep", "Optimizer."];
    known.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the name is one that the autograd engine gives to the gradient of an operator (`AddmmBackward0`).
pub(in crate::import) fn is_gradient(name: &str) -> bool {
    !name.contains("::") && name.trim_end_matches(|c: char| c.is_ascii_digit()).ends_with("Backward")
}

/// What a call of the name does, without its namespace and overload.
pub(in crate::import) fn base(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

/// Whether the call moves no data, by its name alone.
pub(in crate::import) fn moves_no_data(name: &str) -> bool {
    VIEWS.contains(&base(name)) || NO_DATA.contains(&base(name))
}

/// The operation that a call of the name stands for.
pub(in crate::import) fn operation(name: &str) -> Op {
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

/// The first bytes of a string, whole characters.
pub(in crate::import) fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// Where in a training step a call belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
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

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Optimizer => "optimizer step",
        }
    }
}

/// What a name says.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) view: bool,
    pub(super) no_data: bool,
    pub(super) replaces: bool,
    pub(super) shapes_only: bool,
    pub(super) looks_up: bool,
    pub(super) in_place: bool,
    pub(super) phase: Option<Phase>,
}

impl Name {
    pub(super) fn new(name: &str) -> Self {
        let base = base(name);
        Self {
            text: name.to_owned(),
            view: VIEWS.contains(&base),
            no_data: NO_DATA.contains(&base),
            replaces: REPLACE.contains(&base),
            shapes_only: takes_shapes(base),
            looks_up: LOOK_UPS.contains(&base),
            in_place: base.ends_with('_') && !base.ends_with("__"),
            phase: Phase::of(name),
        }
    }
}
