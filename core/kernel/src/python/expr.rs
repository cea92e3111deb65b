//! Expressions: numbers and arithmetic.

use ruff_python_ast::{
    BoolOp, CmpOp, Expr as Tree, ExprBoolOp, ExprCall, ExprCompare, ExprName, ExprUnaryOp, Number, Operator, UnaryOp,
};

use super::condition::Test;
use super::defined::{Callable, Class, Function};
use super::lower::PythonLowering;
use super::registry::{self, Read};
use super::tree::clip;
use super::value::{Real, Value};
use crate::expr::{Expr, Rounding};
use crate::nest::{At, Element, Flops};
use crate::source::{Fusion, refuse};
use accel_ground::error::Error;

/// Larger integer powers are calls of `pow`.
const MAX_POWER: i64 = 64;

impl<'a> PythonLowering<'a> {
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
            Tree::BoolOp(op) => self.truth(op),
            Tree::If(choice) => self.choice(choice),
            Tree::Subscript(subscript) => self.subscript(subscript),
            Tree::Attribute(attribute) => self.attribute(attribute),
            Tree::Call(call) if self.pairs(call) => {
                let iter = self.iter(expr)?;
                self.iterations(&iter, at).map(Value::Tuple)
            }
            Tree::Call(call) => self.call(call),
            Tree::ListComp(list) => self.list(list),
            Tree::DictComp(dict) => self.dict_made(dict, at),
            Tree::SetComp(set) => self.items_made(&set.elt, &set.generators, at),
            Tree::Set(set) => self.several(&set.elts),
            Tree::Generator(generator) => self.items_made(&generator.elt, &generator.generators, at),
            Tree::Lambda(lambda) => {
                let captured = self.capture()?;
                let library = self.frames.last().and_then(|frame| frame.library);
                Ok(self.function_value(Callable::Lambda(lambda, captured, library)))
            }
            Tree::FString(string) => self.formatted(string),
            Tree::Dict(dict) => self.dict_literal(dict, at),
            other => self.literal_of(other),
        }
    }

    /// Whether a call is one of those that a loop runs over, used as a value: `list(zip(a, b))`.
    fn pairs(&self, call: &ExprCall) -> bool {
        let Tree::Name(name) = &*call.func else { return false };
        let own = name.id.as_str();
        let several = match (own, call.arguments.args.as_ref()) {
            ("zip", args) => args.len() > 1 || matches!(args, [Tree::Starred(_)]),
            ("enumerate", args) => !args.is_empty(),
            ("reversed", args) => args.len() == 1,
            _ => false,
        };
        several && !self.functions.contains_key(own) && self.lookup(own).is_none()
    }

    fn signed(&mut self, op: &'a ExprUnaryOp, at: At) -> Result<Value, Error> {
        let value = self.eval(&op.operand)?;
        self.unary(op.op, value, at)
    }

    /// `a and b`: the first value that decides, where the source says so.
    fn truth(&mut self, op: &'a ExprBoolOp) -> Result<Value, Error> {
        let (mut by_data, mut open) = (false, false);
        for (number, part) in op.values.iter().enumerate() {
            let value = self.number_of(part)?;
            let holds = match &value {
                Value::Bool(holds) => Some(*holds),
                Value::None => Some(false),
                Value::Text(text) => Some(!text.is_empty()),
                Value::Object(_) | Value::Function(_) => Some(true),
                Value::Int(expr) if self.settles() => self.number(expr).map(|number| number != 0),
                _ => None,
            };
            let last = number + 1 == op.values.len();
            match holds {
                Some(holds) if !open && (last || holds == (op.op == BoolOp::Or)) => return Ok(value),
                Some(_) => {}
                None => {
                    open = true;
                    by_data |= value.by_data();
                }
            }
        }
        Ok(Value::computed(false, by_data))
    }

    /// Whether what parameters decide is decided: where objects are made or used, and in the library.
    pub(super) fn settles(&self) -> bool {
        self.building > 0 || self.in_library() || self.calls.last().is_some_and(|(_, object)| object.is_some())
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
            Tree::Await(_) | Tree::Yield(_) | Tree::YieldFrom(_) => {
                self.refuse(expr, "generators and `async` are not read", "Write a plain function")
            }
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
            // `(*x.shape[:-1], 4)`
            if let Tree::Starred(starred) = part {
                let value = self.eval(&starred.value)?;
                let Some(more) = self.items_of(&value) else {
                    return self.refuse(part, format!("`*` of {}", value.description()), "Write its items out");
                };
                items += value.items();
                self.check_items(items, self.at(part))?;
                values.extend(more);
                continue;
            }
            let value = self.eval(part)?;
            items += value.items();
            self.check_items(items, self.at(part))?;
            values.push(value);
        }
        if let Some(first) = parts.first() {
            self.count_items(items, self.at(first))?;
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
            None if self.functions.contains_key(own) && !self.in_library() => {
                let function = self.functions.get(own).copied();
                let function = function.map(|def| Callable::Def(Function::new(def, false)));
                return Ok(function.map_or(Value::None, |function| self.function_value(function)));
            }
            None if self.class_named(own).is_some_and(|class| !class.library) => {
                let class = self.class_named(own);
                return Ok(class.map_or(Value::None, |class| self.function_value(Callable::Class(class))));
            }
            None if self.in_library() || self.is_module(own) || matches!(own, "str" | "tuple" | "list" | "dict") => {
                let named = self.imports.get(own).copied().unwrap_or(own);
                return Ok(match registry::find(named) {
                    Some(Read::Class(def)) => self.function_value(Callable::Class(Class { def, library: true })),
                    _ => self.function_value(Callable::Named(named)),
                });
            }
            None if self.kernel.is_some() => {
                return self.refuse(name, format!("{own} is not known here"), "Give it a value");
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
            // What the library names are no variables of the source.
            Value::Scalar(_) | Value::Counter(_) | Value::Literal(_) | Value::Int(_) if self.in_library() => {}
            Value::Scalar(_) | Value::Counter(_) | Value::Literal(_) => {
                self.work.scalars.reads += 1;
                self.reads.insert(own.to_owned());
            }
            Value::Int(Expr::Symbol(_)) => {}
            Value::Int(_) => self.work.scalars.reads += 1,
            Value::Tuple(_) if !self.in_library() => self.count_items(value.items(), at)?,
            Value::Lazy(_) if self.fusion() != Fusion::Graph => {
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
                self.count_items(left.0.items().saturating_add(right.0.items()), at)?;
                return Ok(Value::Tuple(a.iter().chain(b).cloned().collect()));
            }
            (Operator::Mult, Value::Tuple(parts), count) | (Operator::Mult, count, Value::Tuple(parts)) => {
                let (parts, count) = (parts.clone(), count.clone());
                return self.repeated(parts, count, at);
            }
            (Operator::Add | Operator::Mod, Value::Text(a), _) => return Ok(Value::Text(a.clone())),
            _ => {}
        }
        let (left_at, right_at) = (left.1, right.1);
        let (left, right) = self.pair(left.0, right.0, at)?;
        for (value, at) in [(&left, left_at), (&right, right_at)] {
            if !value.is_array() && !value.is_number() {
                return Err(refuse(
                    at,
                    format!("arithmetic with {}", value.description()),
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
        if self.building > 0 || self.in_library() {
            let number = |own: &Self, value: &Value| own.real_number(value).map(Value::Literal);
            if let (Some(left), Some(right)) = (number(self, &left), number(self, &right))
                && let Some(value) = folded(op, &left, &right)
            {
                return Ok(Value::Literal(value));
            }
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

    /// One number, or an argument of which nothing is known.
    pub(super) fn number_of_known(&mut self, expr: &'a Tree) -> Result<Value, Error> {
        let at = self.at(expr);
        match self.eval(expr)? {
            Value::View(view) if view.dims.is_empty() => Ok(self.load(&view, at)),
            other => Ok(other),
        }
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
                let problem =
                    format!("`{}` is {} that only a run would know", clip(self.text(expr)), other.description());
                self.refuse(
                    expr,
                    problem,
                    "Only parameters, constants and loop variables can stand here; \
                    a comment `# trips: N` says how often a loop runs",
                )
            }
        }
    }

    /// A comparison used as a value.
    fn compare_value(&mut self, compare: &'a ExprCompare) -> Result<Value, Error> {
        let at = self.at(compare);
        let mut values = vec![(self.eval(&compare.left)?, self.at(&*compare.left))];
        for side in &compare.comparators {
            values.push((self.eval(side)?, self.at(side)));
        }
        if let ([op @ (CmpOp::Is | CmpOp::IsNot)], [(left, _), (Value::None, _)]) =
            (compare.ops.as_ref(), values.as_slice())
        {
            return Ok(Value::Bool((*left == Value::None) == (*op == CmpOp::Is)));
        }
        if values.iter().any(|(value, _)| value.is_array()) {
            return self.elementwise(values, Flops::NONE, Some(Real::Truth), at);
        }
        if let ([op], [(left, _), (right, _)]) = (compare.ops.as_ref(), values.as_slice()) {
            match self.compared(*op, left, right) {
                Some(Test::Known(known)) => return Ok(Value::Bool(known)),
                Some(Test::On(condition)) => {
                    if let Some(known) = self.decide(&condition) {
                        return Ok(Value::Bool(known));
                    }
                }
                None => {}
            }
            if let (CmpOp::In | CmpOp::NotIn, Some(parts)) = (op, self.items_of(right)) {
                return Ok(Value::Bool(parts.contains(left) == (*op == CmpOp::In)));
            }
        }
        Ok(Value::computed(false, values.iter().any(|(value, _)| value.by_data())))
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
