//! Arrays: their declarations and accesses, and the extents of those that nobody declared with any.

use std::cell::Cell;

use lang_c::ast::Expression;
use lang_c::span::Node;

use super::lower::{CLowering, Round};
use super::view::{Info, Pointee, linear, value};
use crate::expr::{Expr, Rounding};
use crate::nest::{Access, Array, At, Element, Program};
use crate::normal::{difference, tidy};
use crate::source::{Extent, refuse};
use accel_ground::error::Error;

/// Bounds that take longer to find are not found: each loop may ask for those of the loops around it.
const MAX_STEPS: u32 = 10_000;

impl<'a> CLowering<'a> {
    /// A new array; the shape that the user gives wins over `dims`.
    pub(super) fn array(
        &mut self,
        name: &str,
        element: Element,
        dims: Vec<Option<Expr>>,
        at: At,
    ) -> Result<Pointee, Error> {
        let shape = self.source.shapes.iter().find(|shape| shape.name == name && self.calls.len() == 1);
        let (mut dims, mut element) = (dims, element);
        if let Some(shape) = shape {
            let mut given = Vec::new();
            for dim in &shape.dims {
                given.push(match dim {
                    Extent::Number(number) => Expr::Const(*number),
                    Extent::Name(name) => self.named_extent(name),
                });
            }
            element = shape.element.unwrap_or(element);
            dims = match (given.len(), dims.len()) {
                (own, wanted) if own == wanted => given.into_iter().map(Some).collect(),
                // `a[i * N + j]` of a matrix: its elements lie one behind another.
                (_, 1) => vec![Some(given.into_iter().fold(Expr::Const(1), Expr::times))],
                (own, wanted) => {
                    let problem = format!("{name} has {wanted} subscripts here, and the shape given has {own} extents");
                    return Err(refuse(at, problem, "Give one extent for each subscript"));
                }
            };
        }
        let rank = dims.len();
        let array = self.builder.array(Array { name: name.to_owned(), element, dims: Vec::new(), temporary: false });
        self.arrays.push(Info { reached: vec![Vec::new(); rank], dims, undeclared: false, layout: None });
        Ok(Pointee { array, prefix: Vec::new(), shift: Some(Expr::Const(0)), rank })
    }

    fn named_extent(&mut self, name: &str) -> Expr {
        Expr::from(self.builder.parameter(name))
    }

    /// An array that nobody declared, with as many extents as it has subscripts.
    pub(super) fn undeclared_array(&mut self, name: &str, rank: usize, at: At) -> Result<Pointee, Error> {
        let element = if self.integers.contains(name) { Element::I32 } else { self.source.element };
        let view = self.array(name, element, vec![None; rank], at)?;
        if let Some(info) = self.arrays.get_mut(view.array) {
            info.undeclared = true;
        }
        Ok(view)
    }

    /// The access of the element that `view` is.
    pub(super) fn access(&mut self, view: Pointee, write: bool, at: At) -> Result<(), Error> {
        let Pointee { array, mut prefix, .. } = view;
        let rank = self.arrays.get(array).map_or(0, |info| info.dims.len());
        if prefix.len() > rank {
            return Err(refuse(at, "there are more subscripts than extents", "Declare the array as it is used"));
        }
        // `p[i]` of a matrix: the whole subscript counts elements of the last extent.
        while prefix.len() < rank {
            prefix.insert(prefix.len().saturating_sub(1), Some(Expr::Const(0)));
        }
        let known = Access::known_of(&prefix);
        let index: Option<Vec<Expr>> = prefix.into_iter().collect();
        match &index {
            Some(index) => self.reach(array, index),
            None => {
                let name = self.builder.program.arrays.get(array).map_or("", |array| &array.name).to_owned();
                let text = format!("which element of {name} line {} uses is decided by data", at.line);
                self.builder.assume(text);
            }
        }
        self.work.accesses.push(Access { array, index, known, write, at });
        Ok(())
    }

    /// Notes how far subscripts reach into extents that are not known.
    fn reach(&mut self, array: usize, index: &[Expr]) {
        let Some(info) = self.arrays.get_mut(array) else { return };
        for ((dim, reached), index) in info.dims.iter().zip(&mut info.reached).zip(index) {
            if dim.is_some() {
                continue;
            }
            let steps = Cell::new(MAX_STEPS);
            let Some(last) = bound(index, &self.loops, &self.builder.program, true, &steps) else { continue };
            let extent = tidy(&last.plus(1));
            // Of those that differ by a number, only the largest.
            let near = reached.iter_mut().find_map(|known| difference(&extent, known).map(|by| (known, by)));
            match near {
                Some((known, by)) if by > 0 => *known = extent,
                Some(_) => {}
                None => reached.push(extent),
            }
        }
    }

