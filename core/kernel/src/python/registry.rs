//! The functions of Python that are read: one row each, with its names, what reads it and how it is called.
//!
//! Functions that work element by element are rows of [`functions`], which C shares; the others are rows here. Reading
//! a call, inferring shapes from calls, and the suggestions of errors look here and nowhere else.

use ruff_python_ast::{StmtClassDef, StmtFunctionDef};

use super::library::{self, Entry};
use crate::functions::{self, Function};
use crate::nest::{Element, Flops};

/// What reads a function, and with it how it is costed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Read {
    /// A pass over its operands at the cost of the function, or that cost once for numbers.
    Elementwise(&'static Function),
    /// A pass with a minimum or maximum for each bound that is given.
    Clip,
    /// A pass at the cost that the exponent has: products, a root, or a special function.
    Power,
    /// A pass that takes one of two elements: no FLOPs.
    Where,
    /// Of several numbers, a minimum or maximum for each but one; of an array, a reduction.
    Extreme {
        /// Whether it is the largest.
        largest: bool,
    },
    /// A reduction at that cost for each element.
    Reduction(Flops),
    /// A running reduction at that cost for each element.
    Running(Flops),
    /// A sum, and a quotient for each result.
    Mean,
    /// A function of the library, which says what it is made of.
    Library(&'static StmtFunctionDef),
    /// A module of the library.
    Class(&'static StmtClassDef),
    /// What Python itself has, or JAX makes of functions.
    Own(Own),
    /// Sums of products: in a library, or in loops.
    Product(Product),
    /// A new array.
    Make(Make),
    /// Elements copied, or seen in another way.
    Move(Move),
    /// A number as another type of number; of an array, a copy.
    Number,
    /// The first extent: nothing is done.
    Length,
    /// How many elements there are, or how long an axis is: nothing is done.
    Size,
    /// How far elements along an axis lie apart: nothing is done.
    Stride,
    /// How many axes there are: nothing is done.
    Rank,
    /// Nothing is done: it is left out.
    LeftOut,
}

/// Products of matrices, sums over letters, convolutions: `2 m n k` FLOPs, as [`crate::nest::Library`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Product {
    /// A product of matrices in a library, or of vectors in a loop.
    MatMul,
    /// A sum of products in one pass.
    VectorDot,
    /// A product over the last axes.
    Inner,
    /// A product over the axes given.
    TensorDot,
    /// A product of each element with each: one multiplication each.
    Outer,
    /// A product with a transposed matrix, and a bias.
    Linear,
    /// A sum over letters.
    EinSum,
    /// A convolution of rows, and what it keeps where nobody says.
    Convolve(Mode),
    /// A convolution of matrices.
    Convolve2d,
    /// A convolution of images with channels, along so many axes.
    Convolution(usize),
    /// The gradient of one: images grow.
    Transposed(usize),
    /// A product along axes that `dimension_numbers` names, as JAX has it.
    DotGeneral,
    /// Scores, softmax and a weighted sum in one pass.
    Attention,
}

/// Python's own functions, those that take functions, and what the library is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    /// `hasattr`
    HasAttr,
    /// `getattr`
    GetAttr,
    /// `setattr`
    SetAttr,
    /// `isinstance`
    IsInstance,
    /// `tuple`, `list`, `nn.ModuleList`: a list of values.
    List,
    /// `dict`, `nn.ModuleDict`: values by name.
    Dict,
    /// `map`: what a function makes of each item.
    Each,
    /// `x.is_integer()`
    IsInteger,
    /// `callable(x)`
    IsFunction,
    /// Its argument, as it is.
    Same,
    /// `jax.jit`, `torch.compile`: its argument, which is compiled as a whole.
    Compile,
    /// `einops.rearrange`, `reduce`; `repeat` where it has a pattern
    Einops,
    /// `functools.partial`
    Partial,
    /// `jax.vmap`
    Map,
    /// `jax.lax.scan`
    Scan,
    /// The last axis where none is given.
    Last,
    /// As many of the last axes as a shape has.
    LastAxes,
    /// A row as long as an axis of an array.
    SameExtent,
    /// Indices with as many axes as an array.
    SameRank,
    /// Whether operations are done in one pass.
    Fuses,
    /// The layers of `nn.Sequential`, by number or name.
    Layers,
}

/// What a convolution keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// All sums.
    Full,
    /// As many as the first operand has elements.
    Same,
    /// Those that need no zeros beyond the edges.
    Valid,
}

