//! Subscripts: elements, rows and slices of arrays.

use ruff_python_ast::{Expr as Tree, ExprSubscript};

use super::lower::{MAX_AXES, PythonLowering};
use super::tree::{clip, subscripts_of};
use super::value::{DRAWN, Value, View};
use crate::expr::{Expr, Rounding};
use crate::nest::{At, Element};
use crate::source::refuse;
use accel_ground::error::Error;

impl<'a> PythonLowering<'a> {
    /// What `a[i][j, k]` stands for, to be loaded or stored.
    pub(super) fn target(&mut self, expr: &'a Tree) -> Result<View, Error> {
        let Tree::Subscript(subscript) = expr else {
            return self.refuse(expr, "this is no element of an array", "Write `a[i]`");
        };
        let at = self.at(expr);
        match self.part(subscript, true)? {
            Value::View(view) => Ok(view),
            other => Err(refuse(at, format!("a subscript of {}", other.description()), "Only arrays have elements")),
        }
    }

    /// What `a[i]` stands for; an element is loaded.
    pub(super) fn subscript(&mut self, subscript: &'a ExprSubscript) -> Result<Value, Error> {
        let at = self.at(subscript);
        match self.part(subscript, false)? {
            Value::View(view) if view.dims.is_empty() => Ok(self.load(&view, at)),
            other => Ok(other),
        }
    }

    /// What a subscript stands for; `stored` says whether something is to be stored there.
    fn part(&mut self, subscript: &'a ExprSubscript, stored: bool) -> Result<Value, Error> {
        let at = self.at(subscript);
        // `a[i][j][k]` is read from the left without loading rows.
        let base = match &*subscript.value {
            Tree::Subscript(inner) => self.deeper(at, 1, |own| own.part(inner, false))?,
            other => self.eval(other)?,
        };
        let (_, rank, _) = subscripts_of(subscript);
        let base = match base {
            Value::Tuple(parts) => return self.item_of(parts, &subscript.slice, at),
            Value::Object(object) => return self.object_item(object, &subscript.slice, at),
            base => self.known(base, rank, at)?,
        };
        let view = match base {
            Value::View(view) => view,
            Value::Lazy(lazy) => self.materialise(*lazy, "operand")?,
            other => {
                return self.refuse(
                    subscript,
                    format!("a subscript of {}", other.description()),
                    "Only arrays have elements",
                );
            }
        };
        let parts = match &*subscript.slice {
            Tree::Tuple(tuple) => tuple.elts.as_slice(),
            part => std::slice::from_ref(part),
        };
        self.subscripts(view, parts, stored, at)
    }

