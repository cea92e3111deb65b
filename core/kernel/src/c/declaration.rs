//! Declarations of C: variables, arrays, enumerators.

use lang_c::ast::*;
use lang_c::span::Node;

use super::lower::{Binding, CLowering, IntegerValue, Scalar};
use super::types::{self, Base, Dim, Type};
use crate::expr::Expr;
use crate::nest::{At, Element};
use crate::source::refuse;
use accel_ground::error::Error;

impl<'a> CLowering<'a> {
    /// Reads a declaration within a function, or one of the file.
    pub(super) fn declaration(&mut self, declaration: &'a Node<Declaration>) -> Result<(), Error> {
        let at = self.text.at(declaration.span.start);
        let base = types::declared(&declaration.node.specifiers, &self.typedefs);
        self.enumerators(&declaration.node)?;
        self.tags(&declaration.node);
        for declarator in &declaration.node.declarators {
            let Some(name) = types::name(&declarator.node.declarator.node) else { continue };
            let own = types::derived(base.clone(), &declarator.node.declarator.node);
            if own.typedef {
                self.typedefs.insert(&name.node.name, own);
                continue;
            }
            let place = self.text.at(name.span.start);
            let initializer = declarator.node.initializer.as_ref().map(|initializer| &initializer.node);
            self.deeper(place, |lower| lower.variable(&name.node.name, &own, initializer, place))?;
        }
        self.flush(at);
        Ok(())
    }

    fn enumerators(&mut self, declaration: &'a Declaration) -> Result<(), Error> {
        for specifier in &declaration.specifiers {
            let DeclarationSpecifier::TypeSpecifier(word) = &specifier.node else { continue };
            let TypeSpecifier::Enum(list) = &word.node else { continue };
            let mut next = Expr::Const(0);
            for enumerator in &list.node.enumerators {
                if let Some(expression) = &enumerator.node.expression {
                    next = self.integer(expression, true)?.unwrap_or(next);
                }
                let name = &enumerator.node.identifier.node.name;
                // A plain number is a parameter, so that formulas can speak of it.
                let value = match (&next, self.builder.given(name)) {
                    (Expr::Const(value), Some(given)) if *value == given => IntegerValue::Parameter(name.clone()),
                    (_, Some(_)) if self.source.defines.contains_key(name) => IntegerValue::Parameter(name.clone()),
                    _ => IntegerValue::Known(next.clone()),
                };
                let scalar = Scalar { float: false, value, stored: false, depth: 0, range: None };
                self.bind(name, Binding::Scalar(scalar));
                next = next.plus(1);
            }
        }
        Ok(())
    }

    /// Notes structs that have a name of their own.
    fn tags(&mut self, declaration: &'a Declaration) {
        for specifier in &declaration.specifiers {
            if let DeclarationSpecifier::TypeSpecifier(word) = &specifier.node
                && let TypeSpecifier::Struct(own) = &word.node
                && let (Some(tag), Some(_), StructKind::Struct) =
                    (&own.node.identifier, &own.node.declarations, &own.node.kind.node)
            {
                let base = Base::Struct(&own.node);
                let made = Type { base, dims: Vec::new(), constant: false, typedef: false, unsigned: false };
                self.typedefs.insert(&tag.node.name, made);
            }
        }
    }

    fn variable(
        &mut self,
        name: &str,
        own: &Type<'a>,
        initializer: Option<&'a Initializer>,
        at: At,
    ) -> Result<(), Error> {
        let element = match own.base {
            Base::Number(element) => element,
            _ if matches!(own.dims.first(), Some(Dim::Function)) => return Ok(()),
            Base::Void => crate::nest::Element::I8,
            Base::Struct(inner) => return self.struct_variable(name, own, inner, initializer, at),
            Base::Auto => return self.inferred(name, own, initializer, at),
            Base::Other(what) => {
                self.bind(name, Binding::Other(what));
                return Ok(());
            }
        };
        match own.dims.first() {
            None => self.scalar_variable(name, own, initializer, at),
            Some(Dim::Function) => Ok(()),
            Some(_) if own.dims.iter().any(|dim| matches!(dim, Dim::Function)) => {
                self.bind(name, Binding::Other("a pointer to a function"));
                Ok(())
            }
            Some(Dim::Array(_)) => {
                let mut dims = self.extents(own, at)?;
                if let (Some(first @ None), Some(Initializer::List(items))) = (dims.first_mut(), initializer) {
                    *first = Some(Expr::Const(items.len() as i64));
                }
                let view = self.array(name, element, dims, at)?;
                self.bind(name, Binding::Array(view));
                if initializer.is_some() && self.base > 0 {
                    self.builder.assume(format!("the initial values of {name} (line {}) are there already", at.line));
                }
                Ok(())
            }
            Some(Dim::Pointer) => {
                let binding = match initializer {
                    Some(Initializer::Expression(value)) => self.pointed(name, own, element, value)?,
                    // A pointer of the file is an array that somebody else made.
                    None if self.base == 0 => {
                        let dims = self.extents(own, at)?;
                        Binding::Array(self.array(name, element, dims, at)?)
                    }
                    None => Binding::Pointer(element),
                    Some(Initializer::List(_)) => {
                        return Err(refuse(at, "this list of values is not read", "Declare an array"));
                    }
                };
                self.bind(name, binding);
                Ok(())
            }
        }
    }