    /// Writes down the extents of all arrays, and states those that follow from subscripts.
    pub(super) fn finish_arrays(&mut self) -> Result<(), Error> {
        for number in 0..self.arrays.len() {
            let Some(info) = self.arrays.get(number) else { continue };
            let guessed = info.dims.iter().any(Option::is_none);
            let undeclared = info.undeclared;
            let name = self.builder.program.arrays.get(number).map(|array| array.name.clone()).unwrap_or_default();
            let mut dims = Vec::new();
            for (position, (dim, reached)) in info.dims.clone().into_iter().zip(info.reached.clone()).enumerate() {
                let extent = match dim {
                    Some(dim) => dim,
                    None => match reached.into_iter().reduce(Expr::max) {
                        Some(extent) => extent,
                        None => Expr::from(self.builder.parameter(&format!("{name}_{position}"))),
                    },
                };
                // Loops that never run reach nothing.
                let empty = guessed && value(&extent, &self.builder.program).is_some_and(|value| value < 1);
                dims.push(if empty { Expr::Const(1) } else { extent });
            }
            let program = &self.builder.program;
            let Some(array) = program.arrays.get(number) else { continue };
            let extents: Vec<String> = dims.iter().map(|dim| dim.text(&|symbol| program.name(symbol))).collect();
            let shape = format!("{name}: {}[{}]", array.element.name(), extents.join(", "));
            if guessed {
                let how = if undeclared { "not declared; its extents are" } else { "its extents are" };
                self.builder
                    .assume(format!("{shape} ({how} those that its subscripts reach; give its shape to change it)"));
            } else if undeclared {
                self.builder.assume(format!("{shape} (not declared; as the shape given says)"));
            }
            if let Some(array) = self.builder.program.arrays.get_mut(number) {
                array.dims = dims;
            }
        }
        Ok(())
    }

    /// The known extent of an array.
    pub(super) fn extent(&self, array: usize, position: usize) -> Option<&Expr> {
        self.arrays.get(array)?.dims.get(position)?.as_ref()
    }

    /// How many extents an array has.
    pub(super) fn rank(&self, array: usize) -> usize {
        self.arrays.get(array).map_or(0, |info| info.dims.len())
    }

    /// The place of an expression in the source.
    pub(super) fn at(&self, expression: &Node<Expression>) -> At {
        self.text.at(expression.span.start)
    }
}

impl Round {
    /// The largest (or smallest) value of its variable.
    fn end(&self, largest: bool) -> Expr {
        tidy(&match (largest, self.ascending) {
            (true, true) => self.upper.clone().minus(1),
            (false, true) | (true, false) => self.lower.clone(),
            (false, false) => self.upper.clone().plus(1),
        })
    }
}

/// The largest (or smallest) value of `expr` in the loops around it, as an expression of parameters.
///
/// Inner variables go first, each replaced by its last (or first) value, so that `i + j` with `j < n - i` is below `n`.
fn bound(expr: &Expr, loops: &[Round], program: &Program, largest: bool, steps: &Cell<u32>) -> Option<Expr> {
    let mut expr = expr.clone();
    for round in loops.iter().rev().filter(|round| expr.mentions(round.var)).collect::<Vec<_>>() {
        let Some((factor, offset)) = linear(&expr, round.var) else { break };
        if loops.iter().any(|round| factor.mentions(round.var)) {
            break;
        }
        let positive = value(&factor, program)? >= 0;
        expr = tidy(&round.end(largest == positive).times(factor).plus(offset));
    }
    interval(&expr, loops, program, largest, steps)
}

/// The same, each part by itself.
fn interval(expr: &Expr, loops: &[Round], program: &Program, largest: bool, steps: &Cell<u32>) -> Option<Expr> {
    steps.set(steps.get().checked_sub(1)?);
    let again = |expr: &Expr, largest: bool| interval(expr, loops, program, largest, steps);
    let free = |expr: &Expr| !loops.iter().any(|round| expr.mentions(round.var));
    if free(expr) {
        return Some(expr.clone());
    }
    let made = match expr {
        Expr::Const(_) => expr.clone(),
        Expr::Symbol(symbol) => {
            let inside = loops.iter().position(|round| round.var == *symbol)?;
            let (round, around) = (loops.get(inside)?, loops.get(..inside)?);
            bound(&round.end(largest), around, program, largest, steps)?
        }
        Expr::Add(a, b) => again(a, largest)?.plus(again(b, largest)?),
        Expr::Mul(a, b) => {
            let (factor, other) = if free(b) { (b, a) } else { (a, b) };
            if !free(factor) {
                return None;
            }
            let positive = value(factor, program)? >= 0;
            again(other, largest == positive)?.times((**factor).clone())
        }
        Expr::Div(a, b, rounding) if free(b) => {
            let positive = value(b, program)? > 0;
            again(a, largest == positive)?.over((**b).clone(), *rounding)
        }
        // What is halved again and again is largest at first.
        Expr::Div(a, b, rounding) if matches!(&**b, Expr::Power(..)) => {
            again(a, largest)?.over(again(b, !largest)?, *rounding)
        }
        Expr::Power(base, by) if free(base) && value(base, program)? > 0 => (**base).clone().power(again(by, largest)?),
        Expr::Rem(_, b, Rounding::Zero | Rounding::Floor) if free(b) && value(b, program)? > 0 => match largest {
            true => (**b).clone().minus(1),
            false => Expr::Const(0),
        },
        Expr::Min(a, b) if largest => match (again(a, true), again(b, true)) {
            (Some(a), Some(b)) => a.min(b),
            (a, b) => a.or(b)?,
        },
        Expr::Max(a, b) if !largest => match (again(a, false), again(b, false)) {
            (Some(a), Some(b)) => a.max(b),
            (a, b) => a.or(b)?,
        },
        Expr::Min(a, b) => again(a, largest)?.min(again(b, largest)?),
        Expr::Max(a, b) => again(a, largest)?.max(again(b, largest)?),
        _ => return None,
    };
    Some(tidy(&made))
}
