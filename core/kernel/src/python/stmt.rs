//! Statements: loops, conditions, assignments, calls unfolded.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{BoolOp, Expr as Tree, ExprCall, Operator, Stmt, StmtFor, StmtFunctionDef, StmtIf, StmtWhile};

use super::expr::is_chance;
use super::lower::{Around, Lower, assigned};
use super::usage::integer;
use super::value::{Lazy, Value, View};
use crate::expr::Expr;
use crate::nest::{At, Branch, Comparison, Condition, Element, Loop, Node};
use crate::normal::tidy;
use crate::source::{Extent, Fusion, MAX_DEPTH, Shape, refuse};
use accel_core::error::Error;

/// Whether a block ends in `return`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// What stands behind it runs.
    Next,
    /// It does not.
    Returned,
}

/// What is looped over.
enum Iter {
    Range {
        lower: Expr,
        upper: Expr,
        step: i64,
    },
    Rows(View),
    Enumerate(Box<Iter>, Expr),
    Zip(Vec<Iter>),
    /// A number of rounds that only the user knows, with a counter that data decide.
    Trips(Expr),
}

/// A condition.
pub(super) enum Test {
    /// The source alone decides it.
    Known(bool),
    /// Loop variables, parameters or data decide it.
    On(Condition),
}

/// An arm of a chain of conditions: its condition, none for `else`, and what is done.
#[derive(Clone, Copy)]
struct Arm<'a> {
    at: At,
    test: Option<Tests<'a>>,
    body: &'a [Stmt],
}

