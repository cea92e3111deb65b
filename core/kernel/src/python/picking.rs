//! Parts of arrays: along an axis, windows of images, and elements that indices choose.

use super::args::Args;
use super::lower::PythonLowering;
use super::registry::Move;
use super::tape::Taped;
use super::value::{DRAWN, Value, View, axis};
use crate::expr::{Expr, Rounding};
use crate::nest::{Element, Flops, Node, Work};
use crate::normal::tidy;
use crate::source::refuse;
use accel_ground::error::Error;

impl<'a> PythonLowering<'a> {
    /// Reads what takes parts of arrays.
    pub(super) fn picking(&mut self, moved: Move, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        match moved {
            Move::Split => self.split(args),
            Move::Windows => self.windows(args),
            Move::Resampled => self.resampled(args),
            Move::Tiled => {
                let view = self.operand(args, 0)?;
                let reps = self.extents(args, 1)?;
                let mut view = view;
                while view.dims.len() < reps.len() {
                    view = view.expanded(0);
                }
                let before = view.dims.len() - reps.len();
                let mut dims = view.dims.clone();
                let index: Vec<Expr> = (view.dims.iter().enumerate())
                    .map(|(own, dim)| match own.checked_sub(before).and_then(|at| reps.get(at)) {
                        Some(Expr::Const(1)) | None => axis(own),
                        Some(_) if *dim == Expr::Const(1) => Expr::Const(0),
                        Some(_) => axis(own).modulo(dim.clone(), Rounding::Floor),
                    })
                    .collect();
                for (dim, times) in dims.iter_mut().skip(before).zip(&reps) {
                    *dim = self.tidy(&dim.clone().times(times.clone()), at)?;
                }
                Ok(Value::View(view.of(dims, &index)))
            }
            Move::TakeRows => {
                let view = self.operand(args, 0)?;
                let index = args.get(1, &[]).cloned().unwrap_or(Value::None);
                match self.known(index, 1, at)? {
                    Value::Int(index) => self.row(&view, &index, at),
                    index => {
                        let index = self.view(index, 1, at)?;
                        self.gather(&view, &[index], at)
                    }
                }
            }
            Move::Pick => {
                let (view, picked, index) = self.chosen_elements(args)?;
                self.assume(at, "data decide which elements are taken: every line is as likely");
                let element = self.element(&view);
                let result = self.allocate("gathered", element, &index.dims, at)?;
                let nodes = self.nest(&index.dims, at, |_, own| {
                    let accesses = vec![
                        Self::access(&index, own, false, at),
                        Self::access(&picked, own, false, at),
                        Self::access(&result, own, true, at),
                    ];
                    vec![Node::Work(Work { accesses, at, ..Work::default() })]
                });
                self.emit(nodes);
                self.record(|| Taped::Picked { index, from: picked, result: result.clone(), at });
                Ok(Value::View(result))
            }
            Move::Put => {
                let (view, picked, index) = self.chosen_elements(args)?;
                let adds = matches!(args.get(4, &[]), Some(Value::Bool(true)));
                let source = match args.get(3, &[]).cloned().unwrap_or(Value::None) {
                    value if value.is_number() => None,
                    value => {
                        let source = self.view(value, index.dims.len(), at)?;
                        self.broadcast(&[index.dims.clone(), source.dims.clone()], at)?;
                        Some(Self::spread(&source, &index.dims))
                    }
                };
                self.assume(at, "data decide which elements are stored to: every line is as likely");
                let flops = if adds && self.element(&view).is_float() { Flops::ADD } else { Flops::NONE };
                let nodes = self.nest(&index.dims, at, |_, own| {
                    let mut accesses = vec![Self::access(&index, own, false, at)];
                    accesses.extend(source.as_ref().map(|source| Self::access(source, own, false, at)));
                    accesses.extend(adds.then(|| Self::access(&picked, own, false, at)));
                    accesses.push(Self::access(&picked, own, true, at));
                    vec![Node::Work(Work { accesses, flops, at, ..Work::default() })]
                });
                self.emit(nodes);
                Ok(Value::None)
            }
            Move::Chosen => {
                let view = self.operand(args, 0)?;
                let count = args.get(1, &[]).cloned().and_then(|count| self.known_integer(count));
                let along = args.get(2, &[]).cloned().unwrap_or(Value::Int(Expr::Const(-1)));
                let along = self.axis(&along, view.dims.len(), at)?;
                let Some(count) = count else {
                    return Err(refuse(at, "how many are taken is not known", "Give a number"));
                };
                self.assume(at, "the largest are found in one pass, and stored with their places");
                let nodes = self.pass(&view, false, at);
                self.emit(nodes);
                let mut dims = view.dims.clone();
                if let Some(dim) = dims.get_mut(along) {
                    *dim = count;
                }
                let element = self.element(&view);
                let values = self.allocate("values", element, &dims, at)?;
                self.fill(&values, at);
                let places = self.allocate("indices", Element::I64, &dims, at)?;
                self.fill(&places, at);
                Ok(Value::Tuple(vec![Value::View(values), Value::View(places)]))
            }
            Move::Ordered => self.ordered(args),
            _ => Err(refuse(at, format!("what `{}` costs is not known", args.name), "Write it out")),
        }
    }

