//! Sums over letters: `np.einsum`, and what is one: `tensordot`, `dot_general`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::args::Args;
use super::lower::PythonLowering;
use super::tape::Sizes;
use super::value::{Value, View, axis};
use crate::expr::Expr;
use crate::nest::{At, Flops};
use crate::source::refuse;
use accel_ground::error::Error;

/// Stands for `...`.
const ELLIPSIS: char = '\u{2026}';
/// Names of the axes of an ellipsis: letters of a private area of Unicode.
const HIDDEN: u32 = 0xE000;
/// Of more operands the best order is not looked for: there are 3^n pairs of halves.
const MOST_ORDERED: usize = 10;

/// The best orders of products: for each set of operands, how many FLOPs it takes and its last product.
struct Orders<'e> {
    inputs: &'e [Vec<char>],
    output: &'e [char],
    extents: &'e BTreeMap<char, f64>,
    best: Vec<Option<(f64, usize)>>,
}

impl<'e> Orders<'e> {
    fn new(inputs: &'e [Vec<char>], output: &'e [char], extents: &'e BTreeMap<char, f64>) -> Self {
        Self { inputs, output, extents, best: vec![None; 1 << inputs.len()] }
    }

    fn members(&self, set: usize) -> impl Iterator<Item = (usize, &Vec<char>)> {
        self.inputs.iter().enumerate().filter(move |(number, _)| set >> number & 1 == 1)
    }

    /// The letters that the product of a set has: those of the result, and those that others have too. A single
    /// operand has all of its own. What comes between is laid out as its longest operand, for libraries go through
    /// that as it lies in memory.
    fn letters(&self, set: usize) -> Vec<char> {
        if set.is_power_of_two() {
            return self.members(set).flat_map(|(_, letters)| letters).copied().collect();
        }
        if set + 1 == self.best.len() {
            return self.output.to_vec();
        }
        let mut members: Vec<&Vec<char>> = self.members(set).map(|(_, letters)| letters).collect();
        members.sort_by_key(|letters| Reverse(letters.len()));
        let mut own: Vec<char> = Vec::new();
        for letter in members.into_iter().flatten() {
            if !own.contains(letter) {
                own.push(*letter);
            }
        }
        let others = self.best.len() - 1 - set;
        let needed = |letter: &char| {
            self.output.contains(letter) || self.members(others).any(|(_, letters)| letters.contains(letter))
        };
        own.retain(needed);
        own
    }

    /// FLOPs of the best order of a set.
    fn find(&mut self, set: usize) -> f64 {
        if set.is_power_of_two() {
            return 0.0;
        }
        if let Some((flops, _)) = self.best.get(set).copied().flatten() {
            return flops;
        }
        let (mut best, mut part) = ((f64::INFINITY, 0), (set - 1) & set);
        let result = self.letters(set);
        while part > 0 {
            let rest = set & !part;
            if part > rest {
                let mut all: Vec<char> = [self.letters(part), self.letters(rest)].concat();
                all.sort_unstable();
                all.dedup();
                let size: f64 = all.iter().filter_map(|letter| self.extents.get(letter)).product();
                let sums = all.iter().any(|letter| !result.contains(letter));
                let own = size * if sums { 2.0 } else { 1.0 };
                let flops = own + self.find(part) + self.find(rest);
                if flops < best.0 {
                    best = (flops, part);
                }
            }
            part = (part - 1) & set;
        }
        if let Some(slot) = self.best.get_mut(set) {
            *slot = Some(best);
        }
        best.0
    }

    /// The halves whose product comes last.
    fn split(&self, set: usize) -> Option<(usize, usize)> {
        let (_, part) = self.best.get(set).copied().flatten()?;
        let (a, b) = (part, set & !part);
        // As the source has them.
        Some(if a.trailing_zeros() < b.trailing_zeros() { (a, b) } else { (b, a) })
    }