/// A condition, or some of those that `and` (or `or`, if false) joins.
#[derive(Clone, Copy)]
enum Tests<'a> {
    One(&'a Tree),
    Some(&'a [Tree], bool),
}

impl<'a> Tests<'a> {
    /// The parts before the first that looks into an array, and the rest, where there are both.
    fn split(self) -> (Self, Option<Self>) {
        let Self::One(Tree::BoolOp(op)) = self else { return (self, None) };
        let and = op.op == BoolOp::And;
        let first = op.values.iter().position(looks).unwrap_or(op.values.len());
        match op.values.split_at_checked(first) {
            Some((first, second)) if !first.is_empty() && !second.is_empty() => {
                (Self::Some(first, and), Some(Self::Some(second, and)))
            }
            _ => (self, None),
        }
    }

    /// Whether all parts must hold.
    fn all(self) -> bool {
        matches!(self, Self::Some(_, true))
    }
}

/// Whether a condition looks into an array, or may.
fn looks(test: &Tree) -> bool {
    match test {
        Tree::Name(_) | Tree::NumberLiteral(_) | Tree::BooleanLiteral(_) | Tree::NoneLiteral(_) => false,
        Tree::StringLiteral(_) => false,
        Tree::BinOp(op) => looks(&op.left) || looks(&op.right),
        Tree::UnaryOp(op) => looks(&op.operand),
        Tree::Compare(compare) => looks(&compare.left) || compare.comparators.iter().any(looks),
        Tree::BoolOp(op) => op.values.iter().any(looks),
        _ => true,
    }
}

impl<'a> Lower<'a> {
    /// Reads all of what is looked at.
    pub(super) fn whole_body(&mut self, body: &'a [Stmt]) -> Result<(), Error> {
        self.block(body)?;
        self.settle_all()?;
        self.flush();
        self.builder.program.body = std::mem::take(&mut self.out);
        Ok(())
    }

    /// Reads statements in order; a condition that returns takes what stands behind it as its other arm.
    pub(super) fn block(&mut self, body: &'a [Stmt]) -> Result<(Flow, Value), Error> {
        for (number, stmt) in body.iter().enumerate() {
            let at = self.at(stmt);
            self.step(at)?;
            self.flush();
            self.work.at = at;
            self.reads.clear();
            if let Stmt::If(branch) = stmt {
                let rest = body.get(number + 1..).unwrap_or_default();
                match self.deeper(at, 3, |own| own.branch(branch, rest))? {
                    (Flow::Next, _) => {}
                    returned => return Ok(returned),
                }
            } else if let Stmt::Return(result) = stmt {
                if self.frames.last().is_some_and(|frame| frame.loops < self.loops.len()) {
                    return self.refuse(
                        stmt,
                        "`return` in a loop: how many rounds run depends on data",
                        "Let the loop run to its end",
                    );
                }
                let value = match &result.value {
                    Some(value) => self.eval(value)?,
                    None => Value::None,
                };
                // What is returned to a function that is read too may be done there.
                let value = if self.calls.len() > 1 { value } else { self.settle_deep(value, "result")? };
                self.flush();
                return Ok((Flow::Returned, value));
            } else {
                self.stmt(stmt)?;
            }
            self.flush();
        }
        Ok((Flow::Next, Value::None))
    }

    /// Array operations still to be done, done; a tuple's too.
    pub(super) fn settle_deep(&mut self, value: Value, name: &str) -> Result<Value, Error> {
        Ok(match value {
            Value::Lazy(lazy) => Value::View(self.named(*lazy, name)?),
            Value::Tuple(parts) => {
                let parts = parts.into_iter().map(|part| self.settle_deep(part, name));
                Value::Tuple(parts.collect::<Result<_, _>>()?)
            }
            Value::View(view) => {
                self.rename(&view, name);
                Value::View(view)
            }
            other => other,
        })
    }

    /// Does what is still to be done, into an array that the source names.
    fn named(&mut self, lazy: Lazy, name: &str) -> Result<View, Error> {
        let view = self.materialise(lazy, name)?;
        self.rename(&view, name);
        Ok(view)
    }

    /// Gives a temporary array the name that the source gives it.
    fn rename(&mut self, view: &View, name: &str) {
        if let Some(array) = self.builder.program.arrays.get_mut(view.array).filter(|array| array.temporary)
            && view.dims.len() == array.dims.len()
        {
            name.clone_into(&mut array.name);
            array.temporary = false;
        }
    }

    /// Does what assignments before have left to do.
    pub(super) fn settle_all(&mut self) -> Result<(), Error> {
        if self.source.fusion != Fusion::Function {
            return Ok(());
        }
        let names: Vec<String> = (self.frames.last().into_iter().flat_map(|frame| &frame.names))
            .filter(|(_, value)| matches!(value, Value::Lazy(_)))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            if let Some(Value::Lazy(lazy)) = self.lookup(&name) {
                let view = self.named(*lazy, &name)?;
                self.bind(&name, Value::View(view));
            }
        }
        Ok(())
    }

    fn stmt(&mut self, stmt: &'a Stmt) -> Result<(), Error> {
        if !matches!(stmt, Stmt::Assign(_) | Stmt::Pass(_)) {
            self.settle_all()?;
        }
        let at = self.at(stmt);
        match stmt {
            Stmt::Assign(assign) => self.assign(&assign.targets, &assign.value, at),
            Stmt::AnnAssign(assign) => match &assign.value {
                Some(value) => self.assign(std::slice::from_ref(&assign.target), value, at),
                None => Ok(()),
            },
            Stmt::AugAssign(assign) => self.compound(&assign.target, assign.op, &assign.value, at),
            Stmt::For(f) => self.for_loop(f),
            Stmt::While(w) => self.while_loop(w),
            Stmt::Expr(expr) => self.expression(&expr.value),
            Stmt::FunctionDef(function) => {
                self.functions.insert(function.name.as_str(), function);
                Ok(())
            }
            Stmt::Import(_) | Stmt::ImportFrom(_) => {
                self.import(stmt);
                Ok(())
            }
            Stmt::Pass(_) | Stmt::Assert(_) | Stmt::Delete(_) | Stmt::Global(_) => Ok(()),
            Stmt::Raise(_) => {
                self.assume(at, "`raise` is taken never to happen");
                Ok(())
            }
            Stmt::Break(_) | Stmt::Continue(_) => {
                let cure = "Write it as a condition on the loop's body, or the bound into the loop";
                self.refuse(stmt, "`break` and `continue`: how many rounds run depends on data", cure)
            }
            Stmt::ClassDef(_) => self.refuse(stmt, "classes are not read", "Write the method as a function"),
            Stmt::With(_) => self.refuse(stmt, "`with` is not read", "Give only what stands inside"),
            Stmt::Try(_) => self.refuse(stmt, "`try` is not read", "Give only what stands inside"),
            Stmt::Match(_) => self.refuse(stmt, "`match` is not read", "Write it with `if`"),
            other => {
                self.refuse(other, "this statement is not read", "Give only loops, assignments, conditions and calls")
            }
        }
    }

    pub(super) fn import(&mut self, stmt: &'a Stmt) {
        if let Stmt::ImportFrom(import) = stmt {
            for alias in &import.names {
                let name = alias.asname.as_ref().unwrap_or(&alias.name);
                self.imports.insert(name.as_str(), alias.name.as_str());
            }
        }
    }

    fn expression(&mut self, expr: &'a Tree) -> Result<(), Error> {
        if matches!(expr, Tree::StringLiteral(_) | Tree::EllipsisLiteral(_)) {
            return Ok(());
        }
        let value = self.eval(expr)?;
        self.settle_deep(value, "result")?;
        Ok(())
    }

    // Assignments.

    fn assign(&mut self, targets: &'a [Tree], value: &'a Tree, at: At) -> Result<(), Error> {
        // `a, b = c, d` part by part, but `u, v = v, u` reads both before it writes.
        if let ([Tree::Name(name)], 1, Some(_)) = (targets, self.frames.len(), integer(value))
            && let Some(Value::Int(Expr::Symbol(_))) = self.lookup(name.id.as_str())
        {
            // A parameter already, with that value unless the user gave another.
            return Ok(());
        }
        let value = self.eval(value)?;
        for target in targets {
            self.assign_to(target, value.clone(), at)?;
        }
        Ok(())
    }

    pub(super) fn assign_to(&mut self, target: &'a Tree, value: Value, at: At) -> Result<(), Error> {
        match target {
            Tree::Name(name) => self.assign_name(name.id.as_str(), value),
            Tree::Tuple(_) | Tree::List(_) => {
                let parts = match target {
                    Tree::Tuple(tuple) => &tuple.elts,
                    Tree::List(list) => &list.elts,
                    _ => return Ok(()),
                };
                let values = self.unpack(value, parts.len(), target)?;
                parts.iter().zip(values).try_for_each(|(part, value)| self.assign_to(part, value, at))
            }
            Tree::Subscript(_) => {
                let value = self.known(value, 1, at)?;
                if let Value::Lazy(_) | Value::View(_) = value {
                    self.settle_all()?;
                }
                let view = self.target(target)?;
                let own = self.at(target);
                self.store(&view, value, own)
            }
            other => self.refuse(other, "this cannot be assigned to", "Assign to a name or to elements of an array"),
        }
    }

    fn unpack(&mut self, value: Value, parts: usize, target: &'a Tree) -> Result<Vec<Value>, Error> {
        let at = self.at(target);
        let values = match self.known(value, 1, at)? {
            Value::Tuple(values) => values,
            Value::View(view) if !view.dims.is_empty() => {
                (0..parts as i64).map(|row| self.row(&view, &Expr::Const(row), at)).collect::<Result<_, _>>()?
            }
            other => {
                return self.refuse(target, format!("{} cannot be taken apart", other.what()), "Assign it to one name");
            }
        };
        if values.len() != parts {
            let problem = format!("{} values for {parts} names", values.len());
            return self.refuse(target, problem, "There must be as many on both sides");
        }
        Ok(values)
    }

    fn assign_name(&mut self, name: &str, value: Value) -> Result<(), Error> {
        let value = match value {
            Value::Lazy(lazy) => {
                // Left for the next statement where it is the only one to use it.
                let reads =
                    self.frames.last().and_then(|frame| frame.usage.names.get(name)).map_or(0, |found| found.reads);
                if self.source.fusion == Fusion::Function && reads == 1 && self.loops.is_empty() {
                    Value::Lazy(lazy)
                } else {
                    Value::View(self.named(*lazy, name)?)
                }
            }
            Value::View(view) => {
                self.rename(&view, name);
                Value::View(view)
            }
            other => other,
        };
        if value.is_number() {
            self.work.scalars.writes += 1;
            self.work.carried |= self.reads.contains(name) && !self.loops.is_empty();
        }
        self.bind(name, value);
        Ok(())
    }

    /// `target op= value`: what is added is read first, then the target, then the target is written.
    fn compound(&mut self, target: &'a Tree, op: Operator, value: &'a Tree, at: At) -> Result<(), Error> {
        let added = self.eval(value)?;
        let old = match target {
            Tree::Name(_) => self.eval(target)?,
            Tree::Subscript(_) => Value::View(self.target(target)?),
            other => {
                return self.refuse(other, "this cannot be assigned to", "Assign to a name or to elements of an array");
            }
        };
        let own = self.at(target);
        match (old, target) {
            (Value::View(view), _) if view.dims.is_empty() => {
                let added = self.known(added, 1, at)?;
                let loaded = self.load(&view, own);
                let value = self.arithmetic(op, (loaded, own), (added, own), at)?;
                self.store(&view, value, own)
            }
            (old, Tree::Name(name)) if !old.is_array() && !matches!(old, Value::Unknown(_)) => {
                let value = self.arithmetic(op, (old, own), (added, own), at)?;
                self.assign_name(name.id.as_str(), value)
            }
            (old, _) => {
                let (old, added) = self.pair(old, added, at)?;
                match old {
                    Value::View(view) => self.in_place(op, &view, added, at),
                    old => {
                        let value = self.arithmetic(op, (old, own), (added, own), at)?;
                        self.assign_to(target, value, at)
                    }
                }
            }
        }
    }

    // Loops.

    fn iter(&mut self, iter: &'a Tree) -> Result<Iter, Error> {
        let at = self.at(iter);
        if let Tree::Call(call) = iter
            && let Some(name) = call_name(call).filter(|name| !self.functions.contains_key(name))
        {
            let args = &call.arguments.args;
            match (name, args.as_ref()) {
                ("range" | "prange" | "arange", args) => return self.range(call, args),
                ("reversed", [inner]) => {
                    return match self.iter(inner)? {
                        Iter::Range { lower, upper, step } => {
                            let last = tidy(&Self::last(&lower, &upper, step));
                            // Without rounds, the last value lies before the first, and so it stays.
                            let before = tidy(&lower.minus(step.signum()));
                            let last = if step.abs() == 1 { last } else { tidy(&last) };
                            Ok(Iter::Range { lower: last, upper: before, step: -step })
                        }
                        _ => self.refuse(inner, "only a range can be reversed", "Write `reversed(range(...))`"),
                    };
                }
                ("enumerate", [inner, start @ ..]) => {
                    let keyword = call.arguments.find_keyword("start").map(|keyword| &keyword.value);
                    let start = match start.first().or(keyword) {
                        Some(start) => self.whole(start)?,
                        None => Expr::Const(0),
                    };
                    return Ok(Iter::Enumerate(Box::new(self.iter(inner)?), start));
                }
                ("zip", inner @ [_, ..]) => {
                    let inner = inner.iter().map(|inner| self.iter(inner)).collect::<Result<_, _>>()?;
                    return Ok(Iter::Zip(inner));
                }
                _ => {}
            }
        }
        let value = self.eval(iter)?;
        match self.known(value, 1, at)? {
            Value::View(view) if !view.dims.is_empty() => Ok(Iter::Rows(view)),
            Value::Lazy(lazy) => Ok(Iter::Rows(self.materialise(*lazy, "rows")?)),
            other => {
                let cure = "Loop over `range(...)`, an array, `enumerate`, `zip` or `reversed`";
                self.refuse(iter, format!("a loop over {}", other.what()), cure)
            }
        }
    }

    fn range(&mut self, call: &'a ExprCall, args: &'a [Tree]) -> Result<Iter, Error> {
        let at = self.at(call);
        if let Some(trips) = Self::comment(self.trips, at) {
            let mut known = true;
            for arg in args {
                known &= matches!(self.number_of(arg)?, Value::Int(_) | Value::Bool(_));
            }
            if !known {
                return Ok(Iter::Trips(self.trips_of(trips, at)?));
            }
            self.assume(at, "the comment on its rounds is left out: the range gives them");
        }
        let (lower, upper, step) = match args {
            [upper] => (Expr::Const(0), self.whole(upper)?, Expr::Const(1)),
            [lower, upper] => (self.whole(lower)?, self.whole(upper)?, Expr::Const(1)),
            [lower, upper, step] => (self.whole(lower)?, self.whole(upper)?, self.whole(step)?),
            _ => return self.refuse(call, "a range takes one to three numbers", "Write `range(n)`"),
        };
        let step = match self.number(&step) {
            Some(0) => return self.refuse(call, "the step of this range is zero", "Give another step"),
            Some(step) if step.checked_neg().is_some_and(|back| back.checked_sub(1).is_some()) => step,
            _ => return self.refuse(call, "the step of this range is not known", "Give a number or a parameter"),
        };
        Ok(Iter::Range { lower, upper, step })
    }

    fn trips_of(&mut self, text: &str, at: At) -> Result<Expr, Error> {
        let rounds = match text.parse::<i64>() {
            Ok(number) if number >= 0 => Expr::Const(number),
            _ if crate::source::is_name(text) => self.builder.parameter(text).into(),
            _ => {
                return Err(refuse(
                    at,
                    format!("\"{text}\" is no number of rounds"),
                    "Write `# trips: 10` or `# trips: N`",
                ));
            }
        };
        self.assume(at, format!("the loop runs {text} rounds, as the comment says"));
        Ok(rounds)
    }

    /// An integer expression of parameters and loop variables.
    pub(super) fn whole(&mut self, expr: &'a Tree) -> Result<Expr, Error> {
        match self.eval(expr)? {
            Value::Int(expr) => Ok(expr),
            Value::Bool(value) => Ok(Expr::Const(value.into())),
            Value::Unknown(name) => {
                let value: Expr = self.builder.parameter(&name).into();
                self.resolved.insert(name, Value::Int(value.clone()));
                Ok(value)
            }
            other => {
                let problem = format!("`{}` is {} that only a run would know", clip(self.text(expr)), other.what());
                self.refuse(
                    expr,
                    problem,
                    "Only parameters, constants and loop variables can stand here; \
                    a comment `# trips: N` says how often a loop runs",
                )
            }
        }
    }

    /// How many rounds a loop over it has.
    fn rounds_of(&self, iter: &Iter) -> Expr {
        match iter {
            Iter::Range { lower, upper, step } => Self::rounds(lower, upper, *step),
            Iter::Rows(view) => view.dims.first().cloned().unwrap_or(Expr::Const(0)),
            Iter::Enumerate(inner, _) => self.rounds_of(inner),
            Iter::Zip(inner) => {
                inner.iter().map(|inner| self.rounds_of(inner)).reduce(|a, b| tidy(&a.min(b))).unwrap_or(Expr::Const(0))
            }
            Iter::Trips(rounds) => rounds.clone(),
        }
    }

    /// What the loop's target stands for in round `round`.
    fn round(&mut self, iter: &Iter, round: &Expr, at: At) -> Result<Value, Error> {
        Ok(match iter {
            Iter::Range { lower, step, .. } => Value::Int(tidy(&round.clone().times(*step).plus(lower.clone()))),
            Iter::Rows(view) => self.row(view, round, at)?,
            Iter::Enumerate(inner, start) => {
                let number = Value::Int(tidy(&round.clone().plus(start.clone())));
                Value::Tuple(vec![number, self.round(inner, round, at)?])
            }
            Iter::Zip(inner) => {
                Value::Tuple(inner.iter().map(|inner| self.round(inner, round, at)).collect::<Result<_, _>>()?)
            }
            Iter::Trips(_) => Value::Scalar(false),
        })
    }

    fn for_loop(&mut self, f: &'a StmtFor) -> Result<(), Error> {
        let at = self.at(f);
        if f.is_async {
            return self.refuse(f, "`async` is not read", "Write a plain loop");
        }
        self.over(&f.target, &f.iter, &left(&f.body), at, |own| {
            own.block(&f.body)?;
            own.settle_all()
        })?;
        if !f.orelse.is_empty() {
            self.block(&f.orelse)?;
        }
        Ok(())
    }

    /// `for target in iter`, in which `names` are assigned, those that are true with what comes from arrays.
    pub(super) fn over(
        &mut self,
        target: &'a Tree,
        iter: &'a Tree,
        names: &BTreeMap<&str, bool>,
        at: At,
        inside: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let iter = self.iter(iter)?;
        self.flush();
        let range = match &iter {
            Iter::Range { lower, upper, step } => (lower.clone(), upper.clone(), *step),
            other => (Expr::Const(0), self.rounds_of(other), 1),
        };
        let name = match target {
            Tree::Name(name) => name.id.as_str(),
            _ => "i",
        };
        self.looped(range, name, names, at, |own, var| {
            own.work.at = at;
            let value = match &iter {
                Iter::Range { .. } => Value::Int(var),
                other => own.round(other, &var, at)?,
            };
            match (target, value) {
                // A counter is no scalar variable.
                (Tree::Name(name), value @ Value::Int(_)) => own.bind(name.id.as_str(), value),
                (target, value) => own.assign_to(target, value, at)?,
            }
            own.flush();
            inside(own)
        })
    }

    /// A loop in which `names` are assigned, those that are true with what comes from arrays; `inside` reads what is done in each round.
    fn looped(
        &mut self,
        (lower, upper, step): (Expr, Expr, i64),
        name: &str,
        names: &BTreeMap<&str, bool>,
        at: At,
        inside: impl FnOnce(&mut Self, Expr) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.loops.len() >= MAX_DEPTH {
            return Err(refuse(at, format!("loops nest more than {MAX_DEPTH} deep"), "Look at the inner loops alone"));
        }
        let var = self.builder.variable(name);
        // What a round leaves to the next is not known as an expression.
        let mut before: BTreeMap<&str, Value> = BTreeMap::new();
        for (name, by_data) in names {
            match self.lookup(name) {
                Some(Value::Int(_) | Value::Bool(_) | Value::Counter(false)) => {
                    self.bind(name, Value::computed(false, *by_data));
                }
                Some(Value::Literal(_) | Value::Counter(true)) => self.bind(name, Value::computed(true, *by_data)),
                Some(value @ (Value::View(_) | Value::Unknown(_))) => {
                    before.insert(name, value);
                }
                _ => {}
            }
        }
        let ends = (lower.clone(), tidy(&Self::last(&lower, &upper, step)));
        let below = tidy(&upper.clone().minus(step.signum()));
        let (least, greatest) = if step > 0 { ends } else { (ends.1, ends.0) };
        let below = if step > 0 { below } else { greatest.clone() };
        self.loops.push(Around { var, least, greatest, below, step });
        let read = self.block_of(|own| own.deeper(at, 2, |own| inside(own, Expr::Symbol(var))));
        let around = self.loops.pop();
        let (nodes, _) = read?;
        let end = around.map(|around| if step > 0 { around.greatest } else { around.least });
        for (name, value) in before {
            let value = match value {
                Value::Unknown(argument) => self.resolved.get(&argument).cloned(),
                value => Some(value),
            };
            if let (Some(Value::View(view)), Some(Value::View(after))) = (value, self.lookup(name))
                && after.array != view.array
            {
                self.rebound(name, &view, &after, at)?;
            }
        }
        // Behind the loop its variable keeps its last value.
        let last = |symbol| if symbol == var { end.clone() } else { None };
        if let Some(frame) = self.frames.last_mut() {
            for value in frame.names.values_mut() {
                match value {
                    Value::Int(expr) if expr.mentions(var) => *expr = tidy(&expr.replaced(&last)),
                    Value::View(view) => {
                        for expr in view.index.iter_mut().chain(&mut view.dims).filter(|expr| expr.mentions(var)) {
                            *expr = tidy(&expr.replaced(&last));
                        }
                    }
                    _ => {}
                }
            }
        }
        self.out.push(Node::Loop(Loop { var, lower, upper, step: Expr::Const(step), body: nodes, at }));
        Ok(())
    }

    /// A name stands for another array in the next round: the first round's arrays stand for those of all.
    fn rebound(&mut self, name: &str, before: &View, after: &View, at: At) -> Result<(), Error> {
        let same =
            before.dims.len() == after.dims.len() && before.dims.iter().zip(&after.dims).all(|(a, b)| self.unify(a, b));
        if !same {
            let problem = format!("{name} changes its shape from round to round");
            return Err(refuse(at, problem, "Give each shape a name of its own"));
        }
        self.assume(at, format!("each round uses {name} as the first one does"));
        Ok(())
    }

    fn while_loop(&mut self, w: &'a StmtWhile) -> Result<(), Error> {
        let at = self.at(w);
        let cure = "Write a `for` loop, or say how often it runs in a comment on its line: `# trips: N`";
        match (&*w.test, Self::comment(self.trips, at)) {
            (Tree::BooleanLiteral(literal), None) if literal.value => self.refuse(w, "this loop never ends", cure),
            (test, None) if integer(test).is_some_and(|value| value != 0) => {
                self.refuse(w, "this loop never ends", cure)
            }
            (_, None) => self.refuse(w, "how often this loop runs depends on data", cure),
            (test, Some(trips)) => {
                let rounds = self.trips_of(trips, at)?;
                self.looped((Expr::Const(0), rounds, 1), "round", &left(&w.body), at, |own, _| {
                    own.work.at = at;
                    own.number_of(test)?;
                    own.block(&w.body)?;
                    own.settle_all()
                })
            }
        }
    }

    // Conditions.

    fn branch(&mut self, branch: &'a StmtIf, rest: &'a [Stmt]) -> Result<(Flow, Value), Error> {
        self.settle_all()?;
        let at = self.at(branch);
        let mut arms = vec![Arm { at, test: Some(Tests::One(&branch.test)), body: &branch.body }];
        for clause in &branch.elif_else_clauses {
            let test = clause.test.as_ref().map(Tests::One);
            arms.push(Arm { at: self.at(clause), test, body: &clause.body });
        }
        if arms.len() > MAX_DEPTH {
            return self.refuse(branch, format!("more than {MAX_DEPTH} conditions in a row"), "Write fewer `elif`");
        }
        let returns = arms.iter().any(|arm| ends(arm.body, false));
        self.arms(&arms, if returns { rest } else { &[] })
    }

    /// A chain of conditions; `rest` runs behind those arms that do not return.
    fn arms(&mut self, arms: &[Arm<'a>], rest: &'a [Stmt]) -> Result<(Flow, Value), Error> {
        let then_rest = |own: &mut Self, body: &'a [Stmt]| match own.block(body)? {
            (Flow::Next, _) if !rest.is_empty() => own.block(rest).map(|(_, value)| (Flow::Returned, value)),
            done => Ok(done),
        };
        let Some((Arm { at, test, body }, others)) = arms.split_first() else { return then_rest(self, &[]) };
        let Some(test) = test else { return then_rest(self, body) };
        self.work.at = *at;
        let decided = ends(body, true);
        // What stands behind the first part of `and` or `or` is looked at only if that part does not decide.
        let (first, second) = test.split();
        let behind: Vec<Arm<'a>> = (second.map(|test| Arm { at: *at, test: Some(test), body }).into_iter())
            .chain(others.iter().copied())
            .collect();
        let all = first.all();
        let (if_true, if_false): (&[Arm<'a>], &[Arm<'a>]) = match second {
            Some(_) if all => (&behind, others),
            Some(_) => (&[], &behind),
            None => (&[], others),
        };
        let taken = |own: &mut Self| if if_true.is_empty() { then_rest(own, body) } else { own.arms(if_true, rest) };
        let condition = match first {
            Tests::One(test) => self.test(test, *at)?,
            Tests::Some(parts, and) => self.tests(parts, and, *at)?,
        };
        let condition = match condition {
            Test::Known(true) => return taken(self),
            Test::Known(false) => return self.arms(if_false, rest),
            Test::On(condition) => condition,
        };
        // With parameters alone, an arm that returns or raises is taken or not.
        if decided && let Some(holds) = self.decide(&condition) {
            return if holds { taken(self) } else { self.arms(if_false, rest) };
        }
        self.flush();
        let changed: BTreeSet<&str> = arms.iter().map(|arm| arm.body).chain([rest]).flat_map(assigned).collect();
        let before = self.values_of(&changed);
        let facts = self.facts.len();
        self.learn(&condition, true);
        // Nothing is left to be done behind an arm that may not run.
        let done = |own: &mut Self, (flow, value): (Flow, Value)| {
            own.settle_all()?;
            Ok((flow, own.settle_deep(value, "result")?))
        };
        let then = self.block_of(|own| {
            let end = taken(own)?;
            done(own, end)
        });
        self.facts.truncate(facts);
        let (then, (flow, value)) = then?;
        let after = self.values_of(&changed);
        for (name, value) in before {
            self.rebind(name, value);
        }
        self.learn(&condition, false);
        let otherwise = self.block_of(|own| {
            let end = own.arms(if_false, rest)?;
            done(own, end)
        });
        self.facts.truncate(facts);
        let (otherwise, (other_flow, other_value)) = otherwise?;
        let by_data = is_chance(&condition);
        for (name, value) in after {
            let other = self.frames.last().and_then(|frame| frame.names.get(name)).cloned();
            let merged = match (value, other) {
                (Some(value), Some(other)) => Some(merge(value, other, by_data)),
                (value, other) => value.or(other),
            };
            self.rebind(name, merged);
        }
        self.out.push(Node::Branch(Branch { condition, then, otherwise, at: *at }));
        let flow = if flow == other_flow { flow } else { Flow::Next };
        Ok((flow, merge(value, other_value, by_data)))
    }

    /// What names of the function being read stand for.
    fn values_of<'n>(&self, names: &BTreeSet<&'n str>) -> Vec<(&'n str, Option<Value>)> {
        let own = self.frames.last().map(|frame| &frame.names);
        names.iter().map(|name| (*name, own.and_then(|own| own.get(*name)).cloned())).collect()
    }

    /// Lets a name stand for something, or for nothing, again.
    fn rebind(&mut self, name: &str, value: Option<Value>) {
        match (self.frames.last_mut(), value) {
            (Some(_), Some(value)) => self.bind(name, value),
            (Some(frame), None) => {
                frame.names.remove(name);
            }
            (None, _) => {}
        }
    }

    /// Whether a condition on parameters alone holds.
    fn decide(&self, condition: &Condition) -> Option<bool> {
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

    // Functions.

    /// Unfolds a call: its statements are done here, with its parameters standing for the arguments.
    pub(super) fn unfold(&mut self, function: &'a StmtFunctionDef, call: &'a ExprCall) -> Result<Value, Error> {
        let at = self.at(call);
        let name = function.name.as_str();
        if self.calls.contains(&name) {
            return self.refuse(
                call,
                format!("{name} calls itself: how deep it goes is not known"),
                "Write it as a loop",
            );
        }
        self.step(at)?;
        let mut given: BTreeMap<&str, Value> = BTreeMap::new();
        let parameters: Vec<_> = function.parameters.iter_non_variadic_params().collect();
        if function.parameters.vararg.is_some() || function.parameters.kwarg.is_some() {
            return self.refuse(function, "`*args` and `**kwargs` are not read", "Name the parameters");
        }
        for (number, arg) in call.arguments.args.iter().enumerate() {
            let Some(parameter) = parameters.get(number) else {
                return self.refuse(arg, format!("{name} takes {} arguments", parameters.len()), "Give as many");
            };
            let value = self.argument_value(arg)?;
            given.insert(parameter.name().as_str(), value);
        }
        for keyword in &call.arguments.keywords {
            let Some(own) = &keyword.arg else {
                return self.refuse(keyword, "`**` of arguments is not read", "Write the arguments out");
            };
            let known = parameters.iter().any(|parameter| parameter.name().as_str() == own.as_str());
            if !known || given.contains_key(own.as_str()) {
                let problem = if known { "is given twice" } else { "is no parameter" };
                return self.refuse(keyword, format!("{own} {problem} of {name}"), "Give each parameter once");
            }
            let value = self.argument_value(&keyword.value)?;
            given.insert(own.as_str(), value);
        }
        self.settle_all()?;
        let here = self.work.at;
        self.flush();
        let mut names = BTreeMap::new();
        for parameter in parameters {
            let own = parameter.name().as_str();
            let value = match (given.remove(own), parameter.default()) {
                (Some(value), _) => value,
                (None, Some(default)) => self.eval(default)?,
                (None, None) => return self.refuse(call, format!("{name} needs {own}"), "Give the argument"),
            };
            names.insert(own.to_owned(), value);
        }
        self.accept(function)?;
        self.enter(Some(function))?;
        if let Some(frame) = self.frames.last_mut() {
            frame.names = names;
        }
        self.calls.push(name);
        let done = self.deeper(at, 3, |own| own.block(&function.body));
        self.flush();
        self.calls.pop();
        self.frames.pop();
        self.work.at = here;
        done.map(|(_, value)| value)
    }

    fn argument_value(&mut self, arg: &'a Tree) -> Result<Value, Error> {
        let at = self.at(arg);
        match self.eval(arg)? {
            Value::Lazy(lazy) => Ok(Value::View(self.materialise(*lazy, "argument")?)),
            Value::View(view) if view.dims.is_empty() => Ok(self.load(&view, at)),
            other => Ok(other),
        }
    }

    /// Whether a function is one that can be read: not `async`, with known decorators.
    pub(super) fn accept(&mut self, function: &'a StmtFunctionDef) -> Result<(), Error> {
        if function.is_async {
            return self.refuse(function, "`async` is not read", "Write a plain function");
        }
        for decorator in &function.decorator_list {
            let name = match &decorator.expression {
                Tree::Call(call) => call_name(call),
                other => last_name(other),
            };
            match name {
                Some(
                    name @ ("njit" | "jit" | "vectorize" | "guvectorize" | "compile" | "no_grad" | "inference_mode"),
                ) => {
                    let at = self.at(decorator);
                    self.assume(at, format!("the decorator @{name} changes no counts"));
                }
                _ => return self.refuse(decorator, "what this decorator does is not known", "Leave it out"),
            }
        }
        Ok(())
    }

    /// What an argument of the function looked at stands for.
    pub(super) fn argument(
        &mut self,
        name: &str,
        annotation: Option<&'a Tree>,
        default: Option<&'a Tree>,
        at: At,
    ) -> Result<Value, Error> {
        let annotated = annotation.map(|annotation| self.annotation(name, annotation)).transpose()?.flatten();
        if let Some(shape) = self.source.shapes.iter().find(|shape| shape.name == name) {
            self.shapes_used.insert(&shape.name);
            let other = |own: &Shape| {
                own.dims != shape.dims || shape.element.is_some_and(|e| own.element.is_some_and(|own| own != e))
            };
            if annotated.is_some_and(|own| other(&own)) {
                self.assume(at, format!("the annotation of {name} is left out: its shape was given"));
            }
            return self.shaped(shape, "", at);
        }
        let used = self.frames.last().and_then(|frame| frame.usage.names.get(name)).cloned().unwrap_or_default();
        if self.source.defines.contains_key(name) && !used.array {
            return Ok(Value::Int(self.builder.parameter(name).into()));
        }
        if let Some(value) = annotation.map(|annotation| self.annotated(name, annotation, at)).transpose()?.flatten() {
            return Ok(value);
        }
        match default {
            Some(Tree::NumberLiteral(_)) | Some(Tree::UnaryOp(_))
                if default.and_then(integer).is_some() && used.integer =>
            {
                let value = default.and_then(integer).unwrap_or_default();
                return Ok(Value::Int(self.builder.parameter_or(name, value).into()));
            }
            Some(Tree::NumberLiteral(number)) if number.value.is_float() => return Ok(Value::Scalar(true)),
            Some(default) => return self.eval(default),
            None => {}
        }
        let plain = self.frames.last().is_some_and(|frame| frame.usage.plain);
        if (used.integer || (used.subscript && plain)) && !used.array {
            return Ok(Value::Int(self.builder.parameter(name).into()));
        }
        if let Some(value) = self.inferred(name, at)? {
            return Ok(value);
        }
        if !used.array && !used.subscript && (plain || is_scalar_name(name, &self.frames)) {
            return Ok(self.scalar_of(name));
        }
        Ok(Value::Unknown(name.to_owned()))
    }

    fn shaped(&mut self, shape: &Shape, why: &str, at: At) -> Result<Value, Error> {
        if shape.dims.is_empty() {
            return Ok(Value::Scalar(shape.element.is_none_or(Element::is_float)));
        }
        let dims = (shape.dims.iter())
            .map(|dim| match dim {
                Extent::Number(number) => Expr::Const(*number),
                Extent::Name(name) => self.builder.parameter(name).into(),
            })
            .collect();
        let element = shape.element.unwrap_or(self.source.element);
        Ok(self.given_array(&shape.name, element, dims, why, at)?.unwrap_or(Value::None))
    }

    /// What an annotation says: `"f32[M, K]"`, `Float[Array, "M K"]`, `int`, `float`.
    fn annotated(&mut self, name: &str, annotation: &'a Tree, at: At) -> Result<Option<Value>, Error> {
        match annotation {
            Tree::Name(own) if own.id.as_str() == "int" => Ok(Some(Value::Int(self.builder.parameter(name).into()))),
            Tree::Name(own) if own.id.as_str() == "float" => Ok(Some(Value::Scalar(true))),
            other => match self.annotation(name, other)? {
                Some(shape) => self.shaped(&shape, "", at).map(Some),
                None => Ok(None),
            },
        }
    }

    /// The type and the extents that an annotation gives, if it is of that form.
    fn annotation(&self, name: &str, annotation: &'a Tree) -> Result<Option<Shape>, Error> {
        let text = match annotation {
            Tree::StringLiteral(text) => text.value.to_str().to_owned(),
            Tree::Subscript(subscript) => match &*subscript.slice {
                Tree::Tuple(tuple) => match tuple.elts.as_slice() {
                    [_, Tree::StringLiteral(dims)] => {
                        let dims: Vec<&str> = dims.value.to_str().split_whitespace().collect();
                        format!("[{}]", dims.join(", "))
                    }
                    _ => return Ok(None),
                },
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        match Shape::parse_type(&text) {
            Ok((element, dims)) => Ok(Some(Shape { name: name.to_owned(), element, dims })),
            Err(problem) if annotation.is_string_literal_expr() && is_shape(&text) => {
                self.refuse(annotation, format!("\"{text}\" is no shape: {problem}"), "Write it as `f32[M, K]`")
            }
            Err(_) => Ok(None),
        }
    }
}

/// Whether a text means to be a shape: before its bracket stands nothing, a type, or letters and then digits.
fn is_shape(text: &str) -> bool {
    let Some((element, _)) = text.trim().split_once('[') else { return false };
    let letters = element.trim_end_matches(|c: char| c.is_ascii_digit());
    let numbered = letters.len() < element.len() && letters.chars().all(|c| c.is_ascii_lowercase());
    element.is_empty() || numbered || Element::named(element).is_some()
}

/// Names that a loop's body assigns, and whether elements of arrays have a part in what they are then.
fn left(body: &[Stmt]) -> BTreeMap<&str, bool> {
    fn walk<'t>(body: &'t [Stmt], inside: bool, names: &mut BTreeMap<&'t str, bool>) {
        for stmt in body {
            let (value, name) = match stmt {
                Stmt::Assign(assign) => match assign.targets.as_slice() {
                    [Tree::Name(name)] => (Some(&*assign.value), Some(name)),
                    _ => (None, None),
                },
                Stmt::AugAssign(assign) => (Some(&*assign.value), assign.target.as_name_expr()),
                Stmt::AnnAssign(assign) => (assign.value.as_deref(), assign.target.as_name_expr()),
                Stmt::For(f) => {
                    walk(&f.body, inside, names);
                    continue;
                }
                Stmt::While(w) => {
                    walk(&w.body, inside || from_arrays(&w.test, names), names);
                    continue;
                }
                Stmt::If(i) => {
                    let tests =
                        std::iter::once(&*i.test).chain(i.elif_else_clauses.iter().filter_map(|c| c.test.as_ref()));
                    let inside = inside || tests.into_iter().any(|test| from_arrays(test, names));
                    walk(&i.body, inside, names);
                    i.elif_else_clauses.iter().for_each(|clause| walk(&clause.body, inside, names));
                    continue;
                }
                _ => continue,
            };
            let Some(name) = name else { continue };
            let found = inside || value.is_some_and(|value| from_arrays(value, names));
            if let Some(own) = names.get_mut(name.id.as_str()) {
                *own |= found;
            }
        }
    }
    let mut names: BTreeMap<&str, bool> = assigned(body).into_iter().map(|name| (name, false)).collect();
    // `y = a[i]` below `x = y`: what comes round is seen the second time.
    walk(body, false, &mut names);
    walk(body, false, &mut names);
    names
}

/// Whether an expression looks into an array, or at a name that does.
fn from_arrays(expr: &Tree, names: &BTreeMap<&str, bool>) -> bool {
    struct Look<'n>(&'n BTreeMap<&'n str, bool>, bool);
    impl<'t> Visitor<'t> for Look<'_> {
        fn visit_expr(&mut self, expr: &'t Tree) {
            match expr {
                Tree::Subscript(_) => self.1 = true,
                Tree::Name(name) => self.1 |= self.0.get(name.id.as_str()).copied().unwrap_or_default(),
                other => walk_expr(self, other),
            }
        }
    }
    let mut look = Look(names, false);
    look.visit_expr(expr);
    look.1
}