    /// Parts along an axis: of a size in PyTorch, as many in NumPy, or as a list says.
    fn split(&mut self, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        // `jax.random.split(key, 3)`: keys cost nothing.
        if args.module == Some("random") || args.values.first().is_some_and(|(value, _)| value.is_number()) {
            let count = match args.get(1, &["num"]).cloned() {
                Some(count) => self.known_integer(count).and_then(|count| self.number(&count)),
                None => Some(2),
            };
            let count = usize::try_from(count.unwrap_or_default()).unwrap_or(usize::MAX);
            self.count_items(count, at)?;
            return Ok(Value::Tuple(vec![Value::Counter(false); count]));
        }
        let view = self.operand(args, 0)?;
        let along = match args.name {
            "vsplit" => 0,
            "hsplit" => usize::from(view.dims.len() > 1),
            _ => {
                let given = args.get(2, &["dim", "axis"]).cloned().unwrap_or(Value::Int(Expr::Const(0)));
                self.axis(&given, view.dims.len(), at)?
            }
        };
        let given = args.get(1, &["split_size", "split_size_or_sections", "indices_or_sections"]).cloned();
        let counted =
            matches!(args.module, Some("np" | "numpy" | "jnp" | "jax" | "cp" | "cupy")) || args.name != "split";
        let dim = view.dims.get(along).cloned().unwrap_or(Expr::Const(1));
        let sizes: Vec<Expr> = match given {
            Some(Value::Tuple(parts)) => {
                let sizes: Option<Vec<Expr>> = parts.into_iter().map(|part| self.known_integer(part)).collect();
                let Some(sizes) = sizes else {
                    return Err(refuse(at, "how long these parts are is not known", "Give numbers"));
                };
                match counted {
                    false => sizes,
                    // NumPy's are where to cut.
                    true => {
                        let ends: Vec<Expr> = sizes.into_iter().chain([dim.clone()]).collect();
                        let starts = std::iter::once(Expr::Const(0)).chain(ends.iter().cloned());
                        ends.iter().zip(starts).map(|(end, start)| tidy(&end.clone().minus(start))).collect()
                    }
                }
            }
            Some(value) => {
                let Some(size) = self.known_integer(value) else {
                    return Err(refuse(at, "how long these parts are is not known", "Give a number"));
                };
                let (Some(extent), Some(number)) = (self.number(&dim), self.number(&size).filter(|size| *size > 0))
                else {
                    return Err(refuse(at, "how long these parts are is not known", "Give a number"));
                };
                let parts = if counted { number } else { (extent + number - 1) / number };
                self.check_items(usize::try_from(parts).unwrap_or(usize::MAX), at)?;
                if counted {
                    let each = self.tidy(&dim.clone().over(number, Rounding::Floor), at)?;
                    vec![each; usize::try_from(parts).unwrap_or_default()]
                } else {
                    let last = extent - (parts - 1) * number;
                    let whole = usize::try_from(parts - 1).unwrap_or_default();
                    let last = if last == number { size.clone() } else { Expr::Const(last) };
                    vec![size; whole].into_iter().chain([last]).collect()
                }
            }
            None => return Err(refuse(at, "how long these parts are is not known", "Give a number")),
        };
        self.count_items(sizes.len(), at)?;
        let mut offset = Expr::Const(0);
        let mut parts = Vec::new();
        for size in sizes {
            parts.push(Value::View(view.sliced(along, &offset, &Expr::Const(1), size.clone())));
            offset = self.tidy(&offset.plus(size), at)?;
        }
        if let (Some(end), Some(extent)) = (self.number(&offset), self.number(&dim))
            && end > extent
            && !self.dry.is_open(&dim)
        {
            let problem = format!("parts of {end} elements in all, and the axis has {extent}");
            return Err(refuse(at, problem, "Give the array's shape"));
        }
        Ok(Value::Tuple(parts))
    }

