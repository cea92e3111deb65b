//! Counts: closed forms in the parameters, and numbers.
//!
//! How often a step of a program runs is a sum over the iterations of the loops around it. Where bounds are
//! polynomials, so is that sum (`sum`); conditions on loop variables narrow the range of a loop (`condition`); a
//! minimum in a bound divides a range, or is the end of a tile. What has no polynomial stays a sum, written out in the
//! form, and its iterations are tried one by one for the number (`evaluate`), up to [`MAX_EVALUATIONS`] where nobody
//! gives another budget.
//!
//! A polynomial counts a loop that ends before it begins as negative. So each loop must be proven never to do that
//! (`prove`), from the bounds of the loops around it. Where this takes something of the parameters that holds for
//! their values, it is one of the [`Counts::assumptions`]; that every parameter is at least 1 is assumed without saying
//! so. Where it does not hold, the form has a `max`, and is right without assuming anything. Numbers are exact in
//! every case.

mod condition;
mod evaluate;
mod number;
mod poly;
mod prove;
mod sum;
mod table;
#[cfg(test)]
mod tests;
mod text;

use condition::{always, is_chance};
use number::Number;
use poly::{Poly, Rational};
use sum::{Case, Range};
use table::{Assume, Table};
use text::Writer;

use super::expr::Expr;
use super::nest::{Branch, Library, Loop, Node, Program, Work};
use super::report::Count;
use super::source::refuse;
use accel_ground::error::Error;

/// Evaluations of terms that are tried where there is no closed form and nobody gives a budget: a second or two.
pub const MAX_EVALUATIONS: u64 = 20_000_000;

/// What a program does.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    /// Loops in the program, a library's included (3, and one for a batch).
    pub num_loops: u64,
    /// Conditions in the program.
    pub num_branches: u64,
    /// Iterations of all loops, and the innermost ones of a library.
    pub rounds: Quantity,
    /// Conditions evaluated.
    pub branches: Quantity,
    /// Loads of array elements.
    pub load_ops: Quantity,
    /// Stores of array elements.
    pub store_ops: Quantity,
    /// Floating-point operations.
    pub flops: Quantity,
    /// Operations on elements that are integers.
    pub int_ops: Quantity,
    /// Bytes that loads and stores move.
    pub mem_bytes: Quantity,
    /// What each node does itself, children left out: the nodes of the program in the order in which they stand
    /// (pre-order: a node, then its body or `then`, then `otherwise`; a library's sweep is not entered).
    pub nodes: Vec<NodeCount>,
    /// Assumptions under which closed forms hold, such as `N >= 2`.
    pub assumptions: Vec<String>,
}

/// A number and its closed form.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantity {
    /// With the parameters' values.
    pub count: Count,
    /// In the parameters: `4*D^3 + 2*D^2`; with sums written out where there is no polynomial.
    pub form: String,
}

/// What a node does itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeCount {
    /// A loop: iterations. A branch: evaluations. Work, a library: how often it runs.
    pub runs: Count,
    /// Loads.
    pub load_ops: Count,
    /// Stores.
    pub store_ops: Count,
    /// Floating-point operations.
    pub flops: Count,
    /// Bytes that its loads and stores move.
    pub mem_bytes: Count,
}

/// Counts `program`.
///
/// # Errors
///
/// [`Error::TooLarge`] where a loop has no closed form and more than [`MAX_EVALUATIONS`] evaluations, or a number leaves
/// the range of 127 bits; [`Error::Input`] where the program has no meaning, such as a step of 0.
pub fn count(program: &Program) -> Result<Counts, Error> {
    let mut evaluations = MAX_EVALUATIONS;
    count_within(program, &mut evaluations)
}

/// The same with at most so many evaluations, of which it leaves what it did not need.
pub(crate) fn count_within(program: &Program, evaluations: &mut u64) -> Result<Counts, Error> {
    let mut counter = Counter::new(program, *evaluations);
    let counted = counter.program();
    *evaluations = counter.table.evaluations_left;
    counted?;
    counter.counts()
}

/// A count under way: its closed form and its value.
#[derive(Debug, Clone)]
struct Sum {
    form: Poly,
    value: Number,
    /// Whether chances decide about it.
    expected: bool,
}

/// Indices of the totals.
const ROUNDS: usize = 0;
const BRANCHES: usize = 1;
const LOADS: usize = 2;
const STORES: usize = 3;
const FLOPS: usize = 4;
const BYTES: usize = 5;
const INTEGERS: usize = 6;

/// Goes through a program.
struct Counter<'p> {
    table: Table<'p>,
    /// The loops around.
    ranges: Vec<Range>,
    /// When what stands here runs.
    cases: Vec<Case>,
    /// Whether chances decide about that.
    expected: bool,
    num_loops: u64,
    num_branches: u64,
    totals: [Sum; 7],
    nodes: Vec<NodeCount>,
}

