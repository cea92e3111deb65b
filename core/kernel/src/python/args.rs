//! The arguments of calls: arrays, axes, shapes.

use super::lower::PythonLowering;
use super::value::{Value, View};
use crate::expr::Expr;
use crate::nest::At;
use crate::source::refuse;
use accel_ground::error::Error;

/// The arguments of a call, evaluated.
pub(super) struct Args<'a> {
    /// What is called, without its module.
    pub(super) name: &'a str,
    /// Those without a name; that of a method first.
    pub(super) values: Vec<(Value, At)>,
    /// Those with a name.
    pub(super) names: Vec<(&'a str, Value, At)>,
    /// The module that the function is of, if the call says so.
    pub(super) module: Option<&'a str>,
    /// Where the call stands.
    pub(super) at: At,
}

impl<'a> Args<'a> {
    /// No arguments yet.
    pub(super) fn none(name: &'a str, at: At) -> Self {
        Self { name, values: Vec::new(), names: Vec::new(), module: None, at }
    }

    /// The argument at `position`, or of one of those names.
    pub(super) fn get(&self, position: usize, names: &[&str]) -> Option<&Value> {
        let named = || self.names.iter().find(|(name, ..)| names.contains(name)).map(|(_, value, _)| value);
        self.values.get(position).map(|(value, _)| value).or_else(named)
    }
}

impl<'a> PythonLowering<'a> {
    /// An argument that is an array, in memory.
    pub(super) fn operand(&mut self, args: &Args<'a>, position: usize) -> Result<View, Error> {
        let value = args.get(position, &["x", "input", "a"]).cloned().unwrap_or(Value::None);
        let at = args.values.get(position).map_or(args.at, |(_, at)| *at);
        self.view(value, 2, at)
    }

    /// `value` as an array in memory.
    pub(super) fn view(&mut self, value: Value, rank: usize, at: At) -> Result<View, Error> {
        match self.known(value, rank, at)? {
            Value::View(view) => Ok(view),
            Value::Lazy(lazy) => self.materialise(*lazy, "element-wise"),
            other => Err(refuse(at, format!("{} where an array must stand", other.description()), "Give an array")),
        }
    }

    /// The number of an axis, from the last if it is negative.
    pub(super) fn axis(&mut self, value: &Value, rank: usize, at: At) -> Result<usize, Error> {
        let number = match value {
            Value::Int(expr) => self.number(expr),
            _ => None,
        };
        let from = number.map(|number| if number < 0 { number + rank as i64 } else { number });
        match from.and_then(|from| usize::try_from(from).ok()).filter(|from| *from < rank) {
            Some(axis) => Ok(axis),
            None => {
                self.wanted_axis(number, rank);
                let given = number.map_or_else(|| value.description().to_owned(), |number| number.to_string());
                Err(refuse(
                    at,
                    format!("axis {given} of an array with {rank} axes"),
                    "Give the array's shape, or another axis",
                ))
            }
        }
    }

    /// Which axes a reduction takes; none for all.
    pub(super) fn axes(&mut self, args: &Args<'a>, position: usize, rank: usize) -> Result<Option<Vec<usize>>, Error> {
        let at = args.at;
        Ok(match args.get(position, &["axis", "dim"]).cloned() {
            None | Some(Value::None) => None,
            Some(Value::Tuple(parts)) => {
                let mut axes: Vec<usize> =
                    parts.iter().map(|part| self.axis(part, rank, at)).collect::<Result<_, _>>()?;
                axes.sort_unstable();
                axes.dedup();
                Some(axes)
            }
            Some(value) => Some(vec![self.axis(&value, rank, at)?]),
        })
    }

    /// Whether reduced axes stay, with an extent of 1.
    pub(super) fn keeps(args: &Args<'a>) -> bool {
        matches!(args.get(usize::MAX, &["keepdims", "keepdim"]), Some(Value::Bool(true)))
    }

    /// A shape given as a tuple, a number, or several numbers from `from` on.
    pub(super) fn dims(&mut self, args: &Args<'a>, from: usize, names: &[&str]) -> Result<Vec<Expr>, Error> {
        let at = args.at;
        let parts = match args.get(from, names) {
            Some(Value::Tuple(parts)) => parts.clone(),
            Some(first) => {
                let more = args.values.iter().skip(from.saturating_add(1)).map(|(value, _)| value.clone());
                std::iter::once(first.clone())
                    .chain(more.filter(|value| !matches!(value, Value::Type(_) | Value::Text(_))))
                    .collect()
            }
            None => return Err(refuse(at, "a shape is missing", "Give it: `np.zeros((n, m))`")),
        };
        (parts.into_iter())
            .map(|part| match self.known_integer(part) {
                Some(expr) => Ok(expr),
                None => Err(refuse(at, "an extent of this shape is not known", "Give it as a parameter")),
            })
            .collect()
    }

    /// An integer; what nothing is known of becomes a parameter.
    pub(super) fn known_integer(&mut self, value: Value) -> Option<Expr> {
        match value {
            Value::Int(expr) => Some(expr),
            Value::Unknown(name) => match self.resolved.get(&name) {
                Some(Value::Int(expr)) => Some(expr.clone()),
                Some(_) => None,
                None => {
                    let expr: Expr = self.builder.parameter(&name).into();
                    self.resolved.insert(name, Value::Int(expr.clone()));
                    Some(expr)
                }
            },
            _ => None,
        }
    }
}
