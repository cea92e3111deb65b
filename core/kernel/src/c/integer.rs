//! Integer expressions: bounds, extents, subscripts, and conditions on them.

use lang_c::ast::*;
use lang_c::span::Node;

use super::lower::{Binding, CLowering, IntegerValue};
use super::preprocess::integer;
use super::types::{self, Base, Dim};
use super::walk::{assigns, children, name};
use crate::expr::{Expr, Rounding};
use crate::nest::{Branch, Comparison, Condition, Node as Step};
use crate::normal::tidy;
use crate::source::refuse;
use accel_ground::error::Error;

/// Longer expressions are data: nobody writes them, and substituting variables in each other can make them.
const MAX_SIZE: usize = 200;
/// Functions and macros of integers that many sources use and do not define.
const FUNCTIONS: [&str; 12] = [
    "min",
    "max",
    "MIN",
    "MAX",
    "fmin",
    "fmax",
    "floord",
    "ceild",
    "abs",
    "omp_get_thread_num",
    "omp_get_num_threads",
    "omp_get_max_threads",
];
/// More runs of ones in a constant, each a division and a remainder, are not followed.
const MAX_RUNS: usize = 4;

impl<'a> CLowering<'a> {
    /// The value of `expression` as an expression of parameters and loop variables; none if data decide it. Names that
    /// nobody declared are parameters if an integer is `needed`.
    pub(super) fn integer(&mut self, expression: &'a Node<Expression>, needed: bool) -> Result<Option<Expr>, Error> {
        let at = self.at(expression);
        let value = self.deeper(at, |own| own.integer_at(expression, needed))?.map(|value| tidy(&value));
        Ok(value.filter(|value| value.size(MAX_SIZE) <= MAX_SIZE))
    }

    fn integer_at(&mut self, expression: &'a Node<Expression>, needed: bool) -> Result<Option<Expr>, Error> {
        Ok(match &expression.node {
            Expression::Identifier(identifier) => self.integer_variable(&identifier.node.name, needed),
            Expression::Constant(constant) => match &constant.node {
                Constant::Integer(number) => Some(Expr::Const(self.literal(number, expression)?)),
                Constant::Character(text) => match text.trim_matches('\'').as_bytes() {
                    [byte] => Some(Expr::Const(i64::from(*byte))),
                    _ => None,
                },
                Constant::Float(_) => None,
            },
            Expression::UnaryOperator(unary) => match unary.node.operator.node {
                UnaryOperator::Minus => self.integer(&unary.node.operand, needed)?.map(|value| value.times(-1)),
                UnaryOperator::Plus => self.integer(&unary.node.operand, needed)?,
                UnaryOperator::Complement => {
                    self.integer(&unary.node.operand, needed)?.map(|value| value.times(-1).minus(1))
                }
                UnaryOperator::Negate => self.integer_truth(expression, needed)?,
                // What `i++` and `++i` are worth; that they move is seen where they are evaluated.
                UnaryOperator::PostIncrement | UnaryOperator::PostDecrement => {
                    self.integer(&unary.node.operand, needed)?
                }
                UnaryOperator::PreIncrement => self.integer(&unary.node.operand, needed)?.map(|value| value.plus(1)),
                UnaryOperator::PreDecrement => self.integer(&unary.node.operand, needed)?.map(|value| value.minus(1)),
                _ => None,
            },
            Expression::BinaryOperator(binary) if binary.node.operator.node == BinaryOperator::Assign => {
                self.integer(&binary.node.rhs, needed)?
            }
            Expression::BinaryOperator(binary) if decides(&binary.node.operator.node) => {
                self.integer_truth(expression, needed)?
            }
            Expression::BinaryOperator(_) => self.integer_chain(expression, needed)?,
            Expression::Cast(cast) => match types::named(&cast.node.type_name.node, &self.typedefs).float() {
                Some(false) => self.integer(&cast.node.expression, needed)?,
                _ => None,
            },
            Expression::Member(member) => match self.member_name(&member.node) {
                Some(name) => self.integer_variable(&name, needed),
                None => None,
            },
            Expression::Conditional(conditional) => self.integer_choice(&conditional.node, needed)?,
            Expression::Call(call) => self.integer_call(&call.node, needed)?,
            Expression::SizeOfTy(of) => {
                let own = types::named(&of.node.0.node, &self.typedefs);
                match own.base {
                    _ if matches!(own.dims.first(), Some(Dim::Pointer)) => Some(Expr::Const(8)),
                    Base::Number(element) if own.dims.is_empty() => Some(Expr::Const(element.bytes() as i64)),
                    _ => None,
                }
            }
            _ => None,
        })
    }

