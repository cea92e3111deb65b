//! Reductions, and functions that are several passes.
//!
//! Functions that are formulas are the passes that their formulas have: `softmax(x)` is a maximum, a difference, an
//! exponential, a sum and a quotient; `var(x)` a mean, a difference, a square and a mean; `layer_norm` both of them, a
//! difference, a square root of the variance plus epsilon, and a quotient.

use super::args::Args;
use super::array::shape;
use super::lower::PythonLowering;
use super::registry::Statistic;
use super::value::{Real, Value};
use crate::nest::{At, Flops};
use crate::source::refuse;
use accel_ground::error::Error;

impl<'a> PythonLowering<'a> {
    /// A reduction at the cost of `flops` for each element.
    pub(super) fn reduction(&mut self, flops: Flops, args: &Args<'a>) -> Result<Value, Error> {
        let value = args.get(0, &["a", "x", "input"]).cloned().unwrap_or(Value::None);
        if let Value::Tuple(parts) = &value {
            let numbers = parts.iter().map(|part| (part.clone(), args.at)).collect();
            return self.elementwise(numbers, Flops { add: parts.len() as u32, ..Flops::NONE }, None, args.at);
        }
        let value = self.known(value, 2, args.at)?;
        let rank = shape(&value).map_or(0, |dims| dims.len());
        let axes = self.axes(args, 1, rank)?;
        self.reduce(value, flops, axes, Self::keeps(args), args.at)
    }

    /// Functions that are several passes.
    pub(super) fn statistic(&mut self, statistic: Statistic, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let value = args.get(0, &["x", "input", "a"]).cloned().unwrap_or(Value::None);
        let value = self.known(value, 2, at)?;
        let Some(dims) = shape(&value) else {
            return Err(refuse(at, format!("`{}` of {}", args.name, value.description()), "Give an array"));
        };
        // Read more than once.
        let value = Value::View(self.view(value, 2, at)?);
        let position = if statistic == Statistic::Norm { 2 } else { 1 };
        let axes = match statistic {
            Statistic::LayerNorm => {
                let normal = match args.get(1, &["normalized_shape", "axis"]) {
                    Some(Value::Tuple(parts)) => parts.len().clamp(1, dims.len().max(1)),
                    _ => 1,
                };
                Some((dims.len().saturating_sub(normal)..dims.len()).collect())
            }
            _ => self.axes(args, position, dims.len())?,
        };
        let axes = match (statistic, axes) {
            // Of PyTorch and JAX, whose default is the last axis; SciPy's is all of them.
            (Statistic::Softmax | Statistic::LogSoftmax, None) => Some(vec![dims.len().saturating_sub(1)]),
            (_, axes) => axes,
        };
        let keep = Self::keeps(args);
        match statistic {
            Statistic::Mean => self.mean(value, axes, keep, at),
            Statistic::Variance => self.variance(value, axes, keep, at),
            Statistic::Deviation => {
                let variance = self.variance(value, axes, keep, at)?;
                self.elementwise(vec![(variance, at)], Flops::SQRT, Some(Real::Yes), at)
            }
            Statistic::Norm => {
                let squares = self.elementwise(vec![(value, at)], Flops::MUL, None, at)?;
                let sum = self.reduce(squares, Flops::ADD, axes, keep, at)?;
                self.elementwise(vec![(sum, at)], Flops::SQRT, Some(Real::Yes), at)
            }
            Statistic::Softmax => {
                let exp = self.shifted(&value, axes.clone(), at)?;
                let exp = Value::View(self.view(exp, 2, at)?);
                let sum = self.reduce(exp.clone(), Flops::ADD, axes, true, at)?;
                self.elementwise(vec![(exp, at), (sum, at)], Flops::DIV, None, at)
            }
            Statistic::LogSoftmax => {
                let most = self.reduce(value.clone(), Flops::MIN_MAX, axes.clone(), true, at)?;
                let shifted = self.elementwise(vec![(value, at), (most, at)], Flops::ADD, None, at)?;
                let shifted = Value::View(self.view(shifted, 2, at)?);
                let exp = self.elementwise(vec![(shifted.clone(), at)], Flops::SPECIAL, Some(Real::Yes), at)?;
                let sum = self.reduce(exp, Flops::ADD, axes, true, at)?;
                let log = self.elementwise(vec![(sum, at)], Flops::SPECIAL, Some(Real::Yes), at)?;
                self.elementwise(vec![(shifted, at), (log, at)], Flops::ADD, None, at)
            }
            Statistic::LogSumExp => {
                let most = self.reduce(value.clone(), Flops::MIN_MAX, axes.clone(), keep, at)?;
                let exp = self.shifted(&value, axes.clone(), at)?;
                let sum = self.reduce(exp, Flops::ADD, axes, keep, at)?;
                let log = self.elementwise(vec![(sum, at)], Flops::SPECIAL, Some(Real::Yes), at)?;
                self.elementwise(vec![(log, at), (most, at)], Flops::ADD, None, at)
            }
            Statistic::LayerNorm => self.layer_norm(value, axes, args),
        }
    }

    /// `exp(x - max(x))`.
    fn shifted(&mut self, value: &Value, axes: Option<Vec<usize>>, at: At) -> Result<Value, Error> {
        let most = self.reduce(value.clone(), Flops::MIN_MAX, axes, true, at)?;
        let shifted = self.elementwise(vec![(value.clone(), at), (most, at)], Flops::ADD, None, at)?;
        self.elementwise(vec![(shifted, at)], Flops::SPECIAL, Some(Real::Yes), at)
    }

    fn mean(&mut self, value: Value, axes: Option<Vec<usize>>, keep: bool, at: At) -> Result<Value, Error> {
        let sum = self.reduce(value, Flops::ADD, axes, keep, at)?;
        self.elementwise(vec![(sum, at)], Flops::DIV, Some(Real::Yes), at)
    }

    fn variance(&mut self, value: Value, axes: Option<Vec<usize>>, keep: bool, at: At) -> Result<Value, Error> {
        let mean = self.mean(value.clone(), axes.clone(), true, at)?;
        let difference = self.elementwise(vec![(value, at), (mean, at)], Flops::ADD, None, at)?;
        let squares = self.elementwise(vec![(difference, at)], Flops::MUL, None, at)?;
        self.mean(squares, axes, keep, at)
    }

    fn layer_norm(&mut self, value: Value, axes: Option<Vec<usize>>, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let mean = self.mean(value.clone(), axes.clone(), true, at)?;
        let centred = self.elementwise(vec![(value, at), (mean, at)], Flops::ADD, None, at)?;
        let centred = Value::View(self.view(centred, 2, at)?);
        let squares = self.elementwise(vec![(centred.clone(), at)], Flops::MUL, None, at)?;
        let variance = self.mean(squares, axes, true, at)?;
        let root =
            self.elementwise(vec![(variance, at)], Flops { add: 1, sqrt: 1, ..Flops::NONE }, Some(Real::Yes), at)?;
        let mut result = self.elementwise(vec![(centred, at), (root, at)], Flops::DIV, None, at)?;
        for (position, name, flops) in [(2, "weight", Flops::MUL), (3, "bias", Flops::ADD)] {
            let Some(other) = args.get(position, &[name]).filter(|value| !matches!(value, Value::None)).cloned() else {
                continue;
            };
            let (a, b) = self.pair(result, other, at)?;
            result = self.elementwise(vec![(a, at), (b, at)], flops, None, at)?;
        }
        Ok(result)
    }
}