    /// Integers of a tuple.
    fn extents(&mut self, args: &Args<'a>, position: usize) -> Result<Vec<Expr>, Error> {
        let at = args.at;
        let parts = match args.get(position, &[]).cloned() {
            Some(Value::Tuple(parts)) => parts,
            Some(value) => vec![value],
            None => Vec::new(),
        };
        let extents: Option<Vec<Expr>> = parts.into_iter().map(|part| self.known_integer(part)).collect();
        extents.ok_or_else(|| refuse(at, "an extent is not known", "Give numbers"))
    }

    /// Windows of an image: two axes for each of its own. Beyond the edges the element at the edge stands.
    fn windows(&mut self, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let view = self.operand(args, 0)?;
        let (kernel, stride) = (self.extents(args, 1)?, self.extents(args, 2)?);
        let (padding, dilation) = (self.extents(args, 3)?, self.extents(args, 4)?);
        let up = matches!(args.get(5, &[]), Some(Value::Bool(true)));
        let axes = kernel.len();
        self.want_rank(&view.dims, axes + 2);
        let Some(before) = view.dims.len().checked_sub(axes) else {
            return Err(refuse(
                at,
                format!("windows of {axes} axes in an array of {}", view.dims.len()),
                "Give its shape",
            ));
        };
        let mut dims: Vec<Expr> = view.dims.get(..before).unwrap_or_default().to_vec();
        let mut index: Vec<Expr> = (0..before).map(axis).collect();
        let one = Expr::Const(1);
        let of = |values: &[Expr], own: usize| values.get(own).cloned().unwrap_or(one.clone());
        let mut inner = Vec::new();
        for own in 0..axes {
            let extent = view.dims.get(before + own).cloned().unwrap_or(Expr::Const(1));
            let (size, step, edge, apart) = (of(&kernel, own), of(&stride, own), of(&padding, own), of(&dilation, own));
            let span =
                extent.clone().plus(edge.clone().times(2)).minus(size.clone().minus(1).times(apart.clone())).minus(1);
            let step_number = self.number(&step).filter(|step| *step > 0);
            let Some(step_number) = step_number else {
                return Err(refuse(at, "the stride of these windows is not known", "Give small numbers"));
            };
            let span = if up { span.plus(step_number - 1) } else { span };
            let count = self.tidy(&span.over(step.clone(), Rounding::Floor).plus(1), at)?;
            if self.number(&count).is_some_and(|count| count < 1) && !self.dry.is_open(&extent) {
                let problem = format!("windows larger than the image {}", self.shape_text(&view.dims));
                return Err(refuse(at, problem, "Give the array's shape, or more padding"));
            }
            dims.push(count);
            let at_edge = axis(before + own).times(step).plus(axis(before + axes + own).times(apart));
            let outside = edge != Expr::Const(0) || up;
            index.push(match outside {
                false => at_edge,
                true => at_edge.minus(edge).max(0).min(extent.minus(1)),
            });
            inner.push(size);
        }
        if index.iter().any(|index| matches!(index, Expr::Min(..))) {
            self.assume(at, "windows beyond the edges are counted as whole");
        }
        dims.extend(inner);
        Ok(Value::View(view.of(dims, &index)))
    }