    /// The order in words: `(1 (2 3))`.
    fn spelled(&self, set: usize) -> String {
        match self.split(set) {
            Some((a, b)) => format!("({} {})", self.spelled(a), self.spelled(b)),
            None => (set.trailing_zeros() + 1).to_string(),
        }
    }
}

impl<'a> PythonLowering<'a> {
    pub(super) fn einsum(&mut self, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let cure = "Write it as `np.einsum(\"ij,jk->ik\", a, b)`";
        let wrong = |problem: &str| Err(refuse(at, problem, cure));
        let Some((Value::Text(text), _)) = args.values.first() else {
            return wrong("the letters of this sum are not known");
        };
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect::<String>().replace("...", "\u{2026}");
        let (inputs, output) = match text.split_once("->") {
            Some((inputs, output)) => (inputs, Some(output)),
            None => (text.as_str(), None),
        };
        let inputs: Vec<Vec<char>> = inputs.split(',').map(|part| part.chars().collect()).collect();
        if inputs
            .iter()
            .flatten()
            .chain(&output.unwrap_or_default().chars().collect::<Vec<_>>())
            .any(|c| !c.is_ascii_alphabetic() && *c != ELLIPSIS)
        {
            return wrong("only letters can name axes here");
        }
        if inputs.len() + 1 != args.values.len() {
            return wrong("there are not as many arrays as groups of letters");
        }
        let output: Vec<char> = match output {
            Some(output) => output.chars().collect(),
            None => {
                let all: Vec<char> = inputs.iter().flatten().copied().collect();
                let mut once: Vec<char> =
                    all.iter().copied().filter(|c| all.iter().filter(|o| *o == c).count() == 1).collect();
                once.sort_unstable();
                once
            }
        };
        let mut views = Vec::new();
        for (letters, (value, own)) in inputs.iter().zip(args.values.iter().skip(1)) {
            let view = self.view(value.clone(), letters.len(), *own)?;
            let named = letters.iter().filter(|letter| **letter != ELLIPSIS).count();
            if view.dims.len() < named || (view.dims.len() != named && named == letters.len()) {
                self.want_rank(&view.dims, named);
                return wrong(&format!("{named} letters for an array of {} axes", view.dims.len()));
            }
            views.push(view);
        }
        // What an ellipsis stands for: axes from the last on, as in broadcasting.
        let hidden = |letters: &[char], view: &View| view.dims.len() + 1 - letters.len();
        let widest = inputs.iter().zip(&views).filter(|(letters, _)| letters.contains(&ELLIPSIS));
        let widest = widest.map(|(letters, view)| hidden(letters, view)).max().unwrap_or_default();
        let spelled = |letters: &[char], axes: usize| -> Vec<char> {
            let names = (widest - axes..widest).filter_map(|axis| char::from_u32(HIDDEN + axis as u32));
            let names: Vec<char> = names.collect();
            letters.iter().flat_map(|c| if *c == ELLIPSIS { names.clone() } else { vec![*c] }).collect()
        };
        let inputs: Vec<Vec<char>> = (inputs.iter().zip(&views))
            .map(|(letters, view)| {
                let axes = if letters.contains(&ELLIPSIS) { hidden(letters, view) } else { 0 };
                spelled(letters, axes)
            })
            .collect();
        let output = spelled(&output, widest);
        let name = format!("einsum \"{}\"", text.replace(ELLIPSIS, "..."));
        let at_once = matches!(args.get(usize::MAX, &["optimize"]), Some(Value::Bool(false)));
        if views.len() < 3 || at_once || views.len() > MOST_ORDERED {
            return self.letters(&name, &inputs, views, &output, at);
        }
        self.in_order(&name, inputs, views, &output, at)
    }

