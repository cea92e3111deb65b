//! Elements copied from array to array, and views that see the same elements in another way.

use super::args::Args;
use super::array::wider;
use super::lower::PythonLowering;
use super::registry::{Join, Make, Move};
use super::value::{Real, Value, View, axis};
use crate::expr::{Expr, Rounding};
use crate::nest::{At, Element, Flops};
use crate::normal::Normal;
use crate::source::refuse;
use accel_ground::error::Error;

impl<'a> PythonLowering<'a> {
    /// Axes from the last to the first.
    pub(super) fn transposed(&mut self, value: Value, at: At) -> Result<Value, Error> {
        let view = self.view(value, 2, at)?;
        let order: Vec<usize> = (0..view.dims.len()).rev().collect();
        Ok(Value::View(view.permuted(&order)))
    }

    /// Reads what copies arrays, or sees their elements in another way.
    pub(super) fn moving(&mut self, moved: Move, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        match moved {
            Move::Transpose { swaps } => {
                let view = self.operand(args, 0)?;
                let rank = view.dims.len();
                let given = match args.get(1, &["axes", "dims"]).cloned() {
                    None | Some(Value::None) => return self.transposed(Value::View(view), at),
                    Some(Value::Tuple(parts)) => parts,
                    Some(_) => args.values.iter().skip(1).map(|(value, _)| value.clone()).collect(),
                };
                let order: Vec<usize> = given.iter().map(|part| self.axis(part, rank, at)).collect::<Result<_, _>>()?;
                let mut sorted = order.clone();
                sorted.sort_unstable();
                // `x.transpose(0, 1)` of a matrix: as an order of axes it would change nothing.
                if let ([0, 1], true, 2, 3) = (order.as_slice(), swaps, rank, args.values.len()) {
                    return self.transposed(Value::View(view), at);
                }
                if sorted == (0..rank).collect::<Vec<_>>() {
                    return Ok(Value::View(view.permuted(&order)));
                }
                // PyTorch's `transpose` swaps two axes.
                if let ([a, b], true) = (order.as_slice(), swaps) {
                    let mut order: Vec<usize> = (0..rank).collect();
                    order.swap(*a, *b);
                    return Ok(Value::View(view.permuted(&order)));
                }
                Err(refuse(at, "these axes are no order of the array's", "Name each axis once"))
            }
            Move::AxesSwapped | Move::AxisMoved => {
                let view = self.operand(args, 0)?;
                let rank = view.dims.len();
                let (Some(a), Some(b)) =
                    (args.get(1, &["axis1", "source"]).cloned(), args.get(2, &["axis2", "destination"]).cloned())
                else {
                    return Err(refuse(at, "two axes are needed", "Write `np.swapaxes(a, 0, 1)`"));
                };
                let (a, b) = (self.axis(&a, rank, at)?, self.axis(&b, rank, at)?);
                let mut order: Vec<usize> = (0..rank).collect();
                if moved == Move::AxesSwapped {
                    order.swap(a, b);
                } else {
                    let own = order.remove(a);
                    order.insert(b, own);
                }
                Ok(Value::View(view.permuted(&order)))
            }
            Move::ExpandDims => {
                let view = self.operand(args, 0)?;
                let axis = args.get(1, &["axis", "dim"]).cloned().unwrap_or(Value::Int(Expr::Const(0)));
                let before = self.axis(&axis, view.dims.len() + 1, at)?;
                Ok(Value::View(view.expanded(before)))
            }
            Move::Squeeze => {
                let mut view = self.operand(args, 0)?;
                let axes = self.axes(args, 1, view.dims.len())?;
                let units: Vec<usize> =
                    (0..view.dims.len()).filter(|own| view.dims.get(*own) == Some(&Expr::Const(1))).collect();
                for axis in axes.unwrap_or(units).into_iter().rev() {
                    view = view.fixed(axis, &Expr::Const(0));
                }
                Ok(Value::View(view))
            }
            Move::Broadcast => {
                let view = self.operand(args, 0)?;
                let mut dims = self.dims(args, 1, &["shape"])?;
                // In PyTorch, -1 is as it was.
                let before = dims.len().saturating_sub(view.dims.len());
                for (dim, own) in dims.iter_mut().skip(before).zip(&view.dims) {
                    if *dim == Expr::Const(-1) {
                        *dim = own.clone();
                    }
                }
                let whole = self.broadcast(&[dims, view.dims.clone()], at)?;
                Ok(Value::View(Self::spread(&view, &whole)))
            }
            Move::Flip => {
                let view = self.operand(args, 0)?;
                let axes = self.axes(args, 1, view.dims.len())?.unwrap_or_else(|| (0..view.dims.len()).collect());
                axes.into_iter()
                    .try_fold(view, |view, along| self.slice(&view, along, (None, None, Expr::Const(-1)), at))
                    .map(Value::View)
            }
            Move::Diagonal | Move::Trace => {
                let view = self.operand(args, 0)?;
                let [rows, columns] = view.dims.as_slice() else {
                    return Err(refuse(at, format!("`{}` of an array that is no matrix", args.name), "Give a matrix"));
                };
                let extent = if self.unify(&rows.clone(), &columns.clone()) {
                    rows.clone()
                } else {
                    rows.clone().min(columns.clone())
                };
                let diagonal = Value::View(view.of(vec![extent], &[axis(0), axis(0)]));
                if moved == Move::Trace { self.reduce(diagonal, Flops::ADD, None, false, at) } else { Ok(diagonal) }
            }
            Move::Triangle => {
                let view = self.operand(args, 0)?;
                self.copied(&view, at)
            }
            Move::Split
            | Move::Windows
            | Move::Resampled
            | Move::Tiled
            | Move::TakeRows
            | Move::Pick
            | Move::Put
            | Move::Chosen
            | Move::Ordered => self.picking(moved, args),
            Move::Join(join) => self.joined(join, args),
            Move::Roll => self.rolled(args),
            Move::Pad => self.padded(args),
            Move::Fill => {
                let view = self.operand(args, 0)?;
                self.fill(&view, at);
                Ok(Value::View(view))
            }
            Move::Copy => {
                let view = self.operand(args, 0)?;
                let own = self.element(&view);
                self.cast(view, own, at)
            }
            Move::Cast(element) => {
                let view = self.operand(args, 0)?;
                let own = self.element(&view);
                let other = match args.get(1, &["other", "dtype"]) {
                    Some(Value::View(other)) => Some(self.element(other)),
                    Some(Value::Type(_) | Value::Text(_)) | None => None,
                    Some(_) => Some(own),
                };
                let element = element.or(other).unwrap_or_else(|| self.kind_or(own, args));
                // NumPy copies in any case, PyTorch where the type differs.
                if element == own && args.name != "astype" {
                    Ok(Value::View(view))
                } else {
                    self.cast(view, element, at)
                }
            }
            Move::Ravel => {
                let view = self.operand(args, 0)?;
                self.flat(&view, at)
            }
            Move::CopyTo => {
                let view = self.operand(args, 0)?;
                let value = args.get(1, &["src"]).cloned().unwrap_or(Value::None);
                self.store(&view, value, at)?;
                Ok(Value::None)
            }
            Move::Reshape => {
                let view = self.operand(args, 0)?;
                let mut dims = self.dims(args, 1, &["newshape", "shape"])?;
                let whole = view.dims.iter().cloned().fold(Expr::Const(1), Expr::times);
                if let Some(open) = dims.iter().position(|dim| *dim == Expr::Const(-1)) {
                    dims.remove(open);
                    let rest = dims.iter().cloned().fold(Expr::Const(1), Expr::times);
                    if self.number(&rest) == Some(0) {
                        return Err(refuse(at, "an extent of this shape is zero", "Give other extents"));
                    }
                    dims.insert(open, self.tidy(&exact(&whole, &rest), at)?);
                }
                self.reshape(&view, dims, at)
            }
        }
    }