    fn integer_variable(&mut self, name: &str, needed: bool) -> Option<Expr> {
        let given = self.builder.given(name).is_some() || name.starts_with("_PB_");
        if needed || given || self.integers.contains(name) {
            self.scalar_if_undeclared(name, needed);
        }
        match self.find(name) {
            Some(Binding::Scalar(scalar)) if !scalar.float => match scalar.value.clone() {
                IntegerValue::Known(value) => Some(value),
                IntegerValue::Parameter(parameter) => Some(Expr::from(self.builder.parameter(&parameter))),
                IntegerValue::Unknown | IntegerValue::Unwritten => None,
            },
            _ => None,
        }
    }

    /// The value of an integer literal.
    pub(super) fn literal(&self, number: &Integer, place: &Node<Expression>) -> Result<i64, Error> {
        let prefix = match number.base {
            IntegerBase::Decimal => "",
            IntegerBase::Octal => "0",
            IntegerBase::Hexadecimal => "0x",
            IntegerBase::Binary => "0b",
        };
        integer(&format!("{prefix}{}", number.number))
            .ok_or_else(|| refuse(self.at(place), "this number is too large", "Use numbers below 2^63"))
    }

    /// A chain of operators, `a + b - c`, without recursion along it.
    fn integer_chain(&mut self, expression: &'a Node<Expression>, needed: bool) -> Result<Option<Expr>, Error> {
        let (first, steps) = chain(expression, &|operator| arithmetic(operator));
        if steps.is_empty() {
            return Ok(None);
        }
        // Remainders, shifts and bits are of integers only.
        let only = |operator: &BinaryOperator| {
            use BinaryOperator::{Divide, Minus, Multiply, Plus};
            !matches!(operator, Plus | Minus | Multiply | Divide)
        };
        let last = steps.iter().rposition(|(operator, _)| only(operator));
        let Some(mut value) = self.integer(first, needed || last.is_some())? else { return Ok(None) };
        for (position, (operator, right)) in steps.into_iter().enumerate() {
            let needed = needed || last.is_some_and(|last| position <= last);
            let Some(right) = self.integer(right, needed)? else { return Ok(None) };
            value = match (operator, right) {
                (BinaryOperator::Plus, right) => value.plus(right),
                (BinaryOperator::Minus, right) => value.minus(right),
                (BinaryOperator::Multiply, right) => value.times(right),
                (BinaryOperator::Divide, right) => value.over(right, Rounding::Zero),
                (BinaryOperator::Modulo, right) => value.modulo(right, Rounding::Zero),
                (BinaryOperator::ShiftLeft, Expr::Const(by @ 0..=62)) => value.times(1_i64 << by),
                (BinaryOperator::ShiftRight, Expr::Const(by @ 0..=62)) => value.over(1_i64 << by, Rounding::Floor),
                (operator, right) => match bits(operator, value, right) {
                    Some(value) => value,
                    None => return Ok(None),
                },
            };
            // Beyond that it is data; stopping here keeps the work bounded.
            if value.size(MAX_SIZE) > MAX_SIZE {
                value = tidy(&value);
                if value.size(MAX_SIZE) > MAX_SIZE {
                    return Ok(None);
                }
            }
        }
        Ok(Some(value))
    }

    /// `c ? a : b`, where parameters and loop variables decide `c`.
    fn integer_choice(&mut self, choice: &'a ConditionalExpression, needed: bool) -> Result<Option<Expr>, Error> {
        if !self.made_of_known(&choice.condition, needed) {
            return Ok(None);
        }
        let condition = self.condition(&choice.condition)?;
        let (Some(then), Some(otherwise)) =
            (self.integer(&choice.then_expression, needed)?, self.integer(&choice.else_expression, needed)?)
        else {
            return Ok(None);
        };
        // `a < b ? a : b` and its like.
        if let Condition::Compare(small, Comparison::Less | Comparison::LessEqual, large) = &condition {
            if then == *small && otherwise == *large {
                return Ok(Some(then.min(otherwise)));
            }
            if then == *large && otherwise == *small {
                return Ok(Some(then.max(otherwise)));
            }
        }
        Ok(truth(&condition).map(|holds| match holds {
            Expr::Const(0) => otherwise,
            Expr::Const(_) => then,
            holds => then.minus(otherwise.clone()).times(holds).plus(otherwise),
        }))
    }

