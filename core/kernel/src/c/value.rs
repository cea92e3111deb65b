//! Expressions: the accesses and the arithmetic that they are.

use lang_c::ast::*;
use lang_c::span::Node;

use super::integer::{arithmetic, chain};
use super::lower::{Binding, CLowering, IntegerValue, Scalar};
use super::types::{self, Base, Dim};
use super::view::{self, Pointee, sum};
use super::walk::{assigns, name, steps};
use crate::expr::{Expr, Rounding};
use crate::nest::{At, Branch, Node as Step};
use crate::normal::tidy;
use crate::source::refuse;
use accel_ground::error::Error;

/// What an expression is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NumberKind {
    pub(super) float: bool,
    /// Whether the compiler computes it.
    pub(super) constant: bool,
}

pub(super) const INTEGER: NumberKind = NumberKind { float: false, constant: false };

/// What can stand to the left of `=`.
enum Assignee {
    Element(Pointee, bool),
    Scalar(Scalar),
}

impl<'a> CLowering<'a> {
    /// Reads an expression whose value nobody uses.
    pub(super) fn effect(&mut self, expression: &'a Node<Expression>) -> Result<(), Error> {
        match &expression.node {
            Expression::Comma(list) => list.iter().try_for_each(|part| self.effect(part)),
            _ => self.value(expression).map(|_| ()),
        }
    }

    /// Adds what `expression` does to the work.
    pub(super) fn value(&mut self, expression: &'a Node<Expression>) -> Result<NumberKind, Error> {
        let at = self.at(expression);
        self.deeper(at, |own| own.value_at(expression, at))
    }

    fn value_at(&mut self, expression: &'a Node<Expression>, at: At) -> Result<NumberKind, Error> {
        match &expression.node {
            Expression::Identifier(identifier) => self.read(&identifier.node.name, at),
            Expression::Constant(constant) => {
                if let Constant::Integer(number) = &constant.node {
                    self.literal(number, expression)?;
                }
                Ok(NumberKind { float: matches!(constant.node, Constant::Float(_)), constant: true })
            }
            Expression::UnaryOperator(unary) => self.unary(expression, &unary.node, at),
            Expression::BinaryOperator(binary) => {
                let BinaryOperatorExpression { operator, lhs, rhs } = &binary.node;
                match &operator.node {
                    BinaryOperator::Index => self.load(expression, at),
                    operator if assigns(operator) => self.assign(operator, lhs, rhs, at),
                    BinaryOperator::LogicalAnd | BinaryOperator::LogicalOr => {
                        self.condition(expression)?;
                        Ok(INTEGER)
                    }
                    operator if arithmetic(operator) => self.arithmetic(expression),
                    _ => {
                        self.value(lhs)?;
                        self.value(rhs)?;
                        Ok(INTEGER)
                    }
                }
            }
            Expression::Conditional(conditional) => self.choice(&conditional.node, at),
            Expression::Comma(list) => {
                let mut kind = INTEGER;
                for part in list.iter() {
                    kind = self.value(part)?;
                }
                Ok(kind)
            }
            Expression::Cast(cast) => {
                let own = types::named(&cast.node.type_name.node, &self.typedefs);
                let kind = self.value(&cast.node.expression)?;
                match own.base {
                    Base::Void => Ok(kind),
                    _ => match own.float() {
                        Some(float) => Ok(NumberKind { float, ..kind }),
                        None => Err(refuse(at, "this cast is not read", "Cast to a type of numbers")),
                    },
                }
            }
            Expression::Call(call) => self.call(&call.node, at),
            Expression::SizeOfTy(_) | Expression::SizeOfVal(_) | Expression::AlignOf(_) => {
                Ok(NumberKind { float: false, constant: true })
            }
            Expression::Member(member) => match self.member_name(&member.node) {
                Some(name) => self.read(&name, at),
                None => self.load(expression, at),
            },
            Expression::StringLiteral(_) => Err(refuse(at, "text is not computed with", "Leave it out")),
            _ => Err(refuse(at, "this expression is not read", "Use arrays, numbers, operators and calls")),
        }
    }

