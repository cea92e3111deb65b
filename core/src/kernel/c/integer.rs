//! Integer expressions: bounds, extents, subscripts, and conditions on them.

use lang_c::ast::*;
use lang_c::span::Node;

use super::lower::{Binding, Lower, Value};
use super::poly::{size, tidy};
use super::preprocess::integer;
use super::types::{self, Base, Dim};
use super::walk::name;
use crate::error::Error;
use crate::kernel::expr::{Expr, Rounding};
use crate::kernel::nest::{Branch, Comparison, Condition, Node as Step};
use crate::kernel::source::refuse;

/// Longer expressions are data: nobody writes them, and substituting variables in each other can make them.
const MAX_SIZE: usize = 200;

impl<'a> Lower<'a> {
    /// The value of `expression` as an expression of parameters and loop variables; none if data decide it. Names that
    /// nobody declared are parameters if an integer is `needed`.
    pub(super) fn integer(&mut self, expression: &'a Node<Expression>, needed: bool) -> Result<Option<Expr>, Error> {
        let at = self.at(expression);
        let value = self.deeper(at, |own| own.integer_at(expression, needed))?.map(tidy);
        Ok(value.filter(|value| size(value, MAX_SIZE) <= MAX_SIZE))
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
                _ => None,
            },
            Expression::BinaryOperator(binary) if binary.node.operator.node == BinaryOperator::Assign => {
                self.integer(&binary.node.rhs, needed)?
            }
            Expression::BinaryOperator(_) => self.integer_chain(expression, needed)?,
            Expression::Cast(cast) => match types::named(&cast.node.type_name.node, &self.typedefs).float() {
                Some(false) => self.integer(&cast.node.expression, needed)?,
                _ => None,
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
                Value::Known(value) => Some(value),
                Value::Parameter(parameter) => Some(Expr::from(self.builder.parameter(&parameter))),
                Value::Unknown => None,
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
        let Some(mut value) = self.integer(first, needed)? else { return Ok(None) };
        for (operator, right) in steps {
            let Some(right) = self.integer(right, needed)? else { return Ok(None) };
            value = match (operator, right) {
                (BinaryOperator::Plus, right) => value.plus(right),
                (BinaryOperator::Minus, right) => value.minus(right),
                (BinaryOperator::Multiply, right) => value.times(right),
                (BinaryOperator::Divide, right) => value.over(right, Rounding::Zero),
                (BinaryOperator::Modulo, right) => value.modulo(right, Rounding::Zero),
                (BinaryOperator::ShiftLeft, Expr::Const(by @ 0..=62)) => value.times(1_i64 << by),
                (BinaryOperator::ShiftRight, Expr::Const(by @ 0..=62)) => value.over(1_i64 << by, Rounding::Floor),
                _ => return Ok(None),
            };
            // Beyond that it is data; stopping here keeps the work bounded.
            if size(&value, MAX_SIZE) > MAX_SIZE {
                value = tidy(value);
                if size(&value, MAX_SIZE) > MAX_SIZE {
                    return Ok(None);
                }
            }
        }
        Ok(Some(value))
    }

    /// `a < b ? a : b` and its like; or the one arm, where the condition is a number.
    fn integer_choice(&mut self, choice: &'a ConditionalExpression, needed: bool) -> Result<Option<Expr>, Error> {
        let Some((less, small, large)) = self.ordered(&choice.condition, needed)? else { return Ok(None) };
        let (Some(then), Some(otherwise)) =
            (self.integer(&choice.then_expression, needed)?, self.integer(&choice.else_expression, needed)?)
        else {
            return Ok(None);
        };
        if let (Expr::Const(small), Expr::Const(large)) = (&small, &large) {
            let holds = if less { small < large } else { small <= large };
            return Ok(Some(if holds { then } else { otherwise }));
        }
        Ok(if then == small && otherwise == large {
            Some(small.min(large))
        } else if then == large && otherwise == small {
            Some(small.max(large))
        } else {
            None
        })
    }

    /// `a < b` (true) or `a <= b` of integers, from any of the four comparisons.
    fn ordered(&mut self, condition: &'a Node<Expression>, needed: bool) -> Result<Option<(bool, Expr, Expr)>, Error> {
        let Expression::BinaryOperator(binary) = &condition.node else { return Ok(None) };
        let BinaryOperatorExpression { operator, lhs, rhs } = &binary.node;
        let (less, turned) = match operator.node {
            BinaryOperator::Less => (true, false),
            BinaryOperator::LessOrEqual => (false, false),
            BinaryOperator::Greater => (true, true),
            BinaryOperator::GreaterOrEqual => (false, true),
            _ => return Ok(None),
        };
        let (Some(left), Some(right)) = (self.integer(lhs, needed)?, self.integer(rhs, needed)?) else {
            return Ok(None);
        };
        Ok(Some(if turned { (less, right, left) } else { (less, left, right) }))
    }

    fn integer_call(&mut self, call: &'a CallExpression, needed: bool) -> Result<Option<Expr>, Error> {
        let Some(function) = name(&call.callee).filter(|function| !self.functions.contains_key(function)) else {
            return Ok(None);
        };
        let mut values = Vec::new();
        match function {
            "min" | "max" | "MIN" | "MAX" | "fmin" | "fmax" | "floord" | "ceild" | "abs" => {}
            _ => return Ok(None),
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
                    _ => {
                        if let Some(condition) = self.comparison(&operator.node, lhs, rhs)? {
                            return Ok(condition);
                        }
                    }
                }
            }
            _ => {
                if let Some(value) = self.integer(expression, false)? {
                    return Ok(Condition::Compare(value, Comparison::NotEqual, Expr::Const(0)));
                }
            }
        }
        let at = self.at(expression);
        self.value(expression)?;
        let told = self.text.hints.probability(at.line);
        let probability = told.unwrap_or(self.source.probability);
        let how =
            if told.is_some() { "as its comment says" } else { "default; a comment `probability: 0.3` changes it" };
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
        use BinaryOperator::{Equals, Greater, GreaterOrEqual, Less, LessOrEqual, NotEquals};
        if !matches!(operator, Less | LessOrEqual | Greater | GreaterOrEqual | Equals | NotEquals) {
            return Ok(None);
        }
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