/// New arrays: a store for each element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Make {
    /// Zeros or ones.
    Filled,
    /// Without any store.
    Empty,
    /// Filled with the number given.
    Full,
    /// A square matrix.
    Eye,
    /// A row of numbers by steps.
    Arange,
    /// A row of numbers, as many as it says.
    Linspace,
    /// Of another array's shape.
    Like {
        /// Whether its elements are stored.
        filled: bool,
    },
    /// Random numbers: only the stores are counted.
    Random {
        /// Whether positional arguments are the shape.
        shaped: bool,
        /// Whether they are integers.
        integers: bool,
    },
    /// Made of lists of numbers; of an array, itself, or a copy.
    Array {
        /// Whether an array is copied.
        copies: bool,
    },
}

/// Copies of arrays (a load and a store for each element), and other ways to see their elements (nothing is done).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// A copy.
    Copy,
    /// A copy as another type: that which the call asks for, where the function has none.
    Cast(Option<Element>),
    /// A copy into another array.
    CopyTo,
    /// A store of a number in each element.
    Fill,
    /// A copy of a triangle, counted as one of the whole.
    Triangle,
    /// Copies of several arrays into one.
    Join(Join),
    /// Two copies: of the end and of the rest.
    Roll,
    /// A filled array and a copy into its middle.
    Pad,
    /// The same elements in one row.
    Ravel,
    /// The same elements in another shape.
    Reshape,
    /// Axes in another order.
    Transpose {
        /// Whether two numbers are axes to swap, as PyTorch has it.
        swaps: bool,
    },
    /// Two axes swapped.
    AxesSwapped,
    /// An axis moved.
    AxisMoved,
    /// A new axis.
    ExpandDims,
    /// Without axes of extent 1.
    Squeeze,
    /// Repeated along new axes.
    Broadcast,
    /// Backwards.
    Flip,
    /// The diagonal.
    Diagonal,
    /// The sum of the diagonal: an addition for each of its elements.
    Trace,
    /// Parts along an axis.
    Split,
    /// Windows of images.
    Windows,
    /// Images of another size: the nearest elements.
    Resampled,
    /// Repeated along axes.
    Tiled,
    /// Rows that indices choose, copied.
    TakeRows,
    /// An element along an axis for each index.
    Pick,
    /// The same, stored to.
    Put,
    /// The largest along an axis, and where they are.
    Chosen,
    /// Along an axis in order.
    Ordered,
}

/// How arrays are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    /// Along an axis that they have.
    Along,
    /// Along a new axis.
    Stack,
    /// As rows.
    Rows,
    /// As columns.
    Columns,
}

/// A function that is read.
#[derive(Debug)]
pub(super) struct Row {
    /// Its names, without that of the module.
    names: &'static [&'static str],
    /// What reads it.
    read: Read,
    /// A call of it, with `{}` for its name and matrices `x` and `y`.
    #[cfg_attr(not(test), expect(dead_code, reason = "shows how the function is called, and tests call it so"))]
    example: &'static str,
}

const fn row(names: &'static [&'static str], read: Read, example: &'static str) -> Row {
    Row { names, read, example }
}

