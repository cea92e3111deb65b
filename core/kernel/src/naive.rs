//! Runs a program step by step, for tests: what everything else is compared with.

use super::expr::Expr;
use super::nest::{Access, Condition, Node, Program, Work};

/// What a run reports, in the order in which it happens.
pub(crate) trait Watch {
    /// A loop's body is about to run once more.
    fn round(&mut self) {}
    /// A piece of work ran.
    fn work(&mut self, _work: &Work) {}
    /// An element was loaded or stored: its array, the number of the element in it, and the access.
    fn access(&mut self, _array: usize, _element: i64, _access: &Access) {}
}

/// Runs `program` with the values of its parameters. Chances are not run: a program under test has none.
pub(crate) fn run(program: &Program, watch: &mut dyn Watch) {
    let mut values = program.values();
    nodes(program, &program.body, &mut values, watch);
}

fn nodes(program: &Program, body: &[Node], values: &mut Vec<i64>, watch: &mut dyn Watch) {
    let value = |expr: &Expr, values: &[i64]| expr.value(values).unwrap();
    for node in body {
        match node {
            Node::Loop(l) => {
                let (lower, upper) = (value(&l.lower, values), value(&l.upper, values));
                let step = value(&l.step, values);
                let mut var = lower;
                while if step > 0 { var < upper } else { var > upper } {
                    values[l.var.0 as usize] = var;
                    watch.round();
                    nodes(program, &l.body, values, watch);
                    var += step;
                }
            }
            Node::Branch(branch) => {
                let arm = if holds(&branch.condition, values) { &branch.then } else { &branch.otherwise };
                nodes(program, arm, values, watch);
            }
            Node::Work(work) => {
                for access in &work.accesses {
                    let dims = program.arrays[access.array].dims.iter().map(|dim| value(dim, values));
                    let index = access.index.iter().flatten().map(|i| value(i, values));
                    let element = dims.zip(index).fold(0, |sum, (dim, i)| sum * dim + i);
                    watch.access(access.array, element, access);
                }
                watch.work(work);
            }
            Node::Library(library) => nodes(program, &library.sweep, values, watch),
        }
    }
}

/// Whether a condition without chances holds.
pub(crate) fn holds(condition: &Condition, values: &[i64]) -> bool {
    match condition {
        Condition::Compare(a, comparison, b) => {
            let (a, b) = (a.value(values).unwrap(), b.value(values).unwrap());
            crate::nest::compares(a, *comparison, b)
        }
        Condition::Chance(_) => panic!("a chance"),
        Condition::And(a, b) => holds(a, values) && holds(b, values),
        Condition::Or(a, b) => holds(a, values) || holds(b, values),
        Condition::Not(a) => !holds(a, values),
    }
}
