//! Expressions: numbers, subscripts, arithmetic, conditions.

use ruff_python_ast::{
    BoolOp, CmpOp, Expr as Tree, ExprCompare, ExprIf, ExprName, ExprSubscript, ExprUnaryOp, Number, Operator, UnaryOp,
};

use super::lower::{Lower, MAX_AXES};
use super::stmt::{Test, clip};
use super::value::{Value, View};
use crate::expr::{Expr, Rounding};
use crate::nest::{At, Branch, Comparison, Condition, Element, Flops, Node};
use crate::source::refuse;
use accel_core::error::Error;

/// Larger integer powers are calls of `pow`.
const MAX_POWER: i64 = 64;

impl<'a> Lower<'a> {
    /// What an expression stands for; what it loads and computes is added to the statement's work.
    pub(super) fn eval(&mut self, expr: &'a Tree) -> Result<Value, Error> {
        let at = self.at(expr);
        self.deeper(at, 1, |own| own.eval_at(expr, at))
    }

    /// Only what recurses stands here: the frame is small, for the stack is.
    fn eval_at(&mut self, expr: &'a Tree, at: At) -> Result<Value, Error> {
        match expr {
            Tree::Name(name) => self.name(name),
            Tree::Tuple(tuple) => self.several(&tuple.elts),
            Tree::List(list) => self.several(&list.elts),
            Tree::BinOp(_) => self.operations(expr),
            Tree::UnaryOp(op) => self.signed(op, at),
            Tree::Compare(compare) => self.compare_value(compare),
            Tree::BoolOp(op) => self.truth(&op.values),
            Tree::If(choice) => self.choice(choice),
            Tree::Subscript(subscript) => self.subscript(subscript),
            Tree::Attribute(attribute) => self.attribute(attribute),
            Tree::Call(call) => self.call(call),
            Tree::ListComp(list) => self.list(list),
            other => self.literal_of(other),
        }
    }

    fn signed(&mut self, op: &'a ExprUnaryOp, at: At) -> Result<Value, Error> {
        let value = self.eval(&op.operand)?;
        self.unary(op.op, value, at)
    }

    fn truth(&mut self, parts: &'a [Tree]) -> Result<Value, Error> {
        let mut by_data = false;
        for part in parts {
            by_data |= self.number_of(part)?.by_data();
        }
        Ok(Value::computed(false, by_data))
    }

    /// A constant of the source; everything else is refused.
    fn literal_of(&mut self, expr: &'a Tree) -> Result<Value, Error> {
        match expr {
            Tree::NumberLiteral(number) => match &number.value {
                Number::Int(int) => match int.as_i64() {
                    Some(value) => Ok(Value::Int(Expr::Const(value))),
                    None => self.refuse(expr, "this integer leaves 64 bits", "Give a smaller number"),
                },
                Number::Float(value) => Ok(Value::Literal(*value)),
                Number::Complex { .. } => self.refuse(expr, "complex numbers are not read", "Write both parts out"),
            },
            Tree::BooleanLiteral(literal) => Ok(Value::Bool(literal.value)),
            Tree::NoneLiteral(_) => Ok(Value::None),
            Tree::StringLiteral(text) => Ok(Value::Text(text.value.to_str().to_owned())),
            Tree::FString(_) => Ok(Value::Text(String::new())),
            Tree::Lambda(_) => self.refuse(expr, "`lambda` is not read", "Write a function with a name"),
            Tree::Generator(_) | Tree::SetComp(_) | Tree::DictComp(_) => {
                self.refuse(expr, "comprehensions are not read", "Write a loop")
            }
            Tree::Await(_) | Tree::Yield(_) | Tree::YieldFrom(_) => {
                self.refuse(expr, "generators and `async` are not read", "Write a plain function")
            }
            Tree::Dict(_) | Tree::Set(_) => self.refuse(expr, "dictionaries and sets are not read", "Use arrays"),
            Tree::Starred(_) => self.refuse(expr, "`*` of arguments is not read", "Write the arguments out"),
            other => self.refuse(
                other,
                format!("`{}` is not read", clip(self.text(other))),
                "Write it with plain arithmetic",
            ),
        }
    }

