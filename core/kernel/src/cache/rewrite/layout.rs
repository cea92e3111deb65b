//! Arrays laid out anew, so that loops go through them without gaps.
//!
//! A cache asks whether a line is the same, not where it lies. So arrays whose rows are whole lines may have their rows
//! in another order, that of the loops that go through them (`x[j][i][..]` with `i` outermost), and ranges of columns
//! that are whole lines may lie in arrays of their own (queries, keys and values side by side in one buffer). Every line
//! keeps its accesses, in the same order: counts stay the same, exactly.

use std::collections::BTreeSet;

use super::{Divider, Linear};
use crate::expr::{Expr, Symbol};
use crate::nest::{Access, Array, Branch, Library, Loop, Node, Program, Work};

/// No array is divided into more ranges of columns, and no loop into more parts.
const MOST_RANGES: usize = 16;
/// Loops into which those of a program are divided at most.
const MOST_LOOPS: usize = 256;

/// `program` with such arrays, in lines of `line_bytes`; none where it has none.
pub(in crate::cache) fn laid_out(program: &Program, line_bytes: u64) -> Option<Program> {
    if super::is_random(&program.body) {
        return None;
    }
    let line_bytes = i64::try_from(line_bytes).ok()?;
    let ordered = ordered(program, line_bytes);
    let divided = divided(ordered.as_ref().unwrap_or(program), line_bytes);
    divided.or(ordered)
}

/// The order of an array's outer dimensions in each of its accesses.
struct Order {
    outer: usize,
    found: BTreeSet<Vec<usize>>,
}

impl Order {
    /// The one that all accesses follow, where it is not that of the dimensions.
    fn common(&self) -> Option<&Vec<usize>> {
        let all = self.found.iter().find(|found| found.len() == self.outer)?;
        let follows = |found: &Vec<usize>| {
            let mut rest = all.iter();
            found.iter().all(|dim| rest.any(|own| own == dim))
        };
        (!all.is_sorted() && self.found.iter().all(follows)).then_some(all)
    }
}

fn ordered(program: &Program, line_bytes: i64) -> Option<Program> {
    let mut divider = Divider::of(program);
    let outer = |array: &Array| {
        let outer = (1..array.dims.len()).rev().find(|axis| divider.width(array, *axis, line_bytes).is_some())?;
        (outer > 1).then(|| Order { outer, found: BTreeSet::new() })
    };
    let mut orders: Vec<Option<Order>> = program.arrays.iter().map(outer).collect();
    divider.each_access(&program.body, &mut Vec::new(), &mut |own, access, around| {
        let Some(slot) = orders.get_mut(access.array) else { return };
        let found = slot.as_ref().and_then(|order| own.outer_order(access, around, order.outer));
        match (slot.as_mut(), found) {
            (Some(order), Some(found)) => _ = order.found.insert(found),
            _ => *slot = None,
        }
    });
    let orders: Vec<Option<&Vec<usize>>> = orders.iter().map(|order| order.as_ref()?.common()).collect();
    if orders.iter().all(Option::is_none) {
        return None;
    }
    let moved = |parts: &[Expr], order: &[usize]| -> Vec<Expr> {
        let outer = order.iter().filter_map(|dim| parts.get(*dim));
        outer.chain(parts.iter().skip(order.len())).cloned().collect()
    };
    let arrays = program.arrays.iter().zip(&orders).map(|(array, order)| match order {
        Some(order) => Array { dims: moved(&array.dims, order), ..array.clone() },
        None => array.clone(),
    });
    let body = mapped(&program.body, &|access| match orders.get(access.array) {
        Some(Some(order)) => Access { index: access.index.as_ref().map(|index| moved(index, order)), ..access.clone() },
        _ => access.clone(),
    });
    Some(Program { arrays: arrays.collect(), body, ..program.clone() })
}

/// An array of which ranges of columns become arrays of their own.
struct Division {
    /// The first dimension of a row.
    axis: usize,
    /// Where ranges begin, and the columns of a row.
    cuts: Vec<i64>,
    /// The array that each range becomes.
    arrays: Vec<usize>,
}

impl Division {
    /// The range that holds all columns between two.
    fn range(&self, low: i64, high: i64) -> Option<(i64, usize)> {
        let own = self.cuts.windows(2).zip(&self.arrays).find(|(own, _)| own[0] <= low && high < own[1]);
        own.map(|(own, array)| (own[0], *array))
    }
}

fn divided(program: &Program, line_bytes: i64) -> Option<Program> {
    let mut divider = Divider::of(program);
    let mut arrays = program.arrays.clone();
    let mut divisions = Vec::with_capacity(program.arrays.len());
    for number in 0..program.arrays.len() {
        divisions.push(divider.division(program, number, line_bytes, &mut arrays));
    }
    if divisions.iter().all(Option::is_none) {
        return None;
    }
    let body = divider.divided(&program.body, &divisions)?;
    Some(Program { arrays, body, ..program.clone() })
}

