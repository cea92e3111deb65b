//! Shapes of what operators make that have a rule of their own: those that exporters of opsets 7 to 22 write beside
//! products, convolutions and what works element by element. Each rule is that of the operator's page in ONNX's
//! `docs/Operators.md`, or of ONNX Runtime's `docs/ContribOperators.md`.

use super::graph::Role;
use super::proto::{self, INT64, UINT8};
use super::shape::{Known, Made, Shapes, axis, broadcast, count, dims_of};
use crate::error::Error;

/// Why there is no shape: a refusal, or a rule that needs what is not known before the graph runs.
enum Without {
    Refused(String),
    Unknown,
}

type Rule<T> = Result<T, Without>;

fn refused<T>(problem: impl Into<String>) -> Rule<T> {
    Err(Without::Refused(problem.into()))
}

impl From<Error> for Without {
    fn from(error: Error) -> Self {
        Self::Refused(error.to_string())
    }
}

/// The dimensions of an operator's inputs, and its attributes.
struct Of<'s, 'a> {
    shapes: &'s Shapes<'a>,
    node: &'s proto::Node,
}

impl Of<'_, '_> {
    fn input(&self, at: usize) -> Rule<&Known> {
        self.shapes.get(self.node, at).ok_or_else(|| Without::Refused(format!("it has no input {}", at + 1)))
    }

    fn dims(&self, at: usize) -> Rule<&[u64]> {
        Ok(&self.input(at)?.dims)
    }

    /// Whole numbers that are an input, or an attribute in older opsets; none where neither is there.
    fn numbers(&self, at: usize, attribute: &str) -> Rule<Option<Vec<i64>>> {
        if let Some(numbers) = self.node.ints(attribute) {
            return Ok(Some(numbers.to_vec()));
        }
        match self.shapes.get(self.node, at) {
            None => Ok(None),
            Some(known) => known.ints.clone().map(Some).ok_or(Without::Unknown),
        }
    }

    fn axis(&self, value: i64, rank: usize) -> Rule<usize> {
        axis(value, rank).ok_or_else(|| Without::Refused(format!("its axis {value} is out of range")))
    }

    /// The axes that it names, in order; all where it names none.
    fn axes(&self, at: usize, rank: usize) -> Rule<Vec<usize>> {
        match self.numbers(at, "axes")? {
            None => Ok((0..rank).collect()),
            Some(axes) => axes.iter().map(|value| self.axis(*value, rank)).collect(),
        }
    }
}

impl Shapes<'_> {
    /// Shapes and types of the outputs, where the rule is known: of the first one at least.
    pub(super) fn infer(&self, node: &proto::Node, role: Role) -> Result<Vec<Made>, Error> {
        if matches!(role, Role::Moves | Role::Reduce | Role::Other | Role::Shape) {
            let made = infer(self, node).or_else(|without| match without {
                Without::Refused(problem) => Err(self.graph.refuse(node, problem, "Check the model with onnx.checker")),
                Without::Unknown => Ok(Vec::new()),
            })?;
            if !made.is_empty() {
                return Ok(made);
            }
        }
        Ok(self.first(node, role)?.into_iter().collect())
    }
}