    /// A copy whose elements have that type.
    fn cast(&mut self, view: View, element: Element, at: At) -> Result<Value, Error> {
        self.elementwise(vec![(Value::View(view), at)], Flops::NONE, Some(Real::Of(element)), at)
    }

    /// The same elements in one row.
    pub(super) fn flat(&mut self, view: &View, at: At) -> Result<Value, Error> {
        let whole = self.tidy(&view.dims.iter().cloned().fold(Expr::Const(1), Expr::times), at)?;
        self.reshape(view, vec![whole], at)
    }

    /// A copy.
    pub(super) fn copied(&mut self, view: &View, at: At) -> Result<Value, Error> {
        self.elementwise(vec![(Value::View(view.clone()), at)], Flops::NONE, None, at)
    }

    /// Several arrays copied into one.
    fn joined(&mut self, join: Join, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let Some(Value::Tuple(parts)) = args.get(0, &[]).cloned() else {
            return Err(refuse(
                at,
                format!("`{}` takes a list of arrays", args.name),
                "Write `np.concatenate([a, b])`",
            ));
        };
        if join == Join::Stack && !parts.is_empty() && parts.iter().all(Value::is_number) {
            let element = self.kind(Some(Make::Array { copies: false }), args);
            return self.literal(parts, element, at);
        }
        let mut views = parts.into_iter().map(|part| self.view(part, 2, at)).collect::<Result<Vec<_>, _>>()?;
        let rank = views.first().map_or(0, |view| view.dims.len());
        let given = args.get(1, &["axis", "dim"]).cloned().unwrap_or(Value::Int(Expr::Const(0)));
        let along = match join {
            Join::Stack => self.axis(&given, rank + 1, at)?,
            Join::Rows => 0,
            Join::Columns => usize::from(rank > 1),
            Join::Along => self.axis(&given, rank, at)?,
        };
        if join == Join::Stack || (join == Join::Rows && rank == 1) {
            views = views.iter().map(|view| view.expanded(along)).collect();
        }
        let Some(first) = views.first().cloned() else {
            return Err(refuse(at, "nothing is joined", "Give arrays"));
        };
        let mut total = Expr::Const(0);
        for view in &views {
            let mut like = view.dims.clone();
            let own = like.get(along).cloned().unwrap_or(Expr::Const(1));
            if let (Some(dim), Some(of_first)) = (like.get_mut(along), first.dims.get(along)) {
                *dim = of_first.clone();
            }
            if !self.unify_all(&like, &first.dims) {
                let (a, b) = (self.shape_text(&first.dims), self.shape_text(&view.dims));
                return Err(refuse(
                    at,
                    format!("arrays of shapes {a} and {b} cannot be joined"),
                    "Only the joined axis may differ",
                ));
            }
            total = total.plus(own);
        }
        let mut dims = first.dims.clone();
        if let Some(dim) = dims.get_mut(along) {
            *dim = self.tidy(&total, at)?;
        }
        let element = views.iter().map(|view| self.element(view)).reduce(wider).unwrap_or(self.source.element);
        let result = self.allocate(args.name, element, &dims, at)?;
        let mut offset = Expr::Const(0);
        for view in views {
            let extent = view.dims.get(along).cloned().unwrap_or(Expr::Const(1));
            let part = result.sliced(along, &offset, &Expr::Const(1), extent.clone());
            self.store(&part, Value::View(view), at)?;
            offset = self.tidy(&offset.plus(extent), at)?;
        }
        Ok(Value::View(result))
    }