    fn several(&mut self, parts: &'a [Tree]) -> Result<Value, Error> {
        let (mut values, mut items) = (Vec::new(), 1);
        for part in parts {
            let value = self.eval(part)?;
            items += value.items();
            self.check_items(items, self.at(part))?;
            values.push(value);
        }
        if let Some(first) = parts.first() {
            self.weigh(items, self.at(first))?;
        }
        Ok(Value::Tuple(values))
    }

    fn name(&mut self, name: &'a ExprName) -> Result<Value, Error> {
        let own = name.id.as_str();
        let at = self.at(name);
        let value = match self.lookup(own) {
            Some(value) => value,
            // What `dtype=` may say, as NumPy and PyTorch take it.
            None if own == "float" => return Ok(Value::Type(Element::F64)),
            None if own == "int" => return Ok(Value::Type(Element::I64)),
            None if own == "bool" => return Ok(Value::Type(Element::I8)),
            None if self.functions.contains_key(own) => {
                return self.refuse(name, format!("the function {own} is used as a value"), "Call it");
            }
            None => {
                let value = self.argument(own, None, None, at)?;
                // Seen by every function, as names of the module are.
                if let Some(frame) = self.frames.first_mut() {
                    frame.names.insert(own.to_owned(), value.clone());
                }
                value
            }
        };
        match &value {
            Value::Scalar(_) | Value::Counter(_) | Value::Literal(_) => {
                self.work.scalars.reads += 1;
                self.reads.insert(own.to_owned());
            }
            Value::Int(Expr::Symbol(_)) => {}
            Value::Int(_) => self.work.scalars.reads += 1,
            Value::Tuple(_) => self.weigh(value.items(), at)?,
            Value::Lazy(_) => {
                if let Some(frame) = self.frames.last_mut() {
                    frame.names.remove(own);
                }
            }
            _ => {}
        }
        Ok(value)
    }

    /// A chain of operators from the left: sums may be long, so it is no recursion.
    fn operations(&mut self, expr: &'a Tree) -> Result<Value, Error> {
        let (mut left, mut chain) = (expr, Vec::new());
        while let Tree::BinOp(op) = left {
            chain.push(op);
            left = &op.left;
        }
        let (mut value, mut place) = (self.eval(left)?, self.at(left));
        while let Some(op) = chain.pop() {
            let right = self.eval(&op.right)?;
            let (at, right_at) = (self.at(op), self.at(&*op.right));
            value = self.arithmetic(op.op, (value, place), (right, right_at), at)?;
            place = at;
        }
        Ok(value)
    }

    /// `left op right`.
    pub(super) fn arithmetic(
        &mut self,
        op: Operator,
        left: (Value, At),
        right: (Value, At),
        at: At,
    ) -> Result<Value, Error> {
        if op == Operator::MatMult {
            return self.matmul("matmul", left.0, right.0, None, at);
        }
        match (op, &left.0, &right.0) {
            (Operator::Add, Value::Tuple(a), Value::Tuple(b)) => {
                self.weigh(left.0.items().saturating_add(right.0.items()), at)?;
                return Ok(Value::Tuple(a.iter().chain(b).cloned().collect()));
            }
            (Operator::Mult, Value::Tuple(parts), count) | (Operator::Mult, count, Value::Tuple(parts))
                if parts.len() == 1 =>
            {
                let (part, count) = (parts.first().cloned().unwrap_or(Value::None), count.clone());
                return self.repeated(part, count, at);
            }
            _ => {}
        }
        let (left_at, right_at) = (left.1, right.1);
        let (left, right) = self.pair(left.0, right.0, at)?;
        for (value, at) in [(&left, left_at), (&right, right_at)] {
            if !value.is_array() && !value.is_number() {
                return Err(refuse(
                    at,
                    format!("arithmetic with {}", value.what()),
                    "Only numbers and arrays can stand here",
                ));
            }
        }
        if let (Value::Int(a), Value::Int(b)) = (&left, &right)
            && let Some(value) = self.integers(op, a, b, at)?
        {
            return Ok(Value::Int(value));
        }
        if let Some(value) = folded(op, &left, &right) {
            return Ok(Value::Literal(value));
        }
        let flops = match op {
            Operator::Add | Operator::Sub => Flops::ADD,
            Operator::Mult => Flops::MUL,
            Operator::Div | Operator::FloorDiv | Operator::Mod => Flops::DIV,
            Operator::Pow => self.power(&right, at),
            _ => Flops::NONE,
        };
        let real = op == Operator::Div || (op == Operator::Pow && matches!(right, Value::Literal(_)));
        self.elementwise(vec![(left, left_at), (right, right_at)], flops, real.then_some(Real::Yes), at)
    }

