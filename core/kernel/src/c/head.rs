//! The heads of loops: which variable counts, by how much, and when it stops.

use lang_c::ast::*;
use lang_c::span::Node;

use super::integer::chain;
use super::lower::{Binding, CLowering, Scalar};
use super::view::{alike, linear, value};
use super::walk::{Part, name, steps, walk};
use crate::expr::{Expr, Rounding, Symbol};
use crate::nest::At;
use crate::normal::tidy;
use crate::source::refuse;
use accel_ground::error::Error;

pub(super) const TRIPS: &str = "Say how often it runs: a comment `trips: 100` on its line or the line above";

/// What an iteration does to a variable.
#[derive(Clone, Copy)]
pub(super) struct Advance<'a> {
    pub(super) name: &'a str,
    pub(super) motion: Motion,
    /// By how much; one if nothing is said.
    pub(super) by: Option<&'a Node<Expression>>,
}

/// How a variable moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Motion {
    /// `i += c`
    Adds,
    /// `i -= c`
    Takes,
    /// `i *= c`
    Multiplies,
    /// `i /= c`
    Divides,
    /// `i <<= c`
    Doubles,
    /// `i >>= c`
    Halves,
}

impl Motion {
    /// Whether each iteration adds the same.
    pub(super) fn is_even(self) -> bool {
        matches!(self, Self::Adds | Self::Takes)
    }
}

/// The variable of a loop before it runs.
pub(super) struct Counter<'a> {
    pub(super) advance: Advance<'a>,
    pub(super) lower: Option<Expr>,
    pub(super) step: Option<Expr>,
    /// Others that move with it.
    pub(super) others: Vec<Moving<'a>>,
    /// What inner loops move in each iteration: by name, how much, and where it starts.
    pub(super) through: Vec<(&'a str, Expr, Expr)>,
    pub(super) var: Symbol,
}

/// A variable that each iteration moves, and where it starts, if that is known.
pub(super) type Moving<'a> = (Advance<'a>, Option<Expr>);

impl Counter<'_> {
    /// Whether others move with it.
    pub(super) fn moves(&self) -> bool {
        !self.others.is_empty() || !self.through.is_empty()
    }

    /// How many iterations lie behind, if the loop starts at `lower` and steps by one.
    pub(super) fn rounds(&self, lower: &Expr, step: &Expr) -> Option<Expr> {
        match step {
            Expr::Const(1) => Some(Expr::from(self.var).minus(lower.clone())),
            Expr::Const(-1) => Some(lower.clone().minus(self.var)),
            _ => None,
        }
    }
}

/// The range of a loop.
pub(super) struct Head {
    pub(super) lower: Expr,
    pub(super) upper: Expr,
    pub(super) step: Expr,
    pub(super) ascending: bool,
}

impl Head {
    /// The range of a loop that stops at whichever of two limits comes first.
    pub(super) fn and(self, other: Self) -> Self {
        let upper = if self.ascending { self.upper.min(other.upper) } else { self.upper.max(other.upper) };
        Self { upper: tidy(&upper), ..self }
    }

    /// The range of a `do`, which looks at its condition when the first iteration is over.
    pub(super) fn once_at_least(self) -> Self {
        let behind = self.upper.plus(self.step.clone());
        let upper = match self.ascending {
            true => behind.max(self.lower.clone().plus(1)),
            false => behind.min(self.lower.clone().minus(1)),
        };
        Self { upper: tidy(&upper), ..self }
    }

    /// How often the loop runs.
    pub(super) fn trips(&self) -> Expr {
        let (span, step) = match self.ascending {
            true => (self.upper.clone().minus(self.lower.clone()), self.step.clone()),
            false => (self.lower.clone().minus(self.upper.clone()), self.step.clone().times(-1)),
        };
        let step = tidy(&step);
        tidy(&span.max(0).plus(step.clone()).minus(1).over(step, Rounding::Floor))
    }
}

/// When a loop stops.
pub(super) struct Stop<'a> {
    /// What must hold for it to go on.
    pub(super) condition: &'a Node<Expression>,
    /// Whether it stops where `condition` holds instead: `if (i == n) break;`.
    pub(super) negated: bool,
}