/// Shapes and types of the outputs of an operator; an empty list where there is no rule here.
fn infer(shapes: &Shapes<'_>, node: &proto::Node) -> Rule<Vec<Made>> {
    let of = Of { shapes, node };
    let first = || of.input(0);
    let same = || Ok((first()?.dims.clone(), first()?.data_type));
    Ok(match node.op_type.as_str() {
        "Split" => split(&of)?,
        "Slice" => vec![slice(&of)?],
        "Pad" => vec![pad(&of)?],
        "Expand" => {
            let shape = of.numbers(1, "shape")?.ok_or(Without::Unknown)?;
            let shape = dims_of(shape).map_err(Without::Refused)?;
            let dims = broadcast(of.dims(0)?, &shape);
            let dims = dims.ok_or_else(|| Without::Refused(format!("it cannot repeat its input to {shape:?}")))?;
            vec![(dims, first()?.data_type)]
        }
        "Tile" => {
            let repeats = of.numbers(1, "repeats")?.ok_or(Without::Unknown)?;
            let dims = of.dims(0)?;
            if repeats.len() != dims.len() {
                return refused(format!("it repeats {dims:?} by {repeats:?}"));
            }
            let times = |(side, times): (&u64, &i64)| side.saturating_mul(u64::try_from(*times).unwrap_or(0));
            vec![(dims.iter().zip(&repeats).map(times).collect(), first()?.data_type)]
        }
        "Resize" | "Upsample" => vec![resize(&of)?],
        "ConvTranspose" => vec![conv_transpose(&of)?],
        name if name.starts_with("Reduce") => vec![reduce(&of)?],
        "ArgMax" | "ArgMin" => {
            let mut dims = of.dims(0)?.to_vec();
            let at = of.axis(node.int("axis", 0), dims.len())?;
            if node.int("keepdims", 1) == 0 {
                dims.remove(at);
            } else {
                dims[at] = 1;
            }
            vec![(dims, INT64)]
        }
        "TopK" => {
            let mut dims = of.dims(0)?.to_vec();
            let at = of.axis(node.int("axis", -1), dims.len())?;
            let k = match node.attribute("k") {
                Some(k) => k.i,
                None => of.numbers(1, "k")?.and_then(|k| k.first().copied()).ok_or(Without::Unknown)?,
            };
            dims[at] = u64::try_from(k).unwrap_or(0);
            vec![(dims.clone(), first()?.data_type), (dims, INT64)]
        }
        "Range" => {
            let one = |at| of.numbers(at, "").map(|all| all.and_then(|all| all.first().copied()));
            let (start, limit, delta) = (one(0)?, one(1)?, one(2)?);
            let (Some(start), Some(limit), Some(delta)) = (start, limit, delta) else { return Err(Without::Unknown) };
            if delta == 0 {
                return refused("its step is 0");
            }
            let steps = (i128::from(limit) - i128::from(start)) as f64 / delta as f64;
            vec![(vec![steps.ceil().max(0.0) as u64], first()?.data_type)]
        }
        "OneHot" => {
            let depth = of.numbers(1, "")?.and_then(|depth| depth.first().copied()).ok_or(Without::Unknown)?;
            let mut dims = of.dims(0)?.to_vec();
            let at = of.axis(node.int("axis", -1), dims.len() + 1)?;
            dims.insert(at, u64::try_from(depth).unwrap_or(0));
            vec![(dims, of.input(2)?.data_type)]
        }
        "GatherElements" => vec![(of.dims(1)?.to_vec(), first()?.data_type)],
        "GatherND" => {
            let (data, indices) = (of.dims(0)?, of.dims(1)?);
            let batch = usize::try_from(node.int("batch_dims", 0)).unwrap_or(0);
            let Some((depth, outer)) = indices.split_last() else { return refused("its indices are a scalar") };
            let from = usize::try_from(*depth).unwrap_or(usize::MAX).saturating_add(batch);
            let Some(rest) = data.get(from..) else { return refused(format!("indices {indices:?} into {data:?}")) };
            vec![([outer, rest].concat(), first()?.data_type)]
        }
        "DepthToSpace" | "SpaceToDepth" => {
            let (dims, block) = (of.dims(0)?, u64::try_from(node.int("blocksize", 0)).unwrap_or(0));
            let ([images, channels, height, width], Some(area)) = (dims, block.checked_mul(block).filter(|a| *a > 0))
            else {
                return refused(format!("blocks of {block} in {dims:?}"));
            };
            let dims = match node.op_type.as_str() {
                "DepthToSpace" => [*images, channels / area, height.saturating_mul(block), width.saturating_mul(block)],
                _ => [*images, channels.saturating_mul(area), height / block, width / block],
            };
            vec![(dims.to_vec(), first()?.data_type)]
        }
        "Einsum" => vec![(einsum(&of)?.0, first()?.data_type)],
        "GridSample" => {
            let (image, grid) = (of.dims(0)?, of.dims(1)?);
            if image.len() < 3 || image.len() != grid.len() {
                return refused(format!("a grid of {grid:?} over {image:?}"));
            }
            vec![([&image[..2], &grid[1..grid.len() - 1]].concat(), first()?.data_type)]
        }
        "RoiAlign" | "MaxRoiPool" => {
            let side = |name: &str| u64::try_from(node.int(name, 1)).unwrap_or(1);
            let (height, width) = match node.ints("pooled_shape") {
                Some([height, width]) => (*height as u64, *width as u64),
                _ => (side("output_height"), side("output_width")),
            };
            let channels = of.dims(0)?.get(1).copied().unwrap_or(1);
            let regions = of.dims(1)?.first().copied().unwrap_or(1);
            vec![(vec![regions, channels, height, width], first()?.data_type)]
        }
        "DynamicQuantizeLinear" => {
            let float = first()?.data_type;
            vec![(of.dims(0)?.to_vec(), UINT8), (Vec::new(), float), (Vec::new(), UINT8)]
        }
        "LSTM" | "GRU" | "RNN" => {
            let (sequence, recurrent) = (of.dims(0)?, of.dims(2)?);
            let ([outer, inner, _], [directions, _, hidden]) = (sequence, recurrent) else {
                return refused(format!("inputs of {sequence:?} and weights of {recurrent:?}"));
            };
            let kind = first()?.data_type;
            let (all, last) = match node.int("layout", 0) {
                0 => (vec![*outer, *directions, *inner, *hidden], vec![*directions, *inner, *hidden]),
                _ => (vec![*outer, *inner, *directions, *hidden], vec![*outer, *directions, *hidden]),
            };
            vec![(all, kind), (last.clone(), kind), (last, kind)]
        }
        "RandomNormal" | "RandomUniform" => {
            let shape = node.ints("shape").ok_or(Without::Unknown)?;
            let dims = dims_of(shape.iter().copied()).map_err(Without::Refused)?;
            vec![(dims, node.int("dtype", 1) as i32)]
        }
        // ONNX Runtime's operators.
        "MatMulNBits" => {
            let columns = u64::try_from(node.int("N", 0)).unwrap_or(0);
            let Some((_, outer)) = of.dims(0)?.split_last() else { return refused("its first input is a scalar") };
            vec![([outer, &[columns]].concat(), first()?.data_type)]
        }
        "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization" => {
            let outputs = node.outputs.len();
            std::iter::repeat_with(same).take(outputs).collect::<Rule<_>>()?
        }
        "BiasGelu" | "FusedMatMul" | "BiasAdd" | "RotaryEmbedding" | "ScatterND" | "ScatterElements" | "Scatter"
        | "ReverseSequence" | "EyeLike" | "RandomNormalLike" | "RandomUniformLike" | "Bernoulli" => vec![same()?],
        _ => Vec::new(),
    })
}

