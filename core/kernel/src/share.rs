//! What one of several cores does: its part of the loops whose rounds they share.

use std::collections::BTreeSet;

use super::expr::{Expr, Rounding};
use super::nest::{Branch, Condition, Loop, Node, Program};

/// Which part of the rounds, where each core takes as many as any, one behind the other (OpenMP's static schedule).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The first.
    First,
    /// The last that is full.
    Last,
}

/// The program of one of `cores` cores; none where they share nothing.
pub(super) fn shared(program: &Program, cores: u32, part: Part) -> Option<Program> {
    let mut found = false;
    let body = nodes(&program.body, &program.parallel, &mut |l| {
        found = true;
        cut(l, i64::from(cores), part)
    });
    found.then(|| Program { body, ..program.clone() })
}

/// Whether the rounds of a shared loop may differ in their work.
pub(super) fn is_uneven(program: &Program) -> bool {
    let mut uneven = false;
    nodes(&program.body, &program.parallel, &mut |l| {
        uneven |= l.body.iter().any(|node| bounded_by(node, l));
        l.clone()
    });
    uneven
}

/// How often cores begin to share a loop.
pub(super) fn begun(program: &Program) -> f64 {
    begun_in(&program.body, &program.parallel, &program.values())
}

fn begun_in(body: &[Node], lines: &BTreeSet<u32>, values: &[i64]) -> f64 {
    let each = |node: &Node| match node {
        Node::Loop(l) if lines.contains(&l.at.line) => 1.0,
        Node::Loop(l) => {
            let value = |expr: &Expr| expr.value(values).map_or(0.0, |value| value as f64);
            let rounds = ((value(&l.upper) - value(&l.lower)) / value(&l.step)).ceil();
            // Of a triangle, loops around are as at their first round, but there is one at least.
            rounds.max(1.0) * begun_in(&l.body, lines, values)
        }
        Node::Branch(branch) => begun_in(&branch.then, lines, values).max(begun_in(&branch.otherwise, lines, values)),
        Node::Work(_) | Node::Library(_) => 0.0,
    };
    body.iter().map(each).sum()
}

/// The nodes with each outermost shared loop as `change` makes it.
fn nodes(body: &[Node], lines: &BTreeSet<u32>, change: &mut dyn FnMut(&Loop) -> Loop) -> Vec<Node> {
    let each = |node: &Node| match node {
        Node::Loop(l) if lines.contains(&l.at.line) => Node::Loop(change(l)),
        Node::Loop(l) => Node::Loop(Loop { body: nodes(&l.body, lines, change), ..l.clone() }),
        Node::Branch(branch) => Node::Branch(Branch {
            then: nodes(&branch.then, lines, change),
            otherwise: nodes(&branch.otherwise, lines, change),
            ..branch.clone()
        }),
        Node::Work(_) | Node::Library(_) => node.clone(),
    };
    body.iter().map(each).collect()
}

/// A part of the rounds of `l`.
fn cut(l: &Loop, cores: i64, part: Part) -> Loop {
    let up = |expr: Expr, by: Expr| expr.plus(by.clone()).minus(1).over(by, Rounding::Floor);
    // Rounds from the first value to the first that is too far, in steps of either sign.
    let Expr::Const(step) = l.step else { return l.clone() };
    let distance =
        if step > 0 { l.upper.clone().minus(l.lower.clone()) } else { l.lower.clone().minus(l.upper.clone()) };
    let rounds = up(distance.max(0), Expr::Const(step.abs()));
    let each = up(rounds.clone(), Expr::Const(cores));
    let at = |round: Expr| l.lower.clone().plus(round.times(step));
    match part {
        Part::First => Loop { upper: at(each), ..l.clone() },
        Part::Last => Loop { lower: at(rounds.minus(each)), ..l.clone() },
    }
}

/// Whether a bound or a condition in `node` hangs on the variable of `l`.
fn bounded_by(node: &Node, l: &Loop) -> bool {
    match node {
        Node::Loop(inner) => {
            let bounds = [&inner.lower, &inner.upper, &inner.step];
            bounds.into_iter().any(|bound| bound.mentions(l.var)) || inner.body.iter().any(|node| bounded_by(node, l))
        }
        Node::Branch(branch) => {
            decided_by(&branch.condition, l)
                || branch.then.iter().chain(&branch.otherwise).any(|node| bounded_by(node, l))
        }
        Node::Work(_) | Node::Library(_) => false,
    }
}

fn decided_by(condition: &Condition, l: &Loop) -> bool {
    match condition {
        Condition::Compare(a, _, b) => a.mentions(l.var) || b.mentions(l.var),
        Condition::Chance(_) => false,
        Condition::And(a, b) | Condition::Or(a, b) => decided_by(a, l) || decided_by(b, l),
        Condition::Not(a) => decided_by(a, l),
    }
}
