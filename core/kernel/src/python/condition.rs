//! Conditions: what decides them, and what is known where they hold.

use ruff_python_ast::{BoolOp, CmpOp, Expr as Tree, UnaryOp};

use super::lower::PythonLowering;
use super::tree::clip;
use super::value::Value;
use crate::expr::Expr;
use crate::nest::{At, Comparison, Condition};
use crate::source::refuse;
use accel_ground::error::Error;

/// A condition.
pub(super) enum Test {
    /// The source alone decides it.
    Known(bool),
    /// Loop variables, parameters or data decide it.
    On(Condition),
}

impl<'a> PythonLowering<'a> {
    /// A condition; what it loads is loaded before it is decided.
    pub(super) fn test(&mut self, test: &'a Tree, at: At) -> Result<Test, Error> {
        let by_data = |own: &mut Self| {
            let given = Self::comment(own.probabilities, at);
            let probability = match given.map(str::parse::<f64>) {
                None => own.source.probability,
                Some(Ok(p)) if (0.0..=1.0).contains(&p) => p,
                Some(_) => {
                    return Err(refuse(at, "this probability is no number from 0 to 1", "Write `# probability: 0.3`"));
                }
            };
            own.assume(at, format!("the condition on data holds with probability {probability}"));
            Ok(Test::On(Condition::Chance(probability)))
        };
        match test {
            Tree::BoolOp(op) => self.tests(&op.values, op.op == BoolOp::And, at),
            // `x is None` asks nothing of an array.
            Tree::Compare(compare) if matches!(compare.comparators.as_ref(), [Tree::NoneLiteral(_)]) => {
                let none = self.eval(&compare.left)? == Value::None;
                let is = matches!(compare.ops.as_ref(), [CmpOp::Is | CmpOp::Eq]);
                Ok(Test::Known(none == is))
            }
            Tree::Compare(compare) if matches!(compare.ops.as_ref(), [CmpOp::In | CmpOp::NotIn]) => {
                match self.eval(test)? {
                    Value::Bool(known) => Ok(Test::Known(known)),
                    value if value.by_data() => by_data(self),
                    _ => self.undecided(test),
                }
            }
            Tree::UnaryOp(op) if op.op == UnaryOp::Not => Ok(match self.test(&op.operand, at)? {
                Test::Known(known) => Test::Known(!known),
                Test::On(Condition::Chance(p)) => Test::On(Condition::Chance(1.0 - p)),
                Test::On(condition) => Test::On(Condition::Not(Box::new(condition))),
            }),
            Tree::Compare(compare) => {
                let mut left = self.number_of(&compare.left)?;
                let mut whole: Option<Condition> = None;
                for (op, side) in compare.ops.iter().zip(&compare.comparators) {
                    let right = self.number_of(side)?;
                    let next = match self.compared(*op, &left, &right) {
                        Some(Test::Known(known)) if compare.ops.len() == 1 => return Ok(Test::Known(known)),
                        // `0 < p < 1`: what holds adds nothing.
                        Some(Test::Known(true)) => {
                            left = right;
                            continue;
                        }
                        Some(Test::Known(false)) => return Ok(Test::Known(false)),
                        Some(Test::On(condition)) => condition,
                        _ if !left.by_data() && !right.by_data() => return self.undecided(test),
                        _ => match by_data(self)? {
                            Test::On(condition) => condition,
                            known => return Ok(known),
                        },
                    };
                    whole = Some(match whole {
                        None => next,
                        Some(before) => joined(before, next, true),
                    });
                    left = right;
                }
                Ok(whole.map_or(Test::Known(true), Test::On))
            }
            other => match self.number_of(other)? {
                Value::Bool(value) => Ok(Test::Known(value)),
                Value::None => Ok(Test::Known(false)),
                Value::Int(Expr::Const(value)) => Ok(Test::Known(value != 0)),
                Value::Int(expr) => Ok(Test::On(Condition::Compare(expr, Comparison::NotEqual, Expr::Const(0)))),
                Value::Text(text) => Ok(Test::Known(!text.is_empty())),
                Value::Tuple(parts) => Ok(Test::Known(!parts.is_empty())),
                Value::Object(_) | Value::Function(_) => Ok(Test::Known(true)),
                Value::Literal(value) => Ok(Test::Known(value != 0.0)),
                Value::View(_) | Value::Lazy(_) => {
                    self.refuse(other, "an array has no single truth value", "Use `.any()`, `.all()` or `np.where`")
                }
                Value::Counter(_) => self.undecided(other),
                _ => by_data(self),
            },
        }
    }