/// The parts of a tensor.
fn split(of: &Of<'_, '_>) -> Rule<Vec<Made>> {
    let (dims, kind, parts) = (of.dims(0)?, of.input(0)?.data_type, of.node.outputs.len());
    let at = of.axis(of.node.int("axis", 0), dims.len())?;
    let sizes: Vec<u64> = match of.numbers(1, "split")? {
        Some(sizes) => dims_of(sizes).map_err(Without::Refused)?,
        None => {
            // The last one is smaller where they do not come out even.
            let chunk = dims[at].div_ceil(parts.max(1) as u64);
            (0..parts as u64).map(|part| chunk.min(dims[at].saturating_sub(part.saturating_mul(chunk)))).collect()
        }
    };
    if sizes.len() != parts || sizes.iter().try_fold(0u64, |all, part| all.checked_add(*part)) != Some(dims[at]) {
        return refused(format!("it splits {dims:?} along axis {at} into {parts} parts of {sizes:?}"));
    }
    let part = |size: u64| {
        let mut dims = dims.to_vec();
        dims[at] = size;
        (dims, kind)
    };
    Ok(sizes.into_iter().map(part).collect())
}

/// How many elements a slice takes of a side: from `start` to before `end`, counted from the end where negative.
pub(super) fn sliced(side: u64, start: i64, end: i64, step: i64) -> Option<(i64, u64)> {
    let side = i64::try_from(side).ok()?;
    let from_end = |at: i64| if at < 0 { at.saturating_add(side) } else { at };
    // Backwards, the first element is reached by an end before it. As NumPy does, on which ONNX's reference stands.
    let (least, most) = if step > 0 { (0, side) } else { (-1, side - 1) };
    let start = from_end(start).clamp(least, most);
    let end = from_end(end).clamp(least, most);
    let span = if step > 0 { i128::from(end) - i128::from(start) } else { i128::from(start) - i128::from(end) };
    let step = i128::from(step).abs();
    let count = span.max(0).checked_add(step - 1)?.checked_div(step)?;
    Some((start, u64::try_from(count).ok()?))
}

