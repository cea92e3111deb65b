//! Convolutions, counted like products of matrices: a sum over the filter for each element of the result.

use super::args::Args;
use super::array::shape;
use super::lower::PythonLowering;
use super::registry::Mode;
use super::tape::Sizes;
use super::value::{Value, View};
use crate::expr::{Expr, Rounding};
use crate::nest::{At, Flops};
use crate::source::refuse;
use accel_ground::error::Error;

impl<'a> PythonLowering<'a> {
    /// `np.convolve`: each element of the longer with each of the shorter that it meets.
    pub(super) fn convolve(&mut self, a: Value, v: Value, default: Mode, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let mode = mode_of(args.get(2, &["mode"]), default, at)?;
        let (a, v) = (self.view(a, 1, at)?, self.view(v, 1, at)?);
        if a.dims.len() != 1 || v.dims.len() != 1 {
            return Err(refuse(at, "`convolve` takes arrays of one axis", "Give rows"));
        }
        let (a, v) = if self.covers(&v, &a) { (v, a) } else { (a, v) };
        self.slid("convolve", a, v, mode, at)
    }

    /// The same of matrices.
    pub(super) fn convolve2d(&mut self, a: Value, v: Value, args: &Args<'a>) -> Result<Value, Error> {
        let (name, at) = (args.name, args.at);
        let mode = mode_of(args.get(2, &["mode"]), Mode::Full, at)?;
        let (a, v) = (self.view(a, 2, at)?, self.view(v, 2, at)?);
        if a.dims.len() != 2 || v.dims.len() != 2 {
            return Err(refuse(at, format!("`{name}` takes matrices"), "Give arrays of two axes"));
        }
        let (a, v) = if mode != Mode::Same && self.covers(&v, &a) { (v, a) } else { (a, v) };
        self.slid(name, a, v, mode, at)
    }

    /// Whether `a` is at least as long as `b` along each axis, and longer along one.
    fn covers(&self, a: &View, b: &View) -> bool {
        let pairs = || a.dims.iter().zip(&b.dims).map(|(a, b)| (self.number(a), self.number(b)));
        pairs().all(|(a, b)| a >= b) && pairs().any(|(a, b)| a > b)
    }

    /// `v` slid along `a`: a sum over all of `v` for each element of the result.
    fn slid(&mut self, name: &str, a: View, v: View, mode: Mode, at: At) -> Result<Value, Error> {
        let mut out = Vec::new();
        for (dim, k) in a.dims.iter().zip(&v.dims) {
            let extent = match mode {
                Mode::Full => dim.clone().plus(k.clone()).minus(1),
                Mode::Same => dim.clone(),
                Mode::Valid => dim.clone().minus(k.clone()).plus(1),
            };
            let extent = self.tidy(&extent, at)?;
            if self.number(&extent).is_some_and(|extent| extent < 1) && !self.dry.is_open(&extent) {
                let (a, v) = (self.shape_text(&a.dims), self.shape_text(&v.dims));
                return Err(refuse(at, format!("`{name}` of shapes {a} and {v} is empty"), "Give the arrays' shapes"));
            }
            out.push(extent);
        }
        if mode != Mode::Valid {
            self.state_padding(at);
        }
        let m = self.tidy(&out.iter().cloned().fold(Expr::Const(1), Expr::times), at)?;
        let k = self.tidy(&v.dims.iter().cloned().fold(Expr::Const(1), Expr::times), at)?;
        self.library(name, Sizes { batch: 1.into(), m, n: 1.into(), k }, &[a, v], (out, None), at)
    }

    fn state_padding(&mut self, at: At) {
        self.assume(at, "zeros beyond the edges are counted as loads and FLOPs");
    }