/// All but those that work element by element.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(&["power", "pow"], Read::Power, "np.{}(x, 2)"),
    row(&["clip", "clamp"], Read::Clip, "np.{}(x, 0.0, 1.0)"),
    row(&["where"], Read::Where, "np.{}(x > y, x, y)"),
    // Reductions.
    row(&["max"], Read::Extreme { largest: true }, "np.{}(x)"),
    row(&["min"], Read::Extreme { largest: false }, "np.{}(x)"),
    row(&["amax", "amin"], Read::Reduction(Flops::MIN_MAX), "np.{}(x, axis=0)"),
    row(&["sum", "nansum"], Read::Reduction(Flops::ADD), "np.{}(x, axis=0)"),
    row(&["prod"], Read::Reduction(Flops::MUL), "np.{}(x, axis=0)"),
    row(&["argmax", "argmin", "any", "all"], Read::Reduction(Flops::NONE), "np.{}(x, axis=0)"),
    row(&["mean", "average", "nanmean"], Read::Mean, "np.{}(x, axis=0)"),
    row(&["cumsum"], Read::Running(Flops::ADD), "np.{}(x, axis=0)"),
    row(&["cumprod"], Read::Running(Flops::MUL), "np.{}(x, axis=0)"),
    // Products.
    row(&["matmul", "mm", "dot"], Read::Product(Product::MatMul), "np.{}(x, y)"),
    row(&["bmm"], Read::Product(Product::MatMul), "torch.{}(x[None], y[None])"),
    row(&["mv"], Read::Product(Product::MatMul), "torch.{}(x, y[0])"),
    row(&["vdot"], Read::Product(Product::VectorDot), "np.{}(x[0], y[0])"),
    row(&["inner"], Read::Product(Product::Inner), "np.{}(x, y)"),
    row(&["tensordot"], Read::Product(Product::TensorDot), "np.{}(x, y, 1)"),
    row(&["outer"], Read::Product(Product::Outer), "np.{}(x[0], y[0])"),
    row(&["linear"], Read::Product(Product::Linear), "F.{}(x, y)"),
    row(&["einsum"], Read::Product(Product::EinSum), "np.{}('ij,jk->ik', x, y)"),
    row(&["convolve"], Read::Product(Product::Convolve(Mode::Full)), "np.{}(x[0], y[0])"),
    row(&["correlate"], Read::Product(Product::Convolve(Mode::Valid)), "np.{}(x[0], y[0])"),
    row(&["convolve2d", "correlate2d"], Read::Product(Product::Convolve2d), "signal.{}(x, y)"),
    row(&["conv1d"], Read::Product(Product::Convolution(1)), "F.{}(x[None], y[None])"),
    row(&["conv2d"], Read::Product(Product::Convolution(2)), "F.{}(x[None, None], y[None, None])"),
    row(&["conv3d"], Read::Product(Product::Convolution(3)), "F.{}(x[None, None, None], y[None, None, None])"),
    row(&["conv_transpose1d"], Read::Product(Product::Transposed(1)), "F.{}(x[None], y[:, None])"),
    row(&["conv_transpose2d"], Read::Product(Product::Transposed(2)), "F.{}(x[None, None], y[None, None])"),
    row(&["dot_general"], Read::Product(Product::DotGeneral), "lax.{}(x, y, (((1,), (0,)), ((), ())))"),
    row(&["_flash_attention"], Read::Product(Product::Attention), "{}(x[None, None], x[None, None], y[None, None], None, False)"),
    // New arrays.
    row(&["zeros", "ones"], Read::Make(Make::Filled), "np.{}((3, 4))"),
    row(&["empty"], Read::Make(Make::Empty), "np.{}((3, 4))"),
    row(&["full"], Read::Make(Make::Full), "np.{}((3, 4), 0.5)"),
    row(&["eye", "identity"], Read::Make(Make::Eye), "np.{}(4)"),
    row(&["arange"], Read::Make(Make::Arange), "np.{}(1, 9, 2)"),
    row(&["linspace"], Read::Make(Make::Linspace), "np.{}(0.0, 1.0, 5)"),
    row(&["zeros_like", "ones_like", "full_like"], Read::Make(Make::Like { filled: true }), "np.{}(x)"),
    row(&["empty_like"], Read::Make(Make::Like { filled: false }), "np.{}(x)"),
    row(&["rand", "randn"], Read::Make(Make::Random { shaped: true, integers: false }), "np.random.{}(3, 4)"),
    row(&["random", "random_sample", "standard_normal"], Read::Make(Make::Random { shaped: true, integers: false }), "np.random.{}((3, 4))"),
    row(&["normal", "uniform"], Read::Make(Make::Random { shaped: false, integers: false }), "np.random.{}(size=(3, 4))"),
    row(&["randint"], Read::Make(Make::Random { shaped: false, integers: true }), "np.random.{}(9, size=4)"),
    row(&["array"], Read::Make(Make::Array { copies: true }), "np.{}([[1.0, 2.0], [3.0, 4.0]])"),
    row(&["asarray", "asanyarray", "ascontiguousarray", "tensor"], Read::Make(Make::Array { copies: false }), "np.{}([1.0, 2.0])"),
    row(&["contiguous", "detach"], Read::Make(Make::Array { copies: false }), "x.{}()"),
    // Copies.
    row(&["copy", "clone"], Read::Move(Move::Copy), "x.{}()"),
    row(&["astype", "to", "type"], Read::Move(Move::Cast(None)), "x.{}(np.float64)"),
    row(&["type_as"], Read::Move(Move::Cast(None)), "x.{}(y)"),
    row(&["bfloat16"], Read::Move(Move::Cast(Some(Element::Bf16))), "x.{}()"),
    row(&["half"], Read::Move(Move::Cast(Some(Element::F16))), "x.{}()"),
    row(&["double"], Read::Move(Move::Cast(Some(Element::F64))), "x.{}()"),
    row(&["copyto"], Read::Move(Move::CopyTo), "np.{}(x, y)"),
    row(&["fill", "fill_", "uniform_", "normal_", "bernoulli_", "exponential_"], Read::Move(Move::Fill), "x.{}(0.0)"),
    row(&["zero_"], Read::Move(Move::Fill), "x.{}()"),
    row(&["triu", "tril"], Read::Move(Move::Triangle), "np.{}(x)"),
    row(&["concatenate", "cat"], Read::Move(Move::Join(Join::Along)), "np.{}([x, y])"),
    row(&["stack"], Read::Move(Move::Join(Join::Stack)), "np.{}([x, y])"),
    row(&["vstack"], Read::Move(Move::Join(Join::Rows)), "np.{}([x, y])"),
    row(&["hstack"], Read::Move(Move::Join(Join::Columns)), "np.{}([x, y])"),
    row(&["roll"], Read::Move(Move::Roll), "np.{}(x, 1, axis=0)"),
    row(&["pad"], Read::Move(Move::Pad), "np.{}(x, 1)"),
    // The same elements, seen in another way.
    row(&["ravel"], Read::Move(Move::Ravel), "x.{}()"),
    row(&["reshape", "view"], Read::Move(Move::Reshape), "x.{}(2, 8)"),
    row(&["transpose"], Read::Move(Move::Transpose { swaps: true }), "np.{}(x)"),
    row(&["permute"], Read::Move(Move::Transpose { swaps: false }), "x.{}(1, 0)"),
    row(&["t"], Read::Move(Move::Transpose { swaps: false }), "x.{}()"),
    row(&["swapaxes", "swapdims"], Read::Move(Move::AxesSwapped), "np.{}(x, 0, 1)"),
    row(&["moveaxis", "movedim"], Read::Move(Move::AxisMoved), "np.{}(x, 0, 1)"),
    row(&["expand_dims", "unsqueeze"], Read::Move(Move::ExpandDims), "np.{}(x, 0)"),
    row(&["squeeze"], Read::Move(Move::Squeeze), "np.{}(x)"),
    row(&["broadcast_to"], Read::Move(Move::Broadcast), "np.{}(x, (2, 4, 4))"),
    row(&["expand"], Read::Move(Move::Broadcast), "x.{}(2, 4, 4)"),
    row(&["flip"], Read::Move(Move::Flip), "np.{}(x, 0)"),
    row(&["diag", "diagonal"], Read::Move(Move::Diagonal), "np.{}(x)"),
    row(&["trace"], Read::Move(Move::Trace), "np.{}(x)"),
    row(&["split", "hsplit", "vsplit"], Read::Move(Move::Split), "torch.{}(x, 2)"),
    row(&["_windows"], Read::Move(Move::Windows), "{}(x, (2, 2), (1, 1), (0, 0), (1, 1), False)"),
    row(&["_resampled"], Read::Move(Move::Resampled), "{}(x, (8, 8))"),
    row(&["_tiled"], Read::Move(Move::Tiled), "{}(x, (2, 1))"),
    row(&["_take_rows"], Read::Move(Move::TakeRows), "{}(x, x > y)"),
    row(&["_picked_along"], Read::Move(Move::Pick), "{}(x, 1, x > y)"),
    row(&["_put_along"], Read::Move(Move::Put), "{}(x, 1, x > y, y, True)"),
    row(&["_chosen"], Read::Move(Move::Chosen), "{}(x, 2, -1)"),
    row(&["_ordered"], Read::Move(Move::Ordered), "{}(x, -1)"),
    // Numbers.
    row(&["len"], Read::Length, "{}(x)"),
    row(&["numel", "size"], Read::Size, "x.{}()"),
    row(&["stride"], Read::Stride, "x.{}(0)"),
    row(&["dim", "ndim"], Read::Rank, "x.{}()"),
    row(&["float", "int", "bool", "long"], Read::Number, "{}(x[0, 0])"),
    row(&["item", "tolist"], Read::Number, "x[0, 0].{}()"),
    row(&["float64", "float32", "int64", "int32"], Read::Number, "np.{}(x[0, 0])"),
    row(&["print", "_assert", "set_printoptions", "manual_seed", "synchronize", "backward", "clip_grad_norm_", "seed"], Read::LeftOut, "{}(x)"),
    // Python's own.
    row(&["hasattr"], Read::Own(Own::HasAttr), "{}(F, 'relu')"),
    row(&["getattr"], Read::Own(Own::GetAttr), "{}(F, 'relu', None)"),
    row(&["setattr"], Read::Own(Own::SetAttr), "{}(nn.ReLU(), 'p', 1)"),
    row(&["isinstance"], Read::Own(Own::IsInstance), "{}(x, tuple)"),
    row(&["tuple", "list", "ModuleList", "ParameterList"], Read::Own(Own::List), "{}([x, y])"),
    row(&["dict", "ModuleDict", "ParameterDict", "OrderedDict"], Read::Own(Own::Dict), "{}()"),
    row(&["Parameter", "Buffer", "stop_gradient", "checkpoint_name", "device_put", "device", "cuda", "cpu", "requires_grad_", "remat", "checkpoint", "script", "pin_memory", "share_memory_", "retain_grad", "block_until_ready"], Read::Own(Own::Same), "{}(x)"),
    row(&["jit", "pjit", "filter_jit", "compile"], Read::Own(Own::Compile), "{}(x)"),
    row(&["map"], Read::Own(Own::Each), "{}(np.exp, [x, y])"),
    row(&["is_integer"], Read::Own(Own::IsInteger), "np.log2(8.0).{}()"),
    row(&["isfunction", "callable"], Read::Own(Own::IsFunction), "{}(np.exp)"),
    row(&["partial"], Read::Own(Own::Partial), "{}(np.exp)"),
    row(&["rearrange"], Read::Own(Own::Einops), "{}(x, 'a b -> b a')"),
    row(&["reduce"], Read::Own(Own::Einops), "{}(x, 'a b -> a', 'max')"),
    // What JAX makes of functions.
    row(&["vmap", "pmap"], Read::Own(Own::Map), "jax.{}(np.exp)"),
    row(&["scan"], Read::Own(Own::Scan), "lax.{}(lambda c, r: (c + r, c), x[0], x)"),
    // What the library is written with.
    row(&["_last"], Read::Own(Own::Last), "{}(None)"),
    row(&["_last_axes"], Read::Own(Own::LastAxes), "{}(x, (4,))"),
    row(&["_same_extent"], Read::Own(Own::SameExtent), "{}(x[0], x, 1)"),
    row(&["_same_rank"], Read::Own(Own::SameRank), "{}(x, y)"),
    row(&["_fuses"], Read::Own(Own::Fuses), "{}()"),
    row(&["_named_modules_of"], Read::Own(Own::Layers), "{}(nn.ReLU(), ())"),
];