impl<'a> CLowering<'a> {
    /// By how much `advance` moves, with its sign; none if data decide it.
    pub(super) fn stride(&mut self, advance: &Advance<'a>) -> Result<Option<Expr>, Error> {
        let by = match advance.by {
            None => Some(Expr::Const(1)),
            Some(by) => self.integer(by, true)?,
        };
        Ok(by.map(|by| if advance.motion == Motion::Takes { tidy(&by.times(-1)) } else { by }))
    }

    /// The range that the head of a loop says. `before` is what happened to the variable before `stop` looks at it.
    pub(super) fn head(&mut self, stop: &Stop<'a>, counter: &Counter<'a>, before: Expr, at: At) -> Result<Head, Error> {
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
        self.set_counter(name, Expr::from(counter.var).plus(before));
        let upper = self.limit(stop, (counter.var, name), sign > 0, &step)?;
        // `if (i == m) break;` ends nothing where the loop starts beyond `m`.
        if stop.negated && equals(stop.condition) {
            let ends = (value(&lower, &self.builder.program), value(&upper, &self.builder.program));
            if !matches!(ends, (Some(lower), Some(upper)) if (upper - lower) * sign >= 0) {
                return Err(refuse(at, format!("when {name} ends this loop is not known"), TRIPS));
            }
        }
        let head = Head { lower, upper, step, ascending: sign > 0 };
        self.reaches(name, &head, stop.condition)?;
        Ok(head)
    }

    /// Where a loop that multiplies or divides its variable starts, how often it runs, and by what it does so.
    pub(super) fn geometric(
        &mut self,
        stop: &Stop<'a>,
        counter: &Counter<'a>,
        at: At,
    ) -> Result<(Expr, Expr, i64), Error> {
        let Advance { name, motion, .. } = counter.advance;
        let Some(lower) = counter.lower.clone() else {
            return Err(refuse(at, format!("where {name} starts is decided by data"), TRIPS));
        };
        let by = match (motion, &counter.step) {
            (Motion::Doubles | Motion::Halves, Some(Expr::Const(by @ 1..=62))) => Some(1_i64 << by),
            (Motion::Multiplies | Motion::Divides, Some(Expr::Const(by @ 2..))) => Some(*by),
            _ => None,
        };
        let Some(by) = by else {
            let problem = format!("by what {name} is multiplied or divided is not a constant above one");
            return Err(refuse(at, problem, TRIPS));
        };
        self.set_counter(name, Expr::from(counter.var));
        let grows = matches!(motion, Motion::Multiplies | Motion::Doubles);
        let limit = self.limit(stop, (counter.var, name), grows, &Expr::Const(if grows { 1 } else { -1 }))?;
        let program = &self.builder.program;
        let never = |what: String| Err(refuse(at, format!("this loop never ends: {what}"), "Correct its head"));
        // `limit` is the first value that is refused, so the last one that is not is one nearer.
        let trips = if grows {
            if value(&lower, program).is_none_or(|lower| lower < 1) {
                return never(format!("{name} starts below 1, and multiplying does not raise it"));
            }
            tidy(&limit.minus(1)).over(lower.clone(), Rounding::Floor)
        } else {
            let least = tidy(&limit.plus(1));
            if value(&least, program).is_none_or(|least| least < 1) {
                return never(format!("{name} stops at 0, which it goes on with"));
            }
            lower.clone().over(least, Rounding::Floor)
        };
        Ok((lower, tidy(&tidy(&trips).digits(by)), by))
    }

    /// Refuses a loop that runs until its variable is where its type does not reach.
    fn reaches(&self, name: &str, head: &Head, condition: &Node<Expression>) -> Result<(), Error> {
        let Some(Binding::Scalar(Scalar { range: Some((least, most)), .. })) = self.find(name) else { return Ok(()) };
        let Expr::Const(upper) = head.upper else { return Ok(()) };
        let limits = match (head.ascending, *least) {
            (true, _) if upper > *most => format!("of a type that is never above {most}"),
            // `i != -1` of an unsigned int holds until it wraps, which is where it would be below zero.
            (false, 0) if upper == -1 && *most >= u32::MAX.into() && differs(condition) => return Ok(()),
            // `while (n--)` ends at zero, and what it leaves behind is never looked at.
            (false, 0) if upper >= -1 && !compares(condition) => return Ok(()),
            (false, 0) if upper < 0 => "unsigned, never below zero".to_owned(),
            (false, _) if upper < *least => format!("of a type that is never below {least}"),
            _ => return Ok(()),
        };
        let problem = format!("this loop never ends: {name} is {limits}");
        Err(refuse(self.at(condition), problem, "Use a wider or a signed type, or correct the comparison"))
    }