    /// A variable that is read.
    fn read(&mut self, name: &str, at: At) -> Result<NumberKind, Error> {
        self.scalar_if_undeclared(name, false);
        match self.find(name) {
            Some(Binding::Scalar(scalar)) => {
                let (float, stored, depth) = (scalar.float, scalar.stored, scalar.depth);
                // What is known needs not wait for the iteration before.
                let unknown = matches!(scalar.value, IntegerValue::Unknown);
                let constant = !stored
                    && match &scalar.value {
                        IntegerValue::Known(value) => matches!(value, Expr::Const(_)),
                        IntegerValue::Parameter(name) => self.builder.given(name).is_some(),
                        IntegerValue::Unknown | IntegerValue::Unwritten => false,
                    };
                if stored {
                    self.work.scalars.reads += 1;
                    let carried = self.loops.last().is_some_and(|round| {
                        depth < self.loops.len() && round.assigned.contains(name) && !round.written.contains(name)
                    });
                    self.work.carried |= carried && unknown;
                }
                Ok(NumberKind { float, constant })
            }
            Some(Binding::Array(_) | Binding::Cursor(..) | Binding::Pointer(_)) => {
                Err(refuse(at, format!("{name} is an array; its value is not a number"), format!("Write {name}[i]")))
            }
            Some(Binding::Object) => {
                Err(refuse(at, format!("{name} is a struct; its value is not a number"), "Name one of its fields"))
            }
            Some(Binding::Other(what)) => {
                Err(refuse(at, format!("{name} is {what}, which is not followed"), "Use plain arrays and variables"))
            }
            None => Err(Error::Internal(format!("{name} has no meaning"))),
        }
    }

    fn unary(
        &mut self,
        expression: &'a Node<Expression>,
        unary: &'a UnaryOperatorExpression,
        at: At,
    ) -> Result<NumberKind, Error> {
        match &unary.operator.node {
            UnaryOperator::Indirection => self.load(expression, at),
            UnaryOperator::Address => {
                let cure = "Pass arrays by name, and results by `return`";
                Err(refuse(at, "an address is not a number that is followed", cure))
            }
            UnaryOperator::Negate => {
                self.value(&unary.operand)?;
                Ok(INTEGER)
            }
            UnaryOperator::Minus | UnaryOperator::Plus | UnaryOperator::Complement => {
                let kind = self.value(&unary.operand)?;
                let counts = !kind.float && !kind.constant && unary.operator.node != UnaryOperator::Plus;
                self.work.integer_ops += u32::from(counts);
                Ok(kind)
            }
            step => {
                let target = self.target(&unary.operand)?;
                let by = Expr::Const(steps(step).unwrap_or_default());
                self.update(
                    target,
                    &unary.operand,
                    &BinaryOperator::Plus,
                    NumberKind { float: false, constant: true },
                    Some(by),
                )
            }
        }
    }

    /// `a + b * c ...`, left to right, without recursion along the chain.
    fn arithmetic(&mut self, expression: &'a Node<Expression>) -> Result<NumberKind, Error> {
        let (first, steps) = chain(expression, &|operator| arithmetic(operator));
        let mut kind = self.value(first)?;
        for (operator, right) in steps {
            let right = self.value(right)?;
            kind = self.operate(operator, kind, right);
        }
        Ok(kind)
    }