    /// FLOPs of `x ** exponent`: products where it is a small integer, a square root, or a call of `pow`.
    pub(super) fn power(&mut self, exponent: &Value, at: At) -> Flops {
        let number = match exponent {
            Value::Int(expr) => self.number(expr).map(|number| number as f64),
            Value::Literal(value) => Some(*value),
            _ => None,
        };
        match number {
            Some(0.5) => Flops::SQRT,
            Some(-0.5) => Flops::SQRT.plus(Flops::DIV),
            Some(x) if x == x.trunc() && x.abs() <= MAX_POWER as f64 => {
                let n = x.abs() as u32;
                // Squares, and a product for each further bit: x**5 is (x*x)*(x*x)*x.
                let mul = n.checked_ilog2().map_or(0, |squares| squares + n.count_ones() - 1);
                if n > 2 {
                    self.assume(at, format!("a power of {x} is counted as {mul} multiplications"));
                }
                Flops { mul, div: u32::from(x < 0.0), ..Flops::NONE }
            }
            _ => Flops::SPECIAL,
        }
    }

    /// Arithmetic on integers that are known as expressions; none where the result is no integer.
    fn integers(&mut self, op: Operator, a: &Expr, b: &Expr, at: At) -> Result<Option<Expr>, Error> {
        let (a, b) = (a.clone(), b.clone());
        let zero = |own: &Self| match own.number(&b) {
            Some(0) => Err(refuse(at, "a division by zero", "Give another divisor")),
            _ => Ok(()),
        };
        let value = match op {
            Operator::Add => a.plus(b),
            Operator::Sub => a.plus(self.tidy(&b.times(-1), at)?),
            Operator::Mult => a.times(b),
            Operator::FloorDiv => {
                zero(self)?;
                a.over(b, Rounding::Floor)
            }
            Operator::Mod => {
                zero(self)?;
                a.modulo(b, Rounding::Floor)
            }
            Operator::Pow => match b {
                Expr::Const(n) if (0..=MAX_POWER).contains(&n) => {
                    let mut power = Expr::Const(1);
                    for _ in 0..n {
                        power = self.tidy(&power.times(a.clone()), at)?;
                        self.fits(&power, at)?;
                    }
                    power
                }
                Expr::Const(n) if n < 0 => return Ok(None),
                _ => {
                    let problem = format!("a power with an exponent above {MAX_POWER}, or one that is not known");
                    return Err(refuse(at, problem, "Give its value as a parameter"));
                }
            },
            Operator::LShift => match self.number(&b) {
                Some(n) if (0..62).contains(&n) => a.times(1_i64 << n),
                _ => return Err(refuse(at, "a shift by more than 61 places", "Give its value as a parameter")),
            },
            Operator::RShift => match self.number(&b) {
                Some(n) if (0..62).contains(&n) => a.over(1_i64 << n, Rounding::Floor),
                _ => return Err(refuse(at, "a shift by more than 61 places", "Give its value as a parameter")),
            },
            _ => return Ok(None),
        };
        if self.loops.iter().any(|around| value.mentions(around.var)) {
            self.work.integer_ops += 1;
        }
        let value = self.tidy(&value, at)?;
        self.fits(&value, at)?;
        Ok(Some(value))
    }

    /// Refuses what has no value in 64 bits.
    fn fits(&self, expr: &Expr, at: At) -> Result<(), Error> {
        if self.varies(expr) || self.number(expr).is_some() {
            return Ok(());
        }
        Err(refuse(at, "this integer leaves 64 bits", "Give smaller numbers"))
    }