    /// A part of a tuple.
    pub(super) fn item_of(&mut self, parts: Vec<Value>, key: &'a Tree, at: At) -> Result<Value, Error> {
        if let Tree::Slice(slice) = key {
            let length = parts.len() as i64;
            let mut end = |end: &'a Option<Box<Tree>>, default: i64| match end {
                None => Ok(default),
                Some(end) => {
                    let expr = self.whole(end)?;
                    let value = self.number(&expr).unwrap_or(default);
                    Ok(if value < 0 { value + length } else { value }.clamp(0, length))
                }
            };
            let (lower, upper) = (end(&slice.lower, 0)?, end(&slice.upper, length)?);
            let range = lower as usize..(upper.max(lower)) as usize;
            let part = parts.get(range).unwrap_or_default().to_vec();
            return Ok(Value::Tuple(match &slice.step {
                None => part,
                Some(step) => match self.whole(step)? {
                    Expr::Const(-1) => part.into_iter().rev().collect(),
                    Expr::Const(step) if step > 0 => part.into_iter().step_by(step as usize).collect(),
                    _ => return Err(refuse(at, "the step of this slice is not known", "Give a number")),
                },
            }));
        }
        let index = self.whole(key)?;
        let number = self.number(&index).map(|number| if number < 0 { number + parts.len() as i64 } else { number });
        let found = number.and_then(|number| parts.get(usize::try_from(number).ok()?));
        match found {
            Some(value) => Ok(value.clone()),
            None => {
                if let Some(number) = self.number(&index) {
                    let dims: Option<Vec<Expr>> = (parts.iter())
                        .map(|value| match value {
                            Value::Int(expr) => Some(expr.clone()),
                            _ => None,
                        })
                        .collect();
                    let rank = if number < 0 { parts.len() as i64 - number } else { number + 1 };
                    self.want_rank(&dims.unwrap_or_default(), usize::try_from(rank).unwrap_or_default());
                }
                Err(refuse(at, format!("there are {} of these", parts.len()), "Count from 0"))
            }
        }
    }

    /// The part of `view` that subscripts choose.
    pub(super) fn subscripts(
        &mut self,
        mut view: View,
        parts: &'a [Tree],
        stored: bool,
        at: At,
    ) -> Result<Value, Error> {
        let is_axis = |part: &&Tree| !matches!(part, Tree::EllipsisLiteral(_)) && !self.is_newaxis(part);
        let used = parts.iter().filter(is_axis).count();
        if view.dims.len() + parts.len() - used > MAX_AXES {
            return Err(refuse(at, format!("an array of more than {MAX_AXES} axes"), "Use fewer axes"));
        }
        if used > view.dims.len() {
            self.want_rank(&view.dims, used);
            let name = self.builder.program.arrays.get(view.array).map(|array| array.name.clone()).unwrap_or_default();
            let problem = format!("{used} subscripts for {} axes of {name}", view.dims.len());
            return Err(refuse(at, problem, "Give the array's shape: `a: f32[M, N]`"));
        }
        // What `...` stands for.
        let rest = view.dims.len() - used;
        let mut along = 0;
        // Axes along which arrays choose, and the arrays.
        let mut chosen: Vec<(usize, View)> = Vec::new();
        for part in parts {
            let own = self.at(part);
            match part {
                Tree::EllipsisLiteral(_) => {
                    along += rest;
                }
                part if self.is_newaxis(part) => {
                    view = view.expanded(along);
                    along += 1;
                }
                Tree::Slice(slice) => {
                    let [lower, upper, step] = [&slice.lower, &slice.upper, &slice.step];
                    let step = match step {
                        Some(step) => self.whole(step)?,
                        None => Expr::Const(1),
                    };
                    let lower = lower.as_ref().map(|lower| self.whole(lower)).transpose()?;
                    let upper = upper.as_ref().map(|upper| self.whole(upper)).transpose()?;
                    view = self.slice(&view, along, (lower, upper, step), own)?;
                    along += 1;
                }
                part => match self.one_subscript(part)? {
                    Value::Int(index) => {
                        let index = self.index(&view, along, &index, own)?;
                        view = view.fixed(along, &index);
                    }
                    Value::Scalar(false) => {
                        self.assume(own, "data decide this subscript: every line is as likely");
                        view = view.fixed(along, &Expr::from(DRAWN));
                        view.by_data = true;
                    }
                    // `a[a > 0] = 0`: which elements, data decide.
                    Value::View(mask) if stored && parts.len() == 1 && self.is_mask(&mask, &view) => {
                        self.assume(own, "data decide where the mask holds: all elements count as stored to");
                        let nodes = self.pass(&mask, false, own);
                        self.emit(nodes);
                        return Ok(Value::View(view));
                    }
                    Value::View(mask) if self.element(&mask) == Element::I8 && self.is_mask(&mask, &view) => {
                        let problem = "how many elements a mask takes depends on data";
                        return self.refuse(part, problem, "Use `np.where(mask, a, 0)`");
                    }
                    Value::View(index) if !self.element(&index).is_float() => {
                        chosen.push((along, index));
                        along += 1;
                    }
                    Value::Object(object) if self.objects.get(object).is_some_and(|own| own.class.is_none()) => {
                        // `slice(0, -3)`
                        let mut ends =
                            ["start", "stop"].map(|name| self.objects.get(object)?.fields.get(name).cloned());
                        let [lower, upper] = [ends[0].take(), ends[1].take()].map(|end| match end {
                            Some(Value::Int(end)) => Some(end),
                            _ => None,
                        });
                        view = self.slice(&view, along, (lower, upper, Expr::Const(1)), own)?;
                        along += 1;
                    }
                    // `x[:, [-1]]`: one of them, and its axis stays.
                    Value::Tuple(parts) if matches!(parts.as_slice(), [Value::Int(_)]) => {
                        let Some(Value::Int(index)) = parts.first() else { continue };
                        let index = self.index(&view, along, index, own)?;
                        view = view.fixed(along, &index).expanded(along);
                        along += 1;
                    }
                    Value::Counter(_) => {
                        let problem = format!("what `{}` is in each iteration is not known", clip(self.text(part)));
                        return self.refuse(part, problem, "Write the subscript in loop variables and parameters");
                    }
                    other => {
                        let problem = format!("{} as a subscript", other.description());
                        return self.refuse(
                            part,
                            problem,
                            "Only integers, slices and arrays of integers can stand here",
                        );
                    }
                },
            }
        }
        match chosen.is_empty() {
            true => Ok(Value::View(view)),
            false => self.by_arrays(&view, &chosen, stored, at),
        }
    }

    /// What arrays of integers choose along some axes: the result has theirs where the first of them was, or in front
    /// where others stand between, as NumPy has it.
    fn by_arrays(&mut self, view: &View, chosen: &[(usize, View)], stored: bool, at: At) -> Result<Value, Error> {
        let axes: Vec<usize> = chosen.iter().map(|(along, _)| *along).collect();
        let indices: Vec<View> = chosen.iter().map(|(_, index)| index.clone()).collect();
        let others = (0..view.dims.len()).filter(|own| !axes.contains(own));
        let view = view.permuted(&axes.iter().copied().chain(others).collect::<Vec<_>>());
        let result = match stored {
            true => self.scattered(&view, &indices, at)?,
            false => match self.gather(&view, &indices, at)? {
                Value::View(result) => result,
                other => return Ok(other),
            },
        };
        let apart = axes.windows(2).any(|pair| matches!(pair, [a, b] if *b != a + 1));
        let before = axes.first().copied().filter(|_| !apart).unwrap_or_default();
        let rank = (result.dims.len() + axes.len()).saturating_sub(view.dims.len());
        let order = (rank..rank + before).chain(0..rank).chain(rank + before..result.dims.len());
        Ok(Value::View(result.permuted(&order.collect::<Vec<_>>())))
    }

    /// Whether an array of truth values has the shape of the first axes of another.
    fn is_mask(&self, mask: &View, view: &View) -> bool {
        self.element(mask) == Element::I8 && view.dims.get(..mask.dims.len()) == Some(mask.dims.as_slice())
    }

    fn one_subscript(&mut self, part: &'a Tree) -> Result<Value, Error> {
        let at = self.at(part);
        let value = self.number_of_known(part)?;
        self.known(value, 1, at)
    }

    fn is_newaxis(&self, part: &Tree) -> bool {
        matches!(part, Tree::NoneLiteral(_)) || matches!(part, Tree::Attribute(a) if a.attr.as_str() == "newaxis")
    }

    /// A subscript, from the end if it is negative, as Python has it.
    pub(super) fn index(&mut self, view: &View, along: usize, index: &Expr, at: At) -> Result<Expr, Error> {
        let Some(dim) = view.dims.get(along).cloned() else { return Ok(index.clone()) };
        let outside = |own: &Self, reach: i64| {
            let problem = format!(
                "this subscript reaches {reach}, and the axis has {}",
                own.shape_text(std::slice::from_ref(&dim))
            );
            refuse(at, problem, "Give a larger extent, or a tighter bound to the loop")
        };
        if let Expr::Const(value) = index {
            // From the end, or one of the first.
            let from = if *value < 0 { dim.clone().plus(*value) } else { index.clone() };
            let extent = self.number(&dim);
            let is_open = self.dry.is_open(&dim);
            let inside = |from: i64, extent: i64| (0..extent).contains(&from);
            return match (self.number(&from), extent) {
                (Some(number), Some(extent)) if !is_open && !inside(number, extent) => Err(outside(self, *value)),
                _ => Ok(self.tidy(&from, at)?),
            };
        }
        self.reach(&dim, index);
        let room = dim.clone().minus(index.clone()).minus(1);
        if !self.is_dry() && self.never_negative(&room) == Some(false) {
            let reach = self.extreme(index, true, true).and_then(|(end, _)| self.number(&end)).unwrap_or_default();
            let empty =
                self.loops.iter().any(|around| match (self.number(&around.least), self.number(&around.greatest)) {
                    (Some(least), Some(greatest)) => least > greatest,
                    _ => true,
                });
            if !empty {
                return Err(outside(self, reach));
            }
        }
        match self.never_negative(index) {
            Some(true) | None => Ok(index.clone()),
            Some(false) => match self.never_negative(&index.clone().times(-1).minus(1)) {
                Some(true) => self.tidy(&index.clone().plus(dim), at),
                _ => self.tidy(&index.clone().modulo(dim, Rounding::Floor), at),
            },
        }
    }

    /// `lower:upper:step` along an axis, cut to the axis as Python does.
    pub(super) fn slice(
        &mut self,
        view: &View,
        along: usize,
        (lower, upper, step): (Option<Expr>, Option<Expr>, Expr),
        at: At,
    ) -> Result<View, Error> {
        let Some(dim) = view.dims.get(along).cloned() else {
            return Err(refuse(at, "there is no such axis", "Give the array's shape: `a: f32[M, N]`"));
        };
        let step = match self.number(&step) {
            Some(step) if step != 0 && step.unsigned_abs() < 1 << 40 => step,
            _ => return Err(refuse(at, "the step of a slice must be known and not zero", "Give a number")),
        };
        if step < 0 {
            if lower.is_some() || upper.is_some() {
                return Err(refuse(
                    at,
                    "a slice with bounds that runs backwards is not read",
                    "Write `a[::-1]`, then slice",
                ));
            }
            let extent = self.tidy(&dim.clone().minus(1).over(-step, Rounding::Floor).plus(1), at)?;
            return Ok(view.sliced(along, &dim.minus(1), &Expr::Const(step), extent));
        }
        if let Some(upper) = &upper
            && !matches!(upper, Expr::Const(_))
        {
            self.reach(&dim, &upper.clone().minus(1));
        }
        let lower = self.clamped(lower.unwrap_or(Expr::Const(0)), &dim, at)?;
        let upper = self.clamped(upper.unwrap_or_else(|| dim.clone()), &dim, at)?;
        let length = self.tidy(&upper.minus(lower.clone()), at)?;
        let length = if self.never_negative(&length) == Some(true) { length } else { length.max(0) };
        let extent = match step {
            1 => length,
            step => length.plus(step - 1).over(step, Rounding::Floor),
        };
        let extent = self.tidy(&extent, at)?;
        Ok(view.sliced(along, &lower, &Expr::Const(step), extent))
    }

    /// An end of a slice: from the end of the axis if it is negative, and never beyond either end.
    fn clamped(&mut self, end: Expr, dim: &Expr, at: At) -> Result<Expr, Error> {
        if end == *dim {
            return Ok(end);
        }
        let end = match self.never_negative(&end) {
            Some(true) => end,
            _ if self.number(&end).is_some_and(|value| value < 0) => {
                let from = self.tidy(&end.plus(dim.clone()), at)?;
                if self.never_negative(&from) == Some(true) { from } else { from.max(0) }
            }
            Some(false) if self.never_negative(&end.clone().times(-1).minus(1)) == Some(true) => {
                end.plus(dim.clone()).max(0)
            }
            _ => {
                return Err(refuse(
                    at,
                    "whether this end of a slice is negative cannot be determined",
                    "Give tighter loop bounds",
                ));
            }
        };
        let inside = self.dry.is_open(dim) || self.never_negative(&dim.clone().minus(end.clone())) == Some(true);
        Ok(if inside { end } else { end.min(dim.clone()) })
    }

    /// A row of an array, or an element, loaded.
    pub(super) fn row(&mut self, view: &View, index: &Expr, at: At) -> Result<Value, Error> {
        let index = self.index(view, 0, index, at)?;
        let row = view.fixed(0, &index);
        Ok(if row.dims.is_empty() { self.load(&row, at) } else { Value::View(row) })
    }

    /// Loads an element.
    pub(super) fn load(&mut self, view: &View, at: At) -> Value {
        self.work.accesses.push(Self::access(view, &[], false, at));
        Value::Scalar(self.element(view).is_float())
    }
}
