//! Loops written anew, so that their accesses move evenly.
//!
//! Loops whose subscripts divide their variable become loops over its digits: `x[i / 64][i % 64]` for `i` below 4096 is
//! `x[q][r]` for `q` below 64 and `r` below 64. What is touched, and in which order, stays the same, but subscripts need
//! not be evaluated one by one. Reshaped arrays are read like this.
//!
//! A library reads its operands in an order that nobody knows: it is taken to go through them as they lie in memory.

mod layout;

use std::borrow::Cow;
use std::collections::BTreeMap;

pub(super) use layout::laid_out;

use super::library;
use crate::expr::{Expr, Rounding, Symbol};
use crate::nest::{Access, Array, Branch, Condition, Library, Loop, Node, Program, SymbolInfo, Work};

/// Pieces into which the loops of a program are divided at most; all other loops stay as they are.
const MOST_PIECES: usize = 4096;
/// Loops are not divided where more than this many lie within each other: a plan takes no more than 63.
const MOST_DEEP: usize = 48;
/// Bounds and divisors are this far from zero at most, so that sums of a few stay within 64 bits.
const FAR: i64 = 1 << 60;

/// A sum of symbols times constants, and a constant.
#[derive(Debug, Clone, Default)]
struct Linear {
    constant: i64,
    terms: BTreeMap<Symbol, i64>,
}

struct Divider<'p> {
    arrays: &'p [Array],
    values: Vec<i64>,
    /// Parameters have a value; loop variables none.
    symbols: Vec<SymbolInfo>,
    /// Between which values (inclusive) loop variables lie, where their bounds are numbers.
    ranges: BTreeMap<Symbol, (i64, i64)>,
    pieces: usize,
    /// Loops around.
    around: usize,
}

/// A block of iterations after which quotients go up by one and remainders start again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Block {
    rounds: i64,
    /// A value of the variable with which a block begins.
    start: i64,
}

/// `program` with loops over digits where subscripts divide, and its libraries' operands as they lie in memory.
pub(super) fn rewritten(program: &Program) -> Cow<'_, Program> {
    let divides = |access: &Access| access.index.iter().flatten().any(divides);
    if !any_access(&program.body, &divides) && !library::any(&program.body) {
        return Cow::Borrowed(program);
    }
    let (values, symbols) = (program.values(), program.symbols.clone());
    let arrays = &program.arrays;
    let mut divider = Divider { arrays, values, symbols, ranges: BTreeMap::new(), pieces: 0, around: 0 };
    let body = divider.nodes(&program.body);
    Cow::Owned(Program { symbols: divider.symbols, body, ..program.clone() })
}

fn divides(expr: &Expr) -> bool {
    matches!(expr, Expr::Div(..) | Expr::Rem(..)) || expr.parts().into_iter().flatten().any(divides)
}

fn any_access(nodes: &[Node], wanted: &dyn Fn(&Access) -> bool) -> bool {
    nodes.iter().any(|node| match node {
        Node::Loop(l) => any_access(&l.body, wanted),
        Node::Branch(branch) => any_access(&branch.then, wanted) || any_access(&branch.otherwise, wanted),
        Node::Work(work) => work.accesses.iter().any(wanted),
        Node::Library(library) => any_access(&library.sweep, wanted),
    })
}

/// How many loops lie within each other in `nodes`.
fn height(nodes: &[Node]) -> usize {
    let of = |node: &Node| match node {
        Node::Loop(l) => 1 + height(&l.body),
        Node::Branch(branch) => height(&branch.then).max(height(&branch.otherwise)),
        Node::Work(_) => 0,
        Node::Library(library) => height(&library.sweep),
    };
    nodes.iter().map(of).max().unwrap_or(0)
}

