//! Loops as loops of a program: those whose head says how often they run, and those of which a comment does.

use std::collections::{BTreeMap, BTreeSet};

use lang_c::ast::*;
use lang_c::span::Node;

use super::head::{Advance, Counter, Head, Motion, Stop, TRIPS, advance, advances, uses};
use super::lower::{Binding, CLowering, IntegerValue, Round, Scalar};
use super::walk::{Part, assigned, walk};
use crate::expr::{Expr, Rounding};
use crate::nest::{At, Loop, Node as Step, Work};
use crate::normal::tidy;
use crate::source::refuse;
use accel_ground::error::Error;

/// A loop as written.
struct Repeated<'a> {
    condition: Option<&'a Node<Expression>>,
    /// What each iteration does besides its body.
    heads: Vec<&'a Node<Expression>>,
    statement: &'a Node<Statement>,
    /// See [`Round`].
    own: Option<String>,
    /// See [`Round`].
    leaves: Option<usize>,
    at: At,
}

impl<'a> CLowering<'a> {
    /// Reads a `for`.
    pub(super) fn for_loop(&mut self, repeat: &'a ForStatement, at: At) -> Result<(), Error> {
        self.scopes.push(BTreeMap::new());
        let made = self.for_in_scope(repeat, at);
        self.scopes.pop();
        made
    }

    fn for_in_scope(&mut self, repeat: &'a ForStatement, at: At) -> Result<(), Error> {
        let commented = self.trips(at);
        let advances = repeat.step.as_deref().map(advances).unwrap_or_default();
        let stop = repeat.condition.as_deref().map(|condition| Stop { condition, negated: false });
        let leaves = if commented.is_none() { leaves_first(&repeat.statement) } else { None };
        let used = |stop: &Option<Stop<'a>>, name: &str| stop.as_ref().is_some_and(|stop| uses(stop.condition, name));
        let found = advances.iter().position(|advance| used(&stop, advance.name) || used(&leaves, advance.name));
        let counter = found.or(if commented.is_some() { advances.len().checked_sub(1) } else { None });
        let counter = counter.and_then(|position| advances.get(position)).copied();
        let nodes = self.collect(at, |own| own.start(&repeat.initializer, &advances, at))?;
        // Starting a counter is part of the loop; loads on the way are not.
        if let Some(nodes) = self.merge(nodes) {
            self.out.extend(nodes);
        }
        self.work = Work::default();
        let heads: Vec<_> = repeat.condition.iter().chain(&repeat.step).map(|part| &**part).collect();
        let stops: Vec<_> = stop.into_iter().chain(leaves).collect();
        let (Some(first), Some(advance)) = (stops.first(), counter) else {
            let condition = repeat.condition.as_deref();
            return match (commented, condition) {
                (Some(trips), _) => self.rounds(trips, &heads, condition, &repeat.statement, at),
                // `for (; i < n;)` is a `while`.
                (None, Some(condition)) if advances.is_empty() => self.repeat(condition, &repeat.statement, true, at),
                (None, None) => Err(refuse(at, "this loop never ends", TRIPS)),
                (None, Some(_)) => Err(refuse(at, "how often this loop runs is not known", TRIPS)),
            };
        };
        let mut assigned = self.assigned_in(Part::Statement(&repeat.statement));
        let moved = assigned.contains(advance.name);
        if moved && commented.is_none() {
            let problem = format!("the loop's variable {} is changed within the loop", advance.name);
            return Err(refuse(at, problem, format!("Change it only in the loop's head. {TRIPS}")));
        }
        let lower = self.integer_named(advance.name);
        let mut others = Vec::new();
        let beside =
            |other: &&Advance| other.name != advance.name && other.motion.is_even() && !assigned.contains(other.name);
        for other in advances.iter().filter(beside) {
            others.push((*other, self.integer_named(other.name)));
        }
        others.extend(
            self.moving(&repeat.statement, &heads)
                .into_iter()
                .filter(|(own, _)| own.name != advance.name && !advances.iter().any(|other| other.name == own.name)),
        );
        let through = self.carried_through(&repeat.statement, &others)?;
        assigned.extend(advances.iter().map(|advance| advance.name.to_owned()).filter(|name| name != advance.name));
        // What the body changes is not known at the start of each iteration.
        self.forget(&assigned);
        let step = self.stride(&advance)?;
        let var = self.builder.variable(advance.name);
        let counter = Counter { advance, lower, step, others, through, var };
        let repeated = Repeated {
            condition: repeat.condition.as_deref(),
            heads,
            statement: &repeat.statement,
            own: None,
            leaves: stops.iter().find(|stop| stop.negated).and_then(|_| first_start(&repeat.statement)),
            at,
        };
        if !advance.motion.is_even() {
            return match commented {
                Some(trips) => self.commented_loop(&repeated, &counter, trips, assigned),
                None => self.geometric_loop(&repeated, &stops, &counter, assigned),
            };
        }
        let mut head = self.head(first, &counter, Expr::Const(0), at);
        let mut repeated = repeated;
        if let (Some(leaves), Ok(_)) = (stops.get(1), &head) {
            match self.head(leaves, &counter, Expr::Const(0), at) {
                Ok(other) => head = head.map(|head| head.and(other)),
                // What its `break` does not say is said where it stands.
                Err(_) => repeated.leaves = None,
            }
        }
        match (commented, head) {
            // A comment is for what the head does not say.
            (Some(trips), Err(_)) => self.commented_loop(&repeated, &counter, trips, assigned),
            (Some(trips), Ok(_)) if moved || breaks(&repeat.statement.node) => {
                self.commented_loop(&repeated, &counter, trips, assigned)
            }
            (_, head) => self.known_loop(&repeated, head?, &counter, assigned, Expr::Const(0)),
        }
    }