    /// A condition as a number: one where it holds, else zero.
    fn integer_truth(&mut self, expression: &'a Node<Expression>, needed: bool) -> Result<Option<Expr>, Error> {
        if !self.made_of_known(expression, needed) {
            return Ok(None);
        }
        Ok(truth(&self.condition(expression)?))
    }

    /// Whether `expression` computes from known integers alone, whether or not that can be written down.
    pub(super) fn made_of_known(&mut self, expression: &'a Node<Expression>, needed: bool) -> bool {
        let mut open = vec![expression];
        while let Some(part) = open.pop() {
            let fine = match &part.node {
                Expression::Identifier(identifier) => {
                    let name = &identifier.node.name;
                    self.integer_variable(name, needed).is_some() || self.unwritten(name)
                }
                Expression::Constant(constant) => !matches!(constant.node, Constant::Float(_)),
                Expression::UnaryOperator(unary) => {
                    use UnaryOperator::{Complement, Minus, Negate, Plus};
                    matches!(unary.node.operator.node, Complement | Minus | Negate | Plus)
                }
                Expression::BinaryOperator(binary) => {
                    let operator = &binary.node.operator.node;
                    !assigns(operator) && *operator != BinaryOperator::Index
                }
                Expression::Cast(cast) => {
                    types::named(&cast.node.type_name.node, &self.typedefs).float() == Some(false)
                }
                Expression::Call(call) => {
                    let function = name(&call.node.callee);
                    open.extend(&call.node.arguments);
                    function
                        .is_some_and(|function| FUNCTIONS.contains(&function) && !self.functions.contains_key(function))
                }
                Expression::Member(member) => {
                    let own = self.member_name(&member.node);
                    own.is_some_and(|name| self.integer_variable(&name, needed).is_some())
                }
                Expression::Conditional(_) | Expression::SizeOfTy(_) => true,
                _ => false,
            };
            if !fine {
                return false;
            }
            if !matches!(part.node, Expression::Call(_) | Expression::Member(_)) {
                children(&part.node, &mut |child| open.push(child));
            }
        }
        true
    }

    fn unwritten(&self, name: &str) -> bool {
        matches!(self.find(name), Some(Binding::Scalar(scalar)) if matches!(scalar.value, IntegerValue::Unwritten))
    }

    /// The value of what decides a condition or a subscript. What is known and cannot be written down is refused: to
    /// take it for data would be a guess.
    pub(super) fn deciding(&mut self, expression: &'a Node<Expression>) -> Result<Option<Expr>, Error> {
        let value = self.integer(expression, false)?;
        if value.is_none() {
            self.not_known(expression)?;
        }
        Ok(value)
    }

    /// Refuses what is made of known integers, and has no value that can be written down.
    fn not_known(&mut self, expression: &'a Node<Expression>) -> Result<(), Error> {
        if self.made_of_known(expression, false) {
            let problem = "this follows from parameters and loop variables, by a formula that is not read";
            let cure = "Use + - * / %, comparisons, min, max, and shifts and bits of constants";
            return Err(refuse(self.at(expression), problem, cure));
        }
        Ok(())
    }

    pub(super) fn integer_call(&mut self, call: &'a CallExpression, needed: bool) -> Result<Option<Expr>, Error> {
        let Some(function) = name(&call.callee).filter(|function| !self.functions.contains_key(function)) else {
            return Ok(None);
        };
        let mut values = Vec::new();
        if !FUNCTIONS.contains(&function) {
            return Ok(None);
        }
        for argument in &call.arguments {
            let Some(value) = self.integer(argument, needed)? else { return Ok(None) };
            values.push(value);
        }
        Ok(match (function, values.as_slice()) {
            ("min" | "MIN" | "fmin", [a, b]) => Some(a.clone().min(b.clone())),
            ("max" | "MAX" | "fmax", [a, b]) => Some(a.clone().max(b.clone())),
            ("floord", [a, b]) => Some(a.clone().over(b.clone(), Rounding::Floor)),
            ("ceild", [a, b]) => Some(a.clone().times(-1).over(b.clone(), Rounding::Floor).times(-1)),
            // Counts are those of one thread.
            ("omp_get_thread_num", []) => Some(Expr::Const(0)),
            ("omp_get_num_threads" | "omp_get_max_threads", []) => Some(Expr::Const(1)),
            ("abs", [a]) => Some(a.clone().max(a.clone().times(-1))),
            _ => None,
        })
    }

