//! Loops: what they run over, and what an iteration leaves to the next.

use std::collections::BTreeMap;

use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{Comprehension, Expr as Tree, ExprCall, ExprDictComp, ExprListComp, Stmt, StmtFor, StmtWhile};

use super::condition::Test;
use super::lower::{Around, MAX_AXES, PythonLowering};
use super::tree::{assigned, call_name, integer};
use super::value::{Value, View};
use crate::expr::Expr;
use crate::nest::{Access, At, Loop, Node};
use crate::normal::tidy;
use crate::source::{MAX_DEPTH, is_name, refuse};
use accel_ground::error::Error;

/// What is looped over.
pub(super) enum Iter {
    Range {
        lower: Expr,
        upper: Expr,
        step: i64,
    },
    Rows(View),
    Enumerate(Box<Iter>, Expr),
    Zip(Vec<Iter>),
    /// Values of the source, each an iteration of its own.
    Items(Vec<Value>),
    /// A number of iterations that only the user knows, with a counter that data decide.
    Trips(Expr),
}

impl<'a> PythonLowering<'a> {
    /// What a loop runs over.
    pub(super) fn iter(&mut self, iter: &'a Tree) -> Result<Iter, Error> {
        let at = self.at(iter);
        if let Tree::Call(call) = iter
            && let Some(name) = call_name(call).filter(|name| !self.functions.contains_key(name))
        {
            let args = &call.arguments.args;
            match (name, args.as_ref()) {
                ("range" | "prange" | "arange", args) => {
                    if name == "prange" {
                        self.builder.program.parallel.insert(at.line);
                    }
                    return self.range(call, args);
                }
                // `[x.item() for x in torch.linspace(0, 0.1, 4)]`: rates that decide how layers are made.
                ("linspace", [first, last, count]) if self.building > 0 => {
                    let ends = (self.eval(first)?, self.eval(last)?);
                    let count = self.whole(count)?;
                    if let (Some(first), Some(last), Some(count)) =
                        (self.real_number(&ends.0), self.real_number(&ends.1), self.number(&count))
                    {
                        self.check_items(usize::try_from(count).unwrap_or_default(), at)?;
                        let step = (last - first) / (count - 1).max(1) as f64;
                        let values = (0..count).map(|number| Value::Literal(first + step * number as f64));
                        return Ok(Iter::Items(values.collect()));
                    }
                }
                ("reversed", [inner]) => {
                    return match self.iter(inner)? {
                        Iter::Range { lower, upper, step } => {
                            let last = tidy(&Self::last(&lower, &upper, step));
                            // Without iterations, the last value lies before the first, and so it stays.
                            let before = tidy(&lower.minus(step.signum()));
                            let last = if step.abs() == 1 { last } else { tidy(&last) };
                            Ok(Iter::Range { lower: last, upper: before, step: -step })
                        }
                        Iter::Items(items) => Ok(Iter::Items(items.into_iter().rev().collect())),
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
                // The columns of a matrix.
                ("zip", [Tree::Starred(rows)]) => {
                    let value = self.eval(&rows.value)?;
                    if let Some(items) = self.items_of(&value) {
                        let columns = items.first().and_then(|row| self.items_of(row)).map_or(0, |row| row.len());
                        let column = |own: &Self, at: usize| {
                            let parts = items.iter().filter_map(|row| own.items_of(row)?.get(at).cloned());
                            Value::Tuple(parts.collect())
                        };
                        return Ok(Iter::Items((0..columns).map(|at| column(self, at)).collect()));
                    }
                    let view = self.view(value, 2, at)?;
                    let mut order: Vec<usize> = (0..view.dims.len()).collect();
                    if order.len() > 1 {
                        order.swap(0, 1);
                    }
                    return Ok(Iter::Rows(view.permuted(&order)));
                }
                ("zip", inner @ [_, ..]) => {
                    let inner = inner.iter().map(|inner| self.iter(inner)).collect::<Result<_, _>>()?;
                    return Ok(Iter::Zip(inner));
                }
                _ => {}
            }
        }
        let value = self.eval(iter)?;
        if let Some(items) = self.items_of(&value) {
            return Ok(Iter::Items(items));
        }
        if let Value::Object(object) = value
            && let Some(own) = self.objects.get(object).filter(|own| own.class.is_none())
        {
            return Ok(Iter::Items(own.fields.keys().map(|key| Value::Text(key.clone())).collect()));
        }
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

    /// A range as a list.
    pub(super) fn range_items(&mut self, call: &'a ExprCall) -> Result<Value, Error> {
        let iter = self.range(call, &call.arguments.args)?;
        let at = self.at(call);
        self.iterations(&iter, at).map(Value::Tuple)
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
            Iter::Items(items) => Expr::Const(items.len() as i64),
            Iter::Trips(rounds) => rounds.clone(),
        }
    }

    /// Whether each iteration is read by itself: over values of the source.
    pub(super) fn unrolls(iter: &Iter) -> bool {
        match iter {
            Iter::Items(_) => true,
            Iter::Enumerate(inner, _) => Self::unrolls(inner),
            Iter::Zip(inner) => inner.iter().any(Self::unrolls),
            Iter::Range { .. } | Iter::Rows(_) | Iter::Trips(_) => false,
        }
    }

    /// The iterations of a loop that is read one by one; none where their number is not known.
    pub(super) fn iterations(&mut self, iter: &Iter, at: At) -> Result<Vec<Value>, Error> {
        let rounds = self.number(&self.rounds_of(iter)).and_then(|rounds| usize::try_from(rounds.max(0)).ok());
        let Some(rounds) = rounds else {
            return Err(refuse(at, "how many iterations this loop has is not known", "Give its bound as a parameter"));
        };
        self.count_items(rounds, at)?;
        (0..rounds as i64).map(|round| self.round(iter, &Expr::Const(round), at)).collect()
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
            Iter::Items(items) => match round {
                Expr::Const(round) => {
                    usize::try_from(*round).ok().and_then(|round| items.get(round)).cloned().unwrap_or(Value::None)
                }
                _ => Value::None,
            },
            Iter::Trips(_) => Value::Scalar(false),
        })
    }