    pub(super) fn unary(&mut self, op: UnaryOp, value: Value, at: At) -> Result<Value, Error> {
        match (op, value) {
            (UnaryOp::USub, Value::Int(expr)) => Ok(Value::Int(self.tidy(&expr.times(-1), at)?)),
            (UnaryOp::USub, Value::Literal(value)) => Ok(Value::Literal(-value)),
            (UnaryOp::Not, Value::Bool(value)) => Ok(Value::Bool(!value)),
            (UnaryOp::Not, Value::None) => Ok(Value::Bool(true)),
            (UnaryOp::Invert, Value::Int(expr)) => Ok(Value::Int(self.tidy(&expr.times(-1).minus(1), at)?)),
            (UnaryOp::Not | UnaryOp::Invert, value) if value.is_number() => Ok(Value::computed(false, value.by_data())),
            (UnaryOp::UAdd, value) => Ok(value),
            (_, value) if value.is_number() => Ok(value),
            (_, value) => self.elementwise(vec![(value, at)], Flops::NONE, None, at),
        }
    }

    /// One number: what it loads is loaded.
    pub(super) fn number_of(&mut self, expr: &'a Tree) -> Result<Value, Error> {
        match self.number_of_known(expr)? {
            Value::Unknown(name) => match self.resolved.get(&name) {
                Some(value) => Ok(value.clone()),
                None => Ok(self.scalar_of(&name)),
            },
            other => Ok(other),
        }
    }

    fn number_of_known(&mut self, expr: &'a Tree) -> Result<Value, Error> {
        let at = self.at(expr);
        match self.eval(expr)? {
            Value::View(view) if view.dims.is_empty() => Ok(self.load(&view, at)),
            other => Ok(other),
        }
    }

    /// A comparison used as a value.
    fn compare_value(&mut self, compare: &'a ExprCompare) -> Result<Value, Error> {
        let at = self.at(compare);
        let mut values = vec![(self.eval(&compare.left)?, self.at(&*compare.left))];
        for side in &compare.comparators {
            values.push((self.eval(side)?, self.at(side)));
        }
        if values.iter().any(|(value, _)| value.is_array()) {
            return self.elementwise(values, Flops::NONE, Some(Real::Truth), at);
        }
        Ok(Value::computed(false, values.iter().any(|(value, _)| value.by_data())))
    }

    /// `a if test else b`: a condition where an arm does something.
    fn choice(&mut self, choice: &'a ExprIf) -> Result<Value, Error> {
        let at = self.at(choice);
        let condition = match self.test(&choice.test, at)? {
            Test::Known(true) => return self.eval(&choice.body),
            Test::Known(false) => return self.eval(&choice.orelse),
            Test::On(condition) => condition,
        };
        let place = self.work.at;
        let carried = self.work.carried;
        self.flush();
        let facts = self.facts.len();
        self.learn(&condition, true);
        let then = self.block_of(|own| own.number_of(&choice.body));
        self.facts.truncate(facts);
        let (then, a) = then?;
        self.learn(&condition, false);
        let otherwise = self.block_of(|own| own.number_of(&choice.orelse));
        self.facts.truncate(facts);
        let (otherwise, b) = otherwise?;
        if a.is_array() || b.is_array() {
            return self.refuse(choice, "a choice between arrays depends on data", "Use `np.where`, or `if`");
        }
        (self.work.at, self.work.carried) = (place, carried);
        let by_data = a.by_data() || b.by_data() || is_chance(&condition);
        let idle = |node: &Node| matches!(node, Node::Work(w) if w.accesses.is_empty() && w.flops == Flops::NONE);
        if !then.iter().chain(&otherwise).all(idle) {
            self.out.push(Node::Branch(Branch { condition, then, otherwise, at }));
        }
        Ok(Value::computed(a.is_real() || b.is_real(), by_data))
    }

