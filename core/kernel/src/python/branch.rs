//! Branches: `if` statements, and choices between two values.

use std::collections::BTreeSet;

use ruff_python_ast::{BoolOp, Expr as Tree, ExprIf, Stmt, StmtIf};

use super::condition::{Test, is_chance};
use super::lower::PythonLowering;
use super::stmt::Flow;
use super::tree::{assigned, ends, names_read_by};
use super::value::Value;
use crate::nest::{At, Branch, Flops, Node};
use crate::source::{Fusion, MAX_DEPTH};
use accel_ground::error::Error;

/// An arm of a chain of conditions: its condition, none for `else`, and what is done.
#[derive(Clone, Copy)]
struct Arm<'a> {
    at: At,
    test: Option<Tests<'a>>,
    body: &'a [Stmt],
}

/// A condition, or some of those that `and` (or `or`, if false) joins.
#[derive(Clone, Copy)]
enum Tests<'a> {
    One(&'a Tree),
    Some(&'a [Tree], bool),
}

impl<'a> Tests<'a> {
    /// The parts before the first that looks into an array, and the rest, where there are both.
    fn split(self) -> (Self, Option<Self>) {
        let Self::One(Tree::BoolOp(op)) = self else { return (self, None) };
        let and = op.op == BoolOp::And;
        let first = op.values.iter().position(may_load).unwrap_or(op.values.len());
        match op.values.split_at_checked(first) {
            Some((first, second)) if !first.is_empty() && !second.is_empty() => {
                (Self::Some(first, and), Some(Self::Some(second, and)))
            }
            _ => (self, None),
        }
    }

    /// Whether all parts must hold.
    fn all(self) -> bool {
        matches!(self, Self::Some(_, true))
    }
}

impl<'a> PythonLowering<'a> {
    /// `a if test else b`: a condition where an arm does something.
    pub(super) fn choice(&mut self, choice: &'a ExprIf) -> Result<Value, Error> {
        let at = self.at(choice);
        let condition = match self.test(&choice.test, at)? {
            Test::Known(true) => return self.eval(&choice.body),
            Test::Known(false) => return self.eval(&choice.orelse),
            Test::On(condition) => match self.decide(&condition).filter(|_| self.settles()) {
                Some(true) => return self.eval(&choice.body),
                Some(false) => return self.eval(&choice.orelse),
                None => condition,
            },
        };
        let place = self.work.at;
        let carried = self.work.carried;
        self.flush();
        let facts = self.facts.len();
        self.learn(&condition, true);
        let then = self.block_of(|own| own.number_of(&choice.body));
        self.facts.truncate(facts);
        let (then, a) = then?;
        self.learn(&condition, false);
        let otherwise = self.block_of(|own| own.number_of(&choice.orelse));
        self.facts.truncate(facts);
        let (otherwise, b) = otherwise?;
        if a.is_array() || b.is_array() {
            return self.refuse(choice, "a choice between arrays depends on data", "Use `np.where`, or `if`");
        }
        (self.work.at, self.work.carried) = (place, carried);
        let by_data = a.by_data() || b.by_data() || is_chance(&condition);
        let idle = |node: &Node| matches!(node, Node::Work(w) if w.accesses.is_empty() && w.flops == Flops::NONE);
        if !then.iter().chain(&otherwise).all(idle) {
            self.out.push(Node::Branch(Branch { condition, then, otherwise, at }));
        }
        Ok(Value::computed(a.is_real() || b.is_real(), by_data))
    }

    /// `if`; what stands behind it is `rest`, for arms that return.
    pub(super) fn branch(&mut self, branch: &'a StmtIf, rest: &'a [Stmt]) -> Result<(Flow, Value), Error> {
        self.materialise_before(branch)?;
        let at = self.at(branch);
        let mut arms = vec![Arm { at, test: Some(Tests::One(&branch.test)), body: &branch.body }];
        for clause in &branch.elif_else_clauses {
            let test = clause.test.as_ref().map(Tests::One);
            arms.push(Arm { at: self.at(clause), test, body: &clause.body });
        }
        if arms.len() > MAX_DEPTH {
            return self.refuse(branch, format!("more than {MAX_DEPTH} conditions in a row"), "Write fewer `elif`");
        }
        let returns = arms.iter().any(|arm| ends(arm.body, false));
        self.arms(&arms, if returns { rest } else { &[] })
    }

    /// A chain of conditions; `rest` runs behind those arms that do not return.
    fn arms(&mut self, arms: &[Arm<'a>], rest: &'a [Stmt]) -> Result<(Flow, Value), Error> {
        let then_rest = |own: &mut Self, body: &'a [Stmt]| match own.block(body)? {
            (Flow::Next, _) if !rest.is_empty() => own.block(rest).map(|(_, value)| (Flow::Returned, value)),
            done => Ok(done),
        };
        let Some((Arm { at, test, body }, others)) = arms.split_first() else { return then_rest(self, &[]) };
        let Some(test) = test else { return then_rest(self, body) };
        self.work.at = *at;
        let decided = ends(body, true);
        // What stands behind the first part of `and` or `or` is looked at only if that part does not decide.
        let (first, second) = test.split();
        let behind: Vec<Arm<'a>> = (second.map(|test| Arm { at: *at, test: Some(test), body }).into_iter())
            .chain(others.iter().copied())
            .collect();
        let all = first.all();
        let (if_true, if_false): (&[Arm<'a>], &[Arm<'a>]) = match second {
            Some(_) if all => (&behind, others),
            Some(_) => (&[], &behind),
            None => (&[], others),
        };
        let taken = |own: &mut Self| if if_true.is_empty() { then_rest(own, body) } else { own.arms(if_true, rest) };
        let condition = match first {
            Tests::One(test) => self.test(test, *at)?,
            Tests::Some(parts, and) => self.tests(parts, and, *at)?,
        };
        let condition = match condition {
            Test::Known(true) => return taken(self),
            Test::Known(false) => return self.arms(if_false, rest),
            Test::On(condition) => condition,
        };
        // With parameters alone, an arm that returns or raises is taken or not.
        if (decided || self.settles())
            && let Some(holds) = self.decide(&condition)
        {
            return if holds { taken(self) } else { self.arms(if_false, rest) };
        }
        self.flush();
        let changed: BTreeSet<&str> = arms.iter().map(|arm| arm.body).chain([rest]).flat_map(assigned).collect();
        let before = self.values_of(&changed);
        let facts = self.facts.len();
        self.learn(&condition, true);
        // Nothing is left to be done behind an arm that may not run.
        let done = |own: &mut Self, (flow, value): (Flow, Value)| {
            own.materialise_named(&changed)?;
            Ok((flow, own.materialised(value, "result")?))
        };
        let then = self.block_of(|own| {
            let end = taken(own)?;
            done(own, end)
        });
        self.facts.truncate(facts);
        let (then, (flow, value)) = then?;
        let after = self.values_of(&changed);
        for (name, value) in before {
            self.rebind(name, value);
        }
        self.learn(&condition, false);
        let otherwise = self.block_of(|own| {
            let end = own.arms(if_false, rest)?;
            done(own, end)
        });
        self.facts.truncate(facts);
        let (otherwise, (other_flow, other_value)) = otherwise?;
        let by_data = is_chance(&condition);
        for (name, value) in after {
            let other = self.frames.last().and_then(|frame| frame.names.get(name)).cloned();
            let merged = match (value, other) {
                (Some(value), Some(other)) => Some(merge(value, other, by_data)),
                (value, other) => value.or(other),
            };
            self.rebind(name, merged);
        }
        self.out.push(Node::Branch(Branch { condition, then, otherwise, at: *at }));
        let flow = if flow == other_flow { flow } else { Flow::Next };
        Ok((flow, merge(value, other_value, by_data)))
    }

    /// Does what assignments before a condition have left to do; of a compiler of graphs, what the condition reads.
    fn materialise_before(&mut self, branch: &'a StmtIf) -> Result<(), Error> {
        if self.fusion() != Fusion::Graph {
            return self.materialise_all();
        }
        let read = names_read_by(branch);
        self.materialise_those(|name| read.contains(name))
    }

    /// The same at the end of an arm that changes `names`.
    fn materialise_named(&mut self, names: &BTreeSet<&str>) -> Result<(), Error> {
        if self.fusion() != Fusion::Graph {
            return self.materialise_all();
        }
        self.materialise_those(|name| names.contains(name))
    }

    /// What names of the function being read stand for.
    fn values_of<'n>(&self, names: &BTreeSet<&'n str>) -> Vec<(&'n str, Option<Value>)> {
        let own = self.frames.last().map(|frame| &frame.names);
        names.iter().map(|name| (*name, own.and_then(|own| own.get(*name)).cloned())).collect()
    }

    /// Lets a name stand for something, or for nothing, again.
    fn rebind(&mut self, name: &str, value: Option<Value>) {
        match (self.frames.last_mut(), value) {
            (Some(_), Some(value)) => self.bind(name, value),
            (Some(frame), None) => {
                frame.names.remove(name);
            }
            (None, _) => {}
        }
    }
}

/// Whether a condition looks into an array, or may.
fn may_load(test: &Tree) -> bool {
    match test {
        Tree::Name(_) | Tree::NumberLiteral(_) | Tree::BooleanLiteral(_) | Tree::NoneLiteral(_) => false,
        Tree::StringLiteral(_) => false,
        Tree::BinOp(op) => may_load(&op.left) || may_load(&op.right),
        Tree::UnaryOp(op) => may_load(&op.operand),
        Tree::Compare(compare) => may_load(&compare.left) || compare.comparators.iter().any(may_load),
        Tree::BoolOp(op) => op.values.iter().any(may_load),
        _ => true,
    }
}

/// What a name stands for behind a condition, when it stands for one thing behind one arm and another behind the other.
fn merge(a: Value, b: Value, by_data: bool) -> Value {
    match (&a, &b) {
        _ if a == b => a,
        _ if a.is_number() && b.is_number() => {
            Value::computed(a.is_real() || b.is_real(), by_data || a.by_data() || b.by_data())
        }
        (Value::None, _) => b,
        _ => a,
    }
}