    /// Multiplies pair by pair in the order that takes the fewest FLOPs, as opt_einsum's optimal path has it.
    fn in_order(
        &mut self,
        name: &str,
        inputs: Vec<Vec<char>>,
        views: Vec<View>,
        output: &[char],
        at: At,
    ) -> Result<Value, Error> {
        let mut extents: BTreeMap<char, f64> = BTreeMap::new();
        for (letter, dim) in inputs.iter().flatten().zip(views.iter().flat_map(|view| &view.dims)) {
            let extent = self.number(dim).unwrap_or(1).max(1) as f64;
            let own = extents.entry(*letter).or_insert(extent);
            *own = own.max(extent);
        }
        let mut found = Orders::new(&inputs, output, &extents);
        let whole = (1_usize << inputs.len()) - 1;
        found.find(whole);
        let order = found.spelled(whole);
        self.assume(at, format!("the factors are multiplied in the order {order}, which takes the fewest FLOPs"));
        let value = self.contract(name, &found, whole, &views, at)?;
        Ok(Value::View(value))
    }

    /// The product of the operands in `set`, those of its best halves first.
    fn contract(&mut self, name: &str, orders: &Orders<'_>, set: usize, views: &[View], at: At) -> Result<View, Error> {
        let Some((a, b)) = orders.split(set) else {
            let only = views.get(set.trailing_zeros() as usize).cloned();
            return only.ok_or_else(|| refuse(at, "this sum has no operand", "Give arrays"));
        };
        let halves = [self.contract(name, orders, a, views, at)?, self.contract(name, orders, b, views, at)?];
        let inputs = [orders.letters(a), orders.letters(b)];
        let value = self.letters(name, &inputs, halves.to_vec(), &orders.letters(set), at)?;
        self.view(value, 2, at)
    }

    /// Sums over the letters that the result has not.
    pub(super) fn letters(
        &mut self,
        name: &str,
        inputs: &[Vec<char>],
        views: Vec<View>,
        output: &[char],
        at: At,
    ) -> Result<Value, Error> {
        let mut extents: Vec<(char, Expr)> = Vec::new();
        for (letter, dim) in inputs.iter().flatten().zip(views.iter().flat_map(|view| &view.dims)) {
            match extents.iter().find(|(own, _)| own == letter).map(|(_, dim)| dim.clone()) {
                None => extents.push((*letter, dim.clone())),
                // Axes of an ellipsis are broadcast.
                Some(before) if *letter as u32 >= HIDDEN && before == Expr::Const(1) => {
                    if let Some(own) = extents.iter_mut().find(|(own, _)| own == letter) {
                        own.1 = dim.clone();
                    }
                }
                Some(_) if *letter as u32 >= HIDDEN && *dim == Expr::Const(1) => {}
                Some(before) => {
                    if !self.unify(&before, dim) {
                        let problem = format!(
                            "{letter} is {} and {}",
                            self.shape_text(&[before]),
                            self.shape_text(std::slice::from_ref(dim))
                        );
                        return Err(refuse(at, problem, "A letter has one extent: give the arrays' shapes"));
                    }
                }
            }
        }
        let extent = |letter: &char| extents.iter().find(|(own, _)| own == letter).map(|(_, dim)| dim.clone());
        let Some(dims) = output.iter().map(extent).collect::<Option<Vec<Expr>>>() else {
            return Err(refuse(
                at,
                "a letter of the result stands in no operand",
                "Take its letters from the operands",
            ));
        };
        let mut summed_over: Vec<char> =
            extents.iter().map(|(letter, _)| *letter).filter(|c| !output.contains(c)).collect();
        summed_over.dedup();
        if let [a, b] = inputs
            && let Some(sizes) = self.as_product(a, b, output, &extents)
        {
            return self.library(name, sizes, &views, (dims, None), at);
        }
        // Operands as views of all letters: repeated letters are diagonals.
        let all: Vec<char> = output.iter().chain(&summed_over).copied().collect();
        let inner: Vec<Expr> = summed_over.iter().filter_map(extent).collect();
        let place = |letter: &char| all.iter().position(|own| own == letter).unwrap_or_default();
        let whole: Vec<Expr> = all.iter().filter_map(extent).collect();
        let views: Vec<View> = (inputs.iter().zip(&views))
            .map(|(letters, view)| {
                view.of(whole.clone(), &letters.iter().map(|letter| axis(place(letter))).collect::<Vec<_>>())
            })
            .collect();
        let products = Flops { mul: views.len().saturating_sub(1) as u32, ..Flops::NONE };
        let operands = views.into_iter().map(|view| (Value::View(view), at)).collect();
        let product = self.lazy(operands, products, None, at)?;
        if inner.is_empty() {
            let view = self.view(product, 2, at)?;
            return Ok(Value::View(view));
        }
        let axes = (output.len()..all.len()).collect();
        let product = match product {
            Value::Lazy(mut lazy) => {
                lazy.operations = 0;
                Value::Lazy(lazy)
            }
            other => other,
        };
        self.reduce(product, Flops::ADD, Some(axes), false, at)
    }

