//! Loops: which variable counts, from where to where, and by how much.

use std::collections::{BTreeMap, BTreeSet};

use lang_c::ast::*;
use lang_c::span::Node;

use super::integer::chain;
use super::lower::{Binding, CLowering, IntegerValue, Round, Scalar};
use super::types;
use super::view::{linear, value};
use super::walk::{Part, assigned, name, steps, walk};
use crate::expr::{Expr, Rounding, Symbol};
use crate::nest::{At, Loop, Node as Step, Work};
use crate::normal::tidy;
use crate::source::refuse;
use accel_ground::error::Error;

const TRIPS: &str = "Say how often it runs: a comment `trips: 100` on its line or the line above";

/// What the third part of a `for` does to a variable.
#[derive(Clone, Copy)]
struct Advance<'a> {
    name: &'a str,
    /// Whether it adds rather than takes away.
    adds: bool,
    /// How much; one if nothing is said.
    by: Option<&'a Node<Expression>>,
}

/// The variable of a loop before it runs.
struct Counter<'a> {
    advance: Advance<'a>,
    lower: Option<Expr>,
    step: Option<Expr>,
    /// Others that move with it.
    others: Vec<Moving<'a>>,
    var: Symbol,
}

/// A variable that each iteration moves, and where it starts, if that is known.
type Moving<'a> = (Advance<'a>, Option<Expr>);

impl Counter<'_> {
    /// How many iterations lie behind, if the loop starts at `lower` and steps by one.
    fn rounds(&self, lower: &Expr, step: &Expr) -> Option<Expr> {
        match step {
            Expr::Const(1) => Some(Expr::from(self.var).minus(lower.clone())),
            Expr::Const(-1) => Some(lower.clone().minus(self.var)),
            _ => None,
        }
    }
}