/// Whether chance decides anything in `nodes`: its draws hang on the loops around.
fn is_random(nodes: &[Node]) -> bool {
    fn chance(condition: &Condition) -> bool {
        match condition {
            Condition::Compare(..) => false,
            Condition::Chance(_) => true,
            Condition::And(a, b) | Condition::Or(a, b) => chance(a) || chance(b),
            Condition::Not(a) => chance(a),
        }
    }
    nodes.iter().any(|node| match node {
        Node::Loop(l) => is_random(&l.body),
        Node::Branch(branch) => chance(&branch.condition) || is_random(&branch.then) || is_random(&branch.otherwise),
        Node::Work(work) => work.accesses.iter().any(|access| access.index.is_none()),
        Node::Library(library) => is_random(&library.sweep),
    })
}

impl Divider<'_> {
    fn nodes(&mut self, nodes: &[Node]) -> Vec<Node> {
        nodes.iter().flat_map(|node| self.node(node)).collect()
    }

    fn node(&mut self, node: &Node) -> Vec<Node> {
        match node {
            Node::Loop(l) => self.repeat(l),
            Node::Branch(branch) => {
                let (then, otherwise) = (self.nodes(&branch.then), self.nodes(&branch.otherwise));
                vec![Node::Branch(Branch { then, otherwise, ..branch.clone() })]
            }
            Node::Work(work) => {
                let accesses = work.accesses.iter().map(|access| self.access(access)).collect();
                vec![Node::Work(Work { accesses, ..work.clone() })]
            }
            Node::Library(library) => {
                let mut sweep = self.nodes(&library.sweep);
                sweep.iter_mut().for_each(|node| self.order(node));
                vec![Node::Library(Library { sweep, ..library.clone() })]
            }
        }
    }

    /// Orders loops around a single access by how far they move it, the farthest outermost.
    fn order(&self, node: &mut Node) {
        let (mut heads, mut inner) = (Vec::new(), &*node);
        while let Node::Loop(l) = inner {
            let [next] = &l.body[..] else { return };
            let fixed = [&l.lower, &l.upper, &l.step].into_iter().all(|bound| self.number(bound).is_some());
            if !fixed {
                return;
            }
            heads.push(Loop { body: Vec::new(), ..l.clone() });
            inner = next;
        }
        let Node::Work(work) = inner else { return };
        let [Access { array, index: Some(index), .. }] = &work.accesses[..] else { return };
        let Some(sum) = self.arrays.get(*array).and_then(|array| self.flat(index, &array.dims)) else { return };
        let step = |l: &Loop| {
            let own = sum.terms.get(&l.var).copied().unwrap_or_default();
            own.unsigned_abs().saturating_mul(self.number(&l.step).unwrap_or_default().unsigned_abs())
        };
        heads.sort_by_key(|l| std::cmp::Reverse(step(l)));
        let work = Node::Work(work.clone());
        *node = heads.into_iter().rev().fold(work, |inner, head| Node::Loop(Loop { body: vec![inner], ..head }));
    }

    /// The number of an element in its array.
    fn flat(&self, index: &[Expr], dims: &[Expr]) -> Option<Linear> {
        index
            .iter()
            .zip(dims)
            .try_fold(Linear::default(), |sum, (index, dim)| sum.times(self.number(dim)?)?.plus(&self.linear(index)?))
    }

    fn access(&self, access: &Access) -> Access {
        let index = access.index.as_ref().map(|index| index.iter().map(|index| self.short(index)).collect());
        Access { index, ..access.clone() }
    }

    /// The number that `expr` is, if loops do not change it.
    fn number(&self, expr: &Expr) -> Option<i64> {
        let fixed = |symbol: &Symbol| self.symbols.get(symbol.0 as usize).is_some_and(|info| info.value.is_some());
        if expr.symbols().iter().all(fixed) { expr.value(&self.values).ok() } else { None }
    }

    fn repeat(&mut self, l: &Loop) -> Vec<Node> {
        let bounds = self.bounds(l);
        let before = bounds.and_then(|(low, high)| self.ranges.insert(l.var, (low, high - 1)));
        self.around += 1;
        let nodes = self.repeat_within(l, bounds);
        self.around -= 1;
        match before {
            Some(before) => self.ranges.insert(l.var, before),
            None => self.ranges.remove(&l.var),
        };
        nodes
    }

    /// The first value of the variable, and the first that is too far, of a loop in steps of 1.
    fn bounds(&self, l: &Loop) -> Option<(i64, i64)> {
        let (low, high) = (self.number(&l.lower)?, self.number(&l.upper)?);
        (self.number(&l.step)? == 1 && -FAR <= low && low < high && high <= FAR).then_some((low, high))
    }

    fn repeat_within(&mut self, l: &Loop, bounds: Option<(i64, i64)>) -> Vec<Node> {
        if let Some((low, high)) = bounds
            && self.pieces < MOST_PIECES
            && let Some(block) = self.block(&l.body, l.var)
            && self.around + height(&l.body) < MOST_DEEP
            && !is_random(&l.body)
        {
            self.pieces += 3;
            return self.pieces(l, (low, high), block);
        }
        vec![Node::Loop(Loop { body: self.nodes(&l.body), ..l.clone() })]
    }

    /// The iterations before the first whole block, the blocks, and those behind them.
    fn pieces(&mut self, l: &Loop, (low, high): (i64, i64), block: Block) -> Vec<Node> {
        let start = low + (block.start - low).rem_euclid(block.rounds);
        let blocks = (high - start).max(0) / block.rounds;
        let behind = (start + blocks * block.rounds).min(high);
        let mut nodes = Vec::new();
        let part = |from: i64, to: i64| Loop { lower: from.into(), upper: to.into(), step: 1.into(), ..l.clone() };
        if low < start.min(high) {
            nodes.extend(self.repeat(&part(low, start.min(high))));
        }
        if blocks == 1 {
            nodes.extend(self.repeat(&part(start, behind)));
        } else if blocks > 1 {
            let name = self.symbols.get(l.var.0 as usize).map(|info| info.name.clone()).unwrap_or_default();
            let [over, within] = [self.variable(&name), self.variable(&name)];
            let value = Expr::from(over).times(block.rounds).plus(within).plus(start);
            let digits = |symbol: Symbol| (symbol == l.var).then(|| value.clone());
            let body = replaced(&l.body, &digits);
            let bounds = |var: Symbol, upper: i64, body: Vec<Node>| Loop {
                var,
                lower: 0.into(),
                upper: upper.into(),
                step: 1.into(),
                body,
                at: l.at,
            };
            let inner = bounds(within, block.rounds, body);
            nodes.extend(self.repeat(&bounds(over, blocks, vec![Node::Loop(inner)])));
        }
        if behind < high && behind >= start {
            nodes.extend(self.repeat(&part(behind, high)));
        }
        nodes
    }

    fn variable(&mut self, name: &str) -> Symbol {
        self.symbols.push(SymbolInfo { name: name.to_owned(), value: None });
        self.values.push(0);
        Symbol(self.symbols.len() as u32 - 1)
    }

    /// The longest block of a quotient or a remainder in `nodes` that `var` goes through.
    fn block(&mut self, nodes: &[Node], var: Symbol) -> Option<Block> {
        let mut found = None;
        for node in nodes {
            found = found.max(match node {
                Node::Loop(l) => {
                    let bounds = self.bounds(l);
                    if let Some((low, high)) = bounds {
                        self.ranges.insert(l.var, (low, high - 1));
                    }
                    let own = self.block(&l.body, var);
                    self.ranges.remove(&l.var);
                    own
                }
                Node::Branch(branch) => self.block(&branch.then, var).max(self.block(&branch.otherwise, var)),
                Node::Work(work) => {
                    let index = work.accesses.iter().flat_map(|access| access.index.iter().flatten());
                    index.map(|index| self.block_of(&self.short(index), var)).max().flatten()
                }
                Node::Library(library) => self.block(&library.sweep, var),
            });
        }
        found
    }

    fn block_of(&self, expr: &Expr, var: Symbol) -> Option<Block> {
        let within = expr.parts().into_iter().flatten().map(|part| self.block_of(part, var)).max().flatten();
        let (Expr::Div(a, b, rounding) | Expr::Rem(a, b, rounding)) = expr else { return within };
        within.max(self.own_block(a, b, *rounding, var))
    }

    fn own_block(&self, a: &Expr, b: &Expr, rounding: Rounding, var: Symbol) -> Option<Block> {
        let divisor = self.number(b).filter(|divisor| (2..=FAR).contains(divisor))?;
        let sum = self.linear(a)?;
        if rounding == Rounding::Zero && self.range(&sum)?.0 < 0 {
            return None;
        }
        let step = *sum.terms.get(&var)?;
        if step <= 0 || divisor % step != 0 || divisor == step {
            return None;
        }
        // What other variables add is a whole number of divisors, or less than a step.
        let small = Linear {
            constant: 0,
            terms: sum.terms.iter().filter(|(own, term)| **own != var && *term % divisor != 0).map(copy).collect(),
        };
        let (low, high) = self.range(&small)?;
        let constant = sum.constant.rem_euclid(divisor);
        let beyond = i128::from(constant % step);
        if low + beyond < 0 || high + beyond >= i128::from(step) {
            return None;
        }
        let rounds = divisor / step;
        Some(Block { rounds, start: (-(constant / step)).rem_euclid(rounds) })
    }

    /// The same value, without quotients and remainders that the ranges of loops decide.
    fn short(&self, expr: &Expr) -> Expr {
        let Some([a, b]) = expr.parts() else { return expr.clone() };
        let (a, b) = (self.short(a), self.short(b));
        match expr {
            Expr::Add(..) => a.plus(b),
            Expr::Mul(..) => a.times(b),
            Expr::Div(.., rounding) => match self.decided(&a, &b, *rounding) {
                Some((quotient, _)) => quotient,
                None => a.over(b, *rounding),
            },
            Expr::Rem(.., rounding) => match self.decided(&a, &b, *rounding) {
                Some((_, remainder)) => remainder,
                None => a.modulo(b, *rounding),
            },
            Expr::Min(..) => a.min(b),
            Expr::Max(..) => a.max(b),
            Expr::Power(..) => a.power(b),
            Expr::Digits(..) | Expr::Const(_) | Expr::Symbol(_) => a.digits(b),
        }
    }

    /// Quotient and remainder of `a` by `b`, where the remainder never wraps.
    fn decided(&self, a: &Expr, b: &Expr, rounding: Rounding) -> Option<(Expr, Expr)> {
        let divisor = self.number(b).filter(|divisor| (1..=FAR).contains(divisor))?;
        let sum = self.linear(a)?;
        if rounding == Rounding::Zero && self.range(&sum)?.0 < 0 {
            return None;
        }
        let (mut whole, mut rest) = (Linear::default(), Linear::default());
        rest.constant = sum.constant;
        for (symbol, term) in &sum.terms {
            let (into, term) = if term % divisor == 0 { (&mut whole, term / divisor) } else { (&mut rest, *term) };
            into.terms.insert(*symbol, term);
        }
        let (low, high) = self.range(&rest)?;
        let times = low.div_euclid(divisor.into());
        if times != high.div_euclid(divisor.into()) {
            return None;
        }
        let times = i64::try_from(times).ok()?;
        whole.constant = times;
        rest.constant = rest.constant.checked_sub(times.checked_mul(divisor)?)?;
        Some((whole.expr(), rest.expr()))
    }

    /// Between which values a sum lies, where the ranges of its variables are known.
    fn range(&self, sum: &Linear) -> Option<(i128, i128)> {
        let constant = i128::from(sum.constant);
        sum.terms.iter().try_fold((constant, constant), |(low, high), (symbol, term)| {
            let (from, to) = self.ranges.get(symbol)?;
            let [a, b] = [from, to].map(|end| i128::from(*end) * i128::from(*term));
            Some((low.checked_add(a.min(b))?, high.checked_add(a.max(b))?))
        })
    }

    fn linear(&self, expr: &Expr) -> Option<Linear> {
        if let Some(constant) = self.number(expr) {
            return Some(Linear { constant, terms: BTreeMap::new() });
        }
        match expr {
            Expr::Symbol(symbol) => Some(Linear { constant: 0, terms: [(*symbol, 1)].into() }),
            Expr::Add(a, b) => self.linear(a)?.plus(&self.linear(b)?),
            Expr::Mul(a, b) => match (self.number(a), self.number(b)) {
                (Some(factor), _) => self.linear(b)?.times(factor),
                (_, Some(factor)) => self.linear(a)?.times(factor),
                _ => None,
            },
            _ => None,
        }
    }
}

