//! Statements of C as nodes of a program.

use std::collections::BTreeMap;

use lang_c::ast::*;
use lang_c::span::Node;

use super::head::advance;
use super::lower::{Binding, CLowering, IntegerValue};
use super::walk::Part;
use crate::expr::Expr;
use crate::nest::{At, Branch, Comparison, Condition, Node as Step};
use crate::source::{MAX_DEPTH, refuse};
use accel_ground::error::Error;

impl<'a> CLowering<'a> {
    /// Reads a statement; `tail` says whether nothing of the function or loop around it follows.
    pub(super) fn statement(&mut self, statement: &'a Node<Statement>, tail: bool) -> Result<(), Error> {
        let at = self.text.at(statement.span.start);
        self.deeper(at, |own| own.statement_at(statement, tail, at))
    }

    fn statement_at(&mut self, statement: &'a Node<Statement>, tail: bool, at: At) -> Result<(), Error> {
        match &statement.node {
            Statement::Labeled(labeled) => match &labeled.node.label.node {
                Label::Identifier(_) => self.statement(&labeled.node.statement, tail),
                _ => Err(refuse(at, "this label stands outside of a switch", "Put it directly into the switch")),
            },
            Statement::Compound(items) => {
                self.scopes.push(BTreeMap::new());
                let made = self.block(items, tail);
                self.scopes.pop();
                made
            }
            Statement::Expression(None) => Ok(()),
            Statement::Expression(Some(expression)) => {
                // What counts the iterations of a `while` belongs to the loop, as in the head of a `for`.
                let moved = advance(expression).map(|advance| advance.name);
                let counts =
                    self.loops.last().is_some_and(|round| round.own.is_some() && round.own.as_deref() == moved);
                let before = counts.then(|| self.work.clone());
                self.effect(expression)?;
                self.work = before.unwrap_or_else(|| std::mem::take(&mut self.work));
                self.flush(at);
                Ok(())
            }
            Statement::If(_) if self.loops.last().is_some_and(|round| round.leaves == Some(statement.span.start)) => {
                Ok(())
            }
            Statement::If(branch) => self.branch(&branch.node, &[], tail, at),
            Statement::Switch(switch) => self.switch(&switch.node, tail, at),
            Statement::While(repeat) => self.repeat(&repeat.node.expression, &repeat.node.statement, true, at),
            Statement::DoWhile(repeat) => {
                // `do { ... } while (0)` runs once.
                if matches!(self.integer(&repeat.node.expression, false), Ok(Some(Expr::Const(0)))) {
                    return self.statement(&repeat.node.statement, false);
                }
                self.repeat(&repeat.node.expression, &repeat.node.statement, false, at)
            }
            Statement::For(repeat) => self.for_loop(&repeat.node, at),
            Statement::Goto(_) => Err(refuse(at, "`goto` is not followed", "Write it as a loop or a condition")),
            Statement::Continue if !tail || self.loops.len() <= self.outer_loops => Err(refuse(
                at,
                "what this `continue` leaves out cannot be seen",
                "Put the rest of the loop into an `if`",
            )),
            Statement::Continue => Ok(()),
            Statement::Break if self.loops.last().is_some_and(|round| round.commented) => Ok(()),
            Statement::Break => {
                let cure = "Say how often the loop runs: a comment `trips: 100` on its line";
                Err(refuse(at, "when this `break` ends the loop is not known", cure))
            }
            Statement::Return(value) => {
                let inside = self.loops.get(self.outer_loops..).unwrap_or_default();
                let stated = !inside.is_empty() && inside.iter().all(|round| round.commented);
                if !stated && (!tail || !inside.is_empty()) {
                    let cure = match inside {
                        [] => "Let the function end at its end",
                        _ => "Say how often each loop around it runs: a comment `trips: 100` on the loop's line",
                    };
                    return Err(refuse(at, "when this `return` ends the function is not known", cure));
                }
                if let Some(value) = value {
                    self.value(value)?;
                }
                // The value of a function called goes on with the statement that called it.
                if self.calls.len() <= 1 {
                    self.flush(at);
                }
                Ok(())
            }
            Statement::Asm(_) => Err(refuse(at, "assembly is not read", "Write it in C, or leave it out")),
        }
    }