    /// A comparison; of a fraction with an integer, by what parameters make of it.
    pub(super) fn compared(&self, op: CmpOp, left: &Value, right: &Value) -> Option<Test> {
        let number = |value: &Value| self.real_number(value).map(Value::Literal);
        compared(op, left, right).or_else(|| match (left, right) {
            (Value::Literal(_), _) | (_, Value::Literal(_)) => compared(op, &number(left)?, &number(right)?),
            _ => None,
        })
    }

    /// Refuses a condition that no data decide, and that is no comparison of known integers either.
    fn undecided<T>(&self, test: &'a Tree) -> Result<T, Error> {
        let problem =
            format!("whether `{}` holds is not known, and no element of an array decides it", clip(self.text(test)));
        self.refuse(test, problem, "Write it in loop variables and parameters: `i % 2 == 0` for a counter")
    }

    /// Conditions joined by `and` or `or`.
    pub(super) fn tests(&mut self, parts: &'a [Tree], and: bool, at: At) -> Result<Test, Error> {
        let (mut whole, mut chances): (Option<Condition>, usize) = (None, 0);
        let facts = self.facts.len();
        for part in parts {
            let next = match self.test(part, at)? {
                // `False and ...`, `True or ...`: the rest is never looked at.
                Test::Known(known) if known != and => {
                    self.facts.truncate(facts);
                    return Ok(Test::Known(known));
                }
                Test::Known(_) => continue,
                Test::On(next) => next,
            };
            if is_chance(&next) {
                chances += 1;
            }
            self.learn(&next, and);
            whole = Some(match whole {
                None => next,
                Some(before) => joined(before, next, and),
            });
        }
        self.facts.truncate(facts);
        if chances > 1 {
            let word = if and { "and" } else { "or" };
            self.assume(
                at,
                format!("conditions on data joined by `{word}` count as one, and all of them are looked at"),
            );
        }
        Ok(whole.map_or(Test::Known(and), Test::On))
    }

    /// Whether a condition on parameters alone holds.
    pub(super) fn decide(&self, condition: &Condition) -> Option<bool> {
        Some(match condition {
            Condition::Compare(a, comparison, b) => {
                let (a, b) = (self.number(a)?, self.number(b)?);
                match comparison {
                    Comparison::Less => a < b,
                    Comparison::LessEqual => a <= b,
                    Comparison::Equal => a == b,
                    Comparison::NotEqual => a != b,
                }
            }
            Condition::Chance(_) => return None,
            Condition::And(a, b) => self.decide(a)? && self.decide(b)?,
            Condition::Or(a, b) => self.decide(a)? || self.decide(b)?,
            Condition::Not(a) => !self.decide(a)?,
        })
    }