    // Conditions.

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
                    let next = match compared(*op, &left, &right) {
                        Some(Test::Known(known)) if compare.ops.len() == 1 => return Ok(Test::Known(known)),
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
                Value::View(_) | Value::Lazy(_) => {
                    self.refuse(other, "an array has no single truth value", "Use `.any()`, `.all()` or `np.where`")
                }
                Value::Counter(_) | Value::Literal(_) => self.undecided(other),
                _ => by_data(self),
            },
        }
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

    // Subscripts.

    /// What `a[i][j, k]` stands for, to be loaded or stored.
    pub(super) fn target(&mut self, expr: &'a Tree) -> Result<View, Error> {
        let Tree::Subscript(subscript) = expr else {
            return self.refuse(expr, "this is no element of an array", "Write `a[i]`");
        };
        let at = self.at(expr);
        match self.part(subscript, true)? {
            Value::View(view) => Ok(view),
            other => Err(refuse(at, format!("a subscript of {}", other.what()), "Only arrays have elements")),
        }
    }

    fn subscript(&mut self, subscript: &'a ExprSubscript) -> Result<Value, Error> {
        let at = self.at(subscript);
        match self.part(subscript, false)? {
            Value::View(view) if view.dims.is_empty() => Ok(self.load(&view, at)),
            other => Ok(other),
        }
    }

    /// What a subscript stands for; `stored` says whether something is to be stored there.
    fn part(&mut self, subscript: &'a ExprSubscript, stored: bool) -> Result<Value, Error> {
        let at = self.at(subscript);
        // `a[i][j][k]` is read from the left without loading rows.
        let base = match &*subscript.value {
            Tree::Subscript(inner) => self.deeper(at, 1, |own| own.part(inner, false))?,
            other => self.eval(other)?,
        };
        let (_, rank, _) = super::usage::subscripts_of(subscript);
        let base = match base {
            Value::Tuple(parts) => return self.item(parts, subscript),
            base => self.known(base, rank, at)?,
        };
        let view = match base {
            Value::View(view) => view,
            Value::Lazy(lazy) => self.materialise(*lazy, "operand")?,
            other => {
                return self.refuse(subscript, format!("a subscript of {}", other.what()), "Only arrays have elements");
            }
        };
        let parts = match &*subscript.slice {
            Tree::Tuple(tuple) => tuple.elts.as_slice(),
            part => std::slice::from_ref(part),
        };
        self.subscripts(view, parts, stored, at)
    }

    fn item(&mut self, parts: Vec<Value>, subscript: &'a ExprSubscript) -> Result<Value, Error> {
        if let Tree::Slice(slice) = &*subscript.slice {
            let length = parts.len() as i64;
            let mut end = |end: &'a Option<Box<Tree>>, default: i64| match end {
                None => Ok(default),
                Some(end) => {
                    let expr = self.whole(end)?;
                    let value = self.number(&expr).unwrap_or(default);
                    Ok(if value < 0 { value + length } else { value }.clamp(0, length))
                }
            };
            let (lower, upper) = (end(&slice.lower, 0)?, end(&slice.upper, length)?);
            let range = lower as usize..(upper.max(lower)) as usize;
            return Ok(Value::Tuple(parts.get(range).unwrap_or_default().to_vec()));
        }
        let index = self.whole(&subscript.slice)?;
        let number = self.number(&index).map(|number| if number < 0 { number + parts.len() as i64 } else { number });
        let found = number.and_then(|number| parts.get(usize::try_from(number).ok()?));
        match found {
            Some(value) => Ok(value.clone()),
            None => self.refuse(subscript, format!("there are {} of these", parts.len()), "Count from 0"),
        }
    }

    fn subscripts(&mut self, mut view: View, parts: &'a [Tree], stored: bool, at: At) -> Result<Value, Error> {
        let is_axis = |part: &&Tree| !matches!(part, Tree::EllipsisLiteral(_)) && !self.is_newaxis(part);
        let used = parts.iter().filter(is_axis).count();
        if view.dims.len() + parts.len() - used > MAX_AXES {
            return Err(refuse(at, format!("an array of more than {MAX_AXES} axes"), "Use fewer axes"));
        }
        if used > view.dims.len() {
            let name = self.builder.program.arrays.get(view.array).map(|array| array.name.clone()).unwrap_or_default();
            let problem = format!("{used} subscripts for {} axes of {name}", view.dims.len());
            return Err(refuse(at, problem, "Give the array's shape: `a: f32[M, N]`"));
        }
        // What `...` stands for.
        let rest = view.dims.len() - used;
        let mut along = 0;
        for part in parts {
            let own = self.at(part);
            match part {
                Tree::EllipsisLiteral(_) => {
                    along += rest;
                }
                part if self.is_newaxis(part) => {
                    view = view.expanded(along);
                    along += 1;
                }
                Tree::Slice(slice) => {
                    let [lower, upper, step] = [&slice.lower, &slice.upper, &slice.step];
                    let step = match step {
                        Some(step) => self.whole(step)?,
                        None => Expr::Const(1),
                    };
                    let lower = lower.as_ref().map(|lower| self.whole(lower)).transpose()?;
                    let upper = upper.as_ref().map(|upper| self.whole(upper)).transpose()?;
                    view = self.slice(&view, along, (lower, upper, step), own)?;
                    along += 1;
                }
                part => match self.one_subscript(part)? {
                    Value::Int(index) => {
                        let index = self.index(&view, along, &index, own)?;
                        view = view.fixed(along, &index);
                    }
                    Value::Scalar(false) => {
                        self.assume(own, "data decide this subscript: every line is as likely");
                        view = view.fixed(along, &Expr::Const(0));
                        view.by_data = true;
                    }
                    Value::View(index) if !self.element(&index).is_float() && parts.len() == 1 => {
                        if stored {
                            return Ok(Value::View(self.scattered(&view, &index, own)));
                        }
                        return self.gather(&view, &index, own);
                    }
                    Value::Counter(_) => {
                        let problem = format!("what `{}` is in each round is not known", clip(self.text(part)));
                        return self.refuse(part, problem, "Write the subscript in loop variables and parameters");
                    }
                    other => {
                        let problem = format!("{} as a subscript", other.what());
                        return self.refuse(
                            part,
                            problem,
                            "Only integers, slices and arrays of integers can stand here",
                        );
                    }
                },
            }
        }
        Ok(Value::View(view))
    }

    fn one_subscript(&mut self, part: &'a Tree) -> Result<Value, Error> {
        let at = self.at(part);
        let value = self.number_of_known(part)?;
        self.known(value, 1, at)
    }

    fn is_newaxis(&self, part: &Tree) -> bool {
        matches!(part, Tree::NoneLiteral(_)) || matches!(part, Tree::Attribute(a) if a.attr.as_str() == "newaxis")
    }

    /// A subscript, from the end if it is negative, as Python has it.
    pub(super) fn index(&mut self, view: &View, along: usize, index: &Expr, at: At) -> Result<Expr, Error> {
        let Some(dim) = view.dims.get(along).cloned() else { return Ok(index.clone()) };
        let outside = |own: &Self, reach: i64| {
            let problem = format!(
                "this subscript reaches {reach}, and the axis has {}",
                own.shape_text(std::slice::from_ref(&dim))
            );
            refuse(at, problem, "Give a larger extent, or a tighter bound to the loop")
        };
        if let Expr::Const(value) = index {
            // From the end, or one of the first.
            let from = if *value < 0 { dim.clone().plus(*value) } else { index.clone() };
            let extent = self.number(&dim);
            let is_open = self.dry.is_open(&dim);
            let inside = |from: i64, extent: i64| (0..extent).contains(&from);
            return match (self.number(&from), extent) {
                (Some(number), Some(extent)) if !is_open && !inside(number, extent) => Err(outside(self, *value)),
                _ => Ok(self.tidy(&from, at)?),
            };
        }
        self.reach(&dim, index);
        let room = dim.clone().minus(index.clone()).minus(1);
        if !self.is_dry() && self.never_negative(&room) == Some(false) {
            let reach = self.extreme(index, true, true).and_then(|(end, _)| self.number(&end)).unwrap_or_default();
            let empty =
                self.loops.iter().any(|around| match (self.number(&around.least), self.number(&around.greatest)) {
                    (Some(least), Some(greatest)) => least > greatest,
                    _ => true,
                });
            if !empty {
                return Err(outside(self, reach));
            }
        }
        match self.never_negative(index) {
            Some(true) | None => Ok(index.clone()),
            Some(false) => match self.never_negative(&index.clone().times(-1).minus(1)) {
                Some(true) => self.tidy(&index.clone().plus(dim), at),
                _ => self.tidy(&index.clone().modulo(dim, Rounding::Floor), at),
            },
        }
    }

    /// `lower:upper:step` along an axis, cut to the axis as Python does.
    pub(super) fn slice(
        &mut self,
        view: &View,
        along: usize,
        (lower, upper, step): (Option<Expr>, Option<Expr>, Expr),
        at: At,
    ) -> Result<View, Error> {
        let Some(dim) = view.dims.get(along).cloned() else {
            return Err(refuse(at, "there is no such axis", "Give the array's shape: `a: f32[M, N]`"));
        };
        let step = match self.number(&step) {
            Some(step) if step != 0 && step.unsigned_abs() < 1 << 40 => step,
            _ => return Err(refuse(at, "the step of a slice must be known and not zero", "Give a number")),
        };
        if step < 0 {
            if lower.is_some() || upper.is_some() {
                return Err(refuse(
                    at,
                    "a slice with bounds that runs backwards is not read",
                    "Write `a[::-1]`, then slice",
                ));
            }
            let extent = self.tidy(&dim.clone().minus(1).over(-step, Rounding::Floor).plus(1), at)?;
            return Ok(view.sliced(along, &dim.minus(1), &Expr::Const(step), extent));
        }
        if let Some(upper) = &upper
            && !matches!(upper, Expr::Const(_))
        {
            self.reach(&dim, &upper.clone().minus(1));
        }
        let lower = self.clamped(lower.unwrap_or(Expr::Const(0)), &dim, at)?;
        let upper = self.clamped(upper.unwrap_or_else(|| dim.clone()), &dim, at)?;
        let length = self.tidy(&upper.minus(lower.clone()), at)?;
        let length = if self.never_negative(&length) == Some(true) { length } else { length.max(0) };
        let extent = match step {
            1 => length,
            step => length.plus(step - 1).over(step, Rounding::Floor),
        };
        let extent = self.tidy(&extent, at)?;
        Ok(view.sliced(along, &lower, &Expr::Const(step), extent))
    }

    /// An end of a slice: from the end of the axis if it is negative, and never beyond either end.
    fn clamped(&mut self, end: Expr, dim: &Expr, at: At) -> Result<Expr, Error> {
        if end == *dim {
            return Ok(end);
        }
        let end = match self.never_negative(&end) {
            Some(true) => end,
            _ if self.number(&end).is_some_and(|value| value < 0) => {
                let from = self.tidy(&end.plus(dim.clone()), at)?;
                if self.never_negative(&from) == Some(true) { from } else { from.max(0) }
            }
            Some(false) if self.never_negative(&end.clone().times(-1).minus(1)) == Some(true) => {
                end.plus(dim.clone()).max(0)
            }
            _ => {
                return Err(refuse(
                    at,
                    "whether this end of a slice is negative cannot be told",
                    "Give tighter loop bounds",
                ));
            }
        };
        let inside = self.dry.is_open(dim) || self.never_negative(&dim.clone().minus(end.clone())) == Some(true);
        Ok(if inside { end } else { end.min(dim.clone()) })
    }

    /// A row of an array, or an element, loaded.
    pub(super) fn row(&mut self, view: &View, index: &Expr, at: At) -> Result<Value, Error> {
        let index = self.index(view, 0, index, at)?;
        let row = view.fixed(0, &index);
        Ok(if row.dims.is_empty() { self.load(&row, at) } else { Value::View(row) })
    }

    /// Loads an element.
    pub(super) fn load(&mut self, view: &View, at: At) -> Value {
        self.work.accesses.push(Self::access(view, &[], false, at));
        Value::Scalar(self.element(view).is_float())
    }
}

/// What kind of result an operation has, where its operands do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Real {
    /// Floating-point, of integers too.
    Yes,
    /// True or false.
    Truth,
    /// Elements of that type.
    Of(Element),
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
        (Value::Bool(a), Value::Bool(b)) => match op {
            CmpOp::Eq | CmpOp::Is => Some(Test::Known(a == b)),
            CmpOp::NotEq | CmpOp::IsNot => Some(Test::Known(a != b)),
            _ => None,
        },
        _ => None,
    }
}

/// Arithmetic that the compiler does: on numbers of the source.
fn folded(op: Operator, left: &Value, right: &Value) -> Option<f64> {
    let number = |value: &Value| match value {
        Value::Literal(value) => Some(*value),
        Value::Int(Expr::Const(value)) => Some(*value as f64),
        _ => None,
    };
    let (a, b) = (number(left)?, number(right)?);
    match op {
        Operator::Add => Some(a + b),
        Operator::Sub => Some(a - b),
        Operator::Mult => Some(a * b),
        Operator::Div => Some(a / b),
        _ => None,
    }
}