fn copy((symbol, term): (&Symbol, &i64)) -> (Symbol, i64) {
    (*symbol, *term)
}

impl Linear {
    fn plus(mut self, other: &Self) -> Option<Self> {
        self.constant = self.constant.checked_add(other.constant)?;
        for (symbol, term) in &other.terms {
            let own = self.terms.entry(*symbol).or_default();
            *own = own.checked_add(*term)?;
        }
        self.terms.retain(|_, term| *term != 0);
        Some(self)
    }

    fn times(mut self, factor: i64) -> Option<Self> {
        self.constant = self.constant.checked_mul(factor)?;
        for term in self.terms.values_mut() {
            *term = term.checked_mul(factor)?;
        }
        self.terms.retain(|_, term| *term != 0);
        Some(self)
    }

    fn expr(&self) -> Expr {
        let terms = self.terms.iter().map(|(symbol, term)| Expr::from(*symbol).times(*term));
        terms.reduce(Expr::plus).unwrap_or(Expr::Const(0)).plus(self.constant)
    }
}

/// `nodes` with other expressions instead of symbols.
fn replaced(nodes: &[Node], with: &dyn Fn(Symbol) -> Option<Expr>) -> Vec<Node> {
    let go = |expr: &Expr| expr.replaced(with);
    nodes
        .iter()
        .map(|node| match node {
            Node::Loop(l) => Node::Loop(Loop {
                lower: go(&l.lower),
                upper: go(&l.upper),
                step: go(&l.step),
                body: replaced(&l.body, with),
                ..l.clone()
            }),
            Node::Branch(branch) => Node::Branch(Branch {
                condition: decided_by(&branch.condition, with),
                then: replaced(&branch.then, with),
                otherwise: replaced(&branch.otherwise, with),
                at: branch.at,
            }),
            Node::Work(work) => {
                let index = |access: &Access| access.index.as_ref().map(|index| index.iter().map(go).collect());
                let accesses = work.accesses.iter().map(|access| Access { index: index(access), ..access.clone() });
                Node::Work(Work { accesses: accesses.collect(), ..work.clone() })
            }
            Node::Library(library) => {
                let [batch, m, n, k] = [&library.batch, &library.m, &library.n, &library.k].map(go);
                Node::Library(Library { batch, m, n, k, sweep: replaced(&library.sweep, with), ..library.clone() })
            }
        })
        .collect()
}

fn decided_by(condition: &Condition, with: &dyn Fn(Symbol) -> Option<Expr>) -> Condition {
    let go = |condition: &Condition| Box::new(decided_by(condition, with));
    match condition {
        Condition::Compare(a, comparison, b) => Condition::Compare(a.replaced(with), *comparison, b.replaced(with)),
        Condition::Chance(_) => condition.clone(),
        Condition::And(a, b) => Condition::And(go(a), go(b)),
        Condition::Or(a, b) => Condition::Or(go(a), go(b)),
        Condition::Not(a) => Condition::Not(go(a)),
    }
}