fn slice(of: &Of<'_, '_>) -> Rule<Made> {
    let mut dims = of.dims(0)?.to_vec();
    let need = |numbers: Option<Vec<i64>>| numbers.ok_or(Without::Unknown);
    let (starts, ends) = (need(of.numbers(1, "starts")?)?, need(of.numbers(2, "ends")?)?);
    let steps = of.numbers(4, "steps")?;
    let axes = of.axes(3, dims.len())?;
    if starts.len() != ends.len() || starts.len() > axes.len() {
        return refused(format!("it starts at {starts:?} and ends at {ends:?}"));
    }
    for (at, ((start, end), axis)) in starts.iter().zip(&ends).zip(&axes).enumerate() {
        let step = steps.as_ref().and_then(|steps| steps.get(at).copied()).unwrap_or(1);
        let (_, count) =
            sliced(dims[*axis], *start, *end, step).ok_or_else(|| Without::Refused("its step is 0".into()))?;
        dims[*axis] = count;
    }
    Ok((dims, of.input(0)?.data_type))
}

fn pad(of: &Of<'_, '_>) -> Rule<Made> {
    let mut dims = of.dims(0)?.to_vec();
    let pads = match of.numbers(1, "pads")? {
        Some(pads) => pads,
        None => of.node.ints("paddings").ok_or(Without::Unknown)?.to_vec(),
    };
    let axes = of.axes(3, dims.len())?;
    if pads.len() != 2 * axes.len() {
        return refused(format!("it pads {dims:?} by {pads:?}"));
    }
    for (at, axis) in axes.iter().enumerate() {
        let side = i128::from(dims[*axis]) + i128::from(pads[at]) + i128::from(pads[at + axes.len()]);
        dims[*axis] = u64::try_from(side).map_err(|_| Without::Refused(format!("it pads {dims:?} by {pads:?}")))?;
    }
    Ok((dims, of.input(0)?.data_type))
}

/// A tensor of another size: as its sizes say, or as many times as large as its scales say.
fn resize(of: &Of<'_, '_>) -> Rule<Made> {
    let mut dims = of.dims(0)?.to_vec();
    let axes = match of.node.ints("axes") {
        Some(axes) => axes.iter().map(|value| of.axis(*value, dims.len())).collect::<Rule<Vec<_>>>()?,
        None => (0..dims.len()).collect(),
    };
    if let Some(sizes) = of.shapes.get(of.node, 3) {
        let sizes = sizes.ints.clone().ok_or(Without::Unknown)?;
        if sizes.len() == axes.len() {
            for (axis, size) in axes.iter().zip(sizes) {
                dims[*axis] = u64::try_from(size).map_err(|_| Without::Refused(format!("a size of {size}")))?;
            }
            return Ok((dims, of.input(0)?.data_type));
        }
    }
    // Opset 10 has the scales as the second input, later ones as the third.
    let at = if of.node.inputs.len() == 2 { 1 } else { 2 };
    let scales = match of.node.attribute("scales") {
        Some(scales) => scales.floats.clone(),
        None => of.shapes.floats(of.node, at).ok_or(Without::Unknown)?,
    };
    if scales.len() != axes.len() {
        return refused(format!("it scales {dims:?} by {scales:?}"));
    }
    for (axis, scale) in axes.iter().zip(scales) {
        dims[*axis] = (dims[*axis] as f64 * f64::from(scale)).floor().max(0.0) as u64;
    }
    Ok((dims, of.input(0)?.data_type))
}