    /// Counts an operator.
    fn operate(&mut self, operator: &BinaryOperator, left: NumberKind, right: NumberKind) -> NumberKind {
        use BinaryOperator::{AssignDivide, AssignMinus, AssignModulo, AssignMultiply, AssignPlus};
        use BinaryOperator::{Divide, Minus, Modulo, Multiply, Plus};
        let kind = NumberKind { float: left.float || right.float, constant: left.constant && right.constant };
        if kind.constant {
            return kind;
        }
        let flops = &mut self.work.flops;
        match operator {
            _ if !kind.float => self.work.integer_ops += 1,
            Plus | Minus | AssignPlus | AssignMinus => flops.add += 1,
            Multiply | AssignMultiply => flops.mul += 1,
            Divide | Modulo | AssignDivide | AssignModulo => flops.div += 1,
            _ => self.work.integer_ops += 1,
        }
        kind
    }

    /// `c ? a : b`. A choice between values at hand is a selection; one between things to do is a branch.
    fn choice(&mut self, choice: &'a ConditionalExpression, at: At) -> Result<NumberKind, Error> {
        let condition = self.condition(&choice.condition)?;
        let (mut first, mut second) = (INTEGER, INTEGER);
        let then = self.collect(at, |own| {
            first = own.value(&choice.then_expression)?;
            Ok(())
        })?;
        let otherwise = self.collect(at, |own| {
            second = own.value(&choice.else_expression)?;
            Ok(())
        })?;
        let kind = NumberKind { float: first.float || second.float, constant: false };
        let (then, otherwise) = match (self.merge(then), self.merge(otherwise)) {
            (None, None) => return Ok(kind),
            (then, otherwise) => (then.unwrap_or_default(), otherwise.unwrap_or_default()),
        };
        self.flush(at);
        self.out.push(Step::Branch(Branch { condition, then, otherwise, at }));
        Ok(kind)
    }

    /// Takes nodes that neither access arrays nor compute into the work; gives others back.
    pub(super) fn merge(&mut self, nodes: Vec<Step>) -> Option<Vec<Step>> {
        let idle = |node: &Step| matches!(node, Step::Work(work) if work.accesses.is_empty() && work.flops.total() == 0 && work.integer_ops == 0);
        if !nodes.iter().all(idle) {
            return Some(nodes);
        }
        for node in nodes {
            if let Step::Work(work) = node {
                self.work.scalars.reads += work.scalars.reads;
                self.work.scalars.writes += work.scalars.writes;
                self.work.carried |= work.carried;
            }
        }
        None
    }

    // --- assignments ---

    fn assign(
        &mut self,
        operator: &BinaryOperator,
        lhs: &'a Node<Expression>,
        rhs: &'a Node<Expression>,
        at: At,
    ) -> Result<NumberKind, Error> {
        if let Some(pointer) = name(lhs) {
            match self.find(pointer) {
                Some(Binding::Pointer(element)) if self.loops.len() <= self.outer_loops => {
                    let element = *element;
                    let own = types::Type {
                        base: Base::Number(element),
                        dims: vec![Dim::Pointer],
                        constant: false,
                        typedef: false,
                        unsigned: false,
                    };
                    let binding = self.pointed(pointer, &own, element, rhs)?;
                    if let Some(own) = self.find_mut(pointer) {
                        *own = binding;
                    }
                    return Ok(INTEGER);
                }
                Some(Binding::Cursor(..)) => return self.point(pointer, operator, rhs, at),
                Some(Binding::Pointer(_) | Binding::Array(_)) => {
                    let cure = "Declare a pointer of its own for it, such as `float *p = a;`";
                    return Err(refuse(at, format!("{pointer} is an array, and is moved here"), cure));
                }
                _ => {}
            }
        }
        let plain = *operator == BinaryOperator::Assign;
        if plain && self.is_struct(lhs) {
            return self.copy(lhs, rhs, at);
        }
        let known = match (plain, name(lhs)) {
            (_, Some(_)) => self.integer(rhs, false)?,
            _ => None,
        };
        let unwritten =
            name(lhs).is_some() && self.made_of_known(rhs, false) && (plain || self.made_of_known(lhs, false));
        let right = self.value(rhs)?;
        let target = self.target(lhs)?;
        let kind = self.update(target, lhs, operator, right, known)?;
        if let Some(scalar) = name(lhs).and_then(|name| self.scalar_mut(name))
            && unwritten
            && !scalar.float
            && matches!(scalar.value, IntegerValue::Unknown)
        {
            scalar.value = IntegerValue::Unwritten;
        }
        Ok(kind)
    }

