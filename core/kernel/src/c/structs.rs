//! Structs: arrays of them have one extent more, which counts their units; one alone is a set of variables.

use lang_c::ast::*;
use lang_c::span::Node;

use super::lower::{Binding, CLowering, IntegerValue, Scalar};
use super::types::{self, Base, Dim, Type, Typedefs};
use super::value::{INTEGER, NumberKind};
use super::view::{Field, Layout, Pointee};
use super::walk::{Part, name, walk};
use crate::expr::Expr;
use crate::nest::{At, Element};
use crate::source::refuse;
use accel_ground::error::Error;

/// The fields of a struct that is declared: their names and types.
pub(super) fn fields<'a>(own: &'a StructType, typedefs: &Typedefs<'a>) -> Vec<(&'a str, Type<'a>)> {
    let declarations = own.declarations.iter().flatten();
    let of = |declaration: &'a Node<StructDeclaration>| {
        let StructDeclaration::Field(field) = &declaration.node else { return Vec::new() };
        let words = field.node.specifiers.iter().filter_map(|word| match &word.node {
            SpecifierQualifier::TypeSpecifier(word) => Some(&word.node),
            _ => None,
        });
        let base = types::base(words, typedefs);
        let declarators = field.node.declarators.iter().filter_map(|own| own.node.declarator.as_ref());
        declarators
            .filter_map(|own| {
                let name = types::name(&own.node)?;
                Some((name.node.name.as_str(), types::derived(base.clone(), &own.node)))
            })
            .collect()
    };
    declarations.flat_map(of).collect()
}

/// Whether a pointer to structs only ever names fields of the first one: `s->n`.
pub(super) fn alone(body: &Node<Statement>, pointer: &str) -> bool {
    let (mut named, mut arrows) = (0, 0);
    walk(Part::Statement(body), &mut |part| {
        if let Part::Expression(part) | Part::Head(part) = part {
            named += usize::from(name(part) == Some(pointer));
            if let Expression::Member(member) = &part.node {
                let arrow = member.node.operator.node == MemberOperator::Indirect;
                arrows += usize::from(arrow && name(&member.node.expression) == Some(pointer));
            }
        }
    });
    named == arrows
}

impl<'a> CLowering<'a> {
    /// How an array of that struct lies in memory.
    pub(super) fn layout(&mut self, own: &'a StructType, at: At) -> Result<Layout, Error> {
        let mut layout = Layout { unit: Element::I8, units: 0, fields: Vec::new() };
        for (name, field) in fields(own, &self.typedefs.clone()) {
            let Base::Number(element) = field.base else {
                let problem = format!("the field {name} of this struct is no number, and it stands in an array");
                return Err(refuse(at, problem, "Use arrays of numbers, one for each field"));
            };
            let mut count = Some(1_i64);
            for dim in &field.dims {
                let extent = match dim {
                    Dim::Array(Some(extent)) => self.integer(extent, true)?,
                    _ => None,
                };
                count = match extent {
                    Some(Expr::Const(extent)) => count.and_then(|count| count.checked_mul(extent)),
                    _ => None,
                };
            }
            let Some(count) = count.filter(|count| *count > 0) else {
                let problem = format!("the size of the field {name} is not a constant");
                return Err(refuse(at, problem, "Use arrays of numbers, one for each field"));
            };
            if layout.units > 0 && layout.unit.bytes() != element.bytes() {
                let problem = "the fields of this struct differ in size, and it stands in an array";
                return Err(refuse(at, problem, "Use fields of one size, or one array for each field"));
            }
            let many = !field.dims.is_empty();
            layout.fields.push(Field { name: name.to_owned(), offset: layout.units, element, many });
            if layout.units == 0 || element.is_float() {
                layout.unit = element;
            }
            layout.units += count;
        }
        if layout.units == 0 {
            return Err(refuse(at, "what is in this struct is not known", "Add its declaration"));
        }
        Ok(layout)
    }