/// What reads the function of that name, whatever module it is of.
pub(super) fn find(name: &str) -> Option<Read> {
    let own = ROWS.iter().find(|row| row.names.contains(&name)).map(|row| row.read);
    own.or_else(|| functions::of_python(name).map(Read::Elementwise)).or_else(|| {
        match library::entries().get(name)? {
            Entry::Function(function) => Some(Read::Library(function)),
            Entry::Class(class) => Some(Read::Class(class)),
        }
    })
}

/// A name of the registry as it stands there.
pub(super) fn find_name(name: &str) -> Option<&'static str> {
    names().find(|own| *own == name)
}

/// Whether two names of parameters mean the same: NumPy's and PyTorch's.
pub(super) fn same_parameter(a: &str, b: &str) -> bool {
    const NAMES: [&[&str]; 9] = [
        &["axis", "dim", "axes", "dims"],
        &["keepdims", "keepdim"],
        &["x", "input", "a", "self", "tensor", "arr", "ary"],
        &["y", "other", "b", "target"],
        &["mean", "running_mean"],
        &["src", "source", "value", "values"],
        &["indices", "index"],
        &["ord", "p"],
        &["sizes", "reps", "repeats"],
    ];
    NAMES.iter().any(|names| names.contains(&a) && names.contains(&b))
}