    /// `p = a + i` or `p += i` for a pointer that may move.
    fn point(
        &mut self,
        pointer: &'a str,
        operator: &BinaryOperator,
        rhs: &'a Node<Expression>,
        at: At,
    ) -> Result<NumberKind, Error> {
        let Some(Binding::Cursor(view, moved)) = self.find(pointer).cloned() else { return Ok(INTEGER) };
        let (view, by) = match operator {
            BinaryOperator::Assign => {
                let there = self.place(rhs, view.rank)?;
                let same =
                    there.array == view.array && there.rank == view.rank && view::alike(&there.prefix, &view.prefix);
                let alone = self.loops.len() <= self.outer_loops || moved.depth == self.loops.len();
                match (same, alone) {
                    (true, _) => {
                        let by = sum(there.shift, view.shift.clone().map(|shift| shift.times(-1)));
                        (view, by)
                    }
                    (false, true) => (there, Some(Expr::Const(0))),
                    (false, false) => {
                        let cure = "Use subscripts, or one pointer for each array";
                        let problem = format!("{pointer} points into another array from one iteration to the next");
                        return Err(refuse(at, problem, cure));
                    }
                }
            }
            BinaryOperator::AssignPlus | BinaryOperator::AssignMinus => {
                let by = self.subscript(rhs)?;
                let by = if *operator == BinaryOperator::AssignMinus { by.map(|by| by.times(-1)) } else { by };
                let before = match moved.value {
                    IntegerValue::Known(before) => Some(before),
                    _ => None,
                };
                self.work.scalars.reads += 1;
                (view, sum(before, by))
            }
            _ => return Err(refuse(at, format!("{pointer} is a pointer; this moves none"), "Use =, += or -=")),
        };
        self.work.scalars.writes += 1;
        let value = by.filter(|by| by.size(200) <= 200).map_or(IntegerValue::Unknown, IntegerValue::Known);
        if let Some(own) = self.find_mut(pointer) {
            *own = Binding::Cursor(view, Scalar { value, ..moved });
        }
        if let Some(round) = self.loops.last_mut() {
            round.written.insert(pointer.to_owned());
        }
        Ok(INTEGER)
    }

    /// Whether an expression is a pointer or an array, rather than a number.
    pub(super) fn points(&self, expression: &Node<Expression>) -> bool {
        let (mut part, mut subscripts) = (expression, 0);
        loop {
            match &part.node {
                Expression::Identifier(identifier) => {
                    return matches!(self.find(&identifier.node.name),
                        Some(Binding::Array(view) | Binding::Cursor(view, _)) if view.rank > subscripts);
                }
                Expression::BinaryOperator(binary) => match binary.node.operator.node {
                    BinaryOperator::Index => (part, subscripts) = (&binary.node.lhs, subscripts + 1),
                    BinaryOperator::Plus | BinaryOperator::Minus => part = &binary.node.lhs,
                    _ => return false,
                },
                Expression::UnaryOperator(unary) => return unary.node.operator.node == UnaryOperator::Address,
                _ => return false,
            }
        }
    }

    /// A pointer to `view` that may move.
    pub(super) fn cursor(&self, view: Pointee) -> Binding {
        let (value, depth) = (IntegerValue::Known(Expr::Const(0)), self.loops.len());
        Binding::Cursor(view, Scalar { float: false, value, stored: true, depth, range: None })
    }