    /// Reads the items of a block.
    pub(super) fn block(&mut self, items: &'a [Node<BlockItem>], tail: bool) -> Result<(), Error> {
        for (position, item) in items.iter().enumerate() {
            let rest = items.get(position + 1..).unwrap_or_default();
            match &item.node {
                BlockItem::Declaration(declaration) => self.declaration(declaration)?,
                BlockItem::StaticAssert(_) => {}
                BlockItem::Statement(statement) => {
                    let at = self.text.at(statement.span.start);
                    if let Statement::If(branch) = &statement.node
                        && !rest.is_empty()
                        && tail
                        && exits_somewhere(&branch.node)
                    {
                        return self.deeper(at, |own| own.branch(&branch.node, rest, tail, at));
                    }
                    self.statement(statement, tail && (rest.is_empty() || exits(&statement.node)))?;
                    if exits(&statement.node) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// `if`; `rest` is what follows where an arm does not leave the function or the iteration of the loop.
    fn branch(
        &mut self,
        branch: &'a IfStatement,
        rest: &'a [Node<BlockItem>],
        tail: bool,
        at: At,
    ) -> Result<(), Error> {
        let condition = self.condition(&branch.condition)?;
        self.flush(at);
        let mut names = self.assigned_in(Part::Statement(&branch.then_statement));
        if let Some(other) = &branch.else_statement {
            names.extend(self.assigned_in(Part::Statement(other)));
        }
        let before: Vec<(String, IntegerValue)> = names
            .iter()
            .filter_map(|name| match self.find(name) {
                Some(Binding::Scalar(scalar)) => Some((name.clone(), scalar.value.clone())),
                _ => None,
            })
            .collect();
        let arm = |own: &mut Self, statement: Option<&'a Node<Statement>>| {
            own.collect(at, |own| {
                own.scopes.push(BTreeMap::new());
                let ends = statement.is_some_and(|statement| exits(&statement.node));
                match statement.map(|statement| &statement.node) {
                    // `if (a) return x; else if (b) return y; rest`
                    Some(Statement::If(inner)) if !rest.is_empty() && exits_somewhere(&inner.node) => {
                        own.deeper(at, |own| own.branch(&inner.node, rest, tail, at))?;
                    }
                    _ => {
                        if let Some(statement) = statement {
                            own.statement(statement, tail && (rest.is_empty() || ends))?;
                        }
                        if !ends {
                            own.block(rest, tail)?;
                        }
                    }
                }
                own.scopes.pop();
                Ok(())
            })
        };
        let then = arm(self, Some(&branch.then_statement))?;
        for (name, value) in before {
            if let Some(scalar) = self.scalar_mut(&name) {
                scalar.value = value;
            }
        }
        let otherwise = arm(self, branch.else_statement.as_deref())?;
        self.forget(&names);
        self.out.push(Step::Branch(Branch { condition, then, otherwise, at }));
        Ok(())
    }

    /// `switch` as a chain of conditions. Every case must end in `break` or `return`, or be empty.
    fn switch(&mut self, switch: &'a SwitchStatement, tail: bool, at: At) -> Result<(), Error> {
        let Statement::Compound(items) = &switch.statement.node else {
            return Err(refuse(at, "this switch has no block", "Write `switch (x) { case 0: ... break; }`"));
        };
        let selector = self.deciding(&switch.expression)?;
        if selector.is_none() {
            self.value(&switch.expression)?;
        }
        self.flush(at);
        let cases = self.cases(items)?;
        if cases.len() > MAX_DEPTH {
            let problem =
                format!("this switch has more than {MAX_DEPTH} cases, which are conditions within each other");
            return Err(refuse(at, problem, "Split it"));
        }
        let names = self.assigned_in(Part::Statement(&switch.statement));
        self.forget(&names);
        let conditions = cases.iter().filter(|case| !case.labels.is_empty()).count();
        let mut arms: Vec<(Option<Condition>, bool, Vec<Step>)> = Vec::new();
        for case in &cases {
            let mut condition: Option<Condition> = None;
            for label in &case.labels {
                let Some(value) = self.integer(label, true)? else { continue };
                if let Some(selector) = &selector {
                    let equal = Condition::Compare(selector.clone(), Comparison::Equal, value);
                    condition = Some(match condition {
                        Some(before) => Condition::Or(Box::new(before), Box::new(equal)),
                        None => equal,
                    });
                }
            }
            if condition.is_none() && !case.labels.is_empty() {
                // Data decide: each case, and none of them, is as likely as the others. Those before did not hold.
                let left = conditions + 1 - arms.iter().filter(|(_, default, _)| !*default).count();
                condition = Some(Condition::Chance(1.0 / left.max(1) as f64));
                let text = format!("each case of the switch on line {} is equally likely", at.line);
                self.builder.assume(text);
            }
            let body = self.collect(at, |own| {
                own.scopes.push(BTreeMap::new());
                for statement in &case.body {
                    own.statement(statement, tail && exits(&statement.node))?;
                }
                own.scopes.pop();
                Ok(())
            })?;
            self.forget(&names);
            arms.push((condition, case.default, body));
        }
        // The last arm is innermost; `default` runs where no other does.
        let position = arms.iter().position(|(_, default, _)| *default);
        let mut otherwise = position.map(|position| arms.remove(position).2).unwrap_or_default();
        for (condition, _, then) in arms.into_iter().rev() {
            if let Some(condition) = condition {
                otherwise = vec![Step::Branch(Branch { condition, then, otherwise, at })];
            }
        }
        self.out.extend(otherwise);
        Ok(())
    }

    fn cases(&self, items: &'a [Node<BlockItem>]) -> Result<Vec<Case<'a>>, Error> {
        let mut cases: Vec<Case<'a>> = Vec::new();
        for item in items {
            let at = self.text.at(item.span.start);
            let BlockItem::Statement(statement) = &item.node else {
                return Err(refuse(at, "a declaration stands directly in a switch", "Put it before the switch"));
            };
            let mut statement = statement;
            while let Statement::Labeled(labeled) = &statement.node {
                if cases.last().is_none_or(|case| !case.body.is_empty() || case.ended) {
                    if cases.last().is_some_and(|case| !case.ended) {
                        return Err(refuse(at, "the case before goes on into this one", "End each case with `break`"));
                    }
                    cases.push(Case::default());
                }
                let Some(case) = cases.last_mut() else { break };
                match &labeled.node.label.node {
                    Label::Case(value) => case.labels.push(value),
                    Label::Default => case.default = true,
                    _ => return Err(refuse(at, "this label is not read", "Use `case 1:` and `default:`")),
                }
                statement = &labeled.node.statement;
            }
            let Some(case) = cases.last_mut() else {
                return Err(refuse(at, "this stands before the first case", "Put it before the switch"));
            };
            match &statement.node {
                Statement::Break => case.ended = true,
                Statement::Expression(None) => {}
                // `case 1: { ...; break; }`
                Statement::Compound(inner) if matches!(inner.last().map(|item| &item.node), Some(BlockItem::Statement(last)) if matches!(last.node, Statement::Break)) =>
                {
                    for item in inner.get(..inner.len().saturating_sub(1)).unwrap_or_default() {
                        match &item.node {
                            BlockItem::Statement(statement) => case.body.push(statement),
                            _ => return Err(refuse(at, "a declaration stands in a case", "Put it before the switch")),
                        }
                    }
                    case.ended = true;
                }
                other => {
                    case.body.push(statement);
                    case.ended |= exits(other);
                }
            }
        }
        Ok(cases)
    }
}

/// A case of a switch.
#[derive(Default)]
struct Case<'a> {
    labels: Vec<&'a Node<Expression>>,
    default: bool,
    body: Vec<&'a Node<Statement>>,
    /// Whether it ends here rather than going on into the next.
    ended: bool,
}

/// Whether nothing after `statement` runs in this iteration or call.
fn exits(statement: &Statement) -> bool {
    match statement {
        Statement::Return(_) | Statement::Continue => true,
        Statement::Compound(items) => {
            items.iter().any(|item| matches!(&item.node, BlockItem::Statement(statement) if exits(&statement.node)))
        }
        Statement::If(branch) => {
            exits(&branch.node.then_statement.node)
                && branch.node.else_statement.as_ref().is_some_and(|other| exits(&other.node))
        }
        _ => false,
    }
}

/// Whether an arm of `branch` leaves.
fn exits_somewhere(branch: &IfStatement) -> bool {
    let inner = |statement: &Statement| match statement {
        Statement::If(branch) => exits_somewhere(&branch.node),
        other => exits(other),
    };
    inner(&branch.then_statement.node) || branch.else_statement.as_ref().is_some_and(|other| inner(&other.node))
}