/// The range of a loop.
struct Head {
    lower: Expr,
    upper: Expr,
    step: Expr,
    ascending: bool,
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
        let found =
            advances.iter().position(|advance| repeat.condition.as_deref().is_some_and(|c| uses(c, advance.name)));
        let counter = found.or(if commented.is_some() { advances.len().checked_sub(1) } else { None });
        let counter = counter.and_then(|position| advances.get(position)).copied();
        let nodes = self.collect(at, |own| own.start(&repeat.initializer, &advances, at))?;
        // Starting a counter is part of the loop; loads on the way are not.
        if let Some(nodes) = self.merge(nodes) {
            self.out.extend(nodes);
        }
        self.work = Work::default();
        let (Some(condition), Some(advance)) = (repeat.condition.as_deref(), counter) else {
            return match (commented, repeat.condition.as_deref()) {
                (Some(trips), condition) => {
                    let parts = condition.into_iter().chain(repeat.step.as_deref()).collect::<Vec<_>>();
                    self.rounds(trips, &parts, condition, &repeat.statement, at)
                }
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
        for other in advances.iter().filter(|other| other.name != advance.name && !assigned.contains(other.name)) {
            others.push((*other, self.integer_named(other.name)));
        }
        let parts: Vec<_> = repeat.condition.iter().chain(&repeat.step).map(|part| &**part).collect();
        others.extend(self.moving(&repeat.statement, &parts));
        assigned.extend(advances.iter().map(|advance| advance.name.to_owned()).filter(|name| name != advance.name));
        // What the body changes is not known at the start of each iteration.
        self.forget(&assigned);
        let step = match advance.by {
            None => Some(Expr::Const(1)),
            Some(by) => self.integer(by, true)?,
        };
        let step = step.map(|step| if advance.adds { step } else { tidy(&step.times(-1)) });
        let var = self.builder.variable(advance.name);
        let counter = Counter { advance, lower, step, others, var };
        let head = self.head(condition, &counter, at);
        match (commented, head) {
            // A comment is for what the head does not say.
            (Some(trips), Err(_)) => self.commented_loop(repeat, &counter, trips, assigned, at),
            (Some(trips), Ok(_)) if moved || breaks(&repeat.statement.node) => {
                self.commented_loop(repeat, &counter, trips, assigned, at)
            }
            (_, head) => self.known_loop(repeat, head?, &counter, assigned, at),
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
    fn integer_named(&mut self, name: &str) -> Option<Expr> {
        match self.find(name) {
            Some(Binding::Scalar(scalar)) if !scalar.float => match scalar.value.clone() {
                IntegerValue::Known(value) => Some(value),
                IntegerValue::Parameter(name) => Some(Expr::from(self.builder.parameter(&name))),
                IntegerValue::Unknown | IntegerValue::Unwritten => None,
            },
            _ => None,
        }
    }

    /// The range that the head of a loop says.
    fn head(&mut self, condition: &'a Node<Expression>, counter: &Counter<'a>, at: At) -> Result<Head, Error> {
        let name = counter.advance.name;
        let Some(lower) = counter.lower.clone() else {
            return Err(refuse(at, format!("where {name} starts is decided by data"), TRIPS));
        };
        let step = counter.step.clone().filter(|step| !self.loops.iter().any(|round| step.mentions(round.var)));
        let Some(step) = step else {
            return Err(refuse(
                at,
                format!("how far {name} goes in each iteration is decided by data, or changes"),
                TRIPS,
            ));
        };
        let sign = value(&step, &self.builder.program).unwrap_or_default().signum();
        if sign == 0 {
            return Err(refuse(at, format!("this loop never ends: {name} stays as it is"), "Add something to it"));
        }
        self.set_counter(name, Expr::from(counter.var));
        let upper = self.limit(condition, (counter.var, name), sign > 0, &step)?;
        let head = Head { lower, upper, step, ascending: sign > 0 };
        self.reaches(name, &head, condition)?;
        Ok(head)
    }

    /// A loop whose iterations follow from its head.
    fn known_loop(
        &mut self,
        repeat: &'a ForStatement,
        head: Head,
        counter: &Counter<'a>,
        assigned: BTreeSet<String>,
        at: At,
    ) -> Result<(), Error> {
        let (name, var) = (counter.advance.name, counter.var);
        let Head { lower, upper, step, ascending } = head;
        // `j--` beside `i++`: as far from its start as `i` is.
        let others = self.moved(&counter.others, counter.rounds(&lower, &step))?;
        let round = Round {
            var,
            lower: lower.clone(),
            upper: upper.clone(),
            step: step.clone(),
            ascending,
            assigned,
            written: BTreeSet::new(),
            commented: false,
        };
        let body = self.body(round, &repeat.statement, at, |own| {
            own.set_moved(others);
            Ok(())
        })?;
        // Behind a loop by one, the counter is where it stopped.
        let after = match step {
            Expr::Const(1) => IntegerValue::Known(lower.clone().max(upper.clone())),
            Expr::Const(-1) => IntegerValue::Known(lower.clone().min(upper.clone())),
            _ => IntegerValue::Unknown,
        };
        if let Some(scalar) = self.scalar_mut(name) {
            (scalar.value, scalar.stored) = (after, true);
        }
        self.out.push(Step::Loop(Loop { var, lower, upper, step, body, at }));
        Ok(())
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

    /// Refuses a loop that runs until its variable is where its type does not reach.
    fn reaches(&self, name: &str, head: &Head, condition: &Node<Expression>) -> Result<(), Error> {
        let Some(Binding::Scalar(Scalar { range: Some((least, most)), .. })) = self.find(name) else { return Ok(()) };
        let Expr::Const(upper) = head.upper else { return Ok(()) };
        let limits = match (head.ascending, *least) {
            (true, _) if upper > *most => format!("of a type that is never above {most}"),
            // `i != -1` of an unsigned int holds until it wraps, which is where it would be below zero.
            (false, 0) if upper == -1 && *most >= u32::MAX.into() && differs(condition) => return Ok(()),
            (false, 0) if upper < 0 => "unsigned, never below zero".to_owned(),
            (false, _) if upper < *least => format!("of a type that is never below {least}"),
            _ => return Ok(()),
        };
        let problem = format!("this loop never ends: {name} is {limits}");
        Err(refuse(self.at(condition), problem, "Use a wider or a signed type, or correct the comparison"))
    }

    fn set_counter(&mut self, name: &str, value: Expr) {
        if let Some(scalar) = self.scalar_mut(name) {
            (scalar.value, scalar.stored) = (IntegerValue::Known(value), false);
        }
    }

    /// The first value of `var` that `condition` refuses.
    fn limit(
        &mut self,
        condition: &'a Node<Expression>,
        var: (Symbol, &str),
        ascending: bool,
        step: &Expr,
    ) -> Result<Expr, Error> {
        let and = |operator: &BinaryOperator| *operator == BinaryOperator::LogicalAnd;
        let (first, rest) = chain(condition, &and);
        let mut limit: Option<Expr> = None;
        for part in std::iter::once(first).chain(rest.into_iter().map(|(_, part)| part)) {
            let own = self.limit_of(part, var, ascending, step)?;
            limit = Some(match limit {
                None => own,
                Some(before) if ascending => before.min(own),
                Some(before) => before.max(own),
            });
        }
        limit.ok_or_else(|| Error::Internal("a condition of nothing".into()))
    }

    fn limit_of(
        &mut self,
        part: &'a Node<Expression>,
        (var, name): (Symbol, &str),
        ascending: bool,
        step: &Expr,
    ) -> Result<Expr, Error> {
        use BinaryOperator::{Greater, GreaterOrEqual, Less, LessOrEqual, NotEquals};
        let at = self.at(part);
        let unknown = || refuse(at, format!("when {name} ends this loop is not known"), TRIPS);
        let Expression::BinaryOperator(binary) = &part.node else { return Err(unknown()) };
        let BinaryOperatorExpression { operator, lhs, rhs } = &binary.node;
        let (Some(left), Some(right)) = (self.integer(lhs, true)?, self.integer(rhs, true)?) else {
            return Err(unknown());
        };
        let (operator, left, right) = match operator.node {
            // The variable on the left.
            ref other if left.mentions(var) && !right.mentions(var) => (other.clone(), left, right),
            Less => (Greater, right, left),
            LessOrEqual => (GreaterOrEqual, right, left),
            Greater => (Less, right, left),
            GreaterOrEqual => (LessOrEqual, right, left),
            ref other => (other.clone(), right, left),
        };
        let unit = matches!(step, Expr::Const(1 | -1));
        let (up, last) = match operator {
            Less => (true, 0),
            LessOrEqual => (true, 1),
            Greater => (false, 0),
            GreaterOrEqual => (false, -1),
            NotEquals if unit => (ascending, 0),
            NotEquals => return Err(refuse(at, format!("{name} may step over this limit"), "Use `<` or `>`")),
            _ => return Err(unknown()),
        };
        if up != ascending {
            let way = if ascending { "grows" } else { "falls" };
            let problem = format!("this loop never ends as written: {name} {way}, and the limit is on the other side");
            return Err(refuse(at, problem, "Correct the comparison or the step"));
        }
        // `var < right`, or else `factor * var + offset < right`.
        if left == Expr::from(var) {
            return Ok(tidy(&right.plus(last)));
        }
        let (factor, offset) = linear(&left, var).ok_or_else(unknown)?;
        let room = tidy(&right.plus(last).minus(offset));
        let Expr::Const(factor) = factor else { return Err(unknown()) };
        match (factor, up) {
            (1, _) => Ok(room),
            // `2 * i < n`: up to the half, rounded up.
            (2.., true) => Ok(room.plus(factor - 1).over(factor, Rounding::Floor)),
            (2.., false) => Ok(room.over(factor, Rounding::Floor)),
            _ => Err(unknown()),
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
        repeat: &'a ForStatement,
        counter: &Counter<'a>,
        trips: Expr,
        mut assigned: BTreeSet<String>,
        at: At,
    ) -> Result<(), Error> {
        let name = counter.advance.name;
        self.state_trips(at);
        let moved = assigned.contains(name);
        let known = match (&counter.lower, &counter.step) {
            (Some(lower), Some(Expr::Const(step))) if *step != 0 && !moved => Some((lower.clone(), *step)),
            _ => None,
        };
        let Some((lower, step)) = known else {
            if let Some(scalar) = self.scalar_mut(name) {
                scalar.stored = true;
            }
            assigned.insert(name.to_owned());
            let parts = repeat.condition.iter().chain(&repeat.step).map(|part| &**part).collect::<Vec<_>>();
            return self.rounds(trips, &parts, repeat.condition.as_deref(), &repeat.statement, at);
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
        };
        let condition = repeat.condition.as_deref();
        let others = self.moved(&counter.others, counter.rounds(&lower, &step))?;
        let body = self.body(round, &repeat.statement, at, |own| {
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

    /// Integers that each iteration of a loop moves by the same amount, and where they start: the body changes them
    /// once, outside of conditions and inner loops.
    fn moving(&mut self, statement: &'a Node<Statement>, parts: &[&'a Node<Expression>]) -> Vec<Moving<'a>> {
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
                            *changes.entry(&name.node.name).or_default() += 2;
                        }
                    }
                }
                Part::Statement(statement) => skips |= matches!(statement.node, Statement::Continue),
            });
        }
        if skips {
            return Vec::new();
        }
        let items: Vec<_> = match &statement.node {
            Statement::Compound(items) => {
                let statement = |item: &'a Node<BlockItem>| match &item.node {
                    BlockItem::Statement(statement) => Some(statement),
                    _ => None,
                };
                items.iter().filter_map(statement).collect()
            }
            _ => vec![statement],
        };
        let expressions = items.into_iter().filter_map(|statement| match &statement.node {
            Statement::Expression(Some(expression)) => Some(&**expression),
            _ => None,
        });
        let found = expressions.flat_map(advances).filter(|advance| changes.get(advance.name) == Some(&1));
        let constant = |by: &Node<Expression>| matches!(by.node, Expression::Constant(_));
        let found: Vec<_> = found.filter(|advance| advance.by.is_none_or(constant)).collect();
        found.into_iter().map(|advance| (advance, self.integer_named(advance.name))).collect()
    }

    /// What is known of `moving` after a number of `rounds`.
    fn moved(&mut self, moving: &[Moving<'a>], rounds: Option<Expr>) -> Result<Vec<(&'a str, Expr)>, Error> {
        let mut values = Vec::new();
        for (advance, start) in moving {
            let by = match advance.by {
                None => Some(Expr::Const(1)),
                Some(by) => self.integer(by, true)?,
            };
            let by = by.map(|by| if advance.adds { by } else { by.times(-1) });
            if let (Some(rounds), Some(by), Some(start)) = (&rounds, by, start) {
                values.push((advance.name, tidy(&start.clone().plus(rounds.clone().times(by)))));
            }
        }
        Ok(values)
    }

    fn set_moved(&mut self, values: Vec<(&str, Expr)>) {
        for (name, value) in values {
            if let Some(scalar) = self.scalar_mut(name).filter(|scalar| !scalar.float) {
                scalar.value = IntegerValue::Known(value);
            }
        }
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
                let always = matches!(self.integer(condition, false), Ok(Some(Expr::Const(value))) if value != 0);
                let problem = if always { "this loop never ends" } else { "how often this loop runs is not known" };
                Err(refuse(at, problem, TRIPS))
            }
        }
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

