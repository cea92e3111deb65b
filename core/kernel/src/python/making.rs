//! New arrays: of zeros, of numbers in a row, of lists.

use super::args::Args;
use super::lower::PythonLowering;
use super::registry::Make;
use super::value::Value;
use crate::expr::Expr;
use crate::nest::{At, Element};
use crate::source::refuse;
use accel_ground::error::Error;

impl<'a> PythonLowering<'a> {
    /// Reads what makes a new array.
    pub(super) fn make(&mut self, make: Make, args: &Args<'a>) -> Result<Value, Error> {
        let (name, at) = (args.name, args.at);
        let element = self.kind(Some(make), args);
        match make {
            Make::Filled => {
                let dims = self.dims(args, 0, &["shape", "size"])?;
                self.filled(name, element, &dims, at)
            }
            Make::Empty => {
                let dims = self.dims(args, 0, &["shape", "size"])?;
                self.allocate(name, element, &dims, at).map(Value::View)
            }
            Make::Full => {
                // The value stands where further extents of others do.
                let first = Args { values: args.values.iter().take(1).cloned().collect(), ..Args::none(name, at) };
                let dims = self.dims(&first, 0, &["shape"])?;
                self.filled(name, element, &dims, at)
            }
            Make::Eye => {
                let mut dims = self.dims(args, 0, &["N", "n"])?;
                dims.truncate(2);
                if let [one] = dims.as_slice() {
                    dims = vec![one.clone(), one.clone()];
                }
                self.filled(name, element, &dims, at)
            }
            Make::Arange => {
                let named =
                    [&["start"][..], &["stop", "end"], &["step"]].map(|names| args.get(usize::MAX, names).cloned());
                let values = args.values.iter().map(|(value, _)| value.clone()).chain(named.into_iter().flatten());
                let parts =
                    Value::Tuple(values.filter(|value| !matches!(value, Value::Type(_) | Value::Text(_))).collect());
                let ends = Args { values: vec![(parts, at)], ..Args::none(name, at) };
                let count = match self.dims(&ends, 0, &[])?.as_slice() {
                    [stop] => Some(stop.clone()),
                    [start, stop] => Some(stop.clone().minus(start.clone())),
                    [start, stop, step] => {
                        let step = self.number(step).filter(|step| *step != 0);
                        step.map(|step| Self::rounds(start, stop, step))
                    }
                    _ => None,
                };
                self.counted(name, element, count, at)
            }
            Make::Linspace => {
                let count = match args.get(2, &["num", "step"]) {
                    Some(count) => self.known_integer(count.clone()),
                    // As many as NumPy makes where nobody says.
                    None => Some(Expr::Const(50)),
                };
                self.counted(name, element, count, at)
            }
            Make::Like { filled } => {
                let view = self.operand(args, 0)?;
                let element = if args.get(usize::MAX, &["dtype"]).is_some() { element } else { self.element(&view) };
                match filled {
                    true => self.filled(name, element, &view.dims, at),
                    false => self.allocate(name, element, &view.dims, at).map(Value::View),
                }
            }
            Make::Random { shaped, integers } => {
                let size = || args.values.iter().position(|(value, _)| matches!(value, Value::Tuple(_)));
                let from = if shaped { 0 } else { size().unwrap_or(usize::MAX) };
                let dims = self.dims(args, from, &["size", "shape"])?;
                self.assume(at, "of random numbers only the stores are counted");
                self.filled(name, if integers { Element::I64 } else { element }, &dims, at)
            }
            Make::Array { copies } => {
                let value = args.get(0, &[]).cloned().unwrap_or(Value::None);
                match self.known(value, 2, at)? {
                    Value::Tuple(parts) => self.literal(parts, element, at),
                    Value::View(view) if copies => self.copied(&view, at),
                    other => Ok(other),
                }
            }
        }
    }

    /// A new row of `count` numbers.
    fn counted(&mut self, name: &str, element: Element, count: Option<Expr>, at: At) -> Result<Value, Error> {
        let Some(count) = count else {
            return Err(refuse(at, "how many elements this has is not known", "Give whole numbers"));
        };
        let count = self.tidy(&count, at)?;
        self.filled(name, element, &[count], at)
    }

    /// A new array with a number in each element.
    fn filled(&mut self, name: &str, element: Element, dims: &[Expr], at: At) -> Result<Value, Error> {
        let view = self.allocate(name, element, dims, at)?;
        self.fill(&view, at);
        Ok(Value::View(view))
    }

    /// `np.array([1.0, 2.0])`: nested lists of numbers.
    pub(super) fn literal(&mut self, parts: Vec<Value>, element: Element, at: At) -> Result<Value, Error> {
        let rows: Vec<usize> =
            parts.iter().map(|part| if let Value::Tuple(row) = part { row.len() } else { 0 }).collect();
        let numbers = parts.iter().all(Value::is_number);
        let table = parts.iter().all(|part| matches!(part, Value::Tuple(row) if row.iter().all(Value::is_number)));
        let even = rows.windows(2).all(|pair| pair.first() == pair.last());
        let mut dims = vec![Expr::Const(parts.len() as i64)];
        if table && even && !parts.is_empty() {
            dims.push(Expr::Const(rows.first().copied().unwrap_or_default() as i64));
        } else if !numbers {
            return Err(refuse(at, "this list is no table of numbers", "Give lists of equal lengths"));
        }
        self.filled("array", element, &dims, at)
    }

    /// The type that a call asks for, if it does.
    fn dtype_argument(args: &Args<'a>) -> Option<Element> {
        let named = |value: &Value| match value {
            Value::Type(element) => Some(*element),
            Value::Text(text) => Element::named(text),
            _ => None,
        };
        let given = args.get(usize::MAX, &["dtype"]).and_then(named);
        given.or_else(|| args.values.iter().skip(1).find_map(|(value, _)| named(value)))
    }

    /// The type that a call asks for, or else that which is.
    pub(super) fn kind_or(&self, own: Element, args: &Args<'a>) -> Element {
        Self::dtype_argument(args).unwrap_or(own)
    }

    /// The type of what a call makes: as it asks, else as its module has it.
    pub(super) fn kind(&self, make: Option<Make>, args: &Args<'a>) -> Element {
        let whole = |value: &Value| match value {
            Value::Tuple(parts) => parts.iter().all(|part| match part {
                Value::Tuple(row) => row.iter().all(|part| matches!(part, Value::Int(_))),
                part => matches!(part, Value::Int(_)),
            }),
            value => matches!(value, Value::Int(_)),
        };
        // Of integers, these are integers.
        let integers = match make {
            Some(Make::Arange) => args.values.iter().all(|(value, _)| whole(value)),
            Some(Make::Full) => args.get(1, &["fill_value"]).is_some_and(whole),
            Some(Make::Array { .. }) => args.get(0, &[]).is_some_and(whole),
            _ => false,
        };
        Self::dtype_argument(args).unwrap_or(match args.module {
            Some("np" | "numpy" | "torch") if integers => Element::I64,
            Some("jnp" | "jax") if integers => Element::I32,
            Some("np" | "numpy") => Element::F64,
            Some("torch" | "jnp" | "jax") => Element::F32,
            _ => self.source.element,
        })
    }
}
