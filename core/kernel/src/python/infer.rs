//! Shapes that nobody gave: inferred from how arrays are used.
//!
//! The program is read twice. The first time every extent of such an array is a symbol of its own; operations make
//! extents equal, subscripts say how far they reach. The symbols that are left get names, and the second reading takes
//! the shapes as given.

use std::collections::{BTreeMap, BTreeSet};

use super::dry::{FoundArgument, Open, Shapes};
use super::lower::PythonLowering;
use super::usage::Use;
use super::value::{Value, View};
use crate::expr::{Expr, Symbol};
use crate::nest::{At, DEFAULT_EXTENT, Element, SymbolInfo};
use accel_ground::error::Error;

/// Names for extents of arrays of one to four axes, outermost first.
const NAMES: [&[&str]; 4] = [&["N"], &["M", "N"], &["B", "M", "N"], &["B", "C", "H", "W"]];
/// As many axes an argument of which nothing is known may turn out to have.
const MOST_AXES: usize = 8;
/// Names where those are taken.
const MORE: [&str; 9] = ["N", "M", "K", "P", "Q", "R", "S", "T", "U"];

impl PythonLowering<'_> {
    /// Lets a product name its extents, where they have no name yet.
    pub(super) fn hint(&mut self, dim: &Expr, name: &str) {
        if let Some((_, open)) = self.dry.open(dim).filter(|(_, open)| !open.strong) {
            (open.hint, open.strong) = (name.to_owned(), true);
        }
    }

    /// A subscript of an open extent: how far does it reach?
    pub(super) fn reach(&mut self, dim: &Expr, subscript: &Expr) {
        if self.dry.open(dim).is_none() {
            return;
        }
        let Some((end, _)) = self.extreme(subscript, true, false) else { return };
        let mut end = self.dry.known(&end.plus(1));
        // `i + 1 < n` around it says more than the loop does.
        for fact in &self.facts {
            let below = self.dry.known(&subscript.clone().plus(1).plus(fact.clone()));
            if let (Some(tight), Some(loose)) = (self.number(&below), self.number(&end))
                && tight < loose
            {
                end = below;
            }
        }
        let dim = self.dry.known(dim);
        if end == dim {
            return;
        }
        if self.dry.open(&end).is_some() {
            self.dry.bind(&dim, &end);
        } else if !self.dry.is_open(&end)
            && !self.varies(&end)
            && let Some((_, open)) = self.dry.open(&dim)
            && !open.reaches.contains(&end)
        {
            open.reaches.push(end);
        }
    }

    /// The array that an argument turns out to be.
    pub(super) fn array_of(&mut self, name: &str, rank: usize, at: At) -> Result<View, Error> {
        let used = self.used(name);
        let rank = if used.rank > 0 { used.rank } else { rank.max(used.least).max(1) };
        self.array_as(name, rank, None, at)
    }

    /// The array of as many axes that an argument turns out to be.
    pub(super) fn array_as(
        &mut self,
        name: &str,
        rank: usize,
        element: Option<Element>,
        at: At,
    ) -> Result<View, Error> {
        let rank = self.ranks.get(name).copied().unwrap_or(rank);
        let dims: Vec<Expr> = (0..rank)
            .map(|axis| {
                let symbols = &mut self.builder.program.symbols;
                let symbol = Symbol(symbols.len() as u32);
                symbols.push(SymbolInfo { name: format!("{name}.shape[{axis}]"), value: Some(DEFAULT_EXTENT) });
                let names = NAMES.get(rank - 1).copied().unwrap_or(&MORE);
                let hint = names.get(axis).copied().unwrap_or("N").to_owned();
                self.dry.open.insert(symbol, Open { hint, strong: false, reaches: Vec::new() });
                Expr::Symbol(symbol)
            })
            .collect();
        let view = self.array_with(name, dims, at)?;
        if let Some(element) = element {
            self.dry.elements.insert(name.to_owned(), element);
            if let Some(array) = self.builder.program.arrays.get_mut(view.array) {
                array.element = element;
            }
        }
        Ok(view)
    }

    /// An array has too few axes: those of the argument that it comes from are too few, if nobody gave its shape.
    pub(super) fn want_rank(&mut self, dims: &[Expr], rank: usize) {
        if rank <= dims.len() || rank > MOST_AXES || !self.is_dry() {
            return;
        }
        let symbols: BTreeSet<Symbol> = dims.iter().flat_map(|dim| self.dry.known(dim).symbols()).collect();
        let of = |dims: &Vec<Expr>| {
            let mut own = dims.iter().flat_map(|dim| self.dry.known(dim).symbols());
            own.any(|symbol| symbols.contains(&symbol) && self.dry.open.contains_key(&symbol))
        };
        let found = self.dry.arrays.iter().find(|(_, own)| of(own));
        if let Some((name, own)) = found {
            self.wanted = Some((name.clone(), own.len() + rank - dims.len()));
        }
    }

    /// The same where an axis is asked for that is not there.
    pub(super) fn wanted_axis(&mut self, axis: Option<i64>, rank: usize) {
        let Some(axis) = axis else { return };
        let needed = if axis < 0 { axis.unsigned_abs() as usize } else { axis as usize + 1 };
        // Of the argument that has as many axes: which it is is not known here.
        let found = self.dry.arrays.iter().find(|(_, own)| own.len() == rank);
        if let (Some((name, _)), true) = (found, needed > rank && needed <= MOST_AXES && self.is_dry()) {
            self.wanted = Some((name.clone(), needed));
        }
    }

    /// How the function looked at, or the fragment, uses a name.
    pub(super) fn used(&self, name: &str) -> Use {
        let found = self.frames.iter().take(2).rev().find_map(|frame| frame.usage.names.get(name));
        found.cloned().unwrap_or_default()
    }

    /// How many axes an array has that only meets numbers: as many as the others.
    pub(super) fn likely_rank(&self) -> usize {
        let used = self.frames.iter().take(2).map(|frame| frame.usage.rank);
        used.chain([self.dry.axes]).max().filter(|rank| *rank > 0).unwrap_or(2)
    }

    /// The type of elements of an array that nobody declares.
    fn likely_element(&self, name: &str) -> Element {
        let found = self.shapes.and_then(|shapes| shapes.elements.get(name)).copied();
        // NumPy's own integers.
        found.unwrap_or(if self.used(name).index { Element::I64 } else { self.source.element })
    }

    /// The array of those extents that an argument turns out to be.
    pub(super) fn array_with(&mut self, name: &str, dims: Vec<Expr>, at: At) -> Result<View, Error> {
        let view = self.declare(name, self.likely_element(name), &dims, false, at)?;
        self.dry.axes = self.dry.axes.max(dims.len());
        self.dry.arrays.push((name.to_owned(), dims));
        self.resolved.insert(name.to_owned(), Value::View(view.clone()));
        Ok(view)
    }

    /// An argument turns out to be a scalar.
    pub(super) fn scalar_of(&mut self, name: &str) -> Value {
        self.dry.scalars.push(name.to_owned());
        self.builder.assume(format!("{name} is a scalar (give its shape if it is an array)"));
        self.resolved.insert(name.to_owned(), Value::Scalar(true));
        Value::Scalar(true)
    }

    /// What was learned: names for extents that are still open, and the shapes.
    pub(super) fn learned(mut self) -> Shapes {
        let value = |lower: &Self, e: &Expr| lower.number(e).unwrap_or(i64::MIN);
        // Extents that subscripts reach to.
        for (symbol, open) in &self.dry.open {
            let constant = |e: &&Expr| !matches!(e, Expr::Const(_));
            let best = open.reaches.iter().filter(constant).fold(None::<&Expr>, |best, end| match best {
                Some(best) if value(&self, best) >= value(&self, end) => Some(best),
                _ => Some(end),
            });
            if let Some(end) = best
                && !self.dry.bound.contains_key(symbol)
            {
                self.dry.bound.insert(*symbol, end.clone());
            }
        }
        let mut names: BTreeMap<Symbol, (String, i64)> = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for (at, info) in self.builder.program.symbols.iter().enumerate() {
            let symbol = Symbol(at as u32);
            if let (Some(value), false) = (info.value, self.dry.open.contains_key(&symbol)) {
                taken.insert(info.name.clone());
                names.insert(symbol, (info.name.clone(), value));
            }
        }
        taken.extend(self.frames.iter().flat_map(|frame| frame.names.keys().cloned()));
        taken.extend(self.dry.arrays.iter().map(|(name, _)| name.clone()));
        let mut numbers = 1..;
        for (symbol, open) in self.dry.open.iter().filter(|(symbol, _)| !self.dry.bound.contains_key(symbol)) {
            let few = std::iter::once(open.hint.as_str()).chain(MORE).map(str::to_owned);
            let more = numbers.by_ref().map(|number| format!("N{number}"));
            let name = few.chain(more).find(|name| !taken.contains(name)).unwrap_or_else(|| open.hint.clone());
            taken.insert(name.clone());
            names.insert(*symbol, (name, DEFAULT_EXTENT));
        }
        let arrays = self.dry.arrays.iter().map(|(name, dims)| {
            (name.clone(), FoundArgument::Array(dims.iter().map(|dim| self.dry.known(dim)).collect()))
        });
        let scalars = self.dry.scalars.iter().map(|name| (name.clone(), FoundArgument::Scalar));
        Shapes { found: scalars.chain(arrays).collect(), names, elements: self.dry.elements }
    }

    /// What the first reading found out about an argument.
    pub(super) fn inferred(&mut self, name: &str, at: At) -> Result<Option<Value>, Error> {
        let Some(shapes) = self.shapes else { return Ok(None) };
        Ok(match shapes.found.get(name) {
            None => None,
            Some(FoundArgument::Scalar) => {
                self.builder.assume(format!("{name} is a scalar (give its shape if it is an array)"));
                Some(Value::Scalar(true))
            }
            Some(FoundArgument::Array(dims)) => {
                let mut own = BTreeMap::new();
                for symbol in dims.iter().flat_map(Expr::symbols) {
                    if let Some((name, value)) = shapes.names.get(&symbol) {
                        own.insert(symbol, Expr::from(self.builder.parameter_or(name, *value)));
                    }
                }
                let dims: Vec<Expr> =
                    dims.iter().map(|dim| dim.replaced(&|symbol| own.get(&symbol).cloned())).collect();
                self.given_array(
                    name,
                    self.likely_element(name),
                    dims,
                    "assumed from its use; give its shape to change it",
                    at,
                )?
            }
        })
    }

    /// An array whose shape is known, stated.
    pub(super) fn given_array(
        &mut self,
        name: &str,
        element: Element,
        dims: Vec<Expr>,
        why: &str,
        at: At,
    ) -> Result<Option<Value>, Error> {
        let view = self.declare(name, element, &dims, false, at)?;
        if !why.is_empty() {
            let text: Vec<String> = dims.iter().map(|dim| dim.text(&|s| self.builder.program.name(s))).collect();
            self.builder.assume(format!("{name}: {}[{}] ({why})", element.name(), text.join(", ")));
        }
        Ok(Some(Value::View(view)))
    }
}
