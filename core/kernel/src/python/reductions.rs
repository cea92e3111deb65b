//! Reductions.

use ruff_python_ast::Operator;

use super::args::Args;
use super::array::shape;
use super::lower::PythonLowering;
use super::value::Value;
use crate::expr::Expr;
use crate::nest::Flops;
use accel_ground::error::Error;

impl<'a> PythonLowering<'a> {
    /// A reduction at the cost of `flops` for each element.
    pub(super) fn reduction(&mut self, flops: Flops, args: &Args<'a>) -> Result<Value, Error> {
        let value = args.get(0, &["a", "x", "input"]).cloned().unwrap_or(Value::None);
        if let Value::Tuple(parts) = &value {
            if let Some(value) = self.settled_list(args, parts)? {
                return Ok(value);
            }
            let numbers = parts.iter().map(|part| (part.clone(), args.at)).collect();
            return self.elementwise(numbers, Flops { add: parts.len() as u32, ..Flops::NONE }, None, args.at);
        }
        let value = self.known(value, 2, args.at)?;
        let rank = shape(&value).map_or(0, |dims| dims.len());
        let axes = self.axes(args, 1, rank)?;
        self.reduce(value, flops, axes, Self::keeps(args), args.at)
    }

    /// What a list of numbers that the source decides comes to, and the sum of a list of arrays.
    fn settled_list(&mut self, args: &Args<'a>, parts: &[Value]) -> Result<Option<Value>, Error> {
        let at = args.at;
        let whole = parts.iter().all(|part| matches!(part, Value::Int(_)));
        let truths = || parts.iter().map(|part| if let Value::Bool(value) = part { Some(*value) } else { None });
        let operator = match args.name {
            "all" | "any" => {
                let truths: Option<Vec<bool>> = truths().collect();
                let found = truths.map(|own| own.contains(&(args.name == "any")) == (args.name == "any"));
                return Ok(found.map(Value::Bool));
            }
            "sum" if whole || parts.iter().any(Value::is_array) => Operator::Add,
            "prod" if whole => Operator::Mult,
            _ => return Ok(None),
        };
        let start = args.values.get(1).map(|(value, _)| value.clone());
        let mut parts = start.into_iter().chain(parts.iter().cloned());
        let mut total = parts.next().unwrap_or(Value::Int(Expr::Const(i64::from(operator == Operator::Mult))));
        for part in parts {
            total = self.arithmetic(operator, (total, at), (part, at), at)?;
        }
        Ok(Some(total))
    }
}