    /// What `expression`, to the left of `=`, is. Loads of its subscripts happen here.
    fn target(&mut self, expression: &'a Node<Expression>) -> Result<Assignee, Error> {
        let at = self.at(expression);
        match &expression.node {
            Expression::Identifier(identifier) => {
                let name = identifier.node.name.as_str();
                self.scalar_if_undeclared(name, false);
                match self.find(name) {
                    Some(Binding::Scalar(scalar) | Binding::Cursor(_, scalar)) => Ok(Assignee::Scalar(scalar.clone())),
                    Some(Binding::Other(what)) => {
                        let problem = format!("{name} is {what}, which is not followed");
                        Err(refuse(at, problem, "Use plain arrays and variables"))
                    }
                    _ => {
                        let cure = "Declare a pointer of its own for it, such as `float *p = a;`";
                        Err(refuse(at, format!("{name} is an array, and is moved here"), cure))
                    }
                }
            }
            Expression::BinaryOperator(binary) if binary.node.operator.node == BinaryOperator::Index => {
                self.element(expression)
            }
            Expression::UnaryOperator(unary) if unary.node.operator.node == UnaryOperator::Indirection => {
                self.element(expression)
            }
            Expression::Member(member) => match self.member_name(&member.node).map(|name| self.find(&name)) {
                Some(Some(Binding::Scalar(scalar))) => Ok(Assignee::Scalar(scalar.clone())),
                Some(_) => Err(refuse(at, "this field is not one number", "Assign to its elements")),
                None => self.element(expression),
            },
            _ => Err(refuse(at, "this cannot be assigned to", "Assign to a variable or an element of an array")),
        }
    }

    fn element(&mut self, expression: &'a Node<Expression>) -> Result<Assignee, Error> {
        let at = self.at(expression);
        let view = self.place(expression, 0)?;
        self.is_element(&view, at)?;
        let float = self.member_float(expression, &view).unwrap_or_else(|| self.element_of(&view));
        Ok(Assignee::Element(view, float))
    }

    fn is_element(&self, view: &Pointee, at: At) -> Result<(), Error> {
        match view.rank {
            0 => Ok(()),
            more => {
                let name = self.builder.program.arrays.get(view.array).map_or("", |array| &array.name);
                let problem = format!("{name} needs {more} more subscripts to be a number");
                Err(refuse(at, problem, "Give a subscript for each extent"))
            }
        }
    }

    fn element_of(&self, view: &Pointee) -> bool {
        self.builder.program.arrays.get(view.array).is_some_and(|array| array.element.is_float())
    }

    /// Stores into `target` what `operator` makes of it and of a value of kind `right`.
    fn update(
        &mut self,
        target: Assignee,
        lhs: &'a Node<Expression>,
        operator: &BinaryOperator,
        right: NumberKind,
        known: Option<Expr>,
    ) -> Result<NumberKind, Error> {
        let at = self.at(lhs);
        let plain = *operator == BinaryOperator::Assign;
        match target {
            Assignee::Element(view, float) => {
                let kind = NumberKind { float, constant: false };
                if !plain {
                    self.access(view.clone(), false, at)?;
                    self.operate(operator, kind, right);
                }
                self.access(view, true, at)?;
                Ok(kind)
            }
            Assignee::Scalar(scalar) => {
                let own = self.variable_name(lhs);
                let name = own.as_str();
                let kind = NumberKind { float: scalar.float, constant: false };
                if !scalar.stored {
                    let problem =
                        format!("{name} counts the iterations of a loop, or is a constant, and is changed here");
                    return Err(refuse(at, problem, "Use another variable"));
                }
                if !plain {
                    // A pointer is no data: stepping it is an address, as a subscript's is.
                    if matches!(self.find(name), Some(Binding::Cursor(..))) {
                        self.work.scalars.reads += 1;
                    } else {
                        self.read(name, at)?;
                        self.operate(operator, kind, right);
                    }
                }
                self.work.scalars.writes += 1;
                if !scalar.float {
                    let before = if plain { None } else { self.known_value(&scalar) };
                    let value = match (operator, before, known) {
                        (BinaryOperator::Assign, _, value) => value,
                        (BinaryOperator::Plus | BinaryOperator::AssignPlus, before, by) => sum(before, by),
                        (BinaryOperator::AssignMinus, before, by) => sum(before, by.map(|by| by.times(-1))),
                        (BinaryOperator::AssignMultiply, Some(before), Some(by)) => Some(tidy(&before.times(by))),
                        (BinaryOperator::AssignDivide, Some(before), Some(by)) => {
                            Some(tidy(&before.over(by, Rounding::Zero)))
                        }
                        (BinaryOperator::AssignShiftRight, Some(before), Some(Expr::Const(by @ 0..=62))) => {
                            Some(tidy(&before.over(1_i64 << by, Rounding::Floor)))
                        }
                        (BinaryOperator::AssignShiftLeft, Some(before), Some(Expr::Const(by @ 0..=62))) => {
                            Some(tidy(&before.times(1_i64 << by)))
                        }
                        _ => None,
                    };
                    let value = value.filter(|value| value.size(200) <= 200);
                    if let Some(own) = self.scalar_mut(name) {
                        own.value = value.map_or(IntegerValue::Unknown, IntegerValue::Known);
                    }
                }
                if let Some(round) = self.loops.last_mut() {
                    round.written.insert(name.to_owned());
                }
                Ok(kind)
            }
        }
    }