    /// Two operands whose letters are those of a batch, rows, columns and what is summed over.
    fn as_product(&self, a: &[char], b: &[char], output: &[char], extents: &[(char, Expr)]) -> Option<Sizes> {
        let distinct =
            |letters: &[char]| letters.iter().enumerate().all(|(at, c)| !letters.iter().skip(at + 1).any(|o| o == c));
        if !distinct(a) || !distinct(b) || !distinct(output) {
            return None;
        }
        let (mut sizes, mut rows, mut columns, mut sums) =
            (Sizes { batch: 1.into(), m: 1.into(), n: 1.into(), k: 1.into() }, 0, 0, 0);
        for (letter, dim) in extents {
            let part = match (a.contains(letter), b.contains(letter), output.contains(letter)) {
                (true, true, true) => &mut sizes.batch,
                (true, false, true) => {
                    rows += 1;
                    &mut sizes.m
                }
                (false, true, true) => {
                    columns += 1;
                    &mut sizes.n
                }
                (true, true, false) => {
                    sums += 1;
                    &mut sizes.k
                }
                _ => return None,
            };
            *part = part.clone().times(dim.clone());
        }
        (rows > 0 && columns > 0 && sums > 0).then_some(sizes)
    }

    /// Sums over neighbouring axes of both.
    pub(super) fn contracted(
        &mut self,
        name: &str,
        (a, over_a): (View, std::ops::Range<usize>),
        (b, over_b): (View, std::ops::Range<usize>),
        at: At,
    ) -> Result<Value, Error> {
        let letter = |number: usize| char::from(b'a' + (number % 26) as u8);
        if a.dims.len() + b.dims.len() > 26 {
            return Err(refuse(at, "more than 26 axes", "Use fewer axes"));
        }
        let first: Vec<char> = (0..a.dims.len()).map(letter).collect();
        let second: Vec<char> = (0..b.dims.len())
            .map(|own| {
                if over_b.contains(&own) {
                    letter(over_a.start + own - over_b.start)
                } else {
                    letter(a.dims.len() + own)
                }
            })
            .collect();
        let shared: Vec<char> = over_a.map(letter).collect();
        let output: Vec<char> = first.iter().chain(&second).copied().filter(|c| !shared.contains(c)).collect();
        self.letters(name, &[first, second], vec![a, b], &output, at)
    }