    /// Runs the first part of a `for`: it sets variables, which does not count as work where it only starts a counter.
    fn start(&mut self, initializer: &'a Node<ForInitializer>, advances: &[Advance<'a>], at: At) -> Result<(), Error> {
        match &initializer.node {
            ForInitializer::Empty | ForInitializer::StaticAssert(_) => {}
            ForInitializer::Declaration(declaration) => self.declaration(declaration)?,
            ForInitializer::Expression(expression) => {
                for advance in advances {
                    if self.find(advance.name).is_none() {
                        let counter =
                            Scalar { float: false, value: IntegerValue::Unknown, stored: true, depth: 0, range: None };
                        self.declare_shared(advance.name, Binding::Scalar(counter));
                    }
                }
                self.effect(expression)?;
                self.flush(at);
            }
        }
        Ok(())
    }

    fn declare_shared(&mut self, name: &str, binding: Binding) {
        let shared = self.shared.saturating_sub(1);
        if let Some(scope) = self.scopes.get_mut(shared) {
            scope.insert(name.to_owned(), binding);
        }
    }

    /// The known value of the variable `name`.
    pub(super) fn integer_named(&mut self, name: &str) -> Option<Expr> {
        match self.find(name) {
            Some(Binding::Scalar(scalar) | Binding::Cursor(_, scalar)) if !scalar.float => match scalar.value.clone() {
                IntegerValue::Known(value) => Some(value),
                IntegerValue::Parameter(name) => Some(Expr::from(self.builder.parameter(&name))),
                IntegerValue::Unknown | IntegerValue::Unwritten => None,
            },
            _ => None,
        }
    }

    /// A loop whose iterations follow from its head; `early` is what the condition adds to its variable before the body.
    fn known_loop(
        &mut self,
        repeated: &Repeated<'a>,
        head: Head,
        counter: &Counter<'a>,
        assigned: BTreeSet<String>,
        early: Expr,
    ) -> Result<(), Error> {
        let (name, at) = (counter.advance.name, repeated.at);
        let unit = matches!(head.step, Expr::Const(1 | -1));
        let trips = head.trips();
        // Behind a loop by one, the counter is where it stopped.
        let after = unit.then(|| match head.ascending {
            true => head.lower.clone().max(head.upper.clone()).plus(early.clone()),
            false => head.lower.clone().min(head.upper.clone()).plus(early.clone()),
        });
        // What moves beside a counter by more than one is told by the number of the iteration.
        let (head, value, rounds) = if unit || !counter.moves() {
            let rounds = counter.rounds(&head.lower, &head.step);
            (head, Expr::from(counter.var), rounds)
        } else {
            let round = Expr::from(counter.var);
            let value = tidy(&head.lower.plus(round.clone().times(head.step)));
            let (lower, step) = (Expr::Const(0), Expr::Const(1));
            (Head { lower, upper: trips.clone(), step, ascending: true }, value, Some(round))
        };
        let value = tidy(&value.plus(early));
        self.set_counter(name, value.clone());
        // A `while` changes its counter within.
        if let Some(scalar) = self.scalar_mut(name).filter(|_| repeated.own.is_some()) {
            scalar.stored = true;
        }
        // `j--` beside `i++`: as far from its start as `i` is.
        let mut others = self.carried(counter, rounds)?;
        others.push((name, value));
        let behind = self.carried(counter, Some(trips))?;
        let Head { lower, upper, step, ascending } = head;
        let round = Round {
            var: counter.var,
            lower: lower.clone(),
            upper: upper.clone(),
            step: step.clone(),
            ascending,
            assigned,
            written: BTreeSet::new(),
            commented: false,
            own: repeated.own.clone(),
            leaves: repeated.leaves,
        };
        let body = self.body(round, repeated.statement, at, |own| {
            own.set_moved(others);
            Ok(())
        })?;
        if let Some(scalar) = self.scalar_mut(name) {
            (scalar.value, scalar.stored) = (after.map_or(IntegerValue::Unknown, IntegerValue::Known), true);
        }
        self.set_moved(behind);
        self.out.push(Step::Loop(Loop { var: counter.var, lower, upper, step, body, at }));
        Ok(())
    }

    /// A loop that multiplies or divides its variable: in iteration `r` that is `lower * by^r` or `lower / by^r`.
    fn geometric_loop(
        &mut self,
        repeated: &Repeated<'a>,
        stops: &[Stop<'a>],
        counter: &Counter<'a>,
        assigned: BTreeSet<String>,
    ) -> Result<(), Error> {
        let at = repeated.at;
        let [stop] = stops else {
            return Err(refuse(at, "two conditions end this loop", TRIPS));
        };
        let (lower, trips, by) = self.geometric(stop, counter, at)?;
        let power = Expr::Const(by).power(counter.var);
        let grows = matches!(counter.advance.motion, Motion::Multiplies | Motion::Doubles);
        let value = if grows { lower.times(power) } else { lower.over(power, Rounding::Zero) };
        let head = Head { lower: Expr::Const(0), upper: trips, step: Expr::Const(1), ascending: true };
        let (name, value) = (counter.advance.name, tidy(&value));
        let mut others = self.carried(counter, Some(Expr::from(counter.var)))?;
        others.push((name, value.clone()));
        let behind = self.carried(counter, Some(head.upper.clone()))?;
        self.set_counter(name, value);
        if let Some(scalar) = self.scalar_mut(name).filter(|_| repeated.own.is_some()) {
            scalar.stored = true;
        }
        let round = Round {
            var: counter.var,
            lower: head.lower.clone(),
            upper: head.upper.clone(),
            step: head.step.clone(),
            ascending: true,
            assigned,
            written: BTreeSet::new(),
            commented: false,
            own: repeated.own.clone(),
            leaves: repeated.leaves,
        };
        let body = self.body(round, repeated.statement, at, |own| {
            own.set_moved(others);
            Ok(())
        })?;
        if let Some(scalar) = self.scalar_mut(name) {
            (scalar.value, scalar.stored) = (IntegerValue::Unknown, true);
        }
        self.set_moved(behind);
        let Head { lower, upper, step, .. } = head;
        self.out.push(Step::Loop(Loop { var: counter.var, lower, upper, step, body, at }));
        Ok(())
    }

    /// What moves with a loop's counter, after so many `rounds`.
    fn carried(&mut self, counter: &Counter<'a>, rounds: Option<Expr>) -> Result<Vec<(&'a str, Expr)>, Error> {
        let mut values = self.moved(&counter.others, rounds.clone())?;
        if let Some(rounds) = rounds {
            values.extend(
                counter
                    .through
                    .iter()
                    .map(|(name, by, start)| (*name, tidy(&start.clone().plus(rounds.clone().times(by.clone()))))),
            );
        }
        Ok(values)
    }

    /// The body of a loop.
    fn body(
        &mut self,
        round: Round,
        statement: &'a Node<Statement>,
        at: At,
        before: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<Vec<Step>, Error> {
        let assigned = round.assigned.clone();
        self.forget(&assigned);
        self.loops.push(round);
        let body = self.collect(at, |own| {
            before(own)?;
            own.flush(at);
            own.statement(statement, true)
        });
        self.loops.pop();
        self.forget(&assigned);
        if let Some(outer) = self.loops.last_mut() {
            outer.written.extend(assigned);
        }
        body
    }

    pub(super) fn set_counter(&mut self, name: &str, value: Expr) {
        if let Some(scalar) = self.scalar_mut(name) {
            (scalar.value, scalar.stored) = (IntegerValue::Known(value), false);
        }
    }

    // --- loops of which a comment says how often they run ---

    fn state_trips(&mut self, at: At) {
        let word = self.text.hints.trips(at.line).unwrap_or_default();
        self.builder.assume(format!(
            "the loop on line {} runs {word} times each time it is reached, as its comment says",
            at.line
        ));
    }

    /// How often the comment on the line says that a loop runs.
    fn trips(&mut self, at: At) -> Option<Expr> {
        let word = self.text.hints.trips(at.line)?;
        let trips = match word.parse::<i64>() {
            Ok(number) => Expr::Const(number.max(0)),
            Err(_) => {
                self.scalar_if_undeclared(word, true);
                self.integer_named(word).unwrap_or_else(|| Expr::from(self.builder.parameter(word)))
            }
        };
        self.builder.assume(format!(
            "the loop on line {} runs {word} times each time it is reached, as its comment says",
            at.line
        ));
        Some(trips)
    }

    /// A `for` with a counter and a comment.
    fn commented_loop(
        &mut self,
        repeated: &Repeated<'a>,
        counter: &Counter<'a>,
        trips: Expr,
        mut assigned: BTreeSet<String>,
    ) -> Result<(), Error> {
        let at = repeated.at;
        let name = counter.advance.name;
        self.state_trips(at);
        let moved = assigned.contains(name);
        let known = match (&counter.lower, &counter.step) {
            (Some(lower), Some(Expr::Const(step))) if *step != 0 && !moved && counter.advance.motion.is_even() => {
                Some((lower.clone(), *step))
            }
            _ => None,
        };
        let Some((lower, step)) = known else {
            if let Some(scalar) = self.scalar_mut(name) {
                scalar.stored = true;
            }
            assigned.insert(name.to_owned());
            return self.rounds(trips, &repeated.heads, repeated.condition, repeated.statement, at);
        };
        let var = counter.var;
        self.set_counter(name, Expr::from(var));
        let upper = tidy(&lower.clone().plus(trips.times(step)));
        let (step, ascending) = (Expr::Const(step), step > 0);
        let (lower_of, upper_of, step_of) = (lower.clone(), upper.clone(), step.clone());
        let written = BTreeSet::new();
        let round = Round {
            var,
            lower: lower_of,
            upper: upper_of,
            step: step_of,
            ascending,
            assigned,
            written,
            commented: true,
            own: None,
            leaves: None,
        };
        let condition = repeated.condition;
        let others = self.carried(counter, counter.rounds(&lower, &step))?;
        let body = self.body(round, repeated.statement, at, |own| {
            own.set_moved(others);
            condition.map_or(Ok(()), |part| own.value(part).map(|_| ()))
        })?;
        self.set_counter(name, upper.clone());
        self.out.push(Step::Loop(Loop { var, lower, upper, step, body, at }));
        self.last_test(condition, at)?;
        if let Some(scalar) = self.scalar_mut(name) {
            (scalar.value, scalar.stored) = (IntegerValue::Unknown, true);
        }
        Ok(())
    }

    /// The test that ends a loop of which a comment says how often it runs.
    fn last_test(&mut self, condition: Option<&'a Node<Expression>>, at: At) -> Result<(), Error> {
        if let Some(condition) = condition {
            self.effect(condition)?;
        }
        self.flush(at);
        Ok(())
    }

    /// A `while`, which tests its condition `first`, or a `do`.
    pub(super) fn repeat(
        &mut self,
        condition: &'a Node<Expression>,
        statement: &'a Node<Statement>,
        first: bool,
        at: At,
    ) -> Result<(), Error> {
        match self.trips(at) {
            Some(trips) => self.rounds(trips, &[condition], first.then_some(condition), statement, at),
            None => {
                if self.counted(condition, statement, first, at)? {
                    return Ok(());
                }
                let always = matches!(self.integer(condition, false), Ok(Some(Expr::Const(value))) if value != 0);
                let problem = if always { "this loop never ends" } else { "how often this loop runs is not known" };
                Err(refuse(at, problem, TRIPS))
            }
        }
    }

    /// A `while` or `do` with a counter that its body or its condition moves once in each iteration; false if there is no
    /// such counter.
    fn counted(
        &mut self,
        condition: &'a Node<Expression>,
        statement: &'a Node<Statement>,
        first: bool,
        at: At,
    ) -> Result<bool, Error> {
        let always = matches!(self.integer(condition, false), Ok(Some(Expr::Const(value))) if value != 0);
        let stop = match (always, leaves_first(statement)) {
            (false, _) => Stop { condition, negated: false },
            (true, Some(leaves)) if first => leaves,
            (true, _) => return Ok(false),
        };
        let mut moving = self.moving(statement, &[stop.condition]);
        let scaled = self.scaled(statement, stop.condition);
        moving.extend(scaled);
        let Some(position) = moving.iter().position(|(advance, _)| uses(stop.condition, advance.name)) else {
            return Ok(false);
        };
        let (advance, lower) = moving.remove(position);
        moving.retain(|(advance, _)| advance.motion.is_even());
        let early = inside(stop.condition, advance.name);
        let through = self.carried_through(statement, &moving)?;
        let through = through.into_iter().filter(|(name, ..)| *name != advance.name).collect();
        let mut assigned = self.assigned_in(Part::Statement(statement));
        assigned.extend(self.assigned_in(Part::Expression(condition)));
        self.forget(&assigned);
        let step = self.stride(&advance)?;
        let var = self.builder.variable(advance.name);
        let counter = Counter { advance, lower, step, others: moving, through, var };
        let repeated = Repeated {
            condition: Some(condition),
            heads: vec![condition],
            statement,
            own: Some(advance.name.to_owned()),
            leaves: if stop.negated { first_start(statement) } else { None },
            at,
        };
        if !advance.motion.is_even() {
            if !first || early {
                let problem = format!("{} is multiplied or divided before it is looked at", advance.name);
                return Err(refuse(at, problem, TRIPS));
            }
            self.geometric_loop(&repeated, &[stop], &counter, assigned)?;
            return Ok(true);
        }
        let step = counter.step.clone().unwrap_or(Expr::Const(0));
        // A `do` looks at what the body left behind.
        let before = if first || early { Expr::Const(0) } else { step.clone() };
        let head = self.head(&stop, &counter, before, at)?;
        let head = if first { head } else { head.once_at_least() };
        let early = if first && early { step } else { Expr::Const(0) };
        self.known_loop(&repeated, head, &counter, assigned, early)?;
        Ok(true)
    }

    /// Variables that the last or the only change in a body multiplies or divides.
    fn scaled(
        &mut self,
        statement: &'a Node<Statement>,
        condition: &'a Node<Expression>,
    ) -> Option<(Advance<'a>, Option<Expr>)> {
        let last = match &statement.node {
            Statement::Compound(items) => match items.last().map(|item| &item.node) {
                Some(BlockItem::Statement(last)) => last,
                _ => return None,
            },
            _ => statement,
        };
        let Statement::Expression(Some(expression)) = &last.node else { return None };
        let advance =
            advance(expression).filter(|advance| !advance.motion.is_even() && uses(condition, advance.name))?;
        let mut changes = 0;
        walk(Part::Statement(statement), &mut |part| {
            if let Part::Expression(part) | Part::Head(part) = part {
                changes += usize::from(assigned(&part.node) == Some(advance.name));
            }
        });
        (changes == 1).then(|| (advance, self.integer_named(advance.name)))
    }

    /// `trips` iterations of `statement`, each with the `parts` of the loop's head; the `last` test finds that it is
    /// over.
    fn rounds(
        &mut self,
        trips: Expr,
        parts: &[&'a Node<Expression>],
        last: Option<&'a Node<Expression>>,
        statement: &'a Node<Statement>,
        at: At,
    ) -> Result<(), Error> {
        self.state_trips(at);
        let mut assigned = self.assigned_in(Part::Statement(statement));
        for part in parts {
            assigned.extend(self.assigned_in(Part::Expression(part)));
        }
        let var = self.builder.variable("round");
        let (lower, step) = (Expr::Const(0), Expr::Const(1));
        let moving = self.moving(statement, parts);
        let inside = self.moved(&moving, Some(Expr::from(var)))?;
        let behind = match breaks(&statement.node) {
            true => Vec::new(),
            false => self.moved(&moving, Some(tidy(&trips.clone().max(0))))?,
        };
        let round = Round {
            var,
            lower: lower.clone(),
            upper: trips.clone(),
            step: step.clone(),
            ascending: true,
            assigned,
            written: BTreeSet::new(),
            commented: true,
            own: None,
            leaves: None,
        };
        let body = self.body(round, statement, at, |own| {
            own.set_moved(inside);
            parts.iter().try_for_each(|part| own.effect(part))
        })?;
        self.out.push(Step::Loop(Loop { var, lower, upper: trips, step, body, at }));
        self.set_moved(behind);
        self.last_test(last, at)
    }
}

/// Whether a `break` in `statement` ends the loop around it.
fn breaks(statement: &Statement) -> bool {
    match statement {
        Statement::Break => true,
        Statement::Labeled(labeled) => breaks(&labeled.node.statement.node),
        Statement::Compound(items) => {
            items.iter().any(|item| matches!(&item.node, BlockItem::Statement(statement) if breaks(&statement.node)))
        }
        Statement::If(branch) => {
            breaks(&branch.node.then_statement.node)
                || branch.node.else_statement.as_ref().is_some_and(|other| breaks(&other.node))
        }
        _ => false,
    }
}

/// Whether `condition` itself moves the variable `name`.
fn inside(condition: &Node<Expression>, name: &str) -> bool {
    let mut found = false;
    walk(Part::Expression(condition), &mut |part| {
        if let Part::Expression(part) = part {
            found |= assigned(&part.node) == Some(name);
        }
    });
    found
}

/// The condition of `if (...) break;` where a body begins with that.
fn leaves_first(statement: &Node<Statement>) -> Option<Stop<'_>> {
    let first = match &statement.node {
        Statement::Compound(items) => match items.first().map(|item| &item.node) {
            Some(BlockItem::Statement(first)) => first,
            _ => return None,
        },
        _ => statement,
    };
    let Statement::If(branch) = &first.node else { return None };
    let only_breaks = match &branch.node.then_statement.node {
        Statement::Break => true,
        Statement::Compound(items) => {
            matches!(items.as_slice(), [only] if matches!(&only.node, BlockItem::Statement(only) if matches!(only.node, Statement::Break)))
        }
        _ => false,
    };
    (only_breaks && branch.node.else_statement.is_none())
        .then_some(Stop { condition: &branch.node.condition, negated: true })
}

/// Where the first statement of a body starts.
fn first_start(statement: &Node<Statement>) -> Option<usize> {
    match &statement.node {
        Statement::Compound(items) => items.first().map(|item| item.span.start),
        _ => Some(statement.span.start),
    }
}