    /// A variable declared by `auto`: a pointer where its value is one, or else a number of the kind of its value.
    fn inferred(
        &mut self,
        name: &str,
        own: &Type<'a>,
        initializer: Option<&'a Initializer>,
        at: At,
    ) -> Result<(), Error> {
        let Some(Initializer::Expression(value)) = initializer else {
            return Err(refuse(at, format!("what {name} is does not show"), "Write its type"));
        };
        if self.points(value) {
            let view = self.place(value, 1)?;
            let pointer = self.cursor(view);
            self.bind(name, pointer);
            return Ok(());
        }
        // What it loads and computes is read again below.
        let (work, out) = (self.work.clone(), self.out.clone());
        let kind = self.value(value)?;
        (self.work, self.out) = (work, out);
        let element = if kind.float { Element::F64 } else { Element::I64 };
        let made = Type { base: Base::Number(element), ..own.clone() };
        self.scalar_variable(name, &made, initializer, at)
    }

    fn scalar_variable(
        &mut self,
        name: &str,
        own: &Type<'a>,
        initializer: Option<&'a Initializer>,
        at: At,
    ) -> Result<(), Error> {
        let float = own.float().unwrap_or_default();
        let expression = match initializer {
            Some(Initializer::Expression(expression)) => Some(expression),
            Some(Initializer::List(_)) => {
                return Err(refuse(at, format!("{name} is one number, not a list"), "Write `= value`"));
            }
            None => None,
        };
        // A constant of the source is a parameter; so is what a file declares and never sets.
        let constant = own.constant && !float && self.builder.given(name).is_some();
        let of_file = self.base == 0 && !float && !self.assigned.contains(name);
        let known = expression.is_none() || self.builder.given(name).is_some();
        if constant || (of_file && known) {
            let value = IntegerValue::Parameter(name.to_owned());
            let scalar = Scalar { float, value, stored: !own.constant, depth: 0, range: own.range() };
            self.bind(name, Binding::Scalar(scalar));
            return Ok(());
        }
        // What the user gives a value, and the source reads from elsewhere, is a parameter; so is what nobody sets.
        let given = self.source.defines.contains_key(name) || (expression.is_none() && !self.assigned.contains(name));
        let mut value = if given && !float { IntegerValue::Parameter(name.to_owned()) } else { IntegerValue::Unknown };
        if let Some(expression) = expression {
            if !float && let Some(known) = self.integer(expression, false)? {
                value = IntegerValue::Known(known);
            } else if !float && self.made_of_known(expression, false) {
                value = IntegerValue::Unwritten;
            }
            // What a file sets is set before the kernel runs.
            if self.base > 0 {
                self.value(expression)?;
                self.work.scalars.writes += 1;
            }
        }
        let depth = self.loops.len();
        let scalar = Scalar { float, value, stored: true, depth, range: own.range() };
        self.bind(name, Binding::Scalar(scalar));
        Ok(())
    }

    /// The extents of an array or of what a pointer points to, outermost first.
    pub(super) fn extents(&mut self, own: &Type<'a>, at: At) -> Result<Vec<Option<Expr>>, Error> {
        let mut extents = Vec::new();
        for dim in &own.dims {
            extents.push(match dim {
                Dim::Array(Some(extent)) => Some(self.integer(extent, true)?.ok_or_else(|| {
                    let cure = "Use parameters and constants, or give the array's shape";
                    refuse(self.at(extent), "this extent is not known", cure)
                })?),
                Dim::Array(None) | Dim::Pointer => None,
                Dim::Function => {
                    return Err(refuse(at, "pointers to functions are not followed", "Call it by name"));
                }
            });
        }
        if own.dims.iter().filter(|dim| matches!(dim, Dim::Pointer)).count() > 1 {
            let text = format!(
                "the rows behind the pointers of line {} lie one behind another; loads of these pointers are not counted",
                at.line
            );
            self.builder.assume(text);
        }
        Ok(extents)
    }
}