    /// When `expression` holds. The accesses and the arithmetic of what data decide go into the work before it.
    pub(super) fn condition(&mut self, expression: &'a Node<Expression>) -> Result<Condition, Error> {
        let at = self.at(expression);
        self.deeper(at, |own| own.condition_at(expression))
    }

    fn condition_at(&mut self, expression: &'a Node<Expression>) -> Result<Condition, Error> {
        match &expression.node {
            Expression::UnaryOperator(unary) if unary.node.operator.node == UnaryOperator::Negate => {
                return Ok(Condition::Not(Box::new(self.condition(&unary.node.operand)?)));
            }
            Expression::BinaryOperator(binary) => {
                let BinaryOperatorExpression { operator, lhs, rhs } = &binary.node;
                match operator.node {
                    BinaryOperator::LogicalAnd | BinaryOperator::LogicalOr => {
                        return self.both(operator.node == BinaryOperator::LogicalAnd, lhs, rhs);
                    }
                    ref operator if assigns(operator) => {}
                    ref operator if decides(operator) => {
                        if let Some(condition) = self.comparison(operator, lhs, rhs)? {
                            return Ok(condition);
                        }
                        self.not_known(expression)?;
                    }
                    _ => {
                        if let Some(value) = self.deciding(expression)? {
                            return Ok(Condition::Compare(value, Comparison::NotEqual, Expr::Const(0)));
                        }
                    }
                }
            }
            _ => {
                if let Some(value) = self.deciding(expression)? {
                    return Ok(Condition::Compare(value, Comparison::NotEqual, Expr::Const(0)));
                }
            }
        }
        let at = self.at(expression);
        self.value(expression)?;
        let commented = self.text.hints.probability(at.line);
        let probability = commented.unwrap_or(self.source.probability);
        let how = if commented.is_some() {
            "as its comment says"
        } else {
            "default; a comment `probability: 0.3` changes it"
        };
        let text = format!(
            "the condition on line {}, column {} holds with probability {probability} ({how})",
            at.line, at.column
        );
        self.builder.assume(text);
        Ok(Condition::Chance(probability))
    }

    /// A comparison that parameters and loop variables decide.
    fn comparison(
        &mut self,
        operator: &BinaryOperator,
        lhs: &'a Node<Expression>,
        rhs: &'a Node<Expression>,
    ) -> Result<Option<Condition>, Error> {
        use BinaryOperator::{Equals, Greater, GreaterOrEqual, Less, LessOrEqual};
        let (mut left, mut right) = (self.integer(lhs, false)?, self.integer(rhs, false)?);
        // What is compared with a known integer, and is not declared, is an integer: a parameter.
        if left.is_some() && right.is_none() && name(rhs).is_some_and(|name| self.find(name).is_none()) {
            right = self.integer(rhs, true)?;
        }
        if right.is_some() && left.is_none() && name(lhs).is_some_and(|name| self.find(name).is_none()) {
            left = self.integer(lhs, true)?;
        }
        let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
        Ok(Some(match operator {
            Less => Condition::Compare(left, Comparison::Less, right),
            LessOrEqual => Condition::Compare(left, Comparison::LessEqual, right),
            Greater => Condition::Compare(right, Comparison::Less, left),
            GreaterOrEqual => Condition::Compare(right, Comparison::LessEqual, left),
            Equals => Condition::Compare(left, Comparison::Equal, right),
            _ => Condition::Compare(left, Comparison::NotEqual, right),
        }))
    }

    /// `a && b` or `a || b`: what `b` does, it does only if `a` leaves it open.
    fn both(&mut self, and: bool, lhs: &'a Node<Expression>, rhs: &'a Node<Expression>) -> Result<Condition, Error> {
        let first = self.condition(lhs)?;
        let at = self.at(rhs);
        let mut second = Condition::Chance(0.0);
        let nodes = self.collect(at, |own| {
            second = own.condition(rhs)?;
            Ok(())
        })?;
        if let Some(nodes) = self.merge(nodes) {
            let open = if and { first.clone() } else { Condition::Not(Box::new(first.clone())) };
            self.flush(at);
            self.out.push(Step::Branch(Branch { condition: open, then: nodes, otherwise: Vec::new(), at }));
        }
        let (first, second) = (Box::new(first), Box::new(second));
        Ok(if and { Condition::And(first, second) } else { Condition::Or(first, second) })
    }
}