/// Whether `condition` is `a != b`.
fn differs(condition: &Node<Expression>) -> bool {
    matches!(&condition.node, Expression::BinaryOperator(binary) if binary.node.operator.node == BinaryOperator::NotEquals)
}

/// Whether `expression` mentions `wanted`.
fn uses(expression: &Node<Expression>, wanted: &str) -> bool {
    let mut found = false;
    walk(Part::Expression(expression), &mut |part| {
        if let Part::Expression(part) = part {
            found |= name(part) == Some(wanted);
        }
    });
    found
}

/// The variables that the third part of a `for` moves.
fn advances(step: &Node<Expression>) -> Vec<Advance<'_>> {
    match &step.node {
        Expression::Comma(list) => list.iter().filter_map(advance).collect(),
        _ => advance(step).into_iter().collect(),
    }
}

fn advance(step: &Node<Expression>) -> Option<Advance<'_>> {
    match &step.node {
        Expression::UnaryOperator(unary) => {
            let by = steps(&unary.node.operator.node)?;
            Some(Advance { name: name(&unary.node.operand)?, adds: by > 0, by: None })
        }
        Expression::BinaryOperator(binary) => {
            let BinaryOperatorExpression { operator, lhs, rhs } = &binary.node;
            let own = name(lhs)?;
            match operator.node {
                BinaryOperator::AssignPlus => Some(Advance { name: own, adds: true, by: Some(rhs) }),
                BinaryOperator::AssignMinus => Some(Advance { name: own, adds: false, by: Some(rhs) }),
                BinaryOperator::Assign => {
                    // `i = i + c`, `i = c + i`, `i = i - c`.
                    let Expression::BinaryOperator(sum) = &rhs.node else { return None };
                    let adds = sum.node.operator.node == BinaryOperator::Plus;
                    let takes = sum.node.operator.node == BinaryOperator::Minus;
                    if (adds || takes) && name(&sum.node.lhs) == Some(own) {
                        Some(Advance { name: own, adds, by: Some(&sum.node.rhs) })
                    } else if adds && name(&sum.node.rhs) == Some(own) {
                        Some(Advance { name: own, adds, by: Some(&sum.node.lhs) })
                    } else {
                        None
                    }
                }
                _ => None,
            }
        }
        _ => None,
    }
}