    /// A new array of structs.
    pub(super) fn structs(&mut self, name: &str, own: &Type<'a>, layout: Layout, at: At) -> Result<Pointee, Error> {
        let mut dims = self.extents(own, at)?;
        dims.push(Some(Expr::Const(layout.units)));
        let view = self.array(name, layout.unit, dims, at)?;
        if let Some(info) = self.arrays.get_mut(view.array) {
            info.layout = Some(layout);
        }
        Ok(view)
    }

    /// Declares a struct, an array of them, or a pointer to them.
    pub(super) fn struct_variable(
        &mut self,
        name: &str,
        own: &Type<'a>,
        inner: &'a StructType,
        initializer: Option<&'a Initializer>,
        at: At,
    ) -> Result<(), Error> {
        match (own.dims.first(), initializer) {
            (None, value) => {
                if let Some(Initializer::Expression(value)) = value {
                    self.units(value, false, at)?;
                }
                self.object(name, inner, false, at)
            }
            (Some(Dim::Pointer), Some(Initializer::Expression(value))) => {
                let binding = self.pointed(name, own, Element::F32, value)?;
                self.bind(name, binding);
                Ok(())
            }
            (Some(Dim::Function), _) => Ok(()),
            (Some(_), _) => {
                let layout = self.layout(inner, at)?;
                let view = self.structs(name, own, layout, at)?;
                self.bind(name, Binding::Array(view));
                Ok(())
            }
        }
    }

    /// Declares one struct: each field is a variable or an array of its own, called `object.field`.
    pub(super) fn object(&mut self, object: &str, own: &'a StructType, parameter: bool, at: At) -> Result<(), Error> {
        for (name, field) in fields(own, &self.typedefs.clone()) {
            let full = format!("{object}.{name}");
            let binding = match (field.float(), &field.base) {
                (Some(float), _) => {
                    // A size that the kernel is given: `s->n` is the parameter `s_n`.
                    let value = match parameter && !float {
                        true => IntegerValue::Parameter(format!("{object}_{name}")),
                        false => IntegerValue::Unknown,
                    };
                    let depth = self.loops.len();
                    Binding::Scalar(Scalar { float, value, stored: true, depth, range: field.range() })
                }
                (None, Base::Number(element)) if !field.dims.iter().any(|dim| matches!(dim, Dim::Function)) => {
                    let dims = self.extents(&field, at)?;
                    let shown = format!("{object}_{name}");
                    Binding::Array(self.array(&shown, *element, dims, at)?)
                }
                (None, Base::Struct(inner)) if field.dims.is_empty() => {
                    self.object(&full, inner, parameter, at)?;
                    continue;
                }
                _ => Binding::Other("a field of a struct that is no number and no array of numbers"),
            };
            self.bind(&full, binding);
        }
        self.bind(object, Binding::Object);
        Ok(())
    }

    /// Whether a struct must be taken apart even behind a pointer, because it holds pointers of its own.
    pub(super) fn holds_pointers(&self, own: &'a StructType) -> bool {
        fields(own, &self.typedefs).iter().any(|(_, field)| {
            field.dims.iter().any(|dim| matches!(dim, Dim::Pointer)) || matches!(field.base, Base::Struct(_))
        })
    }

    /// The name of the variable that a field of a single struct is.
    pub(super) fn member_name(&self, member: &MemberExpression) -> Option<String> {
        let object = match &member.expression.node {
            Expression::Identifier(identifier) => identifier.node.name.clone(),
            Expression::Member(inner) => self.member_name(&inner.node)?,
            _ => return None,
        };
        matches!(self.find(&object), Some(Binding::Object)).then(|| format!("{object}.{}", member.identifier.node.name))
    }