/// Names that are numbers in most code, unless they come as a pair of arrays does (`gamma, beta`).
fn is_scalar_name(name: &str, frames: &[super::lower::Frame]) -> bool {
    const NAMES: [&str; 20] = [
        "alpha",
        "beta",
        "eps",
        "epsilon",
        "lr",
        "tau",
        "dt",
        "dx",
        "dy",
        "scale",
        "factor",
        "momentum",
        "learning_rate",
        "weight_decay",
        "temperature",
        "lam",
        "mu",
        "sigma",
        "theta",
        "rho",
    ];
    let with_gamma = name == "beta" && frames.last().is_some_and(|frame| frame.usage.names.contains_key("gamma"));
    NAMES.contains(&name) && !with_gamma
}

/// The last name of what is called.
pub(super) fn call_name(call: &ExprCall) -> Option<&str> {
    last_name(&call.func)
}

fn last_name(expr: &Tree) -> Option<&str> {
    match expr {
        Tree::Name(name) => Some(name.id.as_str()),
        Tree::Attribute(attribute) => Some(attribute.attr.as_str()),
        _ => None,
    }
}

/// Whether a body returns, or raises if `raises`, at its own level or in a condition there.
fn ends(body: &[Stmt], raises: bool) -> bool {
    body.iter().any(|stmt| match stmt {
        Stmt::Return(_) => true,
        Stmt::Raise(_) => raises,
        Stmt::If(inner) => {
            ends(&inner.body, raises) || inner.elif_else_clauses.iter().any(|clause| ends(&clause.body, raises))
        }
        _ => false,
    })
}

/// What a name stands for behind a condition, when it stands for one thing behind one arm and another behind the other.
fn merge(a: Value, b: Value, by_data: bool) -> Value {
    match (&a, &b) {
        _ if a == b => a,
        _ if a.is_number() && b.is_number() => {
            Value::computed(a.is_real() || b.is_real(), by_data || a.by_data() || b.by_data())
        }
        (Value::None, _) => b,
        _ => a,
    }
}

/// Enough of some code to recognise it.
pub(super) fn clip(code: &str) -> String {
    let mut text: String = code.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if code.chars().nth(40).is_some() {
        text.push_str("...");
    }
    text
}