    /// `for`.
    pub(super) fn for_loop(&mut self, f: &'a StmtFor) -> Result<(), Error> {
        let at = self.at(f);
        if f.is_async {
            return self.refuse(f, "`async` is not read", "Write a plain loop");
        }
        let iter = self.iter(&f.iter)?;
        if Self::unrolls(&iter) || (matches!(iter, Iter::Range { .. }) && self.by_itself(f)) {
            self.unrolled(f, &iter, at)?;
        } else {
            self.over(&f.target, iter, &left(&f.body), at, |own| {
                own.block(&f.body)?;
                own.materialise_all()
            })?;
        }
        if !f.orelse.is_empty() {
            self.block(&f.orelse)?;
        }
        Ok(())
    }

    fn unrolled(&mut self, f: &'a StmtFor, iter: &Iter, at: At) -> Result<(), Error> {
        for value in self.iterations(iter, at)? {
            self.step(at)?;
            self.assign_to(&f.target, value, at)?;
            self.deeper(at, 3, |own| own.block(&f.body))?;
        }
        Ok(())
    }

    /// Whether iterations differ in more than numbers: they make objects or lists, or take parts of such.
    fn by_itself(&mut self, f: &'a StmtFor) -> bool {
        struct Parts<'t>(Vec<&'t Tree>, bool);
        impl<'t> Visitor<'t> for Parts<'t> {
            fn visit_expr(&mut self, expr: &'t Tree) {
                match expr {
                    Tree::Subscript(subscript) if !matches!(&*subscript.slice, Tree::NumberLiteral(_)) => {
                        self.0.push(&subscript.value);
                    }
                    Tree::Call(call) => {
                        const CHANGES: [&str; 8] = [
                            "append",
                            "extend",
                            "insert",
                            "pop",
                            "setattr",
                            "getattr",
                            "add_module",
                            "register_buffer",
                        ];
                        self.1 |= call_name(call).is_some_and(|name| CHANGES.contains(&name));
                    }
                    _ => {}
                }
                walk_expr(self, expr);
            }
        }
        let mut parts = Parts(Vec::new(), false);
        parts.visit_body(&f.body);
        let Parts(bases, changes) = parts;
        changes
            || (self.building > 0 && !self.in_library())
            || bases.into_iter().any(|base| self.peek(base).is_some_and(|value| self.items_of(&value).is_some()))
    }

    /// Whether a comprehension makes values of the source: objects, or arrays by itself.
    pub(super) fn makes_items(&mut self, element: &'a Tree, over: &'a Comprehension) -> bool {
        let own = matches!(&over.iter, Tree::Call(call) if matches!(call_name(call), Some("zip" | "enumerate" | "items" | "map")));
        let known = own
            || matches!(&over.iter, Tree::List(_) | Tree::Tuple(_))
            || self.peek(&over.iter).is_some_and(|value| self.items_of(&value).is_some());
        let makes = match element {
            Tree::Call(call) => !matches!(call_name(call), Some("sum" | "min" | "max" | "abs" | "float" | "int")),
            Tree::Tuple(_) | Tree::List(_) | Tree::StringLiteral(_) | Tree::FString(_) => true,
            _ => false,
        };
        known || makes || self.building > 0
    }

    /// Values of a comprehension: one for each iteration, in order.
    pub(super) fn items_made(
        &mut self,
        element: &'a Tree,
        generators: &'a [Comprehension],
        at: At,
    ) -> Result<Value, Error> {
        let mut made = Vec::new();
        self.items_into(&mut made, generators, at, &mut |own| {
            let value = own.deeper(at, 1, |own| own.eval(element))?;
            own.materialised(value, "item")
        })?;
        Ok(Value::Tuple(made))
    }

    /// The values of `{name: value for ...}`.
    pub(super) fn dict_made(&mut self, dict: &'a ExprDictComp, at: At) -> Result<Value, Error> {
        let mut made = Vec::new();
        self.items_into(&mut made, &dict.generators, at, &mut |own| {
            let key = dict.key.as_ref().map_or(Ok(Value::None), |key| own.eval(key))?;
            let value = own.deeper(at, 1, |own| own.eval(&dict.value))?;
            let value = own.materialised(value, "item")?;
            Ok(Value::Tuple(vec![key, value]))
        })?;
        let mut fields = Vec::new();
        for pair in made {
            let Value::Tuple(pair) = pair else { continue };
            let [key, value] = pair.as_slice() else { continue };
            match self.key_of(key) {
                Some(key) => fields.push((key, value.clone())),
                None => return Err(refuse(at, format!("{} as a key", key.description()), "Use names or numbers")),
            }
        }
        Ok(self.dictionary(fields))
    }

    /// Adds what `make` makes in each iteration of the generators, the first of which is the outermost.
    fn items_into(
        &mut self,
        made: &mut Vec<Value>,
        generators: &'a [Comprehension],
        at: At,
        make: &mut dyn FnMut(&mut Self) -> Result<Value, Error>,
    ) -> Result<(), Error> {
        let Some((only, inner)) = generators.split_first() else {
            made.push(make(self)?);
            return Ok(());
        };
        let iter = self.iter(&only.iter)?;
        for value in self.iterations(&iter, at)? {
            self.step(at)?;
            self.assign_to(&only.target, value, at)?;
            let mut taken = true;
            for test in &only.ifs {
                match self.test(test, at)? {
                    Test::Known(known) => taken &= known,
                    Test::On(condition) => match self.decide(&condition) {
                        Some(known) => taken &= known,
                        None => {
                            let problem = "a comprehension with a condition on data is not read";
                            return Err(refuse(at, problem, "Write a loop"));
                        }
                    },
                }
            }
            if taken {
                self.deeper(at, 1, |own| own.items_into(made, inner, at, make))?;
            }
        }
        Ok(())
    }

    /// A comprehension of numbers over arrays: `[[x * 2 for x in row] for row in a]`.
    pub(super) fn array_made(&mut self, list: &'a ExprListComp) -> Result<Value, Error> {
        let at = self.at(list);
        let array = self.allocate("list", self.source.element, &[], at)?;
        let mut dims = Vec::new();
        self.level(&list.elt, &list.generators, (&array, Vec::new()), &mut dims, at)?;
        if let Some(own) = self.builder.program.arrays.get_mut(array.array) {
            own.dims.clone_from(&dims);
        }
        Ok(Value::View(View::whole(array.array, dims)))
    }

    /// One level of such a comprehension; `index` are the iterations around.
    fn level(
        &mut self,
        element: &'a Tree,
        generators: &'a [Comprehension],
        (array, index): (&View, Vec<Expr>),
        dims: &mut Vec<Expr>,
        at: At,
    ) -> Result<(), Error> {
        let ([only], true) = (generators, index.len() < MAX_AXES) else {
            return Err(refuse(at, "this comprehension is not read", "Write a loop"));
        };
        if !only.ifs.is_empty() {
            return Err(refuse(at, "a comprehension with a condition is not read", "Write a loop"));
        }
        let iter = self.iter(&only.iter)?;
        let rounds = self.rounds_of(&iter);
        if self.varies(&rounds) {
            return Err(refuse(at, "the rows of this list differ in length", "Write a loop"));
        }
        dims.push(rounds);
        let lower = match &iter {
            Iter::Range { lower, step: 1, .. } => lower.clone(),
            Iter::Range { .. } => return Err(refuse(at, "this comprehension is not read", "Write a loop")),
            _ => Expr::Const(0),
        };
        self.over(&only.target, iter, &BTreeMap::new(), at, |own| {
            let round = own.loops.last().map_or(Expr::Const(0), |around| around.var.into());
            let index: Vec<Expr> = index.into_iter().chain([tidy(&round.minus(lower))]).collect();
            match element {
                Tree::ListComp(inner) => {
                    own.deeper(at, 2, |own| own.level(&inner.elt, &inner.generators, (array, index), dims, at))
                }
                element => {
                    own.work.at = at;
                    let value = own.number_of(element)?;
                    if !value.is_number() {
                        let problem = format!("a list of {}", value.description());
                        return Err(refuse(at, problem, "Make an array of zeros and store its elements"));
                    }
                    own.work.accesses.push(Access {
                        array: array.array,
                        index: Some(index),
                        known: Default::default(),
                        write: true,
                        at,
                    });
                    own.flush();
                    Ok(())
                }
            }
        })
    }

    /// `for target in iter`, in which `names` are assigned, those that are true with what comes from arrays.
    pub(super) fn over(
        &mut self,
        target: &'a Tree,
        iter: Iter,
        names: &BTreeMap<&str, bool>,
        at: At,
        inside: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
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
    pub(super) fn looped(
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
        let taped = self.tape.done.len();
        let read = self.block_of(|own| own.deeper(at, 2, |own| inside(own, Expr::Symbol(var))));
        self.no_gradient(taped, at)?;
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
        if Self::comment(self.trips, at).is_none()
            && (self.counted_while(w)? || (self.settles() && self.one_by_one(w)?))
        {
            return Ok(());
        }
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
pub(super) fn left(body: &[Stmt]) -> BTreeMap<&str, bool> {
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