    pub(super) fn tensordot(&mut self, args: &Args<'a>, a: Value, b: Value) -> Result<Value, Error> {
        let at = args.at;
        let (a, b) = (self.view(a, 2, at)?, self.view(b, 2, at)?);
        let (x, y) = (a.dims.len(), b.dims.len());
        let (over_a, over_b) = match args.get(2, &["axes", "dims"]).cloned() {
            None => (x.saturating_sub(2)..x, 0..2),
            Some(Value::Int(Expr::Const(count))) => {
                let count = usize::try_from(count).unwrap_or(usize::MAX).min(x);
                (x - count..x, 0..count)
            }
            Some(Value::Tuple(parts)) => {
                let one = |value: &Value| match value {
                    Value::Tuple(parts) if parts.len() == 1 => parts.first().cloned(),
                    Value::Int(_) => Some(value.clone()),
                    _ => None,
                };
                let (Some(first), Some(second)) = (parts.first().and_then(one), parts.get(1).and_then(one)) else {
                    return Err(refuse(at, "these axes are not read", "Give a number of axes, or use `np.einsum`"));
                };
                let (first, second) = (self.axis(&first, x, at)?, self.axis(&second, y, at)?);
                (first..first + 1, second..second + 1)
            }
            Some(_) => return Err(refuse(at, "these axes are not read", "Give a number of axes, or use `np.einsum`")),
        };
        if over_b.end > y || over_a.len() != over_b.len() {
            return Err(refuse(at, "more axes are summed over than there are", "Give fewer"));
        }
        self.contracted("tensordot", (a, over_a), (b, over_b), at)
    }

    /// `lax.dot_general(a, b, ((sums of a, sums of b), (batch of a, batch of b)))`
    pub(super) fn dot_general(&mut self, args: &Args<'a>, a: Value, b: Value) -> Result<Value, Error> {
        let at = args.at;
        let (a, b) = (self.view(a, 2, at)?, self.view(b, 2, at)?);
        let axes = |value: &Value| match value {
            Value::Tuple(parts) => parts
                .iter()
                .map(|part| match part {
                    Value::Int(Expr::Const(axis)) => usize::try_from(*axis).ok(),
                    _ => None,
                })
                .collect::<Option<Vec<usize>>>(),
            _ => None,
        };
        let both = |value: Option<&Value>| match value {
            Some(Value::Tuple(parts)) => Some((axes(parts.first()?)?, axes(parts.get(1)?)?)),
            _ => None,
        };
        let numbers = match args.get(2, &["dimension_numbers"]) {
            Some(Value::Tuple(parts)) => both(parts.first()).zip(both(parts.get(1))),
            _ => None,
        };
        let Some(((sums_a, sums_b), (batch_a, batch_b))) = numbers else {
            let cure = "Write `lax.dot_general(a, b, (((1,), (0,)), ((), ())))`";
            return Err(refuse(at, "these dimension numbers are not read", cure));
        };
        if sums_a.len() != sums_b.len() || batch_a.len() != batch_b.len() {
            return Err(refuse(at, "as many axes of both are summed over", "Name as many axes of both"));
        }
        let letter = |number: usize| char::from_u32(HIDDEN + number as u32).unwrap_or(ELLIPSIS);
        let first: Vec<char> = (0..a.dims.len()).map(letter).collect();
        let same = |own: usize| {
            let pair = |of_b: &[usize], of_a: &[usize]| {
                of_b.iter().position(|b| *b == own).and_then(|at| of_a.get(at).copied())
            };
            pair(&sums_b, &sums_a).or_else(|| pair(&batch_b, &batch_a))
        };
        let second: Vec<char> = (0..b.dims.len()).map(|own| letter(same(own).unwrap_or(a.dims.len() + own))).collect();
        let free = |letters: &[char], gone: [&[usize]; 2]| -> Vec<char> {
            let kept = letters.iter().enumerate().filter(|(own, _)| !gone.iter().any(|gone| gone.contains(own)));
            kept.map(|(_, letter)| *letter).collect()
        };
        let output: Vec<char> = batch_a
            .iter()
            .map(|own| letter(*own))
            .chain(free(&first, [&sums_a, &batch_a]))
            .chain(free(&second, [&sums_b, &batch_b]))
            .collect();
        self.letters(args.name, &[first, second], vec![a, b], &output, at)
    }
}