impl<'p> Divider<'p> {
    fn of(program: &'p Program) -> Self {
        let (values, symbols) = (program.values(), program.symbols.clone());
        Self {
            arrays: &program.arrays,
            values,
            symbols,
            ranges: std::collections::BTreeMap::new(),
            pieces: 0,
            around: 0,
        }
    }

    /// The elements of a row that begins with dimension `axis`, where rows are whole lines.
    fn width(&self, array: &Array, axis: usize, line_bytes: i64) -> Option<i64> {
        let mut dims = array.dims.iter().skip(axis);
        let width = dims.try_fold(1i64, |width, dim| width.checked_mul(self.number(dim)?))?;
        let bytes = width.checked_mul(i64::try_from(array.element.bytes()).ok()?)?;
        (bytes > 0 && bytes % line_bytes == 0).then_some(width)
    }

    /// Shows each access, and the loops around it, outermost first.
    fn each_access(
        &mut self,
        nodes: &[Node],
        around: &mut Vec<Symbol>,
        see: &mut dyn FnMut(&Self, &Access, &[Symbol]),
    ) {
        for node in nodes {
            match node {
                Node::Loop(l) => {
                    if let Some((low, high)) = self.bounds(l) {
                        self.ranges.insert(l.var, (low, high - 1));
                    }
                    around.push(l.var);
                    self.each_access(&l.body, around, see);
                    around.pop();
                    self.ranges.remove(&l.var);
                }
                Node::Branch(branch) => {
                    self.each_access(&branch.then, around, see);
                    self.each_access(&branch.otherwise, around, see);
                }
                Node::Work(work) => work.accesses.iter().for_each(|access| see(self, access, around)),
                Node::Library(library) => self.each_access(&library.sweep, around, see),
            }
        }
    }

    /// The subscripts of an access, where they are proven to lie within the array.
    fn subscripts(&self, access: &Access) -> Option<Vec<Linear>> {
        let dims = &self.arrays.get(access.array)?.dims;
        let within = |(index, dim): (&Expr, &Expr)| {
            let sum = self.linear(index)?;
            let (low, high) = self.range(&sum)?;
            (low >= 0 && high < i128::from(self.number(dim)?)).then_some(sum)
        };
        access.index.as_ref()?.iter().zip(dims).map(within).collect()
    }

    /// The first `outer` dimensions that loops decide, those of outer loops first.
    fn outer_order(&self, access: &Access, around: &[Symbol], outer: usize) -> Option<Vec<usize>> {
        let subscripts = self.subscripts(access)?;
        let depth = |sum: &Linear| around.iter().position(|var| sum.terms.contains_key(var));
        let mut dims: Vec<(usize, usize)> =
            subscripts.iter().take(outer).enumerate().filter_map(|(dim, sum)| Some((depth(sum)?, dim))).collect();
        dims.sort_unstable();
        let apart = dims.windows(2).all(|pair| pair[0].0 != pair[1].0);
        apart.then(|| dims.into_iter().map(|(_, dim)| dim).collect())
    }

    /// The column of an access in rows that begin with dimension `axis`, and between which it lies.
    fn column(&self, access: &Access, axis: usize) -> Option<(Linear, i64, i64)> {
        self.subscripts(access)?;
        let dims = &self.arrays.get(access.array)?.dims;
        let sum = self.flat(access.index.as_ref()?.get(axis..)?, dims.get(axis..)?)?;
        let (low, high) = self.range(&sum)?;
        Some((sum, i64::try_from(low).ok()?, i64::try_from(high).ok()?))
    }

    fn division(
        &mut self,
        program: &Program,
        number: usize,
        line_bytes: i64,
        arrays: &mut Vec<Array>,
    ) -> Option<Division> {
        let array = program.arrays.get(number)?;
        let bytes = i64::try_from(array.element.bytes()).ok()?;
        for axis in (1..array.dims.len()).rev() {
            let Some(width) = self.width(array, axis, line_bytes) else { continue };
            let mut cuts = Some(BTreeSet::from([0, width]));
            self.each_access(&program.body, &mut Vec::new(), &mut |own, access, _| {
                if access.array != number {
                    return;
                }
                let column = own.column(access, axis);
                let ends = column.map(|(_, low, high)| [low, high + 1]);
                let ends = ends.filter(|ends| ends.iter().all(|end| (end * bytes) % line_bytes == 0));
                match (cuts.as_mut(), ends) {
                    (Some(cuts), Some(ends)) if cuts.len() <= MOST_RANGES => cuts.extend(ends),
                    _ => cuts = None,
                }
            });
            let Some(cuts) = cuts.filter(|cuts| cuts.len() > 2) else { continue };
            let cuts: Vec<i64> = cuts.into_iter().collect();
            let mut own = vec![number];
            for pair in cuts.windows(2) {
                let dims = array.dims.iter().take(axis).cloned().chain([Expr::from(pair[1] - pair[0])]).collect();
                let part = Array { dims, ..array.clone() };
                if pair[0] == 0 {
                    *arrays.get_mut(number)? = part;
                } else {
                    own.push(arrays.len());
                    arrays.push(part);
                }
            }
            return Some(Division { axis, cuts, arrays: own });
        }
        None
    }