impl<'p> Counter<'p> {
    fn new(program: &'p Program, evaluations: u64) -> Self {
        let zero = Sum { form: Poly::default(), value: Number::ZERO, expected: false };
        Self {
            table: Table::new(program, evaluations),
            ranges: Vec::new(),
            cases: vec![always()],
            expected: false,
            num_loops: 0,
            num_branches: 0,
            totals: std::array::from_fn(|_| zero.clone()),
            nodes: Vec::new(),
        }
    }

    fn program(&mut self) -> Result<(), Error> {
        let once = self.sum_of(&Poly::from(1))?;
        self.block(&self.table.program.body, &once)
    }

    /// The steps of a block that runs so often.
    fn block(&mut self, body: &[Node], runs: &Sum) -> Result<(), Error> {
        body.iter().try_for_each(|node| match node {
            Node::Loop(l) => self.enter(l),
            Node::Branch(branch) => self.branch(branch, runs),
            Node::Work(work) => self.work(work, runs),
            Node::Library(library) => self.library(library, runs),
        })
    }

    /// The sum of `weight` over everything that runs here.
    fn sum_of(&mut self, weight: &Poly) -> Result<Sum, Error> {
        let mut form = Poly::default();
        for mut case in self.cases.clone() {
            case.factor = self.table.product(&case.factor, weight);
            let runs = self.table.runs(&self.ranges, &case);
            self.table.add(&mut form, &runs);
        }
        let value = self.table.evaluate(&form)?;
        Ok(Sum { form, value, expected: self.expected })
    }

    fn enter(&mut self, l: &Loop) -> Result<(), Error> {
        let range = self.range(l)?;
        self.num_loops += 1;
        self.ranges.push(range);
        let rounds = self.sum_of(&Poly::from(1))?;
        self.node(&rounds, &[(ROUNDS, rounds.clone())])?;
        self.block(&l.body, &rounds)?;
        self.ranges.pop();
        Ok(())
    }

    fn range(&mut self, l: &Loop) -> Result<Range, Error> {
        self.table.at = l.at;
        let scope = self.table.scope(&self.ranges, &self.cases);
        let (lower, upper) = (self.table.poly(&l.lower, &scope)?, self.table.poly(&l.upper, &scope)?);
        let step = self.table.poly(&l.step, &scope)?;
        if !self.table.is_closed(&step) {
            return Err(refuse(l.at, "the step of this loop changes while the program runs", "Give a constant step"));
        }
        let value = self.table.integer(&step)?;
        if value == 0 {
            return Err(refuse(l.at, "the step of this loop is 0: it never ends", "Give a step that is not 0"));
        }
        // That the step keeps its sign.
        let size = step.scaled(&Rational::from(i128::from(value.signum()))).and_then(|size| size.plus_number(-1));
        if let Some(size) = size
            && !self.table.prove(&size, &[], Assume::Conditions)
        {
            self.table.assume(size);
        }
        Ok(Range { var: l.var, lower, upper, step, ascending: value > 0, at: l.at })
    }

    fn branch(&mut self, branch: &Branch, runs: &Sum) -> Result<(), Error> {
        self.num_branches += 1;
        self.node(runs, &[(BRANCHES, runs.clone())])?;
        self.table.at = branch.at;
        let scope = self.table.scope(&self.ranges, &self.cases);
        let cases = self.table.cases(&branch.condition, &scope)?;
        let expected = self.expected;
        self.expected |= is_chance(&branch.condition);
        for (own, arm) in [(cases.yes, &branch.then), (cases.no, &branch.otherwise)] {
            if arm.is_empty() {
                continue;
            }
            let both = self.table.both(&self.cases, &own);
            let around = std::mem::replace(&mut self.cases, both);
            let runs = self.sum_of(&Poly::from(1))?;
            self.block(arm, &runs)?;
            self.cases = around;
        }
        self.expected = expected;
        Ok(())
    }

    fn work(&mut self, work: &Work, runs: &Sum) -> Result<(), Error> {
        let bytes = |access: &super::nest::Access| {
            self.table.program.arrays.get(access.array).map_or(0, |array| array.element.bytes())
        };
        let moved = work.accesses.iter().map(bytes).fold(0, u64::saturating_add);
        let stores = work.accesses.iter().filter(|access| access.write).count() as u64;
        let loads = work.accesses.len() as u64 - stores;
        // Subscripts are integers too: only what works on arrays of integers alone counts, without what is told apart.
        let elements = || work.accesses.iter().filter_map(|access| self.table.program.arrays.get(access.array));
        let integers = elements().next().is_some() && elements().all(|array| !array.element.is_float());
        let integers = if integers { u64::from(work.integer_ops.saturating_sub(work.subscript_ops)) } else { 0 };
        let parts =
            [(LOADS, loads), (STORES, stores), (FLOPS, work.flops.total()), (BYTES, moved), (INTEGERS, integers)];
        let parts: Vec<_> = parts.into_iter().filter(|(_, count)| *count > 0).collect();
        let parts: Vec<_> = parts.into_iter().map(|(what, count)| (what, self.several(runs, count))).collect();
        self.node(runs, &parts)
    }