    /// The name of a variable, or of the field of a struct that is one.
    fn variable_name(&self, expression: &Node<Expression>) -> String {
        match &expression.node {
            Expression::Member(member) => self.member_name(&member.node).unwrap_or_default(),
            _ => name(expression).unwrap_or_default().to_owned(),
        }
    }

    fn known_value(&mut self, scalar: &Scalar) -> Option<Expr> {
        match &scalar.value {
            IntegerValue::Known(value) => Some(value.clone()),
            IntegerValue::Parameter(name) => Some(Expr::from(self.builder.parameter(name))),
            IntegerValue::Unknown | IntegerValue::Unwritten => None,
        }
    }

    // --- elements and pointers ---

    fn load(&mut self, expression: &'a Node<Expression>, at: At) -> Result<NumberKind, Error> {
        let view = self.place(expression, 0)?;
        self.is_element(&view, at)?;
        let float = self.member_float(expression, &view).unwrap_or_else(|| self.element_of(&view));
        self.access(view, false, at)?;
        Ok(NumberKind { float, constant: false })
    }

    /// The array, row or element that `expression` is; `more` subscripts follow it.
    pub(super) fn place(&mut self, expression: &'a Node<Expression>, more: usize) -> Result<Pointee, Error> {
        let at = self.at(expression);
        self.deeper(at, |own| own.place_at(expression, more, at))
    }

