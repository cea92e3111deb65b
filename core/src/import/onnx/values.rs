//! The values of shapes and indices, which operators make of others: what the shapes of tensors depend on.

use super::proto::{self, BOOL, INT32, INT64};
use super::rules::sliced;
use super::shape::{MOST_VALUES, Shapes, count, values_of};

/// The values of output `at`, for operators on shapes and indices whose inputs are all known.
pub(super) fn values(shapes: &Shapes<'_>, node: &proto::Node, at: usize) -> Option<Vec<i64>> {
    let values = of(shapes, node, at)?;
    (values.len() <= MOST_VALUES).then_some(values)
}

fn of(shapes: &Shapes<'_>, node: &proto::Node, output: usize) -> Option<Vec<i64>> {
    let known = |at: usize| shapes.get(node, at).and_then(|known| known.ints.as_deref());
    let name = node.op_type.as_str();
    if name == "Split" {
        let dims = |at: usize| shapes.get(node, at).map(|known| known.dims.as_slice());
        let length = dims(0)?.first().copied()?;
        let sizes = known(1).map(<[i64]>::to_vec).or_else(|| node.ints("split").map(<[i64]>::to_vec));
        let chunk = length.div_ceil(node.outputs.len().max(1) as u64) as i64;
        let start = |part: usize| match &sizes {
            Some(sizes) => sizes.get(..part).map(|before| before.iter().sum::<i64>()),
            None => chunk.checked_mul(part as i64),
        };
        let (from, to) = (usize::try_from(start(output)?).ok()?, usize::try_from(start(output + 1)?).ok()?);
        let data = known(0)?;
        return data.get(from.min(data.len())..to.min(data.len())).map(<[i64]>::to_vec);
    }
    if output > 0 {
        return None;
    }
    Some(match name {
        "Shape" => {
            let dims: Vec<i64> = shapes.get(node, 0)?.dims.iter().map(|d| *d as i64).collect();
            let rank = dims.len() as i64;
            let at = |value: i64| (if value < 0 { value.saturating_add(rank) } else { value }).clamp(0, rank) as usize;
            let (start, end) = (at(node.int("start", 0)), at(node.int("end", rank)));
            dims[start.min(end)..end].to_vec()
        }
        "Size" => vec![count(&shapes.get(node, 0)?.dims) as i64],
        "Gather" => {
            let (data, indices) = (known(0)?, known(1)?);
            let at =
                |i: &i64| data.get(usize::try_from(if *i < 0 { *i + data.len() as i64 } else { *i }).ok()?).copied();
            indices.iter().map(at).collect::<Option<_>>()?
        }
        "Concat" => {
            let parts: Option<Vec<&[i64]>> = (0..node.inputs.len()).map(known).collect();
            parts?.concat()
        }
        "Slice" => {
            let data = known(0)?;
            let one = |at: usize, attribute: &str| {
                let values = node.ints(attribute).or_else(|| known(at))?;
                values.first().copied()
            };
            let step = one(4, "steps").unwrap_or(1);
            let (start, length) = sliced(data.len() as u64, one(1, "starts")?, one(2, "ends")?, step)?;
            let at = |i: u64| data.get(usize::try_from(start.checked_add(step.checked_mul(i as i64)?)?).ok()?).copied();
            (0..length.min(MOST_VALUES as u64 + 1)).map(at).collect::<Option<_>>()?
        }
        "Cast" if !matches!(node.int("to", 1) as i32, INT64 | INT32 | BOOL) => return None,
        "Cast" | "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" => known(0)?.to_vec(),
        "ConstantOfShape" => {
            let length = match known(0)? {
                [] => 1,
                [length] => usize::try_from(*length).ok().filter(|length| *length <= MOST_VALUES)?,
                _ => return None,
            };
            let tensor = node.attribute("value").and_then(|attribute| attribute.t.as_ref())?;
            vec![values_of(tensor, &[1])?.first().copied()?; length]
        }
        "Expand" => {
            let (data, shape) = (known(0)?, known(1)?);
            let length = match shape {
                [] => data.len(),
                [length] => usize::try_from(*length).ok().filter(|length| *length <= MOST_VALUES)?.max(data.len()),
                _ => return None,
            };
            if data.len() == length {
                data.to_vec()
            } else {
                vec![data.first().copied().filter(|_| data.len() == 1)?; length]
            }
        }
        "Tile" => match (known(0)?, known(1)?) {
            (data, [times]) => data.repeat(usize::try_from(*times).ok().filter(|times| *times <= MOST_VALUES)?),
            _ => return None,
        },
        "Range" => {
            let one = |at| known(at)?.first().copied();
            let (start, limit, delta) = (one(0)?, one(1)?, one(2)?);
            let mut values = Vec::new();
            let mut next = start;
            while delta != 0 && (if delta > 0 { next < limit } else { next > limit }) && values.len() <= MOST_VALUES {
                values.push(next);
                next = next.checked_add(delta)?;
            }
            values
        }
        "Neg" => known(0)?.iter().map(|value| value.checked_neg()).collect::<Option<_>>()?,
        "Abs" => known(0)?.iter().map(|value| value.checked_abs()).collect::<Option<_>>()?,
        "Not" => known(0)?.iter().map(|value| i64::from(*value == 0)).collect(),
        "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" => {
            let data = known(0)?;
            let value = match name {
                "ReduceProd" => data.iter().try_fold(1i64, |all, value| all.checked_mul(*value))?,
                "ReduceSum" => data.iter().try_fold(0i64, |all, value| all.checked_add(*value))?,
                "ReduceMax" => *data.iter().max()?,
                _ => *data.iter().min()?,
            };
            vec![value]
        }
        "Where" => {
            let (condition, a, b) = (known(0)?, known(1)?, known(2)?);
            let length = condition.len().max(a.len()).max(b.len());
            let pick = |i: usize| Some(if at(condition, i)? != 0 { at(a, i)? } else { at(b, i)? });
            (0..length).map(pick).collect::<Option<_>>()?
        }
        _ => {
            let (a, b) = (known(0)?, known(1)?);
            let apply = |i: usize| binary(name, at(a, i)?, at(b, i)?);
            (0..a.len().max(b.len())).map(apply).collect::<Option<_>>()?
        }
    })
}

/// The element at `i` of a list, or the one of a list of one.
fn at(values: &[i64], i: usize) -> Option<i64> {
    if values.len() == 1 { values.first().copied() } else { values.get(i).copied() }
}

fn binary(name: &str, a: i64, b: i64) -> Option<i64> {
    Some(match name {
        "Add" => a.checked_add(b)?,
        "Sub" => a.checked_sub(b)?,
        "Mul" => a.checked_mul(b)?,
        "Div" => a.checked_div(b)?,
        "Mod" => a.checked_rem_euclid(b)?,
        "Pow" => a.checked_pow(u32::try_from(b).ok()?)?,
        "Max" => a.max(b),
        "Min" => a.min(b),
        "Equal" => (a == b).into(),
        "Greater" => (a > b).into(),
        "GreaterOrEqual" => (a >= b).into(),
        "Less" => (a < b).into(),
        "LessOrEqual" => (a <= b).into(),
        "And" => (a != 0 && b != 0).into(),
        "Or" => (a != 0 || b != 0).into(),
        _ => return None,
    })
}