    fn library(&mut self, library: &Library, runs: &Sum) -> Result<(), Error> {
        self.num_loops += if library.batch == Expr::Const(1) { 3 } else { 4 };
        self.table.at = library.at;
        let scope = self.table.scope(&self.ranges, &self.cases);
        let mut results = Poly::from(1);
        for extent in [&library.batch, &library.m, &library.n] {
            results = self.extended(&results, extent, &scope)?;
        }
        let products = self.extended(&results, &library.k, &scope)?;
        let (stores, products) = (self.sum_of(&results)?, self.sum_of(&products)?);
        let loads = self.several(&products, 2);
        let size = library.element.bytes();
        let mut bytes = self.several(&loads, size);
        let stored = self.several(&stores, size);
        self.table.add(&mut bytes.form, &stored.form);
        bytes.value = bytes.value.plus(stored.value);
        let kind = if library.element.is_float() { FLOPS } else { INTEGERS };
        let operations = self.several(&loads, 1);
        self.node(runs, &[(ROUNDS, products), (LOADS, loads), (STORES, stores), (kind, operations), (BYTES, bytes)])
    }

    /// `product * extent`, where an extent below 0 is none.
    fn extended(&mut self, product: &Poly, extent: &Expr, scope: &[table::Bounds]) -> Result<Poly, Error> {
        let extent = self.table.poly(extent, scope)?;
        let extent = self.table.max(&extent, &Poly::default(), scope, Assume::Conditions);
        Ok(self.table.product(product, &extent))
    }

    /// So many times a sum.
    fn several(&mut self, sum: &Sum, times: u64) -> Sum {
        let factor = Rational::from(i128::from(times));
        let form = self.table.product(&sum.form, &factor.into());
        Sum { form, value: sum.value.times(Number::Exact(factor)), expected: sum.expected && times > 0 }
    }

    /// Notes what a node does, and adds it to the totals.
    fn node(&mut self, runs: &Sum, parts: &[(usize, Sum)]) -> Result<(), Error> {
        let mut own = [Count::Whole(0); 7];
        for (what, sum) in parts {
            own[*what] = whole(sum)?;
            let total = &mut self.totals[*what];
            self.table.add(&mut total.form, &sum.form);
            total.value = total.value.plus(sum.value);
            total.expected |= sum.expected;
        }
        let [_, _, load_ops, store_ops, flops, mem_bytes, _] = own;
        self.nodes.push(NodeCount { runs: whole(runs)?, load_ops, store_ops, flops, mem_bytes });
        Ok(())
    }

    fn counts(self) -> Result<Counts, Error> {
        let quantity = |what: usize| {
            let sum = &self.totals[what];
            let writer = Writer { table: &self.table, decimals: sum.expected };
            Ok::<_, Error>(Quantity { count: whole(sum)?, form: writer.form(&sum.form) })
        };
        Ok(Counts {
            num_loops: self.num_loops,
            num_branches: self.num_branches,
            rounds: quantity(ROUNDS)?,
            branches: quantity(BRANCHES)?,
            load_ops: quantity(LOADS)?,
            store_ops: quantity(STORES)?,
            flops: quantity(FLOPS)?,
            int_ops: quantity(INTEGERS)?,
            mem_bytes: quantity(BYTES)?,
            assumptions: self.assumptions(),
            nodes: self.nodes,
        })
    }

    /// The conditions of the closed forms, without those that follow from another.
    fn assumptions(&self) -> Vec<String> {
        let conditions = &self.table.conditions;
        let follows = |own: usize, from: usize| {
            let more = conditions[own].minus(&conditions[from]).and_then(|more| more.constant());
            own != from && more.is_some_and(|more| more >= Rational::from(0))
        };
        let needed = (0..conditions.len()).filter(|own| !(0..conditions.len()).any(|from| follows(*own, from)));
        let writer = Writer { table: &self.table, decimals: false };
        needed.map(|own| writer.condition(&conditions[own])).collect()
    }
}

/// The count that a sum is worth.
fn whole(sum: &Sum) -> Result<Count, Error> {
    sum.value.count(sum.expected).ok_or_else(|| Error::TooLarge {
        problem: "a count is made of numbers beyond 2^127 and cannot be stated exactly".into(),
        cure: "Give smaller parameters".into(),
    })
}