/// A condition as a number: one where it holds, else zero; none if data decide it.
fn truth(condition: &Condition) -> Option<Expr> {
    let one = || Expr::Const(1);
    let size = |a: &Expr, b: &Expr| {
        let gap = tidy(&a.clone().minus(b.clone()));
        gap.clone().max(gap.times(-1)).min(one())
    };
    let above = |gap: Expr| tidy(&gap).min(one()).max(0);
    Some(match condition {
        Condition::Chance(_) => return None,
        Condition::Compare(a, Comparison::Less, b) => above(b.clone().minus(a.clone())),
        Condition::Compare(a, Comparison::LessEqual, b) => above(b.clone().minus(a.clone()).plus(1)),
        Condition::Compare(a, Comparison::NotEqual, b) => size(a, b),
        Condition::Compare(a, Comparison::Equal, b) => one().minus(size(a, b)),
        Condition::And(a, b) => truth(a)?.min(truth(b)?),
        Condition::Or(a, b) => truth(a)?.max(truth(b)?),
        Condition::Not(a) => one().minus(truth(a)?),
    })
}

/// `value & mask` and its like for a constant mask, in two's complement as C's integers are.
fn bits(operator: &BinaryOperator, left: Expr, right: Expr) -> Option<Expr> {
    let (value, mask) = match (left, right) {
        (value, Expr::Const(mask)) | (Expr::Const(mask), value) => (value, mask),
        _ => return None,
    };
    let and = masked(&value, mask)?;
    match operator {
        BinaryOperator::BitwiseAnd => Some(and),
        BinaryOperator::BitwiseOr => Some(value.plus(mask).minus(and)),
        BinaryOperator::BitwiseXor => Some(value.plus(mask).minus(and.times(2))),
        _ => None,
    }
}

/// `value & mask`: each run of ones in the mask is what a division by its lowest leaves of a power of two.
fn masked(value: &Expr, mask: i64) -> Option<Expr> {
    if let (Expr::Const(value), mask) = (value, mask) {
        return Some(Expr::Const(value & mask));
    }
    if mask < 0 {
        return Some(value.clone().minus(masked(value, !mask)?));
    }
    let (mut sum, mut left) = (Expr::Const(0), mask);
    for _ in 0..MAX_RUNS {
        if left == 0 {
            return Some(sum);
        }
        let low = left.trailing_zeros();
        let ones = (left >> low).trailing_ones();
        let unit = 1_i64 << low;
        // A run up to the highest bit would need 2^63, which is none of our numbers.
        let run = 1_i64.checked_shl(ones).filter(|run| *run > 0)?;
        sum = sum.plus(value.clone().over(unit, Rounding::Floor).modulo(run, Rounding::Floor).times(unit));
        left -= (run - 1) << low;
    }
    (left == 0).then_some(sum)
}

/// Whether an operator compares or joins conditions.
fn decides(operator: &BinaryOperator) -> bool {
    use BinaryOperator::*;
    matches!(operator, Less | LessOrEqual | Greater | GreaterOrEqual | Equals | NotEquals | LogicalAnd | LogicalOr)
}

/// A chain of operators that stands to the left: its first operand, and each operator with its right operand.
pub(super) fn chain<'a>(
    expression: &'a Node<Expression>,
    of: &dyn Fn(&BinaryOperator) -> bool,
) -> (&'a Node<Expression>, Vec<(&'a BinaryOperator, &'a Node<Expression>)>) {
    let (mut first, mut steps) = (expression, Vec::new());
    while let Expression::BinaryOperator(binary) = &first.node
        && of(&binary.node.operator.node)
    {
        steps.push((&binary.node.operator.node, &*binary.node.rhs));
        first = &binary.node.lhs;
    }
    steps.reverse();
    (first, steps)
}

/// Whether an operator computes a number from two.
pub(super) fn arithmetic(operator: &BinaryOperator) -> bool {
    use BinaryOperator::*;
    matches!(
        operator,
        Plus | Minus | Multiply | Divide | Modulo | ShiftLeft | ShiftRight | BitwiseAnd | BitwiseOr | BitwiseXor
    )
}