    /// `np.roll(a, n, axis)`: two copies.
    fn rolled(&mut self, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let view = self.operand(args, 0)?;
        if let (Some(Value::Tuple(shifts)), Some(Value::Tuple(axes))) =
            (args.get(1, &["shift", "shifts"]).cloned(), args.get(2, &["axis", "dims"]).cloned())
        {
            return shifts.into_iter().zip(axes).try_fold(Value::View(view), |value, (shift, axis)| {
                let values = [value, shift, axis].into_iter().map(|value| (value, at)).collect();
                self.rolled(&Args { values, ..Args::none(args.name, at) })
            });
        }
        let along = match args.get(2, &["axis", "dims"]).cloned() {
            Some(axis) => self.axis(&axis, view.dims.len(), at)?,
            None if view.dims.len() == 1 => 0,
            None => return Err(refuse(at, "a roll over all axes is not read", "Give `axis=`")),
        };
        let by = match args.get(1, &["shift", "shifts"]) {
            Some(Value::Int(expr)) => self.number(expr),
            _ => None,
        };
        let dim = view.dims.get(along).cloned().unwrap_or(Expr::Const(1));
        let (Some(by), Some(extent)) = (by, self.number(&dim).filter(|extent| *extent > 0)) else {
            return Err(refuse(at, "by how much this rolls is not known", "Give a number"));
        };
        let element = self.element(&view);
        let result = self.allocate("rolled", element, &view.dims, at)?;
        // The last `end` elements come first.
        let end = match by.rem_euclid(extent) {
            rest if by < 0 && by > -extent => dim.clone().minus(extent - rest),
            rest => Expr::Const(rest),
        };
        let rest = self.tidy(&dim.minus(end.clone()), at)?;
        for (to, from, extent) in [(Expr::Const(0), rest.clone(), end.clone()), (end, Expr::Const(0), rest)] {
            if extent != Expr::Const(0) {
                let part = view.sliced(along, &from, &Expr::Const(1), extent.clone());
                self.store(&result.sliced(along, &to, &Expr::Const(1), extent), Value::View(part), at)?;
            }
        }
        Ok(Value::View(result))
    }

