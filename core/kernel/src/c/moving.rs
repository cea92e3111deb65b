//! Variables and pointers that each iteration of a loop moves by the same amount.

use std::collections::BTreeMap;

use lang_c::ast::*;
use lang_c::span::Node;

use super::head::{Advance, Motion, Moving, advance, advances};
use super::lower::{CLowering, IntegerValue};
use super::types;
use super::walk::{Part, assigned, children, name, walk};
use crate::expr::Expr;
use crate::normal::tidy;
use accel_ground::error::Error;

/// What a declaration adds to the changes of a name: more than a body has.
const DECLARED: usize = 1 << 30;

/// Bodies that change more variables are not looked at for what their inner loops move.
const MOST_CHANGES: usize = 64;

/// What is known of variables: their names and values.
type Values<'a> = Vec<(&'a str, Expr)>;

impl<'a> CLowering<'a> {
    /// Integers and pointers that each iteration of a loop moves by the same amount, and where they start: the body
    /// changes them once, outside of conditions and inner loops.
    pub(super) fn moving(&mut self, statement: &'a Node<Statement>, parts: &[&'a Node<Expression>]) -> Vec<Moving<'a>> {
        let Some(changes) = changes(statement, parts) else { return Vec::new() };
        let mut found = Vec::new();
        for item in items(statement) {
            if let Part::Statement(statement) = item
                && let Statement::Expression(Some(expression)) = &statement.node
            {
                always(expression, &mut found);
            }
        }
        parts.iter().for_each(|part| always(part, &mut found));
        // Of numbers, and of variables that stay as they are.
        let constant = |by: &Node<Expression>| {
            let mut fixed = true;
            walk(Part::Expression(by), &mut |part| {
                if let Part::Expression(part) = part {
                    fixed &= match &part.node {
                        Expression::Identifier(own) => !changes.contains_key(own.node.name.as_str()),
                        Expression::Constant(_) | Expression::BinaryOperator(_) | Expression::UnaryOperator(_) => true,
                        _ => false,
                    };
                }
            });
            fixed
        };
        found.retain(|advance: &Advance| {
            advance.motion.is_even() && changes.get(advance.name) == Some(&1) && advance.by.is_none_or(constant)
        });
        found.into_iter().map(|advance| (advance, self.integer_named(advance.name))).collect()
    }

    /// What is known of `moving` after a number of `rounds`.
    pub(super) fn moved(&mut self, moving: &[Moving<'a>], rounds: Option<Expr>) -> Result<Values<'a>, Error> {
        let mut values = Vec::new();
        for (advance, start) in moving {
            let by = self.stride(advance)?;
            if let (Some(rounds), Some(by), Some(start)) = (&rounds, by, start) {
                values.push((advance.name, tidy(&start.clone().plus(rounds.clone().times(by)))));
            }
        }
        Ok(values)
    }

    pub(super) fn set_moved(&mut self, values: Values<'_>) {
        for (name, value) in values {
            if let Some(scalar) = self.scalar_mut(name).filter(|scalar| !scalar.float) {
                scalar.value = IntegerValue::Known(value);
            }
        }
    }

    /// What inner loops with known trips move in each iteration of the loop around them, beyond [`Self::moving`]: by
    /// name, how much, and where it starts.
    pub(super) fn carried_through(
        &mut self,
        statement: &'a Node<Statement>,
        known: &[Moving<'a>],
    ) -> Result<Vec<(&'a str, Expr, Expr)>, Error> {
        let Some(changes) = changes(statement, &[]) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        // Nobody moves so many at once; what is not looked at is data, which the answer states where it matters.
        if changes.len() > MOST_CHANGES {
            return Ok(found);
        }
        let own = changes
            .iter()
            .filter(|(name, count)| **count < DECLARED && !known.iter().any(|(advance, _)| advance.name == **name));
        for (name, _) in own {
            let Some(start) = self.integer_named(name) else { continue };
            let inner = changes.keys().copied().collect::<Vec<_>>();
            if let Some(by) = self.net(name, statement, &inner)?.filter(|by| *by != Expr::Const(0)) {
                found.push((*name, by, start));
            }
        }
        Ok(found)
    }

    /// What `statement` adds to `name`; none if that is not seen. `inside` are the names that it changes.
    fn net(
        &mut self,
        name: &'a str,
        statement: &'a Node<Statement>,
        inside: &[&'a str],
    ) -> Result<Option<Expr>, Error> {
        let touches = |part: Part<'a>| {
            let mut found = false;
            walk(part, &mut |part| {
                if let Part::Expression(expression) | Part::Head(expression) = part {
                    found |= assigned(&expression.node) == Some(name);
                }
            });
            found
        };
        let mut sum = Expr::Const(0);
        for item in items(statement) {
            if !touches(item) {
                continue;
            }
            let Part::Statement(own) = item else { return Ok(None) };
            let by = match &own.node {
                Statement::Expression(Some(expression)) => {
                    let mut found = Vec::new();
                    always(expression, &mut found);
                    let mut count = 0;
                    walk(Part::Expression(expression), &mut |part| {
                        if let Part::Expression(part) = part {
                            count += usize::from(assigned(&part.node) == Some(name));
                        }
                    });
                    found.retain(|advance| advance.name == name && advance.motion.is_even());
                    match found.as_slice() {
                        [only] if count == 1 => self.stride(only)?,
                        _ => None,
                    }
                }
                Statement::Compound(_) => self.net(name, own, inside)?,
                Statement::For(repeat) => {
                    let heads = repeat.node.condition.iter().chain(&repeat.node.step);
                    if heads.into_iter().any(|head| touches(Part::Head(head))) {
                        return Ok(None);
                    }
                    let once = self.net(name, &repeat.node.statement, inside)?;
                    let trips = self.plain_trips(&repeat.node, inside)?;
                    once.zip(trips).map(|(once, trips)| once.times(trips))
                }
                _ => None,
            };
            let Some(by) = by else { return Ok(None) };
            sum = sum.plus(by);
        }
        Ok(Some(tidy(&sum)))
    }

    /// How often `for (i = a; i < b; i++)` runs, if neither end changes `inside` the loop around it.
    fn plain_trips(&mut self, repeat: &'a ForStatement, inside: &[&'a str]) -> Result<Option<Expr>, Error> {
        let (counter, start) = match &repeat.initializer.node {
            ForInitializer::Expression(start) => match &start.node {
                Expression::BinaryOperator(set) if set.node.operator.node == BinaryOperator::Assign => {
                    (name(&set.node.lhs), &*set.node.rhs)
                }
                _ => return Ok(None),
            },
            ForInitializer::Declaration(declaration) => match declaration.node.declarators.as_slice() {
                [only] => match only.node.initializer.as_ref().map(|initializer| &initializer.node) {
                    Some(Initializer::Expression(start)) => {
                        (types::name(&only.node.declarator.node).map(|name| name.node.name.as_str()), &**start)
                    }
                    _ => return Ok(None),
                },
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let step = repeat.step.as_deref().map(advances).unwrap_or_default();
        let unit = matches!(step.as_slice(), [only] if Some(only.name) == counter && only.motion == Motion::Adds && only.by.is_none());
        let Some(Expression::BinaryOperator(condition)) = repeat.condition.as_ref().map(|condition| &condition.node)
        else {
            return Ok(None);
        };
        let BinaryOperatorExpression { operator, lhs, rhs } = &condition.node;
        let more = match operator.node {
            BinaryOperator::Less => 0,
            BinaryOperator::LessOrEqual => 1,
            _ => return Ok(None),
        };
        let fixed = |part: &'a Node<Expression>| {
            let mut fixed = true;
            walk(Part::Expression(part), &mut |part| {
                if let Part::Expression(part) = part {
                    fixed &= name(part).is_none_or(|name| !inside.contains(&name));
                }
            });
            fixed
        };
        if !unit || name(lhs) != counter || !fixed(rhs) || !fixed(start) {
            return Ok(None);
        }
        let ends = (self.integer(start, true)?, self.integer(rhs, true)?);
        let (Some(lower), Some(upper)) = ends else { return Ok(None) };
        Ok(Some(tidy(&upper.plus(more).minus(lower).max(0))))
    }
}

/// How often each name is changed in a loop; none if parts of it may be skipped.
fn changes<'a>(statement: &'a Node<Statement>, parts: &[&'a Node<Expression>]) -> Option<BTreeMap<&'a str, usize>> {
    let mut changes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut skips = false;
    let heads = parts.iter().map(|part| Part::Expression(part));
    for part in std::iter::once(Part::Statement(statement)).chain(heads) {
        walk(part, &mut |part| match part {
            Part::Expression(expression) | Part::Head(expression) => {
                if let Some(name) = assigned(&expression.node) {
                    *changes.entry(name).or_default() += 1;
                }
            }
            // A name declared again means two things.
            Part::Declaration(declaration) => {
                for declarator in &declaration.node.declarators {
                    if let Some(name) = types::name(&declarator.node.declarator.node) {
                        *changes.entry(&name.node.name).or_default() += DECLARED;
                    }
                }
            }
            Part::Statement(statement) => skips |= matches!(statement.node, Statement::Continue),
        });
    }
    (!skips).then_some(changes)
}

/// The statements and declarations of a block, or the one statement.
fn items(statement: &Node<Statement>) -> Vec<Part<'_>> {
    let Statement::Compound(items) = &statement.node else { return vec![Part::Statement(statement)] };
    let parts = items.iter().filter_map(|item| match &item.node {
        BlockItem::Statement(statement) => Some(Part::Statement(statement)),
        BlockItem::Declaration(declaration) => Some(Part::Declaration(declaration)),
        BlockItem::StaticAssert(_) => None,
    });
    parts.collect()
}

/// What an expression moves whenever it is evaluated.
fn always<'a>(expression: &'a Node<Expression>, found: &mut Vec<Advance<'a>>) {
    let mut open = vec![expression];
    while let Some(part) = open.pop() {
        found.extend(advance(part));
        match &part.node {
            // The rest of these may not be evaluated.
            Expression::BinaryOperator(binary)
                if matches!(binary.node.operator.node, BinaryOperator::LogicalAnd | BinaryOperator::LogicalOr) =>
            {
                open.push(&binary.node.lhs);
            }
            Expression::Conditional(choice) => open.push(&choice.node.condition),
            other => children(other, &mut |child| open.push(child)),
        }
    }
}