    /// `conv1d` and `conv2d` of PyTorch: images, channels first, and filters.
    pub(super) fn convolution(&mut self, axes: usize, x: Value, w: Value, args: &Args<'a>) -> Result<Value, Error> {
        let (name, at) = (args.name, args.at);
        let (x, w) = (self.view(x, axes + 2, at)?, self.view(w, axes + 2, at)?);
        self.want_rank(&x.dims, axes + 2);
        if x.dims.len() != axes + 2 || w.dims.len() != axes + 2 {
            let (x, w) = (self.shape_text(&x.dims), self.shape_text(&w.dims));
            return Err(refuse(
                at,
                format!("`{name}` of shapes {x} and {w}"),
                "Give the arrays' shapes, channels before extents",
            ));
        }
        for (dim, hint) in w.dims.clone().iter().zip(["F", "C", "R", "S", "Q"]) {
            self.hint(dim, hint);
        }
        let groups = match args.get(6, &["groups"]) {
            Some(Value::Int(groups)) => groups.clone(),
            _ => Expr::Const(1),
        };
        let dim = |view: &View, at: usize| view.dims.get(at).cloned().unwrap_or(Expr::Const(1));
        let channels = self.tidy(&dim(&w, 1).times(groups), at)?;
        if !self.unify(&dim(&x, 1), &channels) {
            let (x, w) = (self.shape_text(&x.dims), self.shape_text(&w.dims));
            return Err(refuse(
                at,
                format!("`{name}` of shapes {x} and {w}: the channels differ"),
                "Give the arrays' shapes",
            ));
        }
        let option =
            |own: &Self, position: usize, names: &[&str], axis: usize, default: i64| match args.get(position, names) {
                None => Some(default),
                Some(Value::Int(value)) => own.number(value),
                Some(Value::Tuple(parts)) => match parts.get(axis) {
                    Some(Value::Int(value)) => own.number(value),
                    _ => None,
                },
                Some(_) => None,
            };
        let mut out = vec![dim(&x, 0), dim(&w, 0)];
        // "same" and "valid", as PyTorch and JAX have them.
        let (same, valid) = match args.get(4, &["padding"]) {
            Some(Value::Text(text)) => (text.eq_ignore_ascii_case("same"), text.eq_ignore_ascii_case("valid")),
            _ => (false, false),
        };
        for own in 0..axes {
            let stride = option(self, 3, &["stride"], own, 1);
            let dilation = option(self, 5, &["dilation"], own, 1);
            let padding = if valid || same { Some(0) } else { option(self, 4, &["padding"], own, 0) };
            if let (true, Some(stride @ 1..=65536)) = (same, stride) {
                self.state_padding(at);
                let extent = dim(&x, own + 2).plus(stride - 1).over(stride, Rounding::Floor);
                out.push(self.tidy(&extent, at)?);
                continue;
            }
            let (Some(stride @ 1..=65536), Some(padding @ 0..=65536), Some(dilation @ 1..=65536)) =
                (stride, padding, dilation)
            else {
                return Err(refuse(at, "stride, padding or dilation is not known", "Give small numbers"));
            };
            let reach = dim(&w, own + 2).minus(1).times(dilation);
            let span = dim(&x, own + 2).plus(2 * padding).minus(reach).minus(1);
            if self.number(&span).is_some_and(|span| span < 0) && !self.dry.is_open(&span) {
                let (x, w) = (self.shape_text(&x.dims), self.shape_text(&w.dims));
                let problem = format!("`{name}` of shapes {x} and {w}: the filter is larger than the padded image");
                return Err(refuse(at, problem, "Give the arrays' shapes, or more padding"));
            }
            if padding > 0 {
                self.state_padding(at);
            }
            out.push(self.tidy(&span.over(stride, Rounding::Floor).plus(1), at)?);
        }
        let m = out.iter().skip(2).cloned().fold(dim(&x, 0), Expr::times);
        let k = w.dims.iter().skip(1).cloned().fold(Expr::Const(1), Expr::times);
        let sizes = Sizes { batch: 1.into(), m: self.tidy(&m, at)?, n: dim(&w, 0), k: self.tidy(&k, at)? };
        let result = self.library(name, sizes, &[x, w], (out, None), at)?;
        self.channels_biased(result, args, axes, at)
    }