fn reduce(of: &Of<'_, '_>) -> Rule<Made> {
    let dims = of.dims(0)?;
    let named = of.numbers(1, "axes")?.filter(|axes| !axes.is_empty());
    let axes: Vec<usize> = match named {
        Some(axes) => axes.iter().map(|value| of.axis(*value, dims.len())).collect::<Rule<_>>()?,
        None if of.node.int("noop_with_empty_axes", 0) == 1 => Vec::new(),
        None => (0..dims.len()).collect(),
    };
    let keep = of.node.int("keepdims", 1) == 1;
    let side = |(at, side): (usize, &u64)| match (axes.contains(&at), keep) {
        (false, _) => Some(*side),
        (true, true) => Some(1),
        (true, false) => None,
    };
    Ok((dims.iter().enumerate().filter_map(side).collect(), of.input(0)?.data_type))
}

fn conv_transpose(of: &Of<'_, '_>) -> Rule<Made> {
    let (image, weights) = (of.dims(0)?, of.dims(1)?);
    let ([images, channels, sides @ ..], [rows, own, filter @ ..]) = (image, weights) else {
        return refused(format!("an input of {image:?} for filters of {weights:?}"));
    };
    let groups = u64::try_from(of.node.int("group", 1)).unwrap_or(0);
    if channels != rows || sides.len() != filter.len() || groups == 0 {
        return refused(format!("filters of shape {weights:?} in {groups} groups for an input of {image:?}"));
    }
    let mut dims = vec![*images, own.saturating_mul(groups)];
    let number = |name: &str, at: usize, usual: i64| {
        i128::from(of.node.ints(name).and_then(|list| list.get(at)).copied().unwrap_or(usual))
    };
    let same = of.node.attribute("auto_pad").is_some_and(|text| text.s.starts_with(b"SAME"));
    for (at, (side, filter)) in sides.iter().zip(filter).enumerate() {
        let (side, stride) = (i128::from(*side), number("strides", at, 1));
        let reach = (i128::from(*filter) - 1) * number("dilations", at, 1) + 1;
        let pads = number("pads", at, 0) + number("pads", at + sides.len(), 0);
        let made = match of.node.ints("output_shape").filter(|shape| shape.len() >= sides.len()) {
            // The last sides of it.
            Some(shape) => i128::from(shape[shape.len() - sides.len() + at]),
            None if same => side * stride,
            None => stride * (side - 1) + number("output_padding", at, 0) + reach - pads,
        };
        let made = u64::try_from(made);
        dims.push(made.map_err(|_| Without::Refused(format!("filters of {weights:?} over {image:?} make nothing")))?);
    }
    Ok((dims, of.input(0)?.data_type))
}

