//! Reductions.

use super::args::Args;
use super::array::shape;
use super::lower::PythonLowering;
use super::value::Value;
use crate::nest::Flops;
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
}