    /// `nodes` with ranges of columns in arrays of their own; none where a loop cannot be divided where they meet.
    fn divided(&mut self, nodes: &[Node], divisions: &[Option<Division>]) -> Option<Vec<Node>> {
        let mut all = Vec::with_capacity(nodes.len());
        for node in nodes {
            match node {
                Node::Loop(l) => self.divide(l, divisions, &mut all)?,
                Node::Branch(branch) => {
                    let then = self.divided(&branch.then, divisions)?;
                    let otherwise = self.divided(&branch.otherwise, divisions)?;
                    all.push(Node::Branch(Branch { then, otherwise, ..branch.clone() }));
                }
                Node::Work(work) => {
                    let accesses = work.accesses.iter().map(|access| self.within(access, divisions));
                    all.push(Node::Work(Work { accesses: accesses.collect::<Option<_>>()?, ..work.clone() }));
                }
                Node::Library(library) => {
                    let sweep = self.divided(&library.sweep, divisions)?;
                    all.push(Node::Library(Library { sweep, ..library.clone() }));
                }
            }
        }
        Some(all)
    }

    fn divide(&mut self, l: &Loop, divisions: &[Option<Division>], all: &mut Vec<Node>) -> Option<()> {
        let Some((low, high)) = self.bounds(l) else {
            all.push(Node::Loop(Loop { body: self.divided(&l.body, divisions)?, ..l.clone() }));
            return Some(());
        };
        let mut ends = BTreeSet::from([high]);
        self.ranges.insert(l.var, (low, high - 1));
        self.each_access(&l.body, &mut Vec::new(), &mut |own, access, _| {
            let Some(Some(division)) = divisions.get(access.array) else { return };
            if let Some((sum, least, most)) = own.column(access, division.axis) {
                let cuts = division.cuts.iter().filter(|cut| least < **cut && **cut <= most);
                ends.extend(cuts.filter_map(|cut| own.end(&sum, l.var, *cut)));
            }
        });
        self.pieces += ends.len() - 1;
        if ends.len() > MOST_RANGES || self.pieces > MOST_LOOPS {
            return None;
        }
        let mut from = low;
        for end in ends.iter().copied().filter(|end| *end > low) {
            self.ranges.insert(l.var, (from, end - 1));
            let body = self.divided(&l.body, divisions)?;
            let whole = ends.len() == 1;
            let part = Loop { lower: from.into(), upper: end.into(), body: body.clone(), ..l.clone() };
            all.push(Node::Loop(if whole { Loop { body, ..l.clone() } } else { part }));
            from = end;
        }
        self.ranges.remove(&l.var);
        Some(())
    }

    /// The first value of `var` with which `sum` is at least `cut`, where it decides this.
    fn end(&self, sum: &Linear, var: Symbol, cut: i64) -> Option<i64> {
        let by = *sum.terms.get(&var).filter(|by| **by > 0)?;
        let mut rest = sum.clone();
        rest.terms.remove(&var);
        let (low, high) = self.range(&rest)?;
        let (by, cut) = (i128::from(by), i128::from(cut));
        let end = -(low - cut).div_euclid(by);
        ((end - 1) * by + high < cut).then(|| i64::try_from(end).ok()).flatten()
    }

    /// The access in the array of its range.
    fn within(&self, access: &Access, divisions: &[Option<Division>]) -> Option<Access> {
        let Some(Some(division)) = divisions.get(access.array) else { return Some(access.clone()) };
        let (sum, low, high) = self.column(access, division.axis)?;
        let (start, array) = division.range(low, high)?;
        let mut index: Vec<Expr> = access.index.as_ref()?.iter().take(division.axis).cloned().collect();
        index.push(Linear { constant: sum.constant.checked_sub(start)?, ..sum }.expr());
        Some(Access { array, index: Some(index), ..access.clone() })
    }
}

/// `nodes` with other accesses.
fn mapped(nodes: &[Node], with: &dyn Fn(&Access) -> Access) -> Vec<Node> {
    let node = |node: &Node| match node {
        Node::Loop(l) => Node::Loop(Loop { body: mapped(&l.body, with), ..l.clone() }),
        Node::Branch(branch) => Node::Branch(Branch {
            then: mapped(&branch.then, with),
            otherwise: mapped(&branch.otherwise, with),
            ..branch.clone()
        }),
        Node::Work(work) => Node::Work(Work { accesses: work.accesses.iter().map(with).collect(), ..work.clone() }),
        Node::Library(library) => Node::Library(Library { sweep: mapped(&library.sweep, with), ..library.clone() }),
    };
    nodes.iter().map(node).collect()
}