    /// The first value of `var` with which the loop does not go on.
    fn limit(&mut self, stop: &Stop<'a>, var: (Symbol, &str), ascending: bool, step: &Expr) -> Result<Expr, Error> {
        // `!(a || b)` is `!a && !b`.
        let joins = if stop.negated { BinaryOperator::LogicalOr } else { BinaryOperator::LogicalAnd };
        let (first, rest) = chain(stop.condition, &|operator| *operator == joins);
        let mut limit: Option<Expr> = None;
        for part in std::iter::once(first).chain(rest.into_iter().map(|(_, part)| part)) {
            let own = self.limit_of(part, stop.negated, var, ascending, step)?;
            limit = Some(match limit {
                None => own,
                Some(before) if ascending => before.min(own),
                Some(before) => before.max(own),
            });
        }
        limit.ok_or_else(|| Error::Internal("a condition of nothing".into()))
    }

    /// What a condition compares, and how.
    fn compared(&mut self, part: &'a Node<Expression>, unknown: &dyn Fn() -> Error) -> Result<Compared, Error> {
        use BinaryOperator::{Equals, Greater, GreaterOrEqual, Less, LessOrEqual, NotEquals};
        if let Expression::BinaryOperator(binary) = &part.node {
            let BinaryOperatorExpression { operator, lhs, rhs } = &binary.node;
            if matches!(operator.node, Equals | Greater | GreaterOrEqual | Less | LessOrEqual | NotEquals) {
                if let Some((left, right)) = self.pointers(lhs, rhs)? {
                    return Ok((operator.node.clone(), left, right));
                }
                let (Some(left), Some(right)) = (self.integer(lhs, true)?, self.integer(rhs, true)?) else {
                    return Err(unknown());
                };
                return Ok((operator.node.clone(), left, right));
            }
        }
        // `while (n)` is `while (n != 0)`.
        match self.integer(part, false)? {
            Some(value) => Ok((NotEquals, value, Expr::Const(0))),
            None => Err(unknown()),
        }
    }