    /// `conv_transpose1d` and `conv_transpose2d`: each element of the image times a filter, added to what it covers.
    pub(super) fn transposed_convolution(
        &mut self,
        axes: usize,
        x: Value,
        w: Value,
        args: &Args<'a>,
    ) -> Result<Value, Error> {
        let (name, at) = (args.name, args.at);
        let (x, w) = (self.view(x, axes + 2, at)?, self.view(w, axes + 2, at)?);
        self.want_rank(&x.dims, axes + 2);
        let dim = |view: &View, at: usize| view.dims.get(at).cloned().unwrap_or(Expr::Const(1));
        if x.dims.len() != axes + 2 || w.dims.len() != axes + 2 || !self.unify(&dim(&x, 1), &dim(&w, 0)) {
            let (x, w) = (self.shape_text(&x.dims), self.shape_text(&w.dims));
            let cure = "Give the arrays' shapes, channels before extents; those of the filter are [in, out, ...]";
            return Err(refuse(at, format!("`{name}` of shapes {x} and {w}"), cure));
        }
        let groups = match args.get(6, &["groups"]) {
            Some(Value::Int(groups)) => groups.clone(),
            _ => Expr::Const(1),
        };
        let channels = self.tidy(&dim(&w, 1).times(groups.clone()), at)?;
        let mut out = vec![dim(&x, 0), channels.clone()];
        for own in 0..axes {
            let option = |own: &Self, position: usize, name: &str, axis: usize, default: i64| match args
                .get(position, &[name])
            {
                None | Some(Value::None) => Some(Expr::Const(default)),
                Some(Value::Int(value)) => Some(value.clone()),
                Some(Value::Tuple(parts)) => match parts.get(axis) {
                    Some(Value::Int(value)) => own.number(value).map(Expr::Const),
                    _ => None,
                },
                Some(_) => None,
            };
            let stride = option(self, 3, "stride", own, 1);
            let padding = option(self, 4, "padding", own, 0);
            let more = option(self, 5, "output_padding", own, 0);
            let dilation = option(self, 7, "dilation", own, 1);
            let (Some(stride), Some(padding), Some(more), Some(dilation)) = (stride, padding, more, dilation) else {
                return Err(refuse(at, "stride, padding or dilation is not known", "Give small numbers"));
            };
            // As PyTorch documents ConvTranspose2d.
            let extent = dim(&x, own + 2).minus(1).times(stride).minus(padding.times(2));
            let extent = extent.plus(dim(&w, own + 2).minus(1).times(dilation)).plus(more).plus(1);
            out.push(self.tidy(&extent, at)?);
        }
        let m = x.dims.iter().skip(2).cloned().fold(dim(&x, 0), Expr::times);
        let n = w.dims.iter().skip(1).cloned().fold(Expr::Const(1), Expr::times);
        let (m, n, k) = (self.tidy(&m, at)?, self.tidy(&n, at)?, dim(&x, 1));
        let result = self.library(name, Sizes { batch: 1.into(), m, n, k }, &[x, w], (out, None), at)?;
        self.channels_biased(result, args, axes, at)
    }

    /// A bias for each channel.
    fn channels_biased(&mut self, result: Value, args: &Args<'a>, axes: usize, at: At) -> Result<Value, Error> {
        match args.get(2, &["bias"]).cloned() {
            None | Some(Value::None) => Ok(result),
            Some(bias) => {
                let filters = shape(&result).and_then(|dims| dims.get(1).cloned());
                let mut bias = match bias {
                    Value::Unknown(name) if !self.resolved.contains_key(&name) => {
                        self.array_with(&name, filters.into_iter().collect(), at)?
                    }
                    bias => self.view(bias, 1, at)?,
                };
                for _ in 0..axes {
                    bias = bias.expanded(bias.dims.len());
                }
                self.elementwise(vec![(result, at), (Value::View(bias), at)], Flops::ADD, None, at)
            }
        }
    }
}

/// What a convolution keeps, as its argument says.
fn mode_of(mode: Option<&Value>, default: Mode, at: At) -> Result<Mode, Error> {
    match mode {
        None => Ok(default),
        Some(Value::Text(text)) if text == "full" => Ok(Mode::Full),
        Some(Value::Text(text)) if text == "same" => Ok(Mode::Same),
        Some(Value::Text(text)) if text == "valid" => Ok(Mode::Valid),
        Some(_) => Err(refuse(at, "this mode is not known", "Give \"full\", \"same\" or \"valid\"")),
    }
}