/// Whether a parameter says nothing that has a cost: where an array lies, whether it has a gradient.
pub(super) fn changes_no_cost(name: &str) -> bool {
    const NAMES: [&str; 16] = [
        "out",
        "device",
        "requires_grad",
        "inplace",
        "generator",
        "memory_format",
        "non_blocking",
        "name",
        "precision",
        "preferred_element_type",
        "dtype",
        "approximate",
        "eps",
        "layout",
        "pin_memory",
        "mode",
    ];
    NAMES.contains(&name)
}

/// The names of all functions that are read.
fn names() -> impl Iterator<Item = &'static str> {
    let shared = functions::FUNCTIONS.iter().map(|function| function.python);
    ROWS.iter()
        .map(|row| row.names)
        .chain(shared)
        .flatten()
        .copied()
        .chain(library::entries().keys().copied())
        .filter(|name| !name.starts_with('_'))
}

/// The names nearest to one that is not read, at most five.
pub(super) fn nearest(name: &str) -> Vec<&'static str> {
    nearest_of(name, names())
}

/// The nearest of some names, at most five.
pub(crate) fn nearest_of<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut near: Vec<(usize, &str)> = names.map(|other| (distance(name, other), other)).collect();
    near.sort_unstable();
    near.into_iter().take(5).map(|(_, name)| name).collect()
}