    fn limit_of(
        &mut self,
        part: &'a Node<Expression>,
        negated: bool,
        (var, name): (Symbol, &str),
        ascending: bool,
        step: &Expr,
    ) -> Result<Expr, Error> {
        use BinaryOperator::{Equals, Greater, GreaterOrEqual, Less, LessOrEqual, NotEquals};
        let at = self.at(part);
        let unknown = || refuse(at, format!("when {name} ends this loop is not known"), TRIPS);
        let (mut operator, left, right) = self.compared(part, &unknown)?;
        if negated {
            operator = match operator {
                Less => GreaterOrEqual,
                LessOrEqual => Greater,
                Greater => LessOrEqual,
                GreaterOrEqual => Less,
                Equals => NotEquals,
                _ => Equals,
            };
        }
        let (operator, left, right) = match operator {
            // The variable on the left.
            other if left.mentions(var) && !right.mentions(var) => (other, left, right),
            Less => (Greater, right, left),
            LessOrEqual => (GreaterOrEqual, right, left),
            Greater => (Less, right, left),
            GreaterOrEqual => (LessOrEqual, right, left),
            other => (other, right, left),
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

    /// Where two pointers into one array lie in it; none if one of them is no pointer.
    fn pointers(
        &mut self,
        lhs: &'a Node<Expression>,
        rhs: &'a Node<Expression>,
    ) -> Result<Option<(Expr, Expr)>, Error> {
        let is_pointer = |own: &Self, side: &'a Node<Expression>| {
            let moves = |operator: &BinaryOperator| matches!(operator, BinaryOperator::Plus | BinaryOperator::Minus);
            let (first, rest) = chain(side, &moves);
            let array = |part| {
                name(part).is_some_and(|name| matches!(own.find(name), Some(Binding::Array(_) | Binding::Cursor(..))))
            };
            array(first) || rest.iter().any(|(_, part)| array(part))
        };
        if !is_pointer(self, lhs) || !is_pointer(self, rhs) {
            return Ok(None);
        }
        let before = self.work.clone();
        let (left, right) = (self.place(lhs, 1)?, self.place(rhs, 1)?);
        self.work = before;
        let same = left.array == right.array && alike(&left.prefix, &right.prefix);
        if !same {
            return Err(refuse(self.at(lhs), "these pointers point into different arrays", TRIPS));
        }
        Ok(left.shift.zip(right.shift))
    }
}

type Compared = (BinaryOperator, Expr, Expr);

/// Whether `condition` is `a == b`.
fn equals(condition: &Node<Expression>) -> bool {
    matches!(&condition.node, Expression::BinaryOperator(binary) if binary.node.operator.node == BinaryOperator::Equals)
}

/// Whether `condition` is `a != b`.
fn differs(condition: &Node<Expression>) -> bool {
    matches!(&condition.node, Expression::BinaryOperator(binary) if binary.node.operator.node == BinaryOperator::NotEquals)
}

/// Whether `condition` compares or joins, rather than being a number that is zero or not.
fn compares(condition: &Node<Expression>) -> bool {
    matches!(&condition.node, Expression::BinaryOperator(_))
}

/// Whether `expression` mentions `wanted`.
pub(super) fn uses(expression: &Node<Expression>, wanted: &str) -> bool {
    let mut found = false;
    walk(Part::Expression(expression), &mut |part| {
        if let Part::Expression(part) = part {
            found |= name(part) == Some(wanted);
        }
    });
    found
}

/// The variables that an expression moves for its own sake, as the third part of a `for` does.
pub(super) fn advances(step: &Node<Expression>) -> Vec<Advance<'_>> {
    match &step.node {
        Expression::Comma(list) => list.iter().filter_map(advance).collect(),
        _ => advance(step).into_iter().collect(),
    }
}

/// What `step` itself moves, not its parts.
pub(super) fn advance(step: &Node<Expression>) -> Option<Advance<'_>> {
    match &step.node {
        Expression::UnaryOperator(unary) => {
            let motion = if steps(&unary.node.operator.node)? > 0 { Motion::Adds } else { Motion::Takes };
            Some(Advance { name: name(&unary.node.operand)?, motion, by: None })
        }
        Expression::BinaryOperator(binary) => {
            let BinaryOperatorExpression { operator, lhs, rhs } = &binary.node;
            let own = name(lhs)?;
            let moved = |motion, by| Some(Advance { name: own, motion, by: Some(by) });
            match operator.node {
                BinaryOperator::AssignPlus => moved(Motion::Adds, rhs),
                BinaryOperator::AssignMinus => moved(Motion::Takes, rhs),
                BinaryOperator::AssignMultiply => moved(Motion::Multiplies, rhs),
                BinaryOperator::AssignDivide => moved(Motion::Divides, rhs),
                BinaryOperator::AssignShiftLeft => moved(Motion::Doubles, rhs),
                BinaryOperator::AssignShiftRight => moved(Motion::Halves, rhs),
                BinaryOperator::Assign => {
                    // `i = i + c`, `i = c + i`, `i = i - c`, `i = 2 * i`, `i = i / 2`.
                    let Expression::BinaryOperator(made) = &rhs.node else { return None };
                    let (motion, either) = match made.node.operator.node {
                        BinaryOperator::Plus => (Motion::Adds, true),
                        BinaryOperator::Minus => (Motion::Takes, false),
                        BinaryOperator::Multiply => (Motion::Multiplies, true),
                        BinaryOperator::Divide => (Motion::Divides, false),
                        BinaryOperator::ShiftLeft => (Motion::Doubles, false),
                        BinaryOperator::ShiftRight => (Motion::Halves, false),
                        _ => return None,
                    };
                    if name(&made.node.lhs) == Some(own) {
                        moved(motion, &made.node.rhs)
                    } else if either && name(&made.node.rhs) == Some(own) {
                        moved(motion, &made.node.lhs)
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
