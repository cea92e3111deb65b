//! `while` loops whose iterations the source gives: a counter that steps to a bound.

use ruff_python_ast::{CmpOp, Expr as Tree, Operator, Stmt, StmtWhile};

use super::condition::Test;
use super::loops::left;
use super::lower::PythonLowering;
use super::tree::integer;
use super::value::Value;
use accel_ground::error::Error;

/// A loop that doubles or halves its counter has at most as many iterations.
const MAX_ITERATIONS: usize = 64;

/// How a counter changes.
enum Change {
    /// By a sum.
    Step(i64),
    /// In another way, such as doubled.
    Other,
}

impl<'a> PythonLowering<'a> {
    /// Reads a loop whose counter gives its iterations; false where it has none.
    pub(super) fn counted_while(&mut self, w: &'a StmtWhile) -> Result<bool, Error> {
        let at = self.at(w);
        let Tree::Compare(compare) = &*w.test else { return Ok(false) };
        let ([op], [right]) = (compare.ops.as_ref(), compare.comparators.as_ref()) else { return Ok(false) };
        // The counter stands on either side.
        let (name, bound, op) = match (&*compare.left, right) {
            (Tree::Name(name), bound) if changes(&w.body, name.id.as_str()).is_some() => (name, bound, *op),
            (bound, Tree::Name(name)) => (name, bound, mirrored(*op)),
            _ => return Ok(false),
        };
        let name = name.id.as_str();
        let Some(change) = changes(&w.body, name) else { return Ok(false) };
        let Some(Value::Int(first)) = self.lookup(name) else { return Ok(false) };
        let step = match change {
            Change::Step(step) => step,
            Change::Other => return self.one_by_one(w),
        };
        let assigned = super::tree::assigned(&w.body);
        let fixed = |expr: &Tree| match expr {
            Tree::Name(bound) => !assigned.contains(bound.id.as_str()),
            Tree::NumberLiteral(_) | Tree::UnaryOp(_) | Tree::BinOp(_) | Tree::Call(_) | Tree::Attribute(_) => true,
            _ => false,
        };
        if !fixed(bound) {
            return Ok(false);
        }
        let bound = self.eval(bound)?;
        let Some(bound) = self.known_integer(bound) else { return Ok(false) };
        let upper = match (op, step > 0) {
            (CmpOp::Lt, true) | (CmpOp::Gt, false) => bound,
            (CmpOp::NotEq, _) if step.abs() == 1 => bound,
            (CmpOp::LtE, true) => bound.plus(1),
            (CmpOp::GtE, false) => bound.minus(1),
            _ => return Ok(false),
        };
        let mut names = left(&w.body);
        names.remove(name);
        let (lower, upper) = (self.tidy(&first, at)?, self.tidy(&upper, at)?);
        let rounds = Self::rounds(&lower, &upper, step);
        self.looped((lower.clone(), upper, step), name, &names, at, |own, var| {
            own.work.at = at;
            own.bind(name, Value::Int(var));
            own.block(&w.body)?;
            own.materialise_all()
        })?;
        let end = self.tidy(&lower.plus(rounds.max(0).times(step)), at)?;
        self.bind(name, Value::Int(end));
        Ok(true)
    }

    /// Reads iteration by iteration, while parameters alone decide whether there is another.
    pub(super) fn one_by_one(&mut self, w: &'a StmtWhile) -> Result<bool, Error> {
        let at = self.at(w);
        for number in 0..=MAX_ITERATIONS {
            let holds = match self.test(&w.test, at)? {
                Test::Known(holds) => Some(holds),
                Test::On(condition) => self.decide(&condition),
            };
            match holds {
                Some(false) => return Ok(true),
                None if number == 0 => return Ok(false),
                Some(true) if number < MAX_ITERATIONS => {}
                _ => return self.refuse(w, "how often this loop runs depends on data", "Say it: `# trips: N`"),
            }
            self.step(at)?;
            self.block(&w.body)?;
        }
        Ok(true)
    }
}

/// How a body changes a counter, if it does so once, outside conditions and inner loops.
fn changes(body: &[Stmt], name: &str) -> Option<Change> {
    let is_name = |expr: &Tree| matches!(expr, Tree::Name(own) if own.id.as_str() == name);
    let mut found = None;
    for stmt in body {
        let change = match stmt {
            Stmt::AugAssign(assign) if is_name(&assign.target) => Some((assign.op, integer(&assign.value))),
            Stmt::Assign(assign) if assign.targets.iter().any(is_name) => match &*assign.value {
                Tree::BinOp(op) if is_name(&op.left) => Some((op.op, integer(&op.right))),
                Tree::BinOp(op) if is_name(&op.right) && op.op == Operator::Add => Some((op.op, integer(&op.left))),
                _ => return None,
            },
            Stmt::For(_) | Stmt::While(_) | Stmt::If(_) | Stmt::With(_)
                if super::tree::assigned(std::slice::from_ref(stmt)).contains(name) =>
            {
                return None;
            }
            _ => continue,
        };
        if found.is_some() {
            return None;
        }
        found = Some(match change? {
            (Operator::Add, Some(step)) if step != 0 => Change::Step(step),
            (Operator::Sub, Some(step)) if step != 0 => Change::Step(step.checked_neg()?),
            (Operator::Mult | Operator::FloorDiv | Operator::LShift | Operator::RShift, Some(_)) => Change::Other,
            _ => return None,
        });
    }
    found
}

/// A comparison with its sides swapped.
fn mirrored(op: CmpOp) -> CmpOp {
    match op {
        CmpOp::Lt => CmpOp::Gt,
        CmpOp::LtE => CmpOp::GtE,
        CmpOp::Gt => CmpOp::Lt,
        CmpOp::GtE => CmpOp::LtE,
        other => other,
    }
}