/// How many letters must change to make one name of the other (Levenshtein's distance).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().take(40).enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let next = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            (diagonal, left) = (*cell, next);
            *cell = next;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::python::read;
    use crate::source::{Fusion, Shape, Source};

    /// Reads a call with matrices `x` and `y`.
    fn called(call: &str) -> Result<(), String> {
        let code = format!("def f(x, y):\n    return {call}\n");
        let shapes = ["x: f32[4, 4]", "y: f32[4, 4]"].map(|shape| Shape::parse(shape).unwrap());
        let source = Source {
            code: &code,
            function: None,
            defines: &BTreeMap::new(),
            shapes: &shapes,
            element: Element::F32,
            probability: 0.5,
            fusion: Fusion::None,
            backward: false,
        };
        read(&source).map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_function_in_the_registry_is_read() {
        let own = ROWS.iter().map(|row| (row.names, row.example));
        let shared = functions::FUNCTIONS.iter().map(|function| {
            let example = ["np.{}(x)", "np.{}(x, y)", "np.{}(x, y, 1.0)"][function.operands - 1];
            (function.python, example)
        });
        let mut wrong = Vec::new();
        for (names, example) in own.chain(shared) {
            for name in names.iter().filter(|name| !name.starts_with('_')) {
                let call = example.replace("{}", name);
                assert!(example.contains("{}") && find(name).is_some(), "{name}");
                wrong.extend(called(&call).err().map(|error| format!("{call}: {error}")));
            }
        }
        for (name, entry) in library::entries().iter().filter(|(name, _)| !name.starts_with('_')) {
            let (body, call) = match entry {
                Entry::Function(function) => (&function.body, ""),
                Entry::Class(class) => (&class.body, "made = "),
            };
            let text = body.first().and_then(|stmt| stmt.as_expr_stmt()?.value.as_string_literal_expr());
            let Some(text) = text else { continue };
            let call = format!("{call}{}", text.value.to_str().replace("{}", name));
            let call = call.trim_start_matches("made = ");
            wrong.extend(called(call).err().map(|error| format!("{call}: {error}")));
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_name_stands_in_one_row() {
        assert_eq!(names().collect::<BTreeSet<_>>().len(), names().count());
    }

    #[test]
    fn what_errors_suggest_is_read() {
        for name in ["repeats", "tiles", "sofmax", "argsor", "fft", "x", "relu7", "matmull"] {
            let error = called(&format!("np.{name}(x)")).unwrap_err();
            let (_, suggested) = error.split_once("nearest to it are ").unwrap();
            let suggested: Vec<&str> = suggested.split_once(';').unwrap().0.split(", ").collect();
            assert!(suggested.len() == 5 && suggested.iter().all(|other| find(other).is_some()), "{error}");
            assert!(!suggested.contains(&name), "{error}");
        }
        assert_eq!(nearest("sofmax")[0], "softmax");
    }

    #[test]
    fn what_messages_name_is_read() {
        // `np.name(`, as the cures of errors write it.
        let sources = [
            include_str!("args.rs"),
            include_str!("array.rs"),
            include_str!("branch.rs"),
            include_str!("calls.rs"),
            include_str!("condition.rs"),
            include_str!("convolution.rs"),
            include_str!("making.rs"),
            include_str!("moving.rs"),
            include_str!("products.rs"),
        ];
        let calls = sources.iter().flat_map(|source| source.split("`np.").skip(1));
        // `np.f(x)` stands for any call.
        let names = calls.filter_map(|call| call.split_once('(')).map(|(name, _)| name).filter(|name| *name != "f");
        let names: BTreeSet<&str> =
            names.filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_')).collect();
        assert!(names.len() > 5 && names.iter().all(|name| find(name).is_some()), "{names:?}");
    }
}