    /// An image of another size: for each of its elements the nearest.
    fn resampled(&mut self, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let view = self.operand(args, 0)?;
        let sizes = self.extents(args, 1)?;
        self.want_rank(&view.dims, sizes.len() + 2);
        let Some(before) = view.dims.len().checked_sub(sizes.len()) else {
            return Err(refuse(at, "more extents than the image has axes", "Give the array's shape"));
        };
        let mut dims: Vec<Expr> = view.dims.get(..before).unwrap_or_default().to_vec();
        let mut index: Vec<Expr> = (0..before).map(axis).collect();
        for (own, size) in sizes.into_iter().enumerate() {
            let extent = view.dims.get(before + own).cloned().unwrap_or(Expr::Const(1));
            index.push(match (self.number(&extent), self.number(&size)) {
                (Some(from), Some(to)) if from > 0 && to % from == 0 => {
                    axis(before + own).over(to / from, Rounding::Floor)
                }
                _ => axis(before + own).times(extent).over(size.clone(), Rounding::Floor),
            });
            dims.push(size);
        }
        Ok(Value::View(view.of(dims, &index)))
    }

    /// What an axis and indices choose: the array, its elements by index, and the indices.
    fn chosen_elements(&mut self, args: &Args<'a>) -> Result<(View, View, View), Error> {
        let at = args.at;
        let view = self.operand(args, 0)?;
        let along = args.get(1, &[]).cloned().unwrap_or(Value::Int(Expr::Const(0)));
        let along = self.axis(&along, view.dims.len(), at)?;
        let index = args.get(2, &[]).cloned().unwrap_or(Value::None);
        let index = self.view(index, view.dims.len(), at)?;
        if index.dims.len() != view.dims.len() {
            let (a, b) = (self.shape_text(&view.dims), self.shape_text(&index.dims));
            return Err(refuse(
                at,
                format!("indices {b} for an array {a}: the axes differ"),
                "Give the arrays' shapes",
            ));
        }
        for (own, (dim, of_index)) in view.dims.clone().iter().zip(&index.dims.clone()).enumerate() {
            // Fewer indices than elements are allowed; shapes that nobody gave are taken to be equal.
            if own != along && (self.dry.is_open(dim) || self.dry.is_open(of_index)) {
                let _ = self.unify(dim, of_index);
            }
        }
        let places: Vec<Expr> =
            (0..view.dims.len()).map(|own| if own == along { Expr::from(DRAWN) } else { axis(own) }).collect();
        let picked = View { by_data: true, ..view.of(index.dims.clone(), &places) };
        Ok((view, picked, index))
    }

    /// Elements in order along an axis, or where they are: as many passes as a merge sort has.
    fn ordered(&mut self, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let view = self.operand(args, 0)?;
        let along = args.get(1, &[]).cloned().unwrap_or(Value::Int(Expr::Const(-1)));
        let along = self.axis(&along, view.dims.len(), at)?;
        let places = matches!(args.get(2, &["whole"]), Some(Value::Bool(true)));
        let element = if places { Element::I64 } else { self.element(&view) };
        let result = self.allocate(if places { "indices" } else { "sorted" }, element, &view.dims, at)?;
        if places {
            self.fill(&result, at);
            return Ok(Value::View(result));
        }
        let extent = view.dims.get(along).and_then(|dim| self.number(dim)).unwrap_or(1).max(2);
        let passes = i64::from(64 - (extent - 1).leading_zeros());
        self.assume(at, format!("sorting {extent} elements takes {passes} passes, as a merge sort does"));
        self.store(&result, Value::View(view), at)?;
        if passes > 1 {
            let nodes = self.nest(&[Expr::Const(passes - 1)], at, |own, _| {
                own.nest(&result.dims, at, |_, index| {
                    let accesses =
                        vec![Self::access(&result, index, false, at), Self::access(&result, index, true, at)];
                    vec![Node::Work(Work { accesses, at, ..Work::default() })]
                })
            });
            self.emit(nodes);
        }
        Ok(Value::View(result))
    }
}