/// The shape of a sum over products, and the multiplications with their additions that it takes, label by label.
fn einsum(of: &Of<'_, '_>) -> Rule<(Vec<u64>, f64)> {
    let text = of.node.attribute("equation").map(|text| String::from_utf8_lossy(&text.s).into_owned());
    let text: String = text.unwrap_or_default().chars().filter(|letter| !letter.is_whitespace()).collect();
    let (inputs, output) = match text.split_once("->") {
        Some((inputs, output)) => (inputs.to_owned(), Some(output.to_owned())),
        None => (text.clone(), None),
    };
    let wrong = || Without::Refused(format!("its equation is \"{}\"", super::graph::short(&text)));
    let terms: Vec<&str> = inputs.split(',').collect();
    let mut sides: std::collections::BTreeMap<char, u64> = std::collections::BTreeMap::new();
    let mut ellipsis: Vec<u64> = Vec::new();
    for (at, term) in terms.iter().enumerate() {
        let dims = of.dims(at)?;
        let labels = term.chars().filter(|label| *label != '.').count();
        let hidden = dims.len().checked_sub(labels).ok_or_else(wrong)?;
        let (before, after) = term.split_once("...").unwrap_or((term, ""));
        if hidden > 0 && !term.contains("...") {
            return Err(wrong());
        }
        let (start, end) = (before.chars().count(), before.chars().count() + hidden);
        let shared = dims.get(start..end).ok_or_else(wrong)?;
        ellipsis = broadcast(&ellipsis, shared).ok_or_else(wrong)?;
        for (label, side) in before.chars().zip(dims).chain(after.chars().zip(dims.get(end..).ok_or_else(wrong)?)) {
            let known = sides.entry(label).or_insert(*side);
            if *known == 1 {
                *known = *side;
            } else if *side != *known && *side != 1 {
                return Err(wrong());
            }
        }
    }
    let output = output.unwrap_or_else(|| {
        // Labels that occur once, in alphabetical order.
        let once = |label: &char| inputs.chars().filter(|other| other == label).count() == 1;
        let dots = if inputs.contains("...") { "..." } else { "" };
        dots.chars().chain(sides.keys().copied().filter(once)).collect()
    });
    let (before, after) = output.split_once("...").unwrap_or((&output, ""));
    let side = |label: char| sides.get(&label).copied().ok_or_else(wrong);
    let mut dims = before.chars().map(side).collect::<Rule<Vec<_>>>()?;
    if output.contains("...") {
        dims.extend(&ellipsis);
    }
    dims.extend(after.chars().map(side).collect::<Rule<Vec<_>>>()?);
    let all = sides.values().chain(&ellipsis).map(|side| *side as f64).product::<f64>();
    let work = if terms.len() > 1 { 2.0 * (terms.len() - 1) as f64 * all } else { 0.0 };
    Ok((dims, work))
}

/// The work of an operator with a rule of its own, in FLOPs; none where it has none that counts.
pub(super) fn work(shapes: &Shapes<'_>, node: &proto::Node) -> Option<f64> {
    let of = Of { shapes, node };
    let float = |dims: &[u64]| count(dims) as f64;
    Some(match node.op_type.as_str() {
        // Each element of the image meets every filter of its group.
        "ConvTranspose" => {
            let weights = of.dims(1).ok()?;
            2.0 * float(of.dims(0).ok()?) * float(weights.get(1..)?)
        }
        "Einsum" => einsum(&of).ok()?.1,
        "LSTM" | "GRU" | "RNN" => {
            let (sequence, input, recurrent) = (of.dims(0).ok()?, of.dims(1).ok()?, of.dims(2).ok()?);
            2.0 * float(sequence.get(..2)?) * (float(input) + float(recurrent))
        }
        "MatMulNBits" => {
            let columns = u64::try_from(node.int("N", 0)).ok()?;
            2.0 * float(of.dims(0).ok()?) * columns as f64
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Python slices a list.
    #[test]
    fn slices_are_those_of_a_list() {
        for side in 0..6i64 {
            for start in -8..8 {
                for end in -8..8 {
                    for step in [-3, -2, -1, 1, 2, 3] {
                        // By the letter of Python's documentation: ends are clamped, then counted off one by one.
                        let clamp = |at: i64| {
                            let at = if at < 0 { at + side } else { at };
                            if step > 0 { at.clamp(0, side) } else { at.clamp(-1, side - 1) }
                        };
                        let (mut at, stop, mut counted) = (clamp(start), clamp(end), 0);
                        while if step > 0 { at < stop } else { at > stop } {
                            counted += 1;
                            at += step;
                        }
                        let (first, count) = sliced(side as u64, start, end, step).unwrap();
                        assert_eq!(count, counted, "{side} [{start}:{end}:{step}]");
                        assert!(count == 0 || first == clamp(start), "{side} [{start}:{end}:{step}]");
                    }
                }
            }
        }
        assert_eq!(sliced(5, 0, 3, 0), None);
        assert_eq!(sliced(5, i64::MIN, i64::MAX, 1), Some((0, 5)));
        assert_eq!(sliced(5, i64::MAX, i64::MIN, -1), Some((4, 5)));
    }
}