    /// `np.pad(a, width)`: a filled array and a copy into its middle.
    fn padded(&mut self, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let view = self.operand(args, 0)?;
        let width = args.get(1, &["pad_width", "pad"]).cloned().unwrap_or(Value::None);
        let number = |value: &Value| match value {
            Value::Int(expr) => Some(expr.clone()),
            _ => None,
        };
        let pair = |value: &Value| match value {
            Value::Tuple(parts) => match parts.as_slice() {
                [a, b] => Some((number(a)?, number(b)?)),
                [a] => Some((number(a)?, number(a)?)),
                _ => None,
            },
            value => Some((number(value)?, number(value)?)),
        };
        let torch = matches!(&width, Value::Tuple(parts)
            if args.module.is_none_or(|module| !matches!(module, "np" | "numpy" | "jnp" | "cp" | "cupy"))
                && parts.iter().all(|part| matches!(part, Value::Int(_)))
                && parts.len().is_multiple_of(2)
                && parts.len() <= 2 * view.dims.len());
        let each: Option<Vec<(Expr, Expr)>> = match &width {
            // `F.pad(x, (left, right, top, bottom))`: pairs, from the last axis on.
            Value::Tuple(parts) if torch => {
                let numbers: Option<Vec<Expr>> = parts.iter().map(number).collect();
                numbers.map(|numbers| {
                    let mut pairs = vec![(Expr::Const(0), Expr::Const(0)); view.dims.len() - numbers.len() / 2];
                    pairs.extend(numbers.chunks_exact(2).rev().filter_map(|pair| match pair {
                        [before, after] => Some((before.clone(), after.clone())),
                        _ => None,
                    }));
                    pairs
                })
            }
            Value::Tuple(parts)
                if parts.iter().all(|part| matches!(part, Value::Tuple(_))) && parts.len() == view.dims.len() =>
            {
                parts.iter().map(pair).collect()
            }
            other => pair(other).map(|pair| vec![pair; view.dims.len()]),
        };
        let Some(each) = each else {
            return Err(refuse(
                at,
                "by how much this pads is not known",
                "Write `np.pad(a, 1)` or `np.pad(a, ((1, 1), (0, 0)))`",
            ));
        };
        let dims: Vec<Expr> = (view.dims.iter().zip(&each))
            .map(|(dim, (before, after))| self.tidy(&dim.clone().plus(before.clone()).plus(after.clone()), at))
            .collect::<Result<_, _>>()?;
        let element = self.element(&view);
        let result = self.allocate("padded", element, &dims, at)?;
        self.fill(&result, at);
        let mut middle = result.clone();
        for (along, ((before, _), dim)) in each.iter().zip(&view.dims).enumerate() {
            middle = middle.sliced(along, before, &Expr::Const(1), dim.clone());
        }
        self.store(&middle, Value::View(view), at)?;
        Ok(Value::View(result))
    }
}

/// `whole / part`, where it is known to leave nothing: factors that both have are left out.
pub(super) fn exact(whole: &Expr, part: &Expr) -> Expr {
    let factors = |expr: &Expr| {
        let normal = Normal::of(expr)?;
        normal.only_term().map(|(factors, coefficient)| (factors.to_vec(), coefficient))
    };
    if let (Some((mut above, a)), Some((below, b))) = (factors(whole), factors(part))
        && b != 0
        && a % b == 0
    {
        let mut all = true;
        for factor in &below {
            match above.iter().position(|own| own == factor) {
                Some(at) => {
                    above.remove(at);
                }
                None => all = false,
            }
        }
        if all {
            return above.into_iter().fold(Expr::Const(a / b), Expr::times);
        }
    }
    whole.clone().over(part.clone(), Rounding::Floor)
}