    /// What is known where a condition holds, or does not.
    pub(super) fn learn(&mut self, condition: &Condition, holds: bool) {
        match condition {
            Condition::And(a, b) if holds => {
                self.learn(a, true);
                self.learn(b, true);
            }
            Condition::Or(a, b) if !holds => {
                self.learn(a, false);
                self.learn(b, false);
            }
            Condition::Not(a) => self.learn(a, !holds),
            Condition::Compare(a, comparison, b) => {
                let difference = |a: &Expr, b: &Expr| b.clone().minus(a.clone());
                match (comparison, holds) {
                    (Comparison::Less, true) => self.facts.push(difference(a, b).minus(1)),
                    (Comparison::LessEqual, true) => self.facts.push(difference(a, b)),
                    (Comparison::Less, false) => self.facts.push(difference(b, a)),
                    (Comparison::LessEqual, false) => self.facts.push(difference(b, a).minus(1)),
                    (Comparison::Equal, true) | (Comparison::NotEqual, false) => {
                        self.facts.extend([difference(a, b), difference(b, a)]);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// Whether data have a part in a condition.
pub(super) fn is_chance(condition: &Condition) -> bool {
    match condition {
        Condition::Compare(..) => false,
        Condition::Chance(_) => true,
        Condition::And(a, b) | Condition::Or(a, b) => is_chance(a) || is_chance(b),
        Condition::Not(a) => is_chance(a),
    }
}

/// Two conditions; two on data are one.
fn joined(a: Condition, b: Condition, and: bool) -> Condition {
    match (a, b) {
        (Condition::Chance(a), Condition::Chance(_)) => Condition::Chance(a),
        (Condition::And(first, a), Condition::Chance(p)) if and && matches!(*a, Condition::Chance(_)) => {
            Condition::And(first, Box::new(Condition::Chance(p)))
        }
        (a, b) if and => Condition::And(Box::new(a), Box::new(b)),
        (a, b) => Condition::Or(Box::new(a), Box::new(b)),
    }
}

/// A comparison that loop variables and parameters decide, or the source alone.
fn compared(op: CmpOp, left: &Value, right: &Value) -> Option<Test> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => {
            let (a, b) = (a.clone(), b.clone());
            let (a, comparison, b) = match op {
                CmpOp::Lt => (a, Comparison::Less, b),
                CmpOp::LtE => (a, Comparison::LessEqual, b),
                CmpOp::Gt => (b, Comparison::Less, a),
                CmpOp::GtE => (b, Comparison::LessEqual, a),
                CmpOp::Eq | CmpOp::Is => (a, Comparison::Equal, b),
                CmpOp::NotEq | CmpOp::IsNot => (a, Comparison::NotEqual, b),
                _ => return None,
            };
            Some(Test::On(Condition::Compare(a, comparison, b)))
        }
        (Value::None, Value::None) => Some(Test::Known(matches!(op, CmpOp::Is | CmpOp::Eq))),
        (Value::None, _) | (_, Value::None) => match op {
            CmpOp::Is | CmpOp::Eq => Some(Test::Known(false)),
            CmpOp::IsNot | CmpOp::NotEq => Some(Test::Known(true)),
            _ => None,
        },
        (Value::Text(a), Value::Text(b)) => match op {
            CmpOp::Eq => Some(Test::Known(a == b)),
            CmpOp::NotEq => Some(Test::Known(a != b)),
            _ => None,
        },
        (Value::Literal(a), Value::Literal(b)) => match op {
            CmpOp::Lt => Some(Test::Known(a < b)),
            CmpOp::LtE => Some(Test::Known(a <= b)),
            CmpOp::Gt => Some(Test::Known(a > b)),
            CmpOp::GtE => Some(Test::Known(a >= b)),
            CmpOp::Eq => Some(Test::Known((a - b).abs() == 0.0)),
            CmpOp::NotEq => Some(Test::Known((a - b).abs() > 0.0)),
            _ => None,
        },
        (Value::Literal(_), Value::Int(Expr::Const(b))) => compared(op, left, &Value::Literal(*b as f64)),
        (Value::Int(Expr::Const(a)), Value::Literal(_)) => compared(op, &Value::Literal(*a as f64), right),
        (Value::Bool(a), Value::Bool(b)) => match op {
            CmpOp::Eq | CmpOp::Is => Some(Test::Known(a == b)),
            CmpOp::NotEq | CmpOp::IsNot => Some(Test::Known(a != b)),
            _ => None,
        },
        _ => None,
    }
}