    fn place_at(&mut self, expression: &'a Node<Expression>, more: usize, at: At) -> Result<Pointee, Error> {
        match &expression.node {
            Expression::Identifier(identifier) => {
                let name = identifier.node.name.as_str();
                match self.find(name) {
                    Some(Binding::Array(view)) => Ok(view.clone()),
                    Some(Binding::Cursor(view, moved)) => {
                        let by = match &moved.value {
                            IntegerValue::Known(by) => Some(by.clone()),
                            _ => None,
                        };
                        Ok(Pointee { shift: sum(view.shift.clone(), by), ..view.clone() })
                    }
                    Some(Binding::Pointer(_)) => {
                        let cure = "Set it where it is declared";
                        Err(refuse(at, format!("what {name} points to is not known here"), cure))
                    }
                    Some(Binding::Other(what)) => {
                        let problem = format!("{name} is {what}, which is not followed");
                        Err(refuse(at, problem, "Use plain arrays and variables"))
                    }
                    Some(Binding::Scalar(_) | Binding::Object) => {
                        Err(refuse(at, format!("{name} is no array"), "Declare it as an array"))
                    }
                    None if more == 0 => {
                        let cure = "Declare it, such as `double a[N]`";
                        Err(refuse(at, format!("what {name} is cannot be seen from its use"), cure))
                    }
                    None => {
                        let view = self.undeclared_array(name, more, at)?;
                        if let Some(scope) = self.scopes.get_mut(0) {
                            scope.insert(name.to_owned(), Binding::Array(view.clone()));
                        }
                        Ok(view)
                    }
                }
            }
            Expression::BinaryOperator(_) => self.offset_place(expression, more, at),
            Expression::UnaryOperator(unary) => match unary.node.operator.node {
                UnaryOperator::Indirection => {
                    let view = self.place(&unary.node.operand, more + 1)?;
                    Ok(view.at(Some(Expr::Const(0))))
                }
                // `&a[i]` is the place before its last subscript was taken.
                UnaryOperator::Address => {
                    let mut view = self.place(&unary.node.operand, more.saturating_sub(1))?;
                    match view.prefix.pop() {
                        Some(last) => Ok(Pointee { shift: last, rank: view.rank + 1, ..view }),
                        None => {
                            Err(refuse(at, "the address of a whole array is not followed", "Pass the array by name"))
                        }
                    }
                }
                UnaryOperator::Negate | UnaryOperator::Minus | UnaryOperator::Plus | UnaryOperator::Complement => {
                    Err(self.no_place(at))
                }
                ref step => {
                    // `*p++`: where it was, or with `*++p` where it comes to.
                    let before = self.place(&unary.node.operand, more)?;
                    self.unary(expression, &unary.node, at)?;
                    let first = matches!(step, UnaryOperator::PostIncrement | UnaryOperator::PostDecrement);
                    if first { Ok(before) } else { self.place(&unary.node.operand, more) }
                }
            },
            Expression::Cast(cast) => self.place(&cast.node.expression, more),
            Expression::Call(call) => {
                let called = name(&call.node.callee).unwrap_or("what is called");
                Err(refuse(
                    at,
                    format!("where the array that {called} returns lies is not known"),
                    "Use an array declared here",
                ))
            }
            Expression::Member(member) => match self.member_name(&member.node).map(|name| self.find(&name)) {
                Some(Some(Binding::Array(view))) => Ok(view.clone()),
                Some(_) => Err(refuse(at, "this field is no array of numbers", "Use plain arrays")),
                None => self.member_place(&member.node, at),
            },
            _ => Err(self.no_place(at)),
        }
    }

    fn no_place(&self, at: At) -> Error {
        refuse(at, "which array this is cannot be followed", "Use arrays and subscripts")
    }

    /// `a[i][j]` or `a + i`.
    fn offset_place(&mut self, expression: &'a Node<Expression>, more: usize, at: At) -> Result<Pointee, Error> {
        let index = |operator: &BinaryOperator| *operator == BinaryOperator::Index;
        let (first, subscripts) = chain(expression, &index);
        if !subscripts.is_empty() {
            let mut view = self.place(first, more + subscripts.len())?;
            for (_, subscript) in subscripts {
                if view.rank == 0 {
                    let name = self.builder.program.arrays.get(view.array).map_or("", |array| &array.name);
                    let problem = format!("{name} has fewer extents than subscripts here");
                    return Err(refuse(at, problem, "Declare the array as it is used"));
                }
                let index = self.subscript(subscript)?;
                view = view.at(index);
            }
            return Ok(view);
        }
        let moves = |operator: &BinaryOperator| matches!(operator, BinaryOperator::Plus | BinaryOperator::Minus);
        let (mut first, mut steps) = chain(expression, &moves);
        if steps.is_empty() {
            return Err(self.no_place(at));
        }
        // `i + a` is `a + i`.
        let is_array = |own: &Self, part: &Node<Expression>| {
            !matches!(part.node, Expression::Identifier(_) | Expression::Constant(_))
                || name(part)
                    .is_some_and(|name| matches!(own.find(name), Some(Binding::Array(_) | Binding::Cursor(..))))
        };
        if !is_array(self, first)
            && let Some(array) =
                steps.iter_mut().find(|(operator, part)| **operator == BinaryOperator::Plus && is_array(self, part))
        {
            std::mem::swap(&mut first, &mut array.1);
        }
        let mut view = self.place(first, more)?;
        for (operator, by) in steps {
            let by = self.subscript(by)?;
            let by = if *operator == BinaryOperator::Minus { by.map(|by| by.times(-1)) } else { by };
            view.shift = sum(view.shift.take(), by);
        }
        Ok(view)
    }