    /// The element, or the array, that a field of a struct in an array is.
    pub(super) fn member_place(&mut self, member: &'a MemberExpression, at: At) -> Result<Pointee, Error> {
        let arrow = member.operator.node == MemberOperator::Indirect;
        let mut view = self.place(&member.expression, if arrow { 2 } else { 1 })?;
        if arrow && view.rank > 1 {
            view = view.at(Some(Expr::Const(0)));
        }
        let wanted = &member.identifier.node.name;
        let layout = self.arrays.get(view.array).and_then(|info| info.layout.clone());
        let Some(layout) = layout.filter(|_| view.rank == 1) else {
            let cure = "Declare the struct here, or use plain arrays and variables";
            return Err(refuse(at, format!("what the field {wanted} belongs to is not known"), cure));
        };
        let Some(field) = layout.fields.iter().find(|field| field.name == *wanted) else {
            let names: Vec<&str> = layout.fields.iter().map(|field| field.name.as_str()).collect();
            let problem = format!("this struct has no field {wanted}");
            return Err(refuse(at, problem, format!("It has {}", names.join(", "))));
        };
        let start = Some(Expr::Const(field.offset));
        Ok(if field.many { Pointee { shift: super::view::sum(view.shift, start), ..view } } else { view.at(start) })
    }

    /// Whether a field of a struct in an array is floating-point: its units may be of both kinds.
    pub(super) fn member_float(&self, expression: &Node<Expression>, view: &Pointee) -> Option<bool> {
        let Expression::Member(member) = &expression.node else { return None };
        let layout = self.arrays.get(view.array)?.layout.as_ref()?;
        let field = layout.fields.iter().find(|field| field.name == member.node.identifier.node.name)?;
        Some(field.element.is_float())
    }

    /// Whether an expression is a whole struct.
    pub(super) fn is_struct(&self, expression: &Node<Expression>) -> bool {
        let (mut part, mut subscripts) = (expression, 0);
        loop {
            match &part.node {
                Expression::Identifier(identifier) => {
                    return match self.find(&identifier.node.name) {
                        Some(Binding::Object) => subscripts == 0,
                        Some(Binding::Array(view) | Binding::Cursor(view, _)) => {
                            let structs = self.arrays.get(view.array).is_some_and(|info| info.layout.is_some());
                            structs && view.rank == subscripts + 1
                        }
                        _ => false,
                    };
                }
                Expression::BinaryOperator(binary) => match binary.node.operator.node {
                    BinaryOperator::Index => (part, subscripts) = (&binary.node.lhs, subscripts + 1),
                    BinaryOperator::Plus | BinaryOperator::Minus => part = &binary.node.lhs,
                    _ => return false,
                },
                Expression::UnaryOperator(unary) => match unary.node.operator.node {
                    UnaryOperator::Indirection => (part, subscripts) = (&unary.node.operand, subscripts + 1),
                    UnaryOperator::PostIncrement | UnaryOperator::PreIncrement => part = &unary.node.operand,
                    _ => return false,
                },
                _ => return false,
            }
        }
    }

    /// Copies a struct, unit by unit, out of `from` and into `to`.
    pub(super) fn copy(
        &mut self,
        to: &'a Node<Expression>,
        from: &'a Node<Expression>,
        at: At,
    ) -> Result<NumberKind, Error> {
        self.units(from, false, at)?;
        self.units(to, true, at)?;
        Ok(INTEGER)
    }

    /// Loads or stores every unit of a struct; one that is a set of variables stays in registers.
    pub(super) fn units(&mut self, expression: &'a Node<Expression>, write: bool, at: At) -> Result<(), Error> {
        if let Expression::Call(_) = &expression.node {
            return self.value(expression).map(|_| ());
        }
        if name(expression).is_some_and(|name| matches!(self.find(name), Some(Binding::Object))) {
            return Ok(());
        }
        if !self.is_struct(expression) {
            let cure = "Copy whole structs, or field by field";
            return Err(refuse(at, "this is not a struct that is followed", cure));
        }
        let view = self.place(expression, 1)?;
        let units = self.arrays.get(view.array).and_then(|info| info.layout.as_ref()).map_or(0, |layout| layout.units);
        for unit in 0..units {
            self.access(view.clone().at(Some(Expr::Const(unit))), write, at)?;
        }
        Ok(())
    }
}
