//! Loops: what they run over, and what an iteration leaves to the next.

use std::collections::BTreeMap;

use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{Expr as Tree, ExprCall, Stmt, StmtFor, StmtWhile};

use super::lower::{Around, PythonLowering};
use super::tree::{assigned, call_name, integer};
use super::value::{Value, View};
use crate::expr::Expr;
use crate::nest::{At, Loop, Node};
use crate::normal::tidy;
use crate::source::{MAX_DEPTH, is_name, refuse};
use accel_ground::error::Error;

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
    /// A number of iterations that only the user knows, with a counter that data decide.
    Trips(Expr),
}

impl<'a> PythonLowering<'a> {
    /// What a loop runs over.
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
                            // Without iterations, the last value lies before the first, and so it stays.
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
                self.refuse(iter, format!("a loop over {}", other.description()), cure)
            }
        }
    }

    /// `range(lower, upper, step)`.
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
            self.assume(at, "the comment on its iterations is ignored: the range gives them");
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

    /// The iterations that a comment gives.
    fn trips_of(&mut self, text: &str, at: At) -> Result<Expr, Error> {
        let rounds = match text.parse::<i64>() {
            Ok(number) if number >= 0 => Expr::Const(number),
            _ if is_name(text) => self.builder.parameter(text).into(),
            _ => {
                return Err(refuse(
                    at,
                    format!("\"{text}\" is no number of iterations"),
                    "Write `# trips: 10` or `# trips: N`",
                ));
            }
        };
        self.assume(at, format!("the loop runs {text} iterations, as the comment says"));
        Ok(rounds)
    }

    /// How many iterations a loop over it has.
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

    /// What the loop's target stands for in iteration `round`.
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

    /// `for`.
    pub(super) fn for_loop(&mut self, f: &'a StmtFor) -> Result<(), Error> {
        let at = self.at(f);
        if f.is_async {
            return self.refuse(f, "`async` is not read", "Write a plain loop");
        }
        self.over(&f.target, &f.iter, &left(&f.body), at, |own| {
            own.block(&f.body)?;
            own.materialise_all()
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

    /// A loop in which `names` are assigned, those that are true with what comes from arrays; `inside` reads what is
    /// done in each iteration.
    fn looped(
        &mut self,
        (lower, upper, step): (Expr, Expr, i64),
        name: &str,
        names: &BTreeMap<&str, bool>,
        at: At,
        inside: impl FnOnce(&mut Self, Expr) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.loops.len() >= MAX_DEPTH {
            return Err(refuse(
                at,
                format!("loops nest more than {MAX_DEPTH} deep"),
                "ArrayVisitor at the inner loops alone",
            ));
        }
        let var = self.builder.variable(name);
        // What an iteration leaves to the next is not known as an expression.
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

    /// A name stands for another array in the next iteration: the first iteration's arrays stand for those of all.
    fn rebound(&mut self, name: &str, before: &View, after: &View, at: At) -> Result<(), Error> {
        let same =
            before.dims.len() == after.dims.len() && before.dims.iter().zip(&after.dims).all(|(a, b)| self.unify(a, b));
        if !same {
            let problem = format!("{name} changes its shape from iteration to iteration");
            return Err(refuse(at, problem, "Give each shape a name of its own"));
        }
        self.assume(at, format!("each iteration uses {name} as the first one does"));
        Ok(())
    }

    /// `while`, of which a comment says how often it runs.
    pub(super) fn while_loop(&mut self, w: &'a StmtWhile) -> Result<(), Error> {
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
                    own.materialise_all()
                })
            }
        }
    }
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
    // `y = a[i]` below `x = y`: what comes back is seen the second time.
    walk(body, false, &mut names);
    walk(body, false, &mut names);
    names
}

/// Whether an expression looks into an array, or at a name that does.
fn from_arrays(expr: &Tree, names: &BTreeMap<&str, bool>) -> bool {
    struct ArrayVisitor<'n>(&'n BTreeMap<&'n str, bool>, bool);
    impl<'t> Visitor<'t> for ArrayVisitor<'_> {
        fn visit_expr(&mut self, expr: &'t Tree) {
            match expr {
                Tree::Subscript(_) => self.1 = true,
                Tree::Name(name) => self.1 |= self.0.get(name.id.as_str()).copied().unwrap_or_default(),
                other => walk_expr(self, other),
            }
        }
    }
    let mut visitor = ArrayVisitor(names, false);
    visitor.visit_expr(expr);
    visitor.1
}