    /// A subscript: known, or else loaded.
    fn subscript(&mut self, expression: &'a Node<Expression>) -> Result<Option<Expr>, Error> {
        let known = self.deciding(expression)?;
        // Its operations and variables count either way.
        let (all, subscripts) = (self.work.integer_ops, self.work.subscript_ops);
        let kind = self.value(expression)?;
        self.work.subscript_ops = subscripts + self.work.integer_ops.saturating_sub(all);
        if kind.float {
            return Err(refuse(self.at(expression), "this subscript is not an integer", "Cast it to int"));
        }
        Ok(known)
    }

    /// What a pointer of type `own` that `value` is assigned to stands for.
    pub(super) fn pointed(
        &mut self,
        name: &str,
        own: &types::Type<'a>,
        element: crate::nest::Element,
        value: &'a Node<Expression>,
    ) -> Result<Binding, Error> {
        let mut inner = value;
        while let Expression::Cast(cast) = &inner.node {
            inner = &cast.node.expression;
        }
        let at = self.at(inner);
        if let Expression::Call(call) = &inner.node {
            let function = super::walk::name(&call.node.callee).unwrap_or_default();
            if matches!(function, "malloc" | "calloc" | "aligned_alloc" | "polybench_alloc_data" | "_mm_malloc") {
                let dims = self.extents(own, at)?;
                let view = match own.base {
                    Base::Struct(inner) => {
                        let layout = self.layout(inner, at)?;
                        self.structs(name, own, layout, at)?
                    }
                    _ => self.array(name, element, dims, at)?,
                };
                return Ok(self.cursor(view));
            }
        }
        if matches!(&inner.node, Expression::Constant(_)) || super::walk::name(inner) == Some("NULL") {
            return Ok(Binding::Pointer(element));
        }
        let view = self.place(inner, own.rank())?;
        let view = self.fit(view, own, at)?;
        Ok(self.cursor(view))
    }

    /// `view` as a pointer of type `own` sees it.
    pub(super) fn fit(&mut self, view: Pointee, own: &types::Type<'a>, at: At) -> Result<Pointee, Error> {
        let rank = own.rank();
        if rank > view.rank {
            return Err(refuse(at, "an array is taken for one with more extents", "Declare both alike"));
        }
        let Base::Number(element) = own.base else { return Ok(view) };
        let array = self.builder.program.arrays.get(view.array);
        if array.is_some_and(|array| array.element != element) {
            return Err(refuse(at, "an array is taken for one of another type", "Declare both alike"));
        }
        // Rows of another length would put elements elsewhere.
        let all = self.rank(view.array);
        for (position, dim) in own.dims.iter().enumerate().skip(1) {
            let Dim::Array(Some(extent)) = dim else { continue };
            let wanted = self.integer(extent, false)?;
            let here = self.extent(view.array, all - rank + position).cloned();
            if let (Some(wanted), Some(here)) = (wanted, here)
                && wanted != here
                && view::value(&wanted, &self.builder.program) != view::value(&here, &self.builder.program)
            {
                return Err(refuse(at, "an array is taken for one with other extents", "Declare both alike"));
            }
        }
        Ok(Pointee { rank, ..view })
    }
}
